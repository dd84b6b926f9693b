//! Problem documents (RFC 9457).

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Serialize;

use crate::error::{Error, Violation};
use crate::protocol::refusal::{Class, RETRY_AFTER_SECONDS, Refused, class, detail, violations};

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

/// The response that carries the error.
pub(in crate::protocol) fn response(error: Error) -> Response {
    let Class { status, code, title } = class(&error);
    let refused = Refused::of(&error);
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
    refused.beside(response)
}
