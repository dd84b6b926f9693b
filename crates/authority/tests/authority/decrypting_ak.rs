//! A10: an RSA key that may also decrypt signs whatever its holder likes, since raw RSA decryption is the signing operation.

use vouchsafe_evidence::bundle::{AttestationBundle, AttestationStatement};
use vouchsafe_evidence::input::Submission;
use vouchsafe_evidence::oid;
use vouchsafe_evidence::statement::TpmCertify;
use vouchsafe_evidence::tpm::marshal::Writer;
use vouchsafe_evidence::tpm::template::USER_KEY_ATTRIBUTES;
use vouchsafe_evidence::tpm::{
    EccScheme, HashAlg, ObjectAttributes, PublicParameters, RsaScheme, Symmetric, TpmtPublic, TpmtSignature,
};
use vouchsafe_evidence::x509::extensions::KeyUsage;
use vouchsafe_evidence::x509::{CertView, build};
use vouchsafe_verifier::enrolment::qualify_ak;
use vouchsafe_verifier::{Instant, Policy, Request, TrustStore, Verdict, verify};

use crate::module::{Module, SoftwareKey, Vendor};
use crate::site::{ALICE, NOW, Site};
use crate::tpm::Tpm;

/// DigestInfo of SHA-256 up to the digest (RFC 8017, section 9.2, note 1).
const SHA256_DIGEST_INFO: [u8; 19] =
    [0x30, 0x31, 0x30, 0x0D, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20];
const RSA_OCTETS: usize = 256;

/// The template of an attesting key as somebody may ask for it: it cannot be duplicated, it signs, and it decrypts.
fn template() -> TpmtPublic {
    let attributes = ObjectAttributes::FIXED_TPM
        | ObjectAttributes::FIXED_PARENT
        | ObjectAttributes::SENSITIVE_DATA_ORIGIN
        | ObjectAttributes::USER_WITH_AUTH
        | ObjectAttributes::SIGN
        | ObjectAttributes::DECRYPT;
    let parameters = PublicParameters::Rsa {
        symmetric: Symmetric::Null,
        scheme: RsaScheme::Null,
        key_bits: 2048,
        exponent: 0,
        modulus: Vec::new(),
    };
    TpmtPublic::build(Some(HashAlg::Sha256), ObjectAttributes::from_bits(attributes), &[], parameters)
}

/// What TPM2_Certify would attest of a key, had a TPM made it.
fn attestation(ak: &TpmtPublic, key: &TpmtPublic) -> Vec<u8> {
    let (ak, key) = (ak.name().unwrap(), key.name().unwrap());
    let mut writer = Writer::new();
    writer.u32(0xFF54_4347).u16(0x8017).tpm2b(ak.qualified(&0x4000_000B_u32.to_be_bytes()).as_bytes()).tpm2b(&[]);
    writer.u64(1_000).u32(1).u32(0).u8(1).u64(0x0001_0002_0003_0004);
    writer.tpm2b(key.as_bytes()).tpm2b(key.qualified(key.as_bytes()).as_bytes());
    writer.into_bytes()
}

/// EMSA-PKCS1-v1_5 (RFC 8017, section 9.2).
fn encoded(message: &[u8]) -> Vec<u8> {
    let digest_info = [&SHA256_DIGEST_INFO[..], &HashAlg::Sha256.digest(&[message])].concat();
    let padding = vec![0xFF; RSA_OCTETS - digest_info.len() - 3];
    [&[0, 1], &padding[..], &[0], &digest_info].concat()
}

/// The verdict on a statement about a key, beneath a root that certified the attesting key.
fn verdict(statement: &TpmCertify, ak: &TpmtPublic, key: &SoftwareKey) -> Verdict {
    let vendor = Vendor::new("who looks at no attributes", NOW);
    let extensions = vec![
        build::key_usage(true, KeyUsage::from_bits(KeyUsage::DIGITAL_SIGNATURE)),
        build::extended_key_usage(false, &[oid::KP_AIK_CERTIFICATE]),
    ];
    let certificate = CertView::parse(&vendor.certify(ak.spki().unwrap(), NOW, extensions)).unwrap();
    let statement = AttestationStatement::new(oid::STATEMENT_TPM_CERTIFY, statement.to_der());
    let submission = Submission::from_bundle(AttestationBundle::new(vec![statement], vec![certificate]).unwrap());
    let trust = TrustStore::from_files([("tpm-certify/root.der".to_owned(), vendor.root.clone())]).unwrap();
    let (policy, spki) = (Policy::named("default").unwrap(), key.spki());
    let request = Request::new(&submission, &trust, &policy, Instant::from_unix_seconds(NOW));
    verify(&request.expected_key(&spki))
}

#[tokio::test(flavor = "multi_thread")]
async fn a10_a_key_that_decrypts_signs_a_forged_attestation_and_is_never_enrolled() {
    let mut tpm = Tpm::start();
    let (handle, ak) = tpm.create_primary(&template());
    let key = SoftwareKey::generate();
    let lie = key.public(USER_KEY_ATTRIBUTES, EccScheme::Null);
    let attest = attestation(&ak, &lie);
    let signature = tpm.rsa_decrypt(handle, &encoded(&attest)).unwrap();
    let signature = TpmtSignature::Rsassa { hash: HashAlg::Sha256, signature };

    // The attack works: under a certificate from somebody who looks at no attributes, the software key lives in a TPM.
    let statement = TpmCertify { attest, signature: signature.to_bytes(), public: Some(lie.as_bytes().to_vec()) };
    let accepted = verdict(&statement, &ak, &key);
    assert!(accepted.is_accepted(), "{:?}", accepted.reasons());
    let other = TpmCertify { attest: attestation(&lie, &ak), ..statement };
    assert!(!verdict(&other, &ak, &key).is_accepted());

    // The rule: such a key gets no certificate, by the function that decides it and by the authority that asks it.
    let violations = qualify_ak(ak.as_bytes()).unwrap_err();
    assert!(violations.iter().any(|violation| violation.code() == "ak.attributes"), "{violations:?}");
    let site = Site::start().await;
    let mut module = Module::new(&site.vendor, NOW);
    assert_eq!(site.challenge(ALICE, &module, "good").await.status, 201);
    module.ak_public = ak;
    let reply = site.challenge(ALICE, &module, "decrypting").await;
    assert_eq!((reply.status, reply.problem().as_str()), (422, "rejected"));
    assert!(reply.codes().iter().any(|code| code == "ak.attributes"), "{:?}", reply.codes());
}
