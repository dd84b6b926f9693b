//! The TPM provider on a software TPM: keys and attestations.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    missing_docs
)]

#[path = "support/conformance.rs"]
mod conformance;
#[path = "support/pki.rs"]
mod pki;
#[path = "support/provider.rs"]
mod provider;
#[path = "support/tpm.rs"]
mod support;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA384_FIXED,
    RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};
use pki::{Authority, NOT_BEFORE};
use provider::{NONCE, beneath, check_signs, digest, enrolled, open, sign_key, template, uid};
use support::swtpm;
use vouchsafe_agent::provider::tpm::{Settings, TpmProvider};
use vouchsafe_agent::provider::{
    Attester, AttestingKeyChoice, AttestingKeySpec, CertificateTemplate, EvidenceRequest, Family, Fault, FormatId,
    Hash, KeyBlob, KeyKind, KeyMechanism, KeyProvider, KeyPurpose, KeySpec, KeyUsage, Mechanism, MechanismName,
    MemoryStore, PlatformMechanism, SignatureScheme, SubjectName, Template,
};
use vouchsafe_agent::tpm::Hierarchy;
use vouchsafe_evidence::oid;
use vouchsafe_evidence::statement::{TpmCertify, TpmCertifyX509, TpmQuote};
use vouchsafe_evidence::tpm::template::{AK_ATTRIBUTES, USER_KEY_ATTRIBUTES};
use vouchsafe_evidence::tpm::{Attested, HashAlg, Name, PublicParameters, TpmsAttest, TpmtPublic, TpmtSignature};
use vouchsafe_evidence::x509::build::{authority_key_identifier, name_from_text};
use vouchsafe_evidence::x509::{CertView, SpkiView, extensions};

/// Verifies an ECDSA signature by a TPM key over `message`.
fn verify(public: &TpmtPublic, message: &[u8], signature: &[u8]) {
    let pad = |octets: &[u8], width: usize| [vec![0; width - octets.len()], octets.to_vec()].concat();
    let PublicParameters::Ecc { curve, x, y, .. } = public.parameters() else { panic!("not ECC") };
    let width = curve.field_len();
    let key = [vec![4], pad(x, width), pad(y, width)].concat();
    let TpmtSignature::Ecdsa { r, s, .. } = TpmtSignature::parse(signature).unwrap() else { panic!("not ECDSA") };
    let algorithm: &'static dyn VerificationAlgorithm =
        if width == 32 { &ECDSA_P256_SHA256_FIXED } else { &ECDSA_P384_SHA384_FIXED };
    UnparsedPublicKey::new(algorithm, key).verify(message, &[pad(&r, width), pad(&s, width)].concat()).unwrap();
}

#[test]
fn every_kind_of_key_is_made_and_signs() {
    let swtpm = swtpm();
    let mut provider = open(&swtpm, &MemoryStore::new());
    for (kind, bare) in [
        (KeyKind::EcP256, 65),
        (KeyKind::EcP384, 97),
        (KeyKind::EcP521, 133),
        (KeyKind::Rsa1024, 140),
        (KeyKind::Rsa2048, 270),
        (KeyKind::Rsa3072, 398),
    ] {
        assert!(provider.makes(kind).unwrap());
        let key = provider.generate(&uid(), sign_key(kind)).unwrap();
        let public = provider.export_public(&key).unwrap();
        assert_eq!((public.kind, public.purpose, public.subject_public_key.len()), (kind, KeyPurpose::Sign, bare));
        assert!(SpkiView::parse(&public.spki).is_ok());
        check_signs(&mut provider, &key);
        provider.destroy(&key).unwrap();
    }
    // This TPM has no RSA of 4096 bits, and says so.
    assert!(!provider.makes(KeyKind::Rsa4096).unwrap());
    assert!(matches!(provider.generate(&uid(), sign_key(KeyKind::Rsa4096)), Err(Fault::Missing { .. })));
    for kind in [KeyKind::EcP521, KeyKind::Rsa1024] {
        let attesting = provider.generate(&uid(), KeySpec { kind, purpose: KeyPurpose::Attest });
        assert!(matches!(attesting, Err(Fault::Missing { .. })));
    }
    let decrypting = provider.generate(&uid(), KeySpec { kind: KeyKind::EcP256, purpose: KeyPurpose::Decrypt });
    assert!(matches!(decrypting, Err(Fault::Missing { .. })));
}

