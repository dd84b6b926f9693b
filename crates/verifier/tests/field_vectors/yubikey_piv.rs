//! YubiKeys in the field: every sample of the manifest gets its verdict and its claims.

use std::path::Path;

use serde_json::{Value, json};
use vouchsafe_evidence::pem;
use vouchsafe_evidence::x509::SpkiView;
use vouchsafe_verifier::{Policy, TrustStore, Verdict, hex};

use crate::support::{claim, codes, folder_of, judge, policy, read};

const AT: &str = "2026-11-01T00:00:00Z";
const FORMAT: &str = "yubikey-piv";
const ROOTS: [&str; 3] =
    ["root-yubico-piv-ca-263751.pem", "root-yubico-attestation-root-1.pem", "root-yubico-u2f-457200631.pem"];
const INTERMEDIATES: &str = "intermediates-yubico-2024.pem";

fn trust(folder: &Path, roots: &[&str], intermediates: Option<&str>) -> TrustStore {
    let anchors = roots.iter().map(|file| (format!("{FORMAT}/{file}"), read(folder, file)));
    let helpers = intermediates.iter().map(|file| (format!("{FORMAT}/intermediates/{file}"), read(folder, file)));
    TrustStore::from_files(anchors.chain(helpers)).unwrap()
}

fn usual(folder: &Path) -> TrustStore {
    trust(folder, &ROOTS, Some(INTERMEDIATES))
}

fn manifest(folder: &Path) -> Vec<Value> {
    let manifest: Value = serde_json::from_slice(&read(folder, "manifest.json")).unwrap();
    manifest.as_array().unwrap().clone()
}

fn text<'a>(entry: &'a Value, name: &str) -> Option<&'a str> {
    entry[name].as_str()
}

fn judged(folder: &Path, files: &[&str], trust: &TrustStore, policy: &Policy) -> Verdict {
    let files: Vec<(&str, Vec<u8>)> = files.iter().map(|file| (*file, read(folder, file))).collect();
    judge(&files, trust, policy, AT, None)
}

#[test]
fn every_slot_certificate_gets_its_verdict_and_claims() {
    let Some(folder) = folder_of(FORMAT) else { return };
    let trust = usual(&folder);
    let entries = manifest(&folder);
    let slots = entries.iter().filter(|entry| text(entry, "id").is_none() && entry["claims"].is_object());
    let mut accepted = 0;
    for entry in slots {
        let file = text(entry, "file").unwrap();
        let files: Vec<&str> = std::iter::once(file).chain(text(entry, "issuer_file")).collect();
        let verdict = judged(&folder, &files, &trust, &policy());
        if text(entry, "expected") == Some("reject") {
            assert_eq!(codes(&verdict), ["yubikey-piv.signer-missing"], "{file}");
            continue;
        }
        assert!(verdict.is_accepted(), "{file}: {:?}", verdict.reasons());
        check_claims(file, entry, &verdict);
        let reversed: Vec<&str> = files.iter().rev().copied().collect();
        assert!(judged(&folder, &reversed, &trust, &policy()).is_accepted(), "{file}, the other way round");
        accepted += 1;
    }
    println!("{accepted} slot certificates accepted");
}

fn check_claims(file: &str, entry: &Value, verdict: &Verdict) {
    let claims = &entry["claims"];
    assert_eq!(claim(verdict, "platform", "fw_version"), claims["firmware"], "{file}");
    let serial = claims["serial"].as_u64().map(|serial| serial.to_string());
    assert_eq!(claim(verdict, "platform", "serial").as_str(), serial.as_deref(), "{file}");
    let device = serial.map(|serial| format!("{FORMAT}:{serial}"));
    assert_eq!(verdict.to_json()["device"]["id"].as_str(), device.as_deref(), "{file}");
    let (pin, touch) = (claims["pin_policy"].as_str().unwrap(), claims["touch_policy"].as_str().unwrap());
    assert_eq!(claim(verdict, "key", "auth_policy"), json!(format!("pin={pin} touch={touch}")), "{file}");
    assert_eq!(claim(verdict, "key", "user_auth"), json!(pin != "never" || touch != "never"), "{file}");
    let certified = entry["f9_claims"]["fips_certified_ext"].is_string();
    let fips = certified && claims["fips_bit"].as_bool().unwrap_or(true);
    assert_eq!(claim(verdict, "platform", "fips").is_object(), fips, "{file}");
    let form_factor = claims["form"].as_str().map(|form| form.to_lowercase().replace(' ', "-"));
    assert_eq!(claim(verdict, "platform", "form_factor").as_str(), form_factor.as_deref(), "{file}");
    assert_eq!(claim(verdict, "key", "origin"), json!("generated"), "{file}");
    let sources = verdict.to_json();
    assert_eq!(sources["key"]["claims"]["extractable"]["source"], json!("implied"), "{file}");
    assert_eq!(sources["key"]["claims"]["extractable"]["by"], json!("Yubico"), "{file}");
    assert_eq!(sources["freshness"], json!("none"), "{file}");
}

