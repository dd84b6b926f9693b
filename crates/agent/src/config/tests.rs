use std::path::{Path, PathBuf};

use super::{AdminGroup, Config, ConfigFault};
use crate::grants::{Capability, GrantRule, Grantee};
use crate::provider::{KeyKind, KeyUsage};
use crate::tpm::Address;

fn parse(text: &str) -> Result<Config, ConfigFault> {
    Config::from_toml(text, Path::new("/etc/vouchsafe/agent.toml"))
}

/// What the module's documentation shows.
fn documented() -> String {
    let (_, after) = include_str!("../config.rs").split_once("```toml").unwrap();
    let (example, _) = after.split_once("//! ```").unwrap();
    example.lines().map(|line| line.strip_prefix("//!").unwrap_or(line).to_owned() + "\n").collect()
}

#[test]
fn an_empty_file_has_the_defaults() {
    assert_eq!(parse("").unwrap(), Config::with_defaults());
    assert_eq!(parse("").unwrap().socket.path, PathBuf::from("/run/vouchsafe/agent.sock"));
}

#[test]
fn the_documented_example_is_the_defaults_and_a_grant() {
    let config = parse(&documented()).unwrap();
    let mut expected = Config::with_defaults();
    expected.state = PathBuf::from("/var/lib/vouchsafe/agent");
    expected.socket.group = AdminGroup::Named("vouchsafe".to_owned());
    expected.monitoring = Some(PathBuf::from("/run/vouchsafe-agent/monitoring.sock"));
    expected.grants = vec![GrantRule { grantee: Grantee::User("builder".to_owned()), may: Capability::ALL.to_vec() }];
    assert_eq!(config, expected);
}

#[test]
fn values_are_taken() {
    let config = parse(
        "state = '/s'\n[socket]\nmode = '0660'\ngroup = 'g'\n[limits]\nconnections = 3\nidle_seconds = 9\n\
         [[grants]]\nuid = 7\nmay = ['attest']\n[[grants]]\ngroup = 'ci'\nmay = []\n\
         [providers.tpm]\naddress = 'swtpm:tcp:localhost:2321'\n\
         [providers.tpm.attesting_key]\ndefault = 'site'\nalgorithm = 'ecc-p384'\n\
         [providers.tpm.certify_x509]\nkey_usage = ['digitalSignature', 'nonRepudiation']\n",
    )
    .unwrap();
    assert_eq!(config.state, PathBuf::from("/s"));
    assert_eq!(config.socket.mode, 0o660);
    assert_eq!(config.socket.group, AdminGroup::Named("g".to_owned()));
    assert_eq!(config.limits.connections, 3);
    assert_eq!(config.limits.idle.as_secs(), 9);
    assert_eq!(config.grants[0], GrantRule { grantee: Grantee::Uid(7), may: vec![Capability::Attest] });
    assert_eq!(config.grants[1].grantee, Grantee::Group("ci".to_owned()));
    let tpm = config.tpm.unwrap();
    assert_eq!(tpm.address, Address::SwtpmTcp("localhost:2321".to_owned()));
    assert_eq!(tpm.default_attesting_key, "site");
    assert_eq!(tpm.attesting_key_kind, KeyKind::EcP384);
    let usage = KeyUsage::DIGITAL_SIGNATURE.union(KeyUsage::NON_REPUDIATION);
    assert_eq!(tpm.certify_x509.key_usage, usage);
}

#[test]
fn errors_name_file_key_and_next_step() {
    let cases = [
        ("[socket]\npaht = '/x'", "paht", "correct or remove"),
        ("stat = 'x'", "stat", "correct or remove"),
        ("[providers.tpm]\nadress = 'x'", "adress", "correct or remove"),
        ("state = 'relative'", "state", "absolute path"),
        ("[socket]\nmode = '0999'", "socket.mode", "octal"),
        ("[socket]\nmode = '0066'", "socket.mode", "octal"),
        ("[limits]\nconnections = 0", "limits.connections", "1 or more"),
        ("[limits]\nframe_seconds = -1", "frame_seconds", "correct or remove"),
        ("[[grants]]\nmay = ['attest']", "grants", "exactly one"),
        ("[[grants]]\nuid = 1\nuser = 'a'\nmay = []", "grants", "exactly one"),
        ("[[grants]]\nuid = 1\nmay = ['everything']", "grants.may", "activate-credential"),
        ("[providers.tpm]\naddress = '/dev/tpm0'", "providers.tpm.address", "device:/PATH"),
        ("[providers.tpm.attesting_key]\nalgorithm = 'rsa-1024'", "algorithm", "rsa-2048"),
        ("[providers.tpm.certify_x509]\nvalidity_hours = 0", "validity_hours", "87840"),
        ("[providers.tpm.certify_x509]\nkey_usage = ['keyCertSign']", "key_usage", "RFC 5280"),
        ("[providers.tpm.certify_x509]\nsubject = '{key}'", "certify_x509.subject", "RFC 4514"),
        ("[providers.tpm.certify_x509]\nsan = ['host']", "certify_x509.san", "dns:"),
        ("[providers.tpm.certify_x509]\nkey_usage = []", "key_usage", "RFC 5280"),
    ];
    for (text, key, next_step) in cases {
        let message = parse(text).unwrap_err().to_string();
        assert!(message.starts_with("/etc/vouchsafe/agent.toml: "), "{message}");
        assert!(message.contains(key) && message.contains(next_step), "{text}: {message}");
    }
}

#[test]
fn a_missing_file_says_so() {
    let error = Config::load(Path::new("/nonexistent/agent.toml")).unwrap_err().to_string();
    assert!(error.starts_with("/nonexistent/agent.toml: ") && error.contains("--config"), "{error}");
}
