//! Keys in software, which follow from their labels: whoever makes the vectors again makes the same ones.

use anyhow::{Context, Result, bail};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::{self, KeyPair as _};
use vouchsafe_evidence::oid::{self, Oid};
use vouchsafe_evidence::tpm::HashAlg;
use vouchsafe_evidence::x509::build;
use vouchsafe_evidence::x509::{NamedCurve, SpkiView};

/// An elliptic curve key that everybody can compute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SoftwareKey {
    label: String,
    curve: NamedCurve,
}

impl SoftwareKey {
    pub fn new(label: &str, curve: NamedCurve) -> Result<Self> {
        match curve {
            NamedCurve::P256 | NamedCurve::P384 => Ok(Self { label: label.to_owned(), curve }),
            NamedCurve::P521 => bail!("there are no P-521 keys in software"),
        }
    }

    pub const fn curve(&self) -> NamedCurve {
        self.curve
    }

    /// The AlgorithmIdentifier with which it signs.
    pub fn algorithm(&self, hash: Option<HashAlg>) -> Vec<u8> {
        build::algorithm_identifier(ecdsa_with(hash.unwrap_or(self.usual_hash())))
    }

    /// The private scalar: the hash of the label, of the field's length, below both group orders.
    pub fn scalar(&self) -> Vec<u8> {
        let hash = if self.curve == NamedCurve::P384 { HashAlg::Sha384 } else { HashAlg::Sha256 };
        let mut octets = hash.digest(&[b"vouchsafe vectors, software key: ", self.label.as_bytes()]);
        if let Some(first) = octets.first_mut() {
            *first &= 0x7F;
        }
        octets
    }

    /// The affine coordinates of the public key.
    pub fn point(&self) -> Result<(Vec<u8>, Vec<u8>)> {
        let octets = match self.curve {
            NamedCurve::P384 => self.p384()?.verifying_key().to_sec1_point(false).as_bytes().to_vec(),
            NamedCurve::P256 | NamedCurve::P521 => {
                self.p256()?.verifying_key().to_sec1_point(false).as_bytes().to_vec()
            }
        };
        let (_, coordinates) = octets.split_at_checked(1).context("a point is empty")?;
        let (x, y) = coordinates.split_at_checked(coordinates.len() / 2).context("a point is cut")?;
        Ok((x.to_vec(), y.to_vec()))
    }

    pub fn spki(&self) -> Result<SpkiView> {
        let (x, y) = self.point()?;
        Ok(SpkiView::from_ec(self.curve, &x, &y)?)
    }

    fn p256(&self) -> Result<p256::ecdsa::SigningKey> {
        p256::ecdsa::SigningKey::from_slice(&self.scalar()).context("a scalar of P-256")
    }

    fn p384(&self) -> Result<p384::ecdsa::SigningKey> {
        p384::ecdsa::SigningKey::from_slice(&self.scalar()).context("a scalar of P-384")
    }

    /// The ECDSA-Sig-Value over a digest, its nonce as RFC 6979 has it.
    pub fn sign(&self, digest: &[u8]) -> Result<Vec<u8>> {
        // P-384 takes no digest shorter than half its field; zeros in front leave the number what it is.
        let field = self.curve.field_octets();
        let padded = [vec![0; (field / 2).saturating_sub(digest.len())], digest.to_vec()].concat();
        Ok(match self.curve {
            NamedCurve::P384 => {
                use p384::ecdsa::signature::hazmat::PrehashSigner;
                let signature: p384::ecdsa::Signature = self.p384()?.sign_prehash(&padded).context("signing")?;
                signature.to_der().as_bytes().to_vec()
            }
            NamedCurve::P256 | NamedCurve::P521 => {
                use p256::ecdsa::signature::hazmat::PrehashSigner;
                let signature: p256::ecdsa::Signature = self.p256()?.sign_prehash(&padded).context("signing")?;
                signature.to_der().as_bytes().to_vec()
            }
        })
    }

    /// The hash that this key's signatures usually are over.
    pub fn usual_hash(&self) -> HashAlg {
        if self.curve == NamedCurve::P384 { HashAlg::Sha384 } else { HashAlg::Sha256 }
    }
}

/// An RSA key whose private part lies in `vectors/keys`: nobody could make it again from a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RsaSoftwareKey {
    pkcs8: Vec<u8>,
}

impl RsaSoftwareKey {
    /// The key of this PrivateKeyInfo.
    pub fn new(pkcs8: Vec<u8>) -> Result<Self> {
        let key = Self { pkcs8 };
        key.pair().map(|_| key)
    }

    fn pair(&self) -> Result<KeyPair> {
        KeyPair::from_pkcs8(&self.pkcs8).context("a private key of RSA")
    }

    /// The DER of its SubjectPublicKeyInfo.
    pub fn spki_der(&self) -> Result<Vec<u8>> {
        Ok(self.pair()?.public_key().as_der().context("a public key")?.as_ref().to_vec())
    }

    /// The AlgorithmIdentifier with which it signs: PKCS #1 v1.5, whose signatures are always the same.
    pub fn algorithm(hash: Option<HashAlg>) -> Vec<u8> {
        build::algorithm_identifier_null(rsa_with(hash.unwrap_or(HashAlg::Sha256)))
    }

    /// The signature over a message by PKCS #1 v1.5.
    pub fn sign(&self, hash: Option<HashAlg>, message: &[u8]) -> Result<Vec<u8>> {
        let encoding: &signature::RsaSignatureEncoding = match hash.unwrap_or(HashAlg::Sha256) {
            HashAlg::Sha1 => bail!("keys in software do not sign with SHA-1"),
            HashAlg::Sha256 => &signature::RSA_PKCS1_SHA256,
            HashAlg::Sha384 => &signature::RSA_PKCS1_SHA384,
            HashAlg::Sha512 => &signature::RSA_PKCS1_SHA512,
        };
        let pair = self.pair()?;
        let mut octets = vec![0; pair.public_modulus_len()];
        pair.sign(encoding, &SystemRandom::new(), message, &mut octets).context("signing")?;
        Ok(octets)
    }
}

/// The identifier of ECDSA with a hash.
pub const fn ecdsa_with(hash: HashAlg) -> Oid {
    match hash {
        HashAlg::Sha1 => oid::ECDSA_WITH_SHA1,
        HashAlg::Sha256 => oid::ECDSA_WITH_SHA256,
        HashAlg::Sha384 => oid::ECDSA_WITH_SHA384,
        HashAlg::Sha512 => oid::ECDSA_WITH_SHA512,
    }
}

/// The identifier of PKCS #1 v1.5 with a hash.
pub const fn rsa_with(hash: HashAlg) -> Oid {
    match hash {
        HashAlg::Sha1 => oid::SHA1_WITH_RSA,
        HashAlg::Sha256 => oid::SHA256_WITH_RSA,
        HashAlg::Sha384 => oid::SHA384_WITH_RSA,
        HashAlg::Sha512 => oid::SHA512_WITH_RSA,
    }
}
