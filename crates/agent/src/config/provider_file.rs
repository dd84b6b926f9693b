//! Providers as they are written, and the checks that make [`ProviderConfig`]s of them.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::file::Context;
use super::{CertifyX509Config, ConfigFault, ModuleConfig, ProviderConfig, TpmConfig, key_kind};
use crate::names;
use crate::provider::pkcs11::{Settings as Pkcs11Settings, TokenName};
use crate::provider::{KeyKind, KeyUsage};
use crate::provider_identity::{CORE_NAME, ProviderKind, ProviderName};
use crate::tpm::Address;

/// Most providers of one agent: each has a thread.
const MAX_PROVIDERS: usize = 16;

/// Longest validity of a certificate by TPM2_CertifyX509 that may be configured: ten years of 366 days.
const MAX_VALIDITY_HOURS: u32 = 10 * 366 * 24;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTpm {
    address: Option<String>,
    #[serde(default)]
    attesting_key: RawAttestingKey,
    #[serde(default)]
    certify_x509: RawCertifyX509,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPkcs11 {
    module: PathBuf,
    token: Option<String>,
    serial: Option<String>,
    pin_file: PathBuf,
    attesting_token: Option<String>,
    attesting_pin_file: Option<PathBuf>,
    #[serde(default)]
    attesting_key: RawAttestingKey,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAttestingKey {
    default: Option<String>,
    algorithm: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCertifyX509 {
    subject: Option<String>,
    validity_hours: Option<u32>,
    key_usage: Option<Vec<String>>,
    san: Option<Vec<String>>,
    attesting_key: Option<String>,
}

impl Context<'_> {
    /// The providers, in the order of the file.
    pub(super) fn providers(&self, tables: toml::Table) -> Result<Vec<ProviderConfig>, ConfigFault> {
        if tables.len() > MAX_PROVIDERS {
            return Err(self.refuse("providers", format!("{} providers", tables.len()), "name at most 16"));
        }
        let mut providers: Vec<ProviderConfig> = Vec::new();
        for (name, table) in tables {
            let provider = self.provider(&name, table)?;
            if let Some(same) = providers.iter().find(|other| is_same_module(&other.module, &provider.module)) {
                let found = format!("{}, which [providers.{}] has too", provider.module.place(), same.name);
                return Err(self.refuse(format!("providers.{name}"), found, "name each module once"));
            }
            providers.push(provider);
        }
        Ok(providers)
    }

    fn provider(&self, name: &str, table: toml::Value) -> Result<ProviderConfig, ConfigFault> {
        let place = format!("providers.{name}");
        let parsed = name.parse::<ProviderName>().ok().filter(|parsed| parsed.as_str() != CORE_NAME);
        let name = parsed.ok_or_else(|| {
            let next_step =
                "name it by a letter of a-z, then at most 63 of a-z, 0-9, hyphen and underscore, and not core";
            self.refuse(place.clone(), name, next_step)
        })?;
        let toml::Value::Table(mut table) = table else {
            return Err(self.refuse(place, table.to_string(), "write a table, [providers.NAME]"));
        };
        let kind = self.kind(&place, &name, table.remove("kind"))?;
        let module = match kind {
            ProviderKind::Tpm => ModuleConfig::Tpm(self.tpm(&place, self.read(&place, table)?)?),
            ProviderKind::Pkcs11 => ModuleConfig::Pkcs11(self.pkcs11(&place, self.read(&place, table)?)?),
        };
        Ok(ProviderConfig { name, module })
    }

    /// The kind that is written, which must not contradict the name, or else the one that the name says.
    fn kind(
        &self,
        place: &str,
        name: &ProviderName,
        written: Option<toml::Value>,
    ) -> Result<ProviderKind, ConfigFault> {
        let by_name = ProviderKind::from_name(name.as_str());
        let (found, kind) = match &written {
            None => ("no kind".to_owned(), by_name),
            Some(value) => {
                let kind = value.as_str().and_then(ProviderKind::from_name);
                (value.to_string(), kind.filter(|kind| by_name.is_none_or(|by_name| by_name == *kind)))
            }
        };
        kind.ok_or_else(|| {
            let next_step =
                "write kind = \"tpm\" or kind = \"pkcs11\"; providers called tpm and pkcs11 are of these kinds";
            self.refuse(format!("{place}.kind"), found, next_step)
        })
    }

    fn read<T: DeserializeOwned>(&self, place: &str, table: toml::Table) -> Result<T, ConfigFault> {
        table.try_into().map_err(|error: toml::de::Error| ConfigFault::Syntax {
            file: self.file.to_owned(),
            detail: format!("{place}: {}", error.to_string().trim_end().replace('\n', ", ")),
        })
    }

    fn tpm(&self, place: &str, raw: RawTpm) -> Result<TpmConfig, ConfigFault> {
        let defaults = TpmConfig::default();
        let address = match raw.address {
            Some(text) => text.parse().map_err(|_| {
                let next_step = "write device:/PATH, swtpm:unix:/PATH or swtpm:tcp:HOST:PORT";
                self.refuse(format!("{place}.address"), text, next_step)
            })?,
            None => defaults.address,
        };
        let (default_attesting_key, attesting_key_kind) = self.attesting_key(place, raw.attesting_key)?;
        Ok(TpmConfig {
            address,
            default_attesting_key,
            attesting_key_kind,
            certify_x509: self.certify_x509(&format!("{place}.certify_x509"), raw.certify_x509)?,
        })
    }

    fn attesting_key(&self, place: &str, raw: RawAttestingKey) -> Result<(String, KeyKind), ConfigFault> {
        let defaults = TpmConfig::default();
        let kind = match raw.algorithm {
            Some(name) => key_kind(&name).ok_or_else(|| {
                let next_step = "write ecc-p256, ecc-p384, rsa-2048 or rsa-3072";
                self.refuse(format!("{place}.attesting_key.algorithm"), name, next_step)
            })?,
            None => defaults.attesting_key_kind,
        };
        let default = raw.default.unwrap_or(defaults.default_attesting_key);
        if default.is_empty() {
            return Err(self.refuse(format!("{place}.attesting_key.default"), "", "write a name"));
        }
        Ok((default, kind))
    }

    fn certify_x509(&self, place: &str, raw: RawCertifyX509) -> Result<CertifyX509Config, ConfigFault> {
        let defaults = CertifyX509Config::default();
        let validity_hours = raw.validity_hours.unwrap_or(defaults.validity_hours);
        if !(1..=MAX_VALIDITY_HOURS).contains(&validity_hours) {
            let key = format!("{place}.validity_hours");
            return Err(self.refuse(key, validity_hours.to_string(), "write 1 to 87840 hours"));
        }
        let subject = raw.subject.unwrap_or(defaults.subject);
        if names::subject_for_key(&subject, "key").is_err() {
            let key = format!("{place}.subject");
            return Err(self.refuse(key, subject, "write a name as in RFC 4514, such as CN={key}"));
        }
        let san = raw.san.unwrap_or(defaults.san);
        if let Err(fault) = names::alternative_names(&san) {
            return Err(self.refuse(format!("{place}.san"), fault.to_string(), "write texts such as dns:host.example"));
        }
        Ok(CertifyX509Config {
            subject,
            validity_hours,
            key_usage: match raw.key_usage {
                Some(names) => self.key_usage(&format!("{place}.key_usage"), &names)?,
                None => defaults.key_usage,
            },
            san,
            attesting_key: raw.attesting_key.unwrap_or(defaults.attesting_key),
        })
    }

    fn key_usage(&self, key: &str, names: &[String]) -> Result<KeyUsage, ConfigFault> {
        const NEXT_STEP: &str = "write names of RFC 5280 section 4.2.1.3 such as digitalSignature";
        let mut usage: Option<KeyUsage> = None;
        for name in names {
            let bit = KeyUsage::from_name(name).ok_or_else(|| self.refuse(key, name, NEXT_STEP))?;
            usage = Some(usage.map_or(bit, |usage| usage.union(bit)));
        }
        usage.ok_or_else(|| self.refuse(key, "[]", NEXT_STEP))
    }

    fn pkcs11(&self, place: &str, raw: RawPkcs11) -> Result<Pkcs11Settings, ConfigFault> {
        let (default_attesting_key, attesting_key_kind) = self.attesting_key(place, raw.attesting_key)?;
        let token = match (raw.token, raw.serial) {
            (Some(label), None) => TokenName::Label(label),
            (None, Some(serial)) => TokenName::Serial(serial),
            (token, _) => {
                let found = if token.is_some() { "both token and serial" } else { "neither token nor serial" };
                let next_step = "name the token by exactly one of token = \"LABEL\" and serial = \"...\"";
                return Err(self.refuse(format!("{place}.token"), found, next_step));
            }
        };
        let attesting_token = match (raw.attesting_token, raw.attesting_pin_file) {
            (None, None) => None,
            (Some(label), Some(pin_file)) => {
                Some((TokenName::Label(label), self.absolute(format!("{place}.attesting_pin_file"), pin_file)?))
            }
            (label, _) => {
                let found = if label.is_some() { "no attesting_pin_file" } else { "no attesting_token" };
                let next_step = "write both attesting_token and attesting_pin_file, or neither";
                return Err(self.refuse(format!("{place}.attesting_token"), found, next_step));
            }
        };
        Ok(Pkcs11Settings {
            module: self.absolute(format!("{place}.module"), raw.module)?,
            token,
            pin_file: self.absolute(format!("{place}.pin_file"), raw.pin_file)?,
            attesting_token,
            default_attesting_key,
            attesting_key_kind,
        })
    }
}

/// Whether two addresses lead to one TPM: `/dev/tpm0` and `/dev/tpmrm0` do, and so do links.
fn is_same_tpm(one: &Address, other: &Address) -> bool {
    match (one, other) {
        (Address::Device(one), Address::Device(other)) => device(one) == device(other),
        (Address::SwtpmUnix(one), Address::SwtpmUnix(other)) => resolved(one) == resolved(other),
        (Address::SwtpmTcp(one), Address::SwtpmTcp(other)) => one == other,
        (Address::Device(_) | Address::SwtpmUnix(_) | Address::SwtpmTcp(_), _) => false,
    }
}

/// The file that is meant; the path itself where there is none yet.
fn resolved(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// The kernel's device behind or beside its resource manager.
fn device(path: &Path) -> PathBuf {
    let file = resolved(path);
    let number = file.file_name().and_then(OsStr::to_str).and_then(|name| name.strip_prefix("tpmrm"));
    match number.filter(|number| !number.is_empty() && number.bytes().all(|octet| octet.is_ascii_digit())) {
        Some(number) => file.with_file_name(format!("tpm{number}")),
        None => file,
    }
}

/// Whether two providers would hold one module, in which they would meet each other's keys.
fn is_same_module(one: &ModuleConfig, other: &ModuleConfig) -> bool {
    match (one, other) {
        (ModuleConfig::Tpm(one), ModuleConfig::Tpm(other)) => is_same_tpm(&one.address, &other.address),
        (ModuleConfig::Pkcs11(one), ModuleConfig::Pkcs11(other)) => {
            (&one.module, &one.token) == (&other.module, &other.token)
        }
        (ModuleConfig::Tpm(_), ModuleConfig::Pkcs11(_)) | (ModuleConfig::Pkcs11(_), ModuleConfig::Tpm(_)) => false,
    }
}
