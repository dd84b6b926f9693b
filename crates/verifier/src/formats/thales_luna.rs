//! Public key confirmations of Thales Luna modules.
//!
//! The chain says all: Proof of Origin beneath Device Authentication, Hardware Origin, Manufacturing Integrity and the
//! Chrysalis-ITS root, each with its own purpose. Nothing in it lists attributes of the key: that a Luna module confirms
//! only keys that it generated and that cannot be extracted is Thales's promise. Keys can still be cloned to other Luna
//! modules of one cloning domain, so that nothing is said of one device alone.
//!
//! The root signs with the public exponent 3, states no basicConstraints and exists in several certificates; its key is
//! pinned here. The hierarchy for elliptic curves cannot be verified: in the maker's own example the signature over the
//! confirmation does not hold. It is refused by name, as is the style of TC TrustCenter.

use vouchsafe_evidence::formats::thales_luna::{Confirmation, Hierarchy, ROW as EVIDENCE, purposes, serial};
use vouchsafe_evidence::oid::{self, Oid};
use vouchsafe_evidence::text::printable;
use vouchsafe_evidence::x509::extensions::KeyUsage;
use vouchsafe_evidence::x509::{CertView, Quirk};

use super::vendor::chain_claims;
use super::{Evidence, NonceField, Row, TestifiedKey, Testimony};
use crate::authenticate::{Context, ModuleSigner};
use crate::bind::Device;
use crate::claims::{Claims, Source};
use crate::describe::base64;
use crate::path::{
    ChainProfile, Deviation, Examined, PathDefect, PathInputs, ValidatedPath, VendorProfile, VendorRules, validate_path,
};
use crate::rejection::{Code, Rejection};
use crate::trust::Allowances;

/// How confirmations are authenticated.
pub(super) static ROW: Row = Row { id: EVIDENCE.id, authenticate, codes: &CODES };

const MAKER: &str = "Thales";
const VALIDATOR: &str = "Thales, luna-pkc-validator; Thales Luna HSM, Public Key Confirmations";

const ECC: Code = Code {
    id: "luna.ecc-unverifiable",
    clause: VALIDATOR,
    meaning: "The confirmation is of the hierarchy for elliptic curves, whose signatures nobody can verify.",
};
const HIERARCHY: Code = Code {
    id: "luna.hierarchy",
    clause: VALIDATOR,
    meaning: "The certificates are not those of proof of origin, device, hardware, manufacturer and root, in this order.",
};
const MALFORMED: Code = Code {
    id: "luna.malformed",
    clause: VALIDATOR,
    meaning: "The public key confirmation does not have the form of a Luna module's.",
};
const SERIAL: Code = Code {
    id: "luna.serial-mismatch",
    clause: VALIDATOR,
    meaning: "The proof of origin names another module than the certificate of the key that signed it.",
};
const TC_TRUSTCENTER: Code = Code {
    id: "luna.tc-trustcenter",
    clause: VALIDATOR,
    meaning: "The confirmation is in the style of TC TrustCenter, which is not read.",
};
const CODES: [Code; 5] = [ECC, HIERARCHY, MALFORMED, SERIAL, TC_TRUSTCENTER];

/// Purposes from the issuer of the proof of origin upwards.
const ABOVE: [Oid; 3] = [oid::KP_LUNA_DEVICE_AUTHENTICATION, oid::KP_LUNA_HARDWARE_ORIGIN, oid::KP_LUNA_MANUFACTURING];

/// SHA-256 of the SubjectPublicKeyInfo of the Chrysalis-ITS root.
const CHRYSALIS_ROOT: [u8; 32] = [
    0x5d, 0x31, 0xfc, 0x46, 0x2a, 0xe8, 0xa1, 0xa5, 0x32, 0x7b, 0x14, 0x9f, 0xf4, 0x3a, 0xa6, 0xd8, 0x67, 0xa2, 0x8d,
    0x7e, 0x17, 0xca, 0x1c, 0xca, 0x7e, 0x7d, 0x51, 0x4c, 0xf8, 0xcd, 0xc1, 0x32,
];

static RULES: VendorRules = VendorRules {
    name: "thales-luna proof of origin",
    quirks: &[Quirk::ExplicitDefault, Quirk::ExtensionNotDer],
    processed: &[],
    check_last: check_proof,
    pinned: &[(CHRYSALIS_ROOT, Allowances { small_exponent: true, ..Allowances::NONE })],
};

fn check_proof(certificate: &Examined, _: Allowances) -> Result<Vec<Deviation>, PathDefect> {
    if certificate.is_ca() {
        return Err(PathDefect::IsCa);
    }
    if certificate.purposes() != [oid::KP_LUNA_PROOF_OF_ORIGIN] {
        return Err(PathDefect::WrongFamily);
    }
    match certificate.key_usage() {
        None => Ok(vec![Deviation::KeyUsageAbsent]),
        Some(usage) if usage.bits() & (KeyUsage::KEY_CERT_SIGN | KeyUsage::CRL_SIGN) != 0 => Err(PathDefect::KeyUsage),
        Some(_) => Ok(Vec::new()),
    }
}

