//! A provider's place in the service.

use std::fmt;

use crate::config::{CertifyX509Config, TpmConfig};
use crate::provider::tpm::{Settings, TpmProvider};
use crate::provider::{Attester, Fault, KeyProvider, StateStore};
use crate::wire::ProviderId;

/// The UUID that Parsec gave its TPM provider.
const TPM_UUID: &str = "1e4954a4-ff21-46d3-ab0c-661eeb667e1d";

/// Hardware that holds keys and attests them.
pub trait Provider: KeyProvider + Attester {}

impl<T: KeyProvider + Attester> Provider for T {}

type Open = dyn FnMut(Box<dyn StateStore>) -> Result<Box<dyn Provider>, Fault> + Send;

/// A provider to be served: how it is called and how it is opened.
pub struct ProviderSlot {
    /// The header's provider id.
    pub id: ProviderId,
    /// The UUID that Parsec gave this kind of provider.
    pub uuid: &'static str,
    /// What it is, for people.
    pub description: &'static str,
    /// Defaults of certificates that its module makes.
    pub certify_x509: CertifyX509Config,
    open: Box<Open>,
}

impl ProviderSlot {
    /// A provider that `open` opens, given where it keeps its state. It is called on the provider's own
    /// thread, again whenever the last call failed.
    pub fn new<P: Provider + 'static>(
        id: ProviderId,
        uuid: &'static str,
        description: &'static str,
        certify_x509: CertifyX509Config,
        mut open: impl FnMut(Box<dyn StateStore>) -> Result<P, Fault> + Send + 'static,
    ) -> ProviderSlot {
        let open: Box<Open> =
            Box::new(move |state| open(state).map(|provider| -> Box<dyn Provider> { Box::new(provider) }));
        ProviderSlot { id, uuid, description, certify_x509, open }
    }

    /// The TPM that the configuration names.
    #[must_use]
    pub fn tpm(config: TpmConfig) -> ProviderSlot {
        let settings = Settings {
            default_attesting_key: config.default_attesting_key,
            attesting_key_kind: config.attesting_key_kind,
        };
        let address = config.address;
        ProviderSlot::new(ProviderId::TPM, TPM_UUID, "Keys in a TPM 2.0", config.certify_x509, move |state| {
            TpmProvider::open(&address, settings.clone(), state)
        })
    }

    pub(super) fn open(&mut self, state: Box<dyn StateStore>) -> Result<Box<dyn Provider>, Fault> {
        (self.open)(state)
    }
}

impl fmt::Debug for ProviderSlot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ProviderSlot").field("id", &self.id).finish_non_exhaustive()
    }
}
