//! The trust store while the server runs: re-read when it changed, never replaced by a broken one.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use thiserror::Error;
use vouchsafe_verifier::{TrustError, TrustStore};

use crate::text::chain;

/// Octets of one file in a trust folder.
const FILE_OCTETS: u64 = 4 * 1024 * 1024;
/// Files in a trust folder.
const FILES: usize = 10_000;
/// Depth of folders in a trust folder: format, and `intermediates`, `keys` or `crls` in it.
const DEPTH: usize = 3;

/// Why the trust folder could not be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TrustSourceError {
    /// A file or folder cannot be read.
    #[error("{}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        error: std::io::Error,
    },
    /// A bound is exceeded.
    #[error("{}: {what} exceeds {limit}", path.display())]
    OverLimit {
        /// The path.
        path: PathBuf,
        /// The bounded quantity.
        what: &'static str,
        /// The bound.
        limit: u64,
    },
    /// The contents are not a trust store.
    #[error(transparent)]
    Trust(#[from] TrustError),
}

/// Where trust stores come from; called at the start and whenever a reload is due.
pub type TrustSource = Box<dyn Fn() -> Result<TrustStore, TrustSourceError> + Send + Sync>;

/// A source that reads a folder each time.
#[must_use]
pub fn folder(path: PathBuf) -> TrustSource {
    Box::new(move || {
        let mut files = Vec::new();
        walk(&path, &path, 0, &mut files)?;
        Ok(TrustStore::from_files(files)?)
    })
}

fn walk(root: &Path, folder: &Path, depth: usize, files: &mut Vec<(String, Vec<u8>)>) -> Result<(), TrustSourceError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |error| TrustSourceError::Io { path, error }
    };
    let mut entries: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io(folder))? {
        entries.push(entry.map_err(io(folder))?.path());
    }
    // The order of a folder is the file system's; two readings of the same folder must be equal.
    entries.sort();
    for path in entries {
        let metadata = std::fs::metadata(&path).map_err(io(&path))?;
        if metadata.is_dir() && depth < DEPTH {
            walk(root, &path, depth + 1, files)?;
        } else if metadata.is_file() {
            if metadata.len() > FILE_OCTETS || files.len() >= FILES {
                return Err(TrustSourceError::OverLimit { path, what: "size or number of files", limit: FILE_OCTETS });
            }
            let contents = std::fs::read(&path).map_err(io(&path))?;
            files.push((relative(root, &path), contents));
        }
    }
    Ok(())
}

fn relative(root: &Path, path: &Path) -> String {
    let below = path.strip_prefix(root).unwrap_or(path);
    below.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/")
}

/// The trust store in force.
pub(crate) struct Trust {
    source: TrustSource,
    current: RwLock<Arc<TrustStore>>,
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").finish_non_exhaustive()
    }
}

impl Trust {
    pub(crate) fn load(source: TrustSource) -> Result<Self, TrustSourceError> {
        let current = RwLock::new(Arc::new(source()?));
        Ok(Self { source, current })
    }

    pub(crate) fn current(&self) -> Arc<TrustStore> {
        // A poisoned lock holds a whole store all the same: it is replaced in one assignment.
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the source again. On an error the last good store stays in force.
    pub(crate) fn reload(&self) -> Result<(), TrustSourceError> {
        let store = (self.source)().inspect_err(|error| {
            tracing::error!(error = chain(error), "trust store not reloaded, the last good one stays");
        })?;
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.version() != store.version() {
            tracing::info!("trust store reloaded");
            *current = Arc::new(store);
        }
        Ok(())
    }
}
