//! Attestation messages of the Crypto4A QASM: who signed them, that all claims about a key are about one key, and
//! what they say.
//!
//! Claims name private keys by UUID. `key-spki` alone ties a UUID to a public key, so every claim about a key must name
//! the UUID of that one: otherwise the attributes of a good key would be read as another's. Each module signs by keys of
//! its own, its assertion authorities: ECDSA with P-384 is checked here, and at least one such signature must be there.
//! HSS (RFC 8554) is not checked, and the claim `hss` of the attesting key says so; its certificate must be genuine all
//! the same. Times: certificates of assertion authorities do not expire (RFC 5280, 4.1.2.5), those above them do.

use vouchsafe_evidence::formats::crypto4a_qasm::{Claim, ClaimType, Message, ROW as EVIDENCE, Value};
use vouchsafe_evidence::oid::Oid;
use vouchsafe_evidence::x509::{CertView, SpkiView};

use super::vendor::chain_claims;
use super::{Evidence, NonceField, Row, TestifiedKey, Testimony};
use crate::authenticate::{Context, ModuleSigner};
use crate::bind::Device;
use crate::claims::{Claims, Source};
use crate::crypto::{SignatureAlgorithm, SignatureError, verify_signature};
use crate::describe::base64;
use crate::hex;
use crate::path::{
    ChainProfile, Deviation, Examined, PathDefect, PathInputs, ValidatedPath, VendorProfile, VendorRules, validate_path,
};
use crate::rejection::{Code, Rejection};
use crate::time::Instant;
use crate::trust::Allowances;
use vouchsafe_evidence::x509::extensions::KeyUsage;

/// How messages are authenticated.
pub(super) static ROW: Row = Row { id: EVIDENCE.id, authenticate, codes: &CODES };

const PAGE: &str = "PKI Consortium, Remote Key Attestation, Crypto4A QASM, Verifying Attestations";

const BAD_SIGNATURE: Code = Code {
    id: "qasm.bad-signature",
    clause: PAGE,
    meaning: "A signature over the attestation message is not that of its assertion authority.",
};
const CONTRADICTION: Code = Code {
    id: "qasm.contradiction",
    clause: PAGE,
    meaning: "The attestation message says of a capability both that the key has it and that it has it not.",
};
const DUPLICATE_CLAIM: Code =
    Code { id: "qasm.duplicate-claim", clause: PAGE, meaning: "The attestation message makes one claim twice." };
const KEY_MISSING: Code = Code {
    id: "qasm.key-missing",
    clause: PAGE,
    meaning: "The attestation message does not say which public key its claims are about.",
};
const MALFORMED: Code = Code {
    id: "qasm.malformed",
    clause: PAGE,
    meaning: "The attestation message does not have the form of the Crypto4A QASM's.",
};
const NOT_SIGNED: Code = Code {
    id: "qasm.not-signed",
    clause: PAGE,
    meaning: "The attestation message has no signature of a kind that is checked.",
};
const OTHER_KEY: Code = Code {
    id: "qasm.other-key",
    clause: PAGE,
    meaning: "A claim is about another key than the one whose public part the attestation message names.",
};
const SIGNATURE_ALGORITHM: Code = Code {
    id: "qasm.signature-algorithm",
    clause: PAGE,
    meaning: "The attestation message is signed by an algorithm that no assertion authority has, or by a weak one.",
};
const CODES: [Code; 8] =
    [BAD_SIGNATURE, CONTRADICTION, DUPLICATE_CLAIM, KEY_MISSING, MALFORMED, NOT_SIGNED, OTHER_KEY, SIGNATURE_ALGORITHM];

/// Purpose of the certificates of assertion authorities: 1.3.6.1.4.1.39901.4.1.1.
const PURPOSE: [u8; 11] = [0x2B, 0x06, 0x01, 0x04, 0x01, 0x82, 0xB7, 0x5D, 0x04, 0x01, 0x01];
/// id-alg-hss-lms-hashsig (RFC 8708): 1.2.840.113549.1.9.16.3.17.
const HSS: [u8; 11] = [0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x09, 0x10, 0x03, 0x11];
/// Class of private keys in claims.
const PRIVATE_KEY: u64 = 4;
/// Capabilities in claims, in the words of PKCS #11. Others are given by their number.
const CAPABILITIES: [(u64, &str); 2] = [(0x0105, "sign"), (0x0107, "derive")];

