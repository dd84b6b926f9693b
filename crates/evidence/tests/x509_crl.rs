//! Revocation lists: what is read of them, and what is refused.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    missing_docs
)]

use vouchsafe_evidence::oid::{self, Oid};
use vouchsafe_evidence::x509::CrlView;
use vouchsafe_evidence::x509::build::{self, CrlTemplate, DerWriter, RevokedEntry};
use vouchsafe_evidence::x509::der::Tag;
use vouchsafe_evidence::{Malformed, Reason, limits};

const DAY: i64 = 86_400;

fn template() -> CrlTemplate {
    CrlTemplate {
        algorithm: build::algorithm_identifier(oid::ECDSA_WITH_SHA256),
        issuer: build::name_from_text("CN=ca").unwrap(),
        this_update: DAY,
        next_update: Some(2 * DAY),
        entries: vec![entry(&[0x80], Vec::new()), entry(&[1, 2], vec![reason()])],
        extensions: vec![build::authority_key_identifier(&[7; 20]), number()],
    }
}

fn entry(serial: &[u8], extensions: Vec<Vec<u8>>) -> RevokedEntry {
    RevokedEntry { serial: serial.to_vec(), revoked_at: DAY - 1, extensions }
}

fn number() -> Vec<u8> {
    build::extension(oid::CRL_NUMBER, false, &[0x02, 0x01, 0x05])
}

fn reason() -> Vec<u8> {
    build::extension(oid::CRL_REASON, false, &[0x0A, 0x01, 0x01])
}

fn assemble(tbs: &[u8]) -> Vec<u8> {
    build::assemble(tbs, &build::algorithm_identifier(oid::ECDSA_WITH_SHA256), &[0x30, 0x00])
}

fn parse(template: &CrlTemplate) -> Result<CrlView, Malformed> {
    CrlView::parse(&assemble(&template.tbs_der()))
}

/// A list whose TBSCertList has these contents.
fn parse_fields(write: impl FnOnce(&mut DerWriter)) -> Result<CrlView, Malformed> {
    let mut tbs = DerWriter::new();
    tbs.sequence(write);
    CrlView::parse(&assemble(&tbs.into_der()))
}

#[test]
fn what_a_list_says_is_read() {
    let template = template();
    let list = parse(&template).unwrap();
    assert_eq!(list.as_der(), assemble(&template.tbs_der()));
    assert_eq!(list.tbs(), template.tbs_der());
    assert_eq!(list.issuer(), &template.issuer);
    assert_eq!((list.this_update(), list.next_update()), (DAY, Some(2 * DAY)));
    assert_eq!(list.inner_algorithm_der(), list.outer_algorithm_der());
    assert_eq!(list.signature(), [0x30, 0x00]);
    assert_eq!(list.authority_key_identifier(), Some(&[7; 20][..]));
    assert_eq!(list.issuing_distribution_point(), None);
    assert!(!list.is_delta());
    assert_eq!(list.unknown_critical(), None);
    let entries: Vec<(Vec<u8>, i64)> =
        list.entries().map(|entry| (entry.serial().to_vec(), entry.revoked_at())).collect();
    assert_eq!(entries, [(vec![0, 0x80], DAY - 1), (vec![1, 2], DAY - 1)]);
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, list.tbs());
    assert_eq!(list.tbs_sha256(), digest.as_ref());
}

#[test]
fn a_list_may_be_empty_and_need_not_say_when_the_next_one_comes() {
    let list = parse(&CrlTemplate { entries: Vec::new(), next_update: None, ..template() }).unwrap();
    assert_eq!(list.entries().count(), 0);
    assert_eq!(list.next_update(), None);
    assert!(parse(&CrlTemplate { extensions: Vec::new(), ..template() }).is_ok());
}

