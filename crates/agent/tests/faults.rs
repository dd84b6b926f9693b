//! Disks and TPMs that fail under a running agent: typed errors with a next step, everything else goes on, and what comes back is
//! used again without a hand.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::disallowed_methods, missing_docs)]

#[path = "support/service.rs"]
mod support;
#[path = "support/tpm.rs"]
mod tpm;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use support::{Bench, client, ecdsa, p256};
use tempfile::TempDir;
use tpm::{Proxy, code, refusal, swtpm};
use vouchsafe_agent::audit;
use vouchsafe_agent::client::{Client, ClientFault};
use vouchsafe_agent::config::{CertifyX509Config, Config};
use vouchsafe_agent::provider::tpm::{Settings, TpmProvider};
use vouchsafe_agent::provider::{Attester, AttestingKeyChoice, Hash, MemoryStore, PlatformMechanism};
use vouchsafe_agent::provider_identity::{ProviderIdentity, ProviderKind};
use vouchsafe_agent::service::ProviderSlot;
use vouchsafe_agent::store::StoreError;
use vouchsafe_agent::wire::Status;
use vouchsafe_agent::wire::message::{AttestationResult, KeyMechanism, TpmCertify, hash};
use vouchsafe_agent::{Agent, StartFault};

const NONCE: [u8; 16] = [0x2A; 16];

fn signs(client: &mut Client, name: &str) {
    client.sign_hash(name, ecdsa(hash::SHA_256), &[7; 32]).unwrap();
}

fn attest(client: &mut Client) -> Result<AttestationResult, ClientFault> {
    client.attest_key("k", "", &NONCE, KeyMechanism::TpmCertify(TpmCertify {}))
}

/// A small file system of its own. Only root can have one.
struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    fn mount() -> Option<SmallDisk> {
        let disk = SmallDisk { folder: tempfile::tempdir().unwrap() };
        let is_mounted = disk.run("mount", &["-t", "tmpfs", "-o", "size=512k,mode=0700", "tmpfs"]);
        if !is_mounted {
            println!("SKIPPED: file systems cannot be mounted here");
        }
        is_mounted.then_some(disk)
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn run(&self, program: &str, arguments: &[&str]) -> bool {
        Command::new(program).args(arguments).arg(self.path()).status().is_ok_and(|status| status.success())
    }

    fn set_writable(&self, writable: bool) {
        assert!(self.run("mount", &["-o", if writable { "remount,rw" } else { "remount,ro" }]));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        self.run("umount", &["-l"]);
    }
}

#[test]
fn a_full_disk_takes_no_new_keys_and_loses_none() {
    let Some(disk) = SmallDisk::mount() else { return };
    let bench = Bench::of(Arc::default(), |config| config.state = disk.path().join("state"));
    let mut client = bench.client();
    client.generate_key("before", p256()).unwrap();
    let filler = disk.path().join("filler");
    let full = std::fs::write(&filler, vec![0; 1024 * 1024]).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    // The log of the database may have some room yet.
    let mut stored = Vec::new();
    let refused = (0..1000).map(|number| format!("key-{number}")).find_map(|name| {
        let outcome = client.generate_key(&name, p256());
        outcome.map(|()| stored.push(name.clone())).err().map(|fault| (name, fault))
    });
    let (name, fault) = refused.expect("a full disk took everything");
    assert_eq!(fault.status(), Some(Status::PsaErrorInsufficientStorage), "{fault}");
    let fault = client.create_attesting_key("mine", "", false).unwrap_err();
    assert_eq!((fault.code(), fault.status()), (Some("agent.store-full"), Some(Status::PsaErrorInsufficientStorage)));
    assert!(fault.next_step().contains("free space"), "{}", fault.next_step());
    signs(&mut client, "before");
    stored.iter().for_each(|name| signs(&mut client, name));
    assert_eq!(client.export_public_key(&name).unwrap_err().status(), Some(Status::PsaErrorDoesNotExist));
    std::fs::remove_file(&filler).unwrap();
    client.generate_key(&name, p256()).unwrap();
    signs(&mut client, &name);
    assert_eq!(client.list_keys().unwrap().len(), stored.len() + 2);
}

#[test]
fn what_does_not_reach_a_module_is_on_record() {
    let control = Arc::new(support::Control::default());
    control.absent.store(true, Ordering::SeqCst);
    let bench = Bench::of(control, |_| {});
    assert_eq!(attest(&mut bench.client()).unwrap_err().code(), Some("agent.connection"));
    let log = bench.directory.path().join("state").join(audit::FILE_NAME);
    let text = std::fs::read_to_string(&log).unwrap();
    let entry: Vec<&str> = text.trim_end().split('\t').collect();
    assert_eq!((entry[0], entry[2], entry[6], entry[10]), ("1", "attest-key", "k", "agent.connection"));
}

