//! The certification authorities of one installation, and the files they lie in.
//!
//! ```text
//! issuing root -> issuing CA -> certificates for devices, as do other issuers that the configuration names
//! attestation root           -> AK certificates, of modules that are chips
//! attestation root, virtual  -> AK certificates, of modules that are software
//! TLS root                   -> the certificate of this server
//! ```
//!
//! The attestation roots serve nothing else: an AK certificate of the CertifyX509 family lets a device
//! name its own keys, which must mean nothing anywhere else.

mod issuing;

use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use thiserror::Error;
use vouchsafe_evidence::Malformed;
use vouchsafe_evidence::oid;
use vouchsafe_evidence::x509::extensions::{
    AuthorityKeyIdentifier, BasicConstraints, GeneralName, KeyUsage, subject_key_identifier,
};
use vouchsafe_evidence::x509::{CertView, NameView, SpkiView, build};
use zeroize::Zeroizing;

use crate::certificate::{CertificateError, Content, Issued, IssuerView, SigningKey, key_identifier, sign};
use crate::config::Config;
use crate::init::ca_folder;

pub(crate) use self::issuing::{Issuer, Issuing, read_chain};

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
    /// Of the certificates of an issuer each must have signed the one before it (RFC 5280, section 6.1).
    #[error(
        "{}: the issuer's certificate must come first, then each that signed the one before, none twice", path.display()
    )]
    Chain {
        /// The file.
        path: PathBuf,
    },
    /// A certificate that is to link two roots links none that are known here (RFC 4210, section 4.4).
    #[error("{}: each link must be the certificate of the root of one issuer, signed by that of another", path.display())]
    Link {
        /// The file.
        path: PathBuf,
    },
    /// Certificate and key do not belong together.
    #[error("{}: the certificate is for another key", path.display())]
    Mismatch {
        /// The key's file.
        path: PathBuf,
    },
    /// The certificate of an issuer is no CA's, or not for revocation lists.
    #[error("{}: not the certificate of a CA with keyCertSign and cRLSign", path.display())]
    NotCa {
        /// The file.
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
    /// As its own certificate has it, which need not be made as this authority makes them.
    key_identifier: Vec<u8>,
    /// Extensions of whatever it signs: where its revocation list and its certificate are had.
    published: Vec<Vec<u8>>,
}

impl CertificationAuthority {
    pub(crate) fn load(folder: &Path, name: &str) -> Result<Self, HierarchyError> {
        let certificate = load_certificate(folder, name)?;
        let path = folder.join(format!("{name}.key"));
        let key = load_key(&path)?;
        if !certificate.spki().same_key(key.spki()) {
            return Err(HierarchyError::Mismatch { path });
        }
        Self::new(certificate, key).map_err(|malformed| HierarchyError::Malformed { path, malformed })
    }

    pub(crate) fn new(certificate: CertView, key: SigningKey) -> Result<Self, Malformed> {
        let key_identifier = key_identifier_of(&certificate)?;
        Ok(Self { certificate, key, key_identifier, published: Vec::new() })
    }

    /// The same, saying these extensions in everything that it signs.
    fn publishing(self, published: Vec<Vec<u8>>) -> Self {
        Self { published, ..self }
    }

    pub(crate) const fn certificate(&self) -> &CertView {
        &self.certificate
    }

    pub(crate) fn issuer(&self) -> IssuerView<'_> {
        IssuerView {
            name: self.certificate.subject(),
            key: &self.key,
            not_after: self.certificate.not_after(),
            key_identifier: &self.key_identifier,
            published: &self.published,
        }
    }
}

/// The key identifier that an issuer's own certificate has, or that this authority would give it.
pub(crate) fn key_identifier_of(certificate: &CertView) -> Result<Vec<u8>, Malformed> {
    Ok(match certificate.extension(oid::SUBJECT_KEY_IDENTIFIER)? {
        Some(extension) => subject_key_identifier(extension.value())?.to_vec(),
        None => key_identifier(certificate.spki()),
    })
}

pub(crate) fn load_key(path: &Path) -> Result<SigningKey, HierarchyError> {
    let pem = Zeroizing::new(read(path)?);
    let pkcs8 = PrivatePkcs8KeyDer::from_pem_slice(&pem).map_err(|_| HierarchyError::Pem { path: path.to_owned() })?;
    Ok(SigningKey::from_pkcs8(pkcs8.secret_pkcs8_der())?)
}

pub(crate) fn load_certificate(folder: &Path, name: &str) -> Result<CertView, HierarchyError> {
    load_certificate_file(&folder.join(format!("{name}.crt")))
}

