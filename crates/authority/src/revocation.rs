//! Revocation of certificates of devices' keys, one at a time, by the account that they were issued for.

use serde_json::json;
use vouchsafe_evidence::x509::{CertView, NameView};

use crate::error::Error;
use crate::service::Service;
use crate::store::{DecisionKind, Outcome, Revocation, RevocationReason};
use crate::text::to_hex;

impl Service {
    /// Revokes the certificate with this serial number. Returns whether it was not revoked before. The next list holds it.
    ///
    /// # Errors
    /// [`Error::NotFound`] unless the certificate was issued here for this account, to this subject where one is named,
    /// and is valid still: of others' certificates nothing is told.
    pub(crate) fn revoke_issued(
        &self,
        account: &str,
        subject: Option<&NameView>,
        serial: &[u8],
        reason: RevocationReason,
    ) -> Result<bool, Error> {
        let issued = self.store.issued(serial)?.filter(|issued| issued.account == account).ok_or(Error::NotFound)?;
        let certificate = CertView::parse(&issued.der).map_err(|_| Error::Worker)?;
        let is_meant = subject.is_none_or(|subject| subject == certificate.subject());
        let is_own = self.hierarchy.issuer_of(&certificate).is_ok();
        if !is_meant || !is_own || certificate.not_after() < self.now() {
            return Err(Error::NotFound);
        }
        let report = json!({ "revoked": to_hex(serial), "reason": reason.label(), "account": account }).to_string();
        let decision =
            self.decision(DecisionKind::Revocation, account, Outcome::Accepted, report.as_bytes(), &issued.der)?;
        let revocation = Revocation { at: self.now(), reason, approver: account.to_owned() };
        Ok(self.store.revoke_certificate(serial, revocation, decision)?)
    }
}
