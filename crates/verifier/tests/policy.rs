//! Policies from outside: what they refuse to be, what they say of themselves, and what they make of a stored verdict.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::collections::BTreeSet;

use serde_json::{Value, json};
use vouchsafe_verifier::{ModuleList, Policy, PolicyError, all_codes};

/// A verdict over a key of a module, as `vouchsafe verify --json` prints one.
fn verdict() -> Value {
    let signed = |value: Value| json!({"value": value, "source": "signed", "statement": 0});
    json!({
        "verdict": "accepted", "policy": "default", "format": "csr", "at": "2026-12-01T00:00:00Z", "device": null,
        "key": {"verdict": "accepted", "reasons": [], "claims": {
            "extractable": signed(json!(false)), "never_extractable": signed(json!(true)), "sensitive": signed(json!(true)),
            "origin": signed(json!("generated")), "purposes": signed(json!(["sign"])),
            "spki": signed(json!("MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEIAesowqBKzMfqlwwTqHWi4Ndj4Q3DTxlOaxiTncn9wwZBOJssJDKu4qMfR3bwb3oDQZWULyPyOeZ44/e0m7H3w==")),
        }},
        "platform": {"verdict": "accepted", "reasons": [], "claims": {
            "vendor": signed(json!("Example")), "model": signed(json!("HSM-9000")), "fw_version": signed(json!("7.2.1")),
        }},
        "attesting_key": {"claims": {"environment": signed(json!("module"))}},
        "formats_by_statement": [["yubihsm2"]], "freshness": "none", "module_advisories": [], "skipped": [], "reasons": [],
    })
}

const LIST: &str =
    "vendor,model,firmware,scheme,level,certificate,status\nExample,HSM-9000,7.2.1,FIPS 140-3,3,1,active\n";

fn csbr() -> Policy {
    Policy::named("csbr-code-signing").unwrap().with_modules(ModuleList::parse(LIST).unwrap())
}

fn violations(policy: &Policy, verdict: &Value) -> BTreeSet<&'static str> {
    let judged = policy.judge_report(verdict).unwrap();
    judged.into_iter().filter(|rule| !rule.holds).map(|rule| rule.explanation.code).collect()
}

#[test]
fn a_stored_verdict_is_judged_as_the_evidence_was() {
    assert_eq!(violations(&csbr(), &verdict()), BTreeSet::new());
    let without_list = Policy::named("csbr-code-signing").unwrap();
    assert_eq!(violations(&without_list, &verdict()), BTreeSet::from(["csbr.module-not-certified"]));
}

#[test]
fn every_claim_that_csbr_asks_for_is_missed_when_it_is_taken_away() {
    for (section, claim, code) in [
        ("key", "extractable", "key.extractable"),
        ("key", "never_extractable", "key.once-extractable"),
        ("key", "sensitive", "key.sensitive"),
        ("key", "origin", "key.not-generated"),
        ("key", "purposes", "key.purposes"),
        ("key", "spki", "key.curve"),
        ("platform", "vendor", "csbr.module-not-certified"),
        ("platform", "model", "csbr.module-not-certified"),
        ("platform", "fw_version", "csbr.module-not-certified"),
        ("attesting_key", "environment", "policy.environment"),
    ] {
        let mut verdict = verdict();
        verdict[section]["claims"].as_object_mut().unwrap().remove(claim).unwrap();
        assert_eq!(violations(&csbr(), &verdict), BTreeSet::from([code]), "{section}.{claim}");
    }
}

#[test]
fn what_host_software_asserts_counts_for_no_rule() {
    let mut verdict = verdict();
    for claim in ["extractable", "never_extractable", "sensitive", "origin", "purposes"] {
        verdict["key"]["claims"][claim]["source"] = json!("host-asserted");
    }
    assert_eq!(violations(&csbr(), &verdict), BTreeSet::from(["policy.host-asserted"]));
    verdict["key"]["claims"]["extractable"]["source"] = json!("somebody");
    assert!(csbr().judge_report(&verdict).is_err(), "a source that nobody knows is no source");
}

