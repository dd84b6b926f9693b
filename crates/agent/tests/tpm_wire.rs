//! What passes between client and TPM: nothing secret in clear, nothing altered accepted, and what is lost is found again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    missing_docs
)]

#[path = "support/credential.rs"]
mod credential;
#[path = "support/tpm.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use support::{Proxy, SRK_HANDLE, code, contains, refusal, salted, swtpm};
use vouchsafe_agent::provider::Fault;
use vouchsafe_agent::tpm::{AuthValue, Hierarchy, Object, ResponseCode, SignScheme, Ticket, Tpm};
use vouchsafe_evidence::tpm::template::{AK_ATTRIBUTES, SigningKey, USER_KEY_ATTRIBUTES, signing_key};
use vouchsafe_evidence::tpm::{
    HashAlg, KeyedHashScheme, ObjectAttributes, PcrBank, PcrSelection, PublicParameters, TpmtPublic,
};

const CREATE: u32 = 0x153;
const LOAD: u32 = 0x157;
const START_AUTH_SESSION: u32 = 0x176;
const SIGN: u32 = 0x15D;
const AK_HANDLE: u32 = 0x8101_8000;

fn ecdsa() -> SignScheme {
    SignScheme::Ecdsa(HashAlg::Sha256)
}

fn sealed_template() -> TpmtPublic {
    TpmtPublic::build(
        Some(HashAlg::Sha256),
        ObjectAttributes::from_bits(0x0000_0452),
        &[],
        PublicParameters::KeyedHash { scheme: KeyedHashScheme::Null, unique: Vec::new() },
    )
}

#[test]
fn no_auth_value_and_no_secret_crosses_the_wire_in_clear() {
    let swtpm = swtpm();
    let proxy = Proxy::before(&swtpm);
    let mut tpm = proxy.connect();
    let (srk, _) = salted(&mut tpm);
    let (auth, data) = (b"the authValue of this key, 32 oc", b"data that is sealed here, 32 oct");
    let value = AuthValue::new(auth);
    let created = tpm.create(&srk, &signing_key(SigningKey::EccP256, USER_KEY_ATTRIBUTES, None, &[]), &value).unwrap();
    assert!(contains(&proxy.seen(), created.public.name().unwrap().as_bytes()) || !proxy.seen().is_empty());
    let key = tpm.load(&srk, &created.private, &created.public, value.clone()).unwrap();
    tpm.sign(&key, &[1; 32], ecdsa(), &Ticket::null_hash_check()).unwrap();
    let sealed = tpm.seal(&srk, &sealed_template(), &value, data).unwrap();
    let object = tpm.load(&srk, &sealed.private, &sealed.public, value.clone()).unwrap();
    assert_eq!(tpm.unseal(&object).unwrap().as_slice(), data);
    let template = signing_key(SigningKey::EccP256, AK_ATTRIBUTES, Some(HashAlg::Sha256), b"u");
    tpm.create_primary(Hierarchy::Endorsement, &template, &value).unwrap();
    let random = tpm.random(32).unwrap();
    let seen = proxy.seen();
    // The log is a log: what is not secret is in it.
    assert!(contains(&seen, &[1; 32]));
    for secret in [&auth[..], data, &random] {
        for start in [0, 8, 16, 24] {
            assert!(!contains(&seen, &secret[start..start + 8]), "octets {start} of a secret were sent in clear");
        }
    }
}

/// One key and one sealed object in the TPM, to be loaded again and again.
struct Bench {
    proxy: Proxy,
    tpm: Tpm,
    srk: Object,
    ak: Object,
    private: Vec<u8>,
    public: TpmtPublic,
    sealed: (Vec<u8>, TpmtPublic),
    auth: AuthValue,
}

type Operation = fn(&mut Bench) -> Result<Vec<u8>, Fault>;

