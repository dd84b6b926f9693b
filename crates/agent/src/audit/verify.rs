//! Checking the log.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use thiserror::Error;

use super::{CHAIN_OCTETS, Chain, MAX_LINE_OCTETS, hex, link};

/// Fields of an entry.
const FIELDS: usize = 9;

/// What a log that is whole says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// How many entries it has.
    pub entries: u64,
    /// The last entry's chain value, in hexadecimal; zeros for an empty log.
    pub chain: String,
}

/// Why a log is not whole.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum VerifyFault {
    /// The file cannot be read.
    #[error("the audit log cannot be read: {0}")]
    Unreadable(#[from] std::io::Error),
    /// A line is no entry.
    #[error("line {line} is no entry")]
    NoEntry {
        /// Which one, from 1.
        line: u64,
    },
    /// An entry's number does not follow the one before it.
    #[error("line {line} has number {found}: entries were removed or added")]
    Sequence {
        /// Which one, from 1.
        line: u64,
        /// Its number.
        found: u64,
    },
    /// An entry's chain value is not that of what is there.
    #[error("line {line} was changed, or one before it was")]
    Chain {
        /// Which one, from 1.
        line: u64,
    },
}

/// Checks a log from its first entry to its last.
///
/// # Errors
///
/// [`VerifyFault`], at the first line that is not as it was written.
pub fn verify(path: &Path) -> Result<Summary, VerifyFault> {
    let mut reader = BufReader::new(File::open(path)?);
    let limit = u64::try_from(MAX_LINE_OCTETS).unwrap_or(u64::MAX);
    let mut chain = [0; CHAIN_OCTETS];
    let mut entries = 0_u64;
    loop {
        let mut octets = Vec::new();
        (&mut reader).take(limit).read_until(b'\n', &mut octets)?;
        if octets.is_empty() {
            return Ok(Summary { entries, chain: hex(&chain) });
        }
        let line = entries.saturating_add(1);
        let entry = octets.strip_suffix(b"\n").ok_or(VerifyFault::NoEntry { line })?;
        let (found, written) = position_of(entry).ok_or(VerifyFault::NoEntry { line })?;
        if found != line {
            return Err(VerifyFault::Sequence { line, found });
        }
        let end = entry.iter().rposition(|octet| *octet == b'\t').ok_or(VerifyFault::NoEntry { line })?;
        chain = link(&chain, entry.get(..end).unwrap_or_default());
        if chain != written {
            return Err(VerifyFault::Chain { line });
        }
        entries = line;
    }
}

/// The number and the chain value of an entry; `None` for a line that is none.
pub(super) fn position_of(line: &[u8]) -> Option<(u64, Chain)> {
    let text = std::str::from_utf8(line).ok()?;
    let fields: Vec<&str> = text.split('\t').collect();
    if fields.len() != FIELDS {
        return None;
    }
    let sequence = fields.first()?.parse().ok()?;
    let digits = fields.last()?;
    let mut chain = [0; CHAIN_OCTETS];
    for (octet, pair) in chain.iter_mut().zip(digits.as_bytes().chunks(2)) {
        *octet = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    // In the one way of writing it.
    (hex(&chain) == *digits).then_some((sequence, chain))
}
