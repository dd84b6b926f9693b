//! The structure of Evidence (draft-ietf-rats-pkix-key-attestation, section 5).

use super::claims::{Elements, SIGNERS};
use super::defect::EvidenceDefect;
use crate::x509::der::{Element, Reader, Tag};
use crate::x509::{AlgorithmIdentifier, CertView, SpkiView};
use crate::{Malformed, Reason, limits};

const PRODUCTION: &str = "Evidence";
/// What came before there was a structure of its own: certificates, each in an OCTET STRING.
const OF_2023: &str = "draft-ounsworth-pkix-key-attestation of 2023";

/// PKIX Evidence: what is signed, by whom, and certificates that help.
///
/// ```asn1
/// Evidence ::= SEQUENCE {
///     tbs                       TbsEvidence,
///     signatures                SEQUENCE SIZE (0..MAX) OF SignatureBlock,
///     intermediateCertificates  [0] SEQUENCE OF Certificate OPTIONAL }
/// ```
///
/// intermediateCertificates are read with both tags: `[0] EXPLICIT`, as the module has it since June 2026, and
/// `[0] IMPLICIT`, as the draft's samples do. The two cannot be mistaken for one another.
#[derive(Clone, Debug)]
pub struct EvidenceView<'a> {
    tbs: &'a [u8],
    elements: Elements<'a>,
    signatures: Vec<SignatureBlock<'a>>,
    intermediates: Vec<CertView>,
}

/// A signature over TbsEvidence.
#[derive(Clone, Debug)]
pub struct SignatureBlock<'a> {
    /// Who signed, in one to three ways.
    pub signer: SignerIdentifier<'a>,
    /// The DER of the AlgorithmIdentifier.
    pub algorithm: &'a [u8],
    /// The signature's octets.
    pub signature: &'a [u8],
}

/// Who signed. At least one member is there; all that are there must be of the key that signed (section 6).
#[derive(Clone, Debug)]
pub struct SignerIdentifier<'a> {
    /// A name for a key that the Verifier knows already.
    pub key_id: Option<&'a [u8]>,
    /// The key.
    pub spki: Option<SpkiView>,
    /// Its certificate.
    pub certificate: Option<CertView>,
}

impl<'a> EvidenceView<'a> {
    /// Reads the DER of one Evidence.
    ///
    /// # Errors
    /// [`EvidenceDefect`] for anything that is not exactly that, and for what the draft tells Verifiers to reject.
    pub fn parse(input: &'a [u8]) -> Result<Self, EvidenceDefect> {
        let outer = Element::parse(input, PRODUCTION)?;
        if outer.tag() != Tag::SEQUENCE {
            return Err(outer.error(Reason::Unexpected(PRODUCTION)).into());
        }
        let mut fields = outer.reader();
        if fields.next_is(Tag::INTEGER) {
            return Err(EvidenceDefect::Request);
        }
        if fields.next_is(Tag::OCTET_STRING) {
            return Err(EvidenceDefect::OlderDraft(OF_2023));
        }
        let tbs = fields.expect(Tag::SEQUENCE, "TbsEvidence")?;
        let elements = Elements::read(&tbs)?;
        let mut list = fields.sequence("signatures")?;
        let mut signatures = Vec::new();
        while !list.is_empty() {
            if signatures.len() >= SIGNERS {
                return Err(list.error(Reason::OverLimit { what: "signature blocks", limit: SIGNERS }).into());
            }
            signatures.push(SignatureBlock::read(list.sequence("SignatureBlock")?)?);
        }
        let intermediates = match fields.optional(Tag::context_constructed(0))? {
            Some(field) => read_certificates(&field)?,
            None => Vec::new(),
        };
        fields.finish()?;
        Ok(Self { tbs: tbs.as_der(), elements, signatures, intermediates })
    }

    /// The DER of the TbsEvidence: what is signed.
    #[must_use]
    pub const fn tbs(&self) -> &'a [u8] {
        self.tbs
    }

    /// What is said.
    #[must_use]
    pub const fn elements(&self) -> &Elements<'a> {
        &self.elements
    }

    /// The signatures; where there are none, nothing may be relied on (section 6).
    #[must_use]
    pub fn signatures(&self) -> &[SignatureBlock<'a>] {
        &self.signatures
    }

    /// Certificates that help to find paths, in no order.
    #[must_use]
    pub fn intermediates(&self) -> &[CertView] {
        &self.intermediates
    }
}

impl<'a> SignatureBlock<'a> {
    fn read(mut fields: Reader<'a>) -> Result<Self, EvidenceDefect> {
        let signer = SignerIdentifier::read(fields.sequence("SignerIdentifier")?)?;
        let algorithm = fields.expect(Tag::SEQUENCE, "signatureAlgorithm")?;
        algorithm.check_strict()?;
        let algorithm = AlgorithmIdentifier::from_element(&algorithm)?.as_der();
        let signature = fields.octet_string("signatureValue")?;
        fields.finish()?;
        Ok(Self { signer, algorithm, signature })
    }
}

impl<'a> SignerIdentifier<'a> {
    fn read(mut fields: Reader<'a>) -> Result<Self, EvidenceDefect> {
        let mut member = |number: u8| -> Result<Option<Element<'a>>, Malformed> {
            let Some(tagged) = fields.optional(Tag::context_constructed(number))? else { return Ok(None) };
            let mut inner = tagged.reader();
            let element = inner.element()?;
            inner.finish()?;
            Ok(Some(element))
        };
        let (key_id, spki, certificate) = (member(0)?, member(1)?, member(2)?);
        fields.finish()?;
        if let Some(key_id) = key_id
            && key_id.tag() != Tag::OCTET_STRING
        {
            return Err(key_id.error(Reason::Unexpected("keyId")).into());
        }
        let signer = Self {
            key_id: key_id.map(|element| element.contents()),
            spki: spki.map(|element| SpkiView::parse(element.as_der())).transpose()?,
            certificate: certificate.map(|element| CertView::parse(element.as_der())).transpose()?,
        };
        let is_empty = signer.key_id.is_none() && signer.spki.is_none() && signer.certificate.is_none();
        if is_empty { Err(EvidenceDefect::SignerEmpty) } else { Ok(signer) }
    }
}

/// The certificates of `[0]`, by either tag. A certificate holds a BIT STRING, a list of certificates does not.
fn read_certificates(field: &Element<'_>) -> Result<Vec<CertView>, Malformed> {
    let mut list = field.reader();
    let mut first = field.reader();
    if !first.is_empty() {
        let only = first.element()?;
        if first.is_empty() && only.tag() == Tag::SEQUENCE && holds_sequences_alone(&only)? {
            list = only.reader();
        }
    }
    let mut certificates = Vec::new();
    while !list.is_empty() {
        if certificates.len() >= limits::CERTIFICATES_USED {
            let limit = limits::CERTIFICATES_USED;
            return Err(list.error(Reason::OverLimit { what: "certificates", limit }));
        }
        certificates.push(CertView::parse(list.element()?.as_der())?);
    }
    Ok(certificates)
}

fn holds_sequences_alone(element: &Element<'_>) -> Result<bool, Malformed> {
    let mut members = element.reader();
    while !members.is_empty() {
        if members.element()?.tag() != Tag::SEQUENCE {
            return Ok(false);
        }
    }
    Ok(true)
}
