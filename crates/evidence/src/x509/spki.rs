//! SubjectPublicKeyInfo (RFC 5280, 4.1.2.7), kept as its original bytes.

use std::sync::Arc;

use aws_lc_rs::digest;

use crate::oid::{self, Oid};
use crate::tpm::Curve;
pub(crate) use crate::x509::der::significant;
use crate::x509::der::{Element, Tag};
use crate::x509::{AlgorithmIdentifier, CertView, CsrView, build};
use crate::{Malformed, Reason, limits, pem};

const PRODUCTION: &str = "SubjectPublicKeyInfo";
/// Octets of an ML-DSA-65 public key (FIPS 204, Table 2).
const ML_DSA_65_KEY_OCTETS: usize = 1952;

/// A named elliptic curve (RFC 5480, 2.1.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NamedCurve {
    /// secp256r1.
    P256,
    /// secp384r1.
    P384,
    /// secp521r1.
    P521,
}

impl NamedCurve {
    /// Octets of a field element.
    #[must_use]
    pub const fn field_octets(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }

    /// The curve's identifier.
    #[must_use]
    pub const fn oid(self) -> Oid {
        match self {
            Self::P256 => oid::SECP256R1,
            Self::P384 => oid::SECP384R1,
            Self::P521 => oid::SECP521R1,
        }
    }

    /// The curve that `oid` names, or `None` if this project does not know it.
    #[must_use]
    pub fn from_oid(oid: Oid) -> Option<Self> {
        [Self::P256, Self::P384, Self::P521].into_iter().find(|curve| curve.oid() == oid)
    }
}

impl From<NamedCurve> for Curve {
    fn from(curve: NamedCurve) -> Self {
        match curve {
            NamedCurve::P256 => Self::P256,
            NamedCurve::P384 => Self::P384,
            NamedCurve::P521 => Self::P521,
        }
    }
}

/// What an RSA key's algorithm identifier restricts it to (RFC 4055, 1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RsaScheme {
    /// rsaEncryption: no restriction.
    Any,
    /// id-RSAES-OAEP: encryption with OAEP alone, as some endorsement keys say.
    Oaep,
    /// id-RSASSA-PSS: signatures with PSS alone.
    Pss,
}

/// The parameters of a public key. Magnitudes are big-endian without leading zero octets, coordinates
/// as wide as the field.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PublicKey {
    /// RSA, with a modulus of [`limits::RSA_BITS_MIN`] to [`limits::RSA_BITS_MAX`] bits.
    Rsa {
        /// The modulus.
        modulus: Vec<u8>,
        /// The public exponent.
        exponent: Vec<u8>,
        /// What the algorithm identifier restricts the key to.
        scheme: RsaScheme,
    },
    /// A point on a named curve. Whether it really is on the curve is found when the key is used.
    Ec {
        /// The curve.
        curve: NamedCurve,
        /// The x coordinate.
        x: Vec<u8>,
        /// The y coordinate.
        y: Vec<u8>,
    },
    /// Ed25519 (RFC 8410): the 32 octets of the encoded point.
    Ed25519([u8; 32]),
    /// ML-DSA-65 (FIPS 204, RFC 9881): the 1952 octets of the encoded key.
    MlDsa65(Vec<u8>),
    /// An algorithm or a curve that this project does not know.
    Unknown {
        /// The algorithm, or the curve if the algorithm is id-ecPublicKey.
        oid: Oid,
    },
}

/// A public key with its algorithm.
///
/// `==` compares encodings; [`SpkiView::same_key`] compares keys.
#[derive(Clone, Debug)]
pub struct SpkiView {
    /// What the key is part of, held once for all parts.
    whole: Arc<[u8]>,
    start: u32,
    end: u32,
    parsed: Arc<Parsed>,
}

#[derive(Debug)]
struct Parsed {
    key: PublicKey,
    /// Whether the algorithm is id-ecPublicKey, perhaps with a curve that is not known.
    is_elliptic: bool,
}

impl PartialEq for SpkiView {
    fn eq(&self, other: &Self) -> bool {
        self.as_der() == other.as_der()
    }
}

impl Eq for SpkiView {}

impl SpkiView {
    /// Reads the DER of one SubjectPublicKeyInfo.
    ///
    /// # Errors
    /// [`Malformed`] unless `input` is exactly that, in strict DER: an RSA modulus outside the limits, a
    /// compressed point and a coordinate of the wrong width are refused as well.
    pub fn parse(input: &[u8]) -> Result<Self, Malformed> {
        let element = Element::parse(input, PRODUCTION)?;
        element.check_strict()?;
        Self::from_element(&element)
    }

    /// A key inside something larger, whose DER its parser checks.
    pub(crate) fn from_element(element: &Element<'_>) -> Result<Self, Malformed> {
        let parsed = Parsed::read(element)?;
        Self::inside(element.as_der().into(), 0, element, parsed)
    }

