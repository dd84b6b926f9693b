//! What happens to keys when the TPM is reset, cleared, replaced, or out of reach for a while.

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
#[path = "support/pki.rs"]
mod pki;
#[path = "support/provider.rs"]
mod provider;
#[path = "support/tpm.rs"]
mod support;

use provider::{NONCE, beneath, check_signs, enrolled, open, sign_key, template, uid};
use support::{Proxy, code, swtpm};
use vouchsafe_agent::provider::tpm::{Settings, TpmProvider};
use vouchsafe_agent::provider::{
    ActivatedKey, Activation, Attester, AttestingKeyChoice, AttestingKeySpec, Fault, Hash, KeyKind, KeyMechanism,
    KeyProvider, MemoryStore, SignatureScheme,
};
use vouchsafe_evidence::x509::CertView;

#[test]
fn keys_survive_a_reset_of_the_tpm() {
    let mut swtpm = swtpm();
    let mut provider = open(&swtpm, &MemoryStore::new());
    let keys: Vec<_> = (0..5).map(|_| provider.generate(&uid(), sign_key(KeyKind::EcP256)).unwrap()).collect();
    keys.iter().for_each(|key| check_signs(&mut provider, key));
    let before = provider.attesting_keys().unwrap();
    swtpm.restart().unwrap();
    keys.iter().for_each(|key| check_signs(&mut provider, key));
    assert_eq!(provider.attesting_keys().unwrap(), before);
    let key = AttestingKeyChoice::Default;
    assert!(provider.attest_key(&keys[0], key, &KeyMechanism::TpmCertify, &NONCE).is_ok());
}

#[test]
fn a_tpm_that_comes_back_in_time_is_not_noticed_and_one_that_stays_away_is() {
    let mut swtpm = swtpm();
    let mut provider = open(&swtpm, &MemoryStore::new());
    let key = provider.generate(&uid(), sign_key(KeyKind::EcP256)).unwrap();
    swtpm.stop();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(std::time::Duration::from_millis(400));
            swtpm.restart().unwrap();
        });
        check_signs(&mut provider, &key);
    });
    swtpm.stop();
    let gone = provider.sign_hash(&key, SignatureScheme::Ecdsa(Hash::Sha256), &[0; 32]);
    assert!(matches!(gone, Err(Fault::Connection { .. })));
    swtpm.restart().unwrap();
    check_signs(&mut provider, &key);
}

#[test]
fn a_connection_that_breaks_in_the_middle_is_made_again() {
    let swtpm = swtpm();
    let proxy = Proxy::before(&swtpm);
    let mut provider =
        TpmProvider::over(Box::new(proxy.connection()), Settings::default(), Box::new(MemoryStore::new())).unwrap();
    let key = provider.generate(&uid(), sign_key(KeyKind::EcP256)).unwrap();
    for target in [0x15D, 0x157] {
        let broken = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let shared = broken.clone();
        proxy.answer_instead(move |command| {
            let now = code(command) == target && !shared.load(std::sync::atomic::Ordering::SeqCst);
            now.then(|| {
                shared.store(true, std::sync::atomic::Ordering::SeqCst);
                Vec::new()
            })
        });
        provider.destroy(&key).unwrap();
        check_signs(&mut provider, &key);
        assert!(broken.load(std::sync::atomic::Ordering::SeqCst), "{target:#x} was never sent");
    }
}

#[test]
fn a_reset_beneath_an_open_connection_is_noticed() {
    let swtpm = swtpm();
    let mut provider = open(&swtpm, &MemoryStore::new());
    let keys: Vec<_> = (0..5).map(|_| provider.generate(&uid(), sign_key(KeyKind::EcP256)).unwrap()).collect();
    keys.iter().for_each(|key| check_signs(&mut provider, key));
    let reset = std::process::Command::new("swtpm_ioctl")
        .arg("--unix")
        .arg(swtpm.folder().join("ctrl.sock"))
        .arg("-i")
        .status()
        .unwrap();
    assert!(reset.success());
    keys.iter().for_each(|key| check_signs(&mut provider, key));
}

#[test]
fn power_failures_do_not_lock_attesting_keys_for_good() {
    let mut swtpm = swtpm();
    let mut provider = open(&swtpm, &MemoryStore::new());
    let key = provider.generate(&uid(), sign_key(KeyKind::EcP256)).unwrap();
    for failures in 0..6 {
        let choice = AttestingKeyChoice::Default;
        let made = provider.attest_key(&key, choice, &KeyMechanism::TpmCertify, &NONCE);
        assert!(made.is_ok(), "after {failures} power failures: {made:?}");
        swtpm.crash().unwrap();
    }
}

