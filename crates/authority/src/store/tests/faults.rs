//! Servers that are gone, full, strict or strange.

use std::error::Error as _;
use std::time::{Duration, Instant};

use super::postgres::{OWNER, Server, name_of};
use super::*;

fn refused(place: &Database) -> ServerError {
    match place.try_open().unwrap_err() {
        StoreError::Server(error) => error,
        error => panic!("{error:?}"),
    }
}

fn record(store: &dyn Store) -> Result<i64, StoreError> {
    store.record(decision(DecisionKind::Appraisal))
}

fn decide(store: &dyn Store) -> Result<i64, StoreError> {
    let nonces = Nonces::new();
    let nonce = nonces.mint(1_000);
    store.decide(nonces.spend(&nonce, 1_000, 1), decision(DecisionKind::Appraisal), Vec::new())
}

fn server_error(result: Result<i64, StoreError>) -> ServerError {
    match result.unwrap_err() {
        StoreError::Server(error) => error,
        error => panic!("{error:?}"),
    }
}

#[test]
fn a_server_that_stops_and_comes_back_is_served_from_at_once() {
    let mut server = Server::with(&[]);
    let url = server.database();
    let store = Database::at(&url).open();
    let before = decide(&*store).unwrap();
    server.stop();
    for ask in [record, decide] {
        let gone = server_error(ask(&*store));
        assert!(matches!(gone, ServerError::Unreachable(_)) && gone.passes(), "{gone:?}");
    }
    assert!(matches!(store.decision(before), Err(StoreError::Server(ServerError::Unreachable(_)))));
    assert!(gone_is_told_at_the_start(&url));
    server.start();
    assert!(decide(&*store).is_ok() && record(&*store).is_ok());
    assert!(store.decision(before).unwrap().is_some());
    // The operator ends its connections.
    let end =
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'vouchsafe-authority'";
    assert_ne!(server.sql("postgres", end), "0");
    let began = Instant::now();
    while decide(&*store).is_err() {
        assert!(began.elapsed() < Duration::from_secs(1));
    }
}

fn gone_is_told_at_the_start(url: &str) -> bool {
    let gone = refused(&Database::at(url));
    gone.to_string().contains("start it") && gone.source().is_some()
}

#[test]
fn a_login_that_is_refused_says_what_to_correct() {
    let server = Server::shared();
    let name = name_of(&server.database()).to_owned();
    server.sql(
        "postgres",
        &format!("CREATE ROLE {name}_user LOGIN PASSWORD 'right'; ALTER DATABASE {name} OWNER TO {name}_user"),
    );
    let url = server.tcp_url(&format!("{name}_user"), "127.0.0.1", &name);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    let place = || Database::from_setting(&format!("[database]\nurl = '{url}'\npassword_file = '{}'", file.display()));
    let unreadable = refused(&place()).to_string();
    assert!(unreadable.contains("password_file") && unreadable.contains(file.to_str().unwrap()), "{unreadable}");
    for wrong in ["wrong\n", ""] {
        std::fs::write(&file, wrong).unwrap();
        let refused = refused(&place());
        assert!(matches!(refused, ServerError::Login(_)), "{refused:?}");
        assert!(refused.to_string().contains("password_file"), "{refused}");
    }
    let none = refused(&Database::at(&url));
    assert!(matches!(none, ServerError::Login(_)), "{none:?}");
    std::fs::write(&file, "right\n").unwrap();
    record(&*place().open()).unwrap();
    let with_password = url.replace("_user@", "_user:right@");
    record(&*Database::at(&with_password).open()).unwrap();
    let stranger = refused(&Database::at(&server.tcp_url("stranger", "127.0.0.1", &name)));
    assert!(matches!(stranger, ServerError::Login(_)), "{stranger:?}");
}

