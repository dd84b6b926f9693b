//! Signatures of certification authorities that were found good before, remembered from request to request.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use super::MEMO_OCTETS;

/// Signatures remembered at most, over both generations; about 100 octets each.
const ENTRIES_DEFAULT: usize = 16_384;

/// What identifies a checked signature: the version of the trust store under which it was checked, and a digest of
/// key, algorithm, signed bytes and signature.
type Entry = ([u8; MEMO_OCTETS], [u8; MEMO_OCTETS]);

/// Good signatures on certificates and revocation lists, shared by the requests of one process.
///
/// It holds positive results alone, and of signatures alone: validity, revocation, names, profiles and everything
/// else about a certificate is checked anew in every request. A signature is remembered under the version of the
/// trust store that it was checked under, and the key that made it hung beneath an anchor of that store. Bounded:
/// when it is full, what was not used lately is forgotten. Cheap to clone; clones share their contents.
#[derive(Clone, Debug)]
pub struct VerificationCache(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    generations: Mutex<Generations>,
    entries_per_generation: usize,
}

/// What was used lately, and what was used before that: when the former is full it becomes the latter.
#[derive(Debug, Default)]
struct Generations {
    young: HashSet<Entry>,
    old: HashSet<Entry>,
}

impl VerificationCache {
    /// An empty cache of the usual size.
    #[must_use]
    pub fn new() -> Self {
        Self::with_capacity(ENTRIES_DEFAULT)
    }

    /// An empty cache that remembers at most `entries` signatures (two, if fewer are asked for).
    #[must_use]
    pub fn with_capacity(entries: usize) -> Self {
        let entries_per_generation = (entries / 2).max(1);
        Self(Arc::new(Shared { generations: Mutex::new(Generations::default()), entries_per_generation }))
    }

    /// Signatures that are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.with(|generations| generations.young.len() + generations.old.len())
    }

    /// Whether nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether this signature was found good before. What was is remembered longer.
    pub(super) fn contains(&self, entry: &Entry) -> bool {
        self.with(|generations| {
            if generations.young.contains(entry) {
                return true;
            }
            let known = generations.old.remove(entry);
            if known {
                generations.remember(*entry, self.0.entries_per_generation);
            }
            known
        })
    }

    /// Remembers a signature that was found good.
    pub(super) fn insert(&self, entry: Entry) {
        self.with(|generations| generations.remember(entry, self.0.entries_per_generation));
    }

    fn with<T>(&self, work: impl FnOnce(&mut Generations) -> T) -> T {
        // Whoever panicked left a set of true statements behind: every step inserts or forgets whole entries.
        work(&mut self.0.generations.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Default for VerificationCache {
    fn default() -> Self {
        Self::new()
    }
}

impl Generations {
    fn remember(&mut self, entry: Entry, entries_per_generation: usize) {
        if self.young.len() >= entries_per_generation {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(version: u8, number: u16) -> Entry {
        let mut memo = [0; MEMO_OCTETS];
        memo[..2].copy_from_slice(&number.to_be_bytes());
        ([version; MEMO_OCTETS], memo)
    }

    #[test]
    fn it_is_bounded_and_keeps_what_is_used() {
        let cache = VerificationCache::with_capacity(100);
        let used = entry(1, 0);
        cache.insert(used);
        for number in 1..1000 {
            cache.insert(entry(1, number));
            assert!(cache.contains(&used), "forgotten after {number}");
            assert!(cache.len() <= 100, "{}", cache.len());
        }
        assert!(!cache.contains(&entry(1, 1)));
        assert!(cache.contains(&entry(1, 999)));
    }

    #[test]
    fn entries_are_of_one_trust_store() {
        let cache = VerificationCache::new();
        assert!(cache.is_empty());
        cache.insert(entry(1, 7));
        assert!(cache.contains(&entry(1, 7)));
        assert!(!cache.contains(&entry(2, 7)));
        assert!(cache.clone().contains(&entry(1, 7)));
    }
}
