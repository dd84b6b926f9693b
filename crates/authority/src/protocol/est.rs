//! EST (RFC 7030, as RFC 8951 clarifies it), with the nonce of draft-ietf-lamps-attestation-freshness, section 5.
//!
//! Bodies are base64 whatever their headers say. Refusals are plain text, a line for each reason:
//! `code: sentence`. The label of a path is the name of a profile.

mod body;
mod certs_only;
mod nonce;
mod request_attributes;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::refusal::{RETRY_AFTER_SECONDS, Refused, class, detail, violations};
use super::{Call, Decided, Weight};
use crate::enroll::{CertificationRequest, EnrollmentRequest, Freshness, Intent};
use crate::error::Error;
use crate::issue::IssuedChain;
use crate::media_type;
use crate::nonce::Session;
use crate::profile::DEFAULT_PROFILE;
use crate::service::Service;

pub use body::decode_body;
pub use nonce::{NonceRequest, NonceRequestError};

/// The type of a message that holds certificates and nothing else (RFC 7030, section 4.2.3).
const CERTS_ONLY: &str = "application/pkcs7-mime; smime-type=certs-only";
const CSR_ATTRIBUTES: &str = "application/csrattrs";
const PKCS10: &str = "application/pkcs10";
const PLAIN: &str = "text/plain; charset=utf-8";
/// What a client that has shown no credential is asked for.
const CHALLENGE: &str = "Basic realm=\"vouchsafe\", charset=\"UTF-8\"";

/// What is asked for by EST (RFC 7030, section 3.2.2, and the draft's section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `/cacerts`: the certificates of the authority.
    CaCertificates,
    /// `/csrattrs`: what a request should hold.
    RequestAttributes,
    /// `/nonce`: a nonce for evidence, bound to the connection.
    Nonce,
    /// `/simpleenroll`: a certificate.
    Enroll,
    /// `/simplereenroll`: a certificate in place of the one that is shown in the handshake.
    Reenroll,
    /// `/serverkeygen`: a key that the server makes. Not offered: such a key lives in no module of the client's.
    ServerKeyGeneration,
    /// `/fullcmc`: full CMC messages. Not offered.
    FullCmc,
}

impl Operation {
    /// The HTTP methods.
    #[must_use]
    pub const fn methods(self) -> &'static [&'static str] {
        match self {
            Self::CaCertificates | Self::RequestAttributes => &["GET"],
            // Without parameters GET, with parameters POST (the draft's section 5).
            Self::Nonce => &["GET", "POST"],
            Self::Enroll | Self::Reenroll | Self::ServerKeyGeneration | Self::FullCmc => &["POST"],
        }
    }
}

/// What the work of an operation waits for.
pub(super) const fn weight(operation: Operation) -> Weight {
    match operation {
        Operation::CaCertificates
        | Operation::RequestAttributes
        | Operation::Nonce
        | Operation::ServerKeyGeneration
        | Operation::FullCmc => Weight::Light,
        Operation::Enroll | Operation::Reenroll => Weight::Signatures,
    }
}

/// Answers a call, as far as that goes before anything is recorded.
pub(super) fn decide(service: &Service, call: &Call, operation: Operation) -> Result<Decided, Error> {
    let profile = service.profile(if call.id.is_empty() { DEFAULT_PROFILE } else { &call.id })?.name();
    match operation {
        Operation::CaCertificates => ca_certificates(service, call, profile),
        Operation::RequestAttributes => {
            expect_no_body(call)?;
            Ok(Decided::Answer(encoded(CSR_ATTRIBUTES, &request_attributes::to_der())))
        }
        Operation::Nonce => mint_nonce(service, call, profile),
        Operation::Enroll => enroll(service, call, profile, Intent::New),
        Operation::Reenroll => enroll(service, call, profile, Intent::Renewal),
        Operation::ServerKeyGeneration => Err(Error::NotImplemented("serverkeygen")),
        Operation::FullCmc => Err(Error::NotImplemented("fullcmc")),
    }
}

