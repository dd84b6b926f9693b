//! Links under escrow: encrypted to a public key whose private part this authority does not have.
//!
//! RSA-OAEP with SHA-256 over a small JSON object, which `openssl pkeyutl -decrypt` opens.

use std::path::{Path, PathBuf};

use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use serde::Serialize;
use thiserror::Error;
use vouchsafe_evidence::x509::{PublicKey, SpkiView};

use crate::credential::CredentialError;
use crate::error::Error;

/// Octets of the modulus: below, a link does not fit, and the key is to last as long as the links are worth something.
const MODULUS_OCTETS_MIN: usize = 3_072 / 8;
/// Octets of the key's file.
const KEY_FILE_OCTETS: u64 = 64 * 1024;

/// Why the escrow key cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EscrowError {
    /// The file cannot be read.
    #[error("{}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        error: std::io::Error,
    },
    /// The file does not hold an RSA key of 3072 bits or more.
    #[error("{}: the escrow key must be an RSA public key of 3072 bits or more", path.display())]
    Key {
        /// The file.
        path: PathBuf,
    },
}

/// What links a pseudonym to a device.
#[derive(Debug, Serialize)]
pub(super) struct Linked<'a> {
    /// SHA-256 over the endorsement key, hexadecimal.
    pub(super) endorsement_key: String,
    /// The device's name.
    pub(super) device: &'a str,
    /// Serial number of the pseudonym's certificate, hexadecimal.
    pub(super) certificate: String,
}

/// The key to which links are encrypted.
#[derive(Debug)]
pub(super) struct Escrow(OaepPublicEncryptingKey);

impl Escrow {
    pub(super) fn read(path: &Path) -> Result<Self, EscrowError> {
        let io = |error| EscrowError::Io { path: path.to_owned(), error };
        let refused = || EscrowError::Key { path: path.to_owned() };
        if std::fs::metadata(path).map_err(io)?.len() > KEY_FILE_OCTETS {
            return Err(refused());
        }
        let octets = std::fs::read(path).map_err(io)?;
        let spki = SpkiView::from_key_file(&octets).map_err(|_| refused())?;
        Self::new(&spki).ok_or_else(refused)
    }

    fn new(spki: &SpkiView) -> Option<Self> {
        match spki.key() {
            PublicKey::Rsa { modulus, exponent, .. } if modulus.len() >= MODULUS_OCTETS_MIN => {
                let plain = SpkiView::from_rsa(modulus, exponent).ok()?;
                let key = PublicEncryptingKey::from_der(plain.as_der()).ok()?;
                OaepPublicEncryptingKey::new(key).ok().map(Self)
            }
            PublicKey::Rsa { .. }
            | PublicKey::Ec { .. }
            | PublicKey::Ed25519(_)
            | PublicKey::MlDsa65(_)
            | PublicKey::Unknown { .. } => None,
        }
    }

    /// The link, for the holder of the escrow key alone.
    pub(super) fn seal(&self, linked: &Linked<'_>) -> Result<Vec<u8>, Error> {
        let text = serde_json::to_vec(linked)?;
        let mut ciphertext = vec![0; self.0.ciphertext_size()];
        let sealed = self.0.encrypt(&OAEP_SHA256_MGF1SHA256, &text, &mut ciphertext, None);
        let octets = sealed.map_err(|_| Error::Credential(CredentialError::Operation("OAEP")))?.len();
        ciphertext.truncate(octets);
        Ok(ciphertext)
    }
}
