//! `pkix-evidence`: which claims are asked for.
//!
//! A request lists claim types, or comes in the form of the draft itself (draft-ietf-rats-pkix-key-attestation, section 7): a
//! TbsEvidence whose claims have no values. Evidence discloses what was asked for and no more; where nothing is asked for,
//! what the provider discloses by default.

use thiserror::Error;
use vouchsafe_evidence::Malformed;
use vouchsafe_evidence::limits::{NONCE_OCTETS_MAX, NONCE_OCTETS_MIN};
use vouchsafe_evidence::oid::{self, Oid};
use vouchsafe_evidence::x509::der::{Element, Reader, Tag};

/// Octets of a request in the draft's form.
pub const REQUEST_OCTETS: usize = 4096;
/// Claim types in one request.
pub const REQUESTED_CLAIMS: usize = 64;
/// Elements in one request: transaction, platform and key, each once.
const ELEMENTS: usize = 3;

const PRODUCTION: &str = "evidence request";

const fn element(number: u32) -> Oid {
    oid::within(oid::EVIDENCE_ARC, &[0, number])
}

const fn claim(of: u32, number: u32) -> Oid {
    oid::within(oid::EVIDENCE_ARC, &[1, of, number])
}

const TRANSACTION: Oid = element(0);
const PLATFORM: Oid = element(1);
const KEY: Oid = element(2);
/// The claims whose values a request may give: the challenge, and the key that is meant.
const NONCE: Oid = claim(0, 0);
const IDENTIFIER: Oid = claim(2, 0);

/// The claim types of the draft, by element: the highest number of each, all lower ones being assigned.
const ASSIGNED: [(u32, u32); 3] = [(0, 2), (1, 13), (2, 7)];

/// Which claims are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ClaimSelection {
    /// What the provider discloses by default.
    #[default]
    Default,
    /// These types and no others, in no order. Types that the provider does not report are left out of the Evidence.
    Only(Vec<Oid>),
}

impl ClaimSelection {
    /// Whether a claim of this type is to be reported; `by_default` where nothing in particular is asked for.
    #[must_use]
    pub fn asks_for(&self, claim_type: Oid, by_default: bool) -> bool {
        match self {
            Self::Default => by_default,
            Self::Only(types) => types.contains(&claim_type),
        }
    }
}

/// What Evidence is to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EvidenceRequest {
    /// The claims.
    pub claims: ClaimSelection,
    /// Whether Evidence about a key speaks of the platform too: one Evidence instead of two, which are bound to one another
    /// by attesting key and nonce. Without meaning where the platform alone is attested.
    pub with_platform: bool,
}

/// A request in the draft's form: what it asks for, and the two values that it may give.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestForm {
    /// What is asked for.
    pub request: EvidenceRequest,
    /// Whether it has a key element.
    pub of_key: bool,
    /// The challenge, 16 to 64 octets.
    pub nonce: Option<Vec<u8>>,
    /// The key that is meant.
    pub identifier: Option<String>,
}

/// Why a request in the draft's form is refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestFault {
    /// A claim has a value that a request cannot give.
    #[error("a claim of type {0} has a value")]
    Value(Oid),
    /// An element stands there twice.
    #[error("two elements of type {0}")]
    ElementTwice(Oid),
    /// An element of a type that is not known.
    #[error("an element of unknown type {0}")]
    ElementUnknown(Oid),
    /// It is no TbsEvidence.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The nonce is not of a length that is used.
    #[error("a nonce of {0} octets; 16 to 64 are allowed")]
    NonceLength(usize),
    /// It is too long or asks for too much.
    #[error("more than {limit} {what}")]
    OverLimit {
        /// Of what there are too many.
        what: &'static str,
        /// How many there may be.
        limit: usize,
    },
    /// A version of TbsEvidence that is not known.
    #[error("a version other than 1")]
    Version,
}

impl RequestForm {
    /// Reads a TbsEvidence without values (section 7): fails on elements of unknown types and on values other than the nonce
    /// and the key's identifier, and leaves out claims of unknown types.
    ///
    /// # Errors
    /// [`RequestFault`].
    pub fn parse(der: &[u8]) -> Result<Self, RequestFault> {
        if der.len() > REQUEST_OCTETS {
            return Err(RequestFault::OverLimit { what: "octets", limit: REQUEST_OCTETS });
        }
        let tbs = Element::parse(der, PRODUCTION)?;
        tbs.check_strict()?;
        let mut outer = Reader::new(der, PRODUCTION);
        let mut fields = outer.sequence("TbsEvidence")?;
        outer.finish()?;
        if fields.expect(Tag::INTEGER, "version")?.contents() != [1] {
            return Err(RequestFault::Version);
        }
        let mut list = fields.sequence("reportedElements")?;
        fields.finish()?;
        let (mut form, mut types, mut seen) = (Self::default(), Vec::new(), Vec::new());
        while !list.is_empty() {
            if seen.len() >= ELEMENTS {
                return Err(RequestFault::OverLimit { what: "elements", limit: ELEMENTS });
            }
            let mut fields = list.sequence("ReportedElement")?;
            let element_type = fields.expect(Tag::OID, "elementType")?.oid()?;
            let mut claims = fields.sequence("claims")?;
            fields.finish()?;
            if seen.contains(&element_type) {
                return Err(RequestFault::ElementTwice(element_type));
            }
            seen.push(element_type);
            match element_type {
                TRANSACTION => {}
                PLATFORM => form.request.with_platform = true,
                KEY => form.of_key = true,
                other => return Err(RequestFault::ElementUnknown(other)),
            }
            while !claims.is_empty() {
                form.read_claim(claims.sequence("ReportedClaim")?, &mut types)?;
            }
        }
        form.request.claims = ClaimSelection::Only(types);
        Ok(form)
    }

