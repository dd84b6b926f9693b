//! Databases that an older version made.

use vouchsafe_evidence::oid;
use vouchsafe_evidence::x509::build::{self, CertificateTemplate};
use vouchsafe_evidence::x509::{NamedCurve, SpkiView};

use super::postgres::{Server, name_of};
use super::*;
use crate::certified_key::{key_identity, subject_digest};
use crate::text::to_hex;

const SQLITE_2: &str = include_str!("schemas/sqlite-2.sql");
const SQLITE_3: &str = include_str!("schemas/sqlite-3.sql");
const POSTGRESQL_1: &str = include_str!("schemas/postgresql-1.sql");

fn spki(number: u8) -> SpkiView {
    SpkiView::from_ec(NamedCurve::P256, &[number; 32], &[number; 32]).unwrap()
}

/// A certificate, as far as it is read here.
fn made(serial: u8, subject: &str, key: u8) -> Vec<u8> {
    let algorithm = build::algorithm_identifier(oid::ECDSA_WITH_SHA256);
    let name = |text| build::distinguished_name(&[(oid::COMMON_NAME, text)]).unwrap();
    let template = CertificateTemplate {
        serial: vec![serial; 20],
        algorithm: algorithm.clone(),
        issuer: name("issuer"),
        not_before: 0,
        not_after: 2_000,
        subject: name(subject),
        spki: spki(key),
        extensions: Vec::new(),
    };
    build::assemble(&template.tbs_der(), &algorithm, &[0x30, 0])
}

/// What an older version has recorded: device-1's attesting key 1, and certificates of the keys 2 to 4. Key 2 was certified for
/// two subjects, key 3 revoked as compromised, key 4 is also the attesting key of device-4, a host's. `octets` and `boolean`
/// write values as the database has them.
fn records(octets: impl Fn(&[u8]) -> String, boolean: impl Fn(bool) -> &'static str, is_sqlite: bool) -> String {
    let mut sql = String::new();
    let digest = |key: u8| octets(&spki(key).sha256());
    for (device, key, name) in [(1, 1, octets(&[3, 3])), (4, 4, "NULL".to_owned())] {
        let public = if name == "NULL" { octets(spki(key).as_der()) } else { octets(&[4]) };
        let id = if is_sqlite { format!("{device}, ") } else { String::new() };
        let id_column = if is_sqlite { "id, " } else { "" };
        sql.push_str(&format!(
            "INSERT INTO devices ({id_column}account, name, identity, ek_certificate, enrolled_at)
             VALUES ({id}'alice', 'device-{device}', {}, {}, 5);
             INSERT INTO attesting_keys (device, account, name, public, spki_digest, is_virtual, method, environment, proof,
                 approvers, enrolled_at)
             SELECT id, 'alice', {name}, {public}, {}, {}, 'manufacturer', 'module', {}, '[]', 5
             FROM devices WHERE name = 'device-{device}';\n",
            octets(&[device; 32]),
            octets(&[1]),
            digest(key),
            boolean(false),
            octets(&[9; 32]),
        ));
    }
    let rows: [(u8, &str, &str, u8, bool); 7] = [
        (1, "alice", "ak", 1, true),
        (2, "alice", "one", 2, false),
        (3, "alice", "two", 2, false),
        (4, "bob", "three", 3, false),
        (5, "alice", "four", 4, true),
        (6, "alice", "five", 4, false),
        (7, "alice", "", 0, false),
    ];
    for (number, account, subject, key, is_of_key) in rows {
        let der = if key == 0 { vec![6] } else { made(number, subject, key) };
        let (of, place) = if is_of_key { (digest(key), "0") } else { ("NULL".to_owned(), "0") };
        let (columns, first) = if is_sqlite { ("", String::new()) } else { ("place, ", format!("{place}, ")) };
        sql.push_str(&format!(
            "INSERT INTO decisions (id, at, kind, account, outcome, commitment)
             VALUES ({number}, 5, 'certificate', '{account}', 'accepted', {});
             INSERT INTO certificates (decision, {columns}serial, not_after, der, attesting_key, is_of_key)
             VALUES ({number}, {first}{}, 2000, {}, {of}, {});\n",
            octets(&[0; 32]),
            octets(&[number; 20]),
            octets(&der),
            boolean(is_of_key),
        ));
    }
    let revoked = if is_sqlite {
        "INSERT INTO revocations SELECT id, 1234, 'key-compromise' FROM certificates WHERE decision = 4;"
    } else {
        "INSERT INTO revocations SELECT serial, 1234, 'key-compromise' FROM certificates WHERE decision = 4;"
    };
    sql + revoked
}

fn sqlite_records() -> String {
    records(|octets| format!("X'{}'", to_hex(octets)), |is| if is { "1" } else { "0" }, true)
}

