//! A verdict in words, for people.

use serde_json::Value;
use vouchsafe_evidence::statement::FormatId;
use vouchsafe_evidence::text::printable;
use vouchsafe_verifier::{By, Claim, Claims, Edge, Freshness, Node, Outcome, Section, Source, Verdict, hex};

use super::{Judged, graph};
use crate::advice::Situation;
use crate::console::{Tone, hanging, paint, wrapped};
use crate::reasons::{self, Reason};

/// Column at which the text of a row begins.
const TEXT_COLUMN: usize = 20;
/// Digits of a long value that are shown; `--json` has all of them.
const VALUE_LETTERS: usize = 100;

/// The whole report.
pub(super) fn text(verdict: &Verdict, of: Judged, has_nonce: bool) -> String {
    let mut text = headline(verdict, of);
    text.push_str(&section("Key", verdict.key(), verdict.subject().map(|key| hex::encode(&key.sha256()))));
    text.push_str(&section("Platform", verdict.platform(), None));
    if !verdict.attesting_key().is_empty() {
        text.push_str(&heading("Attesting key", None));
        text.push_str(&claims(verdict.attesting_key()));
    }
    text.push_str(&binding(verdict));
    text.push_str(&freshness(verdict, has_nonce));
    for advisory in verdict.module_advisories() {
        let line = format!("{}: {}. {}", advisory.id, advisory.title, advisory.why);
        text.push_str(&row("Known flaw", &printable(&line)));
    }
    for skipped in verdict.skipped() {
        let line = format!("statement {}, type {}: {}", skipped.statement, skipped.oid, skipped.why);
        text.push_str(&row("Skipped", &printable(&line)));
    }
    let reasons: Vec<Reason> = verdict.reasons().iter().map(Reason::from).collect();
    text.push_str(&reasons::text(&reasons, Situation::Appraisal));
    text
}

fn headline(verdict: &Verdict, of: Judged) -> String {
    let (word, tone) = if verdict.is_accepted() { ("ACCEPTED", Tone::Good) } else { ("REJECTED", Tone::Bad) };
    let what = match verdict.format() {
        "csr" => "certification request".to_owned(),
        "unknown" => "input of no known form".to_owned(),
        format => format!("{format} evidence"),
    };
    let meaning = match (verdict.is_accepted(), verdict.platform().outcome) {
        (true, _) if verdict.format() == FormatId::TpmEk.id() => {
            if signs(verdict.key()) {
                "This certificate identifies a TPM. It does not show that whoever presents it has that TPM: its key \
                 signed nothing here, and nothing challenged it."
            } else {
                "This certificate identifies a TPM. It does not show that whoever presents it has that TPM: its key \
                 cannot sign, and nothing here challenged it."
            }
        }
        (true, Outcome::Accepted) => {
            "This key lives in the module that reported this platform state. It does not say that only good software \
             uses the key."
        }
        (true, Outcome::Absent | Outcome::Rejected) => {
            "This key lives in the module that attested it. Nothing is said about the platform around it."
        }
        (false, _) => "Nothing below may be relied on; the reasons stand at the end.",
    };
    let beside = match of {
        Judged::Certificate if verdict.is_accepted() => Some(
            "Of the certificate the key alone was judged. Who signed it, and whether its names and dates are true, is for \
             a check against its own root.",
        ),
        Judged::Certificate | Judged::Evidence => None,
    };
    let note = verdict.policy_note().filter(|_| verdict.is_accepted());
    format!(
        "{}  {what}, policy {}, at {}\n\n{}{}{}",
        paint(word, tone),
        printable(verdict.policy()),
        verdict.at(),
        wrapped(meaning, 2),
        beside.map(|beside| wrapped(beside, 2)).unwrap_or_default(),
        note.map(|note| wrapped(&printable(note), 2)).unwrap_or_default(),
    )
}

/// Whether the key is one that signs.
fn signs(key: &Section) -> bool {
    let purposes = key.claims.named("purposes").and_then(|claim| claim.value.as_array());
    purposes.is_some_and(|purposes| purposes.iter().any(|purpose| purpose == "sign"))
}

fn heading(name: &str, outcome: Option<Outcome>) -> String {
    let word = match outcome {
        Some(Outcome::Accepted) => paint("accepted", Tone::Good),
        Some(Outcome::Rejected) => paint("rejected", Tone::Bad),
        Some(Outcome::Absent) => paint("absent", Tone::Faint),
        None => String::new(),
    };
    let width = TEXT_COLUMN.saturating_sub(name.chars().count());
    format!("\n{}{:width$}{word}", paint(name, Tone::Strong), "").trim_end_matches(' ').to_owned() + "\n"
}

fn row(name: &str, text: &str) -> String {
    hanging(&format!("  {name}"), text, TEXT_COLUMN)
}

fn section(name: &str, section: &Section, key: Option<String>) -> String {
    let mut text = heading(name, Some(section.outcome));
    if let Some(digest) = key {
        text.push_str(&row("SPKI SHA-256", &digest));
    }
    text.push_str(&claims(&section.claims));
    text
}

