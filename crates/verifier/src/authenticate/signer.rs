//! Who signed: finding the attestation key behind a statement, and on whose word it is one.

use vouchsafe_evidence::limits;
use vouchsafe_evidence::oid::{self, Oid};
use vouchsafe_evidence::statement::FormatId;
use vouchsafe_evidence::tpm::{Name, ObjectAttributes, TpmsAttest, TpmtPublic};
use vouchsafe_evidence::x509::extensions::{self, ExtendedKeyUsage};
use vouchsafe_evidence::x509::{CertView, NameView, SpkiView};

use super::{Authenticated, Context, Parsed, tpm_signature};
use crate::crypto::{SignatureAlgorithm, SignatureError, verify_signature};
use crate::path::{ChainProfile, Deviation, PathError, PathInputs, Revocation, ValidatedPath, validate_path};
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
    /// A certificate with a path to a trust anchor.
    Certificate(AkCertificate),
    /// Another attestation key, itself certified, that certified this one's Name.
    Link {
        /// The certificate at the head of the chain of links.
        root: AkCertificate,
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

    /// Its own certificate, where it has one.
    pub(crate) const fn certificate(&self) -> Option<&AkCertificate> {
        match &self.endorser {
            Endorser::Certificate(certificate) => Some(certificate),
            Endorser::Link { .. } => None,
        }
    }

    /// The certificate that trust in it rests on, its own or the head of its links.
    pub(crate) const fn root(&self) -> &AkCertificate {
        match &self.endorser {
            Endorser::Certificate(certificate) | Endorser::Link { root: certificate, .. } => certificate,
        }
    }

    /// The key of [`AttestingKey::root`].
    pub(crate) const fn root_key(&self) -> &SpkiView {
        match &self.endorser {
            Endorser::Certificate(_) => &self.spki,
            Endorser::Link { root_key, .. } => root_key,
        }
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
    /// Reads the extensions of a validated AK certificate. A malformed one rejects; it never counts as absent.
    fn new(path: ValidatedPath) -> Result<Self, Rejection> {
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

fn read<'a, T>(
    certificate: &'a CertView,
    oid: Oid,
    parse: impl FnOnce(&'a [u8]) -> Result<T, vouchsafe_evidence::Malformed>,
) -> Result<Option<T>, vouchsafe_evidence::Malformed> {
    certificate.extension(oid)?.map(|extension| parse(extension.value())).transpose()
}

/// The EKU and chain profile of AK certificates for statements of `format`.
fn family(format: FormatId) -> (Oid, ChainProfile) {
    match format {
        FormatId::TpmCertifyX509 => (oid::KP_CERTIFY_X509, ChainProfile::AkCertifyX509),
        FormatId::TpmCertify
        | FormatId::TpmQuote
        | FormatId::TpmEk
        | FormatId::PkixEvidence
        | FormatId::KeyPop
        | FormatId::Cmw => (oid::KP_AIK_CERTIFICATE, ChainProfile::AkAttest),
    }
}

/// Whether a certificate names this key purpose, among whatever others.
fn has_purpose(certificate: &CertView, purpose: Oid) -> bool {
    read(certificate, oid::EXTENDED_KEY_USAGE, ExtendedKeyUsage::parse)
        .is_ok_and(|found| found.is_some_and(|usage| usage.contains(purpose)))
}

/// Whether a certificate says, truly or not, that its key is an attestation key of any family.
pub(crate) fn names_attesting_key(certificate: &CertView) -> bool {
    [oid::KP_AIK_CERTIFICATE, oid::KP_CERTIFY_X509, oid::KP_ATTESTATION_KEY]
        .into_iter()
        .any(|purpose| has_purpose(certificate, purpose))
}

/// The distinct keys of `certificates`, in their order.
fn distinct_keys<'a>(certificates: impl Iterator<Item = &'a CertView>) -> Vec<&'a SpkiView> {
    let mut keys: Vec<&SpkiView> = Vec::new();
    for certificate in certificates {
        if !keys.iter().any(|key| key.same_key(certificate.spki())) {
            keys.push(certificate.spki());
        }
    }
    keys
}

/// The attestation key of this family that has a certificate in the bundle and signed the attestation; `None`
/// where no such key did.
pub(super) fn endorsed(
    format: FormatId,
    attestation: Option<(&TpmsAttest, &[u8])>,
    context: &mut Context<'_>,
) -> Result<Option<AttestingKey>, Rejection> {
    let Some((attest, signature)) = attestation else { return Ok(None) };
    let (purpose, _) = family(format);
    let candidates = context.certificates.iter().filter(|c| has_purpose(c, purpose));
    for key in distinct_keys(candidates) {
        match tpm_signature::verify(&mut context.budget, key, signature, attest) {
            Ok(()) => return certified(format, key, None, context).map(Some),
            Err(stop) if stop.code() == codes::LIMIT_SIGNATURE_CHECKS.id => return Err(stop),
            Err(_) => {}
        }
    }
    Ok(None)
}

/// The attestation key behind `key`, through any of its certificates (those for `name`, if one is asked for) that
/// has a valid path: two may be there, one of them expired.
fn certified(
    format: FormatId,
    key: &SpkiView,
    name: Option<&NameView>,
    context: &mut Context<'_>,
) -> Result<AttestingKey, Rejection> {
    let (purpose, profile) = family(format);
    let own: Vec<&CertView> = context
        .certificates
        .iter()
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
    for certificate in own {
        let trust = context.trust.format(format.id());
        let inputs = PathInputs { profile, at: context.at, revocation: context.revocation };
        match validate_path(certificate, context.certificates, trust, inputs, &mut context.budget) {
            Ok(path) => {
                let certificate = AkCertificate::new(path)?;
                return Ok(AttestingKey { spki: key.clone(), endorser: Endorser::Certificate(certificate) });
            }
            Err(error) => {
                failure = Some(match failure {
                    Some(before) => before.more_specific(error),
                    None => error,
                });
            }
        }
    }
    Err(failure.map_or_else(|| Rejection::plain(codes::AK_CERTIFICATE_MISSING), Rejection::from))
}

/// The attestation key that signed `leaf` directly: the issuer by name and by key, of the CertifyX509 family.
pub(super) fn certificate_issuer(
    format: FormatId,
    leaf: &CertView,
    algorithm: SignatureAlgorithm,
    context: &mut Context<'_>,
) -> Result<AttestingKey, Rejection> {
    let (purpose, _) = family(format);
    let named: Vec<&CertView> = context.certificates.iter().filter(|c| c.subject().matches(leaf.issuer())).collect();
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
        let Some(public) = link.key().and_then(|key| key.public.as_ref()).filter(|public| can_only_attest(public))
        else {
            continue;
        };
        let Some(spki) = public.spki() else { continue };
        if link.format() != FormatId::TpmCertify {
            continue;
        }
        match tpm_signature::verify(&mut context.budget, &spki, signature, attest) {
            Ok(()) => {
                // The link's root must be trusted for this format too: a root good for one is nothing for another.
                let root_key = link.signer().root_key().clone();
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
