//! Everything that a token, its PIN and its library can do wrong.

use std::thread;
use std::time::{Duration, Instant};

use vouchsafe_agent::config::Config;
use vouchsafe_agent::provider::pkcs11::inspect;
use vouchsafe_agent::{Agent, StartFault};

use super::*;
use crate::pki::Authority;

#[test]
fn attributes_that_lie_or_hide_are_named() {
    alone("faults::attributes_that_lie_or_hide_are_named", |softhsm| {
        let mut provider = spoilable(softhsm);
        let key = provider.generate(&uid(), sign_key(KeyKind::EcP256)).unwrap();
        attest(&mut provider, &key).unwrap();
        // CKA_EXTRACTABLE, CKA_SENSITIVE, CKA_EC_POINT, CKA_EC_PARAMS, CKA_KEY_TYPE, CKA_END_DATE.
        for (attribute, lengths) in [
            (0x162, &[0, 2, 1 << 40][..]),
            (0x103, &[8]),
            (0x181, &[5000, 1 << 40]),
            (0x180, &[1 << 33]),
            (0x100, &[0, 4, 1 << 50]),
            (0x111, &[3, 9]),
        ] {
            for length in lengths {
                softhsm.spoil(&format!("length-{attribute}"), *length, "always");
                assert_eq!(
                    code(attest(&mut provider, &key)),
                    "agent.token-attribute-length",
                    "{attribute:#x} {length}"
                );
            }
        }
        softhsm.spoil("hidden-385", 0, "always");
        assert_eq!(code(attest(&mut provider, &key)), "agent.token-attribute-hidden");
        // What need not be said is left out: CKA_EXTRACTABLE. Of a list of purposes that would be short, all: CKA_DECRYPT.
        for (attribute, says_extractable, says_purposes) in [(0x162, false, true), (0x105, true, false)] {
            softhsm.spoil(&format!("hidden-{attribute}"), 0, "always");
            let attested = attest(&mut provider, &key).unwrap();
            let view = EvidenceView::parse(&attested.statement).unwrap();
            let reported = &view.elements().keys[0];
            assert_eq!(reported.extractable.is_some(), says_extractable, "{attribute:#x}");
            assert_eq!(reported.purposes.is_some(), says_purposes, "{attribute:#x}");
        }
        // An attesting key of which the token does not say that it stays there attests nothing.
        softhsm.spoil("hidden-354", 0, "always");
        assert_eq!(code(provider.create_attesting_key("second", SPEC)), "agent.token-attribute-hidden");
        softhsm.heal();
        attest(&mut provider, &key).unwrap();
    });
}

#[test]
fn a_wrong_pin_is_tried_once() {
    alone("faults::a_wrong_pin_is_tried_once", |softhsm| {
        softhsm.token("keys");
        let store = MemoryStore::new();
        let settings = softhsm.faulty_settings("keys");
        let open = || Pkcs11Provider::open(settings.clone(), Box::new(store.clone()));
        softhsm.pin_file("pin", "9999");
        for _ in 0..5 {
            let fault = open().err().unwrap();
            assert_eq!((fault.code(), fault.class()), ("agent.token-pin-refused", FaultClass::NotPermitted));
            assert!(!fault.to_string().contains("9999"));
        }
        assert_eq!(softhsm.calls("Login"), 1);
        thread::sleep(Duration::from_millis(20));
        softhsm.pin_file("pin", PIN);
        let mut provider = open().unwrap();
        assert_eq!(softhsm.calls("Login"), 2);
        let key = provider.generate(&uid(), sign_key(KeyKind::EcP256)).unwrap();
        sign(&mut provider, &key).unwrap();
    });
}

