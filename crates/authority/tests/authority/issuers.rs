//! Several issuers, keys in a token, and the change from one to the next.

#[path = "issuers/distribution.rs"]
mod distribution;
#[path = "issuers/succession.rs"]
mod succession;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use vouchsafe_authority::Config;
use vouchsafe_evidence::oid;
use vouchsafe_evidence::x509::build;
use vouchsafe_evidence::x509::extensions::{BasicConstraints, KeyUsage};
use vouchsafe_evidence::x509::{CertView, CrlView, NameView};

use crate::faults::SERVE;
use crate::module::{Module, SoftwareKey, pem, sign_certificate};
use crate::process::serve_again;
use crate::site::{ALICE, NOW, Site, b64, chain, hex};

const PIN: &str = "1234";
const LIBRARIES: [&str; 3] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
];

/// A root and a CA beneath it, the root's key gone, the CA's in PKCS#8.
struct Authority {
    root: Vec<u8>,
    root_key: SoftwareKey,
    ca: CertView,
    key: SoftwareKey,
}

fn named(text: &str) -> NameView {
    build::distinguished_name(&[(oid::COMMON_NAME, text)]).unwrap()
}

impl Authority {
    fn new(name: &str) -> Self {
        Self::at(name, NOW)
    }

    /// One that is valid for ten years from then on.
    fn at(name: &str, now: i64) -> Self {
        let (root_key, key) = (SoftwareKey::generate(), SoftwareKey::generate());
        let root_name = named(&format!("{name} Root"));
        let extensions = |identifier: &[u8; 20]| {
            vec![
                build::basic_constraints(true, BasicConstraints { ca: true, path_length: None }),
                build::key_usage(true, KeyUsage::from_bits(KeyUsage::KEY_CERT_SIGN | KeyUsage::CRL_SIGN)),
                build::subject_key_identifier(identifier),
                build::authority_key_identifier(&[1; 20]),
            ]
        };
        let root =
            sign_certificate((&root_name, &root_key), root_name.clone(), root_key.spki(), now, extensions(&[1; 20]));
        // Made by others, with an identifier that is no digest of this authority's kind.
        let ca = sign_certificate((&root_name, &root_key), named(name), key.spki(), now, extensions(&[2; 20]));
        Self { root, root_key, ca: CertView::parse(&ca).unwrap(), key }
    }

    /// The certificate of this root by that of another.
    fn linked(&self, by: &Self) -> Vec<u8> {
        let (own, by_root) = (CertView::parse(&self.root).unwrap(), CertView::parse(&by.root).unwrap());
        let extensions = vec![
            build::basic_constraints(true, BasicConstraints { ca: true, path_length: None }),
            build::key_usage(true, KeyUsage::from_bits(KeyUsage::KEY_CERT_SIGN | KeyUsage::CRL_SIGN)),
            build::subject_key_identifier(&[1; 20]),
            build::authority_key_identifier(&[1; 20]),
        ];
        let issuer = (by_root.subject(), &by.root_key);
        sign_certificate(issuer, own.subject().clone(), self.root_key.spki(), NOW, extensions)
    }

    fn write(&self, folder: &Path, name: &str) -> PathBuf {
        let path = folder.join(name);
        fs::write(&path, pem(self.ca.as_der()) + &pem(&self.root)).unwrap();
        path
    }

    fn key_pem(&self) -> String {
        self.key.pkcs8_pem()
    }
}

pub struct Token {
    folder: PathBuf,
}

impl Token {
    /// A token with this key in it.
    pub fn with(folder: &Path, key_pem: &str) -> Self {
        let token = Self { folder: folder.to_owned() };
        fs::create_dir_all(folder.join("tokens")).unwrap();
        let tokens = folder.join("tokens").display().to_string();
        let conf = format!("directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n");
        fs::write(token.conf(), conf).unwrap();
        fs::write(folder.join("key.pem"), key_pem).unwrap();
        token.util(&["--init-token", "--free", "--label", "ca", "--so-pin", "12345678"]);
        let file = folder.join("key.pem").display().to_string();
        token.util(&["--import", &file, "--token", "ca", "--label", "issuing", "--id", "01"]);
        fs::remove_file(folder.join("key.pem")).unwrap();
        token.set_pin(PIN);
        token
    }

