//! Key attestations of Securosys Primus modules: that the module's attestation key signed exactly these octets, that
//! its certificates lead to the makers' root, and what the document says.
//!
//! Signatures are RSASSA-PKCS1-v1_5 with SHA-256 over the octets of the file as they are, blank lines at its end
//! included; nothing is canonicalized or written anew. The chain is attestation key, device key (whose name carries the
//! serial number), root. Certificates hold for the years that they state and are judged by that.

use vouchsafe_evidence::formats::securosys_primus::{KeyAttestation, ROW as EVIDENCE, SignedDocument};
use vouchsafe_evidence::tpm::HashAlg;
use vouchsafe_evidence::x509::extensions::KeyUsage;
use vouchsafe_evidence::x509::{CertView, NameView};
use vouchsafe_evidence::{oid, text::printable};

use super::vendor::{budget_rejection, chain_claims};
use super::{Evidence, NonceField, Row, TestifiedKey, Testimony};
use crate::authenticate::{Context, ModuleSigner};
use crate::bind::Device;
use crate::claims::{Claims, Source};
use crate::crypto::{SignatureAlgorithm, SignatureError, verify_signature};
use crate::describe::base64;
use crate::path::{
    ChainProfile, Deviation, Examined, PathDefect, PathInputs, ValidatedPath, VendorProfile, VendorRules, validate_path,
};
use crate::rejection::{Code, Rejection};
use crate::time::Instant;
use crate::trust::Allowances;

/// How attestations are authenticated.
pub(super) static ROW: Row = Row { id: EVIDENCE.id, authenticate, codes: &CODES };

const PAGE: &str = "Securosys, Primus HSM, Attestation and Audit";

const BAD_SIGNATURE: Code = Code {
    id: "primus.bad-signature",
    clause: PAGE,
    meaning: "The signature over the XML document is not that of an attestation key whose certificate is there.",
};
const DEVELOPMENT_ROOT: Code = Code {
    id: "primus.development-root",
    clause: PAGE,
    meaning: "The chain ends in the root of development modules, which is never trusted.",
};
const MALFORMED: Code = Code {
    id: "primus.malformed",
    clause: PAGE,
    meaning: "The evidence does not have the form of a Primus key attestation.",
};
const NO_CERTIFICATE: Code = Code {
    id: "primus.certificate-missing",
    clause: PAGE,
    meaning: "No certificate of an attestation key came with the evidence.",
};
const CODES: [Code; 4] = [BAD_SIGNATURE, NO_CERTIFICATE, DEVELOPMENT_ROOT, MALFORMED];

/// Certificates of attestation keys that are tried on one signature.
const SIGNERS: usize = 16;
/// What the name of the root of development modules contains.
const DEVELOPMENT: &str = "ROOTKEY_DEV";

static RULES: VendorRules = VendorRules {
    name: "securosys-primus attestation key",
    quirks: &[],
    processed: &[],
    check_last: check_attestation_key,
    pinned: &[],
};

fn check_attestation_key(certificate: &Examined, _: Allowances) -> Result<Vec<Deviation>, PathDefect> {
    if certificate.is_ca() {
        return Err(PathDefect::IsCa);
    }
    match certificate.key_usage() {
        None => Ok(vec![Deviation::KeyUsageAbsent]),
        Some(usage) if usage.contains(KeyUsage::DIGITAL_SIGNATURE) => Ok(Vec::new()),
        Some(_) => Err(PathDefect::KeyUsage),
    }
}

fn authenticate(evidence: &Evidence<'_>, context: &mut Context<'_>) -> Result<Testimony, Rejection> {
    let malformed = |malformed| Rejection::new(MALFORMED, format!("The key attestation cannot be read: {malformed}."));
    let signed = SignedDocument::parse(evidence.content).map_err(malformed)?;
    let path = check_signature(&signed, context)?;
    let attestation = KeyAttestation::parse(signed.document).map_err(malformed)?;
    let at = evidence.statement;
    let key = describe_key(&attestation, at);
    let is_virtual = path.anchor().is_virtual();
    let serial = path.chain().get(1).and_then(|device| device_serial(device.subject()));
    let mut platform = Claims::new();
    platform.promise("vendor", "Securosys", "Securosys", at);
    platform.put_kind(is_virtual, "Securosys", at);
    if let Some(serial) = &serial {
        platform.put("serial", serial.as_str(), Source::Endorsed, at);
    }
    if let Some(time) = time(&attestation, "attest_time") {
        platform.put("attested_at", time, Source::Signed, at);
    }
    let mut attesting = Claims::new();
    attesting.put("spki", base64(path.leaf().spki().as_der()), Source::Signed, at);
    attesting.promise("environment", "module", "Securosys", at);
    chain_claims(&mut attesting, &path, at);
    Ok(Testimony {
        signer: ModuleSigner {
            attesting_keys: Vec::new(),
            key: path.leaf().spki().clone(),
            // A device makes attestation keys of its own, one for each partition.
            module: None,
            claims: attesting,
            device: serial.map(|serial| Device {
                id: format!("{}:{serial}", EVIDENCE.id),
                source: "serial number in the device certificate",
            }),
            is_virtual,
        },
        nonce: NonceField::Unsupported,
        keys: vec![TestifiedKey { spki: Some(attestation.public_key().clone()), claims: key, is_attesting: false }],
        platform: Some(platform),
    })
}

