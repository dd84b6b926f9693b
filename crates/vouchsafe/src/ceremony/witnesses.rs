//! Witnesses, as a script or a relying party names them.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use vouchsafe_evidence::ceremony::{NamedKey, WITNESSES};
use vouchsafe_evidence::x509::SpkiView;

use crate::failure::Failure;
use crate::files;

/// A witness in a TOML file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WitnessEntry {
    name: String,
    key: PathBuf,
}

/// A list of witnesses by itself.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WitnessFile {
    witnesses: Vec<WitnessEntry>,
}

/// The witnesses of these entries, whose key files lie in or beneath `folder` unless their paths say otherwise.
///
/// # Errors
/// [`Failure`] if a key cannot be read.
pub fn of_entries(entries: &[WitnessEntry], folder: &Path) -> Result<Vec<NamedKey>, Failure> {
    entries.iter().map(|entry| named(entry.name.clone(), &folder.join(&entry.key))).collect()
}

/// The witnesses of a folder of key files, each named by its file, or of a TOML file with `[[witnesses]]`.
///
/// # Errors
/// [`Failure`] if anything there cannot be read, or there is nothing.
pub fn read(path: &Path) -> Result<Vec<NamedKey>, Failure> {
    let found = if path.is_dir() { of_folder(path)? } else { of_file(path)? };
    if found.is_empty() {
        return Err(Failure::new(format!("{} names no witness", path.display()))
            .next("put their public keys into it, NAME.pem each, or [[witnesses]] with `name` and `key`"));
    }
    Ok(found)
}

fn of_file(path: &Path) -> Result<Vec<NamedKey>, Failure> {
    let file: WitnessFile = toml::from_str(&files::read_small_text(path)?).map_err(|error| {
        Failure::new(format!("{} is no list of witnesses", path.display()))
            .because(error)
            .next("write [[witnesses]] with `name` and `key`, or name a folder of public keys")
    })?;
    of_entries(&file.witnesses, path.parent().unwrap_or(Path::new("")))
}

fn of_folder(path: &Path) -> Result<Vec<NamedKey>, Failure> {
    let unreadable = |error| Failure::new(format!("{} cannot be read", path.display())).because(error);
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(path).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let is_key =
            path.extension().is_some_and(|extension| ["pem", "der", "crt", "pub"].iter().any(|e| extension == *e));
        if is_key && path.is_file() {
            paths.push(path);
        }
    }
    if paths.len() > WITNESSES {
        return Err(Failure::new(format!("{} holds over {WITNESSES} keys", path.display()))
            .next("keep the keys of witnesses in a folder of their own"));
    }
    paths.sort();
    let name = |path: &PathBuf| path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    paths.iter().map(|path| named(name(path), path)).collect()
}

fn named(name: String, path: &Path) -> Result<NamedKey, Failure> {
    let key = SpkiView::from_key_file(&files::read_small(path)?).map_err(|error| {
        Failure::new(format!("{} holds no public key", path.display()))
            .because(error)
            .next("give a PEM public key or a certificate (`openssl pkey -in KEY -pubout`)")
    })?;
    Ok(NamedKey { name, key })
}
