//! Key attributes and algorithms in the words of the PSA Crypto API.

use prost::{Message, Oneof};

/// Numbers of Parsec's `EccFamily`.
pub mod ecc_family {
    /// The SEC random curves over prime fields; with 256 and 384 bits NIST P-256 and P-384.
    pub const SECP_R1: i32 = 2;
}

/// Numbers of Parsec's `Hash`.
pub mod hash {
    /// MD2.
    pub const MD2: i32 = 1;
    /// MD4.
    pub const MD4: i32 = 2;
    /// MD5.
    pub const MD5: i32 = 3;
    /// SHA-1.
    pub const SHA_1: i32 = 5;
    /// SHA-256.
    pub const SHA_256: i32 = 7;
    /// SHA-384.
    pub const SHA_384: i32 = 8;
    /// SHA-512.
    pub const SHA_512: i32 = 9;
}

/// What a key is and may do.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct KeyAttributes {
    /// The type.
    #[prost(message, optional, tag = "1")]
    pub key_type: Option<KeyType>,
    /// The size in bits.
    #[prost(uint32, tag = "2")]
    pub key_bits: u32,
    /// The policy.
    #[prost(message, optional, tag = "3")]
    pub key_policy: Option<KeyPolicy>,
}

/// The type of a key.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct KeyType {
    /// One of the types; absent where the client named one that this service does not make.
    #[prost(oneof = "KeyTypeVariant", tags = "9, 10, 11, 12")]
    pub variant: Option<KeyTypeVariant>,
}

/// The key types of this service.
#[derive(Clone, PartialEq, Eq, Oneof)]
pub enum KeyTypeVariant {
    /// The public half of an RSA key.
    #[prost(message, tag = "9")]
    RsaPublicKey(RsaPublicKey),
    /// RSA.
    #[prost(message, tag = "10")]
    RsaKeyPair(RsaKeyPair),
    /// Elliptic curves.
    #[prost(message, tag = "11")]
    EccKeyPair(EccKeyPair),
    /// The public half of a key on an elliptic curve.
    #[prost(message, tag = "12")]
    EccPublicKey(EccPublicKey),
}

/// The public half of an RSA key.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct RsaPublicKey {}

/// The public half of a key on an elliptic curve.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct EccPublicKey {
    /// The family, of [`ecc_family`]; together with the bits it names the curve.
    #[prost(int32, tag = "1")]
    pub curve_family: i32,
}

/// An RSA key pair.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct RsaKeyPair {}

/// A key pair on an elliptic curve.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct EccKeyPair {
    /// The family, of [`ecc_family`]; together with the bits it names the curve.
    #[prost(int32, tag = "1")]
    pub curve_family: i32,
}

/// What a key may be used for.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct KeyPolicy {
    /// The operations.
    #[prost(message, optional, tag = "1")]
    pub key_usage_flags: Option<UsageFlags>,
    /// The one algorithm.
    #[prost(message, optional, tag = "2")]
    pub key_algorithm: Option<Algorithm>,
}

/// The operations of a key.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct UsageFlags {
    /// The private part may leave.
    #[prost(bool, tag = "1")]
    pub export: bool,
    /// The key may be copied.
    #[prost(bool, tag = "2")]
    pub copy: bool,
    /// The service may keep the key in memory.
    #[prost(bool, tag = "3")]
    pub cache: bool,
    /// The key encrypts.
    #[prost(bool, tag = "4")]
    pub encrypt: bool,
    /// The key decrypts.
    #[prost(bool, tag = "5")]
    pub decrypt: bool,
    /// The key signs messages.
    #[prost(bool, tag = "6")]
    pub sign_message: bool,
    /// The key verifies signatures of messages.
    #[prost(bool, tag = "7")]
    pub verify_message: bool,
    /// The key signs digests.
    #[prost(bool, tag = "8")]
    pub sign_hash: bool,
    /// The key verifies signatures of digests.
    #[prost(bool, tag = "9")]
    pub verify_hash: bool,
    /// Other keys are derived from the key.
    #[prost(bool, tag = "10")]
    pub derive: bool,
}

/// The algorithm of a key.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Algorithm {
    /// One of the kinds; absent where the client named one that this service does not do.
    #[prost(oneof = "AlgorithmVariant", tags = "6, 7")]
    pub variant: Option<AlgorithmVariant>,
}

/// The algorithm kinds of this service.
#[derive(Clone, PartialEq, Eq, Oneof)]
pub enum AlgorithmVariant {
    /// Signatures.
    #[prost(message, tag = "6")]
    AsymmetricSignature(AsymmetricSignature),
    /// Encryption of short messages.
    #[prost(message, tag = "7")]
    AsymmetricEncryption(AsymmetricEncryption),
}

/// An algorithm of asymmetric encryption.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct AsymmetricEncryption {
    /// One of the algorithms; absent where the client named one that this service does not do.
    #[prost(oneof = "AsymmetricEncryptionVariant", tags = "1, 2")]
    pub variant: Option<AsymmetricEncryptionVariant>,
}

/// The algorithms of asymmetric encryption.
#[derive(Clone, PartialEq, Eq, Oneof)]
pub enum AsymmetricEncryptionVariant {
    /// RSAES-PKCS1-v1_5.
    #[prost(message, tag = "1")]
    RsaPkcs1v15Crypt(RsaPkcs1v15Crypt),
    /// RSAES-OAEP.
    #[prost(message, tag = "2")]
    RsaOaep(RsaOaep),
}

/// RSAES-PKCS1-v1_5 has no parameters.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct RsaPkcs1v15Crypt {}

/// The parameters of RSAES-OAEP.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct RsaOaep {
    /// The number in [`hash`] of the hash, for MGF1 too.
    #[prost(int32, tag = "1")]
    pub hash_alg: i32,
}

/// A signature algorithm.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct AsymmetricSignature {
    /// One of the algorithms; absent where the client named one that this service does not do.
    #[prost(oneof = "AsymmetricSignatureVariant", tags = "1, 3, 4")]
    pub variant: Option<AsymmetricSignatureVariant>,
}

/// The signature algorithms of this service.
#[derive(Clone, PartialEq, Eq, Oneof)]
pub enum AsymmetricSignatureVariant {
    /// RSASSA-PKCS1-v1_5.
    #[prost(message, tag = "1")]
    RsaPkcs1v15Sign(SignatureHash),
    /// RSASSA-PSS.
    #[prost(message, tag = "3")]
    RsaPss(SignatureHash),
    /// ECDSA with a random nonce.
    #[prost(message, tag = "4")]
    Ecdsa(SignatureHash),
}

/// The parameters of a signature algorithm.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct SignatureHash {
    /// The hash.
    #[prost(message, optional, tag = "1")]
    pub hash_alg: Option<SignHash>,
}

/// The hash of a signature algorithm.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct SignHash {
    /// Any or a specific one.
    #[prost(oneof = "SignHashVariant", tags = "1, 2")]
    pub variant: Option<SignHashVariant>,
}

/// Any hash or a specific one.
#[derive(Clone, PartialEq, Eq, Oneof)]
pub enum SignHashVariant {
    /// Any.
    #[prost(message, tag = "1")]
    Any(Any),
    /// The one of that number in [`hash`].
    #[prost(int32, tag = "2")]
    Specific(i32),
}

/// No particular hash.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Any {}
