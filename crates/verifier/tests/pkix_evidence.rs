//! PKIX Evidence that vectors cannot hold: signatures that are random by nature, many keys, what the builder writes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[allow(dead_code, reason = "its main is not called here")]
#[path = "../../evidence/examples/emit_evidence.rs"]
mod emit_evidence;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    self as lc, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, ML_DSA_65_SIGNING, PqdsaKeyPair,
    RsaEncoding, RsaKeyPair,
};
use serde_json::{Value, json};
use vouchsafe_evidence::emit::{Evidence, Purpose, TbsEvidence};
use vouchsafe_evidence::formats::ListedFormat;
use vouchsafe_evidence::formats::pkix_evidence::{EvidenceDefect, EvidenceView};
use vouchsafe_evidence::input::{InputFile, Submission};
use vouchsafe_evidence::oid::{self, Oid};
use vouchsafe_evidence::x509::SpkiView;
use vouchsafe_evidence::x509::build::{self, DerWriter};
use vouchsafe_evidence::{pem, statement::FormatId};
use vouchsafe_verifier::{Instant, Nonce, Policy, Request, TrustStore, Verdict, verify};

const NONCE: [u8; 32] = [0x5A; 32];
const AT: &str = "2026-12-01T00:00:00Z";

/// A key that signs, with what names it and its algorithm.
struct Signer {
    spki: Vec<u8>,
    algorithm: Vec<u8>,
    sign: Box<Sign>,
}

/// Makes a signature over a message.
type Sign = dyn Fn(&[u8]) -> Vec<u8>;

fn ecdsa(algorithm: &'static EcdsaSigningAlgorithm, hash: Oid) -> Signer {
    let pair = EcdsaKeyPair::generate(algorithm).unwrap();
    let spki: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    let spki = spki.as_ref().to_vec();
    let sign = move |message: &[u8]| pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec();
    Signer { spki, algorithm: build::algorithm_identifier(hash), sign: Box::new(sign) }
}

fn rsa(encoding: &'static dyn RsaEncoding, algorithm: Vec<u8>) -> Signer {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let spki: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    let spki = spki.as_ref().to_vec();
    let sign = move |message: &[u8]| {
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(encoding, &SystemRandom::new(), message, &mut signature).unwrap();
        signature
    };
    Signer { spki, algorithm, sign: Box::new(sign) }
}

fn ed25519() -> Signer {
    let pair = Ed25519KeyPair::generate().unwrap();
    let spki = raw_spki(oid::ED25519, pair.public_key().as_ref());
    let sign = move |message: &[u8]| pair.sign(message).as_ref().to_vec();
    Signer { spki, algorithm: build::algorithm_identifier(oid::ED25519), sign: Box::new(sign) }
}

fn ml_dsa_65() -> Signer {
    let pair = PqdsaKeyPair::generate(&ML_DSA_65_SIGNING).unwrap();
    let spki = raw_spki(oid::ML_DSA_65, pair.public_key().as_ref());
    let sign = move |message: &[u8]| {
        let mut signature = vec![0; ML_DSA_65_SIGNING.signature_len()];
        pair.sign(message, &mut signature).unwrap();
        signature
    };
    Signer { spki, algorithm: build::algorithm_identifier(oid::ML_DSA_65), sign: Box::new(sign) }
}

fn raw_spki(algorithm: Oid, key: &[u8]) -> Vec<u8> {
    let mut writer = DerWriter::new();
    writer.sequence(|spki| {
        spki.raw(&build::algorithm_identifier(algorithm)).bit_string(key, 0);
    });
    writer.into_der()
}

/// RSASSA-PSS with a SHA-2 hash and a salt as long as the digest (RFC 4055, 3.1).
fn pss(hash: Oid, salt: u64) -> Vec<u8> {
    use vouchsafe_evidence::x509::der::Tag;
    let digest = build::algorithm_identifier_null(hash);
    let mut writer = DerWriter::new();
    writer.sequence(|algorithm| {
        algorithm.oid(oid::RSASSA_PSS).sequence(|parameters| {
            parameters.constructed(Tag::context_constructed(0), |field| {
                field.raw(&digest);
            });
            parameters.constructed(Tag::context_constructed(1), |field| {
                field.sequence(|mask| {
                    mask.oid(oid::MGF1).raw(&digest);
                });
            });
            parameters.constructed(Tag::context_constructed(2), |field| {
                field.uint(salt);
            });
        });
    });
    writer.into_der()
}

