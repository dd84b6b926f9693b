//! Certificates as this authority signs them.

use aws_lc_rs::rand;
use thiserror::Error;
use vouchsafe_evidence::Malformed;
use vouchsafe_evidence::x509::build::{self, CertificateTemplate, CrlTemplate};
use vouchsafe_evidence::x509::{CertView, NameView, SpkiView};
use vouchsafe_verifier::crypto::{SignatureAlgorithm, SignatureBudget, verify_signature};

use crate::certified_key::key_identity;
pub(crate) use crate::issuing_key::SigningKey;
use crate::issuing_key::TokenKeyError;
use crate::lint::{LintError, check_certificate, check_list};
use crate::store::{CertificateRecord, Certified, KeyUse};

/// Octets of a serial number: the most that RFC 5280, section 4.1.2.2, allows.
const SERIAL_OCTETS: usize = 20;
/// Octets of a key identifier.
const KEY_IDENTIFIER_OCTETS: usize = 20;
/// Clocks of relying parties may be behind by this much.
pub(crate) const BACKDATED_SECONDS: i64 = 300;
/// Seconds in a day.
pub(crate) const DAY_SECONDS: i64 = 86_400;

/// Why a certificate could not be made.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertificateError {
    /// What was to be signed breaks a rule, and was not signed.
    #[error("not signed: {0}")]
    Lint(#[from] LintError),
    /// A name or key has a form that cannot be encoded.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The cryptographic library refused an operation.
    #[error("{0} failed")]
    Operation(&'static str),
    /// The key is that of the other role.
    #[error("an authority of the other role has the key")]
    OtherRole,
    /// The token that has the key does not sign.
    #[error("the issuing key's token: {0}")]
    Token(#[from] TokenKeyError),
    /// The signing key is neither P-256 nor P-384 in PKCS#8.
    #[error("the signing key is not an ECDSA key on P-256 or P-384 in PKCS#8")]
    UnknownKey,
}

/// A certificate just made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Issued {
    pub(crate) der: Vec<u8>,
    serial: Vec<u8>,
    not_after: i64,
}

/// What differs between the certificates made here; serial number, version and key identifiers do not.
#[derive(Debug)]
pub(crate) struct Content<'a> {
    pub(crate) subject: NameView,
    pub(crate) spki: &'a SpkiView,
    pub(crate) now: i64,
    pub(crate) validity_days: i64,
    /// Extensions besides the key identifiers.
    pub(crate) extensions: Vec<Vec<u8>>,
}

/// As [`Content`], with the validity to the second.
#[derive(Debug)]
pub(crate) struct SignedContent<'a> {
    pub(crate) subject: NameView,
    pub(crate) spki: &'a SpkiView,
    pub(crate) not_before: i64,
    /// End of validity, unless the issuer's own is nearer.
    pub(crate) not_after: i64,
    /// Extensions besides the key identifiers.
    pub(crate) extensions: Vec<Vec<u8>>,
}

/// By whom a certificate is signed.
#[derive(Debug)]
pub(crate) struct IssuerView<'a> {
    pub(crate) name: &'a NameView,
    pub(crate) key: &'a SigningKey,
    /// End of the issuer's own validity, which no certificate outlives.
    pub(crate) not_after: i64,
    /// The identifier of its key, as its own certificate has it.
    pub(crate) key_identifier: &'a [u8],
    /// Extensions of whatever it signs: where its revocation list and its certificate are had.
    pub(crate) published: &'a [Vec<u8>],
}

impl Issued {
    /// Content octets of the serial number.
    pub(crate) fn serial(&self) -> &[u8] {
        &self.serial
    }

    /// For the record: what it has to do with attesting keys, and whose key it says it certifies.
    pub(crate) fn record(&self, key_use: KeyUse, certified: Certified) -> CertificateRecord {
        let Self { der, serial, not_after } = self.clone();
        CertificateRecord { serial, der, not_after, key_use, certified }
    }

