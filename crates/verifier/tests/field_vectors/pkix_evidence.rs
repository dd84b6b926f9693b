//! PKIX Evidence of the draft's reference code, and of a study of what Verifiers must refuse: every file of
//! `ietf/pkix-evidence`, `ietf/legacy-go` and `ietf/repo-samples/key-attestation*`, at its time.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use vouchsafe_evidence::formats::ListedFormat;
use vouchsafe_verifier::{Outcome, TrustStore, Verdict};

use super::support;

const AT: &str = "2026-11-15T00:00:00Z";

/// What becomes of a file.
enum Wanted {
    Accepted,
    Rejected(&'static str),
}
use Wanted::{Accepted, Rejected};

/// Every file with its verdict under the trust store `trust`.
const FILES: [(&str, Wanted); 42] = [
    ("valid/v01-key-p256-cert-int.der", Accepted),
    ("valid/v03-p384.der", Accepted),
    ("valid/v05-rsa2048-pkcs1-sha256.der", Accepted),
    ("valid/v07-rsa2048-pss-sha256.der", Accepted),
    ("valid/v09-ed25519.der", Accepted),
    ("valid/v11-multisig-p256-rsa.der", Accepted),
    ("valid/v13-all-claims.der", Accepted),
    ("valid/v15-unknown-element-and-claim.der", Accepted),
    // Without a certificate, and nothing in the store: see below.
    ("valid/v17-sid-spki-only.der", Rejected("pkix.signer-untrusted")),
    ("valid/v19-two-intermediates-unordered.der", Accepted),
    ("valid/v21-eku-critical-only-attestation.der", Accepted),
    ("valid/v23-no-nonce-no-transaction.der", Accepted),
    ("valid/v25-extractable-key.der", Accepted),
    ("valid/v27-request-tbs-only.der", Rejected("pkix.request")),
    ("policy/p01-zero-signatures.der", Rejected("pkix.unsigned")),
    // Of a key that is named and has not signed, policy says what to make; this one says nothing.
    ("policy/p03-ak-spki-names-absent-signer.der", Accepted),
    ("policy/p05-rsa-sha1.der", Rejected("pkix.weak-algorithm")),
    // The nonce in the platform element is no nonce: see below.
    ("policy/p07-claim-in-wrong-element.der", Accepted),
    ("policy/p09-intermediates-explicit-tag.der", Accepted),
    ("invalid/i01-bad-signature.der", Rejected("pkix.bad-signature")),
    ("invalid/i03-duplicate-claim-hwserial.der", Rejected("pkix.duplicate-claim")),
    ("invalid/i05-two-platform-elements.der", Rejected("pkix.duplicate-element")),
    ("invalid/i07-same-key-identifier-twice.der", Rejected("pkix.duplicate-key")),
    ("invalid/i09-extractable-as-integer.der", Rejected("pkix.claim-type")),
    ("invalid/i11-vendor-as-printablestring.der", Rejected("pkix.claim-type")),
    ("invalid/i13-version-0.der", Rejected("pkix.version")),
    ("invalid/i15-trailing-bytes.der", Rejected("pkix.trailing-data")),
    ("invalid/i17-fipslevel-0.der", Rejected("pkix.claim-range")),
    ("invalid/i19-claim-value-absent.der", Rejected("pkix.claim-value-missing")),
    ("invalid/i21-empty-claims.der", Rejected("pkix.empty-element")),
    ("invalid/i23-ber-indefinite-length.der", Rejected("pkix.not-der")),
    ("invalid/i25-boolean-01.der", Rejected("pkix.not-der")),
    ("invalid/i27-time-with-offset.der", Rejected("pkix.not-der")),
    ("invalid/i29-utf8-invalid.der", Rejected("pkix.claim-type")),
    ("invalid/i31-spki-garbage.der", Rejected("pkix.malformed-key")),
    ("invalid/i33-alg-key-mismatch.der", Rejected("pkix.algorithm-mismatch")),
    ("invalid/i35-ak-no-eku.der", Rejected("ak.wrong-family")),
    ("invalid/i37-ak-anyeku.der", Rejected("ak.wrong-family")),
    ("invalid/i39-ak-ku-keyagreement.der", Rejected("chain.key-usage")),
    ("invalid/i41-missing-intermediate.der", Rejected("chain.no-path")),
    ("invalid/i43-int-not-ca.der", Rejected("chain.not-a-ca")),
    ("invalid/i45-pem-wrong-label.pem", Rejected("input.unrecognized")),
];

fn folder() -> Option<PathBuf> {
    super::folder().map(|root| root.join("ietf"))
}

fn read(folder: &Path, file: &str) -> Vec<u8> {
    support::read(&folder.join("pkix-evidence"), file)
}

/// A trust store of the format with these files of `certs`, each at its place.
fn trust(folder: &Path, files: &[(&str, &str)]) -> TrustStore {
    let files = files.iter().map(|(place, file)| (format!("pkix-evidence/{place}"), read(folder, file)));
    TrustStore::from_files(files).unwrap()
}

fn root(folder: &Path) -> TrustStore {
    trust(folder, &[("root.pem", "certs/root.crt")])
}

fn judge(files: &[(&str, Vec<u8>)], trust: &TrustStore) -> Verdict {
    support::judge(files, trust, &support::policy(), AT, None)
}

#[test]
fn every_file_gets_its_verdict() {
    let Some(folder) = folder() else { return };
    let trust = root(&folder);
    for (file, wanted) in FILES {
        let verdict = judge(&[(file, read(&folder, file))], &trust);
        match wanted {
            Accepted => assert!(verdict.is_accepted(), "{file}: {:?}", verdict.reasons()),
            Rejected(code) => assert_eq!(support::codes(&verdict), [code], "{file}: {:?}", verdict.reasons()),
        }
        if !file.starts_with("invalid/i45") {
            assert_eq!(verdict.format(), "pkix-evidence", "{file}");
        }
    }
    let manifest: Value = serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap();
    let listed = manifest["vectors"].as_array().unwrap().iter().map(|row| row["file"].as_str().unwrap());
    let listed: BTreeSet<&str> = listed.filter_map(|file| file.strip_prefix("pkix-evidence/")).collect();
    let present = listed.into_iter().filter(|file| folder.join("pkix-evidence").join(file).exists());
    let judged: BTreeSet<&str> = FILES.iter().map(|(file, _)| *file).collect();
    assert_eq!(present.filter(|file| !judged.contains(file)).collect::<Vec<_>>(), Vec::<&str>::new());
}

#[test]
fn all_encodings_are_the_same_evidence() {
    let Some(folder) = folder() else { return };
    let trust = root(&folder);
    let der = read(&folder, "valid/v01-key-p256-cert-int.der");
    let wanted = judge(&[("v01.der", der.clone())], &trust).to_json();
    let pem = vouchsafe_evidence::pem::encode("EVIDENCE", &der);
    let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    for file in [pem.clone(), format!("Evidence of a module\n{pem}"), base64.clone(), format!("{base64}\r\n")] {
        assert_eq!(judge(&[("file", file.into_bytes())], &trust).to_json(), wanted);
    }
    let label = vouchsafe_evidence::pem::encode("PKIX EVIDENCE", &der);
    assert_eq!(support::codes(&judge(&[("file", label.into_bytes())], &trust)), ["input.unrecognized"]);
    let twice = [("one", der.clone()), ("two", der.clone())];
    assert_eq!(support::codes(&judge(&twice, &trust)), ["input.ambiguous"]);
    let with_stranger = [("one", der), ("two", b"something else".to_vec())];
    assert_eq!(support::codes(&judge(&with_stranger, &trust)), ["input.unrecognized"]);
}

#[test]
fn every_claim_is_reported() {
    let Some(folder) = folder() else { return };
    let verdict = judge(&[("v13", read(&folder, "valid/v13-all-claims.der"))], &root(&folder));
    let claim = |section, name| support::claim(&verdict, section, name);
    for (name, value) in [
        ("vendor", json!("Acme Corp")),
        ("oem_id", json!("894823")),
        ("model", json!("HSM-9000")),
        ("hw_version", json!("2.1.0")),
        ("serial", json!("SN-0001")),
        ("fw_name", json!("acme-fw")),
        ("fw_version", json!("7.2.1")),
        ("debug", json!("disabled-fully-and-permanently")),
        ("uptime", json!(86400)),
        ("boot_count", json!(17)),
        (
            "fips",
            json!({"mode": true, "version": "FIPS 140-3", "level": 3, "module": "Acme HSM-9000 Cryptographic Module"}),
        ),
    ] {
        assert_eq!(claim("platform", name), value, "{name}");
    }
    for (name, value) in [
        ("identifier", json!("9a25f603-a2c4-4dad-9ee0-a1b4e771f2c3")),
        ("extractable", json!(false)),
        ("never_extractable", json!(true)),
        ("sensitive", json!(true)),
        ("local", json!(true)),
        ("origin", json!("generated")),
        ("device_bound", json!(true)),
    ] {
        assert_eq!(claim("key", name), value, "{name}");
    }
    let purposes = claim("key", "purposes");
    assert_eq!(purposes.as_array().unwrap().len(), 9, "{purposes}");
    assert!(claim("key", "expiry").is_string());
    assert_eq!(claim("attesting_key", "timestamp"), "2026-11-01T12:00:00Z");
    assert_eq!(verdict.platform().outcome, Outcome::Accepted);
}

#[test]
fn what_does_not_belong_is_skipped_and_reported() {
    let Some(folder) = folder() else { return };
    let trust = root(&folder);
    let unknown = judge(&[("v15", read(&folder, "valid/v15-unknown-element-and-claim.der"))], &trust);
    assert_eq!(support::claim(&unknown, "attesting_key", "ignored").as_array().unwrap().len(), 2);
    let misplaced = judge(&[("p07", read(&folder, "policy/p07-claim-in-wrong-element.der"))], &trust);
    assert_eq!(support::claim(&misplaced, "attesting_key", "ignored"), json!(["1.3.6.1.5.5.999.1.0.0"]));
}

#[test]
fn an_extractable_key_is_said_to_be_one() {
    let Some(folder) = folder() else { return };
    let file = ("v25", read(&folder, "valid/v25-extractable-key.der"));
    let verdict = judge(std::slice::from_ref(&file), &root(&folder));
    assert_eq!(support::claim(&verdict, "key", "extractable"), json!(true));
    assert_eq!(support::claim(&verdict, "key", "origin"), json!("imported"));
    let default = vouchsafe_verifier::Policy::named("default").unwrap();
    let refused = support::judge(&[file], &root(&folder), &default, AT, None);
    assert!(support::codes(&refused).contains(&"key.extractable"), "{:?}", refused.reasons());
}

#[test]
fn a_signer_without_certificate_is_trusted_by_the_store_alone() {
    let Some(folder) = folder() else { return };
    let file = || vec![("v17", read(&folder, "valid/v17-sid-spki-only.der"))];
    let certificate = vouchsafe_evidence::x509::CertView::parse(
        vouchsafe_evidence::pem::read(&read(&folder, "certs/p256.crt")).unwrap()[0].contents(),
    )
    .unwrap();
    let key = vouchsafe_evidence::pem::encode("PUBLIC KEY", certificate.spki().as_der()).into_bytes();
    let store = |place: &str| TrustStore::from_files([(format!("pkix-evidence/{place}"), key.clone())]).unwrap();
    for place in ["keys/ak.pem", "ak.pem"] {
        let verdict = judge(&file(), &store(place));
        assert!(verdict.is_accepted(), "{place}: {:?}", verdict.reasons());
    }
    assert!(judge(&file(), &trust(&folder, &[("keys/ak.crt", "certs/p256.crt")])).is_accepted());
    // A certificate beside it does, with its path.
    let beside =
        [file(), vec![("ak", read(&folder, "certs/p256.crt")), ("int", read(&folder, "certs/int.crt"))]].concat();
    assert!(judge(&beside, &root(&folder)).is_accepted());
    // Certificates of an attestation key that are no certificate of an attestation key are none there either.
    let other = trust(&folder, &[("keys/ak.crt", "certs/p256b.crt")]);
    assert_eq!(support::codes(&judge(&file(), &other)), ["pkix.signer-untrusted"]);
    assert_eq!(support::codes(&judge(&file(), &root(&folder))), ["pkix.signer-untrusted"]);
}

#[test]
fn a_root_of_another_hierarchy_proves_nothing() {
    let Some(folder) = folder() else { return };
    let file = || vec![("v01", read(&folder, "valid/v01-key-p256-cert-int.der"))];
    let stranger = trust(&folder, &[("root.pem", "certs/other-root.crt")]);
    assert_eq!(support::codes(&judge(&file(), &stranger)), ["chain.no-path"]);
    let anchor = read(&folder, "certs/root.crt");
    let others = ListedFormat::all().map(|format| format.row().id).filter(|id| *id != "pkix-evidence");
    let others = others.chain(["tpm-certify", "cmw"]).map(|id| (format!("{id}/root.pem"), anchor.clone()));
    let elsewhere = TrustStore::from_files(others).unwrap();
    assert_eq!(support::codes(&judge(&file(), &elsewhere)), ["trust.no-anchor"]);
}

#[test]
fn every_octet_of_a_signature_and_of_what_is_signed_counts() {
    let Some(folder) = folder() else { return };
    let trust = root(&folder);
    for file in ["valid/v01-key-p256-cert-int.der", "valid/v07-rsa2048-pss-sha256.der"] {
        let original = read(&folder, file);
        for place in 0..original.len() {
            let mut changed = original.clone();
            changed[place] ^= 1 << (place % 8);
            assert!(!judge(&[("changed", changed)], &trust).is_accepted(), "{file}: octet {place}");
        }
    }
}

#[test]
fn older_generations_are_refused_by_name() {
    let Some(folder) = folder() else { return };
    let trust = root(&folder);
    let (mut refused, mut current) = (0, 0);
    for place in ["legacy-go", "repo-samples/key-attestation-history", "repo-samples/entrust-2023"] {
        for entry in std::fs::read_dir(folder.join(place)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if !(name.starts_with("go-") || name.contains("evidence") || name.contains("__attestation.der")) {
                continue;
            }
            let verdict = judge(&[(&name, std::fs::read(&path).unwrap())], &trust);
            assert_eq!(support::codes(&verdict), ["pkix.older-draft"], "{name}: {:?}", verdict.reasons());
            refused += 1;
        }
    }
    // A request of 2023 carries its attestation in an extension that it asks for.
    let request = "repo-samples/entrust-2023/appkeys__8ee89f19-83c6-4317-bf0c-6d8a5a257002__req.pem";
    if folder.join(request).exists() {
        let verdict = judge(&[("req.pem", support::read(&folder, request))], &trust);
        assert!(support::codes(&verdict).contains(&"pkix.older-draft"), "{:?}", verdict.reasons());
        current += 1;
    }
    assert!(refused + current > 0);
}

#[test]
fn the_samples_of_the_draft_are_judged() {
    let Some(folder) = folder() else { return };
    let samples = folder.join("repo-samples/key-attestation");
    let file = |name: &str| support::read(&samples, name);
    let anchors = TrustStore::from_files([("pkix-evidence/ca.pem".to_owned(), file("ca.crt"))]).unwrap();
    let with = |files: &[&str]| {
        let files: Vec<(&str, Vec<u8>)> = files.iter().map(|name| (*name, file(name))).collect();
        judge(&files, &anchors)
    };
    // About a platform alone: true, and about no key. Its signer is named by an identifier, its certificate beside it.
    let platform = with(&["evidence1.pem", "ak.crt", "int.crt"]);
    assert_eq!(support::codes(&platform), ["bind.no-key-statement"]);
    assert_eq!(support::codes(&with(&["evidence1.pem"])), ["pkix.signer-unresolved"]);
    let keys = with(&["evidence2.pem"]);
    assert!(keys.is_accepted(), "{:?}", keys.reasons());
    assert_eq!(support::codes(&with(&["evidence3.pem"])), ["pkix.duplicate-element"]);
}
