//! Proofs that an applicant controls a name: http-01 (RFC 8555, section 8.3) and dns-01 (section 8.4).
//!
//! Names come from applicants, so the server asks nobody whom they could point it at: http-01 goes to one configured port
//! of an address that is public, follows no redirect, and reads no more than a key authorization needs. The address that
//! was checked is the one that is connected to.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use vouchsafe_evidence::base64url;
use vouchsafe_evidence::text::printable;

use super::attestation::key_authorization_digest;
use super::dns::{DnsError, Resolver};
use super::problem::{Problem, refusals};
use crate::config::AcmeConfig;
use crate::error::Error;
use crate::limits::Limits;

/// How long a connection may take to come about.
const CONNECT_PATIENCE: Duration = Duration::from_secs(4);
/// How long the whole exchange may take.
const EXCHANGE_PATIENCE: Duration = Duration::from_secs(8);
/// Octets of an answer over HTTP: its head, and a key authorization.
const ANSWER_OCTETS_MAX: usize = 16 * 1024;
/// Addresses of one host that are tried.
const ADDRESSES_MAX: usize = 2;
/// Texts at one name that are looked at.
const TEXTS_MAX: usize = 64;
/// Characters of what a host answered that are repeated to the applicant, who owns the host or says so.
const REPEATED_CHARACTERS: usize = 64;

/// How names are validated.
#[derive(Debug)]
pub(super) struct Validation {
    port: u16,
    resolver: Option<SocketAddr>,
    private_addresses: bool,
    /// Validations at once, and those of one account.
    most: usize,
    most_of_one: usize,
    /// How many are at work, by account.
    at_work: Mutex<HashMap<String, usize>>,
}

/// A validation at work, for as long as this lives.
#[derive(Debug)]
pub(super) struct Validating<'a> {
    validation: &'a Validation,
    account: &'a str,
}

impl Drop for Validating<'_> {
    fn drop(&mut self) {
        let mut at_work = self.validation.at_work();
        let left = at_work.get(self.account).map_or(0, |count| count.saturating_sub(1));
        if left == 0 {
            at_work.remove(self.account);
        } else {
            at_work.insert(self.account.to_owned(), left);
        }
    }
}

impl Validation {
    pub(super) fn new(config: &AcmeConfig, limits: Limits) -> Self {
        Self {
            port: config.http_port,
            resolver: config.resolver,
            private_addresses: config.private_addresses,
            // Hosts of applicants' choice answer as slowly as they like, and every request that waits for one has a place
            // of those whom their messages show: they have half of all, of which these take half.
            most: (limits.requests / 4).max(1),
            most_of_one: (limits.requests / 16).max(1),
            at_work: Mutex::default(),
        }
    }

    /// Begins a validation for an account of this authority.
    ///
    /// # Errors
    /// [`Error::Busy`] while there are as many as may be; the challenge waits on.
    pub(super) fn begin<'a>(&'a self, account: &'a str) -> Result<Validating<'a>, Problem> {
        let mut at_work = self.at_work();
        let own = at_work.get(account).copied().unwrap_or(0);
        if own >= self.most_of_one || at_work.values().sum::<usize>() >= self.most {
            return Err(Error::Busy.into());
        }
        at_work.insert(account.to_owned(), own.saturating_add(1));
        Ok(Validating { validation: self, account })
    }

