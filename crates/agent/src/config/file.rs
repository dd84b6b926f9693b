//! The file as it is written, and the checks that make a [`Config`] of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::{AdminGroup, CertifyX509Config, Config, ConfigFault, Limits, SocketConfig, TpmConfig, key_kind};
use crate::grants::{Capability, GrantRule, Grantee};
use crate::names;
use crate::provider::KeyUsage;

/// Longest validity of a certificate by TPM2_CertifyX509 that may be configured: ten years of 366 days.
const MAX_VALIDITY_HOURS: u32 = 10 * 366 * 24;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    state: Option<PathBuf>,
    #[serde(default)]
    socket: RawSocket,
    monitoring: Option<RawMonitoring>,
    #[serde(default)]
    limits: RawLimits,
    #[serde(default)]
    grants: Vec<RawGrant>,
    providers: Option<RawProviders>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSocket {
    path: Option<PathBuf>,
    mode: Option<String>,
    group: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMonitoring {
    path: PathBuf,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLimits {
    connections: Option<u32>,
    connections_per_user: Option<u32>,
    waiting_requests: Option<u32>,
    waiting_requests_per_user: Option<u32>,
    keys_per_user: Option<u32>,
    frame_seconds: Option<u32>,
    idle_seconds: Option<u32>,
    request_seconds: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGrant {
    uid: Option<u32>,
    user: Option<String>,
    group: Option<String>,
    may: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawProviders {
    tpm: Option<RawTpm>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTpm {
    address: Option<String>,
    #[serde(default)]
    attesting_key: RawAttestingKey,
    #[serde(default)]
    certify_x509: RawCertifyX509,
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

/// Reads the text and checks every value.
pub(super) fn parse(text: &str, file: &Path) -> Result<Config, ConfigFault> {
    let raw: RawConfig = toml::from_str(text).map_err(|error| ConfigFault::Syntax {
        file: file.to_owned(),
        detail: error.to_string().trim_end().to_owned(),
    })?;
    let context = Context { file };
    let defaults = Config::with_defaults();
    Ok(Config {
        state: match raw.state {
            Some(path) => context.absolute("state", path)?,
            None => defaults.state,
        },
        socket: context.socket(raw.socket, defaults.socket)?,
        monitoring: raw.monitoring.map(|raw| context.absolute("monitoring.path", raw.path)).transpose()?,
        limits: context.limits(&raw.limits)?,
        grants: raw.grants.into_iter().map(|grant| context.grant(grant)).collect::<Result<_, _>>()?,
        tpm: match raw.providers {
            Some(RawProviders { tpm: Some(tpm) }) => Some(context.tpm(tpm)?),
            Some(RawProviders { tpm: None }) | None => defaults.tpm,
        },
    })
}

/// The checks; knows the file only to name it.
struct Context<'a> {
    file: &'a Path,
}

impl Context<'_> {
    fn refuse(&self, key: &'static str, found: impl Into<String>, next_step: &'static str) -> ConfigFault {
        ConfigFault::Value { file: self.file.to_owned(), key, found: found.into(), next_step }
    }

    fn absolute(&self, key: &'static str, path: PathBuf) -> Result<PathBuf, ConfigFault> {
        if path.is_absolute() {
            Ok(path)
        } else {
            Err(self.refuse(key, path.display().to_string(), "write an absolute path"))
        }
    }

    fn socket(&self, raw: RawSocket, defaults: SocketConfig) -> Result<SocketConfig, ConfigFault> {
        Ok(SocketConfig {
            path: match raw.path {
                Some(path) => self.absolute("socket.path", path)?,
                None => defaults.path,
            },
            mode: match raw.mode {
                Some(text) => self.mode(&text)?,
                None => defaults.mode,
            },
            group: match raw.group {
                Some(name) => AdminGroup::Named(name),
                None => defaults.group,
            },
        })
    }

    fn mode(&self, text: &str) -> Result<u32, ConfigFault> {
        u32::from_str_radix(text, 8)
            .ok()
            .filter(|mode| *mode <= 0o777 && mode & 0o600 == 0o600)
            .ok_or_else(|| self.refuse("socket.mode", text, "write octal permissions such as \"0660\""))
    }

    fn limits(&self, raw: &RawLimits) -> Result<Limits, ConfigFault> {
        let defaults = Limits::default();
        let count = |key, value: Option<u32>, default: usize| match value {
            Some(0) => Err(self.refuse(key, "0", "write 1 or more")),
            Some(value) => {
                usize::try_from(value).map_err(|_| self.refuse(key, value.to_string(), "write a smaller number"))
            }
            None => Ok(default),
        };
        let seconds = |key, value: Option<u32>, default: Duration| match value {
            Some(0) => Err(self.refuse(key, "0", "write 1 or more seconds")),
            Some(value) => Ok(Duration::from_secs(value.into())),
            None => Ok(default),
        };
        Ok(Limits {
            connections: count("limits.connections", raw.connections, defaults.connections)?,
            connections_per_user: count(
                "limits.connections_per_user",
                raw.connections_per_user,
                defaults.connections_per_user,
            )?,
            waiting_requests: count("limits.waiting_requests", raw.waiting_requests, defaults.waiting_requests)?,
            waiting_requests_per_user: count(
                "limits.waiting_requests_per_user",
                raw.waiting_requests_per_user,
                defaults.waiting_requests_per_user,
            )?,
            keys_per_user: raw.keys_per_user.unwrap_or(defaults.keys_per_user),
            frame: seconds("limits.frame_seconds", raw.frame_seconds, defaults.frame)?,
            idle: seconds("limits.idle_seconds", raw.idle_seconds, defaults.idle)?,
            request: seconds("limits.request_seconds", raw.request_seconds, defaults.request)?,
        })
    }

    fn grant(&self, raw: RawGrant) -> Result<GrantRule, ConfigFault> {
        let grantee = match (raw.uid, raw.user, raw.group) {
            (Some(uid), None, None) => Grantee::Uid(uid),
            (None, Some(user), None) => Grantee::User(user),
            (None, None, Some(group)) => Grantee::Group(group),
            (uid, user, group) => {
                let given = usize::from(uid.is_some()) + usize::from(user.is_some()) + usize::from(group.is_some());
                let found = format!("{given} of uid, user and group");
                return Err(self.refuse("grants", found, "name exactly one of uid, user and group"));
            }
        };
        let may = raw
            .may
            .iter()
            .map(|name| {
                Capability::from_name(name).ok_or_else(|| {
                    let next_step = "write attest, attest-platform, activate-credential or manage-clients";
                    self.refuse("grants.may", name, next_step)
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(GrantRule { grantee, may })
    }

    fn tpm(&self, raw: RawTpm) -> Result<TpmConfig, ConfigFault> {
        let defaults = TpmConfig::default();
        let address = match raw.address {
            Some(text) => text.parse().map_err(|_| {
                let next_step = "write device:/PATH, swtpm:unix:/PATH or swtpm:tcp:HOST:PORT";
                self.refuse("providers.tpm.address", text, next_step)
            })?,
            None => defaults.address,
        };
        let attesting_key_kind = match raw.attesting_key.algorithm {
            Some(name) => key_kind(&name).ok_or_else(|| {
                let next_step = "write ecc-p256, ecc-p384, rsa-2048 or rsa-3072";
                self.refuse("providers.tpm.attesting_key.algorithm", name, next_step)
            })?,
            None => defaults.attesting_key_kind,
        };
        let default_attesting_key = raw.attesting_key.default.unwrap_or(defaults.default_attesting_key);
        if default_attesting_key.is_empty() {
            let key = "providers.tpm.attesting_key.default";
            return Err(self.refuse(key, "", "write a name"));
        }
        Ok(TpmConfig {
            address,
            default_attesting_key,
            attesting_key_kind,
            certify_x509: self.certify_x509(raw.certify_x509)?,
        })
    }

    fn certify_x509(&self, raw: RawCertifyX509) -> Result<CertifyX509Config, ConfigFault> {
        let defaults = CertifyX509Config::default();
        let validity_hours = raw.validity_hours.unwrap_or(defaults.validity_hours);
        if !(1..=MAX_VALIDITY_HOURS).contains(&validity_hours) {
            let key = "providers.tpm.certify_x509.validity_hours";
            return Err(self.refuse(key, validity_hours.to_string(), "write 1 to 87840 hours"));
        }
        let subject = raw.subject.unwrap_or(defaults.subject);
        if names::subject_for_key(&subject, "key").is_err() {
            let key = "providers.tpm.certify_x509.subject";
            return Err(self.refuse(key, subject, "write a name as in RFC 4514, such as CN={key}"));
        }
        let san = raw.san.unwrap_or(defaults.san);
        if let Err(fault) = names::alternative_names(&san) {
            let key = "providers.tpm.certify_x509.san";
            return Err(self.refuse(key, fault.to_string(), "write texts such as dns:host.example"));
        }
        Ok(CertifyX509Config {
            subject,
            validity_hours,
            key_usage: match raw.key_usage {
                Some(names) => self.key_usage(&names)?,
                None => defaults.key_usage,
            },
            san,
            attesting_key: raw.attesting_key.unwrap_or(defaults.attesting_key),
        })
    }

    fn key_usage(&self, names: &[String]) -> Result<KeyUsage, ConfigFault> {
        const KEY: &str = "providers.tpm.certify_x509.key_usage";
        const NEXT_STEP: &str = "write names of RFC 5280 section 4.2.1.3 such as digitalSignature";
        let mut usage: Option<KeyUsage> = None;
        for name in names {
            let bit = KeyUsage::from_name(name).ok_or_else(|| self.refuse(KEY, name, NEXT_STEP))?;
            usage = Some(usage.map_or(bit, |usage| usage.union(bit)));
        }
        usage.ok_or_else(|| self.refuse(KEY, "[]", NEXT_STEP))
    }
}
