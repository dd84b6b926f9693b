//! `vouchsafe demo`: the whole line on this machine, and frauds that it refuses.

mod authority;
mod frauds;
mod line;
mod machine;
mod narrator;
mod openssl;
mod software;
mod stage;
mod token;

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use vouchsafe_agent::tpm::Address;

use crate::cli::Answer;
use crate::console;
use crate::failure::Failure;
use line::Line;
use narrator::Narrator;
use stage::Stage;

/// Show the whole line: a key is made in a TPM, attested by it together with the platform, and certified; then six
/// frauds are tried and refused.
///
/// Everything is real: a software TPM (or yours), the agent and the authority as processes, HTTPS between them, and
/// the system's openssl as a witness. It takes some seconds and leaves nothing behind.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Use this TPM for the honest device instead of a software TPM, such as device:/dev/tpmrm0; needs --ek-root, too.
    #[arg(long, value_name = "ADDRESS", requires = "ek_root")]
    tpm: Option<Address>,
    /// The certificates of the vendor of the TPM of --tpm (PEM): roots, and intermediates if there are any.
    #[arg(long, value_name = "FILE", requires = "tpm")]
    ek_root: Option<PathBuf>,
    /// Show the line of a PKCS #11 token instead (SoftHSM): an attesting key made in a ceremony of two witnesses, and what
    /// the word of software beside a module is worth under two policies.
    #[arg(long, conflicts_with_all = ["tpm", "ek_root"])]
    hsm: bool,
    /// A part of that story: have the token's attesting key sign this file, as whoever has the PIN can.
    #[arg(long, value_name = "FILE", hide = true, requires = "hsm")]
    sign_with_pin: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  vouchsafe demo
  vouchsafe demo --hsm
  vouchsafe demo --tpm device:/dev/tpmrm0 --ek-root vendor-chain.pem

Needs the programs swtpm, swtpm_setup and openssl
(apt install swtpm swtpm-tools openssl); with --hsm softhsm2-util and openssl
(apt install softhsm2 openssl).";

/// Shows.
///
/// # Errors
/// [`Failure`] if a step cannot be done, or comes out other than it must; everything is cleaned up then too.
pub fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    if let Some(file) = &arguments.sign_with_pin {
        return token::sign(file).map(|()| Answer::Yes);
    }
    let started = Instant::now();
    let stage = Stage::new()?;
    let shown = openssl::check().and_then(|()| show(arguments, &stage));
    let clean = stage.clear();
    // What the TPM has, openssl or the authority refused is worth nothing if Ctrl-C is why.
    if stage::is_interrupted() {
        clean?;
        return Err(Failure::new("interrupted").because("everything was stopped and removed"));
    }
    shown?;
    clean?;
    console::out(&format!(
        "\nEverything was stopped and removed. It took {:.1} s.\n\
         Read on: README.md for what to do with it, ARCHITECTURE.md for how it works.\n",
        started.elapsed().as_secs_f32()
    ))?;
    Ok(Answer::Yes)
}

fn show(arguments: &Arguments, stage: &Stage) -> Result<(), Failure> {
    let mut narrator = Narrator::new();
    if arguments.hsm {
        return token::show(stage, &mut narrator);
    }
    narrator.title("Vouchsafe: certificates only for keys that are proven to live in hardware")?;
    let own = arguments.tpm.clone().zip(arguments.ek_root.as_deref());
    let mut line = Line::set_up(stage, &mut narrator, own)?;
    let request = line.walk(&mut narrator)?;
    narrator.title("Six frauds, each from bytes that a TPM really signed")?;
    frauds::try_all(&mut line, &mut narrator, &request)
}
