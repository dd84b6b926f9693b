//! What clients ask for: from the octets of a body to typed requests, without I/O and without state.
//!
//! Octets are base64 (standard alphabet, padded) in JSON, nonces are hexadecimal as `vouchsafe verify
//! --nonce` takes them. A field that is not known, is missing or is there twice is refused. Nothing is
//! allocated beyond a small multiple of the body, whose length the caller has bounded.

mod enrolment;
mod revocation;

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{DeserializeOwned, Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use self::enrolment::{ActivationBody, ChallengeBody, RenewalBody};
use self::revocation::RevocationBody;
use crate::error::Error;
use crate::media_type;
use crate::profile::DEFAULT_PROFILE;
use crate::protocol::json::Operation;
use crate::text::{from_hex, to_hex};

pub(crate) use self::enrolment::MethodName;
pub use self::enrolment::{
    ActivationRequest, ChallengeRequest, EkOffer, HostSuccessor, MODULE_NAME_OCTETS, Offer, QuoteParts, RenewalRequest,
    Voucher, Vouching,
};

pub use self::revocation::{Revocable, RevocationRequest};

/// Parts of evidence in one appraisal.
pub const EVIDENCE_PARTS: usize = 64;
const JSON: &str = "application/json";
const PKCS10: &str = "application/pkcs10";
const CSV: &str = "text/csv";

/// What the head of a request says about its body.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The value of Content-Type.
    pub content_type: &'a str,
    /// The query of the target, without its question mark.
    pub query: &'a str,
}

/// A request of any operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A nonce.
    MintNonce(NonceRequest),
    /// A challenge.
    OpenChallenge(ChallengeRequest),
    /// The answer to a challenge.
    Activate(ActivationRequest),
    /// A certificate.
    Issue(CertificateRequest),
    /// A verdict.
    Appraise(AppraisalRequest),
    /// New certificates for an attesting key.
    Renew(RenewalRequest),
    /// Rows of the inventory.
    ImportInventory(InventoryRequest),
    /// Certificates to be revoked.
    Revoke(RevocationRequest),
    /// What an operator's monitoring asks.
    Metrics,
    /// A revocation list.
    RevocationList,
    /// The public keys by which attestation results are checked.
    ResultKeys,
    /// The certificates of the authority.
    Trust,
    /// The description of this protocol.
    Description,
}

/// Rows for the inventory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InventoryRequest {
    /// The list, CSV.
    pub csv: Vec<u8>,
    /// Whether it is only to be reported what would be done.
    pub is_dry_run: bool,
}

/// What a nonce is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NonceRequest {
    /// An attestation-key enrolment.
    AttestationKey,
    /// A certificate under the named profile.
    Certificate {
        /// The profile's name.
        profile: String,
    },
    /// An appraisal.
    Appraisal,
}

/// A request for a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateRequest {
    /// The CSR, DER or PEM.
    pub csr: Vec<u8>,
    /// The nonce, minted for this profile and account.
    pub nonce: Vec<u8>,
    /// The profile's name.
    pub profile: String,
}

/// Evidence to be appraised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppraisalRequest {
    /// The nonce, minted for appraisals and this account.
    pub nonce: Vec<u8>,
    /// What is to be appraised.
    pub evidence: Evidence,
    /// The device that must have made it: an identifier of verdicts, or a name of the account.
    pub device: Option<String>,
}

/// What is to be appraised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// A CSR, DER or PEM.
    Csr(Vec<u8>),
    /// The parts of bare evidence, 1 to [`EVIDENCE_PARTS`], in any order.
    Parts(Vec<Vec<u8>>),
}

impl Evidence {
    /// The files, in the order in which they came.
    #[must_use]
    pub fn files(&self) -> &[Vec<u8>] {
        match self {
            Self::Csr(csr) => std::slice::from_ref(csr),
            Self::Parts(parts) => parts,
        }
    }
}

const ATTESTATION_KEY: &str = "attestation-key";
const CERTIFICATE: &str = "certificate";
const APPRAISAL: &str = "appraisal";

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct NonceBody {
    purpose: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<String>,
}

fn default_profile() -> String {
    DEFAULT_PROFILE.to_owned()
}

/// A list of texts that ends the parse when it grows beyond `MOST`: empty texts cost a client three octets
/// and this server many more.
#[derive(Default, Serialize)]
#[serde(transparent)]
struct Texts<const MOST: usize>(Vec<String>);

impl<'de, const MOST: usize> Deserialize<'de> for Texts<MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(TextsVisitor)
    }
}

