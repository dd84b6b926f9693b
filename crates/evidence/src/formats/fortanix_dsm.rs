//! Key attestation statements of the Fortanix Data Security Manager (Fortanix, "Using Fortanix DSM for Verifying Key
//! Attestation Statements"): a certificate for the key, signed by the Key Attestation Authority of its cluster, in a JSON
//! document with the certificates above it.

use super::{Offer, Outline, Recognized, Row, Wrapping};
use crate::input::InputError;
use crate::json::Value;
use crate::oid::{self, Oid};
use crate::x509::CertView;
use crate::x509::der::{Reader, Tag};
use crate::{Malformed, Reason, limits, pem};

/// What the format is called, how it travels, and how it is recognized.
pub static ROW: Row = Row {
    id: "fortanix-dsm",
    title: "Fortanix DSM key attestation statement",
    statement: oid::STATEMENT_FORTANIX_DSM,
    wrapping: Wrapping::OctetString,
    recognize,
    in_request: super::not_in_requests,
    takes_client_data: false,
    outline,
};

/// Octets of one JSON document: a statement and a chain of three certificates have about six thousand.
pub const DOCUMENT_OCTETS: usize = 256 * 1024;
/// Certificates of an authority chain.
pub const AUTHORITY_CHAIN: usize = 8;

const PRODUCTION: &str = "Fortanix key attestation";
const CHAIN: &str = "authority_chain";
const STATEMENT: &str = "attestation_statement";
/// The one kind of statement that is defined.
const X509_CERTIFICATE: &str = "x509_certificate";

/// A statement, with the certificates that came in the same document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyAttestation {
    statement: CertView,
    authority_chain: Vec<CertView>,
}

/// Why a document is none that can be verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Defect {
    /// It does not have the form.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Its statement is of a kind that is not known.
    #[error("the statement is of another kind than x509_certificate")]
    UnknownStatement,
}

impl KeyAttestation {
    /// Reads a JSON document as DSM gives it out, or the bare certificate that is the statement. Members beyond those
    /// that are documented are left alone.
    ///
    /// # Errors
    /// [`Defect`] for anything else, and beyond [`DOCUMENT_OCTETS`] and [`AUTHORITY_CHAIN`].
    pub fn parse(input: &[u8]) -> Result<Self, Defect> {
        let error = |reason| Malformed::new(PRODUCTION, 0, reason);
        if input.len() > DOCUMENT_OCTETS {
            return Err(error(Reason::OverLimit { what: "document octets", limit: DOCUMENT_OCTETS }).into());
        }
        if input.first() == Some(&Tag::SEQUENCE.leading_octet()) {
            return Ok(Self { statement: CertView::parse(input)?, authority_chain: Vec::new() });
        }
        let document = Value::parse(input)?;
        let Some(Value::Array(chain)) = document.member(CHAIN) else {
            return Err(error(Reason::Missing(CHAIN)).into());
        };
        let statement = document.member(STATEMENT).ok_or_else(|| error(Reason::Missing(STATEMENT)))?;
        match statement.member("format").and_then(Value::text) {
            Some(X509_CERTIFICATE) => {}
            Some(_) => return Err(Defect::UnknownStatement),
            None => return Err(error(Reason::Missing("format")).into()),
        }
        if chain.len() > AUTHORITY_CHAIN {
            return Err(error(Reason::OverLimit { what: "authority certificates", limit: AUTHORITY_CHAIN }).into());
        }
        let statement = statement.member("statement").ok_or_else(|| error(Reason::Missing("statement")))?;
        let authority_chain = chain.iter().map(certificate).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { statement: certificate(statement)?, authority_chain })
    }

    /// The certificate for the key.
    #[must_use]
    pub const fn statement(&self) -> &CertView {
        &self.statement
    }

    /// Certificates that came with it, in any order: nothing but hints.
    #[must_use]
    pub fn authority_chain(&self) -> &[CertView] {
        &self.authority_chain
    }
}

