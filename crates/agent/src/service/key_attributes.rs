//! Between PSA key attributes and what providers make.

use super::refusal::Refusal;
use crate::provider::{Hash, KeyKind, KeyPurpose, KeySpec, SignatureScheme};
use crate::wire::message::{
    AlgorithmVariant, AsymmetricSignature, AsymmetricSignatureVariant, KeyAttributes, KeyPolicy, KeyType,
    KeyTypeVariant, SignHash, SignHashVariant, SignatureHash, UsageFlags, ecc_family, hash,
};

/// What a new key of these attributes is to the provider.
///
/// # Errors
///
/// [`Refusal::NotSupported`] for types, sizes, usages and algorithms that this service does not offer,
/// [`Refusal::Invalid`] where they contradict each other.
pub(super) fn key_spec(attributes: &KeyAttributes) -> Result<KeySpec, Refusal> {
    let kind = key_kind(attributes)?;
    let policy = attributes.key_policy.as_ref().ok_or_else(|| missing("attributes.key_policy"))?;
    if let Some(usage) = &policy.key_usage_flags {
        check_usage(usage)?;
    }
    let scheme = scheme_of_policy(policy)?;
    match (kind, scheme) {
        (KeyKind::EcP256 | KeyKind::EcP384, SignatureScheme::Ecdsa(_))
        | (KeyKind::Rsa2048 | KeyKind::Rsa3072, SignatureScheme::RsaPkcs1v15(_) | SignatureScheme::RsaPss(_)) => {
            Ok(KeySpec { kind, purpose: KeyPurpose::Sign })
        }
        (KeyKind::EcP256 | KeyKind::EcP384, SignatureScheme::RsaPkcs1v15(_) | SignatureScheme::RsaPss(_))
        | (KeyKind::Rsa2048 | KeyKind::Rsa3072, SignatureScheme::Ecdsa(_)) => Err(Refusal::Invalid {
            field: "attributes.key_policy.key_algorithm",
            found: format!("{scheme:?}"),
            expected: "an algorithm of the key's type",
        }),
    }
}

/// The scheme that a key's policy allows.
pub(super) fn scheme_of_policy(policy: &KeyPolicy) -> Result<SignatureScheme, Refusal> {
    let algorithm = policy.key_algorithm.as_ref().ok_or_else(|| missing("attributes.key_policy.key_algorithm"))?;
    match &algorithm.variant {
        Some(AlgorithmVariant::AsymmetricSignature(signature)) => signature_scheme(signature),
        None => Err(Refusal::NotSupported { what: "a key that is not for signatures" }),
    }
}

/// The scheme of a signature algorithm.
///
/// # Errors
///
/// [`Refusal::NotSupported`] for algorithms and hashes that this service does not offer. The hash must be
/// named: `Any` would leave to each request what the key may sign.
pub(super) fn signature_scheme(signature: &AsymmetricSignature) -> Result<SignatureScheme, Refusal> {
    match &signature.variant {
        Some(AsymmetricSignatureVariant::RsaPkcs1v15Sign(parameters)) => {
            hash_of(parameters).map(SignatureScheme::RsaPkcs1v15)
        }
        Some(AsymmetricSignatureVariant::RsaPss(parameters)) => hash_of(parameters).map(SignatureScheme::RsaPss),
        Some(AsymmetricSignatureVariant::Ecdsa(parameters)) => hash_of(parameters).map(SignatureScheme::Ecdsa),
        None => {
            Err(Refusal::NotSupported { what: "a signature algorithm other than Ecdsa, RsaPkcs1v15Sign and RsaPss" })
        }
    }
}

fn hash_of(parameters: &SignatureHash) -> Result<Hash, Refusal> {
    match &parameters.hash_alg {
        Some(SignHash { variant: Some(SignHashVariant::Specific(hash::SHA_256)) }) => Ok(Hash::Sha256),
        Some(SignHash { variant: Some(SignHashVariant::Specific(hash::SHA_384)) }) => Ok(Hash::Sha384),
        Some(SignHash { variant: Some(SignHashVariant::Specific(hash::SHA_512)) }) => Ok(Hash::Sha512),
        Some(SignHash { variant: Some(SignHashVariant::Specific(_)) }) => {
            Err(Refusal::NotSupported { what: "a hash other than SHA-256, SHA-384 and SHA-512" })
        }
        Some(SignHash { variant: Some(SignHashVariant::Any(_)) }) => {
            Err(Refusal::NotSupported { what: "an algorithm without a specific hash" })
        }
        Some(SignHash { variant: None }) | None => Err(missing("hash_alg")),
    }
}

