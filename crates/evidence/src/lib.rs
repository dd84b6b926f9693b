//! Nouns on the wire: what attesting devices, presenters and certification authorities exchange.
//!
//! This crate parses and builds TPM structures, certificates, certification requests and attestation
//! bundles. Everything it returns is **untrusted**: a value of these types says what bytes mean, never
//! that they are true. It does no I/O, holds no keys and reaches no verdicts; those belong to
//! `vouchsafe-verifier`. Parsed values keep the bytes they came from, because signatures are checked
//! over original bytes and never over a re-encoding.
//!
//! Read first: [`tpm::TpmsAttest`], [`tpm::TpmtPublic`] and [`x509::CertView`].

extern crate alloc;

pub mod base64url;
pub mod bundle;
pub mod cbor;
pub mod cmw;
pub mod emit;
pub mod formats;
pub mod input;
pub mod json;
pub mod limits;
mod malformed;
pub mod oid;
pub mod pem;
pub mod statement;
pub mod text;
pub mod tpm;
pub mod x509;

pub use malformed::{Malformed, Reason};
