//! Attestation statements, bundles and certification requests.

use anyhow::{Context, Result, bail};
use vouchsafe_evidence::oid::{self, Oid};
use vouchsafe_evidence::x509::build::{self, DerWriter};

use super::super::Scope;
use super::super::value::{Arguments, Value};
use super::octets::{context, element, oid_named};
use super::tpm::{public, raw};
use super::x509::{name, sign, spki, wanted_hash};

pub fn call(scope: &Scope<'_>, word: &str, arguments: &mut Arguments) -> Result<Option<Value>> {
    Ok(Some(match word {
        "certify" => certify(scope, arguments)?,
        "quote" => quote(scope, arguments)?,
        // x509(leaf, public: octets or none)
        "x509" => {
            let leaf = arguments.at(0)?;
            let public = arguments.labelled("public").unwrap_or_else(|| leaf.field("public").unwrap_or(Value::None));
            let fields = [leaf.octets()?, optional_octets(&public)?].concat();
            statement(oid::STATEMENT_TPM_CERTIFY_X509, &element(0x30, &fields))
        }
        // statement("identifier", octets of stmt, more: octets)
        "statement" => {
            let oid = oid_named(arguments.at(0)?.text()?)?;
            let stmt = [arguments.at(1)?.octets()?, arguments.octets_or("more", &[])?].concat();
            statement(oid, &stmt)
        }
        "bundle" => Value::Octets(bundle(arguments)?),
        // attribute("identifier", [values])
        "attribute" => {
            let oid = oid_named(arguments.at(0)?.text()?)?;
            Value::Octets(build::attribute(oid, &arguments.at(1)?.octets_list()?))
        }
        "request" => Value::Octets(request(scope, arguments)?),
        _ => return Ok(None),
    }))
}

/// A statement of a type, from the DER of `stmt`.
pub fn statement(oid: Oid, stmt: &[u8]) -> Value {
    let mut writer = DerWriter::new();
    writer.sequence(|fields| {
        fields.oid(oid).raw(stmt);
    });
    Value::record([("der", Value::Octets(writer.into_der())), ("stmt", Value::Octets(stmt.to_vec()))])
}

fn optional_octets(value: &Value) -> Result<Vec<u8>> {
    match value {
        Value::None => Ok(Vec::new()),
        other => Ok(element(0x04, &other.octets()?)),
    }
}

/// The signature field: as it is, or bare with `encoding: "raw"`.
fn signature_field(arguments: &mut Arguments, usual: Vec<u8>) -> Result<Vec<u8>> {
    let signature = arguments.octets_or("signature", &usual)?;
    match arguments.text_or("encoding", "tpmt")?.as_str() {
        "tpmt" => Ok(signature),
        "raw" => raw(&signature),
        other => bail!("{other} is no encoding of a signature"),
    }
}

/// certify(object, signer, data: .., scheme: ..), or with attest:, signature: and public: of its own.
fn certify(scope: &Scope<'_>, arguments: &mut Arguments) -> Result<Value> {
    let object = arguments.maybe_at(0);
    let usual_public = match &object {
        Some(object) => Value::Octets(public(scope, object)?.as_bytes().to_vec()),
        None => Value::None,
    };
    let certified = match (object, arguments.maybe_at(1)) {
        (Some(object), Some(signer)) => {
            Some(attested(scope, "certified", arguments, vec![object, signer], &["data", "scheme"])?)
        }
        _ => None,
    };
    let public = arguments.labelled("public").unwrap_or(usual_public);
    finish_attested(arguments, certified.as_ref(), oid::STATEMENT_TPM_CERTIFY, &public)
}

/// quote(signer, "sha256:0 7", data: .., values: octets or none), or with attest: and signature: of its own.
fn quote(scope: &Scope<'_>, arguments: &mut Arguments) -> Result<Value> {
    let quoted = match (arguments.maybe_at(0), arguments.maybe_at(1)) {
        (Some(signer), Some(selection)) => {
            Some(attested(scope, "quoted", arguments, vec![signer, selection], &["data"])?)
        }
        _ => None,
    };
    let usual = match &quoted {
        Some(quoted) => quoted.field("values")?,
        None => Value::None,
    };
    let values = arguments.labelled("values").unwrap_or(usual);
    finish_attested(arguments, quoted.as_ref(), oid::STATEMENT_TPM_QUOTE, &values)
}

