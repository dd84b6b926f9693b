//! Certificates that administrators revoke: by a route, and at the authority's machine.

use std::sync::Arc;

use serde_json::{Value, json};
use vouchsafe_authority::request::{Revocable, RevocationRequest};
use vouchsafe_authority::store::{RevocationReason, Sqlite, Store};
use vouchsafe_authority::{Administration, AdministrationError, Clock, Error};
use vouchsafe_evidence::x509::{CertView, CrlView};

use crate::certified_keys::{Client, site};
use crate::module::SoftwareKey;
use crate::site::{ALICE, BOB, Reply, Site, digest_hex, hex};

async fn revoke(site: &Site, body: Value) -> Reply {
    site.post("/v1/revocations", Some(ALICE), body).await
}

/// The serial numbers in the list that is served now, each with its time; and the reasons that it tells, in the same order.
async fn listed(site: &Site) -> (Vec<(Vec<u8>, i64)>, Vec<u8>) {
    // OID of reasonCode, an OCTET STRING of three octets, an ENUMERATED of one.
    const REASON: [u8; 7] = [0x55, 0x1D, 0x15, 0x04, 0x03, 0x0A, 0x01];
    let reply = site.exchange("GET", "/v1/revocation-lists/issuing", &[], b"").await;
    let list = CrlView::parse(&reply.body).unwrap();
    let entries = list.entries().map(|entry| (entry.serial().to_vec(), entry.revoked_at())).collect();
    let reasons = reply.body.windows(8).filter(|octets| octets[..7] == REASON).map(|octets| octets[7]).collect();
    (entries, reasons)
}