/// Every algorithm that the draft's attesters may use here, by name in reports.
fn signers() -> Vec<(&'static str, Signer)> {
    let rsa_sha256 = build::algorithm_identifier_null(oid::SHA256_WITH_RSA);
    vec![
        ("ECDSA with SHA-256", ecdsa(&lc::ECDSA_P256_SHA256_ASN1_SIGNING, oid::ECDSA_WITH_SHA256)),
        ("ECDSA with SHA-384", ecdsa(&lc::ECDSA_P384_SHA384_ASN1_SIGNING, oid::ECDSA_WITH_SHA384)),
        ("ECDSA with SHA-512", ecdsa(&lc::ECDSA_P521_SHA512_ASN1_SIGNING, oid::ECDSA_WITH_SHA512)),
        ("Ed25519", ed25519()),
        ("ML-DSA-65", ml_dsa_65()),
        ("RSASSA-PKCS1-v1_5 with SHA-256", rsa(&lc::RSA_PKCS1_SHA256, rsa_sha256)),
        ("RSASSA-PSS with SHA-256", rsa(&lc::RSA_PSS_SHA256, pss(oid::SHA256, 32))),
        ("RSASSA-PSS with SHA-512", rsa(&lc::RSA_PSS_SHA512, pss(oid::SHA512, 64))),
    ]
}

/// What a module says about itself and one key, naming `attestation_keys`.
fn said(attestation_keys: &[&Signer], user_key: &[u8]) -> Vec<u8> {
    TbsEvidence::new()
        .transaction(|claims| {
            let claims = claims.nonce(&NONCE).timestamp(1_796_083_200);
            attestation_keys.iter().fold(claims, |claims, signer| claims.attestation_key(&signer.spki))
        })
        .platform(|claims| {
            let claims = claims.vendor("Example").oem_id(&[1, 2, 3]).hw_model(&[0xFF]).hw_version("A").hw_serial("1");
            let claims = claims.sw_name("fw").sw_version("1.0").debug_status(2).uptime_seconds(1 << 40).boot_count(0);
            claims.fips_boot(false).fips_version("FIPS 140-3").fips_level(2).fips_module("Module")
        })
        .key("key", |claims| {
            let claims = claims.identifier("label").spki(user_key).extractable(false).never_extractable(true);
            let claims = claims.sensitive(true).local(true).expiry(4_102_444_800);
            claims.purposes(&[Purpose::Sign, Purpose::Derive])
        })
        .to_der()
}

fn signed(tbs: &[u8], signers: &[&Signer]) -> Vec<u8> {
    let evidence = Evidence::new(tbs.to_vec());
    let sign = |evidence: Evidence, signer: &&Signer| {
        evidence.signed_by_key(&signer.spki, &signer.algorithm, &(signer.sign)(tbs))
    };
    signers.iter().fold(evidence, sign).to_der()
}

/// A store that trusts these keys as they are.
fn trusting(signers: &[&Signer]) -> TrustStore {
    let file = |(number, signer): (usize, &&Signer)| {
        (format!("pkix-evidence/keys/{number}.pem"), pem::encode("PUBLIC KEY", &signer.spki).into_bytes())
    };
    TrustStore::from_files(signers.iter().enumerate().map(file)).unwrap()
}

fn judge(evidence: &[u8], trust: &TrustStore, key: Option<&SpkiView>) -> Verdict {
    let policy = Policy::named("default").unwrap();
    let submission = Submission::recognize(&[InputFile { name: "evidence", bytes: evidence }], None).unwrap();
    let nonce = Nonce::new(&NONCE).unwrap();
    let mut request = Request::new(&submission, trust, &policy, Instant::from_rfc3339(AT).unwrap()).nonce(&nonce);
    if let Some(key) = key {
        request = request.expected_key(key);
    }
    verify(&request)
}

fn codes(verdict: &Verdict) -> Vec<&'static str> {
    verdict.reasons().iter().map(|reason| reason.code()).collect()
}

