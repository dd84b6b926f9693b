use std::os::unix::fs::PermissionsExt;
use std::sync::Barrier;

use super::{DirectoryFault, Insertion, KeyId, KeyRole, ListedKey, NewKey, Store, StoreError};
use crate::client_id::{ClientId, DirectName};
use crate::provider::{Family, FamilyCertificates, KeyBlob, KeyPurpose, KeyUid, StateStore};
use crate::provider_identity::ProviderName;

fn tpm() -> ProviderName {
    "tpm".parse().unwrap()
}

fn unix(uid: u32) -> ClientId {
    ClientId::Unix(uid)
}

fn id(uid: u32, name: &str) -> KeyId {
    KeyId { client: unix(uid), provider: tpm(), name: name.to_owned() }
}

/// A key with an id of its own.
fn key(uid: u32, name: &str) -> NewKey {
    NewKey {
        id: id(uid, name),
        uid: KeyUid::random().unwrap(),
        owner: uid,
        role: KeyRole::Pair(KeyPurpose::Sign),
        attributes: vec![1, 2],
    }
}

fn blob(octets: &[u8]) -> KeyBlob {
    KeyBlob::from_bytes(octets.to_vec())
}

/// Makes a key as the service does: reserved, then finished.
fn make(store: &Store, key: &NewKey, octets: &[u8], limit: u32) -> Result<Insertion, StoreError> {
    let insertion = store.reserve_key(key, limit)?;
    if insertion == Insertion::Stored {
        store.finish_key(&key.uid, &blob(octets))?;
    }
    Ok(insertion)
}

#[test]
fn of_eight_writers_of_one_name_the_acknowledged_one_is_stored() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    for round in 0..100 {
        let name = format!("key-{round}");
        let barrier = Barrier::new(8);
        let outcomes: Vec<(u8, Insertion)> = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..8_u8)
                .map(|writer| {
                    let (store, name, barrier) = (store.clone(), &name, &barrier);
                    scope.spawn(move || {
                        barrier.wait();
                        (writer, make(&store, &key(7, name), &[writer], 100).unwrap())
                    })
                })
                .collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        let winners: Vec<u8> = outcomes.iter().filter(|o| o.1 == Insertion::Stored).map(|o| o.0).collect();
        let stored = store.key(&id(7, &name)).unwrap().unwrap();
        assert_eq!(winners.as_slice(), stored.blob.as_bytes(), "round {round}");
    }
}

#[test]
fn clients_and_providers_do_not_see_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let direct = |name: &str| ClientId::Direct(DirectName::new(name).unwrap());
    let hsm: ProviderName = "hsm".parse().unwrap();
    let ids = [
        id(1000, "a"),
        id(1001, "a"),
        KeyId { client: direct("1000"), ..id(0, "a") },
        KeyId { client: direct("unix:1000"), ..id(0, "a") },
        KeyId { provider: hsm, ..id(1000, "a") },
    ];
    let keys: Vec<NewKey> = ids.iter().map(|id| NewKey { id: id.clone(), ..key(1000, "") }).collect();
    for (index, key) in (0..).zip(&keys) {
        assert_eq!(make(&store, key, &[index], 9).unwrap(), Insertion::Stored);
    }
    for (index, key) in (0..).zip(&keys) {
        let stored = store.key(&key.id).unwrap().unwrap();
        assert_eq!((stored.uid, stored.blob.as_bytes()), (key.uid, [index].as_slice()));
    }
    assert_eq!(store.keys(&unix(1000)).unwrap().len(), 2);
    assert_eq!(store.keys(&direct("1000")).unwrap().len(), 1);
    let clients = [unix(1000), unix(1001), direct("1000"), direct("unix:1000")];
    assert_eq!(store.clients().unwrap(), clients);
    assert!(store.remove_key(&keys[1].uid).unwrap());
    assert!(!store.remove_key(&keys[1].uid).unwrap());
    assert_eq!(store.key(&ids[1]).unwrap(), None);
    assert!(store.key(&ids[0]).unwrap().is_some());
}

