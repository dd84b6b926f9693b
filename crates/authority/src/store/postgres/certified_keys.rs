//! Whose each key is, in PostgreSQL.

use deadpool_postgres::{GenericClient, Transaction};
use tokio_postgres::Row;
use vouchsafe_evidence::x509::CertView;

use super::Postgres;
use super::decisions::{digest, insert_decision, prepared};
use crate::certified_key::holder_of;
use crate::store::certified_keys::{attesting_of_older, check_rest, of_older};
use crate::store::{
    Certified, CertifiedKeyStore, Claim, Decision, Digest, KeyHolder, Revocation, StoreError, Validities, Validity,
};

/// Certificates that are looked at together when those of an older version are gone through.
const BATCH: i64 = 500;
/// What is read of a key.
const HOLDER: &str = "
    SELECT is_attesting, subject, account, profile, serial, has_others, compromised_at FROM certified_keys WHERE key = $1";
/// As [`HOLDER`], and nobody changes it until this transaction ends.
const HOLDER_LOCKED: &str = "
    SELECT is_attesting, subject, account, profile, serial, has_others, compromised_at FROM certified_keys WHERE key = $1
    FOR UPDATE";

impl CertifiedKeyStore for Postgres {
    fn key_holder(&self, key: &Digest) -> Result<Option<KeyHolder>, StoreError> {
        let key = *key;
        self.statement(async move |client| read_holder(client, HOLDER, &key).await)
    }

    fn revoke_certified(&self, key: &Digest, revocation: Revocation, decision: Decision) -> Result<usize, StoreError> {
        let key = *key;
        self.locking(async move |transaction| {
            insert_decision(transaction, &decision).await?;
            // Nobody certifies the key until this is committed; what was certified before can be seen below.
            match read_holder(transaction, HOLDER_LOCKED, &key).await? {
                Some(holder) if !holder.is_attesting => {}
                Some(_) | None => return Err(StoreError::NoSuchKey),
            }
            let revoke = "
                INSERT INTO revocations (serial, at, reason)
                SELECT serial, $2, $3 FROM certificates WHERE key = $1 AND not_after > $2
                ON CONFLICT (serial) DO NOTHING";
            let (key, at, reason) = (key.as_slice(), revocation.at, revocation.reason.label());
            let revoked = transaction.execute(revoke, &[&key, &at, &reason]).await?;
            if revocation.reason.burns_keys() {
                let burn = "UPDATE certified_keys SET compromised_at = $2 WHERE key = $1 AND compromised_at IS NULL";
                transaction.execute(burn, &[&key, &at]).await?;
            }
            Ok(usize::try_from(revoked).unwrap_or(usize::MAX))
        })
    }

    fn revocation_count(&self) -> Result<i64, StoreError> {
        self.statement(async move |client| count_revocations(client).await)
    }

    fn validities(&self, now: i64) -> Result<Validities, StoreError> {
        self.statement(async move |client| {
            let statement = prepared(
                client,
                "SELECT issued.*, attesting.*, (SELECT count(*) FROM revocations) FROM (
                     SELECT coalesce(sum(number), 0)::bigint, min(last) FROM (
                         SELECT count(*) AS number, max(not_after) AS last FROM certificates
                         LEFT JOIN certified_keys ON certified_keys.key = certificates.key
                         WHERE not_after > $1 AND NOT is_of_key
                             AND NOT EXISTS (SELECT 1 FROM revocations WHERE revocations.serial = certificates.serial)
                         GROUP BY coalesce(subject, certificates.serial), account) AS subjects
                 ) AS issued, (
                     SELECT count(*), min(last) FROM (
                         SELECT max(not_after) AS last FROM attesting_keys
                         JOIN certificates ON attesting_key = spki_digest AND is_of_key
                         WHERE revoked_at IS NULL GROUP BY spki_digest) AS keys
                     WHERE last > $1
                 ) AS attesting",
            )
            .await?;
            let row = client.query_one(&statement, &[&now]).await?;
            Ok(Validities {
                issued: Validity { valid: row.try_get(0)?, next_expiry: row.try_get(1)? },
                attesting_keys: Validity { valid: row.try_get(2)?, next_expiry: row.try_get(3)? },
                revocations: row.try_get(4)?,
            })
        })
    }
}

/// How many revocations were ever recorded.
pub(super) async fn count_revocations(client: &impl GenericClient) -> Result<i64, StoreError> {
    let count = prepared(client, "SELECT count(*) FROM revocations").await?;
    Ok(client.query_one(&count, &[]).await?.try_get(0)?)
}

async fn read_holder(
    client: &impl GenericClient,
    sql: &'static str,
    key: &Digest,
) -> Result<Option<KeyHolder>, StoreError> {
    let statement = prepared(client, sql).await?;
    let Some(row) = client.query_opt(&statement, &[&key.as_slice()]).await? else { return Ok(None) };
    Ok(Some(KeyHolder {
        is_attesting: row.try_get(0)?,
        subject: digest(&row, 1, "subject")?,
        account: row.try_get(2)?,
        profile: row.try_get(3)?,
        serial: row.try_get(4)?,
        has_others: row.try_get(5)?,
        compromised_at: row.try_get(6)?,
    }))
}

