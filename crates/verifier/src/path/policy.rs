//! Certificate policies along a path (RFC 5280, section 6.1, items d to f of the basic processing).
//!
//! Nobody here asks for a certain policy, so the tree of RFC 5280 is needed for one answer alone: whether
//! anything is left in it when a CA demands an acceptable policy. That is so exactly if some policy is still
//! expected at its deepest level, hence a set of expected policies takes the place of the tree.

use std::collections::BTreeSet;

use vouchsafe_evidence::oid::{self, Oid};
use vouchsafe_evidence::x509::CertView;
use vouchsafe_evidence::x509::der::Reader;
use vouchsafe_evidence::x509::extensions::{CertificatePolicies, PolicyConstraints};
use vouchsafe_evidence::{Malformed, Reason};

/// The policy extensions of one certificate.
#[derive(Clone, Debug, Default)]
pub(super) struct PolicyExtensions {
    policies: Option<BTreeSet<Oid>>,
    mappings: Vec<(Oid, Oid)>,
    require_explicit: Option<u64>,
    inhibit_mapping: Option<u64>,
    inhibit_any: Option<u64>,
}

/// What the certificates above leave open.
#[derive(Clone, Debug)]
pub(super) struct PolicyState {
    expected: BTreeSet<Oid>,
    /// Certificates after which an acceptable policy is demanded; `None`: never.
    explicit: Option<u64>,
    mapping: Option<u64>,
    any: Option<u64>,
}

impl PolicyExtensions {
    /// Reads the policy extensions of `certificate`; that none is there twice was checked before.
    pub(super) fn read(certificate: &CertView) -> Result<Self, Malformed> {
        let mut read = Self::default();
        for extension in certificate.extensions() {
            let value = extension.value();
            match extension.oid() {
                oid::CERTIFICATE_POLICIES => {
                    read.policies = Some(CertificatePolicies::parse(value)?.policies().iter().copied().collect())
                }
                oid::POLICY_MAPPINGS => read.mappings = mappings(value)?,
                oid::POLICY_CONSTRAINTS => {
                    let constraints = PolicyConstraints::parse(value)?;
                    read.require_explicit = constraints.require_explicit_policy;
                    read.inhibit_mapping = constraints.inhibit_policy_mapping;
                }
                oid::INHIBIT_ANY_POLICY => {
                    read.inhibit_any = Some(PolicyConstraints::parse_inhibit_any_policy(value)?);
                }
                _ => {}
            }
        }
        Ok(read)
    }
}

impl PolicyState {
    /// The state at a trust anchor: any policy will do, none is demanded.
    pub(super) fn new() -> Self {
        Self { expected: BTreeSet::from([oid::ANY_POLICY]), explicit: None, mapping: None, any: None }
    }

    /// The state after the policies of one more certificate (6.1.3 d, e).
    pub(super) fn after(&self, extensions: &PolicyExtensions, is_self_issued: bool, is_last: bool) -> Self {
        let mut state = self.clone();
        state.expected = match &extensions.policies {
            None => BTreeSet::new(),
            Some(policies) => {
                let any_counts = self.any != Some(0) || (is_self_issued && !is_last);
                let keeps_all = any_counts && policies.contains(&oid::ANY_POLICY);
                let all_expected = self.expected.contains(&oid::ANY_POLICY);
                let mut expected: BTreeSet<Oid> = if all_expected {
                    policies.iter().copied().filter(|policy| *policy != oid::ANY_POLICY).collect()
                } else {
                    policies.intersection(&self.expected).copied().collect()
                };
                if keeps_all {
                    expected.extend(self.expected.iter().copied());
                }
                expected
            }
        };
        state
    }

    /// Whether a policy is demanded and none is left (6.1.3 f).
    pub(super) fn is_exhausted(&self) -> bool {
        self.explicit == Some(0) && self.expected.is_empty()
    }

    /// The state for the certificates beneath a CA (6.1.4 b, h to j).
    pub(super) fn beneath(mut self, extensions: &PolicyExtensions, is_self_issued: bool) -> Self {
        self.map(&extensions.mappings);
        if !is_self_issued {
            self.explicit = self.explicit.map(|count| count.saturating_sub(1));
            self.mapping = self.mapping.map(|count| count.saturating_sub(1));
            self.any = self.any.map(|count| count.saturating_sub(1));
        }
        self.explicit = tighter(self.explicit, extensions.require_explicit);
        self.mapping = tighter(self.mapping, extensions.inhibit_mapping);
        self.any = tighter(self.any, extensions.inhibit_any);
        self
    }

    /// The state after the last certificate (6.1.5 a, b).
    pub(super) fn concluded(mut self, extensions: &PolicyExtensions) -> Self {
        self.explicit = self.explicit.map(|count| count.saturating_sub(1));
        if extensions.require_explicit == Some(0) {
            self.explicit = Some(0);
        }
        self
    }

    fn map(&mut self, mappings: &[(Oid, Oid)]) {
        let inhibited = self.mapping == Some(0);
        let before = self.expected.clone();
        let any = before.contains(&oid::ANY_POLICY);
        for (issuer, _) in mappings {
            self.expected.remove(issuer);
        }
        if !inhibited {
            let reached = |issuer: &Oid| any || before.contains(issuer);
            self.expected.extend(mappings.iter().filter(|(issuer, _)| reached(issuer)).map(|(_, subject)| *subject));
        }
    }
}

fn tighter(own: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (own, other) {
        (Some(own), Some(other)) => Some(own.min(other)),
        (own, other) => own.or(other),
    }
}

fn mappings(value: &[u8]) -> Result<Vec<(Oid, Oid)>, Malformed> {
    let mut reader = Reader::new(value, "PolicyMappings");
    let mut list = reader.sequence("PolicyMappings")?;
    reader.finish()?;
    let mut mappings = Vec::new();
    let empty = list.error(Reason::Missing("policy mapping"));
    while !list.is_empty() {
        // RFC 5280, section 6.1.4(a): nothing is mapped to or from anyPolicy.
        let any = list.error(Reason::Unexpected("policies other than anyPolicy"));
        let mut pair = list.sequence("policy mapping")?;
        let (issuer, subject) = (pair.oid("issuerDomainPolicy")?, pair.oid("subjectDomainPolicy")?);
        pair.finish()?;
        if issuer == oid::ANY_POLICY || subject == oid::ANY_POLICY {
            return Err(any);
        }
        mappings.push((issuer, subject));
    }
    if mappings.is_empty() { Err(empty) } else { Ok(mappings) }
}
