//! Bundles and statements, in requests and alone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    missing_docs
)]

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use vouchsafe_evidence::bundle::{AttestationBundle, AttestationStatement, BundleDefect, CertChoice};
use vouchsafe_evidence::oid::{self, Oid};
use vouchsafe_evidence::pem;
use vouchsafe_evidence::statement::{FormatId, Statement, TpmCertify, TpmCertifyX509, TpmQuote};
use vouchsafe_evidence::x509::build::{self, CertificateTemplate, CsrTemplate, DerWriter};
use vouchsafe_evidence::x509::der::Tag;
use vouchsafe_evidence::x509::{CertView, CsrDefect, CsrView, NamedCurve, SpkiView};
use vouchsafe_evidence::{Reason, limits};

fn field_vectors() -> Option<PathBuf> {
    let folder = std::env::var_os("VOUCHSAFE_FIELD_VECTORS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"), PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: 1 test needs the folder that VOUCHSAFE_FIELD_VECTORS names");
    None
}

fn spki() -> SpkiView {
    SpkiView::from_ec(NamedCurve::P256, &[7; 32], &[9; 32]).unwrap()
}

fn algorithm() -> Vec<u8> {
    build::algorithm_identifier(oid::ECDSA_WITH_SHA256)
}

fn certificate(name: &str) -> CertView {
    let template = CertificateTemplate {
        serial: vec![1],
        algorithm: algorithm(),
        issuer: build::name_from_text("CN=issuer").unwrap(),
        not_before: 0,
        not_after: 1,
        subject: build::name_from_text(name).unwrap(),
        spki: spki(),
        extensions: vec![],
    };
    CertView::parse(&build::assemble(&template.tbs_der(), &algorithm(), &[0])).unwrap()
}

fn statement() -> AttestationStatement {
    let stmt = TpmCertify { attest: vec![1], signature: vec![2], public: Some(vec![3]) };
    AttestationStatement::new(oid::STATEMENT_TPM_CERTIFY, stmt.to_der())
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    let mut writer = DerWriter::new();
    writer.primitive(Tag::SEQUENCE, &parts.concat());
    writer.into_der()
}

fn statement_der() -> Vec<u8> {
    let statement = statement();
    let mut writer = DerWriter::new();
    writer.oid(statement.oid()).raw(statement.stmt());
    sequence(&[&writer.into_der()])
}

fn csr(attributes: Vec<Vec<u8>>) -> CsrView {
    let template = CsrTemplate { subject: build::name_from_text("CN=device").unwrap(), spki: spki(), attributes };
    CsrView::parse(&build::assemble(&template.info_der(), &algorithm(), &[0])).unwrap()
}

#[test]
fn a_bundle_reads_back_from_a_request() {
    let certs = vec![certificate("CN=a"), certificate("CN=b")];
    let bundle = AttestationBundle::new(vec![statement(), statement()], certs.clone()).unwrap();
    let request = csr(vec![build::attestation_attribute(&bundle)]);
    let read = request.attestation_bundle().unwrap().unwrap();
    assert_eq!(read, bundle);
    assert_eq!(read.to_der(), bundle.to_der());
    assert_eq!(read.certificates().cloned().collect::<Vec<_>>(), certs);
    let attribute = request.attributes().next().unwrap();
    assert!(request.as_der().windows(13).any(|w| w == b"\x06\x0B\x2A\x86\x48\x86\xF7\x0D\x01\x09\x10\x02\x3B"));
    assert_eq!(attribute.values(), [bundle.to_der().as_slice()]);
}

