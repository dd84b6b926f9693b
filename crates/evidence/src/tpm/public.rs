//! TPMT_PUBLIC (Part 2, "Public area"): the public part of a TPM object, which its Name commits to.

use super::alg;
use super::marshal::{Reader, Writer};
use super::{Curve, HashAlg, Name, ObjectAttributes};
use crate::limits::{RSA_BITS_MAX, RSA_BITS_MIN, TPM_DIGEST_OCTETS, TPM_STRUCTURE_OCTETS};
use crate::x509::{NamedCurve, SpkiView};
use crate::{Malformed, Reason};

const PRODUCTION: &str = "TPMT_PUBLIC";
/// An RSA exponent of zero in a public area stands for this one.
const DEFAULT_EXPONENT: u32 = 65_537;

/// TPMT_SYM_DEF_OBJECT: the symmetric algorithm by which a parent protects its children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Symmetric {
    /// TPM_ALG_NULL.
    Null,
    /// AES with a key size in bits and a mode (TPM_ALG_CFB for every parent).
    Aes {
        /// Key size: 128, 192 or 256.
        key_bits: u16,
        /// TPM_ALG_ID of the mode.
        mode: u16,
    },
}

/// TPMT_RSA_SCHEME of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RsaScheme {
    /// The caller chooses at each use.
    Null,
    /// PKCS #1 v1.5 signatures.
    Rsassa(HashAlg),
    /// PSS signatures.
    Rsapss(HashAlg),
    /// PKCS #1 v1.5 encryption.
    Rsaes,
    /// OAEP encryption.
    Oaep(HashAlg),
}

/// TPMT_ECC_SCHEME of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EccScheme {
    /// The caller chooses at each use.
    Null,
    /// ECDSA.
    Ecdsa(HashAlg),
    /// ECDH.
    Ecdh(HashAlg),
}

/// TPMT_KEYEDHASH_SCHEME of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyedHashScheme {
    /// Sealed data, or chosen at use.
    Null,
    /// HMAC.
    Hmac(HashAlg),
    /// XOR obfuscation; with `decrypt` and `restricted`, a derivation parent.
    Xor {
        /// The hash of the mask.
        hash: HashAlg,
        /// TPM_ALG_ID of the key derivation function.
        kdf: u16,
    },
}

/// TPMU_PUBLIC_PARMS and TPMU_PUBLIC_ID: what depends on the type of the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicParameters {
    /// TPM_ALG_RSA.
    Rsa {
        /// Protection of children.
        symmetric: Symmetric,
        /// The scheme fixed for the key.
        scheme: RsaScheme,
        /// Modulus size in bits.
        key_bits: u16,
        /// The public exponent as marshaled: 0 stands for 65537.
        exponent: u32,
        /// The modulus, big-endian; empty in a template.
        modulus: Vec<u8>,
    },
    /// TPM_ALG_ECC.
    Ecc {
        /// Protection of children.
        symmetric: Symmetric,
        /// The scheme fixed for the key.
        scheme: EccScheme,
        /// The curve.
        curve: Curve,
        /// Affine x, big-endian, perhaps shorter than the field; empty in a template.
        x: Vec<u8>,
        /// Affine y, likewise.
        y: Vec<u8>,
    },
    /// TPM_ALG_KEYEDHASH.
    KeyedHash {
        /// The scheme.
        scheme: KeyedHashScheme,
        /// Commitment to the sensitive data.
        unique: Vec<u8>,
    },
    /// TPM_ALG_SYMCIPHER.
    SymCipher {
        /// The cipher.
        symmetric: Symmetric,
        /// Commitment to the key.
        unique: Vec<u8>,
    },
}

/// TPMT_PUBLIC, with the exact bytes that its Name hashes.
///
/// ```text
/// type u16 | nameAlg u16 | objectAttributes u32 | TPM2B authPolicy | parameters | unique
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TpmtPublic {
    bytes: Vec<u8>,
    name_alg: Option<HashAlg>,
    attributes: ObjectAttributes,
    auth_policy: Vec<u8>,
    parameters: PublicParameters,
}

