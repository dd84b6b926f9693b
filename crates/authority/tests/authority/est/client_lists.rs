//! Revocation lists of the CAs that accounts name: what is revoked, and what cannot be told, counts for nobody.

use std::path::PathBuf;

use vouchsafe_authority::Config;
use vouchsafe_evidence::oid;
use vouchsafe_evidence::x509::CertView;
use vouchsafe_evidence::x509::build;
use vouchsafe_evidence::x509::extensions::{BasicConstraints, KeyUsage};

use super::{Connection, PROFILES};
use crate::cmp::client::{Client, GENM, Protection, nonce_request};
use crate::module::{SoftwareKey, Vendor};
use crate::site::{ALICE, BOB, Identity, NOW, Site, b64, digest_hex};

const DAY: i64 = 86_400;

/// A CA of alice's, and the file that its list lies in.
struct Ca {
    folder: tempfile::TempDir,
    vendor: Vendor,
}

impl Ca {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), vendor: Vendor::new("Ours", NOW) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn certify(&self) -> Identity {
        let key = SoftwareKey::generate();
        let extensions = vec![
            build::basic_constraints(true, BasicConstraints { ca: false, path_length: None }),
            build::key_usage(true, KeyUsage::from_bits(KeyUsage::DIGITAL_SIGNATURE)),
            build::extended_key_usage(false, &[oid::KP_CLIENT_AUTH]),
        ];
        (vec![self.vendor.certify(key.spki(), NOW, extensions)], key.pkcs8())
    }

    fn publish(&self, list: &[u8]) {
        std::fs::write(self.path("ours.crl"), list).unwrap();
    }

    async fn site(&self) -> Site {
        std::fs::write(self.path("ours.pem"), self.vendor.root_pem()).unwrap();
        let accounts = format!(
            "[[accounts]]\nname = 'alice'\ntoken_sha256 = '{}'\nmay = ['enroll', 'issue']\nclient_ca = '{}'\n\
             client_crl = '{}'\n[[accounts]]\nname = 'bob'\ntoken_sha256 = '{}'\nmay = ['enroll', 'issue']\n",
            digest_hex(ALICE),
            self.path("ours.pem").display(),
            self.path("ours.crl").display(),
            digest_hex(BOB),
        );
        let mut site = Site::install_for(tempfile::tempdir().unwrap(), PROFILES, &accounts);
        site.restart().await;
        site
    }
}

fn serial(identity: &Identity) -> Vec<u8> {
    CertView::parse(&identity.0[0]).unwrap().serial().to_vec()
}

/// Status and code of a request for a nonce by this certificate, in a connection of its own.
async fn asked(site: &Site, identity: &Identity) -> (u16, String) {
    let mut connection = Connection::open(site, Some(identity.clone())).await;
    let reply = connection.get("nonce").await;
    let code = if reply.status == 200 { String::new() } else { reply.refused(reply.status).remove(0) };
    (reply.status, code)
}

fn pem_list(der: &[u8]) -> Vec<u8> {
    format!("-----BEGIN X509 CRL-----\n{}\n-----END X509 CRL-----\n", b64(der)).into_bytes()
}

