//! AK enrolment: from a key and what ties it to a module to attesting-key certificates.
//!
//! 1. The key is judged by its kind, and what ties it to its module by the method ([`proof`]).
//! 2. It is challenged: a TPM's key by a credential over the Name of exactly those octets, encrypted to the endorsement
//!    key; a key that host software drives by octets to sign.
//! 3. The one answer is judged; the challenge is gone before that.
//! 4. Device, module and attesting key are bound in the transaction that records the certificates.

mod proof;
pub(crate) mod pseudonym;
mod renewal;

use aws_lc_rs::{constant_time, rand};
use vouchsafe_evidence::ak_possession::{AkPossession, PossessionPurpose};
use vouchsafe_evidence::tpm::Curve;
use vouchsafe_evidence::x509::{NamedCurve, PublicKey, SpkiView};
use vouchsafe_verifier::enrolment::{EkParameters, HostAk, Method, QualifiedAk, qualify_ak, qualify_host_ak};
use vouchsafe_verifier::{Instant, Rejection, codes};
use zeroize::Zeroizing;

pub(crate) use self::proof::module_identity;
use self::proof::{Established, stands_alone};
use crate::ak_certificate::{self, AkKey, AkSubject, Families};
use crate::appraisal::device_id;
use crate::baseline::{Baseline, Quote};
use crate::certificate::Issued;
use crate::certified_key::key_identity;
use crate::config::{Account, is_name};
use crate::credential::{self, CREDENTIAL_OCTETS, CredentialBlob, CredentialError, EndorsementKey, Protection};
use crate::error::{Error, own_codes};
use crate::nonce::{Nonce, Purpose};
use crate::record::sha256;
use crate::request::{ActivationRequest, ChallengeRequest, Offer, QuoteParts};
use crate::service::{Caller, Service, rejected};
use crate::store::{
    AkMaterial, CHALLENGE_ID_OCTETS, CertificateRecord, Challenge, DecisionKind, Digest, EnrolledKey, Expected,
    Outcome, Spending,
};
use crate::text::{from_hex, to_hex};

/// Octets that a key which host software drives is to sign.
const SIGNED_CHALLENGE_OCTETS: usize = 32;

/// A challenge as the client receives it.
#[derive(Clone, Debug)]
pub(crate) struct ChallengeReply {
    pub(crate) id: String,
    pub(crate) question: Question,
    pub(crate) expires: Instant,
}

/// What is to be answered.
#[derive(Clone, Debug)]
pub(crate) enum Question {
    /// By TPM2_ActivateCredential.
    Credential(CredentialBlob),
    /// By a proof about [`AkPossession`] with these octets as its challenge.
    Signature([u8; SIGNED_CHALLENGE_OCTETS]),
}

/// Certificates of an enrolled key, each with the root it hangs under.
#[derive(Clone, Debug)]
pub(crate) struct ActivationReply {
    /// Chains by family.
    pub(crate) chains: Families<Vec<Vec<u8>>>,
    /// The device identifier by which verdicts name the device.
    pub(crate) device_id: String,
}

/// A key whose kind was checked.
#[derive(Debug)]
pub(crate) enum CheckedKey {
    Tpm(QualifiedAk),
    Host(HostAk),
}

impl CheckedKey {
    /// Judges a recorded key again: that costs nothing and keeps one way only to a certificate.
    pub(crate) fn from_material(material: &AkMaterial) -> Result<Self, Error> {
        match material {
            AkMaterial::Tpm { public, .. } => Self::tpm(public),
            AkMaterial::Host { spki } => Self::host(spki),
        }
    }

    fn tpm(public: &[u8]) -> Result<Self, Error> {
        qualify_ak(public).map(Self::Tpm).map_err(|rejections| rejected(&rejections))
    }

    fn host(spki: &[u8]) -> Result<Self, Error> {
        let refused = |rejection| rejected(&[rejection]);
        let spki = SpkiView::parse(spki).map_err(|_| refused(Rejection::plain(codes::AK_KEY_TYPE)))?;
        qualify_host_ak(&spki).map(Self::Host).map_err(refused)
    }

    pub(crate) const fn as_key(&self) -> AkKey<'_> {
        match self {
            Self::Tpm(key) => AkKey::Tpm(key),
            Self::Host(key) => AkKey::Host(key),
        }
    }

    pub(crate) fn material(&self) -> AkMaterial {
        match self {
            Self::Tpm(key) => {
                AkMaterial::Tpm { public: key.public().as_bytes().to_vec(), name: key.name().as_bytes().to_vec() }
            }
            Self::Host(key) => AkMaterial::Host { spki: key.spki().as_der().to_vec() },
        }
    }
}

