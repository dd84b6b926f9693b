//! PKIMessage and PKIHeader (RFC 9810, sections 5.1 and 5.1.1), read from strict DER.

use vouchsafe_evidence::oid::Oid;
use vouchsafe_evidence::x509::build::DerWriter;
use vouchsafe_evidence::x509::der::{Element, Reader, Tag};
use vouchsafe_evidence::x509::{AlgorithmIdentifier, CertView, NameView};
use vouchsafe_evidence::{Malformed, Reason};

use super::body::Body;
use super::{limits, oids};

const PRODUCTION: &str = "PKIMessage";

/// A message as it came. Nothing about it is verified.
///
/// ```asn1
/// PKIMessage ::= SEQUENCE { header PKIHeader, body PKIBody, protection [0] PKIProtection OPTIONAL,
///                           extraCerts [1] SEQUENCE SIZE (1..MAX) OF CMPCertificate OPTIONAL }
/// ```
#[derive(Clone, Debug)]
pub struct Message<'a> {
    /// The header.
    pub header: Header<'a>,
    /// The body.
    pub body: Body<'a>,
    /// The DER of the ProtectedPart: header and body, exactly as they came.
    pub protected_part: Vec<u8>,
    /// The octets of the protection.
    pub protection: Option<&'a [u8]>,
    /// extraCerts, in order.
    pub extra_certs: Vec<CertView>,
}

/// The header of a message.
#[derive(Clone, Debug)]
pub struct Header<'a> {
    /// pvno.
    pub version: u64,
    /// The DER of the sender, a GeneralName.
    pub sender: &'a [u8],
    /// The sender's name, where it is a directory name.
    pub sender_name: Option<NameView>,
    /// protectionAlg.
    pub protection_algorithm: Option<AlgorithmIdentifier<'a>>,
    /// senderKID.
    pub sender_key_id: Option<&'a [u8]>,
    /// transactionID.
    pub transaction_id: Option<&'a [u8]>,
    /// senderNonce.
    pub sender_nonce: Option<&'a [u8]>,
    /// recipNonce.
    pub recipient_nonce: Option<&'a [u8]>,
    /// generalInfo.
    pub general_info: Vec<InfoTypeAndValue<'a>>,
}

/// A piece of information with its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InfoTypeAndValue<'a> {
    /// infoType.
    pub info_type: Oid,
    /// The DER of infoValue.
    pub value: Option<&'a [u8]>,
}

impl<'a> Message<'a> {
    /// Reads the DER of one PKIMessage.
    ///
    /// # Errors
    /// [`Malformed`] unless `input` is exactly that, within [`limits`].
    pub fn parse(input: &'a [u8]) -> Result<Self, Malformed> {
        if input.len() > limits::MESSAGE_OCTETS {
            return Err(over("octets of a message", limits::MESSAGE_OCTETS, 0));
        }
        let mut outer = Reader::new(input, PRODUCTION);
        let mut fields = outer.sequence(PRODUCTION)?;
        outer.finish()?;
        let header = fields.expect(Tag::SEQUENCE, "header")?;
        let body = fields.element()?;
        let protection = match fields.optional(Tag::context_constructed(0))? {
            Some(tagged) => Some(read_protection(&tagged)?),
            None => None,
        };
        let extra_certs = match fields.optional(Tag::context_constructed(1))? {
            Some(tagged) => read_certificates(&only(&tagged, Tag::SEQUENCE, "extraCerts")?)?,
            None => Vec::new(),
        };
        fields.finish()?;
        header.check_strict()?;
        let mut protected_part = DerWriter::new();
        protected_part.sequence(|part| {
            part.raw(header.as_der()).raw(body.as_der());
        });
        Ok(Self {
            header: Header::from_element(&header)?,
            body: Body::from_element(&body)?,
            protected_part: protected_part.into_der(),
            protection,
            extra_certs,
        })
    }
}

