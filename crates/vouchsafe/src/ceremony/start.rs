//! `vouchsafe ceremony start`.

use std::path::PathBuf;

use clap::Args;
use vouchsafe_evidence::ceremony::{DIGEST_OCTETS, Head, Transcript};
use vouchsafe_evidence::text::printable;

use super::Stop;
use super::folder::{Folder, Machine, now};
use super::script::Script;
use crate::console;
use crate::random::random;

/// Begin a ceremony by its script
///
/// From here on it stays on this machine.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The script (TOML)
    script: PathBuf,
    /// The folder in which it goes on; it must not exist yet
    #[arg(long, value_name = "DIR")]
    work: PathBuf,
    #[command(flatten)]
    machine: Machine,
}

/// Begins.
pub fn run(arguments: &Arguments) -> Result<(), Stop> {
    let script = Script::read(&arguments.script)?;
    let id = random::<DIGEST_OCTETS>()?;
    let transcript = Transcript {
        head: Head {
            id,
            title: script.title,
            purpose: script.purpose,
            operator: script.operator,
            device: script.device,
            host: arguments.machine.host(&id)?,
            threshold: script.threshold,
            witnesses: script.witnesses,
            script: script.sha256,
            plan: script.plan,
            started: now()?,
        },
        steps: Vec::new(),
        ended: None,
    };
    // What is wrong with the script is said before there is a folder.
    Transcript::parse(transcript.to_json().as_bytes()).map_err(vouchsafe_verifier::ceremony::unreadable)?;
    vouchsafe_verifier::ceremony::check_so_far(&transcript)?;
    let folder = Folder::create(&arguments.work)?;
    folder.keep(&transcript)?;
    let head = &transcript.head;
    console::out(&format!(
        "{}\n{} steps; {} of {} witnesses must sign.\n\nnext: vouchsafe ceremony record {}\n",
        printable(&head.title),
        head.plan.len(),
        head.threshold,
        head.witnesses.len(),
        folder.name(),
    ))?;
    Ok(())
}
