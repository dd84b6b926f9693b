//! Certification path validation: RFC 5280, section 6.1, with a profile for each kind of chain.
//!
//! [`validate_path`] finds a path from a trust anchor of one format to a certificate through an unordered pool
//! of helpers and says, by a [`ValidatedPath`], what was found, or by a [`PathError`] with a stable code why
//! nothing counts. Revocation is by lists that the trust store holds.

use vouchsafe_evidence::limits;
use vouchsafe_evidence::x509::{CertView, SpkiView};

mod beneath;
mod certificate;
mod error;
mod names;
mod policy;
mod profile;
mod revocation;
mod search;
mod trusted;

pub(crate) use beneath::check_beneath;
pub use certificate::Deviation;
pub(crate) use certificate::Examined;
pub use error::{CrlDefect, PathDefect, PathError};
pub(crate) use profile::{ATTESTING_FAMILIES, VendorRules};
pub use profile::{ChainProfile, VendorProfile};
pub use revocation::Revocation;
pub(crate) use trusted::check_trusted;

use crate::Instant;
use crate::crypto::SignatureBudget;
use crate::policy::RevocationDemand;
use crate::trust::{FormatTrust, TrustAnchor};
use search::Search;

/// What a path is validated for (RFC 5280, section 6.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathInputs {
    /// What the last certificate is for.
    pub profile: ChainProfile,
    /// The time of judgement.
    pub at: Instant,
    /// What is asked of revocation.
    pub revocation: RevocationDemand,
}

/// A certificate that hangs beneath a trust anchor as its profile demands.
///
/// Only [`validate_path`] makes one.
#[derive(Clone, Debug)]
pub struct ValidatedPath {
    chain: Vec<CertView>,
    leaf: CertView,
    anchor: TrustAnchor,
    profile: ChainProfile,
    deviations: Vec<Deviation>,
    revocation: Revocation,
}

impl ValidatedPath {
    /// The certificate that was validated.
    #[must_use]
    pub const fn leaf(&self) -> &CertView {
        &self.leaf
    }

    /// The validated certificate and those above it, up to the one that the anchor issued.
    #[must_use]
    pub fn chain(&self) -> &[CertView] {
        &self.chain
    }

    /// The key that issued the validated certificate.
    #[must_use]
    pub fn issuer_key(&self) -> &SpkiView {
        match self.chain.get(1) {
            Some(issuer) => issuer.spki(),
            None => self.anchor.key(),
        }
    }

    /// The anchor it hangs beneath, with its marks.
    #[must_use]
    pub const fn anchor(&self) -> &TrustAnchor {
        &self.anchor
    }

    /// The profile it was validated against.
    #[must_use]
    pub const fn profile(&self) -> ChainProfile {
        self.profile
    }

    /// What its profile tolerated of any certificate of [`ValidatedPath::chain`], each kind once, to be reported.
    /// How an anchor is encoded is not judged: it is trusted as it stands.
    #[must_use]
    pub fn deviations(&self) -> &[Deviation] {
        &self.deviations
    }

    /// What is known of the revocation of the certificates of [`ValidatedPath::chain`]: of all of them the least.
    #[must_use]
    pub const fn revocation(&self) -> Revocation {
        self.revocation
    }
}

/// Finds and validates a path from an anchor in `trust` to `leaf`.
///
/// `pool` holds certificates that came with the evidence, in any order, useful or not; the intermediates of
/// `trust` help in the same way, and neither is trusted by itself. Checks, for every certificate of the path:
///
/// - the signature, by the issuer's key and an accepted algorithm that is the same inside and outside (6.1.3 a 1);
/// - validity at the time of judgement, that of an anchor's certificate included (6.1.3 a 2);
/// - revocation, by the lists in `trust` (6.1.3 a 3);
/// - the chain of names by the comparison of section 7.1 (6.1.3 a 4); key identifiers are but hints;
/// - name constraints (6.1.3 b, c), policies as far as a CA demands one (6.1.3 d to f);
/// - for issuers: version 3, basicConstraints, path length, keyCertSign (6.1.4 k to n), and that they are not
///   certificates of attesting keys;
/// - critical extensions that are not known, extensions that are there twice or malformed (6.1.4 o, 6.1.5 f);
/// - for the last certificate, everything that its profile adds.
///
/// An anchor that is a bare public key certifies under any name and without restriction, which costs a
/// signature check for each certificate that might hang beneath it. Nothing vouches for itself: neither an
/// anchor nor an issuer on the path holds the key in question.
///
/// # Errors
/// The most specific [`PathError`] of all paths that were tried.
pub fn validate_path(
    leaf: &CertView,
    pool: &[CertView],
    trust: &FormatTrust,
    inputs: PathInputs,
    budget: &mut SignatureBudget,
) -> Result<ValidatedPath, PathError> {
    if trust.anchors().is_empty() {
        return Err(PathError::of_path(PathDefect::NoAnchor));
    }
    let candidates = ancestors_by_name(leaf, pool, trust)?;
    let found = Search::new(leaf, candidates, trust, inputs, budget).run()?;
    let mut chain = vec![leaf.clone()];
    chain.extend(found.between.into_iter().rev());
    Ok(ValidatedPath {
        chain,
        leaf: leaf.clone(),
        anchor: found.anchor.clone(),
        profile: inputs.profile,
        deviations: found.deviations,
        revocation: found.revocation,
    })
}

/// Certificates that could stand above `leaf`, going by their names alone; none that holds its key.
///
/// # Errors
/// More than [`limits::CERTIFICATES_USED`] of them come from the pool.
fn ancestors_by_name<'a>(
    leaf: &'a CertView,
    pool: &'a [CertView],
    trust: &'a FormatTrust,
) -> Result<Vec<&'a CertView>, PathError> {
    let mut rest: Vec<(bool, &CertView)> = Vec::new();
    let offered = pool.iter().map(|certificate| (true, certificate));
    for (from_pool, certificate) in trust.intermediates().iter().map(|certificate| (false, certificate)).chain(offered)
    {
        let of_leaf = certificate.spki().same_key(leaf.spki());
        let known = rest.iter().any(|(_, other)| *other == certificate);
        if !of_leaf && !known && !repeats_anchor(certificate, trust) {
            rest.push((from_pool, certificate));
        }
    }
    let mut names = vec![leaf.issuer()];
    let (mut ancestors, mut used, mut next) = (Vec::new(), 0_usize, 0_usize);
    while let Some(name) = names.get(next).copied() {
        next += 1;
        let (above, others): (Vec<_>, Vec<_>) =
            rest.into_iter().partition(|(_, certificate)| certificate.subject().matches(name));
        rest = others;
        for (from_pool, certificate) in above {
            used += usize::from(from_pool);
            if !names.contains(&certificate.issuer()) {
                names.push(certificate.issuer());
            }
            ancestors.push(certificate);
        }
        if used > limits::CERTIFICATES_USED {
            return Err(PathError::of_path(PathDefect::CertificatesLimit));
        }
    }
    Ok(ancestors)
}

/// Whether a certificate only says again, in its own name, what an anchor says.
fn repeats_anchor(certificate: &CertView, trust: &FormatTrust) -> bool {
    certificate.issuer().matches(certificate.subject())
        && trust.anchors().iter().any(|anchor| {
            anchor.key().same_key(certificate.spki())
                && anchor.subject().is_none_or(|name| name.matches(certificate.subject()))
        })
}