    /// As [`SpkiView::from_element`], for who keeps the whole: `element` was read from it.
    pub(crate) fn from_element_of(whole: &Arc<[u8]>, element: &Element<'_>) -> Result<Self, Malformed> {
        let parsed = Parsed::read(element)?;
        Self::inside(whole.clone(), element.offset(), element, parsed)
    }

    fn inside(whole: Arc<[u8]>, start: usize, element: &Element<'_>, parsed: Parsed) -> Result<Self, Malformed> {
        let end = u32::try_from(start.saturating_add(element.as_der().len()));
        let (Ok(start), Ok(end)) = (u32::try_from(start), end) else {
            return Err(element.error(Reason::OverLimit { what: "octets", limit: limits::INPUT_OCTETS }));
        };
        Ok(Self { whole, start, end, parsed: Arc::new(parsed) })
    }

    /// An RSA key (rsaEncryption) of big-endian magnitudes; leading zero octets are dropped.
    ///
    /// # Errors
    /// [`Malformed`] if the modulus is outside the limits or the exponent is zero.
    pub fn from_rsa(modulus: &[u8], exponent: &[u8]) -> Result<Self, Malformed> {
        Self::parse(&build::rsa_spki(modulus, exponent))
    }

    /// A point on a named curve; coordinates are padded to the width of the field.
    ///
    /// # Errors
    /// [`Malformed`] if a coordinate is empty, as in a template, or wider than the field.
    pub fn from_ec(curve: NamedCurve, x: &[u8], y: &[u8]) -> Result<Self, Malformed> {
        if x.is_empty() || y.is_empty() {
            return Err(Malformed::new(PRODUCTION, 0, Reason::Missing("coordinate")));
        }
        let width = curve.field_octets();
        let wide = Malformed::new(PRODUCTION, 0, Reason::OverLimit { what: "octets of a coordinate", limit: width });
        let padded = |coordinate: &[u8]| {
            let significant = significant(coordinate);
            let padding = width.checked_sub(significant.len()).ok_or(wide)?;
            Ok([&vec![0; padding], significant].concat())
        };
        Self::parse(&build::ec_spki(curve, &padded(x)?, &padded(y)?))
    }

    /// The key in a file that holds a public key, a certificate or a certification request, in PEM or
    /// DER.
    ///
    /// # Errors
    /// [`Malformed`] if it holds none of these, or more than one PEM block.
    pub fn from_key_file(file: &[u8]) -> Result<Self, Malformed> {
        let unexpected =
            Malformed::new("key file", 0, Reason::Unexpected("a public key, a certificate or a certification request"));
        if pem::is_pem(file) {
            let blocks = pem::read(file)?;
            let [block] = blocks.as_slice() else {
                return Err(Malformed::new("key file", 0, Reason::Duplicate("PEM block")));
            };
            return match block.kind() {
                pem::Kind::PublicKey => Self::parse(block.contents()),
                pem::Kind::Certificate => Ok(CertView::parse(block.contents())?.spki().clone()),
                pem::Kind::CertificationRequest => Ok(CsrView::parse(block.contents())?.spki().clone()),
                pem::Kind::Other => Err(unexpected),
            };
        }
        Self::parse(file)
            .or_else(|_| CertView::parse(file).map(|cert| cert.spki().clone()))
            .or_else(|_| CsrView::parse(file).map(|csr| csr.spki().clone()))
            .map_err(|_| unexpected)
    }

    /// The original DER.
    #[must_use]
    pub fn as_der(&self) -> &[u8] {
        let (start, end) = (usize::try_from(self.start), usize::try_from(self.end));
        // Both were made from the whole.
        start.ok().zip(end.ok()).and_then(|(start, end)| self.whole.get(start..end)).unwrap_or_default()
    }

    /// The algorithm of the key.
    #[must_use]
    pub fn algorithm(&self) -> Oid {
        match &self.parsed.key {
            PublicKey::Rsa { scheme: RsaScheme::Any, .. } => oid::RSA_ENCRYPTION,
            PublicKey::Rsa { scheme: RsaScheme::Oaep, .. } => oid::RSAES_OAEP,
            PublicKey::Rsa { scheme: RsaScheme::Pss, .. } => oid::RSASSA_PSS,
            PublicKey::Ed25519(_) => oid::ED25519,
            PublicKey::MlDsa65(_) => oid::ML_DSA_65,
            PublicKey::Ec { .. } => oid::EC_PUBLIC_KEY,
            PublicKey::Unknown { .. } if self.parsed.is_elliptic => oid::EC_PUBLIC_KEY,
            PublicKey::Unknown { oid } => *oid,
        }
    }

    /// The key's parameters.
    #[must_use]
    pub fn key(&self) -> &PublicKey {
        &self.parsed.key
    }

    /// Whether both are the same key: the same parameters, whatever the encoding and whatever scheme an
    /// RSA key is restricted to. Unknown kinds of keys are the same only octet by octet.
    #[must_use]
    pub fn same_key(&self, other: &Self) -> bool {
        match (self.key(), other.key()) {
            (
                PublicKey::Rsa { modulus, exponent, .. },
                PublicKey::Rsa { modulus: other_modulus, exponent: other_exponent, .. },
            ) => modulus == other_modulus && exponent == other_exponent,
            (PublicKey::Unknown { .. }, PublicKey::Unknown { .. }) => self == other,
            (
                PublicKey::Ec { .. }
                | PublicKey::Ed25519(_)
                | PublicKey::MlDsa65(_)
                | PublicKey::Rsa { .. }
                | PublicKey::Unknown { .. },
                other_key,
            ) => self.key() == other_key,
        }
    }

