//! What is kept of accounts, orders and authorizations: the documents' contents, as JSON.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::identifier::Identifier;
use super::jwk::Jwk;
use super::problem::{Problem, refusals};
use crate::error::Error;
use crate::service::Service;
use crate::store::{ACME_DOCUMENT_OCTETS_MAX, AcmeChange, AcmeKind};

/// What stands of an account.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct AccountDocument {
    /// Its key.
    pub(super) jwk: Jwk,
    /// The account of this authority that it is bound to.
    pub(super) account: String,
    /// Whether its holder has ended it.
    pub(super) is_deactivated: bool,
    /// Whom to write to.
    pub(super) contact: Vec<String>,
}

/// How far an order has come, beyond what its authorizations say.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase", tag = "stage")]
pub(super) enum Stage {
    /// Its authorizations say.
    Open,
    /// A certificate was issued.
    Valid {
        /// The chain, base64url of DER.
        chain: Vec<String>,
    },
}

/// What stands of an order.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct OrderDocument {
    /// Identifier of the account.
    pub(super) account: String,
    pub(super) profile: String,
    pub(super) identifiers: Vec<Identifier>,
    /// Identifiers of the authorizations, one for each identifier in the same order.
    pub(super) authorizations: Vec<String>,
    pub(super) expires: i64,
    pub(super) stage: Stage,
}

/// Which challenge it is.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub(super) enum ChallengeKind {
    /// A text at a name.
    #[serde(rename = "dns-01")]
    Dns01,
    /// An attestation object.
    #[serde(rename = "device-attest-01")]
    DeviceAttest01,
    /// A file on a host.
    #[serde(rename = "http-01")]
    Http01,
}

impl ChallengeKind {
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Dns01 => "dns-01",
            Self::DeviceAttest01 => "device-attest-01",
            Self::Http01 => "http-01",
        }
    }

    pub(super) fn from_label(label: &str) -> Option<Self> {
        [Self::Dns01, Self::DeviceAttest01, Self::Http01].into_iter().find(|kind| kind.label() == label)
    }
}

/// How an authorization or a challenge stands.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    Deactivated,
    Invalid,
    Pending,
    Valid,
}

impl Status {
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Deactivated => "deactivated",
            Self::Invalid => "invalid",
            Self::Pending => "pending",
            Self::Valid => "valid",
        }
    }
}

/// What stands of a challenge.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct ChallengeDocument {
    pub(super) kind: ChallengeKind,
    pub(super) token: String,
    pub(super) status: Status,
    pub(super) validated: Option<i64>,
    pub(super) error: Option<Value>,
}

/// What a device has shown.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct EvidenceDocument {
    /// The attestation object, base64url.
    pub(super) object: String,
    /// SHA-256 of the SubjectPublicKeyInfo of the attested key, hexadecimal.
    pub(super) key: String,
    /// The key authorization that it answers.
    pub(super) key_authorization: String,
}

/// What stands of an authorization.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct AuthorizationDocument {
    /// Identifier of the account.
    pub(super) account: String,
    pub(super) identifier: Identifier,
    pub(super) expires: i64,
    pub(super) status: Status,
    pub(super) challenges: Vec<ChallengeDocument>,
    pub(super) evidence: Option<EvidenceDocument>,
}

/// A document with the version that was read.
#[derive(Clone, Debug)]
pub(super) struct Read<T> {
    pub(super) id: String,
    pub(super) version: i64,
    pub(super) content: T,
}

impl<T: Serialize> Read<T> {
    /// The change that puts this content in place of the one that was read.
    pub(super) fn replaced(&self, kind: AcmeKind) -> Result<AcmeChange, Problem> {
        let body = to_body(&self.content)?;
        Ok(AcmeChange::Replace { kind, id: self.id.clone().into_bytes(), version: self.version, body })
    }
}

/// The octets of a content. None is longer than the store takes: what goes into it was bounded when it was read.
pub(super) fn to_body(content: &impl Serialize) -> Result<Vec<u8>, Problem> {
    let body = serde_json::to_vec(content).map_err(|_| Problem::from(Error::Worker))?;
    if body.len() > ACME_DOCUMENT_OCTETS_MAX { Err(Error::Worker.into()) } else { Ok(body) }
}

/// Looks a document up.
pub(super) fn find<T: DeserializeOwned>(
    service: &Service,
    kind: AcmeKind,
    id: &str,
) -> Result<Option<Read<T>>, Problem> {
    let Some(found) = service.store.acme_document(kind, id.as_bytes())? else { return Ok(None) };
    let content = serde_json::from_slice(&found.body).map_err(|_| Problem::from(Error::Worker))?;
    Ok(Some(Read { id: id.to_owned(), version: found.version, content }))
}

/// As [`find`], for what must be there.
pub(super) fn read<T: DeserializeOwned>(service: &Service, kind: AcmeKind, id: &str) -> Result<Read<T>, Problem> {
    find(service, kind, id)?.ok_or_else(|| refusals::UNKNOWN.problem())
}
