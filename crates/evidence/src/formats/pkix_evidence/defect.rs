//! Why bytes are not PKIX Evidence that can be judged.

use thiserror::Error;

use crate::oid::Oid;
use crate::{Malformed, Reason};

/// Why bytes are not Evidence that can be judged. Clauses are of draft-ietf-rats-pkix-key-attestation.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum EvidenceDefect {
    /// The value of a claim lies outside the range that the claim's definition gives (5.1).
    #[error("the value of claim {0} is outside its range")]
    ClaimRange(Oid),
    /// The value of a claim is not of the type that the claim's definition gives (section 8).
    #[error("the value of claim {0} is not of the claim's type")]
    ClaimType(Oid),
    /// A claim has no value, as in requests (section 5).
    #[error("claim {0} has no value")]
    ClaimValueMissing(Oid),
    /// A claim that may be there once in an element is there twice (4.3).
    #[error("claim {0} appears more than once in one element")]
    DuplicateClaim(Oid),
    /// There are two transaction elements or two platform elements (5.1, 5.3).
    #[error("there is more than one {0} element")]
    DuplicateElement(&'static str),
    /// Two key elements have one identifier (5.2).
    #[error("two key elements have one identifier")]
    DuplicateIdentifier,
    /// An element has no claims (section 5).
    #[error("element {0} has no claims")]
    EmptyElement(Oid),
    /// A key element has no identifier (5.2).
    #[error("a key element has no identifier")]
    IdentifierMissing,
    /// A claim holds a SubjectPublicKeyInfo that is none.
    #[error("claim {claim} holds no public key: {malformed}")]
    Key {
        /// The claim.
        claim: Oid,
        /// What is wrong with it.
        malformed: Malformed,
    },
    /// The bytes do not have the form of Evidence, or a bound is exceeded.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The bytes are of an older generation of the draft, whose identifiers and encodings were replaced.
    #[error("this is the format of {0}")]
    OlderDraft(&'static str),
    /// A TbsEvidence alone: a request for Evidence, which asserts nothing (section 7).
    #[error("this is a request for Evidence")]
    Request,
    /// A SignerIdentifier names no key in any way (section 6).
    #[error("a SignerIdentifier is empty")]
    SignerEmpty,
    /// The version is not 1 (section 5).
    #[error("version {0} is not known")]
    Version(u64),
}

impl EvidenceDefect {
    /// The same as a parse error, for those who show it.
    #[must_use]
    pub fn as_malformed(&self) -> Malformed {
        let unexpected = |what| Malformed::new("Evidence", 0, Reason::Unexpected(what));
        match self {
            Self::Malformed(malformed) | Self::Key { malformed, .. } => *malformed,
            Self::ClaimRange(_) => unexpected("a value within the claim's range"),
            Self::ClaimType(_) => unexpected("a value of the claim's type"),
            Self::ClaimValueMissing(_) => unexpected("a claim with a value"),
            Self::DuplicateClaim(_) => unexpected("each claim once"),
            Self::DuplicateElement(_) => unexpected("each element once"),
            Self::DuplicateIdentifier => unexpected("each key once"),
            Self::EmptyElement(_) => unexpected("an element with claims"),
            Self::IdentifierMissing => unexpected("a key element with an identifier"),
            Self::OlderDraft(_) => unexpected("Evidence of a current draft"),
            Self::Request => unexpected("Evidence, not a request for it"),
            Self::SignerEmpty => unexpected("a SignerIdentifier with a member"),
            Self::Version(_) => unexpected("version 1"),
        }
    }
}
