//! Appraisal: whether what is true and bound suffices for a policy. Every rule runs; all violations are returned.

pub(crate) mod age;
mod quote;
mod rules;
mod tpm;

use vouchsafe_evidence::statement::FormatId;
use vouchsafe_evidence::x509::SpkiView;

use crate::advisory::{Advisories, Advisory, Subjects};
use crate::authenticate::{AttestedPlatform, Authenticated, Authentication};
use crate::bind::Binding;
use crate::claims::Claims;
use crate::describe::Descriptions;
use crate::policy::rule::Facts;
use crate::policy::{NonceDemand, PlatformDemand, Policy, ReferenceValues, Stance};
use crate::rejection::{Rejection, codes};
use crate::time::Instant;
use crate::verdict::Freshness;
use quote::appraise_quote;
use tpm::{appraise_tpm_claims, appraise_tpm_key};

pub(crate) use rules::{advisories, certification, expressions};

/// What policy finds wrong, by subject.
#[derive(Clone, Debug, Default)]
pub(crate) struct Appraisal {
    /// With the key.
    pub key: Vec<Rejection>,
    /// With the platform.
    pub platform: Vec<Rejection>,
    /// Known flaws of the key and of its module, violations or not.
    pub advisories: Vec<Advisory>,
}

/// What is appraised, and against what.
pub(crate) struct Appraised<'a> {
    /// What was authenticated.
    pub authentication: &'a Authentication,
    /// How it belongs together.
    pub binding: &'a Binding,
    /// What it says, in the common vocabulary.
    pub descriptions: &'a Descriptions,
    /// What must be true.
    pub policy: &'a Policy,
    /// The values recorded when the AK was enrolled; policy's own references go before it.
    pub baseline: &'a ReferenceValues,
    /// Whether a nonce was given, which every statement then had to answer.
    pub nonce_given: bool,
    /// For when.
    pub at: Instant,
    /// What is known of flaws.
    pub advisories: &'a Advisories,
}

/// Appraises the bound statements: the rules of each format's own, then those over claims.
pub(crate) fn appraise(appraised: &Appraised<'_>) -> Appraisal {
    let Appraised { authentication, binding, policy, baseline, nonce_given, .. } = appraised;
    let mut appraisal = Appraisal::default();
    let at = |place: usize| authentication.statements.get(place);
    appraise_keys(appraised, &mut appraisal);
    if policy.nonce() == NonceDemand::Required && !nonce_given {
        appraisal.key.push(Rejection::plain(codes::POLICY_NONCE));
    }
    if policy.possession() == Stance::Reject {
        let possession =
            authentication.statements.iter().filter(|found| found.freshness() == Freshness::ProofOfPossession);
        let violations = possession.map(|found| Rejection::plain(codes::POLICY_POSSESSION).in_statement(found.index()));
        appraisal.key.extend(violations);
    }
    for statement in &authentication.statements {
        let violations = age::of_statement(statement, policy, appraised.at);
        let subject = if statement.is_about_platform_alone() { &mut appraisal.platform } else { &mut appraisal.key };
        subject.extend(violations);
    }
    match binding.platform.and_then(at) {
        Some(statement) => {
            if let Some(quoted) = statement.platform().and_then(AttestedPlatform::quote) {
                appraisal.platform.extend(appraise_quote(statement, quoted, policy, baseline));
            }
        }
        None if policy.platform() == PlatformDemand::Required && !has_failed_platform(authentication) => {
            appraisal.platform.push(Rejection::plain(codes::POLICY_PLATFORM));
        }
        None => {}
    }
    appraisal
}

