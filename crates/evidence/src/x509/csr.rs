//! CertificationRequest (PKCS #10, RFC 2986) as a view over its original bytes.

use core::ops::Range;
use std::sync::Arc;

use thiserror::Error;

use crate::bundle::{AttestationBundle, BundleDefect};
use crate::oid::{self, Oid};
use crate::x509::der::{Deviations, Element, Reader, Tag};
use crate::x509::{AlgorithmIdentifier, NameView, SpkiView};
use crate::{Malformed, Reason, limits};

const PRODUCTION: &str = "CertificationRequest";

/// Why a request does not carry exactly one attestation bundle.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum CsrDefect {
    /// The bundle is not one.
    #[error(transparent)]
    Bundle(#[from] BundleDefect),
    /// The request itself cannot be read.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The attribute id-aa-attestation is there more than once (draft-ietf-lamps-csr-attestation-29, 4.3).
    #[error("the request has {count} attestation attributes instead of one")]
    SeveralAttributes {
        /// How many there are.
        count: usize,
    },
    /// The attribute id-aa-attestation has other than one value (same clause).
    #[error("the attestation attribute has {count} values instead of one")]
    ValueCount {
        /// How many there are.
        count: usize,
    },
}

/// A certification request.
///
/// ```asn1
/// CertificationRequest     ::= SEQUENCE { certificationRequestInfo, signatureAlgorithm AlgorithmIdentifier,
///                                         signature BIT STRING }
/// CertificationRequestInfo ::= SEQUENCE { version INTEGER (0), subject Name, subjectPKInfo, attributes [0] }
/// ```
///
/// Cheap to clone. Nothing about it is verified.
#[derive(Clone, Debug)]
pub struct CsrView(Arc<Layout>);

#[derive(Debug)]
struct Layout {
    der: Box<[u8]>,
    info: Range<usize>,
    subject: NameView,
    spki: SpkiView,
    attributes: Vec<AttributeLayout>,
    algorithm: Range<usize>,
    algorithm_oid: Oid,
    algorithm_parameters: Option<Range<usize>>,
    signature: Range<usize>,
    is_strict: bool,
}

/// An attribute. Where each value stands is not kept: a value may have two octets, and a place takes many more.
#[derive(Debug)]
struct AttributeLayout {
    oid: Oid,
    /// The contents of the SET.
    values: Range<usize>,
}

/// One attribute of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    oid: Oid,
    values: Vec<&'a [u8]>,
}

impl<'a> Attribute<'a> {
    /// The attribute type.
    #[must_use]
    pub const fn oid(&self) -> Oid {
        self.oid
    }

    /// The original DER of each value.
    #[must_use]
    pub fn values(&self) -> &[&'a [u8]] {
        &self.values
    }
}

impl PartialEq for CsrView {
    /// Two requests are equal if their bytes are.
    fn eq(&self, other: &Self) -> bool {
        self.0.der == other.0.der
    }
}

impl Eq for CsrView {}

impl CsrView {
    /// Reads the DER of one request.
    ///
    /// The value of the attestation attribute is left to [`CsrView::attestation_bundle`].
    ///
    /// # Errors
    /// [`Malformed`] unless `input` is exactly that, in DER, and within [`limits`]. The one deviation
    /// that is tolerated is the order of SETs; [`CsrView::is_strict_der`] tells.
    pub fn parse(input: &[u8]) -> Result<Self, Malformed> {
        if input.len() > limits::CSR_OCTETS {
            let reason = Reason::OverLimit { what: "request octets", limit: limits::CSR_OCTETS };
            return Err(Malformed::new(PRODUCTION, 0, reason));
        }
        let mut outer = Reader::new(input, PRODUCTION);
        let mut request = outer.sequence(PRODUCTION)?;
        outer.finish()?;
        let info = request.expect(Tag::SEQUENCE, "certificationRequestInfo")?;
        let algorithm = request.expect(Tag::SEQUENCE, "signatureAlgorithm")?;
        let signature = request.expect(Tag::BIT_STRING, "signature")?;
        request.finish()?;
        let not_octets = signature.error(Reason::NotDer("signature that is not whole octets"));
        let signature_octets = signature.bit_string()?.whole_octets().ok_or(not_octets)?;
        let signature_end = span(&signature).end;
        algorithm.check_strict()?;
        let identifier = AlgorithmIdentifier::from_element(&algorithm)?;

        let mut deviations = Deviations::default();
        let mut fields = info.reader();
        let version = fields.uint("version")?;
        if version != 0 {
            return Err(info.error(Reason::BadValue(version)));
        }
        let subject = fields.expect(Tag::SEQUENCE, "subject")?;
        subject.check_tolerant(&mut deviations)?;
        let spki = fields.expect(Tag::SEQUENCE, "subjectPKInfo")?;
        spki.check_tolerant(&mut deviations)?;
        let attributes = fields.expect(Tag::context_constructed(0), "attributes")?;
        fields.finish()?;
        let attributes = read_attributes(&attributes, &mut deviations)?;
        let algorithm_span = span(&algorithm);
        let layout = Layout {
            info: span(&info),
            subject: NameView::from_element(&subject)?,
            spki: SpkiView::from_element(&spki)?,
            attributes,
            algorithm_oid: identifier.oid(),
            algorithm_parameters: identifier
                .parameters()
                .map(|der| algorithm_span.end.saturating_sub(der.len())..algorithm_span.end),
            algorithm: algorithm_span,
            signature: signature_end.saturating_sub(signature_octets.len())..signature_end,
            is_strict: deviations.unsorted_set.is_none(),
            der: input.into(),
        };
        Ok(Self(Arc::new(layout)))
    }

