//! The authority on HTTPS.
//!
//! One table declares every route: its method, its path, who may call it and how large a body it takes.
//! One function serves them all, always in this order: authenticate, authorize, check the size, read the
//! body within its deadline, wait for a place, work. Nothing of a request is read beyond its head before its
//! caller is known, and nothing that others need is held for a client that is slow.

mod admission;
mod listener;
mod peer;
mod places;
mod workers;

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRequestParts, Path, Request};
use axum::http::{HeaderMap, HeaderValue, header, request};
use axum::response::Response;
use axum::routing::{MethodFilter, MethodRouter};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::sync::oneshot;

use self::admission::{Admission, Share, Strangers};
use self::places::Place;
use self::workers::Workers;
use crate::config::{Account, Capability, Config, DatabaseConfig};
use crate::enroll::{Applicant, Credential, Names};
use crate::error::Error;
use crate::inventory::INVENTORY_OCTETS;
use crate::protocol::json::Operation;
use crate::protocol::refusal::log;
use crate::protocol::{self, Call, Finished, Scheme, Verb, Weight, acme, cmp, distribution, est};
use crate::record::sha256;
use crate::service::{Caller, Service};

pub(crate) use listener::{Channel, Listener, StopHandle};
pub(crate) use peer::Peer;

/// Octets of the body of a request for a nonce or of an activation.
const SMALL_BODY_OCTETS: usize = 16 * 1024;
/// Octets of the body of an enrolment: the file of a ceremony of 2 MiB in base64, or endorsement certificates, a public area and
/// a quote, with room for the JSON around it.
const ENROLMENT_BODY_OCTETS: usize = 3 * 1024 * 1024;
/// Octets of the body of a certificate request: a CSR of 2 MiB in base64, with room for the JSON around it.
const CERTIFICATE_BODY_OCTETS: usize = 3 * 1024 * 1024;
/// Octets of the body of an appraisal: 4 MiB of evidence in base64.
const APPRAISAL_BODY_OCTETS: usize = 6 * 1024 * 1024;
/// Decision threads for each processor where a look at the records is a round trip to a server: while one thread waits for it,
/// others work.
const THREADS_OF_PROCESSOR: usize = 4;
/// Octets of a bearer token, at most.
const TOKEN_OCTETS_MAX: usize = 512;

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    Public,
    /// Accounts with this right: by bearer token with JSON; by HTTP Basic or a client certificate with EST.
    Account(Capability),
    /// Every account; the right is checked when it is known what the nonce is for. Anonymous callers where
    /// anonymous appraisals are configured.
    Nonce,
    /// Accounts with the right to appraise; anonymous callers where that is configured.
    Appraisal,
    /// Whoever the protection of the message shows to have an account with the right that its type takes
    /// ([`crate::protocol::cmp::MessageType::access`]). Nothing else of the request tells who it is.
    Message,
    /// Accounts with this right that show a certificate issued here in the TLS handshake: the one that is renewed.
    Renewal(Capability),
}

/// A row of the route table.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// The path; `{id}` stands for the identifier of a challenge, the name of a list, or a profile.
    pub path: &'static str,
    /// What it does.
    pub verb: Verb,
    /// Who may call it.
    pub access: Access,
    /// Octets of its body, at most.
    pub body_octets: usize,
}

const fn json(path: &'static str, operation: Operation, access: Access, body_octets: usize) -> Route {
    Route { path, verb: Verb::Json(operation), access, body_octets }
}

const fn est(path: &'static str, operation: est::Operation, access: Access, body_octets: usize) -> Route {
    Route { path, verb: Verb::Est(operation), access, body_octets }
}

/// Whoever sends a message to CMP shows in the message who that is.
const fn cmp(path: &'static str, operation: cmp::Operation) -> Route {
    Route { path, verb: Verb::Cmp(operation), access: Access::Message, body_octets: cmp::limits::MESSAGE_OCTETS }
}

/// Everybody may fetch what certificates name.
const fn public(path: &'static str, resource: distribution::Resource) -> Route {
    Route { path, verb: Verb::Distribution(resource), access: Access::Public, body_octets: 0 }
}

