//! Whose each key is, in SQLite.

use rusqlite::{Connection, OptionalExtension, Row, params};
use vouchsafe_evidence::x509::CertView;

use super::{Sqlite, insert_decision};
use crate::certified_key::holder_of;
use crate::store::certified_keys::{attesting_of_older, check_rest, of_older};
use crate::store::{
    Certified, CertifiedKeyStore, Claim, Decision, Digest, KeyHolder, Revocation, StoreError, Validities, Validity,
};

/// Certificates that are looked at together when those of an older version are gone through.
const BATCH: i64 = 1_000;

impl CertifiedKeyStore for Sqlite {
    fn key_holder(&self, key: &Digest) -> Result<Option<KeyHolder>, StoreError> {
        self.read(|connection| read_holder(connection, key))
    }

    fn revoke_certified(&self, key: &Digest, revocation: Revocation, decision: Decision) -> Result<usize, StoreError> {
        let key = *key;
        self.writer.write(move |connection| {
            insert_decision(connection, &decision)?;
            match read_holder(connection, &key)? {
                Some(holder) if !holder.is_attesting => {}
                Some(_) | None => return Err(StoreError::NoSuchKey),
            }
            let revoked = connection.execute(
                "INSERT OR IGNORE INTO revocations (certificate, at, reason)
                 SELECT id, ?2, ?3 FROM certificates WHERE key = ?1 AND not_after > ?2",
                params![key, revocation.at, revocation.reason.label()],
            )?;
            if revocation.reason.burns_keys() {
                burn(connection, &key, revocation.at)?;
            }
            Ok(revoked)
        })
    }

    fn revocation_count(&self) -> Result<i64, StoreError> {
        self.read(count_revocations)
    }

    fn validities(&self, now: i64) -> Result<Validities, StoreError> {
        self.read(|connection| {
            // All statements see one state.
            let transaction = connection.unchecked_transaction()?;
            let validity = |sql: &str| {
                let read = |row: &Row<'_>| Ok(Validity { valid: row.get(0)?, next_expiry: row.get(1)? });
                transaction.prepare_cached(sql)?.query_row([now], read)
            };
            let issued = validity(
                "SELECT coalesce(sum(number), 0), min(last) FROM (
                     SELECT count(*) AS number, max(not_after) AS last FROM certificates
                     LEFT JOIN revocations ON certificate = id
                     LEFT JOIN certified_keys ON certified_keys.key = certificates.key
                     WHERE not_after > ?1 AND NOT is_of_key AND certificate IS NULL
                     GROUP BY coalesce(subject, certificates.serial), account)",
            )?;
            let attesting_keys = validity(
                "SELECT count(*), min(last) FROM (
                     SELECT max(not_after) AS last FROM attesting_keys
                     JOIN certificates ON attesting_key = spki_digest AND is_of_key
                     WHERE revoked_at IS NULL GROUP BY spki_digest)
                 WHERE last > ?1",
            )?;
            let revocations = count_revocations(&transaction)?;
            transaction.commit()?;
            Ok(Validities { issued, attesting_keys, revocations })
        })
    }
}

fn read_holder(connection: &Connection, key: &Digest) -> Result<Option<KeyHolder>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT is_attesting, subject, account, profile, serial, has_others, compromised_at
         FROM certified_keys WHERE key = ?1",
    )?;
    let read = |row: &Row<'_>| {
        Ok(KeyHolder {
            is_attesting: row.get(0)?,
            subject: row.get(1)?,
            account: row.get(2)?,
            profile: row.get(3)?,
            serial: row.get(4)?,
            has_others: row.get(5)?,
            compromised_at: row.get(6)?,
        })
    };
    Ok(statement.query_row([key], read).optional()?)
}

/// How many revocations were ever recorded.
pub(super) fn count_revocations(connection: &Connection) -> Result<i64, StoreError> {
    Ok(connection.prepare_cached("SELECT count(*) FROM revocations")?.query_row([], |row| row.get(0))?)
}

