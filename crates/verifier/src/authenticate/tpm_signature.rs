//! The signature over a TPMS_ATTEST, in either encoding.

use vouchsafe_evidence::tpm::{AttestationSignature, HashAlg, TpmsAttest, TpmtSignature};
use vouchsafe_evidence::x509::{PublicKey, SpkiView};

use crate::crypto::{
    PssSalt, SignatureAlgorithm, SignatureBudget, SignatureError, verify_signature, verify_tpm_signature,
};
use crate::rejection::{Rejection, codes};

/// Hashes to try where a bare signature does not say its own (FACTS: never SHA-1).
const STRONG: [HashAlg; 3] = [HashAlg::Sha256, HashAlg::Sha384, HashAlg::Sha512];

/// Checks `field` as a signature by `key` over the bytes of `attest`.
pub(super) fn verify(
    budget: &mut SignatureBudget,
    key: &SpkiView,
    field: &[u8],
    attest: &TpmsAttest,
) -> Result<(), Rejection> {
    let modulus_octets = match key.key() {
        PublicKey::Rsa { modulus, .. } => Some(modulus.len()),
        PublicKey::Ec { .. } => None,
        PublicKey::Ed25519(_) | PublicKey::MlDsa65(_) | PublicKey::Unknown { .. } => {
            return Err(Rejection::plain(codes::TPM_SIGNATURE_ALGORITHM));
        }
    };
    let signature = AttestationSignature::parse(field, modulus_octets)
        .map_err(|e| Rejection::new(codes::TPM_MALFORMED_SIGNATURE, format!("The signature is malformed: {e}.")))?;
    match signature {
        AttestationSignature::Tpmt(signature) => verify_marshaled(budget, key, &signature, attest),
        AttestationSignature::RawEcdsa(value) => {
            let algorithms = hashes(attest)?.into_iter().map(SignatureAlgorithm::Ecdsa).collect();
            verify_any(budget, key, algorithms, attest, &value)
        }
        AttestationSignature::RawRsa(value) => {
            let hashes = hashes(attest)?;
            let pkcs1 = hashes.iter().copied().map(SignatureAlgorithm::RsaPkcs1);
            let pss = hashes.iter().map(|hash| SignatureAlgorithm::RsaPss(*hash, PssSalt::DigestOrLongest));
            verify_any(budget, key, pkcs1.chain(pss).collect(), attest, &value)
        }
    }
}

fn verify_marshaled(
    budget: &mut SignatureBudget,
    key: &SpkiView,
    signature: &TpmtSignature,
    attest: &TpmsAttest,
) -> Result<(), Rejection> {
    // A quote's digest is made with the hash of the signature; two hashes would be two attestations.
    if attest.quote_hash().is_some_and(|hash| hash != signature.hash()) {
        return Err(Rejection::new(
            codes::TPM_PCR_DIGEST,
            format!("The quote's digest is not of the {} that the signature names.", signature.hash().label()),
        ));
    }
    verify_tpm_signature(budget, key, signature, attest.as_bytes()).map_err(|e| rejection(&e))
}

/// The hashes that a bare signature may have used: a quote's digest tells, anything else may be any strong one.
fn hashes(attest: &TpmsAttest) -> Result<Vec<HashAlg>, Rejection> {
    match attest.quote_hash() {
        Some(hash) if hash.is_strong() => Ok(vec![hash]),
        Some(_) => Err(Rejection::plain(codes::TPM_WEAK_HASH)),
        None => Ok(STRONG.to_vec()),
    }
}

fn verify_any(
    budget: &mut SignatureBudget,
    key: &SpkiView,
    algorithms: Vec<SignatureAlgorithm>,
    attest: &TpmsAttest,
    signature: &[u8],
) -> Result<(), Rejection> {
    let mut last = SignatureError::Invalid;
    for algorithm in algorithms {
        match verify_signature(budget, key, algorithm, attest.as_bytes(), signature) {
            Ok(()) => return Ok(()),
            Err(stop @ SignatureError::BudgetExhausted { .. }) => return Err(rejection(&stop)),
            Err(error) => last = error,
        }
    }
    Err(rejection(&last))
}

/// The refusal that a failed check of an attestation's signature amounts to.
fn rejection(error: &SignatureError) -> Rejection {
    let code = match error {
        SignatureError::BudgetExhausted { .. } => codes::LIMIT_SIGNATURE_CHECKS,
        SignatureError::Invalid => codes::TPM_BAD_SIGNATURE,
        SignatureError::KeyMismatch { .. } => codes::TPM_SIGNATURE_ALGORITHM,
        SignatureError::WeakAlgorithm { .. } => codes::TPM_WEAK_HASH,
        SignatureError::WeakKey { .. } => codes::AK_KEY_TYPE,
    };
    Rejection::new(code, format!("{} ({error})", code.meaning))
}
