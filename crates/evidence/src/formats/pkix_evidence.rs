//! PKIX Evidence (draft-ietf-rats-pkix-key-attestation): a format of no single maker, in which a module reports a
//! transaction, its platform and its keys under the signatures of its attestation keys.
//!
//! This reads the generation of the draft that has one arc for everything (id-evidence) and universal tags, in DER, in
//! PEM under the label EVIDENCE, or in base64. Older generations are recognized so that they can be refused by name.
//! [`crate::emit`] writes it.

mod claims;
mod defect;
mod outline;
mod recognize;
mod value;
mod view;

pub use claims::{DebugStatus, Elements, Platform, Purposes, ReportedKey, Transaction};
pub use defect::EvidenceDefect;
pub use value::GeneralizedTime;
pub use view::{EvidenceView, SignatureBlock, SignerIdentifier};

use super::{Row, Wrapping};
use crate::oid;

/// The format's row.
pub static ROW: Row = Row {
    id: "pkix-evidence",
    title: "PKIX Evidence",
    statement: oid::STATEMENT_PKIX_EVIDENCE,
    wrapping: Wrapping::Bare,
    recognize: recognize::recognize,
    in_request: recognize::in_request,
    takes_client_data: false,
    outline: outline::outline,
};
