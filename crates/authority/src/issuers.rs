//! The issuers of certificates, as clients of a profile and as administrators see them.

use vouchsafe_evidence::oid;
use vouchsafe_evidence::x509::CertView;
use vouchsafe_evidence::x509::extensions::AuthorityKeyIdentifier;

use crate::ca::{HierarchyError, ISSUING_CA, key_identifier_of, load_certificate, read_chain};
use crate::certificate::DAY_SECONDS;
use crate::clock::Clock;
use crate::config::{Config, DEFAULT_ISSUER, IssuerKey, predecessors};
use crate::error::Error;
use crate::init::{ca_folder, database_file};
use crate::lifecycle::AdministrationError;
use crate::profile::{CertificateSource, Profile};
use crate::service::Service;
use crate::store::{self, Store};

/// Certificates that are read from the store at a time.
const PAGE: u32 = 1_000;

/// Where an issuer is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IssuerState {
    /// Certificates come from it.
    Active,
    /// None come from it yet: it follows one from which they do, and clients are told of it already.
    Announced,
    /// None come from it any longer, and some that did are valid still.
    Overlap,
    /// None that came from it is valid. It may be taken out of the configuration.
    Retired,
}

impl IssuerState {
    /// The word for it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Announced => "announced",
            Self::Overlap => "overlap",
            Self::Retired => "retired",
        }
    }
}

/// Where an issuer's key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPlace {
    /// In a file, which is for labs: whoever reads it signs.
    File(String),
    /// In a token.
    Token(String),
}

/// An issuer as its administrators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerStatus {
    /// Its name.
    pub name: String,
    /// The subject of its certificate.
    pub subject: String,
    /// Where its key is.
    pub key: KeyPlace,
    /// Beginning of its validity, seconds since the epoch.
    pub not_before: i64,
    /// End of its validity, seconds since the epoch.
    pub not_after: i64,
    /// Whole days until then; negative once it has expired.
    pub days_left: i64,
    /// Where it is in its life.
    pub state: IssuerState,
    /// The profiles whose certificates come from it.
    pub profiles: Vec<String>,
    /// The issuer in whose place it is.
    pub follows: Option<String>,
    /// When the last certificate that came from it expires, if any is valid.
    pub last_certificate: Option<i64>,
    /// Where its revocation list is had: a URL where certificates name one, else a path of this server.
    pub revocation_list: String,
}

/// The issuers of an installation, the one that `init` made first. Neither keys nor tokens are opened; the server may run.
///
/// # Errors
/// [`AdministrationError::Hierarchy`], [`AdministrationError::Store`].
pub fn issuers(config: &Config, clock: &dyn Clock) -> Result<Vec<IssuerStatus>, AdministrationError> {
    let now = clock.now_unix_seconds();
    let mut known = certificates(config)?;
    let store = store::open(&config.database, &database_file(config))?;
    add_last_certificates(&*store, now, &mut known).map_err(AdministrationError::Store)?;
    Ok(known.into_iter().map(|issuer| issuer.status(config, now)).collect())
}

/// An issuer and its certificate.
struct Known {
    name: String,
    certificate: CertView,
    key_identifier: Vec<u8>,
    key: KeyPlace,
    follows: Option<String>,
    last_certificate: Option<i64>,
}

impl Known {
    fn new(
        name: &str,
        certificate: CertView,
        key: KeyPlace,
        follows: Option<String>,
    ) -> Result<Self, AdministrationError> {
        let malformed = |malformed| HierarchyError::Malformed { path: name.into(), malformed };
        let key_identifier = key_identifier_of(&certificate).map_err(malformed)?;
        Ok(Self { name: name.to_owned(), certificate, key_identifier, key, follows, last_certificate: None })
    }

    fn issued(&self, certificate: &CertView) -> bool {
        let named = certificate.extension(oid::AUTHORITY_KEY_IDENTIFIER).ok().flatten();
        let named = named.and_then(|extension| AuthorityKeyIdentifier::parse(extension.value()).ok());
        certificate.issuer() == self.certificate.subject()
            && named.is_some_and(|named| named.key_identifier() == Some(self.key_identifier.as_slice()))
    }

