//! Certificates over HTTPS.

use std::process::Command;

use serde_json::json;
use vouchsafe_evidence::oid;
use vouchsafe_evidence::tpm::EccScheme;
use vouchsafe_evidence::tpm::template::USER_KEY_ATTRIBUTES;
use vouchsafe_evidence::x509::extensions::{ExtendedKeyUsage, KeyUsage};
use vouchsafe_evidence::x509::{CertView, CsrView};

use crate::module::{Module, SoftwareKey, pem};
use crate::site::{ALICE, BOB, NOW, Reply, Site, b64, chain, hex};

async fn enrolled(site: &Site, token: &str, device: &str) -> (Module, Vec<Vec<u8>>) {
    let module = Module::new(&site.vendor, NOW);
    let answer = site.enroll(token, &module, device).await;
    (module, chain(&answer["certificates"]["attest"]))
}

async fn request(site: &Site, token: &str, csr: &[u8], nonce: &[u8]) -> Reply {
    site.post("/v1/certificates", Some(token), json!({"csr": b64(csr), "nonce": hex(nonce)})).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attested_key_is_certified_and_openssl_agrees() {
    let site = Site::start().await;
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let nonce = site.certificate_nonce(ALICE).await;
    let csr = module.csr(&nonce, &ak_chain, None);
    let reply = request(&site, ALICE, &csr, &nonce).await;
    assert_eq!(reply.status, 201, "{}", String::from_utf8_lossy(&reply.body));
    let issued = chain(&reply.json()["certificates"]);
    assert_eq!(issued.len(), 2);

    let leaf = CertView::parse(&issued[0]).unwrap();
    assert!(leaf.is_strict_der());
    assert_eq!(leaf.subject().to_display(), "CN=device-1");
    assert!(leaf.spki().same_key(CsrView::parse(&csr).unwrap().spki()));
    assert_eq!(leaf.serial().len(), 20);
    assert_eq!((leaf.not_before(), leaf.not_after()), (NOW - 300, NOW + 90 * 86_400));
    let value = |oid| leaf.extension(oid).unwrap().unwrap();
    assert_eq!(KeyUsage::parse(value(oid::KEY_USAGE).value()).unwrap().bits(), KeyUsage::DIGITAL_SIGNATURE);
    let purposes = ExtendedKeyUsage::parse(value(oid::EXTENDED_KEY_USAGE).value()).unwrap();
    assert_eq!(purposes.purposes(), [oid::KP_CLIENT_AUTH]);
    let extensions: Vec<_> = leaf.extensions().map(|extension| extension.oid()).collect();
    assert_eq!(
        extensions,
        [
            oid::BASIC_CONSTRAINTS,
            oid::KEY_USAGE,
            oid::EXTENDED_KEY_USAGE,
            oid::SUBJECT_KEY_IDENTIFIER,
            oid::AUTHORITY_KEY_IDENTIFIER
        ],
        "nothing that was attested is in the certificate"
    );

    let root = site.state().join("ca/issuing-root.crt");
    let file = |name: &str, der: &[u8]| {
        let path = site.dir.path().join(name);
        std::fs::write(&path, pem(der)).unwrap();
        path
    };
    let output = Command::new("openssl")
        .args(["verify", "-x509_strict", "-purpose", "sslclient", "-attime", &NOW.to_string(), "-CAfile"])
        .arg(&root)
        .arg("-untrusted")
        .arg(file("ca.pem", &issued[1]))
        .arg(file("leaf.pem", &issued[0]))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_gets_the_same_certificate_and_any_other_none() {
    let mut site = Site::start().await;
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let nonce = site.certificate_nonce(ALICE).await;
    let csr = module.csr(&nonce, &ak_chain, None);
    let first = request(&site, ALICE, &csr, &nonce).await;
    assert_eq!(first.status, 201);
    let again = request(&site, ALICE, &csr, &nonce).await;
    assert_eq!((again.status, &again.body), (201, &first.body));
    let other = request(&site, ALICE, &module.csr(&nonce, &ak_chain, None), &nonce).await;
    assert_eq!((other.status, other.problem().as_str()), (409, "nonce-spent"));
    // Long after, and by another process.
    site.clock.advance(3_600);
    site.restart().await;
    assert_eq!(request(&site, ALICE, &csr, &nonce).await.body, first.body);
    assert_eq!(request(&site, BOB, &csr, &nonce).await.problem(), "nonce-unknown");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_nonce_spent_many_times_at_once_is_one_certificate() {
    let site = std::sync::Arc::new(Site::start().await);
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let nonce = site.certificate_nonce(ALICE).await;
    let csrs: Vec<Vec<u8>> = (0..4).map(|_| module.csr(&nonce, &ak_chain, None)).collect();
    let mut requests = tokio::task::JoinSet::new();
    for index in 0..40 {
        let (site, csr, nonce) = (std::sync::Arc::clone(&site), csrs[index % 4].clone(), nonce.clone());
        requests.spawn(async move { request(&site, ALICE, &csr, &nonce).await });
    }
    let mut certificates = std::collections::HashSet::new();
    let (mut granted, mut spent) = (0, 0);
    while let Some(reply) = requests.join_next().await {
        let reply = reply.unwrap();
        match reply.status {
            201 => {
                granted += 1;
                certificates.insert(reply.body);
            }
            _ => {
                assert_eq!(reply.problem(), "nonce-spent");
                spent += 1;
            }
        }
    }
    assert_eq!((certificates.len(), granted, spent), (1, 10, 30));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_lists_every_violation_and_is_repeated() {
    let site = Site::start().await;
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let nonce = site.certificate_nonce(ALICE).await;
    let key = SoftwareKey::generate();
    // fixedTPM, fixedParent and sensitiveDataOrigin clear: a key that was made outside and imported.
    let public = key.public(USER_KEY_ATTRIBUTES & !0x32, EccScheme::Null);
    let csr = module.csr_for(&key, &public, &nonce, &ak_chain, None);
    let reply = request(&site, ALICE, &csr, &nonce).await;
    assert_eq!((reply.status, reply.problem().as_str()), (422, "rejected"));
    let codes = reply.codes();
    assert!(codes.len() > 1 && codes.iter().any(|code| code == "tpm.key-not-fixed"), "{codes:?}");
    for violation in reply.json()["violations"].as_array().unwrap() {
        assert!(
            !violation["message"].as_str().unwrap().is_empty() && !violation["clause"].as_str().unwrap().is_empty()
        );
    }
    let again = request(&site, ALICE, &csr, &nonce).await;
    assert_eq!((again.status, again.codes()), (422, codes));
    let other = module.csr(&nonce, &ak_chain, None);
    assert_eq!(request(&site, ALICE, &other, &nonce).await.problem(), "nonce-spent");
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_must_answer_this_nonce() {
    let site = Site::start().await;
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let [yesterday, today] = [site.certificate_nonce(ALICE).await, site.certificate_nonce(ALICE).await];
    let reply = request(&site, ALICE, &module.csr(&yesterday, &ak_chain, None), &today).await;
    assert_eq!(reply.problem(), "rejected");
    assert!(reply.codes().iter().any(|code| code.contains("nonce")), "{:?}", reply.codes());
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_of_other_accounts_and_of_nobody_are_refused() {
    let site = Site::start().await;
    let (module, ak_chain) = enrolled(&site, BOB, "device-1").await;
    let nonce = site.certificate_nonce(ALICE).await;
    let reply = request(&site, ALICE, &module.csr(&nonce, &ak_chain, None), &nonce).await;
    assert_eq!(reply.codes(), ["authority.other-account"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_is_compared_with_the_baseline_of_its_own_device() {
    let site = Site::start().await;
    let module = Module::new(&site.vendor, NOW);
    let (good, bad) = ([[1; 32], [2; 32]], [[1; 32], [3; 32]]);
    let nonce = site.enrolment_nonce(ALICE).await;
    let quote = module.quote(&good, &nonce);
    let mut body = Site::enrolment_body(&module, "device", &nonce);
    body["baseline"] = json!({"attest": b64(&quote.0), "signature": b64(&quote.1), "pcr_values": b64(&quote.2)});
    let challenge = site.post("/v1/attestation-keys", Some(ALICE), body).await;
    let answer = site.answer(ALICE, &module, &challenge.json()).await.json();
    let ak_chain = chain(&answer["certificates"]["attest"]);

    let nonce = site.certificate_nonce(ALICE).await;
    let reply = request(&site, ALICE, &module.csr(&nonce, &ak_chain, Some(&good)), &nonce).await;
    assert_eq!(reply.status, 201, "{}", String::from_utf8_lossy(&reply.body));
    let nonce = site.certificate_nonce(ALICE).await;
    let reply = request(&site, ALICE, &module.csr(&nonce, &ak_chain, Some(&bad)), &nonce).await;
    assert_eq!(reply.problem(), "rejected");
    assert!(reply.codes().iter().any(|code| code.contains("pcr")), "{:?}", reply.codes());
    // A device without a baseline: recorded, not judged.
    let (other, ak_chain) = enrolled(&site, ALICE, "device-2").await;
    let nonce = site.certificate_nonce(ALICE).await;
    assert_eq!(request(&site, ALICE, &other.csr(&nonce, &ak_chain, Some(&bad)), &nonce).await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn der_in_and_pem_out() {
    let site = Site::start().await;
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let nonce = site.certificate_nonce(ALICE).await;
    let csr = module.csr(&nonce, &ak_chain, None);
    let headers = [
        "Content-Type: application/pkcs10".to_owned(),
        "Accept: application/pem-certificate-chain".to_owned(),
        format!("Content-Length: {}", csr.len()),
        format!("Authorization: Bearer {ALICE}"),
    ];
    let path = format!("/v1/certificates?nonce={}", hex(&nonce));
    let reply = site.exchange("POST", &path, &headers, &csr).await;
    assert_eq!(reply.status, 201, "{}", String::from_utf8_lossy(&reply.body));
    assert_eq!(String::from_utf8(reply.body).unwrap().matches("-----BEGIN CERTIFICATE-----").count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_is_refused_with_a_code() {
    let site = Site::start().await;
    let nonce = site.certificate_nonce(ALICE).await;
    let reply = request(&site, ALICE, b"nothing", &nonce).await;
    assert_eq!((reply.status, reply.codes().len()), (422, 1));
    let (_, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let nonce = site.certificate_nonce(ALICE).await;
    let reply = request(&site, ALICE, &ak_chain[0], &nonce).await;
    assert_eq!(reply.status, 422);
    let body = json!({"csr": "AA==", "nonce": hex(&[0; 32]), "profile": "none"});
    assert_eq!(site.post("/v1/certificates", Some(ALICE), body).await.problem(), "unknown-profile");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_that_takes_names_from_the_request_is_for_accounts_that_list_it() {
    let settings = "[[profiles]]\nname='device'\n[[profiles]]\nname='sign'\nsubject='request'\nnames.of=['device']\n";
    let site = Site::start_with(settings).await;
    let asked = |profile: &str| json!({"purpose": "certificate", "profile": profile});
    assert_eq!(site.post("/v1/nonces", Some(BOB), asked("device")).await.status, 201);
    let refused = site.post("/v1/nonces", Some(BOB), asked("sign")).await;
    assert_eq!((refused.status, refused.problem().as_str()), (403, "profile-not-permitted"));
}
