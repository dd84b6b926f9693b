//! The one writer: a thread that commits what waits as one group.
//!
//! A durable commit is what the authority spends its time on. While one commit is on its way to the disk
//! further writes queue up, and all of them share the next. Each has a savepoint of its own, so that one
//! that fails takes nothing with it.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::StoreError;

/// Writes that share one commit.
const GROUP: usize = 64;
/// How long a commit waits for more that may share it, while there is a lot to do.
const GATHERING: Duration = Duration::from_millis(2);
/// Writes that wait; beyond this, callers wait for a place.
const QUEUE: usize = 256;

/// Tells a caller how the group's commit ended.
type Reply = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
/// Writes in the group's transaction, or is told why there is none. What it leaves tells its caller how that ended; a
/// failure comes with it.
type Write = Box<dyn FnOnce(Result<&Connection, StoreError>) -> (Reply, Option<Failure>) + Send>;

/// Hands writes to the writer thread; dropping it ends the thread after what waits is written.
#[derive(Debug)]
pub(super) struct Writer {
    writes: Option<SyncSender<Write>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(path: &Path, connection: Connection) -> Result<Self, StoreError> {
        let (writes, waiting) = sync_channel(QUEUE);
        let mut database = Database { path: path.to_owned(), connection: Some(connection) };
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || run(&mut database, &waiting))
            .map_err(StoreError::Thread)?;
        Ok(Self { writes: Some(writes), thread: Some(thread) })
    }

    /// Runs `write` in a transaction and returns after it is durable.
    pub(super) fn write<T, F>(&self, write: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (result_to, result_from) = sync_channel(1);
        // The caller waits below.
        self.write_later(write, move |result| drop(result_to.send(result)));
        result_from.recv().map_err(|_| StoreError::Stopped)?
    }

    /// As [`Writer::write`], but for the waiting: `done` is told on the writer's thread.
    pub(super) fn write_later<T, F, D>(&self, write: F, done: D)
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
        D: FnOnce(Result<T, StoreError>) + Send + 'static,
    {
        let job: Write = Box::new(move |connection| {
            match connection.and_then(|connection| in_savepoint(connection, write)) {
                Ok(value) => (Box::new(move |committed: Result<(), StoreError>| done(committed.map(|()| value))), None),
                // A refusal may rest on what another member of the group wrote: it is told once that is there to be read,
                // and not at all if it never is.
                Err(error) => {
                    let failure = Failure::of(&error);
                    (Box::new(move |committed: Result<(), StoreError>| done(committed.and(Err(error)))), Some(failure))
                }
            }
        });
        let refused = match &self.writes {
            Some(writes) => writes.send(job).err().map(|unsent| unsent.0),
            None => Some(job),
        };
        if let Some(job) = refused {
            let (reply, _) = job(Err(StoreError::Stopped));
            reply(Err(StoreError::Stopped));
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.writes = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported to every caller as `Stopped`.
            let _panicked = thread.join();
        }
    }
}

/// The writer's connection, opened again after a failure that may have left it unusable.
struct Database {
    path: PathBuf,
    connection: Option<Connection>,
}

impl Database {
    fn connection(&mut self) -> Result<&mut Connection, StoreError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => super::sqlite::open_for_writing(&self.path)?,
        };
        Ok(self.connection.insert(connection))
    }

    /// Writes a group in one transaction and tells every member how it ended.
    fn write(&mut self, group: Vec<Write>) {
        let Err(failure) = self.commit(group) else { return };
        tracing::error!(error = crate::text::chain(&failure.error()), "nothing could be recorded");
        match failure {
            // The connection is as good as it was.
            Failure::Locked => {}
            Failure::DiskFull | Failure::ReadOnly | Failure::Sqlite(_) | Failure::Stopped => self.connection = None,
        }
    }

    fn commit(&mut self, group: Vec<Write>) -> Result<(), Failure> {
        let begun = self
            .connection()
            .and_then(|connection| Ok(connection.transaction_with_behavior(TransactionBehavior::Immediate)?));
        match begun {
            Ok(transaction) => commit_group(transaction, group),
            Err(error) => {
                let failure = Failure::of(&error);
                for write in group {
                    let (reply, _) = write(Err(failure.error()));
                    reply(Err(failure.error()));
                }
                Err(failure)
            }
        }
    }
}

/// A failure that several callers share, which [`StoreError`] itself cannot be copied for.
#[derive(Clone, Copy)]
enum Failure {
    DiskFull,
    Locked,
    ReadOnly,
    Sqlite(rusqlite::ffi::Error),
    Stopped,
}

