//! A software TPM for demonstrations and tests: `swtpm`, set up with endorsement certificates of its own making.
//!
//! It behaves like a TPM and proves nothing about hardware: its endorsement certificates chain to a root that was made
//! a moment ago in the same folder. Needs the programs `swtpm`, `swtpm_setup` and `swtpm_localca` (packages `swtpm` and
//! `swtpm-tools`).

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use thiserror::Error;

use crate::provider::Fault;
use crate::tpm::kdf::random;
use crate::tpm::{Address, Tpm};

/// How long the simulator may take to open its socket, and to end when asked.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked at meanwhile.
const GLANCE: Duration = Duration::from_millis(5);
/// Octets of a Unix socket path, without its terminating zero.
const SOCKET_PATH_OCTETS: usize = 107;
/// Certificate and signer programs of Debian's packages.
const LOCALCA: &str = "/usr/bin/swtpm_localca";

/// Why no software TPM could be had.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SwtpmFault {
    /// A file or folder could not be used.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The path of the socket is too long for a Unix socket.
    #[error("{} has more than {SOCKET_PATH_OCTETS} octets, too many for a socket", path.display())]
    PathTooLong {
        /// The socket's path.
        path: PathBuf,
    },
    /// A program could not be started.
    #[error("cannot run {program} (packages swtpm and swtpm-tools): {source}")]
    Program {
        /// The program.
        program: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Setting up the state failed.
    #[error("swtpm_setup failed: {log}")]
    Setup {
        /// What it said.
        log: String,
    },
    /// The simulator did not open its socket in time.
    #[error("swtpm did not start: {log}")]
    Start {
        /// What it said.
        log: String,
    },
    /// A fault of the TPM or of random numbers.
    #[error(transparent)]
    Tpm(#[from] Fault),
}

/// How a software TPM is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// PCR banks, as `swtpm_setup` takes them: `sha256` or `sha1,sha256,sha384`.
    pub pcr_banks: String,
    /// Manufacturer of the platform, for its platform certificate.
    pub platform_manufacturer: String,
    /// Model of the platform.
    pub platform_model: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            pcr_banks: "sha256".to_owned(),
            platform_manufacturer: "Vouchsafe".to_owned(),
            platform_model: "Demonstration".to_owned(),
        }
    }
}

/// A running software TPM; ended when dropped, its own folder removed.
#[derive(Debug)]
pub struct Swtpm {
    folder: PathBuf,
    owns_folder: bool,
    process: Option<Child>,
}

impl Swtpm {
    /// Sets one up in a new folder among the temporary files and starts it. Takes about a second.
    ///
    /// # Errors
    /// [`SwtpmFault`].
    pub fn start(options: &Options) -> Result<Self, SwtpmFault> {
        let tag: String = random::<6>()?.iter().map(|octet| format!("{octet:02x}")).collect();
        let folder = std::env::temp_dir().join(format!("swtpm-{tag}"));
        make_folder(&folder)?;
        let mut tpm = Self { folder, owns_folder: true, process: None };
        tpm.set_up(options)?;
        tpm.run()?;
        Ok(tpm)
    }

    /// Starts the one whose state is in `folder`, after setting it up if there is none. The folder stays.
    ///
    /// # Errors
    /// [`SwtpmFault`].
    pub fn start_in(folder: &Path, options: &Options) -> Result<Self, SwtpmFault> {
        let mut tpm = Self { folder: folder.to_path_buf(), owns_folder: false, process: None };
        if !tpm.state_folder().exists() {
            tpm.set_up(options)?;
        }
        tpm.run()?;
        Ok(tpm)
    }

    /// Where to reach it.
    #[must_use]
    pub fn address(&self) -> Address {
        Address::SwtpmUnix(self.socket())
    }

