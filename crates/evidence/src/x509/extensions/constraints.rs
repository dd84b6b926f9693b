//! BasicConstraints, NameConstraints, policies (RFC 5280, 4.2.1.4, 4.2.1.9 to 4.2.1.11).

use super::general_name::GeneralName;
use super::{check_room, strict};
use crate::oid::Oid;
use crate::x509::der::{Element, Reader, Tag};
use crate::{Malformed, Reason};

/// BasicConstraints (4.2.1.9).
///
/// ```asn1
/// SEQUENCE { cA BOOLEAN DEFAULT FALSE, pathLenConstraint INTEGER (0..MAX) OPTIONAL }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BasicConstraints {
    /// Whether the subject is a certification authority.
    pub ca: bool,
    /// How many intermediate certificates that are not self-issued may follow.
    pub path_length: Option<u64>,
}

impl BasicConstraints {
    /// Reads the contents of extnValue. A cA of FALSE that is written out is read; the certificate's
    /// quirks tell.
    ///
    /// # Errors
    /// [`Malformed`] unless it is that, and unless cA is TRUE where a path length is given.
    pub fn parse(value: &[u8]) -> Result<Self, Malformed> {
        let element = strict(value, Tag::SEQUENCE, "BasicConstraints")?;
        let mut fields = element.reader();
        let ca = match fields.optional(Tag::BOOLEAN)? {
            None => false,
            Some(flag) => flag.boolean()?,
        };
        let path_length = if fields.is_empty() { None } else { Some(fields.uint("pathLenConstraint")?) };
        fields.finish()?;
        if path_length.is_some() && !ca {
            return Err(element.error(Reason::Unexpected("cA TRUE beside a path length")));
        }
        Ok(Self { ca, path_length })
    }
}

/// NameConstraints (4.2.1.10), each base with minimum 0 and no maximum, as RFC 5280 demands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameConstraints {
    /// permittedSubtrees; empty if absent.
    pub permitted: Vec<GeneralName>,
    /// excludedSubtrees; empty if absent.
    pub excluded: Vec<GeneralName>,
}

impl NameConstraints {
    /// Reads the contents of extnValue.
    ///
    /// # Errors
    /// [`Malformed`] unless it is that: both lists absent, a list that is empty, a minimum or a maximum.
    pub fn parse(value: &[u8]) -> Result<Self, Malformed> {
        let element = strict(value, Tag::SEQUENCE, "NameConstraints")?;
        let mut fields = element.reader();
        let mut subtrees = |number| match fields.optional(Tag::context_constructed(number))? {
            None => Ok(Vec::new()),
            Some(list) => read_subtrees(&list),
        };
        let (permitted, excluded) = (subtrees(0)?, subtrees(1)?);
        fields.finish()?;
        if permitted.is_empty() && excluded.is_empty() {
            return Err(element.error(Reason::Missing("subtree")));
        }
        Ok(Self { permitted, excluded })
    }
}

fn read_subtrees(list: &Element<'_>) -> Result<Vec<GeneralName>, Malformed> {
    let mut members = list.reader();
    let mut bases = Vec::new();
    while !members.is_empty() {
        check_room(list, bases.len())?;
        let mut fields = members.sequence("GeneralSubtree")?;
        if fields.is_empty() {
            return Err(fields.error(Reason::Missing("base")));
        }
        bases.push(GeneralName::from_element(&fields.element()?)?);
        fields.finish()?;
    }
    if bases.is_empty() { Err(list.error(Reason::Missing("GeneralSubtree"))) } else { Ok(bases) }
}

/// CertificatePolicies (4.2.1.4): the identifiers; qualifiers are not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificatePolicies {
    policies: Vec<Oid>,
}

impl CertificatePolicies {
    /// Reads the contents of extnValue.
    ///
    /// # Errors
    /// [`Malformed`] unless it is a list of at least one policy, none twice.
    pub fn parse(value: &[u8]) -> Result<Self, Malformed> {
        let element = strict(value, Tag::SEQUENCE, "CertificatePolicies")?;
        let mut members = element.reader();
        let mut policies = Vec::new();
        while !members.is_empty() {
            check_room(&element, policies.len())?;
            let mut fields = members.sequence("PolicyInformation")?;
            let policy = fields.oid("policyIdentifier")?;
            if let Some(qualifiers) = fields.optional(Tag::SEQUENCE)?
                && qualifiers.contents().is_empty()
            {
                return Err(qualifiers.error(Reason::Missing("PolicyQualifierInfo")));
            }
            fields.finish()?;
            if policies.contains(&policy) {
                return Err(members.error(Reason::Duplicate("policyIdentifier")));
            }
            policies.push(policy);
        }
        if policies.is_empty() {
            return Err(element.error(Reason::Missing("PolicyInformation")));
        }
        Ok(Self { policies })
    }

    /// The policies, in order.
    #[must_use]
    pub fn policies(&self) -> &[Oid] {
        &self.policies
    }
}

/// PolicyConstraints (4.2.1.11): how many further certificates may follow before the rule holds.
///
/// ```asn1
/// SEQUENCE { requireExplicitPolicy [0] INTEGER OPTIONAL, inhibitPolicyMapping [1] INTEGER OPTIONAL }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyConstraints {
    /// requireExplicitPolicy.
    pub require_explicit_policy: Option<u64>,
    /// inhibitPolicyMapping.
    pub inhibit_policy_mapping: Option<u64>,
}

impl PolicyConstraints {
    /// Reads the contents of extnValue.
    ///
    /// # Errors
    /// [`Malformed`] unless it is that, with at least one of both.
    pub fn parse(value: &[u8]) -> Result<Self, Malformed> {
        let element = strict(value, Tag::SEQUENCE, "PolicyConstraints")?;
        let mut fields = element.reader();
        let mut skip_certs = |number| match fields.optional(Tag::context(number))? {
            None => Ok(None),
            Some(field) => read_skip_certs(&field).map(Some),
        };
        let constraints = Self { require_explicit_policy: skip_certs(0)?, inhibit_policy_mapping: skip_certs(1)? };
        fields.finish()?;
        if constraints.require_explicit_policy.is_none() && constraints.inhibit_policy_mapping.is_none() {
            return Err(element.error(Reason::Missing("policy constraint")));
        }
        Ok(constraints)
    }

    /// Reads the contents of extnValue of inhibitAnyPolicy (4.2.1.14).
    ///
    /// # Errors
    /// [`Malformed`] unless it is one INTEGER that is not negative.
    pub fn parse_inhibit_any_policy(value: &[u8]) -> Result<u64, Malformed> {
        let mut reader = Reader::new(value, "InhibitAnyPolicy");
        let skip_certs = reader.uint("SkipCerts")?;
        reader.finish()?;
        Ok(skip_certs)
    }
}

/// Reads an implicitly tagged SkipCerts.
fn read_skip_certs(field: &Element<'_>) -> Result<u64, Malformed> {
    let octets = field.integer()?;
    match octets.first() {
        Some(first) if first & 0x80 == 0 && octets.len() <= 8 => {
            Ok(octets.iter().fold(0, |value, octet| (value << 8) | u64::from(*octet)))
        }
        _ => Err(field.error(Reason::Unexpected("SkipCerts"))),
    }
}
