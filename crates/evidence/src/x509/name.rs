//! Name (RFC 5280, 4.1.2.4), kept as its original bytes.

use std::sync::{Arc, OnceLock};

use crate::oid::{self, Oid};
use crate::text::printable;
use crate::tpm::HashAlg;
use crate::x509::der::{Element, Reader, Tag};
use crate::{Malformed, Reason, limits};

/// Octets of a name after which it is no longer compared as it stands, but folded once instead: whoever makes many
/// names, long and alike, must not make comparing them dear.
const PLAIN_OCTETS: usize = 256;

/// A distinguished name.
///
/// ```asn1
/// Name                      ::= SEQUENCE OF RelativeDistinguishedName
/// RelativeDistinguishedName ::= SET SIZE (1..MAX) OF SEQUENCE { type OBJECT IDENTIFIER, value ANY }
/// ```
///
/// `==` compares bytes; [`NameView::matches`] compares as RFC 5280, 7.1 does.
#[derive(Clone, Debug)]
pub struct NameView(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    der: Box<[u8]>,
    /// Apart, since few names are ever folded.
    folded: OnceLock<Box<Folded>>,
}

/// A name in a form in which equal names are equal. Made once: whoever builds paths compares each name with
/// hundreds of others, and an attacker chooses how long they are.
#[derive(Debug)]
struct Folded {
    /// The RDNs one after the other, each with its length so that where it ends is part of it.
    octets: Vec<u8>,
    /// SHA-256 over them.
    digest: Vec<u8>,
}

impl PartialEq for NameView {
    fn eq(&self, other: &Self) -> bool {
        self.0.der == other.0.der
    }
}

impl Eq for NameView {}

impl core::hash::Hash for NameView {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        self.0.der.hash(state);
    }
}

impl NameView {
    /// Reads the DER of one Name.
    ///
    /// # Errors
    /// [`Malformed`] unless `input` is exactly that, in strict DER, with at most [`limits::RDNS`]
    /// attributes in all.
    pub fn parse(input: &[u8]) -> Result<Self, Malformed> {
        let element = Element::parse(input, "Name")?;
        element.check_strict()?;
        Self::from_element(&element)
    }

    /// A name inside something larger, whose DER its parser checks.
    pub(crate) fn from_element(element: &Element<'_>) -> Result<Self, Malformed> {
        if element.tag() != Tag::SEQUENCE {
            return Err(element.error(Reason::Unexpected("Name")));
        }
        let mut rdns = element.reader();
        let mut attribute_count = 0_usize;
        while !rdns.is_empty() {
            let rdn = rdns.expect(Tag::SET, "RelativeDistinguishedName")?;
            let mut attributes = rdn.reader();
            if attributes.is_empty() {
                return Err(rdn.error(Reason::Missing("attribute of an RDN")));
            }
            while !attributes.is_empty() {
                read_attribute(&mut attributes)?;
                attribute_count = attribute_count.saturating_add(1);
                if attribute_count > limits::RDNS {
                    return Err(rdn.error(Reason::OverLimit { what: "attributes of a name", limit: limits::RDNS }));
                }
            }
        }
        Ok(Self(Arc::new(Inner { der: element.as_der().into(), folded: OnceLock::new() })))
    }

    /// The original DER.
    #[must_use]
    pub fn as_der(&self) -> &[u8] {
        &self.0.der
    }