#[test]
fn what_is_missing_at_the_server_is_told_with_its_remedy() {
    let server = Server::shared();
    let missing = refused(&Database::at(&server.url(OWNER, "nowhere")));
    assert!(missing.to_string().contains("createdb"), "{missing:?}");
    // A user with no right to make tables.
    let url = server.database();
    let name = name_of(&url).to_owned();
    server.sql("postgres", &format!("CREATE ROLE {name}_user LOGIN"));
    let poor = refused(&Database::at(&server.url(&format!("{name}_user"), &name)));
    assert!(poor.to_string().contains("OWNER TO"), "{poor:?}");
    // A standby is as this is.
    server.sql("postgres", &format!("ALTER DATABASE {name} SET default_transaction_read_only = on"));
    let read_only = refused(&Database::at(&url));
    assert!(
        matches!(read_only, ServerError::ReadOnly(_)) && read_only.to_string().contains("primary"),
        "{read_only:?}"
    );
    server.sql("postgres", &format!("ALTER DATABASE {name} SET default_transaction_read_only = off"));
    let store = Database::at(&url).open();
    record(&*store).unwrap();
}

#[test]
fn no_more_connections_is_told_and_passes() {
    let server = Server::shared();
    let url = server.database();
    let name = name_of(&url).to_owned();
    server.sql(
        "postgres",
        &format!("CREATE ROLE {name}_user LOGIN CONNECTION LIMIT 1; ALTER DATABASE {name} OWNER TO {name}_user"),
    );
    let place = Database::at(&server.url(&format!("{name}_user"), &name));
    let first = place.open();
    record(&*first).unwrap();
    let limit = refused(&place);
    assert!(
        matches!(limit, ServerError::ConnectionLimit(_)) && limit.to_string().contains("max_connections"),
        "{limit:?}"
    );
    assert!(limit.passes());
    drop(first);
    record(&*place.open()).unwrap();
}

#[test]
fn a_table_that_another_program_locks_holds_up_and_no_more() {
    let server = Server::shared();
    let url = server.database();
    let store = Database::at(&url).open();
    let name = name_of(&url).to_owned();
    let holding = std::thread::spawn(move || {
        server.sql(&name, "BEGIN; LOCK TABLE decisions IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(6); COMMIT");
    });
    std::thread::sleep(Duration::from_millis(500));
    let locked = server_error(decide(&*store));
    assert!(matches!(locked, ServerError::Locked(_)) && locked.passes(), "{locked:?}");
    holding.join().unwrap();
    decide(&*store).unwrap();
}

#[test]
fn a_full_disk_is_told_and_recovered_from() {
    let mounts = ["-m", "sh", "-c", "mount -t tmpfs none /mnt"];
    if !std::process::Command::new("unshare").args(mounts).output().is_ok_and(|run| run.status.success()) {
        println!("SKIPPED a full disk of the database server: no mount namespace without a user namespace here");
        return;
    }
    let mut server = Server::with(&[]);
    server.stop();
    let small = server.dir().join("small");
    std::fs::create_dir(&small).unwrap();
    let mount = format!(
        "mount -t tmpfs -o size=24m none {0}; chown --reference={0}/.. {0}; exec \"$0\" \"$@\"",
        small.display()
    );
    server.wrap(&["unshare", "-m", "sh", "-c", &mount]);
    server.start();
    server.sql("postgres", &format!("CREATE TABLESPACE small LOCATION '{}'", small.display()));
    let url = server.database_in("TABLESPACE small");
    let ballast = "CREATE TABLE ballast AS SELECT repeat('x', 200) FROM generate_series(1, 10000)";
    server.sql(name_of(&url), ballast);
    let store = Database::at(&url).open();
    decide(&*store).unwrap();
    let mut random = vec![0; 400_000];
    aws_lc_rs::rand::fill(&mut random).unwrap();
    let mut recorded = Vec::new();
    let full = loop {
        assert!(recorded.len() < 100);
        match store.record(Decision { sealed: random.clone(), ..decision(DecisionKind::Appraisal) }) {
            Ok(id) => recorded.push(id),
            Err(StoreError::Server(error)) => break error,
            Err(error) => panic!("{error:?}"),
        }
    };
    assert!(
        matches!(full, ServerError::DiskFull(_)) && full.passes() && full.to_string().contains("free some space"),
        "{full:?}"
    );
    // The operator makes room; what was acknowledged is there.
    for id in &recorded {
        assert_eq!(store.evidence(*id).unwrap().as_ref(), Some(&random));
        store.erase_evidence(*id).unwrap();
    }
    server.sql(name_of(&url), "DROP TABLE ballast");
    store.record(Decision { sealed: random, ..decision(DecisionKind::Appraisal) }).unwrap();
}

