//! What people are told when something could not be done: what happened, why, and what to do next.

use std::fmt::Display;

use vouchsafe_evidence::text::printable;

use crate::console;

/// Exit code of a refusal.
pub const EXIT_REFUSED: u8 = 1;
/// Exit code of everything that is no answer: usage, unreadable files, unreachable services.
pub const EXIT_FAILED: u8 = 2;

/// Something that could not be done.
#[derive(Debug)]
pub struct Failure {
    what: String,
    why: Option<String>,
    next: Option<String>,
}

impl Failure {
    /// What could not be done.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), why: None, next: None }
    }

    /// Why: an error's text, its causes included where they add something.
    #[must_use]
    pub fn because(mut self, why: impl Display) -> Self {
        self.why = Some(why.to_string());
        self
    }

    /// What the reader can do about it.
    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// Tells it on standard error.
    pub fn report(&self) {
        let shown = |text: &str| text.lines().map(printable).collect::<Vec<_>>().join("\n       ");
        let why = self.why.as_deref().map(|why| format!(": {}", shown(why))).unwrap_or_default();
        console::err(&format!("vouchsafe: {}{why}\n", shown(&self.what)));
        if let Some(next) = &self.next {
            console::err(&format!("next: {}\n", shown(next)));
        }
    }
}
