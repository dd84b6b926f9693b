//! Why a PKCS #11 token could not do what it was asked.

use std::fmt;
use std::path::PathBuf;

use cryptoki::error::{Error, RvError};
use thiserror::Error;

use crate::provider::{Fault, FaultClass, KeyUid};

/// A token, its library or its PIN is not as it must be.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TokenFault {
    /// No slot has the token.
    #[error("no slot has a token with {wanted}")]
    Absent {
        /// The token, as the configuration names it.
        wanted: String,
    },
    /// Several objects of one class have the id of one key: any of them may be the key.
    #[error("{class} objects with the id {uid} are there more than once")]
    AmbiguousId {
        /// The class of the objects.
        class: &'static str,
        /// The id.
        uid: KeyUid,
    },
    /// Several slots have a token of that name.
    #[error("more than one slot has a token with {wanted}")]
    AmbiguousToken {
        /// The token, as the configuration names it.
        wanted: String,
    },
    /// An attribute that is needed is sensitive or unavailable.
    #[error("the token does not show {attribute} of the object")]
    AttributeHidden {
        /// The attribute, by its PKCS #11 name.
        attribute: String,
    },
    /// An attribute has a length that its type does not have.
    #[error("the token says that {attribute} has {found} octets; {allowed} are possible")]
    AttributeLength {
        /// The attribute, by its PKCS #11 name.
        attribute: String,
        /// What the token says.
        found: usize,
        /// What is possible.
        allowed: usize,
    },
    /// An attesting key that the token would give away, or that does more than sign.
    #[error("the attesting key has {attribute}, so that others may have it or have used it for something else")]
    AttestingKeyExposed {
        /// The attribute with its value, by its PKCS #11 name.
        attribute: &'static str,
    },
    /// The library answers something that is no answer to the question.
    #[error("answer of the library: {0}")]
    Library(String),
    /// The library cannot be loaded or begun with.
    #[error("{} cannot be used: {cause}", path.display())]
    Module {
        /// The library's file.
        path: PathBuf,
        /// What the system or the library said.
        cause: String,
    },
    /// A private key signs what its public half does not verify.
    #[error("the private key with the id {uid} is not that of the public key with that id")]
    NotAPair {
        /// The id.
        uid: KeyUid,
    },
    /// The public key with a key's id is not the one that was made with the key.
    #[error("the public key with the id {uid} was replaced or removed")]
    PublicKeyReplaced {
        /// The id.
        uid: KeyUid,
    },
    /// The file with the PIN cannot be used.
    #[error("{}: {cause}", path.display())]
    PinFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// One wrong PIN more would lock it.
    #[error("the PIN of the token with {wanted} has one try left; it is not tried")]
    PinFinalTry {
        /// The token, as the configuration names it.
        wanted: String,
    },
    /// The token says that the PIN is locked.
    #[error("the PIN of the token with {wanted} is locked")]
    PinLocked {
        /// The token, as the configuration names it.
        wanted: String,
    },
    /// The token refused the PIN; the file has not changed since, so it is not tried again.
    #[error("the token with {wanted} refused the PIN of {}", path.display())]
    PinRefused {
        /// The token, as the configuration names it.
        wanted: String,
        /// The file with the PIN.
        path: PathBuf,
    },
    /// The token has no user PIN yet.
    #[error("the token with {wanted} has no user PIN yet")]
    PinUnset {
        /// The token, as the configuration names it.
        wanted: String,
    },
    /// The token or its library refused a function.
    #[error("C_{function}: {code}")]
    Refused {
        /// The function, without its prefix.
        function: String,
        /// Its answer.
        code: ReturnValue,
    },
}

/// What a PKCS #11 function returned (CK_RV). Prints by its name in the standard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReturnValue(pub(super) RvError);

impl fmt::Display for ReturnValue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            RvError::VendorDefined(code) => write!(formatter, "CKR_VENDOR_DEFINED {code:#x}"),
            RvError::UnknownErrorCode(code) => write!(formatter, "CK_RV {code:#x}"),
            known => {
                formatter.write_str("CKR")?;
                for character in format!("{known:?}").chars() {
                    if character.is_ascii_uppercase() {
                        formatter.write_str("_")?;
                    }
                    write!(formatter, "{}", character.to_ascii_uppercase())?;
                }
                Ok(())
            }
        }
    }
}

/// What a fault says of session and library, and so what may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// Handles are no longer valid: a new session may help.
    Session,
    /// The token went or came, or the library says that nothing works and not why: it has to look anew.
    Token,
}

