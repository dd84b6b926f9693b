//! Revocation of certificates of devices' keys: one at a time by the account that they were issued for; any, and all of a
//! key, by administrators.
//!
//! It is for good: what is revoked stays so, with its first time and reason. A key of which a certificate is revoked as
//! compromised is never certified again, and what else its account has for it is revoked too.

use serde_json::{Value, json};
use vouchsafe_evidence::x509::{CertView, NameView, SpkiView};

use crate::ca::Hierarchy;
use crate::certified_key::key_identity;
use crate::error::{Error, own_codes};
use crate::record::Recorder;
use crate::request::{Revocable, RevocationRequest};
use crate::service::{Caller, Service, decision};
use crate::store::{DecisionKind, Outcome, Revocation, RevocationReason, Store, StoreError};
use crate::text::to_hex;

/// What a revocation came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// How many certificates it revoked. None where all of them were revoked before.
    pub certificates: usize,
}

impl Revoked {
    /// As clients are told.
    #[must_use]
    pub fn to_json(self) -> Value {
        json!({ "revoked": self.certificates })
    }
}

/// Revokes what an administrator asks for, who is recorded with it as `by`.
///
/// # Errors
/// [`Error::NoSuchCertificate`] where nothing was issued that is meant; [`Error::Rejected`] where a certificate of an attesting key is
/// meant, or one that another CA issued.
pub(crate) fn revoke(
    (store, recorder, hierarchy): (&dyn Store, &Recorder, &Hierarchy),
    now: i64,
    by: &str,
    request: &RevocationRequest,
) -> Result<Revoked, Error> {
    let reason = request.reason;
    let revocation = Revocation { at: now, reason, approver: by.to_owned() };
    let decided = |named: (&str, &[u8]), request: &[u8]| {
        let report = json!({ named.0: to_hex(named.1), "reason": reason.label() }).to_string();
        decision(recorder, now, (DecisionKind::Revocation, by, Outcome::Accepted), report.as_bytes(), request)
    };
    let certificates = match &request.of {
        Revocable::Serial(serial) => {
            let issued = store.issued(serial)?.ok_or(Error::NoSuchCertificate)?;
            let certificate = CertView::parse(&issued.der).map_err(|_| Error::Worker)?;
            if hierarchy.attestation_roots().any(|root| root.certificate().subject() == certificate.issuer()) {
                return Err(own_codes::ATTESTING_CERTIFICATE.refusal());
            }
            if hierarchy.issuer_of(&certificate).is_err() {
                return Err(own_codes::NOT_ISSUED_HERE.refusal());
            }
            let decision = decided(("revoked", serial), &issued.der)?;
            store.revoke_certificate(serial, revocation, decision)?
        }
        Revocable::Key(key) => {
            let holder = store.key_holder(key)?.ok_or(Error::NoSuchCertificate)?;
            if holder.is_attesting {
                return Err(own_codes::ATTESTING_CERTIFICATE.refusal());
            }
            match store.revoke_certified(key, revocation, decided(("revoked_key", key), &[])?) {
                Err(StoreError::NoSuchKey) => return Err(Error::NoSuchCertificate),
                revoked => revoked?,
            }
        }
    };
    Ok(Revoked { certificates })
}

impl Service {
    /// Revokes what an account asks for that administers.
    pub(crate) fn revoke(&self, caller: &Caller, request: &RevocationRequest) -> Result<Revoked, Error> {
        let by = caller.account()?.name();
        revoke((&*self.store, &self.recorder, &self.hierarchy), self.now(), by, request)
    }

    /// Revokes the certificate with this serial number, for a compromised key with the account's others of that key. Returns
    /// whether any was not revoked before. The next list holds it.
    ///
    /// # Errors
    /// [`Error::NotFound`] unless the certificate was issued here for this account, to this subject where one is named,
    /// and is valid still: of others' certificates nothing is told. As [`Self::check_reason`] by the key that was `shown`.
    pub(crate) fn revoke_issued(
        &self,
        account: &str,
        (subject, shown): (Option<&NameView>, Option<&SpkiView>),
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
        self.check_reason(account, &certificate, shown, reason)?;
        let report = json!({ "revoked": to_hex(serial), "reason": reason.label(), "account": account }).to_string();
        let decision =
            self.decision(DecisionKind::Revocation, account, Outcome::Accepted, report.as_bytes(), &issued.der)?;
        let revocation = Revocation { at: self.now(), reason, approver: account.to_owned() };
        Ok(self.store.revoke_certificate(serial, revocation, decision)? > 0)
    }

    /// Whether an account may have a certificate revoked for this reason. That others may know a key, after which nobody has
    /// a certificate of it, says the account whose key it was first, or whoever has shown the key: where a profile gives a key
    /// to several, one could keep another from it.
    ///
    /// # Errors
    /// [`Error::Rejected`].
    pub(crate) fn check_reason(
        &self,
        account: &str,
        certificate: &CertView,
        shown: Option<&SpkiView>,
        reason: RevocationReason,
    ) -> Result<(), Error> {
        if !reason.burns_keys() || shown.is_some_and(|shown| shown.same_key(certificate.spki())) {
            return Ok(());
        }
        match self.store.key_holder(&key_identity(certificate.spki()))? {
            Some(holder) if holder.account != account => {
                Err(Error::Rejected(vec![own_codes::KEY_HAS_OTHER_SUBJECT.found(
                    "The key was certified for another account first, which says whether others may know it, as do the key \
                     itself and administrators. Revoke this account's certificate for another reason."
                        .to_owned(),
                )]))
            }
            Some(_) | None => Ok(()),
        }
    }
}
