//! A rule over claims: what must be said of the key, of its module or of the key that attested it, and on whose word.
//!
//! A rule that demands something is violated by a claim that nobody makes.

use serde_json::Value;
use vouchsafe_evidence::statement::FormatId;
use vouchsafe_evidence::x509::{NamedCurve, PublicKey, SpkiView};

use super::demand::Sources;
use crate::claims::vocabulary::About;
use crate::claims::{Claim, Claims, Source};
use crate::rejection::{Code, Rejection, codes};

/// One rule of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// Its place in the policy file, such as `key.extractable`.
    pub id: &'static str,
    /// What it is about.
    pub about: About,
    /// The claim it is about, and the member of it where the claim is an object.
    pub claim: (&'static str, Option<&'static str>),
    /// What must be true of it.
    pub wanted: Wanted,
    /// The code of its violation.
    pub code: Code,
    /// The clause for which the policy has it, where the policy says.
    pub clause: Option<String>,
}

/// What must be true of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// It has this truth.
    Is(bool),
    /// It has one of these values, in whatever case.
    OneOf(Vec<String>),
    /// It is a list that has all of these.
    Includes(Vec<String>),
    /// It is a list that has none of these.
    Excludes(Vec<String>),
    /// It is a number, or a text with one, of at least this.
    AtLeast(u8),
    /// Nobody claims it.
    Absent,
    /// Nobody claims that it has one of these values.
    Never(Vec<String>),
    /// The user must do something.
    UserAction,
    /// The modulus of an RSA key has at least so many bits.
    RsaBits(u16),
    /// The key is an elliptic-curve key on one of these.
    Curves(Vec<String>),
}

/// What rules are judged by.
#[derive(Clone, Copy)]
pub(crate) struct Facts<'a> {
    pub key: &'a Claims,
    pub platform: &'a Claims,
    pub attesting_key: &'a Claims,
    pub spki: Option<&'a SpkiView>,
    /// The formats of the statements, by their places; of a wrapper several.
    pub formats: &'a [(usize, FormatId)],
}

/// What a rule found.
#[derive(Clone, Debug)]
pub(crate) struct Finding<'a> {
    /// The claim that it looked at.
    pub claim: Option<&'a Claim>,
    /// Its violation, if it is violated.
    pub violation: Option<Rejection>,
}

impl<'a> Facts<'a> {
    /// The claim about a subject. What a module is may also stand in the certificate of its attesting key.
    pub fn claim(&self, about: About, name: &str) -> Option<&'a Claim> {
        match about {
            About::Key => self.key.named(name),
            About::Platform => self.platform.named(name).or_else(|| {
                let is_identity = ["vendor", "model", "hw_version", "fw_version", "kind"].contains(&name);
                is_identity.then(|| self.attesting_key.named(name)).flatten()
            }),
            About::AttestingKey => self.attesting_key.named(name),
        }
    }

    /// The formats of the statements that make these claims, each once. None if that is unknown of any of them.
    pub fn formats_of(&self, about: About, names: &[&str]) -> Vec<FormatId> {
        let mut formats = Vec::new();
        for claim in names.iter().filter_map(|name| self.claim(about, name)) {
            let mut said_in = self.formats.iter().filter(|(place, _)| *place == claim.statement).peekable();
            if said_in.peek().is_none() {
                return Vec::new();
            }
            for (_, format) in said_in {
                if !formats.contains(format) {
                    formats.push(*format);
                }
            }
        }
        formats
    }
}

impl Rule {
    /// What the claim is called in policies, such as `key.extractable`.
    pub fn claim_name(&self) -> String {
        format!("{}.{}", self.about.label(), self.claim.0)
    }

