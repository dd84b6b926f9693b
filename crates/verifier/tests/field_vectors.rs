//! Evidence of other makers, read in place from the folder that `VOUCHSAFE_FIELD_VECTORS` names.
#![allow(clippy::disallowed_methods, reason = "tests read files")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "field_vectors/crypto4a_qasm.rs"]
mod crypto4a_qasm;
#[path = "field_vectors/entrust_nshield.rs"]
mod entrust_nshield;
#[path = "field_vectors/fortanix_dsm.rs"]
mod fortanix_dsm;
#[path = "field_vectors/gcp_cloudhsm.rs"]
mod gcp_cloudhsm;
#[path = "field_vectors/pkix_evidence.rs"]
mod pkix_evidence;
#[path = "field_vectors/securosys_primus.rs"]
mod securosys_primus;
#[path = "field_vectors/support.rs"]
mod support;
#[path = "field_vectors/thales_luna.rs"]
mod thales_luna;
#[path = "field_vectors/tpm_ek.rs"]
mod tpm_ek;
#[path = "field_vectors/webauthn_tpm.rs"]
mod webauthn_tpm;
#[path = "field_vectors/yubihsm2.rs"]
mod yubihsm2;
#[path = "field_vectors/yubikey_piv.rs"]
mod yubikey_piv;

use std::path::{Path, PathBuf};

use vouchsafe_evidence::input::{InputFile, Submission};
use vouchsafe_evidence::x509::SpkiView;
use vouchsafe_verifier::{Instant, Nonce, Outcome, Policy, Request, TrustStore, Verdict, hex, verify};

/// The folder of field vectors, or `None` with a message that `./run-tests` counts.
fn folder() -> Option<PathBuf> {
    let named = std::env::var_os("VOUCHSAFE_FIELD_VECTORS").map(PathBuf::from);
    let found = named.filter(|path| path.is_dir());
    if found.is_none() {
        println!("SKIPPED: VOUCHSAFE_FIELD_VECTORS names no folder; evidence of other makers was not read");
    }
    found
}

fn trust(root: &Path, formats: &[&str]) -> TrustStore {
    let anchor = std::fs::read(root.join("ietf/tpm-certify/rootCA.crt")).unwrap();
    TrustStore::from_files(formats.iter().map(|format| (format!("{format}/root.crt"), anchor.clone()))).unwrap()
}

struct Case<'a> {
    files: &'a [&'a str],
    formats: &'a [&'a str],
    key: Option<&'a str>,
    nonce: Option<&'a str>,
}

const BOTH: &[&str] = &["tpm-certify", "tpm-quote"];

fn judge(root: &Path, case: &Case<'_>) -> Verdict {
    let contents: Vec<(String, Vec<u8>)> = case
        .files
        .iter()
        .map(|file| ((*file).to_owned(), std::fs::read(root.join("ietf").join(file)).unwrap()))
        .collect();
    let files: Vec<InputFile<'_>> = contents.iter().map(|(name, bytes)| InputFile { name, bytes }).collect();
    let policy = Policy::named("default").unwrap();
    let at = Instant::from_rfc3339("2026-12-01T00:00:00Z").unwrap();
    let submission = match Submission::recognize(&files, None) {
        Ok(submission) => submission,
        Err(error) => return Verdict::on_unusable_input(&error, &policy, at),
    };
    let trust = trust(root, case.formats);
    let key =
        case.key.map(|file| SpkiView::from_key_file(&std::fs::read(root.join("ietf").join(file)).unwrap()).unwrap());
    let nonce = case.nonce.map(|text| Nonce::new(&hex::decode(text).unwrap()).unwrap());
    let mut request = Request::new(&submission, &trust, &policy, at);
    if let Some(key) = &key {
        request = request.expected_key(key);
    }
    if let Some(nonce) = &nonce {
        request = request.nonce(nonce);
    }
    verify(&request)
}

fn codes(verdict: &Verdict) -> Vec<&'static str> {
    verdict.reasons().iter().map(|reason| reason.code()).collect()
}

