//! Certificate (RFC 5280, 4.1) as a view over its original bytes.

use std::sync::Arc;

use crate::oid::{self, Oid};
use crate::x509::der::{Deviations, Element, Reader, Tag};
use crate::x509::spki::{PublicKey, RsaScheme};
use crate::x509::{AlgorithmIdentifier, NameView, SpkiView, time};
use crate::{Malformed, Reason, limits};

const PRODUCTION: &str = "Certificate";
/// Content octets of the longest serial number that is read.
const SERIAL_OCTETS: usize = 64;
/// 2050-01-01T00:00:00Z, from which on GeneralizedTime is the right form.
const YEAR_2050: i64 = 2_524_608_000;

/// A deviation of real certificates from DER or RFC 5280 that is parsed and reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Quirk {
    /// A DEFAULT value is written out: version v1, critical FALSE or cA FALSE.
    ExplicitDefault,
    /// An extension's value is not exactly one element in strict DER.
    ExtensionNotDer,
    /// GeneralizedTime for a date before 2050.
    GeneralizedTimeBefore2050,
    /// The serial number is zero or negative.
    NegativeOrZeroSerial,
    /// The key usage has trailing zero bits.
    NonMinimalKeyUsage,
    /// The serial number is padded.
    NonMinimalSerial,
    /// The key is an RSA key restricted to OAEP by its algorithm identifier.
    OaepSpki,
    /// Padding follows the certificate ([`CertView::parse_padded`] alone).
    TrailingPadding,
    /// The members of a SET, such as an RDN, are out of order.
    UnsortedRdnSet,
}

impl Quirk {
    const ALL: [Self; 9] = [
        Self::ExplicitDefault,
        Self::ExtensionNotDer,
        Self::GeneralizedTimeBefore2050,
        Self::NegativeOrZeroSerial,
        Self::NonMinimalKeyUsage,
        Self::NonMinimalSerial,
        Self::OaepSpki,
        Self::TrailingPadding,
        Self::UnsortedRdnSet,
    ];

    /// Its name in reports.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::ExplicitDefault => "explicit-default",
            Self::ExtensionNotDer => "extension-not-der",
            Self::GeneralizedTimeBefore2050 => "generalized-time-before-2050",
            Self::NegativeOrZeroSerial => "negative-or-zero-serial",
            Self::NonMinimalKeyUsage => "non-minimal-key-usage",
            Self::NonMinimalSerial => "non-minimal-serial",
            Self::OaepSpki => "oaep-spki",
            Self::TrailingPadding => "trailing-padding",
            Self::UnsortedRdnSet => "unsorted-rdn-set",
        }
    }
}

/// Quirks, each at most once: bit n is for the nth of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Quirks(u16);

impl Quirks {
    fn note(&mut self, quirk: Quirk) {
        let bits = (0_u32..).zip(Quirk::ALL).filter(|(_, known)| *known == quirk).map(|(place, _)| 1 << place);
        bits.for_each(|bit: u16| self.0 |= bit);
    }

    fn to_vec(self) -> Vec<Quirk> {
        (0_u32..).zip(Quirk::ALL).filter(|(place, _)| self.0 >> place & 1 == 1).map(|(_, quirk)| quirk).collect()
    }
}

/// Version of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// Version 1: no unique identifiers, no extensions.
    V1,
    /// Version 2: unique identifiers, no extensions.
    V2,
    /// Version 3.
    V3,
}

/// A certificate.
///
/// ```asn1
/// Certificate    ::= SEQUENCE { tbsCertificate, signatureAlgorithm AlgorithmIdentifier, signature BIT STRING }
/// TBSCertificate ::= SEQUENCE { version [0] DEFAULT v1, serialNumber, signature AlgorithmIdentifier, issuer,
///                               validity, subject, subjectPublicKeyInfo, issuerUniqueID [1], subjectUniqueID [2],
///                               extensions [3] }
/// ```
///
/// Cheap to clone. Nothing about it is verified.
#[derive(Clone, Debug)]
pub struct CertView(Arc<Layout>);

/// Where things stand. Small, since a bundle of a few octets for each certificate makes hundreds of them.
#[derive(Debug)]
struct Layout {
    der: Arc<[u8]>,
    tbs: Span,
    version: Version,
    serial: Span,
    inner_algorithm: AlgorithmLayout,
    outer_algorithm: AlgorithmLayout,
    issuer: NameView,
    subject: NameView,
    not_before: i64,
    not_after: i64,
    spki: SpkiView,
    extensions: Box<[ExtensionLayout]>,
    signature: Span,
    quirks: Quirks,
}

