//! Attestations of Google Cloud HSM, as Google hands them out.

use serde_json::json;
use vouchsafe_evidence::formats::gcp_cloudhsm::{Attestation, attribute};
use vouchsafe_evidence::pem;
use vouchsafe_evidence::x509::SpkiView;

use super::support::{anchors, claim, codes, folder_of, judge, policy, read};

const FORMAT: &str = "gcp-cloudhsm";
const REISSUED: &str = "root-Cavium-2024.pem";
const OWNER: &str = "root-Hawksbill.pem";
/// Between the end of the manufacturer's first root and that of its certificates.
const AFTER: &str = "2026-06-01T00:00:00Z";
const BEFORE: &str = "2025-06-01T00:00:00Z";

#[test]
fn an_rsa_key_is_accepted_with_what_its_private_object_says() {
    let Some(folder) = folder_of(FORMAT) else { return };
    let trust = anchors(&folder, FORMAT, &[REISSUED, OWNER]);
    let files = [("a", read(&folder, "rsa.dat")), ("b", read(&folder, "rsa.certs"))];
    let verdict = judge(&files, &trust, &policy(), AFTER, Some(&read(&folder, "rsa-attested-pub.pem")));
    assert!(verdict.is_accepted(), "{:?}", verdict.reasons());
    let key = |name| claim(&verdict, "key", name);
    assert_eq!(key("origin"), "generated");
    assert_eq!(key("extractable"), false);
    assert_eq!(key("never_extractable"), true);
    assert_eq!(key("sensitive"), true);
    assert_eq!(key("local"), true);
    assert_eq!(key("purposes"), json!(["sign", "decrypt", "unwrap"]));
    assert_eq!(key("label"), "app_key");
    let platform = |name| claim(&verdict, "platform", name);
    assert_eq!(platform("serial"), "5.3G2041-ICM002696");
    assert_eq!(platform("fips"), json!({"mode": true}));
    let report = verdict.to_json();
    assert_eq!(report["platform"]["claims"]["fips"]["source"], "implied");
    assert_eq!(report["platform"]["claims"]["fips"]["by"], "Marvell");
}

#[test]
fn a_symmetric_key_is_identified_by_its_check_value() {
    let Some(folder) = folder_of(FORMAT) else { return };
    let trust = anchors(&folder, FORMAT, &[REISSUED, OWNER]);
    let files = [("b", read(&folder, "aes.certs")), ("a", read(&folder, "aes.dat"))];
    let verdict = judge(&files, &trust, &policy(), AFTER, None);
    assert!(verdict.is_accepted(), "{:?}", verdict.reasons());
    assert_eq!(claim(&verdict, "key", "spki"), json!(null));
    let identifier = claim(&verdict, "key", "identifier");
    assert_eq!(identifier[1], "kcv:892573");
    assert_eq!(claim(&verdict, "platform", "serial"), "5.2G1841-ICM000310");
}

#[test]
fn the_manufacturers_root_counts_in_both_of_its_certificates() {
    let Some(folder) = folder_of(FORMAT) else { return };
    let certificates = read(&folder, "rsa.certs");
    let blocks = pem::read(&certificates).unwrap();
    let old = pem::encode("CERTIFICATE", blocks[0].contents());
    let owner = read(&folder, OWNER);
    let store = |root: &[u8]| {
        let files = [("one.pem", root.to_vec()), ("two.pem", owner.clone())];
        vouchsafe_verifier::TrustStore::from_files(files.map(|(name, file)| (format!("{FORMAT}/{name}"), file)))
            .unwrap()
    };
    let files = [("rsa.dat", read(&folder, "rsa.dat")), ("rsa.certs", certificates.clone())];
    let verdict = |root: &[u8], at| judge(&files, &store(root), &policy(), at, None);
    // One key: the dates of one of its certificates say nothing of it.
    let reissued = read(&folder, REISSUED);
    for (root, at) in [
        (old.as_bytes(), BEFORE),
        (old.as_bytes(), AFTER),
        (&reissued, "2024-06-01T00:00:00Z"),
        (&reissued, BEFORE),
        (&reissued, AFTER),
    ] {
        let verdict = verdict(root, at);
        assert!(verdict.is_accepted(), "{at} {:?}", verdict.reasons());
    }
}

