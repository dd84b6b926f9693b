//! What the agent adds to the TPM: `cargo bench -p vouchsafe-agent --bench device`.
//!
//! One software TPM is asked by a raw client and by an agent in turns, both with salted HMAC sessions and parameter
//! encryption. Each round gives a ratio of medians, and the median of those counts, so that what else the machine does weighs
//! on both alike. The agent is a process of its own, its client has one persistent connection. Ends with an error when a ratio
//! is above its target. `VOUCHSAFE_BENCH_IDLE_SECONDS` shortens the idle measurement.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::as_conversions)]
#![allow(clippy::disallowed_methods, missing_docs, dead_code)]

#[path = "support/agent.rs"]
mod agent;
#[path = "support/floor.rs"]
mod floor;
#[path = "support/keys.rs"]
mod keys;
#[path = "support/report.rs"]
mod report;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use agent::Agent;
use floor::{DIGEST, NONCE, OPERATIONS, Times, UNLOADED, WARM_UP, measure_raw};
use keys::{ecdsa, p256};
use report::{Report, median, milliseconds, quantiles, timed};
use vouchsafe_agent::client::Client;
use vouchsafe_agent::swtpm::{Options, Swtpm};
use vouchsafe_agent::wire::message::{KeyMechanism, TpmCertify};

/// Rounds in which the raw client and the agent take turns.
const ROUNDS: usize = 21;
const PINGS: usize = 20_000;
/// Connections that lie idle while idleness is measured.
const IDLE_CONNECTIONS: usize = 16;

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
        measure_raw(&swtpm.address(), &mut raw);
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
        // Room for the next key is made by then, outside the time as the raw client makes it: requests of a provider are
        // answered one after the other.
        client.export_public_key(&used).unwrap();
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
