//! What files are is told by their content, in any order; what cannot be told is an error.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    missing_docs
)]

use std::path::{Path, PathBuf};

use vouchsafe_evidence::bundle::{AttestationBundle, AttestationStatement, BundleDefect, CertChoice};
use vouchsafe_evidence::input::{Form, InputError, InputFile, Submission};
use vouchsafe_evidence::limits;
use vouchsafe_evidence::oid;
use vouchsafe_evidence::pem;
use vouchsafe_evidence::statement::{FormatId, Statement, TpmCertify, TpmCertifyX509, TpmQuote};
use vouchsafe_evidence::tpm::HashAlg;
use vouchsafe_evidence::tpm::marshal::Writer;
use vouchsafe_evidence::x509::build::{self, CertificateTemplate, CsrTemplate};
use vouchsafe_evidence::x509::{CertView, CsrDefect, NamedCurve, SpkiView};

fn field_vectors() -> Option<PathBuf> {
    let folder = std::env::var_os("VOUCHSAFE_FIELD_VECTORS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"), PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: 1 test needs the folder that VOUCHSAFE_FIELD_VECTORS names");
    None
}

fn recognize(files: &[(&str, &[u8])], format: Option<FormatId>) -> Result<Submission, InputError> {
    let files: Vec<InputFile<'_>> = files.iter().map(|(name, bytes)| InputFile { name, bytes }).collect();
    Submission::recognize(&files, format)
}

/// Recognizes the files in every rotation, and backwards, and checks that order means nothing.
fn recognize_any_order(files: &[(&str, &[u8])]) -> Result<Submission, InputError> {
    let first = recognize(files, None);
    let mut files = files.to_vec();
    for _ in 0..files.len() {
        files.rotate_left(1);
        let mut backwards = files.clone();
        backwards.reverse();
        for files in [&files, &backwards] {
            match (&first, recognize(files, None)) {
                (Ok(first), Ok(other)) => {
                    assert_eq!(first.statements(), other.statements());
                    assert_eq!(first.label(), other.label());
                }
                (Err(first), Err(other)) => {
                    assert_eq!(std::mem::discriminant(first), std::mem::discriminant(&other));
                }
                (first, other) => panic!("order matters: {first:?} {other:?}"),
            }
        }
    }
    first
}

fn algorithm() -> Vec<u8> {
    build::algorithm_identifier(oid::ECDSA_WITH_SHA256)
}

fn rsa(octets: usize) -> SpkiView {
    SpkiView::from_rsa(&vec![0xC5; octets], &[1, 0, 1]).unwrap()
}

fn ec() -> SpkiView {
    SpkiView::from_ec(NamedCurve::P256, &[7; 32], &[9; 32]).unwrap()
}

fn certificate(issuer: &str, subject: &str, spki: SpkiView, extensions: Vec<Vec<u8>>) -> Vec<u8> {
    let template = CertificateTemplate {
        serial: vec![1],
        algorithm: algorithm(),
        issuer: build::name_from_text(issuer).unwrap(),
        not_before: 0,
        not_after: 1,
        subject: build::name_from_text(subject).unwrap(),
        spki,
        extensions,
    };
    build::assemble(&template.tbs_der(), &algorithm(), &[0])
}

fn csr(attributes: Vec<Vec<u8>>) -> Vec<u8> {
    let subject = build::name_from_text("CN=device").unwrap();
    build::assemble(&CsrTemplate { subject, spki: ec(), attributes }.info_der(), &algorithm(), &[0])
}

fn attest(kind: u16, attested: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::new();
    let name = [&[0x00, 0x0B], &[1; 32][..]].concat();
    writer.u32(0xFF54_4347).u16(kind).tpm2b(&name).tpm2b(&[2; 16]).u64(0).u32(0).u32(0).u8(1).u64(0);
    attested(&mut writer);
    writer.into_bytes()
}

fn certify() -> Vec<u8> {
    let name = [&[0x00, 0x0B], &[3; 32][..]].concat();
    attest(0x8017, |writer| {
        writer.tpm2b(&name).tpm2b(&name);
    })
}

/// A quote over `count` PCRs of the SHA-256 bank, all with this value.
fn quote(count: usize, value: u8) -> (Vec<u8>, Vec<u8>) {
    let values = vec![value; 32 * count];
    let digest = HashAlg::Sha256.digest(&[&values]);
    let bitmap = u32::try_from((1_u64 << count) - 1).unwrap().to_le_bytes();
    let attest = attest(0x8018, |writer| {
        writer.u32(1).u16(0x000B).u8(3).bytes(&bitmap[..3]).tpm2b(&digest);
    });
    (attest, values)
}

