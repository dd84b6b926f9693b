//! Attesting keys in PostgreSQL: what is asked of the records, and what is written.

mod binding;

use std::collections::HashSet;

use deadpool_postgres::{GenericClient, Transaction};
use tokio_postgres::Row;

use self::binding::{bind_device, bind_key, check_device_binding, check_key};
use super::Postgres;
use super::certified_keys::count_revocations;
use super::decisions::{digest, insert_certificates, insert_decision, prepared, proof, spend};
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

fn read_key(row: &Row) -> Result<AttestingKeyRow, StoreError> {
    Ok(AttestingKeyRow {
        spki_digest: digest(row, 0, "spki_digest")?,
        account: row.try_get(1)?,
        device: row.try_get(2)?,
        ek_certificate: row.try_get(3)?,
        is_virtual: row.try_get(4)?,
        material: material(row.try_get(5)?, row.try_get(6)?),
        proof: proof(row, 7)?,
        enrolled_at: row.try_get(11)?,
        not_after: row.try_get(12)?,
        revocation: columns::revocation(row.try_get(13)?, row.try_get(14)?, row.try_get(15)?)?,
    })
}

impl AttestingKeyStore for Postgres {
    fn open_challenge(&self, spending: Spending, decision: Decision, challenge: Challenge) -> Result<(), StoreError> {
        self.transaction(async move |transaction| {
            let at = decision.at;
            check_device_binding(transaction, &challenge.key, at).await?;
            check_key(transaction, &challenge.key).await?;
            let id = insert_decision(transaction, &decision).await?;
            spend(transaction, &spending, id, at).await?;
            insert_challenge(transaction, &challenge).await
        })
    }

    fn take_challenge(&self, id: &[u8; CHALLENGE_ID_OCTETS], account: &str) -> Result<Option<Challenge>, StoreError> {
        let (id, account) = (*id, account.to_owned());
        self.statement(async move |client| {
            let statement = prepared(
                client,
                "DELETE FROM challenges WHERE id = $1 AND account = $2
                 RETURNING id, expires, is_signature, expected, account, device, identity, ek_certificate, is_virtual, name,
                     public, spki_digest, method, environment, proof, approvers, is_exclusive, baseline",
            )
            .await?;
            let row = client.query_opt(&statement, &[&id.as_slice(), &account]).await?;
            row.as_ref().map(read_challenge).transpose()
        })
    }