    fn conf(&self) -> PathBuf {
        self.folder.join("softhsm2.conf")
    }

    fn util(&self, arguments: &[&str]) {
        let mut util = Command::new("softhsm2-util");
        let output = util.args(arguments).args(["--pin", PIN]).env("SOFTHSM2_CONF", self.conf()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn set_pin(&self, pin: &str) {
        fs::write(self.folder.join("pin"), format!("{pin}\n")).unwrap();
        fs::set_permissions(self.folder.join("pin"), Permissions::from_mode(0o600)).unwrap();
    }

    pub fn serve(&self) -> Command {
        let mut command = serve_again(&SERVE);
        command.env("SOFTHSM2_CONF", self.conf());
        command
    }

    pub fn settings(&self) -> String {
        let library = LIBRARIES.iter().find(|path| Path::new(path).exists()).expect("softhsm2");
        let pin = self.folder.join("pin");
        format!("pkcs11 = {{ module = '{library}', token = 'ca', key = 'issuing', pin_file = '{}' }}", pin.display())
    }
}

async fn certificate(site: &Site, module: &Module, ak_chain: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let nonce = site.certificate_nonce(ALICE).await;
    let csr = module.csr(&nonce, ak_chain, None);
    let body = json!({"csr": b64(&csr), "nonce": hex(&nonce)});
    let reply = site.post("/v1/certificates", Some(ALICE), body.clone()).await;
    assert_eq!(reply.status, 201, "{}", String::from_utf8_lossy(&reply.body));
    // Asked for again it is the same, with the same issuers.
    assert_eq!(site.post("/v1/certificates", Some(ALICE), body).await.body, reply.body);
    chain(&reply.json()["certificates"])
}

async fn list(site: &Site, name: &str) -> CrlView {
    let reply = site.exchange("GET", &format!("/v1/revocation-lists/{name}"), &[], b"").await;
    assert_eq!(reply.status, 200, "{name}");
    CrlView::parse(&reply.body).unwrap()
}

fn openssl_accepts(site: &Site, chain: &[Vec<u8>], root: &[u8], list: &CrlView) -> bool {
    let file = |name: &str, text: String| {
        let path = site.dir.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let crl = pem(list.as_der()).replace("CERTIFICATE", "X509 CRL");
    let output = Command::new("openssl")
        .args(["verify", "-x509_strict", "-crl_check", "-attime", &(NOW + 1).to_string(), "-CAfile"])
        .arg(file("root.pem", pem(root)))
        .arg("-untrusted")
        .arg(file("ca.pem", pem(&chain[1])))
        .arg("-CRLfile")
        .args([file("list.pem", crl), file("leaf.pem", pem(&chain[0]))])
        .output()
        .unwrap();
    output.status.success()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_an_issuer_is_in_a_token_and_the_old_issuers_list_goes_on() {
    let (old, new) = (Authority::new("Issuing 2026"), Authority::new("Issuing 2027"));
    let folder = tempfile::tempdir().unwrap();
    let token = Token::with(folder.path(), &new.key_pem());
    fs::write(folder.path().join("old.key"), old.key_pem()).unwrap();
    let settings = |profile: &str| {
        format!(
            "[[issuers]]\nname = '2026'\ncertificate = '{}'\nkey = '{}'\n\
             [[issuers]]\nname = '2027'\ncertificate = '{}'\n{}\n[[profiles]]\nname = 'device'\nissuer = '{profile}'\n",
            old.write(folder.path(), "old.pem").display(),
            folder.path().join("old.key").display(),
            new.write(folder.path(), "new.pem").display(),
            token.settings(),
        )
    };
    let mut site = Site::install(tempfile::tempdir().unwrap(), &settings("2026"));
    let served = site.serve(token.serve()).unwrap();
    let module = Module::new(&site.vendor, NOW);
    let ak_chain = chain(&site.enroll(ALICE, &module, "device-1").await["certificates"]["attest"]);
    let before = certificate(&site, &module, &ak_chain).await;
    assert!(String::from_utf8_lossy(&served.logs()).contains("which is for labs"), "a key in a file is warned of");
    drop(served);

    site.reconfigure(|config| config.replace("issuer = '2026'", "issuer = '2027'"));
    let _served = site.serve(token.serve()).unwrap();
    let after = certificate(&site, &module, &ak_chain).await;
    for (issued, authority, name) in [(&before, &old, "2026"), (&after, &new, "2027")] {
        assert_eq!(issued[1], authority.ca.as_der());
        assert_eq!(CertView::parse(&issued[0]).unwrap().issuer(), authority.ca.subject());
        // Of both there is a list, made by its own key.
        let list = list(&site, name).await;
        assert_eq!((list.issuer(), list.authority_key_identifier()), (authority.ca.subject(), Some(&[2; 20][..])));
        assert!(openssl_accepts(&site, issued, &authority.root, &list), "{name}");
    }
    assert_eq!(list(&site, "issuing").await.entries().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_cannot_sign_for_the_certificate_is_told_at_the_start() {
    let authority = Authority::new("Issuing");
    let folder = tempfile::tempdir().unwrap();
    let token = Token::with(folder.path(), &authority.key_pem());
    let certificate = authority.write(folder.path(), "ca.pem");
    let settings = |token: &str| {
        format!(
            "[[issuers]]\nname = 'hsm'\ncertificate = '{}'\n{token}\n[[profiles]]\nname = 'device'\nissuer = 'hsm'\n",
            certificate.display()
        )
    };
    let mut site = Site::install(tempfile::tempdir().unwrap(), &settings(&token.settings()));
    let said = |site: &mut Site| site.serve(token.serve()).err().expect("an error at the start");
    for (setting, other, why) in [
        ("key = 'issuing'", "key = 'none'", "0 private keys"),
        ("token = 'ca'", "token = 'none'", "no token is labeled"),
    ] {
        site.reconfigure(|config| config.replace(setting, other));
        assert!(said(&mut site).contains(why), "{why}");
        site.reconfigure(|config| config.replace(other, setting));
    }
    token.set_pin("4321");
    assert!(said(&mut site).contains("the token refused this PIN"));
    token.set_pin(PIN);
    fs::set_permissions(folder.path().join("pin"), Permissions::from_mode(0o640)).unwrap();
    assert!(said(&mut site).contains("others may read"));
    token.set_pin(PIN);
    assert!(site.serve(token.serve()).is_ok());
    // The certificate of another key, and one that is no CA's.
    Authority::new("Other").write(folder.path(), "ca.pem");
    assert!(said(&mut site).contains("does not verify under the certificate's key"));
    fs::write(&certificate, pem(&Module::new(&site.vendor, NOW).ek_certificate)).unwrap();
    assert!(said(&mut site).contains("keyCertSign"));
}

#[test]
fn issuers_are_named_once_and_profiles_name_one_that_is_there() {
    let with = |text: &str| Config::from_toml(&format!("{text}\n[tls]\nself_signed = true\n"));
    let issuer = |name: &str, key: &str| format!("[[issuers]]\nname = '{name}'\ncertificate = 'c'\n{key}\n");
    let profile = |issuer: &str| format!("[[profiles]]\nname = 'p'\nissuer = '{issuer}'\n");
    let file = "key = 'k'";
    let token = "pkcs11 = { module = 'm', token = 't', key = 'k', pin_file = 'p' }";
    assert!(with(&(issuer("a", file) + &issuer("b", token) + &profile("b"))).is_ok());
    assert!(with(&profile("issuing")).is_ok());
    for (text, why) in [
        (issuer("a", file) + &issuer("a", file), "once"),
        (issuer("issuing", file), "taken"),
        (issuer("attestation", file), "taken"),
        (issuer("a", ""), "either key or pkcs11"),
        (issuer("a", &format!("{file}\n{token}")), "either key or pkcs11"),
        (profile("a"), "there is no issuer a"),
    ] {
        let error = with(&text).unwrap_err().to_string();
        assert!(error.contains(why), "{text}: {error}");
    }
}
