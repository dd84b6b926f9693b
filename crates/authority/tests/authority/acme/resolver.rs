//! A resolver for tests.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};

/// Answers at the address that it returns: every name is of this machine, and has the text that stands under it.
pub fn resolve(texts: Arc<Mutex<HashMap<String, String>>>) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 1024];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let query = &buffer[..length];
            let (mut at, mut labels) = (12, Vec::new());
            while query[at] != 0 {
                let end = at + 1 + usize::from(query[at]);
                labels.push(String::from_utf8_lossy(&query[at + 1..end]).into_owned());
                at = end;
            }
            let kind = query[at + 2];
            let data = match kind {
                1 => Some(vec![127, 0, 0, 1]),
                16 => texts.lock().unwrap().get(&labels.join(".")).map(|text| {
                    let length = u8::try_from(text.len()).unwrap();
                    [&[length], text.as_bytes()].concat()
                }),
                _ => None,
            };
            let mut answer = query[..at + 5].to_vec();
            answer[2..4].copy_from_slice(&[0x81, 0x80]);
            answer[6..12].copy_from_slice(&[0, u8::from(data.is_some()), 0, 0, 0, 0]);
            if let Some(data) = data {
                let length = u16::try_from(data.len()).unwrap().to_be_bytes();
                answer.extend_from_slice(&[&[0xC0, 12, 0, kind, 0, 1, 0, 0, 0, 1][..], &length, &data].concat());
            }
            // The server may have stopped asking.
            let _gone = socket.send_to(&answer, from);
        }
    });
    address
}

/// Answers that there is no such name, whatever it is asked.
#[allow(dead_code)]
pub fn refuse() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 1024];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let mut answer = buffer[..length].to_vec();
            answer[2..4].copy_from_slice(&[0x81, 0x83]);
            // The server may have stopped asking.
            let _gone = socket.send_to(&answer, from);
        }
    });
    address
}
