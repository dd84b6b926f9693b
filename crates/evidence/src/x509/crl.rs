//! CertificateList (RFC 5280, 5.1) as a view over its original bytes.

use core::ops::Range;
use std::sync::Arc;

use aws_lc_rs::digest;

use crate::oid::{self, Oid};
use crate::x509::der::{Deviations, Element, Reader, Tag};
use crate::x509::extensions::{
    AuthorityKeyIdentifier, IssuingDistributionPoint, certificate_issuer as read_certificate_issuer,
};
use crate::x509::{AlgorithmIdentifier, NameView, time};
use crate::{Malformed, Reason, limits};

const PRODUCTION: &str = "CertificateList";
const SHA256_OCTETS: usize = 32;

/// Extensions of a list that may be critical: what they say is read.
const PROCESSED: [Oid; 4] =
    [oid::AUTHORITY_KEY_IDENTIFIER, oid::CRL_NUMBER, oid::DELTA_CRL_INDICATOR, oid::ISSUING_DISTRIBUTION_POINT];
/// Extensions of an entry that may be critical. Whatever the reason or the date is, the entry revokes.
const ENTRY_PROCESSED: [Oid; 3] = [oid::CERTIFICATE_ISSUER, oid::CRL_REASON, oid::INVALIDITY_DATE];

/// A certificate revocation list.
///
/// ```asn1
/// CertificateList ::= SEQUENCE { tbsCertList, signatureAlgorithm AlgorithmIdentifier, signature BIT STRING }
/// TBSCertList     ::= SEQUENCE { version INTEGER OPTIONAL, signature AlgorithmIdentifier, issuer Name, thisUpdate,
///                                nextUpdate OPTIONAL, revokedCertificates SEQUENCE OF SEQUENCE OPTIONAL,
///                                crlExtensions [0] OPTIONAL }
/// ```
///
/// Cheap to clone. Nothing about it is verified. All entries were read once; they are not kept in another form.
#[derive(Clone, Debug)]
pub struct CrlView(Arc<Layout>);

#[derive(Debug)]
struct Layout {
    der: Box<[u8]>,
    tbs: Range<usize>,
    tbs_sha256: [u8; SHA256_OCTETS],
    inner_algorithm: Range<usize>,
    outer_algorithm: Range<usize>,
    issuer: NameView,
    this_update: i64,
    next_update: Option<i64>,
    entries: Range<usize>,
    signature: Range<usize>,
    extensions: ListExtensions,
    unknown_critical: Option<Oid>,
}

#[derive(Debug, Default)]
struct ListExtensions {
    authority_key_identifier: Option<Vec<u8>>,
    distribution_point: Option<IssuingDistributionPoint>,
    is_delta: bool,
    unknown_critical: Option<Oid>,
}

/// One entry of a revocation list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevokedCertificate<'a> {
    serial: &'a [u8],
    revoked_at: i64,
    has_extensions: bool,
    is_removal: bool,
    issuer: Option<Vec<NameView>>,
    unknown_critical: Option<Oid>,
}

impl<'a> RevokedCertificate<'a> {
    /// The content octets of the serial number.
    #[must_use]
    pub const fn serial(&self) -> &'a [u8] {
        self.serial
    }

    /// revocationDate, in seconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn revoked_at(&self) -> i64 {
        self.revoked_at
    }

    /// Whether the entry takes the certificate off the list that a delta list is about (reason removeFromCRL, RFC 5280,
    /// 5.3.1).
    #[must_use]
    pub const fn is_removal(&self) -> bool {
        self.is_removal
    }

    /// The directory names of certificateIssuer; `None` where the entry has no such extension and therefore is
    /// about the issuer of the entry before it, at first the issuer of the list (RFC 5280, 5.3.3).
    #[must_use]
    pub fn certificate_issuer(&self) -> Option<&[NameView]> {
        self.issuer.as_deref()
    }
}

