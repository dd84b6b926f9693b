//! EST: enrolment by password and by certificate, and nonces and proofs of possession that are bound to the connection.

#[path = "est/client_certificates.rs"]
mod client_certificates;
#[path = "est/client_lists.rs"]
mod client_lists;
#[path = "est/connection.rs"]
pub mod connection;
#[path = "est/sessions.rs"]
mod sessions;
#[path = "est/strongswan.rs"]
mod strongswan;

use std::process::Command;

use vouchsafe_evidence::tpm::EccScheme;
use vouchsafe_evidence::tpm::template::USER_KEY_ATTRIBUTES;
use vouchsafe_evidence::x509::CertView;

use self::connection::Connection;
use crate::module::{Module, SoftwareKey, request};
use crate::site::{ALICE, NOW, Site, b64, chain};

/// A site with a profile that does without a nonce where the client knows of none.
const PROFILES: &str = "[[profiles]]\nname='device'\n[[profiles]]\nname='stock'\nfreshness='when-given'\n";

pub async fn enrolled(site: &Site, token: &str, device: &str) -> (Module, Vec<Vec<u8>>) {
    let module = Module::new(&site.vendor, site.clock.now());
    let answer = site.enroll(token, &module, device).await;
    (module, chain(&answer["certificates"]["attest"]))
}

/// A request for a key by this name, whose key statement answers the nonce.
pub fn request_for(key: &SoftwareKey, name: &str, module: &Module, nonce: &[u8], ak_chain: &[Vec<u8>]) -> Vec<u8> {
    let public = key.public(USER_KEY_ATTRIBUTES, EccScheme::Null);
    request(key, name, vec![module.key_statement(&public, nonce)], ak_chain)
}

