//! Reported elements and their claims (draft-ietf-rats-pkix-key-attestation, 4 and 5.1 to 5.3).

use super::defect::EvidenceDefect;
use super::value::{GeneralizedTime, Value};
use crate::oid::{self, Oid};
use crate::x509::SpkiView;
use crate::x509::der::{Element, Reader, Tag};
use crate::{Malformed, Reason};

/// Elements in one Evidence.
const ELEMENTS: usize = 4096;
/// Attestation keys that one Evidence may name, and blocks of signatures in it.
pub(super) const SIGNERS: usize = 16;
/// Identifiers of unknown elements and claims that are kept to be reported.
const IGNORED: usize = 32;

const PRODUCTION: &str = "TbsEvidence";
/// The arc of elements, claims and purposes of drafts up to -06: 1.2.3.999.
const OLD_ARC: [u8; 4] = [0x2A, 0x03, 0x87, 0x67];
const UP_TO_06: &str = "draft-ietf-rats-pkix-key-attestation up to -06";

/// What Evidence says: the elements that are known, each read by its claims.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Elements<'a> {
    /// About the exchange.
    pub transaction: Option<Transaction<'a>>,
    /// About the module.
    pub platform: Option<Platform<'a>>,
    /// About keys, in their order.
    pub keys: Vec<ReportedKey<'a>>,
    /// Types of elements that are not known, and of claims that are not known or stand in an element where they do not
    /// belong (4.2, 4.3: such are skipped). Each once; a few at most.
    pub ignored: Vec<Oid>,
}

impl<'a> Elements<'a> {
    /// The challenge that the Evidence answers, where it says one.
    #[must_use]
    pub fn nonce(&self) -> Option<&'a [u8]> {
        self.transaction.as_ref().and_then(|transaction| transaction.nonce)
    }
}

/// The transaction element (5.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction<'a> {
    /// The challenge that this answers.
    pub nonce: Option<&'a [u8]>,
    /// The module's own time, which proves no freshness (10.7).
    pub timestamp: Option<GeneralizedTime<'a>>,
    /// The attestation keys that are to sign, none twice.
    pub attestation_keys: Vec<SpkiView>,
}

/// The platform element (5.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Platform<'a> {
    /// vendor.
    pub vendor: Option<&'a str>,
    /// oemid (RFC 9711, 4.2.3).
    pub oem_id: Option<&'a [u8]>,
    /// hwmodel (RFC 9711, 4.2.4).
    pub hw_model: Option<&'a [u8]>,
    /// hwversion.
    pub hw_version: Option<&'a str>,
    /// hwserial.
    pub hw_serial: Option<&'a str>,
    /// swname: of the firmware.
    pub sw_name: Option<&'a str>,
    /// swversion: of the firmware.
    pub sw_version: Option<&'a str>,
    /// dbgstat.
    pub debug: Option<DebugStatus>,
    /// uptime, in seconds since boot.
    pub uptime_seconds: Option<u64>,
    /// bootcount.
    pub boot_count: Option<u64>,
    /// fipsboot: whether the module runs in FIPS mode now.
    pub fips_boot: Option<bool>,
    /// fipsver: the standard.
    pub fips_version: Option<&'a str>,
    /// fipslevel: 1 to 4.
    pub fips_level: Option<u64>,
    /// fipsmodule: the name of the module in its CMVP certificate.
    pub fips_module: Option<&'a str>,
}

/// Debug status (RFC 9711, 4.2.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DebugStatus {
    /// 0: enabled.
    Enabled,
    /// 1: disabled.
    Disabled,
    /// 2: disabled since boot.
    DisabledSinceBoot,
    /// 3: disabled permanently.
    DisabledPermanently,
    /// 4: disabled fully and permanently.
    DisabledFullyAndPermanently,
}

impl DebugStatus {
    /// Its name in RFC 9711.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::DisabledSinceBoot => "disabled-since-boot",
            Self::DisabledPermanently => "disabled-permanently",
            Self::DisabledFullyAndPermanently => "disabled-fully-and-permanently",
        }
    }

    fn from_number(number: u64) -> Option<Self> {
        Some(match number {
            0 => Self::Enabled,
            1 => Self::Disabled,
            2 => Self::DisabledSinceBoot,
            3 => Self::DisabledPermanently,
            4 => Self::DisabledFullyAndPermanently,
            _ => return None,
        })
    }
}

