//! The server's TLS configuration.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::time_provider::TimeProvider;
use thiserror::Error;

use crate::ca::{self, CertificationAuthority, HierarchyError, TLS_ROOT};
use crate::certificate::CertificateError;
use crate::client_certificate::ClientAuthorities;
use crate::clock::Clock;
use crate::config::{Config, TlsConfig};
use crate::init::ca_folder;

/// Days of validity of the certificate that is made at each start.
const SERVER_DAYS: i64 = 825;

/// Why TLS cannot be configured.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A certificate could not be made.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The TLS root cannot be loaded.
    #[error(transparent)]
    Hierarchy(#[from] HierarchyError),
    /// A file is not the expected PEM.
    #[error("{}: {error}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: rustls::pki_types::pem::Error,
    },
    /// Certificate and key cannot be used for TLS.
    #[error("TLS")]
    Rustls(#[from] rustls::Error),
}

/// The clock of the authority, by which certificates in handshakes are judged too.
#[derive(Debug)]
pub(crate) struct HandshakeTime(Arc<dyn Clock>);

impl HandshakeTime {
    pub(crate) fn of(clock: &Arc<dyn Clock>) -> Self {
        Self(Arc::clone(clock))
    }
}

impl TimeProvider for HandshakeTime {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0.now_unix_seconds()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

/// TLS 1.2 and 1.3 with the certificate that `config` names. Clients may show certificates of `clients`.
pub(crate) fn server_config(
    config: &Config,
    clients: Arc<ClientAuthorities>,
    clock: &Arc<dyn Clock>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let now = clock.now_unix_seconds();
    let (chain, key) = match config.tls() {
        TlsConfig::Files { certificate, key } => {
            let pem = |path: &PathBuf| {
                let path = path.clone();
                move |error| TlsError::Pem { path, error }
            };
            let chain = CertificateDer::pem_file_iter(certificate).map_err(pem(certificate))?;
            let chain = chain.collect::<Result<Vec<_>, _>>().map_err(pem(certificate))?;
            (chain, PrivateKeyDer::from_pem_file(key).map_err(pem(key))?)
        }
        TlsConfig::SelfSigned { names } => {
            // Made anew at each start: only the root outlives the process.
            let root = CertificationAuthority::load(&ca_folder(config), TLS_ROOT)?;
            let (certificate, pkcs8) = ca::create_tls_certificate(&root, names, now, SERVER_DAYS)?;
            (vec![CertificateDer::from(certificate)], PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8)))
        }
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = ServerConfig::builder_with_details(provider, Arc::new(HandshakeTime(Arc::clone(clock))))
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key)?;
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(tls))
}
