//! A module in software: endorsement keys that can be challenged, and an attestation key that signs what a
//! TPM would sign. What makes it a fraud in the field (nothing guards the keys) makes it a fixture here.

use aws_lc_rs::cipher::{AES_128, AES_256, DecryptingKey, DecryptionContext, UnboundCipherKey};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, PrivateDecryptingKey};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use aws_lc_rs::{agreement, hmac};
use vouchsafe_evidence::bundle::{AttestationBundle, AttestationStatement};
use vouchsafe_evidence::oid;
use vouchsafe_evidence::statement::{TpmCertify, TpmQuote};
use vouchsafe_evidence::tpm::marshal::{Reader, Writer};
use vouchsafe_evidence::tpm::template::{AK_ATTRIBUTES, USER_KEY_ATTRIBUTES};
use vouchsafe_evidence::tpm::{
    Curve, EccScheme, HashAlg, Name, ObjectAttributes, PcrBank, PcrSelection, PublicParameters, Symmetric, TpmtPublic,
    TpmtSignature,
};
use vouchsafe_evidence::x509::build::{self, CertificateTemplate, CsrTemplate};
use vouchsafe_evidence::x509::extensions::{BasicConstraints, GeneralName, KeyUsage};
use vouchsafe_evidence::x509::{CertView, NameView, NamedCurve, SpkiView};

/// A P-256 key pair whose signatures come as r and s.
pub struct SoftwareKey(EcdsaKeyPair);

impl SoftwareKey {
    pub fn generate() -> Self {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        Self(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).unwrap())
    }

    pub fn from_pkcs8(pkcs8: &[u8]) -> Self {
        Self(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).unwrap())
    }

    pub fn pkcs8(&self) -> Vec<u8> {
        self.0.to_pkcs8v1().unwrap().as_ref().to_vec()
    }

    pub fn pkcs8_pem(&self) -> String {
        pem(&self.pkcs8()).replace("CERTIFICATE", "PRIVATE KEY")
    }

    /// A request in PKCS #10, signed by this key.
    pub fn csr(&self, subject: NameView, attributes: Vec<Vec<u8>>) -> Vec<u8> {
        let info = CsrTemplate { subject, spki: self.spki(), attributes }.info_der();
        build::assemble(&info, &build::algorithm_identifier(oid::ECDSA_WITH_SHA256), &self.sign_der(&info))
    }

    pub fn point(&self) -> (Vec<u8>, Vec<u8>) {
        let public = self.0.public_key().as_ref();
        (public[1..33].to_vec(), public[33..].to_vec())
    }

    pub fn spki(&self) -> SpkiView {
        let (x, y) = self.point();
        SpkiView::from_ec(NamedCurve::P256, &x, &y).unwrap()
    }

    fn r_and_s(&self, message: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let signature = self.0.sign(&SystemRandom::new(), message).unwrap();
        (signature.as_ref()[..32].to_vec(), signature.as_ref()[32..].to_vec())
    }

    /// r and s side by side.
    pub fn sign_fixed(&self, message: &[u8]) -> Vec<u8> {
        let (r, s) = self.r_and_s(message);
        [r, s].concat()
    }

    pub fn sign_der(&self, message: &[u8]) -> Vec<u8> {
        let (r, s) = self.r_and_s(message);
        build::ecdsa_signature(&r, &s)
    }

    pub fn sign_tpmt(&self, message: &[u8]) -> Vec<u8> {
        let (r, s) = self.r_and_s(message);
        TpmtSignature::Ecdsa { hash: HashAlg::Sha256, r, s }.to_bytes()
    }

    /// A TPMT_PUBLIC of this key with these attributes; `scheme` fixed or left to the caller.
    pub fn public(&self, attributes: u32, scheme: EccScheme) -> TpmtPublic {
        let (x, y) = self.point();
        let parameters = PublicParameters::Ecc { symmetric: Symmetric::Null, scheme, curve: Curve::P256, x, y };
        TpmtPublic::build(Some(HashAlg::Sha256), ObjectAttributes::from_bits(attributes), &[], parameters)
    }
}

/// A certification authority of a test: a vendor of modules.
pub struct Vendor {
    key: SoftwareKey,
    name: NameView,
    pub root: Vec<u8>,
}

