//! Appraisal policy: what the one who relies on a verdict wants to be true.

use std::collections::BTreeMap;

use serde::Deserialize;
use thiserror::Error;
use vouchsafe_evidence::tpm::HashAlg;

/// What is asked of the platform statement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PlatformDemand {
    /// Platform statements are passed over and reported as skipped.
    Ignored,
    /// None is needed, but one that is there must be valid and bound.
    #[default]
    Optional,
    /// One must be there, valid and bound.
    Required,
}

/// What is asked of freshness.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NonceDemand {
    /// A nonce that is given must be answered; none need be given. Evidence may then be of any age.
    #[default]
    Optional,
    /// A nonce must be given and answered.
    Required,
}

/// Whether a permissive choice is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stance {
    /// Taken as good.
    Accept,
    /// A violation.
    Reject,
}

/// What is made of a revocation list that speaks for certificates of other issuers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IndirectStance {
    /// As if it were not there.
    AcceptAsMissing,
    /// A violation.
    Reject,
}

/// What is asked of the revocation of certificates. Whatever a list says is revoked is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RevocationDemand {
    /// Certificates about which no list says anything.
    pub missing: Stance,
    /// Certificates about which only lists that are not current say anything.
    pub stale: Stance,
    /// Certificates whose revocation is another issuer's to list (RFC 5280, 5.2.5: indirect lists).
    pub indirect: IndirectStance,
}

impl Default for RevocationDemand {
    fn default() -> Self {
        Self { missing: Stance::Accept, stale: Stance::Reject, indirect: IndirectStance::Reject }
    }
}

/// PCR values that a good platform has, by bank and register.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReferenceValues {
    registers: BTreeMap<(HashAlg, u8), Vec<u8>>,
}

impl ReferenceValues {
    /// No references: values are then reported as recorded, never as good.
    #[must_use]
    pub const fn none() -> Self {
        Self { registers: BTreeMap::new() }
    }

    /// Adds the good value of one register.
    ///
    /// # Errors
    /// [`PolicyError::PcrLength`] when the value is not as long as the bank's digest.
    pub fn insert(&mut self, bank: HashAlg, index: u8, value: &[u8]) -> Result<(), PolicyError> {
        if value.len() != bank.digest_len() {
            return Err(PolicyError::PcrLength {
                bank: bank.label(),
                index,
                expected: bank.digest_len(),
                found: value.len(),
            });
        }
        self.registers.insert((bank, index), value.to_vec());
        Ok(())
    }

    /// Every register with its good value.
    pub fn iter(&self) -> impl Iterator<Item = (HashAlg, u8, &[u8])> {
        self.registers.iter().map(|((bank, index), value)| (*bank, *index, value.as_slice()))
    }

    /// The good value of one register.
    #[must_use]
    pub fn value(&self, bank: HashAlg, index: u8) -> Option<&[u8]> {
        self.registers.get(&(bank, index)).map(Vec::as_slice)
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.registers.is_empty()
    }
}

/// A policy, checked when it was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    name: String,
    platform: PlatformDemand,
    nonce: NonceDemand,
    extension_only: Stance,
    virtual_module: Stance,
    revocation: RevocationDemand,
    pcr_selection: Vec<(HashAlg, Vec<u8>)>,
    references: ReferenceValues,
}

/// A policy file as it is written. Unknown keys are refused: a misspelt rule must not be no rule.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyFile {
    name: String,
    #[serde(default)]
    platform: PlatformDemand,
    #[serde(default)]
    nonce: NonceDemand,
    #[serde(default = "accept")]
    attributes_extension_only: Stance,
    #[serde(default = "accept")]
    virtual_module: Stance,
    #[serde(default)]
    revocation: RevocationDemand,
    #[serde(default)]
    pcr_selection: BTreeMap<String, Vec<u8>>,
    #[serde(default)]
    pcr_reference: BTreeMap<String, BTreeMap<String, String>>,
}

const fn accept() -> Stance {
    Stance::Accept
}

/// Policies that come with the program.
const SHIPPED: [&str; 1] = [include_str!("policy/default.toml")];
/// The highest PCR of a PC client TPM (TCG PC Client Platform TPM Profile).
const PCR_MAX: u8 = 23;

/// A policy file that cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PolicyError {
    /// A PCR value that is not hexadecimal.
    #[error("pcr_reference.{bank}.{index} is not hexadecimal")]
    PcrHex {
        /// The bank.
        bank: String,
        /// The register.
        index: String,
    },
    /// A PCR number that does not exist.
    #[error("{bank} names PCR {index}; PCRs are 0 to {PCR_MAX}")]
    PcrIndex {
        /// The bank.
        bank: String,
        /// The number.
        index: String,
    },
    /// A PCR value of the wrong length.
    #[error("the reference of PCR {index} in bank {bank} has {found} octets, not {expected}")]
    PcrLength {
        /// The bank.
        bank: &'static str,
        /// The register.
        index: u8,
        /// Octets of the bank's digests.
        expected: usize,
        /// Octets found.
        found: usize,
    },
    /// Not TOML, or not a policy.
    #[error("{0}")]
    Toml(String),
    /// A PCR bank that is not known.
    #[error("unknown PCR bank {0:?}; known are sha256, sha384 and sha512")]
    UnknownBank(String),
}

