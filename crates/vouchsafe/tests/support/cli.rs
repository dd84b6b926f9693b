//! Running the program and looking at what it said.

#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// What a run of the program came to.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().expect("ended by a signal"),
            stdout: String::from_utf8(output.stdout).expect("standard output is not UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("standard error is not UTF-8"),
        }
    }
}

impl Run {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The codes of the top-level reasons.
    pub fn codes(&self) -> Vec<String> {
        let json = self.json();
        let reasons = json["reasons"].as_array().expect("no reasons").clone();
        reasons.iter().map(|reason| reason["code"].as_str().expect("no code").to_owned()).collect()
    }

    /// Exit code 2: nothing on standard output, a message and advice on standard error.
    pub fn is_usage_error(&self) -> bool {
        self.code == 2 && self.stdout.is_empty() && !self.stderr.is_empty()
    }
}

pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vouchsafe"));
    command.stdin(Stdio::null()).env("NO_COLOR", "1");
    for variable in ["PARSEC_SERVICE_ENDPOINT", "VOUCHSAFE_AUTHORITY", "VOUCHSAFE_CA", "VOUCHSAFE_TOKEN_FILE"] {
        command.env_remove(variable);
    }
    command
}

pub fn vouchsafe<A: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = A>) -> Run {
    command().args(arguments).output().expect("the program cannot be run").into()
}

/// A path in the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// The folder of field vectors, or `None` with a message that `./run-tests` counts.
pub fn field_vectors() -> Option<PathBuf> {
    let found = std::env::var_os("VOUCHSAFE_FIELD_VECTORS").map(PathBuf::from).filter(|path| path.is_dir());
    if found.is_none() {
        println!("SKIPPED: VOUCHSAFE_FIELD_VECTORS names no folder; evidence of other makers was not read");
    }
    found
}

/// Whether every line keeps within 80 columns; file names that are longer are not ours to break.
pub fn fits_terminal(text: &str) -> bool {
    text.lines().all(|line| line.chars().count() <= 80)
}
