//! What is true of attestation by YubiHSM 2 modules (Yubico, "YubiHSM 2: Attestation").
//!
//! The certificate about a key counts if the factory key of the module signed it, directly, and that key if a certificate
//! of it hangs beneath an anchor of this format. Any other asymmetric key of the module can sign such certificates too,
//! and most of what else its user likes, so nothing that hangs beneath one counts. The module answers no challenge.

use vouchsafe_evidence::formats::yubihsm2::{Capabilities, KeyAttestation, SignerMarks};
use vouchsafe_evidence::text::printable;
use vouchsafe_evidence::x509::{CertView, Quirk};

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
pub(super) static ROW: Row = Row { id: "yubihsm2", authenticate, codes: CODES };

const DOCUMENT: &str = "Yubico, YubiHSM 2: Attestation";

const BAD_SIGNATURE: Code = Code {
    id: "yubihsm2.bad-signature",
    clause: DOCUMENT,
    meaning: "The attestation is not signed by the key of the certificate that stands for the module.",
};
const CA: Code = Code {
    id: "yubihsm2.ca",
    clause: "RFC 5280, 4.2.1.9; Yubico, YubiHSM 2: Attestation",
    meaning: "The attestation says that the key is a certification authority's, which a YubiHSM 2 never says.",
};
const MALFORMED: Code = Code {
    id: "yubihsm2.malformed",
    clause: DOCUMENT,
    meaning: "The attestation, or the certificate of the module, does not have the form that a YubiHSM 2 gives it.",
};
const NOT_VALID: Code = Code {
    id: "yubihsm2.not-valid",
    clause: "RFC 5280, 4.1.2.5",
    meaning: "The attestation is not valid at the time of judgement.",
};
const SERIAL_MISMATCH: Code = Code {
    id: "yubihsm2.serial-mismatch",
    clause: DOCUMENT,
    meaning: "The attestation names another serial number than the certificate of the module that signed it.",
};
const SIGNATURE_ALGORITHM: Code = Code {
    id: "yubihsm2.signature-algorithm",
    clause: "RFC 5280, 4.1.1.2; NIST SP 800-131A",
    meaning: "The attestation is signed by an algorithm or a key that is too weak, or the algorithm is named in two ways.",
};
const SIGNER_MISSING: Code = Code {
    id: "yubihsm2.signer-missing",
    clause: DOCUMENT,
    meaning: "No certificate of the key that signed the attestation, opaque object 0 of the module, is there.",
};
const SIGNER_NOT_FACTORY: Code = Code {
    id: "yubihsm2.signer-not-factory",
    clause: DOCUMENT,
    meaning: "The attestation is signed by another key than the one that the factory put into the module.",
};

const CODES: &[Code] = &[
    BAD_SIGNATURE,
    CA,
    MALFORMED,
    NOT_VALID,
    SERIAL_MISMATCH,
    SIGNATURE_ALGORITHM,
    SIGNER_MISSING,
    SIGNER_NOT_FACTORY,
];

const LEAF_CODES: LeafCodes = LeafCodes {
    malformed: MALFORMED,
    ca: CA,
    not_valid: NOT_VALID,
    signature_algorithm: SIGNATURE_ALGORITHM,
    bad_signature: BAD_SIGNATURE,
    signer_missing: SIGNER_MISSING,
};

/// The maker's other products put raw octets where DER is expected; that they are others is said by name.
const QUIRKS: &[Quirk] =
    &[Quirk::ExplicitDefault, Quirk::ExtensionNotDer, Quirk::NegativeOrZeroSerial, Quirk::NonMinimalSerial];

static RULES: VendorRules =
    VendorRules { name: "yubihsm2-device", quirks: QUIRKS, processed: &[], check_last: check_device, pinned: &[] };

/// What the certificate of a module's factory key must be like.
fn check_device(certificate: &Examined, _: Allowances) -> Result<Vec<Deviation>, PathDefect> {
    yubico::check_signer(certificate)?;
    if certificate.is_ca() { Ok(Vec::new()) } else { Err(PathDefect::NotCa) }
}

fn authenticate(evidence: &Evidence<'_>, context: &mut Context<'_>) -> Result<Testimony, Rejection> {
    let malformed = |error| Rejection::new(MALFORMED, format!("The attestation of the YubiHSM 2: {error}."));
    let attestation = KeyAttestation::parse(evidence.content).map_err(malformed)?;
    let leaf = attestation.certificate();
    yubico::check_leaf(leaf, context, &LEAF_CODES)?;
    let trust = context.trust.format(ROW.id);
    let certificates = yubico::signers(leaf, trust, context, &LEAF_CODES)?;
    check_marks(&certificates)?;
    let path = yubico::signer_path(&certificates, trust, VendorProfile::new(&RULES), context)?;
    check_module(path.leaf(), attestation.serial())?;
    Ok(testimony(&attestation, &path, evidence.statement))
}

