"""What pyasn1 and the system's openssl find in Evidence (draft-ietf-rats-pkix-key-attestation-07), as JSON: facts, no judgment.

    evidence_facts.py EVIDENCE CERTIFICATES

EVIDENCE is DER; CERTIFICATES is PEM, the signer's first.
"""

import json
import os
import subprocess
import sys
import tempfile

from pyasn1.codec.der import decoder, encoder

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../agent/tests/peers/python"))
import evidence as reader  # noqa: E402

TRANSACTION, AK_SPKI = reader.ARC + (0, 0), reader.ARC + (1, 0, 2)


def verified(block, tbs):
    """Whether a signature holds, and the key that its signer is named by."""
    with tempfile.TemporaryDirectory() as folder:
        spki = reader.spki_of(bytes(block["sid"]), folder)
        digest = {**reader.ECDSA_WITH, **reader.RSA_WITH}[tuple(block["signatureAlgorithm"]["algorithm"])]
        for name, octets in (("key", spki), ("signature", bytes(block["signatureValue"])), ("tbs", tbs)):
            with open(os.path.join(folder, name), "wb") as file:
                file.write(octets)
        command = ["openssl", "dgst", digest, "-keyform", "DER", "-verify", "key", "-signature", "signature", "tbs"]
        holds = subprocess.run(command, cwd=folder, capture_output=True).returncode == 0
        return {"holds": holds, "spki": spki.hex()}


def main(path, certificates):
    with open(path, "rb") as file:
        whole = file.read()
    read, rest = decoder.decode(whole, asn1Spec=reader.Evidence())
    dotted = lambda oid: ".".join(map(str, tuple(oid)))
    elements = [
        {
            "type": dotted(element["elementType"]),
            "claims": [
                {"type": dotted(claim["claimType"]), "value": bytes(claim["value"]).hex() if claim["value"].isValue else None}
                for claim in element["claims"]
            ],
        }
        for element in read["tbs"]["reportedElements"]
    ]
    named = [
        bytes(decoder.decode(claim["value"])[0]).hex()
        for element in read["tbs"]["reportedElements"] if tuple(element["elementType"]) == TRANSACTION
        for claim in element["claims"] if tuple(claim["claimType"]) == AK_SPKI
    ]
    extensions = subprocess.check_output(
        ["openssl", "x509", "-in", certificates, "-noout", "-ext", "keyUsage,extendedKeyUsage"], text=True
    )
    print(json.dumps({
        "version": int(read["tbs"]["version"]),
        "der": not rest and encoder.encode(read) == whole,
        "elements": elements,
        "ak_spki": named,
        "signatures": [verified(block, encoder.encode(read["tbs"])) for block in read["signatures"]],
        "extensions": [line.strip() for line in extensions.splitlines()],
    }))


main(*sys.argv[1:])
