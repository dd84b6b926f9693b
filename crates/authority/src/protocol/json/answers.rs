//! The answers, and which operation gives which. Times are RFC 3339.

use axum::http::{StatusCode, header};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::accept::Form;
use super::{Operation, json, with_type};
use crate::ak_certificate::Families;
use crate::appraisal::AppraisalAnswer;
use crate::attestation_result::key_set;
use crate::ca::Issuer;
use crate::config::DEFAULT_ISSUER;
use crate::enroll::{CertificationRequest, EnrollmentRequest, Freshness, Intent};
use crate::enrolment::{ActivationReply, Question};
use crate::error::Error;
use crate::init::pem;
use crate::issue::IssuedChain;
use crate::nonce::Session;
use crate::protocol::{Call, Decided};
use crate::request::{ChallengeRequest, Head, NonceRequest, Request};
use crate::service::{Caller, Service};
use crate::text::to_hex;

/// The text format of Prometheus.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
const PEM_CHAIN: &str = "application/pem-certificate-chain";
/// An EAT as a JWT, in this profile (RFC 9782, section 3).
const EAR: &str = "application/eat+jwt; eat_profile=\"tag:ietf.org,2026:rats/ear#04\"";
/// RFC 7517, section 8.5.
const KEY_SET: &str = "application/jwk-set+json";

/// Answers a call, as far as that goes before anything is recorded.
pub(in crate::protocol) fn decide(service: &Service, call: &Call, operation: Operation) -> Result<Decided, Error> {
    let query = call.parts.uri.query().unwrap_or_default();
    let head = Head { content_type: call.header(&header::CONTENT_TYPE), query };
    let answer = match Request::parse(operation, head, &call.body)? {
        Request::MintNonce(request) => mint_nonce(service, &call.caller, &request),
        Request::OpenChallenge(request) => open_challenge(service, &call.caller, &request),
        Request::Activate(request) => activation(service.activate(&call.caller, &call.id, &request)?),
        Request::Renew(request) => activation(service.renew(&call.caller, &request)?),
        Request::ImportInventory(request) => {
            json(StatusCode::OK, &service.import_inventory(&call.caller, &request)?.to_json())
        }
        Request::Revoke(request) => json(StatusCode::OK, &service.revoke(&call.caller, &request)?.to_json()),
        Request::Metrics => with_type(StatusCode::OK, METRICS, service.metrics()?.into_bytes()),
        Request::RevocationList => {
            with_type(StatusCode::OK, "application/pkix-crl", service.revocation_list(&call.id)?)
        }
        Request::Issue(request) => {
            let wants_pem = call.header(&header::ACCEPT).contains(PEM_CHAIN);
            let request = EnrollmentRequest {
                request: CertificationRequest::Pkcs10(&request.csr),
                profile: &request.profile,
                intent: Intent::New,
                session: Session::Json,
                freshness: Freshness::Nonce(&request.nonce),
            };
            let issuing = service.enroll(call.caller.applicant()?, request)?;
            return Decided::from_issuing(issuing, Box::new(move |chain| chain_response(&chain?, wants_pem)));
        }
        Request::Appraise(request) => {
            let accept: Vec<&str> =
                call.parts.headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
            match service.appraise(&call.caller, &request, Form::preferred(&accept.join(","))?)? {
                AppraisalAnswer::Report(report) => json(StatusCode::OK, &report),
                AppraisalAnswer::Ear(token) => with_type(StatusCode::OK, EAR, token.into_bytes()),
            }
        }
        Request::ResultKeys => {
            let keys = serde_json::to_vec(&key_set(service.results.as_ref()))?;
            with_type(StatusCode::OK, KEY_SET, keys)
        }
        Request::Description => with_type(StatusCode::OK, "application/json", service.description.clone()),
        Request::Trust => trust(service),
    };
    answer.map(Decided::Answer)
}

#[derive(Serialize)]
struct NonceAnswer {
    nonce: String,
    expires: String,
}

fn mint_nonce(service: &Service, caller: &Caller, request: &NonceRequest) -> Result<Response, Error> {
    let reply = service.mint_nonce(caller, request)?;
    let answer = NonceAnswer { nonce: to_hex(&reply.octets), expires: reply.expires.to_string() };
    json(StatusCode::CREATED, &answer)
}

