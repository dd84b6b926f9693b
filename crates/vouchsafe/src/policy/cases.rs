//! Cases of evidence with known verdicts (`vectors/`), judged under another policy.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use vouchsafe_evidence::input::{InputFile, Submission};
use vouchsafe_evidence::statement::FormatId;
use vouchsafe_evidence::x509::SpkiView;
use vouchsafe_verifier::{Instant, Nonce, Policy, Request, Verdict, hex, verify};

use crate::failure::Failure;
use crate::files::{Opened, read_small, read_small_text};
use crate::trust_folder;

/// Folders beneath which no more are looked at.
const DEPTH: usize = 4;
/// The most octets of one file of a case.
const FILE_OCTETS: u64 = 4 << 20;

/// What of a case file concerns judging it under another policy.
#[derive(Debug, Deserialize)]
struct Case {
    expect: toml::Value,
    #[serde(default)]
    kind: Option<String>,
    nonce: Option<String>,
    #[serde(default = "default_at")]
    at: String,
    key: Option<String>,
    client_data: Option<String>,
    #[serde(default = "default_trust")]
    trust: String,
    files: Vec<String>,
    generate: Option<String>,
    format: Option<String>,
}

fn default_at() -> String {
    "2026-12-01T00:00:00Z".to_owned()
}

fn default_trust() -> String {
    "default".to_owned()
}

/// Each case that is accepted under the policy of its own, with the reasons for which this one refuses it.
///
/// # Errors
/// [`Failure`] if the folder has no such case, or one that cannot be read.
pub fn judge(policy: &Policy, folder: &Path) -> Result<Vec<(String, Vec<String>)>, Failure> {
    let mut found = Vec::new();
    collect(folder, DEPTH, &mut found)?;
    found.sort();
    let mut outcomes = Vec::new();
    for path in found {
        let text = read_small_text(&path.join("case.toml"))?;
        let case: Case = toml::from_str(&text).map_err(|error| unusable(&path, error.message()))?;
        let is_evidence = case.kind.as_deref().is_none_or(|kind| kind == "evidence") && case.generate.is_none();
        if is_evidence && case.expect.as_str() == Some("accept") {
            let verdict = case.verdict(policy, &path)?;
            let name = path.strip_prefix(folder).unwrap_or(&path).display().to_string();
            let reasons = verdict.reasons().iter().map(|reason| format!("{}: {}", reason.code(), reason.message()));
            outcomes.push((name, reasons.collect()));
        }
    }
    if outcomes.is_empty() {
        return Err(Failure::new(format!("{} holds no case", folder.display())).next("name a folder such as vectors/"));
    }
    Ok(outcomes)
}

fn unusable(path: &Path, why: &str) -> Failure {
    Failure::new(format!("the case {} cannot be used", path.display())).because(why)
}

/// The folders that hold a case.
fn collect(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), Failure> {
    if folder.join("case.toml").is_file() {
        found.push(folder.to_owned());
        return Ok(());
    }
    let unreadable =
        |error: std::io::Error| Failure::new(format!("{} cannot be read", folder.display())).because(error);
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if depth > 0 && path.is_dir() {
            collect(&path, depth.saturating_sub(1), found)?;
        }
    }
    Ok(())
}

impl Case {
    fn verdict(&self, policy: &Policy, folder: &Path) -> Result<Verdict, Failure> {
        let bad = |why: &str| unusable(folder, why);
        let read = |file: &String| Opened::open(&folder.join(file)).and_then(|opened| opened.read(FILE_OCTETS));
        let contents: Vec<Vec<u8>> = self.files.iter().map(read).collect::<Result<_, _>>()?;
        let files: Vec<InputFile<'_>> =
            self.files.iter().zip(&contents).map(|(name, bytes)| InputFile { name, bytes }).collect();
        let format = self.format.as_deref().map(|id| FormatId::from_id(id).ok_or_else(|| bad("unknown format")));
        let client_data = self.client_data.as_ref().map(read).transpose()?;
        let at = Instant::from_rfc3339(&self.at).map_err(|_| bad("its time is none"))?;
        let submission =
            match Submission::recognize_with_client_data(&files, format.transpose()?, client_data.as_deref()) {
                Ok(submission) => submission,
                Err(error) => return Ok(Verdict::on_unusable_input(&error, policy, at)),
            };
        let set = folder.ancestors().map(|above| above.join("trust").join(&self.trust)).find(|set| set.is_dir());
        let trust = trust_folder::read(&set.ok_or_else(|| bad("its trust folder is not there"))?)?;
        let nonce = self.nonce.as_deref().map(|text| {
            hex::decode(text).and_then(|octets| Nonce::new(&octets).ok()).ok_or_else(|| bad("its nonce is none"))
        });
        let (nonce, key) = (nonce.transpose()?, self.key.as_ref().map(|file| read_small(&folder.join(file))));
        let key = key.transpose()?.map(|file| SpkiView::from_key_file(&file).map_err(|_| bad("its key is none")));
        let key = key.transpose()?;
        let mut request = Request::new(&submission, &trust, policy, at);
        if let Some(nonce) = &nonce {
            request = request.nonce(nonce);
        }
        if let Some(key) = &key {
            request = request.expected_key(key);
        }
        Ok(verify(&request))
    }
}
