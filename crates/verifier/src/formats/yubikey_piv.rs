//! What is true of attestation by the PIV application of YubiKeys (Yubico, "PIV attestation").
//!
//! The slot certificate counts if the key of slot F9 signed it, and that key if a certificate of it hangs beneath an
//! anchor of this format. Nothing else of the chain speaks about the key. A YubiKey answers no challenge.
//!
//! The key of slot F9 is a batch's, not a device's, and its owner may have replaced it: then it hangs beneath an anchor
//! that an administrator marked with `own_signer`, and what Yubico promises of its own keys is that administrator's
//! promise.

use serde_json::{Value, json};
use vouchsafe_evidence::formats::yubikey_piv::{SignerMarks, SlotAttestation};
use vouchsafe_evidence::x509::{CertView, PublicKey, Quirk};

use super::yubico::{self, LeafCodes, MAKER};
use super::{Evidence, NonceField, Row, TestifiedKey, Testimony};
use crate::authenticate::{Context, ModuleSigner};
use crate::bind::Device;
use crate::claims::{Claims, Source};
use crate::describe::base64;
use crate::path::{Deviation, Examined, PathDefect, ValidatedPath, VendorProfile, VendorRules};
use crate::rejection::{Code, Rejection};
use crate::trust::Allowances;

/// How this format is verified.
pub(super) static ROW: Row = Row { id: "yubikey-piv", authenticate, codes: CODES };

const DOCUMENT: &str = "Yubico, PIV attestation";

const BAD_SIGNATURE: Code = Code {
    id: "yubikey-piv.bad-signature",
    clause: DOCUMENT,
    meaning: "The attestation is not signed by the key of the certificate that stands for slot F9.",
};
const CA: Code = Code {
    id: "yubikey-piv.ca",
    clause: "RFC 5280, 4.2.1.9; Yubico, PIV attestation",
    meaning: "The attestation says that the key is a certification authority's, which a YubiKey never says.",
};
const MALFORMED: Code = Code {
    id: "yubikey-piv.malformed",
    clause: DOCUMENT,
    meaning: "The attestation, or the certificate of slot F9, does not have the form that YubiKeys give it.",
};
const NOT_VALID: Code = Code {
    id: "yubikey-piv.not-valid",
    clause: "RFC 5280, 4.1.2.5",
    meaning: "The attestation is not valid at the time of judgement.",
};
const SIGNATURE_ALGORITHM: Code = Code {
    id: "yubikey-piv.signature-algorithm",
    clause: "RFC 5280, 4.1.1.2; NIST SP 800-131A",
    meaning: "The attestation is signed by an algorithm or a key that is too weak, or the algorithm is named in two ways.",
};
const SIGNER_IS_SLOT: Code = Code {
    id: "yubikey-piv.signer-is-slot",
    clause: DOCUMENT,
    meaning: "The attestation is signed by the key of another slot, with which its user can sign anything.",
};
const SIGNER_MISSING: Code = Code {
    id: "yubikey-piv.signer-missing",
    clause: DOCUMENT,
    meaning: "No certificate of the key that signed the attestation, that of slot F9, is there.",
};
const SIGNER_NOT_F9: Code = Code {
    id: "yubikey-piv.signer-not-f9",
    clause: DOCUMENT,
    meaning: "The certificate of the key that signed the attestation is Yubico's and not one of slot F9.",
};

const CODES: &[Code] =
    &[BAD_SIGNATURE, CA, MALFORMED, NOT_VALID, SIGNATURE_ALGORITHM, SIGNER_IS_SLOT, SIGNER_MISSING, SIGNER_NOT_F9];

const LEAF_CODES: LeafCodes = LeafCodes {
    malformed: MALFORMED,
    ca: CA,
    not_valid: NOT_VALID,
    signature_algorithm: SIGNATURE_ALGORITHM,
    bad_signature: BAD_SIGNATURE,
    signer_missing: SIGNER_MISSING,
};

/// Raw octets stand where DER is expected.
const QUIRKS: &[Quirk] =
    &[Quirk::ExplicitDefault, Quirk::ExtensionNotDer, Quirk::NegativeOrZeroSerial, Quirk::NonMinimalSerial];

/// Early certificates of slot F9 do not say that they are a CA's. That is a flaw of theirs which exactly these keys are
/// known for; any other key would make CAs of end entities with it.
const EARLY: Allowances = Allowances { missing_basic_constraints: true, ..Allowances::NONE };

