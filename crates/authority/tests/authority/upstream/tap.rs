//! A TLS server in front of an upstream: it shows what is sent there, and does with the answers what a test wants.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use vouchsafe_evidence::oid;
use vouchsafe_evidence::x509::build;
use vouchsafe_evidence::x509::extensions::{BasicConstraints, GeneralName, KeyUsage};

use crate::module::{SoftwareKey, pem, sign_certificate};
use crate::site::{NOW, Site};

/// A request as it came.
#[derive(Clone)]
pub struct Seen {
    pub head: String,
    pub body: Vec<u8>,
}

/// Makes an answer: a status, headers, and a body.
pub type Make = Box<dyn FnOnce(&Seen) -> (u16, &'static str, Vec<u8>) + Send>;

/// What becomes of one request.
pub enum Action {
    /// The upstream answers.
    Forward,
    /// The upstream answers, and nobody hears it.
    Lose,
    /// The upstream answers later.
    Delay(Duration),
    /// This is the answer.
    Answer(Make),
    /// There is none for as long as the client waits.
    Hang,
}

#[derive(Clone)]
pub enum Backend {
    Nobody,
    Site(Arc<Site>),
    /// A server that speaks HTTP without TLS.
    Plain(u16),
}

pub struct Tap {
    pub address: SocketAddr,
    root: Vec<u8>,
    seen: Arc<Mutex<Vec<Seen>>>,
    script: Arc<Mutex<VecDeque<Action>>>,
}

fn server_config() -> (rustls::ServerConfig, Vec<u8>) {
    let (root_key, key) = (SoftwareKey::generate(), SoftwareKey::generate());
    let name = |text| build::distinguished_name(&[(oid::COMMON_NAME, text)]).unwrap();
    let ca = vec![
        build::basic_constraints(true, BasicConstraints { ca: true, path_length: None }),
        build::key_usage(true, KeyUsage::from_bits(KeyUsage::KEY_CERT_SIGN)),
    ];
    let root = sign_certificate((&name("Tap Root"), &root_key), name("Tap Root"), root_key.spki(), NOW, ca);
    let leaf = vec![
        build::extended_key_usage(false, &[oid::KP_SERVER_AUTH]),
        build::subject_alt_name(false, &[GeneralName::Dns(b"localhost".to_vec())]),
    ];
    let leaf = sign_certificate((&name("Tap Root"), &root_key), name("localhost"), key.spki(), NOW, leaf);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.pkcs8()));
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(leaf)], key)
        .unwrap();
    (config, root)
}

/// The whole of one request, by its Content-Length.
async fn read_request(stream: &mut (impl AsyncReadExt + Unpin)) -> Option<Seen> {
    let mut octets = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some(end) = octets.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(octets[..end].to_vec()).unwrap();
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
            if octets.len() - end - 4 >= length.parse::<usize>().unwrap() {
                return Some(Seen { head, body: octets[end + 4..].to_vec() });
            }
        }
        match stream.read(&mut buffer).await {
            Ok(length) if length > 0 => octets.extend_from_slice(&buffer[..length]),
            _ => return None,
        }
    }
}

async fn ask(backend: &Backend, seen: &Seen) -> Option<Vec<u8>> {
    let path = seen.head.split(' ').nth(1).unwrap();
    let kept = ["content-type", "authorization", "content-transfer-encoding", "content-length"];
    let headers: Vec<String> = seen
        .head
        .lines()
        .skip(1)
        .filter(|line| kept.contains(&line.split(':').next().unwrap().to_lowercase().as_str()))
        .map(str::to_owned)
        .collect();
    match backend {
        Backend::Nobody => None,
        Backend::Site(site) => {
            let reply = site.exchange("POST", path, &headers, &seen.body).await;
            Some([reply.head.as_bytes(), b"\r\n\r\n", &reply.body].concat())
        }
        Backend::Plain(port) => {
            let mut stream = TcpStream::connect(("127.0.0.1", *port)).await.ok()?;
            let head = format!("POST {path} HTTP/1.0\r\nHost: localhost\r\n{}\r\n\r\n", headers.join("\r\n"));
            stream.write_all(head.as_bytes()).await.ok()?;
            stream.write_all(&seen.body).await.ok()?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.ok()?;
            Some(answer)
        }
    }
}

impl Tap {
    pub async fn start(backend: Backend) -> Self {
        let (config, root) = server_config();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, script) = (Arc::<Mutex<Vec<Seen>>>::default(), Arc::<Mutex<VecDeque<Action>>>::default());
        let (all, actions) = (Arc::clone(&seen), Arc::clone(&script));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, backend) = (acceptor.clone(), backend.clone());
                let (all, actions) = (Arc::clone(&all), Arc::clone(&actions));
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let Some(request) = read_request(&mut stream).await else { return };
                    all.lock().unwrap().push(request.clone());
                    let action = actions.lock().unwrap().pop_front().unwrap_or(Action::Forward);
                    let answer = match action {
                        Action::Forward => ask(&backend, &request).await,
                        Action::Lose => {
                            ask(&backend, &request).await.unwrap();
                            None
                        }
                        Action::Delay(time) => {
                            tokio::time::sleep(time).await;
                            ask(&backend, &request).await
                        }
                        Action::Hang => {
                            tokio::time::sleep(Duration::from_secs(60)).await;
                            None
                        }
                        Action::Answer(make) => {
                            let (status, headers, body) = make(&request);
                            let head =
                                format!("HTTP/1.1 {status} x\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
                            Some([head.as_bytes(), &body].concat())
                        }
                    };
                    let Some(answer) = answer else { return };
                    let _gone = stream.write_all(&answer).await;
                    let _gone = stream.shutdown().await;
                });
            }
        });
        Self { address, root, seen, script }
    }

    /// The next requests meet these, in this order; those after them are forwarded.
    pub fn then(&self, actions: impl IntoIterator<Item = Action>) {
        self.script.lock().unwrap().extend(actions);
    }

    /// What came since this was asked last.
    pub fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }

    /// Writes the root of its TLS certificate, and says where.
    pub fn root(&self, folder: &Path) -> String {
        let path = folder.join("tap-root.pem");
        std::fs::write(&path, pem(&self.root)).unwrap();
        path.display().to_string()
    }
}
