//! YubiKeys, whose evidence has no room for a nonce: what the attested key itself signs makes it fresh, and nothing else does.

use serde_json::{Value, json};
use vouchsafe_evidence::base64url;

use super::client::{ALICE_SECRET, BOB_SECRET, Client, Stage, codes};
use super::devices::{bytes, head, object, response, sha256, text};
use super::{alternative_names, certificates, dns, request, unb64url};
use crate::methods::{Slot, trust_yubico};
use crate::module::{SoftwareKey, Vendor};
use crate::site::{NOW, Site};

impl Slot {
    /// The attestation object of format `step`: the slot's certificates, and this signature.
    fn object(&self, signature: &[u8]) -> Vec<u8> {
        step(0x26, signature, &[&self.yubikey.slot, &self.yubikey.f9])
    }

    /// The object that answers a key authorization.
    fn answer(&self, key_authorization: &str) -> Vec<u8> {
        self.object(&self.key.sign_der(key_authorization.as_bytes()))
    }

    /// A request with the attestation and, where it is given, a proof of possession over nonce and context.
    fn request(&self, name: &str, proof: Option<(&[u8], &[u8])>) -> Vec<u8> {
        let statements = self.statements(proof.as_slice());
        request(&self.key, &dns(name), statements, std::slice::from_ref(&self.yubikey.f9))
    }
}

/// Makes an object that answers a key authorization and must not count.
type Forge<'a> = &'a dyn Fn(&str) -> Vec<u8>;

fn step(algorithm: u8, signature: &[u8], chain: &[&[u8]]) -> Vec<u8> {
    let certificates: Vec<u8> = chain.iter().flat_map(|der| bytes(der)).collect();
    let statement = object(&[
        ("alg", vec![algorithm]),
        ("sig", bytes(signature)),
        ("x5c", [head(4, chain.len()), certificates].concat()),
    ]);
    object(&[("fmt", text("step")), ("attStmt", statement)])
}

async fn site(stage: &Stage) -> (Site, Vendor) {
    let site = stage.site(NOW, true).await;
    let maker = Vendor::new("Yubico PIV Root CA", NOW);
    trust_yubico(&site, &maker, "");
    (site, maker)
}

