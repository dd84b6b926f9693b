//! Attestation (Part 3, "Attestation commands").

use vouchsafe_evidence::limits::TPM_DIGEST_OCTETS;
use vouchsafe_evidence::tpm::marshal::{Reader, Writer};
use vouchsafe_evidence::tpm::{PcrSelection, TpmsAttest, TpmtSignature};

use super::{CERTIFY, CERTIFY_CREATION, CERTIFY_X509, CreationProof, QUOTE, SignScheme, TPM2B_OCTETS};
use crate::provider::Fault;
use crate::tpm::frame::{Request, Subject};
use crate::tpm::{Object, Tpm};

/// A TPMS_ATTEST and the signature over it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certified {
    /// The structure.
    pub attest: TpmsAttest,
    /// The signature over its bytes.
    pub signature: TpmtSignature,
}

/// What TPM2_CertifyX509 adds to a partial certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertifiedX509 {
    /// DER SEQUENCE of version, serial number, algorithm and public key.
    pub added: Vec<u8>,
    /// Digest of the TBSCertificate that was signed.
    pub tbs_digest: Vec<u8>,
    /// The signature over it.
    pub signature: TpmtSignature,
}

impl Tpm {
    fn attest(&mut self, request: Request<'_>, production: &'static str) -> Result<Certified, Fault> {
        let reply = self.execute(request.encrypt_out())?;
        let mut r = Reader::new(&reply.parameters, production);
        let attest = TpmsAttest::parse(r.tpm2b(TPM2B_OCTETS)?)?;
        let signature = TpmtSignature::read(&mut r)?;
        r.finish()?;
        Ok(Certified { attest, signature })
    }

    /// TPM2_Certify: `signer` says that `object` is loaded, by Name. `qualifying_data` is what the caller wants in it.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn certify(
        &mut self,
        object: &Object,
        signer: &Object,
        qualifying_data: &[u8],
        scheme: SignScheme,
    ) -> Result<Certified, Fault> {
        let mut w = Writer::new();
        w.tpm2b(qualifying_data);
        scheme.write(&mut w);
        self.attest(Request::new(CERTIFY, w.into_bytes()).by(object).by(signer), CERTIFY.name)
    }

    /// TPM2_CertifyCreation: `signer` says that this TPM created `object` in the circumstances of `creation`.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn certify_creation(
        &mut self,
        object: &Object,
        signer: &Object,
        creation: &CreationProof,
        qualifying_data: &[u8],
    ) -> Result<Certified, Fault> {
        let mut w = Writer::new();
        w.tpm2b(qualifying_data).tpm2b(&creation.hash);
        SignScheme::KeysOwn.write(&mut w);
        creation.ticket.write(&mut w);
        let request = Request::new(CERTIFY_CREATION, w.into_bytes()).by(signer).on(Subject::Object(object));
        self.attest(request, CERTIFY_CREATION.name)
    }

    /// TPM2_Quote: `signer` says what the selected registers hold.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn quote(
        &mut self,
        signer: &Object,
        qualifying_data: &[u8],
        selection: &PcrSelection,
    ) -> Result<Certified, Fault> {
        let mut w = Writer::new();
        w.tpm2b(qualifying_data);
        SignScheme::KeysOwn.write(&mut w);
        selection.write(&mut w);
        self.attest(Request::new(QUOTE, w.into_bytes()).by(signer), QUOTE.name)
    }

    /// TPM2_CertifyX509: `signer` signs a certificate for `object`. `partial` is the DER of a SEQUENCE of issuer,
    /// validity, subject and extensions.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn certify_x509(
        &mut self,
        object: &Object,
        signer: &Object,
        scheme: SignScheme,
        partial: &[u8],
    ) -> Result<CertifiedX509, Fault> {
        let mut w = Writer::new();
        w.tpm2b(&[]);
        scheme.write(&mut w);
        w.tpm2b(partial);
        let request = Request::new(CERTIFY_X509, w.into_bytes()).by(object).by(signer).encrypt_out();
        let reply = self.execute(request)?;
        let mut r = Reader::new(&reply.parameters, CERTIFY_X509.name);
        let added = r.tpm2b(TPM2B_OCTETS)?.to_vec();
        let tbs_digest = r.tpm2b(TPM_DIGEST_OCTETS)?.to_vec();
        let signature = TpmtSignature::read(&mut r)?;
        r.finish()?;
        Ok(CertifiedX509 { added, tbs_digest, signature })
    }
}
