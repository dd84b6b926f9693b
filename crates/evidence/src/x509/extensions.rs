//! The values of certificate extensions (RFC 5280, 4.2, and this project's own), read strictly.
//!
//! Each type reads the contents of one extnValue with `parse`. Lists that must not be empty are refused
//! when they are, and nothing may follow the value.

mod constraints;
mod distribution;
mod general_name;

pub use constraints::{BasicConstraints, CertificatePolicies, NameConstraints, PolicyConstraints};
pub use distribution::{CrlDistributionPoints, DistributionPoint, IssuingDistributionPoint, certificate_issuer};
pub use general_name::{GeneralName, SubjectAltName};

use crate::oid::Oid;
use crate::x509::NameView;
use crate::x509::der::{Element, Reader, Tag};
use crate::{Malformed, Reason, limits};

/// Bits that KeyUsage defines.
pub const KEY_USAGE_BITS: usize = 9;

/// Members of the longest list in an extension that is read.
const LIST_MEMBERS: usize = 256;

/// Refuses a list that has as many members as it may have, before the next is added.
fn check_room(list: &Element<'_>, members: usize) -> Result<(), Malformed> {
    if members < LIST_MEMBERS {
        return Ok(());
    }
    Err(list.error(Reason::OverLimit { what: "members of a list in an extension", limit: LIST_MEMBERS }))
}

/// Reads one element of strict DER and nothing after it.
fn strict<'a>(value: &'a [u8], tag: Tag, production: &'static str) -> Result<Element<'a>, Malformed> {
    let element = Element::parse(value, production)?;
    if element.tag() != tag {
        return Err(element.error(Reason::Unexpected(production)));
    }
    element.check_strict()?;
    Ok(element)
}

/// KeyUsage (4.2.1.3): a named bit list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyUsage {
    bits: u16,
    bit_count: usize,
}

impl KeyUsage {
    /// digitalSignature.
    pub const DIGITAL_SIGNATURE: u16 = 1 << 0;
    /// nonRepudiation (contentCommitment).
    pub const NON_REPUDIATION: u16 = 1 << 1;
    /// keyEncipherment.
    pub const KEY_ENCIPHERMENT: u16 = 1 << 2;
    /// dataEncipherment.
    pub const DATA_ENCIPHERMENT: u16 = 1 << 3;
    /// keyAgreement.
    pub const KEY_AGREEMENT: u16 = 1 << 4;
    /// keyCertSign.
    pub const KEY_CERT_SIGN: u16 = 1 << 5;
    /// cRLSign.
    pub const CRL_SIGN: u16 = 1 << 6;
    /// encipherOnly.
    pub const ENCIPHER_ONLY: u16 = 1 << 7;
    /// decipherOnly.
    pub const DECIPHER_ONLY: u16 = 1 << 8;

    /// The names of the bits, in the order of their numbers.
    pub const NAMES: [&'static str; KEY_USAGE_BITS] = [
        "digitalSignature",
        "nonRepudiation",
        "keyEncipherment",
        "dataEncipherment",
        "keyAgreement",
        "keyCertSign",
        "cRLSign",
        "encipherOnly",
        "decipherOnly",
    ];

    /// A usage of these bits, as a certificate would have it.
    #[must_use]
    pub fn from_bits(bits: u16) -> Self {
        let bits = bits & ((1 << KEY_USAGE_BITS) - 1);
        let unused = usize::try_from(bits.leading_zeros()).unwrap_or(16);
        Self { bits, bit_count: 16_usize.saturating_sub(unused) }
    }

