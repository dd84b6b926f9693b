//! A client of ACME, written from RFC 8555 for these tests.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

use aws_lc_rs::{digest, hmac};
use serde_json::{Value, json};
use vouchsafe_evidence::base64url::encode;

use super::resolver::{refuse, resolve};
use crate::module::SoftwareKey;
use crate::site::{Reply, Site, digest_hex};

/// The key by which `alice` binds accounts.
pub const ALICE_SECRET: [u8; 32] = [0xA1; 32];
/// The key by which `bob` does.
pub const BOB_SECRET: [u8; 32] = [0xB0; 32];

/// Whatever was proven may stand in the certificates of a profile.
const NAMES: &str = "alternative_names = ['dns', 'permanent-identifier', 'hardware-module']";

/// A resolver that knows every name, and a host that has them all.
pub struct Stage {
    pub resolver: SocketAddr,
    pub host: SocketAddr,
    /// Texts by name.
    pub texts: Arc<Mutex<HashMap<String, String>>>,
    /// Bodies by path.
    pub files: Arc<Mutex<HashMap<String, String>>>,
}

impl Stage {
    pub fn new() -> Self {
        let (texts, files) = (Arc::default(), Arc::default());
        Self { resolver: resolve(Arc::clone(&texts)), host: host(Arc::clone(&files)), texts, files }
    }

    /// As [`Stage::new`], where somebody else answers for every host.
    pub fn without_host() -> Self {
        let (texts, files) = (Arc::default(), Arc::default());
        let host = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        Self { resolver: resolve(Arc::clone(&texts)), host, texts, files }
    }

    /// As [`Stage::new`], where no name is known.
    pub fn without_names() -> Self {
        let (texts, files) = (Arc::default(), Arc::default());
        Self { resolver: refuse(), host: host(Arc::clone(&files)), texts, files }
    }

    /// Settings of a site that validates on this stage.
    pub fn settings(&self, dir: &std::path::Path, port: u16, private: bool) -> String {
        for (name, secret) in [("alice", ALICE_SECRET), ("bob", BOB_SECRET)] {
            let path = dir.join(format!("{name}.key"));
            std::fs::write(&path, encode(&secret)).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        format!(
            "[acme]\nurl = 'https://localhost:{port}'\nhttp_port = {}\nresolver = '{}'\nprivate_addresses = {private}\n\
             external_accounts = {{ alice = '{}', bob = '{}' }}\n\
             [[profiles]]\nname = 'device'\n{NAMES}\n[[profiles]]\nname = 'stock'\nfreshness = 'when-given'\n\
             extended_key_usage = ['client-auth', 'server-auth']\n{NAMES}\n[[profiles]]\nname = 'nameless'\n\
             [[profiles]]\nname = 'any'\ndevices = 'any'\n{NAMES}\n\
             [[profiles]]\nname = 'any-stock'\ndevices = 'any'\nfreshness = 'when-given'\n{NAMES}\n",
            self.host.port(),
            self.resolver,
            dir.join("alice.key").display(),
            dir.join("bob.key").display(),
        )
    }

    /// A site on this stage, at a port that its configuration names.
    pub async fn site(&self, now: i64, private: bool) -> Site {
        self.site_with(now, private, "").await
    }

    /// The same with further settings.
    pub async fn site_with(&self, now: i64, private: bool, further: &str) -> Site {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let dir = tempfile::tempdir().unwrap();
        let settings = self.settings(dir.path(), port, private) + further;
        let account = |name: &str, token| {
            format!(
                "[[accounts]]\nname = '{name}'\ntoken_sha256 = '{}'\nmay = ['enroll', 'issue']\n",
                digest_hex(token)
            )
        };
        let accounts = account("alice", crate::site::ALICE) + &account("bob", crate::site::BOB);
        let mut site = Site::install_at(dir, now, &settings, &accounts);
        site.reconfigure(|config| config.replace("127.0.0.1:0", &format!("127.0.0.1:{port}")));
        site.restart().await;
        site
    }
}

fn host(files: Arc<Mutex<HashMap<String, String>>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut request = [0; 2048];
            let length = stream.read(&mut request).unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..length]).into_owned();
            let path = request.split(' ').nth(1).unwrap_or_default();
            let body = files.lock().unwrap().get(path).cloned();
            let answer = match body {
                Some(body) => format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()),
                None => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
            };
            // The server may have hung up.
            let _gone = stream.write_all(answer.as_bytes());
        }
    });
    address
}

/// The value of a header.
pub fn header(reply: &Reply, name: &str) -> Option<String> {
    reply.head.lines().find_map(|line| {
        let (found, value) = line.split_once(": ")?;
        found.eq_ignore_ascii_case(name).then(|| value.to_owned())
    })
}

/// The codes of a refusal, whose form is checked.
pub fn codes(reply: &Reply) -> Vec<String> {
    assert!(header(reply, "content-type").unwrap() == "application/problem+json", "{}", reply.head);
    let problem = reply.json();
    assert_eq!(problem["status"], reply.status);
    assert!(problem["type"].as_str().unwrap().starts_with("urn:ietf:params:acme:error:"), "{problem}");
    let subproblems = problem["subproblems"].as_array().unwrap();
    let code = |part: &Value| part["type"].as_str().unwrap().strip_prefix("urn:vouchsafe:problem:").unwrap().to_owned();
    let codes: Vec<String> = subproblems.iter().map(code).collect();
    assert!(codes.iter().all(|code| problem["detail"].as_str().unwrap().contains(code)), "{problem}");
    codes
}

