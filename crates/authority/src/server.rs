//! The running authority.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use vouchsafe_verifier::{Instant, ModuleList, Policy, PolicyError};

use crate::attestation_result::{ResultKeyError, ResultSigner};
use crate::ca::{Hierarchy, HierarchyError};
use crate::certificate::DAY_SECONDS;
use crate::client_certificate::{ClientAuthorities, ClientCaError};
use crate::clock::Clock;
use crate::config::{CeremonyConfig, Config, DatabaseConfig, ExternalKeyError, WitnessesError};
use crate::enrolment::pseudonym::{EscrowError, Pseudonyms};
use crate::http::{Channel, Listener, StopHandle, routers};
use crate::init::{InitError, database_file, read_secret};
use crate::lifecycle::expiring;
use crate::limits::Limits;
use crate::nonce::Mint;
use crate::protocol::acme::Acme;
use crate::protocol::cmp::{Parties, PartiesError};
use crate::record::{RecordError, Recorder};
use crate::service::Service;
use crate::store::{self, Store, StoreError};
use crate::text::to_hex;
use crate::tls::{self, TlsError};
use crate::trust::{Trust, TrustSource, TrustSourceError};
use crate::upstream::{LoadError, Upstreams};

/// Time between two looks at the trust source.
const TRUST_INTERVAL: Duration = Duration::from_secs(30);
/// Time between two warnings of attesting keys whose certificates expire.
const WARNING_INTERVAL: Duration = Duration::from_secs(86_400);
/// Time between two removals of what has expired.
const PRUNE_INTERVAL: Duration = Duration::from_secs(600);
/// How long spent nonces are kept beyond their lifetime, in seconds, so that a client that lost the answer
/// can ask for it again.
const SPENT_KEPT_SECONDS: i64 = 7 * 86_400;
/// Days before its end from which on the log tells of an issuer's.
const ISSUER_WARNING_DAYS: i64 = 90;
/// Octets of a policy file.
const POLICY_OCTETS: u64 = 1024 * 1024;
/// Octets of a list of certified modules.
const MODULE_LIST_OCTETS: u64 = 16 * 1024 * 1024;

