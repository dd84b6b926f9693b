//! Keys of others, as grants and callers name them.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::client_id::{ClientId, ClientIdFault};
use crate::provider_identity::{ProviderName, ProviderNameFault};

/// A client's key of that name: `CLIENT/NAME`, at whatever provider, or `CLIENT/PROVIDER/NAME`. The client ends at the first
/// slash, so that keys of a client whose name has a slash cannot be named; a key's name that has one needs the provider
/// before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyReference {
    /// Whose key.
    pub client: ClientId,
    /// At which provider.
    pub provider: ProviderScope,
    /// The client's name for it.
    pub name: String,
}

/// At which providers a key is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderScope {
    /// At every one.
    Every,
    /// At that one.
    Only(ProviderName),
}

/// Why a text names no key.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyReferenceFault {
    /// Before the first slash stands no client.
    #[error(transparent)]
    Client(#[from] ClientIdFault),
    /// There is no slash, or nothing behind it.
    #[error("a key of a client is named CLIENT/NAME or CLIENT/PROVIDER/NAME")]
    Form,
    /// Between two slashes stands no provider.
    #[error(transparent)]
    Provider(#[from] ProviderNameFault),
}

impl KeyReference {
    /// Whether a key at that provider is meant.
    #[must_use]
    pub fn is_at(&self, provider: &ProviderName) -> bool {
        match &self.provider {
            ProviderScope::Every => true,
            ProviderScope::Only(name) => name == provider,
        }
    }
}

impl FromStr for KeyReference {
    type Err = KeyReferenceFault;

    fn from_str(text: &str) -> Result<KeyReference, KeyReferenceFault> {
        let (client, rest) = text.split_once('/').ok_or(KeyReferenceFault::Form)?;
        let (provider, name) = match rest.split_once('/') {
            Some((provider, name)) => (ProviderScope::Only(provider.parse()?), name),
            None => (ProviderScope::Every, rest),
        };
        if name.is_empty() {
            return Err(KeyReferenceFault::Form);
        }
        Ok(KeyReference { client: client.parse()?, provider, name: name.to_owned() })
    }
}

impl fmt::Display for KeyReference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.provider {
            ProviderScope::Every => write!(formatter, "{}/{}", self.client, self.name),
            ProviderScope::Only(provider) => write!(formatter, "{}/{provider}/{}", self.client, self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{KeyReference, KeyReferenceFault};

    #[test]
    fn a_key_is_of_a_client_and_perhaps_at_a_provider() {
        for text in ["unix:0/tls", "unix:0/tpm/tls", "unix:0/tpm/a/b", "direct:web/tls"] {
            let reference: KeyReference = text.parse().unwrap();
            assert_eq!(reference.to_string(), text);
        }
        let anywhere: KeyReference = "unix:0/tls".parse().unwrap();
        let there: KeyReference = "unix:0/hsm/tls".parse().unwrap();
        let (tpm, hsm) = ("tpm".parse().unwrap(), "hsm".parse().unwrap());
        assert!(anywhere.is_at(&tpm) && anywhere.is_at(&hsm));
        assert!(!there.is_at(&tpm) && there.is_at(&hsm));
    }

    #[test]
    fn other_texts_are_refused() {
        let refusal = |text: &str| text.parse::<KeyReference>().unwrap_err();
        assert_eq!(refusal("tls"), KeyReferenceFault::Form);
        assert_eq!(refusal("unix:0/"), KeyReferenceFault::Form);
        assert_eq!(refusal("unix:0/tpm/"), KeyReferenceFault::Form);
        assert!(matches!(refusal("0/tls"), KeyReferenceFault::Client(_)));
        assert!(matches!(refusal("unix:0/A/tls"), KeyReferenceFault::Provider(_)));
        assert!(matches!(refusal("unix:0//tls"), KeyReferenceFault::Provider(_)));
    }
}
