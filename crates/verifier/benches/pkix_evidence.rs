//! What judging PKIX Evidence costs beside the signature checks that it cannot do without.
//!
//! `cargo bench -p vouchsafe-verifier --bench pkix_evidence` prints medians of blocks that take turns with their bare
//! checks in one run, in processor time, and the ratio of the two. From the bytes of the Evidence to the verdict under policy `default`, with a
//! nonce. Everything is P-256 and made here; nothing is read and nothing is measured across processes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::print_stdout,
    // A benchmark reads the clock; the Verifier does not.
    clippy::disallowed_methods,
    clippy::disallowed_types,
    missing_docs
)]

use std::time::Instant as Clock;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use p256::ecdsa::signature::Signer;
use p256::ecdsa::{Signature, SigningKey};
use vouchsafe_evidence::emit::{Evidence, Purpose, TbsEvidence};
use vouchsafe_evidence::input::{InputFile, Submission};
use vouchsafe_evidence::oid;
use vouchsafe_evidence::pem;
use vouchsafe_evidence::x509::build::{self, CertificateTemplate};
use vouchsafe_evidence::x509::extensions::{BasicConstraints, KeyUsage};
use vouchsafe_evidence::x509::{CertView, NamedCurve, SpkiView};
use vouchsafe_verifier::{Instant, Nonce, Policy, Request, TrustStore, VerificationCache, verify};

const NONCE: [u8; 32] = [0x5A; 32];
const BLOCKS: usize = 401;
const BLOCK_ROUNDS: usize = 25;

/// A key, and what was signed with it.
struct Key(SigningKey);

/// One signature check: point, message, signature.
type Check = (Vec<u8>, Vec<u8>, Vec<u8>);

impl Key {
    fn new(octet: u8) -> Self {
        Self(SigningKey::from_slice(&[octet; 32]).unwrap())
    }

    fn spki(&self) -> SpkiView {
        let point = self.0.verifying_key().to_sec1_point(false);
        let (x, y) = point.as_bytes()[1..].split_at(32);
        SpkiView::from_ec(NamedCurve::P256, x, y).unwrap()
    }

    fn sign(&self, message: &[u8]) -> (Vec<u8>, Check) {
        let signature: Signature = self.0.sign(message);
        let signature = signature.to_der().as_bytes().to_vec();
        let point = self.0.verifying_key().to_sec1_point(false).as_bytes().to_vec();
        (signature.clone(), (point, message.to_vec(), signature))
    }
}

/// A certificate for `key`, and the check of its signature.
fn certificate(number: u8, key: &Key, issuer: (&Key, u8), is_ca: bool) -> (CertView, Check) {
    let name = |number: u8| build::name_from_text(&format!("CN=Authority {number}")).unwrap();
    let usage = if is_ca { KeyUsage::KEY_CERT_SIGN } else { KeyUsage::DIGITAL_SIGNATURE };
    let mut extensions = vec![
        build::basic_constraints(true, BasicConstraints { ca: is_ca, path_length: None }),
        build::key_usage(true, KeyUsage::from_bits(usage)),
    ];
    if !is_ca {
        extensions.push(build::extended_key_usage(true, &[oid::KP_ATTESTATION_KEY]));
    }
    let algorithm = build::algorithm_identifier(oid::ECDSA_WITH_SHA256);
    let template = CertificateTemplate {
        serial: vec![number],
        algorithm: algorithm.clone(),
        issuer: name(issuer.1),
        not_before: 1_767_225_600,
        not_after: 2_082_758_400,
        subject: name(number),
        spki: key.spki(),
        extensions,
    };
    let tbs = template.tbs_der();
    let (signature, check) = issuer.0.sign(&tbs);
    (CertView::parse(&build::assemble(&tbs, &algorithm, &signature)).unwrap(), check)
}

/// What is said about `keys` keys and the module.
fn said(keys: u8) -> Vec<u8> {
    let mut tbs = TbsEvidence::new().transaction(|claims| claims.nonce(&NONCE)).platform(|claims| {
        let claims = claims.vendor("Example").oem_id(&[0x89, 0x48, 0x23]).hw_model(b"HSM-9000").hw_serial("SN-0001");
        claims.sw_version("7.2.1").debug_status(3).fips_boot(true).fips_version("FIPS 140-3").fips_level(3)
    });
    for number in 1..=keys {
        let spki = SpkiView::from_ec(NamedCurve::P256, &[number; 32], &[1; 32]).unwrap();
        tbs = tbs.key(&format!("9a25f603-a2c4-4dad-9ee0-a1b4e771f{number:03x}"), |claims| {
            let claims = claims.spki(spki.as_der()).extractable(false).sensitive(true).never_extractable(true);
            claims.local(true).purposes(&[Purpose::Sign])
        });
    }
    tbs.to_der()
}

/// Evidence, what it is judged by, and the checks that it needs.
struct Subject {
    name: &'static str,
    target_micros: f64,
    evidence: Vec<u8>,
    trust: TrustStore,
    key: Option<SpkiView>,
    /// Whether the signatures of certificates were checked before.
    is_cached: bool,
    checks: Vec<Check>,
}