static RULES: VendorRules = VendorRules {
    name: "crypto4a-qasm assertion authority",
    quirks: &[],
    processed: &[],
    check_last: check_assertion_authority,
    pinned: &[],
};

fn check_assertion_authority(certificate: &Examined, _: Allowances) -> Result<Vec<Deviation>, PathDefect> {
    if certificate.is_ca() {
        return Err(PathDefect::IsCa);
    }
    if !matches!(certificate.purposes(), [purpose] if purpose.as_der_contents() == PURPOSE) {
        return Err(PathDefect::WrongFamily);
    }
    match certificate.key_usage() {
        None => Ok(vec![Deviation::KeyUsageAbsent]),
        Some(usage) if usage.contains(KeyUsage::DIGITAL_SIGNATURE) => Ok(Vec::new()),
        Some(_) => Err(PathDefect::KeyUsage),
    }
}

fn authenticate(evidence: &Evidence<'_>, context: &mut Context<'_>) -> Result<Testimony, Rejection> {
    let message = Message::parse(evidence.content).map_err(|malformed| {
        Rejection::new(MALFORMED, format!("The attestation message cannot be read: {malformed}."))
    })?;
    let signers = check_signatures(&message, context)?;
    let claims = KeyClaims::collect(&message)?;
    let at = evidence.statement;
    let (platform, serial) = describe_module(&message, signers.first.anchor().is_virtual(), at)?;
    let key = claims.describe(at)?;
    let mut attesting = Claims::new();
    attesting.put("spki", base64(signers.first.leaf().spki().as_der()), Source::Signed, at);
    attesting.promise("environment", "module", "Crypto4A", at);
    if signers.has_unchecked {
        attesting.put("hss", "unchecked", Source::Signed, at);
    }
    chain_claims(&mut attesting, &signers.first, at);
    Ok(Testimony {
        signer: ModuleSigner {
            attesting_keys: Vec::new(),
            key: signers.first.leaf().spki().clone(),
            // Each module has assertion authorities of its own.
            module: None,
            claims: attesting,
            device: serial.map(|serial| Device {
                id: format!("{}:{serial}", EVIDENCE.id),
                source: "serial number in the attestation message",
            }),
            is_virtual: signers.first.anchor().is_virtual(),
        },
        nonce: NonceField::Unsupported,
        keys: vec![TestifiedKey { spki: Some(claims.spki), claims: key, is_attesting: false }],
        platform: Some(platform),
    })
}

/// Who signed a message.
struct Signers {
    /// The path of the first signature that was checked.
    first: ValidatedPath,
    /// Whether there is a signature by HSS, which is not checked.
    has_unchecked: bool,
}

fn check_signatures(message: &Message<'_>, context: &mut Context<'_>) -> Result<Signers, Rejection> {
    let beside = message.certificates().iter().chain(context.certificates);
    let pool: Vec<CertView> = beside.cloned().collect();
    let (mut first, mut has_unchecked) = (None, false);
    for signature in message.signatures() {
        let inputs = PathInputs {
            profile: ChainProfile::Vendor(VendorProfile::new(&RULES)),
            at: context.at,
            revocation: context.revocation,
        };
        let trust = context.trust.format(EVIDENCE.id);
        if signature.algorithm.oid().as_der_contents() == HSS {
            validate_path(&signature.certificate, &pool, trust, inputs, &mut context.budget)?;
            has_unchecked = true;
            continue;
        }
        let algorithm = match SignatureAlgorithm::from_der(signature.algorithm.as_der()) {
            Ok(algorithm @ SignatureAlgorithm::Ecdsa(_)) => algorithm,
            Ok(_) | Err(_) => return Err(Rejection::plain(SIGNATURE_ALGORITHM)),
        };
        let key = signature.certificate.spki();
        verify_signature(&mut context.budget, key, algorithm, message.signed(), signature.octets)
            .map_err(signature_rejection)?;
        let path = validate_path(&signature.certificate, &pool, trust, inputs, &mut context.budget)?;
        first.get_or_insert(path);
    }
    first.map(|first| Signers { first, has_unchecked }).ok_or_else(|| Rejection::plain(NOT_SIGNED))
}

fn signature_rejection(error: SignatureError) -> Rejection {
    match error {
        SignatureError::BudgetExhausted { .. } => super::vendor::budget_rejection(error),
        SignatureError::Invalid => Rejection::plain(BAD_SIGNATURE),
        SignatureError::KeyMismatch { .. } | SignatureError::WeakAlgorithm { .. } | SignatureError::WeakKey { .. } => {
            Rejection::new(SIGNATURE_ALGORITHM, format!("The attestation message's signature does not count: {error}."))
        }
    }
}

