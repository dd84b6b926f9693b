//! Names, extensions, keys and certificates.

use anyhow::{Context, Result, bail};
use vouchsafe_evidence::oid;
use vouchsafe_evidence::tpm::{HashAlg, TpmtSignature};
use vouchsafe_evidence::x509::build::{self, DerWriter};
use vouchsafe_evidence::x509::extensions::{BasicConstraints, GeneralName, KeyUsage};
use vouchsafe_evidence::x509::{CertView, NameView, NamedCurve, SpkiView};
use vouchsafe_verifier::Instant;

use super::super::Scope;
use super::super::object::{attributes, hash};
use super::super::software::{RsaSoftwareKey, SoftwareKey, ecdsa_with, rsa_with};
use super::super::value::{Arguments, Key, Value};
use super::octets::{context, element, oid_named};

/// Validity of certificates in software: begins before and ends after the time at which cases are judged.
const CA_FROM: &str = "2026-01-01T00:00:00Z";
const CA_TO: &str = "2036-01-01T00:00:00Z";
const AK_FROM: &str = "2026-06-01T00:00:00Z";
const AK_TO: &str = "2027-06-01T00:00:00Z";
const EXPONENT: [u8; 3] = [1, 0, 1];

pub fn call(scope: &Scope<'_>, word: &str, arguments: &mut Arguments) -> Result<Option<Value>> {
    Ok(Some(match word {
        // key("label"): P-256 in software
        "key" => Value::Key(Key::Software(SoftwareKey::new(arguments.at(0)?.text()?, NamedCurve::P256)?)),
        "key384" => Value::Key(Key::Software(SoftwareKey::new(arguments.at(0)?.text()?, NamedCurve::P384)?)),
        // rsa-software-key("name"): RSA in software, vectors/keys/NAME.der
        "rsa-software-key" => Value::Key(Key::Rsa(RsaSoftwareKey::new(scope.private_key(arguments.at(0)?.text()?)?)?)),
        // rsa-key(bits): a public key of which nobody knows the private one
        "rsa-key" => Value::Key(Key::Public(rsa_spki(usize::try_from(arguments.at(0)?.number()?)?))),
        "spki" => Value::Octets(spki(scope, &arguments.at(0)?.key()?)?.as_der().to_vec()),
        "name" => Value::Octets(name(arguments.at(0)?.text()?)?.as_der().to_vec()),
        "validity" => Value::Octets(validity(arguments.at(0)?.text()?, arguments.at(1)?.text()?)?),
        // signature(key, octets, hash: "sha256"): as certificates and requests carry it
        "signature" => {
            let key = arguments.at(0)?.key()?;
            let message = arguments.at(1)?.octets()?;
            let hash = wanted_hash(arguments)?;
            Value::Octets(sign(scope, &key, hash, &message)?.1)
        }
        "algorithm" => Value::Octets(algorithm_named(arguments.at(0)?.text()?)?),
        "certificate" => certificate(scope, arguments, Defaults { from: CA_FROM, to: CA_TO, extensions: Vec::new() })?,
        "ca" => ca(scope, arguments)?,
        "attest-certificate" => ak_certificate(scope, arguments, Family::Attest)?,
        "x509-certificate" => ak_certificate(scope, arguments, Family::CertifyX509)?,
        "ek-certificate" => ek_certificate(scope, arguments)?,
        "crl" => Value::Octets(revocation_list(scope, arguments)?),
        _ => return extension(scope, word, arguments).map(|octets| octets.map(Value::Octets)),
    }))
}

