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
use vouchsafe_evidence::x509::extensions::{
    AuthorityKeyIdentifier, BasicConstraints, GeneralName, KeyUsage, subject_key_identifier,
};
use vouchsafe_evidence::x509::{CertView, NameView, build};
use zeroize::Zeroizing;

use crate::certificate::{CertificateError, Content, Issued, IssuerView, SigningKey, key_identifier, sign};
use crate::config::{DEFAULT_ISSUER, IssuerConfig, IssuerKey, Role};

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

/// Certificates in the file of an issuer.
const ISSUER_CERTIFICATES_MAX: usize = 8;

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
    /// As its own certificate has it, which need not be made as this authority makes them.
    key_identifier: Vec<u8>,
}

impl CertificationAuthority {
    pub(crate) fn load(folder: &Path, name: &str) -> Result<Self, HierarchyError> {
        let certificate = load_certificate(folder, name)?;
        let path = folder.join(format!("{name}.key"));
        let key = load_key(&path)?;
        if !certificate.spki().same_key(key.spki()) {
            return Err(HierarchyError::Mismatch { path });
        }
        Self::new(certificate, key, Vec::new()).map_err(|malformed| HierarchyError::Malformed { path, malformed })
    }

    fn new(certificate: CertView, key: SigningKey, chain_below_root: Vec<Vec<u8>>) -> Result<Self, Malformed> {
        let key_identifier = match certificate.extension(oid::SUBJECT_KEY_IDENTIFIER)? {
            Some(extension) => subject_key_identifier(extension.value())?.to_vec(),
            None => key_identifier(certificate.spki()),
        };
        Ok(Self { certificate, key, chain_below_root, key_identifier })
    }

    /// An issuer that the configuration names, with its key in a token or in a file.
    fn load_issuer(config: &IssuerConfig) -> Result<Self, HierarchyError> {
        let path = &config.certificate;
        let malformed = |malformed| HierarchyError::Malformed { path: path.clone(), malformed };
        let pem = read(path)?;
        let mut certificates = Vec::new();
        for der in CertificateDer::pem_slice_iter(&pem).take(ISSUER_CERTIFICATES_MAX) {
            let der = der.map_err(|_| HierarchyError::Pem { path: path.clone() })?;
            certificates.push(CertView::parse(&der).map_err(malformed)?);
        }
        let certificate = certificates.first().cloned().ok_or_else(|| HierarchyError::Pem { path: path.clone() })?;
        check_is_ca(&certificate, path)?;
        let key = match &config.key {
            IssuerKey::Token(token) => SigningKey::in_token(token, certificate.spki())?,
            IssuerKey::File(file) => {
                tracing::warn!(
                    issuer = config.name,
                    file = %file.display(),
                    "the issuing key lies in a file, which is for labs: whoever reads it signs; name a token with pkcs11"
                );
                load_key(file)?
            }
        };
        if !certificate.spki().same_key(key.spki()) {
            return Err(HierarchyError::Mismatch { path: path.clone() });
        }
        let is_root = |certificate: &&CertView| certificate.subject() == certificate.issuer();
        let below = certificates.iter().filter(|certificate| !is_root(certificate));
        let chain = below.map(|certificate| certificate.as_der().to_vec()).collect();
        Self::new(certificate, key, chain).map_err(malformed)
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
        }
    }

    /// The certificates between a leaf and the root, the one that signed the leaf first.
    pub(crate) fn chain_below_root(&self) -> Vec<Vec<u8>> {
        self.chain_below_root.clone()
    }
}

/// RFC 5280, sections 4.2.1.3 and 4.2.1.9: what an issuer of certificates and of revocation lists must be allowed.
fn check_is_ca(certificate: &CertView, path: &Path) -> Result<(), HierarchyError> {
    let malformed = |malformed| HierarchyError::Malformed { path: path.to_owned(), malformed };
    let constraints = certificate.extension(oid::BASIC_CONSTRAINTS).map_err(malformed)?;
    let usage = certificate.extension(oid::KEY_USAGE).map_err(malformed)?;
    let (Some(constraints), Some(usage)) = (constraints, usage) else {
        return Err(HierarchyError::NotCa { path: path.to_owned() });
    };
    let is_ca = BasicConstraints::parse(constraints.value()).map_err(malformed)?.ca;
    let usage = KeyUsage::parse(usage.value()).map_err(malformed)?;
    if is_ca && usage.contains(KeyUsage::KEY_CERT_SIGN | KeyUsage::CRL_SIGN) {
        Ok(())
    } else {
        Err(HierarchyError::NotCa { path: path.to_owned() })
    }
}