    /// For the record of an attesting key, of which this is a certificate.
    pub(crate) fn record_of(&self, key: &SpkiView) -> CertificateRecord {
        let digest = key.sha256();
        self.record(KeyUse::Of(digest), Certified::attesting(key_identity(key), digest))
    }
}

impl IssuerView<'_> {
    /// The DER of the AlgorithmIdentifier of its signatures.
    pub(crate) fn algorithm(&self) -> Vec<u8> {
        build::algorithm_identifier(self.key.algorithm())
    }
}

/// Signs a revocation list that breaks no rule.
pub(crate) fn sign_list(issuer: &IssuerView<'_>, list: &CrlTemplate) -> Result<Vec<u8>, CertificateError> {
    check_list(list, issuer)?;
    let tbs = list.tbs_der();
    let signature = issuer.key.sign(&tbs)?;
    Ok(build::assemble(&tbs, &issuer.algorithm(), &signature))
}

/// Signs a certificate that is valid from now on, with a random serial number and both key identifiers.
pub(crate) fn sign(issuer: &IssuerView<'_>, content: Content<'_>) -> Result<Issued, CertificateError> {
    let lifetime = content.validity_days.saturating_mul(DAY_SECONDS);
    let content = SignedContent {
        subject: content.subject,
        spki: content.spki,
        not_before: content.now.saturating_sub(BACKDATED_SECONDS),
        not_after: content.now.saturating_add(lifetime),
        extensions: content.extensions,
    };
    sign_content(issuer, content)
}

/// Signs a certificate with a random serial number and both key identifiers, unless it breaks a rule.
pub(crate) fn sign_content(issuer: &IssuerView<'_>, content: SignedContent<'_>) -> Result<Issued, CertificateError> {
    let serial = random_serial()?;
    let not_after = content.not_after.min(issuer.not_after);
    let mut extensions = content.extensions;
    extensions.push(build::subject_key_identifier(&key_identifier(content.spki)));
    extensions.push(build::authority_key_identifier(issuer.key_identifier));
    extensions.extend_from_slice(issuer.published);
    let algorithm = issuer.algorithm();
    let template = CertificateTemplate {
        serial: serial.clone(),
        algorithm: algorithm.clone(),
        issuer: issuer.name.clone(),
        not_before: content.not_before,
        not_after,
        subject: content.subject,
        spki: content.spki.clone(),
        extensions,
    };
    let tbs = template.tbs_der();
    check_certificate(&tbs, issuer)?;
    let signature = issuer.key.sign(&tbs)?;
    Ok(Issued { der: build::assemble(&tbs, &algorithm, &signature), serial, not_after })
}

/// Whether the key of `issuer` signed `certificate`. Names are not looked at.
pub(crate) fn signed_by(certificate: &CertView, issuer: &CertView) -> bool {
    let Ok(algorithm) = SignatureAlgorithm::from_der(certificate.outer_algorithm().as_der()) else { return false };
    let mut budget = SignatureBudget::with_limit(1);
    verify_signature(&mut budget, issuer.spki(), algorithm, certificate.tbs(), certificate.signature()).is_ok()
}

/// 20 octets, positive and not zero: 158 random bits.
fn random_serial() -> Result<Vec<u8>, CertificateError> {
    let mut serial = vec![0; SERIAL_OCTETS];
    rand::fill(&mut serial).map_err(|_| CertificateError::Operation("the random source"))?;
    if let Some(first) = serial.first_mut() {
        *first = *first & 0x3F | 0x40;
    }
    Ok(serial)
}

/// The first 160 bits of SHA-256 over the SubjectPublicKeyInfo (RFC 7093, section 2, method 4).
pub(crate) fn key_identifier(spki: &SpkiView) -> Vec<u8> {
    spki.sha256().into_iter().take(KEY_IDENTIFIER_OCTETS).collect()
}
