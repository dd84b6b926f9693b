//! Endorsement key certificates of the field on their own, with nothing but the vendors' plain CA certificates: genuine
//! old chains hold without any mark.

use std::path::Path;

use serde_json::Value;
use vouchsafe_evidence::input::{InputFile, Submission};
use vouchsafe_evidence::pem;
use vouchsafe_evidence::x509::CertView;
use vouchsafe_verifier::{Instant, Request, TrustStore, Verdict, verify};

use super::support::{claim, codes, folder_of, policy, read};

fn certificate(file: &[u8]) -> CertView {
    CertView::parse_padded(pem::read(file).unwrap()[0].contents()).unwrap()
}

/// Roots as anchors and all others as helpers, as plain PEM.
fn trust(folder: &Path) -> TrustStore {
    let files = std::fs::read_dir(folder.join("ca")).unwrap().map(|entry| entry.unwrap());
    TrustStore::from_files(files.map(|file| {
        let (name, bytes) = (file.file_name().into_string().unwrap(), std::fs::read(file.path()).unwrap());
        let authority = certificate(&bytes);
        let is_root = authority.subject().matches(authority.issuer());
        (format!("tpm-ek/{}{name}", if is_root { "" } else { "intermediates/" }), bytes)
    }))
    .unwrap()
}

fn judge(bytes: &[u8], trust: &TrustStore) -> Verdict {
    let ek = certificate(bytes);
    // 2026-11-30, or the beginning of what has ended by then.
    let now = 1_796_000_000;
    let at = Instant::from_unix_seconds(if ek.not_after() < now { ek.not_before() } else { now });
    let policy = policy();
    let submission = Submission::recognize(&[InputFile { name: "ek.pem", bytes }], None).unwrap();
    verify(&Request::new(&submission, trust, &policy, at))
}

#[test]
fn every_endorsement_key_gets_its_verdict() {
    let Some(folder) = folder_of("tpm-ek") else { return };
    let trust = trust(&folder);
    let manifest: Value = serde_json::from_slice(&read(&folder, "manifest.json")).unwrap();
    let mut accepted = 0;
    for entry in manifest["eks"].as_array().unwrap() {
        let file = entry["file"].as_str().unwrap();
        let verdict = judge(&read(&folder, file), &trust);
        let expected: &[&str] = match file {
            // Their CA certificates are not at hand: one is of a software module, one an example.
            "ek-keylime-3a888a.pem" | "ek-pupmod-simp-tpm2-4fd2ec.pem" => &["chain.no-path"],
            _ => &[],
        };
        assert_eq!(codes(&verdict), expected, "{file}: {:?}", verdict.reasons());
        if !expected.is_empty() {
            continue;
        }
        accepted += 1;
        // The key of this one signs: shown it is a module's, enrolled it is not (tests/ek_field.rs).
        let signs = claim(&verdict, "key", "purposes") == serde_json::json!(["sign"]);
        assert_eq!(signs, file == "ek-go-tpm-tools-d2ec0b.pem", "{file}");
        assert_eq!(verdict.format(), "tpm-ek");
        assert_eq!(claim(&verdict, "key", "device_bound"), true, "{file}");
        assert_eq!(claim(&verdict, "key", "extractable"), false, "{file}");
        let names = entry["san_strings"].as_str().unwrap();
        for name in ["vendor", "model", "hw_version"] {
            let value = claim(&verdict, "platform", name);
            let told = value.as_str().is_some_and(|value| names.contains(value));
            assert!(told || names.is_empty() && value.is_null(), "{file}: {name} is {value}, not in {names}");
        }
    }
    assert_eq!(accepted, 10);
}
