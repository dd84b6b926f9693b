//! The one parse error of this crate.

use thiserror::Error;

/// Bytes that do not have the form their production demands.
///
/// Names the production (a TCG structure, an ASN.1 type or a text form), the offset in octets from the
/// start of the input that was being parsed, and what was wrong there.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("malformed {production} at octet {offset}: {reason}")]
pub struct Malformed {
    /// The structure being parsed, by its standard name.
    pub production: &'static str,
    /// Offset in octets from the start of that structure's input.
    pub offset: usize,
    /// What was wrong.
    pub reason: Reason,
}

impl Malformed {
    /// An error in `production`, `offset` octets into its input.
    #[must_use]
    pub const fn new(production: &'static str, offset: usize, reason: Reason) -> Self {
        Self { production, offset, reason }
    }
}

/// What was wrong with the bytes.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Reason {
    /// A value is not one that the production allows, such as an unknown algorithm identifier.
    #[error("value {0:#x} is not allowed here")]
    BadValue(u64),
    /// A field that may be there once is there twice.
    #[error("{0} appears more than once")]
    Duplicate(&'static str),
    /// The encoding is not DER.
    #[error("not strict DER: {0}")]
    NotDer(&'static str),
    /// A named bound of [`crate::limits`] is exceeded.
    #[error("{what} exceeds the limit of {limit}")]
    OverLimit {
        /// The bounded quantity.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
    /// A mandatory field is absent.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// Octets follow the structure.
    #[error("{0} octets follow the structure")]
    Trailing(usize),
    /// The input ends inside the structure.
    #[error("the input ends {0} octets too early")]
    Truncated(usize),
    /// Something else stands where the named element belongs.
    #[error("expected {0}")]
    Unexpected(&'static str),
}