fn subjects() -> Vec<Subject> {
    let (root, authority, module) = (Key::new(1), Key::new(2), Key::new(3));
    let algorithm = build::algorithm_identifier(oid::ECDSA_WITH_SHA256);
    let (anchor, _) = certificate(1, &root, (&root, 1), true);
    let (intermediate, of_intermediate) = certificate(2, &authority, (&root, 1), true);
    let (chained, of_chained) = certificate(3, &module, (&authority, 2), false);
    let store = |place: &str, label, der: &[u8]| {
        TrustStore::from_files([(format!("pkix-evidence/{place}"), pem::encode(label, der).into_bytes())]).unwrap()
    };
    let known = || store("keys/module.pem", "PUBLIC KEY", module.spki().as_der());
    let rooted = || store("root.pem", "CERTIFICATE", anchor.as_der());
    let bare = |tbs: &[u8]| {
        let (signature, check) = module.sign(tbs);
        let evidence = Evidence::new(tbs.to_vec()).signed_by_key(module.spki().as_der(), &algorithm, &signature);
        (evidence.to_der(), check)
    };
    let with_chain = |tbs: &[u8]| {
        let (signature, check) = module.sign(tbs);
        let evidence = Evidence::new(tbs.to_vec()).signed_by_certificate(chained.as_der(), &algorithm, &signature);
        (evidence.intermediate(intermediate.as_der()).to_der(), check)
    };
    let (one, many) = (said(1), said(200));
    let (known_one, of_known) = bare(&one);
    let (chained_one, of_one) = with_chain(&one);
    let (known_many, of_many) = bare(&many);
    let last = SpkiView::from_ec(NamedCurve::P256, &[200; 32], &[1; 32]).unwrap();
    let all = vec![of_one.clone(), of_chained, of_intermediate];
    let subject = |name, target_micros, evidence: &[u8], trust, checks| Subject {
        name,
        target_micros,
        evidence: evidence.to_vec(),
        trust,
        key: None,
        is_cached: false,
        checks,
    };
    vec![
        subject("one key, the signer is known", 45.0, &known_one, known(), vec![of_known]),
        subject("chain of two certificates", 90.0, &chained_one, rooted(), all),
        Subject {
            is_cached: true,
            ..subject("the same chain, seen before", 50.0, &chained_one, rooted(), vec![of_one])
        },
        Subject {
            key: Some(last),
            ..subject("200 keys, one of them asked for", 400.0, &known_many, known(), vec![of_many.clone()])
        },
        subject("200 keys, all of them judged", 400.0, &known_many, known(), vec![of_many]),
    ]
}

struct Verifier {
    policy: Policy,
    nonce: Nonce,
    at: Instant,
}

impl Verifier {
    fn judge(&self, subject: &Subject, cache: &VerificationCache) {
        let files = [InputFile { name: "evidence.der", bytes: &subject.evidence }];
        let submission = Submission::recognize(&files, None).unwrap();
        let mut request = Request::new(&submission, &subject.trust, &self.policy, self.at).nonce(&self.nonce);
        if let Some(key) = &subject.key {
            request = request.expected_key(key);
        }
        if subject.is_cached {
            request = request.verification_cache(cache);
        }
        let verdict = verify(&request);
        assert!(verdict.is_accepted(), "{}: {:?}", subject.name, verdict.reasons());
    }
}

fn check_bare(checks: &[Check]) {
    for (point, message, signature) in checks {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(message, signature).unwrap();
    }
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Nanoseconds that this thread has spent on a processor, where the kernel says so: others' work does not count then.
fn processor_nanos() -> Option<u64> {
    std::fs::read_to_string("/proc/thread-self/schedstat").ok()?.split_whitespace().next()?.parse().ok()
}

/// Microseconds for one round of `work`, over one block.
fn block(mut work: impl FnMut()) -> f64 {
    let (start, before) = (Clock::now(), processor_nanos());
    for _ in 0..BLOCK_ROUNDS {
        work();
    }
    let nanos = match (before, processor_nanos()) {
        (Some(before), Some(after)) if after > before => (after - before) as f64,
        _ => start.elapsed().as_secs_f64() * 1e9,
    };
    nanos / 1e3 / BLOCK_ROUNDS as f64
}

fn main() {
    let verifier = Verifier {
        policy: Policy::named("default").unwrap(),
        nonce: Nonce::new(&NONCE).unwrap(),
        at: Instant::from_rfc3339("2026-12-01T00:00:00Z").unwrap(),
    };
    println!("{:34} {:>9} {:>9} {:>7} {:>9}", "microseconds", "verdict", "checks", "ratio", "target");
    for subject in subjects() {
        let cache = VerificationCache::new();
        verifier.judge(&subject, &cache);
        let (mut judged, mut bare, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..BLOCKS {
            let one = block(|| verifier.judge(&subject, &cache));
            let other = block(|| check_bare(&subject.checks));
            ratios.push(one / other);
            judged.push(one);
            bare.push(other);
        }
        let (judged, bare, ratio) = (median(judged), median(bare), median(ratios));
        let Subject { name, target_micros, .. } = subject;
        println!("{name:34} {judged:9.1} {bare:9.1} {ratio:7.2} {target_micros:9.1}");
    }
}
