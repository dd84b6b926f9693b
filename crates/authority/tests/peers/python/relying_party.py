"""A CA elsewhere that asks an authority for an attestation result about a certification request, and checks it.

    relying_party.py BASE_URL TLS_ROOT_PEM TOKEN

Prints the nonce for the device, reads the request (base64 of DER) as one line, asks, checks, and prints the claims. Exits with 1 and
the reason if the result is not to be relied on.
"""

import base64
import json
import ssl
import sys
import urllib.request

import jwt

PROFILE = "tag:ietf.org,2026:rats/ear#04"


def refuse(why):
    print(why, file=sys.stderr)
    sys.exit(1)


def main(base, root, token):
    context = ssl.create_default_context(cafile=root)

    def ask(path, body=None, accept="application/json"):
        request = urllib.request.Request(base + path, headers={"Accept": accept})
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
            request.add_header("Authorization", f"Bearer {token}")
        with urllib.request.urlopen(request, context=context) as answer:
            return answer.headers.get_content_type(), answer.read()

    nonce = json.loads(ask("/v1/nonces", {"purpose": "appraisal"})[1])["nonce"]
    print(nonce, flush=True)
    csr = sys.stdin.readline().strip()
    kind, result = ask(
        "/v1/appraisals", {"csr": csr, "nonce": nonce}, f'application/eat+jwt; eat_profile="{PROFILE}"'
    )
    if kind != "application/eat+jwt":
        refuse(f"the answer is {kind}")
    keys = jwt.PyJWKSet.from_dict(json.loads(ask("/v1/appraisals/keys")[1]))
    header = jwt.get_unverified_header(result)
    if header["typ"] != "eat+jwt":
        refuse(f"the type is {header['typ']}")
    key = keys[header["kid"]]
    try:
        claims = jwt.decode(result, key, algorithms=[key.algorithm_name], options={"require": ["iat", "exp"]})
    except jwt.PyJWTError as error:
        refuse(f"the token does not hold: {error}")
    if claims["eat_profile"] != PROFILE:
        refuse(f"the profile is {claims['eat_profile']}")
    wanted = base64.urlsafe_b64encode(bytes.fromhex(nonce)).rstrip(b"=").decode()
    if claims.get("eat_nonce") != wanted:
        refuse("the evidence does not answer the nonce")
    if claims["submods"]["key"]["ear_status"] != "affirming":
        refuse(f"the key is {claims['submods']['key']['ear_status']}")
    print(json.dumps(claims))


main(*sys.argv[1:])