/// Why the authority does not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The key of an external account cannot be used.
    #[error(transparent)]
    ExternalKey(#[from] ExternalKeyError),
    /// The authorities of client certificates cannot be used.
    #[error(transparent)]
    ClientCa(#[from] ClientCaError),
    /// The signing keys cannot be loaded.
    #[error(transparent)]
    Hierarchy(#[from] HierarchyError),
    /// There is no usable installation.
    #[error(transparent)]
    Init(#[from] InitError),
    /// The address cannot be listened on.
    #[error("{address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        error: std::io::Error,
    },
    /// The policy is refused.
    #[error("policy {name}")]
    Policy {
        /// Its name or file.
        name: String,
        /// Why.
        #[source]
        error: PolicyError,
    },
    /// The policy is neither a name that is known nor a file that can be read.
    #[error("no policy of the name and no readable file: {}", path.display())]
    PolicyFile {
        /// The path that was tried.
        path: PathBuf,
        /// Why it could not be read.
        #[source]
        error: std::io::Error,
    },
    /// The key to which links are escrowed cannot be used.
    #[error(transparent)]
    Escrow(#[from] EscrowError),
    /// The keys for records cannot be used.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Attestation results cannot be signed.
    #[error(transparent)]
    Results(#[from] ResultKeyError),
    /// The database cannot be opened.
    #[error("{place}")]
    Store {
        /// Its file, or its server.
        place: String,
        /// Why.
        #[source]
        error: StoreError,
    },
    /// The threads that decide cannot be started.
    #[error("the threads that decide cannot be started")]
    Threads(#[source] std::io::Error),
    /// CMP cannot be served.
    #[error(transparent)]
    Cmp(#[from] PartiesError),
    /// TLS cannot be configured.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A CA elsewhere cannot be used.
    #[error("upstream {name}")]
    Upstream {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        error: LoadError,
    },
    /// The witnesses of ceremonies are not known.
    #[error(transparent)]
    Witnesses(#[from] WitnessesError),
    /// The trust store cannot be read.
    #[error(transparent)]
    Trust(#[from] TrustSourceError),
}

/// The certification side as one server.
#[derive(Debug)]
pub struct Authority;

/// An authority that serves; dropping it stops it without waiting.
#[derive(Debug)]
pub struct Running {
    trust: Arc<Trust>,
    tls: Serving,
    /// Where it serves what certificates name, by plain HTTP.
    plain: Option<Serving>,
    upkeep: JoinHandle<()>,
}

/// One listener at work.
#[derive(Debug)]
struct Serving {
    address: SocketAddr,
    stop: StopHandle,
    accepting: JoinHandle<()>,
}

impl Serving {
    async fn start(
        address: SocketAddr,
        channel: Channel,
        router: axum::Router,
        limits: Limits,
    ) -> Result<Self, StartError> {
        let failed = |error| StartError::Listen { address, error };
        let listener = Listener::bind(address, channel, router, limits).await.map_err(failed)?;
        let address = listener.address().map_err(failed)?;
        let (stop, accept) = listener.run();
        Ok(Self { address, stop, accepting: tokio::spawn(accept) })
    }

    async fn stop(&mut self) {
        self.stop.stop();
        if let Err(error) = (&mut self.accepting).await {
            tracing::error!(%error, "the accept loop failed");
        }
    }
}

impl Authority {
    /// Opens the installation that [`crate::init`] created and serves it.
    ///
    /// `trust_source` is read now and every 30 seconds; [`crate::trust::folder`] reads a folder. Time comes
    /// from `clock` alone, but for deadlines of connections.
    ///
    /// # Errors
    /// Every variant of [`StartError`].
    pub async fn start(
        config: Config,
        trust_source: TrustSource,
        clock: Arc<dyn Clock>,
    ) -> Result<Running, StartError> {
        let secret = read_secret(&config)?;
        let store = open_store(&config)?;
        let trust = Arc::new(Trust::load(trust_source)?);
        let hierarchy = Hierarchy::load(&config)?;
        let used = hierarchy.issuers().filter(|issuer| config.names_issuer(issuer.name()));
        let issuers = used.map(|issuer| (issuer.name().to_owned(), issuer.ca().certificate().not_after())).collect();
        let clients = Arc::new(ClientAuthorities::load(&config, &hierarchy)?);
        let parts = (
            Mint::new(&secret, config.nonce_lifetime_seconds),
            Recorder::new(&secret)?,
            hierarchy,
            Arc::clone(&clients),
            config.enrolment.ceremony.as_ref().map(CeremonyConfig::load).transpose()?,
            config.pseudonyms.as_ref().map(Pseudonyms::new).transpose()?,
        );
        let tls = tls::server_config(&config, clients, &clock)?;
        let policy = policy(config.policy())?;
        let parties = Parties::load(&config, &parts.2, clock.now_unix_seconds())?;
        let service = Service::new(&config, Arc::clone(&store), parts, Arc::clone(&trust), policy, Arc::clone(&clock));
        let mut service = service.with_cmp(parties);
        let upstreams = Upstreams::load(&config.upstreams, &clock, tokio::runtime::Handle::current());
        service.upstreams = upstreams.map_err(|(name, error)| StartError::Upstream { name, error })?;
        if let Some(ear) = &config.ear {
            service.results = Some(ResultSigner::load(ear, service.hierarchy.certifying_keys())?);
        }
        if let Some(acme) = &config.acme {
            service.acme = Some(Acme::load(acme, &config, &secret)?);
        }
        let routers = routers(&config, Arc::new(service)).map_err(StartError::Threads)?;
        let channel = Channel::Tls(TlsAcceptor::from(tls));
        let tls = Serving::start(config.listen, channel, routers.tls, config.limits).await?;
        let plain = match config.distribution.as_ref().and_then(|distribution| distribution.listen) {
            Some(address) => Some(Serving::start(address, Channel::Plain, routers.plain, config.limits).await?),
            None => None,
        };
        let upkeep = Upkeep {
            trust: Arc::clone(&trust),
            store,
            clock,
            nonce_lifetime_seconds: config.nonce_lifetime_seconds,
            expiry_warning_days: config.enrolment.expiry_warning_days,
            issuers,
        };
        let upkeep = tokio::spawn(upkeep.run());
        tracing::info!(address = %tls.address, "the authority listens");
        Ok(Running { trust, tls, plain, upkeep })
    }
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.tls.address
    }

    /// Where it serves revocation lists and issuers' certificates by plain HTTP, if it does.
    #[must_use]
    pub fn plain_address(&self) -> Option<SocketAddr> {
        self.plain.as_ref().map(|plain| plain.address)
    }

    /// Reads the trust source now. On an error the last good store stays in force.
    ///
    /// # Errors
    /// What the source says.
    pub fn reload_trust(&self) -> Result<(), TrustSourceError> {
        self.trust.reload()
    }

    /// Stops accepting, lets requests in flight finish, and ends.
    pub async fn stop(mut self) {
        if let Some(plain) = &mut self.plain {
            plain.stop().await;
        }
        self.tls.stop().await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.tls.stop.stop();
        if let Some(plain) = &self.plain {
            plain.stop.stop();
        }
        self.upkeep.abort();
    }
}

fn open_store(config: &Config) -> Result<Arc<dyn Store>, StartError> {
    let path = database_file(config);
    store::open(&config.database, &path).map_err(|error| {
        let place = match &config.database {
            DatabaseConfig::Sqlite => path.display().to_string(),
            DatabaseConfig::Postgres(server) => server.place(),
        };
        StartError::Store { place, error }
    })
}

fn policy(name: &str) -> Result<Policy, StartError> {
    if let Some(policy) = Policy::named(name) {
        return Ok(policy);
    }
    let path = PathBuf::from(name);
    let text =
        read_bounded(&path, POLICY_OCTETS).map_err(|error| StartError::PolicyFile { path: path.clone(), error })?;
    let refused = |error| StartError::Policy { name: name.to_owned(), error };
    let policy = Policy::from_toml(&text).map_err(refused)?;
    // Lists of certified modules that it names lie beside it.
    let lists: Vec<PathBuf> = policy.module_list_names().iter().map(|list| path.with_file_name(list)).collect();
    lists.into_iter().try_fold(policy, |policy, path| {
        let text = read_bounded(&path, MODULE_LIST_OCTETS).map_err(|error| StartError::PolicyFile { path, error })?;
        Ok(policy.with_modules(ModuleList::parse(&text).map_err(refused)?))
    })
}

fn read_bounded(path: &std::path::Path, limit: u64) -> std::io::Result<String> {
    if std::fs::metadata(path)?.len() > limit {
        return Err(std::io::Error::from(std::io::ErrorKind::FileTooLarge));
    }
    std::fs::read_to_string(path)
}

/// What is done while the authority runs and nobody asks.
struct Upkeep {
    trust: Arc<Trust>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    nonce_lifetime_seconds: i64,
    expiry_warning_days: i64,
    /// The issuers that certificates come from, and when each expires.
    issuers: Vec<(String, i64)>,
}

impl Upkeep {
    /// Re-reads the trust source, removes what has expired and warns of what will, until the authority stops.
    async fn run(self) {
        let mut reload = tokio::time::interval(TRUST_INTERVAL);
        let mut prune = tokio::time::interval(PRUNE_INTERVAL);
        let mut warn = tokio::time::interval(WARNING_INTERVAL);
        loop {
            tokio::select! {
                _ = reload.tick() => {
                    let trust = Arc::clone(&self.trust);
                    // The failure is in the log; the last good store stays.
                    let _logged = tokio::task::spawn_blocking(move || trust.reload()).await;
                }
                _ = prune.tick() => self.prune().await,
                _ = warn.tick() => self.warn().await,
            }
        }
    }

    async fn prune(&self) {
        let (store, now) = (Arc::clone(&self.store), self.clock.now_unix_seconds());
        let nonces_before = now.saturating_sub(self.nonce_lifetime_seconds).saturating_sub(SPENT_KEPT_SECONDS);
        let pruned = tokio::task::spawn_blocking(move || store.prune(now, nonces_before)).await;
        if let Ok(Err(error)) = pruned {
            tracing::error!(%error, "expired rows were not removed");
        }
    }

    /// Tells the log of issuers that expire soon: certificates do not outlive them, and the next takes time to be known.
    fn warn_of_issuers(&self) {
        let until = self.clock.now_unix_seconds().saturating_add(ISSUER_WARNING_DAYS.saturating_mul(DAY_SECONDS));
        for (issuer, not_after) in self.issuers.iter().filter(|(_, not_after)| *not_after <= until) {
            let expires = Instant::from_unix_seconds(*not_after).to_string();
            tracing::warn!(issuer, expires, "an issuer expires; docs/running.md has the steps to the next");
        }
    }

    /// Tells the log of attesting keys whose certificates expire soon, each device once.
    async fn warn(&self) {
        self.warn_of_issuers();
        let (store, now, days) = (Arc::clone(&self.store), self.clock.now_unix_seconds(), self.expiry_warning_days);
        match tokio::task::spawn_blocking(move || store.attesting_keys()).await {
            Ok(Ok(keys)) => {
                for key in expiring(keys, now, days) {
                    let (device, attesting_key) = (key.device, to_hex(&key.spki_digest));
                    let expires = Instant::from_unix_seconds(key.not_after).to_string();
                    tracing::warn!(device, attesting_key, expires, "the certificates of an attesting key expire");
                }
            }
            Ok(Err(error)) => tracing::error!(%error, "expiring attesting keys are not known"),
            Err(_stopping) => {}
        }
    }
}
