//! Attesting keys as providers and their callers speak of them.

use thiserror::Error;
use zeroize::Zeroizing;

use super::{KeyBlob, KeyKind};

/// What an attesting key's certificate lets it sign: one certificate serves exactly one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// The module's own attestation structures.
    Attest,
    /// Certificates that the module makes.
    CertifyX509,
    /// PKIX Evidence.
    PkixEvidence,
}

impl Family {
    /// All families.
    pub const ALL: [Self; 3] = [Self::Attest, Self::CertifyX509, Self::PkixEvidence];

    /// The name in messages and stored state.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Attest => "attest",
            Self::CertifyX509 => "certify-x509",
            Self::PkixEvidence => "pkix-evidence",
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
    /// The public area in the module's own encoding; empty for modules that have none.
    pub public: Vec<u8>,
    /// DER SubjectPublicKeyInfo.
    pub spki: Vec<u8>,
    /// What it signs, certified or not.
    pub families: Vec<Family>,
    /// What it has been certified for.
    pub certificates: Vec<FamilyCertificates>,
    /// Whether this agent made it.
    pub made_here: bool,
    /// Whether it is a pseudonym: it attests nothing in which the module is recognized.
    pub is_pseudonym: bool,
}

/// What attesting key is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttestingKeySpec {
    /// Algorithm and size.
    pub kind: KeyKind,
    /// Whether it is a pseudonym.
    pub is_pseudonym: bool,
}

/// Where an attesting key is that was made elsewhere.
#[derive(Clone, Debug)]
pub enum AttestingKeySource {
    /// Outside, wrapped by a key that the module holds.
    Wrapped {
        /// In the module's own encoding.
        octets: Zeroizing<Vec<u8>>,
        /// The handle of the wrapping key, where it is not the one under which this agent keeps keys.
        parent: Option<u32>,
        /// What authorizes its use.
        auth: Zeroizing<Vec<u8>>,
    },
    /// In the module, for good.
    Resident {
        /// Its handle.
        handle: u32,
        /// What authorizes its use.
        auth: Zeroizing<Vec<u8>>,
    },
}

/// Why a key that was made elsewhere is not taken over as an attesting key.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unfit {
    /// The authorization is not the key's.
    #[error("the authorization that was given is not the key's")]
    AuthWrong,
    /// Anybody who reaches the module can use it.
    #[error("its authorization has fewer than 16 octets: every process that reaches the module could attest with it")]
    AuthWeak,
    /// It belongs to a client.
    #[error("it is a key of one of the agent's clients")]
    ClientKey,
    /// It decrypts.
    #[error("it has the attribute decrypt")]
    Decrypts,
    /// It can leave the module, or its parent's module.
    #[error("it lacks the attribute {0}: it could be in other modules too")]
    Duplicable(&'static str),
    /// It endorses the module.
    #[error("it is an endorsement key: it endorses attesting keys and attests nothing")]
    EndorsementKey,
    /// It is an attesting key already.
    #[error("it is an attesting key of this agent already")]
    Known,
    /// There is no such key in the module.
    #[error("the module has no key there")]
    Missing,
    /// It is not of a kind that verifiers accept.
    #[error(
        "an attesting key is ECDSA on P-256 or P-384, or RSA of 2048 or 3072 bits, with SHA-256 or better for its Name"
    )]
    Kind,
    /// It is no restricted signing key.
    #[error("it lacks the attribute {0}: it would sign what the module did not make")]
    NotRestricted(&'static str),
    /// It has been made outside.
    #[error("it lacks the attribute sensitiveDataOrigin: the module did not make it")]
    Origin,
    /// It has an attribute that says something else of it than that it attests.
    #[error("it has an attribute that no attesting key has")]
    OtherAttribute,
    /// Its use needs a policy.
    #[error("a policy authorizes its use, not its authorization value alone")]
    Policy,
    /// Its signature scheme is left to each use, or is weak.
    #[error("it has no fixed signature scheme with SHA-256 or better")]
    Scheme,
    /// It wraps other keys.
    #[error("it is a storage key: keys are kept under it")]
    StorageKey,
    /// What was handed in is not an object in any encoding that is taken.
    #[error("neither TPM2B_PUBLIC and TPM2B_PRIVATE nor a PEM file of type TSS2 PRIVATE KEY")]
    Unreadable,
    /// The module does not load it under that parent.
    #[error("the module does not load it: another parent has wrapped it")]
    WrongParent,
}

