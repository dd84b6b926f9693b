//! Checking the log.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::FILE_NAME;
use super::entry::{CHAIN_OCTETS, Chain, MAX_LINE_OCTETS, Placed, chain_of, hex, link};
use super::file::archives;

/// What a log that is whole says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// How many files it is in.
    pub files: usize,
    /// The sequence number of its first entry: 1, or more if older files were moved away.
    pub first: u64,
    /// How many entries it has.
    pub entries: u64,
    /// The last entry's chain value, in hexadecimal; zeros for an empty log.
    pub chain: String,
}

/// Why a log is not whole.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum VerifyFault {
    /// A file cannot be read.
    #[error("the audit log cannot be read: {0}")]
    Unreadable(#[from] std::io::Error),
    /// A line is no entry.
    #[error("line {line} of {file} is no entry")]
    NoEntry {
        /// In which file.
        file: String,
        /// Which one, from 1.
        line: u64,
    },
    /// The last line has no end.
    #[error("line {line} of {file} is cut short: by a crash, if the agent has not been started since, else by someone")]
    CutShort {
        /// In which file.
        file: String,
        /// Which one, from 1.
        line: u64,
    },
    /// An entry's number does not follow the one before it.
    #[error("line {line} of {file} has number {found} instead of {expected}: entries were removed, added or reordered")]
    Sequence {
        /// In which file.
        file: String,
        /// Which one, from 1.
        line: u64,
        /// Its number.
        found: u64,
        /// What it should be.
        expected: u64,
    },
    /// An entry's chain value is not that of what is there.
    #[error("line {line} of {file} was changed, or one before it was")]
    Chain {
        /// In which file.
        file: String,
        /// Which one, from 1.
        line: u64,
    },
    /// A chain value that was noted is not a chain value.
    #[error("a chain value has 64 hexadecimal digits")]
    NotedMalformed,
    /// The entry of the chain value that was noted is not there.
    #[error("no entry has the chain value that was noted: entries at the end were removed, or all were written anew")]
    NotedMissing,
}

/// Checks a log from its first entry to its last: the file and, if it is `audit.log`, the full ones beside it. Where a chain value
/// of an earlier time was noted, its entry must be there: without one, entries that are missing at the end do not show.
///
/// # Errors
///
/// [`VerifyFault`], at the first line that is not as it was written.
pub fn verify(path: &Path, noted: Option<&str>) -> Result<Summary, VerifyFault> {
    let noted = noted.map(|digits| chain_of(&digits.to_lowercase()).ok_or(VerifyFault::NotedMalformed)).transpose()?;
    let mut files: Vec<PathBuf> = Vec::new();
    if path.file_name().is_some_and(|name| name == FILE_NAME) {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        files = archives(folder)?;
    }
    files.push(path.to_owned());
    let mut walk = Walk { noted, is_noted_found: noted.is_none(), ..Walk::default() };
    for file in &files {
        walk.read(file)?;
    }
    if !walk.is_noted_found {
        return Err(VerifyFault::NotedMissing);
    }
    let first = walk.first.unwrap_or(1);
    let entries = walk.first.map_or(0, |first| walk.last.saturating_sub(first).saturating_add(1));
    Ok(Summary { files: files.len(), first, entries, chain: hex(&walk.chain) })
}

/// How far the check has come.
#[derive(Debug, Default)]
struct Walk {
    first: Option<u64>,
    last: u64,
    chain: Chain,
    noted: Option<Chain>,
    is_noted_found: bool,
}

impl Walk {
    fn read(&mut self, path: &Path) -> Result<(), VerifyFault> {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut reader = BufReader::new(File::open(path)?);
        let limit = u64::try_from(MAX_LINE_OCTETS).unwrap_or(u64::MAX);
        let mut line = 0_u64;
        loop {
            let mut octets = Vec::new();
            (&mut reader).take(limit).read_until(b'\n', &mut octets)?;
            if octets.is_empty() {
                return Ok(());
            }
            line = line.saturating_add(1);
            let Some(entry) = octets.strip_suffix(b"\n") else {
                return Err(VerifyFault::CutShort { file, line });
            };
            self.step(&file, line, entry)?;
        }
    }

    fn step(&mut self, file: &str, line: u64, entry: &[u8]) -> Result<(), VerifyFault> {
        let file = || file.to_owned();
        let placed = Placed::parse(entry).ok_or_else(|| VerifyFault::NoEntry { file: file(), line })?;
        if self.first.is_none() {
            // A log whose older files were moved away begins with what they ended with.
            self.chain = placed.continues.unwrap_or([0; CHAIN_OCTETS]);
            self.last = if placed.continues.is_some() { placed.sequence.saturating_sub(1) } else { 0 };
            // What was noted may be what the first entry follows: the end of a file that was moved away, or the zeros of a new log.
            self.is_noted_found |= self.noted == Some(self.chain);
        }
        let expected = self.last.saturating_add(1);
        if placed.sequence != expected {
            return Err(VerifyFault::Sequence { file: file(), line, found: placed.sequence, expected });
        }
        let end = entry.iter().rposition(|octet| *octet == b'\t').unwrap_or_default();
        let chain = link(&self.chain, entry.get(..end).unwrap_or_default());
        if chain != placed.chain || placed.continues.is_some_and(|before| before != self.chain) {
            return Err(VerifyFault::Chain { file: file(), line });
        }
        self.first.get_or_insert(placed.sequence);
        (self.last, self.chain) = (placed.sequence, chain);
        self.is_noted_found |= self.noted == Some(chain);
        Ok(())
    }
}
