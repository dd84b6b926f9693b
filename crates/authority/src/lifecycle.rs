//! The life of attesting keys after their enrolment, as administrators see it: which there are, which expire, what rests on
//! them; revocation, replacement, sharing; and the inventory.
//!
//! [`Administration`] works on the database of an installation, whether its server runs or not.

use std::sync::Arc;

use serde_json::{Value, json};
use thiserror::Error;

use crate::ca::{Hierarchy, HierarchyError};
use crate::certificate::DAY_SECONDS;
use crate::clock::Clock;
use crate::config::{Config, is_name};
use crate::error::Error;
use crate::init::{InitError, database_file, read_secret};
use crate::inventory::{InventoryReport, import};
use crate::record::{RecordError, Recorder};
use crate::request::{InventoryRequest, RevocationRequest};
use crate::revocation::{self, Revoked};
use crate::service::decision;
use crate::store::{
    self, AttestingKeyRow, Decision, DecisionKind, Dependent, Digest, InventoryRow, Outcome, Proof, Replacement,
    Revocation, RevocationReason, Store, StoreError,
};
use crate::text::to_hex;

pub use crate::revocation_list::ListName;

/// For how many days a replacement may be approved.
const REPLACEMENT_DAYS_MAX: i64 = 90;
/// Octets of an approver's name.
const APPROVER_OCTETS: usize = 128;

