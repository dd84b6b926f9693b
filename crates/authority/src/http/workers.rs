//! Threads for work that keeps a processor busy: as many as keep all processors busy, each taking what waits next.
//!
//! While there is work, no thread sleeps and none is woken: whoever ends one piece goes on with the next.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// A piece of work.
type Job = Box<dyn FnOnce() + Send>;

/// The threads; they end when this is dropped, after what waits is done.
#[derive(Debug)]
pub(super) struct Workers {
    queue: Arc<Queue>,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    arrival: Condvar,
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    closed: bool,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").finish_non_exhaustive()
    }
}

impl Workers {
    /// Starts `count` threads.
    ///
    /// # Errors
    /// What the system says when it has no thread to give.
    pub(super) fn start(count: usize) -> std::io::Result<Self> {
        let workers = Self { queue: Arc::default() };
        for _ in 0..count {
            let queue = Arc::clone(&workers.queue);
            std::thread::Builder::new().name("decisions".to_owned()).spawn(move || queue.work())?;
        }
        Ok(workers)
    }

    /// Has `job` done, after what waits already. The caller bounds how much that is.
    pub(super) fn run(&self, job: impl FnOnce() + Send + 'static) {
        self.queue.lock().jobs.push_back(Box::new(job));
        self.queue.arrival.notify_one();
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.arrival.notify_all();
    }
}

impl Queue {
    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        // Jobs run without the lock; whatever failed left the queue whole.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        while let Some(job) = self.next() {
            // A job that fails tells its caller by dropping what it was to answer with; the thread goes on.
            let _reported_by_the_hook = catch_unwind(AssertUnwindSafe(job));
        }
    }

    fn next(&self) -> Option<Job> {
        let mut waiting = self.lock();
        loop {
            if let Some(job) = waiting.jobs.pop_front() {
                return Some(job);
            }
            if waiting.closed {
                return None;
            }
            waiting = self.arrival.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn a_job_that_panics_leaves_the_threads_working() {
        let workers = Workers::start(1).unwrap();
        let (lost_to, lost) = channel::<u8>();
        workers.run(move || {
            let _dropped_unused = lost_to;
            panic!("a job of a test");
        });
        let (done_to, done) = channel();
        workers.run(move || done_to.send(7).unwrap());
        assert!(lost.recv().is_err());
        assert_eq!(done.recv(), Ok(7));
    }

    #[test]
    fn what_waits_is_done_in_order_before_the_threads_end() {
        let workers = Workers::start(1).unwrap();
        let (release, held) = channel::<()>();
        let (done_to, done) = channel();
        workers.run(move || held.recv().unwrap());
        for number in 0..10 {
            let done_to = done_to.clone();
            workers.run(move || done_to.send(number).unwrap());
        }
        drop((workers, done_to));
        release.send(()).unwrap();
        // The channel ends with the last job, when it was done and let go of.
        assert_eq!(done.iter().collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn as_many_jobs_run_at_once_as_there_are_threads() {
        let workers = Workers::start(2).unwrap();
        let barrier = Arc::new(std::sync::Barrier::new(2));
        let (done_to, done) = channel();
        for _ in 0..2 {
            let (barrier, done_to) = (Arc::clone(&barrier), done_to.clone());
            // Each waits for the other, so that neither ends unless both run.
            workers.run(move || {
                barrier.wait();
                done_to.send(()).unwrap();
            });
        }
        drop(done_to);
        assert_eq!(done.iter().count(), 2);
    }
}
