//! A writer of DER.

use alloc::vec::Vec;

use crate::oid::Oid;
use crate::x509::der::Tag;
use crate::x509::time;

/// Writes elements one behind the other; constructed elements are written by closures.
///
/// Lengths up to 2^32 - 1 are written; everything that this crate builds is far smaller.
#[derive(Clone, Debug, Default)]
pub struct DerWriter {
    der: Vec<u8>,
}

impl DerWriter {
    /// An empty writer.
    #[must_use]
    pub const fn new() -> Self {
        Self { der: Vec::new() }
    }

    /// What was written.
    #[must_use]
    pub fn into_der(self) -> Vec<u8> {
        self.der
    }

    /// Elements that are DER already.
    pub fn raw(&mut self, der: &[u8]) -> &mut Self {
        self.der.extend_from_slice(der);
        self
    }

    /// An element of this tag with these contents. The tag number is at most 30.
    pub fn primitive(&mut self, tag: Tag, contents: &[u8]) -> &mut Self {
        self.der.push(tag.leading_octet());
        self.push_length(contents.len());
        self.raw(contents)
    }

    /// An element of this tag whose contents `write` writes. The tag number is at most 30.
    pub fn constructed(&mut self, tag: Tag, write: impl FnOnce(&mut Self)) -> &mut Self {
        let mut inner = Self::new();
        write(&mut inner);
        self.primitive(tag, &inner.der)
    }

    /// A SEQUENCE.
    pub fn sequence(&mut self, write: impl FnOnce(&mut Self)) -> &mut Self {
        self.constructed(Tag::SEQUENCE, write)
    }

    /// A SET OF these elements, put in order.
    pub fn set_of(&mut self, members: &[Vec<u8>]) -> &mut Self {
        let mut members = members.to_vec();
        members.sort();
        self.primitive(Tag::SET, &members.concat())
    }

    /// A BOOLEAN.
    pub fn boolean(&mut self, value: bool) -> &mut Self {
        self.primitive(Tag::BOOLEAN, &[if value { 0xFF } else { 0x00 }])
    }

    /// A NULL.
    pub fn null(&mut self) -> &mut Self {
        self.primitive(Tag::NULL, &[])
    }

    /// An INTEGER of a big-endian magnitude; leading zero octets are dropped, one is put before a set
    /// first bit.
    pub fn unsigned(&mut self, magnitude: &[u8]) -> &mut Self {
        self.primitive(Tag::INTEGER, &integer_contents(magnitude))
    }

    /// An INTEGER.
    pub fn uint(&mut self, value: u64) -> &mut Self {
        self.unsigned(&value.to_be_bytes())
    }

    /// An OBJECT IDENTIFIER.
    pub fn oid(&mut self, oid: Oid) -> &mut Self {
        self.primitive(Tag::OID, oid.as_der_contents())
    }

    /// An OCTET STRING.
    pub fn octet_string(&mut self, octets: &[u8]) -> &mut Self {
        self.primitive(Tag::OCTET_STRING, octets)
    }

    /// A BIT STRING of whole octets but for `unused_bits` (at most 7) of the last, which must be zero.
    pub fn bit_string(&mut self, octets: &[u8], unused_bits: u8) -> &mut Self {
        self.primitive(Tag::BIT_STRING, &[&[unused_bits], octets].concat())
    }

    /// A string of this tag.
    pub fn string(&mut self, tag: Tag, text: &str) -> &mut Self {
        self.primitive(tag, text.as_bytes())
    }

    /// A Time of seconds since 1970-01-01T00:00:00Z, as RFC 5280 wants it: UTCTime through 2049,
    /// GeneralizedTime from 2050. Times outside the years 1950 to 9999 are moved to the nearest end.
    pub fn time(&mut self, seconds: i64) -> &mut Self {
        let (tag, text) = time::encode(seconds);
        self.string(tag, &text)
    }

    /// A GeneralizedTime of seconds since 1970-01-01T00:00:00Z, whatever the year. Times outside the years 0 to 9999 are
    /// moved to the nearest end.
    pub fn generalized_time(&mut self, seconds: i64) -> &mut Self {
        self.string(Tag::GENERALIZED_TIME, &time::generalized(seconds))
    }

    fn push_length(&mut self, length: usize) {
        match u8::try_from(length) {
            Ok(short) if short < 0x80 => self.der.push(short),
            _ => {
                let octets = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
                let significant = crate::x509::der::significant(&octets);
                self.der.push(0x80 | u8::try_from(significant.len()).unwrap_or(4));
                self.der.extend_from_slice(significant);
            }
        }
    }
}

/// The contents of an INTEGER that is a big-endian magnitude.
pub(super) fn integer_contents(magnitude: &[u8]) -> Vec<u8> {
    let significant = crate::x509::der::significant(magnitude);
    let needs_zero = significant.first().is_none_or(|first| first & 0x80 != 0);
    let mut contents = Vec::with_capacity(significant.len().saturating_add(1));
    if needs_zero {
        contents.push(0);
    }
    contents.extend_from_slice(significant);
    contents
}
