//! Ways to a TPM: a device file of the kernel's resource manager, or a simulator's socket.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;
use vouchsafe_evidence::{Malformed, Reason};

use crate::provider::Fault;

/// Octets of the largest command or response (TPM_PT_MAX_COMMAND_SIZE and TPM_PT_MAX_RESPONSE_SIZE of PC clients).
pub const FRAME_OCTETS: usize = 4096;
/// Octets of a response header: tag, size, response code.
pub const HEADER_OCTETS: usize = 10;
/// How long a simulator may take to answer; making large RSA keys takes longest.
pub const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// How long it may take to answer the first command: a simulator that serves another client answers none.
pub const FIRST_READ_TIMEOUT: Duration = Duration::from_secs(5);

/// Where a TPM is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `device:/dev/tpmrm0`: a device file, behind the kernel's resource manager.
    Device(PathBuf),
    /// `swtpm:unix:/path`: a simulator's Unix socket.
    SwtpmUnix(PathBuf),
    /// `swtpm:tcp:127.0.0.1:2321`: a simulator's TCP port.
    SwtpmTcp(String),
}

/// Text that is no TPM address.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("expected device:/dev/tpmrm0, swtpm:unix:/path or swtpm:tcp:host:port")]
pub struct AddressInvalid;

impl FromStr for Address {
    type Err = AddressInvalid;

    fn from_str(text: &str) -> Result<Self, AddressInvalid> {
        let absolute = |path: &str| Some(PathBuf::from(path)).filter(|path| path.is_absolute());
        let parsed = if let Some(path) = text.strip_prefix("device:") {
            absolute(path).map(Self::Device)
        } else if let Some(path) = text.strip_prefix("swtpm:unix:") {
            absolute(path).map(Self::SwtpmUnix)
        } else {
            text.strip_prefix("swtpm:tcp:")
                .filter(|target| {
                    target.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
                })
                .map(|target| Self::SwtpmTcp(target.to_owned()))
        };
        parsed.ok_or(AddressInvalid)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(path) => write!(f, "device:{}", path.display()),
            Self::SwtpmUnix(path) => write!(f, "swtpm:unix:{}", path.display()),
            Self::SwtpmTcp(target) => write!(f, "swtpm:tcp:{target}"),
        }
    }
}

/// A way to send one command and get its response.
pub trait Transport: Send {
    /// Sends one whole command and returns one whole response, header included.
    ///
    /// # Errors
    /// [`Fault::Connection`] when the way is closed or breaks, [`Fault::ResponseMalformed`] for a response that
    /// contradicts its own size. Either closes it: what follows on it could belong to another command.
    fn exchange(&mut self, command: &[u8]) -> Result<Vec<u8>, Fault>;

    /// Opens the way, anew if it is open.
    ///
    /// # Errors
    /// [`Fault::Connection`].
    fn open(&mut self) -> Result<(), Fault>;

    /// Closes the way, when something that came over it cannot be trusted.
    fn close(&mut self);

    /// Whether handles of this connection are its own and vanish with it (a resource manager), so that leftovers of
    /// others must neither be looked for nor flushed.
    fn is_managed(&self) -> bool;
}

enum Link {
    Device(File),
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connection to the TPM at an [`Address`].
pub struct Connection {
    address: Address,
    read_timeout: Duration,
    link: Option<Link>,
    answered: bool,
}

impl Connection {
    /// A connection, not yet open.
    #[must_use]
    pub const fn new(address: Address) -> Self {
        Self { address, read_timeout: READ_TIMEOUT, link: None, answered: false }
    }

    /// Lets a simulator take only so long for an answer.
    #[must_use]
    pub const fn with_read_timeout(mut self, read_timeout: Duration) -> Self {
        self.read_timeout = read_timeout;
        self
    }

    fn fault(&self, source: io::Error) -> Fault {
        Fault::Connection { address: self.address.to_string(), source }
    }

    fn connect(&self) -> io::Result<Link> {
        let timeout = Some(self.read_timeout.min(FIRST_READ_TIMEOUT));
        match &self.address {
            Address::Device(path) => OpenOptions::new().read(true).write(true).open(path).map(Link::Device),
            Address::SwtpmTcp(target) => {
                let stream = TcpStream::connect(target)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(timeout)?;
                Ok(Link::Tcp(stream))
            }
            Address::SwtpmUnix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(timeout)?;
                Ok(Link::Unix(stream))
            }
        }
    }

    fn lengthen_timeout(&self) -> io::Result<()> {
        match &self.link {
            Some(Link::Tcp(stream)) => stream.set_read_timeout(Some(self.read_timeout)),
            Some(Link::Unix(stream)) => stream.set_read_timeout(Some(self.read_timeout)),
            Some(Link::Device(_)) | None => Ok(()),
        }
    }
}

