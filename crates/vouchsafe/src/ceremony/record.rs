//! `vouchsafe ceremony record`: the next step of the script.

mod answer;
mod command;

pub use answer::attachment;

use std::path::PathBuf;

use clap::Args;
use vouchsafe_evidence::ceremony::{PlannedStep, Step, Task, Transcript};
use vouchsafe_evidence::text::printable;
use vouchsafe_verifier::Rejection;
use vouchsafe_verifier::ceremony::codes;

use super::Stop;
use super::folder::{Folder, Machine, RECORD, now};
use crate::console::{self, Tone, paint, wrapped};
use crate::failure::Failure;

/// Do the next step of the script and record it
///
/// Asks on the terminal what it was not told by an option. Nothing is recorded of a step that
/// was not done.
#[derive(Debug, Args)]
#[command(after_help = KINDS)]
pub struct Arguments {
    /// The ceremony's folder
    work: PathBuf,
    /// Go on until the last step is done
    #[arg(long, conflicts_with_all = ["note", "answer", "file"])]
    all: bool,
    /// Who does it; the script's operator, if it is not said
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// What was not as planned
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    note: String,
    #[command(flatten)]
    given: answer::Given,
    #[command(flatten)]
    machine: Machine,
}

const KINDS: &str = "\
Kinds of steps, and the options that answer them:
  say, ask   --answer TEXT
  secret     nothing: the answer goes where it is wanted, and is not recorded
  run        nothing; --note if the command fails and the ceremony goes on
  attach     --file FILE
  module     --vendor, --model, --serial, --firmware
  key        --key FILE (public), --family
  prove      --signature FILE over WORK/proof.message, or --sign-with KEY,
             --evidence FILE or --attest FILE and --tpm-signature FILE over
             WORK/proof.nonce
  key and prove also by --agent, where the agent has the attesting key";

/// Records.
pub fn run(arguments: &Arguments) -> Result<(), Stop> {
    let folder = Folder::open(&arguments.work);
    let _lock = folder.lock()?;
    loop {
        let mut transcript = folder.draft()?;
        let Some(planned) = transcript.next_planned().cloned() else {
            return Err(Failure::new("the last step of this ceremony is done")
                .next(format!("vouchsafe ceremony sign {} --key FILE", folder.name()))
                .into());
        };
        let host = arguments.machine.host(&transcript.head.id)?;
        // Before anything is run or asked: what would be refused afterwards is not done.
        if host != transcript.head.host {
            return Err(Rejection::plain(codes::OTHER_MACHINE).into());
        }
        check_clock(&transcript)?;
        announce(&transcript, &planned)?;
        let Some(record) = answer::take(&arguments.given, &arguments.note, &folder, &transcript, &planned)? else {
            return Ok(());
        };
        let time = now()?;
        transcript.steps.push(Step {
            number: u64::try_from(transcript.steps.len()).unwrap_or(u64::MAX).saturating_add(1),
            previous: transcript.last_digest(),
            time: time.clone(),
            host,
            by: arguments.by.clone().unwrap_or_else(|| transcript.head.operator.clone()),
            note: arguments.note.clone(),
            record,
        });
        let is_last = transcript.next_planned().is_none();
        transcript.ended = is_last.then_some(time);
        folder.keep(&transcript)?;
        if is_last {
            return Ok(console::out(&format!(
                "\nThe last step is done. What witnesses sign is in {}.\n\n\
                 next: vouchsafe ceremony sign {} --key FILE (each witness)\n",
                folder.file(RECORD).display(),
                folder.name(),
            ))?);
        }
        if !arguments.all {
            return Ok(console::out(&format!("Recorded.\n\nnext: vouchsafe ceremony record {}\n", folder.name()))?);
        }
    }
}

fn check_clock(transcript: &Transcript) -> Result<(), Stop> {
    let (now, latest) = (now()?, transcript.latest());
    if now.unix_seconds() < latest.unix_seconds() {
        let message = format!("It is {now} by this machine's clock, and the last step was recorded at {latest}.");
        return Err(Rejection::new(codes::CLOCK, message).into());
    }
    Ok(())
}

fn announce(transcript: &Transcript, planned: &PlannedStep) -> Result<(), Failure> {
    let number = transcript.steps.len().saturating_add(1);
    let head = format!("Step {number} of {}: {}", transcript.head.plan.len(), planned.task.label());
    let mut text = format!("\n{}\n", paint(&head, Tone::Strong));
    if !planned.prompt.is_empty() {
        text.push_str(&wrapped(&printable(&planned.prompt), 2));
    }
    if let Task::Run { command } = &planned.task {
        text.push_str(&wrapped(&format!("$ {}", printable(&command.join(" "))), 2));
    }
    console::out(&text)
}
