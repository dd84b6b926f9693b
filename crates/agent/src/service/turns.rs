//! Turns at something that only so many may do at a time, and of one user still fewer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// Turns for all users together and for each of them.
#[derive(Debug)]
pub(super) struct Turns {
    all: Semaphore,
    per_user: usize,
    users: Mutex<BTreeMap<u32, Weak<Semaphore>>>,
}

/// A turn, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    _of_user: Option<OwnedSemaphorePermit>,
    _of_all: Option<SemaphorePermit<'a>>,
}

impl Turns {
    /// So many turns at a time, and so many of one user.
    pub(super) fn new(all: usize, per_user: usize) -> Turns {
        Turns { all: Semaphore::new(all), per_user, users: Mutex::default() }
    }

    /// Waits for a turn of this user. Whoever waits for one of the user's own holds none of those of all.
    pub(super) async fn take(&self, uid: u32) -> Turn<'_> {
        self.turn(self.of(uid)).await
    }

    /// The same, unless so many of the user's wait already.
    pub(super) async fn take_behind(&self, uid: u32, waiting: usize) -> Option<Turn<'_>> {
        let of_user = self.of(uid);
        // Whoever has a turn or waits for one holds it, and so does this one.
        if Arc::strong_count(&of_user) > self.per_user.saturating_add(waiting) {
            return None;
        }
        Some(self.turn(of_user).await)
    }

    async fn turn(&self, of_user: Arc<Semaphore>) -> Turn<'_> {
        // Neither is ever closed, so both are granted in the end.
        let of_user = of_user.acquire_owned().await.ok();
        Turn { _of_user: of_user, _of_all: self.all.acquire().await.ok() }
    }

    fn of(&self, uid: u32) -> Arc<Semaphore> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        users.retain(|_, turns| turns.strong_count() > 0);
        if let Some(turns) = users.get(&uid).and_then(Weak::upgrade) {
            return turns;
        }
        let turns = Arc::new(Semaphore::new(self.per_user));
        users.insert(uid, Arc::downgrade(&turns));
        turns
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::Turns;

    #[tokio::test]
    async fn a_user_that_has_its_turns_waits_and_others_do_not() {
        let turns = Turns::new(3, 1);
        let soon = Duration::from_millis(20);
        let first = turns.take(1).await;
        assert!(timeout(soon, turns.take(1)).await.is_err());
        let _others = (turns.take(2).await, turns.take(3).await);
        assert!(timeout(soon, turns.take(4)).await.is_err());
        drop(first);
        assert!(timeout(soon, turns.take(1)).await.is_ok());
        let _again = turns.take(1).await;
        assert!(turns.take_behind(1, 0).await.is_none());
        assert!(timeout(soon, turns.take_behind(1, 1)).await.is_err());
        assert!(turns.take_behind(2, 0).await.is_none());
        assert_eq!(turns.users.lock().unwrap().values().filter(|turns| turns.strong_count() > 0).count(), 3);
    }
}
