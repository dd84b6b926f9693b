//! A SoftHSM token, a software TPM beside it if it is wanted, and an agent on both; ended when dropped.

#![allow(dead_code)]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use vouchsafe_agent::client::{Client, Endpoint};
use vouchsafe_agent::swtpm::Swtpm;

use crate::environment::AuthoritySide;
use crate::support::{Run, command};

const PATIENCE: Duration = Duration::from_secs(20);
const LIBRARIES: [&str; 3] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
];

pub struct TokenSide {
    pub folder: TempDir,
    pub swtpm: Option<Swtpm>,
    agent: Option<Child>,
}

impl Drop for TokenSide {
    fn drop(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            let _ = agent.kill();
            let _ = agent.wait();
        }
    }
}

/// The module of SoftHSM.
pub fn library() -> &'static str {
    LIBRARIES.into_iter().find(|path| Path::new(path).exists()).expect("package softhsm2")
}

impl TokenSide {
    pub fn start() -> Self {
        Self::start_beside(None)
    }

    /// With the providers `hsm`, and `tpm` if there is one.
    pub fn start_beside(swtpm: Option<Swtpm>) -> Self {
        let folder = TempDir::new().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("tokens")).unwrap();
        let tokens = at("tokens").display().to_string();
        fs::write(at("softhsm2.conf"), format!("directories.tokendir = {tokens}\nlog.level = ERROR\n")).unwrap();
        fs::write(at("pin"), "1234\n").unwrap();
        fs::set_permissions(at("pin"), Permissions::from_mode(0o600)).unwrap();
        fs::write(at("machine-id"), "0123456789abcdef0123456789abcdef\n").unwrap();
        let library = library();
        let mut text = format!(
            "state = \"{}\"\n[socket]\npath = \"{}\"\n[mechanisms]\nenable = [\"pkix-evidence\"]\n\
             [providers.hsm]\nkind = \"pkcs11\"\nmodule = \"{library}\"\ntoken = \"hsm-1\"\npin_file = \"{}\"\n",
            at("state").display(),
            at("agent.sock").display(),
            at("pin").display()
        );
        if let Some(swtpm) = &swtpm {
            text.push_str(&format!("[providers.tpm]\naddress = \"{}\"\n", swtpm.address()));
        }
        fs::write(at("agent.toml"), text).unwrap();
        let mut token = Self { folder, swtpm, agent: None };
        let arguments = ["--init-token", "--free", "--label", "hsm-1", "--pin", "1234", "--so-pin", "12345678"];
        token.softhsm(&arguments);
        let mut agent = token.program();
        agent.args(["agent", "--config", "agent.toml"]);
        token.agent = Some(agent.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        let deadline = Instant::now() + PATIENCE;
        while !token.is_ready() {
            assert!(Instant::now() < deadline, "the agent did not start");
            std::thread::sleep(Duration::from_millis(10));
        }
        token
    }

    fn is_ready(&self) -> bool {
        let asked = |provider: &str| {
            let client = Client::connect(&Endpoint::at(&self.path("agent.sock"))).ok()?;
            client.with_provider_named(Some(provider)).ok()?.list_attesting_keys().ok()
        };
        asked("hsm").is_some() && (self.swtpm.is_none() || asked("tpm").is_some())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The agent, at the token's provider.
    pub fn client(&self) -> Client {
        let client = Client::connect(&Endpoint::at(&self.path("agent.sock"))).unwrap();
        client.with_provider_named(Some("hsm")).unwrap()
    }

    /// What SoftHSM's own tool says.
    pub fn softhsm(&self, arguments: &[&str]) -> String {
        let mut program = Command::new("softhsm2-util");
        let said = program.args(arguments).env("SOFTHSM2_CONF", self.path("softhsm2.conf")).output().unwrap();
        assert!(said.status.success(), "{said:?}");
        String::from_utf8(said.stdout).unwrap()
    }

    /// The program, in the token's folder; commands of scripts find it by its name.
    pub fn program(&self) -> Command {
        let own = Path::new(env!("CARGO_BIN_EXE_vouchsafe")).parent().unwrap().to_owned();
        let others = std::env::var_os("PATH").unwrap();
        let path = std::env::join_paths(std::iter::once(own).chain(std::env::split_paths(&others))).unwrap();
        let mut command = command();
        command.current_dir(self.folder.path()).env("SOFTHSM2_CONF", self.path("softhsm2.conf")).env("PATH", path);
        command.env("PARSEC_SERVICE_ENDPOINT", format!("unix:{}", self.path("agent.sock").display()));
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Run {
        self.program().args(arguments).output().unwrap().into()
    }

    /// The same for an account of this authority.
    pub fn run_with(&self, authority: &AuthoritySide, arguments: &[&str]) -> Run {
        let mut program = self.program();
        program.env("VOUCHSAFE_AUTHORITY", &authority.url).env("VOUCHSAFE_CA", authority.tls_root());
        program.env("VOUCHSAFE_TOKEN_FILE", authority.path("token")).args(arguments).output().unwrap().into()
    }

    /// Runs what must succeed.
    pub fn done(&self, arguments: &[&str]) -> Run {
        let run = self.run(arguments);
        assert_eq!(run.code, 0, "{arguments:?}: {run:?}");
        run
    }

    pub fn serial(&self) -> String {
        let slots = self.softhsm(&["--show-slots"]);
        let mut serials = slots.lines().filter_map(|line| line.trim().strip_prefix("Serial number:")).map(str::trim);
        serials.find(|serial| !serial.is_empty()).unwrap().to_owned()
    }
}
