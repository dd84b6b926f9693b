//! Attesting keys in SQLite.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Sqlite, insert_certificates, insert_decision, spend};
use crate::store::columns::{self, approvers, material, material_columns, reason_of};
use crate::store::{
    AttestingKeyRow, AttestingKeyStore, CHALLENGE_ID_OCTETS, CertificateRecord, Challenge, Decision, Dependent, Device,
    Digest, EnrolledKey, Expected, KeyFacts, Proof, Replacement, Revocation, RevocationReason, Revoked, Spending,
    StoreError,
};

/// The columns of a [`Proof`], as they lie in the database.
pub(super) struct ProofColumns {
    method: String,
    environment: String,
    digest: Digest,
    approvers: String,
}

impl ProofColumns {
    /// Reads them from the first four columns.
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Self::read_from(row, 0)
    }

    fn read_from(row: &Row<'_>, first: usize) -> rusqlite::Result<Self> {
        Ok(Self {
            method: row.get(first)?,
            environment: row.get(first + 1)?,
            digest: row.get(first + 2)?,
            approvers: row.get(first + 3)?,
        })
    }
}

impl TryFrom<ProofColumns> for Proof {
    type Error = StoreError;

    fn try_from(columns: ProofColumns) -> Result<Self, StoreError> {
        columns::proof(&columns.method, &columns.environment, columns.digest, &columns.approvers)
    }
}

const KEY_COLUMNS: &str = "
    SELECT spki_digest, attesting_keys.account, devices.name, devices.ek_certificate, is_virtual, attesting_keys.name, public,
        method, environment, proof, approvers, attesting_keys.enrolled_at,
        coalesce((SELECT max(not_after) FROM certificates
            WHERE attesting_key = attesting_keys.spki_digest AND is_of_key), 0),
        revoked_at, revocation_reason, revocation_approver
    FROM attesting_keys JOIN devices ON devices.id = attesting_keys.device";

struct KeyColumns {
    key: AttestingKeyRow,
    revocation: (Option<i64>, Option<String>, Option<String>),
}

fn read_key(row: &Row<'_>) -> rusqlite::Result<Result<KeyColumns, StoreError>> {
    let proof = ProofColumns::read_from(row, 7)?;
    let revocation = (row.get(13)?, row.get(14)?, row.get(15)?);
    let (spki_digest, account, device, ek_certificate) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
    let (is_virtual, material) = (row.get(4)?, material(row.get(5)?, row.get(6)?));
    let (enrolled_at, not_after) = (row.get(11)?, row.get(12)?);
    Ok(Proof::try_from(proof).map(|proof| KeyColumns {
        key: AttestingKeyRow {
            spki_digest,
            account,
            device,
            ek_certificate,
            is_virtual,
            material,
            proof,
            enrolled_at,
            not_after,
            revocation: None,
        },
        revocation,
    }))
}

impl KeyColumns {
    fn key(self) -> Result<AttestingKeyRow, StoreError> {
        let (at, reason, approver) = self.revocation;
        Ok(AttestingKeyRow { revocation: columns::revocation(at, reason.as_deref(), approver)?, ..self.key })
    }
}

