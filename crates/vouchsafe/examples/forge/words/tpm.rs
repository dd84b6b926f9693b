//! What TPMs have, say and sign.

use anyhow::{Context, Result, bail};
use vouchsafe_evidence::tpm::{PcrBank, PcrSelection, TpmtPublic, TpmtSignature, alg};
use vouchsafe_evidence::x509::build;

use super::super::Scope;
use super::super::object::{attributes, hash};
use super::super::value::{Arguments, Key, Value};
use super::octets::{context, element};
use super::x509::{name, validity, wanted_hash, x509_signature};

const LEAF_FROM: &str = "2026-06-01T00:00:00Z";
const LEAF_TO: &str = "2027-06-01T00:00:00Z";

pub fn call(scope: &Scope<'_>, word: &str, arguments: &mut Arguments) -> Result<Option<Value>> {
    Ok(Some(match word {
        // public(object): its TPMT_PUBLIC
        "public" => Value::Octets(public(scope, &arguments.at(0)?)?.as_bytes().to_vec()),
        // object-name(object): its Name
        "object-name" => {
            let public = public(scope, &arguments.at(0)?)?;
            Value::Octets(public.name().context("the object has no Name")?.as_bytes().to_vec())
        }
        // attributes("fixedTPM sign"): the attribute word, 4 octets
        "attributes" => Value::Octets(attributes(arguments.at(0)?.text()?)?.to_be_bytes().to_vec()),
        // with-attributes(octets of a public area, "..")
        "with-attributes" => {
            let octets = arguments.at(0)?.octets()?;
            let bits = attributes(arguments.at(1)?.text()?)?.to_be_bytes();
            let (head, rest) = octets.split_at_checked(4).context("no public area")?;
            Value::Octets([head, &bits, rest.get(4..).unwrap_or_default()].concat())
        }
        // certified(object, signer, data: octets, scheme: "sha1"): attest and signature
        "certified" => {
            let ((device, object), (other, signer)) = (object(&arguments.at(0)?)?, object(&arguments.at(1)?)?);
            if device != other {
                bail!("a TPM certifies its own objects only");
            }
            let data = arguments.octets_or("data", &[])?;
            let scheme = scheme(arguments)?;
            attested(scope.device(&device)?.certify(&object, &signer, &data, &scheme)?)
        }
        // quoted(signer, "sha256:0 2 7, sha1:0", data: octets): attest, signature and values
        "quoted" => quoted(scope, arguments)?,
        // timed(signer, data: octets): TPM2_GetTime, an attestation of another type
        "timed" => {
            let (device, signer) = object(&arguments.at(0)?)?;
            let data = arguments.octets_or("data", &[])?;
            attested(scope.device(&device)?.time(&signer, &data)?)
        }
        // signed(key, octets, hash: ".."): a TPMT_SIGNATURE; restricted keys of TPMs sign with a ticket
        "signed" => Value::Octets(signed(scope, arguments)?.to_bytes()),
        // raw(TPMT_SIGNATURE): the bare signature
        "raw" => Value::Octets(raw(&arguments.at(0)?.octets()?)?),
        // leaf(object, certificate of the attesting key, ..): what TPM2_CertifyX509 makes
        "leaf" => leaf(scope, arguments)?,
        _ => return Ok(None),
    }))
}

fn object(value: &Value) -> Result<(String, String)> {
    match value.key()? {
        Key::Tpm { device, object } => Ok((device, object)),
        Key::Public(_) | Key::Rsa(_) | Key::Software(_) => bail!("an object of a TPM is wanted"),
    }
}

pub fn public(scope: &Scope<'_>, value: &Value) -> Result<TpmtPublic> {
    let (device, object) = object(value)?;
    scope.device(&device)?.public(&object)
}

fn attested((attest, signature): (Vec<u8>, Vec<u8>)) -> Value {
    Value::record([("attest", Value::Octets(attest)), ("signature", Value::Octets(signature))])
}

/// TPMT_SIG_SCHEME: the key's own, or ECDSA with a hash.
fn scheme(arguments: &mut Arguments) -> Result<Vec<u8>> {
    match arguments.labelled("scheme") {
        None => Ok(alg::NULL.to_be_bytes().to_vec()),
        Some(label) => Ok([alg::ECDSA.to_be_bytes(), hash(label.text()?)?.id().to_be_bytes()].concat()),
    }
}

