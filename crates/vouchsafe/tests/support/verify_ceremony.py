"""Verifies the file of a ceremony with what comes with Python, and openssl: from docs/ceremony.md alone.

    verify_ceremony.py FILE THRESHOLD WITNESS.pem...

Prints the names of those who signed. Written for keys of P-256 and Ed25519, which is enough to compare two readers.
"""

import base64
import hashlib
import json
import subprocess
import sys
import tempfile

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def decode(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def encode(octets):
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def canonical(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def openssl(*arguments):
    return subprocess.run(["openssl", *arguments], check=True, capture_output=True).stdout


def thumbprint(spki):
    if spki[:12] == bytes.fromhex("302a300506032b6570032100"):
        jwk = {"crv": "Ed25519", "kty": "OKP", "x": encode(spki[12:])}
    else:
        x, y = spki[-64:-32], spki[-32:]
        jwk = {"crv": "P-256", "kty": "EC", "x": encode(x), "y": encode(y)}
    return encode(hashlib.sha256(canonical(jwk)).digest())


def integer(octets):
    octets = octets.lstrip(b"\0")
    octets = b"\0" + octets if octets[:1] >= b"\x80" else octets
    return bytes([2, len(octets)]) + octets


def holds(algorithm, pem, message, signature):
    with tempfile.NamedTemporaryFile() as text, tempfile.NamedTemporaryFile() as mark:
        if algorithm == "ES256":
            body = integer(signature[:32]) + integer(signature[32:])
            signature = bytes([0x30, len(body)]) + body
            how = ["-rawin", "-digest", "sha256"]
        else:
            assert algorithm == "EdDSA"
            how = ["-rawin"]
        text.write(message), text.flush(), mark.write(signature), mark.flush()
        keys = ["pkeyutl", "-verify", "-pubin", "-inkey", pem, "-in", text.name, "-sigfile", mark.name]
        return subprocess.run(["openssl", *keys, *how], capture_output=True).returncode == 0


def main(path, threshold, *pems):
    octets = open(path, "rb").read()
    file = json.loads(octets)
    assert canonical(file) + b"\n" == octets, "the file is not in its one encoding"
    payload = decode(file["payload"])
    transcript = json.loads(payload)
    assert canonical(transcript) == payload, "the transcript is not in its one encoding"
    head, steps = transcript["head"], transcript["steps"]
    previous = hashlib.sha256(canonical(head)).digest()
    for number, (step, planned) in enumerate(zip(steps, head["plan"], strict=True), 1):
        assert step["number"] == number and step["kind"] == planned["kind"] and step["host"] == head["host"]
        assert decode(step["previous"]) == previous, f"step {number} does not commit to what was before"
        if step["kind"] == "key":
            key = decode(step["key"])
        if step["kind"] == "prove":
            message = b"vouchsafe ceremony proof v1\0" + previous + hashlib.sha256(key).digest()
            with tempfile.NamedTemporaryFile() as der, tempfile.NamedTemporaryFile() as pem:
                der.write(key), der.flush()
                openssl("pkey", "-pubin", "-inform", "DER", "-in", der.name, "-out", pem.name)
                assert holds(step["algorithm"], pem.name, message, decode(step["signature"])), "the proof"
        previous = hashlib.sha256(canonical(step)).digest()
    times = [head["started"], *(step["time"] for step in steps), transcript["ended"]]
    assert times == sorted(times)
    known = {thumbprint(openssl("pkey", "-pubin", "-in", pem, "-outform", "DER")): pem for pem in pems}
    named = {thumbprint(decode(witness["key"])): witness["name"] for witness in head["witnesses"]}
    signed = []
    for signature in file["signatures"]:
        header = json.loads(decode(signature["protected"]))
        assert set(header) == {"alg", "kid", "typ"} and header["typ"] == "vouchsafe-ceremony+json"
        message = f"{signature['protected']}.{file['payload']}".encode()
        if header["alg"] == "ES256":
            s = int.from_bytes(decode(signature["signature"])[32:], "big")
            assert 2 * s < P256_ORDER, "s is not the smaller of the two numbers that verify"
        assert holds(header["alg"], known[header["kid"]], message, decode(signature["signature"])), header["kid"]
        signed.append(named[header["kid"]])
    assert len(set(signed)) == len(signed) >= max(int(threshold), head["threshold"])
    print(", ".join(signed))


main(*sys.argv[1:])
