//! Conceptual Message Wrappers (RFC 9999): records and collections, in JSON and in CBOR.
//!
//! A record names the media type or the CoAP content format of a message and holds it; a collection gives labels to
//! records and further collections. What a wrapper holds is flattened here into a list of members. Wrappers that are
//! signed as a whole (JWS, COSE_Sign1) are told from these and not read.
//!
//! # Types
//!
//! The messages that this project reads have these types; whatever follows a `;` in a media type is passed over.
//!
//! | media type | message |
//! |---|---|
//! | `application/vnd.vouchsafe.FORMAT` | evidence of the format: `stmt` of its statements in DER or, where a statement wraps the makers' own bytes in an OCTET STRING, those bytes |
//! | `application/pkix-cert` (RFC 2585) | a certificate in DER that helps to verify others |
//! | `application/pem-certificate-chain` (RFC 8555) | certificates in PEM that help to verify others |
//!
//! Content formats are the experimental numbers of [`content_format`], which have CBOR tags by RFC 9277.

mod read;

use std::sync::Arc;

use crate::formats::{ListedFormat, Wrapping};
use crate::oid;
use crate::statement::FormatId;
use crate::x509::build;
use crate::x509::der::{Element, Tag};
use crate::{Malformed, Reason, bundle::AttestationStatement};

pub(crate) const PRODUCTION: &str = "CMW";
/// Members of one wrapper, those of collections within included.
pub const MEMBERS: usize = 64;
/// Octets of one label of a collection.
pub const LABEL_OCTETS: usize = 256;
/// Before the id of a format in the media type of its evidence.
pub const MEDIA_TYPE_PREFIX: &str = "application/vnd.vouchsafe.";
/// The first content format of this project, in the experimental range (RFC 7252, 12.3).
const CONTENT_FORMAT_FIRST: u16 = 65_000;
/// The last number that has a CBOR tag of its own (RFC 9277, appendix B).
const CONTENT_FORMAT_LAST: u16 = 65_024;

/// Formats by their content format, counted from [`CONTENT_FORMAT_FIRST`]. New ones go to the end.
const CONTENT_FORMATS: [&str; 15] = [
    "tpm-certify",
    "tpm-quote",
    "tpm-certify-x509",
    "pkix-evidence",
    "key-pop",
    "yubikey-piv",
    "yubihsm2",
    "webauthn-tpm",
    "crypto4a-qasm",
    "entrust-nshield",
    "thales-luna",
    "fortanix-dsm",
    "gcp-cloudhsm",
    "securosys-primus",
    "cmw",
];

/// How a message is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageType {
    /// A CoAP content format.
    ContentFormat(u16),
    /// A media type, as it stands.
    MediaType(String),
    /// A CBOR tag that stands for no content format.
    Tag(u64),
}

/// One message of a wrapper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The labels of the collections that lead to it, outermost first; none for a record that stands alone. Members of
    /// one collection share them.
    pub path: Vec<Arc<str>>,
    /// What it is.
    pub kind: MessageType,
    /// The message.
    pub value: Vec<u8>,
    /// Which kinds of conceptual messages it holds, where that is said: a bit each for reference values (1),
    /// endorsements (2), evidence (4), attestation results (8) and policies (16).
    pub indicator: Option<u64>,
}

/// What a message is to this project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Evidence of a format.
    Evidence(AttestationStatement),
    /// A certificate, in DER.
    Certificate,
    /// Certificates, in PEM.
    Certificates,
    /// Something else.
    Unknown,
}

/// A wrapper, flattened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cmw {
    /// Every message, in the order in which they stand.
    pub members: Vec<Member>,
    /// Whether it is a collection.
    pub is_collection: bool,
}

impl Cmw {
    /// Reads a statement of type id-pe-cmw: `CMW ::= CHOICE { json UTF8String, cbor OCTET STRING }`.
    ///
    /// # Errors
    /// [`Malformed`] for anything else, or beyond the bounds on members, octets and nesting.
    pub fn parse_statement(stmt: &[u8]) -> Result<Self, Malformed> {
        let choice = Element::parse(stmt, PRODUCTION)?;
        match choice.tag() {
            Tag::UTF8_STRING => Self::parse_json(choice.contents()),
            Tag::OCTET_STRING => Self::parse_cbor(choice.contents()),
            _ => Err(choice.error(Reason::Unexpected("UTF8String or OCTET STRING"))),
        }
    }

    /// Reads a wrapper that is a file of its own, in either serialization.
    ///
    /// # Errors
    /// As [`Cmw::parse_statement`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        if is_json(bytes) { Self::parse_json(bytes) } else { Self::parse_cbor(bytes) }
    }

    /// Reads a wrapper in JSON.
    ///
    /// # Errors
    /// As [`Cmw::parse_statement`].
    pub fn parse_json(bytes: &[u8]) -> Result<Self, Malformed> {
        read::Flattener::json(bytes)
    }

    /// Reads a wrapper in CBOR.
    ///
    /// # Errors
    /// As [`Cmw::parse_statement`].
    pub fn parse_cbor(bytes: &[u8]) -> Result<Self, Malformed> {
        read::Flattener::cbor(bytes)
    }
}

