//! Certificates on the word of a registration authority (RFC 9483, section 5.2; RFC 4211, section 4, raVerified).
//!
//! Nothing about such a key is proven here: whoever vouches for it has appraised evidence, or has not. That is why this is
//! a way of its own, beside the one that verdicts open, and a narrow one: the profile must rest on nothing else, the account
//! must have the right to register, and it must show a credential that is a registration authority's and no device's. A
//! [`RegisteredKey`] is made in this file alone, after all three.

use serde_json::{Value, json};
use vouchsafe_evidence::oid::{self, Oid};
use vouchsafe_evidence::x509::der::{Element, Tag};
use vouchsafe_evidence::x509::extensions::{ExtendedKeyUsage, GeneralName, KeyUsage, SubjectAltName};
use vouchsafe_evidence::x509::{CertView, CrmfView, CsrView, NameView, Proof, SpkiView, TemplateExtension, build};
use vouchsafe_evidence::{Malformed, limits, pem};
use vouchsafe_verifier::crypto::{SignatureAlgorithm, SignatureBudget, verify_signature};

use crate::certificate::CertificateError;
use crate::certified_key::{key_identity, subject_digest};
use crate::config::Capability;
use crate::enroll::{Applicant, CertificationRequest, Credential, Intent, Names};
use crate::error::{Error, Violation, own_codes};
use crate::issue::purposes;
use crate::lint::check_requested;
use crate::profile::{EvidenceRule, Profile, SubjectsPerKey};
use crate::protocol::acme::Identifier;
use crate::service::Service;
use crate::store::Certified;

/// id-kp-cmcRA (RFC 6402, section 2.10): the certificate is a registration authority's.
const KP_CMC_RA: Oid = Oid::constant("1.3.6.1.5.5.7.3.28");

/// A request for which a registration authority says that it has seen proof of possession.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RaVerifiedRequest {
    view: CrmfView,
    subject: NameView,
    spki: SpkiView,
}

impl RaVerifiedRequest {
    /// The request, if it is one: raVerified, with subject and key.
    pub(crate) fn new(view: &CrmfView) -> Option<Self> {
        let (Proof::RaVerified, Some(subject), Some(spki)) =
            (view.proof(), view.template().subject(), view.template().spki())
        else {
            return None;
        };
        let (subject, spki) = (subject.clone(), spki.clone());
        Some(Self { view: view.clone(), subject, spki })
    }

    /// The original DER.
    pub(crate) fn as_der(&self) -> &[u8] {
        self.view.as_der()
    }
}

/// A key that a registration authority vouches for, with the name that it says it has. Not proven here.
#[derive(Debug)]
pub(crate) struct RegisteredKey {
    spki: SpkiView,
    account: String,
    credential: &'static str,
    possession: &'static str,
}

impl RegisteredKey {
    /// The key.
    pub(crate) const fn spki(&self) -> &SpkiView {
        &self.spki
    }

    /// What the record says in place of a verdict.
    pub(crate) fn report(&self) -> Value {
        json!({
            "verdict": "not-appraised",
            "rests_on": "registration-authority",
            "account": self.account,
            "credential": self.credential,
            "possession": self.possession,
        })
    }
}

/// What a registration authority asks for, as far as the profile gives it.
#[derive(Debug)]
pub(crate) struct Registered {
    pub(crate) key: RegisteredKey,
    pub(crate) subject: NameView,
    pub(crate) names: Vec<GeneralName>,
    /// subjectAltName, where there is one.
    pub(crate) extension: Option<Vec<u8>>,
    pub(crate) certified: Certified,
}

/// Whether a certificate's extKeyUsage says that it is a registration authority's.
pub(crate) fn is_registration_authority(certificate: &CertView) -> bool {
    has_purpose(certificate, KP_CMC_RA)
}

/// Whether a certificate's extKeyUsage names this purpose.
pub(crate) fn has_purpose(certificate: &CertView, purpose: Oid) -> bool {
    match certificate.extension(oid::EXTENDED_KEY_USAGE) {
        Ok(Some(usage)) => ExtendedKeyUsage::parse(usage.value()).is_ok_and(|usage| usage.contains(purpose)),
        Ok(None) | Err(_) => false,
    }
}

