//! A stub resolver (RFC 1035) with the three questions that validation asks of a recursive one: A, AAAA and TXT.
//!
//! One question over UDP from a fresh port with a random identifier; over TCP if the answer was cut. What comes back counts
//! only if it repeats identifier and question, and only for the name that was asked or its alias.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use aws_lc_rs::rand;
use thiserror::Error;

/// How long one question waits for its answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often a question is sent over UDP.
const ATTEMPTS: usize = 2;
/// Octets of an answer over UDP.
const UDP_OCTETS: usize = 4096;
/// Octets of an answer over TCP.
const TCP_OCTETS: usize = 65_535;
/// Records of one answer that are read.
const RECORDS_MAX: usize = 64;
/// Aliases that are followed.
const ALIASES_MAX: usize = 8;
/// Pointers that are followed in one name.
const POINTERS_MAX: usize = 16;
const HEADER_OCTETS: usize = 12;
const CLASS_IN: u16 = 1;
const TYPE_CNAME: u16 = 5;
/// The file that names the system's resolver, and the octets of it that are read.
const SYSTEM_RESOLVER: &str = "/etc/resolv.conf";
const PORT: u16 = 53;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Texts.
    Txt,
}

impl Question {
    const fn number(self) -> u16 {
        match self {
            Self::A => 1,
            Self::Aaaa => 28,
            Self::Txt => 16,
        }
    }
}

/// Why a name could not be resolved.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DnsError {
    /// The answer is malformed, or that to another question.
    #[error("the resolver's answer is malformed")]
    Answer,
    /// The resolver could not be asked, or did not answer in time.
    #[error("the resolver did not answer: {0}")]
    Io(#[from] std::io::Error),
    /// The name cannot be asked for.
    #[error("the name cannot be asked for")]
    Name,
    /// There is no resolver.
    #[error("no resolver is configured, and the system has none")]
    NoResolver,
    /// The resolver said that there was an error.
    #[error("the resolver says: {}", response_code(*.0))]
    Refused(u8),
}

fn response_code(code: u8) -> String {
    match code {
        1 => "malformed question".to_owned(),
        2 => "server failure".to_owned(),
        3 => "no such name".to_owned(),
        5 => "refused".to_owned(),
        other => format!("error {other}"),
    }
}

/// Data of a record that answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// Of A and AAAA.
    Address(IpAddr),
    /// Of TXT, its strings joined.
    Text(Vec<u8>),
}

/// Whom to ask.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resolver(SocketAddr);

impl Resolver {
    /// The one that is configured, else the system's first.
    pub(super) fn new(configured: Option<SocketAddr>) -> Result<Self, DnsError> {
        if let Some(address) = configured {
            return Ok(Self(address));
        }
        let text = std::fs::read_to_string(SYSTEM_RESOLVER)?;
        let addresses = text.lines().filter_map(|line| line.strip_prefix("nameserver")?.trim().parse::<IpAddr>().ok());
        addresses.map(|address| Self(SocketAddr::new(address, PORT))).next().ok_or(DnsError::NoResolver)
    }

    /// The addresses of a host, IPv4 first. A resolver that fails for one kind has an answer for the other, perhaps.
    pub(super) fn addresses(self, host: &str) -> Result<Vec<IpAddr>, DnsError> {
        let (v4, v6) = (self.ask(host, Question::A), self.ask(host, Question::Aaaa));
        let found: Vec<Data> = match (v4, v6) {
            (Ok(v4), Ok(v6)) => v4.into_iter().chain(v6).collect(),
            (Ok(found), Err(_)) | (Err(_), Ok(found)) => found,
            (Err(error), Err(_)) => return Err(error),
        };
        Ok(found.into_iter().filter_map(Data::address).collect())
    }

    /// The texts at a name, the strings of each joined.
    pub(super) fn texts(self, name: &str) -> Result<Vec<Vec<u8>>, DnsError> {
        Ok(self.ask(name, Question::Txt)?.into_iter().filter_map(Data::text).collect())
    }

    fn ask(self, name: &str, question: Question) -> Result<Vec<Data>, DnsError> {
        let mut id = [0; 2];
        rand::fill(&mut id).map_err(|_| DnsError::Io(std::io::Error::other("the random source failed")))?;
        let id = u16::from_be_bytes(id);
        let query = query(id, name, question).ok_or(DnsError::Name)?;
        let answer = self.over_udp(&query)?;
        // TC: the answer was cut.
        if answer.get(2).is_some_and(|flags| flags & 0x02 != 0) {
            return read_answer(&self.over_tcp(&query)?, &query, name, question);
        }
        read_answer(&answer, &query, name, question)
    }