#[test]
fn keys_behave_as_those_of_every_provider() {
    let swtpm = swtpm();
    let mut provider = open(&swtpm, &MemoryStore::new());
    conformance::keys(&mut provider, &KeyKind::ALL[..6]);
    conformance::misuse(&mut provider);
}

#[test]
fn what_a_key_cannot_do_is_refused_before_the_tpm_is_asked() {
    let swtpm = swtpm();
    let mut provider = open(&swtpm, &MemoryStore::new());
    let key = provider.generate(&uid(), sign_key(KeyKind::EcP256)).unwrap();
    let attesting = provider.generate(&uid(), KeySpec { kind: KeyKind::EcP256, purpose: KeyPurpose::Attest }).unwrap();
    let ecdsa = SignatureScheme::Ecdsa(Hash::Sha256);
    let short = provider.sign_hash(&key, ecdsa, &[0; 31]);
    assert!(matches!(short, Err(Fault::DigestLength { expected: 32, found: 31 })));
    let rsa = provider.sign_hash(&key, SignatureScheme::RsaPss(Hash::Sha256), &[0; 32]);
    assert!(matches!(rsa, Err(Fault::SchemeMismatch(KeyKind::EcP256))));
    assert!(matches!(provider.sign_hash(&attesting, ecdsa, &[0; 32]), Err(Fault::PurposeMismatch)));
    let own = AttestingKeyChoice::Own { key: &key, certificates: &[] };
    let attested = provider.attest_key(&key, own, &KeyMechanism::TpmCertify, &NONCE);
    assert!(matches!(attested, Err(Fault::PurposeMismatch)));
    let foreign = KeyBlob::from_bytes(b"not a blob".to_vec());
    assert!(matches!(provider.sign_hash(&foreign, ecdsa, &[0; 32]), Err(Fault::BlobInvalid(_))));
    for len in [1, 15, 65] {
        let attested = provider.attest_key(&key, AttestingKeyChoice::Default, &KeyMechanism::TpmCertify, &vec![0; len]);
        assert!(matches!(attested, Err(Fault::NonceLength { found }) if found == len));
    }
    let unknown = provider.attest_key(&key, AttestingKeyChoice::Named("nobody"), &KeyMechanism::TpmCertify, &NONCE);
    assert!(matches!(unknown, Err(Fault::AttestingKeyUnknown { name }) if name == "nobody"));
}

#[test]
fn the_default_attesting_key_is_the_one_of_the_design() {
    let swtpm = swtpm();
    let store = MemoryStore::new();
    let mut provider = open(&swtpm, &store);
    let keys = provider.attesting_keys().unwrap();
    let [key] = keys.as_slice() else { panic!("{keys:?}") };
    let public = TpmtPublic::parse(&key.public).unwrap();
    assert_eq!(public.attributes().bits(), AK_ATTRIBUTES);
    assert_eq!(public.attributes().bits(), 0x000D_0072);
    assert_eq!(public.signing_hash(), Some(HashAlg::Sha256));
    assert_eq!((key.kind, key.is_default, key.made_here), (KeyKind::EcP256, true, true));
    assert_eq!(key.families, [Family::Attest, Family::CertifyX509]);
    // It lives in the endorsement hierarchy: its qualified name says so.
    let user = provider.generate(&uid(), sign_key(KeyKind::EcP256)).unwrap();
    let made = provider.attest_key(&user, AttestingKeyChoice::Default, &KeyMechanism::TpmCertify, &[]).unwrap();
    let attest = TpmsAttest::parse(&TpmCertify::parse(&made.statement).unwrap().attest).unwrap();
    let name = public.name().unwrap();
    assert_eq!(*attest.qualified_signer(), name.qualified(&Hierarchy::Endorsement.handle().to_be_bytes()));
    assert!(attest.extra_data().is_empty());
    drop(provider);
    // Another run of the agent finds it again, and everything else.
    let mut again = open(&swtpm, &store);
    assert_eq!(again.attesting_keys().unwrap(), keys);
    check_signs(&mut again, &user);
}

