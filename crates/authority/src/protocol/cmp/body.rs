//! PKIBody (RFC 9810, section 5.1.2): which message it is, and what those that are served say.

use vouchsafe_evidence::x509::der::{Element, Reader, Tag};
use vouchsafe_evidence::x509::{CertTemplate, CrmfView};
use vouchsafe_evidence::{Malformed, Reason};

use super::message::{InfoTypeAndValue, check_free_text, only, over, read_info_values};
use super::{limits, oids};
use crate::config::Capability;

/// ENUMERATED, which is what a CRLReason is.
const ENUMERATED: u8 = 0x0A;

/// What a message is, by the number of its tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the standard")]
pub enum MessageType {
    Ir,
    Ip,
    Cr,
    Cp,
    P10cr,
    Popdecc,
    Popdecr,
    Kur,
    Kup,
    Krr,
    Krp,
    Rr,
    Rp,
    Ccr,
    Ccp,
    Ckuann,
    Cann,
    Rann,
    Crlann,
    Pkiconf,
    Nested,
    Genm,
    Genp,
    Error,
    CertConf,
    PollReq,
    PollRep,
}

/// Who may send a message of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageAccess {
    /// Accounts with this right, by a protected message that begins a transaction, or follows a nonce.
    Begins(Capability),
    /// Accounts with this right, in a transaction of their own that awaits it.
    Continues(Capability),
    /// Nobody: it is a server's message, or one that is not served here.
    Nobody,
}

impl MessageType {
    /// Every type, in the order of the numbers.
    pub const ALL: [Self; 27] = [
        Self::Ir,
        Self::Ip,
        Self::Cr,
        Self::Cp,
        Self::P10cr,
        Self::Popdecc,
        Self::Popdecr,
        Self::Kur,
        Self::Kup,
        Self::Krr,
        Self::Krp,
        Self::Rr,
        Self::Rp,
        Self::Ccr,
        Self::Ccp,
        Self::Ckuann,
        Self::Cann,
        Self::Rann,
        Self::Crlann,
        Self::Pkiconf,
        Self::Nested,
        Self::Genm,
        Self::Genp,
        Self::Error,
        Self::CertConf,
        Self::PollReq,
        Self::PollRep,
    ];

    /// The number of its tag.
    #[must_use]
    pub fn number(self) -> u8 {
        let place = Self::ALL.iter().position(|other| *other == self);
        place.and_then(|place| u8::try_from(place).ok()).unwrap_or(u8::MAX)
    }

    /// Who may send it.
    #[must_use]
    pub const fn access(self) -> MessageAccess {
        match self {
            Self::Ir | Self::Cr | Self::P10cr | Self::Kur | Self::Rr | Self::Genm => {
                MessageAccess::Begins(Capability::Issue)
            }
            Self::CertConf | Self::Error => MessageAccess::Continues(Capability::Issue),
            Self::Ip
            | Self::Cp
            | Self::Popdecc
            | Self::Popdecr
            | Self::Kup
            | Self::Krr
            | Self::Krp
            | Self::Rp
            | Self::Ccr
            | Self::Ccp
            | Self::Ckuann
            | Self::Cann
            | Self::Rann
            | Self::Crlann
            | Self::Pkiconf
            | Self::Nested
            | Self::Genp
            | Self::PollReq
            | Self::PollRep => MessageAccess::Nobody,
        }
    }
}

