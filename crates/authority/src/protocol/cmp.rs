//! CMP (RFC 9810, in the profile of RFC 9483) over HTTP (RFC 9811), with the nonce of
//! draft-ietf-lamps-attestation-freshness, section 4.
//!
//! Who asks is known by the protection of the message, whatever the connection: a MAC under a secret that an account
//! shares, or a signature by the key of a certificate that an account has. A message of a transaction counts in the order
//! of RFC 9483 and once. Refusals are PKIStatusInfo with `code: sentence` in statusString.
//!
//! Read first: [`MessageType::access`], then [`Message::parse`].

mod body;
mod conversation;
mod elsewhere;
mod freshness;
pub mod limits;
mod mac;
mod message;
pub mod oids;
mod parties;
mod refusal;
mod reply;
mod revocation;
mod transactions;
pub(crate) mod write;

use axum::body::Body as HttpBody;
use axum::http::{HeaderValue, header};
use axum::response::Response;

use self::conversation::Conversation;
use self::reply::ReplyTo;
use super::{Call, Decided, Weight};
use crate::error::Error;
use crate::media_type;
use crate::service::Service;

pub use body::{Body, Confirmation, MessageAccess, MessageType, RevocationDetails};
pub use freshness::NonceRequest;
pub use mac::PasswordMac;
pub use message::{Header, InfoTypeAndValue, Message};
pub(crate) use parties::Parties;
pub use parties::PartiesError;
pub(crate) use refusal::write_rejection;
pub use refusal::{CmpCode, FailInfo, Refusal, codes};

/// The media type of messages (RFC 9811, section 3.3).
const MEDIA_TYPE: &str = "application/pkixcmp";

/// What a path says that the message is (RFC 9811, section 3.4; the draft's section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Whatever it is.
    Any,
    /// `/initialization`: ir.
    Initialization,
    /// `/certification`: cr.
    Certification,
    /// `/keyupdate`: kur.
    KeyUpdate,
    /// `/pkcs10`: p10cr.
    Pkcs10,
    /// `/revocation`: rr.
    Revocation,
    /// `/getcacerts`: genm.
    CaCertificates,
    /// `/getnonce`: genm.
    Nonce,
}

impl Operation {
    /// The HTTP methods.
    #[must_use]
    pub const fn methods(self) -> &'static [&'static str] {
        &["POST"]
    }

    /// Whether a message of this type may come on its path. certConf and error follow where the transaction began.
    #[must_use]
    pub fn takes(self, message: MessageType) -> bool {
        let follows = matches!(message, MessageType::CertConf | MessageType::Error);
        match self {
            Self::Any => true,
            Self::Initialization => message == MessageType::Ir || follows,
            Self::Certification => message == MessageType::Cr || follows,
            Self::KeyUpdate => message == MessageType::Kur || follows,
            Self::Pkcs10 => message == MessageType::P10cr || follows,
            Self::Revocation => message == MessageType::Rr,
            Self::CaCertificates | Self::Nonce => message == MessageType::Genm || message == MessageType::Error,
        }
    }
}

/// What the work of a message waits for: signatures, its own if nothing else.
pub(super) const fn weight(_: Operation) -> Weight {
    Weight::Signatures
}

/// Answers a call, as far as that goes before anything is recorded. What a message is refused for, a message says; what
/// never becomes a message is refused in HTTP.
pub(super) fn decide(service: &Service, call: &Call, operation: Operation) -> Result<Decided, Error> {
    media_type::expect(call.header(&header::CONTENT_TYPE), MEDIA_TYPE)?;
    match Message::parse(&call.body) {
        Ok(message) => Conversation::hold(service, &message, operation, &call.id),
        Err(malformed) => {
            let refusal = Refusal::from(malformed);
            let content = reply::Content { body: reply::error(&refusal), ..reply::Content::default() };
            let answer = ReplyTo::nobody(service.now()).message(&service.cmp, &content)?;
            Ok(Decided::Answer(refusal.refused().beside(response(answer.der))))
        }
    }
}

fn response(der: Vec<u8>) -> Response {
    let mut response = Response::new(HttpBody::from(der));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The refusal of what never became a message: in JSON, as everywhere else before a protocol is spoken.
pub(super) fn refusal(error: Error) -> Response {
    super::json::refusal(error)
}
