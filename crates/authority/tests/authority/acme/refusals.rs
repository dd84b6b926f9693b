//! Requests that are malformed, replayed, out of order, another's or another protocol's: each refused by code.

use serde_json::{Value, json};
use vouchsafe_authority::protocol::acme::Resource;
use vouchsafe_authority::{Access, ROUTES, Verb};
use vouchsafe_evidence::base64url;
use vouchsafe_evidence::bundle::AttestationStatement;
use vouchsafe_evidence::oid;
use vouchsafe_evidence::statement::TpmCertify;
use vouchsafe_evidence::tpm::EccScheme;
use vouchsafe_evidence::tpm::template::USER_KEY_ATTRIBUTES;

use super::client::{ALICE_SECRET, BOB_SECRET, Client, Stage, binding, codes, header, jwk, sign};
use super::{attested, dns, enrolled, request, unb64url};
use crate::module::SoftwareKey;
use crate::site::{ALICE, BOB, NOW};

#[tokio::test(flavor = "multi_thread")]
async fn every_route_wants_a_signature() {
    let stage = Stage::new();
    let site = stage.site(NOW, true).await;
    let client = Client::register(&site, "alice", &ALICE_SECRET).await;
    let routes: Vec<_> = ROUTES.iter().filter(|route| matches!(route.verb, Verb::Acme(_))).collect();
    assert_eq!(routes.len(), 13);
    let nobody = SoftwareKey::generate();
    for route in routes {
        let path = route.path.replace("{id}", "AAAA");
        let Verb::Acme(resource) = route.verb else { continue };
        if matches!(resource, Resource::Directory | Resource::NewNonce) {
            assert_eq!(route.access, Access::Public);
            continue;
        }
        assert_eq!(route.access, Access::Message, "{path}");
        let headers = |authorization: &str, length: usize| {
            let mut headers =
                vec!["Content-Type: application/jose+json".to_owned(), format!("Content-Length: {length}")];
            if !authorization.is_empty() {
                headers.push(format!("Authorization: {authorization}"));
            }
            headers
        };
        // Tokens of other protocols, and none: what is not signed is nobody's.
        for authorization in ["", &format!("Bearer {ALICE}"), "Basic YWxpY2U6YWxpY2UtdG9rZW4="] {
            for body in ["", "{}", "{\"payload\":\"\",\"protected\":\"\",\"signature\":\"\"}"] {
                let reply = site.exchange("POST", &path, &headers(authorization, body.len()), body.as_bytes()).await;
                assert_eq!(codes(&reply), ["acme.jws-malformed"], "{path} {authorization} {body}");
            }
        }
        let url = format!("https://localhost:{}{path}", site.address().port());
        // A key that nobody knows, and another's account.
        let unknown = json!({ "alg": "ES256", "jwk": jwk(&nobody), "nonce": client.nonce().await, "url": url });
        let reply = client.send(&url, &sign(&nobody, &unknown, Some(&json!({ "certificate": "AA" })))).await;
        let expected = match resource {
            Resource::NewAccount => "acme.binding-required",
            Resource::RevokeCertificate => "acme.payload",
            Resource::Account
            | Resource::Authorization
            | Resource::Certificate
            | Resource::Challenge
            | Resource::Directory
            | Resource::Finalize
            | Resource::KeyChange
            | Resource::NewNonce
            | Resource::NewOrder
            | Resource::Order
            | Resource::Orders => "acme.jws-signer",
        };
        assert_eq!(codes(&reply), [expected], "{path}");
        let forged = json!({ "alg": "ES256", "kid": client.kid, "nonce": client.nonce().await, "url": url });
        let reply = client.send(&url, &sign(&nobody, &forged, Some(&json!({ "certificate": "AA" })))).await;
        let expected = match resource {
            Resource::NewAccount => "acme.jws-signer",
            Resource::RevokeCertificate => "acme.payload",
            _ => "acme.jws-signature",
        };
        assert_eq!(codes(&reply), [expected], "{path}");
        let get = site.exchange("GET", &path, &[], b"").await;
        assert_eq!(get.status, 405, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_counts_once_and_where_it_was_signed_for() {
    let stage = Stage::new();
    let site = stage.site(NOW, true).await;
    let client = Client::register(&site, "alice", &ALICE_SECRET).await;
    let url = client.kid.clone();
    let header_with = |nonce: &str, url: &str| json!({ "alg": "ES256", "kid": client.kid, "nonce": nonce, "url": url });
    let nonce = client.nonce().await;
    let jws = sign(&client.key, &header_with(&nonce, &url), None);
    assert_eq!(client.send(&url, &jws).await.status, 200);
    let replayed = client.send(&url, &jws).await;
    assert_eq!(codes(&replayed), ["acme.bad-nonce"]);
    assert_eq!(replayed.json()["type"], "urn:ietf:params:acme:error:badNonce");
    assert!(header(&replayed, "replay-nonce").is_some(), "with a fresh one to try again");

    let elsewhere = sign(&client.key, &header_with(&client.nonce().await, "https://evil.example/acme/account/x"), None);
    assert_eq!(codes(&client.send(&url, &elsewhere).await), ["acme.jws-url"]);
    let order = sign(&client.key, &header_with(&client.nonce().await, &client.url("new-order")), None);
    assert_eq!(codes(&client.send(&url, &order).await), ["acme.jws-url"]);
    for nonce in ["", "AAAA", "not one of ours"] {
        let jws = sign(&client.key, &header_with(nonce, &url), None);
        assert_eq!(codes(&client.send(&url, &jws).await), ["acme.bad-nonce"], "{nonce}");
    }
    // A nonce for evidence is none for requests.
    let evidence = site.certificate_nonce(ALICE).await;
    let jws = sign(&client.key, &header_with(&base64url::encode(&evidence), &url), None);
    assert_eq!(codes(&client.send(&url, &jws).await), ["acme.bad-nonce"]);
    let old = client.nonce().await;
    site.clock.advance(3_601);
    let jws = sign(&client.key, &header_with(&old, &url), None);
    assert_eq!(codes(&client.send(&url, &jws).await), ["acme.bad-nonce"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_come_by_their_binding_alone() {
    let stage = Stage::new();
    let site = stage.site(NOW, true).await;
    let client = Client { site: &site, key: SoftwareKey::generate(), kid: String::new() };
    let url = client.url("new-account");
    let other = jwk(&SoftwareKey::generate());
    let own = jwk(&client.key);
    for (what, binding) in [
        ("another account's key", binding("alice", &BOB_SECRET, &url, &own)),
        ("nobody", binding("carol", &ALICE_SECRET, &url, &own)),
        ("another key", binding("alice", &ALICE_SECRET, &url, &other)),
        ("another place", binding("alice", &ALICE_SECRET, &client.url("new-order"), &own)),
        ("a token instead of the key", binding("alice", ALICE.as_bytes(), &url, &own)),
    ] {
        let payload = json!({ "externalAccountBinding": binding });
        let reply = client.post_with(&url, json!({ "jwk": own }), Some(&payload)).await;
        assert_eq!(codes(&reply), ["acme.binding-key"], "{what}");
    }
    let reply = client.post_with(&url, json!({ "jwk": own }), Some(&json!({}))).await;
    assert_eq!(codes(&reply), ["acme.binding-required"]);
    assert_eq!(reply.json()["type"], "urn:ietf:params:acme:error:externalAccountRequired");
    let reply = client.post_with(&url, json!({ "jwk": own }), Some(&json!({ "onlyReturnExisting": true }))).await;
    assert_eq!(codes(&reply), ["acme.account-unknown"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_another_account_s_is_out_of_reach() {
    let stage = Stage::new();
    let site = stage.site(NOW, true).await;
    let alice = Client::register(&site, "alice", &ALICE_SECRET).await;
    let bob = Client::register(&site, "bob", &BOB_SECRET).await;
    let (url, order) = alice.order(json!([{ "type": "dns", "value": "a.example" }]), "device").await;
    let challenge = alice.challenge(&order, "http-01").await;
    let finalization = json!({ "csr": "AAAA" });
    let certificate = url.replace("/order/", "/certificate/");
    let orders = alice.kid.replace("/account/", "/orders/");
    for (target, payload) in [
        (url.as_str(), None),
        (order["authorizations"][0].as_str().unwrap(), None),
        (challenge["url"].as_str().unwrap(), Some(&json!({}))),
        (order["finalize"].as_str().unwrap(), Some(&finalization)),
        (certificate.as_str(), None),
        (alice.kid.as_str(), None),
        (orders.as_str(), None),
    ] {
        let reply = bob.post(target, payload).await;
        if target == order["finalize"] {
            assert_eq!(codes(&reply), ["acme.other-account"], "{target}");
        } else {
            assert_eq!((reply.status, codes(&reply)), (403, vec!["acme.other-account".to_owned()]), "{target}");
        }
    }
    assert_eq!(codes(&bob.post(&bob.url("order/AAAA"), None).await), ["acme.unknown"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_for_one_order_is_none_for_another() {
    let stage = Stage::new();
    let site = stage.site(NOW, true).await;
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let alice = Client::register(&site, "alice", &ALICE_SECRET).await;
    let bob = Client::register(&site, "bob", &BOB_SECRET).await;
    let (_, first) = alice.proven(&stage, "a.example", "device").await;
    let (_, second) = alice.proven(&stage, "a.example", "device").await;
    let (_, foreign) = bob.proven(&stage, "a.example", "device").await;
    let json_nonce = site.certificate_nonce(ALICE).await;
    let bob_nonce = site.certificate_nonce(BOB).await;
    for (order, nonce) in [
        (&second, unb64url(&first["attestationNonce"])),
        (&second, unb64url(&foreign["attestationNonce"])),
        (&second, json_nonce),
        (&second, bob_nonce),
    ] {
        let csr = attested(&module, &ak_chain, "a.example", &nonce);
        let reply = alice.finalize(order, &csr, Some(&json!(base64url::encode(&nonce)))).await;
        assert_eq!(codes(&reply), ["nonce-unknown"]);
    }
    // Without the nonce nothing is fresh, and the profile wants it so.
    let csr = attested(&module, &ak_chain, "a.example", &unb64url(&second["attestationNonce"]));
    assert_eq!(codes(&alice.finalize(&second, &csr, None).await), ["authority.freshness-required"]);
    // After all that the order is as good as it was; a device of alice is none of bob's.
    let nonce = unb64url(&foreign["attestationNonce"]);
    let stolen = attested(&module, &ak_chain, "a.example", &nonce);
    let reply = bob.finalize(&foreign, &stolen, Some(&foreign["attestationNonce"])).await;
    assert_eq!(codes(&reply), ["authority.other-account"]);
    assert_eq!(alice.finalize(&second, &csr, Some(&second["attestationNonce"])).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn false_statements_are_refused_in_this_protocol_s_form() {
    let stage = Stage::new();
    let site = stage.site(NOW, true).await;
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let client = Client::register(&site, "alice", &ALICE_SECRET).await;
    let (_, order) = client.proven(&stage, "a.example", "device").await;
    let nonce = unb64url(&order["attestationNonce"]);
    let key = SoftwareKey::generate();
    let public = key.public(USER_KEY_ATTRIBUTES, EccScheme::Null);
    let (attest, _) = module.certify(&public, &nonce);
    let forged = TpmCertify { attest, signature: key.sign_tpmt(b"x"), public: Some(public.as_bytes().to_vec()) };
    let forged = AttestationStatement::new(oid::STATEMENT_TPM_CERTIFY, forged.to_der());
    let csr = request(&key, &dns("a.example"), vec![forged], &ak_chain);
    let reply = client.finalize(&order, &csr, Some(&order["attestationNonce"])).await;
    assert_eq!(reply.status, 400);
    assert_eq!(reply.json()["type"], "urn:ietf:params:acme:error:badCSR");
    assert!(codes(&reply).contains(&"tpm.bad-signature".to_owned()), "{:?}", codes(&reply));
    // A request without any evidence is refused as well, and one for the account's own key.
    let (_, order) = client.proven(&stage, "a.example", "stock").await;
    let bare = request(&key, &dns("a.example"), vec![], &[]);
    assert_eq!(codes(&client.finalize(&order, &bare, None).await), ["csr.no-attestation"]);
    let own = request(&client.key, &dns("a.example"), vec![], &[]);
    assert_eq!(codes(&client.finalize(&order, &own, None).await), ["acme.csr-key"]);
    for names in [dns("b.example"), vec![], [dns("a.example"), dns("b.example")].concat()] {
        let csr = request(&key, &names, vec![], &[]);
        assert_eq!(codes(&client.finalize(&order, &csr, None).await), ["acme.csr-identifiers"], "{names:?}");
    }
    assert_eq!(codes(&client.finalize(&order, b"not DER", None).await), ["acme.csr-malformed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_narrow_and_come_in_their_order() {
    let stage = Stage::new();
    let site = stage.site(NOW, true).await;
    let client = Client::register(&site, "alice", &ALICE_SECRET).await;
    let url = client.url("new-order");
    let name = |kind: &str, value: &str| json!({ "type": kind, "value": value });
    let many: Vec<Value> = (0..17).map(|number| name("dns", &format!("{number}x.example"))).collect();
    for (payload, code) in [
        (json!({ "identifiers": [] }), "acme.identifier-count"),
        (json!({ "identifiers": many }), "acme.identifier-count"),
        (json!({ "identifiers": [name("dns", "a.example"), name("dns", "a.example")] }), "acme.identifier-count"),
        (json!({ "identifiers": [name("ip", "192.0.2.1")] }), "acme.identifier-unsupported"),
        (json!({ "identifiers": [name("dns", "127.0.0.1")] }), "acme.identifier-malformed"),
        (json!({ "identifiers": [name("hardware-module", "no-type")] }), "acme.identifier-malformed"),
        (json!({ "identifiers": [name("dns", "a.example")], "profile": "other" }), "acme.profile"),
        (json!({ "identifiers": [name("dns", "a.example")], "notAfter": "2027-01-01T00:00:00Z" }), "acme.validity"),
        (json!({}), "acme.payload"),
    ] {
        assert_eq!(codes(&client.post(&url, Some(&payload)).await), [code], "{payload}");
    }
    let (_, order) = client.order(json!([name("dns", "a.example")]), "device").await;
    let csr = request(&SoftwareKey::generate(), &dns("a.example"), vec![], &[]);
    assert_eq!(codes(&client.finalize(&order, &csr, None).await), ["acme.order-not-ready"], "nothing was proven");
    // What is over is over.
    site.clock.advance(7 * 86_400 + 1);
    let challenge = client.challenge(&order, "http-01").await;
    let reply = client.post(challenge["url"].as_str().unwrap(), Some(&json!({}))).await;
    assert_eq!(codes(&reply), ["acme.expired"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_with_private_addresses_are_not_asked() {
    let stage = Stage::new();
    let site = stage.site(NOW, false).await;
    let client = Client::register(&site, "alice", &ALICE_SECRET).await;
    // Every name of the stage's resolver has the address 127.0.0.1.
    let (_, order) = client.order(json!([{ "type": "dns", "value": "metadata.example" }]), "device").await;
    let challenge = client.challenge(&order, "http-01").await;
    let path = format!("/.well-known/acme-challenge/{}", challenge["token"].as_str().unwrap());
    stage.files.lock().unwrap().insert(path, client.key_authorization(&challenge));
    let reply = client.post(challenge["url"].as_str().unwrap(), Some(&json!({}))).await;
    let answered = reply.json();
    assert_eq!(answered["status"], "invalid");
    assert_eq!(answered["error"]["subproblems"][0]["type"], "urn:vouchsafe:problem:acme.private-address");
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_and_keys_that_are_not_taken() {
    let stage = Stage::new();
    let site = stage.site(NOW, true).await;
    let client = Client::register(&site, "alice", &ALICE_SECRET).await;
    let url = client.url("new-account");
    // A key that everybody knows as the secret of a MAC, no signature at all, and a curve that is not the key's.
    for algorithm in ["none", "HS256", "ES384", "RS256", "ES256K", ""] {
        for signer in [json!({ "jwk": jwk(&client.key) }), json!({ "kid": client.kid })] {
            let mut header = json!({ "alg": algorithm, "nonce": client.nonce().await, "url": url });
            header.as_object_mut().unwrap().extend(signer.as_object().unwrap().clone());
            let url = if signer["kid"].is_null() { &url } else { &client.kid };
            header["url"] = json!(url);
            let reply = client.send(url, &sign(&client.key, &header, None)).await;
            assert_eq!((reply.status, codes(&reply)), (400, vec!["acme.jws-algorithm".to_owned()]), "{algorithm}");
            assert_eq!(reply.json()["type"], "urn:ietf:params:acme:error:badSignatureAlgorithm");
            assert_eq!(reply.json()["algorithms"], json!(["ES256", "ES384", "ES512", "EdDSA", "RS256"]));
        }
    }
    let mut private = jwk(&client.key);
    private["d"] = json!("AAAA");
    let mut off_the_curve = jwk(&client.key);
    off_the_curve["y"] = off_the_curve["x"].clone();
    let small = json!({ "kty": "RSA", "n": base64url::encode(&[0xC1; 128]), "e": "AQAB" });
    let of_one = json!({ "kty": "RSA", "n": base64url::encode(&[0xC1; 256]), "e": "AQ" });
    for key in [private, off_the_curve, json!({ "kty": "oct", "k": "AAAA" }), small, of_one, json!({})] {
        let algorithm = if key["kty"] == "RSA" { "RS256" } else { "ES256" };
        let header = json!({ "alg": algorithm, "jwk": key, "nonce": client.nonce().await, "url": url });
        let reply = client.send(&url, &sign(&client.key, &header, Some(&json!({})))).await;
        let refused = codes(&reply);
        // Of a point that lies on no curve, and of an exponent that makes every number its own signature, it is told when
        // something is verified: under either nothing does.
        let is_of_form = key["e"] == "AQ" || (key["x"].is_string() && key["x"] == key["y"]);
        let expected = if is_of_form { "acme.jws-signature" } else { "acme.jws-key" };
        assert_eq!(refused, [expected], "{key}");
        if expected == "acme.jws-key" {
            assert_eq!(reply.json()["type"], "urn:ietf:params:acme:error:badPublicKey", "{key}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_do_not_answer_for_themselves_prove_nothing() {
    let answered = async |stage: &Stage, kind: &str, body: Option<&str>| {
        let site = stage.site(NOW, true).await;
        let client = Client::register(&site, "alice", &ALICE_SECRET).await;
        let (url, order) = client.order(json!([{ "type": "dns", "value": "a.example" }]), "device").await;
        let challenge = client.challenge(&order, kind).await;
        if let Some(body) = body {
            let token = challenge["token"].as_str().unwrap();
            let body = body.replace("TOKEN", token);
            let path = format!("/.well-known/acme-challenge/{token}");
            stage.files.lock().unwrap().insert(path, body.clone());
            stage.texts.lock().unwrap().insert("_acme-challenge.a.example".to_owned(), body);
        }
        let reply = client.post(challenge["url"].as_str().unwrap(), Some(&json!({}))).await.json();
        assert_eq!(
            (&reply["status"], &client.read(&json!(url)).await["status"]),
            (&json!("invalid"), &json!("invalid"))
        );
        reply["error"]["subproblems"][0]["type"].as_str().unwrap().replace("urn:vouchsafe:problem:", "")
    };
    for kind in ["http-01", "dns-01"] {
        for body in
            [None, Some(""), Some("TOKEN"), Some("TOKEN."), Some("TOKEN.NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs")]
        {
            assert_eq!(answered(&Stage::new(), kind, body).await, "acme.incorrect-response", "{kind} {body:?}");
        }
    }
    assert_eq!(answered(&Stage::without_host(), "http-01", None).await, "acme.connection");
    for kind in ["http-01", "dns-01"] {
        assert_eq!(answered(&Stage::without_names(), kind, None).await, "acme.dns", "{kind}");
    }
}