impl Transport for Connection {
    fn exchange(&mut self, command: &[u8]) -> Result<Vec<u8>, Fault> {
        // Taken out and put back only after a whole answer, so that every failure closes it.
        let mut link = self.link.take().ok_or_else(|| self.fault(io::ErrorKind::NotConnected.into()))?;
        let response = match &mut link {
            Link::Device(file) => exchange_over(file, command),
            Link::Tcp(stream) => exchange_over(stream, command),
            Link::Unix(stream) => exchange_over(stream, command),
        };
        match response {
            Ok(Ok(response)) => {
                self.link = Some(link);
                if !self.answered {
                    self.answered = true;
                    self.lengthen_timeout().map_err(|source| self.fault(source))?;
                }
                Ok(response)
            }
            Ok(Err(malformed)) => Err(malformed.into()),
            Err(source) => Err(self.fault(source)),
        }
    }

    fn open(&mut self) -> Result<(), Fault> {
        self.link = None;
        self.answered = false;
        let link = self.connect().map_err(|source| self.fault(source))?;
        self.link = Some(link);
        Ok(())
    }

    fn close(&mut self) {
        self.link = None;
    }

    fn is_managed(&self) -> bool {
        match self.address {
            Address::Device(_) => true,
            Address::SwtpmUnix(_) | Address::SwtpmTcp(_) => false,
        }
    }
}

/// One write per command: simulators take a second write for a second command (TPM_RC_COMMAND_SIZE).
fn exchange_over(stream: &mut (impl Read + Write), command: &[u8]) -> io::Result<Result<Vec<u8>, Malformed>> {
    stream.write_all(command)?;
    let mut response = Vec::with_capacity(FRAME_OCTETS);
    let mut chunk = [0_u8; FRAME_OCTETS];
    loop {
        let read = match stream.read(&mut chunk) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        response.extend_from_slice(chunk.get(..read).unwrap_or_default());
        match missing(&response) {
            Ok(0) => return Ok(Ok(response)),
            Ok(_) => {}
            Err(malformed) => return Ok(Err(malformed)),
        }
    }
}

/// How many octets are still to come, by the response's own size field.
fn missing(response: &[u8]) -> Result<usize, Malformed> {
    let malformed = |reason| Malformed::new("TPM response", 2, reason);
    let Some(size) = response.get(2..6).and_then(|size| size.try_into().ok()).map(u32::from_be_bytes) else {
        return Ok(HEADER_OCTETS.saturating_sub(response.len()));
    };
    let size = usize::try_from(size)
        .ok()
        .filter(|size| (HEADER_OCTETS..=FRAME_OCTETS).contains(size))
        .ok_or_else(|| malformed(Reason::BadValue(size.into())))?;
    size.checked_sub(response.len()).ok_or_else(|| malformed(Reason::Trailing(response.len().saturating_sub(size))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_they_print() {
        for text in
            ["device:/dev/tpmrm0", "swtpm:unix:/run/swtpm.sock", "swtpm:tcp:127.0.0.1:2321", "swtpm:tcp:[::1]:2321"]
        {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "/dev/tpm0",
            "device:",
            "device:dev/tpm0",
            "swtpm:unix:relative",
            "swtpm:tcp:host",
            "swtpm:tcp::1",
            "tcp:1:2",
        ] {
            assert_eq!(text.parse::<Address>(), Err(AddressInvalid), "{text:?}");
        }
    }

    #[test]
    fn a_response_is_exactly_as_long_as_it_says() {
        let framed = |size: u32, len: usize| {
            let mut response = vec![0; len];
            response[2..6].copy_from_slice(&size.to_be_bytes());
            missing(&response).map_err(|malformed| malformed.reason)
        };
        assert_eq!(missing(&[0x80]), Ok(9));
        assert_eq!(framed(10, 10), Ok(0));
        assert_eq!(framed(12, 10), Ok(2));
        assert_eq!(framed(10, 11), Err(Reason::Trailing(1)));
        assert_eq!(framed(9, 10), Err(Reason::BadValue(9)));
        assert_eq!(framed(4097, 10), Err(Reason::BadValue(4097)));
    }

    #[test]
    fn a_closed_connection_says_so() {
        let mut connection = Connection::new("swtpm:unix:/nowhere".parse().unwrap());
        assert!(matches!(connection.exchange(&[]), Err(Fault::Connection { .. })));
        assert!(matches!(connection.open(), Err(Fault::Connection { .. })));
    }
}
