//! Why a request is refused, and how the client is told.

use std::time::Duration;

use prost::Message;
use thiserror::Error;

use super::queue::Full;
use crate::grants::Capability;
use crate::provider::{Fault, FaultClass};
use crate::store::StoreError;
use crate::wire::message::ErrorDetail;
use crate::wire::{BodyFault, Opcode, Status};

/// Why a request is refused.
#[derive(Debug, Error)]
pub(super) enum Refusal {
    /// The authentication field names another user than the peer.
    #[error("the request authenticates as uid {claimed}, the peer is uid {peer}")]
    AuthenticationFalse {
        /// What the field says.
        claimed: u32,
        /// Who the peer is.
        peer: u32,
    },
    /// The operation is for administrators.
    #[error("this user has no grant for {:?}", capability.name())]
    AdminOnly {
        /// What it would need.
        capability: Capability,
    },
    /// The algorithm is not the one that the key was made for.
    #[error("the key was made for another algorithm")]
    AlgorithmNotPermitted,
    /// The body is not the operation's message.
    #[error(transparent)]
    BodyMalformed(#[from] BodyFault),
    /// As many requests wait as may.
    #[error("{} as many requests waiting as allowed", match full { Full::User => "this user has", Full::All => "there are" })]
    Busy {
        /// Whose.
        full: Full,
    },
    /// The client has no keys.
    #[error("uid {uid} has no keys")]
    ClientUnknown {
        /// The client.
        uid: u32,
    },
    /// The algorithm is one that is no longer allowed.
    #[error("{what} is no longer allowed")]
    Deprecated {
        /// The algorithm.
        what: &'static str,
    },
    /// The provider took too long.
    #[error("no answer of the provider within {} s", limit.as_secs())]
    Deadline {
        /// How long it may take.
        limit: Duration,
    },
    /// The provider refused or failed.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The caller has no such grant.
    #[error("this user has no grant for {:?}", capability.name())]
    GrantMissing {
        /// What it would need.
        capability: Capability,
    },
    /// A field's value is not one that it takes.
    #[error("{field} is {found:?}, expected {expected}")]
    Invalid {
        /// The field, by its name in the message.
        field: &'static str,
        /// The value.
        found: String,
        /// What it takes.
        expected: &'static str,
    },
    /// A key of that name is there.
    #[error("a key named {name:?} exists")]
    KeyExists {
        /// The name.
        name: String,
    },
    /// The caller has no key of that name.
    #[error("this user has no key named {name:?}")]
    KeyUnknown {
        /// The name.
        name: String,
    },
    /// The caller is not authenticated.
    #[error("the operation needs an authenticated caller")]
    NotAuthenticated,
    /// The service does not do that.
    #[error("{what} is not supported")]
    NotSupported {
        /// What it does not do.
        what: &'static str,
    },
    /// The provider's thread has given the request up.
    #[error("the provider failed")]
    ProviderFailed,
    /// A request that the frame or the routing rules do not allow.
    #[error("{0}")]
    Protocol(Status),
    /// The signature is not the key's over that digest or message.
    #[error("the signature is not valid")]
    SignatureInvalid,
    /// The key store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The key's usage does not include the operation.
    #[error("the key's usage does not include {operation}")]
    UsageNotPermitted {
        /// The operation.
        operation: &'static str,
    },
}

impl Refusal {
    /// The response's status.
    pub(super) fn status(&self) -> Status {
        match self {
            Refusal::AuthenticationFalse { .. } => Status::AuthenticationError,
            Refusal::AdminOnly { .. } => Status::AdminOperation,
            Refusal::BodyMalformed(_) => Status::DeserializingBodyFailed,
            Refusal::Busy { .. } => Status::PsaErrorInsufficientMemory,
            Refusal::Deprecated { .. } => Status::DeprecatedPrimitive,
            Refusal::Deadline { .. } => Status::PsaErrorCommunicationFailure,
            Refusal::Fault(fault) => fault_status(fault),
            Refusal::AlgorithmNotPermitted | Refusal::GrantMissing { .. } | Refusal::UsageNotPermitted { .. } => {
                Status::PsaErrorNotPermitted
            }
            Refusal::Invalid { .. } => Status::PsaErrorInvalidArgument,
            Refusal::KeyExists { .. } => Status::PsaErrorAlreadyExists,
            Refusal::ClientUnknown { .. } | Refusal::KeyUnknown { .. } => Status::PsaErrorDoesNotExist,
            Refusal::NotAuthenticated => Status::NotAuthenticated,
            Refusal::NotSupported { .. } => Status::PsaErrorNotSupported,
            Refusal::ProviderFailed => Status::PsaErrorHardwareFailure,
            Refusal::Protocol(status) => *status,
            Refusal::SignatureInvalid => Status::PsaErrorInvalidSignature,
            Refusal::Store(error) if error.is_full() => Status::PsaErrorInsufficientStorage,
            Refusal::Store(StoreError::Damaged { .. }) => Status::PsaErrorDataCorrupt,
            Refusal::Store(_) => Status::PsaErrorStorageFailure,
        }
    }

