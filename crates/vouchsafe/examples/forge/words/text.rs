//! JSON, CBOR and base64url.

use anyhow::{Context, Result};

use super::super::Scope;
use super::super::value::{Arguments, Value};

pub fn call(_: &Scope<'_>, word: &str, arguments: &mut Arguments) -> Result<Option<Value>> {
    Ok(Some(Value::Octets(match word {
        // base64url(octets): without padding
        "base64url" => base64url(&arguments.at(0)?.octets()?).into_bytes(),
        // json-text("..") or json-text(octets of UTF-8)
        "json-text" => serde_json::to_vec(&string(&arguments.at(0)?)?)?,
        "json-number" => arguments.at(0)?.number()?.to_string().into_bytes(),
        // json-array(value, ..)
        "json-array" => joined(b"[", &list(arguments)?, b"]"),
        // json-object("label", value, ..)
        "json-object" => {
            let mut members = Vec::new();
            for pair in arguments.rest().chunks(2) {
                let [label, value] = pair else { anyhow::bail!("a label without value") };
                members.push([serde_json::to_vec(label.text()?)?.as_slice(), b":", &value.octets()?].concat());
            }
            joined(b"{", &members, b"}")
        }
        // cbor-integer(n), or with negative: yes the number -n
        "cbor-integer" => {
            let number = arguments.at(0)?.number()?;
            if arguments.flag_or("negative", false)? { head(1, number.saturating_sub(1)) } else { head(0, number) }
        }
        "cbor-bytes" => cbor_string(2, &arguments.at(0)?.octets()?),
        "cbor-text" => cbor_string(3, string(&arguments.at(0)?)?.as_bytes()),
        // cbor-array(item, ..) and cbor-map(key, item, ..)
        "cbor-array" => {
            let members = list(arguments)?;
            [head(4, u64::try_from(members.len())?), members.concat()].concat()
        }
        "cbor-map" => {
            let members = list(arguments)?;
            [head(5, u64::try_from(members.len() / 2)?), members.concat()].concat()
        }
        // cbor-tag(n, item)
        "cbor-tag" => {
            let number = arguments.at(0)?.number()?;
            [head(6, number), arguments.at(1)?.octets()?].concat()
        }
        _ => return Ok(None),
    })))
}

fn list(arguments: &mut Arguments) -> Result<Vec<Vec<u8>>> {
    Value::List(arguments.rest()).octets_list()
}

fn string(value: &Value) -> Result<String> {
    match value {
        Value::Text(text) => Ok(text.clone()),
        other => String::from_utf8(other.octets()?).context("UTF-8"),
    }
}

fn joined(open: &[u8], members: &[Vec<u8>], close: &[u8]) -> Vec<u8> {
    [open, &members.join(&b","[..]), close].concat()
}

/// The head of a data item, as short as it can be.
pub fn head(major: u8, argument: u64) -> Vec<u8> {
    let major = major << 5;
    let octets: Vec<u8> = argument.to_be_bytes().into_iter().skip_while(|octet| *octet == 0).collect();
    match (argument, octets.len()) {
        (0..24, _) => vec![major | u8::try_from(argument).unwrap_or_default()],
        (_, 0 | 1) => [&[major | 24], octets.as_slice()].concat(),
        (_, 2) => [&[major | 25], octets.as_slice()].concat(),
        (_, 3 | 4) => [&[major | 26], argument.to_be_bytes().get(4..).unwrap_or_default()].concat(),
        _ => [&[major | 27], argument.to_be_bytes().as_slice()].concat(),
    }
}

/// A byte string (2) or a text string (3).
pub fn cbor_string(major: u8, octets: &[u8]) -> Vec<u8> {
    [head(major, u64::try_from(octets.len()).unwrap_or_default()), octets.to_vec()].concat()
}

/// The text of octets.
pub fn base64url(octets: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let digit =
        |bits: u32| ALPHABET.get(usize::try_from(bits & 0x3F).unwrap_or_default()).map_or('A', |d| char::from(*d));
    let mut text = String::new();
    for chunk in octets.chunks(3) {
        let bits =
            (0..3).fold(0_u32, |bits, place| bits << 8 | u32::from(chunk.get(place).copied().unwrap_or_default()));
        text.extend([18, 12, 6, 0].into_iter().take(chunk.len() + 1).map(|shift| digit(bits >> shift)));
    }
    text
}
