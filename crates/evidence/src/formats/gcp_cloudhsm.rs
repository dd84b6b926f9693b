//! Key attestations of Google Cloud HSM (Google, "Verifying attestations"; Marvell, "Software key attestation"): the
//! attributes of a key's objects as a LiquidSecurity module of Marvell's (formerly Cavium's) keeps them, signed by the
//! module's partition. Layout CAVIUM_V2, compressed or not.

pub mod attribute;
mod gzip;

use core::ops::Range;

use super::{Offer, OfferedFile, Outline, Recognized, Row, Wrapping};
use crate::input::InputError;
use crate::oid;
use crate::x509::der::Tag;
use crate::x509::{CertView, NamedCurve, PublicKey, SpkiView};
use crate::{Malformed, Reason};

/// What the format is called, how it travels, and how it is recognized.
pub static ROW: Row = Row {
    id: "gcp-cloudhsm",
    title: "Google Cloud HSM key attestation (Marvell LiquidSecurity)",
    statement: oid::STATEMENT_GCP_CLOUDHSM,
    wrapping: Wrapping::OctetString,
    recognize,
    in_request: super::not_in_requests,
    takes_client_data: false,
    outline,
};

/// Octets of one attestation once expanded; that of an RSA-2048 key has 2528.
pub const ATTESTATION_OCTETS: usize = 32 * 1024;
/// Attributes of one object; real ones have about forty.
pub const ATTRIBUTES: usize = 128;
/// Octets of the signature, by the RSA-2048 key of the partition.
const SIGNATURE_OCTETS: usize = 256;
/// Response code, request flags, total size, size of the buffer.
const RESPONSE_HEADER_OCTETS: usize = 16;
/// Version, request flags, offsets of the two objects.
const INFO_HEADER_OCTETS: usize = 8;
/// Handles between the response header and the buffer.
const HANDLES_OCTETS_MAX: usize = 64;
/// The response holds attributes (1) and a signature (2) that covers the header, too (4 would leave it out).
const REQUEST_FLAGS: u32 = 3;
/// An attribute value as a number.
const NUMBER_OCTETS: usize = 8;

const PRODUCTION: &str = "Marvell key attestation";

const PUBLIC_KEY: u64 = 2;
const PRIVATE_KEY: u64 = 3;
const SECRET_KEY: u64 = 4;
const TYPE_RSA: u64 = 0;
const TYPE_EC: u64 = 3;
/// Curves by the numbers that OpenSSL gives them.
const CURVES: [(u64, NamedCurve); 3] = [(415, NamedCurve::P256), (715, NamedCurve::P384), (716, NamedCurve::P521)];

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A public key.
    Public,
    /// A private key.
    Private,
    /// A symmetric key.
    Secret,
}

/// Why octets are no attestation that can be verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Defect {
    /// They do not have the form.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// They are of the older layout, CAVIUM_V1.
    #[error("the layout is CAVIUM_V1")]
    Version1,
    /// They are what Azure Managed HSM gives out.
    #[error("it is an attestation of Azure Managed HSM")]
    Azure,
    /// They are a certificate: modules whose certificates are all that is given out attest no key.
    #[error("there are certificates of a module and no attestation of a key")]
    NoAttestation,
}

/// An attestation.
///
/// ```text
/// response header  u32 response code, u32 request flags, u32 total size, u32 size of the buffer
/// handles          of the objects
/// buffer           u16 version, u16 request flags, u16 offset of the first object, u16 offset of the second or 0,
///                  objects: u32 handle, u32 count, u32 octets, attributes: u32 type, u32 length, value
/// signature        RSASSA-PKCS1-v1_5 with SHA-256 over everything before it
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attestation {
    octets: Vec<u8>,
    objects: Vec<Layout>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Layout {
    class: Class,
    attributes: Vec<(u32, Range<usize>)>,
}

/// One object of an attestation.
#[derive(Clone, Copy, Debug)]
pub struct Object<'a> {
    octets: &'a [u8],
    layout: &'a Layout,
}

impl Attestation {
    /// Reads an attestation, compressed or not.
    ///
    /// # Errors
    /// [`Defect`] unless it is exactly one, in layout CAVIUM_V2, with a signature that covers its header, and within
    /// [`ATTESTATION_OCTETS`] and [`ATTRIBUTES`].
    pub fn parse(input: &[u8]) -> Result<Self, Defect> {
        if is_azure(input) {
            return Err(Defect::Azure);
        }
        if input.first() == Some(&Tag::SEQUENCE.leading_octet()) {
            return Err(Defect::NoAttestation);
        }
        let octets = if input.starts_with(&gzip::MAGIC) {
            gzip::expand(input, ATTESTATION_OCTETS)?
        } else if input.len() > ATTESTATION_OCTETS {
            let reason = Reason::OverLimit { what: "attestation octets", limit: ATTESTATION_OCTETS };
            return Err(Malformed::new(PRODUCTION, 0, reason).into());
        } else {
            input.to_vec()
        };
        match read_objects(&octets) {
            Ok(objects) => Ok(Self { objects, octets }),
            Err(_) if is_version_1(&octets) => Err(Defect::Version1),
            Err(malformed) => Err(malformed.into()),
        }
    }

