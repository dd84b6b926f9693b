//! Every parser of evidence by itself, for measuring what it takes of the heap.

#![allow(dead_code, reason = "each fuzz target calls one of them")]

use std::hint::black_box;

use vouchsafe_evidence::bundle::AttestationBundle;
use vouchsafe_evidence::cmw::Cmw;
use vouchsafe_evidence::formats::pkix_evidence::EvidenceView;
use vouchsafe_evidence::formats::webauthn_tpm::{AttestationObject, TpmStatement, WebauthnTpm};
use vouchsafe_evidence::input::{InputFile, Submission};
use vouchsafe_evidence::statement::{FormatId, Statement};
use vouchsafe_evidence::tpm::{CreationData, TpmsAttest, TpmtPublic, TpmtSignature};
use vouchsafe_evidence::x509::{CertView, CrlView, CsrView};

/// A parser, as something to be done with octets. What it returns is dropped; what it held counts.
pub type Parser = fn(&[u8]);

/// Parsers by the names of their fuzz targets.
pub const PARSERS: [(&str, Parser); 13] = [
    ("attest", attest),
    ("bundle", bundle),
    ("certificate", certificate),
    ("cmw", cmw),
    ("creation", creation),
    ("csr", csr),
    ("input", input),
    ("pkix_evidence", pkix_evidence),
    ("public", public),
    ("revocation_list", revocation_list),
    ("signature", signature),
    ("statement", statement),
    ("webauthn_tpm", webauthn_tpm),
];

pub fn attest(data: &[u8]) {
    drop(black_box(TpmsAttest::parse(data)));
}

pub fn bundle(data: &[u8]) {
    drop(black_box(AttestationBundle::parse(data)));
}

pub fn certificate(data: &[u8]) {
    drop(black_box((CertView::parse(data), CertView::parse_padded(data))));
}

pub fn creation(data: &[u8]) {
    drop(black_box(CreationData::parse(data)));
}

pub fn cmw(data: &[u8]) {
    drop(black_box(Cmw::parse(data)));
}

/// The request and the bundle in it, both held: what a request is for.
pub fn csr(data: &[u8]) {
    let csr = CsrView::parse(data);
    drop(black_box(csr.as_ref().map(CsrView::attestation_bundle)));
    drop(black_box(csr));
}

/// Recognition alone; what is recognized is judged by [`crate::checks::input`].
pub fn input(data: &[u8]) {
    drop(black_box(Submission::recognize(&[InputFile { name: "input", bytes: data }], None)));
}

pub fn pkix_evidence(data: &[u8]) {
    drop(black_box(EvidenceView::parse(data)));
}

pub fn public(data: &[u8]) {
    drop(black_box(TpmtPublic::parse(data)));
}

pub fn revocation_list(data: &[u8]) {
    drop(black_box(CrlView::parse(data)));
}

pub fn signature(data: &[u8]) {
    drop(black_box(TpmtSignature::parse(data)));
}

/// A statement of the format that the first octet selects.
pub fn statement(data: &[u8]) {
    let Some((selector, stmt)) = data.split_first() else { return };
    let format = FormatId::all().nth(usize::from(*selector) % FormatId::all().count());
    if let Some(oid) = format.and_then(FormatId::oid) {
        drop(black_box(Statement::parse(oid, stmt)));
    }
}

pub fn webauthn_tpm(data: &[u8]) {
    let read = WebauthnTpm::parse(data);
    let object = AttestationObject::parse(data);
    drop(black_box(object.as_ref().map(|object| TpmStatement::read(&object.statement))));
    drop(black_box((read, object)));
}
