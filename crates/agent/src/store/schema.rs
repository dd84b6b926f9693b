//! The database's tables and their version.

use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};

use super::StoreError;

/// The schema that this version writes, kept in `PRAGMA user_version`.
const SUPPORTED: u32 = 2;

/// How long another program's lock is waited for. A backup takes less; what takes longer must not hold up the clients.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);

/// Schema 2. The index of a state other than `ready` is empty but for what a crash has left. How many keys count on an owner's
/// quota is kept beside them, since counting them for each new key would take longer the more there are.
const CREATE: &str = "
    CREATE TABLE keys (
        id INTEGER PRIMARY KEY,
        uid BLOB NOT NULL UNIQUE,
        client TEXT NOT NULL,
        provider TEXT NOT NULL,
        name TEXT NOT NULL,
        owner INTEGER NOT NULL,
        state TEXT NOT NULL,
        purpose TEXT NOT NULL,
        attributes BLOB NOT NULL,
        blob BLOB NOT NULL,
        created INTEGER NOT NULL,
        UNIQUE (client, provider, name)
    ) STRICT;
    CREATE INDEX keys_unsettled ON keys (provider) WHERE state <> 'ready';
    CREATE TABLE owners (owner INTEGER PRIMARY KEY, keys INTEGER NOT NULL) STRICT;
    CREATE TRIGGER key_added AFTER INSERT ON keys BEGIN
        INSERT INTO owners (owner, keys) VALUES (new.owner, 1) ON CONFLICT (owner) DO UPDATE SET keys = keys + 1;
    END;
    CREATE TRIGGER key_removed AFTER DELETE ON keys BEGIN
        UPDATE owners SET keys = keys - 1 WHERE owner = old.owner;
    END;
    CREATE TABLE certificates (
        key INTEGER NOT NULL REFERENCES keys (id) ON DELETE CASCADE,
        family TEXT NOT NULL,
        position INTEGER NOT NULL,
        der BLOB NOT NULL,
        PRIMARY KEY (key, family, position)
    ) STRICT;
    CREATE TABLE state (
        provider TEXT NOT NULL,
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        value BLOB NOT NULL,
        PRIMARY KEY (provider, kind, name)
    ) STRICT;
";

/// Makes room for schema 2 beside what schema 1 has.
const SET_ASIDE: &str = "
    ALTER TABLE certificates RENAME TO certificates_1;
    ALTER TABLE keys RENAME TO keys_1;
    ALTER TABLE state RENAME TO state_1;
";

/// From schema 1, in which clients were uids and providers numbers. Its one provider was called `tpm`.
const FROM_1: &str = "
    INSERT INTO keys (id, uid, client, provider, name, owner, state, purpose, attributes, blob, created)
        SELECT id, randomblob(16), 'unix:' || uid,
            CASE provider WHEN 3 THEN 'tpm' WHEN 2 THEN 'pkcs11' ELSE 'provider-' || provider END,
            name, uid, 'ready', purpose, attributes, blob, created
        FROM keys_1;
    INSERT INTO certificates SELECT * FROM certificates_1;
    INSERT INTO state (provider, kind, name, value)
        SELECT CASE provider WHEN 3 THEN 'tpm' WHEN 2 THEN 'pkcs11' ELSE 'provider-' || provider END, kind, name, value
        FROM state_1;
    DROP TABLE certificates_1;
    DROP TABLE keys_1;
    DROP TABLE state_1;
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
        1 => {
            for step in [SET_ASIDE, CREATE, FROM_1] {
                transaction.execute_batch(step)?;
            }
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
