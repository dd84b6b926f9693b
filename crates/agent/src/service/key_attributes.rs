//! Between PSA key attributes and what providers make.

use super::refusal::Refusal;
use crate::provider::{EncryptionScheme, Hash, KeyKind, KeyPurpose, KeySpec, SignatureScheme};
use crate::wire::message::{
    AlgorithmVariant, AsymmetricEncryption, AsymmetricEncryptionVariant, AsymmetricSignature,
    AsymmetricSignatureVariant, KeyAttributes, KeyPolicy, KeyType, KeyTypeVariant, SignHash, SignHashVariant,
    SignatureHash, UsageFlags, ecc_family, hash,
};

/// What a key's attributes say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Description {
    /// Algorithm and size.
    pub(super) kind: KeyKind,
    /// Whether the private half is there.
    pub(super) is_pair: bool,
    /// The one algorithm that the key's policy allows.
    pub(super) algorithm: KeyAlgorithm,
    /// The operations that it allows. One that is not of the algorithm is allowed in vain.
    pub(super) usage: UsageFlags,
}

/// The algorithm of a key's policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyAlgorithm {
    /// Signatures.
    Signature(SignatureScheme),
    /// Encryption of short messages.
    Encryption(EncryptionScheme),
}

impl Description {
    /// What these attributes say.
    ///
    /// # Errors
    ///
    /// [`Refusal::NotSupported`] for types, sizes, usages and algorithms that this service does not offer,
    /// [`Refusal::Deprecated`] for hashes that are broken, [`Refusal::Invalid`] where attributes contradict each other.
    pub(super) fn of(attributes: &KeyAttributes) -> Result<Description, Refusal> {
        let (kind, is_pair) = key_kind(attributes)?;
        let policy = attributes.key_policy.as_ref().ok_or_else(|| missing("attributes.key_policy"))?;
        let usage = policy.key_usage_flags.clone().unwrap_or_default();
        if is_pair && usage.export {
            return Err(Refusal::NotSupported { what: "a key whose private part may leave" });
        }
        let algorithm = algorithm(policy)?;
        check_fit(kind, algorithm)?;
        Ok(Description { kind, is_pair, algorithm, usage })
    }

    /// The key pair to be made.
    ///
    /// # Errors
    ///
    /// [`Refusal::Invalid`] for a public key alone.
    pub(super) fn spec(&self) -> Result<KeySpec, Refusal> {
        if !self.is_pair {
            return Err(Refusal::Invalid {
                field: "attributes.key_type",
                found: "a public key".to_owned(),
                expected: "a key pair",
            });
        }
        let purpose = match self.algorithm {
            KeyAlgorithm::Signature(_) => KeyPurpose::Sign,
            KeyAlgorithm::Encryption(_) => KeyPurpose::Decrypt,
        };
        Ok(KeySpec { kind: self.kind, purpose })
    }
}

/// Whether keys of this kind have that algorithm, and this service does it with them.
fn check_fit(kind: KeyKind, algorithm: KeyAlgorithm) -> Result<(), Refusal> {
    let contradiction = |found: String| Refusal::Invalid {
        field: "attributes.key_policy.key_algorithm",
        found,
        expected: "an algorithm of the key's type",
    };
    match algorithm {
        KeyAlgorithm::Signature(scheme) if !scheme.fits(kind) => Err(contradiction(format!("{scheme:?}"))),
        KeyAlgorithm::Encryption(scheme) if !kind.is_rsa() => Err(contradiction(format!("{scheme:?}"))),
        // What could not be verified here.
        KeyAlgorithm::Signature(SignatureScheme::RsaPss(_) | SignatureScheme::RsaPkcs1v15(Hash::Sha384))
            if kind == KeyKind::Rsa1024 =>
        {
            Err(Refusal::NotSupported { what: "RSA of 1024 bits but with PKCS #1 v1.5 and SHA-256 or SHA-512" })
        }
        KeyAlgorithm::Signature(_) | KeyAlgorithm::Encryption(_) => Ok(()),
    }
}

fn algorithm(policy: &KeyPolicy) -> Result<KeyAlgorithm, Refusal> {
    let algorithm = policy.key_algorithm.as_ref().ok_or_else(|| missing("attributes.key_policy.key_algorithm"))?;
    match &algorithm.variant {
        Some(AlgorithmVariant::AsymmetricSignature(signature)) => {
            signature_scheme(signature).map(KeyAlgorithm::Signature)
        }
        Some(AlgorithmVariant::AsymmetricEncryption(encryption)) => {
            encryption_scheme(encryption).map(KeyAlgorithm::Encryption)
        }
        None => Err(Refusal::NotSupported { what: "a key for neither signatures nor asymmetric encryption" }),
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
            signature_hash(parameters).map(SignatureScheme::RsaPkcs1v15)
        }
        Some(AsymmetricSignatureVariant::RsaPss(parameters)) => signature_hash(parameters).map(SignatureScheme::RsaPss),
        Some(AsymmetricSignatureVariant::Ecdsa(parameters)) => signature_hash(parameters).map(SignatureScheme::Ecdsa),
        None => {
            Err(Refusal::NotSupported { what: "a signature algorithm other than Ecdsa, RsaPkcs1v15Sign and RsaPss" })
        }
    }
}

