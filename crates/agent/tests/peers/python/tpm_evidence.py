"""What a client checks of an attestation by itself: DER, TPMS_ATTEST, ECDSA on P-256. The standard library alone."""

import hashlib

# NIST P-256 (SP 800-186, 3.2.1.3), with a = -3.
P = 2**256 - 2**224 + 2**192 + 2**96 - 1
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
BASE = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)

TPM_GENERATED = b"\xffTCG"
TPM_ST_ATTEST_CERTIFY = 0x8017
TPM_ST_ATTEST_QUOTE = 0x8018
TPM_ALG_ECDSA = 0x0018

OID_NONCE = bytes.fromhex("2b0601040181fd590102")  # 1.3.6.1.4.1.32473.1.2


def der(octets):
    """The elements of a DER encoding: (tag, content, whole element)."""
    elements = []
    while octets:
        tag, length, start = octets[0], octets[1], 2
        if length & 0x80:
            start += length & 0x7F
            length = int.from_bytes(octets[2:start], "big")
        if len(octets) < start + length:
            raise ValueError("DER is cut short")
        elements.append((tag, octets[start : start + length], octets[: start + length]))
        octets = octets[start + length :]
    return elements


def sequence(octets):
    """What a SEQUENCE holds."""
    ((tag, content, _),) = der(octets)
    if tag != 0x30:
        raise ValueError("no SEQUENCE")
    return der(content)


def point(spki):
    """X and Y of a SubjectPublicKeyInfo on P-256."""
    encoded = sequence(spki)[1][1]
    return sec1(encoded[1:])


def sec1(encoded):
    """X and Y of an uncompressed point."""
    if len(encoded) != 65 or encoded[0] != 4:
        raise ValueError("no uncompressed point on P-256")
    return int.from_bytes(encoded[1:33], "big"), int.from_bytes(encoded[33:], "big")


def add(left, right):
    """The sum of two points; None is the point at infinity."""
    if left is None or right is None:
        return left or right
    if left[0] == right[0]:
        if (left[1] + right[1]) % P == 0:
            return None
        slope = (3 * left[0] * left[0] - 3) * pow(2 * left[1], -1, P)
    else:
        slope = (right[1] - left[1]) * pow(right[0] - left[0], -1, P)
    x = (slope * slope - left[0] - right[0]) % P
    return x, (slope * (left[0] - x) - left[1]) % P


def times(number, of):
    """A multiple of a point."""
    total = None
    while number:
        if number & 1:
            total = add(total, of)
        of, number = add(of, of), number >> 1
    return total


def ecdsa_holds(public, message, r, s):
    """Whether (r, s) signs the message under SHA-256 (FIPS 186-5, 6.4.2)."""
    if not (0 < r < ORDER and 0 < s < ORDER):
        return False
    inverse = pow(s, -1, ORDER)
    digest = int.from_bytes(hashlib.sha256(message).digest(), "big")
    found = add(times(digest * inverse % ORDER, BASE), times(r * inverse % ORDER, public))
    return found is not None and found[0] % ORDER == r


def tpm2b(octets):
    """A TPM2B's content, and what follows it."""
    end = 2 + int.from_bytes(octets[:2], "big")
    if len(octets) < end:
        raise ValueError("a TPM structure is cut short")
    return octets[2:end], octets[end:]


def tpms_attest(octets, kind):
    """The extraData of a TPMS_ATTEST of that kind, and what is attested (Part 2, 10.12.12)."""
    if octets[:4] != TPM_GENERATED or int.from_bytes(octets[4:6], "big") != kind:
        raise ValueError("no TPMS_ATTEST of that kind")
    _qualified_signer, rest = tpm2b(octets[6:])
    extra_data, rest = tpm2b(rest)
    return extra_data, rest[8 + 4 + 4 + 1 + 8 :]  # clockInfo, firmwareVersion


def tpm_signature(octets):
    """r and s of a TPMT_SIGNATURE."""
    if int.from_bytes(octets[:2], "big") != TPM_ALG_ECDSA:
        raise ValueError("no ECDSA")
    r, rest = tpm2b(octets[4:])
    s, _ = tpm2b(rest)
    return int.from_bytes(r, "big"), int.from_bytes(s, "big")


def certificate(octets):
    """The signed part of a certificate, its key, its signature's r and s, and the nonce in its extension (or None)."""
    tbs, _, signature = sequence(octets)
    fields = der(tbs[1])
    nonce = None
    for extension in sequence(next(content for tag, content, _ in fields if tag == 0xA3)):
        parts = der(extension[1])
        if parts[0][1] == OID_NONCE:
            ((_, nonce, _),) = der(parts[-1][1])
    r, s = (int.from_bytes(number, "big") for _, number, _ in sequence(signature[1][1:]))
    return tbs[2], fields[6][2], (r, s), nonce
