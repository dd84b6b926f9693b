//! The inventory in PostgreSQL.

use std::collections::HashSet;

use tokio_postgres::Row;

use super::decisions::{digest, insert_decision, prepared};
use super::{Postgres, ServerError};
use crate::store::columns::{listed_columns, listed_identity};
use crate::store::{Decision, Digest, InventoryImport, InventoryRow, InventoryStore, ListedIdentity, StoreError};

const COLUMNS: &str =
    "SELECT device, account, ek_sha256, vendor, serial, model, is_virtual, digest, approver FROM inventory";

/// The name of the constraint on devices.
const DEVICES: &str = "inventory_pkey";

fn read(row: &Row) -> Result<InventoryRow, StoreError> {
    let ek: Option<&[u8]> = row.try_get(2)?;
    let ek = ek.map(|_| digest(row, 2, "ek_sha256")).transpose()?;
    Ok(InventoryRow {
        device: row.try_get(0)?,
        account: row.try_get(1)?,
        identity: listed_identity(ek, row.try_get(3)?, row.try_get(4)?)?,
        model: row.try_get(5)?,
        is_virtual: row.try_get(6)?,
        digest: digest(row, 7, "digest")?,
        approver: row.try_get(8)?,
    })
}

impl InventoryStore for Postgres {
    fn inventory(&self) -> Result<Vec<InventoryRow>, StoreError> {
        let mut rows: Vec<InventoryRow> = self.statement(async move |client| {
            let statement = prepared(client, COLUMNS).await?;
            client.query(&statement, &[]).await?.iter().map(read).collect()
        })?;
        // By their octets, whatever order the database's language has.
        rows.sort_by(|one, other| one.device.cmp(&other.device));
        Ok(rows)
    }

    fn listed(&self, identity: &ListedIdentity) -> Result<Option<InventoryRow>, StoreError> {
        let identity = identity.clone();
        self.statement(async move |client| {
            let row = match &identity {
                ListedIdentity::EndorsementKey(digest) => {
                    let statement = prepared(client, &format!("{COLUMNS} WHERE ek_sha256 = $1")).await?;
                    client.query_opt(&statement, &[&digest.as_slice()]).await?
                }
                ListedIdentity::Serial { vendor, serial } => {
                    let statement = prepared(client, &format!("{COLUMNS} WHERE vendor = $1 AND serial = $2")).await?;
                    client.query_opt(&statement, &[vendor, serial]).await?
                }
            };
            row.as_ref().map(read).transpose()
        })
    }

    fn listed_device(&self, device: &str) -> Result<Option<InventoryRow>, StoreError> {
        let device = device.to_owned();
        self.statement(async move |client| {
            let statement = prepared(client, &format!("{COLUMNS} WHERE device = $1")).await?;
            client.query_opt(&statement, &[&device]).await?.as_ref().map(read).transpose()
        })
    }

    fn import(&self, import: InventoryImport, decision: Decision) -> Result<(), StoreError> {
        let devices: HashSet<&str> = import.rows.iter().map(|row| row.device.as_str()).collect();
        if devices.len() < import.rows.len() {
            return Err(StoreError::InventoryConflict);
        }
        self.transaction(async move |transaction| {
            insert_decision(transaction, &decision).await?;
            let columns = Columns::new(&import.rows);
            // Rows may trade modules among each other.
            transaction.execute("DELETE FROM inventory WHERE device = ANY ($1)", &[&columns.devices]).await?;
            columns.insert(transaction).await
        })
    }

    fn remove_listed(&self, device: &str, decision: Decision) -> Result<bool, StoreError> {
        let device = device.to_owned();
        self.transaction(async move |transaction| {
            insert_decision(transaction, &decision).await?;
            Ok(transaction.execute("DELETE FROM inventory WHERE device = $1", &[&device]).await? > 0)
        })
    }
}

/// Rows of the inventory, a column each.
struct Columns<'a> {
    devices: Vec<&'a str>,
    accounts: Vec<&'a str>,
    eks: Vec<Option<&'a [u8]>>,
    vendors: Vec<Option<&'a str>>,
    serials: Vec<Option<&'a str>>,
    models: Vec<&'a str>,
    virtuals: Vec<bool>,
    digests: Vec<&'a [u8]>,
    approvers: Vec<&'a str>,
}

impl<'a> Columns<'a> {
    fn new(rows: &'a [InventoryRow]) -> Self {
        Self {
            devices: rows.iter().map(|row| row.device.as_str()).collect(),
            accounts: rows.iter().map(|row| row.account.as_str()).collect(),
            eks: rows.iter().map(|row| listed_columns(&row.identity).0.map(Digest::as_slice)).collect(),
            vendors: rows.iter().map(|row| listed_columns(&row.identity).1).collect(),
            serials: rows.iter().map(|row| listed_columns(&row.identity).2).collect(),
            models: rows.iter().map(|row| row.model.as_str()).collect(),
            virtuals: rows.iter().map(|row| row.is_virtual).collect(),
            digests: rows.iter().map(|row| Digest::as_slice(&row.digest)).collect(),
            approvers: rows.iter().map(|row| row.approver.as_str()).collect(),
        }
    }

    async fn insert(&self, transaction: &deadpool_postgres::Transaction<'_>) -> Result<(), StoreError> {
        let statement = prepared(
            transaction,
            "INSERT INTO inventory (device, account, ek_sha256, vendor, serial, model, is_virtual, digest, approver)
             SELECT * FROM UNNEST($1::text[], $2::text[], $3::bytea[], $4::text[], $5::text[], $6::text[], $7::boolean[],
                 $8::bytea[], $9::text[])",
        )
        .await?;
        let Self { devices, accounts, eks, vendors, serials, models, virtuals, digests, approvers } = self;
        let written = transaction
            .execute(&statement, &[devices, accounts, eks, vendors, serials, models, virtuals, digests, approvers])
            .await;
        match written.map_err(ServerError::from) {
            Ok(_) => Ok(()),
            // Another import was faster with the same device, which this one replaces when it is tried again.
            Err(error @ ServerError::Taken { .. }) if error.is_of(DEVICES) => Err(error.into()),
            Err(ServerError::Taken { .. }) => Err(StoreError::InventoryConflict),
            Err(error) => Err(error.into()),
        }
    }
}
