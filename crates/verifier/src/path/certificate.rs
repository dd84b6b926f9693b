//! A certificate with those of its extensions that path validation decides by.

use std::sync::Arc;

use vouchsafe_evidence::Malformed;
use vouchsafe_evidence::oid::{self, Oid};
use vouchsafe_evidence::x509::extensions::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, GeneralName, KeyUsage, NameConstraints, SubjectAltName,
    subject_key_identifier,
};
use vouchsafe_evidence::x509::{CertView, Quirk, Version};

use super::error::{PathDefect, PathError};
use super::names::Constraints;
use super::policy::PolicyExtensions;
use crate::Instant;

/// What a profile tolerated of a certificate of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Deviation {
    /// The certificate of an endorsement key does not state its purpose; its issuer is pinned for that.
    EkPurposeAbsent,
    /// It does not state whether it is a CA, as it should; its issuer is pinned for that.
    BasicConstraintsAbsent,
    /// The last certificate does not state its key usage.
    KeyUsageAbsent,
    /// The encoding is not strict.
    Quirk(Quirk),
    /// It is signed with SHA-1; its issuer is pinned for that.
    Sha1Signature,
}

impl Deviation {
    /// Its name in reports.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::BasicConstraintsAbsent => "basic-constraints-absent",
            Self::EkPurposeAbsent => "ek-purpose-absent",
            Self::KeyUsageAbsent => "key-usage-absent",
            Self::Quirk(quirk) => quirk.label(),
            Self::Sha1Signature => "sha1-signature",
        }
    }
}

/// Extensions that are processed here and may therefore be critical.
const PROCESSED: [Oid; 11] = [
    oid::AUTHORITY_KEY_IDENTIFIER,
    oid::BASIC_CONSTRAINTS,
    oid::CERTIFICATE_POLICIES,
    oid::EXTENDED_KEY_USAGE,
    oid::INHIBIT_ANY_POLICY,
    oid::KEY_USAGE,
    oid::NAME_CONSTRAINTS,
    oid::POLICY_CONSTRAINTS,
    oid::POLICY_MAPPINGS,
    oid::SUBJECT_ALT_NAME,
    oid::SUBJECT_KEY_IDENTIFIER,
];

/// The extensions of one certificate, read once.
#[derive(Debug)]
pub(crate) struct Examined {
    version: Version,
    has_subject: bool,
    quirks: Vec<Quirk>,
    not_before: Instant,
    not_after: Instant,
    purposes_are_critical: bool,
    basic_constraints: Option<BasicConstraints>,
    key_usage: Option<KeyUsage>,
    purposes: Option<ExtendedKeyUsage>,
    constraints: Option<Arc<Constraints>>,
    policies: PolicyExtensions,
    subject_key_identifier: Option<Vec<u8>>,
    authority_key_identifier: Option<Vec<u8>>,
    has_tpma_object: bool,
}

impl Examined {
    /// Reads the extensions of `certificate`; those of `processed` are left to others.
    ///
    /// # Errors
    /// An extension is there twice, is critical and unknown, or is malformed and decides something.
    pub(super) fn new(certificate: &CertView, processed: &[Oid]) -> Result<Self, PathError> {
        let fail = |defect| PathError::of_certificate(defect, certificate);
        check_types(certificate, processed).map_err(fail)?;
        Self::read(certificate).map_err(|malformed| fail(PathDefect::MalformedExtension(malformed)))
    }

    fn read(certificate: &CertView) -> Result<Self, Malformed> {
        let value = |oid| certificate.extension(oid).map(|found| found.map(|extension| extension.value()));
        let purposes = certificate.extension(oid::EXTENDED_KEY_USAGE)?;
        let alternative_names = certificate.extension(oid::SUBJECT_ALT_NAME)?;
        if let Some(names) = alternative_names.filter(|names| names.is_critical()) {
            SubjectAltName::parse(names.value())?;
        }
        let constraints = value(oid::NAME_CONSTRAINTS)?.map(NameConstraints::parse).transpose()?;
        // Key identifiers are hints: one that cannot be read is one that is not there.
        let authority =
            value(oid::AUTHORITY_KEY_IDENTIFIER)?.and_then(|value| AuthorityKeyIdentifier::parse(value).ok());
        let subject = value(oid::SUBJECT_KEY_IDENTIFIER)?.and_then(|value| subject_key_identifier(value).ok());
        Ok(Self {
            version: certificate.version(),
            has_subject: !certificate.subject().is_empty(),
            quirks: certificate.quirks().to_vec(),
            not_before: Instant::from_unix_seconds(certificate.not_before()),
            not_after: Instant::from_unix_seconds(certificate.not_after()),
            purposes_are_critical: purposes.is_some_and(|extension| extension.is_critical()),
            basic_constraints: value(oid::BASIC_CONSTRAINTS)?.map(BasicConstraints::parse).transpose()?,
            key_usage: value(oid::KEY_USAGE)?.map(KeyUsage::parse).transpose()?,
            purposes: purposes.map(|extension| ExtendedKeyUsage::parse(extension.value())).transpose()?,
            constraints: constraints.map(|constraints| Arc::new(Constraints::new(constraints))),
            policies: PolicyExtensions::read(certificate)?,
            subject_key_identifier: subject.map(<[u8]>::to_vec),
            authority_key_identifier: authority.and_then(|known| known.key_identifier().map(<[u8]>::to_vec)),
            has_tpma_object: value(oid::TPMA_OBJECT)?.is_some(),
        })
    }

