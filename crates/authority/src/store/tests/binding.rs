//! Modules, devices and attesting keys: what belongs together, whoever is faster.

use super::*;

on_both!(
    a_refused_write_leaves_nothing_behind,
    a_baseline_stands_until_it_is_forgotten,
    a_challenge_is_taken_once_and_by_its_account,
    one_module_gets_a_name_however_many_ask,
    one_key_stands_where_one_alone_may,
    a_key_is_revoked_with_what_rests_on_it_once,
    a_compromised_key_takes_its_successors_along,
    the_successor_of_a_key_that_stands_alone_takes_its_place,
    a_successor_that_its_module_was_shown_for_stands_by_itself,
    another_module_needs_leave_and_gets_it_once,
    leave_is_given_however_often_the_failed_module_renews,
    another_account_needs_leave,
);

fn enroll(store: &dyn Store, key: EnrolledKey) -> Result<i64, StoreError> {
    store.enroll(key, decision(DecisionKind::Activation), Vec::new())
}

fn a_refused_write_leaves_nothing_behind(place: &dyn Place) {
    let store = place.open();
    let first = store.enroll(key("device", 1, 1), decision(DecisionKind::Activation), vec![certificate(1)]).unwrap();
    let refused = |key, certificates| store.enroll(key, decision(DecisionKind::Activation), certificates).unwrap_err();
    assert!(matches!(refused(key("device", 2, 2), vec![certificate(2)]), StoreError::DeviceBoundElsewhere));
    assert!(matches!(refused(key("other", 1, 2), vec![certificate(2)]), StoreError::EkBoundElsewhere));
    assert!(matches!(refused(key("other", 2, 1), vec![certificate(2)]), StoreError::AkBoundElsewhere));
    assert!(matches!(refused(key("other", 2, 2), vec![certificate(1)]), StoreError::SerialTaken));
    assert_eq!(store.device("alice", "other").unwrap(), None);
    assert_eq!(store.device_of_key(&[2; 32]).unwrap(), None);
    // Numbers of decisions that were rolled back are not in use.
    let second = store.enroll(key("other", 2, 2), decision(DecisionKind::Activation), vec![certificate(2)]).unwrap();
    assert!(store.decision(second).unwrap().is_some());
    assert_eq!((first + 1..second).filter(|id| store.decision(*id).unwrap().is_some()).count(), 0);
}

fn a_baseline_stands_until_it_is_forgotten(place: &dyn Place) {
    let store = place.open();
    let with = |baseline: Option<Vec<u8>>| EnrolledKey { baseline, ..key("device", 1, 1) };
    enroll(&*store, with(None)).unwrap();
    enroll(&*store, with(Some(vec![1]))).unwrap();
    enroll(&*store, with(Some(vec![1]))).unwrap();
    enroll(&*store, with(None)).unwrap();
    assert_eq!(store.device("alice", "device").unwrap().unwrap().baseline, Some(vec![1]));
    assert!(matches!(enroll(&*store, with(Some(vec![2]))).unwrap_err(), StoreError::BaselineRecorded));
    store.forget_baseline("bob", "device").unwrap();
    assert_eq!(store.device("alice", "device").unwrap().unwrap().baseline, Some(vec![1]));
    store.forget_baseline("alice", "device").unwrap();
    enroll(&*store, with(Some(vec![2]))).unwrap();
    assert_eq!(store.device("alice", "device").unwrap().unwrap().baseline, Some(vec![2]));
}

fn challenge(id: u8, expected: Expected) -> Challenge {
    let material = match &expected {
        Expected::Credential(_) => AkMaterial::Tpm { public: vec![1], name: vec![2; 34] },
        Expected::Signature(_) => AkMaterial::Host { spki: vec![3] },
    };
    let key =
        EnrolledKey { material, is_virtual: true, is_exclusive: true, baseline: Some(vec![4]), ..key("d", id, id) };
    Challenge { id: [id; 16], expires: 1_100, expected, key }
}

