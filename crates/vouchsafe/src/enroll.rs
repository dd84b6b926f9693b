//! `vouchsafe enroll`: an attestation key, or a key with its certificate, in one command that can be run again.

mod ak;
mod attempt;
mod host;
mod key;
mod renewal;
mod voucher;

pub use ak::{AkEnrollment, enroll_ak};
pub use attempt::Attempts;
pub use key::{KeyEnrollment, enroll_key};
pub use renewal::renew_ak;
pub use voucher::Voucher;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::advice::Situation;
use crate::agent_socket::AgentSocket;
use crate::attestation::Choice;
use crate::authority_client::{AuthorityAddress, AuthorityClient, NoAnswer};
use crate::cli::Answer;
use crate::console;
use crate::csr::Wanted;
use crate::failure::Failure;
use crate::key_kind::KeyKind;

/// Enroll this device's attestation key, or a key of yours, with an authority.
///
/// Each is one command that goes from nothing to certificates. What an interrupted run has reached is kept, and the
/// same command goes on from there.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

const EXAMPLES: &str = "\
Examples:
  vouchsafe enroll ak --device rack7-node3 --authority https://ca.example:8443 \\
      --ca tls-root.crt --token-file token
  vouchsafe enroll ak --device hsm-1 --provider token --method ceremony \\
      --transcript ceremony.json
  vouchsafe enroll renewal --device rack7-node3
  vouchsafe enroll key web --platform --out web.pem --authority \\
      https://ca.example:8443 --ca tls-root.crt --token-file token

VOUCHSAFE_AUTHORITY, VOUCHSAFE_CA and VOUCHSAFE_TOKEN_FILE stand for the last
three options.";

#[derive(Debug, Subcommand)]
enum What {
    /// Have the attestation key certified: the authority challenges the TPM, the TPM answers.
    Ak(AkArguments),
    /// Have the attestation key's certificates renewed, on its own word.
    Renewal(RenewalArguments),
    /// Make a key unless it is there, have it attested, and have it certified.
    Key(KeyArguments),
}

/// What both need.
#[derive(Debug, Args)]
struct Common {
    #[command(flatten)]
    authority: AuthorityAddress,
    #[command(flatten)]
    agent: AgentSocket,
    /// Where unfinished attempts are kept; defaults to $XDG_STATE_HOME/vouchsafe/enroll, for root to
    /// /var/lib/vouchsafe/enroll.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct AkArguments {
    /// The name of this device in the account's namespace.
    #[arg(long, value_name = "NAME")]
    device: String,
    /// The attestation key; the administrator's default, if it is not given.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    attesting_key: String,
    /// The PCRs whose values are recorded as the device's baseline.
    #[arg(long, value_name = "BANK:N,N..", default_value = Choice::default_pcrs())]
    pcrs: String,
    /// Record no baseline of PCR values.
    #[arg(long)]
    no_baseline: bool,
    #[command(flatten)]
    voucher: Voucher,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct RenewalArguments {
    /// The name under which this device is enrolled.
    #[arg(long, value_name = "NAME")]
    device: String,
    /// The attestation key; the administrator's default, if it is not given.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    attesting_key: String,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct KeyArguments {
    /// The key's name.
    name: String,
    /// Its kind, if it is to be made.
    #[arg(long, value_enum, default_value_t = KeyKind::EccP256)]
    kind: KeyKind,
    /// The authority's profile.
    #[arg(long, value_name = "NAME", default_value = "device")]
    profile: String,
    /// The subject to ask for, RFC 4514 text. Most profiles name certificates themselves.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    subject: String,
    /// A subject alternative name to ask for: dns:, email:, uri: or ip: and the value. May be repeated.
    #[arg(long, value_name = "KIND:VALUE")]
    san: Vec<String>,
    #[command(flatten)]
    choice: Choice,
    /// Where the certificate goes, with the chain below the root (PEM).
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    common: Common,
}

/// Enrolls.
///
/// # Errors
/// [`Failure`] if something cannot be asked; a refusal is an answer.
pub fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    let (answered, situation) = match &arguments.what {
        What::Ak(ak) => (run_ak(ak), Situation::AkEnrollment),
        What::Renewal(renewal) => (run_renewal(renewal), Situation::AkEnrollment),
        What::Key(key) => (run_key(key), Situation::Appraisal),
    };
    match answered {
        Ok(()) => Ok(Answer::Yes),
        Err(NoAnswer::Failed(failure)) => Err(failure),
        Err(NoAnswer::Refused(problem)) => {
            console::err(&format!("refused: {}", problem.to_text(situation)));
            Ok(Answer::No)
        }
    }
}

fn run_ak(arguments: &AkArguments) -> Result<(), NoAnswer> {
    let authority = AuthorityClient::new(&arguments.common.authority)?;
    let mut agent = arguments.common.agent.connect()?;
    let enrollment = AkEnrollment {
        device: arguments.device.clone(),
        attesting_key: arguments.attesting_key.clone(),
        baseline: (!arguments.no_baseline).then(|| arguments.pcrs.clone()),
        voucher: arguments.voucher.clone(),
    };
    let attempts = Attempts::new(arguments.common.state.as_deref())?;
    let device = enroll_ak(&mut agent, &authority, &attempts, &enrollment, &mut progress)?;
    console::out(&format!("Enrolled. Verdicts name this device {device}.\n"))?;
    Ok(())
}

fn run_renewal(arguments: &RenewalArguments) -> Result<(), NoAnswer> {
    let authority = AuthorityClient::new(&arguments.common.authority)?;
    let mut agent = arguments.common.agent.connect()?;
    let enrollment = AkEnrollment {
        device: arguments.device.clone(),
        attesting_key: arguments.attesting_key.clone(),
        baseline: None,
        voucher: Voucher::default(),
    };
    let device = renew_ak(&mut agent, &authority, &enrollment, &mut progress)?;
    console::out(&format!("Renewed. Verdicts name this device {device}.\n"))?;
    Ok(())
}

fn run_key(arguments: &KeyArguments) -> Result<(), NoAnswer> {
    let authority = AuthorityClient::new(&arguments.common.authority)?;
    let mut agent = arguments.common.agent.connect()?;
    let enrollment = KeyEnrollment {
        name: arguments.name.clone(),
        kind: arguments.kind,
        profile: arguments.profile.clone(),
        wanted: Wanted::from_text(&arguments.subject, &arguments.san)?,
        choice: arguments.choice.clone(),
    };
    let attempts = Attempts::new(arguments.common.state.as_deref())?;
    let chain = enroll_key(&mut agent, &authority, &attempts, &enrollment, &mut progress)?;
    crate::files::write(&arguments.out, crate::key::certificates_pem(&chain).as_bytes())?;
    attempts.forget(&enrollment.attempt_name(&authority))?;
    console::out(&format!("Certified: {}\n", arguments.out.display()))?;
    Ok(())
}

/// Tells what is being done.
fn progress(step: &str) {
    console::err(&format!("{step}\n"));
}
