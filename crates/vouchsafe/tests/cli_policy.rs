//! `vouchsafe policy`, and what policies add to `vouchsafe verify`: lists of modules, advisories, attestation results.

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
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::ecdsa::signature::Verifier;
use p256::pkcs8::DecodePublicKey;
use serde_json::Value;
use support::{Run, fits_terminal, repository, vouchsafe};
use tempfile::TempDir;

const AT: &str = "2026-12-01T00:00:00Z";
const NONCE: &str = "e2b6bb5dd1ef6789eab3a635903d976844047dc3676732a2514e421245aeb040";
/// Key and quote of a TPM that the list shows.
const LISTED: &str = "vectors/policy/csbr-listed";

fn verify(case: &str, more: &[&str]) -> Run {
    let (file, trust) = (repository(&format!("{case}/request.der")), repository("vectors/trust/default"));
    let mut arguments = vec!["verify", file.to_str().unwrap(), "--trust", trust.to_str().unwrap(), "--at", AT];
    arguments.extend(more);
    vouchsafe(arguments)
}

fn stored(folder: &TempDir, case: &str, more: &[&str]) -> PathBuf {
    let path = folder.path().join("verdict.json");
    fs::write(&path, verify(case, &[more, &["--json"]].concat()).stdout).unwrap();
    path
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_list_of_modules_makes_the_difference() {
    let list = repository(&format!("{LISTED}/modules.csv"));
    let other = repository("vectors/policy/csbr-row-removed/modules.csv");
    let policy = ["--policy", "csbr-code-signing", "--nonce", NONCE];
    assert_eq!(verify(LISTED, &[&policy[..], &["--modules", text(&list)]].concat()).code, 0);
    let run = verify(LISTED, &[&policy[..], &["--modules", text(&other), "--json"]].concat());
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((run.code, &report["reasons"][0]["code"]), (1, &Value::from("csbr.module-not-certified")));
    assert_eq!(verify(LISTED, &policy).code, 1, "without a list nothing is certified");
}

#[test]
fn a_policy_file_names_its_lists_beside_itself() {
    let folder = TempDir::new().unwrap();
    let policy = folder.path().join("ours.toml");
    let text_of =
        "name = 'ours'\nmodule_lists = ['cmvp.csv']\n[module]\ncertified = [{ scheme = 'FIPS 140', level_min = 2 }]";
    fs::write(&policy, text_of).unwrap();
    let run = verify(LISTED, &["--policy", text(&policy)]);
    assert_eq!(run.code, 2, "a list that is named and not there is no list");
    fs::copy(repository(&format!("{LISTED}/modules.csv")), folder.path().join("cmvp.csv")).unwrap();
    assert_eq!(verify(LISTED, &["--policy", text(&policy)]).code, 0);
    fs::write(folder.path().join("cmvp.csv"), "vendor,colour\n").unwrap();
    let run = verify(LISTED, &["--policy", text(&policy)]);
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("colour"), "{run:?}");
}

#[test]
fn check_tells_what_deserves_a_second_look() {
    let folder = TempDir::new().unwrap();
    let policy = folder.path().join("policy.toml");
    fs::write(&policy, "name = 'x'\nrequire = 'claims.key.extractible == false'\n[key]\nextractable = 'any'").unwrap();
    let run = vouchsafe(["policy", "check", text(&policy)]);
    assert_eq!(run.code, 0);
    let words = run.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("key.extractible, which is no claim") && words.contains("can leave"), "{words}");
    assert!(fits_terminal(&run.stdout));
    for bad in
        ["name = 'x'\nplatfrom = 'required'", "name = 'x'\nrequire = 'claims.'", "name = 'x'\n[key]\norigin = []"]
    {
        fs::write(&policy, bad).unwrap();
        let run = vouchsafe(["policy", "check", text(&policy)]);
        assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{bad}");
    }
}

#[test]
fn explain_names_every_rule_with_its_clause() {
    let run = vouchsafe(["policy", "explain", "csbr-code-signing"]);
    assert_eq!(run.code, 0);
    assert!(fits_terminal(&run.stdout));
    for words in ["key.extractable", "CSBR 6.2.7.4.2(2)", "csbr.module-not-certified", "CSBR 6.1.5.2", "module.debug"] {
        assert!(run.stdout.contains(words), "{words}");
    }
}

