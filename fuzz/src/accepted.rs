//! Accepted evidence, changed. The fuzz target calls this; an ordinary test changes every octet of a request.

#![allow(clippy::disallowed_methods, reason = "tests read files")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::Path;
use std::sync::OnceLock;

use vouchsafe_evidence::bundle::{AttestationBundle, AttestationStatement};
use vouchsafe_evidence::input::{InputFile, Submission};
use vouchsafe_evidence::x509::{CertView, CsrView, SpkiView};
use vouchsafe_verifier::{Instant, Policy, Request, TrustStore, Verdict, verify as verify_request};

/// Vectors with an accepted request.
const REQUESTS: [&str; 6] = [
    "tpm-quote/key-and-quote",
    "tpm-certify/p256",
    "tpm-certify/device-link",
    "tpm-certify/rsa2048",
    "tpm-certify-x509/full",
    "chain/through-intermediate",
];
/// Octets of one edit: two of offset, one of its kind, one of its value.
const EDIT_OCTETS: usize = 4;
/// Edits that one input makes.
const EDITS: usize = 16;

/// Evidence that is accepted, and what for.
struct Subject {
    bytes: Vec<u8>,
    /// The key that it is about; a request names its own.
    key: Option<SpkiView>,
    verdict: Verdict,
}

fn vector(path: &str) -> Vec<u8> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let vectors = here.ancestors().map(|folder| folder.join("vectors")).find(|folder| folder.is_dir()).unwrap();
    std::fs::read(vectors.join(path)).unwrap()
}

fn trusted() -> &'static TrustStore {
    static TRUST: OnceLock<TrustStore> = OnceLock::new();
    TRUST.get_or_init(|| {
        let folders = ["tpm-certify", "tpm-quote", "tpm-certify-x509"];
        TrustStore::from_files(
            folders.map(|folder| (format!("{folder}/root.pem"), vector(&format!("trust/default/{folder}/root.pem")))),
        )
        .unwrap()
    })
}

fn judge(bytes: &[u8], key: Option<&SpkiView>) -> Verdict {
    static POLICY: OnceLock<Policy> = OnceLock::new();
    let policy = POLICY.get_or_init(|| Policy::named("default").unwrap());
    let at = Instant::from_rfc3339("2026-12-01T00:00:00Z").unwrap();
    match Submission::recognize(&[InputFile { name: "input", bytes }], None) {
        Ok(submission) => {
            let request = Request::new(&submission, trusted(), policy, at);
            verify_request(&key.map_or(request.clone(), |key| request.expected_key(key)))
        }
        Err(error) => Verdict::on_unusable_input(&error, policy, at),
    }
}

impl Subject {
    fn new(bytes: Vec<u8>, key: Option<SpkiView>) -> Self {
        let verdict = judge(&bytes, key.as_ref());
        assert!(verdict.is_accepted(), "unchanged evidence is refused: {:?}", verdict.reasons());
        Self { bytes, key, verdict }
    }
}

/// One request as it is, and the bundles of all as evidence about the keys of their requests.
fn subjects() -> &'static [Subject] {
    static SUBJECTS: OnceLock<Vec<Subject>> = OnceLock::new();
    SUBJECTS.get_or_init(|| {
        let mut subjects = vec![Subject::new(vector(&format!("{}/request.der", REQUESTS[0])), None)];
        for name in REQUESTS {
            let request = CsrView::parse(&vector(&format!("{name}/request.der"))).unwrap();
            let bundle = request.attestation_bundle().unwrap().unwrap();
            subjects.push(Subject::new(bundle.to_der(), Some(request.spki().clone())));
        }
        subjects
    })
}

/// Octets of the accepted request that is tried as it is.
#[allow(dead_code, reason = "for the test alone")]
pub fn request_octets() -> usize {
    subjects()[0].bytes.len()
}

