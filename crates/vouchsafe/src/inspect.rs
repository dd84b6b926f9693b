//! `vouchsafe inspect`: what is in a file, in words. Nothing is verified and nothing is judged.

mod chains;
mod recognize;
mod said;
mod statement;
mod tpm;
mod tree;
mod x509;

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use vouchsafe_evidence::input::{InputFile, Submission};
use vouchsafe_evidence::limits::INPUT_OCTETS;

use crate::cli::Answer;
use crate::console;
use crate::failure::Failure;
use crate::files::{Opened, read_small};
use crate::{trust_folder, verify};
use recognize::Recognized;

/// Show what is in evidence files, in words.
///
/// Reads certification requests, attestation bundles and statements, certificates (of endorsement keys, of
/// attestation keys, made by TPM2_CertifyX509, any other), public keys, TPMS_ATTEST, TPMT_PUBLIC, TPMT_SIGNATURE and
/// Names, in DER, PEM or as the TPM gave them. Nothing is verified: a forgery looks as good as the truth here.
///
/// Exit code 1 means that a file holds nothing that is known, or something broken.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The files.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The client data that belongs to evidence of web authentication.
    #[arg(long, value_name = "FILE")]
    client_data: Option<PathBuf>,
    /// Say what holds under these anchors, instead of what would if the top
    /// of the evidence's own chain were trusted.
    #[arg(long, value_name = "DIR")]
    trust: Option<PathBuf>,
    /// One JSON object on standard output.
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  vouchsafe inspect request.pem
  vouchsafe inspect ek-certificate.der ak.public quote.attest --json";

/// Octets that are read of one file.
const FILE_OCTETS: usize = INPUT_OCTETS;

/// Inspects and shows.
///
/// # Errors
/// [`Failure`] if a file cannot be read.
pub fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    let (mut files, mut contents) = (Vec::new(), Vec::new());
    for path in &arguments.files {
        let opened = Opened::open(path)?;
        let octets = opened.read(u64::try_from(FILE_OCTETS).unwrap_or(u64::MAX))?;
        files.push((opened.name().to_owned(), recognize::file(&octets)));
        contents.push((opened.name().to_owned(), octets));
    }
    let trust = arguments.trust.as_deref().map(trust_folder::read).transpose()?;
    let inputs: Vec<InputFile<'_>> = contents.iter().map(|(name, bytes)| InputFile { name, bytes }).collect();
    let client_data = arguments.client_data.as_deref().map(read_small).transpose()?;
    let submission = Submission::recognize_with_client_data(&inputs, None, client_data.as_deref()).ok();
    if let Some(format) = submission.as_ref().and_then(said::listed_format) {
        for (_, found) in files.iter_mut().filter(|(_, found)| !found.is_known) {
            let part = tree::Item::leaf("part of evidence", format!("{} ({})", format.row().title, format.row().id));
            *found = Recognized { is_known: true, items: vec![part] };
        }
    }
    let now = verify::now()?;
    let said = submission.map(|found| said::items(&found, trust.as_ref(), now)).unwrap_or_default();
    console::out(&if arguments.json { as_json(&files, &said)? } else { as_text(&files, &said) })?;
    let all_known = files.iter().all(|(_, found)| found.is_known);
    Ok(if all_known { Answer::Yes } else { Answer::No })
}

fn as_text(files: &[(String, Recognized)], said: &[tree::Item]) -> String {
    let mut text = String::new();
    for (name, found) in files {
        text.push_str(&tree::Item::group(format!("{name}:"), found.items.clone()).to_text(0));
        text.push('\n');
    }
    for item in said {
        text.push_str(&item.to_text(0));
        text.push('\n');
    }
    text.push_str("Nothing here is verified. `vouchsafe verify` tells what is true.\n");
    text
}

fn as_json(files: &[(String, Recognized)], said: &[tree::Item]) -> Result<String, Failure> {
    let files: Vec<_> = files
        .iter()
        .map(|(name, found)| {
            json!({
                "file": vouchsafe_evidence::text::printable(name),
                "known": found.is_known,
                "items": found.items.iter().map(tree::Item::to_json).collect::<Vec<_>>(),
            })
        })
        .collect();
    serde_json::to_string_pretty(&json!({
        "verified": false,
        "files": files,
        "together": said.iter().map(tree::Item::to_json).collect::<Vec<_>>(),
    }))
    .map(|text| text + "\n")
    .map_err(|error| Failure::new("the contents cannot be written as JSON").because(error))
}
