//! One request over HTTPS, on a connection of its own: TLS to a server beneath configured roots, and as much of HTTP/1.1
//! (RFC 9112) as an answer takes. No redirect is followed, and nothing is read beyond a bound.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::LoadError;
use crate::clock::Clock;
use crate::config::UpstreamUrl;
use crate::tls::HandshakeTime;

/// Octets of an answer, its head included: a certificate with its chain has a few thousand.
pub(super) const ANSWER_OCTETS_MAX: usize = 256 * 1024;
/// Octets of the head of an answer.
const HEAD_OCTETS_MAX: usize = 16 * 1024;
/// Octets that are read at once.
const READ_OCTETS: usize = 8 * 1024;

/// Why there is no answer.
#[derive(Debug, Error)]
pub(super) enum HttpError {
    /// It is not HTTP as it must be.
    #[error("the answer is not HTTP/1.1: {0}")]
    Malformed(&'static str),
    /// The connection, or TLS.
    #[error("the connection")]
    Io(#[from] std::io::Error),
    /// It did not come in time.
    #[error("no answer came in time")]
    Timeout,
    /// It is larger than answers are.
    #[error("the answer has more than {ANSWER_OCTETS_MAX} octets")]
    TooLarge,
}

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) content_type: String,
    pub(super) body: Vec<u8>,
}

