//! Enrolling an attestation key: which endorsement keys are a vendor's, and which attestation keys can only attest.
//!
//! ActivateCredential proves that an object of some Name is loaded beside an endorsement key, and nothing more:
//! software keys have Names too. So everything depends on the attributes that the Name commits to, and the whole
//! attribute word is compared with the masks below (DESIGN, "The attesting key").

mod host;
mod method;
mod renewal;

use vouchsafe_evidence::oid;
use vouchsafe_evidence::tpm::template::{AK_ATTRIBUTES, EkTemplate, PLAIN_AK_ATTRIBUTES};
use vouchsafe_evidence::tpm::{
    Curve, EccScheme, HashAlg, Name, ObjectAttributes, PublicParameters, RsaScheme, Symmetric, TpmtPublic,
};
use vouchsafe_evidence::x509::extensions::SubjectAltName;
use vouchsafe_evidence::x509::{CertView, NamedCurve, PublicKey, SpkiView};

use crate::authenticate::has_purpose;
use crate::crypto::{SignatureBudget, VerificationCache};
use crate::path::{ChainProfile, Deviation, PathError, PathInputs, Revocation, ValidatedPath, validate_path};
use crate::policy::RevocationDemand;
use crate::rejection::{Rejection, codes};
use crate::time::Instant;
use crate::trust::TrustStore;

pub use host::{AttestedAk, HostAk, authenticate_attested_ak, qualify_host_ak};
pub use method::{Environment, Method};
pub use renewal::verify_renewal;

/// Trust folder of EK certificates.
const TPM_EK: &str = "tpm-ek";
/// Endorsement key certificates that are looked at; a TPM has one for each template.
const EK_CERTIFICATES: usize = 8;
/// RSA sizes of endorsement keys whose template is known, in bits.
const EK_RSA_BITS: usize = 2048;

/// How credentials for an endorsement key are protected. It follows from the kind of key by the TCG templates
/// and is never taken from the client (A24).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EkParameters {
    /// The hash of the key's Name.
    pub name_alg: HashAlg,
    /// Bits of the AES key.
    pub aes_bits: u16,
}

/// An endorsement key whose certificate has a path to a vendor's root.
///
/// Only [`authenticate_ek`] makes one.
#[derive(Clone, Debug)]
pub struct AuthenticatedEk {
    path: ValidatedPath,
    parameters: EkParameters,
}

impl AuthenticatedEk {
    /// The endorsement key.
    #[must_use]
    pub fn spki(&self) -> &SpkiView {
        self.path.leaf().spki()
    }

    /// Its certificate.
    #[must_use]
    pub const fn certificate(&self) -> &CertView {
        self.path.leaf()
    }

    /// How credentials for it are protected.
    #[must_use]
    pub const fn parameters(&self) -> EkParameters {
        self.parameters
    }

    /// The key that issued its certificate.
    #[must_use]
    pub fn issuer_key(&self) -> &SpkiView {
        self.path.issuer_key()
    }

    /// Whether the root is marked as one of software or virtual TPMs.
    #[must_use]
    pub const fn is_virtual(&self) -> bool {
        self.path.anchor().is_virtual()
    }

    /// What was tolerated of its certificate and of those above it.
    #[must_use]
    pub fn deviations(&self) -> &[Deviation] {
        self.path.deviations()
    }

    /// What is known of the revocation of its certificate and of those above it.
    #[must_use]
    pub const fn revocation(&self) -> Revocation {
        self.path.revocation()
    }

    /// The TCG attributes manufacturer, model and version of its alternative name, each the DER of one
    /// AttributeTypeAndValue; empty where the certificate has none.
    #[must_use]
    pub fn model(&self) -> Vec<Vec<u8>> {
        let extension = self.certificate().extension(oid::SUBJECT_ALT_NAME).ok().flatten();
        extension
            .and_then(|extension| SubjectAltName::parse(extension.value()).ok())
            .map(|names| names.tpm_attributes_der())
            .unwrap_or_default()
    }
}

/// Finds among `certificates`, which came in any order, the endorsement key with a path to an anchor of the
/// folder `tpm-ek`. Of revocation the default is asked.
///
/// # Errors
/// `ek.*`, `trust.no-anchor` or `chain.*`, the most specific reason of all certificates.
pub fn authenticate_ek(
    certificates: &[CertView],
    trust: &TrustStore,
    at: Instant,
) -> Result<AuthenticatedEk, Rejection> {
    authenticate_ek_under(certificates, trust, RevocationDemand::default(), at, None)
}

