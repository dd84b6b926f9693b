//! Attestations as a partition of a Marvell module makes them.

use anyhow::{Context, Result, bail};
use vouchsafe_evidence::formats::gcp_cloudhsm::attribute;
use vouchsafe_evidence::x509::{NamedCurve, PublicKey};

use super::super::Scope;
use super::super::value::{Arguments, Value};
use super::x509::{sign, spki};

/// Octets of texts that the module fills up with zeros.
const TEXT_OCTETS: usize = 128;
const RESPONSE_HEADER_OCTETS: usize = 16;
const INFO_HEADER_OCTETS: usize = 8;
const SIGNATURE_OCTETS: usize = 256;
/// Flags of usage and the words for them.
const PURPOSES: [(u32, &str); 7] = [
    (attribute::ENCRYPT, "encrypt"),
    (attribute::DECRYPT, "decrypt"),
    (attribute::WRAP, "wrap"),
    (attribute::UNWRAP, "unwrap"),
    (attribute::SIGN, "sign"),
    (attribute::VERIFY, "verify"),
    (attribute::DERIVE, "derive"),
];

pub fn call(scope: &Scope<'_>, word: &str, arguments: &mut Arguments) -> Result<Option<Value>> {
    Ok(Some(Value::Octets(match word {
        // marvell-attribute(0x00000162, octets)
        "marvell-attribute" => {
            let kind: [u8; 4] = arguments.at(0)?.octets()?.try_into().ok().context("a type is four octets")?;
            marvell_attribute(u32::from_be_bytes(kind), &arguments.at(1)?.octets()?)?
        }
        // marvell-object(key or none, class: "private", handle: n, local: yes, extractable: no, never-extractable: yes,
        // sensitive: yes, purposes: "sign decrypt", more: [attributes], count: n, size: n)
        "marvell-object" => object(scope, arguments)?,
        // marvell-attestation(signer, [objects], code: octets, flags: octets, second: octets, signature: octets,
        // headers: no): in layout CAVIUM_V2, or without headers in CAVIUM_V1
        "marvell-attestation" => attestation(scope, arguments)?,
        // gzip(octets, flags: octet, fields: octets): stored, not compressed
        "gzip" => gzip(arguments)?,
        _ => return Ok(None),
    })))
}

fn u32_of(length: usize) -> Result<[u8; 4]> {
    Ok(u32::try_from(length)?.to_be_bytes())
}

fn marvell_attribute(kind: u32, value: &[u8]) -> Result<Vec<u8>> {
    Ok([&kind.to_be_bytes()[..], &u32_of(value.len())?, value].concat())
}

fn padded(text: &str) -> Vec<u8> {
    let mut octets = text.as_bytes().to_vec();
    octets.resize(TEXT_OCTETS, 0);
    octets
}

/// The attributes that hold a public key: type, modulus or point, bits or curve, exponent.
fn key_attributes(scope: &Scope<'_>, key: &Value) -> Result<Vec<Vec<u8>>> {
    let spki = spki(scope, &key.key()?)?;
    Ok(match spki.key() {
        PublicKey::Rsa { modulus, exponent, .. } => {
            let bits = u32_of(modulus.len().saturating_mul(8))?;
            vec![
                marvell_attribute(attribute::KEY_TYPE, &[0])?,
                marvell_attribute(attribute::MODULUS, modulus)?,
                marvell_attribute(attribute::MODULUS_BITS, &bits)?,
                marvell_attribute(attribute::PUBLIC_EXPONENT, exponent)?,
            ]
        }
        PublicKey::Ec { curve, x, y } => {
            let number: u32 = match curve {
                NamedCurve::P256 => 415,
                NamedCurve::P384 => 715,
                NamedCurve::P521 => 716,
            };
            vec![
                marvell_attribute(attribute::KEY_TYPE, &[3])?,
                marvell_attribute(attribute::MODULUS, &[&[4], x.as_slice(), y].concat())?,
                marvell_attribute(attribute::MODULUS_BITS, &number.to_be_bytes())?,
            ]
        }
        _ => bail!("the module has no such keys"),
    })
}

