//! What the TPM tests share: a prepared software TPM, and a socket in between that looks on and interferes.

#![allow(dead_code)]

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;
use vouchsafe_agent::swtpm::{Options, Swtpm};
use vouchsafe_agent::tpm::{Address, AuthValue, Connection, Hierarchy, Object, Tpm};
use vouchsafe_evidence::tpm::TpmtPublic;
use vouchsafe_evidence::tpm::template::storage_root_key;

/// Where the tests persist their storage root key.
pub const SRK_HANDLE: u32 = 0x8100_0001;

pub fn swtpm() -> Swtpm {
    Swtpm::start(&Options::default()).unwrap()
}

/// Makes and persists a storage root key, and salts sessions to it.
pub fn salted(tpm: &mut Tpm) -> (Object, TpmtPublic) {
    let (object, public) = tpm.create_primary(Hierarchy::Owner, &storage_root_key(), &AuthValue::empty()).unwrap();
    let persistent = match tpm.handles(SRK_HANDLE).unwrap().first() {
        Some(&SRK_HANDLE) => Object::persistent(SRK_HANDLE, &public, AuthValue::empty()),
        _ => tpm.persist(&object, SRK_HANDLE, &public).unwrap(),
    };
    tpm.flush(&object).unwrap();
    tpm.salt_sessions_to(SRK_HANDLE, public.clone());
    (persistent, public)
}

/// What the proxy does with a response to a command; both with their headers.
pub type Interference = Box<dyn FnMut(&[u8], Vec<u8>) -> Vec<u8> + Send>;

/// What the proxy answers to a command in the TPM's place.
pub type Answer = Box<dyn FnMut(&[u8]) -> Option<Vec<u8>> + Send>;

/// A socket in front of a software TPM.
pub struct Proxy {
    folder: TempDir,
    interference: Arc<Mutex<Interference>>,
    answer: Arc<Mutex<Answer>>,
    seen: Arc<Mutex<Vec<u8>>>,
    extra: Arc<Mutex<Option<Vec<u8>>>>,
}

impl Proxy {
    pub fn before(swtpm: &Swtpm) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("s")).unwrap();
        let interference: Arc<Mutex<Interference>> = Arc::new(Mutex::new(Box::new(|_, response| response)));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let answer: Arc<Mutex<Answer>> = Arc::new(Mutex::new(Box::new(|_| None)));
        let extra = Arc::new(Mutex::new(None));
        let (target, shared, instead, log) = (swtpm.socket(), interference.clone(), answer.clone(), seen.clone());
        let injected = extra.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { return };
                serve(client, &target, &shared, &instead, &log, &injected);
            }
        });
        Self { folder, interference, answer, seen, extra }
    }

    pub fn connection(&self) -> Connection {
        Connection::new(Address::SwtpmUnix(self.folder.path().join("s"))).with_read_timeout(Duration::from_secs(5))
    }

    pub fn connect(&self) -> Tpm {
        Tpm::over(Box::new(self.connection())).unwrap()
    }

    pub fn interfere(&self, with: impl FnMut(&[u8], Vec<u8>) -> Vec<u8> + Send + 'static) {
        *self.interference.lock().unwrap() = Box::new(with);
    }

    pub fn answer_instead(&self, with: impl FnMut(&[u8]) -> Option<Vec<u8>> + Send + 'static) {
        *self.answer.lock().unwrap() = Box::new(with);
    }

    /// Sends a command of somebody else's to the TPM before the next one, and keeps the response.
    pub fn send_once(&self, command: Vec<u8>) {
        *self.extra.lock().unwrap() = Some(command);
    }

    pub fn leave_alone(&self) {
        self.interfere(|_, response| response);
    }

    /// Everything that went over the wire so far, both ways.
    pub fn seen(&self) -> Vec<u8> {
        self.seen.lock().unwrap().clone()
    }
}

fn serve(
    mut client: UnixStream,
    target: &PathBuf,
    interference: &Mutex<Interference>,
    answer: &Mutex<Answer>,
    log: &Mutex<Vec<u8>>,
    extra: &Mutex<Option<Vec<u8>>>,
) {
    let Ok(mut tpm) = UnixStream::connect(target) else { return };
    while let Some(command) = frame(&mut client) {
        if let Some(injected) = extra.lock().unwrap().take() {
            tpm.write_all(&injected).unwrap();
            assert_eq!(frame(&mut tpm).unwrap()[6..10], [0; 4], "the injected command was refused");
        }
        let instead = (answer.lock().unwrap())(&command);
        if let Some(response) = instead {
            if response.is_empty() || client.write_all(&response).is_err() {
                return;
            }
            continue;
        }
        if tpm.write_all(&command).is_err() {
            return;
        }
        let Some(response) = frame(&mut tpm) else { return };
        log.lock().unwrap().extend([command.clone(), response.clone()].concat());
        let response = (interference.lock().unwrap())(&command, response);
        if response.is_empty() || client.write_all(&response).is_err() {
            return;
        }
        // A response that claims to be longer would be waited for until the timeout.
        if response.get(2..6) != Some(&u32::try_from(response.len()).unwrap().to_be_bytes()[..]) {
            return;
        }
    }
}

fn frame(stream: &mut UnixStream) -> Option<Vec<u8>> {
    let mut header = [0; 10];
    stream.read_exact(&mut header).ok()?;
    let size = usize::try_from(u32::from_be_bytes(header[2..6].try_into().unwrap())).unwrap();
    let mut frame = header.to_vec();
    frame.resize(size, 0);
    stream.read_exact(&mut frame[10..]).ok()?;
    Some(frame)
}

/// An error response.
pub fn refusal(code: u32) -> Vec<u8> {
    [&[0x80, 0x01, 0, 0, 0, 10][..], &code.to_be_bytes()].concat()
}

/// The command code of a command.
pub fn code(command: &[u8]) -> u32 {
    u32::from_be_bytes(command[6..10].try_into().unwrap())
}

pub fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}
