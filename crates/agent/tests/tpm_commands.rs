//! TPM commands on a software TPM: what they give, checked with a cryptographic library of its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    missing_docs
)]

#[path = "support/tpm.rs"]
mod support;

use support::{SRK_HANDLE, salted, swtpm};
use vouchsafe_agent::provider::Fault;
use vouchsafe_agent::tpm::{
    Address, AuthValue, Duplicate, Hierarchy, Property, ResponseCode, Sensitive, SignScheme, Ticket, Tpm, nv_attributes,
};
use vouchsafe_evidence::tpm::template::{
    AK_ATTRIBUTES, EkTemplate, PLAIN_AK_ATTRIBUTES, SigningKey, USER_KEY_ATTRIBUTES, signing_key,
};
use vouchsafe_evidence::tpm::{Attested, HashAlg, PcrBank, PcrSelection, PublicParameters, TpmtPublic, TpmtSignature};

fn refused(result: Result<impl Sized, Fault>) -> u32 {
    match result {
        Err(Fault::Tpm { code, .. }) => code.get(),
        Err(fault) => panic!("{fault}"),
        Ok(_) => panic!("not refused"),
    }
}

#[test]
fn capabilities_random_numbers_clock_and_registers() {
    let swtpm = swtpm();
    let mut tpm = swtpm.connect().unwrap();
    salted(&mut tpm);
    assert_eq!(tpm.property(Property::Manufacturer).unwrap(), Some(u32::from_be_bytes(*b"IBM\0")));
    assert!(tpm.has_certify_x509().unwrap());
    assert!(tpm.has_algorithm(HashAlg::Sha384.id()).unwrap());
    assert!(!tpm.has_algorithm(0x7FFE).unwrap());
    assert!(tpm.handles(0x8100_0000).unwrap().contains(&SRK_HANDLE));
    let (first, second) = (tpm.random(100).unwrap(), tpm.random(100).unwrap());
    assert_eq!((first.len(), second.len()), (100, 100));
    assert_ne!(first, second);
    let (_, clock) = tpm.read_clock().unwrap();
    assert!(tpm.read_clock().unwrap().1.clock_ms >= clock.clock_ms);

    let all: Vec<u8> = (0..24).rev().collect();
    let values = tpm.pcr_read(HashAlg::Sha256, &all).unwrap();
    assert_eq!(values.values.iter().map(|(index, _)| *index).collect::<Vec<_>>(), (0..24).collect::<Vec<u8>>());
    assert_eq!(values.concatenated().len(), 24 * 32);
    let before = tpm.pcr_read(HashAlg::Sha256, &[16]).unwrap();
    tpm.pcr_extend(16, HashAlg::Sha256, &[7; 32]).unwrap();
    let after = tpm.pcr_read(HashAlg::Sha256, &[16]).unwrap();
    assert_eq!(after.values[0].1, HashAlg::Sha256.digest(&[&before.values[0].1, &[7; 32]]));
    assert!(matches!(tpm.pcr_read(HashAlg::Sha384, &[0]), Err(Fault::PcrSelection(_))));
    assert!(matches!(tpm.pcr_read(HashAlg::Sha256, &[24]), Err(Fault::PcrSelection(_))));
}

#[test]
fn five_keys_share_three_slots() {
    let swtpm = swtpm();
    let mut tpm = swtpm.connect().unwrap();
    let (srk, _) = salted(&mut tpm);
    let template = signing_key(SigningKey::EccP256, USER_KEY_ATTRIBUTES, None, &[]);
    let mut keys = Vec::new();
    for index in 0..5_u8 {
        let auth = AuthValue::new(&[index + 1; 32]);
        let created = tpm.create(&srk, &template, &auth).unwrap();
        let key = tpm.load(&srk, &created.private, &created.public, auth).unwrap();
        keys.push((key, created.public));
    }
    let digest = HashAlg::Sha256.digest(&[b"message"]);
    for round in 0..3_usize {
        for step in 0..5_usize {
            let (key, public) = &keys[(step * (round + 1)) % 5];
            let signature =
                tpm.sign(key, &digest, SignScheme::Ecdsa(HashAlg::Sha256), &Ticket::null_hash_check()).unwrap();
            verify(public, b"message", &signature);
        }
    }
    // Two of them in one command, whichever are loaded.
    for (a, b) in [(0, 4), (4, 1), (2, 3), (3, 0)] {
        let scheme = SignScheme::Ecdsa(HashAlg::Sha256);
        let certified = tpm.certify(&keys[a].0, &keys[b].0, &[], scheme).unwrap();
        assert!(
            matches!(certified.attest.attested(), Attested::Certify { name, .. } if name.as_bytes() == keys[a].0.name())
        );
        verify(&keys[b].1, certified.attest.as_bytes(), &certified.signature);
    }
    assert!(tpm.handles(0x8000_0000).unwrap().len() <= 3);
}

