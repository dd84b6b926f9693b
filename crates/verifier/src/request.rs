//! One request to the Verifier, and its answer.

use vouchsafe_evidence::bundle::{AttestationStatement, CertChoice};
use vouchsafe_evidence::input::{Form, Submission};
use vouchsafe_evidence::limits::CERTIFICATES_PARSED;
use vouchsafe_evidence::statement::FormatId;
use vouchsafe_evidence::x509::{CertView, SpkiView};

use crate::Nonce;
use crate::advisory::Advisories;
use crate::appraise::{Appraised, appraise};
use crate::authenticate::{Authentication, Context, authenticate, authenticate_endorsement_key, cmw};
use crate::bind::{Expectation, bind};
use crate::crypto::{SignatureAlgorithm, SignatureBudget, SignatureError, VerificationCache, verify_signature};
use crate::describe::describe;
use crate::policy::{Policy, ReferenceValues};
use crate::rejection::{Rejection, codes};
use crate::time::Instant;
use crate::trust::TrustStore;
use crate::verdict::{Findings, Verdict};

/// What is to be verified, against what, for when.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    submission: &'a Submission,
    trust: &'a TrustStore,
    policy: &'a Policy,
    at: Instant,
    nonce: Option<&'a Nonce>,
    possession_context: Option<&'a [u8]>,
    expected_key: Option<&'a SpkiView>,
    expected_device: Option<&'a str>,
    baseline: ReferenceValues,
    cache: Option<&'a VerificationCache>,
    advisories: Option<&'a Advisories>,
}

impl<'a> Request<'a> {
    /// Asks whether `submission` holds at `at`, for these anchors and this policy.
    #[must_use]
    pub const fn new(submission: &'a Submission, trust: &'a TrustStore, policy: &'a Policy, at: Instant) -> Self {
        Self {
            submission,
            trust,
            policy,
            at,
            nonce: None,
            possession_context: None,
            expected_key: None,
            expected_device: None,
            baseline: ReferenceValues::none(),
            cache: None,
            advisories: None,
        }
    }

    /// Demands that every statement answers this nonce.
    #[must_use]
    pub const fn nonce(mut self, nonce: &'a Nonce) -> Self {
        self.nonce = Some(nonce);
        self
    }

    /// Demands that a proof of possession (`key-pop`) is bound to exactly this: a digest of the session, transaction or
    /// account in which it was asked for.
    #[must_use]
    pub const fn possession_context(mut self, context: &'a [u8]) -> Self {
        self.possession_context = Some(context);
        self
    }

    /// Demands that the evidence is about this key.
    #[must_use]
    pub const fn expected_key(mut self, key: &'a SpkiView) -> Self {
        self.expected_key = Some(key);
        self
    }

    /// Demands that the evidence comes from this device (CONTRACT, "Device").
    #[must_use]
    pub const fn expected_device(mut self, id: &'a str) -> Self {
        self.expected_device = Some(id);
        self
    }

    /// Lets signatures on certificates and revocation lists that earlier requests found good count as checked.
    #[must_use]
    pub const fn verification_cache(mut self, cache: &'a VerificationCache) -> Self {
        self.cache = Some(cache);
        self
    }

    /// Judges by these advisories instead of those that come with the program.
    #[must_use]
    pub const fn advisories(mut self, advisories: &'a Advisories) -> Self {
        self.advisories = Some(advisories);
        self
    }

    /// Compares PCR values with those recorded when the device's attestation key was enrolled.
    #[must_use]
    pub fn baseline(mut self, values: ReferenceValues) -> Self {
        self.baseline = values;
        self
    }
}

