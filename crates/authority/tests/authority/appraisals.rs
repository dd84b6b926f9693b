//! Verdicts for servers that only want to know.

use serde_json::json;
use vouchsafe_evidence::tpm::EccScheme;
use vouchsafe_evidence::tpm::template::USER_KEY_ATTRIBUTES;

use crate::module::{Module, SoftwareKey};
use crate::site::{ALICE, BOB, NOW, Site, b64, chain, hex, unhex};

#[tokio::test(flavor = "multi_thread")]
async fn a_verdict_without_a_certificate() {
    let site = Site::start().await;
    let module = Module::new(&site.vendor, NOW);
    let answer = site.enroll(ALICE, &module, "device-1").await;
    let ak_chain = chain(&answer["certificates"]["attest"]);
    for (device, verdict) in [
        (json!(null), "accepted"),
        (json!("device-1"), "accepted"),
        (answer["device_id"].clone(), "accepted"),
        (json!("device-2"), "rejected"),
        (json!(format!("ak:{}", "0".repeat(64))), "rejected"),
    ] {
        let nonce = site.nonce(ALICE, json!({"purpose": "appraisal"})).await;
        let body = json!({"csr": b64(&module.csr(&nonce, &ak_chain, None)), "nonce": hex(&nonce), "device": device});
        let reply = site.post("/v1/appraisals", Some(ALICE), body.clone()).await;
        assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
        let report = reply.json();
        assert_eq!(report["verdict"], verdict, "{device}: {report}");
        if verdict == "rejected" {
            assert_eq!(report["reasons"][0]["code"], "bind.other-device");
        }
        assert_eq!(report["device"]["id"], answer["device_id"]);
        assert_eq!(site.post("/v1/appraisals", Some(ALICE), body).await.problem(), "nonce-spent");
    }
    // A name is one of the caller's own account.
    let nonce = site.nonce(BOB, json!({"purpose": "appraisal"})).await;
    let body = json!({"csr": b64(&module.csr(&nonce, &ak_chain, None)), "nonce": hex(&nonce), "device": "device-1"});
    assert_eq!(site.post("/v1/appraisals", Some(BOB), body).await.json()["verdict"], "rejected");
}

#[tokio::test(flavor = "multi_thread")]
async fn bare_evidence_in_any_order() {
    let site = Site::start().await;
    let module = Module::new(&site.vendor, NOW);
    let answer = site.enroll(ALICE, &module, "device-1").await;
    let ak_chain = chain(&answer["certificates"]["attest"]);
    let nonce = site.nonce(ALICE, json!({"purpose": "appraisal"})).await;
    let key = SoftwareKey::generate();
    let public = key.public(USER_KEY_ATTRIBUTES, EccScheme::Null);
    let (attest, signature) = module.certify(&public, &nonce);
    let evidence = [b64(public.as_bytes()), b64(&ak_chain[0]), b64(&signature), b64(&attest)];
    let reply = site.post("/v1/appraisals", Some(ALICE), json!({"evidence": evidence, "nonce": hex(&nonce)})).await;
    assert_eq!(reply.json()["verdict"], "accepted", "{}", reply.json());
    assert_eq!(reply.json()["format"], "tpm-certify");

    let nonce = site.nonce(ALICE, json!({"purpose": "appraisal"})).await;
    let reply = site.post("/v1/appraisals", Some(ALICE), json!({"evidence": ["AAAA"], "nonce": hex(&nonce)})).await;
    assert_eq!(reply.json()["verdict"], "rejected");
    assert_eq!(reply.json()["reasons"][0]["code"], "input.unrecognized");
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_told_authentication_failures_alone() {
    let site = Site::start_with("anonymous_appraisals = true").await;
    let module = Module::new(&site.vendor, NOW);
    let answer = site.enroll(ALICE, &module, "device-1").await;
    let ak_chain = chain(&answer["certificates"]["attest"]);
    let nonce = || async {
        let reply = site.post("/v1/nonces", None, json!({"purpose": "appraisal"})).await;
        unhex(reply.json()["nonce"].as_str().unwrap())
    };
    for purpose in ["certificate", "attestation-key"] {
        assert_eq!(site.post("/v1/nonces", None, json!({"purpose": purpose})).await.status, 401);
    }
    let first = nonce().await;
    let body = json!({"csr": b64(&module.csr(&first, &ak_chain, None)), "nonce": hex(&first)});
    let report = site.post("/v1/appraisals", None, body).await.json();
    assert_eq!(report["verdict"], "accepted");
    assert!(report.get("device").is_none() && report.get("key").is_none());

    let second = nonce().await;
    let key = SoftwareKey::generate();
    let public = key.public(USER_KEY_ATTRIBUTES & !0x32, EccScheme::Null);
    let csr = module.csr_for(&key, &public, &second, &ak_chain, None);
    let report = site.post("/v1/appraisals", None, json!({"csr": b64(&csr), "nonce": hex(&second)})).await.json();
    assert_eq!((&report["verdict"], &report["reasons"]), (&json!("rejected"), &json!([])));

    let third = nonce().await;
    let csr = module.csr(&third, &[], None);
    let report = site.post("/v1/appraisals", None, json!({"csr": b64(&csr), "nonce": hex(&third)})).await.json();
    assert_eq!(report["reasons"].as_array().unwrap().len(), 1, "{report}");
}

/// The certificates that come along are a guess at the device, and no more than that.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_device_lends_no_baseline() {
    let site = Site::start().await;
    let (good, bad) = ([[1; 32], [2; 32]], [[1; 32], [3; 32]]);
    let mut devices = Vec::new();
    for (name, values) in [("first", good), ("second", bad)] {
        let module = Module::new(&site.vendor, NOW);
        let nonce = site.enrolment_nonce(ALICE).await;
        let quote = module.quote(&values, &nonce);
        let mut body = Site::enrolment_body(&module, name, &nonce);
        body["baseline"] = json!({"attest": b64(&quote.0), "signature": b64(&quote.1), "pcr_values": b64(&quote.2)});
        let challenge = site.post("/v1/attestation-keys", Some(ALICE), body).await.json();
        let answer = site.answer(ALICE, &module, &challenge).await.json();
        devices.push((module, chain(&answer["certificates"]["attest"])));
    }
    let [(first, first_chain), (second, second_chain)] = devices.try_into().ok().unwrap();
    let certificates = [first_chain.clone(), second_chain.clone()].concat();
    let turned = [second_chain, first_chain].concat();
    for (module, values, accepted) in
        [(&first, good, true), (&first, bad, false), (&second, bad, true), (&second, good, false)]
    {
        for certificates in [&certificates, &turned] {
            let nonce = site.nonce(ALICE, json!({"purpose": "appraisal"})).await;
            let csr = module.csr(&nonce, certificates, Some(&values));
            let body = json!({"nonce": hex(&nonce), "csr": b64(&csr)});
            let verdict = site.post("/v1/appraisals", Some(ALICE), body).await.json();
            assert_eq!(verdict["verdict"] == "accepted", accepted, "{verdict}");
        }
    }
}
