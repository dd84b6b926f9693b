//! How often one user has something recorded: the audit log keeps all that was done, so who may do without a grant what is
//! recorded could fill the disk that everybody's record is on.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long operations are counted together.
const WINDOW: Duration = Duration::from_secs(60);

/// Users that are counted apart; beyond them windows that are over are forgotten first.
const MAX_USERS: usize = 4096;

/// The operations of the last while, by user.
#[derive(Debug)]
pub(super) struct Pace {
    limit: u32,
    users: Mutex<BTreeMap<u32, (Instant, u32)>>,
}

impl Pace {
    /// So many operations of one user within a minute.
    pub(super) fn new(limit: u32) -> Pace {
        Pace { limit, users: Mutex::default() }
    }

    /// Counts an operation of this user; false if there were as many as may be.
    pub(super) fn count(&self, uid: u32, now: Instant) -> bool {
        let is_over = |begun: Instant| now.saturating_duration_since(begun) >= WINDOW;
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        if users.len() >= MAX_USERS && !users.contains_key(&uid) {
            users.retain(|_, (begun, _)| !is_over(*begun));
        }
        let (begun, counted) = users.entry(uid).or_insert((now, 0));
        if is_over(*begun) {
            (*begun, *counted) = (now, 0);
        }
        *counted = counted.saturating_add(1);
        *counted <= self.limit
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::{MAX_USERS, Pace, WINDOW};

    #[test]
    fn each_user_has_so_many_a_minute() {
        let (pace, begin) = (Pace::new(2), Instant::now());
        assert_eq!([(); 3].map(|()| pace.count(7, begin)), [true, true, false]);
        assert!(pace.count(8, begin));
        assert!(!pace.count(7, begin + WINDOW / 2));
        assert!(pace.count(7, begin + WINDOW));
    }

    #[test]
    fn users_of_minutes_ago_are_forgotten() {
        let (pace, begin) = (Pace::new(1), Instant::now());
        for uid in 0..u32::try_from(MAX_USERS).unwrap() {
            assert!(pace.count(uid, begin));
        }
        assert!(pace.count(u32::MAX, begin + WINDOW));
        assert_eq!(pace.users.lock().unwrap().len(), 1);
    }
}