impl CrlView {
    /// Reads the DER of one revocation list.
    ///
    /// # Errors
    /// [`Malformed`] unless `input` is exactly that, every entry included, in strict DER but for the order of
    /// the members of an RDN, and within [`limits::CRL_OCTETS`].
    pub fn parse(input: &[u8]) -> Result<Self, Malformed> {
        if input.len() > limits::CRL_OCTETS {
            let reason = Reason::OverLimit { what: "revocation list octets", limit: limits::CRL_OCTETS };
            return Err(Malformed::new(PRODUCTION, 0, reason));
        }
        let mut outer = Reader::new(input, PRODUCTION);
        let mut list = outer.sequence(PRODUCTION)?;
        outer.finish()?;
        let tbs = list.expect(Tag::SEQUENCE, "tbsCertList")?;
        let outer_algorithm = read_algorithm(&mut list)?;
        let signature = list.expect(Tag::BIT_STRING, "signature")?;
        list.finish()?;
        let not_octets = signature.error(Reason::NotDer("signature that is not whole octets"));
        let octets = signature.bit_string()?.whole_octets().ok_or(not_octets)?.len();
        let signature_end = span(&signature).end;

        let mut fields = tbs.reader();
        let has_version = read_version(&mut fields)?;
        let inner_algorithm = read_algorithm(&mut fields)?;
        let issuer = read_issuer(&mut fields)?;
        let this_update = time::seconds(&next(&mut fields, "thisUpdate")?)?;
        let next_update = read_next_update(&mut fields)?;
        let (entries, entry_critical) = read_entries(&mut fields, has_version)?;
        let extensions = match fields.optional(Tag::context_constructed(0))? {
            Some(tagged) if has_version => read_list_extensions(&tagged)?,
            Some(tagged) => return Err(tagged.error(Reason::Unexpected("no extensions in a list of version 1"))),
            None => ListExtensions::default(),
        };
        fields.finish()?;
        let mut tbs_sha256 = [0; SHA256_OCTETS];
        tbs_sha256.copy_from_slice(digest::digest(&digest::SHA256, tbs.as_der()).as_ref());
        Ok(Self(Arc::new(Layout {
            der: input.into(),
            tbs: span(&tbs),
            tbs_sha256,
            inner_algorithm,
            outer_algorithm,
            issuer,
            this_update,
            next_update,
            entries,
            signature: signature_end.saturating_sub(octets)..signature_end,
            unknown_critical: extensions.unknown_critical.or(entry_critical),
            extensions,
        })))
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

    /// The original DER of the TBSCertList, its header included: what the signature covers.
    #[must_use]
    pub fn tbs(&self) -> &[u8] {
        self.slice(&self.0.tbs)
    }

    /// SHA-256 of [`CrlView::tbs`], computed once, since lists are long.
    #[must_use]
    pub fn tbs_sha256(&self) -> [u8; SHA256_OCTETS] {
        self.0.tbs_sha256
    }

    /// The DER of the signature algorithm inside the signed part.
    #[must_use]
    pub fn inner_algorithm_der(&self) -> &[u8] {
        self.slice(&self.0.inner_algorithm)
    }

    /// The DER of the signature algorithm outside the signed part.
    #[must_use]
    pub fn outer_algorithm_der(&self) -> &[u8] {
        self.slice(&self.0.outer_algorithm)
    }

    /// Who issued the list.
    #[must_use]
    pub fn issuer(&self) -> &NameView {
        &self.0.issuer
    }

    /// When it was issued, in seconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn this_update(&self) -> i64 {
        self.0.this_update
    }

    /// By when the next one will be issued, in seconds since 1970-01-01T00:00:00Z. RFC 5280 demands it (5.1.2.5).
    #[must_use]
    pub fn next_update(&self) -> Option<i64> {
        self.0.next_update
    }

    /// The octets of the signature.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        self.slice(&self.0.signature)
    }

    /// The key identifier of authorityKeyIdentifier (5.2.1).
    #[must_use]
    pub fn authority_key_identifier(&self) -> Option<&[u8]> {
        self.0.extensions.authority_key_identifier.as_deref()
    }

    /// issuingDistributionPoint (5.2.5).
    #[must_use]
    pub fn issuing_distribution_point(&self) -> Option<&IssuingDistributionPoint> {
        self.0.extensions.distribution_point.as_ref()
    }

    /// Whether it lists changes to another list only (5.2.4).
    #[must_use]
    pub fn is_delta(&self) -> bool {
        self.0.extensions.is_delta
    }

    /// A critical extension of the list or of an entry that is not known, if there is one: such a list must not
    /// be used (5.2, 5.3).
    #[must_use]
    pub fn unknown_critical(&self) -> Option<Oid> {
        self.0.unknown_critical
    }

    /// The entries, in order, each read as it is asked for.
    pub fn entries(&self) -> impl Iterator<Item = RevokedCertificate<'_>> {
        let mut entries = Reader::new(self.slice(&self.0.entries), PRODUCTION);
        // Every entry was read once when the view was made.
        core::iter::from_fn(move || (!entries.is_empty()).then(|| read_entry(&mut entries).ok()).flatten())
    }
}

fn next<'a>(fields: &mut Reader<'a>, what: &'static str) -> Result<Element<'a>, Malformed> {
    if fields.is_empty() { Err(fields.error(Reason::Missing(what))) } else { fields.element() }
}

/// Whether the list is of version 2; one of version 1 does not state its version (5.1.2.1).
fn read_version(fields: &mut Reader<'_>) -> Result<bool, Malformed> {
    if !fields.next_is(Tag::INTEGER) {
        return Ok(false);
    }
    let error = fields.clone();
    match fields.uint("version")? {
        1 => Ok(true),
        other => Err(error.error(Reason::BadValue(other))),
    }
}

fn read_algorithm(fields: &mut Reader<'_>) -> Result<Range<usize>, Malformed> {
    let element = fields.expect(Tag::SEQUENCE, "AlgorithmIdentifier")?;
    element.check_strict()?;
    AlgorithmIdentifier::from_element(&element)?;
    Ok(span(&element))
}

fn read_issuer(fields: &mut Reader<'_>) -> Result<NameView, Malformed> {
    let element = fields.expect(Tag::SEQUENCE, "issuer")?;
    element.check_tolerant(&mut Deviations::default())?;
    NameView::from_element(&element)
}

