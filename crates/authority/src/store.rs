//! What the authority remembers: spent nonces, challenges, devices, certificates, decisions, evidence.
//!
//! [`Store`] is the joint; [`Sqlite`] and [`Postgres`] implement it. Every method is one transaction: what it
//! writes is durable when it returns, and either all of it or nothing is there.

pub(crate) mod acme;
mod attesting_keys;
mod binding;
mod certified_keys;
mod columns;
mod inventory;
mod postgres;
mod schema;
mod sqlite;
#[cfg(test)]
mod tests;
mod writer;

use std::path::Path;
use std::sync::Arc;

use rusqlite::ErrorCode;
use thiserror::Error;

use crate::config::DatabaseConfig;
use crate::nonce::{NONCE_OCTETS, Nonce};

pub use acme::{ACME_DOCUMENT_OCTETS_MAX, AcmeChange, AcmeDocument, AcmeKind, AcmeStore};
pub use attesting_keys::{
    AkMaterial, AttestingKeyRow, AttestingKeyStore, Challenge, Dependent, Device, EnrolledKey, Expected, KeyFacts,
    KeyUse, Proof, Replacement, Revocation, RevocationReason, Revoked,
};
pub(crate) use certified_keys::Claim;
pub use certified_keys::{Certified, CertifiedKeyStore, KeyHolder, Validities, Validity};
pub use inventory::{InventoryImport, InventoryRow, InventoryStore, ListedIdentity};
pub use postgres::{Postgres, ServerError};
pub use sqlite::Sqlite;

/// Octets of a challenge's identifier.
pub const CHALLENGE_ID_OCTETS: usize = 16;
/// Octets of a SHA-256 digest.
pub const DIGEST_OCTETS: usize = 32;

/// A SHA-256 digest or an HMAC-SHA-256 value.
pub type Digest = [u8; DIGEST_OCTETS];

/// Why the store did not do what was asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A document of the ACME server is there already, is no longer, or was replaced since it was read.
    #[error("another request changed the same document")]
    AcmeConflict,
    /// The attestation key is bound to another device.
    #[error("the attestation key belongs to another device")]
    AkBoundElsewhere,
    /// Another baseline is recorded for the device.
    #[error("another baseline is recorded for the device")]
    BaselineRecorded,
    /// The database is damaged, or was asked for what it cannot do.
    #[error("database")]
    Database(#[source] rusqlite::Error),
    /// The device name is bound to another module.
    #[error("the device name is bound to another module")]
    DeviceBoundElsewhere,
    /// The account has an attesting key on the device already, and the method vouches for one alone.
    #[error("the account has an attesting key on the device, and the method vouches for one alone")]
    DeviceHasKey,
    /// The module is bound to another device name.
    #[error("the module is bound to another device name")]
    EkBoundElsewhere,
    /// Two rows of the inventory name one module.
    #[error("another row of the inventory names the module")]
    InventoryConflict,
    /// There is no device of the name.
    #[error("there is no device of this name")]
    NoSuchDevice,
    /// There is no attesting key with the digest.
    #[error("there is no attesting key with this digest")]
    NoSuchKey,
    /// There is no room for another row.
    #[error("the disk of the database is full; free some space and requests are served again")]
    DiskFull,
    /// The folder or file of the database cannot be read or written.
    #[error("the database file cannot be read or written; check its disk and the limits of this process")]
    Io(#[source] rusqlite::Error),
    /// Another program has the database locked.
    #[error("another program has the database locked; end it and requests are served again")]
    Locked,
    /// The key is an attesting key, which gets no other certificates.
    #[error("the key is an attesting key, which gets no other certificates")]
    KeyAttests,
    /// The key has an ordinary certificate, and becomes no attesting key.
    #[error("the key has a certificate that is none of an attesting key, and becomes none")]
    KeyCertified,
    /// A certificate of the key was revoked because others may know it.
    #[error("a certificate of the key was revoked because others may know it; it is never certified again")]
    KeyCompromised,
    /// The key is certified for another subject, or for another account.
    #[error("the key is certified for another subject or account")]
    KeyHasOtherSubject,
    /// An attesting key on whose word a certificate is issued is another account's.
    #[error("the attesting key is another account's")]
    KeyOfOtherAccount,
    /// The attesting key is revoked.
    #[error("the attesting key is revoked")]
    KeyRevoked,
    /// The nonce is spent already.
    #[error("the nonce is spent")]
    NonceSpent,
    /// The disk or the database file is read-only.
    #[error("the disk or file of the database is read-only; make it writable and requests are served again")]
    ReadOnly,
    /// The database was written by a version with another schema.
    #[error("database schema {found}, expected {expected}")]
    Schema {
        /// Version found.
        found: i64,
        /// Version of this program.
        expected: i64,
    },
    /// The database server, or the way to it.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// A certificate with this serial number exists.
    #[error("the serial number is taken")]
    SerialTaken,
    /// The writer has stopped: the program is ending, or its thread failed.
    #[error("the writer has stopped")]
    Stopped,
    /// The thread of the writer cannot be started.
    #[error("the writer cannot be started")]
    Thread(#[source] std::io::Error),
    /// A column holds a value that this program does not write.
    #[error("column {column} holds an unexpected value")]
    Unexpected {
        /// The column.
        column: &'static str,
    },
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::DiskFull,
            Some(ErrorCode::ReadOnly) => Self::ReadOnly,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked,
            Some(
                ErrorCode::SystemIoFailure
                | ErrorCode::CannotOpen
                | ErrorCode::PermissionDenied
                | ErrorCode::FileLockingProtocolFailed
                | ErrorCode::NoLargeFileSupport,
            ) => Self::Io(error),
            // Damage, misuse and what SQLite may yet come to say: no state of the disk that passes.
            _ => Self::Database(error),
        }
    }
}

