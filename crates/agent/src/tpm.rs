//! A TPM 2.0 client in pure Rust: raw commands over a device file or a simulator's socket.
//!
//! [`Tpm`] has one function for each TPM command that the agent needs, by the command's own name. Once
//! [`Tpm::salt_sessions_to`] has named a key, every command that takes a session goes through a salted HMAC session:
//! authValues are proven and never sent, secrets are encrypted both ways, and each response is authenticated before a
//! caller sees any of it. Transient objects are [`Object`]s; where the TPM has no slot left for one, the least
//! recently used is saved and comes back when it is needed.

mod client;
mod command;
pub(crate) mod der;
mod frame;
mod import;
pub(crate) mod kdf;
mod object;
mod rc;
mod session;
mod slots;
mod transport;

pub use client::Tpm;
pub use command::{
    Certified, CertifiedX509, Created, CreationProof, DecryptScheme, Hierarchy, NvIndex, PcrValues, Property, Sealed,
    SignScheme, Ticket, nv_attributes,
};
pub use frame::CommandCode;
pub use import::{Duplicate, Sensitive};
pub use object::Object;
pub use rc::{Blamed, ResponseCode};
pub use session::{AuthValue, Session};
pub use transport::{
    Address, AddressInvalid, Connection, FIRST_READ_TIMEOUT, FRAME_OCTETS, HEADER_OCTETS, READ_TIMEOUT, Transport,
};
