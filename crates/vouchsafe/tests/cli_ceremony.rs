//! `vouchsafe ceremony`: from a script to a file that verifies, and what is refused on the way.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    missing_docs
)]

#[cfg(feature = "agent")]
#[path = "cli_ceremony/device.rs"]
mod device;
#[cfg(feature = "agent")]
#[path = "support/environment.rs"]
mod environment;
#[path = "support/cli.rs"]
mod support;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::{Run, command, fits_terminal, vouchsafe};
use tempfile::TempDir;
use vouchsafe_evidence::ceremony::{NamedKey, SignedTranscript};
use vouchsafe_evidence::x509::SpkiView;
use vouchsafe_verifier::Instant;
use vouchsafe_verifier::ceremony::{self, Witnesses};

const SCRIPT: &str = r#"
title = "Attesting key of <HSM> 7"
purpose = "An attesting key for the module in rack 7."
operator = "Olga Operator"
device = "hsm-<7>"
threshold = 2

[[witnesses]]
name = "Alice"
key = "keys/Alice.pem"
[[witnesses]]
name = "Bob"
key = "keys/Bob.pem"
[[witnesses]]
name = "Carol"
key = "keys/Carol.pem"

[[steps]]
kind = "say"
prompt = "Everybody shows a passport."
[[steps]]
kind = "ask"
prompt = "What is the number on the seal?"
[[steps]]
kind = "run"
prompt = "List the slots."
command = ["printf", "slot 0: token <b>seven</b>\n"]
[[steps]]
kind = "secret"
prompt = "Type the security officer's PIN on the keypad."
[[steps]]
kind = "attach"
prompt = "A photograph of the seal."
[[steps]]
kind = "module"
prompt = "Read them off the label."
[[steps]]
kind = "key"
prompt = "The attesting key."
[[steps]]
kind = "prove"
prompt = "The attesting key signs."
"#;

/// A room: witnesses with their keys, a module, a script.
struct Room {
    folder: TempDir,
}

impl Room {
    fn new() -> Self {
        let room = Self { folder: TempDir::new().unwrap() };
        fs::create_dir(room.path("keys")).unwrap();
        room.key("Alice", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]);
        room.key(
            "Bob",
            &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384", "-aes-256-cbc", "-pass", "pass:tulip"],
        );
        room.key("Carol", &["-algorithm", "ED25519"]);
        room.key("ak", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]);
        fs::rename(room.path("keys/ak.pem"), room.path("ak.pem")).unwrap();
        fs::write(room.path("passphrase"), "tulip\n").unwrap();
        fs::write(room.path("machine-a"), "0123456789abcdef0123456789abcdef\n").unwrap();
        fs::write(room.path("machine-b"), "fedcba9876543210fedcba9876543210\n").unwrap();
        fs::write(room.path("seal.jpg"), b"a photograph").unwrap();
        fs::write(room.path("script.toml"), SCRIPT).unwrap();
        room
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A private key NAME.key, its public half keys/NAME.pem.
    fn key(&self, name: &str, options: &[&str]) {
        let private = self.path(&format!("{name}.key"));
        openssl(&[&["genpkey", "-out", private.to_str().unwrap()], options].concat());
        let public = self.path(&format!("keys/{name}.pem"));
        let arguments = ["pkey", "-in", private.to_str().unwrap(), "-passin", "pass:tulip", "-pubout", "-out"];
        openssl(&[&arguments[..], &[public.to_str().unwrap()]].concat());
    }

    fn run(&self, arguments: &[&str]) -> Run {
        self.typing(arguments, "")
    }

    /// Runs a verb in the room's folder, with this on standard input.
    fn typing(&self, arguments: &[&str], typed: &str) -> Run {
        let mut child = command()
            .current_dir(self.folder.path())
            .arg("ceremony")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
        child.wait_with_output().unwrap().into()
    }

    fn start(&self) {
        let run = self.run(&["start", "script.toml", "--work", "w", "--machine-id", "machine-a"]);
        assert_eq!(run.code, 0, "{run:?}");
    }

    fn record(&self, more: &[&str]) -> Run {
        self.run(&[&["record", "w", "--machine-id", "machine-a"], more].concat())
    }

    /// The first `count` steps.
    fn steps(&self, count: usize) {
        let all: [&[&str]; 8] = [
            &["--answer", "done"],
            &["--answer", "4711"],
            &[],
            &["--answer", "done"],
            &["--file", "seal.jpg"],
            &["--vendor", "ACME", "--model", "Box", "--serial", "0007", "--firmware", "1.2"],
            &["--key", "ak.pem", "--by", "Ida Installer"],
            &["--sign-with", "ak.key"],
        ];
        for options in &all[..count] {
            let run = self.record(options);
            assert_eq!(run.code, 0, "{options:?}: {run:?}");
        }
    }

    fn sign(&self, name: &str) -> Run {
        let key = format!("{name}.key");
        self.run(&["sign", "w", "--key", &key, "--passphrase-file", "passphrase", "--yes"])
    }

    /// A whole ceremony, signed by these.
    fn hold(&self, signers: &[&str]) {
        self.start();
        self.steps(8);
        for name in signers {
            let run = self.sign(name);
            assert_eq!(run.code, 0, "{run:?}");
        }
    }

    fn verify(&self, file: &str, more: &[&str]) -> Run {
        self.run(&[&["verify", file, "--witnesses", "keys", "--threshold", "2"], more].concat())
    }

    fn witnesses(&self) -> Witnesses {
        let named =
            |name: &str| NamedKey { name: name.to_owned(), key: public(&self.path(&format!("keys/{name}.pem"))) };
        Witnesses::new(["Alice", "Bob", "Carol"].map(named).to_vec(), 2).unwrap()
    }
}

