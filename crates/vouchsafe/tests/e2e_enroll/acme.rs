//! Keys of a TPM certified by ACME, with clients that were not written here: certbot and lego, which know of no nonces, and
//! for device-attest-01 the Python package `acme`, with objects that the package `fido2` encodes.

use std::collections::HashMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use vouchsafe_evidence::x509::CertView;
use vouchsafe_evidence::x509::build;
use vouchsafe_evidence::x509::extensions::{GeneralName, SubjectAltName};
use vouchsafe_evidence::{base64url, oid, pem};

use crate::environment::{AuthoritySide, DeviceSide, openssl_accepts};
use crate::est::{leaf, signed_request, spki, statement_about};

#[path = "../../../authority/tests/authority/acme/resolver.rs"]
mod resolver;

/// The host that certificates are asked for; it is this machine for whoever asks the tests' resolver.
const HOST: &str = "web.example.com";
/// The key of the external account `lab`.
const SECRET: [u8; 32] = [0xA7; 32];
const PROFILES: &str = "[[profiles]]\nname = \"device\"\nfreshness = \"when-given\"\n\
                        alternative_names = [\"dns\", \"permanent-identifier\"]\n[[profiles]]\nname = \"strict\"\n";

/// A port that nobody has, for now.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A device that is enrolled, with two keys, and an authority that speaks ACME.
struct Stand {
    device: DeviceSide,
    authority: AuthoritySide,
    /// Where clients answer http-01.
    http_port: u16,
    _secret: TempDir,
}

impl Stand {
    fn new() -> Self {
        let device = DeviceSide::start();
        let (port, http_port) = (free_port(), free_port());
        let folder = TempDir::new().unwrap();
        let secret = folder.path().join("lab.key");
        fs::write(&secret, base64url::encode(&SECRET)).unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        let resolver = resolver::resolve(Arc::new(Mutex::new(HashMap::new())));
        let settings = format!(
            "{PROFILES}[acme]\nurl = \"https://localhost:{port}\"\nhttp_port = {http_port}\nresolver = \"{resolver}\"\n\
             private_addresses = true\nexternal_accounts = {{ lab = \"{}\" }}\n",
            secret.display()
        );
        let authority = AuthoritySide::start_with(&settings, "enroll,issue", &[&device.swtpm], |authority| {
            let path = authority.path("authority.toml");
            let config = fs::read_to_string(&path).unwrap();
            fs::write(&path, config.replace("127.0.0.1:0", &format!("127.0.0.1:{port}"))).unwrap();
        });
        let stand = Self { device, authority, http_port, _secret: folder };
        stand.run(&["enroll", "ak", "--device", "node-1", "--state", "enroll"]);
        for name in ["web", "other"] {
            stand.run(&["key", "create", name]);
        }
        stand
    }

    /// Runs the program, which must succeed; what it printed.
    fn run(&self, arguments: &[&str]) -> String {
        let run = self.device.run(&self.authority, arguments);
        assert_eq!(run.code, 0, "{run:?}");
        run.stdout
    }

    fn directory(&self) -> String {
        format!("{}/acme/directory", self.authority.url.replace("127.0.0.1", "localhost"))
    }

    /// The request that the agent makes for `web`, and the same with a statement that speaks of another key.
    fn requests(&self) -> [&'static str; 2] {
        self.run(&["csr", "web", "--san", &format!("dns:{HOST}"), "--out", "web.csr"]);
        let names = build::subject_alt_name(false, &[GeneralName::Dns(HOST.as_bytes().to_vec())]);
        let attributes = vec![
            build::extension_request_attribute(&[names]),
            statement_about(&self.device, &self.authority, "other", None),
        ];
        let csr = signed_request(&self.device, &self.authority, "web", "", attributes);
        fs::write(self.device.path("false.csr"), pem::encode("CERTIFICATE REQUEST", &csr)).unwrap();
        ["web.csr", "false.csr"]
    }

