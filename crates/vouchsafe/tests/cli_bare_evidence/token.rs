//! Evidence of a key in a PKCS #11 token, from the token's first initialization to the verdict: SoftHSM, an agent, the program.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use p256::ecdsa::signature::Signer;
use p256::ecdsa::{DerSignature, SigningKey};
use tempfile::TempDir;
use vouchsafe_agent::client::{Client, Endpoint};
use vouchsafe_agent::wire::message::{FamilyChain, KeyMechanism, PkixEvidence, PlatformMechanism};
use vouchsafe_evidence::oid;
use vouchsafe_evidence::x509::build::{self, CertificateTemplate, name_from_text};
use vouchsafe_evidence::x509::extensions::{BasicConstraints, KeyUsage};
use vouchsafe_evidence::x509::{NamedCurve, SpkiView};

use crate::support::{Run, command, vouchsafe};

const PATIENCE: Duration = Duration::from_secs(20);
const NONCE: [u8; 32] = [0x5A; 32];
const LIBRARIES: [&str; 3] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
];

/// A SoftHSM token and the agent on it; ended when dropped.
struct Device {
    folder: TempDir,
    agent: Option<Child>,
}

impl Drop for Device {
    fn drop(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            let _ = agent.kill();
            let _ = agent.wait();
        }
    }
}

