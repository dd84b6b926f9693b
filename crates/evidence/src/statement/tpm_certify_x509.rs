//! A certificate that TPM2_CertifyX509 made, 1.3.6.1.4.1.32473.1.1.

use crate::x509::CertView;
use crate::x509::build::DerWriter;
use crate::x509::der::Reader;
use crate::{Malformed, x509::der::Tag};

const PRODUCTION: &str = "tpm-certify-x509 statement";

/// A certificate that TPM2_CertifyX509 made for a key.
///
/// ```asn1
/// SEQUENCE {
///   certificate Certificate,             -- its issuer is an AK certificate among the certs
///   tpmTPublic  OCTET STRING OPTIONAL }  -- TPMT_PUBLIC
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TpmCertifyX509 {
    /// The certificate.
    pub certificate: CertView,
    /// Marshaled TPMT_PUBLIC of the certified key.
    pub public: Option<Vec<u8>>,
}

impl TpmCertifyX509 {
    /// Reads the DER of `stmt`.
    ///
    /// # Errors
    /// [`Malformed`] unless `stmt` is exactly that, in strict DER but for what the certificate's own
    /// quirks report.
    pub fn parse(stmt: &[u8]) -> Result<Self, Malformed> {
        let mut outer = Reader::new(stmt, PRODUCTION);
        let mut fields = outer.sequence(PRODUCTION)?;
        outer.finish()?;
        let certificate = fields.expect(Tag::SEQUENCE, "certificate")?;
        let public = super::read_optional_octet_string(&mut fields, "tpmTPublic")?;
        fields.finish()?;
        Ok(Self { certificate: CertView::parse(certificate.as_der())?, public: public.map(<[u8]>::to_vec) })
    }

    /// The DER of `stmt`.
    #[must_use]
    pub fn to_der(&self) -> Vec<u8> {
        let mut writer = DerWriter::new();
        writer.sequence(|fields| {
            fields.raw(self.certificate.as_der());
            if let Some(public) = &self.public {
                fields.octet_string(public);
            }
        });
        writer.into_der()
    }
}
