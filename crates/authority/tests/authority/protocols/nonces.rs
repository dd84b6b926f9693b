//! Every kind of nonce with every protocol.

use serde_json::json;

use super::*;
use crate::cmp::client::P10CR;
use crate::site::{b64, hex};

#[tokio::test(flavor = "multi_thread")]
async fn class_5_no_nonce_of_one_protocol_session_or_account_counts_in_another() {
    let stand = Stand::start().await;
    let (site, device) = (&stand.site, stand.device("device-1").await);
    let account = stand.acme().await;
    // The sessions in which these nonces are good; each is used at the end.
    let in_json = site.certificate_nonce(ALICE).await;
    let mut connection = stand.est("alice", ALICE).await;
    let in_est = connection.nonce("").await;
    let mut transaction = cmp("alice-ref", SECRET);
    let in_cmp = transaction.nonce(site).await;
    let (_, order) = account.proven(&stand.stage, NAME, "device").await;
    let in_acme = base64url::decode(order["attestationNonce"].as_str().unwrap()).unwrap();
    // Others, which are good for no certificate of alice by this profile.
    let (_, other_order) = account.proven(&stand.stage, NAME, "device").await;
    let bobs = AcmeClient::register(site, "bob", &BOB_SECRET).await;
    let (_, bobs_order) = bobs.proven(&stand.stage, NAME, "device").await;
    let of_order = |order: &serde_json::Value| base64url::decode(order["attestationNonce"].as_str().unwrap()).unwrap();
    let nonces = [
        ("JSON", Some(Protocol::Json), in_json.clone()),
        ("EST", Some(Protocol::Est), in_est.clone()),
        ("CMP", Some(Protocol::Cmp), in_cmp.clone()),
        ("ACME", Some(Protocol::Acme), in_acme.clone()),
        ("another connection", None, stand.est("alice", ALICE).await.nonce("").await),
        ("another transaction", None, cmp("alice-ref", SECRET).nonce(site).await),
        ("another order", None, of_order(&other_order)),
        ("bob's JSON", None, site.certificate_nonce(BOB).await),
        ("bob's EST", None, stand.est("bob", BOB).await.nonce("").await),
        ("bob's CMP", None, cmp("bob-ref", BOBS_SECRET).nonce(site).await),
        ("bob's ACME", None, of_order(&bobs_order)),
        ("another profile", None, site.nonce(ALICE, json!({"purpose": "certificate", "profile": "stock"})).await),
        ("an appraisal", None, site.nonce(ALICE, json!({"purpose": "appraisal"})).await),
        ("an attesting key", None, site.enrolment_nonce(ALICE).await),
        ("a replay nonce", None, base64url::decode(&account.nonce().await).unwrap()),
        ("nobody", None, vec![0x5A; 32]),
        // What is cut or longer than a nonce is another, in its own session too.
        ("JSON, cut", None, in_json[..31].to_vec()),
        ("JSON, with an octet behind", None, [&in_json[..], &[0]].concat()),
        ("EST, cut", None, in_est[..16].to_vec()),
        ("CMP, cut", None, in_cmp[..31].to_vec()),
        ("ACME, cut", None, in_acme[..31].to_vec()),
    ];
    let different: std::collections::HashSet<&Vec<u8>> = nonces.iter().map(|(_, _, nonce)| nonce).collect();
    assert_eq!(different.len(), nonces.len());
    for (of, own, nonce) in &nonces {
        let csr = device.csr(nonce);
        if *own != Some(Protocol::Json) {
            let body = json!({ "csr": b64(&csr), "nonce": hex(nonce) });
            let reply = site.post("/v1/certificates", Some(ALICE), body).await;
            assert_eq!(Protocol::Json.code(&reply), "nonce-unknown", "JSON with the nonce of {of}");
        }
        if *own != Some(Protocol::Est) {
            let mut fresh = stand.est("alice", ALICE).await;
            let reply = fresh.enroll("simpleenroll", &csr).await;
            assert_eq!(Protocol::Est.code(&reply), "authority.freshness-required", "EST with the nonce of {of}");
            fresh.nonce("").await;
            let codes = fresh.enroll("simpleenroll", &csr).await.refused(422);
            assert!(codes.contains(&"nonce.mismatch".to_owned()), "EST with the nonce of {of}: {codes:?}");
        }
        if *own != Some(Protocol::Cmp) {
            let mut fresh = cmp("alice-ref", SECRET);
            let answer = fresh.clone().send(site, P10CR, &csr).await;
            assert_eq!(answer.codes(), ["authority.freshness-required"], "CMP with the nonce of {of}");
            fresh.transaction[0] ^= 1;
            fresh.nonce(site).await;
            let answer = fresh.send(site, P10CR, &csr).await;
            assert!(answer.codes().contains(&"nonce.mismatch".to_owned()), "CMP with {of}: {:?}", answer.reasons());
        }
        if *own != Some(Protocol::Acme) {
            let value = json!(base64url::encode(nonce));
            let reply = account.finalize(&order, &csr, Some(&value)).await;
            assert_eq!(codes(&reply), ["nonce-unknown"], "ACME with the nonce of {of}");
        }
    }
    // After all that each is as good as it was where it belongs.
    let body = json!({ "csr": b64(&device.csr(&in_json)), "nonce": hex(&in_json) });
    assert_eq!(site.post("/v1/certificates", Some(ALICE), body).await.status, 201);
    assert_eq!(connection.enroll("simpleenroll", &device.csr(&in_est)).await.status, 200);
    let answer = transaction.send(site, P10CR, &device.csr(&in_cmp)).await;
    assert!(answer.certificate().is_some(), "{:?}", answer.reasons());
    let reply = account.finalize(&order, &device.csr(&in_acme), Some(&order["attestationNonce"])).await;
    assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
}

/// Rows of every table of the database.
fn rows(site: &Site) -> Vec<(String, i64)> {
    let database = rusqlite::Connection::open(site.state().join("authority.sqlite")).unwrap();
    let mut tables = database.prepare("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").unwrap();
    let names: Vec<String> = tables.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert!(names.len() > 5, "{names:?}");
    let count = |name: String| {
        let rows = database.query_row(&format!("SELECT count(*) FROM {name}"), (), |row| row.get(0)).unwrap();
        (name, rows)
    };
    names.into_iter().map(count).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a48_nonces_of_no_protocol_cost_a_row() {
    let stand = Stand::start().await;
    let account = stand.acme().await;
    let before = rows(&stand.site);
    let mut connection = stand.est("alice", ALICE).await;
    for _ in 0..20 {
        stand.site.certificate_nonce(ALICE).await;
        connection.nonce("").await;
        cmp("alice-ref", SECRET).nonce(&stand.site).await;
        account.nonce().await;
    }
    assert_eq!(rows(&stand.site), before);
}