/// A key element (5.2). The attributes are those of PKCS #11, version 3.1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReportedKey<'a> {
    /// The first identifier.
    pub identifier: &'a str,
    /// Further identifiers.
    pub further_identifiers: Vec<&'a str>,
    /// The public key.
    pub spki: Option<Box<SpkiView>>,
    /// CKA_EXTRACTABLE.
    pub extractable: Option<bool>,
    /// CKA_SENSITIVE.
    pub sensitive: Option<bool>,
    /// CKA_NEVER_EXTRACTABLE.
    pub never_extractable: Option<bool>,
    /// CKA_LOCAL.
    pub local: Option<bool>,
    /// When the key expires.
    pub expiry: Option<GeneralizedTime<'a>>,
    /// What the key may be used for.
    pub purposes: Option<Purposes>,
}

/// Purposes of a key (5.2.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purposes(u16);

impl Purposes {
    /// The words of PKCS #11, in the order of the draft's identifiers.
    const WORDS: [&'static str; 9] =
        ["encrypt", "decrypt", "wrap", "unwrap", "sign", "sign-recover", "verify", "verify-recover", "derive"];

    /// In the words of PKCS #11.
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        Self::WORDS.into_iter().enumerate().filter(move |(bit, _)| self.0 & (1 << bit) != 0).map(|(_, word)| word)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Transaction,
    Platform,
    Key,
}

/// The arcs that follow id-evidence, where `contents` are of an identifier beneath it.
fn beneath_evidence(contents: &[u8]) -> Option<&[u8]> {
    contents.strip_prefix(oid::EVIDENCE.as_der_contents())
}

fn kind_of(element_type: &[u8]) -> Option<Kind> {
    match beneath_evidence(element_type)? {
        [0, 0] => Some(Kind::Transaction),
        [0, 1] => Some(Kind::Platform),
        [0, 2] => Some(Kind::Key),
        _ => None,
    }
}

/// Whether the contents of an OBJECT IDENTIFIER are in the arc of old drafts.
pub(super) fn is_of_old_draft(contents: &[u8]) -> bool {
    contents.starts_with(&OLD_ARC)
}

/// Whether the contents of an OBJECT IDENTIFIER are in the arc of Evidence.
pub(super) fn is_of_evidence(contents: &[u8]) -> bool {
    beneath_evidence(contents).is_some()
}

impl<'a> Elements<'a> {
    /// Reads the fields of a TbsEvidence. What is not read by its type is checked to be strict DER.
    pub(super) fn read(tbs: &Element<'a>) -> Result<Self, EvidenceDefect> {
        let mut fields = tbs.reader();
        let version = fields.expect(Tag::INTEGER, "version")?;
        let number = unsigned(&version)?;
        let list = fields.expect(Tag::SEQUENCE, "reportedElements")?;
        fields.finish()?;
        if first_type(&list).is_some_and(is_of_old_draft) {
            return Err(EvidenceDefect::OlderDraft(UP_TO_06));
        }
        if number != Some(1) {
            return Err(EvidenceDefect::Version(number.unwrap_or(u64::MAX)));
        }
        let mut elements = Self { keys: Vec::with_capacity(count_keys(&list)?), ..Self::default() };
        let mut reader = list.reader();
        if reader.is_empty() {
            return Err(reader.error(Reason::Missing("ReportedElement")).into());
        }
        while !reader.is_empty() {
            elements.read_element(&reader.expect(Tag::SEQUENCE, "ReportedElement")?)?;
        }
        elements.check_identifiers()?;
        Ok(elements)
    }

    fn read_element(&mut self, element: &Element<'a>) -> Result<(), EvidenceDefect> {
        let mut fields = element.reader();
        let element_type = fields.expect(Tag::OID, "elementType")?;
        let claims = fields.expect(Tag::SEQUENCE, "claims")?;
        fields.finish()?;
        if is_of_old_draft(element_type.contents()) {
            return Err(EvidenceDefect::OlderDraft(UP_TO_06));
        }
        if claims.contents().is_empty() {
            return Err(EvidenceDefect::EmptyElement(element_type.oid()?));
        }
        match kind_of(element_type.contents()) {
            Some(Kind::Transaction) if self.transaction.is_some() => {
                Err(EvidenceDefect::DuplicateElement("transaction"))
            }
            Some(Kind::Platform) if self.platform.is_some() => Err(EvidenceDefect::DuplicateElement("platform")),
            Some(Kind::Transaction) => {
                self.transaction = Some(Transaction::read(&claims, &mut self.ignored)?);
                Ok(())
            }
            Some(Kind::Platform) => {
                self.platform = Some(Platform::read(&claims, &mut self.ignored)?);
                Ok(())
            }
            Some(Kind::Key) => {
                self.keys.push(ReportedKey::read(&claims, &mut self.ignored)?);
                Ok(())
            }
            None => {
                claims.check_strict()?;
                let mut list = claims.reader();
                while !list.is_empty() {
                    read_claim(&mut list)?;
                }
                ignore(&mut self.ignored, element_type.oid()?);
                Ok(())
            }
        }
    }