/// Yubico's keys with certificates of slot F9 that have the flaw: SHA-256 of the SubjectPublicKeyInfo of "Yubico PIV Root
/// CA Serial 263751" and of "Yubico U2F Root CA Serial 457200631".
const PINNED: &[([u8; 32], Allowances)] = &[
    (
        [
            0x4B, 0x18, 0x5B, 0x77, 0x83, 0xD7, 0x92, 0xF9, 0x02, 0xCD, 0x96, 0x0C, 0xD1, 0xC9, 0x41, 0x79, 0x77, 0xD8,
            0x8D, 0x30, 0x77, 0xB1, 0x6B, 0xC9, 0xEB, 0xDC, 0xEF, 0x73, 0x13, 0xF2, 0xE2, 0x9E,
        ],
        EARLY,
    ),
    (
        [
            0x29, 0x41, 0x2D, 0xA1, 0x92, 0x72, 0x0E, 0x5F, 0x4F, 0x22, 0xA4, 0x08, 0x55, 0x9C, 0x05, 0x7E, 0x4F, 0xF2,
            0x53, 0x47, 0xEA, 0xFB, 0x20, 0xCF, 0xB1, 0x5A, 0x04, 0x7A, 0x07, 0x60, 0x19, 0x35,
        ],
        EARLY,
    ),
];

static RULES: VendorRules =
    VendorRules { name: "yubikey-piv-f9", quirks: QUIRKS, processed: &[], check_last: check_f9, pinned: PINNED };

/// What the certificate of slot F9 must be like. Path lengths above it leave no room for the slot certificate, which
/// hangs beneath and is judged here: it is a statement and no link of a chain.
fn check_f9(certificate: &Examined, issuer: Allowances) -> Result<Vec<Deviation>, PathDefect> {
    yubico::check_signer(certificate)?;
    match certificate.states_basic_constraints() {
        true if certificate.is_ca() => Ok(Vec::new()),
        false if issuer.missing_basic_constraints => Ok(vec![Deviation::BasicConstraintsAbsent]),
        true | false => Err(PathDefect::NotCa),
    }
}

fn authenticate(evidence: &Evidence<'_>, context: &mut Context<'_>) -> Result<Testimony, Rejection> {
    let malformed = |error| Rejection::new(MALFORMED, format!("The attestation of the YubiKey: {error}."));
    let attestation = SlotAttestation::parse(evidence.content).map_err(malformed)?;
    let leaf = attestation.certificate();
    yubico::check_leaf(leaf, context, &LEAF_CODES)?;
    let trust = context.trust.format(ROW.id);
    let certificates = yubico::signers(leaf, trust, context, &LEAF_CODES)?;
    check_marks(&certificates)?;
    let path = yubico::signer_path(&certificates, trust, VendorProfile::new(&RULES), context)?;
    let marks = marks_of(path.leaf())?;
    check_is_f9(&path, &marks)?;
    Ok(testimony(&attestation, &path, &marks, evidence.statement))
}

fn marks_of(certificate: &CertView) -> Result<SignerMarks, Rejection> {
    SignerMarks::read(certificate)
        .map_err(|error| Rejection::new(MALFORMED, format!("The certificate of slot F9: {error}.")))
}

/// No key of a slot may have signed, whatever its certificate hangs beneath: its user can let it sign anything, and the
/// YubiKey itself certified it with the key of slot F9.
fn check_marks(certificates: &[&CertView]) -> Result<(), Rejection> {
    for certificate in certificates {
        if marks_of(certificate)?.is_of_slot {
            return Err(Rejection::plain(SIGNER_IS_SLOT));
        }
    }
    Ok(())
}

/// Yubico's roots certify keys of other applications as well. A certificate of slot F9 tells the firmware; an early one
/// is known by what it is not, the P-256 key of an authenticator.
fn check_is_f9(path: &ValidatedPath, marks: &SignerMarks) -> Result<(), Rejection> {
    let is_early = path.deviations().contains(&Deviation::BasicConstraintsAbsent);
    let is_rsa = matches!(path.leaf().spki().key(), PublicKey::Rsa { .. });
    let is_f9 = marks.firmware.is_some() || (is_early && is_rsa);
    if path.anchor().mark().own_signer || (is_f9 && !marks.is_of_fido) {
        Ok(())
    } else {
        Err(Rejection::plain(SIGNER_NOT_F9))
    }
}