const PUBLIC: &[u8] = b"\x00\x01\x00\x0B\x00\x05\x00\x72\x00\x00";

fn tpmt_signature() -> Vec<u8> {
    let mut writer = Writer::new();
    writer.u16(0x0018).u16(0x000B).tpm2b(&[1; 32]).tpm2b(&[2; 32]);
    writer.into_bytes()
}

fn only_statement(submission: &Submission) -> Statement {
    let [statement] = submission.statements() else { panic!("{submission:?}") };
    statement.parse().unwrap()
}

#[test]
fn the_parts_of_tpm_certify_come_in_any_order() {
    let (attest, cert) = (certify(), certificate("CN=i", "CN=ak", rsa(256), vec![]));
    let raw = vec![0xAB; 256];
    for signature in [raw.clone(), tpmt_signature(), build::ecdsa_signature(&[1; 32], &[0x80; 32])] {
        let files: [(&str, &[u8]); 4] = [("attest", &attest), ("sig", &signature), ("pub", PUBLIC), ("ak", &cert)];
        let submission = recognize_any_order(&files).unwrap();
        assert_eq!(submission.label(), "tpm-certify");
        assert_eq!(submission.form(), &Form::Evidence);
        let expected = TpmCertify { attest: attest.clone(), signature, public: Some(PUBLIC.to_vec()) };
        assert_eq!(only_statement(&submission), Statement::TpmCertify(expected));
        assert_eq!(submission.certs().len(), 1);
    }
    let without_public = recognize_any_order(&[("attest", &attest), ("sig", &raw)]).unwrap();
    assert!(matches!(only_statement(&without_public), Statement::TpmCertify(TpmCertify { public: None, .. })));
    let without_signature = recognize(&[("attest", &attest), ("pub", PUBLIC)], None);
    let part = "signature";
    assert_eq!(without_signature.unwrap_err(), InputError::Incomplete { format: FormatId::TpmCertify, part });
}

#[test]
fn two_candidates_for_one_part_are_ambiguous() {
    let (attest, cert) = (certify(), certificate("CN=i", "CN=ak", rsa(256), vec![]));
    let (quoted, _) = quote(4, 0);
    let (raw, typed) = (vec![0xAB; 256], tpmt_signature());
    let csr = csr(vec![]);
    let statement = TpmCertify { attest: attest.clone(), signature: raw.clone(), public: None }.to_der();
    let bundle =
        AttestationBundle::new(vec![AttestationStatement::new(oid::STATEMENT_TPM_CERTIFY, statement.clone())], vec![])
            .unwrap()
            .to_der();
    let cases: Vec<Vec<(&str, &[u8])>> = vec![
        vec![("attest", &attest), ("one", &raw), ("two", &raw), ("pub", PUBLIC), ("ak", &cert)],
        vec![("attest", &attest), ("one", &raw), ("two", &typed), ("pub", PUBLIC)],
        vec![("attest", &attest), ("two", &attest), ("sig", &raw)],
        vec![("attest", &attest), ("quote", &quoted), ("sig", &raw)],
        vec![("attest", &attest), ("sig", &raw), ("pub", PUBLIC), ("two", PUBLIC)],
        vec![("one", &csr), ("two", &csr)],
        vec![("one", &csr), ("two", &bundle)],
        vec![("one", &csr), ("two", &statement)],
        vec![("one", &bundle), ("two", &bundle)],
        vec![("one", &statement), ("two", &statement)],
        vec![("one", &statement), ("two", &bundle)],
    ];
    for files in cases {
        let error = recognize_any_order(&files).unwrap_err();
        assert!(
            matches!(error, InputError::Ambiguous { .. }),
            "{error} {:?}",
            files.iter().map(|f| f.0).collect::<Vec<_>>()
        );
    }
}

