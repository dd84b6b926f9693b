//! Decisions that share a commit.
//!
//! While some are on their way to the server further ones queue up, and all of them go in one statement: one round
//! trip and one durable commit for up to [`GROUP`] decisions. The key of the table of spent nonces says which of them
//! count, whoever else spends the same nonces at the same time.

use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;

use deadpool_postgres::Client;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::Receiver;

use super::ServerError;
use super::decisions::{CertificateColumns, insert_certificates, insert_decision, prepared, spend, unless_taken};
use super::link::Link;
use crate::nonce::NONCE_OCTETS;
use crate::store::{CertificateRecord, Decision, Digest, Done, Spending, StoreError};

/// Decisions that share one statement.
const GROUP: usize = 64;
/// Statements under way at once: the next is written while one waits for the disk.
const FLIGHTS: u32 = 2;

/// Rows are written in the order of their nonces and keys, so that no two groups wait for each other.
///
/// A certificate needs its key for its subject, and the attesting keys that it rests on standing. Where that is not so, its
/// column `key` would be empty, which the table refuses with the whole statement: each of the group is then looked at alone,
/// and told why. The attesting keys are locked against being revoked until this is committed.
const WRITE: &str = "
WITH numbered AS (
    SELECT nextval('decision_numbers') AS id, member.*
    FROM UNNEST($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::bytea[], $7::bytea[], $8::bytea[],
        $9::bytea[]) AS member (place, at, kind, account, outcome, commitment, sealed, nonce, request)
), won AS (
    INSERT INTO spent_nonces (nonce, spent_at, request, decision)
    SELECT nonce, at, request, id FROM numbered ORDER BY nonce, place
    ON CONFLICT (nonce) DO NOTHING
    RETURNING decision
), recorded AS (
    INSERT INTO decisions (id, at, kind, account, outcome, commitment)
    SELECT id, at, kind, account, outcome, commitment FROM numbered JOIN won ON won.decision = numbered.id
), kept AS (
    INSERT INTO evidence (decision, sealed)
    SELECT id, sealed FROM numbered JOIN won ON won.decision = numbered.id
), asked AS (
    SELECT numbered.id, numbered.account, certificate.*
    FROM UNNEST($10::bigint[], $11::bigint[], $12::bytea[], $13::bigint[], $14::bytea[], $15::bytea[], $16::boolean[],
            $17::bytea[], $18::bytea[], $19::text[])
        AS certificate (member, place, serial, not_after, der, attesting_key, is_of_key, key, subject, profile)
    JOIN numbered ON numbered.place = certificate.member
    JOIN won ON won.decision = numbered.id
), claimed AS (
    INSERT INTO certified_keys (key, is_attesting, subject, account, profile, serial, has_others)
    SELECT DISTINCT ON (key) key, is_of_key, subject, account, profile, serial, false FROM asked ORDER BY key, place
    ON CONFLICT (key) DO UPDATE SET profile = excluded.profile, serial = excluded.serial
        WHERE certified_keys.is_attesting = excluded.is_attesting AND certified_keys.subject = excluded.subject
            AND certified_keys.account = excluded.account AND NOT certified_keys.has_others
            AND certified_keys.compromised_at IS NULL
    RETURNING key
), held AS (
    SELECT spki_digest, account, revoked_at IS NULL AS stands FROM attesting_keys WHERE spki_digest = ANY($21::bytea[])
    ORDER BY spki_digest FOR SHARE
), fallen AS (
    SELECT DISTINCT rest.member
    FROM UNNEST($20::bigint[], $21::bytea[]) AS rest (member, spki_digest)
    JOIN held ON held.spki_digest = rest.spki_digest
    JOIN numbered ON numbered.place = rest.member
    WHERE NOT (held.stands AND held.account = numbered.account)
), issued AS (
    INSERT INTO certificates (decision, place, serial, not_after, der, attesting_key, is_of_key, key)
    SELECT asked.id, asked.place, asked.serial, asked.not_after, asked.der, asked.attesting_key, asked.is_of_key,
        CASE WHEN fallen.member IS NULL THEN claimed.key END
    FROM asked LEFT JOIN claimed ON claimed.key = asked.key LEFT JOIN fallen ON fallen.member = asked.member
)
SELECT numbered.place, numbered.id FROM numbered JOIN won ON won.decision = numbered.id";

/// A decision on its way, with whom to tell.
pub(super) struct Member {
    spending: Spending,
    decision: Decision,
    certificates: Vec<CertificateRecord>,
    done: Done<i64>,
}

impl Member {
    pub(super) fn new(
        spending: Spending,
        decision: Decision,
        certificates: Vec<CertificateRecord>,
        done: Done<i64>,
    ) -> Self {
        Self { spending, decision, certificates, done }
    }

    /// Tells that it was not recorded.
    pub(super) fn refuse(self, error: StoreError) {
        (self.done)(Err(error));
    }

    fn rests_on(&self) -> impl Iterator<Item = &Digest> {
        self.certificates.iter().flat_map(|certificate| &certificate.certified.rests_on)
    }

    fn nonce(&self) -> &[u8; NONCE_OCTETS] {
        self.spending.nonce.octets()
    }
}

/// Writes what comes, until nobody can send any more and all of it is told.
pub(super) async fn run(link: Rc<Link>, mut members: Receiver<Member>) {
    let flights = Arc::new(Semaphore::new(usize::try_from(FLIGHTS).unwrap_or(1)));
    loop {
        // The semaphore is never closed.
        let Ok(flight) = Arc::clone(&flights).acquire_owned().await else { return };
        let mut group = Vec::with_capacity(GROUP);
        if members.recv_many(&mut group, GROUP).await == 0 {
            break;
        }
        let link = Rc::clone(&link);
        tokio::task::spawn_local(async move {
            write(&link, group).await;
            drop(flight);
        });
    }
    let _all_landed = flights.acquire_many(FLIGHTS).await;
}

