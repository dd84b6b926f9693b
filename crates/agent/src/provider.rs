//! What the service asks of hardware that makes, uses and attests keys.
//!
//! The traits here are narrow and know nothing of a particular module; [`tpm::TpmProvider`] implements
//! them on a TPM 2.0. Calls block: the service runs them on one worker thread. A provider keeps what it
//! must remember between runs in a [`StateStore`] and hands out keys as opaque [`KeyBlob`]s, which the
//! caller stores.

mod fault;
mod key;
mod state;
pub mod tpm;

pub use fault::{Fault, FaultClass, Template};
pub use key::{EncryptionScheme, Hash, KeyBlob, KeyKind, KeyPurpose, KeySpec, KeyUid, PublicKey, SignatureScheme};
pub use state::{MemoryStore, StateStore, StoreFault};

pub use vouchsafe_evidence::statement::FormatId;

use vouchsafe_evidence::oid::Oid;
use zeroize::Zeroizing;

/// Makes and uses keys.
pub trait KeyProvider: Send {
    /// Makes a key inside the module. A module that keeps keys keeps this one under `uid`, which the caller has noted
    /// down before, so that [`KeyProvider::abandon`] finds what is left if the agent dies before it has the blob.
    ///
    /// # Errors
    /// [`Fault`], of class [`FaultClass::NotSupported`] when the module has no such algorithm.
    fn generate(&mut self, uid: &KeyUid, spec: KeySpec) -> Result<KeyBlob, Fault>;

    /// The public half of a key.
    ///
    /// # Errors
    /// [`Fault::BlobInvalid`] when `key` is not a blob of this provider.
    fn export_public(&mut self, key: &KeyBlob) -> Result<PublicKey, Fault>;

    /// Signs a digest.
    ///
    /// # Errors
    /// [`Fault::DigestLength`], [`Fault::SchemeMismatch`], [`Fault::PurposeMismatch`] for an attesting key,
    /// [`Fault::KeyLost`] when the module was cleared.
    fn sign_hash(&mut self, key: &KeyBlob, scheme: SignatureScheme, digest: &[u8]) -> Result<Vec<u8>, Fault>;

    /// Decrypts a short message that was encrypted to a key of [`KeyPurpose::Decrypt`]. `label` is OAEP's and empty for
    /// other schemes.
    ///
    /// # Errors
    /// [`Fault::PurposeMismatch`], [`Fault::CiphertextInvalid`] for a message that was not encrypted so,
    /// [`Fault::Missing`] for a label that the module cannot take, [`Fault::KeyLost`].
    fn decrypt(
        &mut self,
        key: &KeyBlob,
        scheme: EncryptionScheme,
        ciphertext: &[u8],
        label: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Fault>;

    /// Random octets from the module.
    ///
    /// # Errors
    /// [`Fault`].
    fn random(&mut self, octets: u16) -> Result<Zeroizing<Vec<u8>>, Fault>;

    /// Whether the module makes keys of this kind.
    ///
    /// # Errors
    /// [`Fault`] when it cannot be asked.
    fn makes(&mut self, kind: KeyKind) -> Result<bool, Fault>;

    /// Makes the module forget a key. A module that keeps nothing but blobs has nothing to do.
    ///
    /// # Errors
    /// [`Fault`] when the module refuses.
    fn destroy(&mut self, key: &KeyBlob) -> Result<(), Fault>;

    /// Makes the module forget whatever a creation or a destruction of that key has left in it when it was cut short.
    /// Idempotent: it is no fault that nothing is left.
    ///
    /// # Errors
    /// [`Fault`] when the module cannot be asked or refuses.
    fn abandon(&mut self, uid: &KeyUid) -> Result<(), Fault>;
}

/// What an attestation speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttestationSubject {
    /// A key.
    Key,
    /// The platform.
    Platform,
}

/// How much a mechanism's messages may still change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stability {
    /// May change in any release.
    Experimental,
    /// Changes only with a new version number.
    Stable,
}

/// A way to attest that this provider offers on this module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mechanism {
    /// Format of its statements; also its name.
    pub format: FormatId,
    /// Version of its request and result messages.
    pub version: u32,
    /// How settled they are.
    pub stability: Stability,
    /// The statement's type in an AttestationStatement.
    pub statement_oid: Oid,
    /// What it attests.
    pub subject: AttestationSubject,
}

/// What an attesting key's certificate lets it sign: one certificate serves exactly one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// The module's own attestation structures.
    Attest,
    /// Certificates that the module makes.
    CertifyX509,
}

impl Family {
    /// All families.
    pub const ALL: [Self; 2] = [Self::Attest, Self::CertifyX509];

    /// The name in messages and stored state.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Attest => "attest",
            Self::CertifyX509 => "certify-x509",
        }
    }

    /// The family of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.as_str() == name)
    }
}

