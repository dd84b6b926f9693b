//! Certificates, requests and keys in words.

use vouchsafe_evidence::oid::{self, Oid};
use vouchsafe_evidence::tpm::{Name, ObjectAttributes};
use vouchsafe_evidence::x509::extensions::{
    self, AuthorityKeyIdentifier, BasicConstraints, CertificatePolicies, ExtendedKeyUsage, GeneralName, KeyUsage,
    NameConstraints, SubjectAltName,
};
use vouchsafe_evidence::x509::{Attribute, CertView, CsrView, Extension, NamedCurve, PublicKey, RsaScheme, SpkiView};
use vouchsafe_evidence::{Malformed, bundle};
use vouchsafe_verifier::{Instant, hex};

use super::tree::Item;
use super::{statement, tpm};

/// A certificate.
pub fn certificate(certificate: &CertView) -> Item {
    let instant = |seconds| Instant::from_unix_seconds(seconds).to_string();
    let mut items = vec![
        Item::leaf("subject", or_empty(certificate.subject().to_display())),
        Item::leaf("issuer", or_empty(certificate.issuer().to_display())),
        Item::leaf("serial", hex::encode(certificate.serial())),
        Item::leaf("valid from", instant(certificate.not_before())),
        Item::leaf("valid to", instant(certificate.not_after())),
        Item::leaf("signature algorithm", known(certificate.outer_algorithm().oid())),
        public_key("public key", certificate.spki()),
    ];
    items.extend(certificate.extensions().map(|found| extension(&found)));
    if !certificate.quirks().is_empty() {
        let quirks: Vec<String> = certificate.quirks().iter().map(|quirk| format!("{quirk:?}")).collect();
        items.push(Item::leaf("not strict DER", quirks.join(", ")));
    }
    Item::group("certificate", items).says(kind(certificate))
}

fn or_empty(name: String) -> String {
    if name.is_empty() { "(empty)".to_owned() } else { name }
}

/// What a certificate seems to be for.
fn kind(certificate: &CertView) -> &'static str {
    let value = |oid| certificate.extension(oid).ok().flatten().map(|found| found.value());
    let usage = value(oid::EXTENDED_KEY_USAGE).and_then(|value| ExtendedKeyUsage::parse(value).ok());
    let has = |purpose| usage.as_ref().is_some_and(|usage| usage.contains(purpose));
    let is_ca = value(oid::BASIC_CONSTRAINTS)
        .and_then(|value| BasicConstraints::parse(value).ok())
        .is_some_and(|constraints| constraints.ca);
    match () {
        () if has(oid::KP_EK_CERTIFICATE) => "of a TPM's endorsement key",
        () if has(oid::KP_AIK_CERTIFICATE) => "of an attestation key, for what TPMs attest (TPMS_ATTEST)",
        () if has(oid::KP_CERTIFY_X509) => "of an attestation key, for certificates that TPM2_CertifyX509 makes",
        () if value(oid::TPMA_OBJECT).is_some() => "made by a TPM itself (TPM2_CertifyX509)",
        () if value(oid::AA_ATTESTATION).is_some() => "that publishes a statement about its key",
        () if is_ca => "of a certification authority",
        () => "of an end entity",
    }
}

/// A certification request.
pub fn request(csr: &CsrView) -> Item {
    let mut items = vec![
        Item::leaf("subject", or_empty(csr.subject().to_display())),
        public_key("public key", csr.spki()),
        Item::leaf("signature algorithm", known(csr.algorithm().oid())),
    ];
    for found in csr.attributes() {
        items.extend(attribute(&found));
    }
    if !csr.attributes().any(|found| found.oid() == oid::AA_ATTESTATION) {
        items.push(Item::leaf("attestation", "none"));
    }
    if !csr.is_strict_der() {
        items.push(Item::malformed("encoding", "not strict DER"));
    }
    Item::group("certification request", items)
}

fn attribute(attribute: &Attribute<'_>) -> Vec<Item> {
    let shown = |value: &&[u8]| match attribute.oid() {
        oid::AA_ATTESTATION => match bundle::AttestationBundle::parse(value) {
            Ok(found) => statement::bundle(&found),
            Err(defect) => Item::malformed("attestation bundle", defect),
        },
        other => Item::leaf(format!("attribute {}", known(other)), hex::encode(value)),
    };
    attribute.values().iter().map(shown).collect()
}

/// A public key.
pub fn public_key(name: &str, key: &SpkiView) -> Item {
    let what = match key.key() {
        PublicKey::Rsa { modulus, scheme, .. } => {
            let bits = bits(modulus);
            match scheme {
                RsaScheme::Any => format!("RSA, {bits} bits"),
                RsaScheme::Oaep => format!("RSA, {bits} bits, for OAEP alone"),
                RsaScheme::Pss => format!("RSA, {bits} bits, for PSS alone"),
            }
        }
        PublicKey::Ec { curve, .. } => match curve {
            NamedCurve::P256 => "ECC, P-256".to_owned(),
            NamedCurve::P384 => "ECC, P-384".to_owned(),
            NamedCurve::P521 => "ECC, P-521".to_owned(),
        },
        PublicKey::Ed25519(_) => "Ed25519".to_owned(),
        PublicKey::MlDsa65(_) => "ML-DSA-65".to_owned(),
        PublicKey::Unknown { oid } => format!("unknown algorithm or curve {oid}"),
    };
    Item::leaf(name, format!("{what}; SPKI SHA-256 {}", hex::encode(&key.sha256())))
}