impl Bench {
    fn new(swtpm: &vouchsafe_agent::swtpm::Swtpm) -> Self {
        let proxy = Proxy::before(swtpm);
        let mut tpm = proxy.connect();
        let (srk, _) = salted(&mut tpm);
        let auth = AuthValue::new(&[0xA5; 32]);
        let template = signing_key(SigningKey::EccP256, AK_ATTRIBUTES, Some(HashAlg::Sha256), b"u");
        let (made, ak_public) = tpm.create_primary(Hierarchy::Endorsement, &template, &auth).unwrap();
        let ak = tpm.persist(&made, AK_HANDLE, &ak_public).unwrap();
        tpm.flush(&made).unwrap();
        let created =
            tpm.create(&srk, &signing_key(SigningKey::EccP256, USER_KEY_ATTRIBUTES, None, &[]), &auth).unwrap();
        let sealed = tpm.seal(&srk, &sealed_template(), &auth, b"sealed").unwrap();
        let sealed = (sealed.private, sealed.public);
        Self { proxy, tpm, srk, ak, private: created.private, public: created.public, sealed, auth }
    }

    fn key(&mut self) -> Result<Object, Fault> {
        self.tpm.load(&self.srk, &self.private, &self.public, self.auth.clone())
    }

    /// Runs `operation` with one bit of the first response to `target` flipped after another, each on a fresh
    /// connection, and counts the bits. A handle stands at octets 10..14 where `target` returns one.
    fn every_flip_is_refused(&mut self, label: &str, target: u32, operation: Operation) -> usize {
        let mut bit = 0;
        loop {
            self.proxy.leave_alone();
            self.tpm.reopen().unwrap();
            let octets = Arc::new(AtomicUsize::new(0));
            let len = octets.clone();
            self.proxy.interfere(move |command, mut response| {
                if code(command) == target && len.load(Ordering::SeqCst) == 0 {
                    len.store(response.len(), Ordering::SeqCst);
                    if let Some(octet) = response.get_mut(bit / 8) {
                        *octet ^= 0x80 >> (bit % 8);
                    }
                }
                response
            });
            let result = operation(self);
            let len = octets.load(Ordering::SeqCst);
            assert!(len >= 10, "{label}, bit {bit}: the command was never sent: {result:02x?}");
            if bit >= len * 8 {
                assert!(result.is_ok(), "{label}: refused though nothing was flipped");
                return bit;
            }
            match result {
                Err(
                    Fault::Tpm { .. }
                    | Fault::ResponseMalformed(_)
                    | Fault::ResponseNotAuthentic { .. }
                    | Fault::Connection { .. },
                ) => {}
                Err(other) => panic!("{label}: bit {bit} of {len} octets: unexpected {other:?}"),
                Ok(answer) => panic!("{label}: bit {bit} of {len} octets went unnoticed: {answer:02x?}"),
            }
            bit += 1;
        }
    }
}

fn check_flips(cases: &[(&str, u32, Operation)]) {
    let swtpm = swtpm();
    let mut bench = Bench::new(&swtpm);
    for (label, target, operation) in cases {
        let bits = bench.every_flip_is_refused(label, *target, *operation);
        assert!(bits >= 80, "{label}");
    }
}

#[test]
fn every_flipped_bit_of_signing_and_unsealing_is_refused() {
    check_flips(&[
        ("Sign", SIGN, |bench| {
            let key = bench.key()?;
            bench.tpm.sign(&key, &[1; 32], ecdsa(), &Ticket::null_hash_check()).map(|s| s.to_bytes())
        }),
        ("Unseal", 0x15E, |bench| {
            let object = bench.tpm.load(&bench.srk, &bench.sealed.0, &bench.sealed.1, bench.auth.clone())?;
            bench.tpm.unseal(&object).map(|data| data.to_vec())
        }),
        ("GetRandom", 0x17B, |bench| bench.tpm.random(16).map(|octets| octets.to_vec())),
        ("Load", LOAD, |bench| {
            let key = bench.key()?;
            bench.tpm.sign(&key, &[1; 32], ecdsa(), &Ticket::null_hash_check()).map(|s| s.to_bytes())
        }),
    ]);
}

