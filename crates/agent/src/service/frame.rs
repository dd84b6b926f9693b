//! Requests and responses on a connection.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::turns::Turns;
use crate::config::AuthenticatorsConfig;
use crate::wire::header::{AuthType, HEADER_OCTETS, Refusal, RequestHeader, ResponseHeader};
use crate::wire::{Opcode, ProviderId, Status};

/// This much of a body is read as it comes, in octets; for the rest of a larger one its sender needs a turn.
const SMALL_BODY_OCTETS: usize = 64 * 1024;

/// Large bodies that are in memory at one time, so that all connections together cannot fill it.
const LARGE_BODIES: usize = 64;

/// Those of one user, so that others find a turn free. A sender that is slow from the start never takes one.
const LARGE_BODIES_PER_USER: usize = 4;

/// Room made for a body before any of it has come, in octets.
const FIRST_ROOM_OCTETS: usize = 1024;

/// A request.
#[derive(Debug)]
pub(super) struct Request {
    /// Its header.
    pub(super) header: RequestHeader,
    /// Its body, as long as the header says.
    pub(super) body: Vec<u8>,
    /// What the authentication field says.
    pub(super) authentication: Authentication,
}

/// What a request says of its sender. Nothing of it is believed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Authentication {
    /// Nothing.
    None,
    /// Its name (AuthType Direct).
    Direct {
        /// The name's octets.
        name: Vec<u8>,
    },
    /// Its uid (AuthType UnixPeerCredentials).
    UnixPeer {
        /// The uid.
        uid: u32,
    },
}

/// A response.
#[derive(Debug)]
pub(super) struct Response {
    /// The provider that answers.
    pub(super) provider: ProviderId,
    /// The operation that was asked.
    pub(super) opcode: u32,
    /// How it went.
    pub(super) status: Status,
    /// The result, or an error detail.
    pub(super) body: Vec<u8>,
}

impl Response {
    /// The answer to something that is no request: as Parsec does, in the name of Core's Ping.
    pub(super) fn refusing(status: Status) -> Response {
        Response { provider: ProviderId::CORE, opcode: Opcode::Ping.number(), status, body: Vec::new() }
    }

    /// The response on the wire. A body that is too long becomes `ResponseTooLarge`.
    fn to_octets(&self) -> Vec<u8> {
        let header = |body_octets, status| {
            ResponseHeader { provider: self.provider, body_octets, opcode: self.opcode, status }.to_octets()
        };
        match header(self.body.len(), self.status) {
            Some(octets) => [octets.as_slice(), &self.body].concat(),
            None => header(0, Status::ResponseTooLarge).map(|octets| octets.to_vec()).unwrap_or_default(),
        }
    }
}

/// Why no request came.
#[derive(Debug)]
pub(super) enum FrameFault {
    /// The connection failed or ended inside a request.
    Connection,
    /// The header is not one that is read further.
    Refused(Refusal),
}

impl From<io::Error> for FrameFault {
    fn from(_: io::Error) -> FrameFault {
        FrameFault::Connection
    }
}

/// The beginning of a header.
pub(super) struct Beginning {
    octets: [u8; HEADER_OCTETS],
    filled: usize,
}

/// Waits for the beginning of a request; `None` when the client has closed the connection.
///
/// Cancelling loses nothing that was read.
pub(super) async fn begin(stream: &mut UnixStream) -> io::Result<Option<Beginning>> {
    let mut octets = [0; HEADER_OCTETS];
    let filled = stream.read(&mut octets).await?;
    Ok((filled > 0).then_some(Beginning { octets, filled }))
}

/// Reads requests; bounds the memory that their bodies take together.
#[derive(Debug)]
pub(super) struct FrameReader {
    authenticators: AuthenticatorsConfig,
    turns: Turns,
}

impl FrameReader {
    /// A reader for all connections of a service that offers these authenticators.
    pub(super) fn new(authenticators: AuthenticatorsConfig) -> FrameReader {
        FrameReader { authenticators, turns: Turns::new(LARGE_BODIES, LARGE_BODIES_PER_USER) }
    }

    /// Reads the rest of a request of this user.
    pub(super) async fn read(
        &self,
        stream: &mut UnixStream,
        uid: u32,
        beginning: Beginning,
    ) -> Result<Request, FrameFault> {
        let Beginning { mut octets, filled } = beginning;
        if let Some(rest) = octets.get_mut(filled..) {
            stream.read_exact(rest).await?;
        }
        let header = RequestHeader::parse(&octets).map_err(FrameFault::Refused)?;
        if !self.authenticators.offer(header.auth_type) {
            return Err(FrameFault::Refused(Refusal::AuthTypeNotOffered { found: header.auth_type.number() }));
        }
        let mut body = Vec::with_capacity(header.body_octets.min(FIRST_ROOM_OCTETS));
        let small = header.body_octets.min(SMALL_BODY_OCTETS);
        read_until(stream, &mut body, small).await?;
        if header.body_octets > small {
            let _turn = self.turns.take(uid).await;
            read_until(stream, &mut body, header.body_octets).await?;
        }
        let authentication = match header.auth_type {
            AuthType::None => Authentication::None,
            AuthType::Direct { octets } => {
                let mut name = vec![0; usize::from(octets)];
                stream.read_exact(&mut name).await?;
                Authentication::Direct { name }
            }
            AuthType::UnixPeerCredentials => Authentication::UnixPeer { uid: stream.read_u32_le().await? },
        };
        Ok(Request { header, body, authentication })
    }
}

/// Reads until `body` has `octets`.
async fn read_until(stream: &mut UnixStream, body: &mut Vec<u8>, octets: usize) -> Result<(), FrameFault> {
    let missing = u64::try_from(octets.saturating_sub(body.len())).map_err(|_| FrameFault::Connection)?;
    stream.take(missing).read_to_end(body).await?;
    if body.len() == octets { Ok(()) } else { Err(FrameFault::Connection) }
}

/// Writes a response.
pub(super) async fn write(stream: &mut UnixStream, response: &Response) -> io::Result<()> {
    stream.write_all(&response.to_octets()).await
}
