//! From nothing to certificates on a software TPM, with the program alone: `enroll`, `key`, `csr`, `verify`.

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

#[path = "e2e_enroll/acme.rs"]
mod acme;
#[path = "../src/advice.rs"]
mod advice;
#[path = "../src/authority_client.rs"]
mod authority_client;
#[path = "e2e_enroll/cmp.rs"]
mod cmp;
#[path = "../src/console.rs"]
mod console;
#[path = "support/environment.rs"]
mod environment;
#[path = "e2e_enroll/est.rs"]
mod est;
#[path = "../src/failure.rs"]
mod failure;
#[path = "../src/files.rs"]
mod files;
#[path = "e2e_enroll/lifecycle.rs"]
mod lifecycle;
#[path = "../src/reasons.rs"]
mod reasons;
#[path = "support/cli.rs"]
mod support;
#[path = "e2e_enroll/token.rs"]
mod token;
#[path = "support/token.rs"]
mod token_side;

use std::fs;

use authority_client::{AuthorityAddress, AuthorityClient, ChallengeRequest, NoncePurpose};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use environment::{AuthoritySide, DeviceSide, openssl_accepts};
use serde_json::json;
use vouchsafe_agent::tpm::{AuthValue, Hierarchy, Object};
use vouchsafe_evidence::pem;
use vouchsafe_evidence::tpm::HashAlg;
use vouchsafe_evidence::tpm::template::{AK_ATTRIBUTES, SigningKey, signing_key, storage_root_key};
use vouchsafe_evidence::x509::CertView;
use vouchsafe_verifier::{Instant, hex};

fn certificates(device: &DeviceSide, file: &str) -> Vec<CertView> {
    let blocks = pem::read(&fs::read(device.path(file)).unwrap()).unwrap();
    blocks.iter().map(|block| CertView::parse(block.contents()).unwrap()).collect()
}

/// Where an attempt of this name is kept.
fn attempt_file(device: &DeviceSide, name: &str) -> std::path::PathBuf {
    let digest = HashAlg::Sha256.digest(&[name.as_bytes()]);
    device.path("enroll").join(format!("{}.json", hex::encode(&digest[..16])))
}

#[test]
fn keys_of_every_kind_are_certified_in_both_ways() {
    let device = DeviceSide::start();
    let authority = AuthoritySide::start(&[&device.swtpm]);
    let run = |arguments: &[&str]| device.run(&authority, arguments);

    let early = run(&["enroll", "key", "early", "--out", "early.pem", "--state", "enroll"]);
    assert_eq!(early.code, 1, "{early:?}");
    assert!(early.stderr.contains("ak.certificate-missing"), "{}", early.stderr);
    assert!(!device.path("early.pem").exists());

    let enrolled = run(&["enroll", "ak", "--device", "node-1", "--state", "enroll"]);
    assert_eq!(enrolled.code, 0, "{enrolled:?}");
    assert!(enrolled.stdout.contains("ak:"), "{enrolled:?}");

    let root = authority.path("state/ca/issuing-root.crt");
    for (name, kind) in [("a", "ecc-p256"), ("b", "ecc-p384"), ("c", "rsa-2048"), ("d", "rsa-3072")] {
        let mut spki = None;
        for mechanism in ["tpm-certify", "tpm-certify-x509"] {
            let out = format!("{name}-{mechanism}.pem");
            let made = run(&[
                "enroll",
                "key",
                name,
                "--kind",
                kind,
                "--mechanism",
                mechanism,
                "--platform",
                "--out",
                &out,
                "--state",
                "enroll",
            ]);
            assert_eq!(made.code, 0, "{kind} {mechanism}: {made:?}");
            assert!(openssl_accepts(&device.path(&out), &root, &["-x509_strict"]), "{kind} {mechanism}");
            let chain = certificates(&device, &out);
            assert_eq!(chain[0].subject().to_display(), "CN=node-1");
            let key = chain[0].spki().clone();
            assert!(spki.is_none_or(|known| known == key), "one name, two keys");
            spki = Some(key);
        }
        let shown = run(&["key", "show", name]);
        assert!(
            shown.stdout.contains(kind) && shown.stdout.contains(&hex::encode(&spki.unwrap().sha256())),
            "{shown:?}"
        );
    }
    assert_eq!(run(&["key", "list", "--json"]).json()["keys"].as_array().unwrap().len(), 5);
    assert!(fs::read_dir(device.path("enroll")).unwrap().next().is_none(), "an attempt was left behind");
}