fn malformed_claim(claim: &Claim<'_>) -> Rejection {
    Rejection::new(MALFORMED, format!("The claim {} has a value that is not of its kind.", claim.name()))
}

/// Whether the same is claimed once only. Of capabilities there may be several claims.
fn check_no_duplicates(claims: &[Claim<'_>]) -> Result<(), Rejection> {
    let mut seen: Vec<(Oid, Option<Value<'_>>)> = Vec::new();
    for claim in claims {
        let value = match claim.kind() {
            ClaimType::Key(13..=16) => claim.value,
            ClaimType::Module(_) | ClaimType::Key(_) | ClaimType::Other => None,
        };
        if seen.contains(&(claim.oid, value)) {
            let message = format!("The attestation message makes the claim {} twice.", claim.name());
            return Err(Rejection::new(DUPLICATE_CLAIM, message));
        }
        seen.push((claim.oid, value));
    }
    Ok(())
}

/// The claims about the one key.
struct KeyClaims<'a> {
    uuid: &'a [u8],
    spki: SpkiView,
    claims: Vec<Claim<'a>>,
}

impl<'a> KeyClaims<'a> {
    fn collect(message: &Message<'a>) -> Result<Self, Rejection> {
        check_no_duplicates(message.claims())?;
        let about_keys = |claim: &&Claim<'a>| match claim.kind() {
            ClaimType::Key(0) | ClaimType::Module(_) => false,
            ClaimType::Key(_) => true,
            // What is not known may be about a key, and then it is about this one.
            ClaimType::Other => claim.about.is_some(),
        };
        let claims: Vec<Claim<'a>> = message.claims().iter().filter(about_keys).copied().collect();
        let named = claims.iter().find(|claim| claim.kind() == ClaimType::Key(1));
        let Some(named) = named else { return Err(Rejection::plain(KEY_MISSING)) };
        let (Some(uuid), Some(Value::Octets(der))) = (named.about, named.value) else {
            return Err(malformed_claim(named));
        };
        let spki = SpkiView::parse(der).map_err(|malformed| {
            Rejection::new(MALFORMED, format!("The public key of the claim key-spki cannot be read: {malformed}."))
        })?;
        match claims.iter().find(|claim| claim.about != Some(uuid)) {
            Some(other) => Err(Rejection::new(
                OTHER_KEY,
                format!("The claim {} is about another key than {}.", other.name(), hex::encode(uuid)),
            )),
            None => Ok(Self { uuid, spki, claims }),
        }
    }

    /// Whether a claim that has no value is there.
    fn has(&self, number: u8) -> Result<bool, Rejection> {
        match self.claims.iter().find(|claim| claim.kind() == ClaimType::Key(number)) {
            None => Ok(false),
            Some(Claim { value: None, .. }) => Ok(true),
            Some(claim) => Err(malformed_claim(claim)),
        }
    }

    fn describe(&self, at: usize) -> Result<Claims, Rejection> {
        let mut claims = Claims::new();
        claims.put("spki", base64(self.spki.as_der()), Source::Signed, at);
        claims.put("identifier", uuid_text(self.uuid), Source::Signed, at);
        claims.promise("sensitive", true, "Crypto4A", at);
        let (confined, generated, never_extracted) = (self.has(7)?, self.has(8)?, self.has(9)?);
        if generated {
            claims.put("origin", "generated", Source::Signed, at);
            claims.put("local", true, Source::Signed, at);
        }
        if confined {
            claims.put("extractable", false, Source::Signed, at);
        }
        if never_extracted {
            claims.put("never_extractable", true, Source::Signed, at);
        }
        let archived = self.claims.iter().any(|claim| claim.kind() == ClaimType::Key(16));
        if archived {
            claims.put("recoverable", true, Source::Signed, at);
        } else if confined {
            claims.put("device_bound", true, Source::Signed, at);
        }
        self.check_class()?;
        let purposes = self.purposes()?;
        if !purposes.is_empty() {
            claims.put("purposes", purposes, Source::Signed, at);
        }
        Ok(claims)
    }

    /// A claim of another class than private keys would speak of the public part alone.
    fn check_class(&self) -> Result<(), Rejection> {
        match self.claims.iter().find(|claim| claim.kind() == ClaimType::Key(4)) {
            None | Some(Claim { value: Some(Value::Integer(PRIVATE_KEY)), .. }) => Ok(()),
            Some(Claim { value: Some(Value::Integer(_)), .. }) => {
                Err(Rejection::new(OTHER_KEY, "The claims are about an object that is not a private key."))
            }
            Some(claim) => Err(malformed_claim(claim)),
        }
    }

    fn purposes(&self) -> Result<Vec<String>, Rejection> {
        let of_kind = |number| self.claims.iter().filter(move |claim| claim.kind() == ClaimType::Key(number));
        let (capabilities, denied) = (of_kind(13), of_kind(14));
        let denied: Vec<Option<Value<'_>>> = denied.map(|claim| claim.value).collect();
        if let Some(claim) = of_kind(13).find(|claim| denied.contains(&claim.value)) {
            let message = format!("The claim {} has a value that another claim denies.", claim.name());
            return Err(Rejection::new(CONTRADICTION, message));
        }
        capabilities
            .map(|claim| match claim.value {
                Some(Value::Integer(number)) => {
                    let known = CAPABILITIES.iter().find(|(capability, _)| *capability == number);
                    Ok(known.map_or_else(|| format!("{number:#06x}"), |(_, word)| (*word).to_owned()))
                }
                Some(Value::Octets(_) | Value::Text(_) | Value::Time(_)) | None => Err(malformed_claim(claim)),
            })
            .collect()
    }
}

