//! Why a configuration cannot be used.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why a configuration cannot be used. Each message names the file, the key and what to do.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigFault {
    /// A value is not one that its key takes.
    #[error("{}: {key}: {found:?} is not allowed; {next_step}", file.display())]
    Value {
        /// The file.
        file: PathBuf,
        /// The key, with its tables.
        key: String,
        /// The value.
        found: String,
        /// What to write instead.
        next_step: &'static str,
    },
    /// Anyone may write the file, and so give itself every grant.
    #[error("{}: anyone may write it (mode {mode:04o}); chmod it to 0644", file.display())]
    Shared {
        /// The file.
        file: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The text is not TOML, or holds a key that is not known, or a value of the wrong type.
    #[error(
        "{}: {detail}; correct or remove that key (the documentation of the agent lists all keys)",
        file.display()
    )]
    Syntax {
        /// The file.
        file: PathBuf,
        /// The reader's words: line, key and what was expected.
        detail: String,
    },
    /// The file cannot be read.
    #[error("{}: {source}; write the file or name another with --config", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}