impl Failure {
    fn of(error: &StoreError) -> Self {
        match error {
            StoreError::DiskFull => Self::DiskFull,
            StoreError::Locked => Self::Locked,
            StoreError::ReadOnly => Self::ReadOnly,
            StoreError::Database(error) | StoreError::Io(error) => {
                error.sqlite_error().map_or(Self::Stopped, |error| Self::Sqlite(*error))
            }
            StoreError::AcmeConflict
            | StoreError::AkBoundElsewhere
            | StoreError::BaselineRecorded
            | StoreError::DeviceBoundElsewhere
            | StoreError::DeviceHasKey
            | StoreError::EkBoundElsewhere
            | StoreError::InventoryConflict
            | StoreError::KeyAttests
            | StoreError::KeyCertified
            | StoreError::KeyCompromised
            | StoreError::KeyHasOtherSubject
            | StoreError::KeyOfOtherAccount
            | StoreError::KeyRevoked
            | StoreError::NoSuchDevice
            | StoreError::NoSuchKey
            | StoreError::NonceSpent
            | StoreError::Schema { .. }
            | StoreError::SerialTaken
            | StoreError::Server(_)
            | StoreError::Stopped
            | StoreError::Thread(_)
            | StoreError::Unexpected { .. } => Self::Stopped,
        }
    }

    fn error(self) -> StoreError {
        match self {
            Self::DiskFull => StoreError::DiskFull,
            Self::Locked => StoreError::Locked,
            Self::ReadOnly => StoreError::ReadOnly,
            Self::Sqlite(error) => rusqlite::Error::SqliteFailure(error, None).into(),
            Self::Stopped => StoreError::Stopped,
        }
    }
}

fn in_savepoint<T>(
    connection: &Connection,
    write: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let step = |sql| connection.prepare_cached(sql).and_then(|mut statement| statement.execute(()));
    step("SAVEPOINT one_write")?;
    let result = write(connection);
    // SQLite may have ended the whole transaction by itself; there is no savepoint left then.
    if !connection.is_autocommit() {
        if result.is_err() {
            step("ROLLBACK TO one_write")?;
        }
        step("RELEASE one_write")?;
    }
    result
}

fn run(database: &mut Database, waiting: &Receiver<Write>) {
    let mut busy = false;
    while let Ok(first) = waiting.recv() {
        let group = gather(first, waiting, busy);
        busy = group.len() > 1;
        database.write(group);
    }
}

/// What shares the next commit: everything that waits and, where the last one was shared too, what comes soon.
/// A client that is alone is never kept waiting for others.
fn gather(first: Write, waiting: &Receiver<Write>, busy: bool) -> Vec<Write> {
    let mut group = vec![first];
    group.extend(waiting.try_iter().take(GROUP - 1));
    let deadline = Instant::now() + GATHERING;
    while busy && group.len() < GROUP {
        let left = deadline.saturating_duration_since(Instant::now());
        let Ok(next) = waiting.recv_timeout(left) else { break };
        group.push(next);
    }
    group
}

