//! `vouchsafe doctor`: what stands between this machine and attested keys.

mod token;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use clap::Args;
use vouchsafe_agent::client::{Client, ClientFault, Endpoint};
use vouchsafe_agent::config::{Config, ModuleConfig, ProviderConfig, SocketConfig};
use vouchsafe_agent::grants::Accounts;
use vouchsafe_agent::tpm::{Address, Property, Tpm};
use vouchsafe_evidence::text::printable;
use vouchsafe_evidence::tpm::template::EkTemplate;

use crate::agent;
use crate::cli::Answer;
use crate::console;
use crate::failure::Failure;

/// Find what stands between this machine and attested keys, and say what to do.
///
/// Looks at the configuration, the state folder, the socket, the TPM, and the libraries and tokens of PKCS#11 modules. Nothing is
/// changed and no PIN is tried. A TPM that an agent holds is asked about through the agent.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The agent's configuration; defaults to /etc/vouchsafe/agent.toml if that is there.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  vouchsafe doctor
  vouchsafe doctor --config agent.toml";

/// First NV index of endorsement certificates.
const FIRST_CERTIFICATE: u32 = 0x01C0_0000;

const NO_ENDORSEMENT: &str = "the TPM holds no endorsement certificate";
const PROVISION_ENDORSEMENT: &str = "provision one, or let the authority enroll it by another bootstrap method";

/// What was found, in the order of looking.
#[derive(Debug, Default)]
struct Findings {
    lines: String,
    problems: usize,
}

impl Findings {
    fn good(&mut self, what: impl AsRef<str>) {
        self.lines.push_str(&format!("     ok: {}\n", what.as_ref()));
    }

    fn bad(&mut self, what: impl AsRef<str>, next: impl AsRef<str>) {
        self.problems = self.problems.saturating_add(1);
        self.lines.push_str(&format!("problem: {}\n   next: {}\n", what.as_ref(), next.as_ref()));
    }
}

/// Looks, and says what was found.
///
/// # Errors
/// [`Failure`] if the configuration cannot be read.
pub fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    let findings = examine(&agent::stored(arguments.config.as_deref())?);
    console::out(&findings.lines)?;
    Ok(if findings.problems == 0 { Answer::Yes } else { Answer::No })
}

fn examine(config: &Config) -> Findings {
    let mut findings = Findings::default();
    for finding in config.findings(&Accounts::system()) {
        findings.bad(finding.message, finding.next_step);
    }
    state(&mut findings, &config.state);
    for provider in &config.providers {
        match &provider.module {
            ModuleConfig::Pkcs11(settings) => token::examine(&mut findings, provider.name.as_str(), settings),
            ModuleConfig::Tpm(_) => {}
        }
    }
    let endpoint = Endpoint::at(&config.socket.path);
    match Client::connect(&endpoint) {
        Ok(mut client) => {
            socket(&mut findings, &config.socket);
            match client.ping() {
                Ok(_) => findings.good("an agent answers"),
                Err(fault) => {
                    findings.bad(format!("the agent does not answer as it should: {fault}"), fault.next_step());
                    return findings;
                }
            }
            for provider in &config.providers {
                if let Err(fault) = served(&mut findings, &endpoint, provider) {
                    findings.bad(format!("{}: {fault}", provider.name.as_str()), fault.next_step());
                }
            }
        }
        Err(fault) => {
            findings.bad(format!("no agent serves at {}", config.socket.path.display()), fault.next_step());
            for provider in &config.providers {
                if let ModuleConfig::Tpm(tpm) = &provider.module {
                    unserved(&mut findings, &tpm.address);
                }
            }
        }
    }
    findings
}

fn state(findings: &mut Findings, folder: &Path) {
    let path = folder.display();
    match std::fs::metadata(folder) {
        Ok(metadata) if !metadata.is_dir() => {
            findings.bad(format!("{path} is no folder"), "remove it, or name another one as `state`");
        }
        Ok(metadata) if metadata.permissions().mode() & 0o022 != 0 => {
            findings.bad(format!("others may write to {path}"), format!("chmod 700 {path}"));
        }
        Ok(_) => findings.good(format!("the state folder {path}")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            findings.good(format!("the state folder {path} will be made"));
        }
        Err(error) => findings.bad(format!("{path}: {error}"), "run this as the user who runs the agent"),
    }
}

/// Whether the socket is as open as the configuration says, and to whom.
fn socket(findings: &mut Findings, config: &SocketConfig) {
    let path = config.path.display();
    let metadata = match std::fs::metadata(&config.path) {
        Ok(metadata) => metadata,
        Err(error) => return findings.bad(format!("{path}: {error}"), "run this as the user who runs the agent"),
    };
    let mode = metadata.permissions().mode() & 0o777;
    if mode != config.mode {
        findings.bad(
            format!("the socket {path} has mode {mode:04o}, the configuration says {:04o}", config.mode),
            "restart the agent; where a socket unit makes it, set SocketMode there",
        );
    }
    let group = config.group.name();
    match Accounts::system().gid(group) {
        Some(gid) if gid != metadata.gid() => findings.bad(
            format!("the socket {path} does not belong to the group {group}"),
            "run the agent as a user who may give it to that group, or set SocketGroup in its socket unit",
        ),
        Some(_) => findings.good(format!("the socket {path}, mode {mode:04o}, of the group {group}")),
        // The configuration's own findings tell of a group that it names and that is not there.
        None => findings.good(format!("the socket {path}, mode {mode:04o}")),
    }
}

/// Random octets that a TPM is asked for, to see whether it answers.
const PROBE_OCTETS: u64 = 16;

