//! The search for a path, from the trust anchors down to the certificate in question.
//!
//! Going down means that a certificate is considered only once a trusted key is known to have signed it.
//! Certificates that sign each other without end, but that no anchor signed, therefore cost one check each at
//! most, where a search upwards would follow every way through them.

use std::sync::Arc;

use vouchsafe_evidence::limits;
use vouchsafe_evidence::tpm::HashAlg;
use vouchsafe_evidence::x509::{CertView, NameView, SpkiView};

use super::PathInputs;
use super::certificate::{Deviation, Examined};
use super::error::{PathDefect, PathError};
use super::names::Constraints;
use super::policy::PolicyState;
use super::revocation::{self, ListIssuer, Revocation};
use crate::crypto::{Legacy, SignatureAlgorithm, SignatureBudget, SignatureError, verify_authority_signature};
use crate::trust::{Allowances, FormatTrust, TrustAnchor};

/// How often one certificate is considered at different places of different paths. Honest bundles need one or
/// two; without a bound, CAs that really certify each other could be walked through in ever new orders.
const EXPANSIONS: u8 = 16;

/// A certificate that may stand between anchor and last certificate.
struct Candidate<'a> {
    certificate: &'a CertView,
    examined: Result<Arc<Examined>, PathError>,
    expansions: u8,
}

/// A trusted issuer, and what holds for everything beneath it.
#[derive(Clone)]
struct Issuer<'a> {
    /// `None` for an anchor that is a bare key.
    name: Option<&'a NameView>,
    key: &'a SpkiView,
    key_identifier: Option<Vec<u8>>,
    /// Whether its key usage allows it to sign revocation lists.
    may_sign_lists: bool,
    /// What exactly this key is allowed beyond the rules.
    allowances: Allowances,
    /// CA certificates that may follow.
    path_length: u64,
    constraints: Vec<Arc<Constraints>>,
    policy: PolicyState,
    /// Candidates between the anchor and here, topmost first.
    between: Vec<usize>,
    /// What was tolerated of them.
    deviations: Vec<Deviation>,
    /// What is known of their revocation.
    revocation: Revocation,
}

/// No limit on the CA certificates that may follow.
const UNLIMITED: u64 = u64::MAX;

/// What was found beneath an anchor.
struct Way {
    /// Candidates between anchor and last certificate, topmost first.
    between: Vec<usize>,
    deviations: Vec<Deviation>,
    revocation: Revocation,
}

/// Whether an issuer signed a certificate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Issued {
    No,
    Yes,
    /// Yes, with SHA-1, which its key is pinned for.
    BySha1,
}

/// A path that was found.
pub(super) struct Found<'a> {
    /// Certificates between anchor and last one, topmost first.
    pub between: Vec<CertView>,
    /// Where it begins.
    pub anchor: &'a TrustAnchor,
    /// What was tolerated of any certificate of the path, each once.
    pub deviations: Vec<Deviation>,
    /// What is known of the revocation of every certificate of the path.
    pub revocation: Revocation,
}

/// One search.
pub(super) struct Search<'a, 'b> {
    last: &'a CertView,
    candidates: Vec<Candidate<'a>>,
    trust: &'a FormatTrust,
    inputs: PathInputs,
    budget: &'b mut SignatureBudget,
    best: PathError,
}

impl<'a, 'b> Search<'a, 'b> {
    pub(super) fn new(
        last: &'a CertView,
        candidates: Vec<&'a CertView>,
        trust: &'a FormatTrust,
        inputs: PathInputs,
        budget: &'b mut SignatureBudget,
    ) -> Self {
        let candidates = candidates
            .into_iter()
            .map(|certificate| Candidate {
                certificate,
                examined: Examined::new(certificate, inputs.profile.processed()).map(Arc::new),
                expansions: 0,
            })
            .collect();
        Self { last, candidates, trust, inputs, budget, best: PathError::of_path(PathDefect::NoPath) }
    }

