use std::path::{Path, PathBuf};

use super::{AdminGroup, Config, ConfigFault, ModuleConfig, TpmConfig};
use crate::grants::{AttestingKeyScope, Capability, GrantRule, Grantee};
use crate::provider::pkcs11::TokenName;
use crate::provider::{KeyKind, KeyUsage, MechanismName};
use crate::tpm::Address;

fn parse(text: &str) -> Result<Config, ConfigFault> {
    Config::from_toml(text, Path::new("/etc/vouchsafe/agent.toml"))
}

fn first_tpm(config: &Config) -> &TpmConfig {
    let tpm = config.providers.iter().find_map(|provider| match &provider.module {
        ModuleConfig::Tpm(tpm) => Some(tpm),
        ModuleConfig::Pkcs11(_) => None,
    });
    tpm.unwrap()
}

/// The examples that the module's documentation shows.
fn documented(number: usize) -> String {
    let after = include_str!("../config.rs").split("```toml").nth(number).unwrap();
    let (example, _) = after.split_once("//! ```").unwrap();
    example.lines().map(|line| line.strip_prefix("//!").unwrap_or(line).to_owned() + "\n").collect()
}

#[test]
fn an_empty_file_has_the_defaults() {
    assert_eq!(parse("").unwrap(), Config::with_defaults());
    assert_eq!(parse("").unwrap().socket.path, PathBuf::from("/run/vouchsafe/agent.sock"));
}

#[test]
fn the_documented_example_is_the_defaults_and_grants() {
    let config = parse(&documented(1)).unwrap();
    let mut expected = Config::with_defaults();
    expected.state = PathBuf::from("/var/lib/vouchsafe/agent");
    expected.socket.group = AdminGroup::Named("vouchsafe".to_owned());
    expected.monitoring = Some(PathBuf::from("/run/vouchsafe-agent/monitoring.sock"));
    expected.grants = vec![
        GrantRule::new(Grantee::User("builder".to_owned()), Capability::ALL.to_vec()),
        GrantRule {
            attesting_keys: AttestingKeyScope::Only(vec!["default".to_owned()]),
            keys: vec!["unix:0/tls".parse().unwrap()],
            ..GrantRule::new(Grantee::Group("web".to_owned()), vec![Capability::Attest])
        },
    ];
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
    assert_eq!(config.grants[0], GrantRule::new(Grantee::Uid(7), vec![Capability::Attest]));
    assert_eq!(config.grants[1].grantee, Grantee::Group("ci".to_owned()));
    let tpm = first_tpm(&config);
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
        ("[authenticators]\njwt = true", "jwt", "correct or remove"),
        ("[mechanisms]\nenable = ['pkix-evidense']", "mechanisms.enable", "pkix-evidence"),
        ("[mechanisms]\nenable = ['tpm-certify']", "mechanisms.enable", "always served"),
        ("[[grants]]\nuid = 1\nmay = ['use']", "grants.keys", "unix:0/NAME"),
        ("[[grants]]\nuid = 1\nmay = ['attest']\nkeys = ['unix:0/a']", "grants.keys", "\"use\" in may"),
        ("[[grants]]\nuid = 1\nmay = ['use']\nkeys = ['a']", "grants.keys", "unix:UID/NAME"),
        ("[[grants]]\nuid = 1\nmay = ['use']\nkeys = ['unix:0/tmp/a']", "grants.keys", "configured provider"),
        ("[[grants]]\nuid = 1\nmay = ['attest']\nattesting_keys = []", "grants.attesting_keys", "leave it out"),
        ("[[grants]]\nuid = 1\nmay = []\nattesting_keys = ['a']", "grants.attesting_keys", "attest-platform"),
        ("[providers.hsm]\naddress = 'x'", "providers.hsm.kind", "kind = \"tpm\""),
        ("[providers.hsm]\nkind = 'hsm'", "providers.hsm.kind", "kind = \"tpm\""),
        ("[providers.tpm]\nkind = 'pkcs11'", "providers.tpm.kind", "of these kinds"),
        ("[providers.core]\nkind = 'tpm'", "providers.core", "not core"),
        ("[providers.HSM]\nkind = 'tpm'", "providers.HSM", "letter of a-z"),
        ("[providers]\ntpm = 'device:/dev/tpmrm0'", "providers.tpm", "write a table"),
        ("[providers.tpm]\nmodule = '/x.so'", "providers.tpm: ", "module"),
        ("[providers.pkcs11]\nmodule = '/x.so'\ntoken = 'a'", "providers.pkcs11: ", "pin_file"),
        ("[providers.pkcs11]\nmodule = '/x.so'\npin_file = '/p'", "providers.pkcs11.token", "exactly one"),
        (
            "[providers.pkcs11]\nmodule = '/x.so'\npin_file = '/p'\ntoken = 'a'\nserial = 'b'",
            "providers.pkcs11.token",
            "exactly one",
        ),
        ("[providers.pkcs11]\nmodule = 'x.so'\npin_file = '/p'\ntoken = 'a'", "providers.pkcs11.module", "absolute"),
        (
            "[providers.pkcs11]\nmodule = '/x.so'\npin_file = '/p'\ntoken = 'a'\nattesting_token = 'b'",
            "providers.pkcs11.attesting_token",
            "both",
        ),
        (
            "[providers.tpm]\naddress = 'device:/a'\n[providers.b]\nkind = 'tpm'\naddress = 'device:/a'",
            "providers.b",
            "each module once",
        ),
        (
            "[providers.tpm]\naddress = 'device:/dev/tpm0'\n[providers.b]\nkind = 'tpm'\naddress = 'device:/dev/tpmrm0'",
            "providers.b",
            "each module once",
        ),
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

#[test]
fn a_file_that_anyone_may_write_grants_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("agent.toml");
    std::fs::write(&file, "[[grants]]\nuid = 1\nmay = ['attest']\n").unwrap();
    for (mode, is_read) in [(0o600, true), (0o644, true), (0o664, true), (0o666, false), (0o602, false)] {
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        match Config::load(&file) {
            Ok(config) => assert!(is_read && config.grants.len() == 1, "{mode:o}"),
            Err(fault) => assert!(!is_read && fault.to_string().contains("chmod"), "{mode:o}: {fault}"),
        }
    }
}

