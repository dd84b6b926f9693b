//! An upstream that errs or lies: every certificate that is not the one which was decided, and every answer that is not its.

use vouchsafe_evidence::oid::Oid;
use vouchsafe_evidence::x509::NameView;
use vouchsafe_evidence::x509::build::CertificateTemplate;
use vouchsafe_evidence::x509::extensions::{BasicConstraints, GeneralName};

use super::tap::Seen;
use super::*;
use crate::cmp::client::{CP, ERROR, PKICONF};
use crate::module::{pem, sign_certificate};
use crate::site::NOW;

/// A CA whose key the test has.
pub(super) struct Ca {
    name: NameView,
    key: SoftwareKey,
    pub(super) certificate: Vec<u8>,
}

fn name(text: &str) -> NameView {
    build::distinguished_name(&[(oid::COMMON_NAME, text)]).unwrap()
}

impl Ca {
    pub(super) fn new(common_name: &str) -> Self {
        let key = SoftwareKey::generate();
        let extensions = vec![
            build::basic_constraints(true, BasicConstraints { ca: true, path_length: None }),
            build::key_usage(true, KeyUsage::from_bits(KeyUsage::KEY_CERT_SIGN | KeyUsage::CRL_SIGN)),
        ];
        let issuer = name(common_name);
        let certificate = sign_certificate((&issuer, &key), issuer.clone(), key.spki(), NOW, extensions);
        Self { name: issuer, key, certificate }
    }

    pub(super) fn issue(&self, change: impl FnOnce(&mut CertificateTemplate), spki: &SpkiView) -> Vec<u8> {
        let mut template = CertificateTemplate {
            serial: vec![1],
            algorithm: build::algorithm_identifier(oid::ECDSA_WITH_SHA256),
            issuer: self.name.clone(),
            not_before: NOW - 60,
            not_after: NOW + 30 * 86_400,
            subject: name("device-1"),
            spki: spki.clone(),
            extensions: usages(KeyUsage::DIGITAL_SIGNATURE, &[oid::KP_CLIENT_AUTH]),
        };
        change(&mut template);
        let tbs = template.tbs_der();
        build::assemble(&tbs, &template.algorithm, &self.key.sign_der(&tbs))
    }
}

fn usages(bits: u16, purposes: &[Oid]) -> Vec<Vec<u8>> {
    vec![build::key_usage(true, KeyUsage::from_bits(bits)), build::extended_key_usage(false, purposes)]
}

/// Who answers a message, by this secret.
fn answer_to(seen: &Seen, secret: &str) -> Client {
    let (transaction, nonce, ..) = parts(&seen.body);
    let mut client = Client::new(Protection::pbm("ra", secret));
    client.transaction = transaction;
    client.answers = Some(nonce);
    client
}

fn answered(seen: &Seen, number: u8, body: &[u8]) -> (u16, &'static str, Vec<u8>) {
    (200, "", answer_to(seen, RA_SECRET).message(number, body))
}

/// CertRepMessage with a status and what follows it.
fn response(status: u64, texts: &[&str], fail_info: Option<u8>, certificate: Option<&[u8]>) -> Vec<u8> {
    let response = write(|writer| {
        writer.sequence(|response| {
            response.uint(0).raw(&status_info(status, texts, fail_info));
            if let Some(certificate) = certificate {
                response.sequence(|pair| drop(pair.primitive(Tag::context_constructed(0), certificate).clone()));
            }
        });
    });
    sequence(&sequence(&response))
}

fn status_info(status: u64, texts: &[&str], fail_info: Option<u8>) -> Vec<u8> {
    write(|writer| {
        writer.sequence(|info| {
            info.uint(status);
            if !texts.is_empty() {
                info.sequence(|list| {
                    for text in texts {
                        list.string(Tag::UTF8_STRING, text);
                    }
                });
            }
            if let Some(bit) = fail_info {
                let mut octets = vec![0; usize::from(bit / 8) + 1];
                *octets.last_mut().unwrap() = 0x80 >> (bit % 8);
                info.bit_string(&octets, 7 - bit % 8);
            }
        });
    })
}

async fn liar(ca: &Ca) -> (Site, Tap) {
    let tap = Tap::start(Backend::Nobody).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    fs::write(&file, pem(&ca.certificate)).unwrap();
    let settings = upstream(dir.path(), &tap, &file, "/cmp");
    (front(dir, &settings).await, tap)
}

pub(super) fn granting(certificate: Vec<u8>) -> Action {
    Action::Answer(Box::new(move |seen| answered(seen, CP, &response(0, &[], None, Some(&certificate)))))
}

