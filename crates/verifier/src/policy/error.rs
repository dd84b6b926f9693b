//! Policies that cannot be used.

use thiserror::Error;

use super::PCR_MAX;

/// A policy file, or a list that it names, that cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PolicyError {
    /// A claim that is none of the vocabulary.
    #[error("{place} names {claim:?}, which is no claim")]
    Claim {
        /// Where it is named.
        place: &'static str,
        /// What is named.
        claim: String,
    },
    /// An expression that cannot be compiled or is too large.
    #[error("the expression {text:?} cannot be used: {why}")]
    Expression {
        /// The expression.
        text: String,
        /// What is wrong.
        why: String,
    },
    /// A list of modules that cannot be read.
    #[error("the list of modules cannot be used: {0}")]
    ModuleList(String),
    /// A PCR value that is not hexadecimal.
    #[error("pcr_reference.{bank}.{index} is not hexadecimal")]
    PcrHex {
        /// The bank.
        bank: String,
        /// The register.
        index: String,
    },
    /// A PCR number that does not exist.
    #[error("{bank} names PCR {index}; PCRs are 0 to {PCR_MAX}")]
    PcrIndex {
        /// The bank.
        bank: String,
        /// The number.
        index: String,
    },
    /// A PCR value of the wrong length.
    #[error("the reference of PCR {index} in bank {bank} has {found} octets, not {expected}")]
    PcrLength {
        /// The bank.
        bank: &'static str,
        /// The register.
        index: u8,
        /// Octets of the bank's digests.
        expected: usize,
        /// Octets found.
        found: usize,
    },
    /// A clause for a rule that the policy does not have.
    #[error("[clauses] names {0:?}, which is no rule of this policy")]
    Rule(String),
    /// Not TOML, or not a policy.
    #[error("{0}")]
    Toml(String),
    /// A PCR bank that is not known.
    #[error("unknown PCR bank {0:?}; known are sha256, sha384 and sha512")]
    UnknownBank(String),
    /// A value that its rule does not know.
    #[error("{rule} cannot be {found:?}; {expected}")]
    Value {
        /// The rule.
        rule: &'static str,
        /// The value.
        found: String,
        /// What it may be.
        expected: &'static str,
    },
}
