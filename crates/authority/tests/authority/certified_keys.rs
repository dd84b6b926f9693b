//! Whose a key is: one subject's, unless the profile allows more; and either an attesting key or one that has certificates.

use serde_json::json;

use crate::host;
use crate::made::x509_statement;
use crate::module::{Module, SoftwareKey, request};
use crate::site::{ALICE, NOW, Reply, Site, b64, chain, digest_hex, hex};

/// Profiles that give one key different subjects.
pub const PROFILES: &str = "[[profiles]]\nname = 'device'\n\
     [[profiles]]\nname = 'tls'\nvalidity_days = 7\n\
     [[profiles]]\nname = 'by-account'\nsubject = 'request'\nnames.of = ['account']\n\
     [[profiles]]\nname = 'shared'\nsubject = 'request'\nnames.of = ['account']\nsubjects_per_key = 'many'\n";

/// The accounts that may use them, one of which administers.
pub fn accounts() -> String {
    format!(
        "[[accounts]]\nname = 'alice'\ntoken_sha256 = '{}'\nmay = ['enroll', 'issue', 'administer', 'monitor']\n\
         enroll_methods = ['manufacturer', 'first-use']\n\
         profiles = ['device', 'tls', 'by-account', 'shared']\n",
        digest_hex(ALICE)
    )
}

/// An enrolled device.
pub struct Client {
    pub module: Module,
    x509: Vec<Vec<u8>>,
}

impl Client {
    pub async fn enrolled(site: &Site, device: &str) -> Self {
        let module = Module::new(&site.vendor, NOW);
        let answer = site.enroll(ALICE, &module, device).await;
        Self { x509: chain(&answer["certificates"]["certify_x509"]), module }
    }

    /// The body of a request for a certificate of this key in this name.
    pub async fn request(&self, site: &Site, profile: &str, key: &SoftwareKey, name: &str) -> serde_json::Value {
        let nonce = site.nonce(ALICE, json!({"purpose": "certificate", "profile": profile})).await;
        let statement = x509_statement(&self.module, key, &nonce, &self.x509, NOW);
        let csr = request(key, name, vec![statement], &self.x509[..1]);
        json!({"csr": b64(&csr), "nonce": hex(&nonce), "profile": profile})
    }

    pub async fn ask(&self, site: &Site, profile: &str, key: &SoftwareKey, name: &str) -> Reply {
        let body = self.request(site, profile, key, name).await;
        site.post("/v1/certificates", Some(ALICE), body).await
    }

    /// The certificate that it is granted.
    pub async fn certificate(&self, site: &Site, profile: &str, key: &SoftwareKey, name: &str) -> Vec<u8> {
        let reply = self.ask(site, profile, key, name).await;
        assert_eq!(reply.status, 201, "{}", String::from_utf8_lossy(&reply.body));
        chain(&reply.json()["certificates"])[0].clone()
    }
}

/// A site with those profiles and accounts.
pub async fn site(settings: &str) -> Site {
    let settings = format!("{settings}{PROFILES}");
    let mut site = Site::install_for(tempfile::tempdir().unwrap(), &settings, &accounts());
    site.restart().await;
    site
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_one_subjects_whatever_the_profile() {
    let site = site("").await;
    let (client, key) = (Client::enrolled(&site, "device-1").await, SoftwareKey::generate());
    client.certificate(&site, "device", &key, "ignored").await;
    let body = client.request(&site, "by-account", &key, "alice").await;
    let refused = site.post("/v1/certificates", Some(ALICE), body.clone()).await;
    assert_eq!((refused.status, refused.codes()), (422, vec!["authority.key-has-other-subject".to_owned()]));
    // The refusal is on record, and is told again.
    assert_eq!(site.post("/v1/certificates", Some(ALICE), body).await.body, refused.body);
    // The same subject has it renewed, by another profile too.
    client.certificate(&site, "device", &key, "").await;
    client.certificate(&site, "tls", &key, "").await;
    // Another device has no share in it, even on true evidence: keys do not wander.
    let other = Client { module: client.module, x509: client.x509 };
    let fresh = SoftwareKey::generate();
    other.certificate(&site, "by-account", &fresh, "alice").await;
    assert_eq!(other.ask(&site, "device", &fresh, "").await.codes(), ["authority.key-has-other-subject"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_may_allow_more_and_the_others_then_refuse_the_key() {
    let site = site("").await;
    let (client, key) = (Client::enrolled(&site, "device-1").await, SoftwareKey::generate());
    client.certificate(&site, "device", &key, "").await;
    client.certificate(&site, "shared", &key, "alice").await;
    client.certificate(&site, "shared", &key, "alice").await;
    assert_eq!(client.ask(&site, "device", &key, "").await.codes(), ["authority.key-has-other-subject"]);
    assert_eq!(client.ask(&site, "by-account", &key, "alice").await.codes(), ["authority.key-has-other-subject"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_attests_or_has_certificates() {
    let site = site("policy = 'lab'\n[enrolment]\nfirst_use = true\n").await;
    let client = Client::enrolled(&site, "device-1").await;
    // A key that has a certificate does not become an attesting key.
    let key = SoftwareKey::generate();
    client.certificate(&site, "device", &key, "").await;
    let refused = host::challenge(&site, ALICE, &key, "host-1", json!({"method": "first-use"})).await;
    assert_eq!((refused.status, refused.codes()), (422, vec!["authority.key-certified".to_owned()]));
    // Nor does one that gets its certificate while its holder answers the challenge.
    let key = SoftwareKey::generate();
    let opened = host::challenge(&site, ALICE, &key, "host-1", json!({"method": "first-use"})).await;
    assert_eq!(opened.status, 201, "{}", String::from_utf8_lossy(&opened.body));
    client.certificate(&site, "device", &key, "").await;
    let refused = host::answer(&site, ALICE, (&key, &key), "host-1", &opened.json()).await;
    assert_eq!((refused.status, refused.codes()), (422, vec!["authority.key-certified".to_owned()]));
    // And an attesting key gets no other certificate, however it is attested.
    let key = SoftwareKey::generate();
    host::enroll(&site, ALICE, &key, "host-1", json!({"method": "first-use"})).await;
    let refused = client.ask(&site, "device", &key, "").await;
    assert_eq!((refused.status, refused.codes()), (422, vec!["bind.csr-key-is-ak".to_owned()]));
}
