//! The words in which a policy says what it asks.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::claims::Source;

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

impl Stance {
    pub(super) const fn accept() -> Self {
        Self::Accept
    }

    pub(super) const fn reject() -> Self {
        Self::Reject
    }
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

/// What is made of an advisory that concerns the evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AdvisoryStance {
    /// A violation.
    Reject,
    /// The verdict names it and is not changed by it.
    Report,
}

/// What is asked about known flaws of modules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdvisoryDemand {
    /// Flaws that the key itself shows, such as the fingerprint of ROCA.
    pub keys: AdvisoryStance,
    /// Flaws that modules of this vendor, model and firmware are known to have.
    pub modules: AdvisoryStance,
}

impl Default for AdvisoryDemand {
    fn default() -> Self {
        Self { keys: AdvisoryStance::Reject, modules: AdvisoryStance::Report }
    }
}

/// On whose word claims may rest that rules ask for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Sources {
    /// A maker's promise for its format.
    pub implied: Word,
    /// An attestation key that host software drives.
    pub host_asserted: Word,
}

impl Default for Sources {
    fn default() -> Self {
        Self { implied: Word::Stance(Stance::Accept), host_asserted: Word::Stance(Stance::Reject) }
    }
}

/// Whether somebody's word is taken: always, never, or for the claims that are named, as in `key.extractable`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(crate) enum Word {
    /// Always or never.
    Stance(Stance),
    /// For these.
    Named(BTreeSet<String>),
}

impl Word {
    fn is_taken_for(&self, claim: &str) -> bool {
        match self {
            Self::Stance(Stance::Accept) => true,
            Self::Stance(Stance::Reject) => false,
            Self::Named(claims) => claims.contains(claim),
        }
    }

    /// The claims that are named.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let named = match self {
            Self::Stance(_) => None,
            Self::Named(claims) => Some(claims),
        };
        named.into_iter().flatten().map(String::as_str)
    }
}

impl Sources {
    /// Whether a claim such as `key.extractable` may rest on this.
    pub fn suffices(&self, source: Source, claim: &str) -> bool {
        match source {
            Source::Signed | Source::Endorsed => true,
            Source::Implied => self.implied.is_taken_for(claim),
            Source::HostAsserted => self.host_asserted.is_taken_for(claim),
        }
    }
}