pub fn sign_certificate(
    issuer: (&NameView, &SoftwareKey),
    subject: NameView,
    spki: SpkiView,
    now: i64,
    extensions: Vec<Vec<u8>>,
) -> Vec<u8> {
    let algorithm = build::algorithm_identifier(oid::ECDSA_WITH_SHA256);
    let mut serial = [1; 16];
    aws_lc_rs::rand::fill(&mut serial[1..]).unwrap();
    let template = CertificateTemplate {
        serial: serial.to_vec(),
        algorithm: algorithm.clone(),
        issuer: issuer.0.clone(),
        not_before: now - 86_400,
        not_after: now + 10 * 365 * 86_400,
        subject,
        spki,
        extensions,
    };
    let tbs = template.tbs_der();
    let signature = issuer.1.sign_der(&tbs);
    build::assemble(&tbs, &algorithm, &signature)
}

impl Vendor {
    pub fn new(common_name: &str, now: i64) -> Self {
        let key = SoftwareKey::generate();
        let name = build::distinguished_name(&[(oid::COMMON_NAME, common_name)]).unwrap();
        let extensions = vec![
            build::basic_constraints(true, BasicConstraints { ca: true, path_length: None }),
            build::key_usage(true, KeyUsage::from_bits(KeyUsage::KEY_CERT_SIGN)),
        ];
        let root = sign_certificate((&name, &key), name.clone(), key.spki(), now, extensions);
        Self { key, name, root }
    }

    pub fn root_pem(&self) -> String {
        pem(&self.root)
    }

    /// A revocation list of these serial numbers.
    pub fn revocation_list(&self, this_update: i64, next_update: i64, serials: &[Vec<u8>]) -> Vec<u8> {
        let entry = |serial: &Vec<u8>| build::RevokedEntry {
            serial: serial.clone(),
            revoked_at: this_update,
            extensions: Vec::new(),
        };
        let algorithm = build::algorithm_identifier(oid::ECDSA_WITH_SHA256);
        let mut number = build::DerWriter::new();
        number.uint(1);
        let list = build::CrlTemplate {
            algorithm: algorithm.clone(),
            issuer: self.name.clone(),
            this_update,
            next_update: Some(next_update),
            entries: serials.iter().map(entry).collect(),
            extensions: vec![build::extension(oid::CRL_NUMBER, false, &number.into_der())],
        };
        let tbs = list.tbs_der();
        build::assemble(&tbs, &algorithm, &self.key.sign_der(&tbs))
    }

    pub fn endorse(&self, key: &EndorsementKey, now: i64) -> Vec<u8> {
        let usage = match key {
            EndorsementKey::Rsa(_) => KeyUsage::KEY_ENCIPHERMENT,
            EndorsementKey::Ecc(..) => KeyUsage::KEY_AGREEMENT,
        };
        self.certify(key.spki(), now, ek_extensions(usage))
    }

    pub fn certify(&self, spki: SpkiView, now: i64, extensions: Vec<Vec<u8>>) -> Vec<u8> {
        let subject = build::distinguished_name(&[(oid::COMMON_NAME, "module")]).unwrap();
        sign_certificate((&self.name, &self.key), subject, spki, now, extensions)
    }
}

/// What an endorsement certificate holds: constraints, usage, purpose, names of the module.
pub fn ek_extensions(usage: u16) -> Vec<Vec<u8>> {
    let model = build::name_from_attributes(&[
        vec![attribute(oid::TPM_MANUFACTURER, "id:54455354")],
        vec![attribute(oid::TPM_MODEL, "Software")],
        vec![attribute(oid::TPM_VERSION, "id:00010000")],
    ]);
    vec![
        build::basic_constraints(true, BasicConstraints { ca: false, path_length: None }),
        build::key_usage(true, KeyUsage::from_bits(usage)),
        build::extended_key_usage(false, &[oid::KP_EK_CERTIFICATE]),
        build::subject_alt_name(true, &[GeneralName::Directory(model.unwrap())]),
    ]
}

fn attribute(oid: vouchsafe_evidence::oid::Oid, value: &str) -> Vec<u8> {
    let mut writer = build::DerWriter::new();
    writer.sequence(|fields| {
        fields.oid(oid).string(vouchsafe_evidence::x509::der::Tag::UTF8_STRING, value);
    });
    writer.into_der()
}

pub fn pem(der: &[u8]) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

/// An endorsement key whose private part is at hand.
pub enum EndorsementKey {
    Rsa(PrivateDecryptingKey),
    Ecc(Curve, agreement::PrivateKey),
}

impl EndorsementKey {
    pub fn rsa() -> Self {
        Self::Rsa(PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap())
    }

    pub fn ecc(curve: Curve) -> Self {
        Self::Ecc(curve, agreement::PrivateKey::generate(ecdh(curve)).unwrap())
    }

