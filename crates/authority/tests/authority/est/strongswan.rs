//! strongSwan's `pki`: an EST client that was not written here. It knows of no nonces.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{SystemTime, UNIX_EPOCH};

use vouchsafe_evidence::tpm::EccScheme;
use vouchsafe_evidence::tpm::template::USER_KEY_ATTRIBUTES;
use vouchsafe_evidence::x509::CertView;

use super::{enrolled, request_for};
use crate::module::{SoftwareKey, request};
use crate::site::{ALICE, Site, digest_hex};

/// A site by the real clock, which is strongSwan's too.
async fn site() -> Site {
    let accounts =
        format!("[[accounts]]\nname = 'alice'\ntoken_sha256 = '{}'\nmay = ['enroll', 'issue']\n", digest_hex(ALICE));
    let settings = "[[profiles]]\nname='device'\nfreshness='when-given'\n[[profiles]]\nname='strict'\n";
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let dir = tempfile::tempdir().unwrap();
    let mut site = Site::install_at(dir, i64::try_from(now).unwrap(), settings, &accounts);
    site.restart().await;
    site
}

struct Client {
    folder: PathBuf,
    url: String,
    tls_root: PathBuf,
    issuing_root: PathBuf,
}

impl Client {
    fn new(site: &Site) -> Self {
        Self {
            folder: site.dir.path().to_owned(),
            url: format!("https://localhost:{}", site.address().port()),
            tls_root: site.tls_root().to_owned(),
            issuing_root: site.state().join("ca/issuing-root.crt"),
        }
    }

    fn file(&self, name: &str, octets: &[u8]) -> PathBuf {
        let path = self.folder.join(name);
        std::fs::write(&path, octets).unwrap();
        path
    }

    async fn run(&self, verb: &str, arguments: &[&Path]) -> Output {
        let mut command = Command::new("pki");
        command.arg(verb).arg("--cacert").arg(&self.tls_root).args(arguments).current_dir(&self.folder);
        let run = tokio::task::spawn_blocking(move || command.output());
        run.await.unwrap().expect("strongSwan's pki, which scripts/prepare installs")
    }

    async fn enroll(&self, url: &str, csr: &Path, arguments: &[&Path]) -> Output {
        let ca =
            ["--cacert".as_ref(), self.issuing_root.as_path(), "--url".as_ref(), url.as_ref(), "--in".as_ref(), csr];
        self.run("--est", &[&ca[..], arguments].concat()).await
    }
}

fn issued(output: &Output) -> CertView {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    CertView::parse(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn strongswan_enrolls_by_password_and_renews_by_certificate() {
    let site = site().await;
    let client = Client::new(&site);
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let password = format!("alice:{ALICE}");
    let password: [&Path; 2] = ["--userpass".as_ref(), password.as_ref()];

    let out = client.folder.join("ca.pem");
    let arguments = [
        "--url".as_ref(),
        client.url.as_ref(),
        "--caout".as_ref(),
        out.as_path(),
        "--outform".as_ref(),
        "pem".as_ref(),
    ];
    let fetched = client.run("--estca", &arguments).await;
    assert!(fetched.status.success(), "{}", String::from_utf8_lossy(&fetched.stderr));
    let files = std::fs::read_dir(&client.folder).unwrap().map(|entry| entry.unwrap().file_name());
    let written: Vec<_> = files.filter(|name| name.to_string_lossy().starts_with("ca")).collect();
    assert_eq!(written.len(), 2, "{written:?}");

    let key = SoftwareKey::generate();
    let csr = client.file("device.csr", &request_for(&key, "device-1", &module, b"no nonce was asked for", &ak_chain));
    let output = client.enroll(&client.url, &csr, &password).await;
    let leaf = issued(&output);
    assert_eq!(leaf.subject().to_display(), "CN=device-1");
    assert!(leaf.spki().same_key(&key.spki()));

    let next = SoftwareKey::generate();
    let csr = client.file("next.csr", &request_for(&next, "device-1", &module, b"no nonce was asked for", &ak_chain));
    let (old, old_key) = (client.file("device.crt", leaf.as_der()), client.file("device.key", &key.pkcs8()));
    let renewal = ["--cert".as_ref(), old.as_path(), "--key".as_ref(), old_key.as_path()];
    let renewed = issued(&client.enroll(&client.url, &csr, &renewal).await);
    assert!(renewed.spki().same_key(&next.spki()) && renewed.subject() == leaf.subject());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_false_gets_no_certificate_by_strongswan() {
    let site = site().await;
    let client = Client::new(&site);
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let password = format!("alice:{ALICE}");
    let password: [&Path; 2] = ["--userpass".as_ref(), password.as_ref()];
    let key = SoftwareKey::generate();
    let imported = key.public(USER_KEY_ATTRIBUTES & !0x32, EccScheme::Null);
    let false_statement = vec![module.key_statement(&imported, b"no nonce was asked for")];
    let csr = client.file("false.csr", &request(&key, "device-1", false_statement, &ak_chain));
    let refused = client.enroll(&client.url, &csr, &password).await;
    assert!(!refused.status.success() && refused.stdout.is_empty(), "{refused:?}");
    let told = String::from_utf8_lossy(&refused.stderr);
    assert!(told.contains("422"), "{told}");

    let csr = client.file("true.csr", &request_for(&key, "device-1", &module, b"no nonce was asked for", &ak_chain));
    let wrong: [&Path; 2] = ["--userpass".as_ref(), "alice:wrong".as_ref()];
    let refused = client.enroll(&client.url, &csr, &wrong).await;
    assert!(!refused.status.success(), "{refused:?}");
    issued(&client.enroll(&client.url, &csr, &password).await);
}
