//! `[acme]`: the ACME server.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use aws_lc_rs::hmac;
use serde::Deserialize;
use thiserror::Error;
use vouchsafe_evidence::base64url;
use zeroize::Zeroizing;

use super::{Account, ConfigError, in_range};
use crate::profile::{DEFAULT_PROFILE, Profile};
use crate::secret::is_open_to_others;

/// Port of http-01 (RFC 8555, section 8.3).
const HTTP_PORT: i64 = 80;
/// ACME accounts of one external account, unless the configuration says otherwise: machines mostly have one each.
const ACCOUNTS_MAX: i64 = 10_000;
/// The most that the configuration may say: they are counted for every new one.
const ACCOUNTS_LIMIT: i64 = 1_000_000;
/// Octets of the file of an external account's key.
const KEY_FILE_OCTETS_MAX: u64 = 4 * 1024;
/// Octets of an external account's key: as many as HMAC-SHA-256 gives, at least (RFC 7518, section 3.2).
const KEY_OCTETS_MIN: usize = 32;

/// Why `[acme]` is refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum AcmeConfigError {
    /// There is no account of the name.
    #[error("[acme.external_accounts] names {account:?}, which is no account")]
    Account {
        /// The name.
        account: String,
    },
    /// There is no profile of the name.
    #[error("[acme] profile {profile:?} is none of the profiles")]
    Profile {
        /// The name.
        profile: String,
    },
    /// The address of the server is none, or not in its shortest form.
    #[error("[acme] url must be https://HOST or https://HOST:PORT, without a path, as clients reach this server")]
    Url,
}

/// Why the key of an external account cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExternalKeyError {
    /// It is too short or not base64url.
    #[error("{}: must hold {KEY_OCTETS_MIN} or more octets in unpadded base64url", path.display())]
    Form {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error("{}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        error: std::io::Error,
    },
    /// Others may read or change it.
    #[error("{}: others than its owner may read or change it; run: chmod 600 {}", path.display(), path.display())]
    Mode {
        /// The file.
        path: PathBuf,
    },
}

/// The ACME server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcmeConfig {
    /// How clients reach this server: the beginning of every URL, without a slash at its end.
    pub(crate) url: String,
    /// The profile of orders that name none.
    pub(crate) profile: String,
    /// The port that http-01 asks.
    pub(crate) http_port: u16,
    /// Whom to ask for the addresses and texts of names; without it the system's.
    pub(crate) resolver: Option<SocketAddr>,
    /// Whether hosts with addresses that are not public are asked.
    pub(crate) private_addresses: bool,
    /// How many ACME accounts one external account may have, ended ones too.
    pub(crate) accounts_max: usize,
    /// The files with the keys of accounts that may be bound, by their names.
    pub(crate) external_accounts: BTreeMap<String, PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AcmeFile {
    url: String,
    profile: Option<String>,
    #[serde(default = "default_http_port")]
    http_port: i64,
    resolver: Option<SocketAddr>,
    #[serde(default)]
    private_addresses: bool,
    #[serde(default = "default_accounts_max")]
    accounts_max: i64,
    #[serde(default)]
    external_accounts: BTreeMap<String, PathBuf>,
}

const fn default_accounts_max() -> i64 {
    ACCOUNTS_MAX
}

const fn default_http_port() -> i64 {
    HTTP_PORT
}

impl AcmeFile {
    pub(super) fn check(self, profiles: &[Profile], accounts: &[Account]) -> Result<AcmeConfig, ConfigError> {
        if !is_origin(&self.url) {
            return Err(AcmeConfigError::Url.into());
        }
        let unknown = |name: &&String| !accounts.iter().any(|account| account.name() == name.as_str());
        if let Some(account) = self.external_accounts.keys().find(unknown) {
            return Err(AcmeConfigError::Account { account: account.clone() }.into());
        }
        let is_default = |profile: &&Profile| profile.name() == DEFAULT_PROFILE;
        let profile = self.profile.unwrap_or_else(|| {
            let default = profiles.iter().find(is_default).or_else(|| profiles.first());
            default.map_or(DEFAULT_PROFILE, Profile::name).to_owned()
        });
        if !profiles.iter().any(|known| known.name() == profile) {
            return Err(AcmeConfigError::Profile { profile }.into());
        }
        let port = in_range("acme.http_port", self.http_port, 1, i64::from(u16::MAX))?;
        let accounts_max = in_range("acme.accounts_max", self.accounts_max, 1, ACCOUNTS_LIMIT)?;
        Ok(AcmeConfig {
            url: self.url,
            profile,
            http_port: u16::try_from(port).unwrap_or(u16::MAX),
            resolver: self.resolver,
            private_addresses: self.private_addresses,
            accounts_max: usize::try_from(accounts_max).unwrap_or(usize::MAX),
            external_accounts: self.external_accounts,
        })
    }
}

