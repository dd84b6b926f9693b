//! tcg-attest-tpm-certify, 2.23.133.20.1.

use crate::Malformed;
use crate::x509::build::DerWriter;

/// TPM2_Certify over a key.
///
/// ```asn1
/// Tcg-csr-tpm-certify ::= SEQUENCE {
///   tpmSAttest OCTET STRING,            -- TPMS_ATTEST, without a size
///   signature  OCTET STRING,            -- bare signature or TPMT_SIGNATURE
///   tpmTPublic OCTET STRING OPTIONAL }  -- TPMT_PUBLIC
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TpmCertify {
    /// Marshaled TPMS_ATTEST of type TPM_ST_ATTEST_CERTIFY.
    pub attest: Vec<u8>,
    /// Signature over `attest`: a marshaled TPMT_SIGNATURE, or the bare octets.
    pub signature: Vec<u8>,
    /// Marshaled TPMT_PUBLIC of the certified key.
    pub public: Option<Vec<u8>>,
}

impl TpmCertify {
    /// Reads the DER of `stmt`.
    ///
    /// # Errors
    /// [`Malformed`] unless `stmt` is exactly that, in strict DER.
    pub fn parse(stmt: &[u8]) -> Result<Self, Malformed> {
        let names = ["tpmSAttest", "signature", "tpmTPublic"];
        let (attest, signature, public) = super::read_octet_strings(stmt, "Tcg-csr-tpm-certify", names)?;
        Ok(Self { attest: attest.to_vec(), signature: signature.to_vec(), public: public.map(<[u8]>::to_vec) })
    }

    /// The DER of `stmt`.
    #[must_use]
    pub fn to_der(&self) -> Vec<u8> {
        let mut writer = DerWriter::new();
        writer.sequence(|fields| {
            fields.octet_string(&self.attest).octet_string(&self.signature);
            if let Some(public) = &self.public {
                fields.octet_string(public);
            }
        });
        writer.into_der()
    }
}