#[test]
fn the_tpm_signed_certificate_is_ready_for_openssl_and_the_bundle_for_verify() {
    let device = DeviceSide::start();
    let authority = AuthoritySide::start(&[&device.swtpm]);
    let run = |arguments: &[&str]| device.run(&authority, arguments);
    assert_eq!(run(&["key", "create", "web"]).code, 0);
    let bare = run(&["key", "attest", "web", "--out", "bare.pem"]);
    assert_eq!(bare.code, 0, "{bare:?}");
    assert!(bare.stderr.contains("next: vouchsafe enroll ak"), "{}", bare.stderr);
    assert_eq!(run(&["enroll", "ak", "--device", "node-1", "--state", "enroll"]).code, 0);

    let nonce = "5a".repeat(32);
    let made = run(&[
        "key",
        "attest",
        "web",
        "--mechanism",
        "tpm-certify-x509",
        "--nonce",
        &nonce,
        "--platform",
        "--certificate-out",
        "tpm.pem",
        "--out",
        "bundle.pem",
    ]);
    assert_eq!(made.code, 0, "{made:?}");
    let attestation_root = authority.trust().join("tpm-certify-x509/vouchsafe-attestation-root-virtual.pem");
    assert!(openssl_accepts(&device.path("tpm.pem"), &attestation_root, &["-verify_depth", "1", "-x509_strict"]));
    let trust = authority.trust();
    let trust = trust.to_str().unwrap();
    let verdict = run(&["verify", "bundle.pem", "--trust", trust, "--nonce", &nonce, "--json"]);
    assert_eq!(verdict.code, 0, "{verdict:?}");
    let json = verdict.json();
    assert_eq!((&json["freshness"], &json["key"]["claims"]["origin"]["value"]), (&"nonce".into(), &"generated".into()));
    assert_eq!(json["platform"]["claims"]["kind"]["value"], "virtual");
    // A device may not name itself on the network: TLS clients that trust the attestation root refuse such a name,
    // and for the Verifier it is no claim.
    let named = run(&[
        "key",
        "attest",
        "web",
        "--mechanism",
        "tpm-certify-x509",
        "--nonce",
        &nonce,
        "--san",
        "dns:web.example",
        "--certificate-out",
        "named.pem",
        "--out",
        "named-bundle.pem",
    ]);
    assert_eq!(named.code, 0, "{named:?}");
    assert!(!openssl_accepts(&device.path("named.pem"), &attestation_root, &["-verify_depth", "1"]));
    assert_eq!(run(&["verify", "named-bundle.pem", "--trust", trust, "--nonce", &nonce]).code, 0);
    let stale = run(&["verify", "bundle.pem", "--trust", trust, "--nonce", &"00".repeat(32), "--json"]);
    assert_eq!((stale.code, stale.codes()), (1, vec!["nonce.mismatch".to_owned(); 2]));

    let csr =
        run(&["csr", "web", "--subject", "CN=web.example,O=Example", "--san", "dns:web.example", "--out", "web.csr"]);
    assert_eq!(csr.code, 0, "{csr:?}");
    assert_eq!(run(&["verify", "web.csr", "--trust", trust]).code, 0);
    let told = run(&["inspect", "web.csr"]);
    assert!(told.stdout.contains("subject: CN=web.example,O=Example"), "{}", told.stdout);
    let openssl = std::process::Command::new("openssl")
        .args(["req", "-noout", "-verify", "-in"])
        .arg(device.path("web.csr"))
        .output()
        .unwrap();
    assert!(openssl.status.success());

    for (kind, name) in [("ecc-p384", "s"), ("rsa-3072", "t")] {
        assert_eq!(run(&["key", "create", name, "--kind", kind]).code, 0);
        assert_eq!(run(&["key", "sign", name, "web.csr", "--out", "signature"]).code, 0);
        let shown = run(&["key", "show", name]).stdout;
        fs::write(device.path("public.pem"), shown.split_once('\n').unwrap().1).unwrap();
        let hash = if kind == "ecc-p384" { "-sha384" } else { "-sha256" };
        let checked = std::process::Command::new("openssl")
            .args(["dgst", hash, "-verify", "public.pem", "-signature", "signature", "web.csr"])
            .current_dir(device.folder.path())
            .output()
            .unwrap();
        assert!(checked.status.success(), "{kind}: {checked:?}");
    }
    assert_eq!(run(&["key", "delete", "web"]).code, 0);
    let gone = run(&["key", "show", "web"]);
    assert!(gone.is_usage_error() && gone.stderr.contains("next: "), "{gone:?}");
}