async fn order(client: &Client<'_>, kind: &str, value: &str, profile: &str) -> (Value, Value) {
    let (_, order) = client.order(json!([{ "type": kind, "value": value }]), profile).await;
    let challenge = client.challenge(&order, "device-attest-01").await;
    (order, challenge)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_yubikey_gets_a_certificate_for_the_key_that_signed_the_key_authorization() {
    let stage = Stage::new();
    let (site, maker) = site(&stage).await;
    let client = Client::register(&site, "alice", &ALICE_SECRET).await;
    let slot = Slot::new(&maker, 7);
    for (kind, value) in [
        ("permanent-identifier", "7"),
        ("permanent-identifier", "yubikey-piv:7"),
        ("hardware-module", "7/1.3.6.1.4.1.41482.3"),
    ] {
        let (order, challenge) = order(&client, kind, value, "any").await;
        let answer = slot.answer(&client.key_authorization(&challenge));
        let reply = client.post(challenge["url"].as_str().unwrap(), Some(&response(&answer))).await;
        assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
        let other = request(&SoftwareKey::generate(), &[], vec![], &[]);
        assert_eq!(codes(&client.finalize(&order, &other, None).await), ["acme.csr-key"]);
        let finalized = client.finalize(&order, &request(&slot.key, &[], vec![], &[]), None).await;
        let issued = certificates(&client, &finalized).await;
        assert_eq!(issued[0].subject().to_display(), "CN=yubikey-piv:7");
        assert!(issued[0].spki().same_key(&slot.key.spki()));
        assert_eq!(alternative_names(&issued[0]), []);
    }
    // The signature in a CBOR string of its own, as some clients write it.
    let (_, challenge) = order(&client, "permanent-identifier", "7", "any").await;
    let signature = slot.key.sign_der(client.key_authorization(&challenge).as_bytes());
    let reply =
        client.post(challenge["url"].as_str().unwrap(), Some(&response(&slot.object(&bytes(&signature))))).await;
    assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    // A profile for devices that were enrolled here is not for whoever buys a YubiKey.
    let (order, challenge) = order(&client, "permanent-identifier", "7", "device").await;
    let answer = slot.answer(&client.key_authorization(&challenge));
    assert_eq!(client.post(challenge["url"].as_str().unwrap(), Some(&response(&answer))).await.status, 200);
    let refused = client.finalize(&order, &request(&slot.key, &[], vec![], &[]), None).await;
    assert_eq!(codes(&refused), ["authority.device-not-enrolled"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_that_is_not_the_slot_s_over_this_challenge_is_refused() {
    let stage = Stage::new();
    let (site, maker) = site(&stage).await;
    let client = Client::register(&site, "alice", &ALICE_SECRET).await;
    let bob = Client::register(&site, "bob", &BOB_SECRET).await;
    let (slot, other) = (Slot::new(&maker, 7), Slot::new(&maker, 8));
    let answer = async |client: &Client<'_>, challenge: &Value, object: &[u8]| {
        let reply = client.post(challenge["url"].as_str().unwrap(), Some(&response(object))).await;
        assert_eq!(reply.json()["type"], "urn:ietf:params:acme:error:badAttestationStatement");
        let read = client.post(challenge["url"].as_str().unwrap(), None).await.json();
        assert_eq!(read["status"], "invalid", "one attempt");
        codes(&reply)
    };
    let (_, first) = order(&client, "permanent-identifier", "7", "any").await;
    let captured = slot.answer(&client.key_authorization(&first));
    let reply = client.post(first["url"].as_str().unwrap(), Some(&response(&captured))).await;
    assert_eq!(reply.status, 200);

    let possession = ["acme.attestation-possession"];
    let (_, challenge) = order(&client, "permanent-identifier", "7", "any").await;
    assert_eq!(answer(&client, &challenge, &captured).await, possession, "the object of another order");
    let (_, challenge) = order(&bob, "permanent-identifier", "7", "any").await;
    assert_eq!(answer(&bob, &challenge, &captured).await, possession, "another account's object");
    let own = |challenge: &Value| client.key_authorization(challenge);
    let forgeries: [(&str, Forge<'_>); 7] = [
        ("another key", &|text| slot.object(&other.key.sign_der(text.as_bytes()))),
        ("the account's key", &|text| slot.object(&client.key.sign_der(text.as_bytes()))),
        ("the token alone", &|text| slot.object(&slot.key.sign_der(text.split('.').next().unwrap().as_bytes()))),
        ("the digest, hashed twice", &|text| slot.object(&slot.key.sign_der(&sha256(text.as_bytes())))),
        ("nothing", &|_| slot.object(&[])),
        ("an algorithm that is none of the key's", &|text| {
            step(0x27, &slot.key.sign_der(text.as_bytes()), &[&slot.yubikey.slot, &slot.yubikey.f9])
        }),
        ("another slot's certificate", &|text| {
            step(0x26, &slot.key.sign_der(text.as_bytes()), &[&other.yubikey.slot, &other.yubikey.f9])
        }),
    ];
    for (what, forge) in forgeries {
        let (_, challenge) = order(&client, "permanent-identifier", "7", "any").await;
        assert_eq!(answer(&client, &challenge, &forge(&own(&challenge))).await, possession, "{what}");
    }
    // Truly signed, and not what was asked for.
    for (kind, value) in [
        ("permanent-identifier", "8"),
        ("permanent-identifier", "ak:7"),
        ("hardware-module", "7/2.23.133.1.2"),
        ("hardware-module", "8/1.3.6.1.4.1.41482.3"),
    ] {
        let (_, challenge) = order(&client, kind, value, "any").await;
        let codes = answer(&client, &challenge, &slot.answer(&own(&challenge))).await;
        assert_eq!(codes, ["acme.attestation-identifier"], "{kind} {value}");
    }
    // A YubiKey of nobody's, the slot under another's F9, and a certificate that a key of a slot made for a key in software.
    let stranger = Slot::new(&Vendor::new("Yubico PIV Root CA", NOW), 7);
    let (_, challenge) = order(&client, "permanent-identifier", "7", "any").await;
    let codes = answer(&client, &challenge, &stranger.answer(&own(&challenge))).await;
    assert!(codes.iter().any(|code| code.starts_with("trust.") || code.starts_with("chain.")), "{codes:?}");
    let (_, challenge) = order(&client, "permanent-identifier", "7", "any").await;
    let signature = slot.key.sign_der(own(&challenge).as_bytes());
    let mixed = step(0x26, &signature, &[&slot.yubikey.slot, &other.yubikey.f9]);
    let codes = answer(&client, &challenge, &mixed).await;
    assert!(codes.iter().any(|code| code.starts_with("yubikey-piv.")), "{codes:?}");
    let (_, challenge) = order(&client, "permanent-identifier", "7", "any").await;
    let signature = slot.key.sign_der(own(&challenge).as_bytes());
    let alone = step(0x26, &signature, &[&slot.yubikey.slot]);
    assert_eq!(answer(&client, &challenge, &alone).await, ["yubikey-piv.signer-missing"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_without_a_nonce_is_fresh_by_a_proof_over_the_key_authorization_alone() {
    let stage = Stage::new();
    let (site, maker) = site(&stage).await;
    let alice = Client::register(&site, "alice", &ALICE_SECRET).await;
    let second = Client::register(&site, "alice", &ALICE_SECRET).await;
    let slot = Slot::new(&maker, 7);
    let name = "a.example";
    let digest = async |client: &Client<'_>, order: &Value, kind: &str| {
        let challenge = client.challenge(order, kind).await;
        sha256(client.key_authorization(&challenge).as_bytes())
    };
    let (_, other) = alice.proven(&stage, name, "any").await;
    let (_, foreign) = second.proven(&stage, name, "any").await;
    let (_, order) = alice.proven(&stage, name, "any").await;
    let own = digest(&alice, &order, "http-01").await;
    let nonce = unb64url(&order["attestationNonce"]);
    let theirs = second.key_authorization(&alice.challenge(&order, "http-01").await);
    for (what, context) in [
        ("another order's", digest(&alice, &other, "http-01").await),
        ("another account's", digest(&second, &foreign, "http-01").await),
        ("this token with another account's key", sha256(theirs.as_bytes())),
        ("the challenge that was not met", digest(&alice, &order, "dns-01").await),
        ("the order's identifier", order["finalize"].as_str().unwrap().rsplit('/').next().unwrap().as_bytes().to_vec()),
        ("the digest of it", sha256(&own)),
        ("none", Vec::new()),
    ] {
        let (_, order) = alice.proven(&stage, name, "any").await;
        let nonce = unb64url(&order["attestationNonce"]);
        let csr = slot.request(name, Some((&nonce, &context)));
        let refused = codes(&alice.finalize(&order, &csr, Some(&order["attestationNonce"])).await);
        assert!(refused.contains(&"pop.context".to_owned()), "{what}: {refused:?}");
    }
    // The request's own signature never counts, nor does a proof whose nonce this authority did not give to this order.
    let asked = Some(&order["attestationNonce"]);
    let refused = codes(&alice.finalize(&order, &slot.request(name, None), asked).await);
    assert!(refused.contains(&"nonce.missing".to_owned()), "{refused:?}");
    assert_eq!(
        codes(&alice.finalize(&order, &slot.request(name, Some((&nonce, &own))), None).await),
        ["authority.freshness-required"]
    );
    let strange = unb64url(&other["attestationNonce"]);
    let csr = slot.request(name, Some((&strange, &own)));
    assert_eq!(codes(&alice.finalize(&order, &csr, Some(&other["attestationNonce"])).await), ["nonce-unknown"]);
    let (_, order) = alice.proven(&stage, name, "any").await;
    let (own, nonce) = (digest(&alice, &order, "http-01").await, unb64url(&order["attestationNonce"]));
    let asked = Some(&order["attestationNonce"]);
    let csr = slot.request(name, Some((&[7; 32], &own)));
    let refused = codes(&alice.finalize(&order, &csr, asked).await);
    assert!(refused.contains(&"nonce.mismatch".to_owned()), "{refused:?}");
    // One attempt for each nonce; the order has others.
    let fresh = alice.read(&json!(order["finalize"].as_str().unwrap().replace("/finalize/", "/order/"))).await;
    assert_ne!(unb64url(&fresh["attestationNonce"]), nonce);
    let nonce = unb64url(&fresh["attestationNonce"]);
    let csr = slot.request(name, Some((&nonce, &own)));
    let finalized = alice.finalize(&order, &csr, Some(&json!(base64url::encode(&nonce)))).await;
    let issued = certificates(&alice, &finalized).await;
    assert!(issued[0].spki().same_key(&slot.key.spki()));

    // Where a profile wants nothing fresh, a proof that is there must be right all the same.
    let (_, order) = alice.proven(&stage, name, "any-stock").await;
    let captured = slot.request(name, Some((&nonce, &own)));
    let refused = codes(&alice.finalize(&order, &captured, None).await);
    assert!(refused.contains(&"pop.context".to_owned()), "{refused:?}");
    assert_eq!(alice.finalize(&order, &slot.request(name, None), None).await.status, 200);
}
