//! Values of claims, by their types (draft-ietf-rats-pkix-key-attestation, section 8).

use super::defect::EvidenceDefect;
use crate::oid::Oid;
use crate::x509::SpkiView;
use crate::x509::der::{Element, Reader, Tag};
use crate::x509::time;
use crate::{Malformed, Reason};

/// The value of a claim, with the claim's type for messages.
pub(super) struct Value<'a> {
    claim: Element<'a>,
    value: Element<'a>,
}

impl<'a> Value<'a> {
    pub(super) const fn new(claim: Element<'a>, value: Element<'a>) -> Self {
        Self { claim, value }
    }

    /// The claim's type.
    pub(super) fn claim(&self) -> Result<Oid, EvidenceDefect> {
        Ok(self.claim.oid()?)
    }

    fn defect(&self, defect: fn(Oid) -> EvidenceDefect) -> EvidenceDefect {
        self.claim().map_or_else(|error| error, defect)
    }

    fn of_tag(&self, tag: Tag) -> Result<&Element<'a>, EvidenceDefect> {
        if self.value.tag() == tag { Ok(&self.value) } else { Err(self.defect(EvidenceDefect::ClaimType)) }
    }

    pub(super) fn octets(&self) -> Result<&'a [u8], EvidenceDefect> {
        self.of_tag(Tag::OCTET_STRING).map(Element::contents)
    }

    pub(super) fn text(&self) -> Result<&'a str, EvidenceDefect> {
        let contents = self.of_tag(Tag::UTF8_STRING)?.contents();
        core::str::from_utf8(contents).map_err(|_| self.defect(EvidenceDefect::ClaimType))
    }

    pub(super) fn boolean(&self) -> Result<bool, EvidenceDefect> {
        Ok(self.of_tag(Tag::BOOLEAN)?.boolean()?)
    }

    pub(super) fn unsigned(&self) -> Result<u64, EvidenceDefect> {
        let number = super::claims::unsigned(self.of_tag(Tag::INTEGER)?)?;
        number.ok_or_else(|| self.defect(EvidenceDefect::ClaimRange))
    }

    pub(super) fn time(&self) -> Result<GeneralizedTime<'a>, EvidenceDefect> {
        Ok(GeneralizedTime::read(self.of_tag(Tag::GENERALIZED_TIME)?)?)
    }

    pub(super) fn key(&self) -> Result<SpkiView, EvidenceDefect> {
        let octets = self.octets()?;
        SpkiView::parse(octets).map_err(|malformed| match self.claim() {
            Ok(claim) => EvidenceDefect::Key { claim, malformed },
            Err(error) => error,
        })
    }

    pub(super) fn sequence(&self) -> Result<Reader<'a>, EvidenceDefect> {
        self.of_tag(Tag::SEQUENCE).map(Element::reader)
    }
}

/// Digits of a time without fraction: YYYYMMDDHHMMSS.
const DIGITS: usize = 14;
/// Digits of a fraction that are read: finer than any clock.
const FRACTION_DIGITS: usize = 9;

/// A GeneralizedTime in DER (X.690, 11.7): `YYYYMMDDHHMMSS`, a fraction without trailing zeros if there is any, `Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GeneralizedTime<'a> {
    digits: &'a str,
    fraction: &'a str,
}

impl<'a> GeneralizedTime<'a> {
    fn read(element: &Element<'a>) -> Result<Self, Malformed> {
        let not_der = element.error(Reason::NotDer("GeneralizedTime not in the form of X.690, 11.7"));
        let text = core::str::from_utf8(element.contents()).map_err(|_| not_der)?;
        let (digits, rest) = text.split_at_checked(DIGITS).ok_or(not_der)?;
        let rest = rest.strip_suffix('Z').ok_or(not_der)?;
        let fraction = match rest.strip_prefix('.') {
            Some(fraction) => {
                let is_number = fraction.bytes().all(|digit| digit.is_ascii_digit());
                if !is_number || fraction.ends_with('0') || !(1..=FRACTION_DIGITS).contains(&fraction.len()) {
                    return Err(not_der);
                }
                fraction
            }
            None if rest.is_empty() => "",
            None => return Err(not_der),
        };
        digits.as_bytes().try_into().ok().and_then(time::from_digits).ok_or(not_der)?;
        Ok(Self { digits, fraction })
    }

    /// As RFC 3339 writes it.
    #[must_use]
    pub fn to_rfc3339(&self) -> String {
        let part = |from: usize, to: usize| self.digits.get(from..to).unwrap_or_default();
        let (date, time) = ([part(0, 4), part(4, 6), part(6, 8)], [part(8, 10), part(10, 12), part(12, 14)]);
        let point = if self.fraction.is_empty() { "" } else { "." };
        format!("{}T{}{point}{}Z", date.join("-"), time.join(":"), self.fraction)
    }
}
