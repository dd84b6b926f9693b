//! What a client without any grant can make the agent take up, and what it can make the record say.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use prost::Message;
use vouchsafe_agent::provider::{Family, FamilyCertificates, KeyBlob, KeyPurpose, KeyUid};
use vouchsafe_agent::provider_identity::ProviderKind;
use vouchsafe_agent::store::{Insertion, KeyId, KeyRole, NewKey, Store};
use vouchsafe_agent::wire::message::{
    FamilyChain, GenerateKeyOperation, KeyMechanism, SignHashOperation, TpmCertify, hash,
};
use vouchsafe_agent::wire::{Opcode, ProviderId, Status};
use vouchsafe_agent::{ClientId, audit};

use crate::support::{Bench, Control, authenticated, ecdsa, named, p256, status};

fn state(bench: &Bench) -> std::path::PathBuf {
    bench.directory.path().join("state")
}

fn chain(family: &str, certificates: Vec<Vec<u8>>) -> Vec<FamilyChain> {
    vec![FamilyChain { family: family.to_owned(), certificates }]
}

#[test]
fn own_attesting_keys_keep_certificates_of_their_families_and_of_bounded_size() {
    let bench = Bench::start();
    let mut client = bench.client();
    client.create_attesting_key("mine", "", false).unwrap();
    for (chain, code) in [
        (chain("certify-x509", vec![vec![0x30, 0]]), "agent.invalid"),
        (chain("attest", vec![vec![0x30; 40_000]; 2]), "agent.invalid"),
        // One that is looked at further, since its family and its size are not what is wrong.
        (chain("attest", vec![vec![0x30, 0]]), "cx509.not-der"),
    ] {
        assert_eq!(client.install_certificates("mine", chain).unwrap_err().code(), Some(code));
    }
}

/// What the list says of one client's keys is gathered in memory: it ends where no response could hold it.
#[test]
fn a_list_of_attesting_keys_that_no_response_holds_is_not_gathered() {
    let directory = tempfile::tempdir().unwrap();
    let uid = rustix::process::geteuid().as_raw();
    let keys = 64_u32;
    {
        let store = Store::open(&directory.path().join("state")).unwrap();
        for number in 0..keys {
            let uid_of_key = KeyUid::random().unwrap();
            let id = KeyId { client: ClientId::Unix(uid), provider: "tpm".parse().unwrap(), name: number.to_string() };
            let role = KeyRole::Pair(KeyPurpose::Attest);
            let new = NewKey { id, uid: uid_of_key, owner: uid, role, attributes: Vec::new() };
            assert_eq!(
                store.insert_key(&new, &KeyBlob::from_bytes(b"Attest".to_vec()), keys).unwrap(),
                Insertion::Stored
            );
            let certificates = vec![vec![7; 32 * 1024]; 2];
            assert!(
                store
                    .replace_certificates(&uid_of_key, &[FamilyCertificates { family: Family::Attest, certificates }])
                    .unwrap()
            );
        }
    }
    let control: Arc<Control> = Arc::default();
    let modules = vec![("tpm", ProviderKind::Tpm, Arc::clone(&control))];
    let bench = Bench::in_directory(directory, modules, |_| {});
    let refused = bench.client().list_attesting_keys().unwrap_err();
    assert_eq!(refused.status(), Some(Status::ResponseTooLarge), "{refused}");
    assert!(control.exported.load(Ordering::SeqCst) < 32);
}

/// An own attesting key may have the name of one of the machine's: the record tells them apart.
#[test]
fn the_record_tells_own_attesting_keys_from_the_machines() {
    let bench = Bench::start();
    let mut client = bench.client();
    client.generate_key("k", p256()).unwrap();
    let certify = || KeyMechanism::TpmCertify(TpmCertify {});
    client.attest_key("k", "machine", &[1; 16], certify()).unwrap();
    client.create_attesting_key("machine", "", false).unwrap();
    client.attest_key("k", "machine", &[1; 16], certify()).unwrap();
    client.attest_key("k", "", &[1; 16], certify()).unwrap();
    client.install_certificates("machine", chain("attest", vec![vec![0x30, 0]])).unwrap_err();
    let text = std::fs::read_to_string(state(&bench).join(audit::FILE_NAME)).unwrap();
    let said: Vec<(&str, &str)> = text
        .lines()
        .map(|line| line.split('\t').collect::<Vec<_>>())
        .map(|fields| (fields[2], fields[8]))
        .filter(|(event, _)| ["attest-key", "install-certificates"].contains(event))
        .collect();
    let own = format!("unix:{}/tpm/machine", rustix::process::geteuid().as_raw());
    let own = own.as_str();
    let expected =
        [("attest-key", "machine"), ("attest-key", own), ("attest-key", "machine"), ("install-certificates", own)];
    assert_eq!(said, expected);
}