/// Certificates of an attesting key for one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FamilyCertificates {
    /// The family.
    pub family: Family,
    /// The key's own certificate first, then its issuers; each DER.
    pub certificates: Vec<Vec<u8>>,
}

/// An attesting key that the administrator set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttestingKey {
    /// The name by which callers choose it.
    pub name: String,
    /// Whether it attests when nobody chooses.
    pub is_default: bool,
    /// Algorithm and size.
    pub kind: KeyKind,
    /// The public area in the module's own encoding (a marshaled TPMT_PUBLIC).
    pub public: Vec<u8>,
    /// DER SubjectPublicKeyInfo.
    pub spki: Vec<u8>,
    /// What it is able to sign, certified or not.
    pub families: Vec<Family>,
    /// What it has been certified for.
    pub certificates: Vec<FamilyCertificates>,
    /// Whether this agent made it.
    pub made_here: bool,
}

/// Which key attests.
#[derive(Clone, Copy, Debug)]
pub enum AttestingKeyChoice<'a> {
    /// The default that the administrator set.
    Default,
    /// A key of the administrator's, by name.
    Named(&'a str),
    /// A key of the caller's own, made for [`KeyPurpose::Attest`].
    Own {
        /// The key.
        key: &'a KeyBlob,
        /// Its certificate first, then its issuers; DER. May be empty.
        certificates: &'a [Vec<u8>],
    },
}

/// Subject of a certificate that the module makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubjectName {
    /// A DER Name, which must lie beneath the issuer's.
    Absolute(Vec<u8>),
    /// A DER Name whose RDNs are put behind the issuer's.
    BeneathIssuer(Vec<u8>),
}

/// KeyUsage bits of a certificate (RFC 5280 section 4.2.1.3) that an attested key may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyUsage(u16);

impl KeyUsage {
    /// digitalSignature.
    pub const DIGITAL_SIGNATURE: Self = Self(0x8000);
    /// nonRepudiation (contentCommitment).
    pub const NON_REPUDIATION: Self = Self(0x4000);
    /// keyEncipherment.
    pub const KEY_ENCIPHERMENT: Self = Self(0x2000);
    /// dataEncipherment.
    pub const DATA_ENCIPHERMENT: Self = Self(0x1000);
    /// keyAgreement.
    pub const KEY_AGREEMENT: Self = Self(0x0800);

    /// Both sets together.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The bits, bit 0 of the BIT STRING as the most significant of 16.
    #[must_use]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// The usage of that RFC 5280 name. keyCertSign and cRLSign are not among them: a key that is attested
    /// by a certificate is never an issuer.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "digitalSignature" => Some(Self::DIGITAL_SIGNATURE),
            "nonRepudiation" | "contentCommitment" => Some(Self::NON_REPUDIATION),
            "keyEncipherment" => Some(Self::KEY_ENCIPHERMENT),
            "dataEncipherment" => Some(Self::DATA_ENCIPHERMENT),
            "keyAgreement" => Some(Self::KEY_AGREEMENT),
            _ => None,
        }
    }
}

/// The caller's part of a certificate that the module signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateTemplate {
    /// The subject.
    pub subject: SubjectName,
    /// Start of validity, seconds since the Unix epoch.
    pub not_before: i64,
    /// End of validity, seconds since the Unix epoch.
    pub not_after: i64,
    /// Key usage; at least one bit.
    pub key_usage: KeyUsage,
    /// DER GeneralNames for a SAN extension; `None` makes no such extension.
    pub subject_alt_names: Option<Vec<u8>>,
    /// DER certificates to hang under: the first one's subject becomes the issuer and its key must be the
    /// attesting key. Empty: the attesting key's own certificates for [`Family::CertifyX509`].
    pub issuer_chain: Vec<Vec<u8>>,
}

/// How a key is to be attested.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyMechanism {
    /// `tpm-certify`: the module's own structure.
    TpmCertify,
    /// `tpm-certify-x509`: a certificate made by the module.
    TpmCertifyX509(CertificateTemplate),
}

/// How the platform is to be attested.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlatformMechanism {
    /// `tpm-quote`: platform configuration registers.
    TpmQuote {
        /// The bank.
        bank: Hash,
        /// Register indices, 0 to 23; any order, duplicates are one.
        indices: Vec<u8>,
    },
}

/// An attestation, ready to be put into an AttestationBundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attestation {
    /// Its format.
    pub format: FormatId,
    /// The statement's type.
    pub statement_oid: Oid,
    /// DER of the statement (the `stmt` of an AttestationStatement).
    pub statement: Vec<u8>,
    /// DER certificates for the bundle: the attesting key's first, then its issuers. May be empty.
    pub certificates: Vec<Vec<u8>>,
    /// The certificate that the module made, DER, where the mechanism makes one.
    pub certificate: Option<Vec<u8>>,
}

