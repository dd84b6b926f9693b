//! A policy in words, and what it makes of a verdict that was stored.

use serde_json::Value;
use thiserror::Error;
use vouchsafe_evidence::statement::FormatId;
use vouchsafe_evidence::x509::SpkiView;

use super::demand::{AdvisoryStance, NonceDemand, PlatformDemand, Stance};
use super::rule::{Facts, Rule, shown, source_in_words};
use super::{IndirectStance, Policy};
use crate::advisory::Advisory;
use crate::appraise::{advisories, age, certification, expressions};
use crate::authenticate::Dated;
use crate::claims::vocabulary::{self, About};
use crate::claims::{Claim, Claims, Source};
use crate::rejection::{Code, Rejection, codes};
use crate::time::Instant;
use crate::verdict::Freshness;

/// One rule in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Its place in the policy file, such as `key.extractable`.
    pub rule: String,
    /// What it asks, as one sentence.
    pub text: String,
    /// The code of its violation; once judged, of the violation that was found.
    pub code: &'static str,
    /// The clause it rests on: the policy's own, or else that of the code.
    pub clause: String,
}

/// A rule and what it found in a stored verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The rule.
    pub explanation: Explanation,
    /// What it found; of a rule that is violated, the violation.
    pub found: String,
    /// Whether it holds.
    pub holds: bool,
}

