//! Attesting keys: key pairs of the token that sign evidence and nothing else.
//!
//! They lie in the token of the users' keys, or in one of their own with a PIN that nobody but the agent has. Whoever has that
//! PIN can have such a key sign anything; what is done here is that the agent never does.

mod aside;

use std::sync::Arc;

use cryptoki::object::AttributeType;
use tracing::{info, warn};
use vouchsafe_evidence::tpm::marshal::{Reader, Writer};
use vouchsafe_evidence::x509::SpkiView;
use vouchsafe_evidence::{Malformed, Reason};

use super::Pkcs11Provider;
use super::blob::Blob;
use super::fault::TokenFault;
use super::objects::{self, Attributes, Resolved};
use super::token::{Live, Token};
use super::{keys, pairing};
use crate::provider::attesting_key::check_name;
use crate::provider::{
    AttestingKey, AttestingKeySpec, Family, FamilyCertificates, Fault, KeyKind, KeyPurpose, KeyUid, StateStore, chain,
};

const KIND: &str = "pkcs11.attesting-key";
const CERTIFICATES: &str = "pkcs11.attesting-key.certificates";
/// Octets of a public key in a record.
const SPKI_OCTETS: usize = 4096;
/// Octets of a key blob in a record.
const BLOB_OCTETS: usize = 64;
const PRODUCTION: &str = "attesting key record";

/// An attesting key that is there.
#[derive(Clone, Debug)]
pub(super) struct AttestationKey {
    pub(super) name: String,
    pub(super) blob: Blob,
    pub(super) spki: Arc<SpkiView>,
}

/// What is remembered of an attesting key.
///
/// ```text
/// state u8 (1 making) | CKA_ID 16 octets
/// state u8 (2 made) | length u16, key blob | length u16, SubjectPublicKeyInfo
/// ```
enum Record {
    /// The token was about to be asked for it.
    Making(KeyUid),
    /// It is there.
    Made(Blob, SpkiView),
}

impl Record {
    fn to_bytes(&self) -> Vec<u8> {
        let mut w = Writer::new();
        match self {
            Self::Making(uid) => w.u8(1).bytes(uid.as_octets()),
            Self::Made(blob, spki) => w.u8(2).tpm2b(&blob.to_bytes()).tpm2b(spki.as_der()),
        };
        w.into_bytes()
    }

    fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes, PRODUCTION);
        let record = match r.u8()? {
            1 => Self::Making(KeyUid::from_octets(r.array()?)),
            2 => Self::Made(Blob::read(r.tpm2b(BLOB_OCTETS)?)?, SpkiView::parse(r.tpm2b(SPKI_OCTETS)?)?),
            other => return Err(Malformed::new(PRODUCTION, 0, Reason::BadValue(other.into()))),
        };
        r.finish()?;
        Ok(record)
    }
}

/// Makes an attesting key. On record before the token is asked, so that nothing of it stays in the token if the agent dies.
fn create(token: &mut Token, store: &dyn StateStore, name: &str, kind: KeyKind) -> Result<AttestationKey, Fault> {
    check_name(name)?;
    if !kind.attests() {
        return Err(Fault::Missing { what: "attesting key of this kind" });
    }
    let uid = KeyUid::random()?;
    if !store.store_if_absent(KIND, name, &Record::Making(uid).to_bytes())? {
        return Err(Fault::AttestingKeyExists { name: name.to_owned() });
    }
    let label = format!("vouchsafe attesting key {name}");
    let made = token.with(store, |live| {
        let (blob, resolved) = keys::generate(live, &uid, &label, kind, KeyPurpose::Attest)?;
        check_use(live, &resolved)?;
        Ok((blob, resolved.spki))
    });
    let (blob, spki) = match made {
        Ok(made) => made,
        Err(fault) => {
            // Where the token cannot be asked any more, the record has it removed later.
            if token.with(store, |live| objects::destroy_all(live, &uid)).is_ok() {
                store.remove(KIND, name)?;
            }
            return Err(fault);
        }
    };
    store.remove(CERTIFICATES, name)?;
    store.replace(KIND, name, &Record::Made(blob, spki.as_ref().clone()).to_bytes())?;
    info!(name, key = %uid, "attesting key made");
    Ok(AttestationKey { name: name.to_owned(), blob, spki })
}

