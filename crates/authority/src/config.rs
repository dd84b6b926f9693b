//! The authority's configuration file, `/etc/vouchsafe/authority.toml`.

mod acme;
mod appraisals;
mod cmp;
mod database;
mod distribution;
mod enrolment;
mod issuers;
mod role;
mod upstream;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use thiserror::Error;
use vouchsafe_verifier::enrolment::Method;

use self::acme::AcmeFile;
use self::appraisals::AppraisalsFile;
use self::database::DatabaseSetting;
use self::distribution::DistributionFile;
use self::enrolment::{CeremonyFile, EnrolmentFile};
use self::issuers::IssuerFile;
use self::role::PseudonymFile;
use self::upstream::UpstreamFile;
use crate::limits::{Limits, LimitsFile};
use crate::profile::{Profile, ProfileConfig, ProfileError};
use crate::request::MethodName;

pub(crate) use self::acme::read_external_key;
pub use self::acme::{AcmeConfig, AcmeConfigError, ExternalKeyError};
pub use self::appraisals::{AppraisalsError, EarConfig, EarKey};
pub use self::cmp::{CmpSecret, CmpSecretError};
pub use self::database::{DatabaseConfig, DatabaseConfigError, PostgresConfig};
pub use self::distribution::{DistributionConfig, DistributionError};
pub use self::enrolment::{CeremonyConfig, EnrolmentConfig, WitnessesError};
pub(crate) use self::issuers::predecessors;
pub use self::issuers::{DEFAULT_ISSUER, IssuerConfig, IssuerKey, IssuersError};
pub use self::role::{Link, PseudonymConfig, Role, RoleError};
pub use self::upstream::{
    CmpCredential, EstCredential, RegistrarKey, UpstreamConfig, UpstreamProtocol, UpstreamUrl, UpstreamsError,
};

/// Where the configuration is looked for.
pub const DEFAULT_CONFIG_PATH: &str = "/etc/vouchsafe/authority.toml";
/// Where the state is kept.
pub const DEFAULT_STATE_PATH: &str = "/var/lib/vouchsafe/authority";
/// Accounts in one configuration.
const ACCOUNTS_MAX: usize = 100_000;
/// Octets of an account's or a device's name; a device's stands in certificates (RFC 5280, appendix A:
/// ub-common-name).
pub(crate) const NAME_OCTETS_MAX: usize = 64;
/// Hexadecimal digits of a SHA-256 digest.
const SHA256_HEX_DIGITS: usize = 64;

