//! Attestation messages of the Crypto4A QASM (Crypto4A, "Attestation in QASM", C4A-302-0043; PKI Consortium, Remote
//! Key Attestation, "Crypto4A QASM"): claims about a module and one of its keys, signed as one DER value.

use super::{Offer, Outline, Recognized, Row, Wrapping};
use crate::input::InputError;
use crate::oid::{self, Oid};
use crate::x509::der::{Element, Reader, Tag};
use crate::x509::{AlgorithmIdentifier, CertView};
use crate::{Malformed, Reason, limits};

/// What the format is called, how it travels, and how it is recognized.
pub static ROW: Row = Row {
    id: "crypto4a-qasm",
    title: "Crypto4A QASM attestation message",
    statement: oid::STATEMENT_CRYPTO4A_QASM,
    wrapping: Wrapping::OctetString,
    recognize,
    in_request: super::not_in_requests,
    takes_client_data: false,
    outline,
};

/// Octets of one message; an HSS signature of three levels has fewer than five thousand.
pub const MESSAGE_OCTETS: usize = 256 * 1024;
/// Claims in one message.
pub const CLAIMS: usize = 128;
/// Signatures of one message.
pub const SIGNATURES: usize = 8;
/// Certificates that one message carries beside those of its signers.
pub const CERTIFICATES: usize = 32;
/// Octets of an identifier of a module or a key (a UUID).
pub const UUID_OCTETS: usize = 16;

const PRODUCTION: &str = "QASM attestation message";
/// What Crypto4A's claims about a module (`.1.n`) and about keys (`.2.n`) begin with: 1.3.6.1.4.1.39901.6. The page of
/// the PKI Consortium has one arc more; messages do not.
const CLAIM_ARC: [u8; 9] = [0x2B, 0x06, 0x01, 0x04, 0x01, 0x82, 0xB7, 0x5D, 0x06];

/// A message.
///
/// ```asn1
/// Message   ::= SEQUENCE { version INTEGER (1), claims SEQUENCE { version INTEGER (1), SEQUENCE OF Claim },
///                          SEQUENCE OF Signature, certificates [0] IMPLICIT SEQUENCE OF Certificate OPTIONAL }
/// Claim     ::= SEQUENCE { type OBJECT IDENTIFIER, about [0] Value OPTIONAL, value [1] Value OPTIONAL }
/// Signature ::= SEQUENCE { SEQUENCE { key [0] OCTET STRING, certificate [2] Certificate },
///                          AlgorithmIdentifier, BIT STRING }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    signed: &'a [u8],
    claims: Vec<Claim<'a>>,
    signatures: Vec<Signature<'a>>,
    certificates: Vec<CertView>,
}

/// One claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim<'a> {
    /// Its type.
    pub oid: Oid,
    /// The key that it is about; none, where it is about the module.
    pub about: Option<&'a [u8]>,
    /// Its value; none, where being there is all that it says.
    pub value: Option<Value<'a>>,
}

/// The value of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// `[0]` octets.
    Octets(&'a [u8]),
    /// `[1]` text in UTF-8.
    Text(&'a str),
    /// `[2]` a time in the form of GeneralizedTime.
    Time(&'a str),
    /// `[3]` a non-negative integer.
    Integer(u64),
}

/// One signature over the claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature<'a> {
    /// How the module calls the key. Nothing signs it.
    pub key: &'a [u8],
    /// The certificate of the key.
    pub certificate: CertView,
    /// The algorithm.
    pub algorithm: AlgorithmIdentifier<'a>,
    /// The octets.
    pub octets: &'a [u8],
}

/// Which claim of those about the module or about keys a type is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimType {
    /// `6.1.n`: about the module.
    Module(u8),
    /// `6.2.n`: about a key; `6.2.0` is about the keys that attest.
    Key(u8),
    /// Any other.
    Other,
}

