//! The store: durability, uniqueness, erasure. Written against the trait's promises.

use std::sync::Arc;

use vouchsafe_authority::store::{
    AkMaterial, AttestingKeyStore, CertificateRecord, Decision, DecisionKind, EnrolledKey, KeyUse, Outcome, Proof,
    Sqlite, Store, StoreError,
};
use vouchsafe_verifier::enrolment::{Environment, Method};

fn decision(kind: DecisionKind) -> Decision {
    Decision {
        at: 1_000,
        kind,
        account: "alice".to_owned(),
        outcome: Outcome::Accepted,
        commitment: [7; 32],
        sealed: vec![1, 2, 3],
    }
}

fn certificate(serial: u8) -> CertificateRecord {
    CertificateRecord { serial: vec![serial; 20], der: vec![serial; 500], not_after: 2_000, key_use: KeyUse::None }
}

fn proof() -> Proof {
    Proof {
        method: Method::Manufacturer,
        environment: Environment::Module,
        digest: [9; 32],
        approvers: vec!["somebody".to_owned()],
    }
}

fn key(device: &str, ek: u8, ak: u8) -> EnrolledKey {
    EnrolledKey {
        account: "alice".to_owned(),
        device: device.to_owned(),
        identity: [ek; 32],
        ek_certificate: vec![ek],
        is_virtual: false,
        material: AkMaterial::Tpm { public: vec![ak], name: vec![ak; 34] },
        spki_digest: [ak; 32],
        proof: proof(),
        is_exclusive: false,
        baseline: None,
    }
}

fn open() -> (tempfile::TempDir, Sqlite) {
    let dir = tempfile::tempdir().unwrap();
    let store = Sqlite::open(&dir.path().join("db")).unwrap();
    (dir, store)
}

#[test]
fn what_was_reported_is_there_after_a_restart() {
    let (dir, store) = open();
    let id = store.enroll(key("device", 1, 1), decision(DecisionKind::Activation), vec![certificate(1)]).unwrap();
    // No orderly end: a second connection sees what the first one committed.
    let second = Sqlite::open(&dir.path().join("db")).unwrap();
    std::mem::forget(store);
    let recorded = second.decision(id).unwrap().unwrap();
    assert_eq!((recorded.kind.as_str(), recorded.account.as_str(), recorded.accepted), ("activation", "alice", true));
    assert_eq!((recorded.commitment, recorded.serials), ([7; 32], vec![vec![1; 20]]));
    assert_eq!(recorded.enrolment, Some(proof()));
    assert_eq!(second.certificates(id).unwrap(), [vec![1; 500]]);
    assert_eq!(second.device("alice", "device").unwrap().unwrap().identity, [1; 32]);
    assert_eq!(second.device_of_key(&[1; 32]).unwrap().unwrap().name, "device");
    assert_eq!(second.device_of_key(&[2; 32]).unwrap(), None);
}

#[test]
fn a_refused_write_leaves_nothing_behind() {
    let (_dir, store) = open();
    let first = store.enroll(key("device", 1, 1), decision(DecisionKind::Activation), vec![certificate(1)]).unwrap();
    let refused = |key, certificates| store.enroll(key, decision(DecisionKind::Activation), certificates).unwrap_err();
    assert!(matches!(refused(key("device", 2, 2), vec![certificate(2)]), StoreError::DeviceBoundElsewhere));
    assert!(matches!(refused(key("other", 1, 2), vec![certificate(2)]), StoreError::EkBoundElsewhere));
    assert!(matches!(refused(key("other", 2, 1), vec![certificate(2)]), StoreError::AkBoundElsewhere));
    assert!(matches!(refused(key("other", 2, 2), vec![certificate(1)]), StoreError::SerialTaken));
    assert_eq!(store.device("alice", "other").unwrap(), None);
    assert_eq!(store.device_of_key(&[2; 32]).unwrap(), None);
    // Numbers of decisions that were rolled back are not in use; the next one is the second.
    let second = store.enroll(key("other", 2, 2), decision(DecisionKind::Activation), vec![certificate(2)]).unwrap();
    assert!(store.decision(second).unwrap().is_some() && second > first);
    assert_eq!((first + 1..second).filter(|id| store.decision(*id).unwrap().is_some()).count(), 0);
}

