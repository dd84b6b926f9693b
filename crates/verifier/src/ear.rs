//! The verdict as an EAT Attestation Result (draft-ietf-rats-ear-04): a claims set for whoever relies on it.
//!
//! Key and platform are two submodules with a status of their own, as they are two verdicts; their trustworthiness
//! vectors use the values of AR4SI (draft-ietf-rats-ar4si). Signing it is the caller's: the Verifier has no key.

mod token;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};
use vouchsafe_evidence::text::printable;

use crate::claims::Claims;
use crate::report::Reason;
use crate::time::Instant;
use crate::verdict::{Freshness, Outcome, Section, Verdict};

pub use token::{Algorithm, Unsigned};

/// The profile of the claims set.
pub const PROFILE: &str = "tag:ietf.org,2026:rats/ear#04";
/// The media type of an EAT that is a JWT (RFC 9782, section 3).
pub const MEDIA_TYPE: &str = "application/eat+jwt";
/// Who appraised.
const DEVELOPER: &str = "Vouchsafe";

/// Trustworthiness claims of AR4SI (section 2.3).
mod trustworthiness {
    /// Affirming, in every category.
    pub const AFFIRMING: i8 = 2;
    /// Hardware: genuine, with known vulnerabilities. Storage, configuration: not what is wished.
    pub const WARNING: i8 = 32;
    /// Contraindicated, in every category.
    pub const CONTRAINDICATED: i8 = 96;
    /// Cryptographic validation of the evidence failed.
    pub const CRYPTO_FAILED: i8 = 99;
}

/// For whom an attestation result is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Whoever may know all that the evidence says.
    Owner,
    /// Anybody: the status of the whole, and what failed to authenticate. Other reasons, claims and vectors could tell a
    /// stranger what a device's policy or state is.
    Anyone,
}

/// What an attestation result rests on besides the verdict.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// The nonce that the evidence had to answer. It is repeated only if the evidence did.
    pub nonce: Option<&'a [u8]>,
    /// When it is issued.
    pub issued_at: Instant,
    /// Until when it may be relied on, if that is bounded.
    pub expires_at: Option<Instant>,
    /// For whom it is.
    pub audience: Audience,
    /// What the issuer's own records have against the evidence, in the form of [`Reason`]. If they have anything, nothing
    /// is affirmed.
    pub records: &'a [Value],
}

impl Verdict {
    /// The claims set of an EAR.
    #[must_use]
    pub fn to_ear(&self, frame: &Frame<'_>) -> Value {
        let mut ear = Map::new();
        ear.insert("eat_profile".to_owned(), json!(PROFILE));
        ear.insert("iat".to_owned(), json!(frame.issued_at.unix_seconds()));
        if let Some(expires_at) = frame.expires_at {
            ear.insert("exp".to_owned(), json!(expires_at.unix_seconds()));
        }
        let build = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"));
        ear.insert("ear_verifier_id".to_owned(), json!({"developer": DEVELOPER, "build": build}));
        let is_answered = match self.freshness() {
            Freshness::Nonce | Freshness::ProofOfPossession => true,
            Freshness::None => false,
        };
        if let Some(nonce) = frame.nonce.filter(|_| is_answered) {
            ear.insert("eat_nonce".to_owned(), json!(URL_SAFE_NO_PAD.encode(nonce)));
        }
        let submods = match frame.audience {
            Audience::Owner => {
                json!({"key": self.key_appraisal(frame.records), "platform": self.platform_appraisal(frame.records)})
            }
            Audience::Anyone => json!({"key": self.appraisal_for_anyone(frame.records)}),
        };
        ear.insert("submods".to_owned(), submods);
        Value::Object(ear)
    }

    /// Of the whole, what anyone may be told.
    fn appraisal_for_anyone(&self, records: &[Value]) -> Value {
        let is_accepted = self.is_accepted() && records.is_empty();
        let outcome = if is_accepted { Outcome::Accepted } else { Outcome::Rejected };
        let reasons: Vec<Reason> = self.authentication_reasons().iter().map(Reason::from).collect();
        let mut appraisal = Map::new();
        appraisal.insert("ear_status".to_owned(), json!(self.status(outcome, &self.key_vector())));
        if !reasons.is_empty() {
            appraisal.insert("ear_verifier_claims".to_owned(), json!({"vouchsafe_reasons": reasons}));
        }
        appraisal.insert("ear_appraisal_policy_ids".to_owned(), json!([printable(self.policy())]));
        Value::Object(appraisal)
    }

    /// What can be said of the module and of the key in it.
    fn key_vector(&self) -> Map<String, Value> {
        let claims = &self.key().claims;
        let mut vector = self.identity();
        if self.key().outcome != Outcome::Absent && !claims.is_empty() {
            let hardware = match self.module_advisories() {
                [] if self.is_virtual() => trustworthiness::WARNING,
                [] => trustworthiness::AFFIRMING,
                _ => trustworthiness::WARNING,
            };
            vector.insert("hardware".to_owned(), json!(hardware));
            let storage = match claims.named("extractable").and_then(|claim| claim.value.as_bool()) {
                Some(false) => trustworthiness::AFFIRMING,
                Some(true) => trustworthiness::CONTRAINDICATED,
                None => trustworthiness::WARNING,
            };
            vector.insert("storage-opaque".to_owned(), json!(storage));
        }
        vector
    }

