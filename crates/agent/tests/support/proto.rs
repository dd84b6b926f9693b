//! A reader of `.proto` files, and what a later version of one may change.

#![allow(dead_code)]

use std::collections::{BTreeMap, BTreeSet};

/// A field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: String,
    pub kind: String,
    /// `single`, `repeated`, or `oneof:` and its name.
    pub cardinality: String,
}

/// A message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    pub fields: BTreeMap<u32, Field>,
    pub reserved: BTreeSet<u32>,
    pub reserved_names: BTreeSet<String>,
}

/// An operation, as the table in a comment lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    pub name: String,
    pub request: String,
    pub result: String,
}

/// What one or several files declare.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schema {
    pub messages: BTreeMap<String, Message>,
    pub operations: BTreeMap<u32, Operation>,
}

impl Schema {
    /// Reads files.
    pub fn parse(files: &[&str]) -> Schema {
        let mut schema = Schema::default();
        for file in files {
            schema.read_operations(file);
            let code: String = file.lines().map(|line| line.split("//").next().unwrap().to_owned() + "\n").collect();
            schema.read_messages(&code);
        }
        schema
    }

    /// Lines such as `//   0x0100  AttestKey  AttestKeyOperation -> AttestationResult`.
    fn read_operations(&mut self, file: &str) {
        for line in file.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let ["//", number, name, .., request, "->", result] = words.as_slice() else { continue };
            let number = u32::from_str_radix(number.strip_prefix("0x").unwrap(), 16).unwrap();
            let operation =
                Operation { name: (*name).to_owned(), request: (*request).to_owned(), result: (*result).to_owned() };
            assert!(self.operations.insert(number, operation).is_none(), "opcode {number:#x} twice");
        }
    }

    fn read_messages(&mut self, code: &str) {
        let spaced: String = code
            .chars()
            .map(|character| match character {
                '{' | '}' | ';' | '=' | ',' => format!(" {character} "),
                other => other.to_string(),
            })
            .collect();
        let words: Vec<&str> = spaced.split_whitespace().collect();
        let (mut message, mut oneof) = (None::<String>, None::<&str>);
        let mut rest = words.as_slice();
        while let Some((first, after)) = rest.split_first() {
            let end = after.iter().position(|word| ["{", "}", ";"].contains(word));
            let statement = match *first {
                "}" => &[],
                _ => &rest[..=end.unwrap()],
            };
            let terminator = if *first == "}" { "}" } else { after[end.unwrap()] };
            rest = if *first == "}" { after } else { &after[end.unwrap() + 1..] };
            match (statement, terminator) {
                ([], _) if oneof.is_some() => oneof = None,
                ([], _) => assert!(message.take().is_some(), "a brace too many"),
                (["message", name], "{") => {
                    assert!(message.is_none(), "a message within a message");
                    assert!(self.messages.insert((*name).to_owned(), Message::default()).is_none(), "{name} twice");
                    message = Some((*name).to_owned());
                }
                (["oneof", name], "{") if message.is_some() => oneof = Some(name),
                (["syntax", "=", "\"proto3\""], ";") | (["package", _], ";") => {}
                (statement, ";") => {
                    let name = message.as_ref().unwrap_or_else(|| panic!("{statement:?} in no message"));
                    self.messages.get_mut(name).unwrap().read(statement, oneof);
                }
                (statement, terminator) => panic!("{statement:?} {terminator}"),
            }
        }
        assert!(message.is_none() && oneof.is_none(), "a brace is missing");
    }

    /// As lines, one for each thing that must stay.
    pub fn lines(&self) -> BTreeSet<String> {
        let mut lines = BTreeSet::new();
        for (number, Operation { name, request, result }) in &self.operations {
            lines.insert(format!("opcode 0x{number:04X} {name} {request} {result}"));
        }
        for (name, message) in &self.messages {
            lines.insert(format!("message {name}"));
            for (number, Field { name: field, kind, cardinality }) in &message.fields {
                lines.insert(format!("field {name} {number} {field} {kind} {cardinality}"));
            }
            for number in &message.reserved {
                lines.insert(format!("reserved {name} {number}"));
            }
            for field in &message.reserved_names {
                lines.insert(format!("reserved-name {name} {field}"));
            }
        }
        lines
    }

    /// What breaks those who hold to the lines of an earlier version. Additions do not. A field may go if its number and
    /// its name are reserved; what is reserved stays so.
    pub fn breaks(&self, earlier: &str) -> Vec<String> {
        let mine = self.lines();
        let gone = |line: &&str| !mine.contains(*line) && !self.is_withdrawn(line);
        let earlier = earlier.lines().filter(|line| !line.starts_with('#'));
        let mut breaks: Vec<String> = earlier.filter(gone).map(|line| format!("gone: {line}")).collect();
        for (name, message) in &self.messages {
            for (number, field) in &message.fields {
                if message.reserved.contains(number) || message.reserved_names.contains(&field.name) {
                    breaks.push(format!("reserved and used: {name} {number} {}", field.name));
                }
            }
        }
        breaks
    }

    /// Whether a line is a field's that was taken away as it should be.
    fn is_withdrawn(&self, line: &str) -> bool {
        let words: Vec<&str> = line.split(' ').collect();
        let ["field", message, number, field, ..] = words.as_slice() else { return false };
        self.messages.get(*message).is_some_and(|message| {
            message.reserved.contains(&number.parse().unwrap()) && message.reserved_names.contains(*field)
        })
    }
}

impl Message {
    fn read(&mut self, statement: &[&str], oneof: Option<&str>) {
        let (kind, name, number, repeated) = match statement {
            ["reserved", list @ ..] => return self.reserve(list),
            ["repeated", kind, name, "=", number] => (*kind, *name, *number, true),
            [kind, name, "=", number] => (*kind, *name, *number, false),
            other => panic!("{other:?}"),
        };
        let cardinality = match (oneof, repeated) {
            (Some(oneof), false) => format!("oneof:{oneof}"),
            (None, true) => "repeated".to_owned(),
            (None, false) => "single".to_owned(),
            (Some(_), true) => panic!("{name} is repeated within a oneof"),
        };
        let field = Field { name: name.to_owned(), kind: kind.to_owned(), cardinality };
        assert!(self.fields.values().all(|other| other.name != name), "{name} twice");
        assert!(self.fields.insert(number.parse().unwrap(), field).is_none(), "number of {name} twice");
    }

    fn reserve(&mut self, list: &[&str]) {
        for item in list.split(|word| *word == ",") {
            match item {
                [name] if name.starts_with('"') => {
                    self.reserved_names.insert(name.trim_matches('"').to_owned());
                }
                [number] => {
                    self.reserved.insert(number.parse().unwrap());
                }
                [first, "to", last] => self.reserved.extend(first.parse::<u32>().unwrap()..=last.parse().unwrap()),
                other => panic!("{other:?}"),
            }
        }
    }
}
