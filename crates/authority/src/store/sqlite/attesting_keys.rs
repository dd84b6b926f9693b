//! Attesting keys in SQLite: what is asked of the records, and what is written.

mod binding;

use rusqlite::{Connection, OptionalExtension, Row, params};

use self::binding::{bind_device, bind_key, check_device_binding, check_key};
use super::certified_keys::{burn, count_revocations};
use super::{Sqlite, insert_certificates, insert_decision, proof, spend};
use crate::store::binding::superseded;
use crate::store::columns::{self, approvers, expected, expected_columns, material, material_columns, reason_of};
use crate::store::{
    AttestingKeyRow, AttestingKeyStore, CHALLENGE_ID_OCTETS, CertificateRecord, Challenge, Decision, Dependent, Device,
    Digest, EnrolledKey, KeyFacts, Proof, Replacement, Revocation, Revoked, Spending, StoreError,
};

const KEY_COLUMNS: &str = "
    SELECT spki_digest, attesting_keys.account, devices.name, devices.ek_certificate, is_virtual, attesting_keys.name, public,
        method, environment, proof, approvers, attesting_keys.enrolled_at,
        coalesce((SELECT max(not_after) FROM certificates
            WHERE attesting_key = attesting_keys.spki_digest AND is_of_key), 0),
        revoked_at, revocation_reason, revocation_approver
    FROM attesting_keys JOIN devices ON devices.id = attesting_keys.device";

fn read_key(row: &Row<'_>) -> Result<AttestingKeyRow, StoreError> {
    let (revoked_at, reason, approver): (_, Option<String>, _) = (row.get(13)?, row.get(14)?, row.get(15)?);
    Ok(AttestingKeyRow {
        spki_digest: row.get(0)?,
        account: row.get(1)?,
        device: row.get(2)?,
        ek_certificate: row.get(3)?,
        is_virtual: row.get(4)?,
        material: material(row.get(5)?, row.get(6)?),
        proof: proof(row, 7)?,
        enrolled_at: row.get(11)?,
        not_after: row.get(12)?,
        revocation: columns::revocation(revoked_at, reason.as_deref(), approver)?,
    })
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
            statement.query_and_then(params![id, account], read_challenge)?.next().transpose()
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
            insert_certificates(connection, (id, &decision.account), &certificates)?;
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
            let (old, device, revoked_at) = old.ok_or(StoreError::NoSuchKey)?;
            if revoked_at.is_some() {
                return Err(StoreError::KeyRevoked);
            }
            if key.spki_digest != predecessor {
                bind_key(connection, device, &key, Some(old), decision.at)?;
                if key.is_exclusive {
                    revoke_key(connection, &predecessor, &superseded(&key.account, decision.at), false)?;
                }
            }
            insert_certificates(connection, (id, &decision.account), &certificates)?;
            Ok(id)
        })
    }

    fn device_of_key(&self, spki_digest: &Digest) -> Result<Option<Device>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT method, environment, proof, approvers, attesting_keys.account, devices.name, identity, baseline, revoked_at
                 FROM attesting_keys JOIN devices ON devices.id = attesting_keys.device WHERE spki_digest = ?1",
            )?;
            let read = |row: &Row<'_>| {
                Ok(Device {
                    account: row.get(4)?,
                    name: row.get(5)?,
                    identity: row.get(6)?,
                    baseline: row.get(7)?,
                    key: Some(KeyFacts { proof: proof(row, 0)?, revoked_at: row.get(8)? }),
                })
            };
            statement.query_and_then([spki_digest], read)?.next().transpose()
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
            statement.query_and_then([spki_digest], read_key)?.next().transpose()
        })
    }

    fn attesting_keys(&self) -> Result<Vec<AttestingKeyRow>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&format!(
                "{KEY_COLUMNS} ORDER BY devices.name, attesting_keys.enrolled_at, spki_digest"
            ))?;
            statement.query_and_then([], read_key)?.collect()
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
            if revocation.reason.takes_successors() {
                for successor in successors(connection, &key)? {
                    revoked += revoke_key(connection, &successor, &revocation, dependents)?;
                }
            }
            Ok(revoked)
        })
    }

    fn revoke_certificate(
        &self,
        serial: &[u8],
        revocation: Revocation,
        decision: Decision,
    ) -> Result<usize, StoreError> {
        let serial = serial.to_vec();
        self.writer.write(move |connection| {
            insert_decision(connection, &decision)?;
            let revoke = |sql: &str| connection.execute(sql, params![serial, revocation.at, revocation.reason.label()]);
            let mut revoked = revoke(
                "INSERT OR IGNORE INTO revocations (certificate, at, reason)
                 SELECT id, ?2, ?3 FROM certificates WHERE serial = ?1",
            )?;
            if revocation.reason.burns_keys() {
                revoked += revoke(
                    "INSERT OR IGNORE INTO revocations (certificate, at, reason)
                     SELECT others.id, ?2, ?3 FROM certificates AS named
                     JOIN decisions AS granted ON granted.id = named.decision
                     JOIN certificates AS others ON others.key = named.key
                     JOIN decisions AS beside ON beside.id = others.decision
                     WHERE named.serial = ?1 AND named.key <> X'' AND NOT others.is_of_key AND others.not_after > ?2
                         AND beside.account = granted.account",
                )?;
                let mut key = connection.prepare("SELECT key FROM certificates WHERE serial = ?1")?;
                if let Some(key) = key.query_row([&serial], |row| row.get(0)).optional()? {
                    burn(connection, &key, revocation.at)?;
                }
            }
            Ok(revoked)
        })
    }

    fn revocations(&self, now: i64) -> Result<(i64, Vec<Revoked>), StoreError> {
        self.read(|connection| {
            // Both statements see one state.
            let transaction = connection.unchecked_transaction()?;
            let count = count_revocations(&transaction)?;
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
    let read = |row: &Row<'_>| {
        let reason: String = row.get(2)?;
        Ok(Revoked { der: row.get(0)?, at: row.get(1)?, reason: reason_of(&reason)? })
    };
    statement.query_and_then([now], read)?.collect()
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
    if reason.burns_keys() {
        connection.execute(
            "UPDATE certified_keys SET compromised_at = ?2 WHERE compromised_at IS NULL AND key IN (
                 SELECT certificates.key FROM certificates WHERE attesting_key = ?1 AND (is_of_key OR ?3))",
            params![key, at, dependents],
        )?;
    }
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
    let (is_signature, expected) = expected_columns(&challenge.expected);
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

fn read_challenge(row: &Row<'_>) -> Result<Challenge, StoreError> {
    Ok(Challenge {
        id: row.get(0)?,
        expires: row.get(1)?,
        expected: expected(row.get(2)?, row.get(3)?),
        key: EnrolledKey {
            account: row.get(4)?,
            device: row.get(5)?,
            identity: row.get(6)?,
            ek_certificate: row.get(7)?,
            is_virtual: row.get(8)?,
            material: material(row.get(9)?, row.get(10)?),
            spki_digest: row.get(11)?,
            proof: proof(row, 12)?,
            is_exclusive: row.get(16)?,
            baseline: row.get(17)?,
        },
    })
}
