//! Judging a case through the public interface of the Verifier.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use vouchsafe_evidence::ceremony::NamedKey;
use vouchsafe_evidence::input::{InputFile, Submission};
use vouchsafe_evidence::statement::FormatId;
use vouchsafe_evidence::tpm::HashAlg;
use vouchsafe_evidence::x509::{CertView, SpkiView};
use vouchsafe_verifier::advisory::Advisories;
use vouchsafe_verifier::ceremony::{self, Witnesses};
use vouchsafe_verifier::enrolment::{Family, authenticate_ek_under, qualify_ak};
use vouchsafe_verifier::{
    Instant, ModuleList, Nonce, Policy, ReferenceValues, Rejection, Request, TrustStore, Verdict, hex, verify,
};

use crate::case::{Case, Kind, root};
use crate::generate::generate;

/// What the Verifier said.
pub struct Judgement {
    pub codes: BTreeSet<String>,
    pub reasons: Vec<String>,
    pub report: Value,
}

impl Judgement {
    fn rejected(reasons: &[Rejection], report: Value) -> Self {
        Self {
            codes: reasons.iter().map(|reason| reason.code().to_owned()).collect(),
            reasons: reasons.iter().map(ToString::to_string).collect(),
            report,
        }
    }
}

pub fn judge(case: &Case) -> Judgement {
    match case.kind {
        Kind::Evidence => judge_evidence(case),
        Kind::Ek => judge_ek(case),
        Kind::Ak => judge_ak(case),
        Kind::Ceremony => judge_ceremony(case),
    }
}

fn judge_evidence(case: &Case) -> Judgement {
    let verdict = verdict(case);
    let report = verdict.to_json();
    assert_eq!(verdict.is_accepted(), verdict.reasons().is_empty(), "a verdict without reason, or with one in vain");
    Judgement::rejected(verdict.reasons(), report)
}

fn verdict(case: &Case) -> Verdict {
    let policy = policy(case);
    let at = Instant::from_rfc3339(&case.at).unwrap();
    let contents: Vec<(String, Vec<u8>)> = match &case.generate {
        Some(recipe) => generate(recipe, case),
        None => case.files.iter().map(|file| (file.clone(), case.read(file))).collect(),
    };
    let files: Vec<InputFile<'_>> = contents.iter().map(|(name, bytes)| InputFile { name, bytes }).collect();
    let format = case.format.as_ref().map(|id| FormatId::from_id(id).unwrap());
    let client_data = case.client_data.as_ref().map(|file| case.read(file));
    let submission = match Submission::recognize_with_client_data(&files, format, client_data.as_deref()) {
        Ok(submission) => submission,
        Err(error) => return Verdict::on_unusable_input(&error, &policy, at),
    };
    let trust = trust(&case.trust);
    let key = case.key.as_ref().map(|file| SpkiView::from_key_file(&case.read(file)).unwrap());
    let nonce = case.nonce.as_ref().map(|text| Nonce::new(&hex::decode(text).unwrap()).unwrap());
    let possession_context = case.possession_context.as_ref().map(|text| hex::decode(text).unwrap());
    let advisories = case.advisories.as_ref().map(|file| Advisories::from_toml(&text(case, file)).unwrap());
    let mut request = Request::new(&submission, &trust, &policy, at).baseline(baseline(case));
    if let Some(advisories) = &advisories {
        request = request.advisories(advisories);
    }
    if let Some(context) = &possession_context {
        request = request.possession_context(context);
    }
    if let Some(key) = &key {
        request = request.expected_key(key);
    }
    if let Some(nonce) = &nonce {
        request = request.nonce(nonce);
    }
    if let Some(device) = &case.device {
        request = request.expected_device(device);
    }
    verify(&request)
}

fn text(case: &Case, file: &str) -> String {
    String::from_utf8(case.read(file)).unwrap()
}

pub fn policy(case: &Case) -> Policy {
    let policy = Policy::named(&case.policy).unwrap_or_else(|| Policy::from_toml(&text(case, &case.policy)).unwrap());
    let lists = case.modules.iter().map(|file| ModuleList::parse(&text(case, file)).unwrap());
    lists.fold(policy, Policy::with_modules)
}

pub fn baseline(case: &Case) -> ReferenceValues {
    let mut values = ReferenceValues::none();
    for (bank, registers) in &case.baseline {
        for (index, value) in registers {
            let bank = HashAlg::from_label(bank).unwrap();
            values.insert(bank, index.parse().unwrap(), &hex::decode(value).unwrap()).unwrap();
        }
    }
    values
}

/// The trust store of this name under `vectors/trust`.
pub fn trust(set: &str) -> TrustStore {
    let folder = root().join("trust").join(set);
    let mut files = Vec::new();
    walk(&folder, "", &mut files);
    TrustStore::from_files(files).unwrap_or_else(|e| panic!("trust/{set}: {e}"))
}

fn walk(folder: &Path, prefix: &str, files: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let path = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        if entry.file_type().unwrap().is_dir() {
            walk(&entry.path(), &path, files);
        } else {
            files.push((path, fs::read(entry.path()).unwrap()));
        }
    }
}

fn judge_ek(case: &Case) -> Judgement {
    let certificates: Vec<CertView> =
        case.files.iter().map(|file| CertView::parse_padded(&case.read(file)).unwrap()).collect();
    let at = Instant::from_rfc3339(&case.at).unwrap();
    match authenticate_ek_under(&certificates, &trust(&case.trust), policy(case).revocation(), at, None) {
        Err(rejection) => Judgement::rejected(&[rejection], Value::Null),
        Ok(ek) => {
            let report = json!({
                "name_alg": ek.parameters().name_alg.label(),
                "aes_bits": ek.parameters().aes_bits,
                "virtual": ek.is_virtual(),
                "model_attributes": ek.model().len(),
            });
            Judgement::rejected(&[], report)
        }
    }
}

fn judge_ak(case: &Case) -> Judgement {
    let [file] = case.files.as_slice() else { panic!("an attestation key is one file") };
    match qualify_ak(&case.read(file)) {
        Err(rejections) => Judgement::rejected(&rejections, Value::Null),
        Ok(ak) => {
            let families: Vec<&str> = ak
                .families()
                .iter()
                .map(|family| match family {
                    Family::Attest => "attest",
                    Family::CertifyX509 => "certify-x509",
                    Family::PkixEvidence => "pkix-evidence",
                })
                .collect();
            Judgement::rejected(&[], json!({"families": families, "name": hex::encode(ak.name().as_bytes())}))
        }
    }
}

fn judge_ceremony(case: &Case) -> Judgement {
    let [file] = case.files.as_slice() else { panic!("a ceremony is one file") };
    let named = |file: &String| {
        let name = file.trim_end_matches(".der").to_owned();
        NamedKey { name, key: SpkiView::from_key_file(&case.read(file)).unwrap() }
    };
    let at = Instant::from_rfc3339(&case.at).unwrap();
    let judged = Witnesses::new(case.witnesses.iter().map(named).collect(), case.threshold)
        .and_then(|witnesses| ceremony::verify(&case.read(file), &witnesses, at));
    match judged {
        Err(rejection) => Judgement::rejected(&[rejection], Value::Null),
        Ok(witnessed) => {
            let report = json!({
                "witnesses": witnessed.witnesses(),
                "serial": witnessed.module().serial,
                "family": witnessed.family().label(),
                "steps": witnessed.transcript().steps.len(),
            });
            Judgement::rejected(&[], report)
        }
    }
}
