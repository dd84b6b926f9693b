//! A module that emits PKIX Evidence: about itself and about one of its keys, signed with P-256.
//!
//! ```text
//! cargo run -p vouchsafe-evidence --example emit_evidence -- NONCE_IN_HEX > evidence.der
//! vouchsafe verify evidence.der --nonce NONCE_IN_HEX --trust DIR
//! ```
//!
//! DIR/pkix-evidence/module.pem is what `-- --key` prints: the attestation key, which a verifier is told to trust. A maker
//! would rather certify it, and give the certificate to `signed_by_certificate`.

use std::io::{self, Write};

use p256::ecdsa::signature::Signer;
use p256::ecdsa::{Signature, SigningKey};
use vouchsafe_evidence::emit::{Evidence, Purpose, TbsEvidence};
use vouchsafe_evidence::oid;
use vouchsafe_evidence::pem;
use vouchsafe_evidence::x509::build::DerWriter;

/// Where a module would keep these, and never show them, this program computes them.
pub fn key(octet: u8) -> Option<SigningKey> {
    SigningKey::from_slice(&[octet; 32]).ok()
}

/// The DER of a key's SubjectPublicKeyInfo.
pub fn spki(key: &SigningKey) -> Vec<u8> {
    let mut der = DerWriter::new();
    der.sequence(|spki| {
        spki.sequence(|algorithm| {
            algorithm.oid(oid::EC_PUBLIC_KEY).oid(oid::SECP256R1);
        });
        spki.bit_string(key.verifying_key().to_sec1_point(false).as_bytes(), 0);
    });
    der.into_der()
}

/// Evidence that answers `nonce`.
pub fn evidence(attestation_key: &SigningKey, user_key: &SigningKey, nonce: &[u8]) -> Vec<u8> {
    let tbs = TbsEvidence::new()
        .transaction(|claims| claims.nonce(nonce).attestation_key(&spki(attestation_key)))
        .platform(|claims| {
            let claims = claims.vendor("Example").hw_model(b"EX-1").hw_serial("0001").sw_version("1.0.0");
            claims.debug_status(3).fips_boot(true).fips_version("FIPS 140-3").fips_level(3)
        })
        .key("user-key-1", |claims| {
            let claims = claims.spki(&spki(user_key)).extractable(false).never_extractable(true);
            claims.sensitive(true).local(true).purposes(&[Purpose::Sign])
        })
        .to_der();
    let signature: Signature = attestation_key.sign(&tbs);
    let mut algorithm = DerWriter::new();
    algorithm.sequence(|algorithm| {
        algorithm.oid(oid::ECDSA_WITH_SHA256);
    });
    let signature = signature.to_der();
    Evidence::new(tbs).signed_by_key(&spki(attestation_key), &algorithm.into_der(), signature.as_bytes()).to_der()
}

/// The octets of hexadecimal digits.
fn octets(digits: &str) -> Option<Vec<u8>> {
    let pair = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
    (0..digits.len()).step_by(2).map(pair).collect()
}

fn main() -> io::Result<()> {
    let usage = || io::Error::other("usage: emit_evidence NONCE_IN_HEX | --key");
    let (Some(attestation_key), Some(user_key)) = (key(1), key(2)) else { return Err(usage()) };
    let argument = std::env::args().nth(1).unwrap_or_default();
    let output = if argument == "--key" {
        pem::encode("PUBLIC KEY", &spki(&attestation_key)).into_bytes()
    } else {
        let nonce = octets(&argument).filter(|nonce| !nonce.is_empty()).ok_or_else(usage)?;
        evidence(&attestation_key, &user_key, &nonce)
    };
    io::stdout().write_all(&output)
}
