//! An authority that is killed at random moments under load: what it acknowledged is there, once.
//!
//! 10 rounds; with `VOUCHSAFE_SLOW_TESTS` set, 100.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use vouchsafe_evidence::x509::CertView;

use crate::faults::SERVE;
use crate::module::Module;
use crate::process::serve_again;
use crate::site::{ALICE, NOW, Site, b64, chain, hex, unhex};

const CLIENTS: usize = 8;
/// The authority is killed at some moment up to this long after it listens.
const KILLED_WITHIN_MILLISECONDS: u64 = 400;

/// A request with its answer, if one came.
#[derive(Clone)]
struct Asked {
    nonce: Vec<u8>,
    csr: Vec<u8>,
    answer: Option<Value>,
}

/// The answer to a request, unless the server was killed before it came.
async fn post(site: &Site, path: &str, body: &Value) -> Option<(u16, Value)> {
    let stream = TcpStream::connect(site.address()).await.ok()?;
    let mut stream = site.handshake(stream).await?;
    let body = body.to_string();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {ALICE}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut octets = Vec::new();
    let _abrupt = stream.read_to_end(&mut octets).await;
    let text = String::from_utf8(octets).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    // An answer that was cut short was not given.
    Some((head.split(' ').nth(1)?.parse().ok()?, serde_json::from_str(body).ok()?))
}

/// Asks for certificates until the server is gone.
async fn ask(site: Arc<Site>, module: Arc<Module>, ak_chain: Arc<Vec<Vec<u8>>>) -> Vec<Asked> {
    let mut asked = Vec::new();
    while let Some((201, answer)) = post(&site, "/v1/nonces", &json!({"purpose": "certificate"})).await {
        let nonce = unhex(answer["nonce"].as_str().unwrap());
        let csr = module.csr(&nonce, &ak_chain, None);
        let body = json!({"csr": b64(&csr), "nonce": hex(&nonce)});
        let answer = post(&site, "/v1/certificates", &body).await;
        if let Some((status, _)) = &answer {
            assert_eq!(*status, 201, "{answer:?}");
        }
        let over = answer.is_none();
        asked.push(Asked { nonce, csr, answer: answer.map(|(_, answer)| answer) });
        if over {
            break;
        }
    }
    asked
}

/// The one server of a round and what its clients asked for until it was killed.
async fn round(site: &mut Arc<Site>, module: &Arc<Module>, ak_chain: &Arc<Vec<Vec<u8>>>) -> Vec<Asked> {
    let mut served = Arc::get_mut(site).unwrap().serve(serve_again(&SERVE)).unwrap();
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(ask(Arc::clone(site), Arc::clone(module), Arc::clone(ak_chain)));
    }
    let mut random = [0; 8];
    aws_lc_rs::rand::fill(&mut random).unwrap();
    tokio::time::sleep(Duration::from_millis(u64::from_be_bytes(random) % KILLED_WITHIN_MILLISECONDS)).await;
    served.kill();
    let mut asked = Vec::new();
    while let Some(client) = clients.join_next().await {
        asked.extend(client.unwrap());
    }
    asked
}

/// After a restart each request gets the answer it was given, or its first; and no other one gets any.
async fn check_answers(site: &Site, module: &Module, ak_chain: &[Vec<u8>], asked: &mut [Asked]) {
    for one in asked.iter_mut() {
        // Whether it was acknowledged or not: with another request the nonce is worth nothing any more, but
        // for one that was never spent.
        let path = "/v1/certificates";
        if one.answer.is_some() {
            let other = json!({"csr": b64(&module.csr(&one.nonce, ak_chain, None)), "nonce": hex(&one.nonce)});
            let (status, problem) = post(site, path, &other).await.unwrap();
            assert_eq!((status, problem["type"].as_str().unwrap()), (409, "urn:vouchsafe:problem:nonce-spent"));
        }
        let again = json!({"csr": b64(&one.csr), "nonce": hex(&one.nonce)});
        let (status, answer) = post(site, path, &again).await.unwrap();
        assert_eq!(status, 201, "{answer}");
        match &one.answer {
            Some(given) => assert_eq!(given, &answer, "another answer than the acknowledged one"),
            None => one.answer = Some(answer),
        }
    }
}

/// Every certificate that was given is stored with its accepted decision and its evidence; no serial number
/// and no nonce is there twice.
fn check_database(site: &Site, asked: &[Asked]) {
    let database = rusqlite::Connection::open(site.state().join("authority.sqlite")).unwrap();
    let intact: String = database.query_row("PRAGMA integrity_check", (), |row| row.get(0)).unwrap();
    assert_eq!(intact, "ok");
    let dangling = database.prepare("PRAGMA foreign_key_check").unwrap().exists(()).unwrap();
    assert!(!dangling);
    let mut rows = database
        .prepare(
            "SELECT nonce, certificates.der, serial FROM spent_nonces
             JOIN decisions ON decisions.id = spent_nonces.decision AND outcome = 'accepted' AND kind = 'certificate'
             JOIN evidence ON evidence.decision = decisions.id
             JOIN certificates ON certificates.decision = decisions.id",
        )
        .unwrap();
    let rows = rows.query_map((), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    let rows: Vec<(Vec<u8>, Vec<u8>, Vec<u8>)> = rows.collect::<Result<_, _>>().unwrap();
    let stored: HashMap<&[u8], &[u8]> = rows.iter().map(|row| (&*row.0, &*row.1)).collect();
    assert_eq!(stored.len(), rows.len(), "a nonce with two certificates");
    assert_eq!(rows.iter().map(|row| &row.2).collect::<HashSet<_>>().len(), rows.len());
    let mut serials = HashSet::new();
    for one in asked {
        let given = chain(&one.answer.as_ref().unwrap()["certificates"]);
        assert_eq!(stored.get(&*one.nonce), Some(&&*given[0]));
        assert!(serials.insert(CertView::parse(&given[0]).unwrap().serial().to_vec()), "a serial number twice");
    }
    // What is there beyond that was decided, and its answer lost; a decision without a certificate is none.
    let accepted: i64 = database
        .query_row(
            "SELECT count(*) FROM decisions WHERE kind = 'certificate' AND outcome = 'accepted'
             AND id NOT IN (SELECT decision FROM certificates)",
            (),
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(accepted, 0, "a decision without its certificate");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_under_load_it_keeps_what_it_acknowledged_and_spends_no_nonce_twice() {
    let rounds = if std::env::var_os("VOUCHSAFE_SLOW_TESTS").is_some() { 100 } else { 10 };
    let (site, served) = Site::start_served(serve_again(&SERVE));
    let module = Arc::new(Module::new(&site.vendor, NOW));
    let ak_chain = Arc::new(chain(&site.enroll(ALICE, &module, "device").await["certificates"]["attest"]));
    drop(served);
    let mut site = Arc::new(site);
    let mut all = Vec::new();
    for _ in 0..rounds {
        all.extend(round(&mut site, &module, &ak_chain).await);
    }
    let acknowledged = all.iter().filter(|one| one.answer.is_some()).count();
    println!("{rounds} kills, {} requests, {acknowledged} acknowledged", all.len());
    assert!(acknowledged >= rounds && acknowledged < all.len());

    let served = Arc::get_mut(&mut site).unwrap().serve(serve_again(&SERVE)).unwrap();
    check_answers(&site, &module, &ak_chain, &mut all).await;
    drop(served);
    check_database(&site, &all);
}
