//! Octets and DER.

use anyhow::{Context, Result, bail};
use vouchsafe_evidence::oid::{self, Oid};
use vouchsafe_evidence::pem;
use vouchsafe_evidence::tpm::HashAlg;
use vouchsafe_evidence::x509::build::DerWriter;
use vouchsafe_evidence::x509::der::{Element, Tag};

use super::super::Scope;
use super::super::value::{Arguments, Value};

pub fn call(_: &Scope<'_>, word: &str, arguments: &mut Arguments) -> Result<Option<Value>> {
    Ok(Some(Value::Octets(match word {
        // concat(a, b, ..)
        "concat" => joined(arguments)?,
        // text("characters") or text("characters", end: "\n")
        "text" => arguments.at(0)?.text()?.replace("\\n", "\n").into_bytes(),
        // flip(octets, at: n): the lowest bit of one octet; counted from the end with back: n
        "flip" => flip(arguments)?,
        // cut(octets, n): the first n octets; n octets from the end with back: n
        "cut" => cut(arguments)?,
        // behind(octets, n): what follows the first n octets
        "behind" => {
            let octets = arguments.at(0)?.octets()?;
            octets.get(usize::try_from(arguments.at(1)?.number()?)?..).context("there are not so many octets")?.to_vec()
        }
        // slice(octets, from, count)
        "slice" => {
            let octets = arguments.at(0)?.octets()?;
            let from = usize::try_from(arguments.at(1)?.number()?)?;
            let count = usize::try_from(arguments.at(2)?.number()?)?;
            octets.get(from..from.saturating_add(count)).context("the slice lies behind the end")?.to_vec()
        }
        // replace(octets, found, with): found must be there exactly once
        "replace" => replace(&arguments.at(0)?.octets()?, &arguments.at(1)?.octets()?, &arguments.at(2)?.octets()?)?,
        // fill(octet, count)
        "fill" => {
            let [octet] = arguments.at(0)?.octets()?.try_into().ok().context("fill takes one octet")?;
            vec![octet; usize::try_from(arguments.at(1)?.number()?)?]
        }
        // pseudorandom("label", count)
        "pseudorandom" => pseudorandom(arguments.at(0)?.text()?, usize::try_from(arguments.at(1)?.number()?)?),
        "sha256" => HashAlg::Sha256.digest(&[&arguments.at(0)?.octets()?]),
        // pem("LABEL", octets)
        "pem" => {
            let label = arguments.at(0)?;
            pem::encode(label.text()?, &arguments.at(1)?.octets()?).into_bytes()
        }
        // tag(0x30, parts..): an element of this tag; length: 0x8105 replaces the length octets
        "tag" => tagged(arguments)?,
        "sequence" => element(0x30, &joined(arguments)?),
        "set" => element(0x31, &joined(arguments)?),
        "octet-string" => element(0x04, &joined(arguments)?),
        "bit-string" => element(0x03, &[&[0], joined(arguments)?.as_slice()].concat()),
        "integer" => element(0x02, &joined(arguments)?),
        "oid" => {
            let mut writer = DerWriter::new();
            writer.oid(oid_named(arguments.at(0)?.text()?)?);
            writer.into_der()
        }
        // nested(depth): sequences in each other
        "nested" => {
            let depth = arguments.at(0)?.number()?;
            (0..depth).fold(Vec::new(), |inner, _| element(0x30, &inner))
        }
        // contents(element): without its header
        "contents" => Element::parse(&arguments.at(0)?.octets()?, "element")?.contents().to_vec(),
        // length-of(octets): as one octet
        "length-of" => vec![u8::try_from(arguments.at(0)?.octets()?.len()).context("longer than 255 octets")?],
        // part(element, n): the n-th element within, counted from 0
        "part" => part(&arguments.at(0)?.octets()?, arguments.at(1)?.number()?)?,
        _ => return Ok(None),
    })))
}

