//! The audit log: who asked what of keys and attestation, and how it ended, each entry bound to all before it.
//!
//! One entry is a line of `audit.log` in the state directory, of fields with tabs between them:
//!
//! ```text
//! sequence number (from 1) | seconds since 1970 | event | client | uid | provider | key's name | key's id, or - |
//! attesting key's name, or - | SHA-256 of the nonce, or - | outcome | chain
//! ```
//!
//! `client` is whose keys were asked for ([`ClientId`](crate::client_id::ClientId)), `uid` the user that the kernel reported. An
//! attesting key of a client's own is named `CLIENT/PROVIDER/NAME`, one of the machine's by its name alone. `chain`
//! is SHA-256, in hexadecimal, over the previous entry's 32 octets (zeros for the first) and the line up to its last tab. Whoever
//! changes, removes or adds an entry must compute all that follow anew; whoever has noted a chain value sees it. What a copy of the log
//! alone cannot show is that entries at its end are missing: for that a value has to be kept elsewhere ([`verify`] takes it), and the
//! agent writes one to its own log when it starts, when it stops and when it begins a new file.
//!
//! **Order.** Space for the entry is reserved before an operation is done, and its answer leaves after its entry was handed to the
//! system. Where the one fails nothing is done; where the other fails, after all, the answer is withheld, the entry is kept in memory
//! and written first of all once that works again, and until then nothing more is done. So nothing that is recorded is done for
//! anyone without its entry. An agent that is killed between an operation and its entry leaves a key that nobody was told of, and
//! no entry; using that key to attest is recorded again.
//!
//! **Durability.** An entry survives the agent's death at once. It survives the machine's at once if the operation changed what is
//! stored ([`Durability::Now`]), else within a second ([`SYNC_INTERVAL`]).
//!
//! **Size.** A file that has reached [`MAX_FILE_OCTETS`] is renamed `audit.log.` and its first sequence number, 20 digits, and the
//! chain continues in a new one, whose first entry is `continues` and names the chain value before it. The agent removes none: an
//! operator may move the oldest away. Of one user 60 refusals a minute are recorded one by one; those beyond are counted, and an entry
//! `refusals-not-recorded` has their number in place of the key's name (the agent's death within that minute loses it).

mod entry;
mod file;
mod refusals;
mod sync;
mod verify;

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use thiserror::Error;

pub use entry::{Durability, Event, OK, Outcome};
pub use verify::{Summary, VerifyFault, verify};

use entry::{CHAIN_OCTETS, Chain, Entry, hex};
use file::LogFile;
use refusals::Refusals;
use sync::Syncer;

/// The file's name in the state directory.
pub const FILE_NAME: &str = "audit.log";

/// Octets from which on a file is full.
pub const MAX_FILE_OCTETS: u64 = 16 * 1024 * 1024;

/// How long an entry of an operation that changed nothing may be lost to a power failure.
pub const SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// Entries that wait for a disk. As many operations are under way at most as there are providers, and a few of administrators.
const MAX_PENDING: usize = 1024;

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
    /// Another program has changed, moved or removed the file.
    #[error("{} is not as the agent left it: another program has changed it", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The last entry is none.
    #[error("the last line of {} is no entry", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

impl AuditFault {
    /// Whether room is what is missing.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            AuditFault::Io { source, .. } => {
                matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            AuditFault::Changed { .. } | AuditFault::Damaged { .. } => false,
        }
    }

    /// What to do about it, one sentence without a final period.
    #[must_use]
    pub const fn next_step(&self) -> &'static str {
        match self {
            AuditFault::Io { .. } => "free space on the disk of the state directory, and check that it can be written",
            AuditFault::Changed { .. } | AuditFault::Damaged { .. } => {
                "find out who changed it, keep what is there elsewhere, and start the agent anew"
            }
        }
    }
}

/// The log; clones share it.
#[derive(Clone, Debug)]
pub struct AuditLog {
    shared: Arc<Shared>,
    /// Ends with the last clone.
    _syncer: Arc<Syncer>,
}

/// What the log's users and its syncing thread share.
#[derive(Debug)]
struct Shared {
    inner: Mutex<Inner>,
    /// Entries were written that are not yet durable, or the log is closed.
    changed: Condvar,
}

#[derive(Debug)]
struct Inner {
    file: LogFile,
    sequence: u64,
    chain: Chain,
    refusals: Refusals,
    /// What happened and could not be written, oldest first.
    pending: VecDeque<Entry>,
    /// Whether the last try to write or to sync failed.
    is_failing: bool,
    /// Whether there are entries that a power failure would lose.
    is_dirty: bool,
    is_closed: bool,
}

impl AuditLog {
    /// Opens the log in a state directory; it is made if absent (mode 0600). An entry that a crash cut short is removed.
    ///
    /// # Errors
    ///
    /// [`AuditFault`].
    pub fn open(state_directory: &Path) -> Result<AuditLog, AuditFault> {
        AuditLog::open_with(state_directory, MAX_FILE_OCTETS)
    }