    /// What the signature covers.
    #[must_use]
    pub fn signed(&self) -> &[u8] {
        self.octets.get(..self.octets.len().saturating_sub(SIGNATURE_OCTETS)).unwrap_or_default()
    }

    /// The signature.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        self.octets.get(self.octets.len().saturating_sub(SIGNATURE_OCTETS)..).unwrap_or_default()
    }

    /// The objects, in their order.
    pub fn objects(&self) -> impl Iterator<Item = Object<'_>> {
        self.objects.iter().map(|layout| Object { octets: &self.octets, layout })
    }
}

impl<'a> Object<'a> {
    /// What it is.
    #[must_use]
    pub const fn class(&self) -> Class {
        self.layout.class
    }

    /// Every attribute, by its number.
    pub fn attributes(&self) -> impl Iterator<Item = (u32, &'a [u8])> + use<'a> {
        let octets = self.octets;
        self.layout.attributes.iter().map(move |(kind, range)| (*kind, octets.get(range.clone()).unwrap_or_default()))
    }

    /// The value of an attribute.
    #[must_use]
    pub fn value(&self, kind: u32) -> Option<&'a [u8]> {
        self.attributes().find(|(found, _)| *found == kind).map(|(_, value)| value)
    }

    /// An attribute that is true or false.
    ///
    /// # Errors
    /// [`Malformed`] where it is there and neither.
    pub fn flag(&self, kind: u32) -> Result<Option<bool>, Malformed> {
        match self.value(kind) {
            None => Ok(None),
            Some([0]) => Ok(Some(false)),
            Some([1]) => Ok(Some(true)),
            Some(_) => Err(Malformed::new(PRODUCTION, 0, Reason::Unexpected("an attribute that is 0 or 1"))),
        }
    }

    /// The text of an attribute, without the zero octets that fill it up; what is no text is left out.
    #[must_use]
    pub fn text(&self, kind: u32) -> Option<&'a str> {
        let text = core::str::from_utf8(self.value(kind)?).ok()?.trim_end_matches('\0');
        if text.is_empty() { None } else { Some(text) }
    }

    /// The public key; `None` for a symmetric key.
    ///
    /// # Errors
    /// [`Malformed`] for key types and curves that are not known, and for keys that are none.
    pub fn spki(&self) -> Result<Option<SpkiView>, Malformed> {
        let error = |what| Malformed::new(PRODUCTION, 0, what);
        if self.class() == Class::Secret {
            return Ok(None);
        }
        let value = |kind, name| self.value(kind).ok_or_else(|| error(Reason::Missing(name)));
        let point_or_modulus = value(attribute::MODULUS, "modulus or point")?;
        match number(value(attribute::KEY_TYPE, "key type")?) {
            Some(TYPE_RSA) => {
                let exponent = value(attribute::PUBLIC_EXPONENT, "public exponent")?;
                SpkiView::from_rsa(point_or_modulus, exponent).map(Some)
            }
            Some(TYPE_EC) => {
                let curve = number(value(attribute::MODULUS_BITS, "curve")?);
                let curve = CURVES.iter().find(|(known, _)| Some(*known) == curve).map(|(_, curve)| *curve);
                let curve = curve.ok_or_else(|| error(Reason::Unexpected("a curve that is known")))?;
                let coordinates = match point_or_modulus {
                    [0x04, coordinates @ ..] => coordinates.split_at_checked(curve.field_octets()),
                    _ => None,
                };
                match coordinates {
                    Some((x, y)) if y.len() == curve.field_octets() => SpkiView::from_ec(curve, x, y).map(Some),
                    Some(_) | None => Err(error(Reason::Unexpected("an uncompressed point of the curve"))),
                }
            }
            _ => Err(error(Reason::Unexpected("a key type that is known"))),
        }
    }
}