#[test]
fn a_pin_is_not_tried_into_a_lock() {
    alone("faults::a_pin_is_not_tried_into_a_lock", |softhsm| {
        softhsm.token("keys");
        let settings = softhsm.faulty_settings("keys");
        let open = || Pkcs11Provider::open(settings.clone(), Box::new(MemoryStore::new()));
        for (flag, expected) in [(0x2_0000, "agent.token-pin-final-try"), (0x4_0000, "agent.token-pin-locked")] {
            softhsm.spoil("token-flags", flag, "always");
            assert_eq!(open().err().unwrap().code(), expected);
            let found = inspect(&settings).unwrap();
            assert_eq!(found.tokens[0].pin.as_ref().unwrap().code(), expected);
        }
        assert_eq!(softhsm.calls("Login"), 0);
        // CKR_PIN_LOCKED
        softhsm.spoil("Login", 0xA4, "once");
        assert_eq!(open().err().unwrap().code(), "agent.token-pin-locked");
        open().unwrap();
    });
}

#[test]
fn what_is_missing_is_named() {
    alone("faults::what_is_missing_is_named", |softhsm| {
        softhsm.token("keys");
        let open = |settings: Settings| Pkcs11Provider::open(settings, Box::new(MemoryStore::new())).err().unwrap();
        let settings = softhsm.settings("keys");
        let absent = open(Settings { token: TokenName::Label("other".to_owned()), ..settings.clone() });
        assert_eq!((absent.code(), absent.class()), ("agent.token-absent", FaultClass::Communication));
        assert!(absent.to_string().contains("\"other\""));
        let pin_file = softhsm.folder().join("no-pin");
        assert_eq!(open(Settings { pin_file, ..settings.clone() }).code(), "agent.token-pin-file");
        let module = "/nonexistent.so".into();
        assert_eq!(open(Settings { module, ..settings.clone() }).code(), "agent.token-module");
        softhsm.token("keys");
        // One more of that name, which the library sees when it looks anew.
        thread::sleep(Duration::from_millis(300));
        open(Settings { token: TokenName::Label("other".to_owned()), ..settings.clone() });
        let ambiguous = open(settings.clone());
        assert_eq!(ambiguous.code(), "agent.token-ambiguous");
        let pkcs11 = Pkcs11::new(library()).unwrap();
        let slot = pkcs11.get_slots_with_initialized_token().unwrap()[0];
        let serial = pkcs11.get_token_info(slot).unwrap().serial_number().to_owned();
        let by_serial = Settings { token: TokenName::Serial(serial), ..settings };
        Pkcs11Provider::open(by_serial, Box::new(MemoryStore::new())).unwrap();
    });
}

#[test]
fn a_token_that_is_taken_away_and_put_back_is_found_again() {
    alone("faults::a_token_that_is_taken_away_and_put_back_is_found_again", |softhsm| {
        let mut provider = fresh(softhsm);
        let key = provider.generate(&uid(), sign_key(KeyKind::EcP256)).unwrap();
        sign(&mut provider, &key).unwrap();
        for _ in 0..2 {
            thread::sleep(Duration::from_millis(300));
            softhsm.remove();
            let fault = provider.generate(&uid(), sign_key(KeyKind::EcP256)).unwrap_err();
            assert_eq!(fault.class(), FaultClass::Communication, "{fault}");
            let fault = sign(&mut provider, &key).unwrap_err();
            assert_eq!(fault.class(), FaultClass::Communication, "{fault}");
            assert_eq!(attest(&mut provider, &key).unwrap_err().class(), FaultClass::Communication);
            softhsm.put_back();
            let since = Instant::now();
            while sign(&mut provider, &key).is_err() {
                assert!(since.elapsed() < Duration::from_secs(5), "the token is not found again");
                thread::sleep(Duration::from_millis(20));
            }
            attest(&mut provider, &key).unwrap();
        }
    });
}

