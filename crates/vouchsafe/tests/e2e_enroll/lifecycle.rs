//! The life of an attesting key on a software TPM, by the verbs of administrators.

use std::fs;

use vouchsafe_evidence::x509::{CertView, PublicKey, SpkiView};
use vouchsafe_verifier::hex;

use crate::environment::{AuthoritySide, DeviceSide};
use crate::support::{Run, command};

/// Runs a verb of the authority's administrators.
pub fn administer(authority: &AuthoritySide, arguments: &[&str]) -> Run {
    let mut command = command();
    command.arg("authority").args(arguments).arg("--config").arg(authority.path("authority.toml"));
    command.arg("--state").arg(authority.path("state")).output().unwrap().into()
}

#[test]
fn an_administrator_sees_revokes_and_replaces_attesting_keys() {
    let device = DeviceSide::start();
    let other = DeviceSide::start();
    let authority = AuthoritySide::start(&[&device.swtpm, &other.swtpm]);
    let enroll =
        |device: &DeviceSide| device.run(&authority, &["enroll", "ak", "--device", "node-1", "--state", "enroll"]);
    let key = |device: &DeviceSide| {
        device.run(&authority, &["enroll", "key", "web", "--out", "web.pem", "--state", "enroll"])
    };
    assert_eq!(enroll(&device).code, 0);
    assert_eq!(key(&device).code, 0);

    let keys = administer(&authority, &["attesting-keys", "list", "--json"]).json();
    let name = keys[0]["key"].as_str().unwrap().to_owned();
    assert_eq!((&keys[0]["device"], &keys[0]["account"]), (&"node-1".into(), &"lab".into()));
    assert_eq!(
        (&keys[0]["enrolment"]["method"], &keys[0]["enrolment"]["environment"]),
        (&"manufacturer".into(), &"module".into())
    );
    assert_eq!(administer(&authority, &["attesting-keys", "list", "--expiring", "30"]).code, 0);
    let soon = administer(&authority, &["attesting-keys", "list", "--expiring", "120"]);
    assert!(soon.code == 1 && soon.stdout.contains(&name), "{soon:?}");

    let shown = administer(&authority, &["attesting-keys", "show", &name]);
    assert!(shown.code == 0 && shown.stdout.contains("CN=node-1 of account lab"), "{shown:?}");
    let arguments = ["attesting-keys", "revoke", &name, "--by", "alma", "--reason", "key-compromise"];
    let revoked = administer(&authority, &arguments);
    assert!(revoked.code == 0 && revoked.stdout.contains("--revoke-dependents"), "{revoked:?}");
    // The server, which ran all the time, knows.
    fs::remove_file(device.path("web.pem")).unwrap();
    let refused = key(&device);
    assert!(refused.code == 1 && refused.stderr.contains("authority.key-revoked"), "{refused:?}");
    let again = enroll(&device);
    assert!(again.code == 1 && again.stderr.contains("authority.key-revoked"), "{again:?}");

    let all =
        administer(&authority, &["attesting-keys", "revoke", &name, "--by", "alma", "--revoke-dependents", "--json"]);
    assert_eq!(all.json()["dependents"][0]["revoked"], true, "{all:?}");
    for (list, entries) in [("attestation-virtual", 2), ("attestation", 0), ("issuing", 1)] {
        let path = authority.path(&format!("{list}.crl"));
        let made =
            administer(&authority, &["attesting-keys", "revocation-list", list, "--out", path.to_str().unwrap()]);
        assert_eq!(made.code, 0, "{made:?}");
        let arguments = ["crl", "-inform", "DER", "-noout", "-text", "-in"];
        let text = std::process::Command::new("openssl").args(arguments).arg(&path).output().unwrap();
        let text = String::from_utf8(text.stdout).unwrap();
        assert_eq!(text.matches("Serial Number:").count(), entries, "{list}: {text}");
    }

    // Another module takes the device's place with leave alone.
    let early = enroll(&other);
    assert!(early.code == 1 && early.stderr.contains("device-conflict"), "{early:?}");
    let leave = administer(&authority, &["attesting-keys", "replace", "node-1", "--by", "alma"]);
    assert_eq!(leave.code, 0, "{leave:?}");
    assert_eq!(enroll(&other).code, 0);
    let replaced = key(&other);
    assert_eq!(replaced.code, 0, "{replaced:?}");

    // Its certificate is revoked by its serial number, once.
    let arguments = ["x509", "-noout", "-serial", "-in"];
    let serial = std::process::Command::new("openssl").args(arguments).arg(other.path("web.pem")).output().unwrap();
    let serial = String::from_utf8(serial.stdout).unwrap().trim().replace("serial=", "");
    let revoke = |reason| administer(&authority, &["revoke", "--serial", &serial, "--by", "alma", "--reason", reason]);
    let held = revoke("certificate-hold");
    assert!(held.code == 2 && held.stderr.contains("superseded"), "{held:?}");
    let once = revoke("superseded");
    assert!(once.code == 0 && once.stdout.starts_with("1 certificate is revoked"), "{once:?}");
    let twice = revoke("key-compromise");
    assert!(twice.code == 0 && twice.stdout.contains("before"), "{twice:?}");
    // And since others may know its key, the key gets no other.
    fs::remove_file(other.path("web.pem")).unwrap();
    let refused = key(&other);
    assert!(refused.code == 1 && refused.stderr.contains("authority.key-compromised"), "{refused:?}");
}

