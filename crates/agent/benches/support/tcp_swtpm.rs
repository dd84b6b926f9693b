//! A software TPM that listens where both the agent and Parsec's TSS library reach it: on two neighboring TCP ports.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use vouchsafe_agent::swtpm::{Options, Swtpm};
use vouchsafe_agent::tpm::Address;

/// TPM2_Shutdown(TPM_SU_CLEAR).
const SHUTDOWN: [u8; 12] = [0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x45, 0, 0];

pub struct TcpSwtpm {
    process: Child,
    state: PathBuf,
    port: u16,
}

impl TcpSwtpm {
    /// Sets one up with its state in `folder` and starts it.
    pub fn start(folder: &Path) -> TcpSwtpm {
        let place = folder.join("tpm");
        // The state folder of a software TPM that ran once, with its endorsement certificates.
        Swtpm::start_in(&place, &Options::default()).unwrap().stop();
        let (state, port) = (place.join("state"), neighbors());
        TcpSwtpm { process: run(&state, port), state, port }
    }

    /// A reset: whoever had it before leaves no session and no object behind.
    pub fn reset(&mut self) {
        self.end();
        self.process = run(&self.state, self.port);
    }

    /// Ends it in an orderly way: a TPM counts each end that is not as an attempt to guess a key's authValue.
    fn end(&mut self) {
        let mut connection = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        connection.write_all(&SHUTDOWN).unwrap();
        let mut answer = [0; 10];
        connection.read_exact(&mut answer).unwrap();
        assert_eq!(answer[6..], [0; 4], "TPM2_Shutdown");
        kill_process(Pid::from_child(&self.process), Signal::TERM).unwrap();
        self.process.wait().unwrap();
    }

    pub fn address(&self) -> Address {
        Address::SwtpmTcp(format!("127.0.0.1:{}", self.port))
    }

    /// As Parsec's configuration names it.
    pub fn tcti(&self) -> String {
        format!("swtpm:host=127.0.0.1,port={}", self.port)
    }
}

impl Drop for TcpSwtpm {
    fn drop(&mut self) {
        self.end();
    }
}

fn run(state: &Path, port: u16) -> Child {
    let process = Command::new("swtpm")
        .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear", "--tpmstate"])
        .arg(format!("dir={}", state.display()))
        .args(["--server", &format!("type=tcp,port={port}")])
        .args(["--ctrl", &format!("type=tcp,port={}", port + 1)])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        std::thread::sleep(Duration::from_millis(5));
    }
    process
}

/// The first of two neighboring ports that nobody has.
fn neighbors() -> u16 {
    loop {
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = first.local_addr().unwrap().port();
        if port < u16::MAX && TcpListener::bind(("127.0.0.1", port + 1)).is_ok() {
            return port;
        }
    }
}
