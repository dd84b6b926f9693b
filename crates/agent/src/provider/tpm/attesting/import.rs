//! Attesting keys that were made elsewhere: as an object that the TPM wrapped, or at a persistent handle.
//!
//! A key is taken only if it can attest and do nothing else, in this TPM and no other, and only with an authValue that cannot
//! be guessed (A29). An empty authValue is refused even though the agent could give the key another one: the object that was
//! handed in would go on to work for whoever has a copy of it, with the old one. Whether the authValue is right is tried once.

use tracing::info;
use vouchsafe_evidence::Malformed;
use vouchsafe_evidence::limits::TPM_STRUCTURE_OCTETS;
use vouchsafe_evidence::oid::Oid;
use vouchsafe_evidence::pem;
use vouchsafe_evidence::tpm::marshal::Reader;
use vouchsafe_evidence::tpm::template::EkTemplate;
use vouchsafe_evidence::tpm::{ObjectAttributes, TpmtPublic};
use vouchsafe_evidence::x509::der::{Element, Tag};

use super::record::{ImportedRecord, Wrapped};
use super::{AttestationKey, FIRST_HANDLE, LAST_HANDLE, Origin, PERSISTENT_HANDLES, is_at, keep, put_on_record};
use crate::provider::tpm::root::{Root, free_handle};
use crate::provider::tpm::{TpmProvider, kind};
use crate::provider::{AttestingKey, AttestingKeySource, Fault, StateStore, Unfit};
use crate::tpm::kdf::random;
use crate::tpm::{AuthValue, Blamed, Hierarchy, Object, ResponseCode, SignScheme, Tpm};

/// Octets of an authValue that is not guessed.
const AUTH_OCTETS_MIN: usize = 16;
/// Octets of the longest authValue: a digest (Part 1, "Authorization Values").
const AUTH_OCTETS_MAX: usize = 64;
/// Octets of an object that is handed in, in any encoding.
const OBJECT_OCTETS: usize = 16 * 1024;
/// Last persistent handle of the owner (TCG Registry of Reserved Handles); those above are the platform's.
const LAST_OWNER_HANDLE: u32 = 0x817F_FFFF;

/// Octets of a handle as an INTEGER, at most: some software keeps the first one positive, some does not.
const PARENT_OCTETS: usize = 5;

/// The label of the PEM file that OpenSSL's providers for TPMs use, and the type of a loadable key in it.
const PEM_LABEL: &str = "TSS2 PRIVATE KEY";
const LOADABLE_KEY: Oid = Oid::constant("2.23.133.10.1.3");

/// Bits that must be set beside sign and restricted, and what their lack means.
const NEEDED: [(u32, Unfit); 6] = [
    (ObjectAttributes::SIGN, Unfit::NotRestricted("sign")),
    (ObjectAttributes::RESTRICTED, Unfit::NotRestricted("restricted")),
    (ObjectAttributes::FIXED_TPM, Unfit::Duplicable("fixedTPM")),
    (ObjectAttributes::FIXED_PARENT, Unfit::Duplicable("fixedParent")),
    (ObjectAttributes::SENSITIVE_DATA_ORIGIN, Unfit::Origin),
    (ObjectAttributes::USER_WITH_AUTH, Unfit::Policy),
];

/// The public area of an attesting key as it is handed in: TPM2B_PUBLIC and TPM2B_PRIVATE, or a PEM file of both.
///
/// # Errors
/// [`Unfit`] if it cannot be read, and if the key could do anything but attest.
pub fn read_wrapped_attesting_key(octets: &[u8]) -> Result<TpmtPublic, Unfit> {
    let object = WrappedObject::parse(octets, None)?;
    check_public(&object.public)?;
    Ok(object.public)
}

/// An object as its file has it.
struct WrappedObject {
    public: TpmtPublic,
    private: Vec<u8>,
    parent: Option<u32>,
}

