//! `docs/claims/`: the claims about keys, those about platforms for each policy, and the content of AK certificates.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use vouchsafe_verifier::ak_certificate::{CONTENT, Place};
use vouchsafe_verifier::{About, Explanation, Policy, VOCABULARY};

const WRITTEN: &str = "Written by `cargo run -p vouchsafe --example forge -- docs` from tables in the code.";

/// Every page with its path beneath `docs`.
pub fn pages() -> Result<[(&'static str, String); 3]> {
    Ok([
        ("claims/key-claims.md", key_claims()?),
        ("claims/platform-claims.md", platform_claims()?),
        ("claims/ak-certificates.md", ak_certificates()?),
    ])
}

fn policies() -> Result<Vec<Policy>> {
    Policy::shipped_names().iter().map(|name| Policy::named(name).context("a shipped policy")).collect()
}

fn rules<'a>(all: &'a [Explanation], families: &'a [&str]) -> impl Iterator<Item = &'a Explanation> {
    all.iter().filter(|rule| families.iter().any(|family| rule.rule.starts_with(family)))
}

/// A table of the claims about a subject.
fn table(page: &mut String, about: About) -> Result<()> {
    write!(page, "| claim | value | meaning |\n|---|---|---|\n")?;
    for term in VOCABULARY.iter().filter(|term| term.about == about) {
        writeln!(page, "| `{}` | {} | {} |", term.name, term.value, term.meaning)?;
    }
    Ok(())
}

fn rule_list(page: &mut String, rules: &[&Explanation]) -> Result<()> {
    if rules.is_empty() {
        writeln!(page, "Nothing.")?;
    }
    for rule in rules {
        writeln!(page, "- `{}`: {} Else `{}`. ({})", rule.rule, rule.text, rule.code, rule.clause)?;
    }
    Ok(())
}

fn key_claims() -> Result<String> {
    let mut page = format!(
        "# Key claims\n\nWhat evidence of any format says about a key, in one vocabulary. Each claim carries its source: `signed` \
         in the evidence\nfor this key, `endorsed` by the attesting key's certificate, `implied` by a maker's promise for its \
         format (`by` names whose),\nor `host-asserted`. What nobody says is absent, and a rule that asks for it is violated. \
         {WRITTEN}\n\n"
    );
    table(&mut page, About::Key)?;
    write!(page, "\n## What every policy asks of keys of TPMs\n\n")?;
    let default = Policy::named("default").context("the default policy")?.explain();
    rule_list(&mut page, &rules(&default, &["(every"]).collect::<Vec<_>>())?;
    for policy in policies()? {
        write!(page, "\n## What policy `{}` asks of the key\n\n", policy.name())?;
        let all = policy.explain();
        rule_list(&mut page, &rules(&all, &["key.", "advisories.keys", "attributes"]).collect::<Vec<_>>())?;
    }
    Ok(page)
}

fn platform_claims() -> Result<String> {
    let mut page = format!(
        "# Platform claims\n\nWhat evidence of any format says about the module that holds the key and about its state. They are for \
         the one who appraises\nand go into no certificate. {WRITTEN}\n\n"
    );
    table(&mut page, About::Platform)?;
    write!(page, "\nAbout the key that attested, and on whose word it speaks for the module:\n\n")?;
    table(&mut page, About::AttestingKey)?;
    for policy in policies()? {
        write!(page, "\n## What policy `{}` asks of the platform\n\n", policy.name())?;
        let all = policy.explain();
        let families =
            ["module.", "attesting_key.", "advisories.modules", "platform", "virtual", "weak", "unchecked", "nonce"];
        rule_list(&mut page, &rules(&all, &families).collect::<Vec<_>>())?;
    }
    Ok(page)
}

fn ak_certificates() -> Result<String> {
    let mut page = format!(
        "# AK certificates\n\nThe whole content of the certificates that an authority issues to attesting keys, and why each item is \
         there. Nothing else stands\nin one, and nothing else in one is ever a claim. They come from a root that serves nothing \
         else. {WRITTEN}\n"
    );
    for (place, heading) in [
        (Place::All, "Every family"),
        (Place::Tpm, "Of keys of TPMs"),
        (Place::EndEntity, "For TPMS_ATTEST and for PKIX Evidence"),
        (Place::Attest, "For TPMS_ATTEST (TPM2_Certify, TPM2_Quote)"),
        (Place::PkixEvidence, "For PKIX Evidence, of keys that host software drives"),
        (Place::CertifyX509, "For TPM2_CertifyX509"),
    ] {
        write!(page, "\n## {heading}\n\n| item | content | reason |\n|---|---|---|\n")?;
        for item in CONTENT.iter().filter(|item| item.place == place) {
            let critical = if item.extension.is_some_and(|(_, critical)| critical) { " (critical)" } else { "" };
            writeln!(page, "| {}{critical} | {} | {} |", item.name, item.content, item.reason)?;
        }
    }
    Ok(page)
}
