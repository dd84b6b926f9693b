//! What a script says will be done.

use super::encode::{Object, string};
use super::read::Members;
use super::{COMMAND_WORDS, NAME_OCTETS};
use crate::json::Value;
use crate::{Malformed, Reason};

const PRODUCTION: &str = "planned step of a ceremony";

/// What kind of step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// `ask`: somebody answers a question.
    Ask,
    /// `attach`: a file becomes part of the record by its digest.
    Attach,
    /// `key`: the public part of the attesting key is recorded.
    Key,
    /// `module`: the module's maker, model, serial number and firmware are recorded.
    Module,
    /// `prove`: the attesting key proves that the module holds it.
    Prove,
    /// `run`: a command runs, and what it says is recorded.
    Run {
        /// Program and arguments; no shell reads them.
        command: Vec<String>,
    },
    /// `say`: something is read out or done by hand, and confirmed.
    Say,
    /// `secret`: somebody answers a question, and the record says only that it was answered.
    Secret,
}

impl Task {
    /// As scripts and transcripts write it.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Ask => "ask",
            Self::Attach => "attach",
            Self::Key => "key",
            Self::Module => "module",
            Self::Prove => "prove",
            Self::Run { .. } => "run",
            Self::Say => "say",
            Self::Secret => "secret",
        }
    }
}

/// One step of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedStep {
    /// What kind.
    pub task: Task,
    /// What people are told to do or asked.
    pub prompt: String,
}

impl PlannedStep {
    pub(super) fn to_json(&self) -> String {
        let object = Object::new().text("kind", self.task.label()).text("prompt", &self.prompt);
        match &self.task {
            Task::Run { command } => object.list("command", command.iter().map(|word| string(word))).end(),
            Task::Ask | Task::Attach | Task::Key | Task::Module | Task::Prove | Task::Say | Task::Secret => {
                object.end()
            }
        }
    }

    pub(super) fn read(value: &Value) -> Result<Self, Malformed> {
        let members = Members::new(value, PRODUCTION);
        let task = match members.text("kind")?.as_str() {
            "ask" => Task::Ask,
            "attach" => Task::Attach,
            "key" => Task::Key,
            "module" => Task::Module,
            "prove" => Task::Prove,
            "run" => Task::Run { command: read_command(members)? },
            "say" => Task::Say,
            "secret" => Task::Secret,
            _ => return Err(members.error(Reason::Unexpected("a kind of step that is known"))),
        };
        Ok(Self { task, prompt: members.text("prompt")? })
    }
}

fn read_command(members: Members<'_>) -> Result<Vec<String>, Malformed> {
    let words = members.list("command", COMMAND_WORDS)?;
    if words.is_empty() {
        return Err(members.error(Reason::Missing("program")));
    }
    let word = |value: &Value| match value.text() {
        Some(text) if text.len() <= NAME_OCTETS => Ok(text.to_owned()),
        Some(_) => Err(members.error(Reason::OverLimit { what: "octets of a word", limit: NAME_OCTETS })),
        None => Err(members.error(Reason::Unexpected("a string"))),
    };
    words.iter().map(word).collect()
}
