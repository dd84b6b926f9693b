//! AK certificates: exactly the content that each reason asks for, and nothing else.
//!
//! | item | reason |
//! |---|---|
//! | serial number, short validity | identification, and no revocation list that would link pseudonyms |
//! | random, unique, non-empty subject | issuer names must not be ambiguous |
//! | public key | it is what is certified |
//! | extKeyUsage, one family | a restricted key signs more than one form of statement |
//! | key identifiers | paths |
//! | policies: bootstrap method, environment | appraisal policy needs them |
//! | AK Name, of TPM keys | pins every attribute; the serial number of TPM2_CertifyX509 is recomputed with it |
//! | subjectAltName with manufacturer, model, version | certification lists are looked up by them |
//!
//! The CertifyX509 family also has: CA, pathLen 0, keyCertSign alone, critical extKeyUsage,
//! tcg-tpmaObject, and name constraints that permit nothing but its own subject's subtree.

use aws_lc_rs::rand;
use vouchsafe_evidence::oid::{self, Oid};
use vouchsafe_evidence::tpm::TpmtPublic;
use vouchsafe_evidence::x509::build;
use vouchsafe_evidence::x509::extensions::{BasicConstraints, GeneralName, KeyUsage, SubjectAltName};
use vouchsafe_evidence::x509::{CertView, NameView, SpkiView};
use vouchsafe_verifier::enrolment::{Environment, Family, HostAk, Method, QualifiedAk};

use crate::ca::CertificationAuthority;
use crate::certificate::{CertificateError, Content, DAY_SECONDS, Issued, SignedContent, sign, sign_content};
use crate::text::to_hex;

/// Random octets in a subject.
const SUBJECT_OCTETS: usize = 16;
/// An iPAddress constraint (address and mask) that covers every IPv4 address.
const EVERY_IPV4: [u8; 8] = [0; 8];
/// The same for IPv6.
const EVERY_IPV6: [u8; 32] = [0; 32];
/// A host that does not exist and never will (RFC 6761, section 6.4).
const NO_HOST: &[u8] = b"none.invalid";

/// What an AK certificate is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AkSubject<'a> {
    /// The key.
    pub(crate) key: AkKey<'a>,
    /// Manufacturer, model and version of its module, where the endorsement certificate names them.
    pub(crate) module: Option<&'a NameView>,
    /// How it was tied to its module.
    pub(crate) method: Method,
}

/// A key, its kind checked.
#[derive(Clone, Copy, Debug)]
pub(crate) enum AkKey<'a> {
    /// A TPM's, which signs nothing but what the TPM made.
    Tpm(&'a QualifiedAk),
    /// One that host software drives.
    Host(&'a HostAk),
}

impl AkKey<'_> {
    /// The public key.
    pub(crate) const fn spki(&self) -> &SpkiView {
        match self {
            Self::Tpm(key) => key.spki(),
            Self::Host(key) => key.spki(),
        }
    }

    /// Who can use it. It follows from the kind of key alone: no method raises it.
    pub(crate) const fn environment(&self) -> Environment {
        match self {
            Self::Tpm(_) => Environment::Module,
            Self::Host(_) => Environment::Host,
        }
    }
}

/// The certificates of one key, one for each family of statements that it is safe for.
#[derive(Clone, Debug)]
pub(crate) enum Families<T> {
    /// Of a TPM's key.
    Tpm {
        /// For TPMS_ATTEST.
        attest: T,
        /// For CertifyX509; absent where the key's attributes do not allow it.
        certify_x509: Option<T>,
    },
    /// Of a TPM's key that is a pseudonym.
    Pseudonym {
        /// For CertifyX509, which tells no clock.
        certify_x509: T,
    },
    /// For PKIX Evidence.
    Host {
        /// For PKIX Evidence.
        pkix_evidence: T,
    },
}

impl<T> Families<T> {
    /// Every certificate.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        let (first, second) = match self {
            Self::Tpm { attest, certify_x509 } => (attest, certify_x509.as_ref()),
            Self::Pseudonym { certify_x509 } => (certify_x509, None),
            Self::Host { pkix_evidence } => (pkix_evidence, None),
        };
        std::iter::once(first).chain(second)
    }

    /// The same families of something else.
    pub(crate) fn map<U>(self, mut each: impl FnMut(T) -> U) -> Families<U> {
        match self {
            Self::Tpm { attest, certify_x509 } => {
                Families::Tpm { attest: each(attest), certify_x509: certify_x509.map(each) }
            }
            Self::Pseudonym { certify_x509 } => Families::Pseudonym { certify_x509: each(certify_x509) },
            Self::Host { pkix_evidence } => Families::Host { pkix_evidence: each(pkix_evidence) },
        }
    }
}

