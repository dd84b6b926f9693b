//! The socket file.

use std::fs::{DirBuilder, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use thiserror::Error;

use crate::config::{AdminGroup, SocketConfig};
use crate::grants::Accounts;

/// Longest path of a Unix socket on Linux, in octets.
const MAX_PATH_OCTETS: usize = 107;

/// Why a socket cannot be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SocketFault {
    /// An agent serves there already.
    #[error("an agent serves at {} already; stop it or choose another path with --socket", path.display())]
    Served {
        /// The socket.
        path: PathBuf,
    },
    /// The configured group is not there.
    #[error("there is no group {name:?}; make it (groupadd --system {name}) or change socket.group")]
    GroupUnknown {
        /// Its name.
        name: String,
    },
    /// The system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something else has the socket's name.
    #[error("{} is there and no socket; remove it or choose another path with --socket", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The service manager's socket is not the configured one.
    #[error("the service manager's socket is at {found:?}, the configured one at {}", expected.display())]
    Inherited {
        /// Where it is, if anywhere.
        found: Option<PathBuf>,
        /// Where it should be.
        expected: PathBuf,
    },
    /// The path is longer than a socket's may be.
    #[error("the path {} has {found} octets, a socket's may have {limit}", path.display())]
    PathLength {
        /// The path.
        path: PathBuf,
        /// Its octets.
        found: usize,
        /// The most it may have.
        limit: usize,
    },
}

/// A socket that listens at its path, with its mode and group.
#[derive(Debug)]
pub(super) struct Listener {
    socket: UnixListener,
    file: SocketFile,
}

impl Listener {
    /// Listens at the configured path; a socket that nobody serves any more is replaced.
    ///
    /// The socket gets its mode and group inside a private folder first, so that nobody can connect before.
    pub(super) fn bind(config: &SocketConfig, accounts: &Accounts) -> Result<Listener, SocketFault> {
        let path = config.path.as_path();
        if let Some(socket) = inherited() {
            return Listener::adopt(socket, path);
        }
        Listener::make(config, accounts)
    }

    /// Listens at a path, whatever the service manager hands over.
    pub(super) fn make(config: &SocketConfig, accounts: &Accounts) -> Result<Listener, SocketFault> {
        let path = config.path.as_path();
        let group = group(config, accounts)?;
        let directory = path.parent().unwrap_or(Path::new("/"));
        DirBuilder::new().recursive(true).mode(0o755).create(directory).map_err(io_fault("create", directory))?;
        check_length(path)?;
        check_vacant(path)?;
        let draft = Draft::new(directory)?;
        check_length(&draft.socket)?;
        let socket = UnixListener::bind(&draft.socket).map_err(io_fault("listen at", &draft.socket))?;
        let file = publish(&draft.socket, path, config, group)?;
        Ok(Listener { socket, file })
    }

    /// Listens at the service manager's socket, which made it with a mode and a group of its own and keeps its file.
    fn adopt(socket: UnixListener, path: &Path) -> Result<Listener, SocketFault> {
        let address = socket.local_addr().map_err(io_fault("look at", path))?;
        if address.as_pathname() != Some(path) {
            let found = address.as_pathname().map(Path::to_owned);
            return Err(SocketFault::Inherited { found, expected: path.to_owned() });
        }
        Ok(Listener { socket, file: SocketFile { path: path.to_owned(), identity: None } })
    }

    /// The socket for the event loop of the current runtime, and its file.
    pub(super) fn into_async(self) -> Result<(tokio::net::UnixListener, SocketFile), SocketFault> {
        let fault = |source| SocketFault::Io { action: "listen at", path: self.file.path.clone(), source };
        self.socket.set_nonblocking(true).map_err(fault)?;
        let listener = tokio::net::UnixListener::from_std(self.socket).map_err(fault)?;
        Ok((listener, self.file))
    }
}

/// The listening socket that is this process's standard input, if it is one.
fn inherited() -> Option<UnixListener> {
    let stdin = io::stdin();
    let is_listening = rustix::net::sockopt::socket_acceptconn(stdin.as_fd()).is_ok_and(|listening| listening);
    if !is_listening {
        return None;
    }
    stdin.as_fd().try_clone_to_owned().ok().map(UnixListener::from)
}

/// The group that is to own the socket, if it is there.
fn group(config: &SocketConfig, accounts: &Accounts) -> Result<Option<u32>, SocketFault> {
    let gid = accounts.gid(config.group.name());
    match (&config.group, gid) {
        (AdminGroup::Named(name), None) => Err(SocketFault::GroupUnknown { name: name.clone() }),
        (AdminGroup::Default, None) => {
            tracing::info!(
                "there is no group {:?}: only root and the agent's own user are administrators",
                config.group.name()
            );
            Ok(None)
        }
        (AdminGroup::Named(_) | AdminGroup::Default, Some(gid)) => Ok(Some(gid)),
    }
}