/// A part of the certificate, in octets from its beginning. What is read is far below 4 GiB.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: u32,
    end: u32,
}

impl Span {
    fn new(start: usize, end: usize) -> Self {
        Self { start: offset(start), end: offset(end) }
    }

    fn of(element: &Element<'_>) -> Self {
        Self::new(element.offset(), end(element))
    }

    /// The last `octets` of an element.
    fn tail(element: &Element<'_>, octets: usize) -> Self {
        Self::new(end(element).saturating_sub(octets), end(element))
    }
}

fn end(element: &Element<'_>) -> usize {
    element.offset().saturating_add(element.as_der().len())
}

fn short(octets: usize) -> u16 {
    u16::try_from(octets).unwrap_or(u16::MAX)
}

fn offset(octets: usize) -> u32 {
    u32::try_from(octets).unwrap_or(u32::MAX)
}

#[derive(Debug)]
struct AlgorithmLayout {
    raw: Span,
    /// Where the contents of the identifier begin.
    oid: u32,
    /// Where the parameters begin: at the end, where there are none.
    parameters: u32,
}

/// Where an extension stands; it ends with its value. Behind the extensions of a certificate of
/// [`limits::CERTIFICATE_OCTETS`] stands its signature, so offsets have 16 bits.
#[derive(Debug)]
struct ExtensionLayout {
    start: u16,
    value: u16,
    end: u16,
    /// Octets from the beginning to the contents of the identifier.
    oid: u8,
    critical: bool,
}

/// One extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extension<'a> {
    oid: Oid,
    critical: bool,
    value: &'a [u8],
    der: &'a [u8],
}

impl<'a> Extension<'a> {
    /// Which extension it is.
    #[must_use]
    pub const fn oid(&self) -> Oid {
        self.oid
    }

    /// Whether it is critical.
    #[must_use]
    pub const fn is_critical(&self) -> bool {
        self.critical
    }

    /// The contents of extnValue.
    #[must_use]
    pub const fn value(&self) -> &'a [u8] {
        self.value
    }

    /// The original DER of the whole Extension.
    #[must_use]
    pub const fn as_der(&self) -> &'a [u8] {
        self.der
    }
}

impl PartialEq for CertView {
    /// Two certificates are equal if their bytes are.
    fn eq(&self, other: &Self) -> bool {
        self.0.der == other.0.der
    }
}

impl Eq for CertView {}

impl core::hash::Hash for CertView {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        self.0.der.hash(state);
    }
}

impl CertView {
    /// Reads the DER of one certificate.
    ///
    /// # Errors
    /// [`Malformed`] unless `input` is exactly that, in DER but for the deviations that [`Quirk`] names,
    /// and within [`limits`].
    pub fn parse(input: &[u8]) -> Result<Self, Malformed> {
        Parser::new(input)?.run(false).map(|layout| Self(Arc::new(layout)))
    }

    /// Reads a certificate that padding may follow, as it stands in the NV storage of a TPM: octets 00
    /// or FF to the end. What [`CertView::as_der`] gives is the certificate alone.
    ///
    /// # Errors
    /// As [`CertView::parse`]; other octets behind the certificate are refused.
    pub fn parse_padded(input: &[u8]) -> Result<Self, Malformed> {
        let element = Reader::new(input, PRODUCTION).element()?;
        let padding = input.get(element.as_der().len()..).unwrap_or_default();
        let is_padding = [0x00, 0xFF].iter().any(|fill| padding.iter().all(|octet| octet == fill));
        if !is_padding {
            return Err(Malformed::new(PRODUCTION, element.as_der().len(), Reason::Trailing(padding.len())));
        }
        let layout = Parser::new(element.as_der())?.run(!padding.is_empty())?;
        Ok(Self(Arc::new(layout)))
    }

    fn slice(&self, span: Span) -> &[u8] {
        let (start, end) = (usize::try_from(span.start), usize::try_from(span.end));
        // Every span was made from this input.
        start.ok().zip(end.ok()).and_then(|(start, end)| self.0.der.get(start..end)).unwrap_or_default()
    }

    /// The original DER.
    #[must_use]
    pub fn as_der(&self) -> &[u8] {
        &self.0.der
    }

    /// The original DER of the TBSCertificate, its header included: what the signature covers.
    #[must_use]
    pub fn tbs(&self) -> &[u8] {
        self.slice(self.0.tbs)
    }

    /// The version.
    #[must_use]
    pub fn version(&self) -> Version {
        self.0.version
    }

