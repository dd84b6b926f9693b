//! ACME: accounts, orders by name and by device, and everything that must not lead to a certificate.

#[path = "acme/client.rs"]
pub mod client;
#[path = "acme/devices.rs"]
pub mod devices;
#[path = "acme/orders.rs"]
mod orders;
#[path = "acme/peers.rs"]
mod peers;
#[path = "acme/refusals.rs"]
mod refusals;
#[path = "acme/resolver.rs"]
mod resolver;
#[path = "acme/slots.rs"]
mod slots;
#[path = "acme/validations.rs"]
mod validations;

use serde_json::{Value, json};
use vouchsafe_evidence::base64url;
use vouchsafe_evidence::bundle::{AttestationBundle, AttestationStatement};
use vouchsafe_evidence::oid;
use vouchsafe_evidence::pem;
use vouchsafe_evidence::tpm::EccScheme;
use vouchsafe_evidence::tpm::template::USER_KEY_ATTRIBUTES;
use vouchsafe_evidence::x509::build;
use vouchsafe_evidence::x509::extensions::{GeneralName, SubjectAltName};
use vouchsafe_evidence::x509::{CertView, CrlView};

use self::client::{ALICE_SECRET, Client, Stage, codes, jwk, sign};
use crate::est::enrolled;
use crate::module::{Module, SoftwareKey};
use crate::site::{ALICE, NOW, Reply};

/// A request for a key with these alternative names and statements.
fn request(
    key: &SoftwareKey,
    names: &[GeneralName],
    statements: Vec<AttestationStatement>,
    certificates: &[Vec<u8>],
) -> Vec<u8> {
    // Clients take the common name for one of the names too.
    let common_name = names.iter().find_map(|name| match name {
        GeneralName::Dns(host) => Some(String::from_utf8(host.clone()).unwrap()),
        _ => None,
    });
    request_as(common_name.as_deref().unwrap_or("as the client wrote it"), key, names, statements, certificates)
}

/// The same, of a subject with this common name.
fn request_as(
    common_name: &str,
    key: &SoftwareKey,
    names: &[GeneralName],
    statements: Vec<AttestationStatement>,
    certificates: &[Vec<u8>],
) -> Vec<u8> {
    let mut attributes = Vec::new();
    if !names.is_empty() {
        attributes.push(build::extension_request_attribute(&[build::subject_alt_name(false, names)]));
    }
    if !statements.is_empty() {
        let certificates = certificates.iter().map(|der| CertView::parse(der).unwrap()).collect();
        let bundle = AttestationBundle::new(statements, certificates).unwrap();
        attributes.push(build::attestation_attribute(&bundle));
    }
    let subject = build::distinguished_name(&[(oid::COMMON_NAME, common_name)]).unwrap();
    key.csr(subject, attributes)
}

fn dns(name: &str) -> Vec<GeneralName> {
    vec![GeneralName::Dns(name.as_bytes().to_vec())]
}

/// A request for a fresh key in the module by this name, whose statement answers the nonce.
fn attested(module: &Module, ak_chain: &[Vec<u8>], name: &str, nonce: &[u8]) -> Vec<u8> {
    let key = SoftwareKey::generate();
    let public = key.public(USER_KEY_ATTRIBUTES, EccScheme::Null);
    request(&key, &dns(name), vec![module.key_statement(&public, nonce)], ak_chain)
}

fn unb64url(value: &Value) -> Vec<u8> {
    base64url::decode(value.as_str().unwrap()).unwrap()
}

/// The chain that a finalized order leads to.
async fn certificates(client: &Client<'_>, finalized: &Reply) -> Vec<CertView> {
    assert_eq!(finalized.status, 200, "{}", String::from_utf8_lossy(&finalized.body));
    let order = finalized.json();
    assert_eq!(order["status"], "valid");
    let reply = client.post(order["certificate"].as_str().unwrap(), None).await;
    assert_eq!(reply.status, 200);
    assert_eq!(client::header(&reply, "content-type").unwrap(), "application/pem-certificate-chain");
    pem::read(&reply.body).unwrap().iter().map(|block| CertView::parse(block.contents()).unwrap()).collect()
}

