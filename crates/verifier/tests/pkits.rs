//! NIST PKITS, the Public Key Interoperability Test Suite, against the path validator.
//!
//! Every end-entity certificate of the suite is a test; its name says whether its path is valid for the inputs that the
//! validator uses (any initial policy, no explicit policy demanded, mapping and anyPolicy not inhibited), and
//! `pkits/exceptions.toml` says where that differs, and why. An exception that is not needed any more fails the test.
#![allow(clippy::disallowed_methods, reason = "tests read files")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use vouchsafe_evidence::x509::CertView;
use vouchsafe_verifier::crypto::SignatureBudget;
use vouchsafe_verifier::path::{ChainProfile, PathInputs, validate_path};
use vouchsafe_verifier::{IndirectStance, Instant, RevocationDemand, Stance, TrustStore};

/// A time at which every path that is not about time is valid: the suite's certificates end with 2030.
const AT: &str = "2026-12-01T00:00:00Z";
const ANCHOR: &str = "TrustAnchorRootCertificate.crt";
/// End-entity certificates in the suite; fewer would mean that some were not found.
const TESTS: usize = 223;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exceptions {
    /// Tests whose names do not say whether the path is valid, with what the suite's description says.
    named_otherwise: BTreeMap<String, bool>,
    /// Valid paths that are refused, each with the reason.
    refused: BTreeMap<String, String>,
}

fn folder() -> PathBuf {
    let found = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/peers/cryptography_vectors/x509/PKITS_data");
    assert!(found.is_dir(), "PKITS is not there; run scripts/peers, which fetches it");
    found
}

fn files(folder: &Path, extension: &str) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let named = entries.filter(|path| path.extension().is_some_and(|found| found == extension));
    named.map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap())).collect()
}

/// The anchor, and every revocation list that can be read: others are for tests that must fail for want of them.
fn trust(folder: &Path, certificates: &BTreeMap<String, Vec<u8>>) -> TrustStore {
    let anchor = (format!("x/{ANCHOR}").replace(".crt", ".der"), certificates[ANCHOR].clone());
    let mut store = vec![anchor];
    for (name, list) in files(&folder.join("crls"), "crl") {
        let with = [store.clone(), vec![(format!("x/crls/{name}"), list)]].concat();
        if TrustStore::from_files(with.clone()).is_ok() {
            store = with;
        }
    }
    TrustStore::from_files(store).unwrap()
}

#[test]
fn every_path_of_pkits_is_judged_as_the_suite_says() {
    let folder = folder();
    let certificates = files(&folder.join("certs"), "crt");
    let exceptions: Exceptions = toml::from_str(include_str!("pkits/exceptions.toml")).unwrap();
    let trust = trust(&folder, &certificates);
    let is_test = |name: &str| name.ends_with("EE.crt");
    let authorities: Vec<CertView> = certificates
        .iter()
        .filter(|(name, _)| !is_test(name) && *name != ANCHOR)
        .filter_map(|(_, der)| CertView::parse(der).ok())
        .collect();
    let revocation =
        RevocationDemand { missing: Stance::Reject, stale: Stance::Reject, indirect: IndirectStance::Reject };
    let inputs = PathInputs { profile: ChainProfile::Unprofiled, at: Instant::from_rfc3339(AT).unwrap(), revocation };
    let (mut tests, mut problems, mut refused) = (0, Vec::new(), 0);
    for (file, der) in certificates.iter().filter(|(name, _)| is_test(name)) {
        tests += 1;
        let name = file.trim_end_matches("EE.crt");
        let valid = exceptions.named_otherwise.get(name).copied().unwrap_or_else(|| {
            assert!(name.starts_with("Valid") || name.starts_with("Invalid"), "{name} does not say what it is");
            name.starts_with("Valid")
        });
        let outcome = CertView::parse(der).map_err(|malformed| malformed.to_string()).and_then(|certificate| {
            validate_path(&certificate, &authorities, trust.format("x"), inputs, &mut SignatureBudget::new())
                .map_err(|error| error.code().to_owned())
        });
        refused += usize::from(outcome.is_err());
        match (valid, outcome, exceptions.refused.contains_key(name)) {
            (true, Ok(_), false) | (false, Err(_), false) | (true, Err(_), true) => {}
            (true, Ok(_), true) => problems.push(format!("{name} is accepted; its exception is not needed any more")),
            (true, Err(code), false) => problems.push(format!("{name} is valid and refused: {code}")),
            (false, Ok(_), _) => problems.push(format!("{name} is invalid and ACCEPTED")),
            (false, Err(_), true) => problems.push(format!("{name} is invalid and refused; it needs no exception")),
        }
    }
    assert_eq!(tests, TESTS);
    assert!(refused > 0);
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}
