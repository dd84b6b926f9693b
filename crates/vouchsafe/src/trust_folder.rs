//! Reading a trust folder: the walk over files, whose meaning the verifier knows.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use vouchsafe_evidence::statement::FormatId;
use vouchsafe_evidence::text::printable;
use vouchsafe_verifier::TrustStore;

use crate::console;
use crate::failure::Failure;
use crate::files::Opened;

/// Octets of one file.
const FILE_OCTETS: u64 = 4 * 1024 * 1024;
/// Octets of all files.
const FOLDER_OCTETS: usize = 64 * 1024 * 1024;
/// Files of all formats.
const FILES: usize = 10_000;
/// Depth of folders: the format's, and one in it. What lies deeper is read to be refused by name.
const DEPTH: usize = 3;

/// The trust store that lies in `folder`.
///
/// # Errors
/// [`Failure`] if the folder is missing, anything in it cannot be read, or a file is not what it must be: a
/// damaged anchor must never silently be no anchor.
pub fn read(folder: &Path) -> Result<TrustStore, Failure> {
    let mut walk = Walk { root: folder, files: Vec::new(), octets: 0 };
    if folder.is_file() {
        return Err(Failure::new(format!("{} is no trust folder", folder.display()))
            .because("it is a file, not a folder")
            .next("name the folder that holds <format id>/*.pem; an anchor goes in as trust/tpm-certify/root.pem"));
    }
    if !folder.is_dir() {
        return Err(Failure::new(format!("{} is no trust folder", folder.display()))
            .because("there is no such folder")
            .next("name a folder that holds <format id>/*.pem, such as trust/tpm-certify/root.pem"));
    }
    walk.folder(folder, 0)?;
    if let Some(note) = note_on_unknown_formats(&walk.files) {
        console::err(&note);
    }
    TrustStore::from_files(walk.files).map_err(|error| {
        Failure::new(format!("the trust folder {} cannot be used", folder.display()))
            .because(error)
            .next("repair or remove that file; nothing of a broken trust folder is used")
    })
}

/// What to say about folders that belong to no format that is known here; a misspelled one holds anchors that count
/// for nothing. It is no fault: another version may know the format.
fn note_on_unknown_formats(files: &[(String, Vec<u8>)]) -> Option<String> {
    let folders = files.iter().filter_map(|(path, _)| path.split_once('/')).map(|(folder, _)| folder);
    let unknown: BTreeSet<&str> = folders.filter(|folder| FormatId::from_id(folder).is_none()).collect();
    if unknown.is_empty() {
        return None;
    }
    let list = |names: Vec<String>| names.join(", ");
    Some(format!(
        "note: nothing uses these folders of the trust folder: {}; the formats are {}\n",
        list(unknown.into_iter().map(printable).collect()),
        list(FormatId::all().map(|format| format.id().to_owned()).collect()),
    ))
}

struct Walk<'a> {
    root: &'a Path,
    files: Vec<(String, Vec<u8>)>,
    octets: usize,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &Path, depth: usize) -> Result<(), Failure> {
        let unreadable = |error| Failure::new(format!("{} cannot be read", folder.display())).because(error);
        let mut paths: Vec<PathBuf> = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(unreadable)? {
            paths.push(entry.map_err(unreadable)?.path());
        }
        paths.sort();
        for path in paths {
            let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
            if !hidden {
                self.entry(&path, depth)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, depth: usize) -> Result<(), Failure> {
        let shown = path.display();
        // Links are followed: an anchor may live elsewhere.
        let metadata =
            std::fs::metadata(path).map_err(|error| Failure::new(format!("{shown} cannot be read")).because(error))?;
        if metadata.is_dir() {
            if depth >= DEPTH {
                return Err(Failure::new(format!("{shown} lies too deep in the trust folder")));
            }
            return self.folder(path, depth + 1);
        }
        if !metadata.is_file() {
            return Err(Failure::new(format!("{shown} is no regular file")).next("remove it from the trust folder"));
        }
        let contents = Opened::open(path)?.read(FILE_OCTETS)?;
        self.octets = self.octets.saturating_add(contents.len());
        let too_long = u64::try_from(contents.len()).map_or(true, |octets| octets > FILE_OCTETS);
        if too_long || self.octets > FOLDER_OCTETS || self.files.len() >= FILES {
            return Err(Failure::new(format!("{shown} exceeds what a trust folder may hold")));
        }
        self.files.push((self.relative(path)?, contents));
        Ok(())
    }

    /// The path below the root with `/`.
    fn relative(&self, path: &Path) -> Result<String, Failure> {
        let parts: Option<Vec<&str>> =
            path.strip_prefix(self.root).ok().and_then(|path| path.iter().map(|part| part.to_str()).collect());
        parts
            .map(|parts| parts.join("/"))
            .ok_or_else(|| Failure::new(format!("{} has a name that is not UTF-8", path.display())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_of_no_known_format_are_noted() {
        let file = |path: &str| (path.to_owned(), Vec::new());
        assert_eq!(note_on_unknown_formats(&[file("tpm-certify/a.pem"), file("tpm-ek/b.pem")]), None);
        let note = note_on_unknown_formats(&[file("tpm-certfy/a.pem"), file("tpm-certify/a.pem")]).unwrap();
        assert!(note.contains("trust folder: tpm-certfy; the formats are ") && note.contains("tpm-certify"), "{note}");
    }
}
