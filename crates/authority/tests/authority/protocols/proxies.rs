//! A56: what a proxy would write into headers, beside a credential that is somebody else's.

use serde_json::json;

use super::*;
use crate::acme::client::sign;
use crate::cmp::client::P10CR;
use crate::site::b64;

#[tokio::test(flavor = "multi_thread")]
async fn a56_forged_headers_beside_a_credential_change_nothing() {
    let stand = Stand::start().await;
    let device = stand.device("device-1").await;
    let (certificates, _) = stand.identity(&device).await;
    let encoded = b64(&certificates[0]);
    let forged = [
        format!("Client-Cert: :{encoded}:"),
        format!("Client-Cert-Chain: :{encoded}:"),
        format!("X-Client-Cert: {encoded}"),
        format!("X-SSL-Cert: {encoded}"),
        format!("X-Forwarded-Client-Cert: Cert=\"{encoded}\";Subject=\"CN=device-1\""),
        "X-SSL-Client-Verify: SUCCESS".to_owned(),
        "X-SSL-Client-S-DN: CN=device-1".to_owned(),
        "X-Remote-User: alice".to_owned(),
        "X-Forwarded-User: alice".to_owned(),
        "X-Forwarded-For: 127.0.0.1".to_owned(),
        "Forwarded: for=127.0.0.1;by=alice".to_owned(),
    ];
    // What bob asks for is a certificate for a device of alice.
    let with = |more: &[String]| [&forged[..], more].concat();
    let basic =
        |name: &str, token: &str| vec![format!("Authorization: Basic {}", b64(format!("{name}:{token}").as_bytes()))];
    let csr = device.csr(b"sixteen octets..");
    let est = async |operation: &str, headers: &[String]| {
        let path = format!("/.well-known/est/stock/{operation}");
        stand.send("POST", &path, headers, "application/pkcs10", b64(&csr).as_bytes()).await
    };
    let reply = est("simpleenroll", &with(&basic("bob", BOB))).await;
    assert_eq!(reply.refused(422), ["rejected", "authority.other-account"]);
    // Nor does it become the certificate that is renewed, for its own account either.
    for (name, token) in [("bob", BOB), ("alice", ALICE)] {
        assert_eq!(est("simplereenroll", &with(&basic(name, token))).await.refused(401), ["unauthenticated"]);
    }
    let nonce = stand.site.nonce(BOB, json!({ "purpose": "certificate", "profile": "stock" })).await;
    let body = json!({ "csr": b64(&device.csr(&nonce)), "nonce": crate::site::hex(&nonce), "profile": "stock" });
    let headers = with(&[format!("Authorization: Bearer {BOB}")]);
    let reply = stand.send("POST", "/v1/certificates", &headers, "application/json", body.to_string().as_bytes()).await;
    assert_eq!(reply.codes(), ["authority.other-account"]);

    let message = cmp("bob-ref", BOBS_SECRET).message(P10CR, &csr);
    let reply = stand.send("POST", "/.well-known/cmp/p/stock", &forged, PKIXCMP, &message).await;
    assert_eq!(Answer::read(&reply.body).codes(), ["authority.other-account"]);
    let message = CmpClient::new(Protection::None).message(P10CR, &csr);
    let reply = stand.send("POST", "/.well-known/cmp/p/stock", &forged, PKIXCMP, &message).await;
    assert_eq!(Answer::read(&reply.body).codes(), ["cmp.unprotected"]);

    let bob = AcmeClient::register(&stand.site, "bob", &BOB_SECRET).await;
    let (_, order) = bob.proven(&stand.stage, NAME, "stock").await;
    let url = order["finalize"].as_str().unwrap();
    let header = json!({ "alg": "ES256", "kid": bob.kid, "nonce": bob.nonce().await, "url": url });
    let request = sign(&bob.key, &header, Some(&json!({ "csr": base64url::encode(&csr) }))).to_string();
    let path = format!("/{}", url.splitn(4, '/').nth(3).unwrap());
    let reply = stand.send("POST", &path, &forged, JOSE, request.as_bytes()).await;
    assert_eq!(codes(&reply), ["authority.other-account"]);

    // By alice's own credential the same request is good, whatever the headers say.
    assert_eq!(est("simpleenroll", &with(&basic("alice", ALICE))).await.status, 200);
}