#[test]
fn what_decides_how_a_list_may_be_used_is_told() {
    let unknown = Oid::from_dotted("2.5.29.99").unwrap();
    let with = |extension| CrlTemplate { extensions: vec![extension], ..template() };
    let value = [0x05, 0x00];
    let list = parse(&with(build::extension(unknown, true, &value))).unwrap();
    assert_eq!(list.unknown_critical(), Some(unknown));
    let list = parse(&with(build::extension(unknown, false, &value))).unwrap();
    assert_eq!(list.unknown_critical(), None);
    let in_entry = entry(&[1], vec![build::extension(unknown, true, &value)]);
    let list = parse(&CrlTemplate { entries: vec![in_entry], ..template() }).unwrap();
    assert_eq!(list.unknown_critical(), Some(unknown));
    let list = parse(&with(build::extension(oid::DELTA_CRL_INDICATOR, true, &[0x02, 0x01, 0x01]))).unwrap();
    assert!(list.is_delta());
    let scope = [0x30, 0x06, 0x81, 0x01, 0xFF, 0x84, 0x01, 0xFF];
    let list = parse(&with(build::extension(oid::ISSUING_DISTRIBUTION_POINT, true, &scope))).unwrap();
    let scope = list.issuing_distribution_point().unwrap();
    assert!(scope.only_user_certificates && scope.is_indirect);
    assert!(!scope.only_ca_certificates && !scope.only_some_reasons && !scope.only_attribute_certificates);
}

#[test]
fn what_is_not_exactly_a_list_is_refused() {
    let der = assemble(&template().tbs_der());
    assert!(CrlView::parse(&der).is_ok());
    for end in 0..der.len() {
        assert!(CrlView::parse(&der[..end]).is_err(), "cut at {end}");
    }
    assert!(CrlView::parse(&[&der[..], &[0]].concat()).is_err());
    let with = |extensions| parse(&CrlTemplate { extensions, ..template() }).map_err(|malformed| malformed.reason);
    assert_eq!(with(vec![number(), number()]).unwrap_err(), Reason::Duplicate("extension"));
    let written_out = [0x30, 0x0D, 0x06, 0x03, 0x55, 0x1D, 0x63, 0x01, 0x01, 0x00, 0x04, 0x03, 0x02, 0x01, 0x01];
    assert!(matches!(with(vec![written_out.to_vec()]), Err(Reason::NotDer(_))));
    let many = (0..limits::CRL_EXTENSIONS as u8 + 1).map(|arc| {
        let unknown = Oid::from_dotted(&format!("2.5.30.{arc}")).unwrap();
        build::extension(unknown, false, &[0x05, 0x00])
    });
    assert!(matches!(with(many.collect()), Err(Reason::OverLimit { .. })));
    for scope in [&[0x30, 0x03, 0x81, 0x01, 0x00][..], &[0x30, 0x03, 0x86, 0x01, 0xFF], &[0x30, 0x02, 0xA0, 0x00]] {
        assert!(with(vec![build::extension(oid::ISSUING_DISTRIBUTION_POINT, true, scope)]).is_err(), "{scope:02x?}");
    }
}

#[test]
fn a_list_of_version_1_has_no_extensions_and_no_other_version_exists() {
    let head = |fields: &mut DerWriter| {
        fields.raw(&template().algorithm).raw(template().issuer.as_der()).time(DAY).time(2 * DAY);
    };
    let entries = |fields: &mut DerWriter, extensions: &[Vec<u8>]| {
        fields.sequence(|list| {
            list.sequence(|entry| {
                entry.uint(5).time(DAY);
                if !extensions.is_empty() {
                    entry.sequence(|list| {
                        list.raw(&extensions.concat());
                    });
                }
            });
        });
    };
    let list = parse_fields(|fields| {
        head(fields);
        entries(fields, &[]);
    });
    assert_eq!(list.unwrap().entries().count(), 1);
    let with_extension = parse_fields(|fields| {
        head(fields);
        fields.constructed(Tag::context_constructed(0), |tagged| {
            tagged.sequence(|list| {
                list.raw(&number());
            });
        });
    });
    assert!(with_extension.is_err());
    let in_entry = parse_fields(|fields| {
        head(fields);
        entries(fields, &[reason()]);
    });
    assert!(in_entry.is_err());
    for version in [0, 2] {
        let list = parse_fields(|fields| {
            fields.uint(version);
            head(fields);
        });
        assert_eq!(list.unwrap_err().reason, Reason::BadValue(version));
    }
    let no_entries = parse_fields(|fields| {
        head(fields);
        fields.sequence(|_| {});
    });
    assert!(no_entries.is_err());
}

#[test]
fn a_list_has_a_limit() {
    let padding = vec![0; limits::CRL_OCTETS + 1];
    assert!(matches!(CrlView::parse(&padding).unwrap_err().reason, Reason::OverLimit { .. }));
}