    /// Whether there are no RDNs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rdns().next().is_none()
    }

    /// The RDNs in the order of the sequence: the topmost first.
    pub fn rdns(&self) -> impl Iterator<Item = Rdn<'_>> {
        let mut outer = Reader::new(&self.0.der, "Name");
        let mut rdns = outer.element().map(|name| name.reader()).ok();
        // Every element was read once when the name was made.
        core::iter::from_fn(move || rdns.as_mut()?.element().ok().map(|set| Rdn { set }))
    }

    /// The values of all attributes of this type, in order.
    pub fn attributes(&self, oid: Oid) -> impl Iterator<Item = NameAttribute<'_>> {
        self.rdns().flat_map(|rdn| rdn.attributes()).filter(move |attribute| attribute.oid == oid)
    }

    /// Whether both names are the same name by RFC 5280, 7.1: RDN by RDN, PrintableString, UTF8String
    /// and IA5String without regard to case and to runs of white space, all else octet by octet.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        self == other || self.matches_plainly(other).unwrap_or_else(|| self.folded().digest == other.folded().digest)
    }

    /// As [`NameView::matches`] as far as that shows at the beginning, in RDNs of the usual form, one ASCII string each,
    /// which need no folding; `None` where it takes that to tell.
    fn matches_plainly(&self, other: &Self) -> Option<bool> {
        let (mut own, mut theirs) = (self.rdns(), other.rdns());
        let mut compared = 0_usize;
        while compared <= PLAIN_OCTETS {
            match (own.next(), theirs.next()) {
                (None, None) => return Some(true),
                (None, Some(_)) | (Some(_), None) => return Some(false),
                (Some(own), Some(theirs)) => {
                    compared = compared.saturating_add(own.as_der().len().max(theirs.as_der().len()));
                    let (own, theirs) = (own.plain()?, theirs.plain()?);
                    if own.oid != theirs.oid || !is_same_ascii(own.value.contents(), theirs.value.contents()) {
                        return Some(false);
                    }
                }
            }
        }
        None
    }

    /// Whether this name is `ancestor` or stands beneath it: the RDNs of `ancestor` are the first RDNs
    /// of this name (RFC 5280, 7.1 and 4.2.1.10). Every name stands beneath the empty one.
    #[must_use]
    pub fn is_within(&self, ancestor: &Self) -> bool {
        self.folded().octets.starts_with(&ancestor.folded().octets)
    }

    fn folded(&self) -> &Folded {
        self.0.folded.get_or_init(|| {
            let mut octets = Vec::with_capacity(2 * self.0.der.len());
            self.rdns().for_each(|rdn| rdn.fold_into(&mut octets));
            let digest = HashAlg::Sha256.digest(&[&octets]);
            Box::new(Folded { octets, digest })
        })
    }

    /// The name as text in the form of RFC 4514 (last RDN first), safe to show.
    #[must_use]
    pub fn to_display(&self) -> String {
        let mut rdns: Vec<String> = self.rdns().map(|rdn| rdn.to_display()).collect();
        rdns.reverse();
        rdns.join(",")
    }
}

/// One relative distinguished name.
#[derive(Clone, Copy, Debug)]
pub struct Rdn<'a> {
    set: Element<'a>,
}

impl<'a> Rdn<'a> {
    /// The original DER of the SET.
    #[must_use]
    pub const fn as_der(&self) -> &'a [u8] {
        self.set.as_der()
    }

    /// Its attributes, in the order in which they stand.
    pub fn attributes(&self) -> impl Iterator<Item = NameAttribute<'a>> + use<'a> {
        let mut members = self.set.reader();
        core::iter::from_fn(move || read_attribute(&mut members).ok())
    }

    /// Adds the attributes in a form in which equal RDNs, and no others, are equal: folded, in one order, each part
    /// preceded by its length.
    fn fold_into(&self, octets: &mut Vec<u8>) {
        let mut attributes = self.attributes();
        let (first, second) = (attributes.next(), attributes.next());
        if let (Some(only), None) = (first, second) {
            octets.extend(1_u32.to_be_bytes());
            return only.fold_into(octets);
        }
        let mut folded: Vec<Vec<u8>> = self
            .attributes()
            .map(|attribute| {
                let mut one = Vec::new();
                attribute.fold_into(&mut one);
                one
            })
            .collect();
        folded.sort();
        octets.extend(u32::try_from(folded.len()).unwrap_or(u32::MAX).to_be_bytes());
        octets.extend(folded.concat());
    }

    /// Its one attribute, if that is an ASCII string that is compared without regard to case.
    fn plain(&self) -> Option<NameAttribute<'a>> {
        let mut attributes = self.attributes();
        match (attributes.next(), attributes.next()) {
            (Some(only), None) if only.is_folded() && only.value.contents().is_ascii() => Some(only),
            _ => None,
        }
    }

    fn to_display(self) -> String {
        let parts: Vec<String> = self.attributes().map(|part| part.to_display()).collect();
        parts.join("+")
    }
}

/// One attribute of a name.
#[derive(Clone, Copy, Debug)]
pub struct NameAttribute<'a> {
    der: &'a [u8],
    oid: Oid,
    value: Element<'a>,
}

/// The words of an ASCII text, with white space as `char::is_whitespace` has it, as far as that is ASCII.
fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|octet| matches!(octet, b'\t'..=b'\r' | b' ')).filter(|word| !word.is_empty())
}

