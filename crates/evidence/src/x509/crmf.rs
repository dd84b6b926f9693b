//! CertReqMsg and CertTemplate (CRMF, RFC 4211): requests as CMP carries them.

use core::ops::Range;
use std::sync::Arc;

use crate::bundle::AttestationBundle;
use crate::oid::{self, Oid};
use crate::x509::build::DerWriter;
use crate::x509::der::{Element, Reader, Tag};
use crate::x509::{AlgorithmIdentifier, CsrDefect, NameView, SpkiView};
use crate::{Malformed, Reason, limits};

const PRODUCTION: &str = "CertReqMsg";
/// Octets of a certReqId, which RFC 9483 wants to be 0 or -1.
const ID_OCTETS: usize = 4;
/// Octets of a serial number that a template names (RFC 5280, section 4.1.2.2, and the octet of its sign).
const SERIAL_OCTETS: usize = 21;
/// Controls of one request.
const CONTROLS: usize = 16;

/// What a request says that the certificate is to hold, or which certificate is meant.
///
/// ```asn1
/// CertTemplate ::= SEQUENCE { version [0] OPTIONAL, serialNumber [1] INTEGER OPTIONAL,
///     signingAlg [2] AlgorithmIdentifier OPTIONAL, issuer [3] Name OPTIONAL, validity [4] OptionalValidity OPTIONAL,
///     subject [5] Name OPTIONAL, publicKey [6] SubjectPublicKeyInfo OPTIONAL, issuerUID [7] OPTIONAL,
///     subjectUID [8] OPTIONAL, extensions [9] Extensions OPTIONAL }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertTemplate {
    serial: Option<Vec<u8>>,
    issuer: Option<NameView>,
    subject: Option<NameView>,
    spki: Option<SpkiView>,
    extensions: Vec<TemplateExtension>,
}

/// An extension that a template asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateExtension {
    /// Its type.
    pub oid: Oid,
    /// Whether it is to be critical.
    pub critical: bool,
    /// The contents of extnValue.
    pub value: Vec<u8>,
}

/// How a request proves possession of the private key (RFC 4211, section 4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Not at all.
    Absent,
    /// keyAgreement.
    KeyAgreement,
    /// keyEncipherment.
    KeyEncipherment,
    /// raVerified: a registration authority says that it has seen proof.
    RaVerified,
    /// A signature over the CertRequest, since the template names subject and key.
    Signature {
        /// The DER of the AlgorithmIdentifier.
        algorithm: Vec<u8>,
        /// The octets of the signature.
        signature: Vec<u8>,
    },
    /// A signature over a POPOSigningKeyInput of its own, which is for templates without subject or key.
    SignatureOverInput,
}

/// A control of a request (RFC 4211, section 6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// Its type.
    pub oid: Oid,
    /// The DER of its value.
    pub value: Vec<u8>,
}

/// One request in CRMF.
///
/// ```asn1
/// CertReqMsg  ::= SEQUENCE { certReq CertRequest, popo ProofOfPossession OPTIONAL, regInfo OPTIONAL }
/// CertRequest ::= SEQUENCE { certReqId INTEGER, certTemplate CertTemplate, controls Controls OPTIONAL }
/// ```
///
/// Cheap to clone. Nothing about it is verified.
#[derive(Clone, Debug)]
pub struct CrmfView(Arc<Layout>);

#[derive(Debug)]
struct Layout {
    der: Box<[u8]>,
    request: Range<usize>,
    id: i32,
    template: CertTemplate,
    controls: Vec<Control>,
    proof: Proof,
}

impl PartialEq for CrmfView {
    /// Two requests are equal if their bytes are.
    fn eq(&self, other: &Self) -> bool {
        self.0.der == other.0.der
    }
}

impl Eq for CrmfView {}