#[test]
fn pcr_values_and_signature_are_told_apart() {
    let ak = certificate("CN=i", "CN=ak", rsa(256), vec![]);
    let raw = vec![0xAB; 256];
    // Eight SHA-256 PCRs are exactly as long as an RSA-2048 signature; their digest tells.
    for count in [1, 4, 8] {
        let (attest, values) = quote(count, 5);
        for certs in [vec![], vec![("ak", ak.as_slice())]] {
            let mut files: Vec<(&str, &[u8])> = vec![("quote", &attest), ("sig", &raw), ("pcrs", &values)];
            files.extend(certs);
            let submission = recognize_any_order(&files).unwrap();
            assert_eq!(submission.label(), "tpm-quote");
            let expected =
                TpmQuote { attest: attest.clone(), signature: raw.clone(), pcr_values: Some(values.clone()) };
            assert_eq!(only_statement(&submission), Statement::TpmQuote(expected), "{count}");
        }
    }
    // False values, for the Verifier to refuse.
    let (attest, _) = quote(4, 5);
    let false_values = vec![6; 128];
    let submission =
        recognize_any_order(&[("quote", &attest), ("sig", &raw), ("pcrs", &false_values), ("ak", &ak)]).unwrap();
    assert!(
        matches!(only_statement(&submission), Statement::TpmQuote(TpmQuote { pcr_values: Some(v), .. }) if v == false_values)
    );
    let typed = tpmt_signature();
    let submission = recognize_any_order(&[("quote", &attest), ("sig", &typed), ("pcrs", &false_values)]).unwrap();
    assert!(
        matches!(only_statement(&submission), Statement::TpmQuote(TpmQuote { signature, .. }) if signature == typed)
    );
    let submission = recognize_any_order(&[("quote", &attest), ("sig", &raw)]).unwrap();
    assert!(matches!(only_statement(&submission), Statement::TpmQuote(TpmQuote { pcr_values: None, .. })));
    let (eight, _) = quote(8, 5);
    let error = recognize_any_order(&[("quote", &eight), ("sig", &raw), ("pcrs", &[6; 256])]).unwrap_err();
    assert!(matches!(error, InputError::Ambiguous { .. }), "{error}");
    let error = recognize(&[("quote", &attest), ("sig", &raw), ("pub", PUBLIC)], None).unwrap_err();
    assert_eq!(error, InputError::Unrecognized { file: "pub".to_owned() });
}

#[test]
fn a_tpm_made_certificate_is_found_among_its_issuers() {
    let tpma = || build::tpma_object(false, 0x000D_0072);
    let ak =
        certificate("CN=root", "CN=ak", ec(), vec![build::extended_key_usage(true, &[oid::KP_CERTIFY_X509]), tpma()]);
    let root = certificate("CN=root", "CN=root", ec(), vec![]);
    let plain = certificate("CN=ak", "CN=key,CN=ak", ec(), vec![build::nonce(&[1; 32])]);
    let marked = certificate("CN=ak", "CN=key,CN=ak", ec(), vec![tpma()]);
    let bare = certificate("CN=ak", "CN=key,CN=ak", ec(), vec![]);
    for leaf in [&plain, &marked, &bare] {
        let files: [(&str, &[u8]); 4] = [("leaf", leaf), ("ak", &ak), ("root", &root), ("pub", PUBLIC)];
        let submission = recognize_any_order(&files).unwrap();
        assert_eq!(submission.label(), "tpm-certify-x509");
        let expected = TpmCertifyX509 { certificate: CertView::parse(leaf).unwrap(), public: Some(PUBLIC.to_vec()) };
        assert_eq!(only_statement(&submission), Statement::TpmCertifyX509(expected));
        assert_eq!(submission.certs().len(), 2);
    }
    assert_eq!(recognize(&[("leaf", &marked)], None).unwrap().label(), "tpm-certify-x509");
    let error = recognize_any_order(&[("one", &marked), ("two", &plain), ("ak", &ak)]).unwrap_err();
    assert!(matches!(error, InputError::Ambiguous { .. }), "{error}");
    let forced = recognize(&[("leaf", &bare)], Some(FormatId::TpmCertifyX509)).unwrap();
    assert_eq!(forced.label(), "tpm-certify-x509");
    let error = recognize(&[("leaf", &bare)], None).unwrap_err();
    assert_eq!(error, InputError::Unrecognized { file: "leaf".to_owned() });
}