fn public(path: &Path) -> SpkiView {
    SpkiView::from_key_file(&fs::read(path).unwrap()).unwrap()
}

fn openssl(arguments: &[&str]) {
    let output = Command::new("openssl").args(arguments).output().expect("openssl is needed");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn is_refused(run: &Run, code: &str) {
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stdout.contains(code) && run.stdout.contains("What to do next"), "{code}: {run:?}");
}

#[test]
fn a_ceremony_of_two_witnesses_verifies_and_no_octet_of_it_can_change() {
    let room = Room::new();
    room.hold(&["Alice", "Bob"]);
    let run = room.run(&["finish", "w", "--out", "seven.json"]);
    assert_eq!(run.code, 0, "{run:?}");
    fs::create_dir(room.path("files")).unwrap();
    fs::copy(room.path("seal.jpg"), room.path("files/seal.jpg")).unwrap();

    let words = room.verify("seven.json", &["--attachments", "files"]);
    assert_eq!(words.code, 0, "{words:?}");
    for part in
        ["Alice, Bob", "0007", "4711", "token <b>seven</b>", "Ida Installer", "not recorded", "all as they were"]
    {
        assert!(words.stdout.contains(part), "{part}: {}", words.stdout);
    }
    assert!(fits_terminal(&words.stdout), "{}", words.stdout);
    let json = room.verify("seven.json", &["--json"]).json();
    assert_eq!(json["verdict"], "accepted");
    assert_eq!(json["signed_by"], serde_json::json!(["Alice", "Bob"]));
    assert_eq!(json["module"]["serial"], "0007");
    assert_eq!(json["steps"][3]["withheld"], true);
    assert_eq!(json["steps"][6]["by"], "Ida Installer");

    let page = fs::read_to_string(room.path("seven.html")).unwrap();
    assert!(page.contains("Attesting key of &lt;HSM&gt; 7") && page.contains("<svg") && page.contains("@media print"));
    assert!(page.contains("<tr><th>Device</th><td>hsm-&lt;7&gt;</td></tr>"), "{page}");
    assert_eq!(json["device"], "hsm-<7>");
    assert!(words.stdout.contains("hsm-<7>"), "{words:?}");
    assert!(!page.contains("<b>") && !page.contains("<script") && !page.contains("http://"), "{page}");

    let bytes = fs::read(room.path("seven.json")).unwrap();
    let (witnesses, at) = (room.witnesses(), Instant::from_rfc3339("2099-01-01T00:00:00Z").unwrap());
    let witnessed = ceremony::verify(&bytes, &witnesses, at).unwrap();
    assert_eq!(witnessed.attesting_key(), &public(&room.path("ak.pem")));
    let mut altered = bytes.clone();
    for place in 0..bytes.len() {
        altered[place] ^= 1 << (place % 8);
        assert!(ceremony::verify(&altered, &witnesses, at).is_err(), "octet {place} is {:#x}", altered[place]);
        altered[place] = bytes[place];
        assert!(place % 16 > 0 || ceremony::verify(&bytes[..place], &witnesses, at).is_err(), "cut after {place}");
    }
    fs::write(room.path("altered.json"), [&bytes[..99], b"x", &bytes[100..]].concat()).unwrap();
    assert_eq!(room.verify("altered.json", &[]).code, 1);
    fs::write(room.path("files/seal.jpg"), b"another photograph").unwrap();
    is_refused(&room.verify("seven.json", &["--attachments", "files"]), "ceremony.attachment-differs");
    fs::write(room.path("large.json"), vec![b' '; 3 << 20]).unwrap();
    is_refused(&room.verify("large.json", &[]), "ceremony.oversize");
    is_refused(&room.verify("seven.json", &["--at", "2020-01-01T00:00:00Z"]), "ceremony.future");
}

