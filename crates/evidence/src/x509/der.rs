//! A cursor over strict DER (X.690, clause 10), and the check that a whole value is strict DER.

use crate::oid::Oid;
use crate::{Malformed, Reason, limits};

/// An identifier octet and, for tag numbers of 31 and above, the number that follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    leading: u8,
    number: u32,
}

impl Tag {
    /// BOOLEAN.
    pub const BOOLEAN: Self = Self::low(0x01);
    /// INTEGER.
    pub const INTEGER: Self = Self::low(0x02);
    /// BIT STRING.
    pub const BIT_STRING: Self = Self::low(0x03);
    /// OCTET STRING.
    pub const OCTET_STRING: Self = Self::low(0x04);
    /// NULL.
    pub const NULL: Self = Self::low(0x05);
    /// OBJECT IDENTIFIER.
    pub const OID: Self = Self::low(0x06);
    /// UTF8String.
    pub const UTF8_STRING: Self = Self::low(0x0C);
    /// SEQUENCE and SEQUENCE OF.
    pub const SEQUENCE: Self = Self::low(0x30);
    /// SET and SET OF.
    pub const SET: Self = Self::low(0x31);
    /// PrintableString.
    pub const PRINTABLE_STRING: Self = Self::low(0x13);
    /// TeletexString.
    pub const TELETEX_STRING: Self = Self::low(0x14);
    /// IA5String.
    pub const IA5_STRING: Self = Self::low(0x16);
    /// UTCTime.
    pub const UTC_TIME: Self = Self::low(0x17);
    /// GeneralizedTime.
    pub const GENERALIZED_TIME: Self = Self::low(0x18);
    /// BMPString.
    pub const BMP_STRING: Self = Self::low(0x1E);

    /// Largest tag number in one identifier octet.
    const LOW_MAX: u8 = 30;

    const fn low(leading: u8) -> Self {
        Self { leading, number: 0 }
    }

    /// Context-specific and primitive: `[number] IMPLICIT` of a primitive type. `number` is at most 30.
    #[must_use]
    pub const fn context(number: u8) -> Self {
        Self::low(0x80 | (number & 0x1F))
    }

    /// Context-specific and constructed: `[number] EXPLICIT`, or `IMPLICIT` of a constructed type.
    /// `number` is at most 30.
    #[must_use]
    pub const fn context_constructed(number: u8) -> Self {
        Self::low(0xA0 | (number & 0x1F))
    }

    /// Whether contents are themselves elements.
    #[must_use]
    pub const fn is_constructed(self) -> bool {
        self.leading & 0x20 != 0
    }

    /// The identifier octet.
    #[must_use]
    pub const fn leading_octet(self) -> u8 {
        self.leading
    }

    const fn is_universal(self) -> bool {
        self.leading & 0xC0 == 0
    }
}

/// One element: identifier, length and contents, all original bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element<'a> {
    tag: Tag,
    raw: &'a [u8],
    contents: &'a [u8],
    offset: usize,
    production: &'static str,
}

impl<'a> Element<'a> {
    /// The one element that `input` is, with nothing after it.
    ///
    /// Only its header is checked; see [`Element::check_strict`].
    ///
    /// # Errors
    /// [`Malformed`] if `input` is not exactly one element with a DER header.
    pub fn parse(input: &'a [u8], production: &'static str) -> Result<Self, Malformed> {
        let mut reader = Reader::new(input, production);
        let element = reader.element()?;
        reader.finish()?;
        Ok(element)
    }

    /// The tag.
    #[must_use]
    pub const fn tag(&self) -> Tag {
        self.tag
    }