    fn read_claim(&mut self, mut fields: Reader<'_>, types: &mut Vec<Oid>) -> Result<(), RequestFault> {
        let claim_type = fields.expect(Tag::OID, "claimType")?.oid()?;
        if !fields.is_empty() {
            match claim_type {
                NONCE => {
                    let nonce = fields.octet_string("nonce")?;
                    if !(NONCE_OCTETS_MIN..=NONCE_OCTETS_MAX).contains(&nonce.len()) {
                        return Err(RequestFault::NonceLength(nonce.len()));
                    }
                    self.nonce = Some(nonce.to_vec());
                }
                IDENTIFIER => {
                    let value = fields.expect(Tag::UTF8_STRING, "identifier")?;
                    let text = std::str::from_utf8(value.contents()).map_err(|_| RequestFault::Value(claim_type))?;
                    self.identifier = Some(text.to_owned());
                }
                other => return Err(RequestFault::Value(other)),
            }
            fields.finish()?;
        }
        if is_assigned(claim_type) && !types.contains(&claim_type) {
            if types.len() >= REQUESTED_CLAIMS {
                return Err(RequestFault::OverLimit { what: "claims", limit: REQUESTED_CLAIMS });
            }
            types.push(claim_type);
        }
        Ok(())
    }
}

/// Whether the draft assigns this claim type.
fn is_assigned(claim_type: Oid) -> bool {
    ASSIGNED.iter().any(|(of, last)| (0..=*last).any(|number| claim(*of, number) == claim_type))
}

#[cfg(test)]
mod tests {
    use super::*;
    use vouchsafe_evidence::x509::build::DerWriter;

    /// An element with claims of these types, some with a value.
    fn element_of(element_type: Oid, claims: &[(Oid, &[u8])]) -> Vec<u8> {
        let mut w = DerWriter::new();
        w.sequence(|element| {
            element.oid(element_type).sequence(|list| {
                for (claim_type, value) in claims {
                    list.sequence(|claim| {
                        claim.oid(*claim_type).raw(value);
                    });
                }
            });
        });
        w.into_der()
    }

    fn request(version: u64, elements: &[Vec<u8>]) -> Vec<u8> {
        let mut w = DerWriter::new();
        w.sequence(|tbs| {
            tbs.uint(version).sequence(|list| {
                for element in elements {
                    list.raw(element);
                }
            });
        });
        w.into_der()
    }

    fn parse(elements: &[Vec<u8>]) -> Result<RequestForm, RequestFault> {
        RequestForm::parse(&request(1, elements))
    }

    #[test]
    fn types_without_values_are_what_is_asked_for() {
        let nonce = [&[4, 16][..], &[7; 16]].concat();
        let unknown = Oid::from_dotted("1.2.3.4").unwrap();
        let form = parse(&[
            element_of(TRANSACTION, &[(NONCE, &nonce)]),
            element_of(KEY, &[(IDENTIFIER, b"\x0C\x03web"), (claim(2, 1), b""), (unknown, b"")]),
        ])
        .unwrap();
        assert_eq!(form.nonce, Some(vec![7; 16]));
        assert_eq!(form.identifier.as_deref(), Some("web"));
        assert!(form.of_key && !form.request.with_platform);
        let claims = &form.request.claims;
        assert_eq!(*claims, ClaimSelection::Only(vec![NONCE, IDENTIFIER, claim(2, 1)]));
        assert!(claims.asks_for(claim(2, 1), false));
        assert!(!claims.asks_for(claim(2, 2), true));
        assert!(ClaimSelection::Default.asks_for(claim(2, 2), true));
        let form = parse(&[element_of(PLATFORM, &[(claim(1, 4), b"")])]).unwrap();
        assert!(form.request.with_platform && !form.of_key);
        // Nothing that is known is not the same as nothing in particular.
        let form = parse(&[element_of(KEY, &[(unknown, b"")])]).unwrap();
        assert_eq!(form.request.claims, ClaimSelection::Only(Vec::new()));
    }

    #[test]
    fn what_section_7_says_to_fail_on_fails() {
        let unknown = Oid::from_dotted("1.2.3.4").unwrap();
        let platform = || element_of(PLATFORM, &[(claim(1, 4), b"")]);
        assert_eq!(parse(&[element_of(unknown, &[])]), Err(RequestFault::ElementUnknown(unknown)));
        assert_eq!(parse(&[platform(), platform()]), Err(RequestFault::ElementTwice(PLATFORM)));
        for (claim_type, value) in [(claim(1, 4), &b"\x0C\x01a"[..]), (unknown, b"\x05\x00")] {
            let fault = parse(&[element_of(PLATFORM, &[(claim_type, value)])]);
            assert_eq!(fault, Err(RequestFault::Value(claim_type)));
        }
        assert_eq!(parse(&[element_of(TRANSACTION, &[(NONCE, b"\x04\x01a")])]), Err(RequestFault::NonceLength(1)));
        assert_eq!(RequestForm::parse(&request(2, &[platform()])), Err(RequestFault::Version));
        assert!(matches!(RequestForm::parse(&[0x30, 0x80, 0, 0]), Err(RequestFault::Malformed(_))));
        assert!(matches!(RequestForm::parse(&vec![0x30; 5000]), Err(RequestFault::OverLimit { .. })));
        let whole = request(1, &[platform()]);
        for len in 0..whole.len() {
            assert!(RequestForm::parse(&whole[..len]).is_err(), "{len} octets");
        }
    }
}
