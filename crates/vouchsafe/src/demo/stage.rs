//! What the demonstration uses on this machine, all of which is gone when it ends: a folder, processes, TPMs.

use std::cell::RefCell;
use std::ffi::OsString;
use std::fs::DirBuilder;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use vouchsafe_agent::swtpm::{Options, Swtpm};
use vouchsafe_agent::tpm::{Address, AuthValue, Object, Tpm};
use vouchsafe_verifier::hex;

use crate::failure::Failure;
use crate::random::random;

/// How long a process may take to start, and to end when asked.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often it is looked at meanwhile.
const GLANCE: Duration = Duration::from_millis(5);
/// First persistent handle.
const PERSISTENT: u32 = 0x8100_0000;

/// Whether somebody asked to stop: Ctrl-C, SIGTERM or a terminal that went away.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Whether somebody asked to stop.
pub fn is_interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// Stops here if somebody asked to.
///
/// # Errors
/// [`Failure`] then.
pub fn stop_if_interrupted() -> Result<(), Failure> {
    if is_interrupted() { Err(Failure::new("interrupted")) } else { Ok(()) }
}

/// Everything that has to be cleaned up. Dropping it does so too.
#[derive(Debug)]
pub struct Stage {
    folder: PathBuf,
    processes: RefCell<Vec<Process>>,
    tpms: RefCell<Vec<Swtpm>>,
    borrowed: RefCell<Option<Borrowed>>,
    environment: RefCell<Vec<(&'static str, OsString)>>,
}

/// What a program that was run said.
#[derive(Debug)]
pub struct Said {
    /// Whether it did what was asked.
    pub done: bool,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// A TPM that is not ours, and what was persistent in it before.
#[derive(Debug)]
struct Borrowed {
    address: Address,
    persistent: Vec<u32>,
}

#[derive(Debug)]
struct Process {
    name: &'static str,
    child: Child,
}

impl Stage {
    /// A stage in a new folder among the temporary files.
    ///
    /// # Errors
    /// [`Failure`] if the folder cannot be made or signals cannot be watched.
    pub fn new() -> Result<Self, Failure> {
        // From here on somebody is there to clean up.
        watch_signals()?;
        let folder = std::env::temp_dir().join(format!("vouchsafe-demo-{}", hex::encode(&random::<6>()?)));
        let folder = std::path::absolute(&folder).unwrap_or(folder);
        DirBuilder::new().mode(0o700).create(&folder).map_err(|error| {
            Failure::new(format!("{} cannot be made", folder.display()))
                .because(error)
                .next("name another place for temporary files with TMPDIR")
        })?;
        Ok(Self {
            folder,
            processes: RefCell::default(),
            tpms: RefCell::default(),
            borrowed: RefCell::default(),
            environment: RefCell::default(),
        })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes a folder in it.
    ///
    /// # Errors
    /// [`Failure`] if it cannot be made.
    pub fn make_folder(&self, name: &str) -> Result<PathBuf, Failure> {
        let path = self.folder.join(name);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(|error| Failure::new(format!("{} cannot be made", path.display())).because(error))?;
        Ok(path)
    }

    /// Sets up and starts a software TPM; calls `with` on it.
    ///
    /// # Errors
    /// [`Failure`] if it does not start.
    pub fn start_tpm<T>(&self, name: &str, with: impl FnOnce(&Swtpm) -> T) -> Result<T, Failure> {
        let folder = self.make_folder(name)?;
        let tpm = Swtpm::start_in(&folder, &Options::default()).map_err(|fault| {
            Failure::new("no software TPM could be started")
                .because(fault)
                .next("install it: apt install swtpm swtpm-tools")
        })?;
        let result = with(&tpm);
        self.tpms.borrow_mut().push(tpm);
        Ok(result)
    }

    /// Uses a TPM that is not ours; what will have been made persistent in it is removed in the end.
    ///
    /// # Errors
    /// [`Failure`] if it does not answer.
    pub fn borrow_tpm(&self, address: &Address) -> Result<(), Failure> {
        let handles = Tpm::open(address).and_then(|mut tpm| tpm.handles(PERSISTENT)).map_err(|fault| {
            Failure::new(format!("the TPM at {address} does not answer"))
                .because(fault)
                .next("check the address and who may use it (group tss)")
        })?;
        *self.borrowed.borrow_mut() = Some(Borrowed { address: address.clone(), persistent: handles });
        Ok(())
    }

    /// Sets a variable for all that is started from now on.
    pub fn set(&self, name: &'static str, value: impl Into<OsString>) {
        let mut environment = self.environment.borrow_mut();
        environment.retain(|(known, _)| *known != name);
        environment.push((name, value.into()));
    }

    /// Runs a program in the folder, to its end; `vouchsafe` is this very program.
    ///
    /// # Errors
    /// [`Failure`] if it cannot be run.
    pub fn run(&self, words: &[&str]) -> Result<Said, Failure> {
        let (name, arguments) = words.split_first().ok_or_else(|| Failure::new("there is no command"))?;
        let failed = |error: std::io::Error| Failure::new(format!("{name} cannot be run")).because(error);
        let program = if *name == "vouchsafe" { std::env::current_exe().map_err(failed)? } else { PathBuf::from(name) };
        let output = Command::new(program)
            .args(arguments)
            .current_dir(&self.folder)
            .env_remove("VOUCHSAFE_LOG")
            .envs(self.environment.borrow().iter().cloned())
            .stdin(Stdio::null())
            .output()
            .map_err(failed)?;
        let text = |octets: Vec<u8>| String::from_utf8_lossy(&octets).into_owned();
        Ok(Said { done: output.status.success(), out: text(output.stdout), err: text(output.stderr) })
    }

    /// Ends a process.
    pub fn stop(&self, name: &str) {
        let (stopped, others): (Vec<_>, Vec<_>) =
            self.processes.take().into_iter().partition(|process: &Process| process.name == name);
        *self.processes.borrow_mut() = others;
        for mut process in stopped {
            end(&mut process.child);
        }
    }

    /// Starts this very program with these arguments.
    ///
    /// # Errors
    /// [`Failure`] if it does not start.
    pub fn start_self(&self, name: &'static str, arguments: &[&str], listen: bool) -> Result<Option<String>, Failure> {
        let failed = |error: &dyn std::fmt::Display| Failure::new(format!("the {name} did not start")).because(error);
        let program = std::env::current_exe().map_err(|error| failed(&error))?;
        let log = std::fs::File::create(self.log_file(name)).map_err(|error| failed(&error))?;
        let mut child = Command::new(program)
            .args(arguments)
            .env_remove("VOUCHSAFE_LOG")
            .envs(self.environment.borrow().iter().cloned())
            .stdin(Stdio::null())
            .stdout(if listen { Stdio::piped() } else { Stdio::null() })
            .stderr(log)
            .spawn()
            .map_err(|error| failed(&error))?;
        let stdout = child.stdout.take();
        self.processes.borrow_mut().push(Process { name, child });
        stdout.map(|stdout| self.first_line(name, stdout)).transpose()
    }

    fn log_file(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }

    /// The first line that a process writes; none means that it ended.
    fn first_line(&self, name: &str, stdout: ChildStdout) -> Result<String, Failure> {
        let mut line = String::new();
        let read = BufReader::new(stdout).read_line(&mut line);
        if read.is_err() || line.trim().is_empty() {
            return Err(self.did_not_start(name));
        }
        Ok(line.trim().to_owned())
    }

    fn did_not_start(&self, name: &str) -> Failure {
        let log = std::fs::read_to_string(self.log_file(name)).unwrap_or_default();
        Failure::new(format!("the {name} did not start")).because(log.trim())
    }

    /// Waits until `ready` gives something, while `name` runs.
    ///
    /// # Errors
    /// [`Failure`] if the process ends or is not ready in time.
    pub fn await_ready<T>(&self, name: &str, mut ready: impl FnMut() -> Option<T>) -> Result<T, Failure> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            stop_if_interrupted()?;
            if let Some(found) = ready() {
                return Ok(found);
            }
            let ended = self
                .processes
                .borrow_mut()
                .iter_mut()
                .filter(|process| process.name == name)
                .any(|process| !matches!(process.child.try_wait(), Ok(None)));
            if ended {
                break;
            }
            std::thread::sleep(GLANCE);
        }
        Err(self.did_not_start(name))
    }

