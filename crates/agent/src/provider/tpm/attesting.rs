//! Attesting keys: persistent, restricted, with a fixed scheme.
//!
//! The agent makes them as primary keys of the endorsement hierarchy, pseudonyms as primary keys of the owner hierarchy; others
//! are brought in. All have an authValue that nobody learns who has the TPM and the agent's database alone.

mod aside;
mod certificates;
mod import;
mod record;

use tracing::{info, warn};
use vouchsafe_evidence::tpm::template::{AK_ATTRIBUTES, PLAIN_AK_ATTRIBUTES};
use vouchsafe_evidence::tpm::{ObjectAttributes, TpmtPublic};
use vouchsafe_evidence::x509::SpkiView;

use self::record::{MadeRecord, Origin, Record};
use super::attest::not_by_this_attesting_key;
use super::root::{Root, free_handle};
use super::{Settings, TpmProvider, kind};
use crate::provider::attesting_key::check_name;
use crate::provider::{
    AttestingKey, AttestingKeySpec, Family, FamilyCertificates, Fault, KeyKind, MechanismName, StateStore,
};
use crate::tpm::kdf::random;
use crate::tpm::{Blamed, Hierarchy, Object, ResponseCode, Tpm};

pub(super) use self::certificates::{certificates, install_certificates};
pub use self::import::read_wrapped_attesting_key;

/// First persistent handle of all.
const PERSISTENT_HANDLES: u32 = 0x8100_0000;
/// Where attesting keys are put: in the endorsement hierarchy's range, clear of the handles registered for endorsement keys.
const FIRST_HANDLE: u32 = 0x8101_8000;
const LAST_HANDLE: u32 = 0x8101_80FF;
/// Octets that seed one key among all that the template could give.
const UNIQUE_OCTETS: usize = 32;

/// An attesting key that is there.
pub(super) struct AttestationKey {
    pub(super) name: String,
    pub(super) kind: KeyKind,
    pub(super) origin: Origin,
    pub(super) object: Object,
    pub(super) public: TpmtPublic,
    pub(super) spki: SpkiView,
}

impl AttestationKey {
    fn new(name: &str, origin: Origin, object: Object, public: TpmtPublic) -> Result<Self, Fault> {
        let (Some(kind), Some(spki)) = (kind::kind_of(&public), public.spki()) else {
            return Err(Fault::Missing { what: "such kind of attesting key" });
        };
        Ok(Self { name: name.to_owned(), kind, origin, object, public, spki })
    }

    pub(super) fn is_pseudonym(&self) -> bool {
        self.origin == Origin::Pseudonym
    }

    pub(super) fn families(&self) -> Vec<Family> {
        let mut families = families(&self.public);
        if self.is_pseudonym() {
            // TPMS_ATTEST has the clock and the counters of resets in it, by which a TPM is recognized.
            families.retain(|family| *family == Family::CertifyX509);
        }
        families
    }
}

/// What a key with these attributes is able to sign.
pub(super) fn families(public: &TpmtPublic) -> Vec<Family> {
    if public.attributes().contains(ObjectAttributes::X509_SIGN) {
        vec![Family::Attest, Family::CertifyX509]
    } else {
        vec![Family::Attest]
    }
}

/// Makes sure of every attesting key that is on record, and of the default one.
pub(super) fn prepare(
    tpm: &mut Tpm,
    store: &dyn StateStore,
    root: &Root,
    has_certify_x509: bool,
    settings: &Settings,
) -> Result<Vec<AttestationKey>, Fault> {
    let mut keys = Vec::new();
    for origin in Origin::ALL {
        for name in store.names(origin.kind())? {
            match restore(tpm, store, root, origin, &name)? {
                Some(key) => keys.push(key),
                None => {
                    warn!(
                        name,
                        "this TPM has the attesting key no longer and cannot make it again: it is another TPM, or it was cleared"
                    );
                    aside::put(store, origin, &name)?;
                }
            }
        }
    }
    for origin in Origin::ALL {
        for name in aside::take(tpm, store, origin)? {
            keys.extend(restore(tpm, store, root, origin, &name)?);
        }
    }
    let default = &settings.default_attesting_key;
    if keys.iter().all(|key| key.name != *default) {
        let spec = AttestingKeySpec { kind: settings.attesting_key_kind, is_pseudonym: false };
        keys.push(create(tpm, store, root, has_certify_x509, default, spec)?);
    }
    sort(&mut keys, default);
    Ok(keys)
}

/// Whether the object at a persistent handle is the one with this public area. One of a type that is not read here is another.
fn is_at(tpm: &mut Tpm, handle: u32, public: &TpmtPublic) -> Result<bool, Fault> {
    match tpm.read_public(handle) {
        Ok(there) => Ok(there == *public),
        Err(Fault::ResponseMalformed(_)) if tpm.is_ready() => Ok(false),
        Err(fault) => Err(fault),
    }
}

