//! Parsec's operations on a software TPM, each with the statuses that it answers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/credential.rs"]
mod credential;
#[path = "support/device.rs"]
mod device;
#[path = "support/service.rs"]
mod support;

use aws_lc_rs::digest::{SHA256, SHA384, SHA512, digest};
use device::Device;
use support::ecdsa;
use vouchsafe_agent::client::{Client, ClientFault};
use vouchsafe_agent::wire::message::{
    Algorithm, AlgorithmVariant, AsymmetricEncryption, AsymmetricEncryptionVariant, AsymmetricSignature,
    AsymmetricSignatureVariant, EccKeyPair, EccPublicKey, KeyAttributes, KeyMechanism, KeyPolicy, KeyType,
    KeyTypeVariant, RsaKeyPair, RsaOaep, RsaPkcs1v15Crypt, RsaPublicKey, SignHash, SignHashVariant, SignatureHash,
    TpmCertify, UsageFlags, check_type, ecc_family, hash,
};
use vouchsafe_agent::wire::{Opcode, ProviderId, Route, Status};
use vouchsafe_evidence::tpm::{HashAlg, TpmtPublic};
use vouchsafe_evidence::x509::{PublicKey, SpkiView};

const MESSAGE: &[u8] = b"what is signed";

fn status(outcome: Result<impl std::fmt::Debug, ClientFault>) -> Option<Status> {
    outcome.unwrap_err().status()
}

fn curve() -> KeyTypeVariant {
    KeyTypeVariant::EccKeyPair(EccKeyPair { curve_family: ecc_family::SECP_R1 })
}

fn curve_point() -> KeyTypeVariant {
    KeyTypeVariant::EccPublicKey(EccPublicKey { curve_family: ecc_family::SECP_R1 })
}

fn rsa() -> KeyTypeVariant {
    KeyTypeVariant::RsaKeyPair(RsaKeyPair {})
}

fn parameters(number: i32) -> SignatureHash {
    SignatureHash { hash_alg: Some(SignHash { variant: Some(SignHashVariant::Specific(number)) }) }
}

fn pkcs1(number: i32) -> AsymmetricSignature {
    AsymmetricSignature { variant: Some(AsymmetricSignatureVariant::RsaPkcs1v15Sign(parameters(number))) }
}

fn pss(number: i32) -> AsymmetricSignature {
    AsymmetricSignature { variant: Some(AsymmetricSignatureVariant::RsaPss(parameters(number))) }
}

fn crypt() -> AsymmetricEncryption {
    AsymmetricEncryption { variant: Some(AsymmetricEncryptionVariant::RsaPkcs1v15Crypt(RsaPkcs1v15Crypt {})) }
}

fn oaep(hash_alg: i32) -> AsymmetricEncryption {
    AsymmetricEncryption { variant: Some(AsymmetricEncryptionVariant::RsaOaep(RsaOaep { hash_alg })) }
}

fn digest_of(number: i32, message: &[u8]) -> Vec<u8> {
    let algorithm = match number {
        hash::SHA_256 => &SHA256,
        hash::SHA_384 => &SHA384,
        hash::SHA_512 => &SHA512,
        other => panic!("hash {other}"),
    };
    digest(algorithm, message).as_ref().to_vec()
}

fn attributes(variant: KeyTypeVariant, bits: u32, algorithm: AlgorithmVariant, usage: UsageFlags) -> KeyAttributes {
    KeyAttributes {
        key_type: Some(KeyType { variant: Some(variant) }),
        key_bits: bits,
        key_policy: Some(KeyPolicy {
            key_usage_flags: Some(usage),
            key_algorithm: Some(Algorithm { variant: Some(algorithm) }),
        }),
    }
}

fn every_signature() -> UsageFlags {
    UsageFlags { sign_hash: true, verify_hash: true, sign_message: true, verify_message: true, ..UsageFlags::default() }
}

fn signing(variant: KeyTypeVariant, bits: u32, algorithm: AsymmetricSignature) -> KeyAttributes {
    attributes(variant, bits, AlgorithmVariant::AsymmetricSignature(algorithm), every_signature())
}

