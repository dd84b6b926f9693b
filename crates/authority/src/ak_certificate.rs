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
//! | AK Name | pins every attribute; the serial number of TPM2_CertifyX509 is recomputed with it |
//! | subjectAltName with manufacturer, model, version | certification lists are looked up by them |
//!
//! The CertifyX509 family also has: CA, pathLen 0, keyCertSign alone, critical extKeyUsage,
//! tcg-tpmaObject, and name constraints that permit its own subject's subtree alone.

use aws_lc_rs::rand;
use vouchsafe_evidence::oid::{self, Oid};
use vouchsafe_evidence::tpm::TpmtPublic;
use vouchsafe_evidence::x509::build;
use vouchsafe_evidence::x509::extensions::{BasicConstraints, GeneralName, KeyUsage, SubjectAltName};
use vouchsafe_evidence::x509::{CertView, NameView};
use vouchsafe_verifier::enrolment::{Family, QualifiedAk};

use crate::ca::CertificationAuthority;
use crate::certificate::{CertificateError, Content, Issued, sign};
use crate::text::to_hex;

/// Random octets in a subject.
const SUBJECT_OCTETS: usize = 16;
/// An iPAddress constraint (address and mask) that covers every IPv4 address.
const EVERY_IPV4: [u8; 8] = [0; 8];
/// The same for IPv6.
const EVERY_IPV6: [u8; 32] = [0; 32];

/// What an AK certificate is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AkSubject<'a> {
    /// The key, its attributes checked.
    pub(crate) key: &'a QualifiedAk,
    /// Manufacturer, model and version of its module, where the endorsement certificate names them.
    pub(crate) module: Option<&'a NameView>,
}

/// Issues the certificate of one family.
pub(crate) fn issue(
    root: &CertificationAuthority,
    family: Family,
    ak: &AkSubject<'_>,
    now: i64,
    validity_days: i64,
) -> Result<Issued, CertificateError> {
    let subject = random_subject()?;
    let mut extensions = match family {
        Family::Attest => attest_extensions(),
        Family::CertifyX509 => certify_x509_extensions(&subject, ak.key.public()),
    };
    extensions.push(build::certificate_policies(false, &[oid::BOOTSTRAP_MANUFACTURER, oid::ENVIRONMENT_MODULE]));
    extensions.push(build::ak_name(ak.key.name().as_bytes()));
    if let Some(module) = ak.module {
        extensions.push(build::subject_alt_name(false, &[GeneralName::Directory(module.clone())]));
    }
    let content = Content { subject, spki: ak.key.spki(), now, validity_days, extensions };
    sign(&root.issuer(), content)
}

/// For TPMS_ATTEST: an end entity that signs.
fn attest_extensions() -> Vec<Vec<u8>> {
    vec![
        build::basic_constraints(true, BasicConstraints { ca: false, path_length: None }),
        build::key_usage(true, KeyUsage::from_bits(KeyUsage::DIGITAL_SIGNATURE)),
        build::extended_key_usage(false, &[oid::KP_AIK_CERTIFICATE]),
    ]
}

/// For TPM2_CertifyX509: an issuer that can name nothing but its own device's keys.
fn certify_x509_extensions(subject: &NameView, public: &TpmtPublic) -> Vec<Vec<u8>> {
    let permitted = [GeneralName::Directory(subject.clone())];
    // A zero-length constraint covers every dNSName. For rfc822Name and URI RFC 5280 cannot say "every": some
    // validators read the zero-length one so, OpenSSL 3.0 takes it to cover none.
    let excluded = [
        GeneralName::Email(Vec::new()),
        GeneralName::Dns(Vec::new()),
        GeneralName::Uri(Vec::new()),
        GeneralName::Ip(EVERY_IPV4.to_vec()),
        GeneralName::Ip(EVERY_IPV6.to_vec()),
    ];
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