impl TokenFault {
    /// What may be lost; `None` for faults that tell of a working token.
    pub(super) fn loss(&self) -> Option<Loss> {
        match self {
            Self::Absent { .. } => Some(Loss::Token),
            Self::Refused { code, .. } => match code.0 {
                RvError::SessionHandleInvalid
                | RvError::SessionClosed
                | RvError::UserNotLoggedIn
                | RvError::KeyHandleInvalid
                | RvError::ObjectHandleInvalid
                | RvError::OperationActive => Some(Loss::Session),
                RvError::DeviceRemoved
                | RvError::TokenNotPresent
                | RvError::TokenNotRecognized
                | RvError::SlotIdInvalid
                | RvError::CryptokiNotInitialized
                | RvError::DeviceError
                | RvError::GeneralError
                | RvError::FunctionFailed => Some(Loss::Token),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether the library says that a function failed and nothing of why. Kryoptic calls that CKR_DEVICE_ERROR.
    pub(super) fn says_nothing(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                code: ReturnValue(RvError::GeneralError | RvError::FunctionFailed | RvError::DeviceError),
                ..
            }
        )
    }

    /// The kind of failure.
    pub(in crate::provider) fn class(&self) -> FaultClass {
        match self {
            Self::Absent { .. } | Self::Module { .. } => FaultClass::Communication,
            Self::AmbiguousId { .. }
            | Self::AttestingKeyExposed { .. }
            | Self::NotAPair { .. }
            | Self::PublicKeyReplaced { .. }
            | Self::AttributeLength { .. }
            | Self::Library(_) => FaultClass::Corruption,
            Self::AmbiguousToken { .. }
            | Self::AttributeHidden { .. }
            | Self::PinFile { .. }
            | Self::PinFinalTry { .. }
            | Self::PinLocked { .. }
            | Self::PinRefused { .. }
            | Self::PinUnset { .. } => FaultClass::NotPermitted,
            Self::Refused { code, .. } => code.class(),
        }
    }

    /// Stable code.
    pub(in crate::provider) const fn code(&self) -> &'static str {
        match self {
            Self::Absent { .. } => "agent.token-absent",
            Self::AmbiguousId { .. } => "agent.token-id-ambiguous",
            Self::AmbiguousToken { .. } => "agent.token-ambiguous",
            Self::AttributeHidden { .. } => "agent.token-attribute-hidden",
            Self::AttributeLength { .. } => "agent.token-attribute-length",
            Self::AttestingKeyExposed { .. } => "agent.token-attesting-key-exposed",
            Self::Library(_) => "agent.token-library",
            Self::Module { .. } => "agent.token-module",
            Self::NotAPair { .. } => "agent.token-not-a-pair",
            Self::PublicKeyReplaced { .. } => "agent.token-public-key-replaced",
            Self::PinFile { .. } => "agent.token-pin-file",
            Self::PinFinalTry { .. } => "agent.token-pin-final-try",
            Self::PinLocked { .. } => "agent.token-pin-locked",
            Self::PinRefused { .. } => "agent.token-pin-refused",
            Self::PinUnset { .. } => "agent.token-pin-unset",
            Self::Refused { code: ReturnValue(RvError::DeviceMemory), .. } => "agent.token-full",
            Self::Refused { code: ReturnValue(RvError::DeviceRemoved | RvError::TokenNotPresent), .. } => {
                "agent.token-removed"
            }
            Self::Refused {
                code: ReturnValue(RvError::SessionHandleInvalid | RvError::SessionClosed | RvError::UserNotLoggedIn),
                ..
            } => "agent.token-session-lost",
            Self::Refused { .. } => "agent.token",
        }
    }

    /// What the reader of the message may do about it, one sentence without a final period.
    pub(in crate::provider) const fn next_step(&self) -> &'static str {
        match self {
            Self::Absent { .. } => {
                "put the token in, or correct `token` or `serial` in agent.toml; requests resume by themselves"
            }
            Self::AmbiguousId { .. } => {
                "find who made the second object with that id (pkcs11-tool --list-objects), and delete it or the key"
            }
            Self::AmbiguousToken { .. } => "name the token by `serial` instead of `token` in agent.toml",
            Self::AttributeHidden { .. } => "ask the maker of the module why it keeps this attribute back",
            Self::AttributeLength { .. } | Self::Library(_) => {
                "the module's library has a defect: update it, or ask its maker"
            }
            Self::AttestingKeyExposed { .. } => {
                "make another attesting key; whoever made this one can sign evidence elsewhere"
            }
            Self::Module { .. } => "check `module` in agent.toml, and that the maker's library is installed whole",
            Self::NotAPair { .. } | Self::PublicKeyReplaced { .. } => {
                "somebody with the token's PIN replaced a public key: find out who, delete the key and make a new one"
            }
            Self::PinFile { .. } => "write the PIN alone into that file, owned by the agent's user, with mode 0600",
            Self::PinFinalTry { .. } => {
                "log in once by hand with the right PIN, which resets the count, then write that PIN into the file"
            }
            Self::PinLocked { .. } => "have the security officer unlock the PIN, then write the new one into the file",
            Self::PinRefused { .. } => {
                "write the right PIN into the file; it is not tried again before the file changes"
            }
            Self::PinUnset { .. } => "initialize the user PIN with the maker's tool",
            Self::Refused { code: ReturnValue(RvError::DeviceMemory), .. } => "delete keys that are no longer used",
            Self::Refused { code: ReturnValue(RvError::DeviceRemoved | RvError::TokenNotPresent), .. } => {
                "put the token back; requests resume by themselves"
            }
            Self::Refused { .. } => "see the return value in the PKCS #11 standard and the log of the module",
        }
    }
}

