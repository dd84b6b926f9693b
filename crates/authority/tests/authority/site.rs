//! A running authority with a client that trusts its TLS root and nothing else.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use vouchsafe_authority::{Authority, Clock, Config, Running, init, trust};

use crate::module::{Module, Vendor};
use crate::process::Served;

/// 2026-12-01T00:00:00Z.
pub const NOW: i64 = 1_796_083_200;
pub const ALICE: &str = "alice-token";
pub const BOB: &str = "bob-token";
/// May enroll alone, and one device name alone.
pub const CAROL: &str = "carol-token";

#[derive(Debug)]
pub struct FixedClock(pub AtomicI64);

impl FixedClock {
    pub fn advance(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }

    pub fn now(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

impl Clock for FixedClock {
    fn now_unix_seconds(&self) -> i64 {
        self.now()
    }
}

impl rustls::time_provider::TimeProvider for FixedClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(self.now()).unwrap())))
    }
}

pub struct Site {
    pub dir: tempfile::TempDir,
    pub clock: Arc<FixedClock>,
    pub vendor: Vendor,
    pub running: Option<Running>,
    served: Option<SocketAddr>,
    config: String,
    connector: TlsConnector,
    tls_root: PathBuf,
}

/// A client certificate, its chain behind it, with its key in PKCS #8.
pub type Identity = (Vec<Vec<u8>>, Vec<u8>);

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&self.body)))
    }

    /// The code of the problem document that this must be.
    pub fn problem(&self) -> String {
        assert!(self.head.to_lowercase().contains("content-type: application/problem+json"), "{}", self.head);
        let kind = self.json()["type"].as_str().unwrap().to_owned();
        assert_eq!(self.json()["status"], self.status);
        kind.strip_prefix("urn:vouchsafe:problem:").unwrap().to_owned()
    }

    pub fn codes(&self) -> Vec<String> {
        let violations = self.json()["violations"].as_array().cloned().unwrap_or_default();
        violations.iter().map(|violation| violation["code"].as_str().unwrap().to_owned()).collect()
    }
}

pub fn digest_hex(token: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
    hex(digest.as_ref())
}

pub fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

pub fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

pub fn b64(octets: &[u8]) -> String {
    STANDARD.encode(octets)
}

pub fn unb64(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.as_str().unwrap()).unwrap()
}

pub fn chain(value: &Value) -> Vec<Vec<u8>> {
    value.as_array().unwrap().iter().map(unb64).collect()
}

/// The accounts of most tests.
pub fn accounts() -> String {
    format!(
        "[[accounts]]\nname = 'alice'\ntoken_sha256 = '{}'\nmay = ['enroll', 'appraise', 'issue']\n\
         [[accounts]]\nname = 'bob'\ntoken_sha256 = '{}'\nmay = ['enroll', 'appraise', 'issue']\n\
         [[accounts]]\nname = 'carol'\ntoken_sha256 = '{}'\nmay = ['enroll']\ndevices = ['only']\n",
        digest_hex(ALICE),
        digest_hex(BOB),
        digest_hex(CAROL)
    )
}

impl Site {
    pub async fn start() -> Self {
        Self::start_with("").await
    }

    /// `settings` are lines of the table of limits.
    pub async fn start_with_limits(settings: &str) -> Self {
        Self::start_with(&format!("[limits]\n{settings}")).await
    }

    /// `settings` are lines of TOML before the tables.
    pub async fn start_with(settings: &str) -> Self {
        let mut site = Self::install(tempfile::tempdir().unwrap(), settings);
        site.restart().await;
        site
    }

    /// A new installation, served by a process of its own, which `command` starts.
    pub fn start_served(command: Command) -> (Self, Served) {
        let mut site = Self::install(tempfile::tempdir().unwrap(), "");
        let served = site.serve(command).unwrap();
        (site, served)
    }