    /// Whether a file holds a certificate for the agent's key and the host, under the authority's root.
    fn check_certificate(&self, file: &str) {
        let issued = leaf(&self.device, file);
        assert_eq!(issued.subject().to_display(), "CN=node-1");
        assert!(issued.spki().same_key(&spki(&self.device, &self.authority, "web")));
        assert_eq!(alternative_names(&issued), [GeneralName::Dns(HOST.as_bytes().to_vec())]);
        let root = self.authority.path("state/ca/issuing-root.crt");
        assert!(openssl_accepts(&self.device.path(file), &root, &["-x509_strict"]));
    }
}

fn alternative_names(certificate: &CertView) -> Vec<GeneralName> {
    let extension = certificate.extension(oid::SUBJECT_ALT_NAME).unwrap();
    extension.map_or_else(Vec::new, |found| SubjectAltName::parse(found.value()).unwrap().names().to_vec())
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The documented line; what follows is where this test keeps its files and which port is the host's port 80.
fn certbot(stand: &Stand, csr: &str) -> Output {
    let key = base64url::encode(&SECRET);
    let mut command = Command::new("certbot");
    command.args(["certonly", "--standalone", "--server", &stand.directory()]);
    command.args(["--eab-kid", "lab", "--eab-hmac-key", &key, "--csr", csr]);
    command.args(["--non-interactive", "--agree-tos", "--register-unsafely-without-email"]);
    command.args(["--http-01-address", "127.0.0.1", "--http-01-port", &stand.http_port.to_string()]);
    for (option, name) in [("--config-dir", "config"), ("--work-dir", "work"), ("--logs-dir", "logs")] {
        command.arg(option).arg(stand.device.path("certbot").join(name));
    }
    for (option, name) in
        [("--cert-path", "leaf.pem"), ("--chain-path", "above.pem"), ("--fullchain-path", "certbot.pem")]
    {
        command.args([option, name]);
    }
    command.env("REQUESTS_CA_BUNDLE", stand.authority.tls_root()).current_dir(stand.device.folder.path());
    command.output().expect("certbot, which scripts/prepare installs")
}

#[test]
fn certbot_enrolls_a_key_of_the_tpm() {
    let stand = Stand::new();
    let [csr, untrue] = stand.requests();
    let made = certbot(&stand, csr);
    assert!(made.status.success(), "{}", said(&made));
    stand.check_certificate("certbot.pem");

    fs::remove_file(stand.device.path("certbot.pem")).unwrap();
    let refused = certbot(&stand, untrue);
    assert!(!refused.status.success() && !stand.device.path("certbot.pem").exists(), "{}", said(&refused));
    // Some versions stumble over their own error on the way to the terminal; the log has what the server said.
    let log = fs::read_to_string(stand.device.path("certbot/logs/letsencrypt.log")).unwrap();
    let told = said(&refused) + &log;
    assert!(told.contains("urn:ietf:params:acme:error:badCSR") && told.contains("bind.key-mismatch"), "{told}");
}

/// As [`certbot`].
fn lego(stand: &Stand, csr: &str) -> Output {
    let mut command = Command::new("lego");
    command.args(["--server", &stand.directory(), "--eab", "--kid", "lab", "--hmac", &base64url::encode(&SECRET)]);
    command.args(["--email", "owner@example.com", "--http", "--csr", csr]);
    command.args(["--accept-tos", "--path", "lego", "--http.port", &format!("127.0.0.1:{}", stand.http_port), "run"]);
    command.env("LEGO_CA_CERTIFICATES", stand.authority.tls_root()).current_dir(stand.device.folder.path());
    command.output().expect("lego, which scripts/prepare installs")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).map_or_else(|_| Vec::new(), |entries| entries.map(|entry| entry.unwrap().path()).collect())
}

#[test]
fn lego_enrolls_a_key_of_the_tpm() {
    let stand = Stand::new();
    let [csr, untrue] = stand.requests();
    let made = lego(&stand, csr);
    assert!(made.status.success(), "{}", said(&made));
    let folder = stand.device.path("lego/certificates");
    let is_chain =
        |path: &&PathBuf| path.to_string_lossy().ends_with(".crt") && !path.to_string_lossy().contains("issuer");
    let written = files(&folder);
    fs::copy(written.iter().find(is_chain).unwrap(), stand.device.path("lego.pem")).unwrap();
    stand.check_certificate("lego.pem");

    fs::remove_dir_all(&folder).unwrap();
    let refused = lego(&stand, untrue);
    assert!(!refused.status.success(), "{}", said(&refused));
    assert!(!files(&folder).iter().any(|path| is_chain(&path)));
    let told = said(&refused);
    assert!(told.contains("urn:ietf:params:acme:error:badCSR") && told.contains("bind.key-mismatch"), "{told}");
}

