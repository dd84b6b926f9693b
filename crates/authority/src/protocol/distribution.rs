//! What the world fetches to judge a certificate: revocation lists and certificates of issuers (RFC 5280, sections 4.2.1.13
//! and 4.2.2.1), to everybody and by plain HTTP too.
//!
//! Their addresses stand in certificates, so that they stay what they are for as long as those are valid:
//! `/crl/NAME.crl` and `/ca/NAME.cer`, DER each.

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;

use super::{Call, Decided, Weight};
use crate::error::Error;
use crate::service::Service;

/// For how long caches may keep an answer: as long as a list is kept here.
const CACHED: &str = "max-age=60";

/// What is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// `/crl/NAME.crl`: the revocation list of an issuer.
    RevocationList,
    /// `/ca/NAME.cer`: the certificate of an issuer.
    IssuerCertificate,
}

impl Resource {
    /// The HTTP methods.
    #[must_use]
    pub const fn methods(self) -> &'static [&'static str] {
        match self {
            Self::RevocationList | Self::IssuerCertificate => &["GET"],
        }
    }
}

/// What the work of a request waits for.
pub(super) const fn weight(resource: Resource) -> Weight {
    match resource {
        Resource::RevocationList => Weight::Store,
        Resource::IssuerCertificate => Weight::Light,
    }
}

/// Answers a call.
pub(super) fn decide(service: &Service, call: &Call, resource: Resource) -> Result<Decided, Error> {
    if !call.body.is_empty() {
        return Err(Error::BodyTooLarge { limit: 0 });
    }
    let (content_type, body) = match resource {
        Resource::RevocationList => {
            let name = call.id.strip_suffix(".crl").ok_or(Error::NotFound)?;
            // Of issuers alone: certificates of attesting keys name no address.
            service.hierarchy.issuer(name).map_err(|_| Error::NotFound)?;
            ("application/pkix-crl", service.revocation_list(name)?)
        }
        Resource::IssuerCertificate => {
            let name = call.id.strip_suffix(".cer").ok_or(Error::NotFound)?;
            let issuer = service.hierarchy.issuer(name).map_err(|_| Error::NotFound)?;
            ("application/pkix-cert", issuer.ca().certificate().as_der().to_vec().into())
        }
    };
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(CACHED));
    Ok(Decided::Answer(response))
}
