//! The one writer: a thread that commits what waits as one group.
//!
//! A durable commit is what the authority spends its time on. While one commit is on its way to the disk
//! further writes queue up, and all of them share the next. Each has a savepoint of its own, so that one
//! that fails takes nothing with it.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use rusqlite::{Connection, TransactionBehavior};

use super::StoreError;

/// Writes that share one commit.
const GROUP: usize = 64;
/// Writes that wait; beyond this, callers wait for a place.
const QUEUE: usize = 256;

/// Tells a caller how its write ended, once the group's commit is known.
type Reply = Box<dyn FnOnce(bool) + Send>;
type Write = Box<dyn FnOnce(&Connection) -> Reply + Send>;

/// Hands writes to the writer thread; dropping it ends the thread after what waits is written.
#[derive(Debug)]
pub(super) struct Writer {
    writes: Option<SyncSender<Write>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(connection: Connection) -> Result<Self, StoreError> {
        let (writes, waiting) = sync_channel(QUEUE);
        let thread =
            std::thread::Builder::new().name("store-writer".to_owned()).spawn(move || run(connection, &waiting))?;
        Ok(Self { writes: Some(writes), thread: Some(thread) })
    }

    /// Runs `write` in a transaction and returns after it is durable.
    pub(super) fn write<T, F>(&self, write: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (result_to, result_from) = sync_channel(1);
        let job: Write = Box::new(move |connection| {
            let result = in_savepoint(connection, write);
            Box::new(move |committed| {
                let result = if committed { result } else { result.and(Err(StoreError::Stopped)) };
                // The caller may be gone; the write stands all the same.
                let _gone = result_to.send(result);
            })
        });
        let writes = self.writes.as_ref().ok_or(StoreError::Stopped)?;
        writes.send(job).map_err(|_| StoreError::Stopped)?;
        result_from.recv().map_err(|_| StoreError::Stopped)?
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

fn in_savepoint<T>(
    connection: &Connection,
    write: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    connection.execute_batch("SAVEPOINT one_write")?;
    match write(connection) {
        Ok(value) => {
            connection.execute_batch("RELEASE one_write")?;
            Ok(value)
        }
        Err(error) => {
            connection.execute_batch("ROLLBACK TO one_write; RELEASE one_write")?;
            Err(error)
        }
    }
}

fn run(mut connection: Connection, waiting: &Receiver<Write>) {
    while let Ok(first) = waiting.recv() {
        let mut group = vec![first];
        group.extend(waiting.try_iter().take(GROUP - 1));
        commit_group(&mut connection, group);
    }
}

fn commit_group(connection: &mut Connection, group: Vec<Write>) {
    let transaction = match connection.transaction_with_behavior(TransactionBehavior::Immediate) {
        Ok(transaction) => transaction,
        Err(error) => {
            tracing::error!(%error, "no transaction could be started");
            // Dropping the writes tells their callers that nothing was written.
            return;
        }
    };
    let replies: Vec<Reply> = group.into_iter().map(|write| write(&transaction)).collect();
    let committed = match transaction.commit() {
        Ok(()) => true,
        Err(error) => {
            tracing::error!(%error, "a commit failed");
            false
        }
    };
    for reply in replies {
        reply(committed);
    }
}
