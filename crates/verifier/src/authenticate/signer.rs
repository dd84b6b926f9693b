//! Who signed: finding the attestation key behind a statement, and on whose word it is one.

use std::collections::HashSet;

use vouchsafe_evidence::limits;
use vouchsafe_evidence::oid::{self, Oid};
use vouchsafe_evidence::statement::FormatId;
use vouchsafe_evidence::tpm::{Name, ObjectAttributes, TpmsAttest, TpmtPublic};
use vouchsafe_evidence::x509::extensions::{self, ExtendedKeyUsage};
use vouchsafe_evidence::x509::{CertView, NameView, SpkiView};

use super::{Authenticated, Context, Parsed, tpm_signature};
use crate::crypto::{SignatureAlgorithm, SignatureError, verify_signature};
use crate::enrolment::{Family, families};
use crate::path::{
    ATTESTING_FAMILIES, ChainProfile, Deviation, PathError, PathInputs, Revocation, ValidatedPath, validate_path,
};
use crate::rejection::{Rejection, codes};

/// An attestation key that authenticated a statement.
#[derive(Clone, Debug)]
pub(crate) struct AttestingKey {
    spki: SpkiView,
    endorser: Endorser,
}

/// On whose word a key is an attestation key.
#[derive(Clone, Debug)]
pub(crate) enum Endorser {
    /// Certificates with a path to a trust anchor: all of the bundle's that have one, so that their order means
    /// nothing.
    Certificates(AkCertificates),
    /// Another attestation key, itself certified, that certified this one's Name.
    Link {
        /// The certificates of the key at the head of the chain of links.
        root: AkCertificates,
        /// The key of that certificate.
        root_key: SpkiView,
    },
}

impl AttestingKey {
    /// Its public key.
    pub(crate) const fn spki(&self) -> &SpkiView {
        &self.spki
    }

    /// On whose word it is one.
    pub(crate) const fn endorser(&self) -> &Endorser {
        &self.endorser
    }

    /// Its own certificates, where it has any.
    pub(crate) const fn certificates(&self) -> Option<&AkCertificates> {
        match &self.endorser {
            Endorser::Certificates(certificates) => Some(certificates),
            Endorser::Link { .. } => None,
        }
    }

    /// The certificates that trust in it rests on, its own or those of the head of its links.
    pub(crate) const fn root(&self) -> &AkCertificates {
        match &self.endorser {
            Endorser::Certificates(certificates) | Endorser::Link { root: certificates, .. } => certificates,
        }
    }

    /// The key of [`AttestingKey::root`].
    pub(crate) const fn root_key(&self) -> &SpkiView {
        match &self.endorser {
            Endorser::Certificates(_) => &self.spki,
            Endorser::Link { root_key, .. } => root_key,
        }
    }
}

/// The AK certificates of one key that have a valid path: at least one, and they do not contradict one another.
#[derive(Clone, Debug)]
pub(crate) struct AkCertificates {
    first: AkCertificate,
    others: Vec<AkCertificate>,
}

impl AkCertificates {
    /// Certificates that pin the same Name, where they pin one.
    fn new(mut all: Vec<AkCertificate>) -> Result<Self, Rejection> {
        // The order of the bundle must mean nothing, so the certificates get one of their own.
        all.sort_by(|a, b| a.view().as_der().cmp(b.view().as_der()));
        let mut all = all.into_iter();
        let first = all.next().ok_or_else(|| Rejection::plain(codes::AK_CERTIFICATE_MISSING))?;
        let found = Self { first, others: all.collect() };
        let pinned = found.name();
        let contradicted = found.iter().filter_map(AkCertificate::name).any(|name| Some(name) != pinned);
        if contradicted {
            return Err(Rejection::plain(codes::AK_NAME_MISMATCH));
        }
        Ok(found)
    }

    /// Every certificate.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &AkCertificate> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// The one that comes first in an order of their own.
    pub(crate) const fn first(&self) -> &AkCertificate {
        &self.first
    }

    /// The AK's Name, where any of them pins it.
    pub(crate) fn name(&self) -> Option<&Name> {
        self.iter().find_map(AkCertificate::name)
    }

    /// The device identity that an issuer assigned, where any of them carries one.
    pub(crate) fn device_link(&self) -> Option<&[u8]> {
        self.iter().filter_map(AkCertificate::device_link).min()
    }

    /// What was tolerated of them and of the certificates above them.
    pub(crate) fn deviations(&self) -> impl Iterator<Item = &Deviation> {
        self.iter().flat_map(AkCertificate::deviations)
    }

