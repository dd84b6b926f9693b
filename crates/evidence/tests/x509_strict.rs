//! What is not DER is refused, or named as a quirk where real certificates have it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    missing_docs
)]

use proptest::prelude::*;
use vouchsafe_evidence::oid;
use vouchsafe_evidence::x509::build::{self, CertificateTemplate, CsrTemplate, DerWriter, PartialCertificate};
use vouchsafe_evidence::x509::der::{Element, Tag};
use vouchsafe_evidence::x509::extensions::{
    self, AuthorityKeyIdentifier, BasicConstraints, CertificatePolicies, ExtendedKeyUsage, GeneralName, KeyUsage,
    NameConstraints, SubjectAltName,
};
use vouchsafe_evidence::x509::{CertView, CsrView, NameView, NamedCurve, PublicKey, Quirk, SpkiView, Version};
use vouchsafe_evidence::{Reason, limits};

fn p256() -> SpkiView {
    SpkiView::from_ec(NamedCurve::P256, &[7; 32], &[9; 32]).unwrap()
}

fn name(text: &str) -> NameView {
    build::name_from_text(text).unwrap()
}

fn template() -> CertificateTemplate {
    CertificateTemplate {
        serial: vec![0x80; 20],
        algorithm: build::algorithm_identifier(oid::ECDSA_WITH_SHA256),
        issuer: name("CN=issuer,O=Example"),
        not_before: 1_700_000_000,
        not_after: 253_402_300_799,
        subject: name("CN=subject,O=Example"),
        spki: p256(),
        extensions: vec![
            build::key_usage(true, KeyUsage::from_bits(KeyUsage::DIGITAL_SIGNATURE)),
            build::tpma_object(false, 0x000D_0072),
            build::nonce(&[5; 32]),
            build::authority_key_identifier(&[1; 20]),
        ],
    }
}

fn signed(tbs: &[u8]) -> Vec<u8> {
    build::assemble(tbs, &build::algorithm_identifier(oid::ECDSA_WITH_SHA256), &[0x30, 0x00])
}

fn certificate(template: &CertificateTemplate) -> Vec<u8> {
    signed(&template.tbs_der())
}

/// A certificate from the DER of the fields of its TBSCertificate.
fn from_fields(fields: &[Vec<u8>]) -> Vec<u8> {
    let mut writer = DerWriter::new();
    writer.primitive(Tag::SEQUENCE, &fields.concat());
    signed(&writer.into_der())
}

/// The DER of each field of a good TBSCertificate: version, serial, algorithm, issuer, validity, subject,
/// key, extensions.
fn fields() -> Vec<Vec<u8>> {
    let tbs = template().tbs_der();
    let element = Element::parse(&tbs, "test").unwrap();
    let mut reader = element.reader();
    let mut fields = Vec::new();
    while !reader.is_empty() {
        fields.push(reader.element().unwrap().as_der().to_vec());
    }
    assert_eq!(fields.len(), 8);
    fields
}

fn with_field(index: usize, der: &[u8]) -> Vec<u8> {
    let mut fields = fields();
    fields[index] = der.to_vec();
    from_fields(&fields)
}

fn with_extensions(extensions: &[Vec<u8>]) -> Vec<u8> {
    certificate(&CertificateTemplate { extensions: extensions.to_vec(), ..template() })
}

#[test]
fn a_built_certificate_says_what_its_template_said() {
    let template = template();
    let cert = CertView::parse(&certificate(&template)).unwrap();
    assert!(cert.is_strict_der(), "{:?}", cert.quirks());
    assert_eq!(cert.version(), Version::V3);
    assert_eq!(cert.serial(), [&[0x00][..], &[0x80; 20]].concat());
    assert_eq!(cert.tbs(), template.tbs_der());
    assert_eq!(cert.issuer(), &template.issuer);
    assert_eq!(cert.subject(), &template.subject);
    assert_eq!((cert.not_before(), cert.not_after()), (template.not_before, template.not_after));
    assert_eq!(cert.spki(), &template.spki);
    assert_eq!(cert.inner_algorithm(), cert.outer_algorithm());
    assert_eq!(cert.inner_algorithm().oid(), oid::ECDSA_WITH_SHA256);
    assert_eq!(cert.inner_algorithm().parameters(), None);
    assert_eq!(cert.signature(), [0x30, 0x00]);
    assert_eq!(cert.extensions().len(), 4);
    let value = |oid| cert.extension(oid).unwrap().unwrap().value().to_vec();
    assert_eq!(extensions::tpma_object(&value(oid::TPMA_OBJECT)), Ok(0x000D_0072));
    assert_eq!(extensions::nonce(&value(oid::NONCE)), Ok(&[5; 32][..]));
    assert_eq!(KeyUsage::parse(&value(oid::KEY_USAGE)).unwrap().bits(), KeyUsage::DIGITAL_SIGNATURE);
    assert!(cert.extension(oid::KEY_USAGE).unwrap().unwrap().is_critical());
    let aki = AuthorityKeyIdentifier::parse(&value(oid::AUTHORITY_KEY_IDENTIFIER)).unwrap();
    assert_eq!(aki.key_identifier(), Some(&[1; 20][..]));
    assert_eq!(cert.extension(oid::SUBJECT_ALT_NAME), Ok(None));
}

