//! verifier

pub mod time;

pub use time::Instant;
