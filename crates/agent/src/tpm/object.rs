//! Objects that commands use: where they are, what their Name is, and what authorizes them.

use vouchsafe_evidence::tpm::TpmtPublic;

use super::session::AuthValue;
use super::slots::SlotId;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Location {
    Persistent(u32),
    Transient(SlotId),
}

/// A loaded or persistent object.
#[derive(Clone, Debug)]
pub struct Object {
    location: Location,
    name: Vec<u8>,
    auth: AuthValue,
}

impl Object {
    /// The object with this public area under a persistent handle.
    #[must_use]
    pub fn persistent(handle: u32, public: &TpmtPublic, auth: AuthValue) -> Self {
        Self { location: Location::Persistent(handle), name: name_of(public), auth }
    }

    pub(crate) fn transient(slot: SlotId, public: &TpmtPublic, auth: AuthValue) -> Self {
        Self { location: Location::Transient(slot), name: name_of(public), auth }
    }

    /// The object's Name; empty if its nameAlg is TPM_ALG_NULL.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    pub(crate) const fn auth(&self) -> &AuthValue {
        &self.auth
    }

    pub(crate) const fn location(&self) -> Location {
        self.location
    }

    pub(crate) const fn slot(&self) -> Option<SlotId> {
        match self.location {
            Location::Transient(slot) => Some(slot),
            Location::Persistent(_) => None,
        }
    }

    /// The persistent handle, if it has one.
    #[must_use]
    pub const fn persistent_handle(&self) -> Option<u32> {
        match self.location {
            Location::Persistent(handle) => Some(handle),
            Location::Transient(_) => None,
        }
    }
}

fn name_of(public: &TpmtPublic) -> Vec<u8> {
    public.name().map(|name| name.as_bytes().to_vec()).unwrap_or_default()
}