impl<'a> Message<'a> {
    /// Reads a message in strict DER.
    ///
    /// # Errors
    /// [`Malformed`] if it has another form, or exceeds a bound of this module.
    pub fn parse(input: &'a [u8]) -> Result<Self, Malformed> {
        if input.len() > MESSAGE_OCTETS {
            return Err(over("message octets", MESSAGE_OCTETS));
        }
        let element = Element::parse(input, PRODUCTION)?;
        element.check_strict()?;
        if element.tag() != Tag::SEQUENCE {
            return Err(element.error(Reason::Unexpected(PRODUCTION)));
        }
        let mut fields = element.reader();
        version(&mut fields)?;
        let tbs = fields.expect(Tag::SEQUENCE, "claims")?;
        let claims = read_claims(&tbs)?;
        let mut list = fields.sequence("signatures")?;
        let mut signatures = Vec::new();
        while !list.is_empty() {
            if signatures.len() >= SIGNATURES {
                return Err(over("signatures", SIGNATURES));
            }
            signatures.push(read_signature(&mut list)?);
        }
        let mut certificates = Vec::new();
        if let Some(carried) = fields.optional(Tag::context_constructed(0))? {
            let mut carried = carried.reader();
            while !carried.is_empty() {
                if certificates.len() >= CERTIFICATES {
                    return Err(over("certificates", CERTIFICATES));
                }
                certificates.push(CertView::parse(carried.expect(Tag::SEQUENCE, "Certificate")?.as_der())?);
            }
        }
        fields.finish()?;
        Ok(Self { signed: tbs.as_der(), claims, signatures, certificates })
    }

    /// The octets that are signed: the DER of the claims with their version.
    #[must_use]
    pub const fn signed(&self) -> &'a [u8] {
        self.signed
    }

    /// The claims, in their order.
    #[must_use]
    pub fn claims(&self) -> &[Claim<'a>] {
        &self.claims
    }

    /// The signatures, in their order.
    #[must_use]
    pub fn signatures(&self) -> &[Signature<'a>] {
        &self.signatures
    }

    /// The certificates beside those of the signers.
    #[must_use]
    pub fn certificates(&self) -> &[CertView] {
        &self.certificates
    }
}

impl Claim<'_> {
    /// Which claim it is.
    #[must_use]
    pub fn kind(&self) -> ClaimType {
        match self.oid.as_der_contents().strip_prefix(&CLAIM_ARC) {
            Some([1, number]) if *number < 0x80 => ClaimType::Module(*number),
            Some([2, number]) if *number < 0x80 => ClaimType::Key(*number),
            Some(_) | None => ClaimType::Other,
        }
    }

    /// What people call it (the page of the PKI Consortium has the list).
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self.kind() {
            ClaimType::Module(0) => "qasm-uuid",
            ClaimType::Module(1) => "qasm-serial",
            ClaimType::Module(2) => "attestation-time",
            ClaimType::Module(3) => "qasm-firmware-version",
            ClaimType::Module(4) => "qasm-certified-production",
            ClaimType::Module(5) => "qasm-is-in-fips-mode",
            ClaimType::Key(0) => "attestation-keys-are-unique",
            ClaimType::Key(1) => "key-spki",
            ClaimType::Key(2) => "key-fingerprint",
            ClaimType::Key(4) => "object-class",
            ClaimType::Key(5) => "object-type",
            ClaimType::Key(6) => "object-keystore",
            ClaimType::Key(7) => "key-is-confined",
            ClaimType::Key(8) => "key-is-hardware-generated",
            ClaimType::Key(9) => "key-never-extracted",
            ClaimType::Key(10) => "key-is-managed",
            ClaimType::Key(11) => "key-is-not-managed",
            ClaimType::Key(13) => "key-has-capability",
            ClaimType::Key(14) => "key-does-not-have-capability",
            ClaimType::Key(15) => "key-is-related-to-authority",
            ClaimType::Key(16) => "key-is-archived-by",
            ClaimType::Module(_) | ClaimType::Key(_) | ClaimType::Other => "unknown claim",
        }
    }
}

