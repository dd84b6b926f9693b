//! The two blobs of TPM2_ActivateCredential (Part 1, "Credential Protection"; Part 2, "TPM2B_ID_OBJECT").

use super::marshal::{Reader, Writer};
use super::{Curve, HashAlg};
use crate::limits::{RSA_BITS_MAX, TPM_DIGEST_OCTETS};
use crate::{Malformed, Reason};

/// TPMS_ID_OBJECT: a credential encrypted to an endorsement key and tied to one Name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdObject {
    /// HMAC over the encrypted credential and the Name, with the EK's nameAlg.
    pub integrity_hmac: Vec<u8>,
    /// The encrypted TPM2B_DIGEST that holds the credential.
    pub encrypted_identity: Vec<u8>,
}

impl IdObject {
    /// Parses the contents of a TPM2B_ID_OBJECT.
    ///
    /// # Errors
    /// [`Malformed`] for an HMAC that is no digest's length, or an identity out of bounds.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes, "TPMS_ID_OBJECT");
        let integrity_hmac = r.tpm2b(TPM_DIGEST_OCTETS)?.to_vec();
        let encrypted_identity = r.rest().to_vec();
        let known_hmac = [HashAlg::Sha1, HashAlg::Sha256, HashAlg::Sha384, HashAlg::Sha512]
            .iter()
            .any(|hash| hash.digest_len() == integrity_hmac.len());
        if !known_hmac {
            return Err(r.error(Reason::Unexpected("an HMAC as long as a digest")));
        }
        if !(3..=2 + TPM_DIGEST_OCTETS).contains(&encrypted_identity.len()) {
            return Err(r.error(Reason::Unexpected("an encrypted TPM2B_DIGEST")));
        }
        Ok(Self { integrity_hmac, encrypted_identity })
    }

    /// The contents of the TPM2B_ID_OBJECT.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.tpm2b(&self.integrity_hmac).bytes(&self.encrypted_identity);
        w.into_bytes()
    }
}

/// TPMU_ENCRYPTED_SECRET: the seed of a credential, for the endorsement key alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EncryptedSecret {
    /// An ephemeral point for an ECC key.
    Ecc {
        /// Affine x, as long as the field.
        x: Vec<u8>,
        /// Affine y, as long as the field.
        y: Vec<u8>,
    },
    /// An OAEP ciphertext for an RSA key.
    Rsa(Vec<u8>),
}

impl EncryptedSecret {
    /// Parses the contents of a TPM2B_ENCRYPTED_SECRET for an ECC key on `curve`, or an RSA key.
    ///
    /// # Errors
    /// [`Malformed`] for sizes out of bounds or octets left over.
    pub fn parse(bytes: &[u8], curve: Option<Curve>) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes, "TPM2B_ENCRYPTED_SECRET");
        match curve {
            Some(curve) => {
                let x = r.tpm2b(curve.field_len())?.to_vec();
                let y = r.tpm2b(curve.field_len())?.to_vec();
                r.finish()?;
                Ok(Self::Ecc { x, y })
            }
            None if bytes.len() <= RSA_BITS_MAX / 8 => Ok(Self::Rsa(bytes.to_vec())),
            None => Err(r.error(Reason::OverLimit { what: "RSA secret", limit: RSA_BITS_MAX / 8 })),
        }
    }

    /// The contents of the TPM2B_ENCRYPTED_SECRET.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Ecc { x, y } => {
                let mut w = Writer::new();
                w.tpm2b(x).tpm2b(y);
                w.into_bytes()
            }
            Self::Rsa(ciphertext) => ciphertext.clone(),
        }
    }
}
