//! Who is at the other end.

use std::fmt;
use std::io;

use crate::client_id::{ClientId, DirectName};

/// The uid that a kernel shows for users that have none in this namespace, unless configured otherwise.
const USUAL_OVERFLOW_UID: u32 = 65534;

/// Where a kernel says which uid it shows for users that have none in this namespace.
const OVERFLOW_UID_PATH: &str = "/proc/sys/kernel/overflowuid";

/// A client, as the kernel knew it when it connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its Unix user.
    pub uid: u32,
    /// Its primary group.
    pub gid: u32,
}

impl Peer {
    /// The peer of a connection.
    pub(super) fn of(stream: &tokio::net::UnixStream) -> io::Result<Peer> {
        let credentials = stream.peer_cred()?;
        Ok(Peer { uid: credentials.uid(), gid: credentials.gid() })
    }
}

/// Who asks: the user whom the kernel knows, and the name that it gave itself, if it did.
///
/// The name space of keys goes by [`Caller::client`]; grants go by [`Caller::as_user`] and quotas by [`Caller::peer`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    peer: Peer,
    name: Option<DirectName>,
}

impl Caller {
    /// A user as itself.
    #[must_use]
    pub const fn user(peer: Peer) -> Caller {
        Caller { peer, name: None }
    }

    /// A user under a name that it gave itself.
    #[must_use]
    pub const fn named(peer: Peer, name: DirectName) -> Caller {
        Caller { peer, name: Some(name) }
    }

    /// The user whom the kernel knows: what is taken up counts as its, whatever name it goes by.
    #[must_use]
    pub const fn peer(&self) -> Peer {
        self.peer
    }

    /// The user, if it comes as itself: a name that anyone may claim inherits nothing of what its bearer may do.
    #[must_use]
    pub const fn as_user(&self) -> Option<Peer> {
        match self.name {
            None => Some(self.peer),
            Some(_) => None,
        }
    }

    /// Whose keys are the caller's own.
    #[must_use]
    pub fn client(&self) -> ClientId {
        match &self.name {
            None => ClientId::Unix(self.peer.uid),
            Some(name) => ClientId::Direct(name.clone()),
        }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            None => write!(formatter, "unix:{}", self.peer.uid),
            Some(name) => write!(formatter, "{:?} of unix:{}", name.as_str(), self.peer.uid),
        }
    }
}

/// Tells users from those whom the kernel cannot name: different users of other namespaces share one uid.
#[derive(Clone, Copy, Debug)]
pub(super) struct OverflowUid {
    configured: u32,
}

impl OverflowUid {
    /// The kernel's overflow uid.
    pub(super) fn of_kernel() -> OverflowUid {
        let text = std::fs::read_to_string(OVERFLOW_UID_PATH).unwrap_or_default();
        OverflowUid { configured: text.trim().parse().unwrap_or(USUAL_OVERFLOW_UID) }
    }

    /// Whether this uid says nothing about who the peer is.
    pub(super) fn is(self, uid: u32) -> bool {
        uid == self.configured || uid == USUAL_OVERFLOW_UID
    }
}

#[cfg(test)]
mod tests {
    use super::OverflowUid;

    #[test]
    fn the_overflow_uid_is_nobody() {
        assert!(OverflowUid::of_kernel().is(65534));
        assert!(!OverflowUid::of_kernel().is(0));
        let configured = OverflowUid { configured: 4711 };
        assert!(configured.is(4711) && configured.is(65534) && !configured.is(1000));
    }
}