#[test]
fn every_algorithm_holds_and_no_other_signature_does() {
    let user_key = ecdsa(&lc::ECDSA_P256_SHA256_ASN1_SIGNING, oid::ECDSA_WITH_SHA256).spki;
    for (name, signer) in signers() {
        let tbs = said(&[&signer], &user_key);
        let trust = trusting(&[&signer]);
        let evidence = signed(&tbs, &[&signer]);
        let verdict = judge(&evidence, &trust, None);
        assert!(verdict.is_accepted(), "{name}: {:?}", verdict.reasons());
        let report = verdict.to_json();
        assert_eq!(report["attesting_key"]["claims"]["signature_algorithms"]["value"], json!([name]));
        assert_eq!(report["freshness"], "nonce");
        let other = (signer.sign)(b"other");
        let forged = Evidence::new(tbs).signed_by_key(&signer.spki, &signer.algorithm, &other).to_der();
        assert_eq!(codes(&judge(&forged, &trust, None)), ["pkix.bad-signature"], "{name}");
    }
}

#[test]
fn every_claim_of_the_builder_is_read_back() {
    let signer = ed25519();
    let user_key = ml_dsa_65().spki;
    let verdict = judge(&signed(&said(&[&signer], &user_key), &[&signer]), &trusting(&[&signer]), None);
    let report = verdict.to_json();
    let claims = |section: &str| -> Vec<(String, Value)> {
        let claims = report[section]["claims"].as_object().unwrap();
        claims.iter().map(|(name, claim)| (name.clone(), claim["value"].clone())).collect()
    };
    let platform = json!({
        "boot_count": 0, "debug": "disabled-since-boot", "fw_name": "fw", "fw_version": "1.0", "hw_version": "A",
        "fips": {"mode": false, "version": "FIPS 140-3", "level": 2, "module": "Module"}, "kind": "physical",
        "model": "ff", "oem_id": "010203", "serial": "1", "uptime": 1_u64 << 40, "vendor": "Example",
    });
    assert_eq!(Value::Object(claims("platform").into_iter().collect()), platform);
    let key: serde_json::Map<String, Value> = claims("key").into_iter().filter(|(name, _)| name != "spki").collect();
    let wanted = json!({
        "device_bound": true, "expiry": "2100-01-01T00:00:00Z", "extractable": false, "identifier": ["key", "label"],
        "local": true, "never_extractable": true, "origin": "generated", "purposes": ["sign", "derive"], "sensitive": true,
    });
    assert_eq!(Value::Object(key), wanted);
    assert_eq!(report["attesting_key"]["claims"]["timestamp"]["value"], "2026-12-01T00:00:00Z");
}

#[test]
fn one_half_of_a_hybrid_is_not_enough() {
    let (classical, quantum) = (ecdsa(&lc::ECDSA_P256_SHA256_ASN1_SIGNING, oid::ECDSA_WITH_SHA256), ml_dsa_65());
    let both = [&classical, &quantum];
    let tbs = said(&both, &ed25519().spki);
    let trust = trusting(&both);
    let verdict = judge(&signed(&tbs, &both), &trust, None);
    assert!(verdict.is_accepted(), "{:?}", verdict.reasons());
    let algorithms = &verdict.to_json()["attesting_key"]["claims"]["signature_algorithms"]["value"];
    assert_eq!(*algorithms, json!(["ECDSA with SHA-256", "ML-DSA-65"]));
    let reversed = judge(&signed(&tbs, &[&quantum, &classical]), &trust, None);
    assert_eq!(reversed.to_json(), verdict.to_json(), "the order of blocks means something");
    for one in both {
        assert_eq!(codes(&judge(&signed(&tbs, &[one]), &trust, None)), ["policy.missing-signers"]);
    }
    // A signer that is named and not trusted counts for nothing, in either order: a policy that wants its algorithm
    // must not take a key that anybody can make.
    let half = trusting(&[&classical]);
    let report = judge(&signed(&tbs, &both), &half, None).to_json();
    assert_eq!(report["attesting_key"]["claims"]["signature_algorithms"]["value"], json!(["ECDSA with SHA-256"]));
    assert_eq!(report["attesting_key"]["claims"]["counter_signers"]["value"].as_array().unwrap().len(), 1);
}