/// Every key that the evidence is bound to by, then once what holds it.
fn appraise_keys(appraised: &Appraised<'_>, appraisal: &mut Appraisal) {
    let Appraised { authentication, binding, descriptions, policy, .. } = appraised;
    let formats = authentication.formats();
    let mut keys: Vec<&SpkiView> = Vec::new();
    let mut all = Vec::new();
    for (place, claims) in binding.keys.iter().zip(&descriptions.keys) {
        let Some(statement) = authentication.statements.get(place.statement) else { continue };
        let Some(key) = statement.keys().get(place.key) else { continue };
        let spki = key.spki.as_ref();
        let facts = facts(descriptions, place.statement, claims, spki, &formats);
        let mut violations = match key.tpm() {
            Some(key) => appraise_tpm_key(key, policy),
            None => appraise_tpm_claims(claims),
        };
        let is_said = violations.iter().any(|violation| violation.code() != codes::POLICY_EXTENSION_ONLY.id);
        violations.extend(rules::of_key(policy, &facts, is_said));
        if statement.signer().is_virtual() && policy.virtual_module() == Stance::Reject {
            violations.push(Rejection::plain(codes::POLICY_VIRTUAL));
        }
        appraisal.key.extend(violations.into_iter().map(|violation| violation.in_statement(statement.index())));
        keys.extend(spki.filter(|spki| !keys.iter().any(|known| known.same_key(spki))));
        all.push((statement, facts));
    }
    // Every statement about the key is judged with what stands behind it: which comes first means nothing.
    let mut judged: Vec<usize> = Vec::new();
    for (statement, facts) in &all {
        if !judged.contains(&statement.index()) {
            judged.push(statement.index());
            appraise_module(appraised, statement, facts, keys.clone(), appraisal);
        }
    }
    if let Some((index, name)) = descriptions.contradiction {
        let message = format!("Two statements say different things of the platform's {name}.");
        let violation = Rejection::new(codes::BIND_SEVERAL_PLATFORMS, message).in_statement(index);
        appraisal.platform.push(violation);
    }
    let freshness = weakest_freshness(authentication).label();
    for (statement, facts) in &all {
        let violations = expressions(policy, facts, freshness, &appraisal.advisories);
        appraisal.key.extend(violations.into_iter().map(|violation| violation.in_statement(statement.index())));
    }
}

fn facts<'a>(
    descriptions: &'a Descriptions,
    statement: usize,
    key: &'a Claims,
    spki: Option<&'a SpkiView>,
    formats: &'a [(usize, FormatId)],
) -> Facts<'a> {
    static NOTHING: Claims = Claims::new();
    let mut attesting = descriptions.attesting_keys.iter();
    let attesting_key = attesting.find(|(place, _)| *place == statement).map_or(&NOTHING, |(_, claims)| claims);
    Facts { key, platform: &descriptions.platform, attesting_key, spki, formats }
}

/// What holds the keys, and the key that attested them.
fn appraise_module(
    appraised: &Appraised<'_>,
    statement: &Authenticated,
    facts: &Facts<'_>,
    keys: Vec<&SpkiView>,
    appraisal: &mut Appraisal,
) {
    let policy = appraised.policy;
    let subjects =
        Subjects { keys, attesting_key: Some(statement.signer().key()), module: [facts.platform, facts.attesting_key] };
    let found = appraised.advisories.concerning(&subjects);
    let new: Vec<_> = found.into_iter().filter(|one| !appraisal.advisories.contains(one)).collect();
    let mut violations = rules::of_module(policy, facts);
    violations.extend(certification(policy, facts, appraised.at).err());
    violations.extend(advisories(policy, &new));
    appraisal.advisories.extend(new);
    // The platform is one, however many statements speak of it.
    let is_said = |violation: &Rejection| {
        let same = |known: &Rejection| known.code() == violation.code() && known.message() == violation.message();
        appraisal.key.iter().any(same)
    };
    violations.retain(|violation| !is_said(violation));
    appraisal.key.extend(violations.into_iter().map(|violation| violation.in_statement(statement.index())));
}

/// How fresh the whole is: as its weakest statement.
fn weakest_freshness(authentication: &Authentication) -> Freshness {
    authentication.statements.iter().map(Authenticated::freshness).min().unwrap_or(Freshness::None)
}

/// Whether a platform statement is there and false: it has its own reason already.
fn has_failed_platform(authentication: &Authentication) -> bool {
    authentication.failures.iter().any(|(format, _)| !crate::bind::is_key_format(*format))
}
