//! A TPM 2.0 client in pure Rust: raw commands over a device file or a simulator's socket.

mod rc;

pub use rc::ResponseCode;