impl ReturnValue {
    fn class(self) -> FaultClass {
        match self.0 {
            RvError::DeviceMemory => FaultClass::Full,
            RvError::HostMemory | RvError::SessionCount => FaultClass::Busy,
            RvError::DeviceRemoved
            | RvError::TokenNotPresent
            | RvError::TokenNotRecognized
            | RvError::SlotIdInvalid
            | RvError::SessionHandleInvalid
            | RvError::SessionClosed
            | RvError::UserNotLoggedIn
            | RvError::CryptokiNotInitialized => FaultClass::Communication,
            RvError::CurveNotSupported
            | RvError::DomainParamsInvalid
            | RvError::FunctionNotSupported
            | RvError::KeySizeRange
            | RvError::MechanismInvalid
            | RvError::MechanismParamInvalid
            | RvError::RandomNoRng => FaultClass::NotSupported,
            RvError::ActionProhibited
            | RvError::KeyFunctionNotPermitted
            | RvError::PinExpired
            | RvError::TokenWriteProtected
            | RvError::SessionReadOnly => FaultClass::NotPermitted,
            _ => FaultClass::Hardware,
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Token(match error {
            Error::Pkcs11(code, function) => {
                TokenFault::Refused { function: format!("{function:?}"), code: ReturnValue(code) }
            }
            other => TokenFault::Library(other.to_string()),
        })
    }
}

#[cfg(test)]
mod tests {
    use cryptoki::context::Function;

    use super::*;

    #[test]
    fn return_values_print_as_the_standard_names_them() {
        for (code, name) in [
            (RvError::PinIncorrect, "CKR_PIN_INCORRECT"),
            (RvError::DeviceRemoved, "CKR_DEVICE_REMOVED"),
            (RvError::SessionHandleInvalid, "CKR_SESSION_HANDLE_INVALID"),
            (RvError::VendorDefined(0x8000_0002), "CKR_VENDOR_DEFINED 0x80000002"),
        ] {
            assert_eq!(ReturnValue(code).to_string(), name);
        }
        let fault = Fault::from(Error::Pkcs11(RvError::DeviceMemory, Function::GenerateKeyPair));
        assert_eq!(fault.to_string(), "C_GenerateKeyPair: CKR_DEVICE_MEMORY");
        assert_eq!((fault.code(), fault.class()), ("agent.token-full", FaultClass::Full));
    }

    #[test]
    fn what_says_nothing_may_be_about_the_message() {
        let says_nothing =
            |code| TokenFault::Refused { function: String::new(), code: ReturnValue(code) }.says_nothing();
        for code in [RvError::GeneralError, RvError::FunctionFailed, RvError::DeviceError] {
            assert!(says_nothing(code), "{code:?}");
        }
        for code in [RvError::DeviceRemoved, RvError::SessionHandleInvalid, RvError::EncryptedDataInvalid] {
            assert!(!says_nothing(code), "{code:?}");
        }
    }

    #[test]
    fn only_what_a_new_session_or_a_new_look_may_heal_counts_as_lost() {
        let refused = |code| TokenFault::Refused { function: String::new(), code: ReturnValue(code) }.loss();
        assert_eq!(refused(RvError::SessionHandleInvalid), Some(Loss::Session));
        assert_eq!(refused(RvError::TokenNotPresent), Some(Loss::Token));
        assert_eq!(refused(RvError::GeneralError), Some(Loss::Token));
        for code in [RvError::PinIncorrect, RvError::PinLocked, RvError::DeviceMemory, RvError::MechanismInvalid] {
            assert_eq!(refused(code), None, "{code:?}");
        }
    }
}