#[test]
fn a_user_has_no_more_keys_than_its_limit_whatever_its_clients_are_called() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    assert_eq!(make(&store, &key(1, "a"), b"", 1).unwrap(), Insertion::Stored);
    let named = KeyId { client: ClientId::Direct(DirectName::new("x").unwrap()), ..id(1, "b") };
    for id in [id(1, "b"), named] {
        let error = make(&store, &NewKey { id, ..key(1, "b") }, b"", 1).unwrap_err();
        assert!(matches!(error, StoreError::KeyLimit { uid: 1, limit: 1 }), "{error}");
    }
    assert_eq!(store.keys(&unix(1)).unwrap().len(), 1);
    assert_eq!(make(&store, &key(1, "a"), b"", 1).unwrap(), Insertion::NameTaken);
    assert_eq!(make(&store, &key(2, "b"), b"", 1).unwrap(), Insertion::Stored);
}

#[test]
fn a_removed_key_no_longer_counts_and_a_refused_one_never_did() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let kept = key(1, "kept");
    assert_eq!(make(&store, &kept, b"", 2).unwrap(), Insertion::Stored);
    for _ in 0..3 {
        let gone = key(1, "gone");
        assert_eq!(make(&store, &gone, b"", 2).unwrap(), Insertion::Stored);
        assert!(make(&store, &key(1, "refused"), b"", 2).is_err());
        assert!(store.remove_key(&gone.uid).unwrap());
    }
    assert_eq!(make(&store, &key(1, "last"), b"", 2).unwrap(), Insertion::Stored);
    assert!(make(&store, &key(1, "refused"), b"", 2).is_err());
}

#[test]
fn where_a_key_is_guessed_to_be_decides_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let (mine, other) = (key(1, "a"), key(2, "a"));
    for (made, octets) in [(&mine, b"mine"), (&other, b"othr")] {
        assert_eq!(make(&store, made, octets, 9).unwrap(), Insertion::Stored);
    }
    let row = |store: &Store, client: &str| store.rows().guess((client, "tpm", "a"));
    assert_eq!((row(&store, "unix:1"), row(&store, "unix:2")), (1, 2));
    let holds = |store: &Store| {
        assert_eq!(store.key(&id(1, "a")).unwrap(), Some(mine.clone().with_blob(blob(b"mine"))));
        assert_eq!(store.key(&id(2, "a")).unwrap(), Some(other.clone().with_blob(blob(b"othr"))));
        assert_eq!(store.key(&id(3, "a")).unwrap(), None);
    };
    holds(&store);
    // Another client's key, a row that is not there, one beyond what is remembered, a client without keys.
    for (client, row) in [("unix:1", 2), ("unix:2", 7_000), ("unix:2", i64::MAX), ("unix:3", 1)] {
        store.rows().note((client, "tpm", "a"), row);
        holds(&store);
    }
    // A row that was given to another key meanwhile: SQLite gives the highest number again.
    assert!(store.remove_key(&other.uid).unwrap());
    let third = key(3, "third");
    assert_eq!(make(&store, &third, b"", 9).unwrap(), Insertion::Stored);
    store.rows().note(("unix:2", "tpm", "a"), 2);
    assert_eq!(store.key(&id(2, "a")).unwrap(), None);
    drop(store);
    let store = Store::open(directory.path()).unwrap();
    assert_eq!((row(&store, "unix:1"), store.rows().guess(("unix:3", "tpm", "third"))), (1, 2));
}

