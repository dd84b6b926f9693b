//! Why a request is refused, and how the client is told.

use std::time::Duration;

use prost::Message;
use thiserror::Error;

use super::queue::Full;
use crate::audit::AuditFault;
use crate::client_id::{ClientId, ClientIdFault};
use crate::grants::Capability;
use crate::provider::{Fault, FaultClass, MechanismName};
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
    /// What was asked cannot be recorded, so it is not done.
    #[error("the audit log cannot be written: {0}")]
    Audit(#[from] AuditFault),
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
    #[error("client {client} has no keys")]
    ClientUnknown {
        /// The client.
        client: ClientId,
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
    /// The caller's grant is limited to other attesting keys.
    #[error("this user's grant for {:?} does not include that attesting key", capability.name())]
    GrantForOtherKeys {
        /// What it would need for this one.
        capability: Capability,
    },
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
    /// Several keys of that name are lent to the caller.
    #[error("several clients lend this user a key named {name:?}; name one as CLIENT/NAME, such as {example}")]
    KeyAmbiguous {
        /// The name.
        name: String,
        /// One of the keys, so that it is named alone.
        example: String,
    },
    /// A name that the caller gave itself is not UTF-8.
    #[error("the name in the authentication field is not UTF-8")]
    NameNotUtf8,
    /// A name that the caller gave itself is none.
    #[error(transparent)]
    NameUnfit(#[from] ClientIdFault),
    /// The mechanism is experimental and not enabled.
    #[error("the mechanism {mechanism} is experimental and not enabled here")]
    MechanismDisabled {
        /// The mechanism.
        mechanism: MechanismName,
    },
    /// The operation is for administrators, whatever grants there are.
    #[error("only root, the agent's user and the members of the agent's group may do this")]
    NotAdministrator,
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
    /// The user had as much recorded within a minute as may be.
    #[error("this user made, destroyed or attested {limit} keys within a minute, as many as allowed without a grant")]
    TooOften {
        /// How much that is.
        limit: u32,
    },
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
            Refusal::AuthenticationFalse { .. } | Refusal::NameNotUtf8 | Refusal::NameUnfit(_) => {
                Status::AuthenticationError
            }
            Refusal::AdminOnly { .. } | Refusal::NotAdministrator => Status::AdminOperation,
            Refusal::Audit(fault) if fault.is_full() => Status::PsaErrorInsufficientStorage,
            Refusal::Audit(_) => Status::PsaErrorStorageFailure,
            Refusal::BodyMalformed(_) => Status::DeserializingBodyFailed,
            Refusal::Busy { .. } | Refusal::TooOften { .. } => Status::PsaErrorInsufficientMemory,
            Refusal::Deprecated { .. } => Status::DeprecatedPrimitive,
            Refusal::Deadline { .. } => Status::PsaErrorCommunicationFailure,
            Refusal::Fault(fault) => fault_status(fault),
            Refusal::GrantForOtherKeys { .. } => Status::PsaErrorNotPermitted,
            Refusal::AlgorithmNotPermitted | Refusal::GrantMissing { .. } | Refusal::UsageNotPermitted { .. } => {
                Status::PsaErrorNotPermitted
            }
            Refusal::Invalid { .. } | Refusal::KeyAmbiguous { .. } => Status::PsaErrorInvalidArgument,
            Refusal::KeyExists { .. } => Status::PsaErrorAlreadyExists,
            Refusal::ClientUnknown { .. } | Refusal::KeyUnknown { .. } => Status::PsaErrorDoesNotExist,
            Refusal::NotAuthenticated => Status::NotAuthenticated,
            Refusal::MechanismDisabled { .. } | Refusal::NotSupported { .. } => Status::PsaErrorNotSupported,
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
            Refusal::Audit(fault) if fault.is_full() => "agent.audit-full",
            Refusal::Audit(_) => "agent.audit",
            Refusal::BodyMalformed(_) => "agent.body-malformed",
            Refusal::Busy { .. } => "agent.busy",
            Refusal::ClientUnknown { .. } => "agent.client-unknown",
            Refusal::Deprecated { .. } => "agent.deprecated",
            Refusal::Deadline { .. } => "agent.deadline",
            Refusal::Fault(fault) => fault.code(),
            Refusal::GrantForOtherKeys { .. } => "agent.grant-for-other-keys",
            Refusal::GrantMissing { .. } => "agent.grant-missing",
            Refusal::Invalid { .. } => "agent.invalid",
            Refusal::KeyAmbiguous { .. } => "agent.key-ambiguous",
            Refusal::KeyExists { .. } => "agent.key-exists",
            Refusal::KeyUnknown { .. } => "agent.key-unknown",
            Refusal::NameNotUtf8 | Refusal::NameUnfit(_) => "agent.name-unfit",
            Refusal::MechanismDisabled { .. } => "agent.mechanism-disabled",
            Refusal::NotAdministrator => "agent.admin-only",
            Refusal::NotAuthenticated => "agent.not-authenticated",
            Refusal::NotSupported { .. } => "agent.not-supported",
            Refusal::ProviderFailed => "agent.provider-failed",
            Refusal::Protocol(_) => "agent.protocol",
            Refusal::SignatureInvalid => "agent.signature-invalid",
            Refusal::Store(error) => error.code(),
            Refusal::TooOften { .. } => "agent.too-often",
            Refusal::UsageNotPermitted { .. } => "agent.usage-not-permitted",
        }
    }

    /// What the caller can do about it.
    fn next_step(&self) -> &'static str {
        match self {
            Refusal::Audit(fault) => fault.next_step(),
            Refusal::Fault(fault) => fault.next_step(),
            Refusal::Store(error) => error.next_step(),
            Refusal::GrantMissing { .. } => {
                "ask an administrator to add it to [[grants]] in agent.toml, or to the agent's group"
            }
            Refusal::GrantForOtherKeys { .. } => {
                "choose an attesting key that the grant names, or have this one added to its attesting_keys in agent.toml"
            }
            Refusal::MechanismDisabled { mechanism } => mechanism.enabling_step(),
            Refusal::NotAdministrator => "ask one of them",
            Refusal::TooOften { .. } => "wait a minute, or have limits.recorded_per_minute raised in agent.toml",
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
            | Refusal::KeyAmbiguous { .. }
            | Refusal::KeyExists { .. }
            | Refusal::KeyUnknown { .. }
            | Refusal::NameNotUtf8
            | Refusal::NameUnfit(_)
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
        FaultClass::Full => Status::PsaErrorInsufficientStorage,
        FaultClass::Storage => Status::PsaErrorStorageFailure,
        FaultClass::Padding => Status::PsaErrorInvalidPadding,
        FaultClass::Hardware => Status::PsaErrorHardwareFailure,
    }
}
