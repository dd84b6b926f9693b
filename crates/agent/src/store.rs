//! What the agent remembers: clients' keys and the providers' state, in one SQLite database.
//!
//! Every write is durable when its call returns (WAL, `synchronous = FULL`). The database is
//! `agent.sqlite` in the state directory, mode 0600; one agent at a time holds the directory.

mod directory;
mod schema;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, TransactionBehavior, params};
use thiserror::Error;

use crate::provider::{Family, FamilyCertificates, KeyBlob, KeyPurpose, StateStore, StoreFault};
use crate::wire::ProviderId;
pub use directory::DirectoryFault;
use directory::Lock;

/// Largest key blob stored, in octets.
pub const MAX_KEY_BLOB_OCTETS: usize = 64 * 1024;

/// Why the key store failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The state directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryFault),
    /// The client has as many keys as it may have.
    #[error("{limit} keys are stored for uid {uid}, which is its limit")]
    KeyLimit {
        /// The client.
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

/// Which key: clients have name spaces of their own, and so has each provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyId {
    /// The client's Unix uid.
    pub uid: u32,
    /// The provider that holds the key.
    pub provider: ProviderId,
    /// The client's name for it.
    pub name: String,
}

/// A stored key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKey {
    /// Which key.
    pub id: KeyId,
    /// What kind of thing it is.
    pub role: KeyRole,
    /// The protobuf `KeyAttributes`; empty for an attesting key.
    pub attributes: Vec<u8>,
    /// The provider's blob. Of a public key the key itself, in its PSA export format.
    pub blob: KeyBlob,
}

/// What a stored key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRole {
    /// A key pair in the provider's module, made for this.
    Pair(KeyPurpose),
    /// A public key that was brought in; its provider knows nothing of it.
    Public,
}

impl KeyRole {
    const ALL: [Self; 4] =
        [Self::Pair(KeyPurpose::Sign), Self::Pair(KeyPurpose::Attest), Self::Pair(KeyPurpose::Decrypt), Self::Public];

    const fn name(self) -> &'static str {
        match self {
            Self::Pair(KeyPurpose::Sign) => "sign",
            Self::Pair(KeyPurpose::Attest) => "attest",
            Self::Pair(KeyPurpose::Decrypt) => "decrypt",
            Self::Public => "public",
        }
    }
}

/// What became of a key that was to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Insertion {
    /// It is stored.
    Stored,
    /// A key of that name is there and was left as it is.
    NameTaken,
}

/// The database; clones share one connection.
#[derive(Clone, Debug)]
pub struct Store {
    connection: Arc<Mutex<Connection>>,
    _lock: Arc<Lock>,
}

impl Store {
    /// Opens the database in a state directory, both of which are made if absent (modes 0700 and 0600).
    ///
    /// # Errors
    ///
    /// [`StoreError::Directory`] if the directory cannot be used or another agent holds it,
    /// [`StoreError::NewerSchema`], the faults of the database.
    pub fn open(state_directory: &Path) -> Result<Store, StoreError> {
        let lock = directory::lock(state_directory)?;
        let database = state_directory.join("agent.sqlite");
        let file = directory::private_file(&database)?;
        let mut connection = Connection::open(file)?;
        schema::prepare(&mut connection)?;
        Ok(Store { connection: Arc::new(Mutex::new(connection)), _lock: Arc::new(lock) })
    }

    /// Stores a key unless one of that name is there. Atomic: of several callers with one name exactly one
    /// sees [`Insertion::Stored`], and its key is the one that is stored.
    ///
    /// # Errors
    ///
    /// [`StoreError::KeyLimit`] if the client already has `limit` keys, [`StoreError::KeyBlobLength`],
    /// the faults of the database.
    pub fn insert_key(&self, key: &StoredKey, limit: u32) -> Result<Insertion, StoreError> {
        let found = key.blob.as_bytes().len();
        if found > MAX_KEY_BLOB_OCTETS {
            return Err(StoreError::KeyBlobLength { found, limit: MAX_KEY_BLOB_OCTETS });
        }
        let mut connection = self.connection();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let inserted = transaction.execute(
            "INSERT INTO keys (uid, provider, name, purpose, attributes, blob, created)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (uid, provider, name) DO NOTHING",
            params![
                key.id.uid,
                key.id.provider.0,
                key.id.name,
                key.role.name(),
                key.attributes,
                key.blob.as_bytes(),
                unix_seconds(),
            ],
        )?;
        if inserted == 0 {
            return Ok(Insertion::NameTaken);
        }
        let count: u32 =
            transaction.query_row("SELECT count(*) FROM keys WHERE uid = ?1", [key.id.uid], |row| row.get(0))?;
        if count > limit {
            // Dropping the transaction takes the row back.
            return Err(StoreError::KeyLimit { uid: key.id.uid, limit });
        }
        transaction.commit()?;
        Ok(Insertion::Stored)
    }

