//! The whole device side on a software TPM: clients on the socket, keys and attestations in the TPM.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/device.rs"]
mod device;
#[allow(dead_code, missing_docs)]
#[path = "../examples/attest.rs"]
mod example;
#[path = "service_tpm/pseudonyms.rs"]
mod pseudonyms;
#[path = "support/service.rs"]
mod support;

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED,
    EcdsaKeyPair, KeyPair, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey,
    VerificationAlgorithm,
};
use device::Device;
use rustix::process::{Pid, Signal, kill_process};
use support::{attributes, client, ecdsa, p256};
use vouchsafe_agent::Agent;
use vouchsafe_agent::client::{Client, ClientFault, Endpoint};
use vouchsafe_agent::config::Config;
use vouchsafe_agent::wire::Status;
use vouchsafe_agent::wire::message::{
    AsymmetricSignature, AsymmetricSignatureVariant, EccKeyPair, FamilyChain, KeyMechanism, KeyTypeVariant,
    PlatformMechanism, RsaKeyPair, SignHash, SignHashVariant, SignatureHash, TpmCertify, TpmCertifyX509, TpmQuote,
    ecc_family, hash,
};
use vouchsafe_evidence::oid;
use vouchsafe_evidence::statement::FormatId;
use vouchsafe_evidence::x509::{CertView, SpkiView, build};

const NONCE: [u8; 32] = [0x2A; 32];

fn certify() -> KeyMechanism {
    KeyMechanism::TpmCertify(TpmCertify {})
}

fn quote() -> PlatformMechanism {
    PlatformMechanism::TpmQuote(TpmQuote { bank: String::new(), indices: vec![0, 7, 16] })
}

fn sha256() -> SignatureHash {
    let variant = Some(SignHashVariant::Specific(hash::SHA_256));
    SignatureHash { hash_alg: Some(SignHash { variant }) }
}

fn signature_of(variant: AsymmetricSignatureVariant) -> AsymmetricSignature {
    AsymmetricSignature { variant: Some(variant) }
}

fn status(outcome: Result<impl std::fmt::Debug, ClientFault>) -> Option<Status> {
    outcome.unwrap_err().status()
}

/// Signs through the service and verifies under the public key that the service exports.
fn signs(
    client: &mut Client,
    name: &str,
    algorithm: AsymmetricSignature,
    digest: &aws_lc_rs::digest::Digest,
    verification: &'static dyn VerificationAlgorithm,
) {
    let public = client.export_public_key(name).unwrap();
    let signature = client.sign_hash(name, algorithm, digest.as_ref()).unwrap();
    let verified = ParsedPublicKey::new(verification, &public).unwrap().verify_digest_sig(digest, &signature);
    assert!(verified.is_ok(), "{name}: {} octets under {}", signature.len(), public.len());
    let other = aws_lc_rs::digest::digest(digest.algorithm(), b"other");
    let forged = ParsedPublicKey::new(verification, &public).unwrap().verify_digest_sig(&other, &signature);
    assert!(forged.is_err());
}

#[test]
fn keys_of_every_kind_sign_in_psa_formats() {
    let device = Device::start();
    let mut client = device.client();
    let curve = || KeyTypeVariant::EccKeyPair(EccKeyPair { curve_family: ecc_family::SECP_R1 });
    let rsa = || KeyTypeVariant::RsaKeyPair(RsaKeyPair {});
    let pkcs1 = signature_of(AsymmetricSignatureVariant::RsaPkcs1v15Sign(sha256()));
    let pss = signature_of(AsymmetricSignatureVariant::RsaPss(sha256()));
    let message = b"what is signed";
    let sha_256 = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, message);
    let sha_384 = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA384, message);

    client.generate_key("p256", p256()).unwrap();
    assert_eq!(client.export_public_key("p256").unwrap().len(), 65);
    signs(&mut client, "p256", ecdsa(hash::SHA_256), &sha_256, &ECDSA_P256_SHA256_FIXED);
    client.generate_key("p384", attributes(curve(), 384, ecdsa(hash::SHA_384))).unwrap();
    assert_eq!(client.export_public_key("p384").unwrap().len(), 97);
    signs(&mut client, "p384", ecdsa(hash::SHA_384), &sha_384, &ECDSA_P384_SHA384_FIXED);
    client.generate_key("pkcs1", attributes(rsa(), 2048, pkcs1.clone())).unwrap();
    signs(&mut client, "pkcs1", pkcs1, &sha_256, &RSA_PKCS1_2048_8192_SHA256);
    client.generate_key("pss", attributes(rsa(), 2048, pss.clone())).unwrap();
    signs(&mut client, "pss", pss, &sha_256, &RSA_PSS_2048_8192_SHA256);
    let names: Vec<String> = client.list_keys().unwrap().into_iter().map(|key| key.name).collect();
    assert_eq!(names, ["p256", "p384", "pkcs1", "pss"]);
}

