//! The connections to the server, and the thread on which everything that speaks to it runs.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use deadpool_postgres::{
    Client, Hook, HookError, Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime, Transaction,
};
use tokio::sync::mpsc::{Receiver, UnboundedReceiver};
use tokio::task::LocalSet;
use tokio_postgres::{IsolationLevel, NoTls};

use super::groups::{self, Member};
use super::tls::Tls;
use super::{ServerError, schema};
use crate::config::PostgresConfig;
use crate::store::StoreError;

/// How long an operation may take, with whatever it waits for.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// How long a connection may take to be made, and a free one to come by.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// How often a transaction is tried that others get in the way of.
pub(super) const ATTEMPTS: u32 = 12;
/// The longest pause before the second attempt; it doubles with every further one, up to the limit.
const PAUSE_MILLIS: u64 = 4;
/// The longest pause.
const PAUSE_MILLIS_MAX: u64 = 256;
/// What the server's messages call this program.
const APPLICATION: &str = "vouchsafe-authority";

/// Settings of every connection: nothing waits for ever, and a transaction that was reported is on the disk.
const SETTINGS: &str = "
SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED;
SET lock_timeout = '4s';
SET statement_timeout = '8s';
SET idle_in_transaction_session_timeout = '10s';
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit', true) = 'off';
";

/// Something to be done on the thread of the connections.
pub(super) type Job = Box<dyn FnOnce(Rc<Link>) -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// The connections.
pub(super) struct Link {
    pool: Pool,
}

impl Link {
    pub(super) fn new(config: &PostgresConfig) -> Result<Self, ServerError> {
        let mut client = config.client.clone();
        client.application_name(APPLICATION).connect_timeout(CONNECT_PATIENCE).tcp_user_timeout(PATIENCE);
        if let Some(path) = &config.password_file {
            let unreadable =
                |error| ServerError::PasswordFile { path: path.clone(), error: std::sync::Arc::new(error) };
            let password = std::fs::read_to_string(path).map_err(unreadable)?;
            client.password(password.trim_end_matches(['\r', '\n']));
        } else if client.get_password().is_none() {
            // A server that asks for one says itself that this is not it.
            client.password("");
        }
        let manage = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = match &config.tls_roots {
            Some(path) => Manager::from_config(client, Tls::read(path)?, manage),
            None => Manager::from_config(client, NoTls, manage),
        };
        let settings = Hook::async_fn(|client: &mut deadpool_postgres::ClientWrapper, _| {
            Box::pin(async move { client.batch_execute(SETTINGS).await.map_err(HookError::Backend) })
        });
        let pool = Pool::builder(manager)
            .max_size(config.connections)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(CONNECT_PATIENCE))
            .create_timeout(Some(CONNECT_PATIENCE))
            .recycle_timeout(Some(CONNECT_PATIENCE))
            .post_create(settings)
            .build()
            .map_err(|_| ServerError::Busy)?;
        Ok(Self { pool })
    }

    /// Checks the server and creates the tables where there are none.
    pub(super) async fn prepare(&self) -> Result<(), StoreError> {
        let mut client = self.pool.get().await.map_err(ServerError::from)?;
        schema::check_server(&client).await?;
        schema::migrate(&mut client).await
    }

    /// One statement, or several that need not see the same state. Each is durable by itself.
    pub(super) async fn statement<T>(
        &self,
        run: impl AsyncFn(&Client) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        again(async || self.attempt(async |client| run(client).await).await).await
    }

    /// A transaction that is as if it ran alone.
    pub(super) async fn transaction<T>(
        &self,
        run: impl AsyncFn(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.isolated(IsolationLevel::Serializable, run).await
    }

    /// A transaction each statement of which sees what is committed when it begins: for what locks rows first and then looks
    /// for whatever was written under locks on them before.
    pub(super) async fn locking<T>(
        &self,
        run: impl AsyncFn(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.isolated(IsolationLevel::ReadCommitted, run).await
    }

    async fn isolated<T>(
        &self,
        level: IsolationLevel,
        run: impl AsyncFn(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        again(async || {
            self.attempt(async |client| {
                let start = client.build_transaction().isolation_level(level);
                let transaction = start.start().await?;
                let value = run(&transaction).await?;
                transaction.commit().await?;
                Ok(value)
            })
            .await
        })
        .await
    }

    async fn attempt<T>(&self, run: impl AsyncFnOnce(&mut Client) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut client = self.pool.get().await.map_err(ServerError::from)?;
        match tokio::time::timeout(PATIENCE, run(&mut client)).await {
            Ok(result) => result,
            Err(_elapsed) => {
                // Whatever comes over this connection yet belongs to nobody.
                drop(Object::take(client));
                Err(ServerError::Silent.into())
            }
        }
    }
}

/// Tries a transaction again that others got in the way of.
async fn again<T>(attempt: impl AsyncFn() -> Result<T, StoreError>) -> Result<T, StoreError> {
    let mut tried = 0;
    loop {
        let result = attempt().await;
        tried += 1;
        match &result {
            Err(StoreError::Server(error)) if error.is_worth_another_try() && tried < ATTEMPTS => pause(tried).await,
            Ok(_) | Err(_) => return result,
        }
    }
}

/// A pause of random length, so that those who met do not meet again.
pub(super) async fn pause(attempt: u32) {
    let longest = PAUSE_MILLIS.checked_shl(attempt).unwrap_or(PAUSE_MILLIS_MAX).min(PAUSE_MILLIS_MAX);
    let mut random = [0_u8; 2];
    // Without randomness the pause is the longest.
    let share = match aws_lc_rs::rand::fill(&mut random) {
        Ok(()) => u64::from(u16::from_be_bytes(random)),
        Err(_) => u64::from(u16::MAX),
    };
    tokio::time::sleep(Duration::from_micros(longest.saturating_mul(1_000).saturating_mul(share) >> 16)).await;
}

/// Runs what comes until nobody can send any more and what was sent is done.
pub(super) fn serve(
    runtime: &tokio::runtime::Runtime,
    link: Rc<Link>,
    mut jobs: UnboundedReceiver<Job>,
    members: Receiver<Member>,
) {
    LocalSet::new().block_on(runtime, async move {
        let groups = tokio::task::spawn_local(groups::run(Rc::clone(&link), members));
        while let Some(job) = jobs.recv().await {
            tokio::task::spawn_local(job(Rc::clone(&link)));
        }
        // Callers wait for their jobs, so none is left; of what nobody waits for, this is the end.
        let _ended = groups.await;
    });
}
