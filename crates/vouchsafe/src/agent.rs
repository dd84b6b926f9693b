//! `vouchsafe agent`: the service on the device.

pub mod attesting_key;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use vouchsafe_agent::audit::{self, VerifyFault};
use vouchsafe_agent::config::{Config, DEFAULT_CONFIG_PATH};
use vouchsafe_agent::grants::Accounts;
use vouchsafe_agent::tpm::Address;
use vouchsafe_evidence::text::printable;

use crate::cli::Answer;
use crate::console;
use crate::failure::Failure;
use crate::logging;

/// Serve keys in hardware on a Unix socket, and attest them (until SIGTERM or SIGINT).
///
/// Speaks the Parsec wire protocol, so Parsec clients work; `vouchsafe key`, `csr` and `enroll` use its extension for
/// attestation. Every local user has keys of its own; the machine's identity needs a grant, which root, the agent's own
/// user and the socket's group have.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
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

#[derive(Debug, Subcommand)]
enum Command {
    /// Read the configuration, look for what it names, and start nothing.
    CheckConfig {
        /// The configuration; defaults to /etc/vouchsafe/agent.toml if that is there.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// What the agent recorded.
    #[command(subcommand)]
    Audit(AuditCommand),
    AttestingKey(attesting_key::Arguments),
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Check that no entry of the audit log was changed, removed or added.
    ///
    /// Prints the last entry's chain value. Keep it elsewhere: with `--noted` a later check shows that no entry up to that one is
    /// missing. Without it, entries that were removed at the end do not show.
    Verify {
        /// A chain value of an earlier time, which must be in the log.
        #[arg(long, value_name = "CHAIN")]
        noted: Option<String>,
        /// The log; defaults to audit.log in the configured state folder.
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
        /// The configuration; defaults to /etc/vouchsafe/agent.toml if that is there.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

const EXAMPLES: &str = "\
Examples:
  vouchsafe agent
  vouchsafe agent check-config --config agent.toml
  vouchsafe agent audit verify
  vouchsafe agent attesting-key list
  vouchsafe agent --tpm swtpm:unix:/tmp/tpm/tpm.sock --state /tmp/agent \\
      --socket /tmp/agent.sock

docs/running.md has a whole configuration.";

/// Serves.
///
/// # Errors
/// [`Failure`] if the configuration cannot be used or the service cannot start.
pub fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    match &arguments.command {
        Some(Command::CheckConfig { config }) => return check(config.as_deref()),
        Some(Command::AttestingKey(arguments)) => return attesting_key::run(arguments),
        Some(Command::Audit(AuditCommand::Verify { noted, file, config })) => {
            let file = match file {
                Some(file) => file.clone(),
                None => stored(config.as_deref())?.state.join(audit::FILE_NAME),
            };
            return verify_audit(&file, noted.as_deref());
        }
        None => {}
    }
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

/// Says what an agent of this configuration would serve, and what it would lack.
fn check(path: Option<&Path>) -> Result<Answer, Failure> {
    let config = stored(path)?;
    let findings = config.findings(&Accounts::system());
    for finding in &findings {
        console::out(&format!("problem: {}\n   next: {}\n", finding.message, finding.next_step))?;
    }
    console::out(&format!(
        "{}\n socket: {}\n  state: {}\n grants: {}\n{}",
        if findings.is_empty() { "The configuration can be used." } else { "The configuration has problems." },
        config.socket.path.display(),
        config.state.display(),
        config.grants.len(),
        providers(&config),
    ))?;
    Ok(if findings.is_empty() { Answer::Yes } else { Answer::No })
}

/// The providers as clients will see them, the default one first.
fn providers(config: &Config) -> String {
    let lines = config.served_providers().into_iter().map(|(identity, provider)| {
        format!(
            "provider {} (0x{:02x}, {}, {}): {}\n",
            identity.name,
            identity.id.0,
            identity.kind.name(),
            identity.uuid,
            printable(&provider.module.place()),
        )
    });
    lines.collect()
}

/// Says whether the audit log is as the agent wrote it.
fn verify_audit(file: &Path, noted: Option<&str>) -> Result<Answer, Failure> {
    match audit::verify(file, noted) {
        Ok(summary) => {
            let from = if summary.first > 1 { format!(", from number {} on", summary.first) } else { String::new() };
            console::out(&format!("{} entries{from}, none changed.\n  chain: {}\n", summary.entries, summary.chain))?;
            Ok(Answer::Yes)
        }
        Err(VerifyFault::Unreadable(error)) => {
            Err(Failure::new(format!("{} cannot be read", file.display())).because(error))
        }
        Err(fault) => {
            console::out(&format!(
                "{}: {fault}\n   next: compare it with a copy; entries before that line can be trusted\n",
                file.display()
            ))?;
            Ok(Answer::No)
        }
    }
}

fn configuration(arguments: &Arguments) -> Result<Config, Failure> {
    let mut config = stored(arguments.config.as_deref())?;
    if let Some(state) = &arguments.state {
        config.state = absolute(state)?;
    }
    if let Some(socket) = &arguments.socket {
        config.socket.path = absolute(socket)?;
    }
    if let Some(address) = &arguments.tpm {
        config.set_tpm_address(address.clone());
    }
    Ok(config)
}

/// The configuration in that file, else in the default one, else the defaults.
///
/// # Errors
/// [`Failure`] if the file cannot be used.
pub fn stored(path: Option<&Path>) -> Result<Config, Failure> {
    let default = Path::new(DEFAULT_CONFIG_PATH);
    let load = |path: &Path| {
        Config::load(path).map_err(|fault| {
            Failure::new("the agent's configuration cannot be used").because(fault).next(
                "correct the file, or leave --config out for the defaults; docs/running.md has a whole configuration",
            )
        })
    };
    match path {
        Some(path) => load(path),
        None => match default.try_exists() {
            Ok(false) => Ok(Config::with_defaults()),
            // One that this user may not look for is not one that is not there: the defaults have other paths and no grants.
            Ok(true) | Err(_) => load(default),
        },
    }
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| Failure::new(format!("{} is no path", path.display())).because(error))
}

#[cfg(test)]
mod tests {
    use super::{Answer, Config, Path, check, providers, verify_audit};

    #[test]
    fn an_audit_log_is_verified() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audit.log");
        assert!(verify_audit(&file, None).is_err());
        std::fs::write(&file, "").unwrap();
        assert_eq!(verify_audit(&file, None).unwrap(), Answer::Yes);
        assert_eq!(verify_audit(&file, Some(&"11".repeat(32))).unwrap(), Answer::No);
        std::fs::write(&file, "forged\n").unwrap();
        assert_eq!(verify_audit(&file, None).unwrap(), Answer::No);
    }

    #[test]
    fn a_configuration_is_checked_before_it_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("agent.toml");
        let checked = |text: &str| {
            std::fs::write(&file, text).unwrap();
            check(Some(&file))
        };
        assert_eq!(checked("[providers.tpm]\naddress = \"device:/dev/null\"\n").unwrap(), Answer::Yes);
        assert_eq!(checked("[providers.tpm]\naddress = \"device:/dev/no-tpm\"\n").unwrap(), Answer::No);
        assert!(checked("stat = \"/var/lib/elsewhere\"\n").is_err());
    }

    #[test]
    fn providers_are_shown_as_clients_see_them() {
        let text = "[providers.tpm]\n[providers.second]\nkind = \"tpm\"\naddress = \"device:/dev/tpmrm1\"\n";
        let config = Config::from_toml(text, Path::new("agent.toml")).unwrap();
        let expected = "provider tpm (0x03, tpm, 1e4954a4-ff21-46d3-ab0c-661eeb667e1d): device:/dev/tpmrm0\n\
                        provider second (0x80, tpm, ";
        let shown = providers(&config);
        assert!(shown.starts_with(expected) && shown.ends_with("): device:/dev/tpmrm1\n"), "{shown}");
    }
}
