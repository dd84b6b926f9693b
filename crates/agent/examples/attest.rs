//! Makes a key in hardware, has it attested over a nonce, and prints what a Verifier needs.
//!
//! ```sh
//! cargo run -p vouchsafe-agent --example attest -- web 2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a
//! ```
//!
//! The nonce is the Verifier's, 16 to 64 octets in hexadecimal. The service is the one that `PARSEC_SERVICE_ENDPOINT` names.

use std::error::Error;
use std::io::{self, Write};

use vouchsafe_agent::client::{Client, Endpoint};
use vouchsafe_agent::wire::Status;
use vouchsafe_agent::wire::message::{
    Algorithm, AlgorithmVariant, AsymmetricSignature, AsymmetricSignatureVariant, EccKeyPair, KeyAttributes,
    KeyMechanism, KeyPolicy, KeyType, KeyTypeVariant, SignHash, SignHashVariant, SignatureHash, TpmCertify, UsageFlags,
    ecc_family, hash,
};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [key_name, nonce] = arguments.as_slice() else { return Err("usage: attest KEY NONCE".into()) };
    attest(&Endpoint::from_environment()?, key_name, &octets(nonce)?, &mut io::stdout())
}

/// Makes the key unless it is there, and prints its attestation.
pub fn attest(service: &Endpoint, key_name: &str, nonce: &[u8], out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let mut client = Client::connect(service)?;
    match client.generate_key(key_name, p256()) {
        Err(fault) if fault.status() == Some(Status::PsaErrorAlreadyExists) => {}
        made => made?,
    }
    let made = client.attest_key(key_name, "", nonce, KeyMechanism::TpmCertify(TpmCertify {}))?;
    writeln!(out, "format: {}", made.format)?;
    writeln!(out, "type: {}", made.statement_oid)?;
    writeln!(out, "statement: {}", hexadecimal(&made.statement))?;
    for certificate in &made.certificates {
        writeln!(out, "certificate: {}", hexadecimal(certificate))?;
    }
    Ok(())
}

/// A key pair on P-256 that signs digests by ECDSA with SHA-256.
fn p256() -> KeyAttributes {
    let hash_alg = Some(SignHash { variant: Some(SignHashVariant::Specific(hash::SHA_256)) });
    let ecdsa = AsymmetricSignatureVariant::Ecdsa(SignatureHash { hash_alg });
    let signature = AlgorithmVariant::AsymmetricSignature(AsymmetricSignature { variant: Some(ecdsa) });
    let pair = KeyTypeVariant::EccKeyPair(EccKeyPair { curve_family: ecc_family::SECP_R1 });
    KeyAttributes {
        key_type: Some(KeyType { variant: Some(pair) }),
        key_bits: 256,
        key_policy: Some(KeyPolicy {
            key_usage_flags: Some(UsageFlags { sign_hash: true, ..UsageFlags::default() }),
            key_algorithm: Some(Algorithm { variant: Some(signature) }),
        }),
    }
}

fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn octets(digits: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?)).collect()
}