#[test]
fn a_key_and_the_platform_are_attested() {
    let device = Device::start();
    let mut client = device.client();
    client.generate_key("k", p256()).unwrap();
    let mechanisms: Vec<String> =
        client.list_mechanisms().unwrap().into_iter().map(|mechanism| mechanism.name).collect();
    assert_eq!(mechanisms, ["tpm-certify", "tpm-certify-x509", "tpm-activate-credential", "tpm-quote"]);
    let attesting = client.list_attesting_keys().unwrap();
    assert_eq!((attesting.len(), attesting[0].name.as_str()), (1, "default"));
    assert!(attesting[0].is_default && attesting[0].made_here && !attesting[0].is_own);
    assert_eq!(attesting[0].families, ["attest", "certify-x509"]);

    let key = client.attest_key("k", "", &NONCE, certify()).unwrap();
    assert_eq!(key.format, FormatId::TpmCertify.id());
    assert_eq!(key.statement_oid, "2.23.133.20.1");
    assert!(contains(&key.statement, &NONCE));
    let platform = client.attest_platform("", &NONCE, quote()).unwrap();
    assert_eq!(platform.statement_oid, "2.23.133.20.2");
    assert!(contains(&platform.statement, &NONCE));
    let named = client.attest_key("k", "default", &NONCE, certify()).unwrap();
    assert_eq!(named.format, key.format);
    let unknown = client.attest_key("k", "other", &NONCE, certify()).unwrap_err();
    assert_eq!(unknown.code(), Some("agent.attesting-key-unknown"));
    let short = client.attest_key("k", "", &NONCE[..15], certify()).unwrap_err();
    assert_eq!(short.code(), Some("agent.nonce-length"));
    let uncertified = KeyMechanism::TpmCertifyX509(TpmCertifyX509::default());
    let fault = client.attest_key("k", "", &NONCE, uncertified).unwrap_err();
    assert_eq!(fault.code(), Some("cx509.issuer-missing"));
}

/// A certificate for `spki` that a software key signs; for a device a certificate like any other.
fn certificate(spki: &[u8], subject: &str) -> Vec<u8> {
    let random = aws_lc_rs::rand::SystemRandom::new();
    let issuer = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
    let algorithm = build::algorithm_identifier(oid::ECDSA_WITH_SHA256);
    let tbs = build::CertificateTemplate {
        serial: vec![1],
        algorithm: algorithm.clone(),
        issuer: build::name_from_text("CN=root").unwrap(),
        not_before: 0,
        not_after: 4_000_000_000,
        subject: build::name_from_text(subject).unwrap(),
        spki: SpkiView::parse(spki).unwrap(),
        extensions: vec![build::subject_key_identifier(&[7; 20])],
    }
    .tbs_der();
    let signature = issuer.sign(&random, &tbs).unwrap();
    build::assemble(&tbs, &algorithm, signature.as_ref())
}

fn certify_x509(parameters: TpmCertifyX509) -> KeyMechanism {
    KeyMechanism::TpmCertifyX509(parameters)
}

fn family(name: &str, certificates: Vec<Vec<u8>>) -> FamilyChain {
    FamilyChain { family: name.to_owned(), certificates }
}