    /// The key of that id.
    ///
    /// # Errors
    ///
    /// [`StoreError::Damaged`] or a fault of the database.
    pub fn key(&self, id: &KeyId) -> Result<Option<StoredKey>, StoreError> {
        self.connection()
            .prepare_cached(
                "SELECT uid, provider, name, purpose, attributes, blob FROM keys
                 WHERE uid = ?1 AND provider = ?2 AND name = ?3",
            )?
            .query_row(params![id.uid, id.provider.0, id.name], RawKey::from_row)
            .optional()?
            .map(RawKey::check)
            .transpose()
    }

    /// All keys of a client, by provider and name.
    ///
    /// # Errors
    ///
    /// [`StoreError::Damaged`] or a fault of the database.
    pub fn keys(&self, uid: u32) -> Result<Vec<StoredKey>, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached(
            "SELECT uid, provider, name, purpose, attributes, blob FROM keys
             WHERE uid = ?1 ORDER BY provider, name",
        )?;
        let rows = statement.query_map([uid], RawKey::from_row)?;
        rows.map(|row| row.map_err(StoreError::from).and_then(RawKey::check)).collect()
    }

    /// The clients that have keys, by uid.
    ///
    /// # Errors
    ///
    /// the faults of the database.
    pub fn clients(&self) -> Result<Vec<u32>, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached("SELECT DISTINCT uid FROM keys ORDER BY uid")?;
        let rows = statement.query_map([], |row| row.get(0))?;
        Ok(rows.collect::<Result<Vec<u32>, _>>()?)
    }

    /// Forgets a key and its certificates; true if it was there.
    ///
    /// # Errors
    ///
    /// the faults of the database.
    pub fn remove_key(&self, id: &KeyId) -> Result<bool, StoreError> {
        let removed = self.connection().execute(
            "DELETE FROM keys WHERE uid = ?1 AND provider = ?2 AND name = ?3",
            params![id.uid, id.provider.0, id.name],
        )?;
        Ok(removed > 0)
    }

    /// Keeps the certificates of a client's own attesting key, replacing those of the same family; false
    /// if there is no such key.
    ///
    /// # Errors
    ///
    /// the faults of the database.
    pub fn replace_certificates(&self, id: &KeyId, certificates: &FamilyCertificates) -> Result<bool, StoreError> {
        let mut connection = self.connection();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let key: Option<i64> = transaction
            .query_row(
                "SELECT id FROM keys WHERE uid = ?1 AND provider = ?2 AND name = ?3",
                params![id.uid, id.provider.0, id.name],
                |row| row.get(0),
            )
            .optional()?;
        let Some(key) = key else { return Ok(false) };
        let family = certificates.family.as_str();
        transaction.execute("DELETE FROM certificates WHERE key = ?1 AND family = ?2", params![key, family])?;
        for (position, certificate) in (0_u32..).zip(&certificates.certificates) {
            transaction.execute(
                "INSERT INTO certificates (key, family, position, der) VALUES (?1, ?2, ?3, ?4)",
                params![key, family, position, certificate],
            )?;
        }
        transaction.commit()?;
        Ok(true)
    }

    /// The certificates of a client's own attesting key, by family; none if there is no such key.
    ///
    /// # Errors
    ///
    /// the faults of the database.
    pub fn certificates(&self, id: &KeyId) -> Result<Vec<FamilyCertificates>, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached(
            "SELECT der FROM certificates JOIN keys ON keys.id = certificates.key
             WHERE uid = ?1 AND provider = ?2 AND name = ?3 AND family = ?4 ORDER BY position",
        )?;
        let mut families = Vec::new();
        for family in Family::ALL {
            let rows =
                statement.query_map(params![id.uid, id.provider.0, id.name, family.as_str()], |row| row.get(0))?;
            let certificates = rows.collect::<Result<Vec<Vec<u8>>, _>>()?;
            if !certificates.is_empty() {
                families.push(FamilyCertificates { family, certificates });
            }
        }
        Ok(families)
    }

    /// The state of one provider, apart from that of all others.
    #[must_use]
    pub fn provider_state(&self, provider: ProviderId) -> ProviderState {
        ProviderState { store: self.clone(), provider }
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A panic while the lock was held leaves an open transaction at worst, which its guard rolled back.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One provider's part of the state table.
#[derive(Clone, Debug)]
pub struct ProviderState {
    store: Store,
    provider: ProviderId,
}

impl StateStore for ProviderState {
    fn load(&self, kind: &str, name: &str) -> Result<Option<Vec<u8>>, StoreFault> {
        let connection = self.store.connection();
        let mut statement = connection
            .prepare_cached("SELECT value FROM state WHERE provider = ?1 AND kind = ?2 AND name = ?3")
            .map_err(fault)?;
        statement.query_row(params![self.provider.0, kind, name], |row| row.get(0)).optional().map_err(fault)
    }

    fn store_if_absent(&self, kind: &str, name: &str, value: &[u8]) -> Result<bool, StoreFault> {
        self.store
            .connection()
            .execute(
                "INSERT INTO state (provider, kind, name, value) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (provider, kind, name) DO NOTHING",
                params![self.provider.0, kind, name, value],
            )
            .map(|inserted| inserted > 0)
            .map_err(fault)
    }

    fn replace(&self, kind: &str, name: &str, value: &[u8]) -> Result<(), StoreFault> {
        self.store
            .connection()
            .execute(
                "INSERT INTO state (provider, kind, name, value) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (provider, kind, name) DO UPDATE SET value = excluded.value",
                params![self.provider.0, kind, name, value],
            )
            .map(|_| ())
            .map_err(fault)
    }

    fn remove(&self, kind: &str, name: &str) -> Result<(), StoreFault> {
        self.store
            .connection()
            .execute(
                "DELETE FROM state WHERE provider = ?1 AND kind = ?2 AND name = ?3",
                params![self.provider.0, kind, name],
            )
            .map(|_| ())
            .map_err(fault)
    }

    fn names(&self, kind: &str) -> Result<Vec<String>, StoreFault> {
        let connection = self.store.connection();
        let mut statement = connection
            .prepare_cached("SELECT name FROM state WHERE provider = ?1 AND kind = ?2 ORDER BY name")
            .map_err(fault)?;
        let rows = statement.query_map(params![self.provider.0, kind], |row| row.get(0)).map_err(fault)?;
        rows.collect::<Result<Vec<String>, _>>().map_err(fault)
    }
}

fn fault(error: rusqlite::Error) -> StoreFault {
    StoreFault(StoreError::from(error).to_string())
}

/// A row of the table, before its values are known to be of their kinds.
struct RawKey {
    id: KeyId,
    purpose: String,
    attributes: Vec<u8>,
    blob: Vec<u8>,
}

impl RawKey {
    fn from_row(row: &Row<'_>) -> rusqlite::Result<RawKey> {
        Ok(RawKey {
            id: KeyId { uid: row.get(0)?, provider: ProviderId(row.get(1)?), name: row.get(2)? },
            purpose: row.get(3)?,
            attributes: row.get(4)?,
            blob: row.get(5)?,
        })
    }

    fn check(self) -> Result<StoredKey, StoreError> {
        let role = KeyRole::ALL.into_iter().find(|role| role.name() == self.purpose);
        let role = role.ok_or(StoreError::Damaged { column: "purpose", found: self.purpose })?;
        Ok(StoredKey { id: self.id, role, attributes: self.attributes, blob: KeyBlob::from_bytes(self.blob) })
    }
}

fn unix_seconds() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|elapsed| i64::try_from(elapsed.as_secs()).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