const fn over(what: &'static str, limit: usize) -> Malformed {
    Malformed::new(PRODUCTION, 0, Reason::OverLimit { what, limit })
}

fn version(fields: &mut Reader<'_>) -> Result<(), Malformed> {
    let error = fields.error(Reason::Unexpected("version 1"));
    if fields.uint("version")? == 1 { Ok(()) } else { Err(error) }
}

fn read_claims<'a>(tbs: &Element<'a>) -> Result<Vec<Claim<'a>>, Malformed> {
    let mut fields = tbs.reader();
    version(&mut fields)?;
    let mut list = fields.sequence("list of claims")?;
    fields.finish()?;
    let mut claims = Vec::new();
    while !list.is_empty() {
        if claims.len() >= CLAIMS {
            return Err(over("claims", CLAIMS));
        }
        let mut claim = list.sequence("claim")?;
        let oid = claim.oid("type of the claim")?;
        let about = match claim.optional(Tag::context_constructed(0))? {
            Some(about) => Some(read_uuid(&about)?),
            None => None,
        };
        let value = match claim.optional(Tag::context_constructed(1))? {
            Some(value) => Some(read_value(&value)?),
            None => None,
        };
        claim.finish()?;
        claims.push(Claim { oid, about, value });
    }
    Ok(claims)
}

fn read_uuid<'a>(element: &Element<'a>) -> Result<&'a [u8], Malformed> {
    match read_value(element)? {
        Value::Octets(octets) if octets.len() == UUID_OCTETS => Ok(octets),
        Value::Octets(_) | Value::Text(_) | Value::Time(_) | Value::Integer(_) => {
            Err(element.error(Reason::Unexpected("UUID of a key")))
        }
    }
}

fn read_value<'a>(element: &Element<'a>) -> Result<Value<'a>, Malformed> {
    let mut fields = element.reader();
    let value = fields.element()?;
    fields.finish()?;
    let unexpected = value.error(Reason::Unexpected("value of a claim"));
    let text = || core::str::from_utf8(value.contents()).map_err(|_| unexpected);
    if value.tag() == Tag::context(0) {
        Ok(Value::Octets(value.contents()))
    } else if value.tag() == Tag::context(1) {
        Ok(Value::Text(text()?))
    } else if value.tag() == Tag::context(2) {
        Ok(Value::Time(text()?))
    } else if value.tag() == Tag::context(3) {
        let octets = value.integer()?;
        let is_negative = octets.first().is_some_and(|first| first & 0x80 != 0);
        if is_negative || octets.len() > size_of::<u64>() {
            return Err(unexpected);
        }
        Ok(Value::Integer(octets.iter().fold(0, |number, octet| (number << 8) | u64::from(*octet))))
    } else {
        Err(unexpected)
    }
}

fn read_signature<'a>(list: &mut Reader<'a>) -> Result<Signature<'a>, Malformed> {
    let mut fields = list.sequence("signature")?;
    let mut signer = fields.sequence("signer")?;
    let mut key = signer.expect(Tag::context_constructed(0), "key of the signer")?.reader();
    let uuid = key.octet_string("key of the signer")?;
    key.finish()?;
    let mut certificate = signer.expect(Tag::context_constructed(2), "certificate of the signer")?.reader();
    let element = certificate.expect(Tag::SEQUENCE, "Certificate")?;
    certificate.finish()?;
    signer.finish()?;
    if uuid.len() != UUID_OCTETS {
        return Err(element.error(Reason::Unexpected("UUID of the signer")));
    }
    let certificate = CertView::parse(element.as_der())?;
    let algorithm = AlgorithmIdentifier::read(&mut fields)?;
    let bits = fields.expect(Tag::BIT_STRING, "signature")?;
    let octets = bits.bit_string()?.whole_octets().ok_or(bits.error(Reason::Unexpected("whole octets")))?;
    fields.finish()?;
    Ok(Signature { key: uuid, certificate, algorithm, octets })
}