impl<'a> Header<'a> {
    fn from_element(element: &Element<'a>) -> Result<Self, Malformed> {
        let mut fields = element.reader();
        let version = fields.uint("pvno")?;
        let sender = general_name(&mut fields, "sender")?;
        general_name(&mut fields, "recipient")?;
        if let Some(time) = fields.optional(Tag::context_constructed(0))? {
            // When it was sent decides nothing: what is fresh, nonces and transactions tell.
            only(&time, Tag::GENERALIZED_TIME, "messageTime")?;
        }
        let protection_algorithm = match fields.optional(Tag::context_constructed(1))? {
            Some(tagged) => Some(AlgorithmIdentifier::parse(only(&tagged, Tag::SEQUENCE, "protectionAlg")?.as_der())?),
            None => None,
        };
        let sender_key_id = octets(&mut fields, 2, "senderKID", limits::KEY_ID_OCTETS_MAX)?;
        octets(&mut fields, 3, "recipKID", limits::KEY_ID_OCTETS_MAX)?;
        let transaction_id = octets(&mut fields, 4, "transactionID", limits::TRANSACTION_ID_OCTETS_MAX)?;
        let sender_nonce = octets(&mut fields, 5, "senderNonce", limits::SENDER_NONCE_OCTETS_MAX)?;
        let recipient_nonce = octets(&mut fields, 6, "recipNonce", limits::SENDER_NONCE_OCTETS_MAX)?;
        if let Some(tagged) = fields.optional(Tag::context_constructed(7))? {
            check_free_text(&only(&tagged, Tag::SEQUENCE, "freeText")?)?;
        }
        let general_info = match fields.optional(Tag::context_constructed(8))? {
            Some(tagged) => read_info_values(&only(&tagged, Tag::SEQUENCE, "generalInfo")?)?,
            None => Vec::new(),
        };
        fields.finish()?;
        Ok(Self {
            version,
            sender: sender.as_der(),
            sender_name: directory_name(&sender)?,
            protection_algorithm,
            sender_key_id,
            transaction_id,
            sender_nonce,
            recipient_nonce,
            general_info,
        })
    }

    /// Whether the sender wants its certificate without confirming it (RFC 9810, section 5.1.1.1).
    #[must_use]
    pub fn asks_for_implicit_confirmation(&self) -> bool {
        self.general_info.iter().any(|info| info.info_type == oids::IMPLICIT_CONFIRM)
    }

    /// The profiles that generalInfo names (RFC 9810, section 5.1.1.4).
    ///
    /// # Errors
    /// [`Malformed`] if the value is no list of names.
    pub fn profiles(&self) -> Result<Vec<&'a str>, Malformed> {
        let mut names = Vec::new();
        for info in self.general_info.iter().filter(|info| info.info_type == oids::CERT_PROFILE) {
            let list = Element::parse(info.value.unwrap_or_default(), "CertProfileValue")?;
            let mut members = list.reader();
            while !members.is_empty() {
                let name = members.expect(Tag::UTF8_STRING, "profile name")?;
                if names.len() >= limits::INFO_VALUES {
                    return Err(over("profile names", limits::INFO_VALUES, name.offset()));
                }
                names.push(core::str::from_utf8(name.contents()).unwrap_or_default());
            }
        }
        Ok(names)
    }
}

/// An error about a bound.
pub(super) const fn over(what: &'static str, limit: usize, offset: usize) -> Malformed {
    Malformed::new(PRODUCTION, offset, Reason::OverLimit { what, limit })
}

/// The one element under an explicit tag, which has this tag.
pub(super) fn only<'a>(tagged: &Element<'a>, tag: Tag, what: &'static str) -> Result<Element<'a>, Malformed> {
    let mut inner = tagged.reader();
    let element = inner.expect(tag, what)?;
    inner.finish()?;
    Ok(element)
}

