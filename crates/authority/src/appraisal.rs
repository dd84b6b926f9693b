//! Having evidence judged: for a certificate, or for a server that only wants to know.

use serde_json::{Value, json};
use vouchsafe_evidence::bundle::CertChoice;
use vouchsafe_evidence::input::{InputError, InputFile, Submission};
use vouchsafe_verifier::{
    CertifiableKey, Instant, Reason, ReferenceValues, Rejection, Request, Verdict, codes, verify,
};

use crate::baseline::Baseline;
use crate::config::is_name;
use crate::error::{Error, Violation, own_codes};
use crate::lifecycle::proof_json;
use crate::nonce::Purpose;
use crate::request::AppraisalRequest;
use crate::service::{Caller, Service, violations};
use crate::store::{DecisionKind, Device, Digest, Outcome, Spending, StoreError};
use crate::text::{from_hex, to_hex};

/// How verdicts name a device by its attestation key.
pub(crate) const AK_DEVICE_PREFIX: &str = "ak:";
/// Certificates that are looked up to guess the device.
const LIKELY_CERTIFICATES: usize = 4;

/// A verdict with what the authority's own records say about the device.
#[derive(Debug)]
pub(crate) struct Appraised {
    pub(crate) verdict: Verdict,
    /// The recorded device whose attestation key made the evidence.
    pub(crate) device: Option<Device>,
}

/// What evidence must answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Freshness<'a> {
    /// The nonce, where there is one: one of this authority, or the digest of a key authorization (ACME).
    pub(crate) nonce: Option<&'a [u8]>,
    /// The context of a proof of possession, where it is known what it must be.
    pub(crate) possession_context: Option<&'a [u8]>,
}

impl Service {
    /// Judges what was recognized, or could not be. A device with a baseline on record is judged against it.
    pub(crate) fn judge(
        &self,
        recognized: Result<Submission, InputError>,
        freshness: Freshness<'_>,
        expected_device: Option<&str>,
    ) -> Result<Appraised, Error> {
        let submission = match &recognized {
            Ok(submission) => submission,
            Err(error) => {
                let at = Instant::from_unix_seconds(self.now());
                return Ok(Appraised { verdict: Verdict::on_unusable_input(error, &self.policy, at), device: None });
            }
        };
        let likely = self.likely_device(submission)?;
        let guessed = likely.as_ref().map(|(_, device)| device);
        let verdict = self.verdict(submission, freshness, expected_device, references(guessed)?)?;
        // Which device speaks is known only after its signatures were checked. If it is another one than was
        // guessed, and either has a baseline, the verdict counts for nothing.
        let speaker = key_digest(&verdict);
        match likely {
            Some((digest, device)) if speaker == Some(digest) => Ok(Appraised { verdict, device: Some(device) }),
            likely => {
                let device = speaker.map_or(Ok(None), |digest| self.store.device_of_key(&digest))?;
                let guessed = likely.map(|(_, device)| device);
                if [&guessed, &device].into_iter().flatten().all(|device| device.baseline.is_none()) {
                    return Ok(Appraised { verdict, device });
                }
                let verdict = self.verdict(submission, freshness, expected_device, references(device.as_ref())?)?;
                // Other reference values make no other speaker.
                if key_digest(&verdict) == speaker { Ok(Appraised { verdict, device }) } else { Err(Error::Worker) }
            }
        }
    }

    /// A recorded device whose attesting key is among the certificates that came along. Nothing is checked
    /// yet: it is a guess, which saves judging twice.
    fn likely_device(&self, submission: &Submission) -> Result<Option<(Digest, Device)>, Error> {
        let certificates = submission.certs().iter().filter_map(CertChoice::certificate);
        for certificate in certificates.take(LIKELY_CERTIFICATES) {
            let digest = certificate.spki().sha256();
            if let Some(device) = self.store.device_of_key(&digest)? {
                return Ok(Some((digest, device)));
            }
        }
        Ok(None)
    }

    fn verdict(
        &self,
        submission: &Submission,
        freshness: Freshness<'_>,
        expected_device: Option<&str>,
        references: ReferenceValues,
    ) -> Result<Verdict, Error> {
        let wrong_length = |_| Error::Malformed { field: "nonce", expected: "16 to 64 octets" };
        let nonce = freshness.nonce.map(vouchsafe_verifier::Nonce::new);
        let nonce = nonce.transpose().map_err(wrong_length)?;
        let trust = self.trust_store();
        let at = Instant::from_unix_seconds(self.now());
        let mut request = Request::new(submission, &trust, &self.policy, at)
            .baseline(references)
            .verification_cache(&self.signatures);
        if let Some(nonce) = &nonce {
            request = request.nonce(nonce);
        }
        if let Some(context) = freshness.possession_context {
            request = request.possession_context(context);
        }
        Ok(match expected_device {
            Some(device) => verify(&request.expected_device(device)),
            None => verify(&request),
        })
    }

    /// The violation that a key which is to be certified is recorded as an attesting key, whose signature under a request
    /// proves nothing (A7). Of its own attesting keys the authority knows even what the evidence does not show.
    pub(crate) fn attests_others(&self, key: &CertifiableKey) -> Result<Option<Violation>, Error> {
        let recorded = self.store.device_of_key(&key.spki().sha256())?;
        Ok(recorded.and_then(|_| violations(&[Rejection::plain(codes::BIND_CSR_KEY_IS_AK)]).pop()))
    }