fn load_key(path: &Path) -> Result<SigningKey, HierarchyError> {
    let pem = Zeroizing::new(read(path)?);
    let pkcs8 = PrivatePkcs8KeyDer::from_pem_slice(&pem).map_err(|_| HierarchyError::Pem { path: path.to_owned() })?;
    Ok(SigningKey::from_pkcs8(pkcs8.secret_pkcs8_der())?)
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

/// The authorities that sign while the server runs: those of its role. The issuing root's key is not among them and may
/// be kept elsewhere.
#[derive(Debug)]
pub(crate) struct Hierarchy {
    issuing: Option<Issuing>,
    attestation: Option<Attestation>,
}

/// What certificates of devices' keys are signed with.
#[derive(Debug)]
struct Issuing {
    ca: CertificationAuthority,
    root: CertView,
    /// Those that the configuration names.
    others: Vec<(String, CertificationAuthority)>,
}

/// What AK certificates are signed with.
#[derive(Debug)]
struct Attestation {
    chips: CertificationAuthority,
    software: CertificationAuthority,
}

impl Hierarchy {
    pub(crate) fn load(folder: &Path, role: Role, issuers: &[IssuerConfig]) -> Result<Self, HierarchyError> {
        let issuing = if role.issues() { Some(Issuing::load(folder, issuers)?) } else { None };
        let attestation = if role.enrolls() { Some(Attestation::load(folder)?) } else { None };
        Ok(Self { issuing, attestation })
    }

    /// The authority that signs certificates of devices' keys.
    ///
    /// # Errors
    /// [`CertificateError::OtherRole`] where none are issued.
    pub(crate) fn issuing(&self) -> Result<&CertificationAuthority, CertificateError> {
        self.issuing.as_ref().map(|issuing| &issuing.ca).ok_or(CertificateError::OtherRole)
    }

    /// The issuer of this name.
    ///
    /// # Errors
    /// [`CertificateError::OtherRole`] where none are issued, or not by this one.
    pub(crate) fn issuer(&self, name: &str) -> Result<&CertificationAuthority, CertificateError> {
        if name == DEFAULT_ISSUER {
            return self.issuing();
        }
        let others = self.issuing.iter().flat_map(|issuing| &issuing.others);
        others.into_iter().find(|(known, _)| known == name).map(|(_, ca)| ca).ok_or(CertificateError::OtherRole)
    }

    /// Every issuer of certificates of devices' keys.
    pub(crate) fn issuers(&self) -> impl Iterator<Item = &CertificationAuthority> {
        self.issuing
            .iter()
            .flat_map(|issuing| std::iter::once(&issuing.ca).chain(issuing.others.iter().map(|(_, ca)| ca)))
    }

    /// The issuer that signed a certificate, by name and key identifier.
    ///
    /// # Errors
    /// [`CertificateError::OtherRole`] where it is none of these.
    pub(crate) fn issuer_of(&self, certificate: &CertView) -> Result<&CertificationAuthority, CertificateError> {
        let named = match certificate.extension(oid::AUTHORITY_KEY_IDENTIFIER)? {
            Some(extension) => AuthorityKeyIdentifier::parse(extension.value())?,
            None => return Err(CertificateError::OtherRole),
        };
        let is_it = |ca: &&CertificationAuthority| {
            ca.certificate.subject() == certificate.issuer()
                && named.key_identifier() == Some(ca.key_identifier.as_slice())
        };
        self.issuers().find(is_it).ok_or(CertificateError::OtherRole)
    }

    /// Its root.
    ///
    /// # Errors
    /// As [`Hierarchy::issuing`].
    pub(crate) fn issuing_root(&self) -> Result<&CertView, CertificateError> {
        self.issuing.as_ref().map(|issuing| &issuing.root).ok_or(CertificateError::OtherRole)
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

impl Issuing {
    fn load(folder: &Path, issuers: &[IssuerConfig]) -> Result<Self, HierarchyError> {
        let mut ca = CertificationAuthority::load(folder, ISSUING_CA)?;
        ca.chain_below_root = vec![ca.certificate.as_der().to_vec()];
        let load = |config: &IssuerConfig| Ok((config.name.clone(), CertificationAuthority::load_issuer(config)?));
        let others = issuers.iter().map(load).collect::<Result<_, HierarchyError>>()?;
        Ok(Self { ca, root: load_certificate(folder, ISSUING_ROOT)?, others })
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
    let issuer = IssuerView { name, key: &key, not_after: i64::MAX, key_identifier: &key_identifier };
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