fn read_next_update(fields: &mut Reader<'_>) -> Result<Option<i64>, Malformed> {
    if fields.next_is(Tag::UTC_TIME) || fields.next_is(Tag::GENERALIZED_TIME) {
        return time::seconds(&fields.element()?).map(Some);
    }
    Ok(None)
}

/// Where the entries stand, and a critical extension in them that is not known.
fn read_entries(fields: &mut Reader<'_>, has_version: bool) -> Result<(Range<usize>, Option<Oid>), Malformed> {
    let Some(list) = fields.optional(Tag::SEQUENCE)? else { return Ok((0..0, None)) };
    let mut entries = list.reader();
    if entries.is_empty() {
        return Err(list.error(Reason::Missing("revoked certificate")));
    }
    let mut unknown_critical = None;
    while !entries.is_empty() {
        let at = entries.clone();
        let entry = read_entry(&mut entries)?;
        if entry.has_extensions && !has_version {
            return Err(at.error(Reason::Unexpected("no extensions in a list of version 1")));
        }
        unknown_critical = unknown_critical.or(entry.unknown_critical);
    }
    let end = span(&list).end;
    Ok((end.saturating_sub(list.contents().len())..end, unknown_critical))
}

/// CRLReason removeFromCRL.
const REMOVE_FROM_CRL: [u8; 3] = [0x0A, 0x01, 0x08];

fn read_entry<'a>(entries: &mut Reader<'a>) -> Result<RevokedCertificate<'a>, Malformed> {
    let mut fields = entries.sequence("revoked certificate")?;
    let serial = fields.expect(Tag::INTEGER, "userCertificate")?.integer()?;
    let revoked_at = time::seconds(&next(&mut fields, "revocationDate")?)?;
    let mut entry = RevokedCertificate {
        serial,
        revoked_at,
        has_extensions: false,
        is_removal: false,
        issuer: None,
        unknown_critical: None,
    };
    if let Some(list) = fields.optional(Tag::SEQUENCE)? {
        entry.has_extensions = true;
        list.check_strict()?;
        for_each_extension(&list, |oid, critical, value| {
            if oid == oid::CRL_REASON {
                entry.is_removal = value == REMOVE_FROM_CRL;
            }
            if oid == oid::CERTIFICATE_ISSUER {
                entry.issuer = Some(read_certificate_issuer(value)?);
            }
            if critical && !ENTRY_PROCESSED.contains(&oid) {
                entry.unknown_critical.get_or_insert(oid);
            }
            Ok(())
        })?;
    }
    fields.finish()?;
    Ok(entry)
}

fn read_list_extensions(tagged: &Element<'_>) -> Result<ListExtensions, Malformed> {
    let mut inner = tagged.reader();
    let list = inner.expect(Tag::SEQUENCE, "crlExtensions")?;
    inner.finish()?;
    list.check_strict()?;
    let mut read = ListExtensions::default();
    for_each_extension(&list, |oid, critical, value| {
        match oid {
            oid::AUTHORITY_KEY_IDENTIFIER => {
                let identifier = AuthorityKeyIdentifier::parse(value)?;
                read.authority_key_identifier = identifier.key_identifier().map(<[u8]>::to_vec);
            }
            oid::ISSUING_DISTRIBUTION_POINT => {
                read.distribution_point = Some(IssuingDistributionPoint::parse(value)?);
            }
            oid::DELTA_CRL_INDICATOR => read.is_delta = true,
            _ => {}
        }
        if critical && !PROCESSED.contains(&oid) {
            read.unknown_critical.get_or_insert(oid);
        }
        Ok(())
    })?;
    Ok(read)
}

/// Reads the members of an Extensions, of which there is at least one and none twice.
fn for_each_extension<'a>(
    list: &Element<'a>,
    mut read: impl FnMut(Oid, bool, &'a [u8]) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    let mut members = list.reader();
    let mut seen = [None; limits::CRL_EXTENSIONS];
    if members.is_empty() {
        return Err(list.error(Reason::Missing("extension")));
    }
    while !members.is_empty() {
        let element = members.expect(Tag::SEQUENCE, "Extension")?;
        let mut fields = element.reader();
        let oid = fields.oid("extnID")?;
        let critical = match fields.optional(Tag::BOOLEAN)? {
            None => false,
            Some(flag) if flag.boolean()? => true,
            Some(flag) => return Err(flag.error(Reason::NotDer("DEFAULT value that is written out"))),
        };
        let value = fields.octet_string("extnValue")?;
        fields.finish()?;
        if seen.contains(&Some(oid)) {
            return Err(element.error(Reason::Duplicate("extension")));
        }
        let over = Reason::OverLimit { what: "extensions of a revocation list", limit: limits::CRL_EXTENSIONS };
        let free = seen.iter_mut().find(|place| place.is_none()).ok_or_else(|| element.error(over))?;
        *free = Some(oid);
        read(oid, critical, value)?;
    }
    Ok(())
}

fn span(element: &Element<'_>) -> Range<usize> {
    element.offset()..element.offset().saturating_add(element.as_der().len())
}
