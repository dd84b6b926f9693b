//! Attacks on the device side, carried out on a software TPM and refused: by a local user, by whoever has raw access to the TPM, by
//! whoever has a copy of the agent's state.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::disallowed_methods, missing_docs)]

#[path = "support/device.rs"]
mod device;
#[path = "support/service.rs"]
mod support;
#[path = "support/tpm.rs"]
mod tpm;

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use device::Device;
use support::{ecdsa, p256};
use tpm::{Proxy, code, swtpm};
use vouchsafe_agent::Agent;
use vouchsafe_agent::client::{Client, ClientFault, Endpoint};
use vouchsafe_agent::config::{CertifyX509Config, Config};
use vouchsafe_agent::grants::{AttestingKeyScope, Capability, GrantRule, Grantee};
use vouchsafe_agent::provider::Fault;
use vouchsafe_agent::provider::tpm::{Settings, TpmProvider};
use vouchsafe_agent::provider_identity::{ProviderIdentity, ProviderKind};
use vouchsafe_agent::service::ProviderSlot;
use vouchsafe_agent::tpm::{AuthValue, Blamed, Object, SignScheme, Tpm};
use vouchsafe_agent::wire::header::{AuthType, RequestHeader};
use vouchsafe_agent::wire::message::{
    self, EccPublicKey, ImportAttestingKeyOperation, KeyMechanism, KeyTypeVariant, PlatformMechanism, TpmCertifyX509,
    TpmQuote, UsageFlags, ecc_family, hash,
};
use vouchsafe_agent::wire::{Opcode, ProviderId, Route, Status};
use vouchsafe_evidence::statement::TpmCertify;
use vouchsafe_evidence::tpm::template::{AK_ATTRIBUTES, SigningKey, signing_key};
use vouchsafe_evidence::tpm::{HashAlg, PcrBank, PcrSelection, TpmtPublic};

const NONCE: [u8; 32] = [0x2A; 32];

fn certify() -> KeyMechanism {
    KeyMechanism::TpmCertify(message::TpmCertify {})
}

fn quote() -> PlatformMechanism {
    PlatformMechanism::TpmQuote(TpmQuote { bank: String::new(), indices: vec![0] })
}

/// TPM_RC_AUTH_FAIL or TPM_RC_BAD_AUTH about a session.
fn is_refused_for_auth(outcome: Result<impl Sized, Fault>) -> bool {
    matches!(outcome, Err(Fault::Tpm { code, .. })
        if matches!(code.format_one(), Some((0x0E | 0x22, Blamed::Session(_)))))
}

/// The persistent attesting keys of the agent, as somebody sees them who has the TPM alone.
fn attesting_keys(tpm: &mut Tpm) -> Vec<(u32, TpmtPublic)> {
    let handles = tpm.handles(0x8101_8000).unwrap();
    let keys: Vec<_> = handles.into_iter().filter(|handle| *handle < 0x8101_8100).collect();
    keys.into_iter().map(|handle| (handle, tpm.read_public(handle).unwrap())).collect()
}