#[test]
fn faults_of_session_and_library_heal_by_themselves() {
    alone("faults::faults_of_session_and_library_heal_by_themselves", |softhsm| {
        let mut provider = spoilable(softhsm);
        let key = provider.generate(&uid(), sign_key(KeyKind::EcP256)).unwrap();
        // CKR_SESSION_HANDLE_INVALID, CKR_USER_NOT_LOGGED_IN, CKR_KEY_HANDLE_INVALID, CKR_DEVICE_REMOVED,
        // CKR_TOKEN_NOT_PRESENT, CKR_CRYPTOKI_NOT_INITIALIZED, CKR_DEVICE_ERROR
        for code in [0xB3, 0x101, 0x60, 0x32, 0xE0, 0x190, 0x30] {
            thread::sleep(Duration::from_millis(300));
            for function in ["SignInit", "Sign"] {
                softhsm.spoil(function, code, "once");
                let signed = sign(&mut provider, &key);
                assert!(!softhsm.is_spoiling());
                if signed.is_err() {
                    // Restarted a moment ago already.
                    thread::sleep(Duration::from_millis(300));
                }
                sign(&mut provider, &key).unwrap();
            }
            attest(&mut provider, &key).unwrap();
        }
        // As long as it stays so, the fault is told, and the library is not restarted for every request.
        softhsm.spoil("SignInit", 0x32, "always");
        let before = softhsm.calls("Finalize");
        let since = Instant::now();
        for _ in 0..50 {
            assert_eq!(code(sign(&mut provider, &key)), "agent.token-removed");
        }
        let allowed = 1 + usize::try_from(since.elapsed().as_millis() / 250).unwrap();
        assert!(softhsm.calls("Finalize") - before <= allowed);
        softhsm.heal();
        sign(&mut provider, &key).unwrap();
    });
}

#[test]
fn a_token_that_vanishes_or_is_full_leaves_nothing_half_made() {
    alone("faults::a_token_that_vanishes_or_is_full_leaves_nothing_half_made", |softhsm| {
        let mut provider = spoilable(softhsm);
        let count = || {
            let pkcs11 = Pkcs11::new(library()).unwrap();
            let slot = pkcs11.get_slots_with_initialized_token().unwrap()[0];
            pkcs11.open_ro_session(slot).unwrap().find_objects(&[]).unwrap().len()
        };
        assert_eq!(count(), 2);
        // CKR_DEVICE_MEMORY
        softhsm.spoil("GenerateKeyPair", 0x31, "always");
        let fault = provider.generate(&uid(), sign_key(KeyKind::EcP256)).unwrap_err();
        assert_eq!((fault.code(), fault.class()), ("agent.token-full", FaultClass::Full));
        assert_eq!(count(), 2);
        // Made, and then it cannot be read: CKR_FUNCTION_FAILED, CKR_ATTRIBUTE_SENSITIVE.
        for (what, number) in [("GetAttributeValue", 6), ("hidden-385", 0)] {
            softhsm.spoil(what, number, "always");
            assert!(provider.generate(&uid(), sign_key(KeyKind::EcP256)).is_err());
            softhsm.heal();
            provider.random(1).unwrap();
            assert_eq!(count(), 2, "{what}");
        }
        // Vanished between two steps: what could not be removed then is removed by its id.
        let id = uid();
        softhsm.spoil("GetAttributeValue", 0x32, "always");
        assert!(provider.generate(&id, sign_key(KeyKind::EcP256)).is_err());
        softhsm.heal();
        provider.abandon(&id).unwrap();
        assert_eq!(count(), 2);
        let spec = AttestingKeySpec { kind: KeyKind::EcP256, is_pseudonym: false };
        softhsm.spoil("hidden-385", 0, "always");
        assert!(provider.create_attesting_key("second", spec).is_err());
        softhsm.heal();
        assert_eq!(count(), 2);
        provider.create_attesting_key("second", spec).unwrap();
        assert_eq!(count(), 4);
    });
}