fn object(scope: &Scope<'_>, arguments: &mut Arguments) -> Result<Vec<u8>> {
    let key = arguments.at(0)?;
    let class = arguments.text_or("class", "private")?;
    let (number, is_public) = match class.as_str() {
        "public" => (2, true),
        "private" => (3, false),
        "secret" => (4, false),
        other => bail!("{other} is no class"),
    };
    let mut attributes = vec![marvell_attribute(attribute::CLASS, &[number])?];
    match &key {
        Value::None => attributes.push(marvell_attribute(attribute::KEY_TYPE, &[0x1F])?),
        key => attributes.extend(key_attributes(scope, key)?),
    }
    let flags = [
        ("local", attribute::LOCAL, true),
        ("extractable", attribute::EXTRACTABLE, is_public),
        ("never-extractable", attribute::NEVER_EXTRACTABLE, !is_public),
        ("sensitive", attribute::SENSITIVE, !is_public),
    ];
    for (label, kind, usual) in flags {
        match arguments.labelled(label) {
            Some(Value::None) => {}
            Some(flag) => attributes.push(marvell_attribute(kind, &[u8::from(flag.flag()?)])?),
            None => attributes.push(marvell_attribute(kind, &[u8::from(usual)])?),
        }
    }
    let purposes = arguments.text_or("purposes", if is_public { "verify" } else { "sign" })?;
    for (kind, word) in PURPOSES {
        let has = purposes.split_whitespace().any(|purpose| purpose == word);
        attributes.push(marvell_attribute(kind, &[u8::from(has)])?);
    }
    attributes.push(marvell_attribute(attribute::LABEL, &padded("vectors"))?);
    attributes.push(marvell_attribute(attribute::ID, &padded("projects/vectors/cryptoKeyVersions/1"))?);
    attributes.push(marvell_attribute(attribute::CHECK_VALUE, &[0x12, 0x34, 0x56])?);
    attributes.extend(arguments.labelled("more").map_or(Ok(Vec::new()), |list| list.octets_list())?);
    let count = match arguments.labelled("count") {
        Some(count) => usize::try_from(count.number()?)?,
        None => attributes.len(),
    };
    let attributes = attributes.concat();
    let size = match arguments.labelled("size") {
        Some(size) => usize::try_from(size.number()?)?,
        None => attributes.len(),
    };
    let handle = arguments.labelled("handle").map_or(Ok(2615), |handle| handle.number())?;
    Ok([&u32::try_from(handle)?.to_be_bytes()[..], &u32_of(count)?, &u32_of(size)?, &attributes].concat())
}

fn attestation(scope: &Scope<'_>, arguments: &mut Arguments) -> Result<Vec<u8>> {
    let signer = arguments.at(0)?.key()?;
    let objects = arguments.at(1)?.octets_list()?;
    let signed = if arguments.flag_or("headers", true)? {
        let first = INFO_HEADER_OCTETS;
        let second = match objects.as_slice() {
            [public, _] => first.saturating_add(public.len()),
            _ => 0,
        };
        let second = arguments.octets_or("second", &u16::try_from(second)?.to_be_bytes())?;
        let info = [&[0, 1, 0, 3][..], &u16::try_from(first)?.to_be_bytes(), &second].concat();
        let buffer = [info, objects.concat()].concat();
        let handles: Vec<u8> = objects.iter().flat_map(|_| [0, 0, 0, 0, 0, 0, 0x0A, 0x37]).collect();
        let total = RESPONSE_HEADER_OCTETS + handles.len() + buffer.len() + SIGNATURE_OCTETS;
        let code = arguments.octets_or("code", &[0, 0, 0, 0])?;
        let flags = arguments.octets_or("flags", &[0, 0, 0, 3])?;
        [&code[..], &flags, &u32_of(total)?, &u32_of(buffer.len())?, &handles, &buffer].concat()
    } else {
        objects.concat()
    };
    let (_, signature) = sign(scope, &signer, None, &signed)?;
    let signature = arguments.octets_or("signature", &signature)?;
    Ok([signed, signature].concat())
}

fn gzip(arguments: &mut Arguments) -> Result<Vec<u8>> {
    let contents = arguments.at(0)?.octets()?;
    let flags = arguments.octets_or("flags", &[0])?;
    let fields = arguments.octets_or("fields", &[])?;
    let length = u16::try_from(contents.len()).context("stored blocks are short")?;
    let step = |crc: u32, _| if crc & 1 == 0 { crc >> 1 } else { (crc >> 1) ^ 0xEDB8_8320 };
    let crc = !contents.iter().fold(u32::MAX, |crc, octet| (0..8).fold(crc ^ u32::from(*octet), step));
    let crc = arguments.octets_or("crc", &crc.to_le_bytes())?;
    Ok([
        &[0x1F, 0x8B, 8][..],
        &flags,
        &[0, 0, 0, 0, 0, 3],
        &fields,
        &[1],
        &length.to_le_bytes(),
        &(!length).to_le_bytes(),
        &contents,
        &crc,
        &u32::from(length).to_le_bytes(),
    ]
    .concat())
}