impl Policy {
    /// The policy of this name among those that come with the program.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        SHIPPED.iter().filter_map(|text| Self::from_toml(text).ok()).find(|policy| policy.name == name)
    }

    /// The names of the policies that come with the program.
    #[must_use]
    pub fn shipped_names() -> Vec<String> {
        SHIPPED.iter().filter_map(|text| Self::from_toml(text).ok()).map(|policy| policy.name).collect()
    }

    /// Reads and checks a policy file.
    ///
    /// # Errors
    /// [`PolicyError`] naming the key and what it may be.
    pub fn from_toml(text: &str) -> Result<Self, PolicyError> {
        let file: PolicyFile = toml::from_str(text).map_err(|e| PolicyError::Toml(e.to_string()))?;
        let mut pcr_selection = Vec::new();
        for (bank, indices) in file.pcr_selection {
            let hash = strong_bank(&bank)?;
            if let Some(index) = indices.iter().find(|index| **index > PCR_MAX) {
                return Err(PolicyError::PcrIndex { bank, index: index.to_string() });
            }
            pcr_selection.push((hash, indices));
        }
        let mut references = ReferenceValues::none();
        for (bank, registers) in file.pcr_reference {
            let hash = strong_bank(&bank)?;
            for (index, value) in registers {
                let number = index
                    .parse()
                    .ok()
                    .filter(|number| *number <= PCR_MAX)
                    .ok_or_else(|| PolicyError::PcrIndex { bank: bank.clone(), index: index.clone() })?;
                let octets =
                    crate::hex::decode(&value).ok_or_else(|| PolicyError::PcrHex { bank: bank.clone(), index })?;
                references.insert(hash, number, &octets)?;
            }
        }
        Ok(Self {
            name: file.name,
            platform: file.platform,
            nonce: file.nonce,
            extension_only: file.attributes_extension_only,
            virtual_module: file.virtual_module,
            revocation: file.revocation,
            pcr_selection,
            references,
        })
    }

    /// Its name, which every verdict repeats.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it asks of the platform statement.
    #[must_use]
    pub const fn platform(&self) -> PlatformDemand {
        self.platform
    }

    /// What it asks of freshness.
    #[must_use]
    pub const fn nonce(&self) -> NonceDemand {
        self.nonce
    }

    /// Whether a key's attributes may come from a TPM-made certificate's extension alone.
    #[must_use]
    pub const fn extension_only(&self) -> Stance {
        self.extension_only
    }

    /// Whether software and virtual TPMs are taken.
    #[must_use]
    pub const fn virtual_module(&self) -> Stance {
        self.virtual_module
    }

    /// What it asks of the revocation of certificates.
    #[must_use]
    pub const fn revocation(&self) -> RevocationDemand {
        self.revocation
    }

    /// The registers that a quote must cover, by bank.
    #[must_use]
    pub fn pcr_selection(&self) -> &[(HashAlg, Vec<u8>)] {
        &self.pcr_selection
    }

    /// The registers' reference values.
    #[must_use]
    pub const fn references(&self) -> &ReferenceValues {
        &self.references
    }
}

/// The bank of this name, if quotes over it are accepted at all.
fn strong_bank(label: &str) -> Result<HashAlg, PolicyError> {
    HashAlg::from_label(label).filter(|hash| hash.is_strong()).ok_or_else(|| PolicyError::UnknownBank(label.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_policy_is_shipped() {
        let policy = Policy::named("default").unwrap();
        assert_eq!(policy.platform(), PlatformDemand::Optional);
        assert_eq!(policy.nonce(), NonceDemand::Optional);
        assert_eq!(policy.revocation(), RevocationDemand::default());
        assert_eq!(Policy::shipped_names().len(), SHIPPED.len(), "a shipped policy does not parse");
    }

    #[test]
    fn a_misspelt_rule_is_refused() {
        let error = Policy::from_toml("name = 'x'\nplatfrom = 'required'").unwrap_err();
        assert!(error.to_string().contains("platfrom"), "{error}");
    }

    #[test]
    fn revocation_is_asked_for_rule_by_rule() {
        let revocation = |text: &str| Policy::from_toml(text).map(|policy| policy.revocation());
        let rules = "name = 'x'\n[revocation]\nmissing = 'reject'\nindirect = 'accept-as-missing'";
        let expected = RevocationDemand {
            missing: Stance::Reject,
            stale: Stance::Reject,
            indirect: IndirectStance::AcceptAsMissing,
        };
        assert_eq!(revocation(rules), Ok(expected));
        assert!(revocation("name = 'x'\n[revocation]\nmising = 'reject'").is_err());
        assert!(revocation("name = 'x'\n[revocation]\nindirect = 'accept'").is_err());
    }

    #[test]
    fn pcr_references_are_checked() {
        let text = "name = 'x'\n[pcr_reference.sha256]\n7 = 'ab'";
        assert_eq!(
            Policy::from_toml(text),
            Err(PolicyError::PcrLength { bank: "sha256", index: 7, expected: 32, found: 1 })
        );
        assert!(matches!(
            Policy::from_toml("name = 'x'\n[pcr_selection]\nsha1 = [0]"),
            Err(PolicyError::UnknownBank(_))
        ));
        assert!(matches!(
            Policy::from_toml("name = 'x'\n[pcr_selection]\nsha256 = [24]"),
            Err(PolicyError::PcrIndex { .. })
        ));
    }
}
