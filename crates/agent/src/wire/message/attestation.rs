//! Extension: attesting keys and the platform.

use prost::{Message, Oneof};

/// AttestKey, 0x0100.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct AttestKeyOperation {
    /// The key to be attested, one of the caller's.
    #[prost(string, tag = "1")]
    pub key_name: String,
    /// The key that attests; empty for the administrator's default.
    #[prost(string, tag = "2")]
    pub attesting_key: String,
    /// What the Verifier sent, 16 to 64 octets; empty for an attestation that is not fresh.
    #[prost(bytes = "vec", tag = "3")]
    pub nonce: Vec<u8>,
    /// How; absent where the client named a mechanism that this service does not have.
    #[prost(oneof = "KeyMechanism", tags = "100, 101, 102")]
    pub mechanism: Option<KeyMechanism>,
}

/// The mechanisms that attest keys.
#[derive(Clone, PartialEq, Eq, Oneof)]
pub enum KeyMechanism {
    /// `tpm-certify`.
    #[prost(message, tag = "100")]
    TpmCertify(TpmCertify),
    /// `tpm-certify-x509`.
    #[prost(message, tag = "101")]
    TpmCertifyX509(TpmCertifyX509),
    /// `pkix-evidence`.
    #[prost(message, tag = "102")]
    PkixEvidence(PkixEvidence),
}

/// Attestation by PKIX Evidence (draft-ietf-rats-pkix-key-attestation).
#[derive(Clone, PartialEq, Eq, Message)]
pub struct PkixEvidence {
    /// Types of the claims that are asked for, dotted decimal; empty for those that the provider discloses by default.
    #[prost(string, repeated, tag = "1")]
    pub claims: Vec<String>,
    /// Whether Evidence about a key speaks of the platform too.
    #[prost(bool, tag = "2")]
    pub with_platform: bool,
    /// A request in the draft's form (section 7), in place of the other fields: DER TbsEvidence without values.
    #[prost(bytes = "vec", tag = "3")]
    pub request: Vec<u8>,
}

/// Attestation by TPM2_Certify. No parameters.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct TpmCertify {}

/// Attestation by TPM2_CertifyX509. A parameter that is left out is filled from the agent's configuration.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct TpmCertifyX509 {
    /// The subject, RFC 4514 text.
    #[prost(string, tag = "1")]
    pub subject: String,
    /// Start of validity, seconds since the epoch; 0 for now.
    #[prost(int64, tag = "2")]
    pub not_before: i64,
    /// End of validity, seconds since the epoch; 0 for the configured validity after the start.
    #[prost(int64, tag = "3")]
    pub not_after: i64,
    /// Key usage, by the names of RFC 5280 section 4.2.1.3.
    #[prost(string, repeated, tag = "4")]
    pub key_usage: Vec<String>,
    /// Subject alternative names: `dns:`, `email:`, `uri:` or `ip:` and the value.
    #[prost(string, repeated, tag = "5")]
    pub san: Vec<String>,
    /// DER certificates to hang under: the first one's key is the attesting key, its subject the issuer.
    #[prost(bytes = "vec", repeated, tag = "6")]
    pub chain: Vec<Vec<u8>>,
    /// Whether `subject` is put beneath the issuer's name instead of being the whole name.
    #[prost(bool, tag = "7")]
    pub subject_beneath_issuer: bool,
}

/// AttestPlatform, 0x0101.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct AttestPlatformOperation {
    /// The key that attests; empty for the administrator's default.
    #[prost(string, tag = "1")]
    pub attesting_key: String,
    /// What the Verifier sent, 16 to 64 octets; empty for an attestation that is not fresh.
    #[prost(bytes = "vec", tag = "2")]
    pub nonce: Vec<u8>,
    /// How; absent where the client named a mechanism that this service does not have.
    #[prost(oneof = "PlatformMechanism", tags = "100, 101")]
    pub mechanism: Option<PlatformMechanism>,
}

/// The mechanisms that attest the platform.
#[derive(Clone, PartialEq, Eq, Oneof)]
pub enum PlatformMechanism {
    /// `tpm-quote`.
    #[prost(message, tag = "100")]
    TpmQuote(TpmQuote),
    /// `pkix-evidence`.
    #[prost(message, tag = "101")]
    PkixEvidence(PkixEvidence),
}

