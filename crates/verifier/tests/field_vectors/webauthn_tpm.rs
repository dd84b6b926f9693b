//! Registrations with TPMs of the field: every entry of the manifest gets its verdict and its claims at its time.

use std::path::Path;

use serde_json::Value;
use vouchsafe_evidence::input::{InputFile, Submission};
use vouchsafe_evidence::pem;
use vouchsafe_evidence::x509::CertView;
use vouchsafe_verifier::{Instant, Nonce, Policy, Request, TrustStore, Verdict, verify};

use super::support::{anchors, claim, codes, folder_of, policy, read};

const ROOT: &str = "root-soft_TPM_Root_Certificate_Authority_2014-870c7a35.pem";

fn text<'a>(entry: &'a Value, key: &str) -> Option<&'a str> {
    entry[key].as_str()
}

/// A day after the attesting key's certificate was issued.
fn time_of(folder: &Path, entry: &Value) -> Instant {
    let file = text(entry, "file").unwrap().replace(".attobj.cbor", ".x5c0.pem");
    let blocks = pem::read(&read(folder, &file)).unwrap();
    let certificate = CertView::parse(blocks[0].contents()).unwrap();
    Instant::from_unix_seconds(certificate.not_before() + 86_400)
}

fn judge(folder: &Path, entry: &Value, trust: &TrustStore, policy: &Policy, nonce: Option<&Nonce>) -> Verdict {
    let name = text(entry, "file").unwrap();
    let object = read(folder, name);
    judge_object(folder, entry, &object, (trust, policy), nonce)
}

fn judge_object(
    folder: &Path,
    entry: &Value,
    object: &[u8],
    (trust, policy): (&TrustStore, &Policy),
    nonce: Option<&Nonce>,
) -> Verdict {
    let client_data = text(entry, "client_data").map(|file| read(folder, file));
    let files = [InputFile { name: "object", bytes: object }];
    let at = time_of(folder, entry);
    let submission = match Submission::recognize_with_client_data(&files, None, client_data.as_deref()) {
        Ok(submission) => submission,
        Err(error) => return Verdict::on_unusable_input(&error, policy, at),
    };
    let mut request = Request::new(&submission, trust, policy, at);
    if let Some(nonce) = nonce {
        request = request.nonce(nonce);
    }
    verify(&request)
}

fn manifest(folder: &Path) -> Vec<Value> {
    serde_json::from_slice(&read(folder, "manifest.json")).unwrap()
}

#[test]
fn every_registration_gets_its_verdict() {
    let Some(folder) = folder_of("webauthn-tpm") else { return };
    let trust = anchors(&folder, "webauthn-tpm", &[ROOT]);
    let policy = policy();
    for entry in manifest(&folder) {
        let file = text(&entry, "file").unwrap();
        let verdict = judge(&folder, &entry, &trust, &policy, None);
        let accepted = text(&entry, "expected").unwrap().starts_with("accept");
        assert_eq!(verdict.is_accepted(), accepted, "{file}: {:?}", verdict.reasons());
        if !accepted {
            let expected = match file {
                "webauthn4j-c65a171d.attobj.cbor" => "input.incomplete",
                // Published test vectors whose CA nobody trusts.
                "webauthn-84b354fd.attobj.cbor" => "chain.no-path",
                _ => "webauthn.conformance-tpm",
            };
            assert_eq!(codes(&verdict), [expected], "{file}");
            continue;
        }
        check_claims(file, &entry["claims"], &verdict);
    }
}

