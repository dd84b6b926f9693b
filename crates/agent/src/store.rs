//! What the agent remembers: clients' keys and the providers' state, in one SQLite database.
//!
//! Every write is durable when its call returns (WAL, `synchronous = FULL`). The database is
//! `agent.sqlite` in the state directory, mode 0600; one agent at a time holds the directory.
//!
//! Modules that keep keys do not share the database's transactions. So a key's row is there before the module is asked to
//! make it and after it was asked to destroy it, in a state of its own; what a crash has left in that state is abandoned
//! when the provider is opened next ([`Store::unsettled`]).

mod directory;
mod error;
mod key_row;
mod provider_state;
mod rows;
mod schema;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use crate::client_id::ClientId;
use crate::provider::{Family, FamilyCertificates, KeyBlob, KeyUid};
use crate::provider_identity::ProviderName;
pub use directory::DirectoryFault;
use directory::Lock;
pub use error::StoreError;
pub use key_row::{KeyId, KeyRole, ListedKey, NewKey, StoredKey};
use key_row::{KeyState, OF_CLIENT, OF_NAME, OF_NAME_IN_ROW, RawKey};
pub use provider_state::ProviderState;
use rows::Rows;

/// Largest key blob stored, in octets.
pub const MAX_KEY_BLOB_OCTETS: usize = 64 * 1024;

/// What became of a key that was to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Insertion {
    /// It is stored, or its name is reserved for it.
    Stored,
    /// A key of that name is there and was left as it is.
    NameTaken,
    /// The name belongs to a key whose creation or destruction was cut short.
    Unsettled(KeyUid),
}