/// A29: raw access to the TPM is not enough to attest with the machine's key.
#[test]
fn an_attesting_key_is_of_no_use_without_its_auth_value() {
    let mut device = Device::start();
    device.client().attest_platform("", &NONCE, quote()).unwrap();
    device.stop_agent();
    let mut tpm = device.tpm.connect().unwrap();
    let (root, _) = tpm::salted(&mut tpm);
    let keys = attesting_keys(&mut tpm);
    let [(handle, public)] = keys.as_slice() else { panic!("{} attesting keys", keys.len()) };
    let selection = PcrSelection::new(vec![PcrBank::new(HashAlg::Sha256, &[0]).unwrap()]);
    for auth in [AuthValue::empty(), AuthValue::new(b"default"), AuthValue::new(&[1; 32])] {
        let attesting = Object::persistent(*handle, public, auth);
        // Three guesses and the TPM lets nobody guess any more; the last ones stay for the agent to find.
        tpm.dictionary_attack_lock_reset().unwrap();
        assert!(is_refused_for_auth(tpm.quote(&attesting, &NONCE, &selection)));
        assert!(is_refused_for_auth(tpm.certify(&root, &attesting, &NONCE, SignScheme::KeysOwn)));
        assert!(is_refused_for_auth(tpm.certify_x509(&root, &attesting, SignScheme::KeysOwn, &[0x30, 0])));
    }
    // Those who failed at it have not locked the agent out.
    drop(tpm);
    device.agent = Some(Agent::start(device.config.clone()).unwrap());
    device.client().attest_platform("", &NONCE, quote()).unwrap();
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    std::fs::set_permissions(to, std::fs::Permissions::from_mode(0o700)).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// The agent's state on another machine: its keys do not work there, and that machine's attesting key is another.
#[test]
fn a_copied_database_is_of_no_use_without_the_tpm() {
    let (mut victim, mut thief) = (Device::start(), Device::start());
    victim.client().generate_key("k", p256()).unwrap();
    victim.client().create_attesting_key("mine", "", false).unwrap();
    let machine = victim.client().list_attesting_keys().unwrap();
    victim.stop_agent();
    thief.stop_agent();
    thief.config.state = thief.directory.path().join("stolen");
    copy(&victim.config.state, &thief.config.state);
    thief.agent = Some(Agent::start(thief.config.clone()).unwrap());
    let mut client = thief.client();
    assert_eq!(client.list_keys().unwrap().len(), 1);
    let lost = client.sign_hash("k", ecdsa(hash::SHA_256), &[7; 32]).unwrap_err();
    assert_eq!(lost.status(), Some(Status::PsaErrorDoesNotExist));
    for attesting in ["", "mine"] {
        let lost = client.attest_key("k", attesting, &NONCE, certify()).unwrap_err();
        assert_eq!(lost.code(), Some("agent.key-lost"), "{attesting:?}: {lost}");
    }
    client.generate_key("own", p256()).unwrap();
    let lost = client.attest_key("own", "mine", &NONCE, certify()).unwrap_err();
    assert_eq!(lost.code(), Some("agent.key-lost"));
    let here = client.list_attesting_keys().unwrap();
    let public = |keys: &[vouchsafe_agent::wire::message::AttestingKeyInfo]| {
        keys.iter().find(|key| key.is_default).unwrap().public.clone()
    };
    assert_ne!(public(&here), public(&machine));
    // The victim, meanwhile, has lost nothing.
    victim.agent = Some(Agent::start(victim.config.clone()).unwrap());
    let mut client = victim.client();
    client.sign_hash("k", ecdsa(hash::SHA_256), &[7; 32]).unwrap();
    client.attest_key("k", "mine", &NONCE, certify()).unwrap();
}

/// A25: credentials that cannot be opened, by a client again and again. One error for all, and the TPM is not taken for dead.
#[test]
fn false_credentials_do_not_keep_the_agent_healing() {
    const STARTUP: u32 = 0x144;
    const ACTIVATE: u32 = 0x147;
    let swtpm = swtpm();
    let proxy = Arc::new(Proxy::before(&swtpm));
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::with_defaults();
    config.state = folder.path().join("state");
    config.socket.path = folder.path().join("s");
    let shared = proxy.clone();
    let identity = ProviderIdentity::assign(&[("tpm".parse().unwrap(), ProviderKind::Tpm)]).remove(0);
    let slot = ProviderSlot::new(identity, "default", CertifyX509Config::default(), move |store| {
        TpmProvider::over(Box::new(shared.connection()), Settings::default(), store)
    });
    let agent = Agent::start_with(config.clone(), vec![slot]).unwrap();
    let mut client = support::client(&config.socket.path);
    client.generate_key("k", p256()).unwrap();
    client.describe_endorsement("").unwrap();
    let answers = Arc::new(Mutex::new(Vec::new()));
    let log = answers.clone();
    proxy.interfere(move |command, response| {
        log.lock().unwrap().push((code(command), response[6..10].to_vec()));
        response
    });
    let sized =
        |octets: usize, value: u8| [&u16::try_from(octets).unwrap().to_be_bytes()[..], &vec![value; octets]].concat();
    // TPM2B_ID_OBJECT of an HMAC and an encrypted identity; secrets for an RSA key and for an elliptic curve.
    let credential = [&[0, 68][..], &sized(32, 1), &[9; 34]].concat();
    let point = [&[0, 68][..], &sized(32, 1), &sized(32, 2)].concat();
    for (credential, secret) in [
        (credential.clone(), sized(256, 1)),
        (credential.clone(), sized(256, 0xFF)),
        (credential.clone(), point),
        (credential, sized(0, 0)),
        (sized(0, 0), sized(256, 1)),
        (Vec::new(), Vec::new()),
        (vec![7; 5000], vec![7; 5000]),
    ] {
        for _ in 0..3 {
            let fault = client.activate_credential("", &credential, &secret).unwrap_err();
            assert_eq!(fault.code(), Some("agent.activation-refused"), "{fault}");
            assert_eq!(fault.status(), Some(Status::PsaErrorNotPermitted));
            client.sign_hash("k", ecdsa(hash::SHA_256), &[7; 32]).unwrap();
        }
    }
    let answers = answers.lock().unwrap();
    let of = |command: u32| answers.iter().filter(move |(code, _)| *code == command);
    assert!(of(ACTIVATE).any(|(_, answer)| *answer == [0, 0, 1, 1]), "no failure of OAEP: {answers:x?}");
    assert_eq!(of(STARTUP).count(), 0, "the TPM was opened anew");
    drop(agent);
}

/// What a user without grants gets of the machine's identity, run by the test below as another user.
#[test]
#[ignore = "run as another user by the test of grants"]
fn as_another_user() {
    let socket = std::env::var("VOUCHSAFE_TEST_SOCKET").expect("set by the test that runs this one");
    let mut client = Client::connect(&Endpoint::at(socket.as_ref())).unwrap();
    client.generate_key("k", p256()).unwrap();
    client.sign_hash("k", ecdsa(hash::SHA_256), &[7; 32]).unwrap();
    let x509 = || KeyMechanism::TpmCertifyX509(TpmCertifyX509::default());
    let outcomes: Vec<(&str, Result<(), ClientFault>)> = vec![
        ("certify", client.attest_key("k", "", &NONCE, certify()).map(drop)),
        ("certify by name", client.attest_key("k", "default", &NONCE, certify()).map(drop)),
        ("certify by X.509", client.attest_key("k", "", &NONCE, x509()).map(drop)),
        ("quote", client.attest_platform("", &NONCE, quote()).map(drop)),
        ("describe", client.describe_endorsement("").map(drop)),
        ("activate", client.activate_credential("", &[0, 0], &[0, 0]).map(drop)),
        ("install", client.install_certificates("", Vec::new())),
        ("make for the machine", client.create_attesting_key("x", "", true).map(drop)),
        ("make a pseudonym", client.create_pseudonym("x", "").map(drop)),
    ];
    for (what, outcome) in outcomes {
        let fault = outcome.expect_err(what);
        assert_eq!(fault.code(), Some("agent.grant-missing"), "{what}: {fault}");
        assert_eq!(fault.status(), Some(Status::PsaErrorNotPermitted), "{what}");
    }
    // An attesting key of its own attests its key, in nobody else's name; but no platform.
    client.create_attesting_key("mine", "", false).unwrap();
    let attestation = client.attest_key("k", "mine", &NONCE, certify()).unwrap();
    assert!(attestation.certificates.is_empty());
    let fault = client.attest_platform("mine", &NONCE, quote()).unwrap_err();
    assert_eq!(fault.code(), Some("agent.grant-missing"));
    assert!(client.list_attesting_keys().unwrap().iter().all(|key| key.is_own));
}

/// What a user gets whose grants are those of the scenario, run by the tests below as another user. Root has an attesting key of
/// its own, `roots`, and made the machine's key `site`.
#[test]
#[ignore = "run as another user by the tests of limited grants"]
fn as_a_user_with_limited_grants() {
    let socket = std::env::var("VOUCHSAFE_TEST_SOCKET").expect("set by the test that runs this one");
    let scenario = std::env::var("VOUCHSAFE_TEST_SCENARIO").unwrap();
    let mut client = Client::connect(&Endpoint::at(socket.as_ref())).unwrap();
    client.generate_key("k", p256()).unwrap();
    client.create_attesting_key("mine", "", false).unwrap();
    let code = |outcome: Result<(), ClientFault>| outcome.err().and_then(|fault| fault.code().map(str::to_owned));
    let mut attest = |name: &str| code(client.attest_key("k", name, &NONCE, certify()).map(drop));
    let by_key = ["", "default", "site", "roots", "mine"].map(&mut attest);
    let mut client = Client::connect(&Endpoint::at(socket.as_ref())).unwrap();
    let mut platform = |name: &str| code(client.attest_platform(name, &NONCE, quote()).map(drop));
    let of_platform = ["", "default", "site", "roots", "mine"].map(&mut platform);
    let (missing, other, unknown) = (
        Some("agent.grant-missing".to_owned()),
        Some("agent.grant-for-other-keys".to_owned()),
        Some("agent.attesting-key-unknown".to_owned()),
    );
    let (key, quotes, seen): (_, _, &[&str]) = match scenario.as_str() {
        "attest with site" => (
            [other.clone(), other.clone(), None, other.clone(), None],
            std::array::from_fn(|_| missing.clone()),
            &["site", "mine"],
        ),
        "quote" => (
            [missing.clone(), missing.clone(), missing.clone(), missing.clone(), None],
            [None, None, None, unknown.clone(), None],
            &["default", "site", "mine"],
        ),
        "quote with site" => (
            [missing.clone(), missing.clone(), missing.clone(), missing.clone(), None],
            [other.clone(), other.clone(), None, other.clone(), other.clone()],
            &["site", "mine"],
        ),
        "attest and quote" => (
            [None, None, None, unknown.clone(), None],
            [None, None, None, unknown.clone(), None],
            &["default", "site", "mine"],
        ),
        other => panic!("{other}"),
    };
    assert_eq!((by_key, of_platform), (key, quotes), "{scenario}");
    let listed: Vec<_> = client.list_attesting_keys().unwrap().into_iter().map(|key| key.name).collect();
    assert_eq!(listed, seen, "{scenario}");
    // Whatever else is granted: nobody has activate-credential by default, and an oracle for credentials is what it is.
    let pem = b"-----BEGIN TSS2 PRIVATE KEY-----\n";
    let import = ImportAttestingKeyOperation { name: "x".to_owned(), object: pem.to_vec(), ..Default::default() };
    for (what, outcome) in [
        ("describe", client.describe_endorsement("site").map(drop)),
        ("activate", client.activate_credential("site", &[0, 0], &[0, 0]).map(drop)),
        ("install", client.install_certificates("site", Vec::new())),
        ("make for the machine", client.create_attesting_key("x", "", true).map(drop)),
        ("make a pseudonym", client.create_pseudonym("x", "").map(drop)),
    ] {
        assert_eq!(code(outcome), missing, "{what}");
    }
    assert_eq!(code(client.import_attesting_key(&import).map(drop)), Some("agent.admin-only".to_owned()));
    let dialogue = client.prepare_key_attestation("k").unwrap_err();
    assert_eq!(dialogue.status(), Some(Status::PsaErrorNotPermitted));
    let dialogue = client.open_key_credential("k", &[0; 68], &[0; 256]).unwrap_err();
    assert_eq!(dialogue.status(), Some(Status::PsaErrorNotPermitted));
    client.destroy_key("k").unwrap();
    client.destroy_key("mine").unwrap();
}

/// A26: a grant gives what it names, by the attesting keys that it names, and no client's attesting key attests for another.
#[test]
fn grants_are_for_what_and_by_which_attesting_key_they_say() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: only root can be another user");
        return;
    }
    let mut device = Device::start();
    let mut root = device.client();
    root.create_attesting_key("roots", "", false).unwrap();
    root.create_attesting_key("site", "", true).unwrap();
    std::fs::set_permissions(device.directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let site = || AttestingKeyScope::Only(vec!["site".to_owned()]);
    let (attest, platform) = (Capability::Attest, Capability::AttestPlatform);
    for (scenario, may, attesting_keys) in [
        ("attest with site", vec![attest], site()),
        ("quote", vec![platform], AttestingKeyScope::Every),
        ("quote with site", vec![platform], site()),
        ("attest and quote", vec![attest, platform], AttestingKeyScope::Every),
    ] {
        device.config.grants = vec![GrantRule { attesting_keys, ..GrantRule::new(Grantee::Uid(4242), may) }];
        device.restart_agent();
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "as_a_user_with_limited_grants", "--ignored", "--nocapture"])
            .env("VOUCHSAFE_TEST_SOCKET", device.socket())
            .env("VOUCHSAFE_TEST_SCENARIO", scenario)
            .uid(4242)
            .gid(4242)
            .current_dir("/")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && text.contains("1 passed"), "{scenario}: {text}");
    }
}