impl TpmtPublic {
    /// Parses exactly one public area.
    ///
    /// # Errors
    /// [`Malformed`] for unknown algorithms, an authPolicy of another length than nameAlg's digest, key
    /// material larger than its type allows, or octets left over.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes, PRODUCTION);
        if bytes.len() > TPM_STRUCTURE_OCTETS {
            return Err(r.error(Reason::OverLimit { what: PRODUCTION, limit: TPM_STRUCTURE_OCTETS }));
        }
        let kind = r.u16()?;
        let name_alg = match r.u16()? {
            alg::NULL => None,
            id => Some(hash_from(id, &r)?),
        };
        let attributes = ObjectAttributes::from_bits(r.u32()?);
        let auth_policy = r.tpm2b(TPM_DIGEST_OCTETS)?.to_vec();
        let policy_fits = auth_policy.is_empty() || name_alg.is_some_and(|alg| alg.digest_len() == auth_policy.len());
        if !policy_fits {
            return Err(r.error(Reason::Unexpected("an authPolicy as long as nameAlg's digest, or empty")));
        }
        let parameters = match kind {
            alg::RSA => read_rsa(&mut r)?,
            alg::ECC => read_ecc(&mut r)?,
            alg::KEYEDHASH => read_keyed_hash(&mut r)?,
            alg::SYMCIPHER => PublicParameters::SymCipher {
                symmetric: read_symmetric(&mut r)?,
                unique: r.tpm2b(TPM_DIGEST_OCTETS)?.to_vec(),
            },
            other => return Err(Malformed::new(PRODUCTION, 0, Reason::BadValue(other.into()))),
        };
        r.finish()?;
        Ok(Self { bytes: bytes.to_vec(), name_alg, attributes, auth_policy, parameters })
    }

    /// Marshals a public area, or a template where the key material is left empty.
    #[must_use]
    pub fn build(
        name_alg: Option<HashAlg>,
        attributes: ObjectAttributes,
        auth_policy: &[u8],
        parameters: PublicParameters,
    ) -> Self {
        let mut public =
            Self { bytes: Vec::new(), name_alg, attributes, auth_policy: auth_policy.to_vec(), parameters };
        public.bytes = public.to_bytes();
        public
    }

    /// The bytes that were parsed: the ones to hash for the Name.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The structure marshaled anew; equal to [`TpmtPublic::as_bytes`] for whatever parses.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u16(self.kind())
            .u16(self.name_alg.map_or(alg::NULL, HashAlg::id))
            .u32(self.attributes.bits())
            .tpm2b(&self.auth_policy);
        write_parameters(&mut w, &self.parameters);
        w.into_bytes()
    }

    const fn kind(&self) -> u16 {
        match self.parameters {
            PublicParameters::Rsa { .. } => alg::RSA,
            PublicParameters::Ecc { .. } => alg::ECC,
            PublicParameters::KeyedHash { .. } => alg::KEYEDHASH,
            PublicParameters::SymCipher { .. } => alg::SYMCIPHER,
        }
    }

    /// The hash of the object's Name; `None` for TPM_ALG_NULL, when it has no Name.
    #[must_use]
    pub const fn name_alg(&self) -> Option<HashAlg> {
        self.name_alg
    }

    /// The object's attributes.
    #[must_use]
    pub const fn attributes(&self) -> ObjectAttributes {
        self.attributes
    }

    /// The object's authorization policy digest; empty where it has none.
    #[must_use]
    pub fn auth_policy(&self) -> &[u8] {
        &self.auth_policy
    }

    /// What depends on the object's type.
    #[must_use]
    pub const fn parameters(&self) -> &PublicParameters {
        &self.parameters
    }

    /// The object's Name, computed from the bytes as they were parsed.
    #[must_use]
    pub fn name(&self) -> Option<Name> {
        Name::of(self)
    }

    /// The public key as certificates carry it; `None` for objects that are no asymmetric keys, and for key
    /// material that no certificate could carry.
    #[must_use]
    pub fn spki(&self) -> Option<SpkiView> {
        match &self.parameters {
            PublicParameters::Rsa { modulus, .. } => {
                let exponent = self.rsa_exponent()?.to_be_bytes();
                let significant: Vec<u8> = exponent.into_iter().skip_while(|octet| *octet == 0).collect();
                SpkiView::from_rsa(modulus, &significant).ok()
            }
            PublicParameters::Ecc { curve, x, y, .. } => SpkiView::from_ec(NamedCurve::from(*curve), x, y).ok(),
            PublicParameters::KeyedHash { .. } | PublicParameters::SymCipher { .. } => None,
        }
    }

    /// The hash of the signing scheme fixed for the key; `None` where the caller may choose or the object does not sign.
    #[must_use]
    pub const fn signing_hash(&self) -> Option<HashAlg> {
        match &self.parameters {
            PublicParameters::Rsa { scheme: RsaScheme::Rsassa(hash) | RsaScheme::Rsapss(hash), .. }
            | PublicParameters::Ecc { scheme: EccScheme::Ecdsa(hash), .. } => Some(*hash),
            PublicParameters::Rsa { scheme: RsaScheme::Null | RsaScheme::Rsaes | RsaScheme::Oaep(_), .. }
            | PublicParameters::Ecc { scheme: EccScheme::Null | EccScheme::Ecdh(_), .. }
            | PublicParameters::KeyedHash { .. }
            | PublicParameters::SymCipher { .. } => None,
        }
    }

    /// The RSA exponent in force, with zero read as 65537; `None` for other keys.
    #[must_use]
    pub const fn rsa_exponent(&self) -> Option<u32> {
        match &self.parameters {
            PublicParameters::Rsa { exponent: 0, .. } => Some(DEFAULT_EXPONENT),
            PublicParameters::Rsa { exponent, .. } => Some(*exponent),
            PublicParameters::Ecc { .. } | PublicParameters::KeyedHash { .. } | PublicParameters::SymCipher { .. } => {
                None
            }
        }
    }
}

