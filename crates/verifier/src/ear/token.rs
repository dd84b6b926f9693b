//! The token that a claims set becomes: a JWS in compact form (RFC 7515, section 3.1; RFC 7519).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// The type of the token, so that none of another kind is taken for it (RFC 8725, section 3.11; RFC 9782, section 3).
const TYPE: &str = "eat+jwt";

/// By what a token is signed (RFC 7518, section 3.4; RFC 8037, section 3.1). Signatures on curves are r and s, each as wide
/// as the curve's field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// Its name in the header.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }
}

/// A token that lacks its signature.
#[derive(Clone, Debug)]
pub struct Unsigned(String);

impl Unsigned {
    /// Header and claims, to be signed by the key that `key_id` names to those who verify.
    #[must_use]
    pub fn new(algorithm: Algorithm, key_id: Option<&str>, claims: &Value) -> Self {
        let mut header = json!({"alg": algorithm.name(), "typ": TYPE});
        if let (Some(key_id), Value::Object(members)) = (key_id, &mut header) {
            members.insert("kid".to_owned(), json!(key_id));
        }
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        Self(format!("{}.{}", encode(&header), encode(claims)))
    }

    /// The octets to be signed.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The token.
    #[must_use]
    pub fn signed(self, signature: &[u8]) -> String {
        format!("{}.{}", self.0, URL_SAFE_NO_PAD.encode(signature))
    }
}
