//! Clients side by side: names, queues, grants, and providers that fail.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "service_clients/mechanisms.rs"]
mod mechanisms;
#[path = "service_clients/name_spaces.rs"]
mod name_spaces;
#[path = "service_clients/quotas.rs"]
mod quotas;
#[path = "support/service.rs"]
mod support;

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use prost::Message;
use support::{Bench, Control, ecdsa, p256};
use vouchsafe_agent::client::{Client, ClientFault, Endpoint};
use vouchsafe_agent::config::Limits;
use vouchsafe_agent::grants::{Capability, GrantRule, Grantee};
use vouchsafe_agent::wire::message::{
    FamilyChain, KeyMechanism, ListOpcodesOperation, ListOpcodesResult, PlatformMechanism, TpmCertify, TpmQuote, hash,
};
use vouchsafe_agent::wire::{Opcode, ProviderId, Status};

fn certify() -> KeyMechanism {
    KeyMechanism::TpmCertify(TpmCertify {})
}

fn quote() -> PlatformMechanism {
    PlatformMechanism::TpmQuote(TpmQuote { bank: String::new(), indices: vec![0] })
}

fn status(outcome: Result<impl std::fmt::Debug, ClientFault>) -> Option<Status> {
    outcome.unwrap_err().status()
}

#[test]
fn of_eight_clients_that_make_one_key_one_has_made_it() {
    let bench = Bench::start();
    let socket = bench.socket();
    for round in 0..100 {
        let name = format!("key-{round}");
        let barrier = Barrier::new(8);
        let outcomes: Vec<Result<(), ClientFault>> = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        let mut client = support::client(&socket);
                        barrier.wait();
                        client.generate_key(&name, p256())
                    })
                })
                .collect();
            clients.into_iter().map(|client| client.join().unwrap()).collect()
        });
        let made = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert_eq!(made, 1, "round {round}");
        for refused in outcomes.into_iter().filter_map(Result::err) {
            assert_eq!(refused.status(), Some(Status::PsaErrorAlreadyExists), "round {round}");
        }
        let stored = bench.client().export_public_key(&name).unwrap();
        assert!(!bench.control.destroyed.lock().unwrap().contains(&stored), "round {round}");
    }
    assert_eq!(bench.client().list_keys().unwrap().len(), 100);
}

#[test]
fn keys_live_and_die() {
    let bench = Bench::start();
    let mut client = bench.client();
    client.generate_key("k", p256()).unwrap();
    let keys = client.list_keys().unwrap();
    assert_eq!((keys.len(), keys[0].name.as_str(), keys[0].provider_id), (1, "k", 3));
    assert_eq!(keys[0].attributes, Some(p256()));
    let signature = client.sign_hash("k", ecdsa(hash::SHA_256), &[7; 32]).unwrap();
    assert_eq!(signature, [7; 32]);
    let other = client.sign_hash("k", ecdsa(hash::SHA_384), &[7; 48]);
    assert_eq!(status(other), Some(Status::PsaErrorNotPermitted));
    let short = client.sign_hash("k", ecdsa(hash::SHA_256), &[7; 31]);
    assert_eq!(status(short), Some(Status::PsaErrorInvalidArgument));
    client.destroy_key("k").unwrap();
    assert_eq!(status(client.destroy_key("k")), Some(Status::PsaErrorDoesNotExist));
    assert_eq!(client.list_keys().unwrap(), vec![]);
    let mut verify_only = p256();
    verify_only.key_policy.as_mut().unwrap().key_usage_flags.as_mut().unwrap().sign_hash = false;
    client.generate_key("v", verify_only).unwrap();
    let refused = client.sign_hash("v", ecdsa(hash::SHA_256), &[7; 32]);
    assert_eq!(status(refused), Some(Status::PsaErrorNotPermitted));
    for name in ["", "a\nb", "a\u{1b}[2J", &"x".repeat(256)] {
        assert_eq!(status(client.generate_key(name, p256())), Some(Status::PsaErrorInvalidArgument));
    }
}

