//! One thread for one provider: its calls block.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::queue::FairQueue;
use super::refusal::Refusal;
use super::settlement::settle_all;
use super::slot::{Provider, ProviderSlot};
use crate::config::{CertifyX509Config, Limits};
use crate::provider::Fault;
use crate::provider_identity::ProviderIdentity;
use crate::store::Store;

/// A unit of work. It gets the provider, or why there is none, and answers by itself.
type Job = Box<dyn FnOnce(Result<&mut dyn Provider, Fault>) + Send>;

/// A provider and the thread that calls it.
#[derive(Debug)]
pub(super) struct Worker {
    /// How it is called.
    pub(super) identity: Arc<ProviderIdentity>,
    /// Defaults of certificates that its module makes.
    pub(super) certify_x509: Arc<CertifyX509Config>,
    /// Name of the machine's attesting key that attests when nobody chooses.
    pub(super) default_attesting_key: Arc<str>,
    deadline: Duration,
    queue: Arc<FairQueue<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts the provider's thread, which opens the provider before the first request comes.
    pub(super) fn start(slot: ProviderSlot, store: &Store, limits: Limits) -> io::Result<Worker> {
        let queue = Arc::new(FairQueue::new(limits.waiting_requests, limits.waiting_requests_per_user));
        let mut worker = Worker {
            identity: Arc::new(slot.identity.clone()),
            certify_x509: Arc::new(slot.certify_x509.clone()),
            default_attesting_key: slot.default_attesting_key.as_str().into(),
            deadline: limits.request,
            queue: Arc::clone(&queue),
            thread: None,
        };
        let mut opened = Opened { slot, store: store.clone(), provider: None };
        let name = format!("provider-{}", worker.identity.name);
        let thread = std::thread::Builder::new().name(name).spawn(move || opened.work(&queue))?;
        worker.thread = Some(thread);
        Ok(worker)
    }

    /// Has the provider do something for a user and waits for the outcome.
    ///
    /// Work whose requester no longer waits is dropped when its turn comes; work that has begun is
    /// finished, whoever waits.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        uid: u32,
        work: impl FnOnce(&mut dyn Provider) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let (answer, outcome) = oneshot::channel();
        let deadline = Instant::now() + self.deadline;
        let job: Job = Box::new(move |provider| {
            if answer.is_closed() || Instant::now() >= deadline {
                return;
            }
            // The requester may have gone while the provider worked.
            let _ = answer.send(provider.map_err(Refusal::from).and_then(work));
        });
        self.queue.push(uid, job).map_err(|full| Refusal::Busy { full })?;
        match tokio::time::timeout(self.deadline, outcome).await {
            Ok(Ok(outcome)) => outcome,
            // The sender is dropped unused when the deadline passed in the queue or the provider panicked.
            Ok(Err(_)) => Err(Refusal::ProviderFailed),
            Err(_) => Err(Refusal::Deadline { limit: self.deadline }),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(provider = %self.identity.name, "a provider's thread panicked");
        }
    }
}

/// The provider, on its own thread.
struct Opened {
    slot: ProviderSlot,
    store: Store,
    provider: Option<Box<dyn Provider>>,
}

impl Opened {
    fn work(&mut self, queue: &FairQueue<Job>) {
        if let Err(fault) = self.provider() {
            let provider = &self.slot.identity.name;
            tracing::warn!(%provider, %fault, next_step = fault.next_step(), "a provider cannot be opened yet");
        }
        while let Some(job) = queue.pop() {
            // A defect in one provider must not take the service down, nor that provider for good.
            let worked = catch_unwind(AssertUnwindSafe(|| {
                job(self.provider());
                if let Some(provider) = &mut self.provider {
                    provider.answered();
                }
            }));
            if worked.is_err() {
                tracing::error!(provider = %self.slot.identity.name, "a provider panicked; it is opened anew");
                self.provider = None;
            }
        }
    }

    fn provider(&mut self) -> Result<&mut dyn Provider, Fault> {
        let provider = match self.provider.take() {
            Some(provider) => provider,
            None => {
                let state = self.store.provider_state(&self.slot.identity.name);
                let mut provider = self.slot.open(Box::new(state))?;
                settle_all(&self.store, &self.slot.identity.name, &mut *provider);
                provider
            }
        };
        Ok(&mut **self.provider.insert(provider))
    }
}
