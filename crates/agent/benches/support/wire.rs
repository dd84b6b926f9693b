//! Requests as octets on a bare socket: as little as a client can do, with Parsec and with the agent alike.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use prost::Message;

const HEADER_OCTETS: usize = 36;
/// More than any answer here takes; the answers of all operations measured fit into one read.
const ANSWER_OCTETS: usize = 4096;
const UNIX_PEER_CREDENTIALS: u8 = 3;

/// The octets of a request: header, body, the caller's uid.
pub fn request(provider: u8, opcode: u32, operation: &impl Message) -> Vec<u8> {
    let body = operation.encode_to_vec();
    let mut octets = vec![0; HEADER_OCTETS];
    octets[..8].copy_from_slice(&[0x10, 0xA7, 0xC0, 0x5E, 30, 0, 1, 0]);
    octets[10] = provider;
    octets[21] = UNIX_PEER_CREDENTIALS;
    octets[22..26].copy_from_slice(&u32::try_from(body.len()).unwrap().to_le_bytes());
    octets[26..28].copy_from_slice(&4_u16.to_le_bytes());
    octets[28..32].copy_from_slice(&opcode.to_le_bytes());
    octets.extend(body);
    octets.extend(rustix::process::geteuid().as_raw().to_le_bytes());
    octets
}

/// How a client uses its connections.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Connections {
    /// One for all its requests.
    Kept,
    /// One for each request, as Parsec's clients do.
    PerRequest,
}

/// A client of a socket.
pub struct Caller {
    socket: PathBuf,
    kept: Option<UnixStream>,
    connections: Connections,
    answer: Box<[u8; ANSWER_OCTETS]>,
}

impl Caller {
    pub fn new(socket: &Path, connections: Connections) -> Caller {
        Caller { socket: socket.to_owned(), kept: None, connections, answer: Box::new([0; ANSWER_OCTETS]) }
    }

    /// The body of a successful answer.
    pub fn call(&mut self, request: &[u8]) -> &[u8] {
        match self.attempt(request) {
            Ok(body) => body,
            Err(status) => panic!("status {status} to {:02x?}", &request[28..32]),
        }
    }

    /// The body of an answer, or its status if that is not Success.
    pub fn attempt(&mut self, request: &[u8]) -> Result<&[u8], u16> {
        let mut stream = match self.kept.take() {
            Some(stream) => stream,
            None => UnixStream::connect(&self.socket).unwrap(),
        };
        stream.write_all(request).unwrap();
        let mut filled = 0;
        let octets = loop {
            let read = stream.read(&mut self.answer[filled..]).unwrap();
            assert!(read > 0, "the connection ended");
            filled += read;
            if filled < HEADER_OCTETS {
                continue;
            }
            let body: [u8; 4] = self.answer[22..26].try_into().unwrap();
            let octets = HEADER_OCTETS + usize::try_from(u32::from_le_bytes(body)).unwrap();
            if filled >= octets {
                break octets;
            }
        };
        if self.connections == Connections::Kept {
            self.kept = Some(stream);
        }
        match u16::from_le_bytes([self.answer[32], self.answer[33]]) {
            0 => Ok(&self.answer[HEADER_OCTETS..octets]),
            status => Err(status),
        }
    }
}

/// Answers per second that so many clients have together, each with its own request again and again.
pub fn rate(socket: &Path, connections: Connections, requests: &[Vec<u8>], lasting: Duration) -> f64 {
    let (begin, over) = (Barrier::new(requests.len() + 1), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let (begin, over) = (&begin, &over);
        let clients: Vec<_> = requests
            .iter()
            .map(|request| {
                scope.spawn(move || {
                    let mut caller = Caller::new(socket, connections);
                    caller.call(request);
                    begin.wait();
                    let mut answers = 0_u32;
                    while !over.load(Ordering::Relaxed) {
                        caller.call(request);
                        answers += 1;
                    }
                    answers
                })
            })
            .collect();
        begin.wait();
        let started = Instant::now();
        std::thread::sleep(lasting);
        over.store(true, Ordering::Relaxed);
        let elapsed = started.elapsed();
        let answers: u32 = clients.into_iter().map(|client| client.join().unwrap()).sum();
        f64::from(answers) / elapsed.as_secs_f64()
    })
}