/// Everybody may have the directory and a replay nonce; all else shows in the message who asks.
const fn acme(path: &'static str, resource: acme::Resource) -> Route {
    let access = match resource {
        acme::Resource::Directory | acme::Resource::NewNonce => Access::Public,
        acme::Resource::Account
        | acme::Resource::Authorization
        | acme::Resource::Certificate
        | acme::Resource::Challenge
        | acme::Resource::Finalize
        | acme::Resource::KeyChange
        | acme::Resource::NewAccount
        | acme::Resource::NewOrder
        | acme::Resource::Order
        | acme::Resource::Orders
        | acme::Resource::RevokeCertificate => Access::Message,
    };
    Route { path, verb: Verb::Acme(resource), access, body_octets: resource.body_octets() }
}

const ENROLLS: Access = Access::Account(Capability::Enroll);
const ADMINISTERS: Access = Access::Account(Capability::Administer);
const ISSUES: Access = Access::Account(Capability::Issue);
const RENEWS: Access = Access::Renewal(Capability::Issue);

/// Every route of the authority.
pub const ROUTES: &[Route] = &[
    json("/v1/nonces", Operation::MintNonce, Access::Nonce, SMALL_BODY_OCTETS),
    json("/v1/attestation-keys", Operation::OpenChallenge, ENROLLS, ENROLMENT_BODY_OCTETS),
    json("/v1/attestation-keys/{id}/activation", Operation::Activate, ENROLLS, SMALL_BODY_OCTETS),
    json("/v1/attestation-keys/renewals", Operation::Renew, ENROLLS, SMALL_BODY_OCTETS),
    json("/v1/inventory", Operation::ImportInventory, ADMINISTERS, INVENTORY_OCTETS),
    json("/v1/revocation-lists/{id}", Operation::RevocationList, Access::Public, 0),
    json("/v1/revocations", Operation::Revoke, ADMINISTERS, SMALL_BODY_OCTETS),
    json("/v1/metrics", Operation::Metrics, Access::Account(Capability::Monitor), 0),
    json("/v1/certificates", Operation::Issue, ISSUES, CERTIFICATE_BODY_OCTETS),
    json("/v1/appraisals", Operation::Appraise, Access::Appraisal, APPRAISAL_BODY_OCTETS),
    json("/v1/appraisals/keys", Operation::ResultKeys, Access::Public, 0),
    json("/v1/trust", Operation::Trust, Access::Public, 0),
    json("/v1/openapi.json", Operation::Description, Access::Public, 0),
    public("/crl/{id}", distribution::Resource::RevocationList),
    public("/ca/{id}", distribution::Resource::IssuerCertificate),
    est("/.well-known/est/cacerts", est::Operation::CaCertificates, Access::Public, 0),
    est("/.well-known/est/csrattrs", est::Operation::RequestAttributes, Access::Public, 0),
    est("/.well-known/est/nonce", est::Operation::Nonce, ISSUES, SMALL_BODY_OCTETS),
    est("/.well-known/est/simpleenroll", est::Operation::Enroll, ISSUES, CERTIFICATE_BODY_OCTETS),
    est("/.well-known/est/simplereenroll", est::Operation::Reenroll, RENEWS, CERTIFICATE_BODY_OCTETS),
    est("/.well-known/est/serverkeygen", est::Operation::ServerKeyGeneration, Access::Public, SMALL_BODY_OCTETS),
    est("/.well-known/est/fullcmc", est::Operation::FullCmc, Access::Public, SMALL_BODY_OCTETS),
    est("/.well-known/est/{id}/cacerts", est::Operation::CaCertificates, Access::Public, 0),
    est("/.well-known/est/{id}/csrattrs", est::Operation::RequestAttributes, Access::Public, 0),
    est("/.well-known/est/{id}/nonce", est::Operation::Nonce, ISSUES, SMALL_BODY_OCTETS),
    est("/.well-known/est/{id}/simpleenroll", est::Operation::Enroll, ISSUES, CERTIFICATE_BODY_OCTETS),
    est("/.well-known/est/{id}/simplereenroll", est::Operation::Reenroll, RENEWS, CERTIFICATE_BODY_OCTETS),
    est("/.well-known/est/{id}/serverkeygen", est::Operation::ServerKeyGeneration, Access::Public, SMALL_BODY_OCTETS),
    est("/.well-known/est/{id}/fullcmc", est::Operation::FullCmc, Access::Public, SMALL_BODY_OCTETS),
    acme("/acme/directory", acme::Resource::Directory),
    acme("/acme/new-nonce", acme::Resource::NewNonce),
    acme("/acme/new-account", acme::Resource::NewAccount),
    acme("/acme/new-order", acme::Resource::NewOrder),
    acme("/acme/revoke-certificate", acme::Resource::RevokeCertificate),
    acme("/acme/key-change", acme::Resource::KeyChange),
    acme("/acme/account/{id}", acme::Resource::Account),
    acme("/acme/orders/{id}", acme::Resource::Orders),
    acme("/acme/order/{id}", acme::Resource::Order),
    acme("/acme/authorization/{id}", acme::Resource::Authorization),
    acme("/acme/challenge/{id}", acme::Resource::Challenge),
    acme("/acme/finalize/{id}", acme::Resource::Finalize),
    acme("/acme/certificate/{id}", acme::Resource::Certificate),
    cmp("/.well-known/cmp", cmp::Operation::Any),
    cmp("/.well-known/cmp/initialization", cmp::Operation::Initialization),
    cmp("/.well-known/cmp/certification", cmp::Operation::Certification),
    cmp("/.well-known/cmp/keyupdate", cmp::Operation::KeyUpdate),
    cmp("/.well-known/cmp/pkcs10", cmp::Operation::Pkcs10),
    cmp("/.well-known/cmp/revocation", cmp::Operation::Revocation),
    cmp("/.well-known/cmp/getcacerts", cmp::Operation::CaCertificates),
    cmp("/.well-known/cmp/getnonce", cmp::Operation::Nonce),
    cmp("/.well-known/cmp/p/{id}", cmp::Operation::Any),
    cmp("/.well-known/cmp/p/{id}/initialization", cmp::Operation::Initialization),
    cmp("/.well-known/cmp/p/{id}/certification", cmp::Operation::Certification),
    cmp("/.well-known/cmp/p/{id}/keyupdate", cmp::Operation::KeyUpdate),
    cmp("/.well-known/cmp/p/{id}/pkcs10", cmp::Operation::Pkcs10),
    cmp("/.well-known/cmp/p/{id}/revocation", cmp::Operation::Revocation),
    cmp("/.well-known/cmp/p/{id}/getcacerts", cmp::Operation::CaCertificates),
    cmp("/.well-known/cmp/p/{id}/getnonce", cmp::Operation::Nonce),
];

