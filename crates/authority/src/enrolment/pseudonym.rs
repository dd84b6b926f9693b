//! Pseudonyms: attesting keys whose certificates tell nothing of their devices (`docs/anonymity.md`).
//!
//! An authority with `role = "enrolment"` sees endorsement key and attesting key together, runs credential activation on
//! that very key and signs its certificate: there are no tokens that one could redeem for a key of another kind (A53).
//! What is asked and answered lies in memory alone, so that no file ever holds a link that is to be forgotten; records say
//! that somebody of an account was granted a pseudonym on some day, and no more.

mod escrow;
mod pending;

use aws_lc_rs::constant_time;
use vouchsafe_verifier::Instant;
use vouchsafe_verifier::enrolment::{Family, Method, QualifiedAk};

use self::escrow::{Escrow, Linked};
use self::pending::{Held, Pending};
use super::{ActivationReply, ChallengeReply, CheckedKey, Service, question, random, refusal_report};
use crate::ak_certificate::{Families, issue_pseudonym};
use crate::appraisal::device_id;
use crate::certificate::DAY_SECONDS;
use crate::config::{Account, Link, PseudonymConfig};
use crate::error::{Error, own_codes};
use crate::nonce::{Nonce, Purpose};
use crate::record::sha256;
use crate::request::{ActivationRequest, ChallengeRequest, EkOffer, Offer};
use crate::service::{decision, rejected};
use crate::store::{CHALLENGE_ID_OCTETS, Decision, DecisionKind, Digest, Expected, Outcome, Spending};
use crate::text::to_hex;

pub use self::escrow::EscrowError;

/// What pseudonyms are signed by, and what waits for its answer.
#[derive(Debug)]
pub(crate) struct Pseudonyms {
    validity_days: i64,
    withdrawn: Vec<Digest>,
    escrow: Option<Escrow>,
    pending: Pending,
}

impl Pseudonyms {
    /// Reads the escrow key, if there is to be one.
    ///
    /// # Errors
    /// Every variant of [`EscrowError`].
    pub(crate) fn new(config: &PseudonymConfig) -> Result<Self, EscrowError> {
        let escrow = match &config.link {
            Link::Forget => None,
            Link::Escrow(file) => Some(Escrow::read(file)?),
        };
        Ok(Self {
            validity_days: config.validity_days,
            withdrawn: config.withdrawn.clone(),
            escrow,
            pending: Pending::default(),
        })
    }
}

/// The first second of the day.
const fn day_of(now: i64) -> i64 {
    now - now.rem_euclid(DAY_SECONDS)
}

impl Service {
    /// Checks key and endorsement key, and challenges the key.
    pub(super) fn open_pseudonym_challenge(
        &self,
        pseudonyms: &Pseudonyms,
        account: &Account,
        request: &ChallengeRequest,
    ) -> Result<ChallengeReply, Error> {
        self.check_method(account, Method::Manufacturer)?;
        let nonce = self.unspent_nonce(&request.nonce, Purpose::AttestationKey, account.name())?;
        let (id, question, held) = match self.judge_pseudonym(pseudonyms, account, request) {
            Ok(judged) => judged,
            Err(error @ Error::Rejected(_)) => {
                self.spend(nonce, account, Outcome::Refused, &refusal_report(&error))?;
                return Err(error);
            }
            Err(error) => return Err(error),
        };
        let expires = held.expires;
        self.spend(nonce, account, Outcome::Accepted, b"{}")?;
        pseudonyms.pending.hold(id, held, self.now())?;
        Ok(ChallengeReply { id: to_hex(&id), question, expires: Instant::from_unix_seconds(expires) })
    }

