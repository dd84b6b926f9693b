//! What the columns of both databases hold, and how it is read back.

use vouchsafe_verifier::enrolment::{Environment, Method};

use super::{
    AkMaterial, Digest, Expected, KeyUse, ListedIdentity, Outcome, Proof, Revocation, RevocationReason, StoreError,
};

fn unexpected(column: &'static str) -> StoreError {
    StoreError::Unexpected { column }
}

/// The approvers of a proof, as a JSON array.
pub(super) fn approvers(proof: &Proof) -> String {
    serde_json::Value::from(proof.approvers.as_slice()).to_string()
}

/// A proof out of its four columns.
pub(super) fn proof(method: &str, environment: &str, digest: Digest, approvers: &str) -> Result<Proof, StoreError> {
    Ok(Proof {
        method: Method::from_label(method).ok_or(unexpected("method"))?,
        environment: Environment::from_label(environment).ok_or(unexpected("environment"))?,
        digest,
        approvers: serde_json::from_str(approvers).map_err(|_| unexpected("approvers"))?,
    })
}

/// A key out of its Name, where it has one, and its public part.
pub(super) fn material(name: Option<Vec<u8>>, public: Vec<u8>) -> AkMaterial {
    match name {
        Some(name) => AkMaterial::Tpm { public, name },
        None => AkMaterial::Host { spki: public },
    }
}

/// The Name, where the key has one, and its public part.
pub(super) fn material_columns(material: &AkMaterial) -> (Option<&[u8]>, &[u8]) {
    match material {
        AkMaterial::Tpm { public, name } => (Some(name), public),
        AkMaterial::Host { spki } => (None, spki),
    }
}

/// What answers a challenge, out of its two columns.
pub(super) const fn expected(is_signature: bool, octets: [u8; 32]) -> Expected {
    if is_signature { Expected::Signature(octets) } else { Expected::Credential(octets) }
}

/// Whether a signature answers a challenge, and the octets by which it is told.
pub(super) const fn expected_columns(expected: &Expected) -> (bool, &[u8; 32]) {
    match expected {
        Expected::Credential(digest) => (false, digest),
        Expected::Signature(challenge) => (true, challenge),
    }
}

/// By what a row of the inventory names its module, out of its three columns.
pub(super) fn listed_identity(
    ek: Option<Digest>,
    vendor: Option<String>,
    serial: Option<String>,
) -> Result<ListedIdentity, StoreError> {
    match (ek, vendor, serial) {
        (Some(ek), _, None) => Ok(ListedIdentity::EndorsementKey(ek)),
        (None, Some(vendor), Some(serial)) => Ok(ListedIdentity::Serial { vendor, serial }),
        _ => Err(unexpected("ek_sha256")),
    }
}

/// The endorsement key, the vendor and the serial number by which a row of the inventory names its module.
pub(super) fn listed_columns(identity: &ListedIdentity) -> (Option<&Digest>, Option<&str>, Option<&str>) {
    match identity {
        ListedIdentity::EndorsementKey(digest) => (Some(digest), None, None),
        ListedIdentity::Serial { vendor, serial } => (None, Some(vendor), Some(serial)),
    }
}

/// The key that a certificate has to do with, and whether it is a certificate of that key.
pub(super) const fn key_use_columns(key_use: &KeyUse) -> (Option<&Digest>, bool) {
    match key_use {
        KeyUse::None => (None, false),
        KeyUse::Of(key) => (Some(key), true),
        KeyUse::RestsOn(key) => (Some(key), false),
    }
}

/// Whether a decision granted what was asked for.
pub(super) fn accepted(outcome: &str) -> Result<bool, StoreError> {
    match outcome {
        outcome if outcome == Outcome::Accepted.as_str() => Ok(true),
        outcome if outcome == Outcome::Refused.as_str() => Ok(false),
        _ => Err(unexpected("outcome")),
    }
}

pub(super) fn reason_of(label: &str) -> Result<RevocationReason, StoreError> {
    RevocationReason::from_label(label).ok_or(unexpected("reason"))
}

/// A revocation out of its three columns, all of them empty or none.
pub(super) fn revocation(
    at: Option<i64>,
    reason: Option<&str>,
    approver: Option<String>,
) -> Result<Option<Revocation>, StoreError> {
    match (at, reason, approver) {
        (None, _, _) => Ok(None),
        (Some(at), Some(reason), Some(approver)) => Ok(Some(Revocation { at, reason: reason_of(reason)?, approver })),
        (Some(_), _, _) => Err(unexpected("revocation_reason")),
    }
}
