//! What is of the file of SQLite alone. What every store promises is tried beside its source, on each.

use vouchsafe_authority::store::{
    AkMaterial, AttestingKeyStore, CertificateRecord, Certified, Decision, DecisionKind, EnrolledKey, KeyUse, Outcome,
    Proof, Sqlite, Store, StoreError,
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
    let certified = Certified::of_subject([serial; 32], [1; 32], "device".to_owned(), false);
    let (serial, der) = (vec![serial; 20], vec![serial; 500]);
    CertificateRecord { serial, der, not_after: 2_000, key_use: KeyUse::None, certified }
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
fn a_database_of_another_version_is_refused() {
    let (dir, store) = open();
    drop(store);
    let path = dir.path().join("db");
    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.pragma_update(None, "user_version", 99).unwrap();
    drop(raw);
    assert!(matches!(Sqlite::open(&path).unwrap_err(), StoreError::Schema { found: 99, .. }));
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
