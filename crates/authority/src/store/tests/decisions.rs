//! Decisions, nonces and certificates.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::mpsc::channel;

use super::*;

on_both!(
    what_was_reported_is_there_for_another_instance,
    a_nonce_is_spent_once_by_however_many_instances,
    who_is_told_that_a_nonce_is_spent_can_read_for_what,
    one_of_a_group_that_is_refused_takes_nothing_with_it,
    evidence_is_erased_and_the_commitment_stays,
    many_writers_share_commits_and_lose_nothing,
    one_serial_number_is_one_certificate,
    what_is_valid_is_read_in_pages,
    what_is_pruned_is_what_is_old,
    several_instances_start_at_once_on_an_empty_database,
    what_was_handed_over_is_written_before_the_end,
);

fn what_was_reported_is_there_for_another_instance(place: &dyn Place) {
    let store = place.open();
    let certificates = vec![certificate(1), certificate(3), certificate(2)];
    let id = store.enroll(key("device", 1, 1), decision(DecisionKind::Activation), certificates).unwrap();
    // No orderly end: a second instance sees what the first one committed.
    let second = place.open();
    std::mem::forget(store);
    let recorded = second.decision(id).unwrap().unwrap();
    assert_eq!((recorded.kind.as_str(), recorded.account.as_str(), recorded.accepted), ("activation", "alice", true));
    assert_eq!(recorded.commitment, [7; 32]);
    assert_eq!(recorded.serials, [1, 3, 2].map(|serial| vec![serial; 20]));
    assert_eq!(recorded.enrolment, Some(proof()));
    assert_eq!(second.certificates(id).unwrap(), [1, 3, 2].map(|serial| vec![serial; 500]));
    assert_eq!(second.evidence(id).unwrap(), Some(vec![1, 2, 3]));
    assert_eq!(second.device("alice", "device").unwrap().unwrap().identity, [1; 32]);
    assert_eq!(second.device_of_key(&[1; 32]).unwrap().unwrap().name, "device");
    assert_eq!(second.device_of_key(&[2; 32]).unwrap(), None);
    assert_eq!(second.decision(id + 1_000).unwrap(), None);
    let issued = second.issued(&[3; 20]).unwrap().unwrap();
    assert_eq!((issued.account.as_str(), issued.der, issued.is_revoked), ("alice", vec![3; 500], false));
    assert_eq!(second.issued(&[4; 20]).unwrap(), None);
}

fn what_is_valid_is_read_in_pages(place: &dyn Place) {
    let store = place.open();
    assert_eq!(store.valid_certificates(&[], 0, 10).unwrap(), []);
    let mut certificates = [5, 1, 9, 3, 7].map(certificate);
    certificates[2].not_after = 1_000;
    store.enroll(key("device", 1, 1), decision(DecisionKind::Activation), certificates.to_vec()).unwrap();
    let page = |behind: &[u8], now, limit| {
        let read = store.valid_certificates(behind, now, limit).unwrap();
        read.into_iter().map(|valid| (valid.serial[0], valid.der[0], valid.not_after)).collect::<Vec<_>>()
    };
    assert_eq!(page(&[], 999, 2), [(1, 1, 2_000), (3, 3, 2_000)]);
    assert_eq!(page(&[3; 20], 999, 10), [(5, 5, 2_000), (7, 7, 2_000), (9, 9, 1_000)]);
    // At the end of its validity it is valid no longer.
    assert_eq!(page(&[7; 20], 1_000, 10), []);
    assert_eq!(page(&[], 2_000, 10), []);
}