/// Whose tools made the larger of the two signatures brings a record that `finish` puts into the one form; a finished one
/// in the other form is refused, though its signatures verify.
#[test]
fn the_twin_of_a_signature_is_another_file_and_refused() {
    let room = Room::new();
    room.hold(&["Alice", "Bob"]);
    assert_eq!(room.run(&["finish", "w", "--out", "seven.json"]).code, 0);
    let finished = fs::read(room.path("seven.json")).unwrap();
    let mut file = ceremony::read(&finished).unwrap();
    let signature = file.signatures()[0].clone();
    let order: Vec<u8> = [u64::MAX << 32, u64::MAX, 0xBCE6_FAAD_A717_9E84, 0xF3B9_CAC2_FC63_2551]
        .iter()
        .flat_map(|part| part.to_be_bytes())
        .collect();
    let mut twin = signature.clone();
    let mut borrow = 0;
    for place in (0..32).rev() {
        let digit = i32::from(order[place]) - i32::from(signature.signature[32 + place]) - borrow;
        borrow = i32::from(digit < 0);
        twin.signature[32 + place] = u8::try_from(digit.rem_euclid(256)).unwrap();
    }
    assert_ne!(twin, signature);
    let mut other = SignedTranscript::unsigned(file.transcript().clone()).with_signature(twin);
    for signature in &file.signatures()[1..] {
        other = other.with_signature(signature.clone());
    }
    fs::write(room.path("twin.json"), other.to_json()).unwrap();
    is_refused(&room.verify("twin.json", &[]), "ceremony.malformed");
    assert_eq!(room.run(&["finish", "twin.json", "--out", "again.json"]).code, 0);
    assert_eq!(fs::read(room.path("again.json")).unwrap(), finished);
    // Its digest, by which records name it, is that of the one form.
    file = file.in_one_form();
    assert_eq!(file.to_json().as_bytes(), finished);
}

/// Another reader, which knows the page of ceremonies and nothing of this project's code.
#[test]
fn another_reader_agrees() {
    let room = Room::new();
    room.hold(&["Carol", "Alice"]);
    assert_eq!(room.run(&["finish", "w", "--out", "seven.json"]).code, 0);
    let read = |file: &str| {
        let mut program = Command::new("python3");
        program
            .current_dir(room.folder.path())
            .arg(support::repository("crates/vouchsafe/tests/support/verify_ceremony.py"));
        program.args([file, "2", "keys/Alice.pem", "keys/Carol.pem"]).output().expect("python3 is needed")
    };
    let output = read("seven.json");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "Carol, Alice\n");
    let text = fs::read_to_string(room.path("seven.json")).unwrap();
    fs::write(room.path("blank.json"), text.replacen(',', ", ", 1)).unwrap();
    assert!(!read("blank.json").status.success());
}

