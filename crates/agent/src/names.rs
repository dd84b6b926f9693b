//! Names of certificates, from text.

use std::net::IpAddr;

use thiserror::Error;
use vouchsafe_evidence::x509::NameView;
use vouchsafe_evidence::x509::build::{DerWriter, NameTextError, name_from_text};
use vouchsafe_evidence::x509::der::Tag;

/// Most subject alternative names that one certificate gets.
pub const MAX_ALTERNATIVE_NAMES: usize = 16;

/// What stands for the key's name in a subject template.
const KEY_PLACEHOLDER: &str = "{key}";

/// Text that is not an alternative name, or too many of them.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum AlternativeNameFault {
    /// Not one of the kinds.
    #[error("alternative name {number} is none of dns:, email:, uri: and ip:")]
    Kind {
        /// Which one, from 1.
        number: usize,
    },
    /// More than [`MAX_ALTERNATIVE_NAMES`].
    #[error("{found} alternative names, the limit is {limit}", limit = MAX_ALTERNATIVE_NAMES)]
    TooMany {
        /// How many.
        found: usize,
    },
    /// A value that its kind does not take.
    #[error("alternative name {number} is not a value of its kind")]
    Value {
        /// Which one, from 1.
        number: usize,
    },
}

/// The DER Name of RFC 4514 text; it has at least one RDN.
///
/// # Errors
///
/// [`NameTextError`].
pub fn subject(text: &str) -> Result<NameView, NameTextError> {
    let name = name_from_text(text)?;
    if name.is_empty() { Err(NameTextError::MissingValue { attribute: 1 }) } else { Ok(name) }
}

/// The DER Name of RFC 4514 text in which `{key}` stands for a key's name.
///
/// # Errors
///
/// [`NameTextError`].
pub fn subject_for_key(template: &str, key_name: &str) -> Result<NameView, NameTextError> {
    subject(&template.replace(KEY_PLACEHOLDER, &escaped(key_name)))
}

/// A value with each character escaped that RFC 4514 section 2.4 gives a meaning.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for (index, character) in value.char_indices() {
        let is_first = index == 0;
        let is_last = index + character.len_utf8() == value.len();
        let is_special = match character {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' | '=' => true,
            '#' => is_first,
            ' ' => is_first || is_last,
            _ => false,
        };
        if is_special {
            text.push('\\');
        }
        text.push(character);
    }
    text
}

/// The DER GeneralNames of texts such as `dns:host.example`, `email:`, `uri:` and `ip:192.0.2.1`; `None`
/// for no text at all.
///
/// # Errors
///
/// [`AlternativeNameFault`].
pub fn alternative_names(texts: &[String]) -> Result<Option<Vec<u8>>, AlternativeNameFault> {
    if texts.is_empty() {
        return Ok(None);
    }
    if texts.len() > MAX_ALTERNATIVE_NAMES {
        return Err(AlternativeNameFault::TooMany { found: texts.len() });
    }
    let names = (1..).zip(texts).map(|(number, text)| general_name(number, text)).collect::<Result<Vec<_>, _>>()?;
    let mut writer = DerWriter::new();
    writer.sequence(|list| {
        for (tag, contents) in names {
            list.primitive(tag, &contents);
        }
    });
    Ok(Some(writer.into_der()))
}

fn general_name(number: usize, text: &str) -> Result<(Tag, Vec<u8>), AlternativeNameFault> {
    let (kind, value) = text.split_once(':').ok_or(AlternativeNameFault::Kind { number })?;
    let tag = match kind {
        "email" => Tag::context(1),
        "dns" => Tag::context(2),
        "uri" => Tag::context(6),
        "ip" => Tag::context(7),
        _ => return Err(AlternativeNameFault::Kind { number }),
    };
    let contents = if kind == "ip" {
        match value.parse().map_err(|_| AlternativeNameFault::Value { number })? {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        }
    } else if !value.is_empty() && value.bytes().all(|octet| octet.is_ascii_graphic()) {
        value.as_bytes().to_vec()
    } else {
        return Err(AlternativeNameFault::Value { number });
    };
    Ok((tag, contents))
}

#[cfg(test)]
mod tests {
    use super::{AlternativeNameFault, alternative_names, subject, subject_for_key};

    #[test]
    fn a_key_name_cannot_add_to_the_subject() {
        let name = subject_for_key("CN={key},O=Example", r" #a+O=b\,c ").unwrap();
        assert_eq!(name.rdns().count(), 2);
        let common_name = name.rdns().last().unwrap().attributes().next().unwrap().text().unwrap();
        assert_eq!(common_name, r" #a+O=b\,c ");
    }

    #[test]
    fn a_subject_is_not_empty() {
        assert!(subject("").is_err());
        assert!(subject("CN=").is_err());
        assert!(subject("CN=a").is_ok());
    }

    #[test]
    fn alternative_names_of_each_kind() {
        let texts = ["dns:a.b", "email:c@d", "uri:e:f", "ip:192.0.2.1", "ip:::1"].map(str::to_owned);
        let expected = b"\x30\x2A\x82\x03a.b\x81\x03c@d\x86\x03e:f\x87\x04\xC0\x00\x02\x01\x87\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01";
        let der = alternative_names(&texts).unwrap().unwrap();
        assert_eq!(der.get(2..), expected.get(2..));
        assert_eq!(usize::from(der[1]), der.len() - 2);
        assert_eq!(alternative_names(&[]), Ok(None));
    }

    #[test]
    fn other_text_is_refused() {
        let refusal = |text: &str| alternative_names(&[text.to_owned()]).unwrap_err();
        assert_eq!(refusal("a.b"), AlternativeNameFault::Kind { number: 1 });
        assert_eq!(refusal("DNS:a.b"), AlternativeNameFault::Kind { number: 1 });
        assert_eq!(refusal("dns:"), AlternativeNameFault::Value { number: 1 });
        assert_eq!(refusal("dns:a b"), AlternativeNameFault::Value { number: 1 });
        assert_eq!(refusal("ip:192.0.2"), AlternativeNameFault::Value { number: 1 });
        let many = vec!["dns:a".to_owned(); 17];
        assert_eq!(alternative_names(&many), Err(AlternativeNameFault::TooMany { found: 17 }));
    }
}
