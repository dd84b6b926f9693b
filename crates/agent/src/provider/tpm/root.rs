//! The storage root key, and the secret under it from which authValues derive.

use tracing::warn;
use vouchsafe_evidence::limits::{TPM_NAME_OCTETS, TPM_STRUCTURE_OCTETS};
use vouchsafe_evidence::tpm::marshal::{Reader, Writer};
use vouchsafe_evidence::tpm::template::storage_root_key;
use vouchsafe_evidence::tpm::{HashAlg, KeyedHashScheme, ObjectAttributes, PublicParameters, TpmtPublic};
use vouchsafe_evidence::{Malformed, Reason};
use zeroize::Zeroizing;

use crate::provider::{Fault, StateStore};
use crate::tpm::kdf::{kdfa, random};
use crate::tpm::{AuthValue, Hierarchy, Object, Tpm};

/// Octets of the salt that distinguishes an object's authValue.
pub(super) const SALT_OCTETS: usize = 32;
/// Octets of the secret, and of each authValue.
const SECRET_OCTETS: usize = 32;

/// First persistent handle of the owner (TCG Registry of Reserved Handles): where a storage root key is looked for first.
const FIRST_OWNER_HANDLE: u32 = 0x8100_0001;
/// Last one that is used here.
const LAST_OWNER_HANDLE: u32 = 0x8100_00FF;

/// Attributes of the sealed secret: fixedTPM, fixedParent, userWithAuth, noDA.
const SEALED_ATTRIBUTES: u32 = 0x0000_0452;

const KIND: &str = "tpm.root";
const STORAGE_ROOT_KEY: &str = "storage-root-key";
/// The secret of earlier versions, which kept one.
const SECRET: &str = "secret";

/// The storage root key and the secret.
pub(super) struct Root {
    key: Object,
    secret: Zeroizing<[u8; SECRET_OCTETS]>,
}

impl Root {
    /// Finds or makes both, and salts sessions to the key.
    pub(super) fn prepare(tpm: &mut Tpm, store: &dyn StateStore) -> Result<Self, Fault> {
        let (key, public) = storage_root(tpm, store)?;
        let handle = key.persistent_handle().ok_or(Fault::Primitive("persisting the storage root key"))?;
        tpm.salt_sessions_to(handle, public);
        let secret = match unseal(tpm, store, &key)? {
            Some(secret) => secret,
            None => seal_new(tpm, store, &key)?,
        };
        Ok(Self { key, secret })
    }

    /// The storage root key.
    pub(super) const fn key(&self) -> &Object {
        &self.key
    }

    /// `octets` masked, or unmasked again, with a stream that is as good as random to whoever lacks the secret. No salt is used
    /// twice.
    pub(super) fn mask(&self, salt: &[u8; SALT_OCTETS], octets: &[u8]) -> Zeroizing<Vec<u8>> {
        let stream = kdfa(HashAlg::Sha256, self.secret.as_slice(), b"IMPORTED AUTH", salt, &[], octets.len());
        Zeroizing::new(octets.iter().zip(stream.iter()).map(|(octet, mask)| octet ^ mask).collect())
    }

    /// The authValue of the object with this salt.
    pub(super) fn auth(&self, salt: &[u8; SALT_OCTETS]) -> AuthValue {
        let octets = kdfa(HashAlg::Sha256, self.secret.as_slice(), b"OBJECT AUTH", salt, &[], SECRET_OCTETS);
        AuthValue::new(&octets)
    }
}

fn storage_root(tpm: &mut Tpm, store: &dyn StateStore) -> Result<(Object, TpmtPublic), Fault> {
    let persistent = tpm.handles(FIRST_OWNER_HANDLE)?;
    if let Some(record) = store.load(KIND, STORAGE_ROOT_KEY)? {
        let (handle, public) = read_record(&record).map_err(Fault::BlobInvalid)?;
        if persistent.contains(&handle) && tpm.read_public(handle)? == public {
            return Ok((Object::persistent(handle, &public, AuthValue::empty()), public));
        }
        warn!(
            "the TPM was cleared or replaced: its storage root key is another one and the keys under the old one are lost"
        );
    }
    let (object, public) = adopt_or_persist(tpm, &persistent)?;
    let handle = object.persistent_handle().unwrap_or_default();
    let mut w = Writer::new();
    w.u32(handle).tpm2b(public.as_bytes());
    store.replace(KIND, STORAGE_ROOT_KEY, &w.into_bytes())?;
    Ok((object, public))
}