/// Whether octets begin as a message does, whole or cut: version 1, and claims of version 1, the first of Crypto4A's.
fn begins_as_message(octets: &[u8]) -> bool {
    const VERSION: [u8; 3] = [0x02, 0x01, 0x01];
    let begin = || {
        let claims = header(octets)?.strip_prefix(&VERSION)?;
        let claim = header(header(claims)?.strip_prefix(&VERSION)?)?;
        let [0x06, _, oid @ ..] = header(claim)? else { return None };
        Some(oid.starts_with(&CLAIM_ARC))
    };
    begin().unwrap_or(false)
}

/// What follows the header of a SEQUENCE.
fn header(octets: &[u8]) -> Option<&[u8]> {
    match octets {
        [0x30, 0x81, _, rest @ ..] | [0x30, 0x82, _, _, rest @ ..] | [0x30, 0x83, _, _, _, rest @ ..] => Some(rest),
        [0x30, 0x00..=0x7F, rest @ ..] => Some(rest),
        _ => None,
    }
}

/// A file in DER, or PEM of any label, that begins as a message does.
fn recognize(offer: &Offer<'_>) -> Result<Option<Recognized>, InputError> {
    let mut found: Option<(&str, Vec<u8>)> = None;
    let mut others = Vec::new();
    for file in &offer.files {
        let blocks: Vec<&[u8]> = match file.blocks.as_slice() {
            [] => vec![file.bytes],
            blocks => blocks.iter().map(|block| block.contents()).collect(),
        };
        for octets in blocks {
            if !begins_as_message(octets) {
                others.push(file.name);
            } else if let Some((first, _)) = &found {
                return Err(InputError::Ambiguous {
                    part: "attestation message",
                    first: (*first).to_owned(),
                    second: file.name.to_owned(),
                });
            } else {
                found = Some((file.name, octets.to_vec()));
            }
        }
    }
    match (found, others.first()) {
        (None, _) => Ok(None),
        (Some(_), Some(other)) => Err(InputError::Unrecognized { file: (*other).to_owned() }),
        (Some((_, content)), None) => {
            let certificates = offer.certificates.iter().map(|offered| offered.certificate.clone());
            Ok(Some(Recognized { content, certificates: certificates.take(limits::CERTIFICATES_PARSED).collect() }))
        }
    }
}

fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn outline(input: &[u8]) -> Result<Vec<Outline>, Malformed> {
    let message = Message::parse(input)?;
    let claims = message.claims().iter().map(|claim| {
        let value = match claim.value {
            None => String::new(),
            Some(Value::Octets(octets)) => hexadecimal(octets),
            Some(Value::Text(text) | Value::Time(text)) => text.to_owned(),
            Some(Value::Integer(number)) => format!("{number:#x}"),
        };
        let about = claim.about.map(|key| format!("key {} ", hexadecimal(key))).unwrap_or_default();
        let name = match claim.name() {
            "unknown claim" => claim.oid.to_string(),
            name => name.to_owned(),
        };
        Outline::leaf(name, format!("{about}{value}").trim_end())
    });
    let mut items = vec![Outline::group("claims", claims.collect())];
    for signature in message.signatures() {
        let parts = vec![
            Outline::leaf("algorithm", signature.algorithm.oid().to_string()),
            Outline::leaf("octets", signature.octets.len().to_string()),
            Outline::leaf("key", hexadecimal(signature.key)),
            Outline::certificate("certificate", signature.certificate.clone()),
        ];
        items.push(Outline::group("signature", parts));
    }
    items.extend(message.certificates().iter().map(|one| Outline::certificate("certificate beside", one.clone())));
    Ok(items)
}
