//! A linter that others wrote (pkilint) finds nothing in any kind of certificate and revocation list of this authority.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use vouchsafe_authority::issuer_certificate::{RootFiles, link};
use vouchsafe_authority::store::RevocationReason;
use vouchsafe_authority::{Administration, Clock};
use vouchsafe_evidence::oid;
use vouchsafe_evidence::x509::CertView;
use vouchsafe_evidence::x509::build::{self, CertificateTemplate};

use crate::cmp::client::{Client, GENM, Protection, RR, revocation_by};
use crate::host::{DAVE, enroll, every_method};
use crate::made::{quote_statement, request, x509_statement};
use crate::module::{Module, SoftwareKey};
use crate::site::{ALICE, NOW, Reply, Site, b64, chain, digest_hex, hex};

/// Where `scripts/peers` puts packages for Python.
const PYTHON_PACKAGES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/peers/python");
const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/python/lint.py");

/// One profile more than there are without configuration, for each thing that a profile may add.
const PROFILES: &str = "[[profiles]]\nname = 'device'\n\
     [[profiles]]\nname = 'tls-client'\norganization = 'Example & Sons \u{20AC}'\nextended_key_usage = ['client-auth']\n\
     [[profiles]]\nname = 'tls-both'\nextended_key_usage = ['client-auth', 'server-auth']\n\
     [[profiles]]\nname = 'code-signing'\nextended_key_usage = ['code-signing']\nvalidity_days = 3650\n\
     [[profiles]]\nname = 'published'\npublish_key_attestation = 'statement'\nformats = ['tpm-certify-x509']\n";

fn linted(folder: &Path) -> Output {
    Command::new("python3").arg(PROGRAM).arg(folder).env("PYTHONPATH", PYTHON_PACKAGES).output().unwrap()
}

/// What is to be looked at, each under a name that says what it is.
struct Collection(tempfile::TempDir);

impl Collection {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn add(&self, name: &str, der: &[u8]) {
        let path = self.0.path().join(name);
        assert!(!path.exists(), "{name} twice");
        std::fs::write(path, der).unwrap();
    }

    /// Every chain that an answer holds, root and all.
    fn add_answer(&self, what: &str, certificates: &Value) {
        let chains: Vec<(String, Vec<Vec<u8>>)> = match certificates {
            Value::Array(_) => vec![(what.to_owned(), chain(certificates))],
            families => {
                let families = families.as_object().unwrap().iter();
                families.map(|(family, certificates)| (format!("{what}-{family}"), chain(certificates))).collect()
            }
        };
        assert!(!chains.is_empty());
        for (name, certificates) in chains {
            for (index, certificate) in certificates.iter().enumerate() {
                self.add(&format!("{name}-{index}.crt"), certificate);
            }
        }
    }

    async fn add_lists(&self, site: &Site, when: &str, names: &[&str]) {
        for name in names {
            let reply = site.exchange("GET", &format!("/v1/revocation-lists/{name}"), &[], b"").await;
            assert_eq!(reply.status, 200, "{name}");
            self.add(&format!("{when}-{name}.crl"), &reply.body);
        }
    }

    /// The authorities of an installation, and the certificate of its server.
    fn add_authorities(&self, site: &Site, what: &str) {
        for entry in std::fs::read_dir(site.state().join("ca")).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "crt") {
                let pem = std::fs::read_to_string(&path).unwrap();
                let name = path.file_stem().unwrap().to_str().unwrap();
                self.add(&format!("{what}-{name}.crt"), &unpem(&pem));
            }
        }
    }

    fn check(&self) {
        let count = std::fs::read_dir(self.0.path()).unwrap().count();
        let output = linted(self.0.path());
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(said.trim(), format!("looked at {count}, found nothing"));
    }
}

fn unpem(pem: &str) -> Vec<u8> {
    let base64: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    crate::site::unb64(&json!(base64))
}

fn granted(reply: &Reply) -> Value {
    assert_eq!(reply.status, 201, "{}", String::from_utf8_lossy(&reply.body));
    reply.json()["certificates"].clone()
}

