//! A nonce and a proof of possession count in their own connection, protocol, account and profile.

use serde_json::json;
use vouchsafe_evidence::bundle::AttestationStatement;
use vouchsafe_evidence::oid;
use vouchsafe_evidence::statement::KeyPop;
use vouchsafe_evidence::tpm::EccScheme;
use vouchsafe_evidence::tpm::template::USER_KEY_ATTRIBUTES;

use super::{Connection, PROFILES, enrolled};
use crate::module::{SoftwareKey, request};
use crate::site::{ALICE, BOB, Site, b64, hex};

#[tokio::test(flavor = "multi_thread")]
async fn a44_a_nonce_of_one_connection_is_none_in_another() {
    let site = Site::start_with(PROFILES).await;
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let mut one = Connection::open(&site, None).await.authenticated("alice", ALICE);
    let mut other = Connection::open(&site, None).await.authenticated("alice", ALICE);
    let nonce = one.nonce("").await;
    let captured = module.csr(&nonce, &ak_chain, None);
    // A connection that asked for no nonce, then one that asked for its own.
    let refused = other.enroll("simpleenroll", &captured).await.refused(422);
    assert_eq!(refused, ["rejected", "authority.freshness-required"]);
    other.nonce("").await;
    assert!(other.enroll("simpleenroll", &captured).await.refused(422).contains(&"nonce.mismatch".to_owned()));
    // Nor by another protocol.
    let body = json!({"csr": b64(&captured), "nonce": hex(&nonce)});
    let reply = site.post("/v1/certificates", Some(ALICE), body).await;
    assert_eq!((reply.status, reply.problem().as_str()), (422, "nonce-unknown"));
    // Where it belongs it is good.
    assert_eq!(one.enroll("simpleenroll", &captured).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nonce_of_json_is_none_in_est() {
    let site = Site::start_with(PROFILES).await;
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let nonce = site.certificate_nonce(ALICE).await;
    let csr = module.csr(&nonce, &ak_chain, None);
    let mut connection = Connection::open(&site, None).await.authenticated("alice", ALICE);
    let refused = connection.enroll("simpleenroll", &csr).await.refused(422);
    assert_eq!(refused, ["rejected", "authority.freshness-required"]);
    connection.nonce("").await;
    assert!(connection.enroll("simpleenroll", &csr).await.refused(422).contains(&"nonce.mismatch".to_owned()));
    let body = json!({"csr": b64(&csr), "nonce": hex(&nonce)});
    assert_eq!(site.post("/v1/certificates", Some(ALICE), body).await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nonce_of_one_account_or_profile_is_none_for_another() {
    let site = Site::start_with(PROFILES).await;
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let mut connection = Connection::open(&site, None).await.authenticated("alice", ALICE);
    let nonce = connection.nonce("").await;
    let csr = module.csr(&nonce, &ak_chain, None);
    assert_eq!(connection.enroll("stock/simpleenroll", &csr).await.refused(422), ["nonce-unknown"]);
    let mut connection = connection.authenticated("bob", BOB);
    assert_eq!(connection.enroll("simpleenroll", &csr).await.refused(422), ["nonce-unknown"]);
    let mut connection = connection.authenticated("alice", ALICE);
    assert_eq!(connection.enroll("simpleenroll", &csr).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nonce_expires_in_its_connection_too() {
    let site = Site::start_with(PROFILES).await;
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let mut connection = Connection::open(&site, None).await.authenticated("alice", ALICE);
    let nonce = connection.nonce("").await;
    site.clock.advance(301);
    let csr = module.csr(&nonce, &ak_chain, None);
    assert_eq!(connection.enroll("simpleenroll", &csr).await.refused(422), ["nonce-expired"]);
    // The one asked for last is the one that counts.
    let (first, second) = (connection.nonce("").await, connection.nonce("").await);
    assert_ne!(first, second);
    let refused = connection.enroll("simpleenroll", &module.csr(&first, &ak_chain, None)).await.refused(422);
    assert!(refused.contains(&"nonce.mismatch".to_owned()), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_of_possession_names_its_connection() {
    let site = Site::start_with(PROFILES).await;
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let mut connection = Connection::open(&site, None).await.authenticated("alice", ALICE);
    let stranger = Connection::open(&site, None).await;
    let with_proof = |nonce: &[u8], context: &[u8]| {
        let key = SoftwareKey::generate();
        let public = key.public(USER_KEY_ATTRIBUTES, EccScheme::Null);
        let proof = KeyPop { nonce: nonce.to_vec(), context: context.to_vec() };
        let proof = AttestationStatement::new(oid::STATEMENT_KEY_POP, proof.to_der());
        request(&key, "x", vec![module.key_statement(&public, nonce), proof], &ak_chain)
    };
    for context in [&b""[..], &stranger.exporter(), &[0; 32]] {
        let nonce = connection.nonce("").await;
        let refused = connection.enroll("simpleenroll", &with_proof(&nonce, context)).await.refused(422);
        assert!(refused.contains(&"pop.context".to_owned()), "{refused:?}");
    }
    let nonce = connection.nonce("").await;
    let own = connection.exporter();
    let reply = connection.enroll("simpleenroll", &with_proof(&nonce, &own)).await;
    assert_eq!(reply.status, 200, "{}", reply.text());

    // With JSON there is no session to name.
    let nonce = site.certificate_nonce(ALICE).await;
    let body = json!({"csr": b64(&with_proof(&nonce, &own)), "nonce": hex(&nonce)});
    let reply = site.post("/v1/certificates", Some(ALICE), body).await;
    assert!(reply.codes().contains(&"pop.context".to_owned()), "{:?}", reply.codes());
    let nonce = site.certificate_nonce(ALICE).await;
    let body = json!({"csr": b64(&with_proof(&nonce, b"")), "nonce": hex(&nonce)});
    assert_eq!(site.post("/v1/certificates", Some(ALICE), body).await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn by_tls_1_2_there_is_nothing_to_bind_a_nonce_to() {
    let site = Site::start_with(PROFILES).await;
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let versions: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS12];
    let mut connection = Connection::by(&site, versions, None).await.unwrap().authenticated("alice", ALICE);
    assert_eq!(connection.get("nonce").await.refused(503), ["tls-1.3-needed"]);
    let csr = module.csr(b"sixteen octets..", &ak_chain, None);
    let refused = connection.enroll("simpleenroll", &csr).await.refused(422);
    assert_eq!(refused, ["rejected", "authority.freshness-required"]);
    assert_eq!(connection.enroll("stock/simpleenroll", &csr).await.status, 200);
}
