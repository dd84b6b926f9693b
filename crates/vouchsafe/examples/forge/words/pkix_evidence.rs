//! PKIX Evidence, well formed and otherwise.

use anyhow::{Context, Result, bail};
use vouchsafe_evidence::oid;
use vouchsafe_evidence::x509::build;
use vouchsafe_evidence::x509::extensions::{BasicConstraints, KeyUsage};

use super::super::Scope;
use super::super::value::{Arguments, Value};
use super::octets::{context, element, oid_named};
use super::x509::{sign, spki, wanted_hash};

/// Validity of attestation keys' certificates: the case time lies within.
const FROM: &str = "2026-06-01T00:00:00Z";
const TO: &str = "2027-06-01T00:00:00Z";

pub fn call(scope: &Scope<'_>, word: &str, arguments: &mut Arguments) -> Result<Option<Value>> {
    Ok(Some(match word {
        // evidence-claim("1.0", octets of the value): id-evidence 1.1.0; without a value, as requests have it
        "evidence-claim" => {
            let value = arguments.maybe_at(1).map_or(Ok(Vec::new()), |value| value.octets())?;
            let claim_type = identifier("1.", arguments.at(0)?.text()?)?;
            Value::Octets(element(0x30, &[claim_type, value].concat()))
        }
        // evidence-element("1", [claims]): id-evidence 0.1, or any identifier with type:
        "evidence-element" => {
            let number = arguments.at(0)?;
            let element_type = match arguments.labelled("type") {
                Some(dotted) => element(0x06, oid_named(dotted.text()?)?.as_der_contents()),
                None => identifier("0.", number.text()?)?,
            };
            let claims = arguments.at(1)?.octets_list()?.concat();
            Value::Octets(element(0x30, &[element_type, element(0x30, &claims)].concat()))
        }
        // evidence-purposes("sign", ..): the value of the claim, by the last arcs "4"
        "evidence-purposes" => {
            let purposes: Result<Vec<_>> = arguments.rest().iter().map(|arc| identifier("2.", arc.text()?)).collect();
            Value::Octets(element(0x30, &purposes?.concat()))
        }
        // evidence-tbs([elements], version: octets)
        "evidence-tbs" => Value::Octets(tbs(arguments)?),
        "evidence-signature" => Value::Octets(signature(scope, arguments)?),
        "evidence-ak" => attestation_key(scope, arguments)?,
        "evidence" => evidence(scope, arguments)?,
        _ => return Ok(None),
    }))
}

/// The DER of an identifier beneath id-evidence.
fn identifier(prefix: &str, arcs: &str) -> Result<Vec<u8>> {
    let dotted = format!("{}.{prefix}{arcs}", oid::EVIDENCE_ARC);
    Ok(element(0x06, oid_named(&dotted)?.as_der_contents()))
}

fn tbs(arguments: &mut Arguments) -> Result<Vec<u8>> {
    let version = arguments.octets_or("version", &[0x02, 0x01, 0x01])?;
    let elements = arguments.at(0)?.octets_list()?.concat();
    Ok(element(0x30, &[version, element(0x30, &elements)].concat()))
}

/// evidence-signature(signer, octets of the tbs, certificate: .., spki: .., key-id: .., algorithm: .., signature: ..,
/// hash: ".."): a SignatureBlock. A signer that is a certificate is identified by it unless something else is named.
fn signature(scope: &Scope<'_>, arguments: &mut Arguments) -> Result<Vec<u8>> {
    let signer = arguments.at(0)?;
    let tbs = arguments.at(1)?.octets()?;
    let mut member = |label: &str| arguments.labelled(label).map(|value| value.octets()).transpose();
    let (key_id, spki, certificate) = (member("key-id")?, member("spki")?, member("certificate")?);
    let is_named = key_id.is_some() || spki.is_some() || certificate.is_some();
    let anonymous = arguments.flag_or("anonymous", false)?;
    let certificate = match (certificate, is_named || anonymous) {
        (None, false) => Some(signer.octets().context("the signer is no certificate")?),
        (certificate, _) => certificate,
    };
    let members = [key_id.map(|octets| element(0x04, &octets)), spki, certificate];
    let members: Vec<u8> = members
        .into_iter()
        .zip(0_u8..)
        .filter_map(|(member, number)| Some(element(context(number), &member?)))
        .flatten()
        .collect();
    let hash = wanted_hash(arguments)?;
    let (algorithm, value) = sign(scope, &signer.key()?, hash, &tbs)?;
    let algorithm = arguments.octets_or("algorithm", &algorithm)?;
    let value = arguments.octets_or("signature", &value)?;
    Ok(element(0x30, &[element(0x30, &members), algorithm, element(0x04, &value)].concat()))
}

