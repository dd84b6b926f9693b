//! Attesting keys: primary keys of the endorsement hierarchy, persistent, restricted, with a fixed scheme.

use tracing::{info, warn};
use vouchsafe_evidence::limits::{CERTIFICATE_OCTETS, CHAIN_LENGTH, TPM_STRUCTURE_OCTETS};
use vouchsafe_evidence::tpm::marshal::{Reader, Writer};
use vouchsafe_evidence::tpm::template::{AK_ATTRIBUTES, PLAIN_AK_ATTRIBUTES};
use vouchsafe_evidence::tpm::{ObjectAttributes, TpmtPublic};
use vouchsafe_evidence::x509::{CertView, SpkiView};
use vouchsafe_evidence::{Malformed, Reason};

use super::root::{Root, SALT_OCTETS, free_handle};
use super::{Settings, TpmProvider, kind};
use crate::provider::{AttestingKey, Family, FamilyCertificates, Fault, KeyKind, StateStore};
use crate::tpm::kdf::random;
use crate::tpm::{Blamed, Hierarchy, Object, ResponseCode, Tpm};

const KIND: &str = "tpm.attesting-key";
const CERTIFICATES: &str = "tpm.attesting-key.certificates";
/// Characters of an attesting key's name.
const NAME_LEN: usize = 64;
/// First persistent handle of all in the endorsement hierarchy's range.
const ENDORSEMENT_HANDLES: u32 = 0x8101_0000;
/// Where attesting keys are put: in the endorsement hierarchy's range, clear of the handles registered for endorsement keys.
const FIRST_HANDLE: u32 = 0x8101_8000;
const LAST_HANDLE: u32 = 0x8101_80FF;
/// Octets that seed one key among all that the template could give.
const UNIQUE_OCTETS: usize = 32;

/// An attesting key that is there.
pub(super) struct AttestationKey {
    pub(super) name: String,
    pub(super) kind: KeyKind,
    pub(super) object: Object,
    pub(super) public: TpmtPublic,
    pub(super) spki: SpkiView,
}

impl AttestationKey {
    fn new(name: &str, object: Object, public: TpmtPublic) -> Result<Self, Fault> {
        let (Some(kind), Some(spki)) = (kind::kind_of(&public), public.spki()) else {
            return Err(Fault::Missing { what: "such kind of attesting key" });
        };
        Ok(Self { name: name.to_owned(), kind, object, public, spki })
    }

    pub(super) fn families(&self) -> Vec<Family> {
        families(&self.public)
    }
}

/// What a key with these attributes is able to sign.
pub(super) fn families(public: &TpmtPublic) -> Vec<Family> {
    let signs_certificates = public.attributes().contains(ObjectAttributes::X509_SIGN);
    Family::ALL.into_iter().filter(|family| *family == Family::Attest || signs_certificates).collect()
}

/// What is remembered of an attesting key.
struct Record {
    handle: u32,
    salt: [u8; SALT_OCTETS],
    /// From which the TPM makes the same key again.
    template: TpmtPublic,
    public: TpmtPublic,
}

impl Record {
    fn to_bytes(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u32(self.handle).bytes(&self.salt).tpm2b(self.template.as_bytes()).tpm2b(self.public.as_bytes());
        w.into_bytes()
    }

    fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes, "attesting key record");
        let record = Self {
            handle: r.u32()?,
            salt: r.array()?,
            template: TpmtPublic::parse(r.tpm2b(TPM_STRUCTURE_OCTETS)?)?,
            public: TpmtPublic::parse(r.tpm2b(TPM_STRUCTURE_OCTETS)?)?,
        };
        r.finish()?;
        Ok(record)
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
    for name in store.names(KIND)? {
        let Some(bytes) = store.load(KIND, &name)? else {
            continue;
        };
        let record = Record::parse(&bytes).map_err(Fault::BlobInvalid)?;
        match restore(tpm, store, root, &name, record)? {
            Some(key) => keys.push(key),
            None => {
                warn!(
                    name,
                    "this TPM cannot make the attesting key again: it is another TPM, or its endorsement seed changed"
                );
                store.remove(KIND, &name)?;
                forget_certificates(store, &name)?;
            }
        }
    }
    let default = &settings.default_attesting_key;
    if keys.iter().all(|key| key.name != *default) {
        keys.push(create(tpm, store, root, has_certify_x509, default, settings.attesting_key_kind)?);
    }
    keys.sort_by_key(|key| (key.name != *default, key.name.clone()));
    Ok(keys)
}

