//! AK enrolment: from an endorsement certificate and a public area to attestation-key certificates.
//!
//! 1. The endorsement certificate is validated to a vendor root, the public area against the allowed masks.
//! 2. A credential is made over the Name of exactly those octets and encrypted to the endorsement key.
//! 3. The one answer is compared in constant time; the challenge is gone before the comparison.
//! 4. Device, endorsement key and attestation key are bound in the transaction that records the certificates.

use aws_lc_rs::{constant_time, rand};
use vouchsafe_evidence::limits::CERTIFICATES_PARSED;
use vouchsafe_evidence::tpm::Curve;
use vouchsafe_evidence::x509::{CertView, NamedCurve, PublicKey, SpkiView};
use vouchsafe_verifier::Instant;
use vouchsafe_verifier::enrolment::{AuthenticatedEk, Family, QualifiedAk, authenticate_ek_under, qualify_ak};
use zeroize::Zeroizing;

use crate::ak_certificate::{self, AkSubject};
use crate::baseline::{Baseline, Quote};
use crate::certificate::Issued;
use crate::config::is_name;
use crate::credential::{self, CREDENTIAL_OCTETS, CredentialBlob, CredentialError, EndorsementKey, Protection};
use crate::error::Error;
use crate::nonce::{Nonce, Purpose};
use crate::record::sha256;
use crate::request::ChallengeRequest;
use crate::service::{Caller, Service, violations};
use crate::store::{CHALLENGE_ID_OCTETS, Challenge, DecisionKind, Digest, EnrolledKey, Outcome, Spending};
use crate::text::{from_hex, to_hex};

/// A challenge as the client receives it.
#[derive(Clone, Debug)]
pub(crate) struct ChallengeReply {
    pub(crate) id: String,
    pub(crate) blob: CredentialBlob,
    pub(crate) expires: Instant,
}

/// Certificates of an activated key, each with the root it hangs under.
#[derive(Clone, Debug)]
pub(crate) struct ActivationReply {
    /// For TPMS_ATTEST statements.
    pub(crate) attest: Vec<Vec<u8>>,
    /// For CertifyX509; absent where the key's attributes do not allow it.
    pub(crate) certify_x509: Option<Vec<Vec<u8>>>,
    /// The device identifier by which verdicts name the device.
    pub(crate) device_id: String,
}

impl Service {
    /// Checks everything that can be checked before the TPM has answered, and challenges it.
    pub(crate) fn open_challenge(&self, caller: &Caller, request: &ChallengeRequest) -> Result<ChallengeReply, Error> {
        let account = caller.account()?;
        if !is_name(&request.device) {
            return Err(Error::Malformed {
                field: "device",
                expected: "1 to 128 letters, digits, '-', '_', '.' or '@'",
            });
        }
        if !account.may_use_device(&request.device) {
            return Err(Error::DeviceNotPermitted);
        }
        let nonce = self.mint.recognize(&request.nonce, Purpose::AttestationKey, account.name())?;
        if self.store.spent(nonce.octets())?.is_some() {
            return Err(Error::NonceSpent);
        }
        let nonce = nonce.fresh(self.now())?;

        let ek = match self.authenticate_ek(&request.ek_certificates) {
            Ok(ek) => ek,
            Err(error) => return Err(self.refuse_challenge(account.name(), nonce, request, error)),
        };
        let checked = check_key(request, nonce.octets());
        // An endorsement certificate whose names cannot be copied is found now, not after the TPM answered.
        let copied = ak_certificate::module_name(ek.certificate().as_der());
        copied
            .map_err(|_| Error::Malformed { field: "ek_certificates", expected: "module names that are there once" })?;
        let (ak, baseline) = match checked {
            Ok(checked) => checked,
            Err(error) => return Err(self.refuse_challenge(account.name(), nonce, request, error)),
        };
        self.challenge(account.name(), nonce, request, &ek, &ak, baseline)
    }

    fn authenticate_ek(&self, certificates: &[Vec<u8>]) -> Result<AuthenticatedEk, Error> {
        const EXPECTED: &str = "1 to 512 certificates, base64 of DER";
        if !(1..=CERTIFICATES_PARSED).contains(&certificates.len()) {
            return Err(Error::Malformed { field: "ek_certificates", expected: EXPECTED });
        }
        // Real endorsement certificates are read from NV with padding behind the DER.
        let certificates: Result<Vec<CertView>, _> =
            certificates.iter().map(|der| CertView::parse_padded(der)).collect();
        let malformed = |_| Error::Malformed { field: "ek_certificates", expected: EXPECTED };
        let certificates = certificates.map_err(malformed)?;
        let at = Instant::from_unix_seconds(self.now());
        let revocation = self.policy.revocation();
        authenticate_ek_under(&certificates, &self.trust_store(), revocation, at, Some(&self.signatures))
            .map_err(|rejection| Error::Rejected(violations(&[rejection])))
    }

