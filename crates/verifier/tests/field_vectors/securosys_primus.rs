//! A key attestation of a Primus CyberVault X2.

use serde_json::json;

use super::support::{anchors, claim, codes, folder_of, judge, policy, read};

const FORMAT: &str = "securosys-primus";
const AT: &str = "2025-10-18T21:00:00Z";
const ROOT: &str = "root-PRIMUS_HSM_ROOTKEY.pem";

fn files(folder: &std::path::Path) -> Vec<(&'static str, Vec<u8>)> {
    ["chain0.pem", "key_attestation.sig", "chain1.pem", "key_attestation.xml"]
        .iter()
        .map(|file| (*file, read(folder, file)))
        .collect()
}

#[test]
fn the_attestation_of_the_requests_key_is_accepted_with_its_claims() {
    let Some(folder) = folder_of(FORMAT) else { return };
    let trust = anchors(&folder, FORMAT, &[ROOT]);
    let request = read(&folder, "request.csr.pem");
    let verdict = judge(&files(&folder), &trust, &policy(), AT, Some(&request));
    assert!(verdict.is_accepted(), "{:?}", verdict.reasons());
    assert_eq!(verdict.format(), FORMAT);
    for (section, name, value) in [
        ("key", "origin", json!("generated")),
        ("key", "extractable", json!(false)),
        ("key", "never_extractable", json!(true)),
        ("key", "sensitive", json!(true)),
        ("key", "purposes", json!(["decrypt", "sign"])),
        ("key", "label", json!("rsa_4096_sign")),
        ("platform", "serial", json!("18386101")),
        ("platform", "attested_at", json!("2025-10-18T20:19:33Z")),
    ] {
        assert_eq!(claim(&verdict, section, name), value, "{section}.{name}");
    }
    assert_eq!(verdict.to_json()["device"]["id"], "securosys-primus:18386101");
}

#[test]
fn files_in_one_and_a_signature_in_base64_are_the_same_evidence() {
    let Some(folder) = folder_of(FORMAT) else { return };
    let trust = anchors(&folder, FORMAT, &[ROOT]);
    let chain = [read(&folder, "chain1.pem"), read(&folder, ROOT), read(&folder, "chain0.pem")].concat();
    let signature = {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD.encode(read(&folder, "key_attestation.sig")).into_bytes()
    };
    let files = [("s", signature), ("x", read(&folder, "key_attestation.xml")), ("c", chain)];
    let verdict = judge(&files, &trust, &policy(), AT, None);
    assert!(verdict.is_accepted(), "{:?}", verdict.reasons());
}

#[test]
fn no_octet_of_document_and_signature_can_be_changed() {
    let Some(folder) = folder_of(FORMAT) else { return };
    let trust = anchors(&folder, FORMAT, &[ROOT]);
    let original = files(&folder);
    for place in [1, 3] {
        for offset in 0..original[place].1.len() {
            let mut changed = original.clone();
            changed[place].1[offset] ^= 1;
            let verdict = judge(&changed, &trust, &policy(), AT, None);
            assert!(!verdict.is_accepted(), "{} octet {offset}", original[place].0);
        }
    }
    let mut cut = original;
    // A reader that writes XML anew would not miss the blank line at the end.
    cut[3].1.pop();
    assert_eq!(codes(&judge(&cut, &trust, &policy(), AT, None)), ["primus.bad-signature"]);
}

#[test]
fn the_root_counts_for_this_format_alone() {
    let Some(folder) = folder_of(FORMAT) else { return };
    let elsewhere = anchors(&folder, "thales-luna", &[ROOT]);
    assert_eq!(codes(&judge(&files(&folder), &elsewhere, &policy(), AT, None)), ["trust.no-anchor"]);
}
