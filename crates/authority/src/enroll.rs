//! The one way to a certificate: every protocol translates its request into an [`EnrollmentRequest`], and what
//! [`Service::enroll`] answers back into its own words.
//!
//! Whoever asks has an account, whatever credential showed it, and asks within a session. A nonce and a proof of
//! possession count in the session that they were made for and in no other.

use std::sync::Arc;

use vouchsafe_evidence::bundle::AttestationBundle;
use vouchsafe_evidence::limits::CSR_OCTETS;
use vouchsafe_evidence::x509::build;
use vouchsafe_evidence::x509::extensions::GeneralName;
use vouchsafe_evidence::x509::{CsrView, NameView, SignedCrmf};
use vouchsafe_verifier::{CertifiableKey, Rejection, codes};

use crate::appraisal::Freshness as Answered;
use crate::config::{Account, Capability};
use crate::error::{Error, Violation, own_codes};
use crate::issue::{Deciding, IssuedChain, Judged};
use crate::names::ProvenName;
use crate::nonce::{Nonce, Purpose, Session};
use crate::profile::{FreshnessRule, Profile};
use crate::protocol::acme::KeyAuthorizationAnswer;
use crate::registration::RaVerifiedRequest;
use crate::service::{Service, rejected};
use crate::store::Digest;

/// By what an account was recognized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Credential {
    /// A bearer token (HTTPS with JSON).
    BearerToken,
    /// A client certificate in the TLS handshake of this very connection.
    ClientCertificate,
    /// The same, of a CA that the account names, for a registration authority (id-kp-cmcRA).
    RegistrarCertificate,
    /// Name and token in HTTP Basic authentication.
    HttpBasic,
    /// A MAC on a CMP message.
    CmpMac,
    /// A signature on a CMP message.
    CmpSignature,
    /// The same, by a certificate of a CA that the account names, for a registration authority (id-kp-cmcRA).
    RegistrarSignature,
    /// The key of an ACME account.
    AcmeAccount,
}

/// Who asks for a certificate.
#[derive(Clone, Debug)]
pub(crate) struct Applicant {
    /// The account.
    pub(crate) account: Arc<Account>,
    /// By what it was recognized.
    pub(crate) by: Credential,
    /// Whom it may ask for.
    pub(crate) names: Names,
}

/// Whom an applicant may ask for a certificate for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// Everybody whom the account may.
    OfAccount,
    /// The subject of the certificate that it showed: a device's certificate speaks for that device.
    Only(NameView),
    /// Everybody whom the account may, with these alternative names, each of which was proven.
    Proven(Vec<ProvenName>),
}

/// What a certificate is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intent {
    /// For the first time, or as if it were.
    New,
    /// In place of the one that the applicant showed: for the same subject, which the request names too.
    Renewal,
}

/// What is to be certified.
#[derive(Clone, Copy, Debug)]
pub(crate) enum CertificationRequest<'a> {
    /// PKCS #10 (RFC 2986), DER or PEM.
    Pkcs10(&'a [u8]),
    /// CRMF (RFC 4211), with a signature of the key over it.
    Crmf(&'a SignedCrmf),
    /// CRMF (RFC 4211), with the word of a registration authority in place of a signature of the key.
    RaVerified(&'a RaVerifiedRequest),
    /// PKCS #10 without evidence, for a key whose evidence was presented before (ACME).
    Presented {
        /// The request.
        csr: &'a CsrView,
        /// The evidence.
        evidence: &'a AttestationBundle,
    },
}

/// What the evidence answers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Freshness<'a> {
    /// This nonce, which must be one of the session.
    Nonce(&'a [u8]),
    /// The key authorization of a challenge that is met once (ACME), in one of the ways in which evidence can.
    KeyAuthorization(&'a KeyAuthorizationAnswer),
    /// Nothing: the client asked for no nonce. For profiles with `freshness = "when-given"` alone.
    NotProven,
}

/// A request for a certificate, free of the protocol that it came by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EnrollmentRequest<'a> {
    /// What is to be certified.
    pub(crate) request: CertificationRequest<'a>,
    /// The profile's name.
    pub(crate) profile: &'a str,
    /// What it is wanted for.
    pub(crate) intent: Intent,
    /// Where it is asked for.
    pub(crate) session: Session<'a>,
    /// What the evidence answers.
    pub(crate) freshness: Freshness<'a>,
}

/// How far a request for a certificate has come.
#[derive(Debug)]
pub(crate) enum Issuing {
    /// It was decided before.
    Decided(IssuedChain),
    /// It is decided, and is answered once that is recorded.
    Deciding(Box<Deciding>),
}

impl Credential {
    /// Whether a session of this kind is one in which the credential counts: a protocol's own credentials are none in
    /// any other.
    const fn counts_in(self, session: Session<'_>) -> bool {
        match self {
            Self::BearerToken => matches!(session, Session::Json),
            Self::ClientCertificate | Self::RegistrarCertificate | Self::HttpBasic => {
                matches!(session, Session::Tls(_))
            }
            Self::CmpMac | Self::CmpSignature | Self::RegistrarSignature => {
                matches!(session, Session::CmpTransaction(_))
            }
            Self::AcmeAccount => matches!(session, Session::AcmeOrder { .. }),
        }
    }
}

impl Freshness<'_> {
    /// Whether there is such an answer in a session of this kind: key authorizations are ACME's.
    const fn counts_in(self, session: Session<'_>) -> bool {
        match self {
            Self::Nonce(_) | Self::NotProven => true,
            Self::KeyAuthorization(_) => matches!(session, Session::AcmeOrder { .. }),
        }
    }
}

impl<'a> CertificationRequest<'a> {
    /// Its octets, by which it is told from others and which are kept with the decision.
    pub(crate) fn octets(self) -> &'a [u8] {
        match self {
            Self::Pkcs10(octets) => octets,
            Self::Crmf(request) => request.view().as_der(),
            Self::RaVerified(request) => request.as_der(),
            Self::Presented { csr, .. } => csr.as_der(),
        }
    }
}

