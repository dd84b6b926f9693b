//! Why the key store fails, and what to do.

use rusqlite::ErrorCode;
use thiserror::Error;

use super::DirectoryFault;

/// Why the key store failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The state directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryFault),
    /// The client has as many keys as it may have.
    #[error("uid {uid} has stored {limit} keys, which is its limit")]
    KeyLimit {
        /// The user, as the kernel knows it, whatever the names of its clients.
        uid: u32,
        /// The limit.
        limit: u32,
    },
    /// A blob is larger than is stored.
    #[error("a key blob of {found} octets, the limit is {limit}")]
    KeyBlobLength {
        /// Its octets.
        found: usize,
        /// The limit in octets.
        limit: usize,
    },
    /// A stored value is not of its kind.
    #[error("the stored {column} {found:?} is not one that this version knows")]
    Damaged {
        /// The column.
        column: &'static str,
        /// What is stored.
        found: String,
    },
    /// The database was written by a newer version.
    #[error("the database has schema {found}, this version knows {supported}")]
    NewerSchema {
        /// The database's schema.
        found: u32,
        /// The newest one known here.
        supported: u32,
    },
    /// There is no room for what was to be stored; nothing of it was.
    #[error("the disk of the state directory is full: {0}")]
    DiskFull(#[source] rusqlite::Error),
    /// Another program holds the database.
    #[error("another program locks the key database: {0}")]
    Locked(#[source] rusqlite::Error),
    /// The database may not be written.
    #[error("the key database cannot be written: {0}")]
    ReadOnly(#[source] rusqlite::Error),
    /// SQLite failed in another way.
    #[error("the key database: {0}")]
    Sqlite(#[source] rusqlite::Error),
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> StoreError {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => StoreError::DiskFull(error),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Locked(error),
            Some(ErrorCode::ReadOnly) => StoreError::ReadOnly(error),
            Some(_) | None => StoreError::Sqlite(error),
        }
    }
}

impl StoreError {
    /// Whether room is what is missing.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            StoreError::KeyLimit { .. } | StoreError::KeyBlobLength { .. } | StoreError::DiskFull(_) => true,
            StoreError::Directory(_)
            | StoreError::Damaged { .. }
            | StoreError::NewerSchema { .. }
            | StoreError::Locked(_)
            | StoreError::ReadOnly(_)
            | StoreError::Sqlite(_) => false,
        }
    }

    /// Stable code, for logs and messages.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            StoreError::Damaged { .. } => "agent.store-damaged",
            StoreError::Directory(_) => "agent.store-directory",
            StoreError::DiskFull(_) => "agent.store-full",
            StoreError::KeyBlobLength { .. } | StoreError::KeyLimit { .. } => "agent.key-limit",
            StoreError::Locked(_) => "agent.store-locked",
            StoreError::NewerSchema { .. } => "agent.store-newer",
            StoreError::ReadOnly(_) => "agent.store-read-only",
            StoreError::Sqlite(_) => "agent.store",
        }
    }

    /// What the reader of the message may do about it, one sentence without a final period. Nothing here needs a restart
    /// of the agent: the next request tries anew.
    #[must_use]
    pub const fn next_step(&self) -> &'static str {
        match self {
            StoreError::Damaged { .. } => "restore the agent's state from a backup, or destroy the key",
            StoreError::Directory(_) => "check owner and mode of the state directory",
            StoreError::DiskFull(_) => "free space on the disk of the state directory and try again",
            StoreError::KeyBlobLength { .. } | StoreError::KeyLimit { .. } => "destroy keys that are not needed",
            StoreError::Locked(_) => "end the other program that uses agent.sqlite and try again",
            StoreError::NewerSchema { .. } => "use the version of the agent that wrote the database",
            StoreError::ReadOnly(_) => "make the disk of the state directory writable and try again",
            StoreError::Sqlite(_) => "look at the agent's log and at the disk of its state directory",
        }
    }
}