#[test]
fn bundles_and_statements_stand_alone() {
    let attest = certify();
    let stmt = TpmCertify { attest: attest.clone(), signature: vec![0; 256], public: Some(PUBLIC.to_vec()) }.to_der();
    let (quoted, values) = quote(4, 0);
    let quote_stmt = TpmQuote { attest: quoted, signature: vec![0; 256], pcr_values: Some(values) }.to_der();
    let cert = certificate("CN=i", "CN=ak", ec(), vec![]);
    let submission = recognize_any_order(&[("stmt", &stmt), ("ak", &cert)]).unwrap();
    assert_eq!((submission.label(), submission.certs().len()), ("tpm-certify", 1));
    assert_eq!(recognize(&[("quote", &quote_stmt)], None).unwrap().label(), "tpm-quote");
    let both = recognize(&[("stmt", &stmt), ("quote", &quote_stmt)], None).unwrap();
    assert_eq!(both.statements().len(), 2);
    let bundle = AttestationBundle::new(both.statements().to_vec(), vec![CertView::parse(&cert).unwrap()]).unwrap();
    let submission = recognize(&[("bundle", &bundle.to_der()), ("more", &cert)], None).unwrap();
    assert_eq!((submission.statements().len(), submission.certs().len()), (2, 2));
    assert_eq!(submission.label(), "tpm-certify");
    let forced = recognize(&[("bundle", &bundle.to_der())], Some(FormatId::TpmQuote)).unwrap();
    assert_eq!(forced.label(), "tpm-quote");
    let missing = recognize(&[("stmt", &stmt)], Some(FormatId::TpmQuote)).unwrap_err();
    assert_eq!(missing, InputError::Incomplete { format: FormatId::TpmQuote, part: "statement" });
    let x509 = TpmCertifyX509 { certificate: CertView::parse(&cert).unwrap(), public: None }.to_der();
    assert_eq!(recognize(&[("x509", &x509)], None).unwrap().label(), "tpm-certify-x509");
    let typed = {
        let mut writer = build::DerWriter::new();
        writer.sequence(|fields| {
            fields.oid(oid::STATEMENT_TPM_CERTIFY).raw(&stmt);
        });
        writer.into_der()
    };
    assert_eq!(recognize(&[("typed", &typed)], None).unwrap().label(), "tpm-certify");
    let empty = recognize(&[("bundle", &[0x30, 0x02, 0x30, 0x00])], None).unwrap_err();
    assert_eq!(empty, InputError::Bundle(BundleDefect::Empty));
}

#[test]
fn a_request_comes_as_der_or_as_pem_with_text_around_it() {
    let stmt = TpmCertify { attest: certify(), signature: vec![0; 256], public: None }.to_der();
    let statement = AttestationStatement::new(oid::STATEMENT_TPM_CERTIFY, stmt);
    let bundle = AttestationBundle::new(vec![statement], vec![]).unwrap();
    let der = csr(vec![build::attestation_attribute(&bundle)]);
    let helper = certificate("CN=i", "CN=ak", ec(), vec![]);
    for label in ["CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"] {
        let text = format!("Subject: device\r\n\r\n{}\r\ntrailing text\r\n", pem::encode(label, &der));
        let submission = recognize(&[("csr", text.as_bytes())], None).unwrap();
        assert_eq!((submission.label(), submission.statements().len()), ("csr", 1));
        assert_eq!(submission.subject_key(), Some(&ec()));
        assert_eq!(submission.csr().unwrap().as_der(), der);
    }
    let submission = recognize_any_order(&[("csr", &der), ("helper", &helper)]).unwrap();
    assert_eq!(submission.certs().len(), 1);
    assert_eq!(recognize(&[("csr", &der)], Some(FormatId::TpmCertify)).unwrap_err(), InputError::FormatWithCsr);
    assert!(recognize(&[("csr", &csr(vec![]))], None).unwrap().statements().is_empty());
}

#[test]
fn der_stays_der_whatever_text_stands_in_it() {
    let text = pem::encode("CERTIFICATE REQUEST", &csr(Vec::new()));
    let mut value = build::DerWriter::new();
    value.octet_string(format!("\n{text}").as_bytes());
    let unknown = oid::Oid::from_dotted("1.3.6.1.4.1.32473.9.9").unwrap();
    let outer = csr(vec![build::attribute(unknown, &[value.into_der()])]);
    assert!(pem::is_pem(&outer));
    let submission = recognize(&[("request.der", &outer)], None).unwrap();
    assert_eq!(submission.csr().unwrap().as_der(), outer);
}

#[test]
fn an_attribute_has_no_more_values_than_are_read() {
    let unknown = oid::Oid::from_dotted("1.3.6.1.4.1.32473.9.9").unwrap();
    let with = |count: usize| {
        let values: Vec<Vec<u8>> = (0..count).map(|_| vec![0x05, 0x00]).collect();
        recognize(&[("request.der", &csr(vec![build::attribute(unknown, &values)]))], None)
    };
    assert!(with(limits::CSR_ATTRIBUTE_VALUES).is_ok());
    let error = with(limits::CSR_ATTRIBUTE_VALUES + 1).unwrap_err();
    assert!(matches!(error, InputError::Csr(CsrDefect::Malformed(_))), "{error}");
}