/// A nonce on its way to being spent, with the request that it is spent for.
#[derive(Debug)]
pub struct Spending {
    nonce: Nonce,
    request: Digest,
}

impl Spending {
    /// Binds the nonce to the keyed digest of the request that uses it.
    #[must_use]
    pub const fn new(nonce: Nonce, request: Digest) -> Self {
        Self { nonce, request }
    }

    /// The octets of the nonce.
    pub(crate) const fn nonce(&self) -> &[u8; NONCE_OCTETS] {
        self.nonce.octets()
    }
}

/// A nonce that was spent, as the row says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spent {
    /// Keyed digest of the request that spent it.
    pub request: Digest,
    /// Number of the decision made.
    pub decision: i64,
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecisionKind {
    /// An appraisal without a certificate.
    Appraisal,
    /// An attestation-key challenge was asked for.
    Challenge,
    /// An attestation key was to be activated.
    Activation,
    /// A certificate was asked for.
    Certificate,
    /// The certificates of an attesting key were renewed.
    Renewal,
    /// An attesting key was revoked.
    Revocation,
    /// A module was approved to take the place of another.
    Replacement,
    /// An account was let onto a device of another.
    Sharing,
    /// The inventory was changed.
    Inventory,
    /// A request is sent to a CA elsewhere.
    Forwarding,
}

impl DecisionKind {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Appraisal => "appraisal",
            Self::Challenge => "challenge",
            Self::Activation => "activation",
            Self::Certificate => "certificate",
            Self::Renewal => "renewal",
            Self::Revocation => "revocation",
            Self::Replacement => "replacement",
            Self::Sharing => "sharing",
            Self::Inventory => "inventory",
            Self::Forwarding => "forwarding",
        }
    }
}

/// How it was decided. The record says no more than this in clear; reasons are in the sealed evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Granted.
    Accepted,
    /// Refused.
    Refused,
}

impl Outcome {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
        }
    }
}

/// A decision to be recorded.
#[derive(Clone, Debug)]
pub struct Decision {
    /// Seconds since the epoch.
    pub at: i64,
    /// What was asked for.
    pub kind: DecisionKind,
    /// By whom; empty for an anonymous caller.
    pub account: String,
    /// How it was decided.
    pub outcome: Outcome,
    /// Salted commitment to request and report; the salt is inside `sealed`.
    pub commitment: Digest,
    /// The request, the report and the salt, encrypted.
    pub sealed: Vec<u8>,
}

/// A recorded decision, without its evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedDecision {
    /// Its number.
    pub id: i64,
    /// What was asked for.
    pub kind: String,
    /// By whom.
    pub account: String,
    /// How it was decided.
    pub accepted: bool,
    /// The salted commitment.
    pub commitment: Digest,
    /// Serial number of the certificate that was issued with it, if one was.
    pub serials: Vec<Vec<u8>>,
    /// How the attesting key was tied to its module, where one was enrolled or renewed.
    pub enrolment: Option<Proof>,
}

/// A certificate to be recorded.
#[derive(Clone, Debug)]
pub struct CertificateRecord {
    /// Content octets of the serial number.
    pub serial: Vec<u8>,
    /// The certificate, DER.
    pub der: Vec<u8>,
    /// End of validity, seconds since the epoch.
    pub not_after: i64,
    /// What it has to do with an attesting key.
    pub key_use: KeyUse,
    /// The key that it certifies, and for whom.
    pub certified: Certified,
}

