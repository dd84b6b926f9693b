//! What administrators have revoked.

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::store::{Digest, RevocationReason};
use crate::text::{from_hex, to_hex};

/// Octets of a serial number, at most (RFC 5280, section 4.1.2.2).
const SERIAL_OCTETS: usize = 20;

/// Certificates to be revoked, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationRequest {
    /// Which.
    pub of: Revocable,
    /// Why.
    pub reason: RevocationReason,
}

/// What can be revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revocable {
    /// The certificate with this serial number (content octets).
    Serial(Vec<u8>),
    /// Every certificate of the key: SHA-256 of its SubjectPublicKeyInfo, an RSA key's as rsaEncryption.
    Key(Digest),
}

impl Revocable {
    /// The certificate with this serial number, in hexadecimal digits, colons or not between them.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn serial(text: &str) -> Result<Self, Error> {
        let expected = Error::Malformed { field: "serial", expected: "1 to 20 octets in hexadecimal" };
        let octets = from_hex(&text.replace(':', "")).unwrap_or_default();
        // Content octets of an INTEGER have no more zeros in front than their sign needs.
        let zeros = octets.windows(2).take_while(|pair| matches!(pair, [0, next] if *next < 0x80)).count();
        let mut serial = octets.get(zeros..).unwrap_or_default().to_vec();
        if serial.first().is_some_and(|first| *first >= 0x80) {
            serial.insert(0, 0);
        }
        if (1..=SERIAL_OCTETS).contains(&serial.len()) { Ok(Self::Serial(serial)) } else { Err(expected) }
    }

    /// Every certificate of the key with this digest, in hexadecimal digits.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn key(text: &str) -> Result<Self, Error> {
        let digest = from_hex(text).and_then(|octets| octets.try_into().ok());
        digest.map(Self::Key).ok_or(Error::Malformed { field: "key", expected: "SHA-256 in hexadecimal" })
    }
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RevocationBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    serial: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    reason: String,
}

impl TryFrom<RevocationBody> for RevocationRequest {
    type Error = Error;

    fn try_from(body: RevocationBody) -> Result<Self, Error> {
        // A hold could be lifted again (RFC 5280, section 5.3.1), and nothing here can.
        const REASONS: &str = "unspecified, key-compromise, affiliation-changed, superseded or cessation-of-operation";
        let of = match (&body.serial, &body.key) {
            (Some(serial), None) => Revocable::serial(serial)?,
            (None, Some(key)) => Revocable::key(key)?,
            (Some(_), Some(_)) | (None, None) => {
                return Err(Error::Malformed { field: "serial, key", expected: "one of them" });
            }
        };
        let reason = RevocationReason::from_label(&body.reason);
        Ok(Self { of, reason: reason.ok_or(Error::Malformed { field: "reason", expected: REASONS })? })
    }
}

impl From<&RevocationRequest> for RevocationBody {
    fn from(request: &RevocationRequest) -> Self {
        let (serial, key) = match &request.of {
            Revocable::Serial(serial) => (Some(to_hex(serial)), None),
            Revocable::Key(key) => (None, Some(to_hex(key))),
        };
        Self { serial, key, reason: request.reason.label().to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_number_is_content_octets_however_it_is_written() {
        for (text, octets) in [
            ("4f3a", &[0x4F, 0x3A][..]),
            ("4F:3A", &[0x4F, 0x3A]),
            ("00004f", &[0x4F]),
            ("00", &[0]),
            ("a1", &[0, 0xA1]),
            ("00a1", &[0, 0xA1]),
        ] {
            assert_eq!(Revocable::serial(text).unwrap(), Revocable::Serial(octets.to_vec()), "{text}");
        }
        for text in ["", "4", "xy", "-1", &"11".repeat(21), &"a1".repeat(20)] {
            assert!(Revocable::serial(text).is_err(), "{text}");
        }
    }
}