/// The default one first, the others by name.
fn sort(keys: &mut [AttestationKey], default: &str) {
    keys.sort_by_key(|key| (key.name != default, key.name.clone()));
}

/// The key on record of that name; `None` if this TPM neither has it nor makes it again.
fn restore(
    tpm: &mut Tpm,
    store: &dyn StateStore,
    root: &Root,
    origin: Origin,
    name: &str,
) -> Result<Option<AttestationKey>, Fault> {
    match Record::load(store, origin, name)? {
        None => Ok(None),
        Some(Record::Made(record)) => restore_made(tpm, store, root, name, origin, record),
        Some(Record::Imported(record)) => import::restore(tpm, store, root, name, record),
    }
}

fn restore_made(
    tpm: &mut Tpm,
    store: &dyn StateStore,
    root: &Root,
    name: &str,
    origin: Origin,
    record: MadeRecord,
) -> Result<Option<AttestationKey>, Fault> {
    let auth = root.auth(&record.salt);
    let persistent = tpm.handles(PERSISTENT_HANDLES)?;
    if persistent.contains(&record.handle) && is_at(tpm, record.handle, &record.public)? {
        let object = Object::persistent(record.handle, &record.public, auth);
        return AttestationKey::new(name, origin, object, record.public).map(Some);
    }
    let (made, public) = tpm.create_primary(record.hierarchy, &record.template, &auth)?;
    if public != record.public {
        tpm.flush(&made)?;
        return Ok(None);
    }
    let handle = free_handle(FIRST_HANDLE..=LAST_HANDLE, &persistent)?;
    let object = tpm.persist(&made, handle, &public)?;
    tpm.flush(&made)?;
    store.replace(origin.kind(), name, &MadeRecord { handle, ..record }.to_bytes())?;
    info!(name, "attesting key made again");
    AttestationKey::new(name, origin, object, public).map(Some)
}

fn create(
    tpm: &mut Tpm,
    store: &dyn StateStore,
    root: &Root,
    has_certify_x509: bool,
    name: &str,
    spec: AttestingKeySpec,
) -> Result<AttestationKey, Fault> {
    check_name(name)?;
    let (origin, hierarchy) = match spec.is_pseudonym {
        true => (Origin::Pseudonym, Hierarchy::Owner),
        false => (Origin::Made, Hierarchy::Endorsement),
    };
    if spec.is_pseudonym && !has_certify_x509 {
        return Err(not_by_this_attesting_key(MechanismName::TpmCertifyX509));
    }
    let salt = random()?;
    let auth = root.auth(&salt);
    let unique: [u8; UNIQUE_OCTETS] = random()?;
    let hash = kind::attesting_hash(spec.kind)?;
    let template = |attributes| kind::template(spec.kind, attributes, Some(hash), &unique);
    let mut chosen = template(if has_certify_x509 { AK_ATTRIBUTES } else { PLAIN_AK_ATTRIBUTES });
    let made = match tpm.create_primary(hierarchy, &chosen, &auth) {
        Err(Fault::Tpm { code, .. }) if has_certify_x509 && !spec.is_pseudonym && refuses_attributes(code) => {
            warn!("the TPM makes no restricted keys with x509sign; the attesting key will not certify by X.509");
            chosen = template(PLAIN_AK_ATTRIBUTES);
            tpm.create_primary(hierarchy, &chosen, &auth)
        }
        other => other,
    };
    let (made, public) = made?;
    let handle = free_handle(FIRST_HANDLE..=LAST_HANDLE, &tpm.handles(PERSISTENT_HANDLES)?)?;
    let record = MadeRecord { hierarchy, handle, salt, template: chosen, public: public.clone() };
    let object = keep(tpm, store, (origin, name), &record.to_bytes(), (&made, handle, &public))?;
    info!(name, "attesting key made");
    AttestationKey::new(name, origin, object, public)
}

/// Puts a loaded key at its handle. It is on record before it is persistent: if the agent dies in between, the next start makes
/// it so.
fn keep(
    tpm: &mut Tpm,
    store: &dyn StateStore,
    (origin, name): (Origin, &str),
    record: &[u8],
    (loaded, handle, public): (&Object, u32, &TpmtPublic),
) -> Result<Object, Fault> {
    if let Err(fault) = put_on_record(store, (origin, name), record) {
        tpm.flush(loaded)?;
        return Err(fault);
    }
    let object = match tpm.persist(loaded, handle, public) {
        Ok(object) => object,
        Err(fault) => {
            if matches!(fault, Fault::Tpm { .. }) {
                store.remove(origin.kind(), name)?;
                tpm.flush(loaded)?;
            }
            return Err(fault);
        }
    };
    tpm.flush(loaded)?;
    Ok(object)
}