#[test]
fn own_attesting_keys_attest_and_sign_nothing() {
    let bench = Bench::start();
    let mut client = bench.client();
    client.generate_key("k", p256()).unwrap();
    let info = client.create_attesting_key("mine", "", false).unwrap();
    assert!(info.is_own && !info.is_default);
    assert_eq!((info.algorithm.as_str(), info.families), ("ecc-p256", vec!["attest".to_owned()]));
    let attestation = client.attest_key("k", "mine", &[1; 16], certify()).unwrap();
    assert!(attestation.statement.starts_with(b"Attest/"));
    assert_eq!(attestation.format, "tpm-certify");
    let signing = client.sign_hash("mine", ecdsa(hash::SHA_256), &[7; 32]);
    assert_eq!(status(signing), Some(Status::PsaErrorNotPermitted));
    assert_eq!(client.list_keys().unwrap().len(), 1);
    // A signing key is no attesting key: its name means the machine's, if there is one.
    let attestation = client.attest_key("mine", "k", &[1; 16], certify()).unwrap();
    assert!(attestation.statement.starts_with(b"k"));
    let names: Vec<_> = client.list_attesting_keys().unwrap().into_iter().map(|key| (key.name, key.is_own)).collect();
    assert_eq!(names, [("machine".to_owned(), false), ("mine".to_owned(), true)]);
    let chain = FamilyChain { family: "attest".to_owned(), certificates: vec![vec![0x30, 0]] };
    let refused = client.install_certificates("mine", vec![chain]).unwrap_err();
    assert_eq!(refused.code(), Some("cx509.not-der"));
    client.destroy_key("mine").unwrap();
}

#[test]
fn the_machines_attesting_keys_are_out_of_reach_of_key_operations() {
    let bench = Bench::start();
    let mut client = bench.client();
    let absent = Some(Status::PsaErrorDoesNotExist);
    assert_eq!(status(client.sign_hash("machine", ecdsa(hash::SHA_256), &[7; 32])), absent);
    assert_eq!(status(client.destroy_key("machine")), absent);
    assert_eq!(status(client.export_public_key("machine")), absent);
    assert!(bench.control.destroyed.lock().unwrap().is_empty());
}

#[test]
fn failures_of_the_extension_say_what_and_what_to_do() {
    let bench = Bench::start();
    let mut client = bench.client();
    let fault = client.attest_key("nothing", "", &[1; 16], certify()).unwrap_err();
    assert_eq!(fault.status(), Some(Status::PsaErrorDoesNotExist));
    assert_eq!(fault.code(), Some("agent.key-unknown"));
    assert!(fault.to_string().contains("\"nothing\""), "{fault}");
    assert!(fault.next_step().contains("list your keys"), "{}", fault.next_step());
    let fault = client.activate_credential("", b"x", b"y").unwrap_err();
    assert_eq!(fault.code(), Some("agent.activation-refused"));
    let fault = client.attest_platform(
        "",
        &[1; 16],
        PlatformMechanism::TpmQuote(TpmQuote { bank: "md5".to_owned(), indices: vec![] }),
    );
    assert_eq!(fault.unwrap_err().code(), Some("agent.invalid"));
    // A stock operation has a status alone.
    assert_eq!(client.destroy_key("nothing").unwrap_err().code(), None);
}