/// A certificate as a member: canonical base64 of DER.
fn certificate(value: &Value) -> Result<CertView, Malformed> {
    let der = value.text().and_then(|text| pem::decode(text.as_bytes()));
    CertView::parse(&der.ok_or_else(|| Malformed::new(PRODUCTION, 0, Reason::Unexpected("base64 of a certificate")))?)
}

/// Whether a certificate's extension of this type says what its presence means: an empty SEQUENCE, once.
///
/// # Errors
/// [`Malformed`] where it is there twice, or holds anything else.
pub fn says(certificate: &CertView, claim: Oid) -> Result<bool, Malformed> {
    match certificate.extension(claim)? {
        None => Ok(false),
        Some(extension) if extension.value() == [Tag::SEQUENCE.leading_octet(), 0x00] => Ok(true),
        Some(_) => Err(Malformed::new(PRODUCTION, 0, Reason::Unexpected("an empty SEQUENCE"))),
    }
}

/// Whether an authority's certificate says that every node of its cluster is an FX2200 appliance or better.
///
/// ```asn1
/// NodeEnrollmentPolicy ::= SEQUENCE OF SEQUENCE { item OBJECT IDENTIFIER, qualifiers ANY DEFINED BY item OPTIONAL }
/// ```
///
/// # Errors
/// [`Malformed`] where the extension is there twice or has another form.
pub fn demands_fx2200(authority: &CertView) -> Result<bool, Malformed> {
    let Some(extension) = authority.extension(oid::FORTANIX_NODE_POLICY)? else { return Ok(false) };
    let mut outer = Reader::new(extension.value(), "NodeEnrollmentPolicy");
    let mut items = outer.sequence("items")?;
    outer.finish()?;
    let mut found = false;
    while !items.is_empty() {
        let mut item = items.sequence("item")?;
        let is_minimum = item.oid("item")? == oid::FORTANIX_MINIMUM_PROTECTION;
        while !item.is_empty() {
            let qualifier = item.element()?;
            found |= is_minimum && qualifier.tag() == Tag::OID && qualifier.oid()? == oid::FORTANIX_FX2200;
        }
        item.finish()?;
    }
    items.finish()?;
    Ok(found)
}

/// Whether a certificate is a statement by what is in it, and by having issued none of the others.
fn is_statement(certificate: &CertView, offer: &Offer<'_>) -> bool {
    let is_told = certificate.subject().attributes(oid::FORTANIX_KEY_ID).next().is_some()
        || certificate.extensions().any(|extension| extension.oid().is_within(&oid::FORTANIX_KEY_CLAIMS));
    let is_issuer = |other: &CertView| other.issuer().matches(certificate.subject()) && other != certificate;
    is_told && !offer.certificates.iter().any(|other| is_issuer(&other.certificate))
}

/// Whether a file is, or was meant to be, such a document.
fn is_document(file: &[u8]) -> bool {
    let start = file.iter().find(|octet| !octet.is_ascii_whitespace());
    let has = |name: &str| file.windows(name.len()).any(|window| window == name.as_bytes());
    start == Some(&b'{') && file.len() <= limits::INPUT_OCTETS && has(CHAIN) && has(STATEMENT)
}