impl Names {
    /// The alternative names of a certificate: those that were proven.
    pub(crate) fn alternative_names(&self) -> Vec<GeneralName> {
        match self {
            Self::Proven(proven) => proven.iter().map(|proven| proven.name.clone()).collect(),
            Self::OfAccount | Self::Only(_) => Vec::new(),
        }
    }

    /// The extension that holds the names which were proven; critical where the subject is empty (RFC 5280, section
    /// 4.2.1.6).
    pub(crate) fn extension(&self, subject: &NameView) -> Option<Vec<u8>> {
        let names = self.alternative_names();
        (!names.is_empty()).then(|| build::subject_alt_name(subject.is_empty(), &names))
    }
}

impl Applicant {
    /// What stands against a certificate of this subject for the key of a request.
    pub(crate) fn check_subject(
        &self,
        intent: Intent,
        subject: &NameView,
        key: &CertifiableKey,
    ) -> Result<(), Violation> {
        match (&self.names, intent) {
            (Names::OfAccount | Names::Proven(_), Intent::New) => Ok(()),
            // There is no certificate that it would be in place of.
            (Names::OfAccount | Names::Proven(_), Intent::Renewal) => Err(own_codes::RENEWAL_OTHER_SUBJECT.violation()),
            (Names::Only(own), _) if own != subject => Err(own_codes::SUBJECT_NOT_HOLDERS.violation()),
            (Names::Only(own), Intent::Renewal) if own != key.requested_subject() => {
                Err(own_codes::RENEWAL_OTHER_SUBJECT.violation())
            }
            (Names::Only(_), Intent::New | Intent::Renewal) => Ok(()),
        }
    }
}

/// What became of the nonce of a request.
enum Spendable {
    Nonce(Nonce),
    Spent(IssuedChain),
}

impl Service {
    /// Decides on a certificate for the key of a request; a refusal holds every violation.
    ///
    /// The same request with the same nonce gets the same answer again; the same nonce with anything else
    /// is refused. Without a nonce the same request gets the same certificate for ten minutes.
    pub(crate) fn enroll(&self, applicant: &Applicant, request: EnrollmentRequest<'_>) -> Result<Issuing, Error> {
        let account = &*applicant.account;
        if !account.may(Capability::Issue) {
            return Err(Error::NotPermitted(Capability::Issue));
        }
        if !applicant.by.counts_in(request.session) || !request.freshness.counts_in(request.session) {
            return Err(Error::NotAuthenticated);
        }
        let profile = self.permitted_profile(account, request.profile)?;
        let octets = request.request.octets();
        if octets.len() > CSR_OCTETS {
            return Err(Error::BodyTooLarge { limit: CSR_OCTETS });
        }
        let digest = self.recorder.request_digest(&[profile.name().as_bytes(), octets]);
        let context = request.session.possession_context();
        let deciding = match request.freshness {
            Freshness::Nonce(nonce) => match self.spendable(account, profile, request.session, nonce, &digest)? {
                Spendable::Spent(chain) => return Ok(Issuing::Decided(chain)),
                Spendable::Nonce(nonce) => {
                    let answered = Answered { nonce: Some(nonce.octets()), possession_context: context };
                    let judged = self.judge_request(applicant, profile, request, answered)?;
                    let nonce = self.of_order(&judged, account, request.session)?.unwrap_or(nonce);
                    judged.spending(nonce, digest)
                }
            },
            Freshness::KeyAuthorization(answer) => {
                // An order gets one certificate, however often it is asked for.
                let digest = self.recorder.request_digest(&[profile.name().as_bytes(), octets, context]);
                let nonce = key_authorization_nonce(answer, request)?;
                let answered = Answered { nonce, possession_context: context };
                let judged = self.judge_request(applicant, profile, request, answered)?;
                let nonce = self.without_nonce(&judged, account, request.session, &digest)?;
                judged.spending(nonce, digest)
            }
            Freshness::NotProven => {
                match profile.freshness() {
                    FreshnessRule::Required => {
                        return Err(own_codes::FRESHNESS_REQUIRED.refusal());
                    }
                    FreshnessRule::WhenGiven => {}
                }
                let answered = Answered { nonce: None, possession_context: context };
                let judged = self.judge_request(applicant, profile, request, answered)?;
                let nonce = self.without_nonce(&judged, account, request.session, &digest)?;
                judged.spending(nonce, digest)
            }
        };
        Ok(Issuing::Deciding(Box::new(deciding)))
    }

