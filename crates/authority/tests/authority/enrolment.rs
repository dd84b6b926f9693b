//! AK enrolment over HTTPS.

use serde_json::json;
use vouchsafe_evidence::tpm::template::{AK_ATTRIBUTES, PLAIN_AK_ATTRIBUTES};
use vouchsafe_evidence::tpm::{Curve, EccScheme, HashAlg};

use crate::module::{EndorsementKey, Module, Vendor};
use crate::site::{ALICE, BOB, CAROL, NOW, Site, b64, chain, hex, unb64};

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_endorsement_key_enrolls() {
    let site = Site::start().await;
    let keys = [EndorsementKey::rsa(), EndorsementKey::ecc(Curve::P256), EndorsementKey::ecc(Curve::P384)];
    for (index, ek) in keys.into_iter().enumerate() {
        let module = Module::with(&site.vendor, NOW, ek, AK_ATTRIBUTES);
        let answer = site.enroll(ALICE, &module, &format!("device-{index}")).await;
        assert_eq!(answer["device_id"], format!("ak:{}", hex(&module.ak.spki().sha256())));
        assert_eq!(chain(&answer["certificates"]["attest"]).len(), 2);
        assert_eq!(chain(&answer["certificates"]["certify_x509"]).len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_without_x509sign_gets_one_family() {
    let site = Site::start().await;
    let module = Module::with(&site.vendor, NOW, EndorsementKey::ecc(Curve::P256), PLAIN_AK_ATTRIBUTES);
    let answer = site.enroll(ALICE, &module, "device").await;
    assert!(answer["certificates"].get("certify_x509").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_attempt_whatever_was_answered() {
    let site = Site::start().await;
    let module = Module::new(&site.vendor, NOW);
    let challenge = site.challenge(ALICE, &module, "device").await.json();
    let path = format!("/v1/attestation-keys/{}/activation", challenge["id"].as_str().unwrap());
    let wrong = site.post(&path, Some(ALICE), json!({"secret": b64(&[0; 32])})).await;
    assert_eq!((wrong.status, wrong.problem().as_str()), (403, "activation-failed"));
    let late = site.answer(ALICE, &module, &challenge).await;
    // The right secret after a wrong one is answered like a wrong one.
    assert_eq!(late.body, wrong.body);

    let unknown = site.post("/v1/attestation-keys/00/activation", Some(ALICE), json!({"secret": ""})).await;
    assert_eq!(unknown.body, wrong.body);
    site.enroll(ALICE, &module, "device").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_answer_works_once() {
    let site = Site::start().await;
    let module = Module::new(&site.vendor, NOW);
    let challenge = site.challenge(ALICE, &module, "device").await.json();
    assert_eq!(site.answer(ALICE, &module, &challenge).await.status, 201);
    assert_eq!(site.answer(ALICE, &module, &challenge).await.problem(), "activation-failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_is_its_accounts_alone_and_expires() {
    let site = Site::start().await;
    let module = Module::new(&site.vendor, NOW);
    let challenge = site.challenge(ALICE, &module, "device").await.json();
    assert_eq!(site.answer(BOB, &module, &challenge).await.problem(), "activation-failed");
    // Another account's attempt used nothing up.
    assert_eq!(site.answer(ALICE, &module, &challenge).await.status, 201);

    let challenge = site.challenge(ALICE, &module, "device").await.json();
    site.clock.advance(121);
    assert_eq!(site.answer(ALICE, &module, &challenge).await.problem(), "activation-failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn nonces_of_enrolment_are_single_use_and_bound() {
    let site = Site::start().await;
    let module = Module::new(&site.vendor, NOW);
    let nonce = site.enrolment_nonce(ALICE).await;
    let body = Site::enrolment_body(&module, "device", &nonce);
    let path = "/v1/attestation-keys";
    assert_eq!(site.post(path, Some(BOB), body.clone()).await.problem(), "nonce-unknown");
    assert_eq!(site.post(path, Some(ALICE), body.clone()).await.status, 201);
    let again = site.post(path, Some(ALICE), body).await;
    assert_eq!((again.status, again.problem().as_str()), (409, "nonce-spent"));

    let other_purpose = site.certificate_nonce(ALICE).await;
    let body = Site::enrolment_body(&module, "device", &other_purpose);
    assert_eq!(site.post(path, Some(ALICE), body).await.problem(), "nonce-unknown");

    let nonce = site.enrolment_nonce(ALICE).await;
    site.clock.advance(301);
    let body = Site::enrolment_body(&module, "device", &nonce);
    assert_eq!(site.post(path, Some(ALICE), body).await.problem(), "nonce-expired");
}

#[tokio::test(flavor = "multi_thread")]
async fn endorsements_of_strangers_and_unsafe_keys_are_refused_with_reasons() {
    let site = Site::start().await;
    let stranger = Vendor::new("Stranger", NOW);
    let reply = site.challenge(ALICE, &Module::new(&stranger, NOW), "device").await;
    assert_eq!((reply.status, reply.problem().as_str()), (422, "rejected"));
    assert_eq!(reply.codes().len(), 1, "{:?}", reply.codes());

    for (attributes, why) in [(0x000C_0072, "not restricted"), (0x000D_0070, "not fixedTPM"), (0x0007_0072, "decrypt")]
    {
        let module = Module::with(&site.vendor, NOW, EndorsementKey::ecc(Curve::P256), attributes);
        let reply = site.challenge(ALICE, &module, "device").await;
        assert_eq!(reply.codes(), ["ak.attributes"], "{why}");
    }
    let mut module = Module::new(&site.vendor, NOW);
    module.ak_public = module.ak.public(PLAIN_AK_ATTRIBUTES & !0x20, EccScheme::Null);
    let reply = site.challenge(ALICE, &module, "device").await;
    assert_eq!(reply.codes(), ["ak.attributes", "ak.scheme"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_endorsement_key_for_a_device_is_a_conflict() {
    let site = Site::start().await;
    let [first, second] = [0, 0].map(|_| Module::new(&site.vendor, NOW));
    site.enroll(ALICE, &first, "device").await;
    let reply = site.challenge(ALICE, &second, "device").await;
    assert_eq!((reply.status, reply.problem().as_str()), (409, "device-conflict"));
    let reply = site.challenge(ALICE, &first, "another-name").await;
    assert_eq!((reply.status, reply.problem().as_str()), (409, "endorsement-key-conflict"));
    // The name stands in certificates, where accounts do not: it is one device's, whoever asks.
    assert_eq!(site.challenge(BOB, &first, "device").await.problem(), "device-conflict");
    assert_eq!(site.challenge(BOB, &second, "device").await.problem(), "device-conflict");
    assert_eq!(site.challenge(BOB, &first, "another-name").await.problem(), "endorsement-key-conflict");
    site.enroll(BOB, &second, "another-name").await;
    // Renewal is fine.
    site.enroll(ALICE, &first, "device").await;
    let renewed = Module { ak: second.ak, ak_public: second.ak_public, ..first };
    // An attestation key that is another device's.
    let challenge = site.challenge(ALICE, &renewed, "device").await.json();
    assert_eq!(site.answer(ALICE, &renewed, &challenge).await.problem(), "attestation-key-conflict");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_modules_for_one_name_one_wins() {
    let site = std::sync::Arc::new(Site::start().await);
    let mut opened = Vec::new();
    for _ in 0..100 {
        let module = Module::new(&site.vendor, NOW);
        let challenge = site.challenge(ALICE, &module, "device").await;
        assert_eq!(challenge.status, 201);
        opened.push((module, challenge.json()));
    }
    let mut answers = tokio::task::JoinSet::new();
    for (module, challenge) in opened {
        let site = std::sync::Arc::clone(&site);
        answers.spawn(async move {
            loop {
                let reply = site.answer(ALICE, &module, &challenge).await;
                // More at once than the server takes: it says so, before the challenge is touched.
                if reply.status != 503 {
                    return reply;
                }
                assert!(reply.head.to_lowercase().contains("retry-after: 1"));
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        });
    }
    let mut won = 0;
    while let Some(reply) = answers.join_next().await {
        let reply = reply.unwrap();
        match reply.status {
            201 => won += 1,
            status => assert_eq!((status, reply.problem().as_str()), (409, "device-conflict")),
        }
    }
    assert_eq!(won, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn device_names_follow_the_account() {
    let site = Site::start().await;
    let module = Module::new(&site.vendor, NOW);
    assert_eq!(site.challenge(CAROL, &module, "other").await.problem(), "device-not-permitted");
    for name in ["", "a/b", "a b", "ak:1", &"x".repeat(65)] {
        assert_eq!(site.challenge(ALICE, &module, name).await.problem(), "malformed-request", "{name}");
    }
    site.enroll(CAROL, &module, "only").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_baseline_is_a_quote_of_the_key_over_the_nonce() {
    let site = Site::start().await;
    let module = Module::new(&site.vendor, NOW);
    let good = [[1; 32], [2; 32]];
    let body = |nonce: &[u8], quote: (Vec<u8>, Vec<u8>, Vec<u8>)| {
        let mut body = Site::enrolment_body(&module, "device", nonce);
        body["baseline"] = json!({"attest": b64(&quote.0), "signature": b64(&quote.1), "pcr_values": b64(&quote.2)});
        body
    };
    let path = "/v1/attestation-keys";

    let nonce = site.enrolment_nonce(ALICE).await;
    let stale = module.quote(&good, &[9; 32]);
    assert_eq!(site.post(path, Some(ALICE), body(&nonce, stale)).await.problem(), "baseline-refused");

    let nonce = site.enrolment_nonce(ALICE).await;
    let (attest, signature, _) = module.quote(&good, &nonce);
    let lied = (attest, signature, [[1; 32], [3; 32]].concat());
    assert_eq!(site.post(path, Some(ALICE), body(&nonce, lied)).await.problem(), "baseline-refused");

    let nonce = site.enrolment_nonce(ALICE).await;
    let foreign = Module::new(&site.vendor, NOW).quote(&good, &nonce);
    assert_eq!(site.post(path, Some(ALICE), body(&nonce, foreign)).await.problem(), "baseline-refused");

    let nonce = site.enrolment_nonce(ALICE).await;
    let (attest, signature) = module.certify(&module.ak_public, &nonce);
    let reply = site.post(path, Some(ALICE), body(&nonce, (attest, signature, Vec::new()))).await;
    assert_eq!(reply.problem(), "baseline-refused");

    for (values, expected) in [(good, 201), (good, 201), ([[1; 32], [3; 32]], 409)] {
        let nonce = site.enrolment_nonce(ALICE).await;
        let challenge = site.post(path, Some(ALICE), body(&nonce, module.quote(&values, &nonce))).await;
        assert_eq!(challenge.status, 201);
        let reply = site.answer(ALICE, &module, &challenge.json()).await;
        assert_eq!(reply.status, expected, "{}", String::from_utf8_lossy(&reply.body));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_answered_for_another_public_area_certifies_nothing_else() {
    let site = Site::start().await;
    let module = Module::new(&site.vendor, NOW);
    let challenge = site.challenge(ALICE, &module, "device").await.json();
    // A module that holds another object opens nothing: the credential is tied to the Name.
    let other = module.ak.public(AK_ATTRIBUTES, EccScheme::Ecdsa(HashAlg::Sha384));
    let opened = module.ek.activate(
        other.name().unwrap().as_bytes(),
        &unb64(&challenge["credential_blob"]),
        &unb64(&challenge["secret"]),
    );
    assert_eq!(opened, None);
}