    /// Tries every anchor. An anchor that holds the key in question is none for it: what is to be proven
    /// cannot vouch for itself.
    pub(super) fn run(mut self) -> Result<Found<'a>, PathError> {
        let trust = self.trust;
        for anchor in trust.anchors().iter().filter(|anchor| !anchor.key().same_key(self.last.spki())) {
            if !self.is_named(anchor) {
                continue;
            }
            let issuer = match self.issuer_of_anchor(anchor) {
                Ok(issuer) => issuer,
                Err(error) => {
                    self.note(error);
                    continue;
                }
            };
            if let Some(way) = self.descend(&issuer)? {
                let between = way.between.iter().filter_map(|index| self.candidates.get(*index));
                let between = between.map(|candidate| candidate.certificate.clone()).collect();
                return Ok(Found { between, anchor, deviations: way.deviations, revocation: way.revocation });
            }
        }
        Err(self.best)
    }

    /// Whether the last certificate or a candidate names the anchor as its issuer.
    fn is_named(&self, anchor: &TrustAnchor) -> bool {
        let Some(name) = anchor.subject() else { return true };
        let mut issuers = self.candidates.iter().map(|candidate| candidate.certificate.issuer());
        self.last.issuer().matches(name) || issuers.any(|issuer| issuer.matches(name))
    }

    fn note(&mut self, error: PathError) {
        if error.is_more_specific_than(&self.best) {
            self.best = error;
        }
    }

    /// Notes why a way leads nowhere, unless the whole search ends here.
    fn fail_or_note(&mut self, error: PathError) -> Result<(), PathError> {
        if error.defect() == PathDefect::SignatureLimit {
            return Err(error);
        }
        self.note(error);
        Ok(())
    }

    /// Looks for the last certificate beneath `issuer`. An error ends the whole search; `None` means that there
    /// is no path this way, for the reason that was noted.
    fn descend(&mut self, issuer: &Issuer<'a>) -> Result<Option<Way>, PathError> {
        let issued = self.issued(self.last, issuer)?;
        if issued != Issued::No {
            match self.conclude(issuer, issued) {
                Ok(way) => return Ok(Some(way)),
                Err(error) => self.fail_or_note(error)?,
            }
        }
        for index in self.children(issuer) {
            let Some(candidate) = self.candidates.get_mut(index) else { continue };
            if candidate.expansions >= EXPANSIONS {
                continue;
            }
            candidate.expansions += 1;
            let (certificate, examined) = (candidate.certificate, candidate.examined.clone());
            if issuer.between.len() + 2 + self.inputs.profile.certificates_beneath() >= limits::CHAIN_LENGTH {
                self.note(PathError::of_path(PathDefect::ChainLength));
                continue;
            }
            let issued = self.issued(certificate, issuer)?;
            if issued == Issued::No {
                continue;
            }
            match examined.and_then(|examined| self.next_issuer(certificate, &examined, (issuer, issued), index)) {
                Ok(next) => {
                    if let Some(found) = self.descend(&next)? {
                        return Ok(Some(found));
                    }
                }
                Err(error) => self.fail_or_note(error)?,
            }
        }
        Ok(None)
    }

    /// Candidates that name `issuer` as theirs and are not on the path yet, those whose key identifier agrees
    /// first.
    fn children(&self, issuer: &Issuer<'a>) -> Vec<usize> {
        let mut children: Vec<(bool, usize)> = Vec::new();
        for (index, candidate) in self.candidates.iter().enumerate() {
            let named = issuer.name.is_none_or(|name| candidate.certificate.issuer().matches(name));
            if named && !issuer.between.contains(&index) {
                let authority = candidate.examined.as_ref().ok().and_then(|known| known.authority_key_identifier());
                let differs = matches!((authority, &issuer.key_identifier), (Some(a), Some(b)) if a != b.as_slice());
                children.push((differs, index));
            }
        }
        children.sort_unstable();
        children.into_iter().map(|(_, index)| index).collect()
    }

    /// Whether `certificate` names `issuer` and carries its signature; if only the former, the reason is noted.
    fn issued(&mut self, certificate: &CertView, issuer: &Issuer<'a>) -> Result<Issued, PathError> {
        if issuer.name.is_some_and(|name| !certificate.issuer().matches(name)) {
            return Ok(Issued::No);
        }
        let Allowances { sha1, small_exponent, .. } = issuer.allowances;
        let legacy = Legacy { sha1, small_exponent };
        let defect = match check_signature(certificate, issuer.key, legacy, self.budget) {
            Ok(issued) => return Ok(issued),
            Err(PathDefect::SignatureLimit) => return Err(PathError::of_path(PathDefect::SignatureLimit)),
            // A bare key is tried on everything; that it did not sign something is nothing to report.
            Err(PathDefect::BadSignature) if issuer.name.is_none() => return Ok(Issued::No),
            Err(defect) => defect,
        };
        self.note(PathError::of_certificate(defect, certificate));
        Ok(Issued::No)
    }

    /// Whether `certificate` beneath `above` is revoked, and with that what is known of the whole path so far.
    fn revocation(
        &mut self,
        certificate: &CertView,
        is_ca: bool,
        above: &Issuer<'a>,
    ) -> Result<Revocation, PathDefect> {
        let issuer = ListIssuer {
            key: above.key,
            key_identifier: above.key_identifier.as_deref(),
            may_sign: above.may_sign_lists,
        };
        let (lists, PathInputs { revocation, at, .. }) = (self.trust.crls(), self.inputs);
        let known = revocation::check(certificate, is_ca, &issuer, lists, (revocation, at), self.budget)?;
        Ok(known.min(above.revocation))
    }

    /// `certificate` as an issuer beneath `above` (RFC 5280, sections 6.1.3 and 6.1.4).
    fn next_issuer(
        &mut self,
        certificate: &'a CertView,
        examined: &Examined,
        (above, issued): (&Issuer<'a>, Issued),
        index: usize,
    ) -> Result<Issuer<'a>, PathError> {
        let fail = |defect| PathError::of_certificate(defect, certificate);
        examined.check_encoding(self.inputs.profile.allowed_quirks()).map_err(fail)?;
        examined.check_validity(self.inputs.at).map_err(fail)?;
        self.inputs.profile.check_issuer(examined).map_err(fail)?;
        examined.check_is_ca().map_err(fail)?;
        let is_self_issued = certificate.subject().matches(certificate.issuer());
        if !is_self_issued {
            check_names(certificate, above).map_err(fail)?;
        }
        let policy = above.policy.after(examined.policies(), is_self_issued, false);
        if policy.is_exhausted() {
            return Err(fail(PathDefect::Policy));
        }
        let path_length = follow(above.path_length, is_self_issued).ok_or_else(|| fail(PathDefect::PathLength))?;
        let revocation = self.revocation(certificate, true, above).map_err(fail)?;
        let mut deviations = above.deviations.clone();
        tolerate(&mut deviations, examined, issued, Vec::new());
        let mut constraints = above.constraints.clone();
        constraints.extend(examined.constraints().cloned());
        let mut between = above.between.clone();
        between.push(index);
        Ok(Issuer {
            name: Some(certificate.subject()),
            key: certificate.spki(),
            key_identifier: examined.subject_key_identifier().map(<[u8]>::to_vec),
            may_sign_lists: examined.may_sign_lists(),
            allowances: self.inputs.profile.usable(certificate.spki(), self.trust.allowances(certificate.spki())),
            path_length: path_length.min(examined.path_length().unwrap_or(UNLIMITED)),
            constraints,
            policy: policy.beneath(examined.policies(), is_self_issued),
            between,
            deviations,
            revocation,
        })
    }

    /// The last certificate beneath `above` (RFC 5280, sections 6.1.3 and 6.1.5), and its profile.
    fn conclude(&mut self, above: &Issuer<'a>, issued: Issued) -> Result<Way, PathError> {
        let fail = |defect| PathError::of_certificate(defect, self.last);
        let examined = Examined::new(self.last, self.inputs.profile.processed())?;
        examined.check_encoding(self.inputs.profile.allowed_quirks()).map_err(fail)?;
        examined.check_validity(self.inputs.at).map_err(fail)?;
        let tolerated = self.inputs.profile.check_last(&examined, above.allowances).map_err(fail)?;
        check_names(self.last, above).map_err(fail)?;
        let is_self_issued = self.last.subject().matches(self.last.issuer());
        let policy = above.policy.after(examined.policies(), is_self_issued, true).concluded(examined.policies());
        if policy.is_exhausted() {
            return Err(fail(PathDefect::Policy));
        }
        if self.inputs.profile.certificates_beneath() > 0 && follow(above.path_length, is_self_issued).is_none() {
            return Err(fail(PathDefect::PathLength));
        }
        let revocation = self.revocation(self.last, examined.is_ca(), above).map_err(fail)?;
        let mut deviations = above.deviations.clone();
        tolerate(&mut deviations, &examined, issued, tolerated);
        Ok(Way { between: above.between.clone(), deviations, revocation })
    }

    /// The anchor as an issuer. What an anchor's certificate says of itself holds (RFC 5937, section 3.2); an
    /// X.509 v1 certificate and a bare key say nothing.
    fn issuer_of_anchor(&self, anchor: &'a TrustAnchor) -> Result<Issuer<'a>, PathError> {
        let mut issuer = Issuer {
            name: anchor.subject(),
            key: anchor.key(),
            key_identifier: None,
            may_sign_lists: true,
            allowances: self.inputs.profile.usable(anchor.key(), self.trust.allowances(anchor.key())),
            path_length: UNLIMITED,
            constraints: Vec::new(),
            policy: PolicyState::new(),
            between: Vec::new(),
            deviations: Vec::new(),
            revocation: Revocation::Good,
        };
        if let Some(certificate) = anchor.certificate() {
            let fail = |defect| PathError::of_certificate(defect, certificate);
            let examined = Examined::new(certificate, self.inputs.profile.processed())?;
            if !issuer.allowances.reissued {
                examined.check_validity(self.inputs.at).map_err(fail)?;
            }
            examined.check_may_be_anchor().map_err(fail)?;
            self.inputs.profile.check_issuer(&examined).map_err(fail)?;
            issuer.path_length = examined.path_length().unwrap_or(UNLIMITED);
            issuer.constraints.extend(examined.constraints().cloned());
            issuer.key_identifier = examined.subject_key_identifier().map(<[u8]>::to_vec);
            issuer.may_sign_lists = examined.may_sign_lists();
            issuer.policy = issuer.policy.beneath(examined.policies(), true);
        }
        Ok(issuer)
    }
}

