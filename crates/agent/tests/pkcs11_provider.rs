//! The PKCS #11 provider on SoftHSM: keys, attestations, and everything that a token can do wrong.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    missing_docs
)]

#[path = "pkcs11_provider/attestation.rs"]
mod attestation;
#[path = "support/conformance.rs"]
mod conformance;
#[path = "pkcs11_provider/faults.rs"]
mod faults;
#[path = "pkcs11_provider/kryoptic.rs"]
mod kryoptic;
#[path = "support/pki.rs"]
mod pki;
#[path = "support/softhsm.rs"]
mod softhsm;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, Pkcs1PublicEncryptingKey, PublicEncryptingKey};
use conformance::{digest, sign_key, uid};
use cryptoki::context::Pkcs11;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use softhsm::{PIN, SoftHsm, alone, library};
use vouchsafe_agent::provider::pkcs11::{Pkcs11Provider, Settings, TokenName};
use vouchsafe_agent::provider::{
    Attestation, AttestationSubject, Attester, AttestingKeyChoice, AttestingKeySpec, ClaimSelection, EncryptionScheme,
    EvidenceRequest, Family, FamilyCertificates, Fault, FaultClass, Hash, KeyBlob, KeyKind, KeyMechanism, KeyProvider,
    KeyPurpose, KeySpec, KeyUid, MechanismName, MemoryStore, SignatureScheme,
};
use vouchsafe_evidence::formats::pkix_evidence::EvidenceView;

const NONCE: [u8; 32] = [0x42; 32];
const P256: SignatureScheme = SignatureScheme::Ecdsa(Hash::Sha256);

fn provider(settings: Settings, store: &MemoryStore) -> Pkcs11Provider {
    Pkcs11Provider::open(settings, Box::new(store.clone())).unwrap()
}

/// A provider on a new token of its own, straight to SoftHSM.
fn fresh(softhsm: &SoftHsm) -> Pkcs11Provider {
    softhsm.token("keys");
    provider(softhsm.settings("keys"), &MemoryStore::new())
}

/// As [`fresh`], through the library that spoils answers.
fn spoilable(softhsm: &SoftHsm) -> Pkcs11Provider {
    softhsm.token("keys");
    provider(softhsm.faulty_settings("keys"), &MemoryStore::new())
}

fn sign(provider: &mut Pkcs11Provider, key: &KeyBlob) -> Result<Vec<u8>, Fault> {
    provider.sign_hash(key, P256, &digest(Hash::Sha256, b"message"))
}

fn all_claims() -> KeyMechanism {
    KeyMechanism::PkixEvidence(EvidenceRequest { claims: ClaimSelection::Default, with_platform: true })
}

fn attest(provider: &mut Pkcs11Provider, key: &KeyBlob) -> Result<Attestation, Fault> {
    provider.attest_key(key, AttestingKeyChoice::Default, &all_claims(), &NONCE)
}

fn code<T: std::fmt::Debug>(result: Result<T, Fault>) -> &'static str {
    let fault = result.unwrap_err();
    assert!(!fault.next_step().is_empty());
    fault.code()
}

/// Another program that has the token's PIN.
struct PinHolder {
    session: Session,
}

impl PinHolder {
    /// In the provider's own process, which is logged in already.
    fn new(label: &str) -> Self {
        let pkcs11 = Pkcs11::new(library()).unwrap();
        let slots = pkcs11.get_slots_with_token().unwrap();
        let slot = slots.into_iter().find(|slot| pkcs11.get_token_info(*slot).unwrap().label() == label).unwrap();
        Self { session: pkcs11.open_rw_session(slot).unwrap() }
    }

    fn find(&self, class: ObjectClass, id: &[u8]) -> Vec<ObjectHandle> {
        self.session.find_objects(&[Attribute::Class(class), Attribute::Id(id.to_vec())]).unwrap()
    }

    fn count(&self) -> usize {
        self.session.find_objects(&[]).unwrap().len()
    }

    /// Gives the object of that class and id another id.
    fn rename(&self, class: ObjectClass, from: &KeyUid, to: &KeyUid) {
        let [object] = self.find(class, from.as_octets())[..] else { panic!("not one object") };
        self.session.update_attributes(object, &[Attribute::Id(to.as_octets().to_vec())]).unwrap();
    }

    fn destroy(&self, class: ObjectClass, uid: &KeyUid) {
        for object in self.find(class, uid.as_octets()) {
            self.session.destroy_object(object).unwrap();
        }
    }
}

#[test]
fn keys_behave_as_those_of_every_provider() {
    alone("keys_behave_as_those_of_every_provider", |softhsm| {
        let mut provider = fresh(softhsm);
        conformance::keys(&mut provider, &KeyKind::ALL);
        conformance::misuse(&mut provider);
    });
}

