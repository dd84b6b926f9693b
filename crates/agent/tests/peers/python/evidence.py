"""Reads Evidence (draft-ietf-rats-pkix-key-attestation-07) with pyasn1 and the system's openssl, by nothing of the project's.

    evidence.py FILE

Prints a line `ELEMENT CLAIM VALUE` for each claim: the numbers by which the draft has them and the value's DER in hexadecimal.
Ends with an error for what a verifier has to reject by sections 4 to 6: see STANDARDS V1 to V9.
"""

import base64
import os
import subprocess
import sys
import tempfile

from pyasn1.codec.der import decoder, encoder
from pyasn1.type import namedtype, tag, univ

ARC = (1, 3, 6, 1, 5, 5, 999)
ECDSA_WITH = {(1, 2, 840, 10045, 4, 3, 2): "-sha256", (1, 2, 840, 10045, 4, 3, 3): "-sha384"}
RSA_WITH = {(1, 2, 840, 113549, 1, 1, 11): "-sha256"}
# Highest number assigned, and which may be there several times.
CLAIMS = {0: (2, {2}), 1: (13, set()), 2: (7, {0})}


def explicit(number):
    return tag.Tag(tag.tagClassContext, tag.tagFormatConstructed, number)


class ReportedClaim(univ.Sequence):
    componentType = namedtype.NamedTypes(
        namedtype.NamedType("claimType", univ.ObjectIdentifier()),
        namedtype.OptionalNamedType("value", univ.Any()),
    )


class ReportedElement(univ.Sequence):
    componentType = namedtype.NamedTypes(
        namedtype.NamedType("elementType", univ.ObjectIdentifier()),
        namedtype.NamedType("claims", univ.SequenceOf(componentType=ReportedClaim())),
    )


class TbsEvidence(univ.Sequence):
    componentType = namedtype.NamedTypes(
        namedtype.NamedType("version", univ.Integer()),
        namedtype.NamedType("reportedElements", univ.SequenceOf(componentType=ReportedElement())),
    )


class AlgorithmIdentifier(univ.Sequence):
    componentType = namedtype.NamedTypes(
        namedtype.NamedType("algorithm", univ.ObjectIdentifier()),
        namedtype.OptionalNamedType("parameters", univ.Any()),
    )


class SignatureBlock(univ.Sequence):
    componentType = namedtype.NamedTypes(
        namedtype.NamedType("sid", univ.Any()),
        namedtype.NamedType("signatureAlgorithm", AlgorithmIdentifier()),
        namedtype.NamedType("signatureValue", univ.OctetString()),
    )


class Evidence(univ.Sequence):
    componentType = namedtype.NamedTypes(
        namedtype.NamedType("tbs", TbsEvidence()),
        namedtype.NamedType("signatures", univ.SequenceOf(componentType=SignatureBlock())),
        namedtype.OptionalNamedType(
            "intermediateCertificates", univ.SequenceOf(componentType=univ.Any()).subtype(implicitTag=explicit(0))
        ),
    )


def demand(holds, rule):
    if not holds:
        sys.exit(rule)


def read(element):
    """The claims of an element, by number."""
    kind = tuple(element["elementType"])
    demand(kind[:-1] == ARC + (0,) and kind[-1] in CLAIMS, "V3: element of another type")
    highest, repeatable = CLAIMS[kind[-1]]
    claims = []
    for claim in element["claims"]:
        path = tuple(claim["claimType"])
        demand(path[:-1] == ARC + (1, kind[-1]) and path[-1] <= highest, "V3: claim of another type")
        demand(claim["value"].isValue, "V5: claim without a value")
        demand(path[-1] in repeatable or path[-1] not in [number for number, _ in claims], "V2: claim twice")
        claims.append((path[-1], bytes(claim["value"])))
    demand(claims, "an element without claims")
    return kind[-1], claims


def contents(octets):
    """First octet, contents and what follows of one DER value of less than 64 KiB."""
    length, start = octets[1], 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(octets[2:start], "big")
    return octets[0], octets[start : start + length], octets[start + length :]


def spki_of(sid, folder):
    """The key of a SignerIdentifier: all of its members are optional and have context tags, which by hand is simpler."""
    outer, rest, behind = contents(sid)
    demand(outer == 0x30 and not behind, "V6: no SignerIdentifier")
    members = {}
    while rest:
        member, value, rest = contents(rest)
        members[member] = value
    demand(members and set(members) <= {0xA0, 0xA1, 0xA2}, "V6: no SignerIdentifier")
    if 0xA2 in members:
        path = os.path.join(folder, "certificate.der")
        with open(path, "wb") as file:
            file.write(members[0xA2])
        pem = subprocess.check_output(["openssl", "x509", "-inform", "DER", "-in", path, "-noout", "-pubkey"])
        return base64.b64decode(b"".join(pem.splitlines()[1:-1]))
    demand(0xA1 in members, "V6: no key to verify with")
    return members[0xA1]


def verify(block, tbs, named):
    with tempfile.TemporaryDirectory() as folder:
        spki = spki_of(bytes(block["sid"]), folder)
        demand(spki in named, "V9: the signer is not named in ak-spki")
        algorithm = tuple(block["signatureAlgorithm"]["algorithm"])
        digest = {**ECDSA_WITH, **RSA_WITH}[algorithm]
        for name, octets in (("key", spki), ("signature", bytes(block["signatureValue"])), ("tbs", tbs)):
            with open(os.path.join(folder, name), "wb") as file:
                file.write(octets)
        command = ["openssl", "dgst", digest, "-keyform", "DER", "-verify", "key", "-signature", "signature", "tbs"]
        verified = subprocess.run(command, cwd=folder, capture_output=True)
        demand(verified.returncode == 0, "V6: the signature does not verify")


def main(path):
    with open(path, "rb") as file:
        whole = file.read()
    evidence, rest = decoder.decode(whole, asn1Spec=Evidence())
    demand(not rest, "octets behind the Evidence")
    demand(encoder.encode(evidence) == whole, "V1: not DER")
    demand(int(evidence["tbs"]["version"]) == 1, "V1: version")
    elements = [read(element) for element in evidence["tbs"]["reportedElements"]]
    for kind in (0, 1):
        demand([found for found, _ in elements].count(kind) <= 1, "V4: element twice")
    identifiers = []
    for kind, claims in elements:
        if kind == 2:
            demand(any(number == 0 for number, _ in claims), "V4: key without identifier")
            identifiers += [value for number, value in claims if number == 0]
    demand(len(set(identifiers)) == len(identifiers), "V4: key twice")
    named = [bytes(decoder.decode(value)[0]) for kind, claims in elements for number, value in claims
             if (kind, number) == (0, 2)]
    demand(len(evidence["signatures"]) > 0, "V8: not signed")
    for block in evidence["signatures"]:
        verify(block, encoder.encode(evidence["tbs"]), named)
    for kind, claims in elements:
        for number, value in claims:
            print(kind, number, value.hex())


if __name__ == "__main__":
    main(sys.argv[1])