#[test]
fn discovery() {
    let bench = Bench::start();
    let mut client = bench.client();
    let ids: Vec<u32> = client.list_providers().unwrap().iter().map(|provider| provider.id).collect();
    assert_eq!(ids, [3, 0]);
    let authenticators = client.list_authenticators().unwrap();
    assert_eq!(authenticators.iter().map(|a| a.id).collect::<Vec<_>>(), [3]);
    let core = client.list_opcodes(ProviderId::CORE).unwrap();
    assert_eq!(core, [0x01, 0x08, 0x09, 0x0E, 0x1A, 0x1B, 0x1C]);
    let tpm = client.list_opcodes(ProviderId::TPM).unwrap();
    assert!(tpm.starts_with(&[0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x0A, 0x0B, 0x0D]) && tpm.contains(&0x0106));
    // Parsec's clients refuse an answer with a number that is not Parsec's: those are in a field of their own.
    let body = ListOpcodesOperation { provider_id: ProviderId::TPM.0.into() }.encode_to_vec();
    let mut raw = bench.raw();
    raw.write_all(&support::request(ProviderId::CORE, Opcode::ListOpcodes.number(), &body)).unwrap();
    let answer = ListOpcodesResult::decode(support::response(&mut raw).1.as_slice()).unwrap();
    assert!(answer.opcodes.iter().all(|number| *number <= 0x20) && answer.extension_opcodes.len() == 9);
    assert_eq!(core.len() + tpm.len(), Opcode::ALL.len());
    assert_eq!(status(client.list_opcodes(ProviderId(200))), Some(Status::ProviderDoesNotExist));
}

#[test]
fn a_full_queue_refuses_at_once_and_the_rest_goes_on() {
    let limits = Limits { waiting_requests_per_user: 2, ..Limits::default() };
    let bench = Bench::with(limits);
    bench.control.hold();
    let socket = bench.socket();
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let first = scope.spawn(|| support::client(&socket).generate_key("0", p256()));
        bench.control.wait_for_begun(1);
        let more: Vec<_> = (1..6)
            .map(|number: u32| {
                let socket = &socket;
                scope.spawn(move || support::client(socket).generate_key(&number.to_string(), p256()))
            })
            .collect();
        // Of five, two wait and three are refused while the first is held up.
        while more.iter().filter(|client| client.is_finished()).count() < 3 {
            std::thread::sleep(Duration::from_millis(1));
        }
        // Discovery needs no provider.
        let started = Instant::now();
        bench.assert_alive();
        assert!(started.elapsed() < Duration::from_millis(100));
        bench.control.release();
        [first].into_iter().chain(more).map(|client| client.join().unwrap()).collect()
    });
    let busy: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
    assert_eq!(busy.len(), 3);
    assert!(busy.iter().all(|fault| fault.status() == Some(Status::PsaErrorInsufficientMemory)));
}

#[test]
fn a_provider_that_panics_is_opened_anew() {
    let bench = Bench::start();
    let mut client = bench.client();
    client.generate_key("k", p256()).unwrap();
    let crashed = client.sign_hash("k", ecdsa(hash::SHA_256), &[0xFF; 32]);
    assert_eq!(status(crashed), Some(Status::PsaErrorHardwareFailure));
    assert!(client.sign_hash("k", ecdsa(hash::SHA_256), &[7; 32]).is_ok());
    assert_eq!(bench.control.opened.load(Ordering::SeqCst), 2);
}

#[test]
fn a_provider_that_is_away_takes_nothing_else_down_and_comes_back() {
    let control = Arc::new(Control::default());
    control.absent.store(true, Ordering::SeqCst);
    let bench = Bench::of(Arc::clone(&control), |_| {});
    let mut client = bench.client();
    assert_eq!(client.list_providers().unwrap().len(), 2);
    let away = client.generate_key("k", p256());
    assert_eq!(status(away), Some(Status::PsaErrorCommunicationFailure));
    let fault = client.list_mechanisms().unwrap_err();
    assert_eq!(fault.code(), Some("agent.connection"));
    control.absent.store(false, Ordering::SeqCst);
    client.generate_key("k", p256()).unwrap();
}

#[test]
fn stopping_finishes_what_is_being_answered_and_leaves_no_file() {
    let mut bench = Bench::start();
    bench.control.hold();
    let socket = bench.socket();
    let working = std::thread::spawn({
        let socket = socket.clone();
        move || support::client(&socket).generate_key("k", p256())
    });
    bench.control.wait_for_begun(1);
    let mut idle = bench.raw();
    let ping = support::request(ProviderId::CORE, Opcode::Ping.number(), &[]);
    assert_eq!(support::status(&mut idle, &ping), Status::Success);
    let agent = bench.agent.take().unwrap();
    let stopping = std::thread::spawn(move || agent.stop());
    assert!(support::is_closed(&mut idle));
    bench.control.release();
    stopping.join().unwrap();
    working.join().unwrap().unwrap();
    assert!(!socket.exists());
    assert!(Client::connect(&Endpoint::at(&socket)).is_err());
}