/// The database; clones share one connection.
#[derive(Clone, Debug)]
pub struct Store {
    connection: Arc<Mutex<Connection>>,
    rows: Arc<Mutex<Rows>>,
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
        let rows = Rows::read(&connection)?;
        Ok(Store {
            connection: Arc::new(Mutex::new(connection)),
            rows: Arc::new(Mutex::new(rows)),
            _lock: Arc::new(lock),
        })
    }

    /// Reserves a name for a key that the module is about to make. Atomic: of several callers with one name exactly one
    /// sees [`Insertion::Stored`]. Nothing but the name is there until [`Store::finish_key`].
    ///
    /// # Errors
    ///
    /// [`StoreError::KeyLimit`] if the owner already has `limit` keys, the faults of the database.
    pub fn reserve_key(&self, key: &NewKey, limit: u32) -> Result<Insertion, StoreError> {
        self.insert(key, KeyState::Making, &[], limit)
    }

    /// Makes a reserved key ready.
    ///
    /// # Errors
    ///
    /// [`StoreError::KeyBlobLength`], [`StoreError::Damaged`] if nothing is reserved under that id, the faults of the database.
    pub fn finish_key(&self, uid: &KeyUid, blob: &KeyBlob) -> Result<(), StoreError> {
        check_length(blob)?;
        let updated = self
            .connection()
            .prepare_cached("UPDATE keys SET state = 'ready', blob = ?2 WHERE uid = ?1 AND state = 'making'")?
            .execute(params![uid.as_octets(), blob.as_bytes()])?;
        if updated == 1 { Ok(()) } else { Err(StoreError::Damaged { column: "state", found: "none".to_owned() }) }
    }

    /// Stores a key that needs no module, at once.
    ///
    /// # Errors
    ///
    /// [`StoreError::KeyLimit`] if the owner already has `limit` keys, [`StoreError::KeyBlobLength`],
    /// the faults of the database.
    pub fn insert_key(&self, key: &NewKey, blob: &KeyBlob, limit: u32) -> Result<Insertion, StoreError> {
        check_length(blob)?;
        self.insert(key, KeyState::Ready, blob.as_bytes(), limit)
    }

    fn insert(&self, key: &NewKey, state: KeyState, blob: &[u8], limit: u32) -> Result<Insertion, StoreError> {
        let (client, provider) = (key.id.client.to_string(), key.id.provider.as_str());
        let mut connection = self.connection();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let inserted = transaction
            .prepare_cached(
                "INSERT INTO keys (uid, client, provider, name, owner, state, purpose, attributes, blob, created)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT (client, provider, name) DO NOTHING",
            )?
            .execute(params![
                key.uid.as_octets(),
                client,
                provider,
                key.id.name,
                key.owner,
                state.name(),
                key.role.name(),
                key.attributes,
                blob,
                unix_seconds(),
            ])?;
        if inserted == 0 {
            let (uid, state): (Vec<u8>, String) = transaction.query_row(
                "SELECT uid, state FROM keys WHERE client = ?1 AND provider = ?2 AND name = ?3",
                params![client, provider, key.id.name],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )?;
            if state == KeyState::Ready.name() {
                return Ok(Insertion::NameTaken);
            }
            return Ok(Insertion::Unsettled(key_row::key_uid(uid)?));
        }
        let count: u32 = transaction
            .prepare_cached("SELECT keys FROM owners WHERE owner = ?1")?
            .query_row([key.owner], |row| row.get(0))?;
        if count > limit {
            // Dropping the transaction takes the row back.
            return Err(StoreError::KeyLimit { uid: key.owner, limit });
        }
        let row = transaction.last_insert_rowid();
        transaction.commit()?;
        self.rows().note((&client, provider, &key.id.name), row);
        Ok(Insertion::Stored)
    }

    /// The key of that id, if it is there.
    ///
    /// # Errors
    ///
    /// [`StoreError::Damaged`] or a fault of the database.
    pub fn key(&self, id: &KeyId) -> Result<Option<StoredKey>, StoreError> {
        let (client, provider, name) = (id.client.to_string(), id.provider.as_str(), id.name.as_str());
        let row = self.rows().guess((&client, provider, name));
        let connection = self.connection();
        let mut guessed = connection.prepare_cached(OF_NAME_IN_ROW)?;
        let mut found = guessed.query_row(params![client, provider, name, row], RawKey::from_row).optional()?;
        if found.is_none() {
            let mut searched = connection.prepare_cached(OF_NAME)?;
            found = searched.query_row(params![client, provider, name], RawKey::from_row).optional()?;
        }
        found.map(RawKey::check).transpose()
    }

    /// All keys of a client, by provider and name.
    ///
    /// # Errors
    ///
    /// [`StoreError::Damaged`] or a fault of the database.
    pub fn keys(&self, client: &ClientId) -> Result<Vec<StoredKey>, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached(OF_CLIENT)?;
        let rows = statement.query_map([client.to_string()], RawKey::from_row)?;
        rows.map(|row| row.map_err(StoreError::from).and_then(RawKey::check)).collect()
    }

    /// Shows all keys of a client, by provider and name, one after the other: there may be many, and their blobs are large.
    ///
    /// # Errors
    ///
    /// [`StoreError::Damaged`], a fault of the database, or what `show` returns, which ends it.
    pub fn list_keys<E: From<StoreError>>(
        &self,
        client: &ClientId,
        mut show: impl FnMut(ListedKey) -> Result<(), E>,
    ) -> Result<(), E> {
        let connection = self.connection();
        let mut statement = connection
            .prepare_cached(
                "SELECT provider, name, purpose, attributes FROM keys
                 WHERE client = ?1 AND state = 'ready' ORDER BY provider, name",
            )
            .map_err(StoreError::from)?;
        let mut rows = statement.query([client.to_string()]).map_err(StoreError::from)?;
        while let Some(row) = rows.next().map_err(StoreError::from)? {
            show(ListedKey::of_row(row)?)?;
        }
        Ok(())
    }

    /// The clients that have keys: users by uid, then the others by name.
    ///
    /// # Errors
    ///
    /// [`StoreError::Damaged`] or a fault of the database.
    pub fn clients(&self) -> Result<Vec<ClientId>, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached("SELECT DISTINCT client FROM keys WHERE state = 'ready'")?;
        let rows = statement.query_map([], |row| row.get(0))?;
        let mut clients = rows
            .map(|row| row.map_err(StoreError::from).and_then(key_row::client))
            .collect::<Result<Vec<ClientId>, StoreError>>()?;
        clients.sort_unstable();
        Ok(clients)
    }

    /// Notes that a key's module is about to destroy it; false if no such key is ready. It is nobody's key from now on.
    ///
    /// # Errors
    ///
    /// the faults of the database.
    pub fn begin_removal(&self, uid: &KeyUid) -> Result<bool, StoreError> {
        self.change_state(uid, KeyState::Ready, KeyState::Leaving)
    }

    /// Takes [`Store::begin_removal`] back: the module has refused and has the key still.
    ///
    /// # Errors
    ///
    /// the faults of the database.
    pub fn undo_removal(&self, uid: &KeyUid) -> Result<bool, StoreError> {
        self.change_state(uid, KeyState::Leaving, KeyState::Ready)
    }

    fn change_state(&self, uid: &KeyUid, from: KeyState, to: KeyState) -> Result<bool, StoreError> {
        let changed = self
            .connection()
            .prepare_cached("UPDATE keys SET state = ?3 WHERE uid = ?1 AND state = ?2")?
            .execute(params![uid.as_octets(), from.name(), to.name()])?;
        Ok(changed > 0)
    }

    /// Forgets a key, whatever its state, and its certificates; true if it was there.
    ///
    /// # Errors
    ///
    /// the faults of the database.
    pub fn remove_key(&self, uid: &KeyUid) -> Result<bool, StoreError> {
        let removed =
            self.connection().prepare_cached("DELETE FROM keys WHERE uid = ?1")?.execute([uid.as_octets()])?;
        Ok(removed > 0)
    }

    /// The keys of a provider whose creation or destruction was cut short.
    ///
    /// # Errors
    ///
    /// [`StoreError::Damaged`] or a fault of the database.
    pub fn unsettled(&self, provider: &ProviderName) -> Result<Vec<KeyUid>, StoreError> {
        let connection = self.connection();
        let mut statement =
            connection.prepare_cached("SELECT uid FROM keys WHERE provider = ?1 AND state <> 'ready' ORDER BY id")?;
        let rows = statement.query_map([provider.as_str()], |row| row.get(0))?;
        rows.map(|row| row.map_err(StoreError::from).and_then(key_row::key_uid)).collect()
    }

    /// Keeps the certificates of a client's own attesting key, replacing those of the same families, all or none; false
    /// if there is no such key.
    ///
    /// # Errors
    ///
    /// the faults of the database.
    pub fn replace_certificates(&self, uid: &KeyUid, chains: &[FamilyCertificates]) -> Result<bool, StoreError> {
        let mut connection = self.connection();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let key: Option<i64> = transaction
            .query_row("SELECT id FROM keys WHERE uid = ?1 AND state = 'ready'", [uid.as_octets()], |row| row.get(0))
            .optional()?;
        let Some(key) = key else { return Ok(false) };
        for chain in chains {
            let family = chain.family.as_str();
            transaction.execute("DELETE FROM certificates WHERE key = ?1 AND family = ?2", params![key, family])?;
            for (position, certificate) in (0_u32..).zip(&chain.certificates) {
                transaction.execute(
                    "INSERT INTO certificates (key, family, position, der) VALUES (?1, ?2, ?3, ?4)",
                    params![key, family, position, certificate],
                )?;
            }
        }
        transaction.commit()?;
        Ok(true)
    }

    /// The certificates of a client's own attesting key, by family; none if there is no such key.
    ///
    /// # Errors
    ///
    /// the faults of the database.
    pub fn certificates(&self, uid: &KeyUid) -> Result<Vec<FamilyCertificates>, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached(
            "SELECT der FROM certificates JOIN keys ON keys.id = certificates.key
             WHERE uid = ?1 AND state = 'ready' AND family = ?2 ORDER BY position",
        )?;
        let mut families = Vec::new();
        for family in Family::ALL {
            let rows = statement.query_map(params![uid.as_octets(), family.as_str()], |row| row.get(0))?;
            let certificates = rows.collect::<Result<Vec<Vec<u8>>, _>>()?;
            if !certificates.is_empty() {
                families.push(FamilyCertificates { family, certificates });
            }
        }
        Ok(families)
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A panic while the lock was held leaves an open transaction at worst, which its guard rolled back.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn check_length(blob: &KeyBlob) -> Result<(), StoreError> {
    let found = blob.as_bytes().len();
    let limit = MAX_KEY_BLOB_OCTETS;
    if found > limit { Err(StoreError::KeyBlobLength { found, limit }) } else { Ok(()) }
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
