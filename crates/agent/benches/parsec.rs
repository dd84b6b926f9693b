//! Parsec 1.5.0 and the agent on one software TPM, in turns: `cargo bench -p vouchsafe-agent --bench parsec`.
//!
//! `scripts/peers parsec-service` builds Parsec; without it this says so and measures nothing. Parsec is configured as it
//! is shipped, with its TPM provider. Its clients make a connection for each request, and so do the agent's here where that
//! is said. Each round resets the TPM, starts the one service, asks it, ends it, does the same with the other and with a raw
//! client of the TPM; it gives ratios of medians, the median of which counts. Ends with an error when a target is missed; what
//! the agent adds to the TPM is for the bench `device` to judge.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::as_conversions)]
#![allow(clippy::disallowed_methods, missing_docs, dead_code)]

#[path = "support/agent.rs"]
mod agent;
#[path = "../tests/support/credential.rs"]
mod credential;
#[path = "support/floor.rs"]
mod floor;
#[path = "support/keys.rs"]
mod keys;
#[path = "support/parsec_service.rs"]
mod parsec_service;
#[path = "support/report.rs"]
mod report;
#[path = "support/tcp_swtpm.rs"]
mod tcp_swtpm;
#[path = "support/wire.rs"]
mod wire;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use agent::Agent;
use floor::{DIGEST, Floor, NONCE};
use keys::{ecdsa, p256};
use parsec_service::ParsecService;
use prost::Message;
use report::{Report, median, quantiles, timed};
use tcp_swtpm::TcpSwtpm;
use vouchsafe_agent::wire::Opcode;
use vouchsafe_agent::wire::message::{
    AttestKeyOperation, AttestationResult, DestroyKeyOperation, GenerateKeyOperation, KeyMechanism,
    ParsecActivateCredential, ParsecAttestKeyOperation, ParsecAttestKeyParameters, ParsecAttestKeyResult,
    ParsecAttestation, ParsecMechanism, PingOperation, PrepareActivateCredential, PrepareKeyAttestationOperation,
    PrepareKeyAttestationParameters, PrepareKeyAttestationResult, PrepareMechanism, PreparedMechanism,
    SignHashOperation, TpmCertify,
};
use vouchsafe_evidence::x509::SpkiView;
use wire::{Caller, Connections, rate};

const TPM: u8 = 3;
const ROUNDS: usize = 5;
/// Operations of Parsec in a round, each of which takes 10 ms and more.
const OF_PARSEC: usize = 40;
/// Dialogues of attestation with Parsec in a round, each of which takes 70 ms and more.
const DIALOGUES: usize = 15;
/// Operations of the agent in a round.
const OF_AGENT: usize = 400;
/// Keys, so that each is attested when it has been unloaded meanwhile.
const KEYS: usize = 30;
const CLIENTS: usize = 8;
/// How long rates are measured, once per round.
const LASTING: Duration = Duration::from_secs(2);

/// Medians in milliseconds and rates per second of one service.
#[derive(Clone, Copy, Default)]
struct Figures {
    ping: f64,
    generate: f64,
    sign: f64,
    sign_kept: f64,
    rate_of_one: f64,
    rate_of_many: f64,
    rate_of_many_kept: f64,
    attest: f64,
    attest_unloaded: f64,
    dialogue: f64,
}

struct Round {
    parsec: Figures,
    agent: Figures,
    raw: Floor,
}

