//! The rows that every decision leaves.

use deadpool_postgres::{GenericClient, Transaction};
use tokio_postgres::{Row, Statement};

use super::ServerError;
use super::certified_keys::{check_rests, claim};
use crate::store::{CertificateRecord, Decision, Digest, Proof, Spending, StoreError, columns};

/// The name of the constraint on serial numbers.
const SERIALS: &str = "certificates_serial";

/// The statement, compiled once on each connection.
pub(super) async fn prepared(client: &impl GenericClient, sql: &str) -> Result<Statement, StoreError> {
    Ok(client.prepare_cached(sql).await?)
}

/// A serial number that is taken is told as such.
pub(super) fn unless_taken(error: tokio_postgres::Error) -> StoreError {
    match ServerError::from(error) {
        error if error.is_of(SERIALS) => StoreError::SerialTaken,
        error => StoreError::Server(error),
    }
}

/// A digest out of a column.
pub(super) fn digest(row: &Row, index: usize, column: &'static str) -> Result<Digest, StoreError> {
    let octets: &[u8] = row.try_get(index)?;
    octets.try_into().map_err(|_| StoreError::Unexpected { column })
}

/// A proof out of four columns.
pub(super) fn proof(row: &Row, first: usize) -> Result<Proof, StoreError> {
    let column = |offset: usize| first.saturating_add(offset);
    let digest = digest(row, column(2), "proof")?;
    columns::proof(row.try_get(first)?, row.try_get(column(1))?, digest, row.try_get(column(3))?)
}

const INSERT_DECISION: &str = "
WITH recorded AS (
    INSERT INTO decisions (at, kind, account, outcome, commitment) VALUES ($1, $2, $3, $4, $5) RETURNING id
), kept AS (
    INSERT INTO evidence (decision, sealed) SELECT id, $6 FROM recorded
)
SELECT id FROM recorded";

/// The decision and its evidence, in one statement.
pub(super) async fn insert_decision(client: &impl GenericClient, decision: &Decision) -> Result<i64, StoreError> {
    let statement = prepared(client, INSERT_DECISION).await?;
    let Decision { at, kind, account, outcome, commitment, sealed } = decision;
    let row = client
        .query_one(&statement, &[at, &kind.as_str(), account, &outcome.as_str(), &commitment.as_slice(), sealed])
        .await?;
    Ok(row.try_get(0)?)
}

/// The row that makes a nonce spent; the primary key lets one transaction alone write it.
pub(super) async fn spend(
    transaction: &Transaction<'_>,
    spending: &Spending,
    decision: i64,
    at: i64,
) -> Result<(), StoreError> {
    let statement = prepared(
        transaction,
        "INSERT INTO spent_nonces (nonce, spent_at, request, decision) VALUES ($1, $2, $3, $4)
         ON CONFLICT (nonce) DO NOTHING",
    )
    .await?;
    let Spending { nonce, request } = spending;
    let written =
        transaction.execute(&statement, &[&nonce.octets().as_slice(), &at, &request.as_slice(), &decision]).await?;
    if written == 0 { Err(StoreError::NonceSpent) } else { Ok(()) }
}

/// Certificates, a column each, for several decisions or one.
pub(super) struct CertificateColumns<'a> {
    pub(super) places: Vec<i64>,
    pub(super) serials: Vec<&'a [u8]>,
    pub(super) ends: Vec<i64>,
    pub(super) certificates: Vec<&'a [u8]>,
    pub(super) keys: Vec<Option<&'a [u8]>>,
    pub(super) of_keys: Vec<bool>,
    pub(super) certified: Vec<&'a [u8]>,
    pub(super) subjects: Vec<&'a [u8]>,
    pub(super) profiles: Vec<&'a str>,
}

impl<'a> CertificateColumns<'a> {
    pub(super) fn new(decisions: impl Iterator<Item = &'a [CertificateRecord]> + Clone) -> Self {
        let all = || decisions.clone().flatten();
        let keys = || all().map(|certificate| columns::key_use_columns(&certificate.key_use));
        Self {
            places: decisions.clone().flat_map(|of_one| (0..).zip(of_one).map(|(place, _)| place)).collect(),
            serials: all().map(|certificate| certificate.serial.as_slice()).collect(),
            ends: all().map(|certificate| certificate.not_after).collect(),
            certificates: all().map(|certificate| certificate.der.as_slice()).collect(),
            keys: keys().map(|(key, _)| key.map(Digest::as_slice)).collect(),
            of_keys: keys().map(|(_, is_of_key)| is_of_key).collect(),
            certified: all().map(|certificate| certificate.certified.key.as_slice()).collect(),
            subjects: all().map(|certificate| certificate.certified.subject.as_slice()).collect(),
            profiles: all().map(|certificate| certificate.certified.profile.as_str()).collect(),
        }
    }
}

/// The certificates of a decision, unless a key is another's or what they rest on has fallen since it was judged.
pub(super) async fn insert_certificates(
    transaction: &Transaction<'_>,
    (decision, account): (i64, &str),
    certificates: &[CertificateRecord],
) -> Result<(), StoreError> {
    if certificates.is_empty() {
        return Ok(());
    }
    for CertificateRecord { certified, serial, .. } in certificates {
        check_rests(transaction, certified, account).await?;
        claim(transaction, certified, account, serial).await?;
    }
    let statement = prepared(
        transaction,
        "INSERT INTO certificates (decision, place, serial, not_after, der, attesting_key, is_of_key, key)
         SELECT $1, * FROM UNNEST($2::bigint[], $3::bytea[], $4::bigint[], $5::bytea[], $6::bytea[], $7::boolean[],
             $8::bytea[])",
    )
    .await?;
    let rows = CertificateColumns::new(std::iter::once(certificates));
    let CertificateColumns { places, serials, ends, certificates, keys, of_keys, certified, .. } = &rows;
    transaction
        .execute(&statement, &[&decision, places, serials, ends, certificates, keys, of_keys, certified])
        .await
        .map_err(unless_taken)?;
    Ok(())
}