fn quoted(scope: &Scope<'_>, arguments: &mut Arguments) -> Result<Value> {
    let (device, signer) = object(&arguments.at(0)?)?;
    let device = scope.device(&device)?;
    let data = arguments.octets_or("data", &[])?;
    let mut banks = Vec::new();
    let mut values = Vec::new();
    for bank in arguments.at(1)?.text()?.split(',').map(str::trim).filter(|bank| !bank.is_empty()) {
        let (label, indices) = bank.split_once(':').context("a bank is written as sha256:0 7")?;
        let indices: Vec<u8> =
            indices.split_whitespace().map(|index| index.parse().context("a register")).collect::<Result<_>>()?;
        let bank = hash(label)?;
        banks.push(PcrBank::new(bank, &indices)?);
        for index in indices {
            values.extend(device.register(bank, index)?);
        }
    }
    let (attest, signature) = device.quote(&signer, &data, &PcrSelection::new(banks))?;
    Ok(Value::record([
        ("attest", Value::Octets(attest)),
        ("signature", Value::Octets(signature)),
        ("values", Value::Octets(values)),
    ]))
}

fn signed(scope: &Scope<'_>, arguments: &mut Arguments) -> Result<TpmtSignature> {
    let key = arguments.at(0)?.key()?;
    let message = arguments.at(1)?.octets()?;
    let wanted = wanted_hash(arguments)?;
    match key {
        Key::Public(_) => bail!("nobody has the private part of this key"),
        Key::Tpm { device, object } => {
            let hash = super::x509::tpm_hash(scope, &device, &object, wanted)?;
            scope.device(&device)?.sign(&object, hash, &message)
        }
        Key::Rsa(key) => {
            let hash = wanted.unwrap_or(vouchsafe_evidence::tpm::HashAlg::Sha256);
            Ok(TpmtSignature::Rsassa { hash, signature: key.sign(Some(hash), &message)? })
        }
        Key::Software(key) => {
            let hash = wanted.unwrap_or(key.usual_hash());
            let der = key.sign(&hash.digest(&[&message]))?;
            let (r, s) = integers(&der, key.curve().field_octets())?;
            Ok(TpmtSignature::Ecdsa { hash, r, s })
        }
    }
}

/// The two integers of an ECDSA-Sig-Value, as long as the field.
fn integers(der: &[u8], octets: usize) -> Result<(Vec<u8>, Vec<u8>)> {
    let mut outer = vouchsafe_evidence::x509::der::Reader::new(der, "ECDSA-Sig-Value");
    let mut fields = outer.sequence("ECDSA-Sig-Value")?;
    let mut integer = || -> Result<Vec<u8>> {
        let magnitude = fields.unsigned("integer")?.to_vec();
        Ok([vec![0; octets.saturating_sub(magnitude.len())], magnitude].concat())
    };
    Ok((integer()?, integer()?))
}

/// The bare signature in a TPMT_SIGNATURE.
pub fn raw(tpmt: &[u8]) -> Result<Vec<u8>> {
    x509_signature(&TpmtSignature::parse(tpmt)?).map(|(_, signature)| signature)
}

/// leaf(object, certificate, subject: "CN=key", extensions: [..], from: .., to: .., nonce: octets, issuer-name: octets,
/// subject-name: octets, validity: octets, algorithm: octets, tail: octets, partial: octets, scheme: "sha1",
/// signer: object, outer: octets, signature: octets).
///
/// The subject lies beneath the certificate's. Everything but the key, the serial number and the algorithm is the
/// caller's text, to be as hostile as the TPM lets it.
fn leaf(scope: &Scope<'_>, arguments: &mut Arguments) -> Result<Value> {
    let subject_key = arguments.at(0)?;
    let certificate = arguments.at(1)?;
    let signer = arguments.labelled("signer").unwrap_or(Value::Key(certificate.key()?));
    let ((device, object), (other, signer)) = (object(&subject_key)?, object(&signer)?);
    if device != other {
        bail!("a TPM certifies its own objects only");
    }
    let device = scope.device(&device)?;
    let public = device.public(&object)?;
    let partial = partial(arguments, &certificate, &public)?;
    let scheme = scheme(arguments)?;
    let [added, digest, signature] = device.certify_x509(&object, &signer, &scheme, &partial)?;
    let signature = TpmtSignature::parse(&signature)?;
    let tbs = merge(&partial, &added)?;
    if signature.hash().digest(&[&tbs]) != digest {
        bail!("the certificate was put together otherwise than the TPM did");
    }
    let (algorithm, octets) = x509_signature(&signature)?;
    let outer = arguments.octets_or("outer", &algorithm)?;
    let octets = arguments.octets_or("signature", &octets)?;
    let der = build::assemble(&tbs, &outer, &octets);
    Ok(Value::record([
        ("der", Value::Octets(der)),
        ("tbs", Value::Octets(tbs)),
        ("key", subject_key),
        ("public", Value::Octets(public.as_bytes().to_vec())),
        ("name", Value::Octets(element_at(&partial, 2).unwrap_or_default())),
    ]))
}