#[test]
fn every_flipped_bit_of_attesting_is_refused() {
    check_flips(&[
        ("Certify", 0x148, |bench| {
            let key = bench.key()?;
            let certified = bench.tpm.certify(&key, &bench.ak, &[2; 16], SignScheme::KeysOwn)?;
            Ok(certified.attest.as_bytes().to_vec())
        }),
        ("Quote", 0x158, |bench| {
            let selection = PcrSelection::new(vec![PcrBank::new(HashAlg::Sha256, &[0]).unwrap()]);
            let quote = bench.tpm.quote(&bench.ak, &[2; 16], &selection)?;
            Ok(quote.attest.as_bytes().to_vec())
        }),
    ]);
}

#[test]
fn every_flipped_bit_of_questions_to_the_tpm_is_refused() {
    check_flips(&[
        ("GetCapability", 0x17A, |bench| bench.tpm.has_certify_x509().map(|has| vec![u8::from(has)])),
        ("PCR_Read", 0x17E, |bench| bench.tpm.pcr_read(HashAlg::Sha256, &[0]).map(|values| values.concatenated())),
        ("ReadPublic", 0x173, |bench| bench.tpm.read_public(SRK_HANDLE).map(|public| public.as_bytes().to_vec())),
        ("NV_ReadPublic", 0x169, |bench| bench.tpm.nv_read_public(0x01C0_0002).map(|index| index.name)),
        ("StartAuthSession", START_AUTH_SESSION, |bench| bench.tpm.random(16).map(|octets| octets.to_vec())),
        ("ReadClock", 0x181, |bench| bench.tpm.read_clock().map(|(time_ms, _)| time_ms.to_be_bytes().to_vec())),
    ]);
}

#[test]
fn every_flipped_bit_of_activating_is_refused() {
    fn activate(bench: &mut Bench) -> Result<Vec<u8>, Fault> {
        // The RSA key of the low range: its policy session is part of the response.
        const EK_HANDLE: u32 = 0x8101_0001;
        let public = bench.tpm.read_public(EK_HANDLE)?;
        let PublicParameters::Rsa { modulus, .. } = public.parameters() else { panic!("{public:?}") };
        let spki = vouchsafe_evidence::x509::SpkiView::from_rsa(modulus, &[1, 0, 1]).unwrap();
        let ek = Object::persistent(EK_HANDLE, &public, AuthValue::empty());
        let challenge = credential::make(&spki, bench.ak.name(), &[8; 32]);
        let mut session = bench.tpm.start_policy_session()?;
        bench.tpm.policy_secret_endorsement(&session)?;
        let (credential, secret) = (&challenge.credential[2..], &challenge.secret[2..]);
        let opened = bench.tpm.activate_credential(&bench.ak, &ek, Some(&mut session), credential, secret);
        opened.map(|value| value.to_vec())
    }
    check_flips(&[("ActivateCredential", 0x147, activate), ("PolicySecret", 0x151, activate)]);
}

#[test]
fn every_flipped_bit_of_making_a_primary_key_is_refused() {
    check_flips(&[("CreatePrimary", 0x131, |bench| {
        let template = signing_key(SigningKey::EccP256, AK_ATTRIBUTES, Some(HashAlg::Sha256), b"w");
        let (key, _) = bench.tpm.create_primary(Hierarchy::Endorsement, &template, &bench.auth)?;
        let selection = PcrSelection::new(vec![PcrBank::new(HashAlg::Sha256, &[0]).unwrap()]);
        bench.tpm.quote(&key, &[2; 16], &selection).map(|quote| quote.attest.as_bytes().to_vec())
    })]);
}

#[test]
fn every_flipped_bit_of_creating_is_refused() {
    check_flips(&[("Create", CREATE, |bench| {
        let template = signing_key(SigningKey::EccP256, USER_KEY_ATTRIBUTES, None, &[]);
        bench.tpm.create(&bench.srk, &template, &bench.auth).map(|created| created.private)
    })]);
}

