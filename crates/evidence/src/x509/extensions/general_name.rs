//! GeneralName and SubjectAltName (RFC 5280, 4.2.1.6).

use crate::oid::{self, Oid};
use crate::x509::NameView;
use crate::x509::der::{Deviations, Element, Tag};
use crate::{Malformed, Reason};

/// One general name. Strings are octets as they stand; nothing is decoded or resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GeneralName {
    /// dNSName.
    Dns(Vec<u8>),
    /// directoryName.
    Directory(NameView),
    /// rfc822Name.
    Email(Vec<u8>),
    /// iPAddress: 4 or 16 octets, in name constraints 8 or 32.
    Ip(Vec<u8>),
    /// Any other kind (otherName, x400Address, ediPartyName, registeredID): original DER.
    Other(Vec<u8>),
    /// uniformResourceIdentifier.
    Uri(Vec<u8>),
}

impl GeneralName {
    pub(super) fn from_element(element: &Element<'_>) -> Result<Self, Malformed> {
        let contents = || element.contents().to_vec();
        let ia5 = || {
            if element.contents().is_ascii() {
                Ok(contents())
            } else {
                Err(element.error(Reason::NotDer("octet above 7F in an IA5String")))
            }
        };
        match element.tag() {
            tag if tag == Tag::context(1) => Ok(Self::Email(ia5()?)),
            tag if tag == Tag::context(2) => Ok(Self::Dns(ia5()?)),
            tag if tag == Tag::context_constructed(4) => super::read_directory_name(element).map(Self::Directory),
            tag if tag == Tag::context(6) => Ok(Self::Uri(ia5()?)),
            tag if tag == Tag::context(7) => Ok(Self::Ip(contents())),
            tag if tag == Tag::context_constructed(0)
                || tag == Tag::context_constructed(3)
                || tag == Tag::context_constructed(5)
                || tag == Tag::context(8) =>
            {
                Ok(Self::Other(element.as_der().to_vec()))
            }
            _ => Err(element.error(Reason::Unexpected("GeneralName"))),
        }
    }
}

/// Reads the members of a GeneralNames, of which there is at least one.
pub(super) fn read_general_names(list: &Element<'_>) -> Result<Vec<GeneralName>, Malformed> {
    let mut members = list.reader();
    let mut names = Vec::new();
    while !members.is_empty() {
        super::check_room(list, names.len())?;
        names.push(GeneralName::from_element(&members.element()?)?);
    }
    if names.is_empty() { Err(list.error(Reason::Missing("GeneralName"))) } else { Ok(names) }
}

/// SubjectAltName: at least one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectAltName {
    names: Vec<GeneralName>,
    is_strict: bool,
}

impl SubjectAltName {
    /// Reads the contents of extnValue. Attributes of an RDN that stand out of order, as some endorsement
    /// key certificates have them, are read ([`SubjectAltName::is_strict_der`] tells).
    ///
    /// # Errors
    /// [`Malformed`] unless it is a list of at least one name.
    pub fn parse(value: &[u8]) -> Result<Self, Malformed> {
        let element = Element::parse(value, "SubjectAltName")?;
        if element.tag() != Tag::SEQUENCE {
            return Err(element.error(Reason::Unexpected("SubjectAltName")));
        }
        let mut deviations = Deviations::default();
        element.check_tolerant(&mut deviations)?;
        let names = read_general_names(&element)?;
        Ok(Self { names, is_strict: deviations.unsorted_set.is_none() })
    }

    /// The names, in order.
    #[must_use]
    pub fn names(&self) -> &[GeneralName] {
        &self.names
    }

    /// Whether all SETs are in order.
    #[must_use]
    pub const fn is_strict_der(&self) -> bool {
        self.is_strict
    }

    /// The directory names.
    pub fn directory_names(&self) -> impl Iterator<Item = &NameView> {
        self.names.iter().filter_map(|name| match name {
            GeneralName::Directory(name) => Some(name),
            GeneralName::Dns(_)
            | GeneralName::Email(_)
            | GeneralName::Ip(_)
            | GeneralName::Other(_)
            | GeneralName::Uri(_) => None,
        })
    }

    /// The text of a TCG attribute ([`oid::TPM_MANUFACTURER`], [`oid::TPM_MODEL`], [`oid::TPM_VERSION`])
    /// in any directory name, whether the three share one RDN or not. Not made safe to show.
    ///
    /// # Errors
    /// [`Reason::Duplicate`] if it is there twice.
    pub fn tpm_attribute(&self, oid: Oid) -> Result<Option<String>, Malformed> {
        let mut values =
            self.directory_names().flat_map(|name| name.attributes(oid)).filter_map(|attribute| attribute.text());
        match (values.next(), values.next()) {
            (value, None) => Ok(value),
            (_, Some(_)) => Err(Malformed::new("SubjectAltName", 0, Reason::Duplicate("TPM attribute"))),
        }
    }

    /// The DER of the three TCG attributes that are there, each a SEQUENCE of type and value, in the
    /// order manufacturer, model, version.
    #[must_use]
    pub fn tpm_attributes_der(&self) -> Vec<Vec<u8>> {
        [oid::TPM_MANUFACTURER, oid::TPM_MODEL, oid::TPM_VERSION]
            .into_iter()
            .flat_map(|oid| {
                self.directory_names()
                    .flat_map(move |name| name.attributes(oid))
                    .map(|attribute| attribute.as_der().to_vec())
                    .collect::<Vec<_>>()
            })
            .collect()
    }
}
