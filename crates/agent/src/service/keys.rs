//! Operations on the caller's keys.

use prost::Message;
use tracing::info;

use super::dispatch::Call;
use super::key_attributes::Description;
use super::public_key::PublicHalf;
use super::refusal::Refusal;
use super::slot::Provider;
use crate::provider::{KeyBlob, KeyPurpose, KeySpec, KeyUid};
use crate::store::{Insertion, KeyId, KeyRole, StoreError, StoredKey};
use crate::wire::message::{
    DestroyKeyOperation, DestroyKeyResult, ExportPublicKeyOperation, ExportPublicKeyResult, GenerateKeyOperation,
    GenerateKeyResult, ImportKeyOperation, ImportKeyResult, KeyAttributes, KeyTypeVariant,
};

/// Longest key name, in octets of UTF-8.
pub(super) const MAX_KEY_NAME_OCTETS: usize = 255;

/// PsaGenerateKey.
pub(super) fn generate(
    call: &Call,
    provider: &mut dyn Provider,
    operation: GenerateKeyOperation,
) -> Result<GenerateKeyResult, Refusal> {
    let attributes = operation.attributes.ok_or_else(missing_attributes)?;
    let spec = Description::of(&attributes)?.spec()?;
    create(call, provider, operation.key_name, spec, attributes.encode_to_vec())?;
    Ok(GenerateKeyResult {})
}

fn missing_attributes() -> Refusal {
    Refusal::Invalid { field: "attributes", found: String::new(), expected: "key attributes" }
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
    let blob = provider.generate(&KeyUid::random()?, spec)?;
    let key = StoredKey { id, role: KeyRole::Pair(spec.purpose), attributes, blob };
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

/// PsaImportKey, of public keys alone: a private key that was elsewhere is no key of a module.
pub(super) fn import(call: &Call, operation: ImportKeyOperation) -> Result<ImportKeyResult, Refusal> {
    check_name(&operation.key_name)?;
    let mut attributes = operation.attributes.ok_or_else(missing_attributes)?;
    let is_rsa = match attributes.key_type.as_ref().and_then(|key_type| key_type.variant.as_ref()) {
        Some(KeyTypeVariant::RsaPublicKey(_)) => true,
        Some(KeyTypeVariant::EccPublicKey(_)) => false,
        Some(KeyTypeVariant::RsaKeyPair(_) | KeyTypeVariant::EccKeyPair(_)) | None => {
            return Err(Refusal::NotSupported { what: "importing a key that is not public" });
        }
    };
    let half = PublicHalf::parse(is_rsa, &operation.data)?;
    if attributes.key_bits == 0 {
        attributes.key_bits = half.kind().bits().into();
    }
    if Description::of(&attributes)?.kind != half.kind() {
        return Err(Refusal::Invalid {
            field: "attributes.key_bits",
            found: attributes.key_bits.to_string(),
            expected: "the size of the key, or zero",
        });
    }
    let id = call.key_id(operation.key_name);
    let blob = KeyBlob::from_bytes(operation.data);
    let key = StoredKey { id, role: KeyRole::Public, attributes: attributes.encode_to_vec(), blob };
    match call.shared.store.insert_key(&key, call.shared.limits.keys_per_user)? {
        Insertion::Stored => {
            info!(target: "audit", uid = call.peer.uid, key = ?key.id.name, kind = ?half.kind(), "public key imported");
            Ok(ImportKeyResult {})
        }
        Insertion::NameTaken => Err(Refusal::KeyExists { name: key.id.name }),
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
    if key.role != KeyRole::Public {
        provider.destroy(&key.blob)?;
    }
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
    Ok(ExportPublicKeyResult { data: public_half(provider, &key)?.into_exported() })
}

/// The public half of a stored key.
pub(super) fn public_half(provider: &mut dyn Provider, key: &StoredKey) -> Result<PublicHalf, Refusal> {
    match key.role {
        KeyRole::Pair(_) => Ok(provider.export_public(&key.blob)?.into()),
        KeyRole::Public => PublicHalf::parse(description(key)?.kind.is_rsa(), key.blob.as_bytes()),
    }
}

/// The attributes of a stored key.
pub(super) fn attributes(key: &StoredKey) -> Result<KeyAttributes, Refusal> {
    KeyAttributes::decode(key.attributes.as_slice())
        .map_err(|error| StoreError::Damaged { column: "attributes", found: error.to_string() }.into())
}

/// What a stored key's attributes say. An attesting key has none and is used for nothing that they would allow.
pub(super) fn description(key: &StoredKey) -> Result<Description, Refusal> {
    if key.role == KeyRole::Pair(KeyPurpose::Attest) {
        return Err(Refusal::UsageNotPermitted { operation: "anything but attesting: it is an attesting key" });
    }
    Description::of(&attributes(key)?)
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

    /// The caller's key pair of that name.
    pub(super) fn key_pair(&self, name: String) -> Result<StoredKey, Refusal> {
        let key = self.key(name)?;
        match key.role {
            KeyRole::Pair(_) => Ok(key),
            KeyRole::Public => Err(Refusal::UsageNotPermitted { operation: "this: it is a public key alone" }),
        }
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
