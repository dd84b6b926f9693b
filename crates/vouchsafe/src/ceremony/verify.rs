//! `vouchsafe ceremony verify`.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use vouchsafe_evidence::base64url;
use vouchsafe_evidence::ceremony::{Proof, Record, Step, Transcript, thumbprint};
use vouchsafe_evidence::text::printable;
use vouchsafe_verifier::ceremony::{self, Witnessed, Witnesses, codes};
use vouchsafe_verifier::{Rejection, hex};

use super::folder::read_record;
use super::record::attachment;
use super::{Stop, refusal, sign, story, witnesses};
use crate::cli::Answer;
use crate::console::{self, Tone, paint};
use crate::failure::Failure;
use crate::verify as clock;

/// Verify the file of a ceremony, and show what happened
///
/// Needs the witnesses' public keys and nothing else, however old the file is.
#[derive(Debug, Args)]
#[command(override_usage = "vouchsafe ceremony verify --witnesses <PATH> --threshold <M> <FILE>")]
pub struct Arguments {
    /// The file
    file: PathBuf,
    /// A folder with the public keys of the witnesses whom you trust, or a TOML file with [[witnesses]]
    #[arg(long, value_name = "PATH")]
    witnesses: PathBuf,
    /// How many of them must have signed
    #[arg(long, value_name = "M")]
    threshold: usize,
    /// A folder with the files that were attached, to compare them
    #[arg(long, value_name = "DIR")]
    attachments: Option<PathBuf>,
    /// Judge for this time instead of now
    #[arg(long, value_name = "RFC3339")]
    at: Option<String>,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

/// Verifies.
pub fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    match judge(arguments) {
        Ok((witnessed, missing)) => {
            let text = if arguments.json {
                format!("{:#}\n", accepted(&witnessed, arguments.attachments.is_some(), &missing))
            } else {
                in_words(&witnessed, arguments.attachments.is_some(), &missing)
            };
            console::out(&text)?;
            Ok(Answer::Yes)
        }
        Err(Stop::Failed(failure)) => Err(failure),
        Err(Stop::Refused(rejection)) => {
            console::out(&if arguments.json { format!("{:#}\n", rejected(&rejection)) } else { refusal(&rejection) })?;
            Ok(Answer::No)
        }
    }
}

fn judge(arguments: &Arguments) -> Result<(Witnessed, Vec<String>), Stop> {
    let at = clock::time_or_now(arguments.at.as_deref())?;
    let known = Witnesses::new(witnesses::read(&arguments.witnesses)?, arguments.threshold)?;
    let witnessed = ceremony::verify(&read_record(&arguments.file)?, &known, at)?;
    let missing = match &arguments.attachments {
        Some(folder) => check_attachments(witnessed.transcript(), folder)?,
        None => Vec::new(),
    };
    Ok((witnessed, missing))
}

/// Compares the files of a folder with what was attached; the names of those that are not there.
pub fn check_attachments(transcript: &Transcript, folder: &Path) -> Result<Vec<String>, Stop> {
    let mut missing = Vec::new();
    for attached in transcript.attachments() {
        let path = folder.join(&attached.name);
        if !path.exists() {
            missing.push(attached.name.clone());
            continue;
        }
        let found = attachment(&path, &attached.name)?;
        if found != *attached {
            let message = format!(
                "{} has SHA-256 {} and {} octets; attached was {} of {} octets.",
                attached.name,
                hex::encode(&found.sha256),
                found.octets,
                hex::encode(&attached.sha256),
                attached.octets
            );
            return Err(Rejection::new(codes::ATTACHMENT, message).into());
        }
    }
    Ok(missing)
}

fn in_words(witnessed: &Witnessed, compared: bool, missing: &[String]) -> String {
    let approvers = printable(&witnessed.witnesses().join(", "));
    let mut text = format!("{}  by {approvers}\n", paint("WITNESSED", Tone::Good));
    text.push_str(&story::text(witnessed.transcript(), &sign::signers(witnessed.file())));
    text.push_str(&format!("\nFile SHA-256:   {}\n", hex::encode(witnessed.sha256())));
    if witnessed.transcript().attachments().next().is_some() {
        let word = match (compared, missing.is_empty()) {
            (false, _) => "not compared; give their folder by --attachments".to_owned(),
            (true, true) => "all as they were attached".to_owned(),
            (true, false) => format!("as they were attached, but not there: {}", missing.join(", ")),
        };
        text.push_str(&console::hanging("Attachments:", &word, 16));
    }
    text
}

fn rejected(rejection: &Rejection) -> Value {
    let reason = json!({
        "code": rejection.code(), "message": rejection.message(), "statement": null, "clause": rejection.clause(),
    });
    json!({"verdict": "rejected", "reasons": [reason]})
}

fn accepted(witnessed: &Witnessed, compared: bool, missing: &[String]) -> Value {
    let transcript = witnessed.transcript();
    let head = &transcript.head;
    let signed = sign::signers(witnessed.file());
    let named: Vec<Value> = head
        .witnesses
        .iter()
        .map(|witness| {
            json!({
                "name": witness.name,
                "thumbprint": thumbprint(&witness.key).map(|id| base64url::encode(&id)),
                "signed": signed.contains(&witness.name),
            })
        })
        .collect();
    let attachments: Vec<Value> = transcript
        .attachments()
        .map(|of| {
            let compared = compared && !missing.contains(&of.name);
            json!({"name": of.name, "sha256": hex::encode(&of.sha256), "octets": of.octets, "compared": compared})
        })
        .collect();
    let module = witnessed.module();
    json!({
        "verdict": "accepted",
        "reasons": [],
        "file_sha256": hex::encode(witnessed.sha256()),
        "record_sha256": hex::encode(&witnessed.file().transcript_sha256()),
        "id": hex::encode(&head.id),
        "title": head.title,
        "purpose": head.purpose,
        "operator": head.operator,
        "device": head.device,
        "started": head.started.as_str(),
        "ended": witnessed.ended().as_str(),
        "threshold": head.threshold,
        "witnesses": named,
        "signed_by": witnessed.witnesses(),
        "module": {
            "vendor": module.vendor, "model": module.model, "serial": module.serial, "firmware": module.firmware,
        },
        "attesting_key": {
            "spki_sha256": hex::encode(&witnessed.attesting_key().sha256()),
            "family": witnessed.family().label(),
            "proof": transcript.proof().map(|(proof, _)| Proof::form(proof)),
        },
        "steps": transcript.steps.iter().zip(&head.plan).map(|(step, planned)| self::step(step, &planned.prompt)).collect::<Vec<_>>(),
        "attachments": attachments,
    })
}

fn step(step: &Step, prompt: &str) -> Value {
    let (typed, answered) = match &step.record {
        Record::Asked { typed } | Record::Said { typed } => (Some(typed.clone()), None),
        Record::Ran { answered, .. } => (None, Some(answered.clone())),
        Record::Attached(attachment) => (Some(attachment.name.clone()), None),
        Record::Key { .. } | Record::Module(_) | Record::Proved(_) | Record::Withheld => (None, None),
    };
    json!({
        "number": step.number,
        "kind": step.record.label(),
        "time": step.time.as_str(),
        "by": step.by,
        "prompt": prompt,
        "note": step.note,
        "typed": typed,
        "answered": answered,
        "withheld": matches!(step.record, Record::Withheld),
    })
}
