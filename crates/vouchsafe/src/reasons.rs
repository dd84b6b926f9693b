//! Reasons for a refusal, as people read them: from the Verifier here, or from an authority's problem document.

use serde::Deserialize;
use vouchsafe_evidence::text::printable;
use vouchsafe_verifier::Rejection;

use crate::advice::{Situation, advice};
use crate::console::{Tone, hanging, paint, wrapped};

/// One reason.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Reason {
    /// The stable code.
    pub code: String,
    /// One sentence.
    pub message: String,
    /// The statement it concerns.
    pub statement: Option<usize>,
    /// The clause it rests on.
    pub clause: String,
}

impl From<&Rejection> for Reason {
    fn from(rejection: &Rejection) -> Self {
        Self {
            code: rejection.code().to_owned(),
            message: rejection.message().to_owned(),
            statement: rejection.statement(),
            clause: rejection.clause().to_owned(),
        }
    }
}

/// The reasons one by one, then what to do; nothing where there is none.
pub fn text(reasons: &[Reason], situation: Situation) -> String {
    if reasons.is_empty() {
        return String::new();
    }
    let mut text = format!("\n{}\n", paint("Reasons", Tone::Strong));
    text.extend(reasons.iter().map(|reason| one(reason, 2)));
    text.push_str(&format!("\n{}\n", paint("What to do next", Tone::Strong)));
    for advice in advice(reasons.iter().map(|reason| reason.code.as_str()), situation) {
        text.push_str(&hanging("  -", advice, 4));
    }
    text
}

/// One reason in three lines or more, `indent` spaces in.
pub fn one(reason: &Reason, indent: usize) -> String {
    let place = reason.statement.map(|index| format!(" (statement {index})")).unwrap_or_default();
    let code = paint(&printable(&reason.code), Tone::Strong);
    format!(
        "{:indent$}{} {code}{place}\n{}{}",
        "",
        paint("✗", Tone::Bad),
        wrapped(&printable(&reason.message), indent + 2),
        paint(&wrapped(&format!("[{}]", printable(&reason.clause)), indent + 2), Tone::Faint)
    )
}
