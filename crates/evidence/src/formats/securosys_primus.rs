//! Key attestations of Securosys Primus modules (Securosys, "Primus HSM: Attestation and Audit"): an XML document and
//! a detached signature over its octets. The certificates of the attestation key come beside them.

pub mod xml;

use self::xml::Node;
use super::{ListedFormat, Offer, OfferedFile, Outline, Recognized, Row, Wrapping};
use crate::input::InputError;
use crate::x509::SpkiView;
use crate::x509::build::{DerWriter, octet_string};
use crate::x509::der::{Element, Tag};
use crate::{Malformed, Reason, oid, pem};

/// What the format is called, how it travels, and how it is recognized.
pub static ROW: Row = Row {
    id: "securosys-primus",
    title: "Securosys Primus key attestation",
    statement: oid::STATEMENT_SECUROSYS_PRIMUS,
    wrapping: Wrapping::OctetString,
    recognize,
    in_request: super::not_in_requests,
    takes_client_data: false,
    outline,
};

const PRODUCTION: &str = "Primus key attestation";
/// Octets of one signature: that of an RSA key of 8192 bits.
pub const SIGNATURE_OCTETS: usize = 1024;
/// The element that says that a document is the attestation of a private key.
const ROOT: &str = "private_key";
/// Octets from the beginning in which that element begins.
const ROOT_WITHIN: usize = 4096;

/// A document with its signature, as they travel in a statement.
///
/// ```asn1
/// SignedDocument ::= SEQUENCE { document OCTET STRING, signature OCTET STRING }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedDocument<'a> {
    /// The octets of the XML document, every one of them signed.
    pub document: &'a [u8],
    /// The signature.
    pub signature: &'a [u8],
}

impl<'a> SignedDocument<'a> {
    /// Reads the DER of both.
    ///
    /// # Errors
    /// [`Malformed`] if it has another form, or exceeds a bound of this module.
    pub fn parse(input: &'a [u8]) -> Result<Self, Malformed> {
        let element = Element::parse(input, PRODUCTION)?;
        if element.tag() != Tag::SEQUENCE {
            return Err(element.error(Reason::Unexpected(PRODUCTION)));
        }
        let mut fields = element.reader();
        let (document, signature) = (fields.octet_string("document")?, fields.octet_string("signature")?);
        fields.finish()?;
        if signature.len() > SIGNATURE_OCTETS {
            return Err(element.error(Reason::OverLimit { what: "signature octets", limit: SIGNATURE_OCTETS }));
        }
        Ok(Self { document, signature })
    }

    /// The DER of both.
    #[must_use]
    pub fn to_der(&self) -> Vec<u8> {
        let mut writer = DerWriter::new();
        writer.sequence(|fields| {
            fields.raw(&octet_string(self.document)).raw(&octet_string(self.signature));
        });
        writer.into_der()
    }
}

/// What a document says of a private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyAttestation {
    root: Node,
    public_key: SpkiView,
    attributes: Vec<(String, bool)>,
}

impl KeyAttestation {
    /// Reads a document.
    ///
    /// # Errors
    /// [`Malformed`] if it is no attestation of a private key.
    pub fn parse(document: &[u8]) -> Result<Self, Malformed> {
        let malformed = |reason| Malformed::new(PRODUCTION, 0, reason);
        let root = xml::parse(document)?;
        if root.name != ROOT {
            return Err(malformed(Reason::Unexpected("private_key")));
        }
        let encoded = root.child("public_key").ok_or(malformed(Reason::Missing("public_key")))?;
        let der = pem::decode(encoded.text.as_bytes()).ok_or(malformed(Reason::Unexpected("base64 of public_key")))?;
        let public_key = SpkiView::parse(&der)?;
        let listed = root.child("attributes").ok_or(malformed(Reason::Missing("attributes")))?;
        let mut attributes = Vec::new();
        for attribute in &listed.children {
            let value = match attribute.text.as_str() {
                "true" => true,
                "false" => false,
                _ => return Err(malformed(Reason::Unexpected("true or false"))),
            };
            attributes.push((attribute.name.clone(), value));
        }
        Ok(Self { root, public_key, attributes })
    }