fn verify(public: &TpmtPublic, message: &[u8], signature: &TpmtSignature) {
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256,
        UnparsedPublicKey, VerificationAlgorithm,
    };
    let pad = |octets: &[u8], width: usize| [vec![0; width - octets.len()], octets.to_vec()].concat();
    let key = match public.parameters() {
        PublicParameters::Ecc { curve, x, y, .. } => {
            [vec![4], pad(x, curve.field_len()), pad(y, curve.field_len())].concat()
        }
        PublicParameters::Rsa { modulus, .. } => {
            let mut writer = vouchsafe_evidence::x509::build::DerWriter::new();
            writer.sequence(|fields| {
                fields.unsigned(modulus).unsigned(&[1, 0, 1]);
            });
            writer.into_der()
        }
        other => panic!("{other:?}"),
    };
    let (algorithm, octets): (&'static dyn VerificationAlgorithm, Vec<u8>) = match signature {
        TpmtSignature::Ecdsa { hash: HashAlg::Sha256, r, s } => {
            (&ECDSA_P256_SHA256_FIXED, [pad(r, 32), pad(s, 32)].concat())
        }
        TpmtSignature::Ecdsa { hash: HashAlg::Sha384, r, s } => {
            (&ECDSA_P384_SHA384_FIXED, [pad(r, 48), pad(s, 48)].concat())
        }
        TpmtSignature::Rsassa { hash: HashAlg::Sha256, signature } => (&RSA_PKCS1_2048_8192_SHA256, signature.clone()),
        TpmtSignature::Rsapss { hash: HashAlg::Sha256, signature } => (&RSA_PSS_2048_8192_SHA256, signature.clone()),
        other => panic!("{other:?}"),
    };
    UnparsedPublicKey::new(algorithm, key).verify(message, &octets).unwrap();
}

#[test]
fn every_kind_of_key_signs() {
    let swtpm = swtpm();
    let mut tpm = swtpm.connect().unwrap();
    let (srk, _) = salted(&mut tpm);
    let sha256 = [SignScheme::Rsassa(HashAlg::Sha256), SignScheme::Rsapss(HashAlg::Sha256)];
    for (kind, schemes) in [
        (SigningKey::EccP256, &[SignScheme::Ecdsa(HashAlg::Sha256)][..]),
        (SigningKey::EccP384, &[SignScheme::Ecdsa(HashAlg::Sha384)]),
        (SigningKey::Rsa2048, &sha256),
        (SigningKey::Rsa3072, &sha256),
    ] {
        let auth = AuthValue::new(&[5; 32]);
        let created = tpm.create(&srk, &signing_key(kind, USER_KEY_ATTRIBUTES, None, &[]), &auth).unwrap();
        let key = tpm.load(&srk, &created.private, &created.public, auth).unwrap();
        for scheme in schemes {
            let hash = if kind == SigningKey::EccP384 { HashAlg::Sha384 } else { HashAlg::Sha256 };
            let signature = tpm.sign(&key, &hash.digest(&[b"message"]), *scheme, &Ticket::null_hash_check()).unwrap();
            verify(&created.public, b"message", &signature);
        }
        let wrong = tpm.load(&srk, &created.private, &created.public, AuthValue::new(b"wrong")).unwrap();
        let code = refused(tpm.sign(&wrong, &[0; 32], schemes[0], &Ticket::null_hash_check()));
        assert_eq!(code, 0x9A2);
        tpm.flush(&wrong).unwrap();
        tpm.flush(&key).unwrap();
    }
}

