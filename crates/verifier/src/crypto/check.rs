//! One signature, one key, one answer.

use aws_lc_rs::digest;
use aws_lc_rs::signature::{self as lc, RsaParameters, RsaPssSaltLength, UnparsedPublicKey, VerificationAlgorithm};
use thiserror::Error;
use vouchsafe_evidence::tpm::{HashAlg, TpmtSignature};
use vouchsafe_evidence::x509::{NamedCurve, PublicKey, RsaScheme, SpkiView};

use super::{MEMO_OCTETS, PssSalt, SignatureAlgorithm, SignatureBudget};

/// Smallest RSA modulus whose signatures count, in bits (NIST SP 800-131A; smaller ones are parsed only).
const RSA_BITS_ACCEPTED_MIN: usize = 2048;
/// Smallest RSA public exponent whose signatures count (FIPS 186-5, section 5.4): 65537.
const RSA_EXPONENT_MIN: [u8; 3] = [0x01, 0x00, 0x01];
/// The exponent of RSA keys that were made before that was the rule.
const RSA_EXPONENT_SMALL: [u8; 1] = [3];

/// Why a signature does not count.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum SignatureError {
    /// The request has spent its signature checks; nothing was checked.
    #[error("the request needs more than {limit} signature checks")]
    BudgetExhausted {
        /// Checks that one request may cost.
        limit: usize,
    },
    /// The signature is not this key's over this message.
    #[error("the signature is not this key's over these bytes")]
    Invalid,
    /// The key is of another kind than the algorithm, or may not be used with it.
    #[error("the key cannot make signatures by {algorithm}")]
    KeyMismatch {
        /// The algorithm asked for.
        algorithm: SignatureAlgorithm,
    },
    /// SHA-1.
    #[error("{algorithm} is not accepted")]
    WeakAlgorithm {
        /// The algorithm found.
        algorithm: SignatureAlgorithm,
    },
    /// An RSA key that is too small, or whose exponent is even or below 65537.
    #[error("the RSA key of {modulus_bits} bits is too small, or its public exponent is even or below 65537")]
    WeakKey {
        /// Size of its modulus in bits.
        modulus_bits: usize,
    },
}

/// Checks that `signature` over `message` was made with the private part of `key` by `algorithm`.
///
/// - RSA keys have 2048 to 8192 bits and an odd exponent of at least 65537.
/// - A key marked for OAEP signs nothing; a key marked for PSS signs by PSS alone.
/// - ML-DSA-65: pure, with an empty context.
/// - ECDSA: P-256, P-384 and P-521 with any SHA-2 hash; r and s in range; a large s is fine, since TPMs emit it.
/// - SHA-1 is refused before anything is checked or paid for.
///
/// # Errors
/// A [`SignatureError`]; only [`SignatureError::Invalid`] was paid for.
pub fn verify_signature(
    budget: &mut SignatureBudget,
    key: &SpkiView,
    algorithm: SignatureAlgorithm,
    message: &[u8],
    signature: &[u8],
) -> Result<(), SignatureError> {
    verify_legacy_signature(budget, key, algorithm, (message, signature), Legacy::REFUSED)
}

/// What is otherwise too weak and still counts, for keys that are known to do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Legacy {
    /// RSASSA-PKCS1-v1_5 with SHA-1.
    pub sha1: bool,
    /// RSA keys with the public exponent 3.
    pub small_exponent: bool,
}

impl Legacy {
    /// Nothing too weak counts.
    pub(crate) const REFUSED: Self = Self { sha1: false, small_exponent: false };
}

/// As [`verify_signature`], where what `legacy` says counts too.
pub(crate) fn verify_legacy_signature(
    budget: &mut SignatureBudget,
    key: &SpkiView,
    algorithm: SignatureAlgorithm,
    (message, signature): (&[u8], &[u8]),
    legacy: Legacy,
) -> Result<(), SignatureError> {
    check_hash(algorithm, legacy)?;
    let check = prepare(key, algorithm, message, signature, legacy)?.hashed();
    let identity = [key.as_der(), &algorithm.tag(), check.signed(), signature];
    budget.answer(&identity, || check.is_valid())
}

