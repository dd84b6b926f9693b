//! The database's tables and their version.

use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};

use super::StoreError;

/// The schema that this version writes, kept in `PRAGMA user_version`.
const SUPPORTED: u32 = 1;

/// How long another program's lock is waited for. A backup takes less; what takes longer must not hold up the clients.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);

/// Schema 1.
const CREATE: &str = "
    CREATE TABLE keys (
        id INTEGER PRIMARY KEY,
        uid INTEGER NOT NULL,
        provider INTEGER NOT NULL,
        name TEXT NOT NULL,
        purpose TEXT NOT NULL,
        attributes BLOB NOT NULL,
        blob BLOB NOT NULL,
        created INTEGER NOT NULL,
        UNIQUE (uid, provider, name)
    ) STRICT;
    CREATE TABLE certificates (
        key INTEGER NOT NULL REFERENCES keys (id) ON DELETE CASCADE,
        family TEXT NOT NULL,
        position INTEGER NOT NULL,
        der BLOB NOT NULL,
        PRIMARY KEY (key, family, position)
    ) STRICT;
    CREATE TABLE state (
        provider INTEGER NOT NULL,
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        value BLOB NOT NULL,
        PRIMARY KEY (provider, kind, name)
    ) STRICT;
";

/// Sets the connection up and brings the tables to the supported schema.
pub(super) fn prepare(connection: &mut Connection) -> Result<(), StoreError> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // Removed key blobs are overwritten, not merely unlinked from their page.
    connection.pragma_update(None, "secure_delete", true)?;
    // Without a lock where nothing is to be done, so that an agent starts beside a backup.
    if version(connection)? == SUPPORTED {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    match version(&transaction)? {
        0 => {
            transaction.execute_batch(CREATE)?;
            transaction.pragma_update(None, "user_version", SUPPORTED)?;
        }
        SUPPORTED => {}
        found => return Err(StoreError::NewerSchema { found, supported: SUPPORTED }),
    }
    transaction.commit()?;
    Ok(())
}

fn version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}
