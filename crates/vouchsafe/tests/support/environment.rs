//! A software TPM, an authority and an agent, the last two as processes of the program itself; ended when dropped.

#![allow(dead_code)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use vouchsafe_agent::client::{Client, Endpoint};
use vouchsafe_agent::swtpm::{Options, Swtpm};

use crate::support::{Run, command};

const PATIENCE: Duration = Duration::from_secs(20);

pub struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap();
        let _ = kill_process(pid, Signal::TERM);
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An authority that trusts the makers of some software TPMs.
pub struct AuthoritySide {
    pub folder: TempDir,
    pub url: String,
    process: Option<Process>,
}

impl AuthoritySide {
    pub fn start(tpms: &[&Swtpm]) -> Self {
        Self::start_with("", "enroll,issue,appraise", tpms, |_| {})
    }

    /// One with these settings, whose one account may do this; `prepare` is called before it is served.
    pub fn start_with(settings: &str, may: &str, tpms: &[&Swtpm], prepare: impl FnOnce(&Self)) -> Self {
        let folder = TempDir::new().unwrap();
        let at = |name: &str| folder.path().join(name);
        let account = command().args(["authority", "token", "lab", "--may", may]).output().unwrap();
        assert!(account.status.success());
        let told = String::from_utf8(account.stderr).unwrap();
        fs::write(at("token"), told.lines().find_map(|line| line.strip_prefix("token: ")).unwrap()).unwrap();
        let settings = format!("listen = \"127.0.0.1:0\"\n{settings}\n[tls]\nself_signed = true\n");
        let config = [settings.as_bytes(), &account.stdout].concat();
        fs::write(at("authority.toml"), config).unwrap();
        let mut authority = Self { folder, url: String::new(), process: None };
        let made: Run = authority.command("init").output().unwrap().into();
        assert_eq!(made.code, 0, "{made:?}");
        let trust = authority.path("state/trust/tpm-ek");
        fs::create_dir_all(trust.join("intermediates")).unwrap();
        for (number, tpm) in tpms.iter().enumerate() {
            fs::copy(tpm.root_certificate(), trust.join(format!("{number}.pem"))).unwrap();
            fs::copy(tpm.issuer_certificate(), trust.join(format!("intermediates/{number}.pem"))).unwrap();
            fs::write(trust.join(format!("{number}.toml")), "virtual = true\n").unwrap();
        }
        prepare(&authority);
        authority.restart();
        authority
    }

    /// Serves what its configuration has now, at a new address.
    pub fn restart(&mut self) {
        self.process = None;
        let mut child = self.command("serve").stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        self.process = Some(Process(child));
        self.url = line.trim().to_owned();
        assert!(self.url.starts_with("https://"), "{line:?}");
    }

    fn command(&self, verb: &str) -> std::process::Command {
        let mut command = command();
        command.args(["authority", verb, "--config"]).arg(self.path("authority.toml"));
        command.arg("--state").arg(self.path("state"));
        // Where issuing keys are in a token.
        command.env("SOFTHSM2_CONF", self.path("softhsm2.conf"));
        command
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn tls_root(&self) -> PathBuf {
        self.path("state/ca/tls-root.crt")
    }

    pub fn trust(&self) -> PathBuf {
        self.path("state/trust")
    }
}

/// An agent on a software TPM.
pub struct DeviceSide {
    pub folder: TempDir,
    pub swtpm: Swtpm,
    process: Option<Process>,
}

impl DeviceSide {
    pub fn start() -> Self {
        Self::start_after(|_| {})
    }

    /// The same, after something was done with the TPM before the agent holds it.
    pub fn start_after(prepare: impl FnOnce(&Self)) -> Self {
        let swtpm = Swtpm::start(&Options::default()).unwrap();
        let folder = TempDir::new().unwrap();
        let mut device = Self { folder, swtpm, process: None };
        prepare(&device);
        fs::write(device.path("agent.toml"), "").unwrap();
        let child = command()
            .arg("agent")
            .arg("--config")
            .arg(device.path("agent.toml"))
            .args(["--tpm", &device.swtpm.address().to_string()])
            .arg("--state")
            .arg(device.path("state"))
            .arg("--socket")
            .arg(device.socket())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        device.process = Some(Process(child));
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ready = Client::connect(&Endpoint::at(&device.socket()))
                .is_ok_and(|mut client| client.list_mechanisms().is_ok());
            if ready {
                return device;
            }
            assert!(Instant::now() < deadline, "the agent did not start");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn socket(&self) -> PathBuf {
        self.path("agent.sock")
    }

    pub fn client(&self) -> Client {
        Client::connect(&Endpoint::at(&self.socket())).unwrap()
    }

    /// Runs the program for a user of this device and an account of that authority.
    pub fn run(&self, authority: &AuthoritySide, arguments: &[&str]) -> Run {
        self.command(authority).args(arguments).output().unwrap().into()
    }

    pub fn command(&self, authority: &AuthoritySide) -> std::process::Command {
        let mut command = command();
        command
            .current_dir(self.folder.path())
            .env("PARSEC_SERVICE_ENDPOINT", format!("unix:{}", self.socket().display()))
            .env("VOUCHSAFE_AUTHORITY", &authority.url)
            .env("VOUCHSAFE_CA", authority.tls_root())
            .env("VOUCHSAFE_TOKEN_FILE", authority.path("token"));
        command
    }
}

/// Whether the system's openssl accepts a chain: the file's first certificate is the leaf.
pub fn openssl_accepts(chain: &Path, root: &Path, more: &[&str]) -> bool {
    std::process::Command::new("openssl")
        .arg("verify")
        .args(more)
        .arg("-CAfile")
        .arg(root)
        .arg("-untrusted")
        .arg(chain)
        .arg(chain)
        .output()
        .unwrap()
        .status
        .success()
}