#[test]
fn requests_with_more_or_less_than_one_bundle_are_told_apart() {
    let bundle = AttestationBundle::new(vec![statement()], vec![]).unwrap();
    let attribute = build::attestation_attribute(&bundle);
    assert_eq!(csr(vec![]).attestation_bundle(), Ok(None));
    assert_eq!(
        csr(vec![attribute.clone(), attribute]).attestation_bundle(),
        Err(CsrDefect::SeveralAttributes { count: 2 })
    );
    for count in [0, 2] {
        let attribute = build::attribute(oid::AA_ATTESTATION, &vec![bundle.to_der(); count]);
        assert_eq!(csr(vec![attribute]).attestation_bundle(), Err(CsrDefect::ValueCount { count }));
    }
    let empty = build::attribute(oid::AA_ATTESTATION, &[sequence(&[&sequence(&[])])]);
    assert_eq!(csr(vec![empty]).attestation_bundle(), Err(CsrDefect::Bundle(BundleDefect::Empty)));
}

#[test]
fn a_bundle_has_exactly_its_syntax() {
    let good = sequence(&[&sequence(&[&statement_der()])]);
    assert!(AttestationBundle::parse(&good).is_ok());
    let hint = {
        let mut writer = DerWriter::new();
        writer.oid(statement().oid()).raw(statement().stmt()).string(Tag::IA5_STRING, "hint");
        sequence(&[&writer.into_der()])
    };
    assert_eq!(
        AttestationBundle::parse(&sequence(&[&sequence(&[&statement_der(), &hint])])),
        Err(BundleDefect::LegacyStatement { statement: 1 })
    );
    let cert = certificate("CN=a");
    let other = |inner: &[u8]| {
        let mut writer = DerWriter::new();
        writer.primitive(Tag::context_constructed(3), inner);
        writer.into_der()
    };
    let statements = sequence(&[&statement_der()]);
    let malformed: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", vec![]),
        ("trailing octet", [&good[..], &[0]].concat()),
        ("third field", sequence(&[&statements, &sequence(&[cert.as_der()]), &[0x05, 0x00]])),
        ("empty certs", sequence(&[&statements, &sequence(&[])])),
        ("certs in [0]", sequence(&[&statements, &[0xA0, 0x00]])),
        ("extendedCertificate", sequence(&[&statements, &sequence(&[&[0xA0, 0x00]])])),
        ("v1AttrCert", sequence(&[&statements, &sequence(&[&[0xA1, 0x00]])])),
        ("v2AttrCert", sequence(&[&statements, &sequence(&[&[0xA2, 0x00]])])),
        ("other without value", sequence(&[&statements, &sequence(&[&other(&[0x06, 0x01, 0x2A])])])),
        (
            "other with two values",
            sequence(&[&statements, &sequence(&[&other(&[0x06, 0x01, 0x2A, 0x05, 0x00, 0x05, 0x00])])]),
        ),
        ("statement without stmt", sequence(&[&sequence(&[&[0x30, 0x03, 0x06, 0x01, 0x2A]])])),
        ("statement without type", sequence(&[&sequence(&[&[0x30, 0x02, 0x05, 0x00]])])),
        ("SET of statements", sequence(&[&[0x31, 0x00]])),
        ("indefinite length", [&[0x30, 0x80], &statements[..], &[0, 0]].concat()),
    ];
    for (what, der) in malformed {
        assert!(matches!(AttestationBundle::parse(&der), Err(BundleDefect::Malformed(_))), "{what}");
    }
}

#[test]
fn a_certificate_that_cannot_be_read_does_not_spoil_the_bundle() {
    let good = certificate("CN=a");
    let bad = sequence(&[&[0x02, 0x01, 0x01]]);
    let other = [0xA3, 0x06, 0x06, 0x01, 0x2A, 0x04, 0x01, 0xAA];
    let der = sequence(&[&sequence(&[&statement_der()]), &sequence(&[&bad, good.as_der(), &other])]);
    let bundle = AttestationBundle::parse(&der).unwrap();
    assert!(matches!(bundle.certs()[0], CertChoice::Unparsed(_)));
    assert_eq!(bundle.certs()[1], CertChoice::Certificate(good.clone()));
    let oid = Oid::from_der_contents(&[0x2A]).unwrap();
    assert_eq!(bundle.certs()[2], CertChoice::Other { oid, der: vec![0x04, 0x01, 0xAA] });
    assert_eq!(bundle.certificates().collect::<Vec<_>>(), [&good]);
}