/// Calls another word with the arguments that are its own.
fn attested(
    scope: &Scope<'_>,
    word: &str,
    arguments: &mut Arguments,
    positional: Vec<Value>,
    labels: &[&str],
) -> Result<Value> {
    let mut passed: Vec<(Option<String>, Value)> = positional.into_iter().map(|value| (None, value)).collect();
    for label in labels {
        if let Some(value) = arguments.labelled(label) {
            passed.push((Some((*label).to_owned()), value));
        }
    }
    super::call(scope, word, &mut Arguments::new(passed))
}

fn finish_attested(arguments: &mut Arguments, attested: Option<&Value>, oid: Oid, third: &Value) -> Result<Value> {
    let part = |name: &str| attested.map(|attested| attested.field(name)?.octets()).transpose();
    let attest = match (arguments.labelled("attest"), part("attest")?) {
        (Some(other), _) => other.octets()?,
        (None, Some(attest)) => attest,
        (None, None) => bail!("attest: is missing"),
    };
    let usual = part("signature")?;
    let signature = match usual {
        Some(usual) => signature_field(arguments, usual)?,
        None => signature_field(arguments, Vec::new()).context("signature: is missing")?,
    };
    let fields = [element(0x04, &attest), element(0x04, &signature), optional_octets(third)?].concat();
    let Value::Record(mut record) = statement(oid, &element(0x30, &fields)) else { bail!("a statement is a record") };
    record.insert("attest".to_owned(), Value::Octets(attest));
    record.insert("signature".to_owned(), Value::Octets(signature));
    record.insert("third".to_owned(), third.clone());
    Ok(Value::Record(record))
}

/// bundle([statements], certs: [certificates], more: octets); `certs: none` leaves the field out, as an empty list does.
fn bundle(arguments: &mut Arguments) -> Result<Vec<u8>> {
    let statements = arguments.at(0)?.octets_list()?;
    let certificates = match arguments.labelled("certs") {
        None | Some(Value::None) => Vec::new(),
        Some(list) => list.octets_list()?,
    };
    let mut fields = element(0x30, &statements.concat());
    if !certificates.is_empty() {
        fields.extend(element(0x30, &certificates.concat()));
    }
    fields.extend(arguments.octets_or("more", &[])?);
    Ok(element(0x30, &fields))
}

/// request(key, [statements], certs: [..], subject: "CN=..", attributes: [..], hash: .., algorithm: octets,
/// signature: octets, signed-by: key, version: octets): `attributes` replaces the one that holds the bundle.
fn request(scope: &Scope<'_>, arguments: &mut Arguments) -> Result<Vec<u8>> {
    let key = arguments.at(0)?.key()?;
    let attributes = match (arguments.labelled("attributes"), arguments.maybe_at(1)) {
        (Some(list), None) => list.octets_list()?,
        (None, Some(statements)) => {
            let mut fields = vec![(None, statements)];
            fields.extend(arguments.labelled("certs").map(|certs| (Some("certs".to_owned()), certs)));
            let bundle = bundle(&mut Arguments::new(fields))?;
            vec![build::attribute(oid::AA_ATTESTATION, &[bundle])]
        }
        _ => bail!("a request has either statements or attributes"),
    };
    let attributes = if arguments.flag_or("unsorted", false)? {
        attributes
    } else {
        let mut sorted = attributes;
        sorted.sort();
        sorted
    };
    let subject = name(&arguments.text_or("subject", "CN=device.example")?)?;
    let version = arguments.octets_or("version", &[0x02, 0x01, 0x00])?;
    let spki = match &key {
        super::super::value::Key::Public(der) => der.clone(),
        other => spki(scope, other)?.as_der().to_vec(),
    };
    let attributes = element(context(0), &attributes.concat());
    let info = element(0x30, &[&version, subject.as_der(), &spki, &attributes].concat());
    let hash = wanted_hash(arguments)?;
    let signer = arguments.labelled("signed-by").map_or(Ok(key), |value| value.key())?;
    let (algorithm, signature) = match arguments.labelled("signature") {
        Some(signature) => (Vec::new(), signature.octets()?),
        None => sign(scope, &signer, hash, &info)?,
    };
    let algorithm = arguments.octets_or("algorithm", &algorithm)?;
    Ok(build::assemble(&info, &algorithm, &signature))
}