fn expect_no_body(call: &Call) -> Result<(), Error> {
    if call.body.is_empty() { Ok(()) } else { Err(Error::BodyTooLarge { limit: 0 }) }
}

/// Of every issuer of the succession that the profile's certificates come from (RFC 7030, section 4.1.3): who trusts a root
/// of it comes to the next by them, and to the last.
fn ca_certificates(service: &Service, call: &Call, profile: &str) -> Result<Decided, Error> {
    expect_no_body(call)?;
    let certificates = service.profile_authorities(service.profile(profile)?)?;
    Ok(Decided::Answer(encoded(CERTS_ONLY, &certs_only::to_der(&certificates))))
}

fn mint_nonce(service: &Service, call: &Call, profile: &str) -> Result<Decided, Error> {
    let wanted = NonceRequest::parse(call.parts.method.as_str(), call.header(&header::CONTENT_TYPE), &call.body)?;
    wanted.check_length()?;
    let exporter = call.peer.exporter().ok_or(Error::NoExporter)?;
    let applicant = call.caller.applicant()?;
    let reply = service.mint_session_nonce(&applicant.account, profile, Session::Tls(exporter))?;
    call.peer.remember(reply.octets);
    let lifetime_seconds = service.mint.lifetime_seconds();
    Ok(Decided::Answer(plain(nonce::MEDIA_TYPE, nonce::to_json(&reply.octets, lifetime_seconds)?)))
}

fn enroll(service: &Service, call: &Call, profile: &str, intent: Intent) -> Result<Decided, Error> {
    media_type::expect(call.header(&header::CONTENT_TYPE), PKCS10)?;
    let request = decode_body(&call.body)?;
    let nonce = call.peer.nonce();
    // A connection that can have no nonce has none, and whatever context a proof of possession names is not its own.
    let session = Session::Tls(call.peer.exporter().unwrap_or(&NO_EXPORTER));
    let request = EnrollmentRequest {
        request: CertificationRequest::Pkcs10(&request),
        profile,
        intent,
        session,
        freshness: nonce.as_ref().map_or(Freshness::NotProven, |nonce| Freshness::Nonce(nonce)),
    };
    let issuing = service.enroll(call.caller.applicant()?, request)?;
    Decided::from_issuing(issuing, Box::new(|chain| certificate(&chain?)))
}

/// Stands for the exporter of a connection that has none.
const NO_EXPORTER: [u8; crate::nonce::EXPORTER_OCTETS] = [0; crate::nonce::EXPORTER_OCTETS];

/// The issued certificate alone (RFC 7030, section 4.2.3); its chain is what `/cacerts` gives.
fn certificate(chain: &IssuedChain) -> Result<Response, Error> {
    let leaf = chain.certificates.first().ok_or(Error::Worker)?;
    Ok(encoded(CERTS_ONLY, &certs_only::to_der(std::slice::from_ref(leaf))))
}

/// An answer in base64.
fn encoded(media_type: &'static str, der: &[u8]) -> Response {
    let mut response = plain(media_type, STANDARD.encode(der).into_bytes());
    response.headers_mut().insert("content-transfer-encoding", HeaderValue::from_static("base64"));
    response
}

fn plain(media_type: &'static str, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The answer that refuses: text for people, each line beginning with a stable code for programs.
pub(super) fn refusal(error: Error) -> Response {
    let (class, refused) = (class(&error), Refused::of(&error));
    let mut text = format!("{}: {}\n", class.code, detail(&error, class.status));
    for violation in violations(error) {
        text.push_str(&format!("{}: {} ({})\n", violation.code, violation.message, violation.clause));
    }
    let mut response = plain(PLAIN, text.into_bytes());
    *response.status_mut() = class.status;
    if class.status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE));
    }
    if class.status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
    }
    refused.beside(response)
}