    /// The content octets of the serial number, a leading zero octet included.
    #[must_use]
    pub fn serial(&self) -> &[u8] {
        self.slice(self.0.serial)
    }

    /// The signature algorithm inside the signed part.
    #[must_use]
    pub fn inner_algorithm(&self) -> AlgorithmIdentifier<'_> {
        self.algorithm(&self.0.inner_algorithm)
    }

    /// The signature algorithm outside the signed part.
    #[must_use]
    pub fn outer_algorithm(&self) -> AlgorithmIdentifier<'_> {
        self.algorithm(&self.0.outer_algorithm)
    }

    /// The issuer's name.
    #[must_use]
    pub fn issuer(&self) -> &NameView {
        &self.0.issuer
    }

    /// The subject's name.
    #[must_use]
    pub fn subject(&self) -> &NameView {
        &self.0.subject
    }

    /// The first second of validity, in seconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn not_before(&self) -> i64 {
        self.0.not_before
    }

    /// The last second of validity, in seconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn not_after(&self) -> i64 {
        self.0.not_after
    }

    /// The subject's public key.
    #[must_use]
    pub fn spki(&self) -> &SpkiView {
        &self.0.spki
    }

    /// The extensions, in order.
    pub fn extensions(&self) -> impl ExactSizeIterator<Item = Extension<'_>> {
        self.0.extensions.iter().map(|layout| self.extension_view(layout))
    }

    /// The extension of this type, if it is there.
    ///
    /// # Errors
    /// [`Reason::Duplicate`] if it is there more than once (RFC 5280, 4.2).
    pub fn extension(&self, oid: Oid) -> Result<Option<Extension<'_>>, Malformed> {
        let is_asked_for = |layout: &&ExtensionLayout| self.extension_oid(layout) == oid.as_der_contents();
        let mut found = self.0.extensions.iter().filter(is_asked_for);
        match (found.next(), found.next()) {
            (first, None) => Ok(first.map(|layout| self.extension_view(layout))),
            (_, Some(second)) => Err(Malformed::new(PRODUCTION, second.start.into(), Reason::Duplicate("extension"))),
        }
    }

    /// The octets of the signature.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        self.slice(self.0.signature)
    }

    /// What deviates, each kind once.
    #[must_use]
    pub fn quirks(&self) -> Vec<Quirk> {
        self.0.quirks.to_vec()
    }

    /// Whether nothing deviates at all.
    #[must_use]
    pub fn is_strict_der(&self) -> bool {
        self.0.quirks == Quirks::default()
    }

    fn algorithm(&self, layout: &AlgorithmLayout) -> AlgorithmIdentifier<'_> {
        let parameters = self.slice(Span { start: layout.parameters, end: layout.raw.end });
        let oid = self.slice(Span { start: layout.oid, end: layout.parameters });
        let parameters = (!parameters.is_empty()).then_some(parameters);
        AlgorithmIdentifier::from_parts(self.slice(layout.raw), Oid::reread(oid), parameters)
    }

    fn extension_view(&self, layout: &ExtensionLayout) -> Extension<'_> {
        Extension {
            oid: Oid::reread(self.extension_oid(layout)),
            critical: layout.critical,
            value: self.slice(Span { start: layout.value.into(), end: layout.end.into() }),
            der: self.slice(Span { start: layout.start.into(), end: layout.end.into() }),
        }
    }

    /// The contents of an extension's identifier, whose length stands in the octet before them.
    fn extension_oid(&self, layout: &ExtensionLayout) -> &[u8] {
        let start = usize::from(layout.start).saturating_add(layout.oid.into());
        let octets = self.0.der.get(start.saturating_sub(1)).copied().unwrap_or_default();
        self.0.der.get(start..start.saturating_add(octets.into())).unwrap_or_default()
    }
}

struct Parser<'a> {
    input: &'a [u8],
    quirks: Quirks,
}

impl<'a> Parser<'a> {
    fn new(input: &'a [u8]) -> Result<Self, Malformed> {
        if input.len() > limits::CERTIFICATE_OCTETS {
            let reason = Reason::OverLimit { what: "certificate octets", limit: limits::CERTIFICATE_OCTETS };
            return Err(Malformed::new(PRODUCTION, 0, reason));
        }
        Ok(Self { input, quirks: Quirks::default() })
    }

    fn note(&mut self, quirk: Quirk) {
        self.quirks.note(quirk);
    }

    /// Checks that an element is strict DER but for the order of SETs.
    fn check(&mut self, element: &Element<'_>) -> Result<(), Malformed> {
        let mut deviations = Deviations::default();
        element.check_tolerant(&mut deviations)?;
        if deviations.unsorted_set.is_some() {
            self.note(Quirk::UnsortedRdnSet);
        }
        Ok(())
    }

