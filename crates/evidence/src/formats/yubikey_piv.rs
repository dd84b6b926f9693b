//! Attestation of keys in the PIV application of YubiKeys (Yubico, "PIV attestation").
//!
//! The evidence is a certificate about the key of a slot, which the YubiKey makes and signs with the key of slot F9. The
//! certificate of that key, and those above it, stand beside it and are no part of it. There is no place for a nonce.
//!
//! Values of extensions are raw octets, but for numbers, which are DER.

use core::fmt;

pub use super::yubico::Firmware;
use super::yubico::{has_any, number, required, value};
use super::{Offer, Outline, Recognized, Row, Wrapping};
use crate::input::InputError;
use crate::oid::{self, Oid};
use crate::x509::der::{Element, Reader, Tag};
use crate::x509::{CertView, CsrView};
use crate::{Malformed, Reason, limits};

/// How this format is recognized and shown.
pub static ROW: Row = Row {
    id: "yubikey-piv",
    title: "YubiKey PIV attestation",
    statement: oid::STATEMENT_YUBIKEY_PIV,
    wrapping: Wrapping::OctetString,
    recognize,
    in_request,
    takes_client_data: false,
    outline,
};

const PRODUCTION: &str = "YubiKey PIV attestation";
/// What a slot certificate has and the certificate of slot F9 has not.
const OF_SLOTS: [Oid; 3] = [oid::YUBIKEY_PIV_SERIAL, oid::YUBIKEY_PIV_POLICIES, oid::YUBIKEY_PIV_FORM_FACTOR];
/// What certificates of FIDO authenticators have, which Yubico issues under the same roots.
const OF_FIDO: [Oid; 3] = [oid::YUBICO_U2F_DEVICE, oid::FIDO_U2F_TRANSPORTS, oid::FIDO_AAGUID];
/// How the subject of a slot certificate begins.
const SUBJECT_PREFIX: &str = "YubiKey PIV Attestation ";
/// The bit of the form factor that says that the YubiKey is of a FIPS series.
const FIPS_BIT: u8 = 0x80;

/// When the YubiKey asks for its PIN, or for a fingerprint, before it uses a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinPolicy {
    /// 1: never.
    Never,
    /// 2: once in a session.
    Once,
    /// 3: before each use.
    Always,
    /// 4: a fingerprint or the PIN, once in a session.
    MatchOnce,
    /// 5: a fingerprint or the PIN, before each use.
    MatchAlways,
    /// A value that is not documented.
    Other(u8),
}

impl PinPolicy {
    const fn from_octet(octet: u8) -> Self {
        match octet {
            1 => Self::Never,
            2 => Self::Once,
            3 => Self::Always,
            4 => Self::MatchOnce,
            5 => Self::MatchAlways,
            other => Self::Other(other),
        }
    }

    /// Whether a use of the key needs the user to prove who it is; `None` where the value is not documented.
    #[must_use]
    pub const fn needs_user(self) -> Option<bool> {
        match self {
            Self::Never => Some(false),
            Self::Once | Self::Always | Self::MatchOnce | Self::MatchAlways => Some(true),
            Self::Other(_) => None,
        }
    }
}

impl fmt::Display for PinPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => f.write_str("never"),
            Self::Once => f.write_str("once"),
            Self::Always => f.write_str("always"),
            Self::MatchOnce => f.write_str("match-once"),
            Self::MatchAlways => f.write_str("match-always"),
            Self::Other(value) => write!(f, "unknown-{value:02x}"),
        }
    }
}

/// When the YubiKey wants to be touched before it uses a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TouchPolicy {
    /// 1: never.
    Never,
    /// 2: before each use.
    Always,
    /// 3: before each use, where the last touch is more than 15 seconds ago.
    Cached,
    /// A value that is not documented.
    Other(u8),
}

impl TouchPolicy {
    const fn from_octet(octet: u8) -> Self {
        match octet {
            1 => Self::Never,
            2 => Self::Always,
            3 => Self::Cached,
            other => Self::Other(other),
        }
    }

    /// Whether a use of the key needs a touch, at least now and then; `None` where the value is not documented.
    #[must_use]
    pub const fn needs_user(self) -> Option<bool> {
        match self {
            Self::Never => Some(false),
            Self::Always | Self::Cached => Some(true),
            Self::Other(_) => None,
        }
    }
}

impl fmt::Display for TouchPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => f.write_str("never"),
            Self::Always => f.write_str("always"),
            Self::Cached => f.write_str("cached"),
            Self::Other(value) => write!(f, "unknown-{value:02x}"),
        }
    }
}