    fn challenge(
        &self,
        account: &str,
        nonce: Nonce,
        request: &ChallengeRequest,
        ek: &AuthenticatedEk,
        ak: &QualifiedAk,
        baseline: Option<Baseline>,
    ) -> Result<ChallengeReply, Error> {
        let credential = random::<CREDENTIAL_OCTETS>()?;
        let parameters = ek.parameters();
        let protection = Protection { name_alg: parameters.name_alg, aes_bits: parameters.aes_bits };
        let (key, ek_digest) = endorsement_key(ek.spki())?;
        let blob = credential::make(&key, protection, ak.name().as_bytes(), &*credential)?;
        let id = *random::<CHALLENGE_ID_OCTETS>()?;
        let expires = self.now().saturating_add(self.challenge_lifetime_seconds);
        let challenge = Challenge {
            id,
            account: account.to_owned(),
            device: request.device.clone(),
            expires,
            credential_digest: sha256(&*credential),
            ek_digest,
            ek_certificate: ek.certificate().as_der().to_vec(),
            is_virtual: ek.is_virtual(),
            ak_public: request.ak_public.clone(),
            baseline: baseline.map(|baseline| baseline.to_bytes()),
        };
        let (request_digest, octets) = self.request_octets(request);
        let decision = self.decision(DecisionKind::Challenge, account, Outcome::Accepted, b"{}", &octets)?;
        self.store.open_challenge(Spending::new(nonce, request_digest), decision, challenge)?;
        Ok(ChallengeReply { id: to_hex(&id), blob, expires: Instant::from_unix_seconds(expires) })
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
        let mut parts: Vec<&[u8]> = vec![request.device.as_bytes(), &request.ak_public];
        parts.extend(request.ek_certificates.iter().map(Vec::as_slice));
        if let Some(quote) = &request.baseline {
            parts.extend([quote.attest.as_slice(), &quote.signature, &quote.pcr_values]);
        }
        let mut octets = Vec::new();
        for part in &parts {
            octets.extend_from_slice(&part.len().to_be_bytes());
            octets.extend_from_slice(part);
        }
        (self.recorder.request_digest(&parts), octets)
    }

    /// Takes the one answer to a challenge and, if it is right, certifies the key.
    pub(crate) fn activate(&self, caller: &Caller, id: &str, secret: &[u8]) -> Result<ActivationReply, Error> {
        let account = caller.account()?;
        let id = from_hex(id).and_then(|octets| octets.try_into().ok()).ok_or(Error::ActivationFailed)?;
        // Gone from here on, whether the answer is right or not.
        let challenge = self.store.take_challenge(&id, account.name())?.ok_or(Error::ActivationFailed)?;
        let met = constant_time::verify_slices_are_equal(&challenge.credential_digest, &sha256(secret)).is_ok();
        if !met || challenge.expires < self.now() {
            let report = refusal_report(&Error::ActivationFailed);
            let refusal = self.decision(
                DecisionKind::Activation,
                account.name(),
                Outcome::Refused,
                &report,
                &challenge.ak_public,
            )?;
            self.store.record(refusal)?;
            return Err(Error::ActivationFailed);
        }
        self.certify(challenge)
    }

    fn certify(&self, challenge: Challenge) -> Result<ActivationReply, Error> {
        // The octets were judged when the challenge was made; judging them again costs nothing and keeps
        // one way only to a certificate.
        let ak = qualify_ak(&challenge.ak_public).map_err(|rejections| Error::Rejected(violations(&rejections)))?;
        let spki = ak.spki();
        let root = self.hierarchy.attestation_root(challenge.is_virtual);
        let model = ak_certificate::module_name(&challenge.ek_certificate)?;
        let subject = AkSubject { key: &ak, module: model.as_ref() };
        let now = self.now();
        let attest = ak_certificate::issue(root, Family::Attest, &subject, now, self.ak_validity_days)?;
        let certify_x509 = if ak.families().contains(&Family::CertifyX509) {
            Some(ak_certificate::issue(root, Family::CertifyX509, &subject, now, self.ak_validity_days)?)
        } else {
            None
        };
        let records = std::iter::once(&attest).chain(&certify_x509).map(Issued::record).collect();
        let decision = self.decision(
            DecisionKind::Activation,
            &challenge.account,
            Outcome::Accepted,
            b"{}",
            &challenge.ak_public,
        )?;
        let device_id = device_id(spki);
        let key = EnrolledKey {
            account: challenge.account,
            device: challenge.device,
            ek_digest: challenge.ek_digest,
            ek_certificate: challenge.ek_certificate,
            ak_name: ak.name().as_bytes().to_vec(),
            ak_spki_digest: spki.sha256(),
            ak_public: challenge.ak_public,
            baseline: challenge.baseline,
        };
        self.store.enroll(key, decision, records)?;
        let chain = |issued: Issued| vec![issued.der, root.certificate().as_der().to_vec()];
        Ok(ActivationReply { attest: chain(attest), certify_x509: certify_x509.map(chain), device_id })
    }
}

/// The device identifier of verdicts for a key without deviceLink.
fn device_id(spki: &SpkiView) -> String {
    format!("ak:{}", to_hex(&spki.sha256()))
}

fn check_key(request: &ChallengeRequest, nonce: &[u8]) -> Result<(QualifiedAk, Option<Baseline>), Error> {
    let ak = qualify_ak(&request.ak_public).map_err(|rejections| Error::Rejected(violations(&rejections)))?;
    let Some(parts) = &request.baseline else { return Ok((ak, None)) };
    let quote = Quote { attest: &parts.attest, signature: &parts.signature, pcr_values: &parts.pcr_values };
    let baseline = Baseline::from_quote(&quote, ak.public(), ak.spki(), nonce)?;
    Ok((ak, Some(baseline)))
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

/// What is kept about a refusal, sealed.
pub(crate) fn refusal_report(error: &Error) -> Vec<u8> {
    let report = match error {
        Error::Rejected(violations) => serde_json::json!({ "reasons": violations }),
        other => serde_json::json!({ "error": other.to_string() }),
    };
    report.to_string().into_bytes()
}
