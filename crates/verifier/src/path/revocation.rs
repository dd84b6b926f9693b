//! Revocation by lists that the trust store holds (RFC 5280, section 6.3). Nothing is ever fetched.
//!
//! A list that is signed by the issuer of a certificate and names it revokes it, whatever else the list is: stale,
//! partial, indirect or a delta. Only a current list that covers the certificate for every reason says that it is good.

use vouchsafe_evidence::oid;
use vouchsafe_evidence::x509::extensions::{CrlDistributionPoints, DistributionPoint, IssuingDistributionPoint};
use vouchsafe_evidence::x509::{CertView, CrlView, NameView, SpkiView};

use super::error::{CrlDefect, PathDefect};
use crate::Instant;
use crate::crypto::{Legacy, SignatureAlgorithm, SignatureBudget, SignatureError, verify_authority_signature};
use crate::policy::{IndirectStance, RevocationDemand, Stance};
use crate::trust::TrustCrl;

/// What is known of the revocation of the certificates of a path: of the one about which the least is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Revocation {
    /// No list says anything.
    Unknown,
    /// A list that is not current says that it is not revoked.
    Stale,
    /// A current list says that it is not revoked.
    Good,
}

impl Revocation {
    /// Its word in reports.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unknown => "none",
            Self::Stale => "stale",
            Self::Good => "good",
        }
    }
}

/// The issuer of the certificate in question, as far as lists are concerned.
pub(super) struct ListIssuer<'a> {
    pub key: &'a SpkiView,
    pub key_identifier: Option<&'a [u8]>,
    /// Whether its key usage allows it to sign lists.
    pub may_sign: bool,
}

/// What one list says of one certificate.
enum Finding {
    Good,
    Indirect,
    /// It is of another issuer, or of certificates of another kind.
    Nothing,
    Stale,
    Unusable(CrlDefect),
}

/// Whether `certificate`, which `issuer` issued, is revoked, as far as `lists` say.
///
/// # Errors
/// It is revoked, or what the lists say does not meet `demand`, or the signature checks are spent.
pub(super) fn check(
    certificate: &CertView,
    is_ca: bool,
    issuer: &ListIssuer<'_>,
    lists: &[TrustCrl],
    (demand, at): (RevocationDemand, Instant),
    budget: &mut SignatureBudget,
) -> Result<Revocation, PathDefect> {
    let points = distribution_points(certificate)?;
    let mut inquiry = Inquiry { certificate, is_ca, issuer, points: &points, at, budget };
    let mut best = Revocation::Unknown;
    let (mut indirect, mut unusable, mut stale) = (points.iter().any(names_other_issuer), None, None);
    for list in lists {
        match inquiry.ask(&list.list)? {
            Finding::Good => best = Revocation::Good,
            Finding::Indirect => indirect = true,
            Finding::Nothing => {}
            Finding::Stale => {
                best = best.max(Revocation::Stale);
                stale = Some(list.list.next_update().map(Instant::from_unix_seconds));
            }
            Finding::Unusable(defect) => unusable = Some(defect),
        }
    }
    if best == Revocation::Good {
        return Ok(best);
    }
    if let Some(defect) = unusable {
        return Err(PathDefect::CrlUnusable(defect));
    }
    if indirect && demand.indirect == IndirectStance::Reject {
        return Err(PathDefect::CrlIndirect);
    }
    match (stale, demand.stale, demand.missing) {
        (Some(next_update), Stance::Reject, _) => Err(PathDefect::CrlStale { next_update, at }),
        (Some(_), Stance::Accept, _) => Ok(Revocation::Stale),
        (None, _, Stance::Reject) => Err(PathDefect::CrlMissing),
        (None, _, Stance::Accept) => Ok(Revocation::Unknown),
    }
}

/// One certificate's question to every list.
struct Inquiry<'a, 'b> {
    certificate: &'a CertView,
    is_ca: bool,
    issuer: &'a ListIssuer<'a>,
    points: &'a [DistributionPoint],
    at: Instant,
    budget: &'b mut SignatureBudget,
}

impl Inquiry<'_, '_> {
    /// What `list` says; an error ends the whole inquiry.
    fn ask(&mut self, list: &CrlView) -> Result<Finding, PathDefect> {
        let scope = list.issuing_distribution_point();
        let is_indirect = scope.is_some_and(|scope| scope.is_indirect);
        if !list.issuer().matches(self.certificate.issuer()) {
            let concerns = is_indirect && names_issuer(list, self.certificate.issuer());
            return Ok(if concerns { Finding::Indirect } else { Finding::Nothing });
        }
        // Another key of the same name, by its own word; without a word the signature must decide.
        if let (Some(list), Some(issuer)) = (list.authority_key_identifier(), self.issuer.key_identifier)
            && list != issuer
        {
            return Ok(Finding::Nothing);
        }
        if let Some(defect) = self.defect(list)? {
            return Ok(Finding::Unusable(defect));
        }
        if let Some(revoked_at) = revoked_at(list, self.certificate) {
            return Err(PathDefect::Revoked { at: Instant::from_unix_seconds(revoked_at) });
        }
        if list.is_delta() {
            return Ok(Finding::Unusable(CrlDefect::Delta));
        }
        if is_indirect {
            return Ok(Finding::Indirect);
        }
        if !scope.is_none_or(|scope| self.is_covered(scope)) {
            return Ok(Finding::Nothing);
        }
        let begun = list.this_update() <= self.at.unix_seconds();
        let current = begun && list.next_update().is_some_and(|next| self.at.unix_seconds() <= next);
        Ok(if current { Finding::Good } else { Finding::Stale })
    }