fn claims(claims: &Claims) -> String {
    let mut text = String::new();
    for (name, claim) in claims.iter() {
        if name == "spki" {
            continue;
        }
        if name == "measured_boot" {
            text.push_str(&registers(&claim.value));
            continue;
        }
        let text_of = format!("{}{}", value(&claim.value), source(claim));
        text.push_str(&row(&name.replace('_', " "), &text_of));
    }
    text
}

/// On whose word a claim rests, where it is not signed in the evidence.
pub fn source(claim: &Claim) -> String {
    match (claim.source, claim.by) {
        (Source::Signed, _) => String::new(),
        (Source::Implied, Some(by)) => format!(" (promised by {by})"),
        (Source::Implied, None) => " (implied by the format)".to_owned(),
        (Source::Endorsed, _) => " (endorsed)".to_owned(),
        (Source::HostAsserted, _) => " (asserted by host software)".to_owned(),
    }
}

/// A claim's value in words.
pub fn value(value: &Value) -> String {
    let words = match value {
        Value::Null => "none".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => printable(text),
        Value::Array(values) if values.is_empty() => "none".to_owned(),
        Value::Array(values) => values.iter().map(self::value).collect::<Vec<_>>().join(", "),
        Value::Object(members) => {
            let member =
                |(name, value): (&String, &Value)| format!("{}: {}", name.replace('_', " "), self::value(value));
            members.iter().map(member).collect::<Vec<_>>().join(", ")
        }
    };
    let mut shown: String = words.chars().take(VALUE_LETTERS).collect();
    if words.chars().count() > VALUE_LETTERS {
        shown.push('…');
    }
    shown
}

/// PCR values, one line each; the status that most have is said once.
fn registers(claim: &Value) -> String {
    let registers = claim.get("registers").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let text_of = |register: &Value, name: &str| register.get(name).map(value).unwrap_or_default();
    let mut text = String::new();
    for register in registers {
        let status = match text_of(register, "status").as_str() {
            "matches-reference" => "✓",
            _ => " ",
        };
        let name = format!("{} PCR {}", text_of(register, "bank"), text_of(register, "index"));
        let value = register.get("value").and_then(Value::as_str).unwrap_or("not in the statement");
        let short: String = value.chars().take(40).collect();
        let dots = if value.chars().count() > 40 { "…" } else { "" };
        text.push_str(&row(&name, &format!("{status} {short}{dots}")));
    }
    if registers.iter().any(|register| text_of(register, "status") == "matches-reference") {
        let legend = "✓ has its reference value; the others are as recorded, which is not to say good";
        text.push_str(&row("", legend));
    }
    text
}

fn binding(verdict: &Verdict) -> String {
    let mut text = heading("Binding", Some(verdict.binding()));
    if let Some(device) = verdict.device() {
        text.push_str(&row("device", &format!("{} (from the {})", printable(&device.id), device.source)));
    }
    text.push_str(&drawing(verdict, 2));
    text
}

/// The binding graph, drawn, `indent` spaces in.
pub fn drawing(verdict: &Verdict, indent: usize) -> String {
    // That a statement answers the nonce is said beside it: as edges they would only clutter the drawing.
    let answers = |index| verdict.edges().iter().any(|edge| edge.by == By::Nonce && edge.to == Node::Statement(index));
    let is_key = |index| verdict.edges().iter().any(|edge| edge.by == By::Spki && edge.to == Node::Statement(index));
    let is_platform = |index| verdict.platform().claims.iter().any(|(_, claim)| claim.statement == index);
    let label = |node: Node| match node {
        Node::CsrKey => "the key".to_owned(),
        Node::AttestingKey(index) => format!("attesting key {index}"),
        Node::Nonce => "the nonce".to_owned(),
        Node::Statement(index) => {
            let subject = if is_platform(index) {
                " (platform)"
            } else if is_key(index) {
                " (key)"
            } else {
                ""
            };
            let nonce = if answers(index) { ", answers the nonce" } else { "" };
            format!("statement {index}{subject}{nonce}")
        }
    };
    let edges: Vec<Edge> = verdict.edges().iter().filter(|edge| edge.by != By::Nonce).cloned().collect();
    graph::draw(&edges, label, indent)
}

fn freshness(verdict: &Verdict, has_nonce: bool) -> String {
    let note = verdict.freshness_note();
    let says = match (verdict.freshness(), has_nonce) {
        (Freshness::Nonce, _) => "every statement answers the nonce",
        (Freshness::ProofOfPossession, _) => {
            note.as_deref().unwrap_or("possession is fresh; the evidence itself is undated")
        }
        (Freshness::None, true) => "not every statement answers the nonce",
        (Freshness::None, false) => "none: no nonce was given, so the evidence may be of any age",
    };
    let name = paint("Freshness", Tone::Strong);
    format!("\n{name}{:width$}{says}\n", "", width = TEXT_COLUMN - "Freshness".len())
}