    fn status(self, config: &Config, now: i64) -> IssuerStatus {
        let not_after = self.certificate.not_after();
        let revocation_list = match &config.distribution {
            Some(distribution) => distribution.revocation_list(&self.name),
            None => format!("/v1/revocation-lists/{}", self.name),
        };
        IssuerStatus {
            state: state(config, &self),
            subject: self.certificate.subject().to_display(),
            key: self.key,
            not_before: self.certificate.not_before(),
            not_after,
            days_left: not_after.saturating_sub(now).div_euclid(DAY_SECONDS),
            profiles: profiles_of(config, &self.name),
            follows: self.follows,
            last_certificate: self.last_certificate,
            revocation_list,
            name: self.name,
        }
    }
}

fn certificates(config: &Config) -> Result<Vec<Known>, AdministrationError> {
    let mut known = Vec::new();
    let folder = ca_folder(config);
    if folder.join(format!("{ISSUING_CA}.crt")).exists() {
        let key = KeyPlace::File(folder.join(format!("{ISSUING_CA}.key")).display().to_string());
        known.push(Known::new(DEFAULT_ISSUER, load_certificate(&folder, ISSUING_CA)?, key, None)?);
    }
    for issuer in &config.issuers {
        let (chain, _) = read_chain(&issuer.certificate, None)?;
        let Some(certificate) = chain.into_iter().next() else { continue };
        let key = match &issuer.key {
            IssuerKey::File(path) => KeyPlace::File(path.display().to_string()),
            IssuerKey::Token(token) => KeyPlace::Token(token.to_string()),
        };
        known.push(Known::new(&issuer.name, certificate, key, issuer.follows.clone())?);
    }
    Ok(known)
}

/// Looks through everything that is valid: which issuer a certificate came from, the certificate alone says.
fn add_last_certificates(store: &dyn Store, now: i64, issuers: &mut [Known]) -> Result<(), store::StoreError> {
    let mut behind = Vec::new();
    loop {
        let page = store.valid_certificates(&behind, now, PAGE)?;
        let Some(last) = page.last() else { return Ok(()) };
        behind.clone_from(&last.serial);
        for valid in &page {
            let Ok(certificate) = CertView::parse(&valid.der) else { continue };
            if let Some(issuer) = issuers.iter_mut().find(|issuer| issuer.issued(&certificate)) {
                issuer.last_certificate = issuer.last_certificate.max(Some(valid.not_after));
            }
        }
    }
}

fn profiles_of(config: &Config, issuer: &str) -> Vec<String> {
    let of_issuer = config.profiles.iter().filter(|profile| profile.issuer() == Some(issuer));
    of_issuer.map(|profile| profile.name().to_owned()).collect()
}

fn state(config: &Config, issuer: &Known) -> IssuerState {
    let mut before = predecessors(&config.issuers, issuer.follows.as_deref());
    if !profiles_of(config, &issuer.name).is_empty() {
        IssuerState::Active
    } else if issuer.last_certificate.is_some() {
        IssuerState::Overlap
    } else if before.any(|name| !profiles_of(config, name).is_empty()) {
        IssuerState::Announced
    } else {
        IssuerState::Retired
    }
}

impl Service {
    /// What clients of a profile trust and build chains with: of every issuer of the succession that its certificates come
    /// from. DER.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a profile whose certificates come from elsewhere.
    pub(crate) fn profile_authorities(&self, profile: &Profile) -> Result<Vec<Vec<u8>>, Error> {
        match profile.source() {
            CertificateSource::Issuer(issuer) => Ok(self.hierarchy.issuing()?.certificates_for(issuer)),
            CertificateSource::Upstream(upstream) => {
                Ok(self.upstreams.named(upstream)?.certificates().map(<[u8]>::to_vec).collect())
            }
        }
    }

    /// The issuer of a profile's certificates, where that is of this installation.
    pub(crate) fn issuer_of_profile(&self, profile: &str) -> Option<&str> {
        self.profile(profile).ok()?.issuer()
    }
}