/// The body of a message.
#[derive(Clone, Debug)]
pub enum Body<'a> {
    /// ir: a first request, one as RFC 9483, section 4.1.1, has it.
    Ir(CrmfView),
    /// cr: a further request.
    Cr(CrmfView),
    /// kur: a request for an own key in place of another.
    Kur(CrmfView),
    /// p10cr: the DER of a request in PKCS #10.
    P10cr(&'a [u8]),
    /// rr: which certificate is to be revoked, and why.
    Rr(Box<RevocationDetails>),
    /// certConf: what became of the certificate.
    CertConf(Confirmation<'a>),
    /// genm.
    Genm(Vec<InfoTypeAndValue<'a>>),
    /// error: the sender gives the transaction up.
    Error,
    /// A message that is not served; it is not read any further.
    NotServed(MessageType),
}

/// RevDetails: the certificate and the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationDetails {
    /// certDetails.
    pub template: CertTemplate,
    /// reasonCode of crlEntryDetails.
    pub reason: Option<u8>,
}

/// CertStatus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmation<'a> {
    /// certHash.
    pub cert_hash: &'a [u8],
    /// certReqId.
    pub id: i64,
    /// Whether the sender takes the certificate.
    pub accepted: bool,
    /// The DER of hashAlg; without it the hash is that of the certificate's signature.
    pub hash_algorithm: Option<&'a [u8]>,
}

impl<'a> Body<'a> {
    /// Its type.
    #[must_use]
    pub const fn message_type(&self) -> MessageType {
        match self {
            Self::Ir(_) => MessageType::Ir,
            Self::Cr(_) => MessageType::Cr,
            Self::Kur(_) => MessageType::Kur,
            Self::P10cr(_) => MessageType::P10cr,
            Self::Rr(_) => MessageType::Rr,
            Self::CertConf(_) => MessageType::CertConf,
            Self::Genm(_) => MessageType::Genm,
            Self::Error => MessageType::Error,
            Self::NotServed(other) => *other,
        }
    }

    pub(super) fn from_element(element: &Element<'a>) -> Result<Self, Malformed> {
        let found = MessageType::ALL.into_iter().find(|kind| element.tag() == Tag::context_constructed(kind.number()));
        let kind = found.ok_or_else(|| element.error(Reason::Unexpected("PKIBody")))?;
        match kind {
            MessageType::Ir => Ok(Self::Ir(only_request(element)?)),
            MessageType::Cr => Ok(Self::Cr(only_request(element)?)),
            MessageType::Kur => Ok(Self::Kur(only_request(element)?)),
            // Its own parser reads it, whose offsets count from here.
            MessageType::P10cr => Ok(Self::P10cr(only(element, Tag::SEQUENCE, "CertificationRequest")?.as_der())),
            MessageType::Rr => Ok(Self::Rr(Box::new(only_revocation(element)?))),
            MessageType::CertConf => Ok(Self::CertConf(only_confirmation(element)?)),
            MessageType::Genm => {
                let list = only(element, Tag::SEQUENCE, "GenMsgContent")?;
                list.check_strict()?;
                Ok(Self::Genm(read_info_values(&list)?))
            }
            MessageType::Error => {
                element.check_strict()?;
                only(element, Tag::SEQUENCE, "ErrorMsgContent")?;
                Ok(Self::Error)
            }
            MessageType::Ip
            | MessageType::Cp
            | MessageType::Popdecc
            | MessageType::Popdecr
            | MessageType::Kup
            | MessageType::Krr
            | MessageType::Krp
            | MessageType::Rp
            | MessageType::Ccr
            | MessageType::Ccp
            | MessageType::Ckuann
            | MessageType::Cann
            | MessageType::Rann
            | MessageType::Crlann
            | MessageType::Pkiconf
            | MessageType::Nested
            | MessageType::Genp
            | MessageType::PollReq
            | MessageType::PollRep => Ok(Self::NotServed(kind)),
        }
    }
}

/// The one member of a SEQUENCE OF; RFC 9483 has one request, one revocation and one confirmation in a message.
fn only_member<'a>(body: &Element<'a>, what: &'static str) -> Result<Element<'a>, Malformed> {
    let list = only(body, Tag::SEQUENCE, what)?;
    let mut members = list.reader();
    let member = members.expect(Tag::SEQUENCE, what)?;
    if !members.is_empty() {
        return Err(over(what, 1, member.offset()));
    }
    Ok(member)
}

fn only_request(body: &Element<'_>) -> Result<CrmfView, Malformed> {
    CrmfView::parse(only_member(body, "CertReqMsg")?.as_der())
}