#[test]
fn a_broken_request_is_a_broken_request() {
    let der = csr(vec![]);
    let broken: Vec<Vec<u8>> = vec![
        [&der[..], &[0]].concat(),
        der[..der.len() - 3].to_vec(),
        [&[0x30, 0x80], &der[if der[1] == 0x81 { 3 } else { 2 }..], &[0, 0]].concat(),
        pem::encode("CERTIFICATE REQUEST", &der[1..]).into_bytes(),
        pem::encode("CERTIFICATE REQUEST", &der).replace("-----END", "----END").into_bytes(),
    ];
    for bytes in broken {
        let error = recognize(&[("csr", &bytes)], None).unwrap_err();
        assert!(matches!(error, InputError::Csr(CsrDefect::Malformed(_))), "{error}");
    }
}

#[test]
fn a_certificate_may_publish_statements() {
    let statement = AttestationStatement::new(oid::STATEMENT_TPM_CERTIFY, [0x30, 0x00]);
    let bundle = AttestationBundle::new(vec![statement], vec![]).unwrap();
    let extension = build::extension(oid::AA_ATTESTATION, false, &bundle.to_der());
    let publishing = certificate("CN=ca", "CN=key", ec(), vec![extension.clone()]);
    let submission = recognize(&[("cert", pem::encode("CERTIFICATE", &publishing).as_bytes())], None).unwrap();
    assert_eq!(submission.form(), &Form::PublishedCertificate(CertView::parse(&publishing).unwrap()));
    assert_eq!(submission.subject_key(), Some(&ec()));
    assert_eq!(submission.label(), "tpm-certify");
    let twice = certificate("CN=ca", "CN=key", ec(), vec![extension.clone(), extension]);
    assert!(matches!(recognize(&[("cert", &twice)], None), Err(InputError::Malformed { .. })));
    assert!(matches!(
        recognize(&[("one", &publishing), ("two", &publishing)], None),
        Err(InputError::Ambiguous { .. })
    ));
}

#[test]
fn what_cannot_be_told_is_an_error() {
    let unrecognized = |name: &str| InputError::Unrecognized { file: name.to_owned() };
    assert_eq!(recognize(&[], None).unwrap_err(), InputError::Empty);
    assert_eq!(recognize(&[("empty", b"")], None).unwrap_err(), InputError::Empty);
    assert_eq!(recognize(&[("text", b"hello")], None).unwrap_err(), unrecognized("text"));
    assert_eq!(recognize(&[("noise", &[0xAB; 256])], None).unwrap_err(), unrecognized("noise"));
    assert_eq!(recognize(&[("pub", PUBLIC)], None).unwrap_err(), unrecognized("pub"));
    let key = pem::encode("PUBLIC KEY", ec().as_der());
    assert_eq!(recognize(&[("key", key.as_bytes())], None).unwrap_err(), unrecognized("key"));
    let attest = certify();
    let files: [(&str, &[u8]); 3] = [("attest", &attest), ("sig", &[0xAB; 256]), ("text", b"hello")];
    assert_eq!(recognize(&files, None).unwrap_err(), unrecognized("text"));
    let files: [(&str, &[u8]); 3] = [("attest", &attest), ("sig", &[0xAB; 256]), ("empty", b"")];
    assert_eq!(recognize(&files, None).unwrap_err(), unrecognized("empty"));
    let large = vec![0; limits::INPUT_OCTETS + 1];
    assert!(matches!(recognize(&[("large", &large)], None), Err(InputError::OverLimit { .. })));
    let text = pem::encode("CERTIFICATE", &certificate("CN=i", "CN=ak", ec(), vec![]));
    let (half, rest) = (text.repeat(limits::CERTIFICATES_PARSED / 2), text.repeat(limits::CERTIFICATES_PARSED / 2 + 1));
    let at_limit = recognize(&[("csr", &csr(vec![])), ("one", half.as_bytes()), ("two", half.as_bytes())], None);
    assert_eq!(at_limit.unwrap().certs().len(), limits::CERTIFICATES_PARSED);
    let over = recognize(&[("csr", &csr(vec![])), ("one", half.as_bytes()), ("two", rest.as_bytes())], None);
    assert!(matches!(over, Err(InputError::OverLimit { what: "certificates", .. })));
    let reserved = recognize(&[("stmt", b"x")], Some(FormatId::Cmw)).unwrap_err();
    assert_eq!(reserved, InputError::UnsupportedFormat(FormatId::Cmw));
}