    fn enroll(
        &self,
        key: EnrolledKey,
        decision: Decision,
        certificates: Vec<CertificateRecord>,
    ) -> Result<i64, StoreError> {
        self.transaction(async move |transaction| {
            let id = insert_decision(transaction, &decision).await?;
            insert_enrolment(transaction, id, &key.proof).await?;
            let device = bind_device(transaction, &key, decision.at).await?;
            bind_key(transaction, device, &key, None, decision.at).await?;
            insert_certificates(transaction, (id, &decision.account), &certificates).await?;
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
        self.transaction(async move |transaction| {
            let id = insert_decision(transaction, &decision).await?;
            spend(transaction, &spending, id, decision.at).await?;
            insert_enrolment(transaction, id, &key.proof).await?;
            let statement = prepared(
                transaction,
                // Not revoked until this is committed.
                "SELECT id, device, revoked_at FROM attesting_keys WHERE spki_digest = $1 AND account = $2 FOR SHARE",
            )
            .await?;
            let old = transaction.query_opt(&statement, &[&predecessor.as_slice(), &key.account]).await?;
            let old = old.ok_or(StoreError::NoSuchKey)?;
            let revoked_at: Option<i64> = old.try_get(2)?;
            if revoked_at.is_some() {
                return Err(StoreError::KeyRevoked);
            }
            if key.spki_digest != predecessor {
                bind_key(transaction, old.try_get(1)?, &key, Some(old.try_get(0)?), decision.at).await?;
                if key.is_exclusive {
                    revoke_key(transaction, &predecessor, &superseded(&key.account, decision.at), false).await?;
                }
            }
            insert_certificates(transaction, (id, &decision.account), &certificates).await?;
            Ok(id)
        })
    }

    fn device_of_key(&self, spki_digest: &Digest) -> Result<Option<Device>, StoreError> {
        let key = *spki_digest;
        self.statement(async move |client| {
            let statement = prepared(
                client,
                "SELECT method, environment, proof, approvers, attesting_keys.account, devices.name, identity, baseline, revoked_at
                 FROM attesting_keys JOIN devices ON devices.id = attesting_keys.device WHERE spki_digest = $1",
            )
            .await?;
            let Some(row) = client.query_opt(&statement, &[&key.as_slice()]).await? else { return Ok(None) };
            Ok(Some(Device {
                account: row.try_get(4)?,
                name: row.try_get(5)?,
                identity: digest(&row, 6, "identity")?,
                baseline: row.try_get(7)?,
                key: Some(KeyFacts { proof: proof(&row, 0)?, revoked_at: row.try_get(8)? }),
            }))
        })
    }

    fn device(&self, account: &str, name: &str) -> Result<Option<Device>, StoreError> {
        let (account, name) = (account.to_owned(), name.to_owned());
        self.statement(async move |client| {
            let statement = prepared(
                client,
                "SELECT account, name, identity, baseline FROM devices WHERE account = $1 AND name = $2",
            )
            .await?;
            let Some(row) = client.query_opt(&statement, &[&account, &name]).await? else { return Ok(None) };
            Ok(Some(Device {
                account: row.try_get(0)?,
                name: row.try_get(1)?,
                identity: digest(&row, 2, "identity")?,
                baseline: row.try_get(3)?,
                key: None,
            }))
        })
    }

    fn forget_baseline(&self, account: &str, device: &str) -> Result<(), StoreError> {
        let (account, device) = (account.to_owned(), device.to_owned());
        self.transaction(async move |transaction| {
            let forget = "UPDATE devices SET baseline = NULL WHERE account = $1 AND name = $2";
            transaction.execute(forget, &[&account, &device]).await?;
            Ok(())
        })
    }

    fn attesting_key(&self, spki_digest: &Digest) -> Result<Option<AttestingKeyRow>, StoreError> {
        let key = *spki_digest;
        self.statement(async move |client| {
            let statement = prepared(client, &format!("{KEY_COLUMNS} WHERE spki_digest = $1")).await?;
            client.query_opt(&statement, &[&key.as_slice()]).await?.as_ref().map(read_key).transpose()
        })
    }

    fn attesting_keys(&self) -> Result<Vec<AttestingKeyRow>, StoreError> {
        let mut keys: Vec<AttestingKeyRow> = self.statement(async move |client| {
            let statement = prepared(client, KEY_COLUMNS).await?;
            client.query(&statement, &[]).await?.iter().map(read_key).collect()
        })?;
        // By their octets, whatever order the database's language has.
        keys.sort_by(|one, other| {
            (&one.device, one.enrolled_at, one.spki_digest).cmp(&(&other.device, other.enrolled_at, other.spki_digest))
        });
        Ok(keys)
    }

    fn dependents(&self, spki_digest: &Digest, now: i64) -> Result<Vec<Dependent>, StoreError> {
        let key = *spki_digest;
        self.statement(async move |client| {
            let statement = prepared(
                client,
                "SELECT der, serial, account, not_after,
                     EXISTS (SELECT 1 FROM revocations WHERE revocations.serial = certificates.serial)
                 FROM certificates JOIN decisions ON decisions.id = certificates.decision
                 WHERE attesting_key = $1 AND NOT is_of_key AND not_after > $2 ORDER BY decision, place",
            )
            .await?;
            let rows = client.query(&statement, &[&key.as_slice(), &now]).await?;
            let read = |row: &Row| {
                Ok(Dependent {
                    der: row.try_get(0)?,
                    serial: row.try_get(1)?,
                    account: row.try_get(2)?,
                    not_after: row.try_get(3)?,
                    is_revoked: row.try_get(4)?,
                })
            };
            rows.iter().map(read).collect()
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
        self.locking(async move |transaction| {
            insert_decision(transaction, &decision).await?;
            let known = "SELECT 1 FROM attesting_keys WHERE spki_digest = $1";
            if transaction.query_opt(known, &[&key.as_slice()]).await?.is_none() {
                return Err(StoreError::NoSuchKey);
            }
            let (mut revoked, mut waiting, mut seen) = (0, vec![key], HashSet::from([key]));
            while let Some(key) = waiting.pop() {
                // From here on it gets no successor and nothing rests on it anew; what does already can be seen.
                revoked += revoke_key(transaction, &key, &revocation, dependents).await?;
                if revocation.reason.takes_successors() {
                    let found = successors(transaction, &key).await?;
                    waiting.extend(found.into_iter().filter(|successor| seen.insert(*successor)));
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
        self.locking(async move |transaction| {
            insert_decision(transaction, &decision).await?;
            if revocation.reason.burns_keys() {
                // Nobody certifies the key until this is committed, and however often somebody does, this has its turn; what
                // was certified before can be seen below.
                let key = "
                    SELECT 1 FROM certified_keys
                    WHERE key IN (SELECT certificates.key FROM certificates WHERE serial = $1) FOR UPDATE";
                transaction.query_opt(key, &[&serial]).await?;
            }
            let revoke = "
                INSERT INTO revocations (serial, at, reason) SELECT serial, $2, $3 FROM certificates WHERE serial = $1
                ON CONFLICT (serial) DO NOTHING";
            let reason = revocation.reason.label();
            let mut revoked = transaction.execute(revoke, &[&serial, &revocation.at, &reason]).await?;
            if revocation.reason.burns_keys() {
                let all = "
                    INSERT INTO revocations (serial, at, reason)
                    SELECT others.serial, $2, $3 FROM certificates AS named
                    JOIN decisions AS granted ON granted.id = named.decision
                    JOIN certificates AS others ON others.key = named.key
                    JOIN decisions AS beside ON beside.id = others.decision
                    WHERE named.serial = $1 AND named.key <> '' AND NOT others.is_of_key AND others.not_after > $2
                        AND beside.account = granted.account
                    ON CONFLICT (serial) DO NOTHING";
                revoked = revoked.saturating_add(transaction.execute(all, &[&serial, &revocation.at, &reason]).await?);
                let burn = "
                    UPDATE certified_keys SET compromised_at = $2 WHERE compromised_at IS NULL
                        AND key IN (SELECT certificates.key FROM certificates WHERE serial = $1)";
                transaction.execute(burn, &[&serial, &revocation.at]).await?;
            }
            Ok(usize::try_from(revoked).unwrap_or(usize::MAX))
        })
    }

    fn revocations(&self, now: i64) -> Result<(i64, Vec<Revoked>), StoreError> {
        self.transaction(async move |transaction| {
            let count = count_revocations(transaction).await?;
            Ok((count, read_revoked(transaction, now).await?))
        })
    }

    fn approve_replacement(
        &self,
        replacement: Replacement,
        revocation: Revocation,
        decision: Decision,
    ) -> Result<usize, StoreError> {
        self.locking(async move |transaction| {
            insert_decision(transaction, &decision).await?;
            let id = device_id(transaction, &replacement.device).await?;
            let leave = "UPDATE devices SET replaceable_until = $2, replacement_approver = $3 WHERE id = $1";
            transaction.execute(leave, &[&id, &replacement.until, &replacement.approver]).await?;
            revoke_keys_of(transaction, id, &revocation).await
        })
    }

    fn share_device(&self, device: &str, account: &str, decision: Decision) -> Result<(), StoreError> {
        let (device, account) = (device.to_owned(), account.to_owned());
        self.transaction(async move |transaction| {
            insert_decision(transaction, &decision).await?;
            let id = device_id(transaction, &device).await?;
            let share = "INSERT INTO shared_devices (device, account) VALUES ($1, $2) ON CONFLICT DO NOTHING";
            transaction.execute(share, &[&id, &account]).await?;
            Ok(())
        })
    }
}

async fn device_id(transaction: &Transaction<'_>, name: &str) -> Result<i64, StoreError> {
    let device = transaction.query_opt("SELECT id FROM devices WHERE name = $1", &[&name]).await?;
    Ok(device.ok_or(StoreError::NoSuchDevice)?.try_get(0)?)
}

async fn read_revoked(client: &impl GenericClient, now: i64) -> Result<Vec<Revoked>, StoreError> {
    let statement = prepared(
        client,
        "SELECT der, at, reason FROM revocations JOIN certificates ON certificates.serial = revocations.serial
         WHERE not_after > $1 ORDER BY at, decision, place",
    )
    .await?;
    let rows = client.query(&statement, &[&now]).await?;
    let read =
        |row: &Row| Ok(Revoked { der: row.try_get(0)?, at: row.try_get(1)?, reason: reason_of(row.try_get(2)?)? });
    rows.iter().map(read).collect()
}

/// What was revoked before keeps its time and its reason.
async fn revoke_key(
    transaction: &Transaction<'_>,
    key: &Digest,
    revocation: &Revocation,
    dependents: bool,
) -> Result<usize, StoreError> {
    let Revocation { at, reason, approver } = revocation;
    let (key, reason) = (key.as_slice(), reason.label());
    let revoke = "
        UPDATE attesting_keys SET revoked_at = $2, revocation_reason = $3, revocation_approver = $4
        WHERE spki_digest = $1 AND revoked_at IS NULL";
    transaction.execute(revoke, &[&key, at, &reason, approver]).await?;
    if revocation.reason.burns_keys() {
        let burn = "
            UPDATE certified_keys SET compromised_at = $2 WHERE compromised_at IS NULL AND key IN (
                SELECT certificates.key FROM certificates WHERE attesting_key = $1 AND (is_of_key OR $3))";
        transaction.execute(burn, &[&key, at, &dependents]).await?;
    }
    let certificates = "
        INSERT INTO revocations (serial, at, reason)
        SELECT serial, $2, $3 FROM certificates WHERE attesting_key = $1 AND (is_of_key OR $4) AND not_after > $2
        ON CONFLICT (serial) DO NOTHING";
    let revoked = transaction.execute(certificates, &[&key, at, &reason, &dependents]).await?;
    Ok(usize::try_from(revoked).unwrap_or(usize::MAX))
}

/// Revokes what attesting keys a device has; how many those were.
async fn revoke_keys_of(
    transaction: &Transaction<'_>,
    device: i64,
    revocation: &Revocation,
) -> Result<usize, StoreError> {
    let standing = "
        SELECT spki_digest FROM attesting_keys WHERE device = $1 AND revoked_at IS NULL ORDER BY spki_digest FOR UPDATE";
    let mut revoked: usize = 0;
    loop {
        let keys = transaction.query(standing, &[&device]).await?;
        if keys.is_empty() {
            return Ok(revoked);
        }
        for row in &keys {
            revoke_key(transaction, &digest(row, 0, "spki_digest")?, revocation, false).await?;
        }
        // Those that they named as successors until they were locked can be seen now.
        revoked = revoked.saturating_add(keys.len());
    }
}

/// The keys that are certified on this key's own word.
async fn successors(transaction: &Transaction<'_>, key: &Digest) -> Result<Vec<Digest>, StoreError> {
    let found = "
        SELECT later.spki_digest FROM attesting_keys AS later
        JOIN attesting_keys AS first ON later.predecessor = first.id WHERE first.spki_digest = $1";
    let rows = transaction.query(found, &[&key.as_slice()]).await?;
    rows.iter().map(|row| digest(row, 0, "spki_digest")).collect()
}

async fn insert_enrolment(client: &impl GenericClient, decision: i64, proof: &Proof) -> Result<(), StoreError> {
    let statement = prepared(
        client,
        "INSERT INTO enrolments (decision, method, environment, proof, approvers) VALUES ($1, $2, $3, $4, $5)",
    )
    .await?;
    let (method, environment) = (proof.method.label(), proof.environment.label());
    client
        .execute(&statement, &[&decision, &method, &environment, &proof.digest.as_slice(), &approvers(proof)])
        .await?;
    Ok(())
}

async fn insert_challenge(client: &impl GenericClient, challenge: &Challenge) -> Result<(), StoreError> {
    let statement = prepared(
        client,
        "INSERT INTO challenges (id, expires, is_signature, expected, account, device, identity, ek_certificate, is_virtual,
             name, public, spki_digest, method, environment, proof, approvers, is_exclusive, baseline)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)",
    )
    .await?;
    let (is_signature, expected) = expected_columns(&challenge.expected);
    let key = &challenge.key;
    let (name, public) = material_columns(&key.material);
    client
        .execute(
            &statement,
            &[
                &challenge.id.as_slice(),
                &challenge.expires,
                &is_signature,
                &expected.as_slice(),
                &key.account,
                &key.device,
                &key.identity.as_slice(),
                &key.ek_certificate,
                &key.is_virtual,
                &name,
                &public,
                &key.spki_digest.as_slice(),
                &key.proof.method.label(),
                &key.proof.environment.label(),
                &key.proof.digest.as_slice(),
                &approvers(&key.proof),
                &key.is_exclusive,
                &key.baseline,
            ],
        )
        .await?;
    Ok(())
}

fn read_challenge(row: &Row) -> Result<Challenge, StoreError> {
    let id: &[u8] = row.try_get(0)?;
    Ok(Challenge {
        id: id.try_into().map_err(|_| StoreError::Unexpected { column: "id" })?,
        expires: row.try_get(1)?,
        expected: expected(row.try_get(2)?, digest(row, 3, "expected")?),
        key: EnrolledKey {
            account: row.try_get(4)?,
            device: row.try_get(5)?,
            identity: digest(row, 6, "identity")?,
            ek_certificate: row.try_get(7)?,
            is_virtual: row.try_get(8)?,
            material: material(row.try_get(9)?, row.try_get(10)?),
            spki_digest: digest(row, 11, "spki_digest")?,
            proof: proof(row, 12)?,
            is_exclusive: row.try_get(16)?,
            baseline: row.try_get(17)?,
        },
    })
}