/// A certificate of this profile.
async fn certificate(site: &Site, profile: &str, request: impl FnOnce(&[u8]) -> Vec<u8>) -> Value {
    let nonce = site.nonce(DAVE, json!({"purpose": "certificate", "profile": profile})).await;
    let body = json!({"csr": b64(&request(&nonce)), "nonce": hex(&nonce), "profile": profile});
    granted(&site.post("/v1/certificates", Some(DAVE), body).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn another_linter_finds_nothing_in_what_this_authority_signs() {
    let collection = Collection::new();
    let listed = "profiles = ['device', 'tls-client', 'tls-both', 'code-signing', 'published']\nenroll_methods";
    let site = Site::start_with(&every_method(PROFILES).replace("enroll_methods", listed)).await;
    collection.add_authorities(&site, "both");
    let lists = ["attestation", "attestation-virtual", "issuing"];
    collection.add_lists(&site, "empty", &lists).await;

    let module = Module::new(&site.vendor, NOW);
    let enrolled = site.enroll(DAVE, &module, "device-1").await;
    collection.add_answer("tpm", &enrolled["certificates"]);
    let (attest, x509) = (chain(&enrolled["certificates"]["attest"]), chain(&enrolled["certificates"]["certify_x509"]));
    let host = SoftwareKey::generate();
    let hosted = enroll(&site, DAVE, &host, "device-2", json!({"method": "first-use"})).await;
    collection.add_answer("host", &hosted["certificates"]);

    for profile in ["device", "tls-client", "tls-both", "code-signing"] {
        let issued = certificate(&site, profile, |nonce| module.csr(nonce, &attest, None)).await;
        collection.add_answer(profile, &issued);
    }
    let key = SoftwareKey::generate();
    let published = certificate(&site, "published", |nonce| {
        let statements = vec![
            quote_statement(&module, &[[0xA1; 32], [0xB2; 32]], nonce),
            x509_statement(&module, &key, nonce, &x509, NOW),
        ];
        request(&key, statements, &[attest[0].clone(), x509[0].clone()])
    });
    collection.add_answer("published", &published.await);

    let clock = std::sync::Arc::clone(&site.clock) as std::sync::Arc<dyn Clock>;
    let administration = Administration::open(&site.config(), clock).unwrap();
    for (key, reason) in [(&module.ak, RevocationReason::KeyCompromise), (&host, RevocationReason::Unspecified)] {
        assert!(administration.revoke(&key.spki().sha256(), reason, "alma", true).unwrap().revoked > 0);
    }
    site.clock.advance(61);
    collection.add_lists(&site, "revoked", &lists).await;
    collection.check();
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_in_pseudonyms() {
    let collection = Collection::new();
    let settings = "role = 'enrolment'\n[pseudonyms]\nlink = 'forget'\n";
    let account = format!("[[accounts]]\nname = 'fleet'\ntoken_sha256 = '{}'\nmay = ['enroll']\n", digest_hex(ALICE));
    let mut site = Site::install_for(tempfile::tempdir().unwrap(), settings, &account);
    std::fs::write(site.state().join("trust/tpm-ek/vendor.pem"), site.vendor.root_pem()).unwrap();
    site.restart().await;
    collection.add_authorities(&site, "enrolment");
    let module = Module::new(&site.vendor, NOW);
    collection.add_answer("pseudonym", &site.enroll(ALICE, &module, "device-1").await["certificates"]);
    collection.check();
}

/// Everything that several issuers sign and that is signed about them: certificates that name their lists, the lists, the
/// certificates of the server's CMP key, and links between roots.
#[tokio::test(flavor = "multi_thread")]
async fn nor_in_what_several_issuers_sign() {
    let collection = Collection::new();
    let folder = tempfile::tempdir().unwrap();
    // The issuer of another installation serves as one of this.
    let other = Site::install(tempfile::tempdir().unwrap(), "");
    let theirs = |name: &str| other.state().join("ca").join(name);
    let chain_file = folder.path().join("named.pem");
    let of_other = ["issuing-ca.crt", "issuing-root.crt"].map(|name| std::fs::read_to_string(theirs(name)).unwrap());
    std::fs::write(&chain_file, of_other.concat()).unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "a secret of alice, long enough").unwrap();
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let settings = format!(
        "[distribution]\nurl = 'http://pki.example/vouchsafe'\n\
         [[issuers]]\nname = 'named'\ncertificate = '{}'\nkey = '{}'\nfollows = 'issuing'\nlinks = '{}'\n\
         [[profiles]]\nname = 'device'\n[[profiles]]\nname = 'named'\nissuer = 'named'\n",
        chain_file.display(),
        theirs("issuing-ca.key").display(),
        folder.path().join("links.pem").display(),
    );
    let account = format!(
        "[[accounts]]\nname = 'alice'\ntoken_sha256 = '{}'\nmay = ['enroll', 'issue']\ncmp_reference = 'a'\ncmp_secret = '{}'\n",
        digest_hex(ALICE),
        secret.display()
    );
    let mut site = Site::install_for(tempfile::tempdir().unwrap(), &settings, &account);
    let root = |folder: std::path::PathBuf| RootFiles {
        certificate: folder.join("issuing-root.crt"),
        key: folder.join("issuing-root.key"),
    };
    let links = link(&root(site.state().join("ca")), &root(other.state().join("ca")), NOW).unwrap();
    std::fs::write(folder.path().join("links.pem"), &links).unwrap();
    for (index, block) in vouchsafe_evidence::pem::read(links.as_bytes()).unwrap().iter().enumerate() {
        collection.add(&format!("link-{index}.crt"), block.contents());
    }
    site.restart().await;
    let names = ["issuing", "named"];
    collection.add_lists(&site, "empty", &names).await;
    let module = Module::new(&site.vendor, NOW);
    let enrolled = site.enroll(ALICE, &module, "device-1").await;
    let attest = chain(&enrolled["certificates"]["attest"]);
    for profile in ["device", "named"] {
        let nonce = site.nonce(ALICE, json!({"purpose": "certificate", "profile": profile})).await;
        let csr = module.csr(&nonce, &attest, None);
        let body = json!({"csr": b64(&csr), "nonce": hex(&nonce), "profile": profile});
        let issued = granted(&site.post("/v1/certificates", Some(ALICE), body).await);
        let (serial, issuer) = {
            let leaf = CertView::parse(&chain(&issued)[0]).unwrap();
            (leaf.serial().to_vec(), leaf.issuer().clone())
        };
        collection.add_answer(profile, &issued);
        // What signs answers of CMP, by the profile's issuer: the first of the certificates that a refusal brings along.
        let refused = Client::new(Protection::None).on(&format!("/p/{profile}")).send(&site, GENM, &[0x30, 0]).await;
        collection.add(&format!("cmp-{profile}.crt"), &refused.extra_certificates()[0]);
        let owner = Protection::pbm("a", "a secret of alice, long enough");
        let revoked = Client::new(owner).send(&site, RR, &revocation_by(&issuer, &serial, 1)).await;
        assert!(revoked.codes().is_empty(), "{:?}", revoked.codes());
    }
    site.clock.advance(61);
    collection.add_lists(&site, "revoked", &names).await;
    collection.check();
}

#[test]
fn the_other_linter_finds_what_is_wrong() {
    let key = SoftwareKey::generate();
    let algorithm = build::algorithm_identifier(oid::ECDSA_WITH_SHA256);
    let name = build::distinguished_name(&[(oid::COMMON_NAME, "a name")]).unwrap();
    let template = CertificateTemplate {
        serial: vec![0x41; 21],
        algorithm: algorithm.clone(),
        issuer: name.clone(),
        not_before: NOW,
        not_after: NOW + 60,
        subject: name,
        spki: key.spki(),
        extensions: Vec::new(),
    };
    let tbs = template.tbs_der();
    let collection = Collection::new();
    collection.add("bad.crt", &build::assemble(&tbs, &algorithm, &key.sign_der(&tbs)));
    let output = linted(collection.0.path());
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("bad.crt"), "{said}");
}
