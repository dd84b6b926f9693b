//! Telling Evidence from everything else, by its content.

use super::claims::{is_of_evidence, is_of_old_draft};
use super::view::EvidenceView;
use crate::formats::{Offer, OfferedFile, Recognized};
use crate::input::InputError;
use crate::oid::Oid;
use crate::x509::CsrView;
use crate::x509::der::{Element, Reader, Tag};
use crate::{Malformed, Reason, oid, pem};

/// The label of Evidence in PEM (draft-ietf-rats-pkix-key-attestation, 5.5).
const LABEL: &str = "EVIDENCE";
/// The extension that carried attestations in the draft of 2023: 1.3.6.1.4.1.54392.5.1571.
const EXTENSION_OF_2023: [u8; 11] = [0x2B, 0x06, 0x01, 0x04, 0x01, 0x83, 0xA8, 0x78, 0x05, 0x8C, 0x23];

/// Whether files are Evidence: one of them is, and whatever else is there are certificates.
pub(super) fn recognize(offer: &Offer<'_>) -> Result<Option<Recognized>, InputError> {
    let mut found: Option<(&str, Vec<u8>)> = None;
    let mut strange = None;
    for file in &offer.files {
        let candidates = evidence_of(file)?;
        if candidates.is_empty() {
            strange.get_or_insert(file.name);
        }
        for content in candidates {
            if let Some((first, _)) = &found {
                let (first, second) = ((*first).to_owned(), file.name.to_owned());
                return Err(InputError::Ambiguous { part: "Evidence", first, second });
            }
            found = Some((file.name, content));
        }
    }
    match (found, strange) {
        (None, _) => Ok(None),
        (Some(_), Some(file)) => Err(InputError::Unrecognized { file: file.to_owned() }),
        (Some((_, content)), None) => {
            let certificates = offer.certificates.iter().map(|offered| offered.certificate.clone()).collect();
            Ok(Some(Recognized { content, certificates }))
        }
    }
}

/// The Evidence in a file: DER, PEM, or base64 alone.
fn evidence_of(file: &OfferedFile<'_>) -> Result<Vec<Vec<u8>>, InputError> {
    if file.blocks.is_empty() {
        return Ok(match (is_evidence(file.bytes), from_base64(file.bytes)) {
            (true, _) => vec![file.bytes.to_vec()],
            (false, Some(content)) if is_evidence(&content) => vec![content],
            (false, Some(_) | None) => Vec::new(),
        });
    }
    let mut found = Vec::new();
    for block in &file.blocks {
        match (block.label() == LABEL, is_evidence(block.contents())) {
            (true, _) => found.push(block.contents().to_vec()),
            (false, true) => {
                let malformed = Malformed::new("PEM", 0, Reason::Unexpected("the label EVIDENCE"));
                return Err(InputError::Malformed { file: file.name.to_owned(), malformed });
            }
            (false, false) => {}
        }
    }
    Ok(found)
}

/// What a text of nothing but base64 and white space holds.
fn from_base64(text: &[u8]) -> Option<Vec<u8>> {
    // The first six bits of a SEQUENCE.
    if text.trim_ascii_start().first() != Some(&b'M') {
        return None;
    }
    let digits: Vec<u8> = text.iter().copied().filter(|octet| !octet.is_ascii_whitespace()).collect();
    pem::decode(&digits)
}

/// Whether octets are, or try to be, Evidence of any generation or a request for it.
fn is_evidence(octets: &[u8]) -> bool {
    looks_like_evidence(octets) == Some(true) || is_attestation_of_2023(octets) || EvidenceView::parse(octets).is_ok()
}

/// Whether the first element of what looks like a TbsEvidence has a type of this format. Lengths are not looked at:
/// damaged Evidence is Evidence.
fn looks_like_evidence(octets: &[u8]) -> Option<bool> {
    let outer = behind_header(octets, Tag::SEQUENCE)?;
    // A request is the TbsEvidence alone.
    let fields =
        if outer.first() == Some(&Tag::INTEGER.leading_octet()) { outer } else { behind_header(outer, Tag::SEQUENCE)? };
    let [0x02, length @ 1..=8, rest @ ..] = fields else { return None };
    let elements = behind_header(rest.get(usize::from(*length)..)?, Tag::SEQUENCE)?;
    let element = behind_header(elements, Tag::SEQUENCE)?;
    let [0x06, length, rest @ ..] = element else { return None };
    let element_type = rest.get(..usize::from(*length))?;
    Some(is_of_evidence(element_type) || is_of_old_draft(element_type))
}

/// What follows a header of this tag, whatever form its length has.
fn behind_header(octets: &[u8], tag: Tag) -> Option<&[u8]> {
    match octets {
        [leading, length, rest @ ..] if *leading == tag.leading_octet() => {
            let more = if *length > 0x80 { usize::from(length & 0x7F) } else { 0 };
            rest.get(more..)
        }
        _ => None,
    }
}

/// Whether octets are certificates, each in an OCTET STRING, the last of which says that it is an attestation.
fn is_attestation_of_2023(octets: &[u8]) -> bool {
    let read = || -> Result<bool, Malformed> {
        let mut list = Element::parse(octets, "attestation")?.reader();
        let mut arc_is_there = false;
        while !list.is_empty() {
            let certificate = list.octet_string("certificate")?;
            let arc = EXTENSION_OF_2023.get(..9).unwrap_or_default();
            arc_is_there |= certificate.windows(arc.len()).any(|window| window == arc);
        }
        Ok(arc_is_there)
    };
    octets.first() == Some(&Tag::SEQUENCE.leading_octet()) && read().unwrap_or(false)
}

/// Attestations of the draft of 2023 stood in an extension that a request asked for. They are found so that they can
/// be refused by name; extensions that cannot be read are somebody else's.
pub(super) fn in_request(request: &CsrView) -> Result<Option<Recognized>, Malformed> {
    let values = request
        .attributes()
        .filter(|attribute| attribute.oid() == oid::EXTENSION_REQUEST)
        .flat_map(|attribute| attribute.values().to_vec());
    let found = values.into_iter().find_map(|value| attestation_of_2023(value).ok().flatten());
    Ok(found.map(|content| Recognized { content, certificates: Vec::new() }))
}

/// The attestation among the extensions that a request asks for.
fn attestation_of_2023(extensions: &[u8]) -> Result<Option<Vec<u8>>, Malformed> {
    let wanted = Oid::from_der_contents(&EXTENSION_OF_2023).ok();
    let mut extensions = Reader::new(extensions, "ExtensionRequest").sequence("Extensions")?;
    while !extensions.is_empty() {
        let mut fields = extensions.sequence("Extension")?;
        if Some(fields.oid("extnID")?) == wanted {
            fields.optional(Tag::BOOLEAN)?;
            return fields.octet_string("extnValue").map(|content| Some(content.to_vec()));
        }
    }
    Ok(None)
}
