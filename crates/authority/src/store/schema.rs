//! The tables.
//!
//! Large rows lie in rowid tables, so that they are appended; random keys are in narrow indices. Nonces begin
//! with their time, so that they too are appended and the oldest are removed without another index.

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::StoreError;

/// Compiled statements that a connection keeps; there are fewer in this program.
const STATEMENTS_KEPT: usize = 64;
/// Pages in the write-ahead log before they are copied into the database: a page that many commits touch is copied
/// once for all of them. 16 MiB.
const CHECKPOINT_PAGES: i64 = 4_000;
/// How long a program that has the database locked is waited for.
pub(super) const LOCK_PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);

/// Version of the schema, in `user_version`.
const VERSION: i64 = 1;

const TABLES: &str = "
CREATE TABLE decisions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    account TEXT NOT NULL,
    outcome TEXT NOT NULL,
    commitment BLOB NOT NULL
) STRICT;
CREATE TABLE evidence (
    decision INTEGER PRIMARY KEY REFERENCES decisions (id),
    sealed BLOB NOT NULL
) STRICT;
CREATE TABLE spent_nonces (
    nonce BLOB PRIMARY KEY,
    spent_at INTEGER NOT NULL,
    request BLOB NOT NULL,
    decision INTEGER NOT NULL REFERENCES decisions (id)
) STRICT, WITHOUT ROWID;
CREATE TABLE challenges (
    id BLOB PRIMARY KEY,
    account TEXT NOT NULL,
    device TEXT NOT NULL,
    expires INTEGER NOT NULL,
    credential_digest BLOB NOT NULL,
    ek_digest BLOB NOT NULL,
    ek_certificate BLOB NOT NULL,
    is_virtual INTEGER NOT NULL,
    ak_public BLOB NOT NULL,
    baseline BLOB
) STRICT;
CREATE TABLE devices (
    id INTEGER PRIMARY KEY,
    account TEXT NOT NULL,
    name TEXT NOT NULL UNIQUE,
    ek_digest BLOB NOT NULL UNIQUE,
    ek_certificate BLOB NOT NULL,
    baseline BLOB,
    enrolled_at INTEGER NOT NULL
) STRICT;
CREATE TABLE attestation_keys (
    id INTEGER PRIMARY KEY,
    device INTEGER NOT NULL REFERENCES devices (id),
    name BLOB NOT NULL UNIQUE,
    spki_digest BLOB NOT NULL UNIQUE,
    public BLOB NOT NULL,
    activated_at INTEGER NOT NULL
) STRICT;
CREATE TABLE certificates (
    id INTEGER PRIMARY KEY,
    serial BLOB NOT NULL UNIQUE,
    decision INTEGER NOT NULL REFERENCES decisions (id),
    not_after INTEGER NOT NULL,
    der BLOB NOT NULL
) STRICT;
CREATE INDEX certificates_of_decision ON certificates (decision);
";

/// Settings of every connection: a transaction that was reported is on the disk.
pub(super) fn configure(connection: &Connection) -> Result<(), StoreError> {
    plan_once(connection)?;
    connection.busy_timeout(LOCK_PATIENCE)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    // An erased row leaves no octets behind in its page.
    connection.pragma_update(None, "secure_delete", true)?;
    Ok(())
}

/// Keeps the plans of statements. Otherwise SQLite, built to look at statistics, compiles a statement anew for every
/// value that is bound to it.
pub(super) fn plan_once(connection: &Connection) -> Result<(), StoreError> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    Ok(())
}

/// Creates the tables in a new database and refuses one of another version.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let found: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    match found {
        VERSION => {}
        0 => {
            transaction.execute_batch(TABLES)?;
            transaction.pragma_update(None, "user_version", VERSION)?;
        }
        found => return Err(StoreError::Schema { found, expected: VERSION }),
    }
    transaction.commit()?;
    Ok(())
}
