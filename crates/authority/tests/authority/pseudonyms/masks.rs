//! What remains of a message when everything that is drawn at random is taken out of it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// Octets of an INTEGER or BIT STRING that are taken for chosen, not drawn.
const CHOSEN_OCTETS: usize = 8;
/// Hexadecimal digits in a row that are taken for drawn.
const DRAWN_DIGITS: usize = 16;

/// The shape of DER: tags, identifiers, times, texts and small numbers as they stand; of long numbers and octets no
/// more than that they are there.
pub fn der(octets: &[u8]) -> Option<String> {
    let mut shape = String::new();
    let mut rest = octets;
    while !rest.is_empty() {
        let (element, behind) = element(rest)?;
        shape.push_str(&element);
        rest = behind;
    }
    (!octets.is_empty()).then_some(shape)
}

fn element(octets: &[u8]) -> Option<(String, &[u8])> {
    let (tag, rest) = octets.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7F => (usize::from(*first), rest),
        0x81..=0x83 => {
            let (octets, rest) = rest.split_at_checked(usize::from(first & 0x0F))?;
            (octets.iter().fold(0, |length, octet| length << 8 | usize::from(*octet)), rest)
        }
        _ => return None,
    };
    let (contents, behind) = rest.split_at_checked(length)?;
    let shape = match tag {
        0x30 | 0x31 | 0xA0..=0xAF if contents.is_empty() => "{}".to_owned(),
        0x30 | 0x31 | 0xA0..=0xAF => format!("{{{}}}", der(contents)?),
        0x02 if length > CHOSEN_OCTETS => "number".to_owned(),
        0x03 => match contents.split_first() {
            Some((0, within)) => der(within).unwrap_or_else(|| bits(contents)),
            _ => bits(contents),
        },
        0x04 => der(contents).unwrap_or_else(|| format!("octets({length})")),
        0x0C | 0x13 | 0x16 => text(std::str::from_utf8(contents).ok()?),
        0x80..=0x9F if length > CHOSEN_OCTETS && contents.iter().any(|octet| *octet != 0) => {
            format!("octets({length})")
        }
        0x01 | 0x02 | 0x05 | 0x06 | 0x0A | 0x17 | 0x18 | 0x80..=0x9F => crate::site::hex(contents),
        _ => return None,
    };
    Some((format!("{tag:02x}:{shape};"), behind))
}

fn bits(contents: &[u8]) -> String {
    if contents.len() <= CHOSEN_OCTETS { crate::site::hex(contents) } else { format!("bits({})", contents.len()) }
}

/// Every value in DER that holds no other: the octets that could tell one message from another.
pub fn values(octets: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut found = Vec::new();
    let mut rest = octets;
    while !rest.is_empty() {
        let (_, behind) = element(rest)?;
        let header = match rest[1] {
            length @ 0..=0x7F => (2, usize::from(length)),
            several => {
                let octets = &rest[2..2 + usize::from(several & 0x0F)];
                (2 + octets.len(), octets.iter().fold(0, |length, octet| length << 8 | usize::from(*octet)))
            }
        };
        let contents = &rest[header.0..header.0 + header.1];
        let within = match rest[0] {
            0x30 | 0x31 | 0xA0..=0xAF | 0x04 => values(contents),
            0x03 => contents.split_first().and_then(|(_, within)| values(within)),
            _ => None,
        };
        found.extend(within.unwrap_or_else(|| vec![contents.to_vec()]));
        rest = behind;
    }
    (!octets.is_empty()).then_some(found)
}

/// Text without long runs of hexadecimal digits.
pub fn text(text: &str) -> String {
    let mut shape = String::new();
    let mut run = String::new();
    for letter in text.chars().chain(['\n']) {
        if letter.is_ascii_hexdigit() {
            run.push(letter);
            continue;
        }
        shape.push_str(if run.len() >= DRAWN_DIGITS { "digits" } else { &run });
        run.clear();
        shape.push(letter);
    }
    shape.trim_end_matches('\n').to_owned()
}

/// The shape of a JSON value, what is in base64 by the shape of its DER.
pub fn json(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let members: Vec<String> = members.iter().map(|(name, of)| format!("{name}={}", json(of))).collect();
            format!("{{{}}}", members.join(","))
        }
        Value::Array(values) => format!("[{}]", values.iter().map(json).collect::<Vec<_>>().join(",")),
        Value::String(of) => STANDARD.decode(of).ok().and_then(|octets| der(&octets)).unwrap_or_else(|| text(of)),
        Value::Bool(_) | Value::Null | Value::Number(_) => value.to_string(),
    }
}

#[test]
fn chosen_values_remain_and_drawn_ones_do_not() {
    use vouchsafe_evidence::oid;
    use vouchsafe_evidence::x509::build;

    use crate::module::{SoftwareKey, sign_certificate};
    use crate::site::NOW;
    let certificate = |name: &str, now: i64, extension: &[u8]| {
        let key = SoftwareKey::generate();
        let name = build::distinguished_name(&[(oid::COMMON_NAME, name)]).unwrap();
        let extension = build::extension(oid::NONCE, false, extension);
        der(&sign_certificate((&name, &key), name.clone(), key.spki(), now, vec![extension])).unwrap()
    };
    let first = certificate("device-1", NOW, &[4, 2, 1, 2]);
    assert_eq!(first, certificate("device-1", NOW, &[4, 2, 8, 9]));
    assert_ne!(first, certificate("device-2", NOW, &[4, 2, 1, 2]));
    assert_ne!(first, certificate("device-1", NOW + 1, &[4, 2, 1, 2]));
    assert_ne!(first, certificate("device-1", NOW, &[4, 3, 1, 2, 3]));
    assert_ne!(first, certificate("device-1", NOW, &[2, 1, 5]));
    assert_eq!(text("ak-0123456789abcdef0123 of rack7"), "ak-digits of rack7");
}
