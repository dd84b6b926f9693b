//! The platform baseline of a device: PCR values that its own attestation key quoted at enrolment.

use thiserror::Error;
use vouchsafe_evidence::Malformed;
use vouchsafe_evidence::limits::TPM_DIGEST_OCTETS;
use vouchsafe_evidence::tpm::marshal::{Reader, Writer};
use vouchsafe_evidence::tpm::{Attested, HashAlg, PcrSelection, TpmsAttest, TpmtPublic, TpmtSignature};
use vouchsafe_evidence::x509::SpkiView;
use vouchsafe_verifier::ReferenceValues;
use vouchsafe_verifier::crypto::{SignatureBudget, SignatureError, verify_tpm_signature};

/// A quote that is offered as baseline, each part as the TPM gave it.
#[derive(Clone, Copy, Debug)]
pub struct Quote<'a> {
    /// TPMS_ATTEST.
    pub attest: &'a [u8],
    /// TPMT_SIGNATURE.
    pub signature: &'a [u8],
    /// The values, concatenated in the order of the selection.
    pub pcr_values: &'a [u8],
}

/// Why a quote is no baseline.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum BaselineError {
    /// The digest in the quote is not that of the values.
    #[error("the PCR values do not have the digest that was quoted")]
    Digest,
    /// A part is malformed.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The quote answers another nonce.
    #[error("the quote holds another nonce")]
    Nonce,
    /// The attestation is not a quote.
    #[error("the attestation is of type {found}, expected a quote")]
    NotAQuote {
        /// What it is.
        found: &'static str,
    },
    /// The quote says nothing: no register is selected.
    #[error("the quote selects no PCR")]
    NothingSelected,
    /// The signature uses another hash than the key's scheme.
    #[error("the signature does not use the key's own scheme")]
    Scheme,
    /// The signature is not the attestation key's.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// The number of octets is not that of the selected values.
    #[error("the PCR values have {found} octets, which is not the length of the selected registers")]
    ValuesLength {
        /// Octets found.
        found: usize,
    },
}

/// PCR values by bank and register, in ascending order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Baseline(Vec<(HashAlg, u8, Vec<u8>)>);

impl Baseline {
    /// Checks a quote by the attestation key over `nonce` and takes its values.
    ///
    /// - The attestation is a quote, its qualifying data is the nonce.
    /// - The signature is the attestation key's, by the scheme fixed in its public area.
    /// - The quoted digest is that of the values (Part 3, "TPM2_Quote": with the hash of the signing scheme).
    ///
    /// # Errors
    /// Every variant of [`BaselineError`].
    pub fn from_quote(
        quote: &Quote<'_>,
        ak: &TpmtPublic,
        spki: &SpkiView,
        nonce: &[u8],
    ) -> Result<Self, BaselineError> {
        let attest = TpmsAttest::parse(quote.attest)?;
        let Attested::Quote { selection, pcr_digest } = attest.attested() else {
            return Err(BaselineError::NotAQuote { found: attest.attested().label() });
        };
        if attest.extra_data() != nonce {
            return Err(BaselineError::Nonce);
        }
        let signature = TpmtSignature::parse(quote.signature)?;
        if ak.signing_hash() != Some(signature.hash()) {
            return Err(BaselineError::Scheme);
        }
        verify_tpm_signature(&mut SignatureBudget::new(), spki, &signature, attest.as_bytes())?;
        if signature.hash().digest(&[quote.pcr_values]) != *pcr_digest {
            return Err(BaselineError::Digest);
        }
        Self::from_values(selection, quote.pcr_values)
    }

    fn from_values(selection: &PcrSelection, values: &[u8]) -> Result<Self, BaselineError> {
        let registers = selection.cut(values).ok_or(BaselineError::ValuesLength { found: values.len() })?;
        if registers.is_empty() {
            return Err(BaselineError::NothingSelected);
        }
        let mut registers: Vec<_> =
            registers.into_iter().map(|(bank, index, value)| (bank, index, value.to_vec())).collect();
        registers.sort();
        Ok(Self(registers))
    }

    /// The form in which it is stored: `count u32 || { bank u16 || index u8 || TPM2B value }`.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.u32(u32::try_from(self.0.len()).unwrap_or(u32::MAX));
        for (bank, index, value) in &self.0 {
            writer.u16(bank.id()).u8(*index).tpm2b(value);
        }
        writer.into_bytes()
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// [`Malformed`] for anything that [`Baseline::to_bytes`] does not write.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes, "baseline");
        let mut registers = Vec::new();
        for _ in 0..reader.u32()? {
            let bank = reader.u16()?;
            let unknown = reader.error(vouchsafe_evidence::Reason::BadValue(u64::from(bank)));
            let bank = HashAlg::from_id(bank).ok_or(unknown)?;
            registers.push((bank, reader.u8()?, reader.tpm2b(TPM_DIGEST_OCTETS)?.to_vec()));
        }
        reader.finish()?;
        Ok(Self(registers))
    }

    /// The values as references for an appraisal.
    #[must_use]
    pub fn references(&self) -> Option<ReferenceValues> {
        let mut references = ReferenceValues::none();
        for (bank, index, value) in &self.0 {
            references.insert(*bank, *index, value).ok()?;
        }
        Some(references)
    }
}