#[test]
fn nothing_is_attested_that_cannot_be_put_on_record() {
    let Some(disk) = SmallDisk::mount() else { return };
    let bench = Bench::of(Arc::default(), |config| config.state = disk.path().join("state"));
    let mut client = bench.client();
    client.generate_key("k", p256()).unwrap();
    let log = disk.path().join("state").join(audit::FILE_NAME);
    let filler = disk.path().join("filler");
    std::fs::write(&filler, vec![0; 1024 * 1024]).unwrap_err();

    // What was reserved beforehand is used up; then an attestation is refused before it is made.
    let refused = (0..10_000).find_map(|_| attest(&mut client).err()).expect("a full disk took everything");
    assert_eq!(
        (refused.code(), refused.status()),
        (Some("agent.audit-full"), Some(Status::PsaErrorInsufficientStorage))
    );
    assert!(refused.next_step().contains("free space"), "{}", refused.next_step());
    let attested = bench.control.attested.load(Ordering::SeqCst);
    let recorded = || {
        let text = std::fs::read_to_string(&log).unwrap();
        let is_done = |line: &&str| line.contains("\tattest-key\t") && line.split('\t').nth(10) == Some("ok");
        text.lines().filter(is_done).count()
    };
    assert!(attested > 1);
    assert_eq!(recorded(), attested);
    for _ in 0..5 {
        assert_eq!(attest(&mut client).unwrap_err().code(), Some("agent.audit-full"));
    }
    assert_eq!(bench.control.attested.load(Ordering::SeqCst), attested);
    // What is not recorded goes on.
    signs(&mut client, "k");

    std::fs::remove_file(&filler).unwrap();
    attest(&mut client).unwrap();
    assert_eq!(recorded(), attested + 1);
    audit::verify(&log, None).unwrap();
}

#[test]
fn a_read_only_disk_is_named_and_used_once_it_is_writable() {
    let Some(disk) = SmallDisk::mount() else { return };
    let state = disk.path().join("state");
    drop(Bench::of(Arc::default(), |config| config.state = state.clone()));
    disk.set_writable(false);
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::with_defaults();
    config.state = state;
    config.socket.path = folder.path().join("s");
    config.providers.clear();
    let fault = Agent::start(config.clone()).unwrap_err();
    assert!(matches!(fault, StartFault::Store(StoreError::Directory(_))), "{fault}");
    let text = fault.to_string();
    assert!(text.contains("state") && text.contains("Read-only"), "{text}");
    disk.set_writable(true);
    Agent::start(config).unwrap().stop();
}

