//! The page that a person can print: one HTML file that needs nothing beside it and runs nothing.
//!
//! It is for reading. What can be verified is the file whose digest stands at its end.

use vouchsafe_evidence::base64url;
use vouchsafe_evidence::ceremony::{PlannedStep, Step, Transcript, thumbprint};
use vouchsafe_evidence::text::printable;
use vouchsafe_verifier::ceremony::Witnessed;
use vouchsafe_verifier::hex;

use super::{sign, story};

const STYLE: &str = "\
@page{size:A4;margin:18mm}\
body{font:11pt/1.45 Georgia,serif;color:#111;background:#fff;max-width:46em;margin:2em auto;padding:0 1em}\
h1{font-size:1.7em;margin:0 0 .2em}h2{font-size:1.15em;border-bottom:1px solid #999;margin:1.6em 0 .5em}\
table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:.25em .7em .25em 0}\
th{font-weight:normal;color:#555;white-space:nowrap}code,pre{font:9pt/1.35 monospace;overflow-wrap:anywhere}\
pre{white-space:pre-wrap;background:#f4f4f2;padding:.5em .7em;margin:.3em 0;border-left:2px solid #999}\
section.step{break-inside:avoid;margin:.9em 0}section.step h3{font-size:1em;margin:0}\
.when{color:#555;font-size:.9em}.note{font-style:italic}.pen{border-bottom:1px solid #111;min-width:14em}\
svg{width:100%;height:auto;margin:.6em 0}\
@media print{body{margin:0;max-width:none;padding:0}pre{background:none}}";

/// Units of the drawing that are left and right of the line.
const MARGIN: i64 = 20;
/// Units of the line, before steps push one another apart.
const LENGTH: i64 = 720;
/// Units between two steps at least, so that their numbers can be read.
const APART: i64 = 22;

/// The page.
pub fn html(witnessed: &Witnessed) -> String {
    let transcript = witnessed.transcript();
    let head = &transcript.head;
    let mut body = format!("<h1>{}</h1>\n", escaped(&head.title));
    if !head.purpose.is_empty() {
        body.push_str(&format!("<p>{}</p>\n", escaped(&head.purpose)));
    }
    body.push_str(&facts(witnessed));
    body.push_str("<h2>Time line</h2>\n");
    body.push_str(&time_line(transcript));
    body.push_str("<h2>What was done</h2>\n");
    for (step, planned) in transcript.steps.iter().zip(&head.plan) {
        body.push_str(&section(step, planned));
    }
    body.push_str(&witnesses(witnessed));
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n",
        escaped(&head.title)
    )
}

fn facts(witnessed: &Witnessed) -> String {
    let head = &witnessed.transcript().head;
    let module = witnessed.module();
    let key = witnessed.attesting_key();
    let rows = [
        ("Module", format!("{}, {}", module.vendor, module.model)),
        ("Serial number", module.serial.clone()),
        ("Firmware", module.firmware.clone()),
        ("Attesting key", format!("{}, for {}", story::key_kind(key), witnessed.family().label())),
        ("SHA-256 of the key", hex::encode(&key.sha256())),
        ("Began", head.started.to_string()),
        ("Ended", witnessed.ended().to_string()),
        ("Operator", head.operator.clone()),
        ("SHA-256 of the script", hex::encode(&head.script)),
    ];
    let device = head.device.clone().map(|device| ("Device", device));
    let mut table = "<table>\n".to_owned();
    for (name, value) in device.into_iter().chain(rows) {
        table.push_str(&format!("<tr><th>{name}</th><td>{}</td></tr>\n", escaped(&value)));
    }
    table + "</table>\n"
}

/// A line with a dot for each step, at the time at which it was done.
fn time_line(transcript: &Transcript) -> String {
    let start = transcript.head.started.unix_seconds();
    let span = transcript.latest().unix_seconds().saturating_sub(start).max(1);
    let mut marks = String::new();
    let mut last = MARGIN.saturating_sub(APART);
    for step in &transcript.steps {
        let elapsed = step.time.unix_seconds().saturating_sub(start);
        let proportional = MARGIN.saturating_add(elapsed.saturating_mul(LENGTH).checked_div(span).unwrap_or(0));
        last = proportional.max(last.saturating_add(APART));
        marks.push_str(&format!(
            "<circle cx=\"{last}\" cy=\"30\" r=\"9\" fill=\"#fff\" stroke=\"#111\"/>\
             <text x=\"{last}\" y=\"34\" font-size=\"10\" text-anchor=\"middle\">{}</text>\n",
            step.number
        ));
    }
    let end = last.max(MARGIN.saturating_add(LENGTH));
    let width = end.saturating_add(MARGIN);
    format!(
        "<svg viewBox=\"0 0 {width} 64\" role=\"img\" aria-label=\"the steps in time\">\
         <line x1=\"{MARGIN}\" y1=\"30\" x2=\"{end}\" y2=\"30\" stroke=\"#111\"/>\n{marks}\
         <text x=\"{MARGIN}\" y=\"58\" font-size=\"10\">{}</text>\
         <text x=\"{end}\" y=\"58\" font-size=\"10\" text-anchor=\"end\">{}</text></svg>\n",
        transcript.head.started,
        transcript.latest()
    )
}

fn section(step: &Step, planned: &PlannedStep) -> String {
    let title = if planned.prompt.is_empty() { planned.task.label() } else { &planned.prompt };
    let said = story::said(step, planned);
    let said: Vec<String> = said.iter().map(|line| escaped(line)).collect();
    let note = if step.note.is_empty() {
        String::new()
    } else {
        format!("<p class=\"note\">Not as planned: {}</p>\n", escaped(&step.note))
    };
    format!(
        "<section class=\"step\"><h3>{}. {}</h3>\n<div class=\"when\">{}, {}</div>\n<pre>{}</pre>\n{note}</section>\n",
        step.number,
        escaped(title),
        step.time,
        escaped(&step.by),
        said.join("\n")
    )
}

fn witnesses(witnessed: &Witnessed) -> String {
    let head = &witnessed.transcript().head;
    let signed = sign::signers(witnessed.file());
    let mut text = format!(
        "<h2>Witnesses</h2>\n<p>{} of {} must sign; {} signed this record with their keys.</p>\n<table>\n",
        head.threshold,
        head.witnesses.len(),
        signed.len()
    );
    for witness in &head.witnesses {
        let word = if signed.contains(&witness.name) { "signed" } else { "did not sign" };
        let id = thumbprint(&witness.key).map(|id| base64url::encode(&id)).unwrap_or_default();
        text.push_str(&format!(
            "<tr><td>{}<br><code>{id}</code></td><td>{word}</td><td class=\"pen\"></td></tr>\n",
            escaped(&witness.name)
        ));
    }
    text.push_str("</table>\n<h2>Digests</h2>\n<table>\n");
    let signed = witnessed.file().transcript_sha256();
    let rows = [("The file", hex::encode(witnessed.sha256())), ("What was signed", hex::encode(&signed))];
    for (name, value) in rows {
        text.push_str(&format!("<tr><th>{name}, SHA-256</th><td><code>{value}</code></td></tr>\n"));
    }
    text + "</table>\n<p>This page is for reading. <code>vouchsafe ceremony verify</code> verifies the file.</p>\n"
}

/// Text that neither acts on its reader nor is markup.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in printable(text).chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn nothing_in_a_record_is_markup() {
        let hostile = "<script>alert('x')</script>&\"\u{1b}[31m\u{202e}";
        let safe = escaped(hostile);
        assert_eq!(safe, "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;&quot;\u{fffd}[31m\u{fffd}");
    }
}