/// A22: a public half that somebody brought in attests nothing and is attested by nothing, whatever it says of itself; nor does
/// it become an attesting key of the machine's.
#[test]
fn a_public_half_that_was_brought_in_is_neither_attested_nor_attests() {
    let device = Device::start();
    let mut client = device.client();
    client.generate_key("k", p256()).unwrap();
    let point = client.export_public_key("k").unwrap();
    let curve = KeyTypeVariant::EccPublicKey(EccPublicKey { curve_family: ecc_family::SECP_R1 });
    let mut attributes = support::attributes(curve, 256, ecdsa(hash::SHA_256));
    attributes.key_policy.as_mut().unwrap().key_usage_flags =
        Some(UsageFlags { verify_hash: true, ..UsageFlags::default() });
    client.import_key("half", attributes, &point).unwrap();
    let x509 = || KeyMechanism::TpmCertifyX509(TpmCertifyX509::default());
    for refused in [
        client.attest_key("half", "", &NONCE, certify()).map(drop),
        client.attest_key("half", "", &NONCE, x509()).map(drop),
        client.list_mechanisms_of_key("half").map(drop),
        client.prepare_key_attestation("half").map(drop),
        client.open_key_credential("half", &[0; 68], &[0; 256]).map(drop),
    ] {
        assert_eq!(refused.unwrap_err().status(), Some(Status::PsaErrorNotPermitted));
    }
    let unknown = client.attest_key("k", "half", &NONCE, certify()).unwrap_err();
    assert_eq!(unknown.code(), Some("agent.attesting-key-unknown"));
    // The public area of an attesting key, all attributes as they should be, without a private part of this TPM's.
    let public = signing_key(SigningKey::EccP256, AK_ATTRIBUTES, Some(HashAlg::Sha256), &[7; 32]);
    for private in [&[][..], &[0x5A; 200]] {
        let import = import(&public, private, &[1; 32]);
        let refused = client.import_attesting_key(&import).unwrap_err();
        assert_eq!(refused.code(), Some("agent.import-wrong-parent"), "{refused}");
    }
    assert_eq!(client.list_attesting_keys().unwrap().len(), 1);
}