/// A caller with its part of the server.
#[derive(Clone, Debug)]
struct Known {
    caller: Caller,
    share: Arc<Share>,
}

/// An account with its part of the server.
#[derive(Clone, Debug)]
struct KnownAccount {
    account: Arc<Account>,
    share: Arc<Share>,
}

impl KnownAccount {
    fn by(&self, by: Credential, names: Names) -> Known {
        let applicant = Applicant { account: Arc::clone(&self.account), by, names };
        Known { caller: Caller::Account(applicant), share: Arc::clone(&self.share) }
    }
}

/// What every request needs.
#[derive(Debug)]
struct Server {
    service: Arc<Service>,
    by_token: HashMap<[u8; 32], KnownAccount>,
    by_name: HashMap<String, KnownAccount>,
    strangers: Strangers,
    anonymous_appraisals: bool,
    /// Threads that decide.
    workers: Workers,
}

/// What is served, by which kind of connection.
pub(crate) struct Routers {
    /// By TLS: everything.
    pub(crate) tls: Router,
    /// By plain HTTP: what certificates name, which is signed and nobody's secret.
    pub(crate) plain: Router,
}

/// The routes of `config`, served by `service`; an error if the system has no threads for it.
pub(crate) fn routers(config: &Config, service: Arc<Service>) -> std::io::Result<Routers> {
    let admission = Admission::new(config.limits);
    let known = |account: &Account| KnownAccount { account: Arc::new(account.clone()), share: admission.share() };
    let accounts: Vec<KnownAccount> = config.accounts.iter().map(known).collect();
    let server = Arc::new(Server {
        service,
        by_token: accounts.iter().map(|known| (known.account.token_sha256, known.clone())).collect(),
        by_name: accounts.iter().map(|known| (known.account.name.clone(), known.clone())).collect(),
        strangers: admission.strangers(ROUTES.iter().map(|route| route.body_octets).max().unwrap_or_default()),
        anonymous_appraisals: config.anonymous_appraisals,
        workers: Workers::start(decision_threads(&config.database))?,
    });
    let served = || ROUTES.iter().filter(|route| config.role.performs(route.verb));
    let is_plain = |route: &&Route| matches!(route.verb, Verb::Distribution(_));
    Ok(Routers { plain: routes(&server, served().filter(is_plain)), tls: routes(&server, served()) })
}