fn partial(arguments: &mut Arguments, certificate: &Value, public: &TpmtPublic) -> Result<Vec<u8>> {
    if let Some(partial) = arguments.labelled("partial") {
        return partial.octets();
    }
    let above = certificate.field("subject")?;
    let beneath = arguments.text_or("subject", "CN=key")?;
    let issuer = arguments.octets_or("issuer-name", &certificate.field("name")?.octets()?)?;
    let subject = match arguments.labelled("subject-name") {
        Some(subject) => subject.octets()?,
        None => name(&format!("{beneath},{}", above.text()?))?.as_der().to_vec(),
    };
    let usual = validity(&arguments.text_or("from", LEAF_FROM)?, &arguments.text_or("to", LEAF_TO)?)?;
    let validity = arguments.octets_or("validity", &usual)?;
    let extensions = match arguments.labelled("extensions") {
        Some(list) => list.octets_list()?,
        None => {
            let usage = vouchsafe_evidence::x509::extensions::KeyUsage::from_bits(
                vouchsafe_evidence::x509::extensions::KeyUsage::DIGITAL_SIGNATURE,
            );
            let mut extensions =
                vec![build::key_usage(true, usage), build::tpma_object(false, public.attributes().bits())];
            if let Some(nonce) = arguments.labelled("nonce") {
                extensions.push(build::nonce(&nonce.octets()?));
            }
            extensions
        }
    };
    let more = arguments.labelled("more").map_or(Ok(Vec::new()), |list| list.octets_list())?;
    let list = element(0x30, &[extensions.concat(), more.concat()].concat());
    let tagged = element(context(3), &arguments.octets_or("extension-list", &list)?);
    let algorithm = arguments.octets_or("algorithm", &[])?;
    let tail = arguments.octets_or("tail", &[])?;
    Ok(element(0x30, &[algorithm, issuer, validity, subject, tagged, tail].concat()))
}

/// One TLV with short or long definite length at the start of `octets`, and what follows it.
fn split_element(octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = usize::from(*octets.get(1)?);
    let (header, length) = if length < 0x80 {
        (2, length)
    } else {
        let count = length & 0x7F;
        let bytes = octets.get(2..2 + count)?;
        (2 + count, bytes.iter().fold(0_usize, |sum, octet| sum << 8 | usize::from(*octet)))
    };
    octets.split_at_checked(header + length)
}

fn element_at(sequence: &[u8], number: usize) -> Option<Vec<u8>> {
    elements(sequence)?.get(number).map(|element| element.to_vec())
}

/// The elements within a SEQUENCE, however they are encoded; what is none stands at the end as it is.
fn elements(sequence: &[u8]) -> Option<Vec<&[u8]>> {
    let (whole, _) = split_element(sequence)?;
    let header = if *whole.get(1)? < 0x80 { 2 } else { 2 + usize::from(whole.get(1)? & 0x7F) };
    let mut rest = whole.get(header..)?;
    let mut found = Vec::new();
    while !rest.is_empty() {
        match split_element(rest) {
            Some((element, after)) => {
                found.push(element);
                rest = after;
            }
            None => {
                found.push(rest);
                rest = &[];
            }
        }
    }
    Some(found)
}

/// The TBSCertificate of a partial certificate and of what the TPM added, as libtpms puts them together.
fn merge(partial: &[u8], added: &[u8]) -> Result<Vec<u8>> {
    let mut asked = elements(partial).context("the partial certificate has no elements")?;
    let made = elements(added).context("what was added has no elements")?;
    // The algorithm is the caller's where the caller gave one; it begins with an identifier, a name with a SET.
    let own = asked
        .first()
        .and_then(|first| elements(first))
        .and_then(|parts| parts.first().map(|part| part.first() == Some(&0x06)));
    let (version, serial, algorithm, spki) = match (own, made.as_slice()) {
        (Some(true), [version, serial, spki]) => (*version, *serial, asked.remove(0), *spki),
        (_, [version, serial, algorithm, spki]) => (*version, *serial, *algorithm, *spki),
        _ => bail!("{} elements were added", made.len()),
    };
    let Some((head, rest)) = asked.split_at_checked(3) else { bail!("the partial certificate is too short") };
    let parts = [vec![version, serial, algorithm], head.to_vec(), vec![spki], rest.to_vec()].concat();
    Ok(element(0x30, &parts.concat()))
}
