//! Quotes: the registers that policy asks for, and their reference values.

use vouchsafe_evidence::tpm::HashAlg;

use crate::authenticate::{Authenticated, Quoted};
use crate::hex;
use crate::policy::{Policy, ReferenceValues, Stance};
use crate::rejection::{Rejection, codes};

/// What is wrong with a quote.
pub(super) fn appraise_quote(
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