fn publish(draft: &Path, path: &Path, config: &SocketConfig, group: Option<u32>) -> Result<SocketFile, SocketFault> {
    let present = std::fs::symlink_metadata(draft).map_err(io_fault("look at", draft))?.gid();
    // Where it has the group already it is left alone: a sandbox may forbid even that.
    if let Some(group) = group.filter(|group| *group != present)
        && let Err(source) = chown(draft, None, Some(group))
    {
        match config.group {
            AdminGroup::Named(_) => return Err(io_fault("set the group of", draft)(source)),
            AdminGroup::Default => tracing::info!(%source, "the socket keeps the agent's own group"),
        }
    }
    std::fs::set_permissions(draft, Permissions::from_mode(config.mode)).map_err(io_fault("set the mode of", draft))?;
    let metadata = std::fs::symlink_metadata(draft).map_err(io_fault("look at", draft))?;
    std::fs::rename(draft, path).map_err(io_fault("create", path))?;
    Ok(SocketFile { path: path.to_owned(), identity: Some((metadata.dev(), metadata.ino())) })
}

fn check_length(path: &Path) -> Result<(), SocketFault> {
    let found = path.as_os_str().len();
    if found > MAX_PATH_OCTETS {
        return Err(SocketFault::PathLength { path: path.to_owned(), found, limit: MAX_PATH_OCTETS });
    }
    Ok(())
}

/// Refuses a path that something other than an abandoned socket has.
fn check_vacant(path: &Path) -> Result<(), SocketFault> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(SocketFault::NotASocket { path: path.to_owned() });
        }
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(io_fault("look at", path)(source)),
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
        Ok(_) => Err(SocketFault::Served { path: path.to_owned() }),
        Err(source) => Err(io_fault("connect to", path)(source)),
    }
}

/// Drafts that this process has made, so that each has a name of its own.
static DRAFTS: AtomicU32 = AtomicU32::new(0);

/// A folder of mode 0700 in which a socket is made ready; removed when dropped.
struct Draft {
    folder: PathBuf,
    socket: PathBuf,
}

impl Draft {
    fn new(directory: &Path) -> Result<Draft, SocketFault> {
        let number = DRAFTS.fetch_add(1, Ordering::Relaxed);
        let folder = directory.join(format!(".{}-{number}", std::process::id()));
        let draft = Draft { socket: folder.join("s"), folder };
        // One of a process that had the same id and was killed.
        draft.remove();
        DirBuilder::new().mode(0o700).create(&draft.folder).map_err(io_fault("create", &draft.folder))?;
        Ok(draft)
    }

    /// Whatever is not there need not be removed; whatever stays hinders nobody.
    fn remove(&self) {
        let _ = std::fs::remove_file(&self.socket);
        let _ = std::fs::remove_dir(&self.folder);
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        self.remove();
    }
}

fn io_fault(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SocketFault {
    move |source| SocketFault::Io { action, path: path.to_owned(), source }
}

/// The file of a socket.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode of one that this process made; `None` for the service manager's, which stays.
    identity: Option<(u64, u64)>,
}

impl SocketFile {
    /// Removes the file if this process made it, unless another socket has taken its name.
    pub(super) fn remove(&self) {
        let Some(identity) = self.identity else { return };
        let is_ours =
            std::fs::symlink_metadata(&self.path).is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == identity);
        if is_ours && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "the socket file stays behind");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;
    use std::path::Path;

    use super::{Listener, SocketFault};
    use crate::config::{AdminGroup, SocketConfig};
    use crate::grants::Accounts;

    fn config(path: &Path) -> SocketConfig {
        SocketConfig { path: path.to_owned(), mode: 0o640, group: AdminGroup::Default }
    }

    fn bind(config: &SocketConfig) -> Result<Listener, SocketFault> {
        Listener::bind(config, &Accounts::system())
    }

    #[test]
    fn a_socket_has_its_mode_and_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/agent.sock");
        let listener = bind(&config(&path)).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        let names: Vec<_> = std::fs::read_dir(path.parent().unwrap()).unwrap().collect();
        assert_eq!(names.len(), 1, "no draft stays behind");
        listener.file.remove();
        assert!(!path.exists());
    }

    #[test]
    fn an_abandoned_socket_is_replaced_and_a_served_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        drop(UnixListener::bind(&path).unwrap());
        let listener = bind(&config(&path)).unwrap();
        let refused = bind(&config(&path)).unwrap_err();
        assert!(matches!(refused, SocketFault::Served { .. }), "{refused}");
        drop(listener);
    }

    #[test]
    fn only_its_own_file_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let listener = bind(&config(&path)).unwrap();
        std::fs::remove_file(&path).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        listener.file.remove();
        assert!(path.exists());
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        let refused = bind(&config(&file)).unwrap_err();
        assert!(matches!(refused, SocketFault::NotASocket { .. }), "{refused}");
        let long = directory.path().join("x".repeat(100));
        let refused = bind(&config(&long)).unwrap_err();
        assert!(matches!(refused, SocketFault::PathLength { .. }), "{refused}");
        let group = AdminGroup::Named("no-such-group".to_owned());
        let unknown = SocketConfig { group, ..config(&directory.path().join("s")) };
        let refused = bind(&unknown).unwrap_err();
        assert!(matches!(refused, SocketFault::GroupUnknown { .. }), "{refused}");
    }
}