    pub fn spki(&self) -> SpkiView {
        match self {
            Self::Rsa(key) => {
                let der: PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
                SpkiView::parse(der.as_ref()).unwrap()
            }
            Self::Ecc(curve, key) => {
                let public = key.compute_public_key().unwrap();
                let (x, y) = public.as_ref()[1..].split_at(curve.field_len());
                let named = if *curve == Curve::P256 { NamedCurve::P256 } else { NamedCurve::P384 };
                SpkiView::from_ec(named, x, y).unwrap()
            }
        }
    }

    /// TPM2_ActivateCredential, written from Part 1, "Credential Protection", apart from the code under test.
    pub fn activate(&self, name: &[u8], id_object: &[u8], encrypted_secret: &[u8]) -> Option<Vec<u8>> {
        let mut reader = Reader::new(id_object, "TPM2B_ID_OBJECT");
        let contents = reader.tpm2b(1024).unwrap();
        reader.finish().unwrap();
        let mut reader = Reader::new(contents, "TPMS_ID_OBJECT");
        let (outer_hmac, identity) = (reader.tpm2b(64).unwrap(), reader.rest());
        let mut reader = Reader::new(encrypted_secret, "TPM2B_ENCRYPTED_SECRET");
        let secret = reader.tpm2b(1024).unwrap();
        reader.finish().unwrap();

        let (hash, aes, seed) = match self {
            Self::Rsa(key) => {
                let key = OaepPrivateDecryptingKey::new(key.clone()).unwrap();
                let mut seed = vec![0; key.min_output_size()];
                let seed = key.decrypt(&OAEP_SHA256_MGF1SHA256, secret, &mut seed, Some(b"IDENTITY\0")).ok()?;
                (HashAlg::Sha256, 128, seed.to_vec())
            }
            Self::Ecc(curve, key) => {
                let (hash, aes) = if *curve == Curve::P256 { (HashAlg::Sha256, 128) } else { (HashAlg::Sha384, 256) };
                (hash, aes, ecc_seed(*curve, key, secret, hash))
            }
        };
        let integrity = kdfa(hash, &seed, b"INTEGRITY", &[], hash.digest_len() * 8);
        let mac_key = hmac::Key::new(hmac_algorithm(hash), &integrity);
        hmac::verify(&mac_key, &[identity, name].concat(), outer_hmac).ok()?;
        let mut plain = identity.to_vec();
        let key = kdfa(hash, &seed, b"STORAGE", name, aes);
        let key = UnboundCipherKey::new(if aes == 128 { &AES_128 } else { &AES_256 }, &key).unwrap();
        let iv = DecryptionContext::Iv128(FixedLength::from(&[0; 16]));
        let plain = DecryptingKey::cfb128(key).unwrap().decrypt(&mut plain, iv).unwrap();
        let mut reader = Reader::new(plain, "TPM2B_DIGEST");
        let credential = reader.tpm2b(64).unwrap().to_vec();
        reader.finish().unwrap();
        Some(credential)
    }
}

fn ecdh(curve: Curve) -> &'static agreement::Algorithm {
    if curve == Curve::P256 { &agreement::ECDH_P256 } else { &agreement::ECDH_P384 }
}

fn ecc_seed(curve: Curve, key: &agreement::PrivateKey, secret: &[u8], hash: HashAlg) -> Vec<u8> {
    let mut reader = Reader::new(secret, "TPMS_ECC_POINT");
    let (x, y) = (reader.tpm2b(48).unwrap(), reader.tpm2b(48).unwrap());
    reader.finish().unwrap();
    let own = key.compute_public_key().unwrap();
    let own_x = own.as_ref()[1..=curve.field_len()].to_vec();
    let peer = agreement::UnparsedPublicKey::new(ecdh(curve), [&[4], x, y].concat());
    agreement::agree(key, peer, (), |z| Ok(hash.digest(&[&[0, 0, 0, 1], z, b"IDENTITY\0", x, &own_x]))).unwrap()
}

fn hmac_algorithm(hash: HashAlg) -> hmac::Algorithm {
    if hash == HashAlg::Sha256 { hmac::HMAC_SHA256 } else { hmac::HMAC_SHA384 }
}

fn kdfa(hash: HashAlg, key: &[u8], label: &[u8], context: &[u8], bits: usize) -> Vec<u8> {
    let key = hmac::Key::new(hmac_algorithm(hash), key);
    let bits_octets = u32::try_from(bits).unwrap().to_be_bytes();
    let message = [&[0, 0, 0, 1], label, &[0], context, &bits_octets].concat();
    hmac::sign(&key, &message).as_ref()[..bits / 8].to_vec()
}