fn import(public: &TpmtPublic, private: &[u8], auth: &[u8]) -> ImportAttestingKeyOperation {
    let sized = |octets: &[u8]| [&u16::try_from(octets.len()).unwrap().to_be_bytes()[..], octets].concat();
    ImportAttestingKeyOperation {
        name: "imported".to_owned(),
        object: [sized(public.as_bytes()), sized(private)].concat(),
        auth: auth.to_vec(),
        ..ImportAttestingKeyOperation::default()
    }
}

/// A29: neither a key that is open to everybody nor the key of a client becomes the machine's, and what is taken over says so.
#[test]
fn what_becomes_the_machines_attesting_key_is_nobody_elses() {
    let mut device = Device::start();
    device.stop_agent();
    let mut tpm = device.tpm.connect().unwrap();
    let (root, _) = tpm::salted(&mut tpm);
    let template = signing_key(SigningKey::EccP256, AK_ATTRIBUTES, Some(HashAlg::Sha256), &[]);
    let open = tpm.create(&root, &template, &AuthValue::empty()).unwrap();
    let guarded = tpm.create(&root, &template, &AuthValue::new(&[9; 32])).unwrap();
    let further = tpm.create(&root, &template, &AuthValue::new(&[9; 32])).unwrap();
    drop(tpm);
    device.agent = Some(Agent::start(device.config.clone()).unwrap());
    let mut client = device.client();
    client.generate_key("k", p256()).unwrap();
    client.create_attesting_key("mine", "", false).unwrap();
    let statement = client.attest_key("mine", "", &NONCE, certify()).unwrap().statement;
    let clients = TpmtPublic::parse(&TpmCertify::parse(&statement).unwrap().public.unwrap()).unwrap();
    let handle = |handle| ImportAttestingKeyOperation {
        name: "imported".to_owned(),
        handle,
        auth: vec![9; 32],
        ..ImportAttestingKeyOperation::default()
    };
    for (operation, expected) in [
        (import(&open.public, &open.private, &[]), "agent.import-auth-weak"),
        (import(&open.public, &open.private, &[9; 32]), "agent.import-auth-wrong"),
        (import(&guarded.public, &guarded.private, b"guess"), "agent.import-auth-weak"),
        (import(&clients, &[0x5A; 200], &[9; 32]), "agent.import-client-key"),
        (handle(0x8100_0001), "agent.import-storage-key"),
        (handle(0x8101_0001), "agent.import-endorsement-key"),
        (handle(0x8101_8000), "agent.import-known"),
        (handle(0x8101_4444), "agent.import-missing"),
        (
            ImportAttestingKeyOperation { handle: 0x8101_4444, ..import(&open.public, &open.private, &[]) },
            "agent.invalid",
        ),
        (ImportAttestingKeyOperation { parent_handle: 0x8100_0001, ..handle(0x8101_4444) }, "agent.invalid"),
        (handle(0), "agent.invalid"),
    ] {
        let refused = client.import_attesting_key(&operation).unwrap_err();
        assert_eq!(refused.code(), Some(expected), "{refused}");
        assert!(!refused.next_step().is_empty(), "{expected}");
    }
    let imported = client.import_attesting_key(&import(&guarded.public, &guarded.private, &[9; 32])).unwrap();
    assert!(!imported.made_here && !imported.is_own && !imported.is_default && !imported.is_pseudonym);
    assert_eq!(imported.families, ["attest", "certify-x509"]);
    for attempt in 0..2 {
        let made = client.attest_key("k", "imported", &NONCE, certify()).unwrap();
        assert_eq!(made.format, "tpm-certify", "{attempt}");
        device.restart_agent();
        client = device.client();
    }
    let twice = client.import_attesting_key(&import(&guarded.public, &guarded.private, &[9; 32])).unwrap_err();
    assert_eq!(twice.code(), Some("agent.attesting-key-exists"));
    // A client's key that cannot be read any more keeps nobody from it, and the others stay their clients'.
    device.stop_agent();
    let database = rusqlite::Connection::open(device.config.state.join("agent.sqlite")).unwrap();
    assert_eq!(database.execute("UPDATE keys SET blob = X'01' WHERE name = 'k'", []).unwrap(), 1);
    drop(database);
    device.agent = Some(Agent::start(device.config.clone()).unwrap());
    client = device.client();
    let named = |operation: ImportAttestingKeyOperation| ImportAttestingKeyOperation {
        name: "further".to_owned(),
        ..operation
    };
    let refused = client.import_attesting_key(&named(import(&clients, &[0x5A; 200], &[9; 32]))).unwrap_err();
    assert_eq!(refused.code(), Some("agent.import-client-key"));
    client.import_attesting_key(&named(import(&further.public, &further.private, &[9; 32]))).unwrap();
    // The authValue is in no file of the state.
    for entry in std::fs::read_dir(&device.config.state).unwrap() {
        let octets = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!octets.windows(32).any(|window| window == [9; 32]));
    }
}

