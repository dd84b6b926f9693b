//! A command of a script: shown while it speaks, since it may ask on the terminal, and recorded.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;

use vouchsafe_evidence::ceremony::{Record, TEXT_OCTETS};
use vouchsafe_evidence::text::printable;

use crate::console;
use crate::failure::Failure;

/// Octets that are read at once.
const CHUNK_OCTETS: usize = 4096;
/// What says that a command said more.
const CUT: &str = "\n[cut here]\n";

/// Runs a command without a shell, on the terminal's own input.
///
/// # Errors
/// [`Failure`] if it cannot be run, or fails and no `note` says what to make of that: then nothing is recorded.
pub fn run(command: &[String], note: &str) -> Result<Record, Failure> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(Failure::new("the step has no command"));
    };
    let failed = |error: std::io::Error| {
        Failure::new(format!("{program} cannot be run"))
            .because(error)
            .next("install it, or end this ceremony and correct the script; nothing was recorded")
    };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::inherit())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let (output, errors) = (child.stdout.take(), child.stderr.take());
    let (answered, complaints) = thread::scope(|scope| {
        let complaints = scope.spawn(|| errors.map(follow).unwrap_or_default());
        let answered = output.map(follow).unwrap_or_default();
        (answered, complaints.join().unwrap_or_default())
    });
    let status = exit_code(child.wait().map_err(failed)?);
    if status != 0 && note.is_empty() {
        return Err(Failure::new(format!("{program} ended with {status}"))
            .because("nothing was recorded")
            .next("run the step again, or record it with --note and what the witnesses make of it"));
    }
    let said = [String::from_utf8_lossy(&answered), String::from_utf8_lossy(&complaints)].concat();
    Ok(Record::Ran { status, answered: bounded(&said) })
}

/// Shows what comes, and keeps as much of it as a record has room for and one octet more.
fn follow(mut stream: impl Read) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut chunk = [0; CHUNK_OCTETS];
    // A stream that breaks off is at its end: the exit code tells whether something went wrong.
    while let Ok(length @ 1..) = stream.read(&mut chunk) {
        let read = chunk.get(..length).unwrap_or_default();
        let text = String::from_utf8_lossy(read);
        let shown: Vec<String> = text.split('\n').map(printable).collect();
        // Whoever looks at the record later sees it all the same.
        let _ = console::out(&shown.join("\n"));
        let room = TEXT_OCTETS.saturating_add(1).saturating_sub(kept.len());
        kept.extend(read.iter().take(room));
    }
    kept
}

/// The exit code; 256 and the number of the signal that ended it.
fn exit_code(status: ExitStatus) -> u64 {
    let code = status.code().or_else(|| status.signal().map(|signal| signal.saturating_add(256)));
    code.and_then(|code| u64::try_from(code).ok()).unwrap_or(u64::MAX)
}

/// As much of a text as a record has room for.
fn bounded(text: &str) -> String {
    if text.len() <= TEXT_OCTETS {
        return text.to_owned();
    }
    let room = TEXT_OCTETS.saturating_sub(CUT.len());
    let end = (0..=room).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.get(..end).unwrap_or_default().to_owned() + CUT
}

#[cfg(test)]
mod tests {
    use super::{CUT, bounded, run};
    use vouchsafe_evidence::ceremony::{Record, TEXT_OCTETS};

    fn shell(script: &str, note: &str) -> Option<(u64, String)> {
        let command = ["sh", "-c", script].map(str::to_owned);
        match run(&command, note) {
            Ok(Record::Ran { status, answered }) => Some((status, answered)),
            _ => None,
        }
    }

    #[test]
    fn both_streams_and_the_end_are_recorded() {
        assert_eq!(shell("echo two >&2; echo one", ""), Some((0, "one\ntwo\n".to_owned())));
        assert_eq!(shell("exit 3", ""), None);
        assert_eq!(shell("exit 3", "all agree"), Some((3, String::new())));
        assert_eq!(shell("kill -9 $$", "all agree"), Some((256 + 9, String::new())));
    }

    #[test]
    fn a_command_that_never_ends_talking_is_cut_visibly() {
        let (status, answered) = shell("yes | head -c 300000", "").unwrap();
        assert!(status == 0 && answered.len() <= TEXT_OCTETS && answered.ends_with(CUT));
        assert!(bounded(&"\u{20ac}".repeat(TEXT_OCTETS)).len() <= TEXT_OCTETS);
    }
}