#[test]
fn a_certificate_by_the_tpm_hangs_under_the_installed_or_the_given_chain() {
    let device = Device::start();
    let mut client = device.client();
    client.generate_key("web", p256()).unwrap();
    let spki = client.list_attesting_keys().unwrap()[0].public.clone();
    let other = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
    let other_spki = other.public_key().as_der().unwrap();
    let stranger = certificate(other_spki.as_ref(), "CN=device-1");
    let fault = client.install_certificates("", vec![family("certify-x509", vec![stranger.clone()])]).unwrap_err();
    assert_eq!(fault.code(), Some("agent.certificate-mismatch"));
    let installed = certificate(&spki, "CN=device-1,O=Example");
    // All or none: what is right beside what is wrong is not kept, and a family is given once.
    let right = || family("certify-x509", vec![installed.clone()]);
    let fault = client.install_certificates("", vec![right(), family("attest", vec![stranger.clone()])]).unwrap_err();
    assert_eq!(fault.code(), Some("agent.certificate-mismatch"));
    assert!(client.install_certificates("", vec![right(), right()]).unwrap_err().to_string().contains("once"));
    assert!(client.list_attesting_keys().unwrap()[0].certificates.is_empty());
    client.install_certificates("", vec![right()]).unwrap();

    let made = client.attest_key("web", "", &NONCE, certify_x509(TpmCertifyX509::default())).unwrap();
    assert_eq!(made.format, "tpm-certify-x509");
    assert_eq!(made.certificates, [installed]);
    let leaf = CertView::parse(&made.certificate).unwrap();
    assert_eq!(leaf.subject().as_der(), build::name_from_text("CN=web,CN=device-1,O=Example").unwrap().as_der());
    assert_eq!(leaf.issuer().as_der(), build::name_from_text("CN=device-1,O=Example").unwrap().as_der());
    let point = SpkiView::parse(&spki).unwrap();
    let public = ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point.as_der()).unwrap();
    public.verify_sig(leaf.tbs(), leaf.signature()).unwrap();
    let exported = client.export_public_key("web").unwrap();
    assert!(contains(leaf.spki().as_der(), &exported));

    let given = certificate(&spki, "CN=device-2");
    let beneath = TpmCertifyX509 {
        subject: "CN=x,CN=device-2".to_owned(),
        chain: vec![given.clone()],
        san: vec!["dns:x.example".to_owned()],
        ..TpmCertifyX509::default()
    };
    let made = client.attest_key("web", "", &NONCE, certify_x509(beneath.clone())).unwrap();
    assert_eq!(made.certificates, [given]);
    assert!(contains(&made.certificate, b"x.example"));
    let outside = TpmCertifyX509 { subject: "CN=x,CN=device-3".to_owned(), ..beneath.clone() };
    let fault = client.attest_key("web", "", &NONCE, certify_x509(outside)).unwrap_err();
    assert_eq!(fault.code(), Some("cx509.subject-outside-device"));
    assert_eq!(fault.status(), Some(Status::PsaErrorInvalidArgument));
    let strange = TpmCertifyX509 { subject: "CN=x,CN=device-1".to_owned(), chain: vec![stranger], ..beneath };
    let fault = client.attest_key("web", "", &NONCE, certify_x509(strange)).unwrap_err();
    assert_eq!(fault.code(), Some("cx509.issuer-not-attesting-key"));
}

#[test]
fn own_attesting_keys_have_certificates_of_their_own() {
    let device = Device::start();
    let mut client = device.client();
    client.generate_key("k", p256()).unwrap();
    let mine = client.create_attesting_key("mine", "", false).unwrap();
    let leaf = certificate(&mine.public, "CN=pseudonym");
    let chain = vec![family("attest", vec![leaf.clone()]), family("certify-x509", vec![leaf.clone()])];
    client.install_certificates("mine", chain).unwrap();
    let certified = client.attest_key("k", "mine", &NONCE, certify()).unwrap();
    assert_eq!(certified.certificates.as_slice(), std::slice::from_ref(&leaf));
    let made = client.attest_key("k", "mine", &NONCE, certify_x509(TpmCertifyX509::default())).unwrap();
    let issuer = CertView::parse(&made.certificate).unwrap().issuer().as_der().to_vec();
    assert_eq!(issuer, build::name_from_text("CN=pseudonym").unwrap().as_der());
    let machine = client.list_attesting_keys().unwrap().remove(0);
    let wrong = vec![family("attest", vec![certificate(&machine.public, "CN=pseudonym")])];
    let fault = client.install_certificates("mine", wrong).unwrap_err();
    assert_eq!(fault.code(), Some("agent.certificate-mismatch"));
}

/// Serves until it is told to stop; run by the test below as a process of its own.
#[test]
#[ignore = "run as a process of its own by the test of signals"]
fn serve_until_told() {
    let file = std::env::var("VOUCHSAFE_TEST_CONFIG").expect("set by the test that runs this one");
    vouchsafe_agent::serve(Config::load(Path::new(&file)).unwrap()).unwrap();
}

