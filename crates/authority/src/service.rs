//! What the authority does, free of HTTP: each operation takes a caller and a request and may block.

use std::sync::Arc;

use vouchsafe_verifier::ceremony::Witnesses;
use vouchsafe_verifier::{Instant, Policy, Rejection, TrustStore, VerificationCache};

use crate::attestation_result::ResultSigner;
use crate::ca::Hierarchy;
use crate::client_certificate::ClientAuthorities;
use crate::clock::Clock;
use crate::config::{Account, Capability, Config, Role};
use crate::enroll::Applicant;
use crate::enrolment::pseudonym::Pseudonyms;
use crate::error::{Error, Violation};
use crate::metrics::Metrics;
use crate::nonce::{Mint, NONCE_OCTETS, Nonce, Purpose, Session};
use crate::profile::Profile;
use crate::protocol::acme::Acme;
use crate::protocol::cmp::Parties;
use crate::protocol::json::description;
use crate::record::Recorder;
use crate::request::NonceRequest;
use crate::revocation_list::RevocationLists;
use crate::store::{Decision, DecisionKind, Outcome, Store};
use crate::trust::Trust;
use crate::upstream::Upstreams;

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) enum Caller {
    /// Nobody known.
    Anonymous,
    /// Somebody who has shown a credential of an account.
    Account(Applicant),
}

impl Caller {
    /// The account's name; empty for an anonymous caller, which no account can be called.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Anonymous => "",
            Self::Account(applicant) => applicant.account.name(),
        }
    }

    /// Who asks for a certificate.
    pub(crate) const fn applicant(&self) -> Result<&Applicant, Error> {
        match self {
            Self::Anonymous => Err(Error::NotAuthenticated),
            Self::Account(applicant) => Ok(applicant),
        }
    }

    /// The account, for what only accounts may do.
    pub(crate) fn account(&self) -> Result<&Account, Error> {
        match self {
            Self::Anonymous => Err(Error::NotAuthenticated),
            Self::Account(applicant) => Ok(&applicant.account),
        }
    }
}

/// The parts that the operations share.
#[derive(Debug)]
pub(crate) struct Service {
    /// The ACME server, where there is one.
    pub(crate) acme: Option<Acme>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) mint: Arc<Mint>,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) trust: Arc<Trust>,
    pub(crate) policy: Policy,
    pub(crate) signatures: VerificationCache,
    pub(crate) profiles: Vec<Profile>,
    pub(crate) hierarchy: Arc<Hierarchy>,
    /// CAs elsewhere that certificates come from.
    pub(crate) upstreams: Upstreams,
    /// Who speaks CMP.
    pub(crate) cmp: Arc<Parties>,
    /// Whose client certificates are taken.
    pub(crate) client_authorities: Arc<ClientAuthorities>,
    /// What attestation results are signed with, where they are.
    pub(crate) results: Option<ResultSigner>,
    /// The description of what is served over JSON.
    pub(crate) description: Vec<u8>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) challenge_lifetime_seconds: i64,
    pub(crate) ak_validity_days: i64,
    pub(crate) enrolment: Enrolment,
    pub(crate) revocation_lists: RevocationLists,
    pub(crate) metrics: Metrics,
    role: Role,
    /// What pseudonyms are signed by, where that is the role.
    pub(crate) pseudonyms: Option<Pseudonyms>,
}

/// By which methods attesting keys are enrolled, and for how long.
#[derive(Debug)]
pub(crate) struct Enrolment {
    /// Whether the first of a name is believed.
    pub(crate) first_use: bool,
    /// For how many days after its enrolment a key's certificates are renewed.
    pub(crate) renewal_days: i64,
    /// The witnesses of ceremonies.
    pub(crate) witnesses: Option<Witnesses>,
    /// Whether the modules of ceremonies are software.
    pub(crate) virtual_ceremonies: bool,
}

/// A nonce as handed out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NonceReply {
    pub(crate) octets: [u8; NONCE_OCTETS],
    pub(crate) expires: Instant,
}

impl Service {
    pub(crate) fn new(
        config: &Config,
        store: Arc<dyn Store>,
        parts: (Mint, Recorder, Hierarchy, Arc<ClientAuthorities>, Option<Witnesses>, Option<Pseudonyms>),
        trust: Arc<Trust>,
        policy: Policy,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (mint, recorder, hierarchy, client_authorities, witnesses, pseudonyms) = parts;
        let enrolment = Enrolment {
            first_use: config.enrolment.first_use,
            renewal_days: config.enrolment.renewal_days,
            witnesses,
            virtual_ceremonies: config.enrolment.ceremony.as_ref().is_some_and(|ceremony| ceremony.is_virtual),
        };
        Self {
            acme: None,
            store,
            mint: Arc::new(mint),
            recorder: Arc::new(recorder),
            trust,
            policy,
            signatures: VerificationCache::new(),
            profiles: config.profiles.clone(),
            hierarchy: Arc::new(hierarchy),
            cmp: Arc::default(),
            upstreams: Upstreams::default(),
            client_authorities,
            results: None,
            description: description::of(config.role),
            clock,
            challenge_lifetime_seconds: config.challenge_lifetime_seconds,
            ak_validity_days: i64::from(config.ak_validity_days),
            enrolment,
            revocation_lists: RevocationLists::default(),
            metrics: Metrics::default(),
            role: config.role,
            pseudonyms,
        }
    }

    /// The same with the parties of CMP.
    pub(crate) fn with_cmp(mut self, parties: Parties) -> Self {
        self.cmp = Arc::new(parties);
        self
    }

    pub(crate) fn now(&self) -> i64 {
        self.clock.now_unix_seconds()
    }

