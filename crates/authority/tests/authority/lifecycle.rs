//! The life of attesting keys after their enrolment: renewal, succession, expiry, revocation, replacement, sharing.

use std::process::Command;
use std::sync::Arc;

use serde_json::{Value, json};
use vouchsafe_authority::lifecycle::ListName;
use vouchsafe_authority::store::{Dependent, RevocationReason, Sqlite, Store, StoreError};
use vouchsafe_authority::{Administration, AdministrationError, Clock};
use vouchsafe_evidence::ak_possession::{AkPossession, PossessionPurpose};
use vouchsafe_evidence::bundle::AttestationStatement;
use vouchsafe_evidence::emit::{Evidence, Purpose, TbsEvidence};
use vouchsafe_evidence::oid;
use vouchsafe_evidence::statement::TpmCertify;
use vouchsafe_evidence::tpm::template::{AK_ATTRIBUTES, USER_KEY_ATTRIBUTES};
use vouchsafe_evidence::tpm::{EccScheme, HashAlg, TpmtPublic};
use vouchsafe_evidence::x509::{CertView, CrlView, build};

use crate::host::{DAVE, enroll, every_method, evidence_over};
use crate::module::{Module, SoftwareKey};
use crate::site::{ALICE, BOB, NOW, Reply, Site, b64, chain, hex};

const DAY: i64 = 86_400;
const PCRS: [[u8; 32]; 2] = [[1; 32], [2; 32]];

fn administration(site: &Site) -> Administration {
    Administration::open(&site.config(), Arc::clone(&site.clock) as Arc<dyn Clock>).unwrap()
}

fn digest(ak: &SoftwareKey) -> [u8; 32] {
    ak.spki().sha256()
}

/// Asks for a renewal for the key; `fields` say how it vouches.
async fn renew(site: &Site, token: &str, ak: &SoftwareKey, nonce: &[u8], fields: Value) -> Reply {
    let mut body = json!({"device": "device", "nonce": hex(nonce), "key": format!("ak:{}", hex(&digest(ak)))});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    site.post("/v1/attestation-keys/renewals", Some(token), body).await
}

fn quoted(module: &Module, nonce: &[u8]) -> Value {
    let (attest, signature, _) = module.quote(&PCRS, nonce);
    json!({"attest": b64(&attest), "signature": b64(&signature)})
}

