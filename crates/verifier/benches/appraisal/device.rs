//! A root, an intermediate, and devices whose attesting keys sign what a TPM would.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use vouchsafe_evidence::bundle::{AttestationBundle, AttestationStatement};
use vouchsafe_evidence::oid;
use vouchsafe_evidence::statement::{TpmCertify, TpmQuote};
use vouchsafe_evidence::tpm::marshal::Writer;
use vouchsafe_evidence::tpm::{
    Curve, EccScheme, HashAlg, Name, ObjectAttributes, PcrBank, PcrSelection, PublicParameters, Symmetric, TpmtPublic,
    template,
};
use vouchsafe_evidence::x509::build::{self, CertificateTemplate, CsrTemplate};
use vouchsafe_evidence::x509::extensions::{BasicConstraints, GeneralName, KeyUsage};
use vouchsafe_evidence::x509::{CertView, NameView, NamedCurve, SpkiView};
use vouchsafe_verifier::TrustStore;

/// 2026-11-30.
pub const NOW: i64 = 1_796_000_000;
pub const NONCE: [u8; 32] = [0x5A; 32];
const YEAR: i64 = 365 * 86_400;

/// A P-256 key in software.
pub struct Key(EcdsaKeyPair);

impl Key {
    pub fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap())
    }

    fn point(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    pub fn spki(&self) -> SpkiView {
        let (x, y) = self.point()[1..].split_at(32);
        SpkiView::from_ec(NamedCurve::P256, x, y).unwrap()
    }

    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
    }

    /// Its Name as an attesting key.
    fn name(&self) -> Name {
        let attributes = ObjectAttributes::from_bits(template::AK_ATTRIBUTES);
        self.public(attributes, EccScheme::Ecdsa(HashAlg::Sha256)).name().unwrap()
    }

    fn public(&self, attributes: ObjectAttributes, scheme: EccScheme) -> TpmtPublic {
        let (x, y) = self.point()[1..].split_at(32);
        let parameters = PublicParameters::Ecc {
            symmetric: Symmetric::Null,
            scheme,
            curve: Curve::P256,
            x: x.to_vec(),
            y: y.to_vec(),
        };
        TpmtPublic::build(Some(HashAlg::Sha256), attributes, &[], parameters)
    }
}

/// One signature of a request, for whoever checks it bare.
pub struct Signed {
    pub point: Vec<u8>,
    pub message: Vec<u8>,
    pub signature: Vec<u8>,
}

impl Signed {
    fn by(key: &Key, message: &[u8], signature: &[u8]) -> Self {
        Self { point: key.point().to_vec(), message: message.to_vec(), signature: signature.to_vec() }
    }
}

/// A request with both statements, and its signatures.
pub struct Device {
    pub csr: Vec<u8>,
    pub signed: Vec<Signed>,
}

/// An attestation root and the intermediate that issues for attesting keys.
pub struct Site {
    root: Key,
    root_certificate: CertView,
    intermediate: Key,
    intermediate_certificate: CertView,
}

pub fn name(text: &str) -> NameView {
    build::name_from_text(text).unwrap()
}

fn algorithm() -> Vec<u8> {
    build::algorithm_identifier(oid::ECDSA_WITH_SHA256)
}

/// A certificate signed by `issuer`.
pub fn certificate(
    (subject, spki): (&NameView, &SpkiView),
    (issuer, key): (&NameView, &Key),
    serial: &[u8],
    extensions: Vec<Vec<u8>>,
) -> CertView {
    let template = CertificateTemplate {
        serial: serial.to_vec(),
        algorithm: algorithm(),
        issuer: issuer.clone(),
        not_before: NOW - YEAR,
        not_after: NOW + YEAR,
        subject: subject.clone(),
        spki: spki.clone(),
        extensions,
    };
    let tbs = template.tbs_der();
    CertView::parse(&build::assemble(&tbs, &algorithm(), &key.sign(&tbs))).unwrap()
}

/// The extensions of a CA certificate.
pub fn ca_extensions() -> Vec<Vec<u8>> {
    vec![
        build::basic_constraints(true, BasicConstraints { ca: true, path_length: None }),
        build::key_usage(true, KeyUsage::from_bits(KeyUsage::KEY_CERT_SIGN | KeyUsage::CRL_SIGN)),
    ]
}

impl Site {
    pub fn new() -> Self {
        let (root, intermediate) = (Key::new(), Key::new());
        let (root_name, own_name) = (name("CN=Attestation root"), name("CN=Attestation issuer 1"));
        let root_certificate = certificate((&root_name, &root.spki()), (&root_name, &root), &[1], ca_extensions());
        let own = (&own_name, &intermediate.spki());
        let intermediate_certificate = certificate(own, (&root_name, &root), &[2], ca_extensions());
        Self { root, root_certificate, intermediate, intermediate_certificate }
    }

    /// The root as the anchor of both formats.
    pub fn trust(&self) -> TrustStore {
        let root = self.root_certificate.as_der();
        let file = |format: &str| (format!("{format}/root.der"), root.to_vec());
        TrustStore::from_files([file("tpm-certify"), file("tpm-quote")]).unwrap()
    }

    pub const fn root(&self) -> (&CertView, &Key) {
        (&self.root_certificate, &self.root)
    }

