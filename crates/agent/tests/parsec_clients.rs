//! Clients of Parsec as others wrote them, against the agent on a software TPM: `parsec-tool`, and a program on the
//! `parsec-client` crate. `scripts/peers parsec` fetches and builds both; without them these tests are skipped.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/device.rs"]
mod device;
#[path = "support/service.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use device::Device;

const MESSAGE: &str = "what is signed";

/// Parsec 1.5.0 takes 10.1 ms for a ping, with a connection of its own as these clients make them.
const PARSECS_PING_MICROS: u64 = 10_100;

/// A program that `scripts/peers parsec` built.
fn peer(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/peers/parsec/bin").join(name);
    if !path.is_file() {
        println!("SKIPPED {name}: it is not there; scripts/peers parsec builds it");
        return None;
    }
    Some(path)
}

fn run(device: &Device, program: &Path, arguments: &[&str]) -> Output {
    Command::new(program)
        .args(arguments)
        .env("PARSEC_SERVICE_ENDPOINT", format!("unix:{}", device.socket().display()))
        .env("RUST_LOG", "error")
        .output()
        .unwrap()
}

/// What a successful run prints.
fn says(device: &Device, program: &Path, arguments: &[&str]) -> String {
    let output = run(device, program, arguments);
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

/// `parsec-tool` and a folder for its files.
struct Tool<'a> {
    device: &'a Device,
    program: PathBuf,
    folder: tempfile::TempDir,
}

impl Tool<'_> {
    fn says(&self, arguments: &[&str]) -> String {
        says(self.device, &self.program, &[&["-p", "3"], arguments].concat())
    }

    fn fails(&self, arguments: &[&str]) {
        let output = run(self.device, &self.program, &[&["-p", "3"], arguments].concat());
        assert!(!output.status.success(), "{arguments:?}");
    }

    fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> String {
        let path = self.folder.path().join(name);
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

#[test]
fn parsec_tool_works_as_with_parsec() {
    let Some(program) = peer("parsec-tool") else { return };
    let device = Device::start();
    let tool = Tool { device: &device, program, folder: tempfile::tempdir().unwrap() };
    assert!(tool.says(&["ping"]).contains("1.0"));
    let providers = tool.says(&["list-providers"]);
    assert!(providers.contains("0x03") && providers.contains("0x00"), "{providers}");
    assert!(tool.says(&["list-authenticators"]).contains("Unix"));
    let opcodes = tool.says(&["list-opcodes"]);
    assert!(opcodes.contains("PsaSignMessage") && opcodes.contains("PrepareKeyAttestation"), "{opcodes}");
    tool.says(&["generate-random", "--nbytes", "10"]);

    tool.says(&["create-ecc-key", "--key-name", "ecc"]);
    tool.fails(&["create-ecc-key", "--key-name", "ecc"]);
    tool.signs("ecc");
    tool.says(&["create-rsa-key", "--key-name", "rsa", "--for-signing"]);
    tool.signs("rsa");
    tool.says(&["create-rsa-key", "--key-name", "pkcs1"]);
    tool.decrypts("pkcs1", &[]);
    tool.says(&["create-rsa-key", "--key-name", "oaep", "--oaep"]);
    tool.decrypts("oaep", &["-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", "rsa_oaep_md:sha256"]);
    tool.says(&["create-rsa-key", "--key-name", "small", "--for-signing", "--bits", "1024"]);
    tool.signs("small");
    tool.says(&["create-rsa-key", "--key-name", "smaller", "--bits", "1024"]);

    let listed = tool.says(&["list-keys"]);
    for key in ["ecc", "rsa", "pkcs1", "oaep", "small", "smaller"] {
        assert!(listed.contains(&format!("* {key} (")), "{key}: {listed}");
        tool.says(&["delete-key", "--key-name", key]);
        tool.fails(&["export-public-key", "--key-name", key]);
    }
    tool.says(&["create-ecc-key", "--key-name", "ecc"]);
    let own = rustix::process::geteuid().as_raw().to_string();
    assert!(tool.says(&["list-clients"]).contains(&own));
    tool.says(&["delete-client", "--client", &own]);
    tool.fails(&["export-public-key", "--key-name", "ecc"]);
}

#[test]
fn a_program_on_the_client_crate_works_as_with_parsec() {
    let Some(program) = peer("parsec-client-program") else { return };
    let device = Device::start();
    let said = says(&device, &program, &["3"]);
    let done: Vec<&str> = said.lines().collect();
    let expected = [
        "discovery",
        "ecc 256",
        "ecc 384",
        "ecc 521",
        "rsa 2048",
        "RsaPkcs1v15Crypt",
        "RsaOaep",
        "listing",
        "attestation",
    ];
    let (pings, done) = done.split_last().unwrap();
    assert_eq!(done, expected);
    println!("{pings}, with a connection each");
    let micros: u64 = pings.strip_prefix("pings: ").unwrap().strip_suffix(" us").unwrap().parse().unwrap();
    assert!(micros < PARSECS_PING_MICROS, "{pings}");
}
