//! What requests may take of the server: memory for bodies and places to be worked on.
//!
//! Memory is counted as it is taken, so a body that was announced and does not come costs nothing. A place
//! to work is taken after the body is there, so that a slow client holds none. Each caller has half of
//! either at most. What is taken by all whom nothing but their messages will show (ACME, CMP) or nobody knows counts as one
//! caller's, of which each source has a part: an address, or of IPv6 a network of 64 bits, which one host has.

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::Error;
use crate::limits::Limits;

/// Room that a body gets at its first octet.
const FIRST_ROOM_OCTETS: usize = 4 * 1024;

/// A bound within others, the narrowest first.
#[derive(Clone, Debug)]
struct Shared(Vec<Arc<Semaphore>>);

/// What is granted of each bound.
type Grant = Vec<OwnedSemaphorePermit>;

impl Shared {
    /// One caller's part of this.
    fn part(&self, own: usize) -> Self {
        Self(std::iter::once(Arc::new(Semaphore::new(own))).chain(self.0.iter().cloned()).collect())
    }

    /// Whether something of the narrowest bound, which is `own`, is granted.
    fn has_granted(&self, own: usize) -> bool {
        self.0.first().is_some_and(|bound| bound.available_permits() < own)
    }

    fn now(&self, count: usize) -> Result<Grant, Error> {
        let count = u32::try_from(count).map_err(|_| Error::Busy)?;
        let acquire = |bound: &Arc<Semaphore>| Arc::clone(bound).try_acquire_many_owned(count);
        self.0.iter().map(acquire).collect::<Result<_, _>>().map_err(|_| Error::Busy)
    }

    async fn soon(&self, patience: Duration) -> Result<Grant, Error> {
        let every = async {
            let mut grant = Vec::with_capacity(self.0.len());
            for bound in &self.0 {
                grant.push(Arc::clone(bound).acquire_owned().await?);
            }
            Ok::<_, tokio::sync::AcquireError>(grant)
        };
        // The semaphores are never closed; running out of patience is what happens.
        tokio::time::timeout(patience, every).await.map_err(|_| Error::Busy)?.map_err(|_| Error::Busy)
    }
}

/// The whole of what there is.
#[derive(Debug)]
pub(super) struct Admission {
    octets: Shared,
    places: Shared,
    limits: Limits,
}

/// The part of all whom nobody knows yet, and each source's part of it.
#[derive(Debug)]
pub(super) struct Strangers {
    octets: Shared,
    places: Shared,
    octets_of_one: usize,
    places_of_one: usize,
    limits: Limits,
    /// Of those with a request that is being read or worked on, and of some besides.
    by_source: Mutex<HashMap<IpAddr, Arc<Share>>>,
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
            octets: Shared(vec![Arc::new(Semaphore::new(limits.body_octets))]),
            places: Shared(vec![Arc::new(Semaphore::new(limits.requests))]),
            limits,
        }
    }

    /// The part of one more caller.
    pub(super) fn share(&self) -> Arc<Share> {
        Arc::new(Share {
            octets: self.octets.part(self.limits.body_octets / 2),
            places: self.places.part(self.limits.requests / 2),
            limits: self.limits,
        })
    }

    /// The part of strangers, each of whom may send a body of this length.
    pub(super) fn strangers(&self, body_octets: usize) -> Strangers {
        let (octets, places) = (self.limits.body_octets / 2, self.limits.requests / 2);
        Strangers {
            octets: self.octets.part(octets),
            places: self.places.part(places),
            octets_of_one: (octets / 4).max(body_octets),
            // One more than may hang on one that waits for somebody else.
            places_of_one: (places / 4).max(2),
            limits: self.limits,
            by_source: Mutex::default(),
        }
    }
}

impl Strangers {
    /// The part of whoever connects from this address.
    pub(super) fn share(&self, address: IpAddr) -> Arc<Share> {
        let mut by_source = self.by_source.lock().unwrap_or_else(PoisonError::into_inner);
        let source = source(address);
        if let Some(share) = by_source.get(&source) {
            return Arc::clone(share);
        }
        // No more are in use than there are connections and requests that outlive theirs, so that there is room for as many
        // again. Who has left has what is worked on for it all the same.
        let room = self.limits.connections.saturating_add(self.limits.requests).saturating_mul(2);
        if by_source.len() > room {
            let is_in_use = |share: &Share| {
                share.octets.has_granted(self.octets_of_one) || share.places.has_granted(self.places_of_one)
            };
            by_source.retain(|_, share| Arc::strong_count(share) > 1 || is_in_use(share));
        }
        let share = Arc::new(Share {
            octets: self.octets.part(self.octets_of_one),
            places: self.places.part(self.places_of_one),
            limits: self.limits,
        });
        by_source.insert(source, Arc::clone(&share));
        share
    }
}