/// A52: whoever writes another uid into the request than its own is refused, whatever is asked.
#[test]
fn another_uid_than_the_sockets_is_refused_for_every_operation() {
    let device = Device::start();
    let own = rustix::process::geteuid().as_raw();
    for opcode in Opcode::ALL.into_iter().filter(|opcode| opcode.needs_authentication()) {
        let provider = if opcode.route() == Route::Core { ProviderId::CORE } else { ProviderId::TPM };
        for claimed in [own.wrapping_add(1), 0xFFFF_FFFF, 65534] {
            let header = RequestHeader {
                provider,
                auth_type: AuthType::UnixPeerCredentials,
                body_octets: 0,
                opcode: opcode.number(),
            };
            let mut stream = UnixStream::connect(device.socket()).unwrap();
            let request = [&header.to_octets().unwrap()[..], &claimed.to_le_bytes()].concat();
            assert_eq!(support::status(&mut stream, &request), Status::AuthenticationError, "{opcode:?} as {claimed}");
        }
    }
}

/// A26: any local user may connect, and none gets the machine's name, a quote, or an oracle for credentials.
#[test]
fn the_machines_identity_is_not_lent_to_any_local_user() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: only root can be another user");
        return;
    }
    let device = Device::start();
    std::fs::set_permissions(device.directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "as_another_user", "--ignored", "--nocapture"])
        .env("VOUCHSAFE_TEST_SOCKET", device.socket())
        .uid(4242)
        .gid(4242)
        .current_dir("/")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    // It is the user that is refused, not the request.
    let mut root = device.client();
    root.generate_key("k", p256()).unwrap();
    root.attest_key("k", "", &NONCE, certify()).unwrap();
    root.attest_platform("", &NONCE, quote()).unwrap();
}