fn a_challenge_is_taken_once_and_by_its_account(place: &dyn Place) {
    let instances = [place.open(), place.open()];
    let nonces = Nonces::new();
    for (id, expected) in [(1, Expected::Credential([8; 32])), (2, Expected::Signature([8; 32]))] {
        let nonce = nonces.mint(1_000);
        let challenge = challenge(id, expected);
        let open = |challenge| {
            instances[0].open_challenge(nonces.spend(&nonce, 1_000, 1), decision(DecisionKind::Challenge), challenge)
        };
        open(challenge.clone()).unwrap();
        // The nonce is spent, so another challenge is not opened.
        assert!(matches!(
            open(super::binding::challenge(9, Expected::Signature([8; 32]))),
            Err(StoreError::NonceSpent)
        ));
        assert_eq!(instances[0].take_challenge(&[9; 16], "alice").unwrap(), None);
        assert_eq!(instances[1].take_challenge(&challenge.id, "bob").unwrap(), None);
        let taken = std::thread::scope(|scope| {
            let takers: Vec<_> = (0..16)
                .map(|taker| {
                    scope.spawn({
                        let store = &instances[taker % 2];
                        let id = challenge.id;
                        move || store.take_challenge(&id, "alice").unwrap()
                    })
                })
                .collect();
            takers.into_iter().filter_map(|taker| taker.join().unwrap()).collect::<Vec<_>>()
        });
        assert_eq!(taken, [challenge]);
    }
    let nonce = nonces.mint(1_000);
    let late = challenge(3, Expected::Credential([8; 32]));
    let spending = nonces.spend(&nonce, 1_000, 1);
    instances[0].open_challenge(spending, decision(DecisionKind::Challenge), late.clone()).unwrap();
    instances[1].prune(1_100, 0).unwrap();
    assert_eq!(instances[0].take_challenge(&late.id, "alice").unwrap(), Some(late.clone()));
    let nonce = nonces.mint(1_000);
    let spending = nonces.spend(&nonce, 1_000, 1);
    instances[0].open_challenge(spending, decision(DecisionKind::Challenge), late.clone()).unwrap();
    instances[1].prune(1_101, 0).unwrap();
    assert_eq!(instances[0].take_challenge(&late.id, "alice").unwrap(), None);
}

/// What 16 threads of two instances were told.
fn race(
    place: &dyn Place,
    ask: impl Fn(&dyn Store, u8) -> Result<i64, StoreError> + Sync,
) -> Vec<Result<i64, StoreError>> {
    let instances = [place.open(), place.open()];
    std::thread::scope(|scope| {
        let racing: Vec<_> = (1..=16_u8)
            .map(|number| {
                let (store, ask) = (&instances[usize::from(number) % 2], &ask);
                scope.spawn(move || ask(&**store, number))
            })
            .collect();
        racing.into_iter().map(|one| one.join().unwrap()).collect()
    })
}

fn one_module_gets_a_name_however_many_ask(place: &dyn Place) {
    let told = race(place, |store, number| enroll(store, key("device", number, number)));
    assert_eq!(told.iter().filter(|told| told.is_ok()).count(), 1, "{told:?}");
    let refused = told.iter().filter(|told| matches!(told, Err(StoreError::DeviceBoundElsewhere))).count();
    assert_eq!(refused, 15, "{told:?}");
    // And the other way round: one name for a module.
    let told = race(place, |store, number| enroll(store, key(&format!("name-{number}"), 77, 100 + number)));
    assert_eq!(told.iter().filter(|told| told.is_ok()).count(), 1, "{told:?}");
    let refused = told.iter().filter(|told| matches!(told, Err(StoreError::EkBoundElsewhere))).count();
    assert_eq!(refused, 15, "{told:?}");
    assert_eq!(place.open().attesting_keys().unwrap().len(), 2);
}

fn one_key_stands_where_one_alone_may(place: &dyn Place) {
    let exclusive = |ak| EnrolledKey { is_exclusive: true, ..key("device", 1, ak) };
    let told = race(place, |store, number| enroll(store, exclusive(number)));
    assert_eq!(told.iter().filter(|told| told.is_ok()).count(), 1, "{told:?}");
    let refused = told.iter().filter(|told| matches!(told, Err(StoreError::DeviceHasKey))).count();
    assert_eq!(refused, 15, "{told:?}");
    let store = place.open();
    let standing = store.attesting_keys().unwrap()[0].clone();
    // The same key again is no other key.
    enroll(&*store, exclusive(standing.spki_digest[0])).unwrap();
    let lost = revocation(1_500, RevocationReason::CessationOfOperation);
    store.revoke(&standing.spki_digest, lost, false, decision(DecisionKind::Revocation)).unwrap();
    enroll(&*store, exclusive(99)).unwrap();
    let again = enroll(&*store, exclusive(standing.spki_digest[0])).unwrap_err();
    assert!(matches!(again, StoreError::KeyRevoked), "{again:?}");
}

