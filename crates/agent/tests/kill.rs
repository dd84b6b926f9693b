//! An agent that is killed at random moments under load: what it has acknowledged is there, and every name either is a key that
//! works or is free.
//!
//! 10 rounds; with `VOUCHSAFE_SLOW_TESTS` set, 100.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::disallowed_methods, missing_docs)]

#[path = "support/softhsm.rs"]
mod softhsm;
#[path = "support/service.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use softhsm::SoftHsm;
use support::{ecdsa, p256};
use tempfile::TempDir;
use vouchsafe_agent::audit;
use vouchsafe_agent::client::{Client, ClientFault, Endpoint};
use vouchsafe_agent::config::Config;
use vouchsafe_agent::swtpm::{Options, Swtpm};
use vouchsafe_agent::wire::Status;
use vouchsafe_agent::wire::message::{KeyMechanism, PkixEvidence, TpmCertify, hash};

const CONFIG: &str = "VOUCHSAFE_TEST_CONFIG";
/// What stands in a file of SoftHSM's before the attributes.
const GENERATION_OCTETS: u64 = 8;
/// The file in which SoftHSM keeps the token itself: its label, PINs and flags.
const TOKEN_RECORD: &str = "token.object";
/// Clients that make, use and destroy keys at once.
const CLIENTS: usize = 3;
/// An agent lives at most this long once it serves, in milliseconds.
const LIFE: u64 = 200;
/// An agent that is killed while it prepares the TPM lives at most this long, in milliseconds.
const YOUTH: u64 = 300;

/// Serves until it is killed; run by the test below as a process of its own.
#[test]
#[ignore = "run as a process of its own by the test of kills"]
fn serve_until_killed() {
    let file = std::env::var(CONFIG).expect("set by the test that runs this one");
    vouchsafe_agent::serve(Config::load(Path::new(&file)).unwrap()).unwrap();
}

/// What is known of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Known {
    /// Creation was acknowledged.
    Made,
    /// A creation or destruction was under way.
    Either,
    /// Destruction was acknowledged.
    Destroyed,
}

type Ledger = BTreeMap<String, Known>;

/// What holds the keys.
enum Module {
    /// A TPM keeps no keys: the agent has their blobs.
    Tpm { _process: Swtpm },
    /// A token keeps them itself, whatever becomes of the agent.
    Token {
        softhsm: SoftHsm,
        /// What SoftHSM keeps of the token itself, as it was made.
        record: Vec<u8>,
    },
}

struct Device {
    module: Module,
    folder: TempDir,
    file: PathBuf,
}

impl Device {
    fn with_tpm() -> Device {
        let tpm = Swtpm::start(&Options::default()).unwrap();
        let provider = format!("[providers.tpm]\naddress = '{}'\n", tpm.address());
        Device::new(tempfile::tempdir().unwrap(), Module::Tpm { _process: tpm }, &provider)
    }

    fn with_token() -> Device {
        let folder = tempfile::tempdir().unwrap();
        let softhsm = SoftHsm::new(folder.path());
        softhsm.token("keys");
        let (module, pin) = (softhsm::library(), softhsm.pin_file("pin", softhsm::PIN));
        let provider = format!(
            "[providers.pkcs11]\nmodule = '{}'\ntoken = 'keys'\npin_file = '{}'\n[mechanisms]\nenable = ['pkix-evidence']\n",
            module.display(),
            pin.display()
        );
        let record = std::fs::read(token_folder(&softhsm).join(TOKEN_RECORD)).unwrap();
        Device::new(folder, Module::Token { softhsm, record }, &provider)
    }

    fn new(folder: TempDir, module: Module, provider: &str) -> Device {
        let file = folder.path().join("agent.toml");
        let state = folder.path().display();
        std::fs::write(&file, format!("state = '{state}/state'\n[socket]\npath = '{state}/s'\n{provider}")).unwrap();
        Device { module, folder, file }
    }