#[test]
fn a_partial_certificate_merges_to_the_template_it_came_from() {
    let full = template();
    let partial = PartialCertificate {
        issuer: full.issuer.clone(),
        not_before: full.not_before,
        not_after: full.not_after,
        subject: full.subject.clone(),
        extensions: full.extensions.clone(),
    };
    let fields = fields();
    let mut added = DerWriter::new();
    added.primitive(Tag::SEQUENCE, &[&fields[0][..], &fields[1], &fields[2], &fields[6]].concat());
    let added = added.into_der();
    assert_eq!(build::merge_partial(&partial.to_der(), &added).unwrap(), full.tbs_der());
    assert!(build::merge_partial(&added, &partial.to_der()).is_err());
    assert!(build::merge_partial(&[partial.to_der(), vec![0]].concat(), &added).is_err());
}

/// ATTACKS.md A3: each trick with lengths, arcs and shapes.
#[test]
fn tricks_of_ber_are_refused() {
    let good = certificate(&template());
    assert!(CertView::parse(&good).is_ok());
    let body = &good[4..];
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("trailing octet", [&good[..], &[0]].concat()),
        ("cut short", good[..good.len() - 1].to_vec()),
        ("empty", vec![]),
        ("indefinite length", [&[0x30, 0x80], body, &[0, 0]].concat()),
        ("padded length", [&[0x30, 0x83, 0x00], &good[2..4], body].concat()),
        ("long form of a short length", with_field(1, &[0x02, 0x81, 0x01, 0x05])),
        ("length above four octets", [&[0x30, 0x85, 0, 0, 0], &good[2..4], body].concat()),
        ("primitive SEQUENCE", [&[0x10], &good[1..]].concat()),
        ("constructed INTEGER", with_field(1, &[0x22, 0x03, 0x02, 0x01, 0x05])),
        ("INTEGER without contents", with_field(1, &[0x02, 0x00])),
        ("serial of 65 octets", with_field(1, &[&[0x02, 0x41], &[0x11; 65][..]].concat())),
        ("version 4", with_field(0, &[0xA0, 0x03, 0x02, 0x01, 0x03])),
        ("padded version", with_field(0, &[0xA0, 0x04, 0x02, 0x02, 0x00, 0x02])),
        ("two versions", with_field(0, &[0xA0, 0x06, 0x02, 0x01, 0x02, 0x02, 0x01, 0x02])),
        ("algorithm with padded arc", with_field(2, &[0x30, 0x05, 0x06, 0x03, 0x80, 0x2A, 0x03])),
        ("two parameters", with_field(2, &[0x30, 0x07, 0x06, 0x01, 0x2A, 0x05, 0x00, 0x05, 0x00])),
        ("NULL with contents", with_field(2, &[0x30, 0x06, 0x06, 0x01, 0x2A, 0x05, 0x01, 0x00])),
        ("long form of a low tag", with_field(2, &[0x30, 0x06, 0x06, 0x01, 0x2A, 0x9F, 0x05, 0x00])),
        ("name that is a SET", with_field(3, &[0x31, 0x00])),
        ("empty RDN", with_field(3, &[0x30, 0x02, 0x31, 0x00])),
        ("attribute without value", with_field(3, &[0x30, 0x09, 0x31, 0x07, 0x30, 0x05, 0x06, 0x03, 0x55, 0x04, 0x03])),
        ("three times", with_field(4, &[&[0x30, 0x2D][..], &b"\x17\x0d250101000000Z".repeat(3)].concat())),
        ("time without Z", with_field(4, b"\x30\x1c\x17\x0c250101000000\x17\x0c250101000000")),
        ("two sets of extensions", with_field(7, &[fields()[7].clone(), fields()[7].clone()].concat())),
        ("no extension in the list", with_field(7, &[0xA3, 0x02, 0x30, 0x00])),
        (
            "extensions outside the SEQUENCE",
            with_field(
                7,
                &[0xA3, 0x0F, 0x30, 0x02, 0x30, 0x00, 0x30, 0x09, 0x06, 0x03, 0x55, 0x1D, 0x0F, 0x04, 0x02, 0x03, 0x00],
            ),
        ),
        ("extensions in version 1", {
            let mut all = fields();
            all.remove(0);
            from_fields(&all)
        }),
        ("extensions in version 2", with_field(0, &[0xA0, 0x03, 0x02, 0x01, 0x01])),
    ];
    for (what, der) in cases {
        assert!(CertView::parse(&der).is_err(), "{what}");
    }
    for end in 0..good.len() {
        assert!(CertView::parse(&good[..end]).is_err(), "cut to {end}");
    }
}

