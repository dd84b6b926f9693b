//! Signing with the caller's keys, and verifying.

use super::dispatch::Call;
use super::key_attributes::{Description, KeyAlgorithm, signature_scheme};
use super::keys::{description, public_half};
use super::public_key::digest_of;
use super::refusal::Refusal;
use super::slot::Provider;
use crate::provider::SignatureScheme;
use crate::store::StoredKey;
use crate::wire::message::{
    AsymmetricSignature, SignHashOperation, SignHashResult, SignMessageOperation, SignMessageResult,
    VerifyHashOperation, VerifyHashResult, VerifyMessageOperation, VerifyMessageResult,
};

/// PsaSignHash.
pub(super) fn sign_hash(
    call: &Call,
    provider: &mut dyn Provider,
    operation: SignHashOperation,
) -> Result<SignHashResult, Refusal> {
    let key = call.usable_key_pair(operation.key_name)?;
    let description = description(&key)?;
    demand(description.usage.sign_hash, "sign_hash")?;
    let scheme = permitted(&description, operation.alg.as_ref())?;
    Ok(SignHashResult { signature: provider.sign_hash(&key.blob, scheme, &operation.hash)? })
}

/// PsaSignMessage. Whoever may sign any digest may sign any message (PSA Crypto API, "Key usage flags").
pub(super) fn sign_message(
    call: &Call,
    provider: &mut dyn Provider,
    operation: SignMessageOperation,
) -> Result<SignMessageResult, Refusal> {
    let key = call.usable_key_pair(operation.key_name)?;
    let description = description(&key)?;
    demand(description.usage.sign_message || description.usage.sign_hash, "sign_message")?;
    let scheme = permitted(&description, operation.alg.as_ref())?;
    let digest = digest_of(scheme.hash(), &operation.message);
    Ok(SignMessageResult { signature: provider.sign_hash(&key.blob, scheme, digest.as_ref())? })
}

/// PsaVerifyHash.
pub(super) fn verify_hash(
    call: &Call,
    provider: &mut dyn Provider,
    operation: VerifyHashOperation,
) -> Result<VerifyHashResult, Refusal> {
    let key = call.usable_key(operation.key_name)?;
    let description = description(&key)?;
    demand(description.usage.verify_hash, "verify_hash")?;
    let scheme = permitted(&description, operation.alg.as_ref())?;
    verify(provider, &key, scheme, &operation.hash, &operation.signature)?;
    Ok(VerifyHashResult {})
}

/// PsaVerifyMessage.
pub(super) fn verify_message(
    call: &Call,
    provider: &mut dyn Provider,
    operation: VerifyMessageOperation,
) -> Result<VerifyMessageResult, Refusal> {
    let key = call.usable_key(operation.key_name)?;
    let description = description(&key)?;
    demand(description.usage.verify_message || description.usage.verify_hash, "verify_message")?;
    let scheme = permitted(&description, operation.alg.as_ref())?;
    let digest = digest_of(scheme.hash(), &operation.message);
    verify(provider, &key, scheme, digest.as_ref(), &operation.signature)?;
    Ok(VerifyMessageResult {})
}

fn verify(
    provider: &mut dyn Provider,
    key: &StoredKey,
    scheme: SignatureScheme,
    digest: &[u8],
    signature: &[u8],
) -> Result<(), Refusal> {
    public_half(provider, key)?.verify(scheme, digest, signature)
}

/// Refuses what a key's usage flags do not allow.
pub(super) fn demand(is_allowed: bool, operation: &'static str) -> Result<(), Refusal> {
    if is_allowed { Ok(()) } else { Err(Refusal::UsageNotPermitted { operation }) }
}

/// The scheme that is asked for, which must be the one that the key was made for.
fn permitted(description: &Description, algorithm: Option<&AsymmetricSignature>) -> Result<SignatureScheme, Refusal> {
    let algorithm =
        algorithm.ok_or(Refusal::Invalid { field: "alg", found: String::new(), expected: "a signature algorithm" })?;
    let scheme = signature_scheme(algorithm)?;
    if description.algorithm == KeyAlgorithm::Signature(scheme) {
        Ok(scheme)
    } else {
        Err(Refusal::AlgorithmNotPermitted)
    }
}
