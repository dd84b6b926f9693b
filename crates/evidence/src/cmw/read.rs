//! Reading wrappers of both serializations into one list of members.

use std::sync::Arc;

use super::{CONTENT_FORMAT_LAST, Cmw, LABEL_OCTETS, Likeness, MEMBERS, Member, MessageType, PRODUCTION};
use crate::{Malformed, Reason, base64url, cbor, json, limits};

/// The label under which a collection names its own type.
const COLLECTION_TYPE: &str = "__cmwc_t";
/// What a CBOR wrapper within a JSON collection begins with, and the other way round.
const CBOR_TUNNEL: &str = "#cmw-c2j-tunnel";
const JSON_TUNNEL: &str = "#cmw-j2c-tunnel";
/// The first tag that stands for a content format (RFC 9277, appendix B).
const TAG_FIRST: u64 = 0x6374_0101;
/// Content formats per 256 tags.
const TAG_STEP: u64 = 255;
/// The largest indicator: every kind of message that is defined (RFC 9999, "cm-type").
const INDICATOR_MAX: u64 = 0x1F;

/// Collects members while it descends.
pub(super) struct Flattener {
    members: Vec<Member>,
    path: Vec<Arc<str>>,
    depth: usize,
    /// Whether what is read stands in a tunnel, in which no other may open: each holds a copy of all that is in it.
    in_tunnel: bool,
}

const fn error(reason: Reason) -> Malformed {
    Malformed::new(PRODUCTION, 0, reason)
}

const fn unexpected(wanted: &'static str) -> Malformed {
    error(Reason::Unexpected(wanted))
}

impl Flattener {
    const fn new() -> Self {
        Self { members: Vec::new(), path: Vec::new(), depth: 0, in_tunnel: false }
    }

    pub(super) fn json(bytes: &[u8]) -> Result<Cmw, Malformed> {
        let value = json::Value::parse(bytes)?;
        let is_collection = matches!(value, json::Value::Object(_));
        let mut flattener = Self::new();
        flattener.read_json(&value)?;
        Ok(Cmw { members: flattener.members, is_collection })
    }

    pub(super) fn cbor(bytes: &[u8]) -> Result<Cmw, Malformed> {
        let value = cbor::Value::parse(bytes)?;
        let is_collection = matches!(value, cbor::Value::Map(_));
        let mut flattener = Self::new();
        flattener.read_cbor(&value)?;
        Ok(Cmw { members: flattener.members, is_collection })
    }

    fn push(&mut self, kind: MessageType, value: Vec<u8>, indicator: Option<u64>) -> Result<(), Malformed> {
        if self.members.len() >= MEMBERS {
            return Err(error(Reason::OverLimit { what: "members", limit: MEMBERS }));
        }
        if indicator.is_some_and(|bits| bits == 0 || bits > INDICATOR_MAX) {
            return Err(unexpected("an indicator of defined kinds"));
        }
        self.members.push(Member { path: self.path.clone(), kind, value, indicator });
        Ok(())
    }

    /// Reads what stands under a label, one level deeper.
    fn beneath(
        &mut self,
        label: String,
        read: impl FnOnce(&mut Self) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        self.depth = self.depth.saturating_add(1);
        if self.depth > limits::NESTING {
            return Err(error(Reason::OverLimit { what: "nesting", limit: limits::NESTING }));
        }
        if label.len() > LABEL_OCTETS {
            return Err(error(Reason::OverLimit { what: "octets of a label", limit: LABEL_OCTETS }));
        }
        self.path.push(label.into());
        read(self)?;
        self.path.pop();
        self.depth = self.depth.saturating_sub(1);
        Ok(())
    }

    /// Reads what stands in a tunnel, which only a collection may hold.
    fn through(
        &mut self,
        serialization: &str,
        read: impl FnOnce(&mut Self) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        if self.in_tunnel || self.depth == 0 {
            return Err(unexpected("no tunnel here"));
        }
        self.in_tunnel = true;
        self.beneath(serialization.to_owned(), read)?;
        self.in_tunnel = false;
        Ok(())
    }

