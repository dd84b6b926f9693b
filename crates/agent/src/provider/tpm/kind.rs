//! Words of the provider in words of the TPM.

use vouchsafe_evidence::tpm::template::SigningKey;
use vouchsafe_evidence::tpm::{Curve, HashAlg, PublicParameters, TpmtPublic};

use crate::provider::{Hash, KeyKind, SignatureScheme};
use crate::tpm::SignScheme;

pub(super) const fn signing_key(kind: KeyKind) -> SigningKey {
    match kind {
        KeyKind::EcP256 => SigningKey::EccP256,
        KeyKind::EcP384 => SigningKey::EccP384,
        KeyKind::Rsa2048 => SigningKey::Rsa2048,
        KeyKind::Rsa3072 => SigningKey::Rsa3072,
    }
}

/// The hash that an attesting key of this kind is bound to.
pub(super) const fn attesting_hash(kind: KeyKind) -> HashAlg {
    match kind {
        KeyKind::EcP384 => HashAlg::Sha384,
        KeyKind::EcP256 | KeyKind::Rsa2048 | KeyKind::Rsa3072 => HashAlg::Sha256,
    }
}

pub(super) const fn hash_alg(hash: Hash) -> HashAlg {
    match hash {
        Hash::Sha256 => HashAlg::Sha256,
        Hash::Sha384 => HashAlg::Sha384,
        Hash::Sha512 => HashAlg::Sha512,
    }
}

/// The TPM's scheme, or `None` if keys of this kind have no such scheme.
pub(super) const fn sign_scheme(kind: KeyKind, scheme: SignatureScheme) -> Option<SignScheme> {
    match (kind, scheme) {
        (KeyKind::EcP256 | KeyKind::EcP384, SignatureScheme::Ecdsa(hash)) => Some(SignScheme::Ecdsa(hash_alg(hash))),
        (KeyKind::Rsa2048 | KeyKind::Rsa3072, SignatureScheme::RsaPkcs1v15(hash)) => {
            Some(SignScheme::Rsassa(hash_alg(hash)))
        }
        (KeyKind::Rsa2048 | KeyKind::Rsa3072, SignatureScheme::RsaPss(hash)) => {
            Some(SignScheme::Rsapss(hash_alg(hash)))
        }
        (KeyKind::EcP256 | KeyKind::EcP384, SignatureScheme::RsaPkcs1v15(_) | SignatureScheme::RsaPss(_))
        | (KeyKind::Rsa2048 | KeyKind::Rsa3072, SignatureScheme::Ecdsa(_)) => None,
    }
}

/// The kind of a public area; `None` if the provider makes no such keys.
pub(super) fn kind_of(public: &TpmtPublic) -> Option<KeyKind> {
    match public.parameters() {
        PublicParameters::Ecc { curve: Curve::P256, .. } => Some(KeyKind::EcP256),
        PublicParameters::Ecc { curve: Curve::P384, .. } => Some(KeyKind::EcP384),
        PublicParameters::Rsa { key_bits: 2048, .. } => Some(KeyKind::Rsa2048),
        PublicParameters::Rsa { key_bits: 3072, .. } => Some(KeyKind::Rsa3072),
        PublicParameters::Ecc { curve: Curve::P521, .. }
        | PublicParameters::Rsa { .. }
        | PublicParameters::KeyedHash { .. }
        | PublicParameters::SymCipher { .. } => None,
    }
}
