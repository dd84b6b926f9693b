//! Modules as they are configured.

use std::path::PathBuf;

use crate::provider::pkcs11::Settings as Pkcs11Settings;
use crate::provider::{KeyKind, KeyUsage};
use crate::provider_identity::{ProviderKind, ProviderName};
use crate::tpm::Address;

/// A provider: its name, and the module behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderConfig {
    /// Its name, to which its keys belong.
    pub name: ProviderName,
    /// The module.
    pub module: ModuleConfig,
}

impl ProviderConfig {
    /// The provider of a configuration that names none: a TPM, called `tpm`.
    pub(super) fn default_tpm() -> ProviderConfig {
        ProviderConfig {
            name: ProviderName::of_kind(ProviderKind::Tpm),
            module: ModuleConfig::Tpm(TpmConfig::default()),
        }
    }
}

/// A module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModuleConfig {
    /// A TPM 2.0.
    Tpm(TpmConfig),
    /// A token behind PKCS#11.
    Pkcs11(Pkcs11Settings),
}

impl ModuleConfig {
    /// Of which kind it is.
    #[must_use]
    pub const fn kind(&self) -> ProviderKind {
        match self {
            ModuleConfig::Tpm(_) => ProviderKind::Tpm,
            ModuleConfig::Pkcs11(_) => ProviderKind::Pkcs11,
        }
    }

    /// Name of the attesting key that is used when a client names none.
    #[must_use]
    pub fn default_attesting_key(&self) -> &str {
        match self {
            ModuleConfig::Tpm(tpm) => &tpm.default_attesting_key,
            ModuleConfig::Pkcs11(token) => &token.default_attesting_key,
        }
    }

    /// Where it is, for people.
    #[must_use]
    pub fn place(&self) -> String {
        match self {
            ModuleConfig::Tpm(tpm) => tpm.address.to_string(),
            ModuleConfig::Pkcs11(token) => format!("token of {} at {}", token.token, token.module.display()),
        }
    }
}

/// The TPM and what it attests with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TpmConfig {
    /// `device:PATH`, `swtpm:unix:PATH` or `swtpm:tcp:HOST:PORT`.
    pub address: Address,
    /// Name of the attesting key that is used when a client names none.
    pub default_attesting_key: String,
    /// The kind of attesting keys made without saying which.
    pub attesting_key_kind: KeyKind,
    /// What certificates by TPM2_CertifyX509 hold unless the client says otherwise.
    pub certify_x509: CertifyX509Config,
}

impl Default for TpmConfig {
    fn default() -> TpmConfig {
        TpmConfig {
            address: Address::Device(PathBuf::from("/dev/tpmrm0")),
            default_attesting_key: "default".to_owned(),
            attesting_key_kind: KeyKind::EcP256,
            certify_x509: CertifyX509Config::default(),
        }
    }
}

/// Defaults of certificates by TPM2_CertifyX509.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertifyX509Config {
    /// Subject, RFC 4514 text in which `{key}` stands for the key's name; put beneath the issuer's name.
    pub subject: String,
    /// Validity from now on, in hours.
    pub validity_hours: u32,
    /// Key usage.
    pub key_usage: KeyUsage,
    /// Subject alternative names: `dns:`, `email:`, `uri:` or `ip:` and the value.
    pub san: Vec<String>,
    /// The attesting key for this mechanism; empty for the default one.
    pub attesting_key: String,
}

impl Default for CertifyX509Config {
    fn default() -> CertifyX509Config {
        CertifyX509Config {
            subject: "CN={key}".to_owned(),
            validity_hours: 24,
            key_usage: KeyUsage::DIGITAL_SIGNATURE,
            san: Vec::new(),
            attesting_key: String::new(),
        }
    }
}
