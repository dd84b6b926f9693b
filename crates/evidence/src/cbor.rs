//! CBOR (RFC 8949) as attesting devices and browsers write it: one data item of definite lengths.
//!
//! Lengths and numbers may be longer than they need be, and members of maps may stand in any order, since encoders
//! differ; nothing of it is ever encoded again. Indefinite lengths and members that are there twice are refused.

use crate::{Malformed, Reason, limits};

const PRODUCTION: &str = "CBOR";
/// Data items in one encoding, those within others included.
const ITEMS: usize = 1024;

/// One data item, its strings where they stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// Members in their order (major type 4).
    Array(Vec<Value<'a>>),
    /// A byte string (major type 2).
    Bytes(&'a [u8]),
    /// Members in their order, no key twice (major type 5).
    Map(Vec<(Value<'a>, Value<'a>)>),
    /// -1 minus this (major type 1).
    Negative(u64),
    /// A simple value or a floating-point number (major type 7), its initial octet and the rest of its head.
    Simple(u8, u64),
    /// A tagged item (major type 6).
    Tag(u64, Box<Value<'a>>),
    /// A text string (major type 3).
    Text(&'a str),
    /// An unsigned integer (major type 0).
    Unsigned(u64),
}

impl<'a> Value<'a> {
    /// Reads exactly one item.
    ///
    /// # Errors
    /// [`Malformed`] for anything else, and beyond 16 levels or 1024 items.
    pub fn parse(input: &'a [u8]) -> Result<Self, Malformed> {
        match Self::parse_prefix(input)? {
            (value, []) => Ok(value),
            (_, rest) => {
                let offset = input.len().saturating_sub(rest.len());
                Err(Malformed::new(PRODUCTION, offset, Reason::Trailing(rest.len())))
            }
        }
    }

    /// Reads the item that `input` begins with; returns what follows it, too.
    ///
    /// # Errors
    /// As [`Value::parse`].
    pub fn parse_prefix(input: &'a [u8]) -> Result<(Self, &'a [u8]), Malformed> {
        let mut reader = Reader { input, offset: 0, items: 0 };
        let value = reader.value(0)?;
        Ok((value, input.get(reader.offset..).unwrap_or_default()))
    }

    /// The member of this text key, if this is a map that has it.
    #[must_use]
    pub fn member(&self, key: &str) -> Option<&Self> {
        self.find(|found| matches!(found, Self::Text(text) if *text == key))
    }

    /// The member of this integer key, if this is a map that has it.
    #[must_use]
    pub fn labelled(&self, label: i64) -> Option<&Self> {
        self.find(|found| found.integer() == Some(i128::from(label)))
    }

    fn find(&self, test: impl Fn(&Self) -> bool) -> Option<&Self> {
        match self {
            Self::Map(members) => members.iter().find(|(key, _)| test(key)).map(|(_, value)| value),
            Self::Array(_)
            | Self::Bytes(_)
            | Self::Negative(_)
            | Self::Simple(..)
            | Self::Tag(..)
            | Self::Text(_)
            | Self::Unsigned(_) => None,
        }
    }

    /// The integer, if it is one.
    #[must_use]
    pub fn integer(&self) -> Option<i128> {
        match self {
            Self::Unsigned(value) => Some(i128::from(*value)),
            Self::Negative(value) => Some(-1 - i128::from(*value)),
            Self::Array(_) | Self::Bytes(_) | Self::Map(_) | Self::Simple(..) | Self::Tag(..) | Self::Text(_) => None,
        }
    }

    /// The octets, if it is a byte string.
    #[must_use]
    pub const fn bytes(&self) -> Option<&'a [u8]> {
        match self {
            Self::Bytes(octets) => Some(octets),
            Self::Array(_)
            | Self::Map(_)
            | Self::Negative(_)
            | Self::Simple(..)
            | Self::Tag(..)
            | Self::Text(_)
            | Self::Unsigned(_) => None,
        }
    }

    /// The text, if it is a text string.
    #[must_use]
    pub const fn text(&self) -> Option<&'a str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Array(_)
            | Self::Bytes(_)
            | Self::Map(_)
            | Self::Negative(_)
            | Self::Simple(..)
            | Self::Tag(..)
            | Self::Unsigned(_) => None,
        }
    }
}

struct Reader<'a> {
    input: &'a [u8],
    offset: usize,
    items: usize,
}

impl<'a> Reader<'a> {
    const fn error(&self, reason: Reason) -> Malformed {
        Malformed::new(PRODUCTION, self.offset, reason)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let rest = self.input.get(self.offset..).unwrap_or_default();
        let Some(taken) = rest.get(..count) else {
            return Err(self.error(Reason::Truncated(count.saturating_sub(rest.len()))));
        };
        self.offset = self.offset.saturating_add(count);
        Ok(taken)
    }

