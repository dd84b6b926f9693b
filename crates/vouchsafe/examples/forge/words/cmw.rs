//! Conceptual Message Wrappers.

use anyhow::{Context, Result, bail};
use vouchsafe_evidence::cmw;
use vouchsafe_evidence::statement::FormatId;

use super::super::Scope;
use super::super::value::{Arguments, Value};
use super::octets::element;
use super::text::{base64url, cbor_string, head};

pub fn call(_: &Scope<'_>, word: &str, arguments: &mut Arguments) -> Result<Option<Value>> {
    Ok(Some(Value::Octets(match word {
        // json-record("type", value, ind: n): the type is a format id or a media type
        "json-record" => {
            let kind = media_type(arguments.at(0)?.text()?);
            let mut fields =
                vec![serde_json::to_vec(&kind)?, serde_json::to_vec(&base64url(&arguments.at(1)?.octets()?))?];
            fields.extend(
                arguments.labelled("ind").map(|bits| bits.number().map(|n| n.to_string().into_bytes())).transpose()?,
            );
            [b"[", fields.join(&b","[..]).as_slice(), b"]"].concat()
        }
        // cbor-record("type", value, ind: n, by: "number"): a content format in place of the media type
        "cbor-record" => cbor_record(arguments)?,
        // cbor-tagged("format", value): by the tag of the format's content format (RFC 9277)
        "cbor-tagged" => {
            let number = content_format(arguments.at(0)?.text()?)?;
            let tag = 0x6374_0101 + u64::from(number / 255) * 256 + u64::from(number % 255);
            [head(6, tag), cbor_string(2, &arguments.at(1)?.octets()?)].concat()
        }
        // cmw-json(octets) and cmw-cbor(octets): the statement
        "cmw-json" => statement(&element(0x0C, &arguments.at(0)?.octets()?))?,
        "cmw-cbor" => statement(&element(0x04, &arguments.at(0)?.octets()?))?,
        _ => return Ok(None),
    })))
}

fn statement(stmt: &[u8]) -> Result<Vec<u8>> {
    let oid = FormatId::Cmw.oid().context("the type of wrappers")?;
    let oid = element(0x06, oid.as_der_contents());
    Ok(element(0x30, &[oid, stmt.to_vec()].concat()))
}

fn cbor_record(arguments: &mut Arguments) -> Result<Vec<u8>> {
    let kind = arguments.at(0)?;
    let value = arguments.at(1)?.octets()?;
    let kind = match arguments.text_or("by", "media type")?.as_str() {
        "media type" => cbor_string(3, media_type(kind.text()?).as_bytes()),
        "number" => head(0, content_format(kind.text()?)?.into()),
        other => bail!("types are not told by {other}"),
    };
    let mut fields = vec![kind, cbor_string(2, &value)];
    fields.extend(arguments.labelled("ind").map(|bits| bits.number().map(|n| head(0, n))).transpose()?);
    Ok([head(4, u64::try_from(fields.len())?), fields.concat()].concat())
}

fn media_type(text: &str) -> String {
    FormatId::from_id(text).map_or_else(|| text.to_owned(), cmw::media_type)
}

fn content_format(id: &str) -> Result<u16> {
    FormatId::from_id(id).and_then(cmw::content_format).with_context(|| format!("{id} has no content format"))
}
