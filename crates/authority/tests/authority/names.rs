//! Who may have which name: what the profile takes from a request, and what it refuses.

use std::sync::Arc;

use serde_json::json;
use vouchsafe_authority::{Administration, Clock};
use vouchsafe_evidence::bundle::AttestationBundle;
use vouchsafe_evidence::oid::{self, Oid};
use vouchsafe_evidence::x509::CertView;
use vouchsafe_evidence::x509::build;

use crate::made::x509_statement;
use crate::module::{Module, SoftwareKey};
use crate::site::{ALICE, BOB, NOW, Reply, Site, b64, chain, digest_hex, hex};

const PROFILES: &str = "[[profiles]]\nname = 'by-device'\nsubject = 'request'\nnames.of = ['device', 'ek-digest']\n\
     [[profiles]]\nname = 'by-account'\nsubject = 'request'\nnames.of = ['account']\n\
     [[profiles]]\nname = 'by-identifier'\nsubject = 'request'\nnames.of = ['permanent-identifier', 'serial']\n\
     [[profiles]]\nname = 'by-inventory'\nsubject = 'request'\nnames.of = ['inventory', 'certificate']\n\
     [[profiles]]\nname = 'by-rule'\nsubject = 'request'\n\
     names.allow = \"name.common_name == identities.device + '.example' && name.organization == account && \
     name.others == 0 && claims.attesting_key.environment == 'module'\"\n\
     [[profiles]]\nname = 'by-absence'\nsubject = 'request'\n\
     names.allow = \"name.common_name == identities.device && !has(name.organizational_unit) && name.others == 0\"\n\
     [[profiles]]\nname = 'by-count'\nsubject = 'request'\n\
     names.allow = \"name.common_name == identities.device && name.attributes == 1\"\n";

async fn site() -> Site {
    let account = |name: &str, token: &str, profiles: &str| {
        format!(
            "[[accounts]]\nname = '{name}'\ntoken_sha256 = '{}'\nmay = ['enroll', 'issue', 'administer']\n{profiles}",
            digest_hex(token)
        )
    };
    let listed = "profiles = ['by-device', 'by-account', 'by-identifier', 'by-inventory', 'by-rule', 'by-absence', 'by-count']\n";
    let accounts = account("alice", ALICE, listed) + &account("bob", BOB, "");
    let mut site = Site::install_for(tempfile::tempdir().unwrap(), PROFILES, &accounts);
    site.restart().await;
    site
}

struct Client {
    module: Module,
    x509: Vec<Vec<u8>>,
}

impl Client {
    async fn enrolled(site: &Site, device: &str) -> Self {
        let module = Module::new(&site.vendor, NOW);
        let answer = site.enroll(ALICE, &module, device).await;
        Self { x509: chain(&answer["certificates"]["certify_x509"]), module }
    }

    async fn ask(&self, site: &Site, profile: &str, subject: &[(Oid, &str)]) -> Reply {
        let nonce = site.nonce(ALICE, json!({"purpose": "certificate", "profile": profile})).await;
        let key = SoftwareKey::generate();
        let statement = x509_statement(&self.module, &key, &nonce, &self.x509, NOW);
        let certificates = vec![CertView::parse(&self.x509[0]).unwrap()];
        let bundle = AttestationBundle::new(vec![statement], certificates).unwrap();
        let subject = build::distinguished_name(subject).unwrap();
        let csr = key.csr(subject, vec![build::attestation_attribute(&bundle)]);
        let body = json!({"csr": b64(&csr), "nonce": hex(&nonce), "profile": profile});
        site.post("/v1/certificates", Some(ALICE), body).await
    }