/// An endorsement key that can be challenged.
#[derive(Debug)]
pub(crate) struct ChallengedEk {
    key: EndorsementKey,
    parameters: EkParameters,
}

impl Service {
    /// Checks everything that can be checked before the key has answered, and challenges it.
    pub(crate) fn open_challenge(&self, caller: &Caller, request: &ChallengeRequest) -> Result<ChallengeReply, Error> {
        let account = caller.account()?;
        self.check_device_name(account, &request.device)?;
        if let Some(pseudonyms) = &self.pseudonyms {
            return self.open_pseudonym_challenge(pseudonyms, account, request);
        }
        self.check_method(account, request.offer.method())?;
        let nonce = self.unspent_nonce(&request.nonce, Purpose::AttestationKey, account.name())?;
        let judged = self.judge_offer(account, request, nonce.octets());
        let (key, established, baseline) = match judged {
            Ok(judged) => judged,
            Err(error @ Error::Malformed { .. }) => return Err(error),
            Err(error) => return Err(self.refuse_challenge(account.name(), nonce, request, error)),
        };
        self.challenge(account.name(), nonce, request, (&key, established, baseline))
    }

    /// What is true of a request before anybody is challenged.
    fn judge_offer(
        &self,
        account: &Account,
        request: &ChallengeRequest,
        nonce: &[u8],
    ) -> Result<(CheckedKey, Established, Option<Baseline>), Error> {
        let checked = match &request.offer {
            Offer::Tpm { ak_public, .. } => CheckedKey::tpm(ak_public),
            Offer::Host { ak_spki, .. } => CheckedKey::host(ak_spki),
        };
        let established = self.establish(account, request, checked.as_ref().ok())?;
        let key = checked?;
        // Whoever records the enrolment asks again.
        let holder = self.store.key_holder(&key_identity(key.as_key().spki()))?;
        if holder.is_some_and(|holder| !holder.is_attesting) {
            return Err(own_codes::KEY_CERTIFIED.refusal());
        }
        let baseline = match (&request.offer, &key) {
            (Offer::Tpm { baseline: Some(parts), .. }, CheckedKey::Tpm(ak)) => Some(baseline(parts, ak, nonce)?),
            (Offer::Tpm { .. } | Offer::Host { .. }, CheckedKey::Tpm(_) | CheckedKey::Host(_)) => None,
        };
        Ok((key, established, baseline))
    }

    /// Whether the account may use this name for a device.
    pub(crate) fn check_device_name(&self, account: &Account, device: &str) -> Result<(), Error> {
        if !is_name(device) {
            return Err(Error::Malformed {
                field: "device",
                expected: "1 to 64 letters, digits, '-', '_', '.' or '@'",
            });
        }
        if account.may_use_device(device) { Ok(()) } else { Err(Error::DeviceNotPermitted) }
    }

    /// Whether keys may be enrolled by this method here, and by this account.
    pub(crate) fn check_method(&self, account: &Account, method: Method) -> Result<(), Error> {
        let is_offered = match method {
            Method::Manufacturer | Method::Inventory => true,
            Method::Ceremony => self.enrolment.witnesses.is_some(),
            Method::FirstUse => self.enrolment.first_use,
        };
        if is_offered && account.may_enroll_by(method) { Ok(()) } else { Err(Error::MethodNotPermitted(method)) }
    }

    fn challenge(
        &self,
        account: &str,
        nonce: Nonce,
        request: &ChallengeRequest,
        (key, established, baseline): (&CheckedKey, Established, Option<Baseline>),
    ) -> Result<ChallengeReply, Error> {
        let (expected, question) = question(key, established.ek.as_ref())?;
        let id = *random::<CHALLENGE_ID_OCTETS>()?;
        let expires = self.now().saturating_add(self.challenge_lifetime_seconds);
        let challenge = Challenge {
            id,
            expires,
            expected,
            key: EnrolledKey {
                account: account.to_owned(),
                device: request.device.clone(),
                identity: established.identity,
                ek_certificate: established.ek_certificate,
                is_virtual: established.is_virtual,
                material: key.material(),
                spki_digest: key.as_key().spki().sha256(),
                is_exclusive: stands_alone(&established.proof),
                proof: established.proof,
                baseline: baseline.map(|baseline| baseline.to_bytes()),
            },
        };
        let (request_digest, octets) = self.request_octets(request);
        let report = proof_report(&challenge.key);
        let decision = self.decision(DecisionKind::Challenge, account, Outcome::Accepted, &report, &octets)?;
        self.store.open_challenge(Spending::new(nonce, request_digest), decision, challenge)?;
        Ok(ChallengeReply { id: to_hex(&id), question, expires: Instant::from_unix_seconds(expires) })
    }