/// Reads big-endian numbers of one layout.
struct Cursor<'a> {
    octets: &'a [u8],
    offset: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let end = self.offset.saturating_add(count);
        let missing = end.saturating_sub(self.octets.len());
        let truncated = Malformed::new(PRODUCTION, self.offset, Reason::Truncated(missing));
        let taken = self.octets.get(self.offset..end).ok_or(truncated)?;
        self.offset = end;
        Ok(taken)
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        let octets: [u8; 2] = self.take(2)?.try_into().map_err(|_| self.unexpected("two octets"))?;
        Ok(u16::from_be_bytes(octets))
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        let octets: [u8; 4] = self.take(4)?.try_into().map_err(|_| self.unexpected("four octets"))?;
        Ok(u32::from_be_bytes(octets))
    }

    fn length(&mut self) -> Result<usize, Malformed> {
        let length = self.u32()?;
        usize::try_from(length).map_err(|_| self.unexpected("a length"))
    }

    const fn unexpected(&self, what: &'static str) -> Malformed {
        Malformed::new(PRODUCTION, self.offset, Reason::Unexpected(what))
    }
}

/// The objects of an attestation in layout CAVIUM_V2; between its parts there is nothing.
fn read_objects(octets: &[u8]) -> Result<Vec<Layout>, Malformed> {
    let end = octets.len().saturating_sub(SIGNATURE_OCTETS);
    let mut cursor = Cursor { octets: octets.get(..end).unwrap_or_default(), offset: 0 };
    if cursor.u32()? != 0 {
        return Err(cursor.unexpected("response code 0"));
    }
    if cursor.u32()? != REQUEST_FLAGS {
        return Err(cursor.unexpected("a response with attributes and a signature that covers its header"));
    }
    if cursor.length()? != octets.len() {
        return Err(cursor.unexpected("the size of the whole"));
    }
    let buffer = cursor.length()?;
    let start = end.checked_sub(buffer).ok_or_else(|| cursor.unexpected("the size of the buffer"))?;
    let handles = start.checked_sub(RESPONSE_HEADER_OCTETS);
    if handles.is_none_or(|handles| handles > HANDLES_OCTETS_MAX) {
        return Err(cursor.unexpected("the size of the buffer"));
    }
    cursor.offset = start;
    cursor.take(4)?;
    let offsets = [usize::from(cursor.u16()?), usize::from(cursor.u16()?)];
    let mut objects = Vec::new();
    let mut starts = [0; 2];
    for place in &mut starts {
        if cursor.offset < end {
            *place = cursor.offset.saturating_sub(start);
            objects.push(read_object(&mut cursor)?);
        }
    }
    if cursor.offset != end {
        return Err(Malformed::new(PRODUCTION, cursor.offset, Reason::Trailing(end.saturating_sub(cursor.offset))));
    }
    if offsets != starts || offsets.first() != Some(&INFO_HEADER_OCTETS) {
        return Err(Malformed::new(PRODUCTION, start, Reason::Unexpected("the offsets of the objects")));
    }
    Ok(objects)
}

fn read_object(cursor: &mut Cursor<'_>) -> Result<Layout, Malformed> {
    cursor.u32()?;
    let (count, size) = (cursor.length()?, cursor.length()?);
    if count > ATTRIBUTES {
        let reason = Reason::OverLimit { what: "attributes", limit: ATTRIBUTES };
        return Err(Malformed::new(PRODUCTION, cursor.offset, reason));
    }
    let start = cursor.offset;
    let mut attributes: Vec<(u32, Range<usize>)> = Vec::new();
    for _ in 0..count {
        let kind = cursor.u32()?;
        let length = cursor.length()?;
        let from = cursor.offset;
        cursor.take(length)?;
        if attributes.iter().any(|(known, _)| *known == kind) {
            return Err(Malformed::new(PRODUCTION, from, Reason::Duplicate("attribute")));
        }
        attributes.push((kind, from..cursor.offset));
    }
    if cursor.offset.saturating_sub(start) != size {
        return Err(cursor.unexpected("the size of the object"));
    }
    let class = attributes.iter().find(|(kind, _)| *kind == attribute::CLASS).map(|(_, range)| range.clone());
    let class = match class.and_then(|range| number(cursor.octets.get(range)?)) {
        Some(PUBLIC_KEY) => Class::Public,
        Some(PRIVATE_KEY) => Class::Private,
        Some(SECRET_KEY) => Class::Secret,
        _ => return Err(cursor.unexpected("an object that is a key")),
    };
    Ok(Layout { class, attributes })
}

/// An unsigned number of any length that fits.
fn number(octets: &[u8]) -> Option<u64> {
    if octets.is_empty() || octets.len() > NUMBER_OCTETS {
        return None;
    }
    Some(octets.iter().fold(0, |number, octet| number << 8 | u64::from(*octet)))
}

