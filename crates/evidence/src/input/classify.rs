//! Telling what each file is, by its content alone.

use super::{InputError, InputFile, endorsement};
use crate::bundle::{AttestationBundle, AttestationStatement, BundleDefect, CertChoice};
use crate::statement::{FormatId, TpmCertify, TpmCertifyX509};
use crate::tpm::{HashAlg, TpmsAttest, TpmtPublic, TpmtSignature, alg};
use crate::x509::der::{Element, Reader, Tag};
use crate::x509::{CertView, CsrDefect, CsrView};
use crate::{Malformed, Reason, cmw, limits, oid, pem};

/// TPM_ST_ATTEST_QUOTE (Part 2, TPM_ST).
const ST_ATTEST_QUOTE: [u8; 2] = [0x80, 0x18];

/// Something with the name of the file it came from.
#[derive(Clone, Debug)]
pub(super) struct Named<T> {
    pub(super) file: String,
    pub(super) value: T,
}

/// What the files are, by kind.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub(super) csrs: Vec<Named<CsrView>>,
    pub(super) certs: Vec<Named<CertChoice>>,
    pub(super) bundles: Vec<Named<AttestationBundle>>,
    pub(super) statements: Vec<Named<AttestationStatement>>,
    pub(super) attests: Vec<Named<Vec<u8>>>,
    /// Signatures that say so: TPMT_SIGNATURE, ECDSA-Sig-Value.
    pub(super) signatures: Vec<Named<Vec<u8>>>,
    pub(super) publics: Vec<Named<Vec<u8>>>,
    /// Octets without a form of their own: bare RSA signatures, PCR values.
    pub(super) opaque: Vec<Named<Vec<u8>>>,
}