#[test]
fn messages_are_decrypted_and_others_are_refused() {
    alone("messages_are_decrypted_and_others_are_refused", |softhsm| {
        let mut provider = spoilable(softhsm);
        let spec = KeySpec { kind: KeyKind::Rsa2048, purpose: KeyPurpose::Decrypt };
        let key = provider.generate(&uid(), spec).unwrap();
        let spki = provider.export_public(&key).unwrap().spki;
        let public = Pkcs1PublicEncryptingKey::new(PublicEncryptingKey::from_der(&spki).unwrap()).unwrap();
        let mut ciphertext = vec![0; public.ciphertext_size()];
        public.encrypt(b"secret", &mut ciphertext).unwrap();
        let opened = provider.decrypt(&key, EncryptionScheme::RsaPkcs1v15, &ciphertext, &[]).unwrap();
        assert_eq!(*opened, b"secret");
        // Whatever is wrong with it, the answer is the same, and the library is not restarted for it.
        ciphertext[9] ^= 1;
        for wrong in [&ciphertext[..], &[0; 256], &[0xFF; 256], &ciphertext[1..], &[]] {
            let fault = provider.decrypt(&key, EncryptionScheme::RsaPkcs1v15, wrong, &[]).unwrap_err();
            assert_eq!((fault.code(), fault.class()), ("agent.ciphertext-invalid", FaultClass::Padding), "{fault}");
        }
        assert_eq!(softhsm.calls("Finalize"), 0);
        // SoftHSM has no OAEP but that with SHA-1, which is not offered.
        let public = OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(&spki).unwrap()).unwrap();
        let mut ciphertext = vec![0; public.ciphertext_size()];
        public.encrypt(&OAEP_SHA256_MGF1SHA256, b"secret", &mut ciphertext, None).unwrap();
        let refused = provider.decrypt(&key, EncryptionScheme::RsaOaep(Hash::Sha256), &ciphertext, &[]);
        assert_eq!(code(refused), "agent.not-supported");
        // That is known before anybody has encrypted anything.
        provider.check_decrypts(&key, EncryptionScheme::RsaPkcs1v15).unwrap();
        let refused = provider.check_decrypts(&key, EncryptionScheme::RsaOaep(Hash::Sha256));
        assert_eq!(code(refused), "agent.not-supported");
        // Both uses of one key do not go together.
        assert_eq!(
            code(provider.sign_hash(&key, SignatureScheme::RsaPkcs1v15(Hash::Sha256), &[0; 32])),
            "agent.purpose-mismatch"
        );
        assert!(provider.mechanisms(Some(&key)).unwrap().iter().any(|row| row.name == MechanismName::PkixEvidence));
        let attested = attest(&mut provider, &key).unwrap();
        let view = EvidenceView::parse(&attested.statement).unwrap();
        assert_eq!(view.elements().keys[0].purposes.unwrap().words().collect::<Vec<_>>(), ["decrypt"]);
    });
}

#[test]
fn what_is_in_the_token_is_what_was_asked_for_and_goes_with_the_key() {
    alone("what_is_in_the_token_is_what_was_asked_for_and_goes_with_the_key", |softhsm| {
        let mut provider = fresh(softhsm);
        let holder = PinHolder::new("keys");
        // The attesting key.
        assert_eq!(holder.count(), 2);
        let id = uid();
        let key = provider.generate(&id, sign_key(KeyKind::EcP256)).unwrap();
        assert_eq!(holder.count(), 4);
        let [private] = holder.find(ObjectClass::PRIVATE_KEY, id.as_octets())[..] else { panic!("not one") };
        let wanted = [
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::AlwaysSensitive(true),
            Attribute::Extractable(false),
            Attribute::NeverExtractable(true),
            Attribute::Local(true),
            Attribute::Sign(true),
            Attribute::Decrypt(false),
            Attribute::Unwrap(false),
            Attribute::Derive(false),
        ];
        for attribute in wanted {
            let found = holder.session.get_attributes(private, &[attribute.attribute_type()]).unwrap();
            assert_eq!(found, [attribute]);
        }
        // Nothing secret is in the blob, and it is of no use in another token.
        assert_eq!(key.as_bytes().len(), 54);
        provider.destroy(&key).unwrap();
        assert_eq!(holder.count(), 2);
        assert_eq!(code(sign(&mut provider, &key)), "agent.key-lost");
        assert_eq!(code(provider.export_public(&key)), "agent.key-lost");
        provider.destroy(&key).unwrap();
        provider.abandon(&id).unwrap();
        assert_eq!(holder.count(), 2);
    });
}

