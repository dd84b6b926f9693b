//! Whose each key is, and what a certificate rests on when it is recorded.

use std::sync::atomic::{AtomicBool, Ordering};

use super::binding::with_use;
use super::*;

on_both!(
    a_key_is_certified_for_one_subject_of_one_account,
    a_profile_may_give_a_key_several_subjects_and_others_then_none,
    of_two_subjects_at_once_one_gets_the_key,
    a_key_attests_or_is_certified_whichever_is_first,
    a_compromised_key_is_never_certified_again,
    a_compromised_key_takes_its_certificates_along,
    nothing_is_certified_for_a_compromised_key_unrevoked,
    a_key_is_revoked_with_all_its_certificates,
    what_fell_between_the_verdict_and_the_record_is_noticed,
    one_that_fell_takes_no_other_of_its_group_along,
    nothing_rests_on_a_revoked_key_unrevoked,
    what_is_valid_is_counted_and_expires_next,
);

fn decide_for(
    store: &dyn Store,
    account: &str,
    certificates: Vec<CertificateRecord>,
) -> (Result<i64, StoreError>, Option<Spent>) {
    let nonces = Nonces::new();
    let nonce = nonces.mint(1_000);
    let decision = Decision { account: account.to_owned(), ..decision(DecisionKind::Certificate) };
    let told = store.decide(nonces.spend(&nonce, 1_000, 1), decision, certificates);
    (told, store.spent(&nonce).unwrap())
}

fn certify(store: &dyn Store, serial: u8, certified: Certified) -> Result<i64, StoreError> {
    let (told, spent) = decide_for(store, "alice", vec![CertificateRecord { certified, ..certificate(serial) }]);
    assert_eq!(spent.map(|spent| spent.decision), told.as_ref().ok().copied(), "all of it or nothing");
    told
}

fn holder(store: &dyn Store, key: u8) -> KeyHolder {
    store.key_holder(&[key; 32]).unwrap().unwrap()
}

fn a_key_is_certified_for_one_subject_of_one_account(place: &dyn Place) {
    let store = place.open();
    assert_eq!(store.key_holder(&[7; 32]).unwrap(), None);
    certify(&*store, 1, certified(7, 1)).unwrap();
    let other = certify(&*store, 2, certified(7, 2)).unwrap_err();
    assert!(matches!(other, StoreError::KeyHasOtherSubject), "{other:?}");
    let bob = decide_for(&*store, "bob", vec![CertificateRecord { certified: certified(7, 1), ..certificate(3) }]);
    assert!(matches!(bob, (Err(StoreError::KeyHasOtherSubject), None)), "{bob:?}");
    assert_eq!((store.issued(&[2; 20]).unwrap(), store.issued(&[3; 20]).unwrap()), (None, None));
    // The same subject again, by another profile too; and a subject may have many keys.
    certify(&*store, 4, certified(7, 1)).unwrap();
    certify(&*store, 5, Certified { profile: "tls".to_owned(), ..certified(7, 1) }).unwrap();
    certify(&*store, 6, certified(8, 1)).unwrap();
    let expected = KeyHolder {
        is_attesting: false,
        subject: [1; 32],
        account: "alice".to_owned(),
        profile: "tls".to_owned(),
        serial: vec![5; 20],
        has_others: false,
        compromised_at: None,
    };
    assert_eq!(holder(&*store, 7), expected);
    // It stays so when all of its certificates are revoked.
    for serial in [1, 4, 5] {
        let ceased = revocation(1_500, RevocationReason::CessationOfOperation);
        assert_eq!(store.revoke_certificate(&[serial; 20], ceased, decision(DecisionKind::Revocation)).unwrap(), 1);
    }
    assert!(matches!(certify(&*store, 9, certified(7, 2)), Err(StoreError::KeyHasOtherSubject)));
    certify(&*store, 9, certified(7, 1)).unwrap();
}

fn a_profile_may_give_a_key_several_subjects_and_others_then_none(place: &dyn Place) {
    let store = place.open();
    let shared = |subject| Certified { may_have_others: true, ..certified(7, subject) };
    certify(&*store, 1, certified(7, 1)).unwrap();
    certify(&*store, 2, shared(1)).unwrap();
    assert!(!holder(&*store, 7).has_others);
    certify(&*store, 3, shared(2)).unwrap();
    certify(&*store, 4, shared(3)).unwrap();
    let row = holder(&*store, 7);
    assert_eq!((row.subject, row.serial, row.has_others), ([1; 32], vec![2; 20], true));
    // Where a profile wants one subject alone, this key has more, whichever is asked for.
    for subject in [1, 2, 4] {
        assert!(matches!(certify(&*store, 5, certified(7, subject)), Err(StoreError::KeyHasOtherSubject)));
    }
    certify(&*store, 5, shared(1)).unwrap();
}

