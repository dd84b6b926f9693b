//! Registrations of web authentication with a TPM.

use anyhow::{Context, Result, bail};
use vouchsafe_evidence::formats::webauthn_tpm::WebauthnTpm;
use vouchsafe_evidence::oid;
use vouchsafe_evidence::tpm::HashAlg;
use vouchsafe_evidence::x509::{NamedCurve, PublicKey};

use super::super::Scope;
use super::super::object::hash;
use super::super::value::{Arguments, Value};
use super::octets::element;
use super::statement::statement;
use super::text::{base64url, cbor_string, head};
use super::tpm::{public, raw};
use super::x509::spki;

/// The kind of authenticator that all vectors name.
const AAGUID: [u8; 16] = *b"vouchsafe-aaguid";

pub fn call(scope: &Scope<'_>, word: &str, arguments: &mut Arguments) -> Result<Option<Value>> {
    Ok(Some(match word {
        "registration" => registration(scope, arguments)?,
        // client-data(challenge, type: "webauthn.create"): the JSON that a browser writes
        "client-data" => Value::Octets(client_data(arguments)?),
        // authenticator-data(key, flags: 0x45, credential: octets, key-octets: octets, more: octets)
        "authenticator-data" => Value::Octets(authenticator_data(scope, arguments)?),
        // webauthn(registration): the statement
        "webauthn" => {
            statement(oid::STATEMENT_WEBAUTHN_TPM, &element(0x04, &arguments.at(0)?.field("content")?.octets()?))
        }
        _ => return Ok(None),
    }))
}

fn client_data(arguments: &mut Arguments) -> Result<Vec<u8>> {
    let challenge = base64url(&arguments.at(0)?.octets()?);
    let kind = arguments.text_or("type", "webauthn.create")?;
    let text = format!(
        "{{\"type\":{kind:?},\"challenge\":{challenge:?},\"origin\":\"https://example.com\",\"crossOrigin\":false}}"
    );
    Ok(text.into_bytes())
}

fn authenticator_data(scope: &Scope<'_>, arguments: &mut Arguments) -> Result<Vec<u8>> {
    let usual = match arguments.maybe_at(0) {
        Some(key) => cose_key(scope, &key)?,
        None => Vec::new(),
    };
    let key = arguments.octets_or("key-octets", &usual)?;
    let flags = arguments.octets_or("flags", &[0x45])?;
    let credential = arguments.octets_or("credential", b"a credential of this vector")?;
    let length = u16::try_from(credential.len())?.to_be_bytes();
    let relying_party = HashAlg::Sha256.digest(&[b"example.com"]);
    let more = arguments.octets_or("more", &[])?;
    Ok([relying_party, flags, vec![0; 4], AAGUID.to_vec(), length.to_vec(), credential, key, more].concat())
}

/// A COSE_Key (RFC 9053, 7.1.1; RFC 8230, 4).
fn cose_key(scope: &Scope<'_>, key: &Value) -> Result<Vec<u8>> {
    let spki = spki(scope, &key.key()?)?;
    let member = |label: Vec<u8>, value: Vec<u8>| [label, value].concat();
    let members = match spki.key() {
        PublicKey::Ec { curve, x, y } => {
            let (algorithm, curve) = match curve {
                NamedCurve::P256 => (7, 1),
                NamedCurve::P384 => (35, 2),
                NamedCurve::P521 => (36, 3),
            };
            vec![
                member(head(0, 1), head(0, 2)),
                member(head(0, 3), head(1, algorithm - 1)),
                member(head(1, 0), head(0, curve)),
                member(head(1, 1), cbor_string(2, x)),
                member(head(1, 2), cbor_string(2, y)),
            ]
        }
        PublicKey::Rsa { modulus, exponent, .. } => vec![
            member(head(0, 1), head(0, 3)),
            member(head(0, 3), head(1, 256)),
            member(head(1, 0), cbor_string(2, modulus)),
            member(head(1, 1), cbor_string(2, exponent)),
        ],
        other => bail!("TPMs have no keys like {other:?}"),
    };
    Ok([head(5, u64::try_from(members.len())?), members.concat()].concat())
}

