//! Reaching the agent.

use std::path::PathBuf;

use clap::Args;
use vouchsafe_agent::client::{Client, ClientFault, Endpoint};

use crate::failure::Failure;

/// Where the agent is.
#[derive(Clone, Debug, Default, Args)]
pub struct AgentSocket {
    /// The agent's socket; defaults to PARSEC_SERVICE_ENDPOINT, else to /run/vouchsafe/agent.sock.
    #[arg(long, value_name = "PATH", global = true)]
    pub socket: Option<PathBuf>,
    /// The provider that holds the key, by its name in agent.toml; defaults to the first that the agent lists.
    #[arg(long, value_name = "NAME", global = true)]
    pub provider: Option<String>,
}

impl AgentSocket {
    /// Connects to it.
    ///
    /// # Errors
    /// [`Failure`] if no agent answers.
    pub fn connect(&self) -> Result<Client, Failure> {
        let endpoint = match &self.socket {
            Some(path) => Endpoint::at(path),
            None => Endpoint::from_environment().map_err(|fault| failure("the agent cannot be asked", &fault))?,
        };
        Client::connect(&endpoint)
            .and_then(|client| client.with_provider_named(self.provider.as_deref()))
            .map_err(|fault| failure("the agent cannot be asked", &fault))
    }
}

/// The failure to do `what`, with the agent's own advice.
pub fn failure(what: impl Into<String>, fault: &ClientFault) -> Failure {
    Failure::new(what).because(fault).next(fault.next_step())
}
