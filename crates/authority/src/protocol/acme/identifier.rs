//! What an order is for: names of hosts, and identities of devices and of the modules in them.
//!
//! `permanent-identifier` and `hardware-module` are those of draft-ietf-acme-device-attest, sections 3 and 4.

use serde::{Deserialize, Serialize};
use vouchsafe_evidence::oid::{self, Oid};
use vouchsafe_evidence::x509::build::DerWriter;
use vouchsafe_evidence::x509::der::{Element, Tag};
use vouchsafe_evidence::x509::extensions::GeneralName;

use crate::names::AlternativeName;

/// Octets of a host's name (RFC 1035, section 2.3.4).
const DNS_OCTETS_MAX: usize = 253;
/// Octets of one of its labels.
const LABEL_OCTETS_MAX: usize = 63;
/// Octets of the identity of a device.
const IDENTITY_OCTETS_MAX: usize = 256;

/// Which kind of name it is.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq, Hash)]
#[serde(rename_all = "kebab-case")]
pub enum IdentifierKind {
    /// The name of a host, or with an asterisk of every host right below it.
    Dns,
    /// The identity of a module that holds keys.
    HardwareModule,
    /// The identity of a device.
    PermanentIdentifier,
}

impl IdentifierKind {
    /// The kind of alternative name as which a certificate holds it.
    pub(crate) const fn alternative_name(self) -> AlternativeName {
        match self {
            Self::Dns => AlternativeName::Dns,
            Self::HardwareModule => AlternativeName::HardwareModule,
            Self::PermanentIdentifier => AlternativeName::PermanentIdentifier,
        }
    }
}

/// A name that a certificate is asked for.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq, Hash)]
pub struct Identifier {
    /// Its kind.
    #[serde(rename = "type")]
    pub kind: IdentifierKind,
    /// Its text.
    pub value: String,
}

impl Identifier {
    /// Whether the text is one of its kind: host names in lower case, identities as the draft's grammar has them.
    #[must_use]
    pub fn is_well_formed(&self) -> bool {
        match self.kind {
            IdentifierKind::Dns => is_host(self.value.strip_prefix("*.").unwrap_or(&self.value)),
            IdentifierKind::PermanentIdentifier => match self.value.split_once('/') {
                None => is_identity(&self.value),
                Some((identity, assigner)) => is_identity(identity) && dotted(assigner).is_some(),
            },
            IdentifierKind::HardwareModule => {
                self.value.split_once('/').is_some_and(|(serial, kind)| is_identity(serial) && dotted(kind).is_some())
            }
        }
    }

    /// Whether it stands for every host right below a name.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        matches!(self.kind, IdentifierKind::Dns) && self.value.starts_with("*.")
    }

    /// The name as authorizations have it: without the asterisk (RFC 8555, section 7.1.3).
    #[must_use]
    pub fn host(&self) -> &str {
        self.value.strip_prefix("*.").unwrap_or(&self.value)
    }

    /// The name as a certificate holds it among the subject's alternative names; nothing if it is not well formed.
    #[must_use]
    pub fn general_name(&self) -> Option<GeneralName> {
        match self.kind {
            IdentifierKind::Dns => Some(GeneralName::Dns(self.value.clone().into_bytes())),
            IdentifierKind::PermanentIdentifier => {
                let (identity, assigner) = match self.value.split_once('/') {
                    None => (self.value.as_str(), None),
                    Some((identity, assigner)) => (identity, Some(dotted(assigner)?)),
                };
                Some(other_name(oid::ON_PERMANENT_IDENTIFIER, |fields| {
                    fields.string(Tag::UTF8_STRING, identity);
                    if let Some(assigner) = assigner {
                        fields.oid(assigner);
                    }
                }))
            }
            IdentifierKind::HardwareModule => {
                let (serial, kind) = self.value.split_once('/')?;
                let kind = dotted(kind)?;
                Some(other_name(oid::ON_HARDWARE_MODULE_NAME, |fields| {
                    fields.oid(kind).octet_string(serial.as_bytes());
                }))
            }
        }
    }
}