    /// A process that serves this installation from now on, or what it said instead.
    pub fn serve(&mut self, command: Command) -> Result<Served, String> {
        let path = self.dir.path().join("authority.toml");
        fs::write(&path, &self.config).unwrap();
        let served = Served::start(command, &path)?;
        self.served = Some(served.address());
        Ok(served)
    }

    /// An installation that nobody serves yet.
    pub fn install(dir: tempfile::TempDir, settings: &str) -> Self {
        Self::install_for(dir, settings, &accounts())
    }

    /// An installation with other accounts.
    pub fn install_for(dir: tempfile::TempDir, settings: &str, accounts: &str) -> Self {
        Self::install_at(dir, NOW, settings, accounts)
    }

    /// An installation whose clock begins at `now`.
    pub fn install_at(dir: tempfile::TempDir, now: i64, settings: &str, accounts: &str) -> Self {
        let clock = Arc::new(FixedClock(AtomicI64::new(now)));
        let config = format!(
            "listen = '127.0.0.1:0'\nstate = '{}'\n{settings}\n[tls]\nself_signed = true\n{accounts}",
            dir.path().join("state").display()
        );
        let initialized = init(&Config::from_toml(&config).unwrap(), &*clock).unwrap();
        let vendor = Vendor::new("Vendor", clock.now());
        if let Some(folder) = initialized.ek_trust {
            fs::write(folder.join("vendor.pem"), vendor.root_pem()).unwrap();
        }
        let connector = connector(&initialized.tls_root, &clock, rustls::ALL_VERSIONS, None);
        Self { dir, clock, vendor, running: None, served: None, config, connector, tls_root: initialized.tls_root }
    }

    /// Another configuration from the next start on.
    pub fn reconfigure(&mut self, change: impl FnOnce(&str) -> String) {
        self.config = change(&self.config);
    }

    pub fn config(&self) -> Config {
        Config::from_toml(&self.config).unwrap()
    }

    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub async fn restart(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
        let config = self.config();
        let source = trust::folder(config.trust().to_owned());
        let clock: Arc<dyn Clock> = Arc::clone(&self.clock) as _;
        self.running = Some(Authority::start(config, source, clock).await.unwrap());
    }

    pub fn address(&self) -> SocketAddr {
        self.served.unwrap_or_else(|| self.running.as_ref().unwrap().address())
    }

    pub async fn connect(&self) -> TlsStream<TcpStream> {
        let stream = TcpStream::connect(self.address()).await.unwrap();
        self.connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap()
    }

