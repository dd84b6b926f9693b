//! tpm-certify: TPM2_Certify by an attestation key over a key in the same TPM.

use vouchsafe_evidence::statement::TpmCertify;
use vouchsafe_evidence::tpm::{Attested, Name, TpmsAttest, TpmtPublic};

use super::tpm_quote::parse_attest;
use super::{AttestedKey, KeyProperties, Subject, TpmKey};
use crate::rejection::{Rejection, codes};

/// A parsed statement, not yet believed.
pub(super) struct Certify {
    attest: TpmsAttest,
    signature: Vec<u8>,
    name: Name,
    qualified_name: Name,
    public: TpmtPublic,
}

impl Certify {
    pub(super) fn parse(stmt: &[u8]) -> Result<Self, Rejection> {
        let statement = TpmCertify::parse(stmt).map_err(|e| {
            Rejection::new(codes::TPM_MALFORMED_STATEMENT, format!("The tpm-certify statement is malformed: {e}."))
        })?;
        let attest = parse_attest(&statement.attest)?;
        let (name, qualified_name) = match attest.attested() {
            Attested::Certify { name, qualified_name } => (name.clone(), qualified_name.clone()),
            Attested::CommandAudit { .. }
            | Attested::Creation { .. }
            | Attested::Nv { .. }
            | Attested::NvDigest { .. }
            | Attested::Quote { .. }
            | Attested::SessionAudit { .. }
            | Attested::Time { .. } => {
                return Err(Rejection::new(
                    codes::TPM_WRONG_TYPE,
                    format!(
                        "A tpm-certify statement holds TPM_ST_ATTEST_CERTIFY, this one {}.",
                        attest.attested().label()
                    ),
                ));
            }
        };
        let public = statement.public.ok_or_else(|| Rejection::plain(codes::TPM_PUBLIC_MISSING))?;
        let public = TpmtPublic::parse(&public)
            .map_err(|e| Rejection::new(codes::TPM_MALFORMED_PUBLIC, format!("The public area is malformed: {e}.")))?;
        Ok(Self { attest, signature: statement.signature, name, qualified_name, public })
    }

    pub(super) const fn attest(&self) -> &TpmsAttest {
        &self.attest
    }

    pub(super) fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// The key, once the attested Name is that of the public area: the one place where a certified Name and a
    /// key meet. A cloned key, or another key's evidence, ends here or at the binding to the request.
    pub(super) fn conclude(self) -> Result<(Vec<u8>, Subject), Rejection> {
        let computed = strong_name(&self.public)?;
        if computed != self.name {
            return Err(Rejection::new(
                codes::TPM_NAME_MISMATCH,
                format!("The TPM certified {:?}; the public area's Name is {computed:?}.", self.name),
            ));
        }
        let spki = self.public.spki().ok_or_else(|| Rejection::plain(codes::TPM_KEY_TYPE))?;
        let qualifying = self.attest.extra_data().to_vec();
        let key = TpmKey {
            attributes: self.public.attributes(),
            public: Some(self.public),
            qualified_name: Some(self.qualified_name),
            firmware_version: Some(self.attest.firmware_version()),
        };
        let properties = KeyProperties::Tpm(Box::new(key));
        Ok((qualifying, Subject::Key(AttestedKey { spki: Some(spki), properties })))
    }
}

/// The Name of `public`, unless its algorithm is NULL (an empty Name fits anything, A20) or weak.
pub(crate) fn strong_name(public: &TpmtPublic) -> Result<Name, Rejection> {
    public
        .name_alg()
        .filter(|alg| alg.is_strong())
        .and_then(|_| public.name())
        .ok_or_else(|| Rejection::plain(codes::TPM_NAME_ALGORITHM))
}