pub(crate) fn load_certificate_file(path: &Path) -> Result<CertView, HierarchyError> {
    let pem = read(path)?;
    let der = CertificateDer::from_pem_slice(&pem).map_err(|_| HierarchyError::Pem { path: path.to_owned() })?;
    CertView::parse(&der).map_err(|malformed| HierarchyError::Malformed { path: path.to_owned(), malformed })
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, HierarchyError> {
    std::fs::read(path).map_err(|error| HierarchyError::Io { path: path.to_owned(), error })
}

/// The authorities that sign while the server runs: those of its role. The issuing root's key is not among them and may
/// be kept elsewhere.
#[derive(Debug)]
pub(crate) struct Hierarchy {
    issuing: Option<Issuing>,
    attestation: Option<Attestation>,
}

/// What AK certificates are signed with.
#[derive(Debug)]
struct Attestation {
    chips: CertificationAuthority,
    software: CertificationAuthority,
}

impl Hierarchy {
    pub(crate) fn load(config: &Config) -> Result<Self, HierarchyError> {
        let issuing = if config.role.issues() { Some(Issuing::load(config)?) } else { None };
        let attestation = if config.role.enrolls() { Some(Attestation::load(&ca_folder(config))?) } else { None };
        Ok(Self { issuing, attestation })
    }

    /// The issuers of certificates of devices' keys.
    ///
    /// # Errors
    /// [`CertificateError::OtherRole`] where none are issued.
    pub(crate) fn issuing(&self) -> Result<&Issuing, CertificateError> {
        self.issuing.as_ref().ok_or(CertificateError::OtherRole)
    }

    /// The issuer of this name.
    ///
    /// # Errors
    /// [`CertificateError::OtherRole`] where none are issued, or not by this one.
    pub(crate) fn issuer(&self, name: &str) -> Result<&Issuer, CertificateError> {
        self.issuing()?.issuer(name).ok_or(CertificateError::OtherRole)
    }

    /// Every issuer of certificates of devices' keys.
    pub(crate) fn issuers(&self) -> impl Iterator<Item = &Issuer> {
        self.issuing.iter().flat_map(Issuing::issuers)
    }

    /// The keys that sign certificates, whosever.
    pub(crate) fn certifying_keys(&self) -> impl Iterator<Item = &SpkiView> {
        let issuing = self.issuers().map(|issuer| issuer.ca().certificate().spki());
        issuing.chain(self.attestation_roots().map(|root| root.certificate().spki()))
    }

    /// The issuer that signed a certificate, by name and key identifier.
    ///
    /// # Errors
    /// [`CertificateError::OtherRole`] where it is none of these.
    pub(crate) fn issuer_of(&self, certificate: &CertView) -> Result<&Issuer, CertificateError> {
        let named = match certificate.extension(oid::AUTHORITY_KEY_IDENTIFIER)? {
            Some(extension) => AuthorityKeyIdentifier::parse(extension.value())?,
            None => return Err(CertificateError::OtherRole),
        };
        let is_it = |issuer: &&Issuer| {
            issuer.ca().certificate.subject() == certificate.issuer()
                && named.key_identifier() == Some(issuer.ca().key_identifier.as_slice())
        };
        self.issuers().find(is_it).ok_or(CertificateError::OtherRole)
    }

    /// The root for AK certificates of chips, or of modules whose endorsement root is marked as virtual.
    ///
    /// # Errors
    /// [`CertificateError::OtherRole`] where no attesting key is enrolled.
    pub(crate) fn attestation_root(&self, is_virtual: bool) -> Result<&CertificationAuthority, CertificateError> {
        let roots = self.attestation.as_ref().ok_or(CertificateError::OtherRole)?;
        Ok(if is_virtual { &roots.software } else { &roots.chips })
    }

    /// The roots for AK certificates, of chips and of modules that are software; none where no key is enrolled.
    pub(crate) fn attestation_roots(&self) -> impl Iterator<Item = &CertificationAuthority> {
        self.attestation.iter().flat_map(|roots| [&roots.chips, &roots.software])
    }
}

impl Attestation {
    fn load(folder: &Path) -> Result<Self, HierarchyError> {
        Ok(Self {
            chips: CertificationAuthority::load(folder, ATTESTATION_ROOT)?,
            software: CertificationAuthority::load(folder, ATTESTATION_ROOT_VIRTUAL)?,
        })
    }
}

/// A new root that signs itself.
pub(crate) fn create_root(
    name: &NameView,
    now: i64,
    validity_days: i64,
) -> Result<(Issued, Vec<u8>, SigningKey), CertificateError> {
    let (key, pkcs8) = SigningKey::generate()?;
    let key_identifier = key_identifier(key.spki());
    let issuer = IssuerView { name, key: &key, not_after: i64::MAX, key_identifier: &key_identifier, published: &[] };
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
