//! Keys in software: what every fraud needs.

use aws_lc_rs::encoding::{AsBigEndian, EcPrivateKeyBin};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use vouchsafe_evidence::bundle::AttestationBundle;
use vouchsafe_evidence::oid;
use vouchsafe_evidence::x509::build::{self, CertificateTemplate, CsrTemplate};
use vouchsafe_evidence::x509::{CertView, NameView, NamedCurve, SpkiView};

use crate::failure::Failure;

/// Octets of a coordinate on P-256.
const COORDINATE: usize = 32;

/// A P-256 key whose private part lies in memory for anyone to take.
pub struct SoftwareKey {
    pair: EcdsaKeyPair,
    spki: SpkiView,
}

impl SoftwareKey {
    /// A new key.
    ///
    /// # Errors
    /// [`Failure`] if the random source fails.
    pub fn generate() -> Result<Self, Failure> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map_err(failed)?;
        let point = pair.public_key().as_ref().strip_prefix(&[4]).unwrap_or_default();
        let (x, y) = point.split_at_checked(COORDINATE).unwrap_or_default();
        let spki = SpkiView::from_ec(NamedCurve::P256, x, y)
            .map_err(|error| Failure::new("a software key cannot be made").because(error))?;
        Ok(Self { pair, spki })
    }

    /// The public part.
    pub const fn spki(&self) -> &SpkiView {
        &self.spki
    }

    /// The coordinates of the public point.
    pub fn point(&self) -> (Vec<u8>, Vec<u8>) {
        let point = self.pair.public_key().as_ref().strip_prefix(&[4]).unwrap_or_default();
        let (x, y) = point.split_at_checked(COORDINATE).unwrap_or_default();
        (x.to_vec(), y.to_vec())
    }

    /// The private part, big-endian.
    ///
    /// # Errors
    /// [`Failure`] if it cannot be had.
    pub fn scalar(&self) -> Result<Vec<u8>, Failure> {
        let scalar: EcPrivateKeyBin<'static> = self.pair.private_key().as_be_bytes().map_err(failed)?;
        Ok(scalar.as_ref().to_vec())
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Failure> {
        Ok(self.pair.sign(&SystemRandom::new(), message).map_err(failed)?.as_ref().to_vec())
    }

    /// A certification request for this key, with this bundle.
    ///
    /// # Errors
    /// [`Failure`] if it cannot be signed.
    pub fn request(&self, subject: &NameView, bundle: &AttestationBundle) -> Result<Vec<u8>, Failure> {
        let attributes = vec![build::attestation_attribute(bundle)];
        let info = CsrTemplate { subject: subject.clone(), spki: self.spki.clone(), attributes }.info_der();
        Ok(build::assemble(&info, &algorithm(), &self.sign(&info)?))
    }

    /// A certificate that this key signs.
    ///
    /// # Errors
    /// [`Failure`] if it cannot be signed.
    pub fn certify(&self, template: &CertificateTemplate) -> Result<CertView, Failure> {
        let tbs = template.tbs_der();
        view(&build::assemble(&tbs, &algorithm(), &self.sign(&tbs)?))
    }
}

/// The algorithm of all certificates here: ecdsa-with-SHA256.
pub fn algorithm() -> Vec<u8> {
    build::algorithm_identifier(oid::ECDSA_WITH_SHA256)
}

/// A name of RFC 4514 text.
///
/// # Errors
/// [`Failure`] if it is none.
pub fn name(text: &str) -> Result<NameView, Failure> {
    build::name_from_text(text).map_err(|error| Failure::new(format!("{text} is no name")).because(error))
}

/// A certificate of its DER.
///
/// # Errors
/// [`Failure`] if it is none.
pub fn view(der: &[u8]) -> Result<CertView, Failure> {
    CertView::parse(der).map_err(|error| Failure::new("a certificate cannot be read").because(error))
}

fn failed(_: impl Sized) -> Failure {
    Failure::new("a cryptographic operation failed")
}