    /// Judges it.
    pub fn judge<'a>(&self, facts: &Facts<'a>, sources: &Sources) -> Finding<'a> {
        let claim = facts.claim(self.about, self.claim.0);
        let violation = match &self.wanted {
            Wanted::RsaBits(bits) => self.judge_rsa(*bits, facts.spki),
            Wanted::Curves(curves) => self.judge_curve(curves, facts.spki),
            Wanted::Absent => claim.map(|claim| self.violated(Some(claim), &claim.value)),
            Wanted::Never(values) => {
                let said = claim.filter(|claim| values.iter().any(|value| has_text(&claim.value, value)));
                said.map(|claim| self.violated(Some(claim), &claim.value))
            }
            _ => self.judge_claim(claim, sources),
        };
        Finding { claim, violation }
    }

    fn judge_claim(&self, claim: Option<&Claim>, sources: &Sources) -> Option<Rejection> {
        let value = claim.and_then(|claim| match self.claim.1 {
            None => Some(&claim.value),
            Some(member) => claim.value.get(member),
        });
        let (Some(claim), Some(value)) = (claim, value) else {
            return Some(self.violated(claim, &Value::Null));
        };
        if !self.wanted.holds(value) {
            return Some(self.violated(Some(claim), value));
        }
        // What is signed or endorsed suffices always, and is most of what there is.
        if matches!(claim.source, Source::Signed | Source::Endorsed) {
            return None;
        }
        let name = self.claim_name();
        if sources.suffices(claim.source, &name) {
            return None;
        }
        let code = match claim.source {
            Source::HostAsserted => codes::POLICY_HOST_ASSERTED,
            Source::Implied | Source::Endorsed | Source::Signed => codes::POLICY_IMPLIED,
        };
        let word = source_in_words(claim);
        Some(Rejection::new(code, format!("{name} is {}, {word}; policy does not take that for it.", shown(value))))
    }

    fn judge_rsa(&self, wanted: u16, key: Option<&SpkiView>) -> Option<Rejection> {
        let Some(PublicKey::Rsa { modulus, .. }) = key.map(SpkiView::key) else { return None };
        let leading = modulus.first().map_or(0, |octet| octet.leading_zeros());
        let bits = modulus.len().saturating_mul(8).saturating_sub(usize::try_from(leading).unwrap_or(0));
        let is_short = bits < usize::from(wanted);
        is_short.then(|| self.rejection(format!("The key is RSA with {bits} bits; at least {wanted} are wanted")))
    }

    fn judge_curve(&self, wanted: &[String], key: Option<&SpkiView>) -> Option<Rejection> {
        let found = match key.map(SpkiView::key) {
            Some(PublicKey::Rsa { .. }) => return None,
            Some(PublicKey::Ec { curve, .. }) => curve_name(*curve),
            Some(PublicKey::Ed25519(_)) => "Ed25519",
            Some(_) => "of another kind",
            None => "not told",
        };
        let is_wanted = wanted.iter().any(|name| name.eq_ignore_ascii_case(found));
        let message = || format!("The key's curve is {found}; wanted is {}", wanted.join(" or "));
        (!is_wanted).then(|| self.rejection(message()))
    }

    fn violated(&self, claim: Option<&Claim>, value: &Value) -> Rejection {
        let name = match self.claim.1 {
            None => self.claim_name(),
            Some(member) => format!("{}.{member}", self.claim_name()),
        };
        let wanted = self.wanted.in_words();
        self.rejection(match (claim, value) {
            (None, _) | (_, Value::Null) => format!("Nothing says {name}; it must {wanted}"),
            (Some(claim), value) => {
                // What the word means for a relying party, which nobody guesses from it.
                let why = if self.code == codes::POLICY_ENVIRONMENT {
                    ", since software beside the module can have the key sign anything"
                } else {
                    ""
                };
                format!("{name} is {}, {}; it must {wanted}{why}", shown(value), source_in_words(claim))
            }
        })
    }

    fn rejection(&self, message: String) -> Rejection {
        let clause = self.clause.as_ref().map(|clause| format!(" ({clause})")).unwrap_or_default();
        Rejection::new(self.code, format!("{message}{clause}."))
    }

    /// The rule in words, as the end of a sentence about its claim.
    pub fn in_words(&self) -> String {
        let name = self.claim.1.map_or_else(|| self.claim_name(), |member| format!("{}.{member}", self.claim_name()));
        match &self.wanted {
            Wanted::RsaBits(_) => format!("An RSA key must {}", self.wanted.in_words()),
            Wanted::Curves(_) => format!("Any other key must {}", self.wanted.in_words()),
            _ => format!("{name} must {}", self.wanted.in_words()),
        }
    }
}

