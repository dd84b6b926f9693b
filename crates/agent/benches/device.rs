//! What the agent adds to the TPM: `cargo bench -p vouchsafe-agent --bench device`.
//!
//! One software TPM is asked by a raw client and by an agent in turns, both with salted HMAC sessions and parameter encryption. Each
//! round gives a ratio of medians, and the median of those counts, so that what else the machine does weighs on both alike. The agent is a process of its own, its client has one persistent
//! connection. Ends with an error when a ratio is above its target. `VOUCHSAFE_BENCH_IDLE_SECONDS` shortens the idle measurement.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::as_conversions)]
#![allow(clippy::disallowed_methods, missing_docs)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use vouchsafe_agent::client::{Client, Endpoint};
use vouchsafe_agent::config::Config;
use vouchsafe_agent::swtpm::{Options, Swtpm};
use vouchsafe_agent::tpm::{AuthValue, Hierarchy, Object, SignScheme, Ticket, Tpm};
use vouchsafe_agent::wire::message::{
    Algorithm, AlgorithmVariant, AsymmetricSignature, AsymmetricSignatureVariant, EccKeyPair, KeyAttributes,
    KeyMechanism, KeyPolicy, KeyType, KeyTypeVariant, SignHash, SignHashVariant, SignatureHash, TpmCertify, UsageFlags,
    ecc_family, hash,
};
use vouchsafe_evidence::tpm::template::{
    AK_ATTRIBUTES, SigningKey, USER_KEY_ATTRIBUTES, signing_key, storage_root_key,
};
use vouchsafe_evidence::tpm::{HashAlg, TpmtPublic};

/// Rounds in which the raw client and the agent take turns.
const ROUNDS: usize = 21;
/// Operations of each kind in one round.
const OPERATIONS: usize = 60;
/// Keys that are attested without being loaded, in one round.
const UNLOADED: usize = 30;
/// Operations before measuring begins.
const WARM_UP: usize = 20;
const PINGS: usize = 20_000;
/// Connections that lie idle while idleness is measured.
const IDLE_CONNECTIONS: usize = 16;
const NONCE: [u8; 32] = [0x42; 32];
const DIGEST: [u8; 32] = [0x17; 32];
/// Names the configuration for the agent's process.
const SERVE: &str = "VOUCHSAFE_BENCH_CONFIG";

#[derive(Default)]
struct Times {
    sign: Vec<Duration>,
    certify: Vec<Duration>,
    load_and_certify: Vec<Duration>,
}

fn main() -> ExitCode {
    if let Some(file) = std::env::var_os(SERVE) {
        vouchsafe_agent::serve(Config::load(Path::new(&file)).unwrap()).unwrap();
        return ExitCode::SUCCESS;
    }
    let swtpm = Swtpm::start(&Options::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = configuration(&folder, &swtpm);
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        let (mut raw, mut through) = (Times::default(), Times::default());
        measure_raw(&swtpm, &mut raw);
        let agent = Agent::start(&file, folder.path());
        measure_agent(&agent, round, &mut through);
        rounds.push((raw, through));
    }
    let agent = Agent::start(&file, folder.path());
    let ping = measure_pings(&agent);
    let idle = measure_idleness(&agent);
    drop(agent);
    report(&rounds, ping, idle)
}

/// Picks the times of one kind of operation.
type Pick = fn(&Times) -> &Vec<Duration>;

