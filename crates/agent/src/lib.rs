//! agent

pub mod provider;
pub mod swtpm;
pub mod tpm;
