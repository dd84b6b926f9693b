//! Keys made outside of a TPM, wrapped so that a parent in one can import them (Part 1, "Duplication", "Protected storage").
//!
//! Such keys show what the rules for attested keys are for: the TPM uses them like its own, and says in their attributes
//! that it did not make them.

use vouchsafe_evidence::tpm::marshal::Writer;
use vouchsafe_evidence::tpm::{PublicParameters, Symmetric, TpmtPublic, alg};
use zeroize::Zeroizing;

use super::kdf::{IV_OCTETS, cfb_encrypt, hmac, kdfa};
use super::session::{AuthValue, share_secret};
use crate::provider::Fault;

/// The private part of a key made outside (TPMT_SENSITIVE).
pub struct Sensitive {
    /// Its authValue.
    pub auth: AuthValue,
    /// The private scalar of an ECC key, or one prime factor of an RSA key.
    pub private: Zeroizing<Vec<u8>>,
}

impl Sensitive {
    /// Marshaled, for a key with this public area.
    pub(super) fn to_bytes(&self, public: &TpmtPublic) -> Zeroizing<Vec<u8>> {
        let kind = match public.parameters() {
            PublicParameters::Rsa { .. } => alg::RSA,
            PublicParameters::Ecc { .. } => alg::ECC,
            PublicParameters::KeyedHash { .. } => alg::KEYEDHASH,
            PublicParameters::SymCipher { .. } => alg::SYMCIPHER,
        };
        let mut w = Writer::new();
        w.u16(kind).tpm2b(self.auth.as_bytes()).tpm2b(&[]).tpm2b(&self.private);
        Zeroizing::new(w.into_bytes())
    }
}

/// A key wrapped for a parent outside of any TPM, without inner wrapping.
#[derive(Clone, Debug)]
pub struct Duplicate {
    /// The public area.
    pub public: TpmtPublic,
    /// Contents of the TPM2B_PRIVATE: outer HMAC and encrypted sensitive area.
    pub private: Vec<u8>,
    /// Contents of the TPM2B_ENCRYPTED_SECRET: the seed, for the parent.
    pub seed: Vec<u8>,
}

impl Duplicate {
    /// Wraps a key for the parent with the public area `parent`.
    ///
    /// # Errors
    /// [`Fault::Primitive`] for a parent that can protect nothing, or a key without a Name.
    pub fn wrap(parent: &TpmtPublic, public: &TpmtPublic, sensitive: &Sensitive) -> Result<Self, Fault> {
        const UNFIT: Fault = Fault::Primitive("wrapping for a parent that is none");
        let hash = parent.name_alg().ok_or(UNFIT)?;
        let (PublicParameters::Rsa { symmetric, .. } | PublicParameters::Ecc { symmetric, .. }) = parent.parameters()
        else {
            return Err(UNFIT);
        };
        let Symmetric::Aes { key_bits, .. } = symmetric else {
            return Err(UNFIT);
        };
        let name = public.name().ok_or(Fault::Primitive("wrapping a key without a Name"))?;
        let seed = share_secret(parent, b"DUPLICATE")?;
        let key = kdfa(hash, &seed.value, b"STORAGE", name.as_bytes(), &[], usize::from(*key_bits) / 8);
        let mut w = Writer::new();
        w.tpm2b(&sensitive.to_bytes(public));
        let mut encrypted = w.into_bytes();
        cfb_encrypt(&key, [0; IV_OCTETS], &mut encrypted)?;
        let hmac_key = kdfa(hash, &seed.value, b"INTEGRITY", &[], &[], hash.digest_len());
        let mut private = Writer::new();
        private.tpm2b(&hmac(hash, &hmac_key, &[&encrypted, name.as_bytes()])).bytes(&encrypted);
        Ok(Self { public: public.clone(), private: private.into_bytes(), seed: seed.encrypted })
    }
}