pub(super) fn with_use(serial: u8, not_after: i64, key_use: KeyUse) -> CertificateRecord {
    let certified = match key_use {
        KeyUse::Of(key) => Certified::attesting(key, key),
        KeyUse::RestsOn(key) => certified(serial, 1).resting_on(vec![key]),
        KeyUse::None => certified(serial, 1),
    };
    CertificateRecord { not_after, key_use, certified, ..certificate(serial) }
}

fn a_key_is_revoked_with_what_rests_on_it_once(place: &dyn Place) {
    let (store, nonces) = (place.open(), Nonces::new());
    let of_key = vec![with_use(1, 3_000, KeyUse::Of([1; 32])), with_use(2, 2_000, KeyUse::Of([1; 32]))];
    store.enroll(key("device", 1, 1), decision(DecisionKind::Activation), of_key).unwrap();
    for (serial, not_after) in [(3, 3_000), (4, 1_200), (5, 4_000)] {
        let nonce = nonces.mint(1_000);
        let rests = vec![with_use(serial, not_after, KeyUse::RestsOn([1; 32]))];
        store.decide(nonces.spend(&nonce, 1_000, 1), decision(DecisionKind::Certificate), rests).unwrap();
    }
    let row = store.attesting_key(&[1; 32]).unwrap().unwrap();
    assert_eq!(
        (row.account.as_str(), row.device.as_str(), row.ek_certificate.as_slice()),
        ("alice", "device", &[1][..])
    );
    assert_eq!((row.enrolled_at, row.not_after, row.is_virtual, row.revocation), (1_000, 3_000, false, None));
    assert_eq!((row.material, row.proof), (key("device", 1, 1).material, proof()));
    let revoke = |at, reason, dependents| {
        store.revoke(&[1; 32], revocation(at, reason), dependents, decision(DecisionKind::Revocation))
    };
    let unknown =
        store.revoke(&[2; 32], revocation(1, RevocationReason::Unspecified), true, decision(DecisionKind::Revocation));
    assert!(matches!(unknown, Err(StoreError::NoSuchKey)));
    // Its own certificates that are valid still; then what rests on it, without those that have expired.
    assert_eq!(revoke(1_500, RevocationReason::Superseded, false).unwrap(), 2);
    assert_eq!(revoke(1_600, RevocationReason::CessationOfOperation, true).unwrap(), 2);
    assert_eq!(revoke(1_700, RevocationReason::CessationOfOperation, true).unwrap(), 0);
    let row = store.attesting_key(&[1; 32]).unwrap().unwrap();
    assert_eq!(row.revocation, Some(revocation(1_500, RevocationReason::Superseded)));
    assert!(store.device_of_key(&[1; 32]).unwrap().unwrap().is_key_revoked());
    let dependents = store.dependents(&[1; 32], 1_500).unwrap();
    let serials: Vec<_> = dependents.iter().map(|dependent| (dependent.serial[0], dependent.is_revoked)).collect();
    assert_eq!(serials, [(3, true), (5, true)]);
    assert_eq!((dependents[0].account.as_str(), dependents[0].not_after), ("alice", 3_000));
    let listed =
        |now| store.revocations(now).unwrap().1.iter().map(|one| (one.der[0], one.at, one.reason)).collect::<Vec<_>>();
    let (superseded, ceased) = (RevocationReason::Superseded, RevocationReason::CessationOfOperation);
    assert_eq!(listed(1_500), [(1, 1_500, superseded), (2, 1_500, superseded), (3, 1_600, ceased), (5, 1_600, ceased)]);
    assert_eq!(listed(3_000), [(5, 1_600, ceased)]);
    assert!(store.issued(&[3; 20]).unwrap().unwrap().is_revoked);
}