impl TpmProvider {
    pub(in crate::provider::tpm) fn import_attesting_key(
        &mut self,
        name: &str,
        source: &AttestingKeySource,
        clients_keys: &[Vec<u8>],
    ) -> Result<AttestingKey, Fault> {
        self.check_new_name(name)?;
        let key = match source {
            AttestingKeySource::Wrapped { octets, parent, auth } => {
                let object = WrappedObject::parse(octets, *parent).map_err(Fault::AttestingKeyUnfit)?;
                self.check_fit(&object.public, clients_keys)?;
                let auth = auth_value(auth)?;
                self.import_wrapped(name, object, &auth)?
            }
            AttestingKeySource::Resident { handle, auth } => {
                let public = self.resident(*handle)?;
                self.check_fit(&public, clients_keys)?;
                let auth = auth_value(auth)?;
                let object = Object::persistent(*handle, &public, auth);
                self.try_auth(&object)?;
                self.import_resident(name, *handle, object, public)?
            }
        };
        info!(name, "attesting key imported");
        self.add_attesting_key(key)
    }

    fn resident(&mut self, handle: u32) -> Result<TpmtPublic, Fault> {
        const MISSING: Fault = Fault::AttestingKeyUnfit(Unfit::Missing);
        if !(PERSISTENT_HANDLES..=LAST_OWNER_HANDLE).contains(&handle) {
            return Err(MISSING);
        }
        if !self.tpm.handles(handle)?.contains(&handle) {
            return Err(MISSING);
        }
        match self.tpm.read_public(handle) {
            // An object of a type that is not read here is none that attests.
            Err(Fault::ResponseMalformed(_)) if self.tpm.is_ready() => Err(Fault::AttestingKeyUnfit(Unfit::Kind)),
            other => other,
        }
    }

    /// Whose key it is comes first: that is what a caller has mistaken.
    fn check_fit(&self, public: &TpmtPublic, clients_keys: &[Vec<u8>]) -> Result<(), Fault> {
        let unfit = |unfit| Err(Fault::AttestingKeyUnfit(unfit));
        if self.prepared.endorsement.contains(public) || is_endorsement_key(public) {
            return unfit(Unfit::EndorsementKey);
        }
        let spki = public.spki();
        let is_same = |key: &AttestationKey| spki.as_ref().is_some_and(|spki| spki.same_key(&key.spki));
        if self.prepared.attesting.iter().any(is_same) {
            return unfit(Unfit::Known);
        }
        if spki.is_some_and(|spki| clients_keys.iter().any(|key| key == spki.as_der())) {
            return unfit(Unfit::ClientKey);
        }
        check_public(public).map_err(Fault::AttestingKeyUnfit)
    }

    /// Attests the storage root key, which tells whether the authValue is the key's. A wrong one counts against the TPM's
    /// lockout, so this is tried once.
    fn try_auth(&mut self, object: &Object) -> Result<(), Fault> {
        let nonce: [u8; 32] = random()?;
        match self.tpm.certify(self.prepared.root.key(), object, &nonce, SignScheme::KeysOwn) {
            Ok(_) => Ok(()),
            Err(Fault::Tpm { code, .. }) if is_auth_failure(code) => Err(Fault::AttestingKeyUnfit(Unfit::AuthWrong)),
            Err(fault) => Err(fault),
        }
    }

    fn import_wrapped(&mut self, name: &str, object: WrappedObject, auth: &AuthValue) -> Result<AttestationKey, Fault> {
        let WrappedObject { public, private, parent } = object;
        let wrapped = Wrapped { private, parent };
        let loaded = load(&mut self.tpm, &self.prepared.root, &wrapped, &public, auth.clone())?;
        if let Err(fault) = self.try_auth(&loaded) {
            if self.tpm.is_ready() {
                self.tpm.flush(&loaded)?;
            }
            return Err(fault);
        }
        let handle = free_handle(FIRST_HANDLE..=LAST_HANDLE, &self.tpm.handles(PERSISTENT_HANDLES)?)?;
        let record = record(&self.prepared.root, handle, auth, &public, Some(wrapped))?;
        let store = self.store.as_ref();
        let kept = (&loaded, handle, &public);
        let object = keep(&mut self.tpm, store, (Origin::Imported, name), &record.to_bytes(), kept)?;
        AttestationKey::new(name, Origin::Imported, object, public)
    }

    fn import_resident(
        &self,
        name: &str,
        handle: u32,
        object: Object,
        public: TpmtPublic,
    ) -> Result<AttestationKey, Fault> {
        let record = record(&self.prepared.root, handle, object.auth(), &public, None)?;
        put_on_record(self.store.as_ref(), (Origin::Imported, name), &record.to_bytes())?;
        AttestationKey::new(name, Origin::Imported, object, public)
    }
}