    /// A connection by these versions of TLS, with a client certificate where one is given; nothing where the handshake
    /// fails. A server that refuses a certificate says so after the client has finished.
    pub async fn connect_as(
        &self,
        versions: &[&'static rustls::SupportedProtocolVersion],
        identity: Option<Identity>,
    ) -> Option<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address()).await.unwrap();
        let connector = connector(&self.tls_root, &self.clock, versions, identity);
        connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.ok()
    }

    /// The certificate of the root that the server's own certificate is under.
    pub fn tls_root(&self) -> &std::path::Path {
        &self.tls_root
    }

    /// TLS over a connection to a server that may go away at any time.
    pub async fn handshake(&self, stream: TcpStream) -> Option<TlsStream<TcpStream>> {
        self.connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.ok()
    }

    /// Sends a request and reads the whole answer.
    pub async fn exchange(&self, method: &str, path: &str, headers: &[String], body: &[u8]) -> Reply {
        let mut stream = self.connect().await;
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
        for header in headers {
            head.push_str(header);
            head.push_str("\r\n");
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        // The server may answer and close before it has read all of a body that it refuses.
        let _refused_early = stream.write_all(body).await;
        read_reply(&mut stream).await
    }

    pub async fn send(&self, path: &str, token: Option<&str>, content_type: &str, body: &[u8]) -> Reply {
        let mut headers = vec![format!("Content-Type: {content_type}"), format!("Content-Length: {}", body.len())];
        headers.extend(token.map(|token| format!("Authorization: Bearer {token}")));
        self.exchange("POST", path, &headers, body).await
    }

    pub async fn post(&self, path: &str, token: Option<&str>, body: Value) -> Reply {
        self.send(path, token, "application/json", body.to_string().as_bytes()).await
    }

    pub async fn nonce(&self, token: &str, purpose: Value) -> Vec<u8> {
        let reply = self.post("/v1/nonces", Some(token), purpose).await;
        assert_eq!(reply.status, 201, "{}", String::from_utf8_lossy(&reply.body));
        unhex(reply.json()["nonce"].as_str().unwrap())
    }

    pub async fn enrolment_nonce(&self, token: &str) -> Vec<u8> {
        self.nonce(token, json!({"purpose": "attestation-key"})).await
    }

    pub async fn certificate_nonce(&self, token: &str) -> Vec<u8> {
        self.nonce(token, json!({"purpose": "certificate"})).await
    }

    pub fn enrolment_body(module: &Module, device: &str, nonce: &[u8]) -> Value {
        json!({
            "device": device,
            "ek_certificates": [b64(&module.ek_certificate)],
            "ak_public": b64(module.ak_public.as_bytes()),
            "nonce": hex(nonce),
        })
    }

    pub async fn challenge(&self, token: &str, module: &Module, device: &str) -> Reply {
        let nonce = self.enrolment_nonce(token).await;
        self.post("/v1/attestation-keys", Some(token), Self::enrolment_body(module, device, &nonce)).await
    }

    /// Answers a challenge as the module does.
    pub async fn answer(&self, token: &str, module: &Module, challenge: &Value) -> Reply {
        let secret = module
            .ek
            .activate(&module.ak_name(), &unb64(&challenge["credential_blob"]), &unb64(&challenge["secret"]))
            .unwrap();
        let path = format!("/v1/attestation-keys/{}/activation", challenge["id"].as_str().unwrap());
        self.post(&path, Some(token), json!({"secret": b64(&secret)})).await
    }

    pub async fn enroll(&self, token: &str, module: &Module, device: &str) -> Value {
        let challenge = self.challenge(token, module, device).await;
        assert_eq!(challenge.status, 201, "{}", String::from_utf8_lossy(&challenge.body));
        let activation = self.answer(token, module, &challenge.json()).await;
        assert_eq!(activation.status, 201, "{}", String::from_utf8_lossy(&activation.body));
        activation.json()
    }
}

pub async fn read_reply(stream: &mut TlsStream<TcpStream>) -> Reply {
    let mut octets = Vec::new();
    // A connection that ends without a TLS farewell has still answered.
    let _abrupt = stream.read_to_end(&mut octets).await;
    let end = octets.windows(4).position(|window| window == b"\r\n\r\n").expect("an answer with a head");
    let head = String::from_utf8(octets[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Reply { status, head, body: octets[end + 4..].to_vec() }
}

fn connector(
    root: &std::path::Path,
    clock: &Arc<FixedClock>,
    versions: &[&'static rustls::SupportedProtocolVersion],
    identity: Option<Identity>,
) -> TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(root).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let time: Arc<dyn rustls::time_provider::TimeProvider> = Arc::clone(clock) as _;
    let config = rustls::ClientConfig::builder_with_details(provider, time)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots);
    let config = match identity {
        None => config.with_no_client_auth(),
        // Certificate and key need not belong together: it is the server that must find out.
        Some((chain, key)) => {
            let chain = chain.into_iter().map(CertificateDer::from).collect();
            let key = PrivateKeyDer::Pkcs8(key.into());
            let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
            let shown = rustls::sign::SingleCertAndKey::from(rustls::sign::CertifiedKey::new(chain, key));
            config.with_client_cert_resolver(Arc::new(shown))
        }
    };
    TlsConnector::from(Arc::new(config))
}
