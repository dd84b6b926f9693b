//! HTTPS with JSON: bodies of `crate::request`, answers in JSON, refusals as problem documents (RFC 9457).

pub(crate) mod accept;
mod answers;
pub(crate) mod description;
mod problem;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;

use super::Weight;
use crate::error::Error;

pub(super) use answers::decide;
pub(super) use problem::response as refusal;

/// What is asked for; it decides the method too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// POST: a nonce.
    MintNonce,
    /// POST: a challenge for an attestation key.
    OpenChallenge,
    /// POST: the answer to a challenge.
    Activate,
    /// POST: new certificates for an attesting key, on its own word.
    Renew,
    /// POST: rows of the inventory.
    ImportInventory,
    /// POST: certificates to be revoked.
    Revoke,
    /// GET: what an operator's monitoring asks.
    Metrics,
    /// POST: a certificate.
    Issue,
    /// POST: a verdict.
    Appraise,
    /// GET: a revocation list.
    RevocationList,
    /// GET: the public keys by which attestation results are checked.
    ResultKeys,
    /// GET: the certificates of the authority.
    Trust,
    /// GET: the description of this protocol (OpenAPI).
    Description,
}

impl Operation {
    /// The HTTP methods.
    #[must_use]
    pub const fn methods(self) -> &'static [&'static str] {
        match self {
            Self::Description | Self::Metrics | Self::ResultKeys | Self::RevocationList | Self::Trust => &["GET"],
            Self::MintNonce
            | Self::OpenChallenge
            | Self::Activate
            | Self::Renew
            | Self::ImportInventory
            | Self::Revoke
            | Self::Issue
            | Self::Appraise => &["POST"],
        }
    }
}

/// What the work of an operation waits for.
pub(super) const fn weight(operation: Operation) -> Weight {
    match operation {
        Operation::Description | Operation::MintNonce | Operation::ResultKeys | Operation::Trust => Weight::Light,
        Operation::Issue => Weight::Signatures,
        Operation::OpenChallenge
        | Operation::Activate
        | Operation::Renew
        | Operation::ImportInventory
        | Operation::Revoke
        | Operation::Metrics
        | Operation::RevocationList
        | Operation::Appraise => Weight::Store,
    }
}

/// A JSON response.
fn json(status: StatusCode, value: &impl serde::Serialize) -> Result<Response, Error> {
    with_type(status, "application/json", serde_json::to_vec(value)?)
}

fn with_type(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Result<Response, Error> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
