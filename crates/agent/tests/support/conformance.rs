//! What every provider of keys does, whatever its module.

#![allow(dead_code)]

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED,
    RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA384,
    UnparsedPublicKey, VerificationAlgorithm,
};
use vouchsafe_agent::provider::{
    EncryptionScheme, Fault, Hash, KeyBlob, KeyKind, KeyProvider, KeyPurpose, KeySpec, KeyUid, SignatureScheme,
};
use vouchsafe_evidence::tpm::HashAlg;
use vouchsafe_evidence::x509::SpkiView;

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

/// Signs a message by every scheme that is verified here for the key, and verifies.
pub fn check_signs(provider: &mut dyn KeyProvider, key: &KeyBlob) {
    let public = provider.export_public(key).unwrap();
    let schemes: Vec<(SignatureScheme, &'static dyn VerificationAlgorithm)> = match public.kind {
        KeyKind::EcP256 => vec![(SignatureScheme::Ecdsa(Hash::Sha256), &ECDSA_P256_SHA256_FIXED)],
        KeyKind::EcP384 => vec![(SignatureScheme::Ecdsa(Hash::Sha384), &ECDSA_P384_SHA384_FIXED)],
        KeyKind::EcP521 => vec![(SignatureScheme::Ecdsa(Hash::Sha512), &ECDSA_P521_SHA512_FIXED)],
        KeyKind::Rsa1024 => {
            vec![(SignatureScheme::RsaPkcs1v15(Hash::Sha256), &RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY)]
        }
        KeyKind::Rsa2048 | KeyKind::Rsa3072 | KeyKind::Rsa4096 => vec![
            (SignatureScheme::RsaPkcs1v15(Hash::Sha512), &RSA_PKCS1_2048_8192_SHA512),
            (SignatureScheme::RsaPss(Hash::Sha384), &RSA_PSS_2048_8192_SHA384),
        ],
    };
    for (scheme, algorithm) in schemes {
        let signature = provider.sign_hash(key, scheme, &digest(scheme.hash(), b"message")).unwrap();
        UnparsedPublicKey::new(algorithm, &public.subject_public_key).verify(b"message", &signature).unwrap();
    }
}

/// Every kind of `makes` is made, signs, is exported and goes; every other is refused by name.
pub fn keys(provider: &mut dyn KeyProvider, makes: &[KeyKind]) {
    for kind in KeyKind::ALL {
        assert_eq!(provider.makes(kind).unwrap(), makes.contains(&kind), "{kind:?}");
        let made = provider.generate(&uid(), sign_key(kind));
        if !makes.contains(&kind) {
            assert!(matches!(made, Err(Fault::Missing { .. })), "{kind:?}");
            continue;
        }
        let key = made.unwrap();
        let public = provider.export_public(&key).unwrap();
        assert_eq!((public.kind, public.purpose), (kind, KeyPurpose::Sign));
        assert!(SpkiView::parse(&public.spki).unwrap().as_der().ends_with(&public.subject_public_key));
        check_signs(provider, &key);
        // The blob alone brings the key back.
        let again = KeyBlob::from_bytes(key.as_bytes().to_vec());
        assert_eq!(provider.export_public(&again).unwrap(), public);
        provider.destroy(&key).unwrap();
    }
    let (first, second) = (provider.random(32).unwrap(), provider.random(32).unwrap());
    assert_eq!((first.len(), second.len()), (32, 32));
    assert_ne!(first, second);
    assert_eq!(provider.random(0).unwrap().len(), 0);
    assert_eq!(provider.random(5000).unwrap().len(), 5000);
}

/// What a key cannot do is refused, each for its reason.
pub fn misuse(provider: &mut dyn KeyProvider) {
    let ecdsa = SignatureScheme::Ecdsa(Hash::Sha256);
    let key = provider.generate(&uid(), sign_key(KeyKind::EcP256)).unwrap();
    let short = provider.sign_hash(&key, ecdsa, &[0; 31]);
    assert!(matches!(short, Err(Fault::DigestLength { expected: 32, found: 31 })));
    let rsa = provider.sign_hash(&key, SignatureScheme::RsaPss(Hash::Sha256), &[0; 32]);
    assert!(matches!(rsa, Err(Fault::SchemeMismatch(KeyKind::EcP256))));
    let opened = provider.decrypt(&key, EncryptionScheme::RsaPkcs1v15, &[0; 256], &[]);
    assert!(matches!(opened, Err(Fault::PurposeMismatch)));
    let attesting = provider.generate(&uid(), KeySpec { kind: KeyKind::EcP256, purpose: KeyPurpose::Attest }).unwrap();
    assert!(matches!(provider.sign_hash(&attesting, ecdsa, &[0; 32]), Err(Fault::PurposeMismatch)));
    for kind in [KeyKind::EcP521, KeyKind::Rsa1024] {
        let attesting = provider.generate(&uid(), KeySpec { kind, purpose: KeyPurpose::Attest });
        assert!(matches!(attesting, Err(Fault::Missing { .. })), "{kind:?}");
    }
    let decrypting = provider.generate(&uid(), KeySpec { kind: KeyKind::EcP256, purpose: KeyPurpose::Decrypt });
    assert!(matches!(decrypting, Err(Fault::Missing { .. })));
    for foreign in [&b"not a blob"[..], &[], &key.as_bytes()[1..]] {
        let foreign = KeyBlob::from_bytes(foreign.to_vec());
        assert!(matches!(provider.sign_hash(&foreign, ecdsa, &[0; 32]), Err(Fault::BlobInvalid(_))));
        assert!(matches!(provider.export_public(&foreign), Err(Fault::BlobInvalid(_))));
    }
    // Nothing is there under an id that was never used.
    provider.abandon(&uid()).unwrap();
    for key in [&key, &attesting] {
        provider.destroy(key).unwrap();
    }
}