fn restore(
    tpm: &mut Tpm,
    store: &dyn StateStore,
    root: &Root,
    name: &str,
    record: Record,
) -> Result<Option<AttestationKey>, Fault> {
    let auth = root.auth(&record.salt);
    let persistent = tpm.handles(ENDORSEMENT_HANDLES)?;
    if persistent.contains(&record.handle) && tpm.read_public(record.handle)? == record.public {
        let object = Object::persistent(record.handle, &record.public, auth);
        return AttestationKey::new(name, object, record.public).map(Some);
    }
    let (made, public) = tpm.create_primary(Hierarchy::Endorsement, &record.template, &auth)?;
    if public != record.public {
        tpm.flush(&made)?;
        return Ok(None);
    }
    let handle = free_handle(FIRST_HANDLE..=LAST_HANDLE, &persistent)?;
    let object = tpm.persist(&made, handle, &public)?;
    tpm.flush(&made)?;
    store.replace(KIND, name, &Record { handle, ..record }.to_bytes())?;
    info!(name, "attesting key made again");
    AttestationKey::new(name, object, public).map(Some)
}

fn create(
    tpm: &mut Tpm,
    store: &dyn StateStore,
    root: &Root,
    has_certify_x509: bool,
    name: &str,
    kind: KeyKind,
) -> Result<AttestationKey, Fault> {
    check_name(name)?;
    let salt = random()?;
    let auth = root.auth(&salt);
    let unique: [u8; UNIQUE_OCTETS] = random()?;
    let hash = kind::attesting_hash(kind)?;
    let template = |attributes| kind::template(kind, attributes, Some(hash), &unique);
    let mut chosen = template(if has_certify_x509 { AK_ATTRIBUTES } else { PLAIN_AK_ATTRIBUTES });
    let made = match tpm.create_primary(Hierarchy::Endorsement, &chosen, &auth) {
        Err(Fault::Tpm { code, .. }) if has_certify_x509 && refuses_attributes(code) => {
            warn!("the TPM makes no restricted keys with x509sign; the attesting key will not certify by X.509");
            chosen = template(PLAIN_AK_ATTRIBUTES);
            tpm.create_primary(Hierarchy::Endorsement, &chosen, &auth)
        }
        other => other,
    };
    let (made, public) = made?;
    let handle = free_handle(FIRST_HANDLE..=LAST_HANDLE, &tpm.handles(ENDORSEMENT_HANDLES)?)?;
    let record = Record { handle, salt, template: chosen, public: public.clone() };
    // On record before it is persistent: if the agent dies in between, the next start makes it so.
    if !store.store_if_absent(KIND, name, &record.to_bytes())? {
        tpm.flush(&made)?;
        return Err(Fault::AttestingKeyExists { name: name.to_owned() });
    }
    let object = match tpm.persist(&made, handle, &public) {
        Ok(object) => object,
        Err(fault) => {
            if matches!(fault, Fault::Tpm { .. }) {
                store.remove(KIND, name)?;
            }
            return Err(fault);
        }
    };
    tpm.flush(&made)?;
    forget_certificates(store, name)?;
    info!(name, "attesting key made");
    AttestationKey::new(name, object, public)
}