/// Whether the hash of an algorithm is strong enough.
fn check_hash(algorithm: SignatureAlgorithm, legacy: Legacy) -> Result<(), SignatureError> {
    match algorithm {
        SignatureAlgorithm::RsaPkcs1(HashAlg::Sha1) if legacy.sha1 => Ok(()),
        SignatureAlgorithm::Ecdsa(HashAlg::Sha1)
        | SignatureAlgorithm::RsaPkcs1(HashAlg::Sha1)
        | SignatureAlgorithm::RsaPss(HashAlg::Sha1, _) => Err(SignatureError::WeakAlgorithm { algorithm }),
        SignatureAlgorithm::Ecdsa(HashAlg::Sha256 | HashAlg::Sha384 | HashAlg::Sha512)
        | SignatureAlgorithm::RsaPkcs1(HashAlg::Sha256 | HashAlg::Sha384 | HashAlg::Sha512)
        | SignatureAlgorithm::RsaPss(HashAlg::Sha256 | HashAlg::Sha384 | HashAlg::Sha512, _)
        | SignatureAlgorithm::Ed25519
        | SignatureAlgorithm::MlDsa65 => Ok(()),
    }
}

/// Checks the signature of a certification authority, on a certificate or a revocation list. As
/// [`verify_signature`], but good answers may come from and go to the cache that requests share.
///
/// `sha256` is the digest of `message` where that is known already, so that long messages are not hashed for the
/// memory.
pub(crate) fn verify_authority_signature(
    budget: &mut SignatureBudget,
    key: &SpkiView,
    algorithm: SignatureAlgorithm,
    (message, sha256): (&[u8], Option<&[u8; MEMO_OCTETS]>),
    signature: &[u8],
    legacy: Legacy,
) -> Result<(), SignatureError> {
    check_hash(algorithm, legacy)?;
    let check = prepare(key, algorithm, message, signature, legacy)?;
    match sha256 {
        None => {
            let check = check.hashed();
            let identity = [key.as_der(), &algorithm.tag(), check.signed(), signature];
            budget.answer_shared(&identity, || check.is_valid())
        }
        Some(sha256) => {
            let identity = [key.as_der(), &algorithm.tag(), b"SHA-256", sha256.as_slice(), signature];
            budget.answer_shared(&identity, || check.is_valid())
        }
    }
}

/// A check whose key fits its algorithm, not made yet.
struct Check<'a> {
    kind: CheckKind<'a>,
    message: Message<'a>,
    signature: &'a [u8],
}

