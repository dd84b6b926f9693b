//! Extension: making attesting keys and having them certified.

use prost::Message;

use super::{AttestationResult, AttestingKeyInfo, FamilyChain};

/// DescribeEndorsement, 0x0104.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct DescribeEndorsementOperation {
    /// The machine's attesting key to be certified; empty for the default.
    #[prost(string, tag = "1")]
    pub attesting_key: String,
}

/// What an authority needs to certify that attesting key.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct DescribeEndorsementResult {
    /// DER certificates of endorsement keys.
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub certificates: Vec<Vec<u8>>,
    /// DER certificates kept beside them: helpers, never trusted.
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub chain: Vec<Vec<u8>>,
    /// The attesting key's name.
    #[prost(string, tag = "3")]
    pub attesting_key: String,
    /// Its public area (for a TPM the marshaled TPMT_PUBLIC).
    #[prost(bytes = "vec", tag = "4")]
    pub public: Vec<u8>,
    /// Its Name (TPM 2.0 Part 1, "Names").
    #[prost(bytes = "vec", tag = "5")]
    pub name: Vec<u8>,
    /// Its DER SubjectPublicKeyInfo.
    #[prost(bytes = "vec", tag = "6")]
    pub spki: Vec<u8>,
    /// An attestation of the attesting key by itself or by the module's maker, where there is one.
    #[prost(message, optional, tag = "7")]
    pub attestation: Option<AttestationResult>,
    /// DER SubjectPublicKeyInfo of the endorsement keys, in the order of the certificates where there are any.
    #[prost(bytes = "vec", repeated, tag = "8")]
    pub endorsement_keys: Vec<Vec<u8>>,
}

/// ActivateCredential, 0x0105.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ActivateCredentialOperation {
    /// The machine's attesting key; empty for the default.
    #[prost(string, tag = "1")]
    pub attesting_key: String,
    /// TPM2B_ID_OBJECT, with its size field.
    #[prost(bytes = "vec", tag = "2")]
    pub credential: Vec<u8>,
    /// TPM2B_ENCRYPTED_SECRET, with its size field.
    #[prost(bytes = "vec", tag = "3")]
    pub secret: Vec<u8>,
}

/// The answer to the challenge.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ActivateCredentialResult {
    /// The opened credential.
    #[prost(bytes = "vec", tag = "1")]
    pub credential: Vec<u8>,
}

/// InstallCertificates, 0x0106.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct InstallCertificatesOperation {
    /// The attesting key; empty for the machine's default.
    #[prost(string, tag = "1")]
    pub attesting_key: String,
    /// Its certificates, which replace those of the same family.
    #[prost(message, repeated, tag = "2")]
    pub certificates: Vec<FamilyChain>,
}

/// The certificates are stored.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct InstallCertificatesResult {}

/// CreateAttestingKey, 0x0107.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct CreateAttestingKeyOperation {
    /// The new key's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// `ecc-p256` (also when empty), `ecc-p384`, `rsa-2048` or `rsa-3072`.
    #[prost(string, tag = "2")]
    pub algorithm: String,
    /// Whether it becomes one of the machine's, which needs a grant, instead of the caller's own.
    #[prost(bool, tag = "3")]
    pub for_machine: bool,
    /// Whether it is a pseudonym; the machine's alone.
    #[prost(bool, tag = "4")]
    pub pseudonym: bool,
}

/// The new attesting key.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct CreateAttestingKeyResult {
    /// Its description.
    #[prost(message, optional, tag = "1")]
    pub key: Option<AttestingKeyInfo>,
}

/// ImportAttestingKey, 0x0108. Either `object` or `handle` says which key it is.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ImportAttestingKeyOperation {
    /// The name that the key gets.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The key wrapped by a parent in the module: TPM2B_PUBLIC and TPM2B_PRIVATE, or a PEM file `TSS2 PRIVATE KEY`.
    #[prost(bytes = "vec", tag = "2")]
    pub object: Vec<u8>,
    /// The parent's persistent handle; 0 for the one that `object` names, else the agent's storage root key.
    #[prost(uint32, tag = "3")]
    pub parent_handle: u32,
    /// The persistent handle of a key that is in the module.
    #[prost(uint32, tag = "4")]
    pub handle: u32,
    /// What authorizes the use of the key.
    #[prost(bytes = "vec", tag = "5")]
    pub auth: Vec<u8>,
}

/// The attesting key that was taken over.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ImportAttestingKeyResult {
    /// Its description.
    #[prost(message, optional, tag = "1")]
    pub key: Option<AttestingKeyInfo>,
}
