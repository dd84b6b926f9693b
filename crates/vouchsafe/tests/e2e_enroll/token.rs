//! A PKCS #11 token that nobody's maker vouches for: enrolled as what it is, certified under `lab`, refused elsewhere.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use vouchsafe_agent::client::{Client, Endpoint};

use crate::environment::AuthoritySide;
use crate::lifecycle::open_authority;
use crate::support::{Run, command};

const PATIENCE: Duration = Duration::from_secs(20);
const LIBRARIES: [&str; 3] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
];

/// A SoftHSM token and the agent on it; ended when dropped.
struct Token {
    folder: TempDir,
    agent: Option<Child>,
}

impl Drop for Token {
    fn drop(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            let _ = agent.kill();
            let _ = agent.wait();
        }
    }
}

impl Token {
    fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("tokens")).unwrap();
        fs::write(
            at("softhsm2.conf"),
            format!("directories.tokendir = {}\nlog.level = ERROR\n", at("tokens").display()),
        )
        .unwrap();
        fs::write(at("pin"), "1234\n").unwrap();
        fs::set_permissions(at("pin"), Permissions::from_mode(0o600)).unwrap();
        let library = LIBRARIES.into_iter().find(|path| Path::new(path).exists()).expect("package softhsm2");
        let text = format!(
            "state = \"{}\"\n[socket]\npath = \"{}\"\n[mechanisms]\nenable = [\"pkix-evidence\"]\n\
             [providers.hsm]\nkind = \"pkcs11\"\nmodule = \"{library}\"\ntoken = \"machine\"\npin_file = \"{}\"\n",
            at("state").display(),
            at("agent.sock").display(),
            at("pin").display()
        );
        fs::write(at("agent.toml"), text).unwrap();
        let mut token = Self { folder, agent: None };
        let made = Command::new("softhsm2-util")
            .args(["--init-token", "--free", "--label", "machine", "--pin", "1234", "--so-pin", "12345678"])
            .env("SOFTHSM2_CONF", token.path("softhsm2.conf"))
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let mut agent = command();
        agent
            .env("SOFTHSM2_CONF", token.path("softhsm2.conf"))
            .arg("agent")
            .arg("--config")
            .arg(token.path("agent.toml"));
        token.agent = Some(agent.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        let deadline = Instant::now() + PATIENCE;
        let ready = || {
            Client::connect(&Endpoint::at(&token.path("agent.sock")))
                .ok()?
                .with_provider_named(None)
                .ok()?
                .list_mechanisms()
                .ok()
        };
        while ready().is_none() {
            assert!(Instant::now() < deadline, "the agent did not start");
            std::thread::sleep(Duration::from_millis(10));
        }
        token
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, authority: &AuthoritySide, arguments: &[&str]) -> Run {
        let mut command = command();
        command.current_dir(self.folder.path());
        command.env("PARSEC_SERVICE_ENDPOINT", format!("unix:{}", self.path("agent.sock").display()));
        command.env("VOUCHSAFE_AUTHORITY", &authority.url).env("VOUCHSAFE_CA", authority.tls_root());
        command.env("VOUCHSAFE_TOKEN_FILE", authority.path("token"));
        command.args(arguments).output().unwrap().into()
    }
}

#[test]
fn a_token_is_enrolled_as_a_hosts_and_certified_where_that_counts() {
    let token = Token::start();
    for (policy, accepted) in [("lab", true), ("csbr-code-signing", false)] {
        let authority = open_authority(policy);
        let run = |arguments: &[&str]| token.run(&authority, arguments);
        let bare = run(&["enroll", "ak", "--device", "hsm-1", "--state", "enroll"]);
        assert!(bare.is_usage_error() && bare.stderr.contains("--evidence"), "{bare:?}");
        let enrolled = run(&["enroll", "ak", "--device", "hsm-1", "--method", "first-use", "--state", "enroll"]);
        assert_eq!(enrolled.code, 0, "{enrolled:?}");
        let renewed = run(&["enroll", "renewal", "--device", "hsm-1"]);
        assert_eq!(renewed.code, 0, "{renewed:?}");
        let name = format!("key-{policy}");
        let out = format!("{name}.pem");
        let made = run(&[
            "enroll",
            "key",
            &name,
            "--mechanism",
            "pkix-evidence",
            "--platform",
            "--out",
            &out,
            "--state",
            "enroll",
        ]);
        assert_eq!(made.code, i32::from(!accepted), "{policy}: {made:?}");
        if !accepted {
            for said in ["policy.environment", "software beside the module can", "policy.bootstrap"] {
                let text = made.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
                assert!(text.contains(said), "{said}: {text}");
            }
        }
    }
}
