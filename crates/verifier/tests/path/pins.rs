//! What a mark beside a key allows that key, and no other.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self as lc, KeyPair, RsaKeyPair};
use vouchsafe_evidence::oid;
use vouchsafe_evidence::x509::build::{self, DerWriter};
use vouchsafe_evidence::x509::extensions::KeyUsage;
use vouchsafe_evidence::x509::{CertView, SpkiView};
use vouchsafe_verifier::Instant;
use vouchsafe_verifier::crypto::SignatureBudget;
use vouchsafe_verifier::path::{ChainProfile, Deviation, PathInputs, validate_path};
use vouchsafe_verifier::trust::TrustStore;

use crate::pki::{Cert, NOW, inputs};

const ROOT: &str = "CN=root";
const CA: &str = "CN=ca";

/// A CA with an RSA key beneath a root with key 1, both in one trust folder, and marks as told.
struct Vendor {
    pair: RsaKeyPair,
    root: CertView,
    ca: CertView,
}

impl Vendor {
    fn new() -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let mut writer = DerWriter::new();
        writer.sequence(|fields| {
            let algorithm = build::algorithm_identifier_null(oid::RSA_ENCRYPTION);
            fields.raw(&algorithm).bit_string(pair.public_key().as_ref(), 0);
        });
        let spki = SpkiView::parse(&writer.into_der()).unwrap();
        let ca = Cert::ca(CA, 2, ROOT, 1).subject_spki(spki).build();
        Self { pair, root: Cert::root(ROOT, 1).build(), ca }
    }

    /// The certificate signed by this CA with SHA-1, or with SHA-256.
    fn sign(&self, certificate: &Cert, with_sha1: bool) -> CertView {
        let oid = if with_sha1 { "1.2.840.113549.1.1.5" } else { "1.2.840.113549.1.1.11" };
        let algorithm = build::algorithm_identifier_null(vouchsafe_evidence::oid::Oid::from_dotted(oid).unwrap());
        let mut template = certificate.template.clone();
        template.algorithm = algorithm.clone();
        let tbs = template.tbs_der();
        let mut signature = vec![0; self.pair.public_modulus_len()];
        if with_sha1 {
            signature = sha1_signature(&self.pair, &tbs);
        } else {
            self.pair.sign(&lc::RSA_PKCS1_SHA256, &SystemRandom::new(), &tbs, &mut signature).unwrap();
        }
        CertView::parse(&build::assemble(&tbs, &algorithm, &signature)).unwrap()
    }

    fn outcome(&self, profile: ChainProfile, leaf: &CertView, marks: &[(&str, &str)]) -> Result<Vec<&str>, &str> {
        let format = match profile {
            ChainProfile::Ek | ChainProfile::EkShown => "tpm-ek",
            ChainProfile::AkAttest | ChainProfile::AkCertifyX509 | ChainProfile::Unprofiled => "tpm-certify",
            ChainProfile::WebauthnAk => "webauthn-tpm",
            ChainProfile::Vendor(profile) => panic!("{profile:?} is tested with its format"),
        };
        let mut files = vec![
            (format!("{format}/root.der"), self.root.as_der().to_vec()),
            (format!("{format}/intermediates/ca.der"), self.ca.as_der().to_vec()),
        ];
        files.extend(marks.iter().map(|(file, text)| (format!("{format}/{file}"), text.as_bytes().to_vec())));
        let trust = TrustStore::from_files(files).unwrap();
        let inputs: PathInputs = inputs(profile, Instant::from_unix_seconds(NOW));
        match validate_path(leaf, &[], trust.format(format), inputs, &mut SignatureBudget::new()) {
            Ok(path) => Ok(path.deviations().iter().map(|deviation: &Deviation| deviation.label()).collect()),
            Err(error) => Err(error.code()),
        }
    }
}

/// RSASSA-PKCS1-v1_5 with SHA-1, which the library checks but does not make.
fn sha1_signature(pair: &RsaKeyPair, message: &[u8]) -> Vec<u8> {
    use std::io::Write;
    use std::process::{Command, Stdio};
    use std::sync::atomic::{AtomicUsize, Ordering};
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("vouchsafe-pins-{}-{call}.der", std::process::id()));
    let private: aws_lc_rs::encoding::Pkcs8V1Der<'_> = aws_lc_rs::encoding::AsDer::as_der(pair).unwrap();
    std::fs::write(&path, private.as_ref()).unwrap();
    let mut child = Command::new("openssl")
        .args(["dgst", "-sha1", "-keyform", "DER", "-sign"])
        .arg(&path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(message).unwrap();
    let output = child.wait_with_output().unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(output.status.success());
    output.stdout
}