/// The path of the certificate whose key signed the document.
fn check_signature(signed: &SignedDocument<'_>, context: &mut Context<'_>) -> Result<ValidatedPath, Rejection> {
    let algorithm = SignatureAlgorithm::RsaPkcs1(HashAlg::Sha256);
    let trust = context.trust.format(EVIDENCE.id);
    // Keys that say that they issue are tried last: the attestation key's certificate does not.
    let mut candidates: Vec<&CertView> = context.certificates.iter().collect();
    candidates.sort_by_key(|certificate| certificate.subject().matches(certificate.issuer()));
    let mut refusal = Rejection::plain(if candidates.is_empty() { NO_CERTIFICATE } else { BAD_SIGNATURE });
    for certificate in candidates.into_iter().take(SIGNERS) {
        match verify_signature(&mut context.budget, certificate.spki(), algorithm, signed.document, signed.signature) {
            Ok(()) => {}
            Err(error @ SignatureError::BudgetExhausted { .. }) => return Err(budget_rejection(error)),
            Err(
                SignatureError::Invalid
                | SignatureError::KeyMismatch { .. }
                | SignatureError::WeakAlgorithm { .. }
                | SignatureError::WeakKey { .. },
            ) => continue,
        }
        let inputs = PathInputs {
            profile: ChainProfile::Vendor(VendorProfile::new(&RULES)),
            at: context.at,
            revocation: context.revocation,
        };
        match validate_path(certificate, context.certificates, trust, inputs, &mut context.budget) {
            Ok(path) if is_of_development(&path) => return Err(Rejection::plain(DEVELOPMENT_ROOT)),
            Ok(path) => return Ok(path),
            // A second certificate of the same key may be a better one.
            Err(error) => refusal = error.into(),
        }
    }
    Err(refusal)
}

/// Whether any name of a path is that of the makers' root for development modules: whoever filed it as an anchor.
fn is_of_development(path: &ValidatedPath) -> bool {
    let issuers = path.chain().iter().map(CertView::issuer);
    path.anchor().subject().into_iter().chain(issuers).any(|name| common_name(name).contains(DEVELOPMENT))
}

fn common_name(name: &NameView) -> String {
    name.attributes(oid::COMMON_NAME).find_map(|attribute| attribute.text()).unwrap_or_default()
}

/// The serial number in the name of a device certificate: `PRIMUS HSM KEY (SN: 123)`.
fn device_serial(name: &NameView) -> Option<String> {
    let text = common_name(name);
    let (_, rest) = text.split_once("(SN:")?;
    let (digits, _) = rest.split_once(')')?;
    let digits = digits.trim();
    let is_number = !digits.is_empty() && digits.len() <= 32 && digits.bytes().all(|digit| digit.is_ascii_digit());
    is_number.then(|| digits.to_owned())
}

fn time(attestation: &KeyAttestation, name: &str) -> Option<String> {
    attestation.text(name).filter(|text| Instant::from_rfc3339(text).is_ok()).map(str::to_owned)
}

/// Attributes of the document that are claims, each with the claim's name.
const ATTRIBUTES: [(&str, &str); 3] =
    [("extractable", "extractable"), ("never_extractable", "never_extractable"), ("sensitive", "sensitive")];
/// Attributes of the document that are purposes, in the words of PKCS #11 where the document has others.
const PURPOSES: [(&str, &str); 7] = [
    ("decrypt", "decrypt"),
    ("derive", "derive"),
    ("encrypt", "encrypt"),
    ("sign", "sign"),
    ("unwrap", "unwrap"),
    ("verify", "verify"),
    ("wrap", "wrap"),
];

fn describe_key(attestation: &KeyAttestation, at: usize) -> Claims {
    let mut claims = Claims::new();
    claims.put("spki", base64(attestation.public_key().as_der()), Source::Signed, at);
    if let Some(creation) = attestation.creation() {
        let origin = match creation {
            "generated" => "generated",
            "imported" => "imported",
            _ => "unknown",
        };
        claims.put("origin", origin, Source::Signed, at);
        claims.put("local", origin == "generated", Source::Signed, at);
    }
    for (attribute, claim) in ATTRIBUTES {
        if let Some(value) = attestation.attribute(attribute) {
            claims.put(claim, value, Source::Signed, at);
        }
    }
    let has = |(attribute, _): &&(&str, &str)| attestation.attribute(attribute) == Some(true);
    let purposes: Vec<&str> = PURPOSES.iter().filter(has).map(|(_, word)| *word).collect();
    claims.put("purposes", purposes, Source::Signed, at);
    if let Some(label) = attestation.text("label").filter(|label| !label.is_empty()) {
        claims.put("label", printable(label), Source::Signed, at);
    }
    claims
}