impl AttestingKeyStore for Sqlite {
    fn open_challenge(&self, spending: Spending, decision: Decision, challenge: Challenge) -> Result<(), StoreError> {
        self.writer.write(move |connection| {
            let at = decision.at;
            check_device_binding(connection, &challenge.key, at)?;
            check_key(connection, &challenge.key)?;
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
                 RETURNING id, expires, is_signature, expected, account, device, identity, ek_certificate, is_virtual, name,
                     public, spki_digest, method, environment, proof, approvers, is_exclusive, baseline",
            )?;
            statement.query_row(params![id, account], read_challenge).optional()?.transpose()
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
            insert_enrolment(connection, id, &key.proof)?;
            let device = bind_device(connection, &key, decision.at)?;
            bind_key(connection, device, &key, None, decision.at)?;
            insert_certificates(connection, id, &certificates)?;
            Ok(id)
        })
    }

    fn renew(
        &self,
        spending: Spending,
        predecessor: Digest,
        key: EnrolledKey,
        decision: Decision,
        certificates: Vec<CertificateRecord>,
    ) -> Result<i64, StoreError> {
        self.writer.write(move |connection| {
            let id = insert_decision(connection, &decision)?;
            spend(connection, spending, id, decision.at)?;
            insert_enrolment(connection, id, &key.proof)?;
            let mut old = connection.prepare_cached(
                "SELECT id, device, revoked_at FROM attesting_keys WHERE spki_digest = ?1 AND account = ?2",
            )?;
            let old: Option<(i64, i64, Option<i64>)> = old
                .query_row(params![predecessor, key.account], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
                .optional()?;
            match old {
                None => return Err(StoreError::NoSuchKey),
                Some((_, _, Some(_))) => return Err(StoreError::KeyRevoked),
                Some((old, device, None)) if key.spki_digest != predecessor => {
                    bind_key(connection, device, &key, Some(old), decision.at)?;
                }
                Some((_, _, None)) => {}
            }
            insert_certificates(connection, id, &certificates)?;
            Ok(id)
        })
    }

    fn device_of_key(&self, spki_digest: &Digest) -> Result<Option<Device>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT method, environment, proof, approvers, attesting_keys.account, devices.name, identity, baseline, revoked_at
                 FROM attesting_keys JOIN devices ON devices.id = attesting_keys.device WHERE spki_digest = ?1",
            )?;
            let found = statement
                .query_row([spki_digest], |row| {
                    let (account, name, identity, baseline) = (row.get(4)?, row.get(5)?, row.get(6)?, row.get(7)?);
                    Ok((ProofColumns::read(row)?, Device { account, name, identity, baseline, key: None }, row.get(8)?))
                })
                .optional()?;
            let Some((proof, device, revoked_at)) = found else { return Ok(None) };
            let key = KeyFacts { proof: Proof::try_from(proof)?, revoked_at };
            Ok(Some(Device { key: Some(key), ..device }))
        })
    }

    fn device(&self, account: &str, name: &str) -> Result<Option<Device>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT account, name, identity, baseline FROM devices WHERE account = ?1 AND name = ?2",
            )?;
            let device = |row: &Row<'_>| {
                Ok(Device {
                    account: row.get(0)?,
                    name: row.get(1)?,
                    identity: row.get(2)?,
                    baseline: row.get(3)?,
                    key: None,
                })
            };
            Ok(statement.query_row([account, name], device).optional()?)
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

    fn attesting_key(&self, spki_digest: &Digest) -> Result<Option<AttestingKeyRow>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&format!("{KEY_COLUMNS} WHERE spki_digest = ?1"))?;
            let found = statement.query_row([spki_digest], read_key).optional()?.transpose()?;
            found.map(KeyColumns::key).transpose()
        })
    }

    fn attesting_keys(&self) -> Result<Vec<AttestingKeyRow>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&format!(
                "{KEY_COLUMNS} ORDER BY devices.name, attesting_keys.enrolled_at, spki_digest"
            ))?;
            let rows = statement.query_map([], read_key)?;
            rows.map(|row| row?.and_then(KeyColumns::key)).collect()
        })
    }

    fn dependents(&self, spki_digest: &Digest, now: i64) -> Result<Vec<Dependent>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT der, serial, account, not_after, EXISTS (SELECT 1 FROM revocations WHERE certificate = certificates.id)
                 FROM certificates JOIN decisions ON decisions.id = certificates.decision
                 WHERE attesting_key = ?1 AND NOT is_of_key AND not_after > ?2 ORDER BY certificates.id",
            )?;
            let rows = statement.query_map(params![spki_digest, now], |row| {
                Ok(Dependent {
                    der: row.get(0)?,
                    serial: row.get(1)?,
                    account: row.get(2)?,
                    not_after: row.get(3)?,
                    is_revoked: row.get(4)?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    fn revoke(
        &self,
        spki_digest: &Digest,
        revocation: Revocation,
        dependents: bool,
        decision: Decision,
    ) -> Result<usize, StoreError> {
        let key = *spki_digest;
        self.writer.write(move |connection| {
            insert_decision(connection, &decision)?;
            let mut known = connection.prepare_cached("SELECT 1 FROM attesting_keys WHERE spki_digest = ?1")?;
            if !known.exists([key])? {
                return Err(StoreError::NoSuchKey);
            }
            let mut revoked = revoke_key(connection, &key, &revocation, dependents)?;
            match revocation.reason {
                // Whoever else knows the key may have had it vouch for one of theirs.
                RevocationReason::KeyCompromise => {
                    for successor in successors(connection, &key)? {
                        revoked += revoke_key(connection, &successor, &revocation, dependents)?;
                    }
                }
                RevocationReason::Unspecified
                | RevocationReason::AffiliationChanged
                | RevocationReason::Superseded
                | RevocationReason::CessationOfOperation => {}
            }
            Ok(revoked)
        })
    }

    fn revoke_certificate(
        &self,
        serial: &[u8],
        revocation: Revocation,
        decision: Decision,
    ) -> Result<bool, StoreError> {
        let serial = serial.to_vec();
        self.writer.write(move |connection| {
            insert_decision(connection, &decision)?;
            let revoked = connection.execute(
                "INSERT OR IGNORE INTO revocations (certificate, at, reason)
                 SELECT id, ?2, ?3 FROM certificates WHERE serial = ?1",
                params![serial, revocation.at, revocation.reason.label()],
            )?;
            Ok(revoked > 0)
        })
    }

    fn revoked(&self, now: i64) -> Result<Vec<Revoked>, StoreError> {
        self.read(|connection| read_revoked(connection, now))
    }

    fn revocations(&self, now: i64) -> Result<(i64, Vec<Revoked>), StoreError> {
        self.read(|connection| {
            // Both statements see one state.
            let transaction = connection.unchecked_transaction()?;
            let count =
                transaction.prepare_cached("SELECT count(*) FROM revocations")?.query_row([], |row| row.get(0))?;
            let revoked = read_revoked(&transaction, now)?;
            transaction.commit()?;
            Ok((count, revoked))
        })
    }

    fn approve_replacement(
        &self,
        replacement: Replacement,
        revocation: Revocation,
        decision: Decision,
    ) -> Result<usize, StoreError> {
        self.writer.write(move |connection| {
            insert_decision(connection, &decision)?;
            let id = device_id(connection, &replacement.device)?;
            connection.execute(
                "UPDATE devices SET replaceable_until = ?2, replacement_approver = ?3 WHERE id = ?1",
                params![id, replacement.until, replacement.approver],
            )?;
            revoke_keys_of(connection, id, &revocation)
        })
    }

    fn share_device(&self, device: &str, account: &str, decision: Decision) -> Result<(), StoreError> {
        let (device, account) = (device.to_owned(), account.to_owned());
        self.writer.write(move |connection| {
            insert_decision(connection, &decision)?;
            let id = device_id(connection, &device)?;
            connection.execute(
                "INSERT OR IGNORE INTO shared_devices (device, account) VALUES (?1, ?2)",
                params![id, account],
            )?;
            Ok(())
        })
    }
}

fn device_id(connection: &Connection, name: &str) -> Result<i64, StoreError> {
    let mut device = connection.prepare_cached("SELECT id FROM devices WHERE name = ?1")?;
    device.query_row([name], |row| row.get(0)).optional()?.ok_or(StoreError::NoSuchDevice)
}

fn read_revoked(connection: &Connection, now: i64) -> Result<Vec<Revoked>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT der, at, reason FROM revocations JOIN certificates ON certificates.id = revocations.certificate
         WHERE not_after > ?1 ORDER BY at, certificate",
    )?;
    let rows = statement.query_map([now], |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, String>(2)?)))?;
    rows.map(|row| {
        let (der, at, reason) = row?;
        Ok(Revoked { der, at, reason: reason_of(&reason)? })
    })
    .collect()
}

