//! The verdict as JSON (CONTRACT, "vouchsafe verify").

use serde::Serialize;
use serde_json::{Map, Value, json};
use vouchsafe_evidence::text::printable;

use crate::claims::Claims;
use crate::rejection::Rejection;
use crate::verdict::{Section, Verdict};

/// A violation as reports show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// The stable code.
    pub code: &'static str,
    /// One sentence, with control and direction characters taken out.
    pub message: String,
    /// The statement it concerns, or `null`.
    pub statement: Option<usize>,
    /// The clause it rests on.
    pub clause: &'static str,
}

impl From<&Rejection> for Reason {
    fn from(rejection: &Rejection) -> Self {
        Self {
            code: rejection.code(),
            message: printable(rejection.message()),
            statement: rejection.statement(),
            clause: rejection.clause(),
        }
    }
}

impl Verdict {
    /// The verdict in the form of CONTRACT.md: one object, every key always there.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let by_statement: Vec<&str> = self.freshness_by_statement().iter().map(|freshness| freshness.label()).collect();
        let skipped: Vec<Value> = self
            .skipped()
            .iter()
            .map(|skipped| json!({"statement": skipped.statement, "oid": skipped.oid, "why": skipped.why}))
            .collect();
        json!({
            "verdict": if self.is_accepted() { "accepted" } else { "rejected" },
            "policy": printable(self.policy()),
            "policy_note": self.policy_note().map(printable),
            "format": self.format(),
            "at": self.at().to_string(),
            "device": self.device().map(|device| json!({"id": device.id, "source": device.source})),
            "key": section(self.key()),
            "platform": section(self.platform()),
            "attesting_key": {"claims": claims(self.attesting_key())},
            "binding": {"verdict": self.binding().label(), "edges": self.edges().iter().map(edge).collect::<Vec<_>>()},
            "freshness": self.freshness().label(),
            "freshness_by_statement": by_statement,
            "module_advisories": self.module_advisories(),
            "skipped": skipped,
            "reasons": reasons(self.reasons()),
        })
    }
}

fn reasons(rejections: &[Rejection]) -> Value {
    json!(rejections.iter().map(Reason::from).collect::<Vec<_>>())
}

fn section(section: &Section) -> Value {
    json!({
        "verdict": section.outcome.label(),
        "reasons": reasons(&section.reasons),
        "claims": claims(&section.claims),
    })
}

fn claims(claims: &Claims) -> Value {
    json!(claims)
}

fn edge(edge: &crate::bind::Edge) -> Value {
    let mut object = Map::new();
    object.insert("from".to_owned(), json!(edge.from.to_string()));
    object.insert("to".to_owned(), json!(edge.to.to_string()));
    object.insert("by".to_owned(), json!(edge.by.label()));
    if let Some(note) = edge.note {
        object.insert("note".to_owned(), json!(note));
    }
    Value::Object(object)
}
