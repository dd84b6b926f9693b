//! A key of a TPM certified by CMP, with a client that was not written here: `openssl cmp`, which knows of no nonces.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use crate::environment::{AuthoritySide, DeviceSide, openssl_accepts};
use crate::est::{PROFILES, false_request, leaf, spki};

const SECRET: &str = "what nobody else has been told";

/// The account gets a secret, before the authority is served.
fn share_secret(authority: &AuthoritySide) {
    let secret = authority.path("cmp.secret");
    fs::write(&secret, SECRET).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    // The account's table is the last of the file.
    let mut config = fs::OpenOptions::new().append(true).open(authority.path("authority.toml")).unwrap();
    writeln!(config, "\ncmp_reference = \"lab-7\"\ncmp_secret = \"{}\"", secret.display()).unwrap();
}

fn openssl_cmp(device: &DeviceSide, authority: &AuthoritySide, csr: &str) -> Output {
    Command::new("openssl")
        .args(["cmp", "-cmd", "p10cr", "-csr", csr, "-certout", "web.pem", "-chainout", "chain.pem"])
        .args(["-server", &format!("{}/.well-known/cmp", authority.url), "-tls_used", "-tls_trusted"])
        .arg(authority.tls_root())
        .arg("-trusted")
        .arg(authority.path("state/ca/issuing-root.crt"))
        .args(["-recipient", "/CN=ca", "-ref", "lab-7", "-secret"])
        .arg(format!("file:{}", authority.path("cmp.secret").display()))
        .current_dir(device.folder.path())
        .output()
        .unwrap()
}

#[test]
fn openssl_enrolls_a_key_of_the_tpm() {
    let device = DeviceSide::start();
    let authority = AuthoritySide::start_with(PROFILES, "enroll,issue", &[&device.swtpm], share_secret);
    let run = |arguments: &[&str]| device.run(&authority, arguments);
    let enrolled = run(&["enroll", "ak", "--device", "node-1", "--state", "enroll"]);
    assert_eq!(enrolled.code, 0, "{enrolled:?}");
    for name in ["web", "other"] {
        assert_eq!(run(&["key", "create", name]).code, 0);
    }
    assert_eq!(run(&["csr", "web", "--out", "web.csr"]).code, 0);
    let made = openssl_cmp(&device, &authority, "web.csr");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let issued = leaf(&device, "web.pem");
    assert_eq!(issued.subject().to_display(), "CN=node-1");
    assert!(issued.spki().same_key(&spki(&device, &authority, "web")));
    let chain = [fs::read(device.path("web.pem")).unwrap(), fs::read(device.path("chain.pem")).unwrap()].concat();
    fs::write(device.path("whole.pem"), chain).unwrap();
    let root = authority.path("state/ca/issuing-root.crt");
    assert!(openssl_accepts(&device.path("whole.pem"), &root, &["-x509_strict"]));

    fs::remove_file(device.path("web.pem")).unwrap();
    fs::write(device.path("false.csr"), false_request(&device, &authority, "web", "other", None)).unwrap();
    let refused = openssl_cmp(&device, &authority, "false.csr");
    assert!(!refused.status.success() && !device.path("web.pem").exists(), "{refused:?}");
    let told = [refused.stdout, refused.stderr].concat();
    assert!(String::from_utf8_lossy(&told).contains("bind."), "{}", String::from_utf8_lossy(&told));
}