/// What was revoked before keeps its time and its reason.
fn revoke_key(
    connection: &Connection,
    key: &Digest,
    revocation: &Revocation,
    dependents: bool,
) -> Result<usize, StoreError> {
    let Revocation { at, reason, approver } = revocation;
    connection.execute(
        "UPDATE attesting_keys SET revoked_at = ?2, revocation_reason = ?3, revocation_approver = ?4
         WHERE spki_digest = ?1 AND revoked_at IS NULL",
        params![key, at, reason.label(), approver],
    )?;
    Ok(connection.execute(
        "INSERT OR IGNORE INTO revocations (certificate, at, reason)
         SELECT id, ?2, ?3 FROM certificates WHERE attesting_key = ?1 AND (is_of_key OR ?4) AND not_after > ?2",
        params![key, at, reason.label(), dependents],
    )?)
}

/// Revokes what attesting keys a device has; how many those were.
fn revoke_keys_of(connection: &Connection, device: i64, revocation: &Revocation) -> Result<usize, StoreError> {
    let mut keys =
        connection.prepare_cached("SELECT spki_digest FROM attesting_keys WHERE device = ?1 AND revoked_at IS NULL")?;
    let keys: Vec<Digest> = keys.query_map([device], |row| row.get(0))?.collect::<Result<_, _>>()?;
    for key in &keys {
        revoke_key(connection, key, revocation, false)?;
    }
    Ok(keys.len())
}

