//! Keys of TPM vendors that do in endorsement key certificates what nobody else's may do.
//!
//! A pin trusts nothing: the key must hang beneath an anchor of the trust folder all the same. Whatever a pin tolerates
//! is reported.

use vouchsafe_evidence::x509::SpkiView;

use crate::trust::Allowances;

const SHA1: Allowances = Allowances { sha1: true, ..Allowances::NONE };
const MISSING_PURPOSE: Allowances = Allowances { missing_ek_purpose: true, ..Allowances::NONE };

/// SHA-256 of the SubjectPublicKeyInfo, and what the key may do.
const EK_ISSUERS: [([u8; 32], Allowances); 3] = [
    // Nuvoton TPM Root CA 2010, which signs with SHA-1.
    (
        [
            0x01, 0x9F, 0x3C, 0xA9, 0x10, 0x75, 0xA6, 0x27, 0x32, 0xE3, 0x95, 0x86, 0x0C, 0xC5, 0x2D, 0x29, 0x29, 0x54,
            0x9E, 0x86, 0xFC, 0xB9, 0x54, 0x87, 0xD7, 0x48, 0x09, 0xA8, 0x29, 0xB1, 0x60, 0xF1,
        ],
        SHA1,
    ),
    // STM TPM EK Intermediate CA 02, which signs with SHA-1.
    (
        [
            0xEE, 0x53, 0xC8, 0xDE, 0xA8, 0x4F, 0xD0, 0x46, 0x36, 0xD5, 0x7C, 0x07, 0x31, 0x41, 0x3B, 0x83, 0xBD, 0xF4,
            0xEE, 0x4F, 0xD6, 0x70, 0xDE, 0xB2, 0xE8, 0xD3, 0xE5, 0x94, 0x0E, 0x3F, 0x42, 0xEB,
        ],
        SHA1,
    ),
    // Google Cloud EK/AK CA Intermediate, whose certificates state no purpose.
    (
        [
            0xDD, 0x65, 0x67, 0x44, 0x15, 0xE7, 0x92, 0x58, 0xBB, 0xAE, 0xDB, 0x68, 0x44, 0xB5, 0x96, 0x2B, 0xC7, 0xD2,
            0x4E, 0x90, 0xBA, 0x7D, 0x97, 0x8D, 0xA5, 0x24, 0x2F, 0x29, 0xC1, 0x63, 0x3C, 0x8E,
        ],
        MISSING_PURPOSE,
    ),
];

/// What this key of a vendor of TPMs may do, by its fingerprint.
pub(super) fn of_ek_issuer(key: &SpkiView) -> Allowances {
    let fingerprint = key.sha256();
    let pinned = EK_ISSUERS.iter().filter(|(pinned, _)| *pinned == fingerprint);
    pinned.fold(Allowances::NONE, |all, (_, allowances)| all.or(*allowances))
}
