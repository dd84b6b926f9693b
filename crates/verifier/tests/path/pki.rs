//! A certification authority in a few lines: certificates with any defect, signed by fixed P-256 keys.

use p256::ecdsa::signature::Signer;
use p256::ecdsa::{Signature, SigningKey};
use vouchsafe_evidence::oid::{self, Oid};
use vouchsafe_evidence::x509::build::{self, CertificateTemplate, CrlTemplate, DerWriter, RevokedEntry};
use vouchsafe_evidence::x509::extensions::{BasicConstraints, GeneralName, KeyUsage};
use vouchsafe_evidence::x509::{CertView, NameView, NamedCurve, SpkiView};
use vouchsafe_verifier::Instant;
use vouchsafe_verifier::RevocationDemand;
use vouchsafe_verifier::crypto::SignatureBudget;
use vouchsafe_verifier::path::{ChainProfile, PathError, PathInputs, ValidatedPath, validate_path};
use vouchsafe_verifier::trust::TrustStore;

/// The time at which everything is judged unless a test says otherwise.
pub const NOW: i64 = 1_796_000_000;
const YEAR: i64 = 365 * 86_400;

/// The one folder of the trust stores made here.
pub const FORMAT: &str = "tpm-certify";

/// The key with this number.
pub fn key(number: u8) -> SigningKey {
    SigningKey::from_slice(&[number; 32]).unwrap()
}

pub fn spki(number: u8) -> SpkiView {
    let point = key(number).verifying_key().to_sec1_point(false);
    let (x, y) = point.as_bytes()[1..].split_at(32);
    SpkiView::from_ec(NamedCurve::P256, x, y).unwrap()
}

pub fn name(text: &str) -> NameView {
    build::name_from_text(text).unwrap()
}

/// A certificate in the making. Keys are numbers; the issuer is a name and a key.
#[derive(Clone)]
pub struct Cert {
    pub template: CertificateTemplate,
    outer_algorithm: Vec<u8>,
    signing_key: u8,
    tampered: bool,
}

impl Cert {
    pub fn new(subject: &str, subject_key: u8, issuer: &str, issuer_key: u8) -> Self {
        let algorithm = build::algorithm_identifier(oid::ECDSA_WITH_SHA256);
        Self {
            template: CertificateTemplate {
                serial: vec![1, subject_key, issuer_key],
                algorithm: algorithm.clone(),
                issuer: name(issuer),
                not_before: NOW - YEAR,
                not_after: NOW + YEAR,
                subject: name(subject),
                spki: spki(subject_key),
                extensions: Vec::new(),
            },
            outer_algorithm: algorithm,
            signing_key: issuer_key,
            tampered: false,
        }
    }

    /// A CA certificate without a path length.
    pub fn ca(subject: &str, subject_key: u8, issuer: &str, issuer_key: u8) -> Self {
        Self::new(subject, subject_key, issuer, issuer_key)
            .basic_constraints(true, None)
            .key_usage(KeyUsage::KEY_CERT_SIGN | KeyUsage::CRL_SIGN)
    }

    pub fn root(subject: &str, key: u8) -> Self {
        Self::ca(subject, key, subject, key)
    }

    /// The certificate of an attesting key for TPMS_ATTEST.
    pub fn ak(subject: &str, subject_key: u8, issuer: &str, issuer_key: u8) -> Self {
        Self::new(subject, subject_key, issuer, issuer_key)
            .key_usage(KeyUsage::DIGITAL_SIGNATURE)
            .purposes(false, &[oid::KP_AIK_CERTIFICATE])
    }

    /// The certificate of an attesting key for TPM2_CertifyX509.
    pub fn ak_certify_x509(subject: &str, subject_key: u8, issuer: &str, issuer_key: u8) -> Self {
        Self::new(subject, subject_key, issuer, issuer_key)
            .basic_constraints(true, Some(0))
            .key_usage(KeyUsage::KEY_CERT_SIGN)
            .purposes(true, &[oid::KP_CERTIFY_X509])
    }

    pub fn ek(subject: &str, subject_key: u8, issuer: &str, issuer_key: u8) -> Self {
        Self::new(subject, subject_key, issuer, issuer_key)
            .key_usage(KeyUsage::KEY_AGREEMENT)
            .purposes(false, &[oid::KP_EK_CERTIFICATE])
    }

    /// Adds an extension in DER.
    pub fn with(mut self, extension: Vec<u8>) -> Self {
        self.template.extensions.push(extension);
        self
    }

    /// Removes all extensions of a type.
    pub fn without(mut self, oid: Oid) -> Self {
        let mut writer = DerWriter::new();
        writer.oid(oid);
        let encoded = writer.into_der();
        self.template.extensions.retain(|extension| !extension[2..].starts_with(&encoded));
        self
    }

    pub fn basic_constraints(self, ca: bool, path_length: Option<u64>) -> Self {
        let extension = build::basic_constraints(true, BasicConstraints { ca, path_length });
        self.without(oid::BASIC_CONSTRAINTS).with(extension)
    }

    pub fn key_usage(self, bits: u16) -> Self {
        self.without(oid::KEY_USAGE).with(build::key_usage(true, KeyUsage::from_bits(bits)))
    }

    pub fn purposes(self, critical: bool, purposes: &[Oid]) -> Self {
        self.without(oid::EXTENDED_KEY_USAGE).with(build::extended_key_usage(critical, purposes))
    }

    pub fn alternative_name(self, name: GeneralName) -> Self {
        self.with(build::subject_alt_name(true, &[name]))
    }

    pub fn key_identifiers(self, subject: u8, authority: u8) -> Self {
        self.with(build::subject_key_identifier(&[subject])).with(build::authority_key_identifier(&[authority]))
    }