fn encrypting(variant: KeyTypeVariant, bits: u32, algorithm: AsymmetricEncryption) -> KeyAttributes {
    let usage = UsageFlags { encrypt: true, decrypt: true, ..UsageFlags::default() };
    attributes(variant, bits, AlgorithmVariant::AsymmetricEncryption(algorithm), usage)
}

/// Signs a digest and a message, and has both verified by the key and by its public half under another name.
fn signs(client: &mut Client, name: &str, public: KeyTypeVariant, algorithm: &AsymmetricSignature, number: i32) {
    let digest = digest_of(number, MESSAGE);
    let signature = client.sign_hash(name, algorithm.clone(), &digest).unwrap();
    let of_message = client.sign_message(name, algorithm.clone(), MESSAGE).unwrap();
    let half = format!("{name}-public");
    let exported = client.export_public_key(name).unwrap();
    client.import_key(&half, signing(public, 0, algorithm.clone()), &exported).unwrap();
    assert_eq!(client.export_public_key(&half).unwrap(), exported);
    for key in [name, &half] {
        for signature in [&signature, &of_message] {
            client.verify_hash(key, algorithm.clone(), &digest, signature).unwrap();
            client.verify_message(key, algorithm.clone(), MESSAGE, signature).unwrap();
        }
        let invalid = Some(Status::PsaErrorInvalidSignature);
        let mut forged = signature.clone();
        forged[5] ^= 1;
        assert_eq!(status(client.verify_hash(key, algorithm.clone(), &digest, &forged)), invalid);
        assert_eq!(status(client.verify_message(key, algorithm.clone(), b"other", &signature)), invalid);
        assert_eq!(status(client.verify_hash(key, algorithm.clone(), &digest, &[])), invalid);
        let short = client.verify_hash(key, algorithm.clone(), &digest[1..], &signature);
        assert_eq!(status(short), Some(Status::PsaErrorInvalidArgument));
    }
    assert_eq!(status(client.sign_hash(&half, algorithm.clone(), &digest)), Some(Status::PsaErrorNotPermitted));
    client.destroy_key(&half).unwrap();
    client.destroy_key(name).unwrap();
}

#[test]
fn keys_of_every_curve_sign_by_every_hash() {
    let device = Device::start();
    let mut client = device.client();
    for bits in [256, 384, 521] {
        for number in [hash::SHA_256, hash::SHA_384, hash::SHA_512] {
            let name = format!("{bits}-{number}");
            client.generate_key(&name, signing(curve(), bits, ecdsa(number))).unwrap();
            signs(&mut client, &name, curve_point(), &ecdsa(number), number);
        }
    }
    assert_eq!(client.list_keys().unwrap(), vec![]);
}

#[test]
fn rsa_keys_sign_by_every_scheme() {
    let device = Device::start();
    let mut client = device.client();
    for (bits, algorithm, number) in [
        (1024, pkcs1(hash::SHA_256), hash::SHA_256),
        (1024, pkcs1(hash::SHA_512), hash::SHA_512),
        (2048, pkcs1(hash::SHA_384), hash::SHA_384),
        (2048, pss(hash::SHA_256), hash::SHA_256),
        (2048, pss(hash::SHA_512), hash::SHA_512),
        (3072, pkcs1(hash::SHA_256), hash::SHA_256),
    ] {
        client.generate_key("k", signing(rsa(), bits, algorithm.clone())).unwrap();
        signs(&mut client, "k", KeyTypeVariant::RsaPublicKey(RsaPublicKey {}), &algorithm, number);
    }
    let unsupported = Some(Status::PsaErrorNotSupported);
    assert_eq!(status(client.generate_key("k", signing(rsa(), 4096, pkcs1(hash::SHA_256)))), unsupported);
    assert_eq!(status(client.generate_key("k", signing(rsa(), 1024, pss(hash::SHA_256)))), unsupported);
    let deprecated = client.generate_key("k", signing(rsa(), 2048, pkcs1(hash::SHA_1)));
    assert_eq!(status(deprecated), Some(Status::DeprecatedPrimitive));
}

