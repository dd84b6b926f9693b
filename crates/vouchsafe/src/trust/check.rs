//! What is wrong with a trust folder although it can be read.

use clap::Args;
use serde_json::json;
use vouchsafe_evidence::text::printable;
use vouchsafe_evidence::x509::{CertView, PublicKey};
use vouchsafe_verifier::crypto::SignatureAlgorithm;
use vouchsafe_verifier::trust::TrustAnchor;
use vouchsafe_verifier::{Instant, TrustStore};

use super::list::name;
use super::{Folder, catalog};
use crate::cli::Answer;
use crate::failure::Failure;
use crate::{console, trust_folder, verify};

/// Seconds of 90 days: how long before an anchor's end there is a warning.
const SOON_SECONDS: i64 = 90 * 24 * 60 * 60;
/// Bits of an RSA modulus below which a key is weak (NIST SP 800-131A).
const RSA_BITS_MIN: usize = 2048;

/// Name what is expired, weak, a duplicate or without provenance
///
/// Exit code 1 if anything is a problem; warnings alone are 0.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    folder: Folder,
    /// Judge for this time instead of now
    #[arg(long, value_name = "RFC3339")]
    at: Option<String>,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Weight {
    Problem,
    Warning,
}

impl Weight {
    const fn label(self) -> &'static str {
        match self {
            Self::Problem => "problem",
            Self::Warning => "warning",
        }
    }
}

/// One thing that was found.
struct Finding {
    weight: Weight,
    file: String,
    what: String,
}

/// Checks.
pub fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    let at = verify::time_or_now(arguments.at.as_deref())?;
    let store = trust_folder::read(&arguments.folder.trust)?;
    let mut findings = findings(&store, at)?;
    findings.sort_by(|a, b| (a.weight, &a.file).cmp(&(b.weight, &b.file)));
    let sound = findings.iter().all(|finding| finding.weight != Weight::Problem);
    if arguments.json {
        let all: Vec<_> = findings
            .iter()
            .map(|finding| json!({"weight": finding.weight.label(), "file": finding.file, "what": finding.what}))
            .collect();
        console::out(&format!("{}\n", json!({"sound": sound, "findings": all})))?;
    } else {
        for finding in &findings {
            let tone = if finding.weight == Weight::Problem { console::Tone::Bad } else { console::Tone::Faint };
            let label = console::paint(finding.weight.label(), tone);
            console::out(&format!("{label}: {}: {}\n", printable(&finding.file), printable(&finding.what)))?;
        }
        let anchors: usize = store.format_ids().map(|id| store.format(id).anchors().len()).sum();
        console::out(&format!("{anchors} anchors, {} findings\n", findings.len()))?;
    }
    Ok(if sound { Answer::Yes } else { Answer::No })
}

fn findings(store: &TrustStore, at: Instant) -> Result<Vec<Finding>, Failure> {
    let mut found = Vec::new();
    for id in store.format_ids() {
        let format = store.format(id);
        let mut add = |weight, file: &str, what: String| {
            found.push(Finding { weight, file: file.to_owned(), what });
        };
        if format.anchors().is_empty() {
            add(Weight::Problem, id, "the folder has no anchor: evidence of this format is always refused".to_owned());
        }
        for (place, anchor) in format.anchors().iter().enumerate() {
            for (weight, what) in of_anchor(id, anchor, at)? {
                add(weight, anchor.file(), what);
            }
            let same = |other: &&TrustAnchor| other.key().same_key(anchor.key());
            if let Some(other) = format.anchors().iter().take(place).find(same) {
                add(Weight::Warning, anchor.file(), format!("has the key of {}", other.file()));
            }
        }
        for certificate in format.intermediates() {
            let subject = certificate.subject().to_display();
            if let Some(what) = expiry(certificate, at) {
                add(Weight::Warning, id, format!("the intermediate {subject} {}", what.1));
            }
            if format.anchors().iter().any(|anchor| anchor.key().same_key(certificate.spki())) {
                add(Weight::Warning, id, format!("the intermediate {subject} is an anchor too"));
            }
        }
        for list in format.crls() {
            let next = list.list.next_update();
            if next.is_none_or(|next| next < at.unix_seconds()) {
                add(Weight::Warning, &list.path, "the revocation list is not current any more".to_owned());
            }
        }
    }
    Ok(found)
}

fn of_anchor(format: &str, anchor: &TrustAnchor, at: Instant) -> Result<Vec<(Weight, String)>, Failure> {
    let mut found = Vec::new();
    if let Some(certificate) = anchor.certificate() {
        found.extend(expiry(certificate, at));
        if is_weakly_signed(certificate) {
            let what = "is signed with SHA-1; that matters only where it is not trusted by itself";
            found.push((Weight::Warning, what.to_owned()));
        }
    }
    match anchor.key().key() {
        PublicKey::Rsa { modulus, exponent, .. } => {
            let bits = modulus.len().saturating_mul(8);
            if bits < RSA_BITS_MIN {
                found.push((Weight::Problem, format!("has an RSA key of {bits} bits, whose signatures do not count")));
            }
            if exponent.as_slice() == [3] {
                found.push((Weight::Warning, "has the RSA exponent 3".to_owned()));
            }
        }
        PublicKey::Unknown { oid } => {
            found.push((Weight::Problem, format!("has a key of type {oid}, which is not known here")));
        }
        _ => {}
    }
    if let Some((root, _)) = catalog::find(anchor.certificate(), anchor.key())? {
        if let Some(why) = root.never {
            found.push((Weight::Problem, format!("is never to be trusted: {why}")));
        }
        if !root.formats.iter().any(|known| known == format) {
            let right = root.formats.join(" and ");
            found.push((Weight::Problem, format!("is {}, a root for {right}, in the folder of {format}", root.name)));
        }
        if root.is_virtual && !anchor.is_virtual() {
            let what = format!("is {}, above modules in software, and not marked `virtual = true`", root.name);
            found.push((Weight::Problem, what));
        }
    }
    let mark = anchor.mark();
    if mark.source.is_none() && mark.vouched_by.is_none() {
        let what = format!("nobody says where {} comes from or who vouches for it", name(anchor));
        found.push((Weight::Warning, what));
    }
    Ok(found)
}

fn expiry(certificate: &CertView, at: Instant) -> Option<(Weight, String)> {
    let (begin, end) = (certificate.not_before(), certificate.not_after());
    let shown = |seconds| Instant::from_unix_seconds(seconds).to_string();
    if at.unix_seconds() > end {
        return Some((Weight::Problem, format!("expired at {}", shown(end))));
    }
    if at.unix_seconds() < begin {
        return Some((Weight::Problem, format!("is not valid before {}", shown(begin))));
    }
    let soon = end.saturating_sub(at.unix_seconds()) < SOON_SECONDS;
    soon.then(|| (Weight::Warning, format!("expires soon, at {}", shown(end))))
}

fn is_weakly_signed(certificate: &CertView) -> bool {
    SignatureAlgorithm::from_der(certificate.outer_algorithm().as_der())
        .is_ok_and(|algorithm| algorithm.hash().is_some_and(|hash| !hash.is_strong()))
}
