//! Response statuses.

use std::fmt;

/// The outcome of a request, by its Parsec name.
///
/// 0 is success, 1 to 999 come from the service, 1000 and up are PSA Crypto errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// 0: the operation was done.
    Success,
    /// 1: the operation is not one of the provider that was named.
    WrongProviderId,
    /// 2: the body is not protobuf (content type 0).
    ContentTypeNotSupported,
    /// 3: the client does not accept protobuf (accept type 0).
    AcceptTypeNotSupported,
    /// 4: the wire protocol is not 1.0.
    WireProtocolVersionNotSupported,
    /// 5: Parsec knows the provider, this service does not run it.
    ProviderNotRegistered,
    /// 6: no such provider id.
    ProviderDoesNotExist,
    /// 7: the body is not the operation's protobuf message.
    DeserializingBodyFailed,
    /// 8: the result could not be encoded.
    SerializingBodyFailed,
    /// 9: no such operation.
    OpcodeDoesNotExist,
    /// 10: the result is larger than a response may be.
    ResponseTooLarge,
    /// 11: the authentication field is not true of the peer.
    AuthenticationError,
    /// 12: no such authenticator id.
    AuthenticatorDoesNotExist,
    /// 13: Parsec knows the authenticator, this service does not offer it.
    AuthenticatorNotRegistered,
    /// 14: the key store failed.
    KeyInfoManagerError,
    /// 15: the connection failed, or the service refuses more of them from this user.
    ConnectionError,
    /// 16: a text field is not valid.
    InvalidEncoding,
    /// 17: the header is not a request header.
    InvalidHeader,
    /// 18: a provider was named by a UUID that is not its own.
    WrongProviderUuid,
    /// 19: the operation needs an authenticated caller.
    NotAuthenticated,
    /// 20: the body is longer than the service reads.
    BodySizeExceedsLimit,
    /// 21: the operation is for administrators.
    AdminOperation,
    /// 22: the operation uses a primitive that is no longer allowed.
    DeprecatedPrimitive,
    /// 1132: an error with no status of its own.
    PsaErrorGenericError,
    /// 1133: the key's policy or the caller's grants do not allow it.
    PsaErrorNotPermitted,
    /// 1134: this provider does not do that.
    PsaErrorNotSupported,
    /// 1135: a parameter is not valid.
    PsaErrorInvalidArgument,
    /// 1136: a key handle is not valid.
    PsaErrorInvalidHandle,
    /// 1137: not possible in this state.
    PsaErrorBadState,
    /// 1138: an output buffer is too small.
    PsaErrorBufferTooSmall,
    /// 1139: a key of that name is there.
    PsaErrorAlreadyExists,
    /// 1140: no key of that name is there.
    PsaErrorDoesNotExist,
    /// 1141: busy: the caller, or all callers together, have as many requests waiting as the service holds.
    PsaErrorInsufficientMemory,
    /// 1142: the caller has as many keys as it may have, or the disk is full.
    PsaErrorInsufficientStorage,
    /// 1143: not enough data.
    PsaErrorInsufficientData,
    /// 1145: the hardware does not answer, or not in time.
    PsaErrorCommunicationFailure,
    /// 1146: the key store failed.
    PsaErrorStorageFailure,
    /// 1147: the hardware refused.
    PsaErrorHardwareFailure,
    /// 1148: not enough entropy.
    PsaErrorInsufficientEntropy,
    /// 1149: a signature is not valid.
    PsaErrorInvalidSignature,
    /// 1150: a message was not encrypted to this key by this algorithm.
    PsaErrorInvalidPadding,
    /// 1151: something was tampered with.
    PsaErrorCorruptionDetected,
    /// 1152: stored data is damaged.
    PsaErrorDataCorrupt,
    /// 1153: stored data is not valid.
    PsaErrorDataInvalid,
}