fn testimony(attestation: &SlotAttestation, path: &ValidatedPath, marks: &SignerMarks, statement: usize) -> Testimony {
    let serial = attestation.serial().map(|serial| serial.to_string());
    let mut signer_claims = yubico::signer_claims(path, statement);
    let is_own = path.anchor().mark().own_signer;
    signer_claims.put("signer", if is_own { "own" } else { "maker" }, Source::Endorsed, statement);
    // The key of slot F9 is a batch's: what tells modules apart is the serial number that it signed, or else nothing.
    let module = match &serial {
        Some(serial) => serial.as_bytes().to_vec(),
        None => attestation.certificate().as_der().to_vec(),
    };
    let id = serial.map(|serial| format!("{}:{serial}", ROW.id));
    let by = if is_own { "the owner of the signing key" } else { MAKER };
    Testimony {
        signer: ModuleSigner {
            attesting_keys: Vec::new(),
            key: path.leaf().spki().clone(),
            module: Some(module),
            claims: signer_claims,
            device: id.map(|id| Device { id, source: "serial number of the YubiKey" }),
            is_virtual: path.anchor().is_virtual(),
        },
        nonce: NonceField::Unsupported,
        keys: vec![TestifiedKey {
            spki: Some(attestation.certificate().spki().clone()),
            claims: key_claims(attestation, by, statement),
            is_attesting: false,
        }],
        platform: Some(platform_claims(attestation, path, marks, by, statement)),
    }
}

/// A YubiKey attests no key that it did not generate, and lets no private key out: that is promised, not signed.
fn key_claims(attestation: &SlotAttestation, by: &'static str, at: usize) -> Claims {
    let key = attestation.certificate().spki();
    let mut claims = Claims::new();
    claims.put("spki", base64(key.as_der()), Source::Signed, at);
    claims.promise("origin", "generated", by, at);
    claims.promise("local", true, by, at);
    claims.promise("extractable", false, by, at);
    claims.promise("never_extractable", true, by, at);
    claims.promise("sensitive", true, by, at);
    claims.promise("device_bound", true, by, at);
    claims.promise("purposes", yubico::purposes(key), by, at);
    if let Some(needs_user) = needs_user(attestation) {
        claims.put("user_auth", needs_user, Source::Signed, at);
    }
    let policy = format!("pin={} touch={}", attestation.pin_policy(), attestation.touch_policy());
    claims.put("auth_policy", policy, Source::Signed, at);
    if let Some(slot) = attestation.slot() {
        claims.put("identifier", slot, Source::Signed, at);
    }
    claims
}

/// Whether the user must do something before the key is used, be it a PIN or a touch; `None` where that is not known.
fn needs_user(attestation: &SlotAttestation) -> Option<bool> {
    match (attestation.pin_policy().needs_user(), attestation.touch_policy().needs_user()) {
        (Some(true), _) | (_, Some(true)) => Some(true),
        (Some(false), Some(false)) => Some(false),
        (Some(false) | None, None) | (None, Some(false)) => None,
    }
}

fn platform_claims(
    attestation: &SlotAttestation,
    path: &ValidatedPath,
    marks: &SignerMarks,
    by: &'static str,
    at: usize,
) -> Claims {
    let mut claims = Claims::new();
    let firmware = attestation.firmware();
    claims.promise("vendor", MAKER, by, at);
    claims.promise("model", format!("YubiKey {}", firmware.major), by, at);
    claims.put("fw_version", firmware.to_string(), Source::Signed, at);
    if let Some(serial) = attestation.serial() {
        claims.put("serial", serial.to_string(), Source::Signed, at);
    }
    claims.put_kind(path.anchor().is_virtual(), by, at);
    if let Some(form_factor) = attestation.form_factor() {
        claims.put("form_factor", form_factor.to_string(), Source::Signed, at);
    }
    // What an owner writes into a certificate of slot F9 is no word of Yubico's.
    if !path.anchor().mark().own_signer {
        if let Some(fips) = fips(attestation, marks) {
            claims.put("fips", fips, Source::Endorsed, at);
        }
        if marks.cspn {
            claims.put("cspn", true, Source::Endorsed, at);
        }
    }
    claims
}

/// The FIPS series, if the certificate of slot F9 says so and the YubiKey agrees, as far as its firmware can.
fn fips(attestation: &SlotAttestation, marks: &SignerMarks) -> Option<Value> {
    let agrees = attestation.form_factor().is_none_or(|form_factor| form_factor.is_fips());
    (marks.fips.is_some() && agrees)
        .then(|| json!({ "module": format!("YubiKey {} FIPS", attestation.firmware().major) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;

    #[test]
    fn two_keys_of_the_maker_are_pinned_and_for_one_flaw_alone() {
        let pinned: Vec<String> = PINNED.iter().map(|(fingerprint, _)| hex::encode(fingerprint)).collect();
        assert_eq!(
            pinned,
            [
                "4b185b7783d792f902cd960cd1c9417977d88d3077b16bc9ebdcef7313f2e29e",
                "29412da192720e5f4f22a408559c057e4ff25347eafb20cfb15a047a07601935",
            ]
        );
        for (_, allowances) in PINNED {
            assert_eq!(*allowances, Allowances { missing_basic_constraints: true, ..Allowances::NONE });
        }
    }
}
