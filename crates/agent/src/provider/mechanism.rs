//! Ways to attest: one table that names them all, and what each is asked with.
//!
//! A mechanism is a name with a version and a stability. What a request for it carries stands in a file of its own beside
//! this one; the rest of the service speaks of mechanisms and never of what a particular module signs.

mod activation;
mod certificate_template;
mod evidence_request;

pub use activation::{ActivatedKey, Activation, ActivationParameters};
pub use certificate_template::{CertificateTemplate, KeyUsage, SubjectName};
pub use evidence_request::{
    ClaimSelection, EvidenceRequest, REQUEST_OCTETS, REQUESTED_CLAIMS, RequestFault, RequestForm,
};

use vouchsafe_evidence::limits::{NONCE_OCTETS_MAX, NONCE_OCTETS_MIN};
use vouchsafe_evidence::oid::{self, Oid};

use super::{Family, Fault, Hash};

/// A mechanism's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MechanismName {
    /// `tpm-certify`: TPM2_Certify.
    TpmCertify,
    /// `tpm-certify-x509`: TPM2_CertifyX509.
    TpmCertifyX509,
    /// `tpm-quote`: TPM2_Quote.
    TpmQuote,
    /// `tpm-activate-credential`: TPM2_ActivateCredential, a dialogue that leaves no evidence behind.
    TpmActivateCredential,
    /// `pkix-evidence`: Evidence of draft-ietf-rats-pkix-key-attestation.
    PkixEvidence,
}

impl MechanismName {
    /// Every name, in the order of the table.
    pub const ALL: [Self; 5] =
        [Self::TpmCertify, Self::TpmCertifyX509, Self::TpmActivateCredential, Self::TpmQuote, Self::PkixEvidence];

    /// The name in messages, in the configuration and for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TpmCertify => "tpm-certify",
            Self::TpmCertifyX509 => "tpm-certify-x509",
            Self::TpmQuote => "tpm-quote",
            Self::TpmActivateCredential => "tpm-activate-credential",
            Self::PkixEvidence => "pkix-evidence",
        }
    }

    /// The mechanism of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mechanism| mechanism.as_str() == name)
    }

    /// How settled its messages are.
    #[must_use]
    pub const fn stability(self) -> Stability {
        match self {
            Self::TpmCertify | Self::TpmCertifyX509 | Self::TpmQuote | Self::TpmActivateCredential => Stability::Stable,
            Self::PkixEvidence => Stability::Experimental,
        }
    }

    /// Whether it is served where `enabled` are enabled: stable ones always are, experimental ones where they are named.
    #[must_use]
    pub fn is_served(self, enabled: &[Self]) -> bool {
        match self.stability() {
            Stability::Stable => true,
            Stability::Experimental => enabled.contains(&self),
        }
    }

    /// What an administrator writes to have it served, one sentence without a final period.
    #[must_use]
    pub const fn enabling_step(self) -> &'static str {
        match self {
            Self::TpmCertify => "add enable = [\"tpm-certify\"] under [mechanisms] in agent.toml",
            Self::TpmCertifyX509 => "add enable = [\"tpm-certify-x509\"] under [mechanisms] in agent.toml",
            Self::TpmQuote => "add enable = [\"tpm-quote\"] under [mechanisms] in agent.toml",
            Self::TpmActivateCredential => {
                "add enable = [\"tpm-activate-credential\"] under [mechanisms] in agent.toml"
            }
            Self::PkixEvidence => "add enable = [\"pkix-evidence\"] under [mechanisms] in agent.toml",
        }
    }

    /// Its row of the table for what it attests; `None` where it attests no such thing.
    #[must_use]
    pub fn row(self, subject: AttestationSubject) -> Option<Mechanism> {
        TABLE.into_iter().find(|row| row.name == self && row.subject == subject)
    }
}

impl std::fmt::Display for MechanismName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// What an attestation speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttestationSubject {
    /// A key.
    Key,
    /// The platform.
    Platform,
}

impl AttestationSubject {
    /// The name in messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Platform => "platform",
        }
    }
}

/// How much a mechanism's messages may still change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stability {
    /// May change in any release; offered and served only where the configuration enables it by name.
    Experimental,
    /// Changes only with a new version number.
    Stable,
}

impl Stability {
    /// The name in messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Experimental => "experimental",
            Self::Stable => "stable",
        }
    }
}

/// A way to attest one kind of subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mechanism {
    /// Its name; also that of the format of its statements, where it makes any.
    pub name: MechanismName,
    /// Version of its request and result messages.
    pub version: u32,
    /// How settled they are.
    pub stability: Stability,
    /// What it attests.
    pub subject: AttestationSubject,
    /// The statement's type in an AttestationStatement; `None` for a dialogue that makes no statement.
    pub statement_oid: Option<Oid>,
    /// What the attesting key must be certified for; `None` where no attesting key takes part.
    pub family: Option<Family>,
}

const fn row(
    name: MechanismName,
    subject: AttestationSubject,
    statement_oid: Option<Oid>,
    family: Option<Family>,
) -> Mechanism {
    Mechanism { name, version: 1, stability: name.stability(), subject, statement_oid, family }
}

