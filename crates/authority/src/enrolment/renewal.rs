//! New certificates for an attesting key that has some, on its own word: for itself, or for its successor.
//!
//! A renewal proves that the key is where it was. Everything else, the method and its proof, stays as it was recorded, and
//! not for ever: after the configured time the key is enrolled anew.

use vouchsafe_evidence::ak_possession::{AkPossession, PossessionProof, PossessionPurpose};
use vouchsafe_verifier::Rejection;
use vouchsafe_verifier::enrolment::{HostAk, verify_renewal};

use super::proof::stands_alone;
use super::{ActivationReply, CheckedKey, delimited, proof_report, refusal_report};
use crate::certificate::DAY_SECONDS;
use crate::error::{Error, own_codes};
use crate::nonce::{Nonce, Purpose};
use crate::request::{HostSuccessor, RenewalRequest, Vouching};
use crate::service::{Caller, Service, rejected};
use crate::store::{AttestingKeyRow, DecisionKind, Digest, EnrolledKey, Outcome, Spending};

impl Service {
    /// Issues new certificates to a key that has some, or to its successor.
    pub(crate) fn renew(&self, caller: &Caller, request: &RenewalRequest) -> Result<ActivationReply, Error> {
        let account = caller.account()?;
        self.check_device_name(account, &request.device)?;
        let nonce = self.unspent_nonce(&request.nonce, Purpose::AttestationKey, account.name())?;
        let row = self.store.attesting_key(&request.key)?;
        // One answer for a key that is not there and for one of somebody else.
        let row = row.filter(|row| row.account == account.name() && row.device == request.device);
        let Some(row) = row else {
            return Err(own_codes::KEY_NOT_ENROLLED.refusal());
        };
        self.check_method(account, row.proof.method)?;
        let (digest, octets) = self.renewal_octets(request);
        match self.renewable(&row).and_then(|()| judge(&row, request, nonce.octets())) {
            Ok(next) => self.certify_renewal(account.name(), nonce, (digest, &octets), &row, &next),
            Err(error) => {
                let report = refusal_report(&error);
                let decision =
                    self.decision(DecisionKind::Renewal, account.name(), Outcome::Refused, &report, &octets)?;
                self.store.decide(Spending::new(nonce, digest), decision, Vec::new())?;
                Err(error)
            }
        }
    }

    fn renewal_octets(&self, request: &RenewalRequest) -> (Digest, Vec<u8>) {
        let mut parts: Vec<&[u8]> = vec![b"renewal", request.device.as_bytes(), &request.key];
        match &request.vouching {
            Vouching::Tpm { attest, signature, successor } => {
                parts.extend([attest.as_slice(), signature]);
                parts.extend(successor.as_deref());
            }
            Vouching::Host { proof, successor } => {
                parts.push(proof_octets(proof));
                if let Some(HostSuccessor { ak_spki, proof }) = successor {
                    parts.extend([ak_spki.as_slice(), proof_octets(proof)]);
                }
            }
        }
        (self.recorder.request_digest(&parts), delimited(&parts))
    }

    /// Whether the key's certificates may be renewed at all.
    fn renewable(&self, row: &AttestingKeyRow) -> Result<(), Error> {
        let now = self.now();
        let lifetime = self.enrolment.renewal_days.saturating_mul(DAY_SECONDS);
        let code = if row.revocation.is_some() {
            own_codes::KEY_REVOKED
        } else if row.not_after <= now {
            own_codes::KEY_EXPIRED
        } else if row.enrolled_at.saturating_add(lifetime) <= now {
            own_codes::KEY_TOO_OLD
        } else {
            return Ok(());
        };
        Err(Error::Rejected(vec![code.violation()]))
    }

    fn certify_renewal(
        &self,
        account: &str,
        nonce: Nonce,
        (digest, octets): (Digest, &[u8]),
        row: &AttestingKeyRow,
        next: &CheckedKey,
    ) -> Result<ActivationReply, Error> {
        let key = EnrolledKey {
            account: account.to_owned(),
            device: row.device.clone(),
            // The device is bound already; a renewal binds none.
            identity: Digest::default(),
            ek_certificate: row.ek_certificate.clone(),
            is_virtual: row.is_virtual,
            material: next.material(),
            spki_digest: next.as_key().spki().sha256(),
            proof: row.proof.clone(),
            is_exclusive: stands_alone(&row.proof),
            baseline: None,
        };
        let (reply, records) = self.certify(next, &key)?;
        let report = proof_report(&key);
        let decision = self.decision(DecisionKind::Renewal, account, Outcome::Accepted, &report, octets)?;
        self.store.renew(Spending::new(nonce, digest), row.spki_digest, key, decision, records)?;
        Ok(reply)
    }
}

/// The key that is certified next, if the old one vouches for it.
fn judge(row: &AttestingKeyRow, request: &RenewalRequest, nonce: &[u8]) -> Result<CheckedKey, Error> {
    let refused = |rejection| rejected(&[rejection]);
    let old = CheckedKey::from_material(&row.material)?;
    match (&old, &request.vouching) {
        (CheckedKey::Tpm(ak), Vouching::Tpm { attest, signature, successor }) => {
            let next = match successor {
                Some(public) => CheckedKey::tpm(public)?,
                None => CheckedKey::Tpm(ak.clone()),
            };
            if let CheckedKey::Tpm(next) = &next {
                verify_renewal(ak, next, attest, signature, nonce).map_err(refused)?;
            }
            Ok(next)
        }
        (CheckedKey::Host(ak), Vouching::Host { proof, successor: None }) => {
            possession(PossessionPurpose::Renewal, request, ak, ak, (nonce, proof)).map_err(refused)?;
            Ok(CheckedKey::Host(ak.clone()))
        }
        (CheckedKey::Host(ak), Vouching::Host { proof, successor: Some(successor) }) => {
            let next = CheckedKey::host(&successor.ak_spki)?;
            if let CheckedKey::Host(next) = &next {
                possession(PossessionPurpose::Succession, request, ak, next, (nonce, proof)).map_err(refused)?;
                possession(PossessionPurpose::Enrolment, request, next, next, (nonce, &successor.proof))
                    .map_err(refused)?;
            }
            Ok(next)
        }
        (CheckedKey::Tpm(_), Vouching::Host { .. }) | (CheckedKey::Host(_), Vouching::Tpm { .. }) => {
            Err(own_codes::KEY_NOT_OF_METHOD.refusal())
        }
    }
}

fn proof_octets(proof: &PossessionProof) -> &[u8] {
    match proof {
        PossessionProof::Signature(octets) | PossessionProof::Evidence(octets) => octets,
    }
}

/// Checks that `signer` signed for `key`.
fn possession(
    purpose: PossessionPurpose,
    request: &RenewalRequest,
    signer: &HostAk,
    key: &HostAk,
    (nonce, proof): (&[u8], &PossessionProof),
) -> Result<(), Rejection> {
    let possession = AkPossession { purpose, device: &request.device, key: key.spki(), challenge: nonce };
    signer.verify_possession(&possession, proof)
}