/// Two TPMs and two tokens, a token first.
const FOUR: &str = "
    [providers.card]
    kind = 'pkcs11'
    module = '/usr/lib/one.so'
    serial = '0123'
    pin_file = '/etc/card.pin'
    attesting_token = 'attester'
    attesting_pin_file = '/etc/attester.pin'
    [providers.second]
    kind = 'tpm'
    address = 'device:/dev/tpmrm1'
    [providers.tpm]
    [providers.another]
    kind = 'pkcs11'
    module = '/usr/lib/one.so'
    token = 'other'
    pin_file = '/etc/other.pin'
";

fn served(text: &str) -> Vec<(String, u8)> {
    let config = parse(text).unwrap();
    let served = config.served_providers();
    assert!(served.iter().all(|(identity, provider)| identity.name == provider.name));
    served.into_iter().map(|(identity, _)| (identity.name.to_string(), identity.id.0)).collect()
}

#[test]
fn the_order_of_the_file_says_which_provider_is_the_first_of_its_kind() {
    let named = |served: [(&str, u8); 4]| served.map(|(name, id)| (name.to_owned(), id)).to_vec();
    // Tokens attest by an experimental mechanism alone, and who does not attest is not the default.
    assert_eq!(served(FOUR), named([("second", 3), ("tpm", 0x80), ("card", 2), ("another", 0x81)]));
    let enabled = format!("[mechanisms]\nenable = ['pkix-evidence']\n{FOUR}");
    assert_eq!(served(&enabled), named([("card", 2), ("second", 3), ("tpm", 0x80), ("another", 0x81)]));
    assert_eq!(parse(&enabled).unwrap().enabled_mechanisms, [MechanismName::PkixEvidence]);
    assert_eq!(served(""), [("tpm".to_owned(), 3)]);
    assert_eq!(served("[providers]"), [("tpm".to_owned(), 3)]);
}

#[test]
fn a_token_has_its_values() {
    let config = parse(FOUR).unwrap();
    let ModuleConfig::Pkcs11(card) = &config.providers[0].module else { panic!("{config:?}") };
    assert_eq!(card.token, TokenName::Serial("0123".to_owned()));
    assert_eq!(card.pin_file, PathBuf::from("/etc/card.pin"));
    let attester = (TokenName::Label("attester".to_owned()), PathBuf::from("/etc/attester.pin"));
    assert_eq!(card.attesting_token, Some(attester));
    assert_eq!((card.default_attesting_key.as_str(), card.attesting_key_kind), ("default", KeyKind::EcP256));
    let documented = parse(&documented(2)).unwrap();
    let ModuleConfig::Pkcs11(hsm) = &documented.providers[0].module else { panic!("{documented:?}") };
    assert_eq!(hsm.token, TokenName::Label("LABEL".to_owned()));
    assert_eq!(documented.providers.len(), 1);
}

#[test]
fn direct_is_off_unless_it_is_on() {
    assert!(!parse("").unwrap().authenticators.direct);
    assert!(parse("[authenticators]\ndirect = true").unwrap().authenticators.direct);
}

#[test]
fn a_tpm_named_on_the_command_line_takes_the_first_ones_place() {
    let address: Address = "device:/dev/other".parse().unwrap();
    let mut config = parse(FOUR).unwrap();
    config.set_tpm_address(address.clone());
    assert_eq!(first_tpm(&config).address, address);
    assert_eq!(config.providers.len(), 4);
    config.providers.retain(|provider| matches!(provider.module, ModuleConfig::Pkcs11(_)));
    config.set_tpm_address(address.clone());
    assert_eq!(first_tpm(&config).address, address);
    assert_eq!(config.providers[0].name.as_str(), "tpm");
}
