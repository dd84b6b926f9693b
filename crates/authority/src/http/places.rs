//! Places for connections.
//!
//! A connection waits for its client most of the time: for a handshake, a head, a body, the next request.
//! When every place is taken, the connection that has waited longest loses its own, so that clients that
//! connect and say nothing keep nobody out. A connection whose request is being worked on keeps its place.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Time that an evicted connection has to go before another is evicted too.
const EVICTION_PAUSE: Duration = Duration::from_millis(100);

/// All places.
#[derive(Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    waiting: Mutex<Waiting>,
}

/// Connections that wait for their clients, the longest first.
#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    connections: BTreeMap<u64, Arc<Notify>>,
}

/// The place of one connection; free again when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    eviction: Arc<Notify>,
    /// Where it stands among those that wait; nothing while its request is worked on.
    ticket: Mutex<Option<u64>>,
    _permit: OwnedSemaphorePermit,
}

/// While this lives, the connection keeps its place.
#[derive(Debug)]
pub(super) struct Working(Arc<Place>);

impl Places {
    pub(super) fn new(count: usize) -> Arc<Self> {
        Arc::new(Self { free: Arc::new(Semaphore::new(count)), waiting: Mutex::default() })
    }

    /// A place; somebody else's if there is no free one.
    pub(super) async fn take(self: &Arc<Self>) -> Option<Arc<Place>> {
        loop {
            let free = Arc::clone(&self.free).try_acquire_owned();
            let permit = match free {
                Ok(permit) => permit,
                Err(_) => {
                    self.evict_one();
                    let freed = tokio::time::timeout(EVICTION_PAUSE, Arc::clone(&self.free).acquire_owned());
                    match freed.await {
                        Ok(permit) => permit.ok()?,
                        Err(_) => continue,
                    }
                }
            };
            let place = Place {
                places: Arc::clone(self),
                eviction: Arc::new(Notify::new()),
                ticket: Mutex::new(None),
                _permit: permit,
            };
            place.wait_for_client();
            return Some(Arc::new(place));
        }
    }

    fn evict_one(&self) {
        let evicted = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).connections.pop_first();
        if let Some((_, eviction)) = evicted {
            eviction.notify_one();
        }
    }
}

impl Place {
    /// Completes when the place is wanted by somebody else.
    pub(super) async fn evicted(&self) {
        self.eviction.notified().await;
    }

    /// Marks the connection as one whose request is being worked on.
    pub(super) fn work(self: Arc<Self>) -> Working {
        self.leave_queue();
        Working(self)
    }

    fn wait_for_client(&self) {
        let mut waiting = self.places.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let number = waiting.next;
        waiting.next = number.wrapping_add(1);
        waiting.connections.insert(number, Arc::clone(&self.eviction));
        *self.ticket.lock().unwrap_or_else(PoisonError::into_inner) = Some(number);
    }

    fn leave_queue(&self) {
        let ticket = self.ticket.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(number) = ticket {
            self.places.waiting.lock().unwrap_or_else(PoisonError::into_inner).connections.remove(&number);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave_queue();
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.wait_for_client();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn the_longest_waiting_goes_and_the_working_stays() {
        let places = Places::new(3);
        let working = places.take().await.unwrap();
        let guard = Arc::clone(&working).work();
        let (old, new) = (places.take().await.unwrap(), places.take().await.unwrap());
        let holder = tokio::spawn(async move {
            old.evicted().await;
            drop(old);
        });
        let fourth = tokio::time::timeout(SOON, places.take()).await.unwrap().unwrap();
        holder.await.unwrap();
        assert!(tokio::time::timeout(EVICTION_PAUSE, new.evicted()).await.is_err());
        // Back in the queue it is the last, behind the others.
        drop(guard);
        drop(fourth);
        let fifth = places.take().await.unwrap();
        let taker = {
            let places = Arc::clone(&places);
            tokio::spawn(async move { places.take().await })
        };
        tokio::time::timeout(SOON, new.evicted()).await.unwrap();
        drop((new, fifth));
        assert!(taker.await.unwrap().is_some());
        drop(working);
    }

    #[tokio::test]
    async fn with_everybody_at_work_the_next_one_waits() {
        let places = Places::new(1);
        let working = places.take().await.unwrap().work();
        assert!(tokio::time::timeout(EVICTION_PAUSE * 3, places.take()).await.is_err());
        drop(working);
        assert!(tokio::time::timeout(SOON, places.take()).await.is_ok());
    }
}