    fn read_json(&mut self, value: &json::Value) -> Result<(), Malformed> {
        match value {
            json::Value::Array(fields) => self.read_json_array(fields),
            json::Value::Object(entries) => {
                let mut count = 0_usize;
                for (label, entry) in entries {
                    if label == COLLECTION_TYPE {
                        check_collection_type(entry.text())?;
                        continue;
                    }
                    count = count.saturating_add(1);
                    self.beneath(label.clone(), |deeper| deeper.read_json(entry))?;
                }
                if count == 0 { Err(error(Reason::Missing("a member of the collection"))) } else { Ok(()) }
            }
            json::Value::Boolean(_) | json::Value::Null | json::Value::Number(_) | json::Value::Text(_) => {
                Err(unexpected("a record or a collection"))
            }
        }
    }

    fn read_json_array(&mut self, fields: &[json::Value]) -> Result<(), Malformed> {
        let (kind, value, indicator) = match fields {
            [kind, value] => (kind, value, None),
            [kind, value, indicator] => {
                let bits = indicator.unsigned().ok_or_else(|| unexpected("an indicator as a number"))?;
                (kind, value, Some(bits))
            }
            _ => return Err(unexpected("two or three fields of a record")),
        };
        let kind = kind.text().ok_or_else(|| unexpected("a media type"))?;
        let value = value.text().and_then(base64url::decode).ok_or_else(|| unexpected("a value in base64url"))?;
        if kind == CBOR_TUNNEL && indicator.is_none() {
            let inner = cbor::Value::parse(&value)?;
            return self.through("cbor", |deeper| deeper.read_cbor(&inner));
        }
        self.push(media_type(kind)?, value, indicator)
    }

    fn read_cbor(&mut self, value: &cbor::Value<'_>) -> Result<(), Malformed> {
        match value {
            cbor::Value::Array(fields) => self.read_cbor_array(fields),
            cbor::Value::Map(entries) => {
                let mut count = 0_usize;
                for (label, entry) in entries {
                    if label.text() == Some(COLLECTION_TYPE) {
                        check_collection_type(entry.text())?;
                        continue;
                    }
                    let label = match (label.text(), label.integer()) {
                        (Some(text), _) => text.to_owned(),
                        (None, Some(number)) => number.to_string(),
                        (None, None) => return Err(unexpected("a label as text or integer")),
                    };
                    count = count.saturating_add(1);
                    self.beneath(label, |deeper| deeper.read_cbor(entry))?;
                }
                if count == 0 { Err(error(Reason::Missing("a member of the collection"))) } else { Ok(()) }
            }
            cbor::Value::Tag(number, inner) => {
                let value = inner.bytes().ok_or_else(|| unexpected("a byte string behind the tag"))?;
                let kind = content_format_of_tag(*number).map_or(MessageType::Tag(*number), MessageType::ContentFormat);
                self.push(kind, value.to_vec(), None)
            }
            cbor::Value::Bytes(_)
            | cbor::Value::Negative(_)
            | cbor::Value::Simple(..)
            | cbor::Value::Text(_)
            | cbor::Value::Unsigned(_) => Err(unexpected("a record, a tag or a collection")),
        }
    }

