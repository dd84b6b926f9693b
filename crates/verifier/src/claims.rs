//! What evidence says, in one vocabulary for all formats (DESIGN, "Claims").

pub(crate) mod vocabulary;

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::path::Revocation;

/// On whose word a claim rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// An attestation key certificate says it.
    Endorsed,
    /// An attestation key that host software drives signed it.
    HostAsserted,
    /// The vendor promises it for the format; nothing signed says it.
    Implied,
    /// It is in the signed evidence.
    Signed,
}

impl Source {
    /// Its word in reports and expressions.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Endorsed => "endorsed",
            Self::HostAsserted => "host-asserted",
            Self::Implied => "implied",
            Self::Signed => "signed",
        }
    }
}

/// One claim.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Claim {
    /// Its value, in the form that CONTRACT.md gives.
    pub value: Value,
    /// On whose word.
    pub source: Source,
    /// Whose promise it is, where it is implied and that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<&'static str>,
    /// The statement that carries it, counted from zero.
    pub statement: usize,
}

/// Claims about one subject, by name. A claim that nobody makes is absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Claims(BTreeMap<&'static str, Claim>);

impl Claims {
    /// No claims.
    #[must_use]
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Records a claim.
    pub(crate) fn put(&mut self, name: &'static str, value: impl Into<Value>, source: Source, statement: usize) {
        self.0.insert(name, Claim { value: value.into(), source, by: None, statement });
    }

    /// Records what is known of a key's certificates: their revocation, and what was tolerated of them, if anything.
    pub(crate) fn put_chain(&mut self, revocation: Revocation, quirks: Vec<&'static str>, statement: usize) {
        self.put("revocation", revocation.label(), Source::Endorsed, statement);
        if !quirks.is_empty() {
            self.put("chain_quirks", quirks, Source::Endorsed, statement);
        }
    }

    /// Records whether a module is a program: the mark on an anchor says so, and `by` promises that there is a thing
    /// where there is no mark.
    pub(crate) fn put_kind(&mut self, is_virtual: bool, by: &'static str, statement: usize) {
        if is_virtual {
            self.put("kind", "virtual", Source::Endorsed, statement);
        } else {
            self.promise("kind", "physical", by, statement);
        }
    }

    /// Adds a claim as another statement makes it.
    pub(crate) fn add(&mut self, name: &'static str, claim: Claim) {
        self.0.insert(name, claim);
    }

    /// Whether a claim has this value.
    pub(crate) fn is(&self, name: &str, value: impl Into<Value>) -> bool {
        let value = value.into();
        self.named(name).is_some_and(|claim| claim.value == value)
    }

    /// Records a claim that nothing signed makes: `by` promises it for the format.
    pub(crate) fn promise(&mut self, name: &'static str, value: impl Into<Value>, by: &'static str, statement: usize) {
        let claim = Claim { value: value.into(), source: Source::Implied, by: Some(by), statement };
        self.0.insert(name, claim);
    }

    /// The claim of this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Claim> {
        self.0.get(name)
    }

    /// Every claim, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Claim)> {
        self.0.iter().map(|(name, claim)| (*name, claim))
    }

    /// The values alone, as one object.
    pub(crate) fn into_values(self) -> Value {
        Value::Object(self.0.into_iter().map(|(name, claim)| (name.to_owned(), claim.value)).collect())
    }

    /// Whether nothing is claimed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
