//! Where revocation lists are to be had, and what one covers (RFC 5280, 4.2.1.13, 5.2.5 and 5.3.3).

use super::general_name::{GeneralName, read_general_names};
use super::{check_room, strict};
use crate::x509::NameView;
use crate::x509::der::{Element, Reader, Tag};
use crate::{Malformed, Reason};

/// CRLDistributionPoints (4.2.1.13), each point as original DER.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrlDistributionPoints {
    points: Vec<Vec<u8>>,
}

impl CrlDistributionPoints {
    /// Reads the contents of extnValue.
    ///
    /// # Errors
    /// [`Malformed`] unless it is a list of at least one SEQUENCE.
    pub fn parse(value: &[u8]) -> Result<Self, Malformed> {
        let element = strict(value, Tag::SEQUENCE, "CRLDistributionPoints")?;
        let mut members = element.reader();
        let mut points = Vec::new();
        while !members.is_empty() {
            check_room(&element, points.len())?;
            points.push(members.expect(Tag::SEQUENCE, "DistributionPoint")?.as_der().to_vec());
        }
        if points.is_empty() {
            return Err(element.error(Reason::Missing("DistributionPoint")));
        }
        Ok(Self { points })
    }

    /// The DER of each point, which [`DistributionPoint::parse`] reads.
    #[must_use]
    pub fn points(&self) -> &[Vec<u8>] {
        &self.points
    }
}

/// DistributionPoint (4.2.1.13).
///
/// ```asn1
/// SEQUENCE { distributionPoint [0] CHOICE { fullName [0] GeneralNames, nameRelativeToCRLIssuer [1] RDN } OPTIONAL,
///            reasons [1] ReasonFlags OPTIONAL, cRLIssuer [2] GeneralNames OPTIONAL }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DistributionPoint {
    /// fullName; empty if absent.
    pub full_names: Vec<GeneralName>,
    /// Whether the point is named relative to its issuer.
    pub is_relative: bool,
    /// Whether its list covers some reasons only.
    pub has_reasons: bool,
    /// cRLIssuer: who issues the list, where that is not the issuer of the certificate; empty if absent.
    pub crl_issuer: Vec<GeneralName>,
}

impl DistributionPoint {
    /// Reads the DER of one point.
    ///
    /// # Errors
    /// [`Malformed`] unless it is that.
    pub fn parse(der: &[u8]) -> Result<Self, Malformed> {
        let element = strict(der, Tag::SEQUENCE, "DistributionPoint")?;
        let mut fields = element.reader();
        let (full_names, is_relative) = read_point_name(&mut fields)?;
        let has_reasons = match fields.optional(Tag::context(1))? {
            None => false,
            Some(flags) => flags.bit_string().map(|_| true)?,
        };
        let crl_issuer = match fields.optional(Tag::context_constructed(2))? {
            None => Vec::new(),
            Some(names) => read_general_names(&names)?,
        };
        fields.finish()?;
        Ok(Self { full_names, is_relative, has_reasons, crl_issuer })
    }
}

/// IssuingDistributionPoint (5.2.5): which certificates a revocation list covers, and for which reasons.
///
/// ```asn1
/// SEQUENCE { distributionPoint [0] DistributionPointName OPTIONAL, onlyContainsUserCerts [1] BOOLEAN DEFAULT FALSE,
///            onlyContainsCACerts [2] BOOLEAN DEFAULT FALSE, onlySomeReasons [3] ReasonFlags OPTIONAL,
///            indirectCRL [4] BOOLEAN DEFAULT FALSE, onlyContainsAttributeCerts [5] BOOLEAN DEFAULT FALSE }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IssuingDistributionPoint {
    /// fullName of the point; empty if absent.
    pub full_names: Vec<GeneralName>,
    /// Whether the point is named relative to its issuer.
    pub is_relative: bool,
    /// onlyContainsUserCerts.
    pub only_user_certificates: bool,
    /// onlyContainsCACerts.
    pub only_ca_certificates: bool,
    /// Whether onlySomeReasons is there.
    pub only_some_reasons: bool,
    /// indirectCRL.
    pub is_indirect: bool,
    /// onlyContainsAttributeCerts.
    pub only_attribute_certificates: bool,
}

impl IssuingDistributionPoint {
    /// Reads the contents of extnValue.
    ///
    /// # Errors
    /// [`Malformed`] unless it is that; a DEFAULT that is written out is refused.
    pub fn parse(value: &[u8]) -> Result<Self, Malformed> {
        let element = strict(value, Tag::SEQUENCE, "IssuingDistributionPoint")?;
        let mut fields = element.reader();
        let (full_names, is_relative) = read_point_name(&mut fields)?;
        let only_user_certificates = read_flag(&mut fields, 1)?;
        let only_ca_certificates = read_flag(&mut fields, 2)?;
        let only_some_reasons = match fields.optional(Tag::context(3))? {
            None => false,
            Some(flags) => flags.bit_string().map(|_| true)?,
        };
        let is_indirect = read_flag(&mut fields, 4)?;
        let only_attribute_certificates = read_flag(&mut fields, 5)?;
        fields.finish()?;
        Ok(Self {
            full_names,
            is_relative,
            only_user_certificates,
            only_ca_certificates,
            only_some_reasons,
            is_indirect,
            only_attribute_certificates,
        })
    }
}

/// Reads the contents of extnValue of certificateIssuer (5.3.3), an entry extension of indirect lists: the
/// directory names among its names.
///
/// # Errors
/// [`Malformed`] unless it is a list of at least one name.
pub fn certificate_issuer(value: &[u8]) -> Result<Vec<NameView>, Malformed> {
    let names = read_general_names(&strict(value, Tag::SEQUENCE, "CertificateIssuer")?)?;
    Ok(names
        .into_iter()
        .filter_map(|name| match name {
            GeneralName::Directory(name) => Some(name),
            GeneralName::Dns(_)
            | GeneralName::Email(_)
            | GeneralName::Ip(_)
            | GeneralName::Other(_)
            | GeneralName::Uri(_) => None,
        })
        .collect())
}

/// An IMPLICIT BOOLEAN DEFAULT FALSE.
fn read_flag(fields: &mut Reader<'_>, number: u8) -> Result<bool, Malformed> {
    match fields.optional(Tag::context(number))? {
        None => Ok(false),
        Some(flag) if flag.contents() == [0xFF] => Ok(true),
        Some(flag) => Err(flag.error(Reason::NotDer("BOOLEAN other than FF where FALSE is the default"))),
    }
}

/// `distributionPoint [0] DistributionPointName OPTIONAL`: its full names, and whether it is relative instead.
fn read_point_name(fields: &mut Reader<'_>) -> Result<(Vec<GeneralName>, bool), Malformed> {
    let Some(tagged) = fields.optional(Tag::context_constructed(0))? else { return Ok((Vec::new(), false)) };
    let mut choice = tagged.reader();
    if choice.is_empty() {
        return Err(tagged.error(Reason::Missing("DistributionPointName")));
    }
    let name: Element<'_> = choice.element()?;
    choice.finish()?;
    if name.tag() == Tag::context_constructed(0) {
        Ok((read_general_names(&name)?, false))
    } else if name.tag() == Tag::context_constructed(1) {
        Ok((Vec::new(), true))
    } else {
        Err(name.error(Reason::Unexpected("DistributionPointName")))
    }
}