async fn ask(site: &Site, token: &str, module: &Module, ak_chain: &[Vec<u8>]) -> Reply {
    let nonce = site.certificate_nonce(token).await;
    let request = module.csr(&nonce, ak_chain, None);
    site.post("/v1/certificates", Some(token), json!({"csr": b64(&request), "nonce": hex(&nonce)})).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tpm_renews_by_a_quote_and_by_certifying_itself() {
    let site = Site::start().await;
    let module = Module::new(&site.vendor, NOW);
    let first = site.enroll(ALICE, &module, "device").await;
    site.clock.advance(60 * DAY);
    let nonce = site.enrolment_nonce(ALICE).await;
    let reply = renew(&site, ALICE, &module.ak, &nonce, quoted(&module, &nonce)).await;
    assert_eq!(reply.status, 201, "{}", String::from_utf8_lossy(&reply.body));
    for family in ["attest", "certify_x509"] {
        let [old, new] =
            [&first, &reply.json()].map(|answer| CertView::parse(&chain(&answer["certificates"][family])[0]).unwrap());
        assert_eq!(new.not_after(), NOW + 150 * DAY);
        assert!(new.spki().same_key(old.spki()) && new.serial() != old.serial());
        let said = |certificate: &CertView| {
            let extensions: Vec<(String, Vec<u8>)> =
                certificate.extensions().map(|of| (of.oid().to_string(), of.value().to_vec())).collect();
            extensions
        };
        // All but the name constraints, which name the new random subject.
        let constraints = vouchsafe_evidence::oid::NAME_CONSTRAINTS.to_string();
        for (old, new) in said(&old).iter().zip(said(&new)).filter(|(old, _)| old.0 != constraints) {
            assert_eq!(*old, new);
        }
    }
    // The same nonce is good for nothing more.
    let again = renew(&site, ALICE, &module.ak, &nonce, quoted(&module, &nonce)).await;
    assert_eq!(again.problem(), "nonce-spent");
    let nonce = site.enrolment_nonce(ALICE).await;
    let (attest, signature) = module.certify(&module.ak_public, &nonce);
    let itself = json!({"attest": b64(&attest), "signature": b64(&signature)});
    assert_eq!(renew(&site, ALICE, &module.ak, &nonce, itself).await.status, 201);
    assert_eq!(administration(&site).attesting_keys().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_that_the_key_does_not_vouch_for_is_refused() {
    let site = Site::start().await;
    let (module, other) = (Module::new(&site.vendor, NOW), Module::new(&site.vendor, NOW));
    site.enroll(ALICE, &module, "device").await;
    site.enroll(ALICE, &other, "other").await;
    let certified = |by: &Module, public, nonce: &[u8]| {
        let (attest, signature) = by.certify(public, nonce);
        json!({"attest": b64(&attest), "signature": b64(&signature)})
    };
    let user_key = SoftwareKey::generate().public(USER_KEY_ATTRIBUTES, EccScheme::Null);
    type Case<'a> = (&'a str, Box<dyn Fn(&[u8]) -> Value + 'a>, &'a str);
    let cases: Vec<Case<'_>> = vec![
        ("another nonce", Box::new(|_| quoted(&module, &[7; 32])), "nonce.mismatch"),
        ("another key's quote", Box::new(|nonce| quoted(&other, nonce)), "tpm.bad-signature"),
        ("of another key", Box::new(|nonce| certified(&module, &other.ak_public, nonce)), "tpm.name-mismatch"),
        ("of a user's key", Box::new(|nonce| certified(&module, &user_key, nonce)), "tpm.name-mismatch"),
        (
            "cut",
            Box::new(|nonce| {
                let mut fields = quoted(&module, nonce);
                fields["attest"] = json!("AA==");
                fields
            }),
            "tpm.malformed-attest",
        ),
        (
            "a signature over text",
            Box::new(|_| json!({"signature": b64(&module.ak.sign_der(b"renew me"))})),
            "authority.key-not-of-method",
        ),
    ];
    for (name, fields, code) in cases {
        let nonce = site.enrolment_nonce(ALICE).await;
        let reply = renew(&site, ALICE, &module.ak, &nonce, fields(&nonce)).await;
        assert_eq!(reply.codes(), [code], "{name}");
        // A refusal is recorded, and spends the nonce.
        let again = renew(&site, ALICE, &module.ak, &nonce, quoted(&module, &nonce)).await;
        assert_eq!(again.problem(), "nonce-spent", "{name}");
    }
    // Another account's key is as one that is not there.
    let nonce = site.enrolment_nonce(BOB).await;
    let reply = renew(&site, BOB, &module.ak, &nonce, quoted(&module, &nonce)).await;
    assert_eq!(reply.codes(), ["authority.key-not-enrolled"]);
    let stranger = Module::new(&site.vendor, NOW);
    let nonce = site.enrolment_nonce(ALICE).await;
    let reply = renew(&site, ALICE, &stranger.ak, &nonce, quoted(&stranger, &nonce)).await;
    assert_eq!(reply.codes(), ["authority.key-not-enrolled"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_key_of_a_tpm_vouches_for_its_successor() {
    let site = Site::start().await;
    let module = Module::new(&site.vendor, NOW);
    site.enroll(ALICE, &module, "device").await;
    let next = SoftwareKey::generate();
    let public = next.public(AK_ATTRIBUTES, EccScheme::Ecdsa(HashAlg::Sha256));
    let succeed = async |public: &vouchsafe_evidence::tpm::TpmtPublic, by_quote: bool| {
        let nonce = site.enrolment_nonce(ALICE).await;
        let (attest, signature) = if by_quote {
            let (attest, signature, _) = module.quote(&PCRS, &nonce);
            (attest, signature)
        } else {
            module.certify(public, &nonce)
        };
        let fields = json!({
            "attest": b64(&attest), "signature": b64(&signature), "ak_public": b64(public.as_bytes()),
        });
        renew(&site, ALICE, &module.ak, &nonce, fields).await
    };
    // A quote says nothing of another key, and a key that can sign anything is no attesting key.
    assert_eq!(succeed(&public, true).await.codes(), ["tpm.wrong-attestation-type"]);
    let loose = SoftwareKey::generate().public(USER_KEY_ATTRIBUTES, EccScheme::Null);
    assert!(succeed(&loose, false).await.codes().contains(&"ak.attributes".to_owned()));
    let reply = succeed(&public, false).await;
    assert_eq!(reply.status, 201, "{}", String::from_utf8_lossy(&reply.body));
    let renewed = without_ek(next, public);
    let reply = ask(&site, ALICE, &renewed, &chain(&reply.json()["certificates"]["attest"])).await;
    assert_eq!(reply.status, 201, "{:?}", reply.codes());
    let keys = administration(&site).attesting_keys().unwrap();
    assert_eq!(keys.iter().map(|key| key.device.as_str()).collect::<Vec<_>>(), ["device", "device"]);
    assert_eq!(keys[0].proof, keys[1].proof);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_a_host_drives_renew_and_succeed_by_signatures() {
    let site = Site::start_with(&every_method("")).await;
    let (ak, next, thief) = (SoftwareKey::generate(), SoftwareKey::generate(), SoftwareKey::generate());
    enroll(&site, DAVE, &ak, "device", json!({"method": "first-use"})).await;
    let signed = |by: &SoftwareKey, key: &SoftwareKey, purpose, nonce: &[u8]| {
        let possession = AkPossession { purpose, device: "device", key: &key.spki(), challenge: nonce };
        b64(&by.sign_der(&possession.to_bytes()))
    };
    use PossessionPurpose::{Enrolment, Renewal, Succession};
    for (by, purpose, status) in
        [(&ak, Renewal, 201), (&ak, Enrolment, 422), (&ak, Succession, 422), (&thief, Renewal, 422)]
    {
        let nonce = site.enrolment_nonce(DAVE).await;
        let reply = renew(&site, DAVE, &ak, &nonce, json!({"signature": signed(by, &ak, purpose, &nonce)})).await;
        assert_eq!(reply.status, status, "{purpose:?}");
        assert_eq!(reply.codes(), if status == 422 { vec!["ak.possession"] } else { vec![] });
    }
    let succeed = async |by: &SoftwareKey, holder: &SoftwareKey| {
        let nonce = site.enrolment_nonce(DAVE).await;
        let fields = json!({
            "signature": signed(by, &next, Succession, &nonce),
            "successor": {"ak_spki": b64(next.spki().as_der()), "signature": signed(holder, &next, Enrolment, &nonce)},
        });
        renew(&site, DAVE, &ak, &nonce, fields).await
    };
    assert_eq!(succeed(&thief, &next).await.codes(), ["ak.possession"]);
    assert_eq!(succeed(&ak, &thief).await.codes(), ["ak.possession"]);
    // By Evidence, which is made for others than the key's holder too, the key renews itself and vouches for no other.
    let by_evidence = async |purpose| {
        let nonce = site.enrolment_nonce(DAVE).await;
        let key = if purpose == Succession { next.spki() } else { ak.spki() };
        let possession = AkPossession { purpose, device: "device", key: &key, challenge: &nonce };
        let mut body = json!({"evidence": b64(&evidence_over(&ak, &possession.nonce()))});
        if purpose == Succession {
            let proof = signed(&next, &next, Enrolment, &nonce);
            body["successor"] = json!({"ak_spki": b64(next.spki().as_der()), "signature": proof});
        }
        renew(&site, DAVE, &ak, &nonce, body).await
    };
    assert_eq!(by_evidence(Renewal).await.status, 201);
    assert_eq!(by_evidence(Succession).await.codes(), ["ak.possession"]);
    assert_eq!(succeed(&ak, &next).await.status, 201);
    // First use vouches for one key alone: the successor has taken its place, and no other does.
    let keys = administration(&site).attesting_keys().unwrap();
    let standing: Vec<_> = keys.iter().filter(|key| key.revocation.is_none()).map(|key| key.spki_digest).collect();
    assert_eq!((keys.len(), standing), (2, vec![digest(&next)]));
    let ended = keys.iter().find_map(|key| key.revocation.clone()).unwrap();
    assert_eq!((ended.reason, ended.approver.as_str()), (RevocationReason::Superseded, "dave"));
    assert_eq!(succeed(&ak, &next).await.codes(), ["authority.key-revoked"]);
    // A key that others know vouches for nothing: what it vouched for goes with it.
    let report = administration(&site).revoke(&digest(&ak), RevocationReason::KeyCompromise, "alma", false).unwrap();
    assert_eq!(report.revoked, 1);
    assert!(administration(&site).attesting_keys().unwrap().iter().all(|key| key.revocation.is_some()));
}

#[tokio::test(flavor = "multi_thread")]
async fn renewals_end_with_the_certificate_the_revocation_and_the_years() {
    let site = Site::start_with("[enrolment]\nrenewal_days = 200\n").await;
    let module = Module::new(&site.vendor, NOW);
    site.enroll(ALICE, &module, "device").await;
    let attempt = async || {
        let nonce = site.enrolment_nonce(ALICE).await;
        renew(&site, ALICE, &module.ak, &nonce, quoted(&module, &nonce)).await
    };
    for _ in 0..2 {
        site.clock.advance(80 * DAY);
        assert_eq!(attempt().await.status, 201);
    }
    site.clock.advance(50 * DAY);
    assert_eq!(attempt().await.codes(), ["authority.key-too-old"]);
    site.clock.advance(50 * DAY);
    assert_eq!(attempt().await.codes(), ["authority.key-expired"]);
    site.enroll(ALICE, &module, "device").await;
    assert_eq!(attempt().await.status, 201);
    administration(&site).revoke(&digest(&module.ak), RevocationReason::Unspecified, "alma", false).unwrap();
    assert_eq!(attempt().await.codes(), ["authority.key-revoked"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_expire_are_told_in_time() {
    let site = Site::start().await;
    let (one, two) = (Module::new(&site.vendor, NOW), Module::new(&site.vendor, NOW));
    site.enroll(ALICE, &one, "one").await;
    site.clock.advance(30 * DAY);
    site.enroll(ALICE, &two, "two").await;
    let administration = administration(&site);
    let devices = |days| {
        let keys = administration.expiring(days).unwrap();
        keys.into_iter().map(|key| key.device).collect::<Vec<_>>()
    };
    assert_eq!((devices(None), devices(Some(60)), devices(Some(59))), (vec![], vec!["one".to_owned()], vec![]));
    site.clock.advance(47 * DAY);
    assert_eq!(devices(None), ["one"]);
    assert_eq!(devices(Some(60)), ["one", "two"]);
    administration.revoke(&digest(&one.ak), RevocationReason::Superseded, "alma", false).unwrap();
    assert_eq!(devices(Some(60)), ["two"]);
}

/// What openssl says of a certificate under these lists.
fn is_good(site: &Site, root: &[u8], certificate: &[u8], list: &[u8], at: i64) -> bool {
    let write = |name: &str, text: String| {
        let path = site.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let root = write("crl-root.pem", crate::module::pem(root));
    let leaf = write("crl-leaf.pem", crate::module::pem(certificate));
    let list = write("list.pem", crate::module::pem(list).replace("CERTIFICATE", "X509 CRL"));
    let output = Command::new("openssl")
        .args(["verify", "-x509_strict", "-crl_check", "-attime", &at.to_string(), "-CAfile"])
        .args([&root])
        .arg("-CRLfile")
        .args([&list, &leaf])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() || said.contains("certificate revoked"), "{said}");
    output.status.success()
}

async fn list(site: &Site, name: &str) -> Vec<u8> {
    let reply = site.exchange("GET", &format!("/v1/revocation-lists/{name}"), &[], b"").await;
    assert_eq!(reply.status, 200);
    assert!(reply.head.to_lowercase().contains("content-type: application/pkix-crl"));
    reply.body
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_attests_nothing_and_what_rests_on_it_is_told() {
    let site = Site::start().await;
    let (module, other) = (Module::new(&site.vendor, NOW), Module::new(&site.vendor, NOW));
    let enrolled = site.enroll(ALICE, &module, "device").await;
    let ak_chain = chain(&enrolled["certificates"]["attest"]);
    let other_chain = chain(&site.enroll(ALICE, &other, "other").await["certificates"]["attest"]);
    let issued = ask(&site, ALICE, &module, &ak_chain).await.json();
    let issued = chain(&issued["certificates"])[0].clone();
    let others = chain(&ask(&site, ALICE, &other, &other_chain).await.json()["certificates"])[0].clone();
    assert!(is_good(&site, &ak_chain[1], &ak_chain[0], &list(&site, "attestation").await, NOW + 1));

    let administration = administration(&site);
    let found = administration.dependents(&digest(&module.ak)).unwrap();
    let serial = CertView::parse(&issued).unwrap().serial().to_vec();
    assert_eq!(found.iter().map(|dependent| &dependent.serial).collect::<Vec<_>>(), [&serial]);
    site.clock.advance(61);
    let report = administration.revoke(&digest(&module.ak), RevocationReason::KeyCompromise, "alma", false).unwrap();
    // Two families of the key itself; the certificate that rests on it is named, and left as it is.
    assert_eq!(report.revoked, 2);
    let expected = Dependent {
        der: issued.clone(),
        serial,
        account: "alice".to_owned(),
        not_after: found[0].not_after,
        is_revoked: false,
    };
    assert_eq!(report.dependents, std::slice::from_ref(&expected));
    assert_eq!(ask(&site, ALICE, &module, &ak_chain).await.codes(), ["authority.key-revoked"]);
    assert_eq!(ask(&site, ALICE, &other, &other_chain).await.status, 201);
    assert_eq!(site.challenge(ALICE, &module, "device").await.codes(), ["authority.key-revoked"]);
    // An appraisal without a certificate says so too.
    let nonce = site.nonce(ALICE, json!({"purpose": "appraisal"})).await;
    let body = json!({"csr": b64(&module.csr(&nonce, &ak_chain, None)), "nonce": hex(&nonce)});
    let appraised = site.post("/v1/appraisals", Some(ALICE), body).await.json();
    assert_eq!(
        (&appraised["verdict"], &appraised["reasons"][0]["code"]),
        (&json!("rejected"), &json!("authority.key-revoked"))
    );

    let crl = list(&site, "attestation").await;
    let now = site.clock.now();
    assert!(!is_good(&site, &ak_chain[1], &ak_chain[0], &crl, now + 1));
    assert!(is_good(&site, &ak_chain[1], &other_chain[0], &crl, now + 1));
    let view = CrlView::parse(&crl).unwrap();
    assert_eq!((view.entries().count(), view.this_update(), view.next_update()), (2, now, Some(now + 7 * DAY)));
    assert_eq!(CrlView::parse(&list(&site, "attestation-virtual").await).unwrap().entries().count(), 0);
    assert_eq!(CrlView::parse(&list(&site, "issuing").await).unwrap().entries().count(), 0);
    assert_eq!(site.exchange("GET", "/v1/revocation-lists/any", &[], b"").await.problem(), "not-found");

    // The second time around the dependents go too.
    let report = administration.revoke(&digest(&module.ak), RevocationReason::Superseded, "bert", true).unwrap();
    assert_eq!((report.revoked, &report.dependents), (1, &vec![Dependent { is_revoked: true, ..expected }]));
    let issuing = administration.revocation_list(ListName::Issuing).unwrap();
    let trust = site.exchange("GET", "/v1/trust", &[], b"").await.json();
    let issuing_ca = chain(&trust["issuing"])[0].clone();
    let partial = |certificate: &[u8]| {
        CrlView::parse(&issuing)
            .unwrap()
            .entries()
            .any(|entry| entry.serial() == CertView::parse(certificate).unwrap().serial())
    };
    assert!(partial(&issued) && !partial(&others));
    assert_eq!(CrlView::parse(&issuing).unwrap().issuer(), CertView::parse(&issuing_ca).unwrap().subject());
    // When and why it was revoked first stays.
    let row = administration.attesting_keys().unwrap().into_iter().find(|key| key.device == "device").unwrap();
    assert_eq!(row.revocation.unwrap().reason, RevocationReason::KeyCompromise);
    let unknown = administration.revoke(&[0; 32], RevocationReason::Unspecified, "alma", false).unwrap_err();
    assert!(matches!(unknown, AdministrationError::Store(StoreError::NoSuchKey)), "{unknown:?}");
    let nameless = administration.revoke(&digest(&other.ak), RevocationReason::Unspecified, "", false).unwrap_err();
    assert!(matches!(nameless, AdministrationError::Approver));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_attests_nothing_on_the_word_of_another_either() {
    let site = Site::start().await;
    let first = Module::new(&site.vendor, NOW);
    let ak_chain = chain(&site.enroll(ALICE, &first, "device").await["certificates"]["attest"]);
    let ak = SoftwareKey::generate();
    let ak_public = ak.public(AK_ATTRIBUTES, EccScheme::Ecdsa(HashAlg::Sha256));
    let second = Module { ek: first.ek, ek_certificate: first.ek_certificate, ak, ak_public };
    let first = without_ek(first.ak, first.ak_public);
    // A key that the second attesting key attests, for which the first vouches by its Name.
    let by_link = async || {
        let (nonce, key) = (site.certificate_nonce(ALICE).await, SoftwareKey::generate());
        let statement = |by: &Module, public: &TpmtPublic| {
            let (attest, signature) = by.certify(public, &nonce);
            let certified = TpmCertify { attest, signature, public: Some(public.as_bytes().to_vec()) };
            AttestationStatement::new(oid::STATEMENT_TPM_CERTIFY, certified.to_der())
        };
        let public = key.public(USER_KEY_ATTRIBUTES, EccScheme::Null);
        let statements = vec![statement(&first, &second.ak_public), statement(&second, &public)];
        let csr = crate::made::request(&key, statements, &ak_chain[..1]);
        site.post("/v1/certificates", Some(ALICE), json!({"csr": b64(&csr), "nonce": hex(&nonce)})).await
    };
    assert_eq!(by_link().await.status, 201, "it need not be enrolled itself");
    administration(&site).share("device", "bob", "alma").unwrap();
    site.enroll(BOB, &second, "device").await;
    assert_eq!(by_link().await.codes(), ["authority.other-account"]);
    administration(&site).revoke(&digest(&second.ak), RevocationReason::KeyCompromise, "alma", false).unwrap();
    assert_eq!(by_link().await.codes(), ["authority.key-revoked"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_that_sign_one_evidence_none_may_be_revoked() {
    // Whichever of the two stands for the module, the other is asked about too.
    for revoked in [0, 1] {
        several_sign(revoked).await;
    }
}

async fn several_sign(revoked: usize) {
    let site = Site::start_with(&format!("policy = 'lab'\n{}", every_method(""))).await;
    let keys = [SoftwareKey::generate(), SoftwareKey::generate()];
    let mut certificates = Vec::new();
    for (key, device) in keys.iter().zip(["hsm", "hsm-2"]) {
        let enrolled = enroll(&site, DAVE, key, device, json!({"method": "first-use"})).await;
        certificates.push(chain(&enrolled["certificates"]["pkix_evidence"]).swap_remove(0));
    }
    let signed_by_both = async || {
        let (nonce, key) = (site.certificate_nonce(DAVE).await, SoftwareKey::generate());
        let tbs = TbsEvidence::new().transaction(|claims| claims.nonce(&nonce)).key("key-1", |claims| {
            let claims = claims.spki(key.spki().as_der()).extractable(false).sensitive(true);
            claims.never_extractable(true).local(true).purposes(&[Purpose::Sign])
        });
        let tbs = tbs.to_der();
        let algorithm = build::algorithm_identifier(oid::ECDSA_WITH_SHA256);
        let evidence =
            keys.iter().zip(&certificates).fold(Evidence::new(tbs.clone()), |evidence, (ak, certificate)| {
                evidence.signed_by_certificate(certificate, &algorithm, &ak.sign_der(&tbs))
            });
        let statement = AttestationStatement::new(oid::STATEMENT_PKIX_EVIDENCE, evidence.to_der());
        let csr = crate::made::request(&key, vec![statement], &[]);
        let body = json!({"csr": b64(&csr), "nonce": hex(&nonce)});
        site.post("/v1/certificates", Some(DAVE), body).await
    };
    let reply = signed_by_both().await;
    assert_eq!(reply.status, 201, "{}", String::from_utf8_lossy(&reply.body));
    administration(&site).revoke(&digest(&keys[revoked]), RevocationReason::KeyCompromise, "alma", false).unwrap();
    assert_eq!(signed_by_both().await.codes(), ["authority.key-revoked"], "{revoked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_module_is_replaced_with_leave_and_once() {
    let site = Site::start().await;
    let (old, new, third) =
        (Module::new(&site.vendor, NOW), Module::new(&site.vendor, NOW), Module::new(&site.vendor, NOW));
    let old_chain = chain(&site.enroll(ALICE, &old, "device").await["certificates"]["attest"]);
    assert_eq!(site.challenge(ALICE, &new, "device").await.problem(), "device-conflict");
    let administration = administration(&site);
    assert_eq!(administration.approve_replacement("device", "alma", 2).unwrap(), 1);
    // The old module's key is revoked from the moment of the leave.
    assert_eq!(ask(&site, ALICE, &old, &old_chain).await.codes(), ["authority.key-revoked"]);
    // Leave is for the device's account, not for others.
    assert_eq!(site.challenge(BOB, &new, "device").await.problem(), "device-conflict");
    // A key that the old module enrolls meanwhile lasts no longer than it has the name.
    let ak = SoftwareKey::generate();
    let ak_public = ak.public(AK_ATTRIBUTES, EccScheme::Ecdsa(HashAlg::Sha256));
    let old = Module { ek: old.ek, ek_certificate: old.ek_certificate, ak, ak_public };
    let meanwhile = chain(&site.enroll(ALICE, &old, "device").await["certificates"]["attest"]);
    assert_eq!(ask(&site, ALICE, &old, &meanwhile).await.status, 201);
    let new_chain = chain(&site.enroll(ALICE, &new, "device").await["certificates"]["attest"]);
    assert_eq!(ask(&site, ALICE, &new, &new_chain).await.status, 201);
    assert_eq!(ask(&site, ALICE, &old, &meanwhile).await.codes(), ["authority.key-revoked"]);
    let nonce = site.enrolment_nonce(ALICE).await;
    let reply = renew(&site, ALICE, &old.ak, &nonce, quoted(&old, &nonce)).await;
    assert_eq!(reply.codes(), ["authority.key-revoked"]);
    assert_eq!(site.challenge(ALICE, &third, "device").await.problem(), "device-conflict");
    // Unused leave ends.
    administration.approve_replacement("device", "alma", 2).unwrap();
    site.clock.advance(2 * DAY + 1);
    assert_eq!(site.challenge(ALICE, &third, "device").await.problem(), "device-conflict");
    for (days, device) in [(0, "device"), (91, "device"), (1, "nothing")] {
        assert!(administration.approve_replacement(device, "alma", days).is_err(), "{days} {device}");
    }
    // Who gave leave stands in the records.
    let store = Sqlite::open(&site.state().join("authority.sqlite")).unwrap();
    let by: Vec<String> = (1..40)
        .filter_map(|id| store.decision(id).unwrap())
        .filter(|decision| decision.kind == "replacement")
        .map(|decision| decision.account)
        .collect();
    assert_eq!(by, ["administrator:alma", "administrator:alma"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_account_has_its_own_key_on_a_device_that_is_shared() {
    let site = Site::start().await;
    let first = Module::new(&site.vendor, NOW);
    let enrolled = site.enroll(ALICE, &first, "device").await;
    // The same module with another attesting key, as another tenant has it.
    let ak = SoftwareKey::generate();
    let ak_public = ak.public(AK_ATTRIBUTES, EccScheme::Ecdsa(HashAlg::Sha256));
    let second = Module { ek: first.ek, ek_certificate: first.ek_certificate.clone(), ak, ak_public };
    assert_eq!(site.challenge(BOB, &second, "device").await.problem(), "device-conflict");
    administration(&site).share("device", "bob", "alma").unwrap();
    let bobs = chain(&site.enroll(BOB, &second, "device").await["certificates"]["attest"]);
    let alices = chain(&enrolled["certificates"]["attest"]);
    let first = without_ek(first.ak, first.ak_public);
    // Each key is of the account that enrolled it.
    assert_eq!(ask(&site, BOB, &second, &bobs).await.status, 201);
    assert_eq!(ask(&site, ALICE, &first, &alices).await.status, 201);
    assert_eq!(ask(&site, ALICE, &second, &bobs).await.codes(), ["authority.other-account"]);
    assert_eq!(ask(&site, BOB, &first, &alices).await.codes(), ["authority.other-account"]);
    let keys = administration(&site).attesting_keys().unwrap();
    let owners: Vec<(&str, &str)> = keys.iter().map(|key| (key.device.as_str(), key.account.as_str())).collect();
    assert_eq!(owners.len(), 2);
    assert!(owners.contains(&("device", "alice")) && owners.contains(&("device", "bob")));
    assert!(administration(&site).share("nothing", "bob", "alma").is_err());
}

/// What of a module makes statements.
fn without_ek(ak: SoftwareKey, ak_public: vouchsafe_evidence::tpm::TpmtPublic) -> Module {
    Module { ek: crate::module::EndorsementKey::rsa(), ek_certificate: Vec::new(), ak, ak_public }
}