/// The imported key as it was, or nothing if this TPM has it no longer.
pub(super) fn restore(
    tpm: &mut Tpm,
    store: &dyn StateStore,
    root: &Root,
    name: &str,
    record: ImportedRecord,
) -> Result<Option<AttestationKey>, Fault> {
    let auth = AuthValue::new(&root.mask(&record.salt, &record.masked_auth));
    let persistent = tpm.handles(PERSISTENT_HANDLES)?;
    if persistent.contains(&record.handle) && is_at(tpm, record.handle, &record.public)? {
        let object = Object::persistent(record.handle, &record.public, auth);
        return AttestationKey::new(name, Origin::Imported, object, record.public).map(Some);
    }
    let Some(wrapped) = &record.wrapped else {
        return Ok(None);
    };
    let loaded = match load(tpm, root, wrapped, &record.public, auth) {
        Ok(loaded) => loaded,
        Err(Fault::AttestingKeyUnfit(_)) => return Ok(None),
        Err(fault) => return Err(fault),
    };
    let handle = free_handle(FIRST_HANDLE..=LAST_HANDLE, &persistent)?;
    let object = tpm.persist(&loaded, handle, &record.public)?;
    tpm.flush(&loaded)?;
    let public = record.public.clone();
    store.replace(Origin::Imported.kind(), name, &ImportedRecord { handle, ..record }.to_bytes())?;
    info!(name, "imported attesting key loaded again");
    AttestationKey::new(name, Origin::Imported, object, public).map(Some)
}

fn record(
    root: &Root,
    handle: u32,
    auth: &AuthValue,
    public: &TpmtPublic,
    wrapped: Option<Wrapped>,
) -> Result<ImportedRecord, Fault> {
    let salt = random()?;
    let masked_auth = root.mask(&salt, auth.as_bytes()).to_vec();
    Ok(ImportedRecord { handle, salt, masked_auth, public: public.clone(), wrapped })
}

fn load(tpm: &mut Tpm, root: &Root, wrapped: &Wrapped, public: &TpmtPublic, auth: AuthValue) -> Result<Object, Fault> {
    const WRONG_PARENT: Fault = Fault::AttestingKeyUnfit(Unfit::WrongParent);
    let parent = match wrapped.parent {
        None => root.key().clone(),
        Some(handle) => {
            let is_there =
                (PERSISTENT_HANDLES..=LAST_OWNER_HANDLE).contains(&handle) && tpm.handles(handle)?.contains(&handle);
            if !is_there {
                return Err(WRONG_PARENT);
            }
            Object::persistent(handle, &tpm.read_public(handle)?, AuthValue::empty())
        }
    };
    match tpm.load(&parent, &wrapped.private, public, auth) {
        // Integrity, attributes or type: of the private part, or of the parent, which is none.
        Err(Fault::Tpm { code, .. }) if is_refusal_to_load(code) => Err(WRONG_PARENT),
        other => other,
    }
}

/// A format-one code that blames a parameter or the parent.
fn is_refusal_to_load(code: ResponseCode) -> bool {
    !code.is_stale_handle() && matches!(code.format_one(), Some((_, Blamed::Parameter(_) | Blamed::Handle(_))))
}

/// TPM_RC_AUTH_FAIL or TPM_RC_BAD_AUTH.
fn is_auth_failure(code: ResponseCode) -> bool {
    matches!(code.format_one(), Some((0x0E | 0x22, Blamed::Session(_))))
}

fn auth_value(octets: &[u8]) -> Result<AuthValue, Fault> {
    let auth = AuthValue::new(octets);
    match auth.as_bytes().len() {
        ..AUTH_OCTETS_MIN => Err(Fault::AttestingKeyUnfit(Unfit::AuthWeak)),
        AUTH_OCTETS_MIN..=AUTH_OCTETS_MAX => Ok(auth),
        _ => Err(Fault::AttestingKeyUnfit(Unfit::AuthWrong)),
    }
}

/// Whether a key with this public area is made by a template for endorsement keys, certified or not.
fn is_endorsement_key(public: &TpmtPublic) -> bool {
    EkTemplate::ALL
        .into_iter()
        .map(EkTemplate::public)
        .any(|template| template.attributes() == public.attributes() && template.auth_policy() == public.auth_policy())
}