fn report(rounds: &[(Times, Times)], mut ping: Vec<Duration>, idle: (Duration, Duration)) -> ExitCode {
    let mut missed = 0;
    let mut line = |what: &str, found: f64, target: f64, unit: &str| {
        let is_met = found <= target;
        missed += usize::from(!is_met);
        println!("{what:<52} {found:>8.3}{unit}  target {target}{unit}  {}", if is_met { "met" } else { "MISSED" });
    };
    let compared: [(&str, Pick, f64); 3] = [
        ("sign / TPM2_Sign", |times| &times.sign, 1.3),
        ("attest, loaded key / TPM2_Certify", |times| &times.certify, 1.5),
        ("attest, unloaded key / TPM2_Load + TPM2_Certify", |times| &times.load_and_certify, 1.2),
    ];
    for (what, of, target) in compared {
        let all =
            |pick: fn(&(Times, Times)) -> &Times| rounds.iter().flat_map(|round| of(pick(round)).clone()).collect();
        let ((raw, raw_p95), (through, through_p95)) =
            (quantiles(all(|(raw, _)| raw)), quantiles(all(|(_, through)| through)));
        println!(
            "{what}: raw p50 {raw:.3} ms, p95 {raw_p95:.3} ms; agent p50 {through:.3} ms, p95 {through_p95:.3} ms"
        );
        let ratio = |(raw, through): &(Times, Times)| quantiles(of(through).clone()).0 / quantiles(of(raw).clone()).0;
        let mut ratios: Vec<f64> = rounds.iter().map(ratio).collect();
        ratios.sort_unstable_by(f64::total_cmp);
        line(what, ratios[ratios.len() / 2], target, "");
    }
    ping.sort_unstable();
    let (p50, p99) = (ping[ping.len() / 2], ping[ping.len() * 99 / 100]);
    println!("ping: p50 {:.4} ms, p99 {:.4} ms", milliseconds(p50), milliseconds(p99));
    line("ping p50", milliseconds(p50), 0.1, " ms");
    let (idle_for, used) = idle;
    println!("idle: {:.3} ms of CPU in {} s", milliseconds(used), idle_for.as_secs());
    line("CPU of 60 idle seconds", milliseconds(used) * 60.0 / idle_for.as_secs_f64(), 5.0, " ms");
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Median and 95th percentile in milliseconds.
fn quantiles(mut times: Vec<Duration>) -> (f64, f64) {
    times.sort_unstable();
    (milliseconds(times[times.len() / 2]), milliseconds(times[times.len() * 95 / 100]))
}

fn timed<R>(times: &mut Vec<Duration>, work: impl FnOnce() -> R) -> R {
    let started = Instant::now();
    let result = work();
    times.push(started.elapsed());
    result
}

/// Where the agent also puts its storage root key.
const ROOT_HANDLE: u32 = 0x8100_0001;
/// Where the raw client's attesting key is, apart from the agent's.
const ATTESTING_HANDLE: u32 = 0x8101_9000;

/// The primary key of this template, made persistent unless it is.
fn persistent(
    tpm: &mut Tpm,
    hierarchy: Hierarchy,
    template: &TpmtPublic,
    auth: &AuthValue,
    handle: u32,
) -> (Object, TpmtPublic) {
    let (made, public) = tpm.create_primary(hierarchy, template, auth).unwrap();
    let object = match tpm.handles(handle).unwrap().contains(&handle) {
        true => Object::persistent(handle, &public, auth.clone()),
        false => tpm.persist(&made, handle, &public).unwrap(),
    };
    tpm.flush(&made).unwrap();
    (object, public)
}

fn measure_raw(swtpm: &Swtpm, times: &mut Times) {
    let mut tpm = swtpm.connect().unwrap();
    let (root, public) = persistent(&mut tpm, Hierarchy::Owner, &storage_root_key(), &AuthValue::empty(), ROOT_HANDLE);
    tpm.salt_sessions_to(ROOT_HANDLE, public);
    let auth = AuthValue::new(&[7; 32]);
    let key = signing_key(SigningKey::EccP256, USER_KEY_ATTRIBUTES, None, &[]);
    let attesting = signing_key(SigningKey::EccP256, AK_ATTRIBUTES, Some(HashAlg::Sha256), &[]);
    let mut keys: Vec<_> = (0..=UNLOADED).map(|_| tpm.create(&root, &key, &auth).unwrap()).collect();
    let used = keys.pop().unwrap();
    let (attester, _) = persistent(&mut tpm, Hierarchy::Endorsement, &attesting, &auth, ATTESTING_HANDLE);
    let object = tpm.load(&root, &used.private, &used.public, auth.clone()).unwrap();
    let sign = |tpm: &mut Tpm| {
        tpm.sign(&object, &DIGEST, SignScheme::Ecdsa(HashAlg::Sha256), &Ticket::null_hash_check()).unwrap()
    };
    let certify = |tpm: &mut Tpm, object: &Object| tpm.certify(object, &attester, &NONCE, SignScheme::KeysOwn).unwrap();
    (0..WARM_UP).for_each(|_| {
        sign(&mut tpm);
        certify(&mut tpm, &object);
    });
    for _ in 0..OPERATIONS {
        timed(&mut times.sign, || sign(&mut tpm));
        timed(&mut times.certify, || certify(&mut tpm, &object));
    }
    tpm.flush(&object).unwrap();
    for created in keys {
        let object = timed(&mut times.load_and_certify, || {
            let object = tpm.load(&root, &created.private, &created.public, auth.clone()).unwrap();
            certify(&mut tpm, &object);
            object
        });
        tpm.flush(&object).unwrap();
    }
}

fn measure_agent(agent: &Agent, round: usize, times: &mut Times) {
    let mut client = agent.client();
    let name = |number: usize| format!("key-{round}-{number}");
    (0..=UNLOADED).for_each(|number| client.generate_key(&name(number), p256()).unwrap());
    let used = name(UNLOADED);
    let certify = || KeyMechanism::TpmCertify(TpmCertify {});
    let sign = |client: &mut Client| client.sign_hash(&used, ecdsa(), &DIGEST).unwrap();
    let attest = |client: &mut Client, name: &str| client.attest_key(name, "", &NONCE, certify()).unwrap();
    (0..WARM_UP).for_each(|_| {
        sign(&mut client);
        attest(&mut client, &used);
    });
    for _ in 0..OPERATIONS {
        timed(&mut times.sign, || sign(&mut client));
        timed(&mut times.certify, || attest(&mut client, &used));
    }
    for number in 0..UNLOADED {
        timed(&mut times.load_and_certify, || attest(&mut client, &name(number)));
    }
    (0..=UNLOADED).for_each(|number| client.destroy_key(&name(number)).unwrap());
}

fn ping(client: &mut Client) {
    assert_eq!(client.ping().unwrap(), (1, 0));
}

fn measure_pings(agent: &Agent) -> Vec<Duration> {
    let mut client = agent.client();
    let mut times = Vec::new();
    (0..WARM_UP).for_each(|_| ping(&mut client));
    (0..PINGS).for_each(|_| timed(&mut times, || ping(&mut client)));
    times
}

/// How long the agent was left alone, and what CPU time it used meanwhile.
fn measure_idleness(agent: &Agent) -> (Duration, Duration) {
    let seconds = std::env::var("VOUCHSAFE_BENCH_IDLE_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    let mut clients: Vec<_> = (0..IDLE_CONNECTIONS).map(|_| agent.client()).collect();
    clients.iter_mut().for_each(ping);
    clients[0].generate_key("idle", p256()).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    let (before, started) = (agent.cpu_time(), Instant::now());
    assert!(before > Duration::ZERO, "the kernel does not count");
    std::thread::sleep(Duration::from_secs(seconds));
    let used = agent.cpu_time().saturating_sub(before);
    (started.elapsed(), used)
}

/// The configuration file of an agent on this TPM.
fn configuration(folder: &TempDir, swtpm: &Swtpm) -> PathBuf {
    let (file, folder) = (folder.path().join("agent.toml"), folder.path().display());
    let text = format!(
        "state = '{folder}/state'\n[socket]\npath = '{folder}/s'\n[providers.tpm]\naddress = '{}'\n",
        swtpm.address()
    );
    std::fs::write(&file, text).unwrap();
    file
}

/// An agent in a process of its own; told to stop when dropped.
struct Agent {
    process: Child,
    socket: PathBuf,
}

impl Agent {
    fn start(file: &Path, folder: &Path) -> Agent {
        let process =
            Command::new(std::env::current_exe().unwrap()).env(SERVE, file).stdin(Stdio::null()).spawn().unwrap();
        let agent = Agent { process, socket: folder.join("s") };
        while Client::connect(&Endpoint::at(&agent.socket)).is_err() {
            std::thread::sleep(Duration::from_millis(1));
        }
        agent
    }

    fn client(&self) -> Client {
        Client::connect(&Endpoint::at(&self.socket)).unwrap()
    }

    /// Time that the threads of now have spent on a CPU; `stat` counts in hundredths of a second, `schedstat` in nanoseconds.
    fn cpu_time(&self) -> Duration {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.process.id())).unwrap();
        let nanoseconds = tasks.map(|task| {
            let text = std::fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap();
            text.split(' ').next().unwrap().parse::<u64>().unwrap()
        });
        Duration::from_nanos(nanoseconds.sum())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        kill_process(Pid::from_child(&self.process), Signal::TERM).unwrap();
        assert!(self.process.wait().unwrap().success());
    }
}

fn ecdsa() -> AsymmetricSignature {
    let variant = Some(SignHashVariant::Specific(hash::SHA_256));
    let parameters = SignatureHash { hash_alg: Some(SignHash { variant }) };
    AsymmetricSignature { variant: Some(AsymmetricSignatureVariant::Ecdsa(parameters)) }
}

fn p256() -> KeyAttributes {
    let pair = KeyTypeVariant::EccKeyPair(EccKeyPair { curve_family: ecc_family::SECP_R1 });
    KeyAttributes {
        key_type: Some(KeyType { variant: Some(pair) }),
        key_bits: 256,
        key_policy: Some(KeyPolicy {
            key_usage_flags: Some(UsageFlags { sign_hash: true, ..UsageFlags::default() }),
            key_algorithm: Some(Algorithm { variant: Some(AlgorithmVariant::AsymmetricSignature(ecdsa())) }),
        }),
    }
}