    /// Objects that the token keeps, each in a file; a TPM keeps none. A file without any attribute is what SoftHSM leaves of
    /// an object that it was killed over before it had written any of it; nobody sees an object there.
    fn objects(&self) -> Vec<Vec<u8>> {
        let token = match &self.module {
            Module::Tpm { .. } => return Vec::new(),
            Module::Token { softhsm, .. } => token_folder(softhsm),
        };
        let is_object = |file: &Path| {
            file.extension().is_some_and(|extension| extension == "object")
                && !file.ends_with(TOKEN_RECORD)
                && file.metadata().unwrap().len() > GENERATION_OCTETS
        };
        let files = std::fs::read_dir(token).unwrap().map(|file| file.unwrap().path());
        files.filter(|file| is_object(file)).map(|file| std::fs::read(file).unwrap()).collect()
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    fn spawn(&self) -> Agent {
        let mut program = Command::new(std::env::current_exe().unwrap());
        program.args(["--exact", "serve_until_killed", "--ignored"]).env(CONFIG, &self.file).stdout(Stdio::null());
        if let Module::Token { softhsm, record } = &self.module {
            restore_record(&token_folder(softhsm).join(TOKEN_RECORD), record);
            softhsm.environment(&mut program);
        }
        Agent(program.spawn().unwrap())
    }

    fn connect(&self) -> Client {
        let started = Instant::now();
        loop {
            match Client::connect(&Endpoint::at(&self.socket())) {
                Ok(client) => return client.with_provider_named(None).unwrap(),
                Err(fault) => assert!(started.elapsed() < Duration::from_secs(20), "{fault}"),
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn token_folder(softhsm: &SoftHsm) -> PathBuf {
    std::fs::read_dir(softhsm.folder().join("tokens")).unwrap().next().unwrap().unwrap().path()
}

/// SoftHSM empties the record of its token and writes it anew at each login: killed in between, it has lost the token, and no
/// agent could help it. The operator would take the record from his backup; so does the test. Objects are left as they are.
fn restore_record(file: &Path, record: &[u8]) {
    let left = file.metadata().unwrap().len();
    if left < u64::try_from(record.len()).unwrap() {
        eprintln!("SoftHSM was killed over the record of its token, of which {left} octets are left; it is restored");
        std::fs::write(file, record).unwrap();
    }
}

struct Agent(Child);

impl Agent {
    /// SIGKILL: nothing of it runs any more when this returns.
    fn kill(self) {}
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn random(below: u64) -> u64 {
    let mut octets = [0; 8];
    aws_lc_rs::rand::fill(&mut octets).unwrap();
    u64::from_le_bytes(octets) % below
}

/// Makes, uses, attests and destroys keys until the agent is gone.
fn load(mut client: Client, prefix: &str, mechanism: &KeyMechanism, begun: &mpsc::Sender<()>) -> Ledger {
    let mut ledger = Ledger::new();
    for number in 0.. {
        let name = format!("{prefix}-{number}");
        ledger.insert(name.clone(), Known::Either);
        if is_over(client.generate_key(&name, p256())) {
            break;
        }
        ledger.insert(name.clone(), Known::Made);
        let _ = begun.send(());
        let used = match number % 3 {
            0 => client.sign_hash(&name, ecdsa(hash::SHA_256), &[7; 32]).map(drop),
            1 => client.attest_key(&name, "", &[1; 16], mechanism.clone()).map(drop),
            _ => {
                ledger.insert(name.clone(), Known::Either);
                client.destroy_key(&name)
            }
        };
        if is_over(used) {
            break;
        }
        if number % 3 == 2 {
            ledger.insert(name, Known::Destroyed);
        }
    }
    ledger
}

/// Whether the agent was killed; it must not have refused.
fn is_over(outcome: Result<(), ClientFault>) -> bool {
    match outcome {
        Ok(()) => false,
        Err(fault) => {
            assert_eq!(fault.status(), None, "{fault}");
            true
        }
    }
}

/// Whether the name is that of a key, which then signs.
fn works(client: &mut Client, name: &str) -> bool {
    let public = match client.export_public_key(name) {
        Ok(public) => public,
        Err(fault) => {
            assert_eq!(fault.status(), Some(Status::PsaErrorDoesNotExist), "{name}: {fault}");
            return false;
        }
    };
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, name.as_bytes());
    let signature = client.sign_hash(name, ecdsa(hash::SHA_256), digest.as_ref()).unwrap();
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, public).verify(name.as_bytes(), &signature).unwrap();
    true
}

/// Checks all that is known, and finds out what was not.
fn check(client: &mut Client, ledger: &mut Ledger) {
    for (name, known) in ledger.iter_mut() {
        let works = works(client, name);
        match known {
            Known::Made => assert!(works, "{name} was acknowledged"),
            Known::Destroyed => assert!(!works, "{name} was destroyed"),
            Known::Either if works => *known = Known::Made,
            Known::Either => {
                client.generate_key(name, p256()).unwrap();
                *known = Known::Made;
            }
        }
    }
}

/// Checks that the audit log is whole but for an entry that the kill cut short, which is removed, and that it has what was
/// acknowledged.
fn check_record(log: &Path, ledger: &Ledger) {
    audit::verify(log, None).unwrap();
    let text = std::fs::read_to_string(log).unwrap();
    let done: BTreeSet<(&str, &str)> = text
        .lines()
        .map(|line| line.split('\t').collect::<Vec<_>>())
        .filter(|entry| entry[10] == "ok")
        .map(|entry| (entry[2], entry[6]))
        .collect();
    for (name, known) in ledger {
        assert!(*known == Known::Either || done.contains(&("generate", name.as_str())), "{name} is not on record");
        assert!(*known != Known::Destroyed || done.contains(&("destroy", name.as_str())), "{name} is not on record");
    }
}

#[test]
fn a_killed_agent_loses_nothing_that_it_acknowledged() {
    kill_again_and_again(&Device::with_tpm(), &KeyMechanism::TpmCertify(TpmCertify {}));
}

/// What was begun and not acknowledged is not in the token either: every object belongs to a key that works.
#[test]
fn a_killed_agent_leaves_nothing_in_a_token() {
    kill_again_and_again(&Device::with_token(), &KeyMechanism::PkixEvidence(PkixEvidence::default()));
}

fn kill_again_and_again(device: &Device, mechanism: &KeyMechanism) {
    let rounds = if std::env::var_os("VOUCHSAFE_SLOW_TESTS").is_some() { 100 } else { 10 };
    let mut all = Ledger::new();
    let mut acknowledged = 0;
    for round in 0..rounds {
        if round % 2 == 0 {
            // One that may not even have prepared the TPM.
            let young = device.spawn();
            std::thread::sleep(Duration::from_millis(random(YOUTH)));
            young.kill();
        }
        let agent = device.spawn();
        let (begun, first) = mpsc::channel();
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let (client, begun, prefix) = (device.connect(), begun.clone(), format!("{round}-{number}"));
                let mechanism = mechanism.clone();
                std::thread::spawn(move || load(client, &prefix, &mechanism, &begun))
            })
            .collect();
        // The clients alone hold it now, so that nothing is awaited of clients that have failed.
        drop(begun);
        first.recv().expect("a client makes a key");
        std::thread::sleep(Duration::from_millis(random(LIFE)));
        agent.kill();
        let mut fresh = Ledger::new();
        clients.into_iter().for_each(|client| fresh.extend(client.join().unwrap()));
        acknowledged += fresh.values().filter(|known| **known == Known::Made).count();
        let agent = device.spawn();
        let mut client = device.connect();
        check_record(&device.folder.path().join("state").join(audit::FILE_NAME), &fresh);
        check(&mut client, &mut fresh);
        all.extend(fresh);
        // Old keys make room, so that the limit of one user is never reached.
        if all.len() > 500 {
            destroy(&mut client, std::mem::take(&mut all));
        }
        agent.kill();
    }
    assert!(acknowledged >= rounds, "hardly any load: {acknowledged} keys in {rounds} rounds");
    let agent = device.spawn();
    let mut client = device.connect();
    check(&mut client, &mut all);
    let listed: Vec<_> = client.list_keys().unwrap().into_iter().map(|key| key.name).collect();
    let made = all.iter().filter(|(_, known)| **known == Known::Made);
    let mut expected: Vec<_> = made.map(|(name, _)| name.clone()).collect();
    expected.sort();
    assert_eq!(listed, expected);
    let (objects, keys) = (device.objects().len(), expected.len());
    destroy(&mut client, all);
    if let Module::Token { .. } = &device.module {
        // Two for each key, and two for the one attesting key.
        let left = device.objects();
        let shown: Vec<String> = left.iter().map(|file| file.escape_ascii().to_string()).collect();
        assert_eq!((objects, left.len()), (2 * keys + 2, 2), "{shown:#?}");
    }
    agent.kill();
}

/// Destroys the keys that are there.
fn destroy(client: &mut Client, ledger: Ledger) {
    for (name, known) in ledger {
        if known == Known::Made {
            client.destroy_key(&name).unwrap();
        }
    }
}