/// Puts a new key on record, without whatever certificates a key of that name has left behind.
fn put_on_record(store: &dyn StateStore, (origin, name): (Origin, &str), record: &[u8]) -> Result<(), Fault> {
    if store.load(origin.kind(), name)?.is_none() {
        certificates::forget(store, name)?;
        if store.store_if_absent(origin.kind(), name, record)? {
            return Ok(());
        }
    }
    Err(Fault::AttestingKeyExists { name: name.to_owned() })
}

/// TPM_RC_ATTRIBUTES or TPM_RC_RESERVED_BITS about the template.
fn refuses_attributes(code: ResponseCode) -> bool {
    matches!(code.format_one(), Some((0x02 | 0x21, Blamed::Parameter(_))))
}

impl TpmProvider {
    /// The attesting key of that name; empty for the default.
    pub(super) fn attesting_key(&self, name: &str) -> Result<&AttestationKey, Fault> {
        let name = if name.is_empty() { &self.settings.default_attesting_key } else { name };
        self.prepared
            .attesting
            .iter()
            .find(|key| key.name == name)
            .ok_or_else(|| Fault::AttestingKeyUnknown { name: name.to_owned() })
    }

    pub(super) fn list_attesting_keys(&self) -> Result<Vec<AttestingKey>, Fault> {
        self.prepared.attesting.iter().map(|key| self.describe_attesting_key(key)).collect()
    }

    fn describe_attesting_key(&self, key: &AttestationKey) -> Result<AttestingKey, Fault> {
        let mut installed = Vec::new();
        for family in Family::ALL {
            let certificates = certificates(self.store.as_ref(), key, family)?;
            if !certificates.is_empty() {
                installed.push(FamilyCertificates { family, certificates });
            }
        }
        Ok(AttestingKey {
            name: key.name.clone(),
            is_default: key.name == self.settings.default_attesting_key,
            kind: key.kind,
            public: key.public.as_bytes().to_vec(),
            spki: key.spki.as_der().to_vec(),
            families: key.families(),
            certificates: installed,
            made_here: key.origin != Origin::Imported,
            is_pseudonym: key.is_pseudonym(),
        })
    }

    /// Refuses a name that cannot be given, or has been.
    fn check_new_name(&self, name: &str) -> Result<(), Fault> {
        check_name(name)?;
        if self.prepared.attesting.iter().any(|key| key.name == name) {
            return Err(Fault::AttestingKeyExists { name: name.to_owned() });
        }
        Ok(())
    }

    pub(super) fn make_attesting_key(&mut self, name: &str, spec: AttestingKeySpec) -> Result<AttestingKey, Fault> {
        self.check_new_name(name)?;
        let (store, prepared) = (self.store.as_ref(), &self.prepared);
        let key = create(&mut self.tpm, store, &prepared.root, prepared.has_certify_x509, name, spec)?;
        self.add_attesting_key(key)
    }

    /// Offers an attesting key that is on record.
    fn add_attesting_key(&mut self, key: AttestationKey) -> Result<AttestingKey, Fault> {
        let described = self.describe_attesting_key(&key)?;
        self.prepared.attesting.push(key);
        sort(&mut self.prepared.attesting, &self.settings.default_attesting_key);
        Ok(described)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::MemoryStore;
    use crate::swtpm::{Options, Swtpm};

    #[test]
    fn without_certify_x509_the_attesting_key_is_a_plain_restricted_one() {
        let swtpm = Swtpm::start(&Options::default()).unwrap();
        let mut tpm = swtpm.connect().unwrap();
        let store = MemoryStore::new();
        let root = Root::prepare(&mut tpm, &store).unwrap();
        let keys = prepare(&mut tpm, &store, &root, false, &Settings::default()).unwrap();
        let [key] = keys.as_slice() else { panic!("{} keys", keys.len()) };
        assert_eq!(key.public.attributes().bits(), 0x0005_0072);
        assert_eq!(key.families(), [Family::Attest]);
        let new = FamilyCertificates { family: Family::CertifyX509, certificates: Vec::new() };
        assert!(install_certificates(&store, key, &[new]).is_err());
    }

    #[test]
    fn only_complaints_about_attributes_lead_to_a_plain_key() {
        for (code, refuses) in
            [(0x2C2, true), (0x2E1, true), (0x2C4, false), (0x902, false), (0x182, false), (0x9A2, false)]
        {
            assert_eq!(refuses_attributes(ResponseCode::new(code)), refuses, "{code:#x}");
        }
    }
}
