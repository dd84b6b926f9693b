//! The certification side: nonces, attestation-key enrolment, appraisal and issuance.
//!
//! [`Authority::start`] serves HTTPS as `docs` of the project's contract describe it: nonces that cost
//! nothing until they are spent, AK certificates from roots that serve nothing else, certificates for
//! keys whose evidence `vouchsafe-verifier` accepted, and verdicts for servers that only want to know.
//! Every decision is one transaction: the spent nonce, the record and the certificate are there together
//! or not at all.
//!
//! This crate judges no evidence itself, and it holds the signing keys in files for now.
//!
//! Read first: [`Config`], [`init`] and [`Authority`].

mod ak_certificate;
mod appraisal;
mod attestation_result;
pub mod baseline;
mod ca;
mod certificate;
mod certified_key;
mod client_certificate;
mod clock;
pub mod config;
pub mod credential;
mod enroll;
mod enrolment;
mod error;
mod http;
mod init;
pub mod inventory;
mod issue;
pub mod issuer_certificate;
pub mod issuers;
pub mod issuing_key;
pub mod lifecycle;
mod limits;
mod lint;
mod media_type;
mod metrics;
pub mod names;
pub mod nonce;
pub mod profile;
pub mod protocol;
pub mod publish;
mod record;
mod registration;
pub mod request;
mod revocation;
mod revocation_list;
mod secret;
mod server;
mod service;
pub mod store;
mod text;
mod tls;
pub mod trust;
mod upstream;

pub use attestation_result::ResultKeyError;
pub use ca::HierarchyError;
pub use certificate::CertificateError;
pub use client_certificate::ClientCaError;
pub use clock::{Clock, SystemClock};
pub use config::{Config, ConfigError, Role};
pub use enrolment::pseudonym::EscrowError;
pub use error::{Error, OwnCode, Violation, own_codes};
pub use http::{Access, ROUTES, Route};
pub use init::{InitError, Initialized, init};
pub use lifecycle::{Administration, AdministrationError};
pub use lint::LintError;
pub use protocol::Verb;
pub use protocol::json::Operation;
pub use record::RecordError;
pub use revocation::Revoked;
pub use server::{Authority, Running, StartError};
pub use tls::TlsError;
pub use upstream::{CertificateDefect, LoadError as UpstreamLoadError};
