//! Certificate (RFC 5280, 4.1) as a view over its original bytes.

use core::ops::Range;
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

#[derive(Debug)]
struct Layout {
    der: Box<[u8]>,
    tbs: Range<usize>,
    version: Version,
    serial: Range<usize>,
    inner_algorithm: AlgorithmLayout,
    outer_algorithm: AlgorithmLayout,
    issuer: NameView,
    subject: NameView,
    not_before: i64,
    not_after: i64,
    spki: SpkiView,
    extensions: Vec<ExtensionLayout>,
    signature: Range<usize>,
    quirks: Vec<Quirk>,
}

#[derive(Debug)]
struct AlgorithmLayout {
    oid: Oid,
    raw: Range<usize>,
    parameters: Option<Range<usize>>,
}

#[derive(Debug)]
struct ExtensionLayout {
    oid: Oid,
    critical: bool,
    raw: Range<usize>,
    value: Range<usize>,
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

    fn slice(&self, range: &Range<usize>) -> &[u8] {
        // Every range was made from this input.
        self.0.der.get(range.clone()).unwrap_or_default()
    }

    /// The original DER.
    #[must_use]
    pub fn as_der(&self) -> &[u8] {
        &self.0.der
    }

    /// The original DER of the TBSCertificate, its header included: what the signature covers.
    #[must_use]
    pub fn tbs(&self) -> &[u8] {
        self.slice(&self.0.tbs)
    }

    /// The version.
    #[must_use]
    pub fn version(&self) -> Version {
        self.0.version
    }

    /// The content octets of the serial number, a leading zero octet included.
    #[must_use]
    pub fn serial(&self) -> &[u8] {
        self.slice(&self.0.serial)
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
        let mut found = self.0.extensions.iter().filter(|layout| layout.oid == oid);
        match (found.next(), found.next()) {
            (first, None) => Ok(first.map(|layout| self.extension_view(layout))),
            (_, Some(second)) => Err(Malformed::new(PRODUCTION, second.raw.start, Reason::Duplicate("extension"))),
        }
    }

    /// The octets of the signature.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        self.slice(&self.0.signature)
    }

    /// What deviates, each kind once.
    #[must_use]
    pub fn quirks(&self) -> &[Quirk] {
        &self.0.quirks
    }

    /// Whether nothing deviates at all.
    #[must_use]
    pub fn is_strict_der(&self) -> bool {
        self.0.quirks.is_empty()
    }

    fn algorithm(&self, layout: &AlgorithmLayout) -> AlgorithmIdentifier<'_> {
        let parameters = layout.parameters.as_ref().map(|range| self.slice(range));
        AlgorithmIdentifier::from_parts(self.slice(&layout.raw), layout.oid, parameters)
    }

    fn extension_view(&self, layout: &ExtensionLayout) -> Extension<'_> {
        Extension {
            oid: layout.oid,
            critical: layout.critical,
            value: self.slice(&layout.value),
            der: self.slice(&layout.raw),
        }
    }
}

struct Parser<'a> {
    input: &'a [u8],
    quirks: Vec<Quirk>,
}

impl<'a> Parser<'a> {
    fn new(input: &'a [u8]) -> Result<Self, Malformed> {
        if input.len() > limits::CERTIFICATE_OCTETS {
            let reason = Reason::OverLimit { what: "certificate octets", limit: limits::CERTIFICATE_OCTETS };
            return Err(Malformed::new(PRODUCTION, 0, reason));
        }
        Ok(Self { input, quirks: Vec::new() })
    }

    fn note(&mut self, quirk: Quirk) {
        if !self.quirks.contains(&quirk) {
            self.quirks.push(quirk);
        }
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
        let signature_end = signature.offset().saturating_add(signature.as_der().len());

        let mut fields = tbs.reader();
        let version = self.read_version(&mut fields)?;
        let serial = self.read_serial(&mut fields)?;
        let inner_algorithm = self.read_algorithm(&mut fields)?;
        let issuer = self.read_name(&mut fields, "issuer")?;
        let (not_before, not_after) = self.read_validity(&mut fields)?;
        let subject = self.read_name(&mut fields, "subject")?;
        let key = fields.expect(Tag::SEQUENCE, "subjectPublicKeyInfo")?;
        self.check(&key)?;
        let spki = SpkiView::from_element(&key)?;
        if matches!(spki.key(), PublicKey::Rsa { scheme: RsaScheme::Oaep, .. }) {
            self.note(Quirk::OaepSpki);
        }
        let extensions = self.read_tail(fields, version)?;
        Ok(Layout {
            der: self.input.into(),
            tbs: span(&tbs),
            version,
            serial,
            inner_algorithm,
            outer_algorithm,
            issuer,
            subject,
            not_before,
            not_after,
            spki,
            extensions,
            signature: signature_end.saturating_sub(octets)..signature_end,
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

    fn read_serial(&mut self, fields: &mut Reader<'_>) -> Result<Range<usize>, Malformed> {
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
        let end = element.offset().saturating_add(element.as_der().len());
        Ok(end.saturating_sub(contents.len())..end)
    }

    fn read_algorithm(&mut self, fields: &mut Reader<'_>) -> Result<AlgorithmLayout, Malformed> {
        let element = fields.expect(Tag::SEQUENCE, "AlgorithmIdentifier")?;
        self.check(&element)?;
        let identifier = AlgorithmIdentifier::from_element(&element)?;
        let raw = span(&element);
        // Parameters are the last field, so they end where the identifier ends.
        let parameters = identifier.parameters().map(|der| raw.end.saturating_sub(der.len())..raw.end);
        Ok(AlgorithmLayout { oid: identifier.oid(), raw, parameters })
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
        let oid = fields.oid("extnID")?;
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
        let end = value.offset().saturating_add(value.as_der().len());
        let start = end.saturating_sub(value.contents().len());
        Ok(ExtensionLayout { oid, critical, raw: span(element), value: start..end })
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

fn span(element: &Element<'_>) -> Range<usize> {
    element.offset()..element.offset().saturating_add(element.as_der().len())
}