/// What is said about the module, and its serial number.
fn describe_module<'a>(
    message: &Message<'a>,
    is_virtual: bool,
    at: usize,
) -> Result<(Claims, Option<&'a str>), Rejection> {
    let mut platform = Claims::new();
    platform.promise("vendor", "Crypto4A", "Crypto4A", at);
    platform.promise("model", "QASM", "Crypto4A", at);
    if is_virtual {
        platform.put("kind", "virtual", Source::Endorsed, at);
    }
    let mut serial = None;
    for claim in message.claims() {
        let ClaimType::Module(number) = claim.kind() else { continue };
        match (number, claim.about, claim.value) {
            (0, None, Some(Value::Octets(uuid))) => platform.put("identifier", uuid_text(uuid), Source::Signed, at),
            (1, None, Some(Value::Text(text))) if !text.is_empty() => {
                serial = Some(text);
                platform.put("serial", text, Source::Signed, at);
            }
            (2, None, Some(Value::Time(text))) => {
                let time = time_text(text).ok_or_else(|| malformed_claim(claim))?;
                platform.put("attested_at", time, Source::Signed, at);
            }
            (3, None, Some(Value::Text(text))) => platform.put("fw_version", text, Source::Signed, at),
            (4, None, None) => {
                platform.put("certified_production", true, Source::Signed, at);
                if !is_virtual {
                    platform.put("kind", "physical", Source::Signed, at);
                }
            }
            (5, None, None) => platform.put("fips", serde_json::json!({ "mode": true }), Source::Signed, at),
            (0..=5, ..) => return Err(malformed_claim(claim)),
            _ => {}
        }
    }
    Ok((platform, serial))
}

/// A UUID with its hyphens.
fn uuid_text(octets: &[u8]) -> String {
    let digits = hex::encode(octets);
    let part = |from: usize, to: usize| digits.get(from..to).unwrap_or_default();
    if digits.len() != 32 {
        return digits;
    }
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

/// A GeneralizedTime of seconds in UTC as RFC 3339 writes it.
fn time_text(text: &str) -> Option<String> {
    let digits = text.strip_suffix('Z').filter(|digits| digits.len() == 14)?;
    let part = |from: usize, to: usize| digits.get(from..to);
    let (date, time) = ([part(0, 4)?, part(4, 6)?, part(6, 8)?], [part(8, 10)?, part(10, 12)?, part(12, 14)?]);
    let written = format!("{}T{}Z", date.join("-"), time.join(":"));
    Instant::from_rfc3339(&written).ok().map(|_| written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_identifiers_are_written_as_standards_have_it() {
        assert_eq!(time_text("20240612143307Z").as_deref(), Some("2024-06-12T14:33:07Z"));
        for wrong in ["20241312143307Z", "20240612143307", "2024061214330Z", "2024-6-12143307Z", ""] {
            assert_eq!(time_text(wrong), None, "{wrong}");
        }
        let octets: Vec<u8> = (0..16).collect();
        assert_eq!(uuid_text(&octets), "00010203-0405-0607-0809-0a0b0c0d0e0f");
    }
}
