//! Frames on the socket: what is refused, when, and that nobody else suffers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/service.rs"]
mod support;

use std::io::Write;
use std::time::{Duration, Instant};

use prost::Message;
use support::{Bench, authenticated, is_closed, p256, request, response, status};
use vouchsafe_agent::config::Limits;
use vouchsafe_agent::wire::header::HEADER_OCTETS;
use vouchsafe_agent::wire::message::GenerateKeyOperation;
use vouchsafe_agent::wire::{MAX_BODY_OCTETS, Opcode, ProviderId, Status};

fn ping() -> Vec<u8> {
    request(ProviderId::CORE, Opcode::Ping.number(), &[])
}

fn uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[test]
fn one_connection_carries_many_requests_even_sent_ahead() {
    let bench = Bench::start();
    let mut stream = bench.raw();
    for _ in 0..3 {
        assert_eq!(status(&mut stream, &ping()), Status::Success);
    }
    stream.write_all(&ping().repeat(5)).unwrap();
    for _ in 0..5 {
        let (header, body) = response(&mut stream);
        assert_eq!((header.status, body.as_slice()), (Status::Success, [0x08, 0x01].as_slice()));
    }
}

#[test]
fn a_request_may_come_octet_by_octet() {
    let bench = Bench::start();
    let mut stream = bench.raw();
    for octet in ping() {
        stream.write_all(&[octet]).unwrap();
    }
    assert_eq!(response(&mut stream).0.status, Status::Success);
}

#[test]
fn a_header_that_is_none_is_answered_and_ends_the_connection() {
    let bench = Bench::start();
    let cases = [
        (0, Status::InvalidHeader),
        (4, Status::InvalidHeader),
        (6, Status::WireProtocolVersionNotSupported),
        (7, Status::WireProtocolVersionNotSupported),
        (8, Status::InvalidHeader),
        (11, Status::InvalidHeader),
        (19, Status::ContentTypeNotSupported),
        (20, Status::AcceptTypeNotSupported),
        (21, Status::AuthenticatorDoesNotExist),
        (26, Status::AuthenticationError),
        (32, Status::InvalidHeader),
        (34, Status::InvalidHeader),
    ];
    for (offset, expected) in cases {
        let mut octets = ping();
        octets[offset] ^= 0x80;
        let mut stream = bench.raw();
        assert_eq!(status(&mut stream, &octets), expected, "octet {offset}");
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(is_closed(&mut stream), "octet {offset}");
    }
    bench.assert_alive();
}

#[test]
fn octets_behind_a_request_are_the_next_request() {
    let bench = Bench::start();
    let mut stream = bench.raw();
    stream.write_all(&[ping(), vec![0xAA; HEADER_OCTETS]].concat()).unwrap();
    assert_eq!(response(&mut stream).0.status, Status::Success);
    assert_eq!(response(&mut stream).0.status, Status::InvalidHeader);
}

#[test]
fn a_body_over_the_limit_is_refused_before_it_comes() {
    let bench = Bench::start();
    let mut octets = ping();
    octets[22..26].copy_from_slice(&u32::try_from(MAX_BODY_OCTETS + 1).unwrap().to_le_bytes());
    let mut stream = bench.raw();
    assert_eq!(status(&mut stream, &octets), Status::BodySizeExceedsLimit);
    // A client that sends it all the same still reads why.
    let mut stream = bench.raw();
    octets.resize(HEADER_OCTETS + MAX_BODY_OCTETS, 0);
    assert_eq!(status(&mut stream, &octets), Status::BodySizeExceedsLimit);
    // The largest body that is allowed is read: it is no message, but the frame stands.
    let mut stream = bench.raw();
    let largest = request(ProviderId::CORE, Opcode::Ping.number(), &vec![0xFF; MAX_BODY_OCTETS]);
    assert_eq!(status(&mut stream, &largest), Status::DeserializingBodyFailed);
    assert_eq!(status(&mut stream, &ping()), Status::Success);
}

#[test]
fn authentication_fields_of_other_lengths_and_types() {
    let bench = Bench::start();
    let list_keys = |auth_type: u8, auth_octets: u16| {
        let mut octets = request(ProviderId::CORE, Opcode::ListKeys.number(), &[]);
        octets[21] = auth_type;
        octets[26..28].copy_from_slice(&auth_octets.to_le_bytes());
        octets
    };
    for (auth_type, auth_octets, expected) in [
        (0, 0, Status::NotAuthenticated),
        (0, 4, Status::AuthenticationError),
        (3, 0, Status::AuthenticationError),
        (3, 3, Status::AuthenticationError),
        (3, 65535, Status::AuthenticationError),
        (1, 4, Status::AuthenticatorNotRegistered),
        (1, 0, Status::AuthenticationError),
        (1, 256, Status::AuthenticationError),
        (4, 4, Status::AuthenticatorNotRegistered),
        (5, 4, Status::AuthenticatorDoesNotExist),
    ] {
        let mut stream = bench.raw();
        let found = status(&mut stream, &list_keys(auth_type, auth_octets));
        assert_eq!(found, expected, "type {auth_type}, {auth_octets} octets");
    }
}

