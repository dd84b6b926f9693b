//! The file as it is written, and the checks that make a [`Config`] of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::{AdminGroup, AuthenticatorsConfig, Config, ConfigFault, Limits, ProviderConfig, SocketConfig};
use crate::grants::{AttestingKeyScope, Capability, GrantRule, Grantee, KeyReference};
use crate::provider::{MechanismName, Stability};

/// The grant that lends keys of others, by its name in `may`.
const USE: &str = "use";

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
    #[serde(default)]
    authenticators: RawAuthenticators,
    #[serde(default)]
    mechanisms: RawMechanisms,
    /// In the order of the file.
    #[serde(default)]
    providers: toml::Table,
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
    recorded_per_minute: Option<u32>,
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
    keys: Option<Vec<String>>,
    attesting_keys: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAuthenticators {
    direct: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMechanisms {
    #[serde(default)]
    enable: Vec<String>,
}

/// Reads the text and checks every value.
pub(super) fn parse(text: &str, file: &Path) -> Result<Config, ConfigFault> {
    let raw: RawConfig = toml::from_str(text).map_err(|error| ConfigFault::Syntax {
        file: file.to_owned(),
        detail: error.to_string().trim_end().to_owned(),
    })?;
    let context = Context { file };
    let defaults = Config::with_defaults();
    let providers = match raw.providers.is_empty() {
        true => defaults.providers,
        false => context.providers(raw.providers)?,
    };
    Ok(Config {
        state: match raw.state {
            Some(path) => context.absolute("state", path)?,
            None => defaults.state,
        },
        socket: context.socket(raw.socket, defaults.socket)?,
        monitoring: raw.monitoring.map(|raw| context.absolute("monitoring.path", raw.path)).transpose()?,
        limits: context.limits(&raw.limits)?,
        grants: raw.grants.into_iter().map(|grant| context.grant(grant, &providers)).collect::<Result<_, _>>()?,
        authenticators: AuthenticatorsConfig { direct: raw.authenticators.direct.unwrap_or_default() },
        enabled_mechanisms: raw
            .mechanisms
            .enable
            .iter()
            .map(|name| context.mechanism(name))
            .collect::<Result<_, _>>()?,
        providers,
    })
}

/// The checks; knows the file only to name it.
pub(super) struct Context<'a> {
    pub(super) file: &'a Path,
}

impl Context<'_> {
    pub(super) fn refuse(
        &self,
        key: impl Into<String>,
        found: impl Into<String>,
        next_step: &'static str,
    ) -> ConfigFault {
        ConfigFault::Value { file: self.file.to_owned(), key: key.into(), found: found.into(), next_step }
    }

    pub(super) fn absolute(&self, key: impl Into<String>, path: PathBuf) -> Result<PathBuf, ConfigFault> {
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
            recorded_per_minute: raw.recorded_per_minute.unwrap_or(defaults.recorded_per_minute),
            frame: seconds("limits.frame_seconds", raw.frame_seconds, defaults.frame)?,
            idle: seconds("limits.idle_seconds", raw.idle_seconds, defaults.idle)?,
            request: seconds("limits.request_seconds", raw.request_seconds, defaults.request)?,
        })
    }

    fn mechanism(&self, name: &str) -> Result<MechanismName, ConfigFault> {
        MechanismName::from_name(name).filter(|name| name.stability() == Stability::Experimental).ok_or_else(|| {
            let next_step = "name experimental mechanisms such as pkix-evidence; stable ones are always served";
            self.refuse("mechanisms.enable", name, next_step)
        })
    }

    fn grant(&self, raw: RawGrant, providers: &[ProviderConfig]) -> Result<GrantRule, ConfigFault> {
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
        let (uses, capabilities): (Vec<String>, Vec<String>) = raw.may.into_iter().partition(|name| name == USE);
        let may = capabilities
            .iter()
            .map(|name| {
                Capability::from_name(name).ok_or_else(|| {
                    let next_step = "write use, attest, attest-platform, activate-credential or manage-clients";
                    self.refuse("grants.may", name, next_step)
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        let keys = self.granted_keys(!uses.is_empty(), raw.keys.unwrap_or_default(), providers)?;
        let attesting_keys = self.granted_attesting_keys(&may, raw.attesting_keys)?;
        Ok(GrantRule { grantee, may, attesting_keys, keys })
    }

    /// The keys of others that are lent: some if and only if `may` has `use`.
    fn granted_keys(
        &self,
        lends: bool,
        texts: Vec<String>,
        providers: &[ProviderConfig],
    ) -> Result<Vec<KeyReference>, ConfigFault> {
        const KEY: &str = "grants.keys";
        if lends == texts.is_empty() {
            let next_step = "write \"use\" in may and the keys in keys = [\"unix:0/NAME\"], or neither of both";
            return Err(self.refuse(KEY, format!("{} keys", texts.len()), next_step));
        }
        let reference = |text: String| {
            let reference = text.parse::<KeyReference>();
            let is_served = |reference: &KeyReference| providers.iter().any(|provider| reference.is_at(&provider.name));
            reference.ok().filter(is_served).ok_or_else(|| {
                let next_step = "write unix:UID/NAME or unix:UID/PROVIDER/NAME with a configured provider; a name that \
                                 has a slash needs the provider before it";
                self.refuse(KEY, text, next_step)
            })
        };
        texts.into_iter().map(reference).collect()
    }

    fn granted_attesting_keys(
        &self,
        may: &[Capability],
        names: Option<Vec<String>>,
    ) -> Result<AttestingKeyScope, ConfigFault> {
        const KEY: &str = "grants.attesting_keys";
        let Some(names) = names else { return Ok(AttestingKeyScope::Every) };
        if names.is_empty() || names.iter().any(String::is_empty) {
            let next_step = "name the attesting keys, or leave it out for every one of the machine's";
            return Err(self.refuse(KEY, format!("{names:?}"), next_step));
        }
        if !may.iter().any(|capability| matches!(capability, Capability::Attest | Capability::AttestPlatform)) {
            let next_step = "write attest or attest-platform in may; nothing else is limited by it";
            return Err(self.refuse(KEY, format!("{names:?}"), next_step));
        }
        Ok(AttestingKeyScope::Only(names))
    }
}