#[test]
fn a_stored_verdict_is_judged_again() {
    let folder = TempDir::new().unwrap();
    let verdict = stored(&folder, LISTED, &[]);
    let list = repository(&format!("{LISTED}/modules.csv"));
    let explain = |more: &[&str]| {
        vouchsafe([&["policy", "explain", "csbr-code-signing", "--verdict", text(&verdict)], more].concat())
    };
    let run = explain(&["--modules", text(&list)]);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.stdout.contains("found: key.extractable is false, signed in the evidence"), "{}", run.stdout);
    assert!(!run.stdout.contains("VIOLATED"));
    let run = explain(&[]);
    assert_eq!((run.code, run.stdout.matches("VIOLATED").count()), (1, 1), "{run:?}");
    let test = |more: &[&str]| vouchsafe([&["policy", "test", "csbr-code-signing"], more].concat());
    assert_eq!(test(&[text(&verdict), "--modules", text(&list)]).code, 0);
    assert_eq!(test(&[text(&verdict)]).code, 1);
    // What did not bind stays refused under every policy.
    let verdict = stored(&folder, "vectors/binding/quote-of-other-tpm", &[]);
    let run = vouchsafe(["policy", "test", "lab", text(&verdict)]);
    assert_eq!(run.code, 1);
    assert!(run.stdout.contains("bind.unconnected-statement"), "{run:?}");
    fs::write(&verdict, "{\"verdict\":\"accepted\"}").unwrap();
    assert_eq!(vouchsafe(["policy", "test", "lab", text(&verdict)]).code, 2, "no verdict is no acceptance");
}

#[test]
fn cases_are_judged_under_another_policy() {
    let vectors = repository("vectors/tpm-certify-x509");
    let run = vouchsafe(["policy", "test", "lab", "--vectors", text(&vectors)]);
    assert_eq!(run.code, 0, "{run:?}");
    let folder = TempDir::new().unwrap();
    let policy = folder.path().join("policy.toml");
    fs::write(&policy, "name = 'x'\nattributes_extension_only = 'reject'").unwrap();
    let run = vouchsafe(["policy", "test", text(&policy), "--vectors", text(&vectors)]);
    assert_eq!(run.code, 1);
    assert!(run.stdout.contains("policy.extension-only"), "{run:?}");
}

#[test]
fn an_advisory_file_takes_the_place_of_the_shipped_ones() {
    let case = "vectors/policy/advisory-of-module";
    let (advisories, policy) =
        (repository(&format!("{case}/advisories.toml")), repository(&format!("{case}/policy.toml")));
    let run = verify(case, &["--nonce", NONCE, "--policy", text(&policy), "--advisories", text(&advisories)]);
    assert_eq!(run.code, 1);
    assert!(run.stdout.contains("Known flaw") && run.stdout.contains("TEST-1"), "{}", run.stdout);
    assert_eq!(verify(case, &["--nonce", NONCE, "--policy", text(&policy)]).code, 0);
}

fn openssl(arguments: &[&str]) -> bool {
    Command::new("openssl").args(arguments).output().unwrap().status.success()
}

/// Header, claims, what is signed, and the signature.
fn token(text: &str) -> (Value, Value, String, Vec<u8>) {
    let parts: Vec<&str> = text.trim_end().split('.').collect();
    let [header, claims, signature] = parts.as_slice() else { panic!("{text}") };
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).unwrap();
    let json = |part: &str| serde_json::from_slice(&decode(part)).unwrap();
    (json(header), json(claims), format!("{header}.{claims}"), decode(signature))
}