/// A52.
#[test]
fn another_users_uid_is_refused_whatever_is_asked() {
    let bench = Bench::start();
    let mut stream = bench.raw();
    for (provider, opcode) in [
        (ProviderId::CORE, Opcode::ListKeys),
        (ProviderId::CORE, Opcode::Ping),
        (ProviderId::TPM, Opcode::PsaGenerateKey),
    ] {
        let refused = authenticated(provider, opcode.number(), &[], uid() + 1);
        assert_eq!(status(&mut stream, &refused), Status::AuthenticationError, "{opcode:?}");
    }
    let list_keys = Opcode::ListKeys.number();
    let own = authenticated(ProviderId::CORE, list_keys, &[], uid());
    assert_eq!(status(&mut stream, &own), Status::Success);
    // Big-endian is another user too, unless it reads the same.
    if uid().to_be() != uid() {
        let swapped = authenticated(ProviderId::CORE, list_keys, &[], uid().to_be());
        assert_eq!(status(&mut stream, &swapped), Status::AuthenticationError);
    }
}

#[test]
fn operations_go_where_they_belong() {
    let bench = Bench::start();
    let mut stream = bench.raw();
    for (provider, opcode, expected) in [
        (0, 0x01, Status::Success),
        (3, 0x01, Status::PsaErrorNotSupported),
        (0, 0x02, Status::PsaErrorNotSupported),
        (0, 0x0100, Status::PsaErrorNotSupported),
        (2, 0x02, Status::ProviderNotRegistered),
        (9, 0x02, Status::ProviderDoesNotExist),
        (3, 0x0C, Status::PsaErrorNotSupported),
        (3, 0x77, Status::OpcodeDoesNotExist),
        (3, 0x0102, Status::Success),
        (3, 0x0200, Status::OpcodeDoesNotExist),
    ] {
        let found = status(&mut stream, &request(ProviderId(provider), opcode, &[]));
        assert_eq!(found, expected, "provider {provider}, opcode {opcode:#x}");
    }
    let malformed = authenticated(ProviderId::TPM, 0x02, &[0x0A, 0x05, b'x'], uid());
    assert_eq!(status(&mut stream, &malformed), Status::DeserializingBodyFailed);
}

#[test]
fn clients_that_die_leave_no_trace() {
    let bench = Bench::start();
    let whole = ping();
    for length in [0, 1, 35] {
        let mut stream = bench.raw();
        stream.write_all(&whole[..length]).unwrap();
        drop(stream);
    }
    // Inside the body, and while the provider works.
    let body = GenerateKeyOperation { key_name: "k".to_owned(), attributes: Some(p256()) }.encode_to_vec();
    let generate = authenticated(ProviderId::TPM, Opcode::PsaGenerateKey.number(), &body, uid());
    let mut stream = bench.raw();
    stream.write_all(&generate[..generate.len() - 10]).unwrap();
    drop(stream);
    bench.control.hold();
    let mut stream = bench.raw();
    stream.write_all(&generate).unwrap();
    bench.control.wait_for_begun(1);
    drop(stream);
    bench.control.release();
    bench.assert_alive();
    // What had begun was finished: the key is whole and usable.
    let exported = bench.client().export_public_key("k").unwrap();
    assert!(exported.starts_with(b"Sign/0/"));
}

#[test]
fn work_that_nobody_waits_for_any_more_is_not_begun() {
    let bench = Bench::with(Limits { request: Duration::from_millis(100), ..Limits::default() });
    bench.control.hold();
    let first = bench.client().generate_key("a", p256()).unwrap_err();
    assert_eq!(first.status(), Some(Status::PsaErrorCommunicationFailure));
    let second = bench.client().generate_key("b", p256()).unwrap_err();
    assert_eq!(second.status(), Some(Status::PsaErrorCommunicationFailure));
    bench.control.release();
    let mut client = bench.client();
    client.generate_key("c", p256()).unwrap();
    assert!(client.export_public_key("a").is_ok());
    assert_eq!(client.export_public_key("b").unwrap_err().status(), Some(Status::PsaErrorDoesNotExist));
}

