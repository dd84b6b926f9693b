//! Where a service listens.

use std::path::{Path, PathBuf};

use super::ClientFault;
use crate::config::DEFAULT_SOCKET_PATH;

/// The environment variable by which Parsec clients find their service.
pub const ENDPOINT_VARIABLE: &str = "PARSEC_SERVICE_ENDPOINT";

/// A Unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(PathBuf);

impl Endpoint {
    /// The socket at this path.
    #[must_use]
    pub fn at(path: &Path) -> Endpoint {
        Endpoint(path.to_owned())
    }

    /// The socket that `PARSEC_SERVICE_ENDPOINT` names, else [`DEFAULT_SOCKET_PATH`].
    ///
    /// # Errors
    ///
    /// [`ClientFault::Endpoint`] if the variable holds something else than a socket's URL.
    pub fn from_environment() -> Result<Endpoint, ClientFault> {
        match std::env::var(ENDPOINT_VARIABLE) {
            Ok(url) => Endpoint::from_url(&url),
            Err(std::env::VarError::NotPresent) => Ok(Endpoint(PathBuf::from(DEFAULT_SOCKET_PATH))),
            Err(std::env::VarError::NotUnicode(found)) => {
                Err(ClientFault::Endpoint { found: found.to_string_lossy().into_owned() })
            }
        }
    }

    /// The socket of a URL `unix:/path` (or `unix:///path`, which is the same).
    ///
    /// # Errors
    ///
    /// [`ClientFault::Endpoint`] for any other URL.
    pub fn from_url(url: &str) -> Result<Endpoint, ClientFault> {
        url.strip_prefix("unix:")
            .map(|path| path.strip_prefix("//").unwrap_or(path))
            .filter(|path| path.starts_with('/'))
            .map(|path| Endpoint(PathBuf::from(path)))
            .ok_or_else(|| ClientFault::Endpoint { found: url.to_owned() })
    }

    /// The socket's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::Endpoint;

    #[test]
    fn urls_of_sockets() {
        for url in ["unix:/run/x.sock", "unix:///run/x.sock"] {
            assert_eq!(Endpoint::from_url(url).unwrap(), Endpoint::at(Path::new("/run/x.sock")));
        }
        for url in ["", "/run/x.sock", "unix:x.sock", "unix://host/x.sock", "tcp:1"] {
            assert!(Endpoint::from_url(url).is_err(), "{url}");
        }
    }
}
