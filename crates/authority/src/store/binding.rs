//! Which module, device and attesting key may be bound to one another: judged from what a database has read, so that
//! every database judges alike.

use super::{Digest, EnrolledKey, Revocation, RevocationReason, StoreError};

/// A device as far as it matters for what may be bound to it.
pub(super) struct Bound {
    pub(super) id: i64,
    pub(super) identity: Digest,
    /// Whether the account may enroll keys on it: its own, or by leave.
    pub(super) is_open: bool,
    /// Whether another module has leave to take the place of its own.
    pub(super) is_replaceable: bool,
}

impl Bound {
    /// Whether the key's module is the device's own; if it is not, it has leave to take that one's place. Other accounts than
    /// the one that enrolled a device need leave, and so does another module.
    pub(super) fn has_module_of(&self, key: &EnrolledKey) -> Result<bool, StoreError> {
        let is_own = self.identity == key.identity;
        if self.is_open && (is_own || self.is_replaceable) { Ok(is_own) } else { Err(StoreError::DeviceBoundElsewhere) }
    }
}

/// A key that is recorded under the Name or the public key of one that is to be bound.
pub(super) struct KnownKey {
    pub(super) device: i64,
    /// Whether it has both, Name and public key.
    pub(super) is_same: bool,
    pub(super) is_of_account: bool,
    pub(super) is_revoked: bool,
}

/// How a key is bound.
#[derive(Clone, Copy)]
pub(super) enum KeyBinding {
    /// It is recorded.
    New,
    /// It is recorded already, for this device and account; what ties it to its module is recorded anew. It stands by itself
    /// then, unless the method shows nothing but a name, which whoever knew the key before it could have given too.
    Again,
}

impl KeyBinding {
    pub(super) fn judge(known: &[KnownKey], device: i64, is_successor: bool) -> Result<Self, StoreError> {
        check_revoked(known)?;
        match known {
            [] => Ok(Self::New),
            [known] if known.device == device && known.is_same && known.is_of_account && !is_successor => {
                Ok(Self::Again)
            }
            _ => Err(StoreError::AkBoundElsewhere),
        }
    }
}

/// What can be told of a key before its holder has answered: a revoked one is not asked.
pub(super) fn check_revoked(known: &[KnownKey]) -> Result<(), StoreError> {
    if known.iter().any(|known| known.is_revoked) { Err(StoreError::KeyRevoked) } else { Ok(()) }
}

/// What becomes of a key that stands alone when its successor takes its place.
pub(super) fn superseded(account: &str, at: i64) -> Revocation {
    Revocation { at, reason: RevocationReason::Superseded, approver: account.to_owned() }
}

/// Whether the baseline is to be recorded. The first one stands: a device that was changed must not bless itself by
/// enrolling again.
pub(super) fn is_first_baseline(recorded: Option<&[u8]>, baseline: &[u8]) -> Result<bool, StoreError> {
    match recorded {
        None => Ok(true),
        Some(recorded) if recorded == baseline => Ok(false),
        Some(_) => Err(StoreError::BaselineRecorded),
    }
}