#[test]
fn an_interrupted_enrolment_goes_on_where_it_stopped() {
    let device = DeviceSide::start();
    let authority = AuthoritySide::start(&[&device.swtpm]);
    let run = |arguments: &[&str]| device.run(&authority, arguments);
    let ak = ["enroll", "ak", "--device", "node-1", "--state", "enroll"];
    fs::create_dir(device.path("enroll")).unwrap();
    let file = attempt_file(&device, &format!("ak {} node-1 ", authority.url));

    // A challenge that nobody waits for any more: the command begins again by itself.
    let lost = json!({ "Challenged": {
        "id": "00".repeat(16), "expires": "", "credential_blob": STANDARD.encode([0, 0]), "secret": STANDARD.encode([0, 0]),
    }});
    fs::write(&file, lost.to_string()).unwrap();
    let again = run(&ak);
    assert_eq!(again.code, 0, "{again:?}");
    assert!(again.stderr.contains("Going on") && again.stderr.contains("beginning again"), "{again:?}");
    assert!(!file.exists());

    // The certificate was issued and could not be written: the same one comes when asked again.
    let key = |out: &str| run(&["enroll", "key", "web", "--out", out, "--state", "enroll"]);
    let failed = key("no/such/folder/web.pem");
    assert_eq!(failed.code, 2, "{failed:?}");
    let second = key("web.pem");
    assert_eq!(second.code, 0, "{second:?}");
    assert!(second.stderr.contains("Going on"), "{second:?}");
    assert!(!second.stderr.contains("attested"), "{second:?}");
    let third = key("other.pem");
    assert_eq!(third.code, 0, "{third:?}");
    assert!(!third.stderr.contains("Going on"), "{third:?}");
    let serial = |file: &str| certificates(&device, file)[0].serial().to_vec();
    assert_ne!(serial("web.pem"), serial("other.pem"));
}

