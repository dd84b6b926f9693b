//! Kinds of keys: their names here, and what they are to the PSA Crypto API and to X.509.

use clap::ValueEnum;
use vouchsafe_agent::wire::message::{
    Algorithm, AlgorithmVariant, AsymmetricSignature, AsymmetricSignatureVariant, EccKeyPair, KeyAttributes, KeyInfo,
    KeyPolicy, KeyType, KeyTypeVariant, RsaKeyPair, SignHash, SignHashVariant, SignatureHash, UsageFlags, ecc_family,
    hash,
};
use vouchsafe_evidence::oid;
use vouchsafe_evidence::tpm::HashAlg;
use vouchsafe_evidence::x509::der::Reader;
use vouchsafe_evidence::x509::{NamedCurve, SpkiView, build};

use crate::failure::Failure;

/// A kind of key that the agent makes, with the one algorithm that it signs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KeyKind {
    /// P-256, ECDSA with SHA-256.
    #[value(name = "ecc-p256")]
    EccP256,
    /// P-384, ECDSA with SHA-384.
    #[value(name = "ecc-p384")]
    EccP384,
    /// RSA of 2048 bits, PKCS #1 v1.5 with SHA-256.
    #[value(name = "rsa-2048")]
    Rsa2048,
    /// RSA of 3072 bits, PKCS #1 v1.5 with SHA-256.
    #[value(name = "rsa-3072")]
    Rsa3072,
}

impl KeyKind {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::EccP256 => "ecc-p256",
            Self::EccP384 => "ecc-p384",
            Self::Rsa2048 => "rsa-2048",
            Self::Rsa3072 => "rsa-3072",
        }
    }

    const fn bits(self) -> u32 {
        match self {
            Self::EccP256 => 256,
            Self::EccP384 => 384,
            Self::Rsa2048 => 2048,
            Self::Rsa3072 => 3072,
        }
    }

    /// The hash that it signs.
    pub const fn hash(self) -> HashAlg {
        match self {
            Self::EccP384 => HashAlg::Sha384,
            Self::EccP256 | Self::Rsa2048 | Self::Rsa3072 => HashAlg::Sha256,
        }
    }

    const fn is_ecc(self) -> bool {
        matches!(self, Self::EccP256 | Self::EccP384)
    }

    /// Its signature algorithm, as the agent is asked.
    pub fn signature(self) -> AsymmetricSignature {
        let number = match self.hash() {
            HashAlg::Sha384 => hash::SHA_384,
            HashAlg::Sha512 => hash::SHA_512,
            HashAlg::Sha256 | HashAlg::Sha1 => hash::SHA_256,
        };
        let parameters =
            SignatureHash { hash_alg: Some(SignHash { variant: Some(SignHashVariant::Specific(number)) }) };
        let variant = if self.is_ecc() {
            AsymmetricSignatureVariant::Ecdsa(parameters)
        } else {
            AsymmetricSignatureVariant::RsaPkcs1v15Sign(parameters)
        };
        AsymmetricSignature { variant: Some(variant) }
    }

    /// What a new key of this kind is asked for as.
    pub fn attributes(self) -> KeyAttributes {
        let variant = if self.is_ecc() {
            KeyTypeVariant::EccKeyPair(EccKeyPair { curve_family: ecc_family::SECP_R1 })
        } else {
            KeyTypeVariant::RsaKeyPair(RsaKeyPair {})
        };
        let usage = UsageFlags { sign_hash: true, sign_message: true, ..UsageFlags::default() };
        KeyAttributes {
            key_type: Some(KeyType { variant: Some(variant) }),
            key_bits: self.bits(),
            key_policy: Some(KeyPolicy {
                key_usage_flags: Some(usage),
                key_algorithm: Some(Algorithm {
                    variant: Some(AlgorithmVariant::AsymmetricSignature(self.signature())),
                }),
            }),
        }
    }

    /// The kind of a key that the agent lists; keys that other clients made may be of none.
    pub fn of(info: &KeyInfo) -> Option<Self> {
        let attributes = info.attributes.as_ref()?;
        Self::value_variants().iter().copied().find(|kind| {
            let expected = kind.attributes();
            let algorithm = |attributes: &KeyAttributes| attributes.key_policy.as_ref()?.key_algorithm.clone();
            expected.key_type == attributes.key_type
                && expected.key_bits == attributes.key_bits
                && algorithm(&expected) == algorithm(attributes)
        })
    }

    /// The kind of the public key that the agent exports, by the key alone; `None` for one of no kind here.
    pub fn of_public(exported: &[u8]) -> Option<Self> {
        Self::value_variants().iter().copied().find(|kind| {
            let width = usize::try_from(kind.bits().div_ceil(8)).unwrap_or(usize::MAX);
            if kind.is_ecc() {
                exported.first() == Some(&4) && exported.len() == 2 * width + 1
            } else {
                rsa_numbers(exported).is_ok_and(|(modulus, _)| modulus.len() == width && modulus.first() >= Some(&0x80))
            }
        })
    }

    /// The public key in the form that certificates carry, of what the agent exports: `04 | X | Y`, or DER RSAPublicKey.
    ///
    /// # Errors
    /// [`Failure`] if it is not that.
    pub fn spki(self, exported: &[u8]) -> Result<SpkiView, Failure> {
        let curve = match self {
            Self::EccP256 => NamedCurve::P256,
            Self::EccP384 => NamedCurve::P384,
            Self::Rsa2048 | Self::Rsa3072 => return rsa_spki(exported).map_err(|error| strange(&error)),
        };
        let point = exported.strip_prefix(&[4]).unwrap_or_default();
        let (x, y) = point.split_at_checked(curve.field_octets()).unwrap_or_default();
        SpkiView::from_ec(curve, x, y).map_err(|error| strange(&error))
    }

    /// AlgorithmIdentifier of its signatures, DER.
    pub fn signature_algorithm(self) -> Vec<u8> {
        match self {
            Self::EccP256 => build::algorithm_identifier(oid::ECDSA_WITH_SHA256),
            Self::EccP384 => build::algorithm_identifier(oid::ECDSA_WITH_SHA384),
            Self::Rsa2048 | Self::Rsa3072 => build::algorithm_identifier_null(oid::SHA256_WITH_RSA),
        }
    }

    /// A signature as certificates carry it, of what the agent gives: `r | s`, or the RSA signature itself.
    pub fn x509_signature(self, signature: &[u8]) -> Vec<u8> {
        if self.is_ecc() {
            let (r, s) = signature.split_at(signature.len() / 2);
            build::ecdsa_signature(r, s)
        } else {
            signature.to_vec()
        }
    }
}