/// What one host has: an address, or a network of IPv6 (RFC 4291, section 2.5.1).
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let [first, second, third, fourth, ..] = address.segments();
            IpAddr::from([first, second, third, fourth, 0, 0, 0, 0])
        }
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
        assert_eq!(admission.octets.0[0].available_permits(), 16 * MEBIBYTE);
    }

    #[tokio::test]
    async fn what_is_counted_is_what_is_allocated() {
        let admission = admission("");
        let share = admission.share();
        for octets in [0, 1, 4096, 4097, 100_000, 6 * MEBIBYTE] {
            let held = read(&share, octets).await.unwrap();
            let counted = 64 * MEBIBYTE - admission.octets.0[0].available_permits();
            assert!(held.octets.capacity() <= counted.max(1) || octets == 0, "{octets}");
            assert!(counted <= (2 * octets).max(FIRST_ROOM_OCTETS), "{octets}: {counted}");
        }
    }

    #[tokio::test]
    async fn one_stranger_leaves_room_for_others_and_all_of_them_for_accounts() {
        let admission = admission("body_mebibytes = 64\nrequests = 16\nqueue_seconds = 1");
        let strangers = admission.strangers(6 * MEBIBYTE);
        let from = |address: &str| strangers.share(address.parse().unwrap());
        let greedy = from("192.0.2.1");
        let held = read(&greedy, 6 * MEBIBYTE).await.unwrap();
        // The same host by another connection, or under another name; and others.
        for same in ["192.0.2.1", "::ffff:192.0.2.1"] {
            assert!(matches!(read(&from(same), 3 * MEBIBYTE).await.unwrap_err(), Error::Busy), "{same}");
        }
        assert!(read(&from("192.0.2.2"), 6 * MEBIBYTE).await.is_ok());
        let places = [greedy.work_place().await.unwrap(), greedy.work_place().await.unwrap()];
        assert!(matches!(from("192.0.2.1").work_place().await.unwrap_err(), Error::Busy));
        assert!(from("192.0.2.2").work_place().await.is_ok());
        drop((held, places));
        assert!(read(&from("192.0.2.1"), 6 * MEBIBYTE).await.is_ok());
        // A host has a whole network of IPv6.
        let held = read(&from("2001:db8::1"), 6 * MEBIBYTE).await.unwrap();
        let (first, second) = (from("2001:db8::1"), from("2001:db8::ffff:1"));
        assert!(Arc::ptr_eq(&first, &second) && !Arc::ptr_eq(&first, &from("2001:db8:0:1::1")));
        drop((held, first, second));
        // However many there are, half is left.
        let mut held = Vec::new();
        for host in 1..=5 {
            held.push(read(&from(&format!("198.51.100.{host}")), 6 * MEBIBYTE).await.unwrap());
        }
        assert!(matches!(read(&from("198.51.100.6"), 6 * MEBIBYTE).await.unwrap_err(), Error::Busy));
        assert!(read(&admission.share(), 6 * MEBIBYTE).await.is_ok());
    }

    #[tokio::test]
    async fn sources_are_forgotten() {
        let admission = admission("connections = 4\nrequests = 16\nqueue_seconds = 1");
        let strangers = admission.strangers(6 * MEBIBYTE);
        let from = |address: &str| strangers.share(address.parse().unwrap());
        let kept = from("192.0.2.1");
        // It has hung up, and is worked for.
        let left = from("192.0.2.2");
        let places = [left.work_place().await.unwrap(), left.work_place().await.unwrap()];
        drop(left);
        let left = from("192.0.2.3");
        let body = read(&left, 6 * MEBIBYTE).await.unwrap();
        drop(left);
        for host in 0..1_000_u32 {
            drop(strangers.share(IpAddr::from(host.to_be_bytes())));
        }
        assert!(strangers.by_source.lock().unwrap().len() <= 42);
        assert!(Arc::ptr_eq(&kept, &from("192.0.2.1")));
        assert!(matches!(from("192.0.2.2").work_place().await.unwrap_err(), Error::Busy));
        assert!(matches!(read(&from("192.0.2.3"), 3 * MEBIBYTE).await.unwrap_err(), Error::Busy));
        drop((places, body));
        assert!(from("192.0.2.2").work_place().await.is_ok());
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
