//! How many connections there may be, and which one goes when there are too many.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::config::Limits;

/// Admits connections within the limits.
///
/// A connection that waits for its client (before a request, or while one comes in) may be closed for a new
/// one: of the same user if that user has reached its limit, else of the user with most connections. One
/// whose request is being answered stays.
#[derive(Clone, Debug)]
pub(super) struct Admission {
    limit: usize,
    limit_per_user: usize,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    connections: BTreeMap<u64, Connection>,
    /// Numbers connections and the moments when they began to wait: the smallest has waited longest.
    next: u64,
}

#[derive(Debug)]
struct Connection {
    uid: u32,
    waiting_since: Option<u64>,
    closing: Arc<Notify>,
}

/// A connection's place; dropping it gives the place back.
#[derive(Debug)]
pub(super) struct Ticket {
    admission: Admission,
    number: u64,
    closing: Arc<Notify>,
}

impl Admission {
    /// No connections yet.
    pub(super) fn new(limits: Limits) -> Admission {
        Admission { limit: limits.connections, limit_per_user: limits.connections_per_user, inner: Arc::default() }
    }

    /// A place for a connection of this user; `None` if there is none and none can be made.
    pub(super) fn admit(&self, uid: u32) -> Option<Ticket> {
        let mut inner = self.inner();
        if inner.count(uid) >= self.limit_per_user {
            inner.close_longest_waiting(uid)?;
        } else if inner.connections.len() >= self.limit {
            inner.close_of_greediest()?;
        }
        let closing = Arc::new(Notify::new());
        let number = inner.tick();
        let connection = Connection { uid, waiting_since: Some(number), closing: Arc::clone(&closing) };
        inner.connections.insert(number, connection);
        Some(Ticket { admission: self.clone(), number, closing })
    }

    /// Closes the longest waiting connection of the user with most of them, if any waits.
    pub(super) fn make_room(&self) {
        // Where none waits, the requests that are being answered end by themselves.
        let _ = self.inner().close_of_greediest();
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn tick(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn count(&self, uid: u32) -> usize {
        self.connections.values().filter(|connection| connection.uid == uid).count()
    }

    /// The users, the one with most connections first.
    fn users_by_connections(&self) -> Vec<u32> {
        let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
        for connection in self.connections.values() {
            *counts.entry(connection.uid).or_default() += 1;
        }
        let mut users: Vec<(usize, u32)> = counts.into_iter().map(|(uid, count)| (count, uid)).collect();
        users.sort_unstable_by(|a, b| b.cmp(a));
        users.into_iter().map(|(_, uid)| uid).collect()
    }

    /// Takes the place of a waiting connection of the user with most connections, of whom one waits.
    fn close_of_greediest(&mut self) -> Option<()> {
        self.users_by_connections().into_iter().find_map(|uid| self.close_longest_waiting(uid))
    }

    /// Takes the place of this user's connection that has waited longest, if any waits.
    fn close_longest_waiting(&mut self, uid: u32) -> Option<()> {
        let (_, number) = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.uid == uid)
            .filter_map(|(number, connection)| connection.waiting_since.map(|since| (since, *number)))
            .min()?;
        let connection = self.connections.remove(&number)?;
        connection.closing.notify_one();
        Some(())
    }
}

impl Ticket {
    /// Resolves when the connection has lost its place and is to be closed.
    pub(super) async fn closing(&self) {
        self.closing.notified().await;
    }

    /// The connection waits for its client from now on.
    pub(super) fn wait(&self) {
        let mut inner = self.admission.inner();
        let since = inner.tick();
        if let Some(connection) = inner.connections.get_mut(&self.number) {
            connection.waiting_since = Some(since);
        }
    }

    /// The connection's request is being answered from now on; false if it has lost its place before.
    #[must_use]
    pub(super) fn work(&self) -> bool {
        match self.admission.inner().connections.get_mut(&self.number) {
            Some(connection) => {
                connection.waiting_since = None;
                true
            }
            None => false,
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.admission.inner().connections.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::{Admission, Ticket};
    use crate::config::Limits;

    fn admission(connections: usize, connections_per_user: usize) -> Admission {
        Admission::new(Limits { connections, connections_per_user, ..Limits::default() })
    }

    fn is_closed(ticket: &Ticket) -> bool {
        !ticket.admission.inner().connections.contains_key(&ticket.number)
    }

    #[test]
    fn a_users_longest_waiting_connection_goes_first() {
        let admission = admission(10, 2);
        let first = admission.admit(1).unwrap();
        let second = admission.admit(1).unwrap();
        // The first has worked since and waits anew.
        assert!(first.work());
        first.wait();
        let _third = admission.admit(1).unwrap();
        assert!(is_closed(&second) && !is_closed(&first));
        assert!(!second.work());
    }

    #[test]
    fn a_connection_that_works_stays() {
        let admission = admission(10, 1);
        let first = admission.admit(1).unwrap();
        assert!(first.work());
        assert!(admission.admit(1).is_none());
        assert!(admission.admit(2).is_some());
        drop(first);
        assert!(admission.admit(1).is_some());
    }

    #[test]
    fn a_full_service_makes_room_at_the_cost_of_the_greediest() {
        let admission = admission(3, 3);
        let modest = admission.admit(1).unwrap();
        let greedy = admission.admit(2).unwrap();
        let _other = admission.admit(2).unwrap();
        assert!(admission.admit(3).is_some());
        assert!(is_closed(&greedy) && !is_closed(&modest));
    }

    #[test]
    fn room_is_made_at_the_cost_of_the_greediest_before_there_are_too_many() {
        let admission = admission(10, 10);
        admission.make_room();
        let modest = admission.admit(1).unwrap();
        let greedy = admission.admit(2).unwrap();
        let working = admission.admit(2).unwrap();
        assert!(working.work());
        admission.make_room();
        assert!(is_closed(&greedy) && !is_closed(&working) && !is_closed(&modest));
    }

    #[tokio::test]
    async fn the_connection_is_told() {
        let admission = admission(10, 1);
        let first = admission.admit(1).unwrap();
        let _second = admission.admit(1).unwrap();
        tokio::time::timeout(std::time::Duration::from_secs(5), first.closing()).await.unwrap();
    }
}