#[test]
fn an_inventory_is_reported_before_it_counts() {
    let authority = AuthoritySide::start(&[]);
    let list = authority.path("modules.csv");
    let digest = "5a".repeat(32);
    fs::write(&list, format!("device,account,ek_sha256\nnode-1,lab,{digest}\nnode-2,lab,{digest}\n")).unwrap();
    let list = list.to_str().unwrap();
    let refused = administer(&authority, &["inventory", "import", list, "--by", "alma"]);
    assert!(
        refused.code == 1 && refused.stdout.contains("line 3") && refused.stdout.contains("nothing was changed"),
        "{refused:?}"
    );
    fs::write(list, format!("device,account,ek_sha256\nnode-1,lab,{digest}\n")).unwrap();
    let dry = administer(&authority, &["inventory", "import", list, "--by", "alma", "--dry-run"]);
    assert!(dry.code == 0 && dry.stdout.contains("1 added") && dry.stdout.contains("nothing was changed"), "{dry:?}");
    assert_eq!(administer(&authority, &["inventory", "list", "--json"]).json(), serde_json::json!([]));
    let wet = administer(&authority, &["inventory", "import", list, "--by", "alma"]);
    assert!(wet.code == 0 && wet.stdout.contains("brought in"), "{wet:?}");
    let listed = administer(&authority, &["inventory", "list", "--json"]).json();
    assert_eq!((&listed[0]["device"], &listed[0]["approver"]), (&"node-1".into(), &"administrator:alma".into()));
    assert_eq!(administer(&authority, &["inventory", "remove", "node-1", "--by", "alma"]).code, 0);
    assert_eq!(administer(&authority, &["inventory", "remove", "node-1", "--by", "alma"]).code, 1);
    assert!(administer(&authority, &["inventory", "import", "nowhere.csv", "--by", "alma"]).is_usage_error());
}

/// An authority under this policy, whose account may enroll by every method, and nobody's maker trusted.
pub fn open_authority(policy: &str) -> AuthoritySide {
    let settings = format!("policy = '{policy}'\n[enrolment]\nfirst_use = true\n");
    AuthoritySide::start_with(&settings, "enroll,issue", &[], |authority| {
        let path = authority.path("authority.toml");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, format!("{text}enroll_methods = ['manufacturer', 'inventory', 'ceremony', 'first-use']\n"))
            .unwrap();
    })
}

#[test]
fn a_tpm_is_enrolled_by_the_inventory_and_by_first_use_and_renews_on_its_own_word() {
    let device = DeviceSide::start();
    let authority = open_authority("lab");
    let enroll = |name: &str, method: &str| {
        device.run(&authority, &["enroll", "ak", "--device", name, "--method", method, "--state", "enroll"])
    };
    let refused = enroll("node-1", "manufacturer");
    assert!(refused.code == 1 && refused.stderr.contains("trust.no-anchor"), "{refused:?}");
    let unlisted = enroll("node-1", "inventory");
    assert!(unlisted.code == 1 && unlisted.stderr.contains("authority.not-listed"), "{unlisted:?}");
    let described = device.client().describe_endorsement("").unwrap();
    let ek = CertView::parse_padded(&described.certificates[0]).unwrap();
    let plain = match ek.spki().key() {
        PublicKey::Rsa { modulus, exponent, .. } => SpkiView::from_rsa(modulus, exponent).unwrap(),
        _ => ek.spki().clone(),
    };
    let list = authority.path("modules.csv");
    fs::write(&list, format!("device,account,ek_sha256\nnode-1,lab,{}\n", hex::encode(&plain.sha256()))).unwrap();
    assert_eq!(administer(&authority, &["inventory", "import", list.to_str().unwrap(), "--by", "alma"]).code, 0);
    let listed = enroll("node-1", "inventory");
    assert_eq!(listed.code, 0, "{listed:?}");
    let key = device.run(&authority, &["enroll", "key", "web", "--platform", "--out", "web.pem", "--state", "enroll"]);
    assert_eq!(key.code, 0, "{key:?}");

    let expiry = || administer(&authority, &["attesting-keys", "list", "--json"]).json()[0]["expires"].clone();
    let before = expiry();
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    let renewed = device.run(&authority, &["enroll", "renewal", "--device", "node-1"]);
    assert_eq!(renewed.code, 0, "{renewed:?}");
    assert_ne!(expiry(), before);
    let other = device.run(&authority, &["enroll", "renewal", "--device", "node-2"]);
    assert!(other.code == 1 && other.stderr.contains("authority.key-not-enrolled"), "{other:?}");
    // The module has a name; another one it does not get by being first.
    let second = enroll("node-2", "first-use");
    assert!(second.code == 1 && second.stderr.contains("endorsement-key-conflict"), "{second:?}");
    let again = enroll("node-1", "first-use");
    assert_eq!(again.code, 0, "{again:?}");
    let arguments = ["enroll", "ak", "--device", "node-1", "--method", "ceremony", "--transcript", "x"];
    let misused = device.run(&authority, &arguments);
    assert!(misused.is_usage_error() || misused.code == 2, "{misused:?}");
}
