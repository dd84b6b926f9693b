//! Why a provider could not do what it was asked.

use std::io;

use thiserror::Error;
use vouchsafe_evidence::Malformed;

use super::pkcs11::TokenFault;
use super::{KeyKind, MechanismName, StoreFault, Unfit};
use crate::tpm::ResponseCode;

/// Hardware said no, could not be reached, or was asked for something it must not do.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Fault {
    /// A credential could not be opened. Says nothing about which part failed, on purpose.
    #[error("the credential was not made for this module and attesting key")]
    ActivationRefused,
    /// An attesting key of that name is there already.
    #[error("an attesting key named {name:?} exists")]
    AttestingKeyExists {
        /// The name.
        name: String,
    },
    /// A name that no attesting key can have.
    #[error("{name:?} is no name for an attesting key: 1 to 64 of a-z, 0-9, dot, hyphen, underscore")]
    AttestingKeyName {
        /// The name.
        name: String,
    },
    /// There is no attesting key of that name.
    #[error("no attesting key is named {name:?}")]
    AttestingKeyUnknown {
        /// The name.
        name: String,
    },
    /// A key that was made elsewhere may not attest for the machine.
    #[error("this key cannot become an attesting key: {0}")]
    AttestingKeyUnfit(Unfit),
    /// Bytes offered as a key blob are none of this provider's.
    #[error("not a key blob of this provider: {0}")]
    BlobInvalid(Malformed),
    /// A certificate offered for an attesting key holds another key.
    #[error("the first certificate does not hold the attesting key")]
    CertificateMismatch,
    /// A message that was not encrypted to the key by the scheme that is named. Says nothing about what is wrong with it,
    /// on purpose.
    #[error("the message was not encrypted to this key by this scheme")]
    CiphertextInvalid,
    /// The connection to the module was lost and could not be made again.
    #[error("the module at {address} cannot be reached: {source}")]
    Connection {
        /// The module's address.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// A digest of the wrong length for its hash.
    #[error("digest of {found} octets where the hash gives {expected}")]
    DigestLength {
        /// Octets of a digest of the named hash.
        expected: usize,
        /// Octets handed in.
        found: usize,
    },
    /// The module no longer knows the parent of a stored key: it was cleared, or is another module.
    #[error("the module that made this key was cleared or replaced; the key is lost")]
    KeyLost,
    /// The module, this key or this attesting key has no such mechanism.
    #[error("no {mechanism} {of}")]
    MechanismMissing {
        /// The mechanism.
        mechanism: MechanismName,
        /// By or of what, as the end of the sentence.
        of: &'static str,
    },
    /// A module lacks something that was asked for.
    #[error("this module has no {what}")]
    Missing {
        /// A command, algorithm or register bank, by its standard name.
        what: &'static str,
    },
    /// The module holds no endorsement certificate for a key that it can make.
    #[error("the module holds no endorsement certificate that fits a key it can make")]
    NoEndorsementCertificate,
    /// A nonce outside 16 to 64 octets.
    #[error("nonce of {found} octets; 16 to 64 are allowed")]
    NonceLength {
        /// Octets handed in.
        found: usize,
    },
    /// A selection of platform registers that the module cannot quote.
    #[error("no such platform configuration registers: {0}")]
    PcrSelection(&'static str),
    /// A key that is not for what was asked of it: an attesting key for signing, or the other way round.
    #[error("the key was not made for this use")]
    PurposeMismatch,
    /// The module's random numbers, or a cryptographic primitive on this side, failed.
    #[error("{0} failed")]
    Primitive(&'static str),
    /// An answer of the module has not the form it must have.
    #[error("answer of the module: {0}")]
    ResponseMalformed(#[from] Malformed),
    /// An answer that is well formed but was not made by the module for this request.
    #[error("answer to {command} is not authentic: {what}")]
    ResponseNotAuthentic {
        /// The command.
        command: &'static str,
        /// The check that failed.
        what: &'static str,
    },
    /// A signature scheme that does not fit the key.
    #[error("the signature scheme does not fit a key of kind {0:?}")]
    SchemeMismatch(KeyKind),
    /// The state store failed.
    #[error(transparent)]
    Store(#[from] StoreFault),
    /// A certificate template that no verifier would accept.
    #[error("certificate template: {0}")]
    Template(Template),
    /// A PKCS #11 token, its library or its PIN is not as it must be.
    #[error(transparent)]
    Token(TokenFault),
    /// The TPM refused a command.
    #[error("{command}: {code}")]
    Tpm {
        /// The command.
        command: &'static str,
        /// Its answer, numeric; prints decoded.
        code: ResponseCode,
    },
}

/// What is wrong with a certificate template.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Template {
    /// The chain's first certificate does not hold the attesting key.
    #[error("cx509.issuer-not-attesting-key: the chain's first certificate does not hold the attesting key")]
    IssuerNotAttestingKey,
    /// Neither the caller nor the attesting key has an issuer certificate.
    #[error("no issuer: the attesting key has no certificate for certificates it signs")]
    IssuerMissing,
    /// A certificate, name or extension that is not DER of its kind.
    #[error("{0} is not valid DER of its kind")]
    NotDer(&'static str),
    /// The subject does not lie beneath the issuer's name.
    #[error("cx509.subject-outside-device: the subject does not lie beneath the attesting key's name")]
    SubjectOutsideDevice,
    /// The partial certificate exceeds what the module takes.
    #[error("the certificate's parts take {found} octets; the module takes {limit}")]
    TooLong {
        /// Octets.
        found: usize,
        /// The module's limit.
        limit: usize,
    },
    /// The validity is empty or outside the years 1950 to 9999.
    #[error("the validity is empty or cannot be expressed")]
    Validity,
}

impl Template {
    /// Stable code of the refusal.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::IssuerNotAttestingKey => "cx509.issuer-not-attesting-key",
            Self::IssuerMissing => "cx509.issuer-missing",
            Self::NotDer(_) => "cx509.not-der",
            Self::SubjectOutsideDevice => "cx509.subject-outside-device",
            Self::TooLong { .. } => "cx509.too-long",
            Self::Validity => "cx509.validity",
        }
    }
}

/// What kind of failure a [`Fault`] is, for mapping to a protocol's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultClass {
    /// The caller asked for something meaningless; asking again is no use.
    InvalidArgument,
    /// The thing asked for is there already.
    AlreadyExists,
    /// The thing asked for is not there.
    DoesNotExist,
    /// The module cannot do it at all.
    NotSupported,
    /// The module or a rule of the provider forbids it.
    NotPermitted,
    /// The module was out of room or too busy; later may work.
    Busy,
    /// The module cannot be reached.
    Communication,
    /// What came back is not what the module sent.
    Corruption,
    /// The module has no room left for keys.
    Full,
    /// The state store failed.
    Storage,
    /// Padding of a decrypted message is not what it must be.
    Padding,
    /// Any other refusal of the module.
    Hardware,
}

impl Fault {
    /// The kind of failure.
    #[must_use]
    pub fn class(&self) -> FaultClass {
        match self {
            Self::ActivationRefused | Self::PurposeMismatch => FaultClass::NotPermitted,
            Self::AttestingKeyExists { .. } => FaultClass::AlreadyExists,
            Self::AttestingKeyUnknown { .. } | Self::KeyLost | Self::NoEndorsementCertificate => {
                FaultClass::DoesNotExist
            }
            Self::AttestingKeyName { .. }
            | Self::AttestingKeyUnfit(_)
            | Self::BlobInvalid(_)
            | Self::CertificateMismatch
            | Self::DigestLength { .. }
            | Self::NonceLength { .. }
            | Self::PcrSelection(_)
            | Self::SchemeMismatch(_)
            | Self::Template(_) => FaultClass::InvalidArgument,
            Self::CiphertextInvalid => FaultClass::Padding,
            Self::Connection { .. } => FaultClass::Communication,
            Self::MechanismMissing { .. } | Self::Missing { .. } => FaultClass::NotSupported,
            Self::Primitive(_) => FaultClass::Hardware,
            Self::ResponseMalformed(_) | Self::ResponseNotAuthentic { .. } => FaultClass::Corruption,
            Self::Store(_) => FaultClass::Storage,
            Self::Token(fault) => fault.class(),
            Self::Tpm { code, .. } if code.is_transient() || code.is_out_of_room() => FaultClass::Busy,
            Self::Tpm { .. } => FaultClass::Hardware,
        }
    }

    /// Stable code, for logs and messages.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::ActivationRefused => "agent.activation-refused",
            Self::AttestingKeyExists { .. } => "agent.attesting-key-exists",
            Self::AttestingKeyName { .. } => "agent.attesting-key-name",
            Self::AttestingKeyUnknown { .. } => "agent.attesting-key-unknown",
            Self::AttestingKeyUnfit(unfit) => unfit.code(),
            Self::BlobInvalid(_) => "agent.blob-invalid",
            Self::CertificateMismatch => "agent.certificate-mismatch",
            Self::CiphertextInvalid => "agent.ciphertext-invalid",
            Self::Connection { .. } => "agent.connection",
            Self::DigestLength { .. } => "agent.digest-length",
            Self::KeyLost => "agent.key-lost",
            Self::MechanismMissing { .. } => "agent.mechanism-missing",
            Self::Missing { .. } => "agent.not-supported",
            Self::NoEndorsementCertificate => "agent.no-endorsement-certificate",
            Self::NonceLength { .. } => "agent.nonce-length",
            Self::PcrSelection(_) => "agent.pcr-selection",
            Self::PurposeMismatch => "agent.purpose-mismatch",
            Self::Primitive(_) => "agent.primitive",
            Self::ResponseMalformed(_) => "agent.response-malformed",
            Self::ResponseNotAuthentic { .. } => "agent.response-not-authentic",
            Self::SchemeMismatch(_) => "agent.scheme-mismatch",
            Self::Store(_) => "agent.store",
            Self::Template(template) => template.code(),
            Self::Token(fault) => fault.code(),
            Self::Tpm { code: ResponseCode::FAILURE, .. } => "agent.tpm-failure",
            Self::Tpm { code: ResponseCode::LOCKOUT, .. } => "agent.tpm-lockout",
            Self::Tpm { .. } => "agent.tpm",
        }
    }

    /// What the reader of the message may do about it, one sentence without a final period.
    #[must_use]
    pub const fn next_step(&self) -> &'static str {
        match self {
            Self::ActivationRefused => "start the enrolment again and use the newest challenge",
            Self::AttestingKeyExists { .. } | Self::AttestingKeyName { .. } => "choose another name",
            Self::AttestingKeyUnknown { .. } => "list the attesting keys and choose one of them",
            Self::AttestingKeyUnfit(unfit) => unfit.next_step(),
            Self::BlobInvalid(_) => "restore the agent's state from a backup or make the key again",
            Self::CertificateMismatch => "install the certificate that was issued for this attesting key",
            Self::CiphertextInvalid => "encrypt the message anew, to the key's public half",
            Self::Connection { .. } => {
                "check that the device or simulator is there, that the address is right and that no other \
                 program holds it"
            }
            Self::DigestLength { .. } => "hash the message with the algorithm that is named",
            Self::KeyLost => "delete the key and make a new one; it cannot be recovered",
            Self::MechanismMissing { .. } => {
                "list the mechanisms of the key and of the provider, and choose one of them"
            }
            Self::Missing { .. } => "choose another mechanism or algorithm",
            Self::NoEndorsementCertificate => {
                "provision an endorsement certificate, or enroll by another bootstrap method"
            }
            Self::NonceLength { .. } => "use a nonce of 16 to 64 octets",
            Self::PcrSelection(_) => "choose registers 0 to 23 of a bank that the module has",
            Self::PurposeMismatch => "use a key that was made for this",
            Self::Primitive(_) => "try again; if it stays, the installation is damaged",
            Self::ResponseMalformed(_) | Self::ResponseNotAuthentic { .. } => {
                "something between the agent and the module altered an answer: inspect the platform"
            }
            Self::SchemeMismatch(_) => "use ECDSA with EC keys and RSA schemes with RSA keys",
            Self::Store(_) => "check space and permissions of the state folder",
            Self::Template(template) => match template {
                Template::IssuerNotAttestingKey => "hand in the chain of the attesting key's own certificate",
                Template::IssuerMissing => "enroll the attesting key first, or hand in its chain",
                Template::NotDer(_) => "correct the input",
                Template::SubjectOutsideDevice => "give a subject that begins with the attesting key's own name",
                Template::TooLong { .. } => "shorten subject and alternative names",
                Template::Validity => "give an end that lies after the start",
            },
            Self::Token(fault) => fault.next_step(),
            Self::Tpm { code: ResponseCode::FAILURE, .. } => {
                "the TPM is in failure mode: reset or power-cycle the machine; if it stays so, the TPM is defective"
            }
            Self::Tpm { code: ResponseCode::LOCKOUT, .. } => {
                "wait until the TPM's lockout ends, or reset it with the lockout authorization (tpm2_dictionarylockout -c)"
            }
            Self::Tpm { .. } => "see the response code; the log has the command",
        }
    }
}
