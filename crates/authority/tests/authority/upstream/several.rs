//! Several of a kind behind one authority: CAs that number their certificates alike, and accounts that ask at once.

use super::est::{csr, front_by_acme, ordered};
use super::wrong::{Ca, confirming, granting};
use super::*;
use crate::acme::client::{ALICE_SECRET, Client as AcmeClient, Stage};
use crate::cmp::client::{CR, IMPLICIT_CONFIRM, RR};
use crate::module::pem;

/// Numbers of reasons (RFC 5280, section 5.3.1).
const KEY_COMPROMISE: u8 = 1;
const SUPERSEDED: u8 = 4;

/// What tells certificates apart is not the number alone: each order gets its own.
#[tokio::test(flavor = "multi_thread")]
async fn orders_of_acme_get_certificates_that_two_cas_number_alike() {
    let cas = [Ca::new("First CA"), Ca::new("Second CA")];
    let tap = Tap::start(Backend::Nobody).await;
    let stage = Stage::new();
    let front = front_by_acme(&stage, |folder| {
        let file = folder.join("cas.pem");
        fs::write(&file, cas.each_ref().map(|ca| pem(&ca.certificate)).concat()).unwrap();
        upstream(folder, &tap, &file, "/cmp")
    })
    .await;
    let (module, ak_chain) = enrolled(&front, ALICE, "device-1").await;
    let client = AcmeClient::register(&front, "alice", &ALICE_SECRET).await;
    let mut issued = Vec::new();
    for ca in &cas {
        let key = SoftwareKey::generate();
        let order = ordered(&client, &module, &ak_chain, &key).await;
        let certificate = ca.issue(|_| {}, &key.spki());
        tap.then([granting(certificate.clone()), confirming()]);
        let finalized = client.finalize(&order, &csr(&key, "device-1", &[]), None).await;
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

/// Where a profile gives one key to several, a registration authority could have kept any other account from its own key: by
/// a certificate for it, for which nobody shows the key, and a revocation because the key is compromised.
#[tokio::test(flavor = "multi_thread")]
async fn of_another_accounts_key_nobody_says_that_it_is_compromised() {
    let dir = tempfile::tempdir().unwrap();
    let path = secret(dir.path(), "ra.secret", RA_SECRET);
    let profiles = "[[profiles]]\nname = 'device'\nsubjects_per_key = 'many'\n[[profiles]]\nname = 'plain'\n\
                    subject = 'request'\nevidence = 'registration-authority'\nsubjects_per_key = 'many'\n";
    let rest = format!("profiles = ['plain']\ncmp_reference = 'ra'\ncmp_secret = '{}'", path.display());
    let accounts = account("registrar", "'issue', 'register'", &rest) + &account("alice", "'issue', 'enroll'", "");
    let mut site = Site::install_for(dir, profiles, &accounts);
    site.restart().await;
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let (alices, own) = (SoftwareKey::generate(), SoftwareKey::generate());
    leaf(&certify(&site, &asked(&site, &module, &ak_chain, &alices).await).await);
    let ra = || Client::new(Protection::pbm("ra", RA_SECRET)).on("/p/plain");
    let registered = async |key: &SoftwareKey| {
        let mut client = ra();
        client.info.push((IMPLICIT_CONFIRM, vec![5, 0]));
        let answer = client.send(&site, CR, &crmf("device-7", &key.spki(), &[], &[0x80, 0])).await;
        CertView::parse(&answer.certificate().unwrap_or_else(|| panic!("{:?}", answer.reasons()))).unwrap()
    };
    let revoked = async |certificate: &CertView, reason| ra().send(&site, RR, &revocation(certificate, reason)).await;
    let certificate = registered(&alices).await;
    let answer = revoked(&certificate, KEY_COMPROMISE).await;
    assert_eq!(answer.codes(), ["authority.key-has-other-subject"]);
    leaf(&certify(&site, &asked(&site, &module, &ak_chain, &alices).await).await);
    // Its own certificate it revokes for another reason, and of its own keys it says what it knows.
    assert_eq!(revoked(&certificate, SUPERSEDED).await.codes(), Vec::<String>::new());
    leaf(&certify(&site, &asked(&site, &module, &ak_chain, &alices).await).await);
    assert_eq!(revoked(&registered(&own).await, KEY_COMPROMISE).await.codes(), Vec::<String>::new());
    let refused = ra().send(&site, CR, &crmf("device-7", &own.spki(), &[], &[0x80, 0])).await;
    assert_eq!(refused.codes(), ["authority.key-compromised"]);
}