    /// The stable code.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Refusal::AuthenticationFalse { .. } => "agent.authentication-false",
            Refusal::AlgorithmNotPermitted => "agent.algorithm-not-permitted",
            Refusal::AdminOnly { .. } => "agent.admin-only",
            Refusal::BodyMalformed(_) => "agent.body-malformed",
            Refusal::Busy { .. } => "agent.busy",
            Refusal::ClientUnknown { .. } => "agent.client-unknown",
            Refusal::Deprecated { .. } => "agent.deprecated",
            Refusal::Deadline { .. } => "agent.deadline",
            Refusal::Fault(fault) => fault.code(),
            Refusal::GrantMissing { .. } => "agent.grant-missing",
            Refusal::Invalid { .. } => "agent.invalid",
            Refusal::KeyExists { .. } => "agent.key-exists",
            Refusal::KeyUnknown { .. } => "agent.key-unknown",
            Refusal::NotAuthenticated => "agent.not-authenticated",
            Refusal::NotSupported { .. } => "agent.not-supported",
            Refusal::ProviderFailed => "agent.provider-failed",
            Refusal::Protocol(_) => "agent.protocol",
            Refusal::SignatureInvalid => "agent.signature-invalid",
            Refusal::Store(error) => error.code(),
            Refusal::UsageNotPermitted { .. } => "agent.usage-not-permitted",
        }
    }

    /// What the caller can do about it.
    fn next_step(&self) -> &'static str {
        match self {
            Refusal::Fault(fault) => fault.next_step(),
            Refusal::Store(error) => error.next_step(),
            Refusal::GrantMissing { .. } => {
                "ask an administrator to add it to [[grants]] in agent.toml, or to the agent's group"
            }
            Refusal::Invalid { .. } => "correct the field",
            Refusal::AuthenticationFalse { .. }
            | Refusal::AlgorithmNotPermitted
            | Refusal::BodyMalformed(_)
            | Refusal::Busy { .. }
            | Refusal::AdminOnly { .. }
            | Refusal::ClientUnknown { .. }
            | Refusal::Deprecated { .. }
            | Refusal::SignatureInvalid
            | Refusal::Deadline { .. }
            | Refusal::KeyExists { .. }
            | Refusal::KeyUnknown { .. }
            | Refusal::NotAuthenticated
            | Refusal::NotSupported { .. }
            | Refusal::ProviderFailed
            | Refusal::Protocol(_)
            | Refusal::UsageNotPermitted { .. } => self.status().next_step(),
        }
    }

    /// The response's body: a detail for operations of the extension, else nothing, as Parsec has it.
    pub(super) fn body(&self, opcode: u32) -> Vec<u8> {
        if opcode < Opcode::FIRST_EXTENSION {
            return Vec::new();
        }
        ErrorDetail { code: self.code().to_owned(), message: self.to_string(), next_step: self.next_step().to_owned() }
            .encode_to_vec()
    }
}

fn fault_status(fault: &Fault) -> Status {
    match fault.class() {
        FaultClass::InvalidArgument => Status::PsaErrorInvalidArgument,
        FaultClass::AlreadyExists => Status::PsaErrorAlreadyExists,
        FaultClass::DoesNotExist => Status::PsaErrorDoesNotExist,
        FaultClass::NotSupported => Status::PsaErrorNotSupported,
        FaultClass::NotPermitted => Status::PsaErrorNotPermitted,
        FaultClass::Busy => Status::PsaErrorInsufficientMemory,
        FaultClass::Communication => Status::PsaErrorCommunicationFailure,
        FaultClass::Corruption => Status::PsaErrorCorruptionDetected,
        FaultClass::Storage => Status::PsaErrorStorageFailure,
        FaultClass::Padding => Status::PsaErrorInvalidPadding,
        FaultClass::Hardware => Status::PsaErrorHardwareFailure,
    }
}