    fn over_udp(self, query: &[u8]) -> Result<Vec<u8>, DnsError> {
        let unspecified: IpAddr =
            if self.0.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind(SocketAddr::new(unspecified, 0))?;
        // The system drops what comes from anybody else.
        socket.connect(self.0)?;
        let mut last = DnsError::Answer;
        for _ in 0..ATTEMPTS {
            socket.send(query)?;
            match await_answer(&socket, query) {
                Ok(answer) => return Ok(answer),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn over_tcp(self, query: &[u8]) -> Result<Vec<u8>, DnsError> {
        let mut stream = TcpStream::connect_timeout(&self.0, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let length = u16::try_from(query.len()).map_err(|_| DnsError::Name)?;
        stream.write_all(&[&length.to_be_bytes(), query].concat())?;
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length)).min(TCP_OCTETS)];
        stream.read_exact(&mut answer)?;
        Ok(answer)
    }
}

/// The answer to this query; others that arrive meanwhile are passed over.
fn await_answer(socket: &UdpSocket, query: &[u8]) -> Result<Vec<u8>, DnsError> {
    let deadline = Instant::now() + PATIENCE;
    let mut buffer = vec![0; UDP_OCTETS];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(DnsError::Io(std::io::ErrorKind::TimedOut.into()));
        }
        socket.set_read_timeout(Some(left))?;
        let length = socket.recv(&mut buffer)?;
        let answer = buffer.get(..length).unwrap_or_default();
        if answer.get(..2) == query.get(..2) {
            return Ok(answer.to_vec());
        }
    }
}

impl Data {
    fn address(self) -> Option<IpAddr> {
        match self {
            Self::Address(address) => Some(address),
            Self::Text(_) => None,
        }
    }

    fn text(self) -> Option<Vec<u8>> {
        match self {
            Self::Text(text) => Some(text),
            Self::Address(_) => None,
        }
    }
}

/// A query with recursion desired; nothing if the name does not fit into one.
#[must_use]
pub fn query(id: u16, name: &str, question: Question) -> Option<Vec<u8>> {
    let mut octets = Vec::with_capacity(HEADER_OCTETS.saturating_add(name.len()).saturating_add(6));
    for field in [id, 0x0100, 1, 0, 0, 0] {
        octets.extend_from_slice(&field.to_be_bytes());
    }
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        octets.push(length);
        octets.extend_from_slice(label.as_bytes());
    }
    octets.push(0);
    octets.extend_from_slice(&question.number().to_be_bytes());
    octets.extend_from_slice(&CLASS_IN.to_be_bytes());
    (name.len() <= 253).then_some(octets)
}

/// Reads an answer to a query: of the records of its answer section those that are of the name or of its alias.
///
/// # Errors
/// [`DnsError::Answer`] and [`DnsError::Refused`].
pub fn read_answer(message: &[u8], query: &[u8], name: &str, question: Question) -> Result<Vec<Data>, DnsError> {
    let mut reader = Reader { message, at: 0 };
    let (id, flags) = (reader.u16()?, reader.u16()?);
    let (questions, answers) = (reader.u16()?, reader.u16()?);
    let (_authorities, _additional) = (reader.u16()?, reader.u16()?);
    let is_response = flags & 0x8000 != 0;
    if Some(&id.to_be_bytes()[..]) != query.get(..2) || !is_response || questions != 1 {
        return Err(DnsError::Answer);
    }
    let asked = reader.name()?;
    if !asked.eq_ignore_ascii_case(name) || reader.u16()? != question.number() || reader.u16()? != CLASS_IN {
        return Err(DnsError::Answer);
    }
    let code = flags.to_be_bytes()[1] & 0x0F;
    if code != 0 {
        return Err(DnsError::Refused(code));
    }
    let mut wanted = name.to_ascii_lowercase();
    let (mut found, mut aliases) = (Vec::new(), 0);
    for _ in 0..usize::from(answers).min(RECORDS_MAX) {
        let owner = reader.name()?.to_ascii_lowercase();
        let (kind, class) = (reader.u16()?, reader.u16()?);
        let (_high, _low) = (reader.u16()?, reader.u16()?);
        let length = usize::from(reader.u16()?);
        let start = reader.at;
        let data = reader.take(length)?;
        if owner != wanted || class != CLASS_IN {
            continue;
        }
        if kind == TYPE_CNAME {
            aliases += 1;
            if aliases > ALIASES_MAX {
                return Err(DnsError::Answer);
            }
            wanted = Reader { message, at: start }.name()?.to_ascii_lowercase();
        } else if kind == question.number() {
            found.push(read_data(question, data)?);
        }
    }
    Ok(found)
}

fn read_data(question: Question, data: &[u8]) -> Result<Data, DnsError> {
    match question {
        Question::A => {
            <[u8; 4]>::try_from(data).map(|octets| Data::Address(octets.into())).map_err(|_| DnsError::Answer)
        }
        Question::Aaaa => {
            <[u8; 16]>::try_from(data).map(|octets| Data::Address(octets.into())).map_err(|_| DnsError::Answer)
        }
        Question::Txt => {
            let (mut text, mut rest) = (Vec::new(), data);
            while let Some((length, tail)) = rest.split_first() {
                let (string, tail) = tail.split_at_checked(usize::from(*length)).ok_or(DnsError::Answer)?;
                text.extend_from_slice(string);
                rest = tail;
            }
            Ok(Data::Text(text))
        }
    }
}

struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], DnsError> {
        let end = self.at.checked_add(length).ok_or(DnsError::Answer)?;
        let taken = self.message.get(self.at..end).ok_or(DnsError::Answer)?;
        self.at = end;
        Ok(taken)
    }

    fn u8(&mut self) -> Result<u8, DnsError> {
        self.take(1)?.first().copied().ok_or(DnsError::Answer)
    }

    fn u16(&mut self) -> Result<u16, DnsError> {
        self.take(2)?.try_into().map(u16::from_be_bytes).map_err(|_| DnsError::Answer)
    }

    /// A name, its labels joined by dots. Pointers lead backwards alone, so that there is an end.
    fn name(&mut self) -> Result<String, DnsError> {
        let mut name = String::new();
        let (mut resume, mut pointers) = (None, 0);
        loop {
            let start = self.at;
            let length = self.u8()?;
            match length >> 6 {
                0 if length == 0 => break,
                0 => {
                    let label = self.take(usize::from(length))?;
                    let label = core::str::from_utf8(label).ok().filter(|label| !label.contains('.'));
                    if !name.is_empty() {
                        name.push('.');
                    }
                    name.push_str(label.ok_or(DnsError::Answer)?);
                    if name.len() > 254 {
                        return Err(DnsError::Answer);
                    }
                }
                3 => {
                    let low = self.u8()?;
                    let target = usize::from(u16::from_be_bytes([length & 0x3F, low]));
                    pointers += 1;
                    if target >= start || pointers > POINTERS_MAX {
                        return Err(DnsError::Answer);
                    }
                    resume = resume.or(Some(self.at));
                    self.at = target;
                }
                _ => return Err(DnsError::Answer),
            }
        }
        if let Some(at) = resume {
            self.at = at;
        }
        Ok(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(owner: &[u8], kind: u16, data: &[u8]) -> Vec<u8> {
        let head = [&kind.to_be_bytes()[..], &[0, 1, 0, 0, 0, 60]].concat();
        [owner, &head, &u16::try_from(data.len()).unwrap().to_be_bytes(), data].concat()
    }

    fn answer(query: &[u8], flags: u16, records: &[Vec<u8>]) -> Vec<u8> {
        let mut message = query.to_vec();
        message[2..4].copy_from_slice(&flags.to_be_bytes());
        message[6..8].copy_from_slice(&u16::try_from(records.len()).unwrap().to_be_bytes());
        [message, records.concat()].concat()
    }

    /// A pointer to the name of the question.
    const ASKED: [u8; 2] = [0xC0, 12];

    #[test]
    fn texts_are_joined_and_aliases_followed() {
        let query = query(7, "_acme-challenge.example.com", Question::Txt).unwrap();
        let read = |records: &[Vec<u8>]| {
            read_answer(&answer(&query, 0x8180, records), &query, "_acme-challenge.example.com", Question::Txt)
        };
        assert_eq!(read(&[record(&ASKED, 16, b"\x02ab\x01c")]).unwrap(), [Data::Text(b"abc".to_vec())]);
        let alias = b"\x01x\x00";
        let records = [record(&ASKED, 5, alias), record(alias, 16, b"\x01z")];
        assert_eq!(read(&records).unwrap(), [Data::Text(b"z".to_vec())]);
        // A text of another name is none.
        assert_eq!(read(&[record(b"\x05other\x00", 16, b"\x01z")]).unwrap(), []);
        assert!(matches!(read(&[record(&ASKED, 16, b"\x05ab")]), Err(DnsError::Answer)));
    }

    #[test]
    fn only_the_answer_to_the_question_counts() {
        let query_ = query(7, "a.example", Question::A).unwrap();
        let good = answer(&query_, 0x8180, &[record(&ASKED, 1, &[192, 0, 2, 1])]);
        let read = |message: &[u8]| read_answer(message, &query_, "a.example", Question::A);
        assert_eq!(read(&good).unwrap(), [Data::Address(IpAddr::from([192, 0, 2, 1]))]);
        let mut other_id = good.clone();
        other_id[1] ^= 1;
        assert!(matches!(read(&other_id), Err(DnsError::Answer)));
        assert!(matches!(read(&answer(&query_, 0x0180, &[])), Err(DnsError::Answer)), "a query is no answer");
        assert!(matches!(read(&answer(&query_, 0x8183, &[])), Err(DnsError::Refused(3))));
        let other = query(7, "b.example", Question::A).unwrap();
        assert!(matches!(read(&answer(&other, 0x8180, &[])), Err(DnsError::Answer)));
        for length in 0..good.len() {
            assert!(read(&good[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn pointers_end() {
        let query = query(7, "a", Question::A).unwrap();
        let at = u8::try_from(query.len()).unwrap();
        // A name that points to itself.
        let looping = answer(&query, 0x8180, &[record(&[0xC0, at], 1, &[0; 4])]);
        assert!(matches!(read_answer(&looping, &query, "a", Question::A), Err(DnsError::Answer)));
    }

    #[test]
    fn names_that_do_not_fit_are_not_asked_for() {
        for name in ["", "a..b", &"a".repeat(64), &["a"; 128].join(".")] {
            assert!(query(1, name, Question::A).is_none(), "{name}");
        }
    }
}