#[test]
fn neither_a_guessed_row_nor_a_name_is_looked_for_in_all_of_the_table() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let plan = |sql: &str| -> String {
        let connection = store.connection();
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let parameters = rusqlite::params_from_iter(vec![""; statement.parameter_count()]);
        statement
            .query_map(parameters, |row| row.get::<_, String>("detail"))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap()
    };
    assert_eq!(plan(super::OF_NAME_IN_ROW), "SEARCH keys USING INTEGER PRIMARY KEY (rowid=?)");
    let by_index = |terms: &str| format!("SEARCH keys USING INDEX sqlite_autoindex_keys_2 ({terms})");
    assert_eq!(plan(super::OF_NAME), by_index("client=? AND provider=? AND name=?"));
    // Nor is what the index has in order sorted.
    assert_eq!(plan(super::OF_CLIENT), by_index("client=?"));
}

#[test]
fn listed_keys_are_those_that_are_ready() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    for name in ["b", "a"] {
        assert_eq!(make(&store, &key(1, name), b"", 9).unwrap(), Insertion::Stored);
    }
    assert_eq!(make(&store, &key(2, "other"), b"", 9).unwrap(), Insertion::Stored);
    assert_eq!(store.reserve_key(&key(1, "making"), 9).unwrap(), Insertion::Stored);
    let mut listed = Vec::new();
    let show = |key: ListedKey| {
        listed.push((key.name, key.role, key.attributes));
        Ok::<(), StoreError>(())
    };
    store.list_keys(&unix(1), show).unwrap();
    let expected = store.keys(&unix(1)).unwrap().into_iter().map(|key| (key.id.name, key.role, key.attributes));
    assert_eq!(listed, expected.collect::<Vec<_>>());
    assert_eq!(listed.len(), 2);
    let mut shown = 0;
    let ended = store.list_keys(&unix(1), |_| {
        shown += 1;
        Err(StoreError::KeyLimit { uid: 1, limit: 0 })
    });
    assert!(matches!(ended, Err(StoreError::KeyLimit { .. })) && shown == 1);
}

#[test]
fn a_key_is_there_from_when_it_is_finished_until_its_removal_begins() {
    let directory = tempfile::tempdir().unwrap();
    let begun = key(1, "a");
    let reserve = |store: &Store, key: &NewKey| store.reserve_key(key, 9).unwrap();
    {
        let store = Store::open(directory.path()).unwrap();
        assert_eq!(reserve(&store, &begun), Insertion::Stored);
        assert!(!store.begin_removal(&begun.uid).unwrap());
    }
    let store = Store::open(directory.path()).unwrap();
    let is_nowhere = || {
        assert_eq!(store.key(&id(1, "a")).unwrap(), None);
        assert_eq!(store.keys(&unix(1)).unwrap(), vec![]);
        assert_eq!(store.clients().unwrap(), vec![]);
        assert_eq!(store.unsettled(&tpm()).unwrap(), vec![begun.uid]);
        assert_eq!(reserve(&store, &key(1, "a")), Insertion::Unsettled(begun.uid));
    };
    is_nowhere();
    store.finish_key(&begun.uid, &blob(b"one")).unwrap();
    assert_eq!(store.key(&id(1, "a")).unwrap(), Some(begun.clone().with_blob(blob(b"one"))));
    assert_eq!(store.unsettled(&tpm()).unwrap(), vec![]);
    // What is finished is not finished again, nor anything that nobody has reserved.
    assert!(store.finish_key(&begun.uid, &blob(b"two")).is_err());
    assert!(store.finish_key(&KeyUid::random().unwrap(), &blob(b"two")).is_err());
    assert!(store.begin_removal(&begun.uid).unwrap());
    is_nowhere();
    assert!(store.undo_removal(&begun.uid).unwrap());
    assert!(store.key(&id(1, "a")).unwrap().is_some());
    assert!(store.begin_removal(&begun.uid).unwrap());
    assert!(store.remove_key(&begun.uid).unwrap());
    assert_eq!(reserve(&store, &key(1, "a")), Insertion::Stored);
}

