//! A PKCS #11 token from its initialization to certificates: a ceremony, an authority, one Evidence or two, what is refused.

#![cfg(all(feature = "agent", feature = "authority"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "support/environment.rs"]
mod environment;
#[path = "e2e_hsm/issuers.rs"]
mod issuers;
#[path = "e2e_hsm/rules.rs"]
mod rules;
#[path = "support/cli.rs"]
mod support;
#[path = "support/token.rs"]
mod token;

use std::fs;
use std::process::Command;

use environment::{AuthoritySide, openssl_accepts};
use support::{Run, command};
use token::TokenSide;
use vouchsafe_agent::swtpm::{Options, Swtpm};
use vouchsafe_agent::wire::message::{AttestationResult, KeyMechanism, PkixEvidence, PlatformMechanism};
use vouchsafe_evidence::bundle::{AttestationBundle, AttestationStatement};
use vouchsafe_evidence::oid;
use vouchsafe_evidence::x509::CertView;

/// The script of the page that says how it is done.
fn script() -> String {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/running.md")).unwrap();
    let mut scripts = page.split("```toml\n").filter_map(|rest| rest.split_once("```")).map(|(block, _)| block);
    scripts.find(|block| block.starts_with("title = ")).expect("a script of a ceremony").to_owned()
}

/// Two witnesses with keys of their own see the attesting key `witnessed` made; the record is `hsm-1.json`.
fn hold_ceremony(token: &TokenSide) {
    fs::create_dir(token.path("witnesses")).unwrap();
    fs::write(token.path("script.toml"), script()).unwrap();
    let openssl = |arguments: &[&str]| {
        let run = Command::new("openssl").args(arguments).current_dir(token.folder.path()).output().unwrap();
        assert!(run.status.success(), "{run:?}");
    };
    for (name, curve) in [("Alice", "P-256"), ("Bob", "P-384")] {
        let (private, public) = (format!("{name}.key"), format!("witnesses/{name}.pem"));
        let curve = format!("ec_paramgen_curve:{curve}");
        openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", &curve, "-out", &private]);
        openssl(&["pkey", "-in", &private, "-pubout", "-out", &public]);
    }
    let here = ["--machine-id", "machine-id"];
    let record = |more: &[&str]| token.done(&[&["ceremony", "record", "w"], more, &here].concat());
    token.done(&[&["ceremony", "start", "script.toml", "--work", "w"], &here[..]].concat());
    record(&[]);
    let serial = token.serial();
    record(&["--vendor", "SoftHSM project", "--model", "SoftHSM v2", "--serial", &serial, "--firmware", "2.6"]);
    record(&[]);
    for _ in ["key", "prove"] {
        record(&["--agent", "--provider", "hsm", "--attesting-key", "witnessed"]);
    }
    for name in ["Alice", "Bob"] {
        token.done(&["ceremony", "sign", "w", "--key", &format!("{name}.key"), "--yes"]);
    }
    token.done(&["ceremony", "finish", "w", "--out", "hsm-1.json"]);
}

/// An authority under this policy that knows the token's witnesses, and believes the first of a name as well.
fn authority(token: &TokenSide, policy: &str) -> AuthoritySide {
    let witnesses = token.path("witnesses");
    let settings = format!(
        "policy = '{policy}'\n[enrolment]\nfirst_use = true\n[ceremony]\nthreshold = 2\nwitnesses = '{}'\nvirtual = true\n",
        witnesses.display()
    );
    AuthoritySide::start_with(&settings, "enroll,issue", &[], |authority| {
        let path = authority.path("authority.toml");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, format!("{text}enroll_methods = ['ceremony', 'first-use']\n")).unwrap();
    })
}

fn enroll(token: &TokenSide, authority: &AuthoritySide, transcript: &str) -> Run {
    let ak = ["enroll", "ak", "--device", "hsm-1", "--provider", "hsm", "--attesting-key", "witnessed"];
    token.run_with(
        authority,
        &[&ak[..], &["--method", "ceremony", "--transcript", transcript, "--state", "enroll"]].concat(),
    )
}

fn certify(token: &TokenSide, authority: &AuthoritySide, out: &str, more: &[&str]) -> Run {
    let key = ["enroll", "key", "web", "--provider", "hsm", "--attesting-key", "witnessed"];
    token.run_with(authority, &[&key[..], &["--platform", "--out", out, "--state", "enroll"], more].concat())
}

