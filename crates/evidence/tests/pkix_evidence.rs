//! PKIX Evidence: what the builder writes is read back, and what is read back is all that was written.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use proptest::prelude::*;
use vouchsafe_evidence::emit::{Evidence, Purpose, TbsEvidence};
use vouchsafe_evidence::formats::pkix_evidence::{EvidenceDefect, EvidenceView, ROW};
use vouchsafe_evidence::oid;
use vouchsafe_evidence::x509::{NamedCurve, SpkiView, build};

fn spki(octet: u8) -> SpkiView {
    SpkiView::from_ec(NamedCurve::P256, &[octet; 32], &[1; 32]).unwrap()
}

fn signed(tbs: Vec<u8>) -> Vec<u8> {
    let algorithm = build::algorithm_identifier(oid::ECDSA_WITH_SHA256);
    Evidence::new(tbs).signed_by_key(spki(9).as_der(), &algorithm, &[1, 2, 3]).to_der()
}

proptest! {
    #[test]
    fn what_is_said_is_read_back(
        nonce in proptest::collection::vec(any::<u8>(), 0..70),
        vendor in "\\PC{0,20}",
        numbers in any::<(u64, u64)>(),
        flags in any::<(bool, bool, bool, bool)>(),
        times in (-62_167_219_200_i64..253_402_300_799, 0_i64..4_000_000_000),
    ) {
        let tbs = TbsEvidence::new()
            .transaction(|claims| claims.nonce(&nonce).timestamp(times.0).attestation_key(spki(9).as_der()))
            .platform(|claims| claims.vendor(&vendor).uptime_seconds(numbers.0).boot_count(numbers.1))
            .key("a", |claims| claims.extractable(flags.0).sensitive(flags.1).purposes(&[Purpose::Wrap]))
            .key("b", |claims| claims.never_extractable(flags.2).local(flags.3).expiry(times.1).spki(spki(1).as_der()))
            .to_der();
        let der = signed(tbs.clone());
        let view = EvidenceView::parse(&der).unwrap();
        prop_assert_eq!(view.tbs(), tbs.as_slice());
        let elements = view.elements();
        let transaction = elements.transaction.as_ref().unwrap();
        prop_assert_eq!(transaction.nonce, Some(nonce.as_slice()));
        prop_assert_eq!(transaction.timestamp.unwrap().to_rfc3339().len(), 20);
        prop_assert_eq!(&transaction.attestation_keys, &[spki(9)]);
        let platform = elements.platform.as_ref().unwrap();
        prop_assert_eq!(platform.vendor, Some(vendor.as_str()));
        prop_assert_eq!((platform.uptime_seconds, platform.boot_count), (Some(numbers.0), Some(numbers.1)));
        prop_assert_eq!(platform.hw_serial, None);
        let [a, b] = elements.keys.as_slice() else { panic!("two keys") };
        prop_assert_eq!((a.identifier, a.extractable, a.sensitive, a.local), ("a", Some(flags.0), Some(flags.1), None));
        prop_assert_eq!(a.purposes.unwrap().words().collect::<Vec<_>>(), ["wrap"]);
        prop_assert_eq!((b.never_extractable, b.local), (Some(flags.2), Some(flags.3)));
        prop_assert_eq!(b.spki.as_deref(), Some(&spki(1)));
        prop_assert!(elements.ignored.is_empty());
        prop_assert_eq!((ROW.outline)(&der).unwrap().len(), 5);
    }

    #[test]
    fn no_octets_make_the_reader_fail_otherwise_than_by_a_defect(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = EvidenceView::parse(&octets);
    }
}

#[test]
fn cut_evidence_is_refused_wherever_it_is_cut() {
    let tbs = TbsEvidence::new().key("key", |claims| claims.spki(spki(1).as_der()).extractable(false));
    let der = signed(tbs.to_der());
    assert!(EvidenceView::parse(&der).is_ok());
    for length in 0..der.len() {
        assert!(EvidenceView::parse(&der[..length]).is_err(), "{length} octets");
    }
}

#[test]
fn defects_are_told_apart() {
    let defect = |tbs: TbsEvidence| EvidenceView::parse(&signed(tbs.to_der())).map(|_| ()).unwrap_err();
    let claim = |number: u32| oid::Oid::from_dotted(&format!("{}.1.2.{number}", oid::EVIDENCE_ARC)).unwrap();
    let twice = TbsEvidence::new().key("a", |claims| claims.local(true).local(true));
    assert_eq!(defect(twice), EvidenceDefect::DuplicateClaim(claim(5)));
    let same = TbsEvidence::new().key("a", |claims| claims).key("b", |claims| claims.identifier("a"));
    assert_eq!(defect(same), EvidenceDefect::DuplicateIdentifier);
    let garbage = TbsEvidence::new().key("a", |claims| claims.spki(b"key"));
    assert!(matches!(defect(garbage), EvidenceDefect::Key { .. }));
    let typed = TbsEvidence::new().key("a", |claims| claims.other(|of| of.text(claim(2), "no")));
    assert_eq!(defect(typed), EvidenceDefect::ClaimType(claim(2)));
    let empty = TbsEvidence::new().element(oid::CMW, |claims| claims);
    assert_eq!(defect(empty), EvidenceDefect::EmptyElement(oid::CMW));
}
