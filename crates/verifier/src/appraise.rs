//! Appraisal: whether what is true and bound suffices for a policy. Every rule runs; all violations are returned.

use vouchsafe_evidence::tpm::{HashAlg, ObjectAttributes};

use crate::authenticate::{AttestedPlatform, Authenticated, Authentication, Quoted, TpmKey};
use crate::bind::Binding;
use crate::claims::Claims;
use crate::describe::Descriptions;
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

/// What is appraised, and against what.
pub(crate) struct Appraised<'a> {
    /// What was authenticated.
    pub authentication: &'a Authentication,
    /// How it belongs together.
    pub binding: &'a Binding,
    /// What it says, in the common vocabulary.
    pub descriptions: &'a Descriptions,
    /// What must be true.
    pub policy: &'a Policy,
    /// The values recorded when the AK was enrolled; policy's own references go before it.
    pub baseline: &'a ReferenceValues,
    /// Whether a nonce was given, which every statement then had to answer.
    pub nonce_given: bool,
}

/// Appraises the bound statements: the rules of each format's own, then those over claims.
pub(crate) fn appraise(appraised: &Appraised<'_>) -> Appraisal {
    let Appraised { authentication, binding, descriptions, policy, baseline, nonce_given } = appraised;
    let mut appraisal = Appraisal::default();
    let at = |place: usize| authentication.statements.get(place);
    for (place, claims) in binding.keys.iter().zip(&descriptions.keys) {
        let Some(statement) = at(place.statement) else { continue };
        let Some(key) = statement.keys().get(place.key) else { continue };
        let mut violations = match key.tpm() {
            Some(key) => appraise_tpm_key(key, policy),
            None => appraise_module_key(claims),
        };
        if statement.signer().is_virtual() && policy.virtual_module() == Stance::Reject {
            violations.push(Rejection::plain(codes::POLICY_VIRTUAL));
        }
        appraisal.key.extend(violations.into_iter().map(|violation| violation.in_statement(statement.index())));
    }
    if policy.nonce() == NonceDemand::Required && !nonce_given {
        appraisal.key.push(Rejection::plain(codes::POLICY_NONCE));
    }
    match binding.platform.and_then(at) {
        Some(statement) => {
            if let Some(quoted) = statement.platform().and_then(AttestedPlatform::quote) {
                appraisal.platform.extend(appraise_quote(statement, quoted, policy, baseline));
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

fn appraise_tpm_key(key: &TpmKey, policy: &Policy) -> Vec<Rejection> {
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

/// The same of a key of any other module, by what is claimed of it. What is not claimed does not hold.
fn appraise_module_key(claims: &Claims) -> Vec<Rejection> {
    let mut violations = Vec::new();
    if !claims.is("extractable", false) {
        violations.push(Rejection::plain(codes::KEY_EXTRACTABLE));
    }
    if !claims.is("origin", "generated") {
        violations.push(Rejection::plain(codes::KEY_NOT_GENERATED));
    }
    violations
}

fn appraise_quote(
    statement: &Authenticated,
    platform: &Quoted,
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
    if statement.signer().is_virtual() && policy.virtual_module() == Stance::Reject {
        violations.push(Rejection::plain(codes::POLICY_VIRTUAL));
    }
    violations.into_iter().map(|violation| violation.in_statement(statement.index())).collect()
}

/// Compares quoted values with references. Every register that has one must be quoted: the device, which chooses
/// what it quotes, must not choose what it is compared with (CVE-2022-0317).
fn compare_references(platform: &Quoted, references: &ReferenceValues) -> Vec<Rejection> {
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