/// The form of a YubiKey, with the mark of the FIPS series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FormFactor(u8);

impl FormFactor {
    /// Whether it is of a FIPS series.
    #[must_use]
    pub const fn is_fips(self) -> bool {
        self.0 & FIPS_BIT != 0
    }

    /// The octet as it stands in the certificate.
    #[must_use]
    pub const fn octet(self) -> u8 {
        self.0
    }
}

impl fmt::Display for FormFactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 & !FIPS_BIT {
            1 => f.write_str("usb-a-keychain"),
            2 => f.write_str("usb-a-nano"),
            3 => f.write_str("usb-c-keychain"),
            4 => f.write_str("usb-c-nano"),
            5 => f.write_str("usb-c-lightning"),
            6 => f.write_str("usb-a-bio"),
            7 => f.write_str("usb-c-bio"),
            other => write!(f, "unknown-{other:02x}"),
        }
    }
}

/// What a YubiKey says about the key in one of its slots.
///
/// Nothing about it is verified.
#[derive(Clone, Debug)]
pub struct SlotAttestation {
    certificate: CertView,
    firmware: Firmware,
    serial: Option<u64>,
    pin_policy: PinPolicy,
    touch_policy: TouchPolicy,
    form_factor: Option<FormFactor>,
}

impl SlotAttestation {
    /// Reads a slot certificate.
    ///
    /// # Errors
    /// [`Malformed`] unless `content` is one certificate with firmware version and policies in their form, and with
    /// serial number and form factor in theirs where they are there.
    pub fn parse(content: &[u8]) -> Result<Self, Malformed> {
        let certificate = CertView::parse(content)?;
        let firmware = required(&certificate, oid::YUBIKEY_PIV_FIRMWARE, "firmware version", PRODUCTION)?;
        let firmware = Firmware::from_octets(firmware, PRODUCTION)?;
        let policies = required(&certificate, oid::YUBIKEY_PIV_POLICIES, "PIN and touch policy", PRODUCTION)?;
        let [pin_policy, touch_policy] = *policies else {
            return Err(Malformed::new(PRODUCTION, 0, Reason::Unexpected("two octets of PIN and touch policy")));
        };
        let serial = value(&certificate, oid::YUBIKEY_PIV_SERIAL)?;
        let serial = serial.map(|value| number(value, PRODUCTION)).transpose()?;
        let form_factor = match value(&certificate, oid::YUBIKEY_PIV_FORM_FACTOR)? {
            None => None,
            Some([form_factor]) => Some(FormFactor(*form_factor)),
            Some(_) => return Err(Malformed::new(PRODUCTION, 0, Reason::Unexpected("one octet of form factor"))),
        };
        Ok(Self {
            firmware,
            serial,
            pin_policy: PinPolicy::from_octet(pin_policy),
            touch_policy: TouchPolicy::from_octet(touch_policy),
            form_factor,
            certificate,
        })
    }

    /// The certificate, whose subject key is the attested one.
    #[must_use]
    pub const fn certificate(&self) -> &CertView {
        &self.certificate
    }

    /// The firmware of the YubiKey.
    #[must_use]
    pub const fn firmware(&self) -> Firmware {
        self.firmware
    }

    /// The serial number of the YubiKey. Firmware 4.3 may leave it out.
    #[must_use]
    pub const fn serial(&self) -> Option<u64> {
        self.serial
    }

    /// When the PIN is asked for.
    #[must_use]
    pub const fn pin_policy(&self) -> PinPolicy {
        self.pin_policy
    }

    /// When a touch is asked for.
    #[must_use]
    pub const fn touch_policy(&self) -> TouchPolicy {
        self.touch_policy
    }

    /// The form of the YubiKey. Firmware before 5 leaves it out.
    #[must_use]
    pub const fn form_factor(&self) -> Option<FormFactor> {
        self.form_factor
    }

    /// The slot that holds the key, as two hexadecimal digits, where the subject says so as firmware writes it.
    #[must_use]
    pub fn slot(&self) -> Option<String> {
        let mut names = self.certificate.subject().attributes(oid::COMMON_NAME);
        let (name, None) = (names.next()?.text()?, names.next()) else { return None };
        let slot = name.strip_prefix(SUBJECT_PREFIX)?;
        let is_slot = slot.len() == 2 && slot.bytes().all(|digit| digit.is_ascii_hexdigit());
        is_slot.then(|| slot.to_ascii_lowercase())
    }
}

