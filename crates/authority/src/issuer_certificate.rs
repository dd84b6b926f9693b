//! The certificate of an issuer whose key is in a token: by this installation's own root, or asked of a root elsewhere.
//!
//! The key does not leave the token. What is asked for, and what the own root signs, is a CA beneath which there is none.

use std::path::PathBuf;

use thiserror::Error;
use vouchsafe_evidence::x509::NameView;
use vouchsafe_evidence::x509::build::{self, CsrTemplate};

use crate::ca::{CertificationAuthority, HierarchyError, ISSUING_ROOT, ca_extensions, load_certificate_file, load_key};
use crate::certificate::{CertificateError, Content, SigningKey, sign};
use crate::config::Config;
use crate::init::{ca_folder, pem};
use crate::issuing_key::{KeyCurve, TokenKeyConfig};

/// Days that an issuer may be valid.
const VALIDITY_DAYS: std::ops::RangeInclusive<i64> = 1..=7_305;
/// Days that a link between roots may be valid.
const LINK_DAYS: i64 = 7_305;

/// Why there is no certificate.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum IssuerCertificateError {
    /// It cannot be signed.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The validity is outside its range.
    #[error("an issuer is valid for 1 to 7305 days")]
    Days,
    /// The root cannot be used.
    #[error(transparent)]
    Hierarchy(#[from] HierarchyError),
    /// A root is linked to itself.
    #[error("old and new root have the same key: there is nothing to link")]
    SameKey,
    /// The subject is the root's: chains could not be told apart.
    #[error("the subject is that of the root; an issuer has a name of its own")]
    SubjectOfRoot,
}

/// A key in a token that is to be an issuer's.
#[derive(Debug)]
pub struct IssuerKeyPair {
    key: SigningKey,
}

/// A root with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootFiles {
    /// The certificate, PEM.
    pub certificate: PathBuf,
    /// The key, PKCS#8 in PEM.
    pub key: PathBuf,
}

impl RootFiles {
    /// The root that `init` made, unless its key was moved elsewhere.
    #[must_use]
    pub fn of_installation(config: &Config) -> Self {
        let file = |extension: &str| ca_folder(config).join(format!("{ISSUING_ROOT}.{extension}"));
        Self { certificate: file("crt"), key: file("key") }
    }

    fn load(&self) -> Result<CertificationAuthority, HierarchyError> {
        let certificate = load_certificate_file(&self.certificate)?;
        let key = load_key(&self.key)?;
        if !certificate.spki().same_key(key.spki()) {
            return Err(HierarchyError::Mismatch { path: self.key.clone() });
        }
        let malformed = |malformed| HierarchyError::Malformed { path: self.certificate.clone(), malformed };
        CertificationAuthority::new(certificate, key).map_err(malformed)
    }
}

impl IssuerKeyPair {
    /// The key that the token has.
    ///
    /// # Errors
    /// [`IssuerCertificateError::Certificate`]: the token has no such key, or one that is not on P-256 or P-384.
    pub fn find(token: &TokenKeyConfig) -> Result<Self, IssuerCertificateError> {
        Ok(Self { key: SigningKey::told_by_token(token)? })
    }

    /// A new key, which the token makes and does not let out.
    ///
    /// # Errors
    /// [`IssuerCertificateError::Certificate`]: the label is taken, or the token refuses.
    pub fn generate(token: &TokenKeyConfig, curve: KeyCurve) -> Result<Self, IssuerCertificateError> {
        Ok(Self { key: SigningKey::generate_in_token(token, curve)? })
    }

    /// The request to a root elsewhere: PKCS #10 in PEM, with the extensions of a CA beneath which there is none.
    ///
    /// # Errors
    /// [`IssuerCertificateError::Certificate`].
    pub fn request(&self, subject: &NameView) -> Result<String, IssuerCertificateError> {
        let template = CsrTemplate {
            subject: subject.clone(),
            spki: self.key.spki().clone(),
            attributes: vec![build::extension_request_attribute(&ca_extensions(Some(0)))],
        };
        let info = template.info_der();
        let signature = self.key.sign(&info)?;
        let der = build::assemble(&info, &build::algorithm_identifier(self.key.algorithm()), &signature);
        Ok(pem("CERTIFICATE REQUEST", &der))
    }

    /// The certificate by this root, PEM. It does not outlive the root.
    ///
    /// # Errors
    /// Every variant of [`IssuerCertificateError`] but [`IssuerCertificateError::SameKey`].
    pub fn certificate(
        &self,
        subject: &NameView,
        root: &RootFiles,
        validity_days: i64,
        now: i64,
    ) -> Result<String, IssuerCertificateError> {
        if !VALIDITY_DAYS.contains(&validity_days) {
            return Err(IssuerCertificateError::Days);
        }
        let root = root.load()?;
        if subject.matches(root.certificate().subject()) {
            return Err(IssuerCertificateError::SubjectOfRoot);
        }
        let content = Content {
            subject: subject.clone(),
            spki: self.key.spki(),
            now,
            validity_days,
            extensions: ca_extensions(Some(0)),
        };
        Ok(pem("CERTIFICATE", &sign(&root.issuer(), content)?.der))
    }
}

/// Two certificates that link an old root to a new one, PEM: the new by the old, for those who trust the old, and the old by
/// the new (RFC 4210, section 4.4). Neither outlives the root that signs it or the one that it is about.
///
/// # Errors
/// [`IssuerCertificateError::SameKey`], [`IssuerCertificateError::Hierarchy`], [`IssuerCertificateError::Certificate`].
pub fn link(old: &RootFiles, new: &RootFiles, now: i64) -> Result<String, IssuerCertificateError> {
    let (old, new) = (old.load()?, new.load()?);
    if old.certificate().spki().same_key(new.certificate().spki()) {
        return Err(IssuerCertificateError::SameKey);
    }
    let mut links = String::new();
    for (of, by) in [(&new, &old), (&old, &new)] {
        let of = of.certificate();
        let left = of.not_after().min(by.certificate().not_after()).saturating_sub(now);
        let days = left.div_euclid(crate::certificate::DAY_SECONDS).min(LINK_DAYS);
        let content = Content {
            subject: of.subject().clone(),
            spki: of.spki(),
            now,
            validity_days: days,
            extensions: ca_extensions(None),
        };
        links.push_str(&pem("CERTIFICATE", &sign(&by.issuer(), content)?.der));
    }
    Ok(links)
}
