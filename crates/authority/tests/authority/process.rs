//! An authority in a process of its own: this very program, started again.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex};

use vouchsafe_authority::{Authority, Clock, Config, trust};

use crate::site::{FixedClock, NOW};

/// Names the file with the configuration of an authority to be served.
pub const CONFIG_VARIABLE: &str = "VOUCHSAFE_TEST_AUTHORITY";

/// What precedes the address on the line that says where the authority listens.
const LISTENS: &str = "listens on ";

/// A command that runs this program again with these arguments.
pub fn serve_again(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(arguments);
    command
}

/// An authority that runs as long as this value; dropping it kills the process.
pub struct Served {
    child: Child,
    address: SocketAddr,
    logs: Arc<Mutex<Vec<u8>>>,
    _input: ChildStdin,
}

impl Served {
    /// Starts `command`, which must come to [`serve`], and waits until it listens.
    pub fn start(mut command: Command, config: &std::path::Path) -> Result<Self, String> {
        command.env(CONFIG_VARIABLE, config).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let input = child.stdin.take().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut errors = child.stderr.take().unwrap();
        while let Some(Ok(line)) = lines.next() {
            if let Some((_, address)) = line.split_once(LISTENS) {
                // Both are read to their ends, or the process would come to wait for a reader.
                std::thread::spawn(move || lines.for_each(drop));
                let logs = Arc::new(Mutex::new(Vec::new()));
                let written = Arc::clone(&logs);
                std::thread::spawn(move || {
                    let mut some = [0; 4096];
                    while let Ok(octets @ 1..) = errors.read(&mut some) {
                        written.lock().unwrap().extend_from_slice(&some[..octets]);
                    }
                });
                return Ok(Self { child, address: address.trim().parse().unwrap(), logs, _input: input });
            }
        }
        let mut text = String::new();
        errors.read_to_string(&mut text).unwrap();
        child.wait().unwrap();
        Err(text)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has logged so far.
    pub fn logs(&self) -> Vec<u8> {
        self.logs.lock().unwrap().clone()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, and waits until the process is gone.
    pub fn kill(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Serves the authority whose configuration the environment names, until standard input ends.
pub fn serve() {
    let logs = tracing_subscriber::fmt().with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG);
    logs.with_ansi(false).with_writer(std::io::stderr).init();
    let text = std::fs::read_to_string(std::env::var(CONFIG_VARIABLE).unwrap()).unwrap();
    let config = Config::from_toml(&text).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(FixedClock(AtomicI64::new(NOW)));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let source = trust::folder(config.trust().to_owned());
    let running = match runtime.block_on(Authority::start(config, source, clock)) {
        Ok(running) => running,
        Err(error) => {
            let mut error: Option<&dyn std::error::Error> = Some(&error);
            while let Some(cause) = error {
                eprintln!("{cause}");
                error = cause.source();
            }
            std::process::exit(1);
        }
    };
    println!("{LISTENS}{}", running.address());
    std::io::stdout().flush().unwrap();
    let _ended = std::io::stdin().read(&mut [0]);
    runtime.block_on(running.stop());
}
