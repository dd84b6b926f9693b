//! Clients that were not written here: certbot and lego. They know of no nonces for evidence.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{SystemTime, UNIX_EPOCH};

use vouchsafe_evidence::base64url;
use vouchsafe_evidence::bundle::AttestationStatement;
use vouchsafe_evidence::oid;
use vouchsafe_evidence::pem;
use vouchsafe_evidence::statement::TpmCertify;
use vouchsafe_evidence::tpm::EccScheme;
use vouchsafe_evidence::tpm::template::USER_KEY_ATTRIBUTES;
use vouchsafe_evidence::x509::CertView;

use super::client::{ALICE_SECRET, Stage};
use super::{alternative_names, attested, dns, enrolled, request};
use crate::module::{Module, SoftwareKey};
use crate::site::{ALICE, Site, b64};

const NAME: &str = "device-1.example.com";

/// A site by the real clock, which is the clients' too; orders that name no profile are for `stock`.
async fn stand() -> (Stage, Site, Module, Vec<Vec<u8>>) {
    let stage = Stage::without_host();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut site = stage.site(i64::try_from(now).unwrap(), true).await;
    site.reconfigure(|config| config.replace("[acme]\n", "[acme]\nprofile = 'stock'\n"));
    site.restart().await;
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    (stage, site, module, ak_chain)
}

/// A request in PEM, in a file.
fn file(site: &Site, name: &str, csr: &[u8]) -> PathBuf {
    let text: Vec<String> =
        b64(csr).as_bytes().chunks(64).map(|line| String::from_utf8(line.to_vec()).unwrap()).collect();
    let path = site.dir.path().join(name);
    let text = format!("-----BEGIN CERTIFICATE REQUEST-----\n{}\n-----END CERTIFICATE REQUEST-----\n", text.join("\n"));
    std::fs::write(&path, text).unwrap();
    path
}

/// A request whose key statement nobody signed.
fn false_request(module: &Module, ak_chain: &[Vec<u8>]) -> Vec<u8> {
    let key = SoftwareKey::generate();
    let public = key.public(USER_KEY_ATTRIBUTES, EccScheme::Null);
    let (attest, _) = module.certify(&public, &[7; 32]);
    let statement = TpmCertify { attest, signature: key.sign_tpmt(b"x"), public: Some(public.as_bytes().to_vec()) };
    let statement = AttestationStatement::new(oid::STATEMENT_TPM_CERTIFY, statement.to_der());
    request(&key, &dns(NAME), vec![statement], ak_chain)
}

async fn run(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap()
        .expect("a client that scripts/prepare installs")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn check_chain(path: &Path) {
    let blocks = pem::read(&std::fs::read(path).unwrap()).unwrap();
    let chain: Vec<CertView> = blocks.iter().map(|block| CertView::parse(block.contents()).unwrap()).collect();
    assert_eq!(chain[0].subject().to_display(), "CN=device-1");
    assert_eq!(alternative_names(&chain[0]), dns(NAME));
    assert_eq!(chain[0].issuer(), chain[1].subject());
}

fn directory(site: &Site) -> String {
    format!("https://localhost:{}/acme/directory", site.address().port())
}

fn certbot(stage: &Stage, site: &Site, csr: &Path, folder: &Path) -> Command {
    let mut command = Command::new("certbot");
    command.env("REQUESTS_CA_BUNDLE", site.tls_root()).arg("certonly").args(["--server", &directory(site)]);
    command.args(["--non-interactive", "--agree-tos", "--register-unsafely-without-email"]);
    command.args(["--eab-kid", "alice", "--eab-hmac-key", &base64url::encode(&ALICE_SECRET)]);
    command.args(["--standalone", "--http-01-address", "127.0.0.1", "--http-01-port", &stage.host.port().to_string()]);
    for (option, name) in [("--config-dir", "config"), ("--work-dir", "work"), ("--logs-dir", "logs")] {
        command.arg(option).arg(folder.join(name));
    }
    for option in ["--cert-path", "--chain-path", "--fullchain-path"] {
        command.arg(option).arg(folder.join(format!("{}.pem", option.trim_matches('-'))));
    }
    command.arg("--csr").arg(csr);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn certbot_enrolls_an_attested_key() {
    let (stage, site, module, ak_chain) = stand().await;
    let folder = site.dir.path().join("certbot");
    std::fs::create_dir(&folder).unwrap();
    let csr = file(&site, "good.csr", &attested(&module, &ak_chain, NAME, &[7; 32]));
    let output = run(certbot(&stage, &site, &csr, &folder)).await;
    assert!(output.status.success(), "{}", said(&output));
    check_chain(&folder.join("fullchain-path.pem"));
    let csr = file(&site, "false.csr", &false_request(&module, &ak_chain));
    let refused = run(certbot(&stage, &site, &csr, &folder)).await;
    assert!(!refused.status.success());
    // Some versions stumble over their own error on the way to the terminal; the log has what the server said.
    let log = std::fs::read_to_string(folder.join("logs/letsencrypt.log")).unwrap();
    assert!((said(&refused) + &log).contains("tpm.bad-signature"), "{log}");
}

fn lego(stage: &Stage, site: &Site, csr: &Path, folder: &Path) -> Command {
    let mut command = Command::new("lego");
    command.env("LEGO_CA_CERTIFICATES", site.tls_root()).args(["--server", &directory(site), "--accept-tos"]);
    command.args(["--email", "owner@example.com", "--eab", "--kid", "alice"]);
    command.args(["--hmac", &base64url::encode(&ALICE_SECRET)]);
    command.arg("--path").arg(folder).args(["--http", "--http.port", &format!("127.0.0.1:{}", stage.host.port())]);
    command.arg("--csr").arg(csr).arg("run");
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn lego_enrolls_an_attested_key() {
    let (stage, site, module, ak_chain) = stand().await;
    let folder = site.dir.path().join("lego");
    let csr = file(&site, "good.csr", &attested(&module, &ak_chain, NAME, &[7; 32]));
    let output = run(lego(&stage, &site, &csr, &folder)).await;
    assert!(output.status.success(), "{}", said(&output));
    let written = std::fs::read_dir(folder.join("certificates")).unwrap().map(|entry| entry.unwrap().path());
    let chain = written
        .filter(|path| path.to_string_lossy().ends_with(".crt"))
        .find(|path| !path.to_string_lossy().contains("issuer"));
    check_chain(&chain.unwrap());
    let csr = file(&site, "false.csr", &false_request(&module, &ak_chain));
    let refused = run(lego(&stage, &site, &csr, &folder)).await;
    assert!(!refused.status.success());
    assert!(said(&refused).contains("tpm.bad-signature"), "{}", said(&refused));
}