/// TPM_RC_ATTRIBUTES or TPM_RC_RESERVED_BITS about the template.
fn refuses_attributes(code: ResponseCode) -> bool {
    matches!(code.format_one(), Some((0x02 | 0x21, Blamed::Parameter(_))))
}

fn check_name(name: &str) -> Result<(), Fault> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_');
    if (1..=NAME_LEN).contains(&name.len()) && name.chars().all(fits) {
        Ok(())
    } else {
        Err(Fault::AttestingKeyName { name: name.to_owned() })
    }
}

// A slash cannot be in a name, so key and family are never confused.
fn certificates_name(name: &str, family: Family) -> String {
    format!("{name}/{}", family.as_str())
}

fn forget_certificates(store: &dyn StateStore, name: &str) -> Result<(), Fault> {
    for family in Family::ALL {
        store.remove(CERTIFICATES, &certificates_name(name, family))?;
    }
    Ok(())
}

/// The certificates of `key` for `family`, its own first; empty if it has none.
pub(super) fn certificates(
    store: &dyn StateStore,
    key: &AttestationKey,
    family: Family,
) -> Result<Vec<Vec<u8>>, Fault> {
    let Some(bytes) = store.load(CERTIFICATES, &certificates_name(&key.name, family))? else {
        return Ok(Vec::new());
    };
    read_certificates(&bytes).map_err(Fault::BlobInvalid)
}

fn read_certificates(bytes: &[u8]) -> Result<Vec<Vec<u8>>, Malformed> {
    let mut r = Reader::new(bytes, "certificates record");
    let mut certificates = Vec::new();
    while r.remaining() > 0 {
        let len = usize::try_from(r.u32()?).unwrap_or(usize::MAX);
        if len > CERTIFICATE_OCTETS {
            return Err(r.error(Reason::OverLimit { what: "certificate", limit: CERTIFICATE_OCTETS }));
        }
        certificates.push(r.take(len)?.to_vec());
    }
    Ok(certificates)
}

/// Keeps the certificates of `key` for one family.
pub(super) fn install_certificates(
    store: &dyn StateStore,
    key: &AttestationKey,
    new: &FamilyCertificates,
) -> Result<(), Fault> {
    let own = new.certificates.first().and_then(|der| CertView::parse(der).ok()).ok_or(Fault::CertificateMismatch)?;
    let all_parse = new.certificates.iter().all(|der| CertView::parse(der).is_ok());
    if !own.spki().same_key(&key.spki) || !all_parse || new.certificates.len() > CHAIN_LENGTH {
        return Err(Fault::CertificateMismatch);
    }
    if !key.families().contains(&new.family) {
        return Err(Fault::Missing { what: "way to certify by X.509 with this attesting key" });
    }
    let mut w = Writer::new();
    for certificate in &new.certificates {
        w.u32(u32::try_from(certificate.len()).unwrap_or(u32::MAX)).bytes(certificate);
    }
    store.replace(CERTIFICATES, &certificates_name(&key.name, new.family), &w.into_bytes())?;
    Ok(())
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
            made_here: true,
        })
    }

    pub(super) fn make_attesting_key(&mut self, name: &str, kind: KeyKind) -> Result<AttestingKey, Fault> {
        if self.prepared.attesting.iter().any(|key| key.name == name) {
            return Err(Fault::AttestingKeyExists { name: name.to_owned() });
        }
        let (store, prepared) = (self.store.as_ref(), &self.prepared);
        let key = create(&mut self.tpm, store, &prepared.root, prepared.has_certify_x509, name, kind)?;
        let described = self.describe_attesting_key(&key)?;
        self.prepared.attesting.push(key);
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
        assert!(install_certificates(&store, key, &new).is_err());
    }

    #[test]
    fn names_are_plain() {
        for name in ["default", "site-2.backup_key", "a"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", "a/b", "A", "ä", "a b", &"x".repeat(65)] {
            assert!(matches!(check_name(name), Err(Fault::AttestingKeyName { .. })), "{name}");
        }
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
