//! ACME (RFC 8555) with device-attest-01 (draft-ietf-acme-device-attest): signed requests about accounts, orders and
//! challenges, of which `finalize` is a request for a certificate like that of any other protocol.
//!
//! Every request but those for the directory and for a replay nonce is a JWS in which an account's key signs what is
//! asked for, where, and once. Accounts are bound to accounts of this authority by the key of an external account, without
//! which there is none; rights and profiles are those of the account that it is bound to.

mod account;
mod attestation;
mod certificate;
mod challenge;
mod dns;
mod document;
mod identifier;
pub(crate) mod jwk;
mod jws;
mod order;
mod problem;
mod replay;
mod validation;

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::{hmac, rand};
use axum::body::Body;
use axum::http::header::{self, HeaderName};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::Response;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use vouchsafe_evidence::base64url;

use self::account::Holder;
use self::problem::{Kind, Problem, refusals};
use self::replay::ReplayMint;
use self::validation::Validation;
use super::{Call, Decided, Weight};
use crate::config::{Account, AcmeConfig, Config, ExternalKeyError, read_external_key};
use crate::error::Error;
use crate::media_type;
use crate::secret::StateSecret;
use crate::service::Service;
use crate::store::{AcmeChange, AcmeKind};

pub use self::attestation::{
    KeyAuthorizationAnswer, Presented, SignedKeyAuthorization, read as read_attestation_object,
};
pub use self::dns::{Data as DnsData, DnsError, Question, query as dns_query, read_answer as read_dns_answer};
pub use self::identifier::{Identifier, IdentifierKind};
pub use self::jwk::Jwk;
pub use self::jws::{Algorithm, Jws, JwsError, KeyReference};

/// The media type of requests (RFC 8555, section 6.2).
const JOSE: &str = "application/jose+json";
const REPLAY_NONCE: HeaderName = HeaderName::from_static("replay-nonce");
/// Octets of identifiers of accounts, orders and authorizations, and of tokens of challenges.
const ID_OCTETS: usize = 24;

/// Octets of the body of a request that carries little.
const BODY_OCTETS: usize = 64 * 1024;
/// Octets of the body of a challenge's response: an attestation object in base64, twice.
const CHALLENGE_BODY_OCTETS: usize = 128 * 1024;
/// Octets of the body of finalize: a request of 2 MiB in base64, twice, with room for the JSON around it.
const FINALIZE_BODY_OCTETS: usize = 4 * 1024 * 1024;

/// What is asked for; it decides the method too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// POST: an account, to be read, changed or ended.
    Account,
    /// POST: an authorization, to be read or ended.
    Authorization,
    /// POST: a certificate with its chain.
    Certificate,
    /// POST: a challenge, to be read or answered.
    Challenge,
    /// GET: the URLs of all else.
    Directory,
    /// POST: a request for the certificate of an order.
    Finalize,
    /// POST: another key for an account.
    KeyChange,
    /// POST: a new account, or the one that a key has.
    NewAccount,
    /// GET, HEAD: a replay nonce.
    NewNonce,
    /// POST: a new order.
    NewOrder,
    /// POST: an order, to be read.
    Order,
    /// POST: the orders of an account.
    Orders,
    /// POST: a certificate, to be revoked.
    RevokeCertificate,
}

impl Resource {
    /// Octets of the body, at most: a request for a certificate or an attestation object, encoded twice, or little.
    #[must_use]
    pub const fn body_octets(self) -> usize {
        match self {
            Self::Directory | Self::NewNonce => 0,
            Self::Finalize => FINALIZE_BODY_OCTETS,
            Self::Challenge => CHALLENGE_BODY_OCTETS,
            Self::Account
            | Self::Authorization
            | Self::Certificate
            | Self::KeyChange
            | Self::NewAccount
            | Self::NewOrder
            | Self::Order
            | Self::Orders
            | Self::RevokeCertificate => BODY_OCTETS,
        }
    }

    /// The HTTP methods.
    #[must_use]
    pub const fn methods(self) -> &'static [&'static str] {
        match self {
            Self::Directory => &["GET"],
            Self::NewNonce => &["GET", "HEAD"],
            Self::Account
            | Self::Authorization
            | Self::Certificate
            | Self::Challenge
            | Self::Finalize
            | Self::KeyChange
            | Self::NewAccount
            | Self::NewOrder
            | Self::Order
            | Self::Orders
            | Self::RevokeCertificate => &["POST"],
        }
    }
}

/// What the work of a resource waits for.
pub(super) const fn weight(resource: Resource) -> Weight {
    match resource {
        Resource::Directory | Resource::NewNonce => Weight::Light,
        Resource::Account
        | Resource::Authorization
        | Resource::Certificate
        | Resource::Challenge
        | Resource::Finalize
        | Resource::KeyChange
        | Resource::NewAccount
        | Resource::NewOrder
        | Resource::Order
        | Resource::Orders
        | Resource::RevokeCertificate => Weight::Store,
    }
}

