//! What is true of evidence in the listed formats: one row each, one module each.
//!
//! A format's module checks signatures and chains of its makers' evidence under the format's own trust folder, and
//! brings what is said into the one vocabulary of claims. Whether that suffices is for [`crate::appraise`], and whether
//! it belongs to the key in question for [`crate::bind`]. Modules are given bytes, and yield a [`Testimony`] or the first
//! reason why nothing of them counts.

use vouchsafe_evidence::formats::ListedFormat;
use vouchsafe_evidence::x509::SpkiView;

use crate::authenticate::{Context, ModuleSigner};
use crate::claims::Claims;
use crate::rejection::{Code, Rejection};

mod crypto4a_qasm;
mod entrust_nshield;
mod fortanix_dsm;
mod gcp_cloudhsm;
pub(crate) mod pkix_evidence;
mod securosys_primus;
mod thales_luna;
mod vendor;
mod webauthn_tpm;
mod yubico;
mod yubihsm2;
mod yubikey_piv;

/// Every listed format's module.
static LIST: &[&Row] = &[
    &thales_luna::ROW,
    &gcp_cloudhsm::ROW,
    &fortanix_dsm::ROW,
    &pkix_evidence::ROW,
    &webauthn_tpm::ROW,
    &crypto4a_qasm::ROW,
    &entrust_nshield::ROW,
    &securosys_primus::ROW,
    &yubikey_piv::ROW,
    &yubihsm2::ROW,
];

/// How evidence of a format is authenticated.
pub(crate) struct Row {
    /// The format's id, as in [`vouchsafe_evidence::formats`].
    pub id: &'static str,
    /// Checks the format's bytes.
    pub authenticate: fn(&Evidence<'_>, &mut Context<'_>) -> Result<Testimony, Rejection>,
    /// The codes of its refusals that no other format has.
    pub codes: &'static [Code],
}

/// Evidence of a listed format, as it stands in a bundle.
pub(crate) struct Evidence<'a> {
    /// Its format.
    pub format: ListedFormat,
    /// The format's own bytes.
    pub content: &'a [u8],
    /// The place of the statement, counted from zero, for claims.
    pub statement: usize,
}

/// What authenticated evidence of a listed format says.
pub(crate) struct Testimony {
    /// Who says it.
    pub signer: ModuleSigner,
    /// Whether it answers a challenge.
    pub nonce: NonceField,
    /// The keys that it is about; none, if it is about a platform alone.
    pub keys: Vec<TestifiedKey>,
    /// What it says about the module and its state; `None` where it says nothing.
    pub platform: Option<Claims>,
}

/// A key of which evidence speaks.
pub(crate) struct TestifiedKey {
    /// The key; `None` where the evidence tells no public key.
    pub spki: Option<SpkiView>,
    /// What is said of it.
    pub claims: Claims,
    /// Whether it is a key that attests others.
    pub is_attesting: bool,
}

/// What evidence says about a challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NonceField {
    /// The format has no place for one: a proof of possession must make up for it.
    Unsupported,
    /// The format has a place for one, which is empty.
    Absent,
    /// The challenge that it answers.
    Value(Vec<u8>),
}

/// Authenticates evidence of a listed format.
///
/// # Errors
/// The first reason why nothing of it counts.
pub(crate) fn authenticate(evidence: &Evidence<'_>, context: &mut Context<'_>) -> Result<Testimony, Rejection> {
    let id = evidence.format.row().id;
    match LIST.iter().find(|row| row.id == id) {
        Some(row) => (row.authenticate)(evidence, context),
        None => Err(Rejection::new(
            crate::codes::INPUT_UNRECOGNIZED,
            format!("Evidence of format {id} is recognized and cannot be verified."),
        )),
    }
}

/// The codes of all listed formats.
pub(crate) fn codes() -> impl Iterator<Item = Code> {
    LIST.iter().flat_map(|row| row.codes.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_format_has_a_module() {
        let mut recognized: Vec<&str> = ListedFormat::all().map(|format| format.row().id).collect();
        let mut verified: Vec<&str> = LIST.iter().map(|row| row.id).collect();
        recognized.sort_unstable();
        verified.sort_unstable();
        assert_eq!(recognized, verified, "the two lists name the same formats");
    }
}
