//! The words of the language, by subject.

mod octets;
mod statement;
mod tpm;
mod x509;

use anyhow::{Result, bail};

use super::Scope;
use super::value::{Arguments, Value};

/// Calls a word.
pub fn call(scope: &Scope<'_>, word: &str, arguments: &mut Arguments) -> Result<Value> {
    let subjects = [octets::call, x509::call, tpm::call, statement::call];
    for subject in subjects {
        if let Some(value) = subject(scope, word, arguments)? {
            return Ok(value);
        }
    }
    bail!("{word} is no word of this language")
}