    /// Reads the contents of extnValue. Trailing zero bits are read ([`KeyUsage::bit_count`] tells);
    /// bits beyond the ninth must be zero.
    ///
    /// # Errors
    /// [`Malformed`] unless it is one BIT STRING with at least one bit set.
    pub fn parse(value: &[u8]) -> Result<Self, Malformed> {
        let element = strict(value, Tag::BIT_STRING, "KeyUsage")?;
        let string = element.bit_string()?;
        let mut bits = 0;
        for (index, octet) in string.octets().iter().enumerate() {
            let reversed = u16::from(octet.reverse_bits());
            match index {
                0 => bits |= reversed,
                1 if reversed <= 1 => bits |= reversed << 8,
                _ if reversed == 0 => {}
                _ => return Err(element.error(Reason::BadValue(u64::from(*octet)))),
            }
        }
        if bits == 0 {
            return Err(element.error(Reason::Missing("key usage bit")));
        }
        Ok(Self { bits, bit_count: string.bits() })
    }

    /// The bits that are set; bit n of the list is bit n of the number.
    #[must_use]
    pub const fn bits(self) -> u16 {
        self.bits
    }

    /// Number of bits in the encoding, zeros included.
    #[must_use]
    pub const fn bit_count(self) -> usize {
        self.bit_count
    }

    /// Whether all of `mask` are set.
    #[must_use]
    pub const fn contains(self, mask: u16) -> bool {
        self.bits & mask == mask
    }
}

/// ExtKeyUsageSyntax (4.2.1.12): at least one purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtendedKeyUsage {
    purposes: Vec<Oid>,
}

impl ExtendedKeyUsage {
    /// Reads the contents of extnValue.
    ///
    /// # Errors
    /// [`Malformed`] unless it is a list of at least one purpose, none twice.
    pub fn parse(value: &[u8]) -> Result<Self, Malformed> {
        let element = strict(value, Tag::SEQUENCE, "ExtKeyUsageSyntax")?;
        let mut members = element.reader();
        let mut purposes = Vec::new();
        while !members.is_empty() {
            check_room(&element, purposes.len())?;
            let purpose = members.oid("KeyPurposeId")?;
            if purposes.contains(&purpose) {
                return Err(members.error(Reason::Duplicate("KeyPurposeId")));
            }
            purposes.push(purpose);
        }
        if purposes.is_empty() {
            return Err(element.error(Reason::Missing("KeyPurposeId")));
        }
        Ok(Self { purposes })
    }

    /// The purposes, in order.
    #[must_use]
    pub fn purposes(&self) -> &[Oid] {
        &self.purposes
    }

    /// Whether `purpose` is among them. anyExtendedKeyUsage stands for itself alone.
    #[must_use]
    pub fn contains(&self, purpose: Oid) -> bool {
        self.purposes.contains(&purpose)
    }
}

/// Reads the contents of extnValue of subjectKeyIdentifier (4.2.1.2): the key identifier.
///
/// # Errors
/// [`Malformed`] unless it is one OCTET STRING that is not empty.
pub fn subject_key_identifier(value: &[u8]) -> Result<&[u8], Malformed> {
    non_empty_octets(value, "SubjectKeyIdentifier")
}

/// Reads the contents of extnValue of the nonce extension: an OCTET STRING (itself inside extnValue).
///
/// # Errors
/// [`Malformed`] unless it is one OCTET STRING of [`limits::NONCE_OCTETS_MIN`] to
/// [`limits::NONCE_OCTETS_MAX`] octets.
pub fn nonce(value: &[u8]) -> Result<&[u8], Malformed> {
    let element = strict(value, Tag::OCTET_STRING, "nonce extension")?;
    let length = element.contents().len();
    if (limits::NONCE_OCTETS_MIN..=limits::NONCE_OCTETS_MAX).contains(&length) {
        Ok(element.contents())
    } else {
        Err(element.error(Reason::BadValue(u64::try_from(length).unwrap_or(u64::MAX))))
    }
}

