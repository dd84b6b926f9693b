//! Orders (RFC 8555, section 7.4): the names that a certificate is wanted for.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::{Value, json};
use vouchsafe_evidence::base64url;
use vouchsafe_verifier::Instant;

use super::account::Holder;
use super::attestation::key_authorization_digest;
use super::certificate::at_hand;
use super::document::{
    AuthorizationDocument, ChallengeDocument, ChallengeKind, OrderDocument, Read, Stage, Status, read, to_body,
};
use super::identifier::{Identifier, IdentifierKind};
use super::problem::{Problem, refusals};
use super::{Answer, Request, Resource, random_id};
use crate::error::Error;
use crate::names::AlternativeName;
use crate::nonce::{Purpose, Session};
use crate::store::{AcmeChange, AcmeKind};

/// Names in one order.
const IDENTIFIERS_MAX: usize = 16;
/// Orders of one account that are not yet removed.
const ORDERS_MAX: usize = 1_000;
/// Seconds that an order may take, and that it is kept.
const LIFETIME_SECONDS: i64 = 7 * 86_400;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewOrder {
    identifiers: Vec<NewIdentifier>,
    profile: Option<String>,
    not_before: Option<Value>,
    not_after: Option<Value>,
}

#[derive(Deserialize)]
struct NewIdentifier {
    #[serde(rename = "type")]
    kind: String,
    value: String,
}

/// newOrder.
pub(super) fn create(request: &Request<'_>, holder: &Holder) -> Result<Answer, Problem> {
    let wanted: NewOrder = request.payload()?;
    if wanted.not_before.is_some() || wanted.not_after.is_some() {
        return Err(refusals::VALIDITY.problem());
    }
    let profile = wanted.profile.unwrap_or_else(|| request.acme.profile.clone());
    let permitted = request.service.permitted_profile(&holder.bound, &profile);
    let permitted = permitted.map_err(|_| refusals::PROFILE.problem())?;
    let identifiers = check_identifiers(wanted.identifiers)?;
    // A device may be proven without being named; what is asked for on a host's behalf is its name.
    let needs_name = |identifier: &Identifier| matches!(identifier.kind, IdentifierKind::Dns);
    if identifiers.iter().any(needs_name) && !permitted.has_alternative_names(AlternativeName::Dns) {
        return Err(refusals::IDENTIFIER_REJECTED.problem());
    }
    let store = &request.service.store;
    let own = holder.id().as_bytes();
    if store.acme_owned(AcmeKind::Order, own, ORDERS_MAX)?.len() >= ORDERS_MAX {
        return Err(refusals::ORDERS_TOO_MANY.problem());
    }
    let expires = request.service.now().saturating_add(LIFETIME_SECONDS);
    let create = |kind, id: &str, body| AcmeChange::Create {
        kind,
        id: id.as_bytes().to_vec(),
        owner: own.to_vec(),
        expires,
        body,
    };
    // Several may come at once.
    let mut changes = vec![AcmeChange::Below { kind: AcmeKind::Order, owner: own.to_vec(), limit: ORDERS_MAX }];
    let mut authorizations = Vec::new();
    for identifier in &identifiers {
        let id = random_id()?;
        let authorization = authorization(holder.id(), identifier, expires)?;
        changes.push(create(AcmeKind::Authorization, &id, to_body(&authorization)?));
        authorizations.push(id);
    }
    let account = holder.id().to_owned();
    let content = OrderDocument { account, profile, identifiers, authorizations, expires, stage: Stage::Open };
    let order = Read { id: random_id()?, version: 0, content };
    changes.push(create(AcmeKind::Order, &order.id, to_body(&order.content)?));
    store.acme_change(changes)?;
    let standing = Standing::of(request, &order.content)?;
    Ok(Answer::created(view(request, holder, &order, &standing)?, request.acme.url(Resource::Order, &order.id)))
}

fn check_identifiers(wanted: Vec<NewIdentifier>) -> Result<Vec<Identifier>, Problem> {
    if !(1..=IDENTIFIERS_MAX).contains(&wanted.len()) {
        return Err(refusals::IDENTIFIER_TWICE.problem());
    }
    let mut identifiers = Vec::with_capacity(wanted.len());
    for NewIdentifier { kind, value } in wanted {
        let kind: IdentifierKind =
            serde_json::from_value(json!(kind)).map_err(|_| refusals::IDENTIFIER_UNSUPPORTED.problem())?;
        let identifier = Identifier { kind, value };
        if !identifier.is_well_formed() {
            return Err(refusals::IDENTIFIER_MALFORMED.problem());
        }
        identifiers.push(identifier);
    }
    let distinct: HashSet<&Identifier> = identifiers.iter().collect();
    if distinct.len() == identifiers.len() { Ok(identifiers) } else { Err(refusals::IDENTIFIER_TWICE.problem()) }
}

/// A new authorization with the challenges of which one is to be met.
fn authorization(account: &str, identifier: &Identifier, expires: i64) -> Result<AuthorizationDocument, Problem> {
    let kinds: &[ChallengeKind] = match identifier.kind {
        // Whoever answers on one host says nothing of all hosts below a name.
        IdentifierKind::Dns if identifier.is_wildcard() => &[ChallengeKind::Dns01],
        IdentifierKind::Dns => &[ChallengeKind::Http01, ChallengeKind::Dns01],
        IdentifierKind::HardwareModule | IdentifierKind::PermanentIdentifier => &[ChallengeKind::DeviceAttest01],
    };
    let challenge = |kind: &ChallengeKind| {
        Ok(ChallengeDocument {
            kind: *kind,
            token: random_id()?,
            status: Status::Pending,
            validated: None,
            error: None,
        })
    };
    Ok(AuthorizationDocument {
        account: account.to_owned(),
        identifier: identifier.clone(),
        expires,
        status: Status::Pending,
        challenges: kinds.iter().map(challenge).collect::<Result<_, Problem>>()?,
        evidence: None,
    })
}

