//! What the agent adds to the TPM: `cargo bench -p vouchsafe-agent --bench device`.
//!
//! One software TPM is asked by a raw client and by an agent in turns, both with salted HMAC sessions and parameter encryption. Each
//! round gives a ratio of medians, and the median of those counts, so that what else the machine does weighs on both alike. The agent is a process of its own, its client has one persistent
//! connection. Ends with an error when a ratio is above its target. `VOUCHSAFE_BENCH_IDLE_SECONDS` shortens the idle measurement.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::as_conversions)]
#![allow(clippy::disallowed_methods, missing_docs, dead_code)]

#[path = "support/agent.rs"]
mod agent;
#[path = "support/keys.rs"]
mod keys;
#[path = "support/report.rs"]
mod report;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use agent::Agent;
use keys::{ecdsa, p256};
use report::{Report, median, milliseconds, quantiles, timed};
use vouchsafe_agent::client::Client;
use vouchsafe_agent::swtpm::{Options, Swtpm};
use vouchsafe_agent::tpm::{AuthValue, Hierarchy, Object, SignScheme, Ticket, Tpm};
use vouchsafe_agent::wire::message::{KeyMechanism, TpmCertify};
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

#[derive(Default)]
struct Times {
    sign: Vec<Duration>,
    certify: Vec<Duration>,
    load_and_certify: Vec<Duration>,
}

fn main() -> ExitCode {
    if agent::is_agent() {
        return ExitCode::SUCCESS;
    }
    let swtpm = Swtpm::start(&Options::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = agent::configuration(folder.path(), &swtpm.address(), "");
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        let (mut raw, mut through) = (Times::default(), Times::default());
        measure_raw(&swtpm, &mut raw);
        let agent = Agent::start(&file);
        measure_agent(&agent, round, &mut through);
        rounds.push((raw, through));
    }
    let agent = Agent::start(&file);
    let ping = measure_pings(&agent);
    let idle = measure_idleness(&agent);
    drop(agent);
    report(&rounds, ping, idle)
}

/// Picks the times of one kind of operation.
type Pick = fn(&Times) -> &Vec<Duration>;

fn report(rounds: &[(Times, Times)], mut ping: Vec<Duration>, idle: (Duration, Duration)) -> ExitCode {
    let mut report = Report::default();
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
        report.at_most(what, median(rounds.iter().map(ratio).collect()), target, "");
    }
    ping.sort_unstable();
    let (p50, p99) = (ping[ping.len() / 2], ping[ping.len() * 99 / 100]);
    println!("ping: p50 {:.4} ms, p99 {:.4} ms", milliseconds(p50), milliseconds(p99));
    report.at_most("ping p50", milliseconds(p50), 0.1, " ms");
    let (idle_for, used) = idle;
    println!("idle: {:.3} ms of CPU in {} s", milliseconds(used), idle_for.as_secs());
    report.at_most("CPU of 60 idle seconds", milliseconds(used) * 60.0 / idle_for.as_secs_f64(), 5.0, " ms");
    report.end()
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