/// Refuses input that is empty or too large, before anything of it is read.
pub(super) fn check_octets(files: &[InputFile<'_>]) -> Result<(), InputError> {
    let octets = files.iter().fold(0_usize, |sum, file| sum.saturating_add(file.bytes.len()));
    if octets > limits::INPUT_OCTETS {
        return Err(InputError::OverLimit { what: "input octets", limit: limits::INPUT_OCTETS });
    }
    if octets == 0 {
        return Err(InputError::Empty);
    }
    Ok(())
}

/// Sorts files into kinds.
pub(super) fn classify(files: &[InputFile<'_>]) -> Result<Parts, InputError> {
    let mut parts = Parts::default();
    for file in files {
        if !is_long_der(file.bytes) && pem::is_pem(file.bytes) {
            parts.add_pem(file)?;
        } else {
            parts.add(file.name, file.bytes)?;
        }
        if parts.certs.len() > limits::CERTIFICATES_PARSED {
            let limit = limits::CERTIFICATES_PARSED;
            return Err(InputError::OverLimit { what: "certificates", limit });
        }
    }
    Ok(parts)
}

/// Whether a file is one SEQUENCE whose length takes more than one octet. Such a file is not text, whatever stands in
/// its strings: the first octet of such a length is none of ASCII.
pub(super) fn is_long_der(bytes: &[u8]) -> bool {
    match bytes {
        [leading, 0x81..=0x84, ..] if *leading == Tag::SEQUENCE.leading_octet() => {
            Element::parse(bytes, "SEQUENCE").is_ok()
        }
        _ => false,
    }
}

fn named<T>(file: &str, value: T) -> Named<T> {
    Named { file: file.to_owned(), value }
}

fn unrecognized(file: &str) -> InputError {
    InputError::Unrecognized { file: file.to_owned() }
}

impl Parts {
    fn add_pem(&mut self, file: &InputFile<'_>) -> Result<(), InputError> {
        let blocks = pem::read(file.bytes).map_err(|malformed| {
            if claims_request(file.bytes) {
                InputError::Csr(CsrDefect::Malformed(malformed))
            } else {
                InputError::Malformed { file: file.name.to_owned(), malformed }
            }
        })?;
        for block in blocks {
            match block.kind() {
                pem::Kind::Certificate => {
                    let choice = endorsement::read_certificate(block.contents())
                        .map_or_else(CertChoice::Unparsed, CertChoice::Certificate);
                    self.certs.push(named(file.name, choice));
                }
                pem::Kind::CertificationRequest => {
                    let csr = CsrView::parse(block.contents()).map_err(CsrDefect::Malformed)?;
                    self.csrs.push(named(file.name, csr));
                }
                pem::Kind::PublicKey => return Err(unrecognized(file.name)),
                pem::Kind::Other => self.add(file.name, block.contents())?,
            }
        }
        Ok(())
    }

    fn add(&mut self, file: &str, bytes: &[u8]) -> Result<(), InputError> {
        if bytes.is_empty() {
            return Err(unrecognized(file));
        }
        if bytes.first() == Some(&Tag::SEQUENCE.leading_octet()) && self.add_der(file, bytes)? {
            return Ok(());
        }
        if cmw::likeness(bytes) != cmw::Likeness::None {
            self.statements.push(named(file, cmw::statement_of_file(bytes)));
            return Ok(());
        }
        let kind = if TpmsAttest::has_magic(bytes) {
            &mut self.attests
        } else if is_signature(bytes) {
            &mut self.signatures
        } else if is_public(bytes) {
            &mut self.publics
        } else {
            &mut self.opaque
        };
        kind.push(named(file, bytes.to_vec()));
        Ok(())
    }

    /// Adds a file that is DER of a known kind; false if it is not.
    fn add_der(&mut self, file: &str, bytes: &[u8]) -> Result<bool, InputError> {
        if let Ok(certificate) = endorsement::read_certificate(bytes) {
            self.certs.push(named(file, CertChoice::Certificate(certificate)));
        } else if let Ok(csr) = CsrView::parse(bytes) {
            self.csrs.push(named(file, csr));
        } else if let Some(statement) = read_statement(bytes) {
            self.statements.push(named(file, statement));
        } else if is_ecdsa_signature(bytes) {
            self.signatures.push(named(file, bytes.to_vec()));
        } else {
            match AttestationBundle::parse(bytes) {
                Ok(bundle) => self.bundles.push(named(file, bundle)),
                Err(defect @ (BundleDefect::Empty | BundleDefect::LegacyStatement { .. })) => {
                    return Err(InputError::Bundle(defect));
                }
                Err(defect @ BundleDefect::Malformed(malformed)) if is_over_count(&malformed) => {
                    return Err(InputError::Bundle(defect));
                }
                Err(BundleDefect::Malformed(_)) => return self.explain(file, bytes),
            }
        }
        Ok(true)
    }

    /// Says what is wrong with bytes that look like a request or a certificate and are none.
    fn explain(&mut self, file: &str, bytes: &[u8]) -> Result<bool, InputError> {
        match (looks_like(bytes), CsrView::parse(bytes), CertView::parse(bytes)) {
            (Some(Shape::Request), Err(malformed), _) => Err(InputError::Csr(CsrDefect::Malformed(malformed))),
            (Some(Shape::Certificate), _, Err(malformed)) => {
                self.certs.push(named(file, CertChoice::Unparsed(malformed)));
                Ok(true)
            }
            (Some(Shape::Request | Shape::Certificate) | None, _, _) => Ok(false),
        }
    }
}

/// Whether bytes read like a bundle as far as was read, up to more members than are read.
fn is_over_count(malformed: &Malformed) -> bool {
    match malformed.reason {
        Reason::OverLimit { what, .. } => matches!(what, "statements" | "certificates"),
        Reason::BadValue(_)
        | Reason::Duplicate(_)
        | Reason::Missing(_)
        | Reason::NotDer(_)
        | Reason::Trailing(_)
        | Reason::Truncated(_)
        | Reason::Unexpected(_) => false,
    }
}

/// Whether a PEM file, broken as it is, says that it is a request.
fn claims_request(file: &[u8]) -> bool {
    const LABEL: &[u8] = b"CERTIFICATE REQUEST-----";
    file.windows(LABEL.len()).any(|window| window == LABEL)
}

enum Shape {
    Request,
    Certificate,
}

/// What broken DER looks like by its first octets: a request begins with version 0 and a name, a
/// certificate with a version of its own or a serial number and an algorithm.
fn looks_like(bytes: &[u8]) -> Option<Shape> {
    let signed = skip_header(bytes, Tag::SEQUENCE)?;
    let fields = skip_header(signed, Tag::SEQUENCE)?;
    match fields {
        [0x02, 0x01, 0x00, rest @ ..] => {
            let name = skip_header(rest, Tag::SEQUENCE)?;
            let is_algorithm = name.first() == Some(&Tag::OID.leading_octet());
            Some(if is_algorithm { Shape::Certificate } else { Shape::Request })
        }
        [0xA0, ..] => Some(Shape::Certificate),
        _ => None,
    }
}

/// What follows a header of this tag, whatever form its length has.
fn skip_header(bytes: &[u8], tag: Tag) -> Option<&[u8]> {
    match bytes {
        [leading, length, rest @ ..] if *leading == tag.leading_octet() => {
            let more = if *length > 0x80 { usize::from(length & 0x7F) } else { 0 };
            rest.get(more..)
        }
        _ => None,
    }
}

/// A statement that stands alone: with its type, or bare where its fields tell the type.
fn read_statement(bytes: &[u8]) -> Option<AttestationStatement> {
    if let Ok(statement) = read_typed_statement(bytes) {
        return Some(statement);
    }
    if TpmCertifyX509::parse(bytes).is_ok() {
        return Some(AttestationStatement::new(oid::STATEMENT_TPM_CERTIFY_X509, bytes));
    }
    // Both statements over TPMS_ATTEST have one form; the type of the attestation tells them apart.
    let fields = TpmCertify::parse(bytes).ok()?;
    TpmsAttest::has_magic(&fields.attest).then(|| AttestationStatement::new(attest_format_oid(&fields.attest), bytes))
}

fn read_typed_statement(bytes: &[u8]) -> Result<AttestationStatement, Malformed> {
    let mut outer = Reader::new(bytes, "AttestationStatement");
    let mut fields = outer.sequence("AttestationStatement")?;
    outer.finish()?;
    let oid = fields.oid("type")?;
    let stmt = fields.element()?;
    fields.finish()?;
    Ok(AttestationStatement::new(oid, stmt.as_der()))
}

fn attest_format_oid(attest: &[u8]) -> oid::Oid {
    if is_quote(attest) { oid::STATEMENT_TPM_QUOTE } else { oid::STATEMENT_TPM_CERTIFY }
}

/// The format that an attestation belongs to. Types that belong to none count as key statements, so that
/// the Verifier can say what is wrong with them.
pub(super) fn attest_format(attest: &[u8]) -> FormatId {
    if is_quote(attest) { FormatId::TpmQuote } else { FormatId::TpmCertify }
}

fn is_quote(attest: &[u8]) -> bool {
    attest.get(4..6) == Some(&ST_ATTEST_QUOTE)
}

fn is_ecdsa_signature(bytes: &[u8]) -> bool {
    let read = || -> Result<(), Malformed> {
        let element = Element::parse(bytes, "ECDSA-Sig-Value")?;
        let mut fields = element.reader();
        fields.unsigned("r")?;
        fields.unsigned("s")?;
        fields.finish()
    };
    read().is_ok()
}

/// The two algorithm identifiers that TPMT_SIGNATURE and TPMT_PUBLIC begin with.
fn leading_ids(bytes: &[u8]) -> Option<(u16, u16)> {
    match bytes {
        [a, b, c, d, ..] => Some((u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]))),
        _ => None,
    }
}

fn is_signature(bytes: &[u8]) -> bool {
    let says_so = leading_ids(bytes).is_some_and(|(scheme, hash)| {
        matches!(scheme, alg::RSASSA | alg::RSAPSS | alg::ECDSA) && HashAlg::from_id(hash).is_some()
    });
    says_so || TpmtSignature::parse(bytes).is_ok()
}

fn is_public(bytes: &[u8]) -> bool {
    let says_so = leading_ids(bytes).is_some_and(|(kind, name_alg)| {
        matches!(kind, alg::RSA | alg::ECC | alg::KEYEDHASH | alg::SYMCIPHER)
            && (name_alg == alg::NULL || HashAlg::from_id(name_alg).is_some())
    });
    says_so || TpmtPublic::parse(bytes).is_ok()
}
