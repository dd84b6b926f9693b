//! What the attestation of several Yubico products has in common: a certificate about a key, signed by a key that the
//! maker put into the module, beneath the maker's authorities.

use vouchsafe_evidence::limits;
use vouchsafe_evidence::x509::extensions::{BasicConstraints, KeyUsage};
use vouchsafe_evidence::x509::{CertView, PublicKey, SpkiView};
use vouchsafe_evidence::{Malformed, oid};

use super::vendor::chain_claims;
use crate::authenticate::Context;
use crate::claims::{Claims, Source};
use crate::crypto::{SignatureAlgorithm, SignatureError, verify_signature};
use crate::describe::base64;
use crate::path::{
    ATTESTING_FAMILIES, ChainProfile, Examined, PathDefect, PathError, PathInputs, ValidatedPath, VendorProfile,
    validate_path,
};
use crate::rejection::{Code, Rejection, codes};
use crate::trust::FormatTrust;

/// Who makes these modules.
pub(super) const MAKER: &str = "Yubico";
/// Certificates that do not bear the name of the issuer, and are tried all the same.
const UNNAMED_TRIED: usize = 16;

/// The codes of one format for what is wrong with the certificate about a key.
pub(super) struct LeafCodes {
    pub malformed: Code,
    pub ca: Code,
    pub not_valid: Code,
    pub signature_algorithm: Code,
    pub bad_signature: Code,
    pub signer_missing: Code,
}

/// Checks what a certificate about a key says of itself: it is about an end entity, holds no extension twice and none
/// that is critical and unknown, and is valid at the time of judgement.
pub(super) fn check_leaf(leaf: &CertView, context: &Context<'_>, refusals: &LeafCodes) -> Result<(), Rejection> {
    let malformed = |error: Malformed| Rejection::new(refusals.malformed, format!("The attestation: {error}."));
    for extension in leaf.extensions() {
        leaf.extension(extension.oid()).map_err(malformed)?;
        if extension.is_critical() && ![oid::BASIC_CONSTRAINTS, oid::KEY_USAGE].contains(&extension.oid()) {
            let message = format!("The attestation has the critical extension {}.", extension.oid());
            return Err(Rejection::new(refusals.malformed, message));
        }
    }
    let value = |oid| leaf.extension(oid).map(|found| found.map(|extension| extension.value()));
    let constraints = value(oid::BASIC_CONSTRAINTS).and_then(|value| value.map(BasicConstraints::parse).transpose());
    let usage = value(oid::KEY_USAGE).and_then(|value| value.map(KeyUsage::parse).transpose());
    let is_ca = constraints.map_err(malformed)?.is_some_and(|constraints| constraints.ca);
    let signs = usage.map_err(malformed)?.is_some_and(|usage| usage.contains(KeyUsage::KEY_CERT_SIGN));
    if is_ca || signs {
        return Err(Rejection::plain(refusals.ca));
    }
    let at = context.at.unix_seconds();
    if at < leaf.not_before() || leaf.not_after() < at {
        return Err(Rejection::plain(refusals.not_valid));
    }
    Ok(())
}

/// The certificates of the key that signed `leaf`, found by the signature and not by text: names of one generation
/// differ from those of another. Those of the bundle come first, then helpers of the trust store.
pub(super) fn signers<'a>(
    leaf: &CertView,
    trust: &'a FormatTrust,
    context: &mut Context<'a>,
    refusals: &LeafCodes,
) -> Result<Vec<&'a CertView>, Rejection> {
    let known = context.certificates.iter().chain(trust.intermediates());
    let others = known.filter(|certificate| !certificate.spki().same_key(leaf.spki()));
    let (named, unnamed): (Vec<_>, Vec<_>) =
        others.partition(|certificate| certificate.subject().matches(leaf.issuer()));
    if named.len() > limits::CERTIFICATES_USED {
        return Err(Rejection::plain(codes::LIMIT_CERTIFICATES));
    }
    let none = if named.is_empty() { refusals.signer_missing } else { refusals.bad_signature };
    let (mut found, mut refusal): (Option<&SpkiView>, _) = (None, Rejection::plain(none));
    for candidate in named.iter().chain(unnamed.iter().take(UNNAMED_TRIED)) {
        match signed_by(leaf, candidate.spki(), context, refusals)? {
            Signed::Yes => {
                found = Some(candidate.spki());
                break;
            }
            Signed::ByWeakKey(why) => refusal = why,
            Signed::No => {}
        }
    }
    let Some(key) = found else { return Err(refusal) };
    let mut certificates: Vec<&CertView> = Vec::new();
    for certificate in named.into_iter().chain(unnamed).filter(|certificate| certificate.spki().same_key(key)) {
        if !certificates.contains(&certificate) {
            certificates.push(certificate);
        }
    }
    if certificates.len() > limits::CERTIFICATES_OF_ONE_KEY {
        return Err(Rejection::plain(codes::LIMIT_CERTIFICATES));
    }
    Ok(certificates)
}

