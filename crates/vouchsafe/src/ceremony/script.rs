//! The script of a ceremony: a TOML file that says who witnesses what, step by step.

use std::path::Path;

use serde::Deserialize;
use vouchsafe_evidence::ceremony::{DIGEST_OCTETS, NamedKey, PlannedStep, Task, sha256};

use super::witnesses::{self, WitnessEntry};
use crate::failure::Failure;
use crate::files;

/// A script as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScriptFile {
    title: String,
    #[serde(default)]
    purpose: String,
    operator: String,
    device: Option<String>,
    threshold: u64,
    #[serde(default)]
    witnesses: Vec<WitnessEntry>,
    #[serde(default)]
    steps: Vec<StepEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StepEntry {
    kind: Kind,
    #[serde(default)]
    prompt: String,
    #[serde(default)]
    command: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Ask,
    Attach,
    Key,
    Module,
    Prove,
    Run,
    Say,
    Secret,
}

/// A script that can be followed.
pub struct Script {
    /// What the ceremony is called.
    pub title: String,
    /// What it is for.
    pub purpose: String,
    /// Who types.
    pub operator: String,
    /// The device that the attesting key is for, where the script names it.
    pub device: Option<String>,
    /// How many witnesses must sign.
    pub threshold: u64,
    /// The witnesses.
    pub witnesses: Vec<NamedKey>,
    /// The steps.
    pub plan: Vec<PlannedStep>,
    /// SHA-256 of the file.
    pub sha256: [u8; DIGEST_OCTETS],
}

impl Script {
    /// Reads a script, and the witnesses' keys beside it.
    ///
    /// # Errors
    /// [`Failure`] if it cannot be read or says something that has no meaning.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let bytes = files::read_small(path)?;
        let unusable = |why: String| {
            Failure::new(format!("the script {} cannot be followed", path.display()))
                .because(why)
                .next("docs/ceremony.md has a whole script")
        };
        let text = String::from_utf8(bytes.clone()).map_err(|error| unusable(error.to_string()))?;
        let file: ScriptFile = toml::from_str(&text).map_err(|error| unusable(error.to_string()))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let plan: Result<Vec<PlannedStep>, String> = file.steps.into_iter().map(planned).collect();
        Ok(Self {
            title: file.title,
            purpose: file.purpose,
            operator: file.operator,
            device: file.device,
            threshold: file.threshold,
            witnesses: witnesses::of_entries(&file.witnesses, folder)?,
            plan: plan.map_err(unusable)?,
            sha256: sha256(&bytes),
        })
    }
}

fn planned(entry: StepEntry) -> Result<PlannedStep, String> {
    if entry.kind != Kind::Run && !entry.command.is_empty() {
        return Err(format!("only steps `run` have a command, not {:?}", entry.prompt));
    }
    let task = match entry.kind {
        Kind::Ask => Task::Ask,
        Kind::Attach => Task::Attach,
        Kind::Key => Task::Key,
        Kind::Module => Task::Module,
        Kind::Prove => Task::Prove,
        Kind::Run if entry.command.is_empty() => return Err(format!("the step {:?} has no command", entry.prompt)),
        Kind::Run => Task::Run { command: entry.command },
        Kind::Say => Task::Say,
        Kind::Secret => Task::Secret,
    };
    Ok(PlannedStep { task, prompt: entry.prompt })
}
