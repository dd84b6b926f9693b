//! rr (RFC 9483, section 4.2): who may have which certificate revoked, and for what reason.

use super::body::RevocationDetails;
use super::conversation::{refusal_of, without_zeros};
use super::parties::Sender;
use super::refusal::{Refusal, codes};
use crate::enroll::Names;
use crate::error::Error;
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
    let own = service.hierarchy.issuing().map_err(|error| refusal_of(error.into()))?;
    if !issuer.matches(own.certificate().subject()) {
        return Err(Refusal::of(codes::NOT_THE_OWNER));
    }
    let subject = match &sender.applicant.names {
        Names::OfAccount | Names::Proven(_) => None,
        Names::Only(subject) => Some(subject),
    };
    let account = sender.applicant.account.name();
    match service.revoke_issued(account, subject, without_zeros(serial), reason) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Refusal::of(codes::ALREADY_REVOKED)),
        Err(Error::NotFound) => Err(Refusal::of(codes::NOT_THE_OWNER)),
        Err(error) => Err(refusal_of(error)),
    }
}
