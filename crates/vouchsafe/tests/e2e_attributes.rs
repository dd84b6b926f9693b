//! Which keys become attestation keys: every combination of attributes is made on a software TPM, or loaded from outside,
//! and tried with a running authority. Only the allowed words get certificates.

#![cfg(all(feature = "agent", feature = "authority"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    dead_code,
    missing_docs
)]

#[path = "../src/advice.rs"]
mod advice;
#[path = "../src/authority_client.rs"]
mod authority_client;
#[path = "../src/console.rs"]
mod console;
#[path = "support/environment.rs"]
mod environment;
#[path = "../src/failure.rs"]
mod failure;
#[path = "../src/files.rs"]
mod files;
#[path = "../src/demo/machine.rs"]
mod machine;
#[path = "../src/reasons.rs"]
mod reasons;
#[path = "../src/demo/software.rs"]
mod software;
#[path = "support/cli.rs"]
mod support;

use std::collections::BTreeSet;

use authority_client::{AuthorityAddress, AuthorityClient, ChallengeRequest, NoAnswer, NoncePurpose, octets};
use environment::{AuthoritySide, DeviceSide};
use machine::Machine;
use software::SoftwareKey;
use vouchsafe_agent::swtpm::{Options, Swtpm};
use vouchsafe_evidence::oid;
use vouchsafe_evidence::tpm::template::{AK_ATTRIBUTES, PLAIN_AK_ATTRIBUTES};
use vouchsafe_evidence::tpm::{
    Curve, EccScheme, HashAlg, ObjectAttributes, PublicParameters, Symmetric, TpmtPublic, alg,
};
use vouchsafe_evidence::x509::extensions::ExtendedKeyUsage;
use vouchsafe_evidence::x509::{CertView, NamedCurve, PublicKey};

/// The attributes that are combined.
const BITS: [u32; 7] = [
    ObjectAttributes::FIXED_TPM,
    ObjectAttributes::FIXED_PARENT,
    ObjectAttributes::SENSITIVE_DATA_ORIGIN,
    ObjectAttributes::RESTRICTED,
    ObjectAttributes::DECRYPT,
    ObjectAttributes::SIGN,
    ObjectAttributes::X509_SIGN,
];
/// Attributes that are tried in addition to those of an attestation key, one by one.
const OTHERS: [u32; 6] = [
    ObjectAttributes::ST_CLEAR,
    ObjectAttributes::ADMIN_WITH_POLICY,
    ObjectAttributes::FIRMWARE_LIMITED,
    ObjectAttributes::SVN_LIMITED,
    ObjectAttributes::NO_DA,
    ObjectAttributes::ENCRYPTED_DUPLICATION,
];

fn client(authority: &AuthoritySide) -> AuthorityClient {
    let address = AuthorityAddress {
        authority: authority.url.clone(),
        ca: authority.tls_root(),
        token_file: authority.path("token"),
    };
    AuthorityClient::new(&address).unwrap()
}

/// A public area in which everything but the attributes is as those allow it.
fn public(attributes: u32, (x, y): (Vec<u8>, Vec<u8>)) -> TpmtPublic {
    let bits = ObjectAttributes::from_bits(attributes);
    let (signs, decrypts) = (bits.contains(ObjectAttributes::SIGN), bits.contains(ObjectAttributes::DECRYPT));
    let parent = decrypts && !signs && bits.contains(ObjectAttributes::RESTRICTED);
    let parameters = PublicParameters::Ecc {
        symmetric: if parent { Symmetric::Aes { key_bits: 128, mode: alg::CFB } } else { Symmetric::Null },
        scheme: if signs && !decrypts { EccScheme::Ecdsa(HashAlg::Sha256) } else { EccScheme::Null },
        curve: Curve::P256,
        x,
        y,
    };
    TpmtPublic::build(Some(HashAlg::Sha256), bits, &[], parameters)
}

fn refusal<T>(answer: Result<T, NoAnswer>) -> Option<Vec<String>> {
    match answer {
        Ok(_) => None,
        Err(NoAnswer::Refused(problem)) => {
            assert_eq!(problem.code(), "rejected", "{problem:?}");
            Some(problem.violations.into_iter().map(|reason| reason.code).collect())
        }
        Err(NoAnswer::Failed(failure)) => panic!("{failure:?}"),
    }
}