/// RevDetails ::= SEQUENCE { certDetails CertTemplate, crlEntryDetails Extensions OPTIONAL }
fn only_revocation(body: &Element<'_>) -> Result<RevocationDetails, Malformed> {
    let member = only_member(body, "RevDetails")?;
    member.check_strict()?;
    let mut fields = member.reader();
    let template = CertTemplate::from_element(&fields.expect(Tag::SEQUENCE, "certDetails")?)?;
    let reason = match fields.optional(Tag::SEQUENCE)? {
        Some(extensions) => read_reason(&extensions)?,
        None => None,
    };
    fields.finish()?;
    Ok(RevocationDetails { template, reason })
}

fn read_reason(extensions: &Element<'_>) -> Result<Option<u8>, Malformed> {
    let mut members = extensions.reader();
    let mut reason = None;
    while !members.is_empty() {
        let member = members.expect(Tag::SEQUENCE, "Extension")?;
        let mut fields = member.reader();
        if fields.oid("extnID")? != oids::CRL_REASON {
            return Err(member.error(Reason::Unexpected("reasonCode")));
        }
        fields.optional(Tag::BOOLEAN)?;
        let value = fields.octet_string("extnValue")?;
        fields.finish()?;
        let &[ENUMERATED, 1, number] = value else { return Err(member.error(Reason::Unexpected("CRLReason"))) };
        if reason.replace(number).is_some() {
            return Err(member.error(Reason::Duplicate("reasonCode")));
        }
    }
    Ok(reason)
}

/// CertStatus ::= SEQUENCE { certHash OCTET STRING, certReqId INTEGER, statusInfo PKIStatusInfo OPTIONAL,
///                           hashAlg [0] AlgorithmIdentifier OPTIONAL }
fn only_confirmation<'a>(body: &Element<'a>) -> Result<Confirmation<'a>, Malformed> {
    const ACCEPTED: u64 = 0;
    const GRANTED_WITH_MODS: u64 = 1;
    let member = only_member(body, "CertStatus")?;
    member.check_strict()?;
    let mut fields = member.reader();
    let cert_hash = fields.octet_string("certHash")?;
    if cert_hash.len() > limits::CERT_HASH_OCTETS_MAX {
        return Err(over("octets of certHash", limits::CERT_HASH_OCTETS_MAX, member.offset()));
    }
    let id = read_id(&mut fields)?;
    let accepted = match fields.optional(Tag::SEQUENCE)? {
        None => true,
        Some(info) => matches!(read_status(&info)?, ACCEPTED | GRANTED_WITH_MODS),
    };
    let hash_algorithm = match fields.optional(Tag::context_constructed(0))? {
        Some(tagged) => Some(only(&tagged, Tag::SEQUENCE, "hashAlg")?.as_der()),
        None => None,
    };
    fields.finish()?;
    Ok(Confirmation { cert_hash, id, accepted, hash_algorithm })
}

/// certReqId, which is 0, or -1 after a request in PKCS #10.
fn read_id(fields: &mut Reader<'_>) -> Result<i64, Malformed> {
    let element = fields.expect(Tag::INTEGER, "certReqId")?;
    match element.integer()? {
        [0xFF] => Ok(-1),
        &[id] if id < 0x80 => Ok(i64::from(id)),
        _ => Err(element.error(Reason::Unexpected("certReqId of 0 or -1"))),
    }
}

/// PKIStatusInfo ::= SEQUENCE { status INTEGER, statusString PKIFreeText OPTIONAL, failInfo BIT STRING OPTIONAL }
fn read_status(info: &Element<'_>) -> Result<u64, Malformed> {
    let mut fields = info.reader();
    let status = fields.uint("status")?;
    if let Some(texts) = fields.optional(Tag::SEQUENCE)? {
        check_free_text(&texts)?;
    }
    fields.optional(Tag::BIT_STRING)?;
    fields.finish()?;
    Ok(status)
}
