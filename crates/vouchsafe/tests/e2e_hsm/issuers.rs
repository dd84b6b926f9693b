//! The change from one issuer to the next as `docs/running.md` has it, with keys that a token makes: one signed by the
//! authority's own root, the next by a root elsewhere.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::Value;
use vouchsafe_evidence::pem;
use vouchsafe_evidence::x509::CertView;

use crate::environment::{AuthoritySide, DeviceSide, openssl_accepts};
use crate::support::{Run, command};
use crate::token::library;

const PROFILES: &str = "[[profiles]]\nname = \"device\"\nissuer = \"issuing\"\n";

/// Runs a verb of `vouchsafe authority` for this installation.
fn run(authority: &AuthoritySide, arguments: &[&str]) -> Run {
    let mut program = command();
    program.arg("authority").args(arguments).arg("--config").arg(authority.path("authority.toml"));
    program.arg("--state").arg(authority.path("state")).env("SOFTHSM2_CONF", authority.path("softhsm2.conf"));
    program.current_dir(authority.folder.path()).output().unwrap().into()
}

fn make_token(authority: &AuthoritySide) {
    fs::create_dir(authority.path("tokens")).unwrap();
    let tokens = authority.path("tokens").display().to_string();
    fs::write(authority.path("softhsm2.conf"), format!("directories.tokendir = {tokens}\nlog.level = ERROR\n"))
        .unwrap();
    fs::write(authority.path("pin"), "1234\n").unwrap();
    fs::set_permissions(authority.path("pin"), Permissions::from_mode(0o600)).unwrap();
    let made = Command::new("softhsm2-util")
        .args(["--init-token", "--free", "--label", "ca", "--pin", "1234", "--so-pin", "12345678"])
        .env("SOFTHSM2_CONF", authority.path("softhsm2.conf"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
}

fn new_issuer(authority: &AuthoritySide, name: &str, more: &[&str]) -> Run {
    let subject = format!("CN=Issuing {name},O=Example");
    let label = format!("issuing-{name}");
    let token = ["--token", "ca", "--key-label", &label, "--pin-file", "pin", "--subject", &subject];
    run(authority, &[&["issuer", "new", name, "--module", library()], &token[..], more].concat())
}

/// Changes the configuration, and serves it.
fn reconfigure(authority: &mut AuthoritySide, change: impl FnOnce(String) -> String) {
    let path = authority.path("authority.toml");
    let changed = change(fs::read_to_string(&path).unwrap());
    fs::write(path, changed).unwrap();
    authority.restart();
}

/// A certificate for a new key of the device, with its chain, by this issuer.
fn enroll(device: &DeviceSide, authority: &AuthoritySide, key: &str) -> Vec<CertView> {
    let out = format!("{key}.pem");
    let made = device.run(authority, &["enroll", "key", key, "--out", &out, "--state", "enroll"]);
    assert_eq!(made.code, 0, "{made:?}");
    let blocks = pem::read(&fs::read(device.path(&out)).unwrap()).unwrap();
    blocks.iter().map(|block| CertView::parse(block.contents()).unwrap()).collect()
}

fn states(authority: &AuthoritySide) -> Vec<(String, String)> {
    let listed = run(authority, &["issuers", "--json"]).json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    listed.as_array().unwrap().iter().map(|of| (text(&of["name"]), text(&of["state"]))).collect()
}

fn named(states: &[(&str, &str)]) -> Vec<(String, String)> {
    states.iter().map(|(name, state)| ((*name).to_owned(), (*state).to_owned())).collect()
}

fn openssl(authority: &AuthoritySide, arguments: &[&str]) {
    let run = Command::new("openssl").args(arguments).current_dir(authority.folder.path()).output().unwrap();
    assert!(run.status.success(), "{run:?}");
}

#[test]
fn an_issuer_that_a_token_makes_takes_over_from_the_last() {
    let device = DeviceSide::start();
    let mut authority = AuthoritySide::start_with(PROFILES, "enroll,issue", &[&device.swtpm], |_| {});
    make_token(&authority);
    let enrolled = device.run(&authority, &["enroll", "ak", "--device", "node-1", "--state", "enroll"]);
    assert_eq!(enrolled.code, 0, "{enrolled:?}");
    assert_eq!(enroll(&device, &authority, "first")[0].issuer().to_display(), "CN=Vouchsafe Issuing CA");

    // Nothing is made where something is there already, or is missing.
    let refused = new_issuer(&authority, "2027", &["--out", "2027.pem"]);
    assert!(refused.code == 2 && refused.stderr.contains("not exactly one public key"), "{refused:?}");
    let made = new_issuer(&authority, "2027", &["--generate", "p256", "--out", "2027.pem", "--follows", "issuing"]);
    assert_eq!(made.code, 0, "{made:?}");
    let again = new_issuer(&authority, "2027", &["--generate", "p256", "--out", "again.pem"]);
    assert!(again.code == 2 && again.stderr.contains("already"), "{again:?}");
    let over = new_issuer(&authority, "2027", &["--out", "2027.pem"]);
    assert!(over.code == 2 && over.stderr.contains("is there already"), "{over:?}");
    let root = authority.path("state/ca/issuing-root.crt");
    assert!(openssl_accepts(&authority.path("2027.pem"), &root, &["-x509_strict", "-purpose", "any"]));
    let certificate = pem::read(&fs::read(authority.path("2027.pem")).unwrap()).unwrap();
    assert_eq!(CertView::parse(certificate[0].contents()).unwrap().subject().to_display(), "CN=Issuing 2027,O=Example");

    // Announced, then in use.
    reconfigure(&mut authority, |config| config + &made.stdout);
    assert_eq!(states(&authority), named(&[("issuing", "active"), ("2027", "announced")]));
    reconfigure(&mut authority, |config| config.replace("issuer = \"issuing\"", "issuer = \"2027\""));
    assert_eq!(states(&authority), named(&[("issuing", "overlap"), ("2027", "active")]));
    let chain = enroll(&device, &authority, "second");
    assert_eq!(chain[0].issuer().to_display(), "CN=Issuing 2027,O=Example");
    assert_eq!(chain[1].as_der(), certificate[0].contents());
    assert!(openssl_accepts(&device.path("second.pem"), &root, &["-x509_strict"]));

    // The next is under a root elsewhere, which openssl is.
    let asked = new_issuer(&authority, "2028", &["--generate", "p384", "--csr", "2028.csr", "--follows", "2027"]);
    assert_eq!(asked.code, 0, "{asked:?}");
    let subject = ["-subj", "/CN=Offline Root", "-addext", "keyUsage=critical,keyCertSign,cRLSign"];
    let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384", "-nodes", "-keyout", "root.key"];
    openssl(&authority, &[&["req", "-x509", "-days", "30", "-out", "root.pem"], &subject[..], &curve].concat());
    let signed = ["-in", "2028.csr", "-CA", "root.pem", "-CAkey", "root.key", "-days", "20", "-out", "2028.crt"];
    openssl(
        &authority,
        &[&["x509", "-req", "-copy_extensions", "copyall", "-set_serial", "0x5a5a5a5a5a5a5a5a"], &signed[..]].concat(),
    );
    let read = |name: &str| fs::read_to_string(authority.path(name)).unwrap();
    fs::write(authority.path("2028.pem"), read("2028.crt") + &read("root.pem")).unwrap();
    reconfigure(&mut authority, |config| config.replace("issuer = \"2027\"", "issuer = \"2028\"") + &asked.stdout);
    assert_eq!(states(&authority), named(&[("issuing", "overlap"), ("2027", "overlap"), ("2028", "active")]));
    let chain = enroll(&device, &authority, "third");
    assert_eq!(chain[0].issuer().to_display(), "CN=Issuing 2028,O=Example");
    assert!(openssl_accepts(&device.path("third.pem"), &authority.path("root.pem"), &["-x509_strict"]));

    // The table, and the alarm: of the last issuer there are 20 days left.
    let shown = run(&authority, &["issuers"]);
    assert_eq!(shown.code, 0, "{shown:?}");
    assert!(shown.stdout.lines().all(|line| line.chars().count() <= 80), "{}", shown.stdout);
    for text in ["ISSUER", "2028", "active", "key \"issuing-2028\" in token \"ca\"", "a file: for labs", "follows"] {
        assert!(shown.stdout.contains(text), "{text}: {}", shown.stdout);
    }
    assert_eq!(run(&authority, &["issuers", "--expiring", "10"]).code, 0);
    assert_eq!(run(&authority, &["issuers", "--expiring", "30"]).code, 1);
}

#[test]
fn roots_are_linked_both_ways() {
    let authority = AuthoritySide::start_with("", "enroll,issue", &[], |_| {});
    let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "new.key"];
    let subject = ["-subj", "/CN=New Root", "-addext", "keyUsage=critical,keyCertSign,cRLSign"];
    openssl(&authority, &[&["req", "-x509", "-days", "3000", "-out", "new.pem"], &subject[..], &curve].concat());
    let own = |extension: &str| authority.path(&format!("state/ca/issuing-root.{extension}")).display().to_string();
    let link = |new: (&str, &str), out: &str| {
        let old = ["--old-root", &own("crt"), "--old-key", &own("key")].map(str::to_owned);
        let new = ["--new-root", new.0, "--new-key", new.1, "--out", out].map(str::to_owned);
        let mut program = command();
        program.args(["authority", "issuer", "link"]).args(old).args(new).current_dir(authority.folder.path());
        Run::from(program.output().unwrap())
    };
    let made = link(("new.pem", "new.key"), "links.pem");
    assert_eq!(made.code, 0, "{made:?}");
    // Who trusts one root accepts the other by a link.
    for (trusted, other) in
        [(authority.path("state/ca/issuing-root.crt"), "new.pem"), (authority.path("new.pem"), "old")]
    {
        let links = pem::read(&fs::read(authority.path("links.pem")).unwrap()).unwrap();
        let wanted = if other == "old" { "CN=Vouchsafe Issuing Root" } else { "CN=New Root" };
        let found =
            links.iter().find(|block| CertView::parse(block.contents()).unwrap().subject().to_display() == wanted);
        fs::write(authority.path("link.pem"), pem::encode("CERTIFICATE", found.unwrap().contents())).unwrap();
        assert!(openssl_accepts(&authority.path("link.pem"), &trusted, &["-x509_strict"]), "{other}");
    }
    let same = link((&own("crt"), &own("key")), "none.pem");
    assert!(same.code == 2 && same.stderr.contains("nothing to link"), "{same:?}");
    let wrong = link(("new.pem", &own("key")), "none.pem");
    assert!(wrong.code == 2 && wrong.stderr.contains("another key"), "{wrong:?}");
    assert!(!authority.path("none.pem").exists());
}
