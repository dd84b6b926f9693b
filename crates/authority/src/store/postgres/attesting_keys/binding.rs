//! Which module, device and attesting key belong together. The transactions in which this runs are as if each ran
//! alone, so that what is read here still holds when they end.

use deadpool_postgres::Transaction;

use super::super::decisions::{digest, prepared};
use super::revoke_keys_of;
use crate::store::binding::{Bound, KeyBinding, KnownKey, check_revoked, is_first_baseline};
use crate::store::columns::{approvers, material_columns};
use crate::store::{EnrolledKey, Revocation, RevocationReason, StoreError};

/// One module per device name and one device name per module, whoever's: the name stands in certificates, where accounts
/// do not.
pub(super) async fn check_device_binding(
    transaction: &Transaction<'_>,
    key: &EnrolledKey,
    at: i64,
) -> Result<Option<Bound>, StoreError> {
    let statement = prepared(
        transaction,
        "SELECT id, identity,
             account = $2 OR EXISTS (SELECT 1 FROM shared_devices WHERE device = devices.id AND account = $2),
             coalesce(replaceable_until >= $3, false)
         FROM devices WHERE name = $1",
    )
    .await?;
    let row = transaction.query_opt(&statement, &[&key.device, &key.account, &at]).await?;
    let read = |row: tokio_postgres::Row| -> Result<Bound, StoreError> {
        let (is_open, is_replaceable) = (row.try_get(2)?, row.try_get(3)?);
        Ok(Bound { id: row.try_get(0)?, identity: digest(&row, 1, "identity")?, is_open, is_replaceable })
    };
    let named = row.map(read).transpose()?;
    if !named.as_ref().map_or(Ok(false), |bound| bound.has_module_of(key))? {
        let statement = prepared(transaction, "SELECT 1 FROM devices WHERE identity = $1").await?;
        if transaction.query_opt(&statement, &[&key.identity.as_slice()]).await?.is_some() {
            return Err(StoreError::EkBoundElsewhere);
        }
    }
    Ok(named)
}

pub(super) async fn bind_device(transaction: &Transaction<'_>, key: &EnrolledKey, at: i64) -> Result<i64, StoreError> {
    let identity = key.identity.as_slice();
    let Some(bound) = check_device_binding(transaction, key, at).await? else {
        let statement = prepared(
            transaction,
            "INSERT INTO devices (account, name, identity, ek_certificate, baseline, enrolled_at)
             VALUES ($1, $2, $3, $4, $5, $6) RETURNING id",
        )
        .await?;
        let row = transaction
            .query_one(&statement, &[&key.account, &key.device, &identity, &key.ek_certificate, &key.baseline, &at])
            .await?;
        return Ok(row.try_get(0)?);
    };
    if bound.identity != key.identity {
        // What the failed module enrolled since the leave was given goes as its other keys did.
        let by = "SELECT coalesce(replacement_approver, '') FROM devices WHERE id = $1";
        let approver = transaction.query_one(by, &[&bound.id]).await?.try_get(0)?;
        let revocation = Revocation { at, reason: RevocationReason::CessationOfOperation, approver };
        revoke_keys_of(transaction, bound.id, &revocation).await?;
        // The leave is used up, and what the failed module quoted says nothing of this one.
        let replace = "
            UPDATE devices SET identity = $2, ek_certificate = $3, baseline = $4, replaceable_until = NULL WHERE id = $1";
        transaction.execute(replace, &[&bound.id, &identity, &key.ek_certificate, &key.baseline]).await?;
        return Ok(bound.id);
    }
    if let Some(baseline) = &key.baseline {
        record_baseline(transaction, bound.id, baseline).await?;
    }
    if !key.ek_certificate.is_empty() {
        // A device that was enrolled without a certificate may have got one.
        let update = "UPDATE devices SET ek_certificate = $2 WHERE id = $1";
        transaction.execute(update, &[&bound.id, &key.ek_certificate]).await?;
    }
    Ok(bound.id)
}

async fn record_baseline(transaction: &Transaction<'_>, device: i64, baseline: &[u8]) -> Result<(), StoreError> {
    let row = transaction.query_one("SELECT baseline FROM devices WHERE id = $1", &[&device]).await?;
    if is_first_baseline(row.try_get(0)?, baseline)? {
        transaction.execute("UPDATE devices SET baseline = $2 WHERE id = $1", &[&device, &baseline]).await?;
    }
    Ok(())
}

