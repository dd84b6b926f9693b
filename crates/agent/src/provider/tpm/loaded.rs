//! Keys of users that are in the TPM at the moment.
//!
//! A key that has to make room is flushed rather than saved: loading its blob again costs a TPM no more than saving a context and
//! loading that, and the one who needs the room waits for one cheap command instead of two.

use std::collections::VecDeque;

use vouchsafe_evidence::tpm::{HashAlg, TpmtPublic};

use crate::provider::{KeyBlob, KeyKind, KeyPurpose};
use crate::tpm::Object;

/// Keys that are kept loaded. PC client TPMs have three slots, and a persistent object takes one while a command uses it: beside the
/// parent and the key that is being loaded there is room for one more. One attestation uses two keys of users at most.
const LIMIT: usize = 2;

/// What distinguishes one blob from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag([u8; 32]);

impl Tag {
    pub(super) fn of(blob: &KeyBlob) -> Self {
        Self(HashAlg::Sha256.digest(&[blob.as_bytes()]).try_into().unwrap_or_default())
    }
}

/// A key in the TPM.
#[derive(Clone, Debug)]
pub(super) struct LoadedKey {
    pub(super) object: Object,
    pub(super) public: TpmtPublic,
    pub(super) purpose: KeyPurpose,
    pub(super) kind: KeyKind,
}

/// A key, and whether the request of now used it.
#[derive(Debug)]
struct Held {
    tag: Tag,
    key: LoadedKey,
    in_use: bool,
}

/// The loaded keys, the least recently used one first.
#[derive(Debug, Default)]
pub(super) struct LoadedKeys {
    keys: VecDeque<Held>,
    /// Whether the last key that was loaded found no room, so that the next one will find none either.
    is_crowded: bool,
    /// The key that made room between two requests.
    gone_ahead: Option<Tag>,
}

impl LoadedKeys {
    /// The key, which counts as used.
    pub(super) fn find(&mut self, tag: Tag) -> Option<&LoadedKey> {
        let key = self.remove(tag)?;
        self.keys.push_back(Held { tag, key, in_use: true });
        self.keys.back().map(|held| &held.key)
    }

    /// The key that has to go before this one is loaded, if one has to; it is no longer in here.
    pub(super) fn make_room(&mut self, tag: Tag) -> Option<LoadedKey> {
        let gone_ahead = self.gone_ahead.take();
        let is_full = self.keys.len() >= LIMIT;
        // Where the one that went is the one that is wanted next, two keys are in use by turns: there is room for both.
        self.is_crowded = is_full || gone_ahead.is_some_and(|gone| gone != tag);
        if is_full { self.keys.pop_front().map(|held| held.key) } else { None }
    }

    /// The key that may go while nobody waits: one request found no room, and the next one should. None that the request which
    /// was just answered has used.
    pub(super) fn make_room_ahead(&mut self) -> Option<LoadedKey> {
        let unused = self.keys.front().is_some_and(|held| !held.in_use);
        self.keys.iter_mut().for_each(|held| held.in_use = false);
        if !unused || !self.is_crowded || self.keys.len() < LIMIT {
            return None;
        }
        self.is_crowded = false;
        let held = self.keys.pop_front()?;
        self.gone_ahead = Some(held.tag);
        Some(held.key)
    }

    pub(super) fn insert(&mut self, tag: Tag, key: LoadedKey) {
        self.keys.push_back(Held { tag, key, in_use: true });
    }

    pub(super) fn remove(&mut self, tag: Tag) -> Option<LoadedKey> {
        let position = self.keys.iter().position(|held| held.tag == tag)?;
        self.keys.remove(position).map(|held| held.key)
    }

    /// Forgets all: the TPM has lost them.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tpm::AuthValue;
    use vouchsafe_evidence::tpm::template::storage_root_key;

    fn key(handle: u32) -> LoadedKey {
        let public = storage_root_key();
        let object = Object::persistent(handle, &public, AuthValue::empty());
        LoadedKey { object, public, purpose: KeyPurpose::Sign, kind: KeyKind::EcP256 }
    }

    fn handle(key: Option<&LoadedKey>) -> Option<u32> {
        key.and_then(|key| key.object.persistent_handle())
    }

    #[test]
    fn the_least_recently_used_key_makes_room() {
        let mut keys = LoadedKeys::default();
        let tags = [1, 2].map(|octet| Tag([octet; 32]));
        for (tag, handle) in tags.into_iter().zip(1..) {
            assert!(keys.make_room(tag).is_none());
            keys.insert(tag, key(handle));
        }
        assert_eq!(handle(keys.find(tags[0])), Some(1));
        assert_eq!(handle(keys.make_room(Tag([3; 32])).as_ref()), Some(2));
        assert!(keys.find(tags[1]).is_none());
        assert!(keys.make_room(Tag([3; 32])).is_none());
        assert_eq!(handle(keys.remove(tags[0]).as_ref()), Some(1));
        keys.insert(tags[1], key(2));
        keys.clear();
        assert!(keys.find(tags[1]).is_none());
    }
    /// What is flushed by requests that use these keys, one request after the other: before a key is loaded, and after.
    fn flushed(keys: &mut LoadedKeys, requests: &[&[u8]]) -> Vec<(Option<u32>, Option<u32>)> {
        let mut request = |used: &[u8]| {
            let mut before = None;
            for octet in used {
                let tag = Tag([*octet; 32]);
                if keys.find(tag).is_none() {
                    before = before.or(handle(keys.make_room(tag).as_ref()));
                    keys.insert(tag, key(u32::from(*octet)));
                }
            }
            let after = handle(keys.make_room_ahead().as_ref());
            assert!(keys.keys.len() <= LIMIT);
            (before, after)
        };
        requests.iter().map(|used| request(used)).collect()
    }

    #[test]
    fn of_many_keys_the_unused_one_goes_between_two_requests() {
        let mut keys = LoadedKeys::default();
        let found = flushed(&mut keys, &[&[1], &[2], &[3], &[4], &[4], &[5]]);
        let nothing = (None, None);
        assert_eq!(found, [nothing, nothing, (Some(1), Some(2)), (None, Some(3)), nothing, (None, Some(4))]);
    }

    #[test]
    fn two_keys_by_turns_stay_loaded_whatever_was_before() {
        let mut keys = LoadedKeys::default();
        let by_turns: [&[u8]; 9] = [&[9], &[1], &[2], &[1], &[2], &[1], &[2], &[1], &[2]];
        let found = flushed(&mut keys, &by_turns);
        // One guess that was wrong: key 1 went and is loaded again.
        assert_eq!(found[2], (Some(9), Some(1)));
        assert!(found[3..].iter().all(|flushed| *flushed == (None, None)), "{found:?}");
    }

    #[test]
    fn a_clients_attesting_key_stays_beside_the_many_that_it_attests() {
        let mut keys = LoadedKeys::default();
        let found = flushed(&mut keys, &[&[7, 1], &[7, 2], &[7, 3], &[7, 4]]);
        assert_eq!(found, [(None, None), (Some(1), None), (Some(2), None), (Some(3), None)]);
    }
}
