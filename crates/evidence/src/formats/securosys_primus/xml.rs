//! As much XML as key attestations use: elements, attributes and text.
//!
//! No document type, so no entity of its own and nothing that is fetched; no processing instruction, comment or CDATA
//! section, and no namespaces. What is signed are the octets of the file, so nothing is ever written back.

use crate::{Malformed, Reason};

const PRODUCTION: &str = "key attestation XML";
/// Octets of one document.
pub const DOCUMENT_OCTETS: usize = 64 * 1024;
/// Elements in one document.
const ELEMENTS: usize = 512;
/// Depth of elements in each other.
const DEPTH: usize = 8;
/// Attributes of one element.
const ATTRIBUTES: usize = 16;

/// An element.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its attributes, no name twice.
    pub attributes: Vec<(String, String)>,
    /// Its children. No element has children and text.
    pub children: Vec<Node>,
    /// Its text, blanks around it left out.
    pub text: String,
}

impl Node {
    /// The one child of this name.
    #[must_use]
    pub fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The attribute of this name.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// The element that a document is. Siblings of one name are refused, since readers differ in which they take.
///
/// # Errors
/// [`Malformed`] if it is not well-formed, exceeds a bound, or uses anything that is not read here.
pub fn parse(document: &[u8]) -> Result<Node, Malformed> {
    if document.len() > DOCUMENT_OCTETS {
        return Err(Malformed::new(PRODUCTION, 0, over("document octets", DOCUMENT_OCTETS)));
    }
    let text = core::str::from_utf8(document)
        .map_err(|error| Malformed::new(PRODUCTION, error.valid_up_to(), Reason::Unexpected("UTF-8")))?;
    let mut reader = Reader { text: text.strip_prefix('\u{FEFF}').unwrap_or(text), offset: 0, elements: 0 };
    reader.declaration()?;
    reader.blanks();
    let root = reader.element(1)?;
    reader.blanks();
    match reader.rest() {
        "" => Ok(root),
        rest => Err(reader.error(Reason::Trailing(rest.len()))),
    }
}

const fn over(what: &'static str, limit: usize) -> Reason {
    Reason::OverLimit { what, limit }
}

const fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\r' | '\n')
}

const fn is_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | '-' | '.')
}

