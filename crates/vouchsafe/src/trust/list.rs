//! What lies in a trust folder.

use clap::Args;
use serde_json::{Value, json};
use vouchsafe_evidence::text::printable;
use vouchsafe_evidence::tpm::HashAlg;
use vouchsafe_evidence::x509::CertView;
use vouchsafe_verifier::trust::{FormatTrust, TrustAnchor};
use vouchsafe_verifier::{Instant, TrustStore, hex};

use super::{Folder, catalog};
use crate::cli::Answer;
use crate::failure::Failure;
use crate::{console, trust_folder};

/// List the anchors of every format
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    folder: Folder,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

/// Show all that is known of an anchor
#[derive(Debug, Args)]
pub struct ShowArguments {
    /// Its file below the trust folder, a part of its name, or the beginning of
    /// its SHA-256
    anchor: String,
    #[command(flatten)]
    folder: Folder,
}

/// Lists.
pub fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    let store = trust_folder::read(&arguments.folder.trust)?;
    if arguments.json {
        let formats: serde_json::Map<String, Value> =
            store.format_ids().map(|id| (id.to_owned(), to_json(store.format(id)))).collect();
        console::out(&format!("{}\n", json!({"formats": formats, "version": hex::encode(&store.version())})))?;
        return Ok(Answer::Yes);
    }
    for id in store.format_ids() {
        let format = store.format(id);
        console::out(&format!("{}\n", console::paint(&printable(id), console::Tone::Strong)))?;
        for anchor in format.anchors() {
            console::out(&format!("  {}\n    {}\n", printable(&name(anchor)), printable(&summary(anchor)?)))?;
        }
        let counts = [
            (format.intermediates().len(), "intermediate"),
            (format.crls().len(), "revocation list"),
            (format.keys().len(), "key file"),
        ];
        let rest: Vec<String> =
            counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| plural(*count, what)).collect();
        if !rest.is_empty() {
            console::out(&format!("  and {}\n", rest.join(", ")))?;
        }
    }
    if store.format_ids().next().is_none() {
        console::out("The folder trusts nobody: every piece of evidence is refused.\n")?;
    }
    Ok(Answer::Yes)
}

fn plural(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn to_json(format: &FormatTrust) -> Value {
    let anchors: Vec<Value> = format
        .anchors()
        .iter()
        .map(|anchor| {
            let mark = anchor.mark();
            json!({
                "file": anchor.file(), "subject": name(anchor), "key_sha256": hex::encode(&anchor.key().sha256()),
                "certificate_sha256": anchor.certificate().map(fingerprint),
                "not_after": anchor.certificate().map(|c| Instant::from_unix_seconds(c.not_after()).to_string()),
                "virtual": mark.is_virtual, "source": mark.source, "date": mark.date, "vouched_by": mark.vouched_by,
            })
        })
        .collect();
    json!({"anchors": anchors, "intermediates": format.intermediates().len(), "crls": format.crls().len(),
           "keys": format.keys().len()})
}

/// Its subject, or what a bare key is called.
pub fn name(anchor: &TrustAnchor) -> String {
    anchor.subject().map_or_else(|| "a bare public key".to_owned(), |subject| subject.to_display())
}

fn summary(anchor: &TrustAnchor) -> Result<String, Failure> {
    let known = match catalog::find(anchor.certificate(), anchor.key())? {
        Some((root, _)) => format!("published by {}", root.maker),
        None => "not a published root that is known here".to_owned(),
    };
    let vouched = anchor.mark().vouched_by.as_ref().map(|who| format!(", vouched for by {who}")).unwrap_or_default();
    let kind = if anchor.is_virtual() { ", of modules in software" } else { "" };
    Ok(format!("{}, {known}{vouched}{kind}", anchor.file()))
}

fn fingerprint(certificate: &CertView) -> String {
    hex::encode(&HashAlg::Sha256.digest(&[certificate.as_der()]))
}

/// Shows one anchor.
pub fn show(arguments: &ShowArguments) -> Result<Answer, Failure> {
    let store = trust_folder::read(&arguments.folder.trust)?;
    let found: Vec<(&str, &TrustAnchor)> = store
        .format_ids()
        .flat_map(|id| store.format(id).anchors().iter().map(move |anchor| (id, anchor)))
        .filter(|(_, anchor)| is_meant(anchor, &arguments.anchor))
        .collect();
    if found.is_empty() {
        return Err(Failure::new(format!("no anchor is called {:?}", arguments.anchor))
            .next(format!("see them all with: vouchsafe trust list --trust {}", arguments.folder.trust.display())));
    }
    for (format, anchor) in found {
        console::out(&describe(format, anchor, &store)?)?;
    }
    Ok(Answer::Yes)
}

fn is_meant(anchor: &TrustAnchor, text: &str) -> bool {
    let fingerprints = anchor.certificate().map(fingerprint).into_iter().chain([hex::encode(&anchor.key().sha256())]);
    let lower = text.to_lowercase();
    let hexadecimal = lower.len() >= 8 && fingerprints.into_iter().any(|found| found.starts_with(&lower));
    anchor.file().contains(text) || name(anchor).to_lowercase().contains(&lower) || hexadecimal
}

fn describe(format: &str, anchor: &TrustAnchor, store: &TrustStore) -> Result<String, Failure> {
    let mark = anchor.mark();
    let mut lines = vec![
        ("format", format.to_owned()),
        ("file", anchor.file().to_owned()),
        ("key SHA-256", hex::encode(&anchor.key().sha256())),
    ];
    if let Some(certificate) = anchor.certificate() {
        lines.push(("issuer", certificate.issuer().to_display()));
        lines.push(("certificate SHA-256", fingerprint(certificate)));
        let at = |seconds| Instant::from_unix_seconds(seconds).to_string();
        lines.push(("valid", format!("{} to {}", at(certificate.not_before()), at(certificate.not_after()))));
    }
    match catalog::find(anchor.certificate(), anchor.key())? {
        Some((root, how)) => {
            let how = match how {
                catalog::Match::Certificate => "this certificate",
                catalog::Match::Key => "this key, by another certificate",
            };
            lines.push(("published", format!("{how}, by {}: {}", root.maker, root.published)));
        }
        None => lines.push(("published", "not known here".to_owned())),
    }
    let noted = [("source", &mark.source), ("date", &mark.date), ("vouched for by", &mark.vouched_by)];
    lines.extend(noted.into_iter().filter_map(|(what, text)| Some((what, text.clone()?))));
    lines.push(("modules", if mark.is_virtual { "virtual, in software" } else { "physical" }.to_owned()));
    let elsewhere: Vec<&str> = store
        .format_ids()
        .filter(|id| *id != format)
        .filter(|id| store.format(id).anchors().iter().any(|other| other.key().same_key(anchor.key())))
        .collect();
    if !elsewhere.is_empty() {
        lines.push(("also trusted for", elsewhere.join(", ")));
    }
    let lines: String = lines.iter().map(|(what, text)| format!("  {what:<20} {}\n", printable(text))).collect();
    Ok(format!("{}\n{lines}\n", printable(&name(anchor))))
}
