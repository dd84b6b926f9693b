//! Objects of a token: found by id, and read with bounds.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use cryptoki::object::{Attribute, AttributeInfo, AttributeType, KeyType, ObjectClass, ObjectHandle};
use vouchsafe_evidence::x509::build::DerWriter;
use vouchsafe_evidence::x509::der::{Reader, Tag};
use vouchsafe_evidence::x509::{NamedCurve, PublicKey, SpkiView};

use super::fault::TokenFault;
use super::token::Live;
use crate::provider::{Fault, KeyKind, KeyUid};

/// Octets of one attribute: above every public key that is made or read here.
const ATTRIBUTE_OCTETS: usize = 4096;
/// Objects of one class and id that are looked at to tell whether there is exactly one.
const SAME_ID: usize = 2;
/// Objects with one id that are removed with the key.
const OBJECTS_OF_A_KEY: usize = 16;

/// Objects that are looked at for what a creation that was cut short has left.
const OBJECTS: usize = 10_000;
/// How long an object without id and label is watched before it is removed.
const BLANK_PAUSE: Duration = Duration::from_millis(250);

/// A key that was found in the token: both of its objects, and that they belong to its blob.
#[derive(Clone, Debug)]
pub(super) struct Resolved {
    pub(super) private: ObjectHandle,
    pub(super) public: ObjectHandle,
    pub(super) kind: KeyKind,
    pub(super) spki: Arc<SpkiView>,
    /// When the private key was last seen to sign, or decrypt, for this public key.
    pub(super) proven: Option<Instant>,
}

/// The one object of that class with that id; `None` if there is none.
pub(super) fn find_one(
    live: &Live<'_>,
    class: ObjectClass,
    class_name: &'static str,
    uid: &KeyUid,
) -> Result<Option<ObjectHandle>, Fault> {
    let template = [Attribute::Class(class), Attribute::Token(true), Attribute::Id(uid.as_octets().to_vec())];
    let mut found = live.session.iter_objects(&template)?.take(SAME_ID);
    let (first, second) = (found.next().transpose()?, found.next().transpose()?);
    if second.is_some() {
        return Err(Fault::Token(TokenFault::AmbiguousId { class: class_name, uid: *uid }));
    }
    Ok(first)
}

/// Removes every key object with that id, and says how many there were.
pub(super) fn destroy_all(live: &mut Live<'_>, uid: &KeyUid) -> Result<usize, Fault> {
    live.forget(uid);
    live.sees_private_objects()?;
    let mut destroyed: usize = 0;
    // The private half first: what is left when it is cut short is of no use to anybody.
    for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
        let template = [Attribute::Class(class), Attribute::Id(uid.as_octets().to_vec())];
        let found: Vec<ObjectHandle> =
            live.session.iter_objects(&template)?.take(OBJECTS_OF_A_KEY).collect::<Result<_, _>>()?;
        for object in found {
            live.session.destroy_object(object)?;
            destroyed = destroyed.saturating_add(1);
        }
    }
    Ok(destroyed)
}

/// Removes what a token that was cut short in the middle of making a key has left of it where it had not even its id yet: key
/// objects with neither id nor label that are said to be of a session, in a process that makes no objects of sessions.
pub(super) fn destroy_blank(live: &Live<'_>) -> Result<(), Fault> {
    live.sees_private_objects()?;
    let first = blank(live)?;
    if first.is_empty() {
        return Ok(());
    }
    // Another program may be making it at this very moment.
    thread::sleep(BLANK_PAUSE);
    let still = blank(live)?;
    for object in first.into_iter().filter(|object| still.contains(object)) {
        live.session.destroy_object(object)?;
    }
    Ok(())
}

/// Looked for by hand: a template does not match attributes that the object does not have.
fn blank(live: &Live<'_>) -> Result<Vec<ObjectHandle>, Fault> {
    const TYPES: [AttributeType; 4] =
        [AttributeType::Class, AttributeType::Token, AttributeType::Label, AttributeType::Id];
    let objects: Vec<ObjectHandle> = live.session.iter_objects(&[])?.take(OBJECTS).collect::<Result<_, _>>()?;
    let is_blank = |object: &ObjectHandle| {
        // One that cannot be read is not known to be a key.
        let Ok(Attributes(known)) = Attributes::read(live, *object, &TYPES) else { return false };
        let is_key = |class| known.contains(&Attribute::Class(class));
        (is_key(ObjectClass::PRIVATE_KEY) || is_key(ObjectClass::PUBLIC_KEY))
            && known.iter().all(|attribute| match attribute {
                Attribute::Token(is_kept) => !is_kept,
                Attribute::Label(octets) | Attribute::Id(octets) => octets.is_empty(),
                _ => true,
            })
    };
    Ok(objects.into_iter().filter(is_blank).collect())
}