impl Identifier {
    /// What a name of a certificate stands for, host names in lower case; nothing if it is of no such kind, or is not exactly
    /// what [`Self::general_name`] writes.
    #[must_use]
    pub fn from_general_name(name: &GeneralName) -> Option<Self> {
        match name {
            GeneralName::Dns(host) => {
                let value = core::str::from_utf8(host).ok()?.to_ascii_lowercase();
                Some(Self { kind: IdentifierKind::Dns, value }).filter(Self::is_well_formed)
            }
            GeneralName::Other(der) => {
                let read = read_other_name(der)?;
                // What could be written in two ways would be read in one and mean another.
                (read.is_well_formed() && read.general_name().as_ref() == Some(name)).then_some(read)
            }
            GeneralName::Directory(_) | GeneralName::Email(_) | GeneralName::Ip(_) | GeneralName::Uri(_) => None,
        }
    }
}

/// The identifier that an otherName holds, as far as it can be read as one.
fn read_other_name(der: &[u8]) -> Option<Identifier> {
    let mut fields = Element::parse(der, "otherName").ok()?.reader();
    let kind = fields.oid("type-id").ok()?;
    let value = fields.expect(Tag::context_constructed(0), "value").ok()?;
    let mut value = value.reader().sequence("value").ok()?;
    let text = |octets: &[u8]| core::str::from_utf8(octets).ok().map(str::to_owned);
    match kind {
        oid::ON_PERMANENT_IDENTIFIER => {
            let identity = text(value.expect(Tag::UTF8_STRING, "identifierValue").ok()?.contents())?;
            let assigner = if value.is_empty() { None } else { Some(value.oid("assigner").ok()?) };
            let value = assigner.map_or_else(|| identity.clone(), |assigner| format!("{identity}/{assigner}"));
            Some(Identifier { kind: IdentifierKind::PermanentIdentifier, value })
        }
        oid::ON_HARDWARE_MODULE_NAME => {
            let kind = value.oid("hwType").ok()?;
            let serial = text(value.octet_string("hwSerialNum").ok()?)?;
            Some(Identifier { kind: IdentifierKind::HardwareModule, value: format!("{serial}/{kind}") })
        }
        _ => None,
    }
}

/// otherName (RFC 5280, section 4.2.1.6), whose value is a SEQUENCE.
fn other_name(kind: Oid, write: impl FnOnce(&mut DerWriter)) -> GeneralName {
    let mut writer = DerWriter::new();
    writer.constructed(Tag::context_constructed(0), |fields| {
        fields.oid(kind).constructed(Tag::context_constructed(0), |value| {
            value.sequence(write);
        });
    });
    GeneralName::Other(writer.into_der())
}