    /// A device with an attesting key of its own.
    pub fn device(&self, number: usize) -> Device {
        let (ak, user) = (Key::new(), Key::new());
        let ak_certificate = self.ak_certificate(number, &ak);
        let (statements, mut signed) = statements(&ak, &user);
        let certificates = vec![self.intermediate_certificate.clone(), ak_certificate.clone()];
        let bundle = AttestationBundle::new(statements, certificates).unwrap();
        let (info, signature, csr) = request(&user, &[build::attestation_attribute(&bundle)]);
        signed.push(Signed::by(&user, &info, &signature));
        signed.push(Signed::by(&self.intermediate, ak_certificate.tbs(), ak_certificate.signature()));
        Device { csr, signed }
    }

    /// Everything that the authority puts into such a certificate.
    fn ak_certificate(&self, number: usize, ak: &Key) -> CertView {
        let ak_name = ak.name();
        let subject = name(&format!("CN=4f1c0d{number:08}"));
        let module = name("tpmVersion=id:20191023,tpmModel=swtpm,tpmManufacturer=id:00001014");
        let key_identifier = |key: &Key| digest(&SHA256, key.point()).as_ref()[..20].to_vec();
        let extensions = vec![
            build::key_usage(true, KeyUsage::from_bits(KeyUsage::DIGITAL_SIGNATURE)),
            build::extended_key_usage(false, &[oid::KP_AIK_CERTIFICATE]),
            build::subject_key_identifier(&key_identifier(ak)),
            build::authority_key_identifier(&key_identifier(&self.intermediate)),
            build::certificate_policies(false, &[oid::BOOTSTRAP_MANUFACTURER, oid::ENVIRONMENT_MODULE]),
            build::ak_name(ak_name.as_bytes()),
            build::subject_alt_name(false, &[GeneralName::Directory(module)]),
        ];
        let issuer = (self.intermediate_certificate.subject(), &self.intermediate);
        let serial = digest(&SHA256, ak.point());
        certificate((&subject, &ak.spki()), issuer, &[&[1], &serial.as_ref()[..15]].concat(), extensions)
    }
}

/// What the attesting key says of the user's key and of the platform.
pub fn statements(ak: &Key, user: &Key) -> (Vec<AttestationStatement>, Vec<Signed>) {
    let attributes = ObjectAttributes::FIXED_TPM
        | ObjectAttributes::FIXED_PARENT
        | ObjectAttributes::SENSITIVE_DATA_ORIGIN
        | ObjectAttributes::USER_WITH_AUTH
        | ObjectAttributes::SIGN;
    let public = user.public(ObjectAttributes::from_bits(attributes), EccScheme::Null);
    let certify = certify(&public, &ak.name());
    let (quote, values) = quote(&ak.name());
    let signatures = (ak.sign(&certify), ak.sign(&quote));
    let signed = vec![Signed::by(ak, &certify, &signatures.0), Signed::by(ak, &quote, &signatures.1)];
    let public = Some(public.as_bytes().to_vec());
    let certify = TpmCertify { attest: certify, signature: signatures.0, public };
    let quote = TpmQuote { attest: quote, signature: signatures.1, pcr_values: Some(values) };
    let statements = vec![
        AttestationStatement::new(oid::STATEMENT_TPM_CERTIFY, certify.to_der()),
        AttestationStatement::new(oid::STATEMENT_TPM_QUOTE, quote.to_der()),
    ];
    (statements, signed)
}

/// A request signed by `key`: what was signed, the signature, the whole.
pub fn request(key: &Key, attributes: &[Vec<u8>]) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let template = CsrTemplate { subject: name("CN=device"), spki: key.spki(), attributes: attributes.to_vec() };
    let info = template.info_der();
    let signature = key.sign(&info);
    let csr = build::assemble(&info, &algorithm(), &signature);
    (info, signature, csr)
}

const CERTIFY: u16 = 0x8017;
const QUOTE: u16 = 0x8018;

/// The head of a TPMS_ATTEST by the key of this Name.
fn attest(kind: u16, signer: &Name) -> Writer {
    let mut writer = Writer::new();
    writer.u32(0xFF54_4347).u16(kind).tpm2b(signer.qualified(&[0x40, 0, 0, 0x0B]).as_bytes()).tpm2b(&NONCE);
    writer.u64(123_456_789).u32(17).u32(0).u8(1).u64(0x2019_1023_0016_3636);
    writer
}

fn certify(object: &TpmtPublic, signer: &Name) -> Vec<u8> {
    let name = object.name().unwrap();
    let mut writer = attest(CERTIFY, signer);
    writer.tpm2b(name.as_bytes()).tpm2b(name.qualified(&[0x40, 0, 0, 0x01]).as_bytes());
    writer.into_bytes()
}

/// A quote over eight registers, and their values.
fn quote(signer: &Name) -> (Vec<u8>, Vec<u8>) {
    let registers = [0, 1, 2, 3, 4, 5, 6, 7];
    let values: Vec<u8> = registers.iter().flat_map(|index| [*index; 32]).collect();
    let mut writer = attest(QUOTE, signer);
    let bank = PcrBank::new(HashAlg::Sha256, &registers).unwrap();
    writer.bytes(&PcrSelection::new(vec![bank]).to_bytes());
    writer.tpm2b(digest(&SHA256, &values).as_ref());
    (writer.into_bytes(), values)
}
