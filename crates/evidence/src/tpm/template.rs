//! Public-area templates: endorsement keys (TCG EK Credential Profile, "Default EK Templates"), the storage
//! root key, attestation keys and user keys.

use super::alg;
use super::{Curve, EccScheme, HashAlg, ObjectAttributes, PublicParameters, RsaScheme, Symmetric, TpmtPublic};

/// PolicyA with SHA-256: TPM2_PolicySecret(TPM_RH_ENDORSEMENT).
pub const POLICY_A_SHA256: [u8; 32] = [
    0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24, 0xfd, 0x52, 0xd7,
    0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa,
];
/// PolicyB with SHA-256: PolicyA, or a policy that an NV index authorizes.
pub const POLICY_B_SHA256: [u8; 32] = [
    0xca, 0x3d, 0x0a, 0x99, 0xa2, 0xb9, 0x39, 0x06, 0xf7, 0xa3, 0x34, 0x24, 0x14, 0xef, 0xcf, 0xb3, 0xa3, 0x85, 0xd4,
    0x4c, 0xd1, 0xfd, 0x45, 0x90, 0x89, 0xd1, 0x9b, 0x50, 0x71, 0xc0, 0xb7, 0xa0,
];
/// PolicyB with SHA-384.
pub const POLICY_B_SHA384: [u8; 48] = [
    0xb2, 0x6e, 0x7d, 0x28, 0xd1, 0x1a, 0x50, 0xbc, 0x53, 0xd8, 0x82, 0xbc, 0xf5, 0xfd, 0x3a, 0x1a, 0x07, 0x41, 0x48,
    0xbb, 0x35, 0xd3, 0xb4, 0xe4, 0xcb, 0x1c, 0x0a, 0xd9, 0xbd, 0xe4, 0x19, 0xca, 0xcb, 0x47, 0xba, 0x09, 0x69, 0x96,
    0x46, 0x15, 0x0f, 0x9f, 0xc0, 0x00, 0xf3, 0xf8, 0x0e, 0x12,
];

/// A default EK template of the TCG EK Credential Profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EkTemplate {
    /// RSA 2048, low range.
    L1,
    /// ECC P-256, low range.
    L2,
    /// RSA 2048, high range.
    H1,
    /// ECC P-256, high range.
    H2,
    /// ECC P-384, high range.
    H3,
}

impl EkTemplate {
    /// Every template known here, low range first.
    pub const ALL: [Self; 5] = [Self::L1, Self::L2, Self::H1, Self::H2, Self::H3];

    /// Its name in the profile: `L-1`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::L1 => "L-1",
            Self::L2 => "L-2",
            Self::H1 => "H-1",
            Self::H2 => "H-2",
            Self::H3 => "H-3",
        }
    }

    /// The NV index of its certificate.
    #[must_use]
    pub const fn certificate_index(self) -> u32 {
        match self {
            Self::L1 => 0x01C0_0002,
            Self::L2 => 0x01C0_000A,
            Self::H1 => 0x01C0_0012,
            Self::H2 => 0x01C0_0014,
            Self::H3 => 0x01C0_0016,
        }
    }

    /// The NV indices of its nonce and its template, which only the low range has.
    #[must_use]
    pub const fn nonce_and_template_indices(self) -> Option<(u32, u32)> {
        match self {
            Self::L1 => Some((0x01C0_0003, 0x01C0_0004)),
            Self::L2 => Some((0x01C0_000B, 0x01C0_000C)),
            Self::H1 | Self::H2 | Self::H3 => None,
        }
    }

    /// The hash of the key's Name, with which credentials for it are protected.
    #[must_use]
    pub const fn name_alg(self) -> HashAlg {
        match self {
            Self::L1 | Self::L2 | Self::H1 | Self::H2 => HashAlg::Sha256,
            Self::H3 => HashAlg::Sha384,
        }
    }

    /// Bits of the AES key with which credentials for it are encrypted.
    #[must_use]
    pub const fn aes_bits(self) -> u16 {
        match self {
            Self::L1 | Self::L2 | Self::H1 | Self::H2 => 128,
            Self::H3 => 256,
        }
    }

    /// Whether ActivateCredential needs a policy session (low range) and not just the EK's empty auth.
    #[must_use]
    pub const fn needs_policy(self) -> bool {
        match self {
            Self::L1 | Self::L2 => true,
            Self::H1 | Self::H2 | Self::H3 => false,
        }
    }

    /// The template as TPM2_CreatePrimary takes it.
    #[must_use]
    pub fn public(self) -> TpmtPublic {
        let low = 0x0003_00B2;
        let high = 0x0003_00F2;
        let (attributes, policy): (u32, &[u8]) = match self {
            Self::L1 | Self::L2 => (low, &POLICY_A_SHA256),
            Self::H1 | Self::H2 => (high, &POLICY_B_SHA256),
            Self::H3 => (high, &POLICY_B_SHA384),
        };
        let symmetric = Symmetric::Aes { key_bits: self.aes_bits(), mode: alg::CFB };
        let rsa = |modulus| PublicParameters::Rsa {
            symmetric,
            scheme: RsaScheme::Null,
            key_bits: 2048,
            exponent: 0,
            modulus,
        };
        let ecc = |curve, fill: usize| PublicParameters::Ecc {
            symmetric,
            scheme: EccScheme::Null,
            curve,
            x: vec![0; fill],
            y: vec![0; fill],
        };
        let parameters = match self {
            Self::L1 => rsa(vec![0; 256]),
            Self::L2 => ecc(Curve::P256, 32),
            Self::H1 => rsa(Vec::new()),
            Self::H2 => ecc(Curve::P256, 0),
            Self::H3 => ecc(Curve::P384, 0),
        };
        TpmtPublic::build(Some(self.name_alg()), ObjectAttributes::from_bits(attributes), policy, parameters)
    }
}