#[test]
fn tricks_inside_one_extension_are_refused() {
    let value = [0x03, 0x05, 0x00, 0x00, 0x0D, 0x00, 0x72];
    let good = build::extension(oid::TPMA_OBJECT, false, &value);
    assert!(CertView::parse(&with_extensions(std::slice::from_ref(&good))).unwrap().is_strict_der());
    let arc = oid::TPMA_OBJECT.as_der_contents();
    let oid_der = [&[0x06, 0x07], arc].concat();
    let string = [&[0x04, 0x07], &value[..]].concat();
    let sequence = |parts: &[&[u8]]| {
        let mut writer = DerWriter::new();
        writer.primitive(Tag::SEQUENCE, &parts.concat());
        writer.into_der()
    };
    assert_eq!(sequence(&[&oid_der, &string]), good);
    for (what, der) in [
        ("BOOLEAN before the identifier", sequence(&[&[0x01, 0x01, 0xFF], &oid_der, &string])),
        ("identifier with a long length", sequence(&[&[&[0x06, 0x81, 0x07], arc].concat(), &string])),
        ("identifier with a padded arc", sequence(&[&[&[0x06, 0x08, 0x80], arc].concat(), &string])),
        ("two values", sequence(&[&oid_der, &string, &string])),
        ("no value", sequence(&[&oid_der])),
        ("BOOLEAN 01", sequence(&[&oid_der, &[0x01, 0x01, 0x01], &string])),
        ("BOOLEAN of two octets", sequence(&[&oid_der, &[0x01, 0x02, 0xFF, 0xFF], &string])),
        ("two BOOLEANs", sequence(&[&oid_der, &[0x01, 0x01, 0xFF, 0x01, 0x01, 0xFF], &string])),
        ("constructed OCTET STRING", sequence(&[&oid_der, &[0x24], &[0x09], &string])),
        ("value that is no OCTET STRING", sequence(&[&oid_der, &value])),
    ] {
        assert!(CertView::parse(&with_extensions(&[der])).is_err(), "{what}");
    }
    for (what, value) in [
        ("two BIT STRINGs", [value, value].concat()),
        ("BIT STRING with a long length", vec![0x03, 0x81, 0x05, 0x00, 0x00, 0x0D, 0x00, 0x72]),
        ("31 bits", vec![0x03, 0x05, 0x01, 0x00, 0x0D, 0x00, 0x72]),
        ("40 bits", vec![0x03, 0x06, 0x00, 0x00, 0x0D, 0x00, 0x72, 0x00]),
        ("24 bits", vec![0x03, 0x04, 0x00, 0x00, 0x0D, 0x00]),
        ("unused bits that are set", vec![0x03, 0x05, 0x01, 0x00, 0x0D, 0x00, 0x73]),
        ("OCTET STRING", vec![0x04, 0x04, 0x00, 0x0D, 0x00, 0x72]),
        ("nothing", vec![]),
    ] {
        assert!(extensions::tpma_object(&value).is_err(), "{what}");
    }
}

#[test]
fn an_extension_that_is_there_twice_is_refused_when_asked_for() {
    let lie = build::tpma_object(false, 0x000F_0072);
    let cert = CertView::parse(&with_extensions(&[build::tpma_object(false, 0x000D_0072), lie])).unwrap();
    let error = cert.extension(oid::TPMA_OBJECT).unwrap_err();
    assert_eq!(error.reason, Reason::Duplicate("extension"));
}

