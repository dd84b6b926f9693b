//! Proof that a private key and a public key are one pair.
//!
//! In a token the two are objects of their own that only an id holds together, and whoever has the PIN can put another public
//! key there. So before anything is said of a public key, its private key signs a fresh random (or decrypts one) and the public
//! key verifies. The proof is of an object handle, which means one object for as long as the session lasts; it is made again in
//! every session, whenever either object is another, and after [`PROOF_AGE`].

use std::time::{Duration, Instant};

use aws_lc_rs::rsa::{Pkcs1PublicEncryptingKey, PublicEncryptingKey};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED,
    RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, UnparsedPublicKey, VerificationAlgorithm,
};

use super::blob::Blob;
use super::fault::TokenFault;
use super::keys;
use super::objects::{Resolved, subject_public_key};
use super::token::Live;
use crate::provider::{EncryptionScheme, Fault, Hash, KeyKind, KeyPurpose, SignatureScheme};
use crate::tpm::kdf::random;

/// How long a proof is good for.
pub(super) const PROOF_AGE: Duration = Duration::from_secs(60);
/// Octets of the random that is signed or decrypted.
const CHALLENGE_OCTETS: usize = 32;

/// Makes sure that the key's objects are one pair.
pub(super) fn prove(live: &mut Live<'_>, blob: &Blob, resolved: &Resolved) -> Result<(), Fault> {
    if resolved.proven.is_some_and(|when| when.elapsed() < PROOF_AGE) {
        return Ok(());
    }
    let is_pair = match blob.purpose {
        KeyPurpose::Sign | KeyPurpose::Attest => signs(live, resolved)?,
        KeyPurpose::Decrypt => decrypts(live, resolved)?,
    };
    if !is_pair {
        live.forget(&blob.uid);
        return Err(Fault::Token(TokenFault::NotAPair { uid: blob.uid }));
    }
    live.remember(blob.uid, Resolved { proven: Some(Instant::now()), ..resolved.clone() });
    Ok(())
}

fn signs(live: &Live<'_>, resolved: &Resolved) -> Result<bool, Fault> {
    let challenge: [u8; CHALLENGE_OCTETS] = random()?;
    let (scheme, algorithm): (_, &'static dyn VerificationAlgorithm) = match resolved.kind {
        KeyKind::EcP256 => (SignatureScheme::Ecdsa(Hash::Sha256), &ECDSA_P256_SHA256_FIXED),
        KeyKind::EcP384 => (SignatureScheme::Ecdsa(Hash::Sha384), &ECDSA_P384_SHA384_FIXED),
        KeyKind::EcP521 => (SignatureScheme::Ecdsa(Hash::Sha512), &ECDSA_P521_SHA512_FIXED),
        KeyKind::Rsa1024 | KeyKind::Rsa2048 | KeyKind::Rsa3072 | KeyKind::Rsa4096 => {
            (SignatureScheme::RsaPkcs1v15(Hash::Sha256), &RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY)
        }
    };
    let digest = scheme.hash().algorithm().digest(&[&challenge]);
    let signature = keys::sign(live, resolved, scheme, &digest)?;
    let public = subject_public_key(&resolved.spki)?;
    Ok(UnparsedPublicKey::new(algorithm, public).verify(&challenge, &signature).is_ok())
}

/// Whether the private key opens what was encrypted to the public key.
pub(super) fn decrypts(live: &Live<'_>, resolved: &Resolved) -> Result<bool, Fault> {
    let challenge: [u8; CHALLENGE_OCTETS] = random()?;
    let unfit = |_| Fault::Missing { what: "proof for keys of this kind" };
    let public = PublicEncryptingKey::from_der(resolved.spki.as_der()).map_err(unfit)?;
    let public = Pkcs1PublicEncryptingKey::new(public).map_err(|_| Fault::Primitive("encryption"))?;
    let mut ciphertext = vec![0; public.ciphertext_size()];
    let encrypted = public.encrypt(&challenge, &mut ciphertext).map_err(|_| Fault::Primitive("encryption"))?;
    match keys::decrypt(live, resolved.private, EncryptionScheme::RsaPkcs1v15, encrypted, &[]) {
        Ok(opened) => Ok(*opened == challenge),
        Err(Fault::CiphertextInvalid) => Ok(false),
        Err(fault) => Err(fault),
    }
}
