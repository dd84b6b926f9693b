//! Asking for a nonce (draft-ietf-lamps-attestation-freshness-08, section 5): JSON by HTTP.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use vouchsafe_evidence::oid::Oid;

use crate::error::Error;
use crate::media_type;
use crate::nonce::NONCE_OCTETS;

/// The media type of request and answer.
pub(super) const MEDIA_TYPE: &str = "application/est-attestation-freshness+json";
/// Octets of a nonce that may be asked for, at least and at most (section 5.1).
const LEAST_OCTETS: u64 = 8;
const MOST_OCTETS: u64 = 64;

/// What is asked for beside a nonce. Every nonce here has 32 octets: who asks for another length is refused rather than
/// given what it may have no room for. There is nothing to tell an attester besides.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct NonceRequest {
    /// Octets that the nonce should have: 8 to 64.
    pub len: Option<u64>,
    /// What the attester tells of itself.
    #[serde(rename = "reqTypeInfo")]
    pub type_info: Option<TypeInfo>,
}

/// Information of a type that an object identifier names.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct TypeInfo {
    /// The object identifier, dotted.
    #[serde(rename = "type")]
    pub kind: String,
    /// The information, which is read and not kept.
    #[serde(rename = "reqInfo")]
    pub info: Option<IgnoredAny>,
}

/// Why a request for a nonce is refused.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum NonceRequestError {
    /// GET with a body, or POST without one (section 5).
    #[error("GET takes no body, and POST takes one")]
    Method,
    /// The type of the information is no object identifier (section 5.1).
    #[error("reqTypeInfo.type must be a dotted object identifier")]
    Type,
    /// The length is outside 8 to 64 octets (section 5.1).
    #[error("len must be 8 to 64")]
    Length,
}

impl From<NonceRequestError> for Error {
    fn from(error: NonceRequestError) -> Self {
        match error {
            NonceRequestError::Method => {
                Self::Malformed { field: "the body", expected: "there with POST, and not with GET" }
            }
            NonceRequestError::Type => {
                Self::Malformed { field: "reqTypeInfo.type", expected: "a dotted object identifier" }
            }
            NonceRequestError::Length => Self::Malformed { field: "len", expected: "8 to 64" },
        }
    }
}

impl NonceRequest {
    /// Reads a request: nothing with GET, JSON with POST.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::MalformedJson`] and [`Error::UnsupportedMediaType`].
    pub fn parse(method: &str, content_type: &str, body: &[u8]) -> Result<Self, Error> {
        match (method, body) {
            ("GET" | "HEAD", []) => Ok(Self::default()),
            ("POST", [_, ..]) => {
                media_type::expect(content_type, MEDIA_TYPE)?;
                let request: Self = serde_json::from_slice(body)?;
                let kind = request.type_info.as_ref().map(|info| Oid::from_dotted(&info.kind));
                match request.len {
                    _ if kind == Some(None) => Err(NonceRequestError::Type.into()),
                    Some(len) if !(LEAST_OCTETS..=MOST_OCTETS).contains(&len) => Err(NonceRequestError::Length.into()),
                    Some(_) | None => Ok(request),
                }
            }
            _ => Err(NonceRequestError::Method.into()),
        }
    }
}

impl NonceRequest {
    /// Whether the nonce that there is has the length that is asked for, where one is.
    ///
    /// # Errors
    /// [`Error::NonceLength`].
    pub(super) fn check_length(&self) -> Result<(), Error> {
        let is_own = |len: u64| usize::try_from(len).is_ok_and(|len| len == NONCE_OCTETS);
        if self.len.is_none_or(is_own) { Ok(()) } else { Err(Error::NonceLength) }
    }
}

#[derive(Serialize)]
struct NonceResponse {
    nonce: String,
    expiry: i64,
}

/// The answer: the nonce, and for how many seconds it may be used.
pub(super) fn to_json(nonce: &[u8; NONCE_OCTETS], lifetime_seconds: i64) -> Result<Vec<u8>, Error> {
    Ok(serde_json::to_vec(&NonceResponse { nonce: URL_SAFE_NO_PAD.encode(nonce), expiry: lifetime_seconds })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_draft_allows_is_read_and_nothing_else() {
        let parse = |method, body: &str| NonceRequest::parse(method, MEDIA_TYPE, body.as_bytes());
        assert_eq!(parse("GET", "").unwrap(), NonceRequest::default());
        assert_eq!(parse("POST", r#"{"len":32}"#).unwrap().len, Some(32));
        let full = r#"{"len":8,"reqTypeInfo":{"type":"1.2.3","reqInfo":{"x":[1]}}}"#;
        assert_eq!(parse("POST", full).unwrap().type_info.unwrap().kind, "1.2.3");
        assert!(parse("POST", "{}").is_ok() && parse("POST", r#"{"len":64}"#).is_ok());
        for (method, body) in [
            ("GET", "{}"),
            ("POST", ""),
            ("PUT", "{}"),
            ("POST", r#"{"len":7}"#),
            ("POST", r#"{"len":65}"#),
            ("POST", r#"{"len":-1}"#),
            ("POST", r#"{"length":32}"#),
            ("POST", r#"{"len":32} "#.trim_end().strip_suffix('}').unwrap()),
            ("POST", "[]x"),
            ("POST", r#"{"reqTypeInfo":{}}"#),
            ("POST", r#"{"reqTypeInfo":{"type":"TPM"}}"#),
        ] {
            assert!(parse(method, body).is_err(), "{method} {body}");
        }
        assert!(NonceRequest::parse("POST", "application/json", b"{}").is_err());
    }
}
