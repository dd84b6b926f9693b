//! Attesting keys: challenges that wait for their answer, devices, keys, what rests on them and what was revoked.

use vouchsafe_verifier::enrolment::{Environment, Method};

use super::{CHALLENGE_ID_OCTETS, CertificateRecord, Decision, Digest, Spending, StoreError};

/// What is known of an attesting key's public part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AkMaterial {
    /// A key of a TPM.
    Tpm {
        /// Its TPMT_PUBLIC, as it was judged.
        public: Vec<u8>,
        /// Its Name, computed from those octets.
        name: Vec<u8>,
    },
    /// A key that host software drives.
    Host {
        /// Its SubjectPublicKeyInfo, DER.
        spki: Vec<u8>,
    },
}

/// On what an attesting key's tie to its module rests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The method.
    pub method: Method,
    /// Who can use the key.
    pub environment: Environment,
    /// Digest of the proof: of the endorsement certificate, of the maker's evidence, of the ceremony's file; of a row of the
    /// inventory a salted one.
    pub digest: Digest,
    /// Who vouches for it by name: who imported the row, the witnesses. Empty where a maker or nobody does.
    pub approvers: Vec<String>,
}

/// What answers a challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// A credential with this SHA-256; the credential itself is kept nowhere.
    Credential(Digest),
    /// A signature over this challenge.
    Signature([u8; 32]),
}

/// A challenge that waits for its one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// Its identifier, random.
    pub id: [u8; CHALLENGE_ID_OCTETS],
    /// When it expires, seconds since the epoch.
    pub expires: i64,
    /// What answers it.
    pub expected: Expected,
    /// The key that is enrolled when it is answered.
    pub key: EnrolledKey,
}

/// An attesting key to be recorded together with its device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnrolledKey {
    /// The account.
    pub account: String,
    /// The device name.
    pub device: String,
    /// What tells the module from others: SHA-256 over the endorsement key's parameters, or over what the method names it by.
    pub identity: Digest,
    /// The endorsement certificate, DER; empty where there is none.
    pub ek_certificate: Vec<u8>,
    /// Whether the module is known to be, or may be, one in software.
    pub is_virtual: bool,
    /// The key.
    pub material: AkMaterial,
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub spki_digest: Digest,
    /// How it was tied to the module.
    pub proof: Proof,
    /// Whether the method vouches for one key of the account on the device at a time.
    pub is_exclusive: bool,
    /// The platform baseline to record, in the form of [`crate::baseline::Baseline`].
    pub baseline: Option<Vec<u8>>,
}

/// A device as recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The account that the key in question is of; where none is, the one that enrolled the device.
    pub account: String,
    /// Its name.
    pub name: String,
    /// What tells its module from others.
    pub identity: Digest,
    /// Its platform baseline, if one was recorded.
    pub baseline: Option<Vec<u8>>,
    /// The key by which it was looked up.
    pub key: Option<KeyFacts>,
}

impl Device {
    /// Whether the key by which it was looked up is revoked.
    #[must_use]
    pub fn is_key_revoked(&self) -> bool {
        self.key.as_ref().is_some_and(|key| key.revoked_at.is_some())
    }
}

/// What the records say of an attesting key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFacts {
    /// How it was tied to its module.
    pub proof: Proof,
    /// When it was revoked, seconds since the epoch.
    pub revoked_at: Option<i64>,
}

/// An attesting key as recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttestingKeyRow {
    /// SHA-256 of its SubjectPublicKeyInfo, by which verdicts and administrators name it.
    pub spki_digest: Digest,
    /// The account that enrolled it.
    pub account: String,
    /// The device's name.
    pub device: String,
    /// The endorsement certificate of the device, DER; empty where there is none.
    pub ek_certificate: Vec<u8>,
    /// Whether the module is known to be, or may be, one in software.
    pub is_virtual: bool,
    /// The key.
    pub material: AkMaterial,
    /// How it was tied to its module.
    pub proof: Proof,
    /// When it was enrolled, seconds since the epoch; a renewal leaves this as it is.
    pub enrolled_at: i64,
    /// End of validity of its last certificate, seconds since the epoch.
    pub not_after: i64,
    /// When and why it was revoked.
    pub revocation: Option<Revocation>,
}

