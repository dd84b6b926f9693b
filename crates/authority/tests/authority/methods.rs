//! Enrolment by each of the declared methods: what it takes, what its certificates say, and what policies make of it.

use serde_json::{Value, json};
use vouchsafe_authority::store::{Sqlite, Store};
use vouchsafe_evidence::ak_possession::{AkPossession, PossessionPurpose};
use vouchsafe_evidence::bundle::AttestationStatement;
use vouchsafe_evidence::formats::ListedFormat;
use vouchsafe_evidence::oid::{self, Oid};
use vouchsafe_evidence::statement::KeyPop;
use vouchsafe_evidence::tpm::Curve;
use vouchsafe_evidence::tpm::template::AK_ATTRIBUTES;
use vouchsafe_evidence::x509::extensions::{BasicConstraints, CertificatePolicies, ExtendedKeyUsage, KeyUsage};
use vouchsafe_evidence::x509::{CertView, build};

use vouchsafe_verifier::ak_certificate::{CONTENT, CertificateFamily};

use crate::host::{DAVE, Witnesses, answer, challenge, csr, enroll, every_method, evidence_about, evidence_over};
use crate::made::request;
use crate::module::{EndorsementKey, Module, SoftwareKey, Vendor, pem, sign_certificate};
use crate::site::{ALICE, BOB, NOW, Reply, Site, b64, chain, hex, unb64};

fn policies(certificate: &CertView) -> Vec<Oid> {
    let extension = certificate.extension(oid::CERTIFICATE_POLICIES).unwrap().unwrap();
    assert!(!extension.is_critical());
    CertificatePolicies::parse(extension.value()).unwrap().policies().to_vec()
}

fn leaf(answer: &Value, family: &str) -> CertView {
    CertView::parse(&chain(&answer["certificates"][family])[0]).unwrap()
}

/// The certificate of a key that host software drives: its whole content.
fn check_host_certificate(certificate: &CertView, ak: &SoftwareKey, method: Oid) {
    assert_eq!(policies(certificate), [method, oid::ENVIRONMENT_HOST]);
    assert!(certificate.is_strict_der() && certificate.spki().same_key(&ak.spki()));
    let oids: Vec<Oid> = certificate.extensions().map(|extension| extension.oid()).collect();
    let expected = [
        oid::BASIC_CONSTRAINTS,
        oid::KEY_USAGE,
        oid::EXTENDED_KEY_USAGE,
        oid::CERTIFICATE_POLICIES,
        oid::SUBJECT_KEY_IDENTIFIER,
        oid::AUTHORITY_KEY_IDENTIFIER,
    ];
    assert_eq!(oids, expected);
    let value = |oid| certificate.extension(oid).unwrap().unwrap().value().to_vec();
    let purposes = ExtendedKeyUsage::parse(&value(oid::EXTENDED_KEY_USAGE)).unwrap();
    assert_eq!(purposes.purposes(), [oid::KP_ATTESTATION_KEY]);
    let constraints = BasicConstraints::parse(&value(oid::BASIC_CONSTRAINTS)).unwrap();
    assert_eq!(constraints, BasicConstraints { ca: false, path_length: None });
    assert_eq!(KeyUsage::parse(&value(oid::KEY_USAGE)).unwrap().bits(), KeyUsage::DIGITAL_SIGNATURE);
    assert_eq!((certificate.not_before(), certificate.not_after()), (NOW - 300, NOW + 90 * 86_400));
    let name = certificate.subject().attributes(oid::COMMON_NAME).next().unwrap().text().unwrap();
    assert!(name.starts_with("ak-") && name.len() == 3 + 32 && certificate.subject().rdns().count() == 1, "{name}");
}

async fn import(site: &Site, query: &str, list: &str) -> Reply {
    site.send(&format!("/v1/inventory{query}"), Some(DAVE), "text/csv", list.as_bytes()).await
}

async fn tpm_challenge(site: &Site, module: &Module, device: &str, method: &str) -> Reply {
    let nonce = site.enrolment_nonce(DAVE).await;
    let body = json!({
        "device": device, "method": method, "nonce": hex(&nonce), "ak_public": b64(module.ak_public.as_bytes()),
        "ek_public": b64(module.ek.spki().as_der()),
    });
    site.post("/v1/attestation-keys", Some(DAVE), body).await
}

fn unendorsed(ek: EndorsementKey) -> Module {
    // A vendor that nobody trusts.
    Module::with(&Vendor::new("Nobody", NOW), NOW, ek, AK_ATTRIBUTES)
}

/// What the published list allows in certificates of a family, in the order of the certificate; `left_out` aside.
fn listed(family: CertificateFamily, left_out: &[Oid]) -> Vec<(Oid, bool)> {
    let mut found: Vec<(Oid, bool)> = CONTENT
        .iter()
        .filter(|item| item.place.includes(family))
        .filter_map(|item| item.extension)
        .filter(|(oid, _)| !left_out.contains(oid))
        .collect();
    found.sort();
    found
}

