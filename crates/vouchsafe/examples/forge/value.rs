//! What expressions give.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

use super::software::{RsaSoftwareKey, SoftwareKey};

/// A value.
#[derive(Clone, Debug)]
pub enum Value {
    /// Nothing: leaves out what would otherwise be there.
    None,
    Flag(bool),
    Key(Key),
    List(Vec<Value>),
    Number(u64),
    Octets(Vec<u8>),
    /// Named fields; where octets are wanted, its field `der`, where a key is, its field `key`.
    Record(BTreeMap<String, Value>),
    Text(String),
}

/// A key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// A public key that nobody holds: the DER of its SubjectPublicKeyInfo.
    Public(Vec<u8>),
    Software(SoftwareKey),
    Rsa(RsaSoftwareKey),
    /// An object of a recorded TPM.
    Tpm {
        device: String,
        object: String,
    },
}

impl Value {
    pub fn record<const N: usize>(fields: [(&str, Value); N]) -> Self {
        Self::Record(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    pub fn field(&self, name: &str) -> Result<Value> {
        match self {
            Self::Record(fields) => fields.get(name).cloned().with_context(|| format!("there is no field {name}")),
            _ => bail!("{name} is asked of something without fields"),
        }
    }

    pub fn octets(&self) -> Result<Vec<u8>> {
        match self {
            Self::Octets(octets) => Ok(octets.clone()),
            Self::Record(_) => self.field("der")?.octets(),
            other => bail!("expected octets, not {other:?}"),
        }
    }

    pub fn text(&self) -> Result<&str> {
        match self {
            Self::Text(text) => Ok(text),
            other => bail!("expected a text, not {other:?}"),
        }
    }

    pub fn number(&self) -> Result<u64> {
        match self {
            Self::Number(number) => Ok(*number),
            other => bail!("expected a number, not {other:?}"),
        }
    }

    pub fn flag(&self) -> Result<bool> {
        match self {
            Self::Flag(flag) => Ok(*flag),
            other => bail!("expected yes or no, not {other:?}"),
        }
    }

    pub fn list(&self) -> Result<Vec<Value>> {
        match self {
            Self::List(members) => Ok(members.clone()),
            other => bail!("expected a list, not {other:?}"),
        }
    }

    /// The octets of each member; what is nothing is left out, lists in lists are opened.
    pub fn octets_list(&self) -> Result<Vec<Vec<u8>>> {
        let mut all = Vec::new();
        for member in self.list()? {
            match member {
                Self::None => {}
                Self::List(_) => all.extend(member.octets_list()?),
                other => all.push(other.octets()?),
            }
        }
        Ok(all)
    }

    pub fn key(&self) -> Result<Key> {
        match self {
            Self::Key(key) => Ok(key.clone()),
            Self::Record(_) => self.field("key")?.key(),
            Self::Octets(spki) => Ok(Key::Public(spki.clone())),
            other => bail!("expected a key, not {other:?}"),
        }
    }
}

/// The arguments of one call. Every one of them must be used.
#[derive(Debug)]
pub struct Arguments {
    positional: Vec<Option<Value>>,
    labelled: BTreeMap<String, Value>,
}

impl Arguments {
    pub fn new(arguments: Vec<(Option<String>, Value)>) -> Self {
        let mut positional = Vec::new();
        let mut labelled = BTreeMap::new();
        for (label, value) in arguments {
            match label {
                Some(label) => {
                    labelled.insert(label, value);
                }
                None => positional.push(Some(value)),
            }
        }
        Self { positional, labelled }
    }

    /// The argument at a place.
    pub fn at(&mut self, place: usize) -> Result<Value> {
        self.maybe_at(place).with_context(|| format!("argument {} is missing", place.saturating_add(1)))
    }

    pub fn maybe_at(&mut self, place: usize) -> Option<Value> {
        self.positional.get_mut(place).and_then(Option::take)
    }

    /// The arguments without label that were not taken yet.
    pub fn rest(&mut self) -> Vec<Value> {
        self.positional.iter_mut().filter_map(Option::take).collect()
    }

    /// The labelled argument, if it is there.
    pub fn labelled(&mut self, label: &str) -> Option<Value> {
        self.labelled.remove(label)
    }

    /// Puts a labelled argument in, for another word to take.
    pub fn set(&mut self, label: &str, value: Value) {
        self.labelled.insert(label.to_owned(), value);
    }

    pub fn octets_or(&mut self, label: &str, otherwise: &[u8]) -> Result<Vec<u8>> {
        self.labelled(label).map_or_else(|| Ok(otherwise.to_vec()), |value| value.octets())
    }

    pub fn text_or(&mut self, label: &str, otherwise: &str) -> Result<String> {
        self.labelled(label).map_or_else(|| Ok(otherwise.to_owned()), |value| value.text().map(ToOwned::to_owned))
    }

    pub fn flag_or(&mut self, label: &str, otherwise: bool) -> Result<bool> {
        self.labelled(label).map_or(Ok(otherwise), |value| value.flag())
    }

    /// Fails if an argument was not used.
    pub fn finish(&self) -> Result<()> {
        if let Some(label) = self.labelled.keys().next() {
            bail!("{label}: is no argument of this word");
        }
        if self.positional.iter().any(Option::is_some) { bail!("there are too many arguments") } else { Ok(()) }
    }
}
