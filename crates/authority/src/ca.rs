//! The certification authorities of one installation, and the files they lie in.
//!
//! ```text
//! issuing root -> issuing CA -> certificates for devices
//! attestation root           -> AK certificates, of modules that are chips
//! attestation root, virtual  -> AK certificates, of modules that are software
//! TLS root                   -> the certificate of this server
//! ```
//!
//! The attestation roots serve nothing else: an AK certificate of the CertifyX509 family lets a device
//! name its own keys, which must mean nothing anywhere else.

use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use thiserror::Error;
use vouchsafe_evidence::Malformed;
use vouchsafe_evidence::oid;
use vouchsafe_evidence::x509::extensions::{BasicConstraints, GeneralName, KeyUsage};
use vouchsafe_evidence::x509::{CertView, NameView, build};

use crate::certificate::{CertificateError, Content, Issued, IssuerView, SigningKey, sign};

/// Why the authorities could not be loaded.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HierarchyError {
    /// A certificate could not be made.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A file cannot be read.
    #[error("{}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        error: std::io::Error,
    },
    /// A certificate cannot be parsed.
    #[error("{}: {malformed}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        malformed: Malformed,
    },
    /// Certificate and key do not belong together.
    #[error("{}: the certificate is for another key", path.display())]
    Mismatch {
        /// The key's file.
        path: PathBuf,
    },
    /// A file is not PEM of the expected label.
    #[error("{}: not the expected PEM", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
    },
}

/// The files of one authority: `NAME.crt` and `NAME.key`.
pub(crate) const ISSUING_ROOT: &str = "issuing-root";
pub(crate) const ISSUING_CA: &str = "issuing-ca";
pub(crate) const ATTESTATION_ROOT: &str = "attestation-root";
pub(crate) const ATTESTATION_ROOT_VIRTUAL: &str = "attestation-root-virtual";
pub(crate) const TLS_ROOT: &str = "tls-root";

/// A certificate with the key that signs in its name.
#[derive(Debug)]
pub(crate) struct CertificationAuthority {
    certificate: CertView,
    key: SigningKey,
    chain_below_root: Vec<Vec<u8>>,
}

impl CertificationAuthority {
    pub(crate) fn load(folder: &Path, name: &str) -> Result<Self, HierarchyError> {
        let certificate = load_certificate(folder, name)?;
        let path = folder.join(format!("{name}.key"));
        let pem = read(&path)?;
        let pkcs8 = PrivatePkcs8KeyDer::from_pem_slice(&pem).map_err(|_| HierarchyError::Pem { path: path.clone() })?;
        let key = SigningKey::from_pkcs8(pkcs8.secret_pkcs8_der())?;
        if !certificate.spki().same_key(key.spki()) {
            return Err(HierarchyError::Mismatch { path });
        }
        Ok(Self { certificate, key, chain_below_root: Vec::new() })
    }

    pub(crate) const fn certificate(&self) -> &CertView {
        &self.certificate
    }

    pub(crate) fn issuer(&self) -> IssuerView<'_> {
        IssuerView { name: self.certificate.subject(), key: &self.key, not_after: self.certificate.not_after() }
    }

    /// The certificates between a leaf and the root, the one that signed the leaf first.
    pub(crate) fn chain_below_root(&self) -> Vec<Vec<u8>> {
        self.chain_below_root.clone()
    }
}

pub(crate) fn load_certificate(folder: &Path, name: &str) -> Result<CertView, HierarchyError> {
    let path = folder.join(format!("{name}.crt"));
    let pem = read(&path)?;
    let der = CertificateDer::from_pem_slice(&pem).map_err(|_| HierarchyError::Pem { path: path.clone() })?;
    CertView::parse(&der).map_err(|malformed| HierarchyError::Malformed { path, malformed })
}

fn read(path: &Path) -> Result<Vec<u8>, HierarchyError> {
    std::fs::read(path).map_err(|error| HierarchyError::Io { path: path.to_owned(), error })
}