/// Certifies a key for a subject, unless it is another's.
pub(super) async fn claim(
    transaction: &Transaction<'_>,
    certified: &Certified,
    account: &str,
    serial: &[u8],
) -> Result<(), StoreError> {
    let Certified { key, subject, is_attesting, profile, .. } = certified;
    let (key, known) = (key.as_slice(), read_holder(transaction, HOLDER_LOCKED, key).await?);
    match KeyHolder::judge(known.as_ref(), certified, account)? {
        Claim::New => {
            let statement = prepared(
                transaction,
                "INSERT INTO certified_keys (key, is_attesting, subject, account, profile, serial, has_others)
                 VALUES ($1, $2, $3, $4, $5, $6, false)",
            )
            .await?;
            let subject = subject.as_slice();
            transaction.execute(&statement, &[&key, is_attesting, &subject, &account, profile, &serial]).await?;
        }
        Claim::Again => {
            let update = "UPDATE certified_keys SET profile = $2, serial = $3 WHERE key = $1";
            transaction.execute(update, &[&key, profile, &serial]).await?;
        }
        Claim::Another => {
            transaction.execute("UPDATE certified_keys SET has_others = true WHERE key = $1", &[&key]).await?;
        }
    }
    Ok(())
}

/// Whether the attesting keys that a certificate rests on stand still, and are this account's as far as they are recorded.
/// None of them is revoked until this transaction ends.
pub(super) async fn check_rests(
    transaction: &Transaction<'_>,
    certified: &Certified,
    account: &str,
) -> Result<(), StoreError> {
    for key in &certified.rests_on {
        let statement = prepared(
            transaction,
            "SELECT account, revoked_at IS NOT NULL FROM attesting_keys WHERE spki_digest = $1 FOR SHARE",
        )
        .await?;
        let found = transaction.query_opt(&statement, &[&key.as_slice()]).await?;
        let Some(row) = found else { continue };
        check_rest(row.try_get(0)?, row.try_get(1)?, account)?;
    }
    Ok(())
}

/// Says whose the keys are that an older version has certified. Where one has several subjects, it has the first, and others.
pub(super) async fn backfill(transaction: &Transaction<'_>) -> Result<(), StoreError> {
    let keys = "SELECT spki_digest, account, name IS NULL, public FROM attesting_keys";
    for row in transaction.query(keys, &[]).await? {
        let (spki, account) = (digest(&row, 0, "spki_digest")?, row.try_get::<_, String>(1)?);
        let (is_host, public): (bool, Vec<u8>) = (row.try_get(2)?, row.try_get(3)?);
        of_older(claim(transaction, &attesting_of_older(spki, is_host, &public), &account, &[]).await)?;
    }
    let (mut decision, mut place) = (i64::MIN, i64::MIN);
    loop {
        let certificates = "
            SELECT decision, place, serial, der, decisions.account,
                EXISTS (SELECT 1 FROM attesting_keys WHERE spki_digest = attesting_key) AND is_of_key
            FROM certificates JOIN decisions ON decisions.id = certificates.decision
            WHERE decision > $1 OR (decision = $1 AND place > $2) ORDER BY decision, place LIMIT $3";
        let batch = transaction.query(certificates, &[&decision, &place, &BATCH]).await?;
        let Some(last) = batch.last() else { break };
        (decision, place) = (last.try_get(0)?, last.try_get(1)?);
        for row in &batch {
            backfill_one(transaction, row).await?;
        }
    }
    let burn = "
        UPDATE certified_keys SET compromised_at = (
            SELECT min(at) FROM revocations JOIN certificates ON certificates.serial = revocations.serial
            WHERE certificates.key = certified_keys.key AND reason = 'key-compromise')";
    transaction.execute(burn, &[]).await?;
    Ok(())
}

async fn backfill_one(transaction: &Transaction<'_>, row: &Row) -> Result<(), StoreError> {
    let (serial, der): (Vec<u8>, Vec<u8>) = (row.try_get(2)?, row.try_get(3)?);
    let (account, is_attesting): (String, bool) = (row.try_get(4)?, row.try_get(5)?);
    let Ok(certificate) = CertView::parse(&der) else { return Ok(()) };
    let Ok(certified) = holder_of(&certificate, is_attesting.then(|| certificate.spki().sha256())) else {
        return Ok(());
    };
    let certified = Certified { may_have_others: true, ..certified };
    of_older(claim(transaction, &certified, &account, &serial).await)?;
    let key = "UPDATE certificates SET key = $2 WHERE serial = $1";
    transaction.execute(key, &[&serial, &certified.key.as_slice()]).await?;
    Ok(())
}