fn extension(scope: &Scope<'_>, word: &str, arguments: &mut Arguments) -> Result<Option<Vec<u8>>> {
    Ok(Some(match word {
        // extension("identifier", octets of the value, critical: yes)
        "extension" => {
            let oid = oid_named(arguments.at(0)?.text()?)?;
            let value = arguments.at(1)?.octets()?;
            build::extension(oid, arguments.flag_or("critical", false)?, &value)
        }
        "key-usage" => {
            let usage = key_usage(arguments.at(0)?.text()?)?;
            build::key_usage(arguments.flag_or("critical", true)?, usage)
        }
        "basic-constraints" => {
            let ca = arguments.flag_or("ca", true)?;
            let path_length = arguments.labelled("path").map(|path| path.number()).transpose()?;
            build::basic_constraints(arguments.flag_or("critical", true)?, BasicConstraints { ca, path_length })
        }
        "purposes" => {
            let purposes: Result<Vec<_>> = arguments.at(0)?.text()?.split_whitespace().map(oid_named).collect();
            build::extended_key_usage(arguments.flag_or("critical", false)?, &purposes?)
        }
        "key-identifier" => build::subject_key_identifier(&identifier(scope, &arguments.at(0)?.key()?)?),
        "authority-identifier" => build::authority_key_identifier(&identifier(scope, &arguments.at(0)?.key()?)?),
        // tpma-object("fixedTPM ..") or tpma-object(octets)
        "tpma-object" => match arguments.at(0)? {
            Value::Text(names) => build::tpma_object(false, attributes(&names)?),
            other => {
                let octets = other.octets()?.try_into().ok().context("attributes are 4 octets")?;
                build::tpma_object(false, u32::from_be_bytes(octets))
            }
        },
        "nonce-extension" => build::nonce(&arguments.at(0)?.octets()?),
        "ak-name" => build::ak_name(&arguments.at(0)?.octets()?),
        "device-link" => build::device_link(&arguments.at(0)?.octets()?),
        "policies" => {
            let policies: Result<Vec<_>> = arguments.at(0)?.text()?.split_whitespace().map(oid_named).collect();
            build::certificate_policies(arguments.flag_or("critical", false)?, &policies?)
        }
        // alternative-names("dns:example.com", "tpm", ..)
        "alternative-names" => {
            let critical = arguments.flag_or("critical", false)?;
            let names: Result<Vec<_>> = arguments.rest().iter().map(|name| general_name(name.text()?)).collect();
            build::subject_alt_name(critical, &names?)
        }
        // name-constraints(permitted: ["directory:CN=.."], excluded: ["dns:"])
        "name-constraints" => {
            let mut list = |label| -> Result<Vec<GeneralName>> {
                let members = arguments.labelled(label).map_or(Ok(Vec::new()), |value| value.list())?;
                members.iter().map(|member| general_name(member.text()?)).collect()
            };
            let (permitted, excluded) = (list("permitted")?, list("excluded")?);
            build::name_constraints(true, &permitted, &excluded)
        }
        _ => return Ok(None),
    }))
}

/// The public key of a key.
pub fn spki(scope: &Scope<'_>, key: &Key) -> Result<SpkiView> {
    Ok(match key {
        Key::Public(der) => SpkiView::parse(der)?,
        Key::Rsa(key) => SpkiView::parse(&key.spki_der()?)?,
        Key::Software(key) => key.spki()?,
        Key::Tpm { device, object } => {
            scope.device(device)?.public(object)?.spki().with_context(|| format!("{object} is no asymmetric key"))?
        }
    })
}

/// The octets of a SubjectPublicKeyInfo, which for keys beyond all limits no view can hold.
fn spki_der(scope: &Scope<'_>, key: &Key) -> Result<Vec<u8>> {
    match key {
        Key::Public(der) => Ok(der.clone()),
        Key::Rsa(_) | Key::Software(_) | Key::Tpm { .. } => Ok(spki(scope, key)?.as_der().to_vec()),
    }
}

fn identifier(scope: &Scope<'_>, key: &Key) -> Result<Vec<u8>> {
    Ok(HashAlg::Sha1.digest(&[&spki_der(scope, key)?]))
}

