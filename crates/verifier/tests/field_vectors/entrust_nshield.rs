//! A bundle of Entrust's own documentation: an EC key under a softcard, of a module whose warrant is of the field.

use serde_json::{Value, json};
use vouchsafe_verifier::Policy;

use super::support::{anchors, claim, codes, folder_of, judge, policy, read};

const FORMAT: &str = "entrust-nshield";
const FILE: &str = "key_pkcs11_test2.att";
const ROOT: &str = "root-KWARN-1.json";
const AT: &str = "2026-06-01T00:00:00Z";

#[test]
fn the_bundle_is_accepted_with_its_claims() {
    let Some(folder) = folder_of(FORMAT) else { return };
    let trust = anchors(&folder, FORMAT, &[ROOT]);
    let verdict = judge(&[(FILE, read(&folder, FILE))], &trust, &policy(), AT, None);
    assert!(verdict.is_accepted(), "{:?}", verdict.reasons());
    assert_eq!(verdict.format(), FORMAT);
    for (section, name, value) in [
        ("key", "origin", json!("generated")),
        ("key", "extractable", json!(false)),
        ("key", "recoverable", json!(false)),
        ("key", "purposes", json!(["sign"])),
        ("key", "user_auth", json!("softcard")),
        ("key", "identifier", json!("523bbe0a73105e86757d83c75785e3dd76699da0")),
        ("platform", "serial", json!("8938-1075-88BB")),
        ("platform", "fips", json!({ "version": "FIPS 140-2", "level": 3, "mode": false })),
        ("attesting_key", "weak_signature", json!("dsa-1024")),
    ] {
        assert_eq!(claim(&verdict, section, name), value, "{section}.{name}");
    }
    assert_eq!(verdict.to_json()["device"]["id"], "entrust-nshield:8938-1075-88BB");
}

#[test]
fn policy_default_refuses_a_warrant_of_the_field() {
    let Some(folder) = folder_of(FORMAT) else { return };
    let trust = anchors(&folder, FORMAT, &[ROOT]);
    let default = Policy::named("default").unwrap();
    if Policy::named("lab").is_none() {
        return;
    }
    let verdict = judge(&[(FILE, read(&folder, FILE))], &trust, &default, AT, None);
    assert_eq!(codes(&verdict), ["policy.weak-signature"]);
}

/// The bundle with one octet of one byte string changed.
fn changed(bundle: &Value, member: &str, place: impl Fn(usize) -> usize) -> Vec<u8> {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE;
    let mut octets = URL_SAFE.decode(bundle[member].as_str().unwrap()).unwrap();
    let place = place(octets.len());
    octets[place] ^= 1;
    let mut bundle = bundle.clone();
    bundle[member] = json!(URL_SAFE.encode(octets));
    bundle.to_string().into_bytes()
}

#[test]
fn every_part_is_tied_to_the_others() {
    let Some(folder) = folder_of(FORMAT) else { return };
    let trust = anchors(&folder, FORMAT, &[ROOT]);
    let bundle: Value = serde_json::from_slice(&read(&folder, FILE)).unwrap();
    for (member, code) in [
        ("pubkeydata", "nshield.key-mismatch"),
        ("kcmsg", "nshield.bad-signature"),
        ("kcsig", "nshield.bad-signature"),
        ("modstatemsg", "nshield.bad-signature"),
        ("modstatesig", "nshield.bad-signature"),
        ("knsopub", "nshield.other-world"),
        ("hkm", "nshield.other-world"),
        ("hkmc", "nshield.bad-signature"),
        ("hkre", "nshield.bad-signature"),
        ("CertKMaKMCbKNSO", "nshield.bad-signature"),
        ("CertKREaKRAbKNSO", "nshield.bad-signature"),
        ("warrant", "nshield.bad-warrant"),
    ] {
        let evidence = changed(&bundle, member, |length| length - 1);
        let verdict = judge(&[("changed", evidence)], &trust, &policy(), AT, None);
        assert_eq!(codes(&verdict), [code], "{member}");
    }
}

#[test]
fn the_root_counts_for_this_format_alone() {
    let Some(folder) = folder_of(FORMAT) else { return };
    let elsewhere = anchors(&folder, "pkix-evidence", &[ROOT]);
    let verdict = judge(&[(FILE, read(&folder, FILE))], &elsewhere, &policy(), AT, None);
    assert_eq!(codes(&verdict), ["trust.no-anchor"]);
}