/// What a user without grants sees, run by the test below as another user.
#[test]
#[ignore = "run as another user by the tests that need one"]
fn as_another_user() {
    let socket = std::env::var("VOUCHSAFE_TEST_SOCKET").expect("set by the test that runs this one");
    let granted = std::env::var("VOUCHSAFE_TEST_GRANTED").unwrap();
    let mut client = Client::connect(&Endpoint::at(socket.as_ref())).unwrap();
    if granted == "overflow" {
        let refused = client.list_keys().unwrap_err();
        assert_eq!(refused.status(), Some(Status::ConnectionError), "{refused}");
        return;
    }
    if granted.starts_with("lent") {
        return name_spaces::as_borrower(&mut client, &granted);
    }
    // The name spaces are apart: root has a key of this name.
    assert_eq!(client.list_keys().unwrap(), vec![]);
    let absent = Some(Status::PsaErrorDoesNotExist);
    assert_eq!(status(client.export_public_key("k")), absent);
    assert_eq!(status(client.sign_hash("k", ecdsa(hash::SHA_256), &[7; 32])), absent);
    assert_eq!(status(client.destroy_key("k")), absent);
    assert_eq!(status(client.attest_key("k", "mine", &[1; 16], certify())), absent);
    client.generate_key("k", p256()).unwrap();
    client.create_attesting_key("mine", "", false).unwrap();
    assert!(client.attest_key("k", "mine", &[1; 16], certify()).is_ok());
    let outcomes = [
        ("attest", client.attest_key("k", "", &[1; 16], certify()).map(|_| ())),
        ("attest", client.attest_key("k", "machine", &[1; 16], certify()).map(|_| ())),
        ("attest-platform", client.attest_platform("", &[1; 16], quote()).map(|_| ())),
        ("attest-platform", client.attest_platform("mine", &[1; 16], quote()).map(|_| ())),
        ("activate-credential", client.describe_endorsement("").map(|_| ())),
        ("activate-credential", client.activate_credential("", b"", b"").map(|_| ())),
        ("activate-credential", client.install_certificates("", vec![]).map(|_| ())),
        ("activate-credential", client.create_attesting_key("x", "", true).map(|_| ())),
    ];
    for (capability, outcome) in outcomes {
        let code = outcome.err().and_then(|fault| fault.code().map(str::to_owned));
        let is_missing = code.as_deref() == Some("agent.grant-missing");
        assert_eq!(is_missing, capability != granted, "{capability}: {code:?}");
    }
    let refused = |outcome: Result<(), ClientFault>| outcome.err().and_then(|fault| fault.status());
    let is_manager = granted == "manage-clients";
    let admin_only = Some(Status::AdminOperation);
    assert_eq!(refused(client.list_clients().map(|_| ())), if is_manager { None } else { admin_only });
    assert_eq!(refused(client.delete_client("0")), if is_manager { absent } else { admin_only });
    let dialogue = if granted == "activate-credential" { absent } else { Some(Status::PsaErrorNotPermitted) };
    assert_eq!(refused(client.prepare_key_attestation("k").map(|_| ())), dialogue);
    let keys = client.list_attesting_keys().unwrap();
    // Who manages clients has no use for the keys that tell which machine this is.
    let sees = ["attest", "attest-platform", "activate-credential"].contains(&granted.as_str());
    assert_eq!(keys.iter().any(|key| !key.is_own), sees);
    client.destroy_key("mine").unwrap();
    client.destroy_key("k").unwrap();
}

fn run_as(uid: u32, bench: &Bench, granted: &str) {
    std::fs::set_permissions(bench.directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "as_another_user", "--ignored", "--nocapture"])
        .env("VOUCHSAFE_TEST_SOCKET", bench.socket())
        .env("VOUCHSAFE_TEST_GRANTED", granted)
        .uid(uid)
        .gid(uid)
        .current_dir("/")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