impl Unfit {
    /// Stable code of the refusal.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::AuthWrong => "agent.import-auth-wrong",
            Self::AuthWeak => "agent.import-auth-weak",
            Self::ClientKey => "agent.import-client-key",
            Self::Decrypts => "agent.import-decrypts",
            Self::Duplicable(_) => "agent.import-duplicable",
            Self::EndorsementKey => "agent.import-endorsement-key",
            Self::Known => "agent.import-known",
            Self::Missing => "agent.import-missing",
            Self::Kind => "agent.import-kind",
            Self::NotRestricted(_) => "agent.import-not-restricted",
            Self::Origin => "agent.import-origin",
            Self::OtherAttribute => "agent.import-attribute",
            Self::Policy => "agent.import-policy",
            Self::Scheme => "agent.import-scheme",
            Self::StorageKey => "agent.import-storage-key",
            Self::Unreadable => "agent.import-unreadable",
            Self::WrongParent => "agent.import-wrong-parent",
        }
    }

    /// What to do about it, one sentence without a final period.
    #[must_use]
    pub const fn next_step(self) -> &'static str {
        match self {
            Self::AuthWrong => "give the key's authorization",
            Self::AuthWeak => {
                "give the key a random authorization of at least 16 octets (tpm2_changeauth -c KEY), and import it with that"
            }
            Self::Known => "choose another key; the list of attesting keys has this one",
            Self::Missing => "look for the handle with tpm2_getcap handles-persistent",
            Self::Unreadable => {
                "hand in TPM2B_PUBLIC and TPM2B_PRIVATE as tpm2_create writes them, or the PEM file of tpm2_encodeobject"
            }
            Self::WrongParent => "name the persistent handle of the key's parent",
            Self::ClientKey
            | Self::Decrypts
            | Self::Duplicable(_)
            | Self::EndorsementKey
            | Self::Kind
            | Self::NotRestricted(_)
            | Self::Origin
            | Self::OtherAttribute
            | Self::Policy
            | Self::Scheme
            | Self::StorageKey => {
                "make an attesting key: restricted, sign, x509sign, fixedtpm, fixedparent, sensitivedataorigin, userwithauth"
            }
        }
    }
}

/// Which key attests.
#[derive(Clone, Copy, Debug)]
pub enum AttestingKeyChoice<'a> {
    /// The default that the administrator set.
    Default,
    /// A key of the administrator's, by name.
    Named(&'a str),
    /// A key of the caller's own, made for [`super::KeyPurpose::Attest`].
    Own {
        /// The key.
        key: &'a KeyBlob,
        /// Its certificate first, then its issuers; DER. May be empty.
        certificates: &'a [Vec<u8>],
    },
}

/// Proof of where the module comes from, and the key to be certified as its attesting key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endorsement {
    /// DER certificates of endorsement keys that this module holds; empty for modules without such keys.
    pub certificates: Vec<Vec<u8>>,
    /// DER certificates that the module keeps beside them: helpers, never trusted.
    pub chain: Vec<Vec<u8>>,
    /// Name of the attesting key.
    pub attesting_key: String,
    /// Its DER SubjectPublicKeyInfo.
    pub spki: Vec<u8>,
    /// Its public area in the module's own encoding; empty for modules that have none.
    pub public: Vec<u8>,
    /// Its Name, in the module's own encoding; empty for modules that have none.
    pub name: Vec<u8>,
    /// An attestation of the attesting key by itself or by the module's maker, where there is one.
    pub attestation: Option<super::Attestation>,
}
