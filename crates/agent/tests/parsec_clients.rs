//! Clients of Parsec as others wrote them, against the agent on a software TPM and on a software token: `parsec-tool`, and
//! a program on the `parsec-client` crate. `scripts/peers parsec` fetches and builds both; without them these tests are
//! skipped.
//!
//! The agent always serves a second token as well, whose number Parsec's clients do not know.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/softhsm.rs"]
mod softhsm;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use softhsm::SoftHsm;
use vouchsafe_agent::Agent;
use vouchsafe_agent::config::Config;
use vouchsafe_agent::swtpm::{Options, Swtpm};

/// SoftHSM has OAEP with SHA-1 alone.
const SOFTHSM_OAEP: &str = "RsaOaep not supported";

const MESSAGE: &str = "what is signed";

/// An agent with a TPM, a token and a further token.
struct Served {
    agent: Agent,
    folder: tempfile::TempDir,
    _tpm: Swtpm,
}

impl Served {
    fn start(softhsm: &SoftHsm) -> Served {
        softhsm.token("first");
        softhsm.token("further");
        let (tpm, folder) = (Swtpm::start(&Options::default()).unwrap(), tempfile::tempdir().unwrap());
        let (place, file) = (folder.path().display(), folder.path().join("agent.toml"));
        let (module, pin) = (softhsm::library(), softhsm.pin_file("pin", softhsm::PIN));
        let token = |label: &str| {
            format!("module = '{}'\ntoken = '{label}'\npin_file = '{}'\n", module.display(), pin.display())
        };
        let text = format!(
            "state = '{place}/state'\n[socket]\npath = '{place}/s'\n[providers.tpm]\naddress = '{}'\n\
             [providers.pkcs11]\n{}[providers.further]\nkind = 'pkcs11'\n{}",
            tpm.address(),
            token("first"),
            token("further")
        );
        std::fs::write(&file, text).unwrap();
        Served { agent: Agent::start(Config::load(&file).unwrap()).unwrap(), folder, _tpm: tpm }
    }
}

/// Parsec's numbers of providers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Provider {
    Pkcs11,
    Tpm,
}

impl Provider {
    fn number(self) -> &'static str {
        match self {
            Provider::Pkcs11 => "2",
            Provider::Tpm => "3",
        }
    }
}

/// A program that `scripts/peers parsec` built.
fn peer(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/peers/parsec/bin").join(name);
    if !path.is_file() {
        println!("SKIPPED {name}: it is not there; scripts/peers parsec builds it");
        return None;
    }
    Some(path)
}

fn run(served: &Served, program: &Path, arguments: &[&str]) -> Output {
    Command::new(program)
        .args(arguments)
        .env("PARSEC_SERVICE_ENDPOINT", format!("unix:{}", served.agent.socket().display()))
        .env("RUST_LOG", "error")
        .output()
        .unwrap()
}