#[test]
fn other_attesting_keys_are_made_by_name() {
    let swtpm = swtpm();
    let store = MemoryStore::new();
    let mut provider = open(&swtpm, &store);
    for (name, kind) in [("a-p384", KeyKind::EcP384), ("b-rsa", KeyKind::Rsa2048), ("c-p256", KeyKind::EcP256)] {
        let spec = AttestingKeySpec { kind, is_pseudonym: false };
        let made = provider.create_attesting_key(name, spec).unwrap();
        assert_eq!((made.name.as_str(), made.kind, made.is_default), (name, kind, false));
        let again = provider.create_attesting_key(name, spec);
        assert!(matches!(again, Err(Fault::AttestingKeyExists { .. })));
    }
    let spec = AttestingKeySpec { kind: KeyKind::EcP256, is_pseudonym: false };
    assert!(matches!(provider.create_attesting_key("a/b", spec), Err(Fault::AttestingKeyName { .. })));
    let keys = provider.attesting_keys().unwrap();
    let names: Vec<_> = keys.iter().map(|key| key.name.as_str()).collect();
    assert_eq!(names, ["default", "a-p384", "b-rsa", "c-p256"]);
    let distinct: std::collections::HashSet<_> = keys.iter().map(|key| key.spki.clone()).collect();
    assert_eq!(distinct.len(), 4);
    let user = provider.generate(&uid(), sign_key(KeyKind::EcP384)).unwrap();
    let choice = AttestingKeyChoice::Named("a-p384");
    let made = provider.attest_key(&user, choice, &KeyMechanism::TpmCertify, &NONCE).unwrap();
    let statement = TpmCertify::parse(&made.statement).unwrap();
    verify(&TpmtPublic::parse(&keys[1].public).unwrap(), &statement.attest, &statement.signature);
    drop(provider);
    assert_eq!(open(&swtpm, &store).attesting_keys().unwrap(), keys);
}

#[test]
fn a_key_is_certified_long_after_it_was_made_by_an_own_key_too() {
    let swtpm = swtpm();
    let store = MemoryStore::new();
    let user = open(&swtpm, &store).generate(&uid(), sign_key(KeyKind::EcP256)).unwrap();
    let mut provider = open(&swtpm, &store);
    let own = provider.generate(&uid(), KeySpec { kind: KeyKind::EcP256, purpose: KeyPurpose::Attest }).unwrap();
    let ak = TpmtPublic::parse(&provider.attesting_keys().unwrap()[0].public).unwrap();
    let own_spki = provider.export_public(&own).unwrap().spki;
    let certificate = Authority::new().certify(&own_spki, "CN=pseudonym", false);
    for choice in [
        AttestingKeyChoice::Default,
        AttestingKeyChoice::Own { key: &own, certificates: std::slice::from_ref(&certificate) },
    ] {
        let made = provider.attest_key(&user, choice, &KeyMechanism::TpmCertify, &NONCE).unwrap();
        assert_eq!((made.format, made.statement_oid), (FormatId::TpmCertify, oid::STATEMENT_TPM_CERTIFY));
        let statement = TpmCertify::parse(&made.statement).unwrap();
        let attest = TpmsAttest::parse(&statement.attest).unwrap();
        let public = TpmtPublic::parse(&statement.public.unwrap()).unwrap();
        assert_eq!(attest.extra_data(), NONCE);
        assert_eq!(public.attributes().bits(), USER_KEY_ATTRIBUTES);
        assert!(matches!(attest.attested(), Attested::Certify { name, .. } if *name == Name::of(&public).unwrap()));
        if matches!(choice, AttestingKeyChoice::Default) {
            verify(&ak, &statement.attest, &statement.signature);
            assert!(made.certificates.is_empty());
        } else {
            let TpmtSignature::Ecdsa { r, s, .. } = TpmtSignature::parse(&statement.signature).unwrap() else {
                panic!()
            };
            let key = provider.export_public(&own).unwrap().subject_public_key;
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key).verify(&statement.attest, &[r, s].concat()).unwrap();
            assert_eq!(made.certificates, std::slice::from_ref(&certificate));
        }
    }
}

