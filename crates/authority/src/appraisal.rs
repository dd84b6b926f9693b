//! Having evidence judged: for a certificate, or for a server that only wants to know.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use vouchsafe_evidence::bundle::CertChoice;
use vouchsafe_evidence::input::{InputError, InputFile, Submission};
use vouchsafe_evidence::x509::SpkiView;
use vouchsafe_verifier::ear::{Audience, Frame};
use vouchsafe_verifier::{Instant, Reason, ReferenceValues, Rejection, Request, Verdict, codes, verify};

use crate::attestation_result::ResultSigner;
use crate::baseline::Baseline;
use crate::certified_key::key_identity;
use crate::config::is_name;
use crate::error::{Error, Violation, own_codes};
use crate::lifecycle::proof_json;
use crate::nonce::{Purpose, Session};
use crate::protocol::json::accept::Form;
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

/// What an appraisal is answered with.
#[derive(Debug)]
pub(crate) enum AppraisalAnswer {
    /// The report.
    Report(Value),
    /// The signed attestation result.
    Ear(String),
}

/// What evidence must answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Freshness<'a> {
    /// The nonce, where there is one: one of this authority, or the digest of a key authorization (ACME).
    pub(crate) nonce: Option<&'a [u8]>,
    /// The context that a proof of possession must hold.
    pub(crate) possession_context: &'a [u8],
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
            .verification_cache(&self.signatures)
            .possession_context(freshness.possession_context);
        if let Some(nonce) = &nonce {
            request = request.nonce(nonce);
        }
        Ok(match expected_device {
            Some(device) => verify(&request.expected_device(device)),
            None => verify(&request),
        })
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

    /// What the records have against the keys that evidence is about, whoever would certify them: that they attest others,
    /// so that their signatures prove nothing (A7), or that others may know them.
    fn against_keys(&self, verdict: &Verdict) -> Result<Option<Violation>, Error> {
        for spki in keys_spoken_of(verdict) {
            let holder = self.store.key_holder(&key_identity(&spki))?;
            let is_attesting = holder.as_ref().is_some_and(|holder| holder.is_attesting);
            if is_attesting || self.store.device_of_key(&spki.sha256())?.is_some() {
                return Ok(violations(&[Rejection::plain(codes::BIND_CSR_KEY_IS_AK)]).pop());
            }
            if holder.is_some_and(|holder| holder.compromised_at.is_some()) {
                return Ok(Some(own_codes::KEY_COMPROMISED.violation()));
            }
        }
        Ok(None)
    }

    /// Everything that the records have against evidence, where the Verifier alone would not know it.
    fn against(&self, caller: &Caller, named: Option<&str>, appraised: &Appraised) -> Result<Vec<Violation>, Error> {
        let device = appraised.device.as_ref();
        let mut found: Vec<Violation> =
            named.and_then(|name| other_device(caller.name(), name, device)).into_iter().collect();
        found.extend(device.filter(|device| device.is_key_revoked()).map(|_| own_codes::KEY_REVOKED.violation()));
        if appraised.verdict.is_accepted() {
            found.extend(self.signed_beside(None, &appraised.verdict)?);
            found.extend(self.against_keys(&appraised.verdict)?);
        }
        Ok(found)
    }

    /// Appraises evidence and records the verdict. Answers with the report of `vouchsafe verify --json`, or with a signed
    /// attestation result. Both say the same, and nothing of either is told before it is recorded.
    pub(crate) fn appraise(
        &self,
        caller: &Caller,
        request: &AppraisalRequest,
        form: Form,
    ) -> Result<AppraisalAnswer, Error> {
        let signer = match (form, &self.results) {
            (Form::Report, _) => None,
            (Form::Ear, Some(signer)) => Some(signer),
            (Form::Ear, None) => return Err(Error::NotAcceptable("this authority signs no attestation results")),
        };
        let nonce = self.unspent_nonce(&request.nonce, Purpose::Appraisal, caller.name())?;
        let (expected_id, expected_name) = match &request.device {
            None => (None, None),
            Some(name) if is_name(name) => (None, Some(name.as_str())),
            Some(id) => (Some(id.as_str()), None),
        };
        let parts = request.evidence.files();
        let context = Session::Json.possession_context();
        let freshness = Freshness { nonce: Some(nonce.octets()), possession_context: context };
        let appraised = self.judge(recognize(parts), freshness, expected_id)?;
        let own = self.against(caller, expected_name, &appraised)?;
        let own: Vec<Value> = own.into_iter().map(serde_json::to_value).collect::<Result<_, _>>()?;
        let outcome =
            if appraised.verdict.is_accepted() && own.is_empty() { Outcome::Accepted } else { Outcome::Refused };
        let mut report = with_own_violations(&appraised.verdict, &own)?;
        add_enrolment(&mut report, caller.name(), appraised.device.as_ref());
        // Signed before it is recorded: a token that is away costs no nonce.
        let nonce_octets = *nonce.octets();
        let ear =
            signer.map(|signer| self.ear(signer, caller, (&appraised.verdict, &own), &nonce_octets)).transpose()?;

        let request_octets = parts.concat();
        let digest = self.recorder.request_digest(&[&request_octets]);
        let kept = report.to_string().into_bytes();
        let decision = self.decision(DecisionKind::Appraisal, caller.name(), outcome, &kept, &request_octets)?;
        self.store.decide(Spending::new(nonce, digest), decision, Vec::new())?;
        Ok(match (ear, caller) {
            (Some(token), _) => AppraisalAnswer::Ear(token),
            (None, Caller::Account(_)) => AppraisalAnswer::Report(report),
            (None, Caller::Anonymous) => AppraisalAnswer::Report(for_strangers(&appraised.verdict, outcome)),
        })
    }

    /// The attestation result of a verdict and of what the records have against it.
    fn ear(
        &self,
        signer: &ResultSigner,
        caller: &Caller,
        (verdict, records): (&Verdict, &[Value]),
        nonce: &[u8],
    ) -> Result<String, Error> {
        let now = self.now();
        let frame = Frame {
            nonce: Some(nonce),
            issued_at: Instant::from_unix_seconds(now),
            expires_at: Some(Instant::from_unix_seconds(now.saturating_add(signer.lifetime_seconds()))),
            audience: match caller {
                Caller::Account(_) => Audience::Owner,
                Caller::Anonymous => Audience::Anyone,
            },
            records,
        };
        Ok(signer.sign(&verdict.to_ear(&frame))?)
    }
}

/// The keys that a verdict speaks of: the one that is asked about, and those that the claims hold.
fn keys_spoken_of(verdict: &Verdict) -> Vec<SpkiView> {
    let claims = &verdict.key().claims;
    let of_several = claims.named("keys").and_then(|claim| claim.value.as_array()).into_iter().flatten();
    let told = of_several.filter_map(|claims| claims.get("spki")).chain(claims.named("spki").map(|claim| &claim.value));
    let told =
        told.filter_map(|spki| STANDARD.decode(spki.as_str()?).ok()).filter_map(|der| SpkiView::parse(&der).ok());
    verdict.subject().cloned().into_iter().chain(told).collect()
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

/// The verdict's report with the authority's own violations added, which reject.
fn with_own_violations(verdict: &Verdict, own: &[Value]) -> Result<Value, Error> {
    let mut report = verdict.to_json();
    if own.is_empty() {
        return Ok(report);
    }
    let Value::Object(fields) = &mut report else { return Err(Error::Worker) };
    fields.insert("verdict".to_owned(), json!("rejected"));
    let reasons = fields.entry("reasons").or_insert_with(|| json!([]));
    let Value::Array(reasons) = reasons else { return Err(Error::Worker) };
    reasons.extend_from_slice(own);
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
