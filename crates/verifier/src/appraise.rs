//! Appraisal: whether what is true and bound suffices for a policy. Every rule runs; all violations are returned.

use vouchsafe_evidence::tpm::{HashAlg, ObjectAttributes};

use crate::authenticate::{AttestedKey, AttestedPlatform, Authenticated, Authentication};
use crate::bind::Binding;
use crate::hex;
use crate::policy::{NonceDemand, PlatformDemand, Policy, ReferenceValues, Stance};
use crate::rejection::{Code, Rejection, codes};

/// What policy finds wrong, by subject.
#[derive(Clone, Debug, Default)]
pub(crate) struct Appraisal {
    /// With the key.
    pub key: Vec<Rejection>,
    /// With the platform.
    pub platform: Vec<Rejection>,
}

/// Appraises the bound statements. `baseline` holds the values recorded when the AK was enrolled; policy's own
/// references go before it.
pub(crate) fn appraise(
    authentication: &Authentication,
    binding: &Binding,
    policy: &Policy,
    baseline: &ReferenceValues,
    nonce_given: bool,
) -> Appraisal {
    let mut appraisal = Appraisal::default();
    let at = |place: &usize| authentication.statements.get(*place);
    for statement in binding.keys.iter().filter_map(at) {
        if let Some(key) = statement.key() {
            appraisal.key.extend(appraise_key(statement, key, policy));
        }
    }
    if policy.nonce() == NonceDemand::Required && !nonce_given {
        appraisal.key.push(Rejection::plain(codes::POLICY_NONCE));
    }
    match binding.platform.as_ref().and_then(at) {
        Some(statement) => {
            if let Some(platform) = statement.platform() {
                appraisal.platform.extend(appraise_platform(statement, platform, policy, baseline));
            }
        }
        None if policy.platform() == PlatformDemand::Required && !has_failed_platform(authentication) => {
            appraisal.platform.push(Rejection::plain(codes::POLICY_PLATFORM));
        }
        None => {}
    }
    appraisal
}

/// Whether a platform statement is there and false: it has its own reason already.
fn has_failed_platform(authentication: &Authentication) -> bool {
    authentication.failures.iter().any(|(format, _)| !crate::bind::is_key_format(*format))
}

/// What a key's TPM must not let happen to it. No policy switches these off: they are what the word
/// "hardware key" means here.
const KEY_RULES: [(u32, Code); 3] = [
    (ObjectAttributes::FIXED_TPM, codes::TPM_KEY_NOT_FIXED),
    (ObjectAttributes::FIXED_PARENT, codes::TPM_KEY_PARENT_NOT_FIXED),
    (ObjectAttributes::SENSITIVE_DATA_ORIGIN, codes::TPM_KEY_NOT_GENERATED),
];

fn appraise_key(statement: &Authenticated, key: &AttestedKey, policy: &Policy) -> Vec<Rejection> {
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
    if statement.signer().root().is_virtual() && policy.virtual_module() == Stance::Reject {
        violations.push(Rejection::plain(codes::POLICY_VIRTUAL));
    }
    violations.into_iter().map(|violation| violation.in_statement(statement.index())).collect()
}

fn appraise_platform(
    statement: &Authenticated,
    platform: &AttestedPlatform,
    policy: &Policy,
    baseline: &ReferenceValues,
) -> Vec<Rejection> {
    let mut violations = Vec::new();
    for (bank, indices) in policy.pcr_selection() {
        let missing: Vec<u8> =
            indices.iter().copied().filter(|index| !platform.registers.contains(&(*bank, *index))).collect();
        if !missing.is_empty() {
            violations.push(Rejection::new(
                codes::TPM_PCR_SELECTION,
                format!("The quote does not cover PCRs {missing:?} of the {} bank.", bank.label()),
            ));
        }
    }
    violations.extend(compare_references(platform, policy.references()));
    violations.extend(compare_references(platform, baseline));
    if statement.signer().root().is_virtual() && policy.virtual_module() == Stance::Reject {
        violations.push(Rejection::plain(codes::POLICY_VIRTUAL));
    }
    violations.into_iter().map(|violation| violation.in_statement(statement.index())).collect()
}

/// Compares quoted values with references. Every register that has one must be quoted: the device, which chooses
/// what it quotes, must not choose what it is compared with (CVE-2022-0317).
fn compare_references(platform: &AttestedPlatform, references: &ReferenceValues) -> Vec<Rejection> {
    let mut violations = Vec::new();
    for (bank, index, wanted) in references.iter() {
        let Some(place) = platform.registers.iter().position(|register| *register == (bank, index)) else {
            violations.push(Rejection::new(
                codes::TPM_PCR_SELECTION,
                format!("PCR {index} of the {} bank has a reference value and is not quoted.", bank.label()),
            ));
            continue;
        };
        let Some(values) = &platform.values else {
            violations.push(Rejection::plain(codes::TPM_PCR_VALUES));
            return violations;
        };
        let found = values.get(place).map(Vec::as_slice).unwrap_or_default();
        if found != wanted {
            violations.push(mismatch(bank, index, wanted, found));
        }
    }
    violations
}

fn mismatch(bank: HashAlg, index: u8, wanted: &[u8], found: &[u8]) -> Rejection {
    Rejection::new(
        codes::TPM_PCR_REFERENCE,
        format!(
            "PCR {index} of the {} bank is {}; its reference value is {}.",
            bank.label(),
            hex::encode(found),
            hex::encode(wanted)
        ),
    )
}
