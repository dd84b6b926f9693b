//! The system's openssl as a witness that knows nothing of TPMs.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::failure::Failure;

/// Makes sure that there is one.
///
/// # Errors
/// [`Failure`] if not.
pub fn check() -> Result<(), Failure> {
    let version = Command::new("openssl").arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    match version {
        Ok(status) if status.success() => Ok(()),
        Ok(_) | Err(_) => Err(Failure::new("there is no openssl").next("install it: apt install openssl")),
    }
}

/// One verification: what was typed, and what came of it.
#[derive(Debug)]
pub struct Verification {
    /// The command.
    pub command: String,
    /// Whether openssl accepts.
    pub accepted: bool,
    /// What it says.
    pub says: String,
}

/// `openssl verify` with these arguments, in `folder`.
///
/// # Errors
/// [`Failure`] if it cannot be run.
pub fn verify(folder: &Path, arguments: &[&str]) -> Result<Verification, Failure> {
    let output = Command::new("openssl")
        .arg("verify")
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Failure::new("openssl cannot be run").because(error))?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let says = text.lines().find(|line| line.contains("error ")).or_else(|| text.lines().next());
    Ok(Verification {
        command: format!("openssl verify {}", arguments.join(" ")),
        accepted: output.status.success(),
        says: says.unwrap_or_default().to_owned(),
    })
}
