//! The verdict as an EAT Attestation Result (draft-ietf-rats-ear-04): a claims set for whoever relies on it.
//!
//! Key and platform are two submodules with a status of their own, as they are two verdicts; their trustworthiness
//! vectors use the values of AR4SI (draft-ietf-rats-ar4si). Signing it is the caller's: the Verifier has no key.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};
use vouchsafe_evidence::text::printable;

use crate::claims::Claims;
use crate::report::Reason;
use crate::time::Instant;
use crate::verdict::{Outcome, Section, Verdict};

/// The profile of the claims set.
const PROFILE: &str = "tag:ietf.org,2026:rats/ear#04";
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

impl Verdict {
    /// The claims set of an EAR that is issued at `issued_at`, with the nonce that the evidence had to answer.
    #[must_use]
    pub fn to_ear(&self, nonce: Option<&[u8]>, issued_at: Instant) -> Value {
        let mut ear = Map::new();
        ear.insert("eat_profile".to_owned(), json!(PROFILE));
        ear.insert("iat".to_owned(), json!(issued_at.unix_seconds()));
        let build = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"));
        ear.insert("ear_verifier_id".to_owned(), json!({"developer": DEVELOPER, "build": build}));
        if let Some(nonce) = nonce {
            ear.insert("eat_nonce".to_owned(), json!(URL_SAFE_NO_PAD.encode(nonce)));
        }
        let submods = json!({"key": self.key_appraisal(), "platform": self.platform_appraisal()});
        ear.insert("submods".to_owned(), submods);
        Value::Object(ear)
    }

    fn key_appraisal(&self) -> Value {
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
        // A key stands for nothing unless the whole is accepted: its own part may hold and yet be bound to nothing.
        let outcome = match (self.key().outcome, self.is_accepted()) {
            (Outcome::Accepted, false) => Outcome::Rejected,
            (outcome, _) => outcome,
        };
        let mut said = Map::new();
        said.insert("vouchsafe_attesting_key".to_owned(), values(self.attesting_key()));
        said.insert("vouchsafe_device".to_owned(), json!(self.device().map(|device| device.id.clone())));
        said.insert("vouchsafe_freshness".to_owned(), json!(self.freshness().label()));
        said.insert("vouchsafe_module_advisories".to_owned(), json!(self.module_advisories()));
        self.appraisal(self.key(), outcome, vector, said)
    }

    fn platform_appraisal(&self) -> Value {
        let outcome = self.platform().outcome;
        let vector = if outcome == Outcome::Absent { Map::new() } else { self.identity() };
        self.appraisal(self.platform(), outcome, vector, Map::new())
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

    /// One submodule. Its status is that of the verdict, and a warning where the policy judged nothing.
    fn appraisal(
        &self,
        section: &Section,
        outcome: Outcome,
        vector: Map<String, Value>,
        mut said: Map<String, Value>,
    ) -> Value {
        let status = match (outcome, self.policy_note()) {
            (Outcome::Absent, _) => "none",
            (Outcome::Rejected, _) => "contraindicated",
            (Outcome::Accepted, Some(_)) => "warning",
            (Outcome::Accepted, None) => "affirming",
        };
        let reasons = if outcome == Outcome::Rejected && section.reasons.is_empty() {
            self.reasons()
        } else {
            section.reasons.as_slice()
        };
        let reasons: Vec<Reason> = reasons.iter().map(Reason::from).collect();
        said.insert("vouchsafe_reasons".to_owned(), json!(reasons));
        said.retain(|_, value| !(value.is_null() || value.as_array().is_some_and(Vec::is_empty)));
        let mut appraisal = Map::new();
        appraisal.insert("ear_status".to_owned(), json!(status));
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
