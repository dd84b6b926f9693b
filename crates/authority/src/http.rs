//! The authority on HTTPS.
//!
//! One table declares every route: its method, its path, who may call it and how large a body it takes.
//! One function serves them all, always in this order: authenticate, authorize, check the size, read the
//! body within its deadline, wait for a place, work. Nothing of a request is read beyond its head before its
//! caller is known, and nothing that others need is held for a client that is slow.

mod admission;
mod bodies;
mod listener;
mod places;
mod problem;
mod workers;

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, Path, Request};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header, request};
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use tokio::sync::oneshot;

use self::admission::{Admission, Share};
use self::bodies::{Finished, Weight};
use self::places::Place;
use self::workers::Workers;
use crate::config::{Account, Capability, Config};
use crate::error::Error;
use crate::inventory::INVENTORY_OCTETS;
use crate::record::sha256;
use crate::service::{Caller, Service};

pub(crate) use listener::{Listener, StopHandle};

/// Octets of the body of a request for a nonce or of an activation.
const SMALL_BODY_OCTETS: usize = 16 * 1024;
/// Octets of the body of an enrolment: the file of a ceremony of 2 MiB in base64, or endorsement certificates, a public area and
/// a quote, with room for the JSON around it.
const ENROLMENT_BODY_OCTETS: usize = 3 * 1024 * 1024;
/// Octets of the body of a certificate request: a CSR of 2 MiB in base64, with room for the JSON around it.
const CERTIFICATE_BODY_OCTETS: usize = 3 * 1024 * 1024;
/// Octets of the body of an appraisal: 4 MiB of evidence in base64.
const APPRAISAL_BODY_OCTETS: usize = 6 * 1024 * 1024;
/// Octets of a bearer token, at most.
const TOKEN_OCTETS_MAX: usize = 512;

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    Public,
    /// Accounts with this right.
    Account(Capability),
    /// Every account; the right is checked when it is known what the nonce is for. Anonymous callers where
    /// anonymous appraisals are configured.
    Nonce,
    /// Accounts with the right to appraise; anonymous callers where that is configured.
    Appraisal,
}

/// What a route does; it decides the method too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// POST: a nonce.
    MintNonce,
    /// POST: a challenge for an attestation key.
    OpenChallenge,
    /// POST: the answer to a challenge.
    Activate,
    /// POST: new certificates for an attesting key, on its own word.
    Renew,
    /// POST: rows of the inventory.
    ImportInventory,
    /// POST: a certificate.
    Issue,
    /// POST: a verdict.
    Appraise,
    /// GET: a revocation list.
    RevocationList,
    /// GET: the certificates of the authority.
    Trust,
}

/// A row of the route table.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// The path; `{id}` stands for the identifier of a challenge, or the name of a list.
    pub path: &'static str,
    /// What it does.
    pub operation: Operation,
    /// Who may call it.
    pub access: Access,
    /// Octets of its body, at most.
    pub body_octets: usize,
}

impl Operation {
    /// The HTTP method.
    #[must_use]
    pub const fn method(self) -> &'static str {
        match self {
            Self::Trust | Self::RevocationList => "GET",
            Self::MintNonce
            | Self::OpenChallenge
            | Self::Activate
            | Self::Renew
            | Self::ImportInventory
            | Self::Issue
            | Self::Appraise => "POST",
        }
    }
}

const fn route(path: &'static str, operation: Operation, access: Access, body_octets: usize) -> Route {
    Route { path, operation, access, body_octets }
}

const ENROLLS: Access = Access::Account(Capability::Enroll);
const ADMINISTERS: Access = Access::Account(Capability::Administer);
const ISSUES: Access = Access::Account(Capability::Issue);

