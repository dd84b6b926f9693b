//! What every refusal says, whatever the protocol puts around it: a status, a stable code, and sentences.

use axum::http::StatusCode;
use axum::response::Response;
use vouchsafe_evidence::text::printable;

use crate::error::{Error, Violation};
use crate::nonce::NonceError;
use crate::text::chain;

/// Seconds after which a client that found the server busy may try again.
pub(super) const RETRY_AFTER_SECONDS: &str = "1";

/// Codes of one refusal that are logged, at most.
const CODES_LOGGED: usize = 16;

/// What a client can do while the store is out of order.
const UNRECORDED: &str = "The authority cannot record decisions at the moment, so nothing was granted. Send the same \
                          request with the same nonce again later; after an activation ask for a new challenge first.";

/// Status, code and title of an error; the code is the stable part.
pub(super) struct Class {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) title: &'static str,
}

/// Why a response refuses, for the log: it goes with the response as an extension, and no client sees it. It holds codes
/// and an account's name alone, nothing that a client has written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// The account that a message showed by itself; `None` where that is known otherwise, or not at all.
    account: Option<String>,
    /// The codes, with blanks between them.
    codes: String,
}

impl Refused {
    /// A refusal with these codes.
    pub(super) fn new<'a>(codes: impl IntoIterator<Item = &'a str>) -> Self {
        let codes: Vec<&str> = codes.into_iter().take(CODES_LOGGED).collect();
        Self { account: None, codes: codes.join(" ") }
    }

    /// The refusal of an error.
    pub(super) fn of(error: &Error) -> Self {
        let violations = match error {
            Error::Rejected(violations) => violations.as_slice(),
            _ => &[],
        };
        Self::new([class(error).code].into_iter().chain(violations.iter().map(|violation| violation.code.as_str())))
    }

    /// The same, told to an account.
    pub(super) fn told_to(self, account: &str) -> Self {
        Self { account: Some(account.to_owned()), ..self }
    }

    /// Puts it beside the response.
    pub(super) fn beside(self, mut response: Response) -> Response {
        response.extensions_mut().insert(self);
        response
    }
}

/// Writes into the log that a request was refused, if it was: to whom and why. Whoever is not known fills no log that is
/// kept as it comes: their refusals are told at the level debug.
pub(crate) fn log(protocol: &'static str, account: &str, response: &Response) {
    let Some(refused) = response.extensions().get::<Refused>() else { return };
    let (codes, status) = (refused.codes.as_str(), response.status().as_u16());
    let account = refused.account.as_deref().unwrap_or(account);
    if account.is_empty() {
        tracing::debug!(protocol, status, codes, "refused");
    } else {
        tracing::info!(protocol, account, status, codes, "refused");
    }
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
        Error::NoSuchCertificate => of(StatusCode::NOT_FOUND, "no-such-certificate", "No such certificate"),
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

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use axum::body::Body;
    use tracing_subscriber::filter::LevelFilter;

    use super::*;
    use crate::config::Capability;
    use crate::error::own_codes;
    use crate::protocol::{Verb, acme, cmp, est, json};

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(octets)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(level: LevelFilter, protocol: &'static str, account: &str, response: &Response) -> String {
        let written = Written::default();
        let writer = written.clone();
        let logs = tracing_subscriber::fmt().with_max_level(level).with_ansi(false).without_time();
        let logs = logs.with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(logs, || log(protocol, account, response));
        String::from_utf8(written.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn the_log_has_each_refusal_with_its_codes_and_without_the_words_of_its_client() {
        let found = || Error::Rejected(vec![own_codes::POSSESSION.found("what a client wrote".to_owned())]);
        for verb in [
            Verb::Json(json::Operation::Issue),
            Verb::Est(est::Operation::Enroll),
            Verb::Cmp(cmp::Operation::Any),
            Verb::Acme(acme::Resource::Finalize),
        ] {
            let line = logged(LevelFilter::INFO, verb.protocol(), "alice", &verb.refusal(found()));
            for part in ["INFO", "refused", verb.protocol(), "account=\"alice\"", "authority.possession"] {
                assert!(line.contains(part), "{part}: {line}");
            }
            assert!(!line.contains("client wrote"), "{line}");
            let line = logged(LevelFilter::INFO, "EST", "bob", &verb.refusal(Error::NotPermitted(Capability::Issue)));
            assert!(line.contains("not-permitted") && line.contains("403"), "{line}");
        }
        assert_eq!(logged(LevelFilter::TRACE, "JSON", "alice", &Response::new(Body::empty())), "");
    }

    #[test]
    fn who_is_not_known_is_logged_for_those_who_look_closely() {
        let refused = Verb::Est(est::Operation::Enroll).refusal(Error::NotAuthenticated);
        assert_eq!(logged(LevelFilter::INFO, "EST", "", &refused), "");
        let line = logged(LevelFilter::DEBUG, "EST", "", &refused);
        assert!(line.contains("DEBUG") && line.contains("unauthenticated") && line.contains("401"), "{line}");
        // The account that a message shows by itself.
        let shown = Refused::new(["cmp.bad-cert-hash"]).told_to("carol").beside(Response::new(Body::empty()));
        assert!(logged(LevelFilter::INFO, "CMP", "", &shown).contains("account=\"carol\""));
    }

    #[test]
    fn a_line_of_the_log_has_an_end() {
        let many = vec![own_codes::POSSESSION.violation(); 1000];
        assert_eq!(Refused::of(&Error::Rejected(many)).codes.split(' ').count(), CODES_LOGGED);
    }
}