fn main() -> ExitCode {
    if agent::is_agent() {
        return ExitCode::SUCCESS;
    }
    let Some(program) = parsec_service::program() else {
        println!("SKIPPED: Parsec is not there; scripts/peers parsec-service builds it");
        return ExitCode::SUCCESS;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut tpm = TcpSwtpm::start(folder.path());
    let file = agent::configuration(folder.path(), &tpm.address(), "");
    let rounds: Vec<Round> = (0..ROUNDS)
        .map(|round| {
            tpm.reset();
            let parsec = of_parsec(&ParsecService::start(&program, folder.path(), &tpm));
            tpm.reset();
            let agent = of_agent(&Agent::start(&file));
            tpm.reset();
            let raw = Floor::of(&tpm.address());
            println!(
                "round {round}: sign {:.2} / {:.3} ms, key attestation {:.1} / {:.3} ms (Parsec / agent)",
                parsec.sign, agent.sign_kept, parsec.dialogue, agent.attest
            );
            Round { parsec, agent, raw }
        })
        .collect();
    compare(&rounds)
}

/// A figure of a round.
type Pick = fn(&Round) -> f64;

fn compare(rounds: &[Round]) -> ExitCode {
    let of = |pick: Pick| median(rounds.iter().map(pick).collect());
    println!("{:<46} {:>10} {:>10}", "", "Parsec", "agent");
    let both: [(&str, Pick, Pick); 6] = [
        ("ping, a connection each, ms", |it| it.parsec.ping, |it| it.agent.ping),
        ("generate P-256, a connection each, ms", |it| it.parsec.generate, |it| it.agent.generate),
        ("sign, a connection each, ms", |it| it.parsec.sign, |it| it.agent.sign),
        ("sign, a connection each, 1 client, /s", |it| it.parsec.rate_of_one, |it| it.agent.rate_of_one),
        ("sign, a connection each, 8 clients, /s", |it| it.parsec.rate_of_many, |it| it.agent.rate_of_many),
        ("PrepareKeyAttestation and AttestKey, ms", |it| it.parsec.dialogue, |it| it.agent.dialogue),
    ];
    for (what, parsec, agent) in both {
        println!("{what:<46} {:>10.3} {:>10.3}", of(parsec), of(agent));
    }
    println!("{:<46} {:>10} {:>10}", "", "TPM alone", "agent");
    let floors: [(&str, Pick, Pick); 4] = [
        ("sign, connection kept, ms", |it| it.raw.sign, |it| it.agent.sign_kept),
        ("sign, connections kept, 8 clients, /s", |it| 1000.0 / it.raw.sign, |it| it.agent.rate_of_many_kept),
        ("attest with a nonce, loaded, ms", |it| it.raw.certify, |it| it.agent.attest),
        ("attest with a nonce, unloaded, ms", |it| it.raw.load_and_certify, |it| it.agent.attest_unloaded),
    ];
    for (what, raw, agent) in floors {
        println!("{what:<46} {:>10.3} {:>10.3}", of(raw), of(agent));
    }
    let targets: [(&str, Pick, f64); 5] = [
        ("sign, 1 client: agent / Parsec", |it| it.agent.rate_of_one / it.parsec.rate_of_one, 20.0),
        ("sign, 8 clients: agent / Parsec", |it| it.agent.rate_of_many / it.parsec.rate_of_many, 10.0),
        ("sign, 8 clients, kept: agent / Parsec", |it| it.agent.rate_of_many_kept / it.parsec.rate_of_many, 10.0),
        ("attest, loaded: times faster than Parsec", |it| it.parsec.dialogue / it.agent.attest, 100.0),
        ("attest, unloaded: times faster than Parsec", |it| it.parsec.dialogue / it.agent.attest_unloaded, 20.0),
    ];
    let mut report = Report::default();
    for (what, ratio, target) in targets {
        report.at_least(what, of(ratio), target, "");
    }
    report.end()
}

fn key(number: usize) -> String {
    format!("key-{number}")
}

fn generate(name: &str) -> Vec<u8> {
    let operation = GenerateKeyOperation { key_name: name.to_owned(), attributes: Some(p256()) };
    wire::request(TPM, Opcode::PsaGenerateKey.number(), &operation)
}

fn destroy(name: &str) -> Vec<u8> {
    wire::request(TPM, Opcode::PsaDestroyKey.number(), &DestroyKeyOperation { key_name: name.to_owned() })
}

fn sign(name: &str) -> Vec<u8> {
    let operation = SignHashOperation { key_name: name.to_owned(), alg: Some(ecdsa()), hash: DIGEST.to_vec() };
    wire::request(TPM, Opcode::PsaSignHash.number(), &operation)
}

fn attest(name: &str) -> Vec<u8> {
    let mechanism = Some(KeyMechanism::TpmCertify(TpmCertify {}));
    let operation =
        AttestKeyOperation { key_name: name.to_owned(), nonce: NONCE.to_vec(), mechanism, ..Default::default() };
    wire::request(TPM, Opcode::AttestKey.number(), &operation)
}

/// The median time of one request, asked so often.
fn time(caller: &mut Caller, request: &[u8], times: usize) -> f64 {
    let mut found = Vec::new();
    caller.call(request);
    (0..times).for_each(|_| {
        timed(&mut found, || caller.call(request).len());
    });
    quantiles(found).0
}

/// Parsec's dialogue of key attestation with the credential made here, checked to the end.
fn dialogue(caller: &mut Caller, name: &str) {
    let asked = PrepareActivateCredential { attested_key_name: name.to_owned(), attesting_key_name: String::new() };
    let mechanism = Some(PrepareMechanism::ActivateCredential(asked));
    let parameters = Some(PrepareKeyAttestationParameters { mechanism });
    let prepare = PrepareKeyAttestationOperation { parameters };
    let answer = caller.call(&wire::request(TPM, Opcode::PrepareKeyAttestation.number(), &prepare));
    let answer = PrepareKeyAttestationResult::decode(answer).unwrap();
    let Some(PreparedMechanism::ActivateCredential(prepared)) = answer.output.unwrap().mechanism else { panic!() };
    let secret = [0x33; 16];
    let challenge = credential::make(&endorsement_key(&prepared.attesting_key_pub), &prepared.name, &secret);
    let asked = ParsecActivateCredential {
        credential_blob: challenge.credential[2..].to_vec(),
        secret: challenge.secret[2..].to_vec(),
    };
    let mechanism = Some(ParsecMechanism::ActivateCredential(asked));
    let parameters = Some(ParsecAttestKeyParameters { mechanism });
    let attest =
        ParsecAttestKeyOperation { attested_key_name: name.to_owned(), parameters, attesting_key_name: String::new() };
    let answer = caller.call(&wire::request(TPM, Opcode::ParsecAttestKey.number(), &attest));
    let Some(ParsecAttestation::ActivateCredential(opened)) =
        ParsecAttestKeyResult::decode(answer).unwrap().output.unwrap().mechanism
    else {
        panic!()
    };
    assert_eq!(opened.credential, secret);
}

/// The SubjectPublicKeyInfo of a DER RSAPublicKey of 2048 bits.
fn endorsement_key(public: &[u8]) -> SpkiView {
    let algorithm = [0x30, 0x0D, 6, 9, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 1, 1, 5, 0];
    let bits = [&[0x03, 0x82], &u16::try_from(public.len() + 1).unwrap().to_be_bytes()[..], &[0], public].concat();
    let body = [&algorithm[..], &bits].concat();
    let der = [&[0x30, 0x82], &u16::try_from(body.len()).unwrap().to_be_bytes()[..], &body].concat();
    SpkiView::parse(&der).unwrap()
}

fn dialogues(caller: &mut Caller) -> f64 {
    let mut times = Vec::new();
    dialogue(caller, &key(0));
    (0..DIALOGUES).for_each(|_| timed(&mut times, || dialogue(caller, &key(0))));
    quantiles(times).0
}

/// The median time of making a key; so many are there afterwards.
fn generations(caller: &mut Caller, keys: usize) -> f64 {
    let mut times = Vec::new();
    for number in 0..keys {
        let request = generate(&key(number));
        timed(&mut times, || caller.call(&request).len());
    }
    quantiles(times).0
}

fn destructions(caller: &mut Caller, keys: usize) {
    for number in 0..keys {
        caller.call(&destroy(&key(number)));
    }
}

/// Requests of one client for each of so many keys.
fn signing(clients: usize) -> Vec<Vec<u8>> {
    (0..clients).map(|_| sign(&key(0))).collect()
}

fn of_parsec(parsec: &ParsecService) -> Figures {
    let mut caller = Caller::new(&parsec.socket, Connections::PerRequest);
    let generate = generations(&mut caller, CLIENTS);
    let figures = Figures {
        ping: time(&mut caller, &ping(), OF_PARSEC),
        generate,
        sign: time(&mut caller, &sign(&key(0)), OF_PARSEC),
        rate_of_one: signing_rate(&parsec.socket, Connections::PerRequest, 1),
        rate_of_many: signing_rate(&parsec.socket, Connections::PerRequest, CLIENTS),
        dialogue: dialogues(&mut caller),
        ..Figures::default()
    };
    destructions(&mut caller, CLIENTS);
    figures
}

fn ping() -> Vec<u8> {
    wire::request(0, Opcode::Ping.number(), &PingOperation {})
}

fn signing_rate(socket: &Path, connections: Connections, clients: usize) -> f64 {
    rate(socket, connections, &signing(clients), LASTING)
}

fn of_agent(agent: &Agent) -> Figures {
    let mut caller = Caller::new(&agent.socket, Connections::PerRequest);
    let mut kept = Caller::new(&agent.socket, Connections::Kept);
    let generate = generations(&mut caller, KEYS);
    let statement = AttestationResult::decode(kept.call(&attest(&key(0)))).unwrap().statement;
    assert!(statement.windows(NONCE.len()).any(|part| part == NONCE), "the statement has no nonce");
    let mut unloaded = Vec::new();
    for number in (0..KEYS).cycle().take(KEYS * 3) {
        let request = attest(&key(number));
        timed(&mut unloaded, || kept.call(&request).len());
    }
    let figures = Figures {
        ping: time(&mut caller, &ping(), OF_AGENT),
        generate,
        sign: time(&mut caller, &sign(&key(0)), OF_AGENT),
        sign_kept: time(&mut kept, &sign(&key(0)), OF_AGENT),
        rate_of_one: signing_rate(&agent.socket, Connections::PerRequest, 1),
        rate_of_many: signing_rate(&agent.socket, Connections::PerRequest, CLIENTS),
        rate_of_many_kept: signing_rate(&agent.socket, Connections::Kept, CLIENTS),
        attest: time(&mut kept, &attest(&key(0)), OF_AGENT),
        attest_unloaded: quantiles(unloaded).0,
        dialogue: dialogues(&mut caller),
    };
    destructions(&mut caller, KEYS);
    figures
}