    fn at_work(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.at_work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the host answers for the token with the key authorization.
    pub(super) fn http(&self, host: &str, token: &str, key_authorization: &str) -> Result<(), Problem> {
        let addresses = self.resolver()?.addresses(host).map_err(|error| unresolved(host, &error))?;
        let mut reachable =
            addresses.iter().filter(|address| self.private_addresses || is_public(**address)).peekable();
        if reachable.peek().is_none() {
            return Err(if addresses.is_empty() {
                refusals::DNS.found(format!("{host} has no address."))
            } else {
                refusals::PRIVATE_ADDRESS.problem()
            });
        }
        let mut last = refusals::CONNECTION.problem();
        for address in reachable.take(ADDRESSES_MAX) {
            let address = SocketAddr::new(*address, self.port);
            match fetch(address, host, &format!("/.well-known/acme-challenge/{token}")) {
                Ok(body) if body.trim_ascii_end() == key_authorization.as_bytes() => return Ok(()),
                Ok(body) => {
                    let found: String = String::from_utf8_lossy(&body).chars().take(REPEATED_CHARACTERS).collect();
                    let found = printable(&found);
                    return Err(refusals::INCORRECT_RESPONSE.found(format!("{host} answered {found:?}.")));
                }
                Err(problem) => last = problem,
            }
        }
        Err(last)
    }

    /// Whether the digest of the key authorization is among the texts at the host's `_acme-challenge`.
    pub(super) fn dns(&self, host: &str, key_authorization: &str) -> Result<(), Problem> {
        let wanted = base64url::encode(&key_authorization_digest(key_authorization));
        let name = format!("_acme-challenge.{host}");
        let texts = self.resolver()?.texts(&name).map_err(|error| unresolved(&name, &error))?;
        if texts.iter().take(TEXTS_MAX).any(|text| text == wanted.as_bytes()) {
            return Ok(());
        }
        Err(refusals::INCORRECT_RESPONSE.found(format!("Of {} texts at {name} none is {wanted}.", texts.len())))
    }

    fn resolver(&self) -> Result<Resolver, Problem> {
        Resolver::new(self.resolver).map_err(|error| refusals::DNS.found(format!("{error}.")))
    }
}

fn unresolved(name: &str, error: &DnsError) -> Problem {
    refusals::DNS.found(format!("{name}: {error}."))
}

/// The body of the answer with status 200 to a GET; no other status counts, redirects least of all.
fn fetch(address: SocketAddr, host: &str, path: &str) -> Result<Vec<u8>, Problem> {
    let failed = |error: std::io::Error| refusals::CONNECTION.found(format!("{host} at {address}: {error}."));
    let deadline = Instant::now() + EXCHANGE_PATIENCE;
    let mut stream = TcpStream::connect_timeout(&address, CONNECT_PATIENCE).map_err(failed)?;
    stream.set_write_timeout(Some(CONNECT_PATIENCE)).map_err(failed)?;
    let authority = if address.port() == 80 { host.to_owned() } else { format!("{host}:{}", address.port()) };
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: vouchsafe-authority\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let mut answer = Vec::new();
    let mut buffer = [0; 2048];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(failed(std::io::ErrorKind::TimedOut.into()));
        }
        stream.set_read_timeout(Some(left)).map_err(failed)?;
        let length = stream.read(&mut buffer).map_err(failed)?;
        answer.extend_from_slice(buffer.get(..length).unwrap_or_default());
        if answer.len() > ANSWER_OCTETS_MAX {
            return Err(refusals::INCORRECT_RESPONSE.found(format!("{host} answered with too much.")));
        }
        if length == 0 || is_complete(&answer) {
            return body_of(&answer).ok_or_else(|| {
                refusals::INCORRECT_RESPONSE.found(format!("{host} did not answer in HTTP with status 200."))
            });
        }
    }
}

/// Head and what follows it.
fn split(answer: &[u8]) -> Option<(&str, &[u8])> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = core::str::from_utf8(answer.get(..end)?).ok()?;
    Some((head, answer.get(end.checked_add(4)?..)?))
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

/// Whether the body is as long as its head says; one without a length ends with the connection.
fn is_complete(answer: &[u8]) -> bool {
    let Some((head, body)) = split(answer) else { return false };
    if header(head, "transfer-encoding").is_some() {
        return body.ends_with(b"0\r\n\r\n");
    }
    header(head, "content-length")
        .and_then(|length| length.parse::<usize>().ok())
        .is_some_and(|length| body.len() >= length)
}