    /// SHA-256 of the DER.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        let mut value = [0; 32];
        value.copy_from_slice(digest::digest(&digest::SHA256, self.as_der()).as_ref());
        value
    }
}

impl Parsed {
    fn read(element: &Element<'_>) -> Result<Self, Malformed> {
        if element.tag() != Tag::SEQUENCE {
            return Err(element.error(Reason::Unexpected(PRODUCTION)));
        }
        let mut fields = element.reader();
        let algorithm = AlgorithmIdentifier::read(&mut fields)?;
        let bits = fields.expect(Tag::BIT_STRING, "subjectPublicKey")?;
        fields.finish()?;
        let bad_bits = bits.error(Reason::NotDer("subjectPublicKey that is not whole octets"));
        let octets = bits.bit_string()?.whole_octets().ok_or(bad_bits)?;
        let key = match algorithm.oid() {
            oid::RSA_ENCRYPTION => {
                if algorithm.parameters().is_some_and(|parameters| parameters != [0x05, 0x00]) {
                    return Err(element.error(Reason::Unexpected("NULL parameters of rsaEncryption")));
                }
                read_rsa(octets, RsaScheme::Any)?
            }
            oid::RSAES_OAEP => read_rsa(octets, RsaScheme::Oaep)?,
            oid::RSASSA_PSS => read_rsa(octets, RsaScheme::Pss)?,
            oid::EC_PUBLIC_KEY => read_ec(&algorithm, octets, &bits)?,
            oid::ED25519 => {
                let wrong_length = bits.error(Reason::Unexpected("32 octets of Ed25519 key"));
                PublicKey::Ed25519(octets.try_into().map_err(|_| wrong_length)?)
            }
            oid::ML_DSA_65 => {
                if algorithm.parameters().is_some() || octets.len() != ML_DSA_65_KEY_OCTETS {
                    return Err(bits.error(Reason::Unexpected("1952 octets of ML-DSA-65 key, without parameters")));
                }
                PublicKey::MlDsa65(octets.to_vec())
            }
            unknown => PublicKey::Unknown { oid: unknown },
        };
        Ok(Self { key, is_elliptic: algorithm.oid() == oid::EC_PUBLIC_KEY })
    }
}

fn read_rsa(octets: &[u8], scheme: RsaScheme) -> Result<PublicKey, Malformed> {
    let element = Element::parse(octets, "RSAPublicKey")?;
    if element.tag() != Tag::SEQUENCE {
        return Err(element.error(Reason::Unexpected("RSAPublicKey")));
    }
    let mut fields = element.reader();
    let modulus = fields.unsigned("modulus")?;
    let exponent = fields.unsigned("publicExponent")?;
    fields.finish()?;
    let bits = bit_length(modulus);
    if bits > limits::RSA_BITS_MAX {
        return Err(element.error(Reason::OverLimit { what: "RSA modulus bits", limit: limits::RSA_BITS_MAX }));
    }
    if bits < limits::RSA_BITS_MIN {
        return Err(element.error(Reason::BadValue(u64::try_from(bits).unwrap_or(u64::MAX))));
    }
    if exponent == [0] || exponent.len() > modulus.len() {
        return Err(element.error(Reason::Unexpected("positive public exponent below the modulus")));
    }
    Ok(PublicKey::Rsa { modulus: modulus.to_vec(), exponent: exponent.to_vec(), scheme })
}

fn read_ec(algorithm: &AlgorithmIdentifier<'_>, point: &[u8], bits: &Element<'_>) -> Result<PublicKey, Malformed> {
    let parameters =
        algorithm.parameters().ok_or_else(|| bits.error(Reason::Missing("parameters of id-ecPublicKey")))?;
    let named = Element::parse(parameters, "ECParameters")?.oid()?;
    let Some(curve) = NamedCurve::from_oid(named) else {
        return Ok(PublicKey::Unknown { oid: named });
    };
    let uncompressed = Reason::Unexpected("uncompressed point of the curve's width");
    match point {
        [0x04, coordinates @ ..] if coordinates.len() == 2 * curve.field_octets() => {
            let (x, y) = coordinates.split_at(curve.field_octets());
            Ok(PublicKey::Ec { curve, x: x.to_vec(), y: y.to_vec() })
        }
        _ => Err(bits.error(uncompressed)),
    }
}

fn bit_length(magnitude: &[u8]) -> usize {
    let significant = significant(magnitude);
    let leading_zeros = significant.first().map_or(0, |octet| octet.leading_zeros());
    significant.len().saturating_mul(8).saturating_sub(usize::try_from(leading_zeros).unwrap_or(0))
}
