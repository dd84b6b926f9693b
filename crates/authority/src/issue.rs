//! Issuing: an accepted verdict about a request becomes a certificate, once.

use vouchsafe_evidence::input::{InputFile, Submission};
use vouchsafe_evidence::oid::{self, Oid};
use vouchsafe_evidence::x509::extensions::{BasicConstraints, GeneralName, KeyUsage};
use vouchsafe_evidence::x509::{CertView, NameView, SpkiView, build};
use vouchsafe_verifier::CertifiableKey;

use crate::appraisal::{Appraised, Freshness, key_digest};
use crate::ca::CertificationAuthority;
use crate::certificate::{BACKDATED_SECONDS, CertificateError, DAY_SECONDS, Issued, SignedContent, sign_content};
use crate::certified_key::rests_on;
use crate::config::{Account, NAME_OCTETS_MAX};
use crate::enroll::{Applicant, CertificationRequest, EnrollmentRequest};
use crate::enrolment::refusal_report;
use crate::error::{Error, Violation, own_codes};
use crate::lint::check_requested;
use crate::nonce::{NONCE_OCTETS, Nonce};
use crate::profile::{CertificateSource, DeviceRule, EvidenceRule, Profile, Purpose, SubjectRule};
use crate::publish::Published;
use crate::registration::{Registered, RegisteredKey};
use crate::service::{Service, violations};
use crate::store::{
    CertificateRecord, Certified, Decision, DecisionKind, Digest, KeyUse, Outcome, Spending, Spent, StoreError,
};
use crate::upstream::{Awaiting, Order, Wanted};

/// Room that a report gets at first; most need less.
const REPORT_ROOM_OCTETS: usize = 8 * 1024;

/// A certificate with the chain below the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IssuedChain {
    /// Leaf first, then the issuing certificates, without the root; DER.
    pub(crate) certificates: Vec<Vec<u8>>,
}

/// What the subject of the certificate is made of.
#[derive(Debug)]
enum SubjectSource {
    Device(String),
    Request(NameView),
}

/// Why a key may have a certificate. There is no third way: a verdict concludes in the Verifier alone, and a registered key
/// comes from `registration.rs` alone, for profiles that say that they rest on it.
#[derive(Debug)]
pub(crate) enum Grounds {
    /// Its evidence was accepted here.
    Verdict(Box<CertifiableKey>),
    /// A registration authority vouches for it. Nothing is proven here.
    Registration(RegisteredKey),
}

impl Grounds {
    /// The key.
    pub(crate) fn spki(&self) -> &SpkiView {
        match self {
            Self::Verdict(key) => key.spki(),
            Self::Registration(key) => key.spki(),
        }
    }

    /// What is kept of the reasons.
    fn report(&self) -> Result<Vec<u8>, Error> {
        let mut report = Vec::with_capacity(REPORT_ROOM_OCTETS);
        match self {
            Self::Verdict(key) => serde_json::to_writer(&mut report, key.verdict())?,
            Self::Registration(key) => serde_json::to_writer(&mut report, &key.report())?,
        }
        Ok(report)
    }

    fn key_use(&self) -> KeyUse {
        match self {
            Self::Verdict(key) => key_digest(key.verdict()).map_or(KeyUse::None, KeyUse::RestsOn),
            Self::Registration(_) => KeyUse::None,
        }
    }
}

/// A key that may be certified, and what its certificate says besides.
struct Certifiable {
    grounds: Grounds,
    subject: NameView,
    names: Vec<GeneralName>,
    certified: Certified,
    published: Published,
}

/// A decision on its way into the store.
#[derive(Debug)]
pub(crate) struct Deciding {
    spending: Spending,
    decision: Decision,
    conclusion: Conclusion,
    nonce: [u8; NONCE_OCTETS],
    digest: Digest,
}

/// What follows from a decision.
#[derive(Debug)]
enum Conclusion {
    /// It is told once it is recorded, with these certificates.
    Told { certificates: Vec<CertificateRecord>, answer: Result<IssuedChain, Error> },
    /// The certificate comes from elsewhere; decision and certificate are recorded when it is there.
    Ordered(Box<Order>),
}

/// An answer that nobody has heard yet.
#[derive(Debug)]
pub(crate) struct HeldAnswer {
    answer: Result<IssuedChain, Error>,
    nonce: [u8; NONCE_OCTETS],
    digest: Digest,
}

/// What is to be recorded about a request, and what to be told.
pub(crate) struct Judged {
    decision: Decision,
    conclusion: Conclusion,
}

impl Judged {
    /// Whether a certificate was granted.
    pub(crate) const fn is_granted(&self) -> bool {
        match &self.conclusion {
            Conclusion::Told { answer, .. } => answer.is_ok(),
            Conclusion::Ordered(_) => true,
        }
    }