/// Evidence that was accepted and is changed as `data` says is refused, or claims nothing that it did not claim before.
///
/// The first octet selects the evidence, edits follow. A request is signed as a whole, so a changed one is refused.
pub fn verify(data: &[u8]) {
    let Some((selector, edits)) = data.split_first() else { return };
    let subject = &subjects()[usize::from(*selector) % subjects().len()];
    let mut bytes = subject.bytes.clone();
    for edit in edits.chunks_exact(EDIT_OCTETS).take(EDITS) {
        bytes = changed(bytes, u16::from_be_bytes([edit[0], edit[1]]).into(), edit[2], edit[3]);
    }
    let verdict = judge(&bytes, subject.key.as_ref());
    if bytes == subject.bytes {
        assert!(verdict.is_accepted());
    } else if verdict.is_accepted() {
        assert!(subject.key.is_some(), "a changed request is accepted");
        claims_no_more(&verdict, subject);
    } else {
        assert!(!verdict.reasons().is_empty());
    }
}

fn changed(mut bytes: Vec<u8>, place: usize, kind: u8, value: u8) -> Vec<u8> {
    let offset = place % bytes.len().max(1);
    match kind % 8 {
        0 => bytes[offset] ^= value,
        1 => bytes[offset] = value,
        2 => bytes.insert(offset, value),
        3 => drop(bytes.remove(offset)),
        _ => return rearranged(&bytes, place, kind % 8, value.into()).unwrap_or(bytes),
    }
    bytes
}

/// A bundle with a member more or less: one of its own twice, or one of another accepted bundle.
fn rearranged(bundle: &[u8], place: usize, kind: u8, value: usize) -> Option<Vec<u8>> {
    let parts = |bundle: &[u8]| -> Option<(Vec<AttestationStatement>, Vec<CertView>)> {
        let bundle = AttestationBundle::parse(bundle).ok()?;
        Some((bundle.statements().to_vec(), bundle.certificates().cloned().collect()))
    };
    let (mut statements, mut certificates) = parts(bundle)?;
    let (other_statements, other_certificates) = parts(&subjects()[1 + value % REQUESTS.len()].bytes)?;
    match kind {
        4 => drop(statements.remove(place % statements.len())),
        5 if certificates.is_empty() => return None,
        5 => drop(certificates.remove(place % certificates.len())),
        6 => {
            statements.insert(place % (statements.len() + 1), other_statements[place % other_statements.len()].clone())
        }
        _ => certificates
            .insert(place % (certificates.len() + 1), other_certificates[place % other_certificates.len()].clone()),
    }
    AttestationBundle::new(statements, certificates).ok().map(|bundle| bundle.to_der())
}

/// Whoever takes parts away may leave less; nobody makes more of what was signed. Evidence that was mixed in may add
/// what it says itself: of a key only evidence about that key, of platform and attesting key any by the same attesting key.
fn claims_no_more(changed: &Verdict, original: &Subject) {
    let changed = changed.to_json();
    let all: Vec<_> = subjects().iter().map(|subject| subject.verdict.to_json()).collect();
    let of_same_key = subjects().iter().filter(|subject| subject.key == original.key);
    let of_same_key: Vec<_> = of_same_key.map(|subject| subject.verdict.to_json()).collect();
    for part in ["key", "platform", "attesting_key"] {
        let Some(claims) = changed[part]["claims"].as_object() else { continue };
        let sources = if part == "key" { &of_same_key } else { &all };
        for (name, claim) in claims {
            let is_said = sources.iter().any(|source| {
                let said = &source[part]["claims"][name];
                claim["value"] == said["value"] && claim["source"] == said["source"]
            });
            assert!(is_said, "{part} claims another {name}: {claim}");
        }
    }
    let device = &changed["device"];
    assert!(device.is_null() || all.iter().any(|source| source["device"] == *device), "another device: {device}");
    assert_eq!(changed["freshness"], "none");
    assert_eq!(changed["key"]["verdict"], "accepted");
}
