//! Whose each key is: what a certificate says of its key, and what is recorded of that key.
//!
//! A key has one row, which is written in the transaction of its first certificate. Whatever certifies it afterwards is
//! held against that row there, so that of two requests that would give one key to two subjects one is refused, whichever
//! process has it.

use vouchsafe_evidence::x509::SpkiView;

use super::{Decision, Digest, Revocation, StoreError};
use crate::certified_key::key_identity;

/// The key that a certificate is for, and whose it says that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certified {
    /// SHA-256 of the key's SubjectPublicKeyInfo in its plainest encoding.
    pub key: Digest,
    /// Digest of the subject with its alternative names; of an attesting key, SHA-256 of its SubjectPublicKeyInfo as it is.
    pub subject: Digest,
    /// Whether it is an attesting key.
    pub is_attesting: bool,
    /// The certificate profile; empty for attesting keys.
    pub profile: String,
    /// Whether the key may be certified for other subjects too.
    pub may_have_others: bool,
    /// The attesting keys on whose word it is issued (SHA-256 of their SubjectPublicKeyInfo): none may be revoked, or
    /// another account's, when it is recorded.
    pub rests_on: Vec<Digest>,
}

impl Certified {
    /// A key that is certified as an attesting key.
    #[must_use]
    pub fn attesting(key: Digest, spki: Digest) -> Self {
        let (profile, rests_on) = (String::new(), Vec::new());
        Self { key, subject: spki, is_attesting: true, profile, may_have_others: false, rests_on }
    }

    /// A key that is certified for a subject by a profile.
    #[must_use]
    pub const fn of_subject(key: Digest, subject: Digest, profile: String, may_have_others: bool) -> Self {
        Self { key, subject, is_attesting: false, profile, may_have_others, rests_on: Vec::new() }
    }

    /// The same, issued on the word of these attesting keys.
    #[must_use]
    pub fn resting_on(self, keys: Vec<Digest>) -> Self {
        Self { rests_on: keys, ..self }
    }
}

/// What is recorded of a key that was certified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyHolder {
    /// Whether it is an attesting key.
    pub is_attesting: bool,
    /// The digest of the first subject that it was certified for, as [`Certified::subject`].
    pub subject: Digest,
    /// The account that it was first certified for.
    pub account: String,
    /// The profile of the last certificate for that subject.
    pub profile: String,
    /// The serial number of the last certificate for that subject.
    pub serial: Vec<u8>,
    /// Whether it was certified for others besides, by leave of a profile.
    pub has_others: bool,
    /// When a certificate of it was revoked because others may know the key.
    pub compromised_at: Option<i64>,
}

/// What certifying a key does to its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// There is none yet.
    New,
    /// The subject has the key already.
    Again,
    /// Another subject gets it too.
    Another,
}

impl KeyHolder {
    /// What becomes of the row of a key that is to be certified, or why it may not be.
    ///
    /// # Errors
    /// [`StoreError::KeyCompromised`], [`StoreError::KeyAttests`], [`StoreError::KeyCertified`],
    /// [`StoreError::KeyHasOtherSubject`].
    pub(crate) fn judge(known: Option<&Self>, certified: &Certified, account: &str) -> Result<Claim, StoreError> {
        let Some(known) = known else { return Ok(Claim::New) };
        match (known.is_attesting, certified.is_attesting) {
            (true, false) => return Err(StoreError::KeyAttests),
            (false, true) => return Err(StoreError::KeyCertified),
            (true, true) | (false, false) => {}
        }
        if known.compromised_at.is_some() {
            return Err(StoreError::KeyCompromised);
        }
        let is_same = known.subject == certified.subject && known.account == account;
        match (is_same, certified.may_have_others) {
            (true, true) => Ok(Claim::Again),
            (true, false) if !known.has_others => Ok(Claim::Again),
            (false, true) => Ok(Claim::Another),
            (true | false, false) => Err(StoreError::KeyHasOtherSubject),
        }
    }
}

/// Whether an attesting key on whose word a certificate is issued stands still, and is the account's that gets it.
pub(super) fn check_rest(owner: &str, is_revoked: bool, account: &str) -> Result<(), StoreError> {
    if is_revoked {
        return Err(StoreError::KeyRevoked);
    }
    if owner == account { Ok(()) } else { Err(StoreError::KeyOfOtherAccount) }
}

/// An attesting key that an older version has recorded. Of one that host software drives, `public` is its
/// SubjectPublicKeyInfo; of a TPM's key, `spki` is of the plainest encoding already.
pub(super) fn attesting_of_older(spki: Digest, is_host: bool, public: &[u8]) -> Certified {
    let parsed = if is_host { SpkiView::parse(public).ok() } else { None };
    Certified::attesting(parsed.as_ref().map_or(spki, key_identity), spki)
}

/// What two keys have been that older versions let be both stays as it was first.
pub(super) fn of_older(claimed: Result<(), StoreError>) -> Result<(), StoreError> {
    match claimed {
        Err(StoreError::KeyAttests | StoreError::KeyCertified | StoreError::KeyHasOtherSubject) => Ok(()),
        other => other,
    }
}

/// When what is valid expires next, and how much there is of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Validity {
    /// Certificates, or keys, that are valid and not revoked.
    pub valid: i64,
    /// When the first subject, or key, is without one: the earliest end of validity among the last that each has, seconds since
    /// the epoch.
    pub next_expiry: Option<i64>,
}

/// What of the records is valid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Validities {
    /// Certificates that were issued for keys of subjects.
    pub issued: Validity,
    /// Attesting keys, each by the last of its certificates.
    pub attesting_keys: Validity,
    /// How many revocations were ever recorded.
    pub revocations: i64,
}

/// The part of [`super::Store`] that is about whose each key is.
pub trait CertifiedKeyStore {
    /// What is recorded of a key, by [`Certified::key`].
    ///
    /// # Errors
    /// [`StoreError::Database`], as for every method below.
    fn key_holder(&self, key: &Digest) -> Result<Option<KeyHolder>, StoreError>;

    /// Revokes every certificate of a key that is no attesting key and valid after the revocation. Returns how many were not
    /// revoked before. For [`super::RevocationReason::KeyCompromise`] the key is never certified again.
    ///
    /// # Errors
    /// [`StoreError::NoSuchKey`].
    fn revoke_certified(&self, key: &Digest, revocation: Revocation, decision: Decision) -> Result<usize, StoreError>;

    /// How many revocations were ever recorded.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    fn revocation_count(&self) -> Result<i64, StoreError>;

    /// What is valid at `now`.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    fn validities(&self, now: i64) -> Result<Validities, StoreError>;
}
