//! The protocols by which clients ask: each is a thin translation to and from the service, in a folder of its own.
//!
//! Which message means what is matched exhaustively, from the route table down: a new verb does not compile before it
//! is said who may use it, what it waits for and how it is refused.

pub mod acme;
pub mod cmp;
pub mod distribution;
pub mod est;
pub mod json;
pub(crate) mod refusal;

use std::sync::Arc;

use axum::http::header::HeaderName;
use axum::http::request::Parts;
use axum::response::Response;

use crate::enroll::Issuing;
use crate::error::Error;
use crate::http::Peer;
use crate::issue::{Deciding, HeldAnswer, IssuedChain};
use crate::service::{Caller, Service};
use crate::store::StoreError;

/// What a route does, by protocol; it decides the method too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// ACME (RFC 8555).
    Acme(acme::Resource),
    /// HTTPS with JSON.
    Json(json::Operation),
    /// EST (RFC 7030).
    Est(est::Operation),
    /// CMP (RFC 9810).
    Cmp(cmp::Operation),
    /// Revocation lists and certificates of issuers, by plain HTTP too.
    Distribution(distribution::Resource),
}

impl Verb {
    /// The HTTP methods.
    #[must_use]
    pub const fn methods(self) -> &'static [&'static str] {
        match self {
            Self::Acme(resource) => resource.methods(),
            Self::Json(operation) => operation.methods(),
            Self::Est(operation) => operation.methods(),
            Self::Cmp(operation) => operation.methods(),
            Self::Distribution(resource) => resource.methods(),
        }
    }

    /// The protocol, as the log says it.
    pub(crate) const fn protocol(self) -> &'static str {
        match self {
            Self::Acme(_) => "ACME",
            Self::Json(_) => "JSON",
            Self::Est(_) => "EST",
            Self::Cmp(_) => "CMP",
            Self::Distribution(_) => "distribution",
        }
    }

    pub(crate) const fn weight(self) -> Weight {
        match self {
            Self::Acme(resource) => acme::weight(resource),
            Self::Json(operation) => json::weight(operation),
            Self::Est(operation) => est::weight(operation),
            Self::Cmp(operation) => cmp::weight(operation),
            Self::Distribution(resource) => distribution::weight(resource),
        }
    }

    /// What accounts show in the header Authorization.
    pub(crate) const fn scheme(self) -> Scheme {
        match self {
            Self::Json(_) => Scheme::Bearer,
            Self::Est(_) => Scheme::Basic,
            Self::Acme(_) | Self::Cmp(_) | Self::Distribution(_) => Scheme::None,
        }
    }

    /// The answer that refuses, in the protocol's own form.
    pub(crate) fn refusal(self, error: Error) -> Response {
        match self {
            Self::Acme(_) => acme::refusal(error),
            Self::Json(_) | Self::Distribution(_) => json::refusal(error),
            Self::Est(_) => est::refusal(error),
            Self::Cmp(_) => cmp::refusal(error),
        }
    }
}

/// What accounts show in the header Authorization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// A bearer token (RFC 6750).
    Bearer,
    /// The account's name and its token (RFC 7617).
    Basic,
    /// Nothing that counts: messages show by themselves whose they are.
    None,
}

/// What the work of a call waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weight {
    /// Nothing.
    Light,
    /// A processor, for as long as signatures take: more at once than there are processors would gain nothing.
    Signatures,
    /// The store.
    Store,
}

/// A request whose caller is known and whose body has been read.
pub(crate) struct Call {
    pub(crate) verb: Verb,
    pub(crate) caller: Caller,
    pub(crate) peer: Arc<Peer>,
    /// The `{id}` of the path; empty where the route has none.
    pub(crate) id: String,
    pub(crate) parts: Parts,
    pub(crate) body: Vec<u8>,
}

impl Call {
    /// A header's value; empty where there is none or it is no text.
    pub(crate) fn header(&self, name: &HeaderName) -> &str {
        self.parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// Makes the protocol's answer from the certificates, or from why there are none.
pub(crate) type Render = Box<dyn FnOnce(Result<IssuedChain, Error>) -> Result<Response, Error> + Send>;

/// What became of a call, to be told to its client.
pub(crate) enum Finished {
    /// Nothing waits for it.
    Answer(Response),
    /// The store has said how the recording ended.
    Recorded(Recorded),
}

/// A decision that was recorded, or could not be.
pub(crate) struct Recorded {
    result: Result<(), StoreError>,
    held: HeldAnswer,
    render: Render,
}

impl Recorded {
    /// Whether the answer must be looked up.
    pub(crate) const fn blocks(&self) -> bool {
        self.result.is_err()
    }

    pub(crate) fn answer(self, service: &Service) -> Result<Response, Error> {
        (self.render)(service.decided(self.held, self.result))
    }
}

/// How far a call comes without the store having recorded anything.
pub(crate) enum Decided {
    Answer(Response),
    Deciding { deciding: Box<Deciding>, render: Render },
}

impl Decided {
    /// What the core answered, to be told in the protocol's words.
    pub(crate) fn from_issuing(issuing: Issuing, render: Render) -> Result<Self, Error> {
        match issuing {
            Issuing::Decided(chain) => render(Ok(chain)).map(Self::Answer),
            Issuing::Deciding(deciding) => Ok(Self::Deciding { deciding, render }),
        }
    }
}

/// Performs a call; blocks, unless it is light. `tell` gets the outcome: before this returns, or on a thread of the
/// store once what the answer rests on is recorded.
pub(crate) fn perform(service: &Service, call: &Call, tell: impl FnOnce(Result<Finished, Error>) + Send + 'static) {
    let decided = match call.verb {
        Verb::Acme(resource) => acme::decide(service, call, resource),
        Verb::Json(operation) => json::decide(service, call, operation),
        Verb::Est(operation) => est::decide(service, call, operation),
        Verb::Cmp(operation) => cmp::decide(service, call, operation),
        Verb::Distribution(resource) => distribution::decide(service, call, resource),
    };
    match decided {
        Ok(Decided::Answer(response)) => tell(Ok(Finished::Answer(response))),
        Ok(Decided::Deciding { deciding, render }) => deciding.record(service, move |result, held| {
            tell(Ok(Finished::Recorded(Recorded { result, held, render })));
        }),
        Err(error) => tell(Err(error)),
    }
}