#[test]
fn attestation_keys_attest_and_sign_nothing_else() {
    let swtpm = swtpm();
    let mut tpm = swtpm.connect().unwrap();
    let (srk, _) = salted(&mut tpm);
    let auth = AuthValue::new(&[9; 32]);
    let created = tpm.create(&srk, &signing_key(SigningKey::EccP256, USER_KEY_ATTRIBUTES, None, &[]), &auth).unwrap();
    let key = tpm.load(&srk, &created.private, &created.public, auth.clone()).unwrap();
    let selection = PcrSelection::new(vec![PcrBank::new(HashAlg::Sha256, &[0, 7, 16]).unwrap()]);
    let values = tpm.pcr_read(HashAlg::Sha256, &[0, 7, 16]).unwrap();
    for (kind, hash) in [
        (SigningKey::EccP256, HashAlg::Sha256),
        (SigningKey::EccP384, HashAlg::Sha384),
        (SigningKey::Rsa2048, HashAlg::Sha256),
    ] {
        let template = signing_key(kind, AK_ATTRIBUTES, Some(hash), b"seed of this key");
        let (ak, public) = tpm.create_primary(Hierarchy::Endorsement, &template, &auth).unwrap();
        assert_eq!(public.attributes().bits(), AK_ATTRIBUTES);

        let certified = tpm.certify(&key, &ak, &[1; 64], SignScheme::KeysOwn).unwrap();
        verify(&public, certified.attest.as_bytes(), &certified.signature);
        assert_eq!(certified.attest.extra_data(), [1; 64]);
        let creation = tpm.certify_creation(&key, &ak, &created.creation, &[2; 32]).unwrap();
        verify(&public, creation.attest.as_bytes(), &creation.signature);
        assert!(
            matches!(creation.attest.attested(), Attested::Creation { creation_hash, .. } if *creation_hash == created.creation.hash)
        );
        let quote = tpm.quote(&ak, &[3; 16], &selection).unwrap();
        verify(&public, quote.attest.as_bytes(), &quote.signature);
        assert!(
            matches!(quote.attest.attested(), Attested::Quote { pcr_digest, .. } if *pcr_digest == hash.digest(&[&values.concatenated()]))
        );

        let (digest, ticket) = tpm.hash(hash, b"not made by the TPM").unwrap();
        assert_eq!(digest, hash.digest(&[b"not made by the TPM"]));
        assert_eq!(refused(tpm.sign(&ak, &digest, SignScheme::KeysOwn, &ticket)), 0x182);
        assert_eq!(refused(tpm.quote(&ak, &[0; 67], &selection)), 0x1D5);
        tpm.flush(&ak).unwrap();
    }
    // Without x509sign the ticket opens the way to any signature (A7): this is why the bit is there.
    let template = signing_key(SigningKey::EccP256, PLAIN_AK_ATTRIBUTES, Some(HashAlg::Sha256), b"plain");
    let (plain, public) = tpm.create_primary(Hierarchy::Endorsement, &template, &auth).unwrap();
    let (digest, ticket) = tpm.hash(HashAlg::Sha256, b"anything").unwrap();
    let signature = tpm.sign(&plain, &digest, SignScheme::KeysOwn, &ticket).unwrap();
    verify(&public, b"anything", &signature);
    let (_, empty) = tpm.hash(HashAlg::Sha256, &[0xFF, 0x54, 0x43, 0x47, 0]).unwrap();
    assert!(empty.digest.is_empty());
}

/// A22.
#[test]
fn a_public_part_alone_attests_nothing() {
    let swtpm = swtpm();
    let mut tpm = swtpm.connect().unwrap();
    let (srk, _) = salted(&mut tpm);
    let auth = AuthValue::new(&[9; 32]);
    let created = tpm.create(&srk, &signing_key(SigningKey::EccP256, USER_KEY_ATTRIBUTES, None, &[]), &auth).unwrap();
    let template = signing_key(SigningKey::EccP256, AK_ATTRIBUTES, Some(HashAlg::Sha256), b"a");
    let (ak, _) = tpm.create_primary(Hierarchy::Endorsement, &template, &auth).unwrap();
    let hollow = tpm.load_external(None, &created.public).unwrap();
    assert_eq!(hollow.name(), created.public.name().unwrap().as_bytes());
    assert_eq!(refused(tpm.certify(&hollow, &ak, &[], SignScheme::KeysOwn)), ResponseCode::AUTH_UNAVAILABLE.get());
    let code = refused(tpm.certify_x509(&hollow, &ak, SignScheme::KeysOwn, &[0x30, 0]));
    assert_eq!(code, ResponseCode::AUTH_UNAVAILABLE.get());
    let code = refused(tpm.activate_credential(&hollow, &srk, None, &[0; 34], &[0; 34]));
    assert_eq!(code, ResponseCode::AUTH_UNAVAILABLE.get());
}

