//! Algorithm identifiers (Part 2, "TPM_ALG_ID"; TCG Algorithm Registry).

use aws_lc_rs::digest;

use crate::x509::NamedCurve;

/// TPM_ALG_RSA.
pub const RSA: u16 = 0x0001;
/// TPM_ALG_SHA1.
pub const SHA1: u16 = 0x0004;
/// TPM_ALG_HMAC.
pub const HMAC: u16 = 0x0005;
/// TPM_ALG_AES.
pub const AES: u16 = 0x0006;
/// TPM_ALG_KEYEDHASH.
pub const KEYEDHASH: u16 = 0x0008;
/// TPM_ALG_XOR.
pub const XOR: u16 = 0x000A;
/// TPM_ALG_SHA256.
pub const SHA256: u16 = 0x000B;
/// TPM_ALG_SHA384.
pub const SHA384: u16 = 0x000C;
/// TPM_ALG_SHA512.
pub const SHA512: u16 = 0x000D;
/// TPM_ALG_NULL.
pub const NULL: u16 = 0x0010;
/// TPM_ALG_RSASSA (PKCS #1 v1.5 signatures).
pub const RSASSA: u16 = 0x0014;
/// TPM_ALG_RSAES (PKCS #1 v1.5 encryption).
pub const RSAES: u16 = 0x0015;
/// TPM_ALG_RSAPSS.
pub const RSAPSS: u16 = 0x0016;
/// TPM_ALG_OAEP.
pub const OAEP: u16 = 0x0017;
/// TPM_ALG_ECDSA.
pub const ECDSA: u16 = 0x0018;
/// TPM_ALG_ECDH.
pub const ECDH: u16 = 0x0019;
/// TPM_ALG_ECC.
pub const ECC: u16 = 0x0023;
/// TPM_ALG_SYMCIPHER.
pub const SYMCIPHER: u16 = 0x0025;
/// TPM_ALG_CTR.
pub const CTR: u16 = 0x0040;
/// TPM_ALG_OFB.
pub const OFB: u16 = 0x0041;
/// TPM_ALG_CBC.
pub const CBC: u16 = 0x0042;
/// TPM_ALG_CFB.
pub const CFB: u16 = 0x0043;

/// A hash algorithm that TPMs use and this project computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HashAlg {
    /// SHA-1: parsed because PCR banks and old evidence carry it, never accepted for a signature or a Name.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl HashAlg {
    /// The algorithm with this TPM_ALG_ID, if it is a hash known here.
    #[must_use]
    pub const fn from_id(id: u16) -> Option<Self> {
        match id {
            SHA1 => Some(Self::Sha1),
            SHA256 => Some(Self::Sha256),
            SHA384 => Some(Self::Sha384),
            SHA512 => Some(Self::Sha512),
            _ => None,
        }
    }

    /// Its TPM_ALG_ID.
    #[must_use]
    pub const fn id(self) -> u16 {
        match self {
            Self::Sha1 => SHA1,
            Self::Sha256 => SHA256,
            Self::Sha384 => SHA384,
            Self::Sha512 => SHA512,
        }
    }

    /// Octets of its digest.
    #[must_use]
    pub const fn digest_len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// Its name as policies and reports write it: `sha256`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    /// The algorithm that [`HashAlg::label`] writes so.
    #[must_use]
    pub fn from_label(label: &str) -> Option<Self> {
        [Self::Sha1, Self::Sha256, Self::Sha384, Self::Sha512].into_iter().find(|alg| alg.label() == label)
    }

    /// Whether it resists collisions: SHA-256 or better.
    #[must_use]
    pub const fn is_strong(self) -> bool {
        match self {
            Self::Sha1 => false,
            Self::Sha256 | Self::Sha384 | Self::Sha512 => true,
        }
    }

    /// The digest of the concatenation of `parts`.
    #[must_use]
    pub fn digest(self, parts: &[&[u8]]) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        };
        let mut context = digest::Context::new(algorithm);
        for part in parts {
            context.update(part);
        }
        context.finish().as_ref().to_vec()
    }
}

/// A NIST curve that TPMs offer (Part 2, "TPM_ECC_CURVE").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Curve {
    /// TPM_ECC_NIST_P256.
    P256,
    /// TPM_ECC_NIST_P384.
    P384,
    /// TPM_ECC_NIST_P521.
    P521,
}

impl From<Curve> for NamedCurve {
    fn from(curve: Curve) -> Self {
        match curve {
            Curve::P256 => Self::P256,
            Curve::P384 => Self::P384,
            Curve::P521 => Self::P521,
        }
    }
}

impl Curve {
    /// The curve with this TPM_ECC_CURVE value, if it is known here.
    #[must_use]
    pub const fn from_id(id: u16) -> Option<Self> {
        match id {
            0x0003 => Some(Self::P256),
            0x0004 => Some(Self::P384),
            0x0005 => Some(Self::P521),
            _ => None,
        }
    }

    /// Its TPM_ECC_CURVE value.
    #[must_use]
    pub const fn id(self) -> u16 {
        match self {
            Self::P256 => 0x0003,
            Self::P384 => 0x0004,
            Self::P521 => 0x0005,
        }
    }

    /// Octets of one field element.
    #[must_use]
    pub const fn field_len(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }
}
