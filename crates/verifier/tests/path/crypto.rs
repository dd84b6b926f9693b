//! Signature checks: which algorithms, which keys, which encodings.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    self as lc, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, ML_DSA_65_SIGNING, PqdsaKeyPair,
    RsaEncoding, RsaKeyPair,
};
use p256::ecdsa::signature::Signer;
use vouchsafe_evidence::oid::{self, Oid};
use vouchsafe_evidence::tpm::{HashAlg, TpmtSignature};
use vouchsafe_evidence::x509::build::{self, DerWriter};
use vouchsafe_evidence::x509::{NamedCurve, SpkiView};
use vouchsafe_verifier::crypto::{
    PssSalt, SignatureAlgorithm, SignatureBudget, SignatureError, UnsupportedAlgorithm, verify_signature,
    verify_tpm_signature,
};

use crate::pki;

const MESSAGE: &[u8] = b"what was signed";

fn check(key: &SpkiView, algorithm: SignatureAlgorithm, signature: &[u8]) -> Result<(), SignatureError> {
    verify_signature(&mut SignatureBudget::new(), key, algorithm, MESSAGE, signature)
}

fn check_tpm(key: &SpkiView, signature: &TpmtSignature) -> Result<(), SignatureError> {
    verify_tpm_signature(&mut SignatureBudget::new(), key, signature, MESSAGE)
}

fn spki(algorithm: &[u8], key: &[u8]) -> SpkiView {
    let mut writer = DerWriter::new();
    writer.sequence(|fields| {
        fields.raw(algorithm).bit_string(key, 0);
    });
    SpkiView::parse(&writer.into_der()).unwrap()
}

fn rsa_spki(pair: &RsaKeyPair, algorithm: Oid) -> SpkiView {
    spki(&build::algorithm_identifier_null(algorithm), pair.public_key().as_ref())
}

fn rsa_sign(pair: &RsaKeyPair, encoding: &'static dyn RsaEncoding) -> Vec<u8> {
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(encoding, &SystemRandom::new(), MESSAGE, &mut signature).unwrap();
    signature
}

/// The signature counts; with any bit of an octet at either end or in the middle flipped, cut, or for another
/// message, it does not.
fn assert_exact(key: &SpkiView, algorithm: SignatureAlgorithm, signature: &[u8]) {
    assert_eq!(check(key, algorithm, signature), Ok(()), "{algorithm}");
    for octet in [0, signature.len() / 2, signature.len() - 1] {
        for bit in 0..8 {
            let mut changed = signature.to_vec();
            changed[octet] ^= 1 << bit;
            assert_eq!(check(key, algorithm, &changed), Err(SignatureError::Invalid), "{algorithm} {octet} {bit}");
        }
    }
    assert_eq!(check(key, algorithm, &signature[..signature.len() - 1]), Err(SignatureError::Invalid));
    assert_eq!(check(key, algorithm, &[signature, &[0]].concat()), Err(SignatureError::Invalid));
    assert_eq!(check(key, algorithm, &[]), Err(SignatureError::Invalid));
    let other = verify_signature(&mut SignatureBudget::new(), key, algorithm, b"something else", signature);
    assert_eq!(other, Err(SignatureError::Invalid));
}

#[test]
fn rsa_signatures_by_both_paddings() {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let key = rsa_spki(&pair, oid::RSA_ENCRYPTION);
    let cases: [(HashAlg, &'static dyn RsaEncoding, &'static dyn RsaEncoding); 3] = [
        (HashAlg::Sha256, &lc::RSA_PKCS1_SHA256, &lc::RSA_PSS_SHA256),
        (HashAlg::Sha384, &lc::RSA_PKCS1_SHA384, &lc::RSA_PSS_SHA384),
        (HashAlg::Sha512, &lc::RSA_PKCS1_SHA512, &lc::RSA_PSS_SHA512),
    ];
    for (hash, pkcs1, pss) in cases {
        let (by_pkcs1, by_pss) = (rsa_sign(&pair, pkcs1), rsa_sign(&pair, pss));
        assert_exact(&key, SignatureAlgorithm::RsaPkcs1(hash), &by_pkcs1);
        assert_exact(&key, SignatureAlgorithm::RsaPss(hash, PssSalt::Digest), &by_pss);
        assert_eq!(check(&key, SignatureAlgorithm::RsaPkcs1(hash), &by_pss), Err(SignatureError::Invalid));
        assert_eq!(check_tpm(&key, &TpmtSignature::Rsassa { hash, signature: by_pkcs1.clone() }), Ok(()));
        assert_eq!(check_tpm(&key, &TpmtSignature::Rsapss { hash, signature: by_pss }), Ok(()));
        let wrong = TpmtSignature::Rsapss { hash, signature: by_pkcs1 };
        assert_eq!(check_tpm(&key, &wrong), Err(SignatureError::Invalid));
    }
}