fn bits(magnitude: &[u8]) -> usize {
    let leading = magnitude.first().map_or(0, |first| usize::try_from(first.leading_zeros()).unwrap_or(0));
    (magnitude.len() * 8).saturating_sub(leading)
}

/// An identifier with its name, where that is known.
fn known(oid: Oid) -> String {
    oid::ALL
        .iter()
        .find(|(_, known)| *known == oid)
        .map_or_else(|| oid.to_string(), |(name, _)| format!("{} ({oid})", name.to_lowercase().replace('_', "-")))
}

fn extension(extension: &Extension<'_>) -> Item {
    let critical = if extension.is_critical() { ", critical" } else { "" };
    let name = format!("extension {}{critical}", known(extension.oid()));
    match extension_value(extension.oid(), extension.value()) {
        Ok(items) => match items.as_slice() {
            [] => Item::leaf(name, hex::encode(extension.value())),
            _ => Item::group(name, items),
        },
        Err(malformed) => Item::malformed(name, malformed),
    }
}

/// What an extension says; nothing where its type is not known.
fn extension_value(oid: Oid, value: &[u8]) -> Result<Vec<Item>, Malformed> {
    Ok(match oid {
        oid::BASIC_CONSTRAINTS => {
            let constraints = BasicConstraints::parse(value)?;
            let ca = if constraints.ca { "yes" } else { "no" };
            let mut items = vec![Item::leaf("is an authority", ca)];
            items.extend(constraints.path_length.map(|length| Item::leaf("path length", length.to_string())));
            items
        }
        oid::KEY_USAGE => {
            let usage = KeyUsage::parse(value)?;
            let set = (0_u16..).zip(KeyUsage::NAMES).filter(|(bit, _)| usage.contains(1 << bit));
            vec![Item::leaf("usage", set.map(|(_, name)| name).collect::<Vec<_>>().join(", "))]
        }
        oid::EXTENDED_KEY_USAGE => {
            let usage = ExtendedKeyUsage::parse(value)?;
            usage.purposes().iter().map(|purpose| Item::leaf("purpose", known(*purpose))).collect()
        }
        oid::SUBJECT_KEY_IDENTIFIER => {
            vec![Item::leaf("key identifier", hex::encode(extensions::subject_key_identifier(value)?))]
        }
        oid::AUTHORITY_KEY_IDENTIFIER => {
            let identifier = AuthorityKeyIdentifier::parse(value)?;
            let mut items = Vec::new();
            items.extend(identifier.key_identifier().map(|id| Item::leaf("key identifier", hex::encode(id))));
            items.extend(identifier.issuer().iter().map(general_name));
            items.extend(identifier.serial().map(|serial| Item::leaf("serial", hex::encode(serial))));
            items
        }
        oid::SUBJECT_ALT_NAME => SubjectAltName::parse(value)?.names().iter().map(general_name).collect(),
        oid::NAME_CONSTRAINTS => {
            let constraints = NameConstraints::parse(value)?;
            vec![
                Item::group("permitted", constraints.permitted.iter().map(general_name).collect()),
                Item::group("excluded", constraints.excluded.iter().map(general_name).collect()),
            ]
        }
        oid::CERTIFICATE_POLICIES => {
            let policies = CertificatePolicies::parse(value)?;
            policies.policies().iter().map(|policy| Item::leaf("policy", known(*policy))).collect()
        }
        oid::TPMA_OBJECT => vec![tpm::attributes(ObjectAttributes::from_bits(extensions::tpma_object(value)?))],
        oid::NONCE => vec![Item::leaf("nonce", hex::encode(extensions::nonce(value)?))],
        oid::AK_NAME => {
            vec![Item::leaf("name of the attestation key", tpm::name(&Name::parse(extensions::ak_name(value)?)?))]
        }
        oid::DEVICE_LINK => vec![Item::leaf("device link", hex::encode(extensions::device_link(value)?))],
        oid::AA_ATTESTATION => match bundle::AttestationBundle::parse(value) {
            Ok(found) => vec![statement::bundle(&found)],
            Err(defect) => vec![Item::malformed("attestation bundle", defect)],
        },
        _ => Vec::new(),
    })
}

fn general_name(name: &GeneralName) -> Item {
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    match name {
        GeneralName::Dns(octets) => Item::leaf("DNS name", or_empty(text(octets))),
        GeneralName::Directory(name) => Item::leaf("directory name", or_empty(name.to_display())),
        GeneralName::Email(octets) => Item::leaf("email address", or_empty(text(octets))),
        GeneralName::Ip(octets) => Item::leaf("IP address", ip(octets)),
        GeneralName::Uri(octets) => Item::leaf("URI", or_empty(text(octets))),
        GeneralName::Other(der) => Item::leaf("other name", hex::encode(der)),
    }
}

fn ip(octets: &[u8]) -> String {
    if let Ok(v4) = <[u8; 4]>::try_from(octets) {
        return std::net::Ipv4Addr::from(v4).to_string();
    }
    match <[u8; 16]>::try_from(octets) {
        Ok(v6) => std::net::Ipv6Addr::from(v6).to_string(),
        Err(_) => hex::encode(octets),
    }
}