#[test]
fn deviations_of_real_certificates_are_named() {
    let serial = |octets: &[u8]| with_field(1, &[&[0x02, u8::try_from(octets.len()).unwrap()], octets].concat());
    let one = |contents: &[u8]| {
        let mut writer = DerWriter::new();
        writer.primitive(Tag::SEQUENCE, contents);
        writer.into_der()
    };
    let with_flag_false =
        one(&[&[0x06, 0x03, 0x55, 0x1D, 0x13, 0x01, 0x01, 0x00, 0x04, 0x02, 0x30, 0x00][..]].concat());
    let rdn = |first: &[u8], second: &[u8]| {
        let mut writer = DerWriter::new();
        writer.sequence(|name| {
            name.primitive(Tag::SET, &[first, second].concat());
        });
        writer.into_der()
    };
    let cn = |value: &str| {
        let mut writer = DerWriter::new();
        writer.sequence(|attribute| {
            attribute.oid(oid::COMMON_NAME).string(Tag::UTF8_STRING, value);
        });
        writer.into_der()
    };
    let mut v1 = fields();
    v1.truncate(7);
    v1[0] = vec![0xA0, 0x03, 0x02, 0x01, 0x00];
    for (quirk, der) in [
        (Quirk::NegativeOrZeroSerial, serial(&[0x00])),
        (Quirk::NegativeOrZeroSerial, serial(&[0x80, 0x01])),
        (Quirk::NonMinimalSerial, serial(&[0x00, 0x00, 0x11, 0x22])),
        (Quirk::ExplicitDefault, from_fields(&v1)),
        (Quirk::ExplicitDefault, with_extensions(&[with_flag_false])),
        (
            Quirk::ExplicitDefault,
            with_extensions(&[build::extension(oid::BASIC_CONSTRAINTS, true, &[0x30, 0x03, 0x01, 0x01, 0x00])]),
        ),
        (
            Quirk::NonMinimalKeyUsage,
            with_extensions(&[build::extension(oid::KEY_USAGE, true, &[0x03, 0x02, 0x00, 0x80])]),
        ),
        (
            Quirk::NonMinimalKeyUsage,
            with_extensions(&[build::extension(oid::KEY_USAGE, true, &[0x03, 0x03, 0x07, 0x80, 0x00])]),
        ),
        (Quirk::ExtensionNotDer, with_extensions(&[build::extension(oid::TPMA_OBJECT, false, b"\x04\x00\x04\x00")])),
        (Quirk::ExtensionNotDer, with_extensions(&[build::extension(oid::SUBJECT_ALT_NAME, false, b"text")])),
        (Quirk::UnsortedRdnSet, with_field(5, &rdn(&cn("b"), &cn("a")))),
        (Quirk::GeneralizedTimeBefore2050, with_field(4, b"\x30\x22\x18\x0f20250101000000Z\x18\x0f20500101000000Z")),
    ] {
        let cert = CertView::parse(&der).unwrap_or_else(|e| panic!("{quirk:?}: {e}"));
        assert_eq!(cert.quirks(), [quirk]);
        assert!(!cert.is_strict_der());
    }
    assert!(CertView::parse(&with_field(5, &rdn(&cn("a"), &cn("b")))).unwrap().is_strict_der());
}

#[test]
fn padding_is_read_only_where_it_is_asked_for() {
    let good = certificate(&template());
    for fill in [0x00, 0xFF] {
        let padded = [good.clone(), vec![fill; 7]].concat();
        assert!(CertView::parse(&padded).is_err());
        let cert = CertView::parse_padded(&padded).unwrap();
        assert_eq!(cert.quirks(), [Quirk::TrailingPadding]);
        assert_eq!(cert.as_der(), good);
    }
    assert!(CertView::parse_padded(&good).unwrap().is_strict_der());
    assert!(CertView::parse_padded(&[&good[..], &[0x00, 0xFF]].concat()).is_err());
    assert!(CertView::parse_padded(&[good.clone(), good].concat()).is_err());
}

#[test]
fn lists_that_must_not_be_empty_are_refused_when_they_are() {
    let empty = [0x30, 0x00];
    assert!(ExtendedKeyUsage::parse(&empty).is_err());
    assert!(SubjectAltName::parse(&empty).is_err());
    assert!(NameConstraints::parse(&empty).is_err());
    assert!(NameConstraints::parse(&[0x30, 0x02, 0xA0, 0x00]).is_err());
    assert!(CertificatePolicies::parse(&empty).is_err());
    assert!(extensions::CrlDistributionPoints::parse(&empty).is_err());
    assert!(extensions::PolicyConstraints::parse(&empty).is_err());
    assert!(KeyUsage::parse(&[0x03, 0x01, 0x00]).is_err());
    assert!(KeyUsage::parse(&[0x03, 0x02, 0x00, 0x00]).is_err());
    assert!(extensions::device_link(&[0x04, 0x00]).is_err());
    assert!(extensions::ak_name(&[0x04, 0x00]).is_err());
    assert!(extensions::subject_key_identifier(&[0x04, 0x00]).is_err());
    assert!(BasicConstraints::parse(&empty).is_ok());
    assert!(AuthorityKeyIdentifier::parse(&empty).is_ok());
}