enum CheckKind<'a> {
    Ecdsa { verification: &'static dyn VerificationAlgorithm, hash: &'static digest::Algorithm, point: Vec<u8> },
    Ed25519 { point: &'a [u8] },
    MlDsa65 { key: &'a [u8] },
    Rsa { modulus: &'a [u8], exponent: &'a [u8], choices: Vec<&'static RsaParameters> },
}

/// What is signed, or its digest by the algorithm's hash where the algorithm can do with that.
enum Message<'a> {
    Octets(&'a [u8]),
    Digest(digest::Digest),
}

impl Check<'_> {
    /// The same check with its message hashed, where the algorithm allows, so that it is hashed once alone.
    fn hashed(self) -> Self {
        let message = match (&self.kind, self.message) {
            (CheckKind::Ecdsa { hash, .. }, Message::Octets(octets)) => Message::Digest(digest::digest(hash, octets)),
            (_, message) => message,
        };
        Self { message, ..self }
    }

    /// What identifies the message among all that are signed by one algorithm.
    fn signed(&self) -> &[u8] {
        match &self.message {
            Message::Octets(octets) => octets,
            Message::Digest(digest) => digest.as_ref(),
        }
    }

    fn is_valid(&self) -> bool {
        match (&self.kind, &self.message) {
            (CheckKind::Ecdsa { verification, point, .. }, Message::Digest(digest)) => {
                UnparsedPublicKey::new(*verification, point).verify_digest(digest, self.signature).is_ok()
            }
            (CheckKind::Ecdsa { verification, point, .. }, Message::Octets(octets)) => {
                UnparsedPublicKey::new(*verification, point).verify(octets, self.signature).is_ok()
            }
            (CheckKind::Ed25519 { point }, Message::Octets(octets)) => {
                UnparsedPublicKey::new(&lc::ED25519, point).verify(octets, self.signature).is_ok()
            }
            (CheckKind::MlDsa65 { key }, Message::Octets(octets)) => {
                UnparsedPublicKey::new(&lc::ML_DSA_65, key).verify(octets, self.signature).is_ok()
            }
            (CheckKind::Rsa { modulus, exponent, choices }, Message::Octets(octets)) => {
                rsa_valid(modulus, exponent, choices, octets, self.signature)
            }
            // Only what ECDSA signs is ever hashed here.
            (CheckKind::Ed25519 { .. } | CheckKind::MlDsa65 { .. } | CheckKind::Rsa { .. }, Message::Digest(_)) => {
                false
            }
        }
    }
}

/// Looks whether the key may be used with the algorithm and is strong enough; nothing is paid for.
fn prepare<'a>(
    key: &'a SpkiView,
    algorithm: SignatureAlgorithm,
    message: &'a [u8],
    signature: &'a [u8],
    legacy: Legacy,
) -> Result<Check<'a>, SignatureError> {
    let mismatch = SignatureError::KeyMismatch { algorithm };
    let kind = match (key.key(), algorithm) {
        (PublicKey::Rsa { modulus, exponent, scheme }, SignatureAlgorithm::RsaPkcs1(hash)) => {
            if *scheme != RsaScheme::Any {
                return Err(mismatch);
            }
            check_rsa_strength(modulus, exponent, legacy)?;
            CheckKind::Rsa { modulus, exponent, choices: vec![pkcs1_parameters(hash)] }
        }
        (PublicKey::Rsa { modulus, exponent, scheme }, SignatureAlgorithm::RsaPss(hash, salt)) => {
            if *scheme == RsaScheme::Oaep {
                return Err(mismatch);
            }
            check_rsa_strength(modulus, exponent, legacy)?;
            CheckKind::Rsa { modulus, exponent, choices: pss_parameters(hash, salt).ok_or(mismatch)? }
        }
        (PublicKey::Ec { curve, x, y }, SignatureAlgorithm::Ecdsa(hash)) => {
            let (verification, hash) = ecdsa_verification(*curve, hash).ok_or(mismatch)?;
            CheckKind::Ecdsa { verification, hash, point: [&[0x04], x.as_slice(), y.as_slice()].concat() }
        }
        (PublicKey::Ed25519(point), SignatureAlgorithm::Ed25519) => CheckKind::Ed25519 { point: point.as_slice() },
        (PublicKey::MlDsa65(key), SignatureAlgorithm::MlDsa65) => CheckKind::MlDsa65 { key },
        (
            PublicKey::Rsa { .. },
            SignatureAlgorithm::Ecdsa(_) | SignatureAlgorithm::Ed25519 | SignatureAlgorithm::MlDsa65,
        )
        | (
            PublicKey::Ec { .. },
            SignatureAlgorithm::Ed25519
            | SignatureAlgorithm::MlDsa65
            | SignatureAlgorithm::RsaPkcs1(_)
            | SignatureAlgorithm::RsaPss(..),
        )
        | (
            PublicKey::Ed25519(_),
            SignatureAlgorithm::Ecdsa(_)
            | SignatureAlgorithm::MlDsa65
            | SignatureAlgorithm::RsaPkcs1(_)
            | SignatureAlgorithm::RsaPss(..),
        )
        | (
            PublicKey::MlDsa65(_),
            SignatureAlgorithm::Ecdsa(_)
            | SignatureAlgorithm::Ed25519
            | SignatureAlgorithm::RsaPkcs1(_)
            | SignatureAlgorithm::RsaPss(..),
        )
        | (PublicKey::Unknown { .. }, _) => return Err(mismatch),
    };
    Ok(Check { kind, message: Message::Octets(message), signature })
}