/// No certificate for this key any more.
pub(super) fn burn(connection: &Connection, key: &Digest, at: i64) -> Result<(), StoreError> {
    connection.execute(
        "UPDATE certified_keys SET compromised_at = ?2 WHERE key = ?1 AND compromised_at IS NULL",
        params![key, at],
    )?;
    Ok(())
}

/// Certifies a key for a subject, unless it is another's.
pub(super) fn claim(
    connection: &Connection,
    certified: &Certified,
    account: &str,
    serial: &[u8],
) -> Result<(), StoreError> {
    let Certified { key, subject, is_attesting, profile, .. } = certified;
    match KeyHolder::judge(read_holder(connection, key)?.as_ref(), certified, account)? {
        Claim::New => connection
            .prepare_cached(
                "INSERT INTO certified_keys (key, is_attesting, subject, account, profile, serial, has_others)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0)",
            )?
            .execute(params![key, is_attesting, subject, account, profile, serial])?,
        Claim::Again => connection
            .prepare_cached("UPDATE certified_keys SET profile = ?2, serial = ?3 WHERE key = ?1")?
            .execute(params![key, profile, serial])?,
        Claim::Another => connection
            .prepare_cached("UPDATE certified_keys SET has_others = 1 WHERE key = ?1")?
            .execute(params![key])?,
    };
    Ok(())
}

/// Whether the attesting keys that a certificate rests on stand still, and are this account's as far as they are recorded.
pub(super) fn check_rests(connection: &Connection, certified: &Certified, account: &str) -> Result<(), StoreError> {
    let mut statement = connection
        .prepare_cached("SELECT account, revoked_at IS NOT NULL FROM attesting_keys WHERE spki_digest = ?1")?;
    for key in &certified.rests_on {
        let found: Option<(String, bool)> =
            statement.query_row([key], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        if let Some((owner, is_revoked)) = found {
            check_rest(&owner, is_revoked, account)?;
        }
    }
    Ok(())
}

/// Says whose the keys are that an older version has certified. Where one has several subjects, it has the first, and others.
pub(in crate::store) fn backfill(connection: &Connection) -> Result<(), StoreError> {
    let mut keys = connection.prepare("SELECT spki_digest, account, name IS NULL, public FROM attesting_keys")?;
    let mut keys = keys.query([])?;
    while let Some(row) = keys.next()? {
        let (spki, account, is_host, public): (Digest, String, bool, Vec<u8>) =
            (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
        of_older(claim(connection, &attesting_of_older(spki, is_host, &public), &account, &[]))?;
    }
    let mut last = i64::MIN;
    loop {
        let mut certificates = connection.prepare_cached(
            "SELECT certificates.id, serial, der, account FROM certificates
             JOIN decisions ON decisions.id = certificates.decision WHERE certificates.id > ?1
             ORDER BY certificates.id LIMIT ?2",
        )?;
        let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
        let batch: Vec<(i64, Vec<u8>, Vec<u8>, String)> =
            certificates.query_map([last, BATCH], read)?.collect::<Result<_, _>>()?;
        let Some((id, ..)) = batch.last() else { break };
        last = *id;
        for (id, serial, der, account) in &batch {
            let Ok(certificate) = CertView::parse(der) else { continue };
            let spki = certificate.spki().sha256();
            let mut known = connection.prepare_cached("SELECT 1 FROM attesting_keys WHERE spki_digest = ?1")?;
            let attesting = known.exists([spki])?.then_some(spki);
            let Ok(certified) = holder_of(&certificate, attesting) else { continue };
            let certified = Certified { may_have_others: true, ..certified };
            of_older(claim(connection, &certified, account, serial))?;
            connection.execute("UPDATE certificates SET key = ?2 WHERE id = ?1", params![id, certified.key])?;
        }
    }
    connection.execute(
        "UPDATE certified_keys SET compromised_at = (
             SELECT min(at) FROM revocations JOIN certificates ON id = certificate
             WHERE certificates.key = certified_keys.key AND reason = 'key-compromise')",
        [],
    )?;
    Ok(())
}