fn recognize(offer: &Offer<'_>) -> Result<Option<Recognized>, InputError> {
    let mut found: Option<(&str, Vec<u8>)> = None;
    let mut certificates: Vec<CertView> = Vec::new();
    let is_told = |file: &super::OfferedFile<'_>| file.blocks.is_empty() && is_document(file.bytes);
    let documents = offer.files.iter().filter(|file| is_told(file)).map(|file| (file.name, file.bytes.to_vec()));
    // Certificates alone are told by what is in them only where nothing else is there to tell.
    let has_no_files = offer.files.is_empty();
    let loose = offer.certificates.iter().filter(|offered| has_no_files && is_statement(&offered.certificate, offer));
    let loose = loose.map(|offered| (offered.file, offered.certificate.as_der().to_vec()));
    for (name, content) in documents.chain(loose) {
        match &found {
            Some((_, first)) if *first == content => {}
            Some((first, _)) => {
                let (first, second) = ((*first).to_owned(), name.to_owned());
                return Err(InputError::Ambiguous { part: "key attestation statement", first, second });
            }
            None => found = Some((name, content)),
        }
    }
    let Some((_, content)) = found else { return Ok(None) };
    if let Some(other) = offer.files.iter().find(|file| !is_told(file)) {
        return Err(InputError::Unrecognized { file: other.name.to_owned() });
    }
    let others = offer.certificates.iter().map(|offered| &offered.certificate);
    certificates.extend(others.filter(|certificate| certificate.as_der() != content).cloned());
    Ok(Some(Recognized { content, certificates }))
}

fn outline(input: &[u8]) -> Result<Vec<Outline>, Malformed> {
    let attestation = match KeyAttestation::parse(input) {
        Ok(attestation) => attestation,
        Err(Defect::Malformed(malformed)) => return Err(malformed),
        Err(Defect::UnknownStatement) => {
            return Err(Malformed::new(PRODUCTION, 0, Reason::Unexpected(X509_CERTIFICATE)));
        }
    };
    let statement = attestation.statement();
    let mut items = Vec::new();
    for attribute in statement.subject().attributes(oid::FORTANIX_KEY_ID) {
        items.push(Outline::leaf("key", attribute.text().unwrap_or_default()));
    }
    let yes_or_no = |said| if said { "yes" } else { "not said" };
    items.push(Outline::leaf("generated in DSM", yes_or_no(says(statement, oid::FORTANIX_GENERATED)?)));
    items.push(Outline::leaf("never exportable", yes_or_no(says(statement, oid::FORTANIX_NEVER_EXPORTABLE)?)));
    items.push(Outline::certificate("statement", statement.clone()));
    let chain = attestation.authority_chain().iter().cloned();
    items.push(Outline::group(
        "authority chain",
        chain.map(|certificate| Outline::certificate("certificate", certificate)).collect(),
    ));
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_of_other_forms_are_refused() {
        for text in [
            "{}",
            r#"{"authority_chain": []}"#,
            r#"{"authority_chain": [], "attestation_statement": {"format": "x509_certificate"}}"#,
            r#"{"authority_chain": [], "attestation_statement": {"statement": ""}}"#,
            r#"{"authority_chain": [""], "attestation_statement": {"format": "x509_certificate", "statement": ""}}"#,
            r#"{"authority_chain": {}, "attestation_statement": {"format": "x509_certificate", "statement": ""}}"#,
        ] {
            assert!(matches!(KeyAttestation::parse(text.as_bytes()), Err(Defect::Malformed(_))), "{text}");
        }
        let other = br#"{"authority_chain": [], "attestation_statement": {"format": "cwt", "statement": ""}}"#;
        assert_eq!(KeyAttestation::parse(other), Err(Defect::UnknownStatement));
    }

    #[test]
    fn chains_are_bounded() {
        let chain = ["\"\""; AUTHORITY_CHAIN + 1].join(",");
        let text = format!(
            r#"{{"authority_chain": [{chain}], "attestation_statement": {{"format": "x509_certificate", "statement": ""}}}}"#
        );
        let Err(Defect::Malformed(malformed)) = KeyAttestation::parse(text.as_bytes()) else { panic!("{text}") };
        assert!(matches!(malformed.reason, Reason::OverLimit { limit: AUTHORITY_CHAIN, .. }));
        let long = vec![b' '; DOCUMENT_OCTETS + 1];
        assert!(matches!(KeyAttestation::parse(&long), Err(Defect::Malformed(_))));
    }
}
