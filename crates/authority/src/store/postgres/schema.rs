//! The tables in PostgreSQL.
//!
//! No statement here or elsewhere in this folder needs more than what PostgreSQL and the distributed engines that speak
//! its language have in common: no advisory lock, no notification, no number that is taken to have no gaps or an order.
//! Large rows lie under numbers that grow; random keys are in narrow indices.

use deadpool_postgres::Client;

use super::ServerError;
use super::certified_keys::backfill;
use super::link::{ATTEMPTS, pause};
use crate::store::StoreError;

/// The oldest server that is used.
pub(super) const SERVER_VERSION_LEAST: i64 = 15;
/// What `server_version_num` counts of a major version.
const NUMBERS_OF_MAJOR: i64 = 10_000;

/// Version of the schema.
const VERSION: i64 = 2;

/// Rows that name a decision are written in one statement with it: that it is there needs no second look.
const TABLES: &str = "
CREATE TABLE vouchsafe_schema (one boolean PRIMARY KEY CHECK (one), version bigint NOT NULL);
CREATE SEQUENCE decision_numbers;
CREATE TABLE decisions (
    id bigint PRIMARY KEY DEFAULT nextval('decision_numbers'),
    at bigint NOT NULL,
    kind text NOT NULL,
    account text NOT NULL,
    outcome text NOT NULL,
    commitment bytea NOT NULL
);
CREATE TABLE evidence (
    decision bigint PRIMARY KEY,
    sealed bytea NOT NULL
);
CREATE TABLE spent_nonces (
    nonce bytea PRIMARY KEY,
    spent_at bigint NOT NULL,
    request bytea NOT NULL,
    decision bigint NOT NULL
);
CREATE TABLE certificates (
    decision bigint NOT NULL,
    place bigint NOT NULL,
    serial bytea NOT NULL CONSTRAINT certificates_serial UNIQUE,
    not_after bigint NOT NULL,
    der bytea NOT NULL,
    attesting_key bytea,
    is_of_key boolean NOT NULL,
    PRIMARY KEY (decision, place)
);
CREATE INDEX certificates_of_key ON certificates (attesting_key);
CREATE TABLE challenges (
    id bytea PRIMARY KEY,
    expires bigint NOT NULL,
    is_signature boolean NOT NULL,
    expected bytea NOT NULL,
    account text NOT NULL,
    device text NOT NULL,
    identity bytea NOT NULL,
    ek_certificate bytea NOT NULL,
    is_virtual boolean NOT NULL,
    name bytea,
    public bytea NOT NULL,
    spki_digest bytea NOT NULL,
    method text NOT NULL,
    environment text NOT NULL,
    proof bytea NOT NULL,
    approvers text NOT NULL,
    is_exclusive boolean NOT NULL,
    baseline bytea
);
CREATE TABLE devices (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account text NOT NULL,
    name text NOT NULL UNIQUE,
    identity bytea NOT NULL UNIQUE,
    ek_certificate bytea NOT NULL,
    baseline bytea,
    enrolled_at bigint NOT NULL,
    replaceable_until bigint,
    replacement_approver text
);
CREATE TABLE attesting_keys (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    device bigint NOT NULL REFERENCES devices (id),
    account text NOT NULL,
    name bytea UNIQUE,
    public bytea NOT NULL,
    spki_digest bytea NOT NULL UNIQUE,
    is_virtual boolean NOT NULL,
    method text NOT NULL,
    environment text NOT NULL,
    proof bytea NOT NULL,
    approvers text NOT NULL,
    predecessor bigint REFERENCES attesting_keys (id),
    enrolled_at bigint NOT NULL,
    revoked_at bigint,
    revocation_reason text,
    revocation_approver text
);
CREATE INDEX attesting_keys_of_device ON attesting_keys (device);
CREATE TABLE enrolments (
    decision bigint PRIMARY KEY,
    method text NOT NULL,
    environment text NOT NULL,
    proof bytea NOT NULL,
    approvers text NOT NULL
);
CREATE TABLE shared_devices (
    device bigint NOT NULL REFERENCES devices (id),
    account text NOT NULL,
    PRIMARY KEY (device, account)
);
CREATE TABLE revocations (
    serial bytea PRIMARY KEY REFERENCES certificates (serial),
    at bigint NOT NULL,
    reason text NOT NULL
);
CREATE TABLE inventory (
    device text PRIMARY KEY,
    account text NOT NULL,
    ek_sha256 bytea UNIQUE,
    vendor text,
    serial text,
    model text NOT NULL,
    is_virtual boolean NOT NULL,
    digest bytea NOT NULL,
    approver text NOT NULL,
    UNIQUE (vendor, serial)
);
";

