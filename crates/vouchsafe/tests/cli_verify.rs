//! `vouchsafe verify`, held to the letter of its contract: options, exit codes, streams, JSON.

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

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Run, command, field_vectors, fits_terminal, repository, vouchsafe};
use tempfile::TempDir;

const AT: &str = "2026-12-01T00:00:00Z";
/// Key and quote of one TPM, accepted.
const GOOD: &str = "vectors/binding/x509-and-quote/request.der";
/// Key of one TPM, quote of another.
const BAD: &str = "vectors/binding/quote-of-other-tpm/request.der";

fn trust() -> PathBuf {
    repository("vectors/trust/default")
}

/// `verify FILE --trust .. --at ..` and more.
fn verify(file: &Path, more: &[&str]) -> Run {
    let trust = trust();
    let mut arguments = vec!["verify", file.to_str().unwrap(), "--trust", trust.to_str().unwrap(), "--at", AT];
    arguments.extend(more);
    vouchsafe(arguments)
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn set<const N: usize>(names: [&'static str; N]) -> BTreeSet<&'static str> {
    names.into_iter().collect()
}

fn write(folder: &TempDir, name: &str, contents: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, contents).unwrap();
    path
}

#[test]
fn accepted_evidence_is_exit_0_with_a_report_within_80_columns() {
    let run = verify(&repository(GOOD), &[]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{run:?}");
    assert!(run.stdout.starts_with("ACCEPTED  certification request, policy default, at 2026-12-01T00:00:00Z\n"));
    assert!(fits_terminal(&run.stdout), "{}", run.stdout);
    assert!(run.stdout.contains("└─ by signature: attesting key 0"), "{}", run.stdout);
    assert!(!run.stdout.contains('\u{1b}'));
}

#[test]
fn rejected_evidence_is_exit_1_with_every_reason_its_clause_and_advice() {
    let run = verify(&repository(BAD), &[]);
    assert_eq!((run.code, run.stderr.as_str()), (1, ""), "{run:?}");
    assert!(run.stdout.starts_with("REJECTED"));
    assert!(fits_terminal(&run.stdout), "{}", run.stdout);
    for part in ["bind.unconnected-statement (statement 1)", "[csr-attestation-29, 6.1", "What to do next"] {
        assert!(run.stdout.contains(part), "{part}: {}", run.stdout);
    }
}

#[test]
fn the_json_object_has_exactly_the_keys_of_the_contract() {
    let run = verify(&repository(GOOD), &["--json"]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    let json = run.json();
    let expected = set([
        "verdict",
        "policy",
        "format",
        "at",
        "device",
        "key",
        "platform",
        "attesting_key",
        "binding",
        "freshness",
        "freshness_by_statement",
        "formats_by_statement",
        "module_advisories",
        "skipped",
        "reasons",
    ]);
    assert_eq!(keys(&json), expected);
    assert_eq!(keys(&json["device"]), set(["id", "source"]));
    assert_eq!(keys(&json["key"]), set(["verdict", "reasons", "claims"]));
    assert_eq!(keys(&json["platform"]), set(["verdict", "reasons", "claims"]));
    assert_eq!(keys(&json["attesting_key"]), set(["claims"]));
    assert_eq!(keys(&json["binding"]), set(["verdict", "edges"]));
    for edge in json["binding"]["edges"].as_array().unwrap() {
        assert!(set(["from", "to", "by"]).is_subset(&keys(edge)), "{edge}");
        let by = edge["by"].as_str().unwrap();
        assert!(["spki", "name", "signature", "nonce", "device-link"].contains(&by), "{by}");
    }
    for claim in json["key"]["claims"].as_object().unwrap().values() {
        assert_eq!(keys(claim), set(["value", "source", "statement"]), "{claim}");
    }
    let words = |name: &str| json[name].as_str().unwrap().to_owned();
    assert_eq!((words("verdict").as_str(), words("policy").as_str()), ("accepted", "default"));
    assert_eq!((words("format").as_str(), words("at").as_str(), words("freshness").as_str()), ("csr", AT, "none"));
    assert_eq!(json["freshness_by_statement"], serde_json::json!(["none", "none"]));
    assert_eq!(json["formats_by_statement"], serde_json::json!([["tpm-certify-x509"], ["tpm-quote"]]));
    assert_eq!((&json["key"]["verdict"], &json["platform"]["verdict"]), (&"accepted".into(), &"accepted".into()));
    let id = json["device"]["id"].as_str().unwrap();
    assert!(id.strip_prefix("ak:").is_some_and(|digest| digest.len() == 64), "{id}");
}

#[test]
fn a_rejection_in_json_has_reasons_of_four_members() {
    let run = verify(&repository(BAD), &["--json"]);
    assert_eq!((run.code, run.stderr.as_str()), (1, ""));
    let json = run.json();
    assert_eq!(json["verdict"], "rejected");
    assert_eq!(run.codes(), ["bind.unconnected-statement"]);
    let reason = &json["reasons"][0];
    assert_eq!(keys(reason), set(["code", "message", "statement", "clause"]));
    assert_eq!(reason["statement"], 1);
    assert!(reason["message"].as_str().unwrap().ends_with('.'));
}

#[test]
fn usage_errors_say_nothing_on_standard_output() {
    let folder = TempDir::new().unwrap();
    let garbage = write(&folder, "garbage", b"not a key");
    let policy = write(&folder, "policy.toml", b"name = 'x'\nplatfrom = 'required'\n");
    let request = repository(GOOD);
    let (garbage, policy) = (garbage.to_str().unwrap(), policy.to_str().unwrap());
    let odd = "0".repeat(33);
    let short = "00".repeat(15);
    let long = "00".repeat(65);
    for more in [
        &["--policy", "no-such-policy"][..],
        &["--policy", policy],
        &["--policy", "/no/such/file.toml"],
        &["--nonce", &odd],
        &["--nonce", &short],
        &["--nonce", &long],
        &["--nonce", "zz112233445566778899aabbccddeeff"],
        &["--nonce", ""],
        &["--key", "/no/such/file"],
        &["--key", garbage],
        &["--format", "tpm-certify"],
        &["--format", "no-such-format"],
        &["--format", "tpm-ek"],
        &["--client-data", garbage],
        &["--no-such-option"],
        &["--json=yes"],
        &["/no/such/file"],
    ] {
        let run = verify(&request, more);
        assert!(run.is_usage_error(), "{more:?}: {run:?}");
    }
    let trust = trust();
    let trust = trust.to_str().unwrap();
    let request = request.to_str().unwrap();
    for arguments in [
        &["verify"][..],
        &["verify", "--trust", trust],
        &["verify", request],
        &["verify", request, "--trust", "/no/such/folder"],
        &["verify", request, "--trust", request],
        &["verify", request, "--trust", trust, "--at", "yesterday"],
        &["verify", request, "--trust", trust, "--at", "2026-12-01"],
        &["verify", trust, "--trust", trust],
        &["verify", "/no/such/file", "--trust", trust],
    ] {
        let run = vouchsafe(arguments.iter().copied());
        assert!(run.is_usage_error(), "{arguments:?}: {run:?}");
    }
}

#[test]
fn our_own_usage_errors_say_what_to_do_next() {
    let run = verify(&repository(GOOD), &["--policy", "no-such-policy"]);
    assert_eq!(run.stderr.matches("\nnext: ").count(), 1, "{}", run.stderr);
    assert!(run.stderr.contains("default"), "{}", run.stderr);
}

#[test]
fn a_broken_trust_folder_is_exit_2_whatever_the_evidence() {
    let root = fs::read(repository("vectors/trust/default/tpm-certify/root.pem")).unwrap();
    for (name, contents) in [
        ("tpm-certify/root.pem", &b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"[..]),
        ("tpm-certify/root.pem", b""),
        ("tpm-certify/root.pem", b"-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n"),
        ("tpm-certify/root.der", &root),
        ("tpm-certify/orphan.toml", b"virtual = true\n"),
        ("root.pem", &root),
        ("Not A Format/root.pem", &root),
        ("tpm-certify/other/root.pem", &root),
        ("tpm-certify/a/b/c/d/e.pem", &root),
    ] {
        let folder = TempDir::new().unwrap();
        write(&folder, name, contents);
        for file in [GOOD, BAD] {
            let file = repository(file);
            let run = vouchsafe([file.as_os_str(), "--trust".as_ref(), folder.path().as_os_str()].iter().fold(
                vec![std::ffi::OsStr::new("verify")],
                |mut all, one| {
                    all.push(one);
                    all
                },
            ));
            assert!(run.is_usage_error(), "{name}: {run:?}");
        }
    }
}

#[test]
fn an_empty_trust_folder_rejects_and_links_are_followed() {
    let folder = TempDir::new().unwrap();
    let (request, empty) = (repository(GOOD), folder.path());
    let judge = |trust: &Path| {
        vouchsafe(["verify", request.to_str().unwrap(), "--trust", trust.to_str().unwrap(), "--at", AT, "--json"])
    };
    let run = judge(empty);
    assert_eq!(run.code, 1);
    assert_eq!(run.codes(), ["trust.no-anchor", "trust.no-anchor"]);
    for format in ["tpm-certify", "tpm-certify-x509", "tpm-quote"] {
        std::os::unix::fs::symlink(trust().join(format).canonicalize().unwrap(), empty.join(format)).unwrap();
    }
    fs::write(empty.join("README.md"), "words").unwrap();
    fs::create_dir(empty.join(".git")).unwrap();
    fs::write(empty.join(".git/HEAD"), "words").unwrap();
    assert_eq!(judge(empty).code, 0);
}

#[test]
fn malformed_and_empty_input_is_exit_1_with_a_reason() {
    let folder = TempDir::new().unwrap();
    let good = fs::read(repository(GOOD)).unwrap();
    let mut cases: Vec<(String, Vec<u8>)> = vec![
        ("empty".to_owned(), Vec::new()),
        ("zeros".to_owned(), vec![0; 1000]),
        ("text".to_owned(), b"hello\n".to_vec()),
        ("pem".to_owned(), b"-----BEGIN CERTIFICATE REQUEST-----\n!!!\n-----END CERTIFICATE REQUEST-----\n".to_vec()),
        ("pem-open".to_owned(), b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n".to_vec()),
        ("trailing".to_owned(), [good.as_slice(), &[0]].concat()),
        ("deep".to_owned(), b"\x30\x80".repeat(50_000)),
    ];
    cases.extend((0..good.len()).step_by(97).map(|length| (format!("cut-{length}"), good[..length].to_vec())));
    for (name, contents) in cases {
        let run = verify(&write(&folder, &name, &contents), &["--json"]);
        assert_eq!((run.code, run.stderr.as_str()), (1, ""), "{name}: {run:?}");
        assert_eq!(run.json()["verdict"], "rejected", "{name}");
        assert!(!run.codes().is_empty(), "{name}");
    }
    let empty = verify(&folder.path().join("empty"), &["--json"]);
    assert_eq!(empty.codes(), ["input.unrecognized"]);
    let cut = verify(&write(&folder, "cut", &good[..good.len() - 1]), &["--json"]);
    assert_eq!(cut.codes(), ["csr.malformed"]);
}

#[test]
fn input_beyond_the_limit_is_rejected_without_reading_all_of_it() {
    let folder = TempDir::new().unwrap();
    let started = Instant::now();
    let endless = verify(Path::new("/dev/zero"), &["--json"]);
    assert_eq!((endless.code, endless.codes()), (1, vec!["limit.input-size".to_owned()]));
    let half = write(&folder, "half", &vec![0x41; 3 * 1024 * 1024]);
    let twice = verify(&half, &["--json", half.to_str().unwrap()]);
    assert_eq!((twice.code, twice.codes()), (1, vec!["limit.input-size".to_owned()]));
    let exact = verify(&write(&folder, "exact", &vec![0x41; 4 * 1024 * 1024]), &["--json"]);
    assert_eq!((exact.code, exact.codes()), (1, vec!["input.unrecognized".to_owned()]));
    // A file that cannot be read is a usage error even beside input that is too large.
    assert!(verify(&half, &[half.to_str().unwrap(), "/no/such/file"]).is_usage_error());
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_full_disk_is_no_verdict() {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = command()
        .args(["verify", repository(GOOD).to_str().unwrap(), "--trust", trust().to_str().unwrap(), "--at", AT])
        .stdout(full)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn expectations_hold_or_reject() {
    let request = repository(GOOD);
    let device = verify(&request, &["--json"]).json()["device"]["id"].as_str().unwrap().to_owned();
    assert_eq!(verify(&request, &["--device", &device]).code, 0);
    let other = verify(&request, &["--json", "--device", "ak:00"]);
    assert_eq!((other.code, other.codes()), (1, vec!["bind.other-device".to_owned()]));
    assert_eq!(verify(&request, &["--key", request.to_str().unwrap()]).code, 0);
    let root = repository("vectors/trust/default/tpm-certify/root.pem");
    let wrong = verify(&request, &["--json", "--key", root.to_str().unwrap()]);
    assert_eq!((wrong.code, wrong.codes()), (1, vec!["bind.expected-key".to_owned()]));
    let nonce = verify(&request, &["--json", "--nonce", &"5A".repeat(16)]);
    assert_eq!(nonce.code, 1);
    assert!(nonce.codes().iter().all(|code| code.starts_with("nonce.")), "{nonce:?}");
    let past = vouchsafe([
        "verify",
        request.to_str().unwrap(),
        "--trust",
        trust().to_str().unwrap(),
        "--at",
        "2000-01-01T00:00:00+01:00",
        "--json",
    ]);
    assert_eq!((past.code, past.json()["at"].as_str().unwrap()), (1, "1999-12-31T23:00:00Z"));
}

#[test]
fn of_a_certificate_that_publishes_its_statement_the_key_alone_is_judged_and_the_report_says_so() {
    let folder = TempDir::new().unwrap();
    let genuine = fs::read(repository("vectors/tpm-certify-x509/published/certificate.der")).unwrap();
    // Another name beneath a signature that no longer fits.
    let name = genuine.windows(9).position(|octets| octets == b"published").unwrap();
    let forged = [&genuine[..name], b"impostors", &genuine[name + 9..]].concat();
    for certificate in [genuine, forged] {
        let run = verify(&write(&folder, "certificate.der", &certificate), &[]);
        assert_eq!(run.code, 0, "{run:?}");
        assert!(run.stdout.contains("Of the certificate the key alone was judged."), "{run:?}");
    }
    let request = verify(&repository("vectors/tpm-certify/p256/request.der"), &[]);
    assert!(!request.stdout.contains("Of the certificate"), "{request:?}");
}

#[test]
fn a_policy_file_decides_and_is_named() {
    let folder = TempDir::new().unwrap();
    let strict = write(&folder, "strict.toml", b"name = 'strict'\nnonce = 'required'\n");
    let run = verify(&repository(GOOD), &["--json", "--policy", strict.to_str().unwrap()]);
    assert_eq!((run.code, run.codes()), (1, vec!["policy.nonce-required".to_owned()]));
    assert_eq!(run.json()["policy"], "strict");
}

#[test]
fn bare_evidence_in_several_files_needs_no_order() {
    let folder = repository("vectors/tpm-certify/bare-parts");
    let files: Vec<PathBuf> = ["3", "1", "4", "2"].iter().map(|name| folder.join(name)).collect();
    let rest: Vec<&str> = files[1..].iter().map(|path| path.to_str().unwrap()).chain(["--json"]).collect();
    let run = verify(&files[0], &rest);
    assert_eq!((run.code, run.json()["format"].as_str().unwrap()), (0, "tpm-certify"), "{run:?}");
    let forced: Vec<&str> = rest.iter().copied().chain(["--format", "tpm-certify"]).collect();
    assert_eq!(verify(&files[0], &forced).code, 0);
    let wrong: Vec<&str> = rest.iter().copied().chain(["--format", "tpm-quote"]).collect();
    assert_eq!(verify(&files[0], &wrong).code, 1);
}

#[test]
fn help_teaches() {
    let run = vouchsafe(["verify", "--help"]);
    assert_eq!(run.code, 0);
    assert!(run.stdout.contains("Examples:") && run.stdout.contains("--nonce"), "{}", run.stdout);
    assert!(fits_terminal(&run.stdout), "{}", run.stdout);
}

#[test]
fn evidence_of_other_makers_gets_its_verdict() {
    let Some(root) = field_vectors() else { return };
    let folder = TempDir::new().unwrap();
    let anchor = fs::read(root.join("ietf/tpm-certify/rootCA.crt")).unwrap();
    for format in ["tpm-certify", "tpm-quote"] {
        write(&folder, &format!("{format}/root.crt"), &anchor);
    }
    let judge = |file: &str, more: &[&str]| {
        let file = root.join("ietf").join(file);
        let mut arguments =
            vec!["verify", file.to_str().unwrap(), "--trust", folder.path().to_str().unwrap(), "--at", AT, "--json"];
        arguments.extend(more);
        vouchsafe(arguments)
    };
    for file in [
        "tpm-certify/t02-nohint.der",
        "tpm-certify/t02-nohint.pem",
        "csr-bundle/c01-two-objects-certify+quote.der",
        "csr-bundle/c09-certs-other.der",
    ] {
        assert_eq!(judge(file, &[]).code, 0, "{file}");
    }
    let two = judge("csr-bundle/c04-two-attributes.der", &[]);
    assert_eq!((two.code, two.codes()), (1, vec!["csr.several-attributes".to_owned()]));
    let key = root.join("ietf/tpm-certify/key1-pub.pem");
    assert_eq!(judge("tpm-certify/t02-nohint.der", &["--key", key.to_str().unwrap()]).code, 0);
}