pub fn jwk(key: &SoftwareKey) -> Value {
    let (x, y) = key.point();
    json!({ "kty": "EC", "crv": "P-256", "x": encode(&x), "y": encode(&y) })
}

pub fn thumbprint(key: &SoftwareKey) -> String {
    let (x, y) = key.point();
    let text = format!(r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#, encode(&x), encode(&y));
    encode(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
}

/// A JWS over a payload; `None` is the empty one.
pub fn sign(key: &SoftwareKey, header: &Value, payload: Option<&Value>) -> Value {
    let protected = encode(header.to_string().as_bytes());
    let payload = payload.map_or(String::new(), |payload| encode(payload.to_string().as_bytes()));
    let signature = encode(&key.sign_fixed(format!("{protected}.{payload}").as_bytes()));
    json!({ "protected": protected, "payload": payload, "signature": signature })
}

/// The binding of an account's key to an external account.
pub fn binding(name: &str, secret: &[u8], url: &str, key: &Value) -> Value {
    let protected = encode(json!({ "alg": "HS256", "kid": name, "url": url }).to_string().as_bytes());
    let payload = encode(key.to_string().as_bytes());
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), format!("{protected}.{payload}").as_bytes());
    json!({ "protected": protected, "payload": payload, "signature": encode(mac.as_ref()) })
}

/// An account with its key.
pub struct Client<'a> {
    pub site: &'a Site,
    pub key: SoftwareKey,
    pub kid: String,
}

impl<'a> Client<'a> {
    /// A new account, bound to one of the authority's.
    pub async fn register(site: &'a Site, name: &str, secret: &[u8]) -> Self {
        let mut client = Self { site, key: SoftwareKey::generate(), kid: String::new() };
        let url = client.url("new-account");
        let payload = json!({ "externalAccountBinding": binding(name, secret, &url, &jwk(&client.key)) });
        let reply = client.post_with(&url, json!({ "jwk": jwk(&client.key) }), Some(&payload)).await;
        assert_eq!(reply.status, 201, "{}", String::from_utf8_lossy(&reply.body));
        client.kid = header(&reply, "location").unwrap();
        client
    }

    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}/acme/{path}", self.site.address().port())
    }

    pub async fn nonce(&self) -> String {
        let reply = self.site.exchange("HEAD", "/acme/new-nonce", &[], b"").await;
        assert_eq!(reply.status, 200);
        header(&reply, "replay-nonce").unwrap()
    }

    pub async fn post(&self, url: &str, payload: Option<&Value>) -> Reply {
        self.post_with(url, json!({ "kid": self.kid }), payload).await
    }

    /// With these members in the protected header instead of the account.
    pub async fn post_with(&self, url: &str, members: Value, payload: Option<&Value>) -> Reply {
        let mut header = json!({ "alg": "ES256", "nonce": self.nonce().await, "url": url });
        for (name, value) in members.as_object().unwrap() {
            header[name] = value.clone();
        }
        self.send(url, &sign(&self.key, &header, payload)).await
    }

    pub async fn send(&self, url: &str, jws: &Value) -> Reply {
        let body = jws.to_string();
        let headers = ["Content-Type: application/jose+json".to_owned(), format!("Content-Length: {}", body.len())];
        let path = url.splitn(4, '/').nth(3).unwrap();
        self.site.exchange("POST", &format!("/{path}"), &headers, body.as_bytes()).await
    }

    /// A new order: its URL, and what the server says of it.
    pub async fn order(&self, identifiers: Value, profile: &str) -> (String, Value) {
        let payload = json!({ "identifiers": identifiers, "profile": profile });
        let reply = self.post(&self.url("new-order"), Some(&payload)).await;
        assert_eq!(reply.status, 201, "{}", String::from_utf8_lossy(&reply.body));
        (header(&reply, "location").unwrap(), reply.json())
    }

    pub async fn read(&self, url: &Value) -> Value {
        let reply = self.post(url.as_str().unwrap(), None).await;
        assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
        reply.json()
    }

    /// The challenge of this type of an order's first authorization.
    pub async fn challenge(&self, order: &Value, kind: &str) -> Value {
        let authorization = self.read(&order["authorizations"][0]).await;
        let challenges = authorization["challenges"].as_array().unwrap();
        challenges.iter().find(|challenge| challenge["type"] == kind).unwrap().clone()
    }

    pub fn key_authorization(&self, challenge: &Value) -> String {
        format!("{}.{}", challenge["token"].as_str().unwrap(), thumbprint(&self.key))
    }

    /// Meets http-01 of a new order for `name`: its URL, and what the server says of it then.
    pub async fn proven(&self, stage: &Stage, name: &str, profile: &str) -> (String, Value) {
        let (url, order) = self.order(json!([{ "type": "dns", "value": name }]), profile).await;
        let challenge = self.challenge(&order, "http-01").await;
        let path = format!("/.well-known/acme-challenge/{}", challenge["token"].as_str().unwrap());
        stage.files.lock().unwrap().insert(path, self.key_authorization(&challenge));
        let reply = self.post(challenge["url"].as_str().unwrap(), Some(&json!({}))).await;
        assert_eq!(reply.json()["status"], "valid", "{}", String::from_utf8_lossy(&reply.body));
        let order = self.read(&json!(url)).await;
        assert_eq!(order["status"], "ready");
        (url, order)
    }

    pub async fn finalize(&self, order: &Value, csr: &[u8], nonce: Option<&Value>) -> Reply {
        let mut payload = json!({ "csr": encode(csr) });
        if let Some(nonce) = nonce {
            payload["attestationNonce"] = nonce.clone();
        }
        self.post(order["finalize"].as_str().unwrap(), Some(&payload)).await
    }
}
