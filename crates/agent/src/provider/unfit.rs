//! Why a key that was made elsewhere does not become an attesting key, in words of those who make such keys.

use thiserror::Error;

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