/// As [`authenticate_ek`], with what policy asks of revocation, and a cache of signatures that earlier requests
/// found good.
///
/// # Errors
/// As [`authenticate_ek`].
pub fn authenticate_ek_under(
    certificates: &[CertView],
    trust: &TrustStore,
    revocation: RevocationDemand,
    at: Instant,
    cache: Option<&VerificationCache>,
) -> Result<AuthenticatedEk, Rejection> {
    let mut budget = match cache {
        Some(cache) => SignatureBudget::new().with_cache(cache, trust.version()),
        None => SignatureBudget::new(),
    };
    let candidates = ek_candidates(certificates)?;
    let inputs = PathInputs { profile: ChainProfile::Ek, at, revocation };
    authenticate_ek_within(&candidates, certificates, trust, inputs, &mut budget)
}

/// As [`authenticate_ek`], of these `candidates` alone and out of the budget of a request.
pub(crate) fn authenticate_ek_within(
    candidates: &[&CertView],
    certificates: &[CertView],
    trust: &TrustStore,
    inputs: PathInputs,
    budget: &mut SignatureBudget,
) -> Result<AuthenticatedEk, Rejection> {
    let mut failure: Option<PathError> = None;
    let mut unknown_template = false;
    for certificate in candidates {
        match validate_path(certificate, certificates, trust.format(TPM_EK), inputs, budget) {
            Ok(path) => match parameters(path.leaf().spki()) {
                Some(parameters) => return Ok(AuthenticatedEk { path, parameters }),
                None => unknown_template = true,
            },
            Err(error) => {
                failure = Some(match failure {
                    Some(before) => before.more_specific(error),
                    None => error,
                });
            }
        }
    }
    if unknown_template {
        return Err(Rejection::plain(codes::EK_TEMPLATE));
    }
    Err(failure.map_or_else(|| Rejection::plain(codes::EK_MISSING), Rejection::from))
}

/// The certificates that may be of an endorsement key: those that say so or, where none does, those that could
/// be meant. What they lack is for path validation to name.
fn ek_candidates(certificates: &[CertView]) -> Result<Vec<&CertView>, Rejection> {
    let says_so = |certificate: &&CertView| has_purpose(certificate, oid::KP_EK_CERTIFICATE);
    let named: Vec<&CertView> = certificates.iter().filter(says_so).collect();
    if named.len() > EK_CERTIFICATES {
        return Err(Rejection::new(
            codes::LIMIT_CERTIFICATES,
            format!("{} endorsement key certificates were presented; {EK_CERTIFICATES} are looked at.", named.len()),
        ));
    }
    if named.is_empty() { Ok(certificates.iter().take(EK_CERTIFICATES).collect()) } else { Ok(named) }
}

/// How credentials for an endorsement key without a certificate are protected: by the template that makes keys of its
/// kind, as for those with one. That the key is a module's is for whoever enrolls it to know.
///
/// # Errors
/// `ek.template`.
pub fn ek_parameters(spki: &SpkiView) -> Result<EkParameters, Rejection> {
    parameters(spki).ok_or_else(|| Rejection::plain(codes::EK_TEMPLATE))
}

/// The parameters of the template that makes keys of this kind.
fn parameters(spki: &SpkiView) -> Option<EkParameters> {
    let template = match spki.key() {
        PublicKey::Rsa { modulus, .. } if modulus.len() * 8 == EK_RSA_BITS => EkTemplate::L1,
        PublicKey::Ec { curve: NamedCurve::P256, .. } => EkTemplate::L2,
        PublicKey::Ec { curve: NamedCurve::P384, .. } => EkTemplate::H3,
        PublicKey::Rsa { .. }
        | PublicKey::Ec { curve: NamedCurve::P521, .. }
        | PublicKey::Ed25519(_)
        | PublicKey::MlDsa65(_)
        | PublicKey::Unknown { .. } => return None,
    };
    Some(EkParameters { name_alg: template.name_alg(), aes_bits: template.aes_bits() })
}

/// A family of statements that an attestation key may sign. Each has an AK certificate of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// TPMS_ATTEST: TPM2_Certify and TPM2_Quote.
    Attest,
    /// Certificates by TPM2_CertifyX509.
    CertifyX509,
    /// PKIX Evidence, which host software writes and has signed.
    PkixEvidence,
}

/// An attestation key that can only attest, by its own public area. That this public area is in a TPM is for
/// ActivateCredential over its Name to show.
///
/// Only [`qualify_ak`] makes one.
#[derive(Clone, Debug)]
pub struct QualifiedAk {
    public: TpmtPublic,
    name: Name,
    spki: SpkiView,
    families: &'static [Family],
}

impl QualifiedAk {
    /// Its public area, from the very bytes that were qualified.
    #[must_use]
    pub const fn public(&self) -> &TpmtPublic {
        &self.public
    }

