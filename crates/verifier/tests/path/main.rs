//! Certification paths: every rule with a chain that breaks it and a twin that does not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    // Tests read field data and measure time; the Verifier itself does neither.
    clippy::disallowed_methods,
    clippy::disallowed_types,
    missing_docs
)]

mod crypto;
mod decisions;
mod field;
mod pins;
mod pki;
mod revocation;
mod rules;
mod search;
mod store;