    /// Records the refusal, which spends the nonce, and passes the reason on.
    fn refuse_challenge(&self, account: &str, nonce: Nonce, request: &ChallengeRequest, error: Error) -> Error {
        let (request_digest, octets) = self.request_octets(request);
        let report = refusal_report(&error);
        let recorded = self
            .decision(DecisionKind::Challenge, account, Outcome::Refused, &report, &octets)
            .and_then(|decision| Ok(self.store.decide(Spending::new(nonce, request_digest), decision, Vec::new())?));
        match recorded {
            Ok(_) => error,
            // What cannot be recorded is not told either.
            Err(failure) => failure,
        }
    }

    fn request_octets(&self, request: &ChallengeRequest) -> (Digest, Vec<u8>) {
        let mut parts: Vec<&[u8]> = vec![request.device.as_bytes(), request.offer.method().label().as_bytes()];
        parts.extend(request.offer.parts());
        (self.recorder.request_digest(&parts), delimited(&parts))
    }

    /// Takes the one answer to a challenge and, if it is right, certifies the key.
    pub(crate) fn activate(
        &self,
        caller: &Caller,
        id: &str,
        answer: &ActivationRequest,
    ) -> Result<ActivationReply, Error> {
        let account = caller.account()?;
        let id = from_hex(id).and_then(|octets| octets.try_into().ok()).ok_or(Error::ActivationFailed)?;
        if let Some(pseudonyms) = &self.pseudonyms {
            return self.activate_pseudonym(pseudonyms, account, &id, answer);
        }
        // Gone from here on, whether the answer is right or not.
        let challenge = self.store.take_challenge(&id, account.name())?.ok_or(Error::ActivationFailed)?;
        let key = CheckedKey::from_material(&challenge.key.material)?;
        if challenge.expires < self.now() || !is_met(&challenge, &key, answer) {
            let report = refusal_report(&Error::ActivationFailed);
            let octets = octets_of(&challenge.key.material);
            let refusal = self.decision(DecisionKind::Activation, account.name(), Outcome::Refused, &report, octets)?;
            self.store.record(refusal)?;
            return Err(Error::ActivationFailed);
        }
        // The administrator may have withdrawn the method or the right in the meantime.
        self.check_method(account, challenge.key.proof.method)?;
        let (reply, records) = self.certify(&key, &challenge.key)?;
        let report = proof_report(&challenge.key);
        let octets = octets_of(&challenge.key.material);
        let decision = self.decision(DecisionKind::Activation, account.name(), Outcome::Accepted, &report, octets)?;
        self.store.enroll(challenge.key, decision, records)?;
        Ok(reply)
    }

    /// The certificates of a key, for its holder and for the record.
    fn certify(
        &self,
        key: &CheckedKey,
        enrolled: &EnrolledKey,
    ) -> Result<(ActivationReply, Vec<CertificateRecord>), Error> {
        let root = self.hierarchy.attestation_root(enrolled.is_virtual)?;
        let module = match enrolled.ek_certificate.as_slice() {
            [] => None,
            certificate => ak_certificate::module_name(certificate)?,
        };
        let subject = AkSubject { key: key.as_key(), module: module.as_ref(), method: enrolled.proof.method };
        let issued = ak_certificate::issue(root, &subject, self.now(), self.ak_validity_days)?;
        let digest = key.as_key().spki().sha256();
        let records = issued.iter().map(|issued| issued.record_of(key.as_key().spki())).collect();
        let chains = issued.map(|issued: Issued| vec![issued.der, root.certificate().as_der().to_vec()]);
        Ok((ActivationReply { chains, device_id: device_id(&digest) }, records))
    }
}

/// Whether this answers the challenge.
fn is_met(challenge: &Challenge, key: &CheckedKey, answer: &ActivationRequest) -> bool {
    match (&challenge.expected, key, answer) {
        (Expected::Credential(digest), CheckedKey::Tpm(_), ActivationRequest::Credential(secret)) => {
            constant_time::verify_slices_are_equal(digest, &sha256(secret)).is_ok()
        }
        (Expected::Signature(asked), CheckedKey::Host(ak), ActivationRequest::Possession(proof)) => {
            let possession = AkPossession {
                purpose: PossessionPurpose::Enrolment,
                device: &challenge.key.device,
                key: ak.spki(),
                challenge: asked,
            };
            ak.verify_possession(&possession, proof).is_ok()
        }
        (
            Expected::Credential(_) | Expected::Signature(_),
            CheckedKey::Tpm(_) | CheckedKey::Host(_),
            ActivationRequest::Credential(_) | ActivationRequest::Possession(_),
        ) => false,
    }
}