/// Writes a group, of which no two may certify one key in one statement.
async fn write(link: &Link, group: Vec<Member>) {
    let mut rounds: Vec<(HashSet<Digest>, Vec<Member>)> = Vec::new();
    for member in group {
        let keys: HashSet<Digest> = member.certificates.iter().map(|certificate| certificate.certified.key).collect();
        match rounds.iter_mut().find(|(taken, _)| taken.is_disjoint(&keys)) {
            Some((taken, members)) => {
                taken.extend(keys);
                members.push(member);
            }
            None => rounds.push((keys, vec![member])),
        }
    }
    for (_, members) in rounds {
        write_round(link, members).await;
    }
}

async fn write_round(link: &Link, group: Vec<Member>) {
    let ended = commit(link, &group).await;
    if ended.as_ref().is_err_and(is_of_one) {
        // Whichever it was, the others have nothing to do with it.
        for member in group {
            let result = alone(link, &member).await;
            if let Err(error @ (StoreError::Server(_) | StoreError::Stopped | StoreError::Unexpected { .. })) = &result
            {
                tracing::error!(error = crate::text::chain(error), "nothing could be recorded");
            }
            (member.done)(result);
        }
        return;
    }
    if let Err(error) = &ended {
        tracing::error!(error = crate::text::chain(error), "nothing could be recorded");
    }
    for (place, member) in (0_i64..).zip(group) {
        tell(member, shared(&ended), place);
    }
}

/// One decision by itself, which is told why it is not recorded.
async fn alone(link: &Link, member: &Member) -> Result<i64, StoreError> {
    let Member { spending, decision, certificates, .. } = member;
    link.transaction(async |transaction| {
        let id = insert_decision(transaction, decision).await?;
        spend(transaction, spending, id, decision.at).await?;
        insert_certificates(transaction, (id, &decision.account), certificates).await?;
        Ok(id)
    })
    .await
}

/// Whether one member alone may be the cause.
fn is_of_one(error: &StoreError) -> bool {
    matches!(error, StoreError::SerialTaken | StoreError::Server(ServerError::Other(_) | ServerError::Taken { .. }))
}

/// What every member is told from.
fn shared(ended: &Result<Vec<(i64, i64)>, StoreError>) -> Result<&[(i64, i64)], StoreError> {
    match ended {
        Ok(recorded) => Ok(recorded),
        Err(StoreError::SerialTaken) => Err(StoreError::SerialTaken),
        Err(StoreError::Server(error)) => Err(StoreError::Server(error.clone())),
        // Nothing else comes of one statement.
        Err(_) => Err(StoreError::Stopped),
    }
}

fn tell(member: Member, ended: Result<&[(i64, i64)], StoreError>, place: i64) {
    let result = ended.and_then(|recorded| {
        recorded.iter().find(|(at, _)| *at == place).map(|(_, id)| *id).ok_or(StoreError::NonceSpent)
    });
    (member.done)(result);
}

/// Commits a group; the place and the number of each decision that was recorded. Of the others the nonces are spent.
async fn commit(link: &Link, group: &[Member]) -> Result<Vec<(i64, i64)>, StoreError> {
    link.statement(async |client| insert(client, group).await).await
}

async fn insert(client: &Client, group: &[Member]) -> Result<Vec<(i64, i64)>, StoreError> {
    let statement = prepared(client, WRITE).await?;
    let places: Vec<i64> = (0..).zip(group).map(|(place, _)| place).collect();
    let decisions = || group.iter().map(|member| &member.decision);
    let times: Vec<i64> = decisions().map(|decision| decision.at).collect();
    let kinds: Vec<&str> = decisions().map(|decision| decision.kind.as_str()).collect();
    let accounts: Vec<&str> = decisions().map(|decision| decision.account.as_str()).collect();
    let outcomes: Vec<&str> = decisions().map(|decision| decision.outcome.as_str()).collect();
    let commitments: Vec<&[u8]> = decisions().map(|decision| decision.commitment.as_slice()).collect();
    let sealed: Vec<&[u8]> = decisions().map(|decision| decision.sealed.as_slice()).collect();
    let nonces: Vec<&[u8]> = group.iter().map(|member| member.nonce().as_slice()).collect();
    let requests: Vec<&[u8]> = group.iter().map(|member| member.spending.request.as_slice()).collect();
    let members: Vec<i64> =
        (0..).zip(group).flat_map(|(place, member)| member.certificates.iter().map(move |_| place)).collect();
    let issued = CertificateColumns::new(group.iter().map(|member| member.certificates.as_slice()));
    let (resting, rests): (Vec<i64>, Vec<&[u8]>) =
        (0..).zip(group).flat_map(|(place, member)| member.rests_on().map(move |key| (place, key.as_slice()))).unzip();
    let rows = client
        .query(
            &statement,
            &[
                &places,
                &times,
                &kinds,
                &accounts,
                &outcomes,
                &commitments,
                &sealed,
                &nonces,
                &requests,
                &members,
                &issued.places,
                &issued.serials,
                &issued.ends,
                &issued.certificates,
                &issued.keys,
                &issued.of_keys,
                &issued.certified,
                &issued.subjects,
                &issued.profiles,
                &resting,
                &rests,
            ],
        )
        .await
        .map_err(unless_taken)?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}