    /// Header and contents.
    #[must_use]
    pub const fn as_der(&self) -> &'a [u8] {
        self.raw
    }

    /// The contents alone.
    #[must_use]
    pub const fn contents(&self) -> &'a [u8] {
        self.contents
    }

    /// Offset of the header in the input that is being parsed.
    #[must_use]
    pub const fn offset(&self) -> usize {
        self.offset
    }

    const fn contents_offset(&self) -> usize {
        self.offset.saturating_add(self.raw.len().saturating_sub(self.contents.len()))
    }

    /// A cursor over the elements in the contents.
    #[must_use]
    pub const fn reader(&self) -> Reader<'a> {
        Reader { production: self.production, input: self.contents, base: self.contents_offset(), position: 0 }
    }

    /// An error at this element.
    #[must_use]
    pub const fn error(&self, reason: Reason) -> Malformed {
        Malformed::new(self.production, self.offset, reason)
    }

    /// The object identifier that this element is.
    ///
    /// # Errors
    /// [`Malformed`] if it is not a minimally encoded OBJECT IDENTIFIER.
    pub fn oid(&self) -> Result<Oid, Malformed> {
        if self.tag != Tag::OID {
            return Err(self.error(Reason::Unexpected("OBJECT IDENTIFIER")));
        }
        Oid::from_der_contents(self.contents).map_err(|reason| self.error(reason))
    }

    /// Checks that this element and all elements within are strict DER, to [`limits::NESTING`].
    ///
    /// The contents of OCTET STRINGs and BIT STRINGs are opaque here; those who know what they hold
    /// check them.
    ///
    /// # Errors
    /// [`Malformed`] at the first deviation.
    pub fn check_strict(&self) -> Result<(), Malformed> {
        let mut deviations = Deviations::default();
        self.check_tolerant(&mut deviations)?;
        match deviations.unsorted_set {
            None => Ok(()),
            Some(offset) => {
                Err(Malformed::new(self.production, offset, Reason::NotDer("members of a SET OF out of order")))
            }
        }
    }

    /// As [`Element::check_strict`], but SETs out of order are noted instead of refused.
    pub(crate) fn check_tolerant(&self, deviations: &mut Deviations) -> Result<(), Malformed> {
        self.check_nested(deviations, 1)
    }

    fn check_nested(&self, deviations: &mut Deviations, depth: usize) -> Result<(), Malformed> {
        if depth > limits::NESTING {
            return Err(self.error(Reason::OverLimit { what: "nesting", limit: limits::NESTING }));
        }
        if !self.tag.is_constructed() {
            return self.check_primitive();
        }
        if self.tag.is_universal() && self.tag != Tag::SEQUENCE && self.tag != Tag::SET {
            return Err(self.error(Reason::NotDer("constructed encoding of a primitive type")));
        }
        let mut members = self.reader();
        let mut previous: Option<&[u8]> = None;
        while !members.is_empty() {
            let member = members.element()?;
            member.check_nested(deviations, depth.saturating_add(1))?;
            if self.tag == Tag::SET {
                if previous.is_some_and(|previous| previous > member.raw) {
                    deviations.unsorted_set.get_or_insert(member.offset);
                }
                previous = Some(member.raw);
            }
        }
        Ok(())
    }

    fn check_primitive(&self) -> Result<(), Malformed> {
        let not_der = |what| Err(self.error(Reason::NotDer(what)));
        match self.tag {
            Tag::BOOLEAN => self.boolean().map(|_| ()),
            // ENUMERATED is encoded as INTEGER is.
            Tag::INTEGER | Tag { leading: 0x0A, .. } => self.integer().map(|_| ()),
            Tag::BIT_STRING => self.bit_string().map(|_| ()),
            Tag::NULL if !self.contents.is_empty() => not_der("NULL with contents"),
            Tag::OID => self.oid().map(|_| ()),
            Tag::UTF8_STRING if core::str::from_utf8(self.contents).is_err() => not_der("UTF8String that is not UTF-8"),
            Tag::PRINTABLE_STRING | Tag::IA5_STRING if !self.contents.is_ascii() => {
                not_der("octet above 7F in a PrintableString or IA5String")
            }
            Tag::BMP_STRING if !self.contents.len().is_multiple_of(2) => not_der("odd length of a BMPString"),
            Tag::UTC_TIME | Tag::GENERALIZED_TIME if self.contents.last() != Some(&b'Z') => {
                not_der("time that does not end in Z")
            }
            Tag { leading: 0x10 | 0x11, .. } => not_der("primitive SEQUENCE or SET"),
            Tag { leading: 0x00, .. } => not_der("end-of-contents octets"),
            _ => Ok(()),
        }
    }

    /// The value of this BOOLEAN.
    ///
    /// # Errors
    /// [`Malformed`] if it is no BOOLEAN or neither 00 nor FF.
    pub fn boolean(&self) -> Result<bool, Malformed> {
        match (self.tag, self.contents) {
            (Tag::BOOLEAN, [0x00]) => Ok(false),
            (Tag::BOOLEAN, [0xFF]) => Ok(true),
            (Tag::BOOLEAN, _) => Err(self.error(Reason::NotDer("BOOLEAN other than 00 and FF"))),
            _ => Err(self.error(Reason::Unexpected("BOOLEAN"))),
        }
    }

    /// The content octets of this INTEGER, perhaps under an implicit tag: two's complement, big-endian,
    /// minimal. The tag is the caller's to check.
    ///
    /// # Errors
    /// [`Malformed`] if it is empty or padded.
    pub fn integer(&self) -> Result<&'a [u8], Malformed> {
        match self.contents {
            [] => Err(self.error(Reason::NotDer("INTEGER without contents"))),
            [0x00, second, ..] if second & 0x80 == 0 => Err(self.error(Reason::NotDer("padded INTEGER"))),
            [0xFF, second, ..] if second & 0x80 != 0 => Err(self.error(Reason::NotDer("padded INTEGER"))),
            contents => Ok(contents),
        }
    }

    /// The value of this BIT STRING, perhaps under an implicit tag. The tag is the caller's to check.
    ///
    /// # Errors
    /// [`Malformed`] if the contents are no BIT STRING in DER: unused bits are fewer than eight and zero.
    pub fn bit_string(&self) -> Result<BitString<'a>, Malformed> {
        let not_der = |what| self.error(Reason::NotDer(what));
        let [unused_bits, octets @ ..] = self.contents else {
            return Err(not_der("BIT STRING without contents"));
        };
        if *unused_bits > 7 {
            return Err(not_der("more than seven unused bits"));
        }
        let mask = (1_u8 << unused_bits).wrapping_sub(1);
        match octets.last() {
            None if *unused_bits > 0 => Err(not_der("unused bits in an empty BIT STRING")),
            Some(last) if last & mask != 0 => Err(not_der("unused bits that are not zero")),
            _ => Ok(BitString { octets, unused_bits: *unused_bits }),
        }
    }
}