/// Why a configuration is refused.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The section of the ACME server.
    #[error(transparent)]
    Acme(#[from] AcmeConfigError),
    /// An account's token digest is not 64 hexadecimal digits.
    #[error("account {account}: token_sha256 must be {SHA256_HEX_DIGITS} hexadecimal digits")]
    AccountToken {
        /// The account.
        account: String,
    },
    /// Revocation lists of no CA.
    #[error("account {account}: client_crl has no effect without client_ca")]
    ClientCrl {
        /// The account.
        account: String,
    },
    /// The section of attestation results.
    #[error(transparent)]
    Appraisals(#[from] AppraisalsError),
    /// An account's secret for CMP.
    #[error(transparent)]
    Cmp(#[from] CmpSecretError),
    /// The database's part.
    #[error(transparent)]
    Database(#[from] DatabaseConfigError),
    /// The section of revocation lists.
    #[error(transparent)]
    Distribution(#[from] DistributionError),
    /// Two accounts share a name or a token.
    #[error("account {account}: its name or token appears twice")]
    DuplicateAccount {
        /// The account.
        account: String,
    },
    /// The issuers.
    #[error(transparent)]
    Issuers(#[from] IssuersError),
    /// A name is empty, too long, or has characters other than letters, digits, `-`, `_`, `.` and `@`.
    #[error("{what} {name:?} must be 1 to {NAME_OCTETS_MAX} letters, digits, '-', '_', '.' or '@'")]
    Name {
        /// What the name is of.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A number is outside its range.
    #[error("{field} is {found}, allowed are {least} to {most}")]
    OutOfRange {
        /// The setting.
        field: &'static str,
        /// The value found.
        found: i64,
        /// The smallest allowed value.
        least: i64,
        /// The largest allowed value.
        most: i64,
    },
    /// A certificate profile is refused.
    #[error("profile {name}: {error}")]
    Profile {
        /// The profile's name.
        name: String,
        /// Why.
        #[source]
        error: ProfileError,
    },
    /// Something that is not of the role.
    #[error(transparent)]
    Role(#[from] RoleError),
    /// The file is not TOML of the expected form.
    #[error("not a valid configuration")]
    Syntax(#[from] toml::de::Error),
    /// The TLS section names neither files nor `self_signed = true`, or both.
    #[error("[tls] needs either certificate and key, or self_signed = true")]
    Tls,
    /// The CAs elsewhere.
    #[error(transparent)]
    Upstreams(#[from] UpstreamsError),
    /// More accounts than the limit.
    #[error("{found} accounts, the limit is {ACCOUNTS_MAX}")]
    TooManyAccounts {
        /// Accounts found.
        found: usize,
    },
}

/// What an account may ask for. Every route names one of these; there is no right that implies another.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Hash)]
#[serde(rename_all = "lowercase")]
pub enum Capability {
    /// Change the inventory, and have certificates revoked.
    Administer,
    /// Have evidence appraised.
    Appraise,
    /// Enroll attestation keys.
    Enroll,
    /// Obtain certificates.
    Issue,
    /// Read what monitoring asks, and nothing else.
    Monitor,
    /// Say, as a registration authority, whose key may have which name, in profiles that rest on that.
    Register,
}

impl std::fmt::Display for Capability {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Administer => "administer",
            Self::Appraise => "appraise",
            Self::Enroll => "enroll",
            Self::Issue => "issue",
            Self::Monitor => "monitor",
            Self::Register => "register",
        })
    }
}

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The ACME server, where there is one.
    pub(crate) acme: Option<AcmeConfig>,
    pub(crate) role: Role,
    pub(crate) pseudonyms: Option<PseudonymConfig>,
    pub(crate) listen: SocketAddr,
    pub(crate) state: PathBuf,
    pub(crate) database: DatabaseConfig,
    pub(crate) trust: PathBuf,
    pub(crate) policy: String,
    pub(crate) nonce_lifetime_seconds: i64,
    pub(crate) challenge_lifetime_seconds: i64,
    pub(crate) ak_validity_days: u32,
    pub(crate) anonymous_appraisals: bool,
    /// What attestation results are signed with, where they are.
    pub(crate) ear: Option<EarConfig>,
    pub(crate) enrolment: EnrolmentConfig,
    pub(crate) limits: Limits,
    pub(crate) tls: TlsConfig,
    pub(crate) issuers: Vec<IssuerConfig>,
    pub(crate) upstreams: Vec<UpstreamConfig>,
    /// Where revocation lists are had, where certificates are to say so.
    pub(crate) distribution: Option<DistributionConfig>,
    pub(crate) profiles: Vec<Profile>,
    pub(crate) accounts: Vec<Account>,
}

/// Where the server's TLS certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsConfig {
    /// PEM files.
    Files {
        /// The certificate chain.
        certificate: PathBuf,
        /// The private key (PKCS#8).
        key: PathBuf,
    },
    /// Made by `init` in the state folder, for these host names and IP addresses.
    SelfSigned {
        /// Subject alternative names.
        names: Vec<String>,
    },
}

/// An account: a bearer token and what its holder may do.
#[derive(Clone, Debug)]
pub struct Account {
    pub(crate) name: String,
    pub(crate) token_sha256: [u8; 32],
    pub(crate) may: Vec<Capability>,
    /// Device names the account may use; `None` is written as the absence of the list and means every
    /// name of the account's own namespace.
    pub(crate) devices: Devices,
    pub(crate) profiles: Profiles,
    /// The methods by which the account may enroll attesting keys.
    pub(crate) enroll_methods: Vec<Method>,
    /// A file of CA certificates; whoever shows a certificate of one of them in the TLS handshake has the account.
    pub(crate) client_ca: Option<PathBuf>,
    /// A file of their revocation lists; without it nobody looks whether such a certificate is revoked.
    pub(crate) client_crl: Option<PathBuf>,
    /// The secret by which messages of CMP are the account's.
    pub(crate) cmp: Option<CmpSecret>,
}

/// The certificate profiles an account may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Profiles {
    /// Every profile that names its subjects itself and does not sign code. One that takes names from the request, or
    /// whose certificates speak for code, must be listed.
    Naming,
    /// These profiles alone.
    Listed(Vec<String>),
}

/// The device names an account may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Devices {
    /// Every name that no other account has enrolled.
    Any,
    /// These names alone.
    Listed(Vec<String>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    acme: Option<AcmeFile>,
    #[serde(default)]
    role: Role,
    pseudonyms: Option<PseudonymFile>,
    #[serde(default = "default_listen")]
    listen: SocketAddr,
    state: Option<PathBuf>,
    database: Option<DatabaseSetting>,
    trust: Option<PathBuf>,
    #[serde(default = "default_policy")]
    policy: String,
    #[serde(default = "default_nonce_lifetime")]
    nonce_lifetime_seconds: i64,
    #[serde(default = "default_challenge_lifetime")]
    challenge_lifetime_seconds: i64,
    #[serde(default = "default_ak_validity_days")]
    ak_validity_days: i64,
    #[serde(default)]
    anonymous_appraisals: bool,
    appraisals: Option<AppraisalsFile>,
    enrolment: Option<EnrolmentFile>,
    ceremony: Option<CeremonyFile>,
    #[serde(default)]
    limits: LimitsFile,
    tls: TlsFile,
    distribution: Option<DistributionFile>,
    #[serde(default)]
    issuers: Vec<IssuerFile>,
    #[serde(default)]
    upstreams: Vec<UpstreamFile>,
    #[serde(default)]
    profiles: Vec<ProfileConfig>,
    #[serde(default)]
    accounts: Vec<AccountFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsFile {
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    #[serde(default)]
    self_signed: bool,
    #[serde(default = "default_tls_names")]
    names: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountFile {
    name: String,
    token_sha256: String,
    may: Vec<Capability>,
    devices: Option<Vec<String>>,
    profiles: Option<Vec<String>>,
    #[serde(default = "default_enroll_methods")]
    enroll_methods: Vec<MethodName>,
    client_ca: Option<PathBuf>,
    client_crl: Option<PathBuf>,
    cmp_reference: Option<String>,
    cmp_secret: Option<PathBuf>,
}

/// Every other method must be granted by name.
fn default_enroll_methods() -> Vec<MethodName> {
    vec![MethodName::Manufacturer]
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8443))
}

fn default_policy() -> String {
    "default".to_owned()
}

const fn default_nonce_lifetime() -> i64 {
    300
}

const fn default_challenge_lifetime() -> i64 {
    120
}

const fn default_ak_validity_days() -> i64 {
    90
}

fn default_tls_names() -> Vec<String> {
    vec!["localhost".to_owned(), "127.0.0.1".to_owned()]
}

impl Config {
    /// Parses and checks a configuration file.
    ///
    /// # Errors
    /// Every variant of [`ConfigError`].
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let file: ConfigFile = toml::from_str(text)?;
        let state = file.state.unwrap_or_else(|| PathBuf::from(DEFAULT_STATE_PATH));
        let ak_validity_days = in_range("ak_validity_days", file.ak_validity_days, 1, 825)?;
        let (has_profiles, has_enrolment) =
            (!file.profiles.is_empty(), file.enrolment.is_some() || file.ceremony.is_some());
        let (profiles, accounts) = (check_profiles(file.profiles)?, check_accounts(file.accounts)?);
        let others = role::Others { profiles: &profiles, has_profiles, has_enrolment, accounts: &accounts };
        Ok(Self {
            acme: file.acme.map(|acme| acme.check(&profiles, &accounts)).transpose()?,
            role: file.role,
            pseudonyms: role::check(file.role, file.pseudonyms, &others)?,
            listen: file.listen,
            trust: file.trust.unwrap_or_else(|| state.join("trust")),
            state,
            database: database::check(file.database)?,
            policy: file.policy,
            nonce_lifetime_seconds: in_range("nonce_lifetime_seconds", file.nonce_lifetime_seconds, 10, 86_400)?,
            challenge_lifetime_seconds: in_range(
                "challenge_lifetime_seconds",
                file.challenge_lifetime_seconds,
                10,
                3_600,
            )?,
            ak_validity_days: u32::try_from(ak_validity_days).unwrap_or(1),
            anonymous_appraisals: file.anonymous_appraisals,
            ear: file.appraisals.map(|section| section.check(file.role)).transpose()?,
            enrolment: file.enrolment.unwrap_or_default().check(file.ceremony)?,
            limits: file.limits.check()?,
            tls: file.tls.check()?,
            issuers: issuers::check(file.issuers, &profiles)?,
            upstreams: upstream::check(file.upstreams, &profiles)?,
            distribution: file.distribution.map(|section| section.check(file.role.issues())).transpose()?,
            profiles,
            accounts,
        })
    }

    /// The same configuration with another state folder, as `--state` asks; a trust folder inside the
    /// state folder moves along.
    #[must_use]
    pub fn with_state(mut self, state: PathBuf) -> Self {
        if let Ok(inside) = self.trust.strip_prefix(&self.state) {
            self.trust = state.join(inside);
        }
        self.state = state;
        self
    }

    /// Which half of the authority this is.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// The state folder.
    #[must_use]
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// The trust folder.
    #[must_use]
    pub fn trust(&self) -> &Path {
        &self.trust
    }

    /// Whether certificates come from the issuer of this name, or another issuer follows it.
    pub(crate) fn names_issuer(&self, name: &str) -> bool {
        self.profiles.iter().any(|profile| profile.issuer() == Some(name))
            || self.issuers.iter().any(|issuer| issuer.follows.as_deref() == Some(name))
    }

    /// Name or file of the appraisal policy.
    #[must_use]
    pub fn policy(&self) -> &str {
        &self.policy
    }

    /// Where the server's TLS certificate comes from.
    #[must_use]
    pub const fn tls(&self) -> &TlsConfig {
        &self.tls
    }
}

impl TlsFile {
    fn check(self) -> Result<TlsConfig, ConfigError> {
        match (self.certificate, self.key, self.self_signed) {
            (Some(certificate), Some(key), false) => Ok(TlsConfig::Files { certificate, key }),
            (None, None, true) if !self.names.is_empty() => Ok(TlsConfig::SelfSigned { names: self.names }),
            (..) => Err(ConfigError::Tls),
        }
    }
}

pub(crate) fn in_range(field: &'static str, found: i64, least: i64, most: i64) -> Result<i64, ConfigError> {
    if (least..=most).contains(&found) { Ok(found) } else { Err(ConfigError::OutOfRange { field, found, least, most }) }
}

fn check_profiles(files: Vec<ProfileConfig>) -> Result<Vec<Profile>, ConfigError> {
    let files = if files.is_empty() { ProfileConfig::shipped() } else { files };
    let mut names = HashSet::new();
    let mut profiles = Vec::with_capacity(files.len());
    for file in files {
        let name = checked_name("profile", file.name())?;
        if !names.insert(name.clone()) {
            return Err(ConfigError::Profile { name, error: ProfileError::DuplicateName });
        }
        profiles.push(Profile::new(file).map_err(|error| ConfigError::Profile { name, error })?);
    }
    Ok(profiles)
}

fn check_accounts(files: Vec<AccountFile>) -> Result<Vec<Account>, ConfigError> {
    if files.len() > ACCOUNTS_MAX {
        return Err(ConfigError::TooManyAccounts { found: files.len() });
    }
    let mut names = HashSet::new();
    let mut tokens = HashSet::new();
    let mut accounts = Vec::with_capacity(files.len());
    for file in files {
        let account = file.check()?;
        if !names.insert(account.name.clone()) || !tokens.insert(account.token_sha256) {
            return Err(ConfigError::DuplicateAccount { account: account.name });
        }
        accounts.push(account);
    }
    Ok(accounts)
}

impl AccountFile {
    fn check(self) -> Result<Account, ConfigError> {
        let name = checked_name("account", &self.name)?;
        let token_sha256 =
            sha256_from_hex(&self.token_sha256).ok_or_else(|| ConfigError::AccountToken { account: name.clone() })?;
        let devices = match self.devices {
            None => Devices::Any,
            Some(listed) => {
                let checked = listed.iter().map(|device| checked_name("device", device));
                Devices::Listed(checked.collect::<Result<_, _>>()?)
            }
        };
        if self.client_crl.is_some() && self.client_ca.is_none() {
            return Err(ConfigError::ClientCrl { account: name });
        }
        let profiles = self.profiles.map_or(Profiles::Naming, Profiles::Listed);
        let cmp = CmpSecret::check(&name, self.cmp_reference, self.cmp_secret)?;
        let enroll_methods = self.enroll_methods.into_iter().map(Method::from).collect();
        Ok(Account {
            name,
            token_sha256,
            may: self.may,
            devices,
            profiles,
            enroll_methods,
            client_ca: self.client_ca,
            client_crl: self.client_crl,
            cmp,
        })
    }
}

pub(crate) fn sha256_from_hex(text: &str) -> Option<[u8; 32]> {
    crate::text::from_hex(text)?.try_into().ok()
}

fn checked_name(what: &'static str, name: &str) -> Result<String, ConfigError> {
    if is_name(name) { Ok(name.to_owned()) } else { Err(ConfigError::Name { what, name: name.to_owned() }) }
}

/// Whether `name` may name an account, a profile or a device.
pub(crate) fn is_name(name: &str) -> bool {
    let allowed = |octet: u8| octet.is_ascii_alphanumeric() || b"-_.@".contains(&octet);
    (1..=NAME_OCTETS_MAX).contains(&name.len()) && name.bytes().all(allowed)
}

impl Account {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it may ask for certificates of `profile`.
    #[must_use]
    pub fn may_use_profile(&self, profile: &Profile) -> bool {
        match &self.profiles {
            Profiles::Naming => !profile.must_be_listed(),
            Profiles::Listed(listed) => listed.iter().any(|name| name == profile.name()),
        }
    }

    /// Whether it may ask for `capability`.
    #[must_use]
    pub fn may(&self, capability: Capability) -> bool {
        self.may.contains(&capability)
    }

    /// Whether it may enroll attesting keys by this method.
    #[must_use]
    pub fn may_enroll_by(&self, method: Method) -> bool {
        self.enroll_methods.contains(&method)
    }

    /// Whether it may use the device name.
    #[must_use]
    pub fn may_use_device(&self, device: &str) -> bool {
        match &self.devices {
            Devices::Any => true,
            Devices::Listed(names) => names.iter().any(|name| name == device),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = "[tls]\nself_signed = true\n";

    fn with(text: &str) -> Result<Config, ConfigError> {
        Config::from_toml(&format!("{text}\n{MINIMAL}"))
    }

    #[test]
    fn the_smallest_configuration_has_safe_defaults() {
        let config = Config::from_toml(MINIMAL).unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:8443");
        assert_eq!(config.state(), Path::new(DEFAULT_STATE_PATH));
        assert_eq!(config.trust(), Path::new("/var/lib/vouchsafe/authority/trust"));
        assert!(!config.anonymous_appraisals);
        assert!(config.accounts.is_empty());
        let names: Vec<&str> = config.profiles.iter().map(Profile::name).collect();
        assert_eq!(names, ["device", "tls-client", "code-signing"]);
        let moved = config.with_state(PathBuf::from("/tmp/x"));
        assert_eq!(moved.trust(), Path::new("/tmp/x/trust"));
    }

    #[test]
    fn unknown_settings_are_refused() {
        assert!(matches!(with("colour = 1").unwrap_err(), ConfigError::Syntax(_)));
        assert!(matches!(Config::from_toml("[tls]\nself_signed = true\nx = 1").unwrap_err(), ConfigError::Syntax(_)));
    }

    #[test]
    fn tls_is_either_files_or_self_signed() {
        for text in ["[tls]", "[tls]\nself_signed = true\nkey = 'k'", "[tls]\ncertificate = 'c'"] {
            assert!(matches!(Config::from_toml(text).unwrap_err(), ConfigError::Tls), "{text}");
        }
        assert!(Config::from_toml("[tls]\ncertificate = 'c'\nkey = 'k'").is_ok());
        assert!(Config::from_toml("").is_err());
    }

    #[test]
    fn lifetimes_have_bounds() {
        assert!(with("nonce_lifetime_seconds = 10").is_ok());
        let error = with("nonce_lifetime_seconds = 9").unwrap_err();
        assert!(matches!(error, ConfigError::OutOfRange { field: "nonce_lifetime_seconds", found: 9, .. }));
        assert!(with("ak_validity_days = 826").is_err());
        assert!(with("challenge_lifetime_seconds = 0").is_err());
    }

    fn account(name: &str, digit: char) -> String {
        let digest = String::from_iter([digit; 64]);
        format!("[[accounts]]\nname = '{name}'\ntoken_sha256 = '{digest}'\nmay = ['enroll']\n")
    }

    #[test]
    fn accounts_are_checked() {
        let config = with(&format!(
            "{}[[accounts]]\nname='b'\ntoken_sha256='{}'\nmay=[]\ndevices=['d']\n",
            account("a", '1'),
            "2".repeat(64)
        ));
        let config = config.unwrap();
        assert!(config.accounts[0].may(Capability::Enroll) && !config.accounts[0].may(Capability::Issue));
        assert!(config.accounts[0].may_use_device("anything"));
        assert!(config.accounts[1].may_use_device("d") && !config.accounts[1].may_use_device("e"));
        let twice = |a: (&str, char), b: (&str, char)| with(&(account(a.0, a.1) + &account(b.0, b.1))).unwrap_err();
        assert!(matches!(twice(("a", '1'), ("a", '2')), ConfigError::DuplicateAccount { .. }));
        assert!(matches!(twice(("a", '1'), ("b", '1')), ConfigError::DuplicateAccount { .. }));
        assert!(matches!(with(&account("a b", '1')).unwrap_err(), ConfigError::Name { what: "account", .. }));
        assert!(matches!(with(&account("a", 'g')).unwrap_err(), ConfigError::AccountToken { .. }));
        assert!(with("[[accounts]]\nname='a'\ntoken_sha256='x'\nmay=['admin']\n").is_err());
    }
}
