//! The inventory in SQLite.

use rusqlite::{Connection, Row, params};

use super::{Sqlite, insert_decision, unless_taken};
use crate::store::columns::{listed_columns, listed_identity};
use crate::store::{Decision, InventoryImport, InventoryRow, InventoryStore, ListedIdentity, StoreError};

const COLUMNS: &str =
    "SELECT device, account, ek_sha256, vendor, serial, model, is_virtual, digest, approver FROM inventory";

fn read(row: &Row<'_>) -> Result<InventoryRow, StoreError> {
    Ok(InventoryRow {
        device: row.get(0)?,
        account: row.get(1)?,
        identity: listed_identity(row.get(2)?, row.get(3)?, row.get(4)?)?,
        model: row.get(5)?,
        is_virtual: row.get(6)?,
        digest: row.get(7)?,
        approver: row.get(8)?,
    })
}

impl InventoryStore for Sqlite {
    fn inventory(&self) -> Result<Vec<InventoryRow>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&format!("{COLUMNS} ORDER BY device"))?;
            statement.query_and_then([], read)?.collect()
        })
    }

    fn listed(&self, identity: &ListedIdentity) -> Result<Option<InventoryRow>, StoreError> {
        self.read(|connection| match identity {
            ListedIdentity::EndorsementKey(digest) => {
                let mut statement = connection.prepare_cached(&format!("{COLUMNS} WHERE ek_sha256 = ?1"))?;
                statement.query_and_then([digest], read)?.next().transpose()
            }
            ListedIdentity::Serial { vendor, serial } => {
                let mut statement =
                    connection.prepare_cached(&format!("{COLUMNS} WHERE vendor = ?1 AND serial = ?2"))?;
                statement.query_and_then([vendor, serial], read)?.next().transpose()
            }
        })
    }

    fn listed_device(&self, device: &str) -> Result<Option<InventoryRow>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&format!("{COLUMNS} WHERE device = ?1"))?;
            statement.query_and_then([device], read)?.next().transpose()
        })
    }

    fn import(&self, import: InventoryImport, decision: Decision) -> Result<(), StoreError> {
        self.writer.write(move |connection| {
            insert_decision(connection, &decision)?;
            // Rows may trade modules among each other.
            for row in &import.rows {
                connection.execute("DELETE FROM inventory WHERE device = ?1", [&row.device])?;
            }
            import.rows.iter().try_for_each(|row| insert(connection, row))
        })
    }

    fn remove_listed(&self, device: &str, decision: Decision) -> Result<bool, StoreError> {
        let device = device.to_owned();
        self.writer.write(move |connection| {
            insert_decision(connection, &decision)?;
            Ok(connection.execute("DELETE FROM inventory WHERE device = ?1", [device])? > 0)
        })
    }
}

fn insert(connection: &Connection, row: &InventoryRow) -> Result<(), StoreError> {
    let (ek, vendor, serial) = listed_columns(&row.identity);
    let mut statement = connection.prepare_cached(
        "INSERT INTO inventory (device, account, ek_sha256, vendor, serial, model, is_virtual, digest, approver)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    let written = statement.execute(params![
        row.device,
        row.account,
        ek,
        vendor,
        serial,
        row.model,
        row.is_virtual,
        row.digest,
        row.approver
    ]);
    unless_taken(written, StoreError::InventoryConflict)
}
