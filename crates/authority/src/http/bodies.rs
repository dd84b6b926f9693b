//! The bodies of requests and responses.
//!
//! Octets are base64 (standard alphabet, padded) in JSON, nonces are hexadecimal as `vouchsafe verify
//! --nonce` takes them, times are RFC 3339.

use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Operation, json, with_type};
use crate::appraisal::AppraisalRequest;
use crate::enrolment::{ChallengeRequest, QuoteParts};
use crate::error::Error;
use crate::init::pem;
use crate::issue::{CertificateRequest, IssuedChain};
use crate::profile::DEFAULT_PROFILE;
use crate::service::{Caller, NonceRequest, Service};
use crate::text::{from_hex, to_hex};

/// Parts of evidence in one appraisal.
const EVIDENCE_PARTS: usize = 64;
const JSON: &str = "application/json";
const PKCS10: &str = "application/pkcs10";
const PEM_CHAIN: &str = "application/pem-certificate-chain";

/// A request whose caller is known and whose body has been read.
pub(super) struct Call {
    pub(super) operation: Operation,
    pub(super) caller: Caller,
    pub(super) id: String,
    pub(super) parts: Parts,
    pub(super) body: Vec<u8>,
}

/// Performs a call; blocks.
pub(super) fn perform(service: &Service, call: Call) -> Result<Response, Error> {
    match call.operation {
        Operation::MintNonce => mint_nonce(service, &call),
        Operation::OpenChallenge => open_challenge(service, &call),
        Operation::Activate => activate(service, &call),
        Operation::Issue => issue(service, &call),
        Operation::Appraise => appraise(service, &call),
        Operation::Trust => trust(service),
    }
}

#[derive(Deserialize)]
#[serde(tag = "purpose", rename_all = "kebab-case", deny_unknown_fields)]
enum NonceBody {
    AttestationKey,
    Certificate {
        #[serde(default = "default_profile")]
        profile: String,
    },
    Appraisal,
}

fn default_profile() -> String {
    DEFAULT_PROFILE.to_owned()
}

#[derive(Serialize)]
struct NonceAnswer {
    nonce: String,
    expires: String,
}