#[test]
fn a_signal_stops_the_service_and_leaves_no_socket() {
    for signal in [Signal::TERM, Signal::INT] {
        let directory = tempfile::tempdir().unwrap();
        let (file, socket) = (directory.path().join("agent.toml"), directory.path().join("s"));
        let folder = directory.path().display();
        let text = format!(
            "state = '{folder}/state'\n[socket]\npath = '{folder}/s'\n\
             [providers.tpm]\naddress = 'device:{folder}/none'\n"
        );
        std::fs::write(&file, text).unwrap();
        let mut served = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "serve_until_told", "--ignored"])
            .env("VOUCHSAFE_TEST_CONFIG", &file)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let started = Instant::now();
        while !socket.exists() {
            assert!(started.elapsed() < Duration::from_secs(20), "no socket");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(client(&socket).ping().unwrap(), (1, 0));
        kill_process(Pid::from_child(&served), signal).unwrap();
        assert!(served.wait().unwrap().success(), "{signal:?}");
        assert!(!socket.exists(), "{signal:?}");
    }
}

fn contains(octets: &[u8], part: &[u8]) -> bool {
    octets.windows(part.len()).any(|window| window == part)
}

#[test]
fn attesting_keys_attest_and_do_nothing_else() {
    let device = Device::start();
    let mut client = device.client();
    client.generate_key("k", p256()).unwrap();
    client.create_attesting_key("mine", "ecc-p384", false).unwrap();
    client.create_attesting_key("site", "", true).unwrap();
    let twice = client.create_attesting_key("site", "", true).unwrap_err();
    assert_eq!(twice.code(), Some("agent.attesting-key-exists"));
    for name in ["mine", "site"] {
        let attestation = client.attest_key("k", name, &NONCE, certify()).unwrap();
        assert!(contains(&attestation.statement, &NONCE), "{name}");
        let refused = client.sign_hash(name, ecdsa(hash::SHA_256), &[7; 32]).unwrap_err();
        assert!(refused.status().is_some(), "{name}");
    }
    assert_eq!(status(client.destroy_key("site")), Some(Status::PsaErrorDoesNotExist));
    assert_eq!(status(client.destroy_key("default")), Some(Status::PsaErrorDoesNotExist));
    let keys = client.list_attesting_keys().unwrap();
    let names: Vec<_> = keys.iter().map(|key| (key.name.as_str(), key.algorithm.as_str(), key.is_own)).collect();
    assert_eq!(names, [("default", "ecc-p256", false), ("site", "ecc-p256", false), ("mine", "ecc-p384", true)]);
}

#[test]
fn enrollment_is_described_and_a_false_challenge_is_one_error() {
    let device = Device::start();
    let mut client = device.client();
    let endorsement = client.describe_endorsement("").unwrap();
    assert!(!endorsement.certificates.is_empty());
    assert_eq!(endorsement.attesting_key, "default");
    assert_eq!(endorsement.name.len(), 34);
    assert_eq!(
        endorsement.name[2..],
        *aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &endorsement.public).as_ref()
    );
    let sized = |octets: usize| [u16::try_from(octets).unwrap().to_be_bytes().to_vec(), vec![1; octets]].concat();
    for (credential, secret) in
        [(sized(68), sized(256)), (sized(84), sized(100)), (sized(68), sized(68)), (vec![], vec![])]
    {
        let fault = client.activate_credential("", &credential, &secret).unwrap_err();
        assert_eq!(fault.code(), Some("agent.activation-refused"));
        assert_eq!(fault.status(), Some(Status::PsaErrorNotPermitted));
    }
    assert!(client.attest_platform("", &NONCE, quote()).is_ok());
}

#[test]
fn of_eight_clients_that_make_one_key_the_acknowledged_one_is_stored() {
    let device = Device::start();
    for round in 0..20 {
        let name = format!("key-{round}");
        let barrier = Barrier::new(8);
        let made = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        let mut client = device.client();
                        barrier.wait();
                        client.generate_key(&name, p256())
                    })
                })
                .collect();
            let outcomes = clients.into_iter().map(|client| client.join().unwrap());
            outcomes
                .filter(|outcome| match outcome {
                    Ok(()) => true,
                    Err(fault) => {
                        assert_eq!(fault.status(), Some(Status::PsaErrorAlreadyExists));
                        false
                    }
                })
                .count()
        });
        assert_eq!(made, 1, "round {round}");
        let mut client = device.client();
        let public = client.export_public_key(&name).unwrap();
        let message = name.as_bytes();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, message);
        let signature = client.sign_hash(&name, ecdsa(hash::SHA_256), digest.as_ref()).unwrap();
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &public).verify(message, &signature).unwrap();
    }
}

