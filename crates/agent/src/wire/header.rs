//! The 36-octet header of requests and responses.
//!
//! ```text
//! magic u32 = 5EC0A710 | hdr_size u16 = 30 | version u8 = 1, u8 = 0 | flags u16 = 0 | provider u8
//! session u64 = 0 | content_type u8 = 0 | accept_type u8 = 0 | auth_type u8 | body_len u32 | auth_len u16
//! opcode u32 | status u16 (0 in requests) | reserved u8 = 0, u8 = 0          all little-endian
//! ```

use thiserror::Error;

use super::{MAX_AUTH_OCTETS, MAX_BODY_OCTETS, MAX_RESPONSE_OCTETS, ProviderId, Status};

/// Octets of a header.
pub const HEADER_OCTETS: usize = 36;

/// The first field of each header.
pub const MAGIC: u32 = 0x5EC0_A710;

/// What follows `hdr_size` in a header of protocol 1.0, in octets.
const REMAINING_OCTETS: u16 = 30;

/// The wire protocol version: major, minor.
pub const VERSION: (u8, u8) = (1, 0);

/// Octets of a uid in the authentication field.
const UID_OCTETS: usize = 4;

/// Content and accept type of protobuf bodies.
const PROTOBUF: u8 = 0;

/// How a caller authenticates: the header's `auth_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthType {
    /// 0: not at all.
    None,
    /// 1: by a name that the caller gives itself, UTF-8.
    Direct {
        /// Octets of the name; at least one.
        octets: u8,
    },
    /// 3: by its Unix uid, u32 little-endian, which must be that of the peer.
    UnixPeerCredentials,
}

impl AuthType {
    /// The number on the wire; also the authenticator's id in `ListAuthenticators`.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            AuthType::None => 0,
            AuthType::Direct { .. } => 1,
            AuthType::UnixPeerCredentials => 3,
        }
    }

    /// Octets of the authentication field, exactly.
    #[must_use]
    pub fn field_octets(self) -> usize {
        match self {
            AuthType::None => 0,
            AuthType::Direct { octets } => usize::from(octets),
            AuthType::UnixPeerCredentials => UID_OCTETS,
        }
    }

    /// The type of that number with a field of so many octets.
    fn parse(number: u8, octets: u16) -> Result<AuthType, Refusal> {
        let fixed = |auth_type: AuthType| {
            let expected = auth_type.field_octets();
            if usize::from(octets) == expected {
                Ok(auth_type)
            } else {
                Err(Refusal::AuthLength { expected, found: octets })
            }
        };
        match number {
            0 => fixed(AuthType::None),
            1 => match u8::try_from(octets) {
                Ok(0) => Err(Refusal::AuthLength { expected: 1, found: 0 }),
                Ok(octets) => Ok(AuthType::Direct { octets }),
                Err(_) => Err(Refusal::AuthLength { expected: MAX_AUTH_OCTETS, found: octets }),
            },
            3 => fixed(AuthType::UnixPeerCredentials),
            // Jwt and JwtSvid are Parsec's, but this service does not offer them.
            2 | 4 => Err(Refusal::AuthTypeNotOffered { found: number }),
            5.. => Err(Refusal::UnknownAuthType { found: number }),
        }
    }
}