    fn run(mut self, padded: bool) -> Result<Layout, Malformed> {
        if padded {
            self.note(Quirk::TrailingPadding);
        }
        let mut outer = Reader::new(self.input, PRODUCTION);
        let mut certificate = outer.sequence(PRODUCTION)?;
        outer.finish()?;
        let tbs = certificate.expect(Tag::SEQUENCE, "tbsCertificate")?;
        let outer_algorithm = self.read_algorithm(&mut certificate)?;
        let signature = certificate.expect(Tag::BIT_STRING, "signature")?;
        certificate.finish()?;
        let not_octets = signature.error(Reason::NotDer("signature that is not whole octets"));
        let octets = signature.bit_string()?.whole_octets().ok_or(not_octets)?.len();

        let mut fields = tbs.reader();
        let version = self.read_version(&mut fields)?;
        let serial = self.read_serial(&mut fields)?;
        let inner_algorithm = self.read_algorithm(&mut fields)?;
        let issuer = self.read_name(&mut fields, "issuer")?;
        let (not_before, not_after) = self.read_validity(&mut fields)?;
        let subject = self.read_name(&mut fields, "subject")?;
        let key = fields.expect(Tag::SEQUENCE, "subjectPublicKeyInfo")?;
        self.check(&key)?;
        let der: Arc<[u8]> = self.input.into();
        let spki = SpkiView::from_element_of(&der, &key)?;
        if matches!(spki.key(), PublicKey::Rsa { scheme: RsaScheme::Oaep, .. }) {
            self.note(Quirk::OaepSpki);
        }
        let extensions = self.read_tail(fields, version)?;
        // Last, so that whatever else is wrong is said first.
        if self.input.len() < limits::CERTIFICATE_OCTETS_MIN {
            return Err(Malformed::new(PRODUCTION, 0, Reason::Missing("octets of a key and a signature")));
        }
        Ok(Layout {
            der,
            tbs: Span::of(&tbs),
            version,
            serial,
            inner_algorithm,
            outer_algorithm,
            issuer,
            subject,
            not_before,
            not_after,
            spki,
            extensions: extensions.into(),
            signature: Span::tail(&signature, octets),
            quirks: self.quirks,
        })
    }

    fn read_version(&mut self, fields: &mut Reader<'_>) -> Result<Version, Malformed> {
        let Some(tagged) = fields.optional(Tag::context_constructed(0))? else {
            return Ok(Version::V1);
        };
        let mut inner = tagged.reader();
        let version = inner.uint("version")?;
        inner.finish()?;
        match version {
            0 => {
                self.note(Quirk::ExplicitDefault);
                Ok(Version::V1)
            }
            1 => Ok(Version::V2),
            2 => Ok(Version::V3),
            other => Err(tagged.error(Reason::BadValue(other))),
        }
    }

    fn read_serial(&mut self, fields: &mut Reader<'_>) -> Result<Span, Malformed> {
        let element = fields.expect(Tag::INTEGER, "serialNumber")?;
        let contents = element.contents();
        match contents {
            [] => return Err(element.error(Reason::NotDer("INTEGER without contents"))),
            octets if octets.len() > SERIAL_OCTETS => {
                let reason = Reason::OverLimit { what: "octets of a serial number", limit: SERIAL_OCTETS };
                return Err(element.error(reason));
            }
            [first, ..] if first & 0x80 != 0 => self.note(Quirk::NegativeOrZeroSerial),
            octets if octets.iter().all(|octet| *octet == 0) => self.note(Quirk::NegativeOrZeroSerial),
            _ => {}
        }
        if element.integer().is_err() {
            self.note(Quirk::NonMinimalSerial);
        }
        Ok(Span::tail(&element, contents.len()))
    }

    fn read_algorithm(&mut self, fields: &mut Reader<'_>) -> Result<AlgorithmLayout, Malformed> {
        let element = fields.expect(Tag::SEQUENCE, "AlgorithmIdentifier")?;
        self.check(&element)?;
        let identifier = AlgorithmIdentifier::from_element(&element)?;
        // Parameters are the last field, and the identifier stands before them.
        let parameters = Span::tail(&element, identifier.parameters().map_or(0, <[u8]>::len)).start;
        let oid = parameters.saturating_sub(offset(identifier.oid().as_der_contents().len()));
        Ok(AlgorithmLayout { raw: Span::of(&element), oid, parameters })
    }