#[test]
fn short_messages_are_encrypted_and_decrypted() {
    let device = Device::start();
    let mut client = device.client();
    for (algorithm, label) in [
        (crypt(), &b""[..]),
        (oaep(hash::SHA_256), b""),
        (oaep(hash::SHA_256), b"label\0"),
        (oaep(hash::SHA_384), b""),
        (oaep(hash::SHA_512), b"\0"),
    ] {
        client.generate_key("k", encrypting(rsa(), 2048, algorithm.clone())).unwrap();
        let exported = client.export_public_key("k").unwrap();
        let public = KeyTypeVariant::RsaPublicKey(RsaPublicKey {});
        client.import_key("public", encrypting(public, 2048, algorithm.clone()), &exported).unwrap();
        for name in ["k", "public"] {
            let ciphertext = client.encrypt(name, algorithm.clone(), MESSAGE, label).unwrap();
            assert_eq!(ciphertext.len(), 256);
            assert_eq!(client.decrypt("k", algorithm.clone(), &ciphertext, label).unwrap(), MESSAGE);
        }
        assert_eq!(
            client
                .decrypt("k", algorithm.clone(), &client_empty(&mut device.client(), &algorithm, label), label)
                .unwrap(),
            b""
        );
        let mut forged = client.encrypt("k", algorithm.clone(), MESSAGE, label).unwrap();
        forged[255] ^= 1;
        let refused = |outcome| matches!(status(outcome), Some(Status::PsaErrorInvalidPadding));
        assert!(refused(client.decrypt("k", algorithm.clone(), &forged, label)));
        for bad in [vec![0xFF; 256], vec![1; 255], vec![1; 257], vec![1]] {
            assert!(refused(client.decrypt("k", algorithm.clone(), &bad, label)), "{} octets", bad.len());
        }
        let invalid = Some(Status::PsaErrorInvalidArgument);
        assert_eq!(status(client.decrypt("k", algorithm.clone(), &[], label)), invalid);
        assert_eq!(status(client.encrypt("k", algorithm.clone(), &[1; 256], label)), invalid);
        let private = client.decrypt("public", algorithm.clone(), &forged, label);
        assert_eq!(status(private), Some(Status::PsaErrorNotPermitted));
        client.destroy_key("k").unwrap();
        client.destroy_key("public").unwrap();
    }
}

/// The empty message, encrypted.
fn client_empty(client: &mut Client, algorithm: &AsymmetricEncryption, label: &[u8]) -> Vec<u8> {
    client.encrypt("k", algorithm.clone(), b"", label).unwrap()
}

#[test]
fn labels_are_as_the_module_takes_them() {
    let device = Device::start();
    let mut client = device.client();
    let algorithm = oaep(hash::SHA_256);
    client.generate_key("oaep", encrypting(rsa(), 2048, algorithm.clone())).unwrap();
    let ciphertext = client.encrypt("oaep", algorithm.clone(), MESSAGE, b"label").unwrap();
    let unterminated = client.decrypt("oaep", algorithm.clone(), &ciphertext, b"label");
    assert_eq!(status(unterminated), Some(Status::PsaErrorNotSupported));
    let other = client.decrypt("oaep", algorithm, &ciphertext, b"other\0");
    assert_eq!(status(other), Some(Status::PsaErrorInvalidPadding));
    // Others may still encrypt to a small key; the service does not.
    client.generate_key("small", encrypting(rsa(), 1024, crypt())).unwrap();
    assert_eq!(status(client.encrypt("small", crypt(), MESSAGE, b"")), Some(Status::PsaErrorNotSupported));
    client.generate_key("crypt", encrypting(rsa(), 2048, crypt())).unwrap();
    let salted = client.encrypt("crypt", crypt(), MESSAGE, b"label\0");
    assert_eq!(status(salted), Some(Status::PsaErrorInvalidArgument));
}