    fn key_appraisal(&self, records: &[Value]) -> Value {
        // A key stands for nothing unless the whole is accepted: its own part may hold and yet be bound to nothing.
        let outcome = match (self.key().outcome, self.is_accepted() && records.is_empty()) {
            (Outcome::Accepted, false) => Outcome::Rejected,
            (outcome, _) => outcome,
        };
        let mut said = Map::new();
        said.insert("vouchsafe_attesting_key".to_owned(), values(self.attesting_key()));
        said.insert("vouchsafe_device".to_owned(), json!(self.device().map(|device| device.id.clone())));
        said.insert("vouchsafe_freshness".to_owned(), json!(self.freshness().label()));
        said.insert("vouchsafe_freshness_note".to_owned(), json!(self.freshness_note()));
        said.insert("vouchsafe_module_advisories".to_owned(), json!(self.module_advisories()));
        self.appraisal(self.key(), outcome, (self.key_vector(), said), records)
    }

    fn platform_appraisal(&self, records: &[Value]) -> Value {
        // What is bound to another device or key than was asked for is not the platform that was asked for.
        let is_bound = self.binding() != Outcome::Rejected && records.is_empty();
        let outcome = match (self.platform().outcome, is_bound) {
            (Outcome::Accepted, false) => Outcome::Rejected,
            (outcome, _) => outcome,
        };
        let vector = if outcome == Outcome::Absent { Map::new() } else { self.identity() };
        self.appraisal(self.platform(), outcome, (vector, Map::new()), records)
    }

    /// Whether it is known which module speaks.
    fn identity(&self) -> Map<String, Value> {
        let mut vector = Map::new();
        let identity = match (self.authentication_reasons(), self.binding()) {
            ([], Outcome::Accepted) => trustworthiness::AFFIRMING,
            ([], Outcome::Rejected) => trustworthiness::CONTRAINDICATED,
            ([], Outcome::Absent) => return vector,
            _ => trustworthiness::CRYPTO_FAILED,
        };
        vector.insert("instance-identity".to_owned(), json!(identity));
        vector
    }

    fn is_virtual(&self) -> bool {
        let sections = [&self.platform().claims, self.attesting_key()];
        sections.iter().any(|claims| claims.is("kind", "virtual"))
    }

    /// The status of an outcome: a warning where the policy judged nothing, and nothing better than the worst that the
    /// trustworthiness vector says, whatever a policy accepts (draft-ietf-rats-ear-04, ear_status).
    fn status(&self, outcome: Outcome, vector: &Map<String, Value>) -> &'static str {
        let worst = vector.values().filter_map(Value::as_i64).max().unwrap_or_default();
        match outcome {
            Outcome::Absent => "none",
            Outcome::Rejected => "contraindicated",
            Outcome::Accepted if worst >= i64::from(trustworthiness::CONTRAINDICATED) => "contraindicated",
            Outcome::Accepted if worst >= i64::from(trustworthiness::WARNING) => "warning",
            Outcome::Accepted if self.policy_note().is_some() => "warning",
            Outcome::Accepted => "affirming",
        }
    }

    /// One submodule, with its trustworthiness vector and what this Verifier says besides.
    fn appraisal(
        &self,
        section: &Section,
        outcome: Outcome,
        (vector, mut said): (Map<String, Value>, Map<String, Value>),
        records: &[Value],
    ) -> Value {
        let reasons = if outcome == Outcome::Rejected && section.reasons.is_empty() {
            self.reasons()
        } else {
            section.reasons.as_slice()
        };
        let reasons: Vec<Value> = reasons.iter().map(|reason| json!(Reason::from(reason))).collect();
        let records = if outcome == Outcome::Absent { &[] } else { records };
        let reasons = [reasons.as_slice(), records].concat();
        said.insert("vouchsafe_reasons".to_owned(), json!(reasons));
        said.retain(|_, value| !(value.is_null() || value.as_array().is_some_and(Vec::is_empty)));
        let mut appraisal = Map::new();
        appraisal.insert("ear_status".to_owned(), json!(self.status(outcome, &vector)));
        // The draft has no empty vector and no empty map of claims.
        for (name, members) in [("ear_trustworthiness_vector", vector), ("ear_verifier_claims", said)] {
            if !members.is_empty() {
                appraisal.insert(name.to_owned(), Value::Object(members));
            }
        }
        appraisal.insert("ear_appraisal_policy_ids".to_owned(), json!([printable(self.policy())]));
        if !section.claims.is_empty() {
            appraisal.insert("ear_attester_claims".to_owned(), values(&section.claims));
        }
        Value::Object(appraisal)
    }
}

/// Claims with their sources, as reports have them.
fn values(claims: &Claims) -> Value {
    json!(claims)
}