fn body_of(answer: &[u8]) -> Option<Vec<u8>> {
    let (head, body) = split(answer)?;
    let mut status = head.lines().next()?.split(' ');
    let version = status.next()?;
    if !(version == "HTTP/1.1" || version == "HTTP/1.0") || status.next()? != "200" {
        return None;
    }
    match (header(head, "transfer-encoding"), header(head, "content-length")) {
        (Some(coding), None) if coding.eq_ignore_ascii_case("chunked") => unchunk(body),
        (None, Some(length)) => body.get(..length.parse().ok()?).map(<[u8]>::to_vec),
        (None, None) => Some(body.to_vec()),
        (Some(_), _) => None,
    }
}

/// A body in chunks (RFC 9112, section 7.1), put together.
fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n")?;
        let line = core::str::from_utf8(rest.get(..end)?).ok()?;
        let size = usize::from_str_radix(line.split(';').next()?.trim(), 16).ok()?;
        rest = rest.get(end.checked_add(2)?..)?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size..)?.strip_prefix(b"\r\n")?;
    }
}

/// Whether anybody on the internet could ask the address too (IANA special-purpose address registries). All that is for
/// special purposes is not, so that what is assigned there later is not either.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

const fn is_public_v4(address: Ipv4Addr) -> bool {
    !matches!(
        address.octets(),
        [0 | 10 | 127, ..]
            | [224..=255, ..]
            | [100, 64..=127, ..]
            | [169, 254, ..]
            | [172, 16..=31, ..]
            | [192, 168, ..]
            | [198, 18 | 19, ..]
            | [192, 0, 0 | 2, _]
            | [192, 88, 99, _]
            | [192, 31, 196, _]
            | [192, 52, 193, _]
            | [192, 175, 48, _]
            | [198, 51, 100, _]
            | [203, 0, 113, _]
    )
}

const fn is_public_v6(address: Ipv6Addr) -> bool {
    // Global unicast is 2000::/3; of it these are special: 2001::/23 protocols, 2001:db8::/32 and 3fff::/20 documentation,
    // 2002::/16 and whatever else holds an IPv4 address.
    match address.segments() {
        [0x2001, second, ..] => second > 0x01FF && second != 0x0DB8,
        [0x2002, ..] => false,
        [0x3FFF, 0..=0x0FFF, ..] => false,
        [first, ..] => first & 0xE000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn only_public_addresses_are_asked() {
        for private in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "ff02::1",
            "fec0::1",
            "5f00::1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
        for public in ["8.8.8.8", "100.63.0.1", "172.32.0.1", "192.0.1.1", "2606:4700::1", "2a00::1", "2001:4860::8"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }

    /// Answers one connection with these octets.
    fn serve(answer: Vec<u8>) -> (SocketAddr, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let length = stream.read(&mut request).unwrap();
            // The client may hang up early.
            let _hung_up = stream.write_all(&answer);
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        (address, thread)
    }

    fn fetched(answer: &str) -> Option<Vec<u8>> {
        let (address, thread) = serve(answer.as_bytes().to_vec());
        let body = fetch(address, "host.example", "/x").ok();
        assert!(thread.join().unwrap().starts_with("GET /x HTTP/1.1\r\nHost: host.example:"));
        body
    }

    #[test]
    fn a_body_is_read_in_each_of_its_forms() {
        assert_eq!(fetched("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcd").unwrap(), b"abc");
        assert_eq!(fetched("HTTP/1.0 200 OK\r\n\r\nabc").unwrap(), b"abc");
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x\r\nc\r\n0\r\n\r\n";
        assert_eq!(fetched(chunked).unwrap(), b"abc");
    }

    #[test]
    fn redirects_and_floods_are_no_answers() {
        for answer in [
            "HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 3\r\n\r\nabc",
            "HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc",
            "HTTP/9 200\r\n\r\nabc",
            "SSH-2.0-x\r\n",
            "",
        ] {
            assert_eq!(fetched(answer), None, "{answer}");
        }
        let (address, thread) = serve(vec![b'a'; ANSWER_OCTETS_MAX + 4096]);
        assert!(fetch(address, "h", "/").is_err());
        thread.join().unwrap();
    }
}