#[test]
fn two_providers_share_a_library() {
    alone("faults::two_providers_share_a_library", |softhsm| {
        softhsm.token("keys");
        softhsm.token("others");
        let mut first = provider(softhsm.faulty_settings("keys"), &MemoryStore::new());
        let mut second = provider(softhsm.faulty_settings("others"), &MemoryStore::new());
        let key = first.generate(&uid(), sign_key(KeyKind::EcP256)).unwrap();
        let other = second.generate(&uid(), sign_key(KeyKind::EcP256)).unwrap();
        assert_eq!(code(sign(&mut second, &key)), "agent.key-lost");
        // A restart for the one ends the other's session, which the other does not notice.
        softhsm.spoil("SignInit", 0x32, "once");
        sign(&mut first, &key).unwrap();
        assert_eq!(softhsm.calls("Finalize"), 1);
        sign(&mut second, &other).unwrap();
        attest(&mut second, &other).unwrap();
        drop(first);
        sign(&mut second, &other).unwrap();
    });
}

#[test]
fn a_token_that_is_initialized_anew_has_lost_its_keys_and_attests_others() {
    alone("faults::a_token_that_is_initialized_anew_has_lost_its_keys_and_attests_others", |softhsm| {
        let mut provider = spoilable(softhsm);
        let key = provider.generate(&uid(), sign_key(KeyKind::EcP256)).unwrap();
        let before = provider.attesting_keys().unwrap().remove(0).spki;
        let made = provider.create_attesting_key("second", SPEC);
        assert!(made.is_ok());
        thread::sleep(Duration::from_millis(300));
        softhsm.remove();
        softhsm.token("keys");
        // CKR_DEVICE_REMOVED: what a library that notices says.
        softhsm.spoil("SignInit", 0x32, "once");
        assert_eq!(code(sign(&mut provider, &key)), "agent.key-lost");
        assert_eq!(code(attest(&mut provider, &key)), "agent.key-lost");
        let key = provider.generate(&uid(), sign_key(KeyKind::EcP256)).unwrap();
        attest(&mut provider, &key).unwrap();
        let keys = provider.attesting_keys().unwrap();
        assert_eq!(keys.len(), 1);
        assert_ne!(keys[0].spki, before);
        let named = provider.attest_key(&key, AttestingKeyChoice::Named("second"), &all_claims(), &NONCE);
        assert_eq!(code(named), "agent.attesting-key-unknown");
    });
}

/// A spare token of the same label takes the first one's place and gives it back: each attests by its own keys, with their
/// certificates, and nothing of either is forgotten.
#[test]
fn a_token_that_comes_back_has_its_attesting_keys_and_their_certificates() {
    alone("faults::a_token_that_comes_back_has_its_attesting_keys_and_their_certificates", |softhsm| {
        softhsm.token("keys");
        let store = MemoryStore::new();
        // The library sees other tokens when it is begun with anew, which is not done at every moment.
        let open = || {
            let since = Instant::now();
            loop {
                match Pkcs11Provider::open(softhsm.settings("keys"), Box::new(store.clone())) {
                    Ok(provider) => break provider,
                    Err(fault) => assert!(since.elapsed() < Duration::from_secs(5), "{fault}"),
                }
                thread::sleep(Duration::from_millis(50));
            }
        };
        let listed = |provider: &mut Pkcs11Provider| -> Vec<_> {
            let keys = provider.attesting_keys().unwrap();
            keys.into_iter().map(|key| (key.name, key.spki, key.certificates)).collect()
        };
        let swap = || {
            let (tokens, away) = (softhsm.folder().join("tokens"), softhsm.folder().join("spare"));
            let other = softhsm.folder().join("other");
            std::fs::create_dir_all(&away).unwrap();
            std::fs::rename(&tokens, &other).unwrap();
            std::fs::rename(&away, &tokens).unwrap();
            std::fs::rename(&other, &away).unwrap();
        };
        let mut provider = open();
        provider.create_attesting_key("second", SPEC).unwrap();
        for key in provider.attesting_keys().unwrap() {
            let chain = vec![Authority::new().certify(&key.spki, "CN=Attesting key", false)];
            let new = FamilyCertificates { family: Family::PkixEvidence, certificates: chain };
            provider.install_certificates(&key.name, &[new]).unwrap();
        }
        let first = listed(&mut provider);
        assert_eq!(first.len(), 2);
        assert!(first.iter().all(|(_, _, certificates)| certificates.len() == 1));
        drop(provider);
        swap();
        softhsm.token("keys");
        let mut provider = open();
        let spare = listed(&mut provider);
        let [(name, spki, certificates)] = &spare[..] else { panic!("{} keys", spare.len()) };
        assert_eq!(name, "default");
        assert!(certificates.is_empty() && first.iter().all(|(_, other, _)| other != spki));
        drop(provider);
        for expected in [&first, &spare, &first] {
            swap();
            let mut provider = open();
            assert_eq!(listed(&mut provider), *expected);
            let key = provider.generate(&uid(), sign_key(KeyKind::EcP256)).unwrap();
            attest(&mut provider, &key).unwrap();
        }
    });
}

