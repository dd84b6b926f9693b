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
//! recorded_per_minute = 600
//! frame_seconds = 5
//! idle_seconds = 300
//! request_seconds = 120
//!
//! [authenticators]
//! direct = false                      # whether clients may give themselves names (AuthType Direct)
//!
//! [mechanisms]
//! enable = []                         # experimental mechanisms to serve, such as "pkix-evidence"
//!
//! [[grants]]
//! user = "builder"                    # or uid = 1000, or group = "ci"
//! may = ["attest", "attest-platform", "activate-credential", "manage-clients"]
//!
//! [[grants]]
//! group = "web"
//! may = ["use", "attest"]             # sign, decrypt and export with keys of others
//! keys = ["unix:0/tls"]               # CLIENT/NAME, or CLIENT/PROVIDER/NAME
//! attesting_keys = ["default"]        # which may attest for these grantees; every one of the machine's if left out
//!
//! [providers.tpm]                     # NAME; further ones by names of their own
//! kind = "tpm"                        # may be left out where NAME says it
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
//!
//! A token behind PKCS#11 is configured so:
//!
//! ```toml
//! [providers.hsm]
//! kind = "pkcs11"
//! module = "/usr/lib/softhsm/libsofthsm2.so"
//! token = "LABEL"                     # or serial = "..."
//! pin_file = "/etc/vouchsafe/hsm.pin" # mode 0600
//! attesting_token = "OTHER LABEL"     # where the attesting key is in a token of its own
//! attesting_pin_file = "/etc/vouchsafe/hsm-attesting.pin"
//!
//! [providers.hsm.attesting_key]
//! default = "default"
//! algorithm = "ecc-p256"
//! ```

mod check;
mod fault;
mod file;
mod module;
mod provider_file;

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use check::Finding;
pub use fault::ConfigFault;

use crate::grants::GrantRule;
use crate::provider::{KeyKind, MechanismName};
use crate::provider_identity::{ProviderIdentity, ProviderKind};
use crate::tpm::Address;
use crate::wire::header::AuthType;
pub use module::{CertifyX509Config, ModuleConfig, ProviderConfig, TpmConfig};

/// Where the configuration is unless said otherwise.
pub const DEFAULT_CONFIG_PATH: &str = "/etc/vouchsafe/agent.toml";

/// Where the socket is unless said otherwise.
pub const DEFAULT_SOCKET_PATH: &str = "/run/vouchsafe/agent.sock";

/// Where the state is unless said otherwise.
pub const DEFAULT_STATE_PATH: &str = "/var/lib/vouchsafe/agent";

/// The group of administrators unless said otherwise.
pub const DEFAULT_GROUP: &str = "vouchsafe";

/// Write permission of everyone.
const WRITABLE_BY_ANYONE: u32 = 0o002;

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
    /// By what clients may authenticate.
    pub authenticators: AuthenticatorsConfig,
    /// The experimental mechanisms that are served.
    pub enabled_mechanisms: Vec<MechanismName>,
    /// The providers, in the order of the file.
    pub providers: Vec<ProviderConfig>,
}

/// By what clients may authenticate, beside Unix peer credentials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuthenticatorsConfig {
    /// Whether clients may give themselves names (AuthType Direct).
    pub direct: bool,
}

impl AuthenticatorsConfig {
    /// Whether a request may be authenticated so.
    #[must_use]
    pub const fn offer(self, auth_type: AuthType) -> bool {
        match auth_type {
            AuthType::None | AuthType::UnixPeerCredentials => true,
            AuthType::Direct { .. } => self.direct,
        }
    }
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
    /// Operations that are recorded in the audit log, of one user within a minute, under no grant.
    pub recorded_per_minute: u32,
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
            recorded_per_minute: 600,
            frame: Duration::from_secs(5),
            idle: Duration::from_secs(300),
            request: Duration::from_secs(120),
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
            authenticators: AuthenticatorsConfig::default(),
            enabled_mechanisms: Vec::new(),
            providers: vec![ProviderConfig::default_tpm()],
        }
    }

    /// Puts a TPM at this address in place of the first one, or before all providers where there is none.
    pub fn set_tpm_address(&mut self, address: Address) {
        let tpm = self.providers.iter_mut().find_map(|provider| match &mut provider.module {
            ModuleConfig::Tpm(tpm) => Some(tpm),
            ModuleConfig::Pkcs11(_) => None,
        });
        match tpm {
            Some(tpm) => tpm.address = address,
            None => {
                let module = ModuleConfig::Tpm(TpmConfig { address, ..TpmConfig::default() });
                self.providers.insert(0, ProviderConfig { module, ..ProviderConfig::default_tpm() });
            }
        }
    }

    /// The providers as they are served: in the order of the file, those that attest before those that do not, since clients
    /// take the first for their default; each with its number and UUID.
    #[must_use]
    pub fn served_providers(&self) -> Vec<(ProviderIdentity, &ProviderConfig)> {
        let (attesting, others): (Vec<_>, Vec<_>) =
            self.providers.iter().partition(|provider| self.attests(provider.module.kind()));
        let ordered = [attesting, others].concat();
        let named: Vec<_> = ordered.iter().map(|provider| (provider.name.clone(), provider.module.kind())).collect();
        ProviderIdentity::assign(&named).into_iter().zip(ordered).collect()
    }

    /// Whether a module of this kind attests by a mechanism that is served.
    fn attests(&self, kind: ProviderKind) -> bool {
        let mechanism = match kind {
            ProviderKind::Tpm => MechanismName::TpmCertify,
            ProviderKind::Pkcs11 => MechanismName::PkixEvidence,
        };
        mechanism.is_served(&self.enabled_mechanisms)
    }

    /// Reads a configuration file.
    ///
    /// # Errors
    ///
    /// [`ConfigFault`], naming the file, the key and what to do.
    pub fn load(path: &Path) -> Result<Config, ConfigFault> {
        let unreadable = |source| ConfigFault::Unreadable { file: path.to_owned(), source };
        let mut file = std::fs::File::open(path).map_err(unreadable)?;
        // Of the file that is read, whatever the path means by then.
        let metadata = file.metadata().map_err(unreadable)?;
        let mode = metadata.permissions().mode() & 0o7777;
        if metadata.is_file() && mode & WRITABLE_BY_ANYONE != 0 {
            return Err(ConfigFault::Shared { file: path.to_owned(), mode });
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(unreadable)?;
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
