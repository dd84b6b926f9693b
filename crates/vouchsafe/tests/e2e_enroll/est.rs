//! Keys of a TPM certified by EST, with clients that were not written here: strongSwan's `pki`, which knows of no nonces,
//! and `openssl s_client`, in whose one connection the nonce is asked for and used.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use vouchsafe_evidence::bundle::AttestationBundle;
use vouchsafe_evidence::x509::build::{self, CsrTemplate};
use vouchsafe_evidence::x509::{CertView, SpkiView};
use vouchsafe_evidence::{oid, pem};
use vouchsafe_verifier::hex;

use crate::environment::{AuthoritySide, DeviceSide, openssl_accepts};

pub const PROFILES: &str =
    "[[profiles]]\nname = \"device\"\nfreshness = \"when-given\"\n[[profiles]]\nname = \"strict\"\n";

fn enrolled() -> (DeviceSide, AuthoritySide) {
    let device = DeviceSide::start();
    let authority = AuthoritySide::start_with(PROFILES, "enroll,issue", &[&device.swtpm], |_| {});
    let made = device.run(&authority, &["enroll", "ak", "--device", "node-1", "--state", "enroll"]);
    assert_eq!(made.code, 0, "{made:?}");
    (device, authority)
}

/// strongSwan's client for this request.
fn strongswan(device: &DeviceSide, authority: &AuthoritySide, csr: &str) -> Output {
    let token = fs::read_to_string(authority.path("token")).unwrap();
    Command::new("pki")
        .args(["--est", "--url", &authority.url, "--outform", "pem", "--in", csr])
        .args(["--userpass", &format!("lab:{}", token.trim())])
        .arg("--cacert")
        .arg(authority.tls_root())
        .arg("--cacert")
        .arg(authority.path("state/ca/issuing-root.crt"))
        .current_dir(device.folder.path())
        .output()
        .expect("strongSwan's pki, which scripts/prepare installs")
}

pub fn leaf(device: &DeviceSide, file: &str) -> CertView {
    let blocks = pem::read(&fs::read(device.path(file)).unwrap()).unwrap();
    CertView::parse(blocks[0].contents()).unwrap()
}

pub fn spki(device: &DeviceSide, authority: &AuthoritySide, key: &str) -> SpkiView {
    let shown = device.run(authority, &["key", "show", key]).stdout;
    let blocks = pem::read(shown.split_once('\n').unwrap().1.as_bytes()).unwrap();
    SpkiView::parse(blocks[0].contents()).unwrap()
}

/// A request for `key` with the statement about another.
pub fn false_request(
    device: &DeviceSide,
    authority: &AuthoritySide,
    key: &str,
    other: &str,
    nonce: Option<&str>,
) -> Vec<u8> {
    signed_request(device, authority, key, "node-1", vec![statement_about(device, authority, other, nonce)])
}

/// The attribute with what the TPM says of a key.
pub fn statement_about(device: &DeviceSide, authority: &AuthoritySide, key: &str, nonce: Option<&str>) -> Vec<u8> {
    let mut attest = vec!["key", "attest", key, "--out", "statement.pem"];
    attest.extend(nonce.iter().flat_map(|nonce| ["--nonce", nonce]));
    assert_eq!(device.run(authority, &attest).code, 0);
    let blocks = pem::read(&fs::read(device.path("statement.pem")).unwrap()).unwrap();
    build::attestation_attribute(&AttestationBundle::parse(blocks[0].contents()).unwrap())
}

/// A request with these attributes that the key itself signs; without a subject where `name` is empty.
pub fn signed_request(
    device: &DeviceSide,
    authority: &AuthoritySide,
    key: &str,
    name: &str,
    attributes: Vec<Vec<u8>>,
) -> Vec<u8> {
    let names = if name.is_empty() { &[][..] } else { &[(oid::COMMON_NAME, name)] };
    let subject = build::distinguished_name(names).unwrap();
    let info = CsrTemplate { subject, spki: spki(device, authority, key), attributes }.info_der();
    fs::write(device.path("info"), &info).unwrap();
    assert_eq!(device.run(authority, &["key", "sign", key, "info", "--out", "signature"]).code, 0);
    let signature = fs::read(device.path("signature")).unwrap();
    build::assemble(&info, &build::algorithm_identifier(oid::ECDSA_WITH_SHA256), &signature)
}