fn joined(arguments: &mut Arguments) -> Result<Vec<u8>> {
    Value::List(arguments.rest()).octets_list().map(|parts| parts.concat())
}

/// A DER element.
pub fn element(tag: u8, contents: &[u8]) -> Vec<u8> {
    let length = contents.len();
    let mut octets = vec![tag];
    let bytes: Vec<u8> = length.to_be_bytes().into_iter().skip_while(|octet| *octet == 0).collect();
    match bytes.as_slice() {
        [] => octets.push(0),
        [short] if *short < 0x80 => octets.push(*short),
        long => {
            octets.push(0x80 | u8::try_from(long.len()).unwrap_or_default());
            octets.extend(long);
        }
    }
    octets.extend(contents);
    octets
}

fn tagged(arguments: &mut Arguments) -> Result<Vec<u8>> {
    let [tag] = arguments.at(0)?.octets()?.try_into().ok().context("a tag is one octet")?;
    let length = arguments.labelled("length");
    let contents = joined(arguments)?;
    match length {
        Some(length) => Ok([&[tag], length.octets()?.as_slice(), &contents].concat()),
        None => Ok(element(tag, &contents)),
    }
}

fn place(arguments: &mut Arguments, length: usize) -> Result<usize> {
    let place = match (arguments.labelled("at"), arguments.labelled("back")) {
        (Some(at), None) => usize::try_from(at.number()?)?,
        (None, Some(back)) => length.checked_sub(usize::try_from(back.number()?)?).context("too far back")?,
        _ => bail!("either at: or back: is wanted"),
    };
    if place > length { bail!("{place} lies behind {length} octets") } else { Ok(place) }
}

fn flip(arguments: &mut Arguments) -> Result<Vec<u8>> {
    let mut octets = arguments.at(0)?.octets()?;
    let place = place(arguments, octets.len())?;
    let mask = arguments.octets_or("mask", &[1])?;
    let octet = octets.get_mut(place).context("behind the end")?;
    *octet ^= mask.first().copied().unwrap_or(1);
    Ok(octets)
}

fn cut(arguments: &mut Arguments) -> Result<Vec<u8>> {
    let mut octets = arguments.at(0)?.octets()?;
    let place = place(arguments, octets.len())?;
    octets.truncate(place);
    Ok(octets)
}

/// `octets` with the one place where `found` stands holding `with` instead.
pub fn replace(octets: &[u8], found: &[u8], with: &[u8]) -> Result<Vec<u8>> {
    let places: Vec<usize> =
        octets.windows(found.len().max(1)).enumerate().filter(|(_, window)| *window == found).map(|(i, _)| i).collect();
    let [place] = places.as_slice() else { bail!("what is to be replaced is there {} times", places.len()) };
    let (before, rest) = octets.split_at(*place);
    Ok([before, with, rest.get(found.len()..).unwrap_or_default()].concat())
}

/// Octets that follow from a label.
pub fn pseudorandom(label: &str, count: usize) -> Vec<u8> {
    (0_u32..).flat_map(|block| HashAlg::Sha256.digest(&[label.as_bytes(), &block.to_be_bytes()])).take(count).collect()
}

fn part(element: &[u8], number: u64) -> Result<Vec<u8>> {
    let element = Element::parse(element, "element")?;
    let mut reader = element.reader();
    for _ in 0..number {
        reader.element()?;
    }
    Ok(reader.element()?.as_der().to_vec())
}

/// An identifier in dotted decimal, or by its name in the crate `vouchsafe-evidence`, such as `key-usage`.
pub fn oid_named(text: &str) -> Result<Oid> {
    let constant = text.replace('-', "_").to_uppercase();
    oid::ALL
        .iter()
        .find(|(name, _)| *name == constant)
        .map(|(_, oid)| *oid)
        .or_else(|| Oid::from_dotted(text))
        .with_context(|| format!("{text} is no object identifier"))
}

/// The tag of a context-specific constructed element.
pub const fn context(number: u8) -> u8 {
    Tag::context_constructed(number).leading_octet()
}
