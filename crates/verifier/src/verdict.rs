//! Verdicts: what the Verifier says, and the one way from there to a certificate.

use vouchsafe_evidence::input::{InputError, Submission};
use vouchsafe_evidence::statement::FormatId;
use vouchsafe_evidence::x509::{NameView, SpkiView};

use crate::advisory::Advisory;
use crate::appraise::Appraisal;
use crate::authenticate::{Authenticated, Authentication, Skipped};
use crate::bind::{Binding, Device, Edge, is_key_format};
use crate::claims::Claims;
use crate::describe::{self, Descriptions, Register};
use crate::policy::{PlatformDemand, Policy};
use crate::rejection::Rejection;
use crate::time::Instant;

/// The outcome for one subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was said about it.
    Absent,
    /// What was said is true and suffices.
    Accepted,
    /// What was said is false, unbound or does not suffice.
    Rejected,
}

impl Outcome {
    /// Its word in reports.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
        }
    }
}

/// How fresh evidence is known to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Freshness {
    /// It may be of any age.
    None,
    /// The attested key answered a challenge; the evidence itself is undated.
    ProofOfPossession,
    /// It answers the nonce that was given.
    Nonce,
}

impl Freshness {
    /// Its word in reports.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ProofOfPossession => "proof-of-possession",
            Self::Nonce => "nonce",
        }
    }
}

/// One subject's outcome, reasons and claims.
#[derive(Clone, Debug)]
pub struct Section {
    /// The outcome.
    pub outcome: Outcome,
    /// What was found wrong with it.
    pub reasons: Vec<Rejection>,
    /// What is said about it.
    pub claims: Claims,
}

/// What the Verifier says about one submission. Only [`crate::verify`] makes one.
#[must_use = "a verdict that nobody reads protects nobody"]
#[derive(Clone, Debug)]
pub struct Verdict {
    accepted: bool,
    policy: String,
    format: &'static str,
    at: Instant,
    device: Option<Device>,
    key: Section,
    platform: Section,
    attesting_key: Claims,
    binding: Outcome,
    edges: Vec<Edge>,
    attesting_keys: Vec<SpkiView>,
    freshness: Vec<Freshness>,
    dated: Option<Instant>,
    formats: Vec<(usize, FormatId)>,
    skipped: Vec<Skipped>,
    reasons: Vec<Rejection>,
    anonymous_reasons: usize,
    subject: Option<SpkiView>,
    request: Option<Submission>,
    registers: Vec<Register>,
    advisories: Vec<Advisory>,
    policy_note: Option<String>,
}

/// A key that may be certified: the accepted subject of a certification request.
///
/// Only [`Verdict::certify`] makes one, and whoever issues consumes it, so that one verdict is worth one
/// certificate.
#[derive(Debug)]
pub struct CertifiableKey {
    request: Submission,
    spki: SpkiView,
    subject: NameView,
    verdict: Verdict,
}

impl CertifiableKey {
    /// The key to be certified.
    #[must_use]
    pub const fn spki(&self) -> &SpkiView {
        &self.spki
    }

    /// The subject that the request asks for: a wish, not a claim.
    #[must_use]
    pub const fn requested_subject(&self) -> &NameView {
        &self.subject
    }

    /// The request, with its statements.
    #[must_use]
    pub const fn request(&self) -> &Submission {
        &self.request
    }

    /// The verdict that this rests on.
    #[must_use = "it is the record of why the key may be certified"]
    pub const fn verdict(&self) -> &Verdict {
        &self.verdict
    }
}

/// What a verdict is made of.
pub(crate) struct Findings<'a> {
    pub submission: &'a Submission,
    pub policy: &'a Policy,
    pub at: Instant,
    pub request_failures: Vec<Rejection>,
    pub authentication: Authentication,
    pub binding: Binding,
    pub appraisal: Appraisal,
    pub descriptions: Descriptions,
}