    /// How the key came into the module, in the words of the document.
    #[must_use]
    pub fn creation(&self) -> Option<&str> {
        self.root.attribute("creation")
    }

    /// The public part.
    #[must_use]
    pub const fn public_key(&self) -> &SpkiView {
        &self.public_key
    }

    /// An attribute of the key.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<bool> {
        self.attributes.iter().find(|(found, _)| found == name).map(|(_, value)| *value)
    }

    /// The text of an element beside the attributes, such as `label` and `attest_time`.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.root.child(name).filter(|child| child.children.is_empty()).map(|child| child.text.as_str())
    }
}

/// Whether a file is such a document, well-formed or not.
fn begins_as_document(octets: &[u8]) -> bool {
    let begin = octets.get(..ROOT_WITHIN).unwrap_or(octets);
    let begin = begin.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(begin).trim_ascii_start();
    let root = [b"<", ROOT.as_bytes()].concat();
    begin.starts_with(b"<") && begin.windows(root.len()).any(|window| window == root)
}

/// A document, the signature over it, and certificates.
fn recognize(offer: &Offer<'_>) -> Result<Option<Recognized>, InputError> {
    let (documents, others): (Vec<&OfferedFile<'_>>, Vec<_>) =
        offer.files.iter().partition(|file| file.blocks.is_empty() && begins_as_document(file.bytes));
    let ambiguous = |part, first: &OfferedFile<'_>, second: &OfferedFile<'_>| InputError::Ambiguous {
        part,
        first: first.name.to_owned(),
        second: second.name.to_owned(),
    };
    let document = match documents.as_slice() {
        [] => return Ok(None),
        [document] => document.bytes,
        [first, second, ..] => return Err(ambiguous("XML document", first, second)),
    };
    let is_signature = |file: &&OfferedFile<'_>| {
        file.blocks.is_empty() && file.bytes.len() <= 2 * SIGNATURE_OCTETS && !file.bytes.is_empty()
    };
    let (signatures, others): (Vec<&OfferedFile<'_>>, Vec<_>) = others.into_iter().partition(is_signature);
    if let Some(other) = others.first() {
        return Err(InputError::Unrecognized { file: other.name.to_owned() });
    }
    let signature = match signatures.as_slice() {
        [] => {
            let format = ListedFormat(&ROW).into();
            return Err(InputError::Incomplete { format, part: "the signature over the XML document" });
        }
        [signature] => signature_octets(signature.bytes),
        [first, second, ..] => return Err(ambiguous("signature", first, second)),
    };
    let content = SignedDocument { document, signature: &signature }.to_der();
    let certificates = offer.certificates.iter().map(|offered| offered.certificate.clone()).collect();
    Ok(Some(Recognized { content, certificates }))
}

/// The signature as it is, or decoded where the file is base64.
fn signature_octets(file: &[u8]) -> Vec<u8> {
    let text: Vec<u8> = file.iter().copied().filter(|octet| !octet.is_ascii_whitespace()).collect();
    pem::decode(&text).filter(|octets| !octets.is_empty()).unwrap_or_else(|| file.to_vec())
}

fn outline(input: &[u8]) -> Result<Vec<Outline>, Malformed> {
    let signed = SignedDocument::parse(input)?;
    let attestation = KeyAttestation::parse(signed.document)?;
    Ok(vec![
        outline_of(&attestation.root),
        Outline::leaf("signature", format!("{} octets over {} octets", signed.signature.len(), signed.document.len())),
    ])
}

fn outline_of(node: &Node) -> Outline {
    let attributes = node.attributes.iter().map(|(name, value)| Outline::leaf(format!("@{name}"), value.clone()));
    let parts = attributes.chain(node.children.iter().map(outline_of)).collect();
    Outline { name: node.name.clone(), text: node.text.clone(), parts, certificate: None }
}