fn alternative_names(certificate: &CertView) -> Vec<GeneralName> {
    let extension = certificate.extension(oid::SUBJECT_ALT_NAME).unwrap();
    extension.map_or_else(Vec::new, |found| SubjectAltName::parse(found.value()).unwrap().names().to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_by_name_becomes_a_certificate_for_an_attested_key() {
    let stage = Stage::new();
    let site = stage.site(NOW, true).await;
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let client = Client::register(&site, "alice", &ALICE_SECRET).await;
    let (url, order) = client.proven(&stage, "device-1.example.com", "device").await;
    let csr = attested(&module, &ak_chain, "device-1.example.com", &unb64url(&order["attestationNonce"]));
    let finalized = client.finalize(&order, &csr, Some(&order["attestationNonce"])).await;
    let issued = certificates(&client, &finalized).await;
    assert_eq!(issued.len(), 2);
    assert_eq!(issued[0].subject().to_display(), "CN=device-1");
    assert_eq!(alternative_names(&issued[0]), dns("device-1.example.com"));
    assert_eq!(client.read(&json!(url)).await["status"], "valid");
    // One order, one certificate.
    let again = client.finalize(&order, &csr, Some(&order["attestationNonce"])).await;
    assert_eq!(codes(&again), ["acme.order-not-ready"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn dns_01_and_wildcards() {
    let stage = Stage::new();
    let site = stage.site(NOW, true).await;
    let client = Client::register(&site, "alice", &ALICE_SECRET).await;
    let (url, order) = client.order(json!([{ "type": "dns", "value": "*.example.com" }]), "device").await;
    let authorization = client.read(&order["authorizations"][0]).await;
    assert_eq!(
        (&authorization["wildcard"], &authorization["identifier"]["value"]),
        (&json!(true), &json!("example.com"))
    );
    assert_eq!(authorization["challenges"].as_array().unwrap().len(), 1, "no http-01 for every host below a name");
    let challenge = client.challenge(&order, "dns-01").await;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, client.key_authorization(&challenge).as_bytes());
    let text = base64url::encode(digest.as_ref());
    stage.texts.lock().unwrap().insert("_acme-challenge.example.com".to_owned(), text);
    let reply = client.post(challenge["url"].as_str().unwrap(), Some(&json!({}))).await;
    assert_eq!(reply.json()["status"], "valid");
    assert_eq!(client.read(&json!(url)).await["status"], "ready");
    // The same text proves nothing for another challenge.
    let (url, order) = client.order(json!([{ "type": "dns", "value": "*.example.com" }]), "device").await;
    let challenge = client.challenge(&order, "dns-01").await;
    let reply = client.post(challenge["url"].as_str().unwrap(), Some(&json!({}))).await;
    assert_eq!(reply.json()["status"], "invalid");
    assert_eq!(reply.json()["error"]["type"], "urn:ietf:params:acme:error:incorrectResponse");
    assert_eq!(client.read(&json!(url)).await["status"], "invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_change_and_accounts_end() {
    let stage = Stage::new();
    let site = stage.site(NOW, true).await;
    let mut client = Client::register(&site, "alice", &ALICE_SECRET).await;
    let url = client.url("key-change");
    let fresh = SoftwareKey::generate();
    let change = json!({ "account": client.kid, "oldKey": jwk(&client.key) });
    let inner = |key: &SoftwareKey, change: &Value| {
        sign(key, &json!({ "alg": "ES256", "jwk": jwk(key), "url": url }), Some(change))
    };
    let stranger = json!({ "account": client.kid, "oldKey": jwk(&fresh) });
    assert_eq!(codes(&client.post(&url, Some(&inner(&fresh, &stranger))).await), ["acme.key-change"]);
    assert_eq!(codes(&client.post(&url, Some(&inner(&client.key, &change))).await), ["acme.key-in-use"]);
    assert_eq!(client.post(&url, Some(&inner(&fresh, &change))).await.status, 200);
    assert_eq!(codes(&client.post(&client.kid, None).await), ["acme.jws-signature"], "the old key is none");
    client.key = fresh;
    assert_eq!(client.read(&json!(client.kid)).await["status"], "valid");
    let found = json!({ "onlyReturnExisting": true });
    let reply = client.post_with(&client.url("new-account"), json!({ "jwk": jwk(&client.key) }), Some(&found)).await;
    assert_eq!((reply.status, client::header(&reply, "location").unwrap()), (200, client.kid.clone()));

    let ended = client.post(&client.kid, Some(&json!({ "status": "deactivated" }))).await;
    assert_eq!(ended.json()["status"], "deactivated");
    assert_eq!(codes(&client.post(&client.kid, None).await), ["acme.account-deactivated"]);
    let reply = client.post_with(&client.url("new-account"), json!({ "jwk": jwk(&client.key) }), Some(&found)).await;
    assert_eq!(codes(&reply), ["acme.account-deactivated"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_revoked_by_its_account_or_its_key_and_by_nobody_else() {
    let stage = Stage::new();
    let site = stage.site(NOW, true).await;
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let client = Client::register(&site, "alice", &ALICE_SECRET).await;
    let other = Client::register(&site, "alice", &ALICE_SECRET).await;
    let keys = [SoftwareKey::generate(), SoftwareKey::generate()];
    let mut issued = Vec::new();
    for (name, key) in ["one.example", "two.example"].into_iter().zip(&keys) {
        let (_, order) = client.proven(&stage, name, "device").await;
        let public = key.public(USER_KEY_ATTRIBUTES, EccScheme::Null);
        let nonce = unb64url(&order["attestationNonce"]);
        let csr = request(key, &dns(name), vec![module.key_statement(&public, &nonce)], &ak_chain);
        let finalized = client.finalize(&order, &csr, Some(&order["attestationNonce"])).await;
        issued.push(certificates(&client, &finalized).await.remove(0));
    }
    let url = client.url("revoke-certificate");
    let revocation = |certificate: &CertView, reason: u8| json!({ "certificate": base64url::encode(certificate.as_der()), "reason": reason });
    assert_eq!(codes(&other.post(&url, Some(&revocation(&issued[0], 1))).await), ["acme.revocation-key"]);
    assert_eq!(codes(&client.post(&url, Some(&revocation(&issued[0], 9))).await), ["acme.revocation-reason"]);
    assert_eq!(client.post(&url, Some(&revocation(&issued[0], 1))).await.status, 200);
    assert_eq!(codes(&client.post(&url, Some(&revocation(&issued[0], 1))).await), ["acme.already-revoked"]);
    // By the certificate's own key.
    let stranger = other.post_with(&url, json!({ "jwk": jwk(&other.key) }), Some(&revocation(&issued[1], 0))).await;
    assert_eq!(codes(&stranger), ["acme.revocation-key"]);
    let header = json!({ "alg": "ES256", "jwk": jwk(&keys[1]), "nonce": client.nonce().await, "url": url });
    let reply = client.send(&url, &sign(&keys[1], &header, Some(&revocation(&issued[1], 0)))).await;
    assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));

    site.clock.advance(61);
    let list = site.exchange("GET", "/v1/revocation-lists/issuing", &[], b"").await;
    let list = CrlView::parse(&list.body).unwrap();
    assert_eq!(list.entries().count(), 2);
}
