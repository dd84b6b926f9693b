//! Attestation of asymmetric keys in a YubiHSM 2 (Yubico, "YubiHSM 2: Attestation").
//!
//! The evidence is a certificate about the key, which the module makes and signs with the key of its choice: counted is
//! what its factory key signed, whose certificate the module holds as opaque object 0. That certificate and those above
//! it stand beside the evidence and are no part of it. There is no place for a nonce.

use super::yubico::{has_any, number, required, value};
use super::{Offer, Outline, Recognized, Row, Wrapping, not_in_requests};
use crate::input::InputError;
use crate::oid::{self, Oid};
use crate::x509::CertView;
use crate::x509::der::{Element, Tag};
use crate::{Malformed, Reason};

pub use super::yubico::Firmware;

/// How this format is recognized and shown.
pub static ROW: Row = Row {
    id: "yubihsm2",
    title: "YubiHSM 2 attestation",
    statement: oid::STATEMENT_YUBIHSM2,
    wrapping: Wrapping::OctetString,
    recognize,
    in_request: not_in_requests,
    takes_client_data: false,
    outline,
};

const PRODUCTION: &str = "YubiHSM 2 attestation";
/// What a certificate about a key has, and that of the factory key has not.
const OF_KEYS: [Oid; 5] = [
    oid::YUBIHSM2_ORIGIN,
    oid::YUBIHSM2_DOMAINS,
    oid::YUBIHSM2_CAPABILITIES,
    oid::YUBIHSM2_OBJECT_ID,
    oid::YUBIHSM2_LABEL,
];
/// Octets of the bit field of domains.
const DOMAINS_OCTETS: usize = 2;
/// Octets of the bit field of capabilities.
const CAPABILITIES_OCTETS: usize = 8;
/// Longest label, in octets of UTF-8.
const LABEL_OCTETS: usize = 40;

/// Where a key comes from. Bits combine: a key that was generated, exported under wrap and imported again has two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin(u8);

impl Origin {
    /// Generated in a YubiHSM 2.
    pub const GENERATED: u8 = 0x01;
    /// Imported from outside.
    pub const IMPORTED: u8 = 0x02;
    /// Imported under a wrap key.
    pub const IMPORTED_WRAPPED: u8 = 0x10;

    /// The bits.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Whether it was generated in this very module: it has this bit, and no other.
    #[must_use]
    pub const fn is_generated(self) -> bool {
        self.0 == Self::GENERATED
    }

    /// Whether it was imported, whatever else happened to it.
    #[must_use]
    pub const fn is_imported(self) -> bool {
        self.0 & (Self::IMPORTED | Self::IMPORTED_WRAPPED) != 0
    }
}

/// What may be done with a key (Yubico, "YubiHSM 2: Capability").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities(u64);

/// Numbers of the bits of capabilities that concern asymmetric keys, with their names.
const CAPABILITY_NAMES: [(u8, &str); 10] = [
    (Capabilities::SIGN_PKCS, "sign-pkcs"),
    (Capabilities::SIGN_PSS, "sign-pss"),
    (Capabilities::SIGN_ECDSA, "sign-ecdsa"),
    (Capabilities::SIGN_EDDSA, "sign-eddsa"),
    (Capabilities::DECRYPT_PKCS, "decrypt-pkcs"),
    (Capabilities::DECRYPT_OAEP, "decrypt-oaep"),
    (Capabilities::DERIVE_ECDH, "derive-ecdh"),
    (Capabilities::EXPORTABLE_UNDER_WRAP, "exportable-under-wrap"),
    (Capabilities::SIGN_SSH_CERTIFICATE, "sign-ssh-certificate"),
    (Capabilities::SIGN_ATTESTATION_CERTIFICATE, "sign-attestation-certificate"),
];

