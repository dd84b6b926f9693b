//! The files that the log is in.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use super::entry::{Chain, MAX_LINE_OCTETS, Placed};
use super::{AuditFault, FILE_NAME};

/// Space that is always reserved for entries of operations under way.
const MIN_RESERVED_OCTETS: u64 = 64 * 1024;

/// Space that is reserved at a time.
const RESERVED_OCTETS: u64 = 128 * 1024;

/// Digits of the sequence number in the name of a file that is full.
const NAME_DIGITS: usize = 20;

/// The file that is written.
#[derive(Debug)]
pub(super) struct LogFile {
    file: Arc<File>,
    path: PathBuf,
    /// The sequence number of its first entry.
    first: u64,
    /// Octets of whole entries.
    octets: u64,
    max_octets: u64,
    /// Up to where space is reserved.
    reserved: u64,
    /// Whether an entry was begun and could not be ended.
    is_torn: bool,
}

impl LogFile {
    /// Opens the newest file, and says where the log stands: the last entry's sequence number and chain value.
    pub(super) fn open(folder: &Path, max_octets: u64) -> Result<(LogFile, Option<(u64, Chain)>), AuditFault> {
        let path = folder.join(FILE_NAME);
        let mut file = open(&path, false)?;
        let io = |action: &'static str| {
            let path = path.clone();
            move |source| AuditFault::Io { action, path, source }
        };
        let (tail, start) = tail(&mut file).map_err(io("read"))?;
        let whole = tail.iter().rposition(|octet| *octet == b'\n').map_or(0, |at| at.saturating_add(1));
        let octets = start.saturating_add(u64::try_from(whole).unwrap_or_default());
        if whole < tail.len() {
            tracing::warn!(target: "audit", path = %path.display(), "the last entry was cut short and is removed");
            file.set_len(octets).map_err(io("shorten"))?;
        }
        let last = last_entry(&path, tail.get(..whole).unwrap_or_default(), octets)?;
        let (first, position) = match last {
            Some(last) => (first_sequence(&path, &mut file)?, Some((last.sequence, last.chain))),
            // A new log, or a file that was begun and not continued.
            None => {
                let position = end_of_newest_archive(folder)?;
                (position.map_or(1, |(sequence, _)| sequence.saturating_add(1)), position)
            }
        };
        let file = Arc::new(file);
        Ok((LogFile { file, path, first, octets, max_octets, reserved: 0, is_torn: false }, position))
    }

    /// The file, to be synced without holding up whoever writes.
    pub(super) fn handle(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// The file, to be put another one in its place.
    #[cfg(test)]
    pub(super) fn file_mut(&mut self) -> &mut Arc<File> {
        &mut self.file
    }

    /// Whether the next entry belongs into a new file.
    pub(super) fn is_full(&self) -> bool {
        self.octets >= self.max_octets
    }

    /// Whether it has no entry.
    pub(super) fn is_empty(&self) -> bool {
        self.octets == 0
    }

    /// Sees to it that the file is the one that was written so far, and as long.
    pub(super) fn check(&self) -> Result<(), AuditFault> {
        let changed = || AuditFault::Changed { path: self.path.clone() };
        let mine = self.file.metadata().map_err(|source| self.fault("look at", source))?;
        let there = std::fs::metadata(&self.path).map_err(|_| changed())?;
        let is_same = (mine.dev(), mine.ino()) == (there.dev(), there.ino());
        if !is_same || (mine.len() != self.octets && !self.is_torn) {
            return Err(changed());
        }
        Ok(())
    }

    /// Reserves space for entries that come.
    pub(super) fn reserve(&mut self) -> Result<(), AuditFault> {
        if self.reserved >= self.octets.saturating_add(MIN_RESERVED_OCTETS) {
            return Ok(());
        }
        match fallocate(&*self.file, FallocateFlags::KEEP_SIZE, self.octets, RESERVED_OCTETS) {
            Ok(()) => self.reserved = self.octets.saturating_add(RESERVED_OCTETS),
            // File systems that cannot: there an entry may fail after its operation, and the answer is withheld.
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::NODEV) => self.reserved = u64::MAX,
            Err(error) => return Err(self.fault("reserve space in", error.into())),
        }
        Ok(())
    }

    /// Adds a line.
    pub(super) fn append(&mut self, line: &[u8]) -> Result<(), AuditFault> {
        if self.is_torn {
            self.file.set_len(self.octets).map_err(|source| self.fault("shorten", source))?;
            self.is_torn = false;
        }
        if let Err(source) = (&*self.file).write_all(line) {
            // Nothing of it stays behind, or the next entry would not be one.
            self.is_torn = self.file.set_len(self.octets).is_err();
            self.reserved = self.octets;
            return Err(self.fault("write", source));
        }
        self.octets = self.octets.saturating_add(u64::try_from(line.len()).unwrap_or_default());
        Ok(())
    }

    /// Gives the file its lasting name and begins a new one, whose first entry will have that number.
    pub(super) fn rotate(&mut self, next: u64) -> Result<(), AuditFault> {
        let folder = self.path.parent().unwrap_or(Path::new("/")).to_owned();
        self.file.sync_data().map_err(|source| self.fault("sync", source))?;
        let lasting = folder.join(archive_name(self.first));
        if lasting.exists() {
            return Err(AuditFault::Changed { path: lasting });
        }
        std::fs::rename(&self.path, &lasting).map_err(|source| self.fault("rename", source))?;
        let file = match open(&self.path, true) {
            Ok(file) => file,
            Err(fault) => {
                // As it was: the next entry tries again.
                std::fs::rename(&lasting, &self.path).map_err(|source| self.fault("rename back", source))?;
                return Err(fault);
            }
        };
        self.file = Arc::new(file);
        (self.first, self.octets, self.reserved) = (next, 0, 0);
        File::open(&folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|source| self.fault("sync the folder of", source))
    }

    /// The fault of something that was tried on the file.
    pub(super) fn fault(&self, action: &'static str, source: io::Error) -> AuditFault {
        AuditFault::Io { action, path: self.path.clone(), source }
    }
}

