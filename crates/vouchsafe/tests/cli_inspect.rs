//! `vouchsafe inspect`: what files hold, in words and as JSON, and never a verdict.

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
use std::path::Path;

use support::{Run, fits_terminal, repository, vouchsafe};
use tempfile::TempDir;
use vouchsafe_evidence::oid;
use vouchsafe_evidence::pem;
use vouchsafe_evidence::tpm::template::{EkTemplate, storage_root_key};
use vouchsafe_evidence::x509::build::{self, CsrTemplate};
use vouchsafe_evidence::x509::{NamedCurve, SpkiView};

fn inspect(path: &Path) -> Run {
    vouchsafe(["inspect", path.to_str().unwrap()])
}

/// A file of this content, inspected from its folder so that its name is short.
fn inspect_octets(contents: &[u8]) -> Run {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, contents).unwrap();
    support::command().args(["inspect", "file"]).current_dir(folder.path()).output().unwrap().into()
}

#[test]
fn a_request_is_told_to_its_last_statement() {
    let contents = fs::read(repository("vectors/binding/x509-and-quote/request.der")).unwrap();
    let run = inspect_octets(&contents);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    for words in [
        "certification request",
        "attestation bundle: 2 statements",
        "statement 0: tpm-certify-x509",
        "statement 1: tpm-quote",
        "certificate: made by a TPM itself (TPM2_CertifyX509)",
        "may leave the TPM: no",
        "of an attestation key, for what TPMs attest (TPMS_ATTEST)",
        "PCRs: sha256 0 2 4 7",
    ] {
        assert!(run.stdout.contains(words), "{words}: {}", run.stdout);
    }
    assert!(fits_terminal(&run.stdout), "{}", run.stdout);
    assert_eq!(run.stdout.matches("Nothing here is verified").count(), 1);
    assert!(!run.stdout.to_lowercase().contains("accepted"));
}

#[test]
fn tpm_structures_are_told_apart_with_and_without_their_size() {
    let public = storage_root_key().as_bytes().to_vec();
    let sized = [&u16::try_from(public.len()).unwrap().to_be_bytes()[..], &public].concat();
    for (contents, words) in [
        (public.clone(), "TPMT_PUBLIC"),
        (sized, "TPM2B"),
        (EkTemplate::H3.public().as_bytes().to_vec(), "ECC, P384"),
        (storage_root_key().name().unwrap().as_bytes().to_vec(), "Name of a TPM object"),
    ] {
        let run = inspect_octets(&contents);
        assert_eq!(run.code, 0, "{words}: {run:?}");
        assert!(run.stdout.contains(words), "{words}: {}", run.stdout);
    }
    let parts = repository("vectors/tpm-certify/bare-parts");
    for (name, words) in [("2", "TPMT_PUBLIC"), ("3", "TPMT_SIGNATURE"), ("4", "an object with this Name is loaded")] {
        assert!(inspect(&parts.join(name)).stdout.contains(words), "{name}");
    }
}

#[test]
fn what_is_unknown_or_broken_is_exit_1_and_said() {
    let mut cut = fs::read(repository("vectors/binding/x509-and-quote/request.der")).unwrap();
    cut.pop();
    for (contents, words) in [
        (&b""[..], "empty file"),
        (b"words", "octets of no form that is known here"),
        (b"-----BEGIN X-----\n", "malformed"),
        (b"\xffTCG\x80\x17", "TPMS_ATTEST: malformed"),
        (&cut, "perhaps a certification request: malformed"),
    ] {
        let run = inspect_octets(contents);
        assert_eq!(run.code, 1, "{words}: {run:?}");
        assert!(run.stdout.contains(words), "{words}: {}", run.stdout);
    }
    assert!(vouchsafe(["inspect", "/no/such/file"]).is_usage_error());
    assert!(vouchsafe(["inspect"]).is_usage_error());
}

#[test]
fn the_json_is_a_tree_that_says_nothing_is_verified() {
    let parts = repository("vectors/tpm-certify/bare-parts");
    let run = vouchsafe(["inspect", "--json", parts.join("2").to_str().unwrap(), parts.join("3").to_str().unwrap()]);
    assert_eq!(run.code, 0);
    let json = run.json();
    assert_eq!(json["verified"], false);
    assert_eq!(json["files"].as_array().unwrap().len(), 2);
    assert_eq!(
        (&json["files"][0]["known"], &json["files"][0]["items"][0]["name"]),
        (&true.into(), &"TPMT_PUBLIC".into())
    );
}

#[test]
fn names_cannot_act_on_the_terminal() {
    let spki = SpkiView::from_ec(NamedCurve::P256, &[1; 32], &[2; 32]).unwrap();
    let hostile = "a\u{1b}[31mb\u{202e}c\nd";
    let subject = build::distinguished_name(&[(oid::COMMON_NAME, hostile)]).unwrap();
    let info = CsrTemplate { subject, spki, attributes: Vec::new() }.info_der();
    let csr = build::assemble(&info, &build::algorithm_identifier(oid::ECDSA_WITH_SHA256), &[0; 8]);
    for contents in [csr.clone(), pem::encode("CERTIFICATE REQUEST", &csr).into_bytes()] {
        let run = inspect_octets(&contents);
        assert_eq!(run.code, 0, "{run:?}");
        assert!(run.stdout.contains("CN=a\u{fffd}[31mb\u{fffd}c\u{fffd}d"), "{}", run.stdout);
        assert!(!run.stdout.contains(['\u{1b}', '\u{202e}']));
    }
}

#[test]
fn every_vector_is_read_without_a_failure() {
    let mut files = Vec::new();
    let mut folders = vec![repository("vectors")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    assert!(files.len() > 100);
    for chunk in files.chunks(50) {
        let run = vouchsafe(std::iter::once(Path::new("inspect")).chain(chunk.iter().map(|path| path.as_path())));
        assert!(run.code < 2 && run.stderr.is_empty(), "{run:?}");
    }
}

#[test]
fn what_is_said_is_grouped_and_told_apart_by_whose_word_it_is() {
    let request = repository("vectors/tpm-certify/p256/request.der").to_str().unwrap().to_owned();
    let trust = repository("vectors/trust/default").to_str().unwrap().to_owned();
    let run = vouchsafe(["inspect", &request, "--trust", &trust]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{run:?}");
    for wanted in
        ["who signed whom", "the key\n", "only promised, not signed", "nothing is said of", "the attesting key"]
    {
        assert!(run.stdout.contains(wanted), "{wanted:?} is not in\n{}", run.stdout);
    }
    // Without anchors nothing of a chain whose top is missing can be told.
    let run = vouchsafe(["inspect", &request]);
    assert!(run.code == 0 && run.stdout.contains("not told") && run.stdout.contains("--trust DIR"), "{run:?}");
}