fn hash_from(id: u16, r: &Reader<'_>) -> Result<HashAlg, Malformed> {
    HashAlg::from_id(id).ok_or_else(|| r.error(Reason::BadValue(id.into())))
}

fn read_hash(r: &mut Reader<'_>) -> Result<HashAlg, Malformed> {
    let id = r.u16()?;
    hash_from(id, r)
}

fn read_symmetric(r: &mut Reader<'_>) -> Result<Symmetric, Malformed> {
    match r.u16()? {
        alg::NULL => Ok(Symmetric::Null),
        alg::AES => {
            let key_bits = r.u16()?;
            let mode = r.u16()?;
            let known_size = matches!(key_bits, 128 | 192 | 256);
            let known_mode = matches!(mode, alg::CTR..=alg::CFB | alg::NULL);
            if !(known_size && known_mode) {
                return Err(r.error(Reason::Unexpected("AES with a known key size and mode")));
            }
            Ok(Symmetric::Aes { key_bits, mode })
        }
        other => Err(r.error(Reason::BadValue(other.into()))),
    }
}

fn write_symmetric(w: &mut Writer, symmetric: Symmetric) {
    match symmetric {
        Symmetric::Null => w.u16(alg::NULL),
        Symmetric::Aes { key_bits, mode } => w.u16(alg::AES).u16(key_bits).u16(mode),
    };
}

fn read_rsa(r: &mut Reader<'_>) -> Result<PublicParameters, Malformed> {
    let symmetric = read_symmetric(r)?;
    let scheme = match r.u16()? {
        alg::NULL => RsaScheme::Null,
        alg::RSASSA => RsaScheme::Rsassa(read_hash(r)?),
        alg::RSAPSS => RsaScheme::Rsapss(read_hash(r)?),
        alg::RSAES => RsaScheme::Rsaes,
        alg::OAEP => RsaScheme::Oaep(read_hash(r)?),
        other => return Err(r.error(Reason::BadValue(other.into()))),
    };
    let key_bits = r.u16()?;
    let bits = usize::from(key_bits);
    if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) || bits % 8 != 0 {
        return Err(r.error(Reason::BadValue(key_bits.into())));
    }
    let exponent = r.u32()?;
    let modulus = r.tpm2b(bits / 8)?.to_vec();
    Ok(PublicParameters::Rsa { symmetric, scheme, key_bits, exponent, modulus })
}

fn read_ecc(r: &mut Reader<'_>) -> Result<PublicParameters, Malformed> {
    let symmetric = read_symmetric(r)?;
    let scheme = match r.u16()? {
        alg::NULL => EccScheme::Null,
        alg::ECDSA => EccScheme::Ecdsa(read_hash(r)?),
        alg::ECDH => EccScheme::Ecdh(read_hash(r)?),
        other => return Err(r.error(Reason::BadValue(other.into()))),
    };
    let id = r.u16()?;
    let curve = Curve::from_id(id).ok_or_else(|| r.error(Reason::BadValue(id.into())))?;
    // Part 2, TPMS_ECC_PARMS: no key derivation scheme is defined for any command, so only NULL occurs.
    let kdf = r.u16()?;
    if kdf != alg::NULL {
        return Err(r.error(Reason::BadValue(kdf.into())));
    }
    let x = r.tpm2b(curve.field_len())?.to_vec();
    let y = r.tpm2b(curve.field_len())?.to_vec();
    Ok(PublicParameters::Ecc { symmetric, scheme, curve, x, y })
}