/// The attesting keys on record whose private half is in the token. The others are set aside: the token was initialized anew, or
/// is another one.
fn restore(token: &mut Token, store: &dyn StateStore) -> Result<Vec<AttestationKey>, Fault> {
    for name in store.names(KIND)? {
        let Some(bytes) = store.load(KIND, &name)? else { continue };
        match Record::parse(&bytes).map_err(Fault::BlobInvalid)? {
            Record::Making(uid) => {
                token.with(store, |live| objects::destroy_all(live, &uid))?;
                store.remove(KIND, &name)?;
            }
            Record::Made(blob, _) if is_held(token, store, &blob)? => {}
            Record::Made(blob, _) => {
                warn!(
                    name,
                    key = %blob.uid,
                    "this token does not hold the attesting key: it is another one, or it was initialized anew"
                );
                aside::put(store, &name)?;
            }
        }
    }
    aside::take(token, store)?;
    let mut there = Vec::new();
    for name in store.names(KIND)? {
        let Some(bytes) = store.load(KIND, &name)? else { continue };
        if let Record::Made(blob, spki) = Record::parse(&bytes).map_err(Fault::BlobInvalid)? {
            there.push(AttestationKey { name, blob, spki: Arc::new(spki) });
        }
    }
    Ok(there)
}

/// Whether the token holds the private half of that key. What else is wrong with it is said when it is to attest; the other keys
/// have nothing to do with it.
fn is_held(token: &mut Token, store: &dyn StateStore, blob: &Blob) -> Result<bool, Fault> {
    match token.with(store, |live| keys::resolve_anew(live, blob)) {
        Ok(_) | Err(Fault::Token(TokenFault::AmbiguousId { .. } | TokenFault::PublicKeyReplaced { .. })) => Ok(true),
        Err(Fault::KeyLost) => Ok(false),
        Err(fault) => Err(fault),
    }
}

/// Whether the token keeps an attesting key to itself and lets it do nothing but sign.
fn check_use(live: &Live<'_>, key: &Resolved) -> Result<(), Fault> {
    const DEMANDED: [(AttributeType, bool, &str); 7] = [
        (AttributeType::Sign, true, "CKA_SIGN false"),
        (AttributeType::Sensitive, true, "CKA_SENSITIVE false"),
        (AttributeType::Extractable, false, "CKA_EXTRACTABLE true"),
        (AttributeType::NeverExtractable, true, "CKA_NEVER_EXTRACTABLE false"),
        (AttributeType::Decrypt, false, "CKA_DECRYPT true"),
        (AttributeType::Unwrap, false, "CKA_UNWRAP true"),
        (AttributeType::Derive, false, "CKA_DERIVE true"),
    ];
    let types = DEMANDED.map(|(attribute, _, _)| attribute);
    let attributes = Attributes::read(live, key.private, &types)?;
    for (attribute, demanded, wrong) in DEMANDED {
        match attributes.flag(attribute) {
            Some(found) if found == demanded => {}
            Some(_) => return Err(Fault::Token(TokenFault::AttestingKeyExposed { attribute: wrong })),
            None => {
                return Err(Fault::Token(TokenFault::AttributeHidden { attribute: attribute.to_string() }));
            }
        }
    }
    Ok(())
}

/// The attesting key of that blob, fit to sign: its objects are a pair and its attributes are what they must be. Both are
/// looked at again when the proof of the pair has become old.
pub(super) fn ready_to_sign(live: &mut Live<'_>, blob: &Blob) -> Result<Resolved, Fault> {
    if blob.purpose != KeyPurpose::Attest {
        return Err(Fault::PurposeMismatch);
    }
    let remembered = keys::resolve(live, blob)?;
    if remembered.proven.is_some_and(|when| when.elapsed() < pairing::PROOF_AGE) {
        return Ok(remembered);
    }
    let resolved = keys::resolve_anew(live, blob)?;
    check_use(live, &resolved)?;
    pairing::prove(live, blob, &resolved)?;
    Ok(resolved)
}

/// The certificates of the attesting key of that name, its own first; empty if it has none.
pub(super) fn certificates(store: &dyn StateStore, name: &str) -> Result<Vec<Vec<u8>>, Fault> {
    match store.load(CERTIFICATES, name)? {
        Some(bytes) => chain::parse(&bytes),
        None => Ok(Vec::new()),
    }
}

impl Pkcs11Provider {
    /// The token with the attesting keys, and the store.
    pub(super) fn attesting_token(&mut self) -> (&mut Token, &dyn StateStore) {
        (self.attesting_token.as_mut().unwrap_or(&mut self.keys), self.store.as_ref())
    }