impl CrmfView {
    /// Reads the DER of one CertReqMsg. regInfo is refused: what it says, a signature of the key does not cover.
    ///
    /// # Errors
    /// [`Malformed`] unless `input` is exactly that, in strict DER, and within [`limits`].
    pub fn parse(input: &[u8]) -> Result<Self, Malformed> {
        if input.len() > limits::CSR_OCTETS {
            let reason = Reason::OverLimit { what: "request octets", limit: limits::CSR_OCTETS };
            return Err(Malformed::new(PRODUCTION, 0, reason));
        }
        let whole = Element::parse(input, PRODUCTION)?;
        if whole.tag() != Tag::SEQUENCE {
            return Err(whole.error(Reason::Unexpected(PRODUCTION)));
        }
        whole.check_strict()?;
        let mut message = whole.reader();
        let request = message.expect(Tag::SEQUENCE, "certReq")?;
        let mut fields = request.reader();
        let id = read_id(&fields.expect(Tag::INTEGER, "certReqId")?)?;
        let template = CertTemplate::from_element(&fields.expect(Tag::SEQUENCE, "certTemplate")?)?;
        let controls = match fields.optional(Tag::SEQUENCE)? {
            Some(list) => read_controls(&list)?,
            None => Vec::new(),
        };
        fields.finish()?;
        let proof = if message.is_empty() { Proof::Absent } else { read_proof(&message.element()?)? };
        message.finish()?;
        Ok(Self(Arc::new(Layout {
            der: input.into(),
            request: request.offset()..request.offset().saturating_add(request.as_der().len()),
            id,
            template,
            controls,
            proof,
        })))
    }

    /// The original DER.
    #[must_use]
    pub fn as_der(&self) -> &[u8] {
        &self.0.der
    }

    /// The original DER of the CertRequest, its header included: what [`Proof::Signature`] covers.
    #[must_use]
    pub fn request(&self) -> &[u8] {
        // The range was made from this input.
        self.0.der.get(self.0.request.clone()).unwrap_or_default()
    }

    /// certReqId.
    #[must_use]
    pub fn id(&self) -> i32 {
        self.0.id
    }

    /// certTemplate.
    #[must_use]
    pub fn template(&self) -> &CertTemplate {
        &self.0.template
    }

    /// The controls, each type at most once.
    #[must_use]
    pub fn controls(&self) -> &[Control] {
        &self.0.controls
    }

    /// How possession of the key is proven.
    #[must_use]
    pub fn proof(&self) -> &Proof {
        &self.0.proof
    }

    /// The attestation bundle in the extension id-aa-attestation of the template (draft-ietf-lamps-csr-attestation-29,
    /// 4.3); `None` if the extension is not there.
    ///
    /// # Errors
    /// [`CsrDefect::Bundle`] if the value is no bundle.
    pub fn attestation_bundle(&self) -> Result<Option<AttestationBundle>, CsrDefect> {
        let mut found = self.0.template.extensions.iter().filter(|extension| extension.oid == oid::AA_ATTESTATION);
        let bundle = found.next().map(|extension| AttestationBundle::parse(&extension.value));
        Ok(bundle.transpose()?)
    }
}

impl CertTemplate {
    /// Reads the SEQUENCE of a CertTemplate, whose DER its parser checked. issuerUID and subjectUID are refused; what is
    /// said of version, signature algorithm and validity is the issuer's to decide and not kept.
    ///
    /// # Errors
    /// [`Malformed`] unless each field is there at most once, in order, and an extension is not there twice.
    pub fn from_element(element: &Element<'_>) -> Result<Self, Malformed> {
        let mut fields = element.reader();
        let mut template = Self::default();
        fields.optional(Tag::context(0))?;
        if let Some(serial) = fields.optional(Tag::context(1))? {
            if serial.integer()?.len() > SERIAL_OCTETS {
                let reason = Reason::OverLimit { what: "octets of a serial number", limit: SERIAL_OCTETS };
                return Err(serial.error(reason));
            }
            template.serial = Some(crate::x509::der::significant(serial.contents()).to_vec());
        }
        fields.optional(Tag::context_constructed(2))?;
        template.issuer = read_name(&mut fields, 3)?;
        fields.optional(Tag::context_constructed(4))?;
        template.subject = read_name(&mut fields, 5)?;
        if let Some(key) = fields.optional(Tag::context_constructed(6))? {
            let mut spki = DerWriter::new();
            spki.primitive(Tag::SEQUENCE, key.contents());
            template.spki = Some(SpkiView::parse(&spki.into_der())?);
        }
        if let Some(list) = fields.optional(Tag::context_constructed(9))? {
            template.extensions = read_extensions(&list)?;
        }
        fields.finish()?;
        Ok(template)
    }

