//! Telling the service manager how things stand (sd_notify).

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The variable that names the service manager's socket.
const VARIABLE: &str = "NOTIFY_SOCKET";

/// The agent answers requests.
pub(super) const READY: &str = "READY=1";

/// The agent takes no more requests.
pub(super) const STOPPING: &str = "STOPPING=1";

/// Tells the service manager, if there is one that wants to know.
pub(super) fn notify(state: &str) {
    let Some(name) = std::env::var_os(VARIABLE) else { return };
    if let Err(error) = send(&name, state) {
        tracing::warn!(%error, state, "the service manager cannot be told");
    }
}

/// A name that begins with `@` is one of the abstract namespace.
fn send(name: &OsStr, state: &str) -> io::Result<()> {
    let address = match name.as_bytes().split_first() {
        Some((b'@', abstract_name)) => SocketAddr::from_abstract_name(abstract_name)?,
        Some(_) | None => SocketAddr::from_pathname(name)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    use super::send;

    #[test]
    fn both_kinds_of_sockets_are_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("n");
        let name = format!("vouchsafe-test-{}", std::process::id());
        let sockets = [
            (path.clone().into_os_string(), UnixDatagram::bind(&path).unwrap()),
            (
                format!("@{name}").into(),
                UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap(),
            ),
        ];
        for (name, socket) in sockets {
            send(&name, "READY=1").unwrap();
            let mut octets = [0; 32];
            let length = socket.recv(&mut octets).unwrap();
            assert_eq!(&octets[..length], b"READY=1");
        }
        assert!(send(directory.path().join("absent").as_os_str(), "READY=1").is_err());
    }
}
