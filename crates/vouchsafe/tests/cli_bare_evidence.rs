//! Evidence that is no request: registrations with client data, certificates of endorsement keys, wrappers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "support/cli.rs"]
mod support;
#[cfg(feature = "agent")]
#[path = "cli_bare_evidence/token.rs"]
mod token;

use support::{Run, repository, vouchsafe};

const AT: &str = "2026-12-01T00:00:00Z";

fn verify(files: &[&str], trust: &str, more: &[&str]) -> Run {
    let mut arguments = vec!["verify".to_owned(), "--at".to_owned(), AT.to_owned(), "--trust".to_owned()];
    arguments.push(repository(&format!("vectors/trust/{trust}")).to_str().unwrap().to_owned());
    arguments.extend(files.iter().map(|file| repository(file).to_str().unwrap().to_owned()));
    arguments.extend(more.iter().map(|&more| more.to_owned()));
    vouchsafe(arguments)
}

#[test]
fn a_registration_is_checked_against_its_client_data() {
    let object = "vectors/webauthn-tpm/es256/key.attobj.cbor";
    let client_data = repository("vectors/webauthn-tpm/es256/clientData.json");
    let with = ["--json", "--client-data", client_data.to_str().unwrap()];
    let run = verify(&[object], "webauthn-tpm", &with);
    assert_eq!((run.code, run.json()["format"].as_str()), (0, Some("webauthn-tpm")), "{run:?}");
    let run = verify(&[object], "webauthn-tpm", &["--json"]);
    assert_eq!((run.code, run.codes()), (1, vec!["input.incomplete".to_owned()]), "{run:?}");
    let other = repository("vectors/webauthn-tpm/with-nonce/clientData.json");
    let run = verify(&[object], "webauthn-tpm", &["--json", "--client-data", other.to_str().unwrap()]);
    assert_eq!((run.code, run.codes()), (1, vec!["webauthn.extra-data".to_owned()]), "{run:?}");
    let run = verify(&[object], "webauthn-tpm", &["--client-data", "/no/such/file"]);
    assert!(run.is_usage_error(), "{run:?}");
}

#[test]
fn an_endorsement_key_identifies_a_tpm_and_no_more() {
    let run = verify(&["vectors/tpm-ek/p256/ek.der"], "default", &[]);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.stdout.contains("identifies a TPM"), "{run:?}");
    assert!(run.stdout.contains("proves identity, not possession"), "{run:?}");
    assert!(!run.stdout.contains("This key lives"), "{run:?}");
    let words = |run: &Run| run.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words(&run).contains("its key cannot sign"), "{run:?}");
    let run = verify(&["vectors/tpm-ek/signing/ek.der"], "default", &[]);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(words(&run).contains("its key signed nothing here"), "{run:?}");
    assert!(!words(&run).contains("cannot sign"), "{run:?}");
    let run = verify(&["vectors/tpm-ek/p256/ek.der"], "default", &["--json", "--format", "tpm-ek"]);
    assert_eq!((run.code, run.json()["format"].as_str()), (0, Some("tpm-ek")), "{run:?}");
    let run = verify(&["vectors/tpm-ek/p256/ek.der"], "certify-only", &["--json"]);
    assert_eq!((run.code, run.codes()), (1, vec!["trust.no-anchor".to_owned()]), "{run:?}");
}

#[test]
fn a_wrapper_is_read_by_its_content_and_shown_by_its_members() {
    let wrapper = "vectors/cmw/bare-json/evidence.cmw";
    let run = verify(&[wrapper], "default", &["--json"]);
    assert_eq!((run.code, run.json()["format"].as_str()), (0, Some("cmw")), "{run:?}");
    let run = vouchsafe(["inspect", repository(wrapper).to_str().unwrap()]);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.stdout.contains("application/vnd.vouchsafe.tpm-certify"), "{run:?}");
    assert!(run.stdout.contains("application/pkix-cert"), "{run:?}");
}