/// Attributes of one object, those that the token shows.
#[derive(Debug)]
pub(super) struct Attributes(Vec<Attribute>);

impl Attributes {
    /// Reads those of `types` that the object has. Lengths are asked for and bounded first: what follows trusts them.
    pub(super) fn read(live: &Live<'_>, object: ObjectHandle, types: &[AttributeType]) -> Result<Self, Fault> {
        let mut there = Vec::with_capacity(types.len());
        for (attribute, info) in types.iter().zip(live.session.get_attribute_info(object, types)?) {
            match info {
                AttributeInfo::Available(found) => {
                    check_length(*attribute, found)?;
                    there.push(*attribute);
                }
                // Left out of what is reported; who needs it says so.
                AttributeInfo::Unavailable | AttributeInfo::TypeInvalid | AttributeInfo::Sensitive => {}
            }
        }
        if there.is_empty() {
            return Ok(Self(Vec::new()));
        }
        Ok(Self(live.session.get_attributes(object, &there)?))
    }

    /// A CK_BBOOL attribute; `None` where the token does not show it.
    pub(super) fn flag(&self, attribute: AttributeType) -> Option<bool> {
        self.0.iter().find(|value| value.attribute_type() == attribute).and_then(|value| match value {
            Attribute::Decrypt(value)
            | Attribute::Derive(value)
            | Attribute::Encrypt(value)
            | Attribute::Extractable(value)
            | Attribute::Local(value)
            | Attribute::NeverExtractable(value)
            | Attribute::AlwaysSensitive(value)
            | Attribute::Sensitive(value)
            | Attribute::Sign(value)
            | Attribute::SignRecover(value)
            | Attribute::Unwrap(value) => Some(*value),
            _ => None,
        })
    }

    /// The attributes themselves.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Attribute> {
        self.0.iter()
    }

    fn octets(&self, attribute: AttributeType) -> Result<&[u8], Fault> {
        let found = self.0.iter().find(|value| value.attribute_type() == attribute);
        match found {
            Some(
                Attribute::EcParams(octets)
                | Attribute::EcPoint(octets)
                | Attribute::Modulus(octets)
                | Attribute::PublicExponent(octets),
            ) => Ok(octets),
            _ => Err(Fault::Token(TokenFault::AttributeHidden { attribute: attribute.to_string() })),
        }
    }
}

/// Whether a length is one that the attribute can have.
fn check_length(attribute: AttributeType, found: usize) -> Result<(), Fault> {
    let wrong =
        |allowed| Fault::Token(TokenFault::AttributeLength { attribute: attribute.to_string(), found, allowed });
    match attribute.fixed_size() {
        // A date that is not set has no octets.
        Some(_) if attribute == AttributeType::EndDate && found == 0 => Ok(()),
        Some(size) if found == size => Ok(()),
        Some(size) => Err(wrong(size)),
        None if found <= ATTRIBUTE_OCTETS => Ok(()),
        None => Err(wrong(ATTRIBUTE_OCTETS)),
    }
}

/// The public key of a public key object.
pub(super) fn public_key(live: &Live<'_>, object: ObjectHandle) -> Result<SpkiView, Fault> {
    const TYPES: [AttributeType; 5] = [
        AttributeType::KeyType,
        AttributeType::EcParams,
        AttributeType::EcPoint,
        AttributeType::Modulus,
        AttributeType::PublicExponent,
    ];
    let attributes = Attributes::read(live, object, &TYPES)?;
    let key_type = attributes.iter().find_map(|attribute| match attribute {
        Attribute::KeyType(key_type) => Some(*key_type),
        _ => None,
    });
    if key_type == Some(KeyType::RSA) {
        let modulus = attributes.octets(AttributeType::Modulus)?;
        return Ok(SpkiView::from_rsa(modulus, attributes.octets(AttributeType::PublicExponent)?)?);
    }
    if key_type != Some(KeyType::EC) {
        return Err(Fault::Missing { what: "keys of this type" });
    }
    let curve = curve(attributes.octets(AttributeType::EcParams)?)?;
    point(curve, attributes.octets(AttributeType::EcPoint)?)
}

/// DER of a curve's identifier: what CKA_EC_PARAMS has for a named curve.
pub(super) fn ec_parameters(curve: NamedCurve) -> Vec<u8> {
    let mut writer = DerWriter::new();
    writer.oid(curve.oid());
    writer.into_der()
}