impl Member {
    /// What it is to this project.
    #[must_use]
    pub fn content(&self) -> Content {
        if self.kind.is("application/pkix-cert") {
            return Content::Certificate;
        }
        if self.kind.is("application/pem-certificate-chain") {
            return Content::Certificates;
        }
        match self.kind.format() {
            Some(FormatId::Listed(format)) => Content::Evidence(format.statement(&self.value)),
            Some(format) => match format.oid() {
                Some(oid) => Content::Evidence(AttestationStatement::new(oid, self.value.clone())),
                None => Content::Unknown,
            },
            None => Content::Unknown,
        }
    }
}

impl MessageType {
    /// Whether this is that media type; names of types have no case, and parameters are passed over (RFC 6838, 4.2).
    fn is(&self, media_type: &str) -> bool {
        self.essence().is_some_and(|essence| essence.eq_ignore_ascii_case(media_type))
    }

    fn essence(&self) -> Option<&str> {
        match self {
            Self::MediaType(text) => text.split(';').next().map(str::trim),
            Self::ContentFormat(_) | Self::Tag(_) => None,
        }
    }

    /// The format whose evidence has this type. A wrapper within a record has none: collections nest by themselves.
    #[must_use]
    pub fn format(&self) -> Option<FormatId> {
        let id = match self {
            Self::ContentFormat(number) => {
                let place = usize::from(number.checked_sub(CONTENT_FORMAT_FIRST)?);
                (*CONTENT_FORMATS.get(place)?).to_owned()
            }
            Self::MediaType(_) => {
                let essence = self.essence()?.to_ascii_lowercase();
                essence.strip_prefix(MEDIA_TYPE_PREFIX)?.to_owned()
            }
            Self::Tag(_) => return None,
        };
        FormatId::from_id(&id).filter(|format| *format != FormatId::Cmw && *format != FormatId::TpmEk)
    }
}

impl core::fmt::Display for MessageType {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::ContentFormat(number) => write!(f, "content format {number}"),
            Self::MediaType(text) => f.write_str(text),
            Self::Tag(number) => write!(f, "CBOR tag {number}"),
        }
    }
}

/// The media type of evidence of a format.
#[must_use]
pub fn media_type(format: FormatId) -> String {
    format!("{MEDIA_TYPE_PREFIX}{}", format.id())
}

/// The content format of evidence of a format: an experimental number, from 65000 up.
#[must_use]
pub fn content_format(format: FormatId) -> Option<u16> {
    let place = CONTENT_FORMATS.iter().position(|id| *id == format.id())?;
    u16::try_from(place)
        .ok()
        .map(|place| CONTENT_FORMAT_FIRST.saturating_add(place))
        .filter(|n| *n <= CONTENT_FORMAT_LAST)
}

/// The octets that a member for a statement holds.
#[must_use]
pub fn value_of(statement: &AttestationStatement) -> Vec<u8> {
    match ListedFormat::from_oid(statement.oid()) {
        Some(format) if format.row().wrapping == Wrapping::OctetString => {
            format.content(statement.stmt()).map_or_else(|_| statement.stmt().to_vec(), <[u8]>::to_vec)
        }
        Some(_) | None => statement.stmt().to_vec(),
    }
}

/// The statement that carries a wrapper in CBOR.
#[must_use]
pub fn statement_of_cbor(cbor: &[u8]) -> AttestationStatement {
    AttestationStatement::new(oid::CMW, build::octet_string(cbor))
}

/// The statement that carries a wrapper in JSON.
#[must_use]
pub fn statement_of_json(json: &[u8]) -> AttestationStatement {
    let mut writer = build::DerWriter::new();
    writer.primitive(Tag::UTF8_STRING, json);
    AttestationStatement::new(oid::CMW, writer.into_der())
}

/// The statement that carries the wrapper that a file is.
#[must_use]
pub fn statement_of_file(bytes: &[u8]) -> AttestationStatement {
    if is_json(bytes) { statement_of_json(bytes) } else { statement_of_cbor(bytes) }
}

fn is_json(bytes: &[u8]) -> bool {
    matches!(bytes.trim_ascii_start().first(), Some(b'{' | b'['))
}

/// What a file is to this format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Likeness {
    /// No wrapper.
    None,
    /// A wrapper, or what would be one.
    Wrapper,
    /// A wrapper that is signed as a whole, by JWS or COSE, which is not read.
    Signed,
}

/// Tells whether a file is a wrapper, by its beginning and by the types that it names (RFC 9999, "Decapsulation").
#[must_use]
pub fn likeness(bytes: &[u8]) -> Likeness {
    read::likeness(bytes)
}
