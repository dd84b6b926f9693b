//! The service beside its modules: `cargo bench -p vouchsafe-agent --bench service [pings] [keys] [silent]`.
//!
//! Pings of one client and of many, an agent with 10,000 keys beside one with 10 on the same TPM, and what 200 silent
//! connections do to another client. The agent is a process of its own; its clients are threads with bare sockets. Ends with
//! an error when a target is missed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::as_conversions)]
#![allow(clippy::disallowed_methods, missing_docs, dead_code)]

#[path = "support/agent.rs"]
mod agent;
#[path = "support/keys.rs"]
mod keys;
#[path = "support/report.rs"]
mod report;
#[path = "support/wire.rs"]
mod wire;

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use agent::Agent;
use keys::{ecdsa, p256};
use report::{Report, median, quantiles, timed};
use vouchsafe_agent::client::Client;
use vouchsafe_agent::swtpm::{Options, Swtpm};
use vouchsafe_agent::wire::message::PingOperation;
use wire::{Caller, Connections, rate};

const CORE: u8 = 0;
const PING: u32 = 1;
const CLIENTS: usize = 8;
const PINGS: usize = 20_000;
/// How long rates are measured, once per round.
const LASTING: Duration = Duration::from_secs(2);
const ROUNDS: usize = 5;
const DIGEST: [u8; 32] = [0x17; 32];
/// Keys of the agent that has many, and of the one that has few.
const MANY: usize = 10_000;
const FEW: usize = 10;
/// Rounds in which the two agents take turns, and operations in a round.
const TURNS: usize = 21;
const OPERATIONS: usize = 40;
/// Public keys that are exported in a round, and before it: that asks the store alone.
const EXPORTS: usize = 1_000;
const SILENT: usize = 200;
/// Pings of the client beside the silent connections, in each of [`TURNS`] rounds.
const DISTURBED: usize = 2_000;
const LIMITS: &str = "keys_per_user = 20000\nconnections = 1024\nconnections_per_user = 512";

fn main() -> ExitCode {
    if agent::is_agent() {
        return ExitCode::SUCCESS;
    }
    let parts: Vec<String> = std::env::args().skip(1).filter(|part| !part.starts_with('-')).collect();
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|wanted| wanted == part);
    let mut report = Report::default();
    let (tpm, folder) = (Swtpm::start(&Options::default()).unwrap(), tempfile::tempdir().unwrap());
    let file = agent::configuration(folder.path(), &tpm.address(), LIMITS);
    let agent = Agent::start(&file);
    if wanted("pings") {
        pings(&mut report, &agent);
    }
    if wanted("silent") {
        silence(&mut report, &agent);
    }
    if wanted("keys") {
        drop(agent);
        many_keys(&mut report, &tpm);
    }
    report.end()
}

fn ping() -> Vec<u8> {
    wire::request(CORE, PING, &PingOperation {})
}

fn pings(report: &mut Report, agent: &Agent) {
    let (request, mut times) = (ping(), Vec::new());
    let mut caller = Caller::new(&agent.socket, Connections::Kept);
    (0..PINGS).for_each(|_| {
        timed(&mut times, || caller.call(&request).len());
    });
    let (p50, p95) = quantiles(times);
    println!("ping, connection kept: p50 {p50:.4} ms, p95 {p95:.4} ms");
    report.at_most("ping p50", p50, 0.1, " ms");
    let requests = vec![request; CLIENTS];
    for (connections, what, target) in [
        (Connections::Kept, "pings of 8 clients, connections kept", 40_000.0),
        (Connections::PerRequest, "pings of 8 clients, a connection each", 15_000.0),
    ] {
        let found: Vec<f64> = (0..ROUNDS)
            .map(|_| {
                let before = agent.cpu_time();
                let rate = rate(&agent.socket, connections, &requests, LASTING);
                let used = agent.cpu_time().saturating_sub(before).as_secs_f64() / LASTING.as_secs_f64();
                println!("{what}: {rate:.0}/s, the agent took {used:.2} of a processor");
                rate
            })
            .collect();
        report.at_least(what, median(found), target, "/s");
    }
}

/// What one client feels while many connections say nothing.
fn silence(report: &mut Report, agent: &Agent) {
    let request = ping();
    let mut caller = Caller::new(&agent.socket, Connections::PerRequest);
    let mut measure = || {
        let mut times = Vec::new();
        (0..DISTURBED).for_each(|_| {
            timed(&mut times, || caller.call(&request).len());
        });
        quantiles(times).1
    };
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        alone.push(measure());
        let silent: Vec<UnixStream> = (0..SILENT).map(|_| UnixStream::connect(&agent.socket).unwrap()).collect();
        beside.push(measure());
        drop(silent);
    }
    let (alone, beside) = (median(alone), median(beside));
    println!(
        "p95 of pings with a connection each: alone {alone:.4} ms, beside {SILENT} silent connections {beside:.4} ms"
    );
    report.at_most("what 200 silent connections add to p95", beside - alone, 5.0, " ms");
}