#[test]
fn keys_outlive_the_agent_and_the_tpms_reset() {
    let mut device = Device::start();
    device.client().generate_key("k", p256()).unwrap();
    let public = device.client().export_public_key("k").unwrap();
    device.restart_agent();
    let mut client = device.client();
    assert_eq!(client.export_public_key("k").unwrap(), public);
    let attesting = client.list_attesting_keys().unwrap();
    let message = b"after";
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, message);
    let verify =
        |signature: &[u8]| UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &public).verify(message, signature);
    verify(&client.sign_hash("k", ecdsa(hash::SHA_256), digest.as_ref()).unwrap()).unwrap();
    device.tpm.restart().unwrap();
    verify(&client.sign_hash("k", ecdsa(hash::SHA_256), digest.as_ref()).unwrap()).unwrap();
    assert_eq!(client.list_attesting_keys().unwrap(), attesting);
    assert!(client.attest_platform("", &NONCE, quote()).is_ok());
}

#[test]
fn an_agent_without_its_tpm_serves_and_recovers() {
    let mut device = Device::start();
    device.client().generate_key("k", p256()).unwrap();
    device.agent.take().unwrap().stop();
    device.tpm.stop();
    device.agent = Some(Agent::start(device.config.clone()).unwrap());
    let mut client = device.client();
    assert_eq!(client.ping().unwrap(), (1, 0));
    assert_eq!(client.list_keys().unwrap().len(), 1);
    let away = client.sign_hash("k", ecdsa(hash::SHA_256), &[7; 32]);
    assert_eq!(status(away), Some(Status::PsaErrorCommunicationFailure));
    device.tpm.restart().unwrap();
    assert!(client.sign_hash("k", ecdsa(hash::SHA_256), &[7; 32]).is_ok());
}

/// What `scripts/peers` fetched for Python.
const PYTHON_PACKAGES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/peers/python");

#[test]
fn a_client_in_python_made_from_the_proto_files_alone_checks_what_it_is_given() {
    assert!(Path::new(PYTHON_PACKAGES).is_dir(), "run scripts/peers, which fetches what the client in Python needs");
    let device = Device::start();
    let mut client = device.client();
    let machine = client.list_attesting_keys().unwrap().remove(0);
    let chain = ["attest", "certify-x509"].map(|name| family(name, vec![certificate(&machine.public, "CN=device-1")]));
    client.install_certificates("", chain.to_vec()).unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("python3")
        .arg(folder.join("tests/peers/python/client.py"))
        .arg(device.socket())
        .arg(folder.join("proto"))
        .env("PYTHONPATH", PYTHON_PACKAGES)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let expected = [
        "ping 1.0",
        "providers 3 0",
        "operations known",
        "signature holds",
        "attesting key default ecc-p256 attest certify-x509",
        "tpm-certify 2.23.133.20.1 nonce and signature hold",
        "tpm-certify-x509 1.3.6.1.4.1.32473.1.1 nonce and signature hold",
        "tpm-quote 2.23.133.20.2 nonce and signature hold",
        "short nonce: 1135 agent.nonce-length",
        "no mechanism: 1134 agent.not-supported",
        "unknown key: 1140 agent.key-unknown",
        "unknown attesting key: 1140 agent.attesting-key-unknown",
        "keys made-in-python",
        "done",
    ];
    let (mechanisms, steps): (Vec<&str>, Vec<&str>) = said.lines().partition(|line| line.starts_with("mechanism "));
    assert_eq!(steps, expected);
    for (name, subject) in [("tpm-certify", "key"), ("tpm-certify-x509", "key"), ("tpm-quote", "platform")] {
        let lists = |line: &&str| line.starts_with(&format!("mechanism {name} 1 ")) && line.ends_with(subject);
        assert!(mechanisms.iter().any(lists), "{name}: {mechanisms:?}");
    }
}

#[test]
fn the_example_attests_a_key_whether_it_is_new_or_not() {
    let device = Device::start();
    let endpoint = Endpoint::at(device.socket());
    for nonce in [[0x2B; 32], [0x2C; 32]] {
        let mut said = Vec::new();
        example::attest(&endpoint, "web", &nonce, &mut said).unwrap();
        let said = String::from_utf8(said).unwrap();
        assert!(said.starts_with("format: tpm-certify\ntype: 2.23.133.20.1\nstatement: 30"), "{said}");
        let digits: String = nonce.iter().map(|octet| format!("{octet:02x}")).collect();
        assert!(said.contains(&digits));
    }
    assert!(example::attest(&endpoint, "web", b"short", &mut Vec::new()).is_err());
    assert!(include_str!("../examples/attest.rs").lines().count() < 80);
}