#[test]
fn a_server_that_would_lose_what_it_reports_is_refused() {
    let server = Server::with(&["fsync=off"]);
    let lossy = refused(&Database::at(&server.database()));
    assert!(matches!(lossy, ServerError::NotDurable), "{lossy:?}");
    // What is a session's own to decide, it decides.
    let server = Server::shared();
    let url = server.database();
    server.sql("postgres", &format!("ALTER DATABASE {} SET synchronous_commit = off", name_of(&url)));
    let Database(config) = Database::at(&url);
    let store = Postgres::open(&config).unwrap();
    assert_eq!(store.setting("synchronous_commit").unwrap(), "on");
    assert_eq!(store.setting("default_transaction_isolation").unwrap(), "read committed");
}

#[test]
fn a_database_of_another_version_is_refused() {
    let server = Server::shared();
    let url = server.database();
    let place = Database::at(&url);
    drop(place.open());
    server.sql(name_of(&url), "UPDATE vouchsafe_schema SET version = 99");
    assert!(matches!(place.try_open(), Err(StoreError::Schema { found: 99, .. })));
}

#[test]
fn tls_is_verified() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let openssl = |arguments: &[&str]| {
        let done = std::process::Command::new("openssl").args(arguments).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    for ca in ["ca", "other"] {
        let (key, certificate) = (path(&format!("{ca}.key")), path(&format!("{ca}.pem")));
        let new = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"];
        openssl(&[&new[..], &["-subj", "/CN=ca", "-keyout", &key, "-out", &certificate]].concat());
    }
    let new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=db"];
    openssl(&[&new[..], &["-keyout", &path("server.key"), "-out", &path("server.csr")]].concat());
    std::fs::write(path("names"), "subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n").unwrap();
    let sign = ["x509", "-req", "-CAcreateserial", "-days", "30"];
    let (csr, ca, ca_key, names, certificate) =
        (path("server.csr"), path("ca.pem"), path("ca.key"), path("names"), path("server.pem"));
    openssl(
        &[&sign[..], &["-in", &csr, "-CA", &ca, "-CAkey", &ca_key, "-extfile", &names, "-out", &certificate]].concat(),
    );

    let mut server = Server::with(&[]);
    server.stop();
    server.adopt("server.key", dir.path());
    server.adopt("server.pem", dir.path());
    server.set(&["ssl=on", "ssl_cert_file=server.pem", "ssl_key_file=server.key"]);
    server.start();
    let name = name_of(&server.database()).to_owned();
    server.sql("postgres", &format!("ALTER ROLE {OWNER} PASSWORD 'right'"));
    let place = |host: &str, roots: &str| {
        let url = server.tcp_url(&format!("{OWNER}:right"), host, &name);
        Database::from_setting(&format!("[database]\nurl = '{url}'\ntls_roots = '{roots}'"))
    };
    let Database(config) = place("localhost", &ca);
    let store = Postgres::open(&config).unwrap();
    assert_eq!(store.value("SELECT ssl::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()").unwrap(), "true");
    for (host, roots) in [("localhost", path("other.pem")), ("127.0.0.1", ca)] {
        let refused = refused(&place(host, &roots));
        assert!(matches!(refused, ServerError::Unreachable(_)), "{refused:?}");
        let chain = crate::text::chain(&refused);
        assert!(chain.contains("certificate"), "{chain}");
    }
    let none = refused(&place("localhost", &path("names"))).to_string();
    assert!(none.contains("tls_roots") && none.contains("names"), "{none}");
}

/// A database in which every transaction that records something fails to serialize, as often as `stumbles` says.
const STUMBLE: &str = "
CREATE SEQUENCE tried;
CREATE FUNCTION stumble() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF nextval('tried') <= current_setting('vouchsafe.stumbles')::bigint THEN
        RAISE EXCEPTION 'forced' USING ERRCODE = '40001';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER stumble BEFORE INSERT ON decisions FOR EACH ROW EXECUTE FUNCTION stumble();
CREATE TRIGGER stumble BEFORE INSERT ON acme_documents FOR EACH ROW EXECUTE FUNCTION stumble();";

