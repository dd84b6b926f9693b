//! Authorities on a PostgreSQL database, one and two of them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use vouchsafe_authority::lifecycle::Administration;
use vouchsafe_authority::store::RevocationReason;

use crate::faults::{Client, SERVE, check_recovery};
use crate::module::{Module, SoftwareKey};
use crate::postgres::{Server, name_of};
use crate::process::{Served, serve_again};
use crate::site::{ALICE, BOB, NOW, Reply, Site, accounts, b64, chain, hex, read_reply};

/// Nonces that two processes spend at once; with `VOUCHSAFE_SLOW_TESTS` set, 1,000.
const NONCES: usize = 150;
/// Nonces that are spent at the same time.
const AT_ONCE: usize = 10;

fn setting(url: &str) -> String {
    format!("database = '{url}'")
}

#[tokio::test(flavor = "multi_thread")]
async fn one_line_of_configuration_puts_the_records_on_a_server() {
    let url = Server::shared().database();
    let mut site = Site::start_with(&setting(&url)).await;
    let module = Module::new(&site.vendor, NOW);
    let ak_chain = chain(&site.enroll(ALICE, &module, "device").await["certificates"]["attest"]);
    let nonce = site.certificate_nonce(ALICE).await;
    let request = json!({"csr": b64(&module.csr(&nonce, &ak_chain, None)), "nonce": hex(&nonce)});
    let ask = async |site: &Site| site.post("/v1/certificates", Some(ALICE), request.clone()).await;
    let granted = ask(&site).await;
    assert_eq!(granted.status, 201, "{}", String::from_utf8_lossy(&granted.body));
    assert_eq!(ask(&site).await.body, granted.body);
    site.restart().await;
    assert_eq!(ask(&site).await.body, granted.body);
    // Another account cannot take the name, and another request cannot take the nonce.
    let other = Module::new(&site.vendor, NOW);
    assert_eq!(site.challenge(BOB, &other, "device").await.problem(), "device-conflict");
    let another = json!({"csr": b64(&module.csr(&nonce, &ak_chain, Some(&[[1; 32], [2; 32]]))), "nonce": hex(&nonce)});
    assert_eq!(site.post("/v1/certificates", Some(ALICE), another).await.problem(), "nonce-spent");
    let files: Vec<_> = std::fs::read_dir(site.state()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert!(!files.iter().any(|file| file.to_string_lossy().contains("sqlite")), "{files:?}");
    // What administrators do is done there too.
    let (config, clock) = (site.config(), Arc::clone(&site.clock));
    let report = tokio::task::spawn_blocking(move || {
        let administration = Administration::open(&config, clock).unwrap();
        let key = administration.attesting_keys().unwrap()[0].spki_digest;
        administration.revoke(&key, RevocationReason::CessationOfOperation, "somebody", true).unwrap()
    });
    assert_eq!(report.await.unwrap().dependents.len(), 1);
    let nonce = site.certificate_nonce(ALICE).await;
    let request = json!({"csr": b64(&module.csr(&nonce, &ak_chain, None)), "nonce": hex(&nonce)});
    let refused = site.post("/v1/certificates", Some(ALICE), request).await;
    assert_eq!(refused.status, 422, "{}", String::from_utf8_lossy(&refused.body));
}

/// One request to one of the processes.
async fn post(site: &Site, address: SocketAddr, request: &Value) -> Reply {
    let mut stream = site.handshake(TcpStream::connect(address).await.unwrap()).await.unwrap();
    let body = request.to_string();
    let request = format!(
        "POST /v1/certificates HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {ALICE}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    read_reply(&mut stream).await
}

/// An installation that two processes serve, which start at once on an empty database.
fn two(settings: &str, accounts: &str) -> (Site, [Served; 2]) {
    let mut site = Site::install_for(tempfile::tempdir().unwrap(), settings, accounts);
    let path = site.dir.path().join("second.toml");
    site.reconfigure(|text| {
        std::fs::write(&path, text).unwrap();
        text.to_owned()
    });
    let served = std::thread::scope(|scope| {
        let second = scope.spawn(|| Served::start(serve_again(&SERVE), &path).unwrap());
        [site.serve(serve_again(&SERVE)).unwrap(), second.join().unwrap()]
    });
    (site, served)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_on_one_database_spend_a_nonce_once() {
    let server = Server::shared();
    let url = server.database();
    let (site, served) = two(&setting(&url), &accounts());
    let addresses = served.each_ref().map(Served::address);
    let client = Client::enroll(&site).await;
    let site = Arc::new(site);
    let nonces = if std::env::var_os("VOUCHSAFE_SLOW_TESTS").is_some() { 1_000 } else { NONCES };
    let granted = Arc::new(Mutex::new(0));
    for _ in 0..nonces / AT_ONCE {
        let mut racing = tokio::task::JoinSet::new();
        for _ in 0..AT_ONCE {
            let nonce = site.certificate_nonce(ALICE).await;
            // Two keys for one nonce: one of them gets a certificate.
            let requests = [(); 2].map(
                |()| json!({"csr": b64(&client.module.csr(&nonce, &client.ak_chain, None)), "nonce": hex(&nonce)}),
            );
            let (site, granted) = (Arc::clone(&site), Arc::clone(&granted));
            racing.spawn(async move {
                let (one, other) =
                    tokio::join!(post(&site, addresses[0], &requests[0]), post(&site, addresses[1], &requests[1]));
                let mut status = [one.status, other.status];
                status.sort_unstable();
                assert_eq!(status, [201, 409], "{one:?} {other:?}");
                let refused = if one.status == 201 { &other } else { &one };
                assert_eq!(refused.problem(), "nonce-spent");
                // Whoever was granted is told the same by the other process.
                let (again, body) = if one.status == 201 {
                    (post(&site, addresses[1], &requests[0]).await, one.body)
                } else {
                    (post(&site, addresses[0], &requests[1]).await, other.body)
                };
                assert_eq!((again.status, again.body), (201, body));
                *granted.lock().unwrap() += 1;
            });
        }
        while let Some(race) = racing.join_next().await {
            race.unwrap();
        }
    }
    assert_eq!(*granted.lock().unwrap(), nonces);
    let count = |what: &str| server.sql(name_of(&url), &format!("SELECT count(*) FROM {what}"));
    assert_eq!(count("certificates WHERE NOT is_of_key"), nonces.to_string());
    assert_eq!(count("decisions WHERE kind = 'certificate'"), nonces.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_server_that_is_gone_is_unavailable_until_it_is_back() {
    let server = Mutex::new(Server::with(&[]));
    let url = server.lock().unwrap().database();
    let site = Site::start_with(&setting(&url)).await;
    let client = Client::enroll(&site).await;
    check_recovery(&site, &client, || server.lock().unwrap().stop(), || server.lock().unwrap().start()).await;
}

#[test]
fn an_authority_that_cannot_reach_its_database_says_so_and_no_password() {
    let setting = "database = 'postgresql://ca:hush@127.0.0.1:1/records'";
    let mut site = Site::install(tempfile::tempdir().unwrap(), setting);
    let Err(said) = site.serve(serve_again(&SERVE)) else { panic!("it starts") };
    assert!(said.contains("PostgreSQL database records at 127.0.0.1:1"), "{said}");
    assert!(said.contains("cannot be reached; start it") && !said.contains("hush"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_on_one_database_give_a_key_to_one_subject() {
    let url = Server::shared().database();
    let settings = format!("{}\n{}", setting(&url), crate::certified_keys::PROFILES);
    let (site, served) = two(&settings, &crate::certified_keys::accounts());
    let addresses = served.each_ref().map(Served::address);
    let client = crate::certified_keys::Client::enrolled(&site, "device-1").await;
    for round in 0..15 {
        let key = SoftwareKey::generate();
        let named = [("device", ""), ("by-account", "alice")];
        let mut requests = Vec::new();
        for (profile, name) in named {
            requests.push(client.request(&site, profile, &key, name).await);
        }
        let (one, other) =
            tokio::join!(post(&site, addresses[0], &requests[0]), post(&site, addresses[1], &requests[1]));
        let (granted, refused) = if one.status == 201 { (one, other) } else { (other, one) };
        assert_eq!((granted.status, refused.status), (201, 422), "{round}: {granted:?} {refused:?}");
        assert_eq!(refused.codes(), ["authority.key-has-other-subject"]);
    }
}
