//! JSON (RFC 8259), strictly: one value, bounded, and no member of an object twice, since readers differ in which of
//! two they take.

use crate::{Malformed, Reason, limits};

const PRODUCTION: &str = "JSON";
/// Values in one text, those within others included.
const VALUES: usize = 512;

/// One value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Members in their order.
    Array(Vec<Value>),
    /// `true` or `false`.
    Boolean(bool),
    /// `null`.
    Null,
    /// A number as it is written.
    Number(String),
    /// Members in their order, no name twice.
    Object(Vec<(String, Value)>),
    /// A string, its escapes resolved.
    Text(String),
}

impl Value {
    /// Reads exactly one value, with blanks around it.
    ///
    /// # Errors
    /// [`Malformed`] for anything else, and beyond 16 levels or 512 values.
    pub fn parse(input: &[u8]) -> Result<Self, Malformed> {
        Self::parse_within(input, VALUES)
    }

    /// As [`Value::parse`], with another bound on the values of the whole text.
    ///
    /// # Errors
    /// As [`Value::parse`].
    pub fn parse_within(input: &[u8], values: usize) -> Result<Self, Malformed> {
        let text = core::str::from_utf8(input)
            .map_err(|error| Malformed::new(PRODUCTION, error.valid_up_to(), Reason::Unexpected("UTF-8")))?;
        let mut reader = Reader { text, offset: 0, values: 0, values_max: values };
        let value = reader.value(0)?;
        reader.skip_blank();
        match reader.rest() {
            "" => Ok(value),
            rest => Err(reader.error(Reason::Trailing(rest.len()))),
        }
    }

