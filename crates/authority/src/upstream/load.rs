//! What a configuration says of CAs elsewhere, read from its files.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use thiserror::Error;
use tokio::sync::Semaphore;
use vouchsafe_evidence::Malformed;
use vouchsafe_evidence::x509::CertView;
use zeroize::Zeroizing;

use super::check::Issuers;
use super::cmp::{CmpClient, Protection};
use super::est::EstClient;
use super::http::{Identity, Server};
use super::{AT_ONCE, Client, Upstream, UpstreamProtocol, Upstreams};
use crate::certificate::{CertificateError, SigningKey};
use crate::clock::Clock;
use crate::config::{CmpCredential, EstCredential, RegistrarKey, UpstreamConfig};
use crate::protocol::cmp::limits::{SECRET_OCTETS_MAX, SECRET_OCTETS_MIN};
use crate::secret::is_open_to_others;

/// Certificates in a file.
const CERTIFICATES_MAX: usize = 16;
/// Octets of a file with a key.
const KEY_OCTETS_MAX: u64 = 64 * 1024;

/// Why an upstream cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The key by which messages are signed.
    #[error("the key")]
    Key(#[from] CertificateError),
    /// The host of the URL is neither a name nor an address.
    #[error("{0} is no host")]
    Host(String),
    /// A file cannot be read.
    #[error("{}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        error: std::io::Error,
    },
    /// A certificate cannot be read.
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
        /// The certificate's file.
        path: PathBuf,
    },
    /// A file has no certificate, or too many.
    #[error("{}: it must hold 1 to {CERTIFICATES_MAX} certificates", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// A certificate in the file of the CA is no CA's.
    #[error("{}: not every certificate is that of a CA with keyCertSign", path.display())]
    NotCa {
        /// The file.
        path: PathBuf,
    },
    /// A file is no PEM.
    #[error("{}: {error}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: rustls::pki_types::pem::Error,
    },
    /// Others than its owner may read the file of a secret.
    #[error("{} is open to others than its owner; chmod 600", path.display())]
    Permissions {
        /// The file.
        path: PathBuf,
    },
    /// A secret is too short or too long.
    #[error("{}: it must have {octets_min} to {SECRET_OCTETS_MAX} octets", path.display())]
    Secret {
        /// The file.
        path: PathBuf,
        /// The fewest octets that it may have.
        octets_min: usize,
    },
    /// A file is larger than a key or a secret.
    #[error("{}: the file is too large", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// TLS.
    #[error("TLS")]
    Tls(#[from] rustls::Error),
}

impl Upstreams {
    /// Reads what a configuration names, with the name of the upstream that cannot be used.
    pub(crate) fn load(
        configs: &[UpstreamConfig],
        clock: &Arc<dyn Clock>,
        runtime: tokio::runtime::Handle,
    ) -> Result<Self, (String, LoadError)> {
        let load = |config: &UpstreamConfig| {
            Upstream::load(config, clock).map(Arc::new).map_err(|error| (config.name.clone(), error))
        };
        let upstreams = configs.iter().map(load).collect::<Result<_, _>>()?;
        Ok(Self { upstreams, runtime: Some(runtime) })
    }
}

impl Upstream {
    fn load(config: &UpstreamConfig, clock: &Arc<dyn Clock>) -> Result<Self, LoadError> {
        let certificates = certificates(&config.ca)?;
        let recipient = certificates.first().map(|certificate| certificate.subject().clone());
        let recipient = recipient.ok_or_else(|| LoadError::NoCertificate { path: config.ca.clone() })?;
        let issuers = Issuers::new(certificates).ok_or_else(|| LoadError::NotCa { path: config.ca.clone() })?;
        let server = |identity| Server::new(&config.url, &config.tls_roots, identity, config.timeout, clock);
        let client = match &config.protocol {
            UpstreamProtocol::Cmp(credential) => {
                Client::Cmp(CmpClient { server: server(None)?, protection: protection(credential)?, recipient })
            }
            UpstreamProtocol::Est(EstCredential::Password { name, path }) => {
                let secret = secret(path, 1)?;
                let pair = Zeroizing::new([name.as_bytes(), b":", secret.as_slice()].concat());
                Client::Est(EstClient { server: server(None)?, basic: Some(Zeroizing::new(STANDARD.encode(&*pair))) })
            }
            UpstreamProtocol::Est(EstCredential::Certificate { certificate, key }) => {
                let server = server(Some(identity(certificate, key)?))?;
                Client::Est(EstClient { server, basic: None })
            }
        };
        let (places, asking) = (Arc::new(Semaphore::new(AT_ONCE)), Mutex::new(HashMap::new()));
        Ok(Self { name: config.name.clone(), issuers, client, places, asking })
    }
}