fn authenticate(evidence: &Evidence<'_>, context: &mut Context<'_>) -> Result<Testimony, Rejection> {
    let malformed = |malformed| Rejection::new(MALFORMED, format!("The confirmation cannot be read: {malformed}."));
    let confirmation = Confirmation::parse(evidence.content).map_err(malformed)?;
    let trust = context.trust.format(EVIDENCE.id);
    let mut pool = confirmation.others().to_vec();
    pool.extend(context.certificates.iter().cloned());
    // Where the confirmation is one certificate, those of its hierarchy are beside it.
    let beside = if confirmation.others().is_empty() { context.certificates } else { &[] };
    match confirmation.hierarchy(beside) {
        Hierarchy::Rsa => {}
        Hierarchy::Ecc => return Err(Rejection::plain(ECC)),
        Hierarchy::TcTrustCenter => return Err(Rejection::plain(TC_TRUSTCENTER)),
    }
    let profile = ChainProfile::Vendor(VendorProfile::new(&RULES));
    let inputs = PathInputs { profile, at: context.at, revocation: context.revocation };
    let path = validate_path(confirmation.proof(), &pool, trust, inputs, &mut context.budget)?;
    let device = check_hierarchy(&path)?;
    let serial = check_serial(path.leaf(), &device)?;
    let at = evidence.statement;
    let mut attesting = Claims::new();
    attesting.put("spki", base64(device.spki().as_der()), Source::Signed, at);
    attesting.put("issuer", printable(&device.issuer().to_display()), Source::Endorsed, at);
    attesting.promise("environment", "module", MAKER, at);
    chain_claims(&mut attesting, &path, at);
    Ok(Testimony {
        signer: ModuleSigner {
            attesting_keys: Vec::new(),
            key: device.spki().clone(),
            // The device authentication key is the module's own.
            module: None,
            claims: attesting,
            device: serial.map(|serial| Device {
                id: format!("{}:{serial}", EVIDENCE.id),
                source: "serial number in the proof of origin",
            }),
            is_virtual: path.anchor().is_virtual(),
        },
        nonce: NonceField::Unsupported,
        keys: vec![TestifiedKey {
            spki: Some(path.leaf().spki().clone()),
            claims: describe_key(&path, at),
            is_attesting: false,
        }],
        platform: Some(describe_platform(&path, &device, serial, at)),
    })
}

/// Whether the purposes of the path are those of the hierarchy, one for one; the device's certificate, if so.
fn check_hierarchy(path: &ValidatedPath) -> Result<CertView, Rejection> {
    let above = path.chain().get(1..).unwrap_or_default();
    let in_order = above.len() == ABOVE.len()
        && above.iter().zip(ABOVE).all(|(certificate, wanted)| purposes(certificate) == [wanted]);
    // An anchor that is a bare key says nothing of itself.
    let root = path.anchor().certificate().map(purposes);
    let is_root = root.is_none_or(|purposes| purposes == [oid::KP_LUNA_ROOT]);
    match above.first() {
        Some(device) if in_order && is_root => Ok(device.clone()),
        Some(_) | None => Err(Rejection::plain(HIERARCHY)),
    }
}

/// The serial number of the module that the proof of origin names; the device's certificate must not name another.
fn check_serial(proof: &CertView, device: &CertView) -> Result<Option<u32>, Rejection> {
    let read = |certificate| {
        serial(certificate).map_err(|malformed| Rejection::new(SERIAL, format!("No serial number: {malformed}.")))
    };
    match (read(proof)?, read(device)?) {
        (Some(of_proof), Some(of_device)) if of_proof != of_device => Err(Rejection::plain(SERIAL)),
        (of_proof, _) => Ok(of_proof),
    }
}

fn describe_key(path: &ValidatedPath, at: usize) -> Claims {
    let mut claims = Claims::new();
    claims.put("spki", base64(path.leaf().spki().as_der()), Source::Signed, at);
    claims.promise("origin", "generated", MAKER, at);
    claims.promise("local", true, MAKER, at);
    claims.promise("extractable", false, MAKER, at);
    claims.promise("never_extractable", true, MAKER, at);
    claims.promise("sensitive", true, MAKER, at);
    let usage = path.leaf().extension(oid::KEY_USAGE).ok().flatten();
    let usage = usage.and_then(|extension| KeyUsage::parse(extension.value()).ok());
    if usage.is_some_and(|usage| usage.contains(KeyUsage::DIGITAL_SIGNATURE)) {
        claims.put("purposes", vec!["sign"], Source::Signed, at);
    }
    claims
}

fn describe_platform(path: &ValidatedPath, device: &CertView, serial: Option<u32>, at: usize) -> Claims {
    let mut claims = Claims::new();
    claims.promise("vendor", MAKER, MAKER, at);
    if let Some(serial) = serial {
        claims.put("serial", serial.to_string(), Source::Signed, at);
        // "Luna K7-521174": the model, and the serial number again.
        let name = device.subject().attributes(oid::COMMON_NAME).next().and_then(|attribute| attribute.text());
        let model = name.as_deref().and_then(|name| name.strip_suffix(&serial.to_string())?.strip_suffix('-'));
        if let Some(model) = model {
            claims.put("model", printable(model), Source::Endorsed, at);
        }
    }
    claims.put_kind(path.anchor().is_virtual(), MAKER, at);
    claims
}