/// Why a header is refused before anything behind it is read.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Refusal {
    /// The header does not start with the magic number.
    #[error("magic number {found:#010x} instead of 0x5ec0a710")]
    Magic {
        /// What is there.
        found: u32,
    },
    /// The header announces another size than that of protocol 1.0.
    #[error("header size {found} instead of 30")]
    Size {
        /// What is there.
        found: u16,
    },
    /// Another wire protocol version.
    #[error("wire protocol {}.{} instead of 1.0", found.0, found.1)]
    Version {
        /// Major and minor version.
        found: (u8, u8),
    },
    /// A field that protocol 1.0 keeps zero is not.
    #[error("{field} is not zero")]
    NotZero {
        /// The field's name.
        field: &'static str,
    },
    /// The body is not protobuf.
    #[error("content type {found} instead of 0")]
    ContentType {
        /// What is there.
        found: u8,
    },
    /// The client does not accept protobuf.
    #[error("accept type {found} instead of 0")]
    AcceptType {
        /// What is there.
        found: u8,
    },
    /// An authenticator of Parsec that this service does not offer.
    #[error("authenticator {found} is not offered")]
    AuthTypeNotOffered {
        /// What is there.
        found: u8,
    },
    /// No authenticator has this number.
    #[error("there is no authenticator {found}")]
    UnknownAuthType {
        /// What is there.
        found: u8,
    },
    /// The authentication field does not have the length of its type.
    #[error("an authentication field of {found} octets, not {expected}")]
    AuthLength {
        /// What the type needs.
        expected: usize,
        /// What the header announces.
        found: u16,
    },
    /// The body is longer than is read.
    #[error("a body of {found} octets, the limit is {limit}")]
    BodyLength {
        /// The limit in octets.
        limit: usize,
        /// What the header announces.
        found: u32,
    },
    /// A response carries a status that Parsec does not have.
    #[error("unknown status {found}")]
    UnknownStatus {
        /// What is there.
        found: u16,
    },
}

impl Refusal {
    /// The status that tells the client.
    #[must_use]
    pub const fn status(self) -> Status {
        match self {
            Refusal::Magic { .. } | Refusal::Size { .. } | Refusal::NotZero { .. } | Refusal::UnknownStatus { .. } => {
                Status::InvalidHeader
            }
            Refusal::Version { .. } => Status::WireProtocolVersionNotSupported,
            Refusal::ContentType { .. } => Status::ContentTypeNotSupported,
            Refusal::AcceptType { .. } => Status::AcceptTypeNotSupported,
            Refusal::AuthTypeNotOffered { .. } => Status::AuthenticatorNotRegistered,
            Refusal::UnknownAuthType { .. } => Status::AuthenticatorDoesNotExist,
            Refusal::AuthLength { .. } => Status::AuthenticationError,
            Refusal::BodyLength { .. } => Status::BodySizeExceedsLimit,
        }
    }
}

/// The header of a request whose body and authentication field are within the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    /// The provider that is asked.
    pub provider: ProviderId,
    /// How the caller authenticates.
    pub auth_type: AuthType,
    /// Octets of the body that follows, at most [`MAX_BODY_OCTETS`].
    pub body_octets: usize,
    /// The operation's number.
    pub opcode: u32,
}

impl RequestHeader {
    /// Reads a request header.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] for anything that protocol 1.0 or the limits do not allow.
    pub fn parse(octets: &[u8; HEADER_OCTETS]) -> Result<RequestHeader, Refusal> {
        let fields = Fields::parse(octets)?;
        if fields.status != 0 {
            return Err(Refusal::NotZero { field: "status" });
        }
        Ok(RequestHeader {
            provider: ProviderId(fields.provider),
            auth_type: AuthType::parse(fields.auth_type, fields.auth_octets)?,
            body_octets: fields.body_octets_within(MAX_BODY_OCTETS)?,
            opcode: fields.opcode,
        })
    }

    /// The header on the wire, or `None` if the body is longer than [`MAX_BODY_OCTETS`].
    #[must_use]
    pub fn to_octets(&self) -> Option<[u8; HEADER_OCTETS]> {
        let fields = Fields {
            provider: self.provider.0,
            auth_type: self.auth_type.number(),
            body_octets: length_within(self.body_octets, MAX_BODY_OCTETS)?,
            auth_octets: u16::try_from(self.auth_type.field_octets()).ok()?,
            opcode: self.opcode,
            status: 0,
        };
        Some(fields.to_octets())
    }
}

/// The header of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseHeader {
    /// The provider that answers.
    pub provider: ProviderId,
    /// Octets of the body that follows, at most [`MAX_RESPONSE_OCTETS`].
    pub body_octets: usize,
    /// The operation's number, as it was asked.
    pub opcode: u32,
    /// How it went.
    pub status: Status,
}

