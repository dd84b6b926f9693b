//! Writing JSON in its one form: no blanks, members in the order of the calls, escapes only where RFC 8259 demands them.

use crate::base64url;

/// Writes the members of an object.
#[derive(Debug, Default)]
pub(super) struct Object {
    text: String,
}

impl Object {
    pub(super) const fn new() -> Self {
        Self { text: String::new() }
    }

    /// A member whose value is JSON already.
    pub(super) fn raw(mut self, name: &str, json: &str) -> Self {
        self.text.push(if self.text.is_empty() { '{' } else { ',' });
        push_string(&mut self.text, name);
        self.text.push(':');
        self.text.push_str(json);
        self
    }

    pub(super) fn text(self, name: &str, value: &str) -> Self {
        self.raw(name, &string(value))
    }

    pub(super) fn number(self, name: &str, value: u64) -> Self {
        self.raw(name, &value.to_string())
    }

    /// Octets in base64url.
    pub(super) fn octets(self, name: &str, value: &[u8]) -> Self {
        self.text(name, &base64url::encode(value))
    }

    pub(super) fn list(self, name: &str, values: impl IntoIterator<Item = String>) -> Self {
        let joined = values.into_iter().collect::<Vec<_>>().join(",");
        self.raw(name, &format!("[{joined}]"))
    }

    pub(super) fn end(mut self) -> String {
        if self.text.is_empty() {
            self.text.push('{');
        }
        self.text.push('}');
        self.text
    }
}

/// A string as JSON.
pub(super) fn string(value: &str) -> String {
    let mut json = String::with_capacity(value.len().saturating_add(2));
    push_string(&mut json, value);
    json
}

fn push_string(json: &mut String, value: &str) {
    json.push('"');
    for character in value.chars() {
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\u{8}' => json.push_str("\\b"),
            '\u{c}' => json.push_str("\\f"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            control if control < ' ' => json.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => json.push(other),
        }
    }
    json.push('"');
}