fn purposes(certificate: &CertView) -> Vec<oid::Oid> {
    let extension = certificate.extension(oid::EXTENDED_KEY_USAGE).unwrap().unwrap();
    ExtendedKeyUsage::parse(extension.value()).unwrap().purposes().to_vec()
}

#[test]
fn of_all_combinations_of_attributes_only_the_allowed_words_are_certified() {
    let swtpm = Swtpm::start(&Options::default()).unwrap();
    let authority = AuthoritySide::start(&[&swtpm]);
    let client = client(&authority);
    let mut machine = Machine::new(&swtpm).unwrap();
    let combinations = (0..1_u32 << BITS.len()).map(|chosen| {
        BITS.iter().enumerate().filter(|(place, _)| chosen >> place & 1 == 1).fold(0, |word, (_, bit)| word | bit)
    });
    let words: BTreeSet<u32> = combinations
        .map(|word| word | ObjectAttributes::USER_WITH_AUTH)
        .chain(OTHERS.map(|bit| AK_ATTRIBUTES | bit))
        .chain(OTHERS.map(|bit| PLAIN_AK_ATTRIBUTES | bit))
        .chain([AK_ATTRIBUTES & !ObjectAttributes::USER_WITH_AUTH])
        .collect();
    assert!(words.contains(&AK_ATTRIBUTES) && words.contains(&PLAIN_AK_ATTRIBUTES));

    let mut certified = BTreeSet::new();
    let (mut made, mut outside, mut claimed) = (0, 0, 0);
    let is_refused =
        |codes: Option<Vec<String>>| codes.is_some_and(|codes| codes.contains(&"ak.attributes".to_owned()));
    for word in words {
        let names = ObjectAttributes::from_bits(word);
        if let Ok(key) = machine.make(&public(word, (word.to_be_bytes().to_vec(), Vec::new()))) {
            made += 1;
            assert_eq!(key.public.attributes().bits(), word);
            match refusal(machine.enroll(&client, "node", &key)) {
                None => assert!(certified.insert(word)),
                codes => assert!(is_refused(codes), "{names:?}"),
            }
            machine.flush(&key).unwrap();
            continue;
        }
        // What the TPM does not make is tried as a key from outside, which it may hold just as well; and what it does
        // not even hold is claimed all the same.
        let key = SoftwareKey::generate().unwrap();
        let lie = public(word, key.point());
        match machine.load_external(&key, lie.clone()) {
            Ok(loaded) => {
                outside += 1;
                assert!(is_refused(refusal(machine.enroll(&client, "node", &loaded))), "{names:?}");
                machine.flush(&loaded).unwrap();
            }
            Err(_) => {
                claimed += 1;
                assert!(is_refused(refusal(client.challenge(&claim(&client, &swtpm, &lie)))), "{names:?}");
            }
        }
    }
    println!("{made} made by the TPM, {outside} loaded from outside, {claimed} claimed");
    assert!(made > 20 && outside > 5, "{made} made, {outside} loaded");
    // noDA decides how guesses at the authValue count, not what the key signs.
    let allowed = [AK_ATTRIBUTES, PLAIN_AK_ATTRIBUTES].map(|word| [word, word | ObjectAttributes::NO_DA]);
    assert_eq!(certified, allowed.into_iter().flatten().collect());
}

/// A request for a challenge to a public area that no TPM holds.
fn claim(client: &AuthorityClient, swtpm: &Swtpm, public: &TpmtPublic) -> ChallengeRequest {
    let Ok(nonce) = client.nonce(NoncePurpose::AttestationKey) else { panic!("no nonce") };
    let certificates = std::fs::read_dir(swtpm.certificates_folder()).unwrap();
    let rsa =
        certificates.map(|entry| entry.unwrap().path()).find(|path| path.to_str().unwrap().contains("rsa")).unwrap();
    ChallengeRequest {
        device: "node".to_owned(),
        ek_certificates: vec![std::fs::read(rsa).unwrap()],
        ek_keys: Vec::new(),
        ak_public: public.as_bytes().to_vec(),
        nonce,
        baseline: None,
    }
}

