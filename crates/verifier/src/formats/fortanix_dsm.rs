//! Key attestation statements of Fortanix DSM: certificates that a cluster's Key Attestation Authority signs for keys.
//!
//! The authority's certificate says `cA FALSE`, so the path that is validated ends with it and the statement hangs
//! beneath. Authorities are certified for 30 days at a time, and statements say that they last for ever: a statement is
//! evidence for as long as its authority's certificate is valid. What is said of the key counts in the statement alone;
//! what the authority's certificate says of its cluster is about the platform.

use vouchsafe_evidence::formats::fortanix_dsm::{Defect, KeyAttestation, ROW as EVIDENCE, demands_fx2200, says};
use vouchsafe_evidence::oid;
use vouchsafe_evidence::text::printable;
use vouchsafe_evidence::x509::extensions::{CertificatePolicies, KeyUsage};
use vouchsafe_evidence::x509::{CertView, Quirk};

use super::vendor::chain_claims;
use super::{Evidence, NonceField, Row, TestifiedKey, Testimony};
use crate::authenticate::{Context, ModuleSigner};
use crate::claims::{Claims, Source};
use crate::describe::base64;
use crate::path::{
    ChainProfile, Deviation, Examined, PathDefect, PathError, PathInputs, ValidatedPath, VendorProfile, VendorRules,
    check_beneath, validate_path,
};
use crate::rejection::{Code, Rejection};
use crate::trust::Allowances;

/// How statements are authenticated.
pub(super) static ROW: Row = Row { id: EVIDENCE.id, authenticate, codes: &CODES };

const MAKER: &str = "Fortanix";
const ARTICLE: &str = "Fortanix, Using Fortanix DSM for Verifying Key Attestation Statements";

const AUTHORITY_MISSING: Code = Code {
    id: "fortanix.authority-missing",
    clause: ARTICLE,
    meaning: "No certificate of the Key Attestation Authority that the statement names came with it.",
};
const CLAIM_MALFORMED: Code = Code {
    id: "fortanix.claim-malformed",
    clause: ARTICLE,
    meaning: "An extension of the statement or of its authority's certificate does not have the form of its type.",
};
const MALFORMED: Code = Code {
    id: "fortanix.malformed",
    clause: ARTICLE,
    meaning: "The key attestation does not have the form of Fortanix DSM's.",
};
const POLICY: Code = Code {
    id: "fortanix.authority-policy",
    clause: ARTICLE,
    meaning: "The authority's certificate was not issued under the policy for key attestation.",
};
const UNKNOWN_STATEMENT: Code = Code {
    id: "fortanix.unknown-statement",
    clause: ARTICLE,
    meaning: "The key attestation holds a statement of a kind that is not known.",
};
const CODES: [Code; 5] = [AUTHORITY_MISSING, CLAIM_MALFORMED, MALFORMED, POLICY, UNKNOWN_STATEMENT];

/// Deviations that certificates of DSM are known to show.
const QUIRKS: [Quirk; 2] = [Quirk::ExplicitDefault, Quirk::NonMinimalKeyUsage];

static AUTHORITY: VendorRules = VendorRules {
    name: "fortanix-dsm authority",
    quirks: &QUIRKS,
    processed: &[oid::FORTANIX_NODE_POLICY],
    check_last: check_authority,
    pinned: &[],
};
static STATEMENT: VendorRules = VendorRules {
    name: "fortanix-dsm statement",
    quirks: &QUIRKS,
    processed: &[oid::FORTANIX_GENERATED, oid::FORTANIX_NEVER_EXPORTABLE],
    check_last: check_statement,
    pinned: &[],
};

fn check_authority(certificate: &Examined, _: Allowances) -> Result<Vec<Deviation>, PathDefect> {
    if certificate.is_ca() {
        return Err(PathDefect::IsCa);
    }
    if certificate.purposes() != [oid::KP_FORTANIX_KEY_ATTESTATION] {
        return Err(PathDefect::WrongFamily);
    }
    match certificate.key_usage() {
        Some(usage) if usage.bits() == KeyUsage::DIGITAL_SIGNATURE => Ok(Vec::new()),
        Some(_) | None => Err(PathDefect::KeyUsage),
    }
}

fn check_statement(certificate: &Examined, _: Allowances) -> Result<Vec<Deviation>, PathDefect> {
    if certificate.is_ca() {
        return Err(PathDefect::IsCa);
    }
    Ok(if certificate.key_usage().is_none() { vec![Deviation::KeyUsageAbsent] } else { Vec::new() })
}

fn authenticate(evidence: &Evidence<'_>, context: &mut Context<'_>) -> Result<Testimony, Rejection> {
    let attestation = KeyAttestation::parse(evidence.content).map_err(|defect| match defect {
        Defect::Malformed(malformed) => {
            Rejection::new(MALFORMED, format!("The key attestation cannot be read: {malformed}."))
        }
        Defect::UnknownStatement => Rejection::plain(UNKNOWN_STATEMENT),
    })?;
    let statement = attestation.statement();
    let path = authority_of(&attestation, context)?;
    check_policy(path.leaf())?;
    let at = evidence.statement;
    let key = describe_key(statement, at)?;
    let platform = describe_platform(&path, at)?;
    let mut attesting = Claims::new();
    attesting.put("spki", base64(path.leaf().spki().as_der()), Source::Signed, at);
    attesting.put("issuer", printable(&path.leaf().issuer().to_display()), Source::Endorsed, at);
    attesting.promise("environment", "module", MAKER, at);
    chain_claims(&mut attesting, &path, at);
    Ok(Testimony {
        signer: ModuleSigner {
            attesting_keys: Vec::new(),
            key: path.leaf().spki().clone(),
            // The cluster as a whole holds the keys that its authority speaks of.
            module: None,
            claims: attesting,
            device: None,
            is_virtual: path.anchor().is_virtual(),
        },
        nonce: NonceField::Unsupported,
        keys: vec![TestifiedKey { spki: Some(statement.spki().clone()), claims: key, is_attesting: false }],
        platform: Some(platform),
    })
}

