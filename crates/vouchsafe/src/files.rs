//! Reading the files that people name, within bounds.

use std::fs::File;
use std::io::Read;
use std::path::Path;

#[cfg(feature = "agent")]
use vouchsafe_evidence::{pem, x509::CertView};

use crate::failure::Failure;

/// Octets of a policy, key or configuration file.
const SMALL_FILE_OCTETS: u64 = 1024 * 1024;

/// Octets of a list of modules or of a stored verdict.
const LARGE_FILE_OCTETS: u64 = 16 * 1024 * 1024;

/// A file that is open for reading.
pub struct Opened {
    name: String,
    file: File,
}

impl Opened {
    /// Opens `path`.
    ///
    /// # Errors
    /// [`Failure`] if it cannot be opened or is a folder.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let name = path.display().to_string();
        let file = File::open(path).map_err(|error| unreadable(&name, &error))?;
        if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
            return Err(Failure::new(format!("{name} is a folder")).next("name the files themselves"));
        }
        Ok(Self { name, file })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads at most `limit` octets and one more, so that the caller can tell that there is more.
    ///
    /// # Errors
    /// [`Failure`] if it cannot be read.
    pub fn read(&self, limit: u64) -> Result<Vec<u8>, Failure> {
        let mut contents = Vec::new();
        (&self.file)
            .take(limit.saturating_add(1))
            .read_to_end(&mut contents)
            .map_err(|error| unreadable(&self.name, &error))?;
        Ok(contents)
    }
}

fn unreadable(name: &str, error: &std::io::Error) -> Failure {
    Failure::new(format!("{name} cannot be read")).because(error).next("check the path and who may read it")
}

/// The contents of a file that is small by nature.
///
/// # Errors
/// [`Failure`] if it cannot be read or is not small.
pub fn read_small(path: &Path) -> Result<Vec<u8>, Failure> {
    let opened = Opened::open(path)?;
    let contents = opened.read(SMALL_FILE_OCTETS)?;
    if u64::try_from(contents.len()).is_ok_and(|octets| octets <= SMALL_FILE_OCTETS) {
        Ok(contents)
    } else {
        Err(Failure::new(format!("{} is larger than {SMALL_FILE_OCTETS} octets", opened.name())))
    }
}

/// The text of a list of modules or of a stored verdict.
///
/// # Errors
/// [`Failure`] if it cannot be read, is larger than such files are, or is not UTF-8.
pub fn read_large_text(path: &Path) -> Result<String, Failure> {
    let contents = Opened::open(path)?.read(LARGE_FILE_OCTETS)?;
    if !u64::try_from(contents.len()).is_ok_and(|octets| octets <= LARGE_FILE_OCTETS) {
        return Err(Failure::new(format!("{} is larger than {LARGE_FILE_OCTETS} octets", path.display())));
    }
    String::from_utf8(contents).map_err(|_| Failure::new(format!("{} is not text in UTF-8", path.display())))
}

/// The text of a file that is small by nature.
///
/// # Errors
/// [`Failure`] if it cannot be read, is not small, or is not UTF-8.
pub fn read_small_text(path: &Path) -> Result<String, Failure> {
    String::from_utf8(read_small(path)?).map_err(|_| Failure::new(format!("{} is not text in UTF-8", path.display())))
}

/// Writes `text` into a file, or to standard output where none is named.
///
/// # Errors
/// [`Failure`] if it cannot be written.
#[cfg(feature = "agent")]
pub fn write_or_print(path: Option<&Path>, text: &str) -> Result<(), Failure> {
    path.map_or_else(|| crate::console::out(text), |path| write(path, text.as_bytes()))
}

/// Writes a file whole: a reader sees the old contents or the new.
///
/// # Errors
/// [`Failure`] if it cannot be written.
pub fn write(path: &Path, contents: &[u8]) -> Result<(), Failure> {
    let failed = |error| {
        Failure::new(format!("{} cannot be written", path.display()))
            .because(error)
            .next("check that its folder is there and who may write to it")
    };
    if path.exists() && !path.is_file() {
        // A device or a pipe: there is nothing to replace.
        return std::fs::write(path, contents).map_err(failed);
    }
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".unfinished");
    std::fs::write(&unfinished, contents).map_err(failed)?;
    std::fs::rename(&unfinished, path).map_err(failed)
}

/// The certificates of a PEM file, in its order.
///
/// # Errors
/// [`Failure`] if it cannot be read or holds none.
#[cfg(feature = "agent")]
pub fn read_certificates(path: &Path) -> Result<Vec<CertView>, Failure> {
    let strange = |error| {
        Failure::new(format!("{} holds no certificates", path.display()))
            .because(error)
            .next("name a PEM file with certificates")
    };
    let blocks = pem::read(&read_small(path)?).map_err(strange)?;
    blocks.iter().map(|block| CertView::parse(block.contents()).map_err(strange)).collect()
}
