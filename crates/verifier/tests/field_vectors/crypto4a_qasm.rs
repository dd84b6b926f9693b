//! A message of a production QASM.

use serde_json::json;

use super::support::{anchors, claim, codes, folder_of, judge, policy, read};

const FORMAT: &str = "crypto4a-qasm";
const AT: &str = "2024-06-12T15:00:00Z";

#[test]
fn a_message_is_accepted_in_der_and_pem_with_its_claims() {
    let Some(folder) = folder_of(FORMAT) else { return };
    let trust = anchors(&folder, FORMAT, &["root-C4A_RCA.pem"]);
    for file in ["attestation.der", "attestation.pem"] {
        let verdict = judge(&[("evidence", read(&folder, file))], &trust, &policy(), AT, None);
        assert!(verdict.is_accepted(), "{file}: {:?}", verdict.reasons());
        assert_eq!(verdict.format(), FORMAT);
        for (section, name, value) in [
            ("key", "origin", json!("generated")),
            ("key", "extractable", json!(false)),
            ("key", "never_extractable", json!(true)),
            ("key", "purposes", json!(["sign"])),
            ("key", "identifier", json!("ba17a9b1-3663-4f18-98da-f1bd5bdbf96a")),
            ("platform", "serial", json!("QSM000129")),
            ("platform", "fw_version", json!("4.0.2.493")),
            ("platform", "attested_at", json!("2024-06-12T14:33:07Z")),
            ("attesting_key", "hss", json!("unchecked")),
        ] {
            assert_eq!(claim(&verdict, section, name), value, "{file}: {section}.{name}");
        }
        assert_eq!(verdict.to_json()["device"]["id"], "crypto4a-qasm:QSM000129");
    }
}

#[test]
fn no_octet_of_the_claims_can_be_changed() {
    let Some(folder) = folder_of(FORMAT) else { return };
    let trust = anchors(&folder, FORMAT, &["root-C4A_RCA.pem"]);
    let original = read(&folder, "attestation.der");
    for offset in 4..612 {
        let mut changed = original.clone();
        changed[offset] ^= 1;
        let verdict = judge(&[("changed", changed)], &trust, &policy(), AT, None);
        assert!(!verdict.is_accepted(), "octet {offset} changed");
    }
    let mut key = original;
    key[280] ^= 1;
    let verdict = judge(&[("key", key)], &trust, &policy(), AT, None);
    assert_eq!(codes(&verdict), ["qasm.bad-signature"]);
}

#[test]
fn the_root_counts_for_this_format_alone() {
    let Some(folder) = folder_of(FORMAT) else { return };
    let elsewhere = anchors(&folder, "pkix-evidence", &["root-C4A_RCA.pem"]);
    let verdict = judge(&[("evidence", read(&folder, "attestation.der"))], &elsewhere, &policy(), AT, None);
    assert_eq!(codes(&verdict), ["trust.no-anchor"]);
}
