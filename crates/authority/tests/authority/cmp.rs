//! CMP: transactions in their order, who may send what, and evidence in either syntax of requests.

#[path = "cmp/client.rs"]
pub mod client;
#[path = "cmp/elsewhere.rs"]
mod elsewhere;
#[path = "cmp/openssl.rs"]
mod openssl;
#[path = "cmp/possession.rs"]
mod possession;
#[path = "cmp/wrong.rs"]
mod wrong;

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use serde_json::json;
use vouchsafe_evidence::tpm::EccScheme;
use vouchsafe_evidence::tpm::template::USER_KEY_ATTRIBUTES;
use vouchsafe_evidence::x509::CertView;

use self::client::{
    Answer, CERT_CONF, CERT_PROFILE, CP, CR, Client, ERROR, GENM, IMPLICIT_CONFIRM, IP, IR, KUR, P10CR, PKICONF,
    Protection, RP, RR, confirmation, nonce_request, popo, requests, revocation, sequence, write,
};
use crate::est::enrolled;
use crate::module::{Module, SoftwareKey, request};
use crate::site::{ALICE, BOB, Site, b64, digest_hex, hex};

const PROFILES: &str = "[[profiles]]\nname='device'\n[[profiles]]\nname='stock'\nfreshness='when-given'\n\
    [[profiles]]\nname='modules'\ndevices='any'\n[[profiles]]\nname='old-modules'\ndevices='any'\nfreshness='when-given'\n";
pub const SECRET: &str = "a secret of alice, long enough";
pub const BOBS_SECRET: &str = "a secret of bob, as long as that";

/// A site whose accounts have secrets.
async fn site() -> Site {
    let dir = tempfile::tempdir().unwrap();
    let mut accounts = String::new();
    for (name, token, secret) in [("alice", ALICE, SECRET), ("bob", BOB, BOBS_SECRET)] {
        let path = dir.path().join(format!("{name}.secret"));
        std::fs::write(&path, format!("{secret}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        accounts.push_str(&format!(
            "[[accounts]]\nname = '{name}'\ntoken_sha256 = '{}'\nmay = ['enroll', 'appraise', 'issue']\n\
             cmp_reference = '{name}-ref'\ncmp_secret = '{}'\n",
            digest_hex(token),
            path.display()
        ));
    }
    let mut site = Site::install_for(dir, PROFILES, &accounts);
    site.restart().await;
    site
}

fn alice() -> Client {
    Client::new(Protection::pbm("alice-ref", SECRET))
}

fn bob() -> Client {
    Client::new(Protection::pbm("bob-ref", BOBS_SECRET))
}

/// CertReqMessages for a key that the module attests over this nonce.
pub fn crmf(key: &SoftwareKey, name: &str, module: &Module, nonce: &[u8], ak_chain: &[Vec<u8>]) -> Vec<u8> {
    let public = key.public(USER_KEY_ATTRIBUTES, EccScheme::Null);
    requests(name, key, vec![module.key_statement(&public, nonce)], ak_chain, |request| popo(key, request))
}

