//! Certificates per second, and the CPU time of one beside its bare cryptography; by JSON, and by EST and CMP beside JSON.
//!
//! The authority is a process of its own: SQLite with `synchronous = FULL`, HTTPS with keep-alive. The
//! client takes a nonce, has a software attesting key sign evidence over it, and sends the request.
//! `cargo bench -p vouchsafe-authority --bench issuance`; with `-- --postgresql`, on PostgreSQL beside SQLite
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    missing_docs
)]
#![allow(dead_code, reason = "the modules are those of the tests, which use more of them")]

#[path = "issuance/bare.rs"]
mod bare;
#[path = "../tests/authority/cmp/client.rs"]
mod client;
#[path = "../tests/authority/module.rs"]
mod module;
#[path = "../tests/authority/postgres.rs"]
mod postgres;
#[path = "../tests/authority/process.rs"]
mod process;
#[path = "../tests/authority/site.rs"]
mod site;

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use client::{Answer, Client, GENM, IMPLICIT_CONFIRM, P10CR, Protection, nonce_request};
use module::Module;
use process::Served;
use site::{ALICE, NOW, Site, b64, chain, digest_hex, hex, unhex};

/// What alice shares with the authority, for CMP.
const SECRET: &str = "a secret of alice, long enough";

/// Connections of the client, each with one request under way.
const CONNECTIONS: usize = 32;
const WARM_UP: Duration = Duration::from_secs(3);
const MEASURED: Duration = Duration::from_secs(15);

/// The protocol that a client speaks.
#[derive(Clone, Copy)]
enum By {
    Json,
    Est,
    /// Protected by a MAC of 500 iterations, which is what openssl makes. No confirmation follows.
    Cmp,
}

/// A connection that is kept.
struct Kept {
    stream: TlsStream<TcpStream>,
    buffer: Vec<u8>,
}

impl Kept {
    async fn post(&mut self, path: &str, body: &[u8]) -> (u16, Value) {
        let mut request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {ALICE}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        self.stream.write_all(&request).await.unwrap();
        self.stream.flush().await.unwrap();
        let (status, body) = self.answer().await;
        (status, serde_json::from_slice(&body).unwrap())
    }

