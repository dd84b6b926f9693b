//! Nouns on the wire: what attesting devices, presenters and certification authorities exchange.
//!
//! This crate parses and builds TPM structures, certificates, certification requests and attestation
//! bundles. Everything it returns is **untrusted**: a value of these types says what bytes mean, never
//! that they are true. It does no I/O, holds no keys and reaches no verdicts; those belong to
//! `vouchsafe-verifier`. Parsed values keep the bytes they came from, because signatures are checked
//! over original bytes and never over a re-encoding.
//!
//! Without the feature `std`, which is on by default, what is left needs an allocator and nothing else: [`emit`], with
//! which a module's firmware writes PKIX Evidence.
//!
//! Read first: [`tpm::TpmsAttest`], [`tpm::TpmtPublic`] and [`x509::CertView`].

#![cfg_attr(not(feature = "std"), no_std)]
#![cfg_attr(not(feature = "std"), allow(dead_code, reason = "only what emitting needs is reached"))]

extern crate alloc;

#[cfg(feature = "std")]
pub mod ak_possession;
#[cfg(feature = "std")]
pub mod base64url;
#[cfg(feature = "std")]
pub mod bundle;
#[cfg(feature = "std")]
pub mod cbor;
#[cfg(feature = "std")]
pub mod ceremony;
#[cfg(feature = "std")]
pub mod cmw;
pub mod emit;
#[cfg(feature = "std")]
pub mod formats;
#[cfg(feature = "std")]
pub mod input;
#[cfg(feature = "std")]
pub mod json;
pub mod limits;
mod malformed;
pub mod oid;
#[cfg(feature = "std")]
pub mod pem;
#[cfg(feature = "std")]
pub mod statement;
#[cfg(feature = "std")]
pub mod text;
#[cfg(feature = "std")]
pub mod tpm;
#[cfg(feature = "std")]
pub mod x509;

/// What of X.509 an emitter needs.
#[cfg(not(feature = "std"))]
pub mod x509 {
    /// Building.
    pub mod build {
        mod writer;

        pub use writer::DerWriter;
    }
    pub mod der;
    pub(crate) mod time;
}

pub use malformed::{Malformed, Reason};
