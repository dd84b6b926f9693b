//! tpm-quote: TPM2_Quote by an attestation key over platform configuration registers.

use vouchsafe_evidence::statement::TpmQuote;
use vouchsafe_evidence::tpm::{Attested, HashAlg, PcrSelection, TpmsAttest};

use super::{Quoted, Subject};
use crate::rejection::{Rejection, codes};

/// A parsed statement, not yet believed.
pub(super) struct Quote {
    attest: TpmsAttest,
    signature: Vec<u8>,
    selection: PcrSelection,
    pcr_digest: Vec<u8>,
    values: Option<Vec<u8>>,
}

impl Quote {
    pub(super) fn parse(stmt: &[u8]) -> Result<Self, Rejection> {
        let statement = TpmQuote::parse(stmt).map_err(|e| {
            Rejection::new(codes::TPM_MALFORMED_STATEMENT, format!("The tpm-quote statement is malformed: {e}."))
        })?;
        let attest = parse_attest(&statement.attest)?;
        let (selection, pcr_digest) = match attest.attested() {
            Attested::Quote { selection, pcr_digest } => (selection.clone(), pcr_digest.clone()),
            Attested::Certify { .. }
            | Attested::CommandAudit { .. }
            | Attested::Creation { .. }
            | Attested::Nv { .. }
            | Attested::NvDigest { .. }
            | Attested::SessionAudit { .. }
            | Attested::Time { .. } => {
                return Err(Rejection::new(
                    codes::TPM_WRONG_TYPE,
                    format!("A tpm-quote statement holds TPM_ST_ATTEST_QUOTE, this one {}.", attest.attested().label()),
                ));
            }
        };
        Ok(Self { attest, signature: statement.signature, selection, pcr_digest, values: statement.pcr_values })
    }

    pub(super) const fn attest(&self) -> &TpmsAttest {
        &self.attest
    }

    pub(super) fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// The platform state, once the values that came along, if any, are those that the TPM's digest covers.
    pub(super) fn conclude(self) -> Result<(Vec<u8>, Subject), Rejection> {
        if self.selection.is_empty() {
            // CVE-2022-0317: a quote over no register is genuine and says nothing.
            return Err(Rejection::new(codes::TPM_PCR_SELECTION, "The quote covers no PCR at all."));
        }
        let registers: Vec<(HashAlg, u8)> = self.selection.registers().collect();
        let values = self.values.as_deref().map(|values| self.checked_values(values)).transpose()?;
        let qualifying = self.attest.extra_data().to_vec();
        Ok((qualifying, Subject::Platform(Quoted { attest: self.attest, registers, values })))
    }

    fn checked_values(&self, values: &[u8]) -> Result<Vec<Vec<u8>>, Rejection> {
        let cut = self.selection.cut(values).ok_or_else(|| {
            Rejection::new(
                codes::TPM_PCR_DIGEST,
                format!("{} octets of PCR values are not one digest for each selected PCR.", values.len()),
            )
        })?;
        // Part 3, TPM2_Quote: the digest is made with the hash of the signing scheme, which its length tells.
        let hash = self.attest.quote_hash().ok_or_else(|| Rejection::plain(codes::TPM_PCR_DIGEST))?;
        if hash.digest(&[values]) != self.pcr_digest {
            return Err(Rejection::plain(codes::TPM_PCR_DIGEST));
        }
        Ok(cut.into_iter().map(|(_, _, value)| value.to_vec()).collect())
    }
}

/// Parses a TPMS_ATTEST, telling bytes that no TPM generates (A27) from a structure that is broken.
pub(crate) fn parse_attest(bytes: &[u8]) -> Result<TpmsAttest, Rejection> {
    if !TpmsAttest::has_magic(bytes) {
        return Err(Rejection::plain(codes::TPM_MAGIC));
    }
    TpmsAttest::parse(bytes).map_err(|e| {
        Rejection::new(codes::TPM_MALFORMED_ATTEST, format!("The attestation structure is malformed: {e}."))
    })
}
