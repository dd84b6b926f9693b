//! NonceRequest and NonceResponse (draft-ietf-lamps-attestation-freshness, sections 3 and 4).

use vouchsafe_evidence::x509::build::DerWriter;
use vouchsafe_evidence::x509::der::{Element, Tag};
use vouchsafe_evidence::{Malformed, Reason};

/// Octets that a nonce may be asked to have.
const LENGTHS: std::ops::RangeInclusive<u64> = 8..=64;

/// What is asked for. What kind of evidence it is for is not told apart: one nonce serves every kind.
///
/// ```asn1
/// NonceRequest ::= SEQUENCE { len INTEGER (8..64) OPTIONAL,
///                             reqTypeInfo SEQUENCE { type OBJECT IDENTIFIER, reqInfo ANY OPTIONAL } OPTIONAL }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NonceRequest {
    /// How many octets the nonce should have.
    pub octets: Option<u64>,
}

impl NonceRequest {
    /// Reads the DER of one NonceRequest.
    ///
    /// # Errors
    /// [`Malformed`] unless it is exactly that, with a length that the draft allows.
    pub fn parse(der: &[u8]) -> Result<Self, Malformed> {
        let element = Element::parse(der, "NonceRequest")?;
        element.check_strict()?;
        if element.tag() != Tag::SEQUENCE {
            return Err(element.error(Reason::Unexpected("NonceRequest")));
        }
        let mut fields = element.reader();
        let octets = if fields.next_is(Tag::INTEGER) { Some(fields.uint("len")?) } else { None };
        if let Some(octets) = octets.filter(|octets| !LENGTHS.contains(octets)) {
            return Err(element.error(Reason::BadValue(octets)));
        }
        if let Some(info) = fields.optional(Tag::SEQUENCE)? {
            let mut info = info.reader();
            info.oid("type")?;
            if !info.is_empty() {
                info.element()?;
            }
            info.finish()?;
        }
        fields.finish()?;
        Ok(Self { octets })
    }
}

/// The DER of a NonceResponse: `SEQUENCE { nonce OCTET STRING, expiry INTEGER OPTIONAL, ... }`, with the seconds for which
/// the nonce may be used.
#[must_use]
pub fn nonce_response(nonce: &[u8], expiry_seconds: u64) -> Vec<u8> {
    let mut writer = DerWriter::new();
    writer.sequence(|response| {
        response.octet_string(nonce).uint(expiry_seconds);
    });
    writer.into_der()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_with_and_without_their_fields() {
        for (der, octets) in [
            (&[0x30, 0x00][..], None),
            (&[0x30, 0x03, 0x02, 0x01, 0x20], Some(32)),
            (&[0x30, 0x05, 0x30, 0x03, 0x06, 0x01, 0x2A], None),
            (&[0x30, 0x0A, 0x02, 0x01, 0x40, 0x30, 0x05, 0x06, 0x01, 0x2A, 0x05, 0x00], Some(64)),
        ] {
            assert_eq!(NonceRequest::parse(der).unwrap(), NonceRequest { octets });
        }
        for der in [
            &[0x31, 0x00][..],
            &[0x30, 0x03, 0x02, 0x01, 0x07],
            &[0x30, 0x03, 0x02, 0x01, 0x41],
            &[0x30, 0x03, 0x04, 0x01, 0x20],
            &[0x30, 0x02, 0x30, 0x00],
            &[0x30, 0x00, 0x00],
        ] {
            assert!(NonceRequest::parse(der).is_err(), "{der:02x?}");
        }
    }
}