/// By label and by serial number: the configuration cannot tell, the library can.
#[test]
fn an_agent_does_not_start_with_two_providers_of_one_token() {
    alone("faults::an_agent_does_not_start_with_two_providers_of_one_token", |softhsm| {
        softhsm.token("keys");
        softhsm.token("others");
        let slots = Pkcs11::new(library()).unwrap();
        drop(provider(softhsm.settings("keys"), &MemoryStore::new()));
        let serial_of = |label: &str| {
            let infos = slots.get_slots_with_initialized_token().unwrap().into_iter();
            let mut infos = infos.map(|slot| slots.get_token_info(slot).unwrap());
            infos.find(|info| info.label() == label).unwrap().serial_number().to_owned()
        };
        let configured = |serial: &str| {
            let (module, pin) = (library(), softhsm.pin_file("pin", PIN));
            let shared = format!("kind = 'pkcs11'\nmodule = '{}'\npin_file = '{}'", module.display(), pin.display());
            let text =
                format!("[providers.one]\n{shared}\ntoken = 'keys'\n[providers.two]\n{shared}\nserial = '{serial}'");
            let mut config = Config::from_toml(&text, "agent.toml".as_ref()).unwrap();
            config.state = softhsm.folder().join("state");
            config.socket.path = softhsm.folder().join("s");
            Agent::start(config)
        };
        let refused = configured(&serial_of("keys")).err().unwrap();
        assert!(
            matches!(&refused, StartFault::SameToken { first, second }
            if first.starts_with("one (") && second.starts_with("two (")),
            "{refused}"
        );
        configured(&serial_of("others")).unwrap().stop();
    });
}

const SPEC: AttestingKeySpec = AttestingKeySpec { kind: KeyKind::EcP256, is_pseudonym: false };

/// A token that logged the agent out (an idle limit, another program's C_Logout) shows no private objects, and says nothing of
/// why: they are not gone. What is on record of attesting keys stays, and a key that is destroyed is destroyed.
#[test]
fn who_was_logged_out_takes_no_key_for_lost() {
    alone("faults::who_was_logged_out_takes_no_key_for_lost", |softhsm| {
        let mut provider = fresh(softhsm);
        let (id, second) = (uid(), uid());
        let key = provider.generate(&id, sign_key(KeyKind::EcP256)).unwrap();
        let other = provider.generate(&second, sign_key(KeyKind::EcP256)).unwrap();
        let before = provider.attesting_keys().unwrap().remove(0).spki;
        let holder = PinHolder::new("keys");
        holder.session.logout().unwrap();
        attest(&mut provider, &key).unwrap();
        assert_eq!(provider.attesting_keys().unwrap().remove(0).spki, before);
        assert_eq!(holder.count(), 6);
        holder.session.logout().unwrap();
        provider.destroy(&key).unwrap();
        provider.random(1).unwrap();
        assert_eq!(holder.count(), 4);
        holder.session.logout().unwrap();
        provider.abandon(&second).unwrap();
        assert_eq!(holder.count(), 2);
        assert_eq!(code(sign(&mut provider, &other)), "agent.key-lost");
        attest(&mut provider, &key).unwrap_err();
        assert_eq!(provider.attesting_keys().unwrap().remove(0).spki, before);
    });
}