fn rsa_spki(bits: usize) -> Vec<u8> {
    let mut modulus = super::octets::pseudorandom("modulus", bits / 8);
    if let Some(first) = modulus.first_mut() {
        *first |= 0x80;
    }
    if let Some(last) = modulus.last_mut() {
        *last |= 1;
    }
    let mut key = DerWriter::new();
    key.sequence(|fields| {
        fields.unsigned(&modulus).unsigned(&EXPONENT);
    });
    let mut writer = DerWriter::new();
    writer.sequence(|spki| {
        spki.raw(&build::algorithm_identifier_null(oid::RSA_ENCRYPTION)).bit_string(&key.into_der(), 0);
    });
    writer.into_der()
}

pub fn name(text: &str) -> Result<NameView> {
    build::name_from_text(text).with_context(|| format!("{text} is no name"))
}

fn seconds(text: &str) -> Result<i64> {
    Instant::from_rfc3339(text).map(Instant::unix_seconds).with_context(|| format!("{text} is no time"))
}

pub fn validity(from: &str, to: &str) -> Result<Vec<u8>> {
    let (from, to) = (seconds(from)?, seconds(to)?);
    let mut writer = DerWriter::new();
    writer.sequence(|validity| {
        validity.time(from).time(to);
    });
    Ok(writer.into_der())
}

fn general_name(text: &str) -> Result<GeneralName> {
    let (form, value) = text.split_once(':').unwrap_or((text, ""));
    Ok(match form {
        "directory" => GeneralName::Directory(name(value)?),
        "dns" => GeneralName::Dns(value.as_bytes().to_vec()),
        "email" => GeneralName::Email(value.as_bytes().to_vec()),
        "ip" => GeneralName::Ip(vouchsafe_verifier::hex::decode(value).context("an address in hexadecimal")?),
        "uri" => GeneralName::Uri(value.as_bytes().to_vec()),
        "tpm" => GeneralName::Directory(build::distinguished_name(&[
            (oid::TPM_MANUFACTURER, if value.is_empty() { "id:00001014" } else { value }),
            (oid::TPM_MODEL, "swtpm"),
            (oid::TPM_VERSION, "id:20191023"),
        ])?),
        other => bail!("{other} is no form of a name"),
    })
}

fn key_usage(names: &str) -> Result<KeyUsage> {
    let known = [
        ("digitalSignature", KeyUsage::DIGITAL_SIGNATURE),
        ("nonRepudiation", KeyUsage::NON_REPUDIATION),
        ("keyEncipherment", KeyUsage::KEY_ENCIPHERMENT),
        ("keyAgreement", KeyUsage::KEY_AGREEMENT),
        ("keyCertSign", KeyUsage::KEY_CERT_SIGN),
        ("cRLSign", KeyUsage::CRL_SIGN),
    ];
    let bits = names.split_whitespace().try_fold(0, |bits, name| {
        known.iter().find(|(known, _)| *known == name).map(|(_, bit)| bits | bit).with_context(|| name.to_owned())
    })?;
    Ok(KeyUsage::from_bits(bits))
}

pub fn wanted_hash(arguments: &mut Arguments) -> Result<Option<HashAlg>> {
    arguments.labelled("hash").map(|label| hash(label.text()?)).transpose()
}

/// `ecdsa-sha256`, `rsa-sha256` and the like.
fn algorithm_named(text: &str) -> Result<Vec<u8>> {
    match text.split_once('-') {
        Some(("ecdsa", label)) => Ok(build::algorithm_identifier(ecdsa_with(hash(label)?))),
        Some(("rsa", label)) => Ok(build::algorithm_identifier_null(rsa_with(hash(label)?))),
        _ => Ok(build::algorithm_identifier(oid_named(text)?)),
    }
}

