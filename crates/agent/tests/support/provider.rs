//! What the tests of the TPM provider share: opening it, keys, and an authority that has enrolled it.

#![allow(dead_code)]

use crate::pki::{Authority, NOT_AFTER, NOT_BEFORE};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED,
    RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA384,
    UnparsedPublicKey, VerificationAlgorithm,
};
use vouchsafe_agent::provider::tpm::{Settings, TpmProvider};
use vouchsafe_agent::provider::{
    Attester, CertificateTemplate, Family, FamilyCertificates, Hash, KeyBlob, KeyKind, KeyProvider, KeyPurpose,
    KeySpec, KeyUid, KeyUsage, MemoryStore, SignatureScheme, SubjectName,
};
use vouchsafe_agent::swtpm::Swtpm;
use vouchsafe_evidence::tpm::HashAlg;
use vouchsafe_evidence::x509::build::name_from_text;

pub const NONCE: [u8; 32] = [0x42; 32];

pub fn open(swtpm: &Swtpm, store: &MemoryStore) -> TpmProvider {
    TpmProvider::open(&swtpm.address(), Settings::default(), Box::new(store.clone())).unwrap()
}

pub fn sign_key(kind: KeyKind) -> KeySpec {
    KeySpec { kind, purpose: KeyPurpose::Sign }
}

pub fn uid() -> KeyUid {
    KeyUid::random().unwrap()
}

pub fn digest(hash: Hash, message: &[u8]) -> Vec<u8> {
    let alg = match hash {
        Hash::Sha256 => HashAlg::Sha256,
        Hash::Sha384 => HashAlg::Sha384,
        Hash::Sha512 => HashAlg::Sha512,
    };
    alg.digest(&[message])
}

pub fn check_signs(provider: &mut TpmProvider, key: &KeyBlob) {
    let public = provider.export_public(key).unwrap();
    let (scheme, algorithm): (_, &'static dyn VerificationAlgorithm) = match public.kind {
        KeyKind::EcP256 => (SignatureScheme::Ecdsa(Hash::Sha256), &ECDSA_P256_SHA256_FIXED),
        KeyKind::EcP384 => (SignatureScheme::Ecdsa(Hash::Sha384), &ECDSA_P384_SHA384_FIXED),
        KeyKind::EcP521 => (SignatureScheme::Ecdsa(Hash::Sha512), &ECDSA_P521_SHA512_FIXED),
        KeyKind::Rsa1024 => {
            (SignatureScheme::RsaPkcs1v15(Hash::Sha256), &RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY)
        }
        KeyKind::Rsa2048 | KeyKind::Rsa4096 => {
            (SignatureScheme::RsaPkcs1v15(Hash::Sha512), &RSA_PKCS1_2048_8192_SHA512)
        }
        KeyKind::Rsa3072 => (SignatureScheme::RsaPss(Hash::Sha384), &RSA_PSS_2048_8192_SHA384),
    };
    let signature = provider.sign_hash(key, scheme, &digest(scheme.hash(), b"message")).unwrap();
    UnparsedPublicKey::new(algorithm, &public.subject_public_key).verify(b"message", &signature).unwrap();
}

pub fn template(subject: SubjectName) -> CertificateTemplate {
    CertificateTemplate {
        subject,
        not_before: NOT_BEFORE,
        not_after: NOT_AFTER,
        key_usage: KeyUsage::DIGITAL_SIGNATURE,
        subject_alt_names: None,
        issuer_chain: Vec::new(),
    }
}

pub fn beneath(text: &str) -> SubjectName {
    SubjectName::BeneathIssuer(name_from_text(text).unwrap().as_der().to_vec())
}

/// An authority that has certified the default attesting key for both families.
pub fn enrolled(provider: &mut TpmProvider) -> (Authority, Vec<u8>) {
    let authority = Authority::new();
    let spki = provider.attesting_keys().unwrap()[0].spki.clone();
    let issuer = authority.certify(&spki, "CN=device 7,O=Example", true);
    for (family, own) in
        [(Family::Attest, authority.certify(&spki, "CN=attester 7", false)), (Family::CertifyX509, issuer.clone())]
    {
        let certificates = vec![own, authority.certificate.clone()];
        provider.install_certificates("", &[FamilyCertificates { family, certificates }]).unwrap();
    }
    (authority, issuer)
}