/// What a running agent says of one of its modules.
fn served(findings: &mut Findings, endpoint: &Endpoint, provider: &ProviderConfig) -> Result<(), ClientFault> {
    let name = provider.name.as_str();
    let mut client = Client::connect(endpoint)?.with_provider_named(Some(name))?;
    match &provider.module {
        // All that follows an agent can say from memory, of a TPM that is gone, too.
        ModuleConfig::Tpm(_) => drop(client.random(PROBE_OCTETS)?),
        // Its token was asked already, where the configuration's modules were looked at.
        ModuleConfig::Pkcs11(_) => {}
    }
    let mechanisms: Vec<String> = client.list_mechanisms()?.into_iter().map(|mechanism| mechanism.name).collect();
    findings.good(format!("{name} attests by {}", printable(&mechanisms.join(", "))));
    if mechanisms.iter().any(|name| name == "tpm-certify") && !mechanisms.iter().any(|name| name == "tpm-certify-x509")
    {
        findings.good(format!("{name}: the TPM does not make certificates; tpm-certify does not need it to"));
    }
    let keys = client.list_attesting_keys()?;
    let machine: Vec<_> = keys.iter().filter(|key| !key.is_own).collect();
    if machine.is_empty() {
        findings.bad(
            format!("{name}: this user sees none of the machine's attesting keys"),
            "ask an administrator for a grant in agent.toml, or to be added to the socket's group",
        );
        return Ok(());
    }
    if machine.iter().all(|key| key.certificates.is_empty()) {
        findings.bad(
            format!("{name}: no attesting key of the machine has a certificate"),
            "run `vouchsafe enroll ak --device NAME`",
        );
    } else {
        findings.good(format!("{name}: an attesting key has a certificate"));
    }
    match &provider.module {
        ModuleConfig::Tpm(_) => match client.describe_endorsement("")?.certificates.len() {
            0 => findings.bad(format!("{name}: {NO_ENDORSEMENT}"), PROVISION_ENDORSEMENT),
            count => findings.good(format!("{name}: {count} of its endorsement keys have certificates")),
        },
        // Its library and token were looked at above.
        ModuleConfig::Pkcs11(_) => {}
    }
    Ok(())
}

/// What a TPM that no agent holds says by itself.
fn unserved(findings: &mut Findings, address: &Address) {
    let mut tpm = match Tpm::open(address) {
        Ok(tpm) => tpm,
        Err(fault) => return findings.bad(format!("the TPM does not answer: {fault}"), fault.next_step()),
    };
    let asked = (|| {
        let manufacturer = tpm.property(Property::Manufacturer)?.unwrap_or_default().to_be_bytes();
        Ok::<_, vouchsafe_agent::provider::Fault>((
            manufacturer,
            tpm.handles(FIRST_CERTIFICATE)?,
            tpm.has_certify_x509()?,
        ))
    })();
    let (manufacturer, indices, certifies) = match asked {
        Ok(asked) => asked,
        Err(fault) => return findings.bad(format!("the TPM does not answer: {fault}"), fault.next_step()),
    };
    let manufacturer = String::from_utf8_lossy(&manufacturer).trim_end_matches('\0').to_owned();
    findings.good(format!("a TPM 2.0 of {} at {address}", printable(&manufacturer)));
    let certified: Vec<&str> = EkTemplate::ALL
        .into_iter()
        .filter(|template| indices.contains(&template.certificate_index()))
        .map(EkTemplate::label)
        .collect();
    if certified.is_empty() {
        findings.bad(NO_ENDORSEMENT, PROVISION_ENDORSEMENT);
    } else {
        findings.good(format!(
            "endorsement certificates for {} (templates of its keys, as the TCG EK Credential Profile names them)",
            certified.join(", ")
        ));
    }
    findings.good(if certifies {
        "the TPM makes certificates (TPM2_CertifyX509)"
    } else {
        "the TPM does not make certificates; tpm-certify does not need it to"
    });
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use vouchsafe_agent::Agent;
    use vouchsafe_agent::config::Config;
    use vouchsafe_agent::swtpm::{Options, Swtpm};

    use super::examine;

    #[test]
    fn what_is_missing_is_named_with_and_without_an_agent() {
        let tpm = Swtpm::start(&Options::default()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::with_defaults();
        config.state = folder.path().join("state");
        config.socket.path = folder.path().join("s");
        config.set_tpm_address(tpm.address());

        let found = examine(&config);
        assert_eq!(found.problems, 1, "{}", found.lines);
        for words in ["will be made", "no agent serves", "a TPM 2.0 of IBM", "for L-1, H-3", "CertifyX509"] {
            assert!(found.lines.contains(words), "{words}: {}", found.lines);
        }

        let agent = Agent::start(config.clone()).unwrap();
        let found = examine(&config);
        assert_eq!(found.problems, 1, "{}", found.lines);
        for words in [
            "an agent answers",
            "tpm attests by tpm-certify, tpm-certify-x509, tpm-activate-credential, tpm-quote",
            "tpm: 2 of its endorsement keys have certificates",
            "mode 0666",
            "vouchsafe enroll ak",
        ] {
            assert!(found.lines.contains(words), "{words}: {}", found.lines);
        }
        // A socket that somebody closed to the others.
        std::fs::set_permissions(&config.socket.path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let found = examine(&config);
        assert_eq!(found.problems, 2, "{}", found.lines);
        assert!(found.lines.contains("has mode 0600, the configuration says 0666"), "{}", found.lines);
        // An agent that has lost its TPM still answers.
        drop(tpm);
        let found = examine(&config);
        assert_eq!(found.problems, 2, "{}", found.lines);
        assert!(found.lines.contains("an agent answers") && !found.lines.contains("attests by"), "{}", found.lines);
        agent.stop();

        let found = examine(&config);
        assert!(found.lines.contains("the TPM does not answer"), "{}", found.lines);
    }
}
