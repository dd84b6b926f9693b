//! The device's side: keys in hardware, attested on request, behind a Unix socket.
//!
//! The agent **presents** what the hardware attests. It makes no judgment of evidence: a device never
//! judges itself. [`Agent::start`] serves the Parsec wire protocol with the extension of
//! `proto/vouchsafe.proto`; [`client::Client`] is the other end. [`provider`] has the traits that hardware
//! implements, [`tpm`] the TPM 2.0 client beneath one of them.
//!
//! Read first: [`provider::KeyProvider`], [`provider::Attester`] and [`Agent`].

pub mod audit;
pub mod client;
pub mod client_id;
pub mod config;
pub mod grants;
pub mod names;
pub mod provider;
pub mod provider_identity;
pub mod service;
pub mod store;
pub mod swtpm;
pub mod tpm;
pub mod wire;

pub use client_id::{ClientId, ClientIdFault, DirectName};
pub use service::{Agent, StartFault, serve};
