//! MakeCredential against an ActivateCredential of the tests' own.

use vouchsafe_authority::credential::{self, CredentialError, EndorsementKey as Target, Protection};
use vouchsafe_evidence::tpm::{Curve, HashAlg};
use vouchsafe_evidence::x509::PublicKey;

use crate::module::EndorsementKey;

const NAME: &[u8] = &[
    0x00, 0x0B, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28,
    29, 30, 31, 32,
];
const CREDENTIAL: [u8; 32] = [0xA5; 32];

fn cases() -> Vec<(&'static str, EndorsementKey, Protection, [usize; 2])> {
    let weak = Protection { name_alg: HashAlg::Sha256, aes_bits: 128 };
    let strong = Protection { name_alg: HashAlg::Sha384, aes_bits: 256 };
    vec![
        ("RSA-2048", EndorsementKey::rsa(), weak, [68, 256]),
        ("P-256", EndorsementKey::ecc(Curve::P256), weak, [68, 68]),
        ("P-384", EndorsementKey::ecc(Curve::P384), strong, [84, 100]),
    ]
}

fn target(key: &EndorsementKey) -> Target {
    let spki = key.spki();
    match (key, spki.key()) {
        (EndorsementKey::Rsa(_), _) => Target::Rsa { spki: spki.as_der().to_vec() },
        (EndorsementKey::Ecc(curve, _), PublicKey::Ec { x, y, .. }) => {
            Target::Ecc { curve: *curve, x: x.clone(), y: y.clone() }
        }
        (EndorsementKey::Ecc(..), _) => unreachable!(),
    }
}

#[test]
fn the_module_opens_what_was_made_for_it() {
    for (label, key, protection, sizes) in cases() {
        let blob = credential::make(&target(&key), protection, NAME, &CREDENTIAL).unwrap();
        assert_eq!([blob.id_object.len() - 2, blob.encrypted_secret.len() - 2], sizes, "{label}");
        let opened = key.activate(NAME, &blob.id_object, &blob.encrypted_secret);
        assert_eq!(opened.as_deref(), Some(&CREDENTIAL[..]), "{label}");
    }
}

#[test]
fn another_name_another_module_or_another_bit_opens_nothing() {
    for (label, key, protection, _) in cases() {
        let blob = credential::make(&target(&key), protection, NAME, &CREDENTIAL).unwrap();
        let mut other_name = NAME.to_vec();
        other_name[33] ^= 1;
        assert_eq!(key.activate(&other_name, &blob.id_object, &blob.encrypted_secret), None, "{label}");
        for at in [4, 20, blob.id_object.len() - 1] {
            let mut altered = blob.id_object.clone();
            altered[at] ^= 1;
            assert_eq!(key.activate(NAME, &altered, &blob.encrypted_secret), None, "{label}, octet {at}");
        }
    }
    let [(_, first, protection, _), (_, second, ..)] = [0, 0].map(|_| cases().remove(1));
    let blob = credential::make(&target(&first), protection, NAME, &CREDENTIAL).unwrap();
    assert_eq!(second.activate(NAME, &blob.id_object, &blob.encrypted_secret), None);
}

#[test]
fn every_challenge_has_a_seed_of_its_own() {
    for (label, key, protection, _) in cases() {
        let [first, second] = [0, 0].map(|_| credential::make(&target(&key), protection, NAME, &CREDENTIAL).unwrap());
        assert_ne!(first.id_object, second.id_object, "{label}");
        assert_ne!(first.encrypted_secret, second.encrypted_secret, "{label}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let protection = Protection { name_alg: HashAlg::Sha256, aes_bits: 128 };
    let key = target(&EndorsementKey::ecc(Curve::P256));
    let too_long = credential::make(&key, protection, NAME, &[0; 33]).unwrap_err();
    assert_eq!(too_long, CredentialError::CredentialLength { found: 33, limit: 32 });
    let sha1 = Protection { name_alg: HashAlg::Sha1, aes_bits: 128 };
    assert_eq!(credential::make(&key, sha1, NAME, &[0; 20]).unwrap_err(), CredentialError::Unsupported("SHA-1"));
    let aes = Protection { name_alg: HashAlg::Sha256, aes_bits: 192 };
    assert!(matches!(credential::make(&key, aes, NAME, &CREDENTIAL).unwrap_err(), CredentialError::Unsupported(_)));
    let Target::Ecc { curve, x, mut y } = key else { unreachable!() };
    y[31] ^= 1;
    let off_curve = Target::Ecc { curve, x, y };
    assert!(matches!(
        credential::make(&off_curve, protection, NAME, &CREDENTIAL).unwrap_err(),
        CredentialError::Operation(_)
    ));
}