/// Verifies one submission: authenticate, bind, appraise, conclude.
///
/// Never panics and never fails: whatever is wrong is a reason in the verdict. The work is bounded by
/// [`vouchsafe_evidence::limits`].
pub fn verify(request: &Request<'_>) -> Verdict {
    let submission = request.submission;
    let mut request_failures = Vec::new();
    let mut budget = match request.cache {
        Some(cache) => SignatureBudget::new().with_cache(cache, request.trust.version()),
        None => SignatureBudget::new(),
    };
    if submission.is_request() {
        request_failures.extend(check_request(submission.form(), &mut budget).err());
        if submission.statements().is_empty() {
            request_failures.push(Rejection::plain(codes::CSR_NO_ATTESTATION));
        }
    }
    let unwrapped = cmw::unwrap(submission.statements());
    request_failures.extend(check_published(submission.form(), &unwrapped).err());
    let offered = submission.certs().iter().filter_map(CertChoice::certificate).chain(&unwrapped.certificates);
    let certificates: Vec<CertView> = offered.take(CERTIFICATES_PARSED).cloned().collect();
    let mut context = Context {
        trust: request.trust,
        at: request.at,
        nonce: request.nonce,
        in_request: submission.is_request(),
        possession_context: request.possession_context,
        subject: submission.subject_key().or(request.expected_key),
        revocation: request.policy.revocation(),
        certificates: &certificates,
        budget,
    };
    let authentication = match submission.form() {
        Form::EndorsementKey(certificate) => {
            authenticate_endorsement_key(certificate, request.policy.platform(), &mut context)
        }
        Form::Csr(_) | Form::Crmf(_) | Form::PublishedCertificate(_) | Form::Evidence => {
            authenticate(&unwrapped, request.policy.platform(), &mut context)
        }
    };
    let expectation = Expectation {
        csr_key: submission.subject_key(),
        expected_key: request.expected_key,
        device: request.expected_device,
        nonce: request.nonce.is_some(),
    };
    let binding = if has_nothing_to_bind(&authentication, &request_failures) {
        crate::bind::Binding::default()
    } else {
        bind(&authentication, &certificates, &expectation)
    };
    let descriptions = describe(&authentication, &binding, &[request.policy.references(), &request.baseline]);
    let appraisal = appraise(&Appraised {
        authentication: &authentication,
        binding: &binding,
        descriptions: &descriptions,
        policy: request.policy,
        baseline: &request.baseline,
        nonce_given: request.nonce.is_some(),
        at: request.at,
        advisories: request.advisories.unwrap_or_else(|| Advisories::shipped()),
    });
    Verdict::conclude(Findings {
        submission,
        policy: request.policy,
        at: request.at,
        request_failures,
        authentication,
        binding,
        appraisal,
        descriptions,
    })
}

/// A request without any statement has said so; that it binds nothing would only repeat it.
fn has_nothing_to_bind(authentication: &Authentication, request_failures: &[Rejection]) -> bool {
    authentication.statements.is_empty()
        && authentication.possession.is_none()
        && request_failures.iter().any(|failure| failure.code() == codes::CSR_NO_ATTESTATION.id)
}

/// A certificate says what its key is. A platform's state changes, and no nonce shows of when a published quote is.
fn check_published(form: &Form, unwrapped: &cmw::Unwrapped) -> Result<(), Rejection> {
    match form {
        Form::PublishedCertificate(_) => {}
        Form::Csr(_) | Form::Crmf(_) | Form::EndorsementKey(_) | Form::Evidence => return Ok(()),
    }
    let is_quote = |statement: &AttestationStatement| statement.format() == Some(FormatId::TpmQuote);
    match unwrapped.statements.iter().find(|(_, statement)| is_quote(statement)) {
        Some((place, _)) => Err(Rejection::plain(codes::PUBLISH_PLATFORM_STATEMENT).in_statement(*place)),
        None => Ok(()),
    }
}

/// Whether the request is signed by the key it carries, over its original bytes (RFC 2986, 4.2; RFC 4211, 4.1).
fn check_request(form: &Form, budget: &mut SignatureBudget) -> Result<(), Rejection> {
    let (spki, algorithm, message, signature) = match form {
        Form::Csr(csr) => (csr.spki(), csr.algorithm().as_der(), csr.info(), csr.signature()),
        Form::Crmf(request) => (request.spki(), request.algorithm(), request.view().request(), request.signature()),
        Form::PublishedCertificate(_) | Form::EndorsementKey(_) | Form::Evidence => return Ok(()),
    };
    let algorithm = SignatureAlgorithm::from_der(algorithm).map_err(|_| Rejection::plain(codes::CSR_WEAK_SIGNATURE))?;
    verify_signature(budget, spki, algorithm, message, signature).map_err(|error| {
        let code = match error {
            SignatureError::BudgetExhausted { .. } => codes::LIMIT_SIGNATURE_CHECKS,
            SignatureError::Invalid | SignatureError::KeyMismatch { .. } => codes::CSR_BAD_SIGNATURE,
            SignatureError::WeakAlgorithm { .. } | SignatureError::WeakKey { .. } => codes::CSR_WEAK_SIGNATURE,
        };
        Rejection::new(code, format!("{} ({error})", code.meaning))
    })
}