/// Makes the storage root key, which is the same one each time until the TPM is cleared, and finds it among the persistent
/// objects or puts it there.
fn adopt_or_persist(tpm: &mut Tpm, persistent: &[u32]) -> Result<(Object, TpmtPublic), Fault> {
    let (made, public) = tpm.create_primary(Hierarchy::Owner, &storage_root_key(), &AuthValue::empty())?;
    let range = FIRST_OWNER_HANDLE..=LAST_OWNER_HANDLE;
    let mut found = None;
    for handle in persistent.iter().filter(|handle| range.contains(handle)) {
        if tpm.read_public(*handle).is_ok_and(|there| there == public) {
            found = Some(Object::persistent(*handle, &public, AuthValue::empty()));
            break;
        }
    }
    let object = match found {
        Some(object) => object,
        None => {
            let handle = free_handle(range, persistent)?;
            tpm.persist(&made, handle, &public)?
        }
    };
    tpm.flush(&made)?;
    Ok((object, public))
}

/// The first handle of `range` that is not in use.
pub(super) fn free_handle(mut range: impl Iterator<Item = u32>, used: &[u32]) -> Result<u32, Fault> {
    range.find(|handle| !used.contains(handle)).ok_or(Fault::Missing { what: "free persistent handle" })
}

fn read_record(record: &[u8]) -> Result<(u32, TpmtPublic), Malformed> {
    let mut r = Reader::new(record, "storage root key record");
    let (handle, public) = (r.u32()?, TpmtPublic::parse(r.tpm2b(TPM_STRUCTURE_OCTETS)?)?);
    r.finish()?;
    Ok((handle, public))
}

fn sealed_template() -> TpmtPublic {
    TpmtPublic::build(
        Some(HashAlg::Sha256),
        ObjectAttributes::from_bits(SEALED_ATTRIBUTES),
        &[],
        PublicParameters::KeyedHash { scheme: KeyedHashScheme::Null, unique: Vec::new() },
    )
}

/// The stored secret; `None` if there is none, or it was sealed under another storage root key.
fn unseal(
    tpm: &mut Tpm,
    store: &dyn StateStore,
    key: &Object,
) -> Result<Option<Zeroizing<[u8; SECRET_OCTETS]>>, Fault> {
    let record = match store.load(KIND, &secret_of(key))? {
        Some(record) => record,
        None => match store.load(KIND, SECRET)? {
            Some(record) => record,
            None => return Ok(None),
        },
    };
    let read = || -> Result<_, Malformed> {
        let mut r = Reader::new(&record, "sealed secret record");
        let parent = r.tpm2b(TPM_NAME_OCTETS)?;
        let private = r.tpm2b(TPM_STRUCTURE_OCTETS)?;
        let public = TpmtPublic::parse(r.tpm2b(TPM_STRUCTURE_OCTETS)?)?;
        r.finish()?;
        Ok((parent, private, public))
    };
    let (parent, private, public) = read().map_err(Fault::BlobInvalid)?;
    if parent != key.name() {
        return Ok(None);
    }
    let object = tpm.load(key, private, &public, AuthValue::empty())?;
    let secret = tpm.unseal(&object)?;
    tpm.flush(&object)?;
    let wrong = Malformed::new("sealed secret", 0, Reason::Unexpected("32 octets"));
    Ok(Some(Zeroizing::new(secret.as_slice().try_into().map_err(|_| wrong)?)))
}

/// Each storage root key has a secret of its own on record: an agent that was started once with another TPM, or before a TPM's
/// state was put back, must not forget what the keys of the first one are used with.
fn secret_of(key: &Object) -> String {
    let digits: String = key.name().iter().map(|octet| format!("{octet:02x}")).collect();
    format!("{SECRET}/{digits}")
}

fn seal_new(tpm: &mut Tpm, store: &dyn StateStore, key: &Object) -> Result<Zeroizing<[u8; SECRET_OCTETS]>, Fault> {
    let own = Zeroizing::new(random::<SECRET_OCTETS>()?);
    let theirs = tpm.random(32)?;
    // Good if either source of random numbers is.
    let mixed = kdfa(HashAlg::Sha256, own.as_slice(), b"SECRET", &theirs, &[], SECRET_OCTETS);
    let sealed = tpm.seal(key, &sealed_template(), &AuthValue::empty(), &mixed)?;
    let mut w = Writer::new();
    w.tpm2b(key.name()).tpm2b(&sealed.private).tpm2b(sealed.public.as_bytes());
    store.replace(KIND, &secret_of(key), &w.into_bytes())?;
    let wrong = Fault::Primitive("key derivation");
    Ok(Zeroizing::new(mixed.as_slice().try_into().map_err(|_| wrong)?))
}