    fn read_cbor_array(&mut self, fields: &[cbor::Value<'_>]) -> Result<(), Malformed> {
        let (kind, value, indicator) = match fields {
            [kind, value] => (kind, value, None),
            [kind, value, cbor::Value::Unsigned(indicator)] => (kind, value, Some(*indicator)),
            _ => return Err(unexpected("two or three fields of a record")),
        };
        let value = value.bytes().ok_or_else(|| unexpected("a value as a byte string"))?;
        if kind.text() == Some(JSON_TUNNEL) && indicator.is_none() {
            let inner = json::Value::parse(value)?;
            return self.through("json", |deeper| deeper.read_json(&inner));
        }
        let kind = match (kind.text(), kind.integer().and_then(|number| u16::try_from(number).ok())) {
            (Some(text), _) => media_type(text)?,
            (None, Some(number)) => MessageType::ContentFormat(number),
            (None, None) => return Err(unexpected("a media type or a content format")),
        };
        self.push(kind, value.to_vec(), indicator)
    }
}

/// A media type: two names with a solidus between them (RFC 6838, 4.2), parameters left alone.
fn media_type(text: &str) -> Result<MessageType, Malformed> {
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(|octet| octet.is_ascii_graphic());
    let essence = text.split(';').next().unwrap_or_default().trim();
    match essence.split_once('/') {
        Some((kind, subtype)) if is_name(kind) && is_name(subtype) && text.is_ascii() && !kind.starts_with('#') => {
            Ok(MessageType::MediaType(text.to_owned()))
        }
        _ => Err(unexpected("a media type")),
    }
}

/// The type of a collection is an absolute URI or an object identifier in dotted decimal; nothing depends on which.
fn check_collection_type(text: Option<&str>) -> Result<(), Malformed> {
    let text = text.ok_or_else(|| unexpected("the collection's type as text"))?;
    let scheme = text.split_once(':').map(|(scheme, _)| scheme);
    let is_scheme = |scheme: &str| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'-' | b'.'))
    };
    let is_oid = !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit() || octet == b'.');
    if is_oid || scheme.is_some_and(is_scheme) { Ok(()) } else { Err(unexpected("a URI or an object identifier")) }
}

/// The content format that a tag stands for: the inverse of TN() in RFC 9277, appendix B.
fn content_format_of_tag(tag: u64) -> Option<u16> {
    let offset = tag.checked_sub(TAG_FIRST)?;
    let (step, rest) = (offset / 256, offset % 256);
    // Every 256th number is left out, so that no octet of a tag is zero.
    let number = (rest < TAG_STEP).then(|| step.saturating_mul(TAG_STEP).saturating_add(rest))?;
    u16::try_from(number).ok().filter(|number| *number <= CONTENT_FORMAT_LAST)
}

/// The tag of a COSE_Sign1 (RFC 9052, 4.2).
const COSE_SIGN1: u64 = 18;

pub(super) fn likeness(bytes: &[u8]) -> Likeness {
    let text = bytes.trim_ascii_start();
    match text.first() {
        Some(b'{') => match json::Value::parse(bytes) {
            Ok(value) if value.member("payload").is_some() && value.member("signatures").is_some() => Likeness::Signed,
            Ok(value) if value.member("payload").is_some() && value.member("signature").is_some() => Likeness::Signed,
            Ok(json::Value::Object(entries)) => like(!entries.is_empty() && entries.iter().all(is_json_entry)),
            _ => like(holds(bytes, COLLECTION_TYPE.as_bytes()) || holds(bytes, super::MEDIA_TYPE_PREFIX.as_bytes())),
        },
        Some(b'[') => match json::Value::parse(bytes) {
            Ok(json::Value::Array(fields)) => like(is_json_record(&fields)),
            _ => like(holds(bytes, super::MEDIA_TYPE_PREFIX.as_bytes())),
        },
        Some(b'e') if is_compact_jws(text) => Likeness::Signed,
        _ => cbor_likeness(bytes),
    }
}

