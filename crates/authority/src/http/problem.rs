//! Problem documents (RFC 9457).

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Serialize;
use vouchsafe_evidence::text::printable;

use crate::error::{Error, Violation};
use crate::nonce::NonceError;
use crate::text::chain;

/// Seconds after which a client that found the server busy may try again.
const RETRY_AFTER_SECONDS: &str = "1";

/// What a client can do while the store is out of order.
const UNRECORDED: &str = "The authority cannot record decisions at the moment, so nothing was granted. Send the same \
                          request with the same nonce again later; after an activation ask for a new challenge first.";

#[derive(Serialize)]
struct Problem<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'a str,
    status: u16,
    detail: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    violations: Vec<Violation>,
}

/// Status, code and title of an error; the code is the stable part.
struct Class(StatusCode, &'static str, &'static str);

fn class(error: &Error) -> Class {
    match error {
        Error::ActivationFailed => Class(StatusCode::FORBIDDEN, "activation-failed", "Activation failed"),
        Error::AttestationKeyConflict => {
            Class(StatusCode::CONFLICT, "attestation-key-conflict", "Attestation key of another device")
        }
        Error::BaselineConflict => Class(StatusCode::CONFLICT, "baseline-conflict", "Another baseline is on record"),
        Error::BaselineRefused(_) => Class(StatusCode::UNPROCESSABLE_ENTITY, "baseline-refused", "Baseline refused"),
        Error::BodyTooLarge { .. } => Class(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", "Body too large"),
        Error::Busy => Class(StatusCode::SERVICE_UNAVAILABLE, "busy", "Server busy"),
        Error::Certificate(_) | Error::Credential(_) | Error::Record(_) | Error::Store(_) | Error::Worker => {
            Class(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error")
        }
        Error::DeviceHasKey => Class(StatusCode::CONFLICT, "device-has-key", "Device has an attesting key"),
        Error::DeviceConflict => Class(StatusCode::CONFLICT, "device-conflict", "Device bound to another key"),
        Error::DeviceNotPermitted => Class(StatusCode::FORBIDDEN, "device-not-permitted", "Device name not permitted"),
        Error::EkConflict => {
            Class(StatusCode::CONFLICT, "endorsement-key-conflict", "Endorsement key bound to another device")
        }
        Error::Rejected(_) => Class(StatusCode::UNPROCESSABLE_ENTITY, "rejected", "Rejected"),
        Error::ConnectionBroken | Error::Malformed { .. } | Error::MalformedJson(_) => {
            Class(StatusCode::BAD_REQUEST, "malformed-request", "Malformed request")
        }
        Error::MethodNotPermitted(_) => {
            Class(StatusCode::FORBIDDEN, "method-not-permitted", "Method of enrolment not permitted")
        }
        Error::MethodNotAllowed => Class(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed"),
        Error::Nonce(NonceError::Expired { .. }) => {
            Class(StatusCode::UNPROCESSABLE_ENTITY, "nonce-expired", "Nonce expired")
        }
        Error::Nonce(NonceError::Clock | NonceError::Foreign | NonceError::Length { .. }) => {
            Class(StatusCode::UNPROCESSABLE_ENTITY, "nonce-unknown", "Unknown nonce")
        }
        Error::Nonce(NonceError::Random) => Class(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error"),
        Error::NonceSpent => Class(StatusCode::CONFLICT, "nonce-spent", "Nonce spent"),
        Error::NotAuthenticated => Class(StatusCode::UNAUTHORIZED, "unauthenticated", "Not authenticated"),
        Error::NotFound => Class(StatusCode::NOT_FOUND, "not-found", "Not found"),
        Error::ProfileNotPermitted => Class(StatusCode::FORBIDDEN, "profile-not-permitted", "Profile not permitted"),
        Error::NotPermitted(_) => Class(StatusCode::FORBIDDEN, "not-permitted", "Not permitted"),
        Error::StorageUnavailable(_) => {
            Class(StatusCode::SERVICE_UNAVAILABLE, "storage-unavailable", "Decisions cannot be recorded")
        }
        Error::Timeout => Class(StatusCode::REQUEST_TIMEOUT, "timeout", "Request timeout"),
        Error::UnknownProfile => Class(StatusCode::BAD_REQUEST, "unknown-profile", "Unknown profile"),
        Error::UnsupportedMediaType { .. } => {
            Class(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "Unsupported media type")
        }
    }
}

/// What the caller reads about it. Internal errors say nothing of the inside; the log has them.
fn detail(error: &Error, status: StatusCode) -> String {
    if status == StatusCode::INTERNAL_SERVER_ERROR {
        tracing::error!(error = chain(error), "request failed");
        return "The server failed; its log says why.".to_owned();
    }
    match error {
        Error::StorageUnavailable(_) => {
            tracing::error!(error = chain(error), "request failed");
            UNRECORDED.to_owned()
        }
        Error::MalformedJson(error) => printable(&error.to_string()),
        Error::Rejected(violations) => match violations.as_slice() {
            [one] => printable(&one.message),
            more => format!("{} violations were found.", more.len()),
        },
        _ => error.to_string(),
    }
}

fn violations(error: Error) -> Vec<Violation> {
    let Error::Rejected(violations) = error else { return Vec::new() };
    violations.into_iter().map(|violation| Violation { message: printable(&violation.message), ..violation }).collect()
}

/// The response that carries the error.
pub(super) fn response(error: Error) -> Response {
    let Class(status, code, title) = class(&error);
    let problem = Problem {
        kind: format!("urn:vouchsafe:problem:{code}"),
        title,
        status: status.as_u16(),
        detail: detail(&error, status),
        violations: violations(error),
    };
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
    }
    response
}
