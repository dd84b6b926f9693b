//! A whole request as octets.

use thiserror::Error;

use super::header::{HEADER_OCTETS, Refusal, RequestHeader};
use super::operation::{BodyFault, Operation};
use super::{Opcode, Status};

/// Why octets are no request.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestFault {
    /// The body is not that of the operation.
    #[error(transparent)]
    Body(#[from] BodyFault),
    /// The header is refused.
    #[error(transparent)]
    Header(#[from] Refusal),
    /// There are more or fewer octets than the header announces.
    #[error("{found} octets instead of {expected}")]
    Length {
        /// What the header announces, itself included.
        expected: usize,
        /// What is there.
        found: usize,
    },
    /// There is no such operation.
    #[error("opcode {found:#x}: {status}")]
    Opcode {
        /// Its number.
        found: u32,
        /// How it is answered.
        status: Status,
    },
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// Its header.
    pub header: RequestHeader,
    /// What it asks.
    pub operation: Operation,
    /// The authentication field, as long as its type says.
    pub auth: &'a [u8],
}

impl<'a> Request<'a> {
    /// Reads a whole request. The service reads from a connection what this reads from memory, by the same functions.
    ///
    /// # Errors
    ///
    /// [`RequestFault`].
    pub fn parse(octets: &'a [u8]) -> Result<Request<'a>, RequestFault> {
        let found = octets.len();
        let length = |expected| RequestFault::Length { expected, found };
        let (header, rest) = octets.split_first_chunk::<HEADER_OCTETS>().ok_or_else(|| length(HEADER_OCTETS))?;
        let header = RequestHeader::parse(header)?;
        let opcode = Opcode::from_number(header.opcode)
            .map_err(|status| RequestFault::Opcode { found: header.opcode, status })?;
        let auth_octets = header.auth_type.field_octets();
        let expected = HEADER_OCTETS.saturating_add(header.body_octets).saturating_add(auth_octets);
        if found != expected {
            return Err(length(expected));
        }
        let (body, auth) = rest.split_at_checked(header.body_octets).ok_or_else(|| length(expected))?;
        Ok(Request { header, operation: Operation::decode(opcode, body)?, auth })
    }
}
