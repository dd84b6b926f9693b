//! device-attest-01: orders for devices, met by what their modules attest.

use aws_lc_rs::digest;
use serde_json::{Value, json};
use vouchsafe_evidence::base64url;
use vouchsafe_evidence::oid;
use vouchsafe_evidence::tpm::EccScheme;
use vouchsafe_evidence::tpm::template::USER_KEY_ATTRIBUTES;
use vouchsafe_evidence::x509::build::DerWriter;
use vouchsafe_evidence::x509::der::Tag;
use vouchsafe_evidence::x509::extensions::GeneralName;

use super::client::{ALICE_SECRET, BOB_SECRET, Client, Stage, codes};
use super::{alternative_names, certificates, enrolled, request};
use crate::module::{Module, SoftwareKey};
use crate::site::{ALICE, NOW};

/// CBOR: the head of an item.
pub fn head(kind: u8, length: usize) -> Vec<u8> {
    match length {
        0..24 => vec![kind << 5 | u8::try_from(length).unwrap()],
        24..256 => vec![kind << 5 | 24, u8::try_from(length).unwrap()],
        _ => [&[kind << 5 | 25][..], &u16::try_from(length).unwrap().to_be_bytes()].concat(),
    }
}

pub fn bytes(octets: &[u8]) -> Vec<u8> {
    [head(2, octets.len()), octets.to_vec()].concat()
}

pub fn text(value: &str) -> Vec<u8> {
    [head(3, value.len()), value.as_bytes().to_vec()].concat()
}

/// A map of these members.
pub fn object(members: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let items = members.iter().flat_map(|(name, value)| [text(name), value.clone()].concat());
    head(5, members.len()).into_iter().chain(items).collect()
}

pub fn sha256(octets: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, octets).as_ref().to_vec()
}

/// The attestation object of format `tpm` over this key authorization.
pub fn tpm_object(module: &Module, ak_chain: &[Vec<u8>], key: &SoftwareKey, key_authorization: &str) -> Vec<u8> {
    let public = key.public(USER_KEY_ATTRIBUTES, EccScheme::Null);
    let (attest, signature) = module.certify(&public, &sha256(key_authorization.as_bytes()));
    let chain: Vec<u8> = ak_chain.iter().flat_map(|der| bytes(der)).collect();
    let statement = object(&[
        ("ver", text("2.0")),
        ("alg", vec![0x26]),
        ("x5c", [head(4, ak_chain.len()), chain].concat()),
        ("sig", bytes(&signature)),
        ("certInfo", bytes(&attest)),
        ("pubArea", bytes(public.as_bytes())),
    ]);
    object(&[("fmt", text("tpm")), ("attStmt", statement)])
}

/// The identity of a device among the alternative names (RFC 4043, section 2).
pub fn permanent_identifier(value: &str) -> Vec<GeneralName> {
    let mut writer = DerWriter::new();
    writer.constructed(Tag::context_constructed(0), |fields| {
        fields.oid(oid::ON_PERMANENT_IDENTIFIER);
        fields.constructed(Tag::context_constructed(0), |value_of| {
            value_of.sequence(|identifier| {
                identifier.string(Tag::UTF8_STRING, value);
            });
        });
    });
    vec![GeneralName::Other(writer.into_der())]
}

pub fn response(object: &[u8]) -> Value {
    json!({ "attObj": base64url::encode(object) })
}

