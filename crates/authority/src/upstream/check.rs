//! Whether a certificate from elsewhere is the one that was decided here: an upstream that errs, or lies, gives nobody a
//! certificate of this authority's profiles.

use thiserror::Error;
use vouchsafe_evidence::oid::{self, Oid};
use vouchsafe_evidence::x509::extensions::{AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage};
use vouchsafe_evidence::x509::extensions::{SubjectAltName, subject_key_identifier};
use vouchsafe_evidence::x509::{CertView, Version};
use vouchsafe_evidence::{Malformed, limits};
use vouchsafe_verifier::crypto::{SignatureAlgorithm, SignatureBudget, verify_signature};

use super::{Order, Wanted};
use crate::certificate::{BACKDATED_SECONDS, DAY_SECONDS};
use crate::protocol::cmp::oids;
use crate::registration::has_purpose;

/// Octets of a serial number (RFC 5280, section 4.1.2.2).
const SERIAL_OCTETS_MAX: usize = 20;

/// In what a certificate from elsewhere is not what was decided.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertificateDefect {
    /// It is a CA's, or its key may sign certificates or revocation lists.
    #[error("it is one of a CA")]
    Ca,
    /// An extension that nobody here knows is critical, or an extension stands there twice.
    #[error("its extension {0} is critical and not known here")]
    Extension(Oid),
    /// The issuer is none of the configured CAs, or the signature is not its.
    #[error("it was not signed by the CA of the configuration")]
    Issuer,
    /// It is for another key.
    #[error("it is for another key")]
    Key,
    /// Not a certificate of version 3 in strict DER.
    #[error("it is no certificate of version 3 in DER: {0}")]
    Malformed(String),
    /// It has other alternative names.
    #[error("it has other alternative names")]
    Names,
    /// It is for other purposes.
    #[error("it is for other purposes")]
    Purposes,
    /// The serial number is missing or too long.
    #[error("its serial number is not one of 1 to {SERIAL_OCTETS_MAX} octets")]
    Serial,
    /// It has another subject.
    #[error("it has another subject")]
    Subject,
    /// It is valid for longer than the profile says, from another time on, or beyond its CA.
    #[error("it is valid at other times than the profile says")]
    Validity,
}

impl From<Malformed> for CertificateDefect {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed.to_string())
    }
}

/// The certificates of an upstream CA: those that issue, and those between them and the root.
#[derive(Clone, Debug)]
pub(super) struct Issuers(Vec<CertView>);

impl Issuers {
    /// These certificates; nothing unless each is a CA's.
    pub(super) fn new(certificates: Vec<CertView>) -> Option<Self> {
        let are_cas = !certificates.is_empty() && certificates.iter().all(is_ca);
        are_cas.then_some(Self(certificates))
    }

    /// The CA that signed a certificate.
    fn of(&self, certificate: &CertView, now: i64) -> Option<&CertView> {
        let algorithm = SignatureAlgorithm::from_der(certificate.outer_algorithm().as_der()).ok()?;
        self.0.iter().find(|issuer| {
            let is_valid = (issuer.not_before()..=issuer.not_after()).contains(&now);
            let mut budget = SignatureBudget::new();
            is_valid
                && names_issuer(certificate, issuer)
                && verify_signature(&mut budget, issuer.spki(), algorithm, certificate.tbs(), certificate.signature())
                    .is_ok()
        })
    }

    /// Whether the key of a certificate may sign messages in the name of one of these CAs: it is one of them, or one of them
    /// signed it for that.
    pub(super) fn vouch_for(&self, signer: &CertView, now: i64) -> bool {
        let is_valid = (signer.not_before()..=signer.not_after()).contains(&now);
        let is_one = self.0.iter().any(|issuer| issuer.as_der() == signer.as_der());
        is_valid && (is_one || (has_purpose(signer, oids::KP_CMC_CA) && self.of(signer, now).is_some()))
    }

    /// The certificates between a leaf and the root, the one that signed the leaf first.
    pub(super) fn chain_of(&self, leaf: &CertView) -> Vec<Vec<u8>> {
        let mut chain: Vec<&CertView> = Vec::new();
        let mut below = leaf;
        while chain.len() < self.0.len() {
            let above = self.0.iter().find(|issuer| {
                names_issuer(below, issuer)
                    && issuer.subject() != issuer.issuer()
                    && !chain.iter().any(|known| known.as_der() == issuer.as_der())
            });
            let Some(above) = above else { break };
            chain.push(above);
            below = above;
        }
        chain.into_iter().map(|certificate| certificate.as_der().to_vec()).collect()
    }

    /// Whether a name is that of one of these CAs.
    pub(super) fn have_name(&self, name: &vouchsafe_evidence::x509::NameView) -> bool {
        self.0.iter().any(|issuer| issuer.subject().matches(name))
    }

    /// Whether the issuer of a certificate is one of these CAs, by name and key identifier.
    pub(super) fn include_issuer_of(&self, certificate: &CertView) -> bool {
        self.0.iter().any(|issuer| names_issuer(certificate, issuer))
    }

    /// The certificates, DER.
    pub(super) fn certificates(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(CertView::as_der)
    }
}

/// RFC 5280, sections 4.2.1.3 and 4.2.1.9.
fn is_ca(certificate: &CertView) -> bool {
    let ca = match certificate.extension(oid::BASIC_CONSTRAINTS) {
        Ok(Some(constraints)) => BasicConstraints::parse(constraints.value()).is_ok_and(|constraints| constraints.ca),
        Ok(None) | Err(_) => false,
    };
    let signs = match certificate.extension(oid::KEY_USAGE) {
        Ok(Some(usage)) => KeyUsage::parse(usage.value()).is_ok_and(|usage| usage.contains(KeyUsage::KEY_CERT_SIGN)),
        Ok(None) => true,
        Err(_) => false,
    };
    ca && signs
}

