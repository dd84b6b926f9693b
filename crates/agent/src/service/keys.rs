//! Operations on the caller's keys.

use prost::Message;
use tracing::info;

use super::dispatch::Call;
use super::key_attributes::{Description, KeyAlgorithm};
use super::public_key::PublicHalf;
use super::refusal::Refusal;
use super::settlement::settle;
use super::slot::Provider;
use crate::grants::{Capability, KeyReference};
use crate::provider::{Fault, KeyBlob, KeyPurpose, KeySpec, KeyUid};
use crate::store::{Insertion, KeyId, KeyRole, NewKey, Store, StoreError, StoredKey};
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
    let description = Description::of(&attributes)?;
    let is_of_use = |provider: &mut dyn Provider, key: &KeyBlob| match description.algorithm {
        KeyAlgorithm::Encryption(scheme) if description.usage.decrypt => provider.check_decrypts(key, scheme),
        KeyAlgorithm::Encryption(_) | KeyAlgorithm::Signature(_) => Ok(()),
    };
    create(call, provider, operation.key_name, description.spec()?, attributes.encode_to_vec(), is_of_use)?;
    Ok(GenerateKeyResult {})
}

fn missing_attributes() -> Refusal {
    Refusal::Invalid { field: "attributes", found: String::new(), expected: "key attributes" }
}

/// Makes a key of the caller's under a name that is free. The name is taken before the module is asked, so that what a crash
/// leaves in the module is found again and no two requests make a key of one name. One that `is_of_use` refuses is as if it had
/// never been made.
pub(super) fn create(
    call: &Call,
    provider: &mut dyn Provider,
    name: String,
    spec: KeySpec,
    attributes: Vec<u8>,
    is_of_use: impl FnOnce(&mut dyn Provider, &KeyBlob) -> Result<(), Fault>,
) -> Result<StoredKey, Refusal> {
    let key = call.new_key(name, KeyRole::Pair(spec.purpose), attributes)?;
    let store = &call.shared.store;
    place(call, provider, &key, || store.reserve_key(&key, call.shared.limits.keys_per_user))?;
    let made = provider.generate(&key.uid, spec).and_then(|blob| is_of_use(provider, &blob).map(|()| blob));
    let blob = made
        .map_err(Refusal::from)
        .and_then(|blob| store.finish_key(&key.uid, &blob).map(|()| blob).map_err(Refusal::from));
    match blob {
        Ok(blob) => {
            call.note(key.uid);
            info!(target: "audit", by = %call.caller, key = ?key.id.name, uid = %key.uid, kind = ?spec.kind,
                purpose = ?spec.purpose, "key made");
            Ok(key.with_blob(blob))
        }
        Err(refusal) => {
            // If that fails too, the name stays taken until it is tried again.
            if let Err(error) = settle(store, provider, &key.uid) {
                tracing::warn!(key = %key.uid, %error, "what was begun of a key stays in the module for now");
            }
            Err(refusal)
        }
    }
}

/// Has a key inserted; first finishes what was cut short under its name.
fn place(
    call: &Call,
    provider: &mut dyn Provider,
    key: &NewKey,
    insert: impl Fn() -> Result<Insertion, StoreError>,
) -> Result<(), Refusal> {
    let mut insertion = insert()?;
    if let Insertion::Unsettled(uid) = insertion {
        settle(&call.shared.store, provider, &uid)?;
        insertion = insert()?;
    }
    match insertion {
        Insertion::Stored => Ok(()),
        Insertion::NameTaken | Insertion::Unsettled(_) => Err(Refusal::KeyExists { name: key.id.name.clone() }),
    }
}

/// PsaImportKey, of public keys alone: a private key that was elsewhere is no key of a module.
pub(super) fn import(
    call: &Call,
    provider: &mut dyn Provider,
    operation: ImportKeyOperation,
) -> Result<ImportKeyResult, Refusal> {
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
    let key = call.new_key(operation.key_name, KeyRole::Public, attributes.encode_to_vec())?;
    let blob = KeyBlob::from_bytes(operation.data);
    let (store, limit) = (&call.shared.store, call.shared.limits.keys_per_user);
    place(call, provider, &key, || store.insert_key(&key, &blob, limit))?;
    call.note(key.uid);
    info!(target: "audit", by = %call.caller, key = ?key.id.name, uid = %key.uid, kind = ?half.kind(),
        "public key imported");
    Ok(ImportKeyResult {})
}

/// PsaDestroyKey. The caller's own attesting keys are destroyed by it too; the machine's are no keys of
/// anyone's name space and out of its reach.
pub(super) fn destroy(
    call: &Call,
    provider: &mut dyn Provider,
    operation: DestroyKeyOperation,
) -> Result<DestroyKeyResult, Refusal> {
    let key = call.key(operation.key_name)?;
    destroy_key(&call.shared.store, provider, &key)?;
    info!(target: "audit", by = %call.caller, key = ?key.id.name, uid = %key.uid, "key destroyed");
    Ok(DestroyKeyResult {})
}

