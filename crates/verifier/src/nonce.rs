//! The challenge that fresh evidence answers.

use thiserror::Error;
use vouchsafe_evidence::limits::{NONCE_OCTETS_MAX, NONCE_OCTETS_MIN};

/// A challenge of 16 to 64 octets, given by the Verifier's operator and answered inside each statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nonce(Vec<u8>);

/// A challenge of a length that is not accepted.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a nonce has {NONCE_OCTETS_MIN} to {NONCE_OCTETS_MAX} octets, this one {found}")]
pub struct NonceLength {
    /// Its octets.
    pub found: usize,
}

impl Nonce {
    /// A nonce of these octets.
    ///
    /// # Errors
    /// [`NonceLength`] below 16 octets, which could be guessed or collide, and above 64, which TPMs refuse.
    pub fn new(octets: &[u8]) -> Result<Self, NonceLength> {
        if (NONCE_OCTETS_MIN..=NONCE_OCTETS_MAX).contains(&octets.len()) {
            Ok(Self(octets.to_vec()))
        } else {
            Err(NonceLength { found: octets.len() })
        }
    }

    /// The octets.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}