/// What a successful run prints.
fn says(served: &Served, program: &Path, arguments: &[&str]) -> String {
    let output = run(served, program, arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

fn openssl(arguments: &[&str]) -> String {
    let output = Command::new("openssl").args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {text}");
    text.into_owned()
}

/// `parsec-tool`, asking one provider.
struct Tool {
    served: Served,
    program: PathBuf,
    provider: Provider,
}

impl Tool {
    fn says(&self, arguments: &[&str]) -> String {
        says(&self.served, &self.program, &[&["-p", self.provider.number()], arguments].concat())
    }

    fn fails(&self, arguments: &[&str]) {
        let output = run(&self.served, &self.program, &[&["-p", self.provider.number()], arguments].concat());
        assert!(!output.status.success(), "{arguments:?}");
    }

    fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> String {
        let path = self.served.folder.path().join(name);
        std::fs::write(&path, contents).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Decodes what the tool gives in base64.
    fn decoded(&self, name: &str, base64: &str) -> String {
        let input = self.file("base64", base64);
        let output = self.file(name, "");
        openssl(&["base64", "-d", "-A", "-in", &input, "-out", &output]);
        output
    }

    fn signs(&self, key: &str) {
        let public = self.file("public.pem", self.says(&["export-public-key", "--key-name", key]));
        let signature = self.decoded("signature", &self.says(&["sign", MESSAGE, "--key-name", key]));
        let message = self.file("message", MESSAGE);
        openssl(&["dgst", "-sha256", "-verify", &public, "-signature", &signature, &message]);
        let request = self.says(&["create-csr", "--cn", "device.example", "--san", "localhost", "--key-name", key]);
        let request = openssl(&["req", "-text", "-noout", "-verify", "-in", &self.file("csr.pem", request)]);
        assert!(request.contains("CN = device.example") && request.contains("DNS:localhost"), "{request}");
    }

    fn decrypts(&self, key: &str, padding: &[&str]) {
        let ciphertext = self.says(&["encrypt", "--key-name", key, MESSAGE]);
        assert_eq!(self.says(&["decrypt", &ciphertext, "--key-name", key]), MESSAGE);
        // What openssl encrypts to the exported key.
        let public = self.file("public.pem", self.says(&["export-public-key", "--key-name", key]));
        let (message, encrypted) = (self.file("message", MESSAGE), self.file("encrypted", ""));
        let arguments =
            [&["pkeyutl", "-encrypt", "-pubin", "-inkey", &public, "-in", &message, "-out", &encrypted], padding]
                .concat();
        openssl(&arguments);
        let base64 = openssl(&["base64", "-A", "-in", &encrypted]);
        assert_eq!(self.says(&["decrypt", base64.trim_end(), "--key-name", key]), MESSAGE);
    }
}

fn tool_works(name: &str, provider: Provider) {
    let Some(program) = peer("parsec-tool") else { return };
    softhsm::alone(name, |softhsm| {
        let tool = Tool { served: Served::start(softhsm), program, provider };
        discovers(&tool);
        makes_and_uses_keys(&tool);
        deletes_its_client(&tool);
    });
}

fn discovers(tool: &Tool) {
    assert!(tool.says(&["ping"]).contains("1.0"));
    let providers = tool.says(&["list-providers"]);
    for number in ["0x00", "0x02", "0x03"] {
        assert!(providers.contains(number), "{providers}");
    }
    assert!(tool.says(&["list-authenticators"]).contains("Unix"));
    let opcodes = tool.says(&["list-opcodes"]);
    assert!(opcodes.contains("PsaSignMessage") && opcodes.contains("PsaGenerateKey"), "{opcodes}");
    assert_eq!(opcodes.contains("PrepareKeyAttestation"), tool.provider == Provider::Tpm, "{opcodes}");
    tool.says(&["generate-random", "--nbytes", "10"]);
    // Without a number it asks the default provider.
    let chosen = says(&tool.served, &tool.program, &["create-ecc-key", "--key-name", "default"]);
    assert_eq!(chosen, "");
    says(&tool.served, &tool.program, &["delete-key", "--key-name", "default"]);
}

fn makes_and_uses_keys(tool: &Tool) {
    tool.says(&["create-ecc-key", "--key-name", "ecc"]);
    tool.fails(&["create-ecc-key", "--key-name", "ecc"]);
    tool.signs("ecc");
    tool.says(&["create-rsa-key", "--key-name", "rsa", "--for-signing"]);
    tool.signs("rsa");
    tool.says(&["create-rsa-key", "--key-name", "pkcs1"]);
    tool.decrypts("pkcs1", &[]);
    let create_oaep = ["create-rsa-key", "--key-name", "oaep", "--oaep"];
    let mut made = vec!["ecc", "rsa", "pkcs1", "small", "smaller"];
    match tool.provider {
        Provider::Tpm => {
            tool.says(&create_oaep);
            tool.decrypts("oaep", &["-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", "rsa_oaep_md:sha256"]);
            made.push("oaep");
        }
        // Refused before anything is encrypted that could not be decrypted, and nothing of it is there.
        Provider::Pkcs11 => {
            tool.fails(&create_oaep);
            tool.fails(&["export-public-key", "--key-name", "oaep"]);
        }
    }
    tool.says(&["create-rsa-key", "--key-name", "small", "--for-signing", "--bits", "1024"]);
    tool.signs("small");
    tool.says(&["create-rsa-key", "--key-name", "smaller", "--bits", "1024"]);
    let listed = tool.says(&["list-keys"]);
    assert_eq!(listed.matches("* ").count(), made.len(), "{listed}");
    for key in made {
        assert!(listed.contains(&format!("* {key} (")), "{key}: {listed}");
        tool.says(&["delete-key", "--key-name", key]);
        tool.fails(&["export-public-key", "--key-name", key]);
    }
}

fn deletes_its_client(tool: &Tool) {
    tool.says(&["create-ecc-key", "--key-name", "ecc"]);
    let own = rustix::process::geteuid().as_raw().to_string();
    assert!(tool.says(&["list-clients"]).contains(&own));
    tool.says(&["delete-client", "--client", &own]);
    tool.fails(&["export-public-key", "--key-name", "ecc"]);
}

#[test]
fn parsec_tool_works_on_a_tpm() {
    tool_works("parsec_tool_works_on_a_tpm", Provider::Tpm);
}

#[test]
fn parsec_tool_works_on_a_token() {
    tool_works("parsec_tool_works_on_a_token", Provider::Pkcs11);
}

/// Runs the program on the `parsec-client` crate, which ends with an error where anything is not as with Parsec.
fn program_works(name: &str, provider: Provider) {
    let Some(program) = peer("parsec-client-program") else { return };
    softhsm::alone(name, |softhsm| {
        let served = Served::start(softhsm);
        let said = says(&served, &program, &[provider.number()]);
        let done: Vec<&str> = said.lines().collect();
        let mut expected = vec![
            "discovery",
            "ecc 256",
            "ecc 384",
            "ecc 521",
            "rsa 2048",
            "RsaPkcs1v15Crypt",
            if provider == Provider::Tpm { "RsaOaep" } else { SOFTHSM_OAEP },
            "listing",
        ];
        if provider == Provider::Tpm {
            expected.push("attestation");
        }
        assert_eq!(done, expected);
    });
}

#[test]
fn a_program_on_the_client_crate_works_on_a_tpm() {
    program_works("a_program_on_the_client_crate_works_on_a_tpm", Provider::Tpm);
}

#[test]
fn a_program_on_the_client_crate_works_on_a_token() {
    program_works("a_program_on_the_client_crate_works_on_a_token", Provider::Pkcs11);
}
