//! What an unfinished enrolment has reached, on disk.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use vouchsafe_evidence::tpm::HashAlg;
use vouchsafe_verifier::hex;

use crate::failure::Failure;
use crate::files;

/// Where the state of root is.
const SYSTEM_FOLDER: &str = "/var/lib/vouchsafe/enroll";

/// The folder of unfinished attempts.
#[derive(Clone, Debug)]
pub struct Attempts {
    folder: PathBuf,
}

impl Attempts {
    /// Attempts in `folder`, or where they are kept by default.
    ///
    /// # Errors
    /// [`Failure`] if the folder cannot be made.
    pub fn new(folder: Option<&Path>) -> Result<Self, Failure> {
        let folder = folder.map_or_else(default_folder, Path::to_owned);
        DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(|error| {
            Failure::new(format!("{} cannot be made", folder.display()))
                .because(error)
                .next("name a folder for unfinished attempts with --state")
        })?;
        Ok(Self { folder })
    }

    fn file(&self, name: &str) -> PathBuf {
        // Names come from users and URLs; their digest is a file name whatever is in them.
        let digest = HashAlg::Sha256.digest(&[name.as_bytes()]);
        self.folder.join(format!("{}.json", hex::encode(digest.get(..16).unwrap_or(&digest))))
    }

    /// What the attempt of this name has reached; nothing for none, and for one that cannot be read.
    pub fn load<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_slice(&std::fs::read(self.file(name)).ok()?).ok()
    }

    /// Keeps what the attempt has reached.
    ///
    /// # Errors
    /// [`Failure`] if it cannot be written.
    pub fn keep(&self, name: &str, reached: &impl Serialize) -> Result<(), Failure> {
        let octets = serde_json::to_vec(reached)
            .map_err(|error| Failure::new("the attempt cannot be written").because(error))?;
        files::write(&self.file(name), &octets)
    }

    /// Forgets the attempt.
    ///
    /// # Errors
    /// [`Failure`] if its file cannot be removed.
    pub fn forget(&self, name: &str) -> Result<(), Failure> {
        let file = self.file(name);
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Failure::new(format!("{} cannot be removed", file.display())).because(error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

fn default_folder() -> PathBuf {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let of_user = absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
    match of_user {
        Some(state) if !rustix::process::getuid().is_root() => state.join("vouchsafe/enroll"),
        Some(_) | None => PathBuf::from(SYSTEM_FOLDER),
    }
}
