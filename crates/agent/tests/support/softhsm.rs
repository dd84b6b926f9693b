//! SoftHSM for tests: each test in a process and a folder of its own, and a library in front that spoils answers.

#![allow(dead_code)]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use vouchsafe_agent::provider::pkcs11::{Settings, TokenName};

/// User PIN of every token that is made here.
pub const PIN: &str = "1234";
const SO_PIN: &str = "12345678";
/// The file in a test's folder by which Kryoptic, where a test uses it, finds its tokens.
pub const KRYOPTIC_CONF: &str = "kryoptic.conf";
/// Set in the process that is a test's own.
const FOLDER: &str = "VOUCHSAFE_SOFTHSM_FOLDER";
const LIBRARIES: [&str; 3] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
];

/// SoftHSM's library.
pub fn library() -> PathBuf {
    let found = LIBRARIES.iter().map(PathBuf::from).find(|path| path.exists());
    found.expect("SoftHSM's library (package softhsm2)")
}

/// A folder with tokens, which the library finds by SOFTHSM2_CONF.
pub struct SoftHsm {
    folder: PathBuf,
}

/// Runs `test` in a process of its own, since the library has its tokens where the environment of its process says. `name` is
/// the name of the test that calls this.
pub fn alone(name: &str, test: impl FnOnce(&SoftHsm)) {
    if let Some(folder) = std::env::var_os(FOLDER) {
        test(&SoftHsm { folder: folder.into() });
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let softhsm = SoftHsm::new(folder.path());
    let mut program = Command::new(std::env::current_exe().unwrap());
    program.args(["--exact", name, "--nocapture", "--test-threads=1"]).env(FOLDER, folder.path());
    let ended = softhsm.environment(&mut program).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(
        ended.status.success() && said.contains("1 passed"),
        "{name}: {}\n{said}\n{}",
        ended.status,
        String::from_utf8_lossy(&ended.stderr)
    );
}

impl SoftHsm {
    /// A folder for tokens below `folder`.
    pub fn new(folder: &Path) -> Self {
        fs::create_dir_all(folder.join("tokens")).unwrap();
        let tokens = folder.join("tokens").display().to_string();
        let conf = format!("directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n");
        fs::write(folder.join("softhsm2.conf"), conf).unwrap();
        Self { folder: folder.to_owned() }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Gives a program the environment in which the library finds these tokens.
    pub fn environment<'a>(&self, program: &'a mut Command) -> &'a mut Command {
        program.env("SOFTHSM2_CONF", self.folder.join("softhsm2.conf")).env("VOUCHSAFE_FAULTS", self.faults());
        program.env("KRYOPTIC_CONF", self.folder.join(KRYOPTIC_CONF))
    }

    /// Makes a token.
    pub fn token(&self, label: &str) {
        let mut program = Command::new("softhsm2-util");
        program.args(["--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", SO_PIN]);
        let made = self.environment(&mut program).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }

    /// A file with a PIN.
    pub fn pin_file(&self, name: &str, pin: &str) -> PathBuf {
        let path = self.folder.join(name);
        fs::write(&path, format!("{pin}\n")).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// Settings for the token of that label, straight to SoftHSM.
    pub fn settings(&self, label: &str) -> Settings {
        Settings::new(library(), TokenName::Label(label.to_owned()), self.pin_file("pin", PIN))
    }

    /// Settings for the token of that label, through the library that spoils answers.
    pub fn faulty_settings(&self, label: &str) -> Settings {
        Settings { module: self.faulty_module(), ..self.settings(label) }
    }

    fn faulty_module(&self) -> PathBuf {
        let path = self.folder.join("faulty_module.so");
        if !path.exists() {
            let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/faulty_module.c");
            let real = format!("-DREAL_MODULE=\"{}\"", library().display());
            let mut compiler = Command::new("cc");
            compiler.args(["-shared", "-fPIC", "-O1", &real, "-o"]).arg(&path).arg(source).arg("-ldl");
            let made = compiler.output().unwrap();
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        }
        path
    }

    fn faults(&self) -> PathBuf {
        self.folder.join("faults")
    }

    /// Spoils answers from now on: see faulty_module.c.
    pub fn spoil(&self, what: &str, number: u64, how: &str) {
        // In one step: the library may look at any moment.
        let draft = self.folder.join("faults.new");
        fs::write(&draft, format!("{what} {number} {how}\n")).unwrap();
        fs::rename(draft, self.faults()).unwrap();
    }

    /// Answers as they are.
    pub fn heal(&self) {
        let _ = fs::remove_file(self.faults());
    }

    /// Whether what was to be spoiled once was not yet.
    pub fn is_spoiling(&self) -> bool {
        self.faults().exists()
    }

    /// How often the library was called so.
    pub fn calls(&self, function: &str) -> usize {
        let log = fs::read_to_string(self.folder.join("faults.log")).unwrap_or_default();
        log.lines().filter(|line| *line == function).count()
    }

    /// Takes all tokens away.
    pub fn remove(&self) {
        fs::rename(self.folder.join("tokens"), self.folder.join("away")).unwrap();
        fs::create_dir(self.folder.join("tokens")).unwrap();
    }

    /// Puts them back.
    pub fn put_back(&self) {
        fs::remove_dir_all(self.folder.join("tokens")).unwrap();
        fs::rename(self.folder.join("away"), self.folder.join("tokens")).unwrap();
    }
}