/// Whether two ASCII texts are equal without regard to case and to runs of white space.
fn is_same_ascii(own: &[u8], theirs: &[u8]) -> bool {
    let (mut own, mut theirs) = (words(own), words(theirs));
    loop {
        match (own.next(), theirs.next()) {
            (None, None) => return true,
            (Some(own), Some(theirs)) if own.eq_ignore_ascii_case(theirs) => {}
            (None | Some(_), None | Some(_)) => return false,
        }
    }
}

/// Adds the words of an ASCII text in small letters, one space between them.
fn push_words(octets: &mut Vec<u8>, text: &[u8]) {
    for (place, word) in words(text).enumerate() {
        if place > 0 {
            octets.push(b' ');
        }
        octets.extend(word.iter().map(u8::to_ascii_lowercase));
    }
}

/// Adds a part preceded by its length, so that no two lists of parts run into one another.
fn frame(octets: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    const LENGTH_OCTETS: usize = 4;
    let start = octets.len();
    octets.extend([0; LENGTH_OCTETS]);
    write(octets);
    let length = octets.len().saturating_sub(start).saturating_sub(LENGTH_OCTETS);
    if let Some(place) = octets.get_mut(start..start.saturating_add(LENGTH_OCTETS)) {
        place.copy_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    }
}

fn read_attribute<'a>(reader: &mut Reader<'a>) -> Result<NameAttribute<'a>, Malformed> {
    let element = reader.expect(Tag::SEQUENCE, "AttributeTypeAndValue")?;
    let mut fields = element.reader();
    let oid = fields.oid("attribute type")?;
    if fields.is_empty() {
        return Err(fields.error(Reason::Missing("attribute value")));
    }
    let value = fields.element()?;
    fields.finish()?;
    Ok(NameAttribute { der: element.as_der(), oid, value })
}

impl<'a> NameAttribute<'a> {
    /// The original DER of the SEQUENCE of type and value.
    #[must_use]
    pub const fn as_der(&self) -> &'a [u8] {
        self.der
    }

    /// The attribute type.
    #[must_use]
    pub const fn oid(&self) -> Oid {
        self.oid
    }

    /// The value with its tag.
    #[must_use]
    pub const fn value(&self) -> Element<'a> {
        self.value
    }

    /// The value as text, if it is a string in a known character set. Not made safe to show.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        let contents = self.value.contents();
        match self.value.tag() {
            Tag::UTF8_STRING => core::str::from_utf8(contents).ok().map(str::to_owned),
            // TeletexString is read as Latin-1, as everybody does.
            Tag::PRINTABLE_STRING | Tag::IA5_STRING | Tag::TELETEX_STRING => {
                Some(contents.iter().copied().map(char::from).collect())
            }
            Tag::BMP_STRING => {
                let units = contents.chunks_exact(2).map(|pair| match pair {
                    [high, low] => u16::from_be_bytes([*high, *low]),
                    _ => 0xFFFD,
                });
                Some(char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect())
            }
            _ => None,
        }
    }

    /// Type and value in a form in which equal ones are equal: strings that RFC 5280 folds without regard to case
    /// and to runs of white space, whatever their string type; all else octet by octet.
    fn fold_into(&self, octets: &mut Vec<u8>) {
        const FOLDED: u8 = 1;
        const DER: u8 = 0;
        frame(octets, |octets| octets.extend_from_slice(self.oid.as_der_contents()));
        let contents = self.value.contents();
        if self.is_folded() && contents.is_ascii() {
            octets.push(FOLDED);
            return frame(octets, |octets| push_words(octets, contents));
        }
        match self.text() {
            Some(text) if self.is_folded() => {
                let text = text.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ");
                octets.push(FOLDED);
                frame(octets, |octets| octets.extend_from_slice(text.as_bytes()));
            }
            Some(_) | None => {
                octets.push(DER);
                frame(octets, |octets| octets.extend_from_slice(self.value.as_der()));
            }
        }
    }

    /// Whether it is of a string type that RFC 5280 compares without regard to case.
    fn is_folded(&self) -> bool {
        matches!(self.value.tag(), Tag::PRINTABLE_STRING | Tag::UTF8_STRING | Tag::IA5_STRING)
    }

    fn to_display(self) -> String {
        let keyword = keyword(self.oid).map_or_else(|| self.oid.to_string(), str::to_owned);
        match self.text() {
            Some(text) => format!("{keyword}={}", escape(&printable(&text))),
            None => {
                let hex: String = self.value.as_der().iter().map(|octet| format!("{octet:02X}")).collect();
                format!("{keyword}=#{hex}")
            }
        }
    }
}

