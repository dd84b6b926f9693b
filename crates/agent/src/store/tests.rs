use std::os::unix::fs::PermissionsExt;
use std::sync::Barrier;

use super::{DirectoryFault, Insertion, KeyId, KeyRole, Store, StoreError, StoredKey};
use crate::provider::{Family, FamilyCertificates, KeyBlob, KeyPurpose, StateStore};
use crate::wire::ProviderId;

fn key(uid: u32, name: &str, blob: &[u8]) -> StoredKey {
    StoredKey {
        id: KeyId { uid, provider: ProviderId::TPM, name: name.to_owned() },
        role: KeyRole::Pair(KeyPurpose::Sign),
        attributes: vec![1, 2],
        blob: KeyBlob::from_bytes(blob.to_vec()),
    }
}

#[test]
fn of_eight_writers_of_one_name_the_acknowledged_one_is_stored() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    for round in 0..20 {
        let name = format!("key-{round}");
        let barrier = Barrier::new(8);
        let outcomes: Vec<(u8, Insertion)> = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..8_u8)
                .map(|writer| {
                    let (store, name, barrier) = (store.clone(), &name, &barrier);
                    scope.spawn(move || {
                        barrier.wait();
                        (writer, store.insert_key(&key(7, name, &[writer]), 100).unwrap())
                    })
                })
                .collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        let winners: Vec<u8> = outcomes.iter().filter(|o| o.1 == Insertion::Stored).map(|o| o.0).collect();
        let stored = store.key(&key(7, &name, &[]).id).unwrap().unwrap();
        assert_eq!(winners.as_slice(), stored.blob.as_bytes(), "round {round}");
    }
}

#[test]
fn clients_do_not_see_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    assert_eq!(store.insert_key(&key(1, "a", b"one"), 9).unwrap(), Insertion::Stored);
    assert_eq!(store.insert_key(&key(2, "a", b"two"), 9).unwrap(), Insertion::Stored);
    assert_eq!(store.keys(1).unwrap(), vec![key(1, "a", b"one")]);
    assert!(store.remove_key(&key(2, "a", b"").id).unwrap());
    assert!(!store.remove_key(&key(2, "a", b"").id).unwrap());
    assert_eq!(store.key(&key(1, "a", b"").id).unwrap(), Some(key(1, "a", b"one")));
    assert_eq!(store.key(&key(2, "a", b"").id).unwrap(), None);
}

#[test]
fn a_client_has_no_more_keys_than_its_limit() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    assert_eq!(store.insert_key(&key(1, "a", b""), 1).unwrap(), Insertion::Stored);
    let error = store.insert_key(&key(1, "b", b""), 1).unwrap_err();
    assert!(matches!(error, StoreError::KeyLimit { uid: 1, limit: 1 }), "{error}");
    assert_eq!(store.keys(1).unwrap().len(), 1);
    assert_eq!(store.insert_key(&key(1, "a", b""), 1).unwrap(), Insertion::NameTaken);
    assert_eq!(store.insert_key(&key(2, "b", b""), 1).unwrap(), Insertion::Stored);
}

#[test]
fn certificates_belong_to_the_key_and_go_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let id = key(1, "a", b"").id;
    let chain =
        |octet: u8| FamilyCertificates { family: Family::CertifyX509, certificates: vec![vec![octet], vec![0]] };
    assert!(!store.replace_certificates(&id, &chain(1)).unwrap());
    assert_eq!(store.insert_key(&key(1, "a", b""), 9).unwrap(), Insertion::Stored);
    assert!(store.replace_certificates(&id, &chain(1)).unwrap());
    assert!(store.replace_certificates(&id, &chain(2)).unwrap());
    assert_eq!(store.certificates(&id).unwrap(), vec![chain(2)]);
    assert!(store.remove_key(&id).unwrap());
    assert_eq!(store.insert_key(&key(1, "a", b""), 9).unwrap(), Insertion::Stored);
    assert_eq!(store.certificates(&id).unwrap(), vec![]);
}