async fn order(client: &Client<'_>, kind: &str, value: &str) -> (String, Value, Value) {
    let (url, order) = client.order(json!([{ "type": kind, "value": value }]), "device").await;
    let challenge = client.challenge(&order, "device-attest-01").await;
    (url, order, challenge)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_gets_a_certificate_for_the_key_that_it_attested() {
    let stage = Stage::new();
    let site = stage.site(NOW, false).await;
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let client = Client::register(&site, "alice", &ALICE_SECRET).await;
    let (url, order, challenge) = order(&client, "permanent-identifier", "device-1").await;
    let key = SoftwareKey::generate();
    let object = tpm_object(&module, &ak_chain, &key, &client.key_authorization(&challenge));
    let reply = client.post(challenge["url"].as_str().unwrap(), Some(&response(&object))).await;
    assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    assert_eq!(reply.json()["status"], "valid");
    assert_eq!(client.read(&json!(url)).await["status"], "ready");

    // Another key than the one that was attested, and evidence twice.
    let other = request(&SoftwareKey::generate(), &[], vec![], &[]);
    assert_eq!(codes(&client.finalize(&order, &other, None).await), ["acme.csr-key"]);
    let public = key.public(USER_KEY_ATTRIBUTES, EccScheme::Null);
    let twice = request(&key, &[], vec![module.key_statement(&public, &[7; 32])], &ak_chain);
    assert_eq!(codes(&client.finalize(&order, &twice, None).await), ["input.ambiguous"]);

    let finalized = client.finalize(&order, &request(&key, &[], vec![], &[]), None).await;
    let issued = certificates(&client, &finalized).await;
    assert_eq!(issued[0].subject().to_display(), "CN=device-1");
    assert!(issued[0].spki().same_key(&key.spki()));
    assert_eq!(alternative_names(&issued[0]), [], "a request that leaves the device out gets a certificate without it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_names_the_device_where_the_request_does() {
    let stage = Stage::new();
    let site = stage.site(NOW, false).await;
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let client = Client::register(&site, "alice", &ALICE_SECRET).await;
    let (_, order, challenge) = order(&client, "permanent-identifier", "device-1").await;
    let key = SoftwareKey::generate();
    let object = tpm_object(&module, &ak_chain, &key, &client.key_authorization(&challenge));
    assert_eq!(client.post(challenge["url"].as_str().unwrap(), Some(&response(&object))).await.status, 200);
    let name = permanent_identifier;
    let wrong = request(&key, &name("device-2"), vec![], &[]);
    assert_eq!(codes(&client.finalize(&order, &wrong, None).await), ["acme.csr-identifiers"]);
    let finalized = client.finalize(&order, &request(&key, &name("device-1"), vec![], &[]), None).await;
    let issued = certificates(&client, &finalized).await;
    assert_eq!(alternative_names(&issued[0]), name("device-1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_challenge_s_another_account_s_and_another_device_s_evidence_is_refused() {
    let stage = Stage::new();
    let site = stage.site(NOW, false).await;
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let client = Client::register(&site, "alice", &ALICE_SECRET).await;
    let second = Client::register(&site, "alice", &ALICE_SECRET).await;
    let bob = Client::register(&site, "bob", &BOB_SECRET).await;
    let key = SoftwareKey::generate();
    let answer = async |client: &Client<'_>, challenge: &Value, object: &[u8]| {
        let reply = client.post(challenge["url"].as_str().unwrap(), Some(&response(object))).await;
        assert_eq!(reply.json()["type"], "urn:ietf:params:acme:error:badAttestationStatement");
        let codes = codes(&reply);
        // One attempt: what was wrong stays wrong.
        let read = client.post(challenge["url"].as_str().unwrap(), None).await.json();
        assert_eq!(read["status"], "invalid");
        codes
    };
    // The key authorization of an account with another key: the same token is another challenge's.
    let (_, _, challenge) = order(&client, "permanent-identifier", "device-1").await;
    let theirs = second.key_authorization(&challenge);
    let object = tpm_object(&module, &ak_chain, &key, &theirs);
    assert_eq!(answer(&client, &challenge, &object).await, ["nonce.mismatch"]);
    // Another device's name.
    let (_, _, challenge) = order(&client, "permanent-identifier", "device-2").await;
    let object = tpm_object(&module, &ak_chain, &key, &client.key_authorization(&challenge));
    assert_eq!(answer(&client, &challenge, &object).await, ["acme.attestation-identifier"]);
    // Another account's device.
    let (_, _, challenge) = order(&bob, "permanent-identifier", "device-1").await;
    let object = tpm_object(&module, &ak_chain, &key, &bob.key_authorization(&challenge));
    assert_eq!(answer(&bob, &challenge, &object).await, ["authority.other-account"]);
    // A TPM that no vendor stands behind.
    let (_, _, challenge) = order(&client, "permanent-identifier", "device-1").await;
    let stranger = Module::new(&site.vendor, NOW);
    let object = tpm_object(&stranger, &ak_chain, &key, &client.key_authorization(&challenge));
    assert!(answer(&client, &challenge, &object).await.contains(&"tpm.bad-signature".to_owned()));
    let (_, _, challenge) = order(&client, "permanent-identifier", "device-1").await;
    assert_eq!(answer(&client, &challenge, b"\xA0").await, ["acme.attestation-object"]);
}