/// Medians of the operations whose cost might grow with the number of keys.
fn operations(agent: &Agent, turn: usize, names: &dyn Fn(usize) -> String) -> [f64; 4] {
    let (mut sign, mut switch, mut export, mut create) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut client, one) = (agent.client(), names(0));
    // What a service that has run for a while has in memory.
    (0..EXPORTS).for_each(|number| drop(client.export_public_key(&names(number)).unwrap()));
    (0..4).for_each(|_| drop(client.sign_hash(&one, ecdsa(), &DIGEST).unwrap()));
    (0..EXPORTS).for_each(|number| {
        timed(&mut export, || client.export_public_key(&names(number + EXPORTS)).unwrap());
    });
    (0..OPERATIONS).for_each(|_| {
        timed(&mut sign, || client.sign_hash(&one, ecdsa(), &DIGEST).unwrap());
    });
    for number in 0..OPERATIONS {
        timed(&mut switch, || client.sign_hash(&names(number), ecdsa(), &DIGEST).unwrap());
    }
    // The first of them make the database's log grow, which it does no more when it has run for a while.
    let create_and_destroy = |client: &mut Client, number: usize| {
        let name = format!("new-{turn}-{number}");
        client.generate_key(&name, p256()).unwrap();
        client.destroy_key(&name).unwrap();
    };
    (0..OPERATIONS).for_each(|number| create_and_destroy(&mut client, number));
    (0..OPERATIONS).for_each(|number| {
        timed(&mut create, || create_and_destroy(&mut client, number));
    });
    [sign, switch, export, create].map(|times| quantiles(times).0)
}

/// Starts with many keys, operations beside an agent with few, memory.
fn many_keys(report: &mut Report, tpm: &Swtpm) {
    let (folder, few_folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = agent::configuration(folder.path(), &tpm.address(), LIMITS);
    let few_file = agent::configuration(few_folder.path(), &tpm.address(), LIMITS);
    let name = |number: usize| format!("key-{number}");
    fill(&Agent::start(&file), 0..FEW);
    copy(&folder.path().join("state"), &few_folder.path().join("state"));
    let started = Instant::now();
    fill(&Agent::start(&file), FEW..MANY);
    println!("{MANY} keys made in {:.0} s", started.elapsed().as_secs_f64());
    starts(report, &file);
    let mut rounds = Vec::new();
    for turn in 0..TURNS {
        // All over the many keys, so that none is warm that would not be.
        let spread = |number: usize| name((number * 241 + turn * 37) % MANY);
        let of_many = operations(&Agent::start(&file), turn, &spread);
        let of_few = operations(&Agent::start(&few_file), turn, &|number| name(number % FEW));
        rounds.push((of_many, of_few));
    }
    for (index, what) in ["sign", "sign, another key each time", "export", "create and destroy"].iter().enumerate() {
        let many = median(rounds.iter().map(|(many, _)| many[index]).collect());
        let few = median(rounds.iter().map(|(_, few)| few[index]).collect());
        println!("{what}: {few:.3} ms with {FEW} keys, {many:.3} ms with {MANY}");
        let ratio = median(rounds.iter().map(|(many, few)| many[index] / few[index]).collect());
        report.at_most(&format!("{what}, {MANY} keys / {FEW} keys"), ratio, 1.1, "");
    }
    memory(report, &Agent::start(&file), &name);
}

fn starts(report: &mut Report, file: &Path) {
    let (mut pings, mut signatures) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        drop(timed(&mut pings, || {
            let agent = Agent::start(file);
            Caller::new(&agent.socket, Connections::Kept).call(&ping());
            agent
        }));
        drop(timed(&mut signatures, || {
            let agent = Agent::start(file);
            agent.client().sign_hash("key-0", ecdsa(), &DIGEST).unwrap();
            agent
        }));
    }
    let what = format!("start with {MANY} keys");
    report.at_most(&format!("{what}, until a ping is answered"), quantiles(pings).0, 200.0, " ms");
    report.at_most(&format!("{what}, until a signature is"), quantiles(signatures).0, 200.0, " ms");
}

fn memory(report: &mut Report, agent: &Agent, names: &dyn Fn(usize) -> String) {
    let (mut client, mut listing) = (agent.client(), Vec::new());
    let _warm = operations(agent, TURNS, names);
    println!("resident with {MANY} keys: {} KiB", agent.kibibytes("VmRSS"));
    (0..ROUNDS).for_each(|_| assert_eq!(timed(&mut listing, || client.list_keys().unwrap()).len(), MANY));
    println!("ListKeys with {MANY} keys: {:.1} ms", quantiles(listing).0);
    let resident = agent.kibibytes("VmHWM");
    report.at_most("resident with 10,000 keys at most, ListKeys included", resident as f64 / 1024.0, 20.0, " MiB");
}

/// Copies the files of a private folder.
fn copy(from: &Path, to: &Path) {
    DirBuilder::new().mode(0o700).create(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn fill(agent: &Agent, keys: std::ops::Range<usize>) {
    let mut client = agent.client();
    keys.for_each(|number| client.generate_key(&format!("key-{number}"), p256()).unwrap());
}