/// Issues the certificates of a key, one for each family of statements that it is safe for.
pub(crate) fn issue(
    root: &CertificationAuthority,
    ak: &AkSubject<'_>,
    now: i64,
    validity_days: i64,
) -> Result<Families<Issued>, CertificateError> {
    let sign_one = |extensions_of: &dyn Fn(&NameView) -> Vec<Vec<u8>>| {
        let subject = random_subject()?;
        let mut extensions = extensions_of(&subject);
        extensions.extend(common_extensions(ak));
        sign(&root.issuer(), Content { subject, spki: ak.key.spki(), now, validity_days, extensions })
    };
    match ak.key {
        AkKey::Tpm(key) => {
            let attest = sign_one(&|_| end_entity_extensions(oid::KP_AIK_CERTIFICATE, false))?;
            let certify_x509 = if key.families().contains(&Family::CertifyX509) {
                Some(sign_one(&|subject| certify_x509_extensions(subject, key.public()))?)
            } else {
                None
            };
            Ok(Families::Tpm { attest, certify_x509 })
        }
        AkKey::Host(_) => {
            Ok(Families::Host { pkix_evidence: sign_one(&|_| end_entity_extensions(oid::KP_ATTESTATION_KEY, true))? })
        }
    }
}

/// Issues the certificate of a pseudonym: of the CertifyX509 family alone, without a name of its module, and of no time
/// finer than a day. `day` is the first second of one.
pub(crate) fn issue_pseudonym(
    root: &CertificationAuthority,
    key: &QualifiedAk,
    day: i64,
    validity_days: i64,
) -> Result<Issued, CertificateError> {
    let subject = random_subject()?;
    let mut extensions = certify_x509_extensions(&subject, key.public());
    let ak = AkSubject { key: AkKey::Tpm(key), module: None, method: Method::Manufacturer };
    extensions.extend(common_extensions(&ak));
    let not_after = day.saturating_add(validity_days.saturating_mul(DAY_SECONDS));
    sign_content(&root.issuer(), SignedContent { subject, spki: key.spki(), not_before: day, not_after, extensions })
}

/// What the certificates of every family hold, as far as there is anything to say.
fn common_extensions(ak: &AkSubject<'_>) -> Vec<Vec<u8>> {
    let mut extensions = vec![build::certificate_policies(false, &[ak.method.policy(), ak.key.environment().policy()])];
    match ak.key {
        AkKey::Tpm(key) => extensions.push(build::ak_name(key.name().as_bytes())),
        AkKey::Host(_) => {}
    }
    if let Some(module) = ak.module {
        extensions.push(build::subject_alt_name(false, &[GeneralName::Directory(module.clone())]));
    }
    extensions
}

/// For TPMS_ATTEST and for PKIX Evidence: an end entity that signs statements of one family. A purpose that stands alone is
/// critical by section 3.2 of draft-ietf-rats-pkix-key-attestation; that of keys of TPMs is not.
fn end_entity_extensions(family: Oid, is_critical: bool) -> Vec<Vec<u8>> {
    vec![
        build::basic_constraints(true, BasicConstraints { ca: false, path_length: None }),
        build::key_usage(true, KeyUsage::from_bits(KeyUsage::DIGITAL_SIGNATURE)),
        build::extended_key_usage(is_critical, &[family]),
    ]
}

/// For TPM2_CertifyX509: an issuer that can name nothing but its own device's keys.
fn certify_x509_extensions(subject: &NameView, public: &TpmtPublic) -> Vec<Vec<u8>> {
    // A zero-length constraint covers every dNSName. For rfc822Name and URI RFC 5280 has no such constraint, so that only
    // those of a host are permitted that is none.
    let permitted = [
        GeneralName::Directory(subject.clone()),
        GeneralName::Email(NO_HOST.to_vec()),
        GeneralName::Uri(NO_HOST.to_vec()),
    ];
    let excluded =
        [GeneralName::Dns(Vec::new()), GeneralName::Ip(EVERY_IPV4.to_vec()), GeneralName::Ip(EVERY_IPV6.to_vec())];
    vec![
        build::basic_constraints(true, BasicConstraints { ca: true, path_length: Some(0) }),
        build::key_usage(true, KeyUsage::from_bits(KeyUsage::KEY_CERT_SIGN)),
        build::extended_key_usage(true, &[oid::KP_CERTIFY_X509]),
        build::tpma_object(false, public.attributes().bits()),
        build::name_constraints(true, &permitted, &excluded),
    ]
}

fn random_subject() -> Result<NameView, CertificateError> {
    let mut octets = [0; SUBJECT_OCTETS];
    rand::fill(&mut octets).map_err(|_| CertificateError::Operation("the random source"))?;
    Ok(build::distinguished_name(&[(oid::COMMON_NAME, &format!("ak-{}", to_hex(&octets)))])?)
}

/// The manufacturer, model and version of an endorsement certificate, as a name of one RDN each.
///
/// # Errors
/// [`CertificateError::Malformed`] where one of them is there twice.
pub(crate) fn module_name(ek_certificate: &[u8]) -> Result<Option<NameView>, CertificateError> {
    let certificate = CertView::parse(ek_certificate)?;
    let Some(extension) = certificate.extension(oid::SUBJECT_ALT_NAME)? else { return Ok(None) };
    let names = SubjectAltName::parse(extension.value())?;
    const COPIED: [Oid; 3] = [oid::TPM_MANUFACTURER, oid::TPM_MODEL, oid::TPM_VERSION];
    for attribute in COPIED {
        names.tpm_attribute(attribute)?;
    }
    let rdns: Vec<Vec<Vec<u8>>> = names.tpm_attributes_der().into_iter().map(|attribute| vec![attribute]).collect();
    if rdns.is_empty() { Ok(None) } else { Ok(Some(build::name_from_attributes(&rdns)?)) }
}
