//! Who signed Evidence: every signature is checked, and those that count are told from the others.

use vouchsafe_evidence::formats::pkix_evidence::{EvidenceView, SignatureBlock};
use vouchsafe_evidence::limits;
use vouchsafe_evidence::oid;
use vouchsafe_evidence::x509::extensions::KeyUsage;
use vouchsafe_evidence::x509::{CertView, Quirk, SpkiView};

use super::store::{self, StoredKey};
use super::{ID, codes};
use crate::authenticate::{Context, has_purpose};
use crate::crypto::{SignatureAlgorithm, SignatureBudget, SignatureError, verify_signature};
use crate::path::{
    ChainProfile, Deviation, Examined, PathDefect, PathError, PathInputs, ValidatedPath, VendorProfile, VendorRules,
    check_trusted, validate_path,
};
use crate::rejection::{self, Rejection};
use crate::trust::{Allowances, FormatTrust};

/// Certificates of attestation keys: digitalSignature, no CA, and the purpose id-kp-attestationKey (3.2), which no other
/// family of statements and no anyExtendedKeyUsage may stand beside (DESIGN, "The attesting key").
static RULES: VendorRules = VendorRules {
    name: "PKIX Evidence attestation key",
    quirks: &[
        Quirk::ExplicitDefault,
        Quirk::GeneralizedTimeBefore2050,
        Quirk::NonMinimalKeyUsage,
        Quirk::UnsortedRdnSet,
    ],
    processed: &[],
    check_last: check_attestation_key,
    pinned: &[],
};

const PROFILE: ChainProfile = ChainProfile::Vendor(VendorProfile::new(&RULES));

fn check_attestation_key(certificate: &Examined, _: Allowances) -> Result<Vec<Deviation>, PathDefect> {
    let purposes = certificate.purposes();
    let foreign = [oid::KP_AIK_CERTIFICATE, oid::KP_CERTIFY_X509, oid::KP_EK_CERTIFICATE, oid::ANY_EXTENDED_KEY_USAGE];
    if !purposes.contains(&oid::KP_ATTESTATION_KEY) || foreign.iter().any(|other| purposes.contains(other)) {
        return Err(PathDefect::WrongFamily);
    }
    if certificate.is_ca() {
        return Err(PathDefect::IsCa);
    }
    let issuing = KeyUsage::KEY_CERT_SIGN | KeyUsage::CRL_SIGN;
    match certificate.key_usage() {
        Some(usage) if usage.contains(KeyUsage::DIGITAL_SIGNATURE) && usage.bits() & issuing == 0 => Ok(Vec::new()),
        Some(_) | None => Err(PathDefect::KeyUsage),
    }
}

/// Who signed, and on whose word these keys attest.
pub(super) struct Signers {
    /// Those that count: named by the Evidence where it names any, and trusted. In an order of their own, never none.
    pub endorsed: Vec<Endorsed>,
    /// Keys whose signatures hold and count for nothing: not named, or not trusted.
    pub counter_signers: Vec<SpkiView>,
    /// How many keys that ak-spki names have not signed.
    pub missing: usize,
}

/// An attestation key that is trusted.
pub(super) struct Endorsed {
    /// The key.
    pub key: SpkiView,
    /// The algorithm of its signature.
    pub algorithm: SignatureAlgorithm,
    /// Its certificate, if trust in it rests on one.
    pub certificate: Option<CertView>,
    /// The path to an anchor; `None` where the trust store holds the key or its certificate as it stands.
    pub path: Option<ValidatedPath>,
    /// What was tolerated of a certificate without a path.
    pub deviations: Vec<Deviation>,
    /// Whether a mark says that its module is one in software: that of the anchor of its path, or one of the key itself.
    pub is_virtual: bool,
}

/// A key whose signature holds.
struct Verified {
    key: SpkiView,
    algorithm: SignatureAlgorithm,
    certificate: Option<CertView>,
}

/// What was found to identify a signer.
struct Candidate {
    key: SpkiView,
    certificate: Option<CertView>,
}