#[test]
fn an_attestation_result_is_signed_and_says_key_and_platform_apart() {
    let folder = TempDir::new().unwrap();
    let file = |name: &str| folder.path().join(name);
    let (key, public) = (file("key.pem"), file("public.pem"));
    assert!(openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", text(&key)]));
    assert!(openssl(&["pkey", "-in", text(&key), "-pubout", "-out", text(&public)]));
    let run = verify(LISTED, &["--nonce", NONCE, "--result", "ear", "--result-key", text(&key)]);
    assert_eq!(run.code, 0, "{run:?}");
    let (header, claims, signed, signature) = token(&run.stdout);
    assert_eq!((&header["alg"], &header["typ"]), (&Value::from("ES256"), &Value::from("eat+jwt")));
    let verifier = p256::ecdsa::VerifyingKey::from_public_key_pem(&fs::read_to_string(&public).unwrap()).unwrap();
    let signature = p256::ecdsa::Signature::from_slice(&signature).unwrap();
    verifier.verify(signed.as_bytes(), &signature).unwrap();
    assert_eq!(claims["eat_profile"], "tag:ietf.org,2026:rats/ear#04");
    assert_eq!(claims["eat_nonce"], "4ra7XdHvZ4nqs6Y1kD2XaEQEfcNnZzKiUU5CEkWusEA");
    for submodule in ["key", "platform"] {
        assert_eq!(claims["submods"][submodule]["ear_status"], "affirming", "{submodule}");
        assert_eq!(claims["submods"][submodule]["ear_appraisal_policy_ids"][0], "default");
    }
    assert_eq!(claims["submods"]["key"]["ear_trustworthiness_vector"]["storage-opaque"], 2);
}

#[test]
fn a_rejected_key_is_contraindicated_and_the_exit_code_stays() {
    let folder = TempDir::new().unwrap();
    let file = |name: &str| folder.path().join(name);
    let (key, public, result) = (file("key.pem"), file("public.pem"), file("result.jwt"));
    assert!(openssl(&["genpkey", "-algorithm", "ed25519", "-out", text(&key)]));
    assert!(openssl(&["pkey", "-in", text(&key), "-pubout", "-out", text(&public)]));
    let ear = ["--result", "ear", "--result-key", text(&key), "--result-file", text(&result), "--json"];
    let run = verify("vectors/binding/quote-of-other-tpm", &ear);
    assert_eq!(run.code, 1);
    assert!(serde_json::from_str::<Value>(&run.stdout).is_ok(), "the report goes where it always goes");
    let (header, claims, signed, signature) = token(&fs::read_to_string(&result).unwrap());
    assert_eq!(header["alg"], "EdDSA");
    assert_eq!(claims["submods"]["key"]["ear_status"], "contraindicated");
    assert_eq!(claims["submods"]["platform"]["ear_status"], "contraindicated");
    let (message, octets) = (file("message"), file("signature"));
    fs::write(&message, signed).unwrap();
    fs::write(&octets, signature).unwrap();
    let check = ["pkeyutl", "-verify", "-pubin", "-inkey", text(&public), "-rawin", "-in", text(&message), "-sigfile"];
    assert!(openssl(&[&check[..], &[text(&octets)]].concat()));
    fs::write(&key, "no key").unwrap();
    assert_eq!(verify_with(&key), 2, "a key that cannot sign is no answer");
    assert_eq!(verify(LISTED, &["--result", "ear"]).code, 2, "a result needs a key");
}

/// A status is never better than the worst that the vector beside it says: here, that the module is software.
#[test]
fn a_key_in_a_module_of_software_is_a_warning_whatever_the_policy_accepts() {
    let folder = TempDir::new().unwrap();
    let key = folder.path().join("key.pem");
    assert!(openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", text(&key)]));
    let (file, trust) = (repository("vectors/policy/csbr-virtual/request.der"), repository("vectors/trust/virtual"));
    let run = vouchsafe(
        [
            &["verify", text(&file), "--trust", text(&trust), "--at", AT, "--nonce", NONCE][..],
            &["--result", "ear", "--result-key", text(&key)],
        ]
        .concat(),
    );
    assert_eq!(run.code, 0, "{run:?}");
    let (_, claims, ..) = token(&run.stdout);
    let appraisal = &claims["submods"]["key"];
    assert_eq!(appraisal["ear_trustworthiness_vector"]["hardware"], 32);
    assert_eq!(appraisal["ear_status"], "warning");
}

fn verify_with(key: &Path) -> i32 {
    verify(LISTED, &["--result", "ear", "--result-key", text(key)]).code
}

#[test]
fn policy_lab_says_that_it_judged_nothing() {
    let run = verify("vectors/policy/host-environment-in-lab", &["--policy", "lab"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.stdout.split_whitespace().collect::<Vec<_>>().join(" ").contains("judged nothing"), "{}", run.stdout);
}