#[test]
fn sealed_data_comes_back_to_who_proves_the_auth_value() {
    let swtpm = swtpm();
    let mut tpm = swtpm.connect().unwrap();
    let (srk, _) = salted(&mut tpm);
    let template = vouchsafe_evidence::tpm::TpmtPublic::build(
        Some(HashAlg::Sha256),
        vouchsafe_evidence::tpm::ObjectAttributes::from_bits(0x0000_0452),
        &[],
        PublicParameters::KeyedHash { scheme: vouchsafe_evidence::tpm::KeyedHashScheme::Null, unique: Vec::new() },
    );
    let auth = AuthValue::new(b"auth value");
    let sealed = tpm.seal(&srk, &template, &auth, b"sealed data").unwrap();
    let object = tpm.load(&srk, &sealed.private, &sealed.public, auth).unwrap();
    assert_eq!(tpm.unseal(&object).unwrap().as_slice(), b"sealed data");
    let wrong = tpm.load(&srk, &sealed.private, &sealed.public, AuthValue::new(b"other")).unwrap();
    assert_eq!(refused(tpm.unseal(&wrong)), 0x9A2);
}

#[test]
fn nv_is_read_in_pieces() {
    let swtpm = swtpm();
    let mut tpm = swtpm.connect().unwrap();
    salted(&mut tpm);
    let attributes =
        nv_attributes::OWNER_READ | nv_attributes::AUTH_READ | nv_attributes::NO_DA | nv_attributes::AUTH_WRITE;
    let contents: Vec<u8> = (0..2000_u16).map(|n| (n % 251) as u8).collect();
    tpm.nv_define(0x01C0_0100, attributes, 2000).unwrap();
    let index = tpm.nv_read_public(0x01C0_0100).unwrap();
    assert_eq!(refused(tpm.nv_read(&index)), 0x14A);
    tpm.nv_write(&index, &contents).unwrap();
    let index = tpm.nv_read_public(0x01C0_0100).unwrap();
    assert_eq!(tpm.nv_read(&index).unwrap(), contents);
    assert_eq!(refused(tpm.nv_define(0x01C0_0100, attributes, 10)), ResponseCode::NV_DEFINED.get());
    tpm.nv_undefine(&index).unwrap();
    assert_eq!(refused(tpm.nv_read_public(0x01C0_0100)), 0x18B);
}

#[test]
fn sessions_can_be_salted_to_an_rsa_endorsement_key_and_to_p384() {
    let swtpm = swtpm();
    let mut tpm = swtpm.connect().unwrap();
    for (template, handle) in [(EkTemplate::L1, 0x8101_0001), (EkTemplate::H3, 0x8101_0016)] {
        let public = tpm.read_public(handle).unwrap();
        let (object, made) =
            tpm.create_primary(Hierarchy::Endorsement, &template.public(), &AuthValue::empty()).unwrap();
        assert_eq!(public, made, "{}", template.label());
        tpm.flush(&object).unwrap();
        tpm.salt_sessions_to(handle, public);
        assert_eq!(tpm.random(32).unwrap().len(), 32);
        tpm.forget_salt_key();
    }
}

#[test]
fn a_secret_is_never_sent_without_a_salted_session() {
    let swtpm = swtpm();
    let mut tpm = swtpm.connect().unwrap();
    let template = signing_key(SigningKey::EccP256, AK_ATTRIBUTES, Some(HashAlg::Sha256), b"a");
    let refused = tpm.create_primary(Hierarchy::Endorsement, &template, &AuthValue::new(b"secret"));
    assert!(matches!(refused, Err(Fault::Missing { .. })));
}

