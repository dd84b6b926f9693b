//! Enrolment of attesting keys on a software TPM: endorsement keys, credentials, certificates.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    missing_docs
)]

#[path = "support/credential.rs"]
mod credential;
#[path = "support/pki.rs"]
mod pki;
#[path = "support/provider.rs"]
mod provider;
#[path = "support/tpm.rs"]
mod support;

use pki::Authority;
use provider::open;
use support::{Proxy, code, refusal, swtpm};
use vouchsafe_agent::provider::tpm::{Settings, TpmProvider};
use vouchsafe_agent::provider::{ActivatedKey, Activation, Attester, Family, FamilyCertificates, Fault, MemoryStore};
use vouchsafe_agent::tpm::{AuthValue, Hierarchy, Tpm, nv_attributes};
use vouchsafe_evidence::tpm::template::{AK_ATTRIBUTES, EkTemplate, SigningKey, signing_key};
use vouchsafe_evidence::tpm::{HashAlg, Name, PublicParameters, TpmtPublic};
use vouchsafe_evidence::x509::{CertView, SpkiView};

#[test]
fn certificates_of_another_key_are_not_installed() {
    let swtpm = swtpm();
    let mut provider = open(&swtpm, &MemoryStore::new());
    let authority = Authority::new();
    let install = |provider: &mut TpmProvider, certificates: Vec<Vec<u8>>| {
        provider.install_certificates("", FamilyCertificates { family: Family::Attest, certificates })
    };
    let spki = provider.attesting_keys().unwrap()[0].spki.clone();
    let own = authority.certify(&spki, "CN=a", false);
    for wrong in [
        vec![],
        vec![authority.certificate.clone(), own.clone()],
        vec![own.clone(), b"garbage".to_vec()],
        vec![own.clone(); 9],
    ] {
        assert!(matches!(install(&mut provider, wrong), Err(Fault::CertificateMismatch)));
    }
    assert!(provider.attesting_keys().unwrap()[0].certificates.is_empty());
    install(&mut provider, vec![own.clone()]).unwrap();
    let installed = &provider.attesting_keys().unwrap()[0].certificates;
    assert_eq!(*installed, [FamilyCertificates { family: Family::Attest, certificates: vec![own] }]);
}

#[test]
fn credentials_for_each_certified_endorsement_key_open_and_others_do_not() {
    let swtpm = swtpm();
    let mut provider = open(&swtpm, &MemoryStore::new());
    let endorsement = provider.endorsement("").unwrap();
    assert_eq!(endorsement.attesting_key, "default");
    assert_eq!(Name::of(&TpmtPublic::parse(&endorsement.public).unwrap()).unwrap().as_bytes(), endorsement.name);
    let keys: Vec<_> =
        endorsement.certificates.iter().map(|der| CertView::parse(der).unwrap().spki().clone()).collect();
    assert_eq!(keys.len(), 2, "RSA-2048 and P-384");
    for ek in &keys {
        let good = credential::make(ek, &endorsement.name, &[7; 32]);
        let activate = |provider: &mut TpmProvider, credential: &[u8], secret: &[u8]| {
            provider.activate(Activation { key: ActivatedKey::Attesting("default"), credential, secret })
        };
        assert_eq!(activate(&mut provider, &good.credential, &good.secret).unwrap().as_slice(), [7; 32]);
        let mut other_name = endorsement.name.clone();
        other_name[33] ^= 1;
        let other = credential::make(ek, &other_name, &[7; 32]);
        let mut bad_seed = good.secret.clone();
        *bad_seed.last_mut().unwrap() ^= 1;
        let mut bad_identity = good.credential.clone();
        *bad_identity.last_mut().unwrap() ^= 1;
        // Often enough to lock anything that counts failures.
        for _ in 0..8 {
            for (credential, secret) in [
                (&other.credential, &other.secret),
                (&good.credential, &bad_seed),
                (&bad_identity, &good.secret),
                (&good.credential, &vec![0, 0]),
                (&vec![], &good.secret),
                (&vec![0xFF; 1100], &vec![0xFF; 1100]),
            ] {
                let refused = activate(&mut provider, credential, secret);
                assert!(matches!(refused, Err(Fault::ActivationRefused)), "{refused:?}");
            }
        }
        assert_eq!(activate(&mut provider, &good.credential, &good.secret).unwrap().as_slice(), [7; 32]);
    }
    let nobody = Activation { key: ActivatedKey::Attesting("nobody"), credential: &[], secret: &[] };
    assert!(matches!(provider.activate(nobody), Err(Fault::AttestingKeyUnknown { .. })));
}

