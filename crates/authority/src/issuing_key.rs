//! The keys that sign for this authority: in a token behind PKCS#11, or in a file.

mod token;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair,
};
use vouchsafe_evidence::oid::{self, Oid};
use vouchsafe_evidence::x509::der::{Reader, Tag};
use vouchsafe_evidence::x509::{NamedCurve, PublicKey, SpkiView};

use crate::certificate::CertificateError;

pub(crate) use token::TokenKey;
pub use token::{KeyCurve, TokenKeyConfig, TokenKeyError};

/// A signing key.
#[derive(Debug)]
pub(crate) struct SigningKey {
    place: Place,
    algorithm: Oid,
    spki: SpkiView,
}

/// Where a key is.
#[derive(Debug)]
enum Place {
    File(EcdsaKeyPair),
    Token(Box<TokenKey>),
}

impl SigningKey {
    /// A new P-256 key; the PKCS#8 is for its file.
    pub(crate) fn generate() -> Result<(Self, Vec<u8>), CertificateError> {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new())
            .map_err(|_| CertificateError::Operation("key generation"))?;
        let key = Self::from_pkcs8(pkcs8.as_ref())?;
        Ok((key, pkcs8.as_ref().to_vec()))
    }

    pub(crate) fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, CertificateError> {
        let known: [(&'static EcdsaSigningAlgorithm, Oid, NamedCurve); 2] = [
            (&ECDSA_P256_SHA256_ASN1_SIGNING, oid::ECDSA_WITH_SHA256, NamedCurve::P256),
            (&ECDSA_P384_SHA384_ASN1_SIGNING, oid::ECDSA_WITH_SHA384, NamedCurve::P384),
        ];
        for (signing, algorithm, curve) in known {
            let Ok(pair) = EcdsaKeyPair::from_pkcs8(signing, pkcs8) else { continue };
            let (_, point) = pair.public_key().as_ref().split_first().ok_or(CertificateError::UnknownKey)?;
            let (x, y) = point.split_at_checked(curve.field_octets()).ok_or(CertificateError::UnknownKey)?;
            let spki = SpkiView::from_ec(curve, x, y)?;
            return Ok(Self { place: Place::File(pair), algorithm, spki });
        }
        Err(CertificateError::UnknownKey)
    }

    /// The key of a token whose public half a certificate names. It is tried once.
    ///
    /// # Errors
    /// [`CertificateError::UnknownKey`] for a key that is neither on P-256 nor on P-384; [`CertificateError::Token`].
    pub(crate) fn in_token(config: &TokenKeyConfig, spki: &SpkiView) -> Result<Self, CertificateError> {
        let (key, algorithm) = TokenKey::open(config, spki)?;
        Ok(Self { place: Place::Token(Box::new(key)), algorithm, spki: spki.clone() })
    }

    /// The key of a token, whatever its public half is, which the token tells. It is tried once.
    ///
    /// # Errors
    /// As [`SigningKey::in_token`]; [`TokenKeyError::PublicKey`].
    pub(crate) fn told_by_token(config: &TokenKeyConfig) -> Result<Self, CertificateError> {
        Self::in_token(config, &token::public_key(config)?)
    }

    /// A new key in a token, which it will not let out. It is tried once.
    ///
    /// # Errors
    /// [`TokenKeyError::Exists`] where the label is taken, and what the token refuses.
    pub(crate) fn generate_in_token(config: &TokenKeyConfig, curve: KeyCurve) -> Result<Self, CertificateError> {
        token::generate(config, curve)?;
        Self::told_by_token(config)
    }

    pub(crate) const fn spki(&self) -> &SpkiView {
        &self.spki
    }

    pub(crate) const fn algorithm(&self) -> Oid {
        self.algorithm
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CertificateError> {
        match &self.place {
            Place::File(pair) => {
                let signature = pair.sign(&SystemRandom::new(), message);
                signature.map(|value| value.as_ref().to_vec()).map_err(|_| CertificateError::Operation("signing"))
            }
            Place::Token(key) => Ok(key.sign(message)?),
        }
    }

    /// A signature as r and s, each as wide as the curve's field (RFC 7518, section 3.4).
    pub(crate) fn sign_fixed(&self, message: &[u8]) -> Result<Vec<u8>, CertificateError> {
        let PublicKey::Ec { curve, .. } = self.spki.key() else { return Err(CertificateError::UnknownKey) };
        let signature = self.sign(message)?;
        let mut outer = Reader::new(&signature, "ECDSA-Sig-Value");
        let mut numbers = outer.sequence("ECDSA-Sig-Value")?;
        outer.finish()?;
        let mut fixed = Vec::with_capacity(curve.field_octets().saturating_mul(2));
        for what in ["r", "s"] {
            let octets = numbers.expect(Tag::INTEGER, what)?.integer()?;
            let magnitude = octets.strip_prefix(&[0]).unwrap_or(octets);
            let padding = curve.field_octets().checked_sub(magnitude.len());
            fixed.resize(fixed.len().saturating_add(padding.ok_or(CertificateError::Operation("signing"))?), 0);
            fixed.extend_from_slice(magnitude);
        }
        numbers.finish()?;
        Ok(fixed)
    }
}