    /// No identifier is of two keys. Sorted, since there may be thousands.
    fn check_identifiers(&self) -> Result<(), EvidenceDefect> {
        let mut all: Vec<(&str, usize)> = Vec::with_capacity(self.keys.len());
        for (place, key) in self.keys.iter().enumerate() {
            all.push((key.identifier, place));
            all.extend(key.further_identifiers.iter().map(|identifier| (*identifier, place)));
        }
        all.sort_unstable();
        let repeated = all.windows(2).any(|pair| match pair {
            [(first, key), (second, other)] => first == second && key != other,
            _ => false,
        });
        if repeated { Err(EvidenceDefect::DuplicateIdentifier) } else { Ok(()) }
    }
}

fn first_type<'a>(list: &Element<'a>) -> Option<&'a [u8]> {
    let mut fields = list.reader().sequence("ReportedElement").ok()?;
    fields.expect(Tag::OID, "elementType").ok().map(|element_type| element_type.contents())
}

/// How many elements are of keys, so that room for exactly these is made.
fn count_keys(list: &Element<'_>) -> Result<usize, Malformed> {
    let (mut reader, mut elements, mut keys) = (list.reader(), 0_usize, 0_usize);
    while !reader.is_empty() {
        let element_type = reader.sequence("ReportedElement")?.expect(Tag::OID, "elementType")?;
        keys += usize::from(kind_of(element_type.contents()) == Some(Kind::Key));
        elements += 1;
        if elements > ELEMENTS {
            return Err(reader.error(Reason::OverLimit { what: "reported elements", limit: ELEMENTS }));
        }
    }
    Ok(keys)
}

fn ignore(ignored: &mut Vec<Oid>, what: Oid) {
    if ignored.len() < IGNORED && !ignored.contains(&what) {
        ignored.push(what);
    }
}

/// The value of an INTEGER; `None` if it is negative or wider than 64 bits.
pub(super) fn unsigned(element: &Element<'_>) -> Result<Option<u64>, Malformed> {
    let octets = element.integer()?;
    let magnitude = octets.strip_prefix(&[0]).unwrap_or(octets);
    let is_negative = octets.first().is_some_and(|first| first & 0x80 != 0);
    let fits = !is_negative && magnitude.len() <= 8;
    Ok(fits.then(|| magnitude.iter().fold(0, |value, octet| (value << 8) | u64::from(*octet))))
}

/// A claim: its type and its value, if it has one.
fn read_claim<'a>(list: &mut Reader<'a>) -> Result<(Element<'a>, Option<Element<'a>>), Malformed> {
    let mut fields = list.sequence("ReportedClaim")?;
    let claim_type = fields.expect(Tag::OID, "claimType")?;
    let value = if fields.is_empty() { None } else { Some(fields.element()?) };
    fields.finish()?;
    Ok((claim_type, value))
}

/// Hands every claim of an element that belongs to it and is known to `take`, by its number.
///
/// `known` is how many numbers there are; those of `repeatable` may be there several times.
fn read_claims<'a>(
    claims: &Element<'a>,
    (element, known, repeatable): (u8, u8, u32),
    ignored: &mut Vec<Oid>,
    mut take: impl FnMut(u8, &Value<'a>) -> Result<(), EvidenceDefect>,
) -> Result<(), EvidenceDefect> {
    let (mut list, mut seen) = (claims.reader(), 0_u32);
    while !list.is_empty() {
        let (claim_type, value) = read_claim(&mut list)?;
        let number = match beneath_evidence(claim_type.contents()) {
            Some([1, of, number]) if *of == element && *number < known => *number,
            Some(_) | None => {
                if is_of_old_draft(claim_type.contents()) {
                    return Err(EvidenceDefect::OlderDraft(UP_TO_06));
                }
                if let Some(value) = value {
                    value.check_strict()?;
                }
                ignore(ignored, claim_type.oid()?);
                continue;
            }
        };
        let bit = 1_u32 << number;
        if seen & bit & !repeatable != 0 {
            return Err(EvidenceDefect::DuplicateClaim(claim_type.oid()?));
        }
        seen |= bit;
        match value {
            Some(value) => take(number, &Value::new(claim_type, value))?,
            None => return Err(EvidenceDefect::ClaimValueMissing(claim_type.oid()?)),
        }
    }
    Ok(())
}