#[test]
fn a_failure_of_activation_is_no_failure_of_the_tpm() {
    let swtpm = swtpm();
    let proxy = Proxy::before(&swtpm);
    let mut provider =
        TpmProvider::over(Box::new(proxy.connection()), Settings::default(), Box::new(MemoryStore::new())).unwrap();
    let endorsement = provider.endorsement("").unwrap();
    let ek = CertView::parse(&endorsement.certificates[0]).unwrap().spki().clone();
    let good = credential::make(&ek, &endorsement.name, &[7; 32]);
    let started = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = started.clone();
    proxy.answer_instead(move |command| {
        if code(command) == 0x144 {
            count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
        (code(command) == 0x147).then(|| refusal(0x101))
    });
    let activation =
        Activation { key: ActivatedKey::Attesting(""), credential: &good.credential, secret: &good.secret };
    assert!(matches!(provider.activate(activation), Err(Fault::ActivationRefused)));
    assert_eq!(started.load(std::sync::atomic::Ordering::SeqCst), 0, "the connection was opened anew");
}

#[test]
fn every_endorsement_key_template_activates() {
    let swtpm = swtpm();
    let mut tpm = swtpm.connect().unwrap();
    support::salted(&mut tpm);
    let auth = AuthValue::new(&[3; 32]);
    let template = signing_key(SigningKey::EccP256, AK_ATTRIBUTES, Some(HashAlg::Sha256), b"u");
    let (ak, _) = tpm.create_primary(Hierarchy::Endorsement, &template, &auth).unwrap();
    for template in EkTemplate::ALL {
        let (ek, public) = tpm.create_primary(Hierarchy::Endorsement, &template.public(), &AuthValue::empty()).unwrap();
        let spki = match public.parameters() {
            PublicParameters::Rsa { modulus, .. } => SpkiView::from_rsa(modulus, &[1, 0, 1]),
            PublicParameters::Ecc { curve, x, y, .. } => {
                let curve = if curve.field_len() == 48 {
                    vouchsafe_evidence::x509::NamedCurve::P384
                } else {
                    vouchsafe_evidence::x509::NamedCurve::P256
                };
                SpkiView::from_ec(curve, x, y)
            }
            other => panic!("{other:?}"),
        }
        .unwrap();
        let challenge = credential::make(&spki, ak.name(), &[8; 32]);
        let (credential, secret) = (&challenge.credential[2..], &challenge.secret[2..]);
        let opened = if template.needs_policy() {
            let without = tpm.activate_credential(&ak, &ek, None, credential, secret);
            assert!(matches!(without, Err(Fault::Tpm { .. })), "{}", template.label());
            let mut session = tpm.start_policy_session().unwrap();
            tpm.policy_secret_endorsement(&session).unwrap();
            let opened = tpm.activate_credential(&ak, &ek, Some(&mut session), credential, secret);
            // The policy is spent with its use.
            let again = tpm.activate_credential(&ak, &ek, Some(&mut session), credential, secret);
            assert!(matches!(again, Err(Fault::Tpm { code, .. }) if code.get() == 0xA9D), "{}", template.label());
            tpm.end_session(&session).unwrap();
            opened
        } else {
            tpm.activate_credential(&ak, &ek, None, credential, secret)
        };
        assert_eq!(opened.unwrap().as_slice(), [8; 32], "{}", template.label());
        tpm.flush(&ek).unwrap();
    }
}

fn nv_store(tpm: &mut Tpm, index: u32, contents: &[u8]) {
    let attributes =
        nv_attributes::OWNER_READ | nv_attributes::AUTH_READ | nv_attributes::NO_DA | nv_attributes::AUTH_WRITE;
    tpm.nv_define(index, attributes, u16::try_from(contents.len()).unwrap()).unwrap();
    let public = tpm.nv_read_public(index).unwrap();
    tpm.nv_write(&public, contents).unwrap();
}

#[test]
fn certificate_chain_nonce_and_padding_in_nv_are_honored() {
    let swtpm = swtpm();
    let der = |path: std::path::PathBuf| {
        vouchsafe_evidence::pem::read(&std::fs::read(path).unwrap()).unwrap()[0].contents().to_vec()
    };
    let (issuer, root) = (der(swtpm.issuer_certificate()), der(swtpm.root_certificate()));
    let mut tpm = swtpm.connect().unwrap();
    support::salted(&mut tpm);
    // The chain runs over two indices, cut in the middle of a certificate, padding at its end; a third index behind a gap.
    let chain = [issuer.clone(), root.clone(), vec![0xFF; 37]].concat();
    let (first, second) = chain.split_at(issuer.len() + 11);
    nv_store(&mut tpm, 0x01C0_0100, first);
    nv_store(&mut tpm, 0x01C0_0101, second);
    nv_store(&mut tpm, 0x01C0_0103, &issuer);
    // A P-256 endorsement key of the low range that only its nonce leads to, with a padded certificate.
    let nonce = [0x5A; 20];
    nv_store(&mut tpm, 0x01C0_000B, &nonce);
    let mut x = vec![0; 32];
    x[..20].copy_from_slice(&nonce);
    let default = EkTemplate::L2.public();
    let PublicParameters::Ecc { symmetric, scheme, curve, y, .. } = default.parameters().clone() else { panic!() };
    let parameters = PublicParameters::Ecc { symmetric, scheme, curve, x, y };
    let template = TpmtPublic::build(default.name_alg(), default.attributes(), default.auth_policy(), parameters);
    let (ek, public) = tpm.create_primary(Hierarchy::Endorsement, &template, &AuthValue::empty()).unwrap();
    tpm.flush(&ek).unwrap();
    let PublicParameters::Ecc { x, y, .. } = public.parameters() else { panic!() };
    let spki = SpkiView::from_ec(vouchsafe_evidence::x509::NamedCurve::P256, x, y).unwrap();
    let certificate = Authority::new().certify(spki.as_der(), "CN=ek", false);
    nv_store(&mut tpm, 0x01C0_000A, &[certificate.clone(), vec![0; 64]].concat());
    // A certificate whose key no template gives, and one that is no certificate.
    let foreign = Authority::new();
    nv_store(&mut tpm, 0x01C0_0014, &foreign.certificate);
    nv_store(&mut tpm, 0x01C0_0012, &[0xAB; 100]);
    drop(tpm);
    let store = MemoryStore::new();
    let mut provider = open(&swtpm, &store);
    let endorsement = provider.endorsement("").unwrap();
    assert_eq!(endorsement.chain, [issuer, root]);
    assert_eq!(endorsement.certificates.len(), 3);
    assert!(endorsement.certificates.contains(&certificate));
    let challenge = credential::make(&spki, &endorsement.name, &[9; 16]);
    let activation =
        Activation { key: ActivatedKey::Attesting(""), credential: &challenge.credential, secret: &challenge.secret };
    assert_eq!(provider.activate(activation).unwrap().as_slice(), [9; 16]);
}