    /// serialNumber as a big-endian magnitude.
    #[must_use]
    pub fn serial(&self) -> Option<&[u8]> {
        self.serial.as_deref()
    }

    /// issuer.
    #[must_use]
    pub const fn issuer(&self) -> Option<&NameView> {
        self.issuer.as_ref()
    }

    /// subject.
    #[must_use]
    pub const fn subject(&self) -> Option<&NameView> {
        self.subject.as_ref()
    }

    /// publicKey.
    #[must_use]
    pub const fn spki(&self) -> Option<&SpkiView> {
        self.spki.as_ref()
    }

    /// extensions, each type at most once.
    #[must_use]
    pub fn extensions(&self) -> &[TemplateExtension] {
        &self.extensions
    }
}

fn read_id(element: &Element<'_>) -> Result<i32, Malformed> {
    let octets = element.integer()?;
    if octets.len() > ID_OCTETS {
        return Err(element.error(Reason::OverLimit { what: "octets of certReqId", limit: ID_OCTETS }));
    }
    let sign = if octets.first().is_some_and(|first| first & 0x80 != 0) { -1 } else { 0 };
    Ok(octets.iter().fold(sign, |value, octet| (value << 8) | i32::from(*octet)))
}

/// A Name under an explicit tag, as every CHOICE has it.
fn read_name(fields: &mut Reader<'_>, number: u8) -> Result<Option<NameView>, Malformed> {
    let Some(tagged) = fields.optional(Tag::context_constructed(number))? else { return Ok(None) };
    let mut inner = tagged.reader();
    let name = NameView::from_element(&inner.expect(Tag::SEQUENCE, "Name")?)?;
    inner.finish()?;
    Ok(Some(name))
}

fn read_extensions(list: &Element<'_>) -> Result<Vec<TemplateExtension>, Malformed> {
    let mut members = list.reader();
    let mut extensions: Vec<TemplateExtension> = Vec::new();
    while !members.is_empty() {
        let member = members.expect(Tag::SEQUENCE, "Extension")?;
        if extensions.len() >= limits::EXTENSIONS {
            return Err(member.error(Reason::OverLimit { what: "extensions", limit: limits::EXTENSIONS }));
        }
        let mut fields = member.reader();
        let oid = fields.oid("extnID")?;
        let critical = match fields.optional(Tag::BOOLEAN)? {
            Some(flag) if !flag.boolean()? => return Err(flag.error(Reason::NotDer("DEFAULT that is encoded"))),
            flag => flag.is_some(),
        };
        let value = fields.octet_string("extnValue")?.to_vec();
        fields.finish()?;
        if extensions.iter().any(|other| other.oid == oid) {
            return Err(member.error(Reason::Duplicate("extension")));
        }
        extensions.push(TemplateExtension { oid, critical, value });
    }
    if extensions.is_empty() { Err(list.error(Reason::Missing("Extension"))) } else { Ok(extensions) }
}

fn read_controls(list: &Element<'_>) -> Result<Vec<Control>, Malformed> {
    let mut members = list.reader();
    let mut controls: Vec<Control> = Vec::new();
    while !members.is_empty() {
        let member = members.expect(Tag::SEQUENCE, "control")?;
        if controls.len() >= CONTROLS {
            return Err(member.error(Reason::OverLimit { what: "controls", limit: CONTROLS }));
        }
        let mut fields = member.reader();
        let oid = fields.oid("control type")?;
        let value = fields.element()?.as_der().to_vec();
        fields.finish()?;
        if controls.iter().any(|other| other.oid == oid) {
            return Err(member.error(Reason::Duplicate("control")));
        }
        controls.push(Control { oid, value });
    }
    if controls.is_empty() { Err(list.error(Reason::Missing("control"))) } else { Ok(controls) }
}

fn read_proof(element: &Element<'_>) -> Result<Proof, Malformed> {
    const RA_VERIFIED: Tag = Tag::context(0);
    const SIGNATURE: Tag = Tag::context_constructed(1);
    const KEY_ENCIPHERMENT: Tag = Tag::context_constructed(2);
    const KEY_AGREEMENT: Tag = Tag::context_constructed(3);
    match element.tag() {
        RA_VERIFIED if element.contents().is_empty() => Ok(Proof::RaVerified),
        SIGNATURE => read_signature(element),
        KEY_ENCIPHERMENT => Ok(Proof::KeyEncipherment),
        KEY_AGREEMENT => Ok(Proof::KeyAgreement),
        _ => Err(element.error(Reason::Unexpected("ProofOfPossession"))),
    }
}