fn protection(credential: &CmpCredential) -> Result<Protection, LoadError> {
    match credential {
        CmpCredential::Secret { reference, path } => Ok(Protection::Mac {
            reference: reference.clone().into_bytes(),
            secret: Arc::new(secret(path, SECRET_OCTETS_MIN)?),
        }),
        CmpCredential::Certificate { certificate: path, key } => {
            let chain = certificates(path)?;
            let own = chain.first().ok_or_else(|| LoadError::NoCertificate { path: path.clone() })?;
            let key = match key {
                RegistrarKey::File(file) => SigningKey::from_pkcs8(private_key(file)?.secret_pkcs8_der())?,
                RegistrarKey::Token(token) => SigningKey::in_token(token, own.spki())?,
            };
            if !own.spki().same_key(key.spki()) {
                return Err(LoadError::Mismatch { path: path.clone() });
            }
            Ok(Protection::Signature { key: Box::new(key), chain })
        }
    }
}

fn identity(certificate: &Path, key: &Path) -> Result<Identity, LoadError> {
    let chain = certificates(certificate)?;
    let chain = chain.iter().map(|view| CertificateDer::from(view.as_der().to_vec())).collect();
    Ok((chain, PrivateKeyDer::Pkcs8(private_key(key)?)))
}

fn certificates(path: &Path) -> Result<Vec<CertView>, LoadError> {
    let unreadable = |error| LoadError::Pem { path: path.to_owned(), error };
    let mut certificates = Vec::new();
    for der in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
        let certificate = CertView::parse(&der.map_err(unreadable)?);
        let malformed = |malformed| LoadError::Malformed { path: path.to_owned(), malformed };
        certificates.push(certificate.map_err(malformed)?);
        if certificates.len() > CERTIFICATES_MAX {
            return Err(LoadError::NoCertificate { path: path.to_owned() });
        }
    }
    if certificates.is_empty() { Err(LoadError::NoCertificate { path: path.to_owned() }) } else { Ok(certificates) }
}

/// The contents of a file that nobody but its owner may read.
fn private(path: &Path, octets_max: u64) -> Result<Zeroizing<Vec<u8>>, LoadError> {
    let unreadable = |error| LoadError::Io { path: path.to_owned(), error };
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if is_open_to_others(&metadata) {
        return Err(LoadError::Permissions { path: path.to_owned() });
    }
    if metadata.len() > octets_max {
        return Err(LoadError::TooLarge { path: path.to_owned() });
    }
    Ok(Zeroizing::new(std::fs::read(path).map_err(unreadable)?))
}

fn private_key(path: &Path) -> Result<PrivatePkcs8KeyDer<'static>, LoadError> {
    let pem = private(path, KEY_OCTETS_MAX)?;
    PrivatePkcs8KeyDer::from_pem_slice(&pem).map_err(|error| LoadError::Pem { path: path.to_owned(), error })
}

/// A secret; a line end after it does not count.
fn secret(path: &Path, octets_min: usize) -> Result<Zeroizing<Vec<u8>>, LoadError> {
    let octets_max = u64::try_from(SECRET_OCTETS_MAX + 2).unwrap_or(0);
    let mut secret = private(path, octets_max)?;
    while secret.last().is_some_and(|last| matches!(last, b'\n' | b'\r')) {
        secret.pop();
    }
    if (octets_min..=SECRET_OCTETS_MAX).contains(&secret.len()) {
        Ok(secret)
    } else {
        Err(LoadError::Secret { path: path.to_owned(), octets_min })
    }
}