    async fn may_be(&self, site: &Site, profile: &str, name: &str) -> bool {
        let reply = self.ask(site, profile, &[(oid::COMMON_NAME, name)]).await;
        if reply.status == 201 {
            let leaf = CertView::parse(&chain(&reply.json()["certificates"])[0]).unwrap();
            assert_eq!(leaf.subject().to_display(), format!("CN={name}"));
            return true;
        }
        assert_eq!(reply.codes(), ["authority.name-not-permitted"]);
        false
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_one_that_evidence_or_records_show_or_it_is_refused() {
    let site = site().await;
    let client = Client::enrolled(&site, "device-1").await;
    let _other = Client::enrolled(&site, "device-2").await;
    let ek = hex(&CertView::parse(&client.module.ek_certificate).unwrap().spki().sha256());
    let ak = format!("ak:{}", hex(&client.module.ak.spki().sha256()));
    for (profile, name, permitted) in [
        ("by-device", "device-1", true),
        ("by-device", ek.as_str(), true),
        ("by-device", "device-2", false),
        ("by-device", "Device-1", false),
        ("by-device", "alice", false),
        ("by-account", "alice", true),
        ("by-account", "device-1", false),
        // No maker's serial number is signed, and no certificate was shown.
        ("by-identifier", "device-1", false),
        ("by-inventory", "alice", false),
        ("by-inventory", "device-1", false),
    ] {
        assert_eq!(client.may_be(&site, profile, name).await, permitted, "{name} by {profile}");
    }
    // One octet longer than a commonName may be: the other rule stands against it.
    assert_eq!(ak.len(), 67);
    let long = client.ask(&site, "by-identifier", &[(oid::COMMON_NAME, &ak)]).await;
    assert_eq!(long.codes(), ["authority.not-certifiable"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_in_the_inventory_is_the_accounts_that_the_row_names() {
    let site = site().await;
    let client = Client::enrolled(&site, "device-1").await;
    let ek = hex(&CertView::parse(&client.module.ek_certificate).unwrap().spki().sha256());
    for (account, permitted) in [("bob", false), ("alice", true)] {
        let csv = format!("device,account,ek_sha256\ndevice-1,{account},{ek}\n");
        let reply = site.send("/v1/inventory", Some(ALICE), "text/csv", csv.as_bytes()).await;
        // A row for a device that another account has enrolled is refused outright.
        assert_eq!(reply.status == 200, permitted, "{}", String::from_utf8_lossy(&reply.body));
        assert_eq!(client.may_be(&site, "by-inventory", "device-1").await, permitted, "{account}");
    }
    assert!(!client.may_be(&site, "by-inventory", "device-2").await);
}

/// Whoever has the account's token can call a module of their own what the inventory lists with another one.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_in_the_inventory_is_the_modules_that_the_row_names() {
    let site = site().await;
    let (client, other) = (Client::enrolled(&site, "device-1").await, Client::enrolled(&site, "device-2").await);
    let ek = |client: &Client| hex(&CertView::parse(&client.module.ek_certificate).unwrap().spki().sha256());
    let free = hex(&[7; 32]);
    for (columns, module, permitted) in [
        ("ek_sha256", free.clone(), false),
        ("vendor,serial", "Maker,S-1".to_owned(), false),
        ("ek_sha256", ek(&client), true),
    ] {
        // The row is a new one: those of enrolled devices are not changed.
        let administration = Administration::open(&site.config(), Arc::clone(&site.clock) as Arc<dyn Clock>).unwrap();
        administration.remove_listed("device-1", "alma").unwrap();
        let csv = format!("device,account,{columns}\ndevice-1,alice,{module}\n");
        let reply = site.send("/v1/inventory", Some(ALICE), "text/csv", csv.as_bytes()).await;
        assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
        assert_eq!(client.may_be(&site, "by-inventory", "device-1").await, permitted, "{module}");
        assert!(!other.may_be(&site, "by-inventory", "device-1").await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_sees_the_whole_name_and_what_is_known() {
    let site = site().await;
    let client = Client::enrolled(&site, "device-1").await;
    let (name, organization) = (oid::COMMON_NAME, oid::ORGANIZATION_NAME);
    let good = [(organization, "alice"), (name, "device-1.example")];
    assert_eq!(client.ask(&site, "by-rule", &good).await.status, 201);
    for bad in [
        &[(name, "device-1.example")][..],
        &[(organization, "bob"), (name, "device-1.example")],
        &[(organization, "alice"), (name, "device-2.example")],
        &[(organization, "alice"), (name, "device-1.example"), (name, "admin")],
        &[(organization, "alice"), (name, "device-1.example"), (oid::DOMAIN_COMPONENT, "x")],
    ] {
        let reply = client.ask(&site, "by-rule", bad).await;
        assert_eq!(reply.status, 422, "{bad:?}");
        assert!(reply.codes().contains(&"authority.name-not-permitted".to_owned()), "{bad:?} {:?}", reply.codes());
    }
    assert_eq!(client.ask(&site, "by-rule", &[]).await.codes(), ["authority.subject-empty"]);
}

/// What is there twice is not there for a condition; it does not become absent so.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_subject_has_twice_does_not_hide_from_a_condition() {
    let site = site().await;
    let client = Client::enrolled(&site, "device-1").await;
    let (name, unit, organization) = (oid::COMMON_NAME, oid::ORGANIZATIONAL_UNIT_NAME, oid::ORGANIZATION_NAME);
    let alone = [(name, "device-1")];
    assert_eq!(client.ask(&site, "by-absence", &alone).await.status, 201);
    assert_eq!(client.ask(&site, "by-count", &alone).await.status, 201);
    for (profile, bad) in [
        ("by-absence", &[(unit, "admins"), (name, "device-1")][..]),
        ("by-absence", &[(unit, "admins"), (unit, "admins"), (name, "device-1")]),
        ("by-absence", &[(unit, "admins"), (unit, "users"), (name, "device-1")]),
        ("by-absence", &[(name, "device-1"), (name, "device-1")]),
        ("by-count", &[(organization, "A Bank"), (name, "device-1")]),
    ] {
        assert_eq!(client.ask(&site, profile, bad).await.codes(), ["authority.name-not-permitted"], "{bad:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn profiles_that_speak_for_code_or_take_names_are_for_accounts_that_list_them() {
    let site = Site::start().await;
    let asked = |profile: &str| json!({"purpose": "certificate", "profile": profile});
    for profile in ["device", "tls-client"] {
        assert_eq!(site.post("/v1/nonces", Some(BOB), asked(profile)).await.status, 201);
    }
    let refused = site.post("/v1/nonces", Some(BOB), asked("code-signing")).await;
    assert_eq!((refused.status, refused.problem().as_str()), (403, "profile-not-permitted"));
}
