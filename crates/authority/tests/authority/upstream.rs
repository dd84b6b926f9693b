//! In front of a CA that is there already: what it sees, what of its answers is taken, and what holds when it is away.

#[path = "upstream/est.rs"]
mod est;
#[path = "upstream/openssl.rs"]
mod openssl;
#[path = "upstream/registered_names.rs"]
mod registered_names;
#[path = "upstream/registrar.rs"]
mod registrar;
#[path = "upstream/several.rs"]
mod several;
#[path = "upstream/tap.rs"]
mod tap;
#[path = "upstream/wrong.rs"]
mod wrong;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use vouchsafe_authority::{Authority, Clock, trust};
use vouchsafe_evidence::oid;
use vouchsafe_evidence::tpm::EccScheme;
use vouchsafe_evidence::tpm::template::USER_KEY_ATTRIBUTES;
use vouchsafe_evidence::x509::der::{Element, Tag};
use vouchsafe_evidence::x509::extensions::KeyUsage;
use vouchsafe_evidence::x509::{CertView, SpkiView, build};

use self::tap::{Action, Backend, Tap};
use crate::cmp::client::{Client, IR, PKICONF, Protection, popo, requests, revocation, sequence, write};
use crate::est::enrolled;
use crate::module::{Module, SoftwareKey};
use crate::site::{ALICE, BOB, Reply, Site, b64, chain, digest_hex, hex};

const RA_SECRET: &str = "what the registration authority knows";
const REAR_PROFILES: &str = "[[profiles]]\nname = 'device'\n[[profiles]]\nname = 'plain'\nsubject = 'request'\n\
                             evidence = 'registration-authority'\nalternative_names = ['permanent-identifier']\n";