/// POPOSigningKey ::= SEQUENCE { poposkInput [0] OPTIONAL, algorithmIdentifier, signature BIT STRING }
fn read_signature(element: &Element<'_>) -> Result<Proof, Malformed> {
    let mut fields = element.reader();
    let has_input = fields.optional(Tag::context_constructed(0))?.is_some();
    let algorithm = AlgorithmIdentifier::from_element(&fields.expect(Tag::SEQUENCE, "algorithmIdentifier")?)?;
    let signature = fields.bit_string("signature")?;
    fields.finish()?;
    let not_octets = element.error(Reason::NotDer("signature that is not whole octets"));
    let signature = signature.whole_octets().ok_or(not_octets)?;
    if has_input {
        return Ok(Proof::SignatureOverInput);
    }
    Ok(Proof::Signature { algorithm: algorithm.as_der().to_vec(), signature: signature.to_vec() })
}

/// Why a request in CRMF is not one that can be judged.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum CrmfDefect {
    /// The template names no key.
    #[error("the template has no publicKey; keys are not generated here")]
    NoKey,
    /// The template names no subject (RFC 9483, section 4.1.1), not even an empty one.
    #[error("the template has no subject; an empty one would do")]
    NoSubject,
    /// There is no proof of possession.
    #[error("the request has no proof of possession")]
    NoProof,
    /// raVerified, which is a registration authority's to say.
    #[error("raVerified is no proof of possession from an end entity")]
    RaVerified,
    /// A proof for keys that do not sign.
    #[error("{0} is not supported as proof of possession; a signature is")]
    UnsupportedProof(&'static str),
}

/// A request in CRMF that names subject and key, with a signature over both that is yet to be verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCrmf {
    view: CrmfView,
    subject: NameView,
    spki: SpkiView,
    algorithm: Vec<u8>,
    signature: Vec<u8>,
}

impl SignedCrmf {
    /// The request, if it has everything that a judgement takes.
    ///
    /// # Errors
    /// Every variant of [`CrmfDefect`].
    pub fn new(view: CrmfView) -> Result<Self, CrmfDefect> {
        let (algorithm, signature) = match view.proof() {
            Proof::Signature { algorithm, signature } => (algorithm.clone(), signature.clone()),
            Proof::Absent => return Err(CrmfDefect::NoProof),
            Proof::RaVerified => return Err(CrmfDefect::RaVerified),
            Proof::KeyAgreement => return Err(CrmfDefect::UnsupportedProof("keyAgreement")),
            Proof::KeyEncipherment => return Err(CrmfDefect::UnsupportedProof("keyEncipherment")),
            Proof::SignatureOverInput => return Err(CrmfDefect::UnsupportedProof("poposkInput")),
        };
        let spki = view.template().spki().ok_or(CrmfDefect::NoKey)?.clone();
        let subject = view.template().subject().ok_or(CrmfDefect::NoSubject)?.clone();
        Ok(Self { view, subject, spki, algorithm, signature })
    }

    /// The request as it came.
    #[must_use]
    pub const fn view(&self) -> &CrmfView {
        &self.view
    }

    /// The subject that is asked for.
    #[must_use]
    pub const fn subject(&self) -> &NameView {
        &self.subject
    }

    /// The key to be certified.
    #[must_use]
    pub const fn spki(&self) -> &SpkiView {
        &self.spki
    }

    /// The DER of the AlgorithmIdentifier of the proof.
    #[must_use]
    pub fn algorithm(&self) -> &[u8] {
        &self.algorithm
    }

    /// The octets of the proof, a signature over [`CrmfView::request`].
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(write: impl FnOnce(&mut DerWriter)) -> Vec<u8> {
        let mut writer = DerWriter::new();
        write(&mut writer);
        writer.into_der()
    }

    fn key() -> SpkiView {
        SpkiView::from_ec(crate::x509::NamedCurve::P256, &[1; 32], &[2; 32]).unwrap()
    }

