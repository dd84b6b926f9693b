//! Telling the story: numbered steps, what was proven, what was refused; within 80 columns.

use std::io::IsTerminal;

use crate::console::{COLUMNS, Tone, hanging, out, paint, wrapped};
use crate::demo::stage;
use crate::failure::Failure;
use crate::reasons::{self, Reason};

/// Column of the text of a step.
const INDENT: usize = 4;

/// Tells.
#[derive(Debug)]
pub struct Narrator {
    step: usize,
    is_terminal: bool,
}

impl Narrator {
    /// A story that has not begun.
    pub fn new() -> Self {
        Self { step: 0, is_terminal: std::io::stdout().is_terminal() }
    }

    /// A heading over several steps.
    pub fn title(&self, text: &str) -> Result<(), Failure> {
        out(&format!("\n{}\n{}\n", paint(text, Tone::Strong), "─".repeat(text.chars().count().min(COLUMNS))))
    }

    /// Begins a step; stops the story if somebody asked for it.
    pub fn step(&mut self, text: &str) -> Result<(), Failure> {
        stage::stop_if_interrupted()?;
        self.step += 1;
        let number = format!("{:>2}. ", self.step);
        out(&format!("\n{}", paint(&hanging(&number, text, INDENT), Tone::Strong)))
    }

    /// Does something that may take more than a second, and says so meanwhile.
    pub fn during<T>(&self, text: &str, work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
        stage::stop_if_interrupted()?;
        if self.is_terminal {
            out(&format!("{:INDENT$}… {text}", ""))?;
            let done = work();
            // Back to the beginning of the line, which the result takes over.
            out("\r\u{1b}[K")?;
            return done;
        }
        out(&format!("{:INDENT$}… {text}\n", ""))?;
        work()
    }

    /// Something that came out as it should.
    pub fn done(&self, text: &str) -> Result<(), Failure> {
        self.marked(&paint("✓", Tone::Good), text)
    }

    /// Something that had to be refused, and was.
    pub fn refused(&self, by: &str, found: &[Reason]) -> Result<(), Failure> {
        self.done(&format!("{by} refuses:"))?;
        let text: String = found.iter().map(|reason| reasons::one(reason, INDENT + 2)).collect();
        out(&text)
    }

    /// What a step has proven.
    pub fn proven(&self, text: &str) -> Result<(), Failure> {
        out(&wrapped(&format!("Proven: {text}"), INDENT + 2))
    }

    /// What no step has proven.
    pub fn not_proven(&self, text: &str) -> Result<(), Failure> {
        self.marked(&paint("✗", Tone::Bad), text)
    }

    /// Something to know.
    pub fn note(&self, text: &str) -> Result<(), Failure> {
        out(&wrapped(text, INDENT + 2))
    }

    /// Lines that stand as they are.
    pub fn lines(&self, text: &str) -> Result<(), Failure> {
        let indented: String = text.lines().map(|line| format!("{:width$}{line}\n", "", width = INDENT + 2)).collect();
        out(&indented)
    }

    /// A command as it could be typed.
    pub fn command(&self, text: &str) -> Result<(), Failure> {
        out(&paint(&hanging(&format!("{:INDENT$}$ ", ""), text, INDENT + 2), Tone::Faint))
    }

    fn marked(&self, mark: &str, text: &str) -> Result<(), Failure> {
        let body = wrapped(text, INDENT + 2);
        let rest = body.get(INDENT + 2..).unwrap_or_default();
        out(&format!("{:INDENT$}{mark} {rest}", ""))
    }
}
