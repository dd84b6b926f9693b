//! What an extension operation says about its failure.

use prost::Message;

/// The body of a response whose status is not Success, for operations from 0x0100 up. May be absent.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ErrorDetail {
    /// Stable code, such as `cx509.subject-outside-device`.
    #[prost(string, tag = "1")]
    pub code: String,
    /// One sentence: what was refused.
    #[prost(string, tag = "2")]
    pub message: String,
    /// One sentence: what to do.
    #[prost(string, tag = "3")]
    pub next_step: String,
}