/// What signers are judged with.
struct Judge<'a, 'b, 'c> {
    context: &'b mut Context<'c>,
    trust: &'c FormatTrust,
    stored: Vec<StoredKey>,
    /// Certificates that came with the Evidence or beside it.
    pool: Vec<CertView>,
    view: &'a EvidenceView<'a>,
}

impl Signers {
    /// Checks every signature, and which of them count.
    ///
    /// - Every block holds, by every member of its SignerIdentifier: one that does not, or whose key is not known,
    ///   refuses all (section 6).
    /// - Where ak-spki names keys, one of them has signed; how many have not is claimed, since one half of a pair could be
    ///   stripped (10.3). Who signed without being named is a counter-signer and counts for nothing.
    /// - At least one of the signers is trusted, and none of them has a certificate beneath a trusted root that is damaged,
    ///   expired, revoked or for something else.
    pub(super) fn check(view: &EvidenceView<'_>, context: &mut Context<'_>) -> Result<Self, Rejection> {
        if view.signatures().is_empty() {
            return Err(Rejection::plain(codes::UNSIGNED));
        }
        let trust = context.trust.format(ID);
        let pool = view.intermediates().iter().chain(context.certificates).cloned().collect();
        let mut judge = Judge { context, trust, stored: store::keys(trust), pool, view };
        let mut verified: Vec<Verified> = Vec::new();
        for block in view.signatures() {
            let signer = judge.verify(block)?;
            if !verified.iter().any(|known| known.key.same_key(&signer.key)) {
                verified.push(signer);
            }
        }
        let named = view.elements().transaction.as_ref().map(|of| of.attestation_keys.as_slice()).unwrap_or_default();
        let missing = missing_of(named, &verified)?;
        let counts = |signer: &Verified| named.is_empty() || named.iter().any(|key| key.same_key(&signer.key));
        let (signers, others): (Vec<_>, Vec<_>) = verified.into_iter().partition(counts);
        let counter_signers = others.into_iter().map(|of| of.key).collect();
        let mut found = Self { endorsed: Vec::new(), counter_signers, missing };
        let mut failure: Option<Failure> = None;
        for signer in signers {
            let key = signer.key.clone();
            match judge.endorse(signer) {
                Ok(endorsed) => found.endorsed.push(endorsed),
                Err(stop) if stop.is_final() => return Err(stop.into()),
                Err(why) => {
                    failure = Some(match failure {
                        Some(before) => before.more_specific(why),
                        None => why,
                    });
                    found.counter_signers.push(key);
                }
            }
        }
        match (found.endorsed.is_empty(), failure) {
            (true, Some(failure)) => Err(failure.into()),
            (true, None) => Err(Rejection::plain(codes::SIGNER_UNTRUSTED)),
            (false, _) => {
                // The order of blocks means nothing.
                found.endorsed.sort_by(|a, b| a.key.as_der().cmp(b.key.as_der()));
                Ok(found)
            }
        }
    }
}

/// Whether one of the signatures is by this key, whoever it belongs to: possession, and no trust.
pub(crate) fn is_signed_by(view: &EvidenceView<'_>, key: &SpkiView, budget: &mut SignatureBudget) -> bool {
    view.signatures().iter().any(|block| {
        SignatureAlgorithm::from_der(block.algorithm)
            .is_ok_and(|algorithm| verify_signature(budget, key, algorithm, view.tbs(), block.signature).is_ok())
    })
}

/// How many of the named keys have not signed; policy says whether that is one half of a pair that was stripped.
fn missing_of(named: &[SpkiView], verified: &[Verified]) -> Result<usize, Rejection> {
    let signed = |key: &&SpkiView| verified.iter().any(|signer| signer.key.same_key(key));
    match named.iter().filter(signed).count() {
        0 if !named.is_empty() => Err(Rejection::plain(codes::SIGNER_NOT_NAMED)),
        signed => Ok(named.len().saturating_sub(signed)),
    }
}

/// Why a signer is not trusted.
enum Failure {
    Path(PathError),
    Unknown,
}

impl Failure {
    /// Whether nothing that others signed makes up for it: a certificate that hangs beneath a trusted root and is damaged,
    /// expired, revoked or for something else. One of a hierarchy that is not known here only counts for nothing.
    fn is_final(&self) -> bool {
        match self {
            Self::Path(error) => !is_of_unknown_hierarchy(error),
            Self::Unknown => false,
        }
    }

