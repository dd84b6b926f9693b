//! What a TPM answered, once: `vectors/recordings/<device>.toml`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;
use vouchsafe_verifier::hex;

/// What was asked: the command, the objects it was about, and what else went in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Question {
    pub command: String,
    /// Names of objects, as `definitions.toml` has them.
    pub objects: Vec<String>,
    pub input: Vec<u8>,
}

/// The answers of one device.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    pub provenance: BTreeMap<String, String>,
    /// Endorsement certificates and those above them, DER.
    pub certificates: BTreeMap<String, Vec<u8>>,
    pub answers: BTreeMap<Question, Vec<u8>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    provenance: BTreeMap<String, String>,
    certificates: BTreeMap<String, String>,
    #[serde(default)]
    answer: Vec<Answer>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    command: String,
    objects: Vec<String>,
    input: String,
    output: String,
}

impl Recording {
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let file: File = toml::from_str(&text).with_context(|| path.display().to_string())?;
        let octets = |text: &str| hex::decode(text).context("not hexadecimal");
        let mut recording = Self { provenance: file.provenance, ..Self::default() };
        for (name, text) in file.certificates {
            recording.certificates.insert(name, octets(&text)?);
        }
        for Answer { command, objects, input, output } in file.answer {
            let question = Question { command, objects, input: octets(&input)? };
            recording.answers.insert(question, octets(&output)?);
        }
        Ok(recording)
    }

    /// Writes the answers that were used; what no vector needs any more is dropped.
    pub fn write(&self, path: &Path, used: &BTreeSet<Question>) -> Result<()> {
        let mut text = String::from(
            "# What a software TPM answered. Written by `forge record`, never by hand.\n\
             # `input` holds the parameters of the command, `output` those of the response, in hexadecimal.\n\n[provenance]\n",
        );
        for (name, value) in &self.provenance {
            writeln!(text, "{name} = {value:?}")?;
        }
        text.push_str("\n[certificates]\n");
        for (name, octets) in &self.certificates {
            writeln!(text, "{name} = \"{}\"", hex::encode(octets))?;
        }
        for (question, output) in self.answers.iter().filter(|(question, _)| used.contains(question)) {
            let objects: Vec<String> = question.objects.iter().map(|name| format!("{name:?}")).collect();
            writeln!(text, "\n[[answer]]\ncommand = {:?}\nobjects = [{}]", question.command, objects.join(", "))?;
            writeln!(text, "input = \"{}\"", hex::encode(&question.input))?;
            writeln!(text, "output = \"{}\"", hex::encode(output))?;
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, text).with_context(|| path.display().to_string())
    }
}
