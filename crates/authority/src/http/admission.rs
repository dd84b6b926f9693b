//! What requests may take of the server: memory for bodies and places to be worked on.
//!
//! Memory is counted as it is taken, so a body that was announced and does not come costs nothing. A place
//! to work is taken after the body is there, so that a slow client holds none. Each caller has half of
//! either at most; what all anonymous callers take counts as one caller's.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::Error;
use crate::limits::Limits;

/// Room that a body gets at its first octet.
const FIRST_ROOM_OCTETS: usize = 4 * 1024;

/// A bound, and one caller's part of it.
#[derive(Debug)]
struct Shared {
    all: Arc<Semaphore>,
    own: Arc<Semaphore>,
}

/// What is granted of both bounds.
type Grant = [OwnedSemaphorePermit; 2];

impl Shared {
    fn new(all: &Arc<Semaphore>, own: usize) -> Self {
        Self { all: Arc::clone(all), own: Arc::new(Semaphore::new(own)) }
    }

    fn now(&self, count: usize) -> Result<Grant, Error> {
        let count = u32::try_from(count).map_err(|_| Error::Busy)?;
        let own = Arc::clone(&self.own).try_acquire_many_owned(count).map_err(|_| Error::Busy)?;
        let all = Arc::clone(&self.all).try_acquire_many_owned(count).map_err(|_| Error::Busy)?;
        Ok([own, all])
    }

    async fn soon(&self, patience: Duration) -> Result<Grant, Error> {
        let both = async {
            let own = Arc::clone(&self.own).acquire_owned().await?;
            Ok::<_, tokio::sync::AcquireError>([own, Arc::clone(&self.all).acquire_owned().await?])
        };
        // The semaphores are never closed; running out of patience is what happens.
        tokio::time::timeout(patience, both).await.map_err(|_| Error::Busy)?.map_err(|_| Error::Busy)
    }
}

/// The whole of what there is.
#[derive(Debug)]
pub(super) struct Admission {
    octets: Arc<Semaphore>,
    places: Arc<Semaphore>,
    limits: Limits,
}

/// One caller's part.
#[derive(Debug)]
pub(super) struct Share {
    octets: Shared,
    places: Shared,
    limits: Limits,
}

/// A body that was read, with the memory it is counted for.
#[derive(Debug)]
pub(super) struct HeldBody {
    pub(super) octets: Vec<u8>,
    grants: Vec<Grant>,
}

/// A place to be worked on, free again when it is dropped.
#[derive(Debug)]
pub(super) struct WorkPlace(#[expect(dead_code, reason = "held until the work is done")] Grant);

impl Admission {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            octets: Arc::new(Semaphore::new(limits.body_octets)),
            places: Arc::new(Semaphore::new(limits.requests)),
            limits,
        }
    }

    /// The part of one more caller.
    pub(super) fn share(&self) -> Arc<Share> {
        Arc::new(Share {
            octets: Shared::new(&self.octets, self.limits.body_octets / 2),
            places: Shared::new(&self.places, self.limits.requests / 2),
            limits: self.limits,
        })
    }
}

impl Share {
    /// Reads a body of at most `limit` octets within its deadline.
    ///
    /// # Errors
    /// [`Error::BodyTooLarge`], [`Error::Busy`], [`Error::ConnectionBroken`], [`Error::Timeout`].
    pub(super) async fn read(&self, body: Body, limit: usize) -> Result<HeldBody, Error> {
        let deadline = self.limits.body;
        tokio::time::timeout(deadline, self.read_all(body, limit)).await.map_err(|_| Error::Timeout)?
    }

    async fn read_all(&self, mut body: Body, limit: usize) -> Result<HeldBody, Error> {
        let mut held = HeldBody { octets: Vec::new(), grants: Vec::new() };
        while let Some(frame) = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            let Ok(data) = frame.map_err(|_| Error::ConnectionBroken)?.into_data() else { continue };
            let length = held.octets.len().saturating_add(data.len());
            if length > limit {
                return Err(Error::BodyTooLarge { limit });
            }
            self.make_room(&mut held, length, limit)?;
            held.octets.extend_from_slice(&data);
        }
        Ok(held)
    }

    /// Room is doubled, as a growing vector does it, but counted first.
    fn make_room(&self, held: &mut HeldBody, length: usize, limit: usize) -> Result<(), Error> {
        let room = held.octets.capacity();
        if length <= room {
            return Ok(());
        }
        let wanted = length.max(room.saturating_mul(2)).max(FIRST_ROOM_OCTETS).min(limit.max(length));
        held.grants.push(self.octets.now(wanted.saturating_sub(room))?);
        held.octets.reserve_exact(wanted.saturating_sub(held.octets.len()));
        Ok(())
    }

    /// A place to be worked on, waited for if need be.
    ///
    /// # Errors
    /// [`Error::Busy`] after the time that requests wait.
    pub(super) async fn work_place(&self) -> Result<WorkPlace, Error> {
        self.places.soon(self.limits.queue).await.map(WorkPlace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::LimitsFile;

    const MEBIBYTE: usize = 1024 * 1024;

    fn admission(settings: &str) -> Admission {
        Admission::new(toml::from_str::<LimitsFile>(settings).unwrap().check().unwrap())
    }

    async fn read(share: &Share, octets: usize) -> Result<HeldBody, Error> {
        share.read(Body::from(vec![7; octets]), 6 * MEBIBYTE).await
    }

    #[tokio::test]
    async fn bodies_in_flight_are_bounded_for_each_caller_and_for_all() {
        let admission = admission("body_mebibytes = 16");
        let [first, second, third] = [(); 3].map(|()| admission.share());
        let held = read(&first, 6 * MEBIBYTE).await.unwrap();
        assert_eq!(held.octets.len(), 6 * MEBIBYTE);
        assert!(matches!(read(&first, 3 * MEBIBYTE).await.unwrap_err(), Error::Busy));
        let also = (read(&second, 6 * MEBIBYTE).await.unwrap(), read(&second, MEBIBYTE).await.unwrap());
        // Of 16 MiB 3 are left for everybody else.
        assert!(matches!(read(&third, 4 * MEBIBYTE).await.unwrap_err(), Error::Busy));
        drop(held);
        assert!(read(&third, 6 * MEBIBYTE).await.is_ok());
        drop(also);
        assert_eq!(admission.octets.available_permits(), 16 * MEBIBYTE);
    }

    #[tokio::test]
    async fn what_is_counted_is_what_is_allocated() {
        let admission = admission("");
        let share = admission.share();
        for octets in [0, 1, 4096, 4097, 100_000, 6 * MEBIBYTE] {
            let held = read(&share, octets).await.unwrap();
            let counted = 64 * MEBIBYTE - admission.octets.available_permits();
            assert!(held.octets.capacity() <= counted.max(1) || octets == 0, "{octets}");
            assert!(counted <= (2 * octets).max(FIRST_ROOM_OCTETS), "{octets}: {counted}");
        }
    }

    #[tokio::test]
    async fn one_caller_has_half_of_the_places() {
        let admission = admission("requests = 4\nqueue_seconds = 1");
        let [greedy, other] = [(); 2].map(|()| admission.share());
        let taken = [greedy.work_place().await.unwrap(), greedy.work_place().await.unwrap()];
        assert!(matches!(greedy.work_place().await.unwrap_err(), Error::Busy));
        assert!(other.work_place().await.is_ok());
        drop(taken);
        assert!(greedy.work_place().await.is_ok());
    }
}
