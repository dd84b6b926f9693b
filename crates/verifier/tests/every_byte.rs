//! Every octet of accepted evidence is signed, or bound to something signed, or its change is refused; what is neither
//! is listed in `docs/unprotected-bytes.md` with the reason.
//!
//! A request is signed as a whole by the key it is about, whose holder may sign anything. So the bundles of requests are
//! tried on their own as well, as evidence about that key.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    // Tests read files; the Verifier itself does not.
    clippy::disallowed_methods,
    clippy::disallowed_types,
    missing_docs
)]

#[allow(dead_code)]
#[path = "vectors/case.rs"]
mod case;
#[path = "every_byte/exempt.rs"]
mod exempt;
#[allow(dead_code)]
#[path = "vectors/generate.rs"]
mod generate;
#[allow(dead_code)]
#[path = "vectors/judge.rs"]
mod judge;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use case::Case;
use exempt::exemption;
use serde_json::Value;
use vouchsafe_evidence::input::{InputFile, Submission};
use vouchsafe_evidence::statement::FormatId;
use vouchsafe_evidence::x509::{CsrView, SpkiView};
use vouchsafe_verifier::{Instant, Nonce, Policy, ReferenceValues, Request, TrustStore, hex, verify};

/// Cases whose files are tried as they are.
const WHOLE: [&str; 31] = [
    "cmw/bare-json",
    "csr/certificates-beside",
    "csr/pem",
    "fortanix-dsm/certificates",
    "fortanix-dsm/p256",
    "gcp-cloudhsm/p256",
    "gcp-cloudhsm/rsa2048",
    "gcp-cloudhsm/symmetric",
    "input/bundle",
    "input/bundle-pem",
    "input/statement",
    "input/stmt-without-type",
    "pkix-evidence/intermediates-explicit",
    "pkix-evidence/key-id",
    "pkix-evidence/pem",
    "pkix-evidence/through-intermediate",
    "pkix-evidence/two-signers",
    "thales-luna/certificates",
    "thales-luna/without-root",
    "tpm-certify-x509/bare-files",
    "tpm-certify/bare-parts",
    "tpm-certify/key-with-policy",
    "tpm-certify-x509/published",
    "tpm-certify/published-certificate",
    "tpm-certify/two-keys-one-meant",
    "tpm-ek/p256",
    "webauthn-tpm/client-data-as-file",
    "yubihsm2/two-certificates",
    "yubikey-piv/chain-in-one-file",
    "yubikey-piv/new-root",
    "yubikey-piv/two-certificates",
];

/// Cases with a request, whose bundle is tried as evidence about the request's key.
const UNWRAPPED: [&str; 18] = [
    "chain/through-intermediate",
    "cmw/cbor-content-format",
    "cmw/json-record",
    "fortanix-dsm/chain-in-bundle",
    "gcp-cloudhsm/request",
    "pkix-evidence/in-request",
    "thales-luna/chain-in-bundle",
    "tpm-certify-x509/full",
    "tpm-certify/device-link",
    "tpm-certify/p256",
    "tpm-certify/p256-by-pss",
    "tpm-certify/raw-ecdsa-signature",
    "tpm-certify/rsa2048",
    "tpm-certify/with-nonce",
    "tpm-quote/key-and-quote",
    "webauthn-tpm/request",
    "yubihsm2/in-request-without-nonce",
    "yubikey-piv/in-request-without-nonce",
];

/// Files by name.
pub type Files = Vec<(String, Vec<u8>)>;

/// Evidence that is accepted, and all that it is judged by.
pub struct Subject {
    files: Files,
    format: Option<FormatId>,
    trust: TrustStore,
    policy: Policy,
    at: Instant,
    nonce: Option<Nonce>,
    key: Option<SpkiView>,
    device: Option<String>,
    baseline: ReferenceValues,
}

impl Subject {
    fn whole(case: &Case) -> Self {
        Self {
            files: case.files.iter().map(|file| (file.clone(), case.read(file))).collect(),
            format: case.format.as_ref().map(|id| FormatId::from_id(id).unwrap()),
            trust: judge::trust(&case.trust),
            policy: judge::policy(case),
            at: Instant::from_rfc3339(&case.at).unwrap(),
            nonce: case.nonce.as_ref().map(|text| Nonce::new(&hex::decode(text).unwrap()).unwrap()),
            key: case.key.as_ref().map(|file| SpkiView::from_key_file(&case.read(file)).unwrap()),
            device: case.device.clone(),
            baseline: judge::baseline(case),
        }
    }