fn cbor_likeness(bytes: &[u8]) -> Likeness {
    let names_type = holds(bytes, super::MEDIA_TYPE_PREFIX.as_bytes()) || holds(bytes, COLLECTION_TYPE.as_bytes());
    match (bytes.first().map(|first| first >> 5), cbor::Value::parse(bytes)) {
        (Some(6), Ok(cbor::Value::Tag(COSE_SIGN1, _))) => Likeness::Signed,
        (Some(6), Ok(cbor::Value::Tag(number, _))) => like(content_format_of_tag(number).is_some()),
        (Some(4), Ok(cbor::Value::Array(fields))) => like(is_cbor_record(&fields)),
        (Some(5), Ok(cbor::Value::Map(entries))) => like(!entries.is_empty() && entries.iter().all(is_cbor_entry)),
        (Some(4..=6), Err(_)) => like(names_type),
        _ => Likeness::None,
    }
}

const fn like(is_wrapper: bool) -> Likeness {
    if is_wrapper { Likeness::Wrapper } else { Likeness::None }
}

fn holds(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

fn is_json_record(fields: &[json::Value]) -> bool {
    matches!(fields, [kind, json::Value::Text(_), ..] if kind.text().is_some_and(|text| text.contains('/') || text.starts_with("#cmw-")))
}

fn is_json_entry((label, value): &(String, json::Value)) -> bool {
    match value {
        json::Value::Array(fields) => is_json_record(fields),
        json::Value::Object(entries) => !entries.is_empty() && entries.iter().all(is_json_entry),
        json::Value::Text(_) => label == COLLECTION_TYPE,
        json::Value::Boolean(_) | json::Value::Null | json::Value::Number(_) => false,
    }
}

fn is_cbor_record(fields: &[cbor::Value<'_>]) -> bool {
    let is_type = |kind: &cbor::Value<'_>| {
        kind.text().is_some_and(|text| text.contains('/') || text.starts_with("#cmw-")) || kind.integer().is_some()
    };
    matches!(fields, [kind, cbor::Value::Bytes(_)] | [kind, cbor::Value::Bytes(_), cbor::Value::Unsigned(_)] if is_type(kind))
}

fn is_cbor_entry((label, value): &(cbor::Value<'_>, cbor::Value<'_>)) -> bool {
    match value {
        cbor::Value::Array(fields) => is_cbor_record(fields),
        cbor::Value::Map(entries) => !entries.is_empty() && entries.iter().all(is_cbor_entry),
        cbor::Value::Tag(_, inner) => inner.bytes().is_some(),
        cbor::Value::Text(_) => label.text() == Some(COLLECTION_TYPE),
        cbor::Value::Bytes(_) | cbor::Value::Negative(_) | cbor::Value::Simple(..) | cbor::Value::Unsigned(_) => false,
    }
}

/// Whether a text is a JWS in its compact form whose header names a wrapper as its content.
fn is_compact_jws(text: &[u8]) -> bool {
    let Ok(text) = core::str::from_utf8(text) else { return false };
    let mut parts = text.trim().split('.');
    let header = parts.next().and_then(base64url::decode).and_then(|header| json::Value::parse(&header).ok());
    header.is_some_and(|header| header.member("alg").is_some()) && parts.count() == 2
}

#[cfg(test)]
mod tests {
    use super::super::{Content, content_format, media_type};
    use super::*;
    use crate::statement::FormatId;

    #[test]
    fn content_formats_and_tags_are_those_of_rfc_9277() {
        for (number, tag) in [(0, 0x6374_0101), (254, 0x6374_01FF), (255, 0x6374_0201), (30_001, 1_668_576_935)] {
            assert_eq!(content_format_of_tag(tag), Some(number), "{number}");
        }
        assert_eq!(content_format_of_tag(0x6374_0200), None);
        assert_eq!(content_format_of_tag(18), None);
        assert_eq!(content_format(FormatId::TpmCertify), Some(65_000));
    }

    #[test]
    fn records_of_both_serializations_are_one() {
        let json = Cmw::parse(br#"["application/vnd.vouchsafe.tpm-certify","MAA",4]"#).unwrap();
        let text = media_type(FormatId::TpmCertify);
        let length = u8::try_from(text.len()).unwrap();
        let cbor = [&[0x83, 0x78, length][..], text.as_bytes(), &[0x42, 0x30, 0x00, 0x04]].concat();
        assert_eq!(Cmw::parse(&cbor).unwrap(), json);
        assert!(matches!(json.members[0].content(), Content::Evidence(_)));
        let by_number = Cmw::parse(b"\x82\x19\xfd\xe8\x42\x30\x00").unwrap();
        assert_eq!(by_number.members[0].content(), json.members[0].content());
        assert_eq!(Cmw::parse(b"\xda\x63\x74\xff\xe7\x42\x30\x00").unwrap(), by_number);
        assert!(!json.is_collection);
    }

    #[test]
    fn collections_nest_and_change_serialization() {
        let text = br##"{"__cmwc_t":"tag:example.org,2026:x","a":{"b":["text/plain","MAA"]},"c":["#cmw-c2j-tunnel","ggFCMAA"]}"##;
        let members = Cmw::parse(text).unwrap().members;
        let paths: Vec<String> = members.iter().map(|member| member.path.join("/")).collect();
        assert_eq!(paths, ["a/b", "c/cbor"]);
        assert_eq!(members[1].kind, MessageType::ContentFormat(1));
        let inner = br#"["text/plain","MAA"]"#;
        let tunnel = [&b"\xa1\x01\x82\x6f#cmw-j2c-tunnel"[..], &[0x54], inner].concat();
        assert_eq!(Cmw::parse(&tunnel).unwrap().members[0].path.join("/"), "1/json");
    }

    #[test]
    fn what_is_no_wrapper_is_refused() {
        for text in [
            "{}",
            r#"{"__cmwc_t":"1.2.3"}"#,
            r#"{"a":["text/plain","MAA"],"a":["text/plain","MAA"]}"#,
            "[]",
            r#"["text/plain"]"#,
            r#"["text/plain","MAA=",4]"#,
            r#"["text/plain","MAA",0]"#,
            r#"["text/plain","MAA",32]"#,
            r#"["text/plain","MAA",4,4]"#,
            r#"["plain","MAA"]"#,
            r#"[1,"MAA"]"#,
            r#"{"a":1}"#,
            r#"{"__cmwc_t":"x","a":["a/b","MAA"]}"#,
            r##"["#cmw-c2j-tunnel","ggFCMAA"]"##,
        ] {
            assert!(Cmw::parse(text.as_bytes()).is_err(), "{text}");
        }
        for bytes in
            [&b"\xa0"[..], b"\x81\x01", b"\x82\x01\x61a", b"\x82\x20\x40", b"\xc1\x01", b"\x83\x01\x40\x00", b"\x00"]
        {
            assert!(Cmw::parse(bytes).is_err(), "{bytes:02x?}");
        }
        let deep = format!("{}[\"a/b\",\"MAA\"]{}", "{\"a\":".repeat(17), "}".repeat(17));
        assert!(Cmw::parse(deep.as_bytes()).is_err());
        let entries: Vec<String> = (0..65).map(|n| format!("\"{n}\":[\"a/b\",\"MAA\"]")).collect();
        assert!(Cmw::parse(format!("{{{}}}", entries.join(",")).as_bytes()).is_err());
    }

    #[test]
    fn signed_wrappers_are_told() {
        assert_eq!(likeness(br#"{"payload":"e30","signature":"","protected":""}"#), Likeness::Signed);
        assert_eq!(likeness(b"eyJhbGciOiJFUzI1NiJ9.e30.AA"), Likeness::Signed);
        assert_eq!(likeness(b"\xd2\x84\x40\xa0\x40\x40"), Likeness::Signed);
        assert_eq!(likeness(b"{\"a\":[\"a/b\",\"MAA\"]}"), Likeness::Wrapper);
        assert_eq!(likeness(b"{\"a\":1}"), Likeness::None);
        assert_eq!(likeness(b"\xff\x54CG"), Likeness::None);
    }
}
