//! `vouchsafe trust`: what is filed is what `verify` trusts, and what is known to be wrong is refused.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    missing_docs
)]

#[path = "support/cli.rs"]
mod support;

use std::fs;

use serde_json::Value;
use support::{field_vectors, repository, vouchsafe};
use tempfile::TempDir;

const AT: &str = "2026-12-01T00:00:00Z";
const GOOD: &str = "vectors/tpm-certify/p256/request.der";

fn root() -> String {
    repository("vectors/trust/default/tpm-certify/root.pem").to_str().unwrap().to_owned()
}

#[test]
fn what_is_imported_is_trusted_for_its_format_with_its_provenance() {
    let folder = TempDir::new().unwrap();
    let trust = folder.path().join("trust").to_str().unwrap().to_owned();
    let request = repository(GOOD).to_str().unwrap().to_owned();
    let verify = || vouchsafe(["verify", &request, "--trust", &trust, "--at", AT]);
    fs::create_dir(&trust).unwrap();
    assert_eq!(verify().code, 1, "an empty folder trusts nobody");
    let format = ["--format", "tpm-certify", "--trust", &trust, "--source", "the vectors", "--vouched-by", "a test"];
    let import = vouchsafe([&["trust", "import", &root()], format.as_slice()].concat());
    assert_eq!((import.code, import.stderr.as_str()), (0, ""), "{import:?}");
    assert!(import.stdout.contains("rests on your word") && import.stdout.contains("filed as"), "{import:?}");
    assert_eq!(verify().code, 0, "what was imported is not trusted");
    let list = vouchsafe(["trust", "list", "--trust", &trust, "--json"]);
    let list: Value = serde_json::from_str(&list.stdout).unwrap();
    let anchor = &list["formats"]["tpm-certify"]["anchors"][0];
    assert_eq!((anchor["source"].as_str(), anchor["vouched_by"].as_str()), (Some("the vectors"), Some("a test")));
    let show = vouchsafe(["trust", "show", &anchor["certificate_sha256"].as_str().unwrap()[..12], "--trust", &trust]);
    assert!(show.stdout.contains("vouched for by       a test"), "{show:?}");
    assert_eq!(vouchsafe(["trust", "check", "--trust", &trust, "--at", AT]).code, 0);
}

#[test]
fn what_is_wrong_with_a_folder_is_named() {
    let folder = TempDir::new().unwrap();
    let trust = folder.path().to_str().unwrap();
    let format = folder.path().join("tpm-certify");
    fs::create_dir(&format).unwrap();
    fs::copy(root(), format.join("one.pem")).unwrap();
    fs::copy(root(), format.join("two.pem")).unwrap();
    let check = |at: &str| {
        let run = vouchsafe(["trust", "check", "--trust", trust, "--at", at, "--json"]);
        (run.code, serde_json::from_str::<Value>(&run.stdout).unwrap())
    };
    let (code, report) = check(AT);
    let found = report["findings"].to_string();
    assert_eq!(code, 0, "{found}");
    assert!(found.contains("has the key of tpm-certify/one.pem") && found.contains("nobody says"), "{found}");
    let (code, report) = check("2060-01-01T00:00:00Z");
    assert_eq!((code, &report["sound"]), (1, &Value::Bool(false)), "{report}");
    assert!(report["findings"].to_string().contains("expired at"), "{report}");
}

#[test]
fn what_cannot_be_an_anchor_is_refused_and_nothing_is_written() {
    let folder = TempDir::new().unwrap();
    let trust = folder.path().join("trust");
    let import = |file: &str, format: &str| {
        vouchsafe(["trust", "import", file, "--format", format, "--trust", trust.to_str().unwrap()])
    };
    let unknown = import(&root(), "tpm-certfy");
    assert!(unknown.code == 2 && unknown.stderr.contains("name one of tpm-certify"), "{unknown:?}");
    let readme = repository("README.md").to_str().unwrap().to_owned();
    let not_one = import(&readme, "tpm-certify");
    assert!(not_one.code == 2 && not_one.stderr.contains("next: "), "{not_one:?}");
    assert!(!trust.exists());
}

#[test]
fn published_roots_are_told_from_others_and_from_those_that_are_never_trusted() {
    let Some(vectors) = field_vectors() else { return };
    let folder = TempDir::new().unwrap();
    let trust = folder.path().to_str().unwrap();
    let import = |file: &str, format: &str| {
        let file = vectors.join("vendors").join(file);
        vouchsafe(["trust", "import", file.to_str().unwrap(), "--format", format, "--trust", trust])
    };
    let known = import("yubikey-piv/root-yubico-piv-ca-263751.pem", "yubikey-piv");
    assert!(known.code == 0 && known.stdout.contains("is the certificate that Yubico publishes"), "{known:?}");
    let preview = import("yubikey-piv/preview-piv-ca-certs.pem", "yubikey-piv");
    assert!(preview.code == 1 && preview.stderr.contains("never to be trusted"), "{preview:?}");
    let misfiled = import("securosys-primus/root-PRIMUS_HSM_ROOTKEY.pem", "tpm-ek");
    assert!(misfiled.code == 1 && misfiled.stderr.contains("--format securosys-primus"), "{misfiled:?}");
}