/// Whether the text is `https://` and an authority, and nothing else.
fn is_origin(url: &str) -> bool {
    let allowed = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || b".-:[]".contains(&octet);
    url.strip_prefix("https://").is_some_and(|authority| !authority.is_empty() && authority.bytes().all(allowed))
}

/// Reads the key of an external account, which its owner alone may read.
pub(crate) fn read_external_key(path: &Path) -> Result<hmac::Key, ExternalKeyError> {
    let io = |error| ExternalKeyError::Io { path: path.to_owned(), error };
    let metadata = std::fs::metadata(path).map_err(io)?;
    if is_open_to_others(&metadata) {
        return Err(ExternalKeyError::Mode { path: path.to_owned() });
    }
    let form = || ExternalKeyError::Form { path: path.to_owned() };
    if metadata.len() > KEY_FILE_OCTETS_MAX {
        return Err(form());
    }
    let text = Zeroizing::new(std::fs::read_to_string(path).map_err(io)?);
    let octets = Zeroizing::new(base64url::decode(text.trim()).ok_or_else(form)?);
    if octets.len() < KEY_OCTETS_MIN {
        return Err(form());
    }
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &octets))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::Config;
    use super::*;

    fn with(text: &str) -> Result<Config, ConfigError> {
        let account = format!("[[accounts]]\nname = 'a'\ntoken_sha256 = '{}'\nmay = ['issue']\n", "1".repeat(64));
        Config::from_toml(&format!("[acme]\n{text}\n[tls]\nself_signed = true\n{account}"))
    }

    #[test]
    fn the_smallest_section_has_safe_defaults() {
        let config = with("url = 'https://ca.example:8443'").unwrap().acme.unwrap();
        assert_eq!((config.http_port, config.private_addresses, config.resolver), (80, false, None));
        assert_eq!(config.accounts_max, 10_000);
        assert_eq!(config.profile, "device");
    }

    #[test]
    fn each_setting_is_checked() {
        for url in ["", "https://", "http://ca", "https://ca/", "https://ca/x", "https://CA", "https://u@ca", "ca"] {
            let refused = with(&format!("url = '{url}'")).unwrap_err();
            assert!(matches!(refused, ConfigError::Acme(AcmeConfigError::Url)), "{url}: {refused}");
        }
        let refused = with("url = 'https://ca'\nprofile = 'p'").unwrap_err();
        assert!(matches!(refused, ConfigError::Acme(AcmeConfigError::Profile { .. })), "{refused}");
        let refused = with("url = 'https://ca'\nexternal_accounts = { b = 'k' }").unwrap_err();
        assert!(matches!(refused, ConfigError::Acme(AcmeConfigError::Account { .. })), "{refused}");
        let refused = with("url = 'https://ca'\nhttp_port = 0").unwrap_err();
        assert!(matches!(refused, ConfigError::OutOfRange { field: "acme.http_port", .. }), "{refused}");
        let refused = with("url = 'https://ca'\naccounts_max = 0").unwrap_err();
        assert!(matches!(refused, ConfigError::OutOfRange { field: "acme.accounts_max", .. }), "{refused}");
    }

    #[test]
    fn keys_are_long_and_their_owner_s_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.key");
        let write = |text: &str, mode| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            read_external_key(&path)
        };
        let good = base64url::encode(&[7; 32]);
        assert!(write(&format!("{good}\n"), 0o600).is_ok());
        assert!(matches!(write(&good, 0o640).unwrap_err(), ExternalKeyError::Mode { .. }));
        assert!(matches!(write("AAAA", 0o600).unwrap_err(), ExternalKeyError::Form { .. }));
        assert!(matches!(write("not base64url", 0o600).unwrap_err(), ExternalKeyError::Form { .. }));
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(read_external_key(&path).unwrap_err(), ExternalKeyError::Io { .. }));
    }
}