    /// The decision on its way into the store, which spends the nonce for it.
    pub(crate) fn spending(self, nonce: Nonce, digest: Digest) -> Deciding {
        let Self { decision, conclusion } = self;
        let octets = *nonce.octets();
        Deciding { spending: Spending::new(nonce, digest), decision, conclusion, nonce: octets, digest }
    }
}

impl HeldAnswer {
    /// The answer to the request with this digest, which spends this nonce.
    pub(crate) const fn new(answer: Result<IssuedChain, Error>, nonce: [u8; NONCE_OCTETS], digest: Digest) -> Self {
        Self { answer, nonce, digest }
    }
}

impl Deciding {
    /// Hands the decision to the store, or what was decided to the CA that the certificate comes from; `done` gets how the
    /// recording ended, on a thread that it must not hold up.
    pub(crate) fn record(
        self,
        service: &Service,
        done: impl FnOnce(Result<(), StoreError>, HeldAnswer) + Send + 'static,
    ) {
        let Self { spending, decision, conclusion, nonce, digest } = self;
        match conclusion {
            Conclusion::Told { certificates, answer } => {
                let held = HeldAnswer::new(answer, nonce, digest);
                let done = Box::new(move |result: Result<i64, StoreError>| done(result.map(drop), held));
                service.store.decide_later(spending, decision, certificates, done);
            }
            Conclusion::Ordered(order) => {
                let (sent, transaction) = service.mint.forwarding(&nonce);
                let sent = Spending::new(sent, digest);
                let awaiting = Awaiting { order, decision, spending, sent, transaction, nonce, digest };
                service.upstreams.forward(service, awaiting, done);
            }
        }
    }
}

impl Service {
    /// The decision on a request, and what is to be recorded and told.
    pub(crate) fn judge_request(
        &self,
        applicant: &Applicant,
        profile: &Profile,
        request: EnrollmentRequest<'_>,
        freshness: Freshness<'_>,
    ) -> Result<Judged, Error> {
        let account = &applicant.account;
        let certifiable = match profile.evidence() {
            EvidenceRule::Appraised => self.certifiable(applicant, profile, request, freshness),
            EvidenceRule::RegistrationAuthority => self.certifiable_on_word(applicant, profile, request),
        };
        let judged =
            certifiable.and_then(|certifiable| self.certify_key(account.name(), profile, request.request, certifiable));
        match judged {
            Ok(judged) => Ok(judged),
            Err(error @ Error::Rejected(_)) => {
                let report = refusal_report(&error);
                let (kind, octets) = (DecisionKind::Certificate, request.request.octets());
                let decision = self.decision(kind, account.name(), Outcome::Refused, &report, octets)?;
                Ok(Judged { decision, conclusion: Conclusion::Told { certificates: Vec::new(), answer: Err(error) } })
            }
            // Nothing was decided about the request: the nonce stays unspent for another attempt.
            Err(error) => Err(error),
        }
    }

    /// What is told now that the store has said how the recording ended. Reads the store if another request
    /// with the same nonce was faster; it may have been this very one.
    pub(crate) fn decided(&self, held: HeldAnswer, recorded: Result<(), StoreError>) -> Result<IssuedChain, Error> {
        match recorded {
            Ok(()) => held.answer,
            Err(StoreError::NonceSpent) => {
                let spent = self.store.spent(&held.nonce)?.ok_or(Error::NonceSpent)?;
                self.replay(&spent, &held.digest)
            }
            // What cannot be recorded is not told either.
            Err(failure) => Err(failure.into()),
        }
    }

    pub(crate) fn replay(&self, spent: &Spent, digest: &Digest) -> Result<IssuedChain, Error> {
        if spent.request != *digest {
            return Err(Error::NonceSpent);
        }
        // The first is the one that was asked for.
        let mut certificates = self.store.certificates(spent.decision)?;
        certificates.truncate(1);
        if certificates.is_empty() {
            #[derive(serde::Deserialize)]
            struct Refusal {
                reasons: Vec<Violation>,
            }
            let refusal: Refusal = serde_json::from_slice(&self.recorded_report(spent.decision)?)?;
            return Err(Error::Rejected(refusal.reasons));
        }
        let leaf = certificates.first().map(|der| CertView::parse(der)).transpose().map_err(CertificateError::from)?;
        let Some(leaf) = leaf else { return Err(Error::Worker) };
        // It may have come from elsewhere.
        certificates.extend(match self.upstreams.issuer_of(&leaf) {
            Some(upstream) => upstream.chain_of(&leaf),
            None => self.hierarchy.issuer_of(&leaf)?.chain_below_root(),
        });
        Ok(IssuedChain { certificates })
    }

