//! Parsec's service in a process of its own.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::tcp_swtpm::TcpSwtpm;

/// The program that `scripts/peers parsec-service` built.
pub fn program() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/peers/parsec/bin/parsec");
    path.is_file().then_some(path)
}

pub struct ParsecService {
    process: Child,
    pub socket: PathBuf,
}

impl ParsecService {
    /// Starts it with the configuration that it is shipped with, but for the TPM instead of the software provider, places in
    /// `folder`, and leave to run as root.
    pub fn start(program: &Path, folder: &Path, tpm: &TcpSwtpm) -> ParsecService {
        let (socket, place) = (folder.join("parsec.sock"), folder.display());
        let text = format!(
            "[core_settings]\nallow_root = true\nlog_level = 'warn'\n\
             [listener]\nlistener_type = 'DomainSocket'\ntimeout = 200\nsocket_path = '{}'\n\
             [authenticator]\nauth_type = 'UnixPeerCredentials'\n\
             [[key_manager]]\nname = 'sqlite-manager'\nmanager_type = 'SQLite'\nsqlite_db_path = '{place}/parsec.sqlite3'\n\
             [[provider]]\nprovider_type = 'Tpm'\nkey_info_manager = 'sqlite-manager'\ntcti = '{}'\nowner_hierarchy_auth = ''\n",
            socket.display(),
            tpm.tcti(),
        );
        let file = folder.join("parsec.toml");
        std::fs::write(&file, text).unwrap();
        // Its socket file stays behind when it ends.
        let _absent_at_first = std::fs::remove_file(&socket);
        let mut process = Command::new(program).arg("-c").arg(&file).stdin(Stdio::null()).spawn().unwrap();
        while UnixStream::connect(&socket).is_err() {
            assert!(process.try_wait().unwrap().is_none(), "Parsec ended");
            std::thread::sleep(Duration::from_millis(20));
        }
        ParsecService { process, socket }
    }
}

impl Drop for ParsecService {
    fn drop(&mut self) {
        kill_process(Pid::from_child(&self.process), Signal::TERM).unwrap();
        self.process.wait().unwrap();
    }
}