    /// What the records have against a key that signed one of the statements and for which another one stands, as a key
    /// that the device's own attesting key certified: revoked is revoked, whoever vouches for it now. A certificate is for
    /// the `account` alone whose keys they are.
    pub(crate) fn signed_beside(&self, account: Option<&str>, verdict: &Verdict) -> Result<Option<Violation>, Error> {
        let speaker = key_digest(verdict);
        for key in verdict.attesting_keys().iter().map(|key| key.sha256()).filter(|key| speaker != Some(*key)) {
            let found = self.store.device_of_key(&key)?.and_then(|device| match device {
                revoked if revoked.is_key_revoked() => Some(own_codes::KEY_REVOKED),
                other if account.is_some_and(|account| other.account != account) => Some(own_codes::OTHER_ACCOUNT),
                _ => None,
            });
            if let Some(code) = found {
                return Ok(Some(code.violation()));
            }
        }
        Ok(None)
    }

    /// Appraises evidence and records the verdict. Returns the report of `vouchsafe verify --json`.
    pub(crate) fn appraise(&self, caller: &Caller, request: &AppraisalRequest) -> Result<Value, Error> {
        let nonce = self.unspent_nonce(&request.nonce, Purpose::Appraisal, caller.name())?;
        let (expected_id, expected_name) = match &request.device {
            None => (None, None),
            Some(name) if is_name(name) => (None, Some(name.as_str())),
            Some(id) => (Some(id.as_str()), None),
        };
        let parts = request.evidence.files();
        let freshness = Freshness { nonce: Some(nonce.octets()), possession_context: None };
        let appraised = self.judge(recognize(parts), freshness, expected_id)?;
        let device = appraised.device.as_ref();
        let revoked = device.filter(|device| device.is_key_revoked()).map(|_| own_codes::KEY_REVOKED.violation());
        let beside = self.signed_beside(None, &appraised.verdict)?.filter(|_| appraised.verdict.is_accepted());
        let own = expected_name.and_then(|name| other_device(caller.name(), name, device)).or(revoked).or(beside);
        let outcome =
            if appraised.verdict.is_accepted() && own.is_none() { Outcome::Accepted } else { Outcome::Refused };
        let mut report = with_own_violation(&appraised.verdict, own)?;
        add_enrolment(&mut report, caller.name(), device);

        let request_octets = parts.concat();
        let digest = self.recorder.request_digest(&[&request_octets]);
        let kept = report.to_string().into_bytes();
        let decision = self.decision(DecisionKind::Appraisal, caller.name(), outcome, &kept, &request_octets)?;
        self.store.decide(Spending::new(nonce, digest), decision, Vec::new())?;
        match caller {
            Caller::Account(_) => Ok(report),
            Caller::Anonymous => Ok(for_strangers(&appraised.verdict, outcome)),
        }
    }
}

/// The reference values of a device's baseline; none where it has no baseline.
fn references(device: Option<&Device>) -> Result<ReferenceValues, Error> {
    let Some(baseline) = device.and_then(|device| device.baseline.as_ref()) else { return Ok(ReferenceValues::none()) };
    let unreadable = StoreError::Unexpected { column: "baseline" };
    Ok(Baseline::parse(baseline).ok().and_then(|baseline| baseline.references()).ok_or(unreadable)?)
}

/// Recognizes the parts of evidence in one request.
pub(crate) fn recognize(parts: &[Vec<u8>]) -> Result<Submission, InputError> {
    let names: Vec<String> = (0..parts.len()).map(|index| format!("evidence[{index}]")).collect();
    let files: Vec<InputFile<'_>> = names.iter().zip(parts).map(|(name, bytes)| InputFile { name, bytes }).collect();
    Submission::recognize(&files, None)
}

/// How verdicts name the device of an attesting key.
pub(crate) fn device_id(key: &Digest) -> String {
    format!("{AK_DEVICE_PREFIX}{}", to_hex(key))
}

/// The digest of the attesting key by which a verdict names its device.
pub(crate) fn key_digest(verdict: &Verdict) -> Option<Digest> {
    let digest = verdict.device()?.id.strip_prefix(AK_DEVICE_PREFIX).and_then(from_hex)?;
    digest.try_into().ok()
}

/// The violation that the evidence is of another device than the one named, if it is.
fn other_device(account: &str, name: &str, device: Option<&Device>) -> Option<Violation> {
    let same = device.is_some_and(|device| device.account == account && device.name == name);
    (!same).then(|| own_codes::OTHER_DEVICE.violation())
}

/// The verdict's report with the authority's own violation added, which rejects.
fn with_own_violation(verdict: &Verdict, own: Option<Violation>) -> Result<Value, Error> {
    let mut report = verdict.to_json();
    let Some(own) = own else { return Ok(report) };
    let Value::Object(fields) = &mut report else { return Err(Error::Worker) };
    fields.insert("verdict".to_owned(), json!("rejected"));
    let reasons = fields.entry("reasons").or_insert_with(|| json!([]));
    let Value::Array(reasons) = reasons else { return Err(Error::Worker) };
    reasons.push(serde_json::to_value(own)?);
    Ok(report)
}

/// Adds how the attesting key was enrolled, for the account whose key it is.
fn add_enrolment(report: &mut Value, account: &str, device: Option<&Device>) {
    let own = device.filter(|device| device.account == account).and_then(|device| device.key.as_ref());
    if let (Some(key), Some(Value::Object(fields))) = (own, report.get_mut("attesting_key")) {
        fields.insert("enrolment".to_owned(), proof_json(&key.proof));
    }
}

/// What an anonymous caller learns: the verdict, and failures of authentication.
fn for_strangers(verdict: &Verdict, outcome: Outcome) -> Value {
    let reasons: Vec<Reason> = verdict.authentication_reasons().iter().map(Reason::from).collect();
    json!({
        "verdict": match outcome { Outcome::Accepted => "accepted", Outcome::Refused => "rejected" },
        "policy": verdict.policy(),
        "at": verdict.at().to_string(),
        "reasons": reasons,
    })
}
