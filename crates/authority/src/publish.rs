//! What a certificate tells the world of the attestation that it rests on (`docs/publishing.md`).
//!
//! The platform attestation is for the authority's eyes only. Of the key attestation a profile publishes nothing, the
//! assurance level that it reached, or the one statement about the key; the last only in formats whose statements say
//! nothing of the module but its key.

mod settings;
mod statement;

pub use settings::{AssuranceConfig, FormatRule, LevelConfig, PublishConfig, PublishError};
pub(crate) use settings::{Publication, check};

use vouchsafe_evidence::oid;
use vouchsafe_evidence::x509::build;
use vouchsafe_verifier::{By, CertifiableKey, Node, Verdict};

use crate::error::{Error, own_codes};
use crate::profile::Profile;
use crate::service::Service;
use crate::store::CertificateRecord;

/// What a certificate is given to publish, and what was signed for the purpose.
#[derive(Debug)]
pub(crate) struct Published {
    /// Extensions of the certificate.
    pub(crate) extensions: Vec<Vec<u8>>,
    /// From when on they hold: the certificate is not valid before, so that its first second is a time at which they do.
    pub(crate) holds_from: i64,
    /// The certificate of the attesting key as it is published, where it was made anew.
    pub(crate) attesting_key: Option<CertificateRecord>,
}

impl Published {
    /// Extensions that hold whenever the certificate does.
    pub(crate) const fn timeless(extensions: Vec<Vec<u8>>) -> Self {
        Self { extensions, holds_from: i64::MIN, attesting_key: None }
    }
}

impl Service {
    /// What the profile publishes of an accepted key attestation.
    ///
    /// # Errors
    /// [`Error::Rejected`] where the statement is of a format that the profile does not name, or cannot be published.
    pub(crate) fn publication(&self, profile: &Profile, key: &CertifiableKey) -> Result<Published, Error> {
        if !profile.formats().allows(key.verdict()) {
            return Err(own_codes::FORMAT_NOT_PERMITTED.refusal());
        }
        match profile.publication() {
            Publication::None => Ok(Published::timeless(Vec::new())),
            Publication::Assurance(levels) => {
                let reached = levels.iter().find(|level| level.is_reached(key.verdict()));
                let policies = reached.map(|level| build::certificate_policies(false, &[level.oid()]));
                Ok(Published::timeless(policies.into_iter().collect()))
            }
            Publication::Statement => {
                let (bundle, holds_from, attesting_key) = self.published_bundle(key)?;
                let extension = build::extension(oid::AA_ATTESTATION, false, &bundle.to_der());
                Ok(Published { extensions: vec![extension], holds_from, attesting_key })
            }
        }
    }
}

/// The places of the statements about the key itself.
fn key_statements(verdict: &Verdict) -> impl Iterator<Item = usize> {
    verdict.edges().iter().filter_map(|edge| match (edge.from, edge.to, edge.by) {
        (Node::CsrKey, Node::Statement(place), By::Spki) => Some(place),
        _ => None,
    })
}
