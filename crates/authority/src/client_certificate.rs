//! Client certificates: whose they are, from the TLS handshake of the very connection. No header says who a client is, so
//! that no proxy and nobody who writes headers can.

mod revocation;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};
use thiserror::Error;
use vouchsafe_evidence::x509::{CertView, NameView};

use self::revocation::ClientLists;
use crate::ca::Hierarchy;
use crate::config::Config;
use crate::enroll::Names;
use crate::error::Error;
use crate::registration::is_registration_authority;
use crate::service::Service;

/// Why the authorities of client certificates cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientCaError {
    /// A file is not PEM with certificates.
    #[error("account {account}: client_ca {}: {error}", path.display())]
    Pem {
        /// The account.
        account: String,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: rustls::pki_types::pem::Error,
    },
    /// A certificate cannot be an anchor, or there is none.
    #[error("client_ca of account {account}: no certificate that can be trusted")]
    Anchor {
        /// The account; empty for this installation's own authority.
        account: String,
    },
    /// The revocation lists cannot be used.
    #[error("account {account}: client_crl {}: {why}", path.display())]
    Lists {
        /// The account.
        account: String,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

/// An authority whose certificates are taken, and whose account they speak for.
#[derive(Debug)]
struct ClientCa {
    verifier: Arc<dyn ClientCertVerifier>,
    speaks_for: SpeaksFor,
    /// What it has revoked, where the account says where that stands.
    lists: Option<ClientLists>,
}

/// Whose account a certificate speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum SpeaksFor {
    /// The one that it was issued for here, as the records say.
    Recorded,
    /// This one, which names the authority.
    Account(String),
}

/// Every authority whose client certificates are taken.
#[derive(Debug)]
pub(crate) struct ClientAuthorities {
    authorities: Vec<ClientCa>,
    hints: Vec<DistinguishedName>,
    provider: Arc<rustls::crypto::CryptoProvider>,
}

/// Whose a client certificate is.
#[derive(Debug)]
pub(crate) struct Holder {
    /// The account's name.
    pub(crate) account: String,
    /// Whom its holder may ask for.
    pub(crate) names: Names,
    /// Whether it is a registration authority's.
    pub(crate) is_registrar: bool,
}

impl ClientAuthorities {
    /// This installation's issuers, where it has any, and those that accounts name.
    ///
    /// # Errors
    /// [`ClientCaError`].
    pub(crate) fn load(config: &Config, hierarchy: &Hierarchy) -> Result<Self, ClientCaError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut authorities = Vec::new();
        // Whoever issued a certificate here, or did before another took its place.
        let own = hierarchy.issuers().map(|issuer| issuer.ca().certificate().as_der().to_vec());
        let own: Vec<CertificateDer<'static>> = own.map(CertificateDer::from).collect();
        if !own.is_empty() {
            authorities.push(authority(&provider, own, "", (SpeaksFor::Recorded, None))?);
        }
        for account in &config.accounts {
            let Some(path) = &account.client_ca else { continue };
            let unreadable = |error| ClientCaError::Pem { account: account.name.clone(), path: path.clone(), error };
            let anchors = CertificateDer::pem_file_iter(path).map_err(unreadable)?;
            let anchors = anchors.collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
            let speaks_for = SpeaksFor::Account(account.name.clone());
            let lists = account.client_crl.as_deref();
            authorities.push(authority(&provider, anchors, &account.name, (speaks_for, lists))?);
        }
        let hints = authorities.iter().flat_map(|known| known.verifier.root_hint_subjects().to_vec()).collect();
        Ok(Self { authorities, hints, provider })
    }

    /// Those whose certificate this is.
    fn speaks_for(&self, certificates: &[CertificateDer<'_>], now: UnixTime) -> Result<SpeaksFor, Error> {
        let (leaf, intermediates) = certificates.split_first().ok_or(Error::NotAuthenticated)?;
        let mut found =
            self.authorities.iter().filter(|known| known.verifier.verify_client_cert(leaf, intermediates, now).is_ok());
        match (found.next(), found.next()) {
            (Some(known), None) => {
                known.lists.as_ref().map_or(Ok(()), |lists| lists.check(leaf, intermediates, now))?;
                Ok(known.speaks_for.clone())
            }
            // Two accounts that name one authority: whose it is cannot be told.
            (Some(_), Some(_)) | (None, _) => Err(Error::NotAuthenticated),
        }
    }
}

fn authority(
    provider: &Arc<rustls::crypto::CryptoProvider>,
    anchors: Vec<CertificateDer<'static>>,
    account: &str,
    (speaks_for, lists): (SpeaksFor, Option<&Path>),
) -> Result<ClientCa, ClientCaError> {
    let unusable = || ClientCaError::Anchor { account: account.to_owned() };
    let mut roots = RootCertStore::empty();
    for anchor in anchors {
        roots.add(anchor).map_err(|_| unusable())?;
    }
    let roots = Arc::new(roots);
    let load = |path: &Path| {
        let failed = |why| ClientCaError::Lists { account: account.to_owned(), path: path.to_owned(), why };
        ClientLists::load(account, path, Arc::clone(&roots), Arc::clone(provider)).map_err(failed)
    };
    let lists = lists.map(load).transpose()?;
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider));
    Ok(ClientCa { verifier: verifier.build().map_err(|_| unusable())?, speaks_for, lists })
}

impl ClientCertVerifier for ClientAuthorities {
    fn offer_client_auth(&self) -> bool {
        !self.authorities.is_empty()
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let mut refused = rustls::Error::General("no authority of client certificates is known".to_owned());
        for known in &self.authorities {
            match known.verifier.verify_client_cert(end_entity, intermediates, now) {
                Ok(verified) => return Ok(verified),
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl Service {
    /// Whose the certificate is that a client has shown in its handshake, at this moment: it must be valid now, and one
    /// that was issued here must be on record for an account and not revoked.
    pub(crate) fn certificate_holder(&self, certificates: &[CertificateDer<'_>]) -> Result<Holder, Error> {
        let seconds = u64::try_from(self.now()).map_err(|_| Error::NotAuthenticated)?;
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        match self.client_authorities.speaks_for(certificates, now)? {
            SpeaksFor::Account(account) => {
                let leaf = certificates.first().and_then(|leaf| CertView::parse(leaf).ok());
                let is_registrar = leaf.as_ref().is_some_and(is_registration_authority);
                Ok(Holder { account, names: Names::OfAccount, is_registrar })
            }
            SpeaksFor::Recorded => {
                let leaf = certificates.first().ok_or(Error::NotAuthenticated)?;
                let certificate = CertView::parse(leaf).map_err(|_| Error::NotAuthenticated)?;
                let issued = self.store.issued(certificate.serial())?.ok_or(Error::NotAuthenticated)?;
                if issued.is_revoked || issued.der != leaf.as_ref() {
                    return Err(Error::NotAuthenticated);
                }
                let subject: NameView = certificate.subject().clone();
                Ok(Holder { account: issued.account, names: Names::Only(subject), is_registrar: false })
            }
        }
    }
}