struct Reader<'a> {
    text: &'a str,
    offset: usize,
    elements: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.offset..).unwrap_or_default()
    }

    const fn error(&self, reason: Reason) -> Malformed {
        Malformed::new(PRODUCTION, self.offset, reason)
    }

    fn skip(&mut self, octets: usize) {
        self.offset = self.offset.saturating_add(octets).min(self.text.len());
    }

    fn blanks(&mut self) -> bool {
        let rest = self.rest();
        let blanks = rest.len().saturating_sub(rest.trim_start_matches(is_blank).len());
        self.skip(blanks);
        blanks > 0
    }

    fn take(&mut self, literal: &'static str) -> Result<(), Malformed> {
        if !self.rest().starts_with(literal) {
            return Err(self.error(Reason::Unexpected(literal)));
        }
        self.skip(literal.len());
        Ok(())
    }

    /// What stands before `end`, which is passed as well.
    fn until(&mut self, end: &'static str) -> Result<&'a str, Malformed> {
        let Some((before, _)) = self.rest().split_once(end) else {
            return Err(self.error(Reason::Missing(end)));
        };
        self.skip(before.len().saturating_add(end.len()));
        Ok(before)
    }

    fn declaration(&mut self) -> Result<(), Malformed> {
        if self.rest().starts_with("<?xml") {
            let declaration = self.until("?>")?;
            let mut lower = declaration.to_ascii_lowercase();
            lower.retain(|character| !is_blank(character));
            if lower.contains("encoding=") && !lower.contains("utf-8") {
                return Err(self.error(Reason::Unexpected("encoding UTF-8")));
            }
        }
        Ok(())
    }

    fn name(&mut self) -> Result<String, Malformed> {
        let rest = self.rest();
        let length = rest.len().saturating_sub(rest.trim_start_matches(is_name).len());
        let name = rest
            .get(..length)
            .filter(|name| name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_'));
        let name = name.ok_or(self.error(Reason::Unexpected("name")))?.to_owned();
        self.skip(length);
        Ok(name)
    }

    fn element(&mut self, depth: usize) -> Result<Node, Malformed> {
        self.elements = self.elements.saturating_add(1);
        if depth > DEPTH || self.elements > ELEMENTS {
            return Err(self.error(over("elements", if depth > DEPTH { DEPTH } else { ELEMENTS })));
        }
        self.take("<")?;
        let mut node = Node { name: self.name()?, ..Node::default() };
        if self.attributes(&mut node)? {
            return Ok(node);
        }
        let mut text = String::new();
        loop {
            let (before, _) = self.rest().split_once('<').ok_or(self.error(Reason::Missing("end tag")))?;
            self.unescape(before, &mut text)?;
            self.skip(before.len());
            if self.rest().starts_with("</") {
                break;
            }
            let child = self.element(depth.saturating_add(1))?;
            if node.child(&child.name).is_some() {
                return Err(self.error(Reason::Duplicate("element")));
            }
            node.children.push(child);
        }
        self.take("</")?;
        if self.name()? != node.name {
            return Err(self.error(Reason::Unexpected("end tag of the same name")));
        }
        self.blanks();
        self.take(">")?;
        node.text = text.trim_matches(is_blank).to_owned();
        if !node.children.is_empty() && !node.text.is_empty() {
            return Err(self.error(Reason::Unexpected("children or text")));
        }
        Ok(node)
    }

    /// Reads to the end of a start tag; whether it ends its element as well.
    fn attributes(&mut self, node: &mut Node) -> Result<bool, Malformed> {
        loop {
            let blanks = self.blanks();
            if self.rest().starts_with("/>") {
                self.take("/>")?;
                return Ok(true);
            }
            if self.rest().starts_with('>') {
                self.take(">")?;
                return Ok(false);
            }
            if !blanks || node.attributes.len() >= ATTRIBUTES {
                return Err(self.error(over("attributes", ATTRIBUTES)));
            }
            let name = self.name()?;
            self.blanks();
            self.take("=")?;
            self.blanks();
            let quote = if self.rest().starts_with('"') { "\"" } else { "'" };
            self.take(quote)?;
            let raw = self.until(quote)?;
            if raw.contains('<') || node.attribute(&name).is_some() {
                return Err(self.error(Reason::Unexpected("value of an attribute, once")));
            }
            let mut value = String::new();
            self.unescape(raw, &mut value)?;
            node.attributes.push((name, value));
        }
    }

    /// Adds text with the references resolved that XML itself defines.
    fn unescape(&self, raw: &str, text: &mut String) -> Result<(), Malformed> {
        let mut parts = raw.split('&');
        text.push_str(parts.next().unwrap_or_default());
        for part in parts {
            let unknown = self.error(Reason::Unexpected("reference that XML defines"));
            let (reference, rest) = part.split_once(';').ok_or(unknown)?;
            text.push(match reference {
                "amp" => '&',
                "lt" => '<',
                "gt" => '>',
                "quot" => '"',
                "apos" => '\'',
                number => {
                    let digits = number.strip_prefix('#').ok_or(unknown)?;
                    let code = match digits.strip_prefix('x') {
                        Some(hexadecimal) => u32::from_str_radix(hexadecimal, 16),
                        None => digits.parse(),
                    };
                    code.ok().and_then(char::from_u32).filter(|character| *character != '\0').ok_or(unknown)?
                }
            });
            text.push_str(rest);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_attributes_and_references_are_read() {
        let root = parse(
            b"<?xml version=\"1.0\" encoding='UTF-8'?>\n<a x=\"1\" y='&lt;'>\n <b>t &amp; &#x41;</b><c/>\n</a >\n\n",
        );
        let root = root.unwrap();
        assert_eq!((root.name.as_str(), root.attribute("x"), root.attribute("y")), ("a", Some("1"), Some("<")));
        assert_eq!(root.child("b").unwrap().text, "t & A");
        assert!(root.child("c").unwrap().children.is_empty());
    }

    #[test]
    fn what_readers_might_take_differently_is_refused() {
        for document in [
            "",
            "<a>",
            "<a></b>",
            "<a/><b/>",
            "<a/>x",
            "x<a/>",
            "<a x='1' x='2'/>",
            "<a><b/><b/></a>",
            "<a>x<b/></a>",
            "<!DOCTYPE a><a/>",
            "<!DOCTYPE a [<!ENTITY e SYSTEM \"file:///etc/passwd\">]><a>&e;</a>",
            "<a>&e;</a>",
            "<a><!-- c --></a>",
            "<a><![CDATA[x]]></a>",
            "<?php ?><a/>",
            "<a x='<'/>",
            "<a>&#0;</a>",
            "<a>&amp</a>",
            "<?xml version='1.0' encoding='UTF-16'?><a/>",
            "<1a/>",
            "<a x=1/>",
            "<n:a/>",
        ] {
            assert!(parse(document.as_bytes()).is_err(), "{document}");
        }
        let deep = format!("{}{}", "<a>".repeat(100_000), "</a>".repeat(100_000));
        assert!(parse(deep.as_bytes()).is_err());
        assert!(parse("<a>".repeat(20_000).as_bytes()).is_err());
        assert!(parse(b"<a>\xFF</a>").is_err());
    }
}