fn routes(server: &Arc<Server>, routes: impl Iterator<Item = &'static Route>) -> Router {
    let mut router = Router::new();
    for route in routes {
        let server = Arc::clone(server);
        let handler = move |request: Request| async move { server.serve(route, request).await };
        let refused = move || async move { refusal(route.verb, "", Error::MethodNotAllowed) };
        let methods = route.verb.methods().iter().fold(MethodRouter::new().fallback(refused), |methods, method| {
            methods.on(if *method == "GET" { MethodFilter::GET } else { MethodFilter::POST }, handler.clone())
        });
        router = router.route(route.path, methods);
    }
    router.fallback(|| async { refusal(Verb::Json(Operation::Trust), "", Error::NotFound) })
}

/// The answer that refuses, which the log has too.
fn refusal(verb: Verb, account: &str, error: Error) -> Response {
    let response = verb.refusal(error);
    log(verb.protocol(), account, &response);
    response
}

impl Server {
    async fn serve(self: Arc<Self>, route: &'static Route, request: Request) -> Response {
        let mut account = String::new();
        match self.granted(route, request, &mut account).await {
            Ok(response) => {
                // Some protocols refuse in messages of their own.
                log(route.verb.protocol(), &account, &response);
                response
            }
            Err(error) => refusal(route.verb, &account, error),
        }
    }

