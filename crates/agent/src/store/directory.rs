//! The state directory: private, and held by one agent at a time.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use thiserror::Error;

/// Write permission of group and others.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Why a state directory cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DirectoryFault {
    /// Another agent holds it.
    #[error("another agent uses the state directory {}; stop it or choose another with --state", path.display())]
    Held {
        /// The directory.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others could replace what is in it.
    #[error("the state directory {} may be written by others (mode {mode:04o}); chmod it to 0700", path.display())]
    Shared {
        /// The directory.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
}

/// Holds a state directory until dropped.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

/// Makes the directory if it is absent and takes hold of it.
pub(super) fn lock(path: &Path) -> Result<Lock, DirectoryFault> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io_fault("create", path))?;
    let metadata = std::fs::metadata(path).map_err(io_fault("look at", path))?;
    let mode = metadata.mode() & 0o7777;
    if mode & WRITABLE_BY_OTHERS != 0 {
        return Err(DirectoryFault::Shared { path: path.to_owned(), mode });
    }
    let lock_path = path.join("agent.lock");
    let file = open_private(&lock_path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Lock { _file: file }),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(DirectoryFault::Held { path: path.to_owned() }),
        Err(errno) => Err(io_fault("lock", &lock_path)(errno.into())),
    }
}

/// Makes the file with mode 0600 if it is absent, and takes permissions of others away if it is there.
pub(super) fn private_file(path: &Path) -> Result<&Path, DirectoryFault> {
    let file = open_private(path)?;
    let permissions = std::fs::Permissions::from_mode(0o600);
    file.set_permissions(permissions).map_err(io_fault("set the mode of", path))?;
    Ok(path)
}

fn open_private(path: &Path) -> Result<File, DirectoryFault> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(io_fault("open", path))
}

fn io_fault(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DirectoryFault {
    move |source| DirectoryFault::Io { action, path: path.to_owned(), source }
}
