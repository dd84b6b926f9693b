//! Whether the attesting key signed the record itself.

use vouchsafe_evidence::ceremony::{AkFamily, DIGEST_OCTETS, ModuleIdentity, Proof, proof_message, proof_nonce};
use vouchsafe_evidence::formats::pkix_evidence::EvidenceView;
use vouchsafe_evidence::tpm::{TpmsAttest, TpmtSignature};
use vouchsafe_evidence::x509::SpkiView;

use super::{SIGNATURE_CHECKS, check_jose, codes};
use crate::crypto::{SignatureBudget, verify_tpm_signature};
use crate::formats::pkix_evidence::is_signed_by;
use crate::hex;
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
            if view.elements().nonce() != Some(proof_nonce(previous, key).as_slice()) {
                return Err(refuse("its Evidence answers another nonce than that of this step".to_owned()));
            }
            if is_signed_by(&view, key, &mut budget) {
                Ok(())
            } else {
                Err(refuse("no signature of its Evidence is by this key".to_owned()))
            }
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

/// Checks that Evidence tells vendor, model and serial number that people read off the module, each where it tells it.
pub(super) fn check_module(proof: &Proof, module: Option<&ModuleIdentity>) -> Result<(), Rejection> {
    let evidence = match proof {
        Proof::Evidence(evidence) => evidence,
        // Neither says which module it is.
        Proof::Signature { .. } | Proof::TpmAttest { .. } => return Ok(()),
    };
    let view = EvidenceView::parse(evidence).map_err(|defect| Rejection::new(codes::BAD_PROOF, defect.to_string()))?;
    let Some(module) = module else { return Err(Rejection::plain(codes::SCRIPT)) };
    let Some(platform) = view.elements().platform.as_ref() else { return Ok(()) };
    // The claim is of octets; those of no text are compared as people can write them.
    let model = platform.hw_model.map(|octets| match core::str::from_utf8(octets) {
        Ok(text) => text.to_owned(),
        Err(_) => hex::encode(octets),
    });
    let both = [
        ("vendor", platform.vendor, &module.vendor),
        ("model", model.as_deref(), &module.model),
        ("serial number", platform.hw_serial, &module.serial),
    ];
    match both.into_iter().find(|(_, told, recorded)| told.is_some_and(|told| told.trim() != recorded.as_str())) {
        Some((what, told, recorded)) => {
            let told = told.unwrap_or_default().trim();
            let message = format!("People recorded the {what} {recorded}, the Evidence tells {told}.");
            Err(Rejection::new(codes::MODULE_DIFFERS, message))
        }
        None => Ok(()),
    }
}