    /// What is true of the request, and the challenge.
    fn judge_pseudonym(
        &self,
        pseudonyms: &Pseudonyms,
        account: &Account,
        request: &ChallengeRequest,
    ) -> Result<([u8; CHALLENGE_ID_OCTETS], super::Question, Held), Error> {
        let ak_public = match &request.offer {
            Offer::Tpm { ak_public, ek: EkOffer::Certified(_), baseline: None } => ak_public,
            Offer::Tpm { .. } | Offer::Host { .. } => return Err(own_codes::PSEUDONYM_ENROLMENT.refusal()),
        };
        let checked = CheckedKey::tpm(ak_public);
        let established = self.establish(account, request, checked.as_ref().ok())?;
        let key = checked?;
        if pseudonyms.withdrawn.contains(&established.identity) {
            return Err(own_codes::ENDORSEMENT_KEY_WITHDRAWN.refusal());
        }
        match &key {
            CheckedKey::Tpm(ak) if ak.families().contains(&Family::CertifyX509) => {}
            CheckedKey::Tpm(_) | CheckedKey::Host(_) => return Err(own_codes::PSEUDONYM_X509SIGN.refusal()),
        }
        let (expected, question) = question(&key, established.ek.as_ref())?;
        let credential_digest = match expected {
            Expected::Credential(digest) => digest,
            Expected::Signature(_) => return Err(own_codes::PSEUDONYM_ENROLMENT.refusal()),
        };
        let held = Held {
            account: account.name().to_owned(),
            device: request.device.clone(),
            expires: self.now().saturating_add(self.challenge_lifetime_seconds),
            credential_digest,
            endorsement_key: established.identity,
            is_virtual: established.is_virtual,
            ak_public: ak_public.clone(),
        };
        Ok((*random::<CHALLENGE_ID_OCTETS>()?, question, held))
    }

    /// Spends the nonce. The record says nothing of the request, not even by a keyed digest.
    fn spend(&self, nonce: Nonce, account: &Account, outcome: Outcome, report: &[u8]) -> Result<(), Error> {
        let digest = self.recorder.request_digest(&[]);
        let decision = self.unlinked(DecisionKind::Challenge, account, outcome, report)?;
        self.store.decide(Spending::new(nonce, digest), decision, Vec::new())?;
        Ok(())
    }

    /// A decision of some time of the day.
    fn unlinked(
        &self,
        kind: DecisionKind,
        account: &Account,
        outcome: Outcome,
        report: &[u8],
    ) -> Result<Decision, Error> {
        decision(&self.recorder, day_of(self.now()), (kind, account.name(), outcome), report, b"")
    }

    /// Takes the one answer to a challenge and, if it is right, signs the pseudonym.
    pub(super) fn activate_pseudonym(
        &self,
        pseudonyms: &Pseudonyms,
        account: &Account,
        id: &[u8; CHALLENGE_ID_OCTETS],
        answer: &ActivationRequest,
    ) -> Result<ActivationReply, Error> {
        // Gone from here on, whether the answer is right or not.
        let held = pseudonyms.pending.take(id, account.name()).ok_or(Error::ActivationFailed)?;
        // What is not the credential that was encrypted to the endorsement key is no answer.
        let ActivationRequest::Credential(secret) = answer else { return Err(Error::ActivationFailed) };
        let is_met = constant_time::verify_slices_are_equal(&held.credential_digest, &sha256(secret)).is_ok();
        if !is_met || held.expires < self.now() {
            let report = refusal_report(&Error::ActivationFailed);
            self.store.record(self.unlinked(DecisionKind::Activation, account, Outcome::Refused, &report)?)?;
            return Err(Error::ActivationFailed);
        }
        self.sign_pseudonym(pseudonyms, account, &held)
    }

    fn sign_pseudonym(
        &self,
        pseudonyms: &Pseudonyms,
        account: &Account,
        held: &Held,
    ) -> Result<ActivationReply, Error> {
        // The octets were judged when the challenge was made; judging them again keeps one way only to a certificate.
        let key: QualifiedAk =
            vouchsafe_verifier::enrolment::qualify_ak(&held.ak_public).map_err(|rejections| rejected(&rejections))?;
        let root = self.hierarchy.attestation_root(held.is_virtual)?;
        let issued = issue_pseudonym(root, &key, day_of(self.now()), pseudonyms.validity_days)?;
        let mut record = self.unlinked(DecisionKind::Activation, account, Outcome::Accepted, b"{}")?;
        if let Some(escrow) = &pseudonyms.escrow {
            let linked = Linked {
                endorsement_key: to_hex(&held.endorsement_key),
                device: &held.device,
                certificate: to_hex(issued.serial()),
            };
            // In place of what other decisions keep: readable with the escrow key alone.
            record.sealed = escrow.seal(&linked)?;
            record.commitment = sha256(&record.sealed);
        }
        self.store.record(record)?;
        let device_id = device_id(&key.spki().sha256());
        let chain = vec![issued.der, root.certificate().as_der().to_vec()];
        Ok(ActivationReply { chains: Families::Pseudonym { certify_x509: chain }, device_id })
    }
}
