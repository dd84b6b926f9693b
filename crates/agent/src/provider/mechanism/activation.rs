//! `tpm-activate-credential`: a credential that only the module can open which holds both of two keys.

use crate::provider::KeyBlob;

/// What a credential for a key is made of: whoever makes one learns from its answer that the key is in the module that
/// holds the endorsement key, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActivationParameters {
    /// The key's Name: what the credential is bound to, in the module's own encoding.
    pub name: Vec<u8>,
    /// Its public area in the module's own encoding.
    pub public: Vec<u8>,
    /// The endorsement key, of RSA 2048 by its default template: DER RSAPublicKey (RFC 8017).
    pub endorsement_key: Vec<u8>,
}

/// The key that a credential is bound to.
#[derive(Clone, Copy, Debug)]
pub enum ActivatedKey<'a> {
    /// An attesting key of the administrator's, by name; empty for the default.
    Attesting(&'a str),
    /// A key of the caller's own.
    Own(&'a KeyBlob),
}

/// An answer that only the module holding both the endorsement key and the other key can give.
#[derive(Clone, Copy, Debug)]
pub struct Activation<'a> {
    /// The key that the credential is bound to.
    pub key: ActivatedKey<'a>,
    /// The credential, in the module's own encoding with its size field.
    pub credential: &'a [u8],
    /// The secret under which it is protected, likewise.
    pub secret: &'a [u8],
}