/// The value of a BIT STRING.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BitString<'a> {
    octets: &'a [u8],
    unused_bits: u8,
}

impl<'a> BitString<'a> {
    /// The octets, most significant bit first.
    #[must_use]
    pub const fn octets(&self) -> &'a [u8] {
        self.octets
    }

    /// Bits in all.
    #[must_use]
    pub fn bits(&self) -> usize {
        self.octets.len().saturating_mul(8).saturating_sub(usize::from(self.unused_bits))
    }

    /// The octets, if there are no unused bits.
    #[must_use]
    pub fn whole_octets(&self) -> Option<&'a [u8]> {
        (self.unused_bits == 0).then_some(self.octets)
    }
}

/// Deviations from DER that some callers tolerate and report.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Deviations {
    /// Offset of the first member of a SET that stands out of order.
    pub(crate) unsorted_set: Option<usize>,
}

/// A cursor over the elements of an input or of a constructed element.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    production: &'static str,
    input: &'a [u8],
    base: usize,
    position: usize,
}

impl<'a> Reader<'a> {
    /// Reads `input` as `production`, which errors will name.
    #[must_use]
    pub const fn new(input: &'a [u8], production: &'static str) -> Self {
        Self { production, input, base: 0, position: 0 }
    }

    /// An error at the current position.
    #[must_use]
    pub const fn error(&self, reason: Reason) -> Malformed {
        Malformed::new(self.production, self.base.saturating_add(self.position), reason)
    }