impl Capabilities {
    /// RSASSA-PKCS1-v1_5.
    pub const SIGN_PKCS: u8 = 0x05;
    /// RSASSA-PSS.
    pub const SIGN_PSS: u8 = 0x06;
    /// ECDSA.
    pub const SIGN_ECDSA: u8 = 0x07;
    /// EdDSA.
    pub const SIGN_EDDSA: u8 = 0x08;
    /// RSAES-PKCS1-v1_5.
    pub const DECRYPT_PKCS: u8 = 0x09;
    /// RSAES-OAEP.
    pub const DECRYPT_OAEP: u8 = 0x0A;
    /// ECDH.
    pub const DERIVE_ECDH: u8 = 0x0B;
    /// The key can leave the module, encrypted with a wrap key.
    pub const EXPORTABLE_UNDER_WRAP: u8 = 0x10;
    /// SSH certificates.
    pub const SIGN_SSH_CERTIFICATE: u8 = 0x19;
    /// Attestation certificates about other keys.
    pub const SIGN_ATTESTATION_CERTIFICATE: u8 = 0x22;

    /// Whether the capability of this number is there.
    #[must_use]
    pub const fn has(self, number: u8) -> bool {
        number < 64 && self.0 >> number & 1 == 1
    }

    /// The names of those that concern asymmetric keys, in the order of their numbers.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        CAPABILITY_NAMES.iter().filter(move |(number, _)| self.has(*number)).map(|(_, name)| *name)
    }
}

/// What a YubiHSM 2 says about one of its keys.
///
/// Nothing about it is verified.
#[derive(Clone, Debug)]
pub struct KeyAttestation {
    certificate: CertView,
    firmware: Firmware,
    serial: u64,
    origin: Origin,
    domains: u16,
    capabilities: Capabilities,
    object_id: u64,
    label: Option<String>,
}

impl KeyAttestation {
    /// Reads the certificate about a key.
    ///
    /// # Errors
    /// [`Malformed`] unless `content` is one certificate with firmware, serial number, origin, domains, capabilities and
    /// object id in their forms, and with the label in its where it is there.
    pub fn parse(content: &[u8]) -> Result<Self, Malformed> {
        let certificate = CertView::parse(content)?;
        let field = |oid, what| required(&certificate, oid, what, PRODUCTION);
        let firmware = firmware(field(oid::YUBIHSM2_FIRMWARE, "firmware version")?)?;
        let serial = number(field(oid::YUBIHSM2_SERIAL, "serial number")?, PRODUCTION)?;
        let [origin] = bits(field(oid::YUBIHSM2_ORIGIN, "origin")?)?;
        let domains: [u8; DOMAINS_OCTETS] = bits(field(oid::YUBIHSM2_DOMAINS, "domains")?)?;
        let capabilities: [u8; CAPABILITIES_OCTETS] = bits(field(oid::YUBIHSM2_CAPABILITIES, "capabilities")?)?;
        let object_id = number(field(oid::YUBIHSM2_OBJECT_ID, "object id")?, PRODUCTION)?;
        let label = value(&certificate, oid::YUBIHSM2_LABEL)?.map(label).transpose()?;
        Ok(Self {
            firmware,
            serial,
            origin: Origin(origin),
            domains: u16::from_be_bytes(domains),
            capabilities: Capabilities(u64::from_be_bytes(capabilities)),
            object_id,
            label,
            certificate,
        })
    }

    /// The certificate, whose subject key is the attested one.
    #[must_use]
    pub const fn certificate(&self) -> &CertView {
        &self.certificate
    }

    /// The firmware of the module.
    #[must_use]
    pub const fn firmware(&self) -> Firmware {
        self.firmware
    }

    /// The serial number of the module.
    #[must_use]
    pub const fn serial(&self) -> u64 {
        self.serial
    }

    /// Where the key comes from.
    #[must_use]
    pub const fn origin(&self) -> Origin {
        self.origin
    }

    /// The domains of which the key is, numbered from 1.
    pub fn domains(&self) -> impl Iterator<Item = u8> {
        let domains = self.domains;
        (0_u8..16).filter(move |bit| domains >> bit & 1 == 1).map(|bit| bit + 1)
    }

    /// What may be done with the key.
    #[must_use]
    pub const fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// The number under which the module holds the key.
    #[must_use]
    pub const fn object_id(&self) -> u64 {
        self.object_id
    }

    /// The label of the key. Not made safe to show.
    #[must_use]
    pub fn label(&self) -> Option<&str> {
        self.label.as_deref()
    }
}

/// What a certificate says of itself that may be the one of a module's factory key.
///
/// Nothing about it is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignerMarks {
    /// The serial number of the module.
    pub serial: Option<u64>,
    /// Whether it is about a key of a user, who may sign anything with it.
    pub is_of_key: bool,
}

