//! Ceremonies with an agent, which has the attesting key, and with tokens, on which witnesses have theirs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use vouchsafe_agent::client::{Client, Endpoint};

use super::{Room, is_refused};
use crate::environment::DeviceSide;
use crate::support::{Run, command};

/// A token of SoftHSM called `cards`, in the room.
struct Tokens {
    conf: PathBuf,
}

impl Tokens {
    fn new(room: &Room) -> Self {
        let tokens = Self { conf: room.path("softhsm2.conf") };
        fs::create_dir(room.path("tokens")).unwrap();
        let conf = format!("directories.tokendir = {}\nobjectstore.backend = file\n", room.path("tokens").display());
        fs::write(&tokens.conf, conf).unwrap();
        fs::write(room.path("pin"), "1234\n").unwrap();
        fs::set_permissions(room.path("pin"), fs::Permissions::from_mode(0o600)).unwrap();
        tokens.util(&["--init-token", "--free", "--label", "cards", "--pin", "1234", "--so-pin", "12345678"]);
        tokens
    }

    fn library() -> &'static str {
        let known = ["/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so"];
        known.into_iter().find(|path| Path::new(path).exists()).expect("SoftHSM's library (package softhsm2)")
    }

    fn environment<'a>(&self, program: &'a mut Command) -> &'a mut Command {
        program.env("SOFTHSM2_CONF", &self.conf)
    }

    fn util(&self, arguments: &[&str]) -> String {
        let output = self.environment(Command::new("softhsm2-util").args(arguments)).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The serial number of the token, as its tool shows it.
    fn serial(&self) -> String {
        let slots = self.util(&["--show-slots"]);
        let line = slots.lines().find(|line| line.contains("Serial number:")).unwrap();
        line.split(':').nth(1).unwrap().trim().to_owned()
    }
}

#[test]
fn the_attesting_key_of_a_tpm_proves_by_a_quote() {
    let room = Room::new();
    let device = DeviceSide::start();
    let socket = device.socket();
    let agent = ["--agent", "--socket", socket.to_str().unwrap()];
    room.start();
    room.steps(6);
    is_usage(&room.record(&[&agent[..], &["--attesting-key", "nobody"]].concat()));
    assert_eq!(room.record(&agent).code, 0);
    // A signature over free octets is none of a key that can only attest.
    is_refused(&room.record(&["--sign-with", "ak.key"]), "ceremony.bad-proof");
    let proved = room.record(&agent);
    assert_eq!(proved.code, 0, "{proved:?}");
    assert_eq!(room.sign("Alice").code + room.sign("Bob").code, 0);
    assert_eq!(room.run(&["finish", "w", "--out", "tpm.json"]).code, 0);
    let json = room.verify("tpm.json", &["--json"]).json();
    assert_eq!(json["attesting_key"]["family"], "tpm");
    assert_eq!(json["attesting_key"]["proof"], "tpm-attest");
    let keys = device.client().list_attesting_keys().unwrap();
    let default = keys.iter().find(|info| info.is_default).unwrap();
    let spki = vouchsafe_evidence::x509::SpkiView::parse(&default.public).unwrap();
    assert_eq!(json["attesting_key"]["spki_sha256"], vouchsafe_verifier::hex::encode(&spki.sha256()));
}

#[test]
fn the_attesting_key_of_a_token_proves_by_evidence() {
    let room = Room::new();
    let tokens = Tokens::new(&room);
    let config = format!(
        "[mechanisms]\nenable = ['pkix-evidence']\n[providers.pkcs11]\nmodule = '{}'\ntoken = 'cards'\npin_file = '{}'\n",
        Tokens::library(),
        room.path("pin").display()
    );
    fs::write(room.path("agent.toml"), config).unwrap();
    let socket = room.path("agent.sock");
    let mut program = command();
    tokens.environment(program.current_dir(room.folder.path()));
    program.args(["agent", "--config", "agent.toml", "--state", "state", "--socket", socket.to_str().unwrap()]);
    let mut agent = program.stderr(std::process::Stdio::null()).spawn().unwrap();
    let outcome = std::panic::catch_unwind(|| hold(&room, &tokens.serial(), socket.to_str().unwrap()));
    agent.kill().unwrap();
    agent.wait().unwrap();
    outcome.unwrap();
}