    fn open_with(state_directory: &Path, max_file_octets: u64) -> Result<AuditLog, AuditFault> {
        let (file, position) = LogFile::open(state_directory, max_file_octets)?;
        let (sequence, chain) = position.unwrap_or((0, [0; CHAIN_OCTETS]));
        tracing::info!(target: "audit", sequence, chain = hex(&chain), "the audit log begins here");
        let inner = Inner {
            file,
            sequence,
            chain,
            refusals: Refusals::default(),
            pending: VecDeque::new(),
            is_failing: false,
            is_dirty: false,
            is_closed: false,
        };
        let shared = Arc::new(Shared { inner: Mutex::new(inner), changed: Condvar::new() });
        let syncer = Syncer::start(Arc::clone(&shared)).map_err(|source| AuditFault::Io {
            action: "start a thread for",
            path: state_directory.join(FILE_NAME),
            source,
        })?;
        Ok(AuditLog { shared, _syncer: Arc::new(syncer) })
    }

    /// Makes sure that an operation can be recorded once it is done. To be asked before it is begun.
    ///
    /// # Errors
    ///
    /// [`AuditFault`]: the operation must not be done.
    pub fn admit(&self) -> Result<(), AuditFault> {
        let mut inner = self.shared.lock();
        let admitted = inner.admit();
        inner.is_failing = admitted.is_err();
        admitted
    }

    /// Records an event that has ended.
    ///
    /// # Errors
    ///
    /// [`AuditFault`]: the operation's answer must not leave. The entry is kept and written when that works again.
    pub fn record(&self, event: &Event, outcome: Outcome) -> Result<(), AuditFault> {
        let file = {
            let mut inner = self.shared.lock();
            let now = Instant::now();
            inner.end_refusals(Some(now));
            if !outcome.is_ok() && !inner.refusals.is_recorded(event.uid, now) {
                return Ok(());
            }
            if inner.pending.len() < MAX_PENDING {
                inner.pending.push_back(Entry::now(event.clone(), outcome));
            } else {
                tracing::error!(target: "audit", ?event, ?outcome, "an entry of the audit log is lost");
            }
            let written = inner.write_pending();
            if let Err(fault) = &written {
                inner.is_failing = true;
                tracing::error!(target: "audit", %fault, ?event, ?outcome, "an audit entry cannot be written yet");
            }
            written?;
            match event.durability {
                Durability::Now => Some(inner.file.handle()),
                Durability::Soon => {
                    // Woken once for all that comes within the interval.
                    if !mem::replace(&mut inner.is_dirty, true) {
                        self.shared.changed.notify_one();
                    }
                    None
                }
            }
        };
        // Without the lock: others' entries need not wait for the disk.
        file.map_or(Ok(()), |file| self.shared.sync(&file))
    }

    /// How many entries there are since the beginning, and the last one's chain value in hexadecimal.
    #[must_use]
    pub fn position(&self) -> (u64, String) {
        let inner = self.shared.lock();
        (inner.sequence, hex(&inner.chain))
    }

    /// Whether the last try to record something failed.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.shared.lock().is_failing
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sync(&self, file: &File) -> Result<(), AuditFault> {
        file.sync_data().map_err(|source| {
            let mut inner = self.lock();
            inner.is_failing = true;
            inner.file.fault("sync", source)
        })
    }
}

impl Inner {
    fn admit(&mut self) -> Result<(), AuditFault> {
        self.file.check()?;
        self.write_pending()?;
        // Here rather than after the operation: what a new file needs may be what is lacking.
        self.rotate_if_full()?;
        if self.is_failing {
            self.file.handle().sync_data().map_err(|source| self.file.fault("sync", source))?;
        }
        self.file.reserve()
    }

    /// Has refusals recorded by their number that were not recorded one by one.
    fn end_refusals(&mut self, now: Option<Instant>) {
        for (uid, count) in self.refusals.end(now) {
            if self.pending.len() < MAX_PENDING {
                self.pending.push_back(Entry::refusals(uid, count));
            }
        }
    }

    /// Writes what waits, in its order.
    fn write_pending(&mut self) -> Result<(), AuditFault> {
        while let Some(entry) = self.pending.pop_front() {
            let written = self.rotate_if_full().and_then(|()| self.write(&entry));
            if let Err(fault) = written {
                self.pending.push_front(entry);
                return Err(fault);
            }
        }
        Ok(())
    }

    fn rotate_if_full(&mut self) -> Result<(), AuditFault> {
        if !self.file.is_full() {
            return Ok(());
        }
        self.file.rotate(self.sequence.saturating_add(1))?;
        tracing::info!(target: "audit", sequence = self.sequence, chain = hex(&self.chain), "the audit log continues in a new file");
        self.write(&Entry::continues(&self.chain))
    }

    fn write(&mut self, entry: &Entry) -> Result<(), AuditFault> {
        // A file that was begun and not continued, since the disk was full.
        if self.file.is_empty() && self.sequence > 0 && !entry.is_continuation() {
            self.write(&Entry::continues(&self.chain))?;
        }
        let sequence = self.sequence.saturating_add(1);
        let (line, chain) = entry.line(sequence, &self.chain);
        self.file.append(line.as_bytes())?;
        self.sequence = sequence;
        self.chain = chain;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
