//! Rules over claims: the typed ones, the certification of the module, and expressions.

use crate::advisory::Advisory;
use crate::claims::Claims;
use crate::claims::vocabulary::About;
use crate::policy::expression::Variables;
use crate::policy::modules::{Identity, NotListed};
use crate::policy::rule::{Facts, shown};
use crate::policy::{AdvisoryStance, Policy};
use crate::rejection::{Rejection, codes};
use crate::time::Instant;

/// Rules on what the attributes of a TPM's key say already: where those are violated, these only repeat it.
const SAID_BY_ATTRIBUTES: [&str; 5] =
    ["key.device_bound", "key.extractable", "key.local", "key.never_extractable", "key.origin"];

/// What rules over the claims of one key find. `is_said` leaves out what the key's attributes have said.
pub(super) fn of_key(policy: &Policy, facts: &Facts<'_>, is_said: bool) -> Vec<Rejection> {
    let rules = policy.rules().iter().filter(|rule| rule.about == About::Key);
    let rules = rules.filter(|rule| !is_said || !SAID_BY_ATTRIBUTES.contains(&rule.id));
    rules.filter_map(|rule| rule.judge(facts, policy.sources()).violation).collect()
}

/// What rules over the module and over the attesting key find.
pub(super) fn of_module(policy: &Policy, facts: &Facts<'_>) -> Vec<Rejection> {
    let rules = policy.rules().iter().filter(|rule| rule.about != About::Key);
    rules.filter_map(|rule| rule.judge(facts, policy.sources()).violation).collect()
}

/// Whether a list of modules shows a certification that suffices.
///
/// # Errors
/// The violation, if none does.
pub(crate) fn certification(policy: &Policy, facts: &Facts<'_>, at: Instant) -> Result<Option<String>, Rejection> {
    if !policy.asks_for_certification() {
        return Ok(None);
    }
    let text = |name: &str| facts.claim(About::Platform, name).and_then(|claim| claim.value.as_str());
    let clause = policy.clause("module.certified").map(|clause| format!(" ({clause})")).unwrap_or_default();
    let refused = |why: String| Rejection::new(codes::CSBR_MODULE_NOT_CERTIFIED, format!("{why}{clause}."));
    let (Some(vendor), Some(model)) = (text("vendor"), text("model")) else {
        return Err(refused("Nothing says of which vendor and model the module is".to_owned()));
    };
    let (firmware, hardware) = (text("fw_version"), text("hw_version"));
    let formats = facts.formats_of(About::Platform, &["vendor", "model", "fw_version", "hw_version"]);
    let fips_mode = facts.claim(About::Platform, "fips").and_then(|claim| claim.value.get("mode"));
    let denies_fips = fips_mode.is_some_and(|mode| mode.as_bool() == Some(false));
    let module = Identity { formats: &formats, denies_fips, vendor, model, firmware, hardware };
    let listed = policy.modules().certificate(module, policy.certified(), at);
    listed.map(Some).map_err(|why| {
        let firmware = firmware.map_or("unknown firmware".to_owned(), |version| format!("firmware {version}"));
        let ids = formats.iter().map(|format| format.id()).collect::<Vec<_>>().join(" and ");
        let said_in = if ids.is_empty() { String::new() } else { format!(", as {ids} says") };
        let module = shown(&serde_json::Value::from(format!("{vendor} {model} with {firmware}{said_in}")));
        match why {
            NotListed::NoRow if policy.modules().is_empty() => {
                refused(format!("The module is {module}, and no list of certified modules was given"))
            }
            NotListed::NoRow => refused(format!("The module is {module}, which no row of the lists is about")),
            NotListed::Insufficient(why) => refused(format!("The module is {module}; its {why}")),
        }
    })
}

/// What advisories are violations.
pub(crate) fn advisories(policy: &Policy, found: &[Advisory]) -> Vec<Rejection> {
    let demand = policy.advisories();
    let violations = found.iter().filter_map(|advisory| {
        let (stance, code) = match advisory.of_key {
            true => (demand.keys, codes::POLICY_ADVISORY_KEY),
            false => (demand.modules, codes::POLICY_ADVISORY_MODULE),
        };
        let message = || format!("{}, {}: {}", advisory.id, advisory.title, advisory.why);
        (stance == AdvisoryStance::Reject).then(|| Rejection::new(code, message()))
    });
    violations.collect()
}

/// Which expressions are not true.
pub(crate) fn expressions(
    policy: &Policy,
    facts: &Facts<'_>,
    freshness: &'static str,
    advisories: &[Advisory],
) -> Vec<Rejection> {
    if policy.expressions().is_empty() {
        return Vec::new();
    }
    let claims: [(&'static str, &Claims); 3] =
        [("key", facts.key), ("platform", facts.platform), ("attesting_key", facts.attesting_key)];
    let advisories = advisories.iter().map(|advisory| advisory.id.clone()).collect();
    let context = Variables { claims, freshness, advisories }.context();
    let violations = policy.expressions().iter().filter_map(|expression| {
        let why = expression.judge(&context).err()?;
        Some(Rejection::new(codes::POLICY_EXPRESSION, format!("`{}` {why}.", expression.text())))
    });
    violations.collect()
}