impl SignerMarks {
    /// Reads the marks of a certificate.
    ///
    /// # Errors
    /// [`Malformed`] if one that is there is not in its form.
    pub fn read(certificate: &CertView) -> Result<Self, Malformed> {
        let serial = value(certificate, oid::YUBIHSM2_SERIAL)?;
        Ok(Self {
            serial: serial.map(|value| number(value, PRODUCTION)).transpose()?,
            is_of_key: has_any(certificate, &OF_KEYS),
        })
    }
}

fn firmware(value: &[u8]) -> Result<Firmware, Malformed> {
    let element = Element::parse(value, PRODUCTION)?;
    if element.tag() != Tag::OCTET_STRING {
        return Err(element.error(Reason::Unexpected("OCTET STRING")));
    }
    Firmware::from_octets(element.contents(), PRODUCTION)
}

/// A bit field of whole octets, the most significant one first. (Firmware does not leave out trailing zero bits.)
fn bits<const N: usize>(value: &[u8]) -> Result<[u8; N], Malformed> {
    let element = Element::parse(value, PRODUCTION)?;
    if element.tag() != Tag::BIT_STRING {
        return Err(element.error(Reason::Unexpected("BIT STRING")));
    }
    let octets = element.bit_string()?.whole_octets();
    let octets = octets.and_then(|octets| octets.try_into().ok());
    octets.ok_or_else(|| element.error(Reason::Unexpected("bit field of the size that its extension has")))
}

fn label(value: &[u8]) -> Result<String, Malformed> {
    let element = Element::parse(value, PRODUCTION)?;
    if element.tag() != Tag::UTF8_STRING {
        return Err(element.error(Reason::Unexpected("UTF8String")));
    }
    if element.contents().len() > LABEL_OCTETS {
        return Err(element.error(Reason::OverLimit { what: "octets of a label", limit: LABEL_OCTETS }));
    }
    let text = core::str::from_utf8(element.contents());
    text.map(str::to_owned).map_err(|_| element.error(Reason::Unexpected("UTF-8")))
}

/// A certificate with extensions that only certificates about keys have is the evidence; all others are helpers,
/// of whatever else is there where no such certificate is.
fn recognize(offer: &Offer<'_>) -> Result<Option<Recognized>, InputError> {
    let is_key = |certificate: &CertView| has_any(certificate, &OF_KEYS);
    let mut keys = offer.certificates.iter().filter(|offered| is_key(&offered.certificate));
    let Some(key) = keys.next() else { return Ok(None) };
    if let Some(other) = keys.find(|other| other.certificate != key.certificate) {
        let (first, second) = (key.file.to_owned(), other.file.to_owned());
        return Err(InputError::Ambiguous { part: "key certificate", first, second });
    }
    if let Some(file) = offer.files.first() {
        return Err(InputError::Unrecognized { file: file.name.to_owned() });
    }
    let others = offer.certificates.iter().map(|offered| &offered.certificate);
    Ok(Some(Recognized {
        content: key.certificate.as_der().to_vec(),
        certificates: others.filter(|certificate| **certificate != key.certificate).cloned().collect(),
    }))
}

fn outline(content: &[u8]) -> Result<Vec<Outline>, Malformed> {
    let attestation = KeyAttestation::parse(content)?;
    let origin = match attestation.origin() {
        origin if origin.is_generated() => "generated in the module".to_owned(),
        origin if origin.is_imported() => format!("imported ({:#04x})", origin.bits()),
        origin => format!("unknown ({:#04x})", origin.bits()),
    };
    let domains: Vec<String> = attestation.domains().map(|domain| domain.to_string()).collect();
    let capabilities: Vec<&str> = attestation.capabilities().names().collect();
    let mut items = vec![
        Outline::leaf("object id", format!("{:#06x}", attestation.object_id())),
        Outline::leaf("origin", origin),
        Outline::leaf("capabilities", capabilities.join(", ")),
        Outline::leaf("domains", domains.join(", ")),
        Outline::leaf("firmware", attestation.firmware().to_string()),
        Outline::leaf("serial number", attestation.serial().to_string()),
    ];
    items.extend(attestation.label().map(|label| Outline::leaf("label", label)));
    items.push(Outline::certificate("key certificate", attestation.certificate));
    Ok(items)
}
