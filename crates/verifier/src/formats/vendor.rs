//! What the modules of several formats do alike.

use crate::claims::Claims;
use crate::crypto::SignatureError;
use crate::path::ValidatedPath;
use crate::rejection::{Rejection, codes};

/// What is known of the certificates of an attesting key: revocation, and what was tolerated of them.
pub(super) fn chain_claims(claims: &mut Claims, path: &ValidatedPath, statement: usize) {
    let quirks = path.deviations().iter().map(|deviation| deviation.label()).collect();
    claims.put_chain(path.revocation(), quirks, statement);
}

/// The refusal of evidence that needs more signature checks than are made.
pub(super) fn budget_rejection(error: SignatureError) -> Rejection {
    Rejection::new(codes::LIMIT_SIGNATURE_CHECKS, format!("Nothing more is checked: {error}."))
}