    /// The key of an accepted request, its subject and what is published, by the profile's rules.
    fn certifiable(
        &self,
        applicant: &Applicant,
        profile: &Profile,
        request: EnrollmentRequest<'_>,
        freshness: Freshness<'_>,
    ) -> Result<Certifiable, Error> {
        let recognized = match request.request {
            CertificationRequest::Pkcs10(csr) => Submission::recognize(&[InputFile { name: "csr", bytes: csr }], None),
            CertificationRequest::Crmf(request) => Submission::from_crmf(request.clone()),
            CertificationRequest::Presented { csr, evidence } => {
                Submission::from_csr_and_bundle(csr.clone(), evidence.clone())
            }
            // Another's word is no evidence.
            CertificationRequest::RaVerified(_) => return Err(own_codes::NOT_REGISTRAR.refusal()),
        };
        let appraised = self.judge(recognized, freshness, None)?;
        let mut found = violations(appraised.verdict.reasons());
        found.extend(records_against(&applicant.account, profile, &appraised));
        let device = device_name(&appraised);
        match appraised.verdict.certify() {
            Ok(key) => {
                found.extend(self.signed_beside(Some(applicant.account.name()), key.verdict())?);
                let subject = subject_source(profile, device, &key);
                let subject = match subject.map(|source| subject_name(profile, &source)) {
                    Ok(subject) => {
                        let subject = subject?;
                        applicant.check_subject(request.intent, &subject, &key).map(|()| subject)
                    }
                    Err(violation) => Err(violation),
                };
                found.extend(subject.as_ref().err().cloned());
                found.extend(applicant.names.unless_permitted(profile));
                if let Ok(subject) = &subject {
                    found.extend(unfit(subject, &key));
                    match profile.subject() {
                        SubjectRule::Device => {}
                        SubjectRule::Request => {
                            let of = (&key, appraised.device.as_ref());
                            found.extend(self.check_name(profile.names(), applicant, subject, of)?);
                        }
                    }
                }
                let certified = subject.as_ref().ok();
                let certified = certified.map(|subject| self.certified(profile, applicant, subject, key.spki()));
                let certified = certified.transpose()?;
                found.extend(self.against_key(applicant.account.name(), key.spki(), certified.as_ref())?);
                let published = match self.publication(profile, &key) {
                    Err(Error::Rejected(more)) => {
                        found.extend(more);
                        None
                    }
                    published => Some(published?),
                };
                match (subject, certified, published) {
                    (Ok(subject), Some(certified), Some(mut published)) if found.is_empty() => {
                        published.extensions.extend(applicant.names.extension(&subject));
                        let certified = certified.resting_on(rests_on(key.verdict()));
                        let (grounds, names) = (Grounds::Verdict(Box::new(key)), applicant.names.alternative_names());
                        Ok(Certifiable { grounds, subject, names, certified, published })
                    }
                    _ => Err(Error::Rejected(found)),
                }
            }
            Err(_) => {
                if found.is_empty() {
                    found.push(own_codes::NOT_A_CSR.violation());
                }
                Err(Error::Rejected(found))
            }
        }
    }

    /// A key on the word of a registration authority.
    fn certifiable_on_word(
        &self,
        applicant: &Applicant,
        profile: &Profile,
        request: EnrollmentRequest<'_>,
    ) -> Result<Certifiable, Error> {
        let registered = self.registered(applicant, profile, request.intent, request.request)?;
        let Registered { key, subject, names, extension, certified } = registered;
        let published = Published::timeless(extension.into_iter().collect());
        Ok(Certifiable { grounds: Grounds::Registration(key), subject, names, certified, published })
    }

    /// The decision, the certificate and the chain for a key that may have one.
    fn certify_key(
        &self,
        account: &str,
        profile: &Profile,
        request: CertificationRequest<'_>,
        certifiable: Certifiable,
    ) -> Result<Judged, Error> {
        let Certifiable { grounds, subject, names, certified, published } = certifiable;
        let (report, key_use) = (grounds.report()?, grounds.key_use());
        let decision =
            self.decision(DecisionKind::Certificate, account, Outcome::Accepted, &report, request.octets())?;
        let conclusion = match profile.source() {
            CertificateSource::Issuer(issuer) => {
                let from = self.hierarchy.issuer(issuer)?.while_valid(self.now())?;
                let issued = Issuer { ca: from.ca(), now: self.now() }.issue(grounds, profile, subject, &published)?;
                let certificates =
                    std::iter::once(issued.record(key_use, certified)).chain(published.attesting_key).collect();
                let chain = std::iter::once(issued.der).chain(from.chain_below_root()).collect();
                Conclusion::Told { certificates, answer: Ok(IssuedChain { certificates: chain }) }
            }
            CertificateSource::Upstream(upstream) => {
                let not_after = self.now().saturating_add(profile.validity_days().saturating_mul(DAY_SECONDS));
                let wanted = Wanted { subject, names, purposes: purposes(profile), not_after, key_use, certified };
                let order = Order::new(self.upstreams.named(upstream)?, grounds, wanted, request)?;
                Conclusion::Ordered(Box::new(order))
            }
        };
        Ok(Judged { decision, conclusion })
    }
}

