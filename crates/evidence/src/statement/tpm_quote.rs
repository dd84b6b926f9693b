//! TPM2_Quote over PCRs, 2.23.133.20.2.

use crate::Malformed;
use crate::x509::build::DerWriter;

/// TPM2_Quote over PCRs.
///
/// ```asn1
/// TcgAttestQuote ::= SEQUENCE {
///   tpmSAttest OCTET STRING,            -- TPMS_ATTEST, without a size
///   signature  OCTET STRING,            -- bare signature or TPMT_SIGNATURE
///   pcrValues  OCTET STRING OPTIONAL }  -- the values in the order of the selection, nothing between them
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TpmQuote {
    /// Marshaled TPMS_ATTEST of type TPM_ST_ATTEST_QUOTE.
    pub attest: Vec<u8>,
    /// Signature over `attest`: a marshaled TPMT_SIGNATURE, or the bare octets.
    pub signature: Vec<u8>,
    /// The quoted PCR values, concatenated in the order of the selection.
    pub pcr_values: Option<Vec<u8>>,
}

impl TpmQuote {
    /// Reads the DER of `stmt`.
    ///
    /// # Errors
    /// [`Malformed`] unless `stmt` is exactly that, in strict DER.
    pub fn parse(stmt: &[u8]) -> Result<Self, Malformed> {
        let names = ["tpmSAttest", "signature", "pcrValues"];
        let (attest, signature, pcr_values) = super::read_octet_strings(stmt, "TcgAttestQuote", names)?;
        Ok(Self { attest: attest.to_vec(), signature: signature.to_vec(), pcr_values: pcr_values.map(<[u8]>::to_vec) })
    }

    /// The DER of `stmt`.
    #[must_use]
    pub fn to_der(&self) -> Vec<u8> {
        let mut writer = DerWriter::new();
        writer.sequence(|fields| {
            fields.octet_string(&self.attest).octet_string(&self.signature);
            if let Some(pcr_values) = &self.pcr_values {
                fields.octet_string(pcr_values);
            }
        });
        writer.into_der()
    }
}