    fn read_name(&mut self, fields: &mut Reader<'_>, what: &'static str) -> Result<NameView, Malformed> {
        let element = fields.expect(Tag::SEQUENCE, what)?;
        self.check(&element)?;
        NameView::from_element(&element)
    }

    fn read_validity(&mut self, fields: &mut Reader<'_>) -> Result<(i64, i64), Malformed> {
        let mut validity = fields.sequence("validity")?;
        let mut read = |what| {
            if validity.is_empty() {
                return Err(validity.error(Reason::Missing(what)));
            }
            let element = validity.element()?;
            let seconds = time::seconds(&element)?;
            if element.tag() == Tag::GENERALIZED_TIME && seconds < YEAR_2050 {
                self.note(Quirk::GeneralizedTimeBefore2050);
            }
            Ok(seconds)
        };
        let times = (read("notBefore")?, read("notAfter")?);
        validity.finish()?;
        Ok(times)
    }

    /// Reads unique identifiers and extensions, as far as the version has them.
    fn read_tail(&mut self, mut fields: Reader<'_>, version: Version) -> Result<Vec<ExtensionLayout>, Malformed> {
        if version >= Version::V2 {
            for number in [1, 2] {
                if let Some(identifier) = fields.optional(Tag::context(number))? {
                    identifier.bit_string()?;
                }
            }
        }
        let mut extensions = Vec::new();
        if version == Version::V3
            && let Some(tagged) = fields.optional(Tag::context_constructed(3))?
        {
            let mut inner = tagged.reader();
            let list = inner.expect(Tag::SEQUENCE, "extensions")?;
            inner.finish()?;
            self.read_extensions(&list, &mut extensions)?;
        }
        fields.finish()?;
        Ok(extensions)
    }

    fn read_extensions(&mut self, list: &Element<'_>, extensions: &mut Vec<ExtensionLayout>) -> Result<(), Malformed> {
        let mut members = list.reader();
        if members.is_empty() {
            return Err(list.error(Reason::Missing("extension")));
        }
        while !members.is_empty() {
            if extensions.len() >= limits::EXTENSIONS {
                let reason = Reason::OverLimit { what: "extensions", limit: limits::EXTENSIONS };
                return Err(members.error(reason));
            }
            let element = members.expect(Tag::SEQUENCE, "Extension")?;
            extensions.push(self.read_extension(&element)?);
        }
        Ok(())
    }

    fn read_extension(&mut self, element: &Element<'_>) -> Result<ExtensionLayout, Malformed> {
        let mut fields = element.reader();
        let identifier = fields.expect(Tag::OID, "extnID")?;
        let oid = identifier.oid()?;
        let critical = match fields.optional(Tag::BOOLEAN)? {
            None => false,
            Some(flag) => {
                let critical = flag.boolean()?;
                if !critical {
                    self.note(Quirk::ExplicitDefault);
                }
                critical
            }
        };
        let value = fields.expect(Tag::OCTET_STRING, "extnValue")?;
        fields.finish()?;
        self.inspect_value(oid, value.contents());
        let value_start = end(&value).saturating_sub(value.contents().len());
        let oid_start = end(&identifier).saturating_sub(identifier.contents().len());
        Ok(ExtensionLayout {
            start: short(element.offset()),
            value: short(value_start),
            end: short(end(element)),
            oid: u8::try_from(oid_start.saturating_sub(element.offset())).unwrap_or(u8::MAX),
            critical,
        })
    }

    /// Notes deviations inside an extension's value; whoever uses the value parses it strictly.
    fn inspect_value(&mut self, oid: Oid, value: &[u8]) {
        let Ok(element) = Element::parse(value, "extnValue") else {
            return self.note(Quirk::ExtensionNotDer);
        };
        if self.check(&element).is_err() {
            return self.note(Quirk::ExtensionNotDer);
        }
        match oid {
            oid::KEY_USAGE if has_trailing_zero_bits(&element) => self.note(Quirk::NonMinimalKeyUsage),
            oid::BASIC_CONSTRAINTS if element.contents().starts_with(&[0x01, 0x01, 0x00]) => {
                self.note(Quirk::ExplicitDefault);
            }
            _ => {}
        }
    }
}

/// Whether a named bit list ends in a zero bit (X.690, 11.2.2).
fn has_trailing_zero_bits(element: &Element<'_>) -> bool {
    element.bit_string().is_ok_and(|bits| {
        let unused = bits.octets().len().saturating_mul(8).saturating_sub(bits.bits());
        bits.octets().last().is_some_and(|last| usize::try_from(last.trailing_zeros()) != Ok(unused))
    })
}
