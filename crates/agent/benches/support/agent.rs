//! An agent in a process of its own, and what is read of that process.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use vouchsafe_agent::client::{Client, Endpoint};
use vouchsafe_agent::config::Config;
use vouchsafe_agent::tpm::Address;

/// Names the configuration for the agent's process.
const SERVE: &str = "VOUCHSAFE_BENCH_CONFIG";

/// Serves if this process was started to be the agent.
pub fn is_agent() -> bool {
    let Some(file) = std::env::var_os(SERVE) else { return false };
    vouchsafe_agent::serve(Config::load(Path::new(&file)).unwrap()).unwrap();
    true
}

/// Writes the configuration of an agent on this TPM into a folder; `limits` are lines of its table of that name.
pub fn configuration(folder: &Path, address: &Address, limits: &str) -> PathBuf {
    let file = folder.join("agent.toml");
    let place = folder.display();
    let text = format!(
        "state = '{place}/state'\n[socket]\npath = '{place}/s'\n[providers.tpm]\naddress = '{address}'\n[limits]\n{limits}\n",
    );
    std::fs::write(&file, text).unwrap();
    file
}

/// An agent in a process of its own; told to stop when dropped.
pub struct Agent {
    process: Child,
    pub socket: PathBuf,
}

impl Agent {
    /// Starts one with this configuration, whose socket is `s` beside the file, and waits until it serves.
    pub fn start(file: &Path) -> Agent {
        let process =
            Command::new(std::env::current_exe().unwrap()).env(SERVE, file).stdin(Stdio::null()).spawn().unwrap();
        let agent = Agent { process, socket: file.with_file_name("s") };
        while Client::connect(&Endpoint::at(&agent.socket)).is_err() {
            std::thread::sleep(Duration::from_micros(200));
        }
        agent
    }

    pub fn client(&self) -> Client {
        Client::connect(&Endpoint::at(&self.socket)).unwrap()
    }

    /// Time that the threads of now have spent on a CPU; `stat` counts in hundredths of a second, `schedstat` in nanoseconds.
    pub fn cpu_time(&self) -> Duration {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.process.id())).unwrap();
        let nanoseconds = tasks.map(|task| {
            let text = std::fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap();
            text.split(' ').next().unwrap().parse::<u64>().unwrap()
        });
        Duration::from_nanos(nanoseconds.sum())
    }

    /// A line of the process's `status`, in KiB: `VmRSS` or `VmHWM`.
    pub fn kibibytes(&self, of: &str) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(of)).unwrap();
        line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        kill_process(Pid::from_child(&self.process), Signal::TERM).unwrap();
        assert!(self.process.wait().unwrap().success());
    }
}
