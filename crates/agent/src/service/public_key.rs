//! What needs a key's public half alone, done here: verifying and encrypting, and keys that are brought in.

use aws_lc_rs::digest::{self, Digest};
use aws_lc_rs::rsa::{
    OAEP_SHA256_MGF1SHA256, OAEP_SHA384_MGF1SHA384, OAEP_SHA512_MGF1SHA512, OaepPublicEncryptingKey,
    Pkcs1PublicEncryptingKey, PublicEncryptingKey,
};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ParsedPublicKey,
    RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, VerificationAlgorithm,
};
use vouchsafe_evidence::x509::der::Reader;
use vouchsafe_evidence::x509::{NamedCurve, SpkiView};

use super::refusal::Refusal;
use crate::provider::{EncryptionScheme, Fault, Hash, KeyKind, PublicKey, SignatureScheme};

/// The first octet of an uncompressed point (SEC 1, 2.3.3).
const UNCOMPRESSED: u8 = 0x04;

/// The public half of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PublicHalf {
    kind: KeyKind,
    /// In the PSA export format.
    exported: Vec<u8>,
    /// DER SubjectPublicKeyInfo.
    spki: Vec<u8>,
}

impl From<PublicKey> for PublicHalf {
    fn from(public: PublicKey) -> PublicHalf {
        PublicHalf { kind: public.kind, exported: public.subject_public_key, spki: public.spki }
    }
}

impl PublicHalf {
    /// A key of the PSA export format: an uncompressed point (SEC 1), or DER RSAPublicKey (RFC 8017).
    ///
    /// # Errors
    ///
    /// [`Refusal::Invalid`] for anything else, a point that is not on the curve among it; [`Refusal::NotSupported`] for sizes
    /// that this service does not offer.
    pub(super) fn parse(is_rsa: bool, data: &[u8]) -> Result<PublicHalf, Refusal> {
        let (kind, spki) = if is_rsa { parse_rsa(data) } else { parse_point(data) }?;
        // Canonical, and a key that can be used.
        let half = PublicHalf { kind, exported: data.to_vec(), spki: spki.as_der().to_vec() };
        let scheme =
            if is_rsa { SignatureScheme::RsaPkcs1v15(Hash::Sha256) } else { SignatureScheme::Ecdsa(Hash::Sha256) };
        if !spki.as_der().ends_with(data) || half.parsed(scheme).is_err() {
            return Err(malformed());
        }
        Ok(half)
    }

    /// Algorithm and size.
    pub(super) const fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The PSA export format.
    pub(super) fn into_exported(self) -> Vec<u8> {
        self.exported
    }

    /// Verifies the signature of a digest.
    ///
    /// # Errors
    ///
    /// [`Refusal::SignatureInvalid`]; [`Fault::DigestLength`].
    pub(super) fn verify(&self, scheme: SignatureScheme, digest: &[u8], signature: &[u8]) -> Result<(), Refusal> {
        scheme.check_digest(digest)?;
        let algorithm = match scheme {
            SignatureScheme::Ecdsa(_) => curve_hash(self.kind).unwrap_or(scheme.hash()),
            SignatureScheme::RsaPkcs1v15(hash) | SignatureScheme::RsaPss(hash) => hash,
        };
        let resized = resized(digest, algorithm.digest_len());
        let digest = Digest::import_less_safe(&resized, digest_algorithm(algorithm))
            .map_err(|_| Fault::Primitive("importing a digest"))?;
        self.parsed(scheme)?.verify_digest_sig(&digest, signature).map_err(|_| Refusal::SignatureInvalid)
    }

