//! Renewal: the old attestation key of a TPM vouches for the key that is certified next, itself or a successor.
//!
//! A restricted key signs no free text, so that no request can be signed with it. It quotes: a quote over the nonce shows
//! that the key answers now, and every agent can make one. For a successor it certifies that key's Name (TPM2_Certify),
//! which shows that both are loaded in one TPM. TPM2_CertifyX509 would do neither better and asks for a key that can do it.

use vouchsafe_evidence::tpm::{Attested, TpmsAttest, TpmtSignature};

use super::QualifiedAk;
use crate::crypto::{SignatureBudget, verify_tpm_signature};
use crate::rejection::{Rejection, codes};

/// Checks that `old` vouches for `next`, which is `old` itself or its successor, in answer to `nonce`.
///
/// - Of itself: TPM2_Quote over any registers, or TPM2_Certify of itself.
/// - Of a successor: TPM2_Certify of it.
///
/// # Errors
/// `tpm.malformed-attest`, `tpm.malformed-signature`, `tpm.wrong-attestation-type`, `tpm.name-mismatch`,
/// `nonce.mismatch`, `tpm.signature-algorithm` and `tpm.bad-signature`.
pub fn verify_renewal(
    old: &QualifiedAk,
    next: &QualifiedAk,
    attest: &[u8],
    signature: &[u8],
    nonce: &[u8],
) -> Result<(), Rejection> {
    let attest = TpmsAttest::parse(attest).map_err(|e| {
        Rejection::new(codes::TPM_MALFORMED_ATTEST, format!("The attestation of the renewal is malformed: {e}."))
    })?;
    let signature = TpmtSignature::parse(signature).map_err(|e| {
        Rejection::new(codes::TPM_MALFORMED_SIGNATURE, format!("The signature of the renewal is malformed: {e}."))
    })?;
    if old.public().signing_hash() != Some(signature.hash()) {
        return Err(Rejection::plain(codes::TPM_SIGNATURE_ALGORITHM));
    }
    verify_tpm_signature(&mut SignatureBudget::new(), old.spki(), &signature, attest.as_bytes()).map_err(|error| {
        Rejection::new(codes::TPM_BAD_SIGNATURE, format!("{} ({error})", codes::TPM_BAD_SIGNATURE.meaning))
    })?;
    match attest.attested() {
        Attested::Quote { .. } if next.name() == old.name() => {}
        Attested::Certify { name, .. } if name == next.name() => {}
        Attested::Certify { .. } => return Err(Rejection::plain(codes::TPM_NAME_MISMATCH)),
        other @ (Attested::Quote { .. }
        | Attested::CommandAudit { .. }
        | Attested::Creation { .. }
        | Attested::Nv { .. }
        | Attested::NvDigest { .. }
        | Attested::SessionAudit { .. }
        | Attested::Time { .. }) => {
            let message = format!("A renewal takes a quote, or TPM2_Certify of the successor, not {}.", other.label());
            return Err(Rejection::new(codes::TPM_WRONG_TYPE, message));
        }
    }
    if attest.extra_data() != nonce {
        return Err(Rejection::plain(codes::NONCE_MISMATCH));
    }
    Ok(())
}
