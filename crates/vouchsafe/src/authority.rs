//! `vouchsafe authority`: the certification side.

mod attesting_keys;
mod inventory;
mod issuers;
mod revoke;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{Args, Subcommand, ValueEnum};
use vouchsafe_authority::config::{ConfigError, DEFAULT_CONFIG_PATH};
use vouchsafe_authority::{
    Administration, AdministrationError, Authority, Config, Error, InitError, Role, StartError, SystemClock, init,
    trust,
};
use vouchsafe_verifier::hex;

use crate::cli::Answer;
use crate::failure::Failure;
use crate::files::read_small_text;
use crate::random::random;
use crate::{console, logging};

/// Enroll attestation keys, appraise evidence and issue certificates, on HTTPS.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    operation: Operation,
}

const EXAMPLES: &str = "\
Examples:
  vouchsafe authority token factory --may enroll,issue >> authority.toml
  vouchsafe authority init --config authority.toml --state /srv/authority
  cp vendor-root.pem /srv/authority/trust/tpm-ek/
  vouchsafe authority serve --config authority.toml --state /srv/authority

docs/running.md has a whole configuration.";

/// What to write where there is no configuration that could be used.
const SMALLEST_CONFIGURATION: &str = "the smallest configuration is these two lines; docs/running.md has a whole one\n\
     [tls]\n\
     self_signed = true";

#[derive(Debug, Subcommand)]
enum Operation {
    /// Create the authority's keys, its certificates and its trust folder.
    Init(Installation),
    /// Serve until SIGTERM or SIGINT; the first line on standard output is the URL.
    Serve(Installation),
    /// The attesting keys: list, show, revoke, replace, share.
    AttestingKeys(attesting_keys::Arguments),
    /// Revoke certificates: one by its serial number, or all of a key.
    Revoke(revoke::Arguments),
    /// The list of modules: import, list, remove.
    Inventory(inventory::Arguments),
    /// List the CAs that certificates come from, and how long each is valid.
    Issuers(issuers::ListArguments),
    /// A new CA that certificates come from: new, link.
    Issuer(issuers::Arguments),
    /// Make a token for an account: the account goes to standard output, the token to standard error.
    Token(Account),
}

#[derive(Debug, Args)]
struct Installation {
    /// The configuration.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG_PATH)]
    config: PathBuf,
    /// The state folder, in place of the configured one.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Account {
    /// The account's name.
    name: String,
    /// What its holder may do.
    #[arg(long, value_delimiter = ',', default_values_t = [Right::Enroll, Right::Issue])]
    may: Vec<Right>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Right {
    Administer,
    Appraise,
    Enroll,
    Issue,
    Monitor,
    Register,
}

impl std::fmt::Display for Right {
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

/// Does what was asked of the authority.
///
/// # Errors
/// [`Failure`] if it cannot be done.
pub fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    match &arguments.operation {
        Operation::AttestingKeys(arguments) => return attesting_keys::run(arguments),
        Operation::Inventory(arguments) => return inventory::run(arguments),
        Operation::Revoke(arguments) => return revoke::run(arguments),
        Operation::Issuers(arguments) => return issuers::list(arguments),
        Operation::Issuer(arguments) => return issuers::run(arguments),
        Operation::Init(installation) => initialize(installation)?,
        Operation::Serve(installation) => serve(installation)?,
        Operation::Token(account) => token(account)?,
    }
    Ok(Answer::Yes)
}

fn configuration(installation: &Installation) -> Result<Config, Failure> {
    let name = installation.config.display();
    let text = read_small_text(&installation.config).map_err(|failure| {
        match (installation.config.exists(), installation.config == Path::new(DEFAULT_CONFIG_PATH)) {
            (true, _) => failure,
            (false, true) => failure.next(format!("name it with `--config FILE`; {SMALLEST_CONFIGURATION}")),
            (false, false) => failure.next(SMALLEST_CONFIGURATION),
        }
    })?;
    let config = Config::from_toml(&text).map_err(|error| {
        let lacks_tls = text.parse::<toml::Table>().is_ok_and(|table| !table.contains_key("tls"));
        Failure::new(format!("the configuration {name} cannot be used")).because(causes(&error)).next(
            if lacks_tls || matches!(error, ConfigError::Tls) {
                SMALLEST_CONFIGURATION
            } else {
                "correct the file; docs/running.md has a whole configuration"
            },
        )
    })?;
    Ok(match &installation.state {
        Some(state) => config.with_state(state.clone()),
        None => config,
    })
}

/// The installation, to be administered; its server may run.
fn administration(installation: &Installation) -> Result<Administration, Failure> {
    Administration::open(&configuration(installation)?, Arc::new(SystemClock))
        .map_err(|error| refused("the authority cannot be administered", &error))
}

/// What an administrator was refused, with every violation.
fn refused(what: &str, error: &AdministrationError) -> Failure {
    let why = match error {
        AdministrationError::Refused(Error::Rejected(violations)) => violations
            .iter()
            .map(|violation| format!("{} [{}]", violation.message, violation.code))
            .collect::<Vec<_>>()
            .join("\n"),
        other => causes(other),
    };
    Failure::new(what).because(why)
}

/// An error with what caused it.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = cause.source();
    }
    text
}

