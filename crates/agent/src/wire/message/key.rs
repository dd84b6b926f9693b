//! Operations on keys.

use prost::Message;

use super::{AsymmetricSignature, KeyAttributes};

/// PsaGenerateKey.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct GenerateKeyOperation {
    /// The new key's name.
    #[prost(string, tag = "1")]
    pub key_name: String,
    /// What it shall be.
    #[prost(message, optional, tag = "2")]
    pub attributes: Option<KeyAttributes>,
}

/// The key is made and stored.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct GenerateKeyResult {}

/// PsaImportKey.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ImportKeyOperation {
    /// The new key's name.
    #[prost(string, tag = "1")]
    pub key_name: String,
    /// What it is. Bits may be zero: then the data says.
    #[prost(message, optional, tag = "2")]
    pub attributes: Option<KeyAttributes>,
    /// The key, in the format of [`ExportPublicKeyResult`].
    #[prost(bytes = "vec", tag = "3")]
    pub data: Vec<u8>,
}

/// The key is stored.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ImportKeyResult {}

/// PsaDestroyKey.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct DestroyKeyOperation {
    /// The key.
    #[prost(string, tag = "1")]
    pub key_name: String,
}

/// The key is gone.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct DestroyKeyResult {}

/// PsaExportPublicKey.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ExportPublicKeyOperation {
    /// The key.
    #[prost(string, tag = "1")]
    pub key_name: String,
}

/// A public key.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ExportPublicKeyResult {
    /// ECC: 04, X, Y (SEC 1); RSA: DER RSAPublicKey (RFC 8017).
    #[prost(bytes = "vec", tag = "1")]
    pub data: Vec<u8>,
}

/// PsaSignHash.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct SignHashOperation {
    /// The key.
    #[prost(string, tag = "1")]
    pub key_name: String,
    /// The algorithm, which must be that of the key's policy.
    #[prost(message, optional, tag = "2")]
    pub alg: Option<AsymmetricSignature>,
    /// The digest.
    #[prost(bytes = "vec", tag = "3")]
    pub hash: Vec<u8>,
}

/// A signature.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct SignHashResult {
    /// ECDSA: r and s, each as wide as the field; RSA: as wide as the modulus.
    #[prost(bytes = "vec", tag = "1")]
    pub signature: Vec<u8>,
}

/// ListKeys.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ListKeysOperation {}

/// The caller's keys.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ListKeysResult {
    /// In the order of their names.
    #[prost(message, repeated, tag = "1")]
    pub keys: Vec<KeyInfo>,
    /// Those at providers whose numbers Parsec's clients do not know; they do not see this field.
    #[prost(message, repeated, tag = "100")]
    pub extension_keys: Vec<KeyInfo>,
}

/// One key.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct KeyInfo {
    /// The provider that made it.
    #[prost(uint32, tag = "1")]
    pub provider_id: u32,
    /// Its name.
    #[prost(string, tag = "2")]
    pub name: String,
    /// What it is.
    #[prost(message, optional, tag = "3")]
    pub attributes: Option<KeyAttributes>,
}