/// Lists of keys take the store for a while each: one user that asks for them on all its connections must not keep others from
/// the keys that they use.
#[test]
fn lists_on_many_connections_hold_nobody_up() {
    const CONNECTIONS: usize = 100;
    const REQUESTS: usize = 400;
    let bench = Bench::start();
    let mut client = bench.client();
    let name = |number: usize| format!("{number}{}", "x".repeat(200));
    for number in 0..1000 {
        client.generate_key(&name(number), p256()).unwrap();
    }
    let list = authenticated(ProviderId::CORE, Opcode::ListKeys.number(), &[], rustix::process::geteuid().as_raw());
    let stop = AtomicBool::new(false);
    let mut times = std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| {
                let mut stream = bench.raw();
                stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
                while !stop.load(Ordering::SeqCst) {
                    match status(&mut stream, &list) {
                        Status::Success => {}
                        // More of them wait than one user may have wait.
                        Status::PsaErrorInsufficientMemory => std::thread::sleep(Duration::from_millis(5)),
                        other => panic!("{other}"),
                    }
                }
            });
        }
        std::thread::sleep(Duration::from_millis(500));
        let sign = || {
            let begun = Instant::now();
            client.sign_hash(&name(1), ecdsa(hash::SHA_256), &[7; 32]).unwrap();
            begun.elapsed()
        };
        let times: Vec<Duration> = std::iter::repeat_with(sign).take(REQUESTS).collect();
        stop.store(true, Ordering::SeqCst);
        times
    });
    times.sort();
    // An unoptimized build takes some ms for one list. All of them together took 400 ms.
    let p95 = times[REQUESTS * 95 / 100];
    assert!(p95 < Duration::from_millis(100), "{p95:?}");
}

/// What was done is always recorded, and nobody needs a grant to make and destroy keys of its own: so that is bounded, for whoever has
/// none, or a few users could fill the disk without which nothing more is done for anyone.
#[test]
fn who_has_no_grant_has_only_so_much_recorded() {
    let bench = Bench::of(Arc::default(), |config| {
        config.authenticators.direct = true;
        config.limits.recorded_per_minute = 3;
    });
    let mut stream = bench.raw();
    // A name that a client gave itself has no grants; it is the user behind it that is counted.
    let mut generate = |client: &str, key: &str| {
        let operation = GenerateKeyOperation { key_name: key.to_owned(), attributes: Some(p256()) };
        let body = operation.encode_to_vec();
        status(&mut stream, &named(ProviderId::TPM, Opcode::PsaGenerateKey.number(), &body, client))
    };
    assert_eq!(["a", "b", "c"].map(|name| generate(name, "k")), [Status::Success; 3]);
    assert_eq!(generate("d", "k"), Status::PsaErrorInsufficientMemory);
    // Using a key is not recorded and goes on; an administrator is not held up.
    let sign = SignHashOperation { key_name: "k".to_owned(), alg: Some(ecdsa(hash::SHA_256)), hash: vec![7; 32] };
    let sign = named(ProviderId::TPM, Opcode::PsaSignHash.number(), &sign.encode_to_vec(), "a");
    assert_eq!(status(&mut bench.raw(), &sign), Status::Success);
    bench.client().generate_key("own", p256()).unwrap();
    let text = std::fs::read_to_string(state(&bench).join(audit::FILE_NAME)).unwrap();
    let outcomes: Vec<&str> = text.lines().map(|line| line.split('\t').nth(10).unwrap()).collect();
    assert_eq!(outcomes, ["ok", "ok", "ok", "agent.too-often", "ok"]);
}
