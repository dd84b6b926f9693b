//! The store in one SQLite file.

mod acme;
mod attesting_keys;
pub(super) mod certified_keys;
mod inventory;

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Row, params};

use super::writer::Writer;
use super::{
    CertificateRecord, Decision, Digest, Done, IssuedCertificate, Proof, RecordedDecision, Spending, Spent, Store,
    StoreError, ValidCertificate, columns, schema,
};
use crate::nonce::NONCE_OCTETS;

/// Connections that are kept open for reading: one for each request that is worked on by default. To open one
/// and have it read the schema takes longer than to answer from it.
const READERS_KEPT: usize = 64;

/// A [`Store`] in an SQLite database in WAL mode with `synchronous = FULL`.
#[derive(Debug)]
pub struct Sqlite {
    path: PathBuf,
    writer: Writer,
    readers: Mutex<Vec<Connection>>,
}

impl Sqlite {
    /// Opens the database at `path`, creating it if it is not there.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Schema`], [`StoreError::Thread`], and what is wrong with the disk.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let connection = open_for_writing(path)?;
        Ok(Self { path: path.to_owned(), writer: Writer::start(path, connection)?, readers: Mutex::new(Vec::new()) })
    }

    fn read<T>(&self, read: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let kept = self.readers.lock().map_err(|_| StoreError::Stopped)?.pop();
        let connection = match kept {
            Some(connection) => connection,
            None => {
                let connection = Connection::open_with_flags(
                    &self.path,
                    OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
                )?;
                connection.busy_timeout(schema::LOCK_PATIENCE)?;
                schema::plan_once(&connection)?;
                connection
            }
        };
        // After a failure the next reader opens the file anew, whatever was wrong with it.
        let value = read(&connection)?;
        let mut readers = self.readers.lock().map_err(|_| StoreError::Stopped)?;
        if readers.len() < READERS_KEPT {
            readers.push(connection);
        }
        Ok(value)
    }
}

/// A connection with every setting and the schema of this version.
pub(super) fn open_for_writing(path: &Path) -> Result<Connection, StoreError> {
    let mut connection = Connection::open(path)?;
    // SQLite opens what it cannot write for reading, and does not say so before the first row.
    if connection.is_readonly("main")? {
        return Err(StoreError::ReadOnly);
    }
    schema::configure(&connection)?;
    schema::migrate(&mut connection)?;
    Ok(connection)
}

impl Store for Sqlite {
    fn spent(&self, nonce: &[u8; NONCE_OCTETS]) -> Result<Option<Spent>, StoreError> {
        self.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT request, decision FROM spent_nonces WHERE nonce = ?1")?;
            Ok(statement
                .query_row([nonce], |row| Ok(Spent { request: row.get(0)?, decision: row.get(1)? }))
                .optional()?)
        })
    }

    fn decide_later(
        &self,
        spending: Spending,
        decision: Decision,
        certificates: Vec<CertificateRecord>,
        done: Done<i64>,
    ) {
        let write = move |connection: &Connection| {
            let at = decision.at;
            let id = insert_decision(connection, &decision)?;
            spend(connection, spending, id, at)?;
            insert_certificates(connection, (id, &decision.account), &certificates)?;
            Ok(id)
        };
        self.writer.write_later(write, done);
    }

    fn record(&self, decision: Decision) -> Result<i64, StoreError> {
        self.writer.write(move |connection| insert_decision(connection, &decision))
    }

    fn decision(&self, id: i64) -> Result<Option<RecordedDecision>, StoreError> {
        self.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT kind, account, outcome, commitment FROM decisions WHERE id = ?1")?;
            let found: Option<(String, String, String, Digest)> =
                statement.query_row([id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))).optional()?;
            let Some((kind, account, outcome, commitment)) = found else { return Ok(None) };
            let mut statement =
                connection.prepare_cached("SELECT serial FROM certificates WHERE decision = ?1 ORDER BY id")?;
            let serials = statement.query_map([id], |row| row.get(0))?.collect::<Result<_, _>>()?;
            let accepted = columns::accepted(&outcome)?;
            let enrolment = enrolment_of(connection, id)?;
            Ok(Some(RecordedDecision { id, kind, account, accepted, commitment, serials, enrolment }))
        })
    }

    fn evidence(&self, decision: i64) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT sealed FROM evidence WHERE decision = ?1")?;
            Ok(statement.query_row([decision], |row| row.get(0)).optional()?)
        })
    }

    fn certificates(&self, decision: i64) -> Result<Vec<Vec<u8>>, StoreError> {
        self.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT der FROM certificates WHERE decision = ?1 ORDER BY id")?;
            Ok(statement.query_map([decision], |row| row.get(0))?.collect::<Result<_, _>>()?)
        })
    }

    fn issued(&self, serial: &[u8]) -> Result<Option<IssuedCertificate>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT account, der, revocations.certificate IS NOT NULL FROM certificates
                 JOIN decisions ON decisions.id = certificates.decision
                 LEFT JOIN revocations ON revocations.certificate = certificates.id
                 WHERE serial = ?1",
            )?;
            let read = |row: &Row<'_>| {
                Ok(IssuedCertificate { account: row.get(0)?, der: row.get(1)?, is_revoked: row.get(2)? })
            };
            Ok(statement.query_row([serial], read).optional()?)
        })
    }

    fn valid_certificates(&self, serial: &[u8], now: i64, limit: u32) -> Result<Vec<ValidCertificate>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT serial, der, not_after FROM certificates WHERE serial > ?1 AND not_after > ?2 ORDER BY serial LIMIT ?3",
            )?;
            let read =
                |row: &Row<'_>| Ok(ValidCertificate { serial: row.get(0)?, der: row.get(1)?, not_after: row.get(2)? });
            Ok(statement.query_map(params![serial, now, limit], read)?.collect::<Result<_, _>>()?)
        })
    }

    fn erase_evidence(&self, decision: i64) -> Result<(), StoreError> {
        self.writer.write(move |connection| {
            connection.execute("DELETE FROM evidence WHERE decision = ?1", [decision])?;
            Ok(())
        })
    }

    fn prune(&self, before: i64, nonces_before: i64) -> Result<(), StoreError> {
        self.writer.write(move |connection| {
            connection.execute("DELETE FROM challenges WHERE expires < ?1", [before])?;
            connection.execute("DELETE FROM acme_documents WHERE expires < ?1", [before])?;
            // A nonce begins with the time it was minted at, so the oldest come first in the primary key.
            let first_kept = u32::try_from(nonces_before).unwrap_or(0).to_be_bytes();
            connection.execute("DELETE FROM spent_nonces WHERE nonce < ?1", [first_kept])?;
            Ok(())
        })
    }
}

