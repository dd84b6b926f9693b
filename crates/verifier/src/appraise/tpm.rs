//! Keys of TPMs: the attributes without which nothing ties a key to its TPM.

use serde_json::Value;
use vouchsafe_evidence::tpm::ObjectAttributes;

use crate::authenticate::TpmKey;
use crate::claims::Claims;
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

/// The same of a TPM's key that another format tells of, by the attributes that it claims; nothing of any other key.
pub(super) fn appraise_tpm_claims(claims: &Claims) -> Vec<Rejection> {
    let Some(claimed) = claims.named("tpm_attributes") else { return Vec::new() };
    let names: Vec<&str> = claimed.value.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let is_claimed = |bit| ObjectAttributes::from_bits(bit).names().all(|name| names.contains(&name));
    let mut violations: Vec<Rejection> =
        KEY_RULES.into_iter().filter(|(bit, _)| !is_claimed(*bit)).map(|(_, code)| Rejection::plain(code)).collect();
    if is_claimed(ObjectAttributes::ENCRYPTED_DUPLICATION) {
        violations.push(Rejection::plain(codes::TPM_KEY_DUPLICABLE));
    }
    violations
}
