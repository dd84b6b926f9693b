//! Attestation results: what a signed EAR says, and that it never affirms what the records of this authority refuse.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;
use vouchsafe_authority::store::RevocationReason;
use vouchsafe_authority::trust::folder;
use vouchsafe_authority::{Administration, Authority, Clock, StartError};
use vouchsafe_evidence::tpm::EccScheme;
use vouchsafe_evidence::tpm::template::USER_KEY_ATTRIBUTES;
use vouchsafe_evidence::x509::{NamedCurve, SpkiView};
use vouchsafe_verifier::crypto::{SignatureAlgorithm, SignatureBudget, verify_signature};
use vouchsafe_verifier::hex;

use crate::host::{DAVE, every_method};
use crate::issuers::Token;
use crate::module::{Module, SoftwareKey, pem};
use crate::site::{ALICE, BOB, Reply, Site, b64, chain, digest_hex, unhex};

/// Where `scripts/peers` puts packages for Python.
const PYTHON_PACKAGES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/peers/python");
const RELYING_PARTY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/python/relying_party.py");
const EAR: &str = "application/eat+jwt";

/// Writes a key for results beside the state and names it in the configuration.
pub fn with_ear(site: &mut Site, key: &SoftwareKey) {
    let path = key_file(site, key);
    site.reconfigure(|config| format!("{config}[appraisals.ear]\nkey = '{}'\n", path.display()));
}

fn key_file(site: &Site, key: &SoftwareKey) -> PathBuf {
    let path = site.dir.path().join("ear.key");
    fs::write(&path, key.pkcs8_pem()).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    path
}

async fn site_with(settings: &str) -> (Site, SoftwareKey) {
    let mut site = Site::install(tempfile::tempdir().unwrap(), settings);
    let key = SoftwareKey::generate();
    with_ear(&mut site, &key);
    site.restart().await;
    (site, key)
}

async fn appraise(site: &Site, token: Option<&str>, accept: &str, body: &Value) -> Reply {
    let body = body.to_string();
    let mut headers = vec![
        "Content-Type: application/json".to_owned(),
        format!("Content-Length: {}", body.len()),
        format!("Accept: {accept}"),
    ];
    headers.extend(token.map(|token| format!("Authorization: Bearer {token}")));
    site.exchange("POST", "/v1/appraisals", &headers, body.as_bytes()).await
}

async fn appraisal_nonce(site: &Site, token: Option<&str>) -> Vec<u8> {
    let reply = site.post("/v1/nonces", token, json!({"purpose": "appraisal"})).await;
    unhex(reply.json()["nonce"].as_str().unwrap())
}

/// Header and claims of a token that the key of this set signed.
async fn checked(site: &Site, reply: &Reply) -> (Value, Value) {
    assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    let kind = "content-type: application/eat+jwt; eat_profile=\"tag:ietf.org,2026:rats/ear#04\"";
    assert!(reply.head.to_lowercase().contains(kind), "{}", reply.head);
    let token = std::str::from_utf8(&reply.body).unwrap();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (header, claims) = signed.split_once('.').unwrap();
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
    let parse = |text: &str| serde_json::from_slice::<Value>(&decode(text)).unwrap();
    let header = parse(header);
    let set = site.exchange("GET", "/v1/appraisals/keys", &[], b"").await;
    assert!(set.head.contains("application/jwk-set+json"), "{}", set.head);
    let keys = set.json()["keys"].as_array().unwrap().clone();
    let key = keys.iter().find(|key| key["kid"] == header["kid"]).expect("the key is published");
    let coordinate = |name: &str| decode(key[name].as_str().unwrap());
    let spki = SpkiView::from_ec(NamedCurve::P256, &coordinate("x"), &coordinate("y")).unwrap();
    let signature = decode(signature);
    let (r, s) = signature.split_at(32);
    let der = vouchsafe_evidence::x509::build::ecdsa_signature(r, s);
    let algorithm = SignatureAlgorithm::Ecdsa(vouchsafe_evidence::tpm::HashAlg::Sha256);
    verify_signature(&mut SignatureBudget::with_limit(1), &spki, algorithm, signed.as_bytes(), &der).unwrap();
    (header, parse(claims))
}