#[test]
fn a_challenge_that_was_received_is_answered_by_the_next_run() {
    let device = DeviceSide::start();
    let authority = AuthoritySide::start(&[&device.swtpm]);
    // What a run that was stopped after it received the challenge leaves behind.
    let described = device.client().describe_endorsement("").unwrap();
    let client = AuthorityClient::new(&AuthorityAddress {
        authority: authority.url.clone(),
        ca: authority.tls_root(),
        token_file: authority.path("token"),
    })
    .unwrap();
    let Ok(nonce) = client.nonce(NoncePurpose::AttestationKey) else { panic!("no nonce") };
    let challenge = client.challenge(&ChallengeRequest {
        device: "node-1".to_owned(),
        ek_certificates: described.certificates,
        ek_keys: described.endorsement_keys,
        ak_public: described.public,
        nonce,
        baseline: None,
    });
    let Ok(challenge) = challenge else { panic!("{challenge:?}") };
    fs::create_dir(device.path("enroll")).unwrap();
    let file = attempt_file(&device, &format!("ak {} node-1 ", authority.url));
    fs::write(&file, json!({ "Challenged": challenge }).to_string()).unwrap();
    let run = device.run(&authority, &["enroll", "ak", "--device", "node-1", "--state", "enroll"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.stderr.contains("Going on"), "{run:?}");
    assert!(!run.stderr.contains("Asking the authority for a challenge"), "{run:?}");
    assert!(!file.exists());
}

#[test]
fn refusals_are_exit_1_and_say_what_to_do() {
    let device = DeviceSide::start();
    let stranger = DeviceSide::start();
    let authority = AuthoritySide::start(&[&device.swtpm]);
    let run = |device: &DeviceSide, arguments: &[&str]| device.run(&authority, arguments);
    let ak = |name: &'static str| ["enroll", "ak", "--device", name, "--state", "enroll"];
    assert_eq!(run(&device, &ak("node-1")).code, 0);
    assert_eq!(run(&device, &ak("node-1")).code, 0, "renewal");

    let other_name = run(&device, &ak("node-2"));
    assert_eq!(other_name.code, 1, "{other_name:?}");
    assert!(
        other_name.stderr.contains("endorsement-key-conflict") && other_name.stderr.contains("next: "),
        "{other_name:?}"
    );
    let untrusted = run(&stranger, &ak("node-3"));
    assert_eq!(untrusted.code, 1, "{untrusted:?}");
    // Software TPMs' makers all have one name; only the signature tells them apart.
    assert!(untrusted.stderr.contains("chain.bad-signature"), "{untrusted:?}");

    fs::write(device.path("false-token"), "guessed").unwrap();
    let guessed =
        run(&device, &["enroll", "ak", "--device", "node-1", "--state", "enroll", "--token-file", "false-token"]);
    assert_eq!(guessed.code, 1, "{guessed:?}");
    assert!(guessed.stderr.contains("[unauthenticated]") && guessed.stderr.contains("next: "), "{guessed:?}");
    let root = authority.path("state/ca/issuing-root.crt");
    let wrong_root =
        run(&device, &["enroll", "ak", "--device", "node-1", "--state", "enroll", "--ca", root.to_str().unwrap()]);
    assert!(wrong_root.is_usage_error() && wrong_root.stderr.contains("next: "), "{wrong_root:?}");
    let plain = run(&device, &["enroll", "ak", "--device", "node-1", "--authority", "http://127.0.0.1:1"]);
    assert!(plain.is_usage_error(), "{plain:?}");
    let nobody = run(&device, &["key", "list", "--socket", "/no/such/socket"]);
    assert!(nobody.is_usage_error() && nobody.stderr.contains("next: "), "{nobody:?}");
}

/// The authorization of attesting keys that are made elsewhere.
const AUTH: &[u8; 24] = b"24 octets, hard to guess";
const RESIDENT: u32 = 0x8101_0100;

/// Two attesting keys that the agent has not made: one in files, as tpm2_create leaves them, one at a handle.
fn make_elsewhere(device: &DeviceSide) {
    let mut tpm = device.swtpm.connect().unwrap();
    let (root, public) = tpm.create_primary(Hierarchy::Owner, &storage_root_key(), &AuthValue::empty()).unwrap();
    tpm.persist(&root, 0x8100_0001, &public).unwrap();
    tpm.flush(&root).unwrap();
    tpm.salt_sessions_to(0x8100_0001, public.clone());
    let root = Object::persistent(0x8100_0001, &public, AuthValue::empty());
    let template = |unique: &[u8]| signing_key(SigningKey::EccP256, AK_ATTRIBUTES, Some(HashAlg::Sha256), unique);
    let auth = AuthValue::new(AUTH);
    let made = tpm.create(&root, &template(&[]), &auth).unwrap();
    let sized = |octets: &[u8]| [&u16::try_from(octets.len()).unwrap().to_be_bytes()[..], octets].concat();
    fs::write(device.path("ak.pub"), sized(made.public.as_bytes())).unwrap();
    fs::write(device.path("ak.priv"), sized(&made.private)).unwrap();
    fs::write(device.path("auth"), AUTH).unwrap();
    fs::write(device.path("short"), "guess").unwrap();
    let (resident, public) = tpm.create_primary(Hierarchy::Endorsement, &template(&[7; 32]), &auth).unwrap();
    tpm.persist(&resident, RESIDENT, &public).unwrap();
}

#[test]
fn attesting_keys_that_were_made_elsewhere_are_enrolled_by_name() {
    let device = DeviceSide::start_after(make_elsewhere);
    let authority = AuthoritySide::start(&[&device.swtpm]);
    let run = |arguments: &[&str]| device.run(&authority, arguments);
    let import = |more: &[&str]| run(&[&["agent", "attesting-key", "import"], more].concat());
    let files = ["--public", "ak.pub", "--private", "ak.priv"];
    for (more, code, told) in [
        ([&["x"], &files[..], &["--auth-file", "short"]].concat(), 1, "fewer than 16 octets"),
        (vec!["x", "--handle", "0x81010001", "--auth-file", "auth"], 1, "endorsement key"),
        (vec!["x", "--handle", "0x81000001", "--auth-file", "auth"], 1, "storage key"),
        (vec!["x", "--pem", "ak.pub", "--auth-file", "auth"], 1, "TSS2 PRIVATE KEY"),
        (vec!["x", "--auth-file", "auth"], 2, "give --public and --private, or --pem, or --handle"),
        (vec!["x", "--public", "ak.pub", "--auth-file", "auth"], 2, "--private"),
    ] {
        let refused = import(&more);
        assert_eq!(refused.code, code, "{refused:?}");
        assert!(refused.stderr.contains(told), "{told}: {refused:?}");
    }
    let imported = import(&[&["site"], &files[..], &["--auth-file", "auth"]].concat());
    assert_eq!(imported.code, 0, "{imported:?}");
    assert!(imported.stdout.contains("site  ecc-p256  attesting key, the machine's, made elsewhere"), "{imported:?}");
    assert_eq!(import(&["resident", "--handle", "0x81010100", "--auth-file", "auth"]).code, 0);
    assert_eq!(run(&["agent", "attesting-key", "create", "made", "--kind", "ecc-p384"]).code, 0);
    assert_eq!(run(&["agent", "attesting-key", "create", "p1", "--pseudonym"]).code, 0);
    let again = run(&["agent", "attesting-key", "create", "made"]);
    assert_eq!(again.code, 1, "{again:?}");
    assert!(again.stderr.contains("next: "), "{again:?}");
    let listed = run(&["agent", "attesting-key", "list", "--json"]).json();
    let facts: Vec<_> = listed["attesting_keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| {
            let is = |name: &str| key[name].as_bool().unwrap();
            (key["name"].as_str().unwrap().to_owned(), is("made_here"), is("pseudonym"), is("own"))
        })
        .collect();
    let expected = [
        ("default", true, false),
        ("made", true, false),
        ("p1", true, true),
        ("resident", false, false),
        ("site", false, false),
    ];
    assert_eq!(facts, expected.map(|(name, made_here, pseudonym)| (name.to_owned(), made_here, pseudonym, false)));

    let trust = authority.trust();
    let nonce = "5a".repeat(32);
    assert_eq!(run(&["key", "create", "web"]).code, 0);
    let mechanisms = run(&["key", "mechanisms", "web"]);
    assert!(mechanisms.stdout.contains("tpm-certify-x509  attests a key, version 1, stable"), "{mechanisms:?}");
    for name in ["site", "resident", "made"] {
        let enrolled = run(&["enroll", "ak", "--device", "node-1", "--attesting-key", name, "--state", "enroll"]);
        assert_eq!(enrolled.code, 0, "{name}: {enrolled:?}");
        for mechanism in ["tpm-certify", "tpm-certify-x509"] {
            let attested = run(&[
                "key",
                "attest",
                "web",
                "--attesting-key",
                name,
                "--mechanism",
                mechanism,
                "--platform",
                "--nonce",
                &nonce,
                "--out",
                "bundle.pem",
            ]);
            assert_eq!(attested.code, 0, "{name}: {attested:?}");
            let verdict =
                run(&["verify", "bundle.pem", "--trust", trust.to_str().unwrap(), "--nonce", &nonce, "--json"]);
            assert_eq!(verdict.code, 0, "{name} {mechanism}: {verdict:?}");
            // The quote says what firmware the TPM runs, signed.
            let firmware = &verdict.json()["platform"]["claims"]["fw_version"];
            assert_eq!(firmware["source"], "signed", "{firmware}");
            assert!(firmware["value"].as_str().is_some_and(|version| !version.is_empty()), "{firmware}");
        }
    }
    let told = run(&["agent", "attesting-key", "list"]).stdout;
    assert!(told.contains("made elsewhere, certified for attest, certify-x509"), "{told}");
}

