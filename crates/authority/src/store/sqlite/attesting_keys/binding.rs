//! Which module, device and attesting key belong together. Whatever writes here is alone: what is read still holds when it
//! is written.

use rusqlite::{Connection, OptionalExtension, params};

use super::revoke_keys_of;
use crate::store::binding::{Bound, KeyBinding, KnownKey, check_revoked, is_first_baseline};
use crate::store::columns::{approvers, material_columns};
use crate::store::{EnrolledKey, Revocation, RevocationReason, StoreError};

/// One module per device name and one device name per module, whoever's: the name stands in certificates, where accounts
/// do not.
pub(super) fn check_device_binding(
    connection: &Connection,
    key: &EnrolledKey,
    at: i64,
) -> Result<Option<Bound>, StoreError> {
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
    if !named.as_ref().map_or(Ok(false), |bound| bound.has_module_of(key))? {
        let mut by_identity = connection.prepare_cached("SELECT 1 FROM devices WHERE identity = ?1")?;
        if by_identity.exists([key.identity])? {
            return Err(StoreError::EkBoundElsewhere);
        }
    }
    Ok(named)
}

pub(super) fn bind_device(connection: &Connection, key: &EnrolledKey, at: i64) -> Result<i64, StoreError> {
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
        let approver = connection.query_row(
            "SELECT coalesce(replacement_approver, '') FROM devices WHERE id = ?1",
            [bound.id],
            |row| row.get(0),
        )?;
        let revocation = Revocation { at, reason: RevocationReason::CessationOfOperation, approver };
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

fn record_baseline(connection: &Connection, device: i64, baseline: &[u8]) -> Result<(), StoreError> {
    let mut recorded = connection.prepare_cached("SELECT baseline FROM devices WHERE id = ?1")?;
    let recorded: Option<Vec<u8>> = recorded.query_row([device], |row| row.get(0))?;
    if is_first_baseline(recorded.as_deref(), baseline)? {
        connection.execute("UPDATE devices SET baseline = ?2 WHERE id = ?1", params![device, baseline])?;
    }
    Ok(())
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

/// What can be told of a key before its holder has answered.
pub(super) fn check_key(connection: &Connection, key: &EnrolledKey) -> Result<(), StoreError> {
    check_revoked(&known_keys(connection, key)?)
}

pub(super) fn bind_key(
    connection: &Connection,
    device: i64,
    key: &EnrolledKey,
    predecessor: Option<i64>,
    at: i64,
) -> Result<(), StoreError> {
    match KeyBinding::judge(&known_keys(connection, key)?, device, predecessor.is_some())? {
        KeyBinding::New => {
            if key.is_exclusive && predecessor.is_none() {
                check_exclusive(connection, device, key)?;
            }
            insert_key(connection, device, key, predecessor, at)
        }
        KeyBinding::Again => {
            connection.execute(
                "UPDATE attesting_keys SET is_virtual = ?2, method = ?3, environment = ?4, proof = ?5, approvers = ?6,
                     predecessor = CASE WHEN ?8 THEN predecessor END, enrolled_at = ?7 WHERE spki_digest = ?1",
                params![
                    key.spki_digest,
                    key.is_virtual,
                    key.proof.method.label(),
                    key.proof.environment.label(),
                    key.proof.digest,
                    approvers(&key.proof),
                    at,
                    // Where nothing but a name is shown, it stays a successor, and goes with what vouched for it.
                    key.is_exclusive
                ],
            )?;
            Ok(())
        }
    }
}

fn insert_key(
    connection: &Connection,
    device: i64,
    key: &EnrolledKey,
    predecessor: Option<i64>,
    at: i64,
) -> Result<(), StoreError> {
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
            key.proof.method.label(),
            key.proof.environment.label(),
            key.proof.digest,
            approvers(&key.proof),
            predecessor,
            at
        ],
    )?;
    Ok(())
}

/// Where the method cannot tell who presents the name of a module, the first key stands until it is revoked.
fn check_exclusive(connection: &Connection, device: i64, key: &EnrolledKey) -> Result<(), StoreError> {
    let mut others = connection
        .prepare_cached("SELECT 1 FROM attesting_keys WHERE device = ?1 AND account = ?2 AND revoked_at IS NULL")?;
    if others.exists(params![device, key.account])? { Err(StoreError::DeviceHasKey) } else { Ok(()) }
}