/// The scheme of an encryption algorithm.
///
/// # Errors
///
/// As [`signature_scheme`].
pub(super) fn encryption_scheme(encryption: &AsymmetricEncryption) -> Result<EncryptionScheme, Refusal> {
    match &encryption.variant {
        Some(AsymmetricEncryptionVariant::RsaPkcs1v15Crypt(_)) => Ok(EncryptionScheme::RsaPkcs1v15),
        Some(AsymmetricEncryptionVariant::RsaOaep(parameters)) => {
            hash_of(parameters.hash_alg).map(EncryptionScheme::RsaOaep)
        }
        None => Err(Refusal::NotSupported { what: "an encryption algorithm other than RsaPkcs1v15Crypt and RsaOaep" }),
    }
}

fn signature_hash(parameters: &SignatureHash) -> Result<Hash, Refusal> {
    match &parameters.hash_alg {
        Some(SignHash { variant: Some(SignHashVariant::Specific(number)) }) => hash_of(*number),
        Some(SignHash { variant: Some(SignHashVariant::Any(_)) }) => {
            Err(Refusal::NotSupported { what: "an algorithm without a specific hash" })
        }
        Some(SignHash { variant: None }) | None => Err(missing("hash_alg")),
    }
}

fn hash_of(number: i32) -> Result<Hash, Refusal> {
    match number {
        hash::SHA_256 => Ok(Hash::Sha256),
        hash::SHA_384 => Ok(Hash::Sha384),
        hash::SHA_512 => Ok(Hash::Sha512),
        hash::MD2 | hash::MD4 | hash::MD5 | hash::SHA_1 => Err(Refusal::Deprecated { what: "MD2, MD4, MD5 and SHA-1" }),
        _ => Err(Refusal::NotSupported { what: "a hash other than SHA-256, SHA-384 and SHA-512" }),
    }
}

/// The kind of a key, and whether it is a pair.
fn key_kind(attributes: &KeyAttributes) -> Result<(KeyKind, bool), Refusal> {
    let Some(KeyType { variant: Some(variant) }) = &attributes.key_type else {
        return Err(Refusal::NotSupported { what: "a key type other than those of ECC and RSA keys" });
    };
    let (curve_family, is_pair) = match variant {
        KeyTypeVariant::EccKeyPair(ecc) => (Some(ecc.curve_family), true),
        KeyTypeVariant::EccPublicKey(ecc) => (Some(ecc.curve_family), false),
        KeyTypeVariant::RsaKeyPair(_) => (None, true),
        KeyTypeVariant::RsaPublicKey(_) => (None, false),
    };
    if curve_family.is_some_and(|family| family != ecc_family::SECP_R1) {
        return Err(Refusal::NotSupported { what: "a curve family other than SecpR1" });
    }
    let is_rsa = curve_family.is_none();
    let kind = KeyKind::ALL
        .into_iter()
        .find(|kind| kind.is_rsa() == is_rsa && u32::from(kind.bits()) == attributes.key_bits)
        .ok_or(Refusal::NotSupported {
            what: if is_rsa {
                "an RSA size other than 1024, 2048, 3072 and 4096"
            } else {
                "a curve other than P-256, P-384 and P-521"
            },
        })?;
    Ok((kind, is_pair))
}