/// Proof of where the module comes from, and the key to be certified as its attesting key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endorsement {
    /// DER certificates of endorsement keys that this module holds.
    pub certificates: Vec<Vec<u8>>,
    /// DER certificates that the module keeps beside them: helpers, never trusted.
    pub chain: Vec<Vec<u8>>,
    /// Name of the attesting key.
    pub attesting_key: String,
    /// Its public area in the module's own encoding (a marshaled TPMT_PUBLIC).
    pub public: Vec<u8>,
    /// Its Name (Part 1, "Names"): nameAlg and digest.
    pub name: Vec<u8>,
}

/// What a credential for a key is made of: whoever makes one learns from its answer that the key is in the module that
/// holds the endorsement key, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActivationParameters {
    /// The key's Name (Part 1, "Names"): nameAlg and digest.
    pub name: Vec<u8>,
    /// Its public area in the module's own encoding (a marshaled TPMT_PUBLIC).
    pub public: Vec<u8>,
    /// The endorsement key, of RSA 2048 by its default template: DER RSAPublicKey (RFC 8017).
    pub endorsement_key: Vec<u8>,
}

/// The key that a credential is bound to.
#[derive(Clone, Copy, Debug)]
pub enum ActivatedKey<'a> {
    /// An attesting key of the administrator's, by name; empty for the default.
    Attesting(&'a str),
    /// A key of the caller's own.
    Own(&'a KeyBlob),
}

/// An answer that only the module holding both the endorsement key and the other key can give.
#[derive(Clone, Copy, Debug)]
pub struct Activation<'a> {
    /// The key that the credential is bound to.
    pub key: ActivatedKey<'a>,
    /// TPM2B_ID_OBJECT, with its size field.
    pub credential: &'a [u8],
    /// TPM2B_ENCRYPTED_SECRET, with its size field.
    pub secret: &'a [u8],
}

/// Attests keys and the platform, and takes part in the enrolment of attesting keys.
pub trait Attester: Send {
    /// What this module can attest.
    ///
    /// # Errors
    /// [`Fault`].
    fn mechanisms(&mut self) -> Result<Vec<Mechanism>, Fault>;

    /// The administrator's attesting keys, the default first.
    ///
    /// # Errors
    /// [`Fault`].
    fn attesting_keys(&mut self) -> Result<Vec<AttestingKey>, Fault>;

    /// Makes another attesting key for the administrator.
    ///
    /// # Errors
    /// [`Fault::AttestingKeyExists`], or [`Fault`] of the module.
    fn create_attesting_key(&mut self, name: &str, kind: KeyKind) -> Result<AttestingKey, Fault>;

    /// Attests a key. `nonce` is 16 to 64 octets, or empty for none.
    ///
    /// # Errors
    /// [`Fault::NonceLength`], [`Fault::AttestingKeyUnknown`], [`Fault::Template`] for a certificate that
    /// no verifier would accept, [`Fault::KeyLost`].
    fn attest_key(
        &mut self,
        key: &KeyBlob,
        attesting_key: AttestingKeyChoice<'_>,
        mechanism: &KeyMechanism,
        nonce: &[u8],
    ) -> Result<Attestation, Fault>;

    /// Attests the platform. `nonce` is 16 to 64 octets, or empty for none.
    ///
    /// # Errors
    /// [`Fault::NonceLength`], [`Fault::AttestingKeyUnknown`], [`Fault::PcrSelection`].
    fn attest_platform(
        &mut self,
        attesting_key: AttestingKeyChoice<'_>,
        mechanism: &PlatformMechanism,
        nonce: &[u8],
    ) -> Result<Attestation, Fault>;

    /// What an authority needs to certify the attesting key `attesting_key` (empty: the default).
    ///
    /// # Errors
    /// [`Fault::AttestingKeyUnknown`], [`Fault::NoEndorsementCertificate`].
    fn endorsement(&mut self, attesting_key: &str) -> Result<Endorsement, Fault>;

    /// What a credential for a key is made of.
    ///
    /// # Errors
    /// [`Fault::Missing`] where the module has no endorsement key of the default kind, [`Fault::BlobInvalid`].
    fn activation_parameters(&mut self, key: &KeyBlob) -> Result<ActivationParameters, Fault>;

    /// Opens a credential (TPM2_ActivateCredential). Every endorsement key whose sizes fit is tried.
    ///
    /// # Errors
    /// [`Fault::ActivationRefused`], the same whatever the module disliked, and never a sign of a dead
    /// module; [`Fault::AttestingKeyUnknown`]; transport faults.
    fn activate(&mut self, activation: Activation<'_>) -> Result<Zeroizing<Vec<u8>>, Fault>;

    /// Keeps the certificates of an attesting key (empty name: the default), replacing those of the family.
    ///
    /// # Errors
    /// [`Fault::AttestingKeyUnknown`], [`Fault::CertificateMismatch`] when the first certificate's key is
    /// not the attesting key.
    fn install_certificates(&mut self, attesting_key: &str, certificates: FamilyCertificates) -> Result<(), Fault>;
}
