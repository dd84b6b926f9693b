//! Certificates as a YubiKey makes them for keys of its PIV application, and that of its slot F9.

use anyhow::Result;
use vouchsafe_evidence::oid::{self, Oid};
use vouchsafe_evidence::x509::build;
use vouchsafe_evidence::x509::extensions::BasicConstraints;

use super::super::Scope;
use super::super::value::{Arguments, Value};
use super::octets::element;

const FROM: &str = "2016-03-14T00:00:00Z";
const TO: &str = "2052-04-17T00:00:00Z";

pub fn call(scope: &Scope<'_>, word: &str, arguments: &mut Arguments) -> Result<Option<Value>> {
    match word {
        // slot-certificate(key, issuer: .., slot: "9c", firmware: octets, serial: number, policies: octets, form: octets,
        // more: [extensions], and what certificate() takes): each part is replaced by octets, left out by none
        "slot-certificate" => slot_certificate(scope, arguments).map(Some),
        // f9-certificate(key, issuer: .., firmware: octets, fips: number, cspn: yes, basic: extension, and what
        // certificate() takes)
        "f9-certificate" => f9_certificate(scope, arguments).map(Some),
        _ => Ok(None),
    }
}

fn slot_certificate(scope: &Scope<'_>, arguments: &mut Arguments) -> Result<Value> {
    let key = arguments.at(0)?;
    let slot = arguments.text_or("slot", "9c")?;
    let parts = [
        ("firmware", oid::YUBIKEY_PIV_FIRMWARE, vec![5, 4, 3]),
        ("serial", oid::YUBIKEY_PIV_SERIAL, integer(12_345_678)),
        ("policies", oid::YUBIKEY_PIV_POLICIES, vec![2, 1]),
        ("form", oid::YUBIKEY_PIV_FORM_FACTOR, vec![1]),
    ];
    let mut extensions = Vec::new();
    for (label, oid, usual) in parts {
        extensions.extend(part(arguments, label, oid, Some(usual))?);
    }
    let subject = arguments.text_or("subject", &format!("CN=YubiKey PIV Attestation {slot}"))?;
    certificate(scope, arguments, key, subject, extensions)
}

fn f9_certificate(scope: &Scope<'_>, arguments: &mut Arguments) -> Result<Value> {
    let key = arguments.at(0)?;
    let mut extensions = Vec::new();
    extensions.extend(part(arguments, "firmware", oid::YUBIKEY_PIV_FIRMWARE, Some(vec![5, 4, 3]))?);
    extensions.extend(part(arguments, "fips", oid::YUBIKEY_PIV_FIPS, None)?);
    if arguments.flag_or("cspn", false)? {
        extensions.push(build::extension(oid::YUBIKEY_PIV_CSPN, false, &[0x05, 0x00]));
    }
    let authority = BasicConstraints { ca: true, path_length: Some(0) };
    match arguments.labelled("basic") {
        Some(Value::None) => {}
        Some(other) => extensions.push(other.octets()?),
        None => extensions.push(build::basic_constraints(true, authority)),
    }
    let subject = arguments.text_or("subject", "CN=YubiKey PIV Attestation")?;
    certificate(scope, arguments, key, subject, extensions)
}

/// A certificate with extensions and with the validity that Yubico's have.
pub fn certificate(
    scope: &Scope<'_>,
    arguments: &mut Arguments,
    key: Value,
    subject: String,
    extensions: Vec<Vec<u8>>,
) -> Result<Value> {
    let (from, to) = (arguments.text_or("from", FROM)?, arguments.text_or("to", TO)?);
    arguments.set("key", key);
    arguments.set("subject", Value::Text(subject));
    arguments.set("from", Value::Text(from));
    arguments.set("to", Value::Text(to));
    arguments.set("extensions", Value::List(extensions.into_iter().map(Value::Octets).collect()));
    super::call(scope, "certificate", arguments)
}

/// The extension of a part: a number as an INTEGER, octets as they are, nothing for none.
pub fn part(arguments: &mut Arguments, label: &str, oid: Oid, usual: Option<Vec<u8>>) -> Result<Option<Vec<u8>>> {
    let value = match arguments.labelled(label) {
        Some(Value::None) => None,
        Some(Value::Number(number)) => Some(integer(number)),
        Some(other) => Some(other.octets()?),
        None => usual,
    };
    Ok(value.map(|value| build::extension(oid, false, &value)))
}

/// An INTEGER.
pub fn integer(number: u64) -> Vec<u8> {
    let octets: Vec<u8> = number.to_be_bytes().into_iter().skip_while(|octet| *octet == 0).collect();
    let sign = octets.first().is_none_or(|first| first & 0x80 != 0);
    let sign: &[u8] = if sign { &[0] } else { &[] };
    element(0x02, &[sign, &octets].concat())
}
