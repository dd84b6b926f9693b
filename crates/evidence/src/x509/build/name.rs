//! Names, from attributes and from text (RFC 4514).

use thiserror::Error;

use super::DerWriter;
use crate::Malformed;
use crate::oid::{self, Oid};
use crate::x509::NameView;
use crate::x509::der::Tag;
use crate::x509::name::KEYWORDS;

/// Why text is no distinguished name.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum NameTextError {
    /// `\` is not followed by a character that may be escaped or by two hexadecimal digits that give UTF-8.
    #[error("bad escape in the value of attribute {attribute}")]
    BadEscape {
        /// Position of the attribute in the text, from 1.
        attribute: usize,
    },
    /// A value is empty, or a country is not two letters.
    #[error("attribute {attribute} has a value that its type does not allow")]
    BadValue {
        /// Position of the attribute in the text, from 1.
        attribute: usize,
    },
    /// The name exceeds a limit.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// No `=` in an attribute.
    #[error("attribute {attribute} is not of the form TYPE=value")]
    MissingValue {
        /// Position of the attribute in the text, from 1.
        attribute: usize,
    },
    /// A type that is neither a known keyword nor a dotted identifier.
    #[error("attribute {attribute} has an unknown type")]
    UnknownType {
        /// Position of the attribute in the text, from 1.
        attribute: usize,
    },
}

/// The name of these RDNs, the topmost first; each is one or more attributes in DER (SEQUENCE of type and
/// value).
///
/// # Errors
/// [`Malformed`] if an attribute is not that, an RDN is empty, or there are more than
/// [`crate::limits::RDNS`].
pub fn name_from_attributes(rdns: &[Vec<Vec<u8>>]) -> Result<NameView, Malformed> {
    let mut writer = DerWriter::new();
    writer.sequence(|name| {
        for rdn in rdns {
            name.set_of(rdn);
        }
    });
    NameView::parse(&writer.into_der())
}

/// The name of these attributes, the topmost first, one in each RDN, as UTF8String (country, serial
/// number: PrintableString; domain component, e-mail address: IA5String).
///
/// # Errors
/// [`Malformed`] if a value does not fit its string type, or there are more than [`crate::limits::RDNS`].
pub fn distinguished_name(attributes: &[(Oid, &str)]) -> Result<NameView, Malformed> {
    let rdns: Vec<Vec<Vec<u8>>> = attributes.iter().map(|(oid, value)| vec![attribute_der(*oid, value)]).collect();
    name_from_attributes(&rdns)
}

fn attribute_der(oid: Oid, value: &str) -> Vec<u8> {
    let tag = match oid {
        oid::COUNTRY_NAME | oid::SERIAL_NUMBER => Tag::PRINTABLE_STRING,
        oid::DOMAIN_COMPONENT | oid::EMAIL_ADDRESS => Tag::IA5_STRING,
        _ => Tag::UTF8_STRING,
    };
    let mut writer = DerWriter::new();
    writer.sequence(|attribute| {
        attribute.oid(oid).string(tag, value);
    });
    writer.into_der()
}

/// The name that text in the form of RFC 4514 gives, such as `CN=device-1,O=Example`: the last RDN of the
/// sequence stands first in the text. `#hex` values are not read.
///
/// # Errors
/// [`NameTextError`].
pub fn name_from_text(text: &str) -> Result<NameView, NameTextError> {
    let mut rdns: Vec<Vec<Vec<u8>>> = Vec::new();
    if !text.trim().is_empty() {
        let mut attribute = 0;
        for rdn in split_unescaped(text, &[',']) {
            let mut members = Vec::new();
            for part in split_unescaped(rdn, &['+']) {
                attribute += 1;
                members.push(read_attribute(part, attribute)?);
            }
            rdns.push(members);
        }
    }
    rdns.reverse();
    Ok(name_from_attributes(&rdns)?)
}

/// The parts of `text` between separators that no `\` stands before.
fn split_unescaped<'a>(text: &'a str, separators: &[char]) -> Vec<&'a str> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut escaped = false;
    for (index, c) in text.char_indices() {
        if !escaped && separators.contains(&c) {
            parts.push(text.get(start..index).unwrap_or_default());
            start = index + c.len_utf8();
        }
        escaped = c == '\\' && !escaped;
    }
    parts.push(text.get(start..).unwrap_or_default());
    parts
}