/// Why an installation could not be administered.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AdministrationError {
    /// The name of who decides is empty, too long or not printable.
    #[error("the name of who decides must be 1 to 128 printable characters")]
    Approver,
    /// The leave for a replacement would last too long, or not at all.
    #[error("a replacement may be approved for 1 to {REPLACEMENT_DAYS_MAX} days")]
    Days,
    /// The signing keys cannot be loaded.
    #[error(transparent)]
    Hierarchy(#[from] HierarchyError),
    /// There is no usable installation.
    #[error(transparent)]
    Init(#[from] InitError),
    /// A name is none.
    #[error("{0:?} must be 1 to 64 letters, digits, '-', '_', '.' or '@'")]
    Name(String),
    /// The keys for records cannot be used.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// What was asked for is refused, or failed.
    #[error(transparent)]
    Refused(#[from] Error),
    /// The database cannot be opened, or refuses.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a revocation came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationReport {
    /// The certificates that rest on the key and were still valid, each with whether it is revoked now.
    pub dependents: Vec<Dependent>,
    /// How many certificates were revoked by this.
    pub revoked: usize,
}

/// An installation as its administrators see it.
#[derive(Debug)]
pub struct Administration {
    store: Arc<dyn Store>,
    recorder: Recorder,
    hierarchy: Hierarchy,
    clock: Arc<dyn Clock>,
    expiry_warning_days: i64,
}

impl Administration {
    /// Opens the installation that [`crate::init`] created.
    ///
    /// # Errors
    /// What of it cannot be read.
    pub fn open(config: &Config, clock: Arc<dyn Clock>) -> Result<Self, AdministrationError> {
        let secret = read_secret(config)?;
        Ok(Self {
            store: store::open(&config.database, &database_file(config))?,
            recorder: Recorder::new(&secret)?,
            hierarchy: Hierarchy::load(config)?,
            clock,
            expiry_warning_days: config.enrolment.expiry_warning_days,
        })
    }

    fn decision(&self, kind: DecisionKind, approver: &str, report: &Value) -> Result<Decision, AdministrationError> {
        let report = report.to_string();
        // No account's name has a colon.
        let by = administrator(approver);
        let decided = (kind, by.as_str(), Outcome::Accepted);
        Ok(decision(&self.recorder, self.clock.now_unix_seconds(), decided, report.as_bytes(), &[])?)
    }

    /// Every attesting key, by device and time.
    ///
    /// # Errors
    /// [`AdministrationError::Store`].
    pub fn attesting_keys(&self) -> Result<Vec<AttestingKeyRow>, AdministrationError> {
        Ok(self.store.attesting_keys()?)
    }

    /// The attesting keys whose last certificate expires within `days`, or within those of the configuration, or has
    /// expired; not those that are revoked.
    ///
    /// # Errors
    /// [`AdministrationError::Store`].
    pub fn expiring(&self, days: Option<i64>) -> Result<Vec<AttestingKeyRow>, AdministrationError> {
        let keys = self.store.attesting_keys()?;
        Ok(expiring(keys, self.clock.now_unix_seconds(), days.unwrap_or(self.expiry_warning_days)))
    }

    /// The certificates that rest on an attesting key and are valid still.
    ///
    /// # Errors
    /// [`AdministrationError::Store`].
    pub fn dependents(&self, key: &Digest) -> Result<Vec<Dependent>, AdministrationError> {
        Ok(self.store.dependents(key, self.clock.now_unix_seconds())?)
    }

    /// Revokes an attesting key with its certificates and, where `dependents` says so, the certificates that rest on it.
    ///
    /// # Errors
    /// [`AdministrationError::Approver`]; [`StoreError::NoSuchKey`].
    pub fn revoke(
        &self,
        key: &Digest,
        reason: RevocationReason,
        approver: &str,
        dependents: bool,
    ) -> Result<RevocationReport, AdministrationError> {
        check_approver(approver)?;
        let report = json!({
            "attesting_key": to_hex(key),
            "reason": reason.label(),
            "dependents": dependents,
        });
        let decision = self.decision(DecisionKind::Revocation, approver, &report)?;
        let revocation = Revocation { at: decision.at, reason, approver: approver.to_owned() };
        let revoked = self.store.revoke(key, revocation, dependents, decision)?;
        Ok(RevocationReport { dependents: self.dependents(key)?, revoked })
    }

    /// Revokes certificates that are none of attesting keys: one, or all of a key.
    ///
    /// # Errors
    /// [`AdministrationError::Approver`]; [`Error::NoSuchCertificate`] where nothing was issued that is meant, [`Error::Rejected`]
    /// where a certificate of an attesting key is meant, or one that another CA issued.
    pub fn revoke_certificates(
        &self,
        request: &RevocationRequest,
        approver: &str,
    ) -> Result<Revoked, AdministrationError> {
        check_approver(approver)?;
        let (parts, now) = ((&*self.store, &self.recorder, &self.hierarchy), self.clock.now_unix_seconds());
        Ok(revocation::revoke(parts, now, &administrator(approver), request)?)
    }

    /// Gives leave for another module to take the place of a device's that failed, for `days` and once, and revokes the
    /// failed one's attesting keys. Returns how many those were.
    ///
    /// # Errors
    /// [`AdministrationError::Approver`], [`AdministrationError::Days`]; [`StoreError::NoSuchDevice`].
    pub fn approve_replacement(&self, device: &str, approver: &str, days: i64) -> Result<usize, AdministrationError> {
        check_approver(approver)?;
        if !(1..=REPLACEMENT_DAYS_MAX).contains(&days) {
            return Err(AdministrationError::Days);
        }
        let decision = self.decision(DecisionKind::Replacement, approver, &json!({"device": device, "days": days}))?;
        let until = decision.at.saturating_add(days.saturating_mul(DAY_SECONDS));
        let revocation = Revocation {
            at: decision.at,
            reason: RevocationReason::CessationOfOperation,
            approver: approver.to_owned(),
        };
        let replacement = Replacement { device: device.to_owned(), until, approver: approver.to_owned() };
        Ok(self.store.approve_replacement(replacement, revocation, decision)?)
    }

    /// Lets another account enroll attesting keys of its own on a device, as for its own partition of a module.
    ///
    /// # Errors
    /// [`AdministrationError::Approver`], [`AdministrationError::Name`]; [`StoreError::NoSuchDevice`].
    pub fn share(&self, device: &str, account: &str, approver: &str) -> Result<(), AdministrationError> {
        check_approver(approver)?;
        if !is_name(account) {
            return Err(AdministrationError::Name(account.to_owned()));
        }
        let report = json!({"device": device, "account": account});
        let decision = self.decision(DecisionKind::Sharing, approver, &report)?;
        Ok(self.store.share_device(device, account, decision)?)
    }

    /// Brings rows into the inventory, or says what that would do. The approver is recorded as `administrator:NAME`, which no account
    /// can be called: what a person at this machine says of themselves is not what an account's token showed.
    ///
    /// # Errors
    /// [`AdministrationError::Approver`]; [`Error::Rejected`] with every row that stands against it.
    pub fn import_inventory(
        &self,
        csv: Vec<u8>,
        approver: &str,
        is_dry_run: bool,
    ) -> Result<InventoryReport, AdministrationError> {
        check_approver(approver)?;
        let request = InventoryRequest { csv, is_dry_run };
        let approver = administrator(approver);
        Ok(import(&*self.store, &self.recorder, self.clock.now_unix_seconds(), &approver, &request)?)
    }

    /// Every row of the inventory, by device.
    ///
    /// # Errors
    /// [`AdministrationError::Store`].
    pub fn inventory(&self) -> Result<Vec<InventoryRow>, AdministrationError> {
        Ok(self.store.inventory()?)
    }

    /// Removes a device from the inventory; what was enrolled by it stays. Whether it was listed.
    ///
    /// # Errors
    /// [`AdministrationError::Approver`], [`AdministrationError::Store`].
    pub fn remove_listed(&self, device: &str, approver: &str) -> Result<bool, AdministrationError> {
        check_approver(approver)?;
        let decision = self.decision(DecisionKind::Inventory, approver, &json!({"removed": device}))?;
        Ok(self.store.remove_listed(device, decision)?)
    }

    /// A revocation list as of now, DER.
    ///
    /// # Errors
    /// [`AdministrationError::Refused`], [`AdministrationError::Store`].
    pub fn revocation_list(&self, list: ListName) -> Result<Vec<u8>, AdministrationError> {
        let now = self.clock.now_unix_seconds();
        let revoked = self.store.revocations(now)?;
        Ok(crate::revocation_list::make(&self.hierarchy, list, &revoked, now).map_err(Error::from)?)
    }
}

/// The keys whose last certificate expires within `days` or has expired, revoked ones aside.
pub(crate) fn expiring(keys: Vec<AttestingKeyRow>, now: i64, days: i64) -> Vec<AttestingKeyRow> {
    let until = now.saturating_add(days.saturating_mul(DAY_SECONDS));
    keys.into_iter().filter(|key| key.revocation.is_none() && key.not_after <= until).collect()
}

/// How a key was tied to its module, as records and reports say it.
pub fn proof_json(proof: &Proof) -> Value {
    json!({
        "method": proof.method.label(),
        "environment": proof.environment.label(),
        "proof_sha256": to_hex(&proof.digest),
        "approvers": proof.approvers,
    })
}

/// What is recorded of whoever decides at this machine: no account's name has a colon in it.
fn administrator(name: &str) -> String {
    format!("administrator:{name}")
}

fn check_approver(approver: &str) -> Result<(), AdministrationError> {
    let fits = (1..=APPROVER_OCTETS).contains(&approver.len()) && !approver.chars().any(char::is_control);
    if fits { Ok(()) } else { Err(AdministrationError::Approver) }
}