/// Adds what was tolerated of one more certificate, each deviation once.
pub(super) fn tolerate(
    deviations: &mut Vec<Deviation>,
    examined: &Examined,
    issued: Issued,
    of_profile: Vec<Deviation>,
) {
    let by_sha1 = (issued == Issued::BySha1).then_some(Deviation::Sha1Signature);
    let quirks = examined.quirks().iter().copied().map(Deviation::Quirk);
    for deviation in of_profile.into_iter().chain(by_sha1).chain(quirks) {
        if !deviations.contains(&deviation) {
            deviations.push(deviation);
        }
    }
}

pub(super) fn check_signature(
    certificate: &CertView,
    key: &SpkiView,
    legacy: Legacy,
    budget: &mut SignatureBudget,
) -> Result<Issued, PathDefect> {
    if certificate.inner_algorithm().as_der() != certificate.outer_algorithm().as_der() {
        return Err(PathDefect::AlgorithmMismatch);
    }
    let algorithm =
        SignatureAlgorithm::from_der(certificate.outer_algorithm().as_der()).map_err(|_| PathDefect::WeakAlgorithm)?;
    let signed = (certificate.tbs(), None);
    match verify_authority_signature(budget, key, algorithm, signed, certificate.signature(), legacy) {
        Ok(()) if algorithm.hash() == Some(HashAlg::Sha1) => Ok(Issued::BySha1),
        Ok(()) => Ok(Issued::Yes),
        Err(SignatureError::BudgetExhausted { .. }) => Err(PathDefect::SignatureLimit),
        Err(SignatureError::Invalid | SignatureError::KeyMismatch { .. }) => Err(PathDefect::BadSignature),
        Err(SignatureError::WeakAlgorithm { .. }) => Err(PathDefect::WeakAlgorithm),
        Err(SignatureError::WeakKey { .. }) => Err(PathDefect::WeakKey),
    }
}

fn check_names(certificate: &CertView, above: &Issuer<'_>) -> Result<(), PathDefect> {
    above.constraints.iter().try_for_each(|constraints| constraints.check(certificate))
}

/// The CA certificates that may follow one more CA certificate; `None` if it may not itself be there
/// (RFC 5280, section 6.1.4 l).
const fn follow(path_length: u64, is_self_issued: bool) -> Option<u64> {
    if is_self_issued { Some(path_length) } else { path_length.checked_sub(1) }
}