    /// What is known of their revocation: of all of them the least.
    pub(crate) fn revocation(&self) -> Revocation {
        self.others.iter().map(AkCertificate::revocation).fold(self.first.revocation(), Ord::min)
    }

    /// Whether any of them rests on an anchor that is marked as one of software or virtual TPMs.
    pub(crate) fn is_virtual(&self) -> bool {
        self.iter().any(AkCertificate::is_virtual)
    }
}

/// An AK certificate with a valid path, and what it says.
#[derive(Clone, Debug)]
pub(crate) struct AkCertificate {
    path: ValidatedPath,
    name: Option<Name>,
    device_link: Option<Vec<u8>>,
}

impl AkCertificate {
    /// Reads the extensions of a validated AK certificate of `family`. A malformed one rejects; it never counts as
    /// absent.
    fn new(path: ValidatedPath, family: Family) -> Result<Self, Rejection> {
        check_attributes(path.leaf(), family)?;
        let name = read(path.leaf(), oid::AK_NAME, extensions::ak_name)
            .and_then(|found| found.map(Name::parse).transpose())
            .map_err(|e| {
                Rejection::new(codes::AK_NAME_MALFORMED, format!("The AK Name extension is malformed: {e}."))
            })?;
        let device_link = read(path.leaf(), oid::DEVICE_LINK, extensions::device_link)
            .map_err(|e| {
                Rejection::new(codes::AK_DEVICE_LINK_MALFORMED, format!("The deviceLink extension is malformed: {e}."))
            })?
            .map(<[u8]>::to_vec);
        if device_link.as_ref().is_some_and(Vec::is_empty) {
            return Err(Rejection::plain(codes::AK_DEVICE_LINK_MALFORMED));
        }
        Ok(Self { path, name, device_link })
    }

    /// The certificate.
    pub(crate) const fn view(&self) -> &CertView {
        self.path.leaf()
    }

    /// The key of the certificate above it, or of the anchor.
    pub(crate) fn issuer_key(&self) -> &SpkiView {
        self.path.issuer_key()
    }

    /// Whether the trust anchor is marked as one of software or virtual TPMs.
    pub(crate) const fn is_virtual(&self) -> bool {
        self.path.anchor().is_virtual()
    }

    /// What was tolerated of it and of the certificates above it.
    pub(crate) fn deviations(&self) -> &[Deviation] {
        self.path.deviations()
    }

    /// What is known of its revocation and that of the certificates above it.
    pub(crate) const fn revocation(&self) -> Revocation {
        self.path.revocation()
    }

    /// The AK's Name, where the certificate pins it.
    pub(crate) const fn name(&self) -> Option<&Name> {
        self.name.as_ref()
    }

    /// The device identity that the issuer assigned after activation, where there is one.
    pub(crate) fn device_link(&self) -> Option<&[u8]> {
        self.device_link.as_deref()
    }
}

/// Where the certificate shows the AK's attributes, they are those of a key that is safe for its family: without
/// x509sign a key can be made to sign a certificate of the client's choice (A7, A8).
fn check_attributes(certificate: &CertView, family: Family) -> Result<(), Rejection> {
    let attributes = read(certificate, oid::TPMA_OBJECT, extensions::tpma_object)
        .map_err(|e| {
            Rejection::new(codes::AK_ATTRIBUTES, format!("The AK certificate's tcg-tpmaObject is malformed: {e}."))
        })?
        .map(ObjectAttributes::from_bits);
    match attributes {
        Some(attributes) if !families(attributes).is_some_and(|safe| safe.contains(&family)) => Err(Rejection::new(
            codes::AK_ATTRIBUTES,
            format!(
                "The AK certificate shows attributes {attributes:?}, with which the key can sign more than its family."
            ),
        )),
        Some(_) | None => Ok(()),
    }
}

fn read<'a, T>(
    certificate: &'a CertView,
    oid: Oid,
    parse: impl FnOnce(&'a [u8]) -> Result<T, vouchsafe_evidence::Malformed>,
) -> Result<Option<T>, vouchsafe_evidence::Malformed> {
    certificate.extension(oid)?.map(|extension| parse(extension.value())).transpose()
}

/// The family of statements of `format`, with the EKU and the chain profile of its AK certificates.
fn family(format: FormatId) -> (Family, Oid, ChainProfile) {
    match format {
        FormatId::TpmCertifyX509 => (Family::CertifyX509, oid::KP_CERTIFY_X509, ChainProfile::AkCertifyX509),
        FormatId::TpmCertify
        | FormatId::TpmQuote
        | FormatId::TpmEk
        | FormatId::KeyPop
        | FormatId::Cmw
        | FormatId::Listed(_) => (Family::Attest, oid::KP_AIK_CERTIFICATE, ChainProfile::AkAttest),
    }
}

