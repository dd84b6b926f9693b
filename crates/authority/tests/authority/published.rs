//! What certificates publish of the key attestation they rest on.

use serde_json::json;
use vouchsafe_evidence::bundle::AttestationBundle;
use vouchsafe_evidence::bundle::AttestationStatement;
use vouchsafe_evidence::emit::{Evidence, Purpose, TbsEvidence};
use vouchsafe_evidence::input::{InputFile, Submission};
use vouchsafe_evidence::oid;
use vouchsafe_evidence::statement::{FormatId, TpmCertify};
use vouchsafe_evidence::tpm::EccScheme;
use vouchsafe_evidence::tpm::template::USER_KEY_ATTRIBUTES;
use vouchsafe_evidence::x509::extensions::{BasicConstraints, CertificatePolicies, GeneralName, KeyUsage};
use vouchsafe_evidence::x509::{CertView, build};
use vouchsafe_verifier::{Instant, Policy, Request, TrustStore, Verdict, verify};

use crate::made::{quote_statement, request, x509_statement};
use crate::module::{Module, SoftwareKey, pem, sign_certificate};
use crate::site::{ALICE, NOW, Reply, Site, b64, chain, digest_hex, hex};

const DAY: i64 = 86_400;
const STATEMENT: &str = "[[profiles]]\nname = 'device'\npublish_key_attestation = 'statement'\n\
                         formats = ['tpm-certify-x509', 'pkix-evidence']\ndevices = 'any'\n";

struct Enrolled {
    module: Module,
    attest: Vec<Vec<u8>>,
    x509: Vec<Vec<u8>>,
}

async fn enrolled(site: &Site, device: &str) -> Enrolled {
    let module = Module::new(&site.vendor, NOW);
    let answer = site.enroll(ALICE, &module, device).await;
    let certificates = &answer["certificates"];
    Enrolled { module, attest: chain(&certificates["attest"]), x509: chain(&certificates["certify_x509"]) }
}

async fn asked(site: &Site, csr: &[u8], nonce: &[u8]) -> Reply {
    site.post("/v1/certificates", Some(ALICE), json!({"csr": b64(csr), "nonce": hex(nonce)})).await
}

fn issued(reply: &Reply) -> CertView {
    assert_eq!(reply.status, 201, "{}", String::from_utf8_lossy(&reply.body));
    CertView::parse(&chain(&reply.json()["certificates"])[0]).unwrap()
}

/// A certificate for a fresh key by a tpm-certify-x509 statement with a quote beside it.
async fn published(site: &Site, device: &Enrolled) -> CertView {
    let nonce = site.certificate_nonce(ALICE).await;
    let key = SoftwareKey::generate();
    let statements = vec![
        quote_statement(&device.module, &[[0xA1; 32], [0xB2; 32]], &nonce),
        x509_statement(&device.module, &key, &nonce, &device.x509, NOW),
    ];
    let both = [device.attest[0].clone(), device.x509[0].clone()];
    issued(&asked(site, &request(&key, statements, &both), &nonce).await)
}

/// What a stranger with the authority's trust folder and no more finds years later.
fn judged(site: &Site, certificate: &[u8], at: i64) -> Verdict {
    let root = std::fs::read(site.state().join("ca/attestation-root.crt")).unwrap();
    let trust = TrustStore::from_files([("tpm-certify-x509/root.pem".to_owned(), root)]).unwrap();
    let submission = Submission::recognize(&[InputFile { name: "certificate", bytes: certificate }], None).unwrap();
    let policy = Policy::named("default").unwrap();
    verify(&Request::new(&submission, &trust, &policy, Instant::from_unix_seconds(at)))
}

