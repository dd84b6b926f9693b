//! The rules of draft-ietf-rats-pkix-key-attestation for Evidence, held against what the agent emits: decoded by pyasn1, its
//! signatures checked by openssl.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use vouchsafe_agent::wire::message::AttestationResult;
use vouchsafe_evidence::x509::CertView;

use crate::environment::openssl_accepts;
use crate::support::repository;
use crate::token::TokenSide;
use crate::{authority, bundle, enroll, hold_ceremony, of_key, of_platform, verify};

const NONCE: [u8; 32] = [0x5A; 32];
/// Where the draft has element types (0) and claim types (1).
const ARC: &str = "1.3.6.1.5.5.999";
/// Elements by the last number of their type, with the highest claim that is defined and those that may be repeated.
const ELEMENTS: [(&str, u32, &[u32]); 3] = [("0", 2, &[2]), ("1", 13, &[]), ("2", 7, &[0])];
const TRANSACTION: &str = "0";
const PLATFORM: &str = "1";
const KEY: &str = "2";

/// An element: the last number of its type, and its claims by the last number of theirs with the DER of the value.
type Element = (String, Vec<(u32, Option<String>)>);

/// What the other decoder finds.
struct Facts(Value);

impl Facts {
    fn of(token: &TokenSide, answer: &AttestationResult) -> Self {
        let packages = repository("target/peers/python");
        assert!(packages.join("pyasn1").exists(), "run scripts/peers");
        fs::write(token.path("evidence.der"), &answer.statement).unwrap();
        let views: Vec<CertView> = answer.certificates.iter().map(|der| CertView::parse(der).unwrap()).collect();
        let pem: String = views
            .iter()
            .map(|certificate| vouchsafe_evidence::pem::encode("CERTIFICATE", certificate.as_der()))
            .collect();
        fs::write(token.path("certificates.pem"), pem).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/evidence_facts.py");
        let mut program = Command::new("python3");
        program.arg(script).arg(token.path("evidence.der")).arg(token.path("certificates.pem"));
        let read = program.env("PYTHONPATH", packages).env("PYTHONDONTWRITEBYTECODE", "1").output().unwrap();
        assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
        Self(serde_json::from_slice(&read.stdout).unwrap())
    }

    /// Elements and claims; nothing if one is of a type that the draft does not define.
    fn elements(&self) -> Option<Vec<Element>> {
        let list = |value: &Value| value.as_array().unwrap().clone();
        let claim = |element: &str, claim: &Value| {
            let number = claim["type"].as_str()?.strip_prefix(&format!("{ARC}.1.{element}."))?.parse().ok()?;
            Some((number, claim["value"].as_str().map(str::to_owned)))
        };
        let element = |element: &Value| {
            let kind = element["type"].as_str()?.strip_prefix(&format!("{ARC}.0."))?.to_owned();
            let (_, highest, _) = ELEMENTS.into_iter().find(|(known, ..)| *known == kind)?;
            let claims = list(&element["claims"]).iter().map(|it| claim(&kind, it)).collect::<Option<Vec<_>>>()?;
            claims.iter().all(|(number, _)| *number <= highest).then_some((kind, claims))
        };
        list(&self.0["elements"]).iter().map(element).collect()
    }

    fn signatures(&self) -> Vec<(bool, String)> {
        let block = |block: &Value| (block["holds"].as_bool().unwrap(), block["spki"].as_str().unwrap().to_owned());
        self.0["signatures"].as_array().unwrap().iter().map(block).collect()
    }

