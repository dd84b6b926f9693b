//! What providers remember between runs.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::{Store, StoreError};
use crate::provider::{StateStore, StoreFault};
use crate::provider_identity::ProviderName;

/// One provider's part of the state table.
#[derive(Clone, Debug)]
pub struct ProviderState {
    store: Store,
    provider: ProviderName,
}

impl Store {
    /// The state of the provider of that name, apart from that of all others.
    #[must_use]
    pub fn provider_state(&self, provider: &ProviderName) -> ProviderState {
        ProviderState { store: self.clone(), provider: provider.clone() }
    }
}

impl ProviderState {
    fn put(&self, connection: &Connection, (kind, name): (&str, &str), value: &[u8]) -> rusqlite::Result<()> {
        let values = params![self.provider.as_str(), kind, name, value];
        connection
            .execute(
                "INSERT INTO state (provider, kind, name, value) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (provider, kind, name) DO UPDATE SET value = excluded.value",
                values,
            )
            .map(|_| ())
    }
}

impl StateStore for ProviderState {
    fn load(&self, kind: &str, name: &str) -> Result<Option<Vec<u8>>, StoreFault> {
        let connection = self.store.connection();
        let mut statement = connection
            .prepare_cached("SELECT value FROM state WHERE provider = ?1 AND kind = ?2 AND name = ?3")
            .map_err(fault)?;
        statement.query_row(params![self.provider.as_str(), kind, name], |row| row.get(0)).optional().map_err(fault)
    }

    fn store_if_absent(&self, kind: &str, name: &str, value: &[u8]) -> Result<bool, StoreFault> {
        self.store
            .connection()
            .execute(
                "INSERT INTO state (provider, kind, name, value) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (provider, kind, name) DO NOTHING",
                params![self.provider.as_str(), kind, name, value],
            )
            .map(|inserted| inserted > 0)
            .map_err(fault)
    }

    fn replace(&self, kind: &str, name: &str, value: &[u8]) -> Result<(), StoreFault> {
        self.put(&self.store.connection(), (kind, name), value).map_err(fault)
    }

    fn replace_all(&self, kind: &str, values: &[(String, Vec<u8>)]) -> Result<(), StoreFault> {
        let mut connection = self.store.connection();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fault)?;
        for (name, value) in values {
            self.put(&transaction, (kind, name), value).map_err(fault)?;
        }
        transaction.commit().map_err(fault)
    }

    fn remove(&self, kind: &str, name: &str) -> Result<(), StoreFault> {
        self.store
            .connection()
            .execute(
                "DELETE FROM state WHERE provider = ?1 AND kind = ?2 AND name = ?3",
                params![self.provider.as_str(), kind, name],
            )
            .map(|_| ())
            .map_err(fault)
    }

    fn names(&self, kind: &str) -> Result<Vec<String>, StoreFault> {
        let connection = self.store.connection();
        let mut statement = connection
            .prepare_cached("SELECT name FROM state WHERE provider = ?1 AND kind = ?2 ORDER BY name")
            .map_err(fault)?;
        let rows = statement.query_map(params![self.provider.as_str(), kind], |row| row.get(0)).map_err(fault)?;
        rows.collect::<Result<Vec<String>, _>>().map_err(fault)
    }
}

fn fault(error: rusqlite::Error) -> StoreFault {
    StoreFault(StoreError::from(error).to_string())
}