#[test]
fn the_platform_is_quoted_with_its_values() {
    let swtpm = swtpm();
    let mut provider = open(&swtpm, &MemoryStore::new());
    let ak = TpmtPublic::parse(&provider.attesting_keys().unwrap()[0].public).unwrap();
    let quote = |bank, indices: &[u8]| PlatformMechanism::TpmQuote { bank, indices: indices.to_vec() };
    let all: Vec<u8> = (0..24).collect();
    for indices in [&[7, 0, 0][..], &all] {
        let mechanism = quote(Hash::Sha256, indices);
        let made = provider.attest_platform(AttestingKeyChoice::Default, &mechanism, &NONCE).unwrap();
        assert_eq!((made.format, made.statement_oid), (FormatId::TpmQuote, oid::STATEMENT_TPM_QUOTE));
        let statement = TpmQuote::parse(&made.statement).unwrap();
        verify(&ak, &statement.attest, &statement.signature);
        let attest = TpmsAttest::parse(&statement.attest).unwrap();
        assert_eq!(attest.extra_data(), NONCE);
        let values = statement.pcr_values.unwrap();
        let Attested::Quote { selection, pcr_digest } = attest.attested() else { panic!("{attest:?}") };
        assert_eq!(selection.registers().count(), values.len() / 32);
        assert_eq!(*pcr_digest, HashAlg::Sha256.digest(&[&values]));
    }
    for (bank, indices) in [(Hash::Sha384, &[0][..]), (Hash::Sha256, &[]), (Hash::Sha256, &[24])] {
        let refused = provider.attest_platform(AttestingKeyChoice::Default, &quote(bank, indices), &NONCE);
        assert!(matches!(refused, Err(Fault::PcrSelection(_))), "{bank:?} {indices:?}");
    }
}

#[test]
fn the_tpm_makes_certificates_beneath_its_own_name() {
    let swtpm = swtpm();
    let mut provider = open(&swtpm, &MemoryStore::new());
    let (authority, issuer) = enrolled(&mut provider);
    let issuer_view = CertView::parse(&issuer).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, der: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, vouchsafe_evidence::pem::encode("CERTIFICATE", der)).unwrap();
        path
    };
    let (root, ak) = (write("root.pem", &authority.certificate), write("ak.pem", &issuer));
    let mut serial_lengths = std::collections::HashSet::new();
    let kinds = [KeyKind::EcP256, KeyKind::EcP384, KeyKind::Rsa2048, KeyKind::Rsa3072];
    for (round, kind) in kinds.into_iter().cycle().take(24).enumerate() {
        let key = provider.generate(&uid(), sign_key(kind)).unwrap();
        let subject = beneath(&format!("CN=key {round}"));
        let made = provider
            .attest_key(&key, AttestingKeyChoice::Default, &KeyMechanism::TpmCertifyX509(template(subject)), &NONCE)
            .unwrap();
        assert_eq!(made.statement_oid, oid::STATEMENT_TPM_CERTIFY_X509);
        assert_eq!(made.certificates, [issuer.clone(), authority.certificate.clone()]);
        let statement = TpmCertifyX509::parse(&made.statement).unwrap();
        let leaf = &statement.certificate;
        assert_eq!(Some(leaf.as_der()), made.certificate.as_deref());
        assert!(leaf.is_strict_der(), "{:?}", leaf.quirks());
        assert_eq!(leaf.issuer(), issuer_view.subject());
        assert_eq!(*leaf.subject(), name_from_text(&format!("CN=key {round},CN=device 7,O=Example")).unwrap());
        assert_eq!(leaf.spki().as_der(), provider.export_public(&key).unwrap().spki);
        let public = TpmtPublic::parse(statement.public.as_ref().unwrap()).unwrap();
        let value = |wanted| leaf.extension(wanted).unwrap().unwrap().value().to_vec();
        assert_eq!(extensions::tpma_object(&value(oid::TPMA_OBJECT)).unwrap(), public.attributes().bits());
        assert_eq!(extensions::nonce(&value(oid::NONCE)).unwrap(), NONCE);
        let aki = authority_key_identifier(&issuer_view.spki().sha256()[..20]);
        assert!(support::contains(leaf.as_der(), &aki));
        let SpkiBits(bits) = bits_of(issuer_view.spki());
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, bits).verify(leaf.tbs(), leaf.signature()).unwrap();
        serial_lengths.insert(leaf.serial().len());
        let leaf = write("leaf.pem", leaf.as_der());
        let verified = std::process::Command::new("openssl")
            .args(["verify", "-x509_strict", "-verify_depth", "1", "-CAfile"])
            .arg(&root)
            .arg("-untrusted")
            .arg(&ak)
            .arg(&leaf)
            .output()
            .unwrap();
        assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    }
    // Half of the serial numbers have their first bit set and so one octet more.
    assert!(serial_lengths.contains(&21), "{serial_lengths:?}");
}