#[test]
fn strongswan_enrolls_a_key_of_the_tpm() {
    let (device, authority) = enrolled();
    let run = |arguments: &[&str]| device.run(&authority, arguments);
    for name in ["web", "other"] {
        assert_eq!(run(&["key", "create", name]).code, 0);
    }
    assert_eq!(run(&["csr", "web", "--out", "web.csr"]).code, 0);
    let made = strongswan(&device, &authority, "web.csr");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    fs::write(device.path("web.pem"), &made.stdout).unwrap();
    let issued = leaf(&device, "web.pem");
    assert_eq!(issued.subject().to_display(), "CN=node-1");
    assert!(issued.spki().same_key(&spki(&device, &authority, "web")));

    let fetched = Command::new("pki")
        .args(["--estca", "--url", &authority.url, "--outform", "pem", "--caout", "ca.pem", "--cacert"])
        .arg(authority.tls_root())
        .current_dir(device.folder.path())
        .output()
        .unwrap();
    assert!(fetched.status.success(), "{}", String::from_utf8_lossy(&fetched.stderr));
    let chain: Vec<u8> = fs::read_dir(device.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("ca"))
        .fold(made.stdout, |chain, path| [chain, fs::read(path).unwrap()].concat());
    fs::write(device.path("chain.pem"), chain).unwrap();
    assert!(openssl_accepts(
        &device.path("chain.pem"),
        &authority.path("state/ca/issuing-root.crt"),
        &["-x509_strict"]
    ));

    fs::write(device.path("false.csr"), false_request(&device, &authority, "web", "other", None)).unwrap();
    let refused = strongswan(&device, &authority, "false.csr");
    assert!(!refused.status.success() && refused.stdout.is_empty(), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("422"), "{refused:?}");
    // strongSwan shows the status of a refusal and keeps its text to itself, in which the same request is told why.
    let request = STANDARD.encode(fs::read(device.path("false.csr")).unwrap());
    let (status, told) = Session::open(&authority).send("POST", "simpleenroll", &request);
    assert_eq!(status, 422, "{told}");
    assert!(told.starts_with("rejected: ") && told.lines().any(|line| line.starts_with("bind.")), "{told}");
}

/// One TLS connection of `openssl s_client`.
struct Session {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    authorization: String,
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Session {
    fn open(authority: &AuthoritySide) -> Self {
        let token = fs::read_to_string(authority.path("token")).unwrap();
        let mut child = Command::new("openssl")
            .args(["s_client", "-quiet", "-verify_return_error", "-tls1_3", "-servername", "localhost", "-connect"])
            .arg(authority.url.strip_prefix("https://").unwrap())
            .arg("-CAfile")
            .arg(authority.tls_root())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (to, from) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, to, from, authorization: STANDARD.encode(format!("lab:{}", token.trim())) }
    }

    /// Status and body of an answer.
    fn send(&mut self, method: &str, path: &str, body: &str) -> (u16, String) {
        let request = format!(
            "{method} /.well-known/est/{path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {}\r\n\
             Content-Type: application/pkcs10\r\nContent-Length: {}\r\n\r\n{body}",
            self.authorization,
            body.len()
        );
        self.to.write_all(request.as_bytes()).unwrap();
        self.to.flush().unwrap();
        let (mut status, mut length) = (0, 0);
        for number in 0.. {
            let mut line = String::new();
            assert!(self.from.read_line(&mut line).unwrap() > 0, "the connection ended");
            let line = line.trim_end().to_lowercase();
            match line.strip_prefix("content-length: ") {
                Some(text) => length = text.parse().unwrap(),
                None if number == 0 => status = line.split(' ').nth(1).unwrap().parse().unwrap(),
                None if line.is_empty() => break,
                None => {}
            }
        }
        let mut body = vec![0; length];
        self.from.read_exact(&mut body).unwrap();
        (status, String::from_utf8(body).unwrap())
    }

    /// A nonce for the profile `strict`, in hexadecimal.
    fn nonce(&mut self) -> String {
        let (status, answer) = self.send("GET", "strict/nonce", "");
        assert_eq!(status, 200, "{answer}");
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        hex::encode(&URL_SAFE_NO_PAD.decode(answer["nonce"].as_str().unwrap()).unwrap())
    }
}

#[test]
fn a_nonce_of_the_connection_is_answered_by_the_tpm() {
    let (device, authority) = enrolled();
    let run = |arguments: &[&str]| device.run(&authority, arguments);
    for name in ["web", "other"] {
        assert_eq!(run(&["key", "create", name]).code, 0);
    }
    let mut session = Session::open(&authority);
    let nonce = session.nonce();
    assert_eq!(run(&["csr", "web", "--nonce", &nonce, "--out", "web.csr"]).code, 0);
    let blocks = pem::read(&fs::read(device.path("web.csr")).unwrap()).unwrap();
    let csr = STANDARD.encode(blocks[0].contents());
    // A connection of its own has a nonce of its own.
    let (status, told) = Session::open(&authority).send("POST", "strict/simpleenroll", &csr);
    assert!(status == 422 && told.contains("authority.freshness-required"), "{told}");
    let (status, answer) = session.send("POST", "strict/simpleenroll", &csr);
    assert_eq!(status, 200, "{answer}");
    fs::write(device.path("web.p7"), STANDARD.decode(answer).unwrap()).unwrap();
    let read = Command::new("openssl")
        .args(["pkcs7", "-inform", "DER", "-in", "web.p7", "-print_certs", "-out", "web.pem"])
        .current_dir(device.folder.path())
        .output()
        .unwrap();
    assert!(read.status.success(), "{read:?}");
    assert_eq!(leaf(&device, "web.pem").subject().to_display(), "CN=node-1");

    // The key of a true statement is not the request's.
    let nonce = session.nonce();
    let csr = STANDARD.encode(false_request(&device, &authority, "web", "other", Some(&nonce)));
    let (status, told) = session.send("POST", "strict/simpleenroll", &csr);
    assert_eq!(status, 422, "{told}");
    assert!(told.starts_with("rejected: ") && told.lines().any(|line| line.starts_with("bind.")), "{told}");
}
