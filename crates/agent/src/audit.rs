//! The audit log: who asked what of keys and attestation, and how it ended, each entry bound to all before it.
//!
//! One entry is a line of `audit.log` in the state directory, of fields with tabs between them:
//!
//! ```text
//! sequence number (from 1) | seconds since 1970 | event | uid | provider | key | SHA-256 of the nonce, or - | outcome | chain
//! ```
//!
//! `chain` is SHA-256, in hexadecimal, over the previous entry's 32 octets (zeros for the first) and the line up to its last tab.
//! Whoever changes, removes or adds an entry must compute all that follow anew; whoever has noted a chain value sees it. What a copy of
//! the log alone cannot show is that entries at its end are missing: for that the last value has to be kept elsewhere.

mod verify;

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{self, SHA256};
use thiserror::Error;

pub use verify::{Summary, VerifyFault, verify};

use crate::wire::ProviderId;

/// The file's name in the state directory.
pub const FILE_NAME: &str = "audit.log";

/// Longest entry, in octets.
const MAX_LINE_OCTETS: usize = 4096;

/// Characters of a name that are kept.
const MAX_NAME_CHARS: usize = 255;

/// Octets of a chain value.
const CHAIN_OCTETS: usize = 32;

/// What binds an entry to all before it.
type Chain = [u8; CHAIN_OCTETS];

/// Why the log cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AuditFault {
    /// The system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The last entry is none.
    #[error("the last line of {} is no entry; keep the file and move it out of the way", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

/// Something that is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What was asked, such as `generate`.
    pub name: &'static str,
    /// Who asked.
    pub uid: u32,
    /// Of which provider.
    pub provider: ProviderId,
    /// Of which key, or what else is named; may be empty.
    pub subject: String,
    /// With which nonce; may be empty.
    pub nonce: Vec<u8>,
}

/// The log; clones share it.
#[derive(Clone, Debug)]
pub struct AuditLog {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    file: File,
    path: PathBuf,
    octets: u64,
    sequence: u64,
    chain: Chain,
}

impl AuditLog {
    /// Opens the log in a state directory, which is made if absent (mode 0600). An entry that a crash cut short is removed.
    ///
    /// # Errors
    ///
    /// [`AuditFault`].
    pub fn open(state_directory: &Path) -> Result<AuditLog, AuditFault> {
        let path = state_directory.join(FILE_NAME);
        let fault = |action| {
            let path = path.clone();
            move |source| AuditFault::Io { action, path, source }
        };
        let mut options = OpenOptions::new();
        let mut file = options.read(true).append(true).create(true).mode(0o600).open(&path).map_err(fault("open"))?;
        let (tail, start) = tail(&mut file).map_err(fault("read"))?;
        let whole = tail.iter().rposition(|octet| *octet == b'\n').map_or(0, |at| at.saturating_add(1));
        let octets = start.saturating_add(u64::try_from(whole).unwrap_or_default());
        if whole < tail.len() {
            tracing::warn!(path = %path.display(), "the last entry of the audit log was cut short and is removed");
            file.set_len(octets).map_err(fault("shorten"))?;
        }
        let last = tail.get(..whole).unwrap_or_default();
        let (sequence, chain) = match last.split(|octet| *octet == b'\n').rfind(|line| !line.is_empty()) {
            None if octets == 0 => (0, [0; CHAIN_OCTETS]),
            None => return Err(AuditFault::Damaged { path }),
            Some(line) => verify::position_of(line).ok_or_else(|| AuditFault::Damaged { path: path.clone() })?,
        };
        let inner = Inner { file, path, octets, sequence, chain };
        Ok(AuditLog { inner: Arc::new(Mutex::new(inner)) })
    }

    /// Records an event with its outcome: `ok` or a stable code. What cannot be written is logged as an error: the event has
    /// happened.
    pub fn record(&self, event: &Event, outcome: &str) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = inner.append(event, outcome) {
            tracing::error!(%error, path = %inner.path.display(), event = event.name, uid = event.uid, subject = ?event.subject,
                outcome, "an audit entry could not be written");
        }
    }
}

impl Inner {
    fn append(&mut self, event: &Event, outcome: &str) -> io::Result<()> {
        let sequence = self.sequence.saturating_add(1);
        let nonce =
            if event.nonce.is_empty() { "-".to_owned() } else { hex(digest::digest(&SHA256, &event.nonce).as_ref()) };
        let subject: String = event.subject.chars().take(MAX_NAME_CHARS).flat_map(char::escape_debug).collect();
        let mut line = format!(
            "{sequence}\t{}\t{}\t{}\t{}\t{subject}\t{nonce}\t{outcome}",
            unix_seconds(),
            event.name,
            event.uid,
            event.provider.0,
        );
        let chain = link(&self.chain, line.as_bytes());
        line.push('\t');
        line.push_str(&hex(&chain));
        line.push('\n');
        if let Err(error) = self.file.write_all(line.as_bytes()) {
            // Nothing of it stays behind, or the next entry would not be one.
            self.file.set_len(self.octets)?;
            return Err(error);
        }
        self.octets = self.octets.saturating_add(u64::try_from(line.len()).unwrap_or_default());
        self.sequence = sequence;
        self.chain = chain;
        Ok(())
    }
}

/// The end of the file, at least its last line, and where that begins.
fn tail(file: &mut File) -> io::Result<(Vec<u8>, u64)> {
    let length = file.seek(SeekFrom::End(0))?;
    let start = length.saturating_sub(u64::try_from(MAX_LINE_OCTETS.saturating_mul(2)).unwrap_or(u64::MAX));
    file.seek(SeekFrom::Start(start))?;
    let mut octets = Vec::new();
    file.read_to_end(&mut octets)?;
    Ok((octets, start))
}

/// The chain value of an entry, given the previous one and the line up to its last tab.
fn link(previous: &Chain, entry: &[u8]) -> Chain {
    let mut context = digest::Context::new(&SHA256);
    context.update(previous);
    context.update(entry);
    context.finish().as_ref().try_into().unwrap_or_default()
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

#[cfg(test)]
mod tests;