/// A file that nobody else may read.
fn secret(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

fn account(name: &str, may: &str, rest: &str) -> String {
    let token = digest_hex(&format!("{name}-token"));
    format!("[[accounts]]\nname = '{name}'\ntoken_sha256 = '{token}'\nmay = [{may}]\n{rest}\n")
}

/// A CA that issues on the word of its registration authority.
async fn rear() -> Arc<Site> {
    let dir = tempfile::tempdir().unwrap();
    let (registrar, plant) =
        (secret(dir.path(), "ra.secret", RA_SECRET), secret(dir.path(), "plant.secret", "a secret of the plant"));
    let cmp = |reference: &str, path: &Path| {
        format!("profiles = ['plain', 'device']\ncmp_reference = '{reference}'\ncmp_secret = '{}'", path.display())
    };
    let accounts = account("registrar", "'issue', 'register'", &cmp("ra", &registrar))
        + &account("plant", "'issue', 'enroll'", &cmp("plant", &plant))
        + &account("unlisted", "'issue', 'register'", "")
        + &account("alice", "'issue', 'enroll'", "");
    let mut site = Site::install_for(dir, REAR_PROFILES, &accounts);
    site.restart().await;
    Arc::new(site)
}

/// An authority whose profile `device` has its certificates from elsewhere.
async fn front(dir: tempfile::TempDir, upstream: &str) -> Site {
    let mut site = Site::install(dir, &format!("{upstream}\n[[profiles]]\nname = 'device'\nupstream = 'rear'\n"));
    site.restart().await;
    site
}

fn upstream(folder: &Path, tap: &Tap, ca: &Path, path: &str) -> String {
    let secret = secret(folder, "upstream.secret", &format!("{RA_SECRET}\n"));
    format!(
        "[[upstreams]]\nname = 'rear'\nurl = 'https://localhost:{}{path}'\ntls_roots = '{}'\nca = '{}'\n\
         timeout_seconds = 2\ncmp = {{ reference = 'ra', secret = '{}' }}\n",
        tap.address.port(),
        tap.root(folder),
        ca.display(),
        secret.display()
    )
}

fn ca_of(rear: &Site) -> PathBuf {
    rear.state().join("ca/issuing-ca.crt")
}

/// Both, with a tap between them.
async fn pair() -> (Site, Arc<Site>, Tap) {
    let rear = rear().await;
    let tap = Tap::start(Backend::Site(Arc::clone(&rear))).await;
    let dir = tempfile::tempdir().unwrap();
    let settings = upstream(dir.path(), &tap, &ca_of(&rear), "/.well-known/cmp/p/plain");
    (front(dir, &settings).await, rear, tap)
}

/// A request for this key, and the body that asks for a certificate.
async fn asked(site: &Site, module: &Module, ak_chain: &[Vec<u8>], key: &SoftwareKey) -> Value {
    let nonce = site.certificate_nonce(ALICE).await;
    let public = key.public(USER_KEY_ATTRIBUTES, EccScheme::Null);
    let csr = module.csr_for(key, &public, &nonce, ak_chain, Some(&[[1; 32], [2; 32]]));
    json!({ "csr": b64(&csr), "nonce": hex(&nonce), "profile": "device" })
}

async fn certify(site: &Site, body: &Value) -> Reply {
    site.post("/v1/certificates", Some(ALICE), body.clone()).await
}

fn leaf(reply: &Reply) -> CertView {
    assert_eq!(reply.status, 201, "{}", String::from_utf8_lossy(&reply.body));
    CertView::parse(&chain(&reply.json()["certificates"])[0]).unwrap()
}

/// CertReqMessages with this subject, key, extensions and proof; written apart from the code under test.
fn crmf(common_name: &str, spki: &SpkiView, extensions: &[Vec<u8>], proof: &[u8]) -> Vec<u8> {
    let subject = build::distinguished_name(&[(oid::COMMON_NAME, common_name)]).unwrap();
    let key = Element::parse(spki.as_der(), "SPKI").unwrap().contents().to_vec();
    let request = write(|writer| {
        writer.sequence(|request| {
            request.uint(0).sequence(|template| {
                template.primitive(Tag::context_constructed(5), subject.as_der());
                template.primitive(Tag::context_constructed(6), &key);
                if !extensions.is_empty() {
                    template.primitive(Tag::context_constructed(9), &extensions.concat());
                }
            });
        });
    });
    sequence(&sequence(&[&request[..], proof].concat()))
}

/// ProofOfPossession raVerified.
const RA_VERIFIED: &[u8] = &[0x80, 0];

/// transactionID, senderNonce, and the tag and contents of the body of a message.
fn parts(message: &[u8]) -> (Vec<u8>, Vec<u8>, u8, Vec<u8>) {
    let mut fields = Element::parse(message, "PKIMessage").unwrap().reader();
    let mut header = fields.sequence("header").unwrap();
    let body = fields.element().unwrap();
    for _ in ["pvno", "sender", "recipient"] {
        header.element().unwrap();
    }
    let (mut transaction, mut nonce) = (Vec::new(), Vec::new());
    while !header.is_empty() {
        let field = header.element().unwrap();
        if field.tag() == Tag::context_constructed(4) {
            transaction = field.reader().octet_string("transactionID").unwrap().to_vec();
        } else if field.tag() == Tag::context_constructed(5) {
            nonce = field.reader().octet_string("senderNonce").unwrap().to_vec();
        }
    }
    (transaction, nonce, body.tag().leading_octet() & 0x1F, body.contents().to_vec())
}

fn contains(octets: &[u8], part: &[u8]) -> bool {
    octets.windows(part.len()).any(|window| window == part)
}

#[tokio::test(flavor = "multi_thread")]
async fn a56_the_upstream_sees_what_was_decided_and_nothing_of_the_evidence() {
    let (front, rear, tap) = pair().await;
    let (module, ak_chain) = enrolled(&front, ALICE, "device-1").await;
    let key = SoftwareKey::generate();
    let body = asked(&front, &module, &ak_chain, &key).await;
    let reply = certify(&front, &body).await;
    let certificate = leaf(&reply);
    let issuing = CertView::parse(&rustls_pem(&ca_of(&rear))).unwrap();
    assert_eq!(certificate.issuer(), issuing.subject());
    assert_eq!(certificate.subject().to_display(), "CN=device-1");
    assert!(certificate.spki().same_key(&key.spki()));
    assert_eq!(chain(&reply.json()["certificates"])[1..], [issuing.as_der().to_vec()]);

    // The request is made anew: byte for byte subject, key, usages, and nothing that the client wrote.
    let seen = tap.seen();
    assert_eq!(seen.len(), 2, "cr and certConf");
    let usages = [
        build::key_usage(true, KeyUsage::from_bits(KeyUsage::DIGITAL_SIGNATURE)),
        build::extended_key_usage(false, &[oid::KP_CLIENT_AUTH]),
    ];
    let (transaction, _, kind, request) = parts(&seen[0].body);
    assert_eq!((kind, request), (2, crmf("device-1", &key.spki(), &usages, RA_VERIFIED)));
    let (same, _, kind, _) = parts(&seen[1].body);
    assert_eq!((kind, same), (24, transaction));
    let bundle = write(|writer| drop(writer.oid(oid::AA_ATTESTATION).clone()));
    let (attest, signature) = module.certify(&key.public(USER_KEY_ATTRIBUTES, EccScheme::Null), b"nonce");
    for message in &seen {
        for secret in [&bundle[..], b"as the client wrote it", &ak_chain[0], module.ak_public.as_bytes()] {
            assert!(!contains(&message.body, secret), "{}", hex(secret));
        }
        assert!(!contains(&message.body, &attest[..8]) && !contains(&message.body, &signature));
        assert!(!message.head.contains("alice"), "{}", message.head);
    }

    // Once more the same, and nobody is asked again.
    let again = certify(&front, &body).await;
    assert_eq!(again.json()["certificates"], reply.json()["certificates"]);
    let other = json!({ "csr": asked(&front, &module, &ak_chain, &SoftwareKey::generate()).await["csr"],
                        "nonce": body["nonce"], "profile": "device" });
    assert_ne!(certify(&front, &other).await.status, 201, "the nonce is spent");
    assert!(tap.seen().is_empty());
}

fn rustls_pem(path: &Path) -> Vec<u8> {
    let blocks = vouchsafe_evidence::pem::read(&fs::read(path).unwrap()).unwrap();
    blocks[0].contents().to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn false_evidence_never_reaches_the_upstream() {
    let (front, _rear, tap) = pair().await;
    let (module, ak_chain) = enrolled(&front, ALICE, "device-1").await;
    let nonce = front.certificate_nonce(ALICE).await;
    let key = SoftwareKey::generate();
    let public = key.public(USER_KEY_ATTRIBUTES & !0x32, EccScheme::Null);
    let csr = module.csr_for(&key, &public, &nonce, &ak_chain, None);
    let refused = certify(&front, &json!({ "csr": b64(&csr), "nonce": hex(&nonce), "profile": "device" })).await;
    assert!(refused.codes().contains(&"tpm.key-not-fixed".to_owned()), "{:?}", refused.codes());
    assert!(tap.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_is_away_costs_no_nonce() {
    let (front, _rear, tap) = pair().await;
    let (module, ak_chain) = enrolled(&front, ALICE, "device-1").await;
    let body = asked(&front, &module, &ak_chain, &SoftwareKey::generate()).await;
    tap.then([
        Action::Hang,
        Action::Answer(Box::new(|_| (503, "", Vec::new()))),
        Action::Answer(Box::new(|_| (302, "Location: https://elsewhere.example/\r\n", Vec::new()))),
        Action::Answer(Box::new(|_| (200, "", vec![0; 300 * 1024]))),
        Action::Answer(Box::new(|_| (200, "", b"no message".to_vec()))),
    ]);
    for _ in 0..5 {
        let reply = certify(&front, &body).await;
        assert_eq!((reply.status, reply.problem().as_str()), (503, "upstream-unavailable"));
    }
    let transactions: Vec<Vec<u8>> = tap.seen().iter().map(|seen| parts(&seen.body).0).collect();
    assert_eq!(transactions.len(), 5);
    assert!(transactions.iter().all(|transaction| *transaction == transactions[0]), "one request, one transaction");
    leaf(&certify(&front, &body).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tls_server_under_another_root_is_told_nothing() {
    let rear = rear().await;
    let (tap, other) = (Tap::start(Backend::Site(Arc::clone(&rear))).await, Tap::start(Backend::Nobody).await);
    let dir = tempfile::tempdir().unwrap();
    let settings = upstream(dir.path(), &tap, &ca_of(&rear), "/.well-known/cmp/p/plain");
    let root = other.root(dir.path());
    assert!(settings.contains(&root), "the file is that of the other");
    let front = front(dir, &settings).await;
    let (module, ak_chain) = enrolled(&front, ALICE, "device-1").await;
    let reply = certify(&front, &asked(&front, &module, &ak_chain, &SoftwareKey::generate()).await).await;
    assert_eq!(reply.problem(), "upstream-unavailable");
    assert!(tap.seen().is_empty());
}

/// What the upstream has issued and nobody has heard of is issued no second time for the same request, not even by another
/// process.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_lost_is_told_as_such() {
    let (mut front, _rear, tap) = pair().await;
    let (module, ak_chain) = enrolled(&front, ALICE, "device-1").await;
    let key = SoftwareKey::generate();
    let body = asked(&front, &module, &ak_chain, &key).await;
    tap.then([Action::Lose]);
    assert_eq!(certify(&front, &body).await.problem(), "upstream-unavailable");
    front.restart().await;
    for _ in 0..2 {
        let reply = certify(&front, &body).await;
        assert_eq!((reply.status, reply.problem().as_str()), (409, "upstream-uncertain"));
    }
    let transactions: Vec<Vec<u8>> = tap.seen().iter().map(|seen| parts(&seen.body).0).collect();
    assert_eq!(transactions.len(), 3);
    assert!(transactions.iter().all(|transaction| *transaction == transactions[0]));
    // What was sent for the nonce stands for that request alone.
    let other = json!({ "csr": asked(&front, &module, &ak_chain, &SoftwareKey::generate()).await["csr"],
                        "nonce": body["nonce"], "profile": "device" });
    assert_ne!(certify(&front, &other).await.status, 201);
    assert!(tap.seen().is_empty());
    leaf(&certify(&front, &asked(&front, &module, &ak_chain, &key).await).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_on_record_is_one_whatever_becomes_of_its_confirmation() {
    let (front, _rear, tap) = pair().await;
    let (module, ak_chain) = enrolled(&front, ALICE, "device-1").await;
    let body = asked(&front, &module, &ak_chain, &SoftwareKey::generate()).await;
    tap.then([Action::Forward, Action::Answer(Box::new(|_| (500, "", Vec::new())))]);
    let reply = certify(&front, &body).await;
    let certificate = leaf(&reply);
    assert_eq!(tap.seen().len(), 3, "the confirmation was sent again");
    assert_eq!(leaf(&certify(&front, &body).await), certificate);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_twice_at_once_is_asked_for_once() {
    let (front, _rear, tap) = pair().await;
    let (module, ak_chain) = enrolled(&front, ALICE, "device-1").await;
    let body = asked(&front, &module, &ak_chain, &SoftwareKey::generate()).await;
    tap.then([Action::Delay(Duration::from_millis(800))]);
    let (first, second) = tokio::join!(certify(&front, &body), certify(&front, &body));
    let mut statuses = [first.status, second.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 503]);
    assert_eq!(tap.seen().len(), 2, "cr and certConf");
    leaf(&certify(&front, &body).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_is_slow_takes_no_thread_from_others() {
    let (front, _rear, tap) = pair().await;
    let (module, ak_chain) = enrolled(&front, ALICE, "device-1").await;
    let mut bodies = Vec::new();
    for _ in 0..8 {
        bodies.push(asked(&front, &module, &ak_chain, &SoftwareKey::generate()).await);
    }
    tap.then((0..8).map(|_| Action::Hang));
    let front = Arc::new(front);
    let waiting: Vec<_> = bodies
        .into_iter()
        .map(|body| {
            let front = Arc::clone(&front);
            tokio::spawn(async move { certify(&front, &body).await.problem() })
        })
        .collect();
    while tap.seen().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // There are fewer threads for decisions than requests that wait.
    let began = std::time::Instant::now();
    let appraised =
        front.post("/v1/certificates", Some(BOB), json!({ "csr": "AAAA", "nonce": "00", "profile": "device" }));
    assert_ne!(appraised.await.status, 201);
    assert!(began.elapsed() < Duration::from_millis(1_500), "{:?}", began.elapsed());
    for waiting in waiting {
        assert_eq!(waiting.await.unwrap(), "upstream-unavailable");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn its_certificates_are_the_upstreams_to_revoke() {
    let dir = tempfile::tempdir().unwrap();
    let rear = rear().await;
    let tap = Tap::start(Backend::Site(Arc::clone(&rear))).await;
    let own = secret(dir.path(), "alice.secret", "what alice shares with the front");
    let settings = upstream(dir.path(), &tap, &ca_of(&rear), "/.well-known/cmp/p/plain")
        + "[[profiles]]\nname = 'device'\nupstream = 'rear'\n";
    let rest = format!("cmp_reference = 'alice'\ncmp_secret = '{}'", own.display());
    let mut front = Site::install_for(dir, &settings, &account("alice", "'enroll', 'issue'", &rest));
    front.restart().await;
    let (module, ak_chain) = enrolled(&front, ALICE, "device-1").await;
    let certificate = leaf(&certify(&front, &asked(&front, &module, &ak_chain, &SoftwareKey::generate()).await).await);

    let alice = || Client::new(Protection::pbm("alice", "what alice shares with the front"));
    // By CMP as by JSON, and what CMP is told where nobody answers.
    let mut client = alice();
    let nonce = client.nonce(&front).await;
    let key = SoftwareKey::generate();
    let statement = module.key_statement(&key.public(USER_KEY_ATTRIBUTES, EccScheme::Null), &nonce);
    let request = requests("as the client wrote it", &key, vec![statement], &ak_chain, |request| popo(&key, request));
    let answer = client.send(&front, IR, &request).await;
    let issued = answer.certificate().unwrap_or_else(|| panic!("{:?}", answer.reasons()));
    assert_eq!(CertView::parse(&issued).unwrap().issuer(), certificate.issuer());
    assert_eq!(client.confirm(&front, &issued, 0).await.number, PKICONF);
    tap.then([Action::Answer(Box::new(|_| (500, "", Vec::new())))]);
    let mut client = alice();
    let nonce = client.nonce(&front).await;
    let statement = module.key_statement(&key.public(USER_KEY_ATTRIBUTES, EccScheme::Null), &nonce);
    let request = requests("device-1", &key, vec![statement], &ak_chain, |request| popo(&key, request));
    assert_eq!(client.send(&front, IR, &request).await.codes(), ["upstream-unavailable"]);

    let answer = alice().send(&front, crate::cmp::client::RR, &revocation(&certificate, 1)).await;
    assert_eq!(answer.codes(), ["authority.upstream-revokes"]);
    // Who enrolls by EST learns whose certificates they are.
    let reply = front.exchange("GET", "/.well-known/est/device/cacerts", &[], &[]).await;
    assert_eq!(reply.status, 200);
    let encoded: Vec<u8> = reply.body.iter().copied().filter(|octet| !octet.is_ascii_whitespace()).collect();
    let held = crate::site::unb64(&json!(String::from_utf8(encoded).unwrap()));
    assert!(contains(&held, &rustls_pem(&ca_of(&rear))));
    assert!(!contains(&held, &rustls_pem(&ca_of(&front))));
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_that_others_may_read_and_files_that_do_not_fit_are_refused_at_the_start() {
    let (front, _rear, _tap) = pair().await;
    let folder = front.dir.path().to_owned();
    let start = async || {
        let config = front.config();
        let source = trust::folder(config.trust().to_owned());
        let clock: Arc<dyn Clock> = Arc::clone(&front.clock) as _;
        Authority::start(config, source, clock).await.map(drop).map_err(|error| {
            let source = std::error::Error::source(&error).map(ToString::to_string);
            format!("{error}: {}", source.unwrap_or_default())
        })
    };
    assert!(start().await.is_ok());
    let path = folder.join("upstream.secret");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let refused = start().await.unwrap_err();
    assert!(refused.contains("upstream rear") && refused.contains("chmod 600"), "{refused}");
    secret(&folder, "upstream.secret", "short");
    assert!(start().await.unwrap_err().contains("16 to 1024 octets"));
    secret(&folder, "upstream.secret", RA_SECRET);
    fs::write(folder.join("tap-root.pem"), "").unwrap();
    assert!(start().await.unwrap_err().contains("1 to 16 certificates"));
}