/// A certificate by an ir over a nonce, confirmed.
async fn issued(site: &Site, mut client: Client, module: &Module, ak_chain: &[Vec<u8>]) -> (Arc<SoftwareKey>, Vec<u8>) {
    let nonce = client.nonce(site).await;
    let key = Arc::new(SoftwareKey::generate());
    let answer = client.send(site, IR, &crmf(&key, "device-1", module, &nonce, ak_chain)).await;
    let certificate = answer.certificate().unwrap_or_else(|| panic!("{:?}", answer.reasons()));
    assert_eq!(client.confirm(site, &certificate, 0).await.number, PKICONF);
    (key, certificate)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nonce_a_request_its_confirmation_and_nothing_twice() {
    let site = site().await;
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    for protection in [
        Protection::pbm("alice-ref", SECRET),
        Protection::Pbmac1 { reference: "alice-ref".to_owned(), secret: SECRET.to_owned() },
    ] {
        let mut client = Client::new(protection).on("/getnonce");
        let nonce = client.nonce(&site).await;
        assert_eq!(nonce.len(), 32);
        let mut client = client.on("/initialization");
        let key = SoftwareKey::generate();
        let body = crmf(&key, "device-1", &module, &nonce, &ak_chain);
        let first = client.clone();
        let answer = client.send(&site, IR, &body).await;
        assert_eq!(answer.number, IP, "{:?}", answer.reasons());
        let certificate = answer.certificate().unwrap_or_else(|| panic!("{:?}", answer.reasons()));
        let leaf = CertView::parse(&certificate).unwrap();
        assert!(leaf.spki().same_key(&key.spki()));
        assert_eq!(leaf.subject().to_display(), "CN=device-1");
        // The same again, and the next message before its turn.
        assert_eq!(first.clone().send(&site, IR, &body).await.codes(), ["cmp.transaction-in-use"]);
        assert_eq!(first.clone().on("").send(&site, GENM, &nonce_request()).await.codes(), ["cmp.transaction-in-use"]);
        let late = first.clone().send(&site, CERT_CONF, &confirmation(&certificate, 0)).await;
        assert_eq!(late.codes(), ["cmp.bad-recipient-nonce"]);
        assert_eq!(client.clone().confirm(&site, &certificate, 0).await.number, PKICONF);
        assert_eq!(client.confirm(&site, &certificate, 0).await.codes(), ["cmp.out-of-order"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_pkcs10_is_one_too() {
    let site = site().await;
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let mut client = alice();
    let nonce = client.nonce(&site).await;
    client.info.push((IMPLICIT_CONFIRM, vec![5, 0]));
    let csr = module.csr(&nonce, &ak_chain, None);
    let answer = client.send(&site, P10CR, &csr).await;
    assert_eq!(answer.number, CP, "{:?}", answer.reasons());
    let certificate = answer.certificate().unwrap();
    // It wanted no confirmation, and gets none.
    assert_eq!(client.confirm(&site, &certificate, 0xFF).await.codes(), ["cmp.out-of-order"]);

    let mut client = alice();
    let nonce = client.nonce(&site).await;
    let answer = client.send(&site, P10CR, &module.csr(&nonce, &ak_chain, None)).await;
    let certificate = answer.certificate().unwrap_or_else(|| panic!("{:?}", answer.reasons()));
    assert_eq!(client.clone().confirm(&site, &certificate, 0).await.codes(), ["cmp.bad-cert-hash"]);
    assert_eq!(client.confirm(&site, &certificate, 0xFF).await.codes(), ["cmp.out-of-order"], "it has ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nonce_is_of_its_transaction_and_protocol() {
    let site = site().await;
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let refused = |answer: &Answer| answer.codes();

    // Another transaction's, and none at all.
    let other = alice().nonce(&site).await;
    let mut client = alice();
    client.nonce(&site).await;
    let answer = client.send(&site, P10CR, &module.csr(&other, &ak_chain, None)).await;
    assert!(refused(&answer).contains(&"nonce.mismatch".to_owned()), "{:?}", answer.reasons());
    let answer = alice().send(&site, P10CR, &module.csr(&other, &ak_chain, None)).await;
    assert_eq!(refused(&answer), ["authority.freshness-required"]);

    // JSON's here, and one of here in JSON.
    let theirs = site.certificate_nonce(ALICE).await;
    let mut client = alice();
    let own = client.nonce(&site).await;
    let answer = client.send(&site, P10CR, &module.csr(&theirs, &ak_chain, None)).await;
    assert!(refused(&answer).contains(&"nonce.mismatch".to_owned()), "{:?}", answer.reasons());
    let csr = module.csr(&own, &ak_chain, None);
    let reply = site.post("/v1/certificates", Some(ALICE), json!({"csr": b64(&csr), "nonce": hex(&own)})).await;
    assert_eq!((reply.status, reply.problem().as_str()), (422, "nonce-unknown"));

    // Of one profile under another, and of one account in another's transaction of the same name.
    let mut client = alice();
    let nonce = client.nonce(&site).await;
    let mut client = client.on("/p/stock");
    let answer = client.send(&site, P10CR, &module.csr(&nonce, &ak_chain, None)).await;
    assert_eq!(refused(&answer), ["nonce-unknown"]);
    let mut client = alice();
    let nonce = client.nonce(&site).await;
    let mut stranger = Client { protection: bob().protection, ..client.clone() };
    let answer = stranger.send(&site, P10CR, &module.csr(&nonce, &ak_chain, None)).await;
    assert_eq!(refused(&answer), ["nonce-unknown"]);
    assert!(client.send(&site, P10CR, &module.csr(&nonce, &ak_chain, None)).await.certificate().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_is_named_by_path_or_message() {
    let site = site().await;
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let csr = module.csr(b"sixteen octets..", &ak_chain, None);
    let named = |name: &str| {
        let name = write(|writer| drop(writer.string(vouchsafe_evidence::x509::der::Tag::UTF8_STRING, name).clone()));
        (CERT_PROFILE, sequence(&name))
    };
    let mut client = alice();
    client.info.push(named("stock"));
    assert!(client.send(&site, P10CR, &csr).await.certificate().is_some());
    let mut client = alice().on("/p/device");
    client.info.push(named("stock"));
    assert_eq!(client.send(&site, P10CR, &csr).await.codes(), ["cmp.profile"]);
    assert_eq!(alice().on("/p/none").send(&site, P10CR, &csr).await.codes(), ["unknown-profile"]);
    assert!(alice().on("/p/stock/pkcs10").send(&site, P10CR, &csr).await.certificate().is_some());
    assert_eq!(alice().on("/p/stock/keyupdate").send(&site, P10CR, &csr).await.codes(), ["cmp.operation"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_updated_by_its_own_key_and_revoked_by_its_owner() {
    let site = site().await;
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let (key, certificate) = issued(&site, alice(), &module, &ak_chain).await;
    let old = CertView::parse(&certificate).unwrap();
    let signed = || Client::new(Protection::Signature { key: Arc::clone(&key), chain: vec![certificate.clone()] });

    // A MAC updates nothing.
    let mut client = alice();
    let nonce = client.nonce(&site).await;
    let next = SoftwareKey::generate();
    let answer = client.send(&site, KUR, &crmf(&next, "device-1", &module, &nonce, &ak_chain)).await;
    assert_eq!(answer.codes(), ["cmp.not-the-owner"]);

    let mut client = signed();
    let nonce = client.nonce(&site).await;
    let answer = client.send(&site, KUR, &crmf(&next, "device-2", &module, &nonce, &ak_chain)).await;
    assert_eq!(answer.codes(), ["authority.renewal-other-subject"]);
    let mut client = signed();
    let nonce = client.nonce(&site).await;
    let answer = client.send(&site, KUR, &crmf(&next, "device-1", &module, &nonce, &ak_chain)).await;
    let new = answer.certificate().unwrap_or_else(|| panic!("{:?}", answer.reasons()));
    assert_eq!(client.confirm(&site, &new, 0).await.number, PKICONF);

    // Only what is the account's own, and once.
    let listed = || async {
        let reply = site.exchange("GET", "/v1/revocation-lists/issuing", &[], b"").await;
        let serial = old.serial().to_vec();
        reply.body.windows(serial.len()).any(|window| window == serial)
    };
    assert_eq!(bob().send(&site, RR, &revocation(&old, 1)).await.codes(), ["cmp.not-the-owner"]);
    assert_eq!(alice().send(&site, RR, &revocation(&old, 9)).await.codes(), ["cmp.revocation-reason"]);
    assert!(!listed().await);
    let mut client = signed();
    let answer = client.send(&site, RR, &revocation(&old, 4)).await;
    assert_eq!((answer.number, answer.codes()), (RP, Vec::new()));
    site.clock.advance(61);
    assert!(listed().await);
    assert_eq!(alice().send(&site, RR, &revocation(&old, 4)).await.codes(), ["cmp.already-revoked"]);
    // Its key speaks for nobody any more.
    assert_eq!(signed().send(&site, GENM, &nonce_request()).await.codes(), ["cmp.signer-not-trusted"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_does_not_take_is_revoked() {
    let site = site().await;
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let mut client = alice();
    let nonce = client.nonce(&site).await;
    let key = SoftwareKey::generate();
    let answer = client.send(&site, CR, &crmf(&key, "device-1", &module, &nonce, &ak_chain)).await;
    let certificate = answer.certificate().unwrap();
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &certificate);
    let rejected = write(|writer| {
        writer.sequence(|list| {
            list.sequence(|status| {
                status.octet_string(hash.as_ref()).uint(0).sequence(|info| {
                    info.uint(2);
                });
            });
        });
    });
    assert_eq!(client.send(&site, CERT_CONF, &rejected).await.number, PKICONF);
    let leaf = CertView::parse(&certificate).unwrap();
    let reply = site.exchange("GET", "/v1/revocation-lists/issuing", &[], b"").await;
    assert!(reply.body.windows(20).any(|window| window == leaf.serial()));

    // Nor goes on what a client gives up.
    let mut client = alice();
    client.nonce(&site).await;
    let given_up = write(|writer| {
        writer.sequence(|content| {
            content.sequence(|info| {
                info.uint(2);
            });
        });
    });
    assert_eq!(client.send(&site, ERROR, &given_up).await.number, PKICONF);
    let csr = module.csr(&nonce, &ak_chain, None);
    assert_eq!(client.send(&site, P10CR, &csr).await.codes(), ["cmp.transaction-in-use"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_false_statement_is_refused_with_every_code_in_either_syntax() {
    let site = site().await;
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let key = SoftwareKey::generate();
    // fixedTPM, fixedParent and sensitiveDataOrigin clear: a key that was made outside and imported.
    let public = key.public(USER_KEY_ATTRIBUTES & !0x32, EccScheme::Null);
    let mut client = alice();
    let nonce = client.nonce(&site).await;
    let statement = module.key_statement(&public, &nonce);
    let body = requests("device-1", &key, vec![statement], &ak_chain, |request| popo(&key, request));
    let in_crmf = client.send(&site, IR, &body).await;
    let mut client = alice();
    let nonce = client.nonce(&site).await;
    let csr = request(&key, "device-1", vec![module.key_statement(&public, &nonce)], &ak_chain);
    let in_pkcs10 = client.send(&site, P10CR, &csr).await;
    assert_eq!((in_crmf.number, in_pkcs10.number), (IP, CP));
    assert!(in_crmf.codes().contains(&"tpm.key-not-fixed".to_owned()), "{:?}", in_crmf.reasons());
    assert_eq!(in_crmf.codes(), in_pkcs10.codes());
}

/// Answers are under the key of their requests: sent back, they authenticate their sender and do nothing.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_sent_back_changes_nothing() {
    let site = site().await;
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let mut client = alice();
    let back = async |answer: &Answer| client::deliver(&site, "/.well-known/cmp", &answer.der).await.codes();
    let asked = client.send(&site, GENM, &nonce_request()).await;
    assert_eq!(back(&asked).await, ["cmp.message-type"], "genp");
    let refused = client.clone().send(&site, GENM, &nonce_request()).await;
    assert_eq!(refused.codes(), ["cmp.transaction-in-use"]);
    // An error would end the transaction, if it answered what the server said last.
    assert_eq!(back(&refused).await, ["cmp.bad-recipient-nonce"], "error");
    let answer = client.send(&site, P10CR, &module.csr(&asked.nonce(), &ak_chain, None)).await;
    let certificate = answer.certificate().unwrap_or_else(|| panic!("{:?}", answer.reasons()));
    assert_eq!(back(&answer).await, ["cmp.message-type"], "cp");
    let confirmed = client.confirm(&site, &certificate, 0xFF).await;
    assert_eq!(confirmed.number, PKICONF, "{:?}", confirmed.reasons());
    assert_eq!(back(&confirmed).await, ["cmp.message-type"], "pkiConf");
}
