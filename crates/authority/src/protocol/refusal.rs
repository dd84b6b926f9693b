//! What every refusal says, whatever the protocol puts around it: a status, a stable code, and sentences.

use axum::http::StatusCode;
use vouchsafe_evidence::text::printable;

use crate::error::{Error, Violation};
use crate::nonce::NonceError;
use crate::text::chain;

/// Seconds after which a client that found the server busy may try again.
pub(super) const RETRY_AFTER_SECONDS: &str = "1";

/// What a client can do while the store is out of order.
const UNRECORDED: &str = "The authority cannot record decisions at the moment, so nothing was granted. Send the same \
                          request with the same nonce again later; after an activation ask for a new challenge first.";

/// Status, code and title of an error; the code is the stable part.
pub(super) struct Class {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) title: &'static str,
}

const fn of(status: StatusCode, code: &'static str, title: &'static str) -> Class {
    Class { status, code, title }
}

/// The class of an error.
pub(super) fn class(error: &Error) -> Class {
    match error {
        Error::ActivationFailed => of(StatusCode::FORBIDDEN, "activation-failed", "Activation failed"),
        Error::AttestationKeyConflict => {
            of(StatusCode::CONFLICT, "attestation-key-conflict", "Attestation key of another device")
        }
        Error::BaselineConflict => of(StatusCode::CONFLICT, "baseline-conflict", "Another baseline is on record"),
        Error::BaselineRefused(_) => of(StatusCode::UNPROCESSABLE_ENTITY, "baseline-refused", "Baseline refused"),
        Error::BodyTooLarge { .. } => of(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", "Body too large"),
        Error::Busy => of(StatusCode::SERVICE_UNAVAILABLE, "busy", "Server busy"),
        Error::Certificate(_) | Error::Credential(_) | Error::Record(_) | Error::Store(_) | Error::Worker => {
            of(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error")
        }
        Error::ClientCertificateRevoked => {
            of(StatusCode::UNAUTHORIZED, "client-certificate-revoked", "Client certificate revoked")
        }
        Error::ClientListUnusable => {
            of(StatusCode::SERVICE_UNAVAILABLE, "client-crl-unusable", "Revocation of client certificates unknown")
        }
        Error::DeviceHasKey => of(StatusCode::CONFLICT, "device-has-key", "Device has an attesting key"),
        Error::DeviceConflict => of(StatusCode::CONFLICT, "device-conflict", "Device bound to another key"),
        Error::DeviceNotPermitted => of(StatusCode::FORBIDDEN, "device-not-permitted", "Device name not permitted"),
        Error::EkConflict => {
            of(StatusCode::CONFLICT, "endorsement-key-conflict", "Endorsement key bound to another device")
        }
        Error::IssuerExpired => of(StatusCode::SERVICE_UNAVAILABLE, "issuer-expired", "Issuer expired"),
        Error::Rejected(_) => of(StatusCode::UNPROCESSABLE_ENTITY, "rejected", "Rejected"),
        Error::ConnectionBroken | Error::Malformed { .. } | Error::MalformedJson(_) => {
            of(StatusCode::BAD_REQUEST, "malformed-request", "Malformed request")
        }
        Error::MethodNotPermitted(_) => {
            of(StatusCode::FORBIDDEN, "method-not-permitted", "Method of enrolment not permitted")
        }
        Error::MethodNotAllowed => of(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed"),
        Error::Nonce(NonceError::Expired { .. }) => {
            of(StatusCode::UNPROCESSABLE_ENTITY, "nonce-expired", "Nonce expired")
        }
        Error::Nonce(NonceError::Clock | NonceError::Foreign | NonceError::Length { .. }) => {
            of(StatusCode::UNPROCESSABLE_ENTITY, "nonce-unknown", "Unknown nonce")
        }
        Error::Nonce(NonceError::Random) => of(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error"),
        Error::NonceLength => of(StatusCode::BAD_REQUEST, "nonce-length", "Length of nonces"),
        Error::NonceSpent => of(StatusCode::CONFLICT, "nonce-spent", "Nonce spent"),
        Error::NotAcceptable(_) => of(StatusCode::NOT_ACCEPTABLE, "not-acceptable", "Not acceptable"),
        Error::NotAuthenticated => of(StatusCode::UNAUTHORIZED, "unauthenticated", "Not authenticated"),
        Error::NoExporter => of(StatusCode::SERVICE_UNAVAILABLE, "tls-1.3-needed", "TLS 1.3 needed"),
        Error::NotImplemented(_) => of(StatusCode::NOT_IMPLEMENTED, "not-implemented", "Not implemented"),
        Error::NotFound => of(StatusCode::NOT_FOUND, "not-found", "Not found"),
        Error::ProfileNotPermitted => of(StatusCode::FORBIDDEN, "profile-not-permitted", "Profile not permitted"),
        Error::NotPermitted(_) => of(StatusCode::FORBIDDEN, "not-permitted", "Not permitted"),
        Error::StorageUnavailable(_) => {
            of(StatusCode::SERVICE_UNAVAILABLE, "storage-unavailable", "Decisions cannot be recorded")
        }
        Error::Timeout => of(StatusCode::REQUEST_TIMEOUT, "timeout", "Request timeout"),
        Error::UpstreamUnavailable => {
            of(StatusCode::SERVICE_UNAVAILABLE, "upstream-unavailable", "Upstream CA does not answer")
        }
        Error::UpstreamUncertain => of(StatusCode::CONFLICT, "upstream-uncertain", "Upstream CA's answer lost"),
        Error::UnknownProfile => of(StatusCode::BAD_REQUEST, "unknown-profile", "Unknown profile"),
        Error::UnsupportedMediaType { .. } => {
            of(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "Unsupported media type")
        }
    }
}

/// What the caller reads about it. Internal errors say nothing of the inside; the log has them.
pub(super) fn detail(error: &Error, status: StatusCode) -> String {
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

/// Every violation that a refusal holds, in printable text.
pub(super) fn violations(error: Error) -> Vec<Violation> {
    let Error::Rejected(violations) = error else { return Vec::new() };
    violations.into_iter().map(|violation| Violation { message: printable(&violation.message), ..violation }).collect()
}