    fn extensions(&self) -> Vec<&str> {
        self.0["extensions"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect()
    }
}

fn count(elements: &[Element], kind: &str) -> usize {
    elements.iter().filter(|(known, _)| known == kind).count()
}

/// Values of a claim, in all elements of a kind.
fn values(elements: &[Element], kind: &str, number: u32) -> Vec<String> {
    let claims = elements.iter().filter(|(known, _)| known == kind).flat_map(|(_, claims)| claims);
    claims.filter(|(found, _)| *found == number).filter_map(|(_, value)| value.clone()).collect()
}

/// V1 to V9 on one Evidence.
fn keeps_the_rules(token: &TokenSide, answer: &AttestationResult, kinds: &[&str]) {
    let facts = Facts::of(token, answer);
    assert_eq!((&facts.0["version"], &facts.0["der"]), (&1.into(), &true.into()), "V1: version 1, DER");
    let elements = facts.elements().expect("V3: element and claim types that the draft defines, and no others");
    let found: Vec<&str> = elements.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(found, kinds);
    for (kind, claims) in &elements {
        let (.., repeatable) = ELEMENTS.into_iter().find(|(known, ..)| known == kind).unwrap();
        let once: Vec<u32> = claims.iter().map(|(number, _)| *number).filter(|it| !repeatable.contains(it)).collect();
        assert_eq!(once.iter().collect::<BTreeSet<_>>().len(), once.len(), "V2: a claim twice: {claims:?}");
        assert!(claims.iter().all(|(_, value)| value.is_some()), "V5: a claim without a value: {claims:?}");
    }
    let identifiers = values(&elements, KEY, 0);
    assert!(
        count(&elements, TRANSACTION) == 1
            && count(&elements, PLATFORM) <= 1
            && identifiers.len() == count(&elements, KEY)
            && identifiers.iter().collect::<BTreeSet<_>>().len() == identifiers.len(),
        "V4: one transaction, one platform at most, each key once and with its identifier: {elements:?}"
    );
    let signatures = facts.signatures();
    assert!(
        signatures.iter().all(|(holds, _)| *holds),
        "V6: signatures hold under the key that the signer is named by"
    );
    assert_eq!(
        facts.extensions(),
        [
            "X509v3 Key Usage: critical",
            "Digital Signature",
            "X509v3 Extended Key Usage: critical",
            "1.3.6.1.5.5.7.3.999"
        ],
        "V7: digitalSignature, and id-kp-attestationKey alone, therefore critical"
    );
    assert!(!signatures.is_empty(), "V8: signed");
    let signers: Vec<Value> = signatures.into_iter().map(|(_, spki)| spki.into()).collect();
    assert_eq!(facts.0["ak_spki"], Value::Array(signers), "V9: who signed is named in ak-spki, and nobody else");
    assert_eq!(values(&elements, TRANSACTION, 0), [format!("0420{}", "5a".repeat(32))], "V11: fresh by the nonce");
}

#[test]
fn emitted_evidence_keeps_the_rules_of_the_draft() {
    let token = TokenSide::start();
    hold_ceremony(&token);
    let lab = authority(&token, "lab");
    let enrolled = enroll(&token, &lab, "hsm-1.json");
    assert_eq!(enrolled.code, 0, "{enrolled:?}");
    token.done(&["key", "create", "web", "--provider", "hsm"]);

    let key = of_key(&token, "witnessed", &NONCE, false);
    let platform = of_platform(&token, "witnessed", &NONCE);
    let both = of_key(&token, "witnessed", &NONCE, true);
    keeps_the_rules(&token, &key, &[TRANSACTION, KEY]);
    keeps_the_rules(&token, &platform, &[TRANSACTION, PLATFORM]);
    keeps_the_rules(&token, &both, &[TRANSACTION, PLATFORM, KEY]);
    let mut altered = key.clone();
    *altered.statement.last_mut().unwrap() ^= 1;
    assert!(!Facts::of(&token, &altered).signatures()[0].0, "the other reader believes any signature");

    let hex = "5a".repeat(32);
    for reversed in [false, true] {
        fs::write(token.path("bundle.der"), bundle(&[&key, &platform], reversed)).unwrap();
        let verdict = verify(&token, &lab, "bundle.der", &["--policy", "lab", "--nonce", &hex]);
        assert_eq!(verdict.code, 0, "V10: certificates in any order (reversed: {reversed}): {:?}", verdict.codes());
    }
    let root = lab.path("state/ca/attestation-root-virtual.crt");
    assert!(
        openssl_accepts(&token.path("certificates.pem"), &root, &["-x509_strict"]),
        "V7: openssl takes the AK's path"
    );
    let elements = Facts::of(&token, &both).elements().unwrap();
    let validations: usize = (10..=13).map(|number| values(&elements, PLATFORM, number).len()).sum();
    assert_eq!(validations, 0, "V10: no word about a validation that the token does not report");
    let verdict = verify(&token, &lab, "bundle.der", &["--policy", "fips-140-3-level-3", "--nonce", &hex]);
    assert_eq!(verdict.code, 1, "V11: a policy for FIPS refuses Evidence without claims about it");
    assert!(verdict.codes().iter().any(|code| code == "policy.fips"), "V11: {:?}", verdict.codes());
}