fn read_attribute(part: &str, attribute: usize) -> Result<Vec<u8>, NameTextError> {
    let (kind, value) = part.split_once('=').ok_or(NameTextError::MissingValue { attribute })?;
    let kind = kind.trim();
    let oid = KEYWORDS
        .iter()
        .find(|(keyword, _)| keyword.eq_ignore_ascii_case(kind))
        .map(|(_, oid)| *oid)
        .or_else(|| Oid::from_dotted(kind))
        .ok_or(NameTextError::UnknownType { attribute })?;
    let value = unescape(value).ok_or(NameTextError::BadEscape { attribute })?;
    let is_country = value.len() == 2 && value.bytes().all(|octet| octet.is_ascii_alphabetic());
    let is_ascii_type = matches!(oid, oid::SERIAL_NUMBER | oid::DOMAIN_COMPONENT | oid::EMAIL_ADDRESS);
    if value.is_empty() || (oid == oid::COUNTRY_NAME && !is_country) || (is_ascii_type && !value.is_ascii()) {
        return Err(NameTextError::BadValue { attribute });
    }
    Ok(attribute_der(oid, &value))
}

/// Undoes the escapes of RFC 4514, 2.4, and drops white space at both ends that is not escaped.
fn unescape(value: &str) -> Option<String> {
    let value = value.trim_start();
    if value.starts_with('#') {
        return None;
    }
    let mut octets = Vec::with_capacity(value.len());
    // Length up to which octets must stay, however much white space they end in.
    let mut kept = 0;
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        if c == '\\' {
            let escaped = chars.next()?;
            match escaped.to_digit(16) {
                Some(high) => {
                    let low = chars.next()?.to_digit(16)?;
                    octets.push(u8::try_from(high * 16 + low).ok()?);
                }
                None if " \"#+,;<=>\\".contains(escaped) => octets.extend(escaped.to_string().bytes()),
                None => return None,
            }
            kept = octets.len();
        } else if matches!(c, '"' | '+' | ',' | ';' | '<' | '>') {
            return None;
        } else {
            octets.extend(c.to_string().bytes());
            if !c.is_whitespace() {
                kept = octets.len();
            }
        }
    }
    octets.truncate(kept);
    String::from_utf8(octets).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_reads_back() {
        for text in [
            "",
            "CN=device-1",
            "CN=device-1,O=Example,C=DE",
            "CN=a\\, b\\+c,OU=x\\=y",
            "CN=\\ edge\\ ",
            "CN=\\#1",
            "1.2.3.4=x",
            "CN=b\u{fc}cher",
        ] {
            assert_eq!(name_from_text(text).unwrap().to_display(), text);
        }
        assert_eq!(name_from_text("cn = device-1 , o=Example").unwrap().to_display(), "CN=device-1,O=Example");
        assert_eq!(name_from_text("CN=\\C3\\BC").unwrap().to_display(), "CN=\u{fc}");
    }

    #[test]
    fn the_topmost_rdn_stands_last_in_text() {
        let name = name_from_text("CN=leaf,O=top").unwrap();
        let above = name_from_text("O=TOP").unwrap();
        assert!(name.is_within(&above));
        assert!(!above.is_within(&name));
        assert_eq!(name, distinguished_name(&[(oid::ORGANIZATION_NAME, "top"), (oid::COMMON_NAME, "leaf")]).unwrap());
    }

    #[test]
    fn bad_text_is_refused_with_its_place() {
        assert_eq!(name_from_text("CN=a,O"), Err(NameTextError::MissingValue { attribute: 2 }));
        assert_eq!(name_from_text("X=a"), Err(NameTextError::UnknownType { attribute: 1 }));
        assert_eq!(name_from_text("CN="), Err(NameTextError::BadValue { attribute: 1 }));
        assert_eq!(name_from_text("C=DEU"), Err(NameTextError::BadValue { attribute: 1 }));
        assert_eq!(name_from_text("CN=a\\"), Err(NameTextError::BadEscape { attribute: 1 }));
        assert_eq!(name_from_text("CN=a\\zz"), Err(NameTextError::BadEscape { attribute: 1 }));
        assert_eq!(name_from_text("CN=a<b"), Err(NameTextError::BadEscape { attribute: 1 }));
        assert_eq!(name_from_text("CN=#0403"), Err(NameTextError::BadEscape { attribute: 1 }));
    }

    #[test]
    fn several_attributes_share_an_rdn() {
        let name = name_from_text("CN=a+SERIALNUMBER=1,O=x").unwrap();
        assert_eq!(name.rdns().count(), 2);
        assert_eq!(name.attributes(oid::SERIAL_NUMBER).next().unwrap().text().unwrap(), "1");
    }
}