/// Whether a key signed a certificate.
enum Signed {
    No,
    Yes,
    /// Its signatures count for nothing, whether it did or not.
    ByWeakKey(Rejection),
}

/// Whether this key signed `leaf`; an error where no key could have, or where too many were tried.
fn signed_by(
    leaf: &CertView,
    key: &SpkiView,
    context: &mut Context<'_>,
    refusals: &LeafCodes,
) -> Result<Signed, Rejection> {
    let weak = |what: &str| Rejection::new(refusals.signature_algorithm, format!("The attestation: {what}."));
    if leaf.inner_algorithm().as_der() != leaf.outer_algorithm().as_der() {
        return Err(weak("its signature algorithm is named in two ways"));
    }
    let algorithm = SignatureAlgorithm::from_der(leaf.outer_algorithm().as_der()).map_err(|e| weak(&e.to_string()))?;
    match verify_signature(&mut context.budget, key, algorithm, leaf.tbs(), leaf.signature()) {
        Ok(()) => Ok(Signed::Yes),
        Err(SignatureError::Invalid | SignatureError::KeyMismatch { .. }) => Ok(Signed::No),
        Err(error @ SignatureError::WeakKey { .. }) => Ok(Signed::ByWeakKey(weak(&error.to_string()))),
        Err(error @ SignatureError::WeakAlgorithm { .. }) => Err(weak(&error.to_string())),
        Err(SignatureError::BudgetExhausted { .. }) => Err(Rejection::plain(codes::LIMIT_SIGNATURE_CHECKS)),
    }
}

/// The first valid path of any certificate of the signing key.
pub(super) fn signer_path(
    certificates: &[&CertView],
    trust: &FormatTrust,
    profile: VendorProfile,
    context: &mut Context<'_>,
) -> Result<ValidatedPath, Rejection> {
    let inputs = PathInputs { profile: ChainProfile::Vendor(profile), at: context.at, revocation: context.revocation };
    let mut failure: Option<PathError> = None;
    for certificate in certificates {
        match validate_path(certificate, context.certificates, trust, inputs, &mut context.budget) {
            Ok(path) => return Ok(path),
            Err(error) => {
                failure = Some(match failure {
                    Some(before) => before.more_specific(error),
                    None => error,
                });
            }
        }
    }
    Err(failure.map_or_else(|| Rejection::plain(codes::AK_CERTIFICATE_MISSING), Rejection::from))
}

/// What the certificate of a key that signs attestations must be like: a CA's, for no purpose of a TPM's attesting key.
pub(super) fn check_signer(certificate: &Examined) -> Result<(), PathDefect> {
    if certificate.purposes().iter().any(|purpose| ATTESTING_FAMILIES.contains(purpose)) {
        return Err(PathDefect::AttestingKeyAsIssuer);
    }
    match certificate.key_usage() {
        Some(usage) if !usage.contains(KeyUsage::KEY_CERT_SIGN) => Err(PathDefect::KeyUsage),
        Some(_) | None => Ok(()),
    }
}

/// What is known of the key that signed, and of the certificates above it.
pub(super) fn signer_claims(path: &ValidatedPath, at: usize) -> Claims {
    let mut claims = Claims::new();
    claims.put("spki", base64(path.leaf().spki().as_der()), Source::Signed, at);
    claims.put("environment", "module", Source::Implied, at);
    chain_claims(&mut claims, path, at);
    if !path.anchor().mark().own_signer {
        claims.put("bootstrap", "manufacturer", Source::Endorsed, at);
    }
    claims.put("issuer", path.leaf().issuer().to_display(), Source::Endorsed, at);
    claims
}

/// What a kind of key can be used for in the words of PKCS #11, where nothing restricts it.
pub(super) fn purposes(key: &SpkiView) -> Vec<&'static str> {
    match key.key() {
        PublicKey::Rsa { .. } => vec!["sign", "decrypt"],
        PublicKey::Ec { .. } => vec!["sign", "derive"],
        PublicKey::Ed25519(_) | PublicKey::MlDsa65(_) => vec!["sign"],
        PublicKey::Unknown { oid } if *oid == oid::X25519 => vec!["derive"],
        PublicKey::Unknown { .. } => Vec::new(),
    }
}