fn a_compromised_key_takes_its_successors_along(place: &dyn Place) {
    let (store, nonces) = (place.open(), Nonces::new());
    enroll(&*store, key("device", 1, 1)).unwrap();
    enroll(&*store, key("device", 1, 9)).unwrap();
    let renew = |predecessor: u8, ak: u8| {
        let nonce = nonces.mint(1_000);
        let spending = nonces.spend(&nonce, 1_000, 1);
        let certificates = vec![with_use(ak, 3_000, KeyUse::Of([ak; 32]))];
        store.renew(spending, [predecessor; 32], key("device", 1, ak), decision(DecisionKind::Renewal), certificates)
    };
    renew(1, 1).unwrap();
    renew(1, 2).unwrap();
    renew(2, 3).unwrap();
    assert!(matches!(renew(4, 5), Err(StoreError::NoSuchKey)));
    assert!(matches!(renew(2, 9), Err(StoreError::AkBoundElsewhere)));
    let compromised = revocation(1_500, RevocationReason::KeyCompromise);
    assert_eq!(store.revoke(&[1; 32], compromised, false, decision(DecisionKind::Revocation)).unwrap(), 3);
    let revoked = |ak: u8| store.attesting_key(&[ak; 32]).unwrap().unwrap().revocation.is_some();
    assert_eq!([1, 2, 3, 9].map(revoked), [true, true, true, false]);
    assert!(matches!(renew(1, 1), Err(StoreError::KeyRevoked)));
}

fn the_successor_of_a_key_that_stands_alone_takes_its_place(place: &dyn Place) {
    let (store, nonces) = (place.open(), Nonces::new());
    let exclusive = |ak| EnrolledKey { is_exclusive: true, ..key("device", 1, ak) };
    let of_key = |ak: u8| vec![with_use(ak, 3_000, KeyUse::Of([ak; 32]))];
    store.enroll(exclusive(1), decision(DecisionKind::Activation), of_key(1)).unwrap();
    let renew = |ak: u8, serial: u8| {
        let nonce = nonces.mint(1_000);
        let certificates = vec![with_use(serial, 3_000, KeyUse::Of([ak; 32]))];
        let spending = nonces.spend(&nonce, 1_000, 1);
        store.renew(spending, [1; 32], exclusive(ak), decision(DecisionKind::Renewal), certificates)
    };
    renew(1, 2).unwrap();
    assert_eq!(store.attesting_key(&[1; 32]).unwrap().unwrap().revocation, None);
    renew(3, 3).unwrap();
    let superseded = Revocation { approver: "alice".to_owned(), ..revocation(1_000, RevocationReason::Superseded) };
    assert_eq!(store.attesting_key(&[1; 32]).unwrap().unwrap().revocation, Some(superseded));
    assert_eq!(store.attesting_key(&[3; 32]).unwrap().unwrap().revocation, None);
    let listed: Vec<u8> = store.revocations(1_000).unwrap().1.iter().map(|revoked| revoked.der[0]).collect();
    assert_eq!(listed, [1, 2]);
    assert!(matches!(renew(4, 4), Err(StoreError::KeyRevoked)));
    // Enrolled anew by a method that shows nothing but a name, it is still what the first key named: whoever knew that one
    // cannot make its successor outlive it so.
    let again = vec![with_use(5, 3_000, KeyUse::Of([3; 32]))];
    store.enroll(exclusive(3), decision(DecisionKind::Activation), again).unwrap();
    let compromised = revocation(1_500, RevocationReason::KeyCompromise);
    assert_eq!(store.revoke(&[1; 32], compromised, false, decision(DecisionKind::Revocation)).unwrap(), 2);
    assert!(store.attesting_key(&[3; 32]).unwrap().unwrap().revocation.is_some());
}

fn a_successor_that_its_module_was_shown_for_stands_by_itself(place: &dyn Place) {
    let (store, nonces) = (place.open(), Nonces::new());
    enroll(&*store, key("device", 1, 1)).unwrap();
    let nonce = nonces.mint(1_000);
    let spending = nonces.spend(&nonce, 1_000, 1);
    store.renew(spending, [1; 32], key("device", 1, 2), decision(DecisionKind::Renewal), Vec::new()).unwrap();
    enroll(&*store, key("device", 1, 2)).unwrap();
    let compromised = revocation(1_500, RevocationReason::KeyCompromise);
    store.revoke(&[1; 32], compromised, false, decision(DecisionKind::Revocation)).unwrap();
    assert_eq!(store.attesting_key(&[2; 32]).unwrap().unwrap().revocation, None);
}