/// What the key is asked, and what its answer is compared with.
fn question(key: &CheckedKey, ek: Option<&ChallengedEk>) -> Result<(Expected, Question), Error> {
    match (key, ek) {
        (CheckedKey::Tpm(ak), Some(ek)) => {
            let secret = random::<CREDENTIAL_OCTETS>()?;
            let protection = Protection { name_alg: ek.parameters.name_alg, aes_bits: ek.parameters.aes_bits };
            let blob = credential::make(&ek.key, protection, ak.name().as_bytes(), &*secret)?;
            Ok((Expected::Credential(sha256(&*secret)), Question::Credential(blob)))
        }
        (CheckedKey::Host(_), None) => {
            let challenge = *random::<SIGNED_CHALLENGE_OCTETS>()?;
            Ok((Expected::Signature(challenge), Question::Signature(challenge)))
        }
        // A method ties keys of one kind alone.
        (CheckedKey::Tpm(_), None) | (CheckedKey::Host(_), Some(_)) => Err(own_codes::KEY_NOT_OF_METHOD.refusal()),
    }
}

fn octets_of(material: &AkMaterial) -> &[u8] {
    match material {
        AkMaterial::Tpm { public, .. } => public,
        AkMaterial::Host { spki } => spki,
    }
}

/// Each part behind its length.
fn delimited(parts: &[&[u8]]) -> Vec<u8> {
    let mut octets = Vec::new();
    for part in parts {
        octets.extend_from_slice(&part.len().to_be_bytes());
        octets.extend_from_slice(part);
    }
    octets
}

fn baseline(parts: &QuoteParts, ak: &QualifiedAk, nonce: &[u8]) -> Result<Baseline, Error> {
    let quote = Quote { attest: &parts.attest, signature: &parts.signature, pcr_values: &parts.pcr_values };
    Ok(Baseline::from_quote(&quote, ak.public(), ak.spki(), nonce)?)
}

/// The endorsement key for MakeCredential, and a digest over its parameters: two encodings of one key
/// (rsaEncryption and RSAES-OAEP) must not pass for two keys.
fn endorsement_key(spki: &SpkiView) -> Result<(EndorsementKey, Digest), Error> {
    let unsupported = Error::Credential(CredentialError::Unsupported("this key type"));
    let failed = |_| Error::Credential(CredentialError::Operation("reading the endorsement key"));
    match spki.key() {
        PublicKey::Rsa { modulus, exponent, .. } => {
            let plain = SpkiView::from_rsa(modulus, exponent).map_err(failed)?;
            Ok((EndorsementKey::Rsa { spki: plain.as_der().to_vec() }, plain.sha256()))
        }
        PublicKey::Ec { curve, x, y } => {
            let plain = SpkiView::from_ec(*curve, x, y).map_err(failed)?;
            let curve = match curve {
                NamedCurve::P256 => Curve::P256,
                NamedCurve::P384 => Curve::P384,
                NamedCurve::P521 => Curve::P521,
            };
            Ok((EndorsementKey::Ecc { curve, x: x.clone(), y: y.clone() }, plain.sha256()))
        }
        PublicKey::Ed25519(_) | PublicKey::MlDsa65(_) | PublicKey::Unknown { .. } => Err(unsupported),
    }
}

fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, Error> {
    let mut octets = Zeroizing::new([0; N]);
    rand::fill(&mut *octets).map_err(|_| Error::Credential(CredentialError::Operation("the random source")))?;
    Ok(octets)
}

/// What is kept about an enrolment, sealed: what ties the key to its module, and who vouches for it.
fn proof_report(key: &EnrolledKey) -> Vec<u8> {
    serde_json::json!({
        "device": key.device,
        "attesting_key": to_hex(&key.spki_digest),
        "enrolment": crate::lifecycle::proof_json(&key.proof),
        "virtual": key.is_virtual,
    })
    .to_string()
    .into_bytes()
}

/// What is kept about a refusal, sealed.
pub(crate) fn refusal_report(error: &Error) -> Vec<u8> {
    let report = match error {
        Error::Rejected(violations) => serde_json::json!({ "reasons": violations }),
        other => serde_json::json!({ "error": other.to_string() }),
    };
    report.to_string().into_bytes()
}