/// Every route of the authority.
pub const ROUTES: &[Route] = &[
    route("/v1/nonces", Operation::MintNonce, Access::Nonce, SMALL_BODY_OCTETS),
    route("/v1/attestation-keys", Operation::OpenChallenge, ENROLLS, ENROLMENT_BODY_OCTETS),
    route("/v1/attestation-keys/{id}/activation", Operation::Activate, ENROLLS, SMALL_BODY_OCTETS),
    route("/v1/attestation-keys/renewals", Operation::Renew, ENROLLS, SMALL_BODY_OCTETS),
    route("/v1/inventory", Operation::ImportInventory, ADMINISTERS, INVENTORY_OCTETS),
    route("/v1/revocation-lists/{id}", Operation::RevocationList, Access::Public, 0),
    route("/v1/certificates", Operation::Issue, ISSUES, CERTIFICATE_BODY_OCTETS),
    route("/v1/appraisals", Operation::Appraise, Access::Appraisal, APPRAISAL_BODY_OCTETS),
    route("/v1/trust", Operation::Trust, Access::Public, 0),
];

/// A caller with its part of the server.
#[derive(Clone, Debug)]
struct Known {
    caller: Caller,
    share: Arc<Share>,
}

/// What every request needs.
#[derive(Debug)]
struct Server {
    service: Arc<Service>,
    accounts: HashMap<[u8; 32], Known>,
    anonymous: Known,
    anonymous_appraisals: bool,
    /// One thread for each processor.
    workers: Workers,
}

/// The routes of `config`, served by `service`; an error if the system has no threads for it.
pub(crate) fn router(config: &Config, service: Arc<Service>) -> std::io::Result<Router> {
    let admission = Admission::new(config.limits);
    let known = |caller| Known { caller, share: admission.share() };
    let account = |account: &Account| (account.token_sha256, known(Caller::Account(Arc::new(account.clone()))));
    let server = Arc::new(Server {
        service,
        accounts: config.accounts.iter().map(account).collect(),
        anonymous: known(Caller::Anonymous),
        anonymous_appraisals: config.anonymous_appraisals,
        workers: Workers::start(std::thread::available_parallelism().map_or(1, usize::from))?,
    });
    let mut router = Router::new();
    for route in ROUTES.iter().filter(|route| config.role.performs(route.operation)) {
        let server = Arc::clone(&server);
        let handler = move |request: Request| async move { server.serve(route, request).await };
        let methods: MethodRouter = match route.operation {
            Operation::Trust | Operation::RevocationList => get(handler),
            Operation::MintNonce
            | Operation::OpenChallenge
            | Operation::Activate
            | Operation::Renew
            | Operation::ImportInventory
            | Operation::Issue
            | Operation::Appraise => post(handler),
        };
        router = router.route(route.path, methods);
    }
    Ok(router
        .fallback(|| async { problem::response(Error::NotFound) })
        .method_not_allowed_fallback(|| async { problem::response(Error::MethodNotAllowed) }))
}

impl Server {
    async fn serve(self: Arc<Self>, route: &'static Route, request: Request) -> Response {
        match self.granted(route, request).await {
            Ok(response) => response,
            Err(error) => problem::response(error),
        }
    }

    async fn granted(self: Arc<Self>, route: &'static Route, request: Request) -> Result<Response, Error> {
        let (mut parts, body) = request.into_parts();
        let Known { caller, share } = self.authenticate(&parts.headers)?;
        self.authorize(route.access, &caller)?;
        check_declared_length(&parts.headers, route.body_octets)?;
        let id = path_id(route, &mut parts).await?;
        let mut held = share.read(body, route.body_octets).await?;
        let _working = parts.extensions.get::<Arc<Place>>().cloned().map(Place::work);
        let body = std::mem::take(&mut held.octets);
        let call = bodies::Call { operation: route.operation, caller, id, parts, body };
        let weight = call.weight();
        let place = match weight {
            Weight::Light => None,
            Weight::Signatures | Weight::Store => Some(share.work_place().await?),
        };
        let service = Arc::clone(&self.service);
        let (told_to, told) = oneshot::channel();
        // Signatures and the database block; they have threads of their own. The work goes on if the client
        // leaves after it began, and so does what it holds; the place is kept until the answer is made.
        let work = move || {
            if !told_to.is_closed() {
                bodies::perform(&service, &call, move |finished| drop(told_to.send((finished, place))));
            }
            drop(held);
        };
        match weight {
            Weight::Light => work(),
            Weight::Signatures => self.workers.run(work),
            Weight::Store => drop(tokio::task::spawn_blocking(work)),
        }
        let (finished, _place) = told.await.map_err(|_| Error::Worker)?;
        self.answer(finished?).await
    }