impl Verdict {
    /// Decides. This is the only place where anything is ever accepted: no failure of any kind, a key statement
    /// about the key, everything bound, and of the platform what policy asks.
    pub(crate) fn conclude(findings: Findings<'_>) -> Self {
        let Findings { submission, policy, at, request_failures, authentication, binding, appraisal, descriptions } =
            findings;
        let Descriptions { keys, platform, attesting_keys, registers, .. } = descriptions;
        let attesting_key = attesting_keys.into_iter().next().map(|(_, claims)| claims).unwrap_or_default();
        let key = key_section(&authentication, &binding, &appraisal, keys);
        let platform = platform_section(&authentication, &binding, &appraisal, platform);
        let bound = match (binding.violations.is_empty(), binding.keys.is_empty()) {
            (false, _) => Outcome::Rejected,
            (true, false) => Outcome::Accepted,
            (true, true) => Outcome::Absent,
        };
        let platform_suffices = match (policy.platform(), platform.outcome) {
            (PlatformDemand::Required | PlatformDemand::Optional, Outcome::Accepted) => true,
            (PlatformDemand::Optional | PlatformDemand::Ignored, Outcome::Absent) => true,
            (PlatformDemand::Required, Outcome::Absent)
            | (PlatformDemand::Ignored, Outcome::Accepted)
            | (_, Outcome::Rejected) => false,
        };
        let mut reasons = request_failures;
        reasons.extend(authentication.failures.iter().map(|(_, failure)| failure.clone()));
        let anonymous_reasons = reasons.len();
        reasons.extend(binding.violations.iter().cloned());
        reasons.extend(appraisal.key);
        reasons.extend(appraisal.platform);
        let accepted =
            reasons.is_empty() && key.outcome == Outcome::Accepted && bound == Outcome::Accepted && platform_suffices;
        Self {
            accepted,
            policy: policy.name().to_owned(),
            format: submission.label(),
            at,
            device: binding.device,
            key,
            attesting_key,
            registers,
            advisories: appraisal.advisories,
            policy_note: policy.note().map(str::to_owned),
            platform,
            binding: bound,
            edges: binding.edges,
            attesting_keys: binding.attesting_keys,
            freshness: freshness(submission, &authentication),
            dated: dated(&authentication),
            formats: authentication.formats(),
            skipped: authentication.skipped,
            reasons,
            anonymous_reasons,
            subject: binding.subject,
            request: submission.is_request().then(|| submission.clone()),
        }
    }

    /// The verdict on input that is no submission at all.
    pub fn on_unusable_input(error: &InputError, policy: &Policy, at: Instant) -> Self {
        let absent = || Section { outcome: Outcome::Absent, reasons: Vec::new(), claims: Claims::new() };
        Self {
            accepted: false,
            policy: policy.name().to_owned(),
            format: describe::format_of_error(error),
            at,
            device: None,
            key: absent(),
            platform: absent(),
            attesting_key: Claims::new(),
            binding: Outcome::Absent,
            edges: Vec::new(),
            attesting_keys: Vec::new(),
            freshness: Vec::new(),
            dated: None,
            formats: Vec::new(),
            skipped: Vec::new(),
            reasons: vec![describe::input_rejection(error)],
            anonymous_reasons: 1,
            subject: None,
            request: None,
            registers: Vec::new(),
            advisories: Vec::new(),
            policy_note: policy.note().map(str::to_owned),
        }
    }

    /// The key that may be certified, if this accepts a certification request; else the verdict back.
    ///
    /// # Errors
    /// The verdict itself, when it rejects or is not about a certification request.
    pub fn certify(mut self) -> Result<CertifiableKey, Box<Self>> {
        let named = self.request.as_ref().and_then(|request| request.subject_key().zip(request.requested_subject()));
        let named = named.map(|(spki, subject)| (spki.clone(), subject.clone()));
        match (self.request.take(), named, self.accepted) {
            (Some(request), Some((spki, subject)), true) => {
                Ok(CertifiableKey { request, spki, subject, verdict: self })
            }
            (request, _, _) => {
                self.request = request;
                Err(Box::new(self))
            }
        }
    }

    /// Whether everything holds.
    #[must_use]
    pub const fn is_accepted(&self) -> bool {
        self.accepted
    }

    /// Every violation: of the request, of authentication, of binding, of policy.
    #[must_use]
    pub fn reasons(&self) -> &[Rejection] {
        &self.reasons
    }