/// AlgorithmIdentifier and signature octets of a TPMT_SIGNATURE, as certificates carry them.
pub fn x509_signature(signature: &TpmtSignature) -> Result<(Vec<u8>, Vec<u8>)> {
    Ok(match signature {
        TpmtSignature::Ecdsa { hash, r, s } => {
            (build::algorithm_identifier(ecdsa_with(*hash)), build::ecdsa_signature(r, s))
        }
        TpmtSignature::Rsassa { hash, signature } => {
            (build::algorithm_identifier_null(rsa_with(*hash)), signature.clone())
        }
        TpmtSignature::Rsapss { hash, signature } => (pss_algorithm(*hash)?, signature.clone()),
    })
}

/// RSASSA-PSS with the hash in all places and a salt as long as the digest (RFC 4055, 3.1).
fn pss_algorithm(hash: HashAlg) -> Result<Vec<u8>> {
    let digest = match hash {
        HashAlg::Sha256 => oid::SHA256,
        HashAlg::Sha384 => oid::SHA384,
        HashAlg::Sha512 => oid::SHA512,
        HashAlg::Sha1 => bail!("PSS is not used with SHA-1 here"),
    };
    let digest = build::algorithm_identifier_null(digest);
    let mut mask = DerWriter::new();
    mask.sequence(|fields| {
        fields.oid(oid::MGF1).raw(&digest);
    });
    let salt = u8::try_from(hash.digest_len())?;
    let parameters =
        [element(context(0), &digest), element(context(1), &mask.into_der()), element(context(2), &[0x02, 0x01, salt])];
    let mut writer = DerWriter::new();
    writer.sequence(|fields| {
        fields.oid(oid::RSASSA_PSS).raw(&element(0x30, &parameters.concat()));
    });
    Ok(writer.into_der())
}

/// AlgorithmIdentifier and signature octets over `message`.
pub fn sign(scope: &Scope<'_>, key: &Key, hash: Option<HashAlg>, message: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
    match key {
        Key::Public(_) => bail!("nobody has the private part of this key"),
        Key::Rsa(key) => Ok((RsaSoftwareKey::algorithm(hash), key.sign(hash, message)?)),
        Key::Software(key) => {
            let hash = hash.unwrap_or(key.usual_hash());
            let signature = key.sign(&hash.digest(&[message]))?;
            Ok((build::algorithm_identifier(ecdsa_with(hash)), signature))
        }
        Key::Tpm { device, object } => {
            let hash = tpm_hash(scope, device, object, hash)?;
            x509_signature(&scope.device(device)?.sign(object, hash, message)?)
        }
    }
}

/// The hash with which an object signs: its own, the wanted one, or SHA-256 (SHA-384 for P-384).
pub fn tpm_hash(scope: &Scope<'_>, device: &str, object: &str, wanted: Option<HashAlg>) -> Result<HashAlg> {
    let public = scope.device(device)?.public(object)?;
    let usual =
        if scope.device(device)?.definition(object)?.kind == "p384" { HashAlg::Sha384 } else { HashAlg::Sha256 };
    Ok(public.signing_hash().or(wanted).unwrap_or(usual))
}

/// The AlgorithmIdentifier with which a key signs certificates.
fn algorithm_of(scope: &Scope<'_>, key: &Key, wanted: Option<HashAlg>) -> Result<Vec<u8>> {
    match key {
        Key::Public(_) => bail!("nobody has the private part of this key"),
        Key::Rsa(_) => Ok(RsaSoftwareKey::algorithm(wanted)),
        Key::Software(key) => Ok(key.algorithm(wanted)),
        Key::Tpm { device, object } => {
            let hash = tpm_hash(scope, device, object, wanted)?;
            let definition = scope.device(device)?.definition(object)?;
            match (definition.kind.starts_with("rsa"), definition.scheme.as_deref()) {
                (true, Some(scheme)) if scheme.starts_with("pss-") => pss_algorithm(hash),
                (true, _) => Ok(build::algorithm_identifier_null(rsa_with(hash))),
                (false, _) => Ok(build::algorithm_identifier(ecdsa_with(hash))),
            }
        }
    }
}

