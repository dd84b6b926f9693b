//! Two providers that mean one token.
//!
//! The configuration refuses two providers with the same library and the same name of a token. One by its label and another by its
//! serial number may be one token nonetheless, which only the library can say. A token that is not there yet is not waited
//! for; that of attesting keys may be another provider's token, since every object has an id of its own that nobody guesses.

use std::path::Path;

use super::StartFault;
use crate::config::{Config, ModuleConfig};
use crate::provider::pkcs11::{self, Settings};

/// Refuses providers that turn out to have the token of an earlier one. No library is asked unless two providers share it.
pub(super) fn refuse(config: &Config) -> Result<(), StartFault> {
    let mut earlier: Vec<(&str, &Settings)> = Vec::new();
    for provider in &config.providers {
        let ModuleConfig::Pkcs11(settings) = &provider.module else { continue };
        let is_same = |(_, other): &&(&str, &Settings)| {
            is_one_file(&settings.module, &other.module) && pkcs11::is_one_token(settings, other)
        };
        if let Some((first, other)) = earlier.iter().find(is_same) {
            return Err(StartFault::SameToken {
                first: format!("{first} ({})", other.token),
                second: format!("{} ({})", provider.name, settings.token),
            });
        }
        earlier.push((provider.name.as_str(), settings));
    }
    Ok(())
}

fn is_one_file(one: &Path, other: &Path) -> bool {
    one == other || matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}