fn strange(error: &vouchsafe_evidence::Malformed) -> Failure {
    Failure::new("the agent gave no public key").because(error).next("use a client of the same version as the agent")
}

/// Modulus and public exponent.
fn rsa_numbers(exported: &[u8]) -> Result<(&[u8], &[u8]), vouchsafe_evidence::Malformed> {
    let mut outer = Reader::new(exported, "RSAPublicKey");
    let mut fields = outer.sequence("RSAPublicKey")?;
    let numbers = (fields.unsigned("modulus")?, fields.unsigned("publicExponent")?);
    fields.finish()?;
    Ok(numbers)
}

fn rsa_spki(exported: &[u8]) -> Result<SpkiView, vouchsafe_evidence::Malformed> {
    let (modulus, exponent) = rsa_numbers(exported)?;
    SpkiView::from_rsa(modulus, exponent)
}

#[cfg(test)]
mod tests {
    use super::KeyKind;
    use vouchsafe_evidence::x509::build::DerWriter;

    #[test]
    fn a_public_key_says_its_kind() {
        let point = |octets: usize| [vec![4], vec![1; octets]].concat();
        let rsa = |modulus: Vec<u8>| {
            let mut writer = DerWriter::new();
            writer.sequence(|fields| {
                fields.unsigned(&modulus).unsigned(&[1, 0, 1]);
            });
            writer.into_der()
        };
        assert_eq!(KeyKind::of_public(&point(64)), Some(KeyKind::EccP256));
        assert_eq!(KeyKind::of_public(&point(96)), Some(KeyKind::EccP384));
        assert_eq!(KeyKind::of_public(&rsa(vec![0x81; 256])), Some(KeyKind::Rsa2048));
        assert_eq!(KeyKind::of_public(&rsa(vec![0x81; 384])), Some(KeyKind::Rsa3072));
        for other in [point(132), point(63), Vec::new(), rsa(vec![0x81; 128]), rsa(vec![0x41; 256])] {
            assert_eq!(KeyKind::of_public(&other), None);
        }
    }
}