    pub(crate) fn trust_store(&self) -> Arc<TrustStore> {
        self.trust.current()
    }

    pub(crate) fn profile(&self, name: &str) -> Result<&Profile, Error> {
        self.profiles.iter().find(|profile| profile.name() == name).ok_or(Error::UnknownProfile)
    }

    /// The profile of this name, if the account may use it.
    pub(crate) fn permitted_profile(&self, account: &Account, name: &str) -> Result<&Profile, Error> {
        let profile = self.profile(name)?;
        if account.may_use_profile(profile) { Ok(profile) } else { Err(Error::ProfileNotPermitted) }
    }

    fn certificate_purpose<'a>(&'a self, profile: &str, session: Session<'a>) -> Result<Purpose<'a>, Error> {
        Ok(Purpose::Certificate { profile: self.profile(profile)?.name(), session })
    }

    /// A nonce for a certificate under this profile, in this session and no other.
    pub(crate) fn mint_session_nonce(
        &self,
        account: &Account,
        profile: &str,
        session: Session<'_>,
    ) -> Result<NonceReply, Error> {
        if !account.may(Capability::Issue) {
            return Err(Error::NotPermitted(Capability::Issue));
        }
        let profile = self.permitted_profile(account, profile)?.name();
        self.mint_for(Purpose::Certificate { profile, session }, account.name())
    }

    fn mint_for(&self, purpose: Purpose<'_>, account: &str) -> Result<NonceReply, Error> {
        let now = self.now();
        let octets = self.mint.mint(purpose, account, now)?;
        let expires = Instant::from_unix_seconds(now.saturating_add(self.mint.lifetime_seconds()));
        Ok(NonceReply { octets, expires })
    }

    /// A nonce for what the caller may do.
    pub(crate) fn mint_nonce(&self, caller: &Caller, request: &NonceRequest) -> Result<NonceReply, Error> {
        let (purpose, capability) = match request {
            NonceRequest::AttestationKey => (Purpose::AttestationKey, Capability::Enroll),
            NonceRequest::Certificate { profile } => {
                (self.certificate_purpose(profile, Session::Json)?, Capability::Issue)
            }
            NonceRequest::Appraisal => (Purpose::Appraisal, Capability::Appraise),
        };
        let is_served = match request {
            NonceRequest::AttestationKey => self.role.enrolls(),
            NonceRequest::Certificate { .. } | NonceRequest::Appraisal => self.role.issues(),
        };
        if !is_served {
            return Err(Error::NotPermitted(capability));
        }
        match (caller, request) {
            (Caller::Account(applicant), NonceRequest::Certificate { profile })
                if applicant.account.may(capability) =>
            {
                self.permitted_profile(&applicant.account, profile)?;
            }
            (Caller::Account(applicant), _) if applicant.account.may(capability) => {}
            (Caller::Account(_), _) => return Err(Error::NotPermitted(capability)),
            (Caller::Anonymous, NonceRequest::Appraisal) => {}
            (Caller::Anonymous, NonceRequest::AttestationKey | NonceRequest::Certificate { .. }) => {
                return Err(Error::NotAuthenticated);
            }
        }
        self.mint_for(purpose, caller.name())
    }

    /// The nonce of a request, if it is one of this account for this purpose, neither spent nor expired.
    pub(crate) fn unspent_nonce(&self, octets: &[u8], purpose: Purpose<'_>, account: &str) -> Result<Nonce, Error> {
        let minted = self.mint.recognize(octets, purpose, account)?;
        if self.store.spent(minted.octets())?.is_some() {
            return Err(Error::NonceSpent);
        }
        Ok(minted.fresh(self.now())?)
    }

    /// A decision with its evidence sealed.
    pub(crate) fn decision(
        &self,
        kind: DecisionKind,
        account: &str,
        outcome: Outcome,
        report: &[u8],
        request: &[u8],
    ) -> Result<Decision, Error> {
        decision(&self.recorder, self.now(), (kind, account, outcome), report, request)
    }

    /// The report that was sealed with an earlier decision.
    pub(crate) fn recorded_report(&self, decision: i64) -> Result<Vec<u8>, Error> {
        let recorded = self.store.decision(decision)?.ok_or(Error::NonceSpent)?;
        // Erased evidence: what was decided can no longer be told again.
        let sealed = self.store.evidence(decision)?.ok_or(Error::NonceSpent)?;
        Ok(self.recorder.open(&recorded.commitment, sealed)?.report)
    }
}

/// A decision with its evidence sealed: of which kind, by which account, and how it was decided.
pub(crate) fn decision(
    recorder: &Recorder,
    now: i64,
    (kind, account, outcome): (DecisionKind, &str, Outcome),
    report: &[u8],
    request: &[u8],
) -> Result<Decision, Error> {
    let sealed = recorder.seal(report, request)?;
    tracing::info!(kind = kind.as_str(), account, outcome = outcome.as_str(), "decided");
    Ok(Decision {
        at: now,
        kind,
        account: account.to_owned(),
        outcome,
        commitment: sealed.commitment,
        sealed: sealed.octets,
    })
}

/// The refusal for what the Verifier found.
pub(crate) fn rejected(rejections: &[Rejection]) -> Error {
    Error::Rejected(violations(rejections))
}

/// The Verifier's violations in the form that is reported and kept.
pub(crate) fn violations(rejections: &[Rejection]) -> Vec<Violation> {
    rejections
        .iter()
        .map(|rejection| Violation {
            code: rejection.code().to_owned(),
            message: rejection.message().to_owned(),
            statement: rejection.statement(),
            clause: rejection.clause().to_owned(),
        })
        .collect()
}