    /// A request of these fields of its template, with this proof.
    fn request(template: impl FnOnce(&mut DerWriter), proof: &[u8]) -> Vec<u8> {
        write(|message| {
            message.sequence(|message| {
                message.sequence(|request| {
                    request.uint(0).sequence(template);
                });
                message.raw(proof);
            });
        })
    }

    fn subject_and_key(template: &mut DerWriter) {
        template.constructed(Tag::context_constructed(5), |subject| {
            subject.sequence(|_| {});
        });
        let spki = key();
        let contents = Element::parse(spki.as_der(), "SPKI").unwrap().contents().to_vec();
        template.primitive(Tag::context_constructed(6), &contents);
    }

    fn signature() -> Vec<u8> {
        write(|proof| {
            proof.constructed(Tag::context_constructed(1), |signing| {
                signing.sequence(|algorithm| {
                    algorithm.oid(oid::ECDSA_WITH_SHA256);
                });
                signing.bit_string(&[7; 8], 0);
            });
        })
    }

    #[test]
    fn a_whole_request_is_read() {
        let der = request(
            |template| {
                subject_and_key(template);
                template.constructed(Tag::context_constructed(9), |list| {
                    list.sequence(|extension| {
                        extension.oid(oid::KEY_USAGE).boolean(true).octet_string(&[3, 2, 7, 128]);
                    });
                });
            },
            &signature(),
        );
        let view = CrmfView::parse(&der).unwrap();
        assert_eq!((view.id(), view.as_der()), (0, &der[..]));
        assert_eq!(view.template().extensions()[0].value, [3, 2, 7, 128]);
        assert!(view.template().extensions()[0].critical);
        assert_eq!(view.attestation_bundle().unwrap(), None);
        let signed = SignedCrmf::new(view.clone()).unwrap();
        assert_eq!((signed.spki(), signed.signature()), (&key(), &[7; 8][..]));
        assert!(signed.subject().is_empty());
        assert!(der.windows(view.request().len()).any(|window| window == view.request()));
        for end in 0..der.len() {
            assert!(CrmfView::parse(&der[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn every_other_proof_is_refused_by_name() {
        let constructed = |number| {
            write(|proof| {
                proof.primitive(Tag::context_constructed(number), &[]);
            })
        };
        let of = |proof: &[u8]| SignedCrmf::new(CrmfView::parse(&request(subject_and_key, proof)).unwrap());
        assert_eq!(of(&[]).unwrap_err(), CrmfDefect::NoProof);
        assert_eq!(of(&[0x80, 0]).unwrap_err(), CrmfDefect::RaVerified);
        assert_eq!(of(&constructed(2)).unwrap_err(), CrmfDefect::UnsupportedProof("keyEncipherment"));
        assert_eq!(of(&constructed(3)).unwrap_err(), CrmfDefect::UnsupportedProof("keyAgreement"));
        assert!(CrmfView::parse(&request(subject_and_key, &[0x80, 1, 0])).is_err());
        assert!(CrmfView::parse(&request(subject_and_key, &[0x84, 0])).is_err());
        let without = SignedCrmf::new(CrmfView::parse(&request(|_| {}, &signature())).unwrap());
        assert_eq!(without.unwrap_err(), CrmfDefect::NoKey);
    }

    #[test]
    fn fields_out_of_order_and_twice_are_refused() {
        let empty_name = |template: &mut DerWriter, number| {
            template.constructed(Tag::context_constructed(number), |name| {
                name.sequence(|_| {});
            });
        };
        assert!(CrmfView::parse(&request(|template| empty_name(template, 3), &[])).is_ok());
        for numbers in [[5, 3], [5, 5], [3, 7]] {
            let der = request(|template| numbers.into_iter().for_each(|number| empty_name(template, number)), &[]);
            assert!(CrmfView::parse(&der).is_err(), "{numbers:?}");
        }
        let twice = request(
            |template| {
                template.constructed(Tag::context_constructed(9), |list| {
                    for _ in 0..2 {
                        list.sequence(|extension| {
                            extension.oid(oid::KEY_USAGE).octet_string(&[]);
                        });
                    }
                });
            },
            &[],
        );
        assert_eq!(CrmfView::parse(&twice).unwrap_err().reason, Reason::Duplicate("extension"));
    }
}