async fn known_keys(transaction: &Transaction<'_>, key: &EnrolledKey) -> Result<Vec<KnownKey>, StoreError> {
    let (name, _) = material_columns(&key.material);
    let statement = prepared(
        transaction,
        "SELECT device, spki_digest = $2 AND name IS NOT DISTINCT FROM $1, account = $3, revoked_at IS NOT NULL
         FROM attesting_keys WHERE name = $1 OR spki_digest = $2",
    )
    .await?;
    let rows = transaction.query(&statement, &[&name, &key.spki_digest.as_slice(), &key.account]).await?;
    let read = |row: &tokio_postgres::Row| {
        let (is_of_account, is_revoked) = (row.try_get(2)?, row.try_get(3)?);
        Ok(KnownKey { device: row.try_get(0)?, is_same: row.try_get(1)?, is_of_account, is_revoked })
    };
    rows.iter().map(read).collect()
}

/// What can be told of a key before its holder has answered.
pub(super) async fn check_key(transaction: &Transaction<'_>, key: &EnrolledKey) -> Result<(), StoreError> {
    check_revoked(&known_keys(transaction, key).await?)
}

pub(super) async fn bind_key(
    transaction: &Transaction<'_>,
    device: i64,
    key: &EnrolledKey,
    predecessor: Option<i64>,
    at: i64,
) -> Result<(), StoreError> {
    match KeyBinding::judge(&known_keys(transaction, key).await?, device, predecessor.is_some())? {
        KeyBinding::New => {
            if key.is_exclusive && predecessor.is_none() {
                check_exclusive(transaction, device, key).await?;
            }
            insert_key(transaction, device, key, predecessor, at).await
        }
        KeyBinding::Again => {
            let statement = prepared(
                transaction,
                "UPDATE attesting_keys SET is_virtual = $2, method = $3, environment = $4, proof = $5, approvers = $6,
                     predecessor = CASE WHEN $8 THEN predecessor END, enrolled_at = $7 WHERE spki_digest = $1",
            )
            .await?;
            let (spki_digest, proof) = (key.spki_digest.as_slice(), key.proof.digest.as_slice());
            let (method, environment) = (key.proof.method.label(), key.proof.environment.label());
            transaction
                .execute(
                    &statement,
                    // Where nothing but a name is shown, it stays a successor, and goes with what vouched for it.
                    &[
                        &spki_digest,
                        &key.is_virtual,
                        &method,
                        &environment,
                        &proof,
                        &approvers(&key.proof),
                        &at,
                        &key.is_exclusive,
                    ],
                )
                .await?;
            Ok(())
        }
    }
}

async fn insert_key(
    transaction: &Transaction<'_>,
    device: i64,
    key: &EnrolledKey,
    predecessor: Option<i64>,
    at: i64,
) -> Result<(), StoreError> {
    let (name, public) = material_columns(&key.material);
    let statement = prepared(
        transaction,
        "INSERT INTO attesting_keys (device, account, name, public, spki_digest, is_virtual, method, environment, proof,
             approvers, predecessor, enrolled_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    )
    .await?;
    transaction
        .execute(
            &statement,
            &[
                &device,
                &key.account,
                &name,
                &public,
                &key.spki_digest.as_slice(),
                &key.is_virtual,
                &key.proof.method.label(),
                &key.proof.environment.label(),
                &key.proof.digest.as_slice(),
                &approvers(&key.proof),
                &predecessor,
                &at,
            ],
        )
        .await?;
    Ok(())
}

/// Where the method cannot tell who presents the name of a module, the first key stands until it is revoked.
async fn check_exclusive(transaction: &Transaction<'_>, device: i64, key: &EnrolledKey) -> Result<(), StoreError> {
    let statement = prepared(
        transaction,
        "SELECT 1 FROM attesting_keys WHERE device = $1 AND account = $2 AND revoked_at IS NULL LIMIT 1",
    )
    .await?;
    let other = transaction.query_opt(&statement, &[&device, &key.account]).await?;
    if other.is_some() { Err(StoreError::DeviceHasKey) } else { Ok(()) }
}