/// The authority that signed the statement, with its path to a trust anchor. Authorities are renewed under one name, so
/// that several certificates may bear it.
fn authority_of(attestation: &KeyAttestation, context: &mut Context<'_>) -> Result<ValidatedPath, Rejection> {
    let statement = attestation.statement();
    let trust = context.trust.format(EVIDENCE.id);
    let mut pool = attestation.authority_chain().to_vec();
    pool.extend(context.certificates.iter().cloned());
    let profile = |rules| ChainProfile::Vendor(VendorProfile::new(rules));
    let inputs = PathInputs { profile: profile(&AUTHORITY), at: context.at, revocation: context.revocation };
    let mut candidates: Vec<&CertView> = Vec::new();
    for certificate in pool.iter().chain(trust.intermediates()) {
        if certificate.subject().matches(statement.issuer()) && !candidates.contains(&certificate) {
            candidates.push(certificate);
        }
    }
    let mut refusal: Option<PathError> = None;
    for authority in candidates {
        let found = check_beneath(statement, authority, (profile(&STATEMENT), context.at), &mut context.budget)
            .and_then(|_| validate_path(authority, &pool, trust, inputs, &mut context.budget));
        match found {
            Ok(path) => return Ok(path),
            Err(error) => {
                refusal = Some(match refusal {
                    Some(known) => known.more_specific(error),
                    None => error,
                });
            }
        }
    }
    Err(refusal.map_or_else(|| Rejection::plain(AUTHORITY_MISSING), Rejection::from))
}

fn check_policy(authority: &CertView) -> Result<(), Rejection> {
    let extension = authority.extension(oid::CERTIFICATE_POLICIES).ok().flatten();
    let policies = extension.and_then(|extension| CertificatePolicies::parse(extension.value()).ok());
    if policies.is_some_and(|policies| policies.policies().contains(&oid::FORTANIX_KEY_ATTESTATION_POLICY)) {
        Ok(())
    } else {
        Err(Rejection::plain(POLICY))
    }
}

fn claim_malformed(malformed: vouchsafe_evidence::Malformed) -> Rejection {
    Rejection::new(CLAIM_MALFORMED, format!("An extension cannot be read: {malformed}."))
}

fn describe_key(statement: &CertView, at: usize) -> Result<Claims, Rejection> {
    let mut claims = Claims::new();
    claims.put("spki", base64(statement.spki().as_der()), Source::Signed, at);
    if says(statement, oid::FORTANIX_GENERATED).map_err(claim_malformed)? {
        claims.put("origin", "generated", Source::Signed, at);
        claims.put("local", true, Source::Signed, at);
    }
    if says(statement, oid::FORTANIX_NEVER_EXPORTABLE).map_err(claim_malformed)? {
        claims.put("extractable", false, Source::Signed, at);
        claims.put("never_extractable", true, Source::Signed, at);
        claims.promise("sensitive", true, MAKER, at);
    }
    let usage = statement.extension(oid::KEY_USAGE).map_err(claim_malformed)?;
    if let Some(usage) = usage {
        let usage = KeyUsage::parse(usage.value()).map_err(claim_malformed)?;
        claims.put("purposes", purposes(usage), Source::Signed, at);
    }
    if let Some(id) = statement.subject().attributes(oid::FORTANIX_KEY_ID).next().and_then(|attribute| attribute.text())
    {
        claims.put("identifier", printable(&id), Source::Signed, at);
    }
    Ok(claims)
}

/// What the private key may do by its key usage, in the words of PKCS #11.
fn purposes(usage: KeyUsage) -> Vec<&'static str> {
    let signing =
        KeyUsage::DIGITAL_SIGNATURE | KeyUsage::NON_REPUDIATION | KeyUsage::KEY_CERT_SIGN | KeyUsage::CRL_SIGN;
    let words = [
        (signing, "sign"),
        (KeyUsage::KEY_ENCIPHERMENT, "unwrap"),
        (KeyUsage::DATA_ENCIPHERMENT, "decrypt"),
        (KeyUsage::KEY_AGREEMENT, "derive"),
    ];
    words.into_iter().filter(|(bits, _)| usage.bits() & bits != 0).map(|(_, word)| word).collect()
}

/// The cluster, as far as its authority's certificate tells.
fn describe_platform(path: &ValidatedPath, at: usize) -> Result<Claims, Rejection> {
    let mut claims = Claims::new();
    claims.promise("vendor", MAKER, MAKER, at);
    let is_appliance = demands_fx2200(path.leaf()).map_err(claim_malformed)?;
    if is_appliance {
        claims.put("model", "FX2200", Source::Endorsed, at);
    }
    // A cluster that does not demand appliances may be a program on any machine.
    if path.anchor().is_virtual() {
        claims.put("kind", "virtual", Source::Endorsed, at);
    } else if is_appliance {
        claims.promise("kind", "physical", MAKER, at);
    }
    Ok(claims)
}
