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
use provider::{NONCE, beneath, open, sign_key, template, uid};
use support::{Proxy, SRK_HANDLE, code, contains, refusal, swtpm};
use vouchsafe_agent::provider::tpm::{Settings, TpmProvider};
use vouchsafe_agent::provider::{
    ActivatedKey, Activation, Attester, AttestingKeyChoice, AttestingKeySource, AttestingKeySpec, Family,
    FamilyCertificates, Fault, Hash, KeyKind, KeyMechanism, KeyProvider, KeyPurpose, KeySpec, MechanismName,
    MemoryStore, PlatformMechanism, Unfit,
};
use vouchsafe_agent::swtpm::Swtpm;
use vouchsafe_agent::tpm::{AuthValue, Hierarchy, Tpm, nv_attributes};
use vouchsafe_evidence::oid::Oid;
use vouchsafe_evidence::statement::{TpmCertify, TpmCertifyX509};
use vouchsafe_evidence::tpm::template::{
    AK_ATTRIBUTES, EkTemplate, PLAIN_AK_ATTRIBUTES, SigningKey, USER_KEY_ATTRIBUTES, signing_key, storage_root_key,
};
use vouchsafe_evidence::tpm::{HashAlg, Name, ObjectAttributes, PublicParameters, TpmtPublic};
use vouchsafe_evidence::x509::build::DerWriter;
use vouchsafe_evidence::x509::{CertView, SpkiView};

