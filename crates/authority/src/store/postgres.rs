//! The store in a PostgreSQL database, which several instances may share.
//!
//! What decides between instances is a constraint of the database or a transaction that is as if it ran alone
//! (SERIALIZABLE); one that others got in the way of is tried again. Everything that speaks to the server runs on one
//! thread, to which callers hand their work.

mod acme;
mod attesting_keys;
mod certified_keys;
mod decisions;
mod failure;
mod groups;
mod inventory;
mod link;
mod schema;
mod tls;

use std::rc::Rc;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;

use deadpool_postgres::{Client, Transaction};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Sender, UnboundedSender, channel, unbounded_channel};

use self::decisions::{digest, prepared, proof};
use self::groups::Member;
use self::link::{Job, Link};
use super::{
    CertificateRecord, Decision, Done, IssuedCertificate, RecordedDecision, Spending, Spent, Store, StoreError,
    ValidCertificate, columns,
};
use crate::config::PostgresConfig;
use crate::nonce::NONCE_OCTETS;

pub use self::failure::ServerError;

/// Decisions that wait to be written; beyond this, callers are told to come again.
const QUEUE: usize = 4_096;

/// A [`Store`] in a PostgreSQL database.
pub struct Postgres {
    place: String,
    jobs: Option<UnboundedSender<Job>>,
    members: Option<Sender<Member>>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Postgres").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Postgres {
    /// Opens the database of a server, creating the tables if there are none.
    ///
    /// # Errors
    /// [`StoreError::Server`], [`StoreError::Schema`], [`StoreError::Thread`].
    pub fn open(config: &PostgresConfig) -> Result<Self, StoreError> {
        let (jobs, waiting) = unbounded_channel::<Job>();
        let (members, writes) = channel(QUEUE);
        let (ready_to, ready) = sync_channel(1);
        let settings = config.clone();
        let serve = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let opened = runtime.map_err(StoreError::Thread).and_then(|runtime| {
                // Connections are made on the runtime, and so is what makes them.
                let link = {
                    let _entered = runtime.enter();
                    Rc::new(Link::new(&settings)?)
                };
                runtime.block_on(link.prepare())?;
                Ok((runtime, link))
            });
            match opened {
                Ok((runtime, link)) => {
                    let _waited_for = ready_to.send(Ok(()));
                    link::serve(&runtime, link, waiting, writes);
                }
                Err(error) => drop(ready_to.send(Err(error))),
            }
        };
        let thread =
            std::thread::Builder::new().name("store-postgres".to_owned()).spawn(serve).map_err(StoreError::Thread)?;
        ready.recv().map_err(|_| StoreError::Stopped)??;
        Ok(Self { place: config.place(), jobs: Some(jobs), members: Some(members), thread: Some(thread) })
    }

    /// Has something done on the thread of the connections, and waits for it.
    fn run<T, F>(&self, run: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: AsyncFnOnce(Rc<Link>) -> Result<T, StoreError> + Send + 'static,
    {
        let (result_to, result) = sync_channel(1);
        let job: Job = Box::new(move |link| {
            Box::pin(async move {
                // The caller waits below.
                drop(result_to.send(run(link).await));
            })
        });
        let jobs = self.jobs.as_ref().ok_or(StoreError::Stopped)?;
        jobs.send(job).map_err(|_| StoreError::Stopped)?;
        result.recv().map_err(|_| StoreError::Stopped)?
    }

    /// One statement, or several that need not see the same state.
    fn statement<T, F>(&self, run: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: AsyncFn(&Client) -> Result<T, StoreError> + Send + 'static,
    {
        self.run(async move |link: Rc<Link>| link.statement(run).await)
    }

    /// A transaction that is as if it ran alone.
    fn transaction<T, F>(&self, run: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: AsyncFn(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        self.run(async move |link: Rc<Link>| link.transaction(run).await)
    }

    /// A transaction that locks rows first and then looks for whatever was written under locks on them before.
    fn locking<T, F>(&self, run: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: AsyncFn(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        self.run(async move |link: Rc<Link>| link.locking(run).await)
    }
}

#[cfg(test)]
impl Postgres {
    /// The one text that a statement answers.
    pub(super) fn value(&self, sql: &'static str) -> Result<String, StoreError> {
        self.statement(async move |client| Ok(client.query_one(sql, &[]).await?.try_get(0)?))
    }

    /// A setting, as a connection has it.
    pub(super) fn setting(&self, name: &'static str) -> Result<String, StoreError> {
        self.statement(async move |client| {
            Ok(client.query_one("SELECT current_setting($1)", &[&name]).await?.try_get(0)?)
        })
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.jobs = None;
        self.members = None;
        if let Some(thread) = self.thread.take()
            // The last one told of a decision may be the last to hold this.
            && thread.thread().id() != std::thread::current().id()
        {
            // A panic of the thread was reported to every caller as `Stopped`.
            let _panicked = thread.join();
        }
    }
}

impl Store for Postgres {
    fn spent(&self, nonce: &[u8; NONCE_OCTETS]) -> Result<Option<Spent>, StoreError> {
        let nonce = *nonce;
        self.statement(async move |client| {
            let statement = prepared(client, "SELECT request, decision FROM spent_nonces WHERE nonce = $1").await?;
            let row = client.query_opt(&statement, &[&nonce.as_slice()]).await?;
            row.map(|row| Ok(Spent { request: digest(&row, 0, "request")?, decision: row.try_get(1)? })).transpose()
        })
    }

    fn decide_later(
        &self,
        spending: Spending,
        decision: Decision,
        certificates: Vec<CertificateRecord>,
        done: Done<i64>,
    ) {
        let member = Member::new(spending, decision, certificates, done);
        match &self.members {
            Some(members) => match members.try_send(member) {
                Ok(()) => {}
                Err(TrySendError::Full(member)) => member.refuse(ServerError::Busy.into()),
                Err(TrySendError::Closed(member)) => member.refuse(StoreError::Stopped),
            },
            None => member.refuse(StoreError::Stopped),
        }
    }

    fn record(&self, decision: Decision) -> Result<i64, StoreError> {
        self.statement(async move |client| decisions::insert_decision(client, &decision).await)
    }

    fn decision(&self, id: i64) -> Result<Option<RecordedDecision>, StoreError> {
        self.statement(async move |client| {
            let statement =
                prepared(client, "SELECT kind, account, outcome, commitment FROM decisions WHERE id = $1").await?;
            let Some(row) = client.query_opt(&statement, &[&id]).await? else { return Ok(None) };
            let statement =
                prepared(client, "SELECT serial FROM certificates WHERE decision = $1 ORDER BY place").await?;
            let serials = client.query(&statement, &[&id]).await?;
            let statement =
                prepared(client, "SELECT method, environment, proof, approvers FROM enrolments WHERE decision = $1")
                    .await?;
            let enrolment = client.query_opt(&statement, &[&id]).await?;
            Ok(Some(RecordedDecision {
                id,
                kind: row.try_get(0)?,
                account: row.try_get(1)?,
                accepted: columns::accepted(row.try_get(2)?)?,
                commitment: digest(&row, 3, "commitment")?,
                serials: serials.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?,
                enrolment: enrolment.map(|row| proof(&row, 0)).transpose()?,
            }))
        })
    }

    fn evidence(&self, decision: i64) -> Result<Option<Vec<u8>>, StoreError> {
        self.statement(async move |client| {
            let statement = prepared(client, "SELECT sealed FROM evidence WHERE decision = $1").await?;
            Ok(client.query_opt(&statement, &[&decision]).await?.map(|row| row.try_get(0)).transpose()?)
        })
    }

    fn certificates(&self, decision: i64) -> Result<Vec<Vec<u8>>, StoreError> {
        self.statement(async move |client| {
            let statement = prepared(client, "SELECT der FROM certificates WHERE decision = $1 ORDER BY place").await?;
            let rows = client.query(&statement, &[&decision]).await?;
            Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
        })
    }

    fn issued(&self, serial: &[u8]) -> Result<Option<IssuedCertificate>, StoreError> {
        let serial = serial.to_vec();
        self.statement(async move |client| {
            let statement = prepared(
                client,
                "SELECT account, der, EXISTS (SELECT 1 FROM revocations WHERE revocations.serial = certificates.serial)
                 FROM certificates JOIN decisions ON decisions.id = certificates.decision
                 WHERE certificates.serial = $1",
            )
            .await?;
            let Some(row) = client.query_opt(&statement, &[&serial]).await? else { return Ok(None) };
            let (account, der, is_revoked) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            Ok(Some(IssuedCertificate { account, der, is_revoked }))
        })
    }

    fn valid_certificates(&self, serial: &[u8], now: i64, limit: u32) -> Result<Vec<ValidCertificate>, StoreError> {
        let serial = serial.to_vec();
        self.statement(async move |client| {
            let statement = prepared(
                client,
                "SELECT serial, der, not_after FROM certificates WHERE serial > $1 AND not_after > $2 ORDER BY serial LIMIT $3",
            )
            .await?;
            let rows = client.query(&statement, &[&serial, &now, &i64::from(limit)]).await?;
            let read = |row: &tokio_postgres::Row| -> Result<ValidCertificate, StoreError> {
                Ok(ValidCertificate { serial: row.try_get(0)?, der: row.try_get(1)?, not_after: row.try_get(2)? })
            };
            rows.iter().map(read).collect()
        })
    }

    fn erase_evidence(&self, decision: i64) -> Result<(), StoreError> {
        self.statement(async move |client| {
            client.execute("DELETE FROM evidence WHERE decision = $1", &[&decision]).await?;
            Ok(())
        })
    }

    fn prune(&self, before: i64, nonces_before: i64) -> Result<(), StoreError> {
        // A nonce begins with the time it was minted at, so the oldest come first in the primary key.
        let first_kept = u32::try_from(nonces_before).unwrap_or(0).to_be_bytes();
        self.statement(async move |client| {
            client.execute("DELETE FROM challenges WHERE expires < $1", &[&before]).await?;
            client.execute("DELETE FROM acme_documents WHERE expires < $1", &[&before]).await?;
            client.execute("DELETE FROM spent_nonces WHERE nonce < $1", &[&first_kept.as_slice()]).await?;
            Ok(())
        })
    }
}