/// What version 2 has besides. The documents of the ACME server came to version 1 later: some databases of it have them.
const CERTIFIED_KEY_TABLES: &str = "
CREATE TABLE IF NOT EXISTS acme_documents (
    kind text NOT NULL,
    id bytea NOT NULL,
    owner bytea NOT NULL,
    version bigint NOT NULL,
    expires bigint NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (kind, id)
);
CREATE INDEX IF NOT EXISTS acme_documents_of_owner ON acme_documents (owner, kind, expires);
CREATE INDEX IF NOT EXISTS acme_documents_by_expiry ON acme_documents (expires);
ALTER TABLE certificates ADD COLUMN key bytea NOT NULL DEFAULT '';
ALTER TABLE certificates ALTER COLUMN key DROP DEFAULT;
CREATE TABLE certified_keys (
    key bytea PRIMARY KEY,
    is_attesting boolean NOT NULL,
    subject bytea NOT NULL,
    account text NOT NULL,
    profile text NOT NULL,
    serial bytea NOT NULL,
    has_others boolean NOT NULL,
    compromised_at bigint
);
CREATE INDEX certificates_of_certified_key ON certificates (key);
";

/// A database that has much takes longer to be brought up to date than any request may.
const PATIENTLY: &str = "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0";

/// Refuses a server that is too old or that loses what it reports as written.
pub(super) async fn check_server(client: &Client) -> Result<(), StoreError> {
    let row = client
        .query_one("SELECT current_setting('server_version_num'), coalesce(current_setting('fsync', true), 'on')", &[])
        .await?;
    let (version, fsync): (String, String) = (row.try_get(0)?, row.try_get(1)?);
    let version: i64 = version.parse().map_err(|_| StoreError::Unexpected { column: "server_version_num" })?;
    if version < SERVER_VERSION_LEAST.saturating_mul(NUMBERS_OF_MAJOR) {
        return Err(ServerError::Version { major: version.checked_div(NUMBERS_OF_MAJOR).unwrap_or(0) }.into());
    }
    if fsync == "off" { Err(ServerError::NotDurable.into()) } else { Ok(()) }
}

/// Creates the tables in a new database, brings one of an older version up to date and refuses one of another version. Of
/// several that start at once one does so: the others' transactions fail or wait, and they look again.
pub(super) async fn migrate(client: &mut Client) -> Result<(), StoreError> {
    for attempt in 0..ATTEMPTS {
        let migrated = match version(client).await? {
            Some(VERSION) => return Ok(()),
            Some(1) => from_version_1(client).await,
            Some(found) => return Err(StoreError::Schema { found, expected: VERSION }),
            None => create(client).await,
        };
        match migrated {
            Ok(()) => {}
            Err(StoreError::Server(error)) if is_raced(&error) => pause(attempt).await,
            Err(error) => return Err(error),
        }
    }
    Err(StoreError::Unexpected { column: "version" })
}

async fn create(client: &mut Client) -> Result<(), StoreError> {
    let transaction = client.transaction().await?;
    transaction.batch_execute(TABLES).await?;
    transaction.batch_execute(CERTIFIED_KEY_TABLES).await?;
    transaction.execute("INSERT INTO vouchsafe_schema (one, version) VALUES (true, $1)", &[&VERSION]).await?;
    Ok(transaction.commit().await?)
}

async fn from_version_1(client: &mut Client) -> Result<(), StoreError> {
    let transaction = client.transaction().await?;
    transaction.batch_execute(PATIENTLY).await?;
    // Others that start wait here, and find it done.
    let found = transaction.query_one("SELECT version FROM vouchsafe_schema WHERE one FOR UPDATE", &[]).await?;
    if found.try_get::<_, i64>(0)? != 1 {
        return Ok(());
    }
    transaction.batch_execute(CERTIFIED_KEY_TABLES).await?;
    backfill(&transaction).await?;
    transaction.execute("UPDATE vouchsafe_schema SET version = $1", &[&VERSION]).await?;
    Ok(transaction.commit().await?)
}

/// Whether another instance that does the same explains the failure.
fn is_raced(error: &ServerError) -> bool {
    error.is_worth_another_try() || matches!(error, ServerError::Duplicate(_))
}

/// The version of the schema that is there.
async fn version(client: &Client) -> Result<Option<i64>, StoreError> {
    let there = client
        .query_opt(
            "SELECT 1 FROM information_schema.tables
             WHERE table_name = 'vouchsafe_schema' AND table_schema = current_schema()",
            &[],
        )
        .await?;
    if there.is_none() {
        return Ok(None);
    }
    let row = client.query_opt("SELECT version FROM vouchsafe_schema", &[]).await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}