/// Set in a process that a test starts once more: what it does there.
const ROLE: &str = "VOUCHSAFE_TEST_ROLE";

/// Makes keys and removes them, and says so, until it is killed.
fn make_and_abandon(softhsm: &SoftHsm) -> ! {
    let mut provider = provider(softhsm.settings("keys"), &MemoryStore::new());
    loop {
        let id = uid();
        println!("KEY {id}");
        provider.generate(&id, sign_key(KeyKind::EcP256)).unwrap();
        println!("KEY {id}");
        provider.abandon(&id).unwrap();
    }
}

/// What the agent does at its start for the key that is on record; then nothing of any key may be there.
fn clean_up_after(softhsm: &SoftHsm, id: &KeyUid) {
    let mut provider = provider(softhsm.settings("keys"), &MemoryStore::new());
    provider.abandon(id).unwrap();
    let holder = PinHolder::new("keys");
    let left: Vec<Vec<Attribute>> = (holder.session.find_objects(&[]).unwrap().into_iter())
        // SoftHSM may be killed before it has written anything of an object: of that it says nothing at all.
        .filter_map(|object| holder.session.get_attributes(object, &[AttributeType::Class, AttributeType::Label]).ok())
        .filter(|known| !matches!(&known[..], [_, Attribute::Label(l)] if l.starts_with(b"vouchsafe attesting key")))
        .collect();
    assert_eq!(left, Vec::<Vec<Attribute>>::new(), "{id}");
}

#[test]
fn a_process_that_is_killed_leaves_only_what_is_on_record() {
    const NAME: &str = "a_process_that_is_killed_leaves_only_what_is_on_record";
    alone(NAME, |softhsm| {
        match std::env::var(ROLE).as_deref() {
            Ok("make") => make_and_abandon(softhsm),
            Ok(hex) => {
                let octet = |i: usize| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap();
                return clean_up_after(softhsm, &KeyUid::from_octets(std::array::from_fn(octet)));
            }
            Err(_) => softhsm.token("keys"),
        }
        let again = |role: &str| {
            let mut program = Command::new(std::env::current_exe().unwrap());
            program.args(["--exact", NAME, "--nocapture", "--test-threads=1"]).env(ROLE, role);
            program
        };
        for round in 0..8_u64 {
            let mut maker = again("make").stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
            let lines = BufReader::new(maker.stdout.take().unwrap()).lines().map_while(Result::ok);
            let mut keys = lines.filter_map(|line| line.strip_prefix("KEY ").map(str::to_owned));
            // Into the second key, and from there to somewhere in one that follows.
            let mut last = keys.by_ref().take(3).last().unwrap();
            thread::sleep(Duration::from_micros(round * 1900));
            maker.kill().unwrap();
            maker.wait().unwrap();
            if let Some(later) = keys.last() {
                last = later;
            }
            // In a process of its own, as the agent that is started again.
            let cleaned = again(&last).output().unwrap();
            let said = String::from_utf8_lossy(&cleaned.stdout) + String::from_utf8_lossy(&cleaned.stderr);
            assert!(cleaned.status.success() && said.contains("1 passed"), "round {round}: {said}");
        }
    });
}

#[test]
fn mechanisms_are_those_of_the_key() {
    alone("mechanisms_are_those_of_the_key", |softhsm| {
        let mut provider = fresh(softhsm);
        let rows = provider.mechanisms(None).unwrap();
        let subjects: Vec<_> = rows.iter().map(|row| (row.name, row.subject)).collect();
        let name = MechanismName::PkixEvidence;
        assert_eq!(subjects, [(name, AttestationSubject::Key), (name, AttestationSubject::Platform)]);
        let small = provider.generate(&uid(), sign_key(KeyKind::Rsa1024)).unwrap();
        assert!(provider.mechanisms(Some(&small)).unwrap().is_empty());
        assert_eq!(code(attest(&mut provider, &small)), "agent.mechanism-missing");
        let key = provider.generate(&uid(), sign_key(KeyKind::EcP256)).unwrap();
        let certify = provider.attest_key(&key, AttestingKeyChoice::Default, &KeyMechanism::TpmCertify, &NONCE);
        assert_eq!(code(certify), "agent.mechanism-missing");
        for len in [1, 15, 65] {
            let attested = provider.attest_key(&key, AttestingKeyChoice::Default, &all_claims(), &vec![0; len]);
            assert_eq!(code(attested), "agent.nonce-length");
        }
        assert_eq!(code(provider.activation_parameters(&key)), "agent.not-supported");
    });
}