/// Every operation that writes, each of which is to succeed.
fn every_write(store: &dyn Store, mut done: impl FnMut(&str, Result<(), StoreError>)) {
    let nonces = Nonces::new();
    let spending = || nonces.spend(&nonces.mint(1_000), 1_000, 1);
    let of = |kind| decision(kind);
    let ceased = || revocation(1_500, RevocationReason::CessationOfOperation);
    let attests = |serial, ak: u8| vec![binding::with_use(serial, 3_000, KeyUse::Of([ak; 32]))];
    let rests = vec![binding::with_use(11, 3_000, KeyUse::RestsOn([1; 32]))];
    let expected = Expected::Credential([8; 32]);
    let challenge = Challenge { id: [1; 16], expires: 2_000, expected, key: key("device", 1, 1) };
    let leave = Replacement { device: "device".to_owned(), until: 2_000, approver: "somebody".to_owned() };
    let document = AcmeChange::Create {
        kind: AcmeKind::Account,
        id: vec![1],
        owner: Vec::new(),
        expires: 2_000,
        body: Vec::new(),
    };
    done("record", record(store).map(drop));
    done("open_challenge", store.open_challenge(spending(), of(DecisionKind::Challenge), challenge));
    done("enroll", store.enroll(key("device", 1, 1), of(DecisionKind::Activation), attests(1, 1)).map(drop));
    done("decide", store.decide(spending(), of(DecisionKind::Certificate), rests).map(drop));
    // One by itself, since its key has another subject already, by leave.
    let shared = Certified { may_have_others: true, ..certified(11, 2) };
    let shared = vec![CertificateRecord { certified: shared, ..certificate(12) }];
    done("decide alone", store.decide(spending(), of(DecisionKind::Certificate), shared).map(drop));
    let next = key("device", 1, 2);
    done("renew", store.renew(spending(), [1; 32], next, of(DecisionKind::Renewal), attests(2, 2)).map(drop));
    done("revoke", store.revoke(&[2; 32], ceased(), true, of(DecisionKind::Revocation)).map(drop));
    let by_serial = store.revoke_certificate(&[11; 20], ceased(), of(DecisionKind::Revocation));
    done("revoke_certificate", by_serial.map(|revoked| assert_eq!(revoked, 1)));
    let by_key = store.revoke_certified(&[11; 32], ceased(), of(DecisionKind::Revocation));
    done("revoke_certified", by_key.map(|number| assert_eq!(number, 1)));
    done("share_device", store.share_device("device", "bob", of(DecisionKind::Sharing)));
    done("approve_replacement", store.approve_replacement(leave, ceased(), of(DecisionKind::Replacement)).map(drop));
    done("import", store.import(InventoryImport { rows: Vec::new() }, of(DecisionKind::Inventory)));
    done("remove_listed", store.remove_listed("device", of(DecisionKind::Inventory)).map(drop));
    done("acme_change", store.acme_change(vec![document]));
}

#[test]
fn what_cannot_be_serialized_is_tried_again_and_recorded_once() {
    const STUMBLES: usize = 3;
    let server = Server::shared();
    let url = server.database();
    let name = name_of(&url).to_owned();
    server.sql("postgres", &format!("ALTER DATABASE {name} SET vouchsafe.stumbles = {STUMBLES}"));
    let store = Database::at(&url).open();
    server.sql(&name, STUMBLE);
    let mut recorded = 0;
    every_write(&*store, |operation, result| {
        assert!(result.is_ok(), "{operation}: {result:?}");
        let tried: usize = server.sql(&name, "SELECT last_value FROM tried").parse().unwrap();
        // The first attempt of what is then done alone counts too.
        assert!((STUMBLES + 1..=STUMBLES + 2).contains(&tried), "{operation}: {tried}");
        recorded += usize::from(operation != "acme_change");
        assert_eq!(server.sql(&name, "SELECT count(*) FROM decisions"), recorded.to_string(), "{operation}");
        server.sql(&name, "SELECT setval('tried', 1, false)");
    });
}

#[test]
fn what_never_can_be_serialized_is_told_and_passes() {
    let server = Server::shared();
    let url = server.database();
    let name = name_of(&url).to_owned();
    server.sql("postgres", &format!("ALTER DATABASE {name} SET vouchsafe.stumbles = 1000000"));
    let store = Database::at(&url).open();
    server.sql(&name, STUMBLE);
    for ask in [record, decide] {
        let contended = server_error(ask(&*store));
        assert!(matches!(contended, ServerError::Contended(_)) && contended.passes(), "{contended:?}");
    }
    assert_eq!(server.sql(&name, "SELECT count(*) FROM decisions"), "0");
}
