//! TPM 2.0 structures (TPM 2.0 Library, Part 2), parsed strictly: exact sizes, known values, no octet left over.
//!
//! Names follow the TCG's (`TPMT_PUBLIC` is [`TpmtPublic`]). Structures that are hashed or signed keep
//! the bytes they were parsed from.

pub mod alg;
mod attest;
mod attributes;
mod creation;
pub mod credential;
pub mod marshal;
mod name;
mod pcr;
mod public;
mod signature;
pub mod template;

pub use alg::{Curve, HashAlg};
pub use attest::{Attested, ClockInfo, TPM_GENERATED, TpmsAttest};
pub use attributes::ObjectAttributes;
pub use creation::CreationData;
pub use name::Name;
pub use pcr::{PcrBank, PcrSelection};
pub use public::{EccScheme, KeyedHashScheme, PublicParameters, RsaScheme, Symmetric, TpmtPublic};
pub use signature::{AttestationSignature, TpmtSignature};
