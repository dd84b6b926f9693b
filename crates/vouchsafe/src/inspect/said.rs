//! What evidence says, grouped: as it would be verified if the top of its own chain were trusted.

use vouchsafe_evidence::bundle::{AttestationStatement, CertChoice};
use vouchsafe_evidence::formats::{ListedFormat, Outline};
use vouchsafe_evidence::input::{Form, Submission};
use vouchsafe_evidence::statement::{FormatId, Statement};
use vouchsafe_evidence::x509::CertView;
use vouchsafe_verifier::{About, Claims, Instant, Policy, Request, Source, TrustStore, VOCABULARY, Verdict, verify};

use super::chains::Chains;
use super::statement::statement;
use super::tree::Item;
use crate::verify::report;

/// The listed format whose evidence these files are, if they are that.
pub fn listed_format(submission: &Submission) -> Option<ListedFormat> {
    match (submission.form(), submission.statements().first().and_then(AttestationStatement::format)) {
        (Form::Evidence, Some(FormatId::Listed(format))) => Some(format),
        _ => None,
    }
}

/// What is said, in groups, and by whose chain.
pub fn items(submission: &Submission, trust: Option<&TrustStore>, now: Instant) -> Vec<Item> {
    let certificates = certificates(submission);
    let mut items: Vec<Item> = Vec::new();
    if listed_format(submission).is_some() {
        items.extend(submission.statements().iter().enumerate().map(|(index, found)| statement(index, found)));
    }
    let chains = Chains::of(&certificates);
    items.extend(chains.tree());
    let assumed = match trust {
        Some(_) => None,
        None => assume(&chains),
    };
    if let Some(verdict) = trust.or(assumed.as_ref()).and_then(|store| judge(submission, store, &certificates, now)) {
        let note = if trust.is_some() {
            "what holds under the anchors that were given, policy apart"
        } else {
            "NOT VERIFIED: what it would say if the top of its own chain were trusted"
        };
        items.push(Item::group("what is said", groups(&verdict)).says(note));
    } else if !submission.statements().is_empty() {
        let why = "not told: nothing of it holds; the issuers of its chain may be missing, which --trust DIR can name";
        items.push(Item::leaf("what is said", why));
    }
    items
}

/// Every certificate that came along, in the bundle or within statements.
fn certificates(submission: &Submission) -> Vec<CertView> {
    let mut all: Vec<CertView> = submission.certs().iter().filter_map(CertChoice::certificate).cloned().collect();
    for statement in submission.statements() {
        match statement.parse() {
            Ok(Statement::Listed(format, content)) => {
                for outline in (format.row().outline)(&content).unwrap_or_default() {
                    collect(outline, &mut all);
                }
            }
            Ok(Statement::TpmCertifyX509(statement)) => all.push(statement.certificate),
            Ok(_) | Err(_) => {}
        }
    }
    all
}

fn collect(outline: Outline, all: &mut Vec<CertView>) {
    all.extend(outline.certificate);
    for part in outline.parts {
        collect(part, all);
    }
}

/// A store in which the top of the evidence's own chain is trusted for every format.
fn assume(chains: &Chains<'_>) -> Option<TrustStore> {
    let anchors: Vec<&CertView> = chains.topmost().collect();
    let files = FormatId::all().flat_map(|format| {
        anchors
            .iter()
            .enumerate()
            .map(move |(place, anchor)| (format!("{}/{place}.der", format.id()), anchor.as_der().to_vec()))
            .collect::<Vec<_>>()
    });
    TrustStore::from_files(files).ok()
}

/// The verdict for the first time at which something can be said: now, or when the youngest certificate began.
fn judge(submission: &Submission, store: &TrustStore, certificates: &[CertView], now: Instant) -> Option<Verdict> {
    let policy = Policy::named("lab")?;
    let youngest = certificates.iter().map(CertView::not_before).max().map(Instant::from_unix_seconds);
    let verdicts = [Some(now), youngest].into_iter().flatten();
    let says_something = |verdict: &Verdict| !verdict.key().claims.is_empty() || !verdict.platform().claims.is_empty();
    verdicts.map(|at| verify(&Request::new(submission, store, &policy, at))).find(says_something)
}

fn groups(verdict: &Verdict) -> Vec<Item> {
    let mut groups = vec![Item::leaf("judged for", verdict.at().to_string())];
    let sections = [
        (About::Key, "the key", &verdict.key().claims),
        (About::Platform, "the platform", &verdict.platform().claims),
        (About::AttestingKey, "the attesting key", verdict.attesting_key()),
    ];
    for (about, name, claims) in sections {
        groups.push(group(about, name, claims));
    }
    groups
}

fn group(about: About, name: &str, claims: &Claims) -> Item {
    let mut items: Vec<Item> = claims
        .iter()
        .filter(|(_, claim)| claim.source != Source::Implied)
        .map(|(name, claim)| Item::leaf(name, format!("{}{}", report::value(&claim.value), report::source(claim))))
        .collect();
    let promised: Vec<Item> = claims
        .iter()
        .filter(|(_, claim)| claim.source == Source::Implied)
        .map(|(name, claim)| Item::leaf(name, format!("{}{}", report::value(&claim.value), report::source(claim))))
        .collect();
    if !promised.is_empty() {
        items.push(Item::group("only promised, not signed", promised));
    }
    let missing: Vec<&str> = VOCABULARY
        .iter()
        .filter(|term| term.about == about && claims.named(term.name).is_none())
        .map(|term| term.name)
        .collect();
    if !missing.is_empty() {
        items.push(Item::leaf("nothing is said of", missing.join(", ")));
    }
    Item::group(name, items)
}