#[test]
fn certificates_belong_to_the_key_and_go_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let first = key(1, "a");
    let chain =
        |octet: u8| FamilyCertificates { family: Family::CertifyX509, certificates: vec![vec![octet], vec![0]] };
    assert!(!store.replace_certificates(&first.uid, &[chain(1)]).unwrap());
    assert_eq!(make(&store, &first, b"", 9).unwrap(), Insertion::Stored);
    assert!(store.replace_certificates(&first.uid, &[chain(1)]).unwrap());
    assert!(store.replace_certificates(&first.uid, &[chain(2)]).unwrap());
    assert_eq!(store.certificates(&first.uid).unwrap(), vec![chain(2)]);
    assert!(store.remove_key(&first.uid).unwrap());
    let second = key(1, "a");
    assert_eq!(make(&store, &second, b"", 9).unwrap(), Insertion::Stored);
    assert_eq!(store.certificates(&first.uid).unwrap(), vec![]);
    assert_eq!(store.certificates(&second.uid).unwrap(), vec![]);
}

#[test]
fn everything_is_there_after_reopening_and_private() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("state");
    let (tpm, made) = (tpm(), key(1, "a"));
    {
        let store = Store::open(&directory).unwrap();
        assert_eq!(make(&store, &made, b"one", 9).unwrap(), Insertion::Stored);
        let state = store.provider_state(&tpm);
        assert!(state.store_if_absent("kind", "name", b"first").unwrap());
        assert!(!state.store_if_absent("kind", "name", b"second").unwrap());
        assert_eq!(store.provider_state(&"hsm".parse().unwrap()).load("kind", "name").unwrap(), None);
        let held = Store::open(&directory).unwrap_err();
        assert!(matches!(held, StoreError::Directory(DirectoryFault::Held { .. })), "{held}");
    }
    let store = Store::open(&directory).unwrap();
    assert_eq!(store.keys(&unix(1)).unwrap(), vec![made.with_blob(blob(b"one"))]);
    let state = store.provider_state(&tpm);
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
    connection.pragma_update(None, "user_version", 3).unwrap();
    drop(connection);
    let error = Store::open(directory.path()).unwrap_err();
    assert!(matches!(error, StoreError::NewerSchema { found: 3, supported: 2 }), "{error}");
}

#[test]
fn what_cannot_be_written_is_refused_and_then_written() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let made = key(1, "a");
    assert_eq!(make(&store, &made, b"", 9).unwrap(), Insertion::Stored);
    // What a disk looks like that the system has made read-only under a running agent.
    let read_only = |on: bool| store.connection().pragma_update(None, "query_only", on).unwrap();
    read_only(true);
    let error = make(&store, &key(1, "b"), b"", 9).unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly(_)), "{error}");
    assert_eq!((error.code(), error.is_full()), ("agent.store-read-only", false));
    assert!(error.next_step().contains("writable"));
    assert!(matches!(store.remove_key(&made.uid), Err(StoreError::ReadOnly(_))));
    assert_eq!(store.keys(&unix(1)).unwrap().len(), 1);
    assert!(store.provider_state(&tpm()).replace("kind", "name", b"v").is_err());
    read_only(false);
    assert_eq!(make(&store, &key(1, "b"), b"", 9).unwrap(), Insertion::Stored);
    assert!(store.remove_key(&made.uid).unwrap());
}

#[test]
fn a_lock_of_another_program_is_waited_for_and_then_reported() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let other = rusqlite::Connection::open(directory.path().join("agent.sqlite")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = make(&store, &key(1, "a"), b"", 9).unwrap_err();
    assert!(matches!(error, StoreError::Locked(_)), "{error}");
    assert_eq!(error.code(), "agent.store-locked");
    assert_eq!(store.keys(&unix(1)).unwrap(), vec![]);
    drop(store);
    let store = Store::open(directory.path()).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| make(&store, &key(1, "a"), b"", 9).unwrap());
        std::thread::sleep(std::time::Duration::from_millis(200));
        other.execute_batch("COMMIT").unwrap();
        assert_eq!(waiting.join().unwrap(), Insertion::Stored);
    });
}

