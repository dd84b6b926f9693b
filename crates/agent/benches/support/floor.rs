//! What the TPM takes by itself, asked by a raw client with salted HMAC sessions and parameter encryption.

use std::time::Duration;

use vouchsafe_agent::tpm::{Address, AuthValue, Hierarchy, Object, SignScheme, Ticket, Tpm};
use vouchsafe_evidence::tpm::template::{
    AK_ATTRIBUTES, SigningKey, USER_KEY_ATTRIBUTES, signing_key, storage_root_key,
};
use vouchsafe_evidence::tpm::{HashAlg, TpmtPublic};

use crate::report::{quantiles, timed};

/// Operations of each kind in one round.
pub const OPERATIONS: usize = 60;
/// Keys that are attested without being loaded, in one round.
pub const UNLOADED: usize = 30;
/// Operations before measuring begins.
pub const WARM_UP: usize = 20;
pub const NONCE: [u8; 32] = [0x42; 32];
pub const DIGEST: [u8; 32] = [0x17; 32];

#[derive(Default)]
pub struct Times {
    pub sign: Vec<Duration>,
    pub certify: Vec<Duration>,
    pub load_and_certify: Vec<Duration>,
}

/// Medians in milliseconds.
#[derive(Clone, Copy)]
pub struct Floor {
    pub sign: f64,
    pub certify: f64,
    pub load_and_certify: f64,
}

impl Floor {
    pub fn of(address: &Address) -> Floor {
        let mut times = Times::default();
        measure_raw(address, &mut times);
        let Times { sign, certify, load_and_certify } = times;
        let [sign, certify, load_and_certify] = [sign, certify, load_and_certify].map(|times| quantiles(times).0);
        Floor { sign, certify, load_and_certify }
    }
}

/// Where the agent also puts its storage root key.
const ROOT_HANDLE: u32 = 0x8100_0001;
/// Where the raw client's attesting key is, apart from the agent's.
const ATTESTING_HANDLE: u32 = 0x8101_9000;

/// The primary key of this template, made persistent unless it is.
fn persistent(
    tpm: &mut Tpm,
    hierarchy: Hierarchy,
    template: &TpmtPublic,
    auth: &AuthValue,
    handle: u32,
) -> (Object, TpmtPublic) {
    let (made, public) = tpm.create_primary(hierarchy, template, auth).unwrap();
    let object = match tpm.handles(handle).unwrap().contains(&handle) {
        true => Object::persistent(handle, &public, auth.clone()),
        false => tpm.persist(&made, handle, &public).unwrap(),
    };
    tpm.flush(&made).unwrap();
    (object, public)
}

pub fn measure_raw(address: &Address, times: &mut Times) {
    let mut tpm = Tpm::open(address).unwrap();
    let (root, public) = persistent(&mut tpm, Hierarchy::Owner, &storage_root_key(), &AuthValue::empty(), ROOT_HANDLE);
    tpm.salt_sessions_to(ROOT_HANDLE, public);
    let auth = AuthValue::new(&[7; 32]);
    let key = signing_key(SigningKey::EccP256, USER_KEY_ATTRIBUTES, None, &[]);
    let attesting = signing_key(SigningKey::EccP256, AK_ATTRIBUTES, Some(HashAlg::Sha256), &[]);
    let mut keys: Vec<_> = (0..=UNLOADED).map(|_| tpm.create(&root, &key, &auth).unwrap()).collect();
    let used = keys.pop().unwrap();
    let (attester, _) = persistent(&mut tpm, Hierarchy::Endorsement, &attesting, &auth, ATTESTING_HANDLE);
    let object = tpm.load(&root, &used.private, &used.public, auth.clone()).unwrap();
    let sign = |tpm: &mut Tpm| {
        tpm.sign(&object, &DIGEST, SignScheme::Ecdsa(HashAlg::Sha256), &Ticket::null_hash_check()).unwrap()
    };
    let certify = |tpm: &mut Tpm, object: &Object| tpm.certify(object, &attester, &NONCE, SignScheme::KeysOwn).unwrap();
    (0..WARM_UP).for_each(|_| {
        sign(&mut tpm);
        certify(&mut tpm, &object);
    });
    for _ in 0..OPERATIONS {
        timed(&mut times.sign, || sign(&mut tpm));
        timed(&mut times.certify, || certify(&mut tpm, &object));
    }
    tpm.flush(&object).unwrap();
    for created in keys {
        let object = timed(&mut times.load_and_certify, || {
            let object = tpm.load(&root, &created.private, &created.public, auth.clone()).unwrap();
            certify(&mut tpm, &object);
            object
        });
        tpm.flush(&object).unwrap();
    }
}
