//! The thread that makes entries durable that need not be so at once.

use std::io;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;

use super::{SYNC_INTERVAL, Shared, hex};

/// The thread; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Syncer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Syncer {
    pub(super) fn start(shared: Arc<Shared>) -> io::Result<Syncer> {
        let watched = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("audit-sync".to_owned()).spawn(move || run(&watched))?;
        Ok(Syncer { shared, thread: Some(thread) })
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.shared.lock().is_closed = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(target: "audit", "the thread that syncs the audit log panicked");
        }
        let inner = self.shared.lock();
        tracing::info!(target: "audit", sequence = inner.sequence, chain = hex(&inner.chain), "the audit log ends here");
    }
}

fn run(shared: &Shared) {
    loop {
        let (file, is_closed) = {
            let inner = shared.lock();
            let waited = shared.changed.wait_while(inner, |inner| !inner.is_dirty && !inner.is_closed);
            let inner = waited.unwrap_or_else(PoisonError::into_inner);
            // What comes within the interval is synced with it.
            let waited = shared.changed.wait_timeout_while(inner, SYNC_INTERVAL, |inner| !inner.is_closed);
            let (mut inner, _) = waited.unwrap_or_else(PoisonError::into_inner);
            inner.is_dirty = false;
            if inner.is_closed {
                inner.end_refusals(None);
                if let Err(fault) = inner.write_pending() {
                    tracing::error!(target: "audit", %fault, "the last entries of the audit log cannot be written");
                }
            }
            (inner.file.handle(), inner.is_closed)
        };
        if let Err(fault) = shared.sync(&file) {
            tracing::error!(target: "audit", %fault, "the audit log cannot be made durable");
        }
        if is_closed {
            return;
        }
    }
}