/// A program of tpm2-tools, on the device's TPM.
fn tpm2(device: &DeviceSide, program: &str, arguments: &[&str]) {
    // Its driver looks for the control socket beside the other.
    let socket = device.path("tpm");
    if !socket.exists() {
        std::os::unix::fs::symlink(device.swtpm.socket(), &socket).unwrap();
        let control = device.swtpm.socket().with_file_name("ctrl.sock");
        std::os::unix::fs::symlink(control, device.path("tpm.ctrl")).unwrap();
    }
    let made = std::process::Command::new(format!("tpm2_{program}"))
        .args(arguments)
        .env("TPM2TOOLS_TCTI", format!("swtpm:path={}", socket.display()))
        .current_dir(device.folder.path())
        .output()
        .unwrap();
    assert!(made.status.success(), "tpm2_{program} {arguments:?}: {made:?}");
}

/// The other implementation: what tpm2-tools make, in each form that they write, is taken over and attests.
#[test]
fn attesting_keys_that_tpm2_tools_made_are_taken_over() {
    const ATTRIBUTES: &str = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign";
    let device = DeviceSide::start_after(|device| {
        make_elsewhere(device);
        // There is no resource manager here that would make room.
        tpm2(device, "flushcontext", &["-t"]);
        let create = |algorithm: &str, name: &str| {
            let (public, private) = (format!("{name}.pub"), format!("{name}.priv"));
            let files = ["-u", &public, "-r", &private, "-p", "file:auth", "-a", ATTRIBUTES];
            tpm2(device, "create", &[&["-C", "0x81000001", "-G", algorithm], &files[..]].concat());
        };
        create("ecc256:ecdsa-sha256:null", "a");
        create("rsa2048:rsassa-sha256:null", "b");
        tpm2(device, "encodeobject", &["-C", "0x81000001", "-u", "b.pub", "-r", "b.priv", "-p", "-o", "b.pem"]);
        let primary = ["-C", "e", "-G", "ecc384:ecdsa-sha384:null", "-p", "file:auth", "-a", ATTRIBUTES, "-c", "c.ctx"];
        tpm2(device, "createprimary", &primary);
        tpm2(device, "evictcontrol", &["-C", "o", "-c", "c.ctx", "0x81010200"]);
        tpm2(device, "flushcontext", &["-t"]);
        tpm2(
            device,
            "create",
            &[
                "-C",
                "0x81000001",
                "-G",
                "ecc256:ecdsa-sha256:null",
                "-a",
                ATTRIBUTES,
                "-u",
                "open.pub",
                "-r",
                "open.priv",
            ],
        );
    });
    let authority = AuthoritySide::start(&[&device.swtpm]);
    let run = |arguments: &[&str]| device.run(&authority, arguments);
    let import = |more: &[&str]| run(&[&["agent", "attesting-key", "import"], more, &["--auth-file", "auth"]].concat());
    assert_eq!(run(&["key", "create", "web"]).code, 0);
    for (name, how, told) in [
        ("a", &["--public", "a.pub", "--private", "a.priv"][..], "a  ecc-p256"),
        ("b", &["--pem", "b.pem"], "b  rsa-2048"),
        ("c", &["--handle", "0x81010200"], "c  ecc-p384"),
    ] {
        let imported = import(&[&[name], how].concat());
        assert_eq!(imported.code, 0, "{imported:?}");
        assert!(imported.stdout.contains(told), "{imported:?}");
        let enrolled = run(&["enroll", "ak", "--device", "node-1", "--attesting-key", name, "--state", "enroll"]);
        assert_eq!(enrolled.code, 0, "{enrolled:?}");
        let attested = run(&["key", "attest", "web", "--attesting-key", name, "--out", "bundle.pem"]);
        assert_eq!(attested.code, 0, "{attested:?}");
    }
    let open = import(&["open", "--public", "open.pub", "--private", "open.priv"]);
    assert_eq!(open.code, 1, "{open:?}");
    assert!(open.stderr.contains("the authorization that was given is not the key's"), "{open:?}");
}