#[test]
fn a_stored_verdict_is_as_old_as_each_of_its_statements() {
    let policy = Policy::from_toml("name = 'x'\nmax_evidence_age = '1d'").unwrap();
    let signed = |value: &str, statement: usize| json!({"value": value, "source": "signed", "statement": statement});
    let with = |freshness: Value, attested_at: Option<Value>| {
        let mut verdict = verdict();
        verdict["formats_by_statement"] = json!([["securosys-primus"], [], ["securosys-primus"]]);
        verdict["formats_by_statement"].as_array_mut().unwrap().truncate(freshness.as_array().unwrap().len());
        verdict["freshness_by_statement"] = freshness;
        if let Some(claim) = attested_at {
            verdict["platform"]["claims"]["attested_at"] = claim;
        }
        violations(&policy, &verdict)
    };
    let (nonce, possession) = ("nonce", "proof-of-possession");
    let young = "2026-11-30T00:00:00Z";
    assert_eq!(with(json!([nonce]), None), BTreeSet::new());
    assert_eq!(with(json!([possession]), Some(signed(young, 0))), BTreeSet::new());
    // The proof of possession itself has no age.
    assert_eq!(with(json!([possession, possession]), Some(signed(young, 0))), BTreeSet::new());
    for (freshness, attested_at, code) in [
        (json!([]), None, "policy.evidence-undated"),
        (json!(["none"]), None, "policy.evidence-undated"),
        (json!([possession, possession]), None, "policy.evidence-undated"),
        (json!([possession, possession, possession]), Some(signed(young, 0)), "policy.evidence-undated"),
        (json!([nonce]), Some(signed("2026-11-29T23:59:59Z", 0)), "policy.evidence-too-old"),
        (json!([nonce]), Some(signed("2026-12-01T00:05:01Z", 0)), "policy.evidence-from-future"),
        (json!(["none"]), Some(signed("yesterday", 0)), "policy.evidence-undated"),
    ] {
        assert_eq!(with(freshness.clone(), attested_at), BTreeSet::from([code]), "{freshness}");
    }
}

#[test]
fn what_did_not_bind_stays_refused() {
    let mut verdict = verdict();
    verdict["reasons"] = json!([{"code": "bind.unconnected-statement", "message": "x", "statement": 1, "clause": "y"}]);
    assert_eq!(violations(&Policy::named("lab").unwrap(), &verdict), BTreeSet::from(["bind.unconnected-statement"]));
}

#[test]
fn every_rule_of_every_shipped_policy_names_a_code_that_is_one() {
    let codes: BTreeSet<&str> = all_codes().iter().map(|code| code.id).collect();
    for name in Policy::shipped_names() {
        let policy = Policy::named(&name).unwrap();
        let rules = policy.explain();
        assert!(rules.len() > 4, "{name}");
        for rule in rules {
            assert!(codes.contains(rule.code), "{name}: {rule:?}");
            assert!(!rule.clause.is_empty() && rule.text.ends_with('.'), "{name}: {rule:?}");
        }
    }
}

#[test]
fn a_policy_that_cannot_mean_what_it_says_is_refused() {
    for text in [
        "name = 'x'\n[key]\norigin = []",
        "name = 'x'\n[key]\norigin = ['made']",
        "name = 'x'\n[key]\ncurves = ['P-224']",
        "name = 'x'\n[key]\npurposes = { include = ['signing'] }",
        "name = 'x'\n[key]\nextractable = 'no'",
        "name = 'x'\n[module]\ndebug = 'off'",
        "name = 'x'\n[module]\nfips = { levle_min = 3 }",
        "name = 'x'\n[module]\ncertified = [{ scheme = 'CC' }]",
        "name = 'x'\n[attesting_key]\nenvironment = ['cloud']",
        "name = 'x'\n[sources]\nimplied = ['key.extractible']",
        "name = 'x'\n[clauses]\n'key.extractible' = 'CSBR'",
        "name = 'x'\nrequire = ['claims.']",
    ] {
        assert!(Policy::from_toml(text).is_err(), "{text}");
    }
    let many = format!("name = 'x'\nrequire = [{}]", "'true',".repeat(33));
    assert!(matches!(Policy::from_toml(&many), Err(PolicyError::Value { rule: "require", .. })));
}