#[test]
fn salts_of_a_tpm_are_as_long_as_the_digest_or_as_can_be() {
    static LONGEST: lc::RsaSignatureEncoding = lc::RSA_PSS_SHA256.with_pss_salt_length(lc::RsaPssSaltLength::Max);
    static SHORT: lc::RsaSignatureEncoding = lc::RSA_PSS_SHA256.with_pss_salt_length(lc::RsaPssSaltLength::Custom(20));
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let key = rsa_spki(&pair, oid::RSA_ENCRYPTION);
    let (longest, short) = (rsa_sign(&pair, &LONGEST), rsa_sign(&pair, &SHORT));
    let hash = HashAlg::Sha256;
    assert_eq!(check_tpm(&key, &TpmtSignature::Rsapss { hash, signature: longest.clone() }), Ok(()));
    let in_certificates = SignatureAlgorithm::RsaPss(hash, PssSalt::Digest);
    assert_eq!(check(&key, in_certificates, &longest), Err(SignatureError::Invalid));
    let short = TpmtSignature::Rsapss { hash, signature: short };
    assert_eq!(check_tpm(&key, &short), Err(SignatureError::Invalid));
}

#[test]
fn a_key_restricted_to_a_scheme_is_used_with_that_scheme_alone() {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let hash = HashAlg::Sha256;
    let (pkcs1, pss) = (SignatureAlgorithm::RsaPkcs1(hash), SignatureAlgorithm::RsaPss(hash, PssSalt::Digest));
    let (by_pkcs1, by_pss) = (rsa_sign(&pair, &lc::RSA_PKCS1_SHA256), rsa_sign(&pair, &lc::RSA_PSS_SHA256));
    let point = pair.public_key().as_ref();
    let for_pss = spki(&build::algorithm_identifier(oid::RSASSA_PSS), point);
    let for_oaep = spki(&build::algorithm_identifier(oid::RSAES_OAEP), point);
    assert_eq!(check(&for_pss, pss, &by_pss), Ok(()));
    assert_eq!(check(&for_pss, pkcs1, &by_pkcs1), Err(SignatureError::KeyMismatch { algorithm: pkcs1 }));
    assert_eq!(check(&for_oaep, pss, &by_pss), Err(SignatureError::KeyMismatch { algorithm: pss }));
    assert_eq!(check(&for_oaep, pkcs1, &by_pkcs1), Err(SignatureError::KeyMismatch { algorithm: pkcs1 }));
}