#[test]
fn a_pseudonym_is_enrolled_with_one_authority_and_gets_published_certificates_from_the_other() {
    let device = DeviceSide::start();
    let enrolment = "role = \"enrolment\"\n[pseudonyms]\nlink = \"forget\"";
    let enrolment = AuthoritySide::start_with(enrolment, "enroll", &[&device.swtpm], |_| {});
    let issuing = "role = \"issuing\"\n[[profiles]]\nname = \"device\"\ndevices = \"any\"\n\
                   publish_key_attestation = \"statement\"\nformats = [\"tpm-certify-x509\"]";
    let issuing = AuthoritySide::start_with(issuing, "issue", &[], |issuing| {
        let folder = issuing.path("state/trust/tpm-certify-x509");
        fs::copy(enrolment.path("state/ca/attestation-root-virtual.crt"), folder.join("pseudonyms.pem")).unwrap();
        fs::write(folder.join("pseudonyms.toml"), "virtual = true\n").unwrap();
    });

    let made = device.run(&enrolment, &["agent", "attesting-key", "create", "p1", "--pseudonym"]);
    assert_eq!(made.code, 0, "{made:?}");
    let ak = ["enroll", "ak", "--device", "rack7-node3", "--attesting-key", "p1", "--state", "enroll"];
    let quoted = device.run(&enrolment, &ak);
    assert_ne!(quoted.code, 0, "a pseudonym makes no quote for a baseline: {quoted:?}");
    let enrolled = device.run(&enrolment, &[&ak[..], &["--no-baseline"]].concat());
    assert_eq!(enrolled.code, 0, "{enrolled:?}");

    let key = ["enroll", "key", "web", "--attesting-key", "p1", "--out", "web.pem", "--state", "enroll"];
    let certified = device.run(&issuing, &[&key[..], &["--mechanism", "tpm-certify-x509"]].concat());
    assert_eq!(certified.code, 0, "{certified:?}");
    assert!(openssl_accepts(&device.path("web.pem"), &issuing.path("state/ca/issuing-root.crt"), &["-x509_strict"]));
    let certificate = &certificates(&device, "web.pem")[0];
    assert!(certificate.subject().to_display().starts_with("CN=ak:"));
    let text = String::from_utf8_lossy(certificate.as_der()).into_owned();
    for word in ["rack7", "node3", "swtpm", "id:00001014"] {
        assert!(!text.contains(word), "{word} is published");
    }

    // Whoever trusts the pseudonyms' root can check the statement in the certificate, without asking anybody.
    let trust = issuing.trust();
    let verified = device.run(&issuing, &["verify", "web.pem", "--trust", trust.to_str().unwrap(), "--json"]);
    assert_eq!(verified.code, 0, "{verified:?}");
    let report = verified.json();
    assert_eq!(report["format"], "tpm-certify-x509");
    assert_eq!(report["platform"]["verdict"], "absent");
    assert_eq!(report["key"]["claims"]["device_bound"]["value"], true);
    let issued_at = Instant::from_unix_seconds(certificate.not_before()).to_string();
    let then = device.run(&issuing, &["verify", "web.pem", "--trust", trust.to_str().unwrap(), "--at", &issued_at]);
    assert_eq!(then.code, 0, "the certificate says for which time it can be checked: {then:?}");
    let late = device
        .run(&issuing, &["verify", "web.pem", "--trust", trust.to_str().unwrap(), "--at", "2060-01-01T00:00:00Z"]);
    assert_eq!(late.code, 1, "{late:?}");
    assert!(late.stdout.contains("--at"), "{}", late.stdout);
}