/// What a kind of certificate has unless arguments say otherwise.
struct Defaults {
    from: &'static str,
    to: &'static str,
    extensions: Vec<Vec<u8>>,
}

/// certificate(issuer: .., key: .., subject: "CN=..", extensions: [..], more: [..], from: "..", to: "..", serial: 0x..,
/// hash: "..", inner: octets, outer: octets, signed-by: key, version: octets): self-signed without `issuer`.
fn certificate(scope: &Scope<'_>, arguments: &mut Arguments, defaults: Defaults) -> Result<Value> {
    let key = arguments.labelled("key").context("key: is missing")?.key()?;
    let subject_text = arguments.text_or("subject", "")?;
    let subject = name(&subject_text)?;
    let (issuer, issuer_key) = match arguments.labelled("issuer") {
        Some(issuer) => (NameView::parse(&issuer.field("name")?.octets()?)?, issuer.key()?),
        None => (subject.clone(), key.clone()),
    };
    let issuer = match arguments.labelled("issuer-name") {
        Some(other) => NameView::parse(&other.octets()?)?,
        None => issuer,
    };
    let signer = arguments.labelled("signed-by").map_or(Ok(issuer_key), |value| value.key())?;
    let hash = wanted_hash(arguments)?;
    let usual = algorithm_of(scope, &signer, hash)?;
    let inner = arguments.octets_or("inner", &usual)?;
    let outer = arguments.octets_or("outer", &usual)?;
    let extensions = match arguments.labelled("extensions") {
        Some(list) => list.octets_list()?,
        None => defaults.extensions,
    };
    let more = arguments.labelled("more").map_or(Ok(Vec::new()), |list| list.octets_list())?;
    let spki = spki_der(scope, &key)?;
    let serial = HashAlg::Sha256.digest(&[&spki, subject_text.as_bytes(), &extensions.concat(), &more.concat()]);
    let serial = [&[0x01], serial.get(..12).unwrap_or_default()].concat();
    let serial = element(0x02, &arguments.octets_or("serial", &serial)?);
    let validity = validity(&arguments.text_or("from", defaults.from)?, &arguments.text_or("to", defaults.to)?)?;
    let version = arguments.octets_or("version", &element(context(0), &[0x02, 0x01, 0x02]))?;
    let mut fields = [&version, &serial, &inner, issuer.as_der(), &validity, subject.as_der(), &spki].concat();
    let extensions = [extensions, more].concat();
    if !extensions.is_empty() {
        fields.extend(element(context(3), &element(0x30, &extensions.concat())));
    }
    let tbs = element(0x30, &fields);
    let (_, signature) = sign(scope, &signer, hash, &tbs)?;
    let der = build::assemble(&tbs, &outer, &arguments.octets_or("signature", &signature)?);
    Ok(Value::record([
        ("der", Value::Octets(der)),
        ("tbs", Value::Octets(tbs)),
        ("key", Value::Key(key)),
        ("name", Value::Octets(subject.as_der().to_vec())),
        ("subject", Value::Text(subject_text)),
    ]))
}

/// ca("CN=..", issuer: .., path: n, ..): a certification authority, its key in software unless `key:` names one.
fn ca(scope: &Scope<'_>, arguments: &mut Arguments) -> Result<Value> {
    let subject = arguments.at(0)?;
    let key = arguments.labelled("key");
    let key = match key {
        Some(key) => key.key()?,
        None => Key::Software(SoftwareKey::new(&format!("ca {}", subject.text()?), NamedCurve::P256)?),
    };
    let path_length = arguments.labelled("path").map(|path| path.number()).transpose()?;
    let mut extensions = vec![
        build::basic_constraints(true, BasicConstraints { ca: true, path_length }),
        build::key_usage(true, KeyUsage::from_bits(KeyUsage::KEY_CERT_SIGN | KeyUsage::CRL_SIGN)),
        build::subject_key_identifier(&identifier(scope, &key)?),
    ];
    if let Some(issuer) = arguments.labelled("issuer") {
        extensions.push(build::authority_key_identifier(&identifier(scope, &issuer.key()?)?));
        arguments.set("issuer", issuer);
    }
    arguments.set("key", Value::Key(key));
    arguments.set("subject", subject);
    certificate(scope, arguments, Defaults { from: CA_FROM, to: CA_TO, extensions })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Attest,
    CertifyX509,
}

