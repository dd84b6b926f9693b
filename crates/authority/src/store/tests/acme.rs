//! Documents of the ACME server.

use super::*;

on_both!(
    a_document_is_what_was_written_last,
    a_change_to_what_another_changed_is_none,
    changes_are_made_together_or_not_at_all,
    an_owner_has_fewer_than_the_limit_however_many_come_at_once,
    a_document_is_removed_once_and_its_place_is_free,
    what_an_owner_has_is_listed_newest_first,
    what_has_expired_is_pruned,
    the_longest_document_is_kept_whole,
);

fn create(kind: AcmeKind, id: &str, owner: &str, expires: i64) -> AcmeChange {
    let (id, owner) = (id.as_bytes().to_vec(), owner.as_bytes().to_vec());
    AcmeChange::Create { kind, id, owner, expires, body: b"first".to_vec() }
}

fn replace(kind: AcmeKind, id: &str, version: i64, body: &[u8]) -> AcmeChange {
    AcmeChange::Replace { kind, id: id.as_bytes().to_vec(), version, body: body.to_vec() }
}

fn is_conflict(result: Result<(), StoreError>) -> bool {
    match result {
        Ok(()) => false,
        Err(StoreError::AcmeConflict) => true,
        Err(error) => panic!("{error:?}"),
    }
}

fn a_document_is_what_was_written_last(place: &dyn Place) {
    let (store, other) = (place.open(), place.open());
    let read = |kind, id: &[u8]| other.acme_document(kind, id).unwrap();
    assert_eq!(read(AcmeKind::Order, b"a"), None);
    store.acme_change(vec![create(AcmeKind::Order, "a", "alice", 2_000)]).unwrap();
    assert_eq!(read(AcmeKind::Order, b"a"), Some(AcmeDocument { version: 0, body: b"first".to_vec() }));
    for version in 0..3 {
        other.acme_change(vec![replace(AcmeKind::Order, "a", version, b"next")]).unwrap();
        assert_eq!(read(AcmeKind::Order, b"a"), Some(AcmeDocument { version: version + 1, body: b"next".to_vec() }));
    }
    // Another kind's of the same name, and names that are no text.
    assert_eq!(read(AcmeKind::Authorization, b"a"), None);
    let id = vec![0, 0xFF, 0];
    let odd = AcmeChange::Create {
        kind: AcmeKind::Nonce,
        id: id.clone(),
        owner: Vec::new(),
        expires: 2_000,
        body: Vec::new(),
    };
    store.acme_change(vec![odd.clone()]).unwrap();
    assert_eq!(read(AcmeKind::Nonce, &id), Some(AcmeDocument { version: 0, body: Vec::new() }));
    assert!(is_conflict(other.acme_change(vec![odd])), "a nonce is spent once");
}

fn a_change_to_what_another_changed_is_none(place: &dyn Place) {
    let instances = [place.open(), place.open()];
    instances[0].acme_change(vec![create(AcmeKind::Order, "a", "alice", 2_000)]).unwrap();
    for version in 0..20 {
        let won: Vec<bool> = std::thread::scope(|scope| {
            let racing: Vec<_> = (0..6_usize)
                .map(|number| {
                    let store = &instances[number % 2];
                    let change = replace(AcmeKind::Order, "a", version, &[u8::try_from(number).unwrap()]);
                    scope.spawn(move || !is_conflict(store.acme_change(vec![change])))
                })
                .collect();
            racing.into_iter().map(|one| one.join().unwrap()).collect()
        });
        let winners: Vec<usize> = won.iter().enumerate().filter(|(_, won)| **won).map(|(number, _)| number).collect();
        let [winner] = winners[..] else { panic!("{won:?}") };
        let read = instances[1].acme_document(AcmeKind::Order, b"a").unwrap().unwrap();
        assert_eq!(read, AcmeDocument { version: version + 1, body: vec![u8::try_from(winner).unwrap()] });
    }
    for old in [0, 19, 21] {
        assert!(is_conflict(instances[0].acme_change(vec![replace(AcmeKind::Order, "a", old, b"late")])), "{old}");
    }
    assert!(is_conflict(instances[0].acme_change(vec![replace(AcmeKind::Order, "none", 0, b"late")])));
}

fn changes_are_made_together_or_not_at_all(place: &dyn Place) {
    let store = place.open();
    store.acme_change(vec![create(AcmeKind::Order, "a", "alice", 2_000)]).unwrap();
    for last in [
        create(AcmeKind::Order, "a", "bob", 2_000),
        replace(AcmeKind::Order, "a", 7, b"late"),
        AcmeChange::Remove { kind: AcmeKind::Order, id: b"none".to_vec() },
        AcmeChange::Below { kind: AcmeKind::Order, owner: b"alice".to_vec(), limit: 1 },
    ] {
        let changes = vec![
            create(AcmeKind::Certificate, "new", "alice", 2_000),
            replace(AcmeKind::Order, "a", 0, b"next"),
            last.clone(),
        ];
        assert!(is_conflict(store.acme_change(changes)), "{last:?}");
        assert_eq!(store.acme_document(AcmeKind::Certificate, b"new").unwrap(), None);
        assert_eq!(store.acme_document(AcmeKind::Order, b"a").unwrap().unwrap().version, 0);
    }
}