#[test]
fn a_baseline_stands_until_it_is_forgotten() {
    let (_dir, store) = open();
    let with = |baseline: Option<Vec<u8>>| EnrolledKey { baseline, ..key("device", 1, 1) };
    let enroll = |key| store.enroll(key, decision(DecisionKind::Activation), Vec::new());
    enroll(with(None)).unwrap();
    enroll(with(Some(vec![1]))).unwrap();
    enroll(with(Some(vec![1]))).unwrap();
    enroll(with(None)).unwrap();
    assert_eq!(store.device("alice", "device").unwrap().unwrap().baseline, Some(vec![1]));
    assert!(matches!(enroll(with(Some(vec![2]))).unwrap_err(), StoreError::BaselineRecorded));
    store.forget_baseline("alice", "device").unwrap();
    enroll(with(Some(vec![2]))).unwrap();
    assert_eq!(store.device("alice", "device").unwrap().unwrap().baseline, Some(vec![2]));
}

#[test]
fn evidence_is_erased_for_good_and_the_commitment_stays() {
    let (dir, store) = open();
    let marker = b"a very particular run of octets".to_vec();
    let id = store.record(Decision { sealed: marker.clone(), ..decision(DecisionKind::Activation) }).unwrap();
    assert_eq!(store.evidence(id).unwrap(), Some(marker.clone()));
    store.erase_evidence(id).unwrap();
    assert_eq!(store.evidence(id).unwrap(), None);
    assert_eq!(store.decision(id).unwrap().unwrap().commitment, [7; 32]);
    drop(store);
    let file = std::fs::read(dir.path().join("db")).unwrap();
    assert!(!file.windows(marker.len()).any(|window| window == marker));
}

#[test]
fn many_writers_share_commits_and_lose_nothing() {
    let (_dir, store) = open();
    let store = Arc::new(store);
    let threads: Vec<_> = (0..16_u8)
        .map(|thread| {
            let store = Arc::clone(&store);
            std::thread::spawn(move || {
                (0..20_u8)
                    .map(|_| {
                        store
                            .record(Decision { commitment: [thread; 32], ..decision(DecisionKind::Appraisal) })
                            .unwrap()
                    })
                    .collect::<Vec<_>>()
            })
        })
        .collect();
    let mut seen = std::collections::HashSet::new();
    for (thread, handle) in threads.into_iter().enumerate() {
        for id in handle.join().unwrap() {
            assert!(seen.insert(id));
            assert_eq!(usize::from(store.decision(id).unwrap().unwrap().commitment[0]), thread);
        }
    }
    assert_eq!(seen.len(), 320);
}

#[test]
fn one_serial_number_is_one_certificate() {
    let (_dir, store) = open();
    let store = Arc::new(store);
    let threads: Vec<_> = (1..=100_u8)
        .map(|number| {
            let store = Arc::clone(&store);
            std::thread::spawn(move || {
                let key = key(&format!("device-{number}"), number, number);
                store.enroll(key, decision(DecisionKind::Activation), vec![certificate(1)]).is_ok()
            })
        })
        .collect();
    assert_eq!(threads.into_iter().map(|handle| handle.join().unwrap()).filter(|won| *won).count(), 1);
}

#[test]
fn a_database_of_another_version_is_refused() {
    let (dir, store) = open();
    drop(store);
    let path = dir.path().join("db");
    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.pragma_update(None, "user_version", 99).unwrap();
    drop(raw);
    assert!(matches!(Sqlite::open(&path).unwrap_err(), StoreError::Schema { found: 99, .. }));
}

#[test]
fn what_is_pruned_is_what_is_old() {
    let (dir, store) = open();
    drop(store);
    let path = dir.path().join("db");
    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
    let nonce = |minted: u32| [&minted.to_be_bytes()[..], &[0xFF; 28]].concat();
    for minted in [0, 999, 1_000, 1_001, u32::MAX] {
        raw.execute("INSERT INTO spent_nonces VALUES (?1, 0, zeroblob(32), 1)", [nonce(minted)]).unwrap();
    }
    let store = Sqlite::open(&path).unwrap();
    store.prune(0, 1_000).unwrap();
    let is_there = |minted: u32| store.spent(&nonce(minted).try_into().unwrap()).unwrap().is_some();
    assert_eq!([0, 999, 1_000, 1_001, u32::MAX].map(is_there), [false, false, true, true, true]);
    // A clock outside the range of the field prunes nothing.
    store.prune(0, -1).unwrap();
    store.prune(0, i64::MAX).unwrap();
    assert!(is_there(1_000));
}