/// By what an applicant is a registration authority for a profile, if it is one.
///
/// A device's certificate speaks for its own subject, whatever right its account has; a bearer token and an ACME account
/// belong to protocols in which registration authorities do not speak.
fn registrar(applicant: &Applicant, profile: &Profile) -> Option<&'static str> {
    match profile.evidence() {
        EvidenceRule::RegistrationAuthority => {}
        EvidenceRule::Appraised => return None,
    }
    if !applicant.account.may(Capability::Register) || !applicant.account.may_use_profile(profile) {
        return None;
    }
    match &applicant.names {
        Names::OfAccount => {}
        Names::Only(_) | Names::Proven(_) => return None,
    }
    match applicant.by {
        Credential::HttpBasic => Some("http-basic"),
        Credential::CmpMac => Some("cmp-mac"),
        Credential::RegistrarCertificate => Some("client-certificate"),
        Credential::RegistrarSignature => Some("cmp-signature"),
        Credential::BearerToken
        | Credential::ClientCertificate
        | Credential::CmpSignature
        | Credential::AcmeAccount => None,
    }
}

/// Whether raVerified counts from this applicant in this profile.
pub(crate) fn may_say_verified(applicant: &Applicant, profile: &Profile) -> bool {
    registrar(applicant, profile).is_some()
}

/// A request, whatever its syntax, with what it asks for.
struct Asked {
    subject: NameView,
    spki: SpkiView,
    extensions: Vec<TemplateExtension>,
    possession: &'static str,
}

impl Asked {
    fn read(request: CertificationRequest<'_>) -> Result<Self, Error> {
        const SIGNED: &str = "signature";
        match request {
            CertificationRequest::RaVerified(request) => Ok(Self {
                subject: request.subject.clone(),
                spki: request.spki.clone(),
                extensions: request.view.template().extensions().to_vec(),
                possession: "raVerified",
            }),
            CertificationRequest::Crmf(request) => {
                check_signature(request.spki(), request.algorithm(), request.view().request(), request.signature())?;
                Ok(Self {
                    subject: request.subject().clone(),
                    spki: request.spki().clone(),
                    extensions: request.view().template().extensions().to_vec(),
                    possession: SIGNED,
                })
            }
            CertificationRequest::Pkcs10(octets) => {
                let csr = read_csr(octets)?;
                check_signature(csr.spki(), csr.algorithm().as_der(), csr.info(), csr.signature())?;
                let extensions = requested_extensions(&csr).ok_or_else(|| {
                    let sentence = "The request has an attribute other than the extensions that it asks for.";
                    Error::Rejected(vec![own_codes::EXTENSION_NOT_PERMITTED.found(sentence.to_owned())])
                })?;
                Ok(Self { subject: csr.subject().clone(), spki: csr.spki().clone(), extensions, possession: SIGNED })
            }
            // Evidence is what such a profile does not look at.
            CertificationRequest::Presented { .. } => Err(own_codes::NOT_REGISTRAR.refusal()),
        }
    }
}

fn read_csr(octets: &[u8]) -> Result<CsrView, Error> {
    let not_one = || own_codes::NOT_A_CSR.refusal();
    if octets.len() > limits::CSR_OCTETS {
        return Err(not_one());
    }
    if octets.starts_with(b"-----BEGIN") {
        let blocks = pem::read(octets).map_err(|_| not_one())?;
        let [block] = blocks.as_slice() else { return Err(not_one()) };
        return CsrView::parse(block.contents()).map_err(|_| not_one());
    }
    CsrView::parse(octets).map_err(|_| not_one())
}

fn check_signature(spki: &SpkiView, algorithm: &[u8], signed: &[u8], signature: &[u8]) -> Result<(), Error> {
    let algorithm = SignatureAlgorithm::from_der(algorithm).map_err(|_| own_codes::POSSESSION.refusal())?;
    verify_signature(&mut SignatureBudget::new(), spki, algorithm, signed, signature)
        .map_err(|_| own_codes::POSSESSION.refusal())
}

/// The extensions that a request in PKCS #10 asks for; nothing if it has any other attribute, or one that cannot be read.
pub(crate) fn requested_extensions(csr: &CsrView) -> Option<Vec<TemplateExtension>> {
    let attributes: Vec<_> = csr.attributes().collect();
    match attributes.as_slice() {
        [] => Some(Vec::new()),
        [attribute] if attribute.oid() == oid::EXTENSION_REQUEST => match attribute.values() {
            [value] => read_extensions(value).ok(),
            _ => None,
        },
        _ => None,
    }
}

fn read_extensions(der: &[u8]) -> Result<Vec<TemplateExtension>, Malformed> {
    let list = Element::parse(der, "Extensions")?;
    let mut members = list.reader();
    let mut extensions: Vec<TemplateExtension> = Vec::new();
    while !members.is_empty() {
        let member = members.expect(Tag::SEQUENCE, "Extension")?;
        let mut fields = member.reader();
        let oid = fields.oid("extnID")?;
        let critical = match fields.optional(Tag::BOOLEAN)? {
            Some(flag) => flag.boolean()?,
            None => false,
        };
        let value = fields.octet_string("extnValue")?.to_vec();
        fields.finish()?;
        if extensions.len() >= limits::EXTENSIONS || extensions.iter().any(|other| other.oid == oid) {
            return Err(member.error(vouchsafe_evidence::Reason::Duplicate("extension")));
        }
        extensions.push(TemplateExtension { oid, critical, value });
    }
    Ok(extensions)
}

