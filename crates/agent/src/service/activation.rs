//! Parsec's own attestation of keys: a dialogue that proves that a key is beside the endorsement key, and leaves no evidence
//! behind.
//!
//! It opens credentials, so it needs the grant to do so; it opens none but those bound to a key of the caller.

use tracing::info;
use zeroize::Zeroizing;

use super::dispatch::Call;
use super::refusal::Refusal;
use super::slot::Provider;
use crate::grants::Capability;
use crate::provider::{ActivatedKey, Activation};
use crate::wire::message::{
    ParsecAttestKeyOperation, ParsecAttestKeyResult, ParsecAttestation, ParsecAttestationOutput, ParsecCredential,
    ParsecMechanism, PrepareKeyAttestationOperation, PrepareKeyAttestationOutput, PrepareKeyAttestationResult,
    PrepareMechanism, PreparedActivateCredential, PreparedMechanism,
};

/// PrepareKeyAttestation.
pub(super) fn prepare(
    call: &Call,
    provider: &mut dyn Provider,
    operation: PrepareKeyAttestationOperation,
) -> Result<PrepareKeyAttestationResult, Refusal> {
    let asked = match operation.parameters.and_then(|parameters| parameters.mechanism) {
        Some(PrepareMechanism::ActivateCredential(asked)) => asked,
        None => return Err(Refusal::NotSupported { what: "this mechanism" }),
    };
    check_default(&asked.attesting_key_name)?;
    let key = call.key_pair(asked.attested_key_name)?;
    call.demand(Capability::ActivateCredential)?;
    let parameters = provider.activation_parameters(&key.blob)?;
    let prepared = PreparedActivateCredential {
        name: parameters.name,
        public: parameters.public,
        attesting_key_pub: parameters.endorsement_key,
    };
    let mechanism = Some(PreparedMechanism::ActivateCredential(prepared));
    Ok(PrepareKeyAttestationResult { output: Some(PrepareKeyAttestationOutput { mechanism }) })
}

/// AttestKey.
pub(super) fn attest(
    call: &Call,
    provider: &mut dyn Provider,
    operation: ParsecAttestKeyOperation,
) -> Result<ParsecAttestKeyResult, Refusal> {
    let asked = match operation.parameters.and_then(|parameters| parameters.mechanism) {
        Some(ParsecMechanism::ActivateCredential(asked)) => asked,
        None => return Err(Refusal::NotSupported { what: "this mechanism" }),
    };
    check_default(&operation.attesting_key_name)?;
    let key = call.key_pair(operation.attested_key_name)?;
    call.demand(Capability::ActivateCredential)?;
    let (credential, secret) = (tpm2b(&asked.credential_blob)?, tpm2b(&asked.secret)?);
    let activation = Activation { key: ActivatedKey::Own(&key.blob), credential: &credential, secret: &secret };
    let activated = provider.activate(activation);
    info!(target: "audit", by = %call.caller, key = ?key.id.name, opened = activated.is_ok(), "credential answered");
    let credential = ParsecCredential { credential: activated?.to_vec() };
    let mechanism = Some(ParsecAttestation::ActivateCredential(credential));
    Ok(ParsecAttestKeyResult { output: Some(ParsecAttestationOutput { mechanism }) })
}

/// Parsec's clients name no attesting key, or an endorsement key that only they know.
fn check_default(attesting_key: &str) -> Result<(), Refusal> {
    if attesting_key.is_empty() {
        Ok(())
    } else {
        Err(Refusal::NotSupported { what: "an attesting key other than the default endorsement key" })
    }
}

/// The contents with the size field that Parsec's messages leave out.
fn tpm2b(contents: &[u8]) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    let size = u16::try_from(contents.len()).map_err(|_| Refusal::Invalid {
        field: "credential_blob or secret",
        found: format!("{} octets", contents.len()),
        expected: "at most 65535 octets",
    })?;
    Ok(Zeroizing::new([size.to_be_bytes().as_slice(), contents].concat()))
}