#[test]
fn a_locked_database_holds_up_new_keys_alone() {
    let bench = Bench::start();
    let mut client = bench.client();
    client.generate_key("before", p256()).unwrap();
    let other = rusqlite::Connection::open(bench.directory.path().join("state/agent.sqlite")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let started = Instant::now();
    let fault = client.create_attesting_key("mine", "", false).unwrap_err();
    assert_eq!((fault.code(), fault.status()), (Some("agent.store-locked"), Some(Status::PsaErrorStorageFailure)));
    assert!(fault.next_step().contains("other program"), "{}", fault.next_step());
    assert!(started.elapsed() < Duration::from_secs(5));
    let socket = bench.socket();
    let refused = std::thread::spawn(move || support::client(&socket).generate_key("k", p256()).unwrap_err());
    while !refused.is_finished() {
        let started = Instant::now();
        bench.assert_alive();
        assert!(started.elapsed() < Duration::from_millis(100));
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(refused.join().unwrap().status(), Some(Status::PsaErrorStorageFailure));
    signs(&mut client, "before");
    other.execute_batch("COMMIT").unwrap();
    client.generate_key("k", p256()).unwrap();
    signs(&mut client, "k");
}

/// An agent whose TPM can be made to fail.
struct Device {
    agent: Option<Agent>,
    config: Config,
    proxy: Arc<Proxy>,
    _tpm: vouchsafe_agent::swtpm::Swtpm,
    _folder: TempDir,
}

impl Device {
    fn start() -> Device {
        let tpm = swtpm();
        let proxy = Arc::new(Proxy::before(&tpm));
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::with_defaults();
        config.state = folder.path().join("state");
        config.socket.path = folder.path().join("s");
        let mut device = Device { agent: None, config, proxy, _tpm: tpm, _folder: folder };
        device.restart();
        device
    }

    fn restart(&mut self) {
        self.agent = None;
        let proxy = self.proxy.clone();
        let identity = ProviderIdentity::assign(&[("tpm".parse().unwrap(), ProviderKind::Tpm)]).remove(0);
        let slot = ProviderSlot::new(identity, "default", CertifyX509Config::default(), move |store| {
            TpmProvider::over(Box::new(proxy.connection()), Settings::default(), store)
        });
        self.agent = Some(Agent::start_with(self.config.clone(), vec![slot]).unwrap());
    }

    fn client(&self) -> Client {
        client(&self.config.socket.path)
    }

    fn check(&self, client: &mut Client) {
        signs(client, "k");
        attest(client).unwrap();
        assert!(!client.describe_endorsement("").unwrap().certificates.is_empty());
    }
}

#[test]
fn a_tpm_in_failure_mode_is_named_and_used_once_it_is_reset() {
    let mut device = Device::start();
    let mut client = device.client();
    client.generate_key("k", p256()).unwrap();
    device.check(&mut client);
    let fail = |device: &Device| device.proxy.answer_instead(|_| Some(refusal(0x101)));
    let fails = |client: &mut Client| {
        let fault = attest(client).unwrap_err();
        assert_eq!((fault.code(), fault.status()), (Some("agent.tpm-failure"), Some(Status::PsaErrorHardwareFailure)));
        assert!(fault.next_step().contains("power-cycle"), "{}", fault.next_step());
        let fault = client.sign_hash("k", ecdsa(hash::SHA_256), &[7; 32]).unwrap_err();
        assert_eq!(fault.status(), Some(Status::PsaErrorHardwareFailure));
        assert_eq!(client.ping().unwrap(), (1, 0));
        assert_eq!(client.list_keys().unwrap().len(), 1);
    };
    fail(&device);
    (0..3).for_each(|_| fails(&mut client));
    device.proxy.answer_instead(|_| None);
    device.check(&mut client);
    // One that finds the TPM so when it starts is no worse off.
    fail(&device);
    device.restart();
    let mut client = device.client();
    (0..3).for_each(|_| fails(&mut client));
    device.proxy.answer_instead(|_| None);
    device.check(&mut client);
}

/// Wherever in the preparation after a lost connection the TPM fails: the next request finds all as it was.
#[test]
fn a_tpm_that_fails_while_it_is_prepared_is_prepared_anew() {
    let tpm = swtpm();
    let proxy = Proxy::before(&tpm);
    let mut provider =
        TpmProvider::over(Box::new(proxy.connection()), Settings::default(), Box::new(MemoryStore::new())).unwrap();
    let before = provider.attesting_keys().unwrap();
    let quote = |provider: &mut TpmProvider| {
        let mechanism = PlatformMechanism::TpmQuote { bank: Hash::Sha256, indices: vec![0] };
        provider.attest_platform(AttestingKeyChoice::Default, &mechanism, &NONCE)
    };
    for position in 0.. {
        let sent = Arc::new(AtomicUsize::new(0));
        let count = sent.clone();
        proxy.answer_instead(move |_| match count.fetch_add(1, Ordering::SeqCst) {
            // The connection breaks; the command at the position after that fails, and no other.
            0 => Some(Vec::new()),
            number if number == position + 1 => Some(refusal(0x101)),
            _ => None,
        });
        let first = quote(&mut provider);
        proxy.answer_instead(|_| None);
        if sent.load(Ordering::SeqCst) <= position + 1 {
            assert!(first.is_ok() && position > 10, "{position}: no preparation was seen");
            return;
        }
        if let Err(fault) = first {
            assert_eq!(fault.code(), "agent.tpm-failure", "{position}: {fault}");
        }
        quote(&mut provider).unwrap_or_else(|fault| panic!("{position}: {fault}"));
        assert_eq!(provider.endorsement("").unwrap().certificates.len(), 2, "{position}");
        assert_eq!(provider.attesting_keys().unwrap(), before, "{position}");
    }
}

#[test]
fn a_locked_tpm_is_named_and_used_once_the_lockout_ends() {
    const LOCK_RESET: u32 = 0x139;
    const CERTIFY: u32 = 0x148;
    let device = Device::start();
    let mut client = device.client();
    client.generate_key("k", p256()).unwrap();
    device.check(&mut client);
    // An owner who set a lockout authorization: the agent cannot reset it.
    device.proxy.answer_instead(|command| match code(command) {
        CERTIFY => Some(refusal(0x921)),
        LOCK_RESET => Some(refusal(0x98E)),
        _ => None,
    });
    for _ in 0..3 {
        let fault = attest(&mut client).unwrap_err();
        assert_eq!((fault.code(), fault.status()), (Some("agent.tpm-lockout"), Some(Status::PsaErrorHardwareFailure)));
        assert!(fault.next_step().contains("lockout"), "{}", fault.next_step());
        // Keys of users are not subject to it.
        signs(&mut client, "k");
        client.generate_key("other", p256()).unwrap();
        client.destroy_key("other").unwrap();
    }
    device.proxy.answer_instead(|_| None);
    device.check(&mut client);
}