    fn slice(&self, range: &Range<usize>) -> &[u8] {
        // Every range was made from this input.
        self.0.der.get(range.clone()).unwrap_or_default()
    }

    /// The original DER.
    #[must_use]
    pub fn as_der(&self) -> &[u8] {
        &self.0.der
    }

    /// The original DER of the CertificationRequestInfo, its header included: what the signature covers.
    #[must_use]
    pub fn info(&self) -> &[u8] {
        self.slice(&self.0.info)
    }

    /// The subject's name.
    #[must_use]
    pub fn subject(&self) -> &NameView {
        &self.0.subject
    }

    /// The subject's public key.
    #[must_use]
    pub fn spki(&self) -> &SpkiView {
        &self.0.spki
    }

    /// The attributes, in order.
    pub fn attributes(&self) -> impl ExactSizeIterator<Item = Attribute<'_>> {
        self.0
            .attributes
            .iter()
            .map(|layout| Attribute { oid: layout.oid, values: read_values(self.slice(&layout.values)) })
    }

    /// The signature algorithm.
    #[must_use]
    pub fn algorithm(&self) -> AlgorithmIdentifier<'_> {
        AlgorithmIdentifier::from_parts(
            self.slice(&self.0.algorithm),
            self.0.algorithm_oid,
            self.0.algorithm_parameters.as_ref().map(|range| self.slice(range)),
        )
    }

    /// The octets of the signature.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        self.slice(&self.0.signature)
    }

    /// Whether all SETs are in order as DER asks.
    #[must_use]
    pub fn is_strict_der(&self) -> bool {
        self.0.is_strict
    }

    /// The attestation bundle in the request's attributes; `None` if the attribute is not there.
    ///
    /// # Errors
    /// [`CsrDefect`] if there is more than one attribute or value, or the value is no bundle.
    pub fn attestation_bundle(&self) -> Result<Option<AttestationBundle>, CsrDefect> {
        let found: Vec<Attribute<'_>> =
            self.attributes().filter(|attribute| attribute.oid == oid::AA_ATTESTATION).collect();
        match found.as_slice() {
            [] => Ok(None),
            [attribute] => match attribute.values.as_slice() {
                [value] => Ok(Some(AttestationBundle::parse(value)?)),
                values => Err(CsrDefect::ValueCount { count: values.len() }),
            },
            several => Err(CsrDefect::SeveralAttributes { count: several.len() }),
        }
    }
}

fn read_attributes(list: &Element<'_>, deviations: &mut Deviations) -> Result<Vec<AttributeLayout>, Malformed> {
    let mut members = list.reader();
    let mut attributes = Vec::new();
    let mut previous: Option<&[u8]> = None;
    while !members.is_empty() {
        if attributes.len() >= limits::CSR_ATTRIBUTES {
            let reason = Reason::OverLimit { what: "attributes", limit: limits::CSR_ATTRIBUTES };
            return Err(members.error(reason));
        }
        let member = members.expect(Tag::SEQUENCE, "Attribute")?;
        if previous.is_some_and(|previous| previous > member.as_der()) {
            deviations.unsorted_set.get_or_insert(member.offset());
        }
        previous = Some(member.as_der());
        attributes.push(read_attribute(&member, deviations)?);
    }
    Ok(attributes)
}

fn read_attribute(element: &Element<'_>, deviations: &mut Deviations) -> Result<AttributeLayout, Malformed> {
    let mut fields = element.reader();
    let oid = fields.oid("attribute type")?;
    let set = fields.expect(Tag::SET, "attribute values")?;
    fields.finish()?;
    let mut members = set.reader();
    let mut count = 0_usize;
    while !members.is_empty() {
        if count >= limits::CSR_ATTRIBUTE_VALUES {
            let reason = Reason::OverLimit { what: "values of an attribute", limit: limits::CSR_ATTRIBUTE_VALUES };
            return Err(members.error(reason));
        }
        let value = members.element()?;
        // The bundle has its own reader: certificates in it may have quirks.
        if oid != oid::AA_ATTESTATION {
            value.check_tolerant(deviations)?;
        }
        count = count.saturating_add(1);
    }
    if count == 0 && oid != oid::AA_ATTESTATION {
        return Err(set.error(Reason::Missing("attribute value")));
    }
    let end = span(&set).end;
    Ok(AttributeLayout { oid, values: end.saturating_sub(set.contents().len())..end })
}

/// The values in the contents of a SET that was read before.
fn read_values(contents: &[u8]) -> Vec<&[u8]> {
    let mut members = Reader::new(contents, PRODUCTION);
    core::iter::from_fn(|| members.element().ok()).map(|value| value.as_der()).collect()
}

fn span(element: &Element<'_>) -> Range<usize> {
    element.offset()..element.offset().saturating_add(element.as_der().len())
}
