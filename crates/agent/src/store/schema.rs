//! The database's tables and their version.

use rusqlite::{Connection, TransactionBehavior};

use super::StoreError;

/// The schema that this version writes, kept in `PRAGMA user_version`.
const SUPPORTED: u32 = 1;

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
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // Removed key blobs are overwritten, not merely unlinked from their page.
    connection.pragma_update(None, "secure_delete", true)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found: u32 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    match found {
        0 => {
            transaction.execute_batch(CREATE)?;
            transaction.pragma_update(None, "user_version", SUPPORTED)?;
        }
        SUPPORTED => {}
        _ => return Err(StoreError::NewerSchema { found, supported: SUPPORTED }),
    }
    transaction.commit()?;
    Ok(())
}
