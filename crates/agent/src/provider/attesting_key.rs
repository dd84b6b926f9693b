//! Attesting keys as providers and their callers speak of them.

use zeroize::Zeroizing;

use super::{Fault, KeyBlob, KeyKind};

/// Characters of an attesting key's name.
const NAME_LEN: usize = 64;

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
    /// DER SubjectPublicKeyInfo of the endorsement keys, in the order of the certificates where there are any: who has no
    /// certificate for one may know it by its key.
    pub keys: Vec<Vec<u8>>,
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

/// Refuses a name that no attesting key can have.
///
/// # Errors
/// [`Fault::AttestingKeyName`].
pub(super) fn check_name(name: &str) -> Result<(), Fault> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_');
    if (1..=NAME_LEN).contains(&name.len()) && name.chars().all(fits) {
        Ok(())
    } else {
        Err(Fault::AttestingKeyName { name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for name in ["default", "site-2.backup_key", "a"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", "a/b", "A", "ä", "a b", &"x".repeat(65)] {
            assert!(matches!(check_name(name), Err(Fault::AttestingKeyName { .. })), "{name}");
        }
    }
}