fn held(certificate: &CertView) -> Vec<(Oid, bool)> {
    let mut found: Vec<(Oid, bool)> =
        certificate.extensions().map(|extension| (extension.oid(), extension.is_critical())).collect();
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn every_method_issues_what_the_published_list_says_and_nothing_else() {
    use CertificateFamily::{Attest, CertifyX509, PkixEvidence};
    let witnesses = Witnesses::new(&["alma", "bert"]);
    let site = Site::start_with(&every_method(&witnesses.settings(2))).await;
    let maker = Vendor::new("Yubico PIV Root CA", NOW);
    trust_yubico(&site, &maker, "");
    let modules: Vec<Module> = (0..3).map(|_| unendorsed(EndorsementKey::ecc(Curve::P256))).collect();
    let list = format!(
        "device,account,ek_sha256,vendor,serial\nt-2,dave,{},,\nh-2,dave,,Maker,99\n",
        hex(&modules[1].ek.spki().sha256())
    );
    assert_eq!(import(&site, "", &list).await.status, 200);
    let certified = Module::new(&site.vendor, NOW);
    let mut of_tpms = vec![(oid::BOOTSTRAP_MANUFACTURER, site.enroll(DAVE, &certified, "t-1").await)];
    for (device, method, module, policy) in [
        ("t-2", "inventory", &modules[1], oid::BOOTSTRAP_INVENTORY),
        ("t-4", "first-use", &modules[2], oid::BOOTSTRAP_FIRST_USE),
    ] {
        let opened = tpm_challenge(&site, module, device, method).await.json();
        of_tpms.push((policy, site.answer(DAVE, module, &opened).await.json()));
    }
    for (policy, answer) in of_tpms {
        let without: &[Oid] = if policy == oid::BOOTSTRAP_MANUFACTURER { &[] } else { &[oid::SUBJECT_ALT_NAME] };
        for (name, family) in [("attest", Attest), ("certify_x509", CertifyX509)] {
            let certificate = leaf(&answer, name);
            assert_eq!(policies(&certificate), [policy, oid::ENVIRONMENT_MODULE]);
            assert_eq!(held(&certificate), listed(family, without));
        }
    }
    let keys: Vec<SoftwareKey> = (0..4).map(|_| SoftwareKey::generate()).collect();
    let fields = [
        (oid::BOOTSTRAP_MANUFACTURER, YubiKey::attesting(&maker, &keys[0], 7).fields()),
        (oid::BOOTSTRAP_INVENTORY, json!({"method": "inventory", "vendor": "Maker", "serial": "99"})),
        (oid::BOOTSTRAP_CEREMONY, json!({"method": "ceremony", "transcript": b64(&witnesses.ceremony(&keys[2], 2))})),
        (oid::BOOTSTRAP_FIRST_USE, json!({"method": "first-use"})),
    ];
    for (index, ((policy, fields), key)) in fields.into_iter().zip(&keys).enumerate() {
        let certificate = leaf(&enroll(&site, DAVE, key, &format!("h-{}", index + 1), fields).await, "pkix_evidence");
        assert_eq!(policies(&certificate), [policy, oid::ENVIRONMENT_HOST]);
        assert_eq!(held(&certificate), listed(PkixEvidence, &[]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listed_endorsement_key_needs_no_certificate() {
    let site = Site::start_with(&every_method("")).await;
    let keys = [EndorsementKey::rsa(), EndorsementKey::ecc(Curve::P256), EndorsementKey::ecc(Curve::P384)];
    for (index, ek) in keys.into_iter().enumerate() {
        let (module, device) = (unendorsed(ek), format!("listed-{index}"));
        let reply = tpm_challenge(&site, &module, &device, "inventory").await;
        assert_eq!(reply.codes(), ["authority.not-listed"]);
        let list = format!("device,account,ek_sha256\n{device},dave,{}\n", hex(&module.ek.spki().sha256()));
        assert_eq!(import(&site, "", &list).await.json()["added"], json!([device]));
        let reply = tpm_challenge(&site, &module, "another-name", "inventory").await;
        assert_eq!(reply.codes(), ["authority.not-listed"]);
        let challenge = tpm_challenge(&site, &module, &device, "inventory").await;
        assert_eq!(challenge.status, 201, "{}", String::from_utf8_lossy(&challenge.body));
        let enrolled = site.answer(DAVE, &module, &challenge.json()).await.json();
        for family in ["attest", "certify_x509"] {
            let certificate = leaf(&enrolled, family);
            assert_eq!(policies(&certificate), [oid::BOOTSTRAP_INVENTORY, oid::ENVIRONMENT_MODULE]);
            // Nobody vouches for names of the module.
            assert!(certificate.extension(oid::SUBJECT_ALT_NAME).unwrap().is_none());
        }
        let nonce = site.certificate_nonce(DAVE).await;
        let request = module.csr(&nonce, &chain(&enrolled["certificates"]["attest"]), None);
        let reply =
            site.post("/v1/certificates", Some(DAVE), json!({"csr": b64(&request), "nonce": hex(&nonce)})).await;
        assert_eq!(reply.status, 201, "{}", String::from_utf8_lossy(&reply.body));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_is_dry_first_and_whole_or_not_at_all() {
    let site = Site::start_with(&every_method("")).await;
    let list = "device,account,vendor,serial,model\na,dave,Maker,1,M\nb,dave,Maker,2,M\n";
    let dry = import(&site, "?dry_run=true", list).await.json();
    assert_eq!((&dry["added"], &dry["applied"]), (&json!(["a", "b"]), &json!(false)));
    for misspelled in ["?dry_run", "?dry_run=", "?dry_run=1", "?dry-run=true", "?dry_run=false&dry_run=true", "?x=1"] {
        assert_eq!(import(&site, misspelled, list).await.problem(), "malformed-request", "{misspelled}");
    }
    let wet = import(&site, "", list).await.json();
    assert_eq!((&wet["added"], &wet["applied"]), (&json!(["a", "b"]), &json!(true)));

    // One row as it was, one changed, one new; then the same with rows that contradict.
    let list = "device,account,vendor,serial,model\na,dave,Maker,1,M\nb,dave,Maker,2,N\nc,dave,Maker,3,\n";
    let dry = import(&site, "?dry_run=true", list).await.json();
    assert_eq!((&dry["unchanged"], &dry["added"]), (&json!(1), &json!(["c"])));
    assert_eq!(dry["changed"][0]["device"], "b");
    assert!(dry["changed"][0]["before"].as_str().unwrap().contains("model=\"M\""));
    assert!(dry["changed"][0]["after"].as_str().unwrap().contains("model=\"N\""));
    let contradicting = "device,account,vendor,serial\nd,dave,Maker,1\ne,dave,Maker,9\ne,dave,Maker,8\nf,dave,Maker,\n";
    let dry = import(&site, "?dry_run=true", contradicting).await.json();
    let lines: Vec<u64> =
        dry["conflicting"].as_array().unwrap().iter().map(|row| row["line"].as_u64().unwrap()).collect();
    assert_eq!(lines, [2, 4, 5]);
    let refused = import(&site, "", contradicting).await;
    assert_eq!((refused.status, refused.codes()), (422, vec!["authority.inventory-row".to_owned(); 3]));
    // Nothing of it is listed.
    let ak = SoftwareKey::generate();
    let fields = json!({"method": "inventory", "vendor": "Maker", "serial": "9"});
    assert_eq!(challenge(&site, DAVE, &ak, "e", fields).await.codes(), ["authority.not-listed"]);

    assert_eq!(import(&site, "", "device;account\n").await.problem(), "malformed-request");
    let by_alice = site.send("/v1/inventory", Some(ALICE), "text/csv", list.as_bytes()).await;
    assert_eq!(by_alice.problem(), "not-permitted");
    let as_json = site.post("/v1/inventory", Some(DAVE), json!({})).await;
    assert_eq!(as_json.problem(), "unsupported-media-type");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listed_serial_number_is_good_for_one_key_at_a_time() {
    let site = Site::start_with(&every_method("")).await;
    import(&site, "", "device,account,vendor,serial\nhsm-1,dave,Maker,4711\n").await.json();
    let fields = || json!({"method": "inventory", "vendor": "Maker", "serial": "4711"});
    let (one, two) = (SoftwareKey::generate(), SoftwareKey::generate());
    let enrolled = enroll(&site, DAVE, &one, "hsm-1", fields()).await;
    check_host_certificate(&leaf(&enrolled, "pkix_evidence"), &one, oid::BOOTSTRAP_INVENTORY);
    assert!(enrolled["certificates"].get("attest").is_none() && enrolled["certificates"].get("certify_x509").is_none());
    assert_eq!(enrolled["device_id"], format!("ak:{}", hex(&one.spki().sha256())));
    // Whoever knows the number presents it; the first key stands. Its own certificates it gets again.
    let second = challenge(&site, DAVE, &two, "hsm-1", fields()).await.json();
    let reply = answer(&site, DAVE, (&two, &two), "hsm-1", &second).await;
    assert_eq!((reply.status, reply.problem().as_str()), (409, "device-has-key"));
    enroll(&site, DAVE, &one, "hsm-1", fields()).await;
    // A device that is enrolled keeps its module in the list.
    let moved = import(&site, "", "device,account,vendor,serial\nhsm-1,dave,Maker,4712\n").await;
    assert_eq!(moved.codes(), ["authority.inventory-row"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ceremony_vouches_for_the_key_that_its_witnesses_saw() {
    let witnesses = Witnesses::new(&["alma", "bert", "cleo"]);
    let site = Site::start_with(&every_method(&witnesses.settings(2))).await;
    let ak = SoftwareKey::generate();
    let file = witnesses.ceremony(&ak, 2);
    let fields = |file: &[u8]| json!({"method": "ceremony", "transcript": b64(file)});
    let enrolled = enroll(&site, DAVE, &ak, "hsm", fields(&file)).await;
    check_host_certificate(&leaf(&enrolled, "pkix_evidence"), &ak, oid::BOOTSTRAP_CEREMONY);

    let too_few = challenge(&site, DAVE, &ak, "hsm", fields(&witnesses.ceremony(&ak, 1))).await;
    assert_eq!(too_few.codes(), ["ceremony.too-few-witnesses"]);
    let other = SoftwareKey::generate();
    let reply = challenge(&site, DAVE, &other, "hsm", fields(&file)).await;
    assert_eq!(reply.codes(), ["authority.ceremony-other-key"]);
    for (named, wanted) in [("hsm-8", Some("authority.ceremony-other-device")), ("hsm", None)] {
        let reply = challenge(&site, DAVE, &ak, "hsm", fields(&witnesses.ceremony_for(Some(named), &ak, 2))).await;
        assert_eq!(reply.codes().first().map(String::as_str), wanted, "{named}");
    }
    let strangers = Witnesses::new(&["alma", "bert"]);
    let reply = challenge(&site, DAVE, &ak, "hsm", fields(&strangers.ceremony(&ak, 2))).await;
    assert_eq!(reply.codes(), ["ceremony.unknown-witness"]);
    let mut altered = file.clone();
    let at = altered.len() / 3;
    altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
    let reply = challenge(&site, DAVE, &ak, "hsm", fields(&altered)).await;
    assert!(reply.codes().iter().all(|code| code.starts_with("ceremony.")) && reply.codes().len() == 1);

    // The records name the witnesses and the file; the appraisal of what the key signs says so to its account.
    let nonce = site.nonce(DAVE, json!({"purpose": "appraisal"})).await;
    let request = csr(&ak, &chain(&enrolled["certificates"]["pkix_evidence"])[0], &nonce);
    let body = json!({"csr": b64(&request), "nonce": hex(&nonce)});
    let report = site.post("/v1/appraisals", Some(DAVE), body).await.json();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &file);
    let expected = json!({
        "method": "ceremony", "environment": "host", "proof_sha256": hex(digest.as_ref()), "approvers": ["alma", "bert"],
    });
    assert_eq!(report["attesting_key"]["enrolment"], expected);
    let claims = &report["attesting_key"]["claims"];
    assert_eq!(claims["bootstrap"], json!({"value": "ceremony", "source": "endorsed", "statement": 0}));
    assert_eq!(claims["environment"], json!({"value": "host", "source": "endorsed", "statement": 0}));
    let store = Sqlite::open(&site.state().join("authority.sqlite")).unwrap();
    let recorded = (1..20).filter_map(|id| store.decision(id).unwrap()).find(|decision| decision.kind == "activation");
    let proof = recorded.unwrap().enrolment.unwrap();
    assert_eq!((proof.method.label(), proof.approvers), ("ceremony", vec!["alma".to_owned(), "bert".to_owned()]));
    assert_eq!(hex(&proof.digest), hex(digest.as_ref()));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_hold_the_key_does_not_enroll_it() {
    let witnesses = Witnesses::new(&["alma", "bert"]);
    let site = Site::start_with(&every_method(&witnesses.settings(2))).await;
    let (ak, thief) = (SoftwareKey::generate(), SoftwareKey::generate());
    let fields = json!({"method": "ceremony", "transcript": b64(&witnesses.ceremony(&ak, 2))});
    let open = async || challenge(&site, DAVE, &ak, "hsm", fields.clone()).await.json();
    let opened = open().await;
    assert_eq!(answer(&site, DAVE, (&thief, &ak), "hsm", &opened).await.problem(), "activation-failed");
    // The one attempt is used up.
    assert_eq!(answer(&site, DAVE, (&ak, &ak), "hsm", &opened).await.problem(), "activation-failed");
    // What the key signed for another device, or for another key, is no answer.
    assert_eq!(answer(&site, DAVE, (&ak, &ak), "other", &open().await).await.problem(), "activation-failed");
    assert_eq!(answer(&site, DAVE, (&ak, &thief), "hsm", &open().await).await.problem(), "activation-failed");
    // Nor is a secret.
    let path = format!("/v1/attestation-keys/{}/activation", open().await["id"].as_str().unwrap());
    let reply = site.post(&path, Some(DAVE), json!({"secret": b64(&[0; 32])})).await;
    assert_eq!(reply.problem(), "activation-failed");
    let late = open().await;
    site.clock.advance(121);
    assert_eq!(answer(&site, DAVE, (&ak, &ak), "hsm", &late).await.problem(), "activation-failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_lets_its_attesting_key_sign_evidence_alone_answers_by_evidence() {
    let site = Site::start_with(&every_method("")).await;
    let (ak, thief) = (SoftwareKey::generate(), SoftwareKey::generate());
    let attempt = async |signer: &SoftwareKey, device: &str| {
        let opened = challenge(&site, DAVE, &ak, "hsm", json!({"method": "first-use"})).await.json();
        let possession = AkPossession {
            purpose: PossessionPurpose::Enrolment,
            device,
            key: &ak.spki(),
            challenge: &unb64(&opened["challenge"]),
        };
        let path = format!("/v1/attestation-keys/{}/activation", opened["id"].as_str().unwrap());
        let evidence = evidence_over(signer, &possession.nonce());
        site.post(&path, Some(DAVE), json!({"evidence": b64(&evidence)})).await
    };
    assert_eq!(attempt(&thief, "hsm").await.problem(), "activation-failed");
    assert_eq!(attempt(&ak, "other").await.problem(), "activation-failed");
    // Evidence about a key is made for whoever has the key: over a nonce of their choice it shows nothing.
    let opened = challenge(&site, DAVE, &ak, "hsm", json!({"method": "first-use"})).await.json();
    let challenge = unb64(&opened["challenge"]);
    let possession =
        AkPossession { purpose: PossessionPurpose::Enrolment, device: "hsm", key: &ak.spki(), challenge: &challenge };
    let path = format!("/v1/attestation-keys/{}/activation", opened["id"].as_str().unwrap());
    let evidence = evidence_about(&SoftwareKey::generate().spki(), (&ak, None), &possession.nonce());
    let reply = site.post(&path, Some(DAVE), json!({"evidence": b64(&evidence)})).await;
    assert_eq!(reply.problem(), "activation-failed");
    assert_eq!(attempt(&ak, "hsm").await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_use_of_a_name_is_believed_and_no_other() {
    let site = Site::start_with(&every_method("")).await;
    let (one, two) = (SoftwareKey::generate(), SoftwareKey::generate());
    let fields = || json!({"method": "first-use"});
    let enrolled = enroll(&site, DAVE, &one, "first", fields()).await;
    check_host_certificate(&leaf(&enrolled, "pkix_evidence"), &one, oid::BOOTSTRAP_FIRST_USE);
    // That it is a chip's nobody says.
    let root = CertView::parse(&chain(&enrolled["certificates"]["pkix_evidence"])[1]).unwrap();
    assert_eq!(root.subject().to_display(), "CN=Vouchsafe Attestation Root (virtual modules)");
    let reply = challenge(&site, DAVE, &two, "first", fields()).await;
    assert_eq!((reply.status, reply.problem().as_str()), (409, "device-conflict"));

    let module = unendorsed(EndorsementKey::ecc(Curve::P256));
    let opened = tpm_challenge(&site, &module, "tpm", "first-use").await;
    assert_eq!(opened.status, 201, "{}", String::from_utf8_lossy(&opened.body));
    let enrolled = site.answer(DAVE, &module, &opened.json()).await.json();
    // A TPM's key is used by the TPM alone, whoever vouches for it.
    assert_eq!(policies(&leaf(&enrolled, "attest")), [oid::BOOTSTRAP_FIRST_USE, oid::ENVIRONMENT_MODULE]);
    let other = unendorsed(EndorsementKey::ecc(Curve::P256));
    assert_eq!(tpm_challenge(&site, &other, "tpm", "first-use").await.problem(), "device-conflict");
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_are_offered_by_the_configuration_and_the_account() {
    let ak = SoftwareKey::generate();
    let fields = |method: &str| match method {
        "ceremony" => json!({"method": method, "transcript": b64(b"{}")}),
        "inventory" => json!({"method": method, "vendor": "v", "serial": "1"}),
        "manufacturer" => json!({"method": method, "evidence": [b64(&[0x30, 0])]}),
        _ => json!({"method": method}),
    };
    // Alice may use the maker's word alone, by default.
    let site = Site::start_with(&every_method("")).await;
    for (token, method, refused) in [
        (ALICE, "manufacturer", false),
        (ALICE, "inventory", true),
        (ALICE, "ceremony", true),
        (ALICE, "first-use", true),
        (DAVE, "inventory", false),
        (DAVE, "first-use", false),
        // No witnesses are configured.
        (DAVE, "ceremony", true),
    ] {
        let reply = challenge(&site, token, &ak, "d", fields(method)).await;
        let is_refused = reply.status == 403 && reply.problem() == "method-not-permitted";
        assert_eq!(is_refused, refused, "{token} {method}: {}", String::from_utf8_lossy(&reply.body));
    }
    // First use is off unless it is switched on.
    let settings = every_method("").replace("first_use = true", "");
    let site = Site::start_with(&settings).await;
    assert_eq!(challenge(&site, DAVE, &ak, "d", fields("first-use")).await.problem(), "method-not-permitted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_takes_what_it_needs_and_nothing_else() {
    let site = Site::start_with(&every_method("")).await;
    let module = Module::new(&site.vendor, NOW);
    let (tpm, host, ek) =
        (b64(module.ak_public.as_bytes()), b64(module.ak.spki().as_der()), b64(module.ek.spki().as_der()));
    let certificates = json!([b64(&module.ek_certificate)]);
    for body in [
        json!({}),
        json!({"ak_public": tpm, "ak_spki": host, "ek_certificates": certificates}),
        json!({"ak_public": tpm, "ek_public": ek}),
        json!({"ak_public": tpm, "ek_public": ek, "ek_certificates": certificates}),
        json!({"ak_public": tpm, "method": "inventory", "ek_certificates": certificates}),
        json!({"ak_public": tpm, "method": "ceremony", "ek_public": ek, "transcript": "AA=="}),
        json!({"ak_public": tpm, "method": "first-use"}),
        json!({"ak_public": tpm, "ek_certificates": certificates, "serial": "1"}),
        json!({"ak_spki": host}),
        json!({"ak_spki": host, "evidence": []}),
        json!({"ak_spki": host, "ek_certificates": certificates}),
        json!({"ak_spki": host, "method": "inventory", "serial": "1"}),
        json!({"ak_spki": host, "method": "inventory", "vendor": "v", "serial": "\u{1}"}),
        json!({"ak_spki": host, "method": "first-use", "transcript": "AA=="}),
        json!({"ak_spki": host, "method": "trust-me"}),
    ] {
        let nonce = site.enrolment_nonce(DAVE).await;
        let mut whole = json!({"device": "d", "nonce": hex(&nonce)});
        whole.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        let reply = site.post("/v1/attestation-keys", Some(DAVE), whole).await;
        assert_eq!(reply.problem(), "malformed-request", "{body}");
    }
}

/// A YubiKey in software: its maker's root, the key of slot F9, and the attestation of a key.
pub struct YubiKey {
    pub f9: Vec<u8>,
    pub slot: Vec<u8>,
}

impl YubiKey {
    pub fn attesting(maker: &Vendor, key: &SoftwareKey, serial: u8) -> Self {
        let firmware = build::extension(oid::YUBIKEY_PIV_FIRMWARE, false, &[5, 7, 0]);
        let f9_key = SoftwareKey::generate();
        let f9 = maker.certify(
            f9_key.spki(),
            NOW,
            vec![
                build::basic_constraints(true, BasicConstraints { ca: true, path_length: Some(0) }),
                build::key_usage(true, KeyUsage::from_bits(KeyUsage::KEY_CERT_SIGN)),
                firmware.clone(),
            ],
        );
        let issuer = CertView::parse(&f9).unwrap().subject().clone();
        let subject = build::distinguished_name(&[(oid::COMMON_NAME, "YubiKey PIV Attestation 9c")]).unwrap();
        let extensions = vec![
            firmware,
            build::extension(oid::YUBIKEY_PIV_SERIAL, false, &[2, 1, serial]),
            build::extension(oid::YUBIKEY_PIV_POLICIES, false, &[2, 1]),
            build::extension(oid::YUBIKEY_PIV_FORM_FACTOR, false, &[1]),
        ];
        let slot = sign_certificate((&issuer, &f9_key), subject, key.spki(), NOW, extensions);
        Self { f9, slot }
    }

    fn fields(&self) -> Value {
        json!({"evidence": [b64(&self.f9), b64(&self.slot)]})
    }
}

/// A key in a YubiKey's slot.
pub struct Slot {
    pub key: SoftwareKey,
    pub yubikey: YubiKey,
}

impl Slot {
    pub fn new(maker: &Vendor, serial: u8) -> Self {
        let key = SoftwareKey::generate();
        let yubikey = YubiKey::attesting(maker, &key, serial);
        Self { key, yubikey }
    }

    /// The attestation, and what the attested key says of each nonce and context.
    pub fn statements(&self, proofs: &[(&[u8], &[u8])]) -> Vec<AttestationStatement> {
        let attestation = ListedFormat::from_id("yubikey-piv").unwrap().statement(&self.yubikey.slot);
        let proofs = proofs.iter().map(|(nonce, context)| {
            let proof = KeyPop { nonce: nonce.to_vec(), context: context.to_vec() };
            AttestationStatement::new(oid::STATEMENT_KEY_POP, proof.to_der())
        });
        [attestation].into_iter().chain(proofs).collect()
    }
}

pub fn trust_yubico(site: &Site, maker: &Vendor, mark: &str) {
    let folder = site.state().join("trust/yubikey-piv");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("maker.pem"), pem(&maker.root)).unwrap();
    std::fs::write(folder.join("maker.toml"), mark).unwrap();
    site.running.as_ref().unwrap().reload_trust().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_maker_vouches_for_a_retrofit_key_itself() {
    let site = Site::start_with(&every_method("")).await;
    let maker = Vendor::new("Yubico PIV Root CA", NOW);
    let (ak, other) = (SoftwareKey::generate(), SoftwareKey::generate());
    let attestation = YubiKey::attesting(&maker, &ak, 42);
    // Nobody trusts the maker yet.
    assert_eq!(challenge(&site, ALICE, &ak, "yubikey", attestation.fields()).await.codes(), ["trust.no-anchor"]);
    trust_yubico(&site, &maker, "");
    let enrolled = enroll(&site, ALICE, &ak, "yubikey", attestation.fields()).await;
    // The maker's word makes it the maker's key; whoever drives it is the host all the same.
    check_host_certificate(&leaf(&enrolled, "pkix_evidence"), &ak, oid::BOOTSTRAP_MANUFACTURER);
    // The attestation is of another key.
    let reply = challenge(&site, ALICE, &other, "yubikey-2", attestation.fields()).await;
    assert_eq!(reply.codes(), ["bind.key-mismatch"]);
    // One serial number is one module.
    let same = YubiKey::attesting(&maker, &other, 42);
    assert_eq!(challenge(&site, ALICE, &other, "yubikey-2", same.fields()).await.problem(), "endorsement-key-conflict");
    assert_eq!(challenge(&site, BOB, &other, "yubikey", same.fields()).await.problem(), "device-conflict");
    // An owner's signing key is no maker's.
    trust_yubico(&site, &maker, "own_signer = true\n");
    let fresh = YubiKey::attesting(&maker, &other, 43);
    let reply = challenge(&site, ALICE, &other, "yubikey-3", fresh.fields()).await;
    assert_eq!(reply.codes(), ["ak.attestation-not-makers"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_enrolled_here_vouch_for_no_others() {
    let site = Site::start_with(&every_method("")).await;
    // A TPM's statement about a key of it: no maker's attestation, and an attesting key in a TPM answers by its Name.
    let module = Module::new(&site.vendor, NOW);
    let attest = chain(&site.enroll(DAVE, &module, "tpm").await["certificates"]["attest"]);
    let retrofit = SoftwareKey::generate();
    let public = retrofit
        .public(vouchsafe_evidence::tpm::template::USER_KEY_ATTRIBUTES, vouchsafe_evidence::tpm::EccScheme::Null);
    let (attested, signature) = module.certify(&public, b"any");
    let evidence = json!([b64(&attested), b64(&signature), b64(public.as_bytes()), b64(&attest[0])]);
    let reply = challenge(&site, DAVE, &retrofit, "retrofit", json!({"evidence": evidence})).await;
    assert!(reply.codes().contains(&"ak.attestation-format".to_owned()), "{:?}", reply.codes());

    // Evidence of a key that was enrolled here by first use: the host's word, and not the maker's.
    let first = SoftwareKey::generate();
    let enrolled = enroll(&site, DAVE, &first, "first", json!({"method": "first-use"})).await;
    let next = SoftwareKey::generate();
    let spki = next.spki();
    let tbs = vouchsafe_evidence::emit::TbsEvidence::new().key("k", |claims| {
        let claims = claims.spki(spki.as_der()).extractable(false).sensitive(true);
        claims.never_extractable(true).local(true).purposes(&[vouchsafe_evidence::emit::Purpose::Sign])
    });
    let tbs = tbs.to_der();
    let algorithm = build::algorithm_identifier(oid::ECDSA_WITH_SHA256);
    let evidence = vouchsafe_evidence::emit::Evidence::new(tbs.clone())
        .signed_by_certificate(&chain(&enrolled["certificates"]["pkix_evidence"])[0], &algorithm, &first.sign_der(&tbs))
        .to_der();
    let reply = challenge(&site, DAVE, &next, "next", json!({"evidence": [b64(&evidence)]})).await;
    let codes = reply.codes();
    for code in ["ak.attestation-not-makers", "policy.environment", "policy.host-asserted"] {
        assert!(codes.contains(&code.to_owned()), "{code}: {codes:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_host_asserts_is_for_the_lab_and_strict_policies_say_why_not() {
    let witnesses = Witnesses::new(&["alma", "bert"]);
    for (policy, refused) in [
        ("lab", &[][..]),
        ("default", &["policy.environment", "policy.host-asserted"]),
        ("csbr-code-signing", &["policy.environment", "policy.host-asserted"]),
        ("fips-140-3-level-3", &["policy.environment", "policy.host-asserted"]),
    ] {
        let site = Site::start_with(&format!("policy = '{policy}'\n{}", every_method(&witnesses.settings(2)))).await;
        let ak = SoftwareKey::generate();
        let fields = json!({"method": "ceremony", "transcript": b64(&witnesses.ceremony(&ak, 2))});
        let enrolled = enroll(&site, DAVE, &ak, "hsm", fields).await;
        let nonce = site.certificate_nonce(DAVE).await;
        let request = csr(&ak, &chain(&enrolled["certificates"]["pkix_evidence"])[0], &nonce);
        let reply =
            site.post("/v1/certificates", Some(DAVE), json!({"csr": b64(&request), "nonce": hex(&nonce)})).await;
        assert_eq!(reply.status, if refused.is_empty() { 201 } else { 422 }, "{policy}: {:?}", reply.codes());
        for code in refused {
            assert!(reply.codes().contains(&(*code).to_owned()), "{policy} {code}: {:?}", reply.codes());
        }
        if policy == "csbr-code-signing" {
            let violations = reply.json()["violations"].as_array().unwrap().clone();
            let said = violations.iter().find(|violation| violation["code"] == "policy.environment").unwrap();
            let sentence = said["message"].as_str().unwrap();
            for part in
                ["can have the key sign anything", "CSBR 6.2.7.4.2(2): verified by using a manufacturer's certificate"]
            {
                assert!(sentence.contains(part), "{sentence}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_list_is_no_makers_certificate_for_code_signing() {
    for (policy, refused) in [("default", false), ("csbr-code-signing", true), ("fips-140-3-level-3", false)] {
        let site = Site::start_with(&format!("policy = '{policy}'\n{}", every_method(""))).await;
        let module = unendorsed(EndorsementKey::ecc(Curve::P256));
        let list = format!("device,account,ek_sha256\ntpm,dave,{}\n", hex(&module.ek.spki().sha256()));
        assert_eq!(import(&site, "", &list).await.status, 200);
        let opened = tpm_challenge(&site, &module, "tpm", "inventory").await.json();
        let enrolled = site.answer(DAVE, &module, &opened).await.json();
        let nonce = site.certificate_nonce(DAVE).await;
        let request = module.csr(&nonce, &chain(&enrolled["certificates"]["attest"]), None);
        let body = json!({"csr": b64(&request), "nonce": hex(&nonce)});
        let reply = site.post("/v1/certificates", Some(DAVE), body).await;
        assert_eq!(reply.codes().contains(&"policy.bootstrap".to_owned()), refused, "{policy}: {:?}", reply.codes());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attesting_key_is_not_certified_on_the_word_of_another() {
    let site = Site::start_with(&format!("policy = 'lab'\n{}", every_method(""))).await;
    let (ak, attested, plain) = (SoftwareKey::generate(), SoftwareKey::generate(), SoftwareKey::generate());
    let enrolled = enroll(&site, DAVE, &ak, "one", json!({"method": "first-use"})).await;
    let certificate = chain(&enrolled["certificates"]["pkix_evidence"])[0].clone();
    enroll(&site, DAVE, &attested, "two", json!({"method": "first-use"})).await;
    // Nothing in the request shows that the second key attests.
    for (key, codes) in [(&attested, vec!["bind.csr-key-is-ak"]), (&plain, vec![])] {
        let nonce = site.certificate_nonce(DAVE).await;
        let evidence = evidence_about(&key.spki(), (&ak, Some(&certificate)), &nonce);
        let made = request(key, vec![AttestationStatement::new(oid::STATEMENT_PKIX_EVIDENCE, evidence)], &[]);
        let body = json!({"csr": b64(&made), "nonce": hex(&nonce)});
        assert_eq!(site.post("/v1/certificates", Some(DAVE), body).await.codes(), codes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn first_use_counts_for_the_lab_alone() {
    for (policy, refused) in
        [("lab", false), ("default", true), ("csbr-code-signing", true), ("fips-140-3-level-3", true)]
    {
        let site = Site::start_with(&format!("policy = '{policy}'\n{}", every_method(""))).await;
        let module = unendorsed(EndorsementKey::ecc(Curve::P256));
        let opened = tpm_challenge(&site, &module, "tpm", "first-use").await.json();
        let enrolled = site.answer(DAVE, &module, &opened).await.json();
        let nonce = site.certificate_nonce(DAVE).await;
        let request = module.csr(&nonce, &chain(&enrolled["certificates"]["attest"]), None);
        let reply =
            site.post("/v1/certificates", Some(DAVE), json!({"csr": b64(&request), "nonce": hex(&nonce)})).await;
        assert_eq!(reply.codes().contains(&"policy.bootstrap".to_owned()), refused, "{policy}: {:?}", reply.codes());
        assert_eq!(reply.status == 201, !refused, "{policy}");
    }
}