    /// The member of this name, if this is an object that has it.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => members.iter().find(|(found, _)| found == name).map(|(_, value)| value),
            Self::Array(_) | Self::Boolean(_) | Self::Null | Self::Number(_) | Self::Text(_) => None,
        }
    }

    /// The characters, if it is a string.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Array(_) | Self::Boolean(_) | Self::Null | Self::Number(_) | Self::Object(_) => None,
        }
    }

    /// The number, if it is an unsigned integer without fraction and exponent.
    #[must_use]
    pub fn unsigned(&self) -> Option<u64> {
        match self {
            Self::Number(digits) => digits.parse().ok(),
            Self::Array(_) | Self::Boolean(_) | Self::Null | Self::Object(_) | Self::Text(_) => None,
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    offset: usize,
    values: usize,
    values_max: usize,
}

impl<'a> Reader<'a> {
    const fn error(&self, reason: Reason) -> Malformed {
        Malformed::new(PRODUCTION, self.offset, reason)
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.offset..).unwrap_or_default()
    }

    fn skip_blank(&mut self) {
        let rest = self.rest();
        let blank = rest.len().saturating_sub(rest.trim_start_matches([' ', '\t', '\n', '\r']).len());
        self.offset = self.offset.saturating_add(blank);
    }

    /// Takes this text, if it is next.
    fn take(&mut self, wanted: &str) -> bool {
        let found = self.rest().starts_with(wanted);
        if found {
            self.offset = self.offset.saturating_add(wanted.len());
        }
        found
    }

    fn expect(&mut self, wanted: &'static str) -> Result<(), Malformed> {
        self.skip_blank();
        if self.take(wanted) { Ok(()) } else { Err(self.error(Reason::Unexpected(wanted))) }
    }

    fn value(&mut self, depth: usize) -> Result<Value, Malformed> {
        self.values = self.values.saturating_add(1);
        if self.values > self.values_max {
            return Err(self.error(Reason::OverLimit { what: "values", limit: self.values_max }));
        }
        if depth >= limits::NESTING {
            return Err(self.error(Reason::OverLimit { what: "nesting", limit: limits::NESTING }));
        }
        self.skip_blank();
        let next = depth.saturating_add(1);
        match self.rest().bytes().next() {
            Some(b'{') => self.object(next),
            Some(b'[') => self.array(next),
            Some(b'"') => self.string().map(Value::Text),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ if self.take("true") => Ok(Value::Boolean(true)),
            _ if self.take("false") => Ok(Value::Boolean(false)),
            _ if self.take("null") => Ok(Value::Null),
            _ => Err(self.error(Reason::Unexpected("a value"))),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, Malformed> {
        self.expect("{")?;
        let mut members: Vec<(String, Value)> = Vec::new();
        self.skip_blank();
        if self.take("}") {
            return Ok(Value::Object(members));
        }
        loop {
            self.skip_blank();
            let name = self.string()?;
            if members.iter().any(|(known, _)| *known == name) {
                return Err(self.error(Reason::Duplicate("member")));
            }
            self.expect(":")?;
            members.push((name, self.value(depth)?));
            self.skip_blank();
            if self.take("}") {
                // Room for more than the one or two members that most have would count a thousand times.
                members.shrink_to_fit();
                return Ok(Value::Object(members));
            }
            self.expect(",")?;
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, Malformed> {
        self.expect("[")?;
        let mut members = Vec::new();
        self.skip_blank();
        if self.take("]") {
            return Ok(Value::Array(members));
        }
        loop {
            members.push(self.value(depth)?);
            self.skip_blank();
            if self.take("]") {
                members.shrink_to_fit();
                return Ok(Value::Array(members));
            }
            self.expect(",")?;
        }
    }

    fn number(&mut self) -> Result<Value, Malformed> {
        let start = self.offset;
        self.take("-");
        if !self.take("0") {
            self.digits()?;
        }
        if self.take(".") {
            self.digits()?;
        }
        if self.take("e") || self.take("E") {
            let _signed = self.take("+") || self.take("-");
            self.digits()?;
        }
        Ok(Value::Number(self.text.get(start..self.offset).unwrap_or_default().to_owned()))
    }

    fn digits(&mut self) -> Result<(), Malformed> {
        let count = self.rest().bytes().take_while(u8::is_ascii_digit).count();
        self.offset = self.offset.saturating_add(count);
        if count == 0 { Err(self.error(Reason::Unexpected("a digit"))) } else { Ok(()) }
    }

    fn string(&mut self) -> Result<String, Malformed> {
        if !self.take("\"") {
            return Err(self.error(Reason::Unexpected("a string")));
        }
        let mut text = String::new();
        loop {
            let plain = self.rest();
            let end = plain.find(|c: char| matches!(c, '"' | '\\') || c < ' ').unwrap_or(plain.len());
            text.push_str(plain.get(..end).unwrap_or_default());
            self.offset = self.offset.saturating_add(end);
            if self.take("\"") {
                return Ok(text);
            }
            if !self.take("\\") {
                return Err(self.error(Reason::Unexpected("the end of the string")));
            }
            text.push(self.escaped()?);
        }
    }

    fn escaped(&mut self) -> Result<char, Malformed> {
        const ESCAPES: [(&str, char); 8] = [
            ("\"", '"'),
            ("\\", '\\'),
            ("/", '/'),
            ("b", '\u{8}'),
            ("f", '\u{C}'),
            ("n", '\n'),
            ("r", '\r'),
            ("t", '\t'),
        ];
        for (sign, character) in ESCAPES {
            if self.take(sign) {
                return Ok(character);
            }
        }
        let first = self.unit()?;
        let code = match first {
            0xD800..=0xDBFF if self.take("\\") => match self.unit()? {
                second @ 0xDC00..=0xDFFF => 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00),
                _ => return Err(self.error(Reason::Unexpected("a low surrogate"))),
            },
            other => other,
        };
        char::from_u32(code).ok_or_else(|| self.error(Reason::Unexpected("a character")))
    }

    /// A UTF-16 unit behind the reverse solidus.
    fn unit(&mut self) -> Result<u32, Malformed> {
        if !self.take("u") {
            return Err(self.error(Reason::Unexpected("an escape")));
        }
        let digits = self.rest().get(..4).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let unit = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let unit = unit.ok_or_else(|| self.error(Reason::Unexpected("four hexadecimal digits")))?;
        self.offset = self.offset.saturating_add(4);
        Ok(unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_every_kind_are_read() {
        let value =
            Value::parse(br#" {"a":[1,-2.5e+3,true,false,null],"b":"\u00e9\ud83d\ude00\n/\/","c":{}} "#).unwrap();
        assert_eq!(value.member("b").unwrap().text(), Some("\u{e9}\u{1F600}\n//"));
        let Some(Value::Array(members)) = value.member("a") else { panic!("{value:?}") };
        assert_eq!(members[0].unsigned(), Some(1));
        assert_eq!(members[1], Value::Number("-2.5e+3".to_owned()));
        assert_eq!(value.member("c"), Some(&Value::Object(Vec::new())));
    }

    #[test]
    fn what_is_not_one_bounded_value_is_refused() {
        for text in [
            "",
            "{} {}",
            "{\"a\":1,\"a\":2}",
            "{\"a\":1,\"\\u0061\":2}",
            "[1,]",
            "{\"a\"}",
            "01",
            "1.",
            "+1",
            "tru",
            "\"\\x\"",
            "\"\\ud800\"",
            "\"\\ud800\\u0041\"",
            "\"\n\"",
            "\"",
            "[",
            "\u{feff}{}",
            "'a'",
            "NaN",
        ] {
            assert!(Value::parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(Value::parse(b"\"\xff\"").is_err());
        let deep = |levels: usize| format!("{}0{}", "[".repeat(levels), "]".repeat(levels));
        assert!(Value::parse(deep(15).as_bytes()).is_ok());
        assert!(Value::parse(deep(16).as_bytes()).is_err());
        assert!(Value::parse(format!("[{}0]", "0,".repeat(1024)).as_bytes()).is_err());
    }
}