/// The keys that are certified on this key's word, directly or by way of others.
fn successors(connection: &Connection, key: &Digest) -> Result<Vec<Digest>, StoreError> {
    let mut found = connection.prepare_cached(
        "WITH RECURSIVE successors (id, spki_digest) AS (
             SELECT later.id, later.spki_digest FROM attesting_keys AS later
                 JOIN attesting_keys AS first ON later.predecessor = first.id WHERE first.spki_digest = ?1
             UNION SELECT later.id, later.spki_digest FROM attesting_keys AS later
                 JOIN successors ON later.predecessor = successors.id)
         SELECT spki_digest FROM successors",
    )?;
    Ok(found.query_map([key], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

fn insert_enrolment(connection: &Connection, decision: i64, proof: &Proof) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO enrolments (decision, method, environment, proof, approvers) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    let (method, environment) = (proof.method.label(), proof.environment.label());
    statement.execute(params![decision, method, environment, proof.digest, approvers(proof)])?;
    Ok(())
}

fn insert_challenge(connection: &Connection, challenge: &Challenge) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO challenges (id, expires, is_signature, expected, account, device, identity, ek_certificate, is_virtual,
             name, public, spki_digest, method, environment, proof, approvers, is_exclusive, baseline)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)",
    )?;
    let (is_signature, expected) = match &challenge.expected {
        Expected::Credential(digest) => (false, digest),
        Expected::Signature(challenge) => (true, challenge),
    };
    let key = &challenge.key;
    let (name, public) = material_columns(&key.material);
    statement.execute(params![
        challenge.id,
        challenge.expires,
        is_signature,
        expected,
        key.account,
        key.device,
        key.identity,
        key.ek_certificate,
        key.is_virtual,
        name,
        public,
        key.spki_digest,
        key.proof.method.label(),
        key.proof.environment.label(),
        key.proof.digest,
        approvers(&key.proof),
        key.is_exclusive,
        key.baseline
    ])?;
    Ok(())
}

fn read_challenge(row: &Row<'_>) -> rusqlite::Result<Result<Challenge, StoreError>> {
    let proof = ProofColumns::read_from(row, 12)?;
    let expected = if row.get(2)? { Expected::Signature(row.get(3)?) } else { Expected::Credential(row.get(3)?) };
    let (id, expires, account, device) = (row.get(0)?, row.get(1)?, row.get(4)?, row.get(5)?);
    let (identity, ek_certificate, is_virtual) = (row.get(6)?, row.get(7)?, row.get(8)?);
    let (material, spki_digest) = (material(row.get(9)?, row.get(10)?), row.get(11)?);
    let (is_exclusive, baseline) = (row.get(16)?, row.get(17)?);
    Ok(Proof::try_from(proof).map(|proof| Challenge {
        id,
        expires,
        expected,
        key: EnrolledKey {
            account,
            device,
            identity,
            ek_certificate,
            is_virtual,
            material,
            spki_digest,
            proof,
            is_exclusive,
            baseline,
        },
    }))
}

/// A device as far as it matters for what may be bound to it.
struct Bound {
    id: i64,
    identity: Digest,
    is_open: bool,
    is_replaceable: bool,
}

/// One module per device name and one device name per module, whoever's: the name stands in certificates, where accounts
/// do not. Other accounts than the one that enrolled a device need leave, and so does another module.
fn check_device_binding(connection: &Connection, key: &EnrolledKey, at: i64) -> Result<Option<Bound>, StoreError> {
    let mut by_name = connection.prepare_cached(
        "SELECT id, identity,
             account = ?2 OR EXISTS (SELECT 1 FROM shared_devices WHERE device = devices.id AND account = ?2),
             coalesce(replaceable_until >= ?3, 0)
         FROM devices WHERE name = ?1",
    )?;
    let named = by_name
        .query_row(params![key.device, key.account, at], |row| {
            Ok(Bound { id: row.get(0)?, identity: row.get(1)?, is_open: row.get(2)?, is_replaceable: row.get(3)? })
        })
        .optional()?;
    match named {
        Some(bound) if !bound.is_open => Err(StoreError::DeviceBoundElsewhere),
        Some(bound) if bound.identity == key.identity => Ok(Some(bound)),
        Some(bound) if !bound.is_replaceable => Err(StoreError::DeviceBoundElsewhere),
        named => {
            let mut by_identity = connection.prepare_cached("SELECT 1 FROM devices WHERE identity = ?1")?;
            if by_identity.exists([key.identity])? { Err(StoreError::EkBoundElsewhere) } else { Ok(named) }
        }
    }
}

