//! Records of attesting keys that this TPM does not have: another one may, which comes back.
//!
//! An agent that is started once with another TPM (or before a TPM's state was put back) makes that one's attesting keys. Those of the
//! first are set aside with their certificates, and taken up again where the TPM has them at their handles.

use tracing::{info, warn};
use vouchsafe_evidence::tpm::{HashAlg, TpmtPublic};

use super::record::{Origin, Record};
use super::{PERSISTENT_HANDLES, certificates, is_at};
use crate::provider::{Family, Fault, StateStore};
use crate::tpm::Tpm;

/// Records that are set aside, of one origin. Beyond them the next ones are forgotten.
const RECORDS: usize = 16;

fn kind(origin: Origin) -> String {
    format!("{}.aside", origin.kind())
}

/// Names of keys have no slash, so that name and digest are never confused.
fn name_aside(name: &str, record: &[u8]) -> String {
    let digest = HashAlg::Sha256.digest(&[record]);
    let digits: String = digest.iter().take(16).map(|octet| format!("{octet:02x}")).collect();
    format!("{name}/{digits}")
}

/// Sets the record of that name aside. Nothing is removed before all of it is there: if the agent dies in between, the next start
/// does it once more.
pub(super) fn put(store: &dyn StateStore, origin: Origin, name: &str) -> Result<(), Fault> {
    if let Some(record) = store.load(origin.kind(), name)? {
        let aside = name_aside(name, &record);
        let there = store.names(&kind(origin))?;
        if there.len() < RECORDS || there.contains(&aside) {
            for family in Family::ALL {
                certificates::copy(store, (name, family), (&aside, family))?;
            }
            store.replace(&kind(origin), &aside, &record)?;
        } else {
            warn!(name, "too many attesting keys are set aside: this one is forgotten");
        }
    }
    store.remove(origin.kind(), name)?;
    certificates::forget(store, name)
}

/// Takes up what was set aside and is this TPM's, under names that are free. The names.
pub(super) fn take(tpm: &mut Tpm, store: &dyn StateStore, origin: Origin) -> Result<Vec<String>, Fault> {
    let mut taken = Vec::new();
    for aside in store.names(&kind(origin))? {
        let (Some((name, _)), Some(record)) = (aside.split_once('/'), store.load(&kind(origin), &aside)?) else {
            continue;
        };
        let Some((handle, public)) = place(&record, origin) else {
            warn!(name, "what was set aside of an attesting key cannot be read");
            continue;
        };
        let is_free = is_free_for(store, origin, name, &record)?;
        if !is_free || !tpm.handles(PERSISTENT_HANDLES)?.contains(&handle) || !is_at(tpm, handle, &public)? {
            continue;
        }
        move_back(store, origin, (&aside, name), &record)?;
        info!(name, "this TPM has an attesting key that was set aside");
        taken.push(name.to_owned());
    }
    Ok(taken)
}

/// Where the key of a record would be, and its public area; `None` of a record that is none.
fn place(record: &[u8], origin: Origin) -> Option<(u32, TpmtPublic)> {
    match Record::parse(record, origin).ok()? {
        Record::Made(record) => Some((record.handle, record.public)),
        Record::Imported(record) => Some((record.handle, record.public)),
    }
}

