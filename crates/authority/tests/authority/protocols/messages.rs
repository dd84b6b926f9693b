//! What is malformed, too long, sent twice or out of order, in each protocol.

use serde_json::json;
use vouchsafe_authority::ROUTES;

use super::*;
use crate::acme::client::sign;
use crate::cmp::client::{CERT_CONF, GENM, P10CR, confirmation, nonce_request};
use crate::site::{b64, hex};

/// The route of each protocol by which certificates are asked for, with what shows who asks, for what is looked at before
/// the body shows it.
fn routes() -> [(Protocol, &'static str, Vec<String>); 4] {
    let basic = b64(format!("alice:{ALICE}").as_bytes());
    [
        (Protocol::Json, "/v1/certificates", vec![format!("Authorization: Bearer {ALICE}")]),
        (Protocol::Est, "/.well-known/est/simpleenroll", vec![format!("Authorization: Basic {basic}")]),
        (Protocol::Cmp, "/.well-known/cmp", Vec::new()),
        (Protocol::Acme, "/acme/new-order", Vec::new()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_malformed_or_too_long_is_refused_by_code_in_every_protocol() {
    let stand = Stand::start().await;
    let deep = [0x30, 0x80].repeat(10_000);
    let nested = "[".repeat(10_000).into_bytes();
    let bodies: [&[u8]; 8] =
        [b"", b"{", b"\xff\xfe", b"AAAA", b"\x30\x00", b"\x30\x84\xff\xff\xff\xff", &deep, &nested];
    for (protocol, path, headers) in routes() {
        let expected = match protocol {
            Protocol::Json => (400, "malformed-request"),
            // What is base64 of no request is one that the core refuses.
            Protocol::Est => (400, "malformed-request"),
            Protocol::Cmp => (200, "cmp.malformed"),
            Protocol::Acme => (400, "acme.jws-malformed"),
        };
        for body in bodies {
            let reply = stand.send("POST", path, &headers, protocol.media_type(), body).await;
            let found = (reply.status, protocol.code(&reply));
            if protocol == Protocol::Est && (body == b"AAAA" || body.is_empty()) {
                assert_eq!(found, (422, "authority.freshness-required".to_owned()), "{body:?}");
                continue;
            }
            assert_eq!(found, (expected.0, expected.1.to_owned()), "{path} {:02x?}", &body[..body.len().min(8)]);
        }
        let reply = stand.send("POST", path, &headers, "text/plain", b"{}").await;
        let code = if protocol == Protocol::Acme { "acme.media-type" } else { "unsupported-media-type" };
        assert_eq!((reply.status, protocol.code(&reply)), (415, code.to_owned()), "{path}");
        let limit = ROUTES.iter().find(|route| route.path == path).unwrap().body_octets;
        let long = vec![b'A'; limit + 1];
        let reply = stand.send("POST", path, &headers, protocol.media_type(), &long).await;
        let code = if protocol == Protocol::Acme { codes(&reply) } else { vec![protocol.code(&reply)] };
        assert_eq!((reply.status, code), (413, vec!["body-too-large".to_owned()]), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_twice_is_refused_by_code_in_every_protocol() {
    let stand = Stand::start().await;
    let (site, device) = (&stand.site, stand.device("device-1").await);
    // The same nonce for another request. (The same request is told the same answer, and leads to nothing new.)
    let nonce = site.certificate_nonce(ALICE).await;
    let send = async |csr: &[u8]| {
        site.post("/v1/certificates", Some(ALICE), json!({ "csr": b64(csr), "nonce": hex(&nonce) })).await
    };
    assert_eq!(send(&device.csr(&nonce)).await.status, 201);
    assert_eq!(send(&device.csr(&nonce)).await.problem(), "nonce-spent");

    let mut connection = stand.est("alice", ALICE).await;
    let nonce = connection.nonce("").await;
    assert_eq!(connection.enroll("simpleenroll", &device.csr(&nonce)).await.status, 200);
    assert_eq!(connection.enroll("simpleenroll", &device.csr(&nonce)).await.refused(409), ["nonce-spent"]);

    // CMP: the very octets, and another request in the same transaction.
    let mut client = cmp("alice-ref", SECRET);
    let nonce = client.nonce(site).await;
    let message = client.message(P10CR, &device.csr(&nonce));
    let first = crate::cmp::client::deliver(site, "/.well-known/cmp", &message).await;
    assert!(first.certificate().is_some(), "{:?}", first.reasons());
    for again in [message, client.message(P10CR, &device.csr(&nonce)), client.message(GENM, &nonce_request())] {
        let answer = crate::cmp::client::deliver(site, "/.well-known/cmp", &again).await;
        assert_eq!(answer.codes(), ["cmp.transaction-in-use"]);
    }

    // ACME: the very octets, and a second finalize of the order.
    let account = stand.acme().await;
    let (_, order) = account.proven(&stand.stage, NAME, "device").await;
    let nonce = base64url::decode(order["attestationNonce"].as_str().unwrap()).unwrap();
    let url = order["finalize"].as_str().unwrap();
    let payload =
        json!({ "csr": base64url::encode(&device.csr(&nonce)), "attestationNonce": order["attestationNonce"] });
    let header = json!({ "alg": "ES256", "kid": account.kid, "nonce": account.nonce().await, "url": url });
    let request = sign(&account.key, &header, Some(&payload));
    assert_eq!(account.send(url, &request).await.status, 200);
    assert_eq!(codes(&account.send(url, &request).await), ["acme.bad-nonce"]);
    let reply = account.finalize(&order, &device.csr(&nonce), Some(&order["attestationNonce"])).await;
    assert_eq!(codes(&reply), ["acme.order-not-ready"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_out_of_order_is_refused_by_code_in_every_protocol() {
    let stand = Stand::start().await;
    let (site, device) = (&stand.site, stand.device("device-1").await);
    let csr = device.csr(&[7; 32]);
    // A certificate before its nonce; an activation before its challenge.
    let body = json!({ "csr": b64(&csr), "nonce": hex(&[7; 32]) });
    assert_eq!(site.post("/v1/certificates", Some(ALICE), body).await.problem(), "nonce-unknown");
    let path = "/v1/attestation-keys/00112233445566778899aabbccddeeff/activation";
    let reply = site.post(path, Some(ALICE), json!({ "secret": b64(&[1; 32]) })).await;
    assert_eq!((reply.status, reply.problem().as_str()), (403, "activation-failed"));

    let mut connection = stand.est("alice", ALICE).await;
    let codes_of = connection.enroll("simpleenroll", &csr).await.refused(422);
    assert_eq!(codes_of, ["rejected", "authority.freshness-required"]);
    assert_eq!(connection.enroll("simplereenroll", &csr).await.refused(401), ["unauthenticated"]);

    let mut client = cmp("alice-ref", SECRET);
    let answer = client.send(site, CERT_CONF, &confirmation(b"any", 0)).await;
    assert_eq!(answer.codes(), ["cmp.out-of-order"]);
    let answer = cmp("alice-ref", SECRET).send(site, P10CR, &csr).await;
    assert_eq!(answer.codes(), ["authority.freshness-required"]);
    // A confirmation where a request is awaited.
    let mut client = cmp("alice-ref", SECRET);
    client.nonce(site).await;
    assert_eq!(client.send(site, CERT_CONF, &confirmation(b"any", 0)).await.codes(), ["cmp.out-of-order"]);

    let account = stand.acme().await;
    let (url, order) = account.order(json!([{ "type": "dns", "value": NAME }]), "device").await;
    assert_eq!(codes(&account.finalize(&order, &csr, None).await), ["acme.order-not-ready"]);
    let certificate = url.replace("/order/", "/certificate/");
    assert_eq!(codes(&account.post(&certificate, None).await), ["acme.order-not-ready"]);
}