/// A whole module: endorsement key with certificate, attestation key.
pub struct Module {
    pub ek: EndorsementKey,
    pub ek_certificate: Vec<u8>,
    pub ak: SoftwareKey,
    pub ak_public: TpmtPublic,
}

impl Module {
    pub fn new(vendor: &Vendor, now: i64) -> Self {
        Self::with(vendor, now, EndorsementKey::ecc(Curve::P256), AK_ATTRIBUTES)
    }

    pub fn with(vendor: &Vendor, now: i64, ek: EndorsementKey, ak_attributes: u32) -> Self {
        let ek_certificate = vendor.endorse(&ek, now);
        let ak = SoftwareKey::generate();
        let ak_public = ak.public(ak_attributes, EccScheme::Ecdsa(HashAlg::Sha256));
        Self { ek, ek_certificate, ak, ak_public }
    }

    pub fn ak_name(&self) -> Vec<u8> {
        self.ak_public.name().unwrap().as_bytes().to_vec()
    }

    fn attest_head(&self, kind: u16, nonce: &[u8]) -> Writer {
        let qualified = self.ak_public.name().unwrap().qualified(&0x4000_000B_u32.to_be_bytes());
        let mut writer = Writer::new();
        writer.u32(0xFF54_4347).u16(kind).tpm2b(qualified.as_bytes()).tpm2b(nonce);
        writer.u64(1_000).u32(1).u32(0).u8(1).u64(0x0001_0002_0003_0004);
        writer
    }

    /// TPM2_Certify of an object.
    pub fn certify(&self, object: &TpmtPublic, nonce: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let name: Name = object.name().unwrap();
        let mut writer = self.attest_head(0x8017, nonce);
        writer.tpm2b(name.as_bytes()).tpm2b(name.qualified(name.as_bytes()).as_bytes());
        let attest = writer.into_bytes();
        let signature = self.ak.sign_tpmt(&attest);
        (attest, signature)
    }

    /// TPM2_Quote over SHA-256 registers 0 and 7.
    pub fn quote(&self, values: &[[u8; 32]; 2], nonce: &[u8]) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
        let selection = PcrSelection::new(vec![PcrBank::new(HashAlg::Sha256, &[0, 7]).unwrap()]);
        let values = values.concat();
        let mut writer = self.attest_head(0x8018, nonce);
        selection.write(&mut writer);
        writer.tpm2b(&HashAlg::Sha256.digest(&[&values]));
        let attest = writer.into_bytes();
        let signature = self.ak.sign_tpmt(&attest);
        (attest, signature, values)
    }

    /// A request for a fresh key with its key statement, and a quote where values are given.
    pub fn csr(&self, nonce: &[u8], ak_chain: &[Vec<u8>], pcrs: Option<&[[u8; 32]; 2]>) -> Vec<u8> {
        let key = SoftwareKey::generate();
        self.csr_for(&key, &key.public(USER_KEY_ATTRIBUTES, EccScheme::Null), nonce, ak_chain, pcrs)
    }

    pub fn csr_for(
        &self,
        key: &SoftwareKey,
        public: &TpmtPublic,
        nonce: &[u8],
        ak_chain: &[Vec<u8>],
        pcrs: Option<&[[u8; 32]; 2]>,
    ) -> Vec<u8> {
        let mut statements = vec![self.key_statement(public, nonce)];
        if let Some(values) = pcrs {
            let (attest, signature, values) = self.quote(values, nonce);
            let quote = TpmQuote { attest, signature, pcr_values: Some(values) };
            statements.push(AttestationStatement::new(oid::STATEMENT_TPM_QUOTE, quote.to_der()));
        }
        request(key, "as the client wrote it", statements, ak_chain)
    }

    /// TPM2_Certify of a key, as a statement.
    pub fn key_statement(&self, public: &TpmtPublic, nonce: &[u8]) -> AttestationStatement {
        let (attest, signature) = self.certify(public, nonce);
        let statement = TpmCertify { attest, signature, public: Some(public.as_bytes().to_vec()) };
        AttestationStatement::new(oid::STATEMENT_TPM_CERTIFY, statement.to_der())
    }
}

/// A request for a key by this common name, with these statements.
pub fn request(
    key: &SoftwareKey,
    common_name: &str,
    statements: Vec<AttestationStatement>,
    certificates: &[Vec<u8>],
) -> Vec<u8> {
    let certificates = certificates.iter().map(|der| CertView::parse(der).unwrap()).collect();
    let bundle = AttestationBundle::new(statements, certificates).unwrap();
    let subject = build::distinguished_name(&[(oid::COMMON_NAME, common_name)]).unwrap();
    key.csr(subject, vec![build::attestation_attribute(&bundle)])
}