#[test]
fn a_reset_kills_contexts_and_leaves_persistent_objects() {
    let mut swtpm = swtpm();
    let mut tpm = swtpm.connect().unwrap();
    let (srk, public) = salted(&mut tpm);
    let created = tpm
        .create(&srk, &signing_key(SigningKey::EccP256, USER_KEY_ATTRIBUTES, None, &[]), &AuthValue::empty())
        .unwrap();
    let key = tpm.load(&srk, &created.private, &created.public, AuthValue::empty()).unwrap();
    swtpm.restart().unwrap();
    let scheme = SignScheme::Ecdsa(HashAlg::Sha256);
    let lost = tpm.sign(&key, &[1; 32], scheme, &Ticket::null_hash_check());
    assert!(matches!(lost, Err(Fault::Connection { .. })));
    assert!(!tpm.is_ready());
    assert!(matches!(tpm.random(8), Err(Fault::Connection { .. })), "nothing works until it is opened anew");
    tpm.reopen().unwrap();
    assert!(!tpm.holds(&key));
    assert_eq!(tpm.read_public(SRK_HANDLE).unwrap(), public);
    let key = tpm.load(&srk, &created.private, &created.public, AuthValue::empty()).unwrap();
    assert!(tpm.sign(&key, &[1; 32], scheme, &Ticket::null_hash_check()).is_ok());
}

/// A P-256 key made in software: its public area with these attributes, and its private part.
fn software_key(attributes: u32) -> (TpmtPublic, Sensitive) {
    use aws_lc_rs::encoding::AsBigEndian;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
    let template = signing_key(SigningKey::EccP256, attributes, None, &[]);
    let PublicParameters::Ecc { symmetric, scheme, curve, .. } = template.parameters().clone() else { panic!() };
    let parameters = PublicParameters::Ecc { symmetric, scheme, curve, x: x.to_vec(), y: y.to_vec() };
    let public = TpmtPublic::build(template.name_alg(), template.attributes(), &[], parameters);
    let private = pair.private_key().as_be_bytes().unwrap().as_ref().to_vec();
    (public, Sensitive { auth: AuthValue::new(&[4; 32]), private: private.into() })
}

#[test]
fn a_key_made_outside_is_used_like_any_other_and_shows_where_it_came_from() {
    let swtpm = swtpm();
    let mut tpm = swtpm.connect().unwrap();
    let (srk, srk_public) = salted(&mut tpm);
    let scheme = SignScheme::Ecdsa(HashAlg::Sha256);
    let digest = HashAlg::Sha256.digest(&[b"message"]);
    // userWithAuth, noDA, sign: all that an importer may claim, and sensitiveDataOrigin, which it may claim as well.
    for attributes in [0x0004_0440, 0x0004_0460] {
        let (public, sensitive) = software_key(attributes);
        let duplicate = Duplicate::wrap(&srk_public, &public, &sensitive).unwrap();
        let imported = tpm.import(&srk, &duplicate);
        if attributes & 0x20 == 0 {
            let key = tpm.load(&srk, &imported.unwrap(), &public, sensitive.auth.clone()).unwrap();
            let signature = tpm.sign(&key, &digest, scheme, &Ticket::null_hash_check()).unwrap();
            verify(&public, b"message", &signature);
            tpm.flush(&key).unwrap();
        }
        let external = tpm.load_external(Some(&sensitive), &public).unwrap();
        let signature = tpm.sign(&external, &digest, scheme, &Ticket::null_hash_check()).unwrap();
        verify(&public, b"message", &signature);
        tpm.flush(&external).unwrap();
    }
    // What no importer may claim: fixedTPM and fixedParent.
    let (public, sensitive) = software_key(USER_KEY_ATTRIBUTES);
    assert_eq!(refused(tpm.load_external(Some(&sensitive), &public)), 0x2C2);
    let duplicate = Duplicate::wrap(&srk_public, &public, &sensitive).unwrap();
    assert!(matches!(tpm.import(&srk, &duplicate), Err(Fault::Tpm { .. })));
}

#[test]
fn a_simulator_is_reached_over_tcp() {
    let folder = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut process = std::process::Command::new("swtpm")
        .args(["socket", "--tpm2", "--flags", "not-need-init", "--tpmstate"])
        .arg(format!("dir={}", folder.path().display()))
        .args(["--server", &format!("type=tcp,port={port}")])
        .spawn()
        .unwrap();
    let address: Address = format!("swtpm:tcp:127.0.0.1:{port}").parse().unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    let mut tpm = loop {
        match Tpm::open(&address) {
            Ok(tpm) => break tpm,
            Err(fault) => assert!(std::time::Instant::now() < deadline, "{fault}"),
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    };
    // Nobody started this one: opening it did.
    salted(&mut tpm);
    assert_eq!(tpm.random(24).unwrap().len(), 24);
    process.kill().unwrap();
    process.wait().unwrap();
}
