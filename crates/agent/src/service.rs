//! The service: clients on a Unix socket, providers behind it.
//!
//! One thread accepts and frames (event-driven, no polling), one more per provider does what blocks. A
//! client is whoever the kernel says is at the other end when it connects (SO_PEERCRED, read once).
//! Connections may carry one request or many, one at a time. What one user can take up is bounded: when
//! it opens more connections than it may have, its longest idle one is closed; when it has more requests
//! waiting than it may have, the next is answered `PsaErrorInsufficientMemory` at once; requests of several
//! users are taken in turns. A request that is not answered in time gets `PsaErrorCommunicationFailure`.

mod activation;
mod admission;
mod attestation;
mod audited;
mod capability;
mod certificate_template;
mod clients;
mod connection;
pub(crate) mod descriptors;
mod discovery;
mod dispatch;
mod encryption;
mod enrollment;
mod evidence_request;
mod frame;
mod key_attributes;
mod keys;
mod listener;
mod monitoring;
mod notify;
mod pace;
mod peer;
mod public_key;
mod queue;
mod quote_request;
mod refusal;
mod same_token;
mod settlement;
mod signatures;
mod slot;
mod turns;
mod worker;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use thiserror::Error;
use tokio::sync::watch;

use crate::audit::{AuditFault, AuditLog};
use crate::config::{Config, SocketConfig};
use crate::grants::{Accounts, Grants};
use crate::store::{Store, StoreError};
use admission::Admission;
use dispatch::{Service, Shared};
use listener::Listener;
use worker::Worker;

pub use listener::SocketFault;
pub use peer::{Caller, Peer};
pub use slot::{Provider, ProviderSlot};

/// Mode of the monitoring socket: the agent's user and the administrators' group.
const MONITORING_MODE: u32 = 0o660;

/// Why an agent cannot start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartFault {
    /// The socket cannot be made.
    #[error(transparent)]
    Socket(#[from] SocketFault),
    /// The audit log cannot be used.
    #[error(transparent)]
    Audit(#[from] AuditFault),
    /// Two providers mean one token.
    #[error("the providers {first} and {second} have one token; name each module once")]
    SameToken {
        /// The one that comes first in the configuration, and how it names the token.
        first: String,
        /// The other.
        second: String,
    },
    /// The state cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A thread, a runtime or a signal handler cannot be made.
    #[error("cannot start {what}: {source}")]
    System {
        /// Which one.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A running agent. Dropping it stops it as [`Agent::stop`] does.
#[derive(Debug)]
pub struct Agent {
    socket: PathBuf,
    shutdown: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Agent {
    /// Starts an agent with the providers that the configuration names. The socket accepts when this
    /// returns. A provider that cannot be opened yet does not hinder: it is tried again when it is asked.
    ///
    /// # Errors
    ///
    /// [`StartFault`].
    pub fn start(config: Config) -> Result<Agent, StartFault> {
        same_token::refuse(&config)?;
        let slots =
            config.served_providers().into_iter().map(|(identity, config)| ProviderSlot::configured(identity, config));
        let slots = slots.collect();
        Agent::start_with(config, slots)
    }

    /// Starts an agent with these providers, the default one first.
    ///
    /// # Errors
    ///
    /// [`StartFault`].
    pub fn start_with(config: Config, slots: Vec<ProviderSlot>) -> Result<Agent, StartFault> {
        descriptors::provide(config.limits.connections);
        let store = Store::open(&config.state)?;
        let audit = AuditLog::open(&config.state)?;
        let accounts = Accounts::system();
        let listener = Listener::bind(&config.socket, &accounts)?;
        let monitoring = match config.monitoring {
            Some(path) => {
                let group = config.socket.group.clone();
                Some(Listener::make(&SocketConfig { path, mode: MONITORING_MODE, group }, &accounts)?)
            }
            None => None,
        };
        let agent_uid = rustix::process::geteuid().as_raw();
        let grants = Grants::new(config.grants, config.socket.group.name(), Some(agent_uid), accounts);
        let mut workers = Vec::new();
        for slot in slots {
            let worker = Worker::start(slot, &store, config.limits)
                .map_err(|source| StartFault::System { what: "a provider's thread", source })?;
            workers.push(worker);
        }
        let service = Service::new(
            Shared {
                store,
                grants,
                limits: config.limits,
                audit,
                authenticators: config.authenticators,
                enabled_mechanisms: config.enabled_mechanisms,
            },
            workers,
        );
        Agent::run(listener, monitoring, service, Admission::new(config.limits), config.socket.path)
    }

    fn run(
        listener: Listener,
        monitoring: Option<Listener>,
        service: Service,
        admission: Admission,
        socket: PathBuf,
    ) -> Result<Agent, StartFault> {
        // One thread: a second one would do little but be woken for each request, which costs more than a small request does.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| StartFault::System { what: "the event loop", source })?;
        let ((listener, file), monitoring) = {
            let _context = runtime.enter();
            (listener.into_async()?, monitoring.map(Listener::into_async).transpose()?)
        };
        let (shutdown, watch) = watch::channel(false);
        let thread = std::thread::Builder::new()
            .name("agent-main".to_owned())
            .spawn(move || {
                let service = Arc::new(service);
                runtime.block_on(async {
                    let monitoring = monitoring.map(|(listener, file)| {
                        tokio::spawn(monitoring::serve(listener, file, Arc::clone(&service), watch.clone()))
                    });
                    connection::accept(listener, file, service, admission, watch).await;
                    if let Some(monitoring) = monitoring {
                        // It ends by itself; a panic in it is no matter any more.
                        let _ = monitoring.await;
                    }
                });
            })
            .map_err(|source| StartFault::System { what: "the main thread", source })?;
        Ok(Agent { socket, shutdown, thread: Some(thread) })
    }

    /// The socket's path.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Stops: no more requests are taken, those being answered are finished (for at most
    /// five seconds), and the socket file is removed.
    pub fn stop(mut self) {
        self.finish();
    }

    fn finish(&mut self) {
        // Without a receiver the accept loop is over already.
        let _ = self.shutdown.send(true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the agent's main thread panicked");
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Serves until SIGTERM or SIGINT. A service manager is told when the agent is ready and when it stops (sd_notify), and may
/// hand over the socket as standard input (`StandardInput=socket`).
///
/// # Errors
///
/// [`StartFault`].
pub fn serve(config: Config) -> Result<(), StartFault> {
    let system = |source| StartFault::System { what: "the signal handlers", source };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(system)?;
    // The handlers are there before the socket is, so that no signal is lost between the two.
    let (mut terminate, mut interrupt) = {
        use tokio::signal::unix::{SignalKind, signal};
        let _context = runtime.enter();
        (signal(SignalKind::terminate()).map_err(system)?, signal(SignalKind::interrupt()).map_err(system)?)
    };
    let agent = Agent::start(config)?;
    tracing::info!(socket = %agent.socket().display(), "the agent serves");
    notify::notify(notify::READY);
    runtime.block_on(async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    });
    tracing::info!("the agent stops");
    notify::notify(notify::STOPPING);
    agent.stop();
    Ok(())
}