/// An order of the account whose key signed the request.
pub(super) fn own(request: &Request<'_>, holder: &Holder) -> Result<Read<OrderDocument>, Problem> {
    let order: Read<OrderDocument> = read(request.service, AcmeKind::Order, request.id)?;
    holder.check_owns(&order.content.account)?;
    Ok(order)
}

/// How an order stands, with what its authorizations say.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) authorizations: Vec<AuthorizationDocument>,
    pub(super) status: OrderStatus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OrderStatus {
    Invalid,
    Pending,
    Ready,
    Valid,
}

impl OrderStatus {
    const fn label(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Pending => "pending",
            Self::Ready => "ready",
            Self::Valid => "valid",
        }
    }
}

impl Standing {
    pub(super) fn of(request: &Request<'_>, order: &OrderDocument) -> Result<Self, Problem> {
        let read = |id: &String| {
            read::<AuthorizationDocument>(request.service, AcmeKind::Authorization, id).map(|found| found.content)
        };
        let authorizations: Vec<AuthorizationDocument> =
            order.authorizations.iter().map(read).collect::<Result<_, _>>()?;
        let is_over = request.service.now() > order.expires;
        let has_ended = |authorization: &AuthorizationDocument| match authorization.status {
            Status::Deactivated | Status::Invalid => true,
            Status::Pending | Status::Valid => false,
        };
        let status = match &order.stage {
            Stage::Valid { .. } => OrderStatus::Valid,
            Stage::Open if is_over => OrderStatus::Invalid,
            Stage::Open if authorizations.iter().any(has_ended) => OrderStatus::Invalid,
            Stage::Open if authorizations.iter().all(|found| found.status == Status::Valid) => OrderStatus::Ready,
            Stage::Open => OrderStatus::Pending,
        };
        Ok(Self { authorizations, status })
    }

    /// The key authorization that a proof of possession in this order names: of the challenge by which the first
    /// authorization became valid, or of its first challenge while none is.
    pub(super) fn key_authorization(&self, holder: &Holder) -> Option<String> {
        let challenges = &self.authorizations.first()?.challenges;
        let met = challenges.iter().find(|challenge| challenge.status == Status::Valid);
        met.or_else(|| challenges.first()).map(|challenge| key_authorization(holder, &challenge.token))
    }
}

/// A token with the thumbprint of the account's key (RFC 8555, section 8.1).
pub(super) fn key_authorization(holder: &Holder, token: &str) -> String {
    format!("{token}.{}", holder.document.content.jwk.thumbprint_text())
}

/// The order as its owner sees it. One that may come to be finalized holds a nonce for the evidence, good for this order
/// and this account alone.
pub(super) fn view(
    request: &Request<'_>,
    holder: &Holder,
    order: &Read<OrderDocument>,
    standing: &Standing,
) -> Result<Value, Problem> {
    let acme = request.acme;
    let content = &order.content;
    let urls: Vec<String> = content.authorizations.iter().map(|id| acme.url(Resource::Authorization, id)).collect();
    let mut view = json!({
        "status": standing.status.label(),
        "expires": Instant::from_unix_seconds(content.expires).to_string(),
        "identifiers": content.identifiers,
        "profile": content.profile,
        "authorizations": urls,
        "finalize": acme.url(Resource::Finalize, &order.id),
    });
    let Value::Object(members) = &mut view else { return Err(Error::Worker.into()) };
    match standing.status {
        OrderStatus::Valid => {
            members.insert("certificate".to_owned(), json!(acme.url(Resource::Certificate, &order.id)));
        }
        OrderStatus::Pending | OrderStatus::Ready => {
            let nonce = attestation_nonce(request, holder, order, standing)?;
            members.insert("attestationNonce".to_owned(), json!(base64url::encode(&nonce)));
        }
        OrderStatus::Invalid => {}
    }
    Ok(view)
}

fn attestation_nonce(
    request: &Request<'_>,
    holder: &Holder,
    order: &Read<OrderDocument>,
    standing: &Standing,
) -> Result<Vec<u8>, Problem> {
    let digest = key_authorization_digest(&standing.key_authorization(holder).unwrap_or_default());
    let session = Session::AcmeOrder { id: &order.id, key_authorization: &digest, expires: order.content.expires };
    let purpose = Purpose::Certificate { profile: &order.content.profile, session };
    let service = request.service;
    let nonce = service.mint.mint(purpose, holder.bound.name(), service.now()).map_err(Error::from)?;
    Ok(nonce.to_vec())
}

/// An order, read.
pub(super) fn show(request: &Request<'_>, holder: &Holder) -> Result<Answer, Problem> {
    if !request.is_read() {
        return Err(refusals::PAYLOAD.found("An order is read with an empty payload.".to_owned()));
    }
    let (order, standing) = at_hand(request, holder)?;
    Ok(Answer::json(view(request, holder, &order, &standing)?))
}

/// The orders of an account (RFC 8555, section 7.1.2.1).
pub(super) fn list(request: &Request<'_>, holder: &Holder) -> Result<Answer, Problem> {
    holder.check_owns(request.id)?;
    let ids = request.service.store.acme_owned(AcmeKind::Order, holder.id().as_bytes(), ORDERS_MAX)?;
    let url = |id: Vec<u8>| String::from_utf8(id).ok().map(|id| request.acme.url(Resource::Order, &id));
    Ok(Answer::json(json!({ "orders": ids.into_iter().filter_map(url).collect::<Vec<_>>() })))
}
