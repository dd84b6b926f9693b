//! A certificate by EST (RFC 7030, section 4.2). There is no raVerified in EST: the upstream checks the signature under the
//! request, which is the client's. So the client's own request is handed on, octet by octet, where it holds what was decided
//! and nothing else; a request that carries its evidence, or any other attribute, is refused rather than shown to the
//! upstream (full CMC, in which a registration authority could speak, is not built).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;
use vouchsafe_evidence::oid;
use vouchsafe_evidence::x509::der::{Element, Tag};
use vouchsafe_evidence::x509::extensions::SubjectAltName;
use vouchsafe_evidence::x509::{CertView, CsrView, SpkiView};
use vouchsafe_evidence::{Malformed, Reason};
use zeroize::Zeroizing;

use super::http::{HttpError, Server};
use super::{Asked, Confirmation, Wanted, Words};
use crate::enroll::CertificationRequest;
use crate::protocol::est::decode_body;
use crate::registration::{is_usage_within, requested_extensions};

/// Headers of a request (RFC 8951, section 3.2.3).
const HEADERS: &str = "Content-Type: application/pkcs10\r\nContent-Transfer-Encoding: base64\r\n\
                       Accept: application/pkcs7-mime\r\n";
/// Certificates in an answer; RFC 7030, section 4.2.3, has one.
const CERTIFICATES_MAX: usize = 16;

/// An upstream that is asked by EST.
#[derive(Debug)]
pub(super) struct EstClient {
    pub(super) server: Server,
    /// Name and password in HTTP Basic, encoded; nothing where a client certificate says who asks.
    pub(super) basic: Option<Zeroizing<String>>,
}

/// Why an answer does not count.
#[derive(Debug, Error)]
pub(super) enum EstError {
    /// There is none.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// It is no message with the certificate of the key.
    #[error("the answer is no message with one certificate for the key")]
    Malformed(#[from] Malformed),
    /// The upstream does not know this authority.
    #[error("the upstream does not take this authority's credential (HTTP status {0})")]
    Credential(u16),
}

/// Why a request cannot be handed on as it is.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum NotBare {
    #[error("it is not in PKCS #10")]
    Syntax,
    #[error("it has an attribute, such as evidence, that is for this authority alone")]
    Attribute,
    #[error("it is for another subject than was decided")]
    Subject,
    #[error("it asks for another extension than was decided")]
    Extension,
    #[error("it does not ask for the alternative names that were decided")]
    Names,
}

/// The client's request as it may be handed on, DER: one that holds what was decided and nothing else.
pub(super) fn bare(request: CertificationRequest<'_>, spki: &SpkiView, wanted: &Wanted) -> Result<Vec<u8>, NotBare> {
    match request {
        CertificationRequest::Presented { csr, .. } => bare_csr(csr, spki, wanted),
        CertificationRequest::Pkcs10(octets) => {
            bare_csr(&CsrView::parse(octets).map_err(|_| NotBare::Syntax)?, spki, wanted)
        }
        CertificationRequest::Crmf(_) | CertificationRequest::RaVerified(_) => Err(NotBare::Syntax),
    }
}

fn bare_csr(csr: &CsrView, spki: &SpkiView, wanted: &Wanted) -> Result<Vec<u8>, NotBare> {
    if !csr.spki().same_key(spki) || csr.subject() != &wanted.subject {
        return Err(NotBare::Subject);
    }
    let extensions = requested_extensions(csr).ok_or(NotBare::Attribute)?;
    let mut names = Vec::new();
    for extension in &extensions {
        if extension.oid == oid::SUBJECT_ALT_NAME {
            let asked = SubjectAltName::parse(&extension.value).map_err(|_| NotBare::Extension)?;
            names = asked.names().to_vec();
        } else if !is_usage_within(extension, &wanted.purposes).unwrap_or(false) {
            return Err(NotBare::Extension);
        }
    }
    if wanted.has_names(&names) { Ok(csr.as_der().to_vec()) } else { Err(NotBare::Names) }
}

impl EstClient {
    /// Asks for the certificate of a request that [`bare`] gave.
    pub(super) async fn certificate(&self, csr: &[u8], spki: &SpkiView) -> Result<Asked, EstError> {
        let headers = match &self.basic {
            Some(basic) => Zeroizing::new(format!("{HEADERS}Authorization: Basic {}\r\n", basic.as_str())),
            None => Zeroizing::new(HEADERS.to_owned()),
        };
        let reply = self.server.post("/simpleenroll", &headers, STANDARD.encode(csr).as_bytes()).await?;
        match reply.status {
            200 => {
                let certificate = certificate_of(&reply.body, spki)?;
                Ok(Asked::Certificate { certificate, confirmation: Confirmation::None })
            }
            202 => Ok(Asked::Refused(Words::new("it wants to be asked again later, which is not done here"))),
            status @ (401 | 403 | 407) => Err(EstError::Credential(status)),
            status @ (300..=399 | 408 | 429 | 500..=599) => {
                Ok(Asked::Unavailable(Words::new(&format!("HTTP status {status}"))))
            }
            status => {
                let text = if reply.content_type.starts_with("text/plain") {
                    String::from_utf8_lossy(&reply.body).into_owned()
                } else {
                    format!("HTTP status {status}")
                };
                Ok(Asked::Refused(Words::new(&text)))
            }
        }
    }
}

/// The certificate for this key in a message in base64 that holds certificates and nothing else (RFC 8951, section 3.2.1).
fn certificate_of(body: &[u8], spki: &SpkiView) -> Result<Vec<u8>, Malformed> {
    const PRODUCTION: &str = "SignedData";
    let not_one = Malformed::new(PRODUCTION, 0, Reason::Missing("the certificate of the key"));
    let der = decode_body(body).map_err(|_| Malformed::new(PRODUCTION, 0, Reason::Unexpected("base64")))?;
    let message = Element::parse(&der, PRODUCTION)?;
    let mut info = message.reader();
    if info.oid("contentType")? != oid::SIGNED_DATA {
        return Err(message.error(Reason::Unexpected("id-signedData")));
    }
    let content = info.expect(Tag::context_constructed(0), "content")?;
    let mut data = content.reader().sequence(PRODUCTION)?;
    data.uint("version")?;
    data.expect(Tag::SET, "digestAlgorithms")?;
    data.expect(Tag::SEQUENCE, "encapContentInfo")?;
    let certificates = data.expect(Tag::context_constructed(0), "certificates")?;
    let mut members = certificates.reader();
    let mut found = None;
    let mut count = 0_usize;
    while !members.is_empty() {
        let member = members.expect(Tag::SEQUENCE, "Certificate")?;
        count = count.saturating_add(1);
        if count > CERTIFICATES_MAX {
            return Err(member.error(Reason::OverLimit { what: "certificates", limit: CERTIFICATES_MAX }));
        }
        if CertView::parse(member.as_der())?.spki().same_key(spki) && found.replace(member.as_der().to_vec()).is_some()
        {
            return Err(member.error(Reason::Duplicate("certificate of the key")));
        }
    }
    found.ok_or(not_one)
}