/// A stored verdict that cannot be read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("this is no verdict: {0}")]
pub struct ReportError(&'static str);

/// What a stored verdict says.
struct Stored {
    key: Claims,
    platform: Claims,
    attesting_key: Claims,
    spki: Option<SpkiView>,
    formats: Vec<(usize, FormatId)>,
    at: Instant,
    freshness: &'static str,
    freshness_by_statement: Vec<Freshness>,
    has_platform: bool,
    advisories: Vec<Advisory>,
    /// Reasons that no policy changes.
    standing: Vec<(String, String)>,
}

/// The rules on keys of TPMs that every policy has.
const TPM_RULES: [Code; 4] = [
    codes::TPM_KEY_NOT_FIXED,
    codes::TPM_KEY_PARENT_NOT_FIXED,
    codes::TPM_KEY_NOT_GENERATED,
    codes::TPM_KEY_DUPLICABLE,
];

impl Policy {
    /// Every rule in words, in the order in which they are judged.
    #[must_use]
    pub fn explain(&self) -> Vec<Explanation> {
        let other = |rule: &str, code: Code, text: String| Explanation {
            rule: rule.to_owned(),
            text,
            code: code.id,
            clause: self.clause(rule).unwrap_or(code.clause).to_owned(),
        };
        let mut all: Vec<Explanation> = TPM_RULES
            .iter()
            .map(|code| other("(every policy)", *code, format!("Refused of keys of TPMs: {}", code.meaning)))
            .collect();
        all.extend(self.rules.iter().map(|rule| self.explain_rule(rule)));
        if self.asks_for_certification() {
            let wanted: Vec<String> =
                self.certified.iter().map(|wanted| format!("{} level {}", wanted.scheme, wanted.level_min)).collect();
            let text =
                format!("A list of certified modules must show the module at {} or above.", wanted.join(", or "));
            all.push(other("module.certified", codes::CSBR_MODULE_NOT_CERTIFIED, text));
        }
        for (rule, stance, code, what) in [
            ("advisories.keys", self.advisories.keys, codes::POLICY_ADVISORY_KEY, "A key that shows a known flaw"),
            (
                "advisories.modules",
                self.advisories.modules,
                codes::POLICY_ADVISORY_MODULE,
                "A module with a known flaw",
            ),
        ] {
            let made = match stance {
                AdvisoryStance::Reject => "is refused",
                AdvisoryStance::Report => "is reported and accepted",
            };
            all.push(other(rule, code, format!("{what} {made}.")));
        }
        for expression in &self.expressions {
            all.push(other("require", codes::POLICY_EXPRESSION, format!("`{}` must be true.", expression.text())));
        }
        all.extend(self.explain_demands().into_iter().map(|(rule, code, text)| other(rule, code, text)));
        all
    }

    fn explain_rule(&self, rule: &Rule) -> Explanation {
        let text = rule.in_words();
        let name = rule.claim_name();
        let words = [(Source::Implied, "a maker's promise"), (Source::HostAsserted, "host software's word")];
        let refused: Vec<&str> =
            words.iter().filter(|(source, _)| !self.sources.suffices(*source, &name)).map(|(_, word)| *word).collect();
        let sources = match refused.is_empty() || rule.claim.0 == "spki" {
            true => String::new(),
            false => format!("; {} does not count", refused.join(" or ")),
        };
        Explanation {
            rule: rule.id.to_owned(),
            text: format!("{text}{sources}."),
            code: rule.code.id,
            clause: rule.clause.clone().unwrap_or_else(|| rule.code.clause.to_owned()),
        }
    }

    /// Rules on what the evidence is made of, rather than on claims.
    fn explain_demands(&self) -> Vec<(&'static str, Code, String)> {
        let mut all: Vec<(&'static str, Code, &'static str)> = vec![match self.platform {
            PlatformDemand::Ignored => ("platform", codes::POLICY_PLATFORM, "Platform statements are passed over."),
            PlatformDemand::Optional => (
                "platform",
                codes::POLICY_PLATFORM,
                "A platform statement may be missing; one that is there must hold.",
            ),
            PlatformDemand::Required => {
                ("platform", codes::POLICY_PLATFORM, "A platform statement must be there and hold.")
            }
        }];
        all.push(match self.nonce {
            NonceDemand::Optional => ("nonce", codes::POLICY_NONCE, "A nonce that is given must be answered."),
            NonceDemand::Required => ("nonce", codes::POLICY_NONCE, "A nonce must be given and answered."),
        });
        if self.possession == Stance::Reject {
            all.push(("possession", codes::POLICY_POSSESSION, "A proof of possession makes up for no nonce."));
        }
        if self.extension_only == Stance::Reject {
            let text = "A TPM key's attributes must be known by its Name.";
            all.push(("attributes_extension_only", codes::POLICY_EXTENSION_ONLY, text));
        }
        if self.virtual_module == Stance::Reject {
            all.push(("virtual_module", codes::POLICY_VIRTUAL, "Virtual modules are refused."));
        }
        let mut all: Vec<_> = all.into_iter().map(|(rule, code, text)| (rule, code, text.to_owned())).collect();
        if let Some(age) = self.max_evidence_age {
            let text = format!(
                "Evidence must be no older than {age} by the time that it says; one that says none must answer a nonce."
            );
            all.push(("max_evidence_age", codes::POLICY_EVIDENCE_TOO_OLD, text));
        }
        all
    }

    /// What deserves a second look: rules that take much for granted, expressions over claims that nobody makes.
    #[must_use]
    pub fn lints(&self) -> Vec<String> {
        let mut lints = Vec::new();
        for expression in &self.expressions {
            for claim in claims_named_in(expression.text()) {
                if vocabulary::named(&claim).is_none() {
                    lints
                        .push(format!("`{}` asks for {claim}, which is no claim of the vocabulary", expression.text()));
                }
            }
        }
        if self.asks_for_certification() && self.modules.is_empty() && self.module_list_names.is_empty() {
            lints.push(
                "a certification is asked for and no list of modules is named: give one with --modules".to_owned(),
            );
        }
        if !self.rules.iter().any(|rule| rule.id == "key.extractable") {
            lints.push("keys that can leave their module are accepted".to_owned());
        }
        if self.revocation.stale == Stance::Accept || self.revocation.indirect == IndirectStance::AcceptAsMissing {
            lints.push("revocation lists that are not current, or not the issuer's own, are passed over".to_owned());
        }
        lints
    }

    /// Judges a stored verdict: the claims that it holds, by this policy's rules. What did not authenticate or bind
    /// stays refused; rules on PCRs and on revocation lists need the evidence itself and are not judged again.
    ///
    /// # Errors
    /// [`ReportError`] for what is no verdict in the form of CONTRACT.md.
    pub fn judge_report(&self, report: &Value) -> Result<Vec<Judged>, ReportError> {
        let stored = Stored::read(report)?;
        let facts = Facts {
            key: &stored.key,
            platform: &stored.platform,
            attesting_key: &stored.attesting_key,
            spki: stored.spki.as_ref(),
            formats: &stored.formats,
        };
        let mut all: Vec<Judged> = stored.standing.iter().map(|(code, message)| standing(code, message)).collect();
        let mut explanations = self.explain().into_iter().filter(|found| found.rule != "(every policy)");
        for rule in &self.rules {
            let finding = rule.judge(&facts, &self.sources);
            let Some(explanation) = explanations.next() else { continue };
            let found = finding.claim.map_or("nothing says so".to_owned(), |claim| in_words(rule, claim));
            all.push(judged(explanation, found, finding.violation));
        }
        let known_flaws = advisories(self, &stored.advisories);
        let mut of_expressions = expressions(self, &facts, stored.freshness, &stored.advisories).into_iter().peekable();
        for explanation in explanations {
            let (found, violation) = match explanation.rule.as_str() {
                "module.certified" => match certification(self, &facts, stored.at) {
                    Ok(found) => (found.unwrap_or_default(), None),
                    Err(violation) => (String::new(), Some(violation)),
                },
                "require" => {
                    let own = of_expressions.next_if(|violation| explanation.text.starts_with(&quoted(violation)));
                    ("true".to_owned(), own)
                }
                "advisories.keys" | "advisories.modules" => {
                    let own = known_flaws.iter().find(|violation| violation.code() == explanation.code);
                    ("no known flaw that is refused".to_owned(), own.cloned())
                }
                _ => stored.judge_demand(self, explanation.code),
            };
            all.push(judged(explanation, found, violation));
        }
        Ok(all)
    }
}

/// The expression that a violation quotes.
fn quoted(violation: &Rejection) -> String {
    let text = violation.message().split('`').nth(1).unwrap_or_default();
    format!("`{text}`")
}

fn standing(code: &str, message: &str) -> Judged {
    let known = crate::all_codes().into_iter().find(|known| known.id == code);
    Judged {
        explanation: Explanation {
            rule: "(no policy changes it)".to_owned(),
            text: message.to_owned(),
            code: known.map_or("", |known| known.id),
            clause: known.map_or("", |known| known.clause).to_owned(),
        },
        found: message.to_owned(),
        holds: false,
    }
}

fn judged(mut explanation: Explanation, found: String, violation: Option<Rejection>) -> Judged {
    let Some(violation) = violation else { return Judged { explanation, found, holds: true } };
    // A claim that is as wanted and rests on a word that does not count has a code of its own.
    explanation.code = violation.code();
    Judged { explanation, found: violation.message().to_owned(), holds: false }
}

fn in_words(rule: &Rule, claim: &Claim) -> String {
    if rule.claim.0 == "spki" {
        return "the key".to_owned();
    }
    format!("{} is {}, {}", rule.claim_name(), shown(&claim.value), source_in_words(claim))
}

/// The claims that an expression names, such as `key.extractable`.
fn claims_named_in(text: &str) -> Vec<String> {
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '.';
    let words = text.split(|letter| !is_name(letter));
    words
        .filter_map(|word| word.strip_prefix("claims.").or_else(|| word.strip_prefix("sources.")))
        .filter_map(|path| {
            let mut parts = path.split('.');
            Some(format!("{}.{}", parts.next()?, parts.next()?))
        })
        .collect()
}

impl Stored {
    fn read(report: &Value) -> Result<Self, ReportError> {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let verdict = text(report.get("verdict")).ok_or(ReportError("it has no member `verdict`"))?;
        let claims = |section: &str, about| {
            let members = report.get(section).and_then(|section| section.get("claims"));
            read_claims(members.ok_or(ReportError("a section has no claims"))?, about)
        };
        let at = text(report.get("at")).and_then(|at| Instant::from_rfc3339(&at).ok());
        let freshness = text(report.get("freshness")).unwrap_or_default();
        let key = claims("key", About::Key)?;
        let spki = key.named("spki").and_then(|claim| claim.value.as_str()).and_then(spki);
        let rows = |name: &str| report.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
        let reasons = rows("reasons").into_iter().map(|reason| {
            let member = |name: &str| text(reason.get(name)).unwrap_or_default();
            (member("code"), member("message"))
        });
        let standing: Vec<(String, String)> = reasons.filter(|(code, _)| !is_of_policy(code)).collect();
        if verdict != "accepted" && key.is_empty() && standing.is_empty() {
            return Err(ReportError("it was refused and says no reason"));
        }
        Ok(Self {
            spki,
            formats: read_formats(&rows("formats_by_statement"))?,
            platform: claims("platform", About::Platform)?,
            attesting_key: claims("attesting_key", About::AttestingKey)?,
            key,
            at: at.ok_or(ReportError("it says no time"))?,
            freshness_by_statement: rows("freshness_by_statement").iter().map(read_freshness).collect(),
            freshness: ["nonce", "proof-of-possession"].into_iter().find(|word| *word == freshness).unwrap_or("none"),
            has_platform: report
                .get("platform")
                .and_then(|section| section.get("verdict"))
                .is_some_and(|v| v == "accepted"),
            advisories: rows("module_advisories").iter().map(read_advisory).collect(),
            standing,
        })
    }

    /// A demand on what the evidence is made of.
    fn judge_demand(&self, policy: &Policy, code: &'static str) -> (String, Option<Rejection>) {
        let says = |claims: &Claims, name: &str, value: &str| claims.is(name, value);
        let virtual_module = says(&self.platform, "kind", "virtual") || says(&self.attesting_key, "kind", "virtual");
        let (found, violated, rejection) = match code {
            "policy.platform-required" => {
                let found = if self.has_platform { "a platform statement" } else { "no platform statement" };
                let violated = policy.platform == PlatformDemand::Required && !self.has_platform;
                (found.to_owned(), violated, codes::POLICY_PLATFORM)
            }
            "policy.nonce-required" => {
                let violated = policy.nonce == NonceDemand::Required && self.freshness == "none";
                (format!("freshness is {}", self.freshness), violated, codes::POLICY_NONCE)
            }
            "policy.possession" => {
                let violated = self.freshness == "proof-of-possession";
                (format!("freshness is {}", self.freshness), violated, codes::POLICY_POSSESSION)
            }
            "policy.evidence-too-old" => return self.judge_age(policy),
            "policy.extension-only" => {
                let violated = says(&self.key, "attributes", "extension-only");
                ("the attributes are known".to_owned(), violated, codes::POLICY_EXTENSION_ONLY)
            }
            _ => ("no mark says that the module is virtual".to_owned(), virtual_module, codes::POLICY_VIRTUAL),
        };
        (found, violated.then(|| Rejection::plain(rejection)))
    }
}

impl Stored {
    /// How old each statement was when it was judged. Of several, those whose time is not among the claims count as undated.
    fn judge_age(&self, policy: &Policy) -> (String, Option<Rejection>) {
        let Some(limit) = policy.max_evidence_age else { return (String::new(), None) };
        let mut places: Vec<usize> = self.formats.iter().map(|(place, _)| *place).collect();
        places.dedup();
        let found = places.iter().map(|place| {
            let dated = Dated::of_statement(*place, &self.attesting_key, &self.platform);
            let freshness = self.freshness_by_statement.get(*place).copied().unwrap_or(Freshness::None);
            (policy.dated(dated), freshness)
        });
        let found: Vec<(Option<Dated>, Freshness)> = found.collect();
        let violation = match found.as_slice() {
            // Nothing that was read says anything.
            [] => age::judge(limit, None, Freshness::None, self.at),
            found => found.iter().find_map(|(dated, freshness)| age::judge(limit, *dated, *freshness, self.at)),
        };
        let oldest = found.iter().filter_map(|(dated, _)| *dated).map(|dated| dated.time).min();
        let said =
            oldest.map_or_else(|| "it answers the nonce".to_owned(), |time| format!("the evidence is of {time}"));
        (said, violation)
    }
}

/// Whether a reason is a policy's, and may be otherwise under another.
fn is_of_policy(code: &str) -> bool {
    ["policy.", "key.", "csbr."].iter().any(|family| code.starts_with(family))
}

fn spki(text: &str) -> Option<SpkiView> {
    use base64::Engine;
    let der = base64::engine::general_purpose::STANDARD.decode(text).ok()?;
    SpkiView::parse(&der).ok()
}

fn read_claims(members: &Value, about: About) -> Result<Claims, ReportError> {
    let members = members.as_object().ok_or(ReportError("claims are no object"))?;
    let mut claims = Claims::new();
    for (name, claim) in members {
        let Some(term) = vocabulary::term(about, name) else { continue };
        let source = claim.get("source").and_then(Value::as_str).unwrap_or_default();
        let source = [Source::Endorsed, Source::HostAsserted, Source::Implied, Source::Signed]
            .into_iter()
            .find(|known| known.label() == source)
            .ok_or(ReportError("a claim has no known source"))?;
        let statement = claim.get("statement").and_then(Value::as_u64).and_then(|place| usize::try_from(place).ok());
        let statement = statement.ok_or(ReportError("a claim has no statement"))?;
        claims.put(term.name, claim.get("value").cloned().unwrap_or_default(), source, statement);
    }
    Ok(claims)
}

/// The formats of the statements, by their places.
fn read_formats(rows: &[Value]) -> Result<Vec<(usize, FormatId)>, ReportError> {
    let mut formats = Vec::new();
    for (place, row) in rows.iter().enumerate() {
        for id in row.as_array().ok_or(ReportError("the formats of a statement are no list"))? {
            let format = id.as_str().and_then(FormatId::from_id);
            formats.push((place, format.ok_or(ReportError("a statement has no known format"))?));
        }
    }
    Ok(formats)
}

fn read_freshness(row: &Value) -> Freshness {
    let known = [Freshness::Nonce, Freshness::ProofOfPossession];
    known.into_iter().find(|known| row == known.label()).unwrap_or(Freshness::None)
}

fn read_advisory(value: &Value) -> Advisory {
    let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let source = text("source");
    let of_key = source.starts_with("the ");
    Advisory { id: text("id"), title: text("title"), why: text("why"), source, of_key }
}