#[test]
fn slow_and_idle_connections_are_closed() {
    let limits = Limits { frame: Duration::from_millis(100), idle: Duration::from_millis(2000), ..Limits::default() };
    let bench = Bench::with(limits);
    let started = Instant::now();
    let mut slow = bench.raw();
    slow.write_all(&ping()[..20]).unwrap();
    assert!(is_closed(&mut slow));
    assert!(started.elapsed() >= Duration::from_millis(90), "{:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_millis(1900), "{:?}", started.elapsed());
    let mut idle = bench.raw();
    assert_eq!(status(&mut idle, &ping()), Status::Success);
    let started = Instant::now();
    assert!(is_closed(&mut idle));
    assert!(started.elapsed() >= Duration::from_millis(1900), "{:?}", started.elapsed());
}

/// Nobody waits for them: with deadlines of an hour others are answered while all of them are there. The bench `service` has
/// figures.
#[test]
fn two_hundred_silent_connections_disturb_nobody() {
    let hour = Duration::from_secs(3600);
    let bench = Bench::with(Limits { connections_per_user: 400, frame: hour, idle: hour, ..Limits::default() });
    let silent = (0..200).map(|_| (bench.raw(), 0));
    let stalled = (0..100).map(|_| (bench.raw(), 10));
    let mut disturbing: Vec<_> = silent.chain(stalled).collect();
    for (stream, sent) in &mut disturbing {
        stream.write_all(&ping()[..*sent]).unwrap();
    }
    for _ in 0..50 {
        bench.assert_alive();
    }
    // Each of them was there all the time, and is answered once it says what it wants.
    for (stream, sent) in &mut disturbing {
        assert_eq!(status(stream, &ping()[*sent..]), Status::Success);
    }
}

/// The frame deadline is one of the whole request: an octet now and then does not put it off, and holds nothing meanwhile.
#[test]
fn clients_that_send_an_octet_now_and_then_hold_nothing() {
    let frame = Duration::from_millis(600);
    let bench = Bench::with(Limits { frame, ..Limits::default() });
    // Each announces the largest body there may be; more of them than there are turns for large bodies.
    let announced =
        request(ProviderId::CORE, Opcode::Ping.number(), &vec![0; MAX_BODY_OCTETS])[..HEADER_OCTETS].to_vec();
    let (done, stop) = std::sync::mpsc::channel::<()>();
    let slow = std::thread::spawn({
        let mut slow: Vec<_> = (0..100).map(|_| bench.raw()).collect();
        move || {
            let mut refused = 0;
            for octet in announced.iter().chain(std::iter::repeat(&0)) {
                // The service has closed those whose time is over.
                slow.retain_mut(|stream| {
                    stream.write_all(&[*octet]).is_ok() || {
                        refused += 1;
                        false
                    }
                });
                if stop.recv_timeout(Duration::from_millis(10)) != Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                    return refused;
                }
            }
            unreachable!("zeros do not end")
        }
    });
    let began = Instant::now();
    let largest = request(ProviderId::CORE, Opcode::Ping.number(), &vec![0; MAX_BODY_OCTETS]);
    while began.elapsed() < frame * 3 {
        bench.assert_alive();
        let mut stream = bench.raw();
        assert_eq!(status(&mut stream, &largest), Status::DeserializingBodyFailed, "a large body found no turn");
    }
    drop(done);
    assert_eq!(slow.join().unwrap(), 100, "slow clients outlive the deadline");
}

#[test]
fn a_user_with_all_its_connections_at_work_gets_no_more() {
    let limits = Limits { connections_per_user: 2, ..Limits::default() };
    let bench = Bench::with(limits);
    bench.control.hold();
    let socket = bench.socket();
    let workers: Vec<_> = ["a", "b"]
        .map(|name| {
            let socket = socket.clone();
            std::thread::spawn(move || support::client(&socket).generate_key(name, p256()).unwrap())
        })
        .into_iter()
        .collect();
    bench.control.wait_for_begun(1);
    // Both are at work once a third is turned away; until then it may take the place of one that is not yet.
    let mut refusal = None;
    for _ in 0..200 {
        let mut stream = bench.raw();
        let outcome = status_or_closed(&mut stream);
        if outcome == Some(Status::ConnectionError) {
            refusal = outcome;
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(refusal, Some(Status::ConnectionError));
    bench.control.release();
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    bench.assert_alive();
}

fn status_or_closed(stream: &mut std::os::unix::net::UnixStream) -> Option<Status> {
    use std::io::Read;
    let mut octets = [0; HEADER_OCTETS];
    // A connection that is turned away may be closed before the request is written.
    let _ = stream.write_all(&ping());
    stream.read_exact(&mut octets).ok()?;
    Some(vouchsafe_agent::wire::header::ResponseHeader::parse(&octets).unwrap().status)
}