/// evidence([elements], [signers], intermediates: [..], explicit: yes, tbs: octets, version: octets, more: octets):
/// signers are certificates, whose keys sign, or blocks.
fn evidence(scope: &Scope<'_>, arguments: &mut Arguments) -> Result<Value> {
    let tbs = match arguments.labelled("tbs") {
        Some(tbs) => tbs.octets()?,
        None => tbs(arguments)?,
    };
    let mut blocks = Vec::new();
    for signer in arguments.at(1)?.list()? {
        match &signer {
            Value::Octets(block) => blocks.extend(block.clone()),
            Value::Record(_) => {
                let of = vec![(None, signer.clone()), (None, Value::Octets(tbs.clone()))];
                blocks.extend(signature(scope, &mut Arguments::new(of))?);
            }
            _ => bail!("a signer is a certificate or a block"),
        }
    }
    let mut fields = [tbs.clone(), element(0x30, &blocks)].concat();
    if let Some(list) = arguments.labelled("intermediates") {
        let list = list.octets_list()?.concat();
        let list = if arguments.flag_or("explicit", false)? { element(0x30, &list) } else { list };
        fields.extend(element(context(0), &list));
    }
    fields.extend(arguments.octets_or("more", &[])?);
    Ok(Value::record([("der", Value::Octets(element(0x30, &fields))), ("tbs", Value::Octets(tbs))]))
}

/// evidence-ak(key, issuer: .., subject: "..", usage: .., purposes: .., basic: .., more: [..], from: "..", to: ".."): the
/// certificate of an attestation key; each part can be replaced or left out (`none`).
fn attestation_key(scope: &Scope<'_>, arguments: &mut Arguments) -> Result<Value> {
    let key = arguments.at(0)?;
    let digest = spki(scope, &key.key()?)?.sha256();
    let usual = format!("CN=module-{}", vouchsafe_verifier::hex::encode(digest.get(..8).unwrap_or_default()));
    let subject = arguments.text_or("subject", &usual)?;
    let mut extensions = Vec::new();
    let mut add = |label: &str, usual: Vec<u8>| -> Result<()> {
        match arguments.labelled(label) {
            Some(Value::None) => {}
            Some(other) => extensions.push(Value::Octets(other.octets()?)),
            None => extensions.push(Value::Octets(usual)),
        }
        Ok(())
    };
    add("basic", build::basic_constraints(true, BasicConstraints { ca: false, path_length: None }))?;
    add("usage", build::key_usage(true, KeyUsage::from_bits(KeyUsage::DIGITAL_SIGNATURE)))?;
    add("purposes", build::extended_key_usage(true, &[oid::KP_ATTESTATION_KEY]))?;
    let mut passed = vec![
        (Some("key".to_owned()), key),
        (Some("subject".to_owned()), Value::Text(subject)),
        (Some("extensions".to_owned()), Value::List(extensions)),
        (Some("from".to_owned()), Value::Text(arguments.text_or("from", FROM)?)),
        (Some("to".to_owned()), Value::Text(arguments.text_or("to", TO)?)),
    ];
    for label in ["issuer", "more", "signature", "signed-by"] {
        passed.extend(arguments.labelled(label).map(|value| (Some(label.to_owned()), value)));
    }
    super::call(scope, "certificate", &mut Arguments::new(passed))
}
