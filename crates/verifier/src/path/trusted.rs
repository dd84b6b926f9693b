//! Certificates that are trusted as they stand.

use vouchsafe_evidence::x509::CertView;

use super::certificate::{Deviation, Examined};
use super::error::PathError;
use super::profile::ChainProfile;
use crate::Instant;
use crate::trust::Allowances;

/// Checks what a certificate says of itself, where the trust store holds it and so no path is needed: encoding, validity,
/// extensions that are there twice or critical and unknown, and what `profile` wants of a last certificate. Nothing is
/// known of its revocation.
///
/// # Errors
/// A [`PathError`] about the certificate.
pub(crate) fn check_trusted(
    certificate: &CertView,
    profile: ChainProfile,
    at: Instant,
) -> Result<Vec<Deviation>, PathError> {
    let fail = |defect| PathError::of_certificate(defect, certificate);
    let examined = Examined::new(certificate, profile.processed())?;
    examined.check_encoding(profile.allowed_quirks()).map_err(fail)?;
    examined.check_validity(at).map_err(fail)?;
    let mut deviations = profile.check_last(&examined, Allowances::NONE).map_err(fail)?;
    deviations.extend(examined.quirks().iter().copied().map(Deviation::Quirk));
    Ok(deviations)
}