#[test]
fn requests_carry_both_certificates_in_either_spelling() {
    let Some(folder) = folder_of(FORMAT) else { return };
    let trust = usual(&folder);
    for entry in manifest(&folder) {
        let Some(file) = text(&entry, "file").filter(|file| file.ends_with(".csr.pem")) else { continue };
        let verdict = judged(&folder, &[file], &trust, &policy());
        assert!(verdict.is_accepted(), "{file}: {:?}", verdict.reasons());
        assert_eq!(verdict.to_json()["key"]["verdict"], json!("accepted"), "{file}");
    }
}

#[test]
fn certificates_that_a_yubikey_does_not_hold_come_from_the_trust_store() {
    let Some(folder) = folder_of(FORMAT) else { return };
    let files = ["yk5c-5.7.4-slot82-newroot-slot.pem", "yk5c-5.7.4-slot82-newroot-f9.pem"];
    let without = trust(&folder, &ROOTS, None);
    assert_eq!(codes(&judged(&folder, &files, &without, &policy())), ["chain.no-path"]);
    let beside = [files[0], files[1], INTERMEDIATES];
    let verdict = judged(&folder, &beside, &without, &policy());
    assert!(verdict.is_accepted(), "{:?}", verdict.reasons());
}

#[test]
fn another_serial_number_is_another_device() {
    let Some(folder) = folder_of(FORMAT) else { return };
    let verdict =
        judged(&folder, &["dockertuf-26551025-slot.pem", "dockertuf-26551025-f9.pem"], &usual(&folder), &policy());
    assert_eq!(verdict.to_json()["device"]["id"], json!("yubikey-piv:26551025"));
}

#[test]
fn either_certificate_of_the_old_root_will_do() {
    let Some(folder) = folder_of(FORMAT) else { return };
    let files = ["sigstore-13078782-slot.pem", "sigstore-13078782-f9.pem"];
    for root in ["root-yubico-piv-ca-263751.pem", "root-yubico-piv-ca-263751-old.pem"] {
        let verdict = judged(&folder, &files, &trust(&folder, &[root], None), &policy());
        assert!(verdict.is_accepted(), "{root}: {:?}", verdict.reasons());
    }
}

#[test]
fn preview_authorities_help_nobody() {
    let Some(folder) = folder_of(FORMAT) else { return };
    let files = ["sigstore-13078782-slot.pem", "sigstore-13078782-f9.pem"];
    let trust = trust(&folder, &["root-yubico-attestation-root-1.pem"], Some("preview-piv-ca-certs.pem"));
    assert_eq!(codes(&judged(&folder, &files, &trust, &policy())), ["chain.no-path"]);
}

#[test]
fn a_chain_in_one_file_and_der_are_read_alike() {
    let Some(folder) = folder_of(FORMAT) else { return };
    let (slot, signer) = (read(&folder, "sigstore-18158855-slot.pem"), read(&folder, "sigstore-18158855-f9.pem"));
    let trust = usual(&folder);
    let one = [("chain", [signer.clone(), b"\n".to_vec(), slot.clone()].concat())];
    assert!(judge(&one, &trust, &policy(), AT, None).is_accepted());
    let der = |file: &[u8]| pem::read(file).unwrap()[0].contents().to_vec();
    let two = [("a", der(&slot)), ("b", der(&signer))];
    assert!(judge(&two, &trust, &policy(), AT, None).is_accepted());
}

#[test]
fn each_bit_of_the_signatures_counts() {
    let Some(folder) = folder_of(FORMAT) else { return };
    let der = |file: &str| pem::read(&read(&folder, file)).unwrap()[0].contents().to_vec();
    let (slot, signer) = (der("sigstore-18158855-slot.pem"), der("sigstore-18158855-f9.pem"));
    let trust = usual(&folder);
    for (file, code) in [(0, "yubikey-piv.bad-signature"), (1, "chain.bad-signature")] {
        let mut files = [("slot", slot.clone()), ("f9", signer.clone())];
        let last = files[file].1.len() - 1;
        files[file].1[last] ^= 1;
        assert_eq!(codes(&judge(&files, &trust, &policy(), AT, None)), [code]);
    }
}

#[test]
fn the_pinned_keys_are_those_of_the_old_roots() {
    let Some(folder) = folder_of(FORMAT) else { return };
    for (file, pinned) in [
        (ROOTS[0], "4b185b7783d792f902cd960cd1c9417977d88d3077b16bc9ebdcef7313f2e29e"),
        (ROOTS[2], "29412da192720e5f4f22a408559c057e4ff25347eafb20cfb15a047a07601935"),
    ] {
        let key = SpkiView::from_key_file(&read(&folder, file)).unwrap();
        assert_eq!(hex::encode(&key.sha256()), pinned, "{file}");
    }
}
