"""A client of ACME that meets device-attest-01: an account, an order for a device, the challenge, the certificate.

The protocol is the package acme's, and so are the words in which a refusal is told; objects are encoded by the package fido2, or
by the agent's own command.
"""

import argparse
import base64
import hashlib
import subprocess
import sys

import josepy as jose
from acme import challenges, client, messages
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from fido2 import cbor

# 2.23.133.20.1
TPM_CERTIFY = bytes.fromhex("06056781051401")


@challenges.ChallengeResponse.register
class DeviceAttest01Response(challenges.ChallengeResponse):
    typ = "device-attest-01"
    att_obj: str = jose.field("attObj")


@challenges.Challenge.register
class DeviceAttest01(challenges.KeyAuthorizationChallenge):
    typ = "device-attest-01"
    response_cls = DeviceAttest01Response

    def validation(self, account_key, **unused):
        return self.key_authorization(account_key)


def arguments():
    parser = argparse.ArgumentParser()
    for name in ["directory", "ca", "kid", "hmac", "identifier", "program", "out"]:
        parser.add_argument("--" + name, required=True)
    parser.add_argument("--key", default="web")
    parser.add_argument("--profile")
    parser.add_argument("--encoder", choices=["agent", "fido2"], default="fido2")
    parser.add_argument("--keep", help="where the object goes, for another order")
    parser.add_argument("--replay", help="an object that was kept")
    parser.add_argument("--wrong", help="what is to be false")
    return parser.parse_args()


def elements(der):
    """The elements of a DER encoding, each with its header and its content."""
    at = 0
    while at < len(der):
        length, head = der[at + 1], 2
        if length & 0x80:
            head = 2 + (length & 0x7F)
            length = int.from_bytes(der[at + 2 : at + head], "big")
        yield der[at : at + head + length], der[at + head : at + head + length]
        at += head + length


def attested(args, key_authorization):
    """What TPM2_Certify says of the key, as the members of a statement of format tpm (Web Authentication, section 8.3)."""
    nonce = hashlib.sha256(key_authorization.encode()).hexdigest()
    pem = run(args, ["key", "attest", args.key, "--nonce", nonce])
    bundle = base64.b64decode("".join(line for line in pem.splitlines() if not line.startswith("-----")))
    ((_, fields),) = elements(bundle)
    (_, statements), (_, certificates) = elements(fields)
    ((_, statement),) = elements(statements)
    (kind, _), (_, certify), *_ = elements(statement)
    assert kind == TPM_CERTIFY, kind.hex()
    (_, cert_info), (_, signature), (_, pub_area) = elements(certify)
    chain = [whole for whole, _ in elements(certificates)]
    issued = x509.load_der_x509_certificate(chain[0])
    assert isinstance(issued.public_key(), ec.EllipticCurvePublicKey)
    return {"ver": "2.0", "alg": -7, "x5c": chain, "sig": signature, "certInfo": cert_info, "pubArea": pub_area}


def run(args, words):
    return subprocess.run([args.program, *words], check=True, capture_output=True, text=True).stdout


def flipped(octets):
    return octets[:-1] + bytes([octets[-1] ^ 1])


def attestation_object(args, key_authorization):
    if args.replay:
        with open(args.replay, "rb") as file:
            return file.read()
    if args.encoder == "agent":
        encoded = run(args, ["key", "attest", args.key, "--key-authorization", key_authorization]).strip()
        octets = jose.b64decode(encoded)
        read = cbor.decode(octets)
        # As the other encoder has it, member for member; signatures differ each time.
        own = attested(args, key_authorization)
        assert set(read) == {"fmt", "attStmt"} and read["fmt"] == "tpm", read
        assert set(read["attStmt"]) == set(own)
        for member in ["ver", "alg", "x5c", "pubArea"]:
            assert read["attStmt"][member] == own[member], member
        assert len(octets) == len(cbor.encode(read)), "not in the shortest form"
        return octets
    if args.wrong == "authorization":
        key_authorization = "A" + key_authorization[1:]
    statement = attested(args, key_authorization)
    if args.wrong in ("certInfo", "pubArea"):
        statement[args.wrong] = flipped(statement[args.wrong])
    if args.wrong == "signature":
        statement["sig"] = flipped(statement["sig"])
    if args.wrong == "alg":
        statement["alg"] = -257
    if args.wrong == "x5c":
        statement["x5c"] = []
    kind = "packed" if args.wrong == "fmt" else "tpm"
    return cbor.encode({"fmt": kind, "attStmt": statement})


def main():
    args = arguments()
    key = jose.JWKEC(key=jose.ComparableECKey(ec.generate_private_key(ec.SECP256R1())))
    net = client.ClientNetwork(key, alg=jose.ES256, verify_ssl=args.ca, user_agent="tests")
    directory = client.ClientV2.get_directory(args.directory, net)
    acme = client.ClientV2(directory, net)
    binding = messages.ExternalAccountBinding.from_data(key.public_key(), args.kid, args.hmac, directory)
    acme.new_account(messages.NewRegistration.from_data(terms_of_service_agreed=True, external_account_binding=binding))

    kind, value = args.identifier.split(":", 1)
    identifier = messages.Identifier(typ=messages.IdentifierType(kind), value=value)
    order = messages.NewOrder(identifiers=[identifier], profile=args.profile)
    response = acme._post(directory["newOrder"], order)
    body = messages.Order.from_json(response.json())
    (url,) = body.authorizations
    authorization = acme._authzr_from_response(acme._post_as_get(url), uri=url)
    (challenge,) = [found for found in authorization.body.challenges if found.chall.typ == DeviceAttest01.typ]
    octets = attestation_object(args, challenge.chall.key_authorization(key))
    acme.answer_challenge(challenge, DeviceAttest01Response(att_obj=jose.b64encode(octets).decode()))
    if args.keep:
        with open(args.keep, "wb") as file:
            file.write(octets)

    csr = ["csr", "other" if args.wrong == "csr" else args.key]
    csr = run(args, csr if args.wrong == "evidence" else csr + ["--bare"])
    order = messages.OrderResource(
        body=body, uri=response.headers["Location"], authorizations=[authorization], csr_pem=csr.encode()
    )
    finalized = acme.poll_and_finalize(order)
    with open(args.out, "w") as file:
        file.write(finalized.fullchain_pem)


try:
    main()
except messages.Error as error:
    sys.exit(f"refused: {error}")