/// 1,000 nonces, each spent by two instances at once, and twice by each of them.
fn a_nonce_is_spent_once_by_however_many_instances(place: &dyn Place) {
    const NONCES: usize = 1_000;
    let instances = [place.open(), place.open()];
    let nonces = Nonces::new();
    let minted: Vec<_> = (0..NONCES).map(|_| nonces.mint(1_000)).collect();
    let told = Mutex::new(Vec::new());
    let (done_to, done) = channel();
    std::thread::scope(|scope| {
        for (instance, store) in instances.iter().enumerate() {
            for twice in 0..2_usize {
                let (minted, nonces, done_to) = (&minted, &nonces, done_to.clone());
                scope.spawn(move || {
                    for at in 0..NONCES {
                        // From both ends, so that they meet in other groups than they began in.
                        let index = if (instance + twice) % 2 == 0 { at } else { NONCES - 1 - at };
                        let request = u8::try_from(instance * 2 + twice).unwrap();
                        let spending = nonces.spend(&minted[index], 1_000, request);
                        let mut serial = minted[index].to_vec();
                        serial.push(request);
                        // A key for each, as clients have them.
                        let key = [&u64::try_from(index).unwrap().to_be_bytes()[..], &[request; 24]].concat();
                        let certified = Certified { key: key.try_into().unwrap(), ..certificate(request).certified };
                        let certificate = CertificateRecord { serial, certified, ..certificate(request) };
                        let done_to = done_to.clone();
                        let done = Box::new(move |result| done_to.send((index, request, result)).unwrap());
                        store.decide_later(spending, decision(DecisionKind::Certificate), vec![certificate], done);
                    }
                });
            }
        }
        drop(done_to);
        told.lock().unwrap().extend(done);
    });
    let told = told.into_inner().unwrap();
    assert_eq!(told.len(), NONCES * 4);
    let mut winners = vec![Vec::new(); NONCES];
    for (index, request, result) in told {
        match result {
            Ok(id) => winners[index].push((request, id)),
            Err(StoreError::NonceSpent) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    let mut numbers = HashSet::new();
    for (nonce, winners) in minted.iter().zip(winners) {
        let [(request, id)] = winners[..] else { panic!("{} won", winners.len()) };
        assert!(numbers.insert(id));
        assert_eq!(instances[0].spent(nonce).unwrap(), Some(Spent { request: [request; 32], decision: id }));
        let serials = instances[1].decision(id).unwrap().unwrap().serials;
        assert_eq!(serials, [[nonce.as_slice(), &[request]].concat()]);
    }
}

fn who_is_told_that_a_nonce_is_spent_can_read_for_what(place: &dyn Place) {
    let (store, nonces) = (place.open(), Nonces::new());
    for _ in 0..50 {
        let nonce = nonces.mint(1_000);
        std::thread::scope(|scope| {
            let spend = |request| {
                let (store, nonces) = (&store, &nonces);
                move || {
                    let spending = nonces.spend(&nonce, 1_000, request);
                    match store.decide(spending, decision(DecisionKind::Appraisal), Vec::new()) {
                        Ok(_) => None,
                        Err(StoreError::NonceSpent) => Some((request, store.spent(&nonce).unwrap().unwrap())),
                        Err(error) => panic!("{error:?}"),
                    }
                }
            };
            let racing: Vec<_> = [1, 2].map(|request| scope.spawn(spend(request))).into_iter().collect();
            let refused: Vec<_> = racing.into_iter().filter_map(|one| one.join().unwrap()).collect();
            let [(request, spent)] = &refused[..] else { panic!("{refused:?}") };
            assert_eq!(spent.request, [3 - request; 32]);
        });
    }
}

fn one_of_a_group_that_is_refused_takes_nothing_with_it(place: &dyn Place) {
    let (store, nonces) = (place.open(), Nonces::new());
    store.enroll(key("device", 1, 1), decision(DecisionKind::Activation), vec![certificate(255)]).unwrap();
    let (done_to, done) = channel();
    let minted: Vec<_> = (0..60_u8).map(|_| nonces.mint(1_000)).collect();
    for (number, nonce) in (0..60_u8).zip(&minted) {
        // Some ask for a serial number that is taken.
        let serial = if number % 20 == 7 { 255 } else { number };
        let done_to = done_to.clone();
        let done = Box::new(move |result| done_to.send((number, result)).unwrap());
        let spending = nonces.spend(nonce, 1_000, number);
        let certificate = CertificateRecord { certified: certified(number, 1), ..certificate(serial) };
        store.decide_later(spending, decision(DecisionKind::Certificate), vec![certificate], done);
    }
    drop(done_to);
    for (number, result) in done {
        let spent = store.spent(&minted[usize::from(number)]).unwrap();
        match result {
            Ok(id) => {
                assert_ne!(number % 20, 7);
                assert_eq!(spent.unwrap().decision, id);
                assert_eq!(store.decision(id).unwrap().unwrap().serials, [vec![number; 20]]);
            }
            Err(error) => {
                assert!(matches!(error, StoreError::SerialTaken), "{error:?}");
                assert_eq!((number % 20, spent), (7, None));
            }
        }
    }
}

fn evidence_is_erased_and_the_commitment_stays(place: &dyn Place) {
    let store = place.open();
    let id = store.record(decision(DecisionKind::Activation)).unwrap();
    assert_eq!(store.evidence(id).unwrap(), Some(vec![1, 2, 3]));
    store.erase_evidence(id).unwrap();
    assert_eq!(store.evidence(id).unwrap(), None);
    assert_eq!(store.decision(id).unwrap().unwrap().commitment, [7; 32]);
}

fn many_writers_share_commits_and_lose_nothing(place: &dyn Place) {
    let store = place.open();
    let threads: Vec<_> = (0..16_u8)
        .map(|thread| {
            let store = Arc::clone(&store);
            std::thread::spawn(move || {
                let recorded = || Decision { commitment: [thread; 32], ..decision(DecisionKind::Appraisal) };
                (0..20_u8).map(|_| store.record(recorded()).unwrap()).collect::<Vec<_>>()
            })
        })
        .collect();
    let mut seen = HashSet::new();
    for (thread, handle) in threads.into_iter().enumerate() {
        for id in handle.join().unwrap() {
            assert!(seen.insert(id));
            assert_eq!(usize::from(store.decision(id).unwrap().unwrap().commitment[0]), thread);
        }
    }
    assert_eq!(seen.len(), 320);
}

fn one_serial_number_is_one_certificate(place: &dyn Place) {
    let instances = [place.open(), place.open()];
    let won = std::thread::scope(|scope| {
        let threads: Vec<_> = (1..=60_u8)
            .map(|number| {
                let store = &instances[usize::from(number) % 2];
                scope.spawn(move || {
                    let key = key(&format!("device-{number}"), number, number);
                    match store.enroll(key, decision(DecisionKind::Activation), vec![certificate(1)]) {
                        Ok(_) => true,
                        Err(StoreError::SerialTaken) => false,
                        Err(error) => panic!("{error:?}"),
                    }
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).filter(|won| *won).count()
    });
    assert_eq!(won, 1);
    assert_eq!(instances[0].attesting_keys().unwrap().len(), 1);
}

fn what_is_pruned_is_what_is_old(place: &dyn Place) {
    let (store, nonces) = (place.open(), Nonces::new());
    let minted = [0, 999, 1_000, 1_001, i64::from(u32::MAX)].map(|at| {
        let nonce = nonces.mint(at);
        store.decide(nonces.spend(&nonce, at, 1), decision(DecisionKind::Appraisal), Vec::new()).unwrap();
        nonce
    });
    store.prune(0, 1_000).unwrap();
    let are_there = || minted.map(|nonce| store.spent(&nonce).unwrap().is_some());
    assert_eq!(are_there(), [false, false, true, true, true]);
    // A clock outside the range of the field prunes nothing.
    store.prune(0, -1).unwrap();
    store.prune(0, i64::MAX).unwrap();
    assert_eq!(are_there(), [false, false, true, true, true]);
}

fn several_instances_start_at_once_on_an_empty_database(place: &dyn Place) {
    std::thread::scope(|scope| {
        let starting: Vec<_> = (0..8).map(|_| scope.spawn(|| place.open())).collect();
        for instance in starting {
            instance.join().unwrap().record(decision(DecisionKind::Appraisal)).unwrap();
        }
    });
}

fn what_was_handed_over_is_written_before_the_end(place: &dyn Place) {
    let (store, nonces) = (place.open(), Nonces::new());
    let minted: Vec<_> = (0..200).map(|_| nonces.mint(1_000)).collect();
    for nonce in &minted {
        let told = Box::new(|result: Result<i64, StoreError>| assert!(result.is_ok()));
        store.decide_later(nonces.spend(nonce, 1_000, 1), decision(DecisionKind::Appraisal), Vec::new(), told);
    }
    drop(store);
    let store = place.open();
    assert!(minted.iter().all(|nonce| store.spent(nonce).unwrap().is_some()));
}
