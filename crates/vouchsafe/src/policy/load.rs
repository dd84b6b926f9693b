//! Policies by name or file, with the lists of modules and the advisories that go with them.

use std::path::{Path, PathBuf};

use vouchsafe_verifier::advisory::Advisories;
use vouchsafe_verifier::{ModuleList, Policy};

use crate::failure::Failure;
use crate::files::{read_large_text, read_small_text};

/// The policy of this name or in this file, with the lists that it names beside itself and those that are given.
///
/// # Errors
/// [`Failure`] if there is none, if it cannot be used, or if a list cannot.
pub fn policy(name: &str, lists: &[PathBuf]) -> Result<Policy, Failure> {
    let (policy, folder) = match Policy::named(name) {
        Some(policy) => (policy, PathBuf::new()),
        None => (from_file(name)?, Path::new(name).parent().map(Path::to_path_buf).unwrap_or_default()),
    };
    let named: Vec<PathBuf> = policy.module_list_names().iter().map(|list| folder.join(list)).collect();
    named.iter().chain(lists).try_fold(policy, |policy, path| Ok(policy.with_modules(module_list(path)?)))
}

fn from_file(name: &str) -> Result<Policy, Failure> {
    let path = PathBuf::from(name);
    if !path.exists() {
        return Err(Failure::new(format!("there is no policy {name}")).because("no such file and no such name").next(
            format!("name a TOML file, or one that comes with the program: {}", Policy::shipped_names().join(", ")),
        ));
    }
    Policy::from_toml(&read_small_text(&path)?).map_err(|error| {
        Failure::new(format!("the policy {name} cannot be used")).because(error).next("correct the file")
    })
}

fn module_list(path: &Path) -> Result<ModuleList, Failure> {
    ModuleList::parse(&read_large_text(path)?).map_err(|error| {
        Failure::new(format!("{} cannot be used", path.display()))
            .because(error)
            .next("see docs/policy.md for the columns of such a list")
    })
}

/// The advisories of a file.
///
/// # Errors
/// [`Failure`] if it cannot be read or used.
pub fn advisories(path: &Path) -> Result<Advisories, Failure> {
    Advisories::from_toml(&read_small_text(path)?).map_err(|error| {
        Failure::new(format!("{} cannot be used", path.display())).because(error).next("correct the file")
    })
}
