//! `vouchsafe policy`: what a policy asks, whether its file is sound, and what it makes of verdicts that were stored.

mod cases;
pub mod load;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::Value;
use vouchsafe_evidence::text::printable;
use vouchsafe_verifier::{Judged, Policy};

use crate::cli::Answer;
use crate::console::{Tone, hanging, paint};
use crate::failure::Failure;
use crate::{console, files};

/// Column at which the text of a rule begins.
const TEXT_COLUMN: usize = 4;

/// Check a policy file, try it, or have it explained.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

const EXAMPLES: &str = "\
Examples:
  vouchsafe policy explain csbr-code-signing
  vouchsafe verify request.pem --trust trust/ --json > verdict.json
  vouchsafe policy explain csbr-code-signing --modules cmvp.csv \\
      --verdict verdict.json
  vouchsafe policy check strict.toml
  vouchsafe policy test strict.toml verdicts/*.json
  vouchsafe policy test strict.toml --vectors vectors/";

#[derive(Debug, Subcommand)]
enum Verb {
    /// Whether a policy file can be used, and what in it deserves a second look
    Check {
        /// The policy: the name of one that comes with the program, or a TOML file
        #[arg(value_name = "NAME|FILE")]
        policy: String,
        /// A list of certified modules, CSV or TOML; may be given several times
        #[arg(long, value_name = "FILE")]
        modules: Vec<PathBuf>,
    },
    /// What a policy makes of stored verdicts, or of evidence with known verdicts
    ///
    /// A verdict is what `vouchsafe verify --json` printed. Its claims are judged
    /// again; what did not authenticate or bind stays refused. The exit code is 1
    /// if any is refused.
    ///
    /// With `--vectors`, every case beneath DIR whose evidence is accepted under
    /// the policy that the case names is judged under this one.
    Test {
        /// The policy: the name of one that comes with the program, or a TOML file
        #[arg(value_name = "NAME|FILE")]
        policy: String,
        /// Stored verdicts
        #[arg(value_name = "VERDICT", required_unless_present = "vectors")]
        verdicts: Vec<PathBuf>,
        /// A folder of cases: NAME/case.toml with files, and trust/ beside or above
        #[arg(long, value_name = "DIR")]
        vectors: Option<PathBuf>,
        /// A list of certified modules, CSV or TOML; may be given several times
        #[arg(long, value_name = "FILE")]
        modules: Vec<PathBuf>,
    },
    /// Every rule in words, with its clause; with a verdict also what it found
    Explain {
        /// The policy: the name of one that comes with the program, or a TOML file
        #[arg(value_name = "NAME|FILE", default_value = "default")]
        policy: String,
        /// A stored verdict: which rule holds, on what claim, on whose word
        #[arg(long, value_name = "FILE")]
        verdict: Option<PathBuf>,
        /// A list of certified modules, CSV or TOML; may be given several times
        #[arg(long, value_name = "FILE")]
        modules: Vec<PathBuf>,
    },
}

/// Does what was asked.
///
/// # Errors
/// [`Failure`] when it could not be done at all.
pub fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    match &arguments.verb {
        Verb::Check { policy, modules } => check(&load::policy(policy, modules)?),
        Verb::Test { policy, verdicts, vectors, modules } => {
            let policy = load::policy(policy, modules)?;
            let mut outcomes = Vec::new();
            for path in verdicts {
                let judged = judge(&policy, path)?;
                let refused: Vec<String> =
                    judged.into_iter().filter(|rule| !rule.holds).map(|rule| line(&rule)).collect();
                outcomes.push((path.display().to_string(), refused));
            }
            if let Some(folder) = vectors {
                outcomes.extend(cases::judge(&policy, folder)?);
            }
            report_outcomes(&outcomes)
        }
        Verb::Explain { policy, verdict, modules } => {
            let policy = load::policy(policy, modules)?;
            match verdict {
                None => explain(&policy),
                Some(path) => explain_verdict(&policy, path),
            }
        }
    }
}

fn check(policy: &Policy) -> Result<Answer, Failure> {
    let mut text = format!("{}  {} rules", printable(policy.name()), policy.explain().len());
    if !policy.modules().is_empty() {
        text.push_str(&format!(", {} certified modules", policy.modules().len()));
    }
    text.push('\n');
    for lint in policy.lints() {
        text.push_str(&hanging("  note", &format!("{}.", printable(&lint)), 8));
    }
    console::out(&text)?;
    Ok(Answer::Yes)
}

fn heading(policy: &Policy) -> String {
    let note = policy.note().map(|note| hanging("", &printable(note), TEXT_COLUMN)).unwrap_or_default();
    format!("{}\n{note}", paint(&printable(policy.name()), Tone::Strong))
}

fn explain(policy: &Policy) -> Result<Answer, Failure> {
    let mut text = heading(policy);
    for rule in policy.explain() {
        text.push_str(&format!("\n  {}\n", paint(&printable(&rule.rule), Tone::Strong)));
        text.push_str(&hanging("", &printable(&rule.text), TEXT_COLUMN));
        text.push_str(&hanging("", &format!("{} [{}]", rule.code, printable(&rule.clause)), TEXT_COLUMN));
    }
    console::out(&text)?;
    Ok(Answer::Yes)
}

fn judge(policy: &Policy, path: &std::path::Path) -> Result<Vec<Judged>, Failure> {
    let text = files::read_large_text(path)?;
    let unusable = |why: String| {
        Failure::new(format!("{} holds no verdict", path.display()))
            .because(why)
            .next("give what `vouchsafe verify --json` printed")
    };
    let report: Value = serde_json::from_str(&text).map_err(|error| unusable(error.to_string()))?;
    policy.judge_report(&report).map_err(|error| unusable(error.to_string()))
}

fn explain_verdict(policy: &Policy, path: &std::path::Path) -> Result<Answer, Failure> {
    let judged = judge(policy, path)?;
    let mut text = heading(policy);
    for rule in &judged {
        let (word, tone) = if rule.holds { ("holds", Tone::Good) } else { ("VIOLATED", Tone::Bad) };
        let name = paint(&printable(&rule.explanation.rule), Tone::Strong);
        text.push_str(&format!("\n  {name}  {}\n", paint(word, tone)));
        text.push_str(&hanging("", &printable(&rule.explanation.text), TEXT_COLUMN));
        text.push_str(&hanging("", &format!("found: {}", printable(&rule.found)), TEXT_COLUMN));
        let clause = format!("{} [{}]", rule.explanation.code, printable(&rule.explanation.clause));
        text.push_str(&hanging("", &clause, TEXT_COLUMN));
    }
    console::out(&text)?;
    Ok(if judged.iter().all(|rule| rule.holds) { Answer::Yes } else { Answer::No })
}

fn line(rule: &Judged) -> String {
    format!("{}: {}", rule.explanation.code, rule.found)
}

/// One line for each verdict, the reasons beneath those that are refused, and how many there were.
fn report_outcomes(outcomes: &[(String, Vec<String>)]) -> Result<Answer, Failure> {
    let mut text = String::new();
    let mut refused = 0_usize;
    for (name, reasons) in outcomes {
        let (word, tone) = if reasons.is_empty() { ("accepted", Tone::Good) } else { ("rejected", Tone::Bad) };
        text.push_str(&format!("{}  {}\n", paint(word, tone), printable(name)));
        for reason in reasons {
            text.push_str(&hanging("", &printable(reason), 10));
        }
        refused = refused.saturating_add(usize::from(!reasons.is_empty()));
    }
    text.push_str(&format!("{} accepted, {refused} rejected\n", outcomes.len().saturating_sub(refused)));
    console::out(&text)?;
    Ok(if refused == 0 { Answer::Yes } else { Answer::No })
}