    /// Stops and removes everything.
    ///
    /// # Errors
    /// [`Failure`] if something stays behind.
    pub fn clear(&self) -> Result<(), Failure> {
        // The agent first: it has the TPM open.
        for mut process in self.processes.take().into_iter().rev() {
            end(&mut process.child);
        }
        let given_back = self.borrowed.take().map_or(Ok(()), |borrowed| give_back(&borrowed));
        drop(self.tpms.take());
        match std::fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Failure::new(format!("{} could not be removed", self.folder.display()))
                    .because(error)
                    .next("remove it by hand"))
            }
            Ok(()) | Err(_) => given_back,
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Err(failure) = self.clear() {
            failure.report();
        }
    }
}

/// Asks a process to end, and ends it if it does not.
fn end(child: &mut Child) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let asked = pid.is_some_and(|pid| kill_process(pid, Signal::TERM).is_ok());
    let deadline = Instant::now() + PATIENCE;
    while asked && Instant::now() < deadline {
        match child.try_wait() {
            Ok(None) => std::thread::sleep(GLANCE),
            Ok(Some(_)) | Err(_) => return,
        }
    }
    // Nothing more can be done if even this fails.
    let _unkillable = child.kill();
    let _unwaitable = child.wait();
}

/// Removes from a borrowed TPM what became persistent in it.
fn give_back(borrowed: &Borrowed) -> Result<(), Failure> {
    let remove = || {
        let mut tpm = Tpm::open(&borrowed.address)?;
        for handle in tpm.handles(PERSISTENT)? {
            if !borrowed.persistent.contains(&handle) {
                let public = tpm.read_public(handle)?;
                tpm.unpersist(&Object::persistent(handle, &public, AuthValue::empty()))?;
            }
        }
        Ok(())
    };
    remove().map_err(|fault: vouchsafe_agent::provider::Fault| {
        Failure::new("keys of the demonstration are still in the TPM")
            .because(fault)
            .next("remove them: tpm2_getcap handles-persistent, tpm2_evictcontrol")
    })
}

/// Notes signals from now on; the story looks for them at each step.
fn watch_signals() -> Result<(), Failure> {
    let failed = |error| Failure::new("signals cannot be watched").because(error);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let mut signals = {
        use tokio::signal::unix::{SignalKind, signal};
        let _context = runtime.enter();
        let watch = |kind| signal(kind).map_err(failed);
        [watch(SignalKind::interrupt())?, watch(SignalKind::terminate())?, watch(SignalKind::hangup())?]
    };
    let watcher = std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            let [interrupt, terminate, hangup] = &mut signals;
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
            INTERRUPTED.store(true, Ordering::SeqCst);
        });
    });
    watcher.map(drop).map_err(failed)
}