const SHA1: &str = "sha1 = 'accept'";
const PURPOSE: &str = "missing_ek_purpose = 'accept'";

#[test]
fn sha1_counts_from_the_pinned_key_alone_and_is_told() {
    let vendor = Vendor::new();
    let template = Cert::ek("CN=ek", 3, CA, 2);
    let (weak, strong) = (vendor.sign(&template, true), vendor.sign(&template, false));
    let ek = |leaf, marks| vendor.outcome(ChainProfile::Ek, leaf, marks);
    assert_eq!(ek(&strong, &[]), Ok(vec![]));
    assert_eq!(ek(&weak, &[]), Err("chain.weak-algorithm"));
    assert_eq!(ek(&weak, &[("intermediates/ca.toml", SHA1)]), Ok(vec!["sha1-signature"]));
    assert_eq!(ek(&strong, &[("intermediates/ca.toml", SHA1)]), Ok(vec![]));
    // A mark beside the root is about the root's own signatures.
    assert_eq!(ek(&weak, &[("root.toml", SHA1)]), Err("chain.weak-algorithm"));
    assert_eq!(ek(&weak, &[("intermediates/ca.toml", "sha1 = 'reject'")]), Err("chain.weak-algorithm"));
    // It is a signature all the same.
    let mut tampered = weak.as_der().to_vec();
    *tampered.last_mut().unwrap() ^= 1;
    let tampered = CertView::parse(&tampered).unwrap();
    assert_eq!(ek(&tampered, &[("intermediates/ca.toml", SHA1)]), Err("chain.bad-signature"));
}

#[test]
fn no_mark_lets_sha1_into_chains_of_attesting_keys() {
    let vendor = Vendor::new();
    let ak = vendor.sign(&Cert::ak("CN=ak", 3, CA, 2), true);
    let outcome = vendor.outcome(ChainProfile::AkAttest, &ak, &[("intermediates/ca.toml", SHA1), ("root.toml", SHA1)]);
    assert_eq!(outcome, Err("chain.weak-algorithm"));
    let strong = vendor.sign(&Cert::ak("CN=ak", 3, CA, 2), false);
    assert_eq!(vendor.outcome(ChainProfile::AkAttest, &strong, &[]), Ok(vec![]));
}

#[test]
fn a_missing_purpose_counts_from_the_pinned_issuer_alone_and_is_told() {
    let vendor = Vendor::new();
    let signed = |certificate: Cert| vendor.sign(&certificate, false);
    let ek = |leaf: &CertView, marks| vendor.outcome(ChainProfile::Ek, leaf, marks);
    let silent = Cert::ek("CN=ek", 3, CA, 2).without(oid::EXTENDED_KEY_USAGE);
    let pinned = [("intermediates/ca.toml", PURPOSE)];
    assert_eq!(ek(&signed(silent.clone()), &pinned), Ok(vec!["ek-purpose-absent"]));
    assert_eq!(ek(&signed(silent.clone()), &[]), Err("ek.wrong-purpose"));
    assert_eq!(ek(&signed(silent.clone()), &[("root.toml", PURPOSE)]), Err("ek.wrong-purpose"));
    // A purpose that is there must be the right one, and a silent certificate must be of no signing key.
    let other = silent.clone().purposes(false, &[oid::KP_AIK_CERTIFICATE]);
    assert_eq!(ek(&signed(other), &pinned), Err("ek.wrong-purpose"));
    assert_eq!(ek(&signed(silent.clone().key_usage(KeyUsage::DIGITAL_SIGNATURE)), &pinned), Err("chain.key-usage"));
    assert_eq!(ek(&signed(silent.clone().without(oid::KEY_USAGE)), &pinned), Err("ek.wrong-purpose"));
    let ca = silent.basic_constraints(true, None);
    assert_eq!(ek(&signed(ca), &pinned), Err("chain.is-a-ca"));
    assert_eq!(ek(&signed(Cert::ek("CN=ek", 3, CA, 2)), &pinned), Ok(vec![]));
}