impl Service {
    /// A key with its name on the word of a registration authority; a refusal holds every violation.
    pub(crate) fn registered(
        &self,
        applicant: &Applicant,
        profile: &Profile,
        intent: Intent,
        request: CertificationRequest<'_>,
    ) -> Result<Registered, Error> {
        let credential = registrar(applicant, profile).ok_or_else(|| own_codes::NOT_REGISTRAR.refusal())?;
        let asked = Asked::read(request)?;
        let mut found = Vec::new();
        match intent {
            Intent::New => {}
            Intent::Renewal => found.push(own_codes::RENEWAL_OTHER_SUBJECT.violation()),
        }
        if let Err(error) = check_requested(&asked.subject, &asked.spki) {
            found.push(own_codes::NOT_CERTIFIABLE.found(format!("The certificate is not made: {error}.")));
        }
        let mut names = Vec::new();
        for extension in &asked.extensions {
            match granted(extension, profile) {
                Ok(granted) => names.extend(granted),
                Err(violation) => found.push(violation),
            }
        }
        found.extend(profile.names().unless_registered(applicant, &asked.subject, &names));
        if asked.subject.is_empty() && names.is_empty() {
            found.push(own_codes::SUBJECT_EMPTY.violation());
        }
        let extension = (!names.is_empty()).then(|| build::subject_alt_name(asked.subject.is_empty(), &names));
        let account = applicant.account.name().to_owned();
        let certified = certified(profile, &asked, extension.as_deref()).map_err(CertificateError::from)?;
        found.extend(self.against_key(&account, &asked.spki, Some(&certified))?);
        if !found.is_empty() {
            return Err(Error::Rejected(found));
        }
        let key = RegisteredKey { spki: asked.spki, account, credential, possession: asked.possession };
        Ok(Registered { key, subject: asked.subject, names, extension, certified })
    }
}

/// Whose key the certificate says it is.
fn certified(profile: &Profile, asked: &Asked, names: Option<&[u8]>) -> Result<Certified, Malformed> {
    let may_have_others = match profile.subjects_per_key() {
        SubjectsPerKey::One => false,
        SubjectsPerKey::Many => true,
    };
    let subject = subject_digest(&asked.subject, names)?;
    Ok(Certified::of_subject(key_identity(&asked.spki), subject, profile.name().to_owned(), may_have_others))
}

/// The alternative names of an extension that is asked for, if the profile gives them. Usages are the profile's, and none
/// beyond them may be asked for.
fn granted(extension: &TemplateExtension, profile: &Profile) -> Result<Vec<GeneralName>, Violation> {
    let malformed = |_: Malformed| own_codes::EXTENSION_NOT_PERMITTED.violation();
    if extension.oid == oid::SUBJECT_ALT_NAME {
        let names = SubjectAltName::parse(&extension.value).map_err(malformed)?;
        let is_given = |name| {
            // A name that cannot be read, a condition cannot see.
            let read = Identifier::from_general_name(name);
            read.is_some_and(|read| profile.has_alternative_names(read.kind.alternative_name()))
        };
        if !names.names().iter().all(is_given) {
            let sentence = "The request asks for an alternative name of a kind that the profile does not give, or for a malformed one.";
            return Err(own_codes::NAME_NOT_PERMITTED.found(sentence.to_owned()));
        }
        return Ok(names.names().to_vec());
    }
    if is_usage_within(extension, &purposes(profile)).map_err(malformed)? {
        return Ok(Vec::new());
    }
    let sentence = format!("The request asks for {}, which the profile does not give.", extension.oid);
    Err(own_codes::EXTENSION_NOT_PERMITTED.found(sentence))
}

/// Whether an extension that is asked for is a usage within those that certificates with these purposes have.
pub(crate) fn is_usage_within(extension: &TemplateExtension, purposes: &[Oid]) -> Result<bool, Malformed> {
    if extension.oid == oid::KEY_USAGE {
        let usage = KeyUsage::parse(&extension.value)?;
        Ok(usage.bits() & !KeyUsage::DIGITAL_SIGNATURE == 0)
    } else if extension.oid == oid::EXTENDED_KEY_USAGE {
        let usage = ExtendedKeyUsage::parse(&extension.value)?;
        Ok(usage.purposes().iter().all(|purpose| purposes.contains(purpose)))
    } else {
        Ok(false)
    }
}