    pub fn validity(mut self, not_before: i64, not_after: i64) -> Self {
        (self.template.not_before, self.template.not_after) = (not_before, not_after);
        self
    }

    pub fn serial(mut self, serial: &[u8]) -> Self {
        self.template.serial = serial.to_vec();
        self
    }

    pub fn subject_spki(mut self, spki: SpkiView) -> Self {
        self.template.spki = spki;
        self
    }

    /// Names another algorithm inside, outside or both; the signature stays ECDSA with SHA-256.
    pub fn algorithms(mut self, inner: Vec<u8>, outer: Vec<u8>) -> Self {
        (self.template.algorithm, self.outer_algorithm) = (inner, outer);
        self
    }

    /// Flips a bit of the signature's last octet.
    pub fn tampered(mut self) -> Self {
        self.tampered = true;
        self
    }

    pub fn build(&self) -> CertView {
        CertView::parse(&self.der()).unwrap()
    }

    pub fn der(&self) -> Vec<u8> {
        self.sign(&self.template.tbs_der())
    }

    /// The same as a certificate of version 1, which has no extensions.
    pub fn build_v1(&self) -> CertView {
        assert!(self.template.extensions.is_empty());
        let tbs = self.template.tbs_der();
        // Without [0] { INTEGER 2 }, five octets behind the header.
        let header = if tbs[1] < 0x80 { 2 } else { 2 + usize::from(tbs[1] & 0x7F) };
        let mut writer = DerWriter::new();
        writer.sequence(|fields| {
            fields.raw(&tbs[header + 5..]);
        });
        CertView::parse(&self.sign(&writer.into_der())).unwrap()
    }

    pub fn sign(&self, tbs: &[u8]) -> Vec<u8> {
        let signature: Signature = key(self.signing_key).sign(tbs);
        let mut signature = signature.to_der().as_bytes().to_vec();
        if self.tampered {
            *signature.last_mut().unwrap() ^= 1;
        }
        build::assemble(tbs, &self.outer_algorithm, &signature)
    }
}

/// A revocation list in the making, current at [`NOW`].
#[derive(Clone)]
pub struct Crl {
    pub template: CrlTemplate,
    signing_key: u8,
    tampered: bool,
}

impl Crl {
    /// A list of nobody, by the CA of this name and key.
    pub fn of(issuer: &str, key: u8) -> Self {
        Self {
            template: CrlTemplate {
                algorithm: build::algorithm_identifier(oid::ECDSA_WITH_SHA256),
                issuer: name(issuer),
                this_update: NOW - 86_400,
                next_update: Some(NOW + 86_400),
                entries: Vec::new(),
                extensions: Vec::new(),
            },
            signing_key: key,
            tampered: false,
        }
    }

    pub fn revoking(self, serial: &[u8]) -> Self {
        self.entry(serial, Vec::new())
    }

    pub fn entry(mut self, serial: &[u8], extensions: Vec<Vec<u8>>) -> Self {
        self.template.entries.push(RevokedEntry { serial: serial.to_vec(), revoked_at: NOW - 90_000, extensions });
        self
    }

    pub fn with(mut self, extension: Vec<u8>) -> Self {
        self.template.extensions.push(extension);
        self
    }

    pub fn updates(mut self, this_update: i64, next_update: Option<i64>) -> Self {
        (self.template.this_update, self.template.next_update) = (this_update, next_update);
        self
    }

    pub fn tampered(mut self) -> Self {
        self.tampered = true;
        self
    }

    pub fn der(&self) -> Vec<u8> {
        let tbs = self.template.tbs_der();
        let signature: Signature = key(self.signing_key).sign(&tbs);
        let mut signature = signature.to_der().as_bytes().to_vec();
        if self.tampered {
            *signature.last_mut().unwrap() ^= 1;
        }
        build::assemble(&tbs, &build::algorithm_identifier(oid::ECDSA_WITH_SHA256), &signature)
    }
}

/// What a path is validated for, with what is asked of revocation by default.
pub fn inputs(profile: ChainProfile, at: Instant) -> PathInputs {
    PathInputs { profile, at, revocation: RevocationDemand::default() }
}

/// A trust store of these anchors.
pub fn trust(anchors: &[&CertView]) -> TrustStore {
    let file = |(index, anchor): (usize, &&CertView)| (format!("{FORMAT}/{index}.der"), anchor.as_der().to_vec());
    TrustStore::from_files(anchors.iter().enumerate().map(file)).unwrap()
}

/// A trust store of one public key.
pub fn trust_key(key: &SpkiView) -> TrustStore {
    TrustStore::from_files([(format!("{FORMAT}/key.der"), key.as_der().to_vec())]).unwrap()
}

/// Validates with a budget of its own, at [`NOW`].
pub fn validate(
    leaf: &CertView,
    pool: &[CertView],
    trust: &TrustStore,
    profile: ChainProfile,
) -> Result<ValidatedPath, PathError> {
    let at = Instant::from_unix_seconds(NOW);
    validate_path(leaf, pool, trust.format(FORMAT), inputs(profile, at), &mut SignatureBudget::new())
}

/// The code with which validation as an attesting key's chain ends; `accepted` where it does not fail.
pub fn code(leaf: &CertView, pool: &[CertView], anchor: &CertView) -> &'static str {
    code_as(ChainProfile::AkAttest, leaf, pool, anchor)
}

pub fn code_as(profile: ChainProfile, leaf: &CertView, pool: &[CertView], anchor: &CertView) -> &'static str {
    match validate(leaf, pool, &trust(&[anchor]), profile) {
        Ok(_) => "accepted",
        Err(error) => error.code(),
    }
}