#[test]
fn extension_values_have_exact_shapes() {
    assert!(extensions::nonce(&[&[0x04, 0x10], &[1; 16][..]].concat()).is_ok());
    assert!(extensions::nonce(&[&[0x04, 0x0F], &[1; 15][..]].concat()).is_err());
    assert!(extensions::nonce(&[&[0x04, 0x41], &[1; 65][..]].concat()).is_err());
    assert!(extensions::nonce(&[&[0x04, 0x12, 0x04, 0x10], &[1; 16][..], &[0x04, 0x00]].concat()).is_err());
    assert!(extensions::ak_name(&[&[0x04, 0x43], &[1; 67][..]].concat()).is_err());
    assert!(BasicConstraints::parse(&[0x30, 0x03, 0x02, 0x01, 0x00]).is_err(), "path length without cA");
    assert!(BasicConstraints::parse(&[0x30, 0x06, 0x01, 0x01, 0xFF, 0x02, 0x01, 0xFF]).is_err(), "negative");
    let ca = BasicConstraints::parse(&[0x30, 0x06, 0x01, 0x01, 0xFF, 0x02, 0x01, 0x00]).unwrap();
    assert_eq!(ca, BasicConstraints { ca: true, path_length: Some(0) });
    assert!(KeyUsage::parse(&[0x03, 0x03, 0x06, 0x80, 0x40]).is_err(), "tenth bit");
    assert_eq!(KeyUsage::parse(&[0x03, 0x03, 0x07, 0x80, 0x80]).unwrap().bit_count(), 9);
    assert_eq!(KeyUsage::parse(&[0x03, 0x03, 0x00, 0x80, 0x00]).unwrap().bit_count(), 16);
    let twice = [0x30, 0x0A, 0x06, 0x03, 0x55, 0x1D, 0x25, 0x06, 0x03, 0x55, 0x1D, 0x25];
    assert!(ExtendedKeyUsage::parse(&twice).is_err());
}

#[test]
fn where_a_list_and_an_issuer_are_had_reads_back() {
    let der = build::crl_distribution_points("http://pki.example/crl/a.crl");
    let cert =
        CertView::parse(&with_extensions(&[der, build::authority_info_access("http://pki.example/ca/a.cer")])).unwrap();
    let extension = cert.extension(oid::CRL_DISTRIBUTION_POINTS).unwrap().unwrap();
    assert!(!extension.is_critical());
    let points = extensions::CrlDistributionPoints::parse(extension.value()).unwrap();
    assert_eq!(points.points().len(), 1);
    let point = extensions::DistributionPoint::parse(&points.points()[0]).unwrap();
    assert_eq!(point.full_names, [GeneralName::Uri(b"http://pki.example/crl/a.crl".to_vec())]);
    assert!(!point.is_relative && !point.has_reasons && point.crl_issuer.is_empty());
    // SEQUENCE { SEQUENCE { id-ad-caIssuers, [6] the URI } }
    let access = cert.extension(oid::AUTHORITY_INFO_ACCESS).unwrap().unwrap();
    assert!(!access.is_critical());
    let mut outer = Element::parse(access.value(), "AuthorityInfoAccess").unwrap().reader();
    let mut description = outer.sequence("AccessDescription").unwrap();
    assert!(outer.is_empty());
    assert_eq!(description.oid("accessMethod").unwrap(), oid::AD_CA_ISSUERS);
    let location = description.expect(Tag::context(6), "accessLocation").unwrap();
    assert_eq!(location.contents(), b"http://pki.example/ca/a.cer");
    assert!(description.is_empty());
}