/// Opens the database of a configuration: the server that it names, or else the file at `path`.
///
/// # Errors
/// As [`Sqlite::open`] and [`Postgres::open`].
pub fn open(database: &DatabaseConfig, path: &Path) -> Result<Arc<dyn Store>, StoreError> {
    Ok(match database {
        DatabaseConfig::Sqlite => Arc::new(Sqlite::open(path)?),
        DatabaseConfig::Postgres(server) => Arc::new(Postgres::open(server)?),
    })
}

/// A certificate that was issued here, as the rows say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedCertificate {
    /// The account that it was issued for.
    pub account: String,
    /// The certificate, DER.
    pub der: Vec<u8>,
    /// Whether it is revoked.
    pub is_revoked: bool,
}

/// A certificate that is valid still.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidCertificate {
    /// Content octets of the serial number.
    pub serial: Vec<u8>,
    /// The certificate, DER.
    pub der: Vec<u8>,
    /// End of validity, seconds since the epoch.
    pub not_after: i64,
}

/// Is told how a write ended, once that is known; on a thread that it must not hold up.
pub type Done<T> = Box<dyn FnOnce(Result<T, StoreError>) + Send>;

/// The authority's memory. Implementations are shared between threads; every method may block.
pub trait Store:
    AcmeStore + AttestingKeyStore + CertifiedKeyStore + InventoryStore + std::fmt::Debug + Send + Sync
{
    /// The row of a spent nonce.
    ///
    /// # Errors
    /// [`StoreError::Database`], as for every method below.
    fn spent(&self, nonce: &[u8; NONCE_OCTETS]) -> Result<Option<Spent>, StoreError>;

    /// Spends the nonce and records a decision with the certificates issued, none for a refusal. Returns the decision's number.
    ///
    /// Whose the certified keys are, and whether the attesting keys that a certificate rests on are revoked, is asked in the
    /// same transaction.
    ///
    /// # Errors
    /// [`StoreError::NonceSpent`], [`StoreError::SerialTaken`], [`StoreError::KeyRevoked`],
    /// [`StoreError::KeyOfOtherAccount`], [`StoreError::KeyAttests`], [`StoreError::KeyCertified`],
    /// [`StoreError::KeyCompromised`], [`StoreError::KeyHasOtherSubject`]; nothing is recorded then.
    fn decide(
        &self,
        spending: Spending,
        decision: Decision,
        certificates: Vec<CertificateRecord>,
    ) -> Result<i64, StoreError> {
        let (result_to, result_from) = std::sync::mpsc::sync_channel(1);
        // The caller waits below.
        let done = move |result| drop(result_to.send(result));
        self.decide_later(spending, decision, certificates, Box::new(done));
        result_from.recv().map_err(|_| StoreError::Stopped)?
    }

    /// As [`Store::decide`], for callers that do not wait; they are told the same result.
    fn decide_later(
        &self,
        spending: Spending,
        decision: Decision,
        certificates: Vec<CertificateRecord>,
        done: Done<i64>,
    );

    /// Records a decision that spends no nonce, such as a failed activation.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    fn record(&self, decision: Decision) -> Result<i64, StoreError>;

    /// A decision.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    fn decision(&self, id: i64) -> Result<Option<RecordedDecision>, StoreError>;

    /// The sealed evidence of a decision; nothing once it was erased.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    fn evidence(&self, decision: i64) -> Result<Option<Vec<u8>>, StoreError>;

    /// The certificates recorded with a decision, DER, in the order of issue.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    fn certificates(&self, decision: i64) -> Result<Vec<Vec<u8>>, StoreError>;

    /// The certificate with this serial number that was issued here, and for whom.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    fn issued(&self, serial: &[u8]) -> Result<Option<IssuedCertificate>, StoreError>;

    /// Certificates that are valid after `now`, in the order of their serial numbers, behind `serial`: at most `limit`.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    fn valid_certificates(&self, serial: &[u8], now: i64, limit: u32) -> Result<Vec<ValidCertificate>, StoreError>;

    /// Erases the evidence of a decision; its commitment stays and can no longer be opened.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    fn erase_evidence(&self, decision: i64) -> Result<(), StoreError>;

    /// Removes challenges that expired before `before`, and spent nonces that were minted before
    /// `nonces_before`, which must lie at least one nonce lifetime back.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    fn prune(&self, before: i64, nonces_before: i64) -> Result<(), StoreError>;
}