impl ResponseHeader {
    /// Reads a response header.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] for anything that protocol 1.0 or the limits do not allow.
    pub fn parse(octets: &[u8; HEADER_OCTETS]) -> Result<ResponseHeader, Refusal> {
        let fields = Fields::parse(octets)?;
        if fields.auth_octets != 0 {
            return Err(Refusal::AuthLength { expected: 0, found: fields.auth_octets });
        }
        let status = Status::from_number(fields.status).ok_or(Refusal::UnknownStatus { found: fields.status })?;
        Ok(ResponseHeader {
            provider: ProviderId(fields.provider),
            body_octets: fields.body_octets_within(MAX_RESPONSE_OCTETS)?,
            opcode: fields.opcode,
            status,
        })
    }

    /// The header on the wire, or `None` if the body is longer than [`MAX_RESPONSE_OCTETS`].
    #[must_use]
    pub fn to_octets(&self) -> Option<[u8; HEADER_OCTETS]> {
        let fields = Fields {
            provider: self.provider.0,
            auth_type: AuthType::None.number(),
            body_octets: length_within(self.body_octets, MAX_RESPONSE_OCTETS)?,
            auth_octets: 0,
            opcode: self.opcode,
            status: self.status.number(),
        };
        Some(fields.to_octets())
    }
}

fn length_within(octets: usize, limit: usize) -> Option<u32> {
    if octets > limit { None } else { u32::try_from(octets).ok() }
}

/// What is common to both directions and not constant.
struct Fields {
    provider: u8,
    auth_type: u8,
    body_octets: u32,
    auth_octets: u16,
    opcode: u32,
    status: u16,
}

impl Fields {
    fn parse(octets: &[u8; HEADER_OCTETS]) -> Result<Fields, Refusal> {
        let mut cursor = Cursor { rest: octets };
        let magic = u32::from_le_bytes(cursor.take());
        if magic != MAGIC {
            return Err(Refusal::Magic { found: magic });
        }
        let size = u16::from_le_bytes(cursor.take());
        if size != REMAINING_OCTETS {
            return Err(Refusal::Size { found: size });
        }
        let [major, minor] = cursor.take();
        if (major, minor) != VERSION {
            return Err(Refusal::Version { found: (major, minor) });
        }
        zero("flags", cursor.take::<2>())?;
        let [provider] = cursor.take();
        zero("session", cursor.take::<8>())?;
        let [content, accept, auth_type] = cursor.take();
        if content != PROTOBUF {
            return Err(Refusal::ContentType { found: content });
        }
        if accept != PROTOBUF {
            return Err(Refusal::AcceptType { found: accept });
        }
        let body_octets = u32::from_le_bytes(cursor.take());
        let auth_octets = u16::from_le_bytes(cursor.take());
        let opcode = u32::from_le_bytes(cursor.take());
        let status = u16::from_le_bytes(cursor.take());
        zero("reserved", cursor.take::<2>())?;
        Ok(Fields { provider, auth_type, body_octets, auth_octets, opcode, status })
    }

    fn body_octets_within(&self, limit: usize) -> Result<usize, Refusal> {
        let refusal = Refusal::BodyLength { limit, found: self.body_octets };
        let octets = usize::try_from(self.body_octets).map_err(|_| refusal)?;
        if octets > limit { Err(refusal) } else { Ok(octets) }
    }

    fn to_octets(&self) -> [u8; HEADER_OCTETS] {
        let mut fields = MAGIC
            .to_le_bytes()
            .into_iter()
            .chain(REMAINING_OCTETS.to_le_bytes())
            .chain([VERSION.0, VERSION.1])
            .chain([0; 2])
            .chain([self.provider])
            .chain([0; 8])
            .chain([PROTOBUF, PROTOBUF, self.auth_type])
            .chain(self.body_octets.to_le_bytes())
            .chain(self.auth_octets.to_le_bytes())
            .chain(self.opcode.to_le_bytes())
            .chain(self.status.to_le_bytes())
            .chain([0; 2]);
        std::array::from_fn(|_| fields.next().unwrap_or_default())
    }
}

fn zero<const N: usize>(field: &'static str, octets: [u8; N]) -> Result<(), Refusal> {
    if octets == [0; N] { Ok(()) } else { Err(Refusal::NotZero { field }) }
}

/// Hands out the header's fields in order; the fixed length of the input makes running out impossible.
struct Cursor<'a> {
    rest: &'a [u8],
}