    async fn answer(&self, finished: Finished) -> Result<Response, Error> {
        let recorded = match finished {
            Finished::Answer(response) => return Ok(response),
            Finished::Recorded(recorded) => recorded,
        };
        if !recorded.blocks() {
            return recorded.answer(&self.service);
        }
        let service = Arc::clone(&self.service);
        tokio::task::spawn_blocking(move || recorded.answer(&service)).await.map_err(|_| Error::Worker)?
    }

    /// The account of the bearer token. A request without one is anonymous; a false one is refused outright.
    fn authenticate(&self, headers: &HeaderMap) -> Result<Known, Error> {
        let mut given = headers.get_all(header::AUTHORIZATION).iter();
        let Some(value) = given.next() else { return Ok(self.anonymous.clone()) };
        if given.next().is_some() {
            return Err(Error::NotAuthenticated);
        }
        let token = bearer_token(value).ok_or(Error::NotAuthenticated)?;
        self.accounts.get(&sha256(token)).cloned().ok_or(Error::NotAuthenticated)
    }

    fn authorize(&self, access: Access, caller: &Caller) -> Result<(), Error> {
        match (access, caller) {
            (Access::Public, _) | (Access::Nonce, Caller::Account(_)) => Ok(()),
            (Access::Account(capability), Caller::Account(account)) => permit(account, capability),
            (Access::Appraisal, Caller::Account(account)) => permit(account, Capability::Appraise),
            (Access::Nonce | Access::Appraisal, Caller::Anonymous) if self.anonymous_appraisals => Ok(()),
            (Access::Account(_) | Access::Nonce | Access::Appraisal, Caller::Anonymous) => Err(Error::NotAuthenticated),
        }
    }
}

fn permit(account: &Account, capability: Capability) -> Result<(), Error> {
    if account.may(capability) { Ok(()) } else { Err(Error::NotPermitted(capability)) }
}

fn bearer_token(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, token) = value.as_bytes().split_at_checked("Bearer ".len())?;
    let fits = (1..=TOKEN_OCTETS_MAX).contains(&token.len());
    (scheme.eq_ignore_ascii_case(b"Bearer ") && fits).then_some(token)
}

fn check_declared_length(headers: &HeaderMap, limit: usize) -> Result<(), Error> {
    let Some(length) = headers.get(header::CONTENT_LENGTH) else { return Ok(()) };
    let length: Option<usize> = length.to_str().ok().and_then(|text| text.parse().ok());
    match length {
        Some(length) if length <= limit => Ok(()),
        Some(_) => Err(Error::BodyTooLarge { limit }),
        None => Err(Error::Malformed { field: "Content-Length", expected: "a number" }),
    }
}

/// The `{id}` of the path, where the route has one.
async fn path_id(route: &Route, parts: &mut request::Parts) -> Result<String, Error> {
    if !route.path.contains("{id}") {
        return Ok(String::new());
    }
    let Path(id) = Path::<String>::from_request_parts(parts, &()).await.map_err(|_| Error::NotFound)?;
    Ok(id)
}

/// A JSON response.
fn json(status: StatusCode, value: &impl serde::Serialize) -> Result<Response, Error> {
    with_type(status, "application/json", serde_json::to_vec(value)?)
}

fn with_type(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Result<Response, Error> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
