//! The attacks on enrolment and issuance, each carried out. Names begin with the row of the attack.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use vouchsafe_evidence::oid;
use vouchsafe_evidence::tpm::template::{AK_ATTRIBUTES, EkTemplate, SigningKey, USER_KEY_ATTRIBUTES, signing_key};
use vouchsafe_evidence::tpm::{Curve, EccScheme, HashAlg, TpmtSignature};
use vouchsafe_evidence::x509::extensions::{BasicConstraints, GeneralName, KeyUsage, subject_key_identifier};
use vouchsafe_evidence::x509::{CertView, build};

use crate::module::{EndorsementKey, Module, SoftwareKey, ek_extensions, pem, sign_certificate};
use crate::site::{ALICE, BOB, NOW, Site, b64, chain, hex, unb64};
use crate::tpm::Tpm;

/// id-ad-caIssuers (RFC 5280, section 4.2.2.1), DER.
const CA_ISSUERS: &[u8] = &[0x06, 0x08, 0x2B, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x02];

/// A P-256 module whose endorsement certificate has these extensions.
fn endorsed_with(site: &Site, extensions: Vec<Vec<u8>>) -> Module {
    let mut module = Module::new(&site.vendor, NOW);
    module.ek_certificate = site.vendor.certify(module.ek.spki(), NOW, extensions);
    module
}