/// Whether nothing has that name, of whatever origin, but perhaps this very record: what an agent that died has begun.
fn is_free_for(store: &dyn StateStore, origin: Origin, name: &str, record: &[u8]) -> Result<bool, Fault> {
    for other in Origin::ALL {
        if store.load(other.kind(), name)?.is_some_and(|there| other != origin || there != record) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Gives a key its name back: its certificates first, so that it never stands there without them. Whatever of it was done
/// before, the rest follows when it is done again.
fn move_back(store: &dyn StateStore, origin: Origin, (aside, name): (&str, &str), record: &[u8]) -> Result<(), Fault> {
    if store.load(origin.kind(), name)?.is_none() {
        certificates::forget(store, name)?;
    }
    for family in Family::ALL {
        certificates::copy(store, (aside, family), (name, family))?;
    }
    store.replace(origin.kind(), name, record)?;
    certificates::forget(store, aside)?;
    Ok(store.remove(&kind(origin), aside)?)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::provider::tpm::{Settings, TpmProvider};
    use crate::provider::{MemoryStore, StoreFault};
    use crate::swtpm::{Options, Swtpm};

    const MADE: Origin = Origin::Made;
    const NAME: &str = "default";

    /// A store of an agent that is killed: so many writes are done, and none that follows.
    struct Dying<'s> {
        store: &'s MemoryStore,
        writes: Cell<usize>,
    }

    impl Dying<'_> {
        fn write<R>(&self, write: impl FnOnce(&MemoryStore) -> Result<R, StoreFault>) -> Result<R, StoreFault> {
            let left = self.writes.get().checked_sub(1).ok_or_else(|| StoreFault("killed".to_owned()))?;
            self.writes.set(left);
            write(self.store)
        }
    }

    impl StateStore for Dying<'_> {
        fn load(&self, kind: &str, name: &str) -> Result<Option<Vec<u8>>, StoreFault> {
            self.store.load(kind, name)
        }
        fn store_if_absent(&self, kind: &str, name: &str, value: &[u8]) -> Result<bool, StoreFault> {
            self.write(|store| store.store_if_absent(kind, name, value))
        }
        fn replace(&self, kind: &str, name: &str, value: &[u8]) -> Result<(), StoreFault> {
            self.write(|store| store.replace(kind, name, value))
        }
        fn replace_all(&self, kind: &str, values: &[(String, Vec<u8>)]) -> Result<(), StoreFault> {
            self.write(|store| store.replace_all(kind, values))
        }
        fn remove(&self, kind: &str, name: &str) -> Result<(), StoreFault> {
            self.write(|store| store.remove(kind, name))
        }
        fn names(&self, kind: &str) -> Result<Vec<String>, StoreFault> {
            self.store.names(kind)
        }
    }

    /// A store with the default attesting key of this TPM, and what stands for its certificates.
    fn with_certificates(swtpm: &Swtpm) -> (MemoryStore, Vec<(String, Vec<u8>)>) {
        let store = MemoryStore::new();
        drop(TpmProvider::open(&swtpm.address(), Settings::default(), Box::new(store.clone())).unwrap());
        for (octet, family) in (1..).zip(Family::ALL) {
            store
                .replace(certificates::CERTIFICATES, &certificates::certificates_name(NAME, family), &[octet])
                .unwrap();
        }
        let kept = all(&store, certificates::CERTIFICATES);
        assert_eq!(kept.len(), Family::ALL.len());
        (store, kept)
    }

    fn all(store: &MemoryStore, kind: &str) -> Vec<(String, Vec<u8>)> {
        let names = store.names(kind).unwrap().into_iter();
        names.map(|name| (name.clone(), store.load(kind, &name).unwrap().unwrap())).collect()
    }

    #[test]
    fn whenever_the_agent_is_killed_a_key_keeps_its_certificates() {
        let swtpm = Swtpm::start(&Options::default()).unwrap();
        let (store, kept) = with_certificates(&swtpm);
        let record = store.load(MADE.kind(), NAME).unwrap().unwrap();
        let mut tpm = swtpm.connect().unwrap();
        let (mut put_killed, mut take_killed) = (0, 0);
        for writes in 0.. {
            let dying = Dying { store: &store, writes: Cell::new(writes) };
            put_killed += usize::from(put(&dying, MADE, NAME).is_err());
            // The next start, still with the other TPM.
            put(&store, MADE, NAME).unwrap();
            assert_eq!(store.names(MADE.kind()).unwrap(), Vec::<String>::new());
            assert!(all(&store, certificates::CERTIFICATES).iter().all(|(name, _)| name.starts_with("default/")));
            // And then with this one.
            let dying = Dying { store: &store, writes: Cell::new(writes) };
            let is_killed = take(&mut tpm, &dying, MADE).is_err();
            take_killed += usize::from(is_killed);
            if store.load(MADE.kind(), NAME).unwrap().is_some() {
                let there = all(&store, certificates::CERTIFICATES);
                assert!(kept.iter().all(|own| there.contains(own)), "killed after {writes} writes");
            }
            take(&mut tpm, &store, MADE).unwrap();
            assert_eq!(store.load(MADE.kind(), NAME).unwrap().unwrap(), record, "killed after {writes} writes");
            assert_eq!(all(&store, certificates::CERTIFICATES), kept, "killed after {writes} writes");
            assert_eq!(store.names(&kind(MADE)).unwrap(), Vec::<String>::new(), "killed after {writes} writes");
            if !is_killed && writes > put_killed {
                break;
            }
        }
        // One for each write: certificates there and gone, record there and gone, and before the first one.
        assert!(put_killed >= 2 * Family::ALL.len() + 2 && take_killed >= 2 * Family::ALL.len() + 2);
    }

    #[test]
    fn a_name_that_another_key_has_stays_that_keys() {
        let swtpm = Swtpm::start(&Options::default()).unwrap();
        for other in Origin::ALL {
            let (store, _) = with_certificates(&swtpm);
            put(&store, MADE, NAME).unwrap();
            store.replace(other.kind(), NAME, b"another key").unwrap();
            assert_eq!(take(&mut swtpm.connect().unwrap(), &store, MADE).unwrap(), Vec::<String>::new());
            assert_eq!(store.load(other.kind(), NAME).unwrap().unwrap(), b"another key");
            assert_eq!(store.names(&kind(MADE)).unwrap().len(), 1);
            for family in Family::ALL {
                let name = certificates::certificates_name(NAME, family);
                assert_eq!(store.load(certificates::CERTIFICATES, &name).unwrap(), None);
            }
        }
    }

    #[test]
    fn what_is_set_aside_and_unreadable_hinders_nothing() {
        let swtpm = Swtpm::start(&Options::default()).unwrap();
        let (store, kept) = with_certificates(&swtpm);
        store.replace(&kind(MADE), "broken/00", b"no record").unwrap();
        put(&store, MADE, NAME).unwrap();
        assert_eq!(take(&mut swtpm.connect().unwrap(), &store, MADE).unwrap(), [NAME]);
        assert_eq!(all(&store, certificates::CERTIFICATES), kept);
    }
}