#[test]
fn a_key_does_what_its_policy_allows() {
    let device = Device::start();
    let mut client = device.client();
    let digest = digest_of(hash::SHA_256, MESSAGE);
    let not_permitted = Some(Status::PsaErrorNotPermitted);
    let algorithm = || AlgorithmVariant::AsymmetricSignature(ecdsa(hash::SHA_256));
    let only = |usage| attributes(curve(), 256, algorithm(), usage);
    client.generate_key("nothing", only(UsageFlags::default())).unwrap();
    client.generate_key("message", only(UsageFlags { sign_message: true, ..UsageFlags::default() })).unwrap();
    client.generate_key("hash", only(UsageFlags { sign_hash: true, ..UsageFlags::default() })).unwrap();
    let mut sign_hash = |name: &str| client.sign_hash(name, ecdsa(hash::SHA_256), &digest);
    assert_eq!(status(sign_hash("nothing")), not_permitted);
    assert_eq!(status(sign_hash("message")), not_permitted);
    let signature = sign_hash("hash").unwrap();
    assert_eq!(status(client.sign_message("nothing", ecdsa(hash::SHA_256), MESSAGE)), not_permitted);
    assert!(client.sign_message("message", ecdsa(hash::SHA_256), MESSAGE).is_ok());
    assert!(client.sign_message("hash", ecdsa(hash::SHA_256), MESSAGE).is_ok());
    assert_eq!(status(client.verify_hash("hash", ecdsa(hash::SHA_256), &digest, &signature)), not_permitted);
    assert_eq!(status(client.verify_message("hash", ecdsa(hash::SHA_256), MESSAGE, &signature)), not_permitted);
    // Another hash than that of the policy, and another kind of algorithm.
    let other = client.sign_hash("hash", ecdsa(hash::SHA_384), &digest_of(hash::SHA_384, MESSAGE));
    assert_eq!(status(other), not_permitted);
    assert_eq!(status(client.encrypt("hash", crypt(), MESSAGE, b"")), not_permitted);
    assert_eq!(status(client.decrypt("hash", crypt(), MESSAGE, b"")), not_permitted);
    client.create_attesting_key("attesting", "", false).unwrap();
    assert_eq!(status(client.verify_hash("attesting", ecdsa(hash::SHA_256), &digest, &signature)), not_permitted);
}

#[test]
fn only_public_keys_are_brought_in() {
    let device = Device::start();
    let mut client = device.client();
    client.generate_key("k", support::p256()).unwrap();
    let point = client.export_public_key("k").unwrap();
    let signing = |variant, bits| signing(variant, bits, ecdsa(hash::SHA_256));
    let private = client.import_key("x", signing(curve(), 256), &[7; 32]);
    assert_eq!(status(private), Some(Status::PsaErrorNotSupported));
    let exists = client.import_key("k", signing(curve_point(), 256), &point);
    assert_eq!(status(exists), Some(Status::PsaErrorAlreadyExists));
    let invalid = Some(Status::PsaErrorInvalidArgument);
    assert_eq!(status(client.import_key("x", signing(curve_point(), 384), &point)), invalid);
    assert_eq!(status(client.import_key("x", signing(curve_point(), 0), &point[1..])), invalid);
    let as_rsa = client.import_key("x", signing(KeyTypeVariant::RsaPublicKey(RsaPublicKey {}), 0), &point);
    assert_eq!(status(as_rsa), invalid);
    assert_eq!(status(client.generate_key("x", signing(curve_point(), 256))), invalid);
    client.import_key("x", signing(curve_point(), 0), &point).unwrap();
    // A22: a public part alone is attested by nothing.
    let certify = KeyMechanism::TpmCertify(TpmCertify {});
    assert_eq!(status(client.attest_key("x", "", &[1; 16], certify)), Some(Status::PsaErrorNotPermitted));
    assert_eq!(status(client.prepare_key_attestation("x")), Some(Status::PsaErrorNotPermitted));
    assert_eq!(status(client.open_key_credential("x", &[0; 68], &[0; 256])), Some(Status::PsaErrorNotPermitted));
    let listed = client.list_keys().unwrap();
    assert_eq!(listed.iter().map(|key| key.name.as_str()).collect::<Vec<_>>(), ["k", "x"]);
    assert_eq!(listed[1].attributes, Some(signing(curve_point(), 256)));
}