/// attest-certificate(ak, ..) and x509-certificate(ak, ..): the certificate of an attesting key, as the authority
/// issues it. Each part can be replaced or left out (`none`): usage, purposes, basic, ak-name, alternative, policies,
/// constraints, object; `link: octets` adds a deviceLink.
fn ak_certificate(scope: &Scope<'_>, arguments: &mut Arguments, family: Family) -> Result<Value> {
    let key = arguments.at(0)?.key()?;
    let issuer = arguments.labelled("issuer").map_or_else(|| scope.named("attestation-root"), Ok)?;
    let public = match &key {
        Key::Tpm { device, object } => Some(scope.device(device)?.public(object)?),
        Key::Public(_) | Key::Rsa(_) | Key::Software(_) => None,
    };
    let digest = HashAlg::Sha256.digest(&[spki(scope, &key)?.as_der(), &[u8::from(family == Family::Attest)]]);
    let usual = format!("CN=ak-{}", vouchsafe_verifier::hex::encode(digest.get(..8).unwrap_or_default()));
    let subject = arguments.text_or("subject", &usual)?;
    let certifies = family == Family::CertifyX509;
    let usage = if certifies { KeyUsage::KEY_CERT_SIGN } else { KeyUsage::DIGITAL_SIGNATURE };
    let purpose = if certifies { oid::KP_CERTIFY_X509 } else { oid::KP_AIK_CERTIFICATE };
    let constraints = BasicConstraints { ca: certifies, path_length: certifies.then_some(0) };
    let mut extensions = Vec::new();
    let mut add = |label: &str, usual: Option<Vec<u8>>| -> Result<()> {
        match arguments.labelled(label) {
            Some(Value::None) => {}
            Some(other) => extensions.push(other.octets()?),
            None => extensions.extend(usual),
        }
        Ok(())
    };
    add("basic", Some(build::basic_constraints(true, constraints)))?;
    add("usage", Some(build::key_usage(true, KeyUsage::from_bits(usage))))?;
    add("purposes", Some(build::extended_key_usage(certifies, &[purpose])))?;
    add("identifier", Some(build::subject_key_identifier(&identifier(scope, &key)?)))?;
    add("authority", Some(build::authority_key_identifier(&identifier(scope, &issuer.key()?)?)))?;
    add("policies", Some(build::certificate_policies(false, &[oid::BOOTSTRAP_MANUFACTURER, oid::ENVIRONMENT_MODULE])))?;
    let pinned = public.as_ref().and_then(|public| public.name());
    add("ak-name", pinned.map(|pinned| build::ak_name(pinned.as_bytes())))?;
    add("alternative", Some(build::subject_alt_name(false, &[general_name("tpm")?])))?;
    if certifies {
        add("object", public.as_ref().map(|public| build::tpma_object(false, public.attributes().bits())))?;
        let excluded = ["email:", "dns:", "uri:", "ip:0000000000000000"]
            .map(general_name)
            .into_iter()
            .collect::<Result<Vec<_>>>()?;
        let excluded = [excluded, vec![GeneralName::Ip(vec![0; 32])]].concat();
        let permitted = [GeneralName::Directory(name(&subject)?)];
        add("constraints", Some(build::name_constraints(true, &permitted, &excluded)))?;
    }
    if let Some(link) = arguments.labelled("link") {
        extensions.push(build::device_link(&link.octets()?));
    }
    arguments.set("issuer", issuer);
    arguments.set("key", Value::Key(key));
    arguments.set("subject", Value::Text(subject));
    certificate(scope, arguments, Defaults { from: AK_FROM, to: AK_TO, extensions })
}

