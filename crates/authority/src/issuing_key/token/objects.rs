//! The objects of a token: the public key beside a private one, and new pairs.

use aws_lc_rs::rand;
use cryptoki::context::Pkcs11;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use vouchsafe_evidence::oid::{self, Oid};
use vouchsafe_evidence::x509::build::DerWriter;
use vouchsafe_evidence::x509::der::{Element, Tag};
use vouchsafe_evidence::x509::{NamedCurve, SpkiView};

use super::{Access, TokenKeyConfig, TokenKeyError, begin};

/// Octets of the identifier (CKA_ID) of a new pair.
const ID_OCTETS: usize = 16;
/// First octet of an uncompressed point (SEC 1, section 2.3.3).
const UNCOMPRESSED: u8 = 4;

/// Curves of new keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyCurve {
    /// P-256.
    P256,
    /// P-384.
    P384,
}

impl KeyCurve {
    const fn oid(self) -> Oid {
        match self {
            Self::P256 => oid::SECP256R1,
            Self::P384 => oid::SECP384R1,
        }
    }
}

/// The public key of the label. That it is the private one's is for a trial to show.
///
/// # Errors
/// [`TokenKeyError`].
pub(crate) fn public_key(config: &TokenKeyConfig) -> Result<SpkiView, TokenKeyError> {
    let pkcs11 = Pkcs11::new(&config.module)?;
    begin(&pkcs11)?;
    let session = config.session(&pkcs11, Access::Read, &mut None)?;
    let keys = labeled(&session, config, ObjectClass::PUBLIC_KEY)?;
    let [key] = keys.as_slice() else {
        return Err(TokenKeyError::PublicKey("not exactly one public key has the label"));
    };
    let attributes = session.get_attributes(*key, &[AttributeType::EcParams, AttributeType::EcPoint])?;
    let (mut curve, mut point) = (None, None);
    for attribute in attributes {
        match attribute {
            Attribute::EcParams(octets) => curve = named_curve(&octets),
            Attribute::EcPoint(octets) => point = Some(octets),
            _ => {}
        }
    }
    let curve = curve.ok_or(TokenKeyError::PublicKey("the key is neither on P-256 nor on P-384"))?;
    let point = point.ok_or(TokenKeyError::PublicKey("the token tells no point"))?;
    let (x, y) = coordinates(curve, &point).ok_or(TokenKeyError::PublicKey("the point is malformed"))?;
    SpkiView::from_ec(curve, x, y).map_err(|_| TokenKeyError::PublicKey("the point is malformed"))
}

/// Makes a pair that the token does not let out.
///
/// # Errors
/// [`TokenKeyError::Exists`], and what the token refuses.
pub(crate) fn generate(config: &TokenKeyConfig, curve: KeyCurve) -> Result<(), TokenKeyError> {
    let pkcs11 = Pkcs11::new(&config.module)?;
    begin(&pkcs11)?;
    let session = config.session(&pkcs11, Access::Write, &mut None)?;
    for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
        if !labeled(&session, config, class)?.is_empty() {
            return Err(TokenKeyError::Exists { label: config.key.clone() });
        }
    }
    let mut id = vec![0; ID_OCTETS];
    rand::fill(&mut id).map_err(|_| TokenKeyError::Library("the random source failed".to_owned()))?;
    let mut params = DerWriter::new();
    params.oid(curve.oid());
    let label = || Attribute::Label(config.key.clone().into_bytes());
    let public = [
        Attribute::Token(true),
        Attribute::Private(false),
        Attribute::Verify(true),
        Attribute::EcParams(params.into_der()),
        Attribute::Id(id.clone()),
        label(),
    ];
    let private = [
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
        Attribute::Id(id),
        label(),
    ];
    session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private)?;
    Ok(())
}

/// The objects of this class that have the label of the key.
pub(super) fn labeled(
    session: &Session,
    config: &TokenKeyConfig,
    class: ObjectClass,
) -> Result<Vec<ObjectHandle>, TokenKeyError> {
    let label = Attribute::Label(config.key.clone().into_bytes());
    Ok(session.find_objects(&[Attribute::Class(class), label])?)
}

fn named_curve(params: &[u8]) -> Option<NamedCurve> {
    [(KeyCurve::P256, NamedCurve::P256), (KeyCurve::P384, NamedCurve::P384)]
        .into_iter()
        .find(|(known, _)| {
            let mut der = DerWriter::new();
            der.oid(known.oid());
            der.into_der() == params
        })
        .map(|(_, curve)| curve)
}

/// CKA_EC_POINT is the DER of an OCTET STRING with the point in it; some tokens give the point alone.
fn coordinates(curve: NamedCurve, octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let field = curve.field_octets();
    let is_point = |octets: &&[u8]| octets.len() == field.saturating_mul(2).saturating_add(1);
    let inside = Element::parse(octets, "ECPoint").ok().filter(|element| element.tag() == Tag::OCTET_STRING);
    let inside = inside.map(|element| element.contents()).filter(is_point);
    let (first, rest) = inside.or_else(|| Some(octets).filter(is_point))?.split_first()?;
    if *first != UNCOMPRESSED {
        return None;
    }
    rest.split_at_checked(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_read_as_the_standard_has_them_and_bare() {
        let point = [[UNCOMPRESSED].as_slice(), &[1; 32], &[2; 32]].concat();
        let expected = Some(([1; 32].as_slice(), [2; 32].as_slice()));
        assert_eq!(coordinates(NamedCurve::P256, &point), expected);
        let wrapped = [[4, 65].as_slice(), &point].concat();
        assert_eq!(coordinates(NamedCurve::P256, &wrapped), expected);
        for wrong in [&point[..64], &wrapped[..66], &[2; 65], &[&[2], &point[1..]].concat(), &[]] {
            assert_eq!(coordinates(NamedCurve::P256, wrong), None, "{wrong:02x?}");
        }
        assert_eq!(coordinates(NamedCurve::P384, &point), None);
    }
}