fn marks_of(certificate: &CertView) -> Result<SignerMarks, Rejection> {
    SignerMarks::read(certificate)
        .map_err(|error| Rejection::new(MALFORMED, format!("The certificate of the module: {error}.")))
}

/// No certificate of the signing key may be about a user's key.
fn check_marks(certificates: &[&CertView]) -> Result<(), Rejection> {
    for certificate in certificates {
        if marks_of(certificate)?.is_of_key {
            return Err(Rejection::plain(SIGNER_NOT_FACTORY));
        }
    }
    Ok(())
}

/// Whether a certificate is that of the module with this serial number. Yubico's roots certify other products as well,
/// whose certificates name none.
fn check_module(certificate: &CertView, serial: u64) -> Result<(), Rejection> {
    match marks_of(certificate)?.serial {
        None => Err(Rejection::plain(SIGNER_NOT_FACTORY)),
        Some(of_module) if of_module == serial => Ok(()),
        Some(of_module) => Err(Rejection::new(
            SERIAL_MISMATCH,
            format!("The attestation names serial number {serial}, the certificate of the module {of_module}."),
        )),
    }
}

fn testimony(attestation: &KeyAttestation, path: &ValidatedPath, statement: usize) -> Testimony {
    let id = format!("{}:{}", ROW.id, attestation.serial());
    Testimony {
        signer: ModuleSigner {
            attesting_keys: Vec::new(),
            key: path.leaf().spki().clone(),
            module: None,
            claims: yubico::signer_claims(path, statement),
            device: Some(Device { id, source: "serial number of the YubiHSM 2" }),
            is_virtual: path.anchor().is_virtual(),
        },
        nonce: NonceField::Unsupported,
        keys: vec![TestifiedKey {
            spki: Some(attestation.certificate().spki().clone()),
            claims: key_claims(attestation, statement),
            is_attesting: false,
        }],
        platform: Some(platform_claims(attestation, path, statement)),
    }
}

/// A key that was generated here and may not be exported has never been elsewhere: capabilities do not change.
fn key_claims(attestation: &KeyAttestation, at: usize) -> Claims {
    let (origin, capabilities) = (attestation.origin(), attestation.capabilities());
    let exportable = capabilities.has(Capabilities::EXPORTABLE_UNDER_WRAP);
    let generated = origin.is_generated();
    let word = match (generated, origin.is_imported()) {
        (true, _) => "generated",
        (false, true) => "imported",
        (false, false) => "unknown",
    };
    let mut claims = Claims::new();
    claims.put("spki", base64(attestation.certificate().spki().as_der()), Source::Signed, at);
    claims.put("origin", word, Source::Signed, at);
    claims.put("local", generated, Source::Signed, at);
    claims.put("extractable", exportable, Source::Signed, at);
    claims.put("never_extractable", generated && !exportable, Source::Signed, at);
    claims.put("device_bound", generated && !exportable, Source::Signed, at);
    claims.promise("sensitive", true, MAKER, at);
    claims.put("purposes", purposes(capabilities), Source::Signed, at);
    claims.put("capabilities", capabilities.names().collect::<Vec<_>>(), Source::Signed, at);
    claims.put("domains", attestation.domains().collect::<Vec<_>>(), Source::Signed, at);
    claims.put("identifier", format!("{:#06x}", attestation.object_id()), Source::Signed, at);
    if let Some(label) = attestation.label() {
        claims.put("label", printable(label), Source::Signed, at);
    }
    claims
}

/// Capabilities in the words of PKCS #11, each once.
fn purposes(capabilities: Capabilities) -> Vec<&'static str> {
    let words = [
        (
            "sign",
            [
                Capabilities::SIGN_PKCS,
                Capabilities::SIGN_PSS,
                Capabilities::SIGN_ECDSA,
                Capabilities::SIGN_EDDSA,
                Capabilities::SIGN_SSH_CERTIFICATE,
                Capabilities::SIGN_ATTESTATION_CERTIFICATE,
            ]
            .as_slice(),
        ),
        ("decrypt", &[Capabilities::DECRYPT_PKCS, Capabilities::DECRYPT_OAEP]),
        ("derive", &[Capabilities::DERIVE_ECDH]),
    ];
    let can = |numbers: &[u8]| numbers.iter().any(|number| capabilities.has(*number));
    words.into_iter().filter(|(_, numbers)| can(numbers)).map(|(word, _)| word).collect()
}

fn platform_claims(attestation: &KeyAttestation, path: &ValidatedPath, at: usize) -> Claims {
    let mut claims = Claims::new();
    claims.promise("vendor", MAKER, MAKER, at);
    claims.promise("model", "YubiHSM 2", MAKER, at);
    claims.put("fw_version", attestation.firmware().to_string(), Source::Signed, at);
    claims.put("serial", attestation.serial().to_string(), Source::Signed, at);
    claims.put_kind(path.anchor().is_virtual(), MAKER, at);
    claims
}
