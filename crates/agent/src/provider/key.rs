//! Keys as providers and their callers speak of them: ids, kinds, purposes, algorithms, blobs, public halves.

use std::fmt;

use vouchsafe_evidence::tpm::HashAlg;

use super::Fault;
use crate::tpm::kdf::random;

/// A key's own id: 16 random octets, made before the module is asked for the key, so that whatever a creation that was
/// cut short has left behind can be found. Two keys never share one, not even keys of one name. Prints as 32 digits of
/// lowercase hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyUid([u8; KeyUid::OCTETS]);

impl KeyUid {
    /// Octets of an id.
    pub const OCTETS: usize = 16;

    /// A new id.
    ///
    /// # Errors
    /// [`Fault::Primitive`] when there are no random numbers.
    pub fn random() -> Result<Self, Fault> {
        Ok(Self(random()?))
    }

    /// The id of these octets.
    #[must_use]
    pub const fn from_octets(octets: [u8; Self::OCTETS]) -> Self {
        Self(octets)
    }

    /// The octets.
    #[must_use]
    pub const fn as_octets(&self) -> &[u8; Self::OCTETS] {
        &self.0
    }
}

impl fmt::Display for KeyUid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(formatter, "{octet:02x}"))
    }
}

impl fmt::Debug for KeyUid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "KeyUid({self})")
    }
}

/// Key types that a provider makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// ECDSA on NIST P-256.
    EcP256,
    /// ECDSA on NIST P-384.
    EcP384,
    /// ECDSA on NIST P-521.
    EcP521,
    /// RSA with a modulus of 1024 bits, public exponent 65537: for clients that still need it. It attests nothing.
    Rsa1024,
    /// RSA with a modulus of 2048 bits, public exponent 65537.
    Rsa2048,
    /// RSA with a modulus of 3072 bits, public exponent 65537.
    Rsa3072,
    /// RSA with a modulus of 4096 bits, public exponent 65537.
    Rsa4096,
}

impl KeyKind {
    /// Every kind.
    pub const ALL: [Self; 7] =
        [Self::EcP256, Self::EcP384, Self::EcP521, Self::Rsa1024, Self::Rsa2048, Self::Rsa3072, Self::Rsa4096];

    /// Whether it is a kind of RSA key.
    #[must_use]
    pub const fn is_rsa(self) -> bool {
        match self {
            Self::Rsa1024 | Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 => true,
            Self::EcP256 | Self::EcP384 | Self::EcP521 => false,
        }
    }

    /// Whether an attesting key may be of this kind: one that verifiers accept by default.
    #[must_use]
    pub const fn attests(self) -> bool {
        match self {
            Self::EcP256 | Self::EcP384 | Self::Rsa2048 | Self::Rsa3072 => true,
            Self::EcP521 | Self::Rsa1024 | Self::Rsa4096 => false,
        }
    }

    /// Bits of the modulus or of the field.
    #[must_use]
    pub const fn bits(self) -> u16 {
        match self {
            Self::EcP256 => 256,
            Self::EcP384 => 384,
            Self::EcP521 => 521,
            Self::Rsa1024 => 1024,
            Self::Rsa2048 => 2048,
            Self::Rsa3072 => 3072,
            Self::Rsa4096 => 4096,
        }
    }
}

/// What a key is made for; fixed for its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyPurpose {
    /// Signs what its owner asks for.
    Sign,
    /// Attests other keys and signs nothing else: an attesting key of the caller's own.
    Attest,
    /// Decrypts what was encrypted to its public half. RSA alone.
    Decrypt,
}

/// A key to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeySpec {
    /// Algorithm and size.
    pub kind: KeyKind,
    /// What it is for.
    pub purpose: KeyPurpose,
}

/// Hash algorithms that callers may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hash {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Hash {
    /// Octets of a digest.
    #[must_use]
    pub const fn digest_len(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// The algorithm itself, by which octets are digested.
    #[must_use]
    pub const fn algorithm(self) -> HashAlg {
        match self {
            Self::Sha256 => HashAlg::Sha256,
            Self::Sha384 => HashAlg::Sha384,
            Self::Sha512 => HashAlg::Sha512,
        }
    }
}

/// How a digest is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SignatureScheme {
    /// ECDSA; the signature is r and s side by side, each as wide as the field.
    Ecdsa(Hash),
    /// RSASSA-PKCS1-v1_5; the signature is as wide as the modulus.
    RsaPkcs1v15(Hash),
    /// RSASSA-PSS with MGF1 and a salt of the module's choice, usually as long as the digest.
    RsaPss(Hash),
}

impl SignatureScheme {
    /// The hash whose digest is signed.
    #[must_use]
    pub const fn hash(self) -> Hash {
        match self {
            Self::Ecdsa(hash) | Self::RsaPkcs1v15(hash) | Self::RsaPss(hash) => hash,
        }
    }

    /// Refuses a digest that is not as long as those of the hash.
    ///
    /// # Errors
    /// [`Fault::DigestLength`].
    pub const fn check_digest(self, digest: &[u8]) -> Result<(), Fault> {
        let (expected, found) = (self.hash().digest_len(), digest.len());
        if found == expected { Ok(()) } else { Err(Fault::DigestLength { expected, found }) }
    }

    /// Whether keys of this kind sign so.
    #[must_use]
    pub const fn fits(self, kind: KeyKind) -> bool {
        match self {
            Self::Ecdsa(_) => !kind.is_rsa(),
            Self::RsaPkcs1v15(_) | Self::RsaPss(_) => kind.is_rsa(),
        }
    }
}

/// How a short message is encrypted to a key. Both are of RSA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EncryptionScheme {
    /// RSAES-PKCS1-v1_5.
    RsaPkcs1v15,
    /// RSAES-OAEP with this hash, for MGF1 too.
    RsaOaep(Hash),
}

/// A key as its provider wants it back: opaque to everyone else, useless without the module that made it.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyBlob(Vec<u8>);

impl KeyBlob {
    /// The blob that was stored as `bytes`. Nothing is checked until a provider uses it.
    #[must_use]
    pub const fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The octets to store.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for KeyBlob {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "KeyBlob({} octets)", self.0.len())
    }
}

/// The public half of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// Algorithm and size.
    pub kind: KeyKind,
    /// What the key is for.
    pub purpose: KeyPurpose,
    /// DER SubjectPublicKeyInfo.
    pub spki: Vec<u8>,
    /// Contents of the SPKI's BIT STRING: `04 | X | Y` for EC (SEC 1), DER RSAPublicKey for RSA (RFC 8017).
    /// The PSA export formats are exactly these.
    pub subject_public_key: Vec<u8>,
}
