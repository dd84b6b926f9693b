//! A certification authority for tests: certificates for attesting keys.

#![allow(dead_code)]

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use vouchsafe_evidence::oid;
use vouchsafe_evidence::x509::build::{
    CertificateTemplate, algorithm_identifier, assemble, authority_key_identifier, basic_constraints,
    extended_key_usage, key_usage, name_from_text, subject_key_identifier,
};
use vouchsafe_evidence::x509::extensions::{BasicConstraints, KeyUsage};
use vouchsafe_evidence::x509::{NamedCurve, SpkiView};

/// 2026-01-01T00:00:00Z.
pub const NOT_BEFORE: i64 = 1_767_225_600;
/// 2046-01-01T00:00:00Z.
pub const NOT_AFTER: i64 = 2_398_377_600;

pub struct Authority {
    key: EcdsaKeyPair,
    spki: SpkiView,
    pub certificate: Vec<u8>,
}

impl Authority {
    pub fn new() -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let (x, y) = key.public_key().as_ref()[1..].split_at(32);
        let spki = SpkiView::from_ec(NamedCurve::P256, x, y).unwrap();
        let mut authority = Self { key, spki, certificate: Vec::new() };
        authority.certificate = authority.issue(&authority.spki.clone(), "CN=Test attestation root", &[], None);
        authority
    }

    /// A certificate for an attesting key, CertifyX509 family if `ca`.
    pub fn certify(&self, spki: &[u8], subject: &str, ca: bool) -> Vec<u8> {
        let eku = if ca { oid::KP_CERTIFY_X509 } else { oid::KP_AIK_CERTIFICATE };
        self.issue(&SpkiView::parse(spki).unwrap(), subject, &[extended_key_usage(ca, &[eku])], Some(ca))
    }

    fn issue(&self, spki: &SpkiView, subject: &str, more: &[Vec<u8>], ca: Option<bool>) -> Vec<u8> {
        let ca = ca.unwrap_or(true);
        let usage = if ca { KeyUsage::KEY_CERT_SIGN } else { KeyUsage::DIGITAL_SIGNATURE };
        let mut extensions = vec![
            key_usage(true, KeyUsage::from_bits(usage)),
            subject_key_identifier(&spki.sha256()[..20]),
            authority_key_identifier(&self.spki.sha256()[..20]),
        ];
        if ca {
            extensions.push(basic_constraints(true, BasicConstraints { ca: true, path_length: None }));
        }
        extensions.extend_from_slice(more);
        let algorithm = algorithm_identifier(oid::ECDSA_WITH_SHA256);
        let tbs = CertificateTemplate {
            serial: spki.sha256()[..16].to_vec(),
            algorithm: algorithm.clone(),
            issuer: name_from_text("CN=Test attestation root").unwrap(),
            not_before: NOT_BEFORE,
            not_after: NOT_AFTER,
            subject: name_from_text(subject).unwrap(),
            spki: spki.clone(),
            extensions,
        }
        .tbs_der();
        let signature = self.key.sign(&SystemRandom::new(), &tbs).unwrap();
        assemble(&tbs, &algorithm, signature.as_ref())
    }
}