    /// Its Name, computed from those bytes.
    #[must_use]
    pub const fn name(&self) -> &Name {
        &self.name
    }

    /// Its public key.
    #[must_use]
    pub const fn spki(&self) -> &SpkiView {
        &self.spki
    }

    /// The families of statements that it is safe for.
    #[must_use]
    pub const fn families(&self) -> &[Family] {
        self.families
    }
}

/// The bit that may be either way: it decides how guesses at the authValue count, not what the key may sign.
const INDIFFERENT: u32 = ObjectAttributes::NO_DA;

/// Judges whether a key with this public area can be made to sign anything but attestations.
///
/// - fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, restricted and sign set; decrypt,
///   encryptedDuplication, adminWithPolicy and every reserved bit clear. x509sign decides the families.
/// - nameAlg SHA-256 or better, no authorization policy, symmetric NULL.
/// - ECC P-256 or P-384, or RSA 2048 to 4096 with exponent 65537; a fixed scheme with SHA-256 or better.
///
/// # Errors
/// Every violation, not only the first.
pub fn qualify_ak(public: &[u8]) -> Result<QualifiedAk, Vec<Rejection>> {
    let public = TpmtPublic::parse(public).map_err(|e| {
        vec![Rejection::new(
            codes::AK_PUBLIC_MALFORMED,
            format!("The attestation key's public area is malformed: {e}."),
        )]
    })?;
    let mut violations = Vec::new();
    let families = families(public.attributes());
    if families.is_none() {
        violations.push(Rejection::new(
            codes::AK_ATTRIBUTES,
            format!(
                "The attestation key has attributes {:?}; wanted are {:?} or {:?}.",
                public.attributes(),
                ObjectAttributes::from_bits(AK_ATTRIBUTES),
                ObjectAttributes::from_bits(PLAIN_AK_ATTRIBUTES)
            ),
        ));
    }
    let name = public.name_alg().filter(|alg| alg.is_strong()).and_then(|_| public.name());
    if name.is_none() {
        violations.push(Rejection::plain(codes::AK_NAME_ALGORITHM));
    }
    if !public.auth_policy().is_empty() {
        violations.push(Rejection::plain(codes::AK_POLICY));
    }
    violations.extend(check_parameters(public.parameters(), public.rsa_exponent()));
    let spki = public.spki();
    if spki.is_none() {
        violations.push(Rejection::plain(codes::AK_KEY_TYPE));
    }
    match (name, spki, families) {
        (Some(name), Some(spki), Some(families)) if violations.is_empty() => {
            Ok(QualifiedAk { public, name, spki, families })
        }
        _ => Err(violations),
    }
}

/// The families that the whole attribute word allows; `None` where it is of no attestation key.
pub(crate) fn families(attributes: ObjectAttributes) -> Option<&'static [Family]> {
    match attributes.bits() & !INDIFFERENT {
        AK_ATTRIBUTES => Some(&[Family::Attest, Family::CertifyX509]),
        // Without x509sign a restricted key can be made to sign a certificate of the client's choice (A7).
        PLAIN_AK_ATTRIBUTES => Some(&[Family::Attest]),
        _ => None,
    }
}

fn check_parameters(parameters: &PublicParameters, exponent: Option<u32>) -> Vec<Rejection> {
    let (symmetric, scheme, known_size) = match parameters {
        PublicParameters::Rsa { symmetric, scheme, key_bits, .. } => {
            let hash = match scheme {
                RsaScheme::Rsassa(hash) | RsaScheme::Rsapss(hash) => Some(*hash),
                RsaScheme::Null | RsaScheme::Rsaes | RsaScheme::Oaep(_) => None,
            };
            let known_size = matches!(key_bits, 2048 | 3072 | 4096) && exponent == Some(65_537);
            (*symmetric, hash, known_size)
        }
        PublicParameters::Ecc { symmetric, scheme, curve, .. } => {
            let hash = match scheme {
                EccScheme::Ecdsa(hash) => Some(*hash),
                EccScheme::Null | EccScheme::Ecdh(_) => None,
            };
            (*symmetric, hash, matches!(curve, Curve::P256 | Curve::P384))
        }
        PublicParameters::KeyedHash { .. } | PublicParameters::SymCipher { .. } => {
            return vec![Rejection::plain(codes::AK_KEY_TYPE)];
        }
    };
    let mut violations = Vec::new();
    if !known_size {
        violations.push(Rejection::plain(codes::AK_KEY_TYPE));
    }
    if symmetric != Symmetric::Null {
        violations.push(Rejection::plain(codes::AK_SYMMETRIC));
    }
    if !scheme.is_some_and(HashAlg::is_strong) {
        violations.push(Rejection::plain(codes::AK_SCHEME));
    }
    violations
}