/// Destroys a key and forgets it. From before the module is asked the key is nobody's; where the module refuses, it is as it
/// was.
pub(super) fn destroy_key(store: &Store, provider: &mut dyn Provider, key: &StoredKey) -> Result<(), Refusal> {
    match key.role {
        KeyRole::Public => {}
        KeyRole::Pair(_) => {
            if !store.begin_removal(&key.uid)? {
                return Err(Refusal::KeyUnknown { name: key.id.name.clone() });
            }
            if let Err(fault) = provider.destroy(&key.blob) {
                store.undo_removal(&key.uid)?;
                return Err(fault.into());
            }
        }
    }
    store.remove_key(&key.uid)?;
    Ok(())
}

/// PsaExportPublicKey.
pub(super) fn export_public(
    call: &Call,
    provider: &mut dyn Provider,
    operation: ExportPublicKeyOperation,
) -> Result<ExportPublicKeyResult, Refusal> {
    let key = call.usable_key(operation.key_name)?;
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
pub(super) fn attributes(stored: &[u8]) -> Result<KeyAttributes, Refusal> {
    KeyAttributes::decode(stored)
        .map_err(|error| StoreError::Damaged { column: "attributes", found: error.to_string() }.into())
}

/// What a stored key's attributes say. An attesting key has none and is used for nothing that they would allow.
pub(super) fn description(key: &StoredKey) -> Result<Description, Refusal> {
    if key.role == KeyRole::Pair(KeyPurpose::Attest) {
        return Err(Refusal::UsageNotPermitted { operation: "anything but attesting: it is an attesting key" });
    }
    Description::of(&attributes(&key.attributes)?)
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
        KeyId { client: self.caller.client(), provider: self.provider.name.clone(), name }
    }

    /// A key of the caller's that is about to be made, with an id of its own.
    fn new_key(&self, name: String, role: KeyRole, attributes: Vec<u8>) -> Result<NewKey, Refusal> {
        check_name(&name)?;
        let owner = self.caller.peer().uid;
        Ok(NewKey { id: self.key_id(name), uid: KeyUid::random()?, owner, role, attributes })
    }

    /// The caller's key pair of that name.
    pub(super) fn key_pair(&self, name: String) -> Result<StoredKey, Refusal> {
        pair(self.key(name)?)
    }

    /// The caller's key of that name.
    pub(super) fn key(&self, name: String) -> Result<StoredKey, Refusal> {
        let id = self.key_id(name);
        match self.shared.store.key(&id)? {
            Some(key) => {
                self.note(key.uid);
                Ok(key)
            }
            None => Err(Refusal::KeyUnknown { name: id.name }),
        }
    }

    /// The caller's key pair of that name, else one that is lent to it.
    pub(super) fn usable_key_pair(&self, name: String) -> Result<StoredKey, Refusal> {
        let key = pair(self.usable_key(name)?)?;
        if key.id.client != self.caller.client() {
            // Whose key it is is lent with it: that goes on record, or it is not done.
            self.shared.audit.admit()?;
            self.note_lent(&key);
        }
        Ok(key)
    }

    /// The caller's key pair of that name, else one that is lent to it and that its grants let it have attested.
    pub(super) fn attestable_key_pair(&self, name: String) -> Result<StoredKey, Refusal> {
        let key = self.usable_key_pair(name)?;
        self.note(key.uid);
        if key.id.client != self.caller.client() {
            self.demand(Capability::Attest)?;
        }
        Ok(key)
    }

    /// The caller's key of that name, else one that is lent to it (grant `use`): by its name, or as `CLIENT/NAME` or
    /// `CLIENT/PROVIDER/NAME`. A name of the caller's own always comes first. Attesting keys are never lent.
    pub(super) fn usable_key(&self, name: String) -> Result<StoredKey, Refusal> {
        let id = self.key_id(name);
        if let Some(key) = self.shared.store.key(&id)? {
            return Ok(key);
        }
        let mut found: Vec<StoredKey> = Vec::new();
        for reference in self.lent_keys(&id.name) {
            let id = KeyId { client: reference.client.clone(), name: reference.name.clone(), ..id.clone() };
            let key = self.shared.store.key(&id)?.filter(|key| key.role != KeyRole::Pair(KeyPurpose::Attest));
            found.extend(key.filter(|key| found.iter().all(|other| other.uid != key.uid)));
        }
        match found.pop() {
            None => Err(Refusal::KeyUnknown { name: id.name }),
            Some(key) if found.is_empty() => Ok(key),
            Some(key) => {
                Err(Refusal::KeyAmbiguous { example: format!("{}/{}", key.id.client, id.name), name: id.name })
            }
        }
    }

    /// What is lent to the caller at this provider and called so.
    fn lent_keys(&self, name: &str) -> Vec<&KeyReference> {
        let asked: Option<KeyReference> =
            name.parse().ok().filter(|asked: &KeyReference| asked.is_at(&self.provider.name));
        let is_asked = |lent: &KeyReference| {
            lent.name == name
                || asked.as_ref().is_some_and(|asked| (&asked.client, &asked.name) == (&lent.client, &lent.name))
        };
        let mut lent = self.shared.grants.lent_keys(&self.caller);
        lent.retain(|lent| lent.is_at(&self.provider.name) && is_asked(lent));
        lent
    }
}

fn pair(key: StoredKey) -> Result<StoredKey, Refusal> {
    match key.role {
        KeyRole::Pair(_) => Ok(key),
        KeyRole::Public => Err(Refusal::UsageNotPermitted { operation: "this: it is a public key alone" }),
    }
}