/// Every mechanism that is known here, those for keys first.
pub const TABLE: [Mechanism; 6] = {
    use AttestationSubject::{Key, Platform};
    [
        row(MechanismName::TpmCertify, Key, Some(oid::STATEMENT_TPM_CERTIFY), Some(Family::Attest)),
        row(MechanismName::TpmCertifyX509, Key, Some(oid::STATEMENT_TPM_CERTIFY_X509), Some(Family::CertifyX509)),
        row(MechanismName::TpmActivateCredential, Key, None, None),
        row(MechanismName::PkixEvidence, Key, Some(oid::STATEMENT_PKIX_EVIDENCE), Some(Family::PkixEvidence)),
        row(MechanismName::TpmQuote, Platform, Some(oid::STATEMENT_TPM_QUOTE), Some(Family::Attest)),
        row(MechanismName::PkixEvidence, Platform, Some(oid::STATEMENT_PKIX_EVIDENCE), Some(Family::PkixEvidence)),
    ]
};

/// How a key is to be attested.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyMechanism {
    /// `tpm-certify`: a structure that names the key. No parameters.
    TpmCertify,
    /// `tpm-certify-x509`: a certificate made by the module.
    TpmCertifyX509(CertificateTemplate),
    /// `pkix-evidence`: claims about the key, and about the platform if asked for.
    PkixEvidence(EvidenceRequest),
}

impl KeyMechanism {
    /// The mechanism's name.
    #[must_use]
    pub const fn name(&self) -> MechanismName {
        match self {
            Self::TpmCertify => MechanismName::TpmCertify,
            Self::TpmCertifyX509(_) => MechanismName::TpmCertifyX509,
            Self::PkixEvidence(_) => MechanismName::PkixEvidence,
        }
    }

    /// What the attesting key must be certified for.
    #[must_use]
    pub const fn family(&self) -> Family {
        match self {
            Self::TpmCertify => Family::Attest,
            Self::TpmCertifyX509(_) => Family::CertifyX509,
            Self::PkixEvidence(_) => Family::PkixEvidence,
        }
    }
}

/// How the platform is to be attested.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlatformMechanism {
    /// `tpm-quote`: platform configuration registers, and with them the module's firmware version, clock and boot counts.
    TpmQuote {
        /// The bank.
        bank: Hash,
        /// Register indices, 0 to 23; any order, duplicates are one.
        indices: Vec<u8>,
    },
    /// `pkix-evidence`: claims about the platform.
    PkixEvidence(EvidenceRequest),
}

impl PlatformMechanism {
    /// The mechanism's name.
    #[must_use]
    pub const fn name(&self) -> MechanismName {
        match self {
            Self::TpmQuote { .. } => MechanismName::TpmQuote,
            Self::PkixEvidence(_) => MechanismName::PkixEvidence,
        }
    }

    /// What the attesting key must be certified for.
    #[must_use]
    pub const fn family(&self) -> Family {
        match self {
            Self::TpmQuote { .. } => Family::Attest,
            Self::PkixEvidence(_) => Family::PkixEvidence,
        }
    }
}

/// A nonce is absent (empty) or 16 to 64 octets.
pub(super) const fn check_nonce(nonce: &[u8]) -> Result<(), Fault> {
    match nonce.len() {
        0 | NONCE_OCTETS_MIN..=NONCE_OCTETS_MAX => Ok(()),
        found => Err(Fault::NonceLength { found }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vouchsafe_evidence::statement::FormatId;

    #[test]
    fn the_table_names_every_mechanism_once_for_each_subject() {
        for name in MechanismName::ALL {
            assert_eq!(MechanismName::from_name(name.as_str()), Some(name));
            assert!(TABLE.iter().any(|row| row.name == name), "{name}");
            assert!(name.enabling_step().contains(&format!("[\"{name}\"]")));
        }
        for row in TABLE {
            let same = TABLE.iter().filter(|other| (other.name, other.subject) == (row.name, row.subject));
            assert_eq!(same.count(), 1, "{}", row.name);
            assert_eq!(row.stability, row.name.stability());
            assert_eq!(row.name.row(row.subject), Some(row));
            // A mechanism that makes statements is called as their format is.
            assert_eq!(row.statement_oid, FormatId::from_id(row.name.as_str()).and_then(FormatId::oid), "{}", row.name);
            assert_eq!(row.statement_oid.is_some(), row.family.is_some(), "{}", row.name);
        }
        assert_eq!(MechanismName::TpmQuote.row(AttestationSubject::Key), None);
        assert_eq!(MechanismName::from_name("tpm-certify "), None);
    }

    #[test]
    fn requests_are_of_the_family_that_the_table_says() {
        let evidence = EvidenceRequest::default;
        let key = [KeyMechanism::TpmCertify, KeyMechanism::PkixEvidence(evidence())];
        for mechanism in key {
            let row = mechanism.name().row(AttestationSubject::Key).unwrap();
            assert_eq!(row.family, Some(mechanism.family()));
        }
        let quote = PlatformMechanism::TpmQuote { bank: Hash::Sha256, indices: vec![0] };
        for mechanism in [quote, PlatformMechanism::PkixEvidence(evidence())] {
            let row = mechanism.name().row(AttestationSubject::Platform).unwrap();
            assert_eq!(row.family, Some(mechanism.family()));
        }
    }

    #[test]
    fn nonces_are_absent_or_16_to_64_octets() {
        for (len, fits) in [(0, true), (1, false), (15, false), (16, true), (64, true), (65, false)] {
            assert_eq!(check_nonce(&vec![0; len]).is_ok(), fits, "{len}");
        }
    }
}
