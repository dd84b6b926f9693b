//! The same provider on a token of another maker's: Kryoptic, as it is published. `scripts/peers kryoptic` builds it; without it
//! these tests are skipped.

use std::fs;
use std::path::{Path, PathBuf};

use aws_lc_rs::rsa::{OAEP_SHA384_MGF1SHA384, OAEP_SHA512_MGF1SHA512};
use cryptoki::context::{CInitializeArgs, CInitializeFlags};
use cryptoki::session::UserType;
use cryptoki::types::AuthPin;
use vouchsafe_evidence::x509::SpkiView;

use super::attestation::verify_evidence;
use super::*;

const SO_PIN: &str = "another one";

/// The library that `scripts/peers kryoptic` built.
fn kryoptic() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/peers/kryoptic/libkryoptic_pkcs11.so");
    if !path.is_file() {
        println!("SKIPPED kryoptic: it is not there; scripts/peers kryoptic builds it");
        return None;
    }
    Some(path)
}

/// A provider on a new token.
fn token(module: &Path, folder: &SoftHsm) -> Pkcs11Provider {
    let place = folder.folder().display();
    let conf = format!("[[slots]]\nslot = 1\ndbtype = \"sqlite\"\ndbargs = \"{place}/kryoptic.sql\"\n");
    fs::write(folder.folder().join(softhsm::KRYOPTIC_CONF), conf).unwrap();
    let pkcs11 = Pkcs11::new(module).unwrap();
    pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
    let slot = pkcs11.get_slots_with_token().unwrap()[0];
    pkcs11.init_token(slot, &AuthPin::new(SO_PIN.into()), "keys").unwrap();
    let session = pkcs11.open_rw_session(slot).unwrap();
    session.login(UserType::So, Some(&AuthPin::new(SO_PIN.into()))).unwrap();
    session.init_pin(&AuthPin::new(PIN.into())).unwrap();
    drop(session);
    pkcs11.finalize().unwrap();
    provider(Settings { module: module.to_owned(), ..folder.settings("keys") }, &MemoryStore::new())
}

#[test]
fn keys_behave_as_those_of_every_provider() {
    let Some(module) = kryoptic() else { return };
    alone("kryoptic::keys_behave_as_those_of_every_provider", |folder| {
        let mut provider = token(&module, folder);
        let kinds = KeyKind::ALL.into_iter().filter(|kind| provider.makes(*kind).unwrap()).collect::<Vec<_>>();
        assert!(kinds.contains(&KeyKind::EcP256) && kinds.contains(&KeyKind::Rsa2048), "{kinds:?}");
        conformance::keys(&mut provider, &kinds);
        conformance::misuse(&mut provider);
    });
}

#[test]
fn a_key_and_the_token_are_attested() {
    let Some(module) = kryoptic() else { return };
    alone("kryoptic::a_key_and_the_token_are_attested", |folder| {
        let mut provider = token(&module, folder);
        let key = provider.generate(&uid(), sign_key(KeyKind::EcP256)).unwrap();
        let attested = attest(&mut provider, &key).unwrap();
        let own = SpkiView::parse(&provider.attesting_keys().unwrap()[0].spki).unwrap();
        verify_evidence(&attested, &own);
        let view = EvidenceView::parse(&attested.statement).unwrap();
        let (reported, platform) = (&view.elements().keys[0], view.elements().platform.as_ref().unwrap());
        let flags = [reported.extractable, reported.sensitive, reported.never_extractable, reported.local];
        assert_eq!(flags, [Some(false), Some(true), Some(true), Some(true)]);
        assert!(platform.vendor.as_ref().is_some_and(|vendor| vendor.contains("Kryoptic")), "{:?}", platform.vendor);
    });
}

#[test]
fn messages_are_decrypted_by_every_scheme() {
    let Some(module) = kryoptic() else { return };
    alone("kryoptic::messages_are_decrypted_by_every_scheme", |folder| {
        let mut provider = token(&module, folder);
        let spec = KeySpec { kind: KeyKind::Rsa2048, purpose: KeyPurpose::Decrypt };
        for (hash, algorithm) in [
            (Hash::Sha256, &OAEP_SHA256_MGF1SHA256),
            (Hash::Sha384, &OAEP_SHA384_MGF1SHA384),
            (Hash::Sha512, &OAEP_SHA512_MGF1SHA512),
        ] {
            let key = provider.generate(&uid(), spec).unwrap();
            let spki = provider.export_public(&key).unwrap().spki;
            let public = OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(&spki).unwrap()).unwrap();
            let scheme = EncryptionScheme::RsaOaep(hash);
            provider.check_decrypts(&key, scheme).unwrap();
            for label in [None, Some(&b"label"[..])] {
                let mut ciphertext = vec![0; public.ciphertext_size()];
                public.encrypt(algorithm, b"secret", &mut ciphertext, label).unwrap();
                let opened = provider.decrypt(&key, scheme, &ciphertext, label.unwrap_or_default()).unwrap();
                assert_eq!(*opened, b"secret", "{hash:?}");
                let fault = provider.decrypt(&key, scheme, &ciphertext, b"another").unwrap_err();
                assert_eq!(fault.class(), FaultClass::Padding, "{hash:?}: {fault}");
            }
        }
        let key = provider.generate(&uid(), spec).unwrap();
        provider.check_decrypts(&key, EncryptionScheme::RsaPkcs1v15).unwrap();
    });
}