/// Number of ak-spki among the claims of a transaction, and of identifier among those of a key.
const AK_SPKI: u32 = 1 << 2;
const IDENTIFIER: u32 = 1;

impl<'a> Transaction<'a> {
    fn read(claims: &Element<'a>, ignored: &mut Vec<Oid>) -> Result<Self, EvidenceDefect> {
        let mut transaction = Self::default();
        read_claims(claims, (0, 3, AK_SPKI), ignored, |number, value| {
            match number {
                0 => transaction.nonce = Some(value.octets()?),
                1 => transaction.timestamp = Some(value.time()?),
                _ => {
                    let key = value.key()?;
                    if transaction.attestation_keys.iter().any(|known| known.same_key(&key)) {
                        return Err(EvidenceDefect::DuplicateClaim(value.claim()?));
                    }
                    if transaction.attestation_keys.len() >= SIGNERS {
                        let over = Reason::OverLimit { what: "attestation keys", limit: SIGNERS };
                        return Err(Malformed::new(PRODUCTION, 0, over).into());
                    }
                    transaction.attestation_keys.push(key);
                }
            }
            Ok(())
        })?;
        Ok(transaction)
    }
}

impl<'a> Platform<'a> {
    fn read(claims: &Element<'a>, ignored: &mut Vec<Oid>) -> Result<Self, EvidenceDefect> {
        let mut platform = Self::default();
        read_claims(claims, (1, 14, 0), ignored, |number, value| {
            let range = |defect: Result<Oid, EvidenceDefect>| defect.map_or_else(|e| e, EvidenceDefect::ClaimRange);
            match number {
                0 => platform.vendor = Some(value.text()?),
                1 => platform.oem_id = Some(value.octets()?),
                2 => platform.hw_model = Some(value.octets()?),
                3 => platform.hw_version = Some(value.text()?),
                4 => platform.hw_serial = Some(value.text()?),
                5 => platform.sw_name = Some(value.text()?),
                6 => platform.sw_version = Some(value.text()?),
                7 => {
                    let status = DebugStatus::from_number(value.unsigned()?);
                    platform.debug = Some(status.ok_or_else(|| range(value.claim()))?);
                }
                8 => platform.uptime_seconds = Some(value.unsigned()?),
                9 => platform.boot_count = Some(value.unsigned()?),
                10 => platform.fips_boot = Some(value.boolean()?),
                11 => platform.fips_version = Some(value.text()?),
                12 => {
                    let level = value.unsigned()?;
                    if !(1..=4).contains(&level) {
                        return Err(range(value.claim()));
                    }
                    platform.fips_level = Some(level);
                }
                _ => platform.fips_module = Some(value.text()?),
            }
            Ok(())
        })?;
        Ok(platform)
    }
}

impl<'a> ReportedKey<'a> {
    fn read(claims: &Element<'a>, ignored: &mut Vec<Oid>) -> Result<Self, EvidenceDefect> {
        let mut key = Self::default();
        let mut identified = false;
        let mut strange = Vec::new();
        read_claims(claims, (2, 8, IDENTIFIER), ignored, |number, value| {
            match number {
                0 if identified => key.further_identifiers.push(value.text()?),
                0 => {
                    key.identifier = value.text()?;
                    identified = true;
                }
                1 => key.spki = Some(Box::new(value.key()?)),
                2 => key.extractable = Some(value.boolean()?),
                3 => key.sensitive = Some(value.boolean()?),
                4 => key.never_extractable = Some(value.boolean()?),
                5 => key.local = Some(value.boolean()?),
                6 => key.expiry = Some(value.time()?),
                _ => key.purposes = Some(purposes(value, &mut strange)?),
            }
            Ok(())
        })?;
        strange.into_iter().for_each(|purpose| ignore(ignored, purpose));
        if identified { Ok(key) } else { Err(EvidenceDefect::IdentifierMissing) }
    }
}

/// The purposes that are known; others go to `strange`, a few at most.
fn purposes(value: &Value<'_>, strange: &mut Vec<Oid>) -> Result<Purposes, EvidenceDefect> {
    let mut list = value.sequence()?;
    let mut purposes = Purposes::default();
    while !list.is_empty() {
        let purpose = list.element()?;
        if purpose.tag() != Tag::OID {
            return Err(EvidenceDefect::ClaimType(value.claim()?));
        }
        match beneath_evidence(purpose.contents()) {
            Some([2, number @ 0..=8]) => purposes.0 |= 1 << number,
            Some(_) | None => ignore(strange, purpose.oid()?),
        }
    }
    Ok(purposes)
}