const GRANTED: (u16, &str) = (200, "");
const REVOKED: (u16, &str) = (401, "client-certificate-revoked");
const UNUSABLE: (u16, &str) = (503, "client-crl-unusable");

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_certificate_of_an_accounts_ca_has_no_account() {
    let ca = Ca::new();
    let (kept, revoked) = (ca.certify(), ca.certify());
    ca.publish(&ca.vendor.revocation_list(NOW, NOW + DAY, &[]));
    let site = ca.site().await;
    let is = async |identity: &Identity, expected: (u16, &str), when: &str| {
        let (status, code) = asked(&site, identity).await;
        assert_eq!((status, code.as_str()), expected, "{when}");
    };
    let mut lasting = Connection::open(&site, Some(revoked.clone())).await;
    assert_eq!(lasting.get("nonce").await.status, 200);
    is(&kept, GRANTED, "before").await;
    // The file is looked at with every request, in connections that last too; as PEM as well.
    ca.publish(&pem_list(&ca.vendor.revocation_list(NOW, NOW + DAY, &[serial(&revoked)])));
    is(&revoked, REVOKED, "revoked").await;
    assert_eq!(lasting.get("nonce").await.refused(401), ["client-certificate-revoked"]);
    is(&kept, GRANTED, "another was revoked").await;
    // A token of another account beside it, or of the very account, makes it no better.
    for (name, token) in [("alice", ALICE), ("bob", BOB)] {
        let mut both = Connection::open(&site, Some(revoked.clone())).await.authenticated(name, token);
        assert_eq!(both.get("nonce").await.refused(401), ["client-certificate-revoked"]);
    }
    // CMP is refused for the same reason.
    let signed = |identity: &Identity| {
        let key = std::sync::Arc::new(SoftwareKey::from_pkcs8(&identity.1));
        Client::new(Protection::Signature { key, chain: identity.0.clone() })
    };
    let refused = signed(&revoked).send(&site, GENM, &nonce_request()).await;
    assert_eq!(refused.codes(), ["client-certificate-revoked"]);
    assert!(signed(&kept).send(&site, GENM, &nonce_request()).await.codes().is_empty());
    // Accounts by other credentials, and other requests, are not touched.
    let mut token = Connection::open(&site, None).await.authenticated("alice", ALICE);
    assert_eq!(token.get("nonce").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_cannot_be_used_lets_nobody_in() {
    let ca = Ca::new();
    let identity = ca.certify();
    let good = ca.vendor.revocation_list(NOW, NOW + DAY, &[]);
    ca.publish(&good);
    let site = ca.site().await;
    let path = ca.path("ours.crl");
    let is = async |expected: (u16, &str), when: &str| {
        let (status, code) = asked(&site, &identity).await;
        assert_eq!((status, code.as_str()), expected, "{when}");
    };
    is(GRANTED, "at first").await;
    let mut forged = good.clone();
    *forged.last_mut().unwrap() ^= 1;
    let stranger = Vendor::new("Ours", NOW);
    let others = Vendor::new("Others", NOW);
    for (what, list) in [
        ("another CA of the same name", stranger.revocation_list(NOW, NOW + DAY, &[])),
        ("another CA's", others.revocation_list(NOW, NOW + DAY, &[])),
        ("signature changed", forged),
        ("expired", ca.vendor.revocation_list(NOW - 2 * DAY, NOW - DAY, &[])),
        ("of the future", ca.vendor.revocation_list(NOW + DAY, NOW + 2 * DAY, &[])),
        ("cut", good[..good.len() - 1].to_vec()),
        ("empty", Vec::new()),
        ("text", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_vec()),
        ("too many", pem_list(&good).repeat(9)),
    ] {
        ca.publish(&list);
        is(UNUSABLE, what).await;
        ca.publish(&good);
        is(GRANTED, "mended").await;
    }
    std::fs::remove_file(&path).unwrap();
    is(UNUSABLE, "gone").await;
    std::fs::create_dir(&path).unwrap();
    is(UNUSABLE, "a folder").await;
    std::fs::remove_dir(&path).unwrap();
    ca.publish(&good);
    is(GRANTED, "back").await;
    // It runs out while the server runs.
    site.clock.advance(DAY + 1);
    is(UNUSABLE, "run out").await;
    ca.publish(&ca.vendor.revocation_list(NOW + DAY, NOW + 2 * DAY, &[]));
    is(GRANTED, "renewed").await;
    // Who shows no certificate has the account still.
    std::fs::remove_file(&path).unwrap();
    let mut token = Connection::open(&site, None).await.authenticated("alice", ALICE);
    assert_eq!(token.get("nonce").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_not_there_is_told_at_the_start() {
    let ca = Ca::new();
    ca.publish(&ca.vendor.revocation_list(NOW, NOW + DAY, &[]));
    let site = ca.site().await;
    std::fs::remove_file(ca.path("ours.crl")).unwrap();
    let source = vouchsafe_authority::trust::folder(site.config().trust().to_owned());
    let clock = std::sync::Arc::clone(&site.clock) as std::sync::Arc<dyn vouchsafe_authority::Clock>;
    let error = vouchsafe_authority::Authority::start(site.config(), source, clock).await.map(drop).unwrap_err();
    assert!(error.to_string().contains("account alice: client_crl"), "{error}");
    let text = format!(
        "[[accounts]]\nname = 'a'\ntoken_sha256 = '{}'\nmay = []\nclient_crl = 'c'\n[tls]\nself_signed = true\n",
        "1".repeat(64)
    );
    assert!(Config::from_toml(&text).unwrap_err().to_string().contains("without client_ca"));
}