#[test]
fn counts_are_limited() {
    let statements = |count: usize| sequence(&[&sequence(&[&statement_der().repeat(count)])]);
    assert!(AttestationBundle::parse(&statements(limits::STATEMENTS)).is_ok());
    let defect = AttestationBundle::parse(&statements(limits::STATEMENTS + 1)).unwrap_err();
    let BundleDefect::Malformed(malformed) = defect else { panic!("{defect}") };
    assert_eq!(malformed.reason, Reason::OverLimit { what: "statements", limit: limits::STATEMENTS });
    let certs = |count: usize| {
        let list = certificate("CN=a").as_der().repeat(count);
        sequence(&[&sequence(&[&statement_der()]), &sequence(&[&list])])
    };
    assert!(AttestationBundle::parse(&certs(limits::CERTIFICATES_PARSED)).is_ok());
    assert!(AttestationBundle::parse(&certs(limits::CERTIFICATES_PARSED + 1)).is_err());
    assert_eq!(AttestationBundle::new(vec![], vec![]), Err(BundleDefect::Empty));
    assert!(AttestationBundle::new(vec![statement(); limits::STATEMENTS + 1], vec![]).is_err());
}

#[test]
fn statements_have_exactly_their_syntax() {
    let octets = |value: u8| vec![0x04, 0x01, value];
    let two = [octets(1), octets(2)].concat();
    let three = [two.clone(), octets(3)].concat();
    for oid in [oid::STATEMENT_TPM_CERTIFY, oid::STATEMENT_TPM_QUOTE] {
        let parse = |stmt: &[u8]| Statement::parse(oid, stmt);
        assert!(parse(&sequence(&[&two])).is_ok());
        assert!(parse(&sequence(&[&three])).is_ok());
        for (what, stmt) in [
            ("one field", sequence(&[&octets(1)])),
            ("four fields", sequence(&[&three, &octets(4)])),
            ("trailing octet", [&sequence(&[&three])[..], &[0]].concat()),
            ("BIT STRING", sequence(&[&two, &[0x03, 0x01, 0x00]])),
            ("long length", sequence(&[&octets(1), &[0x04, 0x81, 0x01, 0x02]])),
            ("constructed string", sequence(&[&octets(1), &[0x24, 0x03, 0x04, 0x01, 0x02]])),
            ("SET", vec![0x31, 0x06, 4, 1, 1, 4, 1, 2]),
        ] {
            assert!(parse(&stmt).is_err(), "{what}");
        }
    }
    let cert = certificate("CN=a");
    let oid = oid::STATEMENT_TPM_CERTIFY_X509;
    let parse = |stmt: &[u8]| Statement::parse(oid, stmt);
    let statement = TpmCertifyX509 { certificate: cert.clone(), public: None };
    assert_eq!(parse(&sequence(&[cert.as_der()])), Ok(Statement::TpmCertifyX509(statement)));
    assert!(parse(&sequence(&[cert.as_der(), &octets(1)])).is_ok());
    assert!(parse(&sequence(&[cert.as_der(), &octets(1), &octets(2)])).is_err());
    assert!(parse(&sequence(&[&octets(1)])).is_err());
    assert!(parse(cert.as_der()).is_err());
    let unknown = Oid::from_der_contents(&[0x2A, 0x03]).unwrap();
    assert_eq!(Statement::parse(unknown, b"junk"), Ok(Statement::Unknown(unknown)));
    assert_eq!(Statement::parse(oid::CMW, b"junk"), Ok(Statement::Cmw(b"junk".to_vec())));
}

