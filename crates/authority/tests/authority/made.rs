//! What TPM2_CertifyX509 makes, in software, and requests that carry it.

use aws_lc_rs::digest;
use vouchsafe_evidence::bundle::AttestationStatement;
use vouchsafe_evidence::oid;
use vouchsafe_evidence::statement::{TpmCertifyX509, TpmQuote};
use vouchsafe_evidence::tpm::marshal::Writer;
use vouchsafe_evidence::tpm::template::USER_KEY_ATTRIBUTES;
use vouchsafe_evidence::tpm::{EccScheme, HashAlg, PcrBank, PcrSelection, TpmtPublic};
use vouchsafe_evidence::x509::build::{self, CertificateTemplate};
use vouchsafe_evidence::x509::der::{Reader, Tag};
use vouchsafe_evidence::x509::extensions::KeyUsage;
use vouchsafe_evidence::x509::{CertView, NameView};

use crate::module::{self, Module, SoftwareKey};

/// A name beneath the attesting key's.
fn beneath(ak: &NameView, common_name: &str) -> NameView {
    let mut rdns: Vec<Vec<Vec<u8>>> =
        ak.rdns().map(|rdn| rdn.attributes().map(|attribute| attribute.as_der().to_vec()).collect()).collect();
    let mut writer = build::DerWriter::new();
    writer.sequence(|fields| {
        fields.oid(oid::COMMON_NAME).string(Tag::UTF8_STRING, common_name);
    });
    rdns.push(vec![writer.into_der()]);
    build::name_from_attributes(&rdns).unwrap()
}

/// TPM2_CertifyX509 of a key by the module's attesting key, valid from `now` for ten years.
pub fn certify_x509(module: &Module, public: &TpmtPublic, nonce: &[u8], ak: &CertView, now: i64) -> Vec<u8> {
    let algorithm = build::algorithm_identifier(oid::ECDSA_WITH_SHA256);
    let mut template = CertificateTemplate {
        serial: vec![1],
        algorithm: algorithm.clone(),
        issuer: ak.subject().clone(),
        not_before: now - 60,
        not_after: now + 10 * 365 * 86_400,
        subject: beneath(ak.subject(), "key"),
        spki: public.spki().unwrap(),
        extensions: vec![
            build::key_usage(true, KeyUsage::from_bits(KeyUsage::DIGITAL_SIGNATURE)),
            build::tpma_object(false, public.attributes().bits()),
            build::nonce(nonce),
        ],
    };
    let tbs = template.tbs_der();
    let mut outer = Reader::new(&tbs, "TBSCertificate");
    let mut fields = outer.sequence("TBSCertificate").unwrap();
    let (_version, _serial) = (fields.element().unwrap(), fields.element().unwrap());
    let mut context = digest::Context::new(&digest::SHA256);
    while !fields.is_empty() {
        context.update(fields.element().unwrap().as_der());
    }
    context.update(&module.ak_name());
    context.update(public.name().unwrap().as_bytes());
    template.serial = context.finish().as_ref()[..20].to_vec();
    let tbs = template.tbs_der();
    build::assemble(&tbs, &algorithm, &module.ak.sign_der(&tbs))
}

/// A request for a key with these statements.
pub fn request(key: &SoftwareKey, statements: Vec<AttestationStatement>, certificates: &[Vec<u8>]) -> Vec<u8> {
    module::request(key, "as the client wrote it", statements, certificates)
}

/// The key statement of a fresh key: tpm-certify-x509 under the first certificate of `x509_chain`.
pub fn x509_statement(
    module: &Module,
    key: &SoftwareKey,
    nonce: &[u8],
    x509_chain: &[Vec<u8>],
    now: i64,
) -> AttestationStatement {
    let public = key.public(USER_KEY_ATTRIBUTES, EccScheme::Null);
    let ak = CertView::parse(&x509_chain[0]).unwrap();
    let certificate = CertView::parse(&certify_x509(module, &public, nonce, &ak, now)).unwrap();
    let statement = TpmCertifyX509 { certificate, public: Some(public.as_bytes().to_vec()) };
    AttestationStatement::new(oid::STATEMENT_TPM_CERTIFY_X509, statement.to_der())
}

/// The platform statement: a quote.
pub fn quote_statement(module: &Module, values: &[[u8; 32]; 2], nonce: &[u8]) -> AttestationStatement {
    let (attest, signature, values) = module.quote(values, nonce);
    let quote = TpmQuote { attest, signature, pcr_values: Some(values) };
    AttestationStatement::new(oid::STATEMENT_TPM_QUOTE, quote.to_der())
}

/// What a TPM tells in every quote, each value one of a kind.
pub const CLOCK: u64 = 0x51A7_3C9E_60D2_48B5;
pub const RESETS: u32 = 0x5EC1_93A7;
pub const RESTARTS: u32 = 0x6B2F_D418;
pub const FIRMWARE: u64 = 0x7A3D_19C4_5E82_B60F;

/// A quote over SHA-256 registers 0 and 7 with those values.
pub fn telling_quote(module: &Module, values: &[[u8; 32]; 2], nonce: &[u8]) -> TpmQuote {
    let selection = PcrSelection::new(vec![PcrBank::new(HashAlg::Sha256, &[0, 7]).unwrap()]);
    let values = values.concat();
    let qualified = module.ak_public.name().unwrap().qualified(&0x4000_000B_u32.to_be_bytes());
    let mut writer = Writer::new();
    writer.u32(0xFF54_4347).u16(0x8018).tpm2b(qualified.as_bytes()).tpm2b(nonce);
    writer.u64(CLOCK).u32(RESETS).u32(RESTARTS).u8(1).u64(FIRMWARE);
    selection.write(&mut writer);
    writer.tpm2b(&HashAlg::Sha256.digest(&[&values]));
    let attest = writer.into_bytes();
    let signature = module.ak.sign_tpmt(&attest);
    TpmQuote { attest, signature, pcr_values: Some(values) }
}