/// Checks a TPM's signature over `message`, which the TPM hashed itself.
///
/// As [`verify_signature`], with the algorithm that the TPMT_SIGNATURE names. r and s are taken as integers
/// of any padding; zero and anything wider than the curve is refused.
///
/// # Errors
/// A [`SignatureError`].
pub fn verify_tpm_signature(
    budget: &mut SignatureBudget,
    key: &SpkiView,
    signature: &TpmtSignature,
    message: &[u8],
) -> Result<(), SignatureError> {
    match signature {
        TpmtSignature::Ecdsa { hash, r, s } => {
            let value = ecdsa_sig_value(r, s).ok_or(SignatureError::Invalid)?;
            verify_signature(budget, key, SignatureAlgorithm::Ecdsa(*hash), message, &value)
        }
        TpmtSignature::Rsapss { hash, signature } => {
            let algorithm = SignatureAlgorithm::RsaPss(*hash, PssSalt::DigestOrLongest);
            verify_signature(budget, key, algorithm, message, signature)
        }
        TpmtSignature::Rsassa { hash, signature } => {
            verify_signature(budget, key, SignatureAlgorithm::RsaPkcs1(*hash), message, signature)
        }
    }
}

fn check_rsa_strength(modulus: &[u8], exponent: &[u8], legacy: Legacy) -> Result<(), SignatureError> {
    let modulus_bits = bits(modulus);
    let large = exponent.len() > RSA_EXPONENT_MIN.len()
        || (exponent.len() == RSA_EXPONENT_MIN.len() && exponent >= RSA_EXPONENT_MIN.as_slice());
    let large = large || (legacy.small_exponent && exponent == RSA_EXPONENT_SMALL);
    let odd = exponent.last().is_some_and(|last| last & 1 == 1);
    if modulus_bits < RSA_BITS_ACCEPTED_MIN || !large || !odd {
        return Err(SignatureError::WeakKey { modulus_bits });
    }
    Ok(())
}

/// Significant bits of a big-endian integer without leading zero octets.
fn bits(integer: &[u8]) -> usize {
    let Some(first) = integer.first() else { return 0 };
    let unused = usize::try_from(first.leading_zeros()).unwrap_or(0);
    integer.len() * 8 - unused
}

fn rsa_valid(modulus: &[u8], exponent: &[u8], choices: &[&RsaParameters], message: &[u8], signature: &[u8]) -> bool {
    let key = lc::RsaPublicKeyComponents { n: modulus, e: exponent };
    choices.iter().any(|parameters| key.verify(parameters, message, signature).is_ok())
}

/// The callers decide whether SHA-1 is accepted.
const fn pkcs1_parameters(hash: HashAlg) -> &'static RsaParameters {
    match hash {
        HashAlg::Sha1 => &lc::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
        HashAlg::Sha256 => &lc::RSA_PKCS1_2048_8192_SHA256,
        HashAlg::Sha384 => &lc::RSA_PKCS1_2048_8192_SHA384,
        HashAlg::Sha512 => &lc::RSA_PKCS1_2048_8192_SHA512,
    }
}