/// The tables of version 1.
const VERSION_1: &str = "
CREATE TABLE decisions (id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, kind TEXT NOT NULL, account TEXT NOT NULL,
    outcome TEXT NOT NULL, commitment BLOB NOT NULL) STRICT;
CREATE TABLE evidence (decision INTEGER PRIMARY KEY REFERENCES decisions (id), sealed BLOB NOT NULL) STRICT;
CREATE TABLE spent_nonces (nonce BLOB PRIMARY KEY, spent_at INTEGER NOT NULL, request BLOB NOT NULL,
    decision INTEGER NOT NULL REFERENCES decisions (id)) STRICT, WITHOUT ROWID;
CREATE TABLE challenges (id BLOB PRIMARY KEY, account TEXT NOT NULL, device TEXT NOT NULL, expires INTEGER NOT NULL,
    credential_digest BLOB NOT NULL, ek_digest BLOB NOT NULL, ek_certificate BLOB NOT NULL, is_virtual INTEGER NOT NULL,
    ak_public BLOB NOT NULL, baseline BLOB) STRICT;
CREATE TABLE devices (id INTEGER PRIMARY KEY, account TEXT NOT NULL, name TEXT NOT NULL UNIQUE,
    ek_digest BLOB NOT NULL UNIQUE, ek_certificate BLOB NOT NULL, baseline BLOB, enrolled_at INTEGER NOT NULL) STRICT;
CREATE TABLE attestation_keys (id INTEGER PRIMARY KEY, device INTEGER NOT NULL REFERENCES devices (id),
    name BLOB NOT NULL UNIQUE, spki_digest BLOB NOT NULL UNIQUE, public BLOB NOT NULL, activated_at INTEGER NOT NULL) STRICT;
CREATE TABLE certificates (id INTEGER PRIMARY KEY, serial BLOB NOT NULL UNIQUE,
    decision INTEGER NOT NULL REFERENCES decisions (id), not_after INTEGER NOT NULL, der BLOB NOT NULL) STRICT;
CREATE INDEX certificates_of_decision ON certificates (decision);
INSERT INTO decisions VALUES (1, 5, 'activation', 'alice', 'accepted', zeroblob(32));
INSERT INTO devices VALUES (1, 'alice', 'device', X'1111111111111111111111111111111111111111111111111111111111111111',
    X'01', X'02', 5);
INSERT INTO attestation_keys VALUES (1, 1, X'0303', X'2222222222222222222222222222222222222222222222222222222222222222',
    X'04', 5);
INSERT INTO certificates VALUES (1, X'05', 1, 2000, X'06');
PRAGMA user_version = 1;
";

#[test]
fn a_database_of_version_1_is_brought_up_to_date() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    rusqlite::Connection::open(&path).unwrap().execute_batch(VERSION_1).unwrap();
    let store = Sqlite::open(&path).unwrap();
    let device = store.device_of_key(&[0x22; 32]).unwrap().unwrap();
    assert_eq!((device.name.as_str(), device.identity, device.baseline), ("device", [0x11; 32], Some(vec![2])));
    let known = device.key.unwrap();
    assert_eq!((known.proof.method, known.proof.environment), (Method::Manufacturer, Environment::Module));
    let row = store.attesting_key(&[0x22; 32]).unwrap().unwrap();
    assert_eq!(row.material, AkMaterial::Tpm { public: vec![4], name: vec![3, 3] });
    // What was not recorded is taken for the lesser: possibly virtual, and no certificate that could be renewed.
    assert_eq!((row.is_virtual, row.not_after), (true, 0));
    assert_eq!(store.certificates(1).unwrap(), [vec![6]]);
    // The same device enrolls as before, and a second start changes nothing.
    let again = EnrolledKey { identity: [0x11; 32], ..key("device", 0x11, 7) };
    store.enroll(again, decision(DecisionKind::Activation), vec![certificate(1)]).unwrap();
    drop(store);
    assert_eq!(Sqlite::open(&path).unwrap().attesting_keys().unwrap().len(), 2);
}
