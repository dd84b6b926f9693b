//! Inputs that are too large to store, made from the small file that a case names.

use vouchsafe_evidence::bundle::AttestationBundle;
use vouchsafe_evidence::limits;
use vouchsafe_evidence::oid;
use vouchsafe_evidence::x509::build::{self, DerWriter};
use vouchsafe_evidence::x509::der::{Reader, Tag};
use vouchsafe_evidence::x509::{CertView, NameView, SpkiView};

use crate::case::Case;

/// The input that `recipe` makes of the case's first file, a bare bundle unless said otherwise:
///
/// - `statements N`: the first statement N times;
/// - `certificates N`: N certificates beside those that are there, which nothing needs;
/// - `own-certificates N`: N certificates of the first one's key under other issuers' names;
/// - `issuers N`: N certificates that claim the name of the first certificate's issuer;
/// - `attesting-keys N`: N certificates like the first one, each for another key;
/// - `input N`: N octets in all, zeros appended as a file of their own;
/// - `request N`: the request (not a bundle) with an attribute of N octets, which breaks its signature.
pub fn generate(recipe: &str, case: &Case) -> Vec<(String, Vec<u8>)> {
    let (what, count) = recipe.split_once(' ').expect("a recipe is a word and a number");
    let count: usize = count.parse().unwrap();
    let file = case.files.first().expect("a recipe needs a file").clone();
    let bytes = case.read(&file);
    if what == "input" {
        let padding = vec![0; count - bytes.len()];
        return vec![(file, bytes), ("padding".to_owned(), padding)];
    }
    if what == "request" {
        return vec![(file, with_large_attribute(&bytes, count))];
    }
    let bundle = AttestationBundle::parse(&bytes).unwrap();
    let mut statements = bundle.statements().to_vec();
    let mut certificates: Vec<Vec<u8>> = bundle.certificates().map(|c| c.as_der().to_vec()).collect();
    let first = bundle.certificates().next().unwrap().clone();
    match what {
        "statements" => statements = vec![statements[0].clone(); count],
        "certificates" => certificates.extend((0..count).map(|n| unrelated(&first, n))),
        "own-certificates" => certificates.extend((0..count).map(|n| retouched(&first, Part::Names, n))),
        "issuers" => certificates.extend((0..count).map(|n| as_issuer(&first, n))),
        "attesting-keys" => certificates.extend((0..count).map(|n| retouched(&first, Part::Key, n))),
        other => panic!("unknown recipe {other}"),
    }
    let mut writer = DerWriter::new();
    writer.sequence(|bundle| {
        bundle.sequence(|list| {
            for statement in &statements {
                list.sequence(|fields| {
                    fields.oid(statement.oid()).raw(statement.stmt());
                });
            }
        });
        bundle.sequence(|list| {
            for certificate in &certificates {
                list.raw(certificate);
            }
        });
    });
    vec![(file, writer.into_der())]
}

#[derive(Clone, Copy)]
enum Part {
    Key,
    Names,
}

/// The certificate with another key (not a point of its curve, which nobody checks before a signature) or other names.
fn retouched(certificate: &CertView, part: Part, number: usize) -> Vec<u8> {
    let mut der = certificate.as_der().to_vec();
    let (needle, offset) = match part {
        Part::Key => (certificate.spki().as_der(), certificate.spki().as_der().len() - 8),
        Part::Names => (certificate.issuer().as_der(), certificate.issuer().as_der().len() - 4),
    };
    let start = der.windows(needle.len()).position(|window| window == needle).unwrap();
    let digits = format!("{number:04}");
    der[start + offset..start + offset + 4].copy_from_slice(digits.as_bytes());
    der
}

/// A certificate under the name of the first one's issuer, which signed nothing.
fn as_issuer(certificate: &CertView, number: usize) -> Vec<u8> {
    unsigned(certificate, certificate.issuer(), number)
}

/// A certificate that has to do with nothing.
fn unrelated(certificate: &CertView, number: usize) -> Vec<u8> {
    unsigned(certificate, &build::name_from_text(&format!("CN=unrelated {number}")).unwrap(), number)
}

/// A certificate of another key under this name, with a signature that is none.
fn unsigned(certificate: &CertView, name: &NameView, number: usize) -> Vec<u8> {
    let template = build::CertificateTemplate {
        serial: vec![1, (number / 256) as u8, (number % 256) as u8],
        algorithm: certificate.outer_algorithm().as_der().to_vec(),
        issuer: name.clone(),
        not_before: certificate.not_before(),
        not_after: certificate.not_after(),
        subject: name.clone(),
        spki: another_key(certificate),
        extensions: Vec::new(),
    };
    build::assemble(&template.tbs_der(), &template.algorithm, certificate.signature())
}

fn another_key(certificate: &CertView) -> SpkiView {
    let mut der = certificate.spki().as_der().to_vec();
    *der.last_mut().unwrap() ^= 1;
    SpkiView::parse(&der).unwrap()
}

fn with_large_attribute(request: &[u8], octets: usize) -> Vec<u8> {
    let mut outer = Reader::new(request, "request");
    let mut fields = outer.sequence("request").unwrap();
    let info = fields.expect(Tag::SEQUENCE, "info").unwrap();
    let rest: Vec<&[u8]> = [fields.element().unwrap(), fields.element().unwrap()].map(|e| e.as_der()).into();
    let mut parts = info.reader();
    let head: Vec<&[u8]> = (0..3).map(|_| parts.element().unwrap().as_der()).collect();
    let mut large = DerWriter::new();
    large.octet_string(&vec![0; octets]);
    let attribute = build::attribute(oid::EXTENSION_REQUEST, &[large.into_der()]);
    let mut writer = DerWriter::new();
    writer.sequence(|request| {
        request.sequence(|info| {
            for part in head {
                info.raw(part);
            }
            info.constructed(Tag::context_constructed(0), |set| {
                set.raw(&attribute);
            });
        });
        for part in rest {
            request.raw(part);
        }
    });
    let der = writer.into_der();
    assert!(der.len() > limits::CSR_OCTETS);
    der
}
