//! The tables.
//!
//! Large rows lie in rowid tables, so that they are appended; random keys are in narrow indices. Nonces begin
//! with their time, so that they too are appended and the oldest are removed without another index.

use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::StoreError;

/// Compiled statements that a connection keeps; there are fewer in this program.
const STATEMENTS_KEPT: usize = 64;
/// Pages in the write-ahead log before they are copied into the database: a page that many commits touch is copied
/// once for all of them. 16 MiB.
const CHECKPOINT_PAGES: i64 = 4_000;
/// How long a program that has the database locked is waited for.
pub(super) const LOCK_PATIENCE: Duration = Duration::from_secs(2);
/// How long other instances are waited for that start on the same file, and how often they are looked at.
const START_PATIENCE: Duration = Duration::from_secs(5);
const START_PAUSE: Duration = Duration::from_millis(10);

/// Version of the schema, in `user_version`.
const VERSION: i64 = 4;

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
CREATE TABLE devices (
    id INTEGER PRIMARY KEY,
    account TEXT NOT NULL,
    name TEXT NOT NULL UNIQUE,
    identity BLOB NOT NULL UNIQUE,
    ek_certificate BLOB NOT NULL,
    baseline BLOB,
    enrolled_at INTEGER NOT NULL,
    replaceable_until INTEGER,
    replacement_approver TEXT
) STRICT;
CREATE TABLE certificates (
    id INTEGER PRIMARY KEY,
    serial BLOB NOT NULL UNIQUE,
    decision INTEGER NOT NULL REFERENCES decisions (id),
    not_after INTEGER NOT NULL,
    der BLOB NOT NULL,
    attesting_key BLOB,
    is_of_key INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX certificates_of_decision ON certificates (decision);
";

/// The tables of attesting keys and of the inventory, as of version 2.
const ATTESTING_KEY_TABLES: &str = "
CREATE TABLE challenges (
    id BLOB PRIMARY KEY,
    expires INTEGER NOT NULL,
    is_signature INTEGER NOT NULL,
    expected BLOB NOT NULL,
    account TEXT NOT NULL,
    device TEXT NOT NULL,
    identity BLOB NOT NULL,
    ek_certificate BLOB NOT NULL,
    is_virtual INTEGER NOT NULL,
    name BLOB,
    public BLOB NOT NULL,
    spki_digest BLOB NOT NULL,
    method TEXT NOT NULL,
    environment TEXT NOT NULL,
    proof BLOB NOT NULL,
    approvers TEXT NOT NULL,
    is_exclusive INTEGER NOT NULL,
    baseline BLOB
) STRICT;
CREATE TABLE attesting_keys (
    id INTEGER PRIMARY KEY,
    device INTEGER NOT NULL REFERENCES devices (id),
    account TEXT NOT NULL,
    name BLOB UNIQUE,
    public BLOB NOT NULL,
    spki_digest BLOB NOT NULL UNIQUE,
    is_virtual INTEGER NOT NULL,
    method TEXT NOT NULL,
    environment TEXT NOT NULL,
    proof BLOB NOT NULL,
    approvers TEXT NOT NULL,
    predecessor INTEGER REFERENCES attesting_keys (id),
    enrolled_at INTEGER NOT NULL,
    revoked_at INTEGER,
    revocation_reason TEXT,
    revocation_approver TEXT
) STRICT;
CREATE INDEX attesting_keys_of_device ON attesting_keys (device);
CREATE TABLE enrolments (
    decision INTEGER PRIMARY KEY REFERENCES decisions (id),
    method TEXT NOT NULL,
    environment TEXT NOT NULL,
    proof BLOB NOT NULL,
    approvers TEXT NOT NULL
) STRICT;
CREATE TABLE shared_devices (
    device INTEGER NOT NULL REFERENCES devices (id),
    account TEXT NOT NULL,
    PRIMARY KEY (device, account)
) STRICT, WITHOUT ROWID;
CREATE TABLE revocations (
    certificate INTEGER PRIMARY KEY REFERENCES certificates (id),
    at INTEGER NOT NULL,
    reason TEXT NOT NULL
) STRICT;
CREATE TABLE inventory (
    id INTEGER PRIMARY KEY,
    device TEXT NOT NULL UNIQUE,
    account TEXT NOT NULL,
    ek_sha256 BLOB UNIQUE,
    vendor TEXT,
    serial TEXT,
    model TEXT NOT NULL,
    is_virtual INTEGER NOT NULL,
    digest BLOB NOT NULL,
    approver TEXT NOT NULL,
    UNIQUE (vendor, serial)
) STRICT;
CREATE INDEX certificates_of_key ON certificates (attesting_key);
";

/// The documents of the ACME server, as of version 3.
const ACME_TABLES: &str = "
CREATE TABLE acme_documents (
    number INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    id BLOB NOT NULL,
    owner BLOB NOT NULL,
    version INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    body BLOB NOT NULL,
    UNIQUE (kind, id)
) STRICT;
CREATE INDEX acme_documents_of_owner ON acme_documents (owner, kind, expires);
CREATE INDEX acme_documents_by_expiry ON acme_documents (expires);
";

/// Whose each key is, as of version 4.
const CERTIFIED_KEY_TABLES: &str = "
ALTER TABLE certificates ADD COLUMN key BLOB NOT NULL DEFAULT X'';
CREATE TABLE certified_keys (
    key BLOB PRIMARY KEY,
    is_attesting INTEGER NOT NULL,
    subject BLOB NOT NULL,
    account TEXT NOT NULL,
    profile TEXT NOT NULL,
    serial BLOB NOT NULL,
    has_others INTEGER NOT NULL,
    compromised_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX certificates_of_certified_key ON certificates (key);
";

/// From version 1: every attesting key there was enrolled by its maker's word. Open challenges are asked for again.
const FROM_VERSION_1: &str = "
DROP TABLE challenges;
ALTER TABLE devices RENAME COLUMN ek_digest TO identity;
ALTER TABLE devices ADD COLUMN replaceable_until INTEGER;
ALTER TABLE devices ADD COLUMN replacement_approver TEXT;
ALTER TABLE certificates ADD COLUMN attesting_key BLOB;
ALTER TABLE certificates ADD COLUMN is_of_key INTEGER NOT NULL DEFAULT 0;
";
/// What was not recorded in version 1 is taken for the lesser: the module may be one in software, and the digest of its
/// endorsement certificate stands for itself.
const KEYS_FROM_VERSION_1: &str = "
INSERT INTO attesting_keys
    (id, device, account, name, public, spki_digest, is_virtual, method, environment, proof, approvers, enrolled_at)
SELECT old.id, old.device, devices.account, old.name, old.public, old.spki_digest, 1, 'manufacturer', 'module',
    devices.identity, '[]', old.activated_at
FROM attestation_keys AS old JOIN devices ON devices.id = old.device;
DROP TABLE attestation_keys;
";

/// Settings of every connection: a transaction that was reported is on the disk.
pub(super) fn configure(connection: &Connection) -> Result<(), StoreError> {
    plan_once(connection)?;
    connection.busy_timeout(LOCK_PATIENCE)?;
    log_ahead(connection)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    // An erased row leaves no octets behind in its page.
    connection.pragma_update(None, "secure_delete", true)?;
    Ok(())
}

/// Writes to a log ahead of the database, as several instances on one file need it. While others change to that too, SQLite
/// says at once that the file is locked, without any patience of its own.
fn log_ahead(connection: &Connection) -> Result<(), StoreError> {
    let begun = Instant::now();
    loop {
        match connection.pragma_update(None, "journal_mode", "WAL").map_err(StoreError::from) {
            Err(StoreError::Locked) if begun.elapsed() < START_PATIENCE => std::thread::sleep(START_PAUSE),
            outcome => return outcome,
        }
    }
}

/// Keeps the plans of statements. Otherwise SQLite, built to look at statistics, compiles a statement anew for every
/// value that is bound to it.
pub(super) fn plan_once(connection: &Connection) -> Result<(), StoreError> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    Ok(())
}

/// Creates the tables in a new database, brings one of an older version up to date and refuses one of another version.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let found: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let steps: &[&str] = match found {
        VERSION => return Ok(()),
        3 => &[CERTIFIED_KEY_TABLES],
        2 => &[ACME_TABLES, CERTIFIED_KEY_TABLES],
        1 => &[FROM_VERSION_1, ATTESTING_KEY_TABLES, KEYS_FROM_VERSION_1, ACME_TABLES, CERTIFIED_KEY_TABLES],
        0 => &[TABLES, ATTESTING_KEY_TABLES, ACME_TABLES, CERTIFIED_KEY_TABLES],
        found => return Err(StoreError::Schema { found, expected: VERSION }),
    };
    for step in steps {
        transaction.execute_batch(step)?;
    }
    super::sqlite::certified_keys::backfill(&transaction)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()?;
    Ok(())
}