/// The ACME server's own part of the service.
#[derive(Debug)]
pub(crate) struct Acme {
    /// The beginning of every URL.
    url: String,
    /// The profile of orders that name none.
    profile: String,
    replay: ReplayMint,
    validation: Validation,
    /// ACME accounts of one external account.
    accounts_max: usize,
    /// The accounts that may be bound, by their names, with the keys that bind.
    external: HashMap<String, (Arc<Account>, hmac::Key)>,
}

impl Acme {
    /// Reads the keys of the external accounts.
    pub(crate) fn load(config: &AcmeConfig, all: &Config, secret: &StateSecret) -> Result<Self, ExternalKeyError> {
        let mut external = HashMap::new();
        for (name, path) in &config.external_accounts {
            if let Some(account) = all.accounts.iter().find(|account| account.name() == name) {
                external.insert(name.clone(), (Arc::new(account.clone()), read_external_key(path)?));
            }
        }
        Ok(Self {
            url: config.url.clone(),
            profile: config.profile.clone(),
            replay: ReplayMint::new(secret),
            validation: Validation::new(config, all.limits),
            accounts_max: config.accounts_max,
            external,
        })
    }

    /// The URL of a resource, with the identifier that its path has room for.
    fn url(&self, resource: Resource, id: &str) -> String {
        let path = match resource {
            Resource::Account => "account/",
            Resource::Authorization => "authorization/",
            Resource::Certificate => "certificate/",
            Resource::Challenge => "challenge/",
            Resource::Directory => "directory",
            Resource::Finalize => "finalize/",
            Resource::KeyChange => "key-change",
            Resource::NewAccount => "new-account",
            Resource::NewNonce => "new-nonce",
            Resource::NewOrder => "new-order",
            Resource::Order => "order/",
            Resource::Orders => "orders/",
            Resource::RevokeCertificate => "revoke-certificate",
        };
        format!("{}/acme/{path}{id}", self.url)
    }

    fn directory(&self, service: &Service) -> Value {
        let profiles: serde_json::Map<String, Value> = service
            .profiles
            .iter()
            .map(|profile| (profile.name().to_owned(), json!(format!("{} days", profile.validity_days()))))
            .collect();
        json!({
            "newNonce": self.url(Resource::NewNonce, ""),
            "newAccount": self.url(Resource::NewAccount, ""),
            "newOrder": self.url(Resource::NewOrder, ""),
            "revokeCert": self.url(Resource::RevokeCertificate, ""),
            "keyChange": self.url(Resource::KeyChange, ""),
            "meta": { "externalAccountRequired": true, "profiles": profiles },
        })
    }
}

/// What is answered: a status, a body, and where things are.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    body: AnswerBody,
    location: Option<String>,
    /// The URL that a challenge's answer leads up to (RFC 8555, section 7.5.1).
    up: Option<String>,
}

#[derive(Debug)]
enum AnswerBody {
    Chain(String),
    Json(Value),
    None,
}

impl Answer {
    const fn of(body: AnswerBody) -> Self {
        Self { status: StatusCode::OK, body, location: None, up: None }
    }

    const fn json(value: Value) -> Self {
        Self::of(AnswerBody::Json(value))
    }

    fn created(value: Value, location: String) -> Self {
        Self { status: StatusCode::CREATED, ..Self::json(value).at(location) }
    }

    fn at(self, location: String) -> Self {
        Self { location: Some(location), ..self }
    }

