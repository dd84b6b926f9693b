//! Challenges that wait for their one answer, in memory.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::error::Error;
use crate::store::{CHALLENGE_ID_OCTETS, Digest};

/// Challenges that wait at one time.
const PENDING_MAX: usize = 10_000;
/// Those of one account, so that one leaves room for the others.
const PENDING_OF_ACCOUNT_MAX: usize = 1_000;

/// A challenge, with everything that links its key to a device.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) account: String,
    pub(super) device: String,
    pub(super) expires: i64,
    pub(super) credential_digest: Digest,
    pub(super) endorsement_key: Digest,
    pub(super) is_virtual: bool,
    pub(super) ak_public: Vec<u8>,
}

/// Every challenge that waits. An authority that ends forgets them, and its clients ask again.
#[derive(Debug, Default)]
pub(super) struct Pending(Mutex<HashMap<[u8; CHALLENGE_ID_OCTETS], Held>>);

impl Pending {
    /// Keeps a challenge; those that have expired are dropped first.
    ///
    /// # Errors
    /// [`Error::Busy`] when too many wait, or too many of this account.
    pub(super) fn hold(&self, id: [u8; CHALLENGE_ID_OCTETS], held: Held, now: i64) -> Result<(), Error> {
        let mut pending = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pending.retain(|_, held| held.expires >= now);
        let own = pending.values().filter(|other| other.account == held.account).count();
        if pending.len() >= PENDING_MAX || own >= PENDING_OF_ACCOUNT_MAX {
            return Err(Error::Busy);
        }
        pending.insert(id, held);
        Ok(())
    }

    /// Removes and returns the challenge of this account. One of another account is left alone.
    pub(super) fn take(&self, id: &[u8; CHALLENGE_ID_OCTETS], account: &str) -> Option<Held> {
        let mut pending = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_own = pending.get(id).is_some_and(|held| held.account == account);
        if is_own { pending.remove(id) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(account: &str, expires: i64) -> Held {
        Held {
            account: account.to_owned(),
            device: String::new(),
            expires,
            credential_digest: [0; 32],
            endorsement_key: [0; 32],
            is_virtual: false,
            ak_public: Vec::new(),
        }
    }

    #[test]
    fn a_challenge_is_taken_once_and_by_its_account() {
        let pending = Pending::default();
        pending.hold([1; 16], held("a", 10), 0).unwrap();
        assert!(pending.take(&[1; 16], "b").is_none() && pending.take(&[2; 16], "a").is_none());
        assert!(pending.take(&[1; 16], "a").is_some());
        assert!(pending.take(&[1; 16], "a").is_none());
    }

    #[test]
    fn one_account_leaves_room_for_others() {
        let pending = Pending::default();
        for number in 0..u128::try_from(PENDING_OF_ACCOUNT_MAX).unwrap() {
            pending.hold(number.to_be_bytes(), held("a", 10), 0).unwrap();
        }
        assert!(matches!(pending.hold([0xFF; 16], held("a", 10), 0), Err(Error::Busy)));
        pending.hold([0xFE; 16], held("b", 10), 0).unwrap();
        // Whoever answers makes room.
        assert!(pending.take(&[0; 16], "a").is_some());
        pending.hold([0xFF; 16], held("a", 10), 0).unwrap();
    }

    #[test]
    fn what_has_expired_makes_room() {
        let pending = Pending::default();
        for number in 0..u128::try_from(PENDING_MAX).unwrap() {
            let account = (number % 10).to_string();
            pending.hold(number.to_be_bytes(), held(&account, 10), 0).unwrap();
        }
        assert!(matches!(pending.hold([0xFF; 16], held("a", 20), 10), Err(Error::Busy)));
        pending.hold([0xFF; 16], held("a", 20), 11).unwrap();
        assert!(pending.take(&[0; 16], "0").is_none() && pending.take(&[0xFF; 16], "a").is_some());
    }
}