    /// The violations that anyone may be told: what failed to authenticate. The others could tell a stranger
    /// what a device's policy or state is.
    #[must_use]
    pub fn authentication_reasons(&self) -> &[Rejection] {
        self.reasons.get(..self.anonymous_reasons).unwrap_or_default()
    }

    /// Name of the policy that was applied.
    #[must_use]
    pub fn policy(&self) -> &str {
        &self.policy
    }

    /// The format: `csr`, or the format id of bare evidence.
    #[must_use]
    pub const fn format(&self) -> &'static str {
        self.format
    }

    /// The time for which the verdict was given.
    #[must_use]
    pub const fn at(&self) -> Instant {
        self.at
    }

    /// The module that attested the key.
    #[must_use]
    pub const fn device(&self) -> Option<&Device> {
        self.device.as_ref()
    }

    /// The key's part.
    #[must_use]
    pub const fn key(&self) -> &Section {
        &self.key
    }

    /// The platform's part.
    #[must_use]
    pub const fn platform(&self) -> &Section {
        &self.platform
    }

    /// What is said about the attestation key of the key statement.
    #[must_use]
    pub const fn attesting_key(&self) -> &Claims {
        &self.attesting_key
    }

    /// Whether all statements speak of one key and one device.
    #[must_use]
    pub const fn binding(&self) -> Outcome {
        self.binding
    }

    /// The edges of the binding graph.
    #[must_use]
    pub fn edges(&self) -> &[Edge] {
        &self.edges
    }

    /// Every key that signed one of the statements, and every other that they show to be an attesting key: also one that
    /// another vouches for, which stands for the device, and those that signed one statement together.
    #[must_use]
    pub fn attesting_keys(&self) -> &[SpkiView] {
        &self.attesting_keys
    }

    /// Freshness of each statement, in the order of the bundle.
    #[must_use]
    pub fn freshness_by_statement(&self) -> &[Freshness] {
        &self.freshness
    }

    /// The formats of each statement that was authenticated, in the order of the bundle: one, of a wrapper those that
    /// it holds, and none for a statement that was not authenticated.
    #[must_use]
    pub fn formats_by_statement(&self) -> Vec<Vec<FormatId>> {
        let of_place = |place: usize| self.formats.iter().filter(move |(at, _)| *at == place);
        (0..self.freshness.len()).map(|place| of_place(place).map(|(_, format)| *format).collect()).collect()
    }

    /// Freshness of the whole: that of its weakest statement.
    #[must_use]
    pub fn freshness(&self) -> Freshness {
        let read = self.freshness.iter().enumerate().filter(|(index, freshness)| {
            // Of a wrapper, some members may be skipped and others not.
            **freshness != Freshness::None || self.skipped.iter().all(|skipped| skipped.statement != *index)
        });
        read.map(|(_, freshness)| *freshness).min().unwrap_or(Freshness::None)
    }

    /// What is to be known of evidence that is fresh by a proof of possession alone: that the key was there when it was
    /// asked for, and when the evidence itself says that it was made, if it does.
    #[must_use]
    pub fn freshness_note(&self) -> Option<String> {
        match (self.freshness(), self.dated) {
            (Freshness::None | Freshness::Nonce, _) => None,
            (Freshness::ProofOfPossession, None) => {
                Some("Possession is fresh: the key answered a challenge. The evidence itself is undated.".to_owned())
            }
            (Freshness::ProofOfPossession, Some(time)) => Some(format!(
                "Possession is fresh: the key answered a challenge. The evidence itself says that it is of {time}."
            )),
        }
    }

    /// Statements that were passed over.
    #[must_use]
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// The key that all this is about, where that is known.
    #[must_use]
    pub const fn subject(&self) -> Option<&SpkiView> {
        self.subject.as_ref()
    }

    /// Known flaws that concern the key or the module that holds it; policy says whether they are violations.
    #[must_use]
    pub fn module_advisories(&self) -> &[Advisory] {
        &self.advisories
    }

    /// What the policy says of every verdict under it.
    #[must_use]
    pub fn policy_note(&self) -> Option<&str> {
        self.policy_note.as_deref()
    }

    /// The PCR values of the bound platform statement, as recorded.
    #[must_use]
    pub fn registers(&self) -> &[Register] {
        &self.registers
    }
}