#[test]
fn random_octets_come_from_the_module() {
    let device = Device::start();
    let mut client = device.client();
    for size in [0, 1, 33, 1000] {
        assert_eq!(client.random(size).unwrap().len(), usize::try_from(size).unwrap());
    }
    assert_ne!(client.random(32).unwrap(), client.random(32).unwrap());
    for size in [16 * 1024 + 1, u64::MAX] {
        assert_eq!(status(client.random(size)), Some(Status::PsaErrorInvalidArgument));
    }
}

#[test]
fn what_can_be_done_is_told() {
    let device = Device::start();
    let mut client = device.client();
    let p256 = || signing(curve(), 256, ecdsa(hash::SHA_256));
    let point = || signing(curve_point(), 256, ecdsa(hash::SHA_256));
    for (check, attributes) in [
        (check_type::GENERATE, p256()),
        (check_type::USE, p256()),
        (check_type::GENERATE, signing(curve(), 521, ecdsa(hash::SHA_512))),
        (check_type::GENERATE, encrypting(rsa(), 2048, oaep(hash::SHA_256))),
        (check_type::USE, point()),
        (check_type::IMPORT, point()),
    ] {
        client.can_do_crypto(check, attributes.clone()).unwrap();
        // It is so.
        if check == check_type::GENERATE {
            client.generate_key("k", attributes).unwrap();
            client.destroy_key("k").unwrap();
        }
    }
    let idle = attributes(
        curve(),
        256,
        AlgorithmVariant::AsymmetricSignature(ecdsa(hash::SHA_256)),
        UsageFlags { decrypt: true, ..UsageFlags::default() },
    );
    for (check, attributes) in [
        (check_type::GENERATE, point()),
        (check_type::IMPORT, p256()),
        (check_type::DERIVE, p256()),
        (0, p256()),
        (99, p256()),
        (check_type::USE, idle),
        (check_type::GENERATE, signing(curve(), 256, pkcs1(hash::SHA_256))),
        (check_type::GENERATE, signing(rsa(), 4096, pkcs1(hash::SHA_256))),
        (check_type::GENERATE, signing(rsa(), 2048, pkcs1(hash::SHA_1))),
        (check_type::GENERATE, KeyAttributes::default()),
    ] {
        let refused = status(client.can_do_crypto(check, attributes.clone()));
        assert_eq!(refused, Some(Status::PsaErrorNotSupported), "{check}: {attributes:?}");
    }
}

/// PrepareKeyAttestation and AttestKey, with the other side's MakeCredential done here.
#[test]
fn parsecs_own_attestation_opens_credentials_for_the_callers_key() {
    let device = Device::start();
    let mut client = device.client();
    client.generate_key("k", support::p256()).unwrap();
    let prepared = client.prepare_key_attestation("k").unwrap();
    let public = TpmtPublic::parse(&prepared.public).unwrap();
    assert_eq!(prepared.name, [&[0, 0x0B][..], &HashAlg::Sha256.digest(&[&prepared.public])].concat());
    assert!(public.spki().unwrap().as_der().ends_with(&client.export_public_key("k").unwrap()));
    // RSAPublicKey, as Parsec gives it: 270 octets.
    assert_eq!(prepared.attesting_key_pub.len(), 270);
    let endorsement = client.describe_endorsement("").unwrap();
    let certified = endorsement
        .certificates
        .iter()
        .map(|der| vouchsafe_evidence::x509::CertView::parse(der).unwrap().spki().clone());
    let is_rsa = |spki: &SpkiView| matches!(spki.key(), PublicKey::Rsa { .. });
    let ek = certified.into_iter().find(is_rsa).unwrap();
    assert!(ek.as_der().ends_with(&prepared.attesting_key_pub));

    let challenge = credential::make(&ek, &prepared.name, b"thirty-two octets of a secret...");
    let opened = client.open_key_credential("k", &challenge.credential[2..], &challenge.secret[2..]).unwrap();
    assert_eq!(opened, b"thirty-two octets of a secret...");
    // For another key's Name, with a bit changed, and empty.
    client.generate_key("other", support::p256()).unwrap();
    let refused = Some(Status::PsaErrorNotPermitted);
    let wrong_key = client.open_key_credential("other", &challenge.credential[2..], &challenge.secret[2..]);
    assert_eq!(status(wrong_key), refused);
    let mut forged = challenge.credential[2..].to_vec();
    forged[10] ^= 1;
    assert_eq!(status(client.open_key_credential("k", &forged, &challenge.secret[2..])), refused);
    assert_eq!(status(client.open_key_credential("k", &[0; 68], &[0; 256])), refused);
    assert_eq!(status(client.open_key_credential("k", &[], &[])), refused);
    assert_eq!(status(client.open_key_credential("nobody", &[], &[])), Some(Status::PsaErrorDoesNotExist));
    assert_eq!(status(client.prepare_key_attestation("nobody")), Some(Status::PsaErrorDoesNotExist));
    // What it was asked did the module no harm.
    client.sign_hash("k", ecdsa(hash::SHA_256), &digest_of(hash::SHA_256, MESSAGE)).unwrap();
}

