//! The Verifier: evidence, trust anchors, policy, nonce and time in; a verdict with reasons out.
//!
//! This crate is a function. It has no clock, reads no file, opens no socket and rolls no dice, so that the same
//! evidence can be judged again years later. It trusts nothing that it did not check:
//!
//! ```text
//! Submission --authenticate--> Authenticated --bind--> Binding --appraise--> Verdict --certify--> CertifiableKey
//!   untrusted     signatures,     true            one key,         suffices           may be issued, once
//!                 chains, nonce                   one device
//! ```
//!
//! A cloned key is refused in three places, which are the ones to read first: `authenticate/tpm_certify.rs`
//! (the attested Name must be the public area's), `bind.rs` (the attested key must be the request's) and
//! `appraise.rs` (the key must be unable to leave its TPM).
//!
//! ```
//! use vouchsafe_evidence::input::{InputFile, Submission};
//! use vouchsafe_verifier::{Instant, Policy, Request, TrustStore, verify};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let policy = Policy::named("default").ok_or("no such policy")?;
//! let trust = TrustStore::from_files([])?;
//! let at = Instant::from_rfc3339("2026-12-01T00:00:00Z")?;
//! # let csr: &[u8] = b"";
//! let Ok(submission) = Submission::recognize(&[InputFile { name: "csr.pem", bytes: csr }], None) else {
//!     return Ok(()); // Verdict::on_unusable_input says why.
//! };
//! let verdict = verify(&Request::new(&submission, &trust, &policy, at));
//! for reason in verdict.reasons() {
//!     println!("{reason}");
//! }
//! # Ok(())
//! # }
//! ```

pub mod advisory;
pub mod ak_certificate;
mod appraise;
mod authenticate;
mod bind;
pub mod ceremony;
mod claims;
pub mod crypto;
mod describe;
pub mod ear;
pub mod enrolment;
mod formats;
pub mod hex;
mod nonce;
pub mod path;
mod policy;
mod rejection;
mod report;
mod request;
pub mod time;
pub mod trust;
mod verdict;

pub use authenticate::Skipped;
pub use bind::{By, Device, Edge, Node};
pub use claims::vocabulary::{About, Term, VOCABULARY};
pub use claims::{Claim, Claims, Source};
pub use crypto::VerificationCache;
pub use describe::Register;
pub use nonce::{Nonce, NonceLength};
pub use policy::{
    AdvisoryDemand, AdvisoryStance, Age, Condition, Explanation, IndirectStance, Judged, ModuleList, NonceDemand,
    PlatformDemand, Policy, PolicyError, ReferenceValues, ReportError, RevocationDemand, Stance,
};
pub use rejection::{Code, Rejection, all_codes, codes};
pub use report::Reason;
pub use request::{Request, verify};
pub use time::Instant;
pub use trust::{TrustError, TrustStore};
pub use verdict::{CertifiableKey, Freshness, Outcome, Section, Verdict};