fn octets<'a>(
    fields: &mut Reader<'a>,
    number: u8,
    what: &'static str,
    limit: usize,
) -> Result<Option<&'a [u8]>, Malformed> {
    let Some(tagged) = fields.optional(Tag::context_constructed(number))? else { return Ok(None) };
    let element = only(&tagged, Tag::OCTET_STRING, what)?;
    if element.contents().len() > limit {
        return Err(over(what, limit, element.offset()));
    }
    Ok(Some(element.contents()))
}

/// A GeneralName of any form (RFC 5280, section 4.2.1.6).
fn general_name<'a>(fields: &mut Reader<'a>, what: &'static str) -> Result<Element<'a>, Malformed> {
    let name = fields.element()?;
    match name.tag().leading_octet() {
        0x81 | 0x82 | 0x86..=0x88 | 0xA0 | 0xA3..=0xA5 => Ok(name),
        _ => Err(name.error(Reason::Unexpected(what))),
    }
}

fn directory_name(general_name: &Element<'_>) -> Result<Option<NameView>, Malformed> {
    if general_name.tag() != Tag::context_constructed(4) {
        return Ok(None);
    }
    NameView::parse(only(general_name, Tag::SEQUENCE, "directoryName")?.as_der()).map(Some)
}

fn read_protection<'a>(tagged: &Element<'a>) -> Result<&'a [u8], Malformed> {
    let bits = only(tagged, Tag::BIT_STRING, "protection")?;
    let not_octets = bits.error(Reason::NotDer("protection that is not whole octets"));
    bits.bit_string()?.whole_octets().ok_or(not_octets)
}

fn read_certificates(list: &Element<'_>) -> Result<Vec<CertView>, Malformed> {
    let mut members = list.reader();
    let mut certificates = Vec::new();
    while !members.is_empty() {
        let member = members.element()?;
        if certificates.len() >= limits::EXTRA_CERTS {
            return Err(over("extraCerts", limits::EXTRA_CERTS, member.offset()));
        }
        certificates.push(CertView::parse(member.as_der())?);
    }
    if certificates.is_empty() { Err(list.error(Reason::Missing("CMPCertificate"))) } else { Ok(certificates) }
}

/// Reads a SEQUENCE OF InfoTypeAndValue; for generalInfo, each type is there once.
pub(super) fn read_info_values<'a>(list: &Element<'a>) -> Result<Vec<InfoTypeAndValue<'a>>, Malformed> {
    let mut members = list.reader();
    let mut found: Vec<InfoTypeAndValue<'a>> = Vec::new();
    while !members.is_empty() {
        let member = members.expect(Tag::SEQUENCE, "InfoTypeAndValue")?;
        if found.len() >= limits::INFO_VALUES {
            return Err(over("InfoTypeAndValue", limits::INFO_VALUES, member.offset()));
        }
        let mut fields = member.reader();
        let info_type = fields.oid("infoType")?;
        let value = if fields.is_empty() { None } else { Some(fields.element()?.as_der()) };
        fields.finish()?;
        if found.iter().any(|other| other.info_type == info_type) {
            return Err(member.error(Reason::Duplicate("infoType")));
        }
        found.push(InfoTypeAndValue { info_type, value });
    }
    Ok(found)
}

/// PKIFreeText ::= SEQUENCE SIZE (1..MAX) OF UTF8String; nobody reads it here.
pub(super) fn check_free_text(list: &Element<'_>) -> Result<(), Malformed> {
    let mut members = list.reader();
    let mut count = 0_usize;
    while !members.is_empty() {
        members.expect(Tag::UTF8_STRING, "PKIFreeText")?;
        count = count.saturating_add(1);
        if count > limits::FREE_TEXTS {
            return Err(over("PKIFreeText", limits::FREE_TEXTS, list.offset()));
        }
    }
    if count == 0 { Err(list.error(Reason::Missing("PKIFreeText"))) } else { Ok(()) }
}
