//! Where a provider keeps what it must remember.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use thiserror::Error;

/// The store refused or failed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("state store: {0}")]
pub struct StoreFault(
    /// The store's own words.
    pub String,
);

/// Small named values that survive restarts. Every call is durable when it returns.
pub trait StateStore: Send {
    /// The value of `name` among those of `kind`.
    ///
    /// # Errors
    /// [`StoreFault`].
    fn load(&self, kind: &str, name: &str) -> Result<Option<Vec<u8>>, StoreFault>;

    /// Stores a value unless one is there; true if it was stored. Atomic.
    ///
    /// # Errors
    /// [`StoreFault`].
    fn store_if_absent(&self, kind: &str, name: &str, value: &[u8]) -> Result<bool, StoreFault>;

    /// Stores a value over whatever is there.
    ///
    /// # Errors
    /// [`StoreFault`].
    fn replace(&self, kind: &str, name: &str, value: &[u8]) -> Result<(), StoreFault>;

    /// Stores several values of one kind, each with its name, over whatever is there: all or none.
    ///
    /// # Errors
    /// [`StoreFault`].
    fn replace_all(&self, kind: &str, values: &[(String, Vec<u8>)]) -> Result<(), StoreFault>;

    /// Forgets a value; nothing happens if there is none.
    ///
    /// # Errors
    /// [`StoreFault`].
    fn remove(&self, kind: &str, name: &str) -> Result<(), StoreFault>;

    /// The names of `kind`, ascending.
    ///
    /// # Errors
    /// [`StoreFault`].
    fn names(&self, kind: &str) -> Result<Vec<String>, StoreFault>;
}

/// By kind and name.
type Values = BTreeMap<(String, String), Vec<u8>>;

/// A state store that forgets everything with the process; clones share their contents.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    values: Arc<Mutex<Values>>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn with<R>(&self, f: impl FnOnce(&mut Values) -> R) -> R {
        f(&mut self.values.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl StateStore for MemoryStore {
    fn load(&self, kind: &str, name: &str) -> Result<Option<Vec<u8>>, StoreFault> {
        Ok(self.with(|values| values.get(&(kind.to_owned(), name.to_owned())).cloned()))
    }

    fn store_if_absent(&self, kind: &str, name: &str, value: &[u8]) -> Result<bool, StoreFault> {
        Ok(self.with(|values| {
            let slot = values.entry((kind.to_owned(), name.to_owned()));
            let vacant = matches!(slot, std::collections::btree_map::Entry::Vacant(_));
            slot.or_insert_with(|| value.to_vec());
            vacant
        }))
    }

    fn replace(&self, kind: &str, name: &str, value: &[u8]) -> Result<(), StoreFault> {
        self.with(|values| values.insert((kind.to_owned(), name.to_owned()), value.to_vec()));
        Ok(())
    }

    fn replace_all(&self, kind: &str, values: &[(String, Vec<u8>)]) -> Result<(), StoreFault> {
        self.with(|there| {
            there.extend(values.iter().map(|(name, value)| ((kind.to_owned(), name.clone()), value.clone())));
        });
        Ok(())
    }

    fn remove(&self, kind: &str, name: &str) -> Result<(), StoreFault> {
        self.with(|values| values.remove(&(kind.to_owned(), name.to_owned())));
        Ok(())
    }

    fn names(&self, kind: &str) -> Result<Vec<String>, StoreFault> {
        Ok(self.with(|values| values.keys().filter(|(k, _)| k == kind).map(|(_, name)| name.clone()).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_stored_once_and_replaced_only_on_demand() {
        let store = MemoryStore::new();
        assert_eq!(store.store_if_absent("k", "a", b"1"), Ok(true));
        assert_eq!(store.store_if_absent("k", "a", b"2"), Ok(false));
        assert_eq!(store.load("k", "a"), Ok(Some(b"1".to_vec())));
        store.replace("k", "a", b"3").unwrap();
        assert_eq!(store.load("k", "a"), Ok(Some(b"3".to_vec())));
        assert_eq!(store.names("k"), Ok(vec!["a".to_owned()]));
        store.remove("k", "a").unwrap();
        assert_eq!(store.load("k", "a"), Ok(None));
        assert_eq!(store.load("other", "a"), Ok(None));
    }
}
