//! The agent's configuration file, `/etc/vouchsafe/agent.toml`.
//!
//! Every key has a default, so that an empty file is a configuration; a key that is not known is an error.
//!
//! ```toml
//! state = "/var/lib/vouchsafe/agent"
//!
//! [socket]
//! path = "/run/vouchsafe/agent.sock"
//! mode = "0666"                       # every local user may connect and has its own keys
//! group = "vouchsafe"                 # owns the socket; its members may use the machine's identity
//!
//! [monitoring]
//! path = "/run/vouchsafe-agent/monitoring.sock"   # GET /health and /metrics; not there unless configured
//!
//! [limits]
//! connections = 512
//! connections_per_user = 128
//! waiting_requests = 256
//! waiting_requests_per_user = 32
//! keys_per_user = 1024
//! frame_seconds = 5
//! idle_seconds = 300
//! request_seconds = 120
//!
//! [[grants]]
//! user = "builder"                    # or uid = 1000, or group = "ci"
//! may = ["attest", "attest-platform", "activate-credential", "manage-clients"]
//!
//! [providers.tpm]
//! address = "device:/dev/tpmrm0"
//!
//! [providers.tpm.attesting_key]
//! default = "default"
//! algorithm = "ecc-p256"
//!
//! [providers.tpm.certify_x509]
//! subject = "CN={key}"                # put beneath the issuer's name
//! validity_hours = 24
//! key_usage = ["digitalSignature"]
//! san = []
//! attesting_key = ""
//! ```

mod check;
mod fault;
mod file;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use check::Finding;
pub use fault::ConfigFault;

use crate::grants::GrantRule;
use crate::provider::{KeyKind, KeyUsage};
use crate::tpm::Address;

/// Where the configuration is unless said otherwise.
pub const DEFAULT_CONFIG_PATH: &str = "/etc/vouchsafe/agent.toml";

/// Where the socket is unless said otherwise.
pub const DEFAULT_SOCKET_PATH: &str = "/run/vouchsafe/agent.sock";

/// Where the state is unless said otherwise.
pub const DEFAULT_STATE_PATH: &str = "/var/lib/vouchsafe/agent";

/// The group of administrators unless said otherwise.
pub const DEFAULT_GROUP: &str = "vouchsafe";

/// What an agent needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The state directory.
    pub state: PathBuf,
    /// The socket.
    pub socket: SocketConfig,
    /// Where health and metrics are to be had over HTTP, if anywhere: a socket for the administrators' group.
    pub monitoring: Option<PathBuf>,
    /// What clients may take up.
    pub limits: Limits,
    /// What clients may do beyond using their own keys.
    pub grants: Vec<GrantRule>,
    /// The TPM, if the agent shall serve one.
    pub tpm: Option<TpmConfig>,
}

/// The socket file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketConfig {
    /// Its path.
    pub path: PathBuf,
    /// Its permissions.
    pub mode: u32,
    /// The group that owns it and whose members have every grant.
    pub group: AdminGroup,
}

/// The group of administrators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminGroup {
    /// [`DEFAULT_GROUP`], which may be absent: then only root and the agent's own user are administrators.
    Default,
    /// A group that the configuration names and that must be there.
    Named(String),
}

impl AdminGroup {
    /// The group's name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            AdminGroup::Default => DEFAULT_GROUP,
            AdminGroup::Named(name) => name,
        }
    }
}

/// Bounds on what clients take up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections of all users together.
    pub connections: usize,
    /// Connections of one user; a further one closes the user's longest idle one.
    pub connections_per_user: usize,
    /// Requests of all users that wait for one provider.
    pub waiting_requests: usize,
    /// Requests of one user that wait for one provider.
    pub waiting_requests_per_user: usize,
    /// Keys of one user.
    pub keys_per_user: u32,
    /// From the first octet of a request to its last, and for writing a response.
    pub frame: Duration,
    /// Between a response and the next request.
    pub idle: Duration,
    /// From a request's last octet to its response.
    pub request: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 512,
            connections_per_user: 128,
            waiting_requests: 256,
            waiting_requests_per_user: 32,
            keys_per_user: 1024,
            frame: Duration::from_secs(5),
            idle: Duration::from_secs(300),
            request: Duration::from_secs(120),
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

impl Config {
    /// The configuration of an empty file: a TPM at `/dev/tpmrm0` and the paths of the contract.
    #[must_use]
    pub fn with_defaults() -> Config {
        Config {
            state: default_state(),
            socket: SocketConfig { path: PathBuf::from(DEFAULT_SOCKET_PATH), mode: 0o666, group: AdminGroup::Default },
            monitoring: None,
            limits: Limits::default(),
            grants: Vec::new(),
            tpm: Some(TpmConfig::default()),
        }
    }

    /// Reads a configuration file.
    ///
    /// # Errors
    ///
    /// [`ConfigFault`], naming the file, the key and what to do.
    pub fn load(path: &Path) -> Result<Config, ConfigFault> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigFault::Unreadable { file: path.to_owned(), source })?;
        Config::from_toml(&text, path)
    }

    /// Reads a configuration; `file` is only named in errors.
    ///
    /// # Errors
    ///
    /// [`ConfigFault`], naming the file, the key and what to do.
    pub fn from_toml(text: &str, file: &Path) -> Result<Config, ConfigFault> {
        file::parse(text, file)
    }
}

/// The state directory of the contract: the system's for root, the user's for anyone else who has one.
fn default_state() -> PathBuf {
    let of_user = std::env::var_os("XDG_STATE_HOME").filter(|_| !rustix::process::getuid().is_root());
    match of_user.map(PathBuf::from).filter(|path| path.is_absolute()) {
        Some(home) => home.join("vouchsafe/agent"),
        None => PathBuf::from(DEFAULT_STATE_PATH),
    }
}

/// The kind of attesting keys of that name in configuration and messages.
#[must_use]
pub fn key_kind(name: &str) -> Option<KeyKind> {
    KeyKind::ALL.into_iter().find(|kind| kind.attests() && key_kind_name(*kind) == name)
}

/// The name of a key kind in configuration and messages.
#[must_use]
pub const fn key_kind_name(kind: KeyKind) -> &'static str {
    match kind {
        KeyKind::EcP256 => "ecc-p256",
        KeyKind::EcP384 => "ecc-p384",
        KeyKind::EcP521 => "ecc-p521",
        KeyKind::Rsa1024 => "rsa-1024",
        KeyKind::Rsa2048 => "rsa-2048",
        KeyKind::Rsa3072 => "rsa-3072",
        KeyKind::Rsa4096 => "rsa-4096",
    }
}

#[cfg(test)]
mod tests;