#[test]
fn a_replayed_response_is_refused() {
    let swtpm = swtpm();
    let mut bench = Bench::new(&swtpm);
    let key = bench.key().unwrap();
    let mut earlier: Option<Vec<u8>> = None;
    bench.proxy.interfere(move |command, response| {
        if code(command) != SIGN {
            return response;
        }
        earlier.get_or_insert(response).clone()
    });
    assert!(bench.tpm.sign(&key, &[1; 32], ecdsa(), &Ticket::null_hash_check()).is_ok());
    let replayed = bench.tpm.sign(&key, &[1; 32], ecdsa(), &Ticket::null_hash_check());
    assert!(matches!(replayed, Err(Fault::ResponseNotAuthentic { .. })));
    assert!(!bench.tpm.is_ready(), "the connection is not trusted any further");
}

#[test]
fn a_busy_tpm_is_asked_again_and_a_dead_one_is_not() {
    let swtpm = swtpm();
    let mut bench = Bench::new(&swtpm);
    let key = bench.key().unwrap();
    for busy in [0x922, 0x908, 0x90A, 0x920] {
        let mut left = 4;
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        bench.proxy.answer_instead(move |command| {
            if code(command) != SIGN {
                return None;
            }
            count.fetch_add(1, Ordering::SeqCst);
            left -= 1;
            (left >= 0).then(|| refusal(busy))
        });
        assert!(bench.tpm.sign(&key, &[1; 32], ecdsa(), &Ticket::null_hash_check()).is_ok(), "{busy:#x}");
        assert_eq!(asked.load(Ordering::SeqCst), 5, "{busy:#x}");
    }
    for dead in [0x101, 0x923, 0x921] {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        bench.proxy.answer_instead(move |command| {
            (code(command) == SIGN).then(|| {
                count.fetch_add(1, Ordering::SeqCst);
                refusal(dead)
            })
        });
        let refused = bench.tpm.sign(&key, &[1; 32], ecdsa(), &Ticket::null_hash_check());
        assert!(matches!(refused, Err(Fault::Tpm { code, .. }) if code == ResponseCode::new(dead)));
        assert_eq!(asked.load(Ordering::SeqCst), 1, "{dead:#x}");
    }
}

#[test]
fn leftovers_of_a_simulators_earlier_client_are_flushed() {
    let swtpm = swtpm();
    let mut first = swtpm.connect().unwrap();
    let (srk, _) = salted(&mut first);
    let template = signing_key(SigningKey::EccP256, USER_KEY_ATTRIBUTES, None, &[]);
    let created = first.create(&srk, &template, &AuthValue::empty()).unwrap();
    for _ in 0..3 {
        first.load(&srk, &created.private, &created.public, AuthValue::empty()).unwrap();
    }
    let policy = first.start_policy_session().unwrap();
    let loaded = first.handles(0x0200_0000).unwrap();
    assert!(loaded.contains(&policy.handle()) && loaded.len() == 2, "{loaded:x?}");
    drop(first);
    let mut second = swtpm.connect().unwrap();
    for kind in [0x0200_0000, 0x0300_0000, 0x8000_0000] {
        assert_eq!(second.handles(kind).unwrap(), Vec::<u32>::new(), "{kind:#x}");
    }
}

#[test]
fn a_tpm_held_by_somebody_else_is_reported_within_seconds() {
    let swtpm = swtpm();
    let _held = swtpm.connect().unwrap();
    let started = std::time::Instant::now();
    let connection =
        vouchsafe_agent::tpm::Connection::new(swtpm.address()).with_read_timeout(Duration::from_millis(300));
    assert!(matches!(Tpm::over(Box::new(connection)), Err(Fault::Connection { .. })));
    assert!(started.elapsed() < Duration::from_secs(3));
}