/// The certificates of a message, as openssl reads them.
pub fn certificates(site: &Site, message: &[u8]) -> Vec<CertView> {
    let (input, output) = (site.dir.path().join("message.p7"), site.dir.path().join("message.pem"));
    std::fs::write(&input, message).unwrap();
    let run = Command::new("openssl")
        .args(["pkcs7", "-inform", "DER", "-print_certs", "-in"])
        .args([input.as_os_str(), "-out".as_ref(), output.as_os_str()])
        .output()
        .unwrap();
    assert!(run.status.success(), "{run:?}");
    let blocks = vouchsafe_evidence::pem::read(&std::fs::read(output).unwrap()).unwrap();
    blocks.iter().map(|block| CertView::parse(block.contents()).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nonce_a_request_and_its_certificate() {
    let site = Site::start_with(PROFILES).await;
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let mut connection = Connection::open(&site, None).await.authenticated("alice", ALICE);
    let authorities = connection.get("cacerts").await;
    assert_eq!(authorities.status, 200);
    assert!(authorities.head.to_lowercase().contains("content-type: application/pkcs7-mime"), "{}", authorities.head);
    let authorities = certificates(&site, &authorities.decoded());
    assert_eq!(authorities.len(), 2);

    let nonce = connection.nonce("").await;
    assert_eq!(nonce.len(), 32);
    let csr = module.csr(&nonce, &ak_chain, None);
    let reply = connection.enroll("simpleenroll", &csr).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(reply.head.to_lowercase().contains("smime-type=certs-only"), "{}", reply.head);
    let issued = certificates(&site, &reply.decoded());
    assert_eq!(issued.len(), 1, "the certificate alone");
    assert_eq!(issued[0].subject().to_display(), "CN=device-1");
    assert_eq!((issued[0].not_before(), issued[0].not_after()), (NOW - 300, NOW + 90 * 86_400));
    assert!(authorities.iter().any(|ca| ca.subject() == issued[0].issuer()), "the chain is what cacerts gives");

    // The same request in the same connection gets the same certificate, another none.
    assert_eq!(connection.enroll("simpleenroll", &csr).await.decoded(), reply.decoded());
    let other = module.csr(&nonce, &ak_chain, None);
    assert_eq!(connection.enroll("simpleenroll", &other).await.refused(409), ["nonce-spent"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_false_statement_is_refused_with_every_code() {
    let site = Site::start_with(PROFILES).await;
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let key = SoftwareKey::generate();
    // fixedTPM, fixedParent and sensitiveDataOrigin clear: a key that was made outside and imported.
    let public = key.public(USER_KEY_ATTRIBUTES & !0x32, EccScheme::Null);
    let mut connection = Connection::open(&site, None).await.authenticated("alice", ALICE);
    let nonce = connection.nonce("").await;
    let csr = module.csr_for(&key, &public, &nonce, &ak_chain, None);
    let codes = connection.enroll("simpleenroll", &csr).await.refused(422);
    assert_eq!(codes[0], "rejected");
    assert!(codes.len() > 2 && codes.iter().any(|code| code == "tpm.key-not-fixed"), "{codes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_nonce_only_where_the_profile_says_so() {
    let site = Site::start_with(PROFILES).await;
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let csr = module.csr(b"sixteen octets..", &ak_chain, None);
    let mut connection = Connection::open(&site, None).await.authenticated("alice", ALICE);
    let refused = connection.enroll("simpleenroll", &csr).await.refused(422);
    assert_eq!(refused, ["rejected", "authority.freshness-required"]);
    let granted = connection.enroll("stock/simpleenroll", &csr).await;
    assert_eq!(granted.status, 200, "{}", granted.text());
    // In whatever connection: for ten minutes it is the same request.
    let mut another = Connection::open(&site, None).await.authenticated("alice", ALICE);
    assert_eq!(another.enroll("stock/simpleenroll", &csr).await.decoded(), granted.decoded());
    site.clock.advance(601);
    let later = another.enroll("stock/simpleenroll", &csr).await;
    assert_ne!(later.decoded(), granted.decoded());
    // What was refused is judged anew: there was nothing that it could be the answer to.
    let (theirs, their_chain) = enrolled(&site, crate::site::BOB, "device-2").await;
    let csr = theirs.csr(b"sixteen octets..", &their_chain, None);
    for _ in 0..2 {
        let refused = another.enroll("stock/simpleenroll", &csr).await.refused(422);
        assert_eq!(refused, ["rejected", "authority.other-account"]);
    }
    // Who asked for a nonce has to use it.
    let nonce = another.nonce("stock/").await;
    assert!(another.enroll("stock/simpleenroll", &csr).await.refused(422).contains(&"nonce.mismatch".to_owned()));
    let csr = module.csr(&nonce, &ak_chain, None);
    assert_eq!(another.enroll("stock/simpleenroll", &csr).await.refused(409), ["nonce-spent"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_est_is_refused_with_a_code() {
    let site = Site::start_with(PROFILES).await;
    let mut connection = Connection::open(&site, None).await.authenticated("alice", ALICE);
    for (content_type, body, status, code) in [
        ("application/json", b64(b"x"), 415, "unsupported-media-type"),
        ("application/pkcs10", "!".to_owned(), 400, "malformed-request"),
        ("application/pkcs10", "AAA".to_owned(), 400, "malformed-request"),
        ("application/pkcs10", String::new(), 422, "rejected"),
        ("application/pkcs10", b64(&[0x30, 0]), 422, "rejected"),
    ] {
        let reply = connection.post("stock/simpleenroll", content_type, body.as_bytes()).await;
        assert_eq!(reply.refused(status)[0], code, "{content_type} {body}");
    }
    assert_eq!(connection.get("none/cacerts").await.refused(400), ["unknown-profile"]);
    for (method, body, code) in [
        ("POST", "", "malformed-request"),
        ("GET", "{}", "malformed-request"),
        ("POST", r#"{"len":7}"#, "malformed-request"),
        ("POST", r#"{"len":"32"}"#, "malformed-request"),
        ("POST", "{", "malformed-request"),
    ] {
        let freshness = "application/est-attestation-freshness+json";
        let reply = connection.send(method, "nonce", freshness, body.as_bytes()).await;
        assert_eq!(reply.refused(400), [code], "{method} {body}");
    }
    let asked = br#"{"len":32,"reqTypeInfo":{"type":"1.2.3"}}"#;
    let reply = connection.post("nonce", "application/est-attestation-freshness+json", asked).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.json()["expiry"], 300);
    // Of another length there is none, and what a client has no room for it is not given.
    for len in [8, 16, 31, 33, 64] {
        let asked = format!(r#"{{"len":{len}}}"#);
        let reply = connection.post("nonce", "application/est-attestation-freshness+json", asked.as_bytes()).await;
        assert_eq!(reply.refused(400), ["nonce-length"], "{len}");
    }
    for operation in ["serverkeygen", "fullcmc", "stock/serverkeygen"] {
        assert_eq!(connection.post(operation, "application/pkcs10", b"").await.refused(501), ["not-implemented"]);
    }
    // An account that may enroll attesting keys may not have certificates.
    let mut carol = Connection::open(&site, None).await.authenticated("carol", crate::site::CAROL);
    for operation in ["nonce", "simpleenroll"] {
        let (method, body) = if operation == "nonce" { ("GET", "") } else { ("POST", "AAAA") };
        let reply = carol.send(method, operation, "application/pkcs10", body.as_bytes()).await;
        assert_eq!(reply.refused(403), ["not-permitted"]);
    }
}