fn failures(authentication: &Authentication, of_key: bool) -> Vec<Rejection> {
    authentication
        .failures
        .iter()
        .filter(|(format, _)| is_key_format(*format) == of_key)
        .map(|(_, failure)| failure.clone())
        .collect()
}

fn key_section(
    authentication: &Authentication,
    binding: &Binding,
    appraisal: &Appraisal,
    claims: Vec<Claims>,
) -> Section {
    let mut reasons = failures(authentication, true);
    let any = !reasons.is_empty() || authentication.statements.iter().any(Authenticated::is_about_keys);
    let about_key = |rejection: &&Rejection| describe::is_about_key(rejection);
    reasons.extend(binding.violations.iter().filter(about_key).cloned());
    reasons.extend(appraisal.key.iter().cloned());
    let outcome = match (any, reasons.is_empty() && !binding.keys.is_empty()) {
        (_, true) => Outcome::Accepted,
        (true, false) => Outcome::Rejected,
        (false, false) => Outcome::Absent,
    };
    Section { outcome, reasons, claims: key_claims(binding, claims) }
}

/// What is said of the key; where none was named and several are judged, of the first, with the list of all.
fn key_claims(binding: &Binding, claims: Vec<Claims>) -> Claims {
    let is_about_several = binding.subject.is_none() && claims.len() > 1;
    let mut first = claims.first().cloned().unwrap_or_default();
    let place = first.iter().next().map(|(_, claim)| (claim.source, claim.statement));
    if let (true, Some((source, statement))) = (is_about_several, place) {
        let all: Vec<serde_json::Value> = claims.into_iter().map(Claims::into_values).collect();
        first.put("keys", all, source, statement);
    }
    first
}

fn platform_section(
    authentication: &Authentication,
    binding: &Binding,
    appraisal: &Appraisal,
    claims: Claims,
) -> Section {
    let mut reasons = failures(authentication, false);
    let present = !reasons.is_empty()
        || binding.platform.is_some()
        || authentication.statements.iter().any(Authenticated::is_about_platform_alone);
    let of_platform = |rejection: &&Rejection| {
        let statement = authentication.statements.iter().find(|found| Some(found.index()) == rejection.statement());
        statement.is_some_and(Authenticated::is_about_platform_alone)
    };
    reasons.extend(binding.violations.iter().filter(of_platform).cloned());
    if present && reasons.is_empty() && binding.platform.is_none() {
        // Nothing is wrong with it but that there is no key for it to stand beside.
        reasons.extend(binding.violations.iter().cloned());
    }
    reasons.extend(appraisal.platform.iter().cloned());
    let outcome = match (binding.platform, present) {
        (Some(_), _) if reasons.is_empty() => Outcome::Accepted,
        (None, false) => Outcome::Absent,
        (Some(_) | None, _) => Outcome::Rejected,
    };
    Section { outcome, reasons, claims }
}

/// When statements that rest on a proof of possession say that they were made, the oldest of them; nothing if one says no
/// time.
fn dated(authentication: &Authentication) -> Option<Instant> {
    let possessed = authentication.statements.iter().filter(|found| found.freshness() == Freshness::ProofOfPossession);
    let times: Option<Vec<Instant>> = possessed.map(|found| found.dated().map(|dated| dated.time)).collect();
    times?.into_iter().min()
}

/// How fresh each statement is: of what it wraps the least; one that was not authenticated is not.
fn freshness(submission: &Submission, authentication: &Authentication) -> Vec<Freshness> {
    let mut freshness = vec![None; submission.statements().len()];
    let authenticated = authentication.statements.iter().map(|found| (found.index(), found.freshness()));
    for (index, found) in authenticated.chain(authentication.possession) {
        if let Some(place) = freshness.get_mut(index) {
            *place = Some(place.map_or(found, |before: Freshness| before.min(found)));
        }
    }
    freshness.into_iter().map(|freshness| freshness.unwrap_or(Freshness::None)).collect()
}