/// Only root can be two users; who is not has the same rules tested on `Grants` itself.
fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("SKIPPED: only root can be another user; the rules are left to the unit tests of grants");
    }
    root
}

#[test]
fn users_without_grants_have_their_own_keys_and_nothing_of_the_machine() {
    if !is_root() {
        return;
    }
    let bench = Bench::start();
    bench.client().generate_key("k", p256()).unwrap();
    bench.client().create_attesting_key("mine", "", false).unwrap();
    run_as(4242, &bench, "nothing");
    assert!(bench.client().export_public_key("k").is_ok());
}

#[test]
fn a_grant_gives_what_it_names() {
    if !is_root() {
        return;
    }
    for capability in Capability::ALL {
        let bench = Bench::of(Arc::default(), |config| {
            config.grants = vec![GrantRule::new(Grantee::Uid(4242), vec![capability])];
        });
        run_as(4242, &bench, capability.name());
    }
}

/// A52: what users of other namespaces share is nobody's.
#[test]
fn the_overflow_uid_is_turned_away() {
    if !is_root() {
        return;
    }
    run_as(65534, &Bench::start(), "overflow");
}

#[test]
fn health_and_metrics_are_on_a_socket_of_their_own() {
    let control = Arc::new(Control::default());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("monitoring");
    let bench = Bench::of(Arc::clone(&control), |config| config.monitoring = Some(path.clone()));
    let asked = |request: &str| {
        let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        std::io::read_to_string(stream).unwrap()
    };
    let get = |target: &str| asked(&format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    bench.assert_alive();
    assert!(bench.client().export_public_key("nothing").is_err());
    let health = get("/health");
    assert!(
        health.starts_with("HTTP/1.1 200 OK\r\n") && health.ends_with("\r\n\r\nprovider tpm: up\naudit: up\n"),
        "{health}"
    );
    let metrics = get("/metrics");
    for line in [
        "requests_total{operation=\"Ping\",status=\"0\"} 1\n",
        "requests_total{operation=\"PsaExportPublicKey\",status=\"1140\"} 1\n",
        "provider_up{provider=\"tpm\"} 1\n",
        "audit_entries_total 0\n",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    assert!(get("/other").starts_with("HTTP/1.1 404 "));
    assert!(asked("DELETE /health HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405 "));
    // A head without an end is not read for ever.
    let mut endless = std::os::unix::net::UnixStream::connect(&path).unwrap();
    let _ = endless.write_all(&[b'x'; 8192]);
    assert_eq!(std::io::read_to_string(endless).unwrap_or_default(), "");
    assert!(get("/health").contains("up"));
    bench.assert_alive();
    drop(bench);
    assert!(!path.exists());
}

#[test]
fn who_holds_every_place_of_the_monitoring_does_not_delay_the_stop() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("monitoring");
    let bench = Bench::of(Arc::default(), |config| config.monitoring = Some(path.clone()));
    // As many as are answered at a time, and more that wait; none says anything.
    let silent: Vec<_> = (0..20).map(|_| std::os::unix::net::UnixStream::connect(&path).unwrap()).collect();
    std::thread::sleep(Duration::from_millis(200));
    let since = Instant::now();
    drop(bench);
    assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
    drop(silent);
}

/// Serves with few file descriptors until its standard input ends; run by the test below as a process of its own.
#[test]
#[ignore = "run as a process of its own"]
fn serve_with_few_descriptors() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    setrlimit(Resource::Nofile, Rlimit { current: Some(48), maximum: Some(48) }).unwrap();
    let bench = Bench::start();
    println!("SOCKET {}", bench.socket().display());
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

#[test]
fn without_file_descriptors_the_greediest_makes_room() {
    let mut agent = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "serve_with_few_descriptors", "--ignored", "--nocapture"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // Kept open: the process says more when it ends.
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(agent.stdout.take().unwrap()));
    let socket = lines
        .by_ref()
        .map_while(Result::ok)
        .find_map(|line| line.split_once("SOCKET ").map(|(_, path)| path.to_owned()))
        .unwrap();
    let endpoint = Endpoint::at(socket.as_ref());
    let mut first = Client::connect(&endpoint).unwrap();
    first.ping().unwrap();
    let silent: Vec<_> = (0..100).map(|_| Client::connect(&endpoint).unwrap()).collect();
    let since = Instant::now();
    Client::connect(&endpoint).unwrap().ping().unwrap();
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
    assert!(first.ping().is_err(), "the one that waited longest made room");
    drop(silent);
    drop(agent.stdin.take());
    assert!(agent.wait().unwrap().success());
}

