//! Words of the provider in words of the TPM.

use vouchsafe_evidence::tpm::template::{SigningKey, signing_key};
use vouchsafe_evidence::tpm::{Curve, HashAlg, PublicParameters, TpmtPublic};

use crate::provider::{EncryptionScheme, Fault, KeyKind, SignatureScheme};
use crate::tpm::{DecryptScheme, SignScheme};

/// The public area of a key to be made: with a fixed signing scheme (`Some`, attesting keys) or one that is chosen at each
/// use. `unique` seeds a primary's derivation.
pub(super) fn template(kind: KeyKind, attributes: u32, fixed: Option<HashAlg>, unique: &[u8]) -> TpmtPublic {
    let key = match kind {
        KeyKind::EcP256 => SigningKey::EccP256,
        KeyKind::EcP384 => SigningKey::EccP384,
        KeyKind::EcP521 => SigningKey::EccP521,
        KeyKind::Rsa1024 => SigningKey::Rsa1024,
        KeyKind::Rsa2048 => SigningKey::Rsa2048,
        KeyKind::Rsa3072 => SigningKey::Rsa3072,
        KeyKind::Rsa4096 => SigningKey::Rsa4096,
    };
    signing_key(key, attributes, fixed, unique)
}

/// The hash that an attesting key of this kind is bound to; `None` for kinds that do not attest.
pub(super) const fn attesting_hash(kind: KeyKind) -> Result<HashAlg, Fault> {
    match kind {
        KeyKind::EcP384 => Ok(HashAlg::Sha384),
        KeyKind::EcP256 | KeyKind::Rsa2048 | KeyKind::Rsa3072 => Ok(HashAlg::Sha256),
        KeyKind::EcP521 | KeyKind::Rsa1024 | KeyKind::Rsa4096 => {
            Err(Fault::Missing { what: "attesting key of this kind" })
        }
    }
}

/// The TPM's scheme, or `None` if keys of this kind have no such scheme.
pub(super) const fn sign_scheme(kind: KeyKind, scheme: SignatureScheme) -> Option<SignScheme> {
    if !scheme.fits(kind) {
        return None;
    }
    Some(match scheme {
        SignatureScheme::Ecdsa(hash) => SignScheme::Ecdsa(hash.algorithm()),
        SignatureScheme::RsaPkcs1v15(hash) => SignScheme::Rsassa(hash.algorithm()),
        SignatureScheme::RsaPss(hash) => SignScheme::Rsapss(hash.algorithm()),
    })
}

/// The TPM's scheme of decryption.
pub(super) const fn decrypt_scheme(scheme: EncryptionScheme) -> DecryptScheme {
    match scheme {
        EncryptionScheme::RsaPkcs1v15 => DecryptScheme::Rsaes,
        EncryptionScheme::RsaOaep(hash) => DecryptScheme::Oaep(hash.algorithm()),
    }
}

/// The kind of a public area; `None` if the provider makes no such keys.
pub(super) fn kind_of(public: &TpmtPublic) -> Option<KeyKind> {
    match public.parameters() {
        PublicParameters::Ecc { curve: Curve::P256, .. } => Some(KeyKind::EcP256),
        PublicParameters::Ecc { curve: Curve::P384, .. } => Some(KeyKind::EcP384),
        PublicParameters::Ecc { curve: Curve::P521, .. } => Some(KeyKind::EcP521),
        PublicParameters::Rsa { key_bits, .. } => {
            KeyKind::ALL.into_iter().find(|kind| kind.is_rsa() && kind.bits() == *key_bits)
        }
        PublicParameters::KeyedHash { .. } | PublicParameters::SymCipher { .. } => None,
    }
}