/// Whether a certificate names this key purpose, among whatever others.
pub(crate) fn has_purpose(certificate: &CertView, purpose: Oid) -> bool {
    read(certificate, oid::EXTENDED_KEY_USAGE, ExtendedKeyUsage::parse)
        .is_ok_and(|found| found.is_some_and(|usage| usage.contains(purpose)))
}

/// Whether a certificate says, truly or not, that its key is an attestation key of any family.
pub(crate) fn names_attesting_key(certificate: &CertView) -> bool {
    ATTESTING_FAMILIES.into_iter().any(|purpose| has_purpose(certificate, purpose))
}

/// The distinct keys of `certificates`, in their order; one that may sign in one way only is another than one that
/// may sign in any.
fn distinct_keys<'a>(certificates: impl Iterator<Item = &'a CertView>) -> Vec<&'a SpkiView> {
    let mut seen = HashSet::new();
    certificates.map(CertView::spki).filter(|spki| seen.insert(spki.key())).collect()
}

/// The certificates that may be an attestation key's: those of the bundle, and helpers in the trust store, where
/// a certificate may lie that the bundle leaves out as known (csr-attestation-29, 4.1).
fn known_certificates<'a>(context: &Context<'a>, format: FormatId) -> impl Iterator<Item = &'a CertView> + use<'a> {
    context.certificates.iter().chain(context.trust.format(format.id()).intermediates())
}

/// The attestation key of this family that has a certificate in the bundle and signed the attestation; `None`
/// where no such key did.
pub(super) fn endorsed(
    format: FormatId,
    attestation: Option<(&TpmsAttest, &[u8])>,
    context: &mut Context<'_>,
) -> Result<Option<AttestingKey>, Rejection> {
    let Some((attest, signature)) = attestation else { return Ok(None) };
    let (_, purpose, _) = family(format);
    let candidates = known_certificates(context, format).filter(|c| has_purpose(c, purpose));
    for key in distinct_keys(candidates) {
        match tpm_signature::verify(&mut context.budget, key, signature, attest) {
            Ok(()) => return certified(format, key, None, context).map(Some),
            Err(stop) if stop.code() == codes::LIMIT_SIGNATURE_CHECKS.id => return Err(stop),
            Err(_) => {}
        }
    }
    Ok(None)
}

/// The attestation key behind `key`, by those of its certificates (for `name`, if one is asked for) that have a
/// valid path: several may be there, one of them expired. Nothing is taken from a certificate that has none.
fn certified(
    format: FormatId,
    key: &SpkiView,
    name: Option<&NameView>,
    context: &mut Context<'_>,
) -> Result<AttestingKey, Rejection> {
    let (family, purpose, profile) = family(format);
    let own: Vec<&CertView> = known_certificates(context, format)
        .filter(|certificate| certificate.spki().same_key(key) && has_purpose(certificate, purpose))
        .filter(|certificate| name.is_none_or(|name| certificate.subject().matches(name)))
        .collect();
    if own.len() > limits::CERTIFICATES_OF_ONE_KEY {
        return Err(Rejection::new(
            codes::LIMIT_CERTIFICATES,
            format!("The bundle holds {} certificates of one attestation key.", own.len()),
        ));
    }
    let mut failure: Option<PathError> = None;
    let mut valid = Vec::new();
    for certificate in own {
        let trust = context.trust.format(format.id());
        let inputs = PathInputs { profile, at: context.at, revocation: context.revocation };
        match validate_path(certificate, context.certificates, trust, inputs, &mut context.budget) {
            Ok(path) => valid.push(AkCertificate::new(path, family)?),
            Err(error) => {
                failure = Some(match failure {
                    Some(before) => before.more_specific(error),
                    None => error,
                });
            }
        }
    }
    match (valid.is_empty(), failure) {
        (true, Some(failure)) => Err(Rejection::from(failure)),
        (true, None) | (false, _) => {
            let certificates = AkCertificates::new(valid)?;
            let spki = certificates.first().view().spki().clone();
            Ok(AttestingKey { spki, endorser: Endorser::Certificates(certificates) })
        }
    }
}