/// Attestation by TPM2_Quote.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct TpmQuote {
    /// The PCR bank: `sha256` (also when empty), `sha384` or `sha512`.
    #[prost(string, tag = "1")]
    pub bank: String,
    /// PCR indices, 0 to 23.
    #[prost(uint32, repeated, tag = "2")]
    pub indices: Vec<u32>,
}

/// An attestation, ready to be put into an AttestationBundle. The result of AttestKey and AttestPlatform.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct AttestationResult {
    /// The format's id, such as `tpm-certify`.
    #[prost(string, tag = "1")]
    pub format: String,
    /// The statement's type, dotted decimal.
    #[prost(string, tag = "2")]
    pub statement_oid: String,
    /// The statement, DER.
    #[prost(bytes = "vec", tag = "3")]
    pub statement: Vec<u8>,
    /// DER certificates: the attesting key's first, then its issuers. For `tpm-certify-x509` these hang
    /// above `certificate`.
    #[prost(bytes = "vec", repeated, tag = "4")]
    pub certificates: Vec<Vec<u8>>,
    /// The certificate that the module made, DER; empty for mechanisms that make none.
    #[prost(bytes = "vec", tag = "5")]
    pub certificate: Vec<u8>,
}

/// ListMechanisms, 0x0102.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ListMechanismsOperation {
    /// One of the caller's keys, to be told what attests it; empty to be told what the provider attests at all.
    #[prost(string, tag = "1")]
    pub key_name: String,
}

/// What this provider attests on this machine, or what attests one key.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ListMechanismsResult {
    /// The mechanisms.
    #[prost(message, repeated, tag = "1")]
    pub mechanisms: Vec<MechanismInfo>,
}

/// One mechanism.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct MechanismInfo {
    /// Its name, which is the format id of its statements.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The version of its messages.
    #[prost(uint32, tag = "2")]
    pub version: u32,
    /// `experimental` or `stable`.
    #[prost(string, tag = "3")]
    pub stability: String,
    /// The type of its statements, dotted decimal; empty for a dialogue that makes none.
    #[prost(string, tag = "4")]
    pub statement_oid: String,
    /// `key` or `platform`.
    #[prost(string, tag = "5")]
    pub subject: String,
}

/// ListAttestingKeys, 0x0103.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ListAttestingKeysOperation {}

/// The attesting keys that the caller may use: its own, and with a grant the machine's.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ListAttestingKeysResult {
    /// The machine's first.
    #[prost(message, repeated, tag = "1")]
    pub keys: Vec<AttestingKeyInfo>,
}

/// One attesting key.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct AttestingKeyInfo {
    /// The name to choose it by.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Whether it attests when none is named.
    #[prost(bool, tag = "2")]
    pub is_default: bool,
    /// `ecc-p256`, `ecc-p384`, `rsa-2048` or `rsa-3072`.
    #[prost(string, tag = "3")]
    pub algorithm: String,
    /// DER SubjectPublicKeyInfo.
    #[prost(bytes = "vec", tag = "4")]
    pub public: Vec<u8>,
    /// What it signs: `attest`, `certify-x509`, `pkix-evidence`.
    #[prost(string, repeated, tag = "5")]
    pub families: Vec<String>,
    /// What it has been certified for.
    #[prost(message, repeated, tag = "6")]
    pub certificates: Vec<FamilyChain>,
    /// Whether this agent made it.
    #[prost(bool, tag = "7")]
    pub made_here: bool,
    /// Whether it is the caller's own rather than the machine's.
    #[prost(bool, tag = "8")]
    pub is_own: bool,
    /// Whether it is a pseudonym, which attests by certificates that the module makes and by nothing else.
    #[prost(bool, tag = "9")]
    pub is_pseudonym: bool,
}

/// The certificates of an attesting key for one family of statements.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct FamilyChain {
    /// `attest`, `certify-x509` or `pkix-evidence`.
    #[prost(string, tag = "1")]
    pub family: String,
    /// DER: the key's own certificate first, then its issuers.
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub certificates: Vec<Vec<u8>>,
}