/// The authorities that sign while the server runs. The issuing root's key is not among them and may be
/// kept elsewhere.
#[derive(Debug)]
pub(crate) struct Hierarchy {
    issuing: CertificationAuthority,
    issuing_root: CertView,
    attestation: CertificationAuthority,
    attestation_virtual: CertificationAuthority,
}

impl Hierarchy {
    pub(crate) fn load(folder: &Path) -> Result<Self, HierarchyError> {
        let mut issuing = CertificationAuthority::load(folder, ISSUING_CA)?;
        issuing.chain_below_root = vec![issuing.certificate.as_der().to_vec()];
        Ok(Self {
            issuing,
            issuing_root: load_certificate(folder, ISSUING_ROOT)?,
            attestation: CertificationAuthority::load(folder, ATTESTATION_ROOT)?,
            attestation_virtual: CertificationAuthority::load(folder, ATTESTATION_ROOT_VIRTUAL)?,
        })
    }

    pub(crate) const fn issuing(&self) -> &CertificationAuthority {
        &self.issuing
    }

    pub(crate) const fn issuing_root(&self) -> &CertView {
        &self.issuing_root
    }

    /// The root for AK certificates of chips, or of modules whose endorsement root is marked as virtual.
    pub(crate) const fn attestation_root(&self, is_virtual: bool) -> &CertificationAuthority {
        if is_virtual { &self.attestation_virtual } else { &self.attestation }
    }

    /// The roots for AK certificates, of chips and of modules that are software.
    pub(crate) const fn attestation_roots(&self) -> [&CertificationAuthority; 2] {
        [&self.attestation, &self.attestation_virtual]
    }
}

/// A new root that signs itself.
pub(crate) fn create_root(
    name: &NameView,
    now: i64,
    validity_days: i64,
) -> Result<(Issued, Vec<u8>, SigningKey), CertificateError> {
    let (key, pkcs8) = SigningKey::generate()?;
    let issuer = IssuerView { name, key: &key, not_after: i64::MAX };
    let content =
        Content { subject: name.clone(), spki: key.spki(), now, validity_days, extensions: ca_extensions(None) };
    let issued = sign(&issuer, content)?;
    Ok((issued, pkcs8, key))
}

/// basicConstraints and keyUsage of an authority.
pub(crate) fn ca_extensions(path_length: Option<u64>) -> Vec<Vec<u8>> {
    vec![
        build::basic_constraints(true, BasicConstraints { ca: true, path_length }),
        build::key_usage(true, KeyUsage::from_bits(KeyUsage::KEY_CERT_SIGN | KeyUsage::CRL_SIGN)),
    ]
}

/// A server certificate for host names and IP addresses, with its key in PKCS#8.
pub(crate) fn create_tls_certificate(
    root: &CertificationAuthority,
    names: &[String],
    now: i64,
    validity_days: i64,
) -> Result<(Vec<u8>, Vec<u8>), CertificateError> {
    let (key, pkcs8) = SigningKey::generate()?;
    let subject = names.first().map_or("vouchsafe", String::as_str);
    let names: Vec<GeneralName> = names.iter().map(|name| server_name(name)).collect();
    let extensions = vec![
        build::basic_constraints(true, BasicConstraints { ca: false, path_length: None }),
        build::key_usage(true, KeyUsage::from_bits(KeyUsage::DIGITAL_SIGNATURE)),
        build::extended_key_usage(false, &[oid::KP_SERVER_AUTH]),
        build::subject_alt_name(false, &names),
    ];
    let subject = build::distinguished_name(&[(oid::COMMON_NAME, subject)])?;
    let issued = sign(&root.issuer(), Content { subject, spki: key.spki(), now, validity_days, extensions })?;
    Ok((issued.der, pkcs8))
}

fn server_name(name: &str) -> GeneralName {
    match name.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(address)) => GeneralName::Ip(address.octets().to_vec()),
        Ok(std::net::IpAddr::V6(address)) => GeneralName::Ip(address.octets().to_vec()),
        Err(_) => GeneralName::Dns(name.as_bytes().to_vec()),
    }
}
