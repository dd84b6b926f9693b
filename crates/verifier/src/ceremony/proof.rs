//! Whether the attesting key signed the record itself.

use vouchsafe_evidence::ceremony::{AkFamily, DIGEST_OCTETS, ModuleIdentity, Proof, proof_message, proof_nonce};
use vouchsafe_evidence::formats::pkix_evidence::EvidenceView;
use vouchsafe_evidence::tpm::{TpmsAttest, TpmtSignature};
use vouchsafe_evidence::x509::SpkiView;

use super::{SIGNATURE_CHECKS, check_jose, codes};
use crate::crypto::{SignatureAlgorithm, SignatureBudget, verify_signature, verify_tpm_signature};
use crate::rejection::Rejection;

/// Checks that `proof` was made with the private part of `key`, by what a key of its family may sign, for a record whose
/// last step has the digest `previous`.
pub(super) fn check(
    proof: &Proof,
    previous: &[u8; DIGEST_OCTETS],
    key: &SpkiView,
    family: AkFamily,
) -> Result<(), Rejection> {
    let mut budget = SignatureBudget::with_limit(SIGNATURE_CHECKS);
    let refuse = |why: String| Rejection::new(codes::BAD_PROOF, format!("The attesting key proved nothing: {why}."));
    match (family, proof) {
        (AkFamily::PkixEvidence, Proof::Signature { algorithm, signature }) => {
            check_jose(&mut budget, key, *algorithm, &proof_message(previous, key), signature)
                .map_err(|error| refuse(error.to_string()))
        }
        (AkFamily::PkixEvidence, Proof::Evidence(evidence)) => {
            let view = EvidenceView::parse(evidence).map_err(|defect| refuse(defect.to_string()))?;
            let nonce = view.elements().transaction.as_ref().and_then(|transaction| transaction.nonce);
            if nonce != Some(proof_nonce(previous, key).as_slice()) {
                return Err(refuse("its Evidence answers another nonce than that of this step".to_owned()));
            }
            let holds = view.signatures().iter().any(|block| {
                SignatureAlgorithm::from_der(block.algorithm).is_ok_and(|algorithm| {
                    verify_signature(&mut budget, key, algorithm, view.tbs(), block.signature).is_ok()
                })
            });
            if holds { Ok(()) } else { Err(refuse("no signature of its Evidence is by this key".to_owned())) }
        }
        (AkFamily::Tpm, Proof::TpmAttest { attest, signature }) => {
            let parsed = TpmsAttest::parse(attest).map_err(|defect| refuse(defect.to_string()))?;
            if parsed.extra_data() != proof_nonce(previous, key) {
                return Err(refuse("its TPMS_ATTEST has another extraData than that of this step".to_owned()));
            }
            let signature = TpmtSignature::parse(signature).map_err(|defect| refuse(defect.to_string()))?;
            verify_tpm_signature(&mut budget, key, &signature, attest).map_err(|error| refuse(error.to_string()))
        }
        (AkFamily::PkixEvidence, Proof::TpmAttest { .. })
        | (AkFamily::Tpm, Proof::Evidence(_) | Proof::Signature { .. }) => {
            let (form, family) = (proof.form(), family.label());
            Err(refuse(format!("a proof of form `{form}` is none of a key of family `{family}`")))
        }
    }
}

/// Checks that Evidence, where it tells a serial number, tells the one that people read off the module.
pub(super) fn check_module(proof: &Proof, module: Option<&ModuleIdentity>) -> Result<(), Rejection> {
    let evidence = match proof {
        Proof::Evidence(evidence) => evidence,
        // Neither says which module it is.
        Proof::Signature { .. } | Proof::TpmAttest { .. } => return Ok(()),
    };
    let view = EvidenceView::parse(evidence).map_err(|defect| Rejection::new(codes::BAD_PROOF, defect.to_string()))?;
    let told = view.elements().platform.as_ref().and_then(|platform| platform.hw_serial);
    match (told, module) {
        (Some(told), Some(module)) if told.trim() != module.serial => {
            let message = format!("People recorded the serial number {}, the Evidence tells {told}.", module.serial);
            Err(Rejection::new(codes::MODULE_DIFFERS, message))
        }
        (Some(_) | None, Some(_)) => Ok(()),
        (_, None) => Err(Rejection::plain(codes::SCRIPT)),
    }
}