/// Attributes of a storage root key: fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA, restricted, decrypt.
pub const SRK_ATTRIBUTES: u32 = 0x0003_0472;
/// Attributes of an attestation key that may also issue TPM-made certificates (DESIGN, "The attesting key"):
/// fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, restricted, sign, x509sign.
pub const AK_ATTRIBUTES: u32 = 0x000D_0072;
/// Attributes of a plain restricted attestation key, where a TPM lacks x509sign.
pub const PLAIN_AK_ATTRIBUTES: u32 = 0x0005_0072;
/// Attributes of a user's signing key: fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA, sign.
pub const USER_KEY_ATTRIBUTES: u32 = 0x0004_0472;

/// A kind of key that users may create.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SigningKey {
    /// ECDSA on P-256.
    EccP256,
    /// ECDSA on P-384.
    EccP384,
    /// ECDSA on P-521.
    EccP521,
    /// RSA of 1024 bits.
    Rsa1024,
    /// RSA of 2048 bits.
    Rsa2048,
    /// RSA of 3072 bits.
    Rsa3072,
    /// RSA of 4096 bits.
    Rsa4096,
}

/// The storage root key: ECC P-256 with AES-128-CFB (TCG Provisioning Guidance, "SRK").
#[must_use]
pub fn storage_root_key() -> TpmtPublic {
    TpmtPublic::build(
        Some(HashAlg::Sha256),
        ObjectAttributes::from_bits(SRK_ATTRIBUTES),
        &[],
        PublicParameters::Ecc {
            symmetric: Symmetric::Aes { key_bits: 128, mode: alg::CFB },
            scheme: EccScheme::Null,
            curve: Curve::P256,
            x: Vec::new(),
            y: Vec::new(),
        },
    )
}

/// A signing key with these attributes: with a fixed scheme (`Some`, attestation keys) or one that the caller
/// chooses at each use. `unique` seeds a primary's derivation, so that distinct keys come of one template.
#[must_use]
pub fn signing_key(key: SigningKey, attributes: u32, fixed: Option<HashAlg>, unique: &[u8]) -> TpmtPublic {
    let rsa = |key_bits| PublicParameters::Rsa {
        symmetric: Symmetric::Null,
        scheme: fixed.map_or(RsaScheme::Null, RsaScheme::Rsassa),
        key_bits,
        exponent: 0,
        modulus: unique.to_vec(),
    };
    let ecc = |curve| PublicParameters::Ecc {
        symmetric: Symmetric::Null,
        scheme: fixed.map_or(EccScheme::Null, EccScheme::Ecdsa),
        curve,
        x: unique.to_vec(),
        y: Vec::new(),
    };
    let (parameters, name_alg) = match key {
        SigningKey::EccP256 => (ecc(Curve::P256), HashAlg::Sha256),
        SigningKey::EccP384 => (ecc(Curve::P384), HashAlg::Sha384),
        SigningKey::EccP521 => (ecc(Curve::P521), HashAlg::Sha512),
        SigningKey::Rsa1024 => (rsa(1024), HashAlg::Sha256),
        SigningKey::Rsa2048 => (rsa(2048), HashAlg::Sha256),
        SigningKey::Rsa3072 => (rsa(3072), HashAlg::Sha256),
        SigningKey::Rsa4096 => (rsa(4096), HashAlg::Sha256),
    };
    TpmtPublic::build(Some(name_alg), ObjectAttributes::from_bits(attributes), &[], parameters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_is_a_public_area() {
        for template in EkTemplate::ALL {
            let public = template.public();
            assert_eq!(TpmtPublic::parse(public.as_bytes()).as_ref(), Ok(&public), "{}", template.label());
        }
        assert!(TpmtPublic::parse(storage_root_key().as_bytes()).is_ok());
        for key in [SigningKey::EccP256, SigningKey::EccP384, SigningKey::Rsa2048, SigningKey::Rsa3072] {
            let public = signing_key(key, AK_ATTRIBUTES, Some(HashAlg::Sha256), &[9; 16]);
            assert!(TpmtPublic::parse(public.as_bytes()).is_ok(), "{key:?}");
        }
    }

    #[test]
    fn the_policies_are_what_the_profile_computes() {
        // PolicySecret(ENDORSEMENT): H(H(0.. || TPM_CC_PolicySecret || Name) || policyRef), Part 3, "TPM2_PolicySecret".
        let inner = HashAlg::Sha256.digest(&[&[0; 32], &0x151_u32.to_be_bytes(), &0x4000_000B_u32.to_be_bytes()]);
        assert_eq!(HashAlg::Sha256.digest(&[&inner]), POLICY_A_SHA256);
    }
}