impl Status {
    /// Every status, in the order of the numbers.
    pub const ALL: [Status; 44] = [
        Status::Success,
        Status::WrongProviderId,
        Status::ContentTypeNotSupported,
        Status::AcceptTypeNotSupported,
        Status::WireProtocolVersionNotSupported,
        Status::ProviderNotRegistered,
        Status::ProviderDoesNotExist,
        Status::DeserializingBodyFailed,
        Status::SerializingBodyFailed,
        Status::OpcodeDoesNotExist,
        Status::ResponseTooLarge,
        Status::AuthenticationError,
        Status::AuthenticatorDoesNotExist,
        Status::AuthenticatorNotRegistered,
        Status::KeyInfoManagerError,
        Status::ConnectionError,
        Status::InvalidEncoding,
        Status::InvalidHeader,
        Status::WrongProviderUuid,
        Status::NotAuthenticated,
        Status::BodySizeExceedsLimit,
        Status::AdminOperation,
        Status::DeprecatedPrimitive,
        Status::PsaErrorGenericError,
        Status::PsaErrorNotPermitted,
        Status::PsaErrorNotSupported,
        Status::PsaErrorInvalidArgument,
        Status::PsaErrorInvalidHandle,
        Status::PsaErrorBadState,
        Status::PsaErrorBufferTooSmall,
        Status::PsaErrorAlreadyExists,
        Status::PsaErrorDoesNotExist,
        Status::PsaErrorInsufficientMemory,
        Status::PsaErrorInsufficientStorage,
        Status::PsaErrorInsufficientData,
        Status::PsaErrorCommunicationFailure,
        Status::PsaErrorStorageFailure,
        Status::PsaErrorHardwareFailure,
        Status::PsaErrorInsufficientEntropy,
        Status::PsaErrorInvalidSignature,
        Status::PsaErrorInvalidPadding,
        Status::PsaErrorCorruptionDetected,
        Status::PsaErrorDataCorrupt,
        Status::PsaErrorDataInvalid,
    ];

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u16 {
        match self {
            Status::Success => 0,
            Status::WrongProviderId => 1,
            Status::ContentTypeNotSupported => 2,
            Status::AcceptTypeNotSupported => 3,
            Status::WireProtocolVersionNotSupported => 4,
            Status::ProviderNotRegistered => 5,
            Status::ProviderDoesNotExist => 6,
            Status::DeserializingBodyFailed => 7,
            Status::SerializingBodyFailed => 8,
            Status::OpcodeDoesNotExist => 9,
            Status::ResponseTooLarge => 10,
            Status::AuthenticationError => 11,
            Status::AuthenticatorDoesNotExist => 12,
            Status::AuthenticatorNotRegistered => 13,
            Status::KeyInfoManagerError => 14,
            Status::ConnectionError => 15,
            Status::InvalidEncoding => 16,
            Status::InvalidHeader => 17,
            Status::WrongProviderUuid => 18,
            Status::NotAuthenticated => 19,
            Status::BodySizeExceedsLimit => 20,
            Status::AdminOperation => 21,
            Status::DeprecatedPrimitive => 22,
            Status::PsaErrorGenericError => 1132,
            Status::PsaErrorNotPermitted => 1133,
            Status::PsaErrorNotSupported => 1134,
            Status::PsaErrorInvalidArgument => 1135,
            Status::PsaErrorInvalidHandle => 1136,
            Status::PsaErrorBadState => 1137,
            Status::PsaErrorBufferTooSmall => 1138,
            Status::PsaErrorAlreadyExists => 1139,
            Status::PsaErrorDoesNotExist => 1140,
            Status::PsaErrorInsufficientMemory => 1141,
            Status::PsaErrorInsufficientStorage => 1142,
            Status::PsaErrorInsufficientData => 1143,
            Status::PsaErrorCommunicationFailure => 1145,
            Status::PsaErrorStorageFailure => 1146,
            Status::PsaErrorHardwareFailure => 1147,
            Status::PsaErrorInsufficientEntropy => 1148,
            Status::PsaErrorInvalidSignature => 1149,
            Status::PsaErrorInvalidPadding => 1150,
            Status::PsaErrorCorruptionDetected => 1151,
            Status::PsaErrorDataCorrupt => 1152,
            Status::PsaErrorDataInvalid => 1153,
        }
    }

    /// The status of that number, or `None` where Parsec assigned none.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Status> {
        Status::ALL.into_iter().find(|status| status.number() == number)
    }

    /// What the caller can do about it, as one sentence; empty for success.
    #[must_use]
    pub const fn next_step(self) -> &'static str {
        match self {
            Status::Success => "",
            Status::WrongProviderId | Status::ProviderNotRegistered | Status::ProviderDoesNotExist => {
                "ask ListProviders which providers run and ListOpcodes what each of them does"
            }
            Status::ContentTypeNotSupported
            | Status::AcceptTypeNotSupported
            | Status::WireProtocolVersionNotSupported
            | Status::InvalidHeader
            | Status::DeserializingBodyFailed
            | Status::InvalidEncoding
            | Status::WrongProviderUuid
            | Status::OpcodeDoesNotExist => "use a client of the same protocol version as the service",
            Status::AuthenticationError
            | Status::AuthenticatorDoesNotExist
            | Status::AuthenticatorNotRegistered
            | Status::NotAuthenticated => "authenticate with UnixPeerCredentials as the user who runs the client",
            Status::ConnectionError | Status::PsaErrorInsufficientMemory => {
                "try again when earlier requests of this user have been answered"
            }
            Status::BodySizeExceedsLimit | Status::ResponseTooLarge => "send less in one request",
            Status::AdminOperation => "ask an administrator for a grant in agent.toml",
            Status::PsaErrorNotPermitted => "check the key's usage and algorithm, and the grants in agent.toml",
            Status::PsaErrorNotSupported => "ask ListOpcodes and ListMechanisms what the provider does",
            Status::PsaErrorAlreadyExists => "choose another name or destroy the key first",
            Status::PsaErrorDoesNotExist => "list your keys; keys belong to the user who made them",
            Status::PsaErrorInsufficientStorage => "destroy keys that are not needed, or free disk space",
            Status::PsaErrorCommunicationFailure => "check that the TPM is there and not held by another program",
            Status::KeyInfoManagerError
            | Status::PsaErrorStorageFailure
            | Status::PsaErrorCorruptionDetected
            | Status::PsaErrorDataCorrupt
            | Status::PsaErrorDataInvalid => "look at the agent's log and at its state directory",
            Status::PsaErrorInvalidSignature => "check that key, message and signature belong together",
            Status::PsaErrorInvalidPadding => "encrypt the message anew, to the key's public half",
            Status::DeprecatedPrimitive => "use SHA-256 or better",
            Status::SerializingBodyFailed
            | Status::PsaErrorGenericError
            | Status::PsaErrorInvalidHandle
            | Status::PsaErrorBadState
            | Status::PsaErrorBufferTooSmall
            | Status::PsaErrorInsufficientData
            | Status::PsaErrorHardwareFailure
            | Status::PsaErrorInsufficientEntropy => "look at the agent's log",
            Status::PsaErrorInvalidArgument => "check the request's parameters",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self:?} ({})", self.number())
    }
}

#[cfg(test)]
mod tests {
    use super::Status;

    #[test]
    fn numbers_ascend_and_come_back() {
        let numbers: Vec<u16> = Status::ALL.iter().map(|status| status.number()).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
        for status in Status::ALL {
            assert_eq!(Status::from_number(status.number()), Some(status));
        }
        assert_eq!(Status::from_number(1144), None);
        assert_eq!(Status::from_number(23), None);
    }
}