#[test]
fn both_roots_are_needed_and_each_in_its_own_format() {
    let Some(folder) = folder_of(FORMAT) else { return };
    let files = [("rsa.dat", read(&folder, "rsa.dat")), ("rsa.certs", read(&folder, "rsa.certs"))];
    for (format, roots, code) in [
        (FORMAT, vec![REISSUED], "chain.no-path"),
        (FORMAT, vec![OWNER], "chain.no-path"),
        (FORMAT, vec!["root-Marvell-LS2.pem", OWNER], "chain.no-path"),
        ("thales-luna", vec![REISSUED, OWNER], "trust.no-anchor"),
    ] {
        let verdict = judge(&files, &anchors(&folder, format, &roots), &policy(), AFTER, None);
        assert_eq!(codes(&verdict), [code], "{format} {roots:?}");
    }
}

#[test]
fn certificates_may_come_in_any_order_and_file_and_the_attestation_expanded() {
    let Some(folder) = folder_of(FORMAT) else { return };
    let trust = anchors(&folder, FORMAT, &[REISSUED, OWNER]);
    let certificates = read(&folder, "rsa.certs");
    let mut blocks = pem::read(&certificates).unwrap();
    blocks.reverse();
    let mut files: Vec<(&str, Vec<u8>)> = blocks.iter().map(|block| ("c.der", block.contents().to_vec())).collect();
    files.push(("x", read(&folder, "rsa.dat")));
    let verdict = judge(&files, &trust, &policy(), AFTER, None);
    assert!(verdict.is_accepted(), "{:?}", verdict.reasons());
    // The certificates of another module.
    let files = [("rsa.dat", read(&folder, "rsa.dat")), ("aes.certs", read(&folder, "aes.certs"))];
    assert_eq!(codes(&judge(&files, &trust, &policy(), AFTER, None)), ["cloudhsm.bad-signature"]);
    // Certificates alone, as AWS CloudHSM gives them out.
    let files = [("rsa.certs", certificates)];
    assert_eq!(codes(&judge(&files, &trust, &policy(), AFTER, None)), ["cloudhsm.no-key-attestation"]);
}

/// The roles of these roots are pinned in the format's module by exactly these fingerprints.
#[test]
fn roots_have_the_keys_whose_roles_are_known() {
    let Some(folder) = folder_of(FORMAT) else { return };
    for (file, start) in [(REISSUED, "78adcba1"), (OWNER, "11fa0c80"), ("root-Marvell-LS2.pem", "f84b0610")] {
        let fingerprint = SpkiView::from_key_file(&read(&folder, file)).unwrap().sha256();
        assert!(vouchsafe_verifier::hex::encode(&fingerprint).starts_with(start), "{file}");
    }
}

#[test]
fn the_public_object_says_the_opposite() {
    let Some(folder) = folder_of(FORMAT) else { return };
    let attestation = Attestation::parse(&read(&folder, "rsa.dat")).unwrap();
    let objects: Vec<_> = attestation.objects().collect();
    assert_eq!(objects[0].flag(attribute::EXTRACTABLE).unwrap(), Some(true));
    assert_eq!(objects[1].flag(attribute::EXTRACTABLE).unwrap(), Some(false));
    let expected = SpkiView::from_key_file(&read(&folder, "rsa-attested-pub.pem")).unwrap();
    assert!(objects[1].spki().unwrap().unwrap().same_key(&expected));
}

#[test]
fn no_bit_of_the_attestation_may_change() {
    let Some(folder) = folder_of(FORMAT) else { return };
    let trust = anchors(&folder, FORMAT, &[REISSUED, OWNER]);
    let certificates = read(&folder, "rsa.certs");
    let compressed = read(&folder, "rsa.dat");
    let original = Attestation::parse(&compressed).unwrap();
    let expanded = [original.signed(), original.signature()].concat();
    for (octets, is_expanded) in [(&expanded, true), (&compressed, false)] {
        for place in 0..octets.len() {
            let mut changed = octets.clone();
            changed[place] ^= 1 << (place % 8);
            // What is compressed has several forms; what counts is what comes out.
            if !is_expanded && Attestation::parse(&changed).is_ok_and(|attestation| attestation == original) {
                continue;
            }
            let files = [("rsa.dat", changed), ("rsa.certs", certificates.clone())];
            assert!(!judge(&files, &trust, &policy(), AFTER, None).is_accepted(), "octet {place}");
        }
    }
    let files = [("rsa.dat", expanded), ("rsa.certs", certificates)];
    assert!(judge(&files, &trust, &policy(), AFTER, None).is_accepted());
}
