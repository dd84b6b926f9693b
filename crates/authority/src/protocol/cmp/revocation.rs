//! rr (RFC 9483, section 4.2): who may have which certificate revoked, and for what reason.

use vouchsafe_evidence::x509::CertView;

use super::body::RevocationDetails;
use super::conversation::{refusal_of, without_zeros};
use super::parties::Sender;
use super::refusal::{Refusal, codes};
use crate::enroll::Names;
use crate::error::{Error, own_codes};
use crate::service::Service;
use crate::store::RevocationReason;

/// Revokes the certificate of a template, if it was issued here to the sender.
pub(super) fn revoke(service: &Service, sender: &Sender, details: &RevocationDetails) -> Result<(), Refusal> {
    let number = details.reason.unwrap_or(RevocationReason::Unspecified.number());
    let reason = RevocationReason::from_number(number).ok_or_else(|| Refusal::of(codes::REVOCATION_REASON))?;
    let template = &details.template;
    let (Some(issuer), Some(serial)) = (template.issuer(), template.serial()) else {
        return Err(Refusal::found(codes::BAD_CERT_TEMPLATE, "certDetails names no issuer and serial number."));
    };
    if service.upstreams.have_issuer(issuer) {
        return Err(refusal_of(own_codes::UPSTREAM_REVOKES.refusal()));
    }
    let serial = without_zeros(serial);
    // Serial numbers tell certificates of all issuers apart; the one with this number is by whom the template says.
    let issued = service.store.issued(serial).map_err(|error| refusal_of(error.into()))?;
    let is_meant = issued.and_then(|issued| CertView::parse(&issued.der).ok());
    if !is_meant.is_some_and(|certificate| issuer.matches(certificate.issuer())) {
        return Err(Refusal::of(codes::NOT_THE_OWNER));
    }
    let subject = match &sender.applicant.names {
        Names::OfAccount | Names::Proven(_) => None,
        Names::Only(subject) => Some(subject),
    };
    let account = sender.applicant.account.name();
    // Who signs by the key itself has it.
    let shown = sender.certificate.as_ref().map(CertView::spki);
    match service.revoke_issued(account, (subject, shown), serial, reason) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Refusal::of(codes::ALREADY_REVOKED)),
        Err(Error::NotFound) => Err(Refusal::of(codes::NOT_THE_OWNER)),
        Err(error) => Err(refusal_of(error)),
    }
}
