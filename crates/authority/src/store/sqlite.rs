//! The store in one SQLite file.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Row, params};

use super::writer::Writer;
use super::{
    CHALLENGE_ID_OCTETS, CertificateRecord, Challenge, Decision, Device, Digest, Done, EnrolledKey, Outcome,
    RecordedDecision, Spending, Spent, Store, StoreError, schema,
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
            insert_certificates(connection, id, &certificates)?;
            Ok(id)
        };
        self.writer.write_later(write, done);
    }

    fn open_challenge(&self, spending: Spending, decision: Decision, challenge: Challenge) -> Result<(), StoreError> {
        self.writer.write(move |connection| {
            check_device_binding(connection, &challenge.account, &challenge.device, &challenge.ek_digest)?;
            let at = decision.at;
            let id = insert_decision(connection, &decision)?;
            spend(connection, spending, id, at)?;
            insert_challenge(connection, &challenge)
        })
    }

    fn take_challenge(&self, id: &[u8; CHALLENGE_ID_OCTETS], account: &str) -> Result<Option<Challenge>, StoreError> {
        let (id, account) = (*id, account.to_owned());
        self.writer.write(move |connection| {
            let mut statement = connection.prepare_cached(
                "DELETE FROM challenges WHERE id = ?1 AND account = ?2
                 RETURNING id, account, device, expires, credential_digest, ek_digest, ek_certificate, is_virtual, ak_public, baseline",
            )?;
            Ok(statement.query_row(params![id, account], challenge_from_row).optional()?)
        })
    }

    fn enroll(
        &self,
        key: EnrolledKey,
        decision: Decision,
        certificates: Vec<CertificateRecord>,
    ) -> Result<i64, StoreError> {
        self.writer.write(move |connection| {
            let id = insert_decision(connection, &decision)?;
            let device = bind_device(connection, &key, decision.at)?;
            bind_key(connection, device, &key, decision.at)?;
            insert_certificates(connection, id, &certificates)?;
            Ok(id)
        })
    }

    fn record(&self, decision: Decision) -> Result<i64, StoreError> {
        self.writer.write(move |connection| insert_decision(connection, &decision))
    }

    fn device_of_key(&self, ak_spki_digest: &Digest) -> Result<Option<Device>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT account, devices.name, ek_digest, baseline FROM attestation_keys
                 JOIN devices ON devices.id = attestation_keys.device WHERE spki_digest = ?1",
            )?;
            Ok(statement.query_row([ak_spki_digest], device_from_row).optional()?)
        })
    }

    fn device(&self, account: &str, name: &str) -> Result<Option<Device>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT account, name, ek_digest, baseline FROM devices WHERE account = ?1 AND name = ?2",
            )?;
            Ok(statement.query_row([account, name], device_from_row).optional()?)
        })
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
            let accepted = match outcome.as_str() {
                outcome if outcome == Outcome::Accepted.as_str() => true,
                outcome if outcome == Outcome::Refused.as_str() => false,
                _ => return Err(StoreError::Unexpected { column: "outcome" }),
            };
            Ok(Some(RecordedDecision { id, kind, account, accepted, commitment, serials }))
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

    fn erase_evidence(&self, decision: i64) -> Result<(), StoreError> {
        self.writer.write(move |connection| {
            connection.execute("DELETE FROM evidence WHERE decision = ?1", [decision])?;
            Ok(())
        })
    }

    fn forget_baseline(&self, account: &str, device: &str) -> Result<(), StoreError> {
        let (account, device) = (account.to_owned(), device.to_owned());
        self.writer.write(move |connection| {
            connection
                .execute("UPDATE devices SET baseline = NULL WHERE account = ?1 AND name = ?2", [account, device])?;
            Ok(())
        })
    }

    fn prune(&self, before: i64, nonces_before: i64) -> Result<(), StoreError> {
        self.writer.write(move |connection| {
            connection.execute("DELETE FROM challenges WHERE expires < ?1", [before])?;
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

/// The row that makes a nonce spent; the primary key lets one transaction alone write it.
fn spend(connection: &Connection, spending: Spending, decision: i64, at: i64) -> Result<(), StoreError> {
    let Spending { nonce, request } = spending;
    let mut statement = connection
        .prepare_cached("INSERT INTO spent_nonces (nonce, spent_at, request, decision) VALUES (?1, ?2, ?3, ?4)")?;
    unless_taken(statement.execute(params![nonce.octets(), at, request, decision]), StoreError::NonceSpent)
}

fn insert_certificates(
    connection: &Connection,
    decision: i64,
    certificates: &[CertificateRecord],
) -> Result<(), StoreError> {
    let mut statement = connection
        .prepare_cached("INSERT INTO certificates (serial, decision, not_after, der) VALUES (?1, ?2, ?3, ?4)")?;
    for certificate in certificates {
        let row = params![certificate.serial, decision, certificate.not_after, certificate.der];
        unless_taken(statement.execute(row), StoreError::SerialTaken)?;
    }
    Ok(())
}

fn insert_challenge(connection: &Connection, challenge: &Challenge) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO challenges (id, account, device, expires, credential_digest, ek_digest, ek_certificate, is_virtual, ak_public, baseline)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?;
    statement.execute(params![
        challenge.id,
        challenge.account,
        challenge.device,
        challenge.expires,
        challenge.credential_digest,
        challenge.ek_digest,
        challenge.ek_certificate,
        challenge.is_virtual,
        challenge.ak_public,
        challenge.baseline
    ])?;
    Ok(())
}

fn challenge_from_row(row: &Row<'_>) -> rusqlite::Result<Challenge> {
    Ok(Challenge {
        id: row.get(0)?,
        account: row.get(1)?,
        device: row.get(2)?,
        expires: row.get(3)?,
        credential_digest: row.get(4)?,
        ek_digest: row.get(5)?,
        ek_certificate: row.get(6)?,
        is_virtual: row.get(7)?,
        ak_public: row.get(8)?,
        baseline: row.get(9)?,
    })
}

fn device_from_row(row: &Row<'_>) -> rusqlite::Result<Device> {
    Ok(Device { account: row.get(0)?, name: row.get(1)?, ek_digest: row.get(2)?, baseline: row.get(3)? })
}

/// One endorsement key per device name and one device name per endorsement key, whoever's: the name stands in
/// certificates, where accounts do not.
fn check_device_binding(
    connection: &Connection,
    account: &str,
    name: &str,
    ek_digest: &Digest,
) -> Result<Option<i64>, StoreError> {
    let mut by_name = connection.prepare_cached("SELECT id, ek_digest, account FROM devices WHERE name = ?1")?;
    let named: Option<(i64, Digest, String)> =
        by_name.query_row([name], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).optional()?;
    if let Some((id, bound, owner)) = named {
        let is_same = bound == *ek_digest && owner == account;
        return if is_same { Ok(Some(id)) } else { Err(StoreError::DeviceBoundElsewhere) };
    }
    let mut by_ek = connection.prepare_cached("SELECT 1 FROM devices WHERE ek_digest = ?1")?;
    if by_ek.exists([ek_digest])? { Err(StoreError::EkBoundElsewhere) } else { Ok(None) }
}

fn bind_device(connection: &Connection, key: &EnrolledKey, at: i64) -> Result<i64, StoreError> {
    let bound = check_device_binding(connection, &key.account, &key.device, &key.ek_digest)?;
    let Some(id) = bound else {
        let mut statement = connection.prepare_cached(
            "INSERT INTO devices (account, name, ek_digest, ek_certificate, baseline, enrolled_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        let row = params![key.account, key.device, key.ek_digest, key.ek_certificate, key.baseline, at];
        return Ok(statement.insert(row)?);
    };
    if let Some(baseline) = &key.baseline {
        record_baseline(connection, id, baseline)?;
    }
    Ok(id)
}

/// The first baseline stands: a device that was changed must not bless itself by enrolling again.
fn record_baseline(connection: &Connection, device: i64, baseline: &[u8]) -> Result<(), StoreError> {
    let mut recorded = connection.prepare_cached("SELECT baseline FROM devices WHERE id = ?1")?;
    let recorded: Option<Vec<u8>> = recorded.query_row([device], |row| row.get(0))?;
    match recorded {
        Some(recorded) if recorded == baseline => Ok(()),
        Some(_) => Err(StoreError::BaselineRecorded),
        None => {
            connection.execute("UPDATE devices SET baseline = ?2 WHERE id = ?1", params![device, baseline])?;
            Ok(())
        }
    }
}

fn bind_key(connection: &Connection, device: i64, key: &EnrolledKey, at: i64) -> Result<(), StoreError> {
    let mut known = connection
        .prepare_cached("SELECT device, name, spki_digest FROM attestation_keys WHERE name = ?1 OR spki_digest = ?2")?;
    let known: Vec<(i64, Vec<u8>, Digest)> = known
        .query_map(params![key.ak_name, key.ak_spki_digest], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<Result<_, _>>()?;
    match known.as_slice() {
        [] => {
            connection.execute(
                "INSERT INTO attestation_keys (device, name, spki_digest, public, activated_at) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![device, key.ak_name, key.ak_spki_digest, key.ak_public, at],
            )?;
            Ok(())
        }
        [(owner, name, spki)] if *owner == device && *name == key.ak_name && *spki == key.ak_spki_digest => {
            connection
                .execute("UPDATE attestation_keys SET activated_at = ?2 WHERE name = ?1", params![key.ak_name, at])?;
            Ok(())
        }
        _ => Err(StoreError::AkBoundElsewhere),
    }
}
