//! Slow, silent and greedy clients: what they hold, when they are dropped, and that others do not notice.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;

use crate::module::Module;
use crate::site::{ALICE, BOB, NOW, Reply, Site, b64, chain, hex, read_reply};

/// Longer than any limit of a test, much shorter than the defaults.
const SOON: Duration = Duration::from_secs(8);

fn head(token: &str, path: &str, length: usize) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    )
}

/// Sends one octet a second until the server has enough of it; how long that took, and the answer.
async fn drip(mut stream: TlsStream<TcpStream>, octets: &[u8]) -> (Duration, Vec<u8>) {
    let started = Instant::now();
    let mut answer = Vec::new();
    for octet in octets {
        let pause = tokio::time::sleep(Duration::from_secs(1));
        let mut buffer = [0; 1024];
        tokio::select! {
            () = pause => {}
            read = stream.read(&mut buffer) => match read {
                Ok(count) if count > 0 => {
                    answer.extend_from_slice(&buffer[..count]);
                    let _rest = stream.read_to_end(&mut answer).await;
                    break;
                }
                _ => break,
            }
        }
        if stream.write_all(&[*octet]).await.is_err() || stream.flush().await.is_err() {
            break;
        }
    }
    (started.elapsed(), answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_of_one_octet_a_second_is_cut_off() {
    let site = Site::start_with_limits("head_seconds = 2").await;
    let (took, answer) = drip(site.connect().await, head(ALICE, "/v1/nonces", 2).as_bytes()).await;
    assert!(took < SOON && took >= Duration::from_secs(2), "{took:?}");
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_one_octet_a_second_is_a_timeout_with_a_problem_document() {
    let site = Site::start_with_limits("body_seconds = 2").await;
    let mut stream = site.connect().await;
    stream.write_all(head(ALICE, "/v1/nonces", 64).as_bytes()).await.unwrap();
    let (took, answer) = drip(stream, &[b' '; 30]).await;
    assert!(took < SOON, "{took:?}");
    let text = String::from_utf8(answer).unwrap();
    assert!(text.starts_with("HTTP/1.1 408") && text.contains("urn:vouchsafe:problem:timeout"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_speaks_tls_is_cut_off() {
    let site = Site::start_with_limits("handshake_seconds = 1").await;
    let mut silent = TcpStream::connect(site.address()).await.unwrap();
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(SOON, silent.read_to_end(&mut rest)).await;
    assert!(ended.is_ok() && rest.is_empty());
}

/// Opens what stays open: silent sockets, heads and bodies that do not end.
async fn bad_clients(site: &Site, count: usize) -> (Vec<TcpStream>, Vec<TlsStream<TcpStream>>) {
    let (mut silent, mut slow) = (Vec::new(), Vec::new());
    for number in 0..count {
        match number % 4 {
            0 => silent.push(TcpStream::connect(site.address()).await.unwrap()),
            1 => slow.push(site.connect().await),
            kind => {
                let mut stream = site.connect().await;
                let whole = head(ALICE, "/v1/certificates", 100_000);
                let sent = if kind == 2 { whole[..20].to_owned() } else { format!("{whole}{{\"csr\": \"") };
                stream.write_all(sent.as_bytes()).await.unwrap();
                stream.flush().await.unwrap();
                slow.push(stream);
            }
        }
    }
    (silent, slow)
}

async fn certificate(site: &Site, token: &str, module: &Module, ak_chain: &[Vec<u8>]) -> Reply {
    let nonce = site.certificate_nonce(token).await;
    let csr = module.csr(&nonce, ak_chain, None);
    site.post("/v1/certificates", Some(token), json!({"csr": b64(&csr), "nonce": hex(&nonce)})).await
}

/// The longest of ten certificates in a row, each with connections of its own.
async fn slowest_certificate(site: &Site, module: &Module, ak_chain: &[Vec<u8>]) -> Duration {
    let mut slowest = Duration::ZERO;
    for _ in 0..10 {
        let started = Instant::now();
        // The account of the bad clients, so that not even its own share is held.
        assert_eq!(certificate(site, ALICE, module, ak_chain).await.status, 201);
        slowest = slowest.max(started.elapsed());
    }
    slowest
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_hanging_clients_keep_nobody_waiting() {
    let site = Site::start_with_limits("").await;
    let module = Module::new(&site.vendor, NOW);
    let ak_chain = chain(&site.enroll(ALICE, &module, "device").await["certificates"]["attest"]);
    let alone = slowest_certificate(&site, &module, &ak_chain).await;
    let hanging = bad_clients(&site, 200).await;
    let beside = slowest_certificate(&site, &module, &ak_chain).await;
    assert!(beside < alone * 5 + Duration::from_millis(500), "alone {alone:?}, beside 200 others {beside:?}");
    drop(hanging);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_every_connection_taken_by_hanging_clients_the_next_is_served() {
    let site = Site::start_with_limits("connections = 16").await;
    let module = Module::new(&site.vendor, NOW);
    let ak_chain = chain(&site.enroll(ALICE, &module, "device").await["certificates"]["attest"]);
    let (mut silent, slow) = bad_clients(&site, 16).await;
    let took = slowest_certificate(&site, &module, &ak_chain).await;
    assert!(took < Duration::from_secs(3), "{took:?}");
    // The oldest had to go, long before its deadline.
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(1), silent[0].read_to_end(&mut rest)).await;
    assert!(ended.is_ok());
    drop(slow);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_beyond_the_memory_of_a_caller_are_busy_and_others_are_served() {
    let site = Site::start_with_limits("body_mebibytes = 16").await;
    // Half of 16 MiB is one caller's, and 6 MiB are the largest body there is.
    let mut holding = site.connect().await;
    holding.write_all(head(ALICE, "/v1/appraisals", 6_000_000).as_bytes()).await.unwrap();
    holding.write_all(&vec![b' '; 5_900_000]).await.unwrap();
    holding.flush().await.unwrap();
    let large = json!({"nonce": "00".repeat(1_500_000)});
    let greedy = async {
        loop {
            let reply = site.post("/v1/appraisals", Some(ALICE), large.clone()).await;
            if reply.status == 503 {
                return reply;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let reply = tokio::time::timeout(SOON, greedy).await.expect("busy");
    assert_eq!(reply.problem(), "busy");
    assert!(reply.head.to_lowercase().contains("retry-after: 1"), "{}", reply.head);
    let nonce = site.nonce(BOB, json!({"purpose": "appraisal"})).await;
    let body = json!({"nonce": hex(&nonce), "evidence": [b64(&vec![b'x'; 1_000_000])]});
    assert_eq!(site.post("/v1/appraisals", Some(BOB), body).await.status, 200);
    // Memory comes back with the connections that held it.
    drop(holding);
    let again = async {
        while site.post("/v1/appraisals", Some(ALICE), large.clone()).await.status == 503 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, again).await.expect("memory that was given back");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_work_than_there_are_places_for_is_busy_after_a_while() {
    let site = Site::start_with_limits("requests = 2\nqueue_seconds = 1").await;
    let module = Module::new(&site.vendor, NOW);
    let ak_chain = chain(&site.enroll(ALICE, &module, "device").await["certificates"]["attest"]);
    let site = std::sync::Arc::new(site);
    // Whoever holds the database keeps the one place of this caller taken.
    let holder = rusqlite::Connection::open(site.state().join("authority.sqlite")).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut requests = JoinSet::new();
    for _ in 0..3 {
        let nonce = site.certificate_nonce(ALICE).await;
        let body = json!({"csr": b64(&module.csr(&nonce, &ak_chain, None)), "nonce": hex(&nonce)});
        let site = std::sync::Arc::clone(&site);
        requests.spawn(async move { site.post("/v1/certificates", Some(ALICE), body).await });
    }
    let first = requests.join_next().await.unwrap().unwrap();
    assert_eq!((first.status, first.problem().as_str()), (503, "busy"));
    assert!(first.head.to_lowercase().contains("retry-after: 1"), "{}", first.head);
    holder.execute_batch("ROLLBACK").unwrap();
    while requests.join_next().await.is_some() {}
    assert_eq!(certificate(&site, ALICE, &module, &ak_chain).await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_in_a_body_leaves_nothing_behind() {
    let site = Site::start_with_limits("body_mebibytes = 16").await;
    for _ in 0..20 {
        let mut stream = site.connect().await;
        stream.write_all(head(ALICE, "/v1/appraisals", 6_000_000).as_bytes()).await.unwrap();
        stream.write_all(&vec![b' '; 2_000_000]).await.unwrap();
        drop(stream);
    }
    let nonce = site.nonce(ALICE, json!({"purpose": "appraisal"})).await;
    let body = json!({"nonce": hex(&nonce), "evidence": [b64(&vec![b'x'; 3_000_000])]});
    let served = async {
        while site.post("/v1/appraisals", Some(ALICE), body.clone()).await.status == 503 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, served).await.expect("memory that was given back");
    let mut stream = site.connect().await;
    stream.write_all(b"GET /v1/trust HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    assert_eq!(read_reply(&mut stream).await.status, 200);
}