#[test]
fn a_forced_format_takes_what_has_the_wrong_type_or_magic() {
    let (quoted, _) = quote(4, 0);
    let signature = vec![0xAB; 256];
    let files: [(&str, &[u8]); 3] = [("attest", &quoted), ("sig", &signature), ("pub", PUBLIC)];
    let submission = recognize(&files, Some(FormatId::TpmCertify)).unwrap();
    assert!(
        matches!(only_statement(&submission), Statement::TpmCertify(TpmCertify { attest, .. }) if attest == quoted)
    );
    let mut wrong = certify();
    wrong[0] = 0;
    let ak = certificate("CN=i", "CN=ak", rsa(256), vec![]);
    let files: [(&str, &[u8]); 4] = [("sig", &signature), ("attest", &wrong), ("pub", PUBLIC), ("ak", &ak)];
    let submission = recognize(&files, Some(FormatId::TpmCertify)).unwrap();
    assert!(matches!(only_statement(&submission), Statement::TpmCertify(TpmCertify { attest, .. }) if attest == wrong));
}

#[test]
fn an_unusable_helper_does_not_spoil_the_evidence() {
    let attest = certify();
    let broken = {
        let mut der = certificate("CN=i", "CN=ak", ec(), vec![]);
        der.push(0);
        der
    };
    let text = pem::encode("CERTIFICATE", &broken);
    for helper in [broken.as_slice(), text.as_bytes()] {
        let submission =
            recognize_any_order(&[("attest", &attest), ("sig", &[0xAB; 256]), ("helper", helper)]).unwrap();
        assert!(matches!(submission.certs(), [CertChoice::Unparsed(_)]));
        assert!(matches!(recognize(&[("helper", helper)], None), Err(InputError::Malformed { .. })));
    }
}

#[test]
fn the_samples_are_recognized() {
    let Some(folder) = field_vectors() else { return };
    let read = |name: &str| std::fs::read(folder.join("ietf").join(name)).unwrap();
    let (ak, public) = (read("tpm-certify/ak.crt"), read("tpm-certify/key1.tpmTPublic"));
    let (attest, signature) = (read("tpm-certify/key1.tpmSAttest"), read("tpm-certify/key1.tpmSAttest.sig"));
    let files: [(&str, &[u8]); 4] = [("ak", &ak), ("pub", &public), ("attest", &attest), ("sig", &signature)];
    let submission = recognize_any_order(&files).unwrap();
    let expected = TpmCertify { attest, signature, public: Some(public) };
    assert_eq!(only_statement(&submission), Statement::TpmCertify(expected));

    let (attest, signature) = (read("tpm-certify/quote.tpmSAttest"), read("tpm-certify/quote.sig"));
    let pcrs = vec![0; 128];
    let files: [(&str, &[u8]); 4] = [("ak", &ak), ("quote", &attest), ("sig", &signature), ("pcrs", &pcrs)];
    let submission = recognize_any_order(&files).unwrap();
    let expected = TpmQuote { attest, signature, pcr_values: Some(pcrs) };
    assert_eq!(only_statement(&submission), Statement::TpmQuote(expected));

    let two = recognize(&[("c01", &read("csr-bundle/c01-two-objects-certify+quote.der"))], None).unwrap();
    assert_eq!((two.label(), two.statements().len(), two.certs().len()), ("csr", 2, 2));
    let error = recognize(&[("c04", &read("csr-bundle/c04-two-attributes.der"))], None).unwrap_err();
    assert_eq!(error, InputError::Csr(CsrDefect::SeveralAttributes { count: 2 }));
    let hint = read("repo-samples/lamps-csr-attestation/tcgAttestTpmCertify.pem");
    let error = recognize(&[("hint", &hint)], None).unwrap_err();
    let legacy = BundleDefect::LegacyStatement { statement: 0 };
    assert_eq!(error, InputError::Csr(CsrDefect::Bundle(legacy)));
    for name in ["tpm-certify/t02-nohint.der", "tpm-certify/t02-nohint.pem"] {
        assert_eq!(recognize(&[(name, &read(name))], None).unwrap().label(), "csr");
    }
}