    /// Encrypts a short message. `label` is OAEP's.
    ///
    /// # Errors
    ///
    /// [`Refusal::Invalid`] for a message that is too long.
    pub(super) fn encrypt(&self, scheme: EncryptionScheme, message: &[u8], label: &[u8]) -> Result<Vec<u8>, Refusal> {
        let unusable = |_| Refusal::NotSupported { what: "encryption to keys of this size" };
        let key = PublicEncryptingKey::from_der(&self.spki).map_err(unusable)?;
        let too_long = |limit: usize| Refusal::Invalid {
            field: "plaintext",
            found: format!("{} octets for a limit of {limit}", message.len()),
            expected: "a message that fits the key",
        };
        let failed = |_| Refusal::Fault(Fault::Primitive("encrypting"));
        let mut ciphertext = vec![0; key.key_size_bytes()];
        match scheme {
            EncryptionScheme::RsaPkcs1v15 => {
                let key = Pkcs1PublicEncryptingKey::new(key).map_err(failed)?;
                if message.len() > key.max_plaintext_size() {
                    return Err(too_long(key.max_plaintext_size()));
                }
                key.encrypt(message, &mut ciphertext).map_err(failed)?;
            }
            EncryptionScheme::RsaOaep(hash) => {
                let algorithm = match hash {
                    Hash::Sha256 => &OAEP_SHA256_MGF1SHA256,
                    Hash::Sha384 => &OAEP_SHA384_MGF1SHA384,
                    Hash::Sha512 => &OAEP_SHA512_MGF1SHA512,
                };
                let key = OaepPublicEncryptingKey::new(key).map_err(failed)?;
                if message.len() > key.max_plaintext_size(algorithm) {
                    return Err(too_long(key.max_plaintext_size(algorithm)));
                }
                let label = (!label.is_empty()).then_some(label);
                key.encrypt(algorithm, message, &mut ciphertext, label).map_err(failed)?;
            }
        }
        Ok(ciphertext)
    }

    fn parsed(&self, scheme: SignatureScheme) -> Result<ParsedPublicKey, Refusal> {
        let algorithm = verification(self.kind, scheme)
            .ok_or(Refusal::NotSupported { what: "verifying with keys of this size and this hash" })?;
        ParsedPublicKey::new(algorithm, &self.exported).map_err(|_| malformed())
    }
}

/// The digest as ECDSA takes it (FIPS 186-5, 6.4): its leftmost octets, or with zero octets in front. Left as it is if it has that
/// length.
fn resized(digest: &[u8], octets: usize) -> Vec<u8> {
    let leftmost = digest.get(..octets).unwrap_or(digest);
    [vec![0; octets.saturating_sub(leftmost.len())], leftmost.to_vec()].concat()
}

/// The hash whose digest is as wide as the curve's order, or the widest; `None` for RSA.
const fn curve_hash(kind: KeyKind) -> Option<Hash> {
    match kind {
        KeyKind::EcP256 => Some(Hash::Sha256),
        KeyKind::EcP384 => Some(Hash::Sha384),
        KeyKind::EcP521 => Some(Hash::Sha512),
        KeyKind::Rsa1024 | KeyKind::Rsa2048 | KeyKind::Rsa3072 | KeyKind::Rsa4096 => None,
    }
}

const fn digest_algorithm(hash: Hash) -> &'static digest::Algorithm {
    match hash {
        Hash::Sha256 => &digest::SHA256,
        Hash::Sha384 => &digest::SHA384,
        Hash::Sha512 => &digest::SHA512,
    }
}

/// The digest of a message.
pub(super) fn digest_of(hash: Hash, message: &[u8]) -> Digest {
    digest::digest(digest_algorithm(hash), message)
}

/// How signatures of this scheme are verified; `None` where they are not.
fn verification(kind: KeyKind, scheme: SignatureScheme) -> Option<&'static dyn VerificationAlgorithm> {
    if !scheme.fits(kind) {
        return None;
    }
    let is_small = kind == KeyKind::Rsa1024;
    Some(match (kind, scheme) {
        (KeyKind::EcP256, _) => &ECDSA_P256_SHA256_FIXED,
        (KeyKind::EcP384, _) => &ECDSA_P384_SHA384_FIXED,
        (KeyKind::EcP521, _) => &ECDSA_P521_SHA512_FIXED,
        (_, SignatureScheme::RsaPkcs1v15(Hash::Sha256)) if is_small => &RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
        (_, SignatureScheme::RsaPkcs1v15(Hash::Sha512)) if is_small => &RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
        _ if is_small => return None,
        (_, SignatureScheme::RsaPkcs1v15(Hash::Sha256)) => &RSA_PKCS1_2048_8192_SHA256,
        (_, SignatureScheme::RsaPkcs1v15(Hash::Sha384)) => &RSA_PKCS1_2048_8192_SHA384,
        (_, SignatureScheme::RsaPkcs1v15(Hash::Sha512)) => &RSA_PKCS1_2048_8192_SHA512,
        (_, SignatureScheme::RsaPss(Hash::Sha256)) => &RSA_PSS_2048_8192_SHA256,
        (_, SignatureScheme::RsaPss(Hash::Sha384)) => &RSA_PSS_2048_8192_SHA384,
        (_, SignatureScheme::RsaPss(Hash::Sha512)) => &RSA_PSS_2048_8192_SHA512,
        (_, SignatureScheme::Ecdsa(_)) => return None,
    })
}

fn malformed() -> Refusal {
    Refusal::Invalid { field: "data", found: String::new(), expected: "a public key of this type in its PSA format" }
}