#[test]
fn name_constraints_and_alternative_names_read_back() {
    let below = GeneralName::Directory(name("O=Example"));
    let der = build::name_constraints(
        true,
        std::slice::from_ref(&below),
        &[
            GeneralName::Dns(vec![]),
            GeneralName::Email(vec![]),
            GeneralName::Uri(vec![]),
            GeneralName::Ip(vec![0; 8]),
            GeneralName::Ip(vec![0; 32]),
        ],
    );
    let cert = CertView::parse(&with_extensions(&[der])).unwrap();
    let extension = cert.extension(oid::NAME_CONSTRAINTS).unwrap().unwrap();
    let constraints = NameConstraints::parse(extension.value()).unwrap();
    assert_eq!(constraints.permitted, [below]);
    assert_eq!(constraints.excluded.len(), 5);

    let tpm = build::distinguished_name(&[
        (oid::TPM_MANUFACTURER, "id:53574450"),
        (oid::TPM_MODEL, "swtpm"),
        (oid::TPM_VERSION, "id:20191023"),
    ])
    .unwrap();
    let der = build::subject_alt_name(true, &[GeneralName::Directory(tpm), GeneralName::Dns(b"a.example".to_vec())]);
    let cert = CertView::parse(&with_extensions(&[der])).unwrap();
    let names = SubjectAltName::parse(cert.extension(oid::SUBJECT_ALT_NAME).unwrap().unwrap().value()).unwrap();
    assert_eq!(names.tpm_attribute(oid::TPM_MODEL), Ok(Some("swtpm".to_owned())));
    assert_eq!(names.tpm_attributes_der().len(), 3);
    assert_eq!(names.names().len(), 2);
}

#[test]
fn nesting_beyond_the_limit_is_refused() {
    let nested = |depth: usize| {
        let mut der = vec![0x05, 0x00];
        for _ in 0..depth {
            let mut writer = DerWriter::new();
            writer.primitive(Tag::SEQUENCE, &der);
            der = writer.into_der();
        }
        der
    };
    let check = |depth| Element::parse(&nested(depth), "test").unwrap().check_strict();
    assert!(check(limits::NESTING - 1).is_ok());
    let reason = check(limits::NESTING).unwrap_err().reason;
    assert_eq!(reason, Reason::OverLimit { what: "nesting", limit: limits::NESTING });
    assert!(check(5000).is_err());
}

#[test]
fn limits_are_limits() {
    let many: Vec<Vec<u8>> = vec![build::device_link(b"x"); limits::EXTENSIONS + 1];
    assert!(CertView::parse(&with_extensions(&many[1..])).is_ok());
    assert!(matches!(CertView::parse(&with_extensions(&many)).unwrap_err().reason, Reason::OverLimit { .. }));
    let large = build::extension(oid::NONCE, false, &vec![0; limits::CERTIFICATE_OCTETS]);
    assert!(matches!(CertView::parse(&with_extensions(&[large])).unwrap_err().reason, Reason::OverLimit { .. }));
    let rdns = vec![(oid::COMMON_NAME, "x"); limits::RDNS + 1];
    assert!(build::distinguished_name(&rdns[1..]).is_ok());
    assert!(build::distinguished_name(&rdns).is_err());
    let purposes: Vec<Vec<u8>> = (0..=255_u8).map(|arc| vec![0x06, 0x02, 0x2A, arc & 0x7F]).collect();
    let list = |der: &[u8]| {
        let mut writer = DerWriter::new();
        writer.primitive(Tag::SEQUENCE, der);
        writer.into_der()
    };
    assert!(SubjectAltName::parse(&list(&[0x82, 0x01, b'a'].repeat(256))).is_ok());
    assert!(SubjectAltName::parse(&list(&[0x82, 0x01, b'a'].repeat(257))).is_err());
    assert!(ExtendedKeyUsage::parse(&list(&purposes[..128].concat())).is_ok());
    assert!(ExtendedKeyUsage::parse(&list(&purposes.concat())).is_err(), "twice");
}

#[test]
fn keys_are_compared_by_their_parameters() {
    let modulus = [&[0xC5][..], &[0x11; 255]].concat();
    let rsa = SpkiView::from_rsa(&[&[0, 0], &modulus[..]].concat(), &[0, 1, 0, 1]).unwrap();
    let PublicKey::Rsa { modulus: read, exponent, .. } = rsa.key() else { panic!() };
    assert_eq!((read.as_slice(), exponent.as_slice()), (modulus.as_slice(), &[1, 0, 1][..]));
    // id-RSAES-OAEP without parameters, the same key.
    let mut writer = DerWriter::new();
    writer.sequence(|spki| {
        spki.sequence(|algorithm| {
            algorithm.oid(oid::RSAES_OAEP);
        });
        let mut key = DerWriter::new();
        key.sequence(|fields| {
            fields.unsigned(&modulus).uint(65_537);
        });
        spki.bit_string(&key.into_der(), 0);
    });
    let oaep = SpkiView::parse(&writer.into_der()).unwrap();
    assert!(rsa.same_key(&oaep) && oaep.same_key(&rsa));
    assert_ne!(rsa, oaep);
    let other_exponent = SpkiView::from_rsa(&modulus, &[3]).unwrap();
    assert!(!rsa.same_key(&other_exponent), "same modulus, other exponent");
    assert!(!rsa.same_key(&p256()));
    assert!(p256().same_key(&p256()));
    assert!(!p256().same_key(&SpkiView::from_ec(NamedCurve::P256, &[7; 32], &[8; 32]).unwrap()));
    assert_ne!(rsa.sha256(), oaep.sha256());
}