#[test]
fn everything_is_there_after_reopening_and_private() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("state");
    {
        let store = Store::open(&directory).unwrap();
        assert_eq!(store.insert_key(&key(1, "a", b"one"), 9).unwrap(), Insertion::Stored);
        let state = store.provider_state(ProviderId::TPM);
        assert!(state.store_if_absent("kind", "name", b"first").unwrap());
        assert!(!state.store_if_absent("kind", "name", b"second").unwrap());
        assert_eq!(store.provider_state(ProviderId::PKCS11).load("kind", "name").unwrap(), None);
        let held = Store::open(&directory).unwrap_err();
        assert!(matches!(held, StoreError::Directory(DirectoryFault::Held { .. })), "{held}");
    }
    let store = Store::open(&directory).unwrap();
    assert_eq!(store.keys(1).unwrap(), vec![key(1, "a", b"one")]);
    let state = store.provider_state(ProviderId::TPM);
    assert_eq!(state.load("kind", "name").unwrap(), Some(b"first".to_vec()));
    state.replace("kind", "name", b"third").unwrap();
    assert_eq!(state.load("kind", "name").unwrap(), Some(b"third".to_vec()));
    assert_eq!(state.names("kind").unwrap(), vec!["name".to_owned()]);
    state.remove("kind", "name").unwrap();
    assert_eq!(state.load("kind", "name").unwrap(), None);
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    for entry in std::fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[test]
fn a_directory_that_others_may_write_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o770)).unwrap();
    let error = Store::open(directory.path()).unwrap_err();
    assert!(matches!(error, StoreError::Directory(DirectoryFault::Shared { mode: 0o770, .. })), "{error}");
}

#[test]
fn a_newer_database_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    drop(Store::open(directory.path()).unwrap());
    let connection = rusqlite::Connection::open(directory.path().join("agent.sqlite")).unwrap();
    connection.pragma_update(None, "user_version", 2).unwrap();
    drop(connection);
    let error = Store::open(directory.path()).unwrap_err();
    assert!(matches!(error, StoreError::NewerSchema { found: 2, supported: 1 }), "{error}");
}

#[test]
fn what_cannot_be_written_is_refused_and_then_written() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    assert_eq!(store.insert_key(&key(1, "a", b""), 9).unwrap(), Insertion::Stored);
    // What a disk looks like that the system has made read-only under a running agent.
    let read_only = |on: bool| store.connection().pragma_update(None, "query_only", on).unwrap();
    read_only(true);
    let error = store.insert_key(&key(1, "b", b""), 9).unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly(_)), "{error}");
    assert_eq!((error.code(), error.is_full()), ("agent.store-read-only", false));
    assert!(error.next_step().contains("writable"));
    let id = key(1, "a", b"").id;
    assert!(matches!(store.remove_key(&id), Err(StoreError::ReadOnly(_))));
    assert_eq!(store.keys(1).unwrap().len(), 1);
    assert!(store.provider_state(ProviderId::TPM).replace("kind", "name", b"v").is_err());
    read_only(false);
    assert_eq!(store.insert_key(&key(1, "b", b""), 9).unwrap(), Insertion::Stored);
    assert!(store.remove_key(&id).unwrap());
}

#[test]
fn a_lock_of_another_program_is_waited_for_and_then_reported() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let other = rusqlite::Connection::open(directory.path().join("agent.sqlite")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = store.insert_key(&key(1, "a", b""), 9).unwrap_err();
    assert!(matches!(error, StoreError::Locked(_)), "{error}");
    assert_eq!(error.code(), "agent.store-locked");
    assert_eq!(store.keys(1).unwrap(), vec![]);
    drop(store);
    let store = Store::open(directory.path()).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| store.insert_key(&key(1, "a", b""), 9).unwrap());
        std::thread::sleep(std::time::Duration::from_millis(200));
        other.execute_batch("COMMIT").unwrap();
        assert_eq!(waiting.join().unwrap(), Insertion::Stored);
    });
}
