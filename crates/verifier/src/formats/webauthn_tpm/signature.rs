//! The signature over TPMS_ATTEST, by the algorithm that the statement names (RFC 9053, 2; RFC 8230, 2; RFC 8812, 2).

use vouchsafe_evidence::formats::webauthn_tpm::TpmStatement;
use vouchsafe_evidence::tpm::{AttestationSignature, HashAlg, TpmtSignature};
use vouchsafe_evidence::x509::{PublicKey, SpkiView, build};

use super::ALGORITHM;
use crate::crypto::{Legacy, PssSalt, SignatureAlgorithm, SignatureBudget, SignatureError, verify_legacy_signature};
use crate::rejection::{Rejection, codes};

/// COSE identifiers of the algorithms that TPMs sign by.
const ALGORITHMS: [(i128, Algorithm); 10] = [
    (-7, ecdsa(HashAlg::Sha256)),
    (-35, ecdsa(HashAlg::Sha384)),
    (-36, ecdsa(HashAlg::Sha512)),
    (-37, rsa_pss(HashAlg::Sha256)),
    (-38, rsa_pss(HashAlg::Sha384)),
    (-39, rsa_pss(HashAlg::Sha512)),
    (-257, rsa_pkcs1(HashAlg::Sha256)),
    (-258, rsa_pkcs1(HashAlg::Sha384)),
    (-259, rsa_pkcs1(HashAlg::Sha512)),
    // RS1, which platforms in the field use; the verdict says so, and policy decides.
    (-65535, rsa_pkcs1(HashAlg::Sha1)),
];

/// RSASSA-PKCS1-v1_5 with SHA-1 counts here; whoever asks is told.
const LEGACY: Legacy = Legacy { sha1: true, ..Legacy::REFUSED };

/// An algorithm that statements name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Algorithm {
    signature: SignatureAlgorithm,
    /// Its hash, by which extraData is made as well.
    pub(super) hash: HashAlg,
}

const fn ecdsa(hash: HashAlg) -> Algorithm {
    Algorithm { signature: SignatureAlgorithm::Ecdsa(hash), hash }
}

const fn rsa_pkcs1(hash: HashAlg) -> Algorithm {
    Algorithm { signature: SignatureAlgorithm::RsaPkcs1(hash), hash }
}

const fn rsa_pss(hash: HashAlg) -> Algorithm {
    Algorithm { signature: SignatureAlgorithm::RsaPss(hash, PssSalt::DigestOrLongest), hash }
}

/// Checks the signature with the attesting key; returns by which algorithm it was made.
pub(super) fn verify(
    statement: &TpmStatement<'_>,
    key: &SpkiView,
    budget: &mut SignatureBudget,
) -> Result<Algorithm, Rejection> {
    let named = ALGORITHMS.iter().find(|(id, _)| *id == statement.algorithm).map(|(_, algorithm)| *algorithm);
    let algorithm = named.ok_or_else(|| {
        Rejection::new(ALGORITHM, format!("COSE algorithm {} is none that TPMs sign by.", statement.algorithm))
    })?;
    let signature = bare(statement.signature, key, algorithm)?;
    verify_legacy_signature(budget, key, algorithm.signature, (statement.cert_info, &signature), LEGACY).map_err(
        |error| {
            let code = match error {
                SignatureError::BudgetExhausted { .. } => codes::LIMIT_SIGNATURE_CHECKS,
                SignatureError::Invalid => codes::TPM_BAD_SIGNATURE,
                SignatureError::KeyMismatch { .. } => ALGORITHM,
                SignatureError::WeakAlgorithm { .. } => codes::TPM_WEAK_HASH,
                SignatureError::WeakKey { .. } => codes::AK_KEY_TYPE,
            };
            Rejection::new(code, format!("{} ({error})", code.meaning))
        },
    )?;
    Ok(algorithm)
}

/// The bare signature: as platforms write it, or out of the TPMT_SIGNATURE that the specification asks for, which must
/// then name the same algorithm.
fn bare(field: &[u8], key: &SpkiView, algorithm: Algorithm) -> Result<Vec<u8>, Rejection> {
    let modulus_octets = if let PublicKey::Rsa { modulus, .. } = key.key() { Some(modulus.len()) } else { None };
    let signature = AttestationSignature::parse(field, modulus_octets)
        .map_err(|e| Rejection::new(codes::TPM_MALFORMED_SIGNATURE, format!("The signature is malformed: {e}.")))?;
    let (found, bare) = match signature {
        AttestationSignature::RawEcdsa(bare) | AttestationSignature::RawRsa(bare) => return Ok(bare),
        AttestationSignature::Tpmt(TpmtSignature::Ecdsa { hash, r, s }) => {
            (SignatureAlgorithm::Ecdsa(hash), build::ecdsa_signature(&r, &s))
        }
        AttestationSignature::Tpmt(TpmtSignature::Rsassa { hash, signature }) => {
            (SignatureAlgorithm::RsaPkcs1(hash), signature)
        }
        AttestationSignature::Tpmt(TpmtSignature::Rsapss { hash, signature }) => {
            (SignatureAlgorithm::RsaPss(hash, PssSalt::DigestOrLongest), signature)
        }
    };
    if found != algorithm.signature {
        return Err(Rejection::new(
            ALGORITHM,
            format!("The statement names {}, its signature {found}.", algorithm.signature),
        ));
    }
    Ok(bare)
}
