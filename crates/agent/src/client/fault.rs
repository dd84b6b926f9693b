//! Why a request got no result.

use std::fmt;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::wire::header::Refusal;
use crate::wire::message::ErrorDetail;
use crate::wire::{Opcode, Status};

/// Why a request got no result.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientFault {
    /// The request is longer than the service reads.
    #[error("a request of {found} octets, the limit is {limit}")]
    BodyLength {
        /// Its octets.
        found: usize,
        /// The limit in octets.
        limit: usize,
    },
    /// No service listens there.
    #[error("no agent answers at {}: {source}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The connection failed.
    #[error("the connection to the agent failed: {0}")]
    Connection(#[from] io::Error),
    /// The response's body is not the operation's result.
    #[error("the agent's answer is not the operation's result: {0}")]
    Decode(#[from] prost::DecodeError),
    /// The response lacks what it is for.
    #[error("the agent's answer is empty")]
    Empty,
    /// The service's address is not that of a socket.
    #[error("{found:?} is not a service's address")]
    Endpoint {
        /// What it is.
        found: String,
    },
    /// The response's header is not one.
    #[error("the agent's answer is not a response: {0}")]
    Header(#[from] Refusal),
    /// The response answers another operation.
    #[error("the agent answered operation {found:#x} instead of {expected:#x}")]
    OtherAnswer {
        /// What was asked.
        expected: u32,
        /// What was answered.
        found: u32,
    },
    /// The service has no such provider.
    #[error("the agent serves no provider named {name:?}, only {served}")]
    ProviderUnknown {
        /// The name; empty for the default.
        name: String,
        /// Those that it serves.
        served: String,
    },
    /// The service refused.
    #[error("{opcode:?}: {}", Told { status: *status, detail: detail.as_ref() })]
    Refused {
        /// The operation.
        opcode: Opcode,
        /// The status.
        status: Status,
        /// What the service says about it, where it says something.
        detail: Option<ErrorDetail>,
    },
}

impl ClientFault {
    /// The service's status, where it gave one.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        match self {
            ClientFault::Refused { status, .. } => Some(*status),
            ClientFault::BodyLength { .. }
            | ClientFault::Connect { .. }
            | ClientFault::Connection(_)
            | ClientFault::Decode(_)
            | ClientFault::Empty
            | ClientFault::Endpoint { .. }
            | ClientFault::Header(_)
            | ClientFault::OtherAnswer { .. }
            | ClientFault::ProviderUnknown { .. } => None,
        }
    }

    /// The stable code of the refusal, where the service gave one.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            ClientFault::Refused { detail: Some(detail), .. } => Some(&detail.code),
            ClientFault::Refused { detail: None, .. }
            | ClientFault::BodyLength { .. }
            | ClientFault::Connect { .. }
            | ClientFault::Connection(_)
            | ClientFault::Decode(_)
            | ClientFault::Empty
            | ClientFault::Endpoint { .. }
            | ClientFault::Header(_)
            | ClientFault::OtherAnswer { .. }
            | ClientFault::ProviderUnknown { .. } => None,
        }
    }

    /// What to do about it, as one sentence.
    #[must_use]
    pub fn next_step(&self) -> &str {
        match self {
            ClientFault::BodyLength { .. } => "send less in one request",
            ClientFault::Connect { .. } => {
                "start the agent (vouchsafe agent), or name its socket with --socket or \
                 PARSEC_SERVICE_ENDPOINT=unix:PATH"
            }
            ClientFault::Connection(_) => "try again; if it stays, look at the agent's log",
            ClientFault::Decode(_) | ClientFault::Empty | ClientFault::Header(_) | ClientFault::OtherAnswer { .. } => {
                "use a client of the same version as the agent"
            }
            ClientFault::Endpoint { .. } => "write unix: and the absolute path of the agent's socket",
            ClientFault::ProviderUnknown { .. } => "name one that the agent serves, or add it to agent.toml",
            ClientFault::Refused { detail: Some(detail), .. } if !detail.next_step.is_empty() => &detail.next_step,
            ClientFault::Refused { status, .. } => status.next_step(),
        }
    }
}

/// What the service told.
struct Told<'a> {
    status: Status,
    detail: Option<&'a ErrorDetail>,
}

impl fmt::Display for Told<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.detail {
            Some(detail) if detail.message.starts_with(detail.code.as_str()) => {
                write!(formatter, "{} [{}]", detail.message, self.status)
            }
            Some(detail) => write!(formatter, "{}: {} [{}]", detail.code, detail.message, self.status),
            None => write!(formatter, "{}", self.status),
        }
    }
}