/// Evidence about `count` keys, the last of them given.
fn of_many(count: u8, last: &[u8]) -> Vec<u8> {
    let mut tbs = TbsEvidence::new().transaction(|claims| claims.nonce(&NONCE));
    for number in 0..count {
        // A point need not lie on its curve to be reported.
        let other = SpkiView::from_ec(vouchsafe_evidence::x509::NamedCurve::P256, &[number + 1; 32], &[1; 32]).unwrap();
        let spki = if number + 1 == count { last } else { other.as_der() };
        tbs = tbs.key(&format!("key-{number}"), |claims| claims.spki(spki).extractable(false).local(true));
    }
    tbs.to_der()
}

#[test]
fn two_hundred_keys_are_judged_and_one_of_them_found() {
    let signer = ed25519();
    let wanted = ecdsa(&lc::ECDSA_P256_SHA256_ASN1_SIGNING, oid::ECDSA_WITH_SHA256).spki;
    let evidence = signed(&of_many(200, &wanted), &[&signer]);
    let trust = trusting(&[&signer]);
    let all = judge(&evidence, &trust, None);
    assert!(all.is_accepted(), "{:?}", all.reasons());
    assert_eq!(all.to_json()["key"]["claims"]["keys"]["value"].as_array().unwrap().len(), 200);
    let key = SpkiView::parse(&wanted).unwrap();
    let one = judge(&evidence, &trust, Some(&key));
    assert!(one.is_accepted(), "{:?}", one.reasons());
    assert_eq!(one.to_json()["key"]["claims"]["identifier"]["value"], "key-199");
    assert_eq!(one.to_json()["key"]["claims"].get("keys"), None);
    let stranger = SpkiView::parse(&ed25519().spki).unwrap();
    assert_eq!(codes(&judge(&evidence, &trust, Some(&stranger))), ["bind.key-mismatch"]);
}

#[test]
fn bounds_hold() {
    let signer = ed25519();
    let mut tbs = TbsEvidence::new();
    for number in 0..4097 {
        tbs = tbs.key(&number.to_string(), |claims| claims);
    }
    let over = EvidenceView::parse(&signed(&tbs.to_der(), &[&signer])).map(|_| ()).unwrap_err();
    assert!(matches!(over, EvidenceDefect::Malformed(_)), "{over:?}");
    let tbs = said(&[], &signer.spki);
    let seventeen: Vec<&Signer> = std::iter::repeat_n(&signer, 17).collect();
    assert!(EvidenceView::parse(&signed(&tbs, &seventeen[..16])).is_ok());
    assert!(EvidenceView::parse(&signed(&tbs, &seventeen)).is_err());
    assert!(EvidenceView::parse(&signed(&TbsEvidence::new().to_der(), &[&signer])).is_err(), "nothing is said");
}

#[test]
fn the_format_can_be_forced() {
    let signer = ed25519();
    let evidence = signed(&said(&[&signer], &signer.spki), &[&signer]);
    let file = |bytes| [InputFile { name: "file", bytes }];
    let format = FormatId::from(ListedFormat::from_id("pkix-evidence").unwrap());
    assert!(Submission::recognize(&file(&evidence), Some(format)).is_ok());
    assert!(Submission::recognize(&file(b"something else"), Some(format)).is_err());
}

#[test]
fn the_example_of_an_emitter_is_accepted() {
    let (attestation_key, user_key) = (emit_evidence::key(1).unwrap(), emit_evidence::key(2).unwrap());
    let evidence = emit_evidence::evidence(&attestation_key, &user_key, &NONCE);
    let module = pem::encode("PUBLIC KEY", &emit_evidence::spki(&attestation_key)).into_bytes();
    let anchor = TrustStore::from_files([("pkix-evidence/module.pem".to_owned(), module)]).unwrap();
    let verdict = judge(&evidence, &anchor, None);
    assert!(verdict.is_accepted(), "{:?}", verdict.reasons());
    assert_eq!(verdict.to_json()["platform"]["claims"]["model"]["value"], "EX-1");
    assert_eq!(verdict.to_json()["freshness"], "nonce");
    let lines = include_str!("../../evidence/examples/emit_evidence.rs").lines().count();
    assert!(lines < 100, "the example has {lines} lines");
}
