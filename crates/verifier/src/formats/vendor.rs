//! What the modules of several formats do alike.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::claims::{Claims, Source};
use crate::crypto::SignatureError;
use crate::path::ValidatedPath;
use crate::rejection::{Rejection, codes};

/// The padded base64 of RFC 4648, section 4.
pub(super) fn base64(octets: &[u8]) -> String {
    STANDARD.encode(octets)
}

/// What is known of the certificates of an attesting key: revocation, and what was tolerated of them.
pub(super) fn chain_claims(claims: &mut Claims, path: &ValidatedPath, statement: usize) {
    claims.put("revocation", path.revocation().label(), Source::Endorsed, statement);
    let quirks: Vec<&str> = path.deviations().iter().map(|deviation| deviation.label()).collect();
    if !quirks.is_empty() {
        claims.put("chain_quirks", quirks, Source::Endorsed, statement);
    }
}

/// The refusal of evidence that needs more signature checks than are made.
pub(super) fn budget_rejection(error: SignatureError) -> Rejection {
    Rejection::new(codes::LIMIT_SIGNATURE_CHECKS, format!("Nothing more is checked: {error}."))
}
