//! Parsec's own attestation of keys: PrepareKeyAttestation and AttestKey.
//!
//! Parsec names the keys within the mechanism in the first and beside it in the second; so do these messages.

use prost::{Message, Oneof};

/// PrepareKeyAttestation, 0x1F.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct PrepareKeyAttestationOperation {
    /// The mechanism and what it asks.
    #[prost(message, optional, tag = "1")]
    pub parameters: Option<PrepareKeyAttestationParameters>,
}

/// How a key is to be attested.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct PrepareKeyAttestationParameters {
    /// The mechanism; absent where the client named one that this service does not do.
    #[prost(oneof = "PrepareMechanism", tags = "1")]
    pub mechanism: Option<PrepareMechanism>,
}

/// Mechanisms of PrepareKeyAttestation.
#[derive(Clone, PartialEq, Eq, Oneof)]
pub enum PrepareMechanism {
    /// TPM2_ActivateCredential.
    #[prost(message, tag = "1")]
    ActivateCredential(PrepareActivateCredential),
}

/// Which key is attested.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct PrepareActivateCredential {
    /// The key.
    #[prost(string, tag = "1")]
    pub attested_key_name: String,
    /// Empty: the endorsement key of RSA 2048 by its default template. No other one is offered.
    #[prost(string, tag = "2")]
    pub attesting_key_name: String,
}

/// The answer of PrepareKeyAttestation.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct PrepareKeyAttestationResult {
    /// By mechanism.
    #[prost(message, optional, tag = "1")]
    pub output: Option<PrepareKeyAttestationOutput>,
}

/// What the mechanism answers.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct PrepareKeyAttestationOutput {
    /// The mechanism.
    #[prost(oneof = "PreparedMechanism", tags = "1")]
    pub mechanism: Option<PreparedMechanism>,
}

/// Answers by mechanism.
#[derive(Clone, PartialEq, Eq, Oneof)]
pub enum PreparedMechanism {
    /// TPM2_ActivateCredential.
    #[prost(message, tag = "1")]
    ActivateCredential(PreparedActivateCredential),
}

/// What TPM2_MakeCredential takes.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct PreparedActivateCredential {
    /// The key's Name: nameAlg and digest.
    #[prost(bytes = "vec", tag = "1")]
    pub name: Vec<u8>,
    /// Its marshaled TPMT_PUBLIC.
    #[prost(bytes = "vec", tag = "2")]
    pub public: Vec<u8>,
    /// The endorsement key: DER RSAPublicKey.
    #[prost(bytes = "vec", tag = "3")]
    pub attesting_key_pub: Vec<u8>,
}

/// AttestKey, 0x1E.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ParsecAttestKeyOperation {
    /// The key.
    #[prost(string, tag = "1")]
    pub attested_key_name: String,
    /// The mechanism and what it asks.
    #[prost(message, optional, tag = "2")]
    pub parameters: Option<ParsecAttestKeyParameters>,
    /// As in [`PrepareActivateCredential`].
    #[prost(string, tag = "3")]
    pub attesting_key_name: String,
}

/// How a key is attested.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ParsecAttestKeyParameters {
    /// The mechanism; absent where the client named one that this service does not do.
    #[prost(oneof = "ParsecMechanism", tags = "1")]
    pub mechanism: Option<ParsecMechanism>,
}

/// Mechanisms of AttestKey.
#[derive(Clone, PartialEq, Eq, Oneof)]
pub enum ParsecMechanism {
    /// TPM2_ActivateCredential.
    #[prost(message, tag = "1")]
    ActivateCredential(ParsecActivateCredential),
}

/// What TPM2_ActivateCredential takes.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ParsecActivateCredential {
    /// Contents of a TPM2B_ID_OBJECT.
    #[prost(bytes = "vec", tag = "1")]
    pub credential_blob: Vec<u8>,
    /// Contents of a TPM2B_ENCRYPTED_SECRET.
    #[prost(bytes = "vec", tag = "2")]
    pub secret: Vec<u8>,
}

/// The answer of AttestKey.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ParsecAttestKeyResult {
    /// By mechanism.
    #[prost(message, optional, tag = "1")]
    pub output: Option<ParsecAttestationOutput>,
}

/// What the mechanism answers.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ParsecAttestationOutput {
    /// The mechanism.
    #[prost(oneof = "ParsecAttestation", tags = "1")]
    pub mechanism: Option<ParsecAttestation>,
}

/// Answers by mechanism.
#[derive(Clone, PartialEq, Eq, Oneof)]
pub enum ParsecAttestation {
    /// TPM2_ActivateCredential.
    #[prost(message, tag = "1")]
    ActivateCredential(ParsecCredential),
}

/// The opened credential.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ParsecCredential {
    /// The credential.
    #[prost(bytes = "vec", tag = "1")]
    pub credential: Vec<u8>,
}