impl Wanted {
    fn holds(&self, value: &Value) -> bool {
        match self {
            Self::Is(wanted) => value.as_bool() == Some(*wanted),
            Self::OneOf(wanted) => wanted.iter().any(|wanted| has_text(value, wanted)),
            Self::Includes(wanted) => wanted.iter().all(|wanted| lists(value, wanted)),
            Self::Excludes(wanted) => value.is_array() && !wanted.iter().any(|wanted| lists(value, wanted)),
            Self::AtLeast(wanted) => {
                let number =
                    value.as_u64().or_else(|| value.as_str().and_then(super::modules::level_of).map(u64::from));
                number.is_some_and(|number| number >= u64::from(*wanted))
            }
            Self::UserAction => asks_for_action(value),
            Self::Absent | Self::Never(_) | Self::RsaBits(_) | Self::Curves(_) => false,
        }
    }

    fn in_words(&self) -> String {
        match self {
            Self::Is(wanted) => format!("be {wanted}"),
            Self::OneOf(wanted) => format!("be {}", wanted.join(" or ")),
            Self::Includes(wanted) => format!("include {}", wanted.join(" and ")),
            Self::Excludes(wanted) => format!("not include {}", wanted.join(" or ")),
            Self::AtLeast(wanted) => format!("be at least {wanted}"),
            Self::Absent => "not be claimed".to_owned(),
            Self::Never(values) => format!("not be {}", values.join(" or ")),
            Self::UserAction => "ask the user for something".to_owned(),
            Self::RsaBits(bits) => format!("have at least {bits} bits"),
            Self::Curves(curves) => format!("be on {}", curves.join(" or ")),
        }
    }
}

fn curve_name(curve: NamedCurve) -> &'static str {
    match curve {
        NamedCurve::P256 => "P-256",
        NamedCurve::P384 => "P-384",
        NamedCurve::P521 => "P-521",
    }
}

/// Whether a claim is this text; truths and numbers are compared as they are written.
fn has_text(value: &Value, wanted: &str) -> bool {
    match value {
        Value::String(text) => text.eq_ignore_ascii_case(wanted),
        Value::Bool(truth) => wanted == if *truth { "true" } else { "false" },
        Value::Number(number) => number.to_string() == wanted,
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

fn lists(value: &Value, wanted: &str) -> bool {
    value.as_array().is_some_and(|values| values.iter().any(|value| has_text(value, wanted)))
}

/// Whether a claim of user authentication says that anything must be done: a PIN, a touch, an authorization value.
fn asks_for_action(value: &Value) -> bool {
    match value {
        Value::Bool(asks) => *asks,
        Value::String(word) => !["", "never", "none", "default", "unknown"].contains(&word.to_lowercase().as_str()),
        Value::Array(values) => values.iter().any(asks_for_action),
        Value::Object(members) => members.values().any(asks_for_action),
        Value::Null | Value::Number(_) => false,
    }
}

/// On whose word a claim rests, in words.
pub(crate) fn source_in_words(claim: &Claim) -> String {
    match (claim.source, claim.by) {
        (Source::Signed, _) => "signed in the evidence".to_owned(),
        (Source::Endorsed, _) => "as the attesting key's certificate says".to_owned(),
        (Source::Implied, Some(by)) => format!("by the promise of {by} alone"),
        (Source::Implied, None) => "by the promise of the format alone".to_owned(),
        (Source::HostAsserted, _) => "as host software asserts".to_owned(),
    }
}

/// A claim's value for a message.
pub(crate) fn shown(value: &Value) -> String {
    let text = match value {
        Value::String(text) => vouchsafe_evidence::text::printable(text),
        Value::Array(values) if values.iter().all(Value::is_string) => {
            values.iter().map(shown).collect::<Vec<_>>().join(", ")
        }
        other => vouchsafe_evidence::text::printable(&other.to_string()),
    };
    if text.is_empty() { "empty".to_owned() } else { text.chars().take(100).collect() }
}
