//! What the tests of the formats' field data share.

use std::path::{Path, PathBuf};

use serde_json::Value;
use vouchsafe_evidence::input::{InputFile, Submission};
use vouchsafe_evidence::x509::SpkiView;
use vouchsafe_verifier::enrolment::{authenticate_attested_ak, qualify_host_ak};
use vouchsafe_verifier::{Instant, Policy, Request, RevocationDemand, TrustStore, Verdict, verify};

/// The folder of one maker's field data, or `None` with a message that `./run-tests` counts.
pub fn folder_of(format: &str) -> Option<PathBuf> {
    Some(super::folder()?.join("vendors").join(format)).filter(|folder| folder.is_dir())
}

/// A file of that folder.
pub fn read(folder: &Path, file: &str) -> Vec<u8> {
    std::fs::read(folder.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// A trust store with files of that folder as anchors of a format.
pub fn anchors(folder: &Path, format: &str, files: &[&str]) -> TrustStore {
    TrustStore::from_files(files.iter().map(|file| (format!("{format}/{file}"), read(folder, file)))).unwrap()
}

/// The policy that these samples are judged by: `lab`, where there is one.
pub fn policy() -> Policy {
    Policy::named("lab").or_else(|| Policy::named("default")).unwrap()
}

/// The verdict on files, given as names and contents.
pub fn judge(files: &[(&str, Vec<u8>)], trust: &TrustStore, policy: &Policy, at: &str, key: Option<&[u8]>) -> Verdict {
    let at = Instant::from_rfc3339(at).unwrap();
    let files: Vec<InputFile<'_>> = files.iter().map(|(name, bytes)| InputFile { name, bytes }).collect();
    let submission = match Submission::recognize(&files, None) {
        Ok(submission) => submission,
        Err(error) => return Verdict::on_unusable_input(&error, policy, at),
    };
    let key = key.map(|key| SpkiView::from_key_file(key).unwrap());
    let mut request = Request::new(&submission, trust, policy, at);
    if let Some(key) = &key {
        request = request.expected_key(key);
    }
    verify(&request)
}

/// The codes of a verdict's reasons.
pub fn codes(verdict: &Verdict) -> Vec<&'static str> {
    verdict.reasons().iter().map(|reason| reason.code()).collect()
}

/// A claim's value in the report, or null.
pub fn claim(verdict: &Verdict, section: &str, name: &str) -> Value {
    verdict.to_json()[section]["claims"][name]["value"].clone()
}

/// What an authority makes of a maker's attestation of a key that is to attest others: the device, or codes.
pub fn attested(
    files: &[(&str, Vec<u8>)],
    trust: &TrustStore,
    at: &str,
    key: &[u8],
) -> Result<Option<String>, Vec<&'static str>> {
    let files: Vec<InputFile<'_>> = files.iter().map(|(name, bytes)| InputFile { name, bytes }).collect();
    let submission = Submission::recognize(&files, None).unwrap();
    let key = qualify_host_ak(&SpkiView::from_key_file(key).unwrap()).unwrap();
    let at = Instant::from_rfc3339(at).unwrap();
    authenticate_attested_ak(&submission, &key, trust, RevocationDemand::default(), at, None)
        .map(|attested| attested.device_id().map(str::to_owned))
        .map_err(|violations| violations.iter().map(|violation| violation.code()).collect())
}