/// A TPM whose maker certified no endorsement key is known by the key itself, which the operator has listed.
#[test]
fn a_tpm_without_endorsement_certificates_is_enrolled_by_the_inventory() {
    let device = DeviceSide::start_after(|device| {
        for index in ["0x01c00002", "0x01c00016"] {
            tpm2(device, "nvundefine", &["-C", "p", index]);
        }
    });
    let authority = lifecycle::open_authority("lab");
    let run = |arguments: &[&str]| device.run(&authority, arguments);
    let enroll = |method: &str| run(&["enroll", "ak", "--device", "node-1", "--method", method, "--state", "enroll"]);
    let certified = enroll("manufacturer");
    assert!(certified.is_usage_error(), "{certified:?}");
    assert!(certified.stderr.contains("--method inventory"), "{certified:?}");
    let described = device.client().describe_endorsement("").unwrap();
    assert!(described.certificates.is_empty());
    let [ek] = described.endorsement_keys.as_slice() else { panic!("{described:?}") };
    let digest = hex::encode(&HashAlg::Sha256.digest(&[ek]));
    let list = authority.path("modules.csv");
    fs::write(&list, format!("device,account,ek_sha256\nnode-1,lab,{digest}\n")).unwrap();
    let unlisted = enroll("inventory");
    assert!(unlisted.code == 1 && unlisted.stderr.contains("authority.not-listed"), "{unlisted:?}");
    let imported = lifecycle::administer(&authority, &["inventory", "import", list.to_str().unwrap(), "--by", "alma"]);
    assert_eq!(imported.code, 0, "{imported:?}");
    let enrolled = enroll("inventory");
    assert_eq!(enrolled.code, 0, "{enrolled:?}");
}
