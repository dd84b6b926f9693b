//! Operations on the caller's keys.

use prost::Message;
use tracing::info;

use super::dispatch::Call;
use super::key_attributes::{key_spec, scheme_of_policy, signature_scheme};
use super::refusal::Refusal;
use super::slot::Provider;
use crate::provider::{KeyBlob, KeyPurpose, KeySpec};
use crate::store::{Insertion, KeyId, StoreError, StoredKey};
use crate::wire::message::{
    DestroyKeyOperation, DestroyKeyResult, ExportPublicKeyOperation, ExportPublicKeyResult, GenerateKeyOperation,
    GenerateKeyResult, KeyAttributes, SignHashOperation, SignHashResult,
};

/// Longest key name, in octets of UTF-8.
pub(super) const MAX_KEY_NAME_OCTETS: usize = 255;

/// PsaGenerateKey.
pub(super) fn generate(
    call: &Call,
    provider: &mut dyn Provider,
    operation: GenerateKeyOperation,
) -> Result<GenerateKeyResult, Refusal> {
    let attributes = operation.attributes.ok_or(Refusal::Invalid {
        field: "attributes",
        found: String::new(),
        expected: "key attributes",
    })?;
    let spec = key_spec(&attributes)?;
    create(call, provider, operation.key_name, spec, attributes.encode_to_vec())?;
    Ok(GenerateKeyResult {})
}

/// Makes a key of the caller's and stores it under a name that is free.
pub(super) fn create(
    call: &Call,
    provider: &mut dyn Provider,
    name: String,
    spec: KeySpec,
    attributes: Vec<u8>,
) -> Result<KeyBlob, Refusal> {
    check_name(&name)?;
    let id = call.key_id(name);
    // Asked first only to spare the module the work: what decides is the insertion.
    if call.shared.store.key(&id)?.is_some() {
        return Err(Refusal::KeyExists { name: id.name });
    }
    let blob = provider.generate(spec)?;
    let key = StoredKey { id, purpose: spec.purpose, attributes, blob };
    match call.shared.store.insert_key(&key, call.shared.limits.keys_per_user) {
        Ok(Insertion::Stored) => {
            info!(target: "audit", uid = call.peer.uid, key = ?key.id.name, kind = ?spec.kind,
                purpose = ?spec.purpose, "key made");
            Ok(key.blob)
        }
        Ok(Insertion::NameTaken) => {
            discard(provider, &key.blob);
            Err(Refusal::KeyExists { name: key.id.name })
        }
        Err(error) => {
            discard(provider, &key.blob);
            Err(error.into())
        }
    }
}

/// Gives a key up that nobody was told of.
fn discard(provider: &mut dyn Provider, blob: &KeyBlob) {
    if let Err(fault) = provider.destroy(blob) {
        tracing::warn!(%fault, "a key that could not be stored stays in the module");
    }
}

/// PsaDestroyKey. The caller's own attesting keys are destroyed by it too; the machine's are no keys of
/// anyone's name space and out of its reach.
pub(super) fn destroy(
    call: &Call,
    provider: &mut dyn Provider,
    operation: DestroyKeyOperation,
) -> Result<DestroyKeyResult, Refusal> {
    let key = call.key(operation.key_name)?;
    provider.destroy(&key.blob)?;
    call.shared.store.remove_key(&key.id)?;
    info!(target: "audit", uid = call.peer.uid, key = ?key.id.name, "key destroyed");
    Ok(DestroyKeyResult {})
}

/// PsaExportPublicKey.
pub(super) fn export_public(
    call: &Call,
    provider: &mut dyn Provider,
    operation: ExportPublicKeyOperation,
) -> Result<ExportPublicKeyResult, Refusal> {
    let key = call.key(operation.key_name)?;
    let public = provider.export_public(&key.blob)?;
    Ok(ExportPublicKeyResult { data: public.subject_public_key })
}

/// PsaSignHash.
pub(super) fn sign_hash(
    call: &Call,
    provider: &mut dyn Provider,
    operation: SignHashOperation,
) -> Result<SignHashResult, Refusal> {
    let key = call.key(operation.key_name)?;
    if key.purpose != KeyPurpose::Sign {
        return Err(Refusal::UsageNotPermitted { operation: "signing: it is an attesting key" });
    }
    let policy = attributes(&key)?.key_policy.unwrap_or_default();
    if !policy.key_usage_flags.as_ref().is_some_and(|usage| usage.sign_hash) {
        return Err(Refusal::UsageNotPermitted { operation: "sign_hash" });
    }
    let algorithm = operation.alg.ok_or(Refusal::Invalid {
        field: "alg",
        found: String::new(),
        expected: "a signature algorithm",
    })?;
    let scheme = signature_scheme(&algorithm)?;
    if scheme != scheme_of_policy(&policy)? {
        return Err(Refusal::AlgorithmNotPermitted);
    }
    let signature = provider.sign_hash(&key.blob, scheme, &operation.hash)?;
    Ok(SignHashResult { signature })
}

/// The attributes of a stored signing key.
pub(super) fn attributes(key: &StoredKey) -> Result<KeyAttributes, Refusal> {
    KeyAttributes::decode(key.attributes.as_slice())
        .map_err(|error| StoreError::Damaged { column: "attributes", found: error.to_string() }.into())
}

/// A name is shown to people and stands in logs and certificates.
pub(super) fn check_name(name: &str) -> Result<(), Refusal> {
    let is_allowed = (1..=MAX_KEY_NAME_OCTETS).contains(&name.len()) && !name.chars().any(char::is_control);
    if is_allowed {
        return Ok(());
    }
    Err(Refusal::Invalid {
        field: "key_name",
        found: name.chars().take(MAX_KEY_NAME_OCTETS).collect(),
        expected: "1 to 255 octets without control characters",
    })
}

impl Call {
    /// The id of the caller's key of that name.
    pub(super) fn key_id(&self, name: String) -> KeyId {
        KeyId { uid: self.peer.uid, provider: self.provider, name }
    }

    /// The caller's key of that name.
    pub(super) fn key(&self, name: String) -> Result<StoredKey, Refusal> {
        let id = self.key_id(name);
        match self.shared.store.key(&id)? {
            Some(key) => Ok(key),
            None => Err(Refusal::KeyUnknown { name: id.name }),
        }
    }
}