fn serial(certificate: &[u8]) -> Vec<u8> {
    CertView::parse(certificate).unwrap().serial().to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_administrator_revokes_is_in_the_next_list_at_once() {
    let site = site("").await;
    let client = Client::enrolled(&site, "device-1").await;
    let (key, other) = (SoftwareKey::generate(), SoftwareKey::generate());
    let mut certificates = Vec::new();
    for key in [&key, &key, &key, &other] {
        certificates.push(serial(&client.certificate(&site, "device", key, "").await));
    }
    assert_eq!(listed(&site).await, (vec![], vec![]));
    let began = site.clock.now();
    let one = json!({"serial": hex(&certificates[0]), "reason": "superseded"});
    let reply = revoke(&site, one.clone()).await;
    assert_eq!((reply.status, reply.json()), (200, json!({"revoked": 1})));
    assert_eq!(listed(&site).await, (vec![(certificates[0].clone(), began)], vec![4]));
    // Again it does nothing, whatever the reason.
    site.clock.advance(5);
    for body in [one, json!({"serial": hex(&certificates[0]), "reason": "unspecified"})] {
        assert_eq!(revoke(&site, body).await.json(), json!({"revoked": 0}));
    }
    assert_eq!(listed(&site).await, (vec![(certificates[0].clone(), began)], vec![4]));
    // The rest of the key's, and the key with them.
    let all = json!({"key": hex(&key.spki().sha256()), "reason": "key-compromise"});
    assert_eq!(revoke(&site, all.clone()).await.json(), json!({"revoked": 2}));
    assert_eq!(revoke(&site, all).await.json(), json!({"revoked": 0}));
    let (entries, reasons) = listed(&site).await;
    assert_eq!((entries.len(), reasons), (3, vec![4, 1, 1]));
    for certificate in &certificates[1..3] {
        assert!(entries.contains(&(certificate.clone(), began + 5)), "{entries:?}");
    }
    let refused = client.ask(&site, "device", &key, "").await;
    assert_eq!((refused.status, refused.codes()), (422, vec!["authority.key-compromised".to_owned()]));
    client.certificate(&site, "device", &other, "").await;
    // Who decided it is on record.
    let store = Sqlite::open(&site.state().join("authority.sqlite")).unwrap();
    let decisions = (1..60).filter_map(|id| store.decision(id).unwrap());
    let by: Vec<String> = decisions.filter(|decision| decision.kind == "revocation").map(|of| of.account).collect();
    assert_eq!(by, ["alice"; 5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_others_have_the_key_of_goes_with_the_others_of_that_key() {
    let site = site("").await;
    let client = Client::enrolled(&site, "device-1").await;
    let (key, other) = (SoftwareKey::generate(), SoftwareKey::generate());
    let mut certificates = Vec::new();
    for key in [&key, &key, &other] {
        certificates.push(serial(&client.certificate(&site, "device", key, "").await));
    }
    let body = json!({"serial": hex(&certificates[1]), "reason": "key-compromise"});
    assert_eq!(revoke(&site, body).await.json(), json!({"revoked": 2}));
    let (entries, reasons) = listed(&site).await;
    let listed: Vec<Vec<u8>> = entries.into_iter().map(|(serial, _)| serial).collect();
    assert_eq!((listed.len(), reasons), (2, vec![1, 1]));
    assert!(listed.contains(&certificates[0]) && listed.contains(&certificates[1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_revocation_is_refused() {
    let mut site = site("").await;
    let client = Client::enrolled(&site, "device-1").await;
    let certificate = client.certificate(&site, "device", &SoftwareKey::generate(), "").await;
    let number = hex(&serial(&certificate));
    let ak = hex(&client.module.ak.spki().sha256());
    let problem = async |body: Value| {
        let reply = revoke(&site, body).await;
        (reply.status, reply.problem())
    };
    let malformed = (400, "malformed-request".to_owned());
    // Reasons that could be lifted, or are not about such certificates, by word and by number.
    for reason in ["certificate-hold", "certificateHold", "remove-from-crl", "ca-compromise", "6", "8", ""] {
        assert_eq!(problem(json!({"serial": number, "reason": reason})).await, malformed, "{reason}");
    }
    for body in [
        json!({"serial": number}),
        json!({"reason": "superseded"}),
        json!({"serial": number, "key": ak, "reason": "superseded"}),
        json!({"serial": "xyz", "reason": "superseded"}),
        json!({"serial": "", "reason": "superseded"}),
        json!({"serial": "11".repeat(21), "reason": "superseded"}),
        json!({"key": "11", "reason": "superseded"}),
        json!({"serial": number, "reason": "superseded", "invalidity": 1}),
    ] {
        assert_eq!(problem(body.clone()).await, malformed, "{body}");
    }
    for body in [
        json!({"serial": "11".repeat(20), "reason": "superseded"}),
        json!({"key": "11".repeat(32), "reason": "superseded"}),
    ] {
        assert_eq!(problem(body).await, (404, "no-such-certificate".to_owned()));
    }
    let administration = Administration::open(&site.config(), Arc::clone(&site.clock) as Arc<dyn Clock>).unwrap();
    let store = Sqlite::open(&site.state().join("authority.sqlite")).unwrap();
    let of_key = (1..60).filter_map(|id| store.decision(id).unwrap()).find(|one| one.kind == "activation").unwrap();
    for body in
        [json!({"serial": hex(&of_key.serials[0]), "reason": "superseded"}), json!({"key": ak, "reason": "superseded"})]
    {
        assert_eq!(revoke(&site, body).await.codes(), ["authority.attesting-certificate"]);
    }
    assert_eq!(administration.attesting_keys().unwrap()[0].revocation, None);
    // Whoever may only issue revokes nothing here, and strangers nothing at all.
    let body = json!({"serial": number, "reason": "superseded"});
    let bob = format!("[[accounts]]\nname = 'bob'\ntoken_sha256 = '{}'\nmay = ['issue', 'enroll']\n", digest_hex(BOB));
    site.reconfigure(|config| format!("{config}{bob}"));
    site.restart().await;
    assert_eq!(site.post("/v1/revocations", Some(BOB), body.clone()).await.status, 403);
    assert_eq!(site.post("/v1/revocations", None, body).await.status, 401);
    assert_eq!(listed(&site).await, (vec![], vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_revokes_at_the_machine_is_recorded_and_the_running_server_lists_it() {
    let site = site("").await;
    let (client, key) = (Client::enrolled(&site, "device-1").await, SoftwareKey::generate());
    let certificate = client.certificate(&site, "device", &key, "").await;
    assert_eq!(listed(&site).await, (vec![], vec![]));
    let administration = Administration::open(&site.config(), Arc::clone(&site.clock) as Arc<dyn Clock>).unwrap();
    let colons = serial(&certificate).iter().map(|octet| format!("{octet:02X}")).collect::<Vec<_>>().join(":");
    let request = RevocationRequest { of: Revocable::serial(&colons).unwrap(), reason: RevocationReason::Unspecified };
    assert!(matches!(administration.revoke_certificates(&request, ""), Err(AdministrationError::Approver)));
    assert_eq!(administration.revoke_certificates(&request, "alma").unwrap().certificates, 1);
    assert_eq!(administration.revoke_certificates(&request, "bert").unwrap().certificates, 0);
    assert_eq!(listed(&site).await, (vec![(serial(&certificate), site.clock.now())], vec![]));
    let key = RevocationRequest { of: Revocable::Key([9; 32]), ..request };
    let unknown = administration.revoke_certificates(&key, "alma").unwrap_err();
    assert!(matches!(unknown, AdministrationError::Refused(Error::NoSuchCertificate)), "{unknown:?}");
    let store = Sqlite::open(&site.state().join("authority.sqlite")).unwrap();
    let decisions = (1..60).filter_map(|id| store.decision(id).unwrap());
    let by: Vec<String> = decisions.filter(|decision| decision.kind == "revocation").map(|of| of.account).collect();
    assert_eq!(by, ["administrator:alma", "administrator:bert"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn monitoring_reads_what_expires_next() {
    let site = site("").await;
    let client = Client::enrolled(&site, "device-1").await;
    let metrics = async || {
        let reply = site.exchange("GET", "/v1/metrics", &[format!("Authorization: Bearer {ALICE}")], b"").await;
        assert_eq!(reply.status, 200);
        assert!(reply.head.to_lowercase().contains("content-type: text/plain; version=0.0.4"), "{}", reply.head);
        String::from_utf8(reply.body).unwrap()
    };
    let has = |text: &str, line: &str| text.lines().any(|found| found == format!("vouchsafe_authority_{line}"));
    let text = metrics().await;
    assert!(has(&text, "certificates_valid 0") && has(&text, "attesting_keys_valid 1"), "{text}");
    assert!(has(&text, "attesting_key_next_expiry_days 90.000"), "{text}");
    let certificate = client.certificate(&site, "tls", &SoftwareKey::generate(), "").await;
    site.clock.advance(86_400);
    let text = metrics().await;
    assert!(has(&text, "certificates_valid 1") && has(&text, "certificate_next_expiry_days 6.000"), "{text}");
    assert!(has(&text, "attesting_key_next_expiry_days 89.000"), "{text}");
    revoke(&site, json!({"serial": hex(&serial(&certificate)), "reason": "superseded"})).await;
    site.clock.advance(61);
    let text = metrics().await;
    assert!(has(&text, "certificates_valid 0") && has(&text, "revocations_total 1"), "{text}");
    assert_eq!(site.exchange("GET", "/v1/metrics", &[], b"").await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_monitors_does_nothing_else() {
    let mut site = site("").await;
    let bob = format!("[[accounts]]\nname = 'bob'\ntoken_sha256 = '{}'\nmay = ['monitor']\n", digest_hex(BOB));
    site.reconfigure(|config| format!("{config}{bob}"));
    site.restart().await;
    let authorization = [format!("Authorization: Bearer {BOB}")];
    assert_eq!(site.exchange("GET", "/v1/metrics", &authorization, b"").await.status, 200);
    let body = json!({"serial": "11".repeat(20), "reason": "superseded"});
    assert_eq!(site.post("/v1/revocations", Some(BOB), body).await.status, 403);
    assert_eq!(site.post("/v1/nonces", Some(BOB), json!({"purpose": "certificate"})).await.status, 403);
}