#[derive(Serialize)]
struct ChallengeAnswer {
    id: String,
    #[serde(flatten)]
    question: QuestionAnswer,
    expires: String,
}

/// What is to be answered.
#[derive(Serialize)]
#[serde(untagged)]
enum QuestionAnswer {
    Credential { credential_blob: String, secret: String },
    Signature { challenge: String },
}

fn open_challenge(service: &Service, caller: &Caller, request: &ChallengeRequest) -> Result<Response, Error> {
    let reply = service.open_challenge(caller, request)?;
    let answer = ChallengeAnswer {
        id: reply.id,
        question: match reply.question {
            Question::Credential(blob) => QuestionAnswer::Credential {
                credential_blob: STANDARD.encode(&blob.id_object),
                secret: STANDARD.encode(&blob.encrypted_secret),
            },
            Question::Signature(challenge) => QuestionAnswer::Signature { challenge: STANDARD.encode(challenge) },
        },
        expires: reply.expires.to_string(),
    };
    json(StatusCode::CREATED, &answer)
}

#[derive(Serialize)]
struct ActivationAnswer {
    certificates: FamilyChains,
    device_id: String,
}

#[derive(Serialize)]
struct FamilyChains {
    #[serde(skip_serializing_if = "Option::is_none")]
    attest: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certify_x509: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pkix_evidence: Option<Vec<String>>,
}

fn activation(reply: ActivationReply) -> Result<Response, Error> {
    let certificates = match reply.chains.map(|chain| texts(&chain)) {
        Families::Tpm { attest, certify_x509 } => {
            FamilyChains { attest: Some(attest), certify_x509, pkix_evidence: None }
        }
        Families::Pseudonym { certify_x509 } => {
            FamilyChains { attest: None, certify_x509: Some(certify_x509), pkix_evidence: None }
        }
        Families::Host { pkix_evidence } => {
            FamilyChains { attest: None, certify_x509: None, pkix_evidence: Some(pkix_evidence) }
        }
    };
    json(StatusCode::CREATED, &ActivationAnswer { certificates, device_id: reply.device_id })
}

#[derive(Serialize)]
struct CertificateAnswer {
    certificates: Vec<String>,
}

/// JSON, or PEM for a caller that asks for it.
fn chain_response(chain: &IssuedChain, wants_pem: bool) -> Result<Response, Error> {
    if wants_pem {
        let text: String = chain.certificates.iter().map(|der| pem("CERTIFICATE", der)).collect();
        return with_type(StatusCode::CREATED, PEM_CHAIN, text.into_bytes());
    }
    json(StatusCode::CREATED, &CertificateAnswer { certificates: texts(&chain.certificates) })
}

#[derive(Serialize)]
struct TrustAnswer {
    issuing: Vec<String>,
    issuers: Vec<IssuerAnswer>,
    attestation: Vec<String>,
}

/// One of the CAs that certificates come from or came from.
#[derive(Serialize)]
struct IssuerAnswer {
    name: String,
    /// Its own first, the root last where that is known.
    certificates: Vec<String>,
    links: Vec<String>,
    revocation_list: String,
}

/// The certificates of the authority. `issuing` are those of the issuer that `init` made, which is among the others too.
fn trust(service: &Service) -> Result<Response, Error> {
    let hierarchy = &service.hierarchy;
    let chain = |issuer: &Issuer| {
        let mut chain = texts(&issuer.chain_below_root());
        chain.extend(issuer.root().map(|root| STANDARD.encode(root.as_der())));
        chain
    };
    let issuing = hierarchy.issuer(DEFAULT_ISSUER).map(chain).unwrap_or_default();
    let issuers = hierarchy.issuers().map(|issuer| IssuerAnswer {
        name: issuer.name().to_owned(),
        certificates: chain(issuer),
        links: issuer.links().map(|link| STANDARD.encode(link.as_der())).collect(),
        revocation_list: format!("/v1/revocation-lists/{}", issuer.name()),
    });
    let attestation = hierarchy.attestation_roots().map(|root| STANDARD.encode(root.certificate().as_der())).collect();
    json(StatusCode::OK, &TrustAnswer { issuing, issuers: issuers.collect(), attestation })
}

fn texts(certificates: &[Vec<u8>]) -> Vec<String> {
    certificates.iter().map(|der| STANDARD.encode(der)).collect()
}
