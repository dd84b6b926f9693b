//! What the certificates of several Yubico products have in common.

use crate::oid::Oid;
use crate::x509::CertView;
use crate::x509::der::{Element, Tag};
use crate::{Malformed, Reason};

/// Most octets of a number in an extension.
const INTEGER_OCTETS: usize = 8;
/// Octets of a firmware version.
const FIRMWARE_OCTETS: usize = 3;

/// A firmware version: major, minor and patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Firmware {
    /// The first number.
    pub major: u8,
    /// The second number.
    pub minor: u8,
    /// The third number.
    pub patch: u8,
}

impl core::fmt::Display for Firmware {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl Firmware {
    /// A version in its three octets.
    pub(super) fn from_octets(octets: &[u8], production: &'static str) -> Result<Self, Malformed> {
        match octets {
            [major, minor, patch] => Ok(Self { major: *major, minor: *minor, patch: *patch }),
            _ => Err(Malformed::new(production, octets.len().min(FIRMWARE_OCTETS), WRONG_FIRMWARE)),
        }
    }
}

const WRONG_FIRMWARE: Reason = Reason::Unexpected("three octets of firmware version");

/// The value of an extension that is there once, if it is there.
pub(super) fn value(certificate: &CertView, oid: Oid) -> Result<Option<&[u8]>, Malformed> {
    Ok(certificate.extension(oid)?.map(|extension| extension.value()))
}

/// The value of an extension that must be there.
pub(super) fn required<'a>(
    certificate: &'a CertView,
    oid: Oid,
    what: &'static str,
    production: &'static str,
) -> Result<&'a [u8], Malformed> {
    value(certificate, oid)?.ok_or_else(|| Malformed::new(production, 0, Reason::Missing(what)))
}

/// Whether any of these extensions is there, once or more often.
pub(super) fn has_any(certificate: &CertView, oids: &[Oid]) -> bool {
    certificate.extensions().any(|extension| oids.contains(&extension.oid()))
}

/// A number in DER that is not negative. Leading zero octets are taken, since firmware writes numbers of fixed width.
pub(super) fn number(value: &[u8], production: &'static str) -> Result<u64, Malformed> {
    let element = Element::parse(value, production)?;
    if element.tag() != Tag::INTEGER {
        return Err(element.error(Reason::Unexpected("INTEGER")));
    }
    let octets = element.contents();
    match octets {
        [] => Err(element.error(Reason::NotDer("INTEGER without contents"))),
        [first, ..] if first & 0x80 != 0 => Err(element.error(Reason::Unexpected("number that is not negative"))),
        _ => {
            let digits = || octets.iter().skip_while(|octet| **octet == 0);
            if digits().count() > INTEGER_OCTETS {
                let reason = Reason::OverLimit { what: "octets of a number", limit: INTEGER_OCTETS };
                return Err(element.error(reason));
            }
            Ok(digits().fold(0, |number, digit| number << 8 | u64::from(*digit)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_firmware_writes_them() {
        for (value, expected) in [
            (&[0x02, 0x01, 0x00][..], Some(0)),
            (&[0x02, 0x03, 0x4F, 0x8D, 0xB1], Some(5_213_617)),
            (&[0x02, 0x04, 0x00, 0xC9, 0x6C, 0x4C], Some(13_200_460)),
            (&[0x02, 0x04, 0x00, 0x00, 0x00, 0x05], Some(5)),
            (&[0x02, 0x08, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], Some(0x7FFF_FFFF_FFFF_FFFF)),
            (&[0x02, 0x01, 0xFF], None),
            (&[0x02, 0x00], None),
            (&[0x04, 0x01, 0x05], None),
            (&[0x02, 0x01, 0x05, 0x00], None),
            (&[0x02, 0x09, 0x01, 0, 0, 0, 0, 0, 0, 0, 0], None),
            (&[], None),
        ] {
            assert_eq!(number(value, "number").ok(), expected, "{value:02x?}");
        }
    }

    #[test]
    fn a_firmware_version_has_three_octets() {
        let version = Firmware::from_octets(&[5, 7, 4], "firmware").unwrap();
        assert_eq!(version.to_string(), "5.7.4");
        for octets in [&[][..], &[5, 7], &[5, 7, 4, 0], &[4, 3, 5, 7, 4]] {
            assert!(Firmware::from_octets(octets, "firmware").is_err(), "{octets:?}");
        }
    }
}