#[test]
fn keys_out_of_bounds_are_refused() {
    let modulus = |bits: usize| [&[0x80][..], &vec![1; bits / 8 - 1]].concat();
    for (bits, ok) in [(512, false), (1016, false), (1024, true), (8192, true), (8200, false)] {
        assert_eq!(SpkiView::from_rsa(&modulus(bits), &[1, 0, 1]).is_ok(), ok, "{bits}");
    }
    assert!(SpkiView::from_rsa(&modulus(2048), &[]).is_err(), "exponent zero");
    assert!(SpkiView::from_ec(NamedCurve::P256, &[1; 33], &[1; 32]).is_err());
    assert!(SpkiView::from_ec(NamedCurve::P256, &[], &[]).is_err(), "template");
    assert!(SpkiView::from_ec(NamedCurve::P384, &[1; 40], &[1; 48]).is_ok(), "padded");
    let point = |octets: &[u8]| {
        let mut writer = DerWriter::new();
        writer.sequence(|spki| {
            spki.sequence(|algorithm| {
                algorithm.oid(oid::EC_PUBLIC_KEY).oid(oid::SECP256R1);
            });
            spki.bit_string(octets, 0);
        });
        SpkiView::parse(&writer.into_der())
    };
    assert!(point(&[&[0x04], &[1; 64][..]].concat()).is_ok());
    assert!(point(&[&[0x02], &[1; 32][..]].concat()).is_err(), "compressed");
    assert!(point(&[&[0x06], &[1; 64][..]].concat()).is_err(), "hybrid");
    assert!(point(&[&[0x04], &[1; 63][..]].concat()).is_err());
    assert!(point(&[0x00]).is_err(), "infinity");
    assert!(point(&[]).is_err());
}

#[test]
fn names_compare_as_rfc_5280_wants() {
    let printable = |value: &str| {
        let mut writer = DerWriter::new();
        writer.sequence(|attribute| {
            attribute.oid(oid::COMMON_NAME).string(Tag::PRINTABLE_STRING, value);
        });
        build::name_from_attributes(&[vec![writer.into_der()]]).unwrap()
    };
    let utf8 = name("CN=Some Name");
    assert!(utf8.matches(&printable("some  NAME ")));
    assert_ne!(utf8, printable("Some Name"));
    assert!(!utf8.matches(&printable("somename")));
    assert!(!utf8.matches(&name("O=Some Name")));
    assert!(!utf8.matches(&name("CN=Some Name,O=Example")));
    assert!(name("").matches(&name("")) && name("").is_empty());
    let attribute = |oid, tag, value: &str| {
        let mut writer = DerWriter::new();
        writer.sequence(|attribute| {
            attribute.oid(oid).string(tag, value);
        });
        writer.into_der()
    };
    let rdn = |attributes: &[Vec<u8>]| build::name_from_attributes(&[attributes.to_vec()]).unwrap();
    let a = attribute(oid::COMMON_NAME, Tag::UTF8_STRING, "A");
    let b = attribute(oid::SERIAL_NUMBER, Tag::PRINTABLE_STRING, "B");
    let lower_b = attribute(oid::SERIAL_NUMBER, Tag::UTF8_STRING, "b");
    assert!(rdn(&[a.clone(), b.clone()]).matches(&rdn(&[lower_b.clone(), a.clone()])));
    assert!(!rdn(&[a.clone(), b.clone()]).matches(&rdn(&[a.clone(), a.clone()])));
    assert!(!rdn(&[a.clone(), b]).matches(&rdn(&[a, lower_b.clone(), lower_b])));
    let teletex = |value| rdn(&[attribute(oid::COMMON_NAME, Tag::TELETEX_STRING, value)]);
    assert!(!teletex("a").matches(&teletex("A")), "only octet by octet");
    assert!(name("CN=x,O=Example").is_within(&name("O=Example")));
    assert!(name("CN=x").is_within(&name("CN=x")));
    assert!(!name("O=Example").is_within(&name("CN=x,O=Example")));
    assert!(!name("O=Example,CN=x").is_within(&name("O=Example")));
    assert_eq!(name("CN=a\\0Ab\u{202e}").to_display(), "CN=a\u{fffd}b\u{fffd}");
}