struct SpkiBits(Vec<u8>);

fn bits_of(spki: &SpkiView) -> SpkiBits {
    use vouchsafe_evidence::x509::PublicKey;
    let PublicKey::Ec { x, y, .. } = spki.key() else { panic!("not EC") };
    SpkiBits([&[4], x.as_slice(), y].concat())
}

#[test]
fn a_certificate_that_no_verifier_would_accept_is_not_made() {
    let swtpm = swtpm();
    let mut provider = open(&swtpm, &MemoryStore::new());
    let key = provider.generate(&uid(), sign_key(KeyKind::EcP256)).unwrap();
    let refused = |provider: &mut TpmProvider, template: CertificateTemplate| {
        let mechanism = KeyMechanism::TpmCertifyX509(template);
        match provider.attest_key(&key, AttestingKeyChoice::Default, &mechanism, &NONCE) {
            Err(Fault::Template(why)) => why,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refused(&mut provider, template(beneath("CN=key"))), Template::IssuerMissing);
    let (authority, _) = enrolled(&mut provider);
    let good = template(beneath("CN=key"));
    let foreign = CertificateTemplate { issuer_chain: vec![authority.certificate.clone()], ..good.clone() };
    let why = refused(&mut provider, foreign);
    assert_eq!((why, why.code()), (Template::IssuerNotAttestingKey, "cx509.issuer-not-attesting-key"));
    for outside in ["CN=key", "CN=key,CN=device 8,O=Example", "CN=device 7,O=Example"] {
        let absolute = SubjectName::Absolute(name_from_text(outside).unwrap().as_der().to_vec());
        let why = refused(&mut provider, template(absolute));
        assert_eq!((why, why.code()), (Template::SubjectOutsideDevice, "cx509.subject-outside-device"), "{outside}");
    }
    let backwards = CertificateTemplate { not_after: NOT_BEFORE, ..good.clone() };
    assert_eq!(refused(&mut provider, backwards), Template::Validity);
    let long = template(beneath(&format!("CN={}", "x".repeat(1024))));
    assert!(matches!(refused(&mut provider, long), Template::TooLong { limit: 1024, .. }));
    for names in [vec![], vec![0x30, 0], vec![0x30, 0x80, 0, 0], vec![0x04, 1, 1]] {
        let odd = CertificateTemplate { subject_alt_names: Some(names), ..good.clone() };
        assert_eq!(refused(&mut provider, odd), Template::NotDer("the subject alternative name"));
    }
    // The twin without any of these defects, under a chain that the caller hands in.
    let spki = provider.attesting_keys().unwrap()[0].spki.clone();
    let other = authority.certify(&spki, "CN=another name", true);
    let chain = CertificateTemplate { issuer_chain: vec![other.clone()], ..good };
    let mechanism = KeyMechanism::TpmCertifyX509(chain);
    let made = provider.attest_key(&key, AttestingKeyChoice::Default, &mechanism, &[]).unwrap();
    let leaf = CertView::parse(&made.certificate.unwrap()).unwrap();
    assert_eq!(*leaf.subject(), name_from_text("CN=key,CN=another name").unwrap());
    assert!(leaf.extension(oid::NONCE).unwrap().is_none());
    assert_eq!(made.certificates, [other]);
}

#[test]
fn an_attesting_key_on_p384_certifies_with_sha384() {
    let swtpm = swtpm();
    let settings = Settings { attesting_key_kind: KeyKind::EcP384, ..Settings::default() };
    let mut provider = TpmProvider::open(&swtpm.address(), settings, Box::new(MemoryStore::new())).unwrap();
    let (_, issuer) = enrolled(&mut provider);
    let key = provider.generate(&uid(), sign_key(KeyKind::EcP256)).unwrap();
    let mechanism = KeyMechanism::TpmCertifyX509(template(beneath("CN=key")));
    let made = provider.attest_key(&key, AttestingKeyChoice::Default, &mechanism, &NONCE).unwrap();
    let leaf = CertView::parse(&made.certificate.unwrap()).unwrap();
    let SpkiBits(bits) = bits_of(CertView::parse(&issuer).unwrap().spki());
    UnparsedPublicKey::new(&ECDSA_P384_SHA384_ASN1, bits).verify(leaf.tbs(), leaf.signature()).unwrap();
    let quote = PlatformMechanism::TpmQuote { bank: Hash::Sha256, indices: vec![0] };
    assert!(provider.attest_platform(AttestingKeyChoice::Default, &quote, &NONCE).is_ok());
}

#[test]
fn five_keys_of_users_share_three_slots() {
    let swtpm = swtpm();
    let mut provider = open(&swtpm, &MemoryStore::new());
    let keys: Vec<_> = (0..5).map(|_| provider.generate(&uid(), sign_key(KeyKind::EcP256)).unwrap()).collect();
    for round in 1..4 {
        for step in 0..5 {
            let key = &keys[step * round % 5];
            check_signs(&mut provider, key);
            provider.attest_key(key, AttestingKeyChoice::Default, &KeyMechanism::TpmCertify, &NONCE).unwrap();
        }
    }
}

#[test]
fn rsa_signatures_verify() {
    let swtpm = swtpm();
    let mut provider = open(&swtpm, &MemoryStore::new());
    let key = provider.generate(&uid(), sign_key(KeyKind::Rsa2048)).unwrap();
    let public = provider.export_public(&key).unwrap().subject_public_key;
    let scheme = SignatureScheme::RsaPkcs1v15(Hash::Sha256);
    let signature = provider.sign_hash(&key, scheme, &digest(Hash::Sha256, b"m")).unwrap();
    assert_eq!(signature.len(), 256);
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public).verify(b"m", &signature).unwrap();
}