fn bind_device(connection: &Connection, key: &EnrolledKey, at: i64) -> Result<i64, StoreError> {
    let Some(bound) = check_device_binding(connection, key, at)? else {
        let mut statement = connection.prepare_cached(
            "INSERT INTO devices (account, name, identity, ek_certificate, baseline, enrolled_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        let row = params![key.account, key.device, key.identity, key.ek_certificate, key.baseline, at];
        return Ok(statement.insert(row)?);
    };
    if bound.identity != key.identity {
        // What the failed module enrolled since the leave was given goes as its other keys did.
        let by = connection.query_row(
            "SELECT coalesce(replacement_approver, '') FROM devices WHERE id = ?1",
            [bound.id],
            |row| row.get(0),
        )?;
        let revocation = Revocation { at, reason: RevocationReason::CessationOfOperation, approver: by };
        revoke_keys_of(connection, bound.id, &revocation)?;
        // The leave is used up, and what the failed module quoted says nothing of this one.
        connection.execute(
            "UPDATE devices SET identity = ?2, ek_certificate = ?3, baseline = ?4, replaceable_until = NULL WHERE id = ?1",
            params![bound.id, key.identity, key.ek_certificate, key.baseline],
        )?;
        return Ok(bound.id);
    }
    if let Some(baseline) = &key.baseline {
        record_baseline(connection, bound.id, baseline)?;
    }
    if !key.ek_certificate.is_empty() {
        // A device that was enrolled without a certificate may have got one.
        connection
            .execute("UPDATE devices SET ek_certificate = ?2 WHERE id = ?1", params![bound.id, key.ek_certificate])?;
    }
    Ok(bound.id)
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

/// A key that is recorded under this Name or this public key.
struct KnownKey {
    device: i64,
    is_same: bool,
    is_of_account: bool,
    is_revoked: bool,
}

fn known_keys(connection: &Connection, key: &EnrolledKey) -> Result<Vec<KnownKey>, StoreError> {
    let (name, _) = material_columns(&key.material);
    let mut known = connection.prepare_cached(
        "SELECT device, spki_digest = ?2 AND name IS ?1, account = ?3, revoked_at IS NOT NULL
         FROM attesting_keys WHERE name = ?1 OR spki_digest = ?2",
    )?;
    let rows = known.query_map(params![name, key.spki_digest, key.account], |row| {
        Ok(KnownKey { device: row.get(0)?, is_same: row.get(1)?, is_of_account: row.get(2)?, is_revoked: row.get(3)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// What can be told of a key before its holder has answered: a revoked one is not asked.
fn check_key(connection: &Connection, key: &EnrolledKey) -> Result<(), StoreError> {
    if known_keys(connection, key)?.iter().any(|known| known.is_revoked) { Err(StoreError::KeyRevoked) } else { Ok(()) }
}

fn bind_key(
    connection: &Connection,
    device: i64,
    key: &EnrolledKey,
    predecessor: Option<i64>,
    at: i64,
) -> Result<(), StoreError> {
    check_key(connection, key)?;
    let Proof { method, environment, digest, .. } = &key.proof;
    match known_keys(connection, key)?.as_slice() {
        [] => {
            if key.is_exclusive && predecessor.is_none() {
                check_exclusive(connection, device, key)?;
            }
            let (name, public) = material_columns(&key.material);
            connection.execute(
                "INSERT INTO attesting_keys (device, account, name, public, spki_digest, is_virtual, method, environment, proof,
                     approvers, predecessor, enrolled_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
                params![
                    device,
                    key.account,
                    name,
                    public,
                    key.spki_digest,
                    key.is_virtual,
                    method.label(),
                    environment.label(),
                    digest,
                    approvers(&key.proof),
                    predecessor,
                    at
                ],
            )?;
            Ok(())
        }
        [known] if known.device == device && known.is_same && known.is_of_account && predecessor.is_none() => {
            connection.execute(
                "UPDATE attesting_keys SET is_virtual = ?2, method = ?3, environment = ?4, proof = ?5, approvers = ?6,
                     predecessor = NULL, enrolled_at = ?7 WHERE spki_digest = ?1",
                params![
                    key.spki_digest,
                    key.is_virtual,
                    method.label(),
                    environment.label(),
                    digest,
                    approvers(&key.proof),
                    at
                ],
            )?;
            Ok(())
        }
        _ => Err(StoreError::AkBoundElsewhere),
    }
}

/// Where the method cannot tell who presents the name of a module, the first key stands until it is revoked.
fn check_exclusive(connection: &Connection, device: i64, key: &EnrolledKey) -> Result<(), StoreError> {
    let mut others = connection
        .prepare_cached("SELECT 1 FROM attesting_keys WHERE device = ?1 AND account = ?2 AND revoked_at IS NULL")?;
    if others.exists(params![device, key.account])? { Err(StoreError::DeviceHasKey) } else { Ok(()) }
}
