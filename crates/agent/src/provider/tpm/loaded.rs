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

/// The loaded keys, the least recently used one first.
#[derive(Debug, Default)]
pub(super) struct LoadedKeys {
    keys: VecDeque<(Tag, LoadedKey)>,
}

impl LoadedKeys {
    /// The key, which counts as used.
    pub(super) fn find(&mut self, tag: Tag) -> Option<&LoadedKey> {
        let found = self.remove(tag)?;
        self.keys.push_back((tag, found));
        self.keys.back().map(|(_, key)| key)
    }

    /// The key that has to go before another one is loaded, if one has to; it is no longer in here.
    pub(super) fn make_room(&mut self) -> Option<LoadedKey> {
        if self.keys.len() < LIMIT {
            return None;
        }
        self.keys.pop_front().map(|(_, key)| key)
    }

    pub(super) fn insert(&mut self, tag: Tag, key: LoadedKey) {
        self.keys.push_back((tag, key));
    }

    pub(super) fn remove(&mut self, tag: Tag) -> Option<LoadedKey> {
        let position = self.keys.iter().position(|(there, _)| *there == tag)?;
        self.keys.remove(position).map(|(_, key)| key)
    }

    /// Forgets all: the TPM has lost them.
    pub(super) fn clear(&mut self) {
        self.keys.clear();
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
            assert!(keys.make_room().is_none());
            keys.insert(tag, key(handle));
        }
        assert_eq!(handle(keys.find(tags[0])), Some(1));
        assert_eq!(handle(keys.make_room().as_ref()), Some(2));
        assert!(keys.find(tags[1]).is_none());
        assert!(keys.make_room().is_none());
        assert_eq!(handle(keys.remove(tags[0]).as_ref()), Some(1));
        keys.insert(tags[1], key(2));
        keys.clear();
        assert!(keys.find(tags[1]).is_none());
    }
}
