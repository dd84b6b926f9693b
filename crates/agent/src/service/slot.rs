//! A provider's place in the service.

use std::fmt;

use crate::config::{CertifyX509Config, ModuleConfig, ProviderConfig, TpmConfig};
use crate::provider::pkcs11::{self, Pkcs11Provider};
use crate::provider::tpm::{Settings, TpmProvider};
use crate::provider::{Attester, Fault, KeyProvider, StateStore};
use crate::provider_identity::ProviderIdentity;

/// Hardware that holds keys and attests them.
pub trait Provider: KeyProvider + Attester {}

impl<T: KeyProvider + Attester> Provider for T {}

type Open = dyn FnMut(Box<dyn StateStore>) -> Result<Box<dyn Provider>, Fault> + Send;

/// A provider to be served: how it is called and how it is opened.
pub struct ProviderSlot {
    /// How it is called.
    pub identity: ProviderIdentity,
    /// Defaults of certificates that its module makes.
    pub certify_x509: CertifyX509Config,
    /// Name of the machine's attesting key that attests when nobody chooses.
    pub default_attesting_key: String,
    open: Box<Open>,
}

impl ProviderSlot {
    /// A provider that `open` opens, given where it keeps its state. It is called on the provider's own
    /// thread, again whenever the last call failed.
    pub fn new<P: Provider + 'static>(
        identity: ProviderIdentity,
        default_attesting_key: &str,
        certify_x509: CertifyX509Config,
        mut open: impl FnMut(Box<dyn StateStore>) -> Result<P, Fault> + Send + 'static,
    ) -> ProviderSlot {
        let open: Box<Open> =
            Box::new(move |state| open(state).map(|provider| -> Box<dyn Provider> { Box::new(provider) }));
        ProviderSlot { identity, certify_x509, default_attesting_key: default_attesting_key.to_owned(), open }
    }

    /// The provider that the configuration describes.
    #[must_use]
    pub fn configured(identity: ProviderIdentity, config: &ProviderConfig) -> ProviderSlot {
        match &config.module {
            ModuleConfig::Tpm(tpm) => ProviderSlot::tpm(identity, tpm),
            ModuleConfig::Pkcs11(token) => ProviderSlot::pkcs11(identity, token),
        }
    }

    fn tpm(identity: ProviderIdentity, config: &TpmConfig) -> ProviderSlot {
        let settings = Settings {
            default_attesting_key: config.default_attesting_key.clone(),
            attesting_key_kind: config.attesting_key_kind,
        };
        let address = config.address.clone();
        let open = move |state| TpmProvider::open(&address, settings.clone(), state);
        ProviderSlot::new(identity, &config.default_attesting_key, config.certify_x509.clone(), open)
    }

    fn pkcs11(identity: ProviderIdentity, settings: &pkcs11::Settings) -> ProviderSlot {
        let default_attesting_key = settings.default_attesting_key.clone();
        let settings = settings.clone();
        let open = move |state| Pkcs11Provider::open(settings.clone(), state);
        ProviderSlot::new(identity, &default_attesting_key, CertifyX509Config::default(), open)
    }

    pub(super) fn open(&mut self, state: Box<dyn StateStore>) -> Result<Box<dyn Provider>, Fault> {
        (self.open)(state)
    }
}

impl fmt::Debug for ProviderSlot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ProviderSlot").field("identity", &self.identity).finish_non_exhaustive()
    }
}