pub(super) fn confirming() -> Action {
    Action::Answer(Box::new(|seen| answered(seen, PKICONF, &[5, 0])))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_not_what_was_decided_is_given_to_nobody() {
    type Change = Box<dyn FnOnce(&mut CertificateTemplate)>;
    let (ca, stranger) = (Ca::new("Upstream CA"), Ca::new("Upstream CA"));
    let (front, tap) = liar(&ca).await;
    let (module, ak_chain) = enrolled(&front, ALICE, "device-1").await;
    let dns = |host: &str| build::subject_alt_name(false, &[GeneralName::Dns(host.as_bytes().to_vec())]);
    let with = |extension: Vec<u8>| -> Change { Box::new(move |template| template.extensions.push(extension)) };
    let other = SoftwareKey::generate().spki();
    let changes: Vec<(&str, Change)> = vec![
        ("another key", Box::new(move |template| template.spki = other)),
        ("another subject", Box::new(|template| template.subject = name("device-2"))),
        ("other alternative names", with(dns("bank.example"))),
        ("one of a CA", with(build::basic_constraints(true, BasicConstraints { ca: true, path_length: None }))),
        (
            "other purposes",
            Box::new(|template| {
                template.extensions = usages(KeyUsage::DIGITAL_SIGNATURE, &[oid::KP_CLIENT_AUTH, oid::KP_CODE_SIGNING]);
            }),
        ),
        (
            "other purposes",
            Box::new(|template| {
                template.extensions = vec![build::key_usage(true, KeyUsage::from_bits(KeyUsage::DIGITAL_SIGNATURE))];
            }),
        ),
        (
            "one of a CA",
            Box::new(|template| {
                let bits = KeyUsage::DIGITAL_SIGNATURE | KeyUsage::KEY_CERT_SIGN;
                template.extensions = usages(bits, &[oid::KP_CLIENT_AUTH]);
            }),
        ),
        ("valid at other times", Box::new(|template| template.not_after = NOW + 91 * 86_400)),
        ("valid at other times", Box::new(|template| template.not_before = NOW - 30 * 86_400)),
        ("valid at other times", Box::new(|template| template.not_after = NOW - 1)),
        ("valid at other times", Box::new(|template| template.not_before = NOW + 3_600)),
        ("is critical", with(build::extension(Oid::constant("1.2.3.4"), true, &[5, 0]))),
        ("its extension", with(build::extension(oid::AA_ATTESTATION, false, &[0x30, 0]))),
        ("serial number", Box::new(|template| template.serial = vec![1; 21])),
        ("not signed by the CA", Box::new(|template| template.issuer = name("Another CA"))),
    ];
    for (sentence, change) in changes {
        let key = SoftwareKey::generate();
        let body = asked(&front, &module, &ak_chain, &key).await;
        tap.then([granting(ca.issue(change, &key.spki())), confirming()]);
        refused_as(&front, &body, sentence, &tap).await;
    }
    // By somebody who has the CA's name, and not its key.
    let key = SoftwareKey::generate();
    let body = asked(&front, &module, &ak_chain, &key).await;
    tap.then([granting(stranger.issue(|_| {}, &key.spki())), confirming()]);
    refused_as(&front, &body, "not signed by the CA", &tap).await;
    tap.then([granting(b"\x30\x03\x02\x01\x01".to_vec())]);
    let body = asked(&front, &module, &ak_chain, &key).await;
    assert_eq!(certify(&front, &body).await.status / 100, 4);
    tap.seen();

    // And the one that is right: with a serial number that another certificate of another CA may have too.
    let key = SoftwareKey::generate();
    let body = asked(&front, &module, &ak_chain, &key).await;
    tap.then([granting(ca.issue(|_| {}, &key.spki())), confirming()]);
    assert_eq!(leaf(&certify(&front, &body).await).serial(), [1]);
    // The same number twice by one CA is no number: it is not recorded, and said so to the CA.
    let key = SoftwareKey::generate();
    let body = asked(&front, &module, &ak_chain, &key).await;
    tap.seen();
    tap.then([granting(ca.issue(|_| {}, &key.spki())), confirming()]);
    assert_eq!(certify(&front, &body).await.status, 500);
    assert!(rejects(&tap.seen()[1]));
}

/// Whether a certConf says that the certificate is not taken.
fn rejects(seen: &Seen) -> bool {
    let (_, _, kind, body) = parts(&seen.body);
    assert_eq!(kind, 24);
    let mut status = Element::parse(&body, "certConf").unwrap().reader().sequence("CertStatus").unwrap();
    status.octet_string("certHash").unwrap();
    status.element().unwrap();
    !status.is_empty() && status.sequence("statusInfo").unwrap().uint("status").unwrap() == 2
}

async fn refused_as(front: &Site, body: &Value, sentence: &str, tap: &Tap) {
    let reply = certify(front, body).await;
    assert_eq!(reply.codes(), ["authority.upstream-certificate"], "{sentence}");
    let said = reply.json()["violations"][0]["message"].as_str().unwrap().to_owned();
    assert!(said.contains(sentence), "{sentence}: {said}");
    let seen = tap.seen();
    assert_eq!(seen.len(), 2, "{sentence}");
    assert!(rejects(&seen[1]), "{sentence}");
    // It is decided: the same again is told the same, and nobody is asked.
    assert_eq!(certify(front, body).await.codes(), ["authority.upstream-certificate"]);
    assert!(tap.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_not_the_upstreams_does_not_count() {
    type Alter = Box<dyn Fn(&Seen, Client, Vec<u8>) -> Vec<u8> + Send>;
    let (ca, stranger) = (Ca::new("Upstream CA"), Ca::new("Stranger"));
    let (front, tap) = liar(&ca).await;
    let (module, ak_chain) = enrolled(&front, ALICE, "device-1").await;
    let key = SoftwareKey::generate();
    let body = asked(&front, &module, &ak_chain, &key).await;
    let granted = response(0, &[], None, Some(&ca.issue(|_| {}, &key.spki())));
    let signer = Arc::new(stranger.key);
    let signed = Protection::Signature { key: Arc::clone(&signer), chain: vec![stranger.certificate.clone()] };
    let impostor = ca.issue(|template| template.spki = signer.spki(), &key.spki());
    let device = Protection::Signature { key: signer, chain: vec![impostor] };
    let alterations: Vec<(&str, Alter)> = vec![
        (
            "unprotected",
            Box::new(|_, client, body| Client { protection: Protection::None, ..client }.message(CP, &body)),
        ),
        (
            "another secret",
            Box::new(|_, client, body| {
                Client { protection: Protection::pbm("ra", "another secret than theirs"), ..client }.message(CP, &body)
            }),
        ),
        (
            "a stranger's signature",
            Box::new(move |_, client, body| Client { protection: signed.clone(), ..client }.message(CP, &body)),
        ),
        (
            "the signature of a certificate of the CA that is no CA's",
            Box::new(move |_, client, body| Client { protection: device.clone(), ..client }.message(CP, &body)),
        ),
        (
            "another transaction",
            Box::new(|_, client, body| Client { transaction: vec![9; 16], ..client }.message(CP, &body)),
        ),
        (
            "an answer to another message",
            Box::new(|_, client, body| Client { answers: Some(vec![9; 16]), ..client }.message(CP, &body)),
        ),
        ("an answer to nothing", Box::new(|_, client, body| Client { answers: None, ..client }.message(CP, &body))),
        ("another type", Box::new(|_, client, body| client.message(1, &body))),
        ("the request, sent back", Box::new(|seen, _, _| seen.body.clone())),
        ("no DER", Box::new(|_, client, body| [client.message(CP, &body), vec![0]].concat())),
    ];
    for (what, alter) in alterations {
        let granted = granted.clone();
        tap.then([Action::Answer(Box::new(move |seen| {
            (200, "", alter(seen, answer_to(seen, RA_SECRET), granted.clone()))
        }))]);
        let reply = certify(&front, &body).await;
        assert_eq!((reply.status, reply.problem().as_str()), (503, "upstream-unavailable"), "{what}");
    }
    tap.then([Action::Answer(Box::new(move |seen| answered(seen, CP, &granted))), confirming()]);
    leaf(&certify(&front, &body).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_upstream_says_is_told_within_bounds() {
    let ca = Ca::new("Upstream CA");
    let (front, tap) = liar(&ca).await;
    let (module, ak_chain) = enrolled(&front, ALICE, "device-1").await;
    let long = "x".repeat(5_000);
    for (number, body, wanted) in [
        (CP, response(2, &["not for \u{1b}[31mthis\u{202e} name"], Some(19), None), "not for"),
        (CP, response(2, &[&long], None, None), "xxx"),
        (CP, response(3, &["later"], None, None), "asked again later"),
        (ERROR, sequence(&status_info(2, &["no such profile"], Some(2))), "no such profile"),
    ] {
        tap.then([Action::Answer(Box::new(move |seen| answered(seen, number, &body)))]);
        let body = asked(&front, &module, &ak_chain, &SoftwareKey::generate()).await;
        let reply = certify(&front, &body).await;
        assert_eq!((reply.status, reply.codes()), (422, vec!["authority.upstream-rejected".to_owned()]));
        let said = reply.json()["violations"][0]["message"].as_str().unwrap().to_owned();
        assert!(said.contains(wanted) && said.len() < 500, "{said}");
        assert!(!said.chars().any(|character| character.is_control() || character == '\u{202e}'), "{said:?}");
        assert_eq!(certify(&front, &body).await.codes(), ["authority.upstream-rejected"]);
    }
    // It says itself that it is out of order, or that it had this before.
    for (bit, status, code) in [(24, 503, "upstream-unavailable"), (21, 409, "upstream-uncertain")] {
        tap.then([Action::Answer(Box::new(move |seen| {
            answered(seen, ERROR, &sequence(&status_info(2, &[], Some(bit))))
        }))]);
        let body = asked(&front, &module, &ak_chain, &SoftwareKey::generate()).await;
        let reply = certify(&front, &body).await;
        assert_eq!((reply.status, reply.problem().as_str()), (status, code));
    }
}