    /// Makes sure of the attesting keys on record and of the default one, unless that was done.
    pub(super) fn prepare_attesting(&mut self) -> Result<(), Fault> {
        if self.attesting.is_some() {
            return Ok(());
        }
        let (default, kind) = (self.settings.default_attesting_key.clone(), self.settings.attesting_key_kind);
        let (token, store) = self.attesting_token();
        let mut keys = restore(token, store)?;
        if keys.iter().all(|key| key.name != default) {
            keys.push(create(token, store, &default, kind)?);
        }
        keys.sort_by_key(|key| (key.name != default, key.name.clone()));
        self.attesting = Some(keys);
        Ok(())
    }

    /// The attesting key of that name; empty for the default.
    pub(super) fn attesting_key(&mut self, name: &str) -> Result<AttestationKey, Fault> {
        self.prepare_attesting()?;
        let name = if name.is_empty() { self.settings.default_attesting_key.as_str() } else { name };
        let mut keys = self.attesting.iter().flatten();
        let found = keys.find(|key| key.name == name).cloned();
        found.ok_or_else(|| Fault::AttestingKeyUnknown { name: name.to_owned() })
    }

    pub(super) fn list_attesting_keys(&mut self) -> Result<Vec<AttestingKey>, Fault> {
        self.prepare_attesting()?;
        self.attesting.iter().flatten().map(|key| self.describe_attesting_key(key)).collect()
    }

    fn describe_attesting_key(&self, key: &AttestationKey) -> Result<AttestingKey, Fault> {
        let certificates = certificates(self.store.as_ref(), &key.name)?;
        let family = Family::PkixEvidence;
        Ok(AttestingKey {
            name: key.name.clone(),
            is_default: key.name == self.settings.default_attesting_key,
            kind: key.blob.kind,
            public: Vec::new(),
            spki: key.spki.as_der().to_vec(),
            families: vec![family],
            certificates: if certificates.is_empty() {
                Vec::new()
            } else {
                vec![FamilyCertificates { family, certificates }]
            },
            made_here: true,
            is_pseudonym: false,
        })
    }

    pub(super) fn make_attesting_key(&mut self, name: &str, spec: AttestingKeySpec) -> Result<AttestingKey, Fault> {
        if spec.is_pseudonym {
            return Err(Fault::Missing { what: "pseudonymous attesting keys" });
        }
        self.prepare_attesting()?;
        let (token, store) = self.attesting_token();
        let key = create(token, store, name, spec.kind)?;
        let described = self.describe_attesting_key(&key)?;
        self.attesting.get_or_insert_default().push(key);
        Ok(described)
    }

    /// Keeps the certificates of an attesting key; all that are given, or none.
    pub(super) fn keep_certificates(&mut self, name: &str, new: &[FamilyCertificates]) -> Result<(), Fault> {
        let key = self.attesting_key(name)?;
        let records = new.iter().map(|new| Ok((key.name.clone(), certificates_record(&key, new)?)));
        let records = records.collect::<Result<Vec<_>, Fault>>()?;
        Ok(self.store.replace_all(CERTIFICATES, &records)?)
    }
}

/// What is kept of the certificates, if they are this key's.
fn certificates_record(key: &AttestationKey, new: &FamilyCertificates) -> Result<Vec<u8>, Fault> {
    if new.family != Family::PkixEvidence {
        return Err(Fault::Missing { what: "attesting keys of this family" });
    }
    chain::to_bytes(&key.spki, &new.certificates)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vouchsafe_evidence::x509::NamedCurve;

    #[test]
    fn a_record_is_read_as_it_was_written_and_no_other_is_read() {
        let uid = KeyUid::from_octets([3; 16]);
        assert!(matches!(Record::parse(&Record::Making(uid).to_bytes()), Ok(Record::Making(read)) if read == uid));
        let spki = SpkiView::from_ec(NamedCurve::P256, &[1; 32], &[2; 32]).unwrap();
        let blob = Blob::new(KeyPurpose::Attest, KeyKind::EcP256, uid, &spki);
        let whole = Record::Made(blob, spki.clone()).to_bytes();
        assert!(matches!(Record::parse(&whole), Ok(Record::Made(b, s)) if b == blob && s == spki));
        for len in 0..whole.len() {
            assert!(Record::parse(&whole[..len]).is_err(), "{len} octets");
        }
        assert!(Record::parse(&[whole, vec![0]].concat()).is_err());
        assert!(Record::parse(&[3; 17]).is_err());
    }
}
