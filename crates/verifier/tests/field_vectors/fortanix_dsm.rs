//! The key attestation statement that Fortanix's article shows.

use serde_json::{Value, json};
use vouchsafe_evidence::pem;
use vouchsafe_verifier::TrustStore;

use super::support::{claim, codes, folder_of, judge, policy, read};

const FORMAT: &str = "fortanix-dsm";
const FILE: &str = "key_attestation.json";
const AT: &str = "2023-09-20T00:00:00Z";

/// The certificates of the document: of authority, CA and root, then the statement.
fn certificates(document: &[u8]) -> Vec<String> {
    let document: Value = serde_json::from_slice(document).unwrap();
    let chain = document["authority_chain"].as_array().unwrap().iter();
    let all = chain.chain([&document["attestation_statement"]["statement"]]);
    all.map(|text| format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", text.as_str().unwrap()))
        .collect()
}

fn store(format: &str, root: &str) -> TrustStore {
    TrustStore::from_files([(format!("{format}/root.pem"), root.as_bytes().to_vec())]).unwrap()
}

#[test]
fn the_statement_is_accepted_while_its_authority_is_certified() {
    let Some(folder) = folder_of(FORMAT) else { return };
    let document = read(&folder, FILE);
    let all = certificates(&document);
    let trust = store(FORMAT, &all[2]);
    let mut loose: Vec<(&str, Vec<u8>)> = all.iter().map(|text| ("c.pem", text.clone().into_bytes())).collect();
    loose.rotate_left(1);
    for files in [vec![("x", document.clone())], loose] {
        let verdict = judge(&files, &trust, &policy(), AT, None);
        assert!(verdict.is_accepted(), "{:?}", verdict.reasons());
        let report = verdict.to_json();
        for (name, value) in
            [("origin", json!("generated")), ("extractable", json!(false)), ("never_extractable", json!(true))]
        {
            let found = &report["key"]["claims"][name];
            assert_eq!((&found["value"], &found["source"]), (&value, &json!("signed")), "{name}");
        }
        assert_eq!(claim(&verdict, "key", "purposes"), json!(["sign"]));
        assert_eq!(claim(&verdict, "key", "identifier"), "18ec8b96-8845-4ce3-9fd1-50407b4b1fc0");
        assert_eq!(claim(&verdict, "platform", "model"), "FX2200");
        assert_eq!(
            claim(&verdict, "attesting_key", "chain_quirks"),
            json!(["explicit-default", "non-minimal-key-usage"])
        );
    }
    let codes = |at| codes(&judge(&[("x", document.clone())], &trust, &policy(), at, None));
    assert_eq!(codes("2023-10-06T00:00:00Z"), ["chain.expired"]);
    assert_eq!(codes("2023-09-05T15:00:00Z"), ["chain.not-yet-valid"]);
}

#[test]
fn its_root_counts_in_its_own_folder_alone() {
    let Some(folder) = folder_of(FORMAT) else { return };
    let document = read(&folder, FILE);
    let all = certificates(&document);
    let verdict = |trust: &TrustStore| codes(&judge(&[("x", document.clone())], trust, &policy(), AT, None));
    assert_eq!(verdict(&store("thales-luna", &all[2])), ["trust.no-anchor"]);
    // The authority does not vouch for itself.
    assert_eq!(verdict(&store(FORMAT, &all[3])), ["chain.no-path"]);
}

#[test]
fn the_statement_of_another_authority_is_none() {
    let Some(folder) = folder_of(FORMAT) else { return };
    let mut document: Value = serde_json::from_slice(&read(&folder, FILE)).unwrap();
    let trust = store(FORMAT, &certificates(&read(&folder, FILE))[2]);
    let chain = document["authority_chain"].as_array_mut().unwrap();
    let authority = chain.remove(0);
    let without = serde_json::to_vec(&document).unwrap();
    let missing = judge(&[("x", without)], &trust, &policy(), AT, None);
    assert_eq!(codes(&missing), ["fortanix.authority-missing"]);
    let octets = pem::read(certificates(&read(&folder, FILE))[0].as_bytes()).unwrap()[0].contents().to_vec();
    assert!(authority.as_str().unwrap().len() > octets.len());
    // A flipped bit of the statement's signature.
    let mut document: Value = serde_json::from_slice(&read(&folder, FILE)).unwrap();
    let text = document["attestation_statement"]["statement"].as_str().unwrap().to_owned();
    let at = text.len() - 10;
    let other = if text.as_bytes()[at] == b'A' { "B" } else { "A" };
    document["attestation_statement"]["statement"] = format!("{}{other}{}", &text[..at], &text[at + 1..]).into();
    let verdict = judge(&[("x", serde_json::to_vec(&document).unwrap())], &trust, &policy(), AT, None);
    assert_eq!(codes(&verdict), ["chain.bad-signature"]);
}