    /// The answer to a request; `account` becomes the name of the account that asks, as soon as it is known.
    async fn granted(
        self: Arc<Self>,
        route: &'static Route,
        request: Request,
        account: &mut String,
    ) -> Result<Response, Error> {
        let (mut parts, body) = request.into_parts();
        let peer = parts.extensions.get::<Arc<Peer>>().cloned().ok_or(Error::Worker)?;
        let Known { caller, share } = self.authenticate(route.verb.scheme(), &parts.headers, &peer).await?;
        caller.name().clone_into(account);
        self.authorize(route.access, &caller)?;
        check_declared_length(&parts.headers, route.body_octets)?;
        let id = path_id(route, &mut parts).await?;
        let mut held = share.read(body, route.body_octets).await?;
        let _working = parts.extensions.get::<Arc<Place>>().cloned().map(Place::work);
        let body = std::mem::take(&mut held.octets);
        let call = Call { verb: route.verb, caller, peer, id, parts, body };
        let weight = call.verb.weight();
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
                protocol::perform(&service, &call, move |finished| drop(told_to.send((finished, place))));
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

    /// The account that the request shows a credential of. A request without one is anonymous; a false one is refused
    /// outright, and so are two that are not the same account's.
    async fn authenticate(&self, scheme: Scheme, headers: &HeaderMap, peer: &Arc<Peer>) -> Result<Known, Error> {
        let by_header = self.by_header(scheme, headers)?;
        let by_certificate = match scheme {
            // A certificate says nothing where tokens are what counts.
            Scheme::Bearer | Scheme::None => None,
            Scheme::Basic if peer.has_certificate() => Some(self.by_certificate(peer).await?),
            Scheme::Basic => None,
        };
        match (by_header, by_certificate) {
            (None, None) => Ok(Known { caller: Caller::Anonymous, share: self.strangers.share(peer.address()) }),
            (Some(known), None) | (None, Some(known)) => Ok(known),
            (Some(header), Some(certificate)) if header.caller.name() == certificate.caller.name() => Ok(certificate),
            (Some(_), Some(_)) => Err(Error::NotAuthenticated),
        }
    }

    fn by_header(&self, scheme: Scheme, headers: &HeaderMap) -> Result<Option<Known>, Error> {
        let mut given = headers.get_all(header::AUTHORIZATION).iter();
        let Some(value) = given.next() else { return Ok(None) };
        if given.next().is_some() {
            return Err(Error::NotAuthenticated);
        }
        let known = match scheme {
            Scheme::None => return Ok(None),
            Scheme::Bearer => {
                let token = bearer_token(value).ok_or(Error::NotAuthenticated)?;
                self.by_token.get(&sha256(token)).map(|known| known.by(Credential::BearerToken, Names::OfAccount))
            }
            Scheme::Basic => {
                let (name, token) = basic_credentials(value).ok_or(Error::NotAuthenticated)?;
                let known = self.by_token.get(&sha256(&token)).filter(|known| known.account.name() == name);
                known.map(|known| known.by(Credential::HttpBasic, Names::OfAccount))
            }
        };
        known.map(Some).ok_or(Error::NotAuthenticated)
    }

    /// The account of the client certificate, which the handshake has shown to be in the client's hands. What is not
    /// certain for as long as a connection lasts is looked at for every request: whether it is valid and not revoked.
    async fn by_certificate(&self, peer: &Arc<Peer>) -> Result<Known, Error> {
        let (service, peer) = (Arc::clone(&self.service), Arc::clone(peer));
        let holder = tokio::task::spawn_blocking(move || service.certificate_holder(peer.certificates()));
        let holder = holder.await.map_err(|_| Error::Worker)??;
        let known = self.by_name.get(&holder.account).ok_or(Error::NotAuthenticated)?;
        let by = if holder.is_registrar { Credential::RegistrarCertificate } else { Credential::ClientCertificate };
        Ok(known.by(by, holder.names))
    }

    fn authorize(&self, access: Access, caller: &Caller) -> Result<(), Error> {
        match (access, caller) {
            (Access::Public | Access::Message, _) | (Access::Nonce, Caller::Account(_)) => Ok(()),
            (Access::Account(capability), Caller::Account(applicant)) => permit(&applicant.account, capability),
            (Access::Appraisal, Caller::Account(applicant)) => permit(&applicant.account, Capability::Appraise),
            (Access::Renewal(capability), Caller::Account(applicant)) => match (applicant.by, &applicant.names) {
                (Credential::ClientCertificate, Names::Only(_)) => permit(&applicant.account, capability),
                (
                    Credential::ClientCertificate
                    | Credential::RegistrarCertificate
                    | Credential::RegistrarSignature
                    | Credential::BearerToken
                    | Credential::HttpBasic
                    | Credential::CmpMac
                    | Credential::CmpSignature
                    | Credential::AcmeAccount,
                    Names::OfAccount | Names::Only(_) | Names::Proven(_),
                ) => Err(Error::NotAuthenticated),
            },
            (Access::Nonce | Access::Appraisal, Caller::Anonymous) if self.anonymous_appraisals => Ok(()),
            (Access::Account(_) | Access::Nonce | Access::Appraisal | Access::Renewal(_), Caller::Anonymous) => {
                Err(Error::NotAuthenticated)
            }
        }
    }
}

/// How many threads decide at once: as many as keep the processors busy.
fn decision_threads(database: &DatabaseConfig) -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    match database {
        DatabaseConfig::Sqlite => processors,
        DatabaseConfig::Postgres(_) => processors.saturating_mul(THREADS_OF_PROCESSOR),
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

/// Name and token of HTTP Basic (RFC 7617, section 2).
fn basic_credentials(value: &HeaderValue) -> Option<(String, Vec<u8>)> {
    let (scheme, encoded) = value.as_bytes().split_at_checked("Basic ".len())?;
    // The name and the colon come on top, and base64 makes four octets of three.
    if !scheme.eq_ignore_ascii_case(b"Basic ") || encoded.len() > 2 * TOKEN_OCTETS_MAX {
        return None;
    }
    let decoded = STANDARD.decode(encoded).ok()?;
    let colon = decoded.iter().position(|octet| *octet == b':')?;
    let (name, token) = decoded.split_at_checked(colon)?;
    let (_, token) = token.split_first()?;
    Some((String::from_utf8(name.to_vec()).ok()?, token.to_vec()))
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