/// What a certificate has to do with an attesting key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyUse {
    /// Nothing.
    None,
    /// It is a certificate of that key (SHA-256 of its SubjectPublicKeyInfo).
    Of(Digest),
    /// It was issued on evidence of that key.
    RestsOn(Digest),
}

/// A certificate that was issued on evidence of an attesting key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependent {
    /// The certificate, DER.
    pub der: Vec<u8>,
    /// Content octets of its serial number.
    pub serial: Vec<u8>,
    /// The account it was issued to.
    pub account: String,
    /// End of its validity, seconds since the epoch.
    pub not_after: i64,
    /// Whether it is revoked.
    pub is_revoked: bool,
}

/// Why something was revoked: the CRLReason of RFC 5280, section 5.3.1, as far as they apply here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevocationReason {
    /// Nothing is said.
    Unspecified,
    /// Others know the key, or may.
    KeyCompromise,
    /// The device is no longer the account's.
    AffiliationChanged,
    /// Another key took its place.
    Superseded,
    /// The module is out of use.
    CessationOfOperation,
}

impl RevocationReason {
    /// Every reason.
    pub const ALL: [Self; 5] = [
        Self::Unspecified,
        Self::KeyCompromise,
        Self::AffiliationChanged,
        Self::Superseded,
        Self::CessationOfOperation,
    ];

    /// Its number in lists.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Unspecified => 0,
            Self::KeyCompromise => 1,
            Self::AffiliationChanged => 3,
            Self::Superseded => 4,
            Self::CessationOfOperation => 5,
        }
    }

    /// Its word.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "key-compromise",
            Self::AffiliationChanged => "affiliation-changed",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessation-of-operation",
        }
    }

    /// The reason of this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.number() == number)
    }

    /// The reason of this word.
    #[must_use]
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.label() == label)
    }

    /// Whether a key is never certified again of which a certificate was revoked for it: others may know it.
    pub(crate) const fn burns_keys(self) -> bool {
        match self {
            Self::KeyCompromise => true,
            Self::Unspecified | Self::AffiliationChanged | Self::Superseded | Self::CessationOfOperation => false,
        }
    }

    /// Whether the successors of a key go with it: whoever else knows the key may have had it vouch for one of theirs.
    pub(super) const fn takes_successors(self) -> bool {
        match self {
            Self::KeyCompromise => true,
            Self::Unspecified | Self::AffiliationChanged | Self::Superseded | Self::CessationOfOperation => false,
        }
    }
}

/// A revocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// When, seconds since the epoch.
    pub at: i64,
    /// Why.
    pub reason: RevocationReason,
    /// Who decided it.
    pub approver: String,
}

/// A certificate that was revoked and would be valid still.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// The certificate, DER.
    pub der: Vec<u8>,
    /// When, seconds since the epoch.
    pub at: i64,
    /// Why.
    pub reason: RevocationReason,
}

/// Leave for another module to take the place of a device's, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replacement {
    /// The device's name.
    pub device: String,
    /// Until when, seconds since the epoch.
    pub until: i64,
    /// Who gave it.
    pub approver: String,
}

/// The part of [`super::Store`] that is about attesting keys.
pub trait AttestingKeyStore {
    /// Spends the nonce and opens a challenge.
    ///
    /// # Errors
    /// [`StoreError::NonceSpent`]; the binding errors of [`AttestingKeyStore::enroll`] when they can be told already.
    fn open_challenge(&self, spending: Spending, decision: Decision, challenge: Challenge) -> Result<(), StoreError>;

    /// Removes and returns the challenge of this account: the one attempt is used up, whatever follows.
    /// A challenge of another account is left alone.
    ///
    /// # Errors
    /// [`StoreError::Database`], as for every method below.
    fn take_challenge(&self, id: &[u8; CHALLENGE_ID_OCTETS], account: &str) -> Result<Option<Challenge>, StoreError>;