    /// What is spent for a request without a nonce of this authority: what was granted is told again for a while, what
    /// was refused is judged anew.
    fn without_nonce(
        &self,
        judged: &Judged,
        account: &Account,
        session: Session<'_>,
        digest: &Digest,
    ) -> Result<Nonce, Error> {
        if let Some(nonce) = self.of_order(judged, account, session)? {
            return Ok(nonce);
        }
        Ok(if judged.is_granted() {
            self.mint.unproven(digest, account.name(), self.now())?
        } else {
            self.mint.unrepeated(self.now())?
        })
    }

    /// What is spent for a certificate that an ACME order gets: the same for every request, whatever its evidence
    /// answers. The order's own nonce is spent with it, since it is good for nothing else.
    fn of_order(&self, judged: &Judged, account: &Account, session: Session<'_>) -> Result<Option<Nonce>, Error> {
        match session {
            Session::AcmeOrder { id, expires, .. } if judged.is_granted() => {
                Ok(Some(self.mint.of_order(id, account.name(), expires)?))
            }
            Session::AcmeOrder { .. } | Session::CmpTransaction(_) | Session::Json | Session::Tls(_) => Ok(None),
        }
    }

    /// The certificate that was recorded for an ACME order of an account, which may be one that nobody was told of.
    pub(crate) fn certificate_of_order(
        &self,
        account: &Account,
        id: &str,
        expires: i64,
    ) -> Result<Option<IssuedChain>, Error> {
        let nonce = self.mint.of_order(id, account.name(), expires)?;
        let spent = self.store.spent(nonce.octets())?;
        spent.map(|spent| self.replay(&spent, &spent.request)).transpose()
    }

    /// The nonce of a request, or what was answered to this very request when it was spent.
    fn spendable(
        &self,
        account: &Account,
        profile: &Profile,
        session: Session<'_>,
        nonce: &[u8],
        digest: &Digest,
    ) -> Result<Spendable, Error> {
        let purpose = Purpose::Certificate { profile: profile.name(), session };
        let minted = self.mint.recognize(nonce, purpose, account.name())?;
        let octets = *minted.octets();
        match minted.fresh(self.now()) {
            Ok(nonce) => Ok(Spendable::Nonce(nonce)),
            // It may have been spent in time, for this very request. For a fresh one the store says so when the
            // decision is recorded, which saves every other request a look.
            Err(error) => {
                let spent = self.store.spent(&octets)?.ok_or(error)?;
                self.replay(&spent, digest).map(Spendable::Spent)
            }
        }
    }
}

/// The nonce that statements must hold for the key authorization of an order: its digest, which is the context of the order's
/// session; none where the key that is to be certified has signed this very key authorization.
fn key_authorization_nonce<'a>(
    answer: &KeyAuthorizationAnswer,
    request: EnrollmentRequest<'a>,
) -> Result<Option<&'a [u8]>, Error> {
    let digest = request.session.possession_context();
    match (answer, request.request) {
        (KeyAuthorizationAnswer::InStatement, _) => Ok(Some(digest)),
        (KeyAuthorizationAnswer::Signed(signed), CertificationRequest::Presented { csr, .. })
            if signed.is(csr.spki(), digest) =>
        {
            Ok(None)
        }
        (KeyAuthorizationAnswer::Signed(_), _) => Err(rejected(&[Rejection::plain(codes::POP_CONTEXT)])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_one_protocols_counts_in_no_other() {
        let order = Session::AcmeOrder { id: "1", key_authorization: &[0; 32], expires: 0 };
        let sessions = [Session::Json, Session::Tls(&[0; 32]), Session::CmpTransaction(b"1"), order];
        let counted = |credential: Credential| sessions.map(|session| credential.counts_in(session));
        for (credential, wanted) in [
            (Credential::BearerToken, [true, false, false, false]),
            (Credential::ClientCertificate, [false, true, false, false]),
            (Credential::HttpBasic, [false, true, false, false]),
            (Credential::RegistrarCertificate, [false, true, false, false]),
            (Credential::RegistrarSignature, [false, false, true, false]),
            (Credential::CmpMac, [false, false, true, false]),
            (Credential::CmpSignature, [false, false, true, false]),
            (Credential::AcmeAccount, [false, false, false, true]),
        ] {
            assert_eq!(counted(credential), wanted, "{credential:?}");
        }
        let answered = sessions
            .map(|session| Freshness::KeyAuthorization(&KeyAuthorizationAnswer::InStatement).counts_in(session));
        assert_eq!(answered, [false, false, false, true]);
    }
}