    async fn answer(&mut self) -> (u16, Vec<u8>) {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            self.fill().await;
        };
        let head = String::from_utf8(self.buffer[..end].to_vec()).unwrap().to_lowercase();
        let length: usize =
            head.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap().parse().unwrap();
        while self.buffer.len() < end + length {
            self.fill().await;
        }
        let body = self.buffer[end..end + length].to_vec();
        self.buffer.drain(..end + length);
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body)
    }

    async fn fill(&mut self) {
        assert!(self.stream.read_buf(&mut self.buffer).await.unwrap() > 0, "the server closed the connection");
    }

    /// As EST has it: name and token, an answer that is no JSON.
    async fn est(&mut self, method: &str, path: &str, content_type: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let credentials = b64(format!("alice:{ALICE}").as_bytes());
        let request = format!(
            "{method} /.well-known/est/{path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {credentials}\r\n\
             Content-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.stream.write_all(&[request.as_bytes(), body].concat()).await.unwrap();
        self.stream.flush().await.unwrap();
        self.answer().await
    }

    /// One certificate, from its nonce on, by this protocol.
    async fn certificate(&mut self, by: By, enrolled: &Enrolled, pcrs: Option<&[[u8; 32]; 2]>) {
        match by {
            By::Json => self.by_json(&enrolled.module, &enrolled.chain, pcrs).await,
            By::Est => {
                let (status, answer) = self.est("GET", "nonce", "text/plain", b"").await;
                assert_eq!(status, 200);
                let answer: Value = serde_json::from_slice(&answer).unwrap();
                let nonce = URL_SAFE_NO_PAD.decode(answer["nonce"].as_str().unwrap()).unwrap();
                let csr = enrolled.module.csr(&nonce, &enrolled.chain, pcrs);
                let (status, answer) =
                    self.est("POST", "simpleenroll", "application/pkcs10", b64(&csr).as_bytes()).await;
                assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
            }
            By::Cmp => {
                let mut client = Client::new(Protection::pbm("alice-ref", SECRET));
                client.info.push((IMPLICIT_CONFIRM, vec![5, 0]));
                let nonce = self.cmp(&mut client, GENM, &nonce_request()).await.nonce();
                let csr = enrolled.module.csr(&nonce, &enrolled.chain, pcrs);
                let answer = self.cmp(&mut client, P10CR, &csr).await;
                assert!(answer.certificate().is_some(), "{:?}", answer.reasons());
            }
        }
    }

    /// A message of CMP and its answer.
    async fn cmp(&mut self, client: &mut Client, number: u8, body: &[u8]) -> Answer {
        let message = client.message(number, body);
        let head = format!(
            "POST /.well-known/cmp HTTP/1.1\r\nHost: localhost\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n",
            client::MEDIA_TYPE,
            message.len()
        );
        self.stream.write_all(&[head.as_bytes(), &message].concat()).await.unwrap();
        self.stream.flush().await.unwrap();
        let (status, answer) = self.answer().await;
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
        let answer = Answer::read(&answer);
        client.answers = Some(answer.sender_nonce.clone());
        answer
    }

    async fn by_json(&mut self, module: &Module, ak_chain: &[Vec<u8>], pcrs: Option<&[[u8; 32]; 2]>) {
        let (status, answer) = self.post("/v1/nonces", br#"{"purpose":"certificate"}"#).await;
        assert_eq!(status, 201, "{answer}");
        let nonce = unhex(answer["nonce"].as_str().unwrap());
        let csr = module.csr(&nonce, ak_chain, pcrs);
        let body = json!({"csr": b64(&csr), "nonce": hex(&nonce)}).to_string();
        let (status, answer) = self.post("/v1/certificates", body.as_bytes()).await;
        assert_eq!(status, 201, "{answer}");
    }
}

/// Clock ticks of a second in `/proc` (USER_HZ of Linux).
const TICKS: u64 = 100;

/// User and system time of a process and its threads, the ended ones too.
fn cpu_time(process: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // The name in parentheses may hold anything; the fields are counted behind it.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks = |index: usize| fields[index].parse::<u64>().unwrap();
    Duration::from_millis((ticks(11) + ticks(12)) * 1_000 / TICKS)
}

struct Measured {
    certificates: u64,
    seconds: f64,
    server: Duration,
    client: Duration,
    bare: Duration,
}

/// Issues from `CONNECTIONS` connections at once.
async fn measure(
    site: &Arc<Site>,
    served: &Served,
    enrolled: &Enrolled,
    by: By,
    pcrs: Option<[[u8; 32]; 2]>,
) -> Measured {
    let stop = Arc::new(AtomicBool::new(false));
    let issued = Arc::new(AtomicU64::new(0));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (stop, issued, enrolled) = (Arc::clone(&stop), Arc::clone(&issued), enrolled.clone());
        let mut kept = Kept { stream: site.connect().await, buffer: Vec::new() };
        clients.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                kept.certificate(by, &enrolled, pcrs.as_ref()).await;
                issued.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let nonce = site.certificate_nonce(ALICE).await;
    let request = enrolled.module.csr(&nonce, &enrolled.chain, pcrs.as_ref());
    tokio::time::sleep(WARM_UP).await;
    let alongside = bare::Alongside::start(&request);
    let (before, server, client, started) =
        (issued.load(Ordering::Relaxed), cpu_time(served.id()), cpu_time(std::process::id()), Instant::now());
    tokio::time::sleep(MEASURED).await;
    let mut measured = Measured {
        certificates: issued.load(Ordering::Relaxed) - before,
        seconds: started.elapsed().as_secs_f64(),
        server: cpu_time(served.id()) - server,
        client: cpu_time(std::process::id()) - client,
        bare: Duration::ZERO,
    };
    let bare = tokio::task::spawn_blocking(|| alongside.end()).await.unwrap();
    measured.client = measured.client.saturating_sub(bare.all);
    measured.bare = bare.each;
    stop.store(true, Ordering::Relaxed);
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    measured
}

#[derive(Clone)]
struct Enrolled {
    module: Arc<Module>,
    chain: Arc<Vec<Vec<u8>>>,
}

fn print(label: &str, measured: &Measured) {
    let count = measured.certificates as f64;
    let each = |time: Duration| time.as_secs_f64() * 1e6 / count;
    let bare = measured.bare.as_secs_f64() * 1e6;
    println!("{label}");
    println!("  certificates per second          {:>8.0}", count / measured.seconds);
    println!("  CPU of the authority, each       {:>8.0} us", each(measured.server));
    println!("  bare cryptography, each          {bare:>8.0} us");
    println!("  ratio                            {:>8.2}", each(measured.server) / bare);
    println!("  CPU of the client, each          {:>8.0} us", each(measured.client));
    let busy = (measured.server + measured.client).as_secs_f64() / measured.seconds;
    println!("  cores busy                       {busy:>8.2}");
}

/// An installation whose account has a token and a secret.
fn install() -> Site {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("alice.secret");
    std::fs::write(&secret, SECRET).unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    let accounts = format!(
        "[[accounts]]\nname = 'alice'\ntoken_sha256 = '{}'\nmay = ['enroll', 'issue']\n\
         cmp_reference = 'alice-ref'\ncmp_secret = '{}'\n",
        digest_hex(ALICE),
        secret.display()
    );
    Site::install_for(dir, "", &accounts)
}

async fn run() {
    let mut site = install();
    let served = site.serve(process::serve_again(&["--serve"])).unwrap();
    let module = Arc::new(Module::new(&site.vendor, NOW));
    let answer = site.enroll(ALICE, &module, "device").await;
    let enrolled = Enrolled { module, chain: Arc::new(chain(&answer["certificates"]["attest"])) };
    let site = Arc::new(site);
    let mut each = Vec::new();
    for (label, by, pcrs) in [
        ("key statement, JSON", By::Json, None),
        ("key statement, EST", By::Est, None),
        ("key statement, CMP", By::Cmp, None),
        ("key statement and quote, JSON", By::Json, Some([[1; 32], [2; 32]])),
    ] {
        let measured = measure(&site, &served, &enrolled, by, pcrs).await;
        print(label, &measured);
        each.push(measured.server.as_secs_f64() / measured.certificates as f64);
    }
    for (protocol, at) in [("EST", 1), ("CMP", 2)] {
        let ratio = each[at] / each[0];
        println!("CPU of the authority for a certificate by {protocol}, to that by JSON: {ratio:.2} (at most 1.5)");
    }
}

/// The same on a file of SQLite and on a PostgreSQL server of its own on this machine, one after the other.
async fn run_databases() {
    let server = postgres::Server::with(&[]);
    let mut each = Vec::new();
    for (label, setting) in
        [("SQLite", String::new()), ("PostgreSQL, on a socket", format!("database = '{}'", server.database()))]
    {
        let mut site = Site::install(tempfile::tempdir().unwrap(), &setting);
        let served = site.serve(process::serve_again(&["--serve"])).unwrap();
        let module = Arc::new(Module::new(&site.vendor, NOW));
        let answer = site.enroll(ALICE, &module, "device").await;
        let enrolled = Enrolled { module, chain: Arc::new(chain(&answer["certificates"]["attest"])) };
        let measured = measure(&Arc::new(site), &served, &enrolled, By::Json, None).await;
        print(label, &measured);
        each.push(measured.certificates as f64 / measured.seconds);
    }
    println!("certificates per second on PostgreSQL, to those on SQLite: {:.2}", each[1] / each[0]);
}

fn main() {
    if std::env::args().any(|argument| argument == "--serve") {
        return process::serve();
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    if std::env::args().any(|argument| argument == "--postgresql") {
        return runtime.block_on(run_databases());
    }
    runtime.block_on(run());
}