fn initialize(installation: &Installation) -> Result<(), Failure> {
    let config = configuration(installation)?;
    let made = init(&config, &SystemClock).map_err(|error| {
        Failure::new("the authority cannot be created")
            .because(causes(&error))
            .next("an authority that exists is never overwritten; choose another --state for another one")
    })?;
    let mut text = format!(
        "The authority lives in {}.\n\n\
         Give clients the root of its TLS certificate:\n  {}\n",
        config.state().display(),
        made.tls_root.display(),
    );
    if let Some(root) = &made.issuing_root {
        text += &format!("Verify certificates that it issues with:\n  {}\n", root.display());
    }
    match (config.role(), &made.attestation_root) {
        (Role::Enrolment, Some(root)) => {
            text += "Give the issuing authority the root of the pseudonyms, for its folder trust/tpm-certify-x509:\n";
            text += &format!("  {}\n", root.display());
        }
        (Role::Issuing, _) => {
            text += "Put the root of the enrolment authority's pseudonyms into (it trusts none yet):\n";
            text += &format!("  {}\n", config.trust().join("tpm-certify-x509").display());
        }
        (Role::Both | Role::Enrolment, _) => {}
    }
    if let Some(folder) = &made.ek_trust {
        text += &format!(
            "Put the roots of TPM makers into (it trusts none yet):\n  {}\n\
             The root NAME.pem of software or virtual TPMs needs a file NAME.toml beside it:\n  virtual = true\n",
            folder.display()
        );
    }
    let state = installation.state.as_ref().map(|state| format!(" --state {}", state.display())).unwrap_or_default();
    console::out(&format!(
        "{text}\nnext: vouchsafe authority serve --config {}{state}\n",
        installation.config.display()
    ))
}

fn serve(installation: &Installation) -> Result<(), Failure> {
    let config = configuration(installation)?;
    logging::start();
    let system = |error| Failure::new("the authority cannot start").because(error);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(system)?;
    runtime.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate()).map_err(system)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(system)?;
        let source = trust::folder(config.trust().to_owned());
        let running = Authority::start(config, source, Arc::new(SystemClock)).await.map_err(|error| {
            let failure = Failure::new("the authority cannot start").because(causes(&error));
            match start_hint(&error) {
                Some(hint) => failure.next(hint),
                None => failure,
            }
        })?;
        console::out(&format!("https://{}\n", running.address()))?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        running.stop().await;
        Ok(())
    })
}

/// What to do about an authority that does not start, where its error does not say that by itself.
const fn start_hint(error: &StartError) -> Option<&'static str> {
    match error {
        StartError::Init(InitError::NotInitialized { .. }) => {
            Some("`vouchsafe authority init` with the same --config and --state creates one")
        }
        StartError::Listen { .. } => Some(
            "stop what listens there (`ss -ltnp` shows it), or set another address as `listen` in the configuration",
        ),
        StartError::Policy { .. } | StartError::PolicyFile { .. } => Some(
            "set `policy` in the configuration to the name of a policy that comes with the program, or to a policy's file",
        ),
        _ => None,
    }
}

fn token(account: &Account) -> Result<(), Failure> {
    let token = URL_SAFE_NO_PAD.encode(random::<32>()?);
    let may: Vec<String> = account.may.iter().map(|right| format!("\"{right}\"")).collect();
    console::out(&format!(
        "\n[[accounts]]\nname = {}\ntoken_sha256 = \"{}\"\nmay = [{}]\n",
        toml::Value::String(account.name.clone()),
        hex::encode(digest(&SHA256, token.as_bytes()).as_ref()),
        may.join(", "),
    ))?;
    console::err(&format!("token: {token}\nnext: give it to its holder; it is not kept anywhere\n"));
    Ok(())
}