fn read_keyed_hash(r: &mut Reader<'_>) -> Result<PublicParameters, Malformed> {
    let scheme = match r.u16()? {
        alg::NULL => KeyedHashScheme::Null,
        alg::HMAC => KeyedHashScheme::Hmac(read_hash(r)?),
        alg::XOR => KeyedHashScheme::Xor { hash: read_hash(r)?, kdf: r.u16()? },
        other => return Err(r.error(Reason::BadValue(other.into()))),
    };
    Ok(PublicParameters::KeyedHash { scheme, unique: r.tpm2b(TPM_DIGEST_OCTETS)?.to_vec() })
}

fn write_parameters(w: &mut Writer, parameters: &PublicParameters) {
    match parameters {
        PublicParameters::Rsa { symmetric, scheme, key_bits, exponent, modulus } => {
            write_symmetric(w, *symmetric);
            match scheme {
                RsaScheme::Null => w.u16(alg::NULL),
                RsaScheme::Rsassa(hash) => w.u16(alg::RSASSA).u16(hash.id()),
                RsaScheme::Rsapss(hash) => w.u16(alg::RSAPSS).u16(hash.id()),
                RsaScheme::Rsaes => w.u16(alg::RSAES),
                RsaScheme::Oaep(hash) => w.u16(alg::OAEP).u16(hash.id()),
            };
            w.u16(*key_bits).u32(*exponent).tpm2b(modulus);
        }
        PublicParameters::Ecc { symmetric, scheme, curve, x, y } => {
            write_symmetric(w, *symmetric);
            match scheme {
                EccScheme::Null => w.u16(alg::NULL),
                EccScheme::Ecdsa(hash) => w.u16(alg::ECDSA).u16(hash.id()),
                EccScheme::Ecdh(hash) => w.u16(alg::ECDH).u16(hash.id()),
            };
            w.u16(curve.id()).u16(alg::NULL).tpm2b(x).tpm2b(y);
        }
        PublicParameters::KeyedHash { scheme, unique } => {
            match scheme {
                KeyedHashScheme::Null => w.u16(alg::NULL),
                KeyedHashScheme::Hmac(hash) => w.u16(alg::HMAC).u16(hash.id()),
                KeyedHashScheme::Xor { hash, kdf } => w.u16(alg::XOR).u16(hash.id()).u16(*kdf),
            };
            w.tpm2b(unique);
        }
        PublicParameters::SymCipher { symmetric, unique } => {
            write_symmetric(w, *symmetric);
            w.tpm2b(unique);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ecc(attributes: u32) -> TpmtPublic {
        TpmtPublic::build(
            Some(HashAlg::Sha256),
            ObjectAttributes::from_bits(attributes),
            &[],
            PublicParameters::Ecc {
                symmetric: Symmetric::Null,
                scheme: EccScheme::Ecdsa(HashAlg::Sha256),
                curve: Curve::P256,
                x: vec![1; 32],
                y: vec![2; 32],
            },
        )
    }

    #[test]
    fn what_is_built_parses_to_the_same_bytes_and_fields() {
        let built = ecc(0x0005_0072);
        let parsed = TpmtPublic::parse(built.as_bytes()).unwrap();
        assert_eq!(parsed, built);
        assert_eq!(parsed.to_bytes(), built.as_bytes());
        assert_eq!(parsed.signing_hash(), Some(HashAlg::Sha256));
        assert_eq!(parsed.name().unwrap().as_bytes().len(), 34);
    }

    #[test]
    fn every_truncation_and_every_extension_is_refused() {
        let bytes = ecc(0x0005_0072).as_bytes().to_vec();
        for len in 0..bytes.len() {
            assert!(TpmtPublic::parse(&bytes[..len]).is_err(), "{len} octets parsed");
        }
        let mut longer = bytes;
        longer.push(0);
        assert_eq!(TpmtPublic::parse(&longer).map_err(|e| e.reason), Err(Reason::Trailing(1)));
    }

    #[test]
    fn an_auth_policy_of_another_length_than_the_name_algorithm_is_refused() {
        let public = TpmtPublic::build(
            Some(HashAlg::Sha384),
            ObjectAttributes::from_bits(0),
            &[7; 32],
            ecc(0).parameters().clone(),
        );
        assert!(TpmtPublic::parse(public.as_bytes()).is_err());
    }
}