const PYTHON_PACKAGES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/peers/python");
const PYTHON_CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e_enroll/device_attest.py");

/// The client in Python, for an order for a device; `more` is what it does otherwise than a good client would.
fn python(stand: &Stand, identifier: &str, more: &[&str]) -> Output {
    let mut command = stand.device.command(&stand.authority);
    let program = command.get_program().to_owned();
    let environment: Vec<_> =
        command.get_envs().map(|(name, value)| (name.to_owned(), value.unwrap().to_owned())).collect();
    command = Command::new("python3");
    command.envs(environment).env("PYTHONPATH", PYTHON_PACKAGES).current_dir(stand.device.folder.path());
    command.arg(PYTHON_CLIENT).args(["--directory", &stand.directory(), "--ca"]).arg(stand.authority.tls_root());
    command.args(["--kid", "lab", "--hmac", &base64url::encode(&SECRET), "--identifier", identifier, "--program"]);
    command.arg(program).args(["--out", "python.pem"]).args(more);
    command.output().unwrap()
}

#[test]
fn a_client_in_python_has_the_tpm_answer_device_attest_01() {
    let stand = Stand::new();
    // Of a profile whose evidence must be fresh: the key authorization is what it answers.
    for encoder in ["agent", "fido2"] {
        let made = python(&stand, "permanent-identifier:node-1", &["--encoder", encoder, "--profile", "strict"]);
        assert!(made.status.success(), "{encoder}: {}", said(&made));
        let issued = leaf(&stand.device, "python.pem");
        assert_eq!(issued.subject().to_display(), "CN=node-1");
        assert!(issued.spki().same_key(&spki(&stand.device, &stand.authority, "web")));
        assert_eq!(alternative_names(&issued), []);
        let root = stand.authority.path("state/ca/issuing-root.crt");
        assert!(openssl_accepts(&stand.device.path("python.pem"), &root, &["-x509_strict"]));
        fs::remove_file(stand.device.path("python.pem")).unwrap();
    }
    // An object that answered its own order, kept for others.
    let made = python(&stand, "permanent-identifier:node-1", &["--keep", "object"]);
    assert!(made.status.success(), "{}", said(&made));
    fs::remove_file(stand.device.path("python.pem")).unwrap();
    for (identifier, more, code) in [
        ("permanent-identifier:node-1", &["--replay", "object"][..], "nonce.mismatch"),
        ("permanent-identifier:node-1", &["--wrong", "authorization"], "nonce.mismatch"),
        ("permanent-identifier:node-1", &["--wrong", "signature"], "tpm.bad-signature"),
        ("permanent-identifier:node-1", &["--wrong", "certInfo"], "tpm.bad-signature"),
        ("permanent-identifier:node-1", &["--wrong", "pubArea"], "tpm."),
        ("permanent-identifier:node-1", &["--wrong", "x5c"], "acme.attestation-object"),
        ("permanent-identifier:node-1", &["--wrong", "alg"], "acme.attestation-object"),
        ("permanent-identifier:node-1", &["--wrong", "fmt"], "acme.attestation-format"),
        ("permanent-identifier:node-1", &["--wrong", "csr"], "acme.csr-key"),
        ("permanent-identifier:node-1", &["--wrong", "evidence"], "input.ambiguous"),
        ("permanent-identifier:node-2", &[], "acme.attestation-identifier"),
        ("hardware-module:node-1/2.23.133.1.2", &[], "acme.attestation-identifier"),
    ] {
        let refused = python(&stand, identifier, more);
        let told = said(&refused);
        assert!(!refused.status.success() && !stand.device.path("python.pem").exists(), "{more:?}: {told}");
        assert!(told.contains("urn:ietf:params:acme:error:") && told.contains(code), "{identifier} {more:?}: {told}");
    }
}