fn an_owner_has_fewer_than_the_limit_however_many_come_at_once(place: &dyn Place) {
    let instances = [place.open(), place.open()];
    let below = || AcmeChange::Below { kind: AcmeKind::Account, owner: b"alice".to_vec(), limit: 5 };
    let made = std::thread::scope(|scope| {
        let racing: Vec<_> = (0..12_usize)
            .map(|number| {
                let store = &instances[number % 2];
                let new = create(AcmeKind::Account, &number.to_string(), "alice", i64::MAX);
                scope.spawn(move || !is_conflict(store.acme_change(vec![below(), new])))
            })
            .collect();
        racing.into_iter().map(|one| one.join().unwrap()).filter(|made| *made).count()
    });
    assert_eq!(made, 5);
    assert_eq!(instances[0].acme_owned(AcmeKind::Account, b"alice", 100).unwrap().len(), 5);
    // Another owner's, and another kind of the same owner's, are not counted.
    let others = AcmeChange::Below { kind: AcmeKind::Account, owner: b"bob".to_vec(), limit: 1 };
    instances[0].acme_change(vec![others]).unwrap();
    let orders = AcmeChange::Below { kind: AcmeKind::Order, owner: b"alice".to_vec(), limit: 1 };
    instances[0].acme_change(vec![orders]).unwrap();
}

fn a_document_is_removed_once_and_its_place_is_free(place: &dyn Place) {
    let store = place.open();
    let remove = || AcmeChange::Remove { kind: AcmeKind::AccountKey, id: b"old".to_vec() };
    store.acme_change(vec![create(AcmeKind::AccountKey, "old", "alice", i64::MAX)]).unwrap();
    store.acme_change(vec![create(AcmeKind::AccountKey, "new", "alice", i64::MAX), remove()]).unwrap();
    assert!(is_conflict(store.acme_change(vec![remove()])));
    assert_eq!(store.acme_document(AcmeKind::AccountKey, b"old").unwrap(), None);
    store.acme_change(vec![create(AcmeKind::AccountKey, "old", "bob", i64::MAX)]).unwrap();
    assert_eq!(store.acme_owned(AcmeKind::AccountKey, b"alice", 9).unwrap(), [b"new"]);
}

fn what_an_owner_has_is_listed_newest_first(place: &dyn Place) {
    let store = place.open();
    for (id, expires) in [("b", 2_000), ("a", 3_000), ("c", 1_000)] {
        store.acme_change(vec![create(AcmeKind::Order, id, "alice", expires)]).unwrap();
    }
    store.acme_change(vec![create(AcmeKind::Order, "d", "bob", 9_000)]).unwrap();
    store.acme_change(vec![create(AcmeKind::Authorization, "e", "alice", 9_000)]).unwrap();
    assert_eq!(store.acme_owned(AcmeKind::Order, b"alice", 9).unwrap(), [b"a", b"b", b"c"]);
    assert_eq!(store.acme_owned(AcmeKind::Order, b"alice", 2).unwrap(), [b"a", b"b"]);
    assert!(store.acme_owned(AcmeKind::Order, b"carol", 9).unwrap().is_empty());
}

fn what_has_expired_is_pruned(place: &dyn Place) {
    let store = place.open();
    for (id, expires) in [("past", 999), ("now", 1_000), ("kept", i64::MAX)] {
        store.acme_change(vec![create(AcmeKind::Order, id, "alice", expires)]).unwrap();
    }
    store.prune(1_000, 0).unwrap();
    let is_there = |id: &str| store.acme_document(AcmeKind::Order, id.as_bytes()).unwrap().is_some();
    assert_eq!(["past", "now", "kept"].map(is_there), [false, true, true]);
    assert!(is_conflict(store.acme_change(vec![replace(AcmeKind::Order, "past", 0, b"late")])));
}

fn the_longest_document_is_kept_whole(place: &dyn Place) {
    let store = place.open();
    let body: Vec<u8> = (0..=255).cycle().take(ACME_DOCUMENT_OCTETS_MAX).collect();
    let (kind, id) = (AcmeKind::Authorization, b"long".to_vec());
    let new = AcmeChange::Create { kind, id: id.clone(), owner: Vec::new(), expires: 2_000, body: body.clone() };
    store.acme_change(vec![new]).unwrap();
    assert_eq!(store.acme_document(kind, &id).unwrap().unwrap().body, body);
}
