//! The vectors of this project: every case in `vectors/`, each with the verdict that its `case.toml` demands.
//!
//! Besides verdicts this checks the cases themselves: no unknown key, no file that no case names, no negative without
//! an accepted twin, no code without a case.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::disallowed_methods,
    missing_docs
)]

#[path = "vectors/case.rs"]
mod case;
#[path = "vectors/generate.rs"]
mod generate;
#[path = "vectors/judge.rs"]
mod judge;

use std::collections::{BTreeMap, BTreeSet};

use case::{Case, Expect};
use judge::{Judgement, judge};
use vouchsafe_verifier::{VOCABULARY, all_codes};

/// Every case with its judgement, by its path such as `tpm-certify/wrong-name`.
fn judged() -> BTreeMap<String, (Case, Judgement)> {
    let cases = case::read_all();
    assert!(!cases.is_empty(), "there are no vectors");
    cases
        .into_iter()
        .map(|(id, case)| {
            let judgement = judge(&case);
            (id, (case, judgement))
        })
        .collect()
}

fn fail_on(problems: &[String]) {
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn every_case_gets_its_verdict_and_is_complete() {
    let cases = judged();
    let mut problems = Vec::new();
    for (id, (case, judgement)) in &cases {
        problems.extend(case.unlisted_files().into_iter().map(|file| format!("{id}: {file} is listed nowhere")));
        if judgement.codes != case.expected_codes() {
            let reasons = judgement.reasons.join("\n      ");
            problems.push(format!("{id}: expected {:?}, found {:?}\n      {reasons}", case.expect, judgement.codes));
        } else {
            problems.extend(case.report_problems(&judgement.report).into_iter().map(|text| format!("{id}: {text}")));
        }
        problems.extend(twin_problem(case, &cases).map(|text| format!("{id}: {text}")));
    }
    fail_on(&problems);
}

#[test]
fn every_claim_is_of_the_vocabulary() {
    let known: BTreeSet<(&str, &str)> = VOCABULARY.iter().map(|term| (term.about.label(), term.name)).collect();
    let mut said = BTreeSet::new();
    for (id, (_, judgement)) in &judged() {
        for about in ["key", "platform", "attesting_key"] {
            for name in judgement.report[about]["claims"].as_object().into_iter().flat_map(|claims| claims.keys()) {
                assert!(known.contains(&(about, name.as_str())), "{id} claims {about}.{name}, which has no meaning");
                said.insert((about.to_owned(), name.clone()));
            }
        }
    }
    assert!(said.len() > 40, "the vectors claim next to nothing");
}

/// A negative without an accepted twin proves nothing: anything could be wrong with it.
fn twin_problem(case: &Case, cases: &BTreeMap<String, (Case, Judgement)>) -> Option<String> {
    match (&case.expect, &case.twin) {
        (Expect::Accept, None) => None,
        (Expect::Accept, Some(_)) => Some("an accepted case has no twin".to_owned()),
        (Expect::Reject(_), None) => Some("a rejected case needs an accepted twin".to_owned()),
        (Expect::Reject(_), Some(twin)) => match cases.get(twin) {
            None => Some(format!("its twin {twin} does not exist")),
            Some((other, judgement)) => {
                let accepted = other.expect == Expect::Accept && judgement.codes.is_empty();
                let alike = other.kind == case.kind;
                (!accepted || !alike).then(|| format!("its twin {twin} is not an accepted case of its kind"))
            }
        },
    }
}

#[test]
fn every_code_has_a_case() {
    let covered: BTreeSet<String> = case::read_all().values().flat_map(Case::expected_codes).collect();
    let uncovered = case::uncovered();
    let known: BTreeSet<String> = all_codes().iter().map(|code| code.id.to_owned()).collect();
    let mut problems = Vec::new();
    for code in known.difference(&covered).filter(|code| !uncovered.contains_key(*code)) {
        problems.push(format!("{code} has no case"));
    }
    for code in covered.difference(&known) {
        problems.push(format!("{code} is expected by a case and is no code"));
    }
    for code in uncovered.keys().filter(|code| covered.contains(*code) || !known.contains(*code)) {
        problems.push(format!("{code} is listed in uncovered.toml and should not be"));
    }
    fail_on(&problems);
}