/// What a certificate says of itself that may be the one of slot F9.
///
/// Nothing about it is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignerMarks {
    /// The firmware version, which Yubico writes into certificates of slot F9.
    pub firmware: Option<Firmware>,
    /// The number of the FIPS mark.
    pub fips: Option<u64>,
    /// Whether it has the mark of a CSPN certificate.
    pub cspn: bool,
    /// Whether it is about a key in a slot, whose user may sign anything.
    pub is_of_slot: bool,
    /// Whether it is that of a FIDO authenticator.
    pub is_of_fido: bool,
}

impl SignerMarks {
    /// Reads the marks of a certificate.
    ///
    /// # Errors
    /// [`Malformed`] if one that is there is not in its form.
    pub fn read(certificate: &CertView) -> Result<Self, Malformed> {
        let firmware = value(certificate, oid::YUBIKEY_PIV_FIRMWARE)?;
        let fips = value(certificate, oid::YUBIKEY_PIV_FIPS)?;
        Ok(Self {
            firmware: firmware.map(|octets| Firmware::from_octets(octets, PRODUCTION)).transpose()?,
            fips: fips.map(|value| number(value, PRODUCTION)).transpose()?,
            cspn: value(certificate, oid::YUBIKEY_PIV_CSPN)?.is_some(),
            is_of_slot: has_any(certificate, &OF_SLOTS),
            is_of_fido: has_any(certificate, &OF_FIDO),
        })
    }
}

/// A certificate with extensions that only slot certificates have is the evidence; all others are helpers,
/// of whatever else is there where no such certificate is.
fn recognize(offer: &Offer<'_>) -> Result<Option<Recognized>, InputError> {
    let is_slot = |certificate: &CertView| has_any(certificate, &OF_SLOTS);
    let mut slots = offer.certificates.iter().filter(|offered| is_slot(&offered.certificate));
    let Some(slot) = slots.next() else { return Ok(None) };
    if let Some(other) = slots.find(|other| other.certificate != slot.certificate) {
        let (first, second) = (slot.file.to_owned(), other.file.to_owned());
        return Err(InputError::Ambiguous { part: "slot certificate", first, second });
    }
    if let Some(file) = offer.files.first() {
        return Err(InputError::Unrecognized { file: file.name.to_owned() });
    }
    let others = offer.certificates.iter().map(|offered| &offered.certificate);
    Ok(Some(Recognized {
        content: slot.certificate.as_der().to_vec(),
        certificates: others.filter(|certificate| **certificate != slot.certificate).cloned().collect(),
    }))
}

/// Tools of Yubico and others put slot certificate and certificate of slot F9 among the extensions that a request asks
/// for, in two spellings.
fn in_request(request: &CsrView) -> Result<Option<Recognized>, Malformed> {
    let mut found = Embedded::default();
    for attribute in request.attributes().filter(|attribute| attribute.oid() == oid::EXTENSION_REQUEST) {
        for value in attribute.values().iter().filter(|value| mentions_yubikey(value)) {
            found.read(value)?;
        }
    }
    match found {
        Embedded { slot: None, signer: None } => Ok(None),
        Embedded { slot: None, signer: Some(_) } => {
            Err(Malformed::new(PRODUCTION, 0, Reason::Missing("slot certificate")))
        }
        Embedded { slot: Some(slot), signer } => Ok(Some(Recognized {
            content: slot,
            certificates: signer.map(|der| CertView::parse(&der)).transpose()?.into_iter().collect(),
        })),
    }
}

/// Whether identifiers of this format may be in a value; requests without are none of this format's business, however
/// they are encoded.
fn mentions_yubikey(value: &[u8]) -> bool {
    let marks = [oid::YUBIKEY_PIV_REQUEST_SLOT, oid::YUBIKEY_PIV_REQUEST_SIGNER, oid::YUBIKEY_PIV_CSPN];
    marks.iter().any(|mark| {
        let contents = mark.as_der_contents();
        value.windows(contents.len()).any(|window| window == contents)
    })
}

/// Certificates among the extensions that a request asks for.
#[derive(Default)]
struct Embedded {
    slot: Option<Vec<u8>>,
    signer: Option<Vec<u8>>,
}

impl Embedded {
    /// Reads one value of an extension request: `Extensions` of RFC 5280.
    fn read(&mut self, extensions: &[u8]) -> Result<(), Malformed> {
        let mut list = Reader::new(extensions, PRODUCTION);
        let mut members = list.sequence(PRODUCTION)?;
        list.finish()?;
        let mut count = 0_usize;
        while !members.is_empty() {
            count += 1;
            if count > limits::EXTENSIONS {
                return Err(members.error(Reason::OverLimit { what: "extensions", limit: limits::EXTENSIONS }));
            }
            let member = members.expect(Tag::SEQUENCE, "Extension")?;
            self.read_extension(&member)?;
        }
        Ok(())
    }

