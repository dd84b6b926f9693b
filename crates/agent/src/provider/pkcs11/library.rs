//! Libraries of modules: each is loaded and begun with once in the process, whoever uses it.
//!
//! C_Initialize and C_Finalize concern everyone who uses the library, and many a library sees tokens come and go only when
//! it is begun with anew. That ends every session of every user, so it is done seldom, while nobody is inside the library,
//! and everybody is told by a generation number.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use tracing::{info, warn};

use super::fault::TokenFault;
use crate::provider::Fault;

/// Shortest pause between two restarts of a library that nobody else uses.
const PAUSE: Duration = Duration::from_millis(250);
/// Longest pause, where others use it and would lose their sessions each time.
const PAUSE_SHARED: Duration = Duration::from_secs(30);

/// The libraries in use. Never unloaded: makers' libraries seldom survive that.
static LIBRARIES: Mutex<BTreeMap<PathBuf, Arc<Library>>> = Mutex::new(BTreeMap::new());

/// A library that is loaded.
#[derive(Debug)]
pub(super) struct Library {
    path: PathBuf,
    state: RwLock<State>,
    restarts: Mutex<Restarts>,
    users: AtomicUsize,
}

/// The library between two restarts.
#[derive(Debug)]
pub(super) struct State {
    pub(super) pkcs11: Pkcs11,
    /// Which of the library's lives this is: handles of another one mean nothing.
    pub(super) generation: u64,
}

/// Who uses a library: a provider with all of its tokens.
#[derive(Debug)]
pub(super) struct User {
    library: Arc<Library>,
}

impl User {
    /// A user of the library in the file `path`.
    pub(super) fn of(path: &Path) -> Result<Arc<Self>, Fault> {
        let library = Library::load(path)?;
        library.users.fetch_add(1, Ordering::Relaxed);
        Ok(Arc::new(Self { library }))
    }
}

impl Drop for User {
    fn drop(&mut self) {
        self.library.users.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Deref for User {
    type Target = Library;

    fn deref(&self) -> &Library {
        &self.library
    }
}

#[derive(Debug)]
struct Restarts {
    last: Option<Instant>,
    pause: Duration,
}

impl Library {
    /// The library in the file `path`, loaded and begun with.
    pub(super) fn load(path: &Path) -> Result<Arc<Self>, Fault> {
        let fault = |cause: String| Fault::Token(TokenFault::Module { path: path.to_owned(), cause });
        // One file under two names is one library.
        let canonical = path.canonicalize().map_err(|error| fault(error.to_string()))?;
        let mut libraries = LIBRARIES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(library) = libraries.get(&canonical) {
            return Ok(Arc::clone(library));
        }
        let pkcs11 = Pkcs11::new(path).map_err(|error| fault(error.to_string()))?;
        begin(&pkcs11).map_err(|error| fault(Fault::from(error).to_string()))?;
        let library = Arc::new(Self {
            path: path.to_owned(),
            state: RwLock::new(State { pkcs11, generation: 1 }),
            restarts: Mutex::new(Restarts { last: None, pause: PAUSE }),
            users: AtomicUsize::new(0),
        });
        libraries.insert(canonical, Arc::clone(&library));
        Ok(library)
    }

    /// Into the library. It is not restarted while somebody is inside.
    pub(super) fn enter(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the library look for tokens anew, unless that was done since `generation` or too short a time ago. Whether a
    /// library of another generation than `generation` is there now.
    pub(super) fn restart(&self, generation: u64) -> bool {
        let is_shared = self.users.load(Ordering::Relaxed) > 1;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.generation != generation {
            return true;
        }
        let mut restarts = self.restarts.lock().unwrap_or_else(PoisonError::into_inner);
        if restarts.last.is_some_and(|last| last.elapsed() < restarts.pause) {
            return false;
        }
        if is_shared {
            restarts.pause = restarts.pause.saturating_mul(2).min(PAUSE_SHARED);
        }
        restarts.last = Some(Instant::now());
        info!(module = %self.path.display(), "looking for the token anew");
        state.generation = state.generation.saturating_add(1);
        let pkcs11 = state.pkcs11.clone();
        // One that was not begun with, or whose token is gone, refuses this; nothing else can be done with it.
        if let Err(error) = pkcs11.clone().finalize() {
            warn!(module = %self.path.display(), fault = %Fault::from(error), "C_Finalize");
        }
        if let Err(error) = begin(&pkcs11) {
            warn!(module = %self.path.display(), fault = %Fault::from(error), "C_Initialize");
        }
        true
    }

    /// The token is there: the next restart need not wait longer than the shortest pause.
    pub(super) fn is_well(&self) {
        self.restarts.lock().unwrap_or_else(PoisonError::into_inner).pause = PAUSE;
    }
}

fn begin(pkcs11: &Pkcs11) -> Result<(), Error> {
    match pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        // By somebody else in this process, who shares it.
        Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_is_not_there_is_named() {
        let fault = Library::load(Path::new("/nonexistent/module.so")).unwrap_err();
        assert_eq!(fault.code(), "agent.token-module");
        assert!(fault.to_string().starts_with("/nonexistent/module.so cannot be used"), "{fault}");
    }

    #[test]
    fn a_file_that_is_no_module_is_named() {
        let program = std::env::current_exe().unwrap();
        let fault = Library::load(&program).unwrap_err();
        assert_eq!(fault.code(), "agent.token-module", "{fault}");
    }
}
