//! TPMT_SIGNATURE (Part 2, "Signatures"), and the two encodings in which attestation statements carry it.

use super::HashAlg;
use super::alg;
use super::marshal::{Reader, Writer};
use crate::limits::{RSA_BITS_MAX, TPM_DIGEST_OCTETS};
use crate::{Malformed, Reason};

const PRODUCTION: &str = "TPMT_SIGNATURE";
/// Octets of the largest ECC field element (P-521).
const ECC_OCTETS: usize = 66;

/// TPMT_SIGNATURE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TpmtSignature {
    /// ECDSA.
    Ecdsa {
        /// The hash that was signed.
        hash: HashAlg,
        /// r, big-endian; some TPMs drop leading zero octets.
        r: Vec<u8>,
        /// s, likewise.
        s: Vec<u8>,
    },
    /// PSS.
    Rsapss {
        /// The hash that was signed.
        hash: HashAlg,
        /// The signature, as long as the modulus.
        signature: Vec<u8>,
    },
    /// PKCS #1 v1.5.
    Rsassa {
        /// The hash that was signed.
        hash: HashAlg,
        /// The signature, as long as the modulus.
        signature: Vec<u8>,
    },
}

impl TpmtSignature {
    /// Parses exactly one signature.
    ///
    /// # Errors
    /// [`Malformed`] for other algorithms (an HMAC proves nothing to a third party), sizes out of bounds or
    /// octets left over.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes, PRODUCTION);
        let signature = Self::read(&mut r)?;
        r.finish()?;
        Ok(signature)
    }

    /// Reads one signature from `reader`, as a TPM's response holds it.
    ///
    /// # Errors
    /// As [`TpmtSignature::parse`], but for octets left over.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let kind = reader.u16()?;
        if !matches!(kind, alg::RSASSA | alg::RSAPSS | alg::ECDSA) {
            return Err(reader.error(Reason::BadValue(kind.into())));
        }
        let id = reader.u16()?;
        let hash = HashAlg::from_id(id).ok_or_else(|| reader.error(Reason::BadValue(id.into())))?;
        if kind == alg::ECDSA {
            let r = reader.tpm2b(ECC_OCTETS)?.to_vec();
            let s = reader.tpm2b(ECC_OCTETS)?.to_vec();
            return Ok(Self::Ecdsa { hash, r, s });
        }
        let signature = reader.tpm2b(RSA_BITS_MAX / 8)?.to_vec();
        Ok(if kind == alg::RSASSA { Self::Rsassa { hash, signature } } else { Self::Rsapss { hash, signature } })
    }

    /// The marshaled signature.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut w = Writer::new();
        match self {
            Self::Ecdsa { hash, r, s } => w.u16(alg::ECDSA).u16(hash.id()).tpm2b(r).tpm2b(s),
            Self::Rsapss { hash, signature } => w.u16(alg::RSAPSS).u16(hash.id()).tpm2b(signature),
            Self::Rsassa { hash, signature } => w.u16(alg::RSASSA).u16(hash.id()).tpm2b(signature),
        };
        w.into_bytes()
    }

    /// The hash that was signed.
    #[must_use]
    pub const fn hash(&self) -> HashAlg {
        match self {
            Self::Ecdsa { hash, .. } | Self::Rsapss { hash, .. } | Self::Rsassa { hash, .. } => *hash,
        }
    }
}

/// The `signature` field of a TPM statement, in either of the encodings that presenters use.
///
/// draft-ietf-lamps-csr-attestation leaves it to the statement, whose text says TPMT_SIGNATURE while
/// `tpm2_certify -f plain` writes the bare signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttestationSignature {
    /// A DER `ECDSA-Sig-Value` (RFC 3279, 2.2.3) that says no hash.
    RawEcdsa(Vec<u8>),
    /// A bare RSA signature that says neither scheme nor hash.
    RawRsa(Vec<u8>),
    /// A marshaled TPMT_SIGNATURE.
    Tpmt(TpmtSignature),
}

/// First octet of a DER SEQUENCE, with which an `ECDSA-Sig-Value` begins.
const DER_SEQUENCE: u8 = 0x30;
/// First octet of every TPM_ALG_ID that names a signature scheme.
const ALG_ID_HIGH: u8 = 0x00;

impl AttestationSignature {
    /// Tells the encodings apart, given the octets of the signer's RSA modulus, or `None` for an ECC signer.
    ///
    /// An RSA signature is raw when it is exactly as long as the modulus; a marshaled one is six octets
    /// longer. An ECDSA one is raw when it begins as a DER SEQUENCE, which no TPM_ALG_ID does.
    ///
    /// # Errors
    /// [`Malformed`] for anything that is neither.
    pub fn parse(bytes: &[u8], rsa_modulus_octets: Option<usize>) -> Result<Self, Malformed> {
        match (rsa_modulus_octets, bytes.first()) {
            (Some(octets), _) if octets == bytes.len() => Ok(Self::RawRsa(bytes.to_vec())),
            (None, Some(&DER_SEQUENCE)) => Ok(Self::RawEcdsa(bytes.to_vec())),
            _ => TpmtSignature::parse(bytes).map(Self::Tpmt),
        }
    }

    /// Whether `bytes` could be a signature field at all, for telling the parts of evidence apart.
    #[must_use]
    pub fn is_plausible(bytes: &[u8]) -> bool {
        let marshaled = bytes.first() == Some(&ALG_ID_HIGH) && TpmtSignature::parse(bytes).is_ok();
        let modulus_sized = (128..=RSA_BITS_MAX / 8).contains(&bytes.len()) && bytes.len().is_multiple_of(64);
        marshaled || modulus_sized || bytes.len() <= 2 * TPM_DIGEST_OCTETS + 16 && bytes.first() == Some(&DER_SEQUENCE)
    }
}