    /// Whether everything was read.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.position >= self.input.len()
    }

    fn rest(&self) -> &'a [u8] {
        self.input.get(self.position..).unwrap_or_default()
    }

    /// Whether the next element has this tag.
    #[must_use]
    pub fn next_is(&self, tag: Tag) -> bool {
        matches!(parse_tag(self.rest()), Ok((next, _)) if next == tag)
    }

    /// The next element, whatever its tag.
    ///
    /// # Errors
    /// [`Malformed`] if the header is not DER or the contents are cut short.
    pub fn element(&mut self) -> Result<Element<'a>, Malformed> {
        let rest = self.rest();
        let (tag, after_tag) = parse_tag(rest).map_err(|reason| self.error(reason))?;
        let (len, contents) = parse_length(after_tag).map_err(|reason| self.error(reason))?;
        let header = rest.len().saturating_sub(contents.len());
        let short = Reason::Truncated(len.saturating_sub(contents.len()));
        let contents = contents.get(..len).ok_or_else(|| self.error(short))?;
        let end = header.saturating_add(len);
        let element = Element {
            tag,
            raw: rest.get(..end).unwrap_or_default(),
            contents,
            offset: self.base.saturating_add(self.position),
            production: self.production,
        };
        self.position = self.position.saturating_add(end);
        Ok(element)
    }

    /// The next element, which has this tag; errors call it `what`.
    ///
    /// # Errors
    /// [`Reason::Missing`], [`Reason::Unexpected`], or a header that is not DER.
    pub fn expect(&mut self, tag: Tag, what: &'static str) -> Result<Element<'a>, Malformed> {
        if self.is_empty() {
            return Err(self.error(Reason::Missing(what)));
        }
        let error = self.error(Reason::Unexpected(what));
        let element = self.element()?;
        if element.tag == tag { Ok(element) } else { Err(error) }
    }

    /// The next element if it has this tag.
    ///
    /// # Errors
    /// [`Malformed`] if it has this tag and its header is not DER.
    pub fn optional(&mut self, tag: Tag) -> Result<Option<Element<'a>>, Malformed> {
        if self.next_is(tag) { self.element().map(Some) } else { Ok(None) }
    }

    /// Enters the SEQUENCE that comes next.
    ///
    /// # Errors
    /// As [`Reader::expect`].
    pub fn sequence(&mut self, what: &'static str) -> Result<Reader<'a>, Malformed> {
        Ok(self.expect(Tag::SEQUENCE, what)?.reader())
    }

    /// The OBJECT IDENTIFIER that comes next.
    ///
    /// # Errors
    /// As [`Reader::expect`] and [`Element::oid`].
    pub fn oid(&mut self, what: &'static str) -> Result<Oid, Malformed> {
        self.expect(Tag::OID, what)?.oid()
    }

    /// The contents of the OCTET STRING that comes next.
    ///
    /// # Errors
    /// As [`Reader::expect`].
    pub fn octet_string(&mut self, what: &'static str) -> Result<&'a [u8], Malformed> {
        Ok(self.expect(Tag::OCTET_STRING, what)?.contents)
    }

    /// The BIT STRING that comes next.
    ///
    /// # Errors
    /// As [`Reader::expect`] and [`Element::bit_string`].
    pub fn bit_string(&mut self, what: &'static str) -> Result<BitString<'a>, Malformed> {
        self.expect(Tag::BIT_STRING, what)?.bit_string()
    }

    /// The INTEGER that comes next, which is not negative: its magnitude without a leading zero octet
    /// (one zero octet for zero).
    ///
    /// # Errors
    /// As [`Reader::expect`] and [`Element::integer`]; [`Reason::BadValue`] if negative.
    pub fn unsigned(&mut self, what: &'static str) -> Result<&'a [u8], Malformed> {
        let element = self.expect(Tag::INTEGER, what)?;
        match element.integer()? {
            [first, ..] if first & 0x80 != 0 => Err(element.error(Reason::BadValue(u64::from(*first)))),
            [0x00, magnitude @ ..] if !magnitude.is_empty() => Ok(magnitude),
            magnitude => Ok(magnitude),
        }
    }

    /// The INTEGER that comes next, between 0 and 2^64 - 1.
    ///
    /// # Errors
    /// As [`Reader::unsigned`]; [`Reason::OverLimit`] above 64 bits.
    pub fn uint(&mut self, what: &'static str) -> Result<u64, Malformed> {
        let too_large = self.error(Reason::OverLimit { what: "bits of an INTEGER", limit: 64 });
        let magnitude = self.unsigned(what)?;
        if magnitude.len() > 8 {
            return Err(too_large);
        }
        Ok(magnitude.iter().fold(0, |value, octet| (value << 8) | u64::from(*octet)))
    }

    /// Ends the sequence.
    ///
    /// # Errors
    /// [`Reason::Trailing`] if octets are left.
    pub fn finish(self) -> Result<(), Malformed> {
        match self.rest().len() {
            0 => Ok(()),
            left => Err(self.error(Reason::Trailing(left))),
        }
    }
}

/// Reads an identifier: one octet, or 1F and a minimal base-128 number of at most 28 bits.
fn parse_tag(input: &[u8]) -> Result<(Tag, &[u8]), Reason> {
    let [leading, rest @ ..] = input else {
        return Err(Reason::Truncated(1));
    };
    let mut rest = rest;
    if leading & 0x1F != 0x1F {
        return Ok((Tag::low(*leading), rest));
    }
    let mut number: u32 = 0;
    for position in 0..4 {
        let [octet, after @ ..] = rest else {
            return Err(Reason::Truncated(1));
        };
        if position == 0 && *octet == 0x80 {
            return Err(Reason::NotDer("padded tag number"));
        }
        number = (number << 7) | u32::from(octet & 0x7F);
        rest = after;
        if octet & 0x80 == 0 {
            if number <= u32::from(Tag::LOW_MAX) {
                return Err(Reason::NotDer("long form of a low tag number"));
            }
            return Ok((Tag { leading: *leading, number }, rest));
        }
    }
    Err(Reason::OverLimit { what: "bits of a tag number", limit: 28 })
}

/// Reads a definite, minimal length of at most four octets.
fn parse_length(input: &[u8]) -> Result<(usize, &[u8]), Reason> {
    let [first, rest @ ..] = input else {
        return Err(Reason::Truncated(1));
    };
    let count = match first {
        0..=0x7F => return Ok((usize::from(*first), rest)),
        0x80 => return Err(Reason::NotDer("indefinite length")),
        0x81..=0x84 => usize::from(first & 0x7F),
        _ => return Err(Reason::OverLimit { what: "octets of a length", limit: 4 }),
    };
    let octets = rest.get(..count).ok_or(Reason::Truncated(count))?;
    let len = octets.iter().fold(0_usize, |len, octet| (len << 8) | usize::from(*octet));
    if octets.first() == Some(&0) || len <= 0x7F {
        return Err(Reason::NotDer("length of more octets than needed"));
    }
    Ok((len, rest.get(count..).unwrap_or_default()))
}

/// `magnitude` without leading zero octets.
pub(crate) fn significant(magnitude: &[u8]) -> &[u8] {
    let zeros = magnitude.iter().take_while(|octet| **octet == 0).count();
    magnitude.get(zeros..).unwrap_or_default()
}