fn curve(parameters: &[u8]) -> Result<NamedCurve, Fault> {
    [NamedCurve::P256, NamedCurve::P384, NamedCurve::P521]
        .into_iter()
        .find(|curve| ec_parameters(*curve) == parameters)
        .ok_or(Fault::Missing { what: "keys on this curve" })
}

/// CKA_EC_POINT is an OCTET STRING with the uncompressed point; some modules leave the wrapping away.
fn point(curve: NamedCurve, value: &[u8]) -> Result<SpkiView, Fault> {
    let width = curve.field_octets();
    let bare = width.saturating_mul(2).saturating_add(1);
    let uncompressed = if value.len() == bare {
        value
    } else {
        let mut reader = Reader::new(value, "CKA_EC_POINT");
        let octets = reader.expect(Tag::OCTET_STRING, "point")?.contents();
        reader.finish()?;
        octets
    };
    let coordinates = uncompressed.strip_prefix(&[4]).filter(|_| uncompressed.len() == bare).unwrap_or_default();
    let (x, y) = coordinates.split_at_checked(width).unwrap_or_default();
    Ok(SpkiView::from_ec(curve, x, y)?)
}

/// The kind of a key; `None` for keys that no provider makes.
pub(super) fn kind_of(spki: &SpkiView) -> Option<KeyKind> {
    match spki.key() {
        PublicKey::Ec { curve: NamedCurve::P256, .. } => Some(KeyKind::EcP256),
        PublicKey::Ec { curve: NamedCurve::P384, .. } => Some(KeyKind::EcP384),
        PublicKey::Ec { curve: NamedCurve::P521, .. } => Some(KeyKind::EcP521),
        PublicKey::Rsa { modulus, .. } => {
            let bits = modulus.len().saturating_mul(8);
            KeyKind::ALL.into_iter().find(|kind| kind.is_rsa() && usize::from(kind.bits()) == bits)
        }
        PublicKey::Ed25519(_) | PublicKey::MlDsa65(_) | PublicKey::Unknown { .. } => None,
    }
}

/// Contents of the BIT STRING in the key's SPKI: `04 | X | Y` (SEC 1) or RSAPublicKey (RFC 8017).
pub(super) fn subject_public_key(spki: &SpkiView) -> Result<Vec<u8>, Fault> {
    let mut reader = Reader::new(spki.as_der(), "SubjectPublicKeyInfo");
    let mut fields = reader.sequence("SubjectPublicKeyInfo")?;
    fields.sequence("algorithm")?;
    let bits = fields.expect(Tag::BIT_STRING, "subjectPublicKey")?;
    // The first octet counts unused bits, of which there are none.
    Ok(bits.contents().get(1..).unwrap_or_default().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_bounded_by_the_type_of_the_attribute() {
        for (attribute, found, fits) in [
            (AttributeType::Sign, 1, true),
            (AttributeType::Sign, 0, false),
            (AttributeType::Sign, 1 << 40, false),
            (AttributeType::EndDate, 0, true),
            (AttributeType::EndDate, 8, true),
            (AttributeType::EndDate, 3, false),
            (AttributeType::Modulus, 512, true),
            (AttributeType::Modulus, 4097, false),
            (AttributeType::ValidationVersion, 1, false),
        ] {
            assert_eq!(check_length(attribute, found).is_ok(), fits, "{attribute} of {found}");
        }
    }

    #[test]
    fn points_are_read_with_and_without_their_wrapping_and_nothing_else_is() {
        let bare = [vec![4], vec![1; 32], vec![2; 32]].concat();
        let wrapped = [vec![4, 65], bare.clone()].concat();
        let expected = SpkiView::from_ec(NamedCurve::P256, &[1; 32], &[2; 32]).unwrap();
        for value in [&bare, &wrapped] {
            assert_eq!(point(NamedCurve::P256, value).unwrap(), expected);
        }
        assert!(subject_public_key(&expected).unwrap() == bare);
        assert_eq!(kind_of(&expected), Some(KeyKind::EcP256));
        let compressed = [vec![2], vec![1; 32]].concat();
        let trailing = [wrapped.clone(), vec![0]].concat();
        for value in [&compressed[..], &wrapped[..66], &trailing, &[], &[4, 0]] {
            assert!(point(NamedCurve::P256, value).is_err(), "{value:?}");
        }
        assert!(point(NamedCurve::P384, &bare).is_err());
        assert!(curve(&ec_parameters(NamedCurve::P521)).is_ok());
        assert!(curve(&[0x06, 0x01, 0x01]).is_err());
    }
}
