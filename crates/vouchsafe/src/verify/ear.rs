//! Attestation results, signed by a key in a file.

use std::path::Path;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
};
use serde_json::Value;
use vouchsafe_evidence::pem;
use vouchsafe_verifier::ear::{Algorithm, Unsigned};

use crate::failure::Failure;
use crate::files::{read_small, write};

/// A key that signs attestation results.
pub struct Signer {
    key: Key,
}

enum Key {
    Ecdsa { algorithm: Algorithm, pair: EcdsaKeyPair },
    Ed25519(Ed25519KeyPair),
}

impl Signer {
    /// The key in this file.
    ///
    /// # Errors
    /// [`Failure`] unless it is PKCS #8 in PEM, of a kind with which JWTs are signed here.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let unusable = || {
            Failure::new(format!("{} holds no key that can sign attestation results", path.display()))
                .next("give PKCS #8 in PEM: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256")
        };
        let blocks = pem::read(&read_small(path)?).map_err(|_| unusable())?;
        let [block] = blocks.as_slice() else { return Err(unusable()) };
        let der = block.contents();
        let curves = [
            (Algorithm::Es256, &ECDSA_P256_SHA256_FIXED_SIGNING),
            (Algorithm::Es384, &ECDSA_P384_SHA384_FIXED_SIGNING),
        ];
        for (algorithm, curve) in curves {
            if let Ok(pair) = EcdsaKeyPair::from_pkcs8(curve, der) {
                return Ok(Self { key: Key::Ecdsa { algorithm, pair } });
            }
        }
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(|_| unusable())?;
        Ok(Self { key: Key::Ed25519(pair) })
    }

    /// Signs `claims` and writes the token; says whether that was to standard output.
    ///
    /// # Errors
    /// [`Failure`] if it cannot be signed or written.
    pub fn write(&self, claims: &Value, path: Option<&Path>) -> Result<bool, Failure> {
        let token = self.token(claims)? + "\n";
        match path.filter(|path| *path != Path::new("-")) {
            Some(path) => write(path, token.as_bytes()).map(|()| false),
            None => crate::console::out(&token).map(|()| true),
        }
    }

    fn token(&self, claims: &Value) -> Result<String, Failure> {
        let algorithm = match &self.key {
            Key::Ecdsa { algorithm, .. } => *algorithm,
            Key::Ed25519(_) => Algorithm::EdDsa,
        };
        let unsigned = Unsigned::new(algorithm, None, claims);
        let signature = match &self.key {
            Key::Ecdsa { pair, .. } => pair
                .sign(&SystemRandom::new(), unsigned.octets())
                .map_err(|_| Failure::new("the attestation result could not be signed"))?,
            Key::Ed25519(pair) => pair.sign(unsigned.octets()),
        };
        Ok(unsigned.signed(signature.as_ref()))
    }
}