/// A database as the version before has written it.
const SCHEMA_1: &str = "
    CREATE TABLE keys (
        id INTEGER PRIMARY KEY, uid INTEGER NOT NULL, provider INTEGER NOT NULL, name TEXT NOT NULL,
        purpose TEXT NOT NULL, attributes BLOB NOT NULL, blob BLOB NOT NULL, created INTEGER NOT NULL,
        UNIQUE (uid, provider, name)
    ) STRICT;
    CREATE TABLE certificates (
        key INTEGER NOT NULL REFERENCES keys (id) ON DELETE CASCADE, family TEXT NOT NULL, position INTEGER NOT NULL,
        der BLOB NOT NULL, PRIMARY KEY (key, family, position)
    ) STRICT;
    CREATE TABLE state (
        provider INTEGER NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, value BLOB NOT NULL,
        PRIMARY KEY (provider, kind, name)
    ) STRICT;
    INSERT INTO keys VALUES (5, 1000, 3, 'tls', 'sign', X'0102', X'AA', 17), (9, 0, 3, 'tls', 'attest', X'', X'BB', 18);
    INSERT INTO certificates VALUES (9, 'attest', 0, X'C0'), (9, 'attest', 1, X'C1');
    INSERT INTO state VALUES (3, 'root', 'secret', X'05');
    PRAGMA user_version = 1;
";

#[test]
fn a_database_of_schema_1_keeps_all_it_has() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let file = directory.path().join("agent.sqlite");
    let connection = rusqlite::Connection::open(&file).unwrap();
    connection.execute_batch(SCHEMA_1).unwrap();
    drop(connection);
    // The second time there is nothing to do.
    let uids: Vec<KeyUid> = (0..2)
        .map(|_| {
            let store = Store::open(directory.path()).unwrap();
            assert_eq!(store.clients().unwrap(), [unix(0), unix(1000)]);
            let key = store.key(&id(1000, "tls")).unwrap().unwrap();
            assert_eq!((key.attributes.as_slice(), key.blob.as_bytes()), (&[1_u8, 2][..], &[0xAA_u8][..]));
            assert_eq!(key.role, KeyRole::Pair(KeyPurpose::Sign));
            let attesting = store.key(&id(0, "tls")).unwrap().unwrap();
            assert_eq!(attesting.role, KeyRole::Pair(KeyPurpose::Attest));
            assert_ne!(attesting.uid, key.uid);
            let chain = FamilyCertificates { family: Family::Attest, certificates: vec![vec![0xC0], vec![0xC1]] };
            assert_eq!(store.certificates(&attesting.uid).unwrap(), vec![chain]);
            assert_eq!(store.provider_state(&tpm()).load("root", "secret").unwrap(), Some(vec![5]));
            assert_eq!(store.unsettled(&tpm()).unwrap(), vec![]);
            // They count on the quota of the same user as before.
            let error = make(&store, &key_of_1000(), b"", 1).unwrap_err();
            assert!(matches!(error, StoreError::KeyLimit { uid: 1000, limit: 1 }), "{error}");
            key.uid
        })
        .collect();
    assert_eq!(uids[0], uids[1]);
    let connection = rusqlite::Connection::open(&file).unwrap();
    let left: u32 = connection
        .query_row(
            "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name LIKE '%\\_1' ESCAPE '\\'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(left, 0);
    let store = Store::open(directory.path()).unwrap();
    let attesting = store.key(&id(0, "tls")).unwrap().unwrap();
    assert!(store.remove_key(&attesting.uid).unwrap());
    let orphans: u32 = connection.query_row("SELECT count(*) FROM certificates", [], |row| row.get(0)).unwrap();
    assert_eq!(orphans, 0);
}

fn key_of_1000() -> NewKey {
    key(1000, "another")
}