    fn into_response(self) -> Response {
        let (content_type, body) = match self.body {
            AnswerBody::Chain(text) => ("application/pem-certificate-chain", Body::from(text)),
            AnswerBody::Json(value) => ("application/json", Body::from(value.to_string())),
            AnswerBody::None => ("", Body::empty()),
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        if !content_type.is_empty() {
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        set(&mut response, &header::LOCATION, self.location.as_deref());
        let up = self.up.map(|url| format!("<{url}>;rel=\"up\""));
        set(&mut response, &header::LINK, up.as_deref());
        response
    }
}

/// Appends a header that has a value.
fn set(response: &mut Response, name: &HeaderName, value: Option<&str>) {
    if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
        response.headers_mut().append(name, value);
    }
}

/// The refusal of a request that did not come as far as this protocol, in its form.
pub(super) fn refusal(error: Error) -> Response {
    refused(&Problem::of(error, Kind::Malformed))
}

fn refused(problem: &Problem) -> Response {
    let mut response = Response::new(Body::from(problem.to_json().to_string()));
    *response.status_mut() = problem.status();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    set(&mut response, &header::LOCATION, problem.location());
    if problem.status() == StatusCode::SERVICE_UNAVAILABLE {
        set(&mut response, &header::RETRY_AFTER, Some(super::refusal::RETRY_AFTER_SECONDS));
    }
    problem.refused().beside(response)
}

/// Answers a request; with every answer goes a fresh replay nonce.
pub(super) fn decide(service: &Service, call: &Call, resource: Resource) -> Result<Decided, Error> {
    let acme = service.acme.as_ref().ok_or(Error::NotFound)?;
    let mut response = match answer(service, acme, call, resource) {
        Ok(answer) => answer.into_response(),
        Err(problem) => refused(&problem),
    };
    if resource != Resource::Directory {
        set(&mut response, &REPLAY_NONCE, acme.replay.mint(service.now()).as_deref());
        let index = format!("<{}>;rel=\"index\"", acme.url(Resource::Directory, ""));
        set(&mut response, &header::LINK, Some(&index));
    }
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(Decided::Answer(response))
}

fn answer(service: &Service, acme: &Acme, call: &Call, resource: Resource) -> Result<Answer, Problem> {
    let signed = || Request::read(service, acme, call, resource);
    let by_holder = |act: fn(&Request<'_>, &Holder) -> Result<Answer, Problem>| {
        let request = signed()?;
        let holder = request.holder()?;
        act(&request, &holder).map_err(|problem| problem.told_to(holder.bound.name()))
    };
    match resource {
        Resource::Directory => Ok(Answer::json(acme.directory(service))),
        Resource::NewNonce => {
            // RFC 8555, section 7.2.
            let status = if call.parts.method == Method::HEAD { StatusCode::OK } else { StatusCode::NO_CONTENT };
            Ok(Answer { status, ..Answer::of(AnswerBody::None) })
        }
        Resource::NewAccount => account::create(&signed()?),
        Resource::RevokeCertificate => certificate::revoke(&signed()?),
        Resource::Account => by_holder(account::update),
        Resource::KeyChange => by_holder(account::change_key),
        Resource::Orders => by_holder(order::list),
        Resource::NewOrder => by_holder(order::create),
        Resource::Order => by_holder(order::show),
        Resource::Authorization => by_holder(challenge::authorization),
        Resource::Challenge => by_holder(challenge::respond),
        Resource::Finalize => by_holder(certificate::finalize),
        Resource::Certificate => by_holder(certificate::download),
    }
}

/// A signed request whose URL is right; nothing else about it is checked.
struct Request<'a> {
    service: &'a Service,
    acme: &'a Acme,
    /// The identifier in the path.
    id: &'a str,
    jws: Jws,
}

impl<'a> Request<'a> {
    fn read(service: &'a Service, acme: &'a Acme, call: &'a Call, resource: Resource) -> Result<Self, Problem> {
        if media_type::essence(call.header(&header::CONTENT_TYPE)) != JOSE {
            return Err(refusals::MEDIA_TYPE.problem());
        }
        let request = Self { service, acme, id: &call.id, jws: Jws::parse(&call.body)? };
        if request.jws.url == acme.url(resource, &call.id) { Ok(request) } else { Err(refusals::JWS_URL.problem()) }
    }

    /// Whether this reads what is there (RFC 8555, section 6.3: POST-as-GET).
    fn is_read(&self) -> bool {
        self.jws.payload.is_empty()
    }

    /// The payload; members that are not known are passed over, as the protocol demands.
    fn payload<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        serde_json::from_slice(&self.jws.payload).map_err(|error| refusals::PAYLOAD.found(format!("{error}.")))
    }

    /// Spends the replay nonce. Comes after the signature, so that nobody fills the store who may not.
    fn spend_nonce(&self) -> Result<(), Problem> {
        let bad = || refusals::BAD_NONCE.problem();
        let text = self.jws.nonce.as_deref().ok_or_else(bad)?;
        let nonce = self.acme.replay.recognize(text, self.service.now()).ok_or_else(bad)?;
        let spent = AcmeChange::Create {
            kind: AcmeKind::Nonce,
            id: nonce.octets.to_vec(),
            owner: Vec::new(),
            expires: nonce.expires,
            body: Vec::new(),
        };
        match self.service.store.acme_change(vec![spent]) {
            Err(crate::store::StoreError::AcmeConflict) => Err(bad()),
            other => Ok(other?),
        }
    }

    /// The account whose key signed the request.
    fn holder(&self) -> Result<Holder, Problem> {
        Holder::of(self)
    }
}

/// A random identifier or token.
fn random_id() -> Result<String, Problem> {
    let mut octets = [0; ID_OCTETS];
    rand::fill(&mut octets).map_err(|_| Problem::from(Error::Worker))?;
    Ok(base64url::encode(&octets))
}