#[cfg(test)]
mod tests {
    use crate::client_id::ClientId;
    use crate::provider::StateStore;
    use crate::provider::tpm::{Settings, TpmProvider, blob::Blob};
    use crate::provider::{
        Attester, AttestingKeyChoice, Fault, Hash, KeyBlob, KeyKind, KeyMechanism, KeyProvider, KeyPurpose, KeySpec,
        KeyUid, SignatureScheme,
    };
    use crate::store::{Insertion, KeyId, KeyRole, NewKey, Store};
    use crate::swtpm::{Options, Swtpm};

    /// Every file of the state directory, in one.
    fn everything_in(folder: &std::path::Path) -> Vec<u8> {
        let files = std::fs::read_dir(folder).unwrap();
        files.flat_map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
    }

    #[test]
    fn another_tpm_in_between_costs_no_key() {
        let (first, other) = (Swtpm::start(&Options::default()).unwrap(), Swtpm::start(&Options::default()).unwrap());
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let open = |swtpm: &Swtpm| {
            let state = Box::new(store.provider_state(&"tpm".parse().unwrap()));
            TpmProvider::open(&swtpm.address(), Settings::default(), state).unwrap()
        };
        let sign = |provider: &mut TpmProvider, key: &KeyBlob| {
            provider.sign_hash(key, SignatureScheme::Ecdsa(Hash::Sha256), &[7; 32])
        };
        let spec = KeySpec { kind: KeyKind::EcP256, purpose: KeyPurpose::Sign };
        let mut provider = open(&first);
        let key = provider.generate(&KeyUid::random().unwrap(), spec).unwrap();
        let certificates = [&3_u32.to_be_bytes()[..], &[1, 2, 3]].concat();
        let state = store.provider_state(&"tpm".parse().unwrap());
        state.replace("tpm.attesting-key.certificates", "default/attest", &certificates).unwrap();
        let enrolled = provider.attesting_keys().unwrap();
        assert_eq!((enrolled.len(), enrolled[0].certificates.len()), (1, 1));
        drop(provider);
        let mut provider = open(&other);
        assert!(matches!(sign(&mut provider, &key), Err(Fault::KeyLost)));
        let here = provider.attesting_keys().unwrap();
        assert!(here.len() == 1 && here[0].certificates.is_empty() && here[0].spki != enrolled[0].spki);
        let others = provider.generate(&KeyUid::random().unwrap(), spec).unwrap();
        drop(provider);
        let mut provider = open(&first);
        sign(&mut provider, &key).unwrap();
        assert!(matches!(sign(&mut provider, &others), Err(Fault::KeyLost)));
        // The attesting key is the one that was enrolled, and attests.
        assert_eq!(provider.attesting_keys().unwrap(), enrolled);
        provider.attest_key(&key, AttestingKeyChoice::Default, &KeyMechanism::TpmCertify, &[1; 16]).unwrap();
        drop(provider);
        let mut provider = open(&other);
        sign(&mut provider, &others).unwrap();
        assert_eq!(provider.attesting_keys().unwrap(), here);
    }

    fn contains(octets: &[u8], part: &[u8]) -> bool {
        octets.windows(part.len()).any(|window| window == part)
    }

    #[test]
    fn neither_the_secret_nor_an_auth_value_is_stored() {
        let swtpm = Swtpm::start(&Options::default()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let state = || Box::new(store.provider_state(&"tpm".parse().unwrap()));
        let mut provider = TpmProvider::open(&swtpm.address(), Settings::default(), state()).unwrap();
        let uid = KeyUid::random().unwrap();
        let key = provider.generate(&uid, KeySpec { kind: KeyKind::EcP256, purpose: KeyPurpose::Sign }).unwrap();
        provider.attest_key(&key, AttestingKeyChoice::Default, &KeyMechanism::TpmCertify, &[1; 16]).unwrap();
        let id = KeyId { client: ClientId::Unix(1), provider: "tpm".parse().unwrap(), name: "k".to_owned() };
        let new = NewKey { id, uid, owner: 1, role: KeyRole::Pair(KeyPurpose::Sign), attributes: Vec::new() };
        assert_eq!(store.insert_key(&new, &key, 1).unwrap(), Insertion::Stored);
        let salt = Blob::parse(&key).unwrap().salt;
        let octets = everything_in(folder.path());
        // What is looked for would be found: the salt is there.
        assert!(contains(&octets, &salt));
        let root = &provider.prepared.root;
        assert!(!contains(&octets, root.secret.as_slice()));
        assert!(!contains(&octets, root.auth(&salt).as_bytes()));
        for attesting in &provider.prepared.attesting {
            let auth = attesting.object.auth().as_bytes();
            assert!(auth.len() > 16 && !contains(&octets, auth));
        }
    }
}