    /// Whether every deviation of the encoding is among those allowed.
    pub(super) fn check_encoding(&self, allowed: &[Quirk]) -> Result<(), PathDefect> {
        match self.quirks.iter().find(|quirk| !allowed.contains(quirk)) {
            Some(quirk) => Err(PathDefect::NotDer(*quirk)),
            None => Ok(()),
        }
    }

    /// Whether `at` lies in the validity, both ends included (RFC 5280, section 4.1.2.5).
    pub(super) fn check_validity(&self, at: Instant) -> Result<(), PathDefect> {
        if at < self.not_before {
            return Err(PathDefect::NotYetValid { not_before: self.not_before, at });
        }
        if at > self.not_after {
            return Err(PathDefect::Expired { not_after: self.not_after, at });
        }
        Ok(())
    }

    /// Whether it may issue (RFC 5280, section 6.1.4 k and n). A CA has a name (section 4.1.2.6), or else two of
    /// them could not be told apart.
    pub(super) fn check_is_ca(&self) -> Result<(), PathDefect> {
        if self.version != Version::V3 || !self.is_ca() || !self.has_subject {
            return Err(PathDefect::NotCa);
        }
        self.check_may_sign_certificates()
    }

    /// Whether it does not say of itself that it may not issue. Older anchors say nothing at all.
    pub(super) fn check_may_be_anchor(&self) -> Result<(), PathDefect> {
        if self.basic_constraints.is_some_and(|constraints| !constraints.ca) {
            return Err(PathDefect::NotCa);
        }
        self.check_may_sign_certificates()
    }

    /// Whether its key may sign revocation lists (RFC 5280, section 6.3.3 f).
    pub(super) fn may_sign_lists(&self) -> bool {
        self.key_usage.is_none_or(|usage| usage.contains(KeyUsage::CRL_SIGN))
    }

    fn check_may_sign_certificates(&self) -> Result<(), PathDefect> {
        match self.key_usage {
            Some(usage) if !usage.contains(KeyUsage::KEY_CERT_SIGN) => Err(PathDefect::KeyUsage),
            Some(_) | None => Ok(()),
        }
    }

    pub(crate) fn is_ca(&self) -> bool {
        self.basic_constraints.is_some_and(|constraints| constraints.ca)
    }

    /// Whether it states whether it is a CA.
    pub(crate) const fn states_basic_constraints(&self) -> bool {
        self.basic_constraints.is_some()
    }

    pub(crate) fn path_length(&self) -> Option<u64> {
        self.basic_constraints.and_then(|constraints| constraints.path_length)
    }

    pub(crate) const fn key_usage(&self) -> Option<KeyUsage> {
        self.key_usage
    }

    pub(crate) fn quirks(&self) -> &[Quirk] {
        &self.quirks
    }

    /// Whether it states purposes at all.
    pub(crate) const fn states_purposes(&self) -> bool {
        self.purposes.is_some()
    }

    /// Its purposes; none, where it states none.
    pub(crate) fn purposes(&self) -> &[Oid] {
        self.purposes.as_ref().map_or(&[], ExtendedKeyUsage::purposes)
    }

    pub(crate) const fn purposes_are_critical(&self) -> bool {
        self.purposes_are_critical
    }

    pub(super) const fn has_tpma_object(&self) -> bool {
        self.has_tpma_object
    }

    pub(super) const fn constraints(&self) -> Option<&Arc<Constraints>> {
        self.constraints.as_ref()
    }

    pub(super) const fn policies(&self) -> &PolicyExtensions {
        &self.policies
    }

    pub(super) fn subject_key_identifier(&self) -> Option<&[u8]> {
        self.subject_key_identifier.as_deref()
    }

    pub(super) fn authority_key_identifier(&self) -> Option<&[u8]> {
        self.authority_key_identifier.as_deref()
    }
}

/// The subject alternative names of a certificate; none, where it states none.
pub(super) fn alternative_names(certificate: &CertView) -> Result<Vec<GeneralName>, Malformed> {
    match certificate.extension(oid::SUBJECT_ALT_NAME)? {
        Some(extension) => Ok(SubjectAltName::parse(extension.value())?.names().to_vec()),
        None => Ok(Vec::new()),
    }
}

/// Whether no extension is there twice and every critical one is processed.
fn check_types(certificate: &CertView, processed: &[Oid]) -> Result<(), PathDefect> {
    let mut seen: Vec<Oid> = Vec::new();
    for extension in certificate.extensions() {
        if seen.contains(&extension.oid()) {
            return Err(PathDefect::DuplicateExtension(extension.oid()));
        }
        seen.push(extension.oid());
        let is_processed = PROCESSED.contains(&extension.oid()) || processed.contains(&extension.oid());
        if extension.is_critical() && !is_processed {
            return Err(PathDefect::UnknownCritical(extension.oid()));
        }
    }
    Ok(())
}