fn open(path: &Path, is_new: bool) -> Result<File, AuditFault> {
    OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .create_new(is_new)
        .mode(0o600)
        .open(path)
        .map_err(|source| AuditFault::Io { action: "open", path: path.to_owned(), source })
}

/// The name of a full file whose first entry has that number.
fn archive_name(first: u64) -> String {
    format!("{FILE_NAME}.{first:0NAME_DIGITS$}")
}

/// The full files beside a log, the oldest first.
pub(super) fn archives(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut archives = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let digits = entry.file_name().to_str().and_then(|name| name.strip_prefix("audit.log.")).map(str::to_owned);
        if digits
            .is_some_and(|digits| digits.len() == NAME_DIGITS && digits.bytes().all(|digit| digit.is_ascii_digit()))
        {
            archives.push(entry.path());
        }
    }
    archives.sort();
    Ok(archives)
}

fn end_of_newest_archive(folder: &Path) -> Result<Option<(u64, Chain)>, AuditFault> {
    let io = |path: &Path, action| {
        let path = path.to_owned();
        move |source| AuditFault::Io { action, path, source }
    };
    let archives = archives(folder).map_err(io(folder, "list the files of"))?;
    let Some(newest) = archives.last() else { return Ok(None) };
    let mut file = File::open(newest).map_err(io(newest, "open"))?;
    let (tail, start) = tail(&mut file).map_err(io(newest, "read"))?;
    let octets = start.saturating_add(u64::try_from(tail.len()).unwrap_or_default());
    let last = last_entry(newest, &tail, octets)?.ok_or_else(|| AuditFault::Damaged { path: newest.clone() })?;
    Ok(Some((last.sequence, last.chain)))
}

/// The last entry of whole lines; `None` if the file is empty.
fn last_entry(path: &Path, lines: &[u8], octets: u64) -> Result<Option<Placed>, AuditFault> {
    let damaged = || AuditFault::Damaged { path: path.to_owned() };
    match lines.split(|octet| *octet == b'\n').rfind(|line| !line.is_empty()) {
        None if octets == 0 => Ok(None),
        None => Err(damaged()),
        Some(line) => Placed::parse(line).map(Some).ok_or_else(damaged),
    }
}

fn first_sequence(path: &Path, file: &mut File) -> Result<u64, AuditFault> {
    let mut octets = Vec::new();
    let limit = u64::try_from(MAX_LINE_OCTETS).unwrap_or(u64::MAX);
    file.seek(SeekFrom::Start(0))
        .and_then(|_| file.take(limit).read_to_end(&mut octets))
        .map_err(|source| AuditFault::Io { action: "read", path: path.to_owned(), source })?;
    let line = octets.split(|octet| *octet == b'\n').next().unwrap_or_default();
    Placed::parse(line).map(|placed| placed.sequence).ok_or_else(|| AuditFault::Damaged { path: path.to_owned() })
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