    /// The bundle of a request, about the request's key.
    fn unwrapped(case: &Case) -> Self {
        let mut subject = Self::whole(case);
        let [(_, request)] = subject.files.as_slice() else { panic!("a request is one file") };
        let request = CsrView::parse(request).unwrap();
        let bundle = request.attestation_bundle().unwrap().unwrap();
        subject.key = Some(request.spki().clone());
        subject.files = vec![("bundle.der".to_owned(), bundle.to_der())];
        subject
    }

    /// The same with a certificate that nothing needs.
    fn with_spare_certificate(mut self, spare: &Case) -> Self {
        self.files.push(("spare.der".to_owned(), spare.read(&spare.files[0])));
        self
    }

    /// The report on these files in place of its own, if they are accepted.
    pub fn accepts(&self, files: &Files) -> Option<Value> {
        let files: Vec<InputFile<'_>> = files.iter().map(|(name, bytes)| InputFile { name, bytes }).collect();
        let submission = Submission::recognize(&files, self.format).ok()?;
        let mut request = Request::new(&submission, &self.trust, &self.policy, self.at).baseline(self.baseline.clone());
        if let Some(key) = &self.key {
            request = request.expected_key(key);
        }
        if let Some(nonce) = &self.nonce {
            request = request.nonce(nonce);
        }
        if let Some(device) = &self.device {
            request = request.expected_device(device);
        }
        let verdict = verify(&request);
        verdict.is_accepted().then(|| verdict.to_json())
    }

    /// What may be changed unnoticed, by the name of the reason; a panic for what may not.
    fn exemptions(&self, id: &str) -> BTreeMap<&'static str, usize> {
        let report = self.accepts(&self.files).unwrap_or_else(|| panic!("{id} is not accepted"));
        let mut found: BTreeMap<&'static str, usize> = BTreeMap::new();
        let mut unexplained = Vec::new();
        for file in 0..self.files.len() {
            for offset in 0..self.files[file].1.len() {
                let mut changed = self.files.clone();
                // Each octet loses or gains one bit, and which one goes round.
                changed[file].1[offset] ^= 1 << (offset % 8);
                let Some(changed_report) = self.accepts(&changed) else { continue };
                match exemption(self, file, offset, &changed, (&report, &changed_report)) {
                    Some(reason) => *found.entry(reason).or_default() += 1,
                    None => unexplained.push((self.files[file].0.clone(), offset)),
                }
            }
        }
        assert!(unexplained.is_empty(), "{id}: changed and still accepted: {unexplained:?}");
        found
    }

    pub fn files(&self) -> &Files {
        &self.files
    }
}

/// Reasons that the page lists, by their headings.
fn listed() -> BTreeSet<String> {
    let page =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/unprotected-bytes.md")).unwrap();
    page.lines().filter_map(|line| line.strip_prefix("## ")).map(str::to_owned).collect()
}

#[test]
fn every_octet_is_protected_or_listed() {
    let cases = case::read_all();
    let find = |id: &str| cases.get(id).unwrap_or_else(|| panic!("{id} is no case"));
    let whole = WHOLE.iter().map(|id| ((*id).to_owned(), Subject::whole(find(id))));
    let unwrapped = UNWRAPPED.iter().map(|id| (format!("{id}, unwrapped"), Subject::unwrapped(find(id))));
    let spare = find("enrolment/ek-software-vendor");
    let beside = Subject::whole(find("tpm-certify/bare-parts")).with_spare_certificate(spare);
    let beside = ("tpm-certify/bare-parts, with a certificate beside it".to_owned(), beside);
    let subjects: Vec<(String, Subject)> = whole.chain(unwrapped).chain([beside]).collect();
    let (first, second) = subjects.split_at(subjects.len() / 2);
    let reasons = |subjects: &[(String, Subject)]| -> BTreeSet<String> {
        let found = subjects.iter().flat_map(|(id, subject)| {
            let found = subject.exemptions(id);
            println!("{id}: {found:?}");
            found.into_keys()
        });
        found.map(str::to_owned).collect()
    };
    let found = std::thread::scope(|scope| {
        let other = scope.spawn(|| reasons(first));
        let mut found = reasons(second);
        found.extend(other.join().unwrap());
        found
    });
    assert_eq!(found, listed());
}