/// Keywords of RFC 4514, section 3, and the common ones beyond.
pub(crate) const KEYWORDS: &[(&str, Oid)] = &[
    ("CN", oid::COMMON_NAME),
    ("C", oid::COUNTRY_NAME),
    ("DC", oid::DOMAIN_COMPONENT),
    ("GN", oid::GIVEN_NAME),
    ("L", oid::LOCALITY_NAME),
    ("O", oid::ORGANIZATION_NAME),
    ("OU", oid::ORGANIZATIONAL_UNIT_NAME),
    ("SERIALNUMBER", oid::SERIAL_NUMBER),
    ("SN", oid::SURNAME),
    ("ST", oid::STATE_OR_PROVINCE_NAME),
    ("STREET", oid::STREET_ADDRESS),
    ("T", oid::TITLE),
    ("UID", oid::USER_ID),
    ("emailAddress", oid::EMAIL_ADDRESS),
    ("tpmManufacturer", oid::TPM_MANUFACTURER),
    ("tpmModel", oid::TPM_MODEL),
    ("tpmVersion", oid::TPM_VERSION),
];

fn keyword(oid: Oid) -> Option<&'static str> {
    KEYWORDS.iter().find(|(_, known)| *known == oid).map(|(keyword, _)| *keyword)
}

/// Escapes a value as RFC 4514, 2.4 asks.
fn escape(text: &str) -> String {
    let last = text.chars().count().saturating_sub(1);
    let mut escaped = String::with_capacity(text.len());
    for (index, c) in text.chars().enumerate() {
        let at_edge = (c == ' ' && (index == 0 || index == last)) || (c == '#' && index == 0);
        if at_edge || matches!(c, '"' | '+' | ',' | ';' | '<' | '>' | '\\' | '=') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::x509::build;

    /// A name of one attribute in each RDN, each a string type and a text.
    fn name(parts: &[(u8, String)]) -> NameView {
        let mut writer = build::DerWriter::new();
        writer.sequence(|name| {
            for (kind, text) in parts {
                let tag = [Tag::PRINTABLE_STRING, Tag::UTF8_STRING, Tag::IA5_STRING, Tag::TELETEX_STRING];
                // Only UTF8String may hold more than ASCII here.
                let tag = if text.is_ascii() { tag[usize::from(kind % 4)] } else { Tag::UTF8_STRING };
                let mut attribute = build::DerWriter::new();
                attribute.sequence(|fields| {
                    fields.oid(oid::COMMON_NAME).string(tag, text);
                });
                name.set_of(&[attribute.into_der()]);
            }
        });
        NameView::parse(&writer.into_der()).unwrap()
    }

    /// What the parts of a name are compared by, said in another way.
    fn compared(parts: &[(u8, String)]) -> Vec<(bool, String)> {
        let compared = |(kind, text): &(u8, String)| {
            let is_teletex = text.is_ascii() && kind % 4 == 3;
            let words = || text.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ");
            (is_teletex, if is_teletex { text.clone() } else { words() })
        };
        parts.iter().map(compared).collect()
    }

    proptest! {
        /// Names are compared as they should be, by the short way and by the long one.
        #[test]
        fn names_match_by_their_words(
            own in prop::collection::vec((0..4_u8, "[aAbKk\u{212A}\u{130} \t\u{b}]{0,3}"), 0..3),
            theirs in prop::collection::vec((0..4_u8, "[aAbKk\u{212A}\u{130} \t\u{b}]{0,3}"), 0..3),
        ) {
            let expected = compared(&own) == compared(&theirs);
            let expected_within = compared(&own).starts_with(&compared(&theirs));
            let (own, theirs) = (name(&own), name(&theirs));
            prop_assert_eq!(own.matches(&theirs), expected);
            prop_assert_eq!(own.folded().digest == theirs.folded().digest, expected);
            prop_assert_eq!(own.is_within(&theirs), expected_within);
            prop_assert!(own.matches_plainly(&theirs).is_none_or(|plainly| plainly == expected));
        }
    }
}