/// Letters, digits and hyphens in lower case; the last label is no number, since addresses are no names.
fn is_host(name: &str) -> bool {
    let is_label = |label: &str| {
        let allowed = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-';
        (1..=LABEL_OCTETS_MAX).contains(&label.len())
            && label.bytes().all(allowed)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_number = |label: &str| label.bytes().all(|octet| octet.is_ascii_digit());
    (1..=DNS_OCTETS_MAX).contains(&name.len())
        && name.split('.').all(is_label)
        && !name.rsplit('.').next().is_some_and(is_number)
}

fn is_identity(text: &str) -> bool {
    (1..=IDENTITY_OCTETS_MAX).contains(&text.len()) && vouchsafe_evidence::text::printable(text) == text
}

/// The object identifier that dotted decimal text writes, in its one form.
fn dotted(text: &str) -> Option<Oid> {
    Oid::from_dotted(text).filter(|oid| oid.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(kind: IdentifierKind, value: &str) -> bool {
        Identifier { kind, value: value.to_owned() }.is_well_formed()
    }

    #[test]
    fn names_of_hosts_are_narrow() {
        for good in ["example.com", "a", "*.example.com", "xn--bcher-kva.example", &format!("{}.x", "a".repeat(63))] {
            assert!(is(IdentifierKind::Dns, good), "{good}");
        }
        let long = ["a"; 128].join(".");
        for bad in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "Example.com",
            "a_b",
            "-a",
            "a-",
            "*",
            "*.*.a",
            "a.*.b",
            "10.0.0.1",
            "a.1",
            "::1",
            "a b",
            "a/b",
            "a:80",
            "é.example",
            &long,
            &format!("{}.x", "a".repeat(64)),
        ] {
            assert!(!is(IdentifierKind::Dns, bad), "{bad}");
        }
    }

    #[test]
    fn identities_follow_the_grammar() {
        for good in ["ABCDEF123456", "ABCDEF123456/1.2.3.4", "ak:00ff"] {
            assert!(is(IdentifierKind::PermanentIdentifier, good), "{good}");
        }
        for bad in ["", "/1.2.3", "a/", "a/1", "a/3.1", "a/1.2/3", "a/01.2.3", "a\u{202e}b", "a\n"] {
            assert!(!is(IdentifierKind::PermanentIdentifier, bad), "{bad}");
        }
        assert!(is(IdentifierKind::HardwareModule, "ABCD/1.2.3.4"));
        assert!(!is(IdentifierKind::HardwareModule, "ABCD"));
    }

    #[test]
    fn a_name_is_read_as_what_it_was_written_from_and_as_nothing_else() {
        for (kind, value) in [
            (IdentifierKind::Dns, "*.example.com"),
            (IdentifierKind::PermanentIdentifier, "A"),
            (IdentifierKind::PermanentIdentifier, "A/1.2.3"),
            (IdentifierKind::HardwareModule, "A/1.2.3"),
        ] {
            let identifier = Identifier { kind, value: value.to_owned() };
            assert_eq!(Identifier::from_general_name(&identifier.general_name().unwrap()), Some(identifier));
        }
        let host = |host: &str| Identifier::from_general_name(&GeneralName::Dns(host.as_bytes().to_vec()));
        assert_eq!(host("Example.COM").unwrap().value, "example.com");
        assert_eq!((host("10.0.0.1"), host("a_b"), host("")), (None, None, None));

        let GeneralName::Other(good) =
            (Identifier { kind: IdentifierKind::PermanentIdentifier, value: "A".to_owned() }).general_name().unwrap()
        else {
            panic!("not an otherName")
        };
        // Another kind of name with the same contents, more after the value, a slash that would be an assigner's.
        let mut other_tag = good.clone();
        other_tag[0] = 0xA5;
        let longer = {
            let mut longer = good.clone();
            longer.extend_from_slice(&[0x05, 0x00]);
            longer[1] += 2;
            longer
        };
        let slash = other_name(oid::ON_PERMANENT_IDENTIFIER, |fields| {
            fields.string(Tag::UTF8_STRING, "A/1.2.3");
        });
        let GeneralName::Other(slash) = slash else { panic!("not an otherName") };
        for der in [other_tag, longer, slash, good[..4].to_vec(), Vec::new()] {
            assert_eq!(Identifier::from_general_name(&GeneralName::Other(der.clone())), None, "{der:02x?}");
        }
        assert_eq!(Identifier::from_general_name(&GeneralName::Email(b"a@b".to_vec())), None);
    }

    #[test]
    fn other_names_are_the_octets_of_the_standards() {
        let name = |kind, value: &str| Identifier { kind, value: value.to_owned() }.general_name().unwrap();
        // RFC 4043, section 2: [0] { 1.3.6.1.5.5.7.8.3, [0] EXPLICIT { UTF8String "A" } }.
        let permanent = [0xA0, 0x11, 0x06, 0x08, 0x2B, 6, 1, 5, 5, 7, 8, 3, 0xA0, 0x05, 0x30, 0x03, 0x0C, 0x01, b'A'];
        assert_eq!(name(IdentifierKind::PermanentIdentifier, "A"), GeneralName::Other(permanent.to_vec()));
        // RFC 4108, section 5: hwType 1.2.3, hwSerialNum "A".
        let module = [
            0xA0, 0x15, 0x06, 0x08, 0x2B, 6, 1, 5, 5, 7, 8, 4, 0xA0, 0x09, 0x30, 0x07, 0x06, 0x02, 0x2A, 0x03, 0x04,
            0x01, b'A',
        ];
        assert_eq!(name(IdentifierKind::HardwareModule, "A/1.2.3"), GeneralName::Other(module.to_vec()));
    }
}
