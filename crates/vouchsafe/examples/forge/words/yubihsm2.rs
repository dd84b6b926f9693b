//! Certificates as a YubiHSM 2 makes them for its keys, and that of its factory key.

use anyhow::Result;
use vouchsafe_evidence::oid;
use vouchsafe_evidence::x509::build;
use vouchsafe_evidence::x509::extensions::BasicConstraints;

use super::super::Scope;
use super::super::value::{Arguments, Value};
use super::octets::element;
use super::yubikey_piv::{certificate, integer, part};

pub fn call(scope: &Scope<'_>, word: &str, arguments: &mut Arguments) -> Result<Option<Value>> {
    match word {
        // hsm-key-certificate(key, issuer: .., firmware: .., serial: number, origin: .., domains: .., capabilities: ..,
        // object: number, label: .., and what certificate() takes): parts are replaced by octets of extension values,
        // left out by none
        "hsm-key-certificate" => key_certificate(scope, arguments).map(Some),
        // hsm-certificate(key, issuer: .., serial: number, basic: extension, and what certificate() takes)
        "hsm-certificate" => module_certificate(scope, arguments).map(Some),
        // hsm-bits(octets): the value of an extension that is a bit field
        "hsm-bits" => Ok(Some(Value::Octets(bits(&arguments.at(0)?.octets()?)))),
        _ => Ok(None),
    }
}

fn key_certificate(scope: &Scope<'_>, arguments: &mut Arguments) -> Result<Value> {
    let key = arguments.at(0)?;
    let parts = [
        ("firmware", oid::YUBIHSM2_FIRMWARE, element(0x04, &[2, 4, 0])),
        ("serial", oid::YUBIHSM2_SERIAL, integer(87_654_321)),
        ("origin", oid::YUBIHSM2_ORIGIN, bits(&[0x01])),
        ("domains", oid::YUBIHSM2_DOMAINS, bits(&[0x00, 0x01])),
        ("capabilities", oid::YUBIHSM2_CAPABILITIES, bits(&[0, 0, 0, 0, 0, 0, 0, 0x80])),
        ("object", oid::YUBIHSM2_OBJECT_ID, integer(3)),
        ("label", oid::YUBIHSM2_LABEL, element(0x0C, b"vectors")),
    ];
    let mut extensions = Vec::new();
    for (label, oid, usual) in parts {
        extensions.extend(part(arguments, label, oid, Some(usual))?);
    }
    let subject = arguments.text_or("subject", "CN=YubiHSM Attestation id:0x0003")?;
    certificate(scope, arguments, key, subject, extensions)
}

fn module_certificate(scope: &Scope<'_>, arguments: &mut Arguments) -> Result<Value> {
    let key = arguments.at(0)?;
    let mut extensions = Vec::new();
    extensions.extend(part(arguments, "serial", oid::YUBIHSM2_SERIAL, Some(integer(87_654_321)))?);
    match arguments.labelled("basic") {
        Some(Value::None) => {}
        Some(other) => extensions.push(other.octets()?),
        None => {
            let authority = BasicConstraints { ca: true, path_length: Some(0) };
            extensions.push(build::basic_constraints(true, authority));
        }
    }
    let subject = arguments.text_or("subject", "CN=YubiHSM Attestation (87654321)")?;
    certificate(scope, arguments, key, subject, extensions)
}

fn bits(octets: &[u8]) -> Vec<u8> {
    element(0x03, &[&[0], octets].concat())
}
