//! The Parsec wire protocol 1.0 and the extension of this service.
//!
//! One request is a [`header::RequestHeader`] of 36 octets, a protobuf body and an authentication field;
//! one response is a [`header::ResponseHeader`] and a body. All integers of the header are little-endian.
//! Parsec names its statuses and operations; so do [`Status`] and [`Opcode`]. Operations from
//! [`Opcode::FIRST_EXTENSION`] up are of this project; their messages are in `proto/vouchsafe.proto`.

pub mod header;
pub mod message;
mod opcode;
mod operation;
mod request;
mod shape;
mod status;

pub use opcode::{Opcode, Route};
pub use operation::{BodyFault, CoreOperation, MAX_FIELDS, Operation, ProviderOperation};
pub use request::{Request, RequestFault};
pub use shape::Irregular;
pub use status::Status;

/// Largest request body read, in octets (the limit of Parsec's shipped configuration).
pub const MAX_BODY_OCTETS: usize = 1024 * 1024;

/// Largest response body sent or accepted, in octets.
pub const MAX_RESPONSE_OCTETS: usize = 1024 * 1024;

/// Largest authentication field read, in octets: the longest name of AuthType Direct. The field's width would
/// allow 64 KiB; no authenticator of this service takes more.
pub const MAX_AUTH_OCTETS: usize = 255;

/// The provider id of a Parsec header.
///
/// Parsec assigned 0 to 5, of which this service offers [`ProviderId::CORE`], [`ProviderId::PKCS11`] and
/// [`ProviderId::TPM`]; further providers of these kinds count from [`ProviderId::FIRST_FURTHER`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProviderId(pub u8);

impl ProviderId {
    /// The service itself: discovery and listing.
    pub const CORE: ProviderId = ProviderId(0);
    /// Keys in a PKCS#11 token.
    pub const PKCS11: ProviderId = ProviderId(2);
    /// Keys in a TPM 2.0.
    pub const TPM: ProviderId = ProviderId(3);
    /// The highest id that Parsec has assigned.
    pub const LAST_ASSIGNED: ProviderId = ProviderId(5);
    /// The first id of providers that are not the first of their kind. Parsec's clients do not know them.
    pub const FIRST_FURTHER: ProviderId = ProviderId(0x80);

    /// Whether Parsec's clients know the id. They refuse a whole answer in which there is one that they do not know.
    #[must_use]
    pub const fn is_assigned(self) -> bool {
        self.0 <= ProviderId::LAST_ASSIGNED.0
    }
}