fn parse_point(data: &[u8]) -> Result<(KeyKind, SpkiView), Refusal> {
    let Some((&UNCOMPRESSED, coordinates)) = data.split_first() else { return Err(malformed()) };
    let curve =
        [(NamedCurve::P256, KeyKind::EcP256), (NamedCurve::P384, KeyKind::EcP384), (NamedCurve::P521, KeyKind::EcP521)]
            .into_iter()
            .find(|(curve, _)| curve.field_octets().saturating_mul(2) == coordinates.len());
    let (curve, kind) = curve.ok_or_else(malformed)?;
    let (x, y) = coordinates.split_at_checked(curve.field_octets()).ok_or_else(malformed)?;
    Ok((kind, SpkiView::from_ec(curve, x, y).map_err(|_| malformed())?))
}

fn parse_rsa(data: &[u8]) -> Result<(KeyKind, SpkiView), Refusal> {
    let read = || {
        let mut reader = Reader::new(data, "RSAPublicKey");
        let mut fields = reader.sequence("RSAPublicKey")?;
        let (modulus, exponent) = (fields.unsigned("modulus")?, fields.unsigned("publicExponent")?);
        fields.finish()?;
        reader.finish()?;
        Ok::<_, vouchsafe_evidence::Malformed>((modulus, exponent))
    };
    let (modulus, exponent) = read().map_err(|_| malformed())?;
    let significant = modulus.iter().position(|octet| *octet != 0).and_then(|at| modulus.get(at..)).unwrap_or_default();
    let leading_zeros = significant.first().map_or(0, |octet| octet.leading_zeros());
    let bits = significant.len().saturating_mul(8).checked_sub(usize::try_from(leading_zeros).unwrap_or_default());
    let kind = KeyKind::ALL.into_iter().find(|kind| kind.is_rsa() && Some(usize::from(kind.bits())) == bits);
    let kind = kind.ok_or(Refusal::NotSupported { what: "an RSA size other than 1024, 2048, 3072 and 4096" })?;
    Ok((kind, SpkiView::from_rsa(modulus, exponent).map_err(|_| malformed())?))
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair};

    use super::{PublicHalf, digest_of, resized};
    use crate::provider::{Hash, KeyKind, SignatureScheme};
    use crate::wire::Status;

    #[test]
    fn a_point_is_on_its_curve_and_uncompressed() {
        let key = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
        let point = key.public_key().as_ref().to_vec();
        assert_eq!(PublicHalf::parse(false, &point).unwrap().kind(), KeyKind::EcP384);
        let mut beside = point.clone();
        *beside.last_mut().unwrap() ^= 1;
        let mut compressed = point.clone();
        compressed[0] = 0x02;
        for bad in [&beside[..], &compressed, &point[..96], &[], &[4], &[point.as_slice(), &[0]].concat()] {
            assert_eq!(PublicHalf::parse(false, bad).unwrap_err().status(), Status::PsaErrorInvalidArgument);
        }
        assert!(PublicHalf::parse(true, &point).is_err());
    }

    #[test]
    fn only_the_signature_of_that_digest_is_valid() {
        let key = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
        let half = PublicHalf::parse(false, key.public_key().as_ref()).unwrap();
        let mut signature = key.sign(&SystemRandom::new(), b"message").unwrap().as_ref().to_vec();
        let scheme = SignatureScheme::Ecdsa(Hash::Sha384);
        let digest = digest_of(Hash::Sha384, b"message");
        half.verify(scheme, digest.as_ref(), &signature).unwrap();
        let status = |digest: &[u8], signature: &[u8]| half.verify(scheme, digest, signature).unwrap_err().status();
        let other = digest_of(Hash::Sha384, b"massage");
        assert_eq!(status(other.as_ref(), &signature), Status::PsaErrorInvalidSignature);
        assert_eq!(status(&[0; 32], &signature), Status::PsaErrorInvalidArgument);
        signature[0] ^= 1;
        assert_eq!(status(digest.as_ref(), &signature), Status::PsaErrorInvalidSignature);
        assert_eq!(status(digest.as_ref(), &[]), Status::PsaErrorInvalidSignature);
    }

    #[test]
    fn digests_are_cut_or_padded_on_the_left() {
        assert_eq!(resized(&[1, 2, 3], 2), [1, 2]);
        assert_eq!(resized(&[1, 2, 3], 3), [1, 2, 3]);
        assert_eq!(resized(&[1, 2, 3], 5), [0, 0, 1, 2, 3]);
    }
}