/// registration(object, signer, certs: [..], challenge: octets, alg: "es256"): the object is certified by the signer,
/// both of one TPM, over the digest of authenticator data and client data. Every part can be another: client-data,
/// signed-client-data, auth-data, signed-auth-data, fmt, ver, public, attest, signature, encoding: "raw" or "tpmt",
/// digest: "sha1", more: a member of the statement.
fn registration(scope: &Scope<'_>, arguments: &mut Arguments) -> Result<Value> {
    let object = arguments.at(0)?;
    let signer = arguments.maybe_at(1);
    let challenge = arguments.octets_or("challenge", b"a challenge of sixteen octets or more")?;
    let usual = client_data(&mut Arguments::new(vec![(None, Value::Octets(challenge))]))?;
    let client_data = arguments.octets_or("client-data", &usual)?;
    let signed_client_data = arguments.octets_or("signed-client-data", &client_data)?;
    let usual = authenticator_data(scope, &mut Arguments::new(vec![(None, object.clone())]))?;
    let auth_data = arguments.octets_or("auth-data", &usual)?;
    let signed_auth_data = arguments.octets_or("signed-auth-data", &auth_data)?;
    let digest = hash(&arguments.text_or("digest", "sha256")?)?;
    let extra = digest.digest(&[&signed_auth_data, &HashAlg::Sha256.digest(&[&signed_client_data])]);
    let certified = signer
        .map(|signer| {
            let named = vec![(None, object.clone()), (None, signer), (Some("data".to_owned()), Value::Octets(extra))];
            super::call(scope, "certified", &mut Arguments::new(named))
        })
        .transpose()?;
    let part = |name: &str| certified.as_ref().map(|found| found.field(name)?.octets()).transpose();
    let attest = match arguments.labelled("attest") {
        Some(other) => other.octets()?,
        None => part("attest")?.context("attest: is missing")?,
    };
    let signature = match arguments.labelled("signature") {
        Some(other) => other.octets()?,
        None => part("signature")?.context("signature: is missing")?,
    };
    let signature = match arguments.text_or("encoding", "raw")?.as_str() {
        "raw" if certified.is_some() => raw(&signature)?,
        _ => signature,
    };
    let usual = public(scope, &object)?.as_bytes().to_vec();
    let public = arguments.octets_or("public", &usual)?;
    let chain = arguments.labelled("certs").map_or(Ok(Vec::new()), |list| list.octets_list())?;
    let chain: Vec<Vec<u8>> = chain.iter().map(|der| cbor_string(2, der)).collect();
    let algorithm = match arguments.text_or("alg", "es256")?.as_str() {
        "es256" => head(1, 6),
        "es384" => head(1, 34),
        "rs256" => head(1, 256),
        "rs1" => head(1, 65_534),
        "eddsa" => head(1, 7),
        other => bail!("{other} is no algorithm of COSE"),
    };
    let text = |text: &str| cbor_string(3, text.as_bytes());
    let more = arguments.octets_or("more", &[])?;
    let statement = [
        head(5, if more.is_empty() { 6 } else { 7 }),
        [text("alg"), algorithm].concat(),
        [text("sig"), cbor_string(2, &signature)].concat(),
        [text("ver"), text(&arguments.text_or("ver", "2.0")?)].concat(),
        [text("x5c"), head(4, u64::try_from(chain.len())?), chain.concat()].concat(),
        [text("pubArea"), cbor_string(2, &public)].concat(),
        [text("certInfo"), cbor_string(2, &attest)].concat(),
        more,
    ]
    .concat();
    let fmt = arguments.text_or("fmt", "tpm")?;
    let object = [
        head(5, 3),
        [text("fmt"), text(&fmt)].concat(),
        [text("attStmt"), statement].concat(),
        [text("authData"), cbor_string(2, &auth_data)].concat(),
    ]
    .concat();
    let object = arguments.octets_or("object", &object)?;
    let content = WebauthnTpm { attestation_object: &object, client_data: &client_data }.to_der();
    Ok(Value::record([
        ("der", Value::Octets(object)),
        ("client-data", Value::Octets(client_data)),
        ("content", Value::Octets(content)),
    ]))
}
