//! The verdict as JSON (CONTRACT, "vouchsafe verify").

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::Value;
use vouchsafe_evidence::text::printable;

use crate::authenticate::Skipped;
use crate::bind::{Device, Edge, Node};
use crate::claims::{Claim, Claims, Source};
use crate::rejection::Rejection;
use crate::verdict::{Freshness, Section, Verdict};

/// Members of a report.
const MEMBERS: usize = 17;

/// A violation as reports show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// The clause it rests on.
    pub clause: &'static str,
    /// The stable code.
    pub code: &'static str,
    /// One sentence, with control and direction characters taken out.
    pub message: String,
    /// The statement it concerns, or `null`.
    pub statement: Option<usize>,
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
    /// The verdict in the form of CONTRACT.md: one object, every key always there. `null` if it cannot be
    /// serialized, which no verdict brings about and which no reader takes for an acceptance.
    #[must_use]
    pub fn to_json(&self) -> Value {
        serde_json::to_value(self).unwrap_or(Value::Null)
    }
}

/// Written out of the verdict itself: an authority keeps a report of every decision, and a tree of JSON values would
/// take longer to build than the report to write. The members are in the order of their names, as such a tree has them.
impl Serialize for Verdict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut report = serializer.serialize_map(Some(MEMBERS))?;
        report.serialize_entry("at", &Text(self.at()))?;
        report.serialize_entry("attesting_key", &AttestingKeyView { claims: ClaimsView(self.attesting_key()) })?;
        report
            .serialize_entry("binding", &BindingView { edges: Edges(self.edges()), verdict: self.binding().label() })?;
        report.serialize_entry("device", &self.device().map(DeviceView::from))?;
        report.serialize_entry("format", self.format())?;
        let formats = self.formats_by_statement();
        let ids: Vec<Vec<&str>> = formats.iter().map(|of| of.iter().map(|format| format.id()).collect()).collect();
        report.serialize_entry("formats_by_statement", &ids)?;
        report.serialize_entry("freshness", self.freshness().label())?;
        report.serialize_entry("freshness_by_statement", &Labels(self.freshness_by_statement()))?;
        if let Some(note) = self.freshness_note() {
            report.serialize_entry("freshness_note", &note)?;
        }
        report.serialize_entry("key", &SectionView::from(self.key()))?;
        report.serialize_entry("module_advisories", self.module_advisories())?;
        report.serialize_entry("platform", &SectionView::from(self.platform()))?;
        report.serialize_entry("policy", &printable(self.policy()))?;
        if let Some(note) = self.policy_note() {
            report.serialize_entry("policy_note", &printable(note))?;
        }
        report.serialize_entry("reasons", &Reasons(self.reasons()))?;
        report.serialize_entry("skipped", &SkippedViews(self.skipped()))?;
        report.serialize_entry("verdict", if self.is_accepted() { "accepted" } else { "rejected" })?;
        report.end()
    }
}

/// A value by its text.
struct Text<T>(T);

impl<T: std::fmt::Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

#[derive(Serialize)]
struct AttestingKeyView<'a> {
    claims: ClaimsView<'a>,
}

struct ClaimsView<'a>(&'a Claims);

impl Serialize for ClaimsView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, claim)| (name, ClaimView::from(claim))))
    }
}

#[derive(Serialize)]
struct ClaimView<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<&'static str>,
    source: Source,
    statement: usize,
    value: &'a Value,
}

impl<'a> From<&'a Claim> for ClaimView<'a> {
    fn from(claim: &'a Claim) -> Self {
        Self { by: claim.by, source: claim.source, statement: claim.statement, value: &claim.value }
    }
}

#[derive(Serialize)]
struct BindingView<'a> {
    edges: Edges<'a>,
    verdict: &'static str,
}

#[derive(Serialize)]
struct DeviceView<'a> {
    id: &'a str,
    source: &'static str,
}

impl<'a> From<&'a Device> for DeviceView<'a> {
    fn from(device: &'a Device) -> Self {
        Self { id: &device.id, source: device.source }
    }
}

#[derive(Serialize)]
struct SectionView<'a> {
    claims: ClaimsView<'a>,
    reasons: Reasons<'a>,
    verdict: &'static str,
}

impl<'a> From<&'a Section> for SectionView<'a> {
    fn from(section: &'a Section) -> Self {
        Self {
            claims: ClaimsView(&section.claims),
            reasons: Reasons(&section.reasons),
            verdict: section.outcome.label(),
        }
    }
}

struct Reasons<'a>(&'a [Rejection]);

impl Serialize for Reasons<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(Reason::from))
    }
}

struct Labels<'a>(&'a [Freshness]);

impl Serialize for Labels<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|freshness| freshness.label()))
    }
}

struct Edges<'a>(&'a [Edge]);

impl Serialize for Edges<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(EdgeView::from))
    }
}

#[derive(Serialize)]
struct EdgeView {
    by: &'static str,
    from: Text<Node>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'static str>,
    to: Text<Node>,
}

impl From<&Edge> for EdgeView {
    fn from(edge: &Edge) -> Self {
        Self { by: edge.by.label(), from: Text(edge.from), note: edge.note, to: Text(edge.to) }
    }
}

struct SkippedViews<'a>(&'a [Skipped]);

impl Serialize for SkippedViews<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(SkippedView::from))
    }
}

#[derive(Serialize)]
struct SkippedView<'a> {
    oid: &'a str,
    statement: usize,
    why: &'a str,
}

impl<'a> From<&'a Skipped> for SkippedView<'a> {
    fn from(skipped: &'a Skipped) -> Self {
        Self { oid: &skipped.oid, statement: skipped.statement, why: &skipped.why }
    }
}

#[cfg(test)]
mod tests {
    use vouchsafe_evidence::input::{InputFile, Submission};

    use super::*;
    use crate::policy::Policy;
    use crate::time::Instant;

    #[test]
    fn every_member_is_there_once_and_in_the_order_of_names() {
        let error = Submission::recognize(&[InputFile { name: "empty", bytes: b"" }], None).unwrap_err();
        let verdict =
            Verdict::on_unusable_input(&error, &Policy::named("default").unwrap(), Instant::from_unix_seconds(0));
        let text = serde_json::to_string(&verdict).unwrap();
        // A tree sorts its members and keeps the last of two with one name, so that only such a text comes back as it was.
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap().to_string(), text);
        let Value::Object(members) = verdict.to_json() else { panic!("{text}") };
        // Only some policies have a note, and only some freshness.
        assert_eq!(members.len(), MEMBERS - 2);
        assert_eq!(members["verdict"], "rejected");
        assert_eq!(members["reasons"].as_array().unwrap().len(), 1);
    }
}