fn hold(room: &Room, serial: &str, socket: &str) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let endpoint = Endpoint::at(socket.as_ref());
    let ready = || {
        let client = Client::connect(&endpoint).and_then(|client| client.with_provider_named(None));
        client.is_ok_and(|mut client| client.list_attesting_keys().is_ok())
    };
    while !ready() {
        assert!(std::time::Instant::now() < deadline, "the agent did not start");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let agent = ["--agent", "--socket", socket];
    let (vendor, model) = ("SoftHSM project", "SoftHSM v2");
    let modules = [
        ("other", [vendor, model, "0007"]),
        ("maker", ["Acme", model, serial]),
        ("model", [vendor, "HSM 7", serial]),
        ("w", [vendor, model, serial]),
    ];
    for (folder, [vendor, model, recorded]) in modules {
        let record = |more: &[&str]| room.run(&[&["record", folder, "--machine-id", "machine-a"], more].concat());
        room.run(&["start", "script.toml", "--work", folder, "--machine-id", "machine-a"]);
        for options in [&["--answer", "x"][..], &["--answer", "x"], &[], &["--answer", "x"], &["--file", "seal.jpg"]] {
            assert_eq!(record(options).code, 0);
        }
        let module = ["--vendor", vendor, "--model", model, "--serial", recorded, "--firmware", "2.6"];
        assert_eq!(record(&module).code, 0);
        let key = record(&agent);
        assert_eq!(key.code, 0, "{key:?}");
        let proved = record(&agent);
        if folder == "w" {
            assert_eq!(proved.code, 0, "{proved:?}");
        } else {
            is_refused(&proved, "ceremony.module-differs");
        }
    }
    assert_eq!(room.sign("Alice").code + room.sign("Bob").code, 0);
    assert_eq!(room.run(&["finish", "w", "--out", "token.json"]).code, 0);
    let json = room.verify("token.json", &["--json"]).json();
    assert_eq!(json["attesting_key"]["family"], "pkix-evidence");
    assert_eq!(json["attesting_key"]["proof"], "evidence");
}

fn is_usage(run: &Run) {
    assert!(run.code == 2 && run.stderr.contains("next: "), "{run:?}");
}

/// A witness whose key is on a token.
#[test]
fn a_witness_signs_with_a_key_on_a_token() {
    let room = Room::new();
    let tokens = Tokens::new(&room);
    fs::write(room.path("wrong-pin"), "4321\n").unwrap();
    fs::set_permissions(room.path("wrong-pin"), fs::Permissions::from_mode(0o600)).unwrap();
    for (name, id) in [("Alice", "01"), ("ak", "02")] {
        let key = room.path(&format!("{name}.key"));
        tokens.util(&[
            "--import",
            key.to_str().unwrap(),
            "--token",
            "cards",
            "--label",
            name,
            "--id",
            id,
            "--pin",
            "1234",
        ]);
    }
    room.hold(&["Carol"]);
    let sign = |label: &str, name: &str, pin: &str| -> Run {
        let mut program = command();
        tokens.environment(program.current_dir(room.folder.path()));
        program.args(["ceremony", "sign", "w", "--yes", "--pkcs11-module", Tokens::library(), "--token", "cards"]);
        program.args(["--key-label", label, "--as", name, "--pin-file", pin]);
        program.output().unwrap().into()
    };
    is_refused(&sign("Alice", "Nobody", "pin"), "ceremony.unknown-witness");
    is_refused(&sign("ak", "Alice", "pin"), "ceremony.bad-signature");
    for (label, pin) in [("none", "pin"), ("Alice", "wrong-pin")] {
        let run = sign(label, "Alice", pin);
        assert!(run.code == 2 && run.stderr.contains("next: "), "{run:?}");
    }
    let run = sign("Alice", "Alice", "pin");
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(room.run(&["finish", "w", "--out", "seven.json"]).code, 0);
    assert_eq!(room.verify("seven.json", &[]).code, 0);
}
