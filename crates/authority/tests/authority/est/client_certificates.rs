//! Client certificates: whose they are, for whom they speak, and when they no longer do.

use std::sync::Arc;

use vouchsafe_authority::Clock;
use vouchsafe_authority::lifecycle::Administration;
use vouchsafe_authority::store::RevocationReason;
use vouchsafe_evidence::oid;
use vouchsafe_evidence::x509::build;
use vouchsafe_evidence::x509::extensions::{BasicConstraints, KeyUsage};

use super::{Connection, PROFILES, certificates, enrolled, request_for};
use crate::module::{Module, SoftwareKey, Vendor};
use crate::site::{ALICE, BOB, Identity, NOW, Site, digest_hex};

/// A key of a device with its certificate, had by password.
async fn identity(site: &Site, module: &Module, ak_chain: &[Vec<u8>]) -> Identity {
    let key = SoftwareKey::generate();
    let mut connection = Connection::open(site, None).await.authenticated("alice", ALICE);
    let nonce = connection.nonce("").await;
    let reply = connection.enroll("simpleenroll", &request_for(&key, "x", module, &nonce, ak_chain)).await;
    let leaf = certificates(site, &reply.decoded()).remove(0);
    (vec![leaf.as_der().to_vec()], key.pkcs8())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_by_its_own_key() {
    let site = Site::start_with(PROFILES).await;
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let identity = identity(&site, &module, &ak_chain).await;
    site.clock.advance(86_400);
    let mut connection = Connection::open(&site, Some(identity.clone())).await;
    let nonce = connection.nonce("").await;
    let key = SoftwareKey::generate();
    let renewal = request_for(&key, "device-1", &module, &nonce, &ak_chain);
    let reply = connection.enroll("simplereenroll", &renewal).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let renewed = certificates(&site, &reply.decoded()).remove(0);
    assert_eq!(renewed.subject().to_display(), "CN=device-1");
    assert_eq!(renewed.not_before(), NOW + 86_400 - 300);

    // Another subject than that of the certificate which is renewed.
    let nonce = connection.nonce("").await;
    let other = request_for(&SoftwareKey::generate(), "device-2", &module, &nonce, &ak_chain);
    let refused = connection.enroll("simplereenroll", &other).await.refused(422);
    assert_eq!(refused, ["rejected", "authority.renewal-other-subject"]);
    // By password alone nothing is renewed.
    let mut connection = Connection::open(&site, None).await.authenticated("alice", ALICE);
    assert_eq!(connection.enroll("simplereenroll", &renewal).await.refused(401), ["unauthenticated"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_speaks_for_its_device_alone() {
    let site = Site::start_with(PROFILES).await;
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let (other, other_chain) = enrolled(&site, ALICE, "device-2").await;
    let identity = identity(&site, &module, &ak_chain).await;
    let mut connection = Connection::open(&site, Some(identity)).await;
    for operation in ["simpleenroll", "simplereenroll"] {
        let nonce = connection.nonce("").await;
        let request = request_for(&SoftwareKey::generate(), "device-1", &other, &nonce, &other_chain);
        let refused = connection.enroll(operation, &request).await.refused(422);
        assert_eq!(refused, ["rejected", "authority.subject-not-holders"], "{operation}");
    }
    let nonce = connection.nonce("").await;
    let request = request_for(&SoftwareKey::generate(), "device-1", &module, &nonce, &ak_chain);
    assert_eq!(connection.enroll("simpleenroll", &request).await.status, 200);
    // Where tokens count, it says nothing.
    let reply = connection.attempt("POST", "/v1/nonces", "application/json", br#"{"purpose":"certificate"}"#).await;
    assert_eq!(reply.unwrap().problem(), "unauthenticated");
    // Two credentials of two accounts.
    let mut connection = connection.authenticated("bob", BOB);
    assert_eq!(connection.get("nonce").await.refused(401), ["unauthenticated"]);
    let mut connection = connection.authenticated("alice", ALICE);
    assert_eq!(connection.get("nonce").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_certificate_counts_no_longer_in_connections_that_last() {
    let site = Site::start_with(PROFILES).await;
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let identity = identity(&site, &module, &ak_chain).await;
    let mut connection = Connection::open(&site, Some(identity.clone())).await;
    assert_eq!(connection.get("nonce").await.status, 200);
    let clock: Arc<dyn Clock> = Arc::clone(&site.clock) as _;
    let administration = Administration::open(&site.config(), clock).unwrap();
    let spki = module.ak.spki().sha256();
    let report = administration.revoke(&spki, RevocationReason::KeyCompromise, "ann", true).unwrap();
    assert!(report.revoked > 1);
    assert_eq!(connection.get("nonce").await.refused(401), ["unauthenticated"]);
    let mut anew = Connection::open(&site, Some(identity)).await;
    assert_eq!(anew.get("nonce").await.refused(401), ["unauthenticated"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a56_no_header_says_who_a_client_is() {
    let site = Site::start_with(PROFILES).await;
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let (certificates, _) = identity(&site, &module, &ak_chain).await;
    let encoded = crate::site::b64(&certificates[0]);
    let forged = [
        format!("Client-Cert: :{encoded}:"),
        format!("X-Client-Cert: {encoded}"),
        format!("X-SSL-Cert: {encoded}"),
        format!("X-Forwarded-Client-Cert: Cert=\"{encoded}\";Subject=\"CN=device-1\""),
        "X-SSL-Client-Verify: SUCCESS".to_owned(),
        "X-SSL-Client-S-DN: CN=device-1".to_owned(),
        "X-Remote-User: alice".to_owned(),
    ];
    for path in ["nonce", "simpleenroll", "simplereenroll"] {
        let method = if path == "nonce" { "GET" } else { "POST" };
        let mut headers = forged.to_vec();
        headers.push("Content-Length: 0".to_owned());
        let reply = site.exchange(method, &format!("/.well-known/est/{path}"), &headers, b"").await;
        assert_eq!(reply.refused(401), ["unauthenticated"], "{path}");
    }
}

/// Whether a client with this identity gets an answer to a request that everybody may make.
async fn is_let_in(site: &Site, identity: Identity) -> bool {
    match Connection::by(site, rustls::ALL_VERSIONS, Some(identity)).await {
        None => false,
        Some(mut connection) => {
            connection.attempt("GET", "/.well-known/est/cacerts", "text/plain", b"").await.is_some()
        }
    }
}

fn client_certificate(ca: &Vendor, now: i64) -> Identity {
    let key = SoftwareKey::generate();
    let extensions = vec![
        build::basic_constraints(true, BasicConstraints { ca: false, path_length: None }),
        build::key_usage(true, KeyUsage::from_bits(KeyUsage::DIGITAL_SIGNATURE)),
        build::extended_key_usage(false, &[oid::KP_CLIENT_AUTH]),
    ];
    (vec![ca.certify(key.spki(), now, extensions)], key.pkcs8())
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_and_foreign_certificates_end_the_handshake() {
    let site = Site::start_with(PROFILES).await;
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let own = identity(&site, &module, &ak_chain).await;
    assert!(is_let_in(&site, own.clone()).await);
    let stranger = client_certificate(&Vendor::new("Stranger", NOW), NOW);
    assert!(!is_let_in(&site, stranger).await);
    // The certificate with another key than its own.
    assert!(!is_let_in(&site, (own.0.clone(), SoftwareKey::generate().pkcs8())).await);
    let mut lasting = Connection::open(&site, Some(own.clone())).await;
    assert_eq!(lasting.get("nonce").await.status, 200);
    site.clock.advance(90 * 86_400 + 1);
    assert!(!is_let_in(&site, own).await);
    assert_eq!(lasting.get("nonce").await.refused(401), ["unauthenticated"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_may_name_an_authority_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, shared) = (Vendor::new("Ours", NOW), Vendor::new("Shared", NOW));
    let file = |name: &str, ca: &Vendor| {
        let path = dir.path().join(name);
        std::fs::write(&path, ca.root_pem()).unwrap();
        path.display().to_string()
    };
    let account = |name: &str, token: &str, ca: &str| {
        let digest = digest_hex(token);
        format!(
            "[[accounts]]\nname = '{name}'\ntoken_sha256 = '{digest}'\nmay = ['enroll', 'issue']\nclient_ca = '{ca}'\n"
        )
    };
    let both = file("shared.pem", &shared);
    let accounts = [
        account("alice", ALICE, &file("ours.pem", &ours)),
        account("bob", BOB, &both),
        account("dora", "dora-token", &both),
    ]
    .concat();
    let mut site = Site::install_for(tempfile::tempdir().unwrap(), PROFILES, &accounts);
    site.restart().await;
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let identity = client_certificate(&ours, NOW);
    let mut connection = Connection::open(&site, Some(identity)).await;
    let nonce = connection.nonce("").await;
    let reply = connection.enroll("simpleenroll", &module.csr(&nonce, &ak_chain, None)).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    // It was not issued here, so there is nothing to renew.
    let nonce = connection.nonce("").await;
    let request = request_for(&SoftwareKey::generate(), "device-1", &module, &nonce, &ak_chain);
    assert_eq!(connection.enroll("simplereenroll", &request).await.refused(401), ["unauthenticated"]);
    // Whose it is where two accounts name one authority cannot be told.
    let mut connection = Connection::open(&site, Some(client_certificate(&shared, NOW))).await;
    assert_eq!(connection.get("nonce").await.refused(401), ["unauthenticated"]);
}