impl Cursor<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        match self.rest.split_first_chunk::<N>() {
            Some((field, rest)) => {
                self.rest = rest;
                *field
            }
            None => [0; N],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{AuthType, HEADER_OCTETS, Refusal, RequestHeader, ResponseHeader};
    use crate::wire::{ProviderId, Status};

    fn request() -> RequestHeader {
        RequestHeader {
            provider: ProviderId::TPM,
            auth_type: AuthType::UnixPeerCredentials,
            body_octets: 0x0001_0203,
            opcode: 0x0100,
        }
    }

    /// Frozen: the octets of one request header, field by field as the wire protocol has them.
    #[test]
    fn request_header_octets() {
        let expected: [u8; HEADER_OCTETS] = [
            0x10, 0xA7, 0xC0, 0x5E, 30, 0, 1, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0x03, 0x02, 0x01, 0x00, 4,
            0, 0x00, 0x01, 0, 0, 0, 0, 0, 0,
        ];
        assert_eq!(request().to_octets(), Some(expected));
        assert_eq!(RequestHeader::parse(&expected), Ok(request()));
    }

    #[test]
    fn response_header_round_trip() {
        let header = ResponseHeader {
            provider: ProviderId::CORE,
            body_octets: 7,
            opcode: 1,
            status: Status::PsaErrorAlreadyExists,
        };
        let octets = header.to_octets().unwrap();
        assert_eq!(ResponseHeader::parse(&octets), Ok(header));
        assert_eq!(&octets[32..34], &1139_u16.to_le_bytes());
        let too_long = ResponseHeader { body_octets: super::MAX_RESPONSE_OCTETS + 1, ..header };
        assert_eq!(too_long.to_octets(), None);
    }

    #[test]
    fn each_field_is_checked() {
        let cases: [(usize, u8, Refusal); 14] = [
            (0, 0x11, Refusal::Magic { found: 0x5EC0_A711 }),
            (4, 31, Refusal::Size { found: 31 }),
            (6, 2, Refusal::Version { found: (2, 0) }),
            (7, 1, Refusal::Version { found: (1, 1) }),
            (8, 1, Refusal::NotZero { field: "flags" }),
            (11, 1, Refusal::NotZero { field: "session" }),
            (19, 1, Refusal::ContentType { found: 1 }),
            (20, 1, Refusal::AcceptType { found: 1 }),
            (21, 2, Refusal::AuthTypeNotOffered { found: 2 }),
            (21, 9, Refusal::UnknownAuthType { found: 9 }),
            (26, 5, Refusal::AuthLength { expected: 4, found: 5 }),
            (24, 0x11, Refusal::BodyLength { limit: 1 << 20, found: 0x0011_0203 }),
            (32, 1, Refusal::NotZero { field: "status" }),
            (35, 1, Refusal::NotZero { field: "reserved" }),
        ];
        for (offset, value, refusal) in cases {
            let mut octets = request().to_octets().unwrap();
            octets[offset] = value;
            assert_eq!(RequestHeader::parse(&octets), Err(refusal), "octet {offset}");
        }
    }

    #[test]
    fn no_authentication_takes_no_field() {
        let mut octets = request().to_octets().unwrap();
        octets[21] = 0;
        assert_eq!(RequestHeader::parse(&octets), Err(Refusal::AuthLength { expected: 0, found: 4 }));
    }

    #[test]
    fn a_name_is_as_long_as_its_field() {
        let with = |length: u16| {
            let mut octets = request().to_octets().unwrap();
            octets[21] = 1;
            octets[26..28].copy_from_slice(&length.to_le_bytes());
            RequestHeader::parse(&octets).map(|header| header.auth_type)
        };
        for octets in [1, 4, 255] {
            assert_eq!(with(u16::from(octets)), Ok(AuthType::Direct { octets }));
            assert_eq!(AuthType::Direct { octets }.field_octets(), usize::from(octets));
        }
        assert_eq!(with(0), Err(Refusal::AuthLength { expected: 1, found: 0 }));
        assert_eq!(with(256), Err(Refusal::AuthLength { expected: 255, found: 256 }));
    }
}