struct TextsVisitor<const MOST: usize>;

impl<'de, const MOST: usize> Visitor<'de> for TextsVisitor<MOST> {
    type Value = Texts<MOST>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {MOST} strings")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let mut texts = Vec::new();
        while let Some(text) = elements.next_element()? {
            if texts.len() == MOST {
                return Err(A::Error::invalid_length(MOST.saturating_add(1), &self));
            }
            texts.push(text);
        }
        Ok(Texts(texts))
    }
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct CertificateBody<'a> {
    /// Long, and decoded from where it stands in the body.
    #[serde(borrow)]
    csr: Cow<'a, str>,
    nonce: String,
    #[serde(default = "default_profile")]
    profile: String,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct AppraisalBody {
    nonce: String,
    csr: Option<String>,
    #[serde(default)]
    evidence: Texts<EVIDENCE_PARTS>,
    device: Option<String>,
}

impl Request {
    /// Reads the body of a request for `operation`.
    ///
    /// # Errors
    /// [`Error::MalformedJson`], [`Error::Malformed`] and [`Error::UnsupportedMediaType`].
    pub fn parse(operation: Operation, head: Head<'_>, body: &[u8]) -> Result<Self, Error> {
        match operation {
            Operation::MintNonce => Ok(Self::MintNonce(json::<NonceBody>(head, body)?.try_into()?)),
            Operation::OpenChallenge => Ok(Self::OpenChallenge(json::<ChallengeBody>(head, body)?.try_into()?)),
            Operation::Activate => Ok(Self::Activate(json::<ActivationBody>(head, body)?.try_into()?)),
            Operation::Renew => Ok(Self::Renew(json::<RenewalBody>(head, body)?.try_into()?)),
            Operation::ImportInventory => inventory(head, body).map(Self::ImportInventory),
            Operation::Issue => certificate(head, body).map(Self::Issue),
            Operation::Appraise => Ok(Self::Appraise(json::<AppraisalBody>(head, body)?.try_into()?)),
            Operation::Revoke => Ok(Self::Revoke(json::<RevocationBody>(head, body)?.try_into()?)),
            Operation::Metrics => without(body, Self::Metrics),
            Operation::Description => without(body, Self::Description),
            Operation::ResultKeys => without(body, Self::ResultKeys),
            Operation::RevocationList => without(body, Self::RevocationList),
            Operation::Trust => without(body, Self::Trust),
        }
    }

    /// The JSON by which a client asks for it; parsing that gives this request again. Null where the
    /// operation takes no body.
    ///
    /// # Errors
    /// [`Error::MalformedJson`] if the serializer fails.
    pub fn to_json(&self) -> Result<serde_json::Value, Error> {
        Ok(match self {
            Self::MintNonce(request) => serde_json::to_value(NonceBody::from(request))?,
            Self::OpenChallenge(request) => serde_json::to_value(ChallengeBody::from(request))?,
            Self::Activate(request) => serde_json::to_value(ActivationBody::from(request))?,
            Self::Renew(request) => serde_json::to_value(RenewalBody::from(request))?,
            Self::Issue(request) => serde_json::to_value(CertificateBody {
                csr: Cow::Owned(STANDARD.encode(&request.csr)),
                nonce: to_hex(&request.nonce),
                profile: request.profile.clone(),
            })?,
            Self::Appraise(request) => serde_json::to_value(AppraisalBody::from(request))?,
            Self::Revoke(request) => serde_json::to_value(RevocationBody::from(request))?,
            // A list of modules is sent as it is.
            Self::ImportInventory(_)
            | Self::Metrics
            | Self::Description
            | Self::ResultKeys
            | Self::RevocationList
            | Self::Trust => serde_json::Value::Null,
        })
    }
}

impl TryFrom<NonceBody> for NonceRequest {
    type Error = Error;

    fn try_from(body: NonceBody) -> Result<Self, Error> {
        const EXPECTED: &str = "left out, but for certificates";
        const PURPOSES: &str = "attestation-key, certificate or appraisal";
        match (body.purpose.as_str(), body.profile) {
            (CERTIFICATE, profile) => Ok(Self::Certificate { profile: profile.unwrap_or_else(default_profile) }),
            (ATTESTATION_KEY, None) => Ok(Self::AttestationKey),
            (APPRAISAL, None) => Ok(Self::Appraisal),
            (ATTESTATION_KEY | APPRAISAL, Some(_)) => Err(Error::Malformed { field: "profile", expected: EXPECTED }),
            _ => Err(Error::Malformed { field: "purpose", expected: PURPOSES }),
        }
    }
}

