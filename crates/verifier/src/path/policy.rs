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

#[cfg(test)]
mod tests {
    use vouchsafe_evidence::oid::{self, Oid};

    use super::{PolicyExtensions, PolicyState, mappings};

    const A: Oid = oid::ENVIRONMENT_MODULE;
    const B: Oid = oid::ENVIRONMENT_HOST;
    const ANY: Oid = oid::ANY_POLICY;

    fn policies(policies: &[Oid]) -> PolicyExtensions {
        PolicyExtensions { policies: Some(policies.iter().copied().collect()), ..PolicyExtensions::default() }
    }

    fn explicit(count: u64, extensions: PolicyExtensions) -> PolicyExtensions {
        PolicyExtensions { require_explicit: Some(count), ..extensions }
    }

    fn inhibit_any(count: u64, extensions: PolicyExtensions) -> PolicyExtensions {
        PolicyExtensions { inhibit_any: Some(count), ..extensions }
    }

    fn inhibit_mapping(count: u64, extensions: PolicyExtensions) -> PolicyExtensions {
        PolicyExtensions { inhibit_mapping: Some(count), ..extensions }
    }

    fn mapped(from: Oid, to: Oid, extensions: PolicyExtensions) -> PolicyExtensions {
        PolicyExtensions { mappings: vec![(from, to)], ..extensions }
    }

    /// Whether a path of these CAs, each with whether it is self-issued, and this last certificate is valid.
    fn is_valid(cas: &[(PolicyExtensions, bool)], last: &PolicyExtensions) -> bool {
        let mut state = PolicyState::new();
        for (extensions, is_self_issued) in cas {
            let after = state.after(extensions, *is_self_issued, false);
            if after.is_exhausted() {
                return false;
            }
            state = after.beneath(extensions, *is_self_issued);
        }
        !state.after(last, false, true).concluded(last).is_exhausted()
    }

    #[test]
    fn a_demanded_policy_must_be_left_at_the_end() {
        let none = PolicyExtensions::default;
        let demand = |extensions| explicit(0, extensions);
        for (index, (cas, last, valid)) in [
            // Nobody demands anything.
            (vec![(none(), false)], none(), true),
            (vec![(policies(&[A]), false)], policies(&[B]), true),
            // Somebody does.
            (vec![(demand(policies(&[A])), false)], policies(&[A]), true),
            (vec![(demand(policies(&[A])), false)], policies(&[B]), false),
            (vec![(demand(policies(&[A])), false)], none(), false),
            (vec![(demand(none()), false)], policies(&[A]), false),
            (vec![(demand(policies(&[A, B])), false)], policies(&[B]), true),
            (vec![(policies(&[A]), false), (demand(policies(&[B])), false)], policies(&[B]), false),
            // The last certificate itself, and a demand that begins later.
            (vec![(none(), false)], explicit(0, none()), false),
            (vec![(policies(&[A]), false)], explicit(0, policies(&[A])), true),
            (vec![(policies(&[A]), false)], explicit(1, policies(&[B])), true),
            (vec![(explicit(1, policies(&[A])), false)], policies(&[B]), false),
            (vec![(explicit(2, policies(&[A])), false)], policies(&[B]), true),
            (vec![(explicit(2, policies(&[A])), false), (none(), false)], policies(&[B]), false),
            (vec![(explicit(2, policies(&[A])), false), (policies(&[A]), true)], policies(&[B]), true),
            (vec![(explicit(2, policies(&[A])), false), (policies(&[A]), false)], policies(&[B]), false),
            (vec![(explicit(0, policies(&[A])), false), (explicit(9, policies(&[A])), false)], policies(&[B]), false),
            // anyPolicy, and that it ends.
            (vec![(demand(policies(&[ANY])), false)], policies(&[A]), true),
            (vec![(demand(policies(&[A])), false)], policies(&[ANY]), true),
            (vec![(demand(inhibit_any(0, policies(&[A]))), false)], policies(&[ANY]), false),
            (vec![(demand(inhibit_any(0, policies(&[A]))), false)], policies(&[ANY, A]), true),
            (vec![(demand(inhibit_any(1, policies(&[A]))), false)], policies(&[ANY]), true),
            (vec![(demand(inhibit_any(1, policies(&[A]))), false), (policies(&[A]), false)], policies(&[ANY]), false),
            (vec![(demand(inhibit_any(0, policies(&[A]))), false), (policies(&[ANY]), true)], policies(&[A]), true),
            (vec![(demand(inhibit_any(0, policies(&[A]))), false), (policies(&[ANY]), false)], policies(&[A]), false),
            // Mappings, and that they end.
            (vec![(demand(mapped(A, B, policies(&[A]))), false)], policies(&[B]), true),
            (vec![(demand(mapped(A, B, policies(&[A]))), false)], policies(&[A]), false),
            (vec![(demand(mapped(A, B, policies(&[ANY]))), false)], policies(&[B]), true),
            (vec![(demand(mapped(B, A, policies(&[A]))), false)], policies(&[A]), true),
            (
                vec![(demand(inhibit_mapping(0, policies(&[A]))), false), (mapped(A, B, policies(&[A])), false)],
                policies(&[B]),
                false,
            ),
            (
                vec![(demand(inhibit_mapping(1, policies(&[A]))), false), (mapped(A, B, policies(&[A])), true)],
                policies(&[B]),
                true,
            ),
        ]
        .iter()
        .enumerate()
        {
            assert_eq!(is_valid(cas, last), *valid, "case {index}");
        }
    }

    #[test]
    fn mappings_are_pairs_without_any_policy() {
        let pair = [0x30, 0x0A, 0x06, 0x03, 0x55, 0x04, 0x03, 0x06, 0x03, 0x55, 0x04, 0x04];
        let list = [&[0x30, 0x0C][..], &pair].concat();
        assert_eq!(mappings(&list).unwrap(), [(oid::COMMON_NAME, oid::SURNAME)]);
        let any = [0x30, 0x0D, 0x30, 0x0B, 0x06, 0x04, 0x55, 0x1D, 0x20, 0x00, 0x06, 0x03, 0x55, 0x04, 0x04];
        assert!(mappings(&any).is_err());
        assert!(mappings(&[0x30, 0x00]).is_err());
        assert!(mappings(&[&list[..], &[0x05, 0x00]].concat()).is_err());
        assert!(mappings(&[0x30, 0x07, 0x30, 0x05, 0x06, 0x03, 0x55, 0x04, 0x03]).is_err());
    }
}