/// ek-certificate(key, issuer: .., ..): the certificate of an endorsement key, as vendors issue it; usage, purposes,
/// basic and alternative can be replaced or left out.
fn ek_certificate(scope: &Scope<'_>, arguments: &mut Arguments) -> Result<Value> {
    let key = arguments.at(0)?.key()?;
    let issuer = arguments.labelled("issuer").map_or_else(|| scope.named("ek-root"), Ok)?;
    let agreement = matches!(spki(scope, &key)?.key(), vouchsafe_evidence::x509::PublicKey::Ec { .. });
    let usage = if agreement { KeyUsage::KEY_AGREEMENT } else { KeyUsage::KEY_ENCIPHERMENT };
    let mut extensions = Vec::new();
    let mut add = |label: &str, usual: Vec<u8>| -> Result<()> {
        match arguments.labelled(label) {
            Some(Value::None) => {}
            Some(other) => extensions.push(other.octets()?),
            None => extensions.push(usual),
        }
        Ok(())
    };
    add("basic", build::basic_constraints(true, BasicConstraints { ca: false, path_length: None }))?;
    add("usage", build::key_usage(true, KeyUsage::from_bits(usage)))?;
    add("purposes", build::extended_key_usage(false, &[oid::KP_EK_CERTIFICATE]))?;
    add("alternative", build::subject_alt_name(true, &[general_name("tpm")?]))?;
    arguments.set("issuer", issuer);
    arguments.set("key", Value::Key(key));
    certificate(scope, arguments, Defaults { from: CA_FROM, to: CA_TO, extensions })
}

/// crl(issuer, revoked: [certificates], from: "..", to: "..", extensions: [..], entry-extensions: [..], signed-by: key,
/// hash: ".."): a revocation list of version 2.
fn revocation_list(scope: &Scope<'_>, arguments: &mut Arguments) -> Result<Vec<u8>> {
    let issuer = arguments.at(0)?;
    let signer = arguments.labelled("signed-by").map_or_else(|| issuer.key(), |value| value.key())?;
    let hash = wanted_hash(arguments)?;
    let algorithm = algorithm_of(scope, &signer, hash)?;
    let time = |text: &str| -> Result<Vec<u8>> {
        let mut writer = DerWriter::new();
        writer.time(seconds(text)?);
        Ok(writer.into_der())
    };
    let from = arguments.text_or("from", AK_FROM)?;
    let to = arguments.text_or("to", AK_TO)?;
    let entry_extensions = wrapped(arguments, "entry-extensions", |list| list)?;
    let mut entries = Vec::new();
    for certificate in arguments.labelled("revoked").map_or(Ok(Vec::new()), |list| list.octets_list())? {
        let serial = element(0x02, CertView::parse(&certificate)?.serial());
        entries.extend(element(0x30, &[serial, time(&from)?, entry_extensions.clone()].concat()));
    }
    let entries = if entries.is_empty() { entries } else { element(0x30, &entries) };
    let extensions = wrapped(arguments, "extensions", |list| element(context(0), &list))?;
    let name = issuer.field("name")?.octets()?;
    let version = vec![0x02, 0x01, 0x01];
    let tbs = [version, algorithm.clone(), name, time(&from)?, time(&to)?, entries, extensions].concat();
    let tbs = element(0x30, &tbs);
    let (_, signature) = sign(scope, &signer, hash, &tbs)?;
    Ok(build::assemble(&tbs, &algorithm, &signature))
}

/// A list of extensions, or nothing where there are none.
fn wrapped(arguments: &mut Arguments, label: &str, wrap: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Result<Vec<u8>> {
    let list = arguments.labelled(label).map_or(Ok(Vec::new()), |list| list.octets_list())?;
    Ok(if list.is_empty() { Vec::new() } else { wrap(element(0x30, &list.concat())) })
}