#[test]
fn requests_of_others_parse() {
    let Some(folder) = field_vectors() else { return };
    let read = |name: &str| {
        let file = std::fs::read(folder.join("ietf").join(name)).unwrap();
        let der = if pem::is_pem(&file) { pem::read(&file).unwrap()[0].contents().to_vec() } else { file };
        CsrView::parse(&der).unwrap()
    };
    let bundle = read("csr-bundle/c01-two-objects-certify+quote.der").attestation_bundle().unwrap().unwrap();
    let formats: Vec<_> = bundle.statements().iter().map(|s| s.format().unwrap()).collect();
    assert_eq!(formats, [FormatId::TpmCertify, FormatId::TpmQuote]);
    let Statement::TpmQuote(TpmQuote { pcr_values, .. }) = bundle.statements()[1].parse().unwrap() else { panic!() };
    assert_eq!(pcr_values, Some(vec![0; 128]));
    let Statement::TpmCertify(certify) = bundle.statements()[0].parse().unwrap() else { panic!() };
    let blob = |name: &str| std::fs::read(folder.join("ietf/tpm-certify").join(name)).unwrap();
    assert_eq!(certify.attest, blob("key1.tpmSAttest"));
    assert_eq!(certify.signature, blob("key1.tpmSAttest.sig"));
    assert_eq!(certify.public, Some(blob("key1.tpmTPublic")));
    assert_eq!(bundle.certificates().count(), 2);

    let two = read("csr-bundle/c04-two-attributes.der");
    assert_eq!(two.attestation_bundle(), Err(CsrDefect::SeveralAttributes { count: 2 }));
    let other = read("csr-bundle/c09-certs-other.der").attestation_bundle().unwrap().unwrap();
    assert!(other.certs().iter().any(|choice| matches!(choice, CertChoice::Other { .. })));
    for name in ["tpm-certify/t02-nohint.der", "tpm-certify/t02-nohint.pem"] {
        let bundle = read(name).attestation_bundle().unwrap().unwrap();
        assert_eq!((bundle.statements().len(), bundle.certificates().count()), (1, 2), "{name}");
        assert_eq!(AttestationBundle::parse(&bundle.to_der()).unwrap(), bundle);
    }
    for name in ["tcgAttestTpmCertify.pem", "tcgAttestTpmCertify-2024-10-21-validsig.pem"] {
        let request = read(&format!("repo-samples/lamps-csr-attestation/{name}"));
        let defect = CsrDefect::Bundle(BundleDefect::LegacyStatement { statement: 0 });
        assert_eq!(request.attestation_bundle(), Err(defect), "{name}");
    }
}

fn octets() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..300)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn statements_read_back(attest in octets(), signature in octets(), third in proptest::option::of(octets())) {
        let certify = TpmCertify { attest: attest.clone(), signature: signature.clone(), public: third.clone() };
        prop_assert_eq!(TpmCertify::parse(&certify.to_der()).unwrap(), certify);
        let quote = TpmQuote { attest, signature, pcr_values: third.clone() };
        prop_assert_eq!(TpmQuote::parse(&quote.to_der()).unwrap(), quote);
        let x509 = TpmCertifyX509 { certificate: certificate("CN=x"), public: third };
        prop_assert_eq!(TpmCertifyX509::parse(&x509.to_der()).unwrap(), x509);
    }

    #[test]
    fn bundles_read_back(stmts in proptest::collection::vec(octets(), 1..=limits::STATEMENTS), certs in 0_usize..5) {
        let statements = stmts.iter().map(|octets| {
            let mut writer = DerWriter::new();
            writer.octet_string(octets);
            AttestationStatement::new(oid::STATEMENT_VENDOR, writer.into_der())
        }).collect();
        let bundle = AttestationBundle::new(statements, vec![certificate("CN=x"); certs]).unwrap();
        let der = bundle.to_der();
        let read = AttestationBundle::parse(&der).unwrap();
        prop_assert_eq!(read.to_der(), der);
        prop_assert_eq!(read, bundle);
    }

    #[test]
    fn noise_never_panics(noise in octets(), at in 0_usize..200, flip in any::<u8>()) {
        let _ = AttestationBundle::parse(&noise);
        let mut der = AttestationBundle::new(vec![statement()], vec![certificate("CN=x")]).unwrap().to_der();
        let at = at % der.len();
        der[at] ^= flip;
        if let Ok(read) = AttestationBundle::parse(&der) {
            let _ = read.statements().iter().map(AttestationStatement::parse).count();
        }
    }
}