fn pss_parameters(hash: HashAlg, salt: PssSalt) -> Option<Vec<&'static RsaParameters>> {
    const LONGEST: RsaPssSaltLength = RsaPssSaltLength::Max;
    let (digest, longest): (&RsaParameters, &RsaParameters) = match hash {
        HashAlg::Sha1 => return None,
        HashAlg::Sha256 => {
            (&lc::RSA_PSS_2048_8192_SHA256, &const { lc::RSA_PSS_2048_8192_SHA256.with_pss_salt_length(LONGEST) })
        }
        HashAlg::Sha384 => {
            (&lc::RSA_PSS_2048_8192_SHA384, &const { lc::RSA_PSS_2048_8192_SHA384.with_pss_salt_length(LONGEST) })
        }
        HashAlg::Sha512 => {
            (&lc::RSA_PSS_2048_8192_SHA512, &const { lc::RSA_PSS_2048_8192_SHA512.with_pss_salt_length(LONGEST) })
        }
    };
    Some(match salt {
        PssSalt::Digest => vec![digest],
        PssSalt::DigestOrLongest => vec![digest, longest],
    })
}

/// The check for a curve and a hash, with the hash; `None` for SHA-1.
fn ecdsa_verification(
    curve: NamedCurve,
    hash: HashAlg,
) -> Option<(&'static dyn VerificationAlgorithm, &'static digest::Algorithm)> {
    let verification: &dyn VerificationAlgorithm = match (curve, hash) {
        (_, HashAlg::Sha1) => return None,
        (NamedCurve::P256, HashAlg::Sha256) => &lc::ECDSA_P256_SHA256_ASN1,
        (NamedCurve::P256, HashAlg::Sha384) => &lc::ECDSA_P256_SHA384_ASN1,
        (NamedCurve::P256, HashAlg::Sha512) => &lc::ECDSA_P256_SHA512_ASN1,
        (NamedCurve::P384, HashAlg::Sha256) => &lc::ECDSA_P384_SHA256_ASN1,
        (NamedCurve::P384, HashAlg::Sha384) => &lc::ECDSA_P384_SHA384_ASN1,
        (NamedCurve::P384, HashAlg::Sha512) => &lc::ECDSA_P384_SHA512_ASN1,
        (NamedCurve::P521, HashAlg::Sha256) => &lc::ECDSA_P521_SHA256_ASN1,
        (NamedCurve::P521, HashAlg::Sha384) => &lc::ECDSA_P521_SHA384_ASN1,
        (NamedCurve::P521, HashAlg::Sha512) => &lc::ECDSA_P521_SHA512_ASN1,
    };
    let hash = match hash {
        HashAlg::Sha1 => return None,
        HashAlg::Sha256 => &digest::SHA256,
        HashAlg::Sha384 => &digest::SHA384,
        HashAlg::Sha512 => &digest::SHA512,
    };
    Some((verification, hash))
}

/// Octets of the widest r or s (P-521).
const ECDSA_INTEGER_OCTETS_MAX: usize = 66;

/// The DER ECDSA-Sig-Value of r and s; `None` when one of them is zero or wider than any curve.
///
/// Whether they are below the group order is the check's business.
fn ecdsa_sig_value(r: &[u8], s: &[u8]) -> Option<Vec<u8>> {
    let body = [positive_integer(r)?, positive_integer(s)?].concat();
    let length = u8::try_from(body.len()).ok()?;
    let header = if length < 0x80 { vec![0x30, length] } else { vec![0x30, 0x81, length] };
    Some([header, body].concat())
}

/// A DER INTEGER of a positive big-endian number of any padding.
fn positive_integer(octets: &[u8]) -> Option<Vec<u8>> {
    let start = octets.iter().position(|octet| *octet != 0)?;
    let (_, significant) = octets.split_at_checked(start)?;
    if significant.len() > ECDSA_INTEGER_OCTETS_MAX {
        return None;
    }
    let sign: &[u8] = if significant.first()? & 0x80 == 0 { &[] } else { &[0x00] };
    let length = u8::try_from(sign.len() + significant.len()).ok()?;
    Some([&[0x02, length], sign, significant].concat())
}
