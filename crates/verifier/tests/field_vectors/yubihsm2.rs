//! YubiHSM 2 modules in the field.

use std::path::Path;

use serde_json::json;
use vouchsafe_verifier::TrustStore;

use crate::support::{attested, claim, codes, folder_of, judge, policy, read};

const AT: &str = "2026-11-01T00:00:00Z";
const FORMAT: &str = "yubihsm2";
const ROOT: &str = "root-Yubico_YubiHSM_Root_CA.pem";
const AUTHORITY: &str = "sub-Yubico_YubiHSM_6742036_Sub-CA.pem";

fn trust(folder: &Path, helper: bool) -> TrustStore {
    let anchor = (format!("{FORMAT}/{ROOT}"), read(folder, ROOT));
    let helper = helper.then(|| (format!("{FORMAT}/intermediates/{AUTHORITY}"), read(folder, AUTHORITY)));
    TrustStore::from_files(std::iter::once(anchor).chain(helper)).unwrap()
}

fn files(folder: &Path, names: &[&'static str]) -> Vec<(&'static str, Vec<u8>)> {
    names.iter().map(|name| (*name, read(folder, name))).collect()
}

#[test]
fn a_key_for_ecdsa_is_accepted() {
    let Some(folder) = folder_of(FORMAT) else { return };
    let files = files(&folder, &["0013200460_hardware_attestation.der", "0013200460_key_attestation.der"]);
    let key = read(&folder, "0013200460_root_pubkey.pem");
    let verdict = judge(&files, &trust(&folder, true), &policy(), AT, Some(&key));
    assert!(verdict.is_accepted(), "{:?}", verdict.reasons());
    for (section, name, value) in [
        ("key", "origin", json!("generated")),
        ("key", "extractable", json!(false)),
        ("key", "purposes", json!(["sign"])),
        ("key", "capabilities", json!(["sign-ecdsa"])),
        ("key", "domains", json!([1])),
        ("key", "identifier", json!("0x0003")),
        ("key", "label", json!("tuf-root")),
        ("platform", "fw_version", json!("2.1.2")),
        ("platform", "serial", json!("13200460")),
    ] {
        assert_eq!(claim(&verdict, section, name), value, "{section}.{name}");
    }
    assert_eq!(verdict.to_json()["device"]["id"], json!("yubihsm2:13200460"));
}

#[test]
fn a_key_that_may_attest_others_is_a_key_of_its_user() {
    let Some(folder) = folder_of(FORMAT) else { return };
    let files = files(&folder, &["20783176-chain2.pem", "20783176-chain0.pem", "20783176-chain1.pem"]);
    let key = read(&folder, "20783176-request.csr.pem");
    let verdict = judge(&files, &trust(&folder, false), &policy(), AT, Some(&key));
    assert!(verdict.is_accepted(), "{:?}", verdict.reasons());
    let capabilities = ["sign-pkcs", "sign-pss", "decrypt-pkcs", "decrypt-oaep", "sign-attestation-certificate"];
    assert_eq!(claim(&verdict, "key", "capabilities"), json!(capabilities));
    assert_eq!(claim(&verdict, "key", "purposes"), json!(["sign", "decrypt"]));
    assert_eq!(claim(&verdict, "key", "domains"), json!([3, 4]));
    assert_eq!(claim(&verdict, "key", "label"), json!("Swish Sign RSA4096"));
    assert_eq!(claim(&verdict, "platform", "fw_version"), json!("2.2.0"));
    assert_eq!(claim(&verdict, "platform", "serial"), json!("20783176"));
}

#[test]
fn without_its_module_or_authority_nothing_counts() {
    let Some(folder) = folder_of(FORMAT) else { return };
    let alone = files(&folder, &["0013200460_key_attestation.der"]);
    let verdict = judge(&alone, &trust(&folder, true), &policy(), AT, None);
    assert_eq!(codes(&verdict), ["yubihsm2.signer-missing"]);
    let both = files(&folder, &["0013200460_hardware_attestation.der", "0013200460_key_attestation.der"]);
    assert_eq!(codes(&judge(&both, &trust(&folder, false), &policy(), AT, None)), ["chain.no-path"]);
    let mixed = files(&folder, &["0013200460_hardware_attestation.der", "20783176-chain0.pem", AUTHORITY]);
    let verdict = judge(&mixed, &trust(&folder, true), &policy(), AT, None);
    assert_eq!(codes(&verdict), ["yubihsm2.signer-missing"]);
}

#[test]
fn a_key_of_a_module_in_the_field_may_become_its_attesting_key() {
    let Some(folder) = folder_of(FORMAT) else { return };
    let ecdsa = files(&folder, &["0013200460_hardware_attestation.der", "0013200460_key_attestation.der"]);
    let rsa = files(&folder, &["20783176-chain2.pem", "20783176-chain0.pem", "20783176-chain1.pem"]);
    let (ecdsa_key, rsa_key) = (read(&folder, "0013200460_root_pubkey.pem"), read(&folder, "20783176-request.csr.pem"));
    let trusted = trust(&folder, true);
    assert_eq!(attested(&ecdsa, &trusted, AT, &ecdsa_key), Ok(Some("yubihsm2:13200460".to_owned())));
    assert_eq!(attested(&rsa, &trusted, AT, &rsa_key), Ok(Some("yubihsm2:20783176".to_owned())));
    // Not another key, and not without its maker's root.
    assert_eq!(attested(&ecdsa, &trusted, AT, &rsa_key), Err(vec!["bind.key-mismatch"]));
    assert_eq!(attested(&ecdsa, &trust(&folder, false), AT, &ecdsa_key), Err(vec!["chain.no-path"]));
}
