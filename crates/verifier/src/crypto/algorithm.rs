//! Signature algorithms, and the AlgorithmIdentifiers that name them.

use std::fmt;

use thiserror::Error;
use vouchsafe_evidence::tpm::HashAlg;

/// A signature algorithm together with its hash.
///
/// SHA-1 can be named, so that a refusal can say what was found; no check accepts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SignatureAlgorithm {
    /// ECDSA (RFC 5758, section 3.2) with the key's curve and this hash; the signature is an ECDSA-Sig-Value.
    Ecdsa(HashAlg),
    /// Ed25519 (RFC 8410).
    Ed25519,
    /// ML-DSA-65, pure, with an empty context (FIPS 204; RFC 9881).
    MlDsa65,
    /// RSASSA-PKCS1-v1_5 (RFC 8017, section 8.2).
    RsaPkcs1(HashAlg),
    /// RSASSA-PSS (RFC 8017, section 8.1) with MGF1 over the same hash.
    RsaPss(HashAlg, PssSalt),
}

/// How long the salt of an RSASSA-PSS signature is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PssSalt {
    /// As long as the digest: the only length that certificates may name here.
    Digest,
    /// As long as the digest or as the modulus allows, the two lengths that TPMs use (Part 1, "RSASSA_PSS").
    DigestOrLongest,
}

/// An AlgorithmIdentifier that names no algorithm accepted here, or names one with other parameters.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the signature algorithm is not supported, or its parameters are not those its standard demands")]
pub struct UnsupportedAlgorithm;

/// id-sha256 to id-sha512 differ in their last arc.
const SHA2_OID: [u8; 8] = [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02];
const RSA_PKCS1_OID: [u8; 8] = [0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01];
const ECDSA_OID: [u8; 6] = [0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04];
/// The arc of signature algorithms of NIST, nistAlgorithms 3.
const NIST_SIGNATURE_OID: [u8; 8] = [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03];
const ML_DSA_65_ARC: u8 = 18;
const MGF1_ARC: u8 = 8;
const PSS_ARC: u8 = 10;

impl SignatureAlgorithm {
    /// Reads a DER AlgorithmIdentifier.
    ///
    /// An algorithm has one encoding, or two where its standard tells implementations to read absent
    /// parameters like NULL (RFC 4055, sections 2.1 and 5), so encodings are compared as a whole.
    ///
    /// - ECDSA: parameters absent (RFC 5758, section 3.2).
    /// - Ed25519: parameters absent (RFC 8410, section 3).
    /// - ML-DSA-65: parameters absent (RFC 9881, section 2).
    /// - RSASSA-PKCS1-v1_5: parameters NULL or absent (RFC 4055, section 5).
    /// - RSASSA-PSS: SHA-2, MGF1 with the same hash, salt as long as the digest, default trailer (RFC 4055, section 3.1).
    ///
    /// # Errors
    /// [`UnsupportedAlgorithm`] for everything else.
    pub fn from_der(identifier: &[u8]) -> Result<Self, UnsupportedAlgorithm> {
        CERTIFICATE_ALGORITHMS
            .into_iter()
            .find(|algorithm| algorithm.identifiers().iter().any(|known| known == identifier))
            .ok_or(UnsupportedAlgorithm)
    }

    /// The hash, where the algorithm leaves a choice.
    #[must_use]
    pub const fn hash(self) -> Option<HashAlg> {
        match self {
            Self::Ecdsa(hash) | Self::RsaPkcs1(hash) | Self::RsaPss(hash, _) => Some(hash),
            Self::Ed25519 | Self::MlDsa65 => None,
        }
    }

    /// Every DER AlgorithmIdentifier that names this algorithm, the preferred one first.
    fn identifiers(self) -> Vec<Vec<u8>> {
        match self {
            Self::Ecdsa(hash) => vec![sequence(&[&ecdsa_oid(hash)])],
            Self::Ed25519 => vec![sequence(&[&tlv(0x06, &[&[0x2B, 0x65, 0x70]])])],
            Self::MlDsa65 => vec![sequence(&[&tlv(0x06, &[&NIST_SIGNATURE_OID, &[ML_DSA_65_ARC]])])],
            Self::RsaPkcs1(hash) => {
                let arc = match hash {
                    HashAlg::Sha1 => 5,
                    HashAlg::Sha256 => 11,
                    HashAlg::Sha384 => 12,
                    HashAlg::Sha512 => 13,
                };
                let oid = tlv(0x06, &[&RSA_PKCS1_OID, &[arc]]);
                vec![sequence(&[&oid, &NULL]), sequence(&[&oid])]
            }
            Self::RsaPss(hash, _) => [&NULL[..], &[]].into_iter().filter_map(|null| pss(hash, null)).collect(),
        }
    }