/// Whether a key with this public area can attest and do nothing else.
fn check_public(public: &TpmtPublic) -> Result<(), Unfit> {
    let attributes = public.attributes();
    let has = |bit| attributes.contains(bit);
    if has(ObjectAttributes::DECRYPT) {
        return Err(if has(ObjectAttributes::RESTRICTED) { Unfit::StorageKey } else { Unfit::Decrypts });
    }
    if let Some((_, lack)) = NEEDED.into_iter().find(|(bit, _)| !has(*bit)) {
        return Err(lack);
    }
    if has(ObjectAttributes::ADMIN_WITH_POLICY) || !public.auth_policy().is_empty() {
        return Err(Unfit::Policy);
    }
    let allowed = NEEDED.iter().fold(ObjectAttributes::X509_SIGN | ObjectAttributes::NO_DA, |all, (bit, _)| all | bit);
    if attributes.bits() & !allowed != 0 {
        return Err(Unfit::OtherAttribute);
    }
    let names_well = public.name_alg().is_some_and(|alg| alg.is_strong());
    if !names_well || !kind::kind_of(public).is_some_and(crate::provider::KeyKind::attests) {
        return Err(Unfit::Kind);
    }
    if !public.signing_hash().is_some_and(|hash| hash.is_strong()) {
        return Err(Unfit::Scheme);
    }
    Ok(())
}

impl WrappedObject {
    /// TPM2B_PUBLIC and TPM2B_PRIVATE one after the other, or one PEM block of a loadable key.
    fn parse(octets: &[u8], parent: Option<u32>) -> Result<Self, Unfit> {
        if octets.len() > OBJECT_OCTETS {
            return Err(Unfit::Unreadable);
        }
        let read = if pem::is_pem(octets) {
            let blocks = pem::read(octets).map_err(|_| Unfit::Unreadable)?;
            let [block] = blocks.as_slice() else {
                return Err(Unfit::Unreadable);
            };
            if block.label() != PEM_LABEL {
                return Err(Unfit::Unreadable);
            }
            Self::from_loadable_key(block.contents())
        } else {
            Self::from_structures(octets, None)
        };
        let object = read.map_err(|_| Unfit::Unreadable)?;
        // What the caller says of the parent comes before what the file says.
        Ok(Self { parent: parent.or(object.parent), ..object })
    }

    fn from_structures(octets: &[u8], parent: Option<u32>) -> Result<Self, Malformed> {
        let mut r = Reader::new(octets, "TPM2B_PUBLIC and TPM2B_PRIVATE");
        let public = TpmtPublic::parse(r.tpm2b(TPM_STRUCTURE_OCTETS)?)?;
        let private = r.tpm2b(TPM_STRUCTURE_OCTETS)?.to_vec();
        r.finish()?;
        Ok(Self { public, private, parent })
    }

    /// TPMKey of draft-bottomley-tpm2-keys: the type, fields of which none matters here, the parent, and both structures.
    fn from_loadable_key(der: &[u8]) -> Result<Self, Malformed> {
        let outer = Element::parse(der, "TPMKey")?;
        let mut fields = outer.reader();
        let key_type = fields.expect(Tag::OID, "type")?;
        if key_type.oid()? != LOADABLE_KEY {
            return Err(key_type.error(vouchsafe_evidence::Reason::Unexpected("a loadable key")));
        }
        // emptyAuth, policy, secret, authPolicy, description, rsaParent: what they say is in the structures too, or is of no
        // use for a key that the TPM itself made.
        for number in 0..=5 {
            fields.optional(Tag::context_constructed(number))?;
        }
        let parent = fields.expect(Tag::INTEGER, "parent")?;
        if parent.contents().len() > PARENT_OCTETS {
            return Err(parent.error(vouchsafe_evidence::Reason::Unexpected("a handle")));
        }
        let parent = parent.contents().iter().fold(0_u64, |value, octet| (value << 8) | u64::from(*octet));
        let public = fields.octet_string("pubkey")?;
        let private = fields.octet_string("privkey")?;
        fields.finish()?;
        // The owner's hierarchy stands for the storage root key.
        let owner = u64::from(Hierarchy::Owner.handle());
        let parent = if parent == owner { None } else { Some(u32::try_from(parent).unwrap_or(u32::MAX)) };
        Self::from_structures(&[public, private].concat(), parent)
    }
}
