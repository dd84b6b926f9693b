//! The one secret of the authority's state, and the keys that are derived from it.

use std::fs::Metadata;
use std::os::unix::fs::PermissionsExt;

use aws_lc_rs::hmac;
use zeroize::ZeroizeOnDrop;

/// Octets of the state secret.
pub(crate) const SECRET_OCTETS: usize = 32;

/// Bits of a file's mode that let others than its owner in.
const OTHERS: u32 = 0o077;

/// Whether others than its owner may read or change a file, which a secret's must not allow.
pub(crate) fn is_open_to_others(file: &Metadata) -> bool {
    file.permissions().mode() & OTHERS != 0
}

/// What a derived key is for; every purpose has a key of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) enum KeyUse {
    /// Authenticates nonces.
    Nonce,
    /// Authenticates replay nonces of ACME.
    AcmeReplay,
    /// Encrypts kept evidence.
    Evidence,
    /// Turns requests into values that equal requests share and nobody else can compute.
    Request,
}

impl KeyUse {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::AcmeReplay => b"vouchsafe authority acme replay v1",
            Self::Nonce => b"vouchsafe authority nonce v1",
            Self::Evidence => b"vouchsafe authority evidence v1",
            Self::Request => b"vouchsafe authority request v1",
        }
    }
}

/// 32 random octets, written once by `init`. Not `Clone`, not printable.
#[derive(ZeroizeOnDrop)]
pub(crate) struct StateSecret([u8; SECRET_OCTETS]);

impl StateSecret {
    pub(crate) const fn new(octets: [u8; SECRET_OCTETS]) -> Self {
        Self(octets)
    }

    /// HMAC-SHA-256 under the secret over the use's label.
    pub(crate) fn derive(&self, key_use: KeyUse) -> hmac::Tag {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &self.0), key_use.label())
    }
}
