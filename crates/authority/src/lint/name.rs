//! Names: upper bounds and string types (RFC 5280, appendix A), and alternative names that can be matched.

use vouchsafe_evidence::oid::{self, Oid};
use vouchsafe_evidence::x509::NameView;
use vouchsafe_evidence::x509::der::Tag;
use vouchsafe_evidence::x509::extensions::GeneralName;

use super::LintError;

/// Characters of an attribute that has no bound of its own.
const OTHER_CHARACTERS: usize = 256;
/// Octets of a label of a domain name, and of a whole name (RFC 1035, section 2.3.4).
const LABEL_OCTETS: usize = 63;
const DOMAIN_OCTETS: usize = 253;
/// Octets of an IPv4 and of an IPv6 address.
const ADDRESS_OCTETS: [usize; 2] = [4, 16];

/// Characters of an attribute at most, with its name.
const BOUNDS: [(Oid, usize, &str); 8] = [
    (oid::COMMON_NAME, 64, "commonName"),
    (oid::SERIAL_NUMBER, 64, "serialNumber"),
    (oid::COUNTRY_NAME, 2, "countryName"),
    (oid::LOCALITY_NAME, 128, "localityName"),
    (oid::STATE_OR_PROVINCE_NAME, 128, "stateOrProvinceName"),
    (oid::ORGANIZATION_NAME, 64, "organizationName"),
    (oid::ORGANIZATIONAL_UNIT_NAME, 64, "organizationalUnitName"),
    (oid::EMAIL_ADDRESS, 255, "emailAddress"),
];

/// Which string types an attribute may have. What of a module's own name is copied stays as its maker wrote it.
fn is_of_type(attribute: Oid, tag: Tag) -> bool {
    if !BOUNDS.iter().any(|(known, ..)| *known == attribute) && attribute != oid::DOMAIN_COMPONENT {
        true
    } else if attribute == oid::COUNTRY_NAME || attribute == oid::SERIAL_NUMBER {
        tag == Tag::PRINTABLE_STRING
    } else if attribute == oid::EMAIL_ADDRESS || attribute == oid::DOMAIN_COMPONENT {
        tag == Tag::IA5_STRING
    } else {
        tag == Tag::UTF8_STRING || tag == Tag::PRINTABLE_STRING
    }
}

/// Checks each attribute of a name.
pub(super) fn check(name: &NameView) -> Result<(), LintError> {
    for attribute in name.rdns().flat_map(|rdn| rdn.attributes()) {
        let oid = attribute.oid();
        let (most, called) = BOUNDS
            .iter()
            .find(|(known, ..)| *known == oid)
            .map_or((OTHER_CHARACTERS, "an attribute"), |(_, most, called)| (*most, *called));
        let text = attribute.text().ok_or(LintError::Name(called))?;
        let count = text.chars().count();
        let is_exact =
            oid != oid::COUNTRY_NAME || count == most && text.chars().all(|letter| letter.is_ascii_uppercase());
        let is_clean = !text.chars().any(char::is_control) && text.trim() == text;
        let is_type = is_of_type(oid, attribute.value().tag());
        let is_printable = attribute.value().tag() != Tag::PRINTABLE_STRING || text.chars().all(is_printable_string);
        if !((1..=most).contains(&count) && is_exact && is_clean && is_type && is_printable) {
            return Err(LintError::Name(called));
        }
    }
    Ok(())
}

/// PrintableString (X.680, table 10).
fn is_printable_string(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || " '()+,-./:=?".contains(letter)
}

/// Checks one alternative name.
pub(super) fn check_general(name: &GeneralName) -> Result<(), LintError> {
    let (called, is_well_formed) = match name {
        GeneralName::Dns(text) => ("a dNSName", is_domain(text)),
        GeneralName::Directory(name) => {
            check(name)?;
            ("a directoryName", !name.is_empty())
        }
        GeneralName::Email(text) => ("an rfc822Name", is_mailbox(text)),
        GeneralName::Ip(octets) => ("an iPAddress", ADDRESS_OCTETS.contains(&octets.len())),
        GeneralName::Other(_) => ("another name", true),
        GeneralName::Uri(text) => ("a URI", is_uri(text)),
    };
    if is_well_formed { Ok(()) } else { Err(LintError::SubjectAltName(called)) }
}

/// A domain name in preferred syntax (RFC 1034, section 3.5), perhaps below a wildcard.
fn is_domain(name: &[u8]) -> bool {
    let name = name.strip_prefix(b"*.").unwrap_or(name);
    let label = |label: &[u8]| {
        (1..=LABEL_OCTETS).contains(&label.len())
            && label.iter().all(|octet| octet.is_ascii_alphanumeric() || *octet == b'-')
            && !label.starts_with(b"-")
            && !label.ends_with(b"-")
    };
    name.len() <= DOMAIN_OCTETS && name.split(|octet| *octet == b'.').all(label)
}

fn is_mailbox(name: &[u8]) -> bool {
    let mut parts = name.split(|octet| *octet == b'@');
    let (Some(local), Some(domain), None) = (parts.next(), parts.next(), parts.next()) else { return false };
    !local.is_empty() && local.iter().all(u8::is_ascii_graphic) && is_domain(domain)
}

/// An absolute URI: a scheme and something after it (RFC 3986, section 4.3).
fn is_uri(name: &[u8]) -> bool {
    let Some(colon) = name.iter().position(|octet| *octet == b':') else { return false };
    let (scheme, rest) = name.split_at(colon);
    scheme.first().is_some_and(u8::is_ascii_alphabetic)
        && scheme.iter().all(|octet| octet.is_ascii_alphanumeric() || b"+-.".contains(octet))
        && rest.len() > 1
        && rest.iter().all(u8::is_ascii_graphic)
}