    /// Binds module, device and attesting key, and records the decision with its certificates. Where a module takes the place
    /// of another, by leave, every key of that one is revoked.
    ///
    /// # Errors
    /// [`StoreError::DeviceBoundElsewhere`], [`StoreError::EkBoundElsewhere`], [`StoreError::AkBoundElsewhere`],
    /// [`StoreError::DeviceHasKey`], [`StoreError::KeyRevoked`], [`StoreError::BaselineRecorded`],
    /// [`StoreError::SerialTaken`]; nothing is recorded then.
    fn enroll(
        &self,
        key: EnrolledKey,
        decision: Decision,
        certificates: Vec<CertificateRecord>,
    ) -> Result<i64, StoreError>;

    /// Spends the nonce and records a renewal with its certificates. Where `key` is not the key of `predecessor`, it is
    /// recorded as its successor, on the same device and on the same proof.
    ///
    /// # Errors
    /// As [`AttestingKeyStore::enroll`], and [`StoreError::NonceSpent`].
    fn renew(
        &self,
        spending: Spending,
        predecessor: Digest,
        key: EnrolledKey,
        decision: Decision,
        certificates: Vec<CertificateRecord>,
    ) -> Result<i64, StoreError>;

    /// The device whose attesting key has this SPKI digest, with what is known of that key.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    fn device_of_key(&self, spki_digest: &Digest) -> Result<Option<Device>, StoreError>;

    /// The device of this name that the account enrolled.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    fn device(&self, account: &str, name: &str) -> Result<Option<Device>, StoreError>;

    /// Forgets the platform baseline of a device, so that its next enrolment records another.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    fn forget_baseline(&self, account: &str, device: &str) -> Result<(), StoreError>;

    /// An attesting key.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    fn attesting_key(&self, spki_digest: &Digest) -> Result<Option<AttestingKeyRow>, StoreError>;

    /// Every attesting key, by device and time.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    fn attesting_keys(&self) -> Result<Vec<AttestingKeyRow>, StoreError>;

    /// The certificates that were issued on evidence of an attesting key and are valid after `now`.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    fn dependents(&self, spki_digest: &Digest, now: i64) -> Result<Vec<Dependent>, StoreError>;

    /// Revokes an attesting key with its certificates and, where that is asked for, every certificate that rests on it.
    /// With a compromised key go its successors, which were certified on its word.
    /// Returns how many certificates were revoked; nothing is changed of what was revoked before.
    ///
    /// # Errors
    /// [`StoreError::NoSuchKey`].
    fn revoke(
        &self,
        spki_digest: &Digest,
        revocation: Revocation,
        dependents: bool,
        decision: Decision,
    ) -> Result<usize, StoreError>;

    /// Revokes one certificate by its serial number. For [`super::RevocationReason::KeyCompromise`] the other certificates go
    /// with it that the same account has for the same key and that are valid after the revocation: whoever knows the key can
    /// use them all. Returns how many were not revoked before.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    fn revoke_certificate(
        &self,
        serial: &[u8],
        revocation: Revocation,
        decision: Decision,
    ) -> Result<usize, StoreError>;

    /// How many revocations were ever recorded, and the revoked certificates that are valid after `now`, in the order of
    /// their revocation; both of one moment. The number grows with every revocation and never falls.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    fn revocations(&self, now: i64) -> Result<(i64, Vec<Revoked>), StoreError>;

    /// Gives leave for another module to take the place of a device's, and revokes the attesting keys of the failed one.
    /// Returns how many keys were revoked.
    ///
    /// # Errors
    /// [`StoreError::NoSuchDevice`].
    fn approve_replacement(
        &self,
        replacement: Replacement,
        revocation: Revocation,
        decision: Decision,
    ) -> Result<usize, StoreError>;

    /// Lets another account enroll attesting keys of its own on a device.
    ///
    /// # Errors
    /// [`StoreError::NoSuchDevice`].
    fn share_device(&self, device: &str, account: &str, decision: Decision) -> Result<(), StoreError>;
}