    fn read_extension(&mut self, extension: &Element<'_>) -> Result<(), Malformed> {
        let mut fields = extension.reader();
        let oid = fields.oid("extnID")?;
        if let Some(critical) = fields.optional(Tag::BOOLEAN)? {
            critical.boolean()?;
        }
        let value = fields.expect(Tag::OCTET_STRING, "extnValue")?;
        fields.finish()?;
        let place = match oid {
            oid::YUBIKEY_PIV_REQUEST_SLOT | oid::YUBIKEY_PIV_CSPN => &mut self.slot,
            oid::YUBIKEY_PIV_REQUEST_SIGNER => &mut self.signer,
            _ => return Ok(()),
        };
        match place.replace(value.contents().to_vec()) {
            None => Ok(()),
            Some(_) => Err(extension.error(Reason::Duplicate("certificate of a YubiKey"))),
        }
    }
}

fn outline(content: &[u8]) -> Result<Vec<Outline>, Malformed> {
    let attestation = SlotAttestation::parse(content)?;
    let mut items = vec![
        Outline::leaf("slot", attestation.slot().unwrap_or_else(|| "not said".to_owned())),
        Outline::leaf("firmware", attestation.firmware().to_string()),
    ];
    items.extend(attestation.serial().map(|serial| Outline::leaf("serial number", serial.to_string())));
    items.push(Outline::leaf("PIN policy", attestation.pin_policy().to_string()));
    items.push(Outline::leaf("touch policy", attestation.touch_policy().to_string()));
    if let Some(form_factor) = attestation.form_factor() {
        let series = if form_factor.is_fips() { ", FIPS series" } else { "" };
        items.push(Outline::leaf("form factor", format!("{form_factor}{series}")));
    }
    items.push(Outline::certificate("slot certificate", attestation.certificate));
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_named_as_documented() {
        let pin: Vec<String> = (0..7).map(|octet| PinPolicy::from_octet(octet).to_string()).collect();
        assert_eq!(pin, ["unknown-00", "never", "once", "always", "match-once", "match-always", "unknown-06"]);
        let touch: Vec<String> = (0..5).map(|octet| TouchPolicy::from_octet(octet).to_string()).collect();
        assert_eq!(touch, ["unknown-00", "never", "always", "cached", "unknown-04"]);
    }

    #[test]
    fn no_user_is_needed_only_where_that_is_said() {
        let needed: Vec<Option<bool>> = (0..7).map(|octet| PinPolicy::from_octet(octet).needs_user()).collect();
        assert_eq!(needed, [None, Some(false), Some(true), Some(true), Some(true), Some(true), None]);
    }

    #[test]
    fn the_form_factor_tells_the_fips_series() {
        assert_eq!(FormFactor(0x83).to_string(), "usb-c-keychain");
        assert!(FormFactor(0x83).is_fips() && !FormFactor(0x03).is_fips());
        assert_eq!(FormFactor(0x7F).to_string(), "unknown-7f");
    }

    #[test]
    fn extensions_of_requests_are_read_strictly() {
        let slot = oid::YUBIKEY_PIV_REQUEST_SLOT.as_der_contents();
        let extension = |oid: &[u8], value: &[u8]| {
            let oid = element(0x06, oid);
            element(0x30, &[oid, element(0x04, value)].concat())
        };
        let list = |members: &[Vec<u8>]| element(0x30, &members.concat());
        let read = |value: &[u8]| {
            let mut found = Embedded::default();
            found.read(value).map(|()| found.slot)
        };
        assert_eq!(read(&list(&[extension(slot, b"x")])).unwrap().as_deref(), Some(&b"x"[..]));
        let other = oid::YUBIKEY_PIV_CSPN.as_der_contents();
        assert!(read(&list(&[extension(slot, b"x"), extension(other, b"x")])).is_err(), "twice, in both spellings");
        let broken = element(0x30, &[0x06, 0x01]);
        assert!(read(&list(&[extension(slot, b"x"), broken])).is_err(), "a malformed extension behind");
        assert!(read(&[list(&[extension(slot, b"x")]), vec![0]].concat()).is_err(), "an octet behind");
    }

    fn element(tag: u8, contents: &[u8]) -> Vec<u8> {
        [&[tag, u8::try_from(contents.len()).unwrap()], contents].concat()
    }
}
