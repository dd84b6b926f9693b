//! Why a change may go unnoticed: every reason with the test whether it is the one.

use serde_json::Value;
use vouchsafe_evidence::bundle::{AttestationBundle, AttestationStatement, CertChoice};
use vouchsafe_evidence::cmw::Cmw;
use vouchsafe_evidence::formats::gcp_cloudhsm::Attestation;
use vouchsafe_evidence::input::{Form, InputFile, Submission};
use vouchsafe_evidence::oid;
use vouchsafe_evidence::pem;
use vouchsafe_evidence::x509::CertView;

use crate::{Files, Subject};

/// The reason why one changed octet of one file is not missed, if there is one.
pub fn exemption(
    subject: &Subject,
    file: usize,
    offset: usize,
    changed: &Files,
    (report, changed_report): (&Value, &Value),
) -> Option<&'static str> {
    let original = &subject.files()[file].1;
    if is_same_text(original, &changed[file].1) && report == changed_report {
        return Some("Text around and between the lines of PEM");
    }
    if is_same_compressed(original, &changed[file].1) && report == changed_report {
        return Some("How an attestation is compressed");
    }
    if is_unused_certificate(subject, file, offset) && report == changed_report {
        return Some("Certificates that no path uses");
    }
    if is_type_of_dispensable_statement(subject, file, offset, changed_report) {
        return Some("The type of a statement that policy can do without");
    }
    if is_wrapping_of_published_statements(subject, original, offset) && report == changed_report {
        return Some("The certificate around published statements");
    }
    if is_same_wrapped(original, &changed[file].1) && report == changed_report {
        return Some("Labels, indicators and spelling in wrappers");
    }
    if is_signer_that_no_longer_counts(report, changed_report) {
        return Some("The name of the issuer of one of several signers");
    }
    None
}

/// Whether both hold wrappers of the same messages, however these are labelled and their types spelled.
fn is_same_wrapped(original: &[u8], changed: &[u8]) -> bool {
    let messages = |file: &[u8]| {
        let wrappers: Vec<Cmw> = match AttestationBundle::parse(file) {
            Ok(bundle) => {
                let wrapped = bundle.statements().iter().filter(|statement| statement.oid() == oid::CMW);
                wrapped.filter_map(|statement| Cmw::parse_statement(statement.stmt()).ok()).collect()
            }
            Err(_) => Cmw::parse(file).ok().into_iter().collect(),
        };
        let members = wrappers.into_iter().flat_map(|wrapper| wrapper.members);
        members.map(|member| (member.content(), member.value)).collect::<Vec<_>>()
    };
    let found = messages(original);
    !found.is_empty() && found == messages(changed)
}

/// Whether one of several signers of PKIX Evidence is not trusted any more, and the report says so.
fn is_signer_that_no_longer_counts(report: &Value, changed_report: &Value) -> bool {
    let list = |report: &Value, name: &str| -> usize {
        report["attesting_key"]["claims"][name]["value"].as_array().map_or(0, Vec::len)
    };
    let (algorithms, strangers) = ("signature_algorithms", "counter_signers");
    list(report, algorithms) == list(changed_report, algorithms) + 1
        && list(report, strangers) + 1 == list(changed_report, strangers)
        && list(changed_report, algorithms) > 0
}

/// Whether both are PEM and hold the same octets.
fn is_same_text(original: &[u8], changed: &[u8]) -> bool {
    let contents = |file: &[u8]| {
        let blocks = pem::read(file).ok()?;
        Some(blocks.iter().map(|block| block.contents().to_vec()).collect::<Vec<_>>())
    };
    contents(original).is_some() && contents(original) == contents(changed)
}

/// Whether both are compressed attestations, of which the same comes out.
fn is_same_compressed(original: &[u8], changed: &[u8]) -> bool {
    let expanded = |file: &[u8]| file.starts_with(&[0x1F, 0x8B]).then(|| Attestation::parse(file).ok()).flatten();
    expanded(original).is_some() && expanded(original) == expanded(changed)
}

/// Whether the octet belongs to a certificate without which the evidence says all the same.
fn is_unused_certificate(subject: &Subject, file: usize, offset: usize) -> bool {
    let report = subject.accepts(subject.files());
    let (name, original) = &subject.files()[file];
    let without = |replacement: Option<Vec<u8>>| {
        let mut files = subject.files().clone();
        match replacement {
            Some(bytes) => files[file] = (name.clone(), bytes),
            None => drop(files.remove(file)),
        }
        subject.accepts(&files)
    };
    if CertView::parse(original).is_ok() {
        return subject.files().len() > 1 && without(None) == report;
    }
    let Ok(bundle) = AttestationBundle::parse(original) else { return false };
    let certificates: Vec<CertView> = bundle.certificates().cloned().collect();
    let Some(hit) = certificates.iter().position(|one| spans(original, one.as_der(), offset)) else { return false };
    let mut rest = certificates;
    rest.remove(hit);
    let bundle = AttestationBundle::new(bundle.statements().to_vec(), rest).unwrap();
    without(Some(bundle.to_der())) == report
}

/// Whether the octet is of the type of a statement, without which the rest is accepted as it then was.
fn is_type_of_dispensable_statement(subject: &Subject, file: usize, offset: usize, changed_report: &Value) -> bool {
    let (name, original) = &subject.files()[file];
    let Ok(bundle) = AttestationBundle::parse(original) else { return false };
    let Some(hit) = bundle.statements().iter().position(|statement| {
        let wanted = statement.oid();
        let oid = wanted.as_der_contents();
        let before = &[&[0x06, oid.len() as u8], oid, statement.stmt()].concat();
        spans(original, before, offset) && !spans(original, statement.stmt(), offset)
    }) else {
        return false;
    };
    let skipped = changed_report["skipped"].as_array().unwrap();
    let is_skipped = skipped.iter().any(|skipped| skipped["statement"].as_u64() == Some(hit as u64));
    let mut rest: Vec<AttestationStatement> = bundle.statements().to_vec();
    rest.remove(hit);
    let certificates = bundle.certs().iter().filter_map(CertChoice::certificate).cloned().collect();
    let bundle = AttestationBundle::new(rest, certificates).unwrap();
    let mut files = subject.files().clone();
    files[file] = (name.clone(), bundle.to_der());
    let Some(report) = subject.accepts(&files) else { return false };
    // A place in the bundle is all that may differ.
    is_skipped
        && report["key"]["verdict"] == changed_report["key"]["verdict"]
        && report["platform"] == changed_report["platform"]
}

/// Whether the octet is of a certificate that publishes statements, outside of its key and of the statements.
fn is_wrapping_of_published_statements(subject: &Subject, original: &[u8], offset: usize) -> bool {
    let files: Vec<InputFile<'_>> = subject.files().iter().map(|(name, bytes)| InputFile { name, bytes }).collect();
    let Ok(submission) = Submission::recognize(&files, None) else { return false };
    let Form::PublishedCertificate(certificate) = submission.form() else { return false };
    let statements = certificate.extension(oid::AA_ATTESTATION).unwrap().unwrap();
    !spans(original, certificate.spki().as_der(), offset) && !spans(original, statements.value(), offset)
}

/// Whether the octet at `offset` lies in `part`, wherever that stands in `whole`.
fn spans(whole: &[u8], part: &[u8], offset: usize) -> bool {
    let mut places = whole.windows(part.len()).enumerate().filter(|(_, window)| *window == part);
    places.any(|(start, _)| (start..start + part.len()).contains(&offset))
}