    /// Octets that tell this algorithm from every other.
    pub(super) const fn tag(self) -> [u8; 2] {
        match self {
            Self::Ecdsa(hash) => [0, hash_tag(hash)],
            Self::Ed25519 => [1, 0],
            Self::RsaPkcs1(hash) => [2, hash_tag(hash)],
            Self::RsaPss(hash, PssSalt::Digest) => [3, hash_tag(hash)],
            Self::RsaPss(hash, PssSalt::DigestOrLongest) => [4, hash_tag(hash)],
            Self::MlDsa65 => [5, 0],
        }
    }
}

impl fmt::Display for SignatureAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ecdsa(hash) => write!(f, "ECDSA with {}", hash_name(*hash)),
            Self::Ed25519 => f.write_str("Ed25519"),
            Self::MlDsa65 => f.write_str("ML-DSA-65"),
            Self::RsaPkcs1(hash) => write!(f, "RSASSA-PKCS1-v1_5 with {}", hash_name(*hash)),
            Self::RsaPss(hash, _) => write!(f, "RSASSA-PSS with {}", hash_name(*hash)),
        }
    }
}

/// The algorithms that a certificate can name, the weak ones included.
const CERTIFICATE_ALGORITHMS: [SignatureAlgorithm; 13] = [
    SignatureAlgorithm::Ecdsa(HashAlg::Sha256),
    SignatureAlgorithm::RsaPkcs1(HashAlg::Sha256),
    SignatureAlgorithm::Ecdsa(HashAlg::Sha384),
    SignatureAlgorithm::RsaPkcs1(HashAlg::Sha384),
    SignatureAlgorithm::Ecdsa(HashAlg::Sha512),
    SignatureAlgorithm::RsaPkcs1(HashAlg::Sha512),
    SignatureAlgorithm::Ed25519,
    SignatureAlgorithm::MlDsa65,
    SignatureAlgorithm::RsaPss(HashAlg::Sha256, PssSalt::Digest),
    SignatureAlgorithm::RsaPss(HashAlg::Sha384, PssSalt::Digest),
    SignatureAlgorithm::RsaPss(HashAlg::Sha512, PssSalt::Digest),
    SignatureAlgorithm::Ecdsa(HashAlg::Sha1),
    SignatureAlgorithm::RsaPkcs1(HashAlg::Sha1),
];

const NULL: [u8; 2] = [0x05, 0x00];

const fn hash_tag(hash: HashAlg) -> u8 {
    match hash {
        HashAlg::Sha1 => 0,
        HashAlg::Sha256 => 1,
        HashAlg::Sha384 => 2,
        HashAlg::Sha512 => 3,
    }
}

const fn hash_name(hash: HashAlg) -> &'static str {
    match hash {
        HashAlg::Sha1 => "SHA-1",
        HashAlg::Sha256 => "SHA-256",
        HashAlg::Sha384 => "SHA-384",
        HashAlg::Sha512 => "SHA-512",
    }
}

fn ecdsa_oid(hash: HashAlg) -> Vec<u8> {
    match hash {
        HashAlg::Sha1 => tlv(0x06, &[&ECDSA_OID, &[1]]),
        HashAlg::Sha256 => tlv(0x06, &[&ECDSA_OID, &[3, 2]]),
        HashAlg::Sha384 => tlv(0x06, &[&ECDSA_OID, &[3, 3]]),
        HashAlg::Sha512 => tlv(0x06, &[&ECDSA_OID, &[3, 4]]),
    }
}

/// The AlgorithmIdentifier of RSASSA-PSS; `None` for SHA-1, whose parameters are all defaults.
fn pss(hash: HashAlg, null: &[u8]) -> Option<Vec<u8>> {
    let (arc, salt_octets) = match hash {
        HashAlg::Sha1 => return None,
        HashAlg::Sha256 => (1, 32),
        HashAlg::Sha384 => (2, 48),
        HashAlg::Sha512 => (3, 64),
    };
    let digest = sequence(&[&tlv(0x06, &[&SHA2_OID, &[arc]]), null]);
    let mask = sequence(&[&tlv(0x06, &[&RSA_PKCS1_OID, &[MGF1_ARC]]), &digest]);
    let parameters =
        sequence(&[&tlv(0xA0, &[&digest]), &tlv(0xA1, &[&mask]), &tlv(0xA2, &[&[0x02, 0x01, salt_octets]])]);
    Some(sequence(&[&tlv(0x06, &[&RSA_PKCS1_OID, &[PSS_ARC]]), &parameters]))
}

fn sequence(contents: &[&[u8]]) -> Vec<u8> {
    tlv(0x30, contents)
}

/// A DER value of fewer than 128 octets; AlgorithmIdentifiers of signatures are never longer.
fn tlv(tag: u8, contents: &[&[u8]]) -> Vec<u8> {
    let contents = contents.concat();
    let length = u8::try_from(contents.len()).unwrap_or(u8::MAX);
    [&[tag, length], contents.as_slice()].concat()
}