#[test]
fn the_record_says_who_did_what_with_which_key() {
    let bench = Bench::start();
    let mut client = bench.client();
    let (first, second) = ([1; 16], [2; 16]);
    client.generate_key("k", p256()).unwrap();
    client.create_attesting_key("mine", "", false).unwrap();
    client.attest_key("k", "", &first, certify()).unwrap();
    client.attest_key("k", "mine", &second, certify()).unwrap();
    client.attest_platform("", &first, quote()).unwrap();
    client.destroy_key("k").unwrap();
    client.generate_key("k", p256()).unwrap();
    client.attest_key("unknown", "", &first, certify()).unwrap_err();
    client.activate_credential("", b"", b"").unwrap_err();
    client.install_certificates("", vec![]).unwrap();
    let own = rustix::process::geteuid().as_raw();
    client.delete_client(&own.to_string()).unwrap();
    // Uses of a key are not recorded.
    client.sign_hash("k", ecdsa(hash::SHA_256), &[7; 32]).unwrap_err();

    let log = bench.directory.path().join("state").join(vouchsafe_agent::audit::FILE_NAME);
    let text = std::fs::read_to_string(&log).unwrap();
    let entries: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    let digest = |nonce: &[u8]| -> String {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, nonce);
        digest.as_ref().iter().map(|octet| format!("{octet:02x}")).collect()
    };
    let (first, second) = (digest(&first), digest(&second));
    let (key, mine, again) = (entries[0][7], entries[1][7], entries[6][7]);
    assert!(key.len() == 32 && mine.len() == 32 && again.len() == 32);
    assert!(key != mine && key != again && mine != again);
    let machine = entries[2][8];
    let own_text = own.to_string();
    let own_attesting_key = format!("unix:{own}/tpm/mine");
    let expected = [
        ["generate", "tpm", "k", key, "-", "-", "ok"],
        ["create-attesting-key", "tpm", "mine", mine, "-", "-", "ok"],
        ["attest-key", "tpm", "k", key, machine, &first, "ok"],
        ["attest-key", "tpm", "k", key, &own_attesting_key, &second, "ok"],
        ["attest-platform", "tpm", "", "-", machine, &first, "ok"],
        ["destroy", "tpm", "k", key, "-", "-", "ok"],
        ["generate", "tpm", "k", again, "-", "-", "ok"],
        ["attest-key", "tpm", "unknown", "-", machine, &first, "agent.key-unknown"],
        ["activate-credential", "tpm", "", "-", machine, "-", "agent.activation-refused"],
        ["install-certificates", "tpm", "", "-", machine, "-", "ok"],
        ["destroy", "tpm", "k", again, "-", "-", "ok"],
        ["destroy", "tpm", "mine", mine, "-", "-", "ok"],
        ["delete-client", "core", &own_text, "-", "-", "-", "ok"],
    ];
    for (entry, expected) in entries.iter().zip(&expected) {
        let said = [entry[2], entry[5], entry[6], entry[7], entry[8], entry[9], entry[10]];
        assert_eq!(&said, expected);
        assert_eq!((entry[3], entry[4]), (format!("unix:{own}").as_str(), own_text.as_str()));
    }
    assert_eq!(entries.len(), expected.len());
    assert_eq!(vouchsafe_agent::audit::verify(&log, None).unwrap().entries, 13);
}
