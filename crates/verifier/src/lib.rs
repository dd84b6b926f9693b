//! verifier

pub mod crypto;
pub mod path;
pub mod time;
pub mod trust;

pub use time::Instant;