/// A client certificate, its chain behind it, with its key.
pub(super) type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// A server that is asked.
pub(super) struct Server {
    url: UpstreamUrl,
    name: ServerName<'static>,
    connector: TlsConnector,
    timeout: Duration,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Server {
    /// The server of a URL, whose certificate must be beneath one of the roots in a file.
    pub(super) fn new(
        url: &UpstreamUrl,
        roots: &Path,
        identity: Option<Identity>,
        timeout: Duration,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, LoadError> {
        let unreadable = |error| LoadError::Pem { path: roots.to_owned(), error };
        let mut store = RootCertStore::empty();
        for root in CertificateDer::pem_file_iter(roots).map_err(unreadable)? {
            store.add(root.map_err(unreadable)?)?;
        }
        if store.is_empty() {
            return Err(LoadError::NoCertificate { path: roots.to_owned() });
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_details(provider, Arc::new(HandshakeTime::of(clock)))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(store);
        let mut config = match identity {
            None => config.with_no_client_auth(),
            Some((chain, key)) => config.with_client_auth_cert(chain, key)?,
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let name = ServerName::try_from(url.host.clone()).map_err(|_| LoadError::Host(url.host.clone()))?;
        Ok(Self { url: url.clone(), name, connector: TlsConnector::from(Arc::new(config)), timeout })
    }

    /// Sends a request to the URL, or to a path beneath it, and reads the answer, whatever its status; within the time that an
    /// exchange may take.
    pub(super) async fn post(&self, path: &str, headers: &str, body: &[u8]) -> Result<Reply, HttpError> {
        tokio::time::timeout(self.timeout, self.exchange(path, headers, body)).await.map_err(|_| HttpError::Timeout)?
    }

    async fn exchange(&self, path: &str, headers: &str, body: &[u8]) -> Result<Reply, HttpError> {
        let stream = TcpStream::connect((self.url.host.as_str(), self.url.port)).await?;
        stream.set_nodelay(true)?;
        let mut stream = self.connector.connect(self.name.clone(), stream).await?;
        let target = match path {
            "" if self.url.path.is_empty() => "/".to_owned(),
            "" => self.url.path.clone(),
            below => format!("{}{below}", self.url.path.trim_end_matches('/')),
        };
        let head = format!(
            "POST {target} HTTP/1.1\r\nHost: {}\r\nUser-Agent: vouchsafe-authority\r\nConnection: close\r\n\
             Content-Length: {}\r\n{headers}\r\n",
            self.url.authority(),
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body).await?;
        stream.flush().await?;
        let mut answer = Vec::new();
        let mut buffer = vec![0; READ_OCTETS];
        loop {
            if let Some(reply) = Answer::read(&answer)?.and_then(|answer| answer.complete(false).transpose()) {
                return reply;
            }
            // An end that TLS does not confirm is an error, so that nobody can cut an answer short.
            let length = stream.read(&mut buffer).await?;
            if length == 0 {
                let answer = Answer::read(&answer)?.ok_or(HttpError::Malformed("it ends within its head"))?;
                return answer.complete(true)?.ok_or(HttpError::Malformed("it ends within its body"));
            }
            answer.extend_from_slice(buffer.get(..length).unwrap_or_default());
            if answer.len() > ANSWER_OCTETS_MAX {
                return Err(HttpError::TooLarge);
            }
        }
    }
}

/// How long a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunked,
    UntilEnd,
}

/// An answer whose head is there.
#[derive(Debug)]
struct Answer<'a> {
    status: u16,
    content_type: String,
    framing: Framing,
    body: &'a [u8],
}

impl<'a> Answer<'a> {
    /// The answer as far as it came; nothing before its head is whole.
    fn read(octets: &'a [u8]) -> Result<Option<Self>, HttpError> {
        let Some(end) = octets.windows(4).position(|window| window == b"\r\n\r\n") else {
            return if octets.len() > HEAD_OCTETS_MAX { Err(HttpError::TooLarge) } else { Ok(None) };
        };
        let (head, body) = octets.split_at(end);
        let head = std::str::from_utf8(head).map_err(|_| HttpError::Malformed("its head is no text"))?;
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(read_status).ok_or(HttpError::Malformed("it has no status"))?;
        let (mut length, mut chunked, mut content_type) = (None, false, String::new());
        for line in lines {
            let (name, value) = line.split_once(':').ok_or(HttpError::Malformed("a header has no colon"))?;
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                let digits = !value.is_empty() && value.bytes().all(|octet| octet.is_ascii_digit());
                let found: usize = value.parse().ok().filter(|_| digits).ok_or(HttpError::Malformed("its length"))?;
                // Two lengths, or a length beside chunks, are how answers are smuggled (RFC 9112, section 6.3).
                if length.replace(found).is_some() {
                    return Err(HttpError::Malformed("it has two lengths"));
                }
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                if chunked || !value.eq_ignore_ascii_case("chunked") {
                    return Err(HttpError::Malformed("its transfer coding is not chunked"));
                }
                chunked = true;
            } else if name.eq_ignore_ascii_case("content-type") {
                content_type = value.to_ascii_lowercase();
            }
        }
        let framing = match (length, chunked) {
            (Some(_), true) => return Err(HttpError::Malformed("it has a length and chunks")),
            (Some(length), false) if length > ANSWER_OCTETS_MAX => return Err(HttpError::TooLarge),
            (Some(length), false) => Framing::Length(length),
            (None, true) => Framing::Chunked,
            (None, false) if matches!(status, 204 | 304) => Framing::Length(0),
            (None, false) => Framing::UntilEnd,
        };
        Ok(Some(Self { status, content_type, framing, body: body.get(4..).unwrap_or_default() }))
    }

    /// The whole answer, if it is there.
    fn complete(self, has_ended: bool) -> Result<Option<Reply>, HttpError> {
        let body = match self.framing {
            Framing::Length(length) => self.body.get(..length).map(<[u8]>::to_vec),
            Framing::Chunked => unchunked(self.body)?,
            Framing::UntilEnd => has_ended.then(|| self.body.to_vec()),
        };
        Ok(body.map(|body| Reply { status: self.status, content_type: self.content_type, body }))
    }
}

/// `HTTP/1.1 200 reason`
fn read_status(line: &str) -> Option<u16> {
    let mut words = line.split(' ');
    let is_known = matches!(words.next()?, "HTTP/1.1" | "HTTP/1.0");
    let status = words.next()?.parse().ok()?;
    (is_known && (200..600).contains(&status)).then_some(status)
}

/// The body in chunks; nothing before its last.
fn unchunked(mut rest: &[u8]) -> Result<Option<Vec<u8>>, HttpError> {
    const WRONG: HttpError = HttpError::Malformed("a chunk's size");
    let mut body = Vec::new();
    loop {
        let Some(end) = rest.windows(2).position(|window| window == b"\r\n") else { return Ok(None) };
        let (line, after) = (rest.get(..end).unwrap_or_default(), rest.get(end + 2..).unwrap_or_default());
        let line = std::str::from_utf8(line).map_err(|_| WRONG)?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|octet| octet.is_ascii_hexdigit()) {
            return Err(WRONG);
        }
        let size = usize::from_str_radix(digits, 16).map_err(|_| WRONG)?;
        if size == 0 {
            // Trailers say nothing here; they end with an empty line.
            let is_over = after.starts_with(b"\r\n") || after.windows(4).any(|window| window == b"\r\n\r\n");
            return Ok(is_over.then_some(body));
        }
        if size > ANSWER_OCTETS_MAX {
            return Err(HttpError::TooLarge);
        }
        let Some((chunk, after)) = after.split_at_checked(size) else { return Ok(None) };
        body.extend_from_slice(chunk);
        if after.len() < 2 {
            return Ok(None);
        }
        rest = after.strip_prefix(b"\r\n").ok_or(HttpError::Malformed("a chunk's end"))?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(text: &str, has_ended: bool) -> Result<Option<Reply>, HttpError> {
        match Answer::read(text.as_bytes())? {
            None => Ok(None),
            Some(answer) => answer.complete(has_ended),
        }
    }

    #[test]
    fn an_answer_is_as_long_as_it_says() {
        let ok = |body: &str| Some(Reply { status: 200, content_type: String::new(), body: body.as_bytes().to_vec() });
        let whole = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        assert_eq!(reply(whole, false).unwrap(), ok("hello"));
        for end in 0..whole.len() {
            assert_eq!(reply(&whole[..end], true).unwrap(), None, "{end}");
        }
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n";
        assert_eq!(reply(chunked, false).unwrap(), ok("hello"));
        for end in 0..chunked.len() {
            assert_eq!(reply(&chunked[..end], true).unwrap(), None, "{end}");
        }
        assert_eq!(reply("HTTP/1.0 200\r\n\r\nhello", true).unwrap(), ok("hello"));
        assert_eq!(reply("HTTP/1.0 200\r\n\r\nhello", false).unwrap(), None);
        let typed = reply("HTTP/1.1 403 No\r\ncontent-type: Text/Plain\r\ncontent-length: 0\r\n\r\n", false);
        assert_eq!(
            typed.unwrap(),
            Some(Reply { status: 403, content_type: "text/plain".to_owned(), body: Vec::new() })
        );
    }

    #[test]
    fn what_two_readers_would_read_differently_is_refused() {
        for text in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
            "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            "HTTP/2 200\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\n",
            "SSH-2.0\r\n\r\n",
        ] {
            assert!(matches!(reply(text, true), Err(HttpError::Malformed(_))), "{text}");
        }
        let large = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", ANSWER_OCTETS_MAX + 1);
        assert!(matches!(reply(&large, true), Err(HttpError::TooLarge)));
        assert!(matches!(reply(&"x".repeat(HEAD_OCTETS_MAX + 1), false), Err(HttpError::TooLarge)));
    }
}