/// The attestation key that signed `leaf` directly: the issuer by name and by key, of the CertifyX509 family.
pub(super) fn certificate_issuer(
    format: FormatId,
    leaf: &CertView,
    algorithm: SignatureAlgorithm,
    context: &mut Context<'_>,
) -> Result<AttestingKey, Rejection> {
    let (_, purpose, _) = family(format);
    let named: Vec<&CertView> =
        known_certificates(context, format).filter(|c| c.subject().matches(leaf.issuer())).collect();
    if named.is_empty() {
        return Err(Rejection::plain(codes::AK_CERTIFICATE_MISSING));
    }
    for key in distinct_keys(named.iter().copied()) {
        match verify_signature(&mut context.budget, key, algorithm, leaf.tbs(), leaf.signature()) {
            Ok(()) => {
                let of_family = named.iter().any(|c| c.spki().same_key(key) && has_purpose(c, purpose));
                if !of_family {
                    return Err(Rejection::plain(codes::AK_WRONG_FAMILY));
                }
                return certified(format, key, Some(leaf.issuer()), context);
            }
            Err(stop @ SignatureError::BudgetExhausted { .. }) => {
                return Err(Rejection::new(codes::LIMIT_SIGNATURE_CHECKS, stop.to_string()));
            }
            Err(
                SignatureError::Invalid
                | SignatureError::KeyMismatch { .. }
                | SignatureError::WeakAlgorithm { .. }
                | SignatureError::WeakKey { .. },
            ) => {}
        }
    }
    Err(Rejection::plain(codes::CX509_BAD_SIGNATURE))
}

/// The attestation key that signed the attestation and whose Name an already authenticated attestation key
/// certified; `None` where there is none (yet). Only statements of the TPMS_ATTEST family can be so linked.
pub(super) fn linked(
    format: FormatId,
    attestation: Option<(&TpmsAttest, &[u8])>,
    authenticated: &[Authenticated],
    context: &mut Context<'_>,
) -> Result<Option<AttestingKey>, Rejection> {
    let Some((attest, signature)) = attestation else { return Ok(None) };
    for link in authenticated {
        let Some(signer) = link.signer().tpm() else { continue };
        let publics = link.keys().iter().filter_map(|key| key.tpm()?.public.as_ref());
        let Some(public) = publics.into_iter().find(|public| can_only_attest(public)) else { continue };
        let Some(spki) = public.spki() else { continue };
        if link.format() != FormatId::TpmCertify {
            continue;
        }
        match tpm_signature::verify(&mut context.budget, &spki, signature, attest) {
            Ok(()) => {
                // The link's root must be trusted for this format too: a root good for one is nothing for another.
                let root_key = signer.root_key().clone();
                let root = certified(format, &root_key, None, context)?.root().clone();
                let endorser = Endorser::Link { root, root_key };
                return Ok(Some(AttestingKey { spki, endorser }));
            }
            Err(stop) if stop.code() == codes::LIMIT_SIGNATURE_CHECKS.id => return Err(stop),
            Err(_) => {}
        }
    }
    Ok(None)
}

/// Whether a TPM lets this key attest and nothing else that could be mistaken for it: restricted and signing,
/// made in this TPM, never decrypting, with a fixed strong scheme (DESIGN, "The attesting key").
fn can_only_attest(public: &TpmtPublic) -> bool {
    let attributes = public.attributes();
    let wanted = ObjectAttributes::FIXED_TPM
        | ObjectAttributes::FIXED_PARENT
        | ObjectAttributes::SENSITIVE_DATA_ORIGIN
        | ObjectAttributes::RESTRICTED
        | ObjectAttributes::SIGN;
    attributes.contains(wanted)
        && !attributes.contains(ObjectAttributes::DECRYPT)
        && !attributes.contains(ObjectAttributes::ENCRYPTED_DUPLICATION)
        && !attributes.has_reserved()
        && public.signing_hash().is_some_and(|hash| hash.is_strong())
}

/// Why no attestation key signed a statement: another family's did, none is there, or the signature is false.
pub(super) fn explain_unsigned(parsed: &Parsed, context: &mut Context<'_>) -> Rejection {
    let Some((attest, signature)) = parsed.attestation() else {
        return Rejection::plain(codes::CX509_BAD_SIGNATURE);
    };
    let mut best = Rejection::plain(codes::AK_CERTIFICATE_MISSING);
    for certificate in context.certificates {
        match tpm_signature::verify(&mut context.budget, certificate.spki(), signature, attest) {
            Ok(()) => return Rejection::plain(codes::AK_WRONG_FAMILY),
            Err(stop) if stop.code() == codes::LIMIT_SIGNATURE_CHECKS.id => return stop,
            Err(failure) if has_purpose(certificate, oid::KP_AIK_CERTIFICATE) => best = failure,
            Err(_) => {}
        }
    }
    best
}
