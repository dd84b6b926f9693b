//! The user PIN: where it comes from, and when it is not tried.
//!
//! Tokens count wrong PINs and lock themselves. A PIN that was refused once is remembered, over restarts too, by the state of
//! its file alone and never by its value, and is not tried again before the file changes.

use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use cryptoki::types::AuthPin;
use zeroize::Zeroizing;

use super::fault::TokenFault;
use crate::provider::{Fault, StateStore};

/// Kind of the records of refused PINs.
const KIND: &str = "pkcs11.pin-refused";
/// Octets of a PIN, above what tokens take.
const PIN_OCTETS: usize = 256;

/// A file with a PIN, and whether the token refused it.
#[derive(Debug)]
pub(super) struct PinFile {
    path: PathBuf,
    /// State of the file when the token refused it, where the store could not keep it.
    refused: Option<Vec<u8>>,
}

impl PinFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, refused: None }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the token `wanted` refused what the file has now.
    pub(super) fn was_refused(&self, store: &dyn StateStore, wanted: &str) -> Result<bool, Fault> {
        let stamp = Some(stamp(&self.metadata()?));
        Ok(stamp == self.refused || stamp == store.load(KIND, wanted)?)
    }

    /// The PIN. The file must be the agent's alone.
    pub(super) fn read(&self) -> Result<AuthPin, Fault> {
        let metadata = self.metadata()?;
        if !metadata.is_file() {
            return Err(self.fault("is no file"));
        }
        if metadata.permissions().mode() & 0o077 != 0 {
            return Err(self.fault("others may read or write it"));
        }
        let mut octets = Zeroizing::new(Vec::with_capacity(PIN_OCTETS.saturating_add(2)));
        let limit = u64::try_from(PIN_OCTETS).unwrap_or(u64::MAX).saturating_add(2);
        let read = File::open(&self.path).and_then(|file| file.take(limit).read_to_end(&mut octets));
        read.map_err(|error| self.fault(&error.to_string()))?;
        let text = std::str::from_utf8(&octets).map_err(|_| self.fault("is not UTF-8"))?;
        let pin = text.strip_suffix('\n').unwrap_or(text);
        let pin = pin.strip_suffix('\r').unwrap_or(pin);
        if pin.is_empty() || pin.len() > PIN_OCTETS || pin.contains(char::is_control) {
            return Err(self.fault("does not hold one line with a PIN"));
        }
        Ok(AuthPin::from(pin.to_owned()))
    }

    /// The token `wanted` refused what the file has now.
    pub(super) fn note_refusal(&mut self, store: &dyn StateStore, wanted: &str) -> Result<(), Fault> {
        let stamp = stamp(&self.metadata()?);
        self.refused = Some(stamp.clone());
        Ok(store.replace(KIND, wanted, &stamp)?)
    }

    /// The token `wanted` took the PIN.
    pub(super) fn note_success(&mut self, store: &dyn StateStore, wanted: &str) -> Result<(), Fault> {
        self.refused = None;
        if store.load(KIND, wanted)?.is_some() {
            store.remove(KIND, wanted)?;
        }
        Ok(())
    }

    fn metadata(&self) -> Result<Metadata, Fault> {
        fs::metadata(&self.path).map_err(|error| self.fault(&error.to_string()))
    }

    fn fault(&self, cause: &str) -> Fault {
        Fault::Token(TokenFault::PinFile { path: self.path.clone(), cause: cause.to_owned() })
    }
}

/// What changes when the file is written or replaced.
fn stamp(metadata: &Metadata) -> Vec<u8> {
    let mut stamp = Vec::new();
    for number in [metadata.dev(), metadata.ino(), metadata.size()] {
        stamp.extend_from_slice(&number.to_be_bytes());
    }
    for number in [metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()] {
        stamp.extend_from_slice(&number.to_be_bytes());
    }
    stamp
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use super::*;
    use crate::provider::MemoryStore;

    fn file(contents: &[u8], mode: u32) -> (tempfile::TempDir, PinFile) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pin");
        fs::write(&path, contents).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        (folder, PinFile::new(path))
    }

    #[test]
    fn only_a_line_in_a_private_file_is_a_pin() {
        let (_folder, pin) = file(b"1234\n", 0o600);
        assert!(pin.read().is_ok());
        let long = vec![b'1'; 257];
        for (contents, mode, words) in [
            (&b"1234\n"[..], 0o640, "others may read"),
            (b"1234\n", 0o602, "others may"),
            (b"", 0o600, "one line"),
            (b"12\n34\n", 0o600, "one line"),
            (b"\xFF\xFF", 0o600, "UTF-8"),
            (&long, 0o600, "one line"),
        ] {
            let (_folder, pin) = file(contents, mode);
            let fault = pin.read().unwrap_err();
            assert_eq!(fault.code(), "agent.token-pin-file");
            assert!(fault.to_string().contains(words), "{fault}");
        }
        assert!(PinFile::new("/nonexistent".into()).read().is_err());
    }

    #[test]
    fn a_refused_pin_is_remembered_until_the_file_changes_and_over_restarts() {
        let store = MemoryStore::new();
        let (_folder, mut pin) = file(b"1234\n", 0o600);
        assert!(!pin.was_refused(&store, "a").unwrap());
        pin.note_refusal(&store, "a").unwrap();
        assert!(pin.was_refused(&store, "a").unwrap());
        let again = PinFile::new(pin.path().to_owned());
        assert!(again.was_refused(&store, "a").unwrap());
        assert!(!again.was_refused(&store, "b").unwrap());
        let kept = store.load(KIND, "a").unwrap().unwrap();
        assert!(!kept.windows(4).any(|window| window == b"1234"));
        fs::write(pin.path(), b"12345\n").unwrap();
        assert!(!again.was_refused(&store, "a").unwrap());
        pin.note_success(&store, "a").unwrap();
        assert_eq!(store.load(KIND, "a").unwrap(), None);
    }
}
