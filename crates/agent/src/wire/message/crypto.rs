//! Operations that use keys, or the module without one.

use prost::Message;

use super::{AsymmetricEncryption, AsymmetricSignature, KeyAttributes};

/// PsaVerifyHash.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct VerifyHashOperation {
    /// The key.
    #[prost(string, tag = "1")]
    pub key_name: String,
    /// The algorithm, which must be that of the key's policy.
    #[prost(message, optional, tag = "2")]
    pub alg: Option<AsymmetricSignature>,
    /// The digest.
    #[prost(bytes = "vec", tag = "3")]
    pub hash: Vec<u8>,
    /// The signature, in the format that PsaSignHash gives.
    #[prost(bytes = "vec", tag = "4")]
    pub signature: Vec<u8>,
}

/// The signature is valid.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct VerifyHashResult {}

/// PsaSignMessage.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct SignMessageOperation {
    /// The key.
    #[prost(string, tag = "1")]
    pub key_name: String,
    /// The algorithm, which must be that of the key's policy.
    #[prost(message, optional, tag = "2")]
    pub alg: Option<AsymmetricSignature>,
    /// The message.
    #[prost(bytes = "vec", tag = "3")]
    pub message: Vec<u8>,
}

/// A signature.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct SignMessageResult {
    /// ECDSA: r and s, each as wide as the field; RSA: as wide as the modulus.
    #[prost(bytes = "vec", tag = "1")]
    pub signature: Vec<u8>,
}

/// PsaVerifyMessage.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct VerifyMessageOperation {
    /// The key.
    #[prost(string, tag = "1")]
    pub key_name: String,
    /// The algorithm, which must be that of the key's policy.
    #[prost(message, optional, tag = "2")]
    pub alg: Option<AsymmetricSignature>,
    /// The message.
    #[prost(bytes = "vec", tag = "3")]
    pub message: Vec<u8>,
    /// The signature, in the format that PsaSignMessage gives.
    #[prost(bytes = "vec", tag = "4")]
    pub signature: Vec<u8>,
}

/// The signature is valid.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct VerifyMessageResult {}

/// PsaAsymmetricEncrypt.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct AsymmetricEncryptOperation {
    /// The key.
    #[prost(string, tag = "1")]
    pub key_name: String,
    /// The algorithm, which must be that of the key's policy.
    #[prost(message, optional, tag = "2")]
    pub alg: Option<AsymmetricEncryption>,
    /// The message.
    #[prost(bytes = "vec", tag = "3")]
    pub plaintext: Vec<u8>,
    /// The label of RSAES-OAEP; empty for none.
    #[prost(bytes = "vec", tag = "4")]
    pub salt: Vec<u8>,
}

/// An encrypted message.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct AsymmetricEncryptResult {
    /// As wide as the modulus.
    #[prost(bytes = "vec", tag = "1")]
    pub ciphertext: Vec<u8>,
}

/// PsaAsymmetricDecrypt.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct AsymmetricDecryptOperation {
    /// The key.
    #[prost(string, tag = "1")]
    pub key_name: String,
    /// The algorithm, which must be that of the key's policy.
    #[prost(message, optional, tag = "2")]
    pub alg: Option<AsymmetricEncryption>,
    /// The encrypted message.
    #[prost(bytes = "vec", tag = "3")]
    pub ciphertext: Vec<u8>,
    /// The label of RSAES-OAEP; empty for none.
    #[prost(bytes = "vec", tag = "4")]
    pub salt: Vec<u8>,
}

/// A decrypted message.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct AsymmetricDecryptResult {
    /// The message.
    #[prost(bytes = "vec", tag = "1")]
    pub plaintext: Vec<u8>,
}

/// PsaGenerateRandom.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct GenerateRandomOperation {
    /// How many octets.
    #[prost(uint64, tag = "1")]
    pub size: u64,
}

/// Random octets.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct GenerateRandomResult {
    /// As many as were asked for.
    #[prost(bytes = "vec", tag = "1")]
    pub random_bytes: Vec<u8>,
}

/// Numbers of Parsec's `CheckType`.
pub mod check_type {
    /// A key that is there is used for its algorithm.
    pub const USE: i32 = 1;
    /// A key is made.
    pub const GENERATE: i32 = 2;
    /// A key is brought in.
    pub const IMPORT: i32 = 3;
    /// A key is derived.
    pub const DERIVE: i32 = 4;
}

/// CanDoCrypto.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct CanDoCryptoOperation {
    /// What is asked about, of [`check_type`].
    #[prost(int32, tag = "1")]
    pub check_type: i32,
    /// The key.
    #[prost(message, optional, tag = "2")]
    pub attributes: Option<KeyAttributes>,
}

/// The provider does it.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct CanDoCryptoResult {}
