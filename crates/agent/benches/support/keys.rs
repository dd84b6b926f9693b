//! Attributes of the keys that are measured.

use vouchsafe_agent::wire::message::{
    Algorithm, AlgorithmVariant, AsymmetricSignature, AsymmetricSignatureVariant, EccKeyPair, KeyAttributes, KeyPolicy,
    KeyType, KeyTypeVariant, SignHash, SignHashVariant, SignatureHash, UsageFlags, ecc_family, hash,
};

/// ECDSA with SHA-256.
pub fn ecdsa() -> AsymmetricSignature {
    let variant = Some(SignHashVariant::Specific(hash::SHA_256));
    let parameters = SignatureHash { hash_alg: Some(SignHash { variant }) };
    AsymmetricSignature { variant: Some(AsymmetricSignatureVariant::Ecdsa(parameters)) }
}

/// A key of P-256 that signs so.
pub fn p256() -> KeyAttributes {
    let pair = KeyTypeVariant::EccKeyPair(EccKeyPair { curve_family: ecc_family::SECP_R1 });
    KeyAttributes {
        key_type: Some(KeyType { variant: Some(pair) }),
        key_bits: 256,
        key_policy: Some(KeyPolicy {
            key_usage_flags: Some(UsageFlags { sign_hash: true, ..UsageFlags::default() }),
            key_algorithm: Some(Algorithm { variant: Some(AlgorithmVariant::AsymmetricSignature(ecdsa())) }),
        }),
    }
}