#[test]
fn clients_are_listed_and_deleted_by_administrators() {
    let device = Device::start();
    let mut client = device.client();
    assert_eq!(client.list_clients().unwrap(), Vec::<String>::new());
    let own = rustix::process::geteuid().as_raw().to_string();
    assert_eq!(status(client.delete_client(&own)), Some(Status::PsaErrorDoesNotExist));
    client.generate_key("k", support::p256()).unwrap();
    client.create_attesting_key("attesting", "", false).unwrap();
    let point = client.export_public_key("k").unwrap();
    client.import_key("public", signing(curve_point(), 256, ecdsa(hash::SHA_256)), &point).unwrap();
    assert_eq!(client.list_clients().unwrap(), std::slice::from_ref(&own));
    assert_eq!(status(client.delete_client("nobody")), Some(Status::PsaErrorInvalidArgument));
    client.delete_client(&own).unwrap();
    assert_eq!(client.list_clients().unwrap(), Vec::<String>::new());
    assert_eq!(client.list_keys().unwrap(), vec![]);
    // All of it is on record, in this order.
    let log = device.config.state.join(vouchsafe_agent::audit::FILE_NAME);
    assert_eq!(vouchsafe_agent::audit::verify(&log, None).unwrap().entries, 12);
    let text = std::fs::read_to_string(log).unwrap();
    let entries: Vec<(&str, &str, &str)> = text
        .lines()
        .map(|line| line.split('\t').collect::<Vec<_>>())
        .map(|entry| (entry[2], entry[6], entry[10]))
        .collect();
    let expected = [
        ("list-clients", "", "ok"),
        ("delete-client", own.as_str(), "agent.client-unknown"),
        ("generate", "k", "ok"),
        ("create-attesting-key", "attesting", "ok"),
        ("import", "public", "ok"),
        ("list-clients", "", "ok"),
        ("delete-client", "nobody", "agent.invalid"),
        ("destroy", "attesting", "ok"),
        ("destroy", "k", "ok"),
        ("destroy", "public", "ok"),
        ("delete-client", own.as_str(), "ok"),
        ("list-clients", "", "ok"),
    ];
    assert_eq!(entries, expected);
    assert_eq!(status(client.export_public_key("k")), Some(Status::PsaErrorDoesNotExist));
}

#[test]
fn what_is_listed_is_served() {
    let device = Device::start();
    let mut client = device.client();
    for (provider, route) in [(ProviderId::CORE, Route::Core), (ProviderId::TPM, Route::Provider)] {
        let listed = client.list_opcodes(provider).unwrap();
        for number in listed {
            assert_eq!(Opcode::from_number(number).unwrap().route(), route, "{number:#x}");
        }
    }
    // Parsec 1.5.0's TPM provider has these.
    let listed = client.list_opcodes(ProviderId::TPM).unwrap();
    for number in [0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x0A, 0x0B, 0x0D, 0x1E, 0x1F, 0x20] {
        assert!(listed.contains(&number), "{number:#x}");
    }
}