#[test]
fn ecdsa_signatures_on_every_curve() {
    let cases: [(NamedCurve, HashAlg, &'static EcdsaSigningAlgorithm); 4] = [
        (NamedCurve::P256, HashAlg::Sha256, &lc::ECDSA_P256_SHA256_ASN1_SIGNING),
        (NamedCurve::P384, HashAlg::Sha384, &lc::ECDSA_P384_SHA384_ASN1_SIGNING),
        (NamedCurve::P521, HashAlg::Sha256, &lc::ECDSA_P521_SHA256_ASN1_SIGNING),
        (NamedCurve::P521, HashAlg::Sha512, &lc::ECDSA_P521_SHA512_ASN1_SIGNING),
    ];
    for (curve, hash, signing) in cases {
        let pair = EcdsaKeyPair::generate(signing).unwrap();
        let (x, y) = pair.public_key().as_ref()[1..].split_at(curve.field_octets());
        let key = SpkiView::from_ec(curve, x, y).unwrap();
        let signature = pair.sign(&SystemRandom::new(), MESSAGE).unwrap();
        assert_exact(&key, SignatureAlgorithm::Ecdsa(hash), signature.as_ref());
    }
}

#[test]
fn ed25519_signatures() {
    let pair = Ed25519KeyPair::generate().unwrap();
    let key = spki(&build::algorithm_identifier(oid::ED25519), pair.public_key().as_ref());
    assert_exact(&key, SignatureAlgorithm::Ed25519, pair.sign(MESSAGE).as_ref());
}

#[test]
fn ml_dsa_65_signatures() {
    let pair = PqdsaKeyPair::from_seed(&ML_DSA_65_SIGNING, &[7; 32]).unwrap();
    let key = spki(&build::algorithm_identifier(oid::ML_DSA_65), pair.public_key().as_ref());
    let mut signature = vec![0; ML_DSA_65_SIGNING.signature_len()];
    pair.sign(MESSAGE, &mut signature).unwrap();
    assert_exact(&key, SignatureAlgorithm::MlDsa65, &signature);
    let mut budget = SignatureBudget::new();
    let other = verify_signature(&mut budget, &key, SignatureAlgorithm::Ed25519, MESSAGE, &signature);
    assert_eq!(other, Err(SignatureError::KeyMismatch { algorithm: SignatureAlgorithm::Ed25519 }));
}

/// r and s of the P-256 signature of key 3.
fn components() -> (Vec<u8>, Vec<u8>) {
    let signature: p256::ecdsa::Signature = pki::key(3).sign(MESSAGE);
    let octets = signature.to_bytes();
    (octets[..32].to_vec(), octets[32..].to_vec())
}

/// n - s: the other s that fits the same r.
fn negated(s: &[u8]) -> Vec<u8> {
    let signature = p256::ecdsa::Signature::from_slice(&[s, s].concat()).unwrap();
    (-*signature.s()).to_bytes().to_vec()
}

#[test]
fn components_from_a_tpm_are_integers_of_any_padding_in_range() {
    let key = pki::spki(3);
    let hash = HashAlg::Sha256;
    let ecdsa = |r: &[u8], s: &[u8]| check_tpm(&key, &TpmtSignature::Ecdsa { hash, r: r.to_vec(), s: s.to_vec() });
    let (r, s) = components();
    assert_eq!(ecdsa(&r, &s), Ok(()));
    assert_eq!(ecdsa(&[&[0, 0], &r[..]].concat(), &[&[0; 34], &s[..]].concat()), Ok(()));
    let high = negated(&s);
    assert_ne!(high, s);
    assert_eq!(ecdsa(&r, &high), Ok(()), "a TPM does not choose the smaller s");
    let order =
        [&[0xFF; 4][..], &[0; 4], &[0xFF; 8], b"\xBC\xE6\xFA\xAD\xA7\x17\x9E\x84\xF3\xB9\xCA\xC2\xFC\x63\x25\x51"]
            .concat();
    for (r, s) in [
        (&[][..], &s[..]),
        (&r, &[]),
        (&[0; 32], &s),
        (&r, &[0; 32]),
        (&[0; 32], &[0; 32]),
        (&order, &s),
        (&r, &order),
        (&s, &r),
        (&[0xFF; 66], &s),
        (&[0xFF; 67], &s),
    ] {
        assert_eq!(ecdsa(r, s), Err(SignatureError::Invalid), "{r:02x?} {s:02x?}");
    }
    // 66 octets each need a length of two octets; the library must see a well-formed value and say no.
    assert_eq!(ecdsa(&[0xFF; 66], &[0xFF; 66]), Err(SignatureError::Invalid));
}

#[test]
fn ecdsa_values_are_strict_der() {
    let key = pki::spki(3);
    let (r, s) = components();
    let algorithm = SignatureAlgorithm::Ecdsa(HashAlg::Sha256);
    let value = build::ecdsa_signature(&r, &s);
    assert_eq!(check(&key, algorithm, &value), Ok(()));
    let long_form = [&[0x30, 0x81], &value[1..]].concat();
    assert_eq!(check(&key, algorithm, &long_form), Err(SignatureError::Invalid));
    let mut padded = value.clone();
    padded[1] += 1;
    padded[3] += 1;
    padded.insert(4, 0);
    assert_eq!(check(&key, algorithm, &padded), Err(SignatureError::Invalid));
}

#[test]
fn sha1_and_foreign_keys_are_refused_before_anything_is_checked() {
    let ec = pki::spki(3);
    let rsa = SpkiView::from_rsa(&[0xC1; 256], &[1, 0, 1]).unwrap();
    let unknown = spki(&build::algorithm_identifier(oid::MGF1), &[0; 32]);
    let (sha1, sha256) = (HashAlg::Sha1, HashAlg::Sha256);
    let weak = |algorithm| SignatureError::WeakAlgorithm { algorithm };
    let mismatch = |algorithm| SignatureError::KeyMismatch { algorithm };
    let mut budget = SignatureBudget::new();
    let mut check = |key, algorithm| verify_signature(&mut budget, key, algorithm, MESSAGE, &[0; 64]).unwrap_err();
    for (key, algorithm) in [
        (&ec, SignatureAlgorithm::Ecdsa(sha1)),
        (&rsa, SignatureAlgorithm::RsaPkcs1(sha1)),
        (&rsa, SignatureAlgorithm::RsaPss(sha1, PssSalt::Digest)),
    ] {
        assert_eq!(check(key, algorithm), weak(algorithm));
    }
    for (key, algorithm) in [
        (&ec, SignatureAlgorithm::RsaPkcs1(sha256)),
        (&ec, SignatureAlgorithm::RsaPss(sha256, PssSalt::DigestOrLongest)),
        (&ec, SignatureAlgorithm::Ed25519),
        (&ec, SignatureAlgorithm::MlDsa65),
        (&rsa, SignatureAlgorithm::Ecdsa(sha256)),
        (&rsa, SignatureAlgorithm::Ed25519),
        (&unknown, SignatureAlgorithm::Ecdsa(sha256)),
        (&unknown, SignatureAlgorithm::RsaPkcs1(sha256)),
    ] {
        assert_eq!(check(key, algorithm), mismatch(algorithm));
    }
    assert_eq!(budget.spent(), 0);
}

#[test]
fn a_point_off_the_curve_verifies_nothing() {
    let key = SpkiView::from_ec(NamedCurve::P256, &[1; 32], &[2; 32]).unwrap();
    let (r, s) = components();
    let signature = TpmtSignature::Ecdsa { hash: HashAlg::Sha256, r, s };
    assert_eq!(check_tpm(&key, &signature), Err(SignatureError::Invalid));
}

#[test]
fn the_budget_is_per_distinct_check_and_remembers_both_answers() {
    let key = pki::spki(3);
    let (r, s) = components();
    let value = build::ecdsa_signature(&r, &s);
    let algorithm = SignatureAlgorithm::Ecdsa(HashAlg::Sha256);
    let mut budget = SignatureBudget::with_limit(2);
    for _ in 0..3 {
        assert_eq!(verify_signature(&mut budget, &key, algorithm, MESSAGE, &value), Ok(()));
        let wrong = verify_signature(&mut budget, &key, algorithm, b"other", &value);
        assert_eq!(wrong, Err(SignatureError::Invalid));
    }
    assert_eq!(budget.spent(), 2);
    let exhausted = SignatureError::BudgetExhausted { limit: 2 };
    for (key, message, signature) in [
        (&pki::spki(4), MESSAGE, &value[..]),
        (&key, b"third", &value),
        // The same octets, cut elsewhere between message and signature.
        (&key, &[MESSAGE, &value[..1]].concat()[..], &value[1..]),
    ] {
        assert_eq!(verify_signature(&mut budget, key, algorithm, message, signature), Err(exhausted));
    }
    let other_hash = SignatureAlgorithm::Ecdsa(HashAlg::Sha384);
    assert_eq!(verify_signature(&mut budget, &key, other_hash, MESSAGE, &value), Err(exhausted));
    assert_eq!(SignatureBudget::new().spent(), 0);
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn algorithm_identifiers_are_those_of_their_standards() {
    let pss = |hash| Ok(SignatureAlgorithm::RsaPss(hash, PssSalt::Digest));
    // The PSS identifiers with NULL are those that OpenSSL 3.0 writes with a salt as long as the digest.
    for (identifier, expected) in [
        ("300a06082a8648ce3d040302", Ok(SignatureAlgorithm::Ecdsa(HashAlg::Sha256))),
        ("300a06082a8648ce3d040303", Ok(SignatureAlgorithm::Ecdsa(HashAlg::Sha384))),
        ("300a06082a8648ce3d040304", Ok(SignatureAlgorithm::Ecdsa(HashAlg::Sha512))),
        ("300906072a8648ce3d0401", Ok(SignatureAlgorithm::Ecdsa(HashAlg::Sha1))),
        ("300c06082a8648ce3d0403020500", Err(UnsupportedAlgorithm)),
        ("300a06082a8648ce3d040301", Err(UnsupportedAlgorithm)),
        ("300506032b6570", Ok(SignatureAlgorithm::Ed25519)),
        ("300706032b65700500", Err(UnsupportedAlgorithm)),
        ("300b0609608648016503040312", Ok(SignatureAlgorithm::MlDsa65)),
        ("300d06096086480165030403120500", Err(UnsupportedAlgorithm)),
        ("300b0609608648016503040311", Err(UnsupportedAlgorithm)),
        ("300d06092a864886f70d01010b0500", Ok(SignatureAlgorithm::RsaPkcs1(HashAlg::Sha256))),
        ("300b06092a864886f70d01010b", Ok(SignatureAlgorithm::RsaPkcs1(HashAlg::Sha256))),
        ("300d06092a864886f70d01010c0500", Ok(SignatureAlgorithm::RsaPkcs1(HashAlg::Sha384))),
        ("300d06092a864886f70d01010d0500", Ok(SignatureAlgorithm::RsaPkcs1(HashAlg::Sha512))),
        ("300d06092a864886f70d0101050500", Ok(SignatureAlgorithm::RsaPkcs1(HashAlg::Sha1))),
        ("300d06092a864886f70d0101040500", Err(UnsupportedAlgorithm)),
        ("300e06092a864886f70d01010b040100", Err(UnsupportedAlgorithm)),
        ("300d06092a864886f70d01010a3000", Err(UnsupportedAlgorithm)),
        (
            "304106092a864886f70d01010a3034a00f300d06096086480165030402010500a11c301a06092a864886f70d010108300d06096086480165030402010500a203020120",
            pss(HashAlg::Sha256),
        ),
        (
            "304106092a864886f70d01010a3034a00f300d06096086480165030402020500a11c301a06092a864886f70d010108300d06096086480165030402020500a203020130",
            pss(HashAlg::Sha384),
        ),
        (
            "304106092a864886f70d01010a3034a00f300d06096086480165030402030500a11c301a06092a864886f70d010108300d06096086480165030402030500a203020140",
            pss(HashAlg::Sha512),
        ),
        (
            "303d06092a864886f70d01010a3030a00d300b0609608648016503040201a11a301806092a864886f70d010108300b0609608648016503040201a203020120",
            pss(HashAlg::Sha256),
        ),
        // Another salt length, and a mask of another hash.
        (
            "304106092a864886f70d01010a3034a00f300d06096086480165030402010500a11c301a06092a864886f70d010108300d06096086480165030402010500a203020114",
            Err(UnsupportedAlgorithm),
        ),
        (
            "304106092a864886f70d01010a3034a00f300d06096086480165030402010500a11c301a06092a864886f70d010108300d06096086480165030402020500a203020120",
            Err(UnsupportedAlgorithm),
        ),
        ("", Err(UnsupportedAlgorithm)),
    ] {
        assert_eq!(SignatureAlgorithm::from_der(&hex(identifier)), expected, "{identifier}");
    }
}