fn another_module_needs_leave_and_gets_it_once(place: &dyn Place) {
    let store = place.open();
    enroll(&*store, EnrolledKey { baseline: Some(vec![1]), ..key("device", 1, 1) }).unwrap();
    let approve = |device: &str| {
        let leave = Replacement { device: device.to_owned(), until: 1_200, approver: "somebody".to_owned() };
        let ceased = revocation(1_000, RevocationReason::CessationOfOperation);
        store.approve_replacement(leave, ceased, decision(DecisionKind::Replacement))
    };
    assert!(matches!(approve("other"), Err(StoreError::NoSuchDevice)));
    assert_eq!(approve("device").unwrap(), 1);
    // The failed module is back for a while, until the other takes its place.
    enroll(&*store, key("device", 1, 5)).unwrap();
    let late = Decision { at: 1_201, ..decision(DecisionKind::Activation) };
    assert!(matches!(store.enroll(key("device", 2, 2), late, Vec::new()), Err(StoreError::DeviceBoundElsewhere)));
    enroll(&*store, key("device", 2, 2)).unwrap();
    let device = store.device("alice", "device").unwrap().unwrap();
    assert_eq!((device.identity, device.baseline), ([2; 32], None));
    let by = store.attesting_key(&[5; 32]).unwrap().unwrap().revocation.unwrap().approver;
    assert_eq!(by, "somebody");
    assert!(matches!(enroll(&*store, key("device", 3, 3)), Err(StoreError::DeviceBoundElsewhere)));
}

/// While a module renews its key and names successors, an administrator gives leave for another in its place: its keys are
/// revoked, all that there are then, and renew no more.
fn leave_is_given_however_often_the_failed_module_renews(place: &dyn Place) {
    let (instances, nonces) = ([place.open(), place.open()], Nonces::new());
    enroll(&*instances[0], key("device", 1, 1)).unwrap();
    let renew = |store: &dyn Store, from: u8, to: u8, serial: Vec<u8>| {
        let nonce = nonces.mint(1_000);
        let certificates = vec![CertificateRecord { serial, ..with_use(to, 3_000, KeyUse::Of([to; 32])) }];
        let spending = nonces.spend(&nonce, 1_000, 1);
        store.renew(spending, [from; 32], key("device", 1, to), decision(DecisionKind::Renewal), certificates)
    };
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let (store, renew) = (&*instances[usize::from(thread % 2)], &renew);
            scope.spawn(move || {
                for number in 0..=u8::MAX {
                    let mut serial = vec![number; 20];
                    (serial[0], serial[1]) = (1, thread);
                    // Now and then a successor.
                    let to = if number % 16 == 15 { 10 + thread * 16 + number / 16 } else { 1 };
                    match renew(store, 1, to, serial) {
                        Ok(_) => {}
                        Err(StoreError::KeyRevoked) => return,
                        // Renewals may get in one another's way.
                        Err(StoreError::Server(error)) if error.passes() => {}
                        Err(error) => panic!("{error:?}"),
                    }
                }
            });
        }
        std::thread::sleep(std::time::Duration::from_millis(150));
        let leave = Replacement { device: "device".to_owned(), until: 1_200, approver: "somebody".to_owned() };
        let ceased = revocation(1_000, RevocationReason::CessationOfOperation);
        instances[1].approve_replacement(leave, ceased, decision(DecisionKind::Replacement)).unwrap();
    });
    let keys = instances[0].attesting_keys().unwrap();
    assert!(keys.iter().all(|key| key.revocation.is_some()), "of {}", keys.len());
}

fn another_account_needs_leave(place: &dyn Place) {
    let store = place.open();
    enroll(&*store, key("device", 1, 1)).unwrap();
    let bobs = || EnrolledKey { account: "bob".to_owned(), ..key("device", 1, 2) };
    assert!(matches!(enroll(&*store, bobs()), Err(StoreError::DeviceBoundElsewhere)));
    let share = |device: &str| store.share_device(device, "bob", decision(DecisionKind::Sharing));
    assert!(matches!(share("other"), Err(StoreError::NoSuchDevice)));
    share("device").unwrap();
    share("device").unwrap();
    enroll(&*store, bobs()).unwrap();
    assert_eq!(store.device_of_key(&[2; 32]).unwrap().unwrap().account, "bob");
    assert!(matches!(
        enroll(&*store, EnrolledKey { account: "bob".to_owned(), ..key("device", 1, 1) }),
        Err(StoreError::AkBoundElsewhere)
    ));
}
