//! Public key confirmations of Luna modules, as their maker publishes them.

use serde_json::json;
use vouchsafe_evidence::pem;

use super::support::{anchors, claim, codes, folder_of, judge, policy, read};

const FORMAT: &str = "thales-luna";
const ROOT: &str = "luna-rsa-root-certificate.pem";
const AT: &str = "2026-06-01T00:00:00Z";

#[test]
fn the_confirmation_of_an_rsa_key_is_accepted() {
    let Some(folder) = folder_of(FORMAT) else { return };
    let trust = anchors(&folder, FORMAT, &[ROOT]);
    let bag = read(&folder, "rsa-pkc.p7b");
    let pem_bag = pem::encode("PKCS7", &bag).into_bytes();
    let chain = read(&folder, "rsa-chain.pem");
    let mut single: Vec<(&str, Vec<u8>)> =
        pem::read(&chain).unwrap().iter().map(|block| ("c", block.contents().to_vec())).collect();
    single.reverse();
    let key = read(&folder, "rsa-test.csr");
    for files in [vec![("x", bag)], vec![("x", pem_bag)], vec![("x", chain)], single] {
        let verdict = judge(&files, &trust, &policy(), AT, Some(&key));
        assert!(verdict.is_accepted(), "{:?}", verdict.reasons());
        let report = verdict.to_json();
        for (name, value) in [("origin", json!("generated")), ("extractable", json!(false)), ("sensitive", json!(true))]
        {
            let found = &report["key"]["claims"][name];
            assert_eq!(
                (&found["value"], &found["source"], &found["by"]),
                (&value, &json!("implied"), &json!("Thales"))
            );
        }
        assert_eq!(claim(&verdict, "platform", "serial"), "521174");
        assert_eq!(claim(&verdict, "platform", "model"), "Luna K7");
        assert_eq!(report["device"]["id"], "thales-luna:521174");
        assert_eq!(claim(&verdict, "attesting_key", "chain_quirks"), json!(["explicit-default", "extension-not-der"]));
    }
}

#[test]
fn the_root_counts_by_its_key_in_its_own_folder_alone() {
    let Some(folder) = folder_of(FORMAT) else { return };
    let files = [("rsa-pkc.p7b", read(&folder, "rsa-pkc.p7b"))];
    let other = anchors(&folder, "yubikey-piv", &[ROOT]);
    assert_eq!(codes(&judge(&files, &other, &policy(), AT, None)), ["trust.no-anchor"]);
    let ecc = anchors(&folder, FORMAT, &["luna-ecc-root-certificate.pem"]);
    assert_eq!(codes(&judge(&files, &ecc, &policy(), AT, None)), ["chain.no-path"]);
    // The certificate of the root that came in the confirmation is another one with the same key, or the same.
    let chain = pem::read(&read(&folder, "rsa-chain.pem")).unwrap();
    let carried = pem::encode("CERTIFICATE", chain.last().unwrap().contents()).into_bytes();
    let carried = vouchsafe_verifier::TrustStore::from_files([(format!("{FORMAT}/x.pem"), carried)]).unwrap();
    let verdict = judge(&files, &carried, &policy(), AT, None);
    assert!(verdict.is_accepted(), "{:?}", verdict.reasons());
}

#[test]
fn the_hierarchy_for_curves_is_refused_by_name() {
    let Some(folder) = folder_of(FORMAT) else { return };
    let trust = anchors(&folder, FORMAT, &[ROOT, "luna-ecc-root-certificate.pem"]);
    for file in ["ecc-pkc.p7b", "ecc-chain.pem"] {
        let verdict = judge(&[(file, read(&folder, file))], &trust, &policy(), AT, None);
        assert_eq!(codes(&verdict), ["luna.ecc-unverifiable"], "{file}");
    }
}

#[test]
fn the_confirmation_of_another_key_is_none() {
    let Some(folder) = folder_of(FORMAT) else { return };
    let trust = anchors(&folder, FORMAT, &[ROOT]);
    let files = [("rsa-pkc.p7b", read(&folder, "rsa-pkc.p7b"))];
    let verdict = judge(&files, &trust, &policy(), AT, Some(&read(&folder, "ecc-test.csr")));
    assert_eq!(codes(&verdict), ["bind.key-mismatch"]);
    let verdict = judge(&files, &trust, &policy(), "2033-01-01T00:00:00Z", None);
    assert_eq!(codes(&verdict), ["chain.expired"]);
}