#[test]
fn the_script_of_the_page_can_be_followed() {
    let room = Room::new();
    let page = fs::read_to_string(support::repository("docs/ceremony.md")).unwrap();
    let script = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a script");
    fs::rename(room.path("keys/Alice.pem"), room.path("keys/alice.pem")).unwrap();
    fs::rename(room.path("keys/Bob.pem"), room.path("keys/bob.pem")).unwrap();
    fs::write(room.path("script.toml"), script).unwrap();
    room.start();
    assert_eq!(room.record(&["--answer", "done"]).code, 0);
    // Two at once would lose what one of them records.
    let folder = fs::File::open(room.path("w")).unwrap();
    rustix::fs::flock(&folder, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let run = room.record(&["--answer", "4711"]);
    assert!(run.code == 2 && run.stderr.contains("somebody else"), "{run:?}");
}

#[test]
fn a_witness_counts_once_and_only_where_they_are_known() {
    let room = Room::new();
    room.hold(&["Alice"]);
    is_refused(&room.sign("Alice"), "ceremony.witness-twice");
    is_refused(&room.sign("ak"), "ceremony.unknown-witness");
    is_refused(&room.run(&["finish", "w", "--out", "seven.json"]), "ceremony.too-few-witnesses");
    assert!(!room.path("seven.json").exists() && !room.path("seven.html").exists());

    // A copy that is signed elsewhere, by the name that is typed.
    fs::copy(room.path("w/ceremony.json"), room.path("copy.json")).unwrap();
    let copy = ["sign", "copy.json", "--key", "Carol.key"];
    assert_eq!(room.typing(&copy, "Alice\n").code, 2);
    assert_eq!(room.typing(&copy, "Carol\n").code, 0);
    let run = room.run(&["finish", "w", "copy.json", "--out", "seven.json"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(room.verify("seven.json", &[]).code, 0);
    is_refused(
        &room.run(&["verify", "seven.json", "--witnesses", "keys", "--threshold", "3"]),
        "ceremony.too-few-witnesses",
    );
    is_refused(&room.run(&["verify", "seven.json", "--witnesses", "keys", "--threshold", "0"]), "ceremony.threshold");

    // Signed by two of the same name or key, in the eyes of who verifies.
    fs::copy(room.path("keys/Alice.pem"), room.path("keys/Alan.pem")).unwrap();
    is_refused(&room.verify("seven.json", &[]), "ceremony.witness-twice");
    fs::remove_file(room.path("keys/Alan.pem")).unwrap();
    fs::remove_file(room.path("keys/Carol.pem")).unwrap();
    is_refused(&room.verify("seven.json", &[]), "ceremony.unknown-witness");

    // One signature put in twice.
    let file = fs::read_to_string(room.path("w/ceremony.json")).unwrap();
    let (start, end) = (file.find("{\"protected\"").unwrap(), file.rfind(']').unwrap());
    let twice = format!("{},{}{}", &file[..end], &file[start..end], &file[end..]);
    fs::write(room.path("twice.json"), twice).unwrap();
    is_refused(&room.verify("twice.json", &[]), "ceremony.witness-twice");
}

#[test]
fn what_is_not_done_as_the_script_says_is_not_recorded() {
    let room = Room::new();
    fs::write(room.path("none.toml"), SCRIPT.replace("threshold = 2", "threshold = 0")).unwrap();
    is_refused(&room.run(&["start", "none.toml", "--work", "n", "--machine-id", "machine-a"]), "ceremony.threshold");
    fs::write(room.path("double.toml"), SCRIPT.replace("keys/Bob.pem", "keys/Alice.pem")).unwrap();
    is_refused(
        &room.run(&["start", "double.toml", "--work", "n", "--machine-id", "machine-a"]),
        "ceremony.witness-twice",
    );
    fs::write(room.path("short.toml"), SCRIPT.replace("kind = \"prove\"", "kind = \"say\"")).unwrap();
    is_refused(&room.run(&["start", "short.toml", "--work", "n", "--machine-id", "machine-a"]), "ceremony.script");
    assert!(!room.path("n").exists());
    fs::write(room.path("odd.toml"), SCRIPT.replace("purpose", "porpoise")).unwrap();
    assert!(room.run(&["start", "odd.toml", "--work", "n", "--machine-id", "machine-a"]).is_usage_error());

    fs::write(room.path("script.toml"), SCRIPT.replace("\"printf\", \"slot 0: token <b>seven</b>\\n\"", "\"false\""))
        .unwrap();
    room.start();
    assert!(room.run(&["start", "script.toml", "--work", "w", "--machine-id", "machine-a"]).is_usage_error());
    is_refused(&room.sign("Alice"), "ceremony.unfinished");
    is_refused(&room.run(&["record", "w", "--machine-id", "machine-b", "--answer", "x"]), "ceremony.other-machine");

    // From the terminal; an empty line is no answer.
    let record = ["record", "w", "--machine-id", "machine-a"];
    assert_eq!(room.typing(&record, "\n").code, 2);
    assert_eq!(room.typing(&record, "done\n").code, 0);
    assert_eq!(room.typing(&record, "4711\n").code, 0);
    let before = fs::read(room.path("w/draft.json")).unwrap();
    assert_eq!(room.record(&[]).code, 2, "a command that fails is not passed over");
    assert_eq!(fs::read(room.path("w/draft.json")).unwrap(), before);
    assert_eq!(room.record(&["--note", "The tool is broken; all agree to go on."]).code, 0);
    assert_eq!(room.typing(&record, "the PIN is 1234\n").code, 0);
    assert!(!fs::read_to_string(room.path("w/draft.json")).unwrap().contains("1234"), "a secret is recorded");
    for options in [&["--file", "seal.jpg"][..], &["--vendor", "A", "--model", "B", "--serial", "C", "--firmware", "D"]]
    {
        assert_eq!(room.record(options).code, 0);
    }
    is_refused(&room.record(&["--key", "keys/Alice.pem"]), "ceremony.key-of-witness");
    assert_eq!(room.record(&["--key", "ak.pem"]).code, 0);

    // What has to be signed is written down; what another key signed is no proof.
    assert_eq!(room.record(&[]).code, 0);
    is_refused(&room.record(&["--sign-with", "Alice.key"]), "ceremony.bad-proof");
    openssl(&[
        "dgst",
        "-sha256",
        "-sign",
        room.path("ak.key").to_str().unwrap(),
        "-out",
        room.path("proof.sig").to_str().unwrap(),
        room.path("w/proof.message").to_str().unwrap(),
    ]);
    assert_eq!(room.record(&["--signature", "proof.sig"]).code, 0);
    fs::write(room.path("w/attachments/seal.jpg"), b"a retouched photograph").unwrap();
    is_refused(&room.sign("Alice"), "ceremony.attachment-differs");
}

#[test]
fn a_draft_that_was_edited_or_comes_from_the_future_is_refused() {
    let room = Room::new();
    room.start();
    room.steps(3);
    let draft = room.path("w/draft.json");
    let good = fs::read_to_string(&draft).unwrap();
    for (edited, code) in [
        (good.replace("4711", "4712"), "ceremony.chain"),
        (good.replace("\"number\":2", "\"number\":3"), "ceremony.step-order"),
        (good.replace("{\"version\"", "{ \"version\""), "ceremony.malformed"),
        (good.replace("\"version\":1,", "\"version\":1,\"more\":1,"), "ceremony.malformed"),
    ] {
        assert_ne!(edited, good, "{code}");
        fs::write(&draft, edited).unwrap();
        is_refused(&room.record(&["--answer", "done"]), code);
    }
    // The clock was put back since the last step.
    let last = good.rfind("\"time\":\"").unwrap() + 8;
    let mut later = good.clone();
    later.replace_range(last..last + 4, "2099");
    fs::write(&draft, later).unwrap();
    is_refused(&room.record(&["--answer", "done"]), "ceremony.clock-backwards");
    fs::write(&draft, good).unwrap();
    assert_eq!(room.record(&["--answer", "done"]).code, 0);
}

#[test]
fn keys_of_every_kind_sign() {
    let room = Room::new();
    room.key(
        "Alice",
        &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-aes-128-cbc", "-pass", "pass:tulip"],
    );
    room.key("Carol", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"]);
    room.key("weak", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"]);
    fs::write(room.path("short.toml"), SCRIPT.replace("keys/Carol.pem", "keys/weak.pem")).unwrap();
    is_refused(&room.run(&["start", "short.toml", "--work", "s", "--machine-id", "machine-a"]), "ceremony.witness-key");
    fs::remove_file(room.path("keys/weak.pem")).unwrap();
    fs::write(room.path("wrong"), "rose\n").unwrap();
    room.hold(&[]);
    let wrong = room.run(&["sign", "w", "--key", "Alice.key", "--passphrase-file", "wrong", "--yes"]);
    assert!(wrong.is_usage_error() && wrong.stderr.contains("passphrase"), "{wrong:?}");
    assert_eq!(room.run(&["sign", "w", "--key", "keys/Alice.pem", "--yes"]).code, 2, "a public key signs nothing");
    for name in ["Alice", "Bob", "Carol"] {
        let run = room.sign(name);
        assert_eq!(run.code, 0, "{run:?}");
        assert_eq!(run.stderr.contains("in clear"), name == "Carol", "{run:?}");
    }
    assert_eq!(room.run(&["finish", "w", "--out", "seven.json"]).code, 0);
    let run = room.run(&["verify", "seven.json", "--witnesses", "keys", "--threshold", "3", "--json"]);
    assert_eq!(run.json()["signed_by"], serde_json::json!(["Alice", "Bob", "Carol"]));
    // Names are those of who verifies.
    let entry = |name: &str| format!("[[witnesses]]\nname = \"{name} of the audit\"\nkey = \"keys/{name}.pem\"\n");
    fs::write(room.path("known.toml"), ["Alice", "Bob", "Carol"].map(entry).concat()).unwrap();
    let run = room.run(&["verify", "seven.json", "--witnesses", "known.toml", "--threshold", "2"]);
    assert!(run.code == 0 && run.stdout.contains("Alice of the audit, Bob of the audit"), "{run:?}");
}

#[test]
fn a_whole_ceremony_can_be_typed() {
    let room = Room::new();
    room.start();
    let typed = "done\n4711\ndone\nseal.jpg\nACME\nBox\n0007\n1.2\nak.pem\n";
    let run = room.typing(&["record", "w", "--machine-id", "machine-a", "--all", "--sign-with", "ak.key"], typed);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.stdout.contains("The last step is done"), "{run:?}");
    assert!(fits_terminal(&run.stdout), "{}", run.stdout);
    assert!(room.record(&["--answer", "more"]).is_usage_error());
    assert_eq!(room.sign("Alice").code, 0);
    for verb in [&["--help"][..], &["record", "--help"], &["sign", "--help"], &["verify", "--help"]] {
        assert!(fits_terminal(&room.run(verb).stdout), "{verb:?}");
    }
}

#[test]
fn usage_errors_say_what_to_do() {
    for arguments in [
        &["verify", "none.json", "--witnesses", ".", "--threshold", "1"][..],
        &["record", "nowhere"],
        &["sign", "nowhere", "--key", "x"],
    ] {
        let run = vouchsafe(["ceremony"].iter().chain(arguments));
        assert!(run.is_usage_error(), "{run:?}");
        assert!(run.stderr.contains("next: "), "{run:?}");
    }
}