/// What a run said on standard error, on one line.
fn said(run: &Run) -> String {
    run.stderr.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_token_gets_certificates_by_the_word_of_two_witnesses_where_that_counts() {
    let token = TokenSide::start();
    hold_ceremony(&token);
    let lab = authority(&token, "lab");

    // An octet of the record, wherever it is, and there is no record.
    let record = fs::read(token.path("hsm-1.json")).unwrap();
    for place in [20, record.len() / 2, record.len() - 20] {
        let mut altered = record.clone();
        altered[place] = if altered[place] == b'A' { b'B' } else { b'A' };
        fs::write(token.path("altered.json"), &altered).unwrap();
        let refused = enroll(&token, &lab, "altered.json");
        assert!(refused.code == 1 && refused.stderr.contains("ceremony."), "{place}: {refused:?}");
    }
    let bare = certify(&token, &lab, "early.pem", &[]);
    assert!(bare.code == 1 && !token.path("early.pem").exists(), "an attesting key that nobody enrolled: {bare:?}");

    let enrolled = enroll(&token, &lab, "hsm-1.json");
    assert_eq!(enrolled.code, 0, "{enrolled:?}");
    let mut listing = command();
    listing.args(["authority", "attesting-keys", "list", "--json", "--config"]).arg(lab.path("authority.toml"));
    let listed = Run::from(listing.arg("--state").arg(lab.path("state")).output().unwrap()).json();
    let enrolment = &listed[0]["enrolment"];
    assert_eq!((&enrolment["method"], &enrolment["environment"]), (&"ceremony".into(), &"host".into()), "{listed}");

    let root = lab.path("state/ca/issuing-root.crt");
    for (out, form) in [("two.pem", &[][..]), ("one.pem", &["--one-evidence"])] {
        let made = certify(&token, &lab, out, form);
        assert_eq!(made.code, 0, "{out}: {made:?}");
        assert!(openssl_accepts(&token.path(out), &root, &["-x509_strict"]), "{out}");
        let certificate = fs::read_to_string(token.path(out)).unwrap();
        assert!(!certificate.contains("SoftHSM"), "what the platform says stays with the authority");
    }

    let strict = authority(&token, "csbr-code-signing");
    let enrolled = enroll(&token, &strict, "hsm-1.json");
    assert_eq!(enrolled.code, 0, "the method does not raise the environment, nor does the environment bar the method");
    for (out, form) in [("no.pem", &[][..]), ("none.pem", &["--one-evidence"])] {
        let refused = certify(&token, &strict, out, form);
        assert_eq!(refused.code, 1, "{refused:?}");
        assert!(!token.path(out).exists());
        let said = said(&refused);
        for sentence in [
            "key.extractable is false, as host software asserts; policy does not take that for it.",
            "attesting_key.environment is host, as the attesting key's certificate says; it must be module, since software \
             beside the module can have the key sign anything",
        ] {
            assert!(said.contains(sentence), "{sentence}: {said}");
        }
    }
}

/// What the agent attests of the key `web`, by this attesting key.
fn of_key(token: &TokenSide, attesting_key: &str, nonce: &[u8], with_platform: bool) -> AttestationResult {
    let request = PkixEvidence { with_platform, ..PkixEvidence::default() };
    token.client().attest_key("web", attesting_key, nonce, KeyMechanism::PkixEvidence(request)).unwrap()
}

fn of_platform(token: &TokenSide, attesting_key: &str, nonce: &[u8]) -> AttestationResult {
    let request = PlatformMechanism::PkixEvidence(PkixEvidence::default());
    token.client().attest_platform(attesting_key, nonce, request).unwrap()
}

/// These answers in one bundle, with all certificates; in the other order if `reversed`.
fn bundle(answers: &[&AttestationResult], reversed: bool) -> Vec<u8> {
    let statement =
        |answer: &&AttestationResult| AttestationStatement::new(oid::STATEMENT_PKIX_EVIDENCE, answer.statement.clone());
    let mut certificates: Vec<CertView> = Vec::new();
    for der in answers.iter().flat_map(|answer| &answer.certificates) {
        let certificate = CertView::parse(der).unwrap();
        if !certificates.contains(&certificate) {
            certificates.push(certificate);
        }
    }
    if reversed {
        certificates.reverse();
    }
    AttestationBundle::new(answers.iter().map(statement).collect(), certificates).unwrap().to_der()
}

/// The verdict about a file of the token's folder, with the trust that this authority has.
fn verify(token: &TokenSide, authority: &AuthoritySide, file: &str, more: &[&str]) -> Run {
    let trust = authority.trust();
    token.run(&[&["verify", file, "--json", "--trust", trust.to_str().unwrap()], more].concat())
}

#[test]
fn a_platform_evidence_of_another_attesting_key_is_not_the_keys() {
    const NONCE: [u8; 32] = [0x5A; 32];
    let hex = "5a".repeat(32);
    let token = TokenSide::start();
    hold_ceremony(&token);
    let lab = authority(&token, "lab");
    assert_eq!(enroll(&token, &lab, "hsm-1.json").code, 0);
    // The agent's default attesting key, in the same token, enrolled as well.
    let other =
        ["enroll", "ak", "--device", "hsm-2", "--provider", "hsm", "--method", "first-use", "--state", "enroll"];
    let other = token.run_with(&lab, &other);
    assert_eq!(other.code, 0, "{other:?}");
    token.done(&["key", "create", "web", "--provider", "hsm"]);

    let key = of_key(&token, "witnessed", &NONCE, false);
    for (platform_by, nonce, expected) in [
        ("witnessed", NONCE, None),
        ("", NONCE, Some("bind.unconnected-statement")),
        ("witnessed", [0x5B; 32], Some("nonce.mismatch")),
    ] {
        let platform = of_platform(&token, platform_by, &nonce);
        fs::write(token.path("bundle.der"), bundle(&[&key, &platform], false)).unwrap();
        let verdict = verify(&token, &lab, "bundle.der", &["--policy", "lab", "--nonce", &hex]);
        let codes = verdict.codes();
        assert_eq!(verdict.code, i32::from(expected.is_some()), "{platform_by:?}: {codes:?}");
        assert!(expected.is_none_or(|code| codes.iter().any(|found| found == code)), "{platform_by:?}: {codes:?}");
    }
}

/// A quote whose qualifying data is the Evidence's digest: where, and in what state, that very Evidence lay.
#[test]
fn a_tpm_counter_signs_evidence() {
    let token = TokenSide::start_beside(Some(Swtpm::start(&Options::default()).unwrap()));
    let authority = AuthoritySide::start(&token.swtpm.iter().collect::<Vec<_>>());
    let enroll = ["enroll", "ak", "--device", "node-1", "--provider", "tpm", "--state", "enroll"];
    let enrolled = token.run_with(&authority, &enroll);
    assert_eq!(enrolled.code, 0, "{enrolled:?}");
    token.done(&["key", "create", "web", "--provider", "hsm"]);
    token.done(&["key", "create", "counter", "--provider", "tpm"]);
    for file in ["evidence.pem", "other.pem"] {
        let attest = ["key", "attest", "web", "--provider", "hsm", "--platform"];
        token.done(&[&attest[..], &["--nonce", &"5a".repeat(32), "--out", file]].concat());
    }
    let counter = ["key", "attest", "counter", "--provider", "tpm", "--platform", "--out", "counter.pem"];
    token.done(&[&counter[..], &["--counter-sign", "evidence.pem"]].concat());
    let verdict = verify(&token, &authority, "counter.pem", &["--counter-signs", "evidence.pem"]);
    assert_eq!(verdict.code, 0, "{verdict:?}");
    assert_eq!(verdict.json()["freshness"], "nonce");
    // Evidence of the same key for the same nonce is other Evidence: its signature is another.
    let verdict = verify(&token, &authority, "counter.pem", &["--counter-signs", "other.pem"]);
    assert_eq!((verdict.code, verdict.codes().contains(&"nonce.mismatch".to_owned())), (1, true), "{verdict:?}");
    let nothing = verify(&token, &authority, "counter.pem", &["--counter-signs", "counter.pem"]);
    assert!(nothing.is_usage_error() && nothing.stderr.contains("no PKIX Evidence"), "{nothing:?}");
}