fn of_two_subjects_at_once_one_gets_the_key(place: &dyn Place) {
    let instances = [place.open(), place.open()];
    for key in 1..=20_u8 {
        let told: Vec<_> = std::thread::scope(|scope| {
            let racing: Vec<_> = (0..8_u8)
                .map(|subject| {
                    let store = &instances[usize::from(subject) % 2];
                    scope.spawn(move || {
                        let mut serial = vec![key; 20];
                        serial[0] = subject;
                        let record = CertificateRecord { serial, certified: certified(key, subject), ..certificate(1) };
                        decide_for(&**store, "alice", vec![record])
                    })
                })
                .collect();
            racing.into_iter().map(|one| one.join().unwrap()).collect()
        });
        let won = told.iter().filter(|(told, spent)| told.is_ok() && spent.is_some()).count();
        let lost = told
            .iter()
            .filter(|(told, spent)| matches!(told, Err(StoreError::KeyHasOtherSubject)) && spent.is_none())
            .count();
        assert_eq!((won, lost), (1, 7), "{told:?}");
    }
}

fn a_key_attests_or_is_certified_whichever_is_first(place: &dyn Place) {
    let instances = [place.open(), place.open()];
    let attest = |store: &dyn Store, ak: u8| {
        let record = with_use(ak, 3_000, KeyUse::Of([ak; 32]));
        store.enroll(key(&format!("device-{ak}"), ak, ak), decision(DecisionKind::Activation), vec![record])
    };
    let store = &*instances[0];
    certify(store, 101, certified(1, 1)).unwrap();
    assert!(matches!(attest(store, 1), Err(StoreError::KeyCertified)));
    assert_eq!((store.device("alice", "device-1").unwrap(), store.attesting_key(&[1; 32]).unwrap()), (None, None));
    attest(store, 2).unwrap();
    assert!(holder(store, 2).is_attesting);
    for shared in [false, true] {
        let asked = Certified { may_have_others: shared, ..certified(2, 2) };
        assert!(matches!(certify(store, 102, asked), Err(StoreError::KeyAttests)));
    }
    // The same attesting key in another encoding, for another device.
    let disguised = CertificateRecord { certified: Certified::attesting([2; 32], [77; 32]), ..certificate(103) };
    let other = store.enroll(key("device-77", 77, 77), decision(DecisionKind::Activation), vec![disguised]);
    assert!(matches!(other, Err(StoreError::KeyHasOtherSubject)), "{other:?}");
    for ak in 10..20_u8 {
        let (attested, certified) = std::thread::scope(|scope| {
            let attested = scope.spawn(|| attest(&*instances[0], ak));
            let certified = scope.spawn(|| certify(&*instances[1], ak + 100, certified(ak, 1)));
            (attested.join().unwrap(), certified.join().unwrap())
        });
        match (attested, certified) {
            (Ok(_), Err(StoreError::KeyAttests)) | (Err(StoreError::KeyCertified), Ok(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

fn a_compromised_key_is_never_certified_again(place: &dyn Place) {
    let store = place.open();
    let revoke = |serial: u8, reason| {
        store.revoke_certificate(&[serial; 20], revocation(1_500, reason), decision(DecisionKind::Revocation)).unwrap()
    };
    certify(&*store, 1, certified(7, 1)).unwrap();
    assert_eq!(revoke(1, RevocationReason::Superseded), 1);
    certify(&*store, 2, certified(7, 1)).unwrap();
    // What was revoked for less before still says so, and the key is known to be lost: so is what else there is of it.
    assert_eq!(revoke(1, RevocationReason::KeyCompromise), 1);
    assert_eq!(revoke(1, RevocationReason::KeyCompromise), 0);
    assert_eq!(store.revocations(1_000).unwrap().1[0].reason, RevocationReason::Superseded);
    assert_eq!(store.revocations(1_000).unwrap().1[1].reason, RevocationReason::KeyCompromise);
    for shared in [false, true] {
        let again = certify(&*store, 3, Certified { may_have_others: shared, ..certified(7, 1) });
        assert!(matches!(again, Err(StoreError::KeyCompromised)), "{again:?}");
    }
    assert_eq!(holder(&*store, 7).compromised_at, Some(1_500));
    // The keys whose certificates went with an attesting key that others know.
    store
        .enroll(key("device", 1, 1), decision(DecisionKind::Activation), vec![with_use(10, 3_000, KeyUse::Of([1; 32]))])
        .unwrap();
    for (serial, with_dependents) in [(11, false), (12, true)] {
        let record = with_use(serial, 3_000, KeyUse::RestsOn([1; 32]));
        if with_dependents {
            assert!(decide_for(&*store, "alice", vec![record]).0.is_ok());
        }
    }
    let compromised = revocation(1_600, RevocationReason::KeyCompromise);
    assert_eq!(store.revoke(&[1; 32], compromised, true, decision(DecisionKind::Revocation)).unwrap(), 2);
    assert!(matches!(certify(&*store, 13, certified(12, 1)), Err(StoreError::KeyCompromised)));
    certify(&*store, 14, certified(11, 1)).unwrap();
}

fn a_compromised_key_takes_its_certificates_along(place: &dyn Place) {
    let store = place.open();
    let shared = |key| Certified { may_have_others: true, ..certified(key, 1) };
    for (serial, key, account, not_after) in [
        (1, 7, "alice", 2_000),
        (2, 7, "alice", 2_000),
        (3, 7, "alice", 1_500),
        (4, 7, "bob", 2_000),
        (5, 8, "alice", 2_000),
    ] {
        let record = CertificateRecord { not_after, certified: shared(key), ..certificate(serial) };
        decide_for(&*store, account, vec![record]).0.unwrap();
    }
    let revoke = |serial: u8, at, reason| {
        store.revoke_certificate(&[serial; 20], revocation(at, reason), decision(DecisionKind::Revocation)).unwrap()
    };
    // For another reason it goes alone; what has expired needs none, and what is another account's is not this one's to end.
    assert_eq!(revoke(1, 1_400, RevocationReason::Superseded), 1);
    assert!(!store.issued(&[2; 20]).unwrap().unwrap().is_revoked);
    assert_eq!(revoke(1, 1_500, RevocationReason::KeyCompromise), 1);
    let is_revoked = |serial: u8| store.issued(&[serial; 20]).unwrap().unwrap().is_revoked;
    assert_eq!([1, 2, 3, 4, 5].map(is_revoked), [true, true, false, false, false]);
    assert_eq!(revoke(9, 1_500, RevocationReason::KeyCompromise), 0);
}

/// While a key is certified again and again, one of its certificates is revoked because others know it: whatever was
/// recorded is revoked, and nothing is recorded afterwards.
fn nothing_is_certified_for_a_compromised_key_unrevoked(place: &dyn Place) {
    let instances = [place.open(), place.open()];
    for key in 1..=8_u8 {
        certify(&*instances[0], key, certified(key, 1)).unwrap();
        let recorded = std::sync::Mutex::new(vec![vec![key; 20]]);
        std::thread::scope(|scope| {
            for thread in 0..4_u8 {
                let (store, recorded) = (&*instances[usize::from(thread % 2)], &recorded);
                scope.spawn(move || {
                    for number in 0..=u8::MAX {
                        let mut serial = vec![number; 20];
                        (serial[0], serial[1], serial[2]) = (100 + key, thread, 7);
                        // Half of them by the way that others share, half by one of their own.
                        let certified = Certified { may_have_others: thread > 1, ..certified(key, 1) };
                        let record = CertificateRecord { serial: serial.clone(), certified, ..certificate(1) };
                        match decide_for(store, "alice", vec![record]).0 {
                            Ok(_) => recorded.lock().unwrap().push(serial),
                            Err(StoreError::KeyCompromised) => return,
                            Err(error) => panic!("{error:?}"),
                        }
                    }
                });
            }
            std::thread::sleep(std::time::Duration::from_millis(u64::from(key) * 3));
            let compromised = revocation(1_500, RevocationReason::KeyCompromise);
            instances[1].revoke_certificate(&[key; 20], compromised, decision(DecisionKind::Revocation)).unwrap();
        });
        let recorded = recorded.into_inner().unwrap();
        let left = recorded.iter().filter(|serial| !instances[0].issued(serial).unwrap().unwrap().is_revoked).count();
        assert_eq!(left, 0, "of {}", recorded.len());
    }
}

fn a_key_is_revoked_with_all_its_certificates(place: &dyn Place) {
    let store = place.open();
    for (serial, key) in [(1, 7), (2, 7), (3, 8)] {
        certify(&*store, serial, certified(key, 1)).unwrap();
    }
    let revoke = |key: u8, at, reason| {
        store.revoke_certified(&[key; 32], revocation(at, reason), decision(DecisionKind::Revocation))
    };
    assert_eq!(store.revocation_count().unwrap(), 0);
    assert_eq!(revoke(7, 1_500, RevocationReason::CessationOfOperation).unwrap(), 2);
    assert_eq!(revoke(7, 1_600, RevocationReason::KeyCompromise).unwrap(), 0);
    let listed = store.revocations(1_000).unwrap();
    let times: Vec<_> = listed.1.iter().map(|one| (one.der[0], one.at, one.reason)).collect();
    let ceased = RevocationReason::CessationOfOperation;
    assert_eq!((listed.0, times), (2, vec![(1, 1_500, ceased), (2, 1_500, ceased)]));
    assert_eq!(store.revocation_count().unwrap(), 2);
    assert_eq!((holder(&*store, 7).compromised_at, holder(&*store, 8).compromised_at), (Some(1_600), None));
    assert!(matches!(revoke(9, 1_500, ceased), Err(StoreError::NoSuchKey)));
    // Attesting keys are revoked in their own way.
    let of_key = vec![with_use(10, 3_000, KeyUse::Of([1; 32]))];
    store.enroll(key("device", 1, 1), decision(DecisionKind::Activation), of_key).unwrap();
    assert!(matches!(revoke(1, 1_500, ceased), Err(StoreError::NoSuchKey)));
    assert!(!store.issued(&[10; 20]).unwrap().unwrap().is_revoked);
}

fn what_fell_between_the_verdict_and_the_record_is_noticed(place: &dyn Place) {
    let instances = [place.open(), place.open()];
    let store = &*instances[0];
    for ak in [1, 2] {
        store.enroll(key("device", 1, ak), decision(DecisionKind::Activation), Vec::new()).unwrap();
    }
    let bobs = EnrolledKey { account: "bob".to_owned(), ..key("bobs", 9, 9) };
    store.enroll(bobs, decision(DecisionKind::Activation), Vec::new()).unwrap();
    let resting = |serial, keys: &[u8]| CertificateRecord {
        certified: certified(serial, 1).resting_on(keys.iter().map(|key| [*key; 32]).collect()),
        ..certificate(serial)
    };
    // Of what was judged before, the other instance revokes one.
    let judged = [resting(1, &[1]), resting(2, &[1, 2]), resting(3, &[2, 42]), resting(4, &[9])];
    let lost = revocation(1_500, RevocationReason::CessationOfOperation);
    instances[1].revoke(&[1; 32], lost, false, decision(DecisionKind::Revocation)).unwrap();
    let told = judged.map(|record| decide_for(store, "alice", vec![record]));
    assert!(
        matches!(
            told,
            [
                (Err(StoreError::KeyRevoked), None),
                (Err(StoreError::KeyRevoked), None),
                (Ok(_), Some(_)),
                (Err(StoreError::KeyOfOtherAccount), None)
            ]
        ),
        "{told:?}"
    );
    assert_eq!(
        [1, 2, 3, 4].map(|serial: u8| store.issued(&[serial; 20]).unwrap().is_some()),
        [false, false, true, false]
    );
    assert_eq!(store.key_holder(&[1; 32]).unwrap(), None);
}

fn one_that_fell_takes_no_other_of_its_group_along(place: &dyn Place) {
    let (store, nonces) = (place.open(), Nonces::new());
    for ak in [201, 202] {
        store.enroll(key("device", 1, ak), decision(DecisionKind::Activation), Vec::new()).unwrap();
    }
    let lost = revocation(1_500, RevocationReason::CessationOfOperation);
    store.revoke(&[201; 32], lost, false, decision(DecisionKind::Revocation)).unwrap();
    certify(&*store, 250, certified(50, 9)).unwrap();
    let (done_to, done) = std::sync::mpsc::channel();
    for number in 0..60_u8 {
        let (done_to, nonce) = (done_to.clone(), nonces.mint(1_000));
        let key = [[number; 32], [50; 32]][usize::from(number % 20 == 7)];
        let rests_on = vec![[if number % 20 == 9 { 201 } else { 202 }; 32]];
        let certified = Certified { key, ..certified(number, 1).resting_on(rests_on) };
        let record = CertificateRecord { certified, ..certificate(number) };
        let tell = Box::new(move |result| done_to.send((number, result)).unwrap());
        store.decide_later(nonces.spend(&nonce, 1_000, 1), decision(DecisionKind::Certificate), vec![record], tell);
    }
    drop(done_to);
    let told: Vec<(u8, Result<i64, StoreError>)> = done.iter().collect();
    assert_eq!(told.len(), 60);
    for (number, result) in told {
        match (number % 20, &result) {
            // 50 itself is somebody's already.
            (7, Err(StoreError::KeyHasOtherSubject)) | (9, Err(StoreError::KeyRevoked)) => {}
            (10, Err(StoreError::KeyHasOtherSubject)) if number == 50 => {}
            (_, Ok(id)) => assert_eq!(store.decision(*id).unwrap().unwrap().serials, [vec![number; 20]]),
            _ => panic!("{number} {result:?}"),
        }
    }
}

/// While certificates are recorded that rest on a key, others revoke it with what rests on it: whatever was recorded is
/// revoked, and nothing is recorded afterwards.
fn nothing_rests_on_a_revoked_key_unrevoked(place: &dyn Place) {
    let instances = [place.open(), place.open()];
    for ak in 1..=8_u8 {
        let store = &*instances[0];
        store.enroll(key(&format!("device-{ak}"), ak, ak), decision(DecisionKind::Activation), Vec::new()).unwrap();
        let is_revoked = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for thread in 0..4_u8 {
                let (store, is_revoked) = (&*instances[usize::from(thread % 2)], &is_revoked);
                scope.spawn(move || {
                    for number in 0..=u8::MAX {
                        let began_after = is_revoked.load(Ordering::SeqCst);
                        let (mut serial, mut key) = (vec![number; 20], [number; 32]);
                        (serial[0], serial[1], key[0], key[1]) = (ak, thread, ak, 100 + thread);
                        let certified = Certified { key, ..certified(1, 1).resting_on(vec![[ak; 32]]) };
                        let key_use = KeyUse::RestsOn([ak; 32]);
                        let record = CertificateRecord { serial, key_use, certified, ..certificate(1) };
                        match decide_for(store, "alice", vec![record]).0 {
                            Ok(_) => assert!(!began_after, "recorded after the revocation was told"),
                            Err(StoreError::KeyRevoked) => return,
                            Err(error) => panic!("{error:?}"),
                        }
                    }
                });
            }
            std::thread::sleep(std::time::Duration::from_millis(u64::from(ak) * 3));
            let lost = revocation(1_500, RevocationReason::CessationOfOperation);
            instances[1].revoke(&[ak; 32], lost, true, decision(DecisionKind::Revocation)).unwrap();
            is_revoked.store(true, Ordering::SeqCst);
        });
        let resting = store.dependents(&[ak; 32], 1_000).unwrap();
        assert!(resting.iter().all(|dependent| dependent.is_revoked), "{ak}: of {}", resting.len());
    }
}

fn what_is_valid_is_counted_and_expires_next(place: &dyn Place) {
    let store = place.open();
    assert_eq!(store.validities(1_000).unwrap(), Validities::default());
    let of_key = |serial, not_after, ak| vec![with_use(serial, not_after, KeyUse::Of([ak; 32]))];
    store.enroll(key("one", 1, 1), decision(DecisionKind::Activation), of_key(1, 1_500, 1)).unwrap();
    store.enroll(key("one", 1, 1), decision(DecisionKind::Activation), of_key(2, 3_000, 1)).unwrap();
    store.enroll(key("two", 2, 2), decision(DecisionKind::Activation), of_key(3, 1_600, 2)).unwrap();
    // The second subject has another certificate already, by another key.
    for (serial, subject, not_after) in [(11, 1, 1_100), (12, 2, 1_050), (13, 2, 1_200), (14, 3, 1_300)] {
        let record = CertificateRecord { not_after, certified: certified(serial, subject), ..certificate(serial) };
        decide_for(&*store, "alice", vec![record]).0.unwrap();
    }
    let at = |now| {
        let Validities { issued, attesting_keys, revocations } = store.validities(now).unwrap();
        ((issued.valid, issued.next_expiry), (attesting_keys.valid, attesting_keys.next_expiry), revocations)
    };
    assert_eq!(at(1_000), ((4, Some(1_100)), (2, Some(1_600)), 0));
    let ceased = || revocation(1_000, RevocationReason::CessationOfOperation);
    store.revoke_certificate(&[11; 20], ceased(), decision(DecisionKind::Revocation)).unwrap();
    store.revoke(&[2; 32], ceased(), false, decision(DecisionKind::Revocation)).unwrap();
    assert_eq!(at(1_000), ((3, Some(1_200)), (1, Some(3_000)), 2));
    assert_eq!(at(1_200), ((1, Some(1_300)), (1, Some(3_000)), 2));
    assert_eq!(at(3_000), ((0, None), (0, None), 2));
}