impl Device {
    /// A token, and the configuration of an agent that is not started yet.
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("tokens")).unwrap();
        let tokens = at("tokens").display().to_string();
        fs::write(at("softhsm2.conf"), format!("directories.tokendir = {tokens}\nlog.level = ERROR\n")).unwrap();
        let library = LIBRARIES.into_iter().find(|path| Path::new(path).exists()).expect("package softhsm2");
        let pin = at("pin").display().to_string();
        fs::write(&pin, "1234\n").unwrap();
        fs::set_permissions(&pin, Permissions::from_mode(0o600)).unwrap();
        let (state, socket) = (at("state").display().to_string(), at("agent.sock").display().to_string());
        let text = format!(
            "state = \"{state}\"\n[socket]\npath = \"{socket}\"\n[mechanisms]\nenable = [\"pkix-evidence\"]\n\
             [providers.hsm]\nkind = \"pkcs11\"\nmodule = \"{library}\"\ntoken = \"machine\"\npin_file = \"{pin}\"\n"
        );
        fs::write(at("agent.toml"), text).unwrap();
        let device = Self { folder, agent: None };
        let mut program = Command::new("softhsm2-util");
        program.args(["--init-token", "--free", "--label", "machine", "--pin", "1234", "--so-pin", "12345678"]);
        let made = program.env("SOFTHSM2_CONF", device.path("softhsm2.conf")).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        device
    }

    fn start(&mut self) {
        let mut program = self.command();
        program.arg("agent").arg("--config").arg(self.path("agent.toml"));
        self.agent = Some(program.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        let deadline = Instant::now() + PATIENCE;
        while self.client().is_none_or(|mut client| client.list_mechanisms().is_err()) {
            assert!(Instant::now() < deadline, "the agent did not start");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn command(&self) -> Command {
        let mut command = command();
        command.env("SOFTHSM2_CONF", self.path("softhsm2.conf")).current_dir(self.folder.path());
        command.env("PARSEC_SERVICE_ENDPOINT", format!("unix:{}", self.path("agent.sock").display()));
        command
    }

    fn run(&self, arguments: &[&str]) -> Run {
        self.command().args(arguments).output().unwrap().into()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn client(&self) -> Option<Client> {
        let client = Client::connect(&Endpoint::at(&self.path("agent.sock"))).ok()?;
        client.with_provider_named(None).ok()
    }
}

/// Certifies attesting keys of hosts.
struct Authority {
    key: SigningKey,
}

impl Authority {
    fn certificate(&self, spki: &SpkiView, subject: &str, extensions: Vec<Vec<u8>>) -> Vec<u8> {
        let algorithm = build::algorithm_identifier(oid::ECDSA_WITH_SHA256);
        let tbs = CertificateTemplate {
            serial: spki.sha256()[..16].to_vec(),
            algorithm: algorithm.clone(),
            issuer: name_from_text("CN=attestation root").unwrap(),
            not_before: 1_767_225_600,
            not_after: 2_398_377_600,
            subject: name_from_text(subject).unwrap(),
            spki: spki.clone(),
            extensions,
        }
        .tbs_der();
        let signature: DerSignature = self.key.sign(&tbs);
        build::assemble(&tbs, &algorithm, signature.as_bytes())
    }

    fn spki(&self) -> SpkiView {
        let point = self.key.verifying_key().to_sec1_point(false);
        let (x, y) = point.as_bytes()[1..].split_at(32);
        SpkiView::from_ec(NamedCurve::P256, x, y).unwrap()
    }

    fn root(&self) -> Vec<u8> {
        let constraints = BasicConstraints { ca: true, path_length: None };
        let extensions = vec![
            build::basic_constraints(true, constraints),
            build::key_usage(true, KeyUsage::from_bits(KeyUsage::KEY_CERT_SIGN)),
            build::subject_key_identifier(&self.spki().sha256()[..20]),
        ];
        self.certificate(&self.spki(), "CN=attestation root", extensions)
    }

    /// As the authority writes it for a key that host software drives.
    fn certify(&self, spki: &[u8]) -> Vec<u8> {
        let spki = SpkiView::parse(spki).unwrap();
        let extensions = vec![
            build::basic_constraints(true, BasicConstraints { ca: false, path_length: None }),
            build::key_usage(true, KeyUsage::from_bits(KeyUsage::DIGITAL_SIGNATURE)),
            build::extended_key_usage(false, &[oid::KP_ATTESTATION_KEY]),
            build::certificate_policies(false, &[oid::ENVIRONMENT_HOST]),
            build::subject_key_identifier(&spki.sha256()[..20]),
            build::authority_key_identifier(&self.spki().sha256()[..20]),
        ];
        self.certificate(&spki, "CN=ak-1", extensions)
    }
}

fn verify(device: &Device, file: &str, more: &[&str]) -> Run {
    let (file, trust) = (device.path(file), device.path("trust"));
    let hex: String = NONCE.iter().map(|octet| format!("{octet:02x}")).collect();
    let fixed = ["verify", file.to_str().unwrap(), "--json", "--trust", trust.to_str().unwrap(), "--nonce", &hex]
        .map(str::to_owned);
    vouchsafe(fixed.into_iter().chain(more.iter().map(|&more| more.to_owned())))
}

#[test]
fn evidence_from_a_token_is_taken_for_what_host_software_says() {
    let mut device = Device::new();
    let found = device.run(&["doctor", "--config", "agent.toml"]);
    for words in
        ["hsm: Implementation of PKCS11 of SoftHSM", "the token with label \"machine\"", "may be tried", "EcP256"]
    {
        assert!(found.stdout.contains(words), "{words}: {found:?}");
    }
    device.start();
    let created = device.run(&["key", "create", "web"]);
    assert_eq!(created.code, 0, "{created:?}");

    let mut client = device.client().unwrap();
    let endorsement = client.describe_endorsement("").unwrap();
    let authority = Authority { key: SigningKey::from_slice(&[7; 32]).unwrap() };
    let certificates = vec![authority.certify(&endorsement.spki), authority.root()];
    let family = "pkix-evidence".to_owned();
    client.install_certificates("", vec![FamilyChain { family, certificates }]).unwrap();
    fs::create_dir_all(device.path("trust/pkix-evidence")).unwrap();
    fs::write(device.path("trust/pkix-evidence/root.der"), authority.root()).unwrap();

    let request = PkixEvidence { with_platform: true, ..PkixEvidence::default() };
    let of_key = client.attest_key("web", "", &NONCE, KeyMechanism::PkixEvidence(request)).unwrap();
    fs::write(device.path("key.der"), &of_key.statement).unwrap();
    let of_platform =
        client.attest_platform("", &NONCE, PlatformMechanism::PkixEvidence(PkixEvidence::default())).unwrap();
    fs::write(device.path("platform.der"), &of_platform.statement).unwrap();

    let run = verify(&device, "key.der", &["--policy", "lab"]);
    assert_eq!(run.code, 0, "{run:?}");
    let said = run.json();
    assert_eq!(said["format"], "pkix-evidence", "{run:?}");
    let key = &said["key"]["claims"];
    assert_eq!(
        (&key["extractable"]["value"], &key["extractable"]["source"]),
        (&false.into(), &"host-asserted".into()),
        "{said:#}"
    );
    assert_eq!(said["attesting_key"]["claims"]["environment"]["value"], "host", "{said:#}");
    for policy in ["default", "csbr-code-signing"] {
        let run = verify(&device, "key.der", &["--policy", policy]);
        assert_eq!(run.code, 1, "{policy}: {run:?}");
        assert!(run.codes().iter().any(|code| code == "policy.host-asserted"), "{policy}: {:?}", run.codes());
    }
    // Altered by one bit, or for another nonce, it is nothing under any policy.
    let mut altered = of_key.statement.clone();
    let middle = altered.len() / 2;
    altered[middle] ^= 1;
    fs::write(device.path("altered.der"), &altered).unwrap();
    assert_eq!(verify(&device, "altered.der", &["--policy", "lab"]).code, 1);
    let (file, trust) = (device.path("key.der"), device.path("trust"));
    let other = "00".repeat(32);
    let paths = [file.to_str().unwrap(), "--trust", trust.to_str().unwrap(), "--policy", "lab", "--nonce", &other];
    assert_eq!(vouchsafe(std::iter::once("verify").chain(paths)).code, 1);

    // In a request: key and platform in two statements, bound by attesting key and nonce.
    let hex = "5a".repeat(32);
    let csr =
        ["csr", "web", "--subject", "CN=web.example", "--mechanism", "pkix-evidence", "--platform", "--nonce", &hex];
    let run = device.run(&[&csr[..], &["--out", "web.csr"]].concat());
    assert_eq!(run.code, 0, "{run:?}");
    let run = verify(&device, "web.csr", &["--policy", "lab"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(run.json()["platform"]["claims"]["vendor"]["value"], "SoftHSM project", "{run:?}");
    // Nobody promises that a thing stands behind what host software says.
    assert!(run.json()["platform"]["claims"].get("kind").is_none(), "{run:?}");
    assert_eq!(verify(&device, "web.csr", &["--policy", "default"]).code, 1);

    let run = device.run(&["inspect", "platform.der"]);
    assert!(run.stdout.contains("SoftHSM"), "{run:?}");
}