fn key_kind(attributes: &KeyAttributes) -> Result<KeyKind, Refusal> {
    let Some(KeyType { variant: Some(variant) }) = &attributes.key_type else {
        return Err(Refusal::NotSupported { what: "a key type other than EccKeyPair and RsaKeyPair" });
    };
    match (variant, attributes.key_bits) {
        (KeyTypeVariant::EccKeyPair(ecc), bits) if ecc.curve_family == ecc_family::SECP_R1 => match bits {
            256 => Ok(KeyKind::EcP256),
            384 => Ok(KeyKind::EcP384),
            _ => Err(Refusal::NotSupported { what: "a curve other than P-256 and P-384" }),
        },
        (KeyTypeVariant::EccKeyPair(_), _) => Err(Refusal::NotSupported { what: "a curve family other than SecpR1" }),
        (KeyTypeVariant::RsaKeyPair(_), 2048) => Ok(KeyKind::Rsa2048),
        (KeyTypeVariant::RsaKeyPair(_), 3072) => Ok(KeyKind::Rsa3072),
        (KeyTypeVariant::RsaKeyPair(_), _) => {
            Err(Refusal::NotSupported { what: "an RSA size other than 2048 and 3072" })
        }
    }
}

/// A key of this service signs and does nothing else; asking for more would promise what is not so.
fn check_usage(usage: &UsageFlags) -> Result<(), Refusal> {
    if usage.export {
        return Err(Refusal::NotSupported { what: "a key whose private part may leave" });
    }
    if usage.encrypt || usage.decrypt || usage.derive {
        return Err(Refusal::NotSupported { what: "a key that encrypts, decrypts or derives" });
    }
    Ok(())
}

fn missing(field: &'static str) -> Refusal {
    Refusal::Invalid { field, found: String::new(), expected: "a value" }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::{key_spec, scheme_of_policy};
    use crate::provider::{Hash, KeyKind, KeyPurpose, KeySpec, SignatureScheme};
    use crate::wire::Status;
    use crate::wire::message::{EccKeyPair, KeyAttributes, KeyType, KeyTypeVariant, RsaKeyPair};

    /// A P-256 signing key for ECDSA with SHA-256, as the stock client encodes it.
    const STOCK: [u8; 27] = [
        0x0A, 0x04, 0x5A, 0x02, 0x08, 0x02, 0x10, 0x80, 0x02, 0x1A, 0x10, 0x0A, 0x04, 0x30, 0x01, 0x40, 0x01, 0x12,
        0x08, 0x32, 0x06, 0x22, 0x04, 0x0A, 0x02, 0x10, 0x07,
    ];

    fn stock() -> KeyAttributes {
        KeyAttributes::decode(STOCK.as_slice()).unwrap()
    }

    fn status(attributes: &KeyAttributes) -> Status {
        key_spec(attributes).unwrap_err().status()
    }

    #[test]
    fn the_stock_clients_signing_key() {
        let spec = KeySpec { kind: KeyKind::EcP256, purpose: KeyPurpose::Sign };
        assert_eq!(key_spec(&stock()).unwrap(), spec);
        let scheme = scheme_of_policy(&stock().key_policy.unwrap()).unwrap();
        assert_eq!(scheme, SignatureScheme::Ecdsa(Hash::Sha256));
        assert_eq!(stock().encode_to_vec(), STOCK.as_slice());
    }

    #[test]
    fn what_is_not_offered_is_not_supported() {
        let mut other_curve = stock();
        other_curve.key_bits = 521;
        assert_eq!(status(&other_curve), Status::PsaErrorNotSupported);
        let mut other_family = stock();
        let family = KeyTypeVariant::EccKeyPair(EccKeyPair { curve_family: 1 });
        other_family.key_type = Some(KeyType { variant: Some(family) });
        assert_eq!(status(&other_family), Status::PsaErrorNotSupported);
        let mut exportable = stock();
        exportable.key_policy.as_mut().unwrap().key_usage_flags.as_mut().unwrap().export = true;
        assert_eq!(status(&exportable), Status::PsaErrorNotSupported);
        // An AES key: field 4 of KeyType, which is not declared here.
        let aes = KeyAttributes::decode(&[0x0A, 0x02, 0x22, 0x00][..]).unwrap();
        assert_eq!(status(&aes), Status::PsaErrorNotSupported);
    }

    #[test]
    fn contradictions_are_invalid() {
        let mut mixed = stock();
        mixed.key_type = Some(KeyType { variant: Some(KeyTypeVariant::RsaKeyPair(RsaKeyPair {})) });
        mixed.key_bits = 2048;
        assert_eq!(status(&mixed), Status::PsaErrorInvalidArgument);
        let mut no_policy = stock();
        no_policy.key_policy = None;
        assert_eq!(status(&no_policy), Status::PsaErrorInvalidArgument);
    }
}