#[test]
fn the_words_of_an_attestation_key_help_no_key_that_is_not_in_the_tpm() {
    let swtpm = Swtpm::start(&Options::default()).unwrap();
    let authority = AuthoritySide::start(&[&swtpm]);
    let client = client(&authority);
    let mut machine = Machine::new(&swtpm).unwrap();
    let key = SoftwareKey::generate().unwrap();
    let lie = public(AK_ATTRIBUTES, key.point());
    assert!(machine.load_external(&key, lie.clone()).is_err(), "the TPM holds a software key as its own");
    let Ok(challenge) = client.challenge(&claim(&client, &swtpm, &lie)) else { panic!("refused before the challenge") };
    // The challenge can be opened by the TPM alone, beside a key with that Name: there is none.
    let honest = machine.attestation_key(AK_ATTRIBUTES).unwrap();
    assert!(machine.answer(&honest, &challenge).is_err());
    let guess = client.activate(&challenge.id, &[0; 32]);
    assert!(matches!(guess, Err(NoAnswer::Refused(problem)) if problem.code() == "activation-failed"));
}

#[test]
fn a_certificate_serves_one_family_and_a_plain_key_gets_none_for_certificates() {
    let swtpm = Swtpm::start(&Options::default()).unwrap();
    let authority = AuthoritySide::start(&[&swtpm]);
    let client = client(&authority);
    let mut machine = Machine::new(&swtpm).unwrap();
    for (attributes, certifies) in [(AK_ATTRIBUTES, true), (PLAIN_AK_ATTRIBUTES, false)] {
        let key = machine.attestation_key(attributes).unwrap();
        let Ok(enrolled) = machine.enroll(&client, "node", &key) else { panic!("refused") };
        assert_eq!(purposes(&enrolled.attest[0]), [oid::KP_AIK_CERTIFICATE]);
        assert_eq!(enrolled.certify_x509.is_some(), certifies);
        if let Some(chain) = enrolled.certify_x509 {
            assert_eq!(purposes(&chain[0]), [oid::KP_CERTIFY_X509]);
            assert_ne!(chain[0].subject(), enrolled.attest[0].subject());
        }
    }
}

#[test]
fn every_endorsement_key_with_a_certificate_enrolls() {
    let device = DeviceSide::start();
    let authority = AuthoritySide::start(&[&device.swtpm]);
    let client = client(&authority);
    let mut agent = device.client();
    let described = agent.describe_endorsement("").unwrap();
    let kinds: Vec<bool> = described
        .certificates
        .iter()
        .map(|der| matches!(CertView::parse(der).unwrap().spki().key(), PublicKey::Rsa { modulus, .. } if modulus.len() == 256))
        .collect();
    assert_eq!(kinds, [true, false], "one RSA-2048 and one ECC endorsement key are expected");
    let ecc = CertView::parse(&described.certificates[1]).unwrap();
    assert!(matches!(ecc.spki().key(), PublicKey::Ec { curve: NamedCurve::P384, .. }));
    for (number, certificate) in described.certificates.iter().enumerate() {
        // Each endorsement key is a device of its own to the authority, and each AK belongs to one device.
        let ak = format!("ak-{number}");
        agent.create_attesting_key(&ak, "", true).unwrap();
        let described = agent.describe_endorsement(&ak).unwrap();
        let Ok(nonce) = client.nonce(NoncePurpose::AttestationKey) else { panic!("no nonce") };
        let challenge = client.challenge(&ChallengeRequest {
            device: format!("node-{number}"),
            ek_certificates: vec![certificate.clone()],
            ek_keys: Vec::new(),
            ak_public: described.public,
            nonce,
            baseline: None,
        });
        let Ok(challenge) = challenge else { panic!("{challenge:?}") };
        let (blob, secret) = (octets(&challenge.credential_blob).unwrap(), octets(&challenge.secret).unwrap());
        let answer = agent.activate_credential(&ak, &blob, &secret).unwrap();
        let activated = client.activate(&challenge.id, &answer);
        assert!(activated.is_ok(), "{number}: {activated:?}");
        // The one answer was given; a second one is none.
        assert!(
            matches!(client.activate(&challenge.id, &answer), Err(NoAnswer::Refused(problem)) if problem.code() == "activation-failed")
        );
    }
}
