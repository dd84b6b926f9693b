//! `vouchsafe agent`: the service on the device.

use std::path::{Path, PathBuf};

use clap::Args;
use vouchsafe_agent::config::{Config, DEFAULT_CONFIG_PATH, TpmConfig};
use vouchsafe_agent::tpm::Address;

use crate::cli::Answer;
use crate::failure::Failure;
use crate::logging;

/// Serve keys in hardware on a Unix socket, and attest them (until SIGTERM or SIGINT).
///
/// Speaks the Parsec wire protocol, so Parsec clients work; `vouchsafe key`, `csr` and `enroll` use its extension for
/// attestation. Every local user has keys of its own; the machine's identity needs a grant, which root, the agent's own
/// user and the socket's group have.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The configuration; defaults to /etc/vouchsafe/agent.toml if that is there.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The state folder, in place of the configured one.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// The socket, in place of the configured one.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// The TPM, in place of the configured one: device:PATH, swtpm:unix:PATH or swtpm:tcp:HOST:PORT.
    #[arg(long, value_name = "ADDRESS")]
    tpm: Option<Address>,
}

const EXAMPLES: &str = "\
Examples:
  vouchsafe agent
  vouchsafe agent --tpm swtpm:unix:/tmp/tpm/tpm.sock --state /tmp/agent \\
      --socket /tmp/agent.sock

docs/running.md has a whole configuration.";

/// Serves.
///
/// # Errors
/// [`Failure`] if the configuration cannot be used or the service cannot start.
pub fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    let config = configuration(arguments)?;
    logging::start();
    let socket = config.socket.path.display().to_string();
    vouchsafe_agent::serve(config).map_err(|fault| {
        Failure::new("the agent cannot start").because(fault).next(format!(
            "check who may write to the state folder and to {socket}, or name others with --state and --socket"
        ))
    })?;
    Ok(Answer::Yes)
}

fn configuration(arguments: &Arguments) -> Result<Config, Failure> {
    let default = Path::new(DEFAULT_CONFIG_PATH);
    let load = |path: &Path| {
        Config::load(path).map_err(|fault| {
            Failure::new("the agent's configuration cannot be used").because(fault).next(
                "correct the file, or leave --config out for the defaults; docs/running.md has a whole configuration",
            )
        })
    };
    let mut config = match &arguments.config {
        Some(path) => load(path)?,
        None if default.exists() => load(default)?,
        None => Config::with_defaults(),
    };
    if let Some(state) = &arguments.state {
        config.state = absolute(state)?;
    }
    if let Some(socket) = &arguments.socket {
        config.socket.path = absolute(socket)?;
    }
    if let Some(address) = &arguments.tpm {
        config.tpm = Some(TpmConfig { address: address.clone(), ..config.tpm.unwrap_or_default() });
    }
    Ok(config)
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| Failure::new(format!("{} is no path", path.display())).because(error))
}