/// Commits what can be written; an error if that is nothing.
fn commit_group(transaction: Transaction<'_>, group: Vec<Write>) -> Result<(), Failure> {
    let mut replies = Vec::with_capacity(group.len());
    // A full disk may end a transaction with everything in it. What came next would otherwise be committed on
    // its own, and its caller told that it was not.
    let mut ended: Result<(), Failure> = Ok(());
    for write in group {
        let (reply, failure) = write(ended.map(|()| &*transaction).map_err(Failure::error));
        replies.push(reply);
        if let (Some(failure), true) = (failure, transaction.is_autocommit()) {
            ended = ended.and(Err(failure));
        }
    }
    let ended = ended.and_then(|()| transaction.commit().map_err(|error| Failure::of(&error.into())));
    for reply in replies {
        reply(ended.map_err(Failure::error));
    }
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A writer whose connection takes `pages` more pages and no more, as on a full disk.
    fn nearly_full(pages: i64) -> (tempfile::TempDir, Writer) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let connection = super::super::sqlite::open_for_writing(&path).unwrap();
        connection.execute_batch("CREATE TABLE blobs (octets BLOB)").unwrap();
        let used: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
        connection.pragma_update(None, "max_page_count", used + pages).unwrap();
        let writer = Writer::start(&path, connection).unwrap();
        (dir, writer)
    }

    fn insert(octets: i64) -> impl FnOnce(&Connection) -> Result<(), StoreError> + Send + 'static {
        move |connection| {
            connection.execute("INSERT INTO blobs VALUES (zeroblob(?1))", [octets])?;
            Ok(())
        }
    }

    fn count(dir: &tempfile::TempDir) -> i64 {
        let connection = Connection::open(dir.path().join("db")).unwrap();
        connection.query_row("SELECT count(*) FROM blobs", (), |row| row.get(0)).unwrap()
    }

    #[test]
    fn a_full_disk_is_told_as_such_and_recovered_from() {
        let (dir, writer) = nearly_full(2);
        writer.write(insert(10)).unwrap();
        assert!(matches!(writer.write(insert(100_000)).unwrap_err(), StoreError::DiskFull));
        assert_eq!(count(&dir), 1);
        // The connection that comes next has the room that was freed.
        writer.write(insert(100_000)).unwrap();
        assert_eq!(count(&dir), 2);
    }

    #[test]
    fn in_a_group_what_is_told_is_what_is_there() {
        let (dir, writer) = nearly_full(2);
        let (release, wait) = sync_channel::<()>(0);
        std::thread::scope(|scope| {
            // While the first commit is held up, the rest queue for the second, in which the disk is full.
            let first = scope.spawn(|| {
                writer.write(move |_| {
                    let _released = wait.recv();
                    Ok(())
                })
            });
            std::thread::sleep(std::time::Duration::from_millis(100));
            let sizes = [10, 10, 100_000, 10, 10];
            let group: Vec<_> = sizes
                .map(|octets| {
                    let member = scope.spawn({
                        let writer = &writer;
                        move || writer.write(insert(octets)).is_ok()
                    });
                    std::thread::sleep(std::time::Duration::from_millis(50));
                    member
                })
                .into_iter()
                .collect();
            release.send(()).unwrap();
            first.join().unwrap().unwrap();
            let told = group.into_iter().map(|member| member.join().unwrap()).filter(|ok| *ok).count();
            assert_eq!(i64::try_from(told).unwrap(), count(&dir));
        });
        writer.write(insert(100_000)).unwrap();
    }

    #[test]
    fn a_refusal_is_told_when_what_it_rests_on_can_be_read() {
        let (dir, writer) = nearly_full(100);
        let (release, wait) = sync_channel::<()>(0);
        std::thread::scope(|scope| {
            let first = scope.spawn(|| {
                writer.write(move |_| {
                    let _released = wait.recv();
                    Ok(())
                })
            });
            std::thread::sleep(std::time::Duration::from_millis(100));
            let writing = scope.spawn(|| writer.write(insert(10)));
            std::thread::sleep(std::time::Duration::from_millis(50));
            // It sees the row of the one before it, in the same group, and is refused for it.
            let path = dir.path();
            let refused = scope.spawn(|| {
                let (told_to, told) = sync_channel(1);
                let path = path.to_owned();
                let refuse = |connection: &Connection| -> Result<(), StoreError> {
                    let seen: i64 = connection.query_row("SELECT count(*) FROM blobs", (), |row| row.get(0))?;
                    assert_eq!(seen, 1);
                    Err(StoreError::NonceSpent)
                };
                writer.write_later(refuse, move |result| {
                    let connection = Connection::open(path.join("db")).unwrap();
                    let read: i64 = connection.query_row("SELECT count(*) FROM blobs", (), |row| row.get(0)).unwrap();
                    let _waited_for = told_to.send((result.is_err(), read));
                });
                told.recv().unwrap()
            });
            std::thread::sleep(std::time::Duration::from_millis(50));
            release.send(()).unwrap();
            first.join().unwrap().unwrap();
            writing.join().unwrap().unwrap();
            assert_eq!(refused.join().unwrap(), (true, 1));
        });
    }

    #[test]
    fn a_transaction_that_ended_by_itself_takes_the_whole_group() {
        let (dir, writer) = nearly_full(100);
        let (release, wait) = sync_channel::<()>(0);
        std::thread::scope(|scope| {
            let first = scope.spawn(|| {
                writer.write(move |_| {
                    let _released = wait.recv();
                    Ok(())
                })
            });
            std::thread::sleep(std::time::Duration::from_millis(100));
            let before = scope.spawn(|| writer.write(insert(10)));
            std::thread::sleep(std::time::Duration::from_millis(50));
            let ending = scope.spawn(|| {
                writer.write(|connection| {
                    connection.execute_batch("ROLLBACK")?;
                    Err::<(), _>(StoreError::DiskFull)
                })
            });
            std::thread::sleep(std::time::Duration::from_millis(50));
            let after = scope.spawn(|| writer.write(insert(10)));
            std::thread::sleep(std::time::Duration::from_millis(50));
            release.send(()).unwrap();
            first.join().unwrap().unwrap();
            for member in [before, ending, after] {
                assert!(matches!(member.join().unwrap().unwrap_err(), StoreError::DiskFull));
            }
        });
        assert_eq!(count(&dir), 0);
        writer.write(insert(10)).unwrap();
        assert_eq!(count(&dir), 1);
    }
}