#[test]
fn a_key_statement_in_a_request_is_accepted() {
    let Some(root) = folder() else { return };
    for file in ["tpm-certify/t02-nohint.der", "tpm-certify/t02-nohint.pem", "csr-bundle/c09-certs-other.der"] {
        let verdict = judge(&root, &Case { files: &[file], formats: BOTH, key: None, nonce: None });
        assert!(verdict.is_accepted(), "{file}: {:?}", verdict.reasons());
        assert_eq!(verdict.platform().outcome, Outcome::Absent);
    }
}

#[test]
fn two_objects_of_one_attesting_key_are_accepted_together() {
    let Some(root) = folder() else { return };
    let file = "csr-bundle/c01-two-objects-certify+quote.der";
    let verdict = judge(&root, &Case { files: &[file], formats: BOTH, key: None, nonce: None });
    assert!(verdict.is_accepted(), "{:?}", verdict.reasons());
    assert_eq!(verdict.platform().outcome, Outcome::Accepted);
    assert!(verdict.edges().iter().any(|edge| edge.note.is_some()), "the differing qualifying data is not noted");
}

#[test]
fn a_root_for_one_format_is_nothing_for_another() {
    let Some(root) = folder() else { return };
    let file = "csr-bundle/c01-two-objects-certify+quote.der";
    let verdict = judge(&root, &Case { files: &[file], formats: &["tpm-certify"], key: None, nonce: None });
    assert_eq!(codes(&verdict), ["trust.no-anchor"]);
    assert_eq!(verdict.key().outcome, Outcome::Accepted);
    assert_eq!(verdict.platform().outcome, Outcome::Rejected);
}

#[test]
fn constant_qualifying_data_answers_no_nonce() {
    let Some(root) = folder() else { return };
    let nonce = Some("00112233445566778899aabbccddeeff");
    let verdict = judge(&root, &Case { files: &["tpm-certify/t02-nohint.der"], formats: BOTH, key: None, nonce });
    assert_eq!(codes(&verdict), ["nonce.mismatch"]);
}

#[test]
fn two_attributes_are_refused() {
    let Some(root) = folder() else { return };
    let file = "csr-bundle/c04-two-attributes.der";
    let verdict = judge(&root, &Case { files: &[file], formats: BOTH, key: None, nonce: None });
    assert_eq!(codes(&verdict), ["csr.several-attributes"]);
}

#[test]
fn bare_parts_are_told_apart_and_judged() {
    let Some(root) = folder() else { return };
    let parts = [
        "tpm-certify/key1.tpmSAttest.sig",
        "tpm-certify/key1.tpmTPublic",
        "tpm-certify/ak.crt",
        "tpm-certify/key1.tpmSAttest",
    ];
    let good = judge(&root, &Case { files: &parts, formats: BOTH, key: Some("tpm-certify/key1-pub.pem"), nonce: None });
    assert!(good.is_accepted(), "{:?}", good.reasons());
    assert_eq!(good.format(), "tpm-certify");
    let swapped = [
        "tpm-certify/key1.tpmSAttest.sig",
        "tpm-certify/key2.tpmTPublic",
        "tpm-certify/ak.crt",
        "tpm-certify/key1.tpmSAttest",
    ];
    let bad = judge(&root, &Case { files: &swapped, formats: BOTH, key: None, nonce: None });
    assert_eq!(codes(&bad), ["tpm.name-mismatch"]);
    let quote = ["tpm-certify/quote.sig", "tpm-certify/quote.tpmSAttest", "tpm-certify/ak.crt"];
    let alone = judge(&root, &Case { files: &quote, formats: BOTH, key: None, nonce: None });
    assert_eq!(codes(&alone), ["bind.no-key-statement"]);
}

#[test]
fn samples_of_old_drafts_are_refused_by_name() {
    let Some(root) = folder() else { return };
    for file in ["tcgAttestTpmCertify-2024-10-21-validsig.pem", "tcgAttestTpmCertify.pem"] {
        let path = format!("repo-samples/lamps-csr-attestation/{file}");
        let verdict = judge(&root, &Case { files: &[&path], formats: BOTH, key: None, nonce: None });
        assert_eq!(codes(&verdict), ["csr.legacy-statement"], "{file}");
    }
}