#[test]
fn after_a_clear_keys_are_lost_and_attesting_keys_are_made_again() {
    let swtpm = swtpm();
    let store = MemoryStore::new();
    let mut provider = open(&swtpm, &store);
    let key = provider.generate(&uid(), sign_key(KeyKind::EcP256)).unwrap();
    check_signs(&mut provider, &key);
    enrolled(&mut provider);
    let spec = AttestingKeySpec { kind: KeyKind::EcP384, is_pseudonym: false };
    provider.create_attesting_key("second", spec).unwrap();
    let before = provider.attesting_keys().unwrap();
    drop(provider);
    let mut tpm = swtpm.connect().unwrap();
    tpm.clear().unwrap();
    assert!(tpm.handles(0x8100_0000).unwrap().iter().all(|handle| !before.is_empty() && *handle != 0x8100_0001));
    drop(tpm);
    let mut provider = open(&swtpm, &store);
    let lost = provider.sign_hash(&key, SignatureScheme::Ecdsa(Hash::Sha256), &[0; 32]);
    assert!(matches!(lost, Err(Fault::KeyLost)));
    assert!(!Fault::KeyLost.next_step().is_empty());
    // The endorsement seed is the same, and so are keys, Names and certificates.
    assert_eq!(provider.attesting_keys().unwrap(), before);
    let key = provider.generate(&uid(), sign_key(KeyKind::EcP256)).unwrap();
    check_signs(&mut provider, &key);
    let mechanism = KeyMechanism::TpmCertifyX509(template(beneath("CN=key")));
    assert!(provider.attest_key(&key, AttestingKeyChoice::Default, &mechanism, &NONCE).is_ok());
    let endorsement = provider.endorsement("second").unwrap();
    let ek = CertView::parse(&endorsement.certificates[1]).unwrap().spki().clone();
    let challenge = credential::make(&ek, &endorsement.name, &[1; 32]);
    let activation = Activation {
        key: ActivatedKey::Attesting("second"),
        credential: &challenge.credential,
        secret: &challenge.secret,
    };
    assert!(provider.activate(activation).is_ok());
}

#[test]
fn a_clear_while_the_agent_runs_is_noticed() {
    let swtpm = swtpm();
    let proxy = Proxy::before(&swtpm);
    let mut provider =
        TpmProvider::over(Box::new(proxy.connection()), Settings::default(), Box::new(MemoryStore::new())).unwrap();
    let key = provider.generate(&uid(), sign_key(KeyKind::EcP256)).unwrap();
    let before = provider.attesting_keys().unwrap();
    // Somebody else clears it between two commands; over the same connection, since a simulator has but one.
    provider.destroy(&key).unwrap();
    proxy.send_once(clear_command());
    let lost = provider.sign_hash(&key, SignatureScheme::Ecdsa(Hash::Sha256), &[0; 32]);
    assert!(matches!(lost, Err(Fault::KeyLost)), "{lost:?}");
    assert_eq!(provider.attesting_keys().unwrap(), before);
    let key = provider.generate(&uid(), sign_key(KeyKind::EcP256)).unwrap();
    check_signs(&mut provider, &key);
}

/// TPM2_Clear by lockout with an empty password.
fn clear_command() -> Vec<u8> {
    let auth = [&0x4000_0009_u32.to_be_bytes()[..], &[0, 0, 1, 0, 0]].concat();
    let body = [&0x4000_000A_u32.to_be_bytes()[..], &(auth.len() as u32).to_be_bytes(), &auth].concat();
    [&[0x80, 2][..], &(body.len() as u32 + 10).to_be_bytes(), &0x126_u32.to_be_bytes(), &body].concat()
}

#[test]
fn another_tpm_gets_a_new_attesting_key() {
    let (first, second) = (swtpm(), swtpm());
    let store = MemoryStore::new();
    let mut provider = open(&first, &store);
    let key = provider.generate(&uid(), sign_key(KeyKind::EcP256)).unwrap();
    enrolled(&mut provider);
    let before = provider.attesting_keys().unwrap();
    drop(provider);
    let mut provider = open(&second, &store);
    let after = provider.attesting_keys().unwrap();
    assert_ne!(after[0].public, before[0].public);
    assert!(after[0].certificates.is_empty(), "certificates of a key that is gone");
    let lost = provider.sign_hash(&key, SignatureScheme::Ecdsa(Hash::Sha256), &[0; 32]);
    assert!(matches!(lost, Err(Fault::KeyLost)));
}