/// Signs certificates with the issuing CA's key.
struct Issuer<'a> {
    ca: &'a CertificationAuthority,
    now: i64,
}

impl Issuer<'_> {
    /// Issues the certificate of a key that was proven to live in hardware, or is vouched for where that is enough. What it
    /// rests on is used up.
    ///
    /// Of what was attested the certificate holds what `published` does and nothing else: subject by the profile's
    /// rule, key, purposes.
    fn issue(
        &self,
        grounds: Grounds,
        profile: &Profile,
        subject: NameView,
        published: &Published,
    ) -> Result<Issued, CertificateError> {
        let mut extensions = vec![
            build::basic_constraints(true, BasicConstraints { ca: false, path_length: None }),
            build::key_usage(true, KeyUsage::from_bits(KeyUsage::DIGITAL_SIGNATURE)),
            build::extended_key_usage(false, &purposes(profile)),
        ];
        extensions.extend(published.extensions.iter().cloned());
        let lifetime = profile.validity_days().saturating_mul(DAY_SECONDS);
        let content = SignedContent {
            subject,
            spki: grounds.spki(),
            not_before: published.holds_from.max(self.now.saturating_sub(BACKDATED_SECONDS)),
            not_after: self.now.saturating_add(lifetime),
            extensions,
        };
        sign_content(&self.ca.issuer(), content)
    }
}

/// What certificates of a profile are for.
pub(crate) fn purposes(profile: &Profile) -> Vec<Oid> {
    profile.purposes().iter().copied().map(purpose_oid).collect()
}

const fn purpose_oid(purpose: Purpose) -> Oid {
    match purpose {
        Purpose::ClientAuth => oid::KP_CLIENT_AUTH,
        Purpose::CodeSigning => oid::KP_CODE_SIGNING,
        Purpose::ServerAuth => oid::KP_SERVER_AUTH,
    }
}

fn subject_name(profile: &Profile, subject: &SubjectSource) -> Result<NameView, CertificateError> {
    match subject {
        SubjectSource::Request(subject) => Ok(subject.clone()),
        SubjectSource::Device(device) => {
            let organization = profile.organization().map(|name| (oid::ORGANIZATION_NAME, name));
            let attributes: Vec<(Oid, &str)> =
                organization.into_iter().chain([(oid::COMMON_NAME, device.as_str())]).collect();
            Ok(build::distinguished_name(&attributes)?)
        }
    }
}

/// What stands against subject and key in a certificate, whoever's they are.
fn unfit(subject: &NameView, key: &CertifiableKey) -> Option<Violation> {
    let error = check_requested(subject, key.spki()).err()?;
    Some(own_codes::NOT_CERTIFIABLE.found(format!("The certificate is not made: {error}.")))
}

/// What the authority's own records have against a request whose evidence names a device.
fn records_against(account: &Account, profile: &Profile, appraised: &Appraised) -> Option<Violation> {
    match (&appraised.device, profile.devices()) {
        (Some(device), _) if device.account != account.name() => Some(own_codes::OTHER_ACCOUNT.violation()),
        (Some(device), _) if !account.may_use_device(&device.name) => Some(own_codes::DEVICE_NOT_PERMITTED.violation()),
        (Some(device), _) if device.is_key_revoked() => Some(own_codes::KEY_REVOKED.violation()),
        (None, DeviceRule::Enrolled) if appraised.verdict.is_accepted() => {
            Some(own_codes::DEVICE_NOT_ENROLLED.violation())
        }
        (Some(_), _) | (None, DeviceRule::Enrolled | DeviceRule::Any) => None,
    }
}

/// The recorded name of the device; for one that is not enrolled, the identifier of the verdict, as far as it fits.
fn device_name(appraised: &Appraised) -> Option<String> {
    match &appraised.device {
        Some(device) => Some(device.name.clone()),
        // RFC 5280, appendix A (ub-common-name): an identifier by a digest has three characters more than a name may.
        None => appraised.verdict.device().map(|device| device.id.chars().take(NAME_OCTETS_MAX).collect()),
    }
}

/// The subject by the profile's rule.
fn subject_source(profile: &Profile, device: Option<String>, key: &CertifiableKey) -> Result<SubjectSource, Violation> {
    match profile.subject() {
        SubjectRule::Request if key.requested_subject().is_empty() => Err(own_codes::SUBJECT_EMPTY.violation()),
        SubjectRule::Request => Ok(SubjectSource::Request(key.requested_subject().clone())),
        SubjectRule::Device => device.map(SubjectSource::Device).ok_or_else(|| own_codes::DEVICE_UNNAMED.violation()),
    }
}