fn postgresql_records() -> String {
    records(|octets| format!("'\\x{}'::bytea", to_hex(octets)), |is| if is { "true" } else { "false" }, false)
}

fn check(place: &dyn Place) {
    let store = place.open();
    let holder = |key: u8| store.key_holder(&key_identity(&spki(key))).unwrap().unwrap();
    let subject =
        |text| subject_digest(&build::distinguished_name(&[(oid::COMMON_NAME, text)]).unwrap(), None).unwrap();
    let expected = |is_attesting, subject, account: &str, serial: u8| KeyHolder {
        is_attesting,
        subject,
        account: account.to_owned(),
        profile: String::new(),
        serial: vec![serial; 20],
        has_others: false,
        compromised_at: None,
    };
    assert_eq!(holder(1), expected(true, spki(1).sha256(), "alice", 1));
    assert_eq!(holder(2), KeyHolder { has_others: true, ..expected(false, subject("one"), "alice", 2) });
    let compromised = KeyHolder { compromised_at: Some(1_234), ..expected(false, subject("three"), "bob", 4) };
    assert_eq!(holder(3), compromised);
    assert!(holder(4).is_attesting);
    // What was there is there, and the rule holds for it.
    assert_eq!(store.certificates(2).unwrap(), [made(2, "one", 2)]);
    assert_eq!(store.certificates(7).unwrap(), [[6]]);
    assert_eq!(store.attesting_keys().unwrap().len(), 2);
    assert_eq!(store.acme_document(AcmeKind::Account, b"none").unwrap(), None);
    let nonces = Nonces::new();
    let ask = |number: u8, key: u8, subject| {
        let nonce = nonces.mint(1_000);
        let certified = Certified::of_subject(key_identity(&spki(key)), subject, "device".to_owned(), false);
        let record = CertificateRecord { certified, ..certificate(100 + number) };
        store.decide(nonces.spend(&nonce, 1_000, 1), decision(DecisionKind::Certificate), vec![record])
    };
    assert!(matches!(ask(1, 1, subject("one")), Err(StoreError::KeyAttests)));
    assert!(matches!(ask(2, 2, subject("one")), Err(StoreError::KeyHasOtherSubject)));
    assert!(matches!(ask(3, 3, subject("three")), Err(StoreError::KeyCompromised)));
    ask(5, 5, subject("five")).unwrap();
    let by_key = revocation(1_500, RevocationReason::Superseded);
    assert_eq!(store.revoke_certified(&key_identity(&spki(2)), by_key, decision(DecisionKind::Revocation)).unwrap(), 2);
    // A second start finds nothing to do.
    drop(store);
    assert_eq!(place.open().attesting_keys().unwrap().len(), 2);
}

#[test]
fn a_file_of_an_older_version_is_brought_up_to_date() {
    for tables in [SQLITE_2, SQLITE_3] {
        let place = File::new();
        let connection = rusqlite::Connection::open(place.0.path().join("db")).unwrap();
        connection.execute_batch(tables).unwrap();
        connection.execute_batch(&sqlite_records()).unwrap();
        drop(connection);
        check(&place);
    }
}

#[test]
fn a_database_on_a_server_of_an_older_version_is_brought_up_to_date() {
    let server = Server::shared();
    for has_acme in [true, false] {
        let url = server.database();
        server.sql(name_of(&url), POSTGRESQL_1);
        if !has_acme {
            server.sql(name_of(&url), "DROP TABLE acme_documents");
        }
        server.sql(name_of(&url), &postgresql_records());
        // New ones get numbers beyond these.
        server.sql(name_of(&url), "SELECT setval('decision_numbers', 100)");
        let place = Database::at(&url);
        // Several instances start at once; one of them does it.
        std::thread::scope(|scope| {
            let starting: Vec<_> = (0..4).map(|_| scope.spawn(|| place.open())).collect();
            for instance in starting {
                assert_eq!(instance.join().unwrap().attesting_keys().unwrap().len(), 2);
            }
        });
        check(&place);
    }
}

#[test]
fn a_migration_that_fails_leaves_the_older_version_as_it_was() {
    let place = File::new();
    let path = place.0.path().join("db");
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.execute_batch(SQLITE_3).unwrap();
    connection.execute_batch(&sqlite_records()).unwrap();
    // Something that cannot be: a digest that is none.
    connection.execute_batch("UPDATE attesting_keys SET spki_digest = X'00' WHERE id = 1").unwrap();
    assert!(place.try_open().is_err());
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    let columns: i64 = connection
        .query_row("SELECT count(*) FROM pragma_table_info('certificates') WHERE name = 'key'", [], |row| row.get(0))
        .unwrap();
    assert_eq!((version, columns), (3, 0));
}
