//! `vouchsafe ceremony`: a scripted key ceremony around a module, and the record that witnesses sign.

#[cfg(feature = "agent")]
mod device;
mod folder;
mod key_file;
mod page;
mod record;
mod script;
mod sign;
mod signer;
mod start;
mod story;
mod verify;
mod witnesses;

use clap::{Args, Subcommand};
use vouchsafe_verifier::Rejection;

use crate::advice::Situation;
use crate::cli::Answer;
use crate::console;
use crate::failure::Failure;
use crate::reasons::{self, Reason};

/// Hold a key ceremony: follow a script, record it, have witnesses sign.
///
/// For modules whose maker vouches for no attesting key. M of N witnesses sign what was done around the module: what was
/// typed and answered, which module it was, its attesting key, and that this key signed the record itself. The result is
/// one file that can be verified years later with the witnesses' public keys alone, and a page to print.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    operation: Operation,
}

const EXAMPLES: &str = "\
A ceremony from beginning to end:
  vouchsafe ceremony start script.toml --work hsm-7
      begins; the script names witnesses and steps
  vouchsafe ceremony record hsm-7
      does the next step; once for each, or --all
  vouchsafe ceremony sign hsm-7 --key alice.key
      each witness, with a key of their own
  vouchsafe ceremony finish hsm-7 --out hsm-7.json
      also writes hsm-7.html, to print
  vouchsafe ceremony verify hsm-7.json --witnesses keys/ --threshold 2

docs/ceremony.md has a script for a PKCS #11 token.";

#[derive(Debug, Subcommand)]
enum Operation {
    Start(start::Arguments),
    Record(Box<record::Arguments>),
    Sign(Box<sign::Arguments>),
    Finish(sign::FinishArguments),
    Verify(verify::Arguments),
}

/// Does what was asked.
///
/// # Errors
/// [`Failure`] if it cannot be done at all; a refusal with a code is an answer.
pub fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    let outcome = match &arguments.operation {
        Operation::Start(arguments) => start::run(arguments),
        Operation::Record(arguments) => record::run(arguments),
        Operation::Sign(arguments) => sign::run(arguments),
        Operation::Finish(arguments) => sign::finish(arguments),
        Operation::Verify(arguments) => return verify::run(arguments),
    };
    match outcome {
        Ok(()) => Ok(Answer::Yes),
        Err(Stop::Failed(failure)) => Err(failure),
        Err(Stop::Refused(rejection)) => {
            console::out(&refusal(&rejection))?;
            Ok(Answer::No)
        }
    }
}

/// A refusal, as people read it.
fn refusal(rejection: &Rejection) -> String {
    let word = console::paint("REFUSED", console::Tone::Bad);
    format!("{word}\n{}", reasons::text(&[Reason::from(rejection)], Situation::Appraisal))
}

/// Why a verb stops: it could not be done, or was refused by name.
enum Stop {
    Failed(Failure),
    Refused(Box<Rejection>),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<Rejection> for Stop {
    fn from(rejection: Rejection) -> Self {
        Self::Refused(Box::new(rejection))
    }
}