fn csr(attributes: Vec<Vec<u8>>) -> Vec<u8> {
    signed(&CsrTemplate { subject: name("CN=device"), spki: p256(), attributes }.info_der())
}

#[test]
fn requests_are_strict_too() {
    let good = csr(vec![build::extension_request_attribute(&[build::nonce(&[1; 16])])]);
    let request = CsrView::parse(&good).unwrap();
    assert!(request.is_strict_der());
    assert_eq!(request.subject().to_display(), "CN=device");
    assert_eq!(request.attributes().len(), 1);
    assert_eq!(request.attributes().next().unwrap().oid(), oid::EXTENSION_REQUEST);
    assert_eq!(request.attestation_bundle(), Ok(None));
    assert!(CsrView::parse(&[&good[..], &[0]].concat()).is_err());
    assert!(CsrView::parse(&csr(vec![build::attribute(oid::EXTENSION_REQUEST, &[])])).is_err());
    assert!(CsrView::parse(&csr(vec![build::attribute(oid::EXTENSION_REQUEST, &[vec![0x01, 0x01, 0x01]])])).is_err());
    assert!(CsrView::parse(&certificate(&template())).is_err());
    assert!(CertView::parse(&good).is_err());
    for end in 0..good.len() {
        assert!(CsrView::parse(&good[..end]).is_err(), "cut to {end}");
    }
}

#[test]
fn a_key_file_is_a_public_key_a_certificate_or_a_request() {
    use vouchsafe_evidence::pem::encode;
    let cert = certificate(&template());
    for (label, der) in
        [("PUBLIC KEY", p256().as_der().to_vec()), ("CERTIFICATE", cert), ("CERTIFICATE REQUEST", csr(vec![]))]
    {
        assert_eq!(SpkiView::from_key_file(&der).unwrap(), p256(), "{label}");
        let text = encode(label, &der);
        assert_eq!(SpkiView::from_key_file(text.as_bytes()).unwrap(), p256(), "{label}");
        assert!(SpkiView::from_key_file(text.repeat(2).as_bytes()).is_err(), "two {label}");
    }
    assert!(SpkiView::from_key_file(encode("PRIVATE KEY", p256().as_der()).as_bytes()).is_err());
    assert!(SpkiView::from_key_file(b"").is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn certificates_read_back(
        serial in proptest::collection::vec(any::<u8>(), 1..20),
        not_before in -631_152_000_i64..253_402_300_799,
        not_after in -631_152_000_i64..253_402_300_799,
        common_name in "[^\u{0}-\u{1f}]{1,20}",
        values in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..8),
        critical in any::<bool>(),
    ) {
        let template = CertificateTemplate {
            serial: serial.clone(),
            not_before,
            not_after,
            subject: build::distinguished_name(&[(oid::COMMON_NAME, common_name.as_str())]).unwrap(),
            extensions: values.iter().map(|value| build::extension(oid::DEVICE_LINK, critical, value)).collect(),
            ..template()
        };
        let der = certificate(&template);
        let cert = CertView::parse(&der).unwrap();
        prop_assert_eq!(cert.as_der(), der.as_slice());
        prop_assert_eq!(cert.tbs(), template.tbs_der());
        prop_assert_eq!(cert.not_before(), not_before);
        prop_assert_eq!(cert.not_after(), not_after);
        let text = cert.subject().attributes(oid::COMMON_NAME).next().and_then(|a| a.text());
        prop_assert_eq!(text, Some(common_name));
        let read: Vec<Vec<u8>> = cert.extensions().map(|e| e.value().to_vec()).collect();
        prop_assert_eq!(read, values);
        prop_assert!(cert.extensions().all(|e| e.is_critical() == critical));
    }

    #[test]
    fn any_changed_octet_is_refused_or_kept(index in 0_usize..400, flip in 1_u8..=255) {
        let mut der = certificate(&template());
        let index = index % der.len();
        der[index] ^= flip;
        if let Ok(cert) = CertView::parse(&der) {
            prop_assert_eq!(cert.as_der(), der.as_slice());
            let rebuilt = build::assemble(cert.tbs(), cert.outer_algorithm().as_der(), cert.signature());
            prop_assert_eq!(rebuilt, der);
        }
    }

    #[test]
    fn noise_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = CertView::parse(&noise);
        let _ = CsrView::parse(&noise);
        let _ = SpkiView::from_key_file(&noise);
        let _ = NameView::parse(&noise);
        if let Ok(element) = Element::parse(&noise, "test") {
            let _ = element.check_strict();
        }
    }
}
