//! Certificates that a key signed whose own certificate is no certification authority's.
//!
//! Modules of several makers attest a key by a certificate, and the attesting key that signs it has a certificate of
//! version 1, or one that says `cA FALSE`. Path validation rightly ends at such a certificate; what hangs beneath it is
//! judged here, one step deep and never further.

use vouchsafe_evidence::x509::CertView;

use super::certificate::{Deviation, Examined};
use super::error::{PathDefect, PathError};
use super::profile::ChainProfile;
use super::search::{Issued, check_signature, tolerate};
use crate::Instant;
use crate::crypto::{Legacy, SignatureBudget};
use crate::trust::Allowances;

/// Checks that the key of `issuer`, whose certificate is trusted already, signed `certificate`, and that it is what
/// `profile` wants of a last certificate. Checks the chain of names, the signature by an accepted algorithm that is
/// named once, encoding, validity at the time `at`, extensions that are there twice or critical and unknown. There is no
/// revocation: nobody publishes lists of what modules sign.
///
/// # Errors
/// A [`PathError`] about `certificate`.
pub(crate) fn check_beneath(
    certificate: &CertView,
    issuer: &CertView,
    (profile, at): (ChainProfile, Instant),
    budget: &mut SignatureBudget,
) -> Result<Vec<Deviation>, PathError> {
    let fail = |defect| PathError::of_certificate(defect, certificate);
    let is_own_issuer = certificate.spki().same_key(issuer.spki());
    if is_own_issuer || !certificate.issuer().matches(issuer.subject()) {
        return Err(fail(PathDefect::NoPath));
    }
    let issued = check_signature(certificate, issuer.spki(), Legacy::REFUSED, budget).map_err(fail)?;
    let examined = Examined::new(certificate, profile.processed())?;
    examined.check_encoding(profile.allowed_quirks()).map_err(fail)?;
    examined.check_validity(at).map_err(fail)?;
    let tolerated = profile.check_last(&examined, Allowances::NONE).map_err(fail)?;
    let mut deviations = Vec::new();
    tolerate(&mut deviations, &examined, issued, tolerated);
    match issued {
        Issued::Yes => Ok(deviations),
        Issued::BySha1 | Issued::No => Err(fail(PathDefect::WeakAlgorithm)),
    }
}
