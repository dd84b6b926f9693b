//! The operator's list of modules.

use super::{Decision, Digest, StoreError};

/// By what a row names its module.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ListedIdentity {
    /// SHA-256 of the SubjectPublicKeyInfo of its endorsement key.
    EndorsementKey(Digest),
    /// Its maker's serial number.
    Serial {
        /// The maker.
        vendor: String,
        /// The number.
        serial: String,
    },
}

/// A row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InventoryRow {
    /// The device's name.
    pub device: String,
    /// The account that may enroll it.
    pub account: String,
    /// The module.
    pub identity: ListedIdentity,
    /// Its model; empty where nobody says.
    pub model: String,
    /// Whether it is a module in software.
    pub is_virtual: bool,
    /// Salted digest of the row, which the records of enrolments name.
    pub digest: Digest,
    /// Who brought it in.
    pub approver: String,
}

/// Rows on their way into the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InventoryImport {
    /// New rows, and rows in place of those of the same device.
    pub rows: Vec<InventoryRow>,
}

/// The part of [`super::Store`] that is about the inventory.
pub trait InventoryStore {
    /// Every row, by device.
    ///
    /// # Errors
    /// [`StoreError::Database`], as for every method below.
    fn inventory(&self) -> Result<Vec<InventoryRow>, StoreError>;

    /// The row that names this module.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    fn listed(&self, identity: &ListedIdentity) -> Result<Option<InventoryRow>, StoreError>;

    /// The row of this device.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    fn listed_device(&self, device: &str) -> Result<Option<InventoryRow>, StoreError>;

    /// Adds and replaces rows; all of them or none.
    ///
    /// # Errors
    /// [`StoreError::InventoryConflict`] if another row names a module already.
    fn import(&self, import: InventoryImport, decision: Decision) -> Result<(), StoreError>;

    /// Removes the row of a device; what was enrolled by it stays. Whether there was one.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    fn remove_listed(&self, device: &str, decision: Decision) -> Result<bool, StoreError>;
}
