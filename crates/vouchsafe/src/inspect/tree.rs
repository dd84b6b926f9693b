//! What a file holds, as a tree that is shown in words or as JSON.

use serde_json::{Value, json};
use vouchsafe_evidence::text::printable;

use crate::console::{Tone, hanging, paint};

/// One thing, with the things in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    name: String,
    value: Option<String>,
    items: Vec<Item>,
    malformed: bool,
}

impl Item {
    /// Something that consists of other things.
    pub fn group(name: impl Into<String>, items: Vec<Self>) -> Self {
        Self { name: name.into(), value: None, items, malformed: false }
    }

    /// Something that has a value.
    pub fn leaf(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: Some(value.into()), items: Vec::new(), malformed: false }
    }

    /// Something that is not what it should be, and why.
    pub fn malformed(name: impl Into<String>, why: impl std::fmt::Display) -> Self {
        Self { malformed: true, ..Self::leaf(name, why.to_string()) }
    }

    /// The same, with a value beside what it consists of.
    #[must_use]
    pub fn says(mut self, value: impl Into<String>) -> Self {
        self.value = Some(value.into());
        self
    }

    /// Lines with two spaces more at each depth.
    pub fn to_text(&self, depth: usize) -> String {
        let indent = depth * 2;
        let name = printable(&self.name);
        let mut text = match &self.value {
            None => format!("{:indent$}{}\n", "", paint(&name, Tone::Strong)),
            Some(value) => {
                let mark = if self.malformed { paint("malformed: ", Tone::Bad) } else { String::new() };
                hanging(&format!("{:indent$}{name}: ", ""), &format!("{mark}{}", printable(value)), indent + 4)
            }
        };
        for item in &self.items {
            text.push_str(&item.to_text(depth + 1));
        }
        text
    }

    /// An object with `name`, and `value`, `malformed` and `items` where they are there.
    pub fn to_json(&self) -> Value {
        let mut object = serde_json::Map::new();
        object.insert("name".to_owned(), json!(printable(&self.name)));
        if let Some(value) = &self.value {
            object.insert("value".to_owned(), json!(printable(value)));
        }
        if self.malformed {
            object.insert("malformed".to_owned(), json!(true));
        }
        if !self.items.is_empty() {
            object.insert("items".to_owned(), self.items.iter().map(Self::to_json).collect());
        }
        Value::Object(object)
    }
}