    /// Its data socket. It serves one connection at a time.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.join("tpm.sock")
    }

    /// The folder with everything it has.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// PEM of the root above its endorsement certificates.
    #[must_use]
    pub fn root_certificate(&self) -> PathBuf {
        self.authority_folder().join("swtpm-localca-rootca-cert.pem")
    }

    /// PEM of the certificate authority that issued its endorsement certificates.
    #[must_use]
    pub fn issuer_certificate(&self) -> PathBuf {
        self.authority_folder().join("issuercert.pem")
    }

    /// The folder with the endorsement and platform certificates as files (DER).
    #[must_use]
    pub fn certificates_folder(&self) -> PathBuf {
        self.folder.join("certificates")
    }

    /// Opens a connection to it.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn connect(&self) -> Result<Tpm, Fault> {
        Tpm::open(&self.address())
    }

    /// Ends it and starts it again: for the TPM, a reset.
    ///
    /// # Errors
    /// [`SwtpmFault`].
    pub fn restart(&mut self) -> Result<(), SwtpmFault> {
        self.stop();
        self.run()
    }

    /// Ends it by force, as a power failure would, and starts it again.
    ///
    /// # Errors
    /// [`SwtpmFault`].
    pub fn crash(&mut self) -> Result<(), SwtpmFault> {
        if let Some(mut child) = self.process.take() {
            // It may have ended by itself, which is as good.
            let _ended = child.kill();
            let _waited = child.wait();
        }
        self.run()
    }

    /// Ends it, by force if it does not end by itself.
    pub fn stop(&mut self) {
        let Some(mut child) = self.process.take() else {
            return;
        };
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let asked = pid.is_some_and(|pid| kill_process(pid, Signal::TERM).is_ok());
        let deadline = Instant::now() + PATIENCE;
        while asked && Instant::now() < deadline {
            match child.try_wait() {
                Ok(None) => thread::sleep(GLANCE),
                Ok(Some(_)) | Err(_) => return,
            }
        }
        // Nothing more can be done if even this fails.
        let _unkillable = child.kill();
        let _unwaitable = child.wait();
    }

    fn state_folder(&self) -> PathBuf {
        self.folder.join("state")
    }

    fn authority_folder(&self) -> PathBuf {
        self.folder.join("ca")
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("swtpm.log")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn set_up(&self, options: &Options) -> Result<(), SwtpmFault> {
        for folder in [self.state_folder(), self.authority_folder(), self.certificates_folder()] {
            make_folder(&folder)?;
        }
        let authority = self.authority_folder();
        let config = self.folder.join("setup.conf");
        let authority_config = self.folder.join("localca.conf");
        let authority_options = self.folder.join("localca.options");
        write(&authority_config, &authority_configuration(&authority))?;
        write(
            &authority_options,
            &format!(
                "--platform-manufacturer {}\n--platform-version 1\n--platform-model {}\n",
                options.platform_manufacturer, options.platform_model
            ),
        )?;
        write(
            &config,
            &format!(
                "create_certs_tool = {LOCALCA}\ncreate_certs_tool_config = {}\ncreate_certs_tool_options = {}\n\
                 active_pcr_banks = {}\n",
                authority_config.display(),
                authority_options.display(),
                options.pcr_banks
            ),
        )?;
        let output = Command::new("swtpm_setup")
            .args(["--tpm2", "--create-ek-cert", "--create-platform-cert", "--lock-nvram", "--overwrite"])
            .arg("--tpm-state")
            .arg(self.state_folder())
            .args(["--pcr-banks", &options.pcr_banks])
            .arg("--config")
            .arg(&config)
            .arg("--write-ek-cert-files")
            .arg(self.certificates_folder())
            .stdin(Stdio::null())
            .output()
            .map_err(|source| SwtpmFault::Program { program: "swtpm_setup", source })?;
        if output.status.success() {
            return Ok(());
        }
        let log = [output.stdout, output.stderr].concat();
        Err(SwtpmFault::Setup { log: String::from_utf8_lossy(&log).into_owned() })
    }

    fn run(&mut self) -> Result<(), SwtpmFault> {
        let socket = self.socket();
        if socket.as_os_str().len() > SOCKET_PATH_OCTETS {
            return Err(SwtpmFault::PathTooLong { path: socket });
        }
        let log = self.log_file();
        let log = File::create(&log).map_err(|source| SwtpmFault::File { path: log, source })?;
        let errors = log.try_clone().map_err(|source| SwtpmFault::File { path: self.log_file(), source })?;
        let child = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
            .arg("--tpmstate")
            .arg(format!("dir={}", self.state_folder().display()))
            .arg("--server")
            .arg(format!("type=unixio,path={}", socket.display()))
            .arg("--ctrl")
            .arg(format!("type=unixio,path={}", self.folder.join("ctrl.sock").display()))
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .map_err(|source| SwtpmFault::Program { program: "swtpm", source })?;
        self.process = Some(child);
        self.await_socket(&socket)
    }

    fn await_socket(&mut self, socket: &Path) -> Result<(), SwtpmFault> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if UnixStream::connect(socket).is_ok() {
                return Ok(());
            }
            let ended = self.process.as_mut().is_none_or(|child| !matches!(child.try_wait(), Ok(None)));
            if ended {
                break;
            }
            thread::sleep(GLANCE);
        }
        Err(SwtpmFault::Start { log: self.log() })
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        self.stop();
        if self.owns_folder {
            // A leftover among the temporary files is no reason to fail.
            let _leftover = fs::remove_dir_all(&self.folder);
        }
    }
}

fn authority_configuration(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "statedir = {folder}\nsigningkey = {folder}/signkey.pem\nissuercert = {folder}/issuercert.pem\n\
         certserial = {folder}/certserial\n"
    )
}

fn make_folder(path: &Path) -> Result<(), SwtpmFault> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| SwtpmFault::File { path: path.to_path_buf(), source })
}

fn write(path: &Path, text: &str) -> Result<(), SwtpmFault> {
    fs::write(path, text).map_err(|source| SwtpmFault::File { path: path.to_path_buf(), source })
}
