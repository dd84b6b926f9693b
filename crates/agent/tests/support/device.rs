//! The whole device side: an agent on a software TPM.

#![allow(dead_code)]

use std::path::Path;

use tempfile::TempDir;
use vouchsafe_agent::Agent;
use vouchsafe_agent::client::Client;
use vouchsafe_agent::config::Config;
use vouchsafe_agent::swtpm::{Options, Swtpm};

use crate::support::client;

/// An agent on a TPM of its own.
pub struct Device {
    pub agent: Option<Agent>,
    pub config: Config,
    pub tpm: Swtpm,
    pub directory: TempDir,
}

impl Device {
    pub fn start() -> Device {
        let tpm = Swtpm::start(&Options::default()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let mut config = Config::with_defaults();
        config.state = directory.path().join("state");
        config.socket.path = directory.path().join("s");
        config.set_tpm_address(tpm.address());
        let agent = Some(Agent::start(config.clone()).unwrap());
        Device { agent, config, tpm, directory }
    }

    pub fn socket(&self) -> &Path {
        &self.config.socket.path
    }

    pub fn client(&self) -> Client {
        client(self.socket())
    }

    pub fn stop_agent(&mut self) {
        self.agent.take().unwrap().stop();
    }

    pub fn restart_agent(&mut self) {
        self.stop_agent();
        self.agent = Some(Agent::start(self.config.clone()).unwrap());
    }
}
