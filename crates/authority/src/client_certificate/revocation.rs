//! Revocation lists of the CAs that accounts name (`client_crl`): whoever shows a certificate that one lists has no account.
//!
//! A list that is configured counts at every request. The file is read again when it has changed; while it cannot be read,
//! is malformed, does not cover a certificate or is no longer current, nobody has the account by a certificate.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{CertificateError, RootCertStore};
use vouchsafe_evidence::limits::CRL_OCTETS;
use vouchsafe_evidence::x509::CrlView;

use crate::error::Error;

/// Lists in one file: one for each CA of a chain.
const LISTS_MAX: usize = 8;
/// Octets of the file: a list, as PEM.
const FILE_OCTETS_MAX: usize = 2 * CRL_OCTETS;
/// How PEM begins.
const PEM_BEGINNING: &[u8] = b"-----BEGIN";
/// How far ahead of this clock the clock of the list's issuer may be.
const SKEW_SECONDS: i64 = 300;

/// Device, inode, size and time of change of a file.
type Stamp = (u64, u64, u64, i64, i64);

/// The lists of one account's CA.
#[derive(Debug)]
pub(super) struct ClientLists {
    account: String,
    path: PathBuf,
    anchors: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
    kept: Mutex<Option<(Stamp, Arc<Loaded>)>>,
}

/// Lists as they were read.
#[derive(Debug)]
struct Loaded {
    verifier: Arc<dyn ClientCertVerifier>,
    /// When the newest was made.
    this_update: i64,
}

impl ClientLists {
    /// The lists of this file, which is read now.
    ///
    /// # Errors
    /// What is wrong with the file, in words.
    pub(super) fn load(
        account: &str,
        path: &Path,
        anchors: Arc<RootCertStore>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, String> {
        let (account, path) = (account.to_owned(), path.to_owned());
        let lists = Self { account, path, anchors, provider, kept: Mutex::new(None) };
        lists.current()?;
        Ok(lists)
    }

    /// Whether a certificate counts that has been verified already: by current lists neither it nor a CA between it and the
    /// anchor is revoked.
    ///
    /// # Errors
    /// [`Error::ClientCertificateRevoked`]; [`Error::ClientListUnusable`] where that cannot be told.
    pub(super) fn check(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let unusable = |why: &str| {
            tracing::error!(account = self.account, file = %self.path.display(), why, "client_crl cannot be used");
            Error::ClientListUnusable
        };
        let loaded = self.current().map_err(|why| unusable(&why))?;
        let latest = i64::try_from(now.as_secs()).unwrap_or(i64::MAX).saturating_add(SKEW_SECONDS);
        if loaded.this_update > latest {
            return Err(unusable("a list was made in the future"));
        }
        match loaded.verifier.verify_client_cert(leaf, intermediates, now) {
            Ok(_) => Ok(()),
            Err(rustls::Error::InvalidCertificate(CertificateError::Revoked)) => Err(Error::ClientCertificateRevoked),
            // It was verified without the lists: what is wrong is the lists'.
            Err(error) => Err(unusable(&error.to_string())),
        }
    }

    /// The lists as the file has them now.
    fn current(&self) -> Result<Arc<Loaded>, String> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = stamp(&self.path)?;
        if let Some((known, loaded)) = &*kept
            && *known == stamp
        {
            return Ok(Arc::clone(loaded));
        }
        // What was read before counts no longer, whatever becomes of this.
        *kept = None;
        let loaded = Arc::new(self.read()?);
        *kept = Some((stamp, Arc::clone(&loaded)));
        Ok(loaded)
    }

    fn read(&self) -> Result<Loaded, String> {
        let octets = std::fs::read(&self.path).map_err(|error| error.to_string())?;
        let lists: Vec<CertificateRevocationListDer<'static>> = if octets.starts_with(PEM_BEGINNING) {
            CertificateRevocationListDer::pem_slice_iter(&octets)
                .take(LISTS_MAX + 1)
                .collect::<Result<_, _>>()
                .map_err(|error| format!("{error:?}"))?
        } else {
            vec![CertificateRevocationListDer::from(octets)]
        };
        if lists.is_empty() || lists.len() > LISTS_MAX {
            return Err(format!("1 to {LISTS_MAX} revocation lists are wanted, in PEM, or one in DER"));
        }
        let mut this_update = i64::MIN;
        for list in &lists {
            let view = CrlView::parse(list).map_err(|malformed| malformed.to_string())?;
            this_update = this_update.max(view.this_update());
        }
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&self.anchors), Arc::clone(&self.provider))
                .with_crls(lists)
                .enforce_revocation_expiration()
                .build()
                .map_err(|error| error.to_string())?;
        Ok(Loaded { verifier, this_update })
    }
}

fn stamp(path: &Path) -> Result<Stamp, String> {
    let metadata = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if !metadata.is_file() || usize::try_from(metadata.len()).map_or(true, |len| len > FILE_OCTETS_MAX) {
        return Err(format!("no file of at most {FILE_OCTETS_MAX} octets"));
    }
    Ok((metadata.dev(), metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec()))
}