#[test]
fn certificates_of_another_key_are_not_installed() {
    let swtpm = swtpm();
    let mut provider = open(&swtpm, &MemoryStore::new());
    let authority = Authority::new();
    let install = |provider: &mut TpmProvider, certificates: Vec<Vec<u8>>| {
        provider.install_certificates("", &[FamilyCertificates { family: Family::Attest, certificates }])
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

/// The authValue of keys that are made elsewhere.
const AUTH: [u8; 32] = [0x61; 32];

fn attesting(attributes: u32) -> TpmtPublic {
    signing_key(SigningKey::EccP256, attributes, Some(HashAlg::Sha256), &[])
}

fn wrapped(public: &TpmtPublic, private: &[u8]) -> Vec<u8> {
    [credential::tpm2b(public.as_bytes()), credential::tpm2b(private)].concat()
}

fn of_object(octets: &[u8], parent: Option<u32>, auth: &[u8]) -> AttestingKeySource {
    AttestingKeySource::Wrapped { octets: octets.to_vec().into(), parent, auth: auth.to_vec().into() }
}

fn of_handle(handle: u32, auth: &[u8]) -> AttestingKeySource {
    AttestingKeySource::Resident { handle, auth: auth.to_vec().into() }
}

fn certified_by(provider: &mut TpmProvider, name: &str) -> TpmCertify {
    let key = provider.generate(&uid(), sign_key(KeyKind::EcP256)).unwrap();
    let choice = AttestingKeyChoice::Named(name);
    let made = provider.attest_key(&key, choice, &KeyMechanism::TpmCertify, &NONCE).unwrap();
    TpmCertify::parse(&made.statement).unwrap()
}

/// A PEM file as OpenSSL's providers for TPMs write it.
fn loadable_key(key_type: &str, parent: u32, public: &TpmtPublic, private: &[u8]) -> Vec<u8> {
    let mut w = DerWriter::new();
    w.sequence(|key| {
        key.oid(Oid::from_dotted(key_type).unwrap());
        key.raw(&[0xA0, 3, 1, 1, 0xFF]);
        key.uint(parent.into());
        key.octet_string(&credential::tpm2b(public.as_bytes()));
        key.octet_string(&credential::tpm2b(private));
    });
    vouchsafe_evidence::pem::encode("TSS2 PRIVATE KEY", &w.into_der()).into_bytes()
}

/// A storage key that is not the agent's.
fn other_parent() -> TpmtPublic {
    let root = storage_root_key();
    let PublicParameters::Ecc { symmetric, scheme, curve, y, .. } = root.parameters().clone() else { panic!() };
    let parameters = PublicParameters::Ecc { symmetric, scheme, curve, x: vec![7; 32], y };
    TpmtPublic::build(root.name_alg(), root.attributes(), root.auth_policy(), parameters)
}

#[test]
fn attesting_keys_that_were_made_elsewhere_are_brought_in() {
    const OTHER_PARENT: u32 = 0x8100_0100;
    const RESIDENT: u32 = 0x8101_0123;
    let swtpm = swtpm();
    let mut tpm = swtpm.connect().unwrap();
    let (root, _) = support::salted(&mut tpm);
    let auth = AuthValue::new(&AUTH);
    let under_root = tpm.create(&root, &attesting(AK_ATTRIBUTES), &auth).unwrap();
    let in_file = tpm.create(&root, &attesting(PLAIN_AK_ATTRIBUTES | ObjectAttributes::NO_DA), &auth).unwrap();
    let (parent, public) = tpm.create_primary(Hierarchy::Owner, &other_parent(), &AuthValue::empty()).unwrap();
    let parent = tpm.persist(&parent, OTHER_PARENT, &public).unwrap();
    let elsewhere = tpm.create(&parent, &attesting(AK_ATTRIBUTES), &auth).unwrap();
    let (resident, resident_public) =
        tpm.create_primary(Hierarchy::Endorsement, &attesting(AK_ATTRIBUTES), &auth).unwrap();
    tpm.persist(&resident, RESIDENT, &resident_public).unwrap();
    tpm.flush(&resident).unwrap();
    drop(tpm);
    let store = MemoryStore::new();
    let mut provider = open(&swtpm, &store);
    let both = [Family::Attest, Family::CertifyX509];
    let file = loadable_key("2.23.133.10.1.3", 0x4000_0001, &in_file.public, &in_file.private);
    let other = wrapped(&elsewhere.public, &elsewhere.private);
    let refused = provider.adopt_attesting_key("o", of_object(&other, None, &AUTH), &[]);
    assert!(matches!(refused, Err(Fault::AttestingKeyUnfit(Unfit::WrongParent))), "{refused:?}");
    for (name, source, public, families) in [
        (
            "object",
            of_object(&wrapped(&under_root.public, &under_root.private), None, &AUTH),
            &under_root.public,
            &both[..],
        ),
        ("file", of_object(&file, None, &AUTH), &in_file.public, &both[..1]),
        ("other", of_object(&other, Some(OTHER_PARENT), &AUTH), &elsewhere.public, &both[..]),
        ("resident", of_handle(RESIDENT, &AUTH), &resident_public, &both[..]),
    ] {
        let made = provider.adopt_attesting_key(name, source.clone(), &[]).unwrap();
        assert_eq!((made.name.as_str(), made.is_default, made.made_here), (name, false, false));
        assert_eq!((made.public.as_slice(), made.families.as_slice()), (public.as_bytes(), families), "{name}");
        certified_by(&mut provider, name);
        // Neither the name nor the key is taken twice.
        let again = provider.adopt_attesting_key(name, source.clone(), &[]);
        assert!(matches!(again, Err(Fault::AttestingKeyExists { .. })), "{again:?}");
        let again = provider.adopt_attesting_key("again", source, &[]);
        assert!(matches!(again, Err(Fault::AttestingKeyUnfit(Unfit::Known))), "{again:?}");
    }
    let keys = provider.attesting_keys().unwrap();
    drop(provider);
    // Another run of the agent, whose store has the authValue in no form that is of use.
    let mut again = open(&swtpm, &store);
    assert_eq!(again.attesting_keys().unwrap(), keys);
    for name in ["object", "file", "other", "resident"] {
        certified_by(&mut again, name);
        let record = vouchsafe_agent::provider::StateStore::load(&store, "tpm.attesting-key.imported", name);
        assert!(!contains(&record.unwrap().unwrap(), &AUTH), "{name}");
    }
    drop(again);
    // A handle that somebody has emptied: what was wrapped is loaded again, what was only there is gone.
    let mut tpm = swtpm.connect().unwrap();
    support::salted(&mut tpm);
    for handle in
        tpm.handles(0x8101_0123).unwrap().into_iter().filter(|handle| (RESIDENT..0x8102_0000).contains(handle))
    {
        let public = tpm.read_public(handle).unwrap();
        let is_imported = handle == RESIDENT || public == under_root.public;
        if is_imported {
            tpm.unpersist(&vouchsafe_agent::tpm::Object::persistent(handle, &public, AuthValue::empty())).unwrap();
        }
    }
    drop(tpm);
    let mut again = open(&swtpm, &store);
    certified_by(&mut again, "object");
    let names: Vec<_> = again.attesting_keys().unwrap().into_iter().map(|key| key.name).collect();
    assert_eq!(names, ["default", "file", "object", "other"]);
}

/// What a key of these attributes is refused with, whoever wrapped it: that is seen before the TPM is asked.
fn refused_for(provider: &mut TpmProvider, public: &TpmtPublic) -> Unfit {
    let source = of_object(&wrapped(public, &[1; 40]), None, &AUTH);
    match provider.adopt_attesting_key("x", source, &[]) {
        Err(Fault::AttestingKeyUnfit(unfit)) => unfit,
        other => panic!("{other:?}"),
    }
}

#[test]
fn keys_that_may_not_attest_for_the_machine_are_refused_by_name() {
    let swtpm = swtpm();
    let mut provider = open(&swtpm, &MemoryStore::new());
    for (attributes, unfit) in [
        (USER_KEY_ATTRIBUTES, Unfit::NotRestricted("restricted")),
        (AK_ATTRIBUTES & !ObjectAttributes::SIGN, Unfit::NotRestricted("sign")),
        (AK_ATTRIBUTES & !ObjectAttributes::FIXED_TPM, Unfit::Duplicable("fixedTPM")),
        (AK_ATTRIBUTES & !ObjectAttributes::FIXED_PARENT, Unfit::Duplicable("fixedParent")),
        (AK_ATTRIBUTES & !ObjectAttributes::SENSITIVE_DATA_ORIGIN, Unfit::Origin),
        (AK_ATTRIBUTES & !ObjectAttributes::USER_WITH_AUTH, Unfit::Policy),
        (AK_ATTRIBUTES | ObjectAttributes::ADMIN_WITH_POLICY, Unfit::Policy),
        (AK_ATTRIBUTES | ObjectAttributes::ENCRYPTED_DUPLICATION, Unfit::OtherAttribute),
        (AK_ATTRIBUTES | ObjectAttributes::ST_CLEAR, Unfit::OtherAttribute),
        (AK_ATTRIBUTES | ObjectAttributes::DECRYPT, Unfit::StorageKey),
        (USER_KEY_ATTRIBUTES | ObjectAttributes::DECRYPT, Unfit::Decrypts),
    ] {
        assert_eq!(refused_for(&mut provider, &attesting(attributes)), unfit, "{attributes:#x}");
    }
    let any_scheme = signing_key(SigningKey::EccP256, AK_ATTRIBUTES, None, &[]);
    assert_eq!(refused_for(&mut provider, &any_scheme), Unfit::Scheme);
    let large = signing_key(SigningKey::EccP521, AK_ATTRIBUTES, Some(HashAlg::Sha512), &[]);
    assert_eq!(refused_for(&mut provider, &large), Unfit::Kind);
    for template in EkTemplate::ALL {
        assert_eq!(refused_for(&mut provider, &template.public()), Unfit::EndorsementKey, "{}", template.label());
    }
    assert_eq!(refused_for(&mut provider, &storage_root_key()), Unfit::StorageKey);
    // A key of a client, which the service knows by its public half.
    let client = provider.generate(&uid(), KeySpec { kind: KeyKind::EcP256, purpose: KeyPurpose::Attest }).unwrap();
    let spki = provider.export_public(&client).unwrap().spki;
    let made = provider.attest_key(&client, AttestingKeyChoice::Default, &KeyMechanism::TpmCertify, &NONCE).unwrap();
    let public = TpmtPublic::parse(&TpmCertify::parse(&made.statement).unwrap().public.unwrap()).unwrap();
    let source = of_object(&wrapped(&public, &[1; 40]), None, &AUTH);
    let refused = provider.adopt_attesting_key("x", source, &[spki]);
    assert!(matches!(refused, Err(Fault::AttestingKeyUnfit(Unfit::ClientKey))), "{refused:?}");
    // What is no key at all, or nowhere.
    for octets in [
        &b""[..],
        b"garbage",
        b"-----BEGIN TSS2 PRIVATE KEY-----\nAA==\n-----END TSS2 PRIVATE KEY-----\n",
        &[0; 20_000],
    ] {
        let refused = provider.adopt_attesting_key("x", of_object(octets, None, &AUTH), &[]);
        assert!(matches!(refused, Err(Fault::AttestingKeyUnfit(Unfit::Unreadable))), "{refused:?}");
    }
    let importable = loadable_key("2.23.133.10.1.4", 0x4000_0001, &attesting(AK_ATTRIBUTES), &[1; 40]);
    let refused = provider.adopt_attesting_key("x", of_object(&importable, None, &AUTH), &[]);
    assert!(matches!(refused, Err(Fault::AttestingKeyUnfit(Unfit::Unreadable))), "{refused:?}");
    for handle in [0, 0x8101_0FFF, 0x01C0_0002, 0x8180_0001, u32::MAX] {
        let refused = provider.adopt_attesting_key("x", of_handle(handle, &AUTH), &[]);
        assert!(matches!(refused, Err(Fault::AttestingKeyUnfit(Unfit::Missing))), "{handle:#x}: {refused:?}");
    }
    // Handles that are known for something else.
    for (handle, unfit) in
        [(SRK_HANDLE, Unfit::StorageKey), (0x8101_0001, Unfit::EndorsementKey), (0x8101_8000, Unfit::Known)]
    {
        match provider.adopt_attesting_key("x", of_handle(handle, &AUTH), &[]) {
            Err(Fault::AttestingKeyUnfit(found)) => assert_eq!(found, unfit, "{handle:#x}"),
            other => panic!("{handle:#x}: {other:?}"),
        }
    }
    assert_eq!(provider.attesting_keys().unwrap().len(), 1);
}

/// A29: a key that anybody can use who reaches the TPM is not made the machine's.
#[test]
fn an_attesting_key_with_an_authorization_that_is_empty_short_or_wrong_is_refused() {
    let swtpm = swtpm();
    let mut tpm = swtpm.connect().unwrap();
    let (root, _) = support::salted(&mut tpm);
    let open_to_all = tpm.create(&root, &attesting(AK_ATTRIBUTES), &AuthValue::empty()).unwrap();
    let guarded = tpm.create(&root, &attesting(AK_ATTRIBUTES), &AuthValue::new(&AUTH)).unwrap();
    drop(tpm);
    let mut provider = open(&swtpm, &MemoryStore::new());
    let mut refused = |created: &vouchsafe_agent::tpm::Created, auth: &[u8]| match provider.adopt_attesting_key(
        "x",
        of_object(&wrapped(&created.public, &created.private), None, auth),
        &[],
    ) {
        Err(Fault::AttestingKeyUnfit(unfit)) => unfit,
        other => panic!("{other:?}"),
    };
    // Octets of zero at the end are no part of an authValue.
    for auth in [&b""[..], b"secret", &[1; 15], &[0; 32]] {
        assert_eq!(refused(&open_to_all, auth), Unfit::AuthWeak, "{auth:?}");
        assert_eq!(refused(&guarded, auth), Unfit::AuthWeak, "{auth:?}");
    }
    assert_eq!(refused(&open_to_all, &AUTH), Unfit::AuthWrong);
    assert_eq!(refused(&guarded, &[2; 32]), Unfit::AuthWrong);
    let source = of_object(&wrapped(&guarded.public, &guarded.private), None, &AUTH);
    provider.adopt_attesting_key("x", source, &[]).unwrap();
    certified_by(&mut provider, "x");
}

fn pseudonym(provider: &mut TpmProvider) -> Vec<u8> {
    let spec = AttestingKeySpec { kind: KeyKind::EcP256, is_pseudonym: true };
    let made = provider.create_attesting_key("pseudonym", spec).unwrap();
    assert!(made.is_pseudonym && made.made_here && !made.is_default);
    assert_eq!(made.families, [Family::CertifyX509]);
    assert_eq!(TpmtPublic::parse(&made.public).unwrap().attributes().bits(), AK_ATTRIBUTES);
    made.spki
}

#[test]
fn a_pseudonym_makes_certificates_and_signs_nothing_that_carries_the_clock() {
    let swtpm = swtpm();
    let store = MemoryStore::new();
    let mut provider = open(&swtpm, &store);
    let spki = pseudonym(&mut provider);
    let choice = AttestingKeyChoice::Named("pseudonym");
    let key = provider.generate(&uid(), sign_key(KeyKind::EcP256)).unwrap();
    let refused = provider.attest_key(&key, choice, &KeyMechanism::TpmCertify, &NONCE);
    assert!(matches!(refused, Err(Fault::MechanismMissing { mechanism: MechanismName::TpmCertify, .. })));
    let quote = PlatformMechanism::TpmQuote { bank: Hash::Sha256, indices: vec![0] };
    let refused = provider.attest_platform(choice, &quote, &NONCE);
    assert!(matches!(refused, Err(Fault::MechanismMissing { mechanism: MechanismName::TpmQuote, .. })), "{refused:?}");
    let authority = Authority::new();
    let certificates = |leaf: Vec<u8>| vec![leaf, authority.certificate.clone()];
    let plain = FamilyCertificates {
        family: Family::Attest,
        certificates: certificates(authority.certify(&spki, "CN=a", false)),
    };
    let refused = provider.install_certificates("pseudonym", &[plain]);
    assert!(matches!(refused, Err(Fault::MechanismMissing { .. })), "{refused:?}");
    let issuer = authority.certify(&spki, "CN=5d41402a", true);
    let chain = FamilyCertificates { family: Family::CertifyX509, certificates: certificates(issuer) };
    provider.install_certificates("pseudonym", &[chain]).unwrap();
    let mechanism = KeyMechanism::TpmCertifyX509(template(beneath("CN=key")));
    let made = provider.attest_key(&key, choice, &mechanism, &NONCE).unwrap();
    let statement = TpmCertifyX509::parse(&made.statement).unwrap();
    assert_eq!(statement.certificate.issuer(), CertView::parse(&made.certificates[0]).unwrap().subject());
    // Nothing of what is known of this TPM goes along: no endorsement key, no other attesting key, no Name of either.
    let endorsement = provider.endorsement("").unwrap();
    let mut known =
        vec![endorsement.name.clone(), endorsement.spki.clone(), provider.endorsement("pseudonym").unwrap().name];
    for certificate in &endorsement.certificates {
        let certificate = CertView::parse(certificate).unwrap();
        known.push(certificate.spki().as_der().to_vec());
        known.push(certificate.issuer().as_der().to_vec());
    }
    let emitted = [vec![made.statement, made.certificate.unwrap()], made.certificates].concat().concat();
    for part in known {
        assert!(part.len() > 8 && !contains(&emitted, &part), "{part:x?}");
    }
    // Another run finds it, as what it is.
    let keys = provider.attesting_keys().unwrap();
    drop(provider);
    let mut again = open(&swtpm, &store);
    assert_eq!(again.attesting_keys().unwrap(), keys);
    let refused = again.attest_key(&key, choice, &KeyMechanism::TpmCertify, &NONCE);
    assert!(matches!(refused, Err(Fault::MechanismMissing { .. })));
    drop(again);
    // It is the owner's: it goes with the owner, as the default one, which is the module's, does not.
    let mut tpm = swtpm.connect().unwrap();
    tpm.clear().unwrap();
    drop(tpm);
    let mut cleared = open(&swtpm, &store);
    let names: Vec<_> = cleared.attesting_keys().unwrap().into_iter().map(|key| key.name).collect();
    assert_eq!(names, ["default"]);
}

#[test]
fn a_pseudonym_itself_is_activated_against_the_endorsement_key() {
    let swtpm: Swtpm = swtpm();
    let mut provider = open(&swtpm, &MemoryStore::new());
    let spki = pseudonym(&mut provider);
    let endorsement = provider.endorsement("pseudonym").unwrap();
    assert_eq!(endorsement.spki, spki);
    for certificate in &endorsement.certificates {
        let ek = CertView::parse(certificate).unwrap().spki().clone();
        let good = credential::make(&ek, &endorsement.name, &[7; 32]);
        let activation = |key| Activation { key, credential: &good.credential, secret: &good.secret };
        let opened = provider.activate(activation(ActivatedKey::Attesting("pseudonym"))).unwrap();
        assert_eq!(opened.as_slice(), [7; 32]);
        // Not by another attesting key of the same TPM.
        let refused = provider.activate(activation(ActivatedKey::Attesting("")));
        assert!(matches!(refused, Err(Fault::ActivationRefused)));
    }
}