#[tokio::test(flavor = "multi_thread")]
async fn a24_a_certificate_of_the_vendor_that_is_no_endorsement_certificate_is_refused() {
    let site = Site::start().await;
    let good = ek_extensions(KeyUsage::KEY_AGREEMENT);
    assert_eq!(site.challenge(ALICE, &endorsed_with(&site, good.clone()), "good").await.status, 201);
    let replaced = |index: usize, extension: Vec<u8>| {
        let mut extensions = good.clone();
        extensions[index] = extension;
        extensions
    };
    let ca = BasicConstraints { ca: true, path_length: None };
    let cases = [
        ("no purpose", [&good[..2], &good[3..]].concat()),
        ("of a server", replaced(2, build::extended_key_usage(false, &[oid::KP_SERVER_AUTH]))),
        ("of an attesting key", replaced(2, build::extended_key_usage(false, &[oid::KP_AIK_CERTIFICATE]))),
        ("an authority", replaced(0, build::basic_constraints(true, ca))),
        ("signs", replaced(1, build::key_usage(true, KeyUsage::from_bits(KeyUsage::DIGITAL_SIGNATURE)))),
    ];
    for (label, extensions) in cases {
        let reply = site.challenge(ALICE, &endorsed_with(&site, extensions), "device").await;
        assert_eq!((reply.status, reply.problem().as_str()), (422, "rejected"), "{label}");
        assert_eq!(reply.codes().len(), 1, "{label}: {:?}", reply.codes());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a24_parameters_of_the_endorsement_key_are_not_the_clients_to_choose() {
    let site = Site::start().await;
    let module = Module::new(&site.vendor, NOW);
    for field in ["ek_public", "name_alg", "aes_bits", "ek_template"] {
        let nonce = site.enrolment_nonce(ALICE).await;
        let mut body = Site::enrolment_body(&module, "device", &nonce);
        body[field] = json!("AA==");
        let reply = site.post("/v1/attestation-keys", Some(ALICE), body).await;
        assert_eq!((reply.status, reply.problem().as_str()), (400, "malformed-request"), "{field}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a24_of_two_attempts_at_once_one_is_looked_at() {
    let site = std::sync::Arc::new(Site::start().await);
    let module = std::sync::Arc::new(Module::new(&site.vendor, NOW));
    let challenge = site.challenge(ALICE, &module, "device").await.json();
    let mut attempts = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let (site, module) = (std::sync::Arc::clone(&site), std::sync::Arc::clone(&module));
        let challenge = challenge.clone();
        attempts.spawn(async move { site.answer(ALICE, &module, &challenge).await.status });
    }
    let answers = attempts.join_all().await;
    assert_eq!(answers.iter().filter(|status| **status == 201).count(), 1, "{answers:?}");
    assert_eq!(answers.iter().filter(|status| **status == 403).count(), 9, "{answers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn class_17_no_answer_tells_a_right_from_a_nearly_right_secret() {
    let site = Site::start().await;
    let module = Module::new(&site.vendor, NOW);
    let mut answers = Vec::new();
    for index in 0..8 {
        let challenge = site.challenge(ALICE, &module, "device").await.json();
        let blob = (unb64(&challenge["credential_blob"]), unb64(&challenge["secret"]));
        let right = module.ek.activate(&module.ak_name(), &blob.0, &blob.1).unwrap();
        let mut wrong = right.clone();
        match index {
            0 => wrong[0] ^= 1,
            1 => *wrong.last_mut().unwrap() ^= 0x80,
            2 => wrong.truncate(right.len() - 1),
            3 => wrong.push(0),
            4 => wrong.clear(),
            5 => wrong = vec![0; right.len()],
            6 => wrong.reverse(),
            _ => wrong = [right.as_slice(), &right].concat(),
        }
        let path = format!("/v1/attestation-keys/{}/activation", challenge["id"].as_str().unwrap());
        let first = site.post(&path, Some(ALICE), json!({"secret": b64(&wrong)})).await;
        // The right one comes too late, whatever the wrong one was like.
        let late = site.post(&path, Some(ALICE), json!({"secret": b64(&right)})).await;
        answers.extend([first, late]);
    }
    let nowhere = "/v1/attestation-keys/00112233445566778899aabbccddeeff/activation";
    answers.push(site.post(nowhere, Some(ALICE), json!({"secret": b64(&[1; 32])})).await);
    let timeless = |head: &str| head.lines().filter(|line| !line.to_lowercase().starts_with("date:")).count();
    for answer in &answers {
        assert_eq!((answer.status, &answer.body), (403, &answers[0].body));
        assert_eq!(timeless(&answer.head), timeless(&answers[0].head));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a44_a_captured_request_is_worth_nothing_under_another_account() {
    let site = Site::start().await;
    let module = Module::new(&site.vendor, NOW);
    let ak_chain = chain(&site.enroll(ALICE, &module, "device").await["certificates"]["attest"]);
    let nonce = site.certificate_nonce(ALICE).await;
    let csr = module.csr(&nonce, &ak_chain, None);
    let send = async |token: &str, nonce: &[u8], csr: &[u8]| {
        site.post("/v1/certificates", Some(token), json!({"csr": b64(csr), "nonce": hex(nonce)})).await
    };
    // As captured; with a nonce of the thief's own; and evidence that answers it, were the device to give it.
    assert_eq!(send(BOB, &nonce, &csr).await.problem(), "nonce-unknown");
    let own = site.certificate_nonce(BOB).await;
    assert!(send(BOB, &own, &csr).await.codes().iter().any(|code| code.contains("nonce")));
    let own = site.certificate_nonce(BOB).await;
    assert_eq!(send(BOB, &own, &module.csr(&own, &ak_chain, None)).await.codes(), ["authority.other-account"]);
    assert_eq!(send(ALICE, &nonce, &csr).await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a48_nonces_cost_no_row() {
    let site = Site::start().await;
    let database = rusqlite::Connection::open(site.state().join("authority.sqlite")).unwrap();
    let rows = || -> i64 {
        let tables = ["decisions", "evidence", "spent_nonces", "challenges", "devices", "certificates"];
        let count = |table: &&str| -> i64 {
            database.query_row(&format!("SELECT count(*) FROM {table}"), (), |row| row.get(0)).unwrap()
        };
        tables.iter().map(count).sum()
    };
    let before = rows();
    for purpose in ["attestation-key", "certificate", "appraisal"] {
        for _ in 0..50 {
            site.nonce(ALICE, json!({"purpose": purpose})).await;
        }
    }
    assert_eq!(rows(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a51_what_a_client_wrote_comes_back_without_controls_and_overrides() {
    let site = Site::start().await;
    let nasty = "\u{1b}[31m\u{202e}evil\u{7}\u{0}";
    let mut bodies: Vec<(&str, Value)> = vec![
        ("/v1/nonces", json!({"purpose": nasty})),
        ("/v1/nonces", json!({"purpose": "certificate", nasty: 1})),
        ("/v1/nonces", json!({"purpose": "certificate", "profile": nasty})),
    ];
    let nonce = site.nonce(ALICE, json!({"purpose": "appraisal"})).await;
    bodies.push(("/v1/appraisals", json!({"nonce": hex(&nonce), "evidence": ["AAAA"], "device": nasty})));
    let nonce = site.enrolment_nonce(ALICE).await;
    let mut enrolment = Site::enrolment_body(&Module::new(&site.vendor, NOW), nasty, &nonce);
    bodies.push(("/v1/attestation-keys", enrolment.clone()));
    enrolment["baseline"] = json!({ nasty: 1 });
    bodies.push(("/v1/attestation-keys", enrolment));
    fn texts(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::String(text) => found.push(text.clone()),
            Value::Array(members) => members.iter().for_each(|member| texts(member, found)),
            Value::Object(fields) => fields.values().for_each(|field| texts(field, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    for (path, body) in bodies {
        let reply = site.post(path, Some(ALICE), body.clone()).await;
        let mut found = Vec::new();
        texts(&reply.json(), &mut found);
        assert!(!found.is_empty());
        for text in found {
            assert!(!text.chars().any(|c| c.is_control() || c == '\u{202e}'), "{path} {body}: {text:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn class_40_addresses_in_certificates_are_never_called() {
    let site = Site::start().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}/ca.crt", listener.local_addr().unwrap());
    let mut extensions = ek_extensions(KeyUsage::KEY_AGREEMENT);
    let mut access = build::DerWriter::new();
    access.sequence(|all| {
        all.sequence(|one| {
            one.raw(CA_ISSUERS).raw(&[&[0x86, url.len() as u8], url.as_bytes()].concat());
        });
    });
    extensions.push(build::extension(oid::AUTHORITY_INFO_ACCESS, false, &access.into_der()));
    assert_eq!(site.challenge(ALICE, &endorsed_with(&site, extensions.clone()), "device").await.status, 201);
    // Of a stranger: what would complete the path is what the address offers.
    let stranger = crate::module::Vendor::new("Stranger", NOW);
    let mut module = Module::new(&site.vendor, NOW);
    module.ek_certificate = stranger.certify(module.ek.spki(), NOW, extensions);
    assert_eq!(site.challenge(ALICE, &module, "other").await.codes(), ["chain.no-path"]);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(listener.accept().is_err(), "somebody called");
}

#[tokio::test(flavor = "multi_thread")]
async fn a16_an_attesting_key_that_another_attesting_key_certified_is_none() {
    let site = Site::start().await;
    let module = Module::new(&site.vendor, NOW);
    let certificates = site.enroll(ALICE, &module, "device").await["certificates"].clone();
    let (attest, certify) = (chain(&certificates["attest"]), chain(&certificates["certify_x509"]));
    let ak = CertView::parse(&certify[0]).unwrap();
    // The certifying key mints an attesting-key certificate for a key that anybody has.
    let software = SoftwareKey::generate();
    let extensions = CertView::parse(&attest[0]).unwrap();
    let extensions = extensions.extensions().map(|e| build::extension(e.oid(), e.is_critical(), e.value())).collect();
    let minted = sign_certificate((ak.subject(), &module.ak), ak.subject().clone(), software.spki(), NOW, extensions);
    let forger = Module {
        ak_public: software.public(AK_ATTRIBUTES, EccScheme::Ecdsa(HashAlg::Sha256)),
        ak: software,
        ek: EndorsementKey::ecc(Curve::P256),
        ek_certificate: Vec::new(),
    };
    let nonce = site.certificate_nonce(ALICE).await;
    let csr = forger.csr(&nonce, &[minted, certify[0].clone()], None);
    let reply = site.post("/v1/certificates", Some(ALICE), json!({"csr": b64(&csr), "nonce": hex(&nonce)})).await;
    assert_eq!((reply.status, reply.problem().as_str()), (422, "rejected"));
    assert!(!reply.codes().is_empty());
}

/// A TPM with its keys, enrolled.
struct EnrolledTpm {
    tpm: Tpm,
    ak: u32,
    certify: Vec<Vec<u8>>,
}

async fn enrolled_tpm(site: &Site) -> EnrolledTpm {
    let mut tpm = Tpm::start();
    let (ek, ek_public) = tpm.create_primary(&EkTemplate::H2.public());
    let template = signing_key(SigningKey::EccP256, AK_ATTRIBUTES, Some(HashAlg::Sha256), b"ak");
    let (ak, ak_public) = tpm.create_primary(&template);
    let extensions = ek_extensions(KeyUsage::KEY_AGREEMENT);
    let ek_certificate = site.vendor.certify(ek_public.spki().unwrap(), NOW, extensions);
    let nonce = site.enrolment_nonce(ALICE).await;
    let body = json!({
        "device": "tpm", "ek_certificates": [b64(&ek_certificate)], "ak_public": b64(ak_public.as_bytes()),
        "nonce": hex(&nonce),
    });
    let challenge = site.post("/v1/attestation-keys", Some(ALICE), body).await;
    assert_eq!(challenge.status, 201, "{challenge:?}");
    let challenge = challenge.json();
    let blob = (unb64(&challenge["credential_blob"]), unb64(&challenge["secret"]));
    let secret = tpm.activate(ak, ek, &blob.0, &blob.1).unwrap();
    let path = format!("/v1/attestation-keys/{}/activation", challenge["id"].as_str().unwrap());
    let answer = site.post(&path, Some(ALICE), json!({"secret": b64(&secret)})).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    EnrolledTpm { tpm, ak, certify: chain(&answer.json()["certificates"]["certify_x509"]) }
}

/// What `openssl verify` says of `leaf` under the chain of the certifying key.
fn openssl(site: &Site, chain: &[Vec<u8>], leaf: &[u8], more: &[&str]) -> (bool, String) {
    let write = |name: &str, der: &[u8]| {
        let path = site.dir.path().join(name);
        std::fs::write(&path, pem(der)).unwrap();
        path
    };
    let output = Command::new("openssl")
        .args(["verify", "-x509_strict", "-verify_depth", "1", "-attime", &NOW.to_string()])
        .args(more)
        .arg("-CAfile")
        .arg(write("root.pem", &chain[1]))
        .arg("-untrusted")
        .args([write("ak.pem", &chain[0]), write("leaf.pem", leaf)])
        .output()
        .unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a13_a_tpm_signs_a_certificate_for_a_bank_and_openssl_refuses_it() {
    let site = Site::start().await;
    let EnrolledTpm { mut tpm, ak, certify } = enrolled_tpm(&site).await;
    let template = signing_key(SigningKey::EccP256, USER_KEY_ATTRIBUTES, Some(HashAlg::Sha256), b"key");
    let (key, _) = tpm.create_primary(&template);
    let issuer = CertView::parse(&certify[0]).unwrap();
    let identifier = issuer.extension(oid::SUBJECT_KEY_IDENTIFIER).unwrap().unwrap().value().to_vec();
    let own = issuer.subject().attributes(oid::COMMON_NAME).next().unwrap().text().unwrap();
    let bank = build::distinguished_name(&[(oid::COMMON_NAME, "www.bank.example")]).unwrap();
    let beneath =
        |name| build::distinguished_name(&[(oid::COMMON_NAME, own.as_str()), (oid::COMMON_NAME, name)]).unwrap();
    let server = build::extended_key_usage(false, &[oid::KP_SERVER_AUTH]);
    let dns = build::subject_alt_name(false, &[GeneralName::Dns(b"www.bank.example".to_vec())]);
    let mut sign = |subject: &vouchsafe_evidence::x509::NameView, more: &[&Vec<u8>]| {
        let extensions: Vec<Vec<u8>> = [
            build::key_usage(true, KeyUsage::from_bits(KeyUsage::DIGITAL_SIGNATURE)),
            build::subject_key_identifier(&[1; 20]),
            build::authority_key_identifier(subject_key_identifier(&identifier).unwrap()),
        ]
        .into_iter()
        .chain(more.iter().map(|extension| (*extension).clone()))
        .collect();
        let mut partial = build::DerWriter::new();
        partial.sequence(|fields| {
            fields.raw(issuer.subject().as_der());
            fields.sequence(|validity| {
                validity.time(NOW - 3_600).time(NOW + 86_400);
            });
            fields.raw(subject.as_der());
            fields.constructed(vouchsafe_evidence::x509::der::Tag::context_constructed(3), |outer| {
                outer.sequence(|list| {
                    for extension in &extensions {
                        list.raw(extension);
                    }
                });
            });
        });
        let partial = partial.into_der();
        let (added, signature) = tpm.certify_x509(key, ak, &partial).unwrap();
        let TpmtSignature::Ecdsa { r, s, .. } = signature else { panic!("{signature:?}") };
        let tbs = build::merge_partial(&partial, &added).unwrap();
        let algorithm = build::algorithm_identifier(oid::ECDSA_WITH_SHA256);
        build::assemble(&tbs, &algorithm, &build::ecdsa_signature(&r, &s))
    };
    // The honest twin: openssl says that this TPM signed.
    let honest = sign(&beneath("key"), &[]);
    assert_eq!(openssl(&site, &certify, &honest, &[]), (true, String::new()));
    // The TPM signs every one of these; what it signs is not what it may name.
    for (label, fraud) in [
        ("subject and name", sign(&bank, &[&server, &dns])),
        ("subject alone", sign(&bank, &[&server])),
        ("name alone", sign(&beneath("www.bank.example"), &[&server, &dns])),
    ] {
        let (accepted, said) = openssl(&site, &certify, &fraud, &["-purpose", "sslserver"]);
        assert!(!accepted && said.contains("subtree violation"), "{label}: {said}");
    }
    // With the name of a server hidden where constraints do not look, its purpose still gives it away: the
    // extended key usage of the issuer is of a purpose that no server has.
    let hidden = sign(&beneath("www.bank.example"), &[&server]);
    let (accepted, said) = openssl(&site, &certify, &hidden, &["-purpose", "sslserver"]);
    assert!(!accepted, "{said}");
}
