//! Key ceremonies: the transcript of what was done around a module, step by step, and the file in which witnesses sign
//! it.
//!
//! A file is a JWS in its general JSON serialization (RFC 7515, 7.2.1) whose payload is a [`Transcript`] and whose
//! signatures are the witnesses'. A transcript and a file have **one encoding each**: members in their order, no blanks,
//! nothing left out, nothing beside. What parses re-encodes to the same octets, so that no octet of a file is without
//! meaning, and the digest of a step is simply SHA-256 of its JSON as it stands there.
//!
//! Like all of this crate: untrusted. Who signed, whether enough did, and whether the steps follow one another is for
//! the Verifier.

mod encode;
mod jose;
mod plan;
mod proof;
mod read;
mod signed;
mod step;
mod text;
mod transcript;

pub use jose::{JoseAlgorithm, thumbprint};
pub use plan::{PlannedStep, Task};
pub use proof::{AkFamily, PROOF_CONTEXT, Proof, proof_message, proof_nonce};
pub use signed::{SignedTranscript, WitnessSignature};
pub use step::{Attachment, ModuleIdentity, Record, Step, sha256};
pub use text::Time;
pub use transcript::{Head, NamedKey, Transcript};

/// Octets of one file.
pub const FILE_OCTETS: usize = 2 * 1024 * 1024;
/// Octets of the transcript in it: base64url makes four of three.
pub const TRANSCRIPT_OCTETS: usize = 1024 * 1024;
/// Steps of one ceremony.
pub const STEPS: usize = 256;
/// Witnesses that one ceremony names, and signatures in one file.
pub const WITNESSES: usize = 32;
/// Octets of a name: of a witness, of a module's maker, of a file.
pub const NAME_OCTETS: usize = 256;
/// Octets of a longer text: a prompt, an answer, what a command said.
pub const TEXT_OCTETS: usize = 32 * 1024;
/// Words of one command.
pub const COMMAND_WORDS: usize = 64;
/// Octets of a public key, a signature, or Evidence by which an attesting key proves possession.
pub const BINARY_OCTETS: usize = 16 * 1024;
/// The type that the protected header of every signature names (RFC 7515, 4.1.9), so that a signature made for anything
/// else counts for nothing here.
pub const TYPE: &str = "vouchsafe-ceremony+json";
/// The version of the transcript.
pub const VERSION: u64 = 1;
/// Octets of a digest, an identifier, a thumbprint: all are SHA-256 or as long.
pub const DIGEST_OCTETS: usize = 32;
/// JSON values in the shortest transcript.
const VALUES_MIN: usize = 512;
/// Octets that a value of a transcript has at least, on average: it has a name, quotes and something in it.
const OCTETS_PER_VALUE: usize = 8;
