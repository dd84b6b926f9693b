//! What happened, in words.

use vouchsafe_evidence::base64url;
use vouchsafe_evidence::ceremony::{PlannedStep, Record, Step, Task, Transcript, thumbprint};
use vouchsafe_evidence::text::printable;
use vouchsafe_evidence::x509::{NamedCurve, PublicKey, SpkiView};
use vouchsafe_verifier::hex;

use crate::console::{Tone, hanging, paint};

/// Column at which the text of a row begins.
const TEXT_COLUMN: usize = 16;

/// The record for a terminal of 80 columns; `signers` are the names of those who signed.
pub fn text(transcript: &Transcript, signers: &[String]) -> String {
    let head = &transcript.head;
    let mut text = format!("\n{}\n", paint(&printable(&head.title), Tone::Strong));
    if !head.purpose.is_empty() {
        text.push_str(&row("purpose", &head.purpose));
    }
    text.push_str(&row("began", &format!("{}, on one machine", head.started)));
    if let Some(ended) = &transcript.ended {
        text.push_str(&row("ended", ended.as_str()));
    }
    text.push_str(&row("operator", &head.operator));
    text.push_str(&row("script", &format!("SHA-256 {}", hex::encode(&head.script))));
    if let Some(device) = &head.device {
        text.push_str(&row("device", device));
    }
    if let Some(module) = transcript.module() {
        let words = format!(
            "{}, {}, serial number {}, firmware {}",
            module.vendor, module.model, module.serial, module.firmware
        );
        text.push_str(&row("module", &words));
    }
    if let Some((key, family)) = transcript.attesting_key() {
        text.push_str(&row("attesting key", &format!("{}, for {}", key_kind(key), family.label())));
        text.push_str(&row("", &format!("SHA-256 {}", hex::encode(&key.sha256()))));
    }
    text.push_str(&format!("\n{} ({} must sign)\n", paint("Witnesses", Tone::Strong), head.threshold));
    for witness in &head.witnesses {
        let sign = if signers.contains(&witness.name) { paint("✓", Tone::Good) } else { " ".to_owned() };
        let id = thumbprint(&witness.key).map(|id| base64url::encode(&id)).unwrap_or_default();
        text.push_str(&format!("  {sign} {}, {}\n    {id}\n", printable(&witness.name), key_kind(&witness.key)));
    }
    text.push_str(&format!("\n{}\n", paint("Steps", Tone::Strong)));
    for (step, planned) in transcript.steps.iter().zip(&head.plan) {
        text.push_str(&one(step, planned));
    }
    text
}

fn row(name: &str, text: &str) -> String {
    hanging(&format!("  {name}"), &printable(text), TEXT_COLUMN)
}

fn one(step: &Step, planned: &PlannedStep) -> String {
    let head = format!("  {:>2} {}  ", step.number, step.time);
    let what = if planned.prompt.is_empty() { planned.task.label() } else { &planned.prompt };
    let mut text = hanging(&head, &format!("{} ({})", printable(what), printable(&step.by)), 5);
    for line in said(step, planned) {
        text.push_str(&hanging("", &printable(&line), 7));
    }
    if !step.note.is_empty() {
        text.push_str(&hanging("     note: ", &printable(&step.note), 7));
    }
    text
}

/// What was typed and answered, line by line.
pub fn said(step: &Step, planned: &PlannedStep) -> Vec<String> {
    match &step.record {
        Record::Asked { typed } | Record::Said { typed } => vec![format!("> {typed}")],
        Record::Attached(of) => {
            vec![format!("{}, {} octets", of.name, of.octets), format!("SHA-256 {}", hex::encode(&of.sha256))]
        }
        Record::Key { key, family } => {
            vec![
                format!("{}, for {}", key_kind(key), family.label()),
                format!("SHA-256 {}", hex::encode(&key.sha256())),
            ]
        }
        Record::Module(module) => vec![
            format!("vendor {}", module.vendor),
            format!("model {}", module.model),
            format!("serial number {}", module.serial),
            format!("firmware {}", module.firmware),
        ],
        Record::Proved(proof) => vec![format!("the attesting key signed this record up to here (by {})", proof.form())],
        Record::Ran { status, answered } => {
            let command = match &planned.task {
                Task::Run { command } => command.join(" "),
                Task::Ask | Task::Attach | Task::Key | Task::Module | Task::Prove | Task::Say | Task::Secret => {
                    String::new()
                }
            };
            let mut lines = vec![format!("$ {command}")];
            lines.extend(answered.lines().map(ToOwned::to_owned));
            if *status != 0 {
                lines.push(format!("ended with {status}"));
            }
            lines
        }
        Record::Withheld => vec!["answered; the answer is not recorded".to_owned()],
    }
}

/// A kind of key in words.
pub fn key_kind(key: &SpkiView) -> String {
    match key.key() {
        PublicKey::Ec { curve: NamedCurve::P256, .. } => "EC P-256".to_owned(),
        PublicKey::Ec { curve: NamedCurve::P384, .. } => "EC P-384".to_owned(),
        PublicKey::Ec { curve: NamedCurve::P521, .. } => "EC P-521".to_owned(),
        PublicKey::Rsa { modulus, .. } => format!("RSA {}", modulus.len().saturating_mul(8)),
        PublicKey::Ed25519(_) => "Ed25519".to_owned(),
        PublicKey::MlDsa65(_) => "ML-DSA-65".to_owned(),
        PublicKey::Unknown { oid } => oid.to_string(),
    }
}