/// Whether octets are an attestation of layout CAVIUM_V1: objects and a signature, without headers.
fn is_version_1(octets: &[u8]) -> bool {
    let end = octets.len().saturating_sub(SIGNATURE_OCTETS);
    let mut cursor = Cursor { octets: octets.get(..end).unwrap_or_default(), offset: 0 };
    end > 0 && read_object(&mut cursor).is_ok()
}

/// Whether octets are the JSON of Azure Managed HSM.
fn is_azure(octets: &[u8]) -> bool {
    let has = |name: &[u8]| octets.windows(name.len()).any(|window| window == name);
    let start = octets.iter().find(|octet| !octet.is_ascii_whitespace());
    start == Some(&b'{') && (has(b"\"privateKeyAttestation\"") || has(b"\"private_key_attestation\""))
}

/// Whether a file is, or was meant to be, an attestation of these modules.
fn is_attestation(file: &OfferedFile<'_>) -> bool {
    let octets = file.bytes;
    let header = [0, 0, 0, 0, 0, 0, 0, 3];
    file.blocks.is_empty()
        && (octets.starts_with(&gzip::MAGIC)
            || octets.starts_with(&header)
            || is_azure(octets)
            || (octets.len() <= ATTESTATION_OCTETS && is_version_1(octets)))
}

/// Whether a certificate is one of a partition: `HSM:serial:PARTN:number` in its name.
#[must_use]
pub fn is_partition(certificate: &CertView) -> bool {
    let name = certificate.subject().attributes(oid::COMMON_NAME).next().and_then(|attribute| attribute.text());
    name.is_some_and(|name| name.starts_with("HSM:") && name.contains(":PARTN:"))
}

fn recognize(offer: &Offer<'_>) -> Result<Option<Recognized>, InputError> {
    let mut attestations = offer.files.iter().filter(|file| is_attestation(file));
    let others = |content: Option<&[u8]>| {
        let certificates = offer.certificates.iter().map(|offered| &offered.certificate);
        certificates.filter(|certificate| Some(certificate.as_der()) != content).cloned().collect()
    };
    let Some(first) = attestations.next() else {
        // All that other services with these modules give out.
        let partition = offer.certificates.iter().find(|offered| is_partition(&offered.certificate));
        return Ok(partition.filter(|_| offer.files.is_empty()).map(|offered| {
            let content = offered.certificate.as_der();
            Recognized { content: content.to_vec(), certificates: others(Some(content)) }
        }));
    };
    if let Some(second) = attestations.find(|file| file.bytes != first.bytes) {
        let (first, second) = (first.name.to_owned(), second.name.to_owned());
        return Err(InputError::Ambiguous { part: "key attestation", first, second });
    }
    if let Some(other) = offer.files.iter().find(|file| !is_attestation(file)) {
        return Err(InputError::Unrecognized { file: other.name.to_owned() });
    }
    Ok(Some(Recognized { content: first.bytes.to_vec(), certificates: others(None) }))
}

fn outline(input: &[u8]) -> Result<Vec<Outline>, Malformed> {
    let attestation = Attestation::parse(input).map_err(|defect| match defect {
        Defect::Malformed(malformed) => malformed,
        Defect::Version1 | Defect::Azure | Defect::NoAttestation => {
            Malformed::new(PRODUCTION, 0, Reason::Unexpected("an attestation of layout CAVIUM_V2"))
        }
    })?;
    let objects = attestation.objects().map(|object| {
        let name = match object.class() {
            Class::Public => "public key: its attributes are not those of the private one",
            Class::Private => "private key",
            Class::Secret => "symmetric key",
        };
        let mut parts = Vec::new();
        if let Ok(Some(spki)) = object.spki() {
            let kind = match spki.key() {
                PublicKey::Rsa { .. } => "RSA",
                PublicKey::Ec { .. } => "elliptic curve",
                PublicKey::Ed25519(_) | PublicKey::MlDsa65(_) | PublicKey::Unknown { .. } => "other",
            };
            parts.push(Outline::leaf("kind", kind));
        }
        parts.extend(object.attributes().map(|(kind, value)| {
            let name = attribute::NAMES.iter().find(|(known, _)| *known == kind).map(|(_, name)| (*name).to_owned());
            let name = name.unwrap_or_else(|| format!("attribute {kind:#x}"));
            match kind {
                attribute::LABEL | attribute::ID => Outline::leaf(name, object.text(kind).unwrap_or_default()),
                _ => Outline::leaf(name, value.iter().map(|octet| format!("{octet:02x}")).collect::<String>()),
            }
        }));
        Outline::group(name, parts)
    });
    Ok(objects.collect())
}
