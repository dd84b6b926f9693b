//! Attestation messages as a Crypto4A QASM signs them, and the certificates of its assertion authorities.

use anyhow::{Context, Result};
use vouchsafe_evidence::x509::build;
use vouchsafe_evidence::x509::extensions::KeyUsage;

use super::super::Scope;
use super::super::value::{Arguments, Value};
use super::octets::{context, element, oid_named};
use super::x509::sign;
use super::yubikey_piv::certificate;

/// Where the makers' claims begin.
const CLAIMS: &str = "1.3.6.1.4.1.39901.6.";

pub fn call(scope: &Scope<'_>, word: &str, arguments: &mut Arguments) -> Result<Option<Value>> {
    Ok(Some(match word {
        // qasm-authority(key, issuer: .., purpose: "identifier", usage: extension, and what certificate() takes)
        "qasm-authority" => authority(scope, arguments)?,
        // qasm-claim("2.8", about: octets, value: octets of one element)
        "qasm-claim" => Value::Octets(claim(arguments)?),
        // qasm-signer(certificate, algorithm, octets): one signature, made elsewhere
        "qasm-signer" => {
            let (certificate, algorithm) = (arguments.at(0)?.octets()?, arguments.at(1)?.octets()?);
            Value::Octets(signature(&certificate, &algorithm, &arguments.at(2)?.octets()?))
        }
        // qasm-message([claims], signers: [authorities], more: [signatures], certs: [..], signed: octets, hash: "..")
        "qasm-message" => Value::Octets(message(scope, arguments)?),
        _ => return Ok(None),
    }))
}

fn authority(scope: &Scope<'_>, arguments: &mut Arguments) -> Result<Value> {
    let key = arguments.at(0)?;
    let purpose = oid_named(&arguments.text_or("purpose", "1.3.6.1.4.1.39901.4.1.1")?)?;
    let usual = build::key_usage(true, KeyUsage::from_bits(KeyUsage::DIGITAL_SIGNATURE));
    let usage = arguments.octets_or("usage", &usual)?;
    let extensions = vec![usage, build::extended_key_usage(false, &[purpose])];
    let subject = arguments.text_or("subject", "CN=C4A000042 Assertion Authority EC")?;
    certificate(scope, arguments, key, subject, extensions)
}

fn claim(arguments: &mut Arguments) -> Result<Vec<u8>> {
    let kind = format!("{CLAIMS}{}", arguments.at(0)?.text()?);
    let mut fields = build::DerWriter::new();
    fields.oid(oid_named(&kind)?);
    let mut fields = fields.into_der();
    if let Some(about) = arguments.labelled("about") {
        fields.extend(element(context(0), &element(0x80, &about.octets()?)));
    }
    if let Some(value) = arguments.labelled("value") {
        fields.extend(element(context(1), &value.octets()?));
    }
    Ok(element(0x30, &fields))
}

fn signature(certificate: &[u8], algorithm: &[u8], octets: &[u8]) -> Vec<u8> {
    let uuid = super::octets::pseudorandom("assertion authority", 16);
    let signer = [element(context(0), &element(0x04, &uuid)), element(context(2), certificate)].concat();
    element(0x30, &[element(0x30, &signer), algorithm.to_vec(), element(0x03, &[&[0], octets].concat())].concat())
}

fn message(scope: &Scope<'_>, arguments: &mut Arguments) -> Result<Vec<u8>> {
    const VERSION: [u8; 3] = [0x02, 0x01, 0x01];
    let claims = arguments.at(0)?.octets_list()?.concat();
    let tbs = element(0x30, &[VERSION.as_slice(), &element(0x30, &claims)].concat());
    let signed = arguments.octets_or("signed", &tbs)?;
    let hash = super::x509::wanted_hash(arguments)?;
    let mut signatures = Vec::new();
    for signer in arguments.labelled("signers").context("signers: is missing")?.list()? {
        let (algorithm, octets) = sign(scope, &signer.key()?, hash, &signed)?;
        signatures.extend(signature(&signer.octets()?, &algorithm, &octets));
    }
    signatures.extend(arguments.labelled("more").map_or(Ok(Vec::new()), |list| list.octets_list())?.concat());
    let certificates = arguments.labelled("certs").map_or(Ok(Vec::new()), |list| list.octets_list())?.concat();
    let mut fields = [VERSION.to_vec(), tbs, element(0x30, &signatures)].concat();
    if !certificates.is_empty() {
        fields.extend(element(context(0), &certificates));
    }
    Ok(element(0x30, &fields))
}