/// Whether a certificate names this one as its issuer's.
fn names_issuer(certificate: &CertView, issuer: &CertView) -> bool {
    issuer.subject().matches(certificate.issuer()) && names_key_of(certificate, issuer)
}

/// Whether authorityKeyIdentifier, where it names a key, names this issuer's.
fn names_key_of(certificate: &CertView, issuer: &CertView) -> bool {
    let named = match certificate.extension(oid::AUTHORITY_KEY_IDENTIFIER) {
        Ok(None) => return true,
        Ok(Some(extension)) => AuthorityKeyIdentifier::parse(extension.value()),
        Err(_) => return false,
    };
    let Ok(named) = named else { return false };
    match (named.key_identifier(), issuer.extension(oid::SUBJECT_KEY_IDENTIFIER)) {
        (None, _) | (Some(_), Ok(None)) => true,
        (Some(named), Ok(Some(own))) => subject_key_identifier(own.value()).is_ok_and(|own| own == named),
        (Some(_), Err(_)) => false,
    }
}

/// The certificate, if it is what was ordered, by one of these CAs.
pub(super) fn ordered(der: &[u8], order: &Order, issuers: &Issuers, now: i64) -> Result<CertView, CertificateDefect> {
    if der.len() > limits::CERTIFICATE_OCTETS {
        return Err(CertificateDefect::Malformed(format!("{} octets", der.len())));
    }
    let certificate = CertView::parse(der)?;
    if certificate.version() != Version::V3 || !certificate.is_strict_der() {
        return Err(CertificateDefect::Malformed("the version, or the encoding".to_owned()));
    }
    if certificate.inner_algorithm().as_der() != certificate.outer_algorithm().as_der() {
        return Err(CertificateDefect::Malformed("two signature algorithms".to_owned()));
    }
    if !certificate.spki().same_key(order.spki()) {
        return Err(CertificateDefect::Key);
    }
    if certificate.subject() != &order.wanted.subject && !certificate.subject().matches(&order.wanted.subject) {
        return Err(CertificateDefect::Subject);
    }
    let significant = certificate.serial().iter().skip_while(|octet| **octet == 0).count();
    if significant == 0 || significant > SERIAL_OCTETS_MAX {
        return Err(CertificateDefect::Serial);
    }
    check_times(&certificate, &order.wanted, now)?;
    check_extensions(&certificate, &order.wanted)?;
    let issuer = issuers.of(&certificate, now).ok_or(CertificateDefect::Issuer)?;
    if certificate.not_after() > issuer.not_after() {
        return Err(CertificateDefect::Validity);
    }
    Ok(certificate)
}

/// Not longer than the profile says; and begun now, give or take a day: a certificate from long ago would make true what a
/// key signed before anything about it was known.
fn check_times(certificate: &CertView, wanted: &Wanted, now: i64) -> Result<(), CertificateDefect> {
    let begins = now.saturating_sub(DAY_SECONDS)..=now.saturating_add(BACKDATED_SECONDS);
    let ends = now..=wanted.not_after.saturating_add(BACKDATED_SECONDS);
    let is_within = begins.contains(&certificate.not_before()) && ends.contains(&certificate.not_after());
    if is_within { Ok(()) } else { Err(CertificateDefect::Validity) }
}

fn check_extensions(certificate: &CertView, wanted: &Wanted) -> Result<(), CertificateDefect> {
    const KNOWN: [Oid; 5] = [
        oid::BASIC_CONSTRAINTS,
        oid::KEY_USAGE,
        oid::EXTENDED_KEY_USAGE,
        oid::SUBJECT_ALT_NAME,
        oid::CERTIFICATE_POLICIES,
    ];
    let mut seen: Vec<Oid> = Vec::new();
    for extension in certificate.extensions() {
        let is_unknown = extension.is_critical() && !KNOWN.contains(&extension.oid());
        // What a certificate publishes of its attestation, this authority decides: an upstream knows of none.
        if is_unknown || seen.contains(&extension.oid()) || extension.oid() == oid::AA_ATTESTATION {
            return Err(CertificateDefect::Extension(extension.oid()));
        }
        seen.push(extension.oid());
    }
    if let Some(constraints) = certificate.extension(oid::BASIC_CONSTRAINTS)?
        && BasicConstraints::parse(constraints.value())?.ca
    {
        return Err(CertificateDefect::Ca);
    }
    let usage = certificate.extension(oid::KEY_USAGE)?.ok_or(CertificateDefect::Purposes)?;
    let usage = KeyUsage::parse(usage.value())?;
    if usage.bits() & (KeyUsage::KEY_CERT_SIGN | KeyUsage::CRL_SIGN) != 0 {
        return Err(CertificateDefect::Ca);
    }
    let purposes = certificate.extension(oid::EXTENDED_KEY_USAGE)?.ok_or(CertificateDefect::Purposes)?;
    let purposes = ExtendedKeyUsage::parse(purposes.value())?;
    let are_same = purposes.purposes().iter().all(|purpose| wanted.purposes.contains(purpose))
        && wanted.purposes.iter().all(|purpose| purposes.contains(*purpose));
    if !are_same || !usage.contains(KeyUsage::DIGITAL_SIGNATURE) {
        return Err(CertificateDefect::Purposes);
    }
    let names = match certificate.extension(oid::SUBJECT_ALT_NAME)? {
        Some(names) => SubjectAltName::parse(names.value())?.names().to_vec(),
        None => Vec::new(),
    };
    if wanted.has_names(&names) { Ok(()) } else { Err(CertificateDefect::Names) }
}