fn mint_nonce(service: &Service, call: &Call) -> Result<Response, Error> {
    let request = match read_json(call)? {
        NonceBody::AttestationKey => NonceRequest::AttestationKey,
        NonceBody::Certificate { profile } => NonceRequest::Certificate { profile },
        NonceBody::Appraisal => NonceRequest::Appraisal,
    };
    let reply = service.mint_nonce(&call.caller, &request)?;
    let answer = NonceAnswer { nonce: to_hex(&reply.octets), expires: reply.expires.to_string() };
    json(StatusCode::CREATED, &answer)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChallengeBody {
    device: String,
    ek_certificates: Vec<String>,
    ak_public: String,
    nonce: String,
    baseline: Option<BaselineBody>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BaselineBody {
    attest: String,
    signature: String,
    pcr_values: String,
}

#[derive(Serialize)]
struct ChallengeAnswer {
    id: String,
    credential_blob: String,
    secret: String,
    expires: String,
}

fn open_challenge(service: &Service, call: &Call) -> Result<Response, Error> {
    let body: ChallengeBody = read_json(call)?;
    let ek_certificates = body.ek_certificates.iter().map(|text| octets("ek_certificates", text));
    let baseline = match body.baseline {
        None => None,
        Some(quote) => Some(QuoteParts {
            attest: octets("baseline.attest", &quote.attest)?,
            signature: octets("baseline.signature", &quote.signature)?,
            pcr_values: octets("baseline.pcr_values", &quote.pcr_values)?,
        }),
    };
    let request = ChallengeRequest {
        device: body.device,
        ek_certificates: ek_certificates.collect::<Result<_, _>>()?,
        ak_public: octets("ak_public", &body.ak_public)?,
        nonce: nonce(&body.nonce)?,
        baseline,
    };
    let reply = service.open_challenge(&call.caller, &request)?;
    let answer = ChallengeAnswer {
        id: reply.id,
        credential_blob: STANDARD.encode(&reply.blob.id_object),
        secret: STANDARD.encode(&reply.blob.encrypted_secret),
        expires: reply.expires.to_string(),
    };
    json(StatusCode::CREATED, &answer)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ActivationBody {
    secret: String,
}

#[derive(Serialize)]
struct ActivationAnswer {
    certificates: FamilyChains,
    device_id: String,
}

#[derive(Serialize)]
struct FamilyChains {
    attest: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certify_x509: Option<Vec<String>>,
}

fn activate(service: &Service, call: &Call) -> Result<Response, Error> {
    let body: ActivationBody = read_json(call)?;
    let secret = zeroize::Zeroizing::new(octets("secret", &body.secret)?);
    let reply = service.activate(&call.caller, &call.id, &secret)?;
    let certificates =
        FamilyChains { attest: texts(&reply.attest), certify_x509: reply.certify_x509.as_deref().map(texts) };
    json(StatusCode::CREATED, &ActivationAnswer { certificates, device_id: reply.device_id })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CertificateBody {
    csr: String,
    nonce: String,
    #[serde(default = "default_profile")]
    profile: String,
}

#[derive(Serialize)]
struct CertificateAnswer {
    certificates: Vec<String>,
}

fn issue(service: &Service, call: &Call) -> Result<Response, Error> {
    let request = match content_type(call).as_str() {
        JSON => {
            let body: CertificateBody = serde_json::from_slice(&call.body)?;
            CertificateRequest { csr: csr_octets(&body.csr)?, nonce: nonce(&body.nonce)?, profile: body.profile }
        }
        PKCS10 => CertificateRequest {
            csr: call.body.clone(),
            nonce: nonce(query(call, "nonce").unwrap_or_default())?,
            profile: query(call, "profile").unwrap_or(DEFAULT_PROFILE).to_owned(),
        },
        _ => return Err(Error::UnsupportedMediaType { expected: "application/json or application/pkcs10" }),
    };
    let chain = service.issue(&call.caller, &request)?;
    chain_response(call, &chain)
}

/// JSON, or PEM for a caller that asks for it.
fn chain_response(call: &Call, chain: &IssuedChain) -> Result<Response, Error> {
    let accept = call.parts.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accept.contains(PEM_CHAIN) {
        let text: String = chain.certificates.iter().map(|der| pem("CERTIFICATE", der)).collect();
        return with_type(StatusCode::CREATED, PEM_CHAIN, text.into_bytes());
    }
    json(StatusCode::CREATED, &CertificateAnswer { certificates: texts(&chain.certificates) })
}

/// A CSR in a JSON string: PEM text, or base64 of DER.
fn csr_octets(text: &str) -> Result<Vec<u8>, Error> {
    if text.contains("-----BEGIN") { Ok(text.as_bytes().to_vec()) } else { octets("csr", text) }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AppraisalBody {
    nonce: String,
    csr: Option<String>,
    #[serde(default)]
    evidence: Vec<String>,
    device: Option<String>,
}

fn appraise(service: &Service, call: &Call) -> Result<Response, Error> {
    let body: AppraisalBody = read_json(call)?;
    let parts = match (&body.csr, body.evidence.as_slice()) {
        (Some(csr), []) => vec![csr_octets(csr)?],
        (None, parts) if (1..=EVIDENCE_PARTS).contains(&parts.len()) => {
            parts.iter().map(|text| octets("evidence", text)).collect::<Result<_, _>>()?
        }
        _ => {
            return Err(Error::Malformed { field: "csr, evidence", expected: "one CSR, or 1 to 64 parts of evidence" });
        }
    };
    let request = AppraisalRequest { nonce: nonce(&body.nonce)?, parts, device: body.device };
    json(StatusCode::OK, &service.appraise(&call.caller, &request)?)
}

#[derive(Serialize)]
struct TrustAnswer {
    issuing: Vec<String>,
    attestation: Vec<String>,
}

/// The certificates of the authority: what is issued chains to the last of `issuing`.
fn trust(service: &Service) -> Result<Response, Error> {
    let hierarchy = &service.hierarchy;
    let mut issuing = texts(&hierarchy.issuing().chain_below_root());
    issuing.push(STANDARD.encode(hierarchy.issuing_root().as_der()));
    let attestation = [false, true].map(|is_virtual| hierarchy.attestation_root(is_virtual).certificate().as_der());
    let attestation = attestation.map(|der| STANDARD.encode(der)).to_vec();
    json(StatusCode::OK, &TrustAnswer { issuing, attestation })
}

fn texts(certificates: &[Vec<u8>]) -> Vec<String> {
    certificates.iter().map(|der| STANDARD.encode(der)).collect()
}

fn octets(field: &'static str, text: &str) -> Result<Vec<u8>, Error> {
    STANDARD.decode(text).map_err(|_| Error::Malformed { field, expected: "base64 with padding" })
}

fn nonce(text: &str) -> Result<Vec<u8>, Error> {
    from_hex(text).ok_or(Error::Malformed { field: "nonce", expected: "hexadecimal" })
}

fn read_json<T: DeserializeOwned>(call: &Call) -> Result<T, Error> {
    if content_type(call) != JSON {
        return Err(Error::UnsupportedMediaType { expected: JSON });
    }
    Ok(serde_json::from_slice(&call.body)?)
}

/// The media type without its parameters, in lower case.
fn content_type(call: &Call) -> String {
    let value = call.parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// A query parameter. The values that are taken (hexadecimal, profile names) need no decoding.
fn query<'a>(call: &'a Call, name: &str) -> Option<&'a str> {
    let pairs = call.parts.uri.query().unwrap_or_default().split('&');
    pairs.filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value)
}