fn check_claims(file: &str, claims: &Value, verdict: &Verdict) {
    let names: Vec<&str> = claims["attributes"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let has = |name: &str| names.contains(&name);
    let mut found: Vec<String> = serde_json::from_value(claim(verdict, "key", "tpm_attributes")).unwrap();
    let mut wanted: Vec<&str> = names.clone();
    found.sort();
    wanted.sort_unstable();
    assert_eq!(found, wanted, "{file}");
    assert_eq!(claim(verdict, "key", "origin"), "generated", "{file}");
    assert_eq!(claim(verdict, "key", "extractable"), false, "{file}");
    assert_eq!(claim(verdict, "key", "device_bound"), true, "{file}");
    assert_eq!(claim(verdict, "key", "user_auth"), has("userWithAuth"), "{file}");
    assert_eq!(claim(verdict, "key", "auth_policy"), claims["policy"], "{file}");
    let purposes: &[&str] = if has("decrypt") { &["sign", "decrypt"] } else { &["sign"] };
    assert_eq!(claim(verdict, "key", "purposes"), serde_json::json!(purposes), "{file}");
    assert_eq!(claim(verdict, "platform", "kind"), "physical", "{file}");
    let san = claims["aik_san"].to_string();
    for name in ["vendor", "hw_version"] {
        let value = claim(verdict, "platform", name);
        assert!(san.contains(value.as_str().unwrap()), "{file}: {name} is {value}, which {san} does not hold");
    }
    assert!(claim(verdict, "platform", "model").is_string(), "{file}");
    let weak = if claims["alg"] == -65535 { Value::from("sha1") } else { Value::Null };
    assert_eq!(claim(verdict, "attesting_key", "weak_signature"), weak, "{file}");
}

#[test]
fn a_weak_signature_is_for_policy_to_accept() {
    let Some(folder) = folder_of("webauthn-tpm") else { return };
    let trust = anchors(&folder, "webauthn-tpm", &[ROOT]);
    let default = Policy::named("default").unwrap();
    let entry = &manifest(&folder)[0];
    let verdict = judge(&folder, entry, &trust, &default, None);
    assert_eq!(codes(&verdict), ["policy.weak-signature"]);
}

#[test]
fn the_challenge_is_the_nonce() {
    let Some(folder) = folder_of("webauthn-tpm") else { return };
    let trust = anchors(&folder, "webauthn-tpm", &[ROOT]);
    let entry =
        manifest(&folder).into_iter().find(|entry| entry["file"] == "py_webauthn-3270ca14.attobj.cbor").unwrap();
    let challenge = vouchsafe_evidence::base64url::decode("uzn9u0Tx-LBdtGgERsbkHRBjiUt5i2rvm2BBTZrWqEo").unwrap();
    let nonce = Nonce::new(&challenge).unwrap();
    let verdict = judge(&folder, &entry, &trust, &policy(), Some(&nonce));
    assert!(verdict.is_accepted(), "{:?}", verdict.reasons());
    assert_eq!(verdict.freshness().label(), "nonce");
    let other = Nonce::new(&[7; 32]).unwrap();
    assert_eq!(codes(&judge(&folder, &entry, &trust, &policy(), Some(&other))), ["nonce.mismatch"]);
}

#[test]
fn the_root_counts_in_its_own_folder_alone() {
    let Some(folder) = folder_of("webauthn-tpm") else { return };
    let elsewhere = anchors(&folder, "tpm-certify", &[ROOT]);
    let verdict = judge(&folder, &manifest(&folder)[0], &elsewhere, &policy(), None);
    assert_eq!(codes(&verdict), ["trust.no-anchor"]);
}

/// Octets of the object changed one by one: nothing of it is left unread.
#[test]
fn no_octet_of_an_object_can_be_changed() {
    let Some(folder) = folder_of("webauthn-tpm") else { return };
    let trust = anchors(&folder, "webauthn-tpm", &[ROOT]);
    let policy = policy();
    let entry = &manifest(&folder)[1];
    let object = read(&folder, text(entry, "file").unwrap());
    let accepted = |object: &[u8]| judge_object(&folder, entry, object, (&trust, &policy), None).is_accepted();
    assert!(accepted(&object));
    for place in (0..object.len()).step_by(13) {
        let mut changed = object.clone();
        changed[place] ^= 0x10;
        assert!(!accepted(&changed), "octet {place}");
    }
}

/// As text, in both alphabets and in lines.
#[test]
fn objects_may_be_handed_in_as_text() {
    let Some(folder) = folder_of("webauthn-tpm") else { return };
    let trust = anchors(&folder, "webauthn-tpm", &[ROOT]);
    let policy = policy();
    let entry = &manifest(&folder)[1];
    let pem = pem::encode("X", &read(&folder, text(entry, "file").unwrap()));
    let lines: Vec<&str> = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    for text in [lines.join("\n"), lines.concat().replace('+', "-").replace('/', "_").replace('=', "")] {
        let verdict = judge_object(&folder, entry, text.as_bytes(), (&trust, &policy), None);
        assert!(verdict.is_accepted(), "{:?}", verdict.reasons());
    }
}