impl From<&NonceRequest> for NonceBody {
    fn from(request: &NonceRequest) -> Self {
        let (purpose, profile) = match request {
            NonceRequest::AttestationKey => (ATTESTATION_KEY, None),
            NonceRequest::Certificate { profile } => (CERTIFICATE, Some(profile.clone())),
            NonceRequest::Appraisal => (APPRAISAL, None),
        };
        Self { purpose: purpose.to_owned(), profile }
    }
}

impl TryFrom<AppraisalBody> for AppraisalRequest {
    type Error = Error;

    fn try_from(body: AppraisalBody) -> Result<Self, Error> {
        let evidence = match (&body.csr, body.evidence.0.as_slice()) {
            (Some(csr), []) => Evidence::Csr(csr_octets(csr)?),
            (None, parts) if !parts.is_empty() => {
                Evidence::Parts(parts.iter().map(|text| octets("evidence", text)).collect::<Result<_, _>>()?)
            }
            _ => {
                const EXPECTED: &str = "one CSR, or 1 to 64 parts of evidence";
                return Err(Error::Malformed { field: "csr, evidence", expected: EXPECTED });
            }
        };
        Ok(Self { nonce: nonce(&body.nonce)?, evidence, device: body.device })
    }
}

impl From<&AppraisalRequest> for AppraisalBody {
    fn from(request: &AppraisalRequest) -> Self {
        let (csr, evidence) = match &request.evidence {
            Evidence::Csr(csr) => (Some(STANDARD.encode(csr)), Vec::new()),
            Evidence::Parts(parts) => (None, texts(parts)),
        };
        let evidence = Texts(evidence);
        Self { nonce: to_hex(&request.nonce), csr, evidence, device: request.device.clone() }
    }
}

fn certificate(head: Head<'_>, body: &[u8]) -> Result<CertificateRequest, Error> {
    match media_type::essence(head.content_type) {
        given if given.eq_ignore_ascii_case(JSON) => {
            let body: CertificateBody<'_> = serde_json::from_slice(body)?;
            Ok(CertificateRequest { csr: csr_octets(&body.csr)?, nonce: nonce(&body.nonce)?, profile: body.profile })
        }
        given if given.eq_ignore_ascii_case(PKCS10) => Ok(CertificateRequest {
            csr: body.to_vec(),
            nonce: nonce(query(head.query, "nonce").unwrap_or_default())?,
            profile: query(head.query, "profile").unwrap_or(DEFAULT_PROFILE).to_owned(),
        }),
        _ => Err(Error::UnsupportedMediaType { expected: "application/json or application/pkcs10" }),
    }
}

fn inventory(head: Head<'_>, body: &[u8]) -> Result<InventoryRequest, Error> {
    media_type::expect(head.content_type, CSV)?;
    // Nothing else is passed over: whoever misspells it would not have asked for an import.
    let is_dry_run = match head.query {
        "" | "dry_run=false" => false,
        "dry_run=true" => true,
        _ => return Err(Error::Malformed { field: "dry_run", expected: "true or false, and no other parameter" }),
    };
    Ok(InventoryRequest { csv: body.to_vec(), is_dry_run })
}

/// A request that has no body.
fn without(body: &[u8], request: Request) -> Result<Request, Error> {
    if body.is_empty() { Ok(request) } else { Err(Error::BodyTooLarge { limit: 0 }) }
}

fn json<T: DeserializeOwned>(head: Head<'_>, body: &[u8]) -> Result<T, Error> {
    media_type::expect(head.content_type, JSON)?;
    Ok(serde_json::from_slice(body)?)
}

/// A query parameter. The values that are taken (hexadecimal, profile names) need no decoding.
fn query<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// A CSR in a JSON string: PEM text, or base64 of DER.
fn csr_octets(text: &str) -> Result<Vec<u8>, Error> {
    if text.contains("-----BEGIN") { Ok(text.as_bytes().to_vec()) } else { octets("csr", text) }
}

fn octets(field: &'static str, text: &str) -> Result<Vec<u8>, Error> {
    STANDARD.decode(text).map_err(|_| Error::Malformed { field, expected: "base64 with padding" })
}

fn nonce(text: &str) -> Result<Vec<u8>, Error> {
    from_hex(text).ok_or(Error::Malformed { field: "nonce", expected: "hexadecimal" })
}

fn texts(octets: &[Vec<u8>]) -> Vec<String> {
    octets.iter().map(|part| STANDARD.encode(part)).collect()
}