/// Reads the contents of extnValue of the AK Name extension: an OCTET STRING that holds the TPM Name of
/// the AK, which [`crate::tpm`] reads.
///
/// # Errors
/// [`Malformed`] unless it is one OCTET STRING of at most [`limits::TPM_NAME_OCTETS`], not empty.
pub fn ak_name(value: &[u8]) -> Result<&[u8], Malformed> {
    let name = non_empty_octets(value, "AK Name extension")?;
    if name.len() > limits::TPM_NAME_OCTETS {
        let reason = Reason::OverLimit { what: "octets of a Name", limit: limits::TPM_NAME_OCTETS };
        return Err(Malformed::new("AK Name extension", 0, reason));
    }
    Ok(name)
}

/// Reads the contents of extnValue of deviceLink: an OCTET STRING, not empty (two empty links must never
/// be equal).
///
/// # Errors
/// [`Malformed`] unless it is that.
pub fn device_link(value: &[u8]) -> Result<&[u8], Malformed> {
    non_empty_octets(value, "deviceLink extension")
}

fn non_empty_octets<'a>(value: &'a [u8], production: &'static str) -> Result<&'a [u8], Malformed> {
    let element = strict(value, Tag::OCTET_STRING, production)?;
    if element.contents().is_empty() {
        return Err(element.error(Reason::Missing("contents")));
    }
    Ok(element.contents())
}

/// Reads the contents of extnValue of tcg-tpmaObject: the TPMA_OBJECT of the certified object.
///
/// # Errors
/// [`Malformed`] unless it is one BIT STRING of exactly 32 bits. Reserved bits are the caller's matter.
pub fn tpma_object(value: &[u8]) -> Result<u32, Malformed> {
    let element = strict(value, Tag::BIT_STRING, "tcg-tpmaObject")?;
    let wrong = element.error(Reason::Unexpected("BIT STRING of 32 bits"));
    let octets = element.bit_string()?.whole_octets().ok_or(wrong)?;
    octets.try_into().map(u32::from_be_bytes).map_err(|_| wrong)
}

/// AuthorityKeyIdentifier (4.2.1.1).
///
/// ```asn1
/// SEQUENCE { keyIdentifier [0] OCTET STRING OPTIONAL, authorityCertIssuer [1] GeneralNames OPTIONAL,
///            authorityCertSerialNumber [2] INTEGER OPTIONAL }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityKeyIdentifier {
    key_identifier: Option<Vec<u8>>,
    issuer: Vec<GeneralName>,
    serial: Option<Vec<u8>>,
}

impl AuthorityKeyIdentifier {
    /// Reads the contents of extnValue.
    ///
    /// # Errors
    /// [`Malformed`] unless it is that.
    pub fn parse(value: &[u8]) -> Result<Self, Malformed> {
        let element = strict(value, Tag::SEQUENCE, "AuthorityKeyIdentifier")?;
        let mut fields = element.reader();
        let key_identifier = fields.optional(Tag::context(0))?.map(|field| field.contents().to_vec());
        let issuer = match fields.optional(Tag::context_constructed(1))? {
            None => Vec::new(),
            Some(names) => general_name::read_general_names(&names)?,
        };
        let serial = match fields.optional(Tag::context(2))? {
            None => None,
            Some(number) => Some(number.integer()?.to_vec()),
        };
        fields.finish()?;
        Ok(Self { key_identifier, issuer, serial })
    }

    /// The key identifier.
    #[must_use]
    pub fn key_identifier(&self) -> Option<&[u8]> {
        self.key_identifier.as_deref()
    }

    /// The names of the issuer of the issuer's certificate; empty if absent.
    #[must_use]
    pub fn issuer(&self) -> &[GeneralName] {
        &self.issuer
    }

    /// The content octets of the serial number of the issuer's certificate.
    #[must_use]
    pub fn serial(&self) -> Option<&[u8]> {
        self.serial.as_deref()
    }
}

/// Reads the directory name inside an explicit tag.
fn read_directory_name(tagged: &Element<'_>) -> Result<NameView, Malformed> {
    let mut inner: Reader<'_> = tagged.reader();
    let name = inner.expect(Tag::SEQUENCE, "directoryName")?;
    inner.finish()?;
    NameView::from_element(&name)
}