fn bundle_of(certificate: &CertView) -> AttestationBundle {
    let extension = certificate.extension(oid::AA_ATTESTATION).unwrap().expect("a published statement");
    assert!(!extension.is_critical(), "whoever does not know it must be able to pass it over");
    AttestationBundle::parse(extension.value()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_statement_alone_is_published_and_holds_years_later() {
    let site = Site::start_with(STATEMENT).await;
    let device = enrolled(&site, "device-1").await;
    let certificate = published(&site, &device).await;
    let bundle = bundle_of(&certificate);
    let formats: Vec<_> = bundle.statements().iter().map(|statement| statement.format().unwrap()).collect();
    assert_eq!(formats, [FormatId::TpmCertifyX509]);
    let names_module = |of: &CertView| of.extensions().any(|extension| extension.oid() == oid::SUBJECT_ALT_NAME);
    assert!(names_module(&CertView::parse(&device.x509[0]).unwrap()), "the one that the device has does");
    let certificates: Vec<_> = bundle.certificates().collect();
    assert_eq!(certificates.len(), 1);
    assert!(!names_module(certificates[0]));
    let original = CertView::parse(&device.x509[0]).unwrap();
    assert_eq!(certificates[0].not_after(), NOW, "it is of no use for new evidence");
    assert_ne!(certificates[0].serial(), original.serial(), "one issuer uses a serial number once");

    // Years later the certificate itself says for which time it is to be judged.
    assert_eq!(certificate.not_before(), NOW - 60, "the statement's own");
    let verdict = judged(&site, certificate.as_der(), certificate.not_before());
    assert!(verdict.is_accepted(), "{:?}", verdict.reasons());
    assert!(verdict.subject().unwrap().same_key(certificate.spki()));
    assert!(verdict.platform().claims.is_empty());
    let late = judged(&site, certificate.as_der(), NOW + DAY);
    assert_eq!(late.reasons()[0].code(), "chain.expired");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_published_of_an_attesting_key_hides_no_module_beneath_new_evidence() {
    let site = Site::start_with(STATEMENT).await;
    let device = enrolled(&site, "device-1").await;
    let certificate = published(&site, &device).await;
    let nameless = bundle_of(&certificate).certificates().next().unwrap().as_der().to_vec();
    let ask = async |chain: &[Vec<u8>]| {
        let (nonce, key) = (site.certificate_nonce(ALICE).await, SoftwareKey::generate());
        let statement = x509_statement(&device.module, &key, &nonce, chain, NOW);
        asked(&site, &request(&key, vec![statement], chain), &nonce).await
    };
    // Not even at once, when another verifier could be shown it.
    site.clock.advance(1);
    assert_eq!(ask(&[nameless]).await.codes(), ["chain.expired"]);
    assert_eq!(ask(&device.x509).await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_gets_the_same_certificate_alone() {
    let site = Site::start_with(STATEMENT).await;
    let device = enrolled(&site, "device-1").await;
    let (nonce, key) = (site.certificate_nonce(ALICE).await, SoftwareKey::generate());
    let statement = x509_statement(&device.module, &key, &nonce, &device.x509, NOW);
    let csr = request(&key, vec![statement], &device.x509);
    let first = asked(&site, &csr, &nonce).await;
    assert_eq!(first.status, 201, "{}", String::from_utf8_lossy(&first.body));
    assert_eq!(asked(&site, &csr, &nonce).await.body, first.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_published_statement_cannot_be_altered_or_moved() {
    let site = Site::start_with(STATEMENT).await;
    let device = enrolled(&site, "device-1").await;
    let certificate = published(&site, &device).await;
    let value = certificate.extension(oid::AA_ATTESTATION).unwrap().unwrap().value().to_vec();
    let with_statement = |spki, value: &[u8]| {
        let (name, key) = (build::distinguished_name(&[(oid::COMMON_NAME, "CA")]).unwrap(), SoftwareKey::generate());
        let extension = build::extension(oid::AA_ATTESTATION, false, value);
        sign_certificate((&name, &key), certificate.subject().clone(), spki, NOW, vec![extension])
    };
    assert!(judged(&site, &with_statement(certificate.spki().clone(), &value), NOW).is_accepted());
    let moved = judged(&site, &with_statement(SoftwareKey::generate().spki(), &value), NOW);
    assert_eq!(moved.reasons()[0].code(), "bind.key-mismatch");
    // The last octet of the statement's signature, before the certificates of the bundle.
    let public = device.module.ak_public.as_bytes();
    let statement = bundle_of(&certificate).statements()[0].clone();
    let at = value.windows(statement.stmt().len()).position(|window| window == statement.stmt()).unwrap();
    assert!(!value.windows(public.len()).any(|window| window == public));
    for offset in [40, statement.stmt().len() / 2, statement.stmt().len() - 1] {
        let mut altered = value.clone();
        altered[at + offset] ^= 1;
        let altered = with_statement(certificate.spki().clone(), &altered);
        let submission = Submission::recognize(&[InputFile { name: "certificate", bytes: &altered }], None);
        assert!(submission.is_err() || !judged(&site, &altered, NOW).is_accepted(), "octet {offset}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_of_other_formats_are_refused_by_the_profile() {
    let site = Site::start_with(STATEMENT).await;
    let device = enrolled(&site, "device-1").await;
    let nonce = site.certificate_nonce(ALICE).await;
    let reply = asked(&site, &device.module.csr(&nonce, &device.attest, None), &nonce).await;
    assert_eq!(reply.codes(), ["authority.format-not-permitted"]);
    // Nor beside one of the format that is named: the verdict would rest on both.
    let (nonce, key) = (site.certificate_nonce(ALICE).await, SoftwareKey::generate());
    let public = key.public(USER_KEY_ATTRIBUTES, EccScheme::Null);
    let (attest, signature) = device.module.certify(&public, &nonce);
    let certify = TpmCertify { attest, signature, public: Some(public.as_bytes().to_vec()) };
    let statements = vec![
        x509_statement(&device.module, &key, &nonce, &device.x509, NOW),
        AttestationStatement::new(oid::STATEMENT_TPM_CERTIFY, certify.to_der()),
    ];
    let both = [device.attest[0].clone(), device.x509[0].clone()];
    let reply = asked(&site, &request(&key, statements, &both), &nonce).await;
    assert_eq!(reply.codes(), ["authority.format-not-permitted"]);
    // Two of one format: which one is meant is not for the authority to guess.
    let nonce = site.certificate_nonce(ALICE).await;
    let statement = || x509_statement(&device.module, &key, &nonce, &device.x509, NOW);
    let reply = asked(&site, &request(&key, vec![statement(), statement()], &both), &nonce).await;
    assert_eq!(reply.codes(), ["authority.statement-not-alone"]);
    // Nothing of the kind without the setting.
    let site = Site::start().await;
    let device = enrolled(&site, "device-1").await;
    let certificate = published(&site, &device).await;
    assert!(certificate.extension(oid::AA_ATTESTATION).unwrap().is_none());
    assert!(certificate.extension(oid::CERTIFICATE_POLICIES).unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attesting_key_of_another_authority_that_names_its_module_is_not_published() {
    let site = Site::start_with(STATEMENT).await;
    let other = Site::start().await;
    let module = Module::new(&other.vendor, NOW);
    let answer = other.enroll(ALICE, &module, "device-1").await;
    let x509 = chain(&answer["certificates"]["certify_x509"]);
    let root = other.state().join("ca/attestation-root.crt");
    std::fs::copy(root, site.state().join("trust/tpm-certify-x509/other.pem")).unwrap();
    site.running.as_ref().unwrap().reload_trust().unwrap();
    let (nonce, key) = (site.certificate_nonce(ALICE).await, SoftwareKey::generate());
    let statement = x509_statement(&module, &key, &nonce, &x509, NOW);
    let reply = asked(&site, &request(&key, vec![statement], &x509), &nonce).await;
    assert_eq!(reply.codes(), ["authority.statement-names-module"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_assurance_level_is_the_first_that_is_reached() {
    let policies = |certificate: &CertView| -> Vec<String> {
        let extension = certificate.extension(oid::CERTIFICATE_POLICIES).unwrap();
        let policies = extension.map(|of| CertificatePolicies::parse(of.value()).unwrap());
        policies.map(|of| of.policies().iter().map(ToString::to_string).collect()).unwrap_or_default()
    };
    let levels =
        |levels: &str| format!("[[profiles]]\nname = 'device'\npublish_key_attestation = 'assurance'\n{levels}\n");
    for (settings, expected) in [
        (levels("assurance = 'ad-cs'"), vec!["1.3.6.1.4.1.311.21.31"]),
        (
            levels(
                "assurance = [{ oid = '1.2.3.4.3', claims = { 'key.dual_control' = true } }, \
                 { oid = '1.2.3.4.2', claims = { 'attesting_key.environment' = 'module', 'key.device_bound' = true } }, \
                 { oid = '1.2.3.4.1', claims = { 'key.device_bound' = true } }]",
            ),
            vec!["1.2.3.4.2"],
        ),
        (levels("assurance = [{ oid = '1.2.3.4.1', claims = { 'attesting_key.bootstrap' = 'ceremony' } }]"), vec![]),
    ] {
        let site = Site::start_with(&settings).await;
        let device = enrolled(&site, "device-1").await;
        let certificate = published(&site, &device).await;
        assert_eq!(policies(&certificate), expected, "{settings}");
        assert!(certificate.extension(oid::AA_ATTESTATION).unwrap().is_none());
    }
}

/// The settings with a profile that takes names from requests, and an account that may use it.
fn named_by_requests(settings: &str) -> String {
    format!(
        "{}[[accounts]]\nname = 'names'\ntoken_sha256 = '{}'\nmay = ['issue']\nprofiles = ['device']\n",
        settings.replace("devices = 'any'", "devices = 'any'\nsubject = 'request'\nnames.allow = 'true'"),
        digest_hex("names-token")
    )
}

async fn asked_by_name(site: &Site, csr: &dyn Fn(&[u8]) -> Vec<u8>) -> Reply {
    let nonce = site.certificate_nonce("names-token").await;
    let body = json!({"csr": b64(&csr(&nonce)), "nonce": hex(&nonce)});
    site.post("/v1/certificates", Some("names-token"), body).await
}

/// A module that reports by PKIX Evidence, with the certificate of its attesting key.
struct Reporter {
    ak: SoftwareKey,
    certificate: Vec<u8>,
}

impl Reporter {
    fn new(site: &Site, names: Vec<GeneralName>) -> Self {
        let names = (!names.is_empty()).then(|| build::subject_alt_name(false, &names));
        Self::with(site, names.into_iter().collect())
    }

    /// One whose certificate has more extensions.
    fn with(site: &Site, more: Vec<Vec<u8>>) -> Self {
        let ak = SoftwareKey::generate();
        let mut extensions = vec![
            build::basic_constraints(true, BasicConstraints { ca: false, path_length: None }),
            build::key_usage(true, KeyUsage::from_bits(KeyUsage::DIGITAL_SIGNATURE)),
            build::extended_key_usage(false, &[oid::KP_ATTESTATION_KEY]),
        ];
        extensions.extend(more);
        let certificate = site.vendor.certify(ak.spki(), NOW, extensions);
        let folder = site.state().join("trust/pkix-evidence");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("vendor.pem"), pem(&site.vendor.root)).unwrap();
        site.running.as_ref().unwrap().reload_trust().unwrap();
        Self { ak, certificate }
    }

    /// Evidence that names its signer by the key alone, whose certificate stands beside it.
    fn csr_with_certificate_beside(&self, key: &SoftwareKey, nonce: &[u8], more: &[Vec<u8>]) -> Vec<u8> {
        let spki = key.spki();
        let tbs = TbsEvidence::new().transaction(|claims| claims.nonce(nonce)).key("key-1", |claims| {
            claims.spki(spki.as_der()).extractable(false).sensitive(true).never_extractable(true).local(true)
        });
        let tbs = tbs.to_der();
        let algorithm = build::algorithm_identifier(oid::ECDSA_WITH_SHA256);
        let signature = self.ak.sign_der(&tbs);
        let evidence = Evidence::new(tbs).signed_by_key(self.ak.spki().as_der(), &algorithm, &signature).to_der();
        let beside = [std::slice::from_ref(&self.certificate), more].concat();
        request(key, vec![AttestationStatement::new(oid::STATEMENT_PKIX_EVIDENCE, evidence)], &beside)
    }

    fn csr(&self, key: &SoftwareKey, nonce: &[u8], say: impl FnOnce(TbsEvidence) -> TbsEvidence) -> Vec<u8> {
        let spki = key.spki();
        let tbs = TbsEvidence::new().transaction(|claims| claims.nonce(nonce)).key("key-1", |claims| {
            let claims = claims.spki(spki.as_der()).extractable(false).sensitive(true);
            claims.never_extractable(true).local(true).purposes(&[Purpose::Sign])
        });
        let tbs = say(tbs).to_der();
        let algorithm = build::algorithm_identifier(oid::ECDSA_WITH_SHA256);
        let signature = self.ak.sign_der(&tbs);
        let evidence = Evidence::new(tbs).signed_by_certificate(&self.certificate, &algorithm, &signature).to_der();
        request(key, vec![AttestationStatement::new(oid::STATEMENT_PKIX_EVIDENCE, evidence)], &[])
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_is_published_if_it_tells_of_the_one_key_alone() {
    let site = Site::start_with(&named_by_requests(STATEMENT)).await;
    let ask = async |csr: &dyn Fn(&[u8]) -> Vec<u8>| -> Reply { asked_by_name(&site, csr).await };
    let (reporter, key) = (Reporter::new(&site, Vec::new()), SoftwareKey::generate());
    let certificate = issued(&ask(&|nonce| reporter.csr(&key, nonce, |tbs| tbs)).await);
    assert_eq!(certificate.not_before(), NOW - 300);
    assert_eq!(bundle_of(&certificate).statements()[0].oid(), oid::STATEMENT_PKIX_EVIDENCE);

    // A certificate beside it is published too if it is the signer's; others that came along are not.
    let stranger = Module::new(&site.vendor, NOW).ek_certificate;
    let beside = |nonce: &[u8]| reporter.csr_with_certificate_beside(&key, nonce, std::slice::from_ref(&stranger));
    let certificate = issued(&ask(&beside).await);
    let certificates: Vec<Vec<u8>> = bundle_of(&certificate).certificates().map(|of| of.as_der().to_vec()).collect();
    assert_eq!(certificates, std::slice::from_ref(&reporter.certificate));

    let with_platform = |nonce: &[u8]| reporter.csr(&key, nonce, |tbs| tbs.platform(|claims| claims.vendor("Acme")));
    assert_eq!(ask(&with_platform).await.codes(), ["authority.evidence-not-key-only"]);
    let other = SoftwareKey::generate().spki();
    let two_keys = |nonce: &[u8]| {
        reporter.csr(&key, nonce, |tbs| tbs.key("key-2", |claims| claims.spki(other.as_der()).extractable(false)))
    };
    assert_eq!(ask(&two_keys).await.codes(), ["authority.evidence-not-key-only"]);
    let names = vec![GeneralName::Dns(b"module-4711.example".to_vec())];
    let named = Reporter::new(&site, names);
    let reply = ask(&|nonce| named.csr(&key, nonce, |tbs| tbs)).await;
    assert_eq!(reply.codes(), ["authority.statement-names-module"]);
    // Makers write serial numbers and firmware into extensions of their own.
    let serial = build::extension(oid::Oid::from_dotted("1.3.6.1.4.1.41482.3.7").unwrap(), false, &[2, 2, 0x12, 0x67]);
    let named = Reporter::with(&site, vec![serial]);
    let reply = ask(&|nonce| named.csr(&key, nonce, |tbs| tbs)).await;
    assert_eq!(reply.codes(), ["authority.statement-names-module"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_host_software_asserts_reaches_no_assurance_level() {
    let settings = "policy = 'lab'\n[[profiles]]\nname = 'device'\ndevices = 'any'\npublish_key_attestation = 'assurance'\n\
                    assurance = [{ oid = '1.2.3.4.1', claims = { 'key.local' = true } }]\n";
    let site = Site::start_with(&named_by_requests(settings)).await;
    let host = build::certificate_policies(false, &[oid::ENVIRONMENT_HOST]);
    for (more, is_stated) in [(Vec::new(), true), (vec![host], false)] {
        let (reporter, key) = (Reporter::with(&site, more), SoftwareKey::generate());
        let certificate = issued(&asked_by_name(&site, &|nonce| reporter.csr(&key, nonce, |tbs| tbs)).await);
        assert_eq!(certificate.extension(oid::CERTIFICATE_POLICIES).unwrap().is_some(), is_stated);
    }
}