    fn value(&mut self, depth: usize) -> Result<Value<'a>, Malformed> {
        self.items = self.items.saturating_add(1);
        if self.items > ITEMS {
            return Err(self.error(Reason::OverLimit { what: "data items", limit: ITEMS }));
        }
        if depth >= limits::NESTING {
            return Err(self.error(Reason::OverLimit { what: "nesting", limit: limits::NESTING }));
        }
        let [initial] = *self.take(1)? else { return Err(self.error(Reason::Truncated(1))) };
        let argument = self.argument(initial & 0x1F)?;
        let next = depth.saturating_add(1);
        Ok(match initial >> 5 {
            0 => Value::Unsigned(argument),
            1 => Value::Negative(argument),
            2 => Value::Bytes(self.string(argument)?),
            3 => {
                let octets = self.string(argument)?;
                Value::Text(core::str::from_utf8(octets).map_err(|_| self.error(Reason::Unexpected("UTF-8")))?)
            }
            4 => {
                let mut members = Vec::new();
                for _ in 0..argument {
                    members.push(self.value(next)?);
                }
                // Room for more than the one or two members that most lists have would count a thousand times.
                members.shrink_to_fit();
                Value::Array(members)
            }
            5 => self.map(argument, next)?,
            6 => Value::Tag(argument, Box::new(self.value(next)?)),
            _ => Value::Simple(initial, argument),
        })
    }

    fn map(&mut self, count: u64, depth: usize) -> Result<Value<'a>, Malformed> {
        let mut members: Vec<(Value<'a>, Value<'a>)> = Vec::new();
        for _ in 0..count {
            let key = self.value(depth)?;
            if members.iter().any(|(known, _)| *known == key) {
                return Err(self.error(Reason::Duplicate("map key")));
            }
            members.push((key, self.value(depth)?));
        }
        members.shrink_to_fit();
        Ok(Value::Map(members))
    }

    fn string(&mut self, length: u64) -> Result<&'a [u8], Malformed> {
        // A length that does not fit is longer than all input.
        self.take(usize::try_from(length).unwrap_or(usize::MAX))
    }

    /// The number that the low five bits of an initial octet give, or introduce.
    fn argument(&mut self, low: u8) -> Result<u64, Malformed> {
        let count = match low {
            0..=23 => return Ok(u64::from(low)),
            24 => 1,
            25 => 2,
            26 => 4,
            27 => 8,
            28..=30 => return Err(self.error(Reason::BadValue(u64::from(low)))),
            _ => return Err(self.error(Reason::Unexpected("a definite length"))),
        };
        Ok(self.take(count)?.iter().fold(0, |sum, octet| sum << 8 | u64::from(*octet)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_of_every_kind_are_read() {
        let value = Value::parse(b"\xa3\x01\x20\x61a\x82\x41\x00\xc1\xf5\x19\x01\x00\xa0").unwrap();
        assert_eq!(value.labelled(1).unwrap().integer(), Some(-1));
        assert_eq!(value.labelled(256), Some(&Value::Map(Vec::new())));
        let members = [Value::Bytes(&[0]), Value::Tag(1, Box::new(Value::Simple(0xF5, 21)))];
        assert_eq!(value.member("a"), Some(&Value::Array(members.to_vec())));
        assert_eq!(Value::parse(b"\x3b\xff\xff\xff\xff\xff\xff\xff\xff").unwrap().integer(), Some(-(1_i128 << 64)));
        assert_eq!(Value::parse(b"\x18\x00"), Ok(Value::Unsigned(0)), "longer than it need be");
    }

    #[test]
    fn what_is_not_one_bounded_item_is_refused() {
        for (bytes, why) in [
            (&b""[..], "empty"),
            (b"\x00\x00", "two items"),
            (b"\x42\x00", "cut"),
            (b"\x5b\xff\xff\xff\xff\xff\xff\xff\xff\x00", "a length beyond all input"),
            (b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff", "a count beyond all input"),
            (b"\x9f\x00\xff", "indefinite"),
            (b"\x1c", "reserved"),
            (b"\x61\xff", "no UTF-8"),
            (b"\xa2\x01\x00\x01\x01", "a key twice"),
            (b"\xa1\x01", "a key alone"),
        ] {
            assert!(Value::parse(bytes).is_err(), "{why}");
        }
        let deep = |levels: usize| [vec![0x81; levels], vec![0x00]].concat();
        assert!(Value::parse(&deep(15)).is_ok());
        assert!(Value::parse(&deep(16)).is_err());
        assert!(Value::parse(&[&b"\x99\x04\x00"[..], &[0; 1024]].concat()).is_err());
    }
}