    fn more_specific(self, other: Self) -> Self {
        match (self, other) {
            (Self::Path(one), Self::Path(other)) => Self::Path(one.more_specific(other)),
            (path @ Self::Path(_), Self::Unknown) | (Self::Unknown, path) => path,
        }
    }
}

fn is_of_unknown_hierarchy(error: &PathError) -> bool {
    matches!(error.defect(), PathDefect::NoAnchor | PathDefect::NoPath)
}

impl From<Failure> for Rejection {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Path(error) => error.into(),
            Failure::Unknown => Self::plain(codes::SIGNER_UNTRUSTED),
        }
    }
}

impl Judge<'_, '_, '_> {
    /// Checks one signature by everything that its block says of the signer.
    fn verify(&mut self, block: &SignatureBlock<'_>) -> Result<Verified, Rejection> {
        let algorithm =
            SignatureAlgorithm::from_der(block.algorithm).map_err(|_| Rejection::plain(codes::ALGORITHM))?;
        let signer = &block.signer;
        let certified = signer.certificate.as_ref().map(|certificate| {
            let key = certificate.spki().clone();
            Candidate { key, certificate: Some(certificate.clone()) }
        });
        let bare = signer.spki.as_ref().map(|spki| Candidate { key: spki.clone(), certificate: None });
        let named: Vec<Candidate> = certified.into_iter().chain(bare).collect();
        let candidates = match signer.key_id {
            None => Vec::new(),
            Some(key_id) => {
                let is_named = |of: &Candidate| store::identifies(key_id, &of.key, of.certificate.as_ref());
                if named.iter().any(is_named) { Vec::new() } else { self.by_identifier(key_id)? }
            }
        };
        for candidate in &named {
            self.check(block, &candidate.key, algorithm)?;
        }
        let identified = match (signer.key_id, candidates.is_empty()) {
            (Some(_), false) => Some(self.first_valid(block, candidates, algorithm)?),
            (Some(_) | None, _) => None,
        };
        named
            .into_iter()
            .next()
            .or(identified)
            .map(|of| Verified { key: of.key, algorithm, certificate: of.certificate })
            .ok_or_else(|| Rejection::plain(codes::SIGNER_UNRESOLVED))
    }

    /// The keys that this identifier may be of: those of the store first, then those of certificates that came along.
    fn by_identifier(&self, key_id: &[u8]) -> Result<Vec<Candidate>, Rejection> {
        let stored = self.stored.iter().filter(|stored| stored.has_identifier(key_id));
        let stored = stored.map(|of| Candidate { key: of.key.clone(), certificate: of.certificate.clone() });
        let known = self.pool.iter().chain(self.trust.intermediates());
        let known = known
            .filter(|certificate| has_purpose(certificate, oid::KP_ATTESTATION_KEY))
            .filter(|certificate| store::identifies(key_id, certificate.spki(), Some(certificate)))
            .map(|of| Candidate { key: of.spki().clone(), certificate: Some(of.clone()) });
        let found: Vec<Candidate> = stored.chain(known).take(limits::CERTIFICATES_OF_ONE_KEY).collect();
        if found.is_empty() {
            let message = format!("No key that is known has the identifier {}.", crate::hex::encode(key_id));
            return Err(Rejection::new(codes::SIGNER_UNRESOLVED, message));
        }
        Ok(found)
    }

    /// The first of the keys that one identifier may be of that made the signature.
    fn first_valid(
        &mut self,
        block: &SignatureBlock<'_>,
        candidates: Vec<Candidate>,
        algorithm: SignatureAlgorithm,
    ) -> Result<Candidate, Rejection> {
        let mut failure = Rejection::plain(codes::SIGNER_UNRESOLVED);
        for candidate in candidates {
            match self.check(block, &candidate.key, algorithm) {
                Ok(()) => return Ok(candidate),
                Err(stop) if stop.code() == rejection::codes::LIMIT_SIGNATURE_CHECKS.id => return Err(stop),
                Err(why) => failure = why,
            }
        }
        Err(failure)
    }

    fn check(
        &mut self,
        block: &SignatureBlock<'_>,
        key: &SpkiView,
        algorithm: SignatureAlgorithm,
    ) -> Result<(), Rejection> {
        verify_signature(&mut self.context.budget, key, algorithm, self.view.tbs(), block.signature).map_err(|error| {
            let code = match error {
                SignatureError::BudgetExhausted { .. } => rejection::codes::LIMIT_SIGNATURE_CHECKS,
                SignatureError::Invalid => codes::BAD_SIGNATURE,
                SignatureError::KeyMismatch { .. } => codes::ALGORITHM_MISMATCH,
                SignatureError::WeakAlgorithm { .. } => codes::WEAK_ALGORITHM,
                SignatureError::WeakKey { .. } => codes::WEAK_KEY,
            };
            Rejection::new(code, format!("{} ({error})", code.meaning))
        })
    }

    /// On whose word a key attests: by one of its certificates that has a path to an anchor, or else because the trust
    /// store holds the key itself, in `keys/` or as an anchor. What a certificate there says of itself holds.
    fn endorse(&mut self, signer: Verified) -> Result<Endorsed, Failure> {
        let Verified { key, algorithm, certificate } = signer;
        let beside = self.pool.iter().chain(self.trust.intermediates());
        let beside = beside
            .filter(|other| other.spki().same_key(&key) && has_purpose(other, oid::KP_ATTESTATION_KEY))
            .take(limits::CERTIFICATES_OF_ONE_KEY);
        let mut certificates: Vec<CertView> = certificate.into_iter().collect();
        for other in beside {
            if !certificates.contains(other) {
                certificates.push(other.clone());
            }
        }
        let mut failure: Option<PathError> = None;
        for certificate in certificates {
            let inputs = PathInputs { profile: PROFILE, at: self.context.at, revocation: self.context.revocation };
            match validate_path(&certificate, &self.pool, self.trust, inputs, &mut self.context.budget) {
                Ok(path) => {
                    let is_virtual = path.anchor().is_virtual() || self.is_marked_virtual(&key);
                    let (certificate, path, deviations) = (Some(certificate), Some(path), Vec::new());
                    return Ok(Endorsed { key, algorithm, certificate, path, deviations, is_virtual });
                }
                Err(error) => {
                    failure = Some(match failure {
                        Some(before) => before.more_specific(error),
                        None => error,
                    });
                }
            }
        }
        match failure {
            Some(error) if !is_of_unknown_hierarchy(&error) => Err(Failure::Path(error)),
            failure => self.trusted_as_it_stands(key, algorithm, failure),
        }
    }

    fn trusted_as_it_stands(
        &self,
        key: SpkiView,
        algorithm: SignatureAlgorithm,
        failure: Option<PathError>,
    ) -> Result<Endorsed, Failure> {
        let stored = self.stored.iter().map(|stored| (&stored.key, stored.certificate.as_ref()));
        let anchors = self.trust.anchors().iter().map(|anchor| (anchor.key(), anchor.certificate()));
        let Some((_, certificate)) = stored.chain(anchors).find(|(known, _)| known.same_key(&key)) else {
            return Err(failure.map_or(Failure::Unknown, Failure::Path));
        };
        let deviations = match certificate {
            Some(certificate) => check_trusted(certificate, PROFILE, self.context.at).map_err(Failure::Path)?,
            None => Vec::new(),
        };
        let is_virtual = self.is_marked_virtual(&key);
        Ok(Endorsed { key, algorithm, certificate: certificate.cloned(), path: None, deviations, is_virtual })
    }

    /// Whether the trust store holds this key with a mark as that of a module in software. Where it holds it more than
    /// once, one such mark suffices.
    fn is_marked_virtual(&self, key: &SpkiView) -> bool {
        let stored = self.stored.iter().map(|stored| (&stored.key, stored.is_virtual));
        let anchors = self.trust.anchors().iter().map(|anchor| (anchor.key(), anchor.is_virtual()));
        stored.chain(anchors).any(|(known, is_virtual)| is_virtual && known.same_key(key))
    }
}
