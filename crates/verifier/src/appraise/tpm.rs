//! Keys of TPMs: the attributes without which nothing ties a key to its TPM.

use vouchsafe_evidence::tpm::ObjectAttributes;

use crate::authenticate::TpmKey;
use crate::policy::{Policy, Stance};
use crate::rejection::{Code, Rejection, codes};

/// What a key's TPM must not let happen to it. No policy switches these off: they are what the word
/// "hardware key" means here.
const KEY_RULES: [(u32, Code); 3] = [
    (ObjectAttributes::FIXED_TPM, codes::TPM_KEY_NOT_FIXED),
    (ObjectAttributes::FIXED_PARENT, codes::TPM_KEY_PARENT_NOT_FIXED),
    (ObjectAttributes::SENSITIVE_DATA_ORIGIN, codes::TPM_KEY_NOT_GENERATED),
];

/// What is wrong with a key of a TPM, whatever policy says of claims.
pub(super) fn appraise_tpm_key(key: &TpmKey, policy: &Policy) -> Vec<Rejection> {
    let mut violations: Vec<Rejection> = KEY_RULES
        .into_iter()
        .filter(|(bit, _)| !key.attributes.contains(*bit))
        .map(|(_, code)| Rejection::plain(code))
        .collect();
    if key.attributes.contains(ObjectAttributes::ENCRYPTED_DUPLICATION) {
        violations.push(Rejection::plain(codes::TPM_KEY_DUPLICABLE));
    }
    if key.attributes.has_reserved() {
        violations.push(Rejection::new(
            codes::TPM_KEY_RESERVED,
            format!("The key's attributes {:?} have bits that no specification defines.", key.attributes),
        ));
    }
    if key.is_extension_only() && policy.extension_only() == Stance::Reject {
        violations.push(Rejection::plain(codes::POLICY_EXTENSION_ONLY));
    }
    violations
}