fn missing(field: &'static str) -> Refusal {
    Refusal::Invalid { field, found: String::new(), expected: "a value" }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::{Description, KeyAlgorithm};
    use crate::provider::{EncryptionScheme, Hash, KeyKind, KeyPurpose, KeySpec, SignatureScheme};
    use crate::wire::Status;
    use crate::wire::message::{
        Algorithm, AlgorithmVariant, AsymmetricEncryption, AsymmetricEncryptionVariant, EccKeyPair, EccPublicKey,
        KeyAttributes, KeyType, KeyTypeVariant, RsaKeyPair, RsaOaep, RsaPkcs1v15Crypt, hash,
    };

    /// A P-256 signing key for ECDSA with SHA-256, as the stock client encodes it.
    const STOCK: [u8; 27] = [
        0x0A, 0x04, 0x5A, 0x02, 0x08, 0x02, 0x10, 0x80, 0x02, 0x1A, 0x10, 0x0A, 0x04, 0x30, 0x01, 0x40, 0x01, 0x12,
        0x08, 0x32, 0x06, 0x22, 0x04, 0x0A, 0x02, 0x10, 0x07,
    ];

    fn stock() -> KeyAttributes {
        KeyAttributes::decode(STOCK.as_slice()).unwrap()
    }

    fn with_type(variant: KeyTypeVariant, bits: u32) -> KeyAttributes {
        KeyAttributes { key_type: Some(KeyType { variant: Some(variant) }), key_bits: bits, ..stock() }
    }

    fn encryption(bits: u32, variant: AsymmetricEncryptionVariant) -> KeyAttributes {
        let mut attributes = with_type(KeyTypeVariant::RsaKeyPair(RsaKeyPair {}), bits);
        let algorithm = AlgorithmVariant::AsymmetricEncryption(AsymmetricEncryption { variant: Some(variant) });
        attributes.key_policy.as_mut().unwrap().key_algorithm = Some(Algorithm { variant: Some(algorithm) });
        attributes
    }

    fn oaep(hash_alg: i32) -> AsymmetricEncryptionVariant {
        AsymmetricEncryptionVariant::RsaOaep(RsaOaep { hash_alg })
    }

    fn status(attributes: &KeyAttributes) -> Status {
        Description::of(attributes).unwrap_err().status()
    }

    #[test]
    fn the_stock_clients_signing_key() {
        let description = Description::of(&stock()).unwrap();
        assert_eq!(description.spec().unwrap(), KeySpec { kind: KeyKind::EcP256, purpose: KeyPurpose::Sign });
        assert_eq!(description.algorithm, KeyAlgorithm::Signature(SignatureScheme::Ecdsa(Hash::Sha256)));
        assert!(description.is_pair && description.usage.sign_hash && !description.usage.decrypt);
        assert_eq!(stock().encode_to_vec(), STOCK.as_slice());
    }

    #[test]
    fn encryption_keys_decrypt() {
        for (variant, scheme) in [
            (AsymmetricEncryptionVariant::RsaPkcs1v15Crypt(RsaPkcs1v15Crypt {}), EncryptionScheme::RsaPkcs1v15),
            (oaep(hash::SHA_512), EncryptionScheme::RsaOaep(Hash::Sha512)),
        ] {
            let description = Description::of(&encryption(3072, variant)).unwrap();
            let spec = KeySpec { kind: KeyKind::Rsa3072, purpose: KeyPurpose::Decrypt };
            assert_eq!((description.spec().unwrap(), description.algorithm), (spec, KeyAlgorithm::Encryption(scheme)));
        }
    }

    #[test]
    fn what_is_not_offered_is_not_supported() {
        let family = |curve_family| KeyTypeVariant::EccKeyPair(EccKeyPair { curve_family });
        assert_eq!(status(&with_type(family(2), 255)), Status::PsaErrorNotSupported);
        assert_eq!(status(&with_type(family(1), 256)), Status::PsaErrorNotSupported);
        assert_eq!(status(&with_type(KeyTypeVariant::RsaKeyPair(RsaKeyPair {}), 2049)), Status::PsaErrorNotSupported);
        let mut exportable = stock();
        exportable.key_policy.as_mut().unwrap().key_usage_flags.as_mut().unwrap().export = true;
        assert_eq!(status(&exportable), Status::PsaErrorNotSupported);
        exportable.key_type =
            Some(KeyType { variant: Some(KeyTypeVariant::EccPublicKey(EccPublicKey { curve_family: 2 })) });
        assert!(Description::of(&exportable).is_ok());
        // An AES key: field 4 of KeyType, which is not declared here.
        let aes = KeyAttributes::decode(&[0x0A, 0x02, 0x22, 0x00][..]).unwrap();
        assert_eq!(status(&aes), Status::PsaErrorNotSupported);
    }

    #[test]
    fn broken_hashes_are_deprecated() {
        for number in [hash::MD2, hash::MD4, hash::MD5, hash::SHA_1] {
            assert_eq!(status(&encryption(2048, oaep(number))), Status::DeprecatedPrimitive);
        }
        // RIPEMD-160.
        assert_eq!(status(&encryption(2048, oaep(4))), Status::PsaErrorNotSupported);
    }

    #[test]
    fn contradictions_are_invalid() {
        let rsa = with_type(KeyTypeVariant::RsaKeyPair(RsaKeyPair {}), 2048);
        assert_eq!(status(&rsa), Status::PsaErrorInvalidArgument);
        let mut curve = encryption(256, oaep(hash::SHA_256));
        curve.key_type = stock().key_type;
        assert_eq!(status(&curve), Status::PsaErrorInvalidArgument);
        let mut no_policy = stock();
        no_policy.key_policy = None;
        assert_eq!(status(&no_policy), Status::PsaErrorInvalidArgument);
        let public = with_type(KeyTypeVariant::EccPublicKey(EccPublicKey { curve_family: 2 }), 256);
        let refusal = Description::of(&public).unwrap().spec().unwrap_err();
        assert_eq!(refusal.status(), Status::PsaErrorInvalidArgument);
    }
}