/// What is offered for a key is what works with it, and what is not offered is refused.
#[test]
fn the_mechanisms_of_a_key_are_those_that_attest_it() {
    let swtpm = swtpm();
    let mut provider = open(&swtpm, &MemoryStore::new());
    enrolled(&mut provider);
    let names = |rows: Vec<Mechanism>| rows.into_iter().map(|row| row.name).collect::<Vec<_>>();
    let (certify, x509) = (MechanismName::TpmCertify, MechanismName::TpmCertifyX509);
    let (activate, quote) = (MechanismName::TpmActivateCredential, MechanismName::TpmQuote);
    assert_eq!(names(provider.mechanisms(None).unwrap()), [certify, x509, activate, quote]);
    for (kind, purpose, expected) in [
        (KeyKind::EcP256, KeyPurpose::Sign, &[certify, x509, activate][..]),
        (KeyKind::Rsa1024, KeyPurpose::Sign, &[certify, x509, activate]),
        (KeyKind::Rsa2048, KeyPurpose::Decrypt, &[certify, x509, activate]),
        (KeyKind::EcP256, KeyPurpose::Attest, &[certify, x509, activate]),
    ] {
        let key = provider.generate(&uid(), KeySpec { kind, purpose }).unwrap();
        let offered = names(provider.mechanisms(Some(&key)).unwrap());
        let usages = match purpose {
            KeyPurpose::Decrypt => [KeyUsage::KEY_ENCIPHERMENT, KeyUsage::DATA_ENCIPHERMENT],
            KeyPurpose::Sign | KeyPurpose::Attest => [KeyUsage::DIGITAL_SIGNATURE, KeyUsage::NON_REPUDIATION],
        };
        let mut working = Vec::new();
        let mut attempt = |mechanism: &KeyMechanism| {
            provider.attest_key(&key, AttestingKeyChoice::Default, mechanism, &NONCE).is_ok()
        };
        if attempt(&KeyMechanism::TpmCertify) {
            working.push(certify);
        }
        let certifies = usages.map(|key_usage| {
            attempt(&KeyMechanism::TpmCertifyX509(CertificateTemplate { key_usage, ..template(beneath("CN=k")) }))
        });
        if certifies.contains(&true) {
            working.push(x509);
        }
        assert!(!attempt(&KeyMechanism::PkixEvidence(EvidenceRequest::default())));
        let parameters = provider.activation_parameters(&key).unwrap();
        assert!(!parameters.endorsement_key.is_empty());
        working.push(activate);
        assert_eq!((&offered[..], &working[..]), (expected, expected), "{kind:?} {purpose:?}");
    }
}
