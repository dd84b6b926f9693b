//! `openssl cmp`, a client that was written elsewhere.

use std::path::PathBuf;
use std::process::{Command, Output};

use vouchsafe_evidence::bundle::AttestationBundle;

use super::*;
use crate::module::pem;

/// What openssl is given, in files.
struct Files<'a>(&'a Site);

impl Files<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.0.dir.path().join(name)
    }

    fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> String {
        std::fs::write(self.path(name), contents).unwrap();
        self.path(name).display().to_string()
    }

    fn key(&self, name: &str, key: &SoftwareKey) -> String {
        self.write(name, key.pkcs8_pem())
    }

    /// A configuration whose section `evidence` asks for the extension that holds a bundle.
    fn extensions(&self, name: &str, module: &Module, key: &SoftwareKey, ak_chain: &[Vec<u8>]) -> String {
        let public = key.public(USER_KEY_ATTRIBUTES, EccScheme::Null);
        let certificates = ak_chain.iter().map(|der| CertView::parse(der).unwrap()).collect();
        let statement = module.key_statement(&public, b"sixteen octets..");
        let bundle = AttestationBundle::new(vec![statement], certificates).unwrap();
        let text = format!("[cmp]\n[evidence]\n1.2.840.113549.1.9.16.2.59=DER:{}\n", hex(&bundle.to_der()));
        self.write(name, text)
    }

    /// Runs `openssl cmp` against the profile without nonces, in a blocking place.
    async fn cmp(&self, arguments: &[&str]) -> Output {
        let server = format!("https://localhost:{}/.well-known/cmp/p/stock", self.0.address().port());
        let root = self.0.state().join("ca/issuing-root.crt");
        let mut command = Command::new("openssl");
        command.args(["cmp", "-server", &server, "-tls_used", "-tls_trusted"]).arg(self.0.tls_root());
        command.args(["-attime", &self.0.clock.now().to_string(), "-trusted"]).arg(&root);
        command.args(["-recipient", "/CN=authority", "-batch", "-certout"]).arg(self.path("new.pem"));
        command.args(arguments);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    fn new_certificate(&self) -> CertView {
        let blocks = vouchsafe_evidence::pem::read(&std::fs::read(self.path("new.pem")).unwrap()).unwrap();
        CertView::parse(blocks[0].contents()).unwrap()
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

const MAC: [&str; 4] = ["-ref", "alice-ref", "-secret", "pass:a secret of alice, long enough"];

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_pkcs10_by_a_secret() {
    let site = site().await;
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let files = Files(&site);
    let csr = |der: &[u8], name: &str| files.write(name, pem(der).replace("CERTIFICATE", "CERTIFICATE REQUEST"));
    let good = csr(&module.csr(b"sixteen octets..", &ak_chain, None), "good.pem");
    let output = files.cmp(&[&["-cmd", "p10cr", "-csr", &good], &MAC[..]].concat()).await;
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(files.new_certificate().subject().to_display(), "CN=device-1");
    // With HMAC over SHA-256 as well, and with implicit confirmation.
    let strong = ["-cmd", "p10cr", "-csr", &good, "-mac", "hmacWithSHA256", "-implicit_confirm"];
    let output = files.cmp(&[&strong[..], &MAC[..]].concat()).await;
    assert!(output.status.success(), "{}", text(&output));

    let key = SoftwareKey::generate();
    let public = key.public(USER_KEY_ATTRIBUTES & !0x32, EccScheme::Null);
    let false_statement = csr(&module.csr_for(&key, &public, b"sixteen octets..", &ak_chain, None), "false.pem");
    let output = files.cmp(&[&["-cmd", "p10cr", "-csr", &false_statement], &MAC[..]].concat()).await;
    assert!(!output.status.success());
    assert!(text(&output).contains("tpm.key-not-fixed"), "{}", text(&output));

    let wrong = ["-ref", "alice-ref", "-secret", "pass:another secret than alice's"];
    let output = files.cmp(&[&["-cmd", "p10cr", "-csr", &good, "-unprotected_errors"], &wrong[..]].concat()).await;
    assert!(!output.status.success());
    assert!(text(&output).contains("cmp.bad-mac"), "{}", text(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_in_crmf_by_a_secret_then_by_the_certificate_and_its_revocation() {
    let site = site().await;
    let (module, ak_chain) = enrolled(&site, ALICE, "device-1").await;
    let files = Files(&site);
    let (first, second) = (SoftwareKey::generate(), SoftwareKey::generate());
    let (first_key, second_key) = (files.key("first.key", &first), files.key("second.key", &second));
    let first_config = files.extensions("first.cnf", &module, &first, &ak_chain);
    let second_config = files.extensions("second.cnf", &module, &second, &ak_chain);

    // Of its own accord openssl sends no evidence.
    let bare = ["-cmd", "ir", "-newkey", &first_key, "-subject", "/CN=device-1"];
    let output = files.cmp(&[&bare[..], &MAC[..]].concat()).await;
    assert!(!output.status.success());
    assert!(text(&output).contains("csr.no-attestation"), "{}", text(&output));

    for command in ["ir", "cr"] {
        let asked = ["-cmd", command, "-newkey", &first_key, "-subject", "/CN=device-1", "-config", &first_config];
        let output = files.cmp(&[&asked[..], &["-section", "cmp", "-reqexts", "evidence"], &MAC[..]].concat()).await;
        assert!(output.status.success(), "{command}: {}", text(&output));
        assert!(files.new_certificate().spki().same_key(&first.spki()));
    }
    // raVerified is not for it to say.
    let asked = ["-cmd", "ir", "-newkey", &first_key, "-subject", "/CN=device-1", "-popo", "0"];
    let output = files.cmp(&[&asked[..], &MAC[..]].concat()).await;
    assert!(text(&output).contains("cmp.bad-proof"), "{}", text(&output));

    let old = files.write("old.pem", std::fs::read(files.path("new.pem")).unwrap());
    let own = ["-cert", &old, "-key", &first_key];
    let update = ["-cmd", "kur", "-newkey", &second_key, "-config", &second_config, "-section", "cmp"];
    let output = files.cmp(&[&update[..], &["-reqexts", "evidence"], &own[..]].concat()).await;
    assert!(output.status.success(), "{}", text(&output));
    assert!(files.new_certificate().spki().same_key(&second.spki()));
    assert_eq!(files.new_certificate().subject().to_display(), "CN=device-1");

    let output = files.cmp(&[&["-cmd", "rr", "-oldcert", &old, "-revreason", "4"], &own[..]].concat()).await;
    assert!(output.status.success(), "{}", text(&output));
    let output = files.cmp(&[&["-cmd", "genm"], &own[..]].concat()).await;
    assert!(!output.status.success(), "a revoked certificate speaks for nobody");
}