    /// Why the list cannot be used, if it cannot. An error means that the signature checks are spent.
    fn defect(&mut self, list: &CrlView) -> Result<Option<CrlDefect>, PathDefect> {
        if let Some(oid) = list.unknown_critical() {
            return Ok(Some(CrlDefect::UnknownCritical(oid)));
        }
        if !self.issuer.may_sign {
            return Ok(Some(CrlDefect::KeyUsage));
        }
        if list.inner_algorithm_der() != list.outer_algorithm_der() {
            return Ok(Some(CrlDefect::AlgorithmMismatch));
        }
        let Ok(algorithm) = SignatureAlgorithm::from_der(list.outer_algorithm_der()) else {
            return Ok(Some(CrlDefect::Weak));
        };
        let signed = (list.tbs(), Some(&list.tbs_sha256()));
        let (key, signature) = (self.issuer.key, list.signature());
        match verify_authority_signature(self.budget, key, algorithm, signed, signature, Legacy::REFUSED) {
            Ok(()) => Ok(None),
            Err(SignatureError::BudgetExhausted { .. }) => Err(PathDefect::SignatureLimit),
            Err(SignatureError::Invalid | SignatureError::KeyMismatch { .. }) => Ok(Some(CrlDefect::BadSignature)),
            Err(SignatureError::WeakAlgorithm { .. } | SignatureError::WeakKey { .. }) => Ok(Some(CrlDefect::Weak)),
        }
    }

    /// Whether a list of this scope would name the certificate if it were revoked, for whatever reason
    /// (RFC 5280, section 6.3.3 b).
    fn is_covered(&self, scope: &IssuingDistributionPoint) -> bool {
        let of_kind = if self.is_ca { !scope.only_user_certificates } else { !scope.only_ca_certificates };
        let is_partial = !scope.full_names.is_empty() || scope.is_relative;
        let of_point = !is_partial
            || self
                .points
                .iter()
                .any(|point| !point.has_reasons && point.full_names.iter().any(|name| scope.full_names.contains(name)));
        of_kind && of_point && !scope.only_attribute_certificates && !scope.only_some_reasons
    }
}

/// The distribution points that a certificate names.
fn distribution_points(certificate: &CertView) -> Result<Vec<DistributionPoint>, PathDefect> {
    let Some(extension) =
        certificate.extension(oid::CRL_DISTRIBUTION_POINTS).map_err(PathDefect::MalformedExtension)?
    else {
        return Ok(Vec::new());
    };
    let points = CrlDistributionPoints::parse(extension.value()).map_err(PathDefect::MalformedExtension)?;
    let points: Result<Vec<_>, _> = points.points().iter().map(|der| DistributionPoint::parse(der)).collect();
    points.map_err(PathDefect::MalformedExtension)
}

fn names_other_issuer(point: &DistributionPoint) -> bool {
    !point.crl_issuer.is_empty()
}

/// Whether an entry of an indirect list is about certificates of `issuer`.
fn names_issuer(list: &CrlView, issuer: &NameView) -> bool {
    list.entries()
        .any(|entry| entry.certificate_issuer().is_some_and(|names| names.iter().any(|name| name.matches(issuer))))
}

/// When the list, which the certificate's issuer signed, revoked the certificate; `None` if it is not in it.
fn revoked_at(list: &CrlView, certificate: &CertView) -> Option<i64> {
    let serial = significant(certificate.serial());
    // An entry without a certificate issuer is about the issuer of the entry before it (RFC 5280, section 5.3.3).
    let mut of_issuer = true;
    list.entries().find_map(|entry| {
        if let Some(names) = entry.certificate_issuer() {
            of_issuer = names.iter().any(|name| name.matches(certificate.issuer()));
        }
        let named = of_issuer && significant(entry.serial()) == serial;
        (named && !(list.is_delta() && entry.is_removal())).then(|| entry.revoked_at())
    })
}

/// A serial number without leading zero octets: issuers do not always encode one number in one way.
fn significant(serial: &[u8]) -> &[u8] {
    let start = serial.iter().position(|octet| *octet != 0).unwrap_or(serial.len());
    serial.get(start..).unwrap_or_default()
}