/// Every status that an EAR holds.
fn statuses(ear: &Value) -> Vec<&str> {
    ear["submods"].as_object().unwrap().values().map(|of| of["ear_status"].as_str().unwrap()).collect()
}

fn codes(reasons: &Value) -> Vec<&str> {
    reasons.as_array().into_iter().flatten().map(|reason| reason["code"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_says_who_appraised_what_for_which_nonce_and_until_when() {
    let (site, key) = site_with("").await;
    let module = Module::new(&site.vendor, site.clock.now());
    let answer = site.enroll(ALICE, &module, "device-1").await;
    let nonce = appraisal_nonce(&site, Some(ALICE)).await;
    let user_key = SoftwareKey::generate();
    let public = user_key.public(USER_KEY_ATTRIBUTES, EccScheme::Null);
    let csr = module.csr_for(&user_key, &public, &nonce, &chain(&answer["certificates"]["attest"]), None);
    let body = json!({"csr": b64(&csr), "nonce": hex::encode(&nonce)});
    let (header, ear) = checked(&site, &appraise(&site, Some(ALICE), EAR, &body).await).await;
    assert_eq!((&header["alg"], &header["typ"]), (&json!("ES256"), &json!("eat+jwt")));
    assert_eq!(ear["eat_profile"], "tag:ietf.org,2026:rats/ear#04");
    assert_eq!(ear["eat_nonce"], URL_SAFE_NO_PAD.encode(&nonce));
    assert_eq!((&ear["iat"], &ear["exp"]), (&json!(site.clock.now()), &json!(site.clock.now() + 300)));
    assert_eq!(ear["ear_verifier_id"]["developer"], "Vouchsafe");
    let of_key = &ear["submods"]["key"];
    assert_eq!(
        (&of_key["ear_status"], &ear["submods"]["platform"]["ear_status"]),
        (&json!("affirming"), &json!("none"))
    );
    // Which key it is about is signed too.
    assert_eq!(of_key["ear_attester_claims"]["spki"]["value"], b64(user_key.spki().as_der()));
    assert_eq!(of_key["ear_verifier_claims"]["vouchsafe_device"], answer["device_id"]);
    assert_eq!(of_key["ear_verifier_claims"]["vouchsafe_freshness"], "nonce");
    // One nonce is one answer, in whatever form.
    for accept in [EAR, "application/json"] {
        assert_eq!(appraise(&site, Some(ALICE), accept, &body).await.problem(), "nonce-spent");
    }
    let keys = site.exchange("GET", "/v1/appraisals/keys", &[], b"").await.json();
    assert_eq!(keys["keys"][0]["x"], URL_SAFE_NO_PAD.encode(key.point().0));
}

/// Makes a request over a nonce.
type Asking<'a> = Box<dyn Fn(&[u8]) -> Value + 'a>;

/// What is asked, and what the records have against it.
struct Case<'a> {
    name: &'a str,
    code: &'a str,
    token: &'a str,
    evidence: Asking<'a>,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_never_affirms_what_the_report_rejects() {
    let (site, _) = site_with(&every_method("")).await;
    let now = site.clock.now();
    let [good, revoked, measured] = [(); 3].map(|()| Module::new(&site.vendor, now));
    let certificates = |answer: Value| chain(&answer["certificates"]["attest"]);
    let good_chain = certificates(site.enroll(ALICE, &good, "good").await);
    let revoked_chain = certificates(site.enroll(ALICE, &revoked, "revoked").await);
    let (recorded, other) = ([[1; 32], [2; 32]], [[1; 32], [3; 32]]);
    let nonce = site.enrolment_nonce(ALICE).await;
    let (attest, signature, values) = measured.quote(&recorded, &nonce);
    let mut body = Site::enrolment_body(&measured, "measured", &nonce);
    body["baseline"] = json!({"attest": b64(&attest), "signature": b64(&signature), "pcr_values": b64(&values)});
    let challenge = site.post("/v1/attestation-keys", Some(ALICE), body).await.json();
    let measured_chain = certificates(site.answer(ALICE, &measured, &challenge).await.json());
    // The attesting key of a host, of which nothing in a request of its own tells that it attests.
    let host = SoftwareKey::generate();
    crate::host::enroll(&site, DAVE, &host, "hsm", json!({"method": "first-use"})).await;
    let host_public = host.public(USER_KEY_ATTRIBUTES, EccScheme::Null);
    let administration = Administration::open(&site.config(), Arc::clone(&site.clock) as Arc<dyn Clock>).unwrap();
    administration.revoke(&revoked.ak.spki().sha256(), RevocationReason::KeyCompromise, "alma", false).unwrap();
    let weak = SoftwareKey::generate();
    let weak_public = weak.public(USER_KEY_ATTRIBUTES & !0x32, EccScheme::Null);

    // A key that has a certificate, and that others may know since.
    let (stolen, nonce) = (SoftwareKey::generate(), site.certificate_nonce(ALICE).await);
    let stolen_public = stolen.public(USER_KEY_ATTRIBUTES, EccScheme::Null);
    let csr = good.csr_for(&stolen, &stolen_public, &nonce, &good_chain, None);
    let request = json!({"csr": b64(&csr), "nonce": hex::encode(&nonce)});
    assert_eq!(site.post("/v1/certificates", Some(ALICE), request).await.status, 201);
    let revocation = json!({"key": hex::encode(&stolen.spki().sha256()), "reason": "key-compromise"});
    assert_eq!(site.post("/v1/revocations", Some(DAVE), revocation).await.status, 200);

    let csr = |module: &Module, nonce: &[u8], chain: &[Vec<u8>], values: Option<&[[u8; 32]; 2]>| json!({"csr": b64(&module.csr(nonce, chain, values)), "nonce": hex::encode(nonce)});
    let about = |key: &SoftwareKey, public, nonce: &[u8]| json!({"csr": b64(&good.csr_for(key, public, nonce, &good_chain, None)), "nonce": hex::encode(nonce)});
    let named = |mut body: Value, device: &str| {
        body["device"] = json!(device);
        body
    };
    let case = |name, code, token, evidence| Case { name, code, token, evidence };
    let cases: Vec<Case<'_>> = vec![
        case("true", "", ALICE, Box::new(|nonce| csr(&good, nonce, &good_chain, None))),
        case("true, named", "", ALICE, Box::new(|nonce| named(csr(&good, nonce, &good_chain, None), "good"))),
        case("measured", "", ALICE, Box::new(|nonce| csr(&measured, nonce, &measured_chain, Some(&recorded)))),
        case("revoked", "authority.key-revoked", ALICE, Box::new(|nonce| csr(&revoked, nonce, &revoked_chain, None))),
        case(
            "to others too",
            "authority.key-revoked",
            BOB,
            Box::new(|nonce| csr(&revoked, nonce, &revoked_chain, None)),
        ),
        case(
            "changed",
            "tpm.pcr-reference",
            ALICE,
            Box::new(|nonce| csr(&measured, nonce, &measured_chain, Some(&other))),
        ),
        case(
            "another account's device",
            "bind.other-device",
            BOB,
            Box::new(|nonce| named(csr(&good, nonce, &good_chain, None), "good")),
        ),
        case(
            "another device",
            "bind.other-device",
            ALICE,
            Box::new(|nonce| named(csr(&good, nonce, &good_chain, Some(&recorded)), &format!("ak:{}", "0".repeat(64)))),
        ),
        case(
            "old evidence",
            "nonce.mismatch",
            ALICE,
            Box::new(|nonce| {
                let mut body = csr(&good, &[7; 32], &good_chain, None);
                body["nonce"] = json!(hex::encode(nonce));
                body
            }),
        ),
        case("stolen", "authority.key-compromised", ALICE, Box::new(|nonce| about(&stolen, &stolen_public, nonce))),
        case("weak", "tpm.key-not-fixed", ALICE, Box::new(|nonce| about(&weak, &weak_public, nonce))),
        case("attests", "bind.csr-key-is-ak", ALICE, Box::new(|nonce| about(&host, &host_public, nonce))),
        case(
            "no evidence",
            "input.unrecognized",
            ALICE,
            Box::new(|nonce| json!({"evidence": ["AAAA"], "nonce": hex::encode(nonce)})),
        ),
    ];
    for Case { name, code, token, evidence } in cases {
        let body = evidence(&appraisal_nonce(&site, Some(token)).await);
        let report = appraise(&site, Some(token), "*/*", &body).await.json();
        assert_eq!(report["verdict"] == "accepted", code.is_empty(), "{name}: {report}");
        assert!(code.is_empty() || codes(&report["reasons"]).contains(&code), "{name}: {report}");

        let nonce = appraisal_nonce(&site, Some(token)).await;
        let body = evidence(&nonce);
        let (_, ear) = checked(&site, &appraise(&site, Some(token), EAR, &body).await).await;
        let is_affirmed = statuses(&ear).contains(&"affirming");
        assert_eq!(is_affirmed, code.is_empty(), "{name}: {ear}");
        if !code.is_empty() {
            let said = ear["submods"].as_object().unwrap().values();
            let said: Vec<&str> = said.flat_map(|of| codes(&of["ear_verifier_claims"]["vouchsafe_reasons"])).collect();
            assert!(said.contains(&code) || name == "no evidence", "{name}: {ear}");
        }
        // The nonce is repeated where evidence answered it, whatever else is wrong with it, and nowhere else.
        let is_answered = !matches!(name, "old evidence" | "no evidence");
        assert_eq!(ear.get("eat_nonce").is_some(), is_answered, "{name}: {ear}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_learn_the_status_and_failures_of_authentication_alone() {
    let (site, _) = site_with("anonymous_appraisals = true").await;
    let module = Module::new(&site.vendor, site.clock.now());
    let ak_chain = chain(&site.enroll(ALICE, &module, "device-1").await["certificates"]["attest"]);
    let key = SoftwareKey::generate();
    let public = key.public(USER_KEY_ATTRIBUTES & !0x32, EccScheme::Null);
    type Evidence<'a> = Box<dyn Fn(&[u8]) -> Vec<u8> + 'a>;
    let cases: [(&str, usize, Evidence<'_>); 3] = [
        ("affirming", 0, Box::new(|nonce| module.csr(nonce, &ak_chain, None))),
        ("contraindicated", 0, Box::new(|nonce| module.csr_for(&key, &public, nonce, &ak_chain, None))),
        ("contraindicated", 1, Box::new(|nonce| module.csr(nonce, &[], None))),
    ];
    for (status, reasons, evidence) in cases {
        let nonce = appraisal_nonce(&site, None).await;
        let body = json!({"csr": b64(&evidence(&nonce)), "nonce": hex::encode(&nonce)});
        let (_, ear) = checked(&site, &appraise(&site, None, EAR, &body).await).await;
        assert_eq!(statuses(&ear), [status]);
        let of_key = ear["submods"]["key"].as_object().unwrap();
        let mut members: Vec<&str> = of_key.keys().map(String::as_str).collect();
        members.retain(|name| *name != "ear_verifier_claims");
        assert_eq!(members, ["ear_appraisal_policy_ids", "ear_status"], "{ear}");
        assert_eq!(codes(&ear["submods"]["key"]["ear_verifier_claims"]["vouchsafe_reasons"]).len(), reasons, "{ear}");
        assert!(
            !ear.to_string().contains(&b64(key.spki().as_der())[..40]) && !ear.to_string().contains("device"),
            "{ear}"
        );
    }
    // A nonce of a stranger is none of an account's.
    let nonce = appraisal_nonce(&site, None).await;
    let body = json!({"csr": b64(&module.csr(&nonce, &ak_chain, None)), "nonce": hex::encode(&nonce)});
    assert_eq!(appraise(&site, Some(ALICE), EAR, &body).await.problem(), "nonce-unknown");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_is_not_given_costs_no_nonce() {
    let site = Site::start().await;
    let module = Module::new(&site.vendor, site.clock.now());
    let ak_chain = chain(&site.enroll(ALICE, &module, "device-1").await["certificates"]["attest"]);
    let nonce = appraisal_nonce(&site, Some(ALICE)).await;
    let body = json!({"csr": b64(&module.csr(&nonce, &ak_chain, None)), "nonce": hex::encode(&nonce)});
    for accept in [EAR, "text/html", "application/eat+jwt; eat_profile=\"tag:example.org,2026:other\""] {
        let reply = appraise(&site, Some(ALICE), accept, &body).await;
        assert_eq!((reply.status, reply.problem().as_str()), (406, "not-acceptable"), "{accept}");
    }
    assert_eq!(appraise(&site, Some(ALICE), "application/json", &body).await.json()["verdict"], "accepted");
    let keys = site.exchange("GET", "/v1/appraisals/keys", &[], b"").await;
    assert_eq!((keys.status, keys.json()), (200, json!({"keys": []})));
    // Who may not appraise gets no result either.
    let reply = appraise(&site, Some(crate::site::CAROL), EAR, &body).await;
    assert_eq!((reply.status, reply.problem().as_str()), (403, "not-permitted"));
    assert_eq!(appraise(&site, None, EAR, &body).await.problem(), "unauthenticated");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_signs_certificates_signs_no_results() {
    let mut site = Site::install(tempfile::tempdir().unwrap(), "");
    for name in ["issuing-ca", "attestation-root"] {
        let key = fs::read_dir(site.state().join("ca")).unwrap().map(|entry| entry.unwrap().path());
        let key = key.into_iter().find(|path| path.ends_with(format!("{name}.key"))).unwrap();
        site.reconfigure(|config| {
            let config = config.split("[appraisals.ear]").next().unwrap();
            format!("{config}[appraisals.ear]\nkey = '{}'\n", key.display())
        });
        let clock: Arc<dyn Clock> = Arc::clone(&site.clock) as _;
        let refused =
            Authority::start(site.config(), folder(site.config().trust().to_owned()), clock).await.unwrap_err();
        assert!(matches!(refused, StartError::Results(_)) && refused.to_string().contains("also signs"), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn results_by_a_key_in_a_token_that_is_the_one_named() {
    let mut site = Site::install(tempfile::tempdir().unwrap(), "");
    let key = SoftwareKey::generate();
    let folder = site.dir.path().join("token");
    fs::create_dir(&folder).unwrap();
    let token = Token::with(&folder, &key.pkcs8_pem());
    let public = site.dir.path().join("ear.pub");
    fs::write(&public, pem(key.spki().as_der()).replace("CERTIFICATE", "PUBLIC KEY")).unwrap();
    let settings = token.settings();
    site.reconfigure(|config| {
        format!("{config}[appraisals.ear]\npublic_key = '{}'\nlifetime_seconds = 60\n{settings}\n", public.display())
    });
    let served = site.serve(token.serve()).unwrap();
    let module = Module::new(&site.vendor, site.clock.now());
    let ak_chain = chain(&site.enroll(ALICE, &module, "device-1").await["certificates"]["attest"]);
    let nonce = appraisal_nonce(&site, Some(ALICE)).await;
    let body = json!({"csr": b64(&module.csr(&nonce, &ak_chain, None)), "nonce": hex::encode(&nonce)});
    let (_, ear) = checked(&site, &appraise(&site, Some(ALICE), EAR, &body).await).await;
    assert_eq!(statuses(&ear), ["affirming", "none"]);
    assert_eq!(ear["exp"].as_i64().unwrap() - ear["iat"].as_i64().unwrap(), 60);
    drop(served);
    // Another key's public half is refused at the start.
    fs::write(&public, pem(SoftwareKey::generate().spki().as_der()).replace("CERTIFICATE", "PUBLIC KEY")).unwrap();
    let refused = site.serve(token.serve()).err().unwrap();
    assert!(refused.contains("does not verify"), "{refused}");
}

/// Runs the relying party; `evidence` makes the request for its nonce. What it says, and whether it relies on it.
async fn relying_party(site: &Site, evidence: impl FnOnce(&[u8]) -> Vec<u8>) -> (bool, String) {
    let mut child = Command::new("python3")
        .arg(RELYING_PARTY)
        .arg(format!("https://localhost:{}", site.address().port()))
        .args([site.tls_root(), Path::new(DAVE)])
        .env("PYTHONPATH", PYTHON_PACKAGES)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let nonce = lines.next_line().await.unwrap().unwrap_or_default();
    let csr = b64(&evidence(&unhex(&nonce))) + "\n";
    child.stdin.take().unwrap().write_all(csr.as_bytes()).await.unwrap();
    let said = lines.next_line().await.unwrap().unwrap_or_default();
    let mut why = String::new();
    child.stderr.take().unwrap().read_to_string(&mut why).await.unwrap();
    (child.wait().await.unwrap().success(), said + &why)
}

/// A CA elsewhere, whose account may appraise and nothing else, relies on what is signed here.
#[tokio::test(flavor = "multi_thread")]
async fn another_ca_asks_and_checks_what_it_is_told() {
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    let accounts = format!(
        "[[accounts]]\nname = 'alice'\ntoken_sha256 = '{}'\nmay = ['enroll']\n\
         [[accounts]]\nname = 'other-ca'\ntoken_sha256 = '{}'\nmay = ['appraise']\n",
        digest_hex(ALICE),
        digest_hex(DAVE)
    );
    let mut site = Site::install_at(tempfile::tempdir().unwrap(), now, "", &accounts);
    with_ear(&mut site, &SoftwareKey::generate());
    site.restart().await;
    let module = Module::new(&site.vendor, now);
    let ak_chain = chain(&site.enroll(ALICE, &module, "device-1").await["certificates"]["attest"]);
    let (key, weak) = (SoftwareKey::generate(), SoftwareKey::generate());
    let csr = |key: &SoftwareKey, attributes, nonce: &[u8]| {
        module.csr_for(key, &key.public(attributes, EccScheme::Null), nonce, &ak_chain, None)
    };
    let (is_relied_on, said) = relying_party(&site, |nonce| csr(&key, USER_KEY_ATTRIBUTES, nonce)).await;
    assert!(is_relied_on, "{said}");
    let claims: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(claims["submods"]["key"]["ear_attester_claims"]["spki"]["value"], b64(key.spki().as_der()));
    for (evidence, why) in [
        (csr(&key, USER_KEY_ATTRIBUTES, &[7; 32]), "does not answer the nonce"),
        (b"no evidence".to_vec(), "does not answer the nonce"),
    ] {
        let (is_relied_on, said) = relying_party(&site, |_| evidence).await;
        assert!(!is_relied_on && said.contains(why), "{said}");
    }
    let (is_relied_on, said) = relying_party(&site, |nonce| csr(&weak, USER_KEY_ATTRIBUTES & !0x32, nonce)).await;
    assert!(!is_relied_on && said.contains("the key is contraindicated"), "{said}");
    let administration = Administration::open(&site.config(), Arc::clone(&site.clock) as Arc<dyn Clock>).unwrap();
    administration.revoke(&module.ak.spki().sha256(), RevocationReason::KeyCompromise, "alma", false).unwrap();
    let (is_relied_on, said) = relying_party(&site, |nonce| csr(&key, USER_KEY_ATTRIBUTES, nonce)).await;
    assert!(!is_relied_on && said.contains("the key is contraindicated"), "{said}");
}
