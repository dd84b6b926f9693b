//! Several of a kind behind one authority: CAs that number their certificates alike, and accounts that ask at once.

use super::wrong::{Ca, confirming, granting};
use super::*;
use crate::acme::client::{ALICE_SECRET, Client as AcmeClient, Stage};
use crate::acme::devices::{response, tpm_object};
use crate::module::pem;
use crate::site::NOW;
use vouchsafe_evidence::x509::build::CsrTemplate;

/// What tells certificates apart is not the number alone: each order gets its own.
#[tokio::test(flavor = "multi_thread")]
async fn orders_of_acme_get_certificates_that_two_cas_number_alike() {
    let cas = [Ca::new("First CA"), Ca::new("Second CA")];
    let tap = Tap::start(Backend::Nobody).await;
    let stage = Stage::new();
    let mut front = stage.site(NOW, false).await;
    let file = front.dir.path().join("cas.pem");
    fs::write(&file, cas.each_ref().map(|ca| pem(&ca.certificate)).concat()).unwrap();
    let settings = upstream(front.dir.path(), &tap, &file, "/cmp");
    front.reconfigure(|config| {
        let named = config.replacen("name = 'device'\n", "name = 'device'\nupstream = 'rear'\n", 1);
        let (before, profiles) = named.split_once("[[profiles]]").unwrap();
        format!("{before}{settings}[[profiles]]{profiles}")
    });
    front.restart().await;
    let (module, ak_chain) = enrolled(&front, ALICE, "device-1").await;
    let client = AcmeClient::register(&front, "alice", &ALICE_SECRET).await;
    let mut issued = Vec::new();
    for ca in &cas {
        let key = SoftwareKey::generate();
        let identifiers = json!([{ "type": "permanent-identifier", "value": "device-1" }]);
        let (_, order) = client.order(identifiers, "device").await;
        let challenge = client.challenge(&order, "device-attest-01").await;
        let object = tpm_object(&module, &ak_chain, &key, &client.key_authorization(&challenge));
        let reply = client.post(challenge["url"].as_str().unwrap(), Some(&response(&object))).await;
        assert_eq!(reply.json()["status"], "valid");
        let certificate = ca.issue(|_| {}, &key.spki());
        tap.then([granting(certificate.clone()), confirming()]);
        let subject = build::distinguished_name(&[(oid::COMMON_NAME, "device-1")]).unwrap();
        let info = CsrTemplate { subject, spki: key.spki(), attributes: Vec::new() }.info_der();
        let csr = build::assemble(&info, &build::algorithm_identifier(oid::ECDSA_WITH_SHA256), &key.sign_der(&info));
        let finalized = client.finalize(&order, &csr, None).await;
        let said = String::from_utf8_lossy(&finalized.body).into_owned();
        assert_eq!((finalized.status, &finalized.json()["status"]), (200, &json!("valid")), "{said}");
        let reply = client.post(finalized.json()["certificate"].as_str().unwrap(), None).await;
        let first = vouchsafe_evidence::pem::read(&reply.body).unwrap()[0].contents().to_vec();
        assert_eq!(first, certificate);
        issued.push(CertView::parse(&first).unwrap().serial().to_vec());
    }
    assert_eq!(issued[0], issued[1]);
}

/// A CA that is slow, and an account that asks it for as much as it may.
#[tokio::test(flavor = "multi_thread")]
async fn one_account_leaves_the_upstream_to_others() {
    const OF_ONE: usize = 16;
    let rear = rear().await;
    let tap = Tap::start(Backend::Site(Arc::clone(&rear))).await;
    let dir = tempfile::tempdir().unwrap();
    let settings = upstream(dir.path(), &tap, &ca_of(&rear), "/.well-known/cmp/p/plain");
    let front = Arc::new(front(dir, &settings.replace("timeout_seconds = 2", "timeout_seconds = 60")).await);
    let (module, ak_chain) = enrolled(&front, ALICE, "device-1").await;
    let (other, other_chain) = enrolled(&front, BOB, "device-2").await;
    let nonce = front.certificate_nonce(BOB).await;
    let key = SoftwareKey::generate();
    let public = key.public(USER_KEY_ATTRIBUTES, EccScheme::Null);
    let request = other.csr_for(&key, &public, &nonce, &other_chain, Some(&[[1; 32], [2; 32]]));
    let bobs = json!({ "csr": b64(&request), "nonce": hex(&nonce), "profile": "device" });
    let mut bodies = Vec::new();
    for _ in 0..=OF_ONE {
        bodies.push(asked(&front, &module, &ak_chain, &SoftwareKey::generate()).await);
    }
    tap.then((0..OF_ONE).map(|_| Action::Hang));
    let mut waiting = tokio::task::JoinSet::new();
    for body in bodies {
        let front = Arc::clone(&front);
        waiting.spawn(async move { certify(&front, &body).await.problem() });
    }
    // The one that is too many is told so; the others wait.
    assert_eq!(waiting.join_next().await.unwrap().unwrap(), "busy");
    let mut seen = 0;
    while seen < OF_ONE {
        seen += tap.seen().len();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let reply = front.post("/v1/certificates", Some(BOB), bobs).await;
    leaf(&reply);
    assert_eq!(waiting.len(), OF_ONE);
}
