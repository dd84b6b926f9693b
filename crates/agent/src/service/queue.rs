//! Requests that wait for a provider, taken from the users in turns.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A bounded queue with a lane for each user.
pub(super) struct FairQueue<T> {
    limit: usize,
    limit_per_user: usize,
    inner: Mutex<Inner<T>>,
    changed: Condvar,
}

struct Inner<T> {
    /// No lane is empty.
    lanes: BTreeMap<u32, VecDeque<T>>,
    /// The users that have a lane, the next to be served first.
    turns: VecDeque<u32>,
    length: usize,
    closed: bool,
}

/// Why a request does not get into the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// The user has as many requests waiting as it may have.
    User,
    /// All users together have, or the queue is closed.
    All,
}

impl<T> FairQueue<T> {
    /// An empty queue with these limits on waiting requests.
    pub(super) fn new(limit: usize, limit_per_user: usize) -> FairQueue<T> {
        let inner = Inner { lanes: BTreeMap::new(), turns: VecDeque::new(), length: 0, closed: false };
        FairQueue { limit, limit_per_user, inner: Mutex::new(inner), changed: Condvar::new() }
    }

    /// Puts a request at the end of its user's lane.
    pub(super) fn push(&self, uid: u32, item: T) -> Result<(), Full> {
        let mut inner = self.inner();
        if inner.closed || inner.length >= self.limit {
            return Err(Full::All);
        }
        match inner.lanes.get_mut(&uid) {
            Some(lane) if lane.len() >= self.limit_per_user => return Err(Full::User),
            Some(lane) => lane.push_back(item),
            None => {
                inner.lanes.insert(uid, VecDeque::from([item]));
                inner.turns.push_back(uid);
            }
        }
        inner.length += 1;
        drop(inner);
        self.changed.notify_one();
        Ok(())
    }

    /// Takes the first request of the user whose turn it is; waits for one. `None` once the queue is closed
    /// and empty.
    pub(super) fn pop(&self) -> Option<T> {
        let mut inner = self.inner();
        loop {
            if let Some(item) = inner.take() {
                return Some(item);
            }
            if inner.closed {
                return None;
            }
            inner = self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Lets no more requests in.
    pub(super) fn close(&self) {
        self.inner().closed = true;
        self.changed.notify_all();
    }

    fn inner(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> fmt::Debug for FairQueue<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("FairQueue").field("length", &self.inner().length).finish_non_exhaustive()
    }
}

impl<T> Inner<T> {
    fn take(&mut self) -> Option<T> {
        let uid = self.turns.pop_front()?;
        let lane = self.lanes.get_mut(&uid)?;
        let item = lane.pop_front()?;
        if lane.is_empty() {
            self.lanes.remove(&uid);
        } else {
            self.turns.push_back(uid);
        }
        self.length -= 1;
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::{FairQueue, Full};

    #[test]
    fn users_take_turns() {
        let queue = FairQueue::new(10, 10);
        for (uid, item) in [(1, "1a"), (1, "1b"), (1, "1c"), (2, "2a"), (3, "3a"), (2, "2b")] {
            queue.push(uid, item).unwrap();
        }
        queue.close();
        let order: Vec<&str> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order, ["1a", "2a", "3a", "1b", "2b", "1c"]);
    }

    #[test]
    fn both_limits_hold_and_room_comes_back() {
        let queue = FairQueue::new(3, 2);
        assert_eq!(queue.push(1, 'a'), Ok(()));
        assert_eq!(queue.push(1, 'b'), Ok(()));
        assert_eq!(queue.push(1, 'c'), Err(Full::User));
        assert_eq!(queue.push(2, 'd'), Ok(()));
        assert_eq!(queue.push(3, 'e'), Err(Full::All));
        assert_eq!(queue.pop(), Some('a'));
        assert_eq!(queue.push(3, 'e'), Ok(()));
        queue.close();
        assert_eq!(queue.push(4, 'f'), Err(Full::All));
    }

    #[test]
    fn a_waiting_taker_wakes() {
        let queue = FairQueue::new(1, 1);
        std::thread::scope(|scope| {
            let taker = scope.spawn(|| (queue.pop(), queue.pop()));
            queue.push(1, 'a').unwrap();
            queue.close();
            assert_eq!(taker.join().unwrap(), (Some('a'), None));
        });
    }
}
