//! The language of specifications: calls, names, lists, octets in hexadecimal, texts and numbers.
//!
//! ```text
//! csr(alpha.p256, [certify(alpha.p256, alpha.ak, data: 0x00ff)], certs: [attest-cert])
//! ```

use anyhow::{Context, Result, bail};

/// One expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// A word with arguments, some of them labelled.
    Call(String, Vec<(Option<String>, Expression)>),
    /// A field of what a call gives.
    Field(Box<Expression>, String),
    /// Members in brackets.
    List(Vec<Expression>),
    /// A definition, a field of one, or an object of a device.
    Name(String),
    /// A decimal number.
    Number(u64),
    /// `0x` and hexadecimal digits.
    Octets(Vec<u8>),
    /// Characters in quotation marks.
    Text(String),
}

impl Expression {
    /// Reads one expression, all of `text`.
    pub fn parse(text: &str) -> Result<Self> {
        let mut parser = Parser { rest: text };
        let expression = parser.expression().with_context(|| format!("in {text:?}"))?;
        parser.skip_blank();
        if parser.rest.is_empty() { Ok(expression) } else { bail!("{:?} follows an expression", parser.rest) }
    }
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn skip_blank(&mut self) {
        self.rest = self.rest.trim_start();
        while let Some(comment) = self.rest.strip_prefix('#') {
            self.rest = comment.split_once('\n').map_or("", |(_, after)| after).trim_start();
        }
    }

    fn take(&mut self, sign: char) -> bool {
        self.skip_blank();
        match self.rest.strip_prefix(sign) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn word(&mut self) -> &'a str {
        let end = self
            .rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_')))
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn expression(&mut self) -> Result<Expression> {
        if self.take('"') {
            let (text, rest) = self.rest.split_once('"').context("a text does not end")?;
            self.rest = rest;
            return Ok(Expression::Text(text.to_owned()));
        }
        if self.take('[') {
            return self.members(']').map(|members| Expression::List(members.into_iter().map(|(_, m)| m).collect()));
        }
        let word = self.word();
        if let Some(digits) = word.strip_prefix("0x") {
            return vouchsafe_verifier::hex::decode(digits)
                .map(Expression::Octets)
                .with_context(|| format!("{word} is not hexadecimal"));
        }
        match word.bytes().next() {
            None => bail!("expected an expression at {:?}", self.rest),
            Some(b'0'..=b'9') => Ok(Expression::Number(word.parse().with_context(|| format!("{word} is no number"))?)),
            Some(_) if self.take('(') => {
                let call = Expression::Call(word.to_owned(), self.members(')')?);
                match self.rest.strip_prefix('.') {
                    Some(rest) => {
                        self.rest = rest;
                        Ok(Expression::Field(Box::new(call), self.word().to_owned()))
                    }
                    None => Ok(call),
                }
            }
            Some(_) => Ok(Expression::Name(word.to_owned())),
        }
    }

    fn members(&mut self, end: char) -> Result<Vec<(Option<String>, Expression)>> {
        let mut members = Vec::new();
        while !self.take(end) {
            self.skip_blank();
            let label = self.label();
            members.push((label, self.expression()?));
            if !self.take(',') && !self.rest.trim_start().starts_with(end) {
                bail!("expected , or {end} at {:?}", self.rest);
            }
        }
        Ok(members)
    }

    fn label(&mut self) -> Option<String> {
        let before = self.rest;
        let word = self.word();
        if !word.is_empty() && self.rest.starts_with(':') {
            self.rest = self.rest.strip_prefix(':').unwrap_or_default();
            return Some(word.to_owned());
        }
        self.rest = before;
        None
    }
}