/// A constraint that says the row is there already becomes `taken`; every other failure stays what it is.
fn unless_taken(result: rusqlite::Result<usize>, taken: StoreError) -> Result<(), StoreError> {
    match result {
        Ok(_) => Ok(()),
        Err(rusqlite::Error::SqliteFailure(failure, _)) if failure.code == ErrorCode::ConstraintViolation => Err(taken),
        Err(error) => Err(error.into()),
    }
}

fn insert_decision(connection: &Connection, decision: &Decision) -> Result<i64, StoreError> {
    let mut statement = connection
        .prepare_cached("INSERT INTO decisions (at, kind, account, outcome, commitment) VALUES (?1, ?2, ?3, ?4, ?5)")?;
    let id = statement.insert(params![
        decision.at,
        decision.kind.as_str(),
        decision.account,
        decision.outcome.as_str(),
        decision.commitment
    ])?;
    let mut statement = connection.prepare_cached("INSERT INTO evidence (decision, sealed) VALUES (?1, ?2)")?;
    statement.execute(params![id, decision.sealed])?;
    Ok(id)
}

/// How the key was tied to its module that was enrolled or renewed by this decision.
fn enrolment_of(connection: &Connection, decision: i64) -> Result<Option<Proof>, StoreError> {
    let mut statement = connection
        .prepare_cached("SELECT method, environment, proof, approvers FROM enrolments WHERE decision = ?1")?;
    statement.query_and_then([decision], |row| proof(row, 0))?.next().transpose()
}

/// A proof out of four columns.
fn proof(row: &Row<'_>, first: usize) -> Result<Proof, StoreError> {
    let column = |offset: usize| first.saturating_add(offset);
    let (method, environment): (String, String) = (row.get(first)?, row.get(column(1))?);
    let approvers: String = row.get(column(3))?;
    columns::proof(&method, &environment, row.get(column(2))?, &approvers)
}

/// The row that makes a nonce spent; the primary key lets one transaction alone write it.
fn spend(connection: &Connection, spending: Spending, decision: i64, at: i64) -> Result<(), StoreError> {
    let Spending { nonce, request } = spending;
    let mut statement = connection
        .prepare_cached("INSERT INTO spent_nonces (nonce, spent_at, request, decision) VALUES (?1, ?2, ?3, ?4)")?;
    unless_taken(statement.execute(params![nonce.octets(), at, request, decision]), StoreError::NonceSpent)
}

/// The certificates of a decision, unless a key is another's or what they rest on has fallen since it was judged.
fn insert_certificates(
    connection: &Connection,
    (decision, account): (i64, &str),
    certificates: &[CertificateRecord],
) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO certificates (serial, decision, not_after, der, attesting_key, is_of_key, key)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    for certificate in certificates {
        let CertificateRecord { serial, der, not_after, key_use, certified } = certificate;
        certified_keys::check_rests(connection, certified, account)?;
        certified_keys::claim(connection, certified, account, serial)?;
        let (key, is_of_key) = columns::key_use_columns(key_use);
        let row = params![serial, decision, not_after, der, key, is_of_key, certified.key];
        unless_taken(statement.execute(row), StoreError::SerialTaken)?;
    }
    Ok(())
}
