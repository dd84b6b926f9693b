//! RSA decryption (Part 3, "Asymmetric primitives").

use vouchsafe_evidence::tpm::marshal::Writer;
use vouchsafe_evidence::tpm::{HashAlg, alg};
use zeroize::Zeroizing;

use super::RSA_DECRYPT;
use super::admin::only_tpm2b;
use crate::provider::Fault;
use crate::tpm::frame::Request;
use crate::tpm::{Object, Tpm};

/// TPMT_RSA_DECRYPT of a key that has no scheme of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecryptScheme {
    /// RSAES-PKCS1-v1_5.
    Rsaes,
    /// RSAES-OAEP.
    Oaep(HashAlg),
}

impl DecryptScheme {
    fn write(self, w: &mut Writer) {
        match self {
            Self::Rsaes => w.u16(alg::RSAES),
            Self::Oaep(hash) => w.u16(alg::OAEP).u16(hash.id()),
        };
    }
}

impl Tpm {
    /// TPM2_RSA_Decrypt; the message comes encrypted by the session. `label` is empty or ends with a zero octet.
    ///
    /// # Errors
    /// [`Fault::Tpm`] with VALUE or SIZE, without a parameter or of the first, for a message that was not encrypted so.
    pub fn rsa_decrypt(
        &mut self,
        key: &Object,
        ciphertext: &[u8],
        scheme: DecryptScheme,
        label: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let mut w = Writer::new();
        w.tpm2b(ciphertext);
        scheme.write(&mut w);
        w.tpm2b(label);
        let reply = self.execute(Request::new(RSA_DECRYPT, w.into_bytes()).by(key).encrypt_out())?;
        only_tpm2b(&reply.parameters, RSA_DECRYPT.name)
    }
}
