//! Libraries and tokens of PKCS#11 modules.

use vouchsafe_agent::provider::pkcs11::{Settings, TokenSummary, inspect};
use vouchsafe_evidence::text::printable;

use super::Findings;

/// What the library says of itself and of the tokens that the configuration names. It is not logged in to any.
pub(super) fn examine(findings: &mut Findings, provider: &str, settings: &Settings) {
    let found = match inspect(settings) {
        Ok(found) => found,
        Err(fault) => return findings.bad(format!("{provider}: {fault}"), fault.next_step()),
    };
    let library = printable(&found.library);
    findings.good(format!("{provider}: {library}, PKCS#11 {}", printable(&found.version)));
    for token in &found.tokens {
        of_token(findings, provider, token);
    }
}

fn of_token(findings: &mut Findings, provider: &str, token: &TokenSummary) {
    let name = printable(&token.name.to_string());
    match &token.description {
        Ok(description) => findings.good(format!("{provider}: the token with {name}: {}", printable(description))),
        Err(fault) => return findings.bad(format!("{provider}: {fault}"), fault.next_step()),
    }
    match &token.pin {
        Some(fault) => findings.bad(format!("{provider}: {fault}"), fault.next_step()),
        None if token.had_wrong_pin => findings.bad(
            format!("{provider}: a wrong PIN was tried on the token with {name} and no right one since"),
            "check the PIN in the file; the agent tries each only once",
        ),
        None => findings.good(format!("{provider}: the PIN of the token with {name} may be tried")),
    }
    let kinds: Vec<String> = token.kinds.iter().map(|kind| format!("{kind:?}")).collect();
    if kinds.is_empty() {
        let next = "choose a token that makes EC keys on P-256 or RSA keys, or have it configured so";
        findings.bad(format!("{provider}: the token with {name} makes no keys that are used here"), next);
    } else {
        findings.good(format!("{provider}: the token with {name} makes {}", kinds.join(", ")));
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use vouchsafe_agent::provider::pkcs11::TokenName;

    use super::*;

    #[test]
    fn a_library_that_is_not_there_is_named_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let pin_file = folder.path().join("pin");
        fs::write(&pin_file, "1234\n").unwrap();
        fs::set_permissions(&pin_file, fs::Permissions::from_mode(0o600)).unwrap();
        let token = TokenName::Label("no such token".to_owned());
        let settings = Settings::new("/nonexistent.so".into(), token, pin_file);
        let mut findings = Findings::default();
        examine(&mut findings, "hsm", &settings);
        assert_eq!(findings.problems, 1, "{}", findings.lines);
        assert!(findings.lines.contains("problem: hsm: /nonexistent.so cannot be used"), "{}", findings.lines);
    }
}
