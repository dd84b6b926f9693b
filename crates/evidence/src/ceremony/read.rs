//! Reading members of JSON objects, each within its bound.

use super::{BINARY_OCTETS, DIGEST_OCTETS, NAME_OCTETS, TEXT_OCTETS, Time};
use crate::base64url;
use crate::json::Value;
use crate::text::printable;
use crate::x509::SpkiView;
use crate::{Malformed, Reason};

/// The members of one object.
#[derive(Clone, Copy)]
pub(super) struct Members<'a> {
    value: &'a Value,
    production: &'static str,
}

impl<'a> Members<'a> {
    pub(super) const fn new(value: &'a Value, production: &'static str) -> Self {
        Self { value, production }
    }

    /// Offsets are not kept by values; the comparison with the one encoding tells where texts differ.
    pub(super) const fn error(&self, reason: Reason) -> Malformed {
        Malformed::new(self.production, 0, reason)
    }

    pub(super) fn value(&self, name: &'static str) -> Result<&'a Value, Malformed> {
        self.value.member(name).ok_or_else(|| self.error(Reason::Missing(name)))
    }

    /// A text of any characters.
    pub(super) fn text(&self, name: &'static str) -> Result<String, Malformed> {
        let text = self.value(name)?.text().ok_or_else(|| self.error(Reason::Unexpected("a string")))?;
        if text.len() > TEXT_OCTETS {
            return Err(self.error(Reason::OverLimit { what: name, limit: TEXT_OCTETS }));
        }
        Ok(text.to_owned())
    }

    /// A text that people tell things apart by: not empty, no blanks around it, nothing invisible in it.
    pub(super) fn name(&self, name: &'static str) -> Result<String, Malformed> {
        let text = self.text(name)?;
        if text.len() > NAME_OCTETS {
            return Err(self.error(Reason::OverLimit { what: name, limit: NAME_OCTETS }));
        }
        if text.is_empty() || text.trim() != text || printable(&text) != text {
            return Err(self.error(Reason::Unexpected("a name without blanks around it or invisible characters")));
        }
        Ok(text)
    }

    /// A name, where the member is there.
    pub(super) fn optional_name(&self, name: &'static str) -> Result<Option<String>, Malformed> {
        self.value.member(name).map(|_| self.name(name)).transpose()
    }

    pub(super) fn number(&self, name: &'static str) -> Result<u64, Malformed> {
        self.value(name)?.unsigned().ok_or_else(|| self.error(Reason::Unexpected("an unsigned integer")))
    }

    pub(super) fn time(&self, name: &'static str) -> Result<Time, Malformed> {
        Time::parse(&self.text(name)?)
    }

    pub(super) fn octets(&self, name: &'static str) -> Result<Vec<u8>, Malformed> {
        let text = self.text(name)?;
        let octets = base64url::decode(&text).ok_or_else(|| self.error(Reason::Unexpected("base64url")))?;
        if octets.len() > BINARY_OCTETS {
            return Err(self.error(Reason::OverLimit { what: name, limit: BINARY_OCTETS }));
        }
        Ok(octets)
    }

    pub(super) fn digest(&self, name: &'static str) -> Result<[u8; DIGEST_OCTETS], Malformed> {
        self.octets(name)?.try_into().map_err(|_| self.error(Reason::Unexpected("32 octets in base64url")))
    }

    pub(super) fn key(&self, name: &'static str) -> Result<SpkiView, Malformed> {
        SpkiView::parse(&self.octets(name)?)
    }

    /// The members of a list, at most `limit`.
    pub(super) fn list(&self, name: &'static str, limit: usize) -> Result<&'a [Value], Malformed> {
        match self.value(name)? {
            Value::Array(members) if members.len() > limit => Err(self.error(Reason::OverLimit { what: name, limit })),
            Value::Array(members) => Ok(members),
            Value::Boolean(_) | Value::Null | Value::Number(_) | Value::Object(_) | Value::Text(_) => {
                Err(self.error(Reason::Unexpected("an array")))
            }
        }
    }
}

/// Refuses a text that is not exactly its one encoding.
pub(super) fn check_canonical(production: &'static str, input: &[u8], encoded: &str) -> Result<(), Malformed> {
    if input == encoded.as_bytes() {
        return Ok(());
    }
    let offset = input.iter().zip(encoded.as_bytes()).take_while(|(one, other)| one == other).count();
    let reason = Reason::Unexpected("the one encoding: known members in their order, without blanks");
    Err(Malformed::new(production, offset, reason))
}
